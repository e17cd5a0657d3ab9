//! Leases that end, workers that come back, and jobs that take workers down.

use std::time::Duration;

use fermata_fleet::queue::{Action, Claimed, Hold, RunJobs};
use fermata_fleet::{JobState, Turn};

use crate::laws;
use crate::stage::{LEASE, RUN, Stage, job, jobs};

/// Longer than a lease, while others look after the queue.
const LOST_MS: u64 = 31_000;

async fn renew(stage: &Stage, worker: &str, held: &Claimed) -> Hold {
    let line = (held.id.to_string(), held.fence.clone(), String::new());
    stage.queue.renew(worker, LEASE, "{}", &[line]).await.unwrap().holds[0]
}

async fn state(stage: &Stage, entity: &str) -> JobState {
    stage.job(&job("acme", entity)).await.unwrap().state
}

#[tokio::test]
async fn a_lost_lease_frees_the_job_and_refuses_the_zombie() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let zombie = stage.claim("w1").await.unwrap();
    stage.pass_tended(LOST_MS).await;
    let view = stage.job(&zombie.id).await.unwrap();
    assert_eq!((view.state, view.lost), (JobState::Queued, 1));
    assert_eq!(view.error.as_deref(), Some("worker w1 was lost"));
    assert!(!stage.queue.settle(&zombie, &Turn::Done).await.unwrap(), "nobody has it, and it least of all");
    assert_eq!(renew(&stage, "w1", &zombie).await, Hold::Lost);

    let second = stage.claim("w2").await.unwrap();
    assert_eq!((&second.id, second.lost), (&zombie.id, 0), "w1 was heard of, so it was not taken down");
    assert_eq!(renew(&stage, "w1", &zombie).await, Hold::Lost);
    assert!(!stage.queue.settle(&zombie, &Turn::Done).await.unwrap());
    assert_eq!(renew(&stage, "w2", &second).await, Hold::Kept);
    assert!(stage.queue.settle(&second, &Turn::Done).await.unwrap());
    assert_eq!(state(&stage, "a").await, JobState::Done);
    laws::check(&stage.dump().await).unwrap();
}

#[tokio::test]
async fn a_worker_that_stalls_and_comes_back_does_no_harm() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let held = stage.claim("w1").await.unwrap();
    // Late, but nobody missed it.
    stage.pass(12_000);
    stage.queue.tend().await.unwrap();
    stage.pass(12_000);
    stage.queue.tend().await.unwrap();
    stage.pass(12_000);
    assert_eq!(renew(&stage, "w1", &held).await, Hold::Kept);
    assert!(stage.claim("w2").await.is_none());
    assert!(stage.queue.settle(&held, &Turn::Again).await.unwrap());
    let view = stage.job(&held.id).await.unwrap();
    assert_eq!((view.state, view.lost, view.error), (JobState::Queued, 0, None));
}

#[tokio::test]
async fn a_job_that_takes_three_workers_down_is_dead_and_the_run_goes_on() {
    let stage = Stage::new();
    // One at a time, so that the tenant's next turn depends on the place that the poisoned one leaves.
    let wanted = RunJobs { cap: 1, ..jobs("acme", RUN, &[("a", &[]), ("b", &[])]) };
    stage.queue.push(&wanted).await.unwrap();
    for worker in ["w1", "w2", "w3"] {
        assert_eq!(stage.claim(worker).await.unwrap().id.entity, "a");
        stage.pass_tended(LOST_MS).await;
    }
    let view = stage.job(&job("acme", "a")).await.unwrap();
    assert_eq!(view.state, JobState::Dead);
    assert!(view.error.unwrap().starts_with("it took down 3 workers, the last of them w3"));
    laws::check(&stage.dump().await).unwrap();
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("b"));
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("seal"));
    // An operator may think otherwise, and it has as many workers to take down as before.
    stage.queue.act(Action::Retry, &job("acme", "a"), "ann", None).await.unwrap().unwrap();
    assert_eq!(stage.claim("w4").await.unwrap().lost, 0);
}

