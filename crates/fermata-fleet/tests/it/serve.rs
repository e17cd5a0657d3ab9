//! Workers on a real Redis: every job once, and what happens when one is lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fermata_fleet::queue::{Action, RunJobs};
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{Held, JobId, JobState, Link, Queue, ServeOptions, Turn, serve};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::laws;
use crate::stage::{RUN, Stage, job};

pub(crate) fn options(name: &str, places: usize) -> ServeOptions {
    ServeOptions {
        name: name.to_owned(),
        places,
        lease: Duration::from_secs(3),
        quiet: CancellationToken::new(),
    }
}

fn jobs(tenant: &str, wanted: &[(&str, &[&str])]) -> RunJobs {
    crate::stage::jobs(tenant, RUN, wanted)
}

/// Nothing here takes longer.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it takes for ever")
}

/// Until something is so; looked at every few milliseconds.
pub(crate) async fn until<F: Future<Output = bool>>(mut so: impl FnMut() -> F) {
    soon(async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_runs_once_and_the_seal_last() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &[]);
    let queue = Queue::new(Link::new(&server.url(), "t").unwrap());
    let all: [(&str, &[&str]); 4] = [
        ("teams", &[]),
        ("team-links", &["teams"]),
        ("worklogs", &[]),
        ("both", &["team-links", "worklogs"]),
    ];
    for tenant in ["one", "two"] {
        let pushed = queue.push(&jobs(tenant, &all)).await.unwrap();
        assert_eq!((pushed.added, pushed.open), (4, 4));
        assert_eq!(queue.push(&jobs(tenant, &all)).await.unwrap().added, 0, "twice is once");
    }
    let ran = Arc::new(Mutex::new(Vec::new()));
    let drain = CancellationToken::new();
    let (log, stop) = (ran.clone(), drain.clone());
    let handler = move |held: Held| {
        let (log, stop) = (log.clone(), stop.clone());
        async move {
            let mut log = log.lock().unwrap();
            log.push(held.claimed.id.to_string());
            if log.len() == 10 {
                stop.cancel();
            }
            Turn::Done
        }
    };
    soon(serve(queue.clone(), &options("w", 4), &drain, handler)).await.unwrap();
    let ran = ran.lock().unwrap().clone();
    let place: BTreeMap<&str, usize> = ran.iter().enumerate().map(|(at, id)| (id.as_str(), at)).collect();
    assert_eq!((ran.len(), place.len()), (10, 10), "{ran:?}");
    for tenant in ["one", "two"] {
        let at = |entity: &str| place[&*format!("{tenant}/{RUN}/{entity}")];
        assert!(
            at("teams") < at("team-links") && at("team-links") < at("both") && at("worklogs") < at("both")
        );
        assert!(at("both") < at("seal"));
    }
    let counts = queue.counts().await.unwrap();
    assert_eq!(counts[&JobState::Done], 10, "{counts:?}");
    assert!(queue.workers().await.unwrap().is_empty(), "it said goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_comes_back_when_its_worker_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &[]);
    let queue = Queue::new(Link::new(&server.url(), "t").unwrap());
    queue.push(&jobs("one", &[("teams", &[])])).await.unwrap();
    // A worker that claims and is never heard of again.
    let lost = queue.claim("lost", "t", Duration::from_millis(500)).await.unwrap();
    assert!(format!("{lost:?}").contains("teams"));
    let began = Instant::now();
    let drain = CancellationToken::new();
    let stop = drain.clone();
    let handler = move |held: Held| {
        if held.claimed.id.entity == "seal" {
            stop.cancel();
        } else {
            assert_eq!(held.claimed.lost, 1);
        }
        async { Turn::Done }
    };
    soon(serve(queue.clone(), &options("w", 1), &drain, handler)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(queue.counts().await.unwrap()[&JobState::Done], 2);
}

/// A worker in a task, whose turns the test gets one by one.
pub(crate) struct Hand {
    drain: CancellationToken,
    jobs: mpsc::UnboundedReceiver<Begun>,
    serving: tokio::task::JoinHandle<()>,
}

/// A turn that a worker has begun. It keeps its place until it is dropped.
pub(crate) struct Begun {
    pub(crate) held: Held,
    turn: oneshot::Sender<Turn>,
}

impl Begun {
    /// Ends it like this, unless it was told to stop before.
    pub(crate) fn end(self, turn: Turn) {
        let _ = self.turn.send(turn);
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.held.claimed.id
    }
}

impl Hand {
    pub(crate) fn start(queue: &Queue, options: &ServeOptions) -> Self {
        Self::begin(queue, options, true)
    }

    /// One whose handlers `heed` that they should stop, or go on until the test ends them.
    fn begin(queue: &Queue, options: &ServeOptions, heed: bool) -> Self {
        let (send, jobs) = mpsc::unbounded_channel();
        let drain = CancellationToken::new();
        let handler = move |held: Held| {
            let send = send.clone();
            async move {
                let (turn, said) = oneshot::channel();
                let _ = send.send(Begun { held: held.clone(), turn });
                tokio::select! {
                    turn = said => turn.unwrap_or(Turn::Back),
                    () = held.stop.cancelled(), if heed => Turn::Back,
                }
            }
        };
        let (queue, options, stop) = (queue.clone(), options.clone(), drain.clone());
        let serving = tokio::spawn(async move { serve(queue, &options, &stop, handler).await.unwrap() });
        Self { drain, jobs, serving }
    }

    pub(crate) async fn job(&mut self) -> Begun {
        soon(self.jobs.recv()).await.expect("the worker serves")
    }

    /// Stops the worker; returns how long it took.
    pub(crate) async fn stop(self) -> Duration {
        let began = Instant::now();
        self.drain.cancel();
        soon(self.serving).await.unwrap();
        began.elapsed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_gives_its_jobs_back_unspent() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[]), ("c", &[])]).await;
    let mut hand = Hand::start(&stage.queue, &options("w", 2));
    let (one, two) = (hand.job().await, hand.job().await);
    assert!(!one.held.draining());
    assert!(hand.stop().await < Duration::from_secs(2));
    assert!(one.held.draining() && !two.held.cancelled());
    let mut entities = Vec::new();
    while let Some(claimed) = stage.claim("other").await {
        assert_eq!((claimed.attempts, claimed.lost), (0, 0));
        entities.push(claimed.id.entity);
    }
    assert_eq!(entities.len(), 3);
    assert_eq!(entities[2], "c", "what was begun goes on first: {entities:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_at_any_moment_holds_nothing() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    for n in 0..60_u32 {
        let hand = Hand::start(&stage.queue, &options(&format!("w{n}"), 1));
        // From before the first claim to after the first handler began.
        tokio::time::sleep(Duration::from_micros(150) * n).await;
        hand.stop().await;
        let dump = stage.dump().await;
        laws::check(&dump).unwrap();
        assert!(dump.set("running").is_empty(), "{n}: {:?}", dump.set("running"));
        assert!(!dump.sets.contains_key("beats") && !dump.hashes.contains_key("claims"), "{n}");
    }
    assert_eq!(stage.job(&job("acme", "a")).await.unwrap().lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_panics_costs_its_own_job_only() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[]), ("c", &["a", "b"])]).await;
    let drain = CancellationToken::new();
    let stop = drain.clone();
    let handler = move |held: Held| {
        // Both before its first step and in the middle of it.
        assert!(held.claimed.id.entity != "a", "a slip at once");
        let stop = stop.clone();
        async move {
            tokio::task::yield_now().await;
            assert!(held.claimed.id.entity != "b", "a slip later");
            if held.claimed.id.entity == "seal" {
                stop.cancel();
            }
            Turn::Done
        }
    };
    soon(serve(stage.queue.clone(), &options("w", 1), &drain, handler)).await.unwrap();
    for (entity, slip) in [("a", "a slip at once"), ("b", "a slip later")] {
        let view = stage.job(&job("acme", entity)).await.unwrap();
        let error = view.error.unwrap();
        assert_eq!(view.state, JobState::Dead);
        assert!(error.starts_with("a bug in Fermata: ") && error.contains(slip), "{error}");
    }
    assert_eq!(stage.job(&job("acme", "c")).await.unwrap().state, JobState::Done);
    laws::check(&stage.dump().await).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_read_is_dead_and_stops_nobody() {
    let stage = Stage::new();
    let queue = &stage.queue;
    stage.push("acme", &[("a", &[])]).await;
    let run = format!("acme/{RUN}/From_Tomorrow");
    let names = [&*run, "acme/x/y/z", "acme", "acme/", "beta/elsewhere/a", "/", ""];
    for name in names {
        let () = stage.raw(&["LPUSH", &stage.key("ready:acme"), name]).await;
    }
    let mut hand = Hand::start(queue, &options("w", 1));
    for entity in ["a", "seal"] {
        let begun = hand.job().await;
        assert_eq!(*begun.id(), job("acme", entity));
        begun.end(Turn::Done);
    }
    until(async || queue.counts().await.unwrap()[&JobState::Done] == 2).await;
    hand.stop().await;
    let dump = stage.dump().await;
    let mut expect = names.to_vec();
    expect.sort_unstable();
    let mut dead = dump.set("dead");
    dead.sort_unstable();
    assert_eq!(dead, expect);
    let error = dump.field(&format!("job:{run}"), "error").unwrap();
    assert!(error.contains("this release cannot read its name"), "{error}");
    assert_eq!(dump.field("tenant:acme", "busy"), Some("0"), "no place is lost to them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_knows_when_others_wait_for_its_place() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let quick = ServeOptions { lease: Duration::from_millis(300), ..options("w", 1) };
    let mut hand = Hand::start(&stage.queue, &quick);
    let begun = hand.job().await;
    renewals(&stage, 2).await;
    assert!(!begun.held.crowded());
    stage.push("beta", &[("b", &[])]).await;
    until(async || begun.held.crowded()).await;
    begun.end(Turn::Again);
    let begun = hand.job().await;
    assert_eq!(begun.id().tenant.as_str(), "beta", "it had waited, and has had none");
    begun.end(Turn::Done);
    hand.stop().await;
}

/// Waits for so many signs of life.
async fn renewals(stage: &Stage, count: usize) {
    for _ in 0..count {
        let () = stage.raw(&["DEL", &stage.key("workers")]).await;
        until(async || stage.raw::<u8>(&["EXISTS", &stage.key("workers")]).await == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_is_told_and_ends_dead() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    let quick = ServeOptions { lease: Duration::from_millis(300), ..options("w", 1) };
    let mut hand = Hand::start(&stage.queue, &quick);
    let Begun { held, turn } = hand.job().await;
    let view = async || stage.job(&job("acme", "a")).await.unwrap();
    held.tell(7, 120, 9);
    until(async || view().await.progress.is_some_and(|so_far| so_far.records == 120)).await;
    stage.queue.act(Action::Cancel, &held.claimed.id, "ann", None).await.unwrap().unwrap();
    soon(held.stop.cancelled()).await;
    assert!(held.cancelled() && !held.lost() && !held.draining());
    until(async || view().await.state == JobState::Dead).await;
    assert_eq!(view().await.error.as_deref(), Some("cancelled by ann"));
    drop((held, turn));
    let next = hand.job().await;
    assert_eq!(next.id().entity, "b");
    next.end(Turn::Done);
    hand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_comes_back_to_its_worker_keeps_its_lease() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let quick = ServeOptions { lease: Duration::from_millis(600), ..options("w", 2) };
    let mut hand = Hand::begin(&stage.queue, &quick, false);
    let first = hand.job().await;
    // It stalled, and its lease was given to the other place of the same worker.
    until(async || {
        // A renewal may come between.
        let () = stage.raw(&["ZADD", &stage.key("running"), "0", &first.id().to_string()]).await;
        stage.pass(200);
        stage.queue.tend().await.unwrap();
        stage.queue.view().await.unwrap().counters.contains_key("recovered")
    })
    .await;
    let second = hand.job().await;
    assert_eq!(second.id(), first.id());
    assert_ne!(second.held.claimed.fence, first.held.claimed.fence);
    soon(first.held.stop.cancelled()).await;
    assert!(first.held.lost() && !second.held.lost());
    first.end(Turn::Back);
    // Renewed all the time, though the first turn has ended.
    for _ in 0..6 {
        renewals(&stage, 1).await;
        stage.pass(300);
        stage.queue.tend().await.unwrap();
    }
    assert!(!second.held.lost());
    second.end(Turn::Done);
    // The seal comes at once, to the place that is free, and its handler does not heed a stop.
    hand.job().await.end(Turn::Done);
    until(async || stage.queue.counts().await.unwrap()[&JobState::Done] == 2).await;
    hand.stop().await;
    laws::check(&stage.dump().await).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_drained_goes_on_with_what_it_has() {
    let stage = Stage::new();
    let queue = &stage.queue;
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    assert_eq!(queue.drain("w", true, "ann").await.unwrap(), None, "there is no such worker yet");
    let mut hand = Hand::start(queue, &options("w", 1));
    let one = hand.job().await;
    assert_eq!(queue.drain("w", true, "ann").await.unwrap(), Some(true));
    assert_eq!(queue.drain("w", true, "bob").await.unwrap(), Some(false));
    // The second sign of life comes after what the first one heard.
    for _ in 0..2 {
        stage.pass(1);
        let now = jiff::Timestamp::from_millisecond(i64::try_from(stage.now()).unwrap()).unwrap();
        until(|| async { queue.workers().await.unwrap().iter().any(|worker| worker.seen >= now) }).await;
    }
    assert_eq!(queue.workers().await.unwrap()[0].drained.as_deref(), Some("ann"));
    one.end(Turn::Done);
    until(|| async { stage.job(&job("acme", "a")).await.unwrap().state == JobState::Done }).await;
    assert_eq!(queue.counts().await.unwrap()[&JobState::Running], 0);
    assert_eq!(queue.drain("w", false, "ann").await.unwrap(), Some(true));
    assert_eq!(hand.job().await.id(), &job("acme", "b"));
    hand.stop().await;
    assert_eq!(stage.dump().await.hashes.get("drained"), None);
}
