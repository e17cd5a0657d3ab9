//! What people see of the queue: lists, totals, and why a job does not run.

use std::time::Duration;

use fermata_fleet::queue::{Filter, HeldFor, JobView, RunJobs, SEAL};
use fermata_fleet::{JobState, Turn};

use crate::stage::{DAY_MS, LEASE, RUN, Stage, job, jobs};

const OTHER_RUN: &str = "20261125T020000Z-000000";
const ABOUT: &str = r#"{"version":"1","places":2,"busy":1,"stopping":false}"#;

async fn list(stage: &Stage, filter: Filter) -> (Vec<String>, u64) {
    let (found, total) = stage.queue.list(&filter, 3).await.unwrap();
    let mut names: Vec<_> = found.into_iter().map(|job| format!("{}/{}", job.tenant, job.entity)).collect();
    names.sort();
    (names, total)
}

#[tokio::test]
async fn every_filter_takes_what_it_says_and_counts_the_rest() {
    let stage = Stage::new();
    // The first tenant's name begins the second's.
    stage.push("acme", &[("a", &[]), ("b", &[]), ("c", &["b"])]).await;
    stage.turn(&Turn::Dead("HTTP 500 from Tempo".to_owned())).await.unwrap();
    stage.push("acme-2", &[("a", &[]), ("b", &[])]).await;
    stage.queue.push(&jobs("acme", OTHER_RUN, &[("a", &[])])).await.unwrap();
    let check = async |filter: Filter, expect: &[&str], total: u64| {
        let shown = format!("{filter:?}");
        assert_eq!(
            list(&stage, filter).await,
            (expect.iter().map(|id| (*id).to_owned()).collect(), total),
            "{shown}"
        );
    };
    let (tenant, run) = (Some("acme".parse().unwrap()), Some(OTHER_RUN.parse().unwrap()));
    let (entity, queued) = (Some("a".to_owned()), Some(JobState::Queued));
    let error = Some("http 500".to_owned());
    let all = Filter::default();
    check(Filter { state: queued, ..all.clone() }, &["acme-2/a", "acme-2/b", "acme/b"], 4).await;
    check(Filter { state: Some(JobState::Running), ..all.clone() }, &[], 0).await;
    check(Filter { entity: entity.clone(), ..all.clone() }, &["acme-2/a", "acme/a", "acme/a"], 3).await;
    check(Filter { run: run.clone(), ..all.clone() }, &["acme/a"], 1).await;
    check(Filter { error: error.clone(), ..all.clone() }, &["acme/a"], 1).await;
    check(Filter { error: Some("404".to_owned()), ..all.clone() }, &[], 0).await;
    check(Filter { tenant: tenant.clone(), ..all.clone() }, &["acme/a", "acme/b", "acme/c"], 4).await;
    check(Filter { tenant: tenant.clone(), run: run.clone(), ..all.clone() }, &["acme/a"], 1).await;
    check(Filter { tenant: tenant.clone(), state: queued, ..all.clone() }, &["acme/a", "acme/b"], 2).await;
    check(Filter { tenant: tenant.clone(), entity, error, ..all.clone() }, &["acme/a"], 1).await;
    assert_eq!(list(&stage, all.clone()).await.1, 6);

    // Dead letters outlive their runs, also in lists of a tenant and of that run.
    while stage.turn(&Turn::Done).await.is_some() {}
    stage.pass_tended(DAY_MS + 60_000).await;
    let dead = Filter { tenant: tenant.clone(), run: Some(RUN.parse().unwrap()), ..all.clone() };
    check(dead, &["acme/a"], 1).await;
    check(Filter { tenant, ..all }, &["acme/a"], 1).await;
}

#[tokio::test]
async fn long_lists_are_cut_and_counted() {
    let stage = Stage::new();
    let entities = (0..1_200).map(|n| (format!("e-{n}"), Vec::new())).collect();
    stage.queue.push(&RunJobs { jobs: entities, ..jobs("acme", RUN, &[]) }).await.unwrap();
    for tenant in [None, Some("acme".parse().unwrap())] {
        for most in [0, 1, 700, 5_000] {
            let filter = Filter { tenant: tenant.clone(), ..Filter::default() };
            let (found, total) = stage.queue.list(&filter, most).await.unwrap();
            assert_eq!((found.len(), total), (most.min(1_200), 1_200), "{tenant:?} {most}");
        }
    }
}

#[tokio::test]
async fn the_whole_at_a_glance() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &["a"])]).await;
    stage.push("beta", &[("a", &[])]).await;
    stage.push("held", &[("a", &[])]).await;
    stage.queue.hold(&"held".parse().unwrap(), HeldFor::Token).await.unwrap();
    stage.queue.hold(&"held".parse().unwrap(), HeldFor::Queue).await.unwrap();
    stage.turn(&Turn::Dead("no".to_owned())).await.unwrap();
    stage.queue.renew("w", LEASE, ABOUT, &[]).await.unwrap();
    stage.queue.pause("ann").await.unwrap();
    let view = stage.queue.view().await.unwrap();
    let counts: Vec<_> = view.jobs.iter().map(|(state, count)| (state.name(), *count)).collect();
    let all = [
        ("queued", 2),
        ("running", 0),
        ("waiting", 0),
        ("retry", 0),
        ("parked", 1),
        ("dead", 1),
        ("done", 0),
    ];
    assert_eq!(counts, all);
    assert_eq!(view.paused.as_deref(), Some("ann"));
    assert_eq!(view.held[&"held".parse().unwrap()], "token queue");
    assert_eq!((view.tenants_ready, view.tenants_cooling), (2, 0));
    assert_eq!((&*view.workers[0].name, view.workers[0].places, view.workers[0].busy), ("w", 2, 1));
    assert_eq!((view.counters["enqueued"], view.counters["dead"]), (4, 1));
    let oldest = i64::try_from(stage.now()).unwrap();
    assert_eq!(view.oldest.map(jiff::Timestamp::as_millisecond), Some(oldest));
    // A worker that says nothing for a minute is taken for gone.
    stage.pass_tended(70_000).await;
    assert!(stage.queue.workers().await.unwrap().is_empty());
}

