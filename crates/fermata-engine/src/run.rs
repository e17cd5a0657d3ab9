//! The jobs of one run: parents before children, some at a time, each until its end.
//!
//! A fault puts a job back for a while; a refused token or a store that does not take what was read
//! ends the run, and every job that is at work logs the page it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fermata_core::catalogue::{self, Entity};
use fermata_core::checkpoint::{Cursor, Outcome, State};
use fermata_core::plan::{Plan, PlanError};
use fermata_tempo::client::Cost;
use fermata_tempo::{Client, Disposition};
use fermata_vault::{Known, Log};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backup::{BackupError, Engine};
use crate::items::Found;
use crate::job::{Job, JobError};
use crate::progress::Progress;

/// Jobs of one tenant that work at a time. At 5 requests/s a page that takes a second to come
/// needs as many in flight to use the whole quota.
const JOBS_AT_ONCE: usize = 6;
/// Attempts before a job is given up, in place retries not counted.
const ATTEMPTS_MAX: u32 = 8;

/// A run in the works.
pub(crate) struct Run<'a> {
    engine: &'a Engine,
    plan: Arc<Plan>,
    client: Client,
    known: Arc<Known>,
    stop: CancellationToken,
    waiting: Vec<Waiting>,
    working: JoinSet<(Box<Job>, u32, Result<Outcome, JobError>)>,
    done: BTreeMap<&'static str, Done>,
}

/// A run whose jobs have all ended.
pub(crate) struct Ended {
    pub(crate) plan: Arc<Plan>,
    pub(crate) states: BTreeMap<&'static str, State>,
}

/// A job that has ended, and what its children need of it.
struct Done {
    state: State,
    found: Found,
}

