//! Redis goes away, is silent, or is another one, while workers are at work.

use std::process::Command;
use std::time::Duration;

use fermata_fleet::testing::RedisServer;
use fermata_fleet::{JobState, Link, Queue, ServeOptions, Turn};

use crate::serve::{Hand, options, soon, until};
use crate::stage::{RUN, jobs};

/// What Kubernetes leaves to a pod is longer, and an operator's patience shorter.
const STOP_MAX: Duration = Duration::from_secs(10);

struct Scene {
    server: RedisServer,
    queue: Queue,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new(entities: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Every write is on disk before it is answered, so that a kill takes nothing back.
        let server = RedisServer::start(folder.path(), &["--appendfsync", "always"]);
        let queue = Queue::new(Link::new(&server.url(), "t").unwrap());
        let none: &[&str] = &[];
        let wanted: Vec<_> = entities.iter().map(|entity| (*entity, none)).collect();
        queue.push(&jobs("acme", RUN, &wanted)).await.unwrap();
        Self { server, queue, _folder: folder }
    }

    /// Stops the process of Redis, or lets it go on: it does not answer, and nobody hears that it is gone.
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.server.pid().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

fn patient(places: usize) -> ServeOptions {
    ServeOptions { lease: Duration::from_secs(6), ..options("w", places) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_in_time_though_redis_is_gone() {
    let mut scene = Scene::new(&["a", "b"]).await;
    let mut hand = Hand::start(&scene.queue, &patient(3));
    let jobs = [hand.job().await, hand.job().await];
    scene.server.kill();
    let took = hand.stop().await;
    assert!(took < STOP_MAX, "{took:?}");
    drop(jobs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_in_time_though_a_job_has_long_been_trying_to_end() {
    let mut scene = Scene::new(&["a", "b"]).await;
    let mut hand = Hand::start(&scene.queue, &patient(2));
    let (a, b) = (hand.job().await, hand.job().await);
    scene.server.kill();
    a.end(Turn::Done);
    // It is tried to tell its end, in vain.
    until(async || scene.queue.counts().await.is_err()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let took = hand.stop().await;
    assert!(took < STOP_MAX, "{took:?}");
    drop(b);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_in_time_though_redis_is_silent() {
    let scene = Scene::new(&["a"]).await;
    let quick = ServeOptions { lease: Duration::from_millis(300), ..options("w", 2) };
    let mut hand = Hand::start(&scene.queue, &quick);
    let job = hand.job().await;
    scene.signal("-STOP");
    // A renewal is under way by then, and a claim.
    tokio::time::sleep(quick.lease).await;
    let took = hand.stop().await;
    scene.signal("-CONT");
    assert!(took < STOP_MAX, "{took:?}");
    drop(job);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_redis_stops_no_handler() {
    let mut scene = Scene::new(&["a", "b"]).await;
    let mut hand = Hand::start(&scene.queue, &patient(2));
    let (one, two) = (hand.job().await, hand.job().await);
    scene.server.kill();
    // One ends while Redis is away, the other afterwards.
    let first = one.id().clone();
    one.end(Turn::Done);
    until(async || scene.queue.counts().await.is_err()).await;
    scene.server.restart();
    until(async || scene.queue.job(&first).await.is_ok_and(|job| job.unwrap().state == JobState::Done)).await;
    assert!(!two.held.stop.is_cancelled() && !two.held.lost());
    two.end(Turn::Done);
    let seal = hand.job().await;
    assert_eq!(seal.id().entity, "seal", "nothing was begun twice");
    seal.end(Turn::Done);
    until(async || scene.queue.counts().await.unwrap()[&JobState::Done] == 3).await;
    let view = scene.queue.view().await.unwrap();
    assert!(!view.counters.contains_key("recovered"), "{:?}", view.counters);
    hand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_redis_was_emptied_lets_go() {
    let scene = Scene::new(&["a"]).await;
    let quick = ServeOptions { lease: Duration::from_millis(600), ..options("w", 1) };
    let mut hand = Hand::start(&scene.queue, &quick);
    let begun = hand.job().await;
    let () = scene.queue.link().ask(redis::cmd("FLUSHALL").arg("SYNC")).await.unwrap();
    soon(begun.held.stop.cancelled()).await;
    assert!(begun.held.lost());
    begun.end(Turn::Back);
    scene.queue.push(&jobs("acme", RUN, &[("a", &[])])).await.unwrap();
    let again = hand.job().await;
    assert_eq!((again.held.claimed.lost, again.id().entity.as_str()), (0, "a"));
    again.end(Turn::Done);
    until(async || scene.queue.counts().await.unwrap()[&JobState::Done] == 1).await;
    hand.stop().await;
}
