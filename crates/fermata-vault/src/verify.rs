//! Proof that a snapshot is whole.
//!
//! The structure costs one listing: every chunk that the manifest names is there, has its size, and the
//! counts add up. With `data` every chunk is read, decrypted and parsed. All flaws are found, not the first;
//! each says what can still be had.

mod content;
mod structure;

use std::collections::BTreeSet;
use std::fmt;

use fermata_core::manifest::{Chunk, LayerKind, Manifest};
use fermata_core::names::{RunId, Tenant};
use futures::{StreamExt, stream};
use serde::Serialize;

use crate::chunk::name_parts;
use crate::error::VaultError;
use crate::layout;
use crate::stored::Stored;
use crate::vault::Vault;

/// Chunks that are checked at once; each costs its stored bytes and zstd's window, some 3 MB.
const CHECKS_CONCURRENT: usize = 2;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which snapshot.
    pub snapshot: RunId,
    /// Whether nothing is wrong with it.
    pub ok: bool,
    /// Whether the records were read, and not the structure alone.
    pub data: bool,
    /// Whether names were computed again from the records, which needs the workers' key.
    pub ids: bool,
    /// Chunks that it names.
    pub chunks: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes stored for them.
    pub bytes: u64,
    /// All that is wrong.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The object.
    pub object: String,
    /// The entity whose records it holds; none for the manifest as a whole.
    pub entity: Option<String>,
    /// What is wrong.
    #[serde(serialize_with = "as_text")]
    pub what: Flaw,
    /// What can still be had.
    pub salvage: String,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A chunk is not in the store.
    #[error("the chunk is missing")]
    Missing,
    /// A chunk's name is none.
    #[error("the chunk's name is malformed")]
    Name,
    /// A chunk has another size.
    #[error("{found} bytes are stored, not {named}")]
    Size {
        /// In the store.
        found: u64,
        /// In the manifest.
        named: u64,
    },
    /// A chunk's bytes are not those that were stored.
    #[error("the stored bytes do not hash to the chunk's name")]
    Hash,
    /// A chunk cannot be opened or decompressed.
    #[error("the chunk does not open: {0}")]
    Unreadable(String),
    /// A chunk holds other records than its name says.
    #[error("the records do not hash to the chunk's name")]
    Id,
    /// A line is no JSON object.
    #[error("record {0} is not a JSON object")]
    Record(u64),
    /// Counts that do not agree.
    #[error("{found} {of} were found, not {named}")]
    Count {
        /// What was counted.
        of: &'static str,
        /// As found.
        found: u64,
        /// As the manifest says.
        named: u64,
    },
    /// The manifest does not agree with itself.
    #[error("{0}")]
    Manifest(&'static str),
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Chunks that were read.
    pub chunks: u64,
    /// Chunks there are to read.
    pub chunks_total: u64,
    /// Bytes that were read, as stored.
    pub bytes: u64,
}

impl Vault {
    /// Checks a snapshot: its structure, and with `data` every record.
    ///
    /// An error is a store that does not answer or a key that is missing; what is wrong with the snapshot
    /// is in the report. The memory does not grow with the records.
    pub async fn verify(
        &self,
        manifest: &Manifest,
        data: bool,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Report, VaultError> {
        if data {
            self.data()?;
        }
        let mut problems = structure::structure(manifest);
        let wanted: BTreeSet<&str> =
            manifest.chunks().filter_map(|chunk| name_parts(&chunk.name)).map(|(id, _)| id).collect();
        let stored = self.stored(&manifest.tenant, |id| wanted.contains(id)).await?;
        let named: Vec<(&str, LayerKind, &Chunk)> = named(manifest).collect();
        let mut readable = Vec::new();
        for (entity, layer, chunk) in &named {
            match stored.flaw(chunk) {
                None => readable.push((*entity, *layer, *chunk)),
                // A chunk of another size is read all the same: its flaw is named below, with what it still gives.
                Some(Flaw::Size { .. }) if data => readable.push((*entity, *layer, *chunk)),
                Some(flaw) => problems.push(flawed(manifest, entity, chunk, flaw, twin(&stored, chunk))),
            }
        }
        if data {
            problems.extend(self.read_all(manifest, &stored, readable, progress).await?);
        }
        Ok(Report {
            snapshot: manifest.run.clone(),
            ok: problems.is_empty(),
            data,
            ids: data && self.can_work(),
            chunks: named.len() as u64,
            records: named
                .iter()
                .filter(|(_, layer, _)| *layer != LayerKind::Index)
                .map(|(.., chunk)| chunk.records)
                .sum(),
            bytes: named.iter().map(|(.., chunk)| chunk.stored).sum(),
            problems,
        })
    }

    async fn read_all(
        &self,
        manifest: &Manifest,
        stored: &Stored,
        chunks: Vec<(&str, LayerKind, &Chunk)>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Vec<Problem>, VaultError> {
        let mut problems = Vec::new();
        let mut done = Progress { chunks: 0, chunks_total: chunks.len() as u64, bytes: 0 };
        // By place and in order: a closure over borrowed chunks would keep the future on this thread.
        let checks = (0..chunks.len()).map(|at| self.check(&manifest.tenant, chunks[at].1, chunks[at].2));
        let mut checks = stream::iter(checks).buffered(CHECKS_CONCURRENT).zip(stream::iter(&chunks));
        while let Some((checked, (entity, _, chunk))) = checks.next().await {
            let (flaws, salvage) = checked?;
            let salvage = twin(stored, chunk).or(salvage);
            let named = flaws.into_iter().map(|flaw| flawed(manifest, entity, chunk, flaw, salvage.clone()));
            problems.extend(named);
            done.chunks += 1;
            done.bytes += chunk.stored;
            progress(done);
        }
        Ok(problems)
    }

    /// Reads one chunk; its flaws, and what can be had of it if there are any.
    async fn check(
        &self,
        tenant: &Tenant,
        layer: LayerKind,
        chunk: &Chunk,
    ) -> Result<(Vec<Flaw>, Option<String>), VaultError> {
        let key = layout::chunk(tenant, &chunk.name);
        let Some(stored) = self.door().find(&key).await? else { return Ok((vec![Flaw::Missing], None)) };
        let (vault, chunk) = (self.clone(), chunk.clone());
        let checked = tokio::task::spawn_blocking(move || vault.check_bytes(layer, stored, &chunk)).await;
        Ok(checked.expect("a check does not panic"))
    }
}

fn named(manifest: &Manifest) -> impl Iterator<Item = (&str, LayerKind, &Chunk)> {
    let layers =
        manifest.entities.iter().flat_map(|entry| entry.layers.iter().map(move |layer| (entry, layer)));
    layers.flat_map(|(entry, layer)| {
        layer.chunks.iter().map(|chunk| (entry.entity.as_str(), layer.kind, chunk))
    })
}

/// Another object with the same records, as another worker or an earlier run stored them.
fn twin(stored: &Stored, chunk: &Chunk) -> Option<String> {
    stored.twin(chunk).map(|name| format!("the same records are stored as {name}"))
}

fn flawed(manifest: &Manifest, entity: &str, chunk: &Chunk, what: Flaw, salvage: Option<String>) -> Problem {
    let salvage = salvage.unwrap_or_else(|| {
        format!("nothing of its {} records; those of the other chunks are not touched", chunk.records)
    });
    let object = layout::chunk(&manifest.tenant, &chunk.name).to_string();
    Problem { object, entity: Some(entity.to_owned()), what, salvage }
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
