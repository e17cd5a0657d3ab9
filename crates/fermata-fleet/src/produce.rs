//! From a wish to jobs in the queue.
//!
//! The run is planned in the store first, then its jobs are enqueued; whoever dies in between leaves an unfinished run,
//! which the next call of the same wish, or [`Producer::reconcile`], enqueues. All of it may be done twice.

use std::time::Duration;

use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::{Plan, Wish};
use fermata_core::schedule::{Schedule, ScheduleError};
use fermata_core::settings::Settings;
use fermata_engine::{BackupError, Begun, Clock, Engine};
use fermata_vault::VaultError;
use jiff::Timestamp;
use serde::Serialize;
use tracing::Span;
use tracing::field::Empty;

use crate::link::LinkError;
use crate::queue::{HeldFor, Queue, RunJobs};

/// Jobs of one tenant that may run at a time, whatever its quota.
pub(crate) const CAP_MAX: u32 = 6;
/// The time that a page takes to come, generously: so many seconds' worth of quota can be in flight.
const PAGE_SECONDS: f64 = 1.2;
/// How long a tenant is kept from being planned twice at once; planning takes seconds.
const PLANNING_SECONDS: u64 = 60;
/// How long a due time that was enqueued is remembered.
const DUE_SECONDS: u64 = 8 * 24 * 3600;
/// How long one that is being enqueued is kept from others; if this one dies another may try after it.
const DUE_TRY_SECONDS: u64 = 120;
/// An unfinished run older than this is not gone on with; the next backup begins anew.
const RESUME_HOURS_MAX: i64 = 7 * 24;
/// How long another producer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What puts jobs into the queue.
#[derive(Clone, Debug)]
pub struct Producer {
    /// What plans runs.
    pub engine: Engine,
    /// Where jobs go.
    pub queue: Queue,
    /// The time of day.
    pub now: fn() -> Timestamp,
}

/// A run whose jobs are in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Enqueued {
    /// Whose.
    pub tenant: Tenant,
    /// Which run.
    pub run: RunId,
    /// Whether it had begun before.
    pub resumed: bool,
    /// Jobs that were not in the queue.
    pub added: u64,
    /// Jobs that have not ended.
    pub open: u64,
}

/// Why nothing was enqueued.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// The tenant, its token, or the store.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Redis.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The tenant's schedule.
    #[error("the schedule of {tenant} cannot be read")]
    Schedule {
        /// Whose.
        tenant: Tenant,
        /// What is wrong with it.
        #[source]
        source: ScheduleError,
    },
    /// Another producer is at it.
    #[error("{0} is being enqueued by somebody else")]
    Busy(Tenant),
}

impl From<VaultError> for ProduceError {
    fn from(error: VaultError) -> Self {
        Self::Backup(error.into())
    }
}

