//! One tenant's first backup and its nights, for a small, a middle and a large site, by a worker.

use anyhow::{Result, ensure};
use fermata_core::names::Tenant;
use fermata_vault::fake::{Fake, Manners};

use super::{MIB, Spent, line, store_lines};
use crate::child;
use crate::fleet::stage::{Fleet, Process};
use crate::sheet::{self, Unit};
use crate::site::{Site, TENANT};

const SIZES: [usize; 3] = [1_000, 20_000, 200_000];
const NIGHTS: usize = 3;
/// Of so many worklogs one is added, one edited and one deleted in a day; ten of each at least.
const CHANGED_ONE_IN: usize = 1_000;
const CHANGED_MIN: usize = 10;
/// So that pace is no part of it.
const RATE: f64 = 1_000.0;
const DAY_MS: usize = 86_400_000;

/// A run of a tenant.
struct Run {
    requests: f64,
    spent: Spent,
}

pub(super) async fn measure() -> Result<()> {
    for worklogs in SIZES {
        let changed = (worklogs / CHANGED_ONE_IN).max(CHANGED_MIN);
        sheet::part(&format!(
            "tenant: {worklogs} worklogs; in a day {changed} added, edited and deleted each"
        ));
        let site = Site::start(worklogs, &["--rate", "0"])?;
        let bucket = Fake::start(Manners::Exact).await?;
        let fleet = Fleet::in_bucket(&bucket).await?;
        let tenant = fleet.add(TENANT, &site, 1, RATE).await?;
        let worker = fleet.worker(&[], "worker.log")?;
        let first = run(&fleet, &tenant, &site, &bucket, &worker).await?;
        report("first", &[first]);
        line("first: peak memory of the worker", Unit::Mib, &[child::peak_so_far(worker.pid())]);
        let mut nights = Vec::new();
        for night in 1..=NIGHTS {
            site.set_quirks(&format!("{{\"clock_offset_ms\":{}}}", night * DAY_MS)).await?;
            for op in ["insert", "update", "delete"] {
                let ops = format!(r#"{{"tenant":"{TENANT}","ops":[{{"op":"{op}","count":{changed}}}]}}"#);
                site.mutate(&ops).await?;
            }
            nights.push(run(&fleet, &tenant, &site, &bucket, &worker).await?);
        }
        report("night", &nights);
        let snapshots = fleet.vault.snapshots(&tenant).await?.len();
        ensure!(snapshots == NIGHTS + 1, "{snapshots} snapshots");
    }
    Ok(())
}

/// Enqueues the tenant, as a scheduler does, and waits for the snapshot.
async fn run(fleet: &Fleet, tenant: &Tenant, site: &Site, bucket: &Fake, worker: &Process) -> Result<Run> {
    site.forget_requests().await?;
    let before = Spent::so_far(worker, bucket)?;
    fleet.enqueue(tenant, &[]).await?;
    fleet.wait_until_idle().await?;
    let spent = Spent::so_far(worker, bucket)?.since(before);
    Ok(Run { requests: site.requests().await?.0 as f64, spent })
}

fn report(what: &str, runs: &[Run]) {
    let each = |value: &dyn Fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    line(&format!("{what}: requests to Tempo"), Unit::Count, &each(&|run| run.requests));
    store_lines(what, &each_spent(runs), 1.0);
    line(&format!("{what}: stored"), Unit::Mib, &each(&|run| run.spent.stored / MIB));
    line(&format!("{what}: CPU of the worker"), Unit::Seconds, &each(&|run| run.spent.cpu));
    let per_thousand = each(&|run| run.spent.cpu / run.requests * 1_000.0);
    line(&format!("{what}: CPU of the worker per 1,000 requests"), Unit::Seconds, &per_thousand);
}

fn each_spent(runs: &[Run]) -> Vec<Spent> {
    runs.iter().map(|run| run.spent).collect()
}
