//! Tenants and queues that are held back, and let go.

use fermata_fleet::JobState;
use serde_json::json;

use super::{TENANT, Worked, enqueued, fleet, job, jobs, until};
use crate::fleet::Fleet;
use crate::stage::site;

fn count(fleet: &Fleet, state: JobState) -> usize {
    jobs(fleet).iter().filter(|job| job.state == state).count()
}

#[test]
fn a_queue_is_paused_by_somebody_and_resumed() {
    let fleet = enqueued();
    let pause = |line: &str| fleet.fermata(&format!("queue {line} --json")).run().code(0).json();
    let expect = |action: &str, changed: bool| json!({"schema": 1, "action": action, "tenant": null, "changed": changed});
    assert_eq!(pause("resume"), expect("resume", false));
    assert_eq!(pause("pause --reason deploy"), expect("pause", true));
    assert_eq!(pause("pause --reason later"), expect("pause", false));
    let status = fleet.fermata("queue status --json").run().code(0).json();
    let who = status["paused"].as_str().unwrap();
    assert!(who.contains('@') && who.ends_with(" (deploy)"), "{who}");
    let text = fleet.fermata("queue status").run().code(0).stdout;
    assert!(text.starts_with(&format!("PAUSED by {who}: `fermata queue resume`")), "{text}");
    let why = fleet.fermata(&format!("jobs why {}", jobs(&fleet)[0].id)).run().code(0).stdout;
    assert!(why.contains("the queue was paused by"), "{why}");
    assert_eq!(pause("resume"), expect("resume", true));
    assert_eq!(fleet.fermata("queue status --json").run().code(0).json()["paused"], json!(null));
    let entries = fleet.fermata("queue audit --json").run().code(0).json();
    let [resumed, paused] = &entries["entries"].as_array().unwrap()[..] else { panic!("{entries}") };
    assert_eq!(json!([resumed["action"], resumed["target"]]), json!(["resume", "the whole queue"]));
    assert_eq!(json!([paused["action"], paused["reason"]]), json!(["pause", "deploy"]));
}

#[test]
fn a_tenant_is_held_back_in_the_queue_and_let_go() {
    let fleet = enqueued();
    let line = |line: &str| fleet.fermata(&format!("queue {line} --tenant {TENANT}"));
    let queued = count(&fleet, JobState::Queued);
    assert_eq!(
        line("pause --json").run().code(0).json(),
        json!({"schema": 1, "action": "pause", "tenant": TENANT, "changed": true})
    );
    assert_eq!((count(&fleet, JobState::Parked), count(&fleet, JobState::Queued)), (queued, 0));
    assert!(line("pause").run().code(0).stdout.contains("already"));
    let status = fleet.fermata("queue status").run().code(0).stdout;
    assert!(
        status.contains("1 tenant is held back") && status.contains("fermata queue resume --tenant sim-1"),
        "{status}"
    );
    // What the settings hold back is not for the queue to let go, and the other way round.
    fleet.fermata("tenant resume sim-1").run().code(0);
    assert_eq!(count(&fleet, JobState::Parked), queued);
    assert!(line("resume").run().code(0).stdout.contains("go on"));
    assert_eq!(count(&fleet, JobState::Queued), queued);
    let paused = fleet.fermata("tenant pause sim-1").run().code(0);
    assert!(
        paused.stderr.contains(&format!("{queued} jobs wait until `fermata tenant resume sim-1`")),
        "{paused:?}"
    );
    assert_eq!(count(&fleet, JobState::Parked), queued);
    line("resume")
        .run()
        .error(2, &["held back for another reason: it is paused", "fermata tenant resume sim-1"]);
    let parked = jobs(&fleet).into_iter().find(|job| job.state == JobState::Parked).unwrap();
    fleet.fermata(&format!("jobs retry {}", parked.id)).run().code(3);
    let resumed = fleet.fermata("tenant resume sim-1").run().code(0);
    assert!(resumed.stderr.contains("Jobs of sim-1 that were held back go on."), "{resumed:?}");
    assert_eq!(count(&fleet, JobState::Queued), queued);
    for action in ["pause", "resume"] {
        let command = format!("queue {action} --tenant nobody");
        fleet.fermata(&command).run().error(2, &["there is no tenant nobody"]);
    }
}

