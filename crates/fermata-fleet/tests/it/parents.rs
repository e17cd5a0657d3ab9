//! Runs: who waits for whom, when the seal comes, and runs that are enqueued again.

use std::time::Duration;

use fermata_fleet::queue::{Action, RunJobs, SEAL};
use fermata_fleet::{JobState, Turn};

use crate::laws;
use crate::stage::{DAY_MS, LEASE, RUN, Stage, job, jobs};

const OTHER_RUN: &str = "20261125T020000Z-000000";
const FAMILY: &[(&str, &[&str])] = &[("a", &[]), ("b", &[]), ("child", &["a", "b"])];

async fn act(stage: &Stage, action: Action, entity: &str) -> Result<(), String> {
    stage.queue.act(action, &job("acme", entity), "ann", None).await.unwrap()
}

async fn states(stage: &Stage, entities: &[&str]) -> Vec<Option<JobState>> {
    let mut states = Vec::new();
    for entity in entities {
        states.push(stage.job(&job("acme", entity)).await.map(|job| job.state));
    }
    states
}

/// Ends turns like this until there is nothing to claim; returns the entities.
async fn all(stage: &Stage, turn: &Turn) -> Vec<String> {
    let mut ran = Vec::new();
    while let Some(entity) = stage.turn(turn).await {
        ran.push(entity);
        assert!(ran.len() < 100, "no end: {ran:?}");
    }
    ran
}

#[tokio::test]
async fn a_child_waits_until_its_parents_have_ended_in_whatever_way() {
    for how in ["done", "dead", "discarded", "cancelled"] {
        let stage = Stage::new();
        stage.push("acme", FAMILY).await;
        assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("a"));
        let child = stage.job(&job("acme", "child")).await.unwrap();
        assert_eq!((child.state, child.waits_for), (JobState::Waiting, vec!["b".to_owned()]));
        match how {
            "done" => drop(stage.turn(&Turn::Done).await),
            "dead" => drop(stage.turn(&Turn::Dead("no".to_owned())).await),
            "discarded" => act(&stage, Action::Discard, "b").await.unwrap(),
            _ => act(&stage, Action::Cancel, "b").await.unwrap(),
        }
        laws::check(&stage.dump().await).unwrap();
        assert_eq!(all(&stage, &Turn::Done).await, ["child", SEAL], "{how}");
        let run = stage.queue.run(&"acme".parse().unwrap(), &RUN.parse().unwrap()).await.unwrap().unwrap();
        let why = run.given_up.get("b").map(String::as_str);
        let expect = match how {
            "done" => None,
            "dead" => Some("no"),
            "discarded" => Some("discarded by ann"),
            _ => Some("cancelled by ann"),
        };
        assert_eq!(why, expect);
    }
}

#[tokio::test]
async fn a_child_that_was_cancelled_waits_again_when_it_is_tried_again() {
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    act(&stage, Action::Cancel, "child").await.unwrap();
    act(&stage, Action::Retry, "child").await.unwrap();
    assert_eq!(act(&stage, Action::Retry, "child").await, Err("it waits for its parents".to_owned()));
    laws::check(&stage.dump().await).unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["a", "b", "child", SEAL]);
    // And where they have ended meanwhile it does not.
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    act(&stage, Action::Cancel, "child").await.unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["a", "b", SEAL]);
    act(&stage, Action::Retry, "child").await.unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["child", SEAL]);
}

#[tokio::test]
async fn a_seal_that_comes_too_early_waits_for_what_has_not_ended() {
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    for _ in 0..3 {
        stage.turn(&Turn::Done).await.unwrap();
    }
    // The store knows of no end of these two, nor of one that the queue never heard of.
    let reopen = Turn::Reopen(vec!["b".to_owned(), "child".to_owned(), "new".to_owned()]);
    assert_eq!(stage.turn(&reopen).await.as_deref(), Some(SEAL));
    assert_eq!(states(&stage, &[SEAL]).await, [Some(JobState::Waiting)]);
    laws::check(&stage.dump().await).unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["b", "child", "new", SEAL]);
    laws::check(&stage.dump().await).unwrap();
}

