//! What operators do, what keeps tenants back, and that everything done twice is done once.

use std::time::Duration;

use fermata_fleet::queue::{Action, AuditEntry, HeldFor, RunJobs, SEAL};
use fermata_fleet::{JobState, Turn};
use jiff::Timestamp;

use crate::laws;
use crate::stage::{Dump, LEASE, RUN, START_MS, Stage, job, jobs};

/// More than one call parks.
const LINE: usize = 4_500;

fn again(after: Duration) -> Turn {
    Turn::Retry { pause: after, error: "a fault".to_owned(), attempts: 3, mark: 1 }
}

/// A queue with one job in each state, named after it; `waits` waits for a parent.
async fn one_of_each() -> Stage {
    let stage = Stage::new();
    let hour = Duration::from_hours(1);
    for (entity, turn) in [
        ("dead", Turn::Dead("no".to_owned())),
        ("retry", again(hour)),
        ("waiting", Turn::Waiting { pause: hour, why: "quota".to_owned() }),
        ("done", Turn::Done),
    ] {
        stage.push("acme", &[(entity, &[])]).await;
        assert_eq!(stage.turn(&turn).await.as_deref(), Some(entity));
        if entity == "dead" {
            // It was the last of its run for a moment.
            assert_eq!(
                stage.turn(&Turn::Waiting { pause: hour, why: "store".to_owned() }).await.as_deref(),
                Some(SEAL)
            );
        }
    }
    stage.push("acme", &[("running", &[])]).await;
    stage.claim("w").await.unwrap();
    stage.push("acme", &[("queued", &[]), ("waits", &["running"])]).await;
    stage.push("beta", &[("parked", &[])]).await;
    stage.queue.hold(&"beta".parse().unwrap(), HeldFor::Queue).await.unwrap();
    laws::check(&stage.dump().await).unwrap();
    stage
}

fn named(entity: &str) -> fermata_fleet::JobId {
    job(if entity == "parked" { "beta" } else { "acme" }, entity)
}

#[tokio::test]
async fn each_action_does_what_it_may_and_says_why_not() {
    use Action::{Cancel, Discard, Retry, Snooze};
    const STATES: [&str; 8] = ["queued", "running", "waiting", "waits", "retry", "parked", "dead", "done"];
    let no = |why: &str| Err(why.to_owned());
    let to = |state: Option<JobState>| Ok(state);
    let check = async |action: Action, expect: [Result<Option<JobState>, String>; 8]| {
        for (entity, expect) in STATES.into_iter().zip(expect) {
            let stage = one_of_each().await;
            let view = stage.job(&named(entity)).await.unwrap();
            let said = stage.queue.act(action, &view.id, "ann", Some(view.state)).await.unwrap();
            assert_eq!(said.clone().err(), view.refusal(action), "{action:?} {entity}: the same words");
            let after = stage.job(&view.id).await.map(|job| job.state);
            assert_eq!(said.map(|()| after), expect, "{action:?} {entity}");
            laws::check(&stage.dump().await).unwrap();
        }
    };
    let (queued, dead) = (|| to(Some(JobState::Queued)), || to(Some(JobState::Dead)));
    let held = no("its tenant is held back");
    check(
        Retry,
        [
            no("it is queued already"),
            no("it is running already"),
            queued(),
            no("it waits for its parents"),
            queued(),
            held,
            queued(),
            no("it is done"),
        ],
    )
    .await;
    let (ended, running) = (|| no("it has ended"), to(Some(JobState::Running)));
    check(Cancel, [dead(), running, dead(), dead(), dead(), dead(), ended(), ended()]).await;
    let (until, retry) = (later(), || to(Some(JobState::Retry)));
    let not = |state: &str| no(&format!("it is {state}: only what failed is put off"));
    check(
        Snooze(until),
        [
            not("queued"),
            not("running"),
            not("waiting"),
            not("waiting"),
            retry(),
            not("parked"),
            retry(),
            not("done"),
        ],
    )
    .await;
    let (gone, cancel_first) = (|| to(None), no("it is running; cancel it first"));
    check(Discard, [gone(), cancel_first, gone(), gone(), gone(), gone(), gone(), no("it is done")]).await;
}

#[tokio::test]
async fn nothing_is_done_to_a_job_that_is_not_as_it_was_seen() {
    let stage = one_of_each().await;
    let seen = Some(JobState::Dead);
    let said = stage.queue.act(Action::Discard, &named("retry"), "ann", seen).await.unwrap();
    assert_eq!(said, Err("it is retry now".to_owned()));
    let said = stage.queue.act(Action::Retry, &named("nobody"), "ann", None).await.unwrap();
    assert_eq!(said, Err("there is no such job".to_owned()));
}

