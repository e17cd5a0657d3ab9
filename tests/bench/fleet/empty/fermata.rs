//! Fermata's own queue, with workers that do nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use fermata_core::names::{RunId, Tenant};
use fermata_fleet::queue::{RunJobs, SEAL};
use fermata_fleet::{Link, Queue, ServeOptions, Turn};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{LATENCY_JOBS, LATENCY_PAUSE};
use crate::fleet::stage;
use crate::sheet;

pub(super) const WORKER: &str = "fermata-worker";
pub(super) const LATENCY: &str = "fermata-latency";
const TENANTS: u32 = 350;

/// Fills the queue with whole backups: what a fleet has in it.
pub(super) async fn fill(url: &str) -> Result<u64> {
    let queue = queue(url)?;
    let jobs: Vec<_> = stage::entities().into_iter().map(|entity| (entity, Vec::new())).collect();
    let mut count = 0;
    for number in 0..TENANTS {
        // And the seal.
        count += queue.push(&run(number, jobs.clone())?).await?.added + 1;
    }
    Ok(count)
}

pub(super) async fn work(url: &str, places: usize) -> Result<()> {
    let stop = CancellationToken::new();
    fermata_fleet::serve(queue(url)?, &options(places), &stop, |_| async { Turn::Done }).await?;
    Ok(())
}

/// Enqueues a job and then another, and tells how many milliseconds each waited.
pub(super) async fn latency(url: &str) -> Result<()> {
    let (queue, stop) = (queue(url)?, CancellationToken::new());
    let started: Arc<Mutex<HashMap<Tenant, Instant>>> = Arc::default();
    let serving = {
        let (queue, stop, started) = (queue.clone(), stop.clone(), started.clone());
        tokio::spawn(async move {
            fermata_fleet::serve(queue, &options(16), &stop, move |held| {
                let id = &held.claimed.id;
                if id.entity != SEAL {
                    let mut started = started.lock().unwrap_or_else(PoisonError::into_inner);
                    started.insert(id.tenant.clone(), Instant::now());
                }
                async { Turn::Done }
            })
            .await
        })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut pushed = Vec::new();
    for number in 0..LATENCY_JOBS {
        let run = run(number, vec![("worklogs".to_owned(), Vec::new())])?;
        pushed.push((run.tenant.clone(), Instant::now()));
        queue.push(&run).await?;
        tokio::time::sleep(LATENCY_PAUSE).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    serving.await??;
    let started = started.lock().unwrap_or_else(PoisonError::into_inner);
    for (tenant, pushed) in pushed {
        if let Some(started) = started.get(&tenant) {
            sheet::plain(started.duration_since(pushed).as_secs_f64() * 1_000.0);
        }
    }
    Ok(())
}

fn queue(url: &str) -> Result<Queue> {
    Ok(Queue::new(Link::new(url, "bench")?))
}

fn options(places: usize) -> ServeOptions {
    ServeOptions {
        name: format!("bench-{}", std::process::id()),
        places,
        lease: fermata_fleet::LEASE,
        quiet: CancellationToken::new(),
    }
}

fn run(number: u32, jobs: Vec<(String, Vec<String>)>) -> Result<RunJobs> {
    let run = RunId::new(Timestamp::now(), &format!("{number:06x}"))?;
    Ok(RunJobs { tenant: format!("company-{number:06}").parse()?, run, cap: 6, weight: 1, rate: 5.0, jobs })
}
