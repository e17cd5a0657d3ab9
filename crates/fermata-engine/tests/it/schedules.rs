//! Random schedules: several processes on one store and tenant, with pauses, lost answers, failures of
//! the store and of Tempo, and deaths; then one healthy process finishes.

use fermata_core::manifest::{EntryStatus, Manifest};
use fermata_engine::BackupError;
use fermata_vault::fault::{Fault as StoreFault, When};
use object_store::ObjectStoreExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempo_sim::{Fault, FaultKind, Quirks, Sim};

use crate::seed::{check, seeds};
use crate::site::{Records, Site};

/// Schedules of each test, each of two or three processes.
const SCHEDULES: u64 = 60;
/// Times a process is begun again after it failed or died.
const LIVES: u32 = 4;
/// Shares of store operations that fail before and after their effect.
const REFUSED: f64 = 0.01;
const LOST: f64 = 0.02;
const ENTITIES: &[&str] = &["roles", "team-links", "jira-worklog-ids"];

/// One process's lives: begun again as an operator or a cluster would, with a store that fails at random.
async fn live(site: &Site, seed: u64) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..random.random_range(1..=LIVES) {
        let (store, engine) = site.other_process().await;
        store.chaos(random.random(), REFUSED, LOST);
        if random.random_bool(0.6) {
            let when = if random.random() { When::Before } else { When::After };
            store.fail(random.random_range(0..60), StoreFault::death(when));
        }
        for _ in 0..random.random_range(0..100) {
            tokio::task::yield_now().await;
        }
        match site.backup_by(&engine).await {
            // Or another was faster.
            Ok(_) | Err(BackupError::Elsewhere { .. }) => return Ok(()),
            Err(BackupError::Vault(_)) => {}
            Err(error) => return Err(format!("{error}")),
        }
    }
    Ok(())
}

/// What Tempo does wrong meanwhile: each fault comes to less than a job's attempts.
fn faults(sim: &Sim, random: &mut StdRng) {
    for _ in 0..random.random_range(0..6) {
        let kind = match random.random_range(0..6) {
            0 => FaultKind::Reset,
            1 => FaultKind::AfterEffect,
            2 => FaultKind::Cut,
            3 => FaultKind::Html200,
            4 => FaultKind::NotUtf8,
            _ => FaultKind::Status { code: 503, body: None, content_type: None, retry_after: None },
        };
        sim.fault(Fault::new(kind).nth(random.random_range(1..30)).times(random.random_range(1..4)));
    }
}

async fn judge(site: &Site, expect: &Records, manifest: &Manifest) -> Result<(), String> {
    for entry in &manifest.entities {
        if entry.status.is_gap() {
            return Err(format!("{}: {:?}", entry.entity, entry.reason));
        }
        let odd = entry.warnings.iter().any(|warning| !warning.contains("checkpoint"));
        if odd && entry.status == EntryStatus::Complete {
            return Err(format!("{}: {:?}", entry.entity, entry.warnings));
        }
    }
    if site.whole(manifest).await? == *expect {
        Ok(())
    } else {
        Err("not the records of the site".to_owned())
    }
}

async fn schedule(site: &Site, expect: &Records, seed: u64) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    for key in
        site.objects().await.into_keys().filter(|key| key.contains("/runs/") || key.contains("/snapshots/"))
    {
        site.store.inner().delete(&key.into()).await.unwrap();
    }
    site.sim.clear_faults();
    faults(&site.sim, &mut random);
    let [one, two, three] = [random.random(), random.random(), random.random()];
    if random.random() {
        let ended = tokio::join!(live(site, one), live(site, two), live(site, three));
        ended.0.and(ended.1).and(ended.2)?;
    } else {
        let ended = tokio::join!(live(site, one), live(site, two));
        ended.0.and(ended.1)?;
    }
    site.sim.clear_faults();
    let (_, healthy) = site.other_process().await;
    site.backup_by(&healthy).await.map_err(|error| format!("the healthy process: {error}"))?;
    let manifests = site.manifests().await;
    if manifests.is_empty() {
        return Err("no snapshot".to_owned());
    }
    for manifest in &manifests {
        judge(site, expect, manifest).await?;
    }
    let unfinished = site.healthy().await.unfinished_runs(&site.tenant).await.unwrap();
    if unfinished.len() > 2 {
        return Err(format!("{unfinished:?} are left"));
    }
    Ok(())
}

async fn schedules(part: u64) {
    let quirks = Quirks { limit_max: Some(20), ..Quirks::default() };
    let site = Site::start(Sim::builder().seed(3).worklogs(45).quirks(quirks)).await.only(ENTITIES);
    site.backup().await.unwrap();
    let expect = site.records(&site.latest().await).await;
    for seed in seeds(part * SCHEDULES..(part + 1) * SCHEDULES) {
        check(seed, Box::pin(schedule(&site, &expect, seed)).await);
    }
}

#[tokio::test]
async fn whatever_happens_a_healthy_process_makes_a_whole_snapshot_1() {
    Box::pin(schedules(0)).await;
}

#[tokio::test]
async fn whatever_happens_a_healthy_process_makes_a_whole_snapshot_2() {
    Box::pin(schedules(1)).await;
}

#[tokio::test]
async fn whatever_happens_a_healthy_process_makes_a_whole_snapshot_3() {
    Box::pin(schedules(2)).await;
}

#[tokio::test]
async fn whatever_happens_a_healthy_process_makes_a_whole_snapshot_4() {
    Box::pin(schedules(3)).await;
}
