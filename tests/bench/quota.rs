//! How much of Tempo's quota a backup uses, and whether it ever asks for more.

use anyhow::{Result, ensure};
use futures::future::try_join_all;

use crate::child;
use crate::sheet::{self, Aim, Unit};
use crate::site::{Site, TENANT};

/// Tempo's quota, in requests a second.
const RATE: u32 = 5;
/// A site that takes more than a minute of requests.
const WORKLOGS: usize = 100_000;
const REQUESTS_MIN: u64 = 60 * RATE as u64;
const SHARE_MIN: f64 = 0.99;

/// A server's ways, in the simulator's arguments.
const SERVERS: [(&str, &[&str]); 4] = [
    ("a second's burst", &[]),
    ("no burst", &["--burst", "1"]),
    ("answers after 300 ms", &["--latency-ms", "300"]),
    ("no burst, after 300 ms", &["--burst", "1", "--latency-ms", "300"]),
];

/// Measures all at the same time, since they mostly wait.
pub(crate) async fn measure() -> Result<()> {
    sheet::part(&format!("quota: a whole site at {RATE} requests a second"));
    let runs = try_join_all(SERVERS.map(|(_, args)| backup(args))).await?;
    for ((name, _), (share, refused)) in SERVERS.into_iter().zip(runs) {
        sheet::line(&format!("{name}: share of the quota"), Unit::Share, &[share], Aim::AtLeast(SHARE_MIN));
        sheet::line(&format!("{name}: answers of 429"), Unit::Count, &[refused as f64], Aim::AtMost(0.0));
    }
    Ok(())
}

/// The share of the quota that a backup used from its start to its end, and the 429s it got.
async fn backup(sim: &[&str]) -> Result<(f64, u64)> {
    let rate = RATE.to_string();
    let site = Site::start(WORKLOGS, &[&["--rate", &rate], sim].concat())?;
    let vault = site.vault(RATE)?;
    let used = child::run(&mut vault.command(&["backup", TENANT])).await?;
    let (asked, refused) = site.requests().await?;
    ensure!(asked >= REQUESTS_MIN, "{asked} requests are less than a minute");
    // The first is not waited for.
    let accepted = (asked - refused - 1) as f64;
    Ok((accepted / (f64::from(RATE) * used.wall), refused))
}
