//! A small company beside a very large one that keeps all places busy.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fermata_core::names::Tenant;
use fermata_fleet::queue::{RunJobs, SEAL};
use jiff::Timestamp;

use super::stage::{self, Fleet, Process};
use super::stamped::{self, Stamp};
use crate::sheet::{self, Aim, Unit};
use crate::site::Site;

const PLACES: &str = "4";
const LARGE: usize = 1_000_000;
const LARGE_RATE: f64 = 50.0;
/// So few that a large site takes longer than all of this.
const LARGE_PAGE_ROWS: u32 = 50;
const SMALL: usize = 2_000;
/// Tempo's quota.
const SMALL_RATE: f64 = 5.0;
/// Backups of a small company, one after the other, in each of both cases.
const BACKUPS: u32 = 3;
const TIMES_ALONE_MAX: f64 = 2.0;
const SETTLE: Duration = Duration::from_secs(10);

/// What a small company's jobs waited, in seconds.
#[derive(Default)]
struct Waited {
    /// From when nothing held a job back but other jobs, to its start.
    to_start: Vec<f64>,
    /// From enqueueing to its end.
    to_done: Vec<f64>,
    /// From enqueueing to the snapshot.
    whole: Vec<f64>,
}

pub(crate) async fn measure() -> Result<()> {
    sheet::part(&format!(
        "fairness: backups of {SMALL} worklogs at {SMALL_RATE}/s beside {LARGE} at {LARGE_RATE}/s, 1 worker, {PLACES} places"
    ));
    let fleet = Fleet::start().await?;
    let small =
        Site::start(SMALL, &["--rate", &SMALL_RATE.to_string(), "--tenants", &(2 * BACKUPS).to_string()])?;
    let stamps = fleet.folder().join("stamps");
    let folder = fleet.folder().to_str().context("a path of plain letters")?;
    let file = stamps.to_str().context("a path of plain letters")?;
    let mut worker = stage::myself(&[stamped::NAME, folder, &fleet.redis.url(), PLACES, file])?;
    let _worker = Process::start(&mut worker, &fleet.folder().join("worker.log"))?;

    let alone = backups(&fleet, &small, 1, &stamps).await?;
    let large = Site::start(LARGE, &["--rate", &LARGE_RATE.to_string()])?;
    large.set_quirks(&format!(r#"{{"limit_max":{LARGE_PAGE_ROWS}}}"#)).await?;
    let big = fleet.add("big", &large, 1, LARGE_RATE).await?;
    fleet.enqueue_long_jobs(&big, 6).await?;
    tokio::time::sleep(SETTLE).await;
    let (before, _) = large.requests().await?;
    let began = Timestamp::now();
    let beside = backups(&fleet, &small, 1 + BACKUPS, &stamps).await?;
    let (after, _) = large.requests().await?;
    let large_rate = (after - before) as f64 / Timestamp::now().duration_since(began).as_secs_f64();
    compare("p99 wait of a job that could run, to its start", &alone.to_start, &beside.to_start, 0.99);
    compare("p99 of a job, enqueued to done", &alone.to_done, &beside.to_done, 0.99);
    compare("whole backup, enqueued to snapshot", &alone.whole, &beside.whole, 0.5);
    sheet::line("requests per second of the large one meanwhile", Unit::Number, &[large_rate], Aim::None);
    Ok(())
}

fn compare(what: &str, alone: &[f64], beside: &[f64], part: f64) {
    let (alone, beside) = (sheet::percentile(alone, part), sheet::percentile(beside, part));
    sheet::line(&format!("{what}: alone"), Unit::Seconds, &[alone], Aim::None);
    sheet::line(&format!("{what}: beside"), Unit::Seconds, &[beside], Aim::AtMost(alone * TIMES_ALONE_MAX));
}

/// Backs small companies up, one after the other.
async fn backups(fleet: &Fleet, site: &Site, from: u32, stamps: &Path) -> Result<Waited> {
    let mut waited = Waited::default();
    for number in from..from + BACKUPS {
        let tenant: Tenant = fleet.add(&format!("small-{number}"), site, number, SMALL_RATE).await?;
        let run = fleet.plan(&tenant, &[]).await?;
        let pushed = Timestamp::now();
        fleet.queue.push(&run).await?;
        fleet.wait_for_snapshots(&tenant, 1).await?;
        // The seal's stamp comes a moment after the snapshot.
        tokio::time::sleep(Duration::from_millis(200)).await;
        add(&mut waited, &run, pushed, &stamped::read(stamps)?)?;
    }
    Ok(waited)
}

fn add(waited: &mut Waited, run: &RunJobs, pushed: Timestamp, stamps: &[Stamp]) -> Result<()> {
    let (mut began, mut ended) = (HashMap::new(), HashMap::new());
    let prefix = format!("{}/{}/", run.tenant, run.run);
    for stamp in stamps {
        let Some(entity) = stamp.job.strip_prefix(&prefix) else { continue };
        began.entry(entity).or_insert(stamp.began);
        if stamp.done {
            ended.insert(entity, stamp.ended);
        }
    }
    let all: Vec<String> = run.jobs.iter().map(|(entity, _)| entity.clone()).collect();
    let seal = (SEAL.to_owned(), all);
    for (entity, needs) in run.jobs.iter().chain([&seal]) {
        let (Some(began), Some(end)) = (began.get(&**entity), ended.get(&**entity)) else {
            ensure!(entity == SEAL, "{prefix}{entity} did not end");
            continue;
        };
        let could =
            needs.iter().filter_map(|parent| ended.get(&**parent)).copied().fold(pushed, Timestamp::max);
        waited.to_start.push(began.duration_since(could).as_secs_f64().max(0.0));
        waited.to_done.push(end.duration_since(pushed).as_secs_f64());
        if entity == SEAL {
            waited.whole.push(end.duration_since(pushed).as_secs_f64());
        }
    }
    Ok(())
}
