//! What Redis keeps of a job in each state, and of the night of a thousand tenants.

use std::time::Duration;

use anyhow::{Result, ensure};
use fermata_core::catalogue::ENTITIES;
use fermata_fleet::queue::{Claim, Claimed};
use fermata_fleet::{Link, Queue, Turn};
use fermata_vault::nonce;
use tempfile::TempDir;

use super::{MIB, line};
use crate::fleet::{costs, queued, stage};
use crate::sheet::{self, Unit};

const TENANTS: usize = 1_000;
/// Jobs that are claimed and settled in one call.
const TURNS: usize = 100;
/// Longer than this takes.
const LEASE: Duration = Duration::from_mins(10);
/// More than a run has, so that all can be at work at once.
const CAP: u32 = 100;
/// As a job's error is.
const ERROR: &str = "GET /4/teams/links: Tempo failed (HTTP 503): Service Unavailable";

pub(super) async fn measure() -> Result<()> {
    let independent: Vec<_> = ENTITIES.iter().map(|entity| (entity.name.to_owned(), Vec::new())).collect();
    sheet::part(&format!("kept: {TENANTS} tenants with {} jobs each and a seal", independent.len()));
    states("done", &independent, &Turn::Done).await?;
    states("dead", &independent, &Turn::Dead(ERROR.to_owned())).await?;
    night().await
}

/// All jobs of all tenants through the states: in line, at work, and ended so.
async fn states(name: &str, jobs: &[(String, Vec<String>)], end: &Turn) -> Result<()> {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let redis = stage::redis(folder.path())?;
    let queue = Queue::new(Link::new(&redis.url(), "bench")?);
    let empty = costs::memory(queue.link()).await?;
    let count = push(&queue, jobs).await?;
    let per_job =
        async || -> Result<f64> { Ok((costs::memory(queue.link()).await? - empty) as f64 / count as f64) };
    line("a job in line", Unit::Bytes, &[per_job().await?]);
    let mut held = Vec::new();
    loop {
        let claimed = claim(&queue, &[]).await?;
        if claimed.is_empty() {
            break;
        }
        held.extend(claimed);
    }
    // The seals wait for the others.
    ensure!(held.len() == jobs.len() * TENANTS, "{} jobs were claimed", held.len());
    line("a job at work", Unit::Bytes, &[per_job().await?]);
    for some in held.chunks(TURNS) {
        let ended: Vec<_> = some.iter().map(|claimed| (claimed.clone(), end.clone())).collect();
        queue.exchange("bench", &nonce(), LEASE, 0, &ended).await?;
    }
    work_off(&queue).await?;
    line(&format!("a job that is {name}"), Unit::Bytes, &[per_job().await?]);
    Ok(())
}

/// All tenants enqueued at the same moment, and worked off.
async fn night() -> Result<()> {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let redis = stage::redis(folder.path())?;
    let queue = Queue::new(Link::new(&redis.url(), "bench")?);
    let empty = costs::memory(queue.link()).await?;
    let grown = async || -> Result<f64> { Ok((costs::memory(queue.link()).await? - empty) as f64 / MIB) };
    push(&queue, &queued::jobs()).await?;
    line("1,000 tenants, enqueued at once", Unit::Mib, &[grown().await?]);
    work_off(&queue).await?;
    line("1,000 tenants, when their night is over", Unit::Mib, &[grown().await?]);
    Ok(())
}

/// Enqueues a run of each tenant; returns how many jobs that are.
async fn push(queue: &Queue, jobs: &[(String, Vec<String>)]) -> Result<u64> {
    let mut count = 0;
    for number in 0..TENANTS {
        let mut run = queued::run(number, jobs.to_vec())?;
        run.cap = CAP;
        count += queue.push(&run).await?.added;
    }
    Ok(count)
}

/// Ends every job that can be had.
async fn work_off(queue: &Queue) -> Result<()> {
    let mut ended = Vec::new();
    loop {
        let claimed = claim(queue, &ended).await?;
        if claimed.is_empty() {
            return Ok(());
        }
        ended = claimed.into_iter().map(|claimed| (claimed, Turn::Done)).collect();
    }
}

async fn claim(queue: &Queue, ended: &[(Claimed, Turn)]) -> Result<Vec<Claimed>> {
    let answer = queue.exchange("bench", &nonce(), LEASE, TURNS, ended).await?;
    let claims = answer.claims.into_iter().filter_map(|claim| match claim {
        Claim::Job(claimed) => Some(claimed),
        _ => None,
    });
    Ok(claims.collect())
}
