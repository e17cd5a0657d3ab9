//! Redis stalls, stops, or comes back without what it knew, while workers ask. In real time, so seconds and a high rate.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fermata_fleet::Link;
use fermata_fleet::pace::{Budget, SharedPace};
use fermata_fleet::testing::RedisServer;
use fermata_tempo::Turns;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Bucket, acme};

/// High enough to count something in a second, and low enough for a machine that does more than this.
const RATE: f64 = 20.0;
/// A third of a second's worth: what comes late by the scheduler is no storm.
const DEPTH: f64 = 7.0;
const WORKERS: usize = 3;
const JOBS: usize = 2;

/// Workers at work.
struct Stage {
    redis: RedisServer,
    folder: tempfile::TempDir,
    budgets: Vec<Budget>,
    paces: Vec<SharedPace>,
    tempo: Arc<Tempo>,
    _jobs: JoinSet<()>,
}

struct Tempo {
    start: Instant,
    bucket: Mutex<Bucket>,
    passed: AtomicU64,
    refused: AtomicU64,
}

impl Tempo {
    fn asks(&self) -> bool {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap();
        let passes = self.bucket.lock().unwrap().takes(now);
        if passes { &self.passed } else { &self.refused }.fetch_add(1, Ordering::Relaxed);
        passes
    }
}

impl Stage {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = RedisServer::start(folder.path(), &["--appendonly", "no"]);
        let tempo = Arc::new(Tempo {
            start: Instant::now(),
            bucket: Mutex::new(Bucket::new(RATE, DEPTH)),
            passed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let budget = |n| Budget::new(Link::new(&redis.url(), "t").unwrap(), &format!("w{n}"));
        let budgets: Vec<Budget> = (0..WORKERS).map(budget).collect();
        let paces: Vec<SharedPace> = budgets.iter().map(|budget| budget.pace(&acme(), RATE, None)).collect();
        let mut jobs = JoinSet::new();
        for pace in paces.iter().flat_map(|pace| vec![pace.clone(); JOBS]) {
            let tempo = tempo.clone();
            jobs.spawn(async move {
                loop {
                    match pace.turn().await {
                        Ok(()) if tempo.asks() => pace.accepted(),
                        Ok(()) => _ = pace.refused(None).await,
                        Err(not_now) => sleep(not_now.pause).await,
                    }
                }
            });
        }
        Self { redis, folder, budgets, paces, tempo, _jobs: jobs }
    }

    /// Requests a second that were let through meanwhile.
    async fn rate_over(&self, time: Duration) -> f64 {
        let before = self.tempo.passed.load(Ordering::Relaxed);
        sleep(time).await;
        (self.tempo.passed.load(Ordering::Relaxed) - before) as f64 / time.as_secs_f64()
    }

    fn count(&self, of: fn(&Budget) -> &AtomicU64) -> u64 {
        self.budgets.iter().map(|budget| of(budget).load(Ordering::Relaxed)).sum()
    }

    /// What every outage must come to: no storm, a share meanwhile, Redis's own slots afterwards.
    async fn outage(&mut self, begin: impl AsyncFnOnce(&mut Self), end: impl AsyncFnOnce(&mut Self)) {
        sleep(Duration::from_secs(2)).await;
        let healthy = self.rate_over(Duration::from_secs(1)).await;
        let in_vain = self.count(|budget| &budget.counts().local);
        begin(self).await;
        // Until all have noticed and what was given is used up.
        sleep(Duration::from_secs(2)).await;
        let meanwhile = self.rate_over(Duration::from_secs(2)).await;
        end(self).await;
        sleep(Duration::from_millis(3_500)).await;
        let local = self.count(|budget| &budget.counts().local);
        let afterwards = self.rate_over(Duration::from_secs(1)).await;
        let local_later = self.count(|budget| &budget.counts().local) - local;
        let refused = self.tempo.refused.load(Ordering::Relaxed);
        let told = format!(
            "{healthy} a second, {meanwhile} meanwhile, {afterwards} afterwards, {refused} refused; \
             {in_vain}, {local}, {local_later} of the local share"
        );
        assert_eq!(refused, 0, "{told}");
        // A machine that is busy with other tests is late for slots, and gives them up: so little is asked of it here.
        assert!(healthy >= 0.4 * RATE && afterwards >= 0.4 * RATE, "{told}");
        assert!(local > in_vain && (0.2 * RATE..=0.95 * RATE).contains(&meanwhile), "{told}");
        assert!(local_later as f64 <= 0.2 * RATE, "{told}");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.redis.pid().to_string()]).status();
        assert!(sent.expect("kill is there").success());
    }
}

