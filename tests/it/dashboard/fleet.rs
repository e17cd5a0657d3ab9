//! An operator and a fleet: a backup that is watched, a failure that is seen, understood and set right.

use std::time::{Duration, Instant};

use fermata_fleet::JobState;
use tempo_sim::Fault;

use super::{Desk, LOOK_EVERY};
use crate::fleet::Fleet;
use crate::stage::{Server, site};

/// What Tempo refuses while it is broken; so little that the rest of a backup goes on.
const BROKEN: &str = "/4/roles";

/// Longer than a backup takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A fleet of two tenants with a worker.
pub(super) fn at_work() -> (Fleet, Server) {
    let fleet = Fleet::start(site(), 2, 1_000.0);
    let worker = fleet.serve("worker", "worker.log");
    (fleet, worker)
}

/// From now on Tempo refuses a request, so that its jobs are given up at once.
pub(super) fn break_tempo(fleet: &Fleet) {
    fleet.stage.sim.fault(Fault::status(400).path(BROKEN).times(u64::MAX));
}

/// Waits until the first tenant has a job that was given up, and no other work.
pub(super) fn until_given_up(fleet: &Fleet) {
    let began = Instant::now();
    let count = |states: &[JobState]| {
        let counts = fleet.stage.block_on(fleet.queue.counts()).unwrap();
        states.iter().filter_map(|state| counts.get(state)).sum::<u64>()
    };
    while count(&[JobState::Dead]) == 0
        || count(&[JobState::Queued, JobState::Running, JobState::Waiting]) > 0
    {
        assert!(began.elapsed() < PATIENCE, "no job is given up");
        fleet.stage.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
}

#[test]
fn a_backup_is_watched_from_its_beginning_to_its_snapshot() {
    let (fleet, _worker) = at_work();
    let desk = Desk::of(&fleet);
    let page = &desk.browser;
    page.click("sim-1");
    page.is_at("/tenants/sim-1");
    page.click("Back up now");
    page.sees("on its way");
    page.run("window.untouched = true", &[]);
    page.sees("Last snapshot of everything");
    assert_eq!(page.run("return window.untouched === true", &[]), true, "the page was loaded again");
    page.click("Audit");
    page.sees("backup");
    page.sees("sim-1");
    desk.is_quiet();
}

#[test]
fn a_failure_is_seen_understood_and_set_right() {
    let (fleet, _worker) = at_work();
    break_tempo(&fleet);
    let desk = Desk::of(&fleet);
    let page = &desk.browser;
    page.click("Failures");
    page.sees("Nothing failed.");
    // Somebody else begins the backups; the page hears of what comes of them.
    fleet.fermata("enqueue --all").run().code(0);
    page.sees("Tempo refused the request (HTTP 400)");
    until_given_up(&fleet);
    page.click("GET /4/roles");
    page.sees("sim-1");
    page.sees("sim-2");
    fleet.stage.sim.clear_faults();
    page.click("Retry all");
    page.sees("This would retry 2 jobs");
    page.fill("Why", "Tempo is well again");
    page.click("Retry 2 jobs");
    page.sees("done");
    page.click("Failures");
    page.sees("Nothing failed.");
    page.click("Audit");
    page.sees("Tempo is well again");
    desk.is_quiet();
}
