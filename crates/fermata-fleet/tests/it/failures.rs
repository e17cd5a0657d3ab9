//! The picture of what failed follows the queue, whatever happens to it.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use fermata_fleet::bulk::{self, Order, Skipped};
use fermata_fleet::failures::{Cause, Failures, Group, OrderBy, Picture, Wanted};
use fermata_fleet::queue::{Action, Filter, HeldFor};
use fermata_fleet::{JobState, Turn};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::stage::{DAY_MS, RUN, Stage, job};

const TOO_LARGE: &str = "GET /plans: the answer is larger than 64 MiB";
const FAILED: &str = "GET /teams/{teamId}/links: Tempo failed (HTTP 500): trace 4f9a1c";

fn fault(error: &str) -> Turn {
    Turn::Retry { pause: Duration::from_hours(1), error: error.to_owned(), attempts: 1, mark: 1 }
}

fn now(stage: &Stage) -> Timestamp {
    Timestamp::from_millisecond(i64::try_from(stage.now()).unwrap()).unwrap()
}

fn groups(stage: &Stage, failures: &Failures) -> Vec<Group> {
    failures.read().groups(&Wanted::default(), OrderBy::Jobs, now(stage))
}

/// Looks, and compares with what is seen by who has just come.
async fn look(stage: &Stage, failures: &Failures) -> bool {
    let changed = failures.look().await.unwrap();
    let fresh = Failures::new(stage.queue.clone());
    fresh.look().await.unwrap();
    assert_eq!(groups(stage, failures), groups(stage, &fresh));
    changed
}

/// Three jobs that failed with one error, and one with another.
async fn stage() -> Stage {
    let stage = Stage::new();
    for tenant in ["acme", "beta"] {
        stage.push(tenant, &[("team-links", &[]), ("other", &[])]).await;
        stage.turn(&fault(FAILED)).await.unwrap();
        stage.pass(60_000);
        let turn = if tenant == "acme" { Turn::Dead(FAILED.to_owned()) } else { fault(TOO_LARGE) };
        stage.turn(&turn).await.unwrap();
    }
    stage
}

#[tokio::test]
async fn what_failed_alike_is_one_group() {
    let stage = Stage::new();
    let failures = Failures::new(stage.queue.clone());
    assert!(look(&stage, &failures).await);
    let began = now(&stage);
    stage.push("acme", &[("team-links", &[])]).await;
    stage.push("beta", &[("team-links", &[])]).await;
    let pause = Duration::from_hours(3);
    let first = Turn::Retry { pause, error: FAILED.replace("4f9a1c", "17c"), attempts: 1, mark: 1 };
    stage.turn(&first).await.unwrap();
    stage.pass(2 * 3_600_000);
    stage.turn(&Turn::Dead(FAILED.to_owned())).await.unwrap();
    assert!(look(&stage, &failures).await);
    let [group] = &groups(&stage, &failures)[..] else { panic!("one group") };
    assert_eq!((&*group.entity, group.status, group.cause), ("team-links", Some(500), Cause::Tempo));
    assert_eq!((group.tenants, group.dead, group.retrying), (2, 1, 1));
    assert_eq!((group.first_seen, group.last_seen), (began, now(&stage)));
    assert_eq!((group.hours[21], group.hours[23], group.hours.iter().sum::<u32>()), (1, 1, 2));
    assert_eq!(group.next_at, Some(began + pause));
    assert_eq!(group.sample, job("beta", "team-links"));
    assert_eq!(failures.read().jobs(&group.id, &Wanted::default()).len(), 2);

    // When it began to fail is known however often it is tried again.
    stage.turn(&fault("the seal's")).await.unwrap();
    stage.pass_tended(2 * 3_600_000).await;
    stage.queue.act(Action::Discard, &job("beta", "seal"), "ann", None).await.unwrap().unwrap();
    stage.turn(&fault(FAILED)).await.unwrap();
    look(&stage, &failures).await;
    assert_eq!(groups(&stage, &failures)[0].first_seen, began);
}