#[test]
fn a_refused_token_parks_its_tenant_until_there_is_a_new_one() {
    let fleet = Fleet::start(site().latency(std::time::Duration::from_millis(5)), 1, 1_000.0);
    fleet.fermata("enqueue sim-1").run().code(0);
    let worker = fleet.serve("worker", "worker.log");
    fleet.stage.wait_for_requests(40);
    let mut spec = tempo_sim::TokenSpec::full(1);
    spec.expired = true;
    fleet.stage.sim.restrict_token(spec.clone());
    until(&fleet, "its jobs are parked", || {
        count(&fleet, JobState::Parked) > 0 && count(&fleet, JobState::Running) == 0
    });
    let asked = fleet.stage.sim.ledger().total.requests;
    let status = fleet.fermata("queue status --json").run().code(0).json();
    assert_eq!(status["held"], json!({"sim-1": "token"}));
    let parked = jobs(&fleet).into_iter().find(|job| job.state == JobState::Parked).unwrap();
    assert_eq!((parked.attempt, parked.error), (1, None), "no attempt is spent");
    let why = fleet.fermata(&format!("jobs why {}", parked.id)).run().code(0).stdout;
    assert!(
        why.contains("Tempo refused the token of sim-1") && why.contains("fermata token set sim-1"),
        "{why}"
    );
    fleet.fermata("enqueue sim-1").run().error(4, &["Tempo refuses the token", "fermata token set sim-1"]);
    fleet.fermata("queue resume --tenant sim-1").run().error(2, &["fermata token set sim-1"]);
    let said = fleet.fermata("doctor").run().code(1).stdout;
    assert!(
        said.contains("warning  tenant sim-1: its jobs are held back: Tempo refused its token"),
        "{said}"
    );
    assert_eq!(fleet.stage.sim.ledger().total.requests, asked, "nothing more is asked with it");
    // No scheduler runs: it is the command that lets them go.
    spec.token.push_str("-new");
    spec.expired = false;
    fleet.stage.sim.restrict_token(spec.clone());
    let set = fleet.fermata("token set sim-1").stdin(&spec.token).run().code(0);
    assert!(set.stderr.contains("Jobs of sim-1 that were held back go on."), "{set:?}");
    until(&fleet, "there is a snapshot", || {
        !fleet.stage.block_on(fleet.snapshots(&fleet.tenants[0])).is_empty()
    });
    let snapshot = fleet.stage.block_on(fleet.snapshots(&fleet.tenants[0])).remove(0);
    assert_eq!(fleet.stage.block_on(fleet.flaws(1, &snapshot)), [""; 0]);
    drop(worker);
}

#[test]
fn an_abandoned_run_leaves_the_queue_and_the_store() {
    let fleet = Fleet::start(site().latency(std::time::Duration::from_millis(20)), 1, 1_000.0);
    fleet.fermata("enqueue sim-1").run().code(0);
    // A short lease, since a worker hears of it with the next renewal.
    let worker = fleet.serve("worker --lease 3", "worker.log");
    fleet.stage.wait_for_requests(20);
    let asked = fleet.fermata("runs abandon sim-1").run().code(0).stdout;
    assert!(asked.starts_with("Nothing was done.") && !jobs(&fleet).is_empty(), "{asked}");
    let done = fleet.fermata("runs abandon sim-1 --yes").run().code(0);
    assert!(done.stderr.contains("running stop"), "{done:?}");
    assert_eq!(jobs(&fleet), []);
    let left: Vec<_> = fleet.stage.stored().into_keys().filter(|name| name.contains("/runs/")).collect();
    assert_eq!(left, [""; 0]);
    let entry = fleet.fermata("queue audit --json").run().code(0).json()["entries"][0].take();
    assert_eq!(
        (&entry["action"], entry["target"].as_str().unwrap().starts_with("sim-1/")),
        (&json!("abandon"), true)
    );
    fleet.fermata("reconcile").run().code(0);
    assert_eq!(jobs(&fleet), [], "it is not brought back");
    drop(worker);
}

