//! The simulator as a value: build it, ask it, drop it.
//!
//! Promises a listener on a free port of 127.0.0.1 unless told otherwise, and that dropping it stops listening, ends
//! what hangs and closes idle connections.

mod builder;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use builder::SimBuilder;
use jiff::Timestamp;
use thiserror::Error;
use tokio::sync::watch;

use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::mutate::{Change, MutateError, Mutation};
use crate::quirks::Quirks;
use crate::records::RecordsError;
use crate::schedule::Schedule;
use crate::script::ScriptError;
use crate::tokens::TokenSpec;
use crate::truth::{ENTITIES, TruthWindow};
use crate::world::{World, lock, read, write};

/// Why a simulator did not start.
#[derive(Debug, Error)]
pub enum SimError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The folder of records is not as it should be.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The script is not as it should be.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A step of the script changes a quirk that does not exist, or wrongly.
    #[error("the script's quirks after {0} requests are wrong")]
    ScriptQuirks(u64, #[source] serde_json::Error),
    /// A step of the script, or a schedule, names a tenant or an entity that is not there.
    #[error("the script or a schedule is wrong")]
    ScriptNames(#[source] MutateError),
    /// The ground truth cannot be written.
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
}

/// A simulator that runs; it stops when dropped.
pub struct Sim {
    world: Arc<World>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Sim {
    /// Begins a simulator of one tenant with 10,000 worklogs and 5 requests per second.
    pub fn builder() -> SimBuilder {
        SimBuilder::new()
    }

    /// `http://127.0.0.1:<port>`; the API is below `/4`, the controls below `/_sim`.
    pub fn base_url(&self) -> &str {
        &self.world.base_url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The full token of tenant `sim-<number>`.
    pub fn token(&self, number: u32) -> String {
        format!("sim-token-{number}")
    }

    /// The names of the tenants.
    pub fn tenants(&self) -> Vec<String> {
        self.world.tenants.iter().map(|tenant| tenant.name.clone()).collect()
    }

    /// What was asked so far.
    pub fn ledger(&self) -> Ledger {
        lock(&self.world.books).ledger()
    }

    /// Begins to count anew.
    pub fn reset_ledger(&self) {
        *lock(&self.world.books) = crate::ledger::Books::default();
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        lock(&self.world.faults).add(fault);
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        lock(&self.world.faults).clear();
    }

    /// Makes changes in a tenant, in order; answers the ids they touched.
    pub fn mutate(&self, number: u32, mutations: &[Mutation]) -> Result<Vec<String>, MutateError> {
        self.world.mutate(&format!("sim-{number}"), mutations)
    }

    /// Starts changing records after every so many data requests.
    pub fn schedule(&self, schedule: Schedule) -> Result<(), MutateError> {
        self.world.schedule(schedule)
    }

    /// Ends all schedules.
    pub fn clear_schedules(&self) {
        for tenant in &self.world.tenants {
            lock(&tenant.schedules).clear();
        }
    }

    /// The records of an entity as they are now, for the default [`TruthWindow`]; empty for an unknown tenant or entity.
    pub fn truth(&self, number: u32, entity: &str) -> Vec<String> {
        self.truth_in(number, entity, &TruthWindow::default())
    }

    /// The same for a range of one's own.
    pub fn truth_in(&self, number: u32, entity: &str, window: &TruthWindow) -> Vec<String> {
        let tenant = self.world.tenant(&format!("sim-{number}"));
        tenant.map(|tenant| read(tenant.state()).site.truth(entity, window)).unwrap_or_default()
    }

    /// The changes of an entity since the start, oldest first.
    pub fn history(&self, number: u32, entity: &str) -> Vec<Change> {
        let Some(tenant) = self.world.tenant(&format!("sim-{number}")) else { return Vec::new() };
        read(tenant.state()).history.iter().filter(|change| change.entity == entity).cloned().collect()
    }

    /// How many data requests of a tenant were served (401, 403 and 429 are not).
    pub fn requests_served(&self, number: u32) -> u64 {
        self.world.tenant(&format!("sim-{number}")).map_or(0, |tenant| tenant.requests.load(Ordering::SeqCst))
    }

    /// The simulator's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.world.clock.now_ms()).unwrap_or_default()
    }

    /// The switches.
    pub fn quirks(&self) -> Quirks {
        read(&self.world.quirks).clone()
    }

    /// Sets all switches.
    pub fn set_quirks(&self, quirks: Quirks) {
        self.world.set_quirks(quirks);
    }

    /// Adds a token or changes what a known one may do.
    pub fn restrict_token(&self, spec: TokenSpec) {
        write(&self.world.tokens).put(spec);
    }

    /// Writes `<dir>/<tenant>/<entity>.ndjson` for all tenants and entities, one record a line.
    pub fn write_ground_truth(&self, dir: &Path) -> Result<(), SimError> {
        for (number, name) in (1..).zip(self.tenants()) {
            let folder = dir.join(name);
            std::fs::create_dir_all(&folder).map_err(|error| SimError::Write(folder.clone(), error))?;
            for entity in ENTITIES {
                let mut text = self.truth(number, entity).join("\n");
                if !text.is_empty() {
                    text.push('\n');
                }
                let file = folder.join(format!("{entity}.ndjson"));
                std::fs::write(&file, text).map_err(|error| SimError::Write(file.clone(), error))?;
            }
        }
        Ok(())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}
