//! Which chunks a listing shows.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::{Chunk, Manifest};
use fermata_core::names::Tenant;
use futures::TryStreamExt;

use crate::chunk::{Known, name_parts};
use crate::error::VaultError;
use crate::layout;
use crate::vault::Vault;
use crate::verify::Flaw;

/// Snapshots whose chunks are known: the last whole one is among them, whatever was tried since.
const KNOWN_SNAPSHOTS: usize = 10;

/// Names and sizes of stored chunks, by the id of their records.
#[derive(Debug, Default)]
pub(crate) struct Stored(BTreeMap<String, BTreeMap<String, u64>>);

impl Stored {
    fn with_id(&self, chunk: &Chunk) -> Option<&BTreeMap<String, u64>> {
        name_parts(&chunk.name).and_then(|(id, _)| self.0.get(id))
    }

    /// What a listing shows to be wrong with a chunk.
    pub(crate) fn flaw(&self, chunk: &Chunk) -> Option<Flaw> {
        if name_parts(&chunk.name).is_none() {
            return Some(Flaw::Name);
        }
        match self.with_id(chunk).and_then(|names| names.get(&chunk.name)) {
            None => Some(Flaw::Missing),
            Some(found) if *found != chunk.stored => Some(Flaw::Size { found: *found, named: chunk.stored }),
            Some(_) => None,
        }
    }

    /// Another object with the same records, as another worker or an earlier run stored them.
    pub(crate) fn twin(&self, chunk: &Chunk) -> Option<&str> {
        self.with_id(chunk)?.keys().map(String::as_str).find(|name| *name != chunk.name)
    }
}

impl Vault {
    /// The chunks of a tenant's last snapshots that are in the store as they were, so that the same records
    /// are not stored again. One that got lost or was cut is not among them, and so comes back.
    pub async fn known(&self, tenant: &Tenant) -> Result<Known, VaultError> {
        let stored = self.stored(tenant, |_| true).await?;
        let mut known = Known::default();
        for run in self.snapshots(tenant).await?.iter().rev().take(KNOWN_SNAPSHOTS) {
            // What a damaged one names is stored again.
            let manifest = match self.manifest(tenant, run).await {
                Ok(Some(manifest)) => manifest,
                Ok(None) | Err(VaultError::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            known.extend(manifest.chunks().filter(|chunk| stored.flaw(chunk).is_none()));
        }
        Ok(known)
    }

    /// The names of a snapshot's chunks that are not in the store as they were. It costs a listing.
    pub async fn lost(&self, manifest: &Manifest) -> Result<BTreeSet<String>, VaultError> {
        let stored = self.stored(&manifest.tenant, |_| true).await?;
        let lost = manifest.chunks().filter(|chunk| stored.flaw(chunk).is_some());
        Ok(lost.map(|chunk| chunk.name.clone()).collect())
    }

    /// What the store lists of a tenant's chunks whose id is wanted.
    pub(crate) async fn stored(
        &self,
        tenant: &Tenant,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Stored, VaultError> {
        let folder = layout::chunks(tenant);
        let mut listing = self.door().store.list(Some(&folder));
        let mut stored = Stored::default();
        while let Some(found) = listing.try_next().await.map_err(|error| VaultError::of(&folder, error))? {
            let Some(name) = found.location.filename() else { continue };
            if let Some((id, _)) = name_parts(name).filter(|(id, _)| wanted(id)) {
                stored.0.entry(id.to_owned()).or_default().insert(name.to_owned(), found.size);
            }
        }
        Ok(stored)
    }
}
