//! `/jobs/{tenant}/{run}/{entity}`: one job, and why it is not running.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use fermata_core::names::RunId;
use fermata_fleet::queue::{JobView, Past, PastTurn};
use fermata_fleet::{JobId, JobState};
use maud::html;

use super::actions;
use super::jobs::state;
use super::tenant::Done;
use crate::dashboard::Shared;
use crate::dashboard::html::{self, Place, Tone, badge, cli, notice, number, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::out;

/// Where a job is shown.
pub(crate) fn href(id: &JobId) -> String {
    format!("/jobs/{id}")
}

/// The job of a path.
pub(crate) fn id(Theirs(tenant): Theirs, run: &str, entity: &str) -> Result<JobId, Problem> {
    let run: RunId = run.parse().map_err(|_| Problem::missing(format!("{run:?} is no run")))?;
    format!("{tenant}/{run}/{entity}")
        .parse()
        .map_err(|error: fermata_fleet::queue::BadJobId| Problem::missing(error.to_string()))
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    theirs: Theirs,
    Path((_, run, entity)): Path<(String, String, String)>,
    Query(done): Query<Done>,
) -> Result<Response, Problem> {
    let id = id(theirs, &run, &entity)?;
    let queue = actions::queue(&app)?;
    let Some(job) = queue.job(&id).await? else {
        let body = html! {
            @if done.done == "discard" { (notice(Tone::Good, &html! { "Discarded: it is out of the queue." })) }
            @else { (notice(Tone::Quiet, &html! { "The queue knows of no such job: it was discarded, or ended more than a day ago." })) }
            p { a href=(format!("/tenants/{}/runs/{}", id.tenant, id.run)) { "Its run" } " · " a href=(format!("/tenants/{}", id.tenant)) { (id.tenant.as_str()) } }
        };
        return Ok(html::page(&app, &person, Place::Jobs, &id.to_string(), &body));
    };
    let (why, past) = (queue.why(&job).await?, queue.past(&id).await?);
    let body = html! {
        @match done.done.as_str() {
            "retry" => (notice(Tone::Good, &html! { "It is tried again." })),
            "snooze" => (notice(Tone::Good, &html! { "Put off." })),
            "cancel" => (notice(Tone::Good, &html! { "Cancelled: if it was running it stops within seconds." })),
            _ => {}
        }
        section.card id="state" data-live {
            p.lead { (state(job.state)) " " (out::plain(&why)) }
            dl.facts {
                dt { "Tenant" } dd { a href=(format!("/tenants/{}", job.tenant)) { (job.tenant.as_str()) } }
                dt { "Run" } dd { a href=(format!("/tenants/{}/runs/{}", job.tenant, job.run)) { (job.run.as_str()) } }
                dt { "Entity" } dd { (job.entity) }
                @if let Some(since) = job.since { dt { "Since" } dd { (time(since)) } }
                dt { "Attempt" } dd { (job.attempt) " of " (job.attempts_max) }
                @if let Some(next) = actions::waits_until(&job) { dt { "Next" } dd { (time(next)) } }
                @if let Some(worker) = &job.worker { dt { "Worker" } dd { (worker) } }
                @if job.lost > 0 { dt { "Lost" } dd { "with " (out::several(job.lost.into(), "worker", "workers")) " since it last got on" } }
                @if let Some(progress) = job.progress {
                    dt { "Checkpoint" }
                    dd { (number(progress.records)) " records, " (number(progress.requests)) " requests, " (number(progress.events.into())) " steps stored: whoever takes it next goes on from there" }
                }
            }
            (failed(&job))
            div.actions { (actions::buttons(&person, &job)) }
        }
        (timeline(&past))
        (lines(&job))
    };
    Ok(html::page(&app, &person, Place::Jobs, &id.to_string(), &body))
}

/// What failed last, as far as it may be shown: the request, and what the answer said.
fn failed(job: &JobView) -> maud::Markup {
    html! {
        @if let Some(error) = &job.error {
            h2 { "What failed" }
            pre tabindex="0" { (out::plain(error)) }
        }
    }
}

/// What became of it, the latest first.
fn timeline(past: &[PastTurn]) -> maud::Markup {
    html! {
        @if !past.is_empty() {
            section id="past" data-live {
                h2 { "What became of it" }
                div.scroll { table.stack {
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Took" } th scope="col" { "By" } th scope="col" { "Why" } } }
                    tbody { @for turn in past { tr {
                        th scope="row" { (time(turn.ended)) }
                        td data-label="What" { (badge(tone(turn.what), turn.what.words())) @if turn.turns > 1 { " " (number(turn.turns.into())) " times" } }
                        td data-label="Took" { @if turn.ended > turn.began { (out::duration(turn.ended.duration_since(turn.began).as_secs_f64())) } }
                        td data-label="By" { (out::plain(&turn.by)) }
                        td data-label="Why" { @if let Some(detail) = &turn.detail { (out::plain(detail)) } }
                    } } }
                } }
            }
        }
    }
}

fn tone(what: Past) -> Tone {
    match what {
        Past::Done => Tone::Good,
        Past::Dead | Past::Lost => Tone::Bad,
        Past::Fault | Past::Cancel => Tone::Warn,
        Past::Again | Past::Back | Past::Waiting | Past::Reopen | Past::Retry | Past::Snooze => Tone::Quiet,
    }
}

/// The same on the command line.
fn lines(job: &JobView) -> maud::Markup {
    html! {
        (cli(&format!("fermata jobs show {}", job.id)))
        @if matches!(job.state, JobState::Dead | JobState::Retry) { (cli(&format!("fermata jobs retry {}", job.id))) }
    }
}
