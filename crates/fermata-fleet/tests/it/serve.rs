//! Workers on a real Redis: every job once, and what happens when one is lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fermata_fleet::queue::RunJobs;
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{Held, JobState, Link, Queue, ServeOptions, Turn, serve};
use tokio_util::sync::CancellationToken;

const RUN: &str = "20261124T020000Z-4f9a1c";

fn options(name: &str, places: usize) -> ServeOptions {
    ServeOptions { name: name.to_owned(), places, lease: Duration::from_secs(3) }
}

fn jobs(tenant: &str, jobs: &[(&str, &[&str])]) -> RunJobs {
    let own = |text: &&str| (*text).to_owned();
    let jobs = jobs.iter().map(|(entity, needs)| (own(entity), needs.iter().map(own).collect())).collect();
    RunJobs { tenant: tenant.parse().unwrap(), run: RUN.parse().unwrap(), cap: 6, weight: 1, jobs }
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
    serve(queue.clone(), &options("w", 4), &drain, handler).await.unwrap();
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
    serve(queue.clone(), &options("w", 1), &drain, handler).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(queue.counts().await.unwrap()[&JobState::Done], 2);
}
