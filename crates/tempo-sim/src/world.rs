//! Everything that runs behind the listener: tenants, tokens, quota, ledger, faults, script.
//!
//! Promises one lock per thing and no lock held across an await.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::faults::FaultBook;
use crate::ledger::Books;
use crate::mutate::{Moment, MutateError, Mutation, State};
use crate::quirks::Quirks;
use crate::quota::{Buckets, Rule};
use crate::schedule::{Running, Schedule};
use crate::script::Step;
use crate::tokens::Tokens;

/// How a tenant's site is made, when it is first asked for.
pub(crate) type Maker = Box<dyn Fn() -> State + Send + Sync>;

/// One tenant.
pub(crate) struct Tenant {
    pub(crate) name: String,
    state: OnceLock<RwLock<State>>,
    maker: Maker,
    /// Data requests served.
    pub(crate) requests: AtomicU64,
    pub(crate) schedules: Mutex<Vec<Running>>,
}

impl Tenant {
    pub(crate) fn new(name: String, maker: Maker) -> Self {
        Self { name, state: OnceLock::new(), maker, requests: AtomicU64::new(0), schedules: Mutex::default() }
    }

    /// The site and its changes.
    pub(crate) fn state(&self) -> &RwLock<State> {
        self.state.get_or_init(|| RwLock::new((self.maker)()))
    }
}

/// The whole simulator.
pub(crate) struct World {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) clock: Clock,
    pub(crate) quirks: RwLock<Quirks>,
    pub(crate) tokens: RwLock<Tokens>,
    pub(crate) books: Mutex<Books>,
    pub(crate) buckets: Mutex<Buckets>,
    pub(crate) faults: Mutex<FaultBook>,
    pub(crate) script: Mutex<VecDeque<Step>>,
    /// Data requests of all tenants.
    pub(crate) served: AtomicU64,
    pub(crate) rate: f64,
    pub(crate) burst: f64,
    pub(crate) latency: Duration,
    pub(crate) base_url: String,
    /// Turns true when the simulator stops.
    pub(crate) stop: watch::Receiver<bool>,
}

/// Locks; whoever panics while holding one has failed its test already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Locks for reading.
pub(crate) fn read<T>(locked: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    locked.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Locks for writing.
pub(crate) fn write<T>(locked: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    locked.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl World {
    pub(crate) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| tenant.name == name)
    }

    pub(crate) fn rule(&self, quirks: &Quirks) -> Rule {
        Rule {
            rate: self.rate,
            burst: self.burst,
            ban_after: quirks.ban_after,
            ban_seconds: quirks.ban_seconds,
        }
    }

    pub(crate) fn set_quirks(&self, quirks: Quirks) {
        self.clock.set_offset_ms(quirks.clock_offset_ms);
        *write(&self.quirks) = quirks;
    }

    /// Makes changes in a tenant, in order; stops at the first that is refused.
    pub(crate) fn mutate(&self, tenant: &str, mutations: &[Mutation]) -> Result<Vec<String>, MutateError> {
        let tenant = self.tenant(tenant).ok_or_else(|| MutateError::Tenant(tenant.to_owned()))?;
        let quirks = read(&self.quirks).clone();
        let mut state = write(tenant.state());
        let mut ids = Vec::new();
        for mutation in mutations {
            let after_request = tenant.requests.load(Ordering::SeqCst);
            let moment = Moment { now_ms: self.clock.now_ms(), after_request, quirks: &quirks };
            ids.extend(state.mutate(mutation, &moment)?);
        }
        Ok(ids)
    }

    pub(crate) fn schedule(&self, schedule: Schedule) -> Result<(), MutateError> {
        let running = Running::new(schedule);
        let tenant =
            self.tenant(running.tenant()).ok_or_else(|| MutateError::Tenant(running.tenant().to_owned()))?;
        lock(&tenant.schedules).push(running);
        Ok(())
    }

    /// Counts a served data request and does what is due after it.
    pub(crate) fn after_request(&self, tenant: &Tenant) {
        let request = tenant.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let due: Vec<Mutation> =
            lock(&tenant.schedules).iter_mut().flat_map(|running| running.due(request)).collect();
        if !due.is_empty() {
            // A schedule may find nothing left to change: that is no fault of the reader.
            let _ = self.mutate(&tenant.name, &due);
        }
        self.script_until(self.served.fetch_add(1, Ordering::SeqCst) + 1);
    }

    /// Plays the steps of the script that are due after so many requests.
    pub(crate) fn script_until(&self, served: u64) {
        loop {
            let step = {
                let mut script = lock(&self.script);
                if script.front().is_none_or(|step| step.after_requests > served) {
                    return;
                }
                script.pop_front()
            };
            let Some(step) = step else { return };
            for fault in step.faults {
                lock(&self.faults).add(fault);
            }
            for mutations in step.mutate {
                let _ = self.mutate(&mutations.tenant, &mutations.ops);
            }
            for schedule in step.schedule {
                let _ = self.schedule(schedule);
            }
            let changed = step.quirks.map(|partial| read(&self.quirks).overlaid(&partial));
            if let Some(Ok(quirks)) = changed {
                self.set_quirks(quirks);
            }
        }
    }
}
