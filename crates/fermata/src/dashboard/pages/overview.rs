//! `/`: all tenants, and who of them needs somebody.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::response::Response;
use fermata_core::names::Tenant;
use fermata_fleet::queue::Place as Fares;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;

use super::{failures, workers};
use crate::dashboard::access::{Person, Role};
use crate::dashboard::board::{Health, Row};
use crate::dashboard::html::{self, PageNumber, Place, Tone, badge, notice, number, pager, time};
use crate::dashboard::routes::Asker;
use crate::dashboard::{App, Shared, now};
use crate::out::{self, several};

/// Tenants on a page.
pub(crate) const SIZE: usize = 50;
/// How long the list waits for what Redis knows.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is looked for, as it stands in the address.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) q: String,
    #[serde(default)]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) sort: String,
    #[serde(default)]
    pub(crate) page: PageNumber,
}

/// Tenants that match, in the order asked for.
pub(crate) struct Found {
    pub(crate) rows: Vec<(Arc<Row>, Health)>,
    /// Tenants in all, whether they match or not.
    pub(crate) all: Vec<Health>,
}

pub(crate) async fn show(State(app): State<Shared>, person: Asker, Query(asked): Query<Asked>) -> Response {
    let now = now();
    let found = find(&app, &person, &asked, now);
    let shown: Vec<_> = found.rows.iter().skip(asked.page.skips(SIZE)).take(SIZE).collect();
    let names: Vec<Tenant> = shown.iter().map(|(row, _)| row.tenant.clone()).collect();
    // Without Redis the page says so, and shows what the store knows.
    let fares = match &app.queue {
        Some(queue) if app.board.queue().is_some() => {
            let asked = tokio::time::timeout(PATIENCE, queue.places(&names)).await;
            asked.ok().and_then(Result::ok).unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let sentence = sentence(&found, &app, &person, now);
    let body = html! {
        section id="now" data-live data-say=(sentence.1) { (notice(sentence.0, &html! { p.lead { (sentence.1) } })) (trouble(&app)) (failed(&app, &person)) }
        form.bar method="get" action="/" role="search" {
            div { label for="q" { "Tenant" } input id="q" type="search" name="q" value=(asked.q) placeholder="name" autocomplete="off"; }
            div {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "any" }
                    option value="needs-you" selected[asked.state == "needs-you"] { "needs you" }
                    @for health in Health::ALL {
                        option value=(health.name()) selected[asked.state == health.name()] { (health.word()) }
                    }
                }
            }
            input type="hidden" name="sort" value=(asked.sort);
            button type="submit" { "Show" }
            @if person.may(Role::Admin) { a.button href="/tenants/new" { "Add a tenant" } }
        }
        section id="tenants" data-live {
            @if shown.is_empty() {
                p { @if found.all.is_empty() { "There is no tenant yet." } @else { "No tenant matches." } }
            } @else {
                div.scroll { table.stack {
                    thead { tr {
                        (head(&asked, "state", "State"))
                        (head(&asked, "tenant", "Tenant"))
                        (head(&asked, "age", "Last snapshot"))
                        (head(&asked, "records", "Records"))
                        (head(&asked, "gaps", "Gaps"))
                        (head(&asked, "next", "Next run"))
                        @if !fares.is_empty() { th scope="col" { "Run" } th scope="col" { "Quota" } }
                    } }
                    tbody { @for (at, (row, health)) in shown.iter().enumerate() { (line(row, *health, fares.get(at), now)) } }
                } }
            }
            (pager(asked.page.get(), SIZE, found.rows.len(), |page| address(&asked, None, page)))
        }
    };
    html::page(&app, &person, Place::Tenants, "Tenants", &body)
}