#[test]
fn with_redis_away_the_store_is_told_all_the_same() {
    let mut fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    fleet.redis.kill();
    let warning = |line: &str, stdin: &str| {
        let said = fleet.fermata(line).stdin(stdin).run().code(0).stderr;
        let warnings: Vec<_> = said.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains("Redis does not answer"), "{line}: {said}");
        warnings[0].to_owned()
    };
    for (line, stdin) in
        [("tenant pause sim-1", ""), ("token set sim-1", "sim-token-1"), ("tenant resume sim-1", "")]
    {
        let said = warning(line, stdin);
        assert!(said.contains("see it by themselves within a minute"), "{said}");
    }
    let said = warning("runs abandon sim-1 --yes", "");
    assert!(said.contains("jobs stay in the queue"), "{said}");
    fleet.fermata("runs show sim-1").run().error(2, &["no unfinished run"]);
    for line in ["enqueue sim-1", "reconcile", "jobs list", "queue status", "queue pause"] {
        fleet.fermata(line).run().error(1, &["Redis does not answer", "FERMATA_REDIS", "Nothing is lost"]);
    }
    fleet.fermata("backup sim-1").run().code(0);
    // When it is back its jobs find that their run is gone, and end.
    fleet.redis.restart();
    until(&fleet, "it answers", || fleet.stage.block_on(fleet.queue.counts()).is_ok());
    assert_eq!(job(&fleet, &worked.retry).state, JobState::Retry);
    let _worker = fleet.serve("worker", "worker.log");
    until(&fleet, "what could run has ended", || count(&fleet, JobState::Queued) == 0);
    assert_eq!(count(&fleet, JobState::Dead), 1);
}

#[test]
fn commands_without_a_fleet_are_as_they_were() {
    let fleet = fleet();
    for line in ["tenant pause sim-1", "tenant resume sim-1"] {
        assert_eq!(fleet.stage.fermata(line).run().code(0).stderr, "", "{line}");
    }
    for line in ["enqueue sim-1", "reconcile", "jobs list", "queue status", "worker", "scheduler"] {
        let words = ["there is no queue", "FERMATA_REDIS", "redis://", "fermata backup"];
        fleet.stage.fermata(line).run().error(2, &words);
    }
}

#[test]
fn a_worker_is_told_to_take_no_new_jobs() {
    let fleet = enqueued();
    let about = r#"{"version":"0.0.1","places":16,"busy":0,"stopping":false}"#;
    let renew = || fleet.stage.block_on(fleet.queue.renew("w-1", super::LEASE, about, &[])).unwrap();
    assert!(!renew().drained);
    let line = |line: &str| fleet.fermata(&format!("queue {line} w-1 --json")).run().code(0).json();
    let expect = |action: &str, changed: bool| json!({"schema": 1, "action": action, "worker": "w-1", "changed": changed});
    assert_eq!(line("undrain"), expect("undrain", false));
    assert_eq!(line("drain --reason memory"), expect("drain", true));
    assert_eq!(line("drain"), expect("drain", false));
    assert!(renew().drained);
    let status = fleet.fermata("queue status").run().code(0).stdout;
    assert!(status.starts_with("No worker takes new jobs"), "{status}");
    assert!(status.contains("takes no new jobs, says "), "{status}");
    let why = fleet.fermata(&format!("jobs why {}", jobs(&fleet)[0].id)).run().code(0).stdout;
    assert!(why.contains("`fermata queue undrain w-1` lets one go on"), "{why}");
    assert_eq!(line("undrain"), expect("undrain", true));
    assert!(!renew().drained);
    let entries = fleet.fermata("queue audit --json").run().code(0).json();
    let [undrained, drained] = &entries["entries"].as_array().unwrap()[..] else { panic!("{entries}") };
    assert_eq!(json!([undrained["action"], undrained["target"]]), json!(["undrain", "w-1"]));
    assert_eq!(json!([drained["action"], drained["reason"]]), json!(["drain", "memory"]));
}
