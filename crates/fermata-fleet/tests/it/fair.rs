//! Whose turn it is, and what a turn costs.

use std::collections::BTreeMap;

use fermata_fleet::queue::{Claim, Claimed, HeldFor, RunJobs};
use fermata_fleet::{JobState, Turn};

use crate::stage::{LEASE, RUN, Stage, jobs};

const MANY: usize = 100_000;
/// Jobs that are enqueued by one call.
const PAGE: usize = 2_000;
/// What a queued job may take in Redis, from the measure with room to spare.
const BYTES_MAX: u64 = 1_536;

fn many(tenant: &str, from: usize, count: usize) -> RunJobs {
    let run = format!("20261124T020000Z-{from:06}");
    let entities = (0..count).map(|n| (format!("entity-{n}"), Vec::new())).collect();
    RunJobs { jobs: entities, ..jobs(tenant, &run, &[]) }
}

async fn push_many(stage: &Stage, tenant: &str, count: usize) {
    for from in (0..count).step_by(PAGE) {
        stage.queue.push(&many(tenant, from, PAGE.min(count - from))).await.unwrap();
    }
}

/// Serves with so many places for so many turns; each takes as long as `takes` says of its tenant.
async fn serve(
    stage: &Stage,
    places: usize,
    turns: usize,
    takes: fn(&str) -> u64,
) -> BTreeMap<String, usize> {
    let (mut counts, mut running): (BTreeMap<String, usize>, Vec<(u64, Claimed)>) = Default::default();
    for _ in 0..turns {
        while running.len() == places {
            let first = running.iter().enumerate().min_by_key(|(_, (end, _))| *end).unwrap().0;
            let (end, held) = running.swap_remove(first);
            stage.pass(end.saturating_sub(stage.now()));
            stage.queue.settle(&held, &Turn::Again).await.unwrap();
        }
        let held = stage.claim("w").await.unwrap();
        *counts.entry(held.id.tenant.to_string()).or_default() += 1;
        running.push((stage.now() + takes(held.id.tenant.as_str()), held));
    }
    counts
}

fn close(counts: &BTreeMap<String, usize>, one: &str, other: &str, ratio: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let real = counts[one] as f64 / counts[other] as f64;
    assert!((real / ratio - 1.0).abs() < 0.1, "{real} and not {ratio}: {counts:?}");
}

#[tokio::test]
async fn turns_go_by_weight() {
    let stage = Stage::new();
    for (tenant, weight) in [("heavy", 2), ("light", 1)] {
        stage.queue.push(&RunJobs { weight, ..many(tenant, 0, 20) }).await.unwrap();
    }
    // Shorter than the least that a turn costs, and longer.
    close(&serve(&stage, 3, 300, |_| 400).await, "heavy", "light", 2.0);
    close(&serve(&stage, 3, 300, |_| 20_000).await, "heavy", "light", 2.0);
}

#[tokio::test]
async fn turns_go_by_the_time_they_take() {
    // Where there are places enough for all, and where each tenant has its one and then waits for its next turn.
    for (cap, places) in [(6, 2), (1, 1)] {
        let stage = Stage::new();
        for tenant in ["slow", "quick"] {
            stage.queue.push(&RunJobs { cap, ..many(tenant, 0, 20) }).await.unwrap();
        }
        let takes = |tenant: &str| if tenant == "slow" { 20_000 } else { 4_000 };
        close(&serve(&stage, places, 300, takes).await, "quick", "slow", 5.0);
    }
}

#[tokio::test]
async fn a_small_tenant_does_not_wait_for_a_large_one() {
    let stage = Stage::new();
    push_many(&stage, "large", 10_000).await;
    // It has had its turns for a while.
    serve(&stage, 4, 50, |_| 5_000).await;
    stage.queue.push(&many("small", 0, 10)).await.unwrap();
    let mut turns = Vec::new();
    for _ in 0..4 {
        let held = stage.claim("w").await.unwrap();
        turns.push(held.id.tenant.to_string());
        stage.pass(1_000);
        stage.queue.settle(&held, &Turn::Done).await.unwrap();
    }
    assert!(turns.iter().filter(|tenant| *tenant == "small").count() >= 2, "{turns:?}");
}

#[tokio::test]
async fn a_tenant_that_was_away_has_saved_nothing_up() {
    let stage = Stage::new();
    for tenant in ["present", "absent"] {
        stage.queue.push(&many(tenant, 0, 20)).await.unwrap();
    }
    let absent = "absent".parse().unwrap();
    stage.queue.hold(&absent, HeldFor::Paused).await.unwrap();
    serve(&stage, 2, 200, |_| 10_000).await;
    stage.queue.free(&absent, None).await.unwrap();
    close(&serve(&stage, 2, 300, |_| 10_000).await, "present", "absent", 1.0);
}

#[tokio::test]
async fn no_tenant_has_more_places_than_its_cap() {
    let stage = Stage::new();
    for (tenant, cap) in [("one", 1), ("three", 3)] {
        stage.queue.push(&RunJobs { cap, ..many(tenant, 0, 20) }).await.unwrap();
    }
    let mut held = Vec::new();
    while let Some(claimed) = stage.claim("w").await {
        held.push(claimed);
    }
    let of = |tenant: &str| held.iter().filter(|held| held.id.tenant.as_str() == tenant).count();
    assert_eq!((of("one"), of("three")), (1, 3));
    // Whatever ends makes room for one of the same tenant.
    for first in held {
        let tenant = first.id.tenant.clone();
        stage.queue.settle(&first, &Turn::Done).await.unwrap();
        assert_eq!(stage.claim("w").await.unwrap().id.tenant, tenant);
    }
}

