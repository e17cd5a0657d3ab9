//! What a worker does with a job: a slice of it, from the store's checkpoint to the next.
//!
//! A job is only names. Its tenant's settings, its plan, its log and what its parents gave are in the store, so any
//! worker can go on with it; what it holds in memory between two slices is only there to save it the reading.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fermata_core::catalogue;
use fermata_core::checkpoint::Outcome;
use fermata_core::manifest::{EntryStatus, Manifest};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::{Plan, PlanError, Wish};
use fermata_core::settings::Settings;
use fermata_engine::job::{Job, JobError};
use fermata_engine::{Attempts, BackupError, Clock, Engine, SealRun, Site, trace};
use fermata_tempo::{Disposition, TempoError};
use fermata_vault::VaultError;
use jiff::Timestamp;
use rand::RngExt;
use tokio::time::Instant;
use tracing::Instrument;

use crate::backend::Held;
use crate::link::LinkError;
use crate::meters::Meters;
use crate::pace::{Budget, SharedPace};
use crate::produce::{ProduceError, Producer};
use crate::queue::{HeldFor, JobId, Queue, SEAL, Turn};

/// How long a worker stays at a job while others wait for the place.
pub const SLICE: Duration = Duration::from_secs(30);
/// How often it looks whether somebody waits, once its slice is over.
const LOOK: Duration = Duration::from_secs(1);
/// How long a job waits for what should have ended before it.
const PARENTS: Duration = Duration::from_secs(2);
/// The longest pause after a fault.
const RETRY_MAX: Duration = Duration::from_mins(10);
/// How long what a worker of another release is needed for is left alone.
const RELEASE: Duration = Duration::from_secs(20);
/// How long what only a person can mend at the store is left alone.
const OPERATOR: Duration = Duration::from_mins(1);
/// How long settings and plan are taken as they were read: a tenant has some fifty jobs, most of them a page.
const FRESH: Duration = Duration::from_secs(10);
/// Runs whose settings, plan and connections are kept at hand beyond those at work.
const SITES_SPARE: usize = 16;
/// Tenants whose lines are kept; beyond, only of those that are at work.
const PACES_MAX: usize = 1_000;

/// Carries out the jobs of the fleet.
pub struct Worker {
    /// What reads and writes.
    pub engine: Engine,
    /// Where jobs come from.
    pub queue: Queue,
    /// What tenants may ask.
    pub budget: Budget,
    /// The address that requests leave by, and what all tenants together may ask from there in a second.
    pub address: Option<(String, f64)>,
    /// How long a job keeps its place while others wait.
    pub slice: Duration,
    /// The time of day.
    pub now: fn() -> Timestamp,
    /// What is counted.
    pub meters: Arc<Meters>,
    /// What is kept at hand.
    pub at_hand: AtHand,
}

/// What a worker keeps between two slices, to save it the reading.
#[derive(Default)]
pub struct AtHand {
    sites: Mutex<HashMap<(Tenant, RunId), Known>>,
    paces: Mutex<HashMap<Tenant, (u64, SharedPace)>>,
}

/// A run's site, and the settings it was made from.
#[derive(Clone)]
struct Known {
    settings: Settings,
    site: Arc<Site>,
    read: Instant,
}

/// Why a turn did not come to its end.
enum Halt {
    /// Nothing more to do for it.
    Turn(Turn),
    /// Tempo refused the token.
    Token,
    Backup(BackupError),
    Link(LinkError),
}

impl Worker {
    /// Works a slice of a job.
    pub async fn turn(&self, held: Held) -> Turn {
        let began = Instant::now();
        let id = &held.claimed.id;
        let span = trace::turn(&id.tenant, &id.run, &id.entity, held.claimed.attempts);
        let turn = self.work_to_the_end(&held).instrument(span.clone()).await;
        trace::ended(&span, turn.name());
        self.meters.turn(&held.claimed.id, &turn, began.elapsed());
        tracing::info!(job = %held.claimed.id, ?turn, "turn over");
        turn
    }

    async fn work_to_the_end(&self, held: &Held) -> Turn {
        match self.work(held).await {
            Ok(turn) | Err(Halt::Turn(turn)) => turn,
            Err(Halt::Token) => {
                self.after(held, BackupError::TokenRefused(held.claimed.id.tenant.clone())).await
            }
            Err(Halt::Backup(error)) => self.after(held, error).await,
            Err(Halt::Link(error)) => {
                Turn::Waiting { pause: LOOK, why: format!("the worker could not ask the queue: {error}") }
            }
        }
    }