#[tokio::test]
async fn a_worker_that_is_heard_of_again_was_not_taken_down() {
    // Which of the workers ask for the job that they lost, and how it then stands.
    let check = async |heard: &[&str], state: JobState, lost: u32| {
        for settles in [false, true] {
            let stage = Stage::new();
            stage.push("acme", &[("a", &[])]).await;
            for worker in ["w1", "w2", "w3", "w4"] {
                let Some(held) = stage.claim(worker).await else { break };
                stage.pass_tended(LOST_MS).await;
                // Twice, as after an answer that was lost.
                for _ in 0..if heard.contains(&worker) { 2 } else { 0 } {
                    if settles {
                        assert!(!stage.queue.settle(&held, &Turn::Again).await.unwrap());
                    } else {
                        assert_eq!(renew(&stage, worker, &held).await, Hold::Lost);
                    }
                }
            }
            let view = stage.job(&job("acme", "a")).await.unwrap();
            assert_eq!((view.state, view.lost), (state, lost), "{heard:?}");
            laws::check(&stage.dump().await).unwrap();
        }
    };
    check(&["w1", "w2", "w3", "w4"], JobState::Queued, 0).await;
    check(&["w2", "w3"], JobState::Queued, 2).await;
    check(&["w1"], JobState::Dead, 3).await;
    check(&[], JobState::Dead, 3).await;
}

#[tokio::test]
async fn a_poisoned_last_job_lets_the_seal_come() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    for worker in ["w1", "w2", "w3"] {
        stage.claim(worker).await.unwrap();
        stage.pass_tended(LOST_MS).await;
    }
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("seal"));
}

#[tokio::test]
async fn a_job_that_gets_on_is_no_poison() {
    // Events of its log when each worker opened it, and whether it is still alive after that worker was lost.
    let check = async |opened: &[u32], alive: bool| {
        let stage = Stage::new();
        stage.push("acme", &[("a", &[])]).await;
        for (n, events) in opened.iter().enumerate() {
            let claimed = stage.claim(&format!("w{n}")).await.unwrap();
            if claimed.lost > 0 {
                stage.queue.opened(&claimed, *events).await.unwrap();
            }
            stage.pass_tended(LOST_MS).await;
        }
        let expect = if alive { JobState::Queued } else { JobState::Dead };
        assert_eq!(state(&stage, "a").await, expect, "{opened:?}");
    };
    check(&[0, 0, 0], false).await;
    check(&[7, 7, 7], false).await;
    check(&[7, 7], true).await;
    check(&[0, 5, 9, 12, 20, 21], true).await;
    check(&[0, 5, 9, 9, 9], false).await;
    // A log that grew shorter, since an event of it is damaged, is no progress.
    check(&[9, 9, 8], false).await;
}

#[tokio::test]
async fn a_turn_that_ends_well_clears_a_job_of_suspicion() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    for _ in 0..3 {
        for _ in 0..2 {
            stage.claim("w1").await.unwrap();
            stage.pass_tended(LOST_MS).await;
        }
        stage.turn(&Turn::Again).await.unwrap();
    }
    assert_eq!(state(&stage, "a").await, JobState::Queued);
}

#[tokio::test]
async fn an_outage_of_redis_ends_no_lease() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let held = stage.claim("w1").await.unwrap();
    // Nobody could ask anything for longer than a lease, and another worker is back first.
    stage.pass(60_000);
    assert!(stage.claim("w2").await.is_none());
    stage.pass(2_000);
    assert_eq!(renew(&stage, "w1", &held).await, Hold::Kept);
    // One that does not come back is missed a little later than otherwise.
    stage.pass_tended(10_000).await;
    stage.pass(60_000);
    assert!(stage.claim("w2").await.is_none());
    stage.pass(11_000);
    assert_eq!(stage.claim("w2").await.unwrap().id, held.id);
}

#[tokio::test]
async fn leases_end_also_where_the_queue_is_rarely_asked() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    stage.claim("w1").await.unwrap();
    for _ in 0..4 {
        stage.pass(20_000);
        stage.queue.tend().await.unwrap();
    }
    assert_eq!(state(&stage, "a").await, JobState::Queued);
}

#[tokio::test]
async fn a_claim_that_is_repeated_has_a_whole_lease() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    let first = stage.queue.claim("w1", "t", LEASE).await.unwrap();
    stage.pass_tended(20_000).await;
    let again = stage.queue.claim("w1", "t", LEASE).await.unwrap();
    assert_eq!(format!("{first:?}"), format!("{again:?}"));
    stage.pass_tended(20_000).await;
    assert_eq!(state(&stage, "a").await, JobState::Running);
}

