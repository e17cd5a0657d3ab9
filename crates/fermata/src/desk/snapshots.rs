//! Snapshots: which there are, and what each holds.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::{Entry, EntryStatus, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Mode;
use fermata_core::settings::Settings;
use fermata_vault::{Report, Vault, VaultError};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use crate::exit::Usage;
use crate::out::several;

/// Manifests that are fetched at once.
const GETS_CONCURRENT: usize = 16;

/// The snapshots of a tenant, oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    schema: u32,
    pub(crate) snapshots: Vec<Row>,
}

/// A snapshot in a list.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) snapshot: RunId,
    pub(crate) tenant: Tenant,
    pub(crate) status: Status,
    pub(crate) started: Timestamp,
    pub(crate) sealed: Timestamp,
    pub(crate) records: u64,
    pub(crate) bytes_stored: u64,
    /// Of these, what the snapshot before did not have.
    pub(crate) bytes_new: u64,
    pub(crate) entities: usize,
}

/// What a verification found.
#[derive(Debug, Serialize)]
pub(crate) struct Verified<'a> {
    schema: u32,
    #[serde(flatten)]
    report: &'a Report,
}

/// A suspect snapshot that was accepted, and the entities that are taken to be right.
#[derive(Debug, Serialize)]
pub(crate) struct Acceptance {
    schema: u32,
    pub(crate) tenant: Tenant,
    pub(crate) snapshot: RunId,
    pub(crate) accepted: Vec<String>,
}

/// The manifest of a tenant's snapshot: `latest`, `previous`, or one by its name.
pub(crate) async fn named(vault: &Vault, tenant: &Tenant, name: &str) -> anyhow::Result<Manifest> {
    let run = run_named(vault, tenant, name).await?;
    let found = vault.manifest(tenant, &run).await;
    let found = found.map_err(|error| match error {
        VaultError::Corrupt { .. } => anyhow::Error::from(error).context(format!(
            "`fermata snapshots verify {tenant} --snapshot {run}` says what can still be had"
        )),
        error => error.into(),
    })?;
    match found {
        Some(manifest) => Ok(manifest),
        None => Err(none(vault, tenant, name).await?.into()),
    }
}

/// The snapshot that was named, as far as a listing shows it.
pub(crate) async fn run_named(vault: &Vault, tenant: &Tenant, name: &str) -> anyhow::Result<RunId> {
    let run = match name {
        "latest" => vault.snapshots(tenant).await?.pop(),
        "previous" => vault.snapshots(tenant).await?.into_iter().nth_back(1),
        named => Some(named.parse()?),
    };
    match run {
        Some(run) => Ok(run),
        None => Err(none(vault, tenant, name).await?.into()),
    }
}

/// Says that there is no such snapshot.
pub(crate) async fn none(vault: &Vault, tenant: &Tenant, name: &str) -> anyhow::Result<Usage> {
    let tenants = vault.tenants().await?;
    Ok(Usage(match name {
        _ if !tenants.contains(tenant) => {
            return Ok(no_tenant(tenant));
        }
        "latest" => format!("{tenant} has no snapshot yet; `fermata backup {tenant}` makes one"),
        "previous" => {
            format!("{tenant} has no snapshot before the latest; `fermata backup {tenant}` makes another")
        }
        named => {
            format!("{tenant} has no snapshot {named}; `fermata snapshots list {tenant}` shows them all")
        }
    }))
}

/// Every snapshot of a tenant that was added.
pub(crate) async fn list(vault: &Vault, tenant: &Tenant) -> anyhow::Result<List> {
    if !vault.tenants().await?.contains(tenant) {
        return Err(no_tenant(tenant).into());
    }
    let snapshots = rows(vault, tenant, vault.snapshots(tenant).await?).await?;
    Ok(List { schema: fermata_core::FORMAT, snapshots })
}

