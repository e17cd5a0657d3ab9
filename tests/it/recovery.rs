//! How soon the job of a worker that died is another's, with leases as they are unless somebody sets them.

use std::time::{Duration, Instant};

use tempo_sim::{Quirks, Sim};

use crate::assert_none;
use crate::fleet::Fleet;

/// Requests per second: so few that the job takes ten seconds.
const RATE: f64 = 6.0;
/// Requests after which the worker dies.
const REQUESTS: u64 = 10;
/// A lease lasts 30 seconds and is renewed after a third of them, so for so long the job is nobody else's.
const HELD_SECONDS_MIN: Duration = Duration::from_secs(18);
/// The promise.
const TAKEN_SECONDS_MAX: Duration = Duration::from_secs(45);

#[test]
fn the_job_of_a_worker_that_died_is_soon_anothers() {
    let quirks = Quirks { limit_max: Some(50), ..Quirks::default() };
    let fleet = Fleet::start(Sim::builder().worklogs(3_000).rate(0.0).quirks(quirks), 1, RATE);
    fleet.fermata("enqueue sim-1 --entity worklogs").run().code(0);
    let worker = fleet.serve("worker --concurrency 2", "one.log");
    fleet.stage.wait_for_requests(2);
    let mut other = fleet.serve("worker --concurrency 2", "other.log");
    fleet.stage.wait_for_requests(REQUESTS);
    worker.end();
    let (died, before) = (Instant::now(), fleet.stage.sim.ledger().total.requests);

    fleet.stage.wait_for_requests(before + 1);
    let taken = died.elapsed();
    assert!(
        (HELD_SECONDS_MIN..=TAKEN_SECONDS_MAX).contains(&taken),
        "the job went to another worker after {taken:?}"
    );
    let snapshots = fleet.stage.block_on(async {
        loop {
            let snapshots = fleet.snapshots(&fleet.tenants[0]).await;
            if !snapshots.is_empty() {
                return snapshots;
            }
            assert!(died.elapsed() < 2 * TAKEN_SECONDS_MAX, "it is not sealed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_none(&fleet.stage.block_on(fleet.flaws(1, &snapshots[0])));
    let needed: u64 = snapshots[0].entities.iter().map(|entry| entry.requests).sum();
    let made = fleet.stage.sim.ledger().total.requests;
    assert!(made <= needed + 1, "{made} requests, {needed} were needed, and one page may come twice");
    assert!(other.ended().is_none(), "the other worker goes on");
}
