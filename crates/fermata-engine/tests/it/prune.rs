//! A prune beside a real backup.

use fermata_core::manifest::Manifest;
use fermata_engine::BackupError;
use fermata_vault::{Pruning, VaultError};
use jiff::tz::TimeZone;
use tempo_sim::{Mutation, Op, Quirks, Sim};
use tokio_util::sync::CancellationToken;

use crate::site::{Place, Site, entry};

/// Lists, a fan-out, and a batch over what they yield.
const ENTITIES: &[&str] = &["roles", "team-links", "jira-worklog-ids"];

/// A site with an old snapshot, a newer one in which roles are others, and roles that are again as in the old one: what
/// a backup reads next is in a snapshot that `last=1` does not keep.
async fn site_that_came_back() -> Site {
    let quirks = Quirks { limit_max: Some(50), ..Quirks::default() };
    let site = Site::start(Sim::builder().seed(3).worklogs(110).quirks(quirks)).await.only(ENTITIES);
    for name in ["one", "two"] {
        rename(&site, name);
        site.backup().await.unwrap();
    }
    rename(&site, "one");
    site
}

fn rename(site: &Site, name: &str) {
    let role = Mutation::new(Op::Update).entity("roles").id(1).set("name", name);
    site.sim.mutate(1, &[role]).unwrap();
}

async fn prune(site: &Place) -> Result<Pruning, VaultError> {
    let vault = site.healthy().await;
    vault.prune(&site.tenant, &"last=1".parse().unwrap(), &TimeZone::UTC, true).await
}

fn roles(manifest: &Manifest) -> Vec<String> {
    entry(manifest, "roles")
        .layers
        .iter()
        .flat_map(|layer| &layer.chunks)
        .map(|chunk| chunk.name.clone())
        .collect()
}

#[tokio::test]
async fn a_prune_at_any_operation_of_a_backup_takes_nothing_from_it() {
    let site = site_that_came_back().await;
    let (store, engine) = site.other_process().await;
    site.backup_by(&engine).await.unwrap();
    let (operations, trace) = (store.operations(), store.trace());
    let all = site.manifests().await;
    assert_eq!(roles(&all[0]), roles(&all[2]), "what is there is not stored again");
    let records = site.records(&all[2]).await;
    assert!(operations > 30, "{operations} operations: too few to show anything");
    let (mut went, mut waited) = (0, 0);
    for (operation, done) in trace.iter().enumerate() {
        let why = format!("a prune before operation {operation} ({done})");
        let site = site_that_came_back().await;
        let (store, engine) = site.other_process().await;
        let halt = store.halt(operation);
        let (backup, pruned) = tokio::join!(site.backup_by(&engine), async {
            halt.reached().await;
            let pruned = prune(&site).await;
            halt.release();
            pruned
        });
        backup.unwrap_or_else(|error| panic!("{why}: {error}"));
        let pruned = pruned.unwrap_or_else(|error| panic!("{why}: {error}"));
        went += if pruned.waits_for.is_empty() { pruned.chunks } else { 0 };
        waited += pruned.waits_for.len();
        for manifest in site.manifests().await {
            let whole = site.whole(&manifest).await.unwrap_or_else(|flaw| panic!("{why}: {flaw}"));
            assert!(manifest.run != site.latest().await.run || whole == records, "{why}: other records");
        }
    }
    assert!(went > 0 && waited > 0, "{went} chunks went, {waited} prunes waited");
}

/// Whoever dropped a run may have pruned since; what the run would name may be gone.
#[tokio::test]
async fn a_run_that_was_dropped_is_not_sealed_by_whoever_still_works_on_it() {
    let site = site_that_came_back().await;
    let (store, engine) = site.other_process().await;
    site.backup_by(&engine).await.unwrap();
    let seal = store
        .trace()
        .iter()
        .rposition(|done| done.starts_with("put") && done.contains("/snapshots/"))
        .unwrap();
    // The plan is looked for in the operation before.
    for operation in 0..seal {
        let site = site_that_came_back().await;
        let before = site.manifests().await.len();
        let (store, engine) = site.other_process().await;
        let halt = store.halt(operation);
        let stop = CancellationToken::new();
        let (backup, dropped) = tokio::join!(engine.backup(&site.tenant, site.wish.clone(), &stop), async {
            halt.reached().await;
            let vault = site.healthy().await;
            let runs = vault.unfinished_runs(&site.tenant).await.unwrap();
            for run in &runs {
                vault.delete_run(&site.tenant, run).await.unwrap();
            }
            halt.release();
            !runs.is_empty()
        });
        if dropped {
            assert!(
                matches!(backup, Err(BackupError::Dropped { .. })),
                "dropped before {operation}: {backup:?}"
            );
            assert_eq!(site.manifests().await.len(), before, "dropped before {operation}");
        }
    }
}
