//! How much of a quota a fleet uses, and how often it is refused.

use super::simulated::{Outcome, Scene};
use super::start;

/// The parts that were used and refused.
#[allow(clippy::print_stderr, reason = "whoever changes the constants wants to see what comes of it")]
fn told(what: &str, outcome: &Outcome, from: u64, to: u64, left: f64) -> (f64, f64) {
    let (requests, refused) = outcome.requests(from, to);
    let used = (requests - refused) / (left * (to - from) as f64);
    let part = refused / requests;
    let others = outcome.others_refused(from, to) * 100.0;
    let told = format!("{:.1} % used, {:.3} % refused ({refused} of {requests})", used * 100.0, part * 100.0);
    eprintln!("{what}: {told}, {others:.2} % of others");
    (used, part)
}

#[tokio::test]
async fn twenty_workers_use_all_of_a_quota_and_no_more() {
    let (_server, _folder, budget) = start();
    let outcome = Scene::new(100.0, 20.0, 20).play(&budget, 600).await;
    let (used, refused) = told("100/s, 20 workers", &outcome, 2, 600, 100.0);
    assert!(used >= 0.99 && refused == 0.0);
    let (requests, _) = outcome.requests(0, 600);
    assert!(outcome.calls as f64 <= 1.05 * requests, "{} calls for {requests} requests", outcome.calls);
}

#[tokio::test]
async fn workers_that_die_cost_a_slot_each() {
    let (_server, _folder, budget) = start();
    let scene = Scene { killed_every_seconds: Some(20), ..Scene::new(100.0, 20.0, 20) };
    let (used, refused) = told("100/s, one killed each 20 s", &scene.play(&budget, 200).await, 2, 200, 100.0);
    assert!(used >= 0.98 && refused == 0.0);
}

/// Somebody else takes a part of the quota. The first fifth of the time is for finding that out.
async fn beside(rate: f64, depth: f64, workers: usize, other: fn(u64) -> f64, seconds: u64) {
    let (_server, _folder, budget) = start();
    let scene = Scene { other, ..Scene::new(rate, depth, workers) };
    let outcome = scene.play(&budget, seconds).await;
    let what = format!("{rate}/s, depth {depth}, other {} %", other(0) * 100.0);
    let (used, refused) = told(&what, &outcome, seconds / 5, seconds, rate * (1.0 - other(0)));
    assert!(used >= 0.85 && refused <= 0.002, "{what}");
}

#[tokio::test]
async fn a_small_quota_that_nobody_else_wants_is_used() {
    beside(5.0, 2.0, 6, |_| 0.0, 1_000).await;
}

#[tokio::test]
async fn a_small_quota_is_shared_with_others() {
    for other in [|_| 0.3, |_| 0.6] {
        beside(5.0, 5.0, 6, other, 8_000).await;
    }
}

#[tokio::test]
async fn a_small_quota_that_takes_bursts_is_shared_with_others() {
    for other in [|_| 0.3, |_| 0.6] {
        beside(5.0, 10.0, 6, other, 8_000).await;
    }
}

#[tokio::test]
async fn a_large_quota_is_shared_with_others() {
    for other in [|_| 0.3, |_| 0.6] {
        beside(100.0, 20.0, 20, other, 240).await;
    }
}

#[tokio::test]
async fn others_come_and_go() {
    // 0, 30 and 60 %, then nothing for half a minute.
    const OTHERS: fn(u64) -> f64 = |second| match second % 180 {
        60..120 => 0.3,
        120..150 => 0.6,
        _ => 0.0,
    };
    let (_server, _folder, budget) = start();
    let scene = Scene { other: OTHERS, ..Scene::new(100.0, 20.0, 20) };
    let left: f64 = (0..360).map(|second| 100.0 * (1.0 - OTHERS(second))).sum::<f64>() / 360.0;
    let (used, refused) = told("100/s, others come and go", &scene.play(&budget, 360).await, 0, 360, left);
    // Each time that the other comes there are some refusals before the level is found.
    assert!(used >= 0.8 && refused <= 0.004);
}

#[tokio::test]
async fn the_full_rate_comes_back_when_the_other_has_gone() {
    for (other, most) in [
        ((|second| if second < 1_500 { 0.3 } else { 0.0 }) as fn(u64) -> f64, 360),
        (|second| if second < 1_500 { 0.6 } else { 0.0 }, 800),
    ] {
        let (_server, _folder, budget) = start();
        let scene = Scene { other, ..Scene::new(5.0, 5.0, 6) };
        let back = scene.play(&budget, 2_400).await.full_after(1_500);
        assert!(back.is_some_and(|seconds| seconds <= most), "{back:?}");
    }
}

#[tokio::test]
async fn a_tempo_that_refuses_all_is_left_alone_and_found_again() {
    let (_server, _folder, budget) = start();
    let scene = Scene { other: |second| if second < 1_800 { 1e4 } else { 0.0 }, ..Scene::new(5.0, 5.0, 6) };
    let outcome = scene.play(&budget, 2_400).await;
    let (asked, _) = outcome.requests(60, 1_800);
    // A minute's pause after each, and whoever was given a slot before it.
    assert!(asked <= 29.0 * 6.0 + 12.0, "{asked} requests in vain");
    let (used, _) = told("5/s, after half an hour of 429s", &outcome, 1_980, 2_400, 5.0);
    assert!(used >= 0.75);
}
