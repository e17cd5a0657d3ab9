//! `/tenants/{tenant}/token`: store a token, and see what it may read. The token itself is never shown.

use std::collections::BTreeMap;

use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::catalogue;
use fermata_core::names::Tenant;
use fermata_core::settings::Settings;
use jiff::civil::Date;
use maud::{Markup, html};
use serde::Deserialize;

use super::tenant::{Done, Tab, tabs};
use crate::commands::EXPIRY_DAYS;
use crate::dashboard::access::{Person, Role};
use crate::dashboard::board::Row;
use crate::dashboard::html::{self, Place, Tone, badge, cli, csrf, notice, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::tasks::Check;
use crate::dashboard::{App, Shared, deeds, now};
use crate::out::{self, several};

/// What the form brings.
#[derive(Deserialize)]
pub(crate) struct Given {
    #[serde(default)]
    token: String,
    #[serde(default)]
    expires: String,
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Query(done): Query<Done>,
) -> Result<Response, Problem> {
    page(&app, &person, &tenant, &done.done, None).await
}

pub(crate) async fn store(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let problem = match day(&given.expires) {
        Ok(expires) => deeds::store_token(&app, &person, &tenant, &given.token, expires).await.err(),
        Err(problem) => Some(problem),
    };
    match problem {
        None => Ok(Redirect::to(&format!("/tenants/{tenant}/token?done=stored")).into_response()),
        // What they typed about the day stays; the token does not.
        Some(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => {
            page(&app, &person, &tenant, "", Some((&problem, &given.expires))).await
        }
        Some(problem) => Err(problem),
    }
}

pub(crate) async fn remove(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
) -> Result<Response, Problem> {
    deeds::remove_token(&app, &person, &tenant).await?;
    Ok(Redirect::to(&format!("/tenants/{tenant}/token?done=removed")).into_response())
}

/// A day as a form gives it; none where the field was left empty.
pub(crate) fn day(text: &str) -> Result<Option<Date>, Problem> {
    match text.trim() {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Problem::bad(format!("{text:?} is no day; one looks like 2027-01-31"))),
    }
}

async fn page(
    app: &Shared,
    person: &Person,
    tenant: &Tenant,
    done: &str,
    failed: Option<(&Problem, &str)>,
) -> Result<Response, Problem> {
    let settings = deeds::settings(app, tenant).await?;
    app.board.look(&app.vault, tenant).await;
    let body = html! {
        (tabs(app, tenant, Tab::Token))
        @match done {
            "stored" => (notice(Tone::Good, &html! { "Tempo takes the token, and it is stored, encrypted. Nobody can read it here." })),
            "removed" => (notice(Tone::Good, &html! { "The token is gone from here. Revoke it in Tempo, too: Settings, API Integration." })),
            _ => {}
        }
        @if let Some((problem, _)) = failed {
            (notice(Tone::Bad, &html! { strong { "Not stored. " } (out::plain(&problem.what)) "." @if let Some(hint) = &problem.hint { br; (hint) } }))
        }
        (facts(&settings))
        @if person.may(Role::Admin) { (form(person, &settings, failed.map_or("", |(_, day)| day))) }
        (coverage(app, &settings))
        (cli(&format!("fermata token set {tenant} < token.txt")))
    };
    let mut response = html::page(app, person, Place::Tenants, &format!("Token of {tenant}"), &body);
    if let Some((problem, _)) = failed {
        *response.status_mut() = problem.status;
    }
    Ok(response)
}

fn facts(settings: &Settings) -> Markup {
    let Some(token) = &settings.token else {
        return notice(Tone::Warn, &html! { "There is no token yet: nothing is backed up." });
    };
    let days = token.days_left(now());
    html! {
        section.card {
            dl.facts {
                dt { "State" }
                dd {
                    @if let Some(refused) = token.refused { (badge(Tone::Bad, "refused by Tempo")) " " (time(refused)) }
                    @else if days.is_some_and(|days| days < 0) { (badge(Tone::Bad, "expired")) }
                    @else if days.is_some_and(|days| days <= EXPIRY_DAYS) { (badge(Tone::Warn, "expires soon")) }
                    @else { (badge(Tone::Good, "stored")) }
                }
                dt { "Fingerprint" } dd { code { (token.fingerprint) } " " span.soft { "the first digits of its SHA-256" } }
                dt { "Stored" } dd { (time(token.stored)) @if let Some(who) = &token.stored_by { " by " (who) } }
                dt { "Expires" }
                dd {
                    @match (token.expires, days) {
                        (Some(day), Some(days)) if days >= 0 => { (day.to_string()) ", in " (several(u64::try_from(days).unwrap_or(0), "day", "days")) },
                        (Some(day), _) => { (day.to_string()) },
                        (None, _) => "nobody said: Tempo's tokens do, after 30 days unless set otherwise. Say the day below to be warned in time.",
                    }
                }
            }
        }
    }
}

fn form(person: &Person, settings: &Settings, expires: &str) -> Markup {
    let tenant = &settings.tenant;
    let replace = settings.token.is_some();
    html! {
        section.card {
            h2 { @if replace { "Replace the token" } @else { "Store a token" } }
            p { "In Jira: Apps, Tempo, Settings, Data Access, API Integration, New Token; as a user who is a Tempo Administrator, with full access." }
            form method="post" action=(format!("/tenants/{tenant}/token")) autocomplete="off" {
                (csrf(person))
                div.field {
                    label for="token" { "Tempo API token" }
                    input id="token" name="token" type="password" autocomplete="new-password" spellcheck="false" required aria-describedby="token-hint";
                    p.hint.soft id="token-hint" { "It is asked of Tempo once whether it is good, then encrypted. It is never shown again." }
                }
                div.field {
                    label for="expires" { "Expires on " small { "as Tempo shows it" } }
                    input id="expires" name="expires" type="date" value=(expires);
                }
                button.primary type="submit" { @if replace { "Replace it" } @else { "Store it" } }
            }
            @if replace {
                details {
                    summary { "Remove the token" }
                    p { "Nothing is backed up without one. Snapshots stay." }
                    form method="post" action=(format!("/tenants/{tenant}/token/remove")) { (csrf(person)) button.danger type="submit" { "Remove it" } }
                }
            }
        }
    }
}

/// What the token may read: as far as it was asked here, else as the last snapshot shows it.
fn coverage(app: &App, settings: &Settings) -> Markup {
    let fingerprint = settings.token.as_ref().map_or("", |token| &token.fingerprint);
    let check = app.tasks.check(&settings.tenant).filter(|check| check.fingerprint == fingerprint);
    let row = app.board.row(&settings.tenant);
    html! {
        section id="coverage" data-live data-say=(check.as_ref().map(Check::sum).unwrap_or_default()) {
            @match (&check, row.as_deref()) {
                (Some(check), _) => (checked(check)),
                (None, row) => (known(settings, row)),
            }
        }
    }
}

fn checked(check: &Check) -> Markup {
    let tone = match &check.ended {
        None => Tone::Busy,
        Some(Err(_)) => Tone::Bad,
        Some(Ok(())) if check.gaps() > 0 => Tone::Warn,
        Some(Ok(())) => Tone::Good,
    };
    html! {
        h2 { "What it may read" }
        (notice(tone, &html! { (check.sum()) }))
        @if check.ended.is_none() { p { progress max=(check.all) value=(check.entities.len()) aria-label="entities asked" {} } }
        div.scroll { table.stack {
            thead { tr { th scope="col" { "Entity" } th scope="col" { "Readable" } th scope="col" { "Why not" } th scope="col" { "What to grant" } } }
            tbody {
                @let order = |readable: Option<bool>| match readable { Some(false) => 0, None => 1, Some(true) => 2 };
                @let sorted = { let mut all: Vec<_> = check.entities.iter().collect(); all.sort_by_key(|entity| order(entity.readable)); all };
                @for entity in sorted {
                    tr {
                        th scope="row" { (entity.entity) }
                        td data-label="Readable" { @match entity.readable { Some(true) => (badge(Tone::Good, "yes")), Some(false) => (badge(Tone::Bad, "no")), None => (badge(Tone::Quiet, "unknown")) } }
                        td data-label="Why not" { @if let Some(reason) = &entity.reason { (out::plain(reason)) } }
                        td data-label="What to grant" { @if entity.readable == Some(false) { (grant(entity.entity)) } }
                    }
                }
            }
        } }
    }
}

/// What to grant, in the words of Tempo's settings.
pub(crate) fn grant(entity: &str) -> &'static str {
    catalogue::entity(entity).map_or("", |entity| entity.family.grant())
}

