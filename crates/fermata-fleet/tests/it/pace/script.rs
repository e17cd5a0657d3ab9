//! The script, one call at a time.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_fleet::Link;
use fermata_fleet::pace::{Ask, Because, Budget};
use futures::{StreamExt, stream};
use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{START, acme, ask, start};

const PERIOD: Duration = Duration::from_millis(200);
const MS: u64 = 1_000;

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

/// A budget that has been here for long, and the question that most tests ask.
async fn rested() -> (impl Sized, Budget) {
    let (server, folder, budget) = start();
    budget.at(START - 3_600_000 * MS).reserve(ask(&"old".parse().unwrap(), PERIOD)).await.unwrap();
    ((server, folder), budget)
}

#[tokio::test]
async fn slots_stand_in_line_and_what_is_deferred_leaves_no_trace() {
    let (_redis, budget) = rested().await;
    let (tenant, budget) = (acme(), budget.at(START));
    let ask = Ask { wait_max: Duration::from_millis(500), ..ask(&tenant, PERIOD) };
    for wait in [0, 200, 400] {
        let slot = budget.reserve(ask).await.unwrap();
        assert!(slot.granted && slot.active == 1);
        assert_eq!(ms(slot.wait), wait);
    }
    for _ in 0..2 {
        let slot = budget.reserve(ask).await.unwrap();
        assert_eq!((slot.granted, ms(slot.wait), slot.because), (false, 600, Because::Tenant));
    }
    let view = budget.look(&tenant).await.unwrap();
    assert_eq!((view.granted, ms(view.ahead), view.active), (3, 600, 1));
}

#[tokio::test]
async fn workers_that_took_a_slot_are_counted_for_half_a_minute() {
    let (_redis, budget) = rested().await;
    let tenant = acme();
    let at = |worker: &str, second: u64| budget.of(worker).at(START + second * 1_000 * MS);
    for (worker, second, active) in
        [("a", 0, 1), ("b", 1, 2), ("a", 2, 2), ("c", 30, 3), ("c", 32, 2), ("c", 70, 1)]
    {
        let slot = at(worker, second).reserve(ask(&tenant, PERIOD)).await.unwrap();
        assert_eq!(slot.active, active, "{worker} at {second}");
    }
}

#[tokio::test]
async fn an_address_is_a_quota_of_its_own_and_all_or_nothing() {
    let (_redis, budget) = rested().await;
    let (acme, other) = (acme(), "other".parse().unwrap());
    let budget = budget.at(START);
    let leaving = |tenant, wait| Ask {
        wait_max: Duration::from_millis(wait),
        address: Some(("192.0.2.1", Duration::from_millis(100))),
        ..ask(tenant, PERIOD)
    };
    let mut waits = Vec::new();
    for tenant in [&acme, &other, &acme, &other] {
        let slot = budget.reserve(leaving(tenant, 10_000)).await.unwrap();
        waits.push((ms(slot.wait), slot.because));
    }
    let [free, tenant, address] = [Because::Free, Because::Tenant, Because::Address];
    assert_eq!(waits, [(0, free), (100, address), (200, tenant), (300, tenant)]);
    // The address has a slot in 400 ms, the tenant in 400: nothing is taken of either.
    let deferred = budget.reserve(leaving(&acme, 300)).await.unwrap();
    assert!(!deferred.granted);
    assert_eq!(budget.look(&acme).await.unwrap().granted, 2);
    let third = budget.reserve(leaving(&"third".parse().unwrap(), 10_000)).await.unwrap();
    assert_eq!((ms(third.wait), third.because), (400, address));
}

#[tokio::test]
async fn no_limit_is_no_limit_and_cools_down_all_the_same() {
    let (_redis, budget) = rested().await;
    let (tenant, budget) = (acme(), budget.at(START));
    let unlimited = ask(&tenant, Duration::ZERO);
    for _ in 0..100 {
        assert_eq!(budget.reserve(unlimited).await.unwrap().wait, Duration::ZERO);
    }
    budget.cool(&tenant, Duration::ZERO, None, true).await.unwrap();
    let slot = budget.reserve(unlimited).await.unwrap();
    assert_eq!((ms(slot.wait), slot.because, slot.factor), (1_000, Because::Cooling, 1.0));
}

#[tokio::test]
async fn a_refusal_cools_the_fleet_down_and_doubles_while_nothing_is_accepted() {
    let (_redis, budget) = rested().await;
    let tenant = acme();
    let cool = async |second: u64, retry_after: Option<u64>, accepted| {
        let retry_after = retry_after.map(Duration::from_secs);
        let at = budget.at(START + second * 1_000 * MS);
        let pause = at.cool(&tenant, PERIOD, retry_after, accepted).await.unwrap();
        (pause.as_secs(), at.look(&tenant).await.unwrap())
    };
    let (pause, view) = cool(0, None, true).await;
    assert_eq!((pause, view.factor), (1, 0.595));
    assert_eq!(cool(0, None, true).await.0, 1, "one that was under way meanwhile");
    for (second, expect) in [(1, 2), (3, 4), (7, 8), (15, 16), (31, 32), (63, 60), (123, 60)] {
        let (pause, view) = cool(second, None, false).await;
        assert_eq!((pause, view.factor), (expect, 0.595), "a shut door says nothing about our pace");
    }
    assert_eq!(cool(183, Some(7), true).await.0, 7);
    assert_eq!(cool(184, Some(2), false).await.0, 6, "no pause is made shorter");
    assert_eq!(cool(190, Some(9_999_999), false).await.0, 300);
    let slot = budget.of("other").at(START + 191_000 * MS).reserve(ask(&tenant, PERIOD)).await.unwrap();
    assert_eq!((slot.granted, slot.because, slot.wait.as_secs()), (false, Because::Cooling, 299));
}