#[tokio::test]
async fn what_a_worker_finds_not_ended_is_open_again() {
    let stage = Stage::new();
    let (tenant, run) = ("acme".parse().unwrap(), RUN.parse().unwrap());
    // Of a run that the queue does not know nothing is made.
    stage.queue.reopen(&tenant, &run, &["a"]).await.unwrap();
    assert!(stage.dump().await.keys().is_empty());
    stage.push("acme", FAMILY).await;
    let fault = Turn::Retry { pause: Duration::ZERO, error: "a fault".to_owned(), attempts: 7, mark: 0 };
    stage.turn(&fault).await.unwrap();
    stage.turn(&Turn::Done).await.unwrap();
    stage.pass(200);
    assert_eq!(stage.turn(&Turn::Dead("a fault".to_owned())).await.as_deref(), Some("a"));
    stage.queue.reopen(&tenant, &run, &["a", "b"]).await.unwrap();
    laws::check(&stage.dump().await).unwrap();
    let mut claims = Vec::new();
    for _ in 0..3 {
        let held = stage.claim("w").await.unwrap();
        stage.queue.settle(&held, &Turn::Done).await.unwrap();
        claims.push((held.id.entity, held.attempts));
    }
    let expect = ["child", "a", "b"].map(|entity| (entity.to_owned(), 0));
    assert_eq!(claims, expect, "from the beginning; who waited goes on, and finds out");
    assert_eq!(all(&stage, &Turn::Done).await, [SEAL]);
}

#[tokio::test]
async fn a_seal_that_died_starts_afresh_when_something_ends_anew() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    let retry = Turn::Retry { pause: Duration::ZERO, error: "store".to_owned(), attempts: 7, mark: 0 };
    stage.turn(&retry).await.unwrap();
    stage.pass(200);
    assert_eq!(stage.turn(&Turn::Dead("store".to_owned())).await.as_deref(), Some(SEAL));
    // As long as nobody looked at the seal the run is known, or a retry would find nothing to seal.
    stage.pass_tended(DAY_MS + 60_000).await;
    act(&stage, Action::Retry, "a").await.unwrap();
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("a"));
    let seal = stage.claim("w").await.unwrap();
    assert_eq!((&*seal.id.entity, seal.attempts), (SEAL, 0));
    stage.queue.settle(&seal, &Turn::Done).await.unwrap();
    stage.pass_tended(DAY_MS + 60_000).await;
    assert_eq!(states(&stage, &["a", SEAL]).await, [None, None]);
}

#[tokio::test]
async fn a_run_without_entities_is_sealed() {
    let stage = Stage::new();
    let pushed = stage.push("acme", &[]).await;
    assert_eq!((pushed.added, pushed.open), (1, 0));
    assert_eq!(stage.push("acme", &[]).await.added, 0);
    assert_eq!(all(&stage, &Turn::Done).await, [SEAL]);
    assert_eq!(stage.push("acme", &[]).await.added, 0, "it is done");
}

#[tokio::test]
async fn an_emptied_redis_is_filled_again() {
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    let before = stage.claim("w1").await.unwrap();
    let () = stage.raw(&["FLUSHALL", "SYNC"]).await;
    stage.pass(1_000);
    assert!(!stage.queue.settle(&before, &Turn::Done).await.unwrap());
    assert_eq!(stage.push("acme", FAMILY).await.added, 3);
    assert!(!stage.queue.settle(&before, &Turn::Done).await.unwrap(), "its lease went with the rest");
    laws::check(&stage.dump().await).unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["a", "b", "child", SEAL]);
}

