//! Enqueues tenants when they are due, and looks after the queue.
//!
//! Any number of schedulers may run: a due time is claimed by a name in Redis, and what else they do may be done twice.
//! The store is asked for all tenants' settings once in a sweep, not at each tick.

use std::collections::HashMap;
use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_core::settings::Settings;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::produce::{ProduceError, Producer, due_time};

/// How often due tenants are looked for.
const TICK: Duration = Duration::from_secs(10);
/// How often tenants that are held back are looked at again.
const HELD: Duration = Duration::from_secs(15);

/// How a scheduler works.
#[derive(Clone, Copy, Debug)]
pub struct SchedulerOptions {
    /// Over how long tenants that are due at the same time are spread.
    pub spread: Duration,
    /// How often all settings are read and all unfinished runs compared with the queue.
    pub sweep: Duration,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        Self { spread: Duration::from_mins(30), sweep: Duration::from_mins(5) }
    }
}

/// The scheduler.
#[derive(Debug)]
pub struct Scheduler {
    producer: Producer,
    options: SchedulerOptions,
    tenants: Vec<Settings>,
    /// The due times that were seen to, so that nobody is asked about them again.
    seen_to: HashMap<Tenant, Timestamp>,
    swept: Option<Instant>,
    looked: Option<Instant>,
}

/// What a look at everything came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Tenants that were due and are enqueued.
    pub due: u64,
    /// Jobs that were missing in the queue.
    pub missing: u64,
    /// Tenants that go on.
    pub freed: u64,
    /// Tenants that could not be looked at.
    pub failed: u64,
}

impl Scheduler {
    /// A scheduler that has not looked at anything yet.
    pub fn new(producer: Producer, options: SchedulerOptions) -> Self {
        Self { producer, options, tenants: Vec::new(), seen_to: HashMap::new(), swept: None, looked: None }
    }

    /// Looks until told to stop; `told` hears what each look came to.
    pub async fn run(mut self, stop: &CancellationToken, mut told: impl FnMut(Tick)) {
        while !stop.is_cancelled() {
            let mut tick = Tick::default();
            let looked = tokio::select! {
                looked = self.look(&mut tick) => looked,
                () = stop.cancelled() => return,
            };
            if let Err(error) = looked {
                // Of all tenants at once; it counts as one.
                tick.failed += 1;
                tracing::warn!("{error}; looking again soon");
            }
            told(tick);
            tokio::select! {
                () = tokio::time::sleep(TICK.min(self.options.sweep)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at everything once.
    pub async fn tick(&mut self) -> Result<Tick, ProduceError> {
        let mut tick = Tick::default();
        self.look(&mut tick).await?;
        Ok(tick)
    }

    async fn look(&mut self, tick: &mut Tick) -> Result<(), ProduceError> {
        self.producer.queue.tend().await?;
        if self.swept.is_none_or(|swept| swept.elapsed() >= self.options.sweep) {
            self.sweep(tick).await?;
            self.swept = Some(Instant::now());
        }
        let now = (self.producer.now)();
        for settings in &self.tenants {
            let due = match due_time(settings, now, self.options.spread) {
                Ok(due) => due.filter(|due| self.seen_to.get(&settings.tenant) != Some(due)),
                Err(error) => {
                    failed(tick, settings, &error);
                    None
                }
            };
            let Some(due) = due else { continue };
            match self.producer.enqueue_due(&settings.tenant, due).await {
                Ok(enqueued) => {
                    self.seen_to.insert(settings.tenant.clone(), due);
                    let Some(run) = enqueued else { continue };
                    tracing::info!(tenant = %run.tenant, run = %run.run, jobs = run.added, "due, and enqueued");
                    tick.due += 1;
                }
                Err(ProduceError::Link(error)) => return Err(error.into()),
                Err(error) => failed(tick, settings, &error),
            }
        }
        if self.looked.is_none_or(|looked| looked.elapsed() >= HELD.min(self.options.sweep)) {
            for tenant in self.producer.queue.held().await? {
                tick.freed += u64::from(self.producer.look_again(&tenant).await?);
            }
            self.looked = Some(Instant::now());
        }
        Ok(())
    }

    #[tracing::instrument(name = "sweep", skip_all)]
    async fn sweep(&mut self, tick: &mut Tick) -> Result<(), ProduceError> {
        let vault = &self.producer.engine.vault;
        let mut tenants = Vec::new();
        for tenant in vault.tenants().await? {
            match vault.settings(&tenant).await {
                Ok(settings) => tenants.extend(settings.filter(|settings| !settings.removed)),
                // One tenant whose settings are damaged hides no other.
                Err(error) => {
                    tick.failed += 1;
                    tracing::error!(%tenant, "its settings cannot be read: {error}");
                }
            }
        }
        for settings in &tenants {
            match self.producer.reconcile(settings).await {
                Ok(enqueued) => {
                    for run in enqueued {
                        tracing::info!(tenant = %run.tenant, run = %run.run, jobs = run.added, "enqueued again");
                        tick.missing += run.added;
                    }
                }
                Err(ProduceError::Link(error)) => return Err(error.into()),
                Err(error) => failed(tick, settings, &error),
            }
        }
        self.tenants = tenants;
        Ok(())
    }
}

fn failed(tick: &mut Tick, settings: &Settings, error: &ProduceError) {
    tick.failed += 1;
    tracing::error!(tenant = %settings.tenant, "not enqueued: {error}");
}
