//! `/workers`: who works on what, and how each tenant's quota is used.

use std::collections::BTreeMap;

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::names::Tenant;
use fermata_fleet::JobState;
use fermata_fleet::queue::{AuditEntry, Filter, JobView, Place as Fares, QueueView, WorkerView};
use maud::{Markup, html};
use serde::Deserialize;

use super::{actions, job};
use crate::dashboard::access::{Person, Role};
use crate::dashboard::html::{self, PageNumber, Place, Tone, badge, cli, csrf, notice, number, pager, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::Asker;
use crate::dashboard::{Shared, now};
use crate::desk;
use crate::desk::jobs::{REASON_CHARS_MAX, check_reason};
use crate::out::{self, several};

/// Tenants on a page.
const SIZE: usize = 50;
/// Jobs at work that are shown; more than the places of any fleet that one Redis carries.
const RUNNING_MAX: usize = 20_000;
/// Jobs that are named of one worker.
const NAMED: usize = 6;

/// What is looked for, as it stands in the address.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    page: PageNumber,
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let queue = actions::queue(&app)?;
    let view = queue.view().await?;
    let running = Filter { state: Some(JobState::Running), ..Filter::default() };
    let (running, _) = queue.list(&running, RUNNING_MAX).await?;
    let mut held: BTreeMap<&str, Vec<&JobView>> = BTreeMap::new();
    for job in running.iter().filter(|job| person.sees(&job.tenant)) {
        held.entry(job.worker.as_deref().unwrap_or_default()).or_default().push(job);
    }
    let words = asked.q.trim().to_lowercase();
    let rows: Vec<_> = app.board.rows().into_iter().filter(|row| person.sees(&row.tenant)).collect();
    let rows: Vec<_> = rows.into_iter().filter(|row| row.tenant.as_str().contains(&words)).collect();
    let shown: Vec<_> = rows.iter().skip(asked.page.skips(SIZE)).take(SIZE).collect();
    let names: Vec<Tenant> = shown.iter().map(|row| row.tenant.clone()).collect();
    let fares = queue.places(&names).await?;
    let body = html! {
        section id="queue" data-live { (state(&view)) }
        (holding(&person, &view))
        h2 { "Workers" }
        section id="workers" data-live { (workers(&person, &view.workers, &held)) }
        h2 { "Quota of each tenant" }
        form.bar method="get" action="/workers" role="search" {
            div { label for="q" { "Tenant" } input id="q" type="search" name="q" value=(asked.q) autocomplete="off"; }
            button type="submit" { "Show" }
        }
        section id="quota" data-live {
            @if shown.is_empty() { p { "No tenant matches." } } @else {
                div.scroll { table.stack {
                    thead { tr {
                        th scope="col" { "Tenant" } th.num scope="col" { "Configured" } th scope="col" { "Used now" }
                        th.num scope="col" { "Requests" } th.num scope="col" { "Refused (429)" } th.num scope="col" { "At work" } th.num scope="col" { "In line" } th scope="col" { "Run" }
                    } }
                    tbody { @for (row, fares) in shown.iter().zip(&fares) {
                        (quota(&row.tenant, row.settings.as_ref().ok().map(|settings| settings.rate), fares))
                    } }
                } }
                (pager(asked.page.get(), SIZE, rows.len(), |page| html::query("/workers", &[("q", &asked.q), ("page", &page.to_string())])))
            }
        }
        p.soft { "Requests and refusals are counted since a tenant was last idle for an hour." }
        (cli("fermata queue status"))
    };
    Ok(html::page(&app, &person, Place::Workers, "Workers and quota", &body))
}

/// The queue in a few words.
fn state(view: &QueueView) -> Markup {
    let count = |state: JobState| view.jobs.get(&state).copied().unwrap_or(0);
    let now = now();
    html! {
        @if let Some(who) = &view.paused { (notice(Tone::Warn, &html! { "The queue was paused by " (out::plain(who)) ": nothing new is begun." })) }
        div.card {
            ul.counts { @for state in JobState::ALL { li { a href=(format!("/jobs?state={}", state.name())) { (number(count(state))) } " " (state.name()) } } }
            dl.facts {
                @if let Some(oldest) = view.oldest { dt { "Longest wait" } dd { (out::duration(now.duration_since(oldest).as_secs_f64().max(0.0))) } }
                dt { "Tenants" } dd { (several(view.tenants_ready, "takes turns", "take turns")) ", " (number(view.tenants_cooling)) " cooling, " (number(view.held.len() as u64)) " held back" }
            }
        }
    }
}