/// A Redis that starts from a file which ends in the middle of a script knows of the first of its writes, and not of the rest.
#[tokio::test]
async fn what_was_done_in_part_is_put_right_when_it_is_enqueued_again() {
    let check = async |broken: &[&str], added: u64, rest: &[&str]| {
        let stage = Stage::new();
        stage.push("acme", FAMILY).await;
        let claimed = stage.claim("w1").await.unwrap();
        assert_eq!(claimed.id, job("acme", "a"));
        let run = format!("acme/{RUN}");
        for line in broken {
            let line = line.replace("KEY", &stage.key("")).replace("RUN", &run);
            let () = stage.raw(&line.split(' ').collect::<Vec<_>>()).await;
        }
        assert!(broken.is_empty() || laws::check(&stage.dump().await).is_err(), "{broken:?}");
        assert_eq!(stage.push("acme", FAMILY).await.added, added, "{broken:?}");
        laws::check(&stage.dump().await).unwrap_or_else(|why| panic!("{broken:?}: {why}"));
        assert_eq!(stage.push("acme", FAMILY).await.added, 0, "{broken:?}: twice is once");
        stage.queue.settle(&claimed, &Turn::Done).await.unwrap();
        assert_eq!(all(&stage, &Turn::Done).await, rest, "{broken:?}");
        laws::check(&stage.dump().await).unwrap();
    };
    let usual = ["b", "child", SEAL];
    check(&[], 0, &usual).await;
    // Taken out of its line to be claimed, and never said to be running.
    check(&["LPOP KEYready:acme", "ZREM KEYring acme"], 1, &usual).await;
    check(&["LPOP KEYready:acme", "ZREM KEYqueued RUN/b"], 1, &usual).await;
    check(&["ZREM KEYqueued RUN/b"], 1, &usual).await;
    check(&["ZREM KEYrunning RUN/a"], 1, &usual).await;
    check(&["ZREM KEYwaiting RUN/child"], 1, &usual).await;
    // Enqueued, and nothing of it but its name.
    check(
        &["LPOP KEYready:acme", "ZREM KEYqueued RUN/b", "DEL KEYjob:RUN/b", "ZREM KEYring acme"],
        1,
        &usual,
    )
    .await;
    // Ended, and its run was not told, nor who waited for it.
    let done =
        ["LPOP KEYready:acme", "ZREM KEYring acme", "ZREM KEYqueued RUN/b", "HSET KEYjob:RUN/b state done"];
    check(&done, 1, &usual[1..]).await;
    let counted = [&done[..], &["ZADD KEYdone 1 RUN/b", "HSET KEYrun:RUN b done"]].concat();
    check(&counted, 0, &usual[1..]).await;
}

#[tokio::test]
async fn a_turn_that_ended_in_part_and_a_seal_that_was_not_called_are_put_right() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let held = stage.claim("w1").await.unwrap();
    let (id, seal) = (held.id.to_string(), job("acme", SEAL).to_string());
    let () = stage.raw(&["HSET", &stage.key("tenant:acme"), "busy", "0"]).await;
    let () = stage.raw(&["HDEL", &stage.key(&format!("job:{id}")), "worker"]).await;
    let () = stage.raw(&["ZREM", &stage.key("running"), &id]).await;
    assert_eq!(stage.push("acme", &[("a", &[])]).await.added, 1);
    laws::check(&stage.dump().await).unwrap();
    // The seal was to wait for something that has ended since.
    stage.turn(&Turn::Done).await.unwrap();
    let () = stage.raw(&["LREM", &stage.key("ready:acme"), "1", &seal]).await;
    let () = stage.raw(&["ZREM", &stage.key("queued"), &seal]).await;
    let () = stage.raw(&["ZREM", &stage.key("ring"), "acme"]).await;
    let () = stage.raw(&["ZADD", &stage.key("waiting"), "9e15", &seal]).await;
    let () = stage.raw(&["HSET", &stage.key(&format!("job:{seal}")), "state", "waiting"]).await;
    assert_eq!(stage.push("acme", &[("a", &[])]).await.added, 1);
    laws::check(&stage.dump().await).unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, [SEAL]);
}

#[tokio::test]
async fn what_is_there_is_left_as_it_is() {
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    stage.turn(&Turn::Done).await.unwrap();
    stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    let pushed = stage.push("acme", FAMILY).await;
    assert_eq!((pushed.added, pushed.open), (0, 1));
    let pushed = stage.push("acme", &[("late", &["b", "child"])]).await;
    assert_eq!((pushed.added, pushed.open), (1, 2));
    let late = stage.job(&job("acme", "late")).await.unwrap();
    assert_eq!(late.waits_for, ["child"], "what is dead is not waited for");
    assert_eq!(all(&stage, &Turn::Done).await, ["child", "late", SEAL]);
    assert_eq!(stage.push("acme", FAMILY).await.added, 0, "it is sealed");
}

#[tokio::test]
async fn a_dead_letter_is_tried_again_after_its_run_was_sealed() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    assert_eq!(all(&stage, &Turn::Dead("no".to_owned())).await, ["a", SEAL]);
    act(&stage, Action::Retry, SEAL).await.unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, [SEAL]);
    // Shortly before its run is forgotten: as long as it runs that waits.
    stage.pass_tended(DAY_MS - 60_000).await;
    act(&stage, Action::Retry, "a").await.unwrap();
    let held = stage.claim("w1").await.unwrap();
    for _ in 0..10 {
        let line = (held.id.to_string(), held.fence.clone(), String::new());
        stage.queue.renew("w1", LEASE, "{}", &[line]).await.unwrap();
        stage.pass(10_000);
    }
    stage.queue.settle(&held, &Turn::Done).await.unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, [SEAL], "which finds the snapshot there");
    laws::check(&stage.dump().await).unwrap();
}

