//! What a fleet costs and keeps: quota, Redis, empty jobs beside other queues, fairness, recovery. `just bench-fleet`, or
//! `just bench-fleet empty` for one part.
//!
//! Each part starts a Redis server of its own; workers are processes, `fermata worker` wherever that can tell what is measured.

pub(crate) mod costs;
mod empty;
mod fairness;
mod price;
pub(crate) mod queued;
mod quota;
mod recovery;
mod resume;
pub(crate) mod stage;
mod stamped;

use anyhow::{Context, Result};

/// The first argument, for all of it.
pub(crate) const NAME: &str = "fleet";
/// The argument that makes this program one of the processes measured here.
pub(crate) const CHILD: &str = "fleet-child";

/// What may be asked for by itself.
pub(crate) const PARTS: [&str; 7] = ["quota", "queued", "empty", "fairness", "recovery", "price", "resume"];

/// Measures these parts, or all.
pub(crate) async fn measure(parts: &[String]) -> Result<()> {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|named| named == part);
    if wanted("quota") {
        quota::measure().await?;
    }
    if wanted("queued") {
        queued::measure().await?;
    }
    if wanted("empty") {
        empty::measure().await?;
    }
    if wanted("fairness") {
        fairness::measure().await?;
    }
    if wanted("recovery") {
        recovery::measure().await?;
    }
    if wanted("price") {
        price::measure().await?;
    }
    if wanted("resume") {
        resume::measure().await?;
    }
    Ok(())
}

/// One of the processes that are measured.
pub(crate) fn child(args: &[String]) -> Result<()> {
    let (kind, rest) = args.split_first().context("a child is told what it is")?;
    // As `fermata` has it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match kind.as_str() {
            stamped::NAME => stamped::run(rest).await,
            _ => empty::child(kind, rest).await,
        }
    })
}
