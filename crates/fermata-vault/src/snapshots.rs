//! Manifests: the documents that make runs snapshots.

use fermata_core::manifest::Manifest;
use fermata_core::names::{RunId, Tenant};

use crate::error::VaultError;
use crate::layout;
use crate::store::{self, Once};
use crate::vault::Vault;

/// Whose manifest a run was sealed with.
#[derive(Clone, Debug, PartialEq)]
pub enum Sealed {
    /// The one given.
    Mine,
    /// Another worker's; its chunks are the snapshot.
    Theirs(Box<Manifest>),
}

impl Vault {
    /// Seals a run. The manifest's nonce must be fresh ([`nonce`](crate::nonce)): it tells this writer's from another's.
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<Sealed, VaultError> {
        let key = layout::snapshot(&manifest.tenant, &manifest.run);
        match self.door().put_once(&key, store::document(manifest)).await? {
            Once::Mine => Ok(Sealed::Mine),
            Once::Theirs(bytes) => Ok(Sealed::Theirs(Box::new(store::parse(&key, &bytes)?))),
        }
    }

    /// The manifest of a snapshot.
    pub async fn manifest(&self, tenant: &Tenant, run: &RunId) -> Result<Option<Manifest>, VaultError> {
        let key = layout::snapshot(tenant, run);
        let Some(bytes) = self.door().find(&key).await? else { return Ok(None) };
        let manifest: Manifest = store::parse(&key, &bytes)?;
        if manifest.tenant != *tenant || manifest.run != *run {
            return Err(VaultError::corrupt(&key, "it holds the manifest of another snapshot"));
        }
        Ok(Some(manifest))
    }

    /// Every snapshot of a tenant, oldest first.
    pub async fn snapshots(&self, tenant: &Tenant) -> Result<Vec<RunId>, VaultError> {
        let found = self.door().list(&layout::snapshots(tenant)).await?;
        Ok(found.iter().filter_map(|found| layout::snapshot_run(&found.location)).collect())
    }

    /// The manifest of the newest snapshot.
    pub async fn latest(&self, tenant: &Tenant) -> Result<Option<Manifest>, VaultError> {
        match self.snapshots(tenant).await?.pop() {
            Some(run) => self.manifest(tenant, &run).await,
            None => Ok(None),
        }
    }
}