/// What it was found to read when it was last asked, or when the last snapshot was made, whichever was later.
fn known(settings: &Settings, row: Option<&Row>) -> Markup {
    let checked = settings.token.as_ref().and_then(|token| token.checked.as_ref());
    let checked = checked.map(|checked| (checked.at, checked.gaps.clone()));
    let last = row.and_then(|row| row.last.as_ref()).map(|last| {
        let gaps = last.gaps.iter().filter(|gap| !gap.failed);
        (last.sealed, gaps.map(|gap| (gap.entity.clone(), gap.reason.clone())).collect::<BTreeMap<_, _>>())
    });
    let newest = checked.into_iter().chain(last).max_by_key(|(at, _)| *at);
    let Some((at, gaps)) = newest else { return html! {} };
    html! {
        h2 { "What it could read " (time(at)) }
        @if gaps.is_empty() { (notice(Tone::Good, &html! { "Nothing was kept from it." })) }
        @else {
            div.scroll { table.stack {
                thead { tr { th scope="col" { "Entity" } th scope="col" { "Why not" } th scope="col" { "What to grant" } } }
                tbody { @for (entity, reason) in &gaps { tr {
                    th scope="row" { (entity) }
                    td data-label="Why not" { (out::plain(reason)) }
                    td data-label="What to grant" { (grant(entity)) }
                } } }
            } }
        }
        (cli(&format!("fermata token check {}", settings.tenant)))
    }
}