    async fn work(&self, held: &Held) -> Result<Turn, Halt> {
        let JobId { tenant, run, entity } = &held.claimed.id;
        let engine = Engine { clock: Clock::new((self.now)()), ..self.engine.clone() };
        let at_hand = self.known(tenant, run).filter(|known| known.read.elapsed() < FRESH && entity != SEAL);
        let Known { settings, site, .. } = if let Some(known) = at_hand {
            known
        } else {
            let settings = engine.settings(tenant).await?;
            // Another worker may have sealed the run, or an operator abandoned it.
            let Some(plan) = engine.vault.plan(tenant, run).await? else {
                return self.after_the_run(&engine, held).await;
            };
            if entity == SEAL {
                return self.seal(&engine, &plan).await;
            }
            self.read(&engine, settings, plan).await?
        };
        let Some(entity) = catalogue::entity(entity) else {
            return Ok(of_another_release(entity));
        };
        let given = site.given(entity).await?;
        self.check_parents(site.plan(), entity, &given).await?;
        let mut job = site.open(entity, &given).await?;
        if held.claimed.lost > 0 {
            self.queue.opened(&held.claimed, job.log.state().events).await?;
        }
        match self.slice(held, &site, &mut job).await {
            Ok(Outcome::Complete | Outcome::Skipped(_)) => Ok(Turn::Done),
            Ok(Outcome::Failed(why)) => Ok(Turn::Dead(why)),
            Err(Halt::Token) => {
                self.forget_all(tenant);
                engine.mark_refused(&settings).await?;
                // One that was stored meanwhile has not been tried.
                engine.settings(tenant).await?;
                Ok(Turn::Again)
            }
            Err(halt) => Err(halt),
        }
    }

    /// Works until the job ends, cannot go on now, or the slice is over and somebody waits for the place.
    async fn slice(&self, held: &Held, site: &Site, job: &mut Job) -> Result<Outcome, Halt> {
        let over = Instant::now() + self.slice;
        let claimed = &held.claimed;
        let mut attempts = Attempts { count: claimed.attempts, events: claimed.mark };
        loop {
            let told = |job: &Job| {
                let state = job.log.state();
                held.tell(state.events, state.tally.records, state.tally.requests);
                self.meters.page();
                if Instant::now() >= over && held.crowded() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            };
            let error = match job.run(&held.stop, told).await {
                Ok(outcome) => return Ok(outcome),
                Err(JobError::Tempo(error)) => error,
                Err(JobError::Vault(error)) => {
                    return Err(self.after_store(&error, attempts, job.log.state().events));
                }
                Err(JobError::Stopped) => return Err(Halt::Turn(stopped(held))),
            };
            match error.disposition() {
                Disposition::Token => return Err(Halt::Token),
                Disposition::Wait(pause) => {
                    return Err(Halt::Turn(Turn::Waiting { pause, why: error.to_string() }));
                }
                _ => {}
            }
            let events = job.log.state().events;
            attempts = attempts.spend(events);
            if !attempts.are_spent() {
                return Err(Halt::Turn(self.retry(attempts, error.to_string())));
            }
            if site.is_silent().await {
                return Err(Halt::Turn(unreachable(attempts, &error)));
            }
            job.exhaust(attempts.count, &error).await?;
            attempts = Attempts::default();
        }
    }