#[tokio::test]
async fn the_picture_follows_all_that_happens() {
    let stage = stage().await;
    let (queue, failures) = (&stage.queue, Failures::new(stage.queue.clone()));
    assert!(look(&stage, &failures).await);
    assert_eq!(failures.read().count(None), 4);
    assert!(!look(&stage, &failures).await, "nothing happened");
    let act = async |action, tenant: &str, entity: &str| {
        queue.act(action, &job(tenant, entity), "ann", None).await.unwrap().unwrap();
    };
    act(Action::Retry, "acme", "other").await;
    assert!(look(&stage, &failures).await);
    assert_eq!(failures.read().count(None), 3);
    act(Action::Discard, "acme", "team-links").await;
    act(Action::Cancel, "acme", "other").await;
    look(&stage, &failures).await;
    let cancelled = groups(&stage, &failures).into_iter().find(|group| group.cause == Cause::Person);
    assert_eq!(cancelled.map(|group| group.title).as_deref(), Some("cancelled by *"));
    act(Action::Snooze(now(&stage) + Duration::from_hours(9)), "acme", "other").await;
    look(&stage, &failures).await;
    queue.hold(&"beta".parse().unwrap(), HeldFor::Queue).await.unwrap();
    stage.pass_tended(2 * 3_600_000).await;
    assert!(look(&stage, &failures).await, "their time has come");
    assert_eq!(failures.read().count(None), 1);
    queue.drop_run(&"acme".parse().unwrap(), &RUN.parse().unwrap(), "ann").await.unwrap();
    look(&stage, &failures).await;
    assert_eq!(failures.read().count(None), 0);

    // Redis comes back empty, and fills again.
    let () = stage.raw(&["FLUSHALL", "SYNC"]).await;
    look(&stage, &failures).await;
    stage.push("acme", &[("a", &[])]).await;
    stage.turn(&fault(FAILED)).await.unwrap();
    look(&stage, &failures).await;
    assert_eq!(failures.read().count(None), 1);
}

#[tokio::test]
async fn who_fell_behind_or_missed_something_reads_all_anew() {
    let stage = stage().await;
    let failures = Failures::new(stage.queue.clone());
    look(&stage, &failures).await;
    // The changes are gone that it would have to know of.
    stage.queue.act(Action::Discard, &job("acme", "other"), "ann", None).await.unwrap().unwrap();
    let () = stage.raw(&["XTRIM", &stage.key("failures"), "MAXLEN", "0"]).await;
    look(&stage, &failures).await;
    assert_eq!(failures.read().count(None), 3);
    // Something was lost that nobody told of, as after a failover.
    let name = job("acme", "team-links").to_string();
    let () = stage.raw(&["ZREM", &stage.key("retry"), &name]).await;
    look(&stage, &failures).await;
    // Names that this release cannot read are no reason to read all of it for ever.
    let () = stage.raw(&["ZADD", &stage.key("dead"), "1", "?"]).await;
    assert!(look(&stage, &failures).await);
    assert!(!look(&stage, &failures).await);
}

#[tokio::test]
async fn each_wish_takes_what_it_says() {
    let stage = stage().await;
    let failures = Failures::new(stage.queue.clone());
    failures.look().await.unwrap();
    let check = |wanted: &Wanted, expect: &[(&str, u64)]| {
        let found = failures.read().groups(wanted, OrderBy::Jobs, now(&stage));
        let found: Vec<_> = found.iter().map(|group| (&*group.entity, group.jobs())).collect();
        assert_eq!(found, expect, "{wanted:?}");
        let jobs: usize = failures
            .read()
            .groups(wanted, OrderBy::First, now(&stage))
            .iter()
            .map(|group| failures.read().jobs(&group.id, wanted).len())
            .sum();
        assert_eq!(jobs as u64, expect.iter().map(|(_, jobs)| jobs).sum::<u64>(), "{wanted:?}");
    };
    let tenants =
        |names: &[&str]| Some(names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<_>>());
    let all = Wanted::default();
    assert_eq!(groups(&stage, &failures).len(), 3);
    check(&Wanted { entity: Some("team-links".to_owned()), ..all.clone() }, &[("team-links", 2)]);
    check(
        &Wanted { text: Some("HTTP 500".to_owned()), tenants: tenants(&["beta"]), ..all.clone() },
        &[("team-links", 1)],
    );
    check(&Wanted { text: Some("http 500: TRACE".to_owned()), ..all.clone() }, &[]);
    check(&Wanted { text: Some("LARGER".to_owned()), ..all.clone() }, &[("other", 1)]);
    check(&Wanted { cause: Some(Cause::Shape), ..all.clone() }, &[("other", 1)]);
    check(&Wanted { tenants: tenants(&[]), ..all.clone() }, &[]);
    check(&Wanted { tenants: tenants(&["nobody"]), ..all.clone() }, &[]);
    check(&Wanted { since: Some(now(&stage)), ..all.clone() }, &[("other", 1)]);
    let [group] = &failures.read().groups(
        &Wanted { cause: Some(Cause::Shape), ..all.clone() },
        OrderBy::Last,
        now(&stage),
    )[..] else {
        panic!("one group")
    };
    assert_eq!(failures.read().group(&group.id, &all, now(&stage)).as_ref(), Some(group));
    assert_eq!(
        failures.read().group(&group.id, &Wanted { tenants: tenants(&["acme"]), ..all.clone() }, now(&stage)),
        None
    );
    assert_eq!(failures.read().count(tenants(&["acme"]).as_ref()), 2);
}

