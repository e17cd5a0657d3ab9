//! Schedulers, any number of them: each due time is enqueued once.

use std::time::Duration;

use fermata_core::settings::Settings;
use fermata_fleet::scheduler::Tick;
use fermata_fleet::{JobState, Producer, SLICE, Scheduler, SchedulerOptions};
use jiff::{SignedDuration, Timestamp};
use tempo_sim::Sim;

use crate::fleet::Fleet;

const TENANTS: u32 = 12;

/// A day from now, when what is due at midnight is due.
fn tomorrow() -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(24)
}

/// The day after.
fn a_day_later() -> Timestamp {
    tomorrow() + SignedDuration::from_hours(24)
}

async fn scheduled(fleet: &Fleet, schedule: &str) {
    for tenant in &fleet.tenants {
        let settings = fleet.vault.settings(tenant).await.unwrap().unwrap();
        let settings = Settings { schedule: Some(schedule.to_owned()), ..settings };
        fleet.vault.save_settings(settings, Timestamp::now()).await.unwrap();
    }
}

fn scheduler(fleet: &Fleet, now: fn() -> Timestamp) -> Scheduler {
    let options = SchedulerOptions { spread: Duration::ZERO, ..SchedulerOptions::default() };
    Scheduler::new(Producer { now, ..fleet.producer() }, options)
}

/// One look by each of several schedulers at the same time, together.
async fn all_tick(fleet: &Fleet, now: fn() -> Timestamp) -> Tick {
    let ticks = (0..5).map(|_| {
        let mut scheduler = scheduler(fleet, now);
        tokio::spawn(async move { scheduler.tick().await.unwrap() })
    });
    let mut sum = Tick::default();
    for tick in ticks.collect::<Vec<_>>() {
        let tick = tick.await.unwrap();
        sum.due += tick.due;
        sum.missing += tick.missing;
        sum.failed += tick.failed;
        sum.freed += tick.freed;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_due_time_is_enqueued_once() {
    let fleet = Fleet::start(Sim::builder().seed(2).worklogs(20), TENANTS).await;
    scheduled(&fleet, "0 0 * * *").await;
    assert_eq!(all_tick(&fleet, Timestamp::now).await.due, 0, "the tokens came after the last due time");
    let tick = all_tick(&fleet, tomorrow).await;
    assert_eq!((tick.due, tick.failed), (u64::from(TENANTS), 0));
    for tenant in &fleet.tenants {
        assert_eq!(fleet.vault.unfinished_runs(tenant).await.unwrap().len(), 1, "{tenant}");
    }
    assert_eq!(all_tick(&fleet, tomorrow).await, Tick::default(), "and not again");
    // Redis forgets; the store knows.
    let _: () = fleet.queue.link().ask(redis::cmd("FLUSHALL").arg("SYNC")).await.unwrap();
    let tick = all_tick(&fleet, tomorrow).await;
    assert_eq!(tick.due, 0);
    assert!(tick.missing > u64::from(TENANTS), "{tick:?}");
    let _worker = fleet.worker("one", SLICE);
    fleet.settled(&[]).await;
    for n in 1..=TENANTS {
        fleet.assert_whole(n).await;
    }
    let _: () = fleet.queue.link().ask(redis::cmd("FLUSHALL").arg("SYNC")).await.unwrap();
    assert_eq!(all_tick(&fleet, tomorrow).await, Tick::default(), "a snapshot is proof enough");
    assert_eq!(all_tick(&fleet, a_day_later).await.due, u64::from(TENANTS), "the next night comes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_scheduler_cannot_read_hides_nobody() {
    let fleet = Fleet::start(Sim::builder().seed(2).worklogs(20), 3).await;
    scheduled(&fleet, "0 0 * * *").await;
    let odd = &fleet.tenants[0];
    let settings = fleet.vault.settings(odd).await.unwrap().unwrap();
    let settings = Settings { schedule: Some("at noon".to_owned()), ..settings };
    fleet.vault.save_settings(settings, Timestamp::now()).await.unwrap();
    let paused = &fleet.tenants[1];
    let settings = fleet.vault.settings(paused).await.unwrap().unwrap();
    fleet.vault.save_settings(Settings { paused: true, ..settings }, Timestamp::now()).await.unwrap();
    let tick = scheduler(&fleet, tomorrow).tick().await.unwrap();
    assert_eq!((tick.due, tick.failed), (1, 1));
    assert!(fleet.queue.counts().await.unwrap()[&JobState::Queued] > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn held_tenants_go_on_by_themselves() {
    let fleet = Fleet::start(Sim::builder().seed(3).worklogs(20), 1).await;
    let (producer, tenant) = (fleet.producer(), &fleet.tenants[0]);
    fleet.set_token(tenant, "no-such-token").await;
    producer.enqueue(tenant, fermata_core::plan::Wish::default()).await.unwrap();
    let _worker = fleet.worker("one", SLICE);
    fleet.settled_at(&[JobState::Parked, JobState::Waiting], 0).await;
    fleet.set_token(tenant, &fleet.sim.token(1)).await;
    scheduler(&fleet, Timestamp::now).tick().await.unwrap();
    assert!(fleet.queue.held().await.unwrap().is_empty());
    fleet.settled(&[]).await;
    fleet.assert_whole(1).await;
}
