//! What all pages share: the frame, and small pieces that look the same everywhere.

use std::sync::Arc;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;

use super::access::{Person, Role};
use super::problem::Problem;
use super::{App, now};
use crate::out;

const CSS: &str = include_str!("assets/app.css");
const JS: &str = include_str!("assets/app.js");
const ICON: &str = include_str!("assets/icon.svg");
/// Changes with each build that may have changed an asset, so that browsers may keep them.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A place in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tenants,
    Failures,
    Jobs,
    Workers,
    Audit,
    Nowhere,
}

/// How grave something is; said by colour, sign and word together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tone {
    Bad,
    Warn,
    Busy,
    Good,
    Quiet,
}

/// A whole page.
pub(crate) fn page(app: &App, person: &Person, place: Place, title: &str, body: &Markup) -> Response {
    frame(
        title,
        Some(person),
        &html! {
            header.top {
                a.brand href="/" { img src=(format!("/assets/icon.svg?{VERSION}")) alt="" width="24" height="24"; "Fermata" }
                nav aria-label="Pages" {
                    (nav(place, Place::Tenants, "/", "Tenants"))
                    (nav(place, Place::Failures, "/failures", "Failures"))
                    @if app.queue.is_some() {
                        (nav(place, Place::Jobs, "/jobs", "Jobs"))
                        (nav(place, Place::Workers, "/workers", "Workers"))
                    }
                    (nav(place, Place::Audit, "/audit", "Audit"))
                }
                details.menu {
                    summary { (person.name) }
                    div {
                        p { (person.role.name()) " of " @match &person.tenants { None => "all tenants", Some(some) => (out::several(some.len() as u64, "tenant", "tenants")) } }
                        p { button type="button" id="pause" aria-pressed="false" { "Pause updates" } }
                        p { button type="button" id="help" { "Keys " kbd { "?" } } }
                        form method="post" action="/sign-out" { (csrf(person)) button type="submit" { "Sign out" } }
                    }
                }
            }
            main id="main" tabindex="-1" { h1 { (title) } (body) }
            footer { p { "Store " code { (app.store) } " · Fermata " (VERSION) " · " a href="/api/v1/openapi.json" { "API" } } }
        },
    )
}

/// A page for whoever has not signed in.
pub(crate) fn bare(title: &str, body: &Markup) -> Response {
    frame(title, None, &html! { main.narrow id="main" { p.brand { "Fermata" } h1 { (title) } (body) } })
}

fn frame(title: &str, person: Option<&Person>, body: &Markup) -> Response {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Fermata" }
                link rel="icon" href=(format!("/assets/icon.svg?{VERSION}"));
                link rel="stylesheet" href=(format!("/assets/app.css?{VERSION}"));
                @if person.is_some() { script src=(format!("/assets/app.js?{VERSION}")) defer {} }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                (body)
                p.sr-only id="said" role="status" aria-live="polite" {}
            }
        }
    }
    .into_response()
}

fn nav(here: Place, place: Place, href: &str, name: &str) -> Markup {
    html! { a href=(href) aria-current=[(here == place).then_some("page")] { (name) } }
}

/// A problem as a page.
pub(crate) fn problem(app: &App, person: Option<&Arc<Person>>, problem: &Problem) -> Response {
    let title = match problem.status {
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::CONFLICT => "Not so any more",
        StatusCode::SERVICE_UNAVAILABLE => "Not now",
        status if status.is_client_error() => "Not like this",
        _ => "This failed",
    };
    let body = html! {
        (notice(Tone::Bad, &html! { (out::plain(&problem.what)) "." @if let Some(hint) = &problem.hint { br; (hint) } }))
        p { a href="/" { "All tenants" } }
    };
    let mut response = match person {
        Some(person) => page(app, person, Place::Nowhere, title, &body),
        None => bare(title, &body),
    };
    *response.status_mut() = problem.status;
    response
}