#[tokio::test]
async fn a_group_can_be_acted_on() {
    let stage = stage().await;
    let (queue, failures) = (&stage.queue, Failures::new(stage.queue.clone()));
    failures.look().await.unwrap();
    let all = Wanted { entity: Some("team-links".to_owned()), ..Wanted::default() };
    let group = failures.read().groups(&all, OrderBy::Jobs, now(&stage)).remove(0);
    let seen = failures.read().jobs(&group.id, &all);
    // One of them is tried again before somebody has decided.
    queue.act(Action::Retry, &seen[0].id, "bob", None).await.unwrap().unwrap();
    let cancel = bulk::preview_failed(queue, Action::Cancel, seen.clone()).await.unwrap();
    assert_eq!((cancel.able.len(), cancel.skipped.len()), (2, 0));
    let preview = bulk::preview_failed(queue, Action::Retry, seen.clone()).await.unwrap();
    assert_eq!((preview.able.len(), preview.sample.len()), (2, 2));
    let order = Order {
        who: "ann".to_owned(),
        reason: None,
        target: Some("a group".to_owned()),
        rps: NonZeroU32::new(1_000).unwrap(),
    };
    let outcome = bulk::carry_out(queue, preview, &order, &CancellationToken::new(), |_| ()).await.unwrap();
    assert_eq!(outcome.done, 1);
    assert_eq!(outcome.skipped, [Skipped { id: seen[0].id.clone(), why: "it is queued now".to_owned() }]);
}

#[test]
fn without_a_queue_what_failed_is_grouped_alike() {
    let mut picture = Picture::default();
    let at = Timestamp::from_second(1_795_000_000).unwrap();
    for tenant in ["acme", "beta"] {
        picture.add(&job(tenant, "team-links"), FAILED, at);
    }
    let [group] = &picture.groups(&Wanted::default(), OrderBy::Jobs, at)[..] else { panic!("one group") };
    assert_eq!((group.tenants, group.dead, group.cause, group.last_seen), (2, 2, Cause::Tempo, at));
    let dead = Filter { state: Some(JobState::Dead), ..Filter::default() };
    let check = |filter: Filter, expect: Option<&[&str]>| {
        let found = picture.found(&filter);
        let found =
            found.as_ref().map(|jobs| jobs.iter().map(|job| job.id.tenant.as_str()).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expect, "{filter:?}");
    };
    check(dead.clone(), Some(&["acme", "beta"]));
    check(Filter { tenant: Some("beta".parse().unwrap()), ..dead.clone() }, Some(&["beta"]));
    check(Filter { error: Some("tempo FAILED".to_owned()), ..dead.clone() }, Some(&["acme", "beta"]));
    // What the error does not say is not found by it, though the entity is called so.
    check(Filter { error: Some("team-links".to_owned()), ..dead.clone() }, Some(&[]));
    check(Filter { entity: Some("teams".to_owned()), ..dead }, Some(&[]));
    check(Filter { state: Some(JobState::Retry), ..Filter::default() }, Some(&[]));
    check(Filter::default(), None);
    check(Filter { state: Some(JobState::Running), ..Filter::default() }, None);
}

#[tokio::test]
async fn what_came_long_ago_has_no_hour() {
    let stage = stage().await;
    stage.pass(2 * DAY_MS);
    let failures = Failures::new(stage.queue.clone());
    failures.look().await.unwrap();
    assert!(groups(&stage, &failures).iter().all(|group| group.hours.iter().sum::<u32>() == 0));
    assert_eq!(stage.queue.counts().await.unwrap()[&JobState::Dead], 1);
}
