//! Records per second of the client's processor, from Tempo's answer to a stored chunk, beside a plain
//! download of the same pages.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::child::{self, Used};
use crate::download;
use crate::sheet::{self, Aim, Unit};
use crate::site::{Site, TENANT};

const WORKLOGS: usize = 200_000;
const RUNS: usize = 3;
/// So that pace is no part of it.
const RATE: u32 = 1_000;
/// With 5 requests a second and 5,000 rows on a page, a quarter of a core keeps up with one tenant.
const RECORDS_PER_CPU_SECOND_MIN: f64 = 100_000.0;
const SHARE_OF_DOWNLOAD_MIN: f64 = 0.6;
const MIB: f64 = 1_048_576.0;

/// Measures with gzip and without.
pub(crate) async fn measure() -> Result<()> {
    compare("gzip", &[]).await?;
    compare("no gzip", &["--no-gzip"]).await
}

async fn compare(name: &str, sim: &[&str]) -> Result<()> {
    sheet::part(&format!("speed: {WORKLOGS} worklogs, {name}"));
    let site = Site::start(WORKLOGS, &[&["--rate", "0"], sim].concat())?;
    let (mut backups, mut downloads) = (Vec::new(), Vec::new());
    let mut bytes = 0.0;
    for _ in 0..RUNS {
        let vault = site.vault(RATE)?;
        let backup =
            child::run(&mut vault.command(&["--json", "backup", TENANT, "--entity", "worklogs"])).await?;
        bytes = stored_bytes(&backup)?;
        backups.push(backup);
        downloads.push(child::run(&mut download::command(&site, WORKLOGS)?).await?);
    }
    let cpu = |used: &Used| used.cpu;
    let wall = |used: &Used| used.wall;
    let records = |used: &Used| WORKLOGS as f64 / used.cpu;
    let line = |what, unit, of: &[Used], value: &dyn Fn(&Used) -> f64, aim| {
        sheet::line(what, unit, &of.iter().map(value).collect::<Vec<_>>(), aim);
    };
    let at_least = Aim::AtLeast(RECORDS_PER_CPU_SECOND_MIN);
    line("backup: records per CPU-second", Unit::Count, &backups, &records, at_least);
    line("backup: MiB per CPU-second", Unit::Count, &backups, &|used| bytes / MIB / used.cpu, Aim::None);
    line("backup: CPU", Unit::Seconds, &backups, &cpu, Aim::None);
    line("backup: wall", Unit::Seconds, &backups, &wall, Aim::None);
    line("plain download: records per CPU-second", Unit::Count, &downloads, &records, Aim::None);
    line("plain download: CPU", Unit::Seconds, &downloads, &cpu, Aim::None);
    line("plain download: wall", Unit::Seconds, &downloads, &wall, Aim::None);
    let share = |of: &dyn Fn(&Used) -> f64| -> Vec<f64> {
        downloads.iter().zip(&backups).map(|(download, backup)| of(download) / of(backup)).collect()
    };
    sheet::line(
        "backup's speed of the download's, by CPU",
        Unit::Share,
        &share(&cpu),
        Aim::AtLeast(SHARE_OF_DOWNLOAD_MIN),
    );
    sheet::line("backup's speed of the download's, by wall", Unit::Share, &share(&wall), Aim::None);
    Ok(())
}

fn stored_bytes(backup: &Used) -> Result<f64> {
    let report: Value = serde_json::from_str(&backup.said)?;
    let entities = report["tenants"][0]["entities"].as_array().context("a report has entities")?;
    Ok(entities.iter().filter_map(|entity| entity["bytes"].as_f64()).sum())
}
