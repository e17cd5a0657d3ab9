//! Runs: their plans, and which of them are not done.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::Manifest;
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Plan;

use crate::error::VaultError;
use crate::layout;
use crate::store::{self, Once};
use crate::vault::Vault;

/// A run whose objects can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// It is a snapshot; its checkpoints were not all swept.
    Sealed(RunId),
    /// It has no plan, so nobody can go on with it.
    Unplanned(RunId),
}

impl Vault {
    /// Stores the plan of a new run. [`VaultError::Taken`] when the run has another plan already.
    pub async fn create_run(&self, plan: &Plan) -> Result<(), VaultError> {
        let key = layout::plan(&plan.tenant, &plan.run);
        match self.door().put_once(&key, store::document(plan)).await? {
            Once::Mine => Ok(()),
            Once::Theirs(_) => Err(VaultError::Taken { key: key.to_string() }),
        }
    }

    /// The plan of a run.
    pub async fn plan(&self, tenant: &Tenant, run: &RunId) -> Result<Option<Plan>, VaultError> {
        let key = layout::plan(tenant, run);
        let Some(bytes) = self.door().find(&key).await? else { return Ok(None) };
        let plan: Plan = store::parse(&key, &bytes)?;
        if plan.tenant != *tenant || plan.run != *run {
            return Err(VaultError::corrupt(&key, "it holds the plan of another run"));
        }
        Ok(Some(plan))
    }

    /// The runs that have a plan and no snapshot, sorted.
    pub async fn unfinished_runs(&self, tenant: &Tenant) -> Result<Vec<RunId>, VaultError> {
        let sealed: BTreeSet<RunId> = self.snapshots(tenant).await?.into_iter().collect();
        let planned = self.planned_runs(tenant).await?;
        Ok(planned
            .into_iter()
            .filter(|(run, planned)| *planned && !sealed.contains(run))
            .map(|(run, _)| run)
            .collect())
    }

    /// The runs that nobody needs the objects of any more, sorted: what a crash left of a sweep.
    pub async fn leftover_runs(&self, tenant: &Tenant) -> Result<Vec<Leftover>, VaultError> {
        // Runs before snapshots: a run that is sealed in between is then a leftover, and never
        // is one taken for unplanned that is only being swept.
        let planned = self.planned_runs(tenant).await?;
        let sealed: BTreeSet<RunId> = self.snapshots(tenant).await?.into_iter().collect();
        let leftover =
            planned.into_iter().filter_map(|(run, planned)| match (sealed.contains(&run), planned) {
                (true, _) => Some(Leftover::Sealed(run)),
                (false, false) => Some(Leftover::Unplanned(run)),
                (false, true) => None,
            });
        Ok(leftover.collect())
    }

    /// Deletes a run: the plan first, so that what is left of it when it breaks off is no run to go on with.
    pub async fn delete_run(&self, tenant: &Tenant, run: &RunId) -> Result<(), VaultError> {
        let plan = layout::plan(tenant, run);
        let found = self.door().list(&layout::run(tenant, run)).await?;
        self.door().delete(vec![plan.clone()]).await?;
        let checkpoints = found.into_iter().map(|found| found.location).filter(|key| *key != plan);
        self.door().delete(checkpoints.collect()).await
    }

    /// Deletes what a sealed run no longer needs; refuses while its manifest is not in the store.
    pub async fn sweep_run(&self, manifest: &Manifest) -> Result<(), VaultError> {
        let (tenant, run) = (&manifest.tenant, &manifest.run);
        let key = layout::snapshot(tenant, run);
        if self.door().exists(&key).await? {
            self.delete_run(tenant, run).await
        } else {
            Err(VaultError::Missing { key: key.to_string() })
        }
    }

    /// The runs that have objects, and whether a plan is among them.
    ///
    /// One listing of all of them: what is sealed is swept, so this is one run's checkpoints at most.
    pub(crate) async fn planned_runs(&self, tenant: &Tenant) -> Result<BTreeMap<RunId, bool>, VaultError> {
        let folder = layout::runs(tenant);
        let mut runs = BTreeMap::new();
        for found in self.door().list(&folder).await? {
            let Some(mut parts) = found.location.prefix_match(&folder) else { continue };
            let Some(Ok(run)) = parts.next().map(|part| part.as_ref().parse::<RunId>()) else { continue };
            let planned = found.location == layout::plan(tenant, &run);
            *runs.entry(run).or_default() |= planned;
        }
        Ok(runs)
    }
}