/// A job that waits for its parents, for a place, or for its time.
struct Waiting {
    entity: &'static Entity,
    job: Option<Box<Job>>,
    attempt: u32,
    not_before: Instant,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        plan: Arc<Plan>,
        client: Client,
        known: Arc<Known>,
        stop: &CancellationToken,
    ) -> Self {
        let (waiting, working, done) = (Vec::new(), JoinSet::new(), BTreeMap::new());
        Self { engine, plan, client, known, stop: stop.child_token(), waiting, working, done }
    }

    /// Works until every job has ended.
    pub(crate) async fn work(mut self) -> Result<Ended, BackupError> {
        let now = Instant::now();
        for job in &self.plan.jobs {
            let entity =
                catalogue::entity(&job.entity).ok_or_else(|| PlanError::UnknownEntity(job.entity.clone()))?;
            self.waiting.push(Waiting { entity, job: None, attempt: 1, not_before: now });
        }
        let worked = self.work_on().await;
        self.stop.cancel();
        // What is under way logs the page it has; then nothing of this run works any more.
        while self.working.join_next().await.is_some() {}
        worked?;
        let states = self.done.into_iter().map(|(name, done)| (name, done.state)).collect();
        Ok(Ended { plan: self.plan, states })
    }

    async fn work_on(&mut self) -> Result<(), BackupError> {
        loop {
            if self.stop.is_cancelled() {
                return Err(BackupError::Stopped);
            }
            // One moment for both questions, or a job whose time comes between them is never woken.
            let now = Instant::now();
            while self.working.len() < JOBS_AT_ONCE {
                let Some(next) = self.next_ready(now) else { break };
                self.start(next).await?;
            }
            if self.working.is_empty() && self.waiting.is_empty() {
                return Ok(());
            }
            let soon = self.waiting.iter().map(|waiting| waiting.not_before).filter(|at| *at > now).min();
            tokio::select! {
                () = self.stop.cancelled() => {}
                Some(ended) = self.working.join_next() => match ended {
                    Ok((job, attempt, result)) => self.ended(job, attempt, result).await?,
                    // A panic in a job is a bug; it must not pass for a job that ended.
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                () = tokio::time::sleep_until(soon.unwrap_or(now)), if soon.is_some() => {}
            }
        }
    }

    /// Takes out the first job whose parents are done and whose time has come.
    fn next_ready(&mut self, now: Instant) -> Option<Waiting> {
        let planned = |name: &str| self.plan.jobs.iter().any(|job| job.entity == name);
        let ready = |waiting: &Waiting| {
            let mut parents = waiting.entity.parents().filter(|parent| planned(parent.name));
            waiting.not_before <= now && parents.all(|parent| self.done.contains_key(parent.name))
        };
        let at = self.waiting.iter().position(ready)?;
        Some(self.waiting.remove(at))
    }

    async fn start(&mut self, waiting: Waiting) -> Result<(), BackupError> {
        let Waiting { entity, job, attempt, .. } = waiting;
        let mut job = match job {
            Some(job) => job,
            None => Box::new(self.open(entity).await?),
        };
        if job.log.state().outcome.is_none()
            && let Some(why) = self.orphaned(entity, &job.log.state().cursor)
        {
            job.give_up(Outcome::Skipped(why)).await?;
        }
        let (stop, teller, tenant) =
            (self.stop.clone(), self.engine.teller.clone(), self.plan.tenant.clone());
        self.working.spawn(async move {
            let told = |job: &Job| {
                let (tenant, tally) = (tenant.clone(), job.log.state().tally);
                teller.tell(Progress::Page { tenant, entity: job.entity.name, tally });
            };
            let result = job.run(&stop, told).await;
            (job, attempt, result)
        });
        Ok(())
    }

    async fn open(&self, entity: &'static Entity) -> Result<Job, BackupError> {
        let log = Log::open(&self.engine.vault, &self.plan.tenant, &self.plan.run, entity.name).await?;
        for left_out in log.left_out() {
            tracing::warn!(entity = entity.name, "checkpoint left out: {left_out}");
        }
        let mut found = Found::default();
        for parent in entity.parents() {
            let Some(done) = self.done.get(parent.name) else { continue };
            found.add(&done.found.keys, Some(&done.found.worklogs));
            if done.state.outcome != Some(Outcome::Complete) {
                found.partial.extend(parent.yields.iter().map(|given| (given.key, parent.name)));
            }
        }
        Ok(Job {
            entity,
            plan: self.plan.clone(),
            client: self.client.clone(),
            log,
            found: Arc::new(found),
            known: self.known.clone(),
            clock: self.engine.clock,
            limit: None,
            spent: Cost::default(),
        })
    }

    /// Why an entity cannot be read at all: nothing that gives one of its keys could be.
    fn orphaned(&self, entity: &Entity, cursor: &Cursor) -> Option<String> {
        let gave = |name: &str| {
            let done = self.done.get(name);
            done.is_some_and(|done| {
                done.state.outcome == Some(Outcome::Complete) || done.state.tally.records > 0
            })
        };
        let keys = entity.reads(cursor.fallback).iter().flat_map(|read| read.over.keys());
        keys.copied().find_map(|key| {
            let mut givers =
                entity.parents().filter(|parent| parent.gives(key)).map(|parent| parent.name).peekable();
            let first = *givers.peek()?;
            (!givers.any(gave))
                .then(|| format!("it is read per {}, and {first} could not be read", key.name()))
        })
    }

    async fn ended(
        &mut self,
        mut job: Box<Job>,
        attempt: u32,
        result: Result<Outcome, JobError>,
    ) -> Result<(), BackupError> {
        let error = match result {
            Ok(outcome) => {
                self.finish(&job, outcome);
                return Ok(());
            }
            Err(JobError::Tempo(error)) => error,
            Err(JobError::Vault(error)) => return Err(error.into()),
            Err(JobError::Stopped) => return Err(BackupError::Stopped),
        };
        let (attempt, pause) = match error.disposition() {
            Disposition::Token => return Err(BackupError::TokenRefused(self.plan.tenant.clone())),
            Disposition::Wait(pause) => (attempt, pause),
            _ if attempt >= ATTEMPTS_MAX => {
                let why = format!("given up after {attempt} attempts: {error}");
                job.give_up(Outcome::Failed(why.clone())).await?;
                self.finish(&job, Outcome::Failed(why));
                return Ok(());
            }
            _ => {
                let doubled = self.engine.attempt_pause.saturating_mul(1 << (attempt - 1));
                (attempt + 1, doubled.min(Duration::from_mins(1)))
            }
        };
        tracing::warn!(entity = job.entity.name, attempt, ?pause, "put back: {error}");
        self.engine.teller.tell(Progress::Waiting {
            tenant: self.plan.tenant.clone(),
            entity: job.entity.name,
            seconds: pause.as_secs(),
            why: error.to_string(),
        });
        let entity = job.entity;
        self.waiting.push(Waiting { entity, job: Some(job), attempt, not_before: Instant::now() + pause });
        Ok(())
    }

    fn finish(&mut self, job: &Job, outcome: Outcome) {
        let state = job.log.state().clone();
        self.engine.teller.tell(Progress::Ended {
            tenant: self.plan.tenant.clone(),
            entity: job.entity.name,
            outcome,
            tally: state.tally,
        });
        let mut found = Found::default();
        let worklogs = job.entity.gives(catalogue::Key::Worklog).then(|| job.log.seen().ids());
        found.add(job.log.keys(), worklogs);
        self.done.insert(job.entity.name, Done { state, found });
    }
}