#[tokio::test]
async fn a_dead_letter_outlives_its_run_and_may_be_tried_again() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["b", SEAL]);
    stage.pass_tended(DAY_MS + 60_000).await;
    assert_eq!(states(&stage, &["a", "b", SEAL]).await, [Some(JobState::Dead), None, None]);
    assert!(!stage.dump().await.hashes.contains_key("tenant:acme"));
    // To enqueue its run again is no retry.
    assert_eq!(stage.push("acme", &[("a", &[])]).await.added, 1);
    assert_eq!(all(&stage, &Turn::Done).await, [SEAL]);
    stage.pass_tended(DAY_MS + 60_000).await;

    act(&stage, Action::Retry, "a").await.unwrap();
    laws::check(&stage.dump().await).unwrap();
    let held = stage.claim("w1").await.unwrap();
    // Enqueued again while it runs, and queued again behind the running one: it is there once.
    assert_eq!(stage.push("acme", &[("a", &[])]).await.added, 0);
    laws::check(&stage.dump().await).unwrap();
    assert!(stage.queue.settle(&held, &Turn::Again).await.unwrap());
    assert_eq!(stage.push("acme", &[("a", &[])]).await.added, 0);
    assert_eq!(all(&stage, &Turn::Done).await, ["a", SEAL]);
    stage.pass_tended(DAY_MS + 60_000).await;
    let left: Vec<_> = stage.dump().await.hashes.into_keys().collect();
    assert_eq!(left, ["counters"]);
}

#[tokio::test]
async fn a_dropped_run_is_gone_with_its_running_jobs() {
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    let (a, b) = (stage.claim("w1").await.unwrap(), stage.claim("w1").await.unwrap());
    let told = stage.queue.drop_run(&a.id.tenant, &a.id.run, "ann").await.unwrap();
    assert_eq!(told, 2);
    laws::check(&stage.dump().await).unwrap();
    for (held, turn) in [(a, Turn::Again), (b, Turn::Dead("cancelled by an operator".to_owned()))] {
        assert!(stage.queue.settle(&held, &turn).await.unwrap());
    }
    assert_eq!(stage.claim("w1").await, None);
    let dump = stage.dump().await;
    assert!(
        !dump.hashes.keys().any(|key| key.starts_with("job:") || key.starts_with("tenant:")),
        "{dump:#?}"
    );
}

#[tokio::test]
async fn a_dropped_run_that_is_enqueued_again_is_whole() {
    let stage = Stage::new();
    stage.push("acme", FAMILY).await;
    let a = stage.claim("w1").await.unwrap();
    stage.queue.drop_run(&a.id.tenant, &a.id.run, "ann").await.unwrap();
    let pushed = stage.push("acme", FAMILY).await;
    assert_eq!((pushed.added, pushed.open), (2, 3), "the running one goes on");
    laws::check(&stage.dump().await).unwrap();
    assert!(stage.queue.settle(&a, &Turn::Again).await.unwrap());
    assert_eq!(all(&stage, &Turn::Done).await, ["b", "a", "child", SEAL]);
}

#[tokio::test]
async fn what_is_known_of_a_tenant_stays_while_any_of_its_runs_does() {
    let stage = Stage::new();
    let first = RunJobs { cap: 1, ..jobs("acme", RUN, &[("a", &[])]) };
    stage.queue.push(&first).await.unwrap();
    assert_eq!(all(&stage, &Turn::Done).await, ["a", SEAL]);
    let second = RunJobs { cap: 1, ..jobs("acme", OTHER_RUN, &[("a", &[]), ("b", &[])]) };
    stage.queue.push(&second).await.unwrap();
    let pause = Duration::from_millis(DAY_MS + 30_000);
    for _ in 0..2 {
        stage.turn(&Turn::Waiting { pause, why: "quota".to_owned() }).await.unwrap();
    }
    stage.pass_tended(DAY_MS + 60_000).await;
    assert!(!stage.dump().await.hashes.contains_key(&format!("run:acme/{RUN}")));
    assert!(stage.claim("w1").await.is_some());
    assert_eq!(stage.claim("w1").await, None, "its cap is one");
}
