//! A night on a large site where little changed, beside a sweep of the same site.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::child::{self, Used};
use crate::sheet::{self, Aim, Unit};
use crate::site::{Site, TENANT, Vault};

const WORKLOGS: usize = 1_000_000;
/// Of those added, edited and deleted in a day: one in a thousand in all.
const ADDED: u64 = 200;
const EDITED: u64 = 700;
const DELETED: u64 = 100;
const NIGHTS: usize = 3;
/// So that pace is no part of it.
const RATE: u32 = 1_000;
const DAY_MS: u64 = 86_400_000;
const TIMES_FEWER_MIN: f64 = 50.0;
const MIB: f64 = 1_048_576.0;

/// What a backup of the worklogs and their Jira ids cost.
struct Cost {
    used: Used,
    requests: f64,
    stored: f64,
}

/// Measures a first backup, then nights, each followed by a sweep.
pub(crate) async fn measure() -> Result<()> {
    sheet::part(&format!("night: {WORKLOGS} worklogs, of which {} changed", ADDED + EDITED + DELETED));
    let site = Site::start(WORKLOGS, &["--rate", "0"])?;
    let vault = site.vault(RATE)?;
    let first = backup(&vault, &[]).await?;
    ensure!(mode(&first)? == "sweep", "the first backup reads everything");
    let (mut nights, mut sweeps) = (Vec::new(), Vec::new());
    for night in 1..=NIGHTS {
        site.set_quirks(&format!("{{\"clock_offset_ms\":{}}}", night as u64 * DAY_MS)).await?;
        for (op, count) in [("insert", ADDED), ("update", EDITED), ("delete", DELETED)] {
            site.mutate(&format!(r#"{{"tenant":"{TENANT}","ops":[{{"op":"{op}","count":{count}}}]}}"#))
                .await?;
        }
        let delta = backup(&vault, &[]).await?;
        ensure!(mode(&delta)? == "delta", "a night reads what changed");
        nights.push(delta);
        sweeps.push(backup(&vault, &["--full"]).await?);
    }
    let line = |what: &str, unit, of: &[Cost], value: &dyn Fn(&Cost) -> f64| {
        sheet::line(what, unit, &of.iter().map(value).collect::<Vec<_>>(), Aim::None);
    };
    let first = [first];
    for (name, of) in [("first", &first[..]), ("night", &nights), ("sweep", &sweeps)] {
        line(&format!("{name}: requests"), Unit::Count, of, &|cost| cost.requests);
        line(&format!("{name}: stored"), Unit::Mib, of, &|cost| cost.stored / MIB);
        line(&format!("{name}: wall"), Unit::Seconds, of, &|cost| cost.used.wall);
        line(&format!("{name}: CPU"), Unit::Seconds, of, &|cost| cost.used.cpu);
        line(&format!("{name}: peak memory"), Unit::Mib, of, &|cost| cost.used.peak);
    }
    let times = |of: &dyn Fn(&Cost) -> f64| -> Vec<f64> {
        nights.iter().map(|night| of(&first[0]) / of(night)).collect()
    };
    let aim = Aim::AtLeast(TIMES_FEWER_MIN);
    sheet::line(
        "fewer requests at night than for all, times",
        Unit::Number,
        &times(&|cost| cost.requests),
        aim,
    );
    sheet::line("fewer bytes at night than for all, times", Unit::Number, &times(&|cost| cost.stored), aim);
    Ok(())
}

async fn backup(vault: &Vault, more: &[&str]) -> Result<Cost> {
    let entities = ["--entity", "worklogs", "--entity", "jira-worklog-ids"];
    let args = [&["--json", "backup", TENANT], &entities[..], more].concat();
    let used = child::run(&mut vault.command(&args)).await?;
    let report: Value = serde_json::from_str(&used.said)?;
    let requests = report["tenants"][0]["requests"].as_f64().context("a report counts requests")?;
    let list = child::run(&mut vault.command(&["--json", "snapshots", "list", TENANT])).await?;
    let list: Value = serde_json::from_str(&list.said)?;
    let name = &report["tenants"][0]["snapshot"];
    let snapshots = list["snapshots"].as_array().context("a list has snapshots")?;
    let made = snapshots.iter().find(|snapshot| snapshot["snapshot"] == *name).context("it is listed")?;
    let chunks = made["bytes_new"].as_f64().context("a snapshot says what it stored")?;
    let manifest =
        format!("fermata-data/tenants/{TENANT}/snapshots/{}.json", name.as_str().unwrap_or_default());
    let manifest = std::fs::metadata(vault.folder().join(manifest))?.len();
    Ok(Cost { used, requests, stored: chunks + manifest as f64 })
}

/// How the worklogs were read.
fn mode(cost: &Cost) -> Result<String> {
    let report: Value = serde_json::from_str(&cost.used.said)?;
    let entities = report["tenants"][0]["entities"].as_array().context("a report has entities")?;
    let worklogs =
        entities.iter().find(|entity| entity["entity"] == "worklogs").context("worklogs were read")?;
    Ok(worklogs["mode"].as_str().unwrap_or_default().to_owned())
}
