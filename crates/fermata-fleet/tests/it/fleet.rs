//! A whole fleet in one process: a simulated Tempo, a store, a Redis, workers and a producer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fermata_core::catalogue;
use fermata_core::manifest::{EntryStatus, Manifest, Status};
use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_engine::{Clock, Engine, Teller, view};
use fermata_fleet::queue::{Filter, RunJobs};
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{
    AtHand, Budget, JobId, JobState, Link, Meters, Producer, Queue, SLICE, ServeOptions, Worker, serve,
};
use fermata_tempo::Options;
use fermata_vault::{Environment, Identity, InitOptions, Vault};
use jiff::Timestamp;
use tempo_sim::{Fault, Sim, SimBuilder};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest time that a test waits for the fleet.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Fleet {
    pub(crate) sim: Sim,
    _redis: RedisServer,
    pub(crate) vault: Vault,
    pub(crate) queue: Queue,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) drain: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Fleet {
    pub(crate) async fn start(builder: SimBuilder, tenants: u32) -> Self {
        let sim = builder.tenants(tenants).rate(0.0).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let redis = RedisServer::start(folder.path(), &[]);
        let vault = vault(&folder.path().join("store")).await;
        let queue = Queue::new(Link::new(&redis.url(), "t").unwrap());
        let mut fleet = Self {
            sim,
            _redis: redis,
            vault,
            queue,
            tenants: Vec::new(),
            drain: CancellationToken::new(),
            _folder: folder,
        };
        for n in 1..=tenants {
            let tenant: Tenant = format!("sim-{n}").parse().unwrap();
            fleet.set_token(&tenant, &fleet.sim.token(n)).await;
            fleet.tenants.push(tenant);
        }
        fleet
    }

    /// Stores a token for a tenant, and the tenant if it is new.
    pub(crate) async fn set_token(&self, tenant: &Tenant, token: &str) {
        let now = Timestamp::now();
        let settings = self.vault.settings(tenant).await.unwrap();
        let mut settings = settings.unwrap_or_else(|| Settings::new(tenant.clone(), now));
        self.sim.base_url().clone_into(&mut settings.base_url);
        settings.rate = 0.0;
        settings.token = Some(self.vault.seal_token(tenant, &token.into(), now, None));
        self.vault.save_settings(settings, now).await.unwrap();
    }

    pub(crate) fn producer(&self) -> Producer {
        Producer { engine: self.engine(), queue: self.queue.clone(), now: Timestamp::now }
    }

    /// An engine without pauses.
    pub(crate) fn engine(&self) -> Engine {
        Engine {
            vault: self.vault.clone(),
            clock: Clock::new(Timestamp::now()),
            client: Options { retry_pauses: vec![Duration::from_millis(1); 3], ..Options::default() },
            attempt_pause: Duration::from_millis(1),
            teller: Teller::default(),
        }
    }

    /// Starts a worker; it stops with the fleet, or with the token that is returned.
    pub(crate) fn worker(&self, name: &str, slice: Duration) -> (CancellationToken, JoinHandle<()>) {
        let worker = Arc::new(Worker {
            engine: self.engine(),
            queue: self.queue.clone(),
            budget: Budget::new(self.queue.link().clone(), name),
            address: None,
            slice,
            now: Timestamp::now,
            meters: Arc::new(Meters::new("worker")),
            at_hand: AtHand::default(),
        });
        let options = ServeOptions {
            name: name.to_owned(),
            places: 4,
            lease: Duration::from_secs(3),
            quiet: CancellationToken::new(),
        };
        let (queue, drain) = (self.queue.clone(), self.drain.child_token());
        let stop = drain.clone();
        let task = tokio::spawn(async move {
            let handler = move |held| {
                let worker = worker.clone();
                async move { worker.turn(held).await }
            };
            serve(queue, &options, &drain, handler).await.unwrap();
        });
        (stop, task)
    }

    /// Waits until nothing is left to do but what is in these states.
    pub(crate) async fn settled(&self, but: &[JobState]) -> BTreeMap<JobState, u64> {
        self.settled_at(but, 1).await
    }

    /// The same once at least so many are done.
    pub(crate) async fn settled_at(&self, but: &[JobState], done: u64) -> BTreeMap<JobState, u64> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(counts) = self.queue.counts().await {
                    let left: u64 = counts
                        .iter()
                        .filter(|(state, _)| **state != JobState::Done && !but.contains(state))
                        .map(|(_, count)| count)
                        .sum();
                    if left == 0 && counts[&JobState::Done] >= done {
                        return counts;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        if let Ok(counts) = waited.await {
            return counts;
        }
        panic!("still at work: {:?}", self.queue.list(&Filter::default(), 20).await)
    }

    /// Checks that a tenant's only snapshot holds what the site does.
    pub(crate) async fn assert_whole(&self, n: u32) -> Manifest {
        let tenant = &self.tenants[n as usize - 1];
        let snapshots = self.vault.snapshots(tenant).await.unwrap();
        assert_eq!(snapshots.len(), 1, "{tenant}");
        let manifest = self.vault.manifest(tenant, &snapshots[0]).await.unwrap().unwrap();
        assert_eq!(manifest.status, Status::Complete, "{tenant}");
        let report = self.vault.verify(&manifest, true, &|_| ()).await.unwrap();
        assert!(report.ok, "{:?}", report.problems);
        for entry in &manifest.entities {
            assert_eq!(entry.status, EntryStatus::Complete, "{}: {:?}", entry.entity, entry.reason);
        }
        for name in ["worklogs", "teams", "accounts", "customers", "roles"] {
            let mut records = self.records(tenant, &manifest, name).await;
            let mut truth = self.sim.truth(n, name);
            records.sort();
            truth.sort();
            assert!(records == truth, "{tenant} {name}: {} of {}", records.len(), truth.len());
        }
        manifest
    }

    pub(crate) async fn records(&self, tenant: &Tenant, manifest: &Manifest, entity: &str) -> Vec<String> {
        let mut records = Vec::new();
        let take = |line: &str| {
            records.push(line.to_owned());
            Ok::<_, ()>(())
        };
        let row = catalogue::entity(entity).unwrap();
        view::each(&self.vault, tenant, row, manifest.entry(entity).unwrap(), take).await.unwrap();
        records
    }
}

async fn vault(folder: &Path) -> Vault {
    std::fs::create_dir_all(folder).unwrap();
    let store = fermata_vault::open(&folder.display().to_string(), &Environment::default()).unwrap();
    let identity = Identity::generate();
    let options = InitOptions {
        worker: identity.recipient(),
        data_recipients: vec![identity.recipient()],
        single_writer: false,
        now: Timestamp::now(),
    };
    Vault::init(store.clone(), options).await.unwrap();
    Vault::open(store, vec![identity]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_makes_whole_snapshots() {
    let fleet = Fleet::start(Sim::builder().seed(7).worklogs(2_000), 3).await;
    let producer = fleet.producer();
    for tenant in &fleet.tenants {
        let first = producer.enqueue(tenant, Wish::default()).await.unwrap();
        let again = producer.enqueue(tenant, Wish::default()).await.unwrap();
        assert_eq!((again.run, again.added, first.added == first.open), (first.run, 0, true));
    }
    let workers = [fleet.worker("one", SLICE), fleet.worker("two", Duration::ZERO)];
    fleet.settled(&[]).await;
    for n in 1..=3 {
        fleet.assert_whole(n).await;
        let tenant = &fleet.tenants[n as usize - 1];
        assert_eq!(fleet.vault.unfinished_runs(tenant).await.unwrap(), []);
    }
    fleet.drain.cancel();
    for (_, task) in workers {
        tokio::time::timeout(Duration::from_secs(10), task).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_parks_the_tenant_until_there_is_another() {
    let fleet = Fleet::start(Sim::builder().seed(3).worklogs(200), 2).await;
    let producer = fleet.producer();
    let (bad, good) = (&fleet.tenants[0], &fleet.tenants[1]);
    fleet.set_token(bad, "no-such-token").await;
    for tenant in &fleet.tenants {
        producer.enqueue(tenant, Wish::default()).await.unwrap();
    }
    let _worker = fleet.worker("one", SLICE);
    let counts = fleet.settled(&[JobState::Parked, JobState::Waiting]).await;
    assert!(counts[&JobState::Parked] > 0, "{counts:?}");
    fleet.assert_whole(2).await;
    assert_eq!(fleet.queue.held().await.unwrap(), std::slice::from_ref(bad));
    let settings = fleet.vault.settings(bad).await.unwrap().unwrap();
    assert!(settings.token.unwrap().refused.is_some());
    assert!(!producer.look_again(bad).await.unwrap(), "nothing has changed yet");
    let refused = producer.enqueue(bad, Wish::default()).await.unwrap_err();
    assert!(refused.to_string().contains("Tempo refuses the token"), "{refused}");
    // Jobs that were under way together ask together; after that nobody asks.
    let asked = fleet.sim.ledger().total.requests;
    assert!(producer.look_again(good).await.is_ok());
    fleet.set_token(bad, &fleet.sim.token(1)).await;
    assert_eq!(fleet.sim.ledger().total.requests, asked);
    assert!(producer.look_again(bad).await.unwrap());
    fleet.settled(&[]).await;
    fleet.assert_whole(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_always_fails_ends_in_a_dead_letter_and_the_rest_is_sealed() {
    let fleet = Fleet::start(Sim::builder().seed(4).worklogs(200), 1).await;
    let (producer, tenant) = (fleet.producer(), &fleet.tenants[0]);
    fleet.sim.fault(Fault::status(500).path("/4/roles").times(10_000));
    producer.enqueue(tenant, Wish::default()).await.unwrap();
    let _worker = fleet.worker("one", SLICE);
    let counts = fleet.settled(&[JobState::Dead]).await;
    let manifest = fleet.vault.latest(tenant).await.unwrap().unwrap();
    assert_eq!(manifest.status, Status::Partial);
    let entry = manifest.entry("roles").unwrap();
    assert_eq!(entry.status, EntryStatus::Failed);
    assert!(entry.reason.as_deref().unwrap().contains("given up after 8 attempts"), "{:?}", entry.reason);
    let dead = Filter { state: Some(JobState::Dead), ..Default::default() };
    let (jobs, total) = fleet.queue.list(&dead, 10).await.unwrap();
    assert_eq!((total, counts[&JobState::Dead]), (1, 1), "{jobs:?}");
    assert_eq!(jobs[0].entity, "roles");
    assert!(jobs[0].error.as_deref().unwrap().contains("HTTP 500"), "{:?}", jobs[0]);
    assert!(fleet.queue.why(&jobs[0]).await.unwrap().contains("fermata jobs retry"));
    // The run is a snapshot, so trying again takes a run of its own.
    fleet.sim.clear_faults();
    let acted =
        fleet.queue.act(fermata_fleet::queue::Action::Retry, &jobs[0].id, "me", Some(JobState::Dead)).await;
    acted.unwrap().unwrap();
    fleet.settled(&[]).await;
    let again = fleet.vault.latest(tenant).await.unwrap().unwrap();
    assert_ne!(again.run, manifest.run);
    let mut truth = fleet.sim.truth(1, "roles");
    let mut records = fleet.records(tenant, &again, "roles").await;
    truth.sort();
    records.sort();
    assert_eq!(records, truth);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_tried_again_takes_along_what_is_missing_for_want_of_it() {
    let fleet = Fleet::start(Sim::builder().seed(4).worklogs(200), 1).await;
    let (producer, tenant) = (fleet.producer(), &fleet.tenants[0]);
    fleet.sim.fault(Fault::status(500).path("/4/projects").times(10_000));
    producer.enqueue(tenant, Wish::default()).await.unwrap();
    let _worker = fleet.worker("one", SLICE);
    fleet.settled(&[JobState::Dead]).await;
    let first = fleet.vault.latest(tenant).await.unwrap().unwrap();
    let missing: Vec<_> = first.entities.iter().filter(|entry| entry.status.is_gap()).collect();
    assert!(
        missing.len() > 5 && missing.iter().any(|entry| entry.status == EntryStatus::Skipped),
        "{missing:?}"
    );
    fleet.sim.clear_faults();
    let dead =
        Filter { state: Some(JobState::Dead), entity: Some("projects".to_owned()), ..Filter::default() };
    let (jobs, _) = fleet.queue.list(&dead, 10).await.unwrap();
    let acted = fleet.queue.act(fermata_fleet::queue::Action::Retry, &jobs[0].id, "me", None).await;
    acted.unwrap().unwrap();
    fleet.settled(&[JobState::Dead]).await;
    let again = fleet.vault.latest(tenant).await.unwrap().unwrap();
    assert_ne!(again.run, first.run);
    for entry in missing {
        let entry = again.entry(&entry.entity).unwrap();
        assert_eq!(entry.status, EntryStatus::Complete, "{entry:?}");
    }
    assert_eq!(again.entry("worklogs").unwrap().status, EntryStatus::LeftOut);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_is_filled_again() {
    let fleet =
        Fleet::start(Sim::builder().seed(5).worklogs(3_000).latency(Duration::from_millis(5)), 2).await;
    let producer = fleet.producer();
    for tenant in &fleet.tenants {
        producer.enqueue(tenant, Wish::default()).await.unwrap();
    }
    let _workers = [fleet.worker("one", Duration::ZERO), fleet.worker("two", Duration::ZERO)];
    while fleet.sim.ledger().total.accepted < 60 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let _: () = fleet.queue.link().ask(redis::cmd("FLUSHALL").arg("SYNC")).await.unwrap();
    assert_eq!(fleet.queue.counts().await.unwrap()[&JobState::Queued], 0);
    for tenant in &fleet.tenants {
        let settings = fleet.vault.settings(tenant).await.unwrap().unwrap();
        let enqueued = producer.reconcile(&settings).await.unwrap();
        assert_eq!(enqueued.len(), 1, "{enqueued:?}");
        assert!(producer.reconcile(&settings).await.unwrap().is_empty(), "twice is once");
    }
    fleet.settled(&[]).await;
    for n in 1..=2 {
        fleet.assert_whole(n).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_not_read_from_a_parent_that_never_ended() {
    let fleet = Fleet::start(Sim::builder().seed(6).worklogs(100), 1).await;
    let (producer, tenant) = (fleet.producer(), &fleet.tenants[0]);
    producer.enqueue(tenant, Wish::default()).await.unwrap();
    // Parents that are done for the queue, and of which the store has nothing.
    let mut forged = 0;
    while let Ok(fermata_fleet::queue::Claim::Job(job)) =
        fleet.queue.claim("forger", &forged.to_string(), Duration::from_secs(30)).await
    {
        if job.id.entity == fermata_fleet::queue::SEAL {
            assert!(fleet.queue.settle(&job, &fermata_fleet::Turn::Back).await.unwrap());
            break;
        }
        assert!(fleet.queue.settle(&job, &fermata_fleet::Turn::Done).await.unwrap());
        forged += 1;
    }
    assert!(forged > 40, "{forged}");
    let _worker = fleet.worker("one", SLICE);
    fleet.settled(&[]).await;
    fleet.assert_whole(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_run_comes_to_rest() {
    let fleet = Fleet::start(Sim::builder().seed(8).worklogs(100), 1).await;
    let (producer, tenant) = (fleet.producer(), &fleet.tenants[0]);
    let run = producer.enqueue(tenant, Wish::default()).await.unwrap().run;
    fleet.vault.delete_run(tenant, &run).await.unwrap();
    let _worker = fleet.worker("one", SLICE);
    fleet.settled(&[]).await;
    assert!(fleet.vault.snapshots(tenant).await.unwrap().is_empty());
    assert_eq!(fleet.sim.ledger().total.requests, 0, "nothing was asked for a run that is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_tenant_is_parked_and_goes_on() {
    let fleet = Fleet::start(Sim::builder().seed(9).worklogs(100), 1).await;
    let (producer, tenant) = (fleet.producer(), &fleet.tenants[0]);
    producer.enqueue(tenant, Wish::default()).await.unwrap();
    let pause = async |paused: bool| {
        let now = Timestamp::now();
        let settings = fleet.vault.settings(tenant).await.unwrap().unwrap();
        fleet.vault.save_settings(Settings { paused, ..settings }, now).await.unwrap();
    };
    pause(true).await;
    let _worker = fleet.worker("one", SLICE);
    fleet.settled_at(&[JobState::Parked, JobState::Waiting], 0).await;
    assert_eq!(fleet.sim.ledger().total.requests, 0);
    assert!(!producer.look_again(tenant).await.unwrap());
    pause(false).await;
    assert!(producer.look_again(tenant).await.unwrap());
    fleet.settled(&[]).await;
    fleet.assert_whole(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_another_release_knows_is_left_to_it() {
    let fleet = Fleet::start(Sim::builder().seed(11).worklogs(100), 1).await;
    let tenant = &fleet.tenants[0];
    let run = fleet.producer().enqueue(tenant, Wish::default()).await.unwrap().run;
    let newer = RunJobs {
        tenant: tenant.clone(),
        run: run.clone(),
        cap: 6,
        weight: 1,
        rate: 0.0,
        jobs: vec![("comets".to_owned(), Vec::new())],
    };
    fleet.queue.push(&newer).await.unwrap();
    let _worker = fleet.worker("older", SLICE);
    let counts = fleet.settled(&[JobState::Waiting]).await;
    assert_eq!((counts[&JobState::Waiting], counts[&JobState::Dead]), (1, 0), "{counts:?}");
    let id: JobId = format!("{tenant}/{run}/comets").parse().unwrap();
    let job = fleet.queue.job(&id).await.unwrap().unwrap();
    let why = job.why.unwrap();
    assert!(why.contains("knows no entity comets"), "{why}");
    assert_eq!(job.attempt, 1, "it costs no attempt");
    assert!(fleet.vault.snapshots(tenant).await.unwrap().is_empty(), "nothing is sealed without it");
}