/// Why a job does not run.
async fn why(stage: &Stage, view: &JobView) -> String {
    stage.queue.why(view).await.unwrap()
}

async fn why_a(stage: &Stage) -> String {
    why(stage, &stage.job(&job("acme", "a")).await.unwrap()).await
}

#[tokio::test]
async fn a_job_says_why_it_does_not_run() {
    let turns = [
        (Turn::Done, "it is done"),
        (
            Turn::Dead("HTTP 500 from Tempo".to_owned()),
            "it was given up: HTTP 500 from Tempo; `fermata jobs retry acme/20261124T020000Z-4f9a1c/a` tries it again",
        ),
        (
            Turn::Waiting { pause: Duration::from_secs(40), why: "Tempo asked to wait".to_owned() },
            "Tempo asked to wait; it goes on at 11:07:20Z",
        ),
        (
            Turn::Retry {
                pause: Duration::from_secs(5),
                error: "timed out".to_owned(),
                attempts: 3,
                mark: 0,
            },
            "attempt 3 of 8 failed (timed out); it is tried again at 11:06:45Z",
        ),
    ];
    for (turn, expect) in turns {
        let stage = Stage::new();
        stage.push("acme", &[("a", &[])]).await;
        stage.turn(&turn).await.unwrap();
        assert_eq!(why_a(&stage).await, expect);
    }
    let stage = Stage::new();
    stage.push("acme", &[("a", &[]), ("b", &[]), ("c", &[]), ("child", &["a", "b", "c"])]).await;
    stage.turn(&Turn::Done).await.unwrap();
    let child = stage.job(&job("acme", "child")).await.unwrap();
    assert_eq!(why(&stage, &child).await, "it is read per key of b and c, which must end first");
    stage.claim("host-7").await.unwrap();
    let b = stage.job(&job("acme", "b")).await.unwrap();
    assert_eq!(why(&stage, &b).await, "it is running, on host-7");
}

#[tokio::test]
async fn a_seal_says_what_it_waits_for() {
    let stage = Stage::new();
    stage.push("acme", &[("a", &[])]).await;
    stage.turn(&Turn::Done).await.unwrap();
    stage.turn(&Turn::Reopen(vec!["a".to_owned()])).await.unwrap();
    let seal = stage.job(&job("acme", SEAL)).await.unwrap();
    assert_eq!(why(&stage, &seal).await, "jobs of its run that had not ended go on first");
    stage.turn(&Turn::Done).await.unwrap();
    let pause = Duration::from_secs(40);
    stage.turn(&Turn::Waiting { pause, why: "the store is away".to_owned() }).await.unwrap();
    let seal = stage.job(&job("acme", SEAL)).await.unwrap();
    assert_eq!(why(&stage, &seal).await, "the store is away; it goes on at 11:07:20Z");
}

#[tokio::test]
async fn a_parked_job_says_all_that_holds_it() {
    let stage = Stage::new();
    let tenant = "acme".parse().unwrap();
    stage.push("acme", &[("a", &[])]).await;
    let (token, paused, queue) = (
        "Tempo refused the token of acme; store a new one: `fermata token set acme`",
        "acme is paused; `fermata tenant resume acme` lets it go on",
        "acme is held back; `fermata queue resume --tenant acme` lets it go on",
    );
    for (why, expect) in [(HeldFor::Token, token), (HeldFor::Paused, paused), (HeldFor::Queue, queue)] {
        stage.queue.hold(&tenant, why).await.unwrap();
        assert_eq!(why_a(&stage).await, expect);
        stage.queue.free(&tenant, None).await.unwrap();
    }
    stage.queue.hold(&tenant, HeldFor::Token).await.unwrap();
    stage.queue.hold(&tenant, HeldFor::Queue).await.unwrap();
    assert_eq!(why_a(&stage).await, format!("{token}; besides, {queue}"));
}

#[tokio::test]
async fn a_queued_job_says_what_it_waits_for() {
    let stage = Stage::new();
    let wanted = RunJobs { cap: 1, ..jobs("acme", RUN, &[("first", &[]), ("a", &[])]) };
    stage.queue.push(&wanted).await.unwrap();
    assert_eq!(why_a(&stage).await, "no worker is running; `fermata worker` starts one");
    let stopping = ABOUT.replace("false", "true");
    stage.queue.renew("w1", LEASE, &stopping, &[]).await.unwrap();
    assert_eq!(why_a(&stage).await, "no worker is running; `fermata worker` starts one", "it takes no more");
    stage.queue.renew("w2", LEASE, ABOUT, &[]).await.unwrap();
    assert_eq!(
        why_a(&stage).await,
        "it waits for a place: 1 of 2 are taken, tenants that take turns: 1, jobs of acme in line: 2"
    );
    stage.claim("w2").await.unwrap();
    assert_eq!(why_a(&stage).await, "as many jobs of acme are running as its quota feeds: 1");
    let until = (stage.now() + 40_000).to_string();
    let () = stage.raw(&["SET", &stage.key("cool:acme"), &until]).await;
    assert_eq!(why_a(&stage).await, "Tempo asked to wait with requests of acme; its turn comes at 11:07:20Z");
    stage.queue.pause("ann").await.unwrap();
    assert_eq!(why_a(&stage).await, "the queue was paused by ann; `fermata queue resume` lets it go on");
}
