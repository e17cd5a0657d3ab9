//! `/tenants/{tenant}`: one tenant, and what can be done about it.

use axum::Form;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use maud::{Markup, html};
use serde::Deserialize;

use crate::dashboard::access::{Person, Role};
use crate::dashboard::board::{Health, Row};
use crate::dashboard::html::{self, Place, Tone, badge, button, cli, csrf, notice, number, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{App, Shared, deeds, now};
use crate::desk::tenants;
use crate::exit;
use crate::out;

/// Pages about a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    Now,
    Token,
    Settings,
    Snapshots,
}

/// What a form has just done, as the address says it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Done {
    #[serde(default)]
    pub(crate) done: String,
}

/// The pages about a tenant, of which this is one.
pub(crate) fn tabs(app: &App, tenant: &Tenant, here: Tab) -> Markup {
    let link = |tab: Tab, path: &str, name: &str| {
        let href = format!("/tenants/{tenant}{path}");
        html! { a href=(href) aria-current=[(tab == here).then_some("page")] { (name) } }
    };
    html! {
        nav.tabs aria-label=(format!("Pages about {tenant}")) {
            (link(Tab::Now, "", "Now"))
            (link(Tab::Token, "/token", "Token"))
            (link(Tab::Snapshots, "/snapshots", "Snapshots"))
            (link(Tab::Settings, "/settings", "Settings"))
            @if app.queue.is_some() { a href=(format!("/jobs?tenant={tenant}")) { "Jobs" } }
        }
    }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Query(done): Query<Done>,
) -> Result<Response, Problem> {
    app.board.look(&app.vault, &tenant).await;
    let row = app.board.row(&tenant).ok_or_else(|| Problem::no_tenant(&tenant))?;
    let body = html! {
        (tabs(&app, &tenant, Tab::Now))
        @match done.done.as_str() {
            "backup" => (notice(Tone::Good, &html! { "The backup is on its way." })),
            "paused" => (notice(Tone::Good, &html! { "Paused: nothing of this tenant is begun until you let it go on." })),
            "resumed" => (notice(Tone::Good, &html! { "Backups go on." })),
            _ => {}
        }
        (state(&app, &row))
        (actions(&person, &row))
        (last(&row))
        (cli(&format!("fermata {} {tenant}", if app.queue.is_some() { "enqueue" } else { "backup" })))
    };
    let title = row.name().map_or_else(|| tenant.to_string(), |name| format!("{name} ({tenant})"));
    Ok(html::page(&app, &person, Place::Tenants, &title, &body))
}

fn state(app: &App, row: &Row) -> Markup {
    let now = now();
    let health = row.health(now);
    let tenant = &row.tenant;
    let backup = app.tasks.backup(tenant);
    let said =
        backup.as_ref().and_then(|backup| Some(backup.ended.as_ref()?.what.clone())).unwrap_or_default();
    html! {
        section.card id="state" data-live data-say=(said) {
            p.lead { (badge(health.tone(), health.word())) @if let Some(why) = row.why(now) { " " (why) } }
            @if let Some(advice) = advice(row, health) { p { (advice) } }
            @if let Some(run) = &row.unfinished {
                p { "A run is under way or was interrupted: " a href=(format!("/tenants/{tenant}/runs/{run}")) { (run.as_str()) } }
            }
            @if let Some(backup) = &backup {
                @match &backup.ended {
                    None => p { (badge(Tone::Busy, "backing up")) " since " (time(backup.began)) ", begun by " (backup.who) },
                    Some(ended) => {
                        p {
                            @match ended.code {
                                exit::DONE => (badge(Tone::Good, "done")),
                                exit::PARTIAL => (badge(Tone::Warn, "partial")),
                                _ => (badge(Tone::Bad, "failed")),
                            }
                            " " (time(ended.at)) ": " (ended.what)
                        }
                    }
                }
            }
            @if let Ok(settings) = &row.settings {
                p { "Due: " (tenants::schedule_in_words(settings)) @if let Some(next) = row.next(now) { "; next " (time(next)) } }
            }
        }
    }
}