#[tokio::test]
async fn a_worker_that_says_goodbye_leaves_nothing_behind() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[])]).await;
    // It stopped while its claim was under way, and never heard what it got.
    stage.claim("w1").await.unwrap();
    stage.queue.bye("w1").await.unwrap();
    let view = stage.job(&job("acme", "a")).await.unwrap();
    assert_eq!((view.state, view.lost, view.error), (JobState::Queued, 0, None));
    assert_eq!(stage.claim("w2").await.unwrap().id.entity, "a", "as if it had not been claimed");
    // What another has meanwhile is not touched.
    stage.queue.bye("w1").await.unwrap();
    assert_eq!(state(&stage, "a").await, JobState::Running);
    // A worker that dies before its first sign of life is forgotten too.
    stage.pass_tended(120_000).await;
    assert!(!stage.dump().await.hashes.contains_key("claims"));
}

#[tokio::test]
async fn a_cancelled_job_goes_no_further_however_its_turn_ends() {
    let pause = Duration::from_secs(1);
    let turns = [
        Turn::Again,
        Turn::Back,
        Turn::Dead("something else".to_owned()),
        Turn::Waiting { pause, why: "quota".to_owned() },
        Turn::Retry { pause, error: "a fault".to_owned(), attempts: 1, mark: 0 },
    ];
    for turn in turns {
        let stage = Stage::new();
        stage.push("acme", &[("a", &[])]).await;
        let held = stage.claim("w1").await.unwrap();
        stage.queue.act(Action::Cancel, &held.id, "ann", None).await.unwrap().unwrap();
        assert_eq!(renew(&stage, "w1", &held).await, Hold::Cancelled);
        assert!(stage.queue.settle(&held, &turn).await.unwrap());
        let view = stage.job(&held.id).await.unwrap();
        assert_eq!(
            (view.state, view.error.as_deref()),
            (JobState::Dead, Some("cancelled by ann")),
            "{turn:?}"
        );
        assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("seal"));
    }
}

#[tokio::test]
async fn a_cancelled_job_whose_worker_is_lost_is_dead_too() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let held = stage.claim("w1").await.unwrap();
    stage.queue.act(Action::Cancel, &held.id, "ann", None).await.unwrap().unwrap();
    stage.pass_tended(LOST_MS).await;
    assert_eq!(state(&stage, "a").await, JobState::Dead);
    // What was done all the same is done.
    stage.queue.act(Action::Retry, &held.id, "ann", None).await.unwrap().unwrap();
    let held = loop {
        let held = stage.claim("w1").await.unwrap();
        if held.id.entity == "a" {
            break held;
        }
        stage.queue.settle(&held, &Turn::Done).await.unwrap();
    };
    stage.queue.act(Action::Cancel, &held.id, "ann", None).await.unwrap().unwrap();
    assert!(stage.queue.settle(&held, &Turn::Done).await.unwrap());
    assert_eq!(state(&stage, "a").await, JobState::Done);
}

#[tokio::test]
async fn fences_only_grow() {
    let stage = Stage::new();
    let mut last = 0_u64;
    for round in 0..3 {
        // Emptied, and so with nothing to count on but the clock.
        let () = stage.raw(&["FLUSHALL", "SYNC"]).await;
        stage.push("acme", &[("a", &[]), ("b", &[]), ("c", &[])]).await;
        for _ in 0..3 {
            let fence: u64 = stage.claim("w1").await.unwrap().fence.parse().unwrap();
            assert!(fence > last, "{round}: {fence} after {last}");
            last = fence;
        }
        stage.pass(1);
    }
}

#[tokio::test]
async fn what_has_no_particulars_any_more_comes_up_once() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    // Somebody deleted their hashes by hand.
    for (set, entity) in [("retry", "x"), ("waiting", "y")] {
        let () = stage.raw(&["ZADD", &stage.key(set), "1", &job("acme", entity).to_string()]).await;
    }
    stage.pass_tended(1_000).await;
    stage.pass_tended(1_000).await;
    let mut claimed = Vec::new();
    while let Some(held) = stage.claim("w").await {
        claimed.push(held.id.entity);
    }
    assert_eq!(claimed, ["a", "x", "y"]);
}
