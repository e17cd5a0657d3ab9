//! `/tenants/{tenant}/runs/{run}`: how far a run is, entity by entity.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};
use fermata_fleet::JobState;
use maud::{Markup, html};

use super::snapshot::Of;
use super::tenant::{Tab, tabs};
use crate::dashboard::html::{self, Place, Tone, badge, cli, notice, number, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{App, Shared};
use crate::desk::runs::{self, Job, Queued, Shown};
use crate::out;

/// How often whoever looks at a run is told to look again.
const AGAIN: Duration = Duration::from_secs(2);

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = of.run()?;
    let title = format!("Run {run} of {tenant}");
    let Some(plan) = app.vault.plan(&tenant, &run).await? else {
        let snapshot = format!("/tenants/{tenant}/snapshots/{run}");
        if !app.vault.snapshots(&tenant).await?.contains(&run) {
            return Err(Problem::missing(format!("{tenant} has no run {run}; it ended, or was dropped")));
        }
        // A page that was open takes no other in its place.
        if !headers.contains_key("x-live") {
            return Ok(Redirect::to(&snapshot).into_response());
        }
        let done =
            notice(Tone::Good, &html! { "This run is done: " a href=(snapshot) { "its snapshot" } "." });
        let body = html! { section id="run" data-live data-say="This run is done." { (done) } };
        return Ok(html::page(&app, &person, Place::Tenants, &title, &body));
    };
    let queued = queued(&app, &plan).await;
    let shown = runs::glance(&app.vault, plan, queued.as_ref()).await?;
    look_again(&app);
    let body = html! {
        (tabs(&app, &tenant, Tab::Snapshots))
        section id="run" data-live { (jobs(&shown, queued.is_some())) }
        (cli(&format!("fermata runs show {tenant} {run}")))
    };
    Ok(html::page(&app, &person, Place::Tenants, &title, &body))
}

/// What the queue has of a run; without it the store says all that matters.
pub(crate) async fn queued(app: &App, plan: &fermata_core::plan::Plan) -> Option<Queued> {
    match runs::queued(app.queue.as_ref()?, plan).await {
        Ok(queued) => Some(queued),
        Err(error) => {
            tracing::warn!("the queue's states are not shown: {}", out::causes(&error.into()));
            None
        }
    }
}

/// On one machine nothing else tells that a run gets on.
fn look_again(app: &Shared) {
    static DUE: AtomicBool = AtomicBool::new(false);
    if DUE.swap(true, Ordering::Relaxed) {
        return;
    }
    let changes = app.changes.clone();
    tokio::spawn(async move {
        tokio::time::sleep(AGAIN).await;
        DUE.store(false, Ordering::Relaxed);
        changes.tell();
    });
}

fn jobs(shown: &Shown, queued: bool) -> Markup {
    let ended = shown.jobs.iter().filter(|job| job.state == "ended").count();
    let records: u64 = shown.jobs.iter().map(|job| job.records).sum();
    let requests: u64 = shown.jobs.iter().map(|job| job.requests).sum();
    let last = shown.jobs.iter().filter_map(|job| job.at).max();
    html! {
        p.lead { (number(ended as u64)) " of " (number(shown.jobs.len() as u64)) " entities, " (number(records)) " records, " (number(requests)) " requests" }
        p { progress max=(shown.jobs.len()) value=(ended) aria-label="entities done" {} }
        p { "Begun " (time(shown.started)) @match last { Some(last) => { ", last page " (time(last)) } None => ", no page yet" } }
        div.scroll { table.stack {
            thead { tr {
                th scope="col" { "Entity" }
                th scope="col" { "State" }
                @if queued { th scope="col" { "Queue" } }
                th.num scope="col" { "Records" }
                th scope="col" { "Of before" }
                th.num scope="col" { "Requests" }
                th scope="col" { "Last page" }
            } }
            tbody { @for job in &shown.jobs { (line(job, queued)) } }
        } }
    }
}

fn line(job: &Job, queued: bool) -> Markup {
    html! { tr {
        th scope="row" { (job.entity) }
        td data-label="State" {
            @match job.state {
                "ended" => (badge(Tone::Good, "ended")),
                "begun" => (badge(Tone::Busy, "begun")),
                state => (badge(Tone::Quiet, state)),
            }
        }
        @if queued { td data-label="Queue" { @if let Some(state) = job.queue { (in_queue(state)) } } }
        td.num data-label="Records" { (number(job.records)) }
        td data-label="Of before" {
            @if let Some(expected) = job.expected.filter(|expected| *expected > 0) {
                progress max=(expected) value=(job.records.min(expected)) aria-label=(format!("{} of before", job.entity)) {} " " (number(expected))
            }
        }
        td.num data-label="Requests" { (number(job.requests)) }
        td data-label="Last page" { @if let Some(at) = job.at { (time(at)) } }
    } }
}

fn in_queue(state: JobState) -> Markup {
    let tone = match state {
        JobState::Dead => Tone::Bad,
        JobState::Retry | JobState::Parked => Tone::Warn,
        JobState::Running => Tone::Busy,
        JobState::Done => Tone::Good,
        JobState::Queued | JobState::Waiting => Tone::Quiet,
    };
    badge(tone, state.name())
}
