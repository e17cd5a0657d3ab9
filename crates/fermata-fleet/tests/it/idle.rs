//! Workers that have nothing to do: they ask seldom, and are there when there is something.

use std::time::{Duration, Instant};

use fermata_fleet::queue::{Claim, Claimed};
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{Link, Queue, ServeOptions, Turn};

use crate::serve::{Hand, options, soon, until};
use crate::stage::{RUN, jobs};

/// So long that no renewal comes in between.
const LEASE: Duration = Duration::from_mins(10);
/// Longer than between two looks of one that hears nothing, shorter than of one that does.
const SELDOM: Duration = Duration::from_secs(4);

struct Scene {
    queue: Queue,
    hand: Hand,
    held: Claimed,
    _server: RedisServer,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// A worker that has looked, and hears what comes; all there is is held by another one.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(folder.path(), &[]);
        let queue = Queue::new(Link::new(&server.url(), "t").unwrap());
        queue.push(&jobs("acme", RUN, &[("a", &[])])).await.unwrap();
        let Claim::Job(held) = queue.claim("other", "t", LEASE).await.unwrap() else { panic!("no job") };
        let hand = Hand::start(&queue, &ServeOptions { lease: LEASE, ..options("w", 2) });
        let scene = Self { queue, hand, held, _server: server, _folder: folder };
        let channel = format!("{}:wake", scene.queue.link().prefix());
        until(async || {
            let said: (String, u64) = scene.ask(redis::cmd("PUBSUB").arg("NUMSUB").arg(&channel)).await;
            said.1 == 1
        })
        .await;
        // Its last look was a moment ago.
        soon(scene.quiet_for(Duration::from_millis(300))).await;
        scene
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        self.queue.link().ask(command).await.unwrap()
    }

    /// Scripts that were run so far.
    async fn scripts(&self) -> u64 {
        let stats: String = self.ask(redis::cmd("INFO").arg("commandstats")).await;
        let calls = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.filter_map(|line| line.split(',').next()?.parse::<u64>().ok()).sum()
    }

    /// Until nothing was asked for so long.
    async fn quiet_for(&self, pause: Duration) {
        let (mut last, mut since) = (self.scripts().await, Instant::now());
        while since.elapsed() < pause {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = self.scripts().await;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_work_asks_seldom_as_long_as_it_hears() {
    let scene = Scene::new().await;
    soon(scene.quiet_for(SELDOM)).await;
    // It may listen no more, whatever it tries.
    let () = scene.ask(redis::cmd("ACL").arg(&["SETUSER", "default", "resetchannels"])).await;
    let (before, began) = (scene.scripts().await, Instant::now());
    until(async || scene.scripts().await >= before + 4).await;
    assert!(began.elapsed() < SELDOM + Duration::from_secs(1), "{:?}", began.elapsed());
    let () = scene.ask(redis::cmd("ACL").arg(&["SETUSER", "default", "allchannels"])).await;
    soon(scene.quiet_for(SELDOM)).await;
    scene.hand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_begin_soon_begins_in_time() {
    let pause = Duration::from_secs(1);
    for turn in [
        Turn::Retry { pause, error: "a fault".to_owned(), attempts: 1, mark: 0 },
        Turn::Waiting { pause, why: "quota".to_owned() },
    ] {
        let mut scene = Scene::new().await;
        let began = Instant::now();
        assert!(scene.queue.settle(&scene.held, &turn).await.unwrap());
        let job = scene.hand.job().await;
        let took = began.elapsed();
        assert!((pause..pause * 2).contains(&took), "{turn:?}: {took:?}");
        job.end(Turn::Back);
        scene.hand.stop().await;
    }
}
