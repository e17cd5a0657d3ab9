//! What it costs to go on with a job that another had, at a million worklogs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fermata_core::catalogue;
use fermata_fleet::Budget;
use tokio::time::sleep;

use super::stage::{self, Fleet};
use crate::child;
use crate::sheet::{self, Aim, Unit};
use crate::site::Site;

const WORKLOGS: usize = 1_000_000;
const PAGE_ROWS: u32 = 500;
/// After so many of the two thousand pages.
const PAGES: u64 = 1_500;
const OPENED: usize = 33;
const RATE: f64 = 1_000.0;
/// A read of the last pages of a log, and no more than a page takes to come.
const OPEN_SECONDS_MAX: f64 = 0.2;
const SLICED: Duration = Duration::from_secs(30);
const SLICED_RATE: f64 = 20.0;

pub(crate) async fn measure() -> Result<()> {
    let site = Site::start(WORKLOGS, &["--rate", "0", "--tenants", "3"])?;
    site.set_quirks(&format!(r#"{{"limit_max":{PAGE_ROWS}}}"#)).await?;
    let fleet = Fleet::start().await?;
    reopen(&site, &fleet).await?;
    slices(&site, &fleet).await
}

/// Opens a job that is far along, again and again.
async fn reopen(site: &Site, fleet: &Fleet) -> Result<()> {
    let tenant = fleet.add("sim-1", site, 1, RATE).await?;
    let run = fleet.plan(&tenant, &["worklogs"]).await?.run;
    fleet.enqueue(&tenant, &["worklogs"]).await?;
    let worker = fleet.worker(&["--concurrency", "1"], "reopen.log")?;
    while site.requests().await?.0 < PAGES {
        sleep(Duration::from_millis(5)).await;
    }
    worker.kill()?;
    fleet.queue.drop_run(&tenant, &run, "bench").await?;

    let engine = stage::engine(fleet.vault.clone());
    let settings = engine.settings(&tenant).await?;
    let plan = Arc::new(fleet.vault.plan(&tenant, &run).await?.context("the run has a plan")?);
    let worklogs = catalogue::entity("worklogs").context("there are worklogs")?;
    let (mut times, mut bytes, mut events) = (Vec::new(), Vec::new(), 0);
    for _ in 0..OPENED {
        let (began, before) = (Instant::now(), bytes_read()?);
        // As a worker does that has never seen the run.
        let settings = engine.settings(&settings.tenant).await?;
        let pace = Budget::new(fleet.queue.link().clone(), "bench").pace(&tenant, RATE, None);
        let site = engine.site(&settings, plan.clone(), pace).await?;
        let given = site.given(worklogs).await?;
        events = site.open(worklogs, &given).await?.log.state().events;
        times.push(began.elapsed().as_secs_f64());
        bytes.push((bytes_read()? - before) as f64);
    }
    sheet::part(&format!("resume: a job of {WORKLOGS} worklogs after {events} pages of {PAGE_ROWS}"));
    let millis: Vec<f64> = times.iter().map(|seconds| seconds * 1_000.0).collect();
    sheet::line("opening it", Unit::Millis, &millis, Aim::AtMost(OPEN_SECONDS_MAX * 1_000.0));
    sheet::line("bytes read", Unit::Bytes, &bytes, Aim::None);
    Ok(())
}

/// Two such jobs on one place, in slices of a second and in one slice.
async fn slices(site: &Site, fleet: &Fleet) -> Result<()> {
    sheet::part(&format!("resume: two such jobs on one place, {} s", SLICED.as_secs()));
    let mut tenants = Vec::new();
    for number in [2, 3] {
        tenants.push(fleet.add(&format!("sim-{number}"), site, number, SLICED_RATE).await?);
    }
    for (name, slice) in [("slices of 1 s", "1"), ("one slice", "3600")] {
        for tenant in &tenants {
            fleet.enqueue(tenant, &["worklogs"]).await?;
        }
        let log = format!("slice-{slice}.log");
        // Whether somebody waits is heard with each renewal.
        let worker = fleet.worker(&["--concurrency", "1", "--slice", slice, "--lease", "3"], &log)?;
        sleep(Duration::from_secs(2)).await;
        let (before, cpu) = (site.requests().await?.0, child::cpu(worker.pid())?);
        let read = child::bytes_read(worker.pid())?;
        sleep(SLICED).await;
        let pages = (site.requests().await?.0 - before) as f64;
        let cpu = child::cpu(worker.pid())? - cpu;
        let read = (child::bytes_read(worker.pid())? - read) as f64;
        worker.kill()?;
        let turns = std::fs::read_to_string(fleet.folder().join(log))?.matches("turn over").count();
        sheet::line(&format!("{name}: turns that ended"), Unit::Count, &[turns as f64], Aim::None);
        sheet::line(
            &format!("{name}: pages per second"),
            Unit::Number,
            &[pages / SLICED.as_secs_f64()],
            Aim::None,
        );
        sheet::line(&format!("{name}: CPU per page"), Unit::Millis, &[cpu * 1_000.0 / pages], Aim::None);
        sheet::line(&format!("{name}: bytes read per page"), Unit::Bytes, &[read / pages], Aim::None);
        // Whoever is next does not wait for the dead one's lease.
        sleep(Duration::from_secs(4)).await;
    }
    Ok(())
}

fn bytes_read() -> Result<u64> {
    child::bytes_read(std::process::id())
}