#[tokio::test]
async fn a_retry_by_hand_has_all_attempts_before_it() {
    let stage = one_of_each().await;
    stage.turn(&Turn::Done).await.unwrap();
    stage.queue.act(Action::Retry, &named("retry"), "ann", None).await.unwrap().unwrap();
    let claimed = stage.claim("w").await.unwrap();
    assert_eq!((&claimed.id, claimed.attempts, claimed.mark), (&named("retry"), 0, 0));
}

/// An hour after the beginning of a test.
fn later() -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(START_MS).unwrap() + 3_600_000).unwrap()
}

#[tokio::test]
async fn what_is_put_off_is_tried_again_at_its_time() {
    for entity in ["dead", "retry"] {
        let stage = one_of_each().await;
        let (id, before) = (named(entity), stage.job(&named(entity)).await.unwrap());
        stage.queue.act(Action::Snooze(later()), &id, "ann", None).await.unwrap().unwrap();
        let view = stage.job(&id).await.unwrap();
        assert_eq!((view.next_at, view.attempt), (Some(later()), 1));
        assert_eq!(view.error, before.error, "why it failed is not forgotten");
        let why = stage.queue.why(&view).await.unwrap();
        let error = before.error.unwrap();
        assert_eq!(why, format!("it failed ({error}); it is tried again at 12:06:40Z"));
        stage.pass_tended(3_599_000).await;
        assert_eq!(stage.job(&id).await.unwrap().state, JobState::Retry);
        stage.pass_tended(1_000).await;
        assert_eq!(stage.job(&id).await.unwrap().state, JobState::Queued);
        laws::check(&stage.dump().await).unwrap();
    }
}

#[tokio::test]
async fn nothing_is_put_off_for_longer_than_its_run_is_gone_on_with() {
    let stage = one_of_each().await;
    let far = Timestamp::from_second(4_000_000_000).unwrap();
    stage.queue.act(Action::Snooze(far), &named("dead"), "ann", None).await.unwrap().unwrap();
    let next = stage.job(&named("dead")).await.unwrap().next_at.unwrap();
    let week = i64::try_from(fermata_fleet::queue::SNOOZE_MAX.as_millis()).unwrap();
    assert_eq!(next.as_millisecond(), i64::try_from(stage.now()).unwrap() + week);
}

#[tokio::test]
async fn a_child_that_is_put_off_waits_for_its_parents_afterwards() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("child", &["a"])]).await;
    let (child, act) = (job("acme", "child"), async |action| {
        stage.queue.act(action, &job("acme", "child"), "ann", None).await.unwrap().unwrap();
    });
    act(Action::Cancel).await;
    act(Action::Snooze(later())).await;
    stage.pass_tended(3_600_000).await;
    let view = stage.job(&child).await.unwrap();
    assert_eq!(
        (view.state, &view.waits_for[..], view.next_at),
        (JobState::Waiting, &["a".to_owned()][..], None)
    );
    laws::check(&stage.dump().await).unwrap();
    stage.turn(&Turn::Done).await.unwrap();
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("child"));
}

