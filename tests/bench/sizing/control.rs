//! What the scheduler and the dashboard take to look at a thousand and at five thousand tenants, of which nobody is due.

use std::time::Duration;

use anyhow::Result;
use fermata_core::settings::Settings;
use fermata_vault::fake::{Fake, Manners};
use fermata_vault::{Sealed, Vault};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::time::sleep;

use super::{Spent, line, store_lines};
use crate::child;
use crate::dashboard::crowd;
use crate::fleet::stage::{Fleet, Process};
use crate::sheet::{self, Unit};

const TENANTS: [usize; 2] = [1_000, 5_000];
/// Objects that are written at once.
const AT_ONCE: usize = 16;
/// A bucket that is not asked for so long has been looked at: far less than lies between two looks.
const QUIET: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn measure() -> Result<()> {
    for tenants in TENANTS {
        let bucket = Fake::start(Manners::Exact).await?;
        let fleet = Fleet::in_bucket(&bucket).await?;
        let now = Timestamp::now();
        settle(&fleet.vault, tenants, now).await?;

        sheet::part(&format!("control: {tenants} tenants, a scheduler"));
        let args = ["scheduler", "--listen", "127.0.0.1:0", "--sweep", "20"];
        let scheduler = Process::start(&mut fleet.fermata(&args), &fleet.folder().join("scheduler.log"))?;
        looks(&scheduler, &bucket, tenants).await?;
        drop(scheduler);

        let failed = crowd::fail(&fleet.queue, tenants, now).await?;
        sheet::part(&format!("control: {tenants} tenants and {failed} failed jobs, a dashboard"));
        let args = ["dashboard", "--listen", "127.0.0.1:0", "--probes", "127.0.0.1:0", "--refresh", "10"];
        let dashboard = Process::start(&mut fleet.fermata(&args), &fleet.folder().join("dashboard.log"))?;
        looks(&dashboard, &bucket, tenants).await?;
    }
    Ok(())
}

/// Settings and a snapshot of each tenant, without a schedule.
async fn settle(vault: &Vault, tenants: usize, now: Timestamp) -> Result<()> {
    let write = |number| async move {
        vault.save_settings(Settings::new(crowd::tenant(number)?, now), now).await?;
        let Sealed::Mine = vault.write_manifest(&crowd::manifest(number, 0, now)?).await? else {
            anyhow::bail!("there is a snapshot already");
        };
        Ok(())
    };
    stream::iter((0..tenants).map(write)).buffer_unordered(AT_ONCE).try_collect().await
}

/// A process's first look at all tenants and the next one.
async fn looks(process: &Process, bucket: &Fake, tenants: usize) -> Result<()> {
    let thousands = tenants as f64 / 1_000.0;
    let began = Spent { cpu: 0.0, ..Spent::so_far(process, bucket)? };
    let first = next(process, bucket).await?;
    let second = next(process, bucket).await?;
    for (name, spent) in [("first look", first.since(began)), ("next look", second.since(first))] {
        line(&format!("{name}: CPU"), Unit::Seconds, &[spent.cpu]);
        store_lines(&format!("{name}, per 1,000 tenants"), &[spent], thousands);
    }
    line("peak memory", Unit::Mib, &[child::peak_so_far(process.pid())]);
    Ok(())
}

/// Waits until the bucket is asked and then left alone.
async fn next(process: &Process, bucket: &Fake) -> Result<Spent> {
    let begun = Spent::so_far(process, bucket)?;
    let (mut last, mut quiet) = (begun, Duration::ZERO);
    while last.store == begun.store || quiet < QUIET {
        sleep(LOOK).await;
        let spent = Spent::so_far(process, bucket)?;
        quiet = if spent.store == last.store { quiet + LOOK } else { Duration::ZERO };
        last = spent;
    }
    Ok(last)
}