/// What Redis carries out for one claim.
async fn cost(stage: &Stage) -> u64 {
    let () = stage.raw(&["CONFIG", "RESETSTAT"]).await;
    let held = stage.claim("w").await;
    let said: String = stage.raw(&["INFO", "commandstats"]).await;
    stage.queue.settle(&held.expect("somebody may run"), &Turn::Again).await.unwrap();
    let calls = |line: &str| {
        let (command, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        (!command.starts_with("info") && !command.starts_with("config"))
            .then(|| rest.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    said.lines().filter_map(calls).sum()
}

#[tokio::test]
async fn tenants_that_may_not_run_cost_nothing() {
    let stage = Stage::new();
    stage.queue.push(&many("able", 0, 20)).await.unwrap();
    stage.claim("w").await.unwrap();
    let before = cost(&stage).await;
    for n in 0..2_500 {
        let (held, cooling, full) = (format!("held-{n}"), format!("cooling-{n}"), format!("full-{n}"));
        stage.queue.hold(&held.parse().unwrap(), HeldFor::Token).await.unwrap();
        let until = (stage.now() + 3_600_000).to_string();
        let () = stage.raw(&["SET", &stage.key(&format!("cool:{cooling}")), &until]).await;
        for (tenant, cap) in [(&held, 6), (&cooling, 6), (&full, 0)] {
            stage.queue.push(&RunJobs { cap, ..jobs(tenant, RUN, &[("a", &[])]) }).await.unwrap();
        }
    }
    let after = cost(&stage).await;
    assert!(after <= before, "{after} commands, {before} without them");
    assert!(before < 60, "{before} commands for a claim");
    assert_eq!(stage.queue.view().await.unwrap().held.len(), 2_500);
}

#[tokio::test]
async fn a_crowd_that_cools_at_once_is_stepped_over_in_bounded_steps() {
    let stage = Stage::new();
    for n in 0..1_000 {
        stage.queue.push(&jobs(&format!("cooling-{n}"), RUN, &[("a", &[])])).await.unwrap();
    }
    // Of those that may run since the same moment the last by name.
    stage.queue.push(&many("the-last", 0, 1)).await.unwrap();
    for n in 0..1_000 {
        let until = (stage.now() + 3_600_000).to_string();
        let () = stage.raw(&["SET", &stage.key(&format!("cool:cooling-{n}")), &until]).await;
    }
    let mut claims = 0;
    let held = loop {
        claims += 1;
        match stage.queue.claim("w", &stage.token(), LEASE).await.unwrap() {
            Claim::Job(held) => break held,
            Claim::Nothing(wait) => assert!(wait.is_zero(), "there is more to look at: {wait:?}"),
            Claim::Unreadable(name) => panic!("{name}"),
        }
        assert!(claims < 20, "no end");
    };
    assert_eq!(held.id.tenant.as_str(), "the-last");
    assert!(claims > 5, "{claims}: one script looked at hundreds");
    // Once they have cooled all of them come back.
    stage.pass(3_600_000);
    for _ in 0..12 {
        stage.pass(200);
        stage.queue.tend().await.unwrap();
    }
    let view = stage.queue.view().await.unwrap();
    assert_eq!((view.tenants_ready, view.tenants_cooling), (1_000, 0));
}

#[tokio::test]
async fn a_hundred_thousand_queued_jobs_are_small_and_quick() {
    async fn used(stage: &Stage) -> u64 {
        let said: String = stage.raw(&["INFO", "memory"]).await;
        said.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim().parse().unwrap()
    }
    let stage = Stage::new();
    stage.push("first", &[("a", &[])]).await;
    stage.claim("w").await.unwrap();
    let before = used(&stage).await;
    push_many(&stage, "acme", MANY).await;
    let bytes = (used(&stage).await - before) / MANY as u64;
    #[expect(clippy::print_stderr, reason = "the number is worth seeing")]
    {
        eprintln!("{bytes} bytes for a queued job");
    }
    assert!(bytes < BYTES_MAX, "{bytes} bytes");
    assert_eq!(stage.queue.counts().await.unwrap()[&JobState::Queued], MANY as u64);
    let cost = cost(&stage).await;
    assert!(cost < 60, "{cost} commands for a claim");
}

#[tokio::test]
async fn a_crowd_that_is_due_at_once_is_let_in_in_bounded_steps() {
    let stage = Stage::new();
    let mut fill = redis::pipe();
    for n in 0..9_000 {
        let id = format!("acme/{RUN}/e-{n}");
        fill.cmd("ZADD").arg(stage.key("retry")).arg(n).arg(&id).ignore();
        fill.cmd("HSET").arg(stage.key(&format!("job:{id}"))).arg("state").arg("retry").ignore();
    }
    let () = stage.queue.link().ask_all(&fill).await.unwrap();
    // 8,000 at once is where a script that takes all of them breaks down.
    assert!(stage.claim("w").await.is_some());
    for _ in 0..90 {
        stage.pass(200);
        stage.queue.tend().await.unwrap();
    }
    assert_eq!(stage.queue.counts().await.unwrap()[&JobState::Retry], 0);
}
