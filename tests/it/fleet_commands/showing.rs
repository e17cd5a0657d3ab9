//! What is shown: the documents member by member, and what a person reads.

use fermata_fleet::queue::SEAL;
use serde_json::{Value, json};

use super::{TENANT, Worked, enqueued, fleet, ids, job, tell_redis};
use crate::documents::shape_of;

#[test]
fn enqueueing_twice_is_enqueueing_once() {
    let fleet = fleet();
    let enqueue = |line: &str| fleet.fermata(&format!("{line} --json")).run().code(0).json();
    let first = enqueue("enqueue --all");
    let shape = json!({"schema": "number", "tenants": [{
        "tenant": "text", "run": "text", "resumed": "flag", "added": "number", "open": "number", "reason": "null",
    }]});
    assert_eq!(shape_of(&first), shape);
    let jobs = &first["tenants"][0]["added"];
    assert!(jobs.as_u64() > Some(50), "{first}");
    let again = enqueue("enqueue sim-1");
    assert_eq!(again["tenants"][0]["run"], first["tenants"][0]["run"]);
    let line = &again["tenants"][0];
    assert_eq!(json!([line["added"], line["open"], line["resumed"]]), json!([0, jobs, true]));
    assert_eq!(enqueue("reconcile"), json!({"schema": 1, "tenants": []}));
    let queue = fleet.fermata("queue status --json").run().code(0).json();
    assert_eq!(queue["counters"]["enqueued"], *jobs);
    // An emptied Redis is filled again.
    tell_redis(&fleet, "FLUSHALL");
    let filled = enqueue("reconcile");
    assert_eq!(
        json!([filled["tenants"][0]["added"], filled["tenants"][0]["run"]]),
        json!([jobs, line["run"]])
    );
}

