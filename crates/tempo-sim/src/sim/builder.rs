//! How a simulator is to be, and its start.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Sim, SimError};
use crate::clock::Clock;
use crate::mutate::{MutateError, State};
use crate::quirks::Quirks;
use crate::random::Random;
use crate::records;
use crate::schedule::Schedule;
use crate::script::{self, Step};
use crate::server;
use crate::site::{Site, Sizes};
use crate::tokens::{TokenSpec, Tokens};
use crate::truth::ENTITIES;
use crate::world::{Tenant, World};

/// So many sites are made before the start; a fleet's come when they are first asked for.
const EAGER_TENANTS: u32 = 8;

/// How a simulator is to be.
#[derive(Debug, Clone)]
pub struct SimBuilder {
    seed: u64,
    tenants: u32,
    sizes: Sizes,
    sizes_of: BTreeMap<u32, Sizes>,
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

impl SimBuilder {
    /// One tenant with 10,000 worklogs and 5 requests per second.
    pub(super) fn new() -> Self {
        Self {
            seed: 1,
            tenants: 1,
            sizes: Sizes::for_worklogs(10_000),
            sizes_of: BTreeMap::new(),
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

    /// All sizes of one tenant, where they are not those of the others.
    #[must_use]
    pub fn sizes_of(mut self, tenant: u32, sizes: Sizes) -> Self {
        self.sizes_of.insert(tenant, sizes);
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
        let recorded = self.records.as_deref().map(records::read).transpose()?.map(Arc::new);
        self.check()?;
        let listener =
            TcpListener::bind(self.listen).await.map_err(|error| SimError::Listen(self.listen, error))?;
        let address = listener.local_addr().map_err(|error| SimError::Listen(self.listen, error))?;
        let mut tokens = Tokens::default();
        let mut tenants = Vec::new();
        for number in 1..=self.tenants {
            tokens.put(TokenSpec::full(number));
            let sizes = self.sizes_of.get(&number).unwrap_or(&self.sizes).clone();
            let (seed, recorded) = (self.seed, recorded.clone());
            let unknown_fields = self.unknown_fields;
            let tenant = Tenant::new(
                format!("sim-{number}"),
                Box::new(move || {
                    let mut site = Site::generate(number, seed, now.as_second(), &sizes, unknown_fields);
                    if let Some(recorded) = &recorded {
                        site.give(recorded);
                    }
                    let random = Random::new(seed ^ 0x0D1E, u64::from(number));
                    State { site, history: Vec::new(), random }
                }),
            );
            if number <= EAGER_TENANTS {
                tenant.state();
            }
            tenants.push(tenant);
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

    /// Finds mistakes in the script and the schedules before anything runs.
    fn check(&self) -> Result<(), SimError> {
        let mut named = Vec::new();
        for step in &self.steps {
            if let Some(partial) = &step.quirks {
                let wrong = |error| SimError::ScriptQuirks(step.after_requests, error);
                self.quirks.overlaid(partial).map_err(wrong)?;
            }
            named.extend(step.mutate.iter().flat_map(|of| of.ops.iter().map(|op| (&of.tenant, &op.entity))));
            named.extend(step.schedule.iter().map(|schedule| (&schedule.tenant, &schedule.entity)));
        }
        named.extend(self.schedules.iter().map(|schedule| (&schedule.tenant, &schedule.entity)));
        for (tenant, entity) in named {
            if !(1..=self.tenants).any(|number| *tenant == format!("sim-{number}")) {
                return Err(SimError::ScriptNames(MutateError::Tenant(tenant.clone())));
            }
            if !ENTITIES.contains(&entity.as_str()) {
                return Err(SimError::ScriptNames(MutateError::Entity(entity.clone())));
            }
        }
        Ok(())
    }
}
