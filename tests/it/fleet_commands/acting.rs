//! What an operator does to jobs: said before it is done to many, written down before it is done, and never done to a
//! job that has changed meanwhile.

use std::time::Duration;

use fermata_core::names::{RunId, Tenant};
use fermata_fleet::queue::{Action, Claim, Filter, HeldFor, RunJobs};
use fermata_fleet::{JobState, Link, Queue, Turn};
use serde_json::{Value, json};

use super::{HOUR, LEASE, Worked, enqueued, ids, job, jobs, until};
use crate::documents::shape_of;
use crate::fleet::Fleet;

fn audit(fleet: &Fleet) -> Vec<Value> {
    let document = fleet.fermata("queue audit --json").run().code(0).json();
    document["entries"].as_array().unwrap().clone()
}

fn states(fleet: &Fleet) -> Vec<(String, JobState)> {
    jobs(fleet).into_iter().map(|job| (job.id.to_string(), job.state)).collect()
}

#[test]
fn many_jobs_are_spoken_of_and_left_alone_until_told() {
    let fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    for which in ["", "--rps 5", "--reason because"] {
        let words = ["say which jobs", "--tenant", "--all"];
        fleet.fermata(&format!("jobs cancel {which}")).run().error(2, &words);
    }
    let before = states(&fleet);
    let open = before.iter().filter(|(_, state)| !matches!(state, JobState::Done | JobState::Dead)).count();
    for line in [
        "jobs cancel --tenant sim-1",
        "jobs cancel --all --dry-run",
        "jobs cancel --tenant sim-1 --all --dry-run",
    ] {
        let said = fleet.fermata(&format!("{line} --json")).run().code(0).json();
        let expect = json!({"schema": 1, "action": "cancel", "matched": open, "done": 0, "skipped": [], "dry_run": true});
        assert_eq!(said, expect, "{line}");
        let text = fleet.fermata(line).run().code(0).stdout;
        assert!(text.contains(&format!("would cancel {open} jobs, 10 a second, which takes ")), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("  sim-1/")).count(), 5, "{text}");
    }
    // Those that cannot be acted on, and why.
    let said = fleet.fermata("jobs retry --state waiting --json").run().code(0).json();
    assert_eq!(shape_of(&said["skipped"]), json!([{"id": "text", "why": "text"}]));
    let (matched, skipped) =
        (said["matched"].as_u64().unwrap(), said["skipped"].as_array().unwrap().len() as u64);
    assert_eq!((matched, ids(&said).contains(&worked.throttled.to_string())), (skipped + 1, false));
    let text = fleet.fermata("jobs retry --state waiting").run().code(0).stdout;
    for words in [
        "With --all this would retry 1 job.",
        &format!("{}, waiting: Tempo asked to wait", worked.throttled),
        &format!("Not meant: {skipped} jobs."),
        &format!("  {skipped}: it waits for its parents"),
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    let text = fleet.fermata("jobs retry --state running").run().code(0).stdout;
    assert!(
        text.contains("There is no job to retry here") && text.contains("1: it is running already"),
        "{text}"
    );
    // What is meant where no state is named.
    let matched =
        |line: &str| fleet.fermata(&format!("{line} --json")).run().code(0).json()["matched"].as_u64();
    assert_eq!(matched("jobs retry --tenant sim-1"), Some(1));
    assert_eq!(matched("jobs discard --tenant sim-1"), Some(open as u64 + 1));
    let none = fleet.fermata("jobs retry --entity seal").run().code(0).stdout;
    assert!(none.starts_with("No job that is dead matches"), "{none}");
    assert_eq!(states(&fleet), before);
    assert!(audit(&fleet).is_empty(), "what was not done is not written down");
}