#[test]
fn what_jobs_say() {
    let empty = fleet();
    let none = empty.fermata("jobs list --json").run().code(0).json();
    assert_eq!(none, json!({"schema": 1, "jobs": [], "total": 0}));
    assert_eq!(empty.fermata("jobs list").run().code(0).stdout, "There is no job in the queue.\n");
    drop(empty);

    let fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    let list = fleet.fermata("jobs list --json").run().code(0).json();
    let shape = json!({"schema": "number", "total": "number", "jobs": [{
        "id": "text", "tenant": "text", "run": "text", "entity": "text", "state": "text", "attempt": "number",
        "attempts_max": "number", "error": "null or text", "next_at": "null or text", "worker": "null or text",
        "since": "text", "waits_for?": ["text"], "why?": "text", "lost": "number",
    }]});
    assert_eq!(shape_of(&list), shape);
    assert_eq!(list["total"].as_u64(), list["jobs"].as_array().map(|jobs| jobs.len() as u64));
    let states = list["jobs"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap_or_default());
    let order = ["running", "queued", "waiting", "retry", "dead", "done"];
    assert!(states.clone().map(|state| order.iter().position(|known| *known == state)).is_sorted());
    assert_eq!(states.collect::<std::collections::BTreeSet<_>>().len(), order.len());

    // Filters, each and together.
    let listed =
        |filter: &str| ids(&fleet.fermata(&format!("jobs list --json {filter}")).run().code(0).json());
    let [dead, retry, throttled] = [&worked.dead, &worked.retry, &worked.throttled].map(ToString::to_string);
    let run = worked.dead.run.to_string();
    assert_eq!(listed("--state dead"), [dead.as_str()]);
    assert_eq!(listed("--error http"), [dead.as_str()]);
    assert_eq!(listed("--error BROKE --tenant sim-1"), [retry.as_str()]);
    assert_eq!(listed("--error asked --state waiting"), [throttled.as_str()]);
    assert_eq!(listed(&format!("--entity {} --run {run}", worked.dead.entity)), [dead.as_str()]);
    assert_eq!(listed(&format!("--tenant sim-1 --run {run} --state dead")), [dead.as_str()]);
    for nothing in ["--tenant nobody", "--entity seal", "--run 20260301T020000Z-aaaaaa", "--state parked"] {
        assert_eq!(listed(nothing), [""; 0], "{nothing}");
        let said = fleet.fermata(&format!("jobs list {nothing}")).run().code(0).stdout;
        assert_eq!(said, "No job matches.\n");
    }

    // A limit, and what there is beyond it.
    let limited = fleet.fermata("jobs list --limit 2 --json").run().code(0).json();
    assert_eq!((ids(&limited).len(), &limited["total"]), (2, &list["total"]));
    let text = fleet.fermata("jobs list --limit 2").run().code(0).stdout;
    let more = list["total"].as_u64().unwrap() - 2;
    assert!(text.contains(&format!("And {more} more, of {} in all", list["total"])), "{text}");
    let text = fleet.fermata("jobs list").run().code(0).stdout;
    assert!(
        text.contains(&dead)
            && text.contains("4/8")
            && text.contains("in 60 min")
            && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[test]
fn what_one_job_says() {
    let fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    let show = |id: &dyn ToString| {
        fleet.fermata(&format!("jobs show {} --json", id.to_string())).run().code(0).json()
    };
    let shown = show(&worked.retry);
    assert_eq!(json!([shown["job"]["attempt"], shown["job"]["attempts_max"]]), json!([4, 8]));
    let mut expect = serde_json::to_value(job(&fleet, &worked.retry)).unwrap();
    assert_eq!(shown["job"], expect.take());
    assert_eq!(
        shape_of(&shown["past"]),
        json!([{"what": "text", "began": "text", "ended": "text", "turns": "number", "by": "text", "detail": "text"}])
    );
    let text = fleet.fermata(&format!("jobs show {}", worked.retry)).run().code(0).stdout;
    assert!(text.contains("  failed, test\n  the answer broke off"), "{text}");
    let waiting = fleet.fermata("jobs list --state waiting --json").run().code(0).json();
    for (id, words) in [
        (worked.dead.to_string(), "it was given up: Tempo answered HTTP 500"),
        (worked.retry.to_string(), "attempt 3 of 8 failed (the answer broke off); it is tried again at"),
        (worked.throttled.to_string(), "Tempo asked to wait; it goes on at"),
        (worked.running.to_string(), "it is running, on test"),
        (worked.done.to_string(), "it is done"),
        (ids(&waiting).pop().unwrap(), "must end first"),
    ] {
        let document = fleet.fermata(&format!("jobs why {id} --json")).run().code(0).json();
        assert_eq!(
            shape_of(&document),
            json!({"schema": "number", "id": "text", "state": "text", "why": "text"})
        );
        let why = document["why"].as_str().unwrap();
        assert!(why.contains(words), "{id}: {why}");
        assert_eq!(shape_of(&show(&id)["why"]), "text");
        let plain = why.replace('\u{1b}', " ");
        assert_eq!(fleet.fermata(&format!("jobs why {id}")).run().code(0).stdout, format!("{id}: {plain}\n"));
        let text = fleet.fermata(&format!("jobs show {id}")).run().code(0).stdout;
        assert!(text.contains(&plain) && text.contains("attempt    "), "{text}");
    }
    let nobody = "sim-1/20260301T020000Z-aaaaaa/worklogs";
    for command in ["show", "why", "retry", "snooze --for 1h", "cancel", "discard"] {
        let words = ["there is no job sim-1/20260301T020000Z-aaaaaa/worklogs", "fermata jobs list"];
        fleet.fermata(&format!("jobs {command} {nobody}")).run().error(2, &words);
        fleet.fermata(&format!("jobs {command} worklogs")).run().error(2, &["its name looks like acme/"]);
    }
}

#[test]
fn what_the_queue_says() {
    let fleet = fleet();
    let quiet = fleet.fermata("queue status").run().code(0).stdout;
    assert!(quiet.starts_with("Nothing to do.\n") && quiet.contains("No worker was heard of"), "{quiet}");
    fleet.fermata("enqueue sim-1").run().code(0);
    Worked::by_hand(&fleet);
    let about = r#"{"version":"0.0.1","places":16,"busy":1,"stopping":true}"#;
    let renewed = fleet.queue.renew("test", super::LEASE, about, &[]);
    fleet.stage.block_on(renewed).unwrap();
    let status = fleet.fermata("queue status --json").run().code(0).json();
    let shape = json!({
        "schema": "number", "paused": "null", "oldest": "text", "held": {}, "tenants_ready": "number",
        "tenants_cooling": "number",
        "jobs": {
            "running": "number", "queued": "number", "waiting": "number", "retry": "number", "parked": "number",
            "dead": "number", "done": "number",
        },
        "workers": [{
            "name": "text", "version": "text", "places": "number", "busy": "number", "stopping": "flag",
            "drained": "null", "seen": "text",
        }],
        "counters": {"enqueued": "number", "done": "number", "dead": "number", "retried": "number"},
    });
    assert_eq!(shape_of(&status), shape);
    let count = |state: &str| status["jobs"][state].as_u64().unwrap();
    assert_eq!([count("running"), count("retry"), count("dead"), count("done")], [1; 4]);
    let text = fleet.fermata("queue status").run().code(0).stdout;
    for words in [
        "1 job was given up: `fermata jobs list --state dead`",
        &format!("queued   {} ", count("queued")),
        "the first since ",
        "1 dead, 1 done, ",
        "1 of 16",
        "stopping",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn a_run_shows_the_queues_states_where_there_is_one() {
    let mut fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    let show = |fleet: &crate::fleet::Fleet| fleet.fermata("runs show sim-1 --json").run().code(0);
    let shape = json!({"schema": "number", "tenant": "text", "run": "text", "started": "text", "jobs": [{
        "entity": "text", "state": "text", "records": "number", "requests": "number", "reason": "null",
        "queue": "text",
    }]});
    let shown = show(&fleet).json();
    assert_eq!(shape_of(&shown), shape);
    let entry = |shown: &Value, entity: &str| {
        let jobs = shown["jobs"].as_array().unwrap();
        jobs.iter().find(|job| job["entity"] == entity).unwrap_or_else(|| panic!("{shown}"))["queue"].clone()
    };
    assert_eq!(
        (entry(&shown, &worked.dead.entity), entry(&shown, &worked.retry.entity)),
        ("dead".into(), "retry".into())
    );
    assert!(shown["jobs"].as_array().unwrap().iter().all(|job| job["entity"] != SEAL));
    let text = fleet.fermata("runs show sim-1").run().code(0).stdout;
    assert!(text.contains("QUEUE") && text.contains("dead"), "{text}");
    // Without Redis, and with one that is away.
    let text = fleet.stage.fermata("runs show sim-1").run().code(0);
    assert!(!text.stdout.contains("QUEUE") && text.stderr.is_empty(), "{text:?}");
    fleet.redis.kill();
    let shown = show(&fleet);
    assert!(
        shown.stderr.contains("warning: the queue's states are not shown: Redis does not answer"),
        "{shown:?}"
    );
    assert_eq!(entry(&shown.json(), &worked.dead.entity), Value::Null);
    let text = fleet.fermata(&format!("runs show {TENANT}")).run().code(0);
    assert!(!text.stdout.contains("QUEUE") && text.stderr.lines().count() == 1, "{text:?}");
}

#[test]
fn what_the_doctor_says_of_a_fleet() {
    let mut fleet = enqueued();
    let doctor = |fleet: &crate::fleet::Fleet, code| fleet.fermata("doctor").run().code(code).stdout;
    let said = doctor(&fleet, 1);
    for words in [
        "ok       redis: version ",
        "PROBLEM  workers: none is running, and 57 jobs wait",
        "-> fermata worker",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert!(
        !fleet.stage.fermata("doctor").run().code(0).stdout.contains("redis"),
        "nothing changes without Redis"
    );
    let worked = Worked::by_hand(&fleet);
    let about = r#"{"version":"0.0.1","places":16,"busy":1,"stopping":false}"#;
    fleet.stage.block_on(fleet.queue.renew("test", super::LEASE, about, &[])).unwrap();
    fleet.fermata("queue pause --reason upgrade").run().code(0);
    fleet.fermata("tenant pause sim-1").run().code(0);
    tell_redis(&fleet, "CONFIG SET maxmemory-policy allkeys-lru");
    let said = doctor(&fleet, 1);
    for words in [
        "ok       workers: 1 worker, 1 of 16 places taken",
        "PROBLEM  jobs: 1 was given up",
        "fermata jobs list --state dead",
        "warning  queue: was paused by ",
        "(upgrade)",
        "-> fermata queue resume",
        "warning  tenant sim-1: its jobs are held back: it is paused",
        "-> fermata tenant resume sim-1",
        "warning  redis: throws keys away",
        "maxmemory-policy noeviction",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    let status = fleet.fermata("queue status").run().code(0);
    assert!(status.stderr.contains("warning: this Redis throws keys away"), "{status:?}");
    // When all is mended the doctor is content.
    fleet.fermata(&format!("jobs discard {}", worked.dead)).run().code(0);
    fleet.fermata("queue resume").run().code(0);
    fleet.fermata("tenant resume sim-1").run().code(0);
    let said = doctor(&fleet, 0);
    assert!(said.contains("ok       queue: 55 jobs open"), "{said}");
    fleet.redis.kill();
    let said = doctor(&fleet, 1);
    assert!(said.contains("PROBLEM  redis: Redis does not answer"), "{said}");
}