impl Producer {
    /// Plans a run of this wish, or takes the unfinished one, and enqueues its jobs. Twice is once.
    pub async fn enqueue(&self, tenant: &Tenant, wish: Wish) -> Result<Enqueued, ProduceError> {
        let name = format!("planning:{tenant}");
        let began = tokio::time::Instant::now();
        // Two that plan at once would begin two runs, each of them whole and one of them for nothing.
        while !self.queue.take(&name, "planning", PLANNING_SECONDS).await? {
            if began.elapsed() > PATIENCE {
                return Err(ProduceError::Busy(tenant.clone()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let enqueued = self.enqueue_alone(tenant, wish).await;
        self.queue.give_back(&name).await?;
        enqueued
    }

    #[tracing::instrument(
        name = "enqueue",
        skip_all,
        fields(fermata.tenant = tenant.as_str(), fermata.run = Empty, fermata.jobs = Empty)
    )]
    async fn enqueue_alone(&self, tenant: &Tenant, wish: Wish) -> Result<Enqueued, ProduceError> {
        let engine = Engine { clock: Clock::new((self.now)()), ..self.engine.clone() };
        let begun = engine.begin(tenant, wish).await;
        if let Err(BackupError::TokenRefused(_) | BackupError::NoToken(_)) = &begun {
            self.queue.hold(tenant, HeldFor::Token).await?;
        }
        let Begun { settings, plan, resumed, .. } = begun?;
        self.heed(&settings).await?;
        let pushed = self.queue.push(&jobs(&settings, &plan)?).await?;
        let jobs = i64::try_from(pushed.added).unwrap_or(i64::MAX);
        Span::current().record("fermata.run", plan.run.as_str()).record("fermata.jobs", jobs);
        Ok(Enqueued {
            tenant: tenant.clone(),
            run: plan.run,
            resumed,
            added: pushed.added,
            open: pushed.open,
        })
    }

    /// Enqueues what is missing of a tenant's unfinished runs: so an emptied Redis is filled again.
    pub async fn reconcile(&self, settings: &Settings) -> Result<Vec<Enqueued>, ProduceError> {
        let tenant = &settings.tenant;
        let mut enqueued = Vec::new();
        if settings.removed {
            return Ok(enqueued);
        }
        for run in self.engine.vault.unfinished_runs(tenant).await? {
            // Sealed, or dropped, since the list was made.
            let Some(plan) = self.engine.vault.plan(tenant, &run).await? else { continue };
            if (self.now)().duration_since(plan.started).as_hours() >= RESUME_HOURS_MAX {
                tracing::info!(%tenant, %run, "not enqueued again: it is more than a week old");
                continue;
            }
            self.heed(settings).await?;
            let pushed = self.queue.push(&jobs(settings, &plan)?).await?;
            let (added, open) = (pushed.added, pushed.open);
            if added > 0 {
                enqueued.push(Enqueued { tenant: tenant.clone(), run, resumed: true, added, open });
            }
        }
        Ok(enqueued)
    }

    /// Lets the jobs of a tenant go on if its settings no longer hold it back.
    pub async fn look_again(&self, tenant: &Tenant) -> Result<bool, ProduceError> {
        let settings = self.engine.vault.settings(tenant).await?;
        let Some(settings) = settings.filter(|settings| !settings.removed) else {
            // Its jobs find out, and end.
            return Ok(self.queue.free(tenant, None).await?);
        };
        Ok(self.heed(&settings).await?)
    }

    /// Enqueues a tenant that was [due](due_time) then, unless that was done before: of any number that try, one does.
    pub async fn enqueue_due(
        &self,
        tenant: &Tenant,
        due: Timestamp,
    ) -> Result<Option<Enqueued>, ProduceError> {
        let name = format!("due:{tenant}:{}", due.as_second());
        if !self.queue.take(&name, "due", DUE_TRY_SECONDS).await? {
            return Ok(None);
        }
        let enqueued = match self.begun_since(tenant, due).await {
            // Redis was emptied since, or somebody enqueued it by hand.
            Ok(true) => Ok(None),
            Ok(false) => self.enqueue(tenant, Wish::default()).await.map(Some),
            Err(error) => Err(error),
        };
        match enqueued {
            Ok(enqueued) => {
                self.queue.keep(&name, DUE_SECONDS).await?;
                Ok(enqueued)
            }
            Err(error) => {
                self.queue.give_back(&name).await?;
                Err(error)
            }
        }
    }

    /// Whether a run of everything was begun since then.
    async fn begun_since(&self, tenant: &Tenant, due: Timestamp) -> Result<bool, ProduceError> {
        let vault = &self.engine.vault;
        let since = due.strftime("%Y%m%dT%H%M%SZ").to_string();
        let later = |run: &RunId| run.as_str() >= since.as_str();
        for run in vault.unfinished_runs(tenant).await?.into_iter().filter(later) {
            if vault.plan(tenant, &run).await?.is_some_and(|plan| plan.wish.only.is_empty()) {
                return Ok(true);
            }
        }
        for run in vault.snapshots(tenant).await?.into_iter().rev().take_while(later) {
            if vault.manifest(tenant, &run).await?.is_some_and(|manifest| manifest.wish.only.is_empty()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Holds a tenant's jobs back for what its settings say, and no longer for what they said before; `true` if they go on now.
    async fn heed(&self, settings: &Settings) -> Result<bool, LinkError> {
        let mut freed = false;
        for why in [HeldFor::Paused, HeldFor::Token] {
            if holds(settings, why) {
                self.queue.hold(&settings.tenant, why).await?;
            } else {
                freed |= self.queue.free(&settings.tenant, Some(why)).await?;
            }
        }
        Ok(freed)
    }
}

/// The schedule of a tenant, if it has one.
pub fn schedule(settings: &Settings) -> Result<Option<Schedule>, ProduceError> {
    let Some(cron) = &settings.schedule else { return Ok(None) };
    let schedule = Schedule::parse(cron, settings.time_zone.as_deref());
    schedule.map(Some).map_err(|source| ProduceError::Schedule { tenant: settings.tenant.clone(), source })
}

/// The time at which a tenant was last due by its schedule, if its share of the spread is past too.
///
/// A token stored after it waits for the next one; of several that were missed only the last counts.
pub fn due_time(
    settings: &Settings,
    now: Timestamp,
    spread: Duration,
) -> Result<Option<Timestamp>, ProduceError> {
    let held = settings.paused || holds(settings, HeldFor::Token) || settings.removed;
    let Some(token) = settings.token.as_ref().filter(|_| !held) else { return Ok(None) };
    let Some(schedule) = schedule(settings)? else { return Ok(None) };
    let past =
        |due: &Timestamp| *due >= token.stored && schedule.spread(&settings.tenant, *due, spread) <= now;
    Ok(schedule.last_before(now).filter(past))
}

/// Whether a tenant's settings hold its jobs back for this reason.
fn holds(settings: &Settings, why: HeldFor) -> bool {
    match why {
        HeldFor::Paused => settings.paused,
        HeldFor::Token => settings.token.as_ref().is_none_or(|token| token.refused.is_some()),
        HeldFor::Queue => false,
    }
}

/// How many jobs of a tenant can use its quota: more would hold places and wait.
pub(crate) fn cap(rate: f64) -> u32 {
    if rate <= 0.0 {
        return CAP_MAX;
    }
    u32::try_from(in_flight(rate)).map_or(CAP_MAX, |busy| busy.min(CAP_MAX))
}

/// How many jobs so many requests in a second keep busy: one at least.
pub(crate) fn in_flight(rate: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at the largest")]
    let busy = (rate * PAGE_SECONDS).ceil().max(1.0) as u64;
    busy
}

/// The jobs of a plan, each with the planned entities that it waits for.
fn jobs(settings: &Settings, plan: &Plan) -> Result<RunJobs, BackupError> {
    let mut jobs = Vec::new();
    for entity in plan.entities() {
        let entity = entity?;
        let needs = plan.parents(entity).map(|parent| parent.name.to_owned()).collect();
        jobs.push((entity.name.to_owned(), needs));
    }
    Ok(RunJobs {
        tenant: plan.tenant.clone(),
        run: plan.run.clone(),
        cap: cap(settings.rate),
        weight: settings.weight,
        rate: settings.rate,
        jobs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_jobs_as_the_quota_feeds() {
        let check = |rate: f64, expect: u32| assert_eq!(cap(rate), expect, "{rate}");
        check(5.0, 6);
        check(100.0, 6);
        check(0.0, 6);
        check(1.0, 2);
        check(0.1, 1);
    }
}
