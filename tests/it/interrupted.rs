//! The program killed, and told to stop, at several moments; then the same command again.

use std::time::{Duration, Instant};

use tempo_sim::{Fault, FaultKind};

use crate::stage::{Stage, site};

/// Jobs of one tenant that work at a time: so many pages may be asked for again.
const JOBS_AT_ONCE: u64 = 6;
/// An orderly stop takes no longer.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(5);

/// A backup that nobody disturbs: its requests, and its records.
fn undisturbed(stage: &Stage) -> (u64, std::collections::BTreeMap<String, Vec<String>>) {
    stage.sim.reset_ledger();
    stage.fermata("backup acme").run().code(0);
    let requests = stage.sim.ledger().total.requests;
    (requests, stage.exported())
}

/// A stage on which answers take long enough to be interrupted.
fn slow() -> Stage {
    Stage::of(site().latency(Duration::from_millis(4))).ready()
}

#[test]
fn killed_at_any_moment_it_goes_on_and_loses_nothing() {
    let stage = slow();
    let (whole, expect) = undisturbed(&stage);
    let worklogs = stage.sim.truth(1, "worklogs").len();
    assert_eq!(expect["worklogs"].len(), worklogs);
    for moment in [1, 2, whole / 4, whole / 2, whole * 3 / 4, whole - 1] {
        std::fs::remove_dir_all(stage.at("fermata-data")).unwrap();
        std::fs::remove_file(stage.at("fermata.key")).unwrap();
        stage.fermata("init").run().code(0);
        stage.add_tenant("acme", 1);
        stage.sim.reset_ledger();

        let backup = stage.fermata("backup acme").start();
        stage.wait_for_requests(moment);
        backup.kill().killed();
        let list = stage.fermata("snapshots list acme --json").run().code(0).json();
        assert_eq!(list["snapshots"].as_array().map(Vec::len), Some(0), "killed at {moment}");
        let document = stage.fermata("backup acme --json").run().code(0).json();
        let tenant = &document["tenants"][0];
        assert_eq!((&tenant["resumed"], &tenant["status"]), (&true.into(), &"complete".into()), "{moment}");
        let requests = stage.sim.ledger().total.requests;
        assert!(
            requests <= whole + JOBS_AT_ONCE,
            "killed at {moment}: {requests} requests instead of {whole}"
        );
        assert!(stage.exported() == expect, "killed at {moment}: the records are not the same");
        stage.fermata("snapshots verify acme --data").run().code(0);
        // A write that was cut leaves `<object>#1`, which no list of the store shows.
        let checkpoint = |name: &String| name.contains("/runs/") && !name.contains('#');
        let left: Vec<_> = stage.stored().into_keys().filter(checkpoint).collect();
        assert!(left.is_empty(), "killed at {moment}, this is left: {left:?}");
    }
}

#[test]
fn killed_again_and_again_it_gets_there() {
    let stage = slow();
    let (whole, expect) = undisturbed(&stage);
    let stage = slow();
    stage.sim.reset_ledger();
    let mut kills = 0;
    // Every quarter of the way, but never without getting on.
    while stage.sim.ledger().total.requests + whole / 4 < whole {
        let moment = stage.sim.ledger().total.requests + whole / 4;
        let backup = stage.fermata("backup acme").start();
        stage.wait_for_requests(moment);
        backup.kill().killed();
        kills += 1;
    }
    stage.fermata("backup acme").run().code(0);
    let requests = stage.sim.ledger().total.requests;
    assert!(kills >= 3 && requests <= whole + kills * JOBS_AT_ONCE, "{requests} instead of {whole}");
    // Each stage has a site of its own; that of another moment has other times in it.
    let counts = |records: &std::collections::BTreeMap<String, Vec<String>>| {
        records.iter().map(|(name, records)| (name.clone(), records.len())).collect::<Vec<_>>()
    };
    assert_eq!(counts(&stage.exported()), counts(&expect));
}

#[test]
fn told_to_stop_it_stops_soon_even_while_tempo_hangs() {
    let stage = slow();
    let (whole, expect) = undisturbed(&stage);
    stage.fermata("tenant remove acme --data --yes").run().code(0);
    stage.add_tenant("acme", 1);
    stage.sim.reset_ledger();
    stage.sim.fault(Fault::new(FaultKind::Hang { seconds: 300.0 }).nth(40).times(1_000));

    let backup = stage.fermata("backup acme").start();
    // All places hang now.
    stage.wait_for_requests(39 + JOBS_AT_ONCE);
    let told = Instant::now();
    let ended = backup.terminate().error(1, &["stopped; nothing is lost, and the same command goes on"]);
    assert!(told.elapsed() < STOP_SECONDS_MAX, "it took {:?}: {ended:?}", told.elapsed());
    stage.sim.clear_faults();

    let document = stage.fermata("backup acme --json").run().code(0).json();
    assert_eq!(document["tenants"][0]["resumed"], true);
    let requests = stage.sim.ledger().total.requests;
    assert!(requests <= whole + JOBS_AT_ONCE, "{requests} requests instead of {whole}");
    assert!(stage.exported() == expect, "the records are not the same");
}

#[test]
fn two_backups_of_one_tenant_do_not_run_at_once() {
    let stage = slow();
    stage.sim.fault(Fault::new(FaultKind::Hang { seconds: 300.0 }).nth(10).times(1_000));
    let first = stage.fermata("backup acme").start();
    stage.wait_for_requests(12);
    stage.fermata("backup acme").run().error(1, &["another fermata is at work on acme"]);
    // Reading goes on all the while.
    stage.fermata("runs show acme").run().code(0);
    first.kill().killed();
    stage.sim.clear_faults();
    stage.fermata("backup acme").run().code(0);
}
