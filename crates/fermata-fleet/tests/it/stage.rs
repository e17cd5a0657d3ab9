//! A queue on a real Redis, by a clock that the test turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fermata_fleet::queue::{Claim, Claimed, JobView, Pushed, RunJobs};
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{JobId, Link, Queue, Turn};

pub(crate) const RUN: &str = "20261124T020000Z-4f9a1c";
pub(crate) const LEASE: Duration = Duration::from_secs(30);
pub(crate) const DAY_MS: u64 = 24 * 3600 * 1000;
pub(crate) const START_MS: u64 = 1_795_000_000_000;

pub(crate) struct Stage {
    _server: RedisServer,
    pub(crate) queue: Queue,
    clock: Arc<AtomicU64>,
    claims: AtomicU64,
    _folder: tempfile::TempDir,
}

/// Everything in Redis, by the end of its key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Dump {
    pub(crate) sets: BTreeMap<String, BTreeMap<String, f64>>,
    pub(crate) lists: BTreeMap<String, Vec<String>>,
    pub(crate) hashes: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) texts: BTreeMap<String, String>,
}

pub(crate) fn jobs(tenant: &str, run: &str, jobs: &[(&str, &[&str])]) -> RunJobs {
    let own = |text: &&str| (*text).to_owned();
    let jobs = jobs.iter().map(|(entity, needs)| (own(entity), needs.iter().map(own).collect())).collect();
    RunJobs { tenant: tenant.parse().unwrap(), run: run.parse().unwrap(), cap: 6, weight: 1, rate: 5.0, jobs }
}

pub(crate) fn job(tenant: &str, entity: &str) -> JobId {
    JobId { tenant: tenant.parse().unwrap(), run: RUN.parse().unwrap(), entity: entity.to_owned() }
}

impl Stage {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // What it forgets nobody asks for: these tests do not stop it.
        let server = RedisServer::start(folder.path(), &["--appendonly", "no"]);
        let clock = Arc::new(AtomicU64::new(START_MS));
        let queue = Queue::new(Link::new(&server.url(), "t").unwrap()).by(clock.clone());
        Self { _server: server, queue, clock, claims: AtomicU64::new(0), _folder: folder }
    }

    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.clock.fetch_add(ms, Ordering::Relaxed);
    }

    /// Lets time pass as it does while somebody looks after the queue.
    pub(crate) async fn pass_tended(&self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(10_000);
            self.pass(step);
            self.queue.tend().await.unwrap();
            left -= step;
        }
    }

    /// Enqueues jobs of a tenant's run.
    pub(crate) async fn push(&self, tenant: &str, wanted: &[(&str, &[&str])]) -> Pushed {
        self.queue.push(&jobs(tenant, RUN, wanted)).await.unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.claims.fetch_add(1, Ordering::Relaxed).to_string()
    }

    pub(crate) async fn claim(&self, worker: &str) -> Option<Claimed> {
        match self.queue.claim(worker, &self.token(), LEASE).await.unwrap() {
            Claim::Job(claimed) => Some(claimed),
            Claim::Nothing(_) => None,
            Claim::Unreadable(name) => panic!("{name}"),
        }
    }

    /// Claims the next job and ends a turn on it; returns its entity.
    pub(crate) async fn turn(&self, turn: &Turn) -> Option<String> {
        let claimed = self.claim("w").await?;
        assert!(self.queue.settle(&claimed, turn).await.unwrap());
        Some(claimed.id.entity)
    }

    pub(crate) async fn job(&self, id: &JobId) -> Option<JobView> {
        self.queue.job(id).await.unwrap()
    }

    pub(crate) async fn raw<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut ask = redis::cmd(command[0]);
        for arg in &command[1..] {
            ask.arg(arg);
        }
        self.queue.link().ask(&ask).await.unwrap()
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.queue.link().prefix())
    }

    pub(crate) async fn dump(&self) -> Dump {
        let keys: Vec<String> = self.raw(&["KEYS", "*"]).await;
        let mut ask = redis::pipe();
        for key in &keys {
            ask.cmd("TYPE").arg(key);
        }
        let mut dump = Dump::default();
        if keys.is_empty() {
            return dump;
        }
        let types: Vec<String> = self.queue.link().ask_all(&ask).await.unwrap();
        let mut ask = redis::pipe();
        for (key, of) in keys.iter().zip(&types) {
            match &**of {
                "zset" => ask.cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES"),
                "list" => ask.cmd("LRANGE").arg(key).arg(0).arg(-1),
                "hash" => ask.cmd("HGETALL").arg(key),
                "stream" => ask.cmd("XLEN").arg(key),
                _ => ask.cmd("GET").arg(key),
            };
        }
        let values: Vec<redis::Value> = self.queue.link().ask_all(&ask).await.unwrap();
        for ((key, of), value) in keys.iter().zip(types).zip(values) {
            let name = key.strip_prefix(&self.key("")).expect("every key is ours").to_owned();
            match &*of {
                "zset" => {
                    let pairs: Vec<(String, f64)> = redis::from_redis_value(value).unwrap();
                    dump.sets.insert(name, pairs.into_iter().collect());
                }
                "list" => drop(dump.lists.insert(name, redis::from_redis_value(value).unwrap())),
                "hash" => drop(dump.hashes.insert(name, redis::from_redis_value(value).unwrap())),
                _ => drop(dump.texts.insert(name, redis::from_redis_value(value).unwrap())),
            }
        }
        dump
    }
}

impl Dump {
    /// The members of a sorted set.
    pub(crate) fn set(&self, name: &str) -> Vec<&str> {
        self.sets.get(name).into_iter().flatten().map(|(member, _)| &**member).collect()
    }

    /// A field of a hash.
    pub(crate) fn field(&self, hash: &str, field: &str) -> Option<&str> {
        self.hashes.get(hash)?.get(field).map(String::as_str)
    }

    /// All keys.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let sets = self.sets.keys().chain(self.lists.keys());
        let mut keys: Vec<_> =
            sets.chain(self.hashes.keys()).chain(self.texts.keys()).map(String::as_str).collect();
        keys.sort_unstable();
        keys
    }
}