    /// A child must not take a parent that never ended for one that gave nothing.
    async fn check_parents(
        &self,
        plan: &Plan,
        entity: &'static catalogue::Entity,
        given: &fermata_engine::Given,
    ) -> Result<(), Halt> {
        let missing: Vec<_> =
            plan.parents(entity).map(|parent| parent.name).filter(|name| !given.contains_key(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let run = self.queue.run(&plan.tenant, &plan.run).await?.unwrap_or_default();
        let open: Vec<_> = missing.into_iter().filter(|name| !run.given_up.contains_key(*name)).collect();
        if open.is_empty() {
            return Ok(());
        }
        self.queue.reopen(&plan.tenant, &plan.run, &open).await?;
        let why = format!("{} had not ended, though the queue thought so", open.join(" and "));
        Err(Halt::Turn(Turn::Waiting { pause: PARENTS, why }))
    }

    async fn seal(&self, engine: &Engine, plan: &Plan) -> Result<Turn, Halt> {
        let given_up = self.queue.run(&plan.tenant, &plan.run).await?.unwrap_or_default().given_up;
        match engine.seal_run(plan, &given_up).await? {
            SealRun::Sealed(manifest) => {
                self.forget(&plan.tenant, &plan.run);
                self.meters.sealed(&manifest);
                tracing::info!(tenant = %plan.tenant, run = %plan.run, status = ?manifest.status, "sealed");
                Ok(Turn::Done)
            }
            SealRun::Unfinished(entities) => {
                Ok(Turn::Reopen(entities.into_iter().map(str::to_owned).collect()))
            }
        }
    }

    /// A job whose run has no plan any more: it is a snapshot, or was abandoned. A job that failed in a snapshot
    /// comes here when an operator tries it again; that takes a run of its own, which also reads what is missing for want of it.
    async fn after_the_run(&self, engine: &Engine, held: &Held) -> Result<Turn, Halt> {
        let JobId { tenant, run, entity } = &held.claimed.id;
        self.forget(tenant, run);
        let Some(manifest) = engine.vault.manifest(tenant, run).await? else { return Ok(Turn::Done) };
        let failed = |status| matches!(status, EntryStatus::Failed);
        let again = manifest.entities.iter().any(|entry| entry.entity == *entity && failed(entry.status));
        if !again || entity == SEAL {
            return Ok(Turn::Done);
        }
        let only = with_orphans(entity, &manifest);
        let wish = Wish { only, from: manifest.wish.from, ..Wish::default() };
        let producer = Producer { engine: engine.clone(), queue: self.queue.clone(), now: self.now };
        match producer.enqueue(tenant, wish).await {
            Ok(enqueued) => {
                tracing::info!(job = %held.claimed.id, run = %enqueued.run, "tried again in a run of its own");
                Ok(Turn::Done)
            }
            Err(ProduceError::Backup(error)) => Err(Halt::Backup(error)),
            Err(ProduceError::Link(error)) => Err(Halt::Link(error)),
            Err(error) => Ok(Turn::Waiting { pause: PARENTS, why: error.to_string() }),
        }
    }

    /// What becomes of a job whose tenant, token or store does not let it run.
    async fn after(&self, held: &Held, error: BackupError) -> Turn {
        let JobId { tenant, run, .. } = &held.claimed.id;
        let why = match &error {
            BackupError::Paused(_) => HeldFor::Paused,
            BackupError::NoToken(_) | BackupError::TokenRefused(_) => HeldFor::Token,
            BackupError::Vault(error) => {
                let attempts = Attempts { count: held.claimed.attempts, events: held.claimed.mark };
                let Halt::Turn(turn) = self.after_store(error, attempts, held.claimed.mark) else {
                    return Turn::Again;
                };
                return turn;
            }
            // Between two looks for its plan: nothing is left to be done for it.
            BackupError::Dropped { .. } => return Turn::Done,
            BackupError::Plan(PlanError::UnknownEntity(entity)) => return of_another_release(entity),
            BackupError::Client(_) => return self.retry(Attempts::default().spend(0), error.to_string()),
            _ => return Turn::Dead(error.to_string()),
        };
        self.forget(tenant, run);
        match self.queue.hold(tenant, why).await {
            Ok(_) => Turn::Back,
            Err(failed) => Turn::Waiting { pause: LOOK, why: failed.to_string() },
        }
    }

    /// A store that fails is no fault of the job: it is tried again for as long as it takes. What is broken in it is one.
    fn after_store(&self, error: &VaultError, attempts: Attempts, events: u32) -> Halt {
        use fermata_vault::Disposition;
        if error.is_of_the_store() {
            self.meters.store_failed();
        }
        Halt::Turn(match error.disposition() {
            Disposition::Retry => {
                let mut attempts = attempts.spend(events);
                attempts.count = attempts.count.min(fermata_engine::ATTEMPTS_MAX - 1);
                self.retry(attempts, error.to_string())
            }
            Disposition::Operator => {
                let Attempts { count, events } = attempts;
                Turn::Retry { pause: OPERATOR, error: error.to_string(), attempts: count, mark: events }
            }
            Disposition::GiveUp => Turn::Dead(error.to_string()),
        })
    }

    /// Full jitter: any pause up to the doubled one, so that what failed together does not come back together.
    fn retry(&self, attempts: Attempts, error: String) -> Turn {
        let doubled = self.engine.attempt_pause.saturating_mul(1 << attempts.count.saturating_sub(1).min(10));
        let pause = doubled.min(RETRY_MAX).mul_f64(rand::rng().random_range(0.0..1.0));
        Turn::Retry { pause, error, attempts: attempts.count, mark: attempts.events }
    }

    /// Where the jobs of a run work; what was at hand, if nothing changed that it was made from.
    async fn read(&self, engine: &Engine, settings: Settings, plan: Plan) -> Result<Known, Halt> {
        let key = (plan.tenant.clone(), plan.run.clone());
        let same = self.known(&key.0, &key.1).filter(|known| {
            known.settings.token == settings.token
                && known.settings.base_url == settings.base_url
                && known.settings.rate.to_bits() == settings.rate.to_bits()
        });
        let site = if let Some(known) = same {
            known.site
        } else {
            let pace = self.pace(&settings);
            Arc::new(engine.site(&settings, Arc::new(plan), pace).await?)
        };
        let known = Known { settings, site, read: Instant::now() };
        let mut sites = self.sites();
        if sites.len() > SITES_SPARE {
            sites.retain(|_, known| Arc::strong_count(&known.site) > 1);
        }
        sites.insert(key, known.clone());
        Ok(known)
    }

    /// The pace of a tenant: all its jobs in this process stand in one line.
    fn pace(&self, settings: &Settings) -> SharedPace {
        let mut paces = self.at_hand.paces.lock().unwrap_or_else(PoisonError::into_inner);
        if paces.len() >= PACES_MAX {
            paces.retain(|_, (_, pace)| pace.is_shared());
        }
        let rate = settings.rate.to_bits();
        match paces.get(&settings.tenant) {
            Some((same, pace)) if *same == rate => pace.clone(),
            _ => {
                let address = self.address.as_ref().map(|(name, rate)| (name.as_str(), *rate));
                let pace = self.budget.pace(&settings.tenant, settings.rate, address);
                paces.insert(settings.tenant.clone(), (rate, pace.clone()));
                pace
            }
        }
    }

    fn known(&self, tenant: &Tenant, run: &RunId) -> Option<Known> {
        self.sites().get(&(tenant.clone(), run.clone())).cloned()
    }

    fn forget(&self, tenant: &Tenant, run: &RunId) {
        self.sites().remove(&(tenant.clone(), run.clone()));
    }

    fn forget_all(&self, tenant: &Tenant) {
        self.sites().retain(|(other, _), _| other != tenant);
    }

    fn sites(&self) -> std::sync::MutexGuard<'_, HashMap<(Tenant, RunId), Known>> {
        self.at_hand.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entity, and what a snapshot lacks of the entities that are read by its keys, and by theirs.
fn with_orphans(entity: &str, manifest: &Manifest) -> BTreeSet<String> {
    let mut again = BTreeSet::from([entity.to_owned()]);
    loop {
        let orphan = catalogue::ENTITIES.iter().find(|child| {
            !again.contains(child.name)
                && child.parents().any(|parent| again.contains(parent.name))
                && manifest.entry(child.name).is_some_and(|entry| entry.status.is_gap())
        });
        let Some(orphan) = orphan else { return again };
        again.insert(orphan.name.to_owned());
    }
}

/// While a fleet is changed over there are workers of two releases: what one does not know is left to the other.
fn of_another_release(entity: &str) -> Turn {
    let why = format!("this worker's release knows no entity {entity}; it waits for a worker of another");
    Turn::Waiting { pause: RELEASE, why }
}

/// How a turn ends that was stopped.
fn stopped(held: &Held) -> Turn {
    if held.cancelled() {
        Turn::Dead("cancelled by an operator".to_owned())
    } else if held.draining() {
        Turn::Back
    } else {
        Turn::Again
    }
}

/// Where nothing at all is answered the request is not to blame, and giving it up would lose data for nothing.
fn unreachable(attempts: Attempts, error: &TempoError) -> Turn {
    let pause = RETRY_MAX.mul_f64(rand::rng().random_range(0.5..1.0));
    let count = attempts.count - 1;
    Turn::Retry {
        pause,
        error: format!("Tempo does not answer: {error}"),
        attempts: count,
        mark: attempts.events,
    }
}

impl From<BackupError> for Halt {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

impl From<VaultError> for Halt {
    fn from(error: VaultError) -> Self {
        Self::Backup(error.into())
    }
}

impl From<LinkError> for Halt {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker({:?})", self.queue.link())
    }
}

impl fmt::Debug for AtHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AtHand")
    }
}
