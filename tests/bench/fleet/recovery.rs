//! How soon a job goes on whose worker was killed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::stage::Fleet;
use crate::sheet::{self, Aim, Unit};
use crate::site::Site;

/// Seconds of a lease, and in how many the job is to go on at the latest.
const LEASES: [(u64, f64); 2] = [(30, 45.0), (6, 9.0)];
const KILLS: u32 = 5;
const RATE: f64 = 10.0;
const PAGE_ROWS: u32 = 5;
/// A request that the dead worker sent may still arrive.
const LAST_REQUEST: Duration = Duration::from_millis(100);
const STUCK: Duration = Duration::from_mins(3);

pub(crate) async fn measure() -> Result<()> {
    for (lease, max) in LEASES {
        sheet::part(&format!("recovery: a worker is killed, leases of {lease} s"));
        let times = kill(lease).await?;
        sheet::line("until its job goes on", Unit::Seconds, &times, Aim::AtMost(max));
    }
    Ok(())
}

/// Kills one worker after the other, each while it holds the only job.
async fn kill(lease: u64) -> Result<Vec<f64>> {
    let site = Site::start(100_000, &["--rate", "0"])?;
    site.set_quirks(&format!(r#"{{"limit_max":{PAGE_ROWS}}}"#)).await?;
    let fleet = Fleet::start().await?;
    let tenant = fleet.add("sim-1", &site, 1, RATE).await?;
    fleet.enqueue(&tenant, &["worklogs"]).await?;
    let lease_text = lease.to_string();
    let args = ["--concurrency", "1", "--lease", &*lease_text];
    let mut holder = fleet.worker(&args, "0.log")?;
    let mut times = Vec::new();
    for kill in 1..=KILLS {
        let (asked, _) = site.requests().await?;
        wait_for_requests(&site, asked + 5).await?;
        let next = fleet.worker(&args, &format!("{kill}.log"))?;
        // Now soon after a renewal, now long after it.
        sleep(Duration::from_secs_f64(1.0 + lease as f64 / 3.0 * f64::from(kill) / f64::from(KILLS))).await;
        let died = Instant::now();
        holder.kill()?;
        sleep(LAST_REQUEST).await;
        let (asked, _) = site.requests().await?;
        wait_for_requests(&site, asked + 1).await?;
        times.push(died.elapsed().as_secs_f64());
        holder = next;
    }
    Ok(times)
}

async fn wait_for_requests(site: &Site, count: u64) -> Result<()> {
    let began = Instant::now();
    while site.requests().await?.0 < count {
        ensure!(began.elapsed() < STUCK, "no worker asks anything");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
