//! The jobs of one run: parents before children, some at a time, each until its end.
//!
//! A fault puts a job back for a while; a refused token or a store that does not take what was read
//! ends the run, and every job that is at work logs the page it has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fermata_core::catalogue::{self, Entity, Key};
use fermata_core::checkpoint::{Cursor, Outcome, State};
use fermata_core::plan::{Plan, PlanError};
use fermata_tempo::client::Cost;
use fermata_tempo::{Client, Disposition, TempoError};
use fermata_vault::{Known, Log};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backup::{BackupError, Engine};
use crate::coverage;
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
    working: JoinSet<(Box<Job>, Attempts, Result<Outcome, JobError>)>,
    pages: Arc<AtomicU64>,
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
    attempts: Attempts,
    not_before: Instant,
}

/// What was tried in vain.
#[derive(Clone, Copy, Default)]
struct Attempts {
    /// How often, since the job last got on.
    count: u32,
    /// The job's events at the first of them.
    events: u32,
    /// The pages of all jobs at the first of them.
    pages: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        plan: Arc<Plan>,
        client: Client,
        known: Arc<Known>,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            engine,
            plan,
            client,
            known,
            stop: stop.child_token(),
            waiting: Vec::new(),
            working: JoinSet::new(),
            pages: Arc::default(),
            done: BTreeMap::new(),
        }
    }

    /// Works until every job has ended.
    pub(crate) async fn work(mut self) -> Result<Ended, BackupError> {
        let now = Instant::now();
        for job in &self.plan.jobs {
            let entity =
                catalogue::entity(&job.entity).ok_or_else(|| PlanError::UnknownEntity(job.entity.clone()))?;
            self.waiting.push(Waiting { entity, job: None, attempts: Attempts::default(), not_before: now });
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
                    Ok((job, attempts, result)) => self.ended(job, attempts, result).await?,
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
        let Waiting { entity, job, attempts, .. } = waiting;
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
        let pages = self.pages.clone();
        self.working.spawn(async move {
            let told = |job: &Job| {
                pages.fetch_add(1, Ordering::Relaxed);
                let (tenant, tally) = (tenant.clone(), job.log.state().tally);
                teller.tell(Progress::Page { tenant, entity: job.entity.name, tally });
            };
            let result = job.run(&stop, told).await;
            (job, attempts, result)
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
            exhausted: 0,
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
        let given = |key: &Key| entity.parents().any(|parent| parent.gives(*key) && gave(parent.name));
        let key = entity.orphaned(cursor.fallback, given)?;
        let first = entity.parents().find(|parent| parent.gives(key))?.name;
        Some(format!("it is read per {}, and {first} could not be read", key.name()))
    }

    async fn ended(
        &mut self,
        job: Box<Job>,
        attempts: Attempts,
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
        let (attempts, pause) = match error.disposition() {
            Disposition::Token => return Err(BackupError::TokenRefused(self.plan.tenant.clone())),
            Disposition::Wait(pause) => (attempts, pause),
            _ => {
                let events = job.log.state().events;
                let first = Attempts { count: 0, events, pages: self.pages.load(Ordering::Relaxed) };
                let before = if attempts.count > 0 && attempts.events == events { attempts } else { first };
                let attempts = Attempts { count: before.count + 1, ..before };
                if attempts.count == ATTEMPTS_MAX {
                    return Box::pin(self.exhausted(job, attempts, error)).await;
                }
                let doubled = self.engine.attempt_pause.saturating_mul(1 << before.count);
                (attempts, doubled.min(Duration::from_mins(1)))
            }
        };
        tracing::warn!(entity = job.entity.name, attempts = attempts.count, ?pause, "put back: {error}");
        self.engine.teller.tell(Progress::Waiting {
            tenant: self.plan.tenant.clone(),
            entity: job.entity.name,
            seconds: pause.as_secs(),
            why: error.to_string(),
        });
        self.put_back(job, attempts, pause);
        Ok(())
    }

    fn put_back(&mut self, job: Box<Job>, attempts: Attempts, pause: Duration) {
        let not_before = Instant::now() + pause;
        self.waiting.push(Waiting { entity: job.entity, job: Some(job), attempts, not_before });
    }

    /// A job whose request failed too often. Where nothing at all is answered, that is no fault of the
    /// request: the run stays unfinished, and goes on when Tempo is back.
    async fn exhausted(
        &mut self,
        mut job: Box<Job>,
        attempts: Attempts,
        error: TempoError,
    ) -> Result<(), BackupError> {
        if self.pages.load(Ordering::Relaxed) == attempts.pages
            && let Err(silence) = coverage::answers(&self.client).await
            && silence.disposition() == Disposition::Retry
        {
            return Err(BackupError::Unreachable(error));
        }
        job.exhaust(&format!("given up after {} attempts: {error}", attempts.count)).await?;
        self.put_back(job, Attempts::default(), Duration::ZERO);
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
