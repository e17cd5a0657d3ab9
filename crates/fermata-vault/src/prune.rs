//! Snapshots that a policy does not keep are deleted, and then the chunks that no other one names.
//!
//! No lock keeps a backup away: the order alone makes it safe, whatever runs beside it and wherever it breaks off.
//!
//! 1. **List the chunks.** Only these may be deleted.
//! 2. **Read the manifests and delete the doomed ones.** One that cannot be read ends it here: nobody knows what it names.
//! 3. **Read the manifests that are left.** Of the chunks listed those are garbage that none of them names.
//! 4. **Look for runs that were not among them,** unfinished or sealed since. If there is one no chunk is deleted this time;
//!    else the garbage is.
//!
//! Could a run come to name a chunk of the garbage? Take the first that does. Its manifest was not there in step 3. Had its
//! plan been stored before step 4, that step would have found the run: by its plan, or by its manifest. So it was planned
//! after. The chunk it has not put itself: it was there in step 1, and [no run puts what another has put](crate::OpenChunk). So
//! [`Vault::known`] told it, which is asked after the plan is stored, and which reads manifests. The one that named the chunk
//! was there after step 4. It was not there in step 3, or the chunk would be no garbage; so it was sealed in between, and our
//! run is not the first.
//!
//! Nothing here minds a second prune, since a manifest that goes does not come back. Two things are asked of others:
//! that a run loads what it knows, and reads the snapshot it builds on, after its plan was stored; and that nobody seals a
//! run whose plan is gone.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::Manifest;
use fermata_core::names::{RunId, Tenant};
use fermata_core::retention::{Judgement, Policy, Snapshot, judge};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::tz::TimeZone;
use object_store::path::Path;

use crate::error::VaultError;
use crate::layout;
use crate::runs::Leftover;
use crate::vault::Vault;

/// Manifests that are read at once.
const GETS_CONCURRENT: usize = 16;
/// Settings documents that stay: the newest, and the one before for whoever is just reading it.
const SETTINGS_KEPT: usize = 2;

/// What a prune would do, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruning {
    /// Every snapshot, oldest first: why it stays, or that it goes.
    pub snapshots: Vec<Judgement>,
    /// Chunks that go.
    pub chunks: u64,
    /// Bytes stored that come free.
    pub bytes: u64,
    /// Superseded settings that go.
    pub settings: u64,
    /// Objects that the store did not let go of: they are locked, or deleting is not permitted.
    pub refused: u64,
    /// Runs that are under way, for which chunks have to wait until another time.
    pub waits_for: Vec<RunId>,
}

impl Vault {
    /// Deletes a tenant's snapshots that the policy does not keep, and what then belongs to none; without `act` it only
    /// says what would go. Needs no key.
    ///
    /// After an error some of it may be done; the rest goes the next time.
    pub async fn prune(
        &self,
        tenant: &Tenant,
        policy: &Policy,
        zone: &TimeZone,
        act: bool,
    ) -> Result<Pruning, VaultError> {
        let listed = self.listed_chunks(tenant).await?;
        let manifests = self.all_manifests(tenant).await?;
        let bases = self.bases(tenant).await?;
        let snapshots: Vec<Snapshot> = manifests.values().map(Snapshot::from).collect();
        let judged = judge(policy, &snapshots, &bases, zone);
        let doomed: BTreeSet<RunId> =
            judged.iter().filter(|judged| !judged.stays()).map(|judged| judged.run.clone()).collect();
        let superseded = self.superseded_settings(tenant).await?;
        let mut pruning =
            Pruning { snapshots: judged, settings: superseded.len() as u64, ..Pruning::default() };
        let mut left = manifests;
        if act {
            pruning.refused = self.delete_snapshots(tenant, &doomed).await?;
            pruning.refused += self.door().delete_permitted(superseded).await?;
            left = self.all_manifests(tenant).await?;
        } else {
            left.retain(|run, _| !doomed.contains(run));
        }
        let garbage = unnamed(listed, left.values());
        pruning.waits_for =
            self.runs_besides(tenant, |run| left.contains_key(run) || doomed.contains(run)).await?;
        pruning.chunks = garbage.len() as u64;
        pruning.bytes = garbage.values().sum();
        if act && pruning.waits_for.is_empty() {
            let keys = garbage.keys().map(|name| layout::chunk(tenant, name));
            pruning.refused += self.door().delete_permitted(keys.collect()).await?;
        }
        Ok(pruning)
    }

