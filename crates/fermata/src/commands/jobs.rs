//! `fermata jobs`: what is in the queue, why it does not run, and what an operator does about it.
//!
//! What is done to many jobs is first said: how many, some of them, and which of those that match cannot be acted on.
//! Each job is acted on only if it is still in the state it was seen in, and a line in the audit list comes before.

mod act;

use fermata_fleet::queue::{Action, Filter, JobView, PastTurn};
use fermata_fleet::{JobId, Queue};
use jiff::Timestamp;

use super::fleet;
use crate::cli::{JobsCommand, WhichJobs};
use crate::config::Config;
use crate::desk::jobs::{self as desk, note};
use crate::exit::{self, Usage};
use crate::out::{self, Out, count, from_now, moment, plain, table};

pub(crate) async fn run(
    command: JobsCommand,
    config: &Config,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    let queue = fleet::queue_at_once(config, &vault, out).await?;
    match command {
        JobsCommand::List { which, limit } => list(&queue, which, limit, out, now).await,
        JobsCommand::Show { job } => show(&queue, &job, out, now).await,
        JobsCommand::Why { job } => why(&queue, &job, out).await,
        JobsCommand::Retry(what) => act::run(Action::Retry, what, &queue, config, out).await,
        JobsCommand::Snooze { what, time } => {
            let until = match (time.span, time.until) {
                (Some(span), _) => now + span,
                (None, Some(until)) => {
                    desk::snooze_until(until, now).map_err(|wrong| Usage(format!("--until: {wrong}")))?
                }
                (None, None) => {
                    return Err(Usage("say until when: --for 2h or --until TIME".to_owned()).into());
                }
            };
            act::run(Action::Snooze(until), what, &queue, config, out).await
        }
        JobsCommand::Cancel(what) => act::run(Action::Cancel, what, &queue, config, out).await,
        JobsCommand::Discard(what) => act::run(Action::Discard, what, &queue, config, out).await,
    }
}

async fn list(queue: &Queue, which: WhichJobs, limit: usize, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let filter = filter(which)?;
    let document = desk::list(queue, &filter, limit).await?;
    out.result(&document, || {
        if document.total == 0 {
            let none = if filter.is_empty() { "There is no job in the queue." } else { "No job matches." };
            return none.to_owned();
        }
        let listed = lines(&document.jobs, now);
        let more = document.total.saturating_sub(document.jobs.len() as u64);
        if more == 0 {
            return listed;
        }
        format!(
            "{listed}\n\nAnd {} more, of {} in all: --limit lists more.",
            count(more),
            count(document.total)
        )
    })?;
    Ok(exit::DONE)
}

/// A table, or two lines for each job where the terminal is too narrow for one: names are there to be copied whole.
fn lines(jobs: &[JobView], now: Timestamp) -> String {
    let rows = jobs.iter().map(|job| {
        let next = job.next_at.map(|next| from_now(next, now)).unwrap_or_default();
        let attempt = format!("{}/{}", job.attempt, job.attempts_max);
        [job.id.to_string(), job.state.name().to_owned(), attempt, next, note(job)]
    });
    let listed = table(["JOB", "STATE", "ATTEMPT", "NEXT", "NOTE"], rows.clone());
    if !out::overflows(&listed) {
        return listed;
    }
    let blocks = rows.map(|[job, state, attempt, next, note]| {
        let more = [next, note].into_iter().filter(|part| !part.is_empty()).map(|part| format!(", {part}"));
        format!("{job}\n  {state}, attempt {attempt}{}", more.collect::<String>())
    });
    blocks.collect::<Vec<_>>().join("\n")
}

async fn show(queue: &Queue, id: &JobId, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let document = desk::show(queue, id).await?.ok_or_else(|| unknown(std::slice::from_ref(id)))?;
    out.result(&document, || {
        let job = &document.job;
        let mut rows = vec![("job", job.id.to_string())];
        let since = job.since.map(|since| format!(", since {}", moment(since, now))).unwrap_or_default();
        rows.push(("state", format!("{}{since}", job.state.name())));
        rows.push(("attempt", format!("{} of {}", job.attempt, job.attempts_max)));
        rows.extend(job.next_at.map(|next| ("next", moment(next, now))));
        rows.extend(job.worker.clone().map(|worker| ("worker", worker)));
        if !job.waits_for.is_empty() {
            rows.push(("waits for", job.waits_for.join(", ")));
        }
        if job.lost > 0 {
            rows.push(("lost", format!("with {} workers since it last got on", job.lost)));
        }
        rows.extend(job.progress.map(|progress| {
            let (records, requests) = (count(progress.records), count(progress.requests));
            ("progress", format!("{records} records, {requests} requests, {} steps", progress.events))
        }));
        rows.extend(job.error.as_deref().map(|error| ("error", plain(error))));
        rows.push(("why", plain(&document.why)));
        let lines = rows.into_iter().map(|(name, value)| format!("{name:<10} {value}"));
        let mut text = lines.collect::<Vec<_>>().join("\n");
        if !document.past.is_empty() {
            text = format!("{text}\n\n{}", past(&document.past, now));
        }
        text
    })?;
    Ok(exit::DONE)
}

/// What became of a job, a line for each entry and one for its reason.
fn past(entries: &[PastTurn], now: Timestamp) -> String {
    let lines = entries.iter().map(|entry| {
        let turns =
            if entry.turns == 1 { String::new() } else { format!(" ({} turns)", count(entry.turns.into())) };
        let by = plain(&entry.by);
        let by = if by.is_empty() { by } else { format!(", {by}") };
        let line = format!("{}  {}{turns}{by}", moment(entry.ended, now), entry.what.words());
        let detail = entry.detail.iter().map(|detail| format!("\n  {}", plain(detail)));
        line + &detail.collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

async fn why(queue: &Queue, id: &JobId, out: Out) -> anyhow::Result<u8> {
    let document = desk::why(queue, id).await?.ok_or_else(|| unknown(std::slice::from_ref(id)))?;
    out.result(&document, || format!("{}: {}", document.id, plain(&document.why)))?;
    Ok(exit::DONE)
}

fn unknown(ids: &[JobId]) -> Usage {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    Usage(format!("there is no job {} in the queue; `fermata jobs list` shows them all", ids.join(", ")))
}

/// The filter that was meant; an entity that nobody knows is a typing error.
fn filter(which: WhichJobs) -> Result<Filter, Usage> {
    let WhichJobs { tenant, run, entity, state, error } = which;
    if let Some(name) = &entity {
        desk::check_entity(name).map_err(|wrong| Usage(format!("--entity: {wrong}")))?;
    }
    Ok(Filter { tenant, run, entity, state, error })
}
