//! What is kept of what became of a job.

use std::time::Duration;

use fermata_fleet::Turn;
use fermata_fleet::queue::{Action, Past, PastTurn};

use crate::stage::{LEASE, Stage, job};

fn fault(error: &str) -> Turn {
    Turn::Retry { pause: Duration::ZERO, error: error.to_owned(), attempts: 1, mark: 1 }
}

/// The past of a job, the first first: what, turns, by whom, why.
async fn past(stage: &Stage) -> Vec<(Past, u32, String, Option<String>)> {
    let past = stage.queue.past(&job("acme", "a")).await.unwrap();
    past.into_iter().rev().map(|PastTurn { what, turns, by, detail, .. }| (what, turns, by, detail)).collect()
}

#[tokio::test]
async fn every_turn_and_every_action_leaves_an_entry() {
    let stage = Stage::new();
    let queue = &stage.queue;
    stage.push("acme", &[("a", &[])]).await;
    let wait = Turn::Waiting { pause: Duration::ZERO, why: "the quota is used up for 2 s".to_owned() };
    for turn in [Turn::Again, Turn::Again, wait, fault("no answer in time"), Turn::Back] {
        let claimed = stage.claim("w").await.unwrap();
        stage.pass(1_000);
        assert!(queue.settle(&claimed, &turn).await.unwrap());
    }
    // One worker is lost with it, then it is cancelled while it runs, retried, and done.
    stage.claim("w1").await.unwrap();
    stage.pass_tended(u64::try_from(LEASE.as_millis()).unwrap() + 1_000).await;
    let claimed = stage.claim("w2").await.unwrap();
    let act = async |action| queue.act(action, &claimed.id, "ann", None).await.unwrap().unwrap();
    act(Action::Cancel).await;
    assert!(queue.settle(&claimed, &Turn::Dead("cancelled".to_owned())).await.unwrap());
    act(Action::Retry).await;
    assert_eq!(stage.turn(&Turn::Again).await.as_deref(), Some("seal"));
    assert_eq!(stage.turn(&Turn::Done).await.as_deref(), Some("a"));
    let entry =
        |what, turns, by: &str, why: Option<&str>| (what, turns, by.to_owned(), why.map(str::to_owned));
    let expect = [
        entry(Past::Again, 2, "w", None),
        entry(Past::Waiting, 1, "w", Some("the quota is used up for 2 s")),
        entry(Past::Fault, 1, "w", Some("no answer in time")),
        entry(Past::Back, 1, "w", None),
        entry(Past::Lost, 1, "w1", None),
        entry(Past::Cancel, 1, "ann", None),
        entry(Past::Dead, 1, "w2", Some("cancelled")),
        entry(Past::Retry, 1, "ann", None),
        entry(Past::Done, 1, "w", None),
    ];
    assert_eq!(past(&stage).await, expect);
    // Of turns in a row the first began and the last ended.
    let first = queue.past(&job("acme", "a")).await.unwrap().pop().unwrap();
    assert_eq!(first.ended.duration_since(first.began).as_secs(), 2);
}

#[tokio::test]
async fn twenty_entries_are_kept_and_none_is_longer_than_people_read() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    let long = format!("a{}", "é".repeat(400));
    for n in 0..25 {
        let error = if n == 24 { long.clone() } else { n.to_string() };
        stage.turn(&fault(&error)).await.unwrap();
        stage.pass_tended(1_000).await;
    }
    let past = past(&stage).await;
    assert_eq!((past.len(), past[0].3.as_deref()), (20, Some("5")));
    // The three hundredth byte is the first half of a letter.
    assert_eq!(past[19].3.as_deref(), Some(&long[..299]));
}

#[tokio::test]
async fn a_past_goes_with_its_job() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    stage.turn(&fault("no")).await.unwrap();
    stage.queue.act(Action::Discard, &job("acme", "a"), "ann", None).await.unwrap().unwrap();
    assert_eq!(past(&stage).await, []);
    assert!(!stage.dump().await.lists.contains_key(&format!("past:{}", job("acme", "a"))));
}