/// What somebody does about it.
fn advice(row: &Row, health: Health) -> Option<Markup> {
    let tenant = &row.tenant;
    let token = format!("/tenants/{tenant}/token");
    let snapshot = || row.last.as_ref().map(|last| format!("/tenants/{tenant}/snapshots/{}", last.run));
    Some(match health {
        Health::NoToken | Health::Refused | Health::Expired | Health::Expiring => {
            html! { "Make a token in Tempo, and " a href=(token) { "store it here" } "." }
        }
        Health::Suspect => html! {
            "If the records were deleted, accept " a href=(snapshot()?) { "the snapshot" } "; if the token can no longer see them, "
            a href=(token) { "look at what it may read" } "."
        },
        Health::Failing | Health::Partial => {
            html! { "What is missing and why: " a href=(snapshot()?) { "the snapshot" } "." }
        }
        Health::Overdue => html! { "Is what begins the backups running? You can begin one now." },
        _ => return None,
    })
}

fn actions(person: &Person, row: &Row) -> Markup {
    let tenant = &row.tenant;
    let paused = row.settings.as_ref().is_ok_and(|settings| settings.paused);
    html! {
        @if person.may(Role::Operator) {
            div.actions {
                form.inline method="post" action=(format!("/tenants/{tenant}/backup")) {
                    (csrf(person))
                    button.primary type="submit" disabled[paused] { "Back up now" }
                    label.choice { input type="checkbox" name="full" value="1"; " read everything" }
                }
                @if paused { (button(person, Role::Operator, &format!("/tenants/{tenant}/resume"), "Let it go on")) }
                @else { (button(person, Role::Operator, &format!("/tenants/{tenant}/pause"), "Pause")) }
            }
        }
    }
}

fn last(row: &Row) -> Markup {
    let Some(last) = &row.last else {
        return html! { section id="last" data-live { p { "There is no snapshot of everything yet." } } };
    };
    html! {
        section id="last" data-live {
            h2 { "Last snapshot of everything" }
            dl.facts {
                dt { "Snapshot" } dd { a href=(format!("/tenants/{}/snapshots/{}", row.tenant, last.run)) { (last.run.as_str()) } }
                dt { "Sealed" } dd { (time(last.sealed)) }
                dt { "Records" } dd { (number(last.records)) }
                dt { "Stored" } dd { (out::bytes(last.stored)) }
                dt { "Requests" } dd { (number(last.requests)) }
            }
            @if !last.gaps.is_empty() {
                h3 { "What is missing" }
                div.scroll { table.stack {
                    thead { tr { th scope="col" { "Entity" } th scope="col" { "State" } th scope="col" { "Why" } } }
                    tbody { @for gap in &last.gaps { tr {
                        th scope="row" { (gap.entity) }
                        td data-label="State" { @if gap.failed { (badge(Tone::Bad, "failed")) } @else { (badge(Tone::Warn, "not read")) } }
                        td data-label="Why" { (out::plain(&gap.reason)) }
                    } } }
                } }
            }
        }
    }
}

/// What a backup is asked for.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    full: String,
    #[serde(default)]
    entity: String,
}

pub(crate) async fn back_up(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Form(asked): Form<Asked>,
) -> Result<Response, Problem> {
    let only = asked.entity.split_whitespace().map(str::to_owned).collect();
    let wish = Wish { only, from: None, full: !asked.full.is_empty() };
    deeds::back_up(&app, &person, &tenant, wish).await?;
    Ok(back(&tenant, "backup"))
}

pub(crate) async fn pause(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
) -> Result<Response, Problem> {
    deeds::hold(&app, &person, &tenant, true).await?;
    Ok(back(&tenant, "paused"))
}

pub(crate) async fn resume(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
) -> Result<Response, Problem> {
    deeds::hold(&app, &person, &tenant, false).await?;
    Ok(back(&tenant, "resumed"))
}

pub(crate) fn back(tenant: &Tenant, done: &str) -> Response {
    Redirect::to(&format!("/tenants/{tenant}?done={done}")).into_response()
}