/// The tenants that a person may see and that match.
pub(crate) fn find(app: &App, person: &Person, asked: &Asked, now: Timestamp) -> Found {
    let rows = app.board.rows().into_iter().filter(|row| person.sees(&row.tenant));
    let rows: Vec<_> = rows.map(|row| (row.health(now), row)).map(|(health, row)| (row, health)).collect();
    let all = rows.iter().map(|(_, health)| *health).collect();
    let words = asked.q.trim().to_lowercase();
    let mut rows: Vec<_> = rows
        .into_iter()
        .filter(|(row, health)| {
            let named = row.tenant.as_str().contains(&words)
                || row.name().is_some_and(|name| name.to_lowercase().contains(&words));
            let so = match asked.state.as_str() {
                "" => true,
                "needs-you" => health.needs_you(),
                name => health.name() == name,
            };
            named && so
        })
        .collect();
    let (sort, down) = match asked.sort.strip_prefix('-') {
        Some(sort) => (sort, true),
        None => (&*asked.sort, false),
    };
    let last = |row: &Row| row.last.clone();
    match sort {
        "tenant" => {}
        "age" => rows.sort_by_key(|(row, _)| last(row).map(|last| last.sealed)),
        "records" => rows.sort_by_key(|(row, _)| Reverse(last(row).map(|last| last.records))),
        "gaps" => rows.sort_by_key(|(row, _)| Reverse(last(row).map(|last| last.gaps.len()))),
        "next" => rows.sort_by_cached_key(|(row, _)| row.next(now).map_or((true, now), |next| (false, next))),
        _ => rows.sort_by_key(|(_, health)| *health),
    }
    if down {
        rows.reverse();
    }
    Found { rows, all }
}