#[test]
fn what_is_done_to_jobs_is_written_down() {
    let fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    // By name, at once.
    let said =
        fleet.fermata(&format!("jobs retry {} --json --reason mended", worked.dead)).run().code(0).json();
    assert_eq!(
        said,
        json!({"schema": 1, "action": "retry", "matched": 1, "done": 1, "skipped": [], "dry_run": false})
    );
    let again = job(&fleet, &worked.dead);
    assert_eq!((again.state, again.attempt), (JobState::Queued, 1));
    let entry = audit(&fleet).remove(0);
    let shape = json!({"at": "text", "who": "text", "action": "text", "target": "text", "count": "number", "reason": "text"});
    assert_eq!(shape_of(&entry), shape);
    assert_eq!(
        json!([entry["action"], entry["target"], entry["count"], entry["reason"]]),
        json!(["retry", worked.dead.to_string(), 1, "mended"])
    );
    // Several, of which one cannot be: the others are done, the code says so.
    let line = format!("jobs retry {} {} {}", worked.retry, worked.done, worked.throttled);
    let said = fleet.fermata(&format!("{line} --dry-run")).run().code(0).stdout;
    assert!(
        said.contains("Without --dry-run this would retry 2 jobs.") && said.contains("1: it is done"),
        "{said}"
    );
    assert_eq!((audit(&fleet).len(), job(&fleet, &worked.retry).state), (1, JobState::Retry));
    let said = fleet.fermata(&line).run().code(3).stdout;
    assert!(
        said.contains("Retried: 2 jobs.") && said.contains(&format!("{}: it is done", worked.done)),
        "{said}"
    );
    assert_eq!(job(&fleet, &worked.throttled).state, JobState::Queued);
    // One that is unknown, and nothing is done to the others.
    let unknown = worked.dead.to_string().replace(&worked.dead.entity, "nothing");
    let line = format!("jobs cancel {} {unknown}", worked.retry);
    fleet.fermata(&line).run().error(2, &[&format!("there is no job {unknown}")]);
    assert_eq!(job(&fleet, &worked.retry).state, JobState::Queued);
    // One at work is told to stop.
    let said = fleet.fermata(&format!("jobs cancel {}", worked.running)).run().code(0);
    assert!(said.stderr.contains("stops within some seconds"), "{said:?}");
    fleet.fermata(&format!("jobs discard {}", worked.running)).run().code(3);
    // Many.
    let said = fleet.fermata("jobs discard --state queued --all --rps 1000 --json").run().code(0).json();
    assert!(said["done"].as_u64() > Some(20) && said["done"] == said["matched"], "{said}");
    let entry = audit(&fleet).remove(0);
    assert_eq!(
        json!([entry["action"], entry["target"], entry["count"]]),
        json!(["discard", "--all --state queued", said["done"]])
    );
    assert!(entry.get("reason").is_none());
    let text = fleet.fermata("queue audit").run().code(0).stdout;
    assert!(text.contains(&format!("  retry {} (mended)", worked.dead)), "{text}");
    let long = "x".repeat(501);
    fleet
        .fermata(&format!("jobs retry {} --reason {long}", worked.done))
        .run()
        .error(2, &["--reason", "500"]);
}

#[test]
fn all_of_a_tenant_is_cancelled_in_one_go() {
    let fleet = enqueued();
    let all = jobs(&fleet).len();
    // Parents that end first would set their children going, and those would be skipped.
    let said = fleet.fermata("jobs cancel --tenant sim-1 --all --rps 1000 --json").run().code(0).json();
    assert_eq!(json!([said["matched"], said["done"], said["skipped"]]), json!([all, all, []]));
    let left: Vec<_> = states(&fleet).into_iter().filter(|(_, state)| *state != JobState::Dead).collect();
    assert!(left.len() == 1 && left[0].0.ends_with("/seal"), "{left:?}");
}

#[test]
fn a_job_that_has_changed_meanwhile_is_skipped() {
    let fleet = enqueued();
    let [first, second, third] = &jobs(&fleet)[..3] else { panic!("three jobs") };
    let line = format!("jobs cancel {} {} {} --rps 1 --json", first.id, second.id, third.id);
    let command = fleet.fermata(&line).start();
    until(&fleet, "the first is cancelled", || job(&fleet, &first.id).state == JobState::Dead);
    let acted = fleet.queue.act(Action::Cancel, &third.id, "somebody else", None);
    fleet.stage.block_on(acted).unwrap().unwrap();
    let said = command.wait().code(3).json();
    assert_eq!((&said["done"], &said["matched"]), (&2.into(), &3.into()));
    assert_eq!(said["skipped"], json!([{"id": third.id.to_string(), "why": "it is dead now"}]));
    let error = job(&fleet, &third.id).error.unwrap();
    assert_eq!(error, "cancelled by somebody else");
}

#[test]
fn what_is_interrupted_says_how_far_it_came() {
    let fleet = enqueued();
    let dead =
        |fleet: &Fleet| states(fleet).iter().filter(|(_, state)| *state == JobState::Dead).count() as u64;
    let command = fleet.fermata("jobs cancel --state queued --all --rps 5 --json").start();
    until(&fleet, "one is cancelled", || dead(&fleet) > 0);
    assert_eq!(audit(&fleet).len(), 1, "it is written down before all is done");
    let said = command.terminate().code(3).json();
    let (done, skipped) = (said["done"].as_u64().unwrap(), said["skipped"].as_array().unwrap());
    assert_eq!(done, dead(&fleet), "{said}");
    assert_eq!(done + skipped.len() as u64, said["matched"].as_u64().unwrap());
    assert_eq!(skipped.last().unwrap()["why"], "stopped before its turn");
    // Redis goes away in the middle.
    let before = dead(&fleet);
    let command = fleet.fermata("jobs cancel --state queued --all --rps 1 --json").start();
    until(&fleet, "another is cancelled", || dead(&fleet) > before);
    crate::stage::signal(fleet.redis.pid(), "KILL");
    let said = command.wait().error(1, &["Redis does not answer", "Nothing is lost"]).json();
    assert_eq!(said["skipped"].as_array().unwrap().last().unwrap()["why"], "Redis no longer answered");
}

