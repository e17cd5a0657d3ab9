//! What can be asked of the queue of a fleet.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, Subcommand};
use fermata_core::names::{RunId, Tenant};
use fermata_fleet::{JobId, JobState};
use jiff::Timestamp;

use crate::desk::jobs::snooze_span;

/// What acts faster than this holds up the workers.
const RPS_MAX: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Jobs, with their state and what went wrong
    List {
        #[command(flatten)]
        which: WhichJobs,
        /// The most to list; what there is beyond them is counted
        #[arg(long, value_name = "N", default_value_t = 1_000)]
        limit: usize,
    },
    /// All that the queue knows of one job
    Show {
        /// Which, like acme/20261124T020000Z-4f9a1c/worklogs
        job: JobId,
    },
    /// Why a job is not running, in a sentence
    Why {
        /// Which, like acme/20261124T020000Z-4f9a1c/worklogs
        job: JobId,
    },
    /// Run jobs now, with all attempts before them; dead ones, unless --state says otherwise
    Retry(JobsAction),
    /// Leave what failed alone until a moment; dead jobs and those that wait to be tried again, unless --state says
    /// otherwise
    Snooze {
        #[command(flatten)]
        what: JobsAction,
        #[command(flatten)]
        time: SnoozeTime,
    },
    /// Stop jobs and give them up; all that have not ended, unless --state says otherwise
    Cancel(JobsAction),
    /// Take jobs out of the queue, so that their entities will be missing; all that are not done, unless --state
    /// says otherwise
    Discard(JobsAction),
}

#[derive(Debug, Args)]
pub(crate) struct WhichJobs {
    /// Jobs of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<Tenant>,
    /// Jobs of this run
    #[arg(long)]
    pub(crate) run: Option<RunId>,
    /// Jobs of this entity, or "seal"
    #[arg(long)]
    pub(crate) entity: Option<String>,
    /// Jobs in this state: running, queued, waiting, retry, parked, dead or done
    #[arg(long)]
    pub(crate) state: Option<JobState>,
    /// Jobs whose error has this in it, in letters of any case
    #[arg(long, value_name = "TEXT")]
    pub(crate) error: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct JobsAction {
    /// Which, by name: done at once
    #[arg(value_name = "JOB", conflicts_with_all = ["tenant", "run", "entity", "state", "error", "all"])]
    pub(crate) jobs: Vec<JobId>,
    #[command(flatten)]
    pub(crate) which: WhichJobs,
    /// Do it to all that are meant; without this (and without names) the command only says what it would do
    #[arg(long)]
    pub(crate) all: bool,
    /// Only say what it would do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Jobs a second at most
    #[arg(long, value_name = "N", default_value = "10", value_parser = rps)]
    pub(crate) rps: NonZeroU32,
    /// Why, for the list of what operators did
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SnoozeTime {
    /// How long, like 2h, 90m or 3d; at most seven days
    #[arg(long = "for", value_name = "SPAN", value_parser = snooze_span)]
    pub(crate) span: Option<Duration>,
    /// Until when, like 2026-11-25T06:00Z or 2026-11-25T07:00+01; at most in seven days
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "span")]
    pub(crate) until: Option<Timestamp>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// How many jobs wait, run and failed, who works, and what is held back and why
    Status,
    /// Begin no more jobs; what runs goes on to the end of its slice
    Pause(QueueAction),
    /// Let jobs go on
    Resume(QueueAction),
    /// Have a worker take no new jobs; it goes on with those that it has, and stays there
    Drain(WorkerAction),
    /// Have a worker take new jobs again
    Undrain(WorkerAction),
    /// What operators did, the latest first
    Audit,
}

#[derive(Debug, Args)]
pub(crate) struct QueueAction {
    /// Only this tenant's jobs
    #[arg(long)]
    pub(crate) tenant: Option<Tenant>,
    /// Why, for the list of what operators did
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerAction {
    /// Which, as `fermata queue status` names it
    pub(crate) worker: String,
    /// Why, for the list of what operators did
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

fn moment(text: &str) -> Result<Timestamp, &'static str> {
    text.parse().map_err(|_| "a moment looks like 2026-11-25T06:00Z, or 2026-11-25T07:00+01 with its zone")
}

fn rps(text: &str) -> Result<NonZeroU32, String> {
    let number = text.parse().ok().filter(|number: &NonZeroU32| number.get() <= RPS_MAX);
    number.ok_or_else(|| format!("it is a whole number from 1 to {RPS_MAX}"))
}