/// What somebody has to know first.
fn sentence(found: &Found, app: &App, person: &Person, now: Timestamp) -> (Tone, String) {
    let all = found.all.len() as u64;
    if app.board.looked().at.is_none() {
        return (Tone::Busy, format!("Looking at the store: {} so far.", several(all, "tenant", "tenants")));
    }
    let count = |health: Health| found.all.iter().filter(|other| **other == health).count() as u64;
    let needy: u64 = Health::ALL.into_iter().filter(|health| health.needs_you()).map(count).sum();
    if all == 0 {
        return (Tone::Quiet, "There is no tenant yet: add one, and store its token.".to_owned());
    }
    if needy == 0 {
        let running = count(Health::Running);
        let running = if running > 0 { format!(" {running} running.") } else { String::new() };
        let gaps = count(Health::Partial);
        let gaps = if gaps > 0 {
            format!(
                " {} gaps that Tempo's permissions make.",
                if gaps == 1 { "1 has".to_owned() } else { format!("{gaps} have") }
            )
        } else {
            String::new()
        };
        return (
            Tone::Good,
            format!("Nobody needs you: {}.{running}{gaps}", several(all, "tenant", "tenants")),
        );
    }
    let soonest = || {
        let rows = app.board.rows().into_iter().filter(|row| person.sees(&row.tenant));
        let days = rows
            .filter(|row| row.health(now) == Health::Expiring)
            .filter_map(|row| row.settings.as_ref().ok()?.token.as_ref()?.days_left(now));
        days.min().map_or_else(String::new, |days| match days {
            0 => " today".to_owned(),
            days => format!(" in {}", several(u64::try_from(days).unwrap_or(0), "day", "days")),
        })
    };
    let parts = [
        (Health::Unreadable, "cannot be read", "cannot be read"),
        (Health::Refused, "token refused", "tokens refused"),
        (Health::Expired, "token expired", "tokens expired"),
        (Health::NoToken, "without a token", "without a token"),
        (Health::Suspect, "snapshot is suspect", "snapshots are suspect"),
        (Health::Failing, "has entities that failed", "have entities that failed"),
        (Health::Overdue, "overdue", "overdue"),
        (Health::Expiring, "token expires", "tokens expire"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        .map(|(health, one, many)| (health, count(health), one, many))
        .filter(|(_, count, ..)| *count > 0)
        .map(|(health, count, one, many)| {
            let when = if health == Health::Expiring { soonest() } else { String::new() };
            let when = if count > 1 && !when.is_empty() { format!(", the first{when}") } else { when };
            format!("{} {}{when}", out::count(count), if count == 1 { one } else { many })
        })
        .collect();
    let need = if needy == 1 {
        "1 tenant needs you".to_owned()
    } else {
        format!("{} tenants need you", out::count(needy))
    };
    let grave = Health::ALL.into_iter().any(|health| health.tone() == Tone::Bad && count(health) > 0);
    (if grave { Tone::Bad } else { Tone::Warn }, format!("{need}: {}.", parts.join("; ")))
}

/// What is wrong with the picture itself.
fn trouble(app: &App) -> Markup {
    let queue = app.board.queue();
    html! {
        @if let Some(trouble) = app.board.looked().trouble {
            (notice(Tone::Warn, &html! { "The store cannot be looked at: " (trouble) ". What follows is as it was." }))
        }
        @if app.queue.is_some() && app.board.looked().at.is_some() {
            @match queue {
                None => (notice(Tone::Warn, &html! { "Redis does not answer. Nothing is lost; workers go on when it does." })),
                Some(queue) => {
                    @if let Some(who) = &queue.paused { (notice(Tone::Warn, &html! { "The queue was paused by " (who) "." })) }
                    @if queue.workers.iter().all(|worker| worker.stopping) { (notice(Tone::Warn, &html! { "No worker is running: " code { "fermata worker" } " starts one." })) }
                }
            }
        }
    }
}

/// What waits on the page of failures.
fn failed(app: &Shared, person: &Person) -> Markup {
    let failed = failures::look(app, |picture| picture.count(person.tenants.as_ref()));
    let what = if app.queue.is_some() {
        several(failed, "job", "jobs")
    } else {
        several(failed, "entity", "entities")
    };
    html! { @if failed > 0 { (notice(Tone::Warn, &html! { a href="/failures" { (what) " failed" } ": what they have in common, and what to do." })) } }
}

/// A column's head, which sorts by it.
fn head(asked: &Asked, sort: &str, name: &str) -> Markup {
    let now = if asked.sort.is_empty() { "state" } else { &*asked.sort };
    let (order, next) = match now.strip_prefix('-') {
        Some(by) if by == sort => (Some("descending"), sort.to_owned()),
        None if now == sort => (Some("ascending"), format!("-{sort}")),
        _ => (None, sort.to_owned()),
    };
    let sign = match order {
        Some("ascending") => " ▲",
        Some(_) => " ▼",
        None => "",
    };
    html! { th scope="col" class=[matches!(sort, "records" | "gaps").then_some("num")] aria-sort=[order] { a href=(address(asked, Some(&next), 1)) { (name) span aria-hidden="true" { (sign) } } } }
}

fn address(asked: &Asked, sort: Option<&str>, page: usize) -> String {
    let page = if page > 1 { page.to_string() } else { String::new() };
    html::query(
        "/",
        &[("q", &asked.q), ("state", &asked.state), ("sort", sort.unwrap_or(&asked.sort)), ("page", &page)],
    )
}

fn line(row: &Row, health: Health, fares: Option<&Fares>, now: Timestamp) -> Markup {
    let href = format!("/tenants/{}", row.tenant);
    html! {
        tr {
            td data-label="State" { (badge(health.tone(), health.word())) @if let Some(why) = row.why(now) { span.sub { (out::cut(&why, 120)) } } }
            th scope="row" { a href=(href) { (row.tenant.as_str()) } @if let Some(name) = row.name() { span.sub { (name) } } }
            @match &row.last {
                Some(last) => {
                    td data-label="Last snapshot" { a href=(format!("{href}/snapshots/{}", last.run)) { (time(last.sealed)) } }
                    td.num data-label="Records" { (number(last.records)) }
                    td.num data-label="Gaps" { @if !last.gaps.is_empty() { (last.gaps.len()) } }
                }
                None => { td data-label="Last snapshot" { "none" } td {} td {} }
            }
            td data-label="Next run" { @match row.next(now) { Some(next) => (time(next)), None => span.soft { "by hand" } } }
            @if let Some(fares) = fares {
                td data-label="Run" { (workers::run(&row.tenant, fares)) }
                td data-label="Quota" { (workers::used(row.settings.as_ref().ok().map(|settings| settings.rate), fares)) }
            }
        }
    }
}