/// What forms carry, so that nobody else can send them.
pub(crate) fn csrf(person: &Person) -> Markup {
    html! { @if let Some(csrf) = &person.csrf { input type="hidden" name="csrf" value=(csrf); } }
}

/// A form of one button. `word` is what it does.
pub(crate) fn button(person: &Person, need: Role, action: &str, word: &str) -> Markup {
    html! {
        @if person.may(need) {
            form.inline method="post" action=(action) { (csrf(person)) button type="submit" { (word) } }
        }
    }
}

/// A state: sign, word and colour.
pub(crate) fn badge(tone: Tone, word: &str) -> Markup {
    let (class, sign) = match tone {
        Tone::Bad => ("bad", "✕"),
        Tone::Warn => ("warn", "!"),
        Tone::Busy => ("busy", "↻"),
        Tone::Good => ("good", "✓"),
        Tone::Quiet => ("quiet", "–"),
    };
    html! { span class=(format!("badge {class}")) { span aria-hidden="true" { (sign) } " " (word) } }
}

/// Something that has to be said above the rest.
pub(crate) fn notice(tone: Tone, body: &Markup) -> Markup {
    let class = match tone {
        Tone::Bad => "bad",
        Tone::Warn => "warn",
        Tone::Busy => "busy",
        Tone::Good => "good",
        Tone::Quiet => "quiet",
    };
    html! { div class=(format!("notice {class}")) { (body) } }
}

/// A moment: from now, and exactly.
pub(crate) fn time(moment: Timestamp) -> Markup {
    let exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let machine = moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    html! { time datetime=(machine) title=(exact) { (out::from_now(moment, now())) } }
}

/// A number with thousands apart.
pub(crate) fn number(number: u64) -> Markup {
    PreEscaped(out::count(number))
}

/// A command that does the same.
pub(crate) fn cli(line: &str) -> Markup {
    html! { p.cli { span.label { "On the command line" } code { (line) } } }
}

/// The page of a list that is asked for, counted from 1.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct PageNumber(u32);

/// Pages beyond it no list has.
const PAGES_MAX: u32 = 1_000_000;

impl PageNumber {
    /// It as a number, at least 1.
    pub(crate) fn get(self) -> usize {
        self.0.max(1) as usize
    }

    /// How many lines come before it, of so many on a page.
    pub(crate) fn skips(self, size: usize) -> usize {
        (self.get() - 1) * size
    }
}

impl TryFrom<u32> for PageNumber {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number <= PAGES_MAX {
            Ok(Self(number))
        } else {
            Err(format!("no list has more than {PAGES_MAX} pages"))
        }
    }
}

/// Where a list goes on: what of it is shown, and the pages beside this one. `link` is the address of a page, counted from 1.
pub(crate) fn pager(page: usize, size: usize, total: usize, link: impl Fn(usize) -> String) -> Markup {
    let (from, to) = ((page - 1) * size + 1, (page * size).min(total));
    html! {
        @if total > size {
            nav.pager aria-label="Pages of this list" {
                @if page > 1 { a rel="prev" href=(link(page - 1)) { "← Before" } } @else { span {} }
                span { (number(from as u64)) "–" (number(to as u64)) " of " (number(total as u64)) }
                @if to < total { a rel="next" href=(link(page + 1)) { "Next →" } } @else { span {} }
            }
        }
    }
}

/// A query string of what is set.
pub(crate) fn query(path: &str, fields: &[(&str, &str)]) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(fields.iter().filter(|(_, value)| !value.is_empty()));
    let query = text.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// The files that pages need.
pub(crate) async fn asset(Path(file): Path<String>) -> Result<Response, Problem> {
    let (kind, text) = match file.as_str() {
        "app.css" => ("text/css; charset=utf-8", CSS),
        "app.js" => ("text/javascript; charset=utf-8", JS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Problem::missing("there is no such file")),
    };
    let mut response = text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
