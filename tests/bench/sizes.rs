//! Memory and requests, for whole sites of a small, a large and a very large company.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::child;
use crate::least;
use crate::sheet::{self, Aim, Unit};
use crate::site::{Site, TENANT, Vault};

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
/// So that pace is no part of it.
const RATE: u32 = 1_000;
/// What a container of a small machine can give to each of a few tenants.
const PEAK_MAX: f64 = 64.0;
/// Requests for each one that is needed, rounded up: pages overlap by a few rows, which may fill one more.
const REQUESTS_MAX: f64 = 1.02;
/// Entities that are listed by name when they cost more than they need.
const LISTED_MAX: usize = 8;

/// Measures each size once: it is memory and counts, which do not vary.
pub(crate) async fn measure() -> Result<()> {
    for worklogs in SIZES {
        sheet::part(&format!("sizes: a whole site of {worklogs} worklogs"));
        let site = Site::start(worklogs, &["--rate", "0"])?;
        let vault = site.vault(RATE)?;
        let backup = command(&vault, "backup", &["--json", "backup", TENANT]).await?;
        command(&vault, "snapshots verify --data", &["snapshots", "verify", TENANT, "--data"]).await?;
        command(&vault, "export --format ndjson", &["export", TENANT, "--out", "out"]).await?;
        let (asked, _) = site.requests().await?;
        requests(&backup, asked, &least::requests(&vault.folder().join("out"))?)?;
    }
    Ok(())
}

async fn command(vault: &Vault, name: &str, args: &[&str]) -> Result<String> {
    let used = child::run(&mut vault.command(args)).await?;
    sheet::line(&format!("{name}: peak memory"), Unit::Mib, &[used.peak], Aim::AtMost(PEAK_MAX));
    sheet::line(&format!("{name}: CPU"), Unit::Seconds, &[used.cpu], Aim::None);
    Ok(used.said)
}

/// Compares the requests that a backup made with those that are needed.
fn requests(report: &str, asked: u64, least: &BTreeMap<&str, u64>) -> Result<()> {
    let report: Value = serde_json::from_str(report)?;
    let entities = report["tenants"][0]["entities"].as_array().context("a report has entities")?;
    let made = entities.iter().map(|entity| (entity["entity"].as_str(), entity["requests"].as_u64()));
    let made: BTreeMap<&str, u64> = made.filter_map(|(name, requests)| name.zip(requests)).collect();
    ensure!(made.values().sum::<u64>() == asked, "the backup counts other requests than the site's {asked}");
    let compare = |what: &str, made: u64, least: u64| {
        let aim = Aim::AtMost((least as f64 * REQUESTS_MAX).ceil());
        sheet::line(&format!("{what}: requests (least {least})"), Unit::Count, &[made as f64], aim);
    };
    compare("worklogs", made["worklogs"], least["worklogs"]);
    compare("all", asked, least.values().sum());
    let mut more: Vec<_> = made.iter().filter(|(name, made)| **made > least[**name]).collect();
    more.sort_by_key(|(name, made)| least[**name].abs_diff(**made));
    for (name, made) in more.into_iter().rev().take(LISTED_MAX) {
        let what = format!("  {name}: more than the least {}", least[*name]);
        sheet::line(&what, Unit::Count, &[*made as f64], Aim::None);
    }
    Ok(())
}
