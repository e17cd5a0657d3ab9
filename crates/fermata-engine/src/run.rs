//! The jobs of one run: parents before children, some at a time, each until its end.
//!
//! A fault puts a job back for a while; a refused token or a store that does not take what was read
//! ends the run, and every job that is at work logs the page it has.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fermata_core::catalogue::Entity;
use fermata_core::checkpoint::{Outcome, State};
use fermata_tempo::{Disposition, TempoError};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::attempts::Attempts;
use crate::backup::{BackupError, Engine};
use crate::job::{Job, JobError};
use crate::progress::Progress;
use crate::site::{Gave, Given, Site};
use crate::trace;

/// Jobs of one tenant that work at a time. At 5 requests/s a page that takes a second to come
/// needs as many in flight to use the whole quota.
const JOBS_AT_ONCE: usize = 6;

/// A run in the works.
pub(crate) struct Run<'a> {
    engine: &'a Engine,
    site: Site,
    stop: CancellationToken,
    waiting: Vec<Waiting>,
    working: JoinSet<(Box<Job>, Tried, Result<Outcome, JobError>)>,
    pages: Arc<AtomicU64>,
    states: BTreeMap<&'static str, State>,
    given: Given,
}

/// A job that waits for its parents, for a place, or for its time.
struct Waiting {
    entity: &'static Entity,
    job: Option<Box<Job>>,
    tried: Tried,
    not_before: Instant,
}

/// What was tried in vain.
#[derive(Clone, Copy, Default)]
struct Tried {
    attempts: Attempts,
    /// The pages of all jobs at the first of them.
    pages: u64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(engine: &'a Engine, site: Site, stop: &CancellationToken) -> Self {
        Self {
            engine,
            site,
            stop: stop.child_token(),
            waiting: Vec::new(),
            working: JoinSet::new(),
            pages: Arc::default(),
            states: BTreeMap::new(),
            given: Given::new(),
        }
    }

    /// Works until every job has ended.
    pub(crate) async fn work(mut self) -> Result<BTreeMap<&'static str, State>, BackupError> {
        let now = Instant::now();
        for entity in self.site.plan.entities() {
            let entity = entity?;
            self.waiting.push(Waiting { entity, job: None, tried: Tried::default(), not_before: now });
        }
        let worked = self.work_on().await;
        self.stop.cancel();
        // What is under way logs the page it has; then nothing of this run works any more.
        while self.working.join_next().await.is_some() {}
        worked?;
        Ok(self.states)
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
                    Ok((job, tried, result)) => self.ended(job, tried, result).await?,
                    // A panic in a job is a bug; it must not pass for a job that ended.
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                () = tokio::time::sleep_until(soon.unwrap_or(now)), if soon.is_some() => {}
            }
        }
    }

    /// Takes out the first job whose parents are done and whose time has come.
    fn next_ready(&mut self, now: Instant) -> Option<Waiting> {
        let ready = |waiting: &Waiting| {
            let mut parents = self.site.plan.parents(waiting.entity);
            waiting.not_before <= now && parents.all(|parent| self.given.contains_key(parent.name))
        };
        let at = self.waiting.iter().position(ready)?;
        Some(self.waiting.remove(at))
    }

    async fn start(&mut self, waiting: Waiting) -> Result<(), BackupError> {
        let Waiting { entity, job, tried, .. } = waiting;
        let plan = &self.site.plan;
        let turn = trace::turn(&plan.tenant, &plan.run, entity.name, tried.attempts.count);
        let mut job = match job {
            Some(job) => job,
            None => Box::new(self.site.open(entity, &self.given).instrument(turn.clone()).await?),
        };
        let (stop, teller, tenant) =
            (self.stop.clone(), self.engine.teller.clone(), self.site.plan.tenant.clone());
        let pages = self.pages.clone();
        self.working.spawn(async move {
            let told = |job: &Job| {
                pages.fetch_add(1, Ordering::Relaxed);
                let (tenant, tally) = (tenant.clone(), job.log.state().tally);
                teller.tell(Progress::Page { tenant, entity: job.entity.name, tally });
                ControlFlow::Continue(())
            };
            let result = job.run(&stop, told).instrument(turn.clone()).await;
            trace::ended(&turn, outcome(&result));
            (job, tried, result)
        });
        Ok(())
    }

    async fn ended(
        &mut self,
        job: Box<Job>,
        tried: Tried,
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
        let (tried, pause) = match error.disposition() {
            Disposition::Token => return Err(BackupError::TokenRefused(self.site.plan.tenant.clone())),
            Disposition::Wait(pause) => (tried, pause),
            _ => {
                let attempts = tried.attempts.spend(job.log.state().events);
                let pages =
                    if attempts.count == 1 { self.pages.load(Ordering::Relaxed) } else { tried.pages };
                if attempts.are_spent() {
                    return Box::pin(self.exhausted(job, Tried { attempts, pages }, error)).await;
                }
                (Tried { attempts, pages }, attempts.pause(self.engine.attempt_pause))
            }
        };
        tracing::warn!(
            entity = job.entity.name,
            attempts = tried.attempts.count,
            ?pause,
            "put back: {error}"
        );
        self.engine.teller.tell(Progress::Waiting {
            tenant: self.site.plan.tenant.clone(),
            entity: job.entity.name,
            seconds: pause.as_secs(),
            why: error.to_string(),
        });
        self.put_back(job, tried, pause);
        Ok(())
    }

    fn put_back(&mut self, job: Box<Job>, tried: Tried, pause: Duration) {
        let not_before = Instant::now() + pause;
        self.waiting.push(Waiting { entity: job.entity, job: Some(job), tried, not_before });
    }

    /// A job whose request failed too often. Where nothing at all is answered, that is no fault of the
    /// request: the run stays unfinished, and goes on when Tempo is back.
    async fn exhausted(
        &mut self,
        mut job: Box<Job>,
        tried: Tried,
        error: TempoError,
    ) -> Result<(), BackupError> {
        if self.pages.load(Ordering::Relaxed) == tried.pages && self.site.is_silent().await {
            return Err(BackupError::Unreachable(error));
        }
        job.exhaust(tried.attempts.count, &error).await?;
        self.put_back(job, Tried::default(), Duration::ZERO);
        Ok(())
    }

    fn finish(&mut self, job: &Job, outcome: Outcome) {
        let state = job.log.state().clone();
        self.engine.teller.tell(Progress::Ended {
            tenant: self.site.plan.tenant.clone(),
            entity: job.entity.name,
            outcome,
            tally: state.tally,
        });
        self.given.insert(job.entity.name, Gave::of_log(job.entity, &job.log));
        self.states.insert(job.entity.name, state);
    }
}

/// How a turn ended. A run that ends with one goes on from its checkpoint some other time, so that turn gave its job back.
fn outcome(result: &Result<Outcome, JobError>) -> &'static str {
    match result {
        Ok(Outcome::Complete | Outcome::Skipped(_)) => "done",
        Ok(Outcome::Failed(_)) => "dead",
        Err(JobError::Stopped | JobError::Vault(_)) => "back",
        Err(JobError::Tempo(error)) => match error.disposition() {
            Disposition::Token => "back",
            Disposition::Wait(_) => "waiting",
            _ => "retry",
        },
    }
}
