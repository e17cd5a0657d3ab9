//! Back up one tenant: plan or resume, do the jobs, seal.
//!
//! ```text
//! settings -> plan.json -> jobs (some at a time) -> manifest -> checkpoints swept
//!                            ^ parents before children; a fault puts a job back, a refused token ends all
//! ```
//!
//! Whatever stops it, the same call goes on where the logs end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fermata_core::catalogue::{self, Entity};
use fermata_core::checkpoint::{Cursor, Outcome, State};
use fermata_core::manifest::Manifest;
use fermata_core::names::{RUN_TAIL_CHARS, RunId, Tenant};
use fermata_core::plan::{self, Plan, PlanError, Wish};
use fermata_core::settings::Settings;
use fermata_tempo::client::{ClientError, Cost};
use fermata_tempo::{Client, Disposition, Pace};
use fermata_vault::{Known, Log, Vault, VaultError};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::items::Found;
use crate::job::{Job, JobError};
use crate::progress::{Progress, Teller};
use crate::report::Report;
use crate::seal;

/// Jobs of one tenant that work at a time. At 5 requests/s a page that takes a second to come
/// needs as many in flight to use the whole quota.
const JOBS_AT_ONCE: usize = 6;
/// Attempts before a job is given up, in place retries not counted.
const ATTEMPTS_MAX: u32 = 8;
/// An unfinished run older than this is begun anew: it would mix data of two weeks into one snapshot.
const RESUME_HOURS_MAX: i64 = 7 * 24;

/// What backs tenants up.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where to.
    pub vault: Vault,
    /// The time.
    pub clock: Clock,
    /// How requests are made.
    pub client: fermata_tempo::Options,
    /// The first pause before a job is tried again; it doubles up to a minute.
    pub attempt_pause: Duration,
    /// Who hears of it.
    pub teller: Teller,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Never added, or removed.
    #[error("there is no tenant {0}; add it with `fermata tenant add {0}`")]
    NoTenant(Tenant),
    /// Held back by its operator.
    #[error("tenant {0} is paused; `fermata tenant resume {0}` lets it go on")]
    Paused(Tenant),
    /// Added, and no token stored yet.
    #[error("tenant {0} has no token yet; store one with `fermata token set {0}`")]
    NoToken(Tenant),
    /// Tempo refused the token.
    #[error(
        "Tempo refuses the token of tenant {0}; make a new one in Tempo and store it with `fermata token set {0}`"
    )]
    TokenRefused(Tenant),
    /// Not a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Not a client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Told to stop.
    #[error("stopped; nothing is lost, and the same command goes on from here")]
    Stopped,
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

/// A run in the works.
struct Run<'a> {
    engine: &'a Engine,
    plan: Arc<Plan>,
    client: Client,
    known: Arc<Known>,
    stop: CancellationToken,
    waiting: Vec<Waiting>,
    working: JoinSet<(Box<Job>, u32, Result<Outcome, JobError>)>,
    done: BTreeMap<&'static str, Done>,
}

impl Engine {
    /// Backs up one tenant, from its last checkpoint if a run of the same wish is unfinished.
    pub async fn backup(
        &self,
        tenant: &Tenant,
        wish: Wish,
        stop: &CancellationToken,
    ) -> Result<Report, BackupError> {
        let began = Instant::now();
        let settings = self.settings(tenant).await?;
        let token = self.vault.open_token(&settings)?;
        let client = Client::new(&settings.base_url, &token, Pace::new(settings.rate), &self.client)?;
        let last = self.vault.latest(tenant).await?;
        let known = match &last {
            Some(manifest) => self.vault.known(manifest).await?,
            None => Known::default(),
        };
        self.sweep_leftovers(tenant).await?;
        let (plan, resumed) = self.plan(&settings, wish).await?;
        self.teller.tell(Progress::Begun {
            tenant: tenant.clone(),
            run: plan.run.clone(),
            resumed,
            jobs: plan.jobs.len(),
            expected: last.as_ref().map(Manifest::records),
        });
        let run = Run {
            engine: self,
            plan: Arc::new(plan),
            client,
            known: Arc::new(known),
            stop: stop.child_token(),
            waiting: Vec::new(),
            working: JoinSet::new(),
            done: BTreeMap::new(),
        };
        let manifest = match run.work().await {
            Ok(states) => self.seal(&settings, states).await?,
            Err(error) => {
                if matches!(error, BackupError::TokenRefused(_)) {
                    self.mark_refused(&settings).await?;
                }
                return Err(error);
            }
        };
        self.teller.tell(Progress::Sealed { tenant: tenant.clone(), run: manifest.run.clone() });
        Ok(Report::sealed(&manifest, resumed, began.elapsed().as_secs_f64()))
    }

