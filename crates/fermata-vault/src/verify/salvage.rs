//! What can still be had where something is wrong: the other chunks, and other snapshots.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::{Chunk, Entry, EntryStatus, Manifest};
use fermata_core::names::{RunId, Tenant};

use super::{Report, named};
use crate::error::VaultError;
use crate::layout;
use crate::vault::Vault;

impl Vault {
    /// Adds to each problem what the rest of the snapshot and the other snapshots have.
    pub(super) async fn advise(
        &self,
        tenant: &Tenant,
        run: &RunId,
        manifest: Option<&Manifest>,
        report: &mut Report,
    ) -> Result<(), VaultError> {
        if report.problems.is_empty() {
            return Ok(());
        }
        let stored = self.stored(tenant, |_| true).await?;
        let others = self.others(tenant, run).await?;
        let bad: BTreeSet<String> = report.problems.iter().map(|problem| problem.object.clone()).collect();
        let is_good = |chunk: &Chunk| {
            stored.flaw(chunk).is_none() && !bad.contains(layout::chunk(tenant, &chunk.name).as_ref())
        };
        let mut advice = BTreeMap::new();
        for problem in &mut report.problems {
            let said =
                advice.entry(problem.entity.clone()).or_insert_with(|| match (&problem.entity, manifest) {
                    (Some(entity), Some(manifest)) => of_entity(tenant, entity, manifest, &others, &is_good),
                    _ => of_snapshot(&others, &is_good),
                });
            problem.salvage = format!("{}; {said}", problem.salvage);
        }
        Ok(())
    }

    /// The other snapshots of a tenant that can be read, the newest first.
    async fn others(&self, tenant: &Tenant, run: &RunId) -> Result<Vec<Manifest>, VaultError> {
        let mut others = Vec::new();
        for other in self.snapshots(tenant).await?.into_iter().rev().filter(|other| other != run) {
            match self.manifest(tenant, &other).await {
                Ok(found) => others.extend(found),
                Err(VaultError::Corrupt { .. } | VaultError::Newer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(others)
    }
}

fn of_entity(
    tenant: &Tenant,
    entity: &str,
    manifest: &Manifest,
    others: &[Manifest],
    is_good: &impl Fn(&Chunk) -> bool,
) -> String {
    let chunks = named(manifest).filter(|(name, ..)| *name == entity).map(|(.., chunk)| chunk);
    let (good, bad): (Vec<&Chunk>, Vec<&Chunk>) = chunks.partition(|chunk| is_good(chunk));
    let rest = match (good.len(), bad.is_empty()) {
        (0, true) => String::new(),
        (count, true) => format!("no flaw was found in its chunks, {count}; "),
        (0, false) => "it has no other chunk; ".to_owned(),
        (1, false) => "no flaw was found in its other chunk; ".to_owned(),
        (count, false) => format!("no flaw was found in its other {count} chunks; "),
    };
    let whole = |entry: &Entry| {
        let mut chunks = entry.layers.iter().flat_map(|layer| &layer.chunks);
        entry.status == EntryStatus::Complete && chunks.all(is_good)
    };
    match others.iter().find(|other| other.entry(entity).is_some_and(whole)) {
        Some(other) => format!(
            "{rest}snapshot {} has {entity} whole: fermata export {tenant} --snapshot {} --entity {entity}",
            other.run, other.run
        ),
        None => format!("{rest}no other snapshot has {entity} whole"),
    }
}

fn of_snapshot(others: &[Manifest], is_good: &impl Fn(&Chunk) -> bool) -> String {
    match others.iter().find(|other| other.chunks().all(is_good)) {
        Some(other) => format!("of the other snapshots {} is the newest whole one", other.run),
        None => "no other snapshot is whole".to_owned(),
    }
}
