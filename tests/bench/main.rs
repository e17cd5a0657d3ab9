//! What Fermata costs: processor time, memory, requests, quota. `just bench`, or `just bench speed` for one part;
//! `just bench-fleet` for a fleet, `just bench-sizing` for what to know before buying machines.
//!
//! The release programs run as processes of their own beside the simulator's, so that what each used can be
//! told apart. It reads `/proc`, so it needs Linux. Processor time is what to compare between machines and
//! days; wall time says as much about who else was at work, which the first lines show.

mod child;
mod dashboard;
mod download;
mod fleet;
mod least;
mod night;
mod noise;
mod quota;
mod sheet;
mod site;
mod sizes;
mod sizing;
mod speed;
mod view;

use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const PARTS: [&str; 5] = ["speed", "sizes", "night", "quota", view::NAME];

fn main() -> Result<()> {
    // Cargo says `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == download::NAME) {
        return download::run(&args[1..]);
    }
    if args.first().is_some_and(|arg| arg == dashboard::DATA) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        return runtime.block_on(dashboard::data(&args[1..]));
    }
    if args.first().is_some_and(|arg| arg == fleet::CHILD) {
        return fleet::child(&args[1..]);
    }
    let (of, args) = match args.split_first() {
        Some((first, parts)) if [fleet::NAME, sizing::NAME].contains(&first.as_str()) => {
            (Some(first.as_str()), parts.to_vec())
        }
        _ => (None, args.clone()),
    };
    let parts = match of {
        Some(fleet::NAME) => &fleet::PARTS[..],
        Some(_) => &sizing::PARTS[..],
        None => &PARTS[..],
    };
    if let Some(unknown) = args.iter().find(|arg| !parts.contains(&arg.as_str())) {
        bail!("there is no part {unknown:?}; the parts are {}", parts.join(", "));
    }
    // The one part that starts no program.
    if args != [view::NAME] {
        build()?;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        noise::measure()?;
        match of {
            Some(fleet::NAME) => fleet::measure(&args).await,
            Some(_) => sizing::measure(&args).await,
            None => measure(&args).await,
        }?;
        noise::measure()
    })
}

fn build() -> Result<()> {
    let built =
        Command::new(env!("CARGO")).args(["build", "--release", "-p", "tempo-sim", "-p", "fermata"]).status();
    ensure!(built.context("cargo does not start")?.success(), "the programs do not build");
    Ok(())
}

async fn measure(parts: &[String]) -> Result<()> {
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|named| named == part);
    if wanted("speed") {
        speed::measure().await?;
    }
    if wanted("sizes") {
        sizes::measure().await?;
    }
    if wanted("night") {
        night::measure().await?;
    }
    if wanted("quota") {
        quota::measure().await?;
    }
    if wanted(view::NAME) {
        view::measure().await?;
    }
    Ok(())
}
