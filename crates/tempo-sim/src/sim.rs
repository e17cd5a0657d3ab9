//! The simulator as a value: build it, ask it, drop it.
//!
//! Promises a listener on a free port of 127.0.0.1 unless told otherwise, and that dropping it stops listening, ends
//! what hangs and closes idle connections.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::faults::Fault;
use crate::ledger::Ledger;
use crate::mutate::{Change, MutateError, Mutation, State};
use crate::quirks::Quirks;
use crate::random::Random;
use crate::records::{self, RecordsError};
use crate::schedule::Schedule;
use crate::script::{self, ScriptError, Step};
use crate::server;
use crate::site::{Site, Sizes};
use crate::tokens::{TokenSpec, Tokens};
use crate::truth::{ENTITIES, TruthWindow};
use crate::world::{Tenant, World, lock, read, write};

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
    /// The ground truth cannot be written.
    #[error("cannot write {}", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
}

/// How a simulator is to be.
#[derive(Debug, Clone)]
pub struct SimBuilder {
    seed: u64,
    tenants: u32,
    sizes: Sizes,
    rate: f64,
    burst: Option<f64>,
    latency: Duration,
    quirks: Quirks,
    listen: SocketAddr,
    now: Option<Timestamp>,
    unknown_fields: bool,
    records: Option<PathBuf>,
    steps: Vec<Step>,
    tokens: Vec<TokenSpec>,
    schedules: Vec<Schedule>,
}

/// A simulator that runs; it stops when dropped.
#[derive(Debug)]
pub struct Sim {
    world: Arc<World>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl SimBuilder {
    /// What the sites are made from; the same seed and "now" give the same sites. Default 1.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many tenants there are. Default 1.
    #[must_use]
    pub fn tenants(mut self, tenants: u32) -> Self {
        self.tenants = tenants;
        self
    }

    /// How many worklogs each tenant has; the other sizes follow. Default 10,000.
    #[must_use]
    pub fn worklogs(mut self, worklogs: usize) -> Self {
        self.sizes = Sizes::for_worklogs(worklogs);
        self
    }

    /// All sizes.
    #[must_use]
    pub fn sizes(mut self, sizes: Sizes) -> Self {
        self.sizes = sizes;
        self
    }

    /// Requests per second and tenant; 0 for no limit. Default 5.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// How many requests a rested tenant may make at once. Default: the rate, rounded up.
    #[must_use]
    pub fn burst(mut self, burst: u32) -> Self {
        self.burst = Some(f64::from(burst));
        self
    }

    /// Delay before each answer. Default none.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The switches at the start.
    #[must_use]
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Where to listen. Default a free port of 127.0.0.1.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The simulator's clock at the start; history ends there. Default the real time.
    #[must_use]
    pub fn now(mut self, now: Timestamp) -> Self {
        self.now = Some(now);
        self
    }

    /// Whether some records have fields that no specification knows. Default true.
    #[must_use]
    pub fn unknown_fields(mut self, unknown_fields: bool) -> Self {
        self.unknown_fields = unknown_fields;
        self
    }

    /// Serves the records of a folder (`<entity>.jsonl`) instead of generated ones, in every tenant.
    #[must_use]
    pub fn records(mut self, dir: impl Into<PathBuf>) -> Self {
        self.records = Some(dir.into());
        self
    }

    /// Adds steps that come into force after so many requests.
    #[must_use]
    pub fn script(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps.extend(steps);
        self
    }

    /// The same from a JSON file.
    pub fn script_file(self, path: &Path) -> Result<Self, SimError> {
        let steps = script::read(path)?;
        Ok(self.script(steps))
    }

    /// Adds a token, or changes one of the full ones.
    #[must_use]
    pub fn token(mut self, spec: TokenSpec) -> Self {
        self.tokens.push(spec);
        self
    }

    /// Starts changing records by itself.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedules.push(schedule);
        self
    }

    /// Makes the sites and begins to listen, on the runtime that this is called in.
    pub async fn start(self) -> Result<Sim, SimError> {
        let now = self.now.unwrap_or_else(Timestamp::now);
        let recorded = self.records.as_deref().map(records::read).transpose()?;
        for step in &self.steps {
            if let Some(partial) = &step.quirks {
                let wrong = |error| SimError::ScriptQuirks(step.after_requests, error);
                self.quirks.overlaid(partial).map_err(wrong)?;
            }
        }
        let listener =
            TcpListener::bind(self.listen).await.map_err(|error| SimError::Listen(self.listen, error))?;
        let address = listener.local_addr().map_err(|error| SimError::Listen(self.listen, error))?;
        let mut tokens = Tokens::default();
        let mut tenants = Vec::new();
        for number in 1..=self.tenants {
            tokens.put(TokenSpec::full(number));
            let mut site =
                Site::generate(number, self.seed, now.as_second(), &self.sizes, self.unknown_fields);
            if let Some(recorded) = &recorded {
                site.give(recorded);
            }
            let random = Random::new(self.seed ^ 0x0D1E, u64::from(number));
            tenants.push(Tenant {
                name: format!("sim-{number}"),
                state: RwLock::new(State { site, history: Vec::new(), random }),
                requests: AtomicU64::new(0),
                schedules: Mutex::default(),
            });
        }
        for spec in self.tokens {
            tokens.put(spec);
        }
        let mut steps = self.steps;
        steps.sort_by_key(|step| step.after_requests);
        let (stop, stopped) = watch::channel(false);
        let world = Arc::new(World {
            tenants,
            clock: Clock::new(now),
            quirks: RwLock::default(),
            tokens: RwLock::new(tokens),
            books: Mutex::default(),
            buckets: Mutex::default(),
            faults: Mutex::default(),
            script: Mutex::new(VecDeque::from(steps)),
            served: AtomicU64::new(0),
            rate: self.rate,
            burst: self.burst.unwrap_or(self.rate.ceil()).max(1.0),
            latency: self.latency,
            base_url: format!("http://{address}"),
            stop: stopped,
        });
        world.set_quirks(self.quirks);
        for schedule in self.schedules {
            // A schedule for a tenant that is not there changes nothing.
            let _ = world.schedule(schedule);
        }
        world.script_until(0);
        tokio::spawn(server::serve(listener, Arc::clone(&world)));
        Ok(Sim { world, address, stop })
    }
}

impl Sim {
    /// Begins a simulator of one tenant with 10,000 worklogs and 5 requests per second.
    pub fn builder() -> SimBuilder {
        SimBuilder {
            seed: 1,
            tenants: 1,
            sizes: Sizes::for_worklogs(10_000),
            rate: 5.0,
            burst: None,
            latency: Duration::ZERO,
            quirks: Quirks::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            now: None,
            unknown_fields: true,
            records: None,
            steps: Vec::new(),
            tokens: Vec::new(),
            schedules: Vec::new(),
        }
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
        tenant.map(|tenant| read(&tenant.state).site.truth(entity, window)).unwrap_or_default()
    }

    /// The changes of an entity since the start, oldest first.
    pub fn history(&self, number: u32, entity: &str) -> Vec<Change> {
        let Some(tenant) = self.world.tenant(&format!("sim-{number}")) else { return Vec::new() };
        read(&tenant.state).history.iter().filter(|change| change.entity == entity).cloned().collect()
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