/// These snapshots of a tenant, which are in their order; of the first all is new.
pub(crate) async fn rows(
    vault: &Vault,
    tenant: &Tenant,
    runs: impl IntoIterator<Item = RunId>,
) -> Result<Vec<Row>, VaultError> {
    let manifests = runs.into_iter().map(|run| async move { vault.manifest(tenant, &run).await });
    let mut manifests = stream::iter(manifests).buffered(GETS_CONCURRENT);
    let mut rows = Vec::new();
    let mut earlier: BTreeSet<String> = BTreeSet::new();
    while let Some(manifest) = manifests.try_next().await? {
        // One that goes meanwhile is pruned.
        if let Some(manifest) = manifest {
            rows.push(row(&manifest, &earlier));
            earlier = manifest.chunks().map(|chunk| chunk.name.clone()).collect();
        }
    }
    Ok(rows)
}

/// What is wrong with the name of an entity that a snapshot does not list.
pub(crate) fn no_entity(name: &str, tenant: &Tenant) -> String {
    format!("there is no entity {name:?}; `fermata snapshots show {tenant}` lists them all")
}

fn no_tenant(tenant: &Tenant) -> Usage {
    Usage(format!("there is no tenant {tenant}; `fermata tenant list` shows them all"))
}

fn row(manifest: &Manifest, earlier: &BTreeSet<String>) -> Row {
    let chunks: BTreeMap<_, _> = manifest.chunks().map(|chunk| (&chunk.name, chunk.stored)).collect();
    let new = chunks.iter().filter(|(name, _)| !earlier.contains(**name)).map(|(_, stored)| stored).sum();
    Row {
        snapshot: manifest.run.clone(),
        tenant: manifest.tenant.clone(),
        status: manifest.status,
        started: manifest.started,
        sealed: manifest.sealed,
        records: manifest.records(),
        bytes_stored: chunks.values().sum(),
        bytes_new: new,
        entities: manifest.entities.iter().filter(|entry| entry.status == EntryStatus::Complete).count(),
    }
}

/// What a verification found, as a document.
pub(crate) fn verified(report: &Report) -> Verified<'_> {
    Verified { schema: fermata_core::FORMAT, report }
}

/// Says that a suspect snapshot is right.
pub(crate) async fn accept(
    vault: &Vault,
    mut settings: Settings,
    manifest: &Manifest,
    now: Timestamp,
) -> Result<Acceptance, VaultError> {
    let suspects = manifest.entities.iter().filter(|entry| entry.suspect.is_some());
    let accepted: Vec<String> = suspects.map(|entry| entry.entity.clone()).collect();
    // An older one must not take back what was said of a newer one.
    if !accepted.is_empty() && settings.accepted.as_ref().is_none_or(|before| *before < manifest.run) {
        settings.accepted = Some(manifest.run.clone());
        vault.save_settings(settings, now).await?;
    }
    let (tenant, snapshot) = (manifest.tenant.clone(), manifest.run.clone());
    Ok(Acceptance { schema: fermata_core::FORMAT, tenant, snapshot, accepted })
}

/// What else there is to know of an entity: what it lacks, what it was compared with and how it was read.
pub(crate) fn note(entry: &Entry) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(entry.suspect.clone());
    match &entry.reason {
        Some(reason) => notes.push(reason.clone()),
        None => notes.extend(entry.warnings.clone()),
    }
    notes.extend(entry.days.map(|(first, last)| format!("{first} to {last}")));
    if entry.mode == Mode::Delta {
        notes.extend(entry.base.as_ref().map(|base| format!("builds on {base}")));
        notes.extend(entry.swept.map(|swept| format!("all read {}", swept.strftime("%Y-%m-%d"))));
    }
    notes.extend(entry.why.as_ref().map(|why| format!("all was read: {why}")));
    let drift = entry.drift.filter(|drift| *drift > 0);
    notes.extend(
        drift.map(|drift| format!("{} that Tempo had not told of", several(drift, "change", "changes"))),
    );
    notes.join("; ")
}
