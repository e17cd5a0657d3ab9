//! What a process counts, for `/metrics`.
//!
//! Names are few and labels fewer: no tenant is a label, since there may be thousands. What is true of the fleet as a whole is
//! asked of the queue when it is scraped, so any number of processes show the same.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fermata_core::catalogue::{Delta, ENTITIES};
use fermata_core::manifest::{Manifest, Status};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::link::ServerInfo;
use crate::pace::Budget;
use crate::queue::{Demand, JobId, QueueView, SEAL, Turn, WorkerView};
use crate::scheduler::Tick;

/// Counters of one process.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    turns: Family<Ended, Counter>,
    turn_seconds: Family<Kind, Histogram, fn() -> Histogram>,
    pages: Counter,
    sealed: Family<Sealed, Counter>,
    drift: Family<Drifted, Counter>,
    store_failures: Counter,
    fleet: Fleet,
    looks: Looks,
    budget: OnceLock<Budget>,
    pace: Family<Pace, Counter>,
    scale: Scale,
    fares: Fares,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sealed {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Drifted {
    entity: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pace {
    what: &'static str,
}

/// What every process of a fleet shows alike, while Redis answers it: of one that does not hear from Redis any more nobody is to
/// believe what it last heard.
#[derive(Debug, Default)]
struct Fleet {
    redis_up: Family<Plain, Gauge>,
    jobs: Family<State, Gauge>,
    oldest: Family<Plain, Gauge<f64, AtomicU64>>,
    workers: Family<Plain, Gauge>,
    places: Family<Plain, Gauge>,
    busy: Family<Plain, Gauge>,
    held: Family<Plain, Gauge>,
    paused: Family<Plain, Gauge>,
    events: Family<Event, Gauge>,
}

/// What a scheduler's looks came to.
#[derive(Debug, Default)]
struct Looks {
    due: Counter,
    missing: Counter,
    freed: Counter,
    failed: Counter,
}

/// What a scheduler shows, and no other process as a 0: how many workers it takes, and the queue's server.
#[derive(Debug, Default)]
struct Scale {
    workers: Family<Plain, Gauge>,
    quota: Family<Plain, Gauge<f64, AtomicU64>>,
    evicted: Family<Plain, Gauge>,
    memory: Family<Plain, Gauge>,
    memory_max: Family<Plain, Gauge>,
}

/// What a dashboard shows, and no other process: how tenants fare.
#[derive(Debug, Default)]
struct Fares {
    health: Family<Health, Gauge>,
    overdue: Family<Plain, Gauge>,
    oldest: Family<Plain, Gauge>,
    lost: Family<Plain, Gauge>,
}

/// A gauge without labels that need not be there.
type Plain = [(&'static str, &'static str); 0];
const PLAIN: Plain = [];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Health {
    health: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    process: &'static str,
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Event {
    event: String,
}

impl Meters {
    /// Of a process that has counted nothing yet: a `worker`, a `scheduler` or a `dashboard`.
    pub fn new(process: &'static str) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.01, 4.0, 8));
        let mut meters = Self {
            registry: Registry::with_prefix("fermata"),
            turns: Family::default(),
            turn_seconds: Family::new_with_constructor(seconds),
            pages: Counter::default(),
            sealed: Family::default(),
            drift: Family::default(),
            store_failures: Counter::default(),
            fleet: Fleet::default(),
            looks: Looks::default(),
            budget: OnceLock::new(),
            pace: Family::default(),
            scale: Scale::default(),
            fares: Fares::default(),
        };
        // At 0 from the start, so that the first snapshot, and the first drift, is an increase.
        for status in [Status::Complete, Status::Partial, Status::Suspect] {
            meters.sealed.get_or_create(&Sealed::of(status)).inc_by(0);
        }
        for entity in ENTITIES.iter().filter(|entity| matches!(entity.delta, Some(Delta::Feed(_)))) {
            meters.drift.get_or_create(&Drifted { entity: entity.name.to_owned() }).inc_by(0);
        }
        let registry = &mut meters.registry;
        registry.register("turns", "Turns of jobs by how they ended, in this process", meters.turns.clone());
        registry.register_with_unit(
            "turn",
            "How long turns took",
            Unit::Seconds,
            meters.turn_seconds.clone(),
        );
        registry.register("pages", "Pages that were read and logged", meters.pages.clone());
        registry.register("snapshots_sealed", "Snapshots sealed, by status", meters.sealed.clone());
        registry.register(
            "drift_records",
            "Records that a sweep found otherwise than Tempo's feeds of changes and deletions had told, by entity",
            meters.drift.clone(),
        );
        registry.register("store_failures", "Turns that the store cut short", meters.store_failures.clone());
        meters.fleet.register(registry);
        meters.looks.register(registry);
        registry.register(
            "pace",
            "Turns at Tempo that this process took: in all, from its share while Redis was away, given up for being late, put off; and calls to Redis for them",
            meters.pace.clone(),
        );
        meters.scale.register(registry);
        meters.fares.register(registry);
        register_release(process, registry);
        meters
    }
}

fn register_release(process: &'static str, registry: &mut Registry) {
    let build: Family<Build, Gauge> = Family::default();
    build.get_or_create(&Build { process, version: env!("CARGO_PKG_VERSION") }).set(1);
    registry.register("build_info", "What runs, and of which release", build);
}

impl Sealed {
    fn of(status: Status) -> Self {
        Self { status: status.name() }
    }
}

impl Fleet {
    fn register(&self, registry: &mut Registry) {
        registry.register("redis_up", "Whether Redis answered this process", self.redis_up.clone());
        registry.register("queue_jobs", "Jobs of the fleet by state", self.jobs.clone());
        registry.register_with_unit(
            "queue_oldest",
            "How long the first job in line has waited",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register("workers", "Workers heard of in the last minute", self.workers.clone());
        registry.register("places", "Jobs that they can work on at once", self.places.clone());
        registry.register("places_busy", "Places where a job is at work", self.busy.clone());
        registry.register("tenants_held", "Tenants that are held back", self.held.clone());
        registry.register("queue_paused", "Whether the queue is paused", self.paused.clone());
        registry.register(
            "queue_events",
            "What happened to jobs since Redis was emptied",
            self.events.clone(),
        );
    }

    fn look(&self, queue: &QueueView, now: jiff::Timestamp) {
        let Self { redis_up, jobs, oldest, workers, places, busy, held, paused, events } = self;
        redis_up.get_or_create(&PLAIN).set(1);
        for (state, count) in &queue.jobs {
            jobs.get_or_create(&State { state: state.name() }).set(gauge(*count));
        }
        let waited = queue.oldest.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0));
        oldest.get_or_create(&PLAIN).set(waited);
        workers.get_or_create(&PLAIN).set(gauge(queue.workers.len() as u64));
        let sum =
            |count: fn(&WorkerView) -> u32| queue.workers.iter().map(|worker| i64::from(count(worker))).sum();
        places.get_or_create(&PLAIN).set(sum(|worker| worker.places));
        busy.get_or_create(&PLAIN).set(sum(|worker| worker.busy));
        held.get_or_create(&PLAIN).set(gauge(queue.held.len() as u64));
        paused.get_or_create(&PLAIN).set(i64::from(queue.paused.is_some()));
        for (event, count) in &queue.counters {
            events.get_or_create(&Event { event: event.clone() }).set(gauge(*count));
        }
    }

    fn forget(&self) {
        let Self { redis_up, jobs, oldest, workers, places, busy, held, paused, events } = self;
        redis_up.get_or_create(&PLAIN).set(0);
        jobs.clear();
        oldest.clear();
        events.clear();
        for counted in [workers, places, busy, held, paused] {
            counted.clear();
        }
    }
}

impl Looks {
    fn register(&self, registry: &mut Registry) {
        registry.register("scheduler_due", "Tenants that were due and are enqueued", self.due.clone());
        registry.register("scheduler_missing", "Jobs that the queue had lost", self.missing.clone());
        registry.register("scheduler_freed", "Tenants that were held back and go on", self.freed.clone());
        registry.register("scheduler_failed", "Tenants that could not be looked at", self.failed.clone());
    }
}

impl Scale {
    fn register(&self, registry: &mut Registry) {
        registry.register("scale_workers", "Workers that the quotas can feed now", self.workers.clone());
        registry.register(
            "quota_requests_per_second",
            "Requests a second that the quotas of tenants with jobs in line allow",
            self.quota.clone(),
        );
        registry.register(
            "redis_evicted_keys",
            "Keys that Redis threw away for want of memory since it was started",
            self.evicted.clone(),
        );
        registry.register_with_unit(
            "redis_memory",
            "Memory that Redis uses",
            Unit::Bytes,
            self.memory.clone(),
        );
        registry.register_with_unit(
            "redis_memory_max",
            "Memory that Redis may use; 0 where there is no limit",
            Unit::Bytes,
            self.memory_max.clone(),
        );
    }
}

impl Fares {
    fn register(&self, registry: &mut Registry) {
        registry.register("tenants", "Tenants by how they are, the gravest first", self.health.clone());
        registry.register(
            "tenants_overdue",
            "Tenants whose backup should have been begun and was not, whatever graver state they are counted in",
            self.overdue.clone(),
        );
        registry.register_with_unit(
            "snapshot_oldest",
            "The age of the snapshot of the tenant whose newest one is the oldest",
            Unit::Seconds,
            self.oldest.clone(),
        );
        registry.register(
            "entities_lost",
            "Entities that the newest snapshot of their tenant lacks and an earlier one has",
            self.lost.clone(),
        );
    }
}

/// How tenants fare, as whoever looks at their snapshots counts them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tenants {
    /// How many there are of each kind, those of which there is none included.
    pub health: Vec<(&'static str, u64)>,
    /// Those whose backup should have been begun and was not.
    pub overdue: u64,
    /// The age of the oldest of their newest snapshots, in seconds.
    pub oldest: Option<i64>,
    /// Entities that the newest snapshot of their tenant lacks and an earlier one has.
    pub lost: u64,
}

impl Meters {
    /// A turn ended.
    pub fn turn(&self, id: &JobId, turn: &Turn, took: Duration) {
        let outcome = turn.name();
        self.turns.get_or_create(&Ended { outcome }).inc();
        let kind = if id.entity == SEAL { "seal" } else { "read" };
        self.turn_seconds.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// A page was logged.
    pub fn page(&self) {
        self.pages.inc();
    }

    /// A snapshot was sealed.
    pub fn sealed(&self, manifest: &Manifest) {
        self.sealed.get_or_create(&Sealed::of(manifest.status)).inc();
        for entry in &manifest.entities {
            let Some(drift) = entry.drift else { continue };
            self.drift.get_or_create(&Drifted { entity: entry.entity.clone() }).inc_by(drift);
        }
    }

    /// The store cut a turn short.
    pub fn store_failed(&self) {
        self.store_failures.inc();
    }

    /// The fleet as the queue shows it, at this moment; nothing where it could not be asked.
    pub fn look(&self, queue: Option<&QueueView>, now: jiff::Timestamp) {
        match queue {
            Some(queue) => self.fleet.look(queue, now),
            None => self.fleet.forget(),
        }
    }

    /// How many workers it takes, and what the server of the queue says of itself; nothing where they could not be asked.
    pub fn scale(&self, scale: Option<(&Demand, &ServerInfo)>) {
        let Scale { workers, quota, evicted, memory, memory_max } = &self.scale;
        let Some((demand, server)) = scale else {
            quota.clear();
            for counted in [workers, evicted, memory, memory_max] {
                counted.clear();
            }
            return;
        };
        quota.get_or_create(&PLAIN).set(demand.requests_per_second);
        workers.get_or_create(&PLAIN).set(gauge(demand.workers));
        evicted.get_or_create(&PLAIN).set(gauge(server.evicted_keys));
        memory.get_or_create(&PLAIN).set(gauge(server.memory));
        memory_max.get_or_create(&PLAIN).set(gauge(server.memory_max));
    }

    /// How tenants fare; nothing where they cannot be looked at.
    pub fn tenants(&self, tenants: Option<&Tenants>) {
        let Fares { health, overdue, oldest, lost } = &self.fares;
        let Some(tenants) = tenants else {
            health.clear();
            for counted in [overdue, oldest, lost] {
                counted.clear();
            }
            return;
        };
        overdue.get_or_create(&PLAIN).set(gauge(tenants.overdue));
        for (how, count) in &tenants.health {
            health.get_or_create(&Health { health: how }).set(gauge(*count));
        }
        match tenants.oldest {
            Some(seconds) => _ = oldest.get_or_create(&PLAIN).set(seconds),
            None => oldest.clear(),
        }
        lost.get_or_create(&PLAIN).set(gauge(tenants.lost));
    }

    /// A scheduler looked at everything.
    pub fn tick(&self, tick: &Tick) {
        self.looks.due.inc_by(tick.due);
        self.looks.missing.inc_by(tick.missing);
        self.looks.failed.inc_by(tick.failed);
        self.looks.freed.inc_by(tick.freed);
    }

    /// Shows what this budget counts, too.
    pub fn watch(&self, budget: Budget) {
        // A process has one.
        let _ = self.budget.set(budget);
    }

    /// As Prometheus reads it.
    pub fn text(&self) -> String {
        if let Some(counts) = self.budget.get().map(Budget::counts) {
            let all = [
                ("turns", &counts.turns),
                ("local", &counts.local),
                ("late", &counts.late),
                ("deferred", &counts.deferred),
                ("calls", &counts.calls),
            ];
            for (what, count) in all {
                self.pace
                    .get_or_create(&Pace { what })
                    .inner()
                    .store(count.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        let mut text = String::new();
        // Only fails where the writer does, and a String takes everything.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_what_was_counted() {
        let meters = Meters::new("worker");
        let id: JobId = "acme/20261124T020000Z-4f9a1c/seal".parse().unwrap();
        meters.turn(&id, &Turn::Done, Duration::from_millis(20));
        meters.page();
        let text = meters.text();
        assert!(text.contains("fermata_snapshots_sealed_total{status=\"suspect\"} 0"), "{text}");
        assert!(text.contains("fermata_turns_total{outcome=\"done\"} 1"), "{text}");
        assert!(text.contains("fermata_turn_seconds_count{kind=\"seal\"} 1"), "{text}");
        assert!(text.contains("fermata_pages_total 1") && text.ends_with("# EOF\n"), "{text}");
    }
}