    /// Deletes manifests, and before them what a crash left of their runs' checkpoints: with a plan and without a
    /// manifest they would pass for unfinished.
    async fn delete_snapshots(&self, tenant: &Tenant, doomed: &BTreeSet<RunId>) -> Result<u64, VaultError> {
        for leftover in self.leftover_runs(tenant).await? {
            if let Leftover::Sealed(run) = leftover {
                self.delete_run(tenant, &run).await?;
            }
        }
        self.door().delete_permitted(doomed.iter().map(|run| layout::snapshot(tenant, run)).collect()).await
    }

    /// Every chunk of a tenant, with its size.
    async fn listed_chunks(&self, tenant: &Tenant) -> Result<BTreeMap<String, u64>, VaultError> {
        let found = self.door().list(&layout::chunks(tenant)).await?;
        let named = found.into_iter().filter_map(|found| {
            let name = found.location.filename()?.to_owned();
            Some((name, found.size))
        });
        Ok(named.collect())
    }

    /// Every manifest of a tenant; one that goes meanwhile is left out.
    async fn all_manifests(&self, tenant: &Tenant) -> Result<BTreeMap<RunId, Manifest>, VaultError> {
        let runs = self.snapshots(tenant).await?;
        let manifests = stream::iter(runs)
            .map(|run| async move {
                let found = self.manifest(tenant, &run).await?;
                Ok::<_, VaultError>(found.map(|manifest| (run, manifest)))
            })
            .buffered(GETS_CONCURRENT);
        manifests.try_filter_map(|found| async move { Ok(found) }).try_collect().await
    }

    /// Runs that have a plan or a manifest and are not the ones known. Plans are listed first: a run whose plan is swept
    /// meanwhile has a manifest.
    async fn runs_besides(
        &self,
        tenant: &Tenant,
        known: impl Fn(&RunId) -> bool,
    ) -> Result<Vec<RunId>, VaultError> {
        let planned = self.planned_runs(tenant).await?;
        let planned = planned.into_iter().filter(|(_, planned)| *planned).map(|(run, _)| run);
        let runs: BTreeSet<RunId> = planned.chain(self.snapshots(tenant).await?).collect();
        Ok(runs.into_iter().filter(|run| !known(run)).collect())
    }

    /// The snapshots that unfinished runs build on.
    async fn bases(&self, tenant: &Tenant) -> Result<BTreeSet<RunId>, VaultError> {
        let mut bases = BTreeSet::new();
        for run in self.unfinished_runs(tenant).await? {
            if let Some(plan) = self.plan(tenant, &run).await? {
                bases.extend(plan.bases().into_iter().cloned());
            }
        }
        Ok(bases)
    }

    async fn superseded_settings(&self, tenant: &Tenant) -> Result<Vec<Path>, VaultError> {
        let mut stored = self.settings_stored(tenant).await?;
        stored.sort_unstable();
        let older = stored.iter().rev().skip(SETTINGS_KEPT);
        Ok(older.map(|seq| layout::settings(tenant, *seq)).collect())
    }
}

/// The chunks that none of the manifests names.
fn unnamed<'a>(
    mut listed: BTreeMap<String, u64>,
    manifests: impl Iterator<Item = &'a Manifest>,
) -> BTreeMap<String, u64> {
    for chunk in manifests.flat_map(Manifest::chunks) {
        listed.remove(&chunk.name);
    }
    listed
}