#[tokio::test]
async fn done_twice_is_done_once() {
    let tenant = "acme".parse().unwrap();
    let same = async |what: &str, stage: &Stage, before: Dump| {
        let after = stage.dump().await;
        assert_eq!(before, after, "{what}");
        laws::check(&after).unwrap();
    };
    let stage = one_of_each().await;
    let before = stage.dump().await;
    stage.push("beta", &[("parked", &[])]).await;
    same("push", &stage, before).await;

    let claim = stage.queue.claim("w2", "t", LEASE).await.unwrap();
    let before = stage.dump().await;
    assert_eq!(format!("{claim:?}"), format!("{:?}", stage.queue.claim("w2", "t", LEASE).await.unwrap()));
    same("claim", &stage, before).await;

    stage.queue.hold(&tenant, HeldFor::Token).await.unwrap();
    let before = stage.dump().await;
    stage.queue.hold(&tenant, HeldFor::Token).await.unwrap();
    same("hold", &stage, before).await;
    stage.queue.free(&tenant, Some(HeldFor::Token)).await.unwrap();
    let before = stage.dump().await;
    assert!(!stage.queue.free(&tenant, Some(HeldFor::Token)).await.unwrap());
    same("free", &stage, before).await;

    for (action, entity) in [
        (Action::Retry, "dead"),
        (Action::Cancel, "queued"),
        (Action::Cancel, "running"),
        (Action::Discard, "retry"),
        (Action::Snooze(later()), "dead"),
    ] {
        let stage = one_of_each().await;
        let act = async || stage.queue.act(action, &named(entity), "ann", None).await.unwrap();
        act().await.unwrap();
        let before = stage.dump().await;
        let _ = act().await;
        same(action.name(), &stage, before).await;
    }

    let pause = Duration::from_secs(5);
    let turns = [
        Turn::Done,
        Turn::Dead("no".to_owned()),
        Turn::Again,
        Turn::Back,
        Turn::Waiting { pause, why: "quota".to_owned() },
        again(pause),
    ];
    for turn in turns {
        let stage = one_of_each().await;
        let held = stage.claim("w").await.unwrap();
        assert!(stage.queue.settle(&held, &turn).await.unwrap());
        let before = stage.dump().await;
        assert!(stage.queue.settle(&held, &turn).await.unwrap(), "{turn:?}: the fence is still its own");
        same(turn.name(), &stage, before).await;
    }
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    stage.turn(&Turn::Done).await.unwrap();
    let seal = stage.claim("w").await.unwrap();
    let reopen = Turn::Reopen(vec!["a".to_owned()]);
    assert!(stage.queue.settle(&seal, &reopen).await.unwrap());
    let before = stage.dump().await;
    assert!(stage.queue.settle(&seal, &reopen).await.unwrap());
    same("reopen", &stage, before).await;
    stage.queue.drop_run(&tenant, &RUN.parse().unwrap(), "ann").await.unwrap();
    let before = stage.dump().await;
    stage.queue.drop_run(&tenant, &RUN.parse().unwrap(), "ann").await.unwrap();
    same("drop", &stage, before).await;
}

#[tokio::test]
async fn a_tenant_goes_on_when_nothing_holds_it_any_more() {
    let stage = Stage::new();
    let tenant = "acme".parse().unwrap();
    let queue = &stage.queue;
    stage.push("acme", &[("a", &[])]).await;
    // An operator holds it back; then its token turns out to be refused, and a new one is stored.
    assert_eq!(queue.hold(&tenant, HeldFor::Queue).await.unwrap(), 1);
    queue.hold(&tenant, HeldFor::Token).await.unwrap();
    assert!(!queue.free(&tenant, Some(HeldFor::Token)).await.unwrap());
    assert_eq!(stage.claim("w").await, None, "the operator has the last word");
    assert_eq!(queue.tenant(&tenant).await.unwrap().held.as_deref(), Some("queue"));
    assert!(!queue.free(&tenant, Some(HeldFor::Paused)).await.unwrap(), "it is not held for that");
    assert!(queue.free(&tenant, Some(HeldFor::Queue)).await.unwrap());
    assert!(stage.claim("w").await.is_some());
    queue.hold(&tenant, HeldFor::Queue).await.unwrap();
    queue.hold(&tenant, HeldFor::Paused).await.unwrap();
    assert!(queue.free(&tenant, None).await.unwrap(), "whatever it is");
    // One without jobs leaves nothing behind, nor does one whose runs went while it was held.
    let nobody = "nobody".parse().unwrap();
    for with_run in [false, true] {
        if with_run {
            stage.push("nobody", &[("a", &[])]).await;
        }
        queue.hold(&nobody, HeldFor::Paused).await.unwrap();
        queue.drop_run(&nobody, &RUN.parse().unwrap(), "ann").await.unwrap();
        queue.free(&nobody, None).await.unwrap();
        assert!(!stage.dump().await.hashes.contains_key("tenant:nobody"), "with a run: {with_run}");
    }
}

#[tokio::test]
async fn a_long_line_is_parked_and_freed_to_its_end() {
    let stage = Stage::new();
    let tenant = "acme".parse().unwrap();
    for part in 0..3 {
        let entities = (0..LINE / 3).map(|n| (format!("e-{part}-{n}"), Vec::new())).collect();
        stage.queue.push(&RunJobs { jobs: entities, ..jobs("acme", RUN, &[]) }).await.unwrap();
    }
    assert_eq!(stage.queue.hold(&tenant, HeldFor::Paused).await.unwrap(), LINE as u64);
    let counts = stage.queue.counts().await.unwrap();
    assert_eq!((counts[&JobState::Parked], counts[&JobState::Queued]), (LINE as u64, 0));
    assert!(stage.queue.free(&tenant, None).await.unwrap());
    let counts = stage.queue.counts().await.unwrap();
    assert_eq!((counts[&JobState::Parked], counts[&JobState::Queued]), (0, LINE as u64));
    assert!(stage.claim("w").await.is_some());
}

