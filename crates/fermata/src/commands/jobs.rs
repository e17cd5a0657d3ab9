//! `fermata jobs`: what is in the queue, why it does not run, and what an operator does about it.
//!
//! What is done to many jobs is first said: how many, some of them, and which of those that match cannot be acted on.
//! Each job is acted on only if it is still in the state it was seen in, and a line in the audit list comes before.

mod act;

use fermata_core::catalogue;
use fermata_fleet::queue::{Action, Filter, JobView, SEAL};
use fermata_fleet::{JobId, JobState, Queue};
use jiff::Timestamp;
use serde::Serialize;

use super::fleet;
use crate::cli::{JobsCommand, WhichJobs};
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{self, Out, count, cut, from_now, moment, plain, table};

/// What went wrong, in a list; `jobs show` has all of it.
const NOTE_CHARS_MAX: usize = 160;

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
        JobsCommand::Cancel(what) => act::run(Action::Cancel, what, &queue, config, out).await,
        JobsCommand::Discard(what) => act::run(Action::Discard, what, &queue, config, out).await,
    }
}

async fn list(queue: &Queue, which: WhichJobs, limit: usize, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        jobs: Vec<JobView>,
        total: u64,
    }
    let filter = filter(which)?;
    let (jobs, total) = queue.list(&filter, limit).await?;
    let document = Document { schema: fermata_core::FORMAT, jobs, total };
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
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        job: JobView,
        why: String,
    }
    let job = one(queue, id).await?;
    let why = queue.why(&job).await?;
    let document = Document { schema: fermata_core::FORMAT, job, why };
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
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(exit::DONE)
}

async fn why(queue: &Queue, id: &JobId, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        id: &'a JobId,
        state: JobState,
        why: String,
    }
    let job = one(queue, id).await?;
    let why = queue.why(&job).await?;
    let document = Document { schema: fermata_core::FORMAT, id, state: job.state, why };
    out.result(&document, || format!("{}: {}", document.id, plain(&document.why)))?;
    Ok(exit::DONE)
}

async fn one(queue: &Queue, id: &JobId) -> anyhow::Result<JobView> {
    queue.job(id).await?.ok_or_else(|| unknown(std::slice::from_ref(id)).into())
}

fn unknown(ids: &[JobId]) -> Usage {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    Usage(format!("there is no job {} in the queue; `fermata jobs list` shows them all", ids.join(", ")))
}

/// The filter that was meant; an entity that nobody knows is a typing error.
fn filter(which: WhichJobs) -> Result<Filter, Usage> {
    let WhichJobs { tenant, run, entity, state, error } = which;
    if let Some(name) = entity.as_ref().filter(|name| *name != SEAL && catalogue::entity(name).is_none()) {
        return Err(Usage(format!(
            "--entity: there is no entity {name:?}; `fermata token check` lists them all"
        )));
    }
    Ok(Filter { tenant, run, entity, state, error })
}

/// What there is to say of a job in a list.
fn note(job: &JobView) -> String {
    let waits = (!job.waits_for.is_empty()).then(|| format!("waits for {}", job.waits_for.join(", ")));
    let running = job.worker.as_ref().map(|worker| format!("on {worker}"));
    let said = waits.or(running).or(job.why.clone()).or(job.error.clone()).unwrap_or_default();
    cut(&plain(&said), NOTE_CHARS_MAX)
}