#[tokio::test]
async fn the_queue_sees_who_cools_down() {
    let (server, _folder, budget) = start();
    budget.cool(&acme(), PERIOD, Some(Duration::from_secs(30)), true).await.unwrap();
    let link = Link::new(&server.url(), "t").unwrap();
    let key = format!("{}:cool:acme", link.prefix());
    let until: f64 = link.ask(redis::cmd("GET").arg(&key)).await.unwrap();
    let left: i64 = link.ask(redis::cmd("PTTL").arg(&key)).await.unwrap();
    let time: (f64, f64) = link.ask(&redis::cmd("TIME")).await.unwrap();
    let now = time.0 * 1e3 + time.1 / 1e3;
    assert!((29_000.0..=30_001.0).contains(&(until - now)), "{until} - {now}");
    assert!((29_000..=30_001).contains(&left), "{left}");
}

#[tokio::test]
async fn an_emptied_redis_and_one_who_comes_back_hold_on_first() {
    let (server, _folder, budget) = start();
    let (tenant, at) = (acme(), |millis: u64| budget.at(START + millis * MS));
    let wait = async |millis: u64, returning| {
        let slot = at(millis).reserve(Ask { returning, ..ask(&tenant, PERIOD) }).await.unwrap();
        ms(slot.wait)
    };
    assert_eq!(wait(0, false).await, 1_500);
    assert_eq!(wait(100, false).await, 1_600, "behind the one before");
    assert_eq!(wait(10_000, false).await, 0);
    let link = Link::new(&server.url(), "t").unwrap();
    link.ask::<()>(&redis::cmd("FLUSHALL")).await.unwrap();
    assert_eq!(wait(20_000, false).await, 1_500);
    assert_eq!(wait(30_000, true).await, 1_500);
    assert_eq!(wait(30_100, true).await, 1_600, "at least, and no more than that");
}

#[tokio::test]
async fn a_clock_that_jumps_stops_nobody() {
    let (_redis, budget) = rested().await;
    let (tenant, at) = (acme(), |second: i64| budget.at(START.strict_add_signed(second * 1_000_000)));
    let slot = at(7_200).reserve(ask(&tenant, PERIOD)).await.unwrap();
    assert_eq!(slot.wait, Duration::ZERO);
    let back = at(0).reserve(ask(&tenant, PERIOD)).await.unwrap();
    assert!(back.granted && ms(back.wait) == 1_500);
    at(7_200).cool(&tenant, PERIOD, Some(Duration::from_secs(10)), true).await.unwrap();
    let slot = at(0).reserve(ask(&tenant, PERIOD)).await.unwrap();
    assert_eq!(slot.wait.as_secs(), 300, "the most that a pause may be");
    assert!(at(301).reserve(ask(&tenant, PERIOD)).await.unwrap().granted);
}

/// The same schedule for governor, on its fake clock.
#[test]
fn governor_says_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_redis, budget) = runtime.block_on(rested());
    let round = AtomicU32::new(0);
    let schedule = (1_u64..500_000, 1_u32..6, prop::collection::vec(0_u64..600_000, 1..60));
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let law = runner.run(&schedule, |(period, burst, gaps)| {
        let tenant: Tenant = format!("t{}", round.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
        let quota = Quota::with_period(Duration::from_micros(period)).unwrap();
        let clock = FakeRelativeClock::default();
        let oracle: RateLimiter<NotKeyed, InMemoryState, FakeRelativeClock, NoOpMiddleware<_>> =
            RateLimiter::direct_with_clock(quota.allow_burst(NonZeroU32::new(burst).unwrap()), clock.clone());
        let mut now = START;
        for gap in gaps {
            now += gap;
            clock.advance(Duration::from_micros(gap));
            let at_once = Ask {
                burst,
                wait_max: Duration::ZERO,
                hold: Duration::ZERO,
                ..ask(&tenant, Duration::from_micros(period))
            };
            let slot = runtime.block_on(budget.at(now).reserve(at_once)).unwrap();
            let wait = oracle.check().err().map_or(Duration::ZERO, |not| not.wait_time_from(now_of(&clock)));
            prop_assert_eq!(slot.granted, wait.is_zero());
            prop_assert_eq!(slot.wait, wait);
        }
        Ok(())
    });
    law.unwrap();
}

fn now_of(clock: &FakeRelativeClock) -> governor::nanos::Nanos {
    governor::clock::Clock::now(clock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_tenants_are_a_small_matter() {
    const TENANTS: u32 = 100_000;
    let (server, _folder, budget) = start();
    let link = Link::new(&server.url(), "t").unwrap();
    let used = async || {
        let said: String = link.ask(redis::cmd("INFO").arg("memory")).await.unwrap();
        let bytes = said.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        bytes.trim().parse::<u64>().unwrap()
    };
    let before = used().await;
    let turns = stream::iter(0..TENANTS).map(|n| {
        let budget = budget.clone();
        async move {
            let tenant: Tenant = format!("tenant-{n}").parse().unwrap();
            let asked = Ask { hold: Duration::ZERO, ..ask(&tenant, PERIOD) };
            budget.reserve(asked).await.unwrap()
        }
    });
    turns.buffer_unordered(64).for_each(async |slot| assert!(slot.granted)).await;
    let bytes = (used().await - before) / u64::from(TENANTS);
    assert!(bytes < 700, "{bytes} bytes for a tenant");
}
