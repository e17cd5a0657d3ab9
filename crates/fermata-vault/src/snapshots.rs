//! Manifests: the documents that make runs snapshots.

use fermata_core::manifest::{Manifest, Previous};
use fermata_core::names::{RunId, Tenant};
use object_store::path::Path;

use crate::error::VaultError;
use crate::layout;
use crate::seal;
use crate::store::{self, Once};
use crate::vault::Vault;

const UNSIGNED: &str = "its signature does not fit: it was changed, or another vault's keys wrote it";

/// Whose manifest a run was sealed with.
#[derive(Clone, Debug, PartialEq)]
pub enum Sealed {
    /// The one given.
    Mine,
    /// Another worker's; its chunks are the snapshot.
    Theirs(Box<Manifest>),
}

impl Vault {
    /// Seals a run and signs it, which needs the workers' key. The manifest's nonce must be fresh ([`nonce`](crate::nonce)): it tells this writer's from another's.
    pub async fn write_manifest(&self, manifest: &Manifest) -> Result<Sealed, VaultError> {
        let key = layout::snapshot(&manifest.tenant, &manifest.run);
        match self.door().put_once(&key, self.sign(&store::document(manifest))?).await? {
            Once::Mine => Ok(Sealed::Mine),
            Once::Theirs(bytes) => Ok(Sealed::Theirs(Box::new(self.signed(&key, &bytes)?))),
        }
    }

    /// What a manifest that is about to be written says of the snapshot before it.
    pub async fn previous(&self, tenant: &Tenant) -> Result<Option<Previous>, VaultError> {
        for run in self.snapshots(tenant).await?.into_iter().rev() {
            // One that goes meanwhile is pruned.
            if let Some(bytes) = self.door().find(&layout::snapshot(tenant, &run)).await? {
                return Ok(Some(Previous { run, sha256: seal::hex(&seal::sha256(&bytes)) }));
            }
        }
        Ok(None)
    }

    /// The manifest of a snapshot, as it was signed.
    pub async fn manifest(&self, tenant: &Tenant, run: &RunId) -> Result<Option<Manifest>, VaultError> {
        let key = layout::snapshot(tenant, run);
        let Some(bytes) = self.door().find(&key).await? else { return Ok(None) };
        let manifest = self.signed(&key, &bytes)?;
        if manifest.tenant != *tenant || manifest.run != *run {
            return Err(VaultError::corrupt(&key, "it holds the manifest of another snapshot"));
        }
        Ok(Some(manifest))
    }

    fn signed(&self, key: &Path, bytes: &[u8]) -> Result<Manifest, VaultError> {
        let manifest = store::parse(key, bytes)?;
        if self.is_signed(bytes) { Ok(manifest) } else { Err(VaultError::corrupt(key, UNSIGNED)) }
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