/// The reasons in a preview are those that the queue itself would give.
#[test]
fn what_is_refused_beforehand_is_what_the_queue_refuses() {
    let fleet = super::fleet();
    let (tenant, other): (Tenant, Tenant) = ("acme".parse().unwrap(), "beta".parse().unwrap());
    let run: RunId = "20261124T020000Z-4f9a1c".parse().unwrap();
    let snooze = Action::Snooze(jiff::Timestamp::now() + HOUR);
    for action in [Action::Retry, snooze, Action::Cancel, Action::Discard] {
        let queue = Queue::new(Link::new(&fleet.redis.url(), action.name()).unwrap());
        fleet.stage.block_on(async {
            let alone = |entity: &str| (entity.to_owned(), Vec::new());
            let names = ["done", "dead", "retry", "quota", "running", "queued"];
            let mut jobs: Vec<_> = names.map(alone).to_vec();
            jobs.push(("child".to_owned(), vec!["running".to_owned()]));
            let push = |tenant: &Tenant, jobs| {
                let jobs =
                    RunJobs { tenant: tenant.clone(), run: run.clone(), cap: 9, weight: 1, rate: 5.0, jobs };
                let queue = queue.clone();
                async move { queue.push(&jobs).await.unwrap() }
            };
            push(&tenant, jobs).await;
            let pause = HOUR;
            for turn in [
                Some(Turn::Done),
                Some(Turn::Dead("so".to_owned())),
                Some(Turn::Retry { pause, error: "so".to_owned(), attempts: 1, mark: 1 }),
                Some(Turn::Waiting { pause, why: "so".to_owned() }),
                None,
            ] {
                let Claim::Job(claimed) = queue.claim("w", &format!("{turn:?}"), LEASE).await.unwrap() else {
                    panic!("no job")
                };
                if let Some(turn) = turn {
                    assert!(queue.settle(&claimed, &turn).await.unwrap());
                }
            }
            push(&other, vec![alone("parked")]).await;
            queue.hold(&other, HeldFor::Queue).await.unwrap();
            let (jobs, _) = queue.list(&Filter::default(), 100).await.unwrap();
            assert_eq!(jobs.len(), 8);
            for state in JobState::ALL {
                assert!(jobs.iter().any(|job| job.state == state), "no job is {}", state.name());
            }
            for job in jobs {
                let said = queue.act(action, &job.id, "somebody", Some(job.state)).await.unwrap();
                assert_eq!(said.err(), job.refusal(action), "{} {job:?}", action.name());
            }
        });
    }
}

#[test]
fn a_pace_is_kept() {
    let fleet = enqueued();
    let began = std::time::Instant::now();
    let ids: Vec<_> = jobs(&fleet).into_iter().take(5).map(|job| job.id.to_string()).collect();
    fleet.fermata(&format!("jobs cancel {} --rps 4", ids.join(" "))).run().code(0);
    assert!(began.elapsed() >= Duration::from_secs(1), "four pauses of a quarter of a second");
}

#[test]
fn what_failed_is_put_off() {
    let fleet = enqueued();
    let worked = Worked::by_hand(&fleet);
    let said = fleet.fermata("jobs snooze --all --for 2h --reason maintenance --json").run().code(0).json();
    assert_eq!(json!([said["action"], said["matched"], said["done"]]), json!(["snooze", 2, 2]));
    for id in [&worked.dead, &worked.retry] {
        let job = job(&fleet, id);
        let left = job.next_at.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
        assert_eq!((job.state, job.attempt), (JobState::Retry, 1));
        assert!((7_100..=7_200).contains(&left), "{left}");
    }
    let [line] = &audit(&fleet)[..] else { panic!("one line for both") };
    assert_eq!(json!([line["action"], line["count"], line["reason"]]), json!(["snooze", 2, "maintenance"]));
    let until = jiff::Timestamp::now() + Duration::from_hours(24);
    let line = format!("jobs snooze {} {} --until {until}", worked.dead, worked.running);
    let text = fleet.fermata(&line).run().code(3).stdout;
    let expect = format!("Snoozed: 1 job, until {}.", until.strftime("%Y-%m-%d %H:%M:%SZ"));
    assert!(text.starts_with(&expect), "{text}");
    assert!(text.contains("it is running: only what failed is put off"), "{text}");
}