#[tokio::test]
async fn what_is_enqueued_for_a_held_tenant_is_parked() {
    let stage = Stage::new();
    let tenant = "acme".parse().unwrap();
    stage.queue.hold(&tenant, HeldFor::Paused).await.unwrap();
    stage.push("acme", &[("a", &[])]).await;
    assert_eq!(stage.claim("w").await, None);
    laws::check(&stage.dump().await).unwrap();
    assert!(stage.queue.free(&tenant, Some(HeldFor::Paused)).await.unwrap());
    assert!(stage.claim("w").await.is_some());
}

#[tokio::test]
async fn a_paused_queue_begins_nothing() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    let held = stage.claim("w").await.unwrap();
    stage.queue.pause("ann").await.unwrap();
    assert_eq!(stage.claim("w").await, None);
    assert!(stage.queue.settle(&held, &Turn::Done).await.unwrap(), "what runs goes on");
    assert!(stage.queue.resume().await.unwrap() && !stage.queue.resume().await.unwrap());
    assert_eq!(stage.claim("w").await.unwrap().id.entity, "b");
}

#[tokio::test]
async fn a_cap_that_is_raised_counts_at_once() {
    let stage = Stage::new();
    let wanted = |cap| RunJobs { cap, ..jobs("acme", RUN, &[("a", &[]), ("b", &[])]) };
    stage.queue.push(&wanted(1)).await.unwrap();
    stage.claim("w").await.unwrap();
    assert_eq!(stage.claim("w").await, None);
    stage.queue.push(&wanted(2)).await.unwrap();
    assert!(stage.claim("w").await.is_some());
}

#[tokio::test]
async fn the_list_of_what_was_done_is_capped() {
    let stage = Stage::new();
    let key = stage.key("audit");
    let entry = |n: u64| AuditEntry {
        at: jiff::Timestamp::UNIX_EPOCH,
        who: "ann".to_owned(),
        action: "retry".to_owned(),
        target: "acme".to_owned(),
        count: n,
        reason: None,
    };
    let mut fill = redis::cmd("RPUSH");
    fill.arg(&key);
    for _ in 0..10_000 {
        fill.arg("{}");
    }
    let () = stage.queue.link().ask(&fill).await.unwrap();
    stage.queue.audit(&entry(1)).await.unwrap();
    stage.queue.audit(&entry(2)).await.unwrap();
    let lines: u64 = stage.raw(&["LLEN", &key]).await;
    assert_eq!(lines, 10_000);
    assert_eq!(stage.queue.audited().await.unwrap(), [entry(2), entry(1)], "newest first");
}

#[tokio::test]
async fn the_oldest_dead_letters_go() {
    let stage = Stage::new();
    // As many as are kept, of one tenant, in runs that are forgotten.
    let fill = r"for n = 0, ARGV[3] - 1 do
        redis.call('ZADD', ARGV[1], n, ARGV[2] .. n)
        redis.call('HSET', ARGV[4] .. ARGV[2] .. n, 'state', 'dead')
    end";
    let (name, job_key) = (format!("old/{RUN}/e-"), stage.key("job:"));
    let () = stage.raw(&["EVAL", fill, "0", &stage.key("dead"), &name, "200000", &job_key]).await;
    stage.push("acme", &[("a", &[])]).await;
    stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    assert_eq!(stage.turn(&Turn::Dead("no".to_owned())).await.as_deref(), Some(SEAL));
    let first: Vec<String> = stage.raw(&["ZRANGE", &stage.key("dead"), "0", "0"]).await;
    assert_eq!(first, [format!("old/{RUN}/e-2")]);
    assert_eq!(stage.queue.counts().await.unwrap()[&JobState::Dead], 200_000);
    // The run of a seal that goes this way is over.
    let () = stage.raw(&["ZADD", &stage.key("dead"), "-1", &job("acme", SEAL).to_string()]).await;
    stage.push("beta", &[("a", &[])]).await;
    stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    assert_eq!(stage.job(&job("acme", SEAL)).await, None);
    assert_eq!(stage.dump().await.set("ended"), [format!("acme/{RUN}")]);
}