    /// The settings of a tenant that can be backed up.
    async fn settings(&self, tenant: &Tenant) -> Result<Settings, BackupError> {
        let settings = self.vault.settings(tenant).await?.filter(|settings| !settings.removed);
        let settings = settings.ok_or_else(|| BackupError::NoTenant(tenant.clone()))?;
        if settings.paused {
            return Err(BackupError::Paused(tenant.clone()));
        }
        match &settings.token {
            None => Err(BackupError::NoToken(tenant.clone())),
            // Nothing is asked with a token that was refused once: Tempo may block an address that insists.
            Some(token) if token.refused.is_some() => Err(BackupError::TokenRefused(tenant.clone())),
            Some(_) => Ok(settings),
        }
    }

    /// The plan of the unfinished run, or a new one.
    async fn plan(&self, settings: &Settings, wish: Wish) -> Result<(Plan, bool), BackupError> {
        let tenant = &settings.tenant;
        let now = self.clock.now();
        for run in self.vault.unfinished_runs(tenant).await?.into_iter().rev() {
            let Some(plan) = self.vault.plan(tenant, &run).await? else { continue };
            let why = if plan.wish != wish {
                "it was asked for something else"
            } else if now.duration_since(plan.started).as_hours() >= RESUME_HOURS_MAX {
                "it is more than a week old"
            } else {
                return Ok((plan, true));
            };
            self.vault.delete_run(tenant, &run).await?;
            self.teller.tell(Progress::Dropped { tenant: tenant.clone(), run, why: why.to_owned() });
        }
        let tail = fermata_vault::nonce();
        let run = RunId::new(now, &tail[..RUN_TAIL_CHARS]).expect("a nonce is lower-case hexadecimal");
        let plan = plan::plan(settings, wish, run, now)?;
        self.vault.create_run(&plan).await?;
        Ok((plan, false))
    }

    async fn seal(&self, settings: &Settings, sealed: Ended) -> Result<Manifest, BackupError> {
        let manifest = seal::manifest(
            &sealed.plan,
            &settings.base_url,
            &sealed.states,
            fermata_vault::nonce(),
            self.clock.now(),
        );
        let manifest = match self.vault.write_manifest(&manifest).await? {
            fermata_vault::Sealed::Mine => manifest,
            fermata_vault::Sealed::Theirs(theirs) => *theirs,
        };
        if let Err(error) = self.vault.sweep_run(&manifest).await {
            // The snapshot is there; what is left of its checkpoints the next backup sweeps.
            tracing::warn!(tenant = %manifest.tenant, run = %manifest.run, "checkpoints not swept: {error}");
        }
        Ok(manifest)
    }

    /// Sweeps the checkpoints of sealed runs that a crash or a fault left.
    async fn sweep_leftovers(&self, tenant: &Tenant) -> Result<(), VaultError> {
        for leftover in self.vault.leftover_runs(tenant).await? {
            if let fermata_vault::Leftover::Sealed(run) = leftover {
                self.vault.delete_run(tenant, &run).await?;
            }
        }
        Ok(())
    }

    /// Marks the token that was used as refused; one that was stored meanwhile has not been tried.
    async fn mark_refused(&self, used: &Settings) -> Result<(), VaultError> {
        let now = self.clock.now();
        let Some(mut settings) = self.vault.settings(&used.tenant).await? else { return Ok(()) };
        match &mut settings.token {
            Some(token) if used.token.as_ref().is_some_and(|used| used.sealed == token.sealed) => {
                token.refused = Some(now);
            }
            _ => return Ok(()),
        }
        match self.vault.save_settings(settings, now).await {
            // Whoever wrote them meanwhile may have stored a new token; the next run will see.
            Ok(_) | Err(VaultError::Taken { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A run whose jobs have all ended.
struct Ended {
    plan: Arc<Plan>,
    states: BTreeMap<&'static str, State>,
}

impl Run<'_> {
    /// Works until every job has ended.
    async fn work(mut self) -> Result<Ended, BackupError> {
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