/// Mostly they wait, so they do it together.
#[tokio::test(flavor = "multi_thread")]
async fn outages_bring_no_storm() {
    let mut outages = JoinSet::new();
    outages.spawn(redis_pauses_its_clients());
    outages.spawn(redis_is_stopped_and_goes_on());
    outages.spawn(redis_dies_and_comes_back_empty());
    outages.spawn(redis_comes_back_empty_before_anybody_notices());
    outages.spawn(a_request_costs_one_call());
    outages.spawn(a_429_stops_all_workers());
    outages.join_all().await;
}

async fn redis_pauses_its_clients() {
    let mut stage = Stage::start();
    let begin = async |stage: &mut Stage| {
        let link = Link::new(&stage.redis.url(), "x").unwrap();
        link.ask::<()>(redis::cmd("CLIENT").arg("PAUSE").arg(4_000).arg("ALL")).await.unwrap();
    };
    stage.outage(begin, async |_| {}).await;
}

async fn redis_is_stopped_and_goes_on() {
    let mut stage = Stage::start();
    let begin = async |stage: &mut Stage| stage.signal("-STOP");
    stage.outage(begin, async |stage| stage.signal("-CONT")).await;
}

async fn redis_dies_and_comes_back_empty() {
    let mut stage = Stage::start();
    let begin = async |stage: &mut Stage| stage.redis.kill();
    stage.outage(begin, async |stage| stage.redis.restart()).await;
    drop(stage.folder);
}

async fn redis_comes_back_empty_before_anybody_notices() {
    let mut stage = Stage::start();
    for _ in 0..3 {
        sleep(Duration::from_secs(2)).await;
        stage.redis.restart();
    }
    sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.tempo.refused.load(Ordering::Relaxed), 0);
    assert!(stage.rate_over(Duration::from_secs(1)).await >= 0.4 * RATE);
}

async fn a_request_costs_one_call() {
    let stage = Stage::start();
    sleep(Duration::from_secs(3)).await;
    let turns = stage.count(|budget| &budget.counts().turns);
    let calls = stage.count(|budget| &budget.counts().calls);
    // Each worker may wait for a slot now, and a busy machine is late for some.
    let more = WORKERS as u64 + stage.count(|budget| &budget.counts().late);
    let told = format!("{calls} calls for {turns} requests, {more} without");
    assert!(turns > 10 && (calls - more.min(calls)) as f64 <= 1.05 * turns as f64, "{told}");
}

async fn a_429_stops_all_workers() {
    let stage = Stage::start();
    sleep(Duration::from_secs(2)).await;
    let pause = stage.paces[0].refused(Some(Duration::from_mins(1))).await;
    assert!(pause > Duration::from_secs(59), "{pause:?}");
    // Whoever has a slot by now still uses it.
    sleep(Duration::from_millis(300)).await;
    assert!(stage.rate_over(Duration::from_secs(1)).await < 0.1);
    for pace in &stage.paces {
        let asked = Instant::now();
        let not_now = pace.turn().await.unwrap_err();
        assert!(asked.elapsed() < Duration::from_secs(1));
        let range = Duration::from_secs(58)..Duration::from_secs(73);
        assert!(range.contains(&not_now.pause), "{not_now:?}");
    }
}

/// A pace alone in the world, and the link to its Redis.
fn alone(rate: f64) -> (impl Sized, Link, Budget, SharedPace) {
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisServer::start(folder.path(), &["--appendonly", "no"]);
    let link = Link::new(&redis.url(), "t").unwrap();
    let budget = Budget::new(link.clone(), "w");
    let pace = budget.pace(&acme(), rate, None);
    ((redis, folder), link, budget, pace)
}

#[tokio::test]
async fn a_slot_that_is_late_is_given_up() {
    let (_redis, _link, budget, pace) = alone(5.0);
    let stalls = async {
        // The first slot of a Redis that has just begun is in a second and a half. The thread sleeps it out, and more.
        let view = loop {
            let view = budget.look(&acme()).await.unwrap();
            if view.granted == 1 {
                break view;
            }
            sleep(Duration::from_millis(5)).await;
        };
        let looked = Instant::now();
        while looked.elapsed() < view.ahead {
            std::hint::spin_loop();
        }
    };
    let (turn, ()) = tokio::join!(pace.turn(), stalls);
    turn.unwrap();
    assert!(budget.counts().late.load(Ordering::Relaxed) >= 1);
    assert!(budget.look(&acme()).await.unwrap().granted >= 2);
}

#[tokio::test]
async fn a_redis_that_forgets_makes_no_process_faster_than_its_ceiling() {
    let (_redis, link, _budget, pace) = alone(2.0);
    pace.turn().await.unwrap();
    let first = Instant::now();
    let key = format!("{}:pace:acme", link.prefix());
    link.ask::<()>(redis::cmd("HDEL").arg(key).arg("tat")).await.unwrap();
    pace.turn().await.unwrap();
    assert!(first.elapsed() >= Duration::from_millis(480), "{:?}", first.elapsed());
}