/// What holds the queue back, or lets it go on.
fn holding(person: &Person, view: &QueueView) -> Markup {
    let pause = view.paused.is_none();
    html! {
        @if person.may(Role::Operator) && person.tenants.is_none() {
            form.bar method="post" action=(if pause { "/queue/pause" } else { "/queue/resume" }) {
                (csrf(person))
                @if pause { div { label for="reason" { "Why" } input id="reason" name="reason" required maxlength=(REASON_CHARS_MAX); } }
                button type="submit" { @if pause { "Pause the queue" } @else { "Let the queue go on" } }
            }
        }
    }
}

fn workers(person: &Person, workers: &[WorkerView], held: &BTreeMap<&str, Vec<&JobView>>) -> Markup {
    if workers.is_empty() {
        return notice(
            Tone::Warn,
            &html! { "No worker was heard of in the last minute: " code { "fermata worker" } " starts one." },
        );
    }
    let mut versions: Vec<_> = workers.iter().map(|worker| &*worker.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let acts = person.may(Role::Operator) && person.tenants.is_none();
    html! {
        @if versions.len() > 1 { (notice(Tone::Warn, &html! { "Workers run different releases: " (versions.join(", ")) "." })) }
        div.scroll { table.stack {
            thead { tr {
                th scope="col" { "Worker" } th scope="col" { "State" } th scope="col" { "Release" } th.num scope="col" { "Places" } th scope="col" { "Heard of" } th scope="col" { "Holds" }
                @if acts { th scope="col" { "Do" } }
            } }
            tbody { @for worker in workers {
                @let jobs = held.get(&*worker.name).map(Vec::as_slice).unwrap_or_default();
                // What it says of itself is as old as its last renewal.
                @let busy = worker.busy.max(u32::try_from(jobs.len()).unwrap_or(u32::MAX));
                tr {
                    th scope="row" { (worker.name) }
                    td data-label="State" {
                        @if worker.stopping { (badge(Tone::Warn, "stopping")) }
                        @else if let Some(who) = &worker.drained { (badge(Tone::Warn, if busy > 0 { "draining" } else { "drained" })) span.sub { "by " (out::plain(who)) } }
                        @else if busy > 0 { (badge(Tone::Busy, "at work")) }
                        @else { (badge(Tone::Good, "idle")) }
                    }
                    td data-label="Release" { (worker.version) }
                    td.num data-label="Places" { (busy) " of " (worker.places) }
                    td data-label="Heard of" { (time(worker.seen)) }
                    td data-label="Holds" {
                        @for held in jobs.iter().take(NAMED) { a href=(job::href(&held.id)) { (held.tenant.as_str()) " " (held.entity) } br; }
                        @if jobs.len() > NAMED { "and " (jobs.len() - NAMED) " more" }
                    }
                    @if acts { td data-label="Do" {
                        form.inline method="post" action=(format!("/workers/{}/{}", worker.name, if worker.drained.is_some() { "undrain" } else { "drain" })) {
                            (csrf(person))
                            button type="submit" { @if worker.drained.is_some() { "Let it work" } @else { "Drain" } }
                        }
                    } }
                }
            } }
        } }
    }
}

/// How a tenant's quota is used.
fn quota(tenant: &Tenant, rate: Option<f64>, fares: &Fares) -> Markup {
    let (turns, pace) = (&fares.queue, &fares.pace);
    html! {
        tr {
            th scope="row" { a href=(format!("/tenants/{tenant}")) { (tenant.as_str()) } }
            td.num data-label="Configured" { @if let Some(rate) = rate { (rate) "/s" } }
            td data-label="Used now" { (used(rate, fares)) }
            td.num data-label="Requests" { (number(pace.granted)) }
            td.num data-label="Refused (429)" { (number(pace.refused)) }
            td.num data-label="At work" { (turns.busy) @if let Some(cap) = turns.cap { " of " (cap) } }
            td.num data-label="In line" { (number(turns.ready)) }
            td data-label="Run" { (run(tenant, fares)) }
        }
    }
}

/// How a tenant's quota is used, in a word.
pub(crate) fn used(rate: Option<f64>, fares: &Fares) -> Markup {
    let (turns, pace) = (&fares.queue, &fares.pace);
    html! {
        @if let Some(until) = turns.cooling.filter(|until| *until > now()) { (badge(Tone::Warn, "cooling")) " " (time(until)) }
        @else if turns.held.is_some() { (badge(Tone::Warn, "held back")) }
        @else if pace.workers == 0 { span.soft { "idle" } }
        @else {
            (badge(Tone::Busy, &format!("{:.0} %", pace.factor * 100.0)))
            @if let Some(rate) = rate { " " (format!("{:.1}/s", rate * pace.factor)) }
        }
    }
}

/// How far a tenant's run is.
pub(crate) fn run(tenant: &Tenant, fares: &Fares) -> Markup {
    html! {
        @if let Some(run) = &fares.run {
            a href=(format!("/tenants/{tenant}/runs/{}", run.run)) { (run.ended) " of " (run.all) }
            " " progress max=(run.all.max(1)) value=(run.ended) aria-label="entities that have ended" {}
        }
    }
}

/// Why, as a form says it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Reason {
    #[serde(default)]
    reason: String,
}

