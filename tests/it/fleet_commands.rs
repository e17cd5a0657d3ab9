//! The command line of a fleet, as an operator uses it: the real program against a real Redis.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

mod acting;
mod holding;
mod mistakes;
pub(crate) mod processes;
mod showing;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use fermata_fleet::queue::{Claim, Claimed, Filter, JobView};
use fermata_fleet::{JobId, Turn};
use serde_json::Value;

use crate::fleet::Fleet;
use crate::stage::site;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A lease that no test sees the end of.
const LEASE: Duration = Duration::from_mins(10);
/// A pause that no test sees the end of.
const HOUR: Duration = Duration::from_hours(1);
/// The one tenant of most tests.
const TENANT: &str = "sim-1";

/// One tenant, whose site answers as fast as it goes.
fn fleet() -> Fleet {
    Fleet::start(site(), 1, 1_000.0)
}

/// One tenant whose jobs are in the queue: some runnable, some that wait for their parents.
fn enqueued() -> Fleet {
    let fleet = fleet();
    fleet.fermata(&format!("enqueue {TENANT}")).run().code(0);
    fleet
}

/// A job in each state that a worker brings about.
struct Worked {
    done: JobId,
    dead: JobId,
    retry: JobId,
    throttled: JobId,
    running: JobId,
}

impl Worked {
    /// As a worker called `test` would.
    fn by_hand(fleet: &Fleet) -> Self {
        let settle = |turn: Turn| {
            let claimed = claim(fleet);
            assert!(fleet.stage.block_on(fleet.queue.settle(&claimed, &turn)).unwrap());
            claimed.id
        };
        Self {
            done: settle(Turn::Done),
            dead: settle(Turn::Dead("Tempo answered HTTP 500\u{1b}[2J to GET /4/x".to_owned())),
            retry: settle(Turn::Retry {
                pause: HOUR,
                error: "the answer broke off".to_owned(),
                attempts: 3,
                mark: 2,
            }),
            throttled: settle(Turn::Waiting { pause: HOUR, why: "Tempo asked to wait".to_owned() }),
            running: claim(fleet).id,
        }
    }
}

fn claim(fleet: &Fleet) -> Claimed {
    let token = format!("{:?}", Instant::now());
    match fleet.stage.block_on(fleet.queue.claim("test", &token, LEASE)).unwrap() {
        Claim::Job(claimed) => claimed,
        other => panic!("no job to claim: {other:?}"),
    }
}

/// All jobs of the queue.
fn jobs(fleet: &Fleet) -> Vec<JobView> {
    fleet.stage.block_on(fleet.queue.list(&Filter::default(), usize::MAX)).unwrap().0
}

fn job(fleet: &Fleet, id: &JobId) -> JobView {
    fleet.stage.block_on(fleet.queue.job(id)).unwrap().unwrap_or_else(|| panic!("there is no job {id}"))
}

/// Waits until this holds.
pub(crate) fn until(fleet: &Fleet, what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        fleet.stage.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
}

/// Gives Redis a command that is one line, as a person with `redis-cli` would.
fn tell_redis(fleet: &Fleet, command: &str) {
    let mut redis = TcpStream::connect(("127.0.0.1", fleet.redis.port())).unwrap();
    redis.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut said = [0; 5];
    redis.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"+OK\r\n", "{command}");
}

/// The names of the jobs in a document.
fn ids(document: &Value) -> Vec<String> {
    let list = document["jobs"].as_array().or(document["skipped"].as_array());
    list.into_iter().flatten().map(|job| job["id"].as_str().unwrap_or_default().to_owned()).collect()
}
