//! What waits in Redis: memory for a job, time to enqueue ten thousand tenants, slots of a hundred thousand.

use std::time::{Duration, Instant};

use anyhow::Result;
use fermata_core::names::{RunId, Tenant};
use fermata_fleet::pace::Ask;
use fermata_fleet::queue::RunJobs;
use fermata_fleet::{Budget, Link, Queue};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tempfile::TempDir;

use super::{costs, stage};
use crate::sheet::{self, Aim, Unit};

const TENANTS: usize = 10_000;
const BYTES_PER_JOB_MAX: f64 = 1.5 * 1024.0;
const PACES: usize = 100_000;
const RESERVES: usize = 20_000;
/// So that a slot costs nothing beside the ask that is made for it.
const RESERVE_SECONDS_MAX: f64 = 0.001;
/// Who fills Redis does so with so many questions at once.
const AT_ONCE: usize = 16;

pub(crate) async fn measure() -> Result<()> {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let redis = stage::redis(folder.path())?;
    let link = Link::new(&redis.url(), "bench")?;
    enqueue(&Queue::new(link.clone())).await?;
    reserve(&link).await
}

/// Enqueues a whole backup of each of many tenants, as the scheduler does.
async fn enqueue(queue: &Queue) -> Result<()> {
    let jobs = jobs();
    sheet::part(&format!("queued: {TENANTS} tenants with {} jobs each", jobs.len()));
    let empty = costs::memory(queue.link()).await?;
    let began = Instant::now();
    let mut times = Vec::new();
    let mut added = 0;
    for number in 0..TENANTS {
        let run = run(number, jobs.clone())?;
        let asked = Instant::now();
        added += queue.push(&run).await?.added;
        times.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    let took = began.elapsed();
    let bytes = costs::memory(queue.link()).await? - empty;
    let per_job = bytes as f64 / added as f64;
    sheet::line("Redis per job", Unit::Bytes, &[per_job], Aim::AtMost(BYTES_PER_JOB_MAX));
    sheet::line("Redis in all", Unit::Mib, &[bytes as f64 / 1_048_576.0], Aim::None);
    sheet::line("enqueueing all of them", Unit::Seconds, &[took.as_secs_f64()], Aim::None);
    sheet::line("enqueueing one tenant", Unit::Millis, &times, Aim::None);
    let mut claims = Vec::new();
    for number in 0..1_000 {
        let asked = Instant::now();
        queue.claim("bench", &format!("{number:x}"), Duration::from_secs(30)).await?;
        claims.push(asked.elapsed().as_secs_f64() * 1_000.0);
    }
    sheet::line("claiming a job of them", Unit::Millis, &claims, Aim::None);
    sheet::line("claiming a job of them, p99", Unit::Millis, &[sheet::percentile(&claims, 0.99)], Aim::None);
    Ok(())
}

/// Asks for a slot of any of many tenants.
async fn reserve(link: &Link) -> Result<()> {
    sheet::part(&format!("queued: paces of {PACES} tenants"));
    let budget = Budget::new(link.clone(), "bench");
    let tenants = (0..PACES).map(tenant).collect::<Result<Vec<_>>>()?;
    let ask = |tenant| Ask {
        tenant,
        period: Duration::from_millis(200),
        burst: 1,
        wait_max: Duration::from_secs(10),
        hold: Duration::ZERO,
        accepted: true,
        returning: false,
        address: None,
    };
    let before = costs::memory(link).await?;
    let asked = stream::iter(&tenants).map(|tenant| budget.reserve(ask(tenant)));
    asked.buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
    let bytes = (costs::memory(link).await? - before) as f64 / PACES as f64;
    let mut times = Vec::new();
    for number in 0..RESERVES {
        let began = Instant::now();
        budget.reserve(ask(&tenants[number * 7_919 % PACES])).await?;
        times.push(began.elapsed().as_secs_f64());
    }
    let millis: Vec<f64> = times.iter().map(|seconds| seconds * 1_000.0).collect();
    sheet::line("a slot", Unit::Millis, &millis, Aim::None);
    let p99 = sheet::percentile(&millis, 0.99);
    sheet::line("a slot, p99", Unit::Millis, &[p99], Aim::AtMost(RESERVE_SECONDS_MAX * 1_000.0));
    sheet::line("Redis per tenant at work", Unit::Bytes, &[bytes], Aim::None);
    Ok(())
}

/// The jobs of a whole backup, each with the entities that it waits for.
pub(crate) fn jobs() -> Vec<(String, Vec<String>)> {
    let entities = fermata_core::catalogue::ENTITIES;
    let needs = |entity: &fermata_core::catalogue::Entity| {
        entity.parents().map(|parent| parent.name.to_owned()).collect()
    };
    entities.iter().map(|entity| (entity.name.to_owned(), needs(entity))).collect()
}

/// A run of the tenant of this number, to be enqueued.
pub(crate) fn run(number: usize, jobs: Vec<(String, Vec<String>)>) -> Result<RunJobs> {
    let run = RunId::new(Timestamp::now(), &format!("{number:06x}"))?;
    Ok(RunJobs { tenant: tenant(number)?, run, cap: 6, weight: 1, rate: 5.0, jobs })
}

fn tenant(number: usize) -> Result<Tenant> {
    Ok(format!("company-{number:06}").parse()?)
}
