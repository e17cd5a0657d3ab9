//! One worker with one tenant, with as many as it keeps up with, and with more; and the most memory that it takes.

use std::time::Instant;

use anyhow::Result;
use fermata_vault::fake::{Fake, Manners};
use futures::future::try_join_all;

use super::{Spent, line, store_lines};
use crate::child;
use crate::fleet::stage::Fleet;
use crate::sheet::{self, Unit};
use crate::site::Site;

const TENANTS: [u32; 3] = [1, 7, 16];
const WORKLOGS: usize = 20_000;
/// Tempo's quota, in requests a second.
const RATE: f64 = 5.0;
/// How long the simulated Tempo takes to answer.
const LATENCY_MS: &str = "150";
/// So many places has a worker: each reads the worklogs of a tenant of its own, as fast as it can.
const PLACES: u32 = 16;
const WORKLOGS_EACH: usize = 50_000;
/// So that pace is no part of it.
const UNPACED: f64 = 1_000.0;

pub(super) async fn measure() -> Result<()> {
    for tenants in TENANTS {
        nights(tenants).await?;
    }
    most_memory().await
}

/// First backups of so many tenants at once.
async fn nights(tenants: u32) -> Result<()> {
    sheet::part(&format!(
        "worker: {tenants} tenants of {WORKLOGS} worklogs at {RATE}/s each, answers after {LATENCY_MS} ms, one worker"
    ));
    let (rate, count) = (RATE.to_string(), tenants.to_string());
    let site = Site::start(WORKLOGS, &["--rate", &rate, "--latency-ms", LATENCY_MS, "--tenants", &count])?;
    let bucket = Fake::start(Manners::Exact).await?;
    let fleet = Fleet::in_bucket(&bucket).await?;
    let mut names = Vec::new();
    for number in 1..=tenants {
        names.push(fleet.add(&format!("sim-{number}"), &site, number, RATE).await?);
    }
    let worker = fleet.worker(&[], "worker.log")?;
    let before = Spent::so_far(&worker, &bucket)?;
    let redis = child::cpu(fleet.redis.pid())?;
    let began = Instant::now();
    try_join_all(names.iter().map(|tenant| fleet.enqueue(tenant, &[]))).await?;
    fleet.wait_until_idle().await?;
    let wall = began.elapsed().as_secs_f64();
    let spent = Spent::so_far(&worker, &bucket)?.since(before);
    let (requests, refused) = site.requests().await?;
    let requests = requests as f64;
    line("requests to Tempo", Unit::Count, &[requests]);
    line("answers of 429", Unit::Count, &[refused as f64]);
    line("wall", Unit::Seconds, &[wall]);
    line("requests in a second", Unit::Number, &[requests / wall]);
    line("share of the quotas", Unit::Share, &[requests / wall / (RATE * f64::from(tenants))]);
    line("CPU of the worker per 1,000 requests", Unit::Seconds, &[spent.cpu / requests * 1_000.0]);
    line("cores that the worker used", Unit::Number, &[spent.cpu / wall]);
    line("peak memory of the worker", Unit::Mib, &[child::peak_so_far(worker.pid())]);
    let redis = child::cpu(fleet.redis.pid())? - redis;
    line("CPU of Redis per 1,000 requests", Unit::Seconds, &[redis / requests * 1_000.0]);
    store_lines("store, per tenant", &[spent], f64::from(tenants));
    Ok(())
}

async fn most_memory() -> Result<()> {
    sheet::part(&format!(
        "worker: worklogs alone of {PLACES} tenants with {WORKLOGS_EACH} each, unpaced: every place at a full page"
    ));
    let site = Site::start(WORKLOGS_EACH, &["--rate", "0", "--tenants", &PLACES.to_string()])?;
    let bucket = Fake::start(Manners::Exact).await?;
    let fleet = Fleet::in_bucket(&bucket).await?;
    for number in 1..=PLACES {
        let tenant = fleet.add(&format!("sim-{number}"), &site, number, UNPACED).await?;
        fleet.enqueue(&tenant, &["worklogs"]).await?;
    }
    let worker = fleet.worker(&[], "worker.log")?;
    fleet.wait_until_idle().await?;
    line("peak memory of the worker", Unit::Mib, &[child::peak_so_far(worker.pid())]);
    line("CPU of the worker", Unit::Seconds, &[child::cpu(worker.pid())?]);
    Ok(())
}
