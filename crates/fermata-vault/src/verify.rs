//! Proof that a snapshot is whole.
//!
//! The structure costs one listing: every chunk that the manifest names is there, has its size, and the
//! counts add up. More is read as [`Depth`] says: chunks are then decrypted and parsed. Of a snapshot as it is stored the
//! signature is checked too, that of the card, and that the snapshot before is the one that it followed. All flaws are found,
//! not the first; each says what can still be had.
//!
//! What belongs to no snapshot is not looked at: the plan and the checkpoints of an unfinished run.

mod content;
mod salvage;
mod stored;
mod structure;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use fermata_core::manifest::{Chunk, LayerKind, Manifest};
use fermata_core::names::{RunId, Tenant};
use futures::{StreamExt, stream};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use crate::chunk::name_parts;
use crate::error::VaultError;
use crate::layout;
use crate::stored::Stored;
use crate::vault::Vault;

/// Chunks that are checked at once; each costs its stored bytes and zstd's window, some 3 MB.
const CHECKS_CONCURRENT: usize = 2;

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Depth {
    /// The manifest, and a listing of the chunks.
    Structure,
    /// The bytes of all chunks too, against the hashes in their names; needs no key.
    Stored,
    /// Some of the chunks too, other ones with each seed: of each entity that has any this share, and at least one.
    Sample {
        /// Between 0 and 1.
        share: f64,
        /// The same seed reads the same chunks.
        seed: u64,
    },
    /// All of it.
    Data,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which snapshot.
    pub snapshot: RunId,
    /// Whether nothing is wrong with it.
    pub ok: bool,
    /// Whether all records were read.
    pub data: bool,
    /// Whether names were computed again from the records, which needs the workers' key.
    pub ids: bool,
    /// Chunks that it names.
    pub chunks: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes stored for them.
    pub bytes: u64,
    /// Chunks that were read.
    pub read: u64,
    /// What chose them, where not all were read.
    pub seed: Option<u64>,
    /// All that is wrong.
    pub problems: Vec<Problem>,
    /// What a reader should know and is not wrong.
    pub notes: Vec<String>,
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
    /// A signed document is not what was signed.
    #[error("its signature does not fit: it was changed, or another vault's keys wrote it")]
    Signature,
    /// A document that cannot be read.
    #[error("it cannot be read: {0}")]
    Document(String),
    /// The snapshot before is another than this one followed.
    #[error("the snapshot before it, {0}, is not the one that was there when it was sealed")]
    Previous(RunId),
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
        let depth = if data { Depth::Data } else { Depth::Structure };
        self.examine(manifest, depth, progress).await
    }

    async fn examine(
        &self,
        manifest: &Manifest,
        depth: Depth,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Report, VaultError> {
        let reads = depth != Depth::Structure;
        let opens = reads && depth != Depth::Stored;
        if opens {
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
                Some(Flaw::Size { .. }) if reads => readable.push((*entity, *layer, *chunk)),
                Some(flaw) => problems.push(flawed(manifest, entity, chunk, flaw, twin(&stored, chunk))),
            }
        }
        let readable = chosen(readable, depth);
        let read = readable.len() as u64;
        problems.extend(self.read_all(manifest, &stored, readable, opens, progress).await?);
        Ok(Report {
            snapshot: manifest.run.clone(),
            ok: problems.is_empty(),
            data: depth == Depth::Data,
            ids: opens && self.can_work(),
            read,
            seed: if let Depth::Sample { seed, .. } = depth { Some(seed) } else { None },
            notes: Vec::new(),
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
        opens: bool,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Vec<Problem>, VaultError> {
        let mut problems = Vec::new();
        let mut done = Progress { chunks: 0, chunks_total: chunks.len() as u64, bytes: 0 };
        // By place and in order: a closure over borrowed chunks would keep the future on this thread.
        let checks =
            (0..chunks.len()).map(|at| self.check(&manifest.tenant, chunks[at].1, chunks[at].2, opens));
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
        opens: bool,
    ) -> Result<(Vec<Flaw>, Option<String>), VaultError> {
        let key = layout::chunk(tenant, &chunk.name);
        let Some(stored) = self.door().find(&key).await? else { return Ok((vec![Flaw::Missing], None)) };
        let (vault, chunk) = (self.clone(), chunk.clone());
        let checked =
            tokio::task::spawn_blocking(move || vault.check_bytes(layer, stored, &chunk, opens)).await;
        Ok(checked.expect("a check does not panic"))
    }
}

/// The chunks that are read at this depth, in their order.
fn chosen<'a>(
    chunks: Vec<(&'a str, LayerKind, &'a Chunk)>,
    depth: Depth,
) -> Vec<(&'a str, LayerKind, &'a Chunk)> {
    let (share, seed) = match depth {
        Depth::Structure => return Vec::new(),
        Depth::Stored | Depth::Data => return chunks,
        Depth::Sample { share, seed } => (share, seed),
    };
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (entity, ..)) in chunks.iter().enumerate() {
        places.entry(entity).or_default().push(at);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut drawn: BTreeSet<usize> = BTreeSet::new();
    for mut of_entity in places.into_values() {
        of_entity.shuffle(&mut rng);
        let enough = (1..=of_entity.len()).find(|count| *count as f64 >= share * of_entity.len() as f64);
        drawn.extend(of_entity.iter().take(enough.unwrap_or(of_entity.len())));
    }
    drawn.into_iter().map(|at| chunks[at]).collect()
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
    let salvage = salvage.unwrap_or_else(|| format!("nothing of its {} records", chunk.records));
    let object = layout::chunk(&manifest.tenant, &chunk.name).to_string();
    Problem { object, entity: Some(entity.to_owned()), what, salvage }
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