fn of_all(person: &Person) -> Result<(), Problem> {
    match person.tenants {
        None => Ok(()),
        Some(_) => {
            Err(Problem::new(StatusCode::FORBIDDEN, "this concerns tenants that you are not to know of"))
        }
    }
}

pub(crate) async fn pause(
    State(app): State<Shared>,
    person: Asker,
    Form(given): Form<Reason>,
) -> Result<Response, Problem> {
    hold(&app, &person, true, Some(given.reason)).await?;
    Ok(Redirect::to("/workers").into_response())
}

pub(crate) async fn resume(State(app): State<Shared>, person: Asker) -> Result<Response, Problem> {
    hold(&app, &person, false, None).await?;
    Ok(Redirect::to("/workers").into_response())
}

/// Holds the whole queue back, or lets it go on.
pub(crate) async fn hold(
    app: &Shared,
    person: &Person,
    pause: bool,
    reason: Option<String>,
) -> Result<(), Problem> {
    of_all(person)?;
    let queue = actions::queue(app)?;
    let reason = check_reason(reason).map_err(Problem::bad)?;
    if pause && reason.is_none() {
        return Err(Problem::bad("reason: say why; whoever looks next has to know"));
    }
    if queue.view().await?.paused.is_some() == pause {
        return Err(Problem::conflict(if pause {
            "the queue is paused already"
        } else {
            "the queue is not paused"
        }));
    }
    let entry = AuditEntry {
        at: now(),
        who: person.name.clone(),
        action: if pause { "pause" } else { "resume" }.to_owned(),
        target: "the whole queue".to_owned(),
        count: 1,
        reason: reason.clone(),
    };
    queue.audit(&entry).await?;
    if pause {
        let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        queue.pause(&format!("{}{why}", person.name)).await?;
    } else {
        queue.resume().await?;
    }
    app.changes.tell();
    Ok(())
}

pub(crate) async fn drain(
    State(app): State<Shared>,
    person: Asker,
    Path(worker): Path<String>,
) -> Result<Response, Problem> {
    set_drained(&app, &person, &worker, true).await?;
    Ok(Redirect::to("/workers").into_response())
}

pub(crate) async fn undrain(
    State(app): State<Shared>,
    person: Asker,
    Path(worker): Path<String>,
) -> Result<Response, Problem> {
    set_drained(&app, &person, &worker, false).await?;
    Ok(Redirect::to("/workers").into_response())
}

/// Has a worker take no new jobs, or take them again.
pub(crate) async fn set_drained(
    app: &Shared,
    person: &Person,
    worker: &str,
    drained: bool,
) -> Result<desk::queue::Drained, Problem> {
    of_all(person)?;
    let queue = actions::queue(app)?;
    let told = desk::queue::drain(queue, worker, drained, &person.name, None).await?;
    app.changes.tell();
    told.ok_or_else(|| Problem::missing(format!("no worker {worker} was heard of in the last minute")))
}
