//! What Fermata costs: processor time, memory, requests, quota. `just bench`, or `just bench speed` for one part;
//! `just bench-fleet` for a fleet.
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
    let (of_fleet, args) = match args.split_first() {
        Some((first, parts)) if first == fleet::NAME => (true, parts.to_vec()),
        _ => (false, args),
    };
    if of_fleet {
        fleet::check(&args)?;
    } else if let Some(unknown) = args.iter().find(|arg| !PARTS.contains(&arg.as_str())) {
        bail!("there is no part {unknown:?}; the parts are {}", PARTS.join(", "));
    }
    // The one part that starts no program.
    if args != [view::NAME] {
        build()?;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        noise::measure()?;
        if of_fleet { fleet::measure(&args).await } else { measure(&args).await }?;
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
