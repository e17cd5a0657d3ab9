//! What operators do to many jobs at once.

use std::num::NonZeroU32;
use std::time::Duration;

use fermata_fleet::bulk::{self, Order, Progress, Skipped};
use fermata_fleet::queue::{Action, Filter};
use fermata_fleet::{JobState, Turn};
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, job};

const JOBS: [&str; 4] = ["a", "b", "c", "d"];

fn order() -> Order {
    let rps = NonZeroU32::new(1_000).unwrap();
    Order { who: "ann".to_owned(), reason: None, target: Some("--all".to_owned()), rps }
}

/// Four jobs that were given up.
async fn dead() -> Stage {
    let stage = Stage::new();
    stage.push("acme", &JOBS.map(|entity| (entity, &[][..]))).await;
    for _ in JOBS {
        stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    }
    stage
}

async fn previewed(stage: &Stage, action: Action) -> bulk::Preview {
    let filter = Filter { state: Some(JobState::Dead), ..Filter::default() };
    bulk::preview(action, bulk::matching(&stage.queue, action, &filter).await.unwrap())
}

fn skipped(entity: &str, why: &str) -> Skipped {
    Skipped { id: job("acme", entity), why: why.to_owned() }
}

#[tokio::test]
async fn what_would_be_done_is_counted_and_sampled() {
    let stage = dead().await;
    let (queue, seal) = (&stage.queue, job("acme", "seal"));
    let all = JOBS.map(|entity| job("acme", entity)).into_iter().chain([seal.clone()]).collect();
    let preview = bulk::preview(Action::Retry, bulk::named(queue, all).await.unwrap().unwrap());
    assert_eq!((preview.matched(), preview.able.len()), (5, 4));
    assert_eq!(preview.skipped, [skipped("seal", "it is queued already")]);
    assert_eq!(preview.reasons().into_iter().collect::<Vec<_>>(), [("it is queued already", 1)]);
    let sample: Vec<_> = preview.sample.iter().map(|job| &*job.entity).collect();
    assert_eq!(sample, JOBS);
    assert_eq!(preview.span(NonZeroU32::new(2).unwrap()), Duration::from_millis(1_500));

    let mut probe = preview.clone();
    probe.probe();
    assert_eq!((probe.able.len(), probe.sample.len(), &probe.able[0].id), (1, 1, &preview.able[0].id));

    let unknown = vec![job("acme", "a"), job("acme", "x"), job("acme", "x")];
    assert_eq!(bulk::named(queue, unknown).await.unwrap().unwrap_err(), [job("acme", "x")]);
}

#[tokio::test]
async fn it_stops_when_told_and_says_what_it_left() {
    let stage = dead().await;
    let preview = previewed(&stage, Action::Retry).await;
    // Somebody else is faster with the second one.
    stage.queue.act(Action::Retry, &job("acme", "b"), "bob", None).await.unwrap().unwrap();
    let (stop, mut heard) = (CancellationToken::new(), Vec::new());
    let told = |progress: Progress| {
        heard.push((progress.looked_at, progress.done));
        if progress.looked_at == 3 {
            stop.cancel();
        }
    };
    let outcome = bulk::carry_out(&stage.queue, preview, &order(), &stop, told).await.unwrap();
    assert_eq!(outcome.done, 2);
    let left = [skipped("b", "it is queued now"), skipped("d", "stopped before its turn")];
    assert_eq!(outcome.skipped, left);
    assert_eq!(heard, [(1, 1), (2, 1), (3, 2)]);
    let audit = stage.queue.audited().await.unwrap();
    assert_eq!((audit.len(), audit[0].count, &*audit[0].target), (1, 4, "--all"));
    assert_eq!(stage.job(&job("acme", "d")).await.unwrap().state, JobState::Dead);
}

#[tokio::test]
async fn each_job_has_a_line_where_none_speaks_for_all() {
    let stage = dead().await;
    let preview = previewed(&stage, Action::Discard).await;
    let order = Order { target: None, reason: Some("gone".to_owned()), ..order() };
    bulk::carry_out(&stage.queue, preview, &order, &CancellationToken::new(), |_| ()).await.unwrap();
    let audit = stage.queue.audited().await.unwrap();
    let lines: Vec<_> = audit.iter().rev().map(|line| (&*line.target, line.reason.as_deref())).collect();
    let names = JOBS.map(|entity| job("acme", entity).to_string());
    assert_eq!(lines, names.each_ref().map(|name| (&**name, Some("gone"))));
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_written_down() {
    let stage = dead().await;
    let preview = previewed(&stage, Action::Discard).await;
    let () = stage.raw(&["SET", &stage.key("audit"), "no list"]).await;
    let stop = CancellationToken::new();
    bulk::carry_out(&stage.queue, preview.clone(), &order(), &stop, |_| ()).await.unwrap_err();
    let order = Order { target: None, ..order() };
    let outcome = bulk::carry_out(&stage.queue, preview, &order, &stop, |_| ()).await.unwrap();
    assert_eq!((outcome.done, outcome.skipped.len()), (0, 4));
    assert!(outcome.failure.is_some());
    assert_eq!(stage.queue.counts().await.unwrap()[&JobState::Dead], 4);
}
