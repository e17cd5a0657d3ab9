//! The document that makes a run a snapshot.
//!
//! A manifest is complete in itself: every entity with its count and its chunks, every gap with its
//! reason. It is written last and once; a run without one is no snapshot.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::names::{RunId, Tenant};
use crate::plan::{Mode, Wish};

/// A snapshot, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document and of the chunks it names.
    pub schema: u32,
    /// The run that it seals, and the snapshot's name.
    pub run: RunId,
    /// Whose data it is.
    pub tenant: Tenant,
    /// Tells this writer's document from another's of the same run.
    pub nonce: String,
    /// The release of Fermata that wrote it.
    pub written_by: String,
    /// Where it was read from.
    pub base_url: String,
    /// When the run was planned.
    pub started: Timestamp,
    /// When the manifest was written.
    pub sealed: Timestamp,
    /// The tenant's newest snapshot when this was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// What was asked for.
    #[serde(default)]
    pub wish: Wish,
    /// Whether anything is missing that was asked for.
    pub status: Status,
    /// The windows that were asked for.
    pub windows: BTreeMap<String, String>,
    /// Every entity of the catalogue, in its order.
    pub entities: Vec<Entry>,
}

/// The snapshot before, so that one cannot be exchanged behind the back of the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its name.
    pub run: RunId,
    /// The SHA-256 of its manifest as stored, in hexadecimal digits.
    pub sha256: String,
}

/// Whether a snapshot holds all that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All of it.
    Complete,
    /// Not all; the entries say what is missing and why.
    Partial,
    /// An entity came back so much smaller that its records may only be hidden from the token; the entries say which.
    Suspect,
}

/// What a snapshot holds of one entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The entity's name in the catalogue.
    pub entity: String,
    /// Whether it is all there.
    pub status: EntryStatus,
    /// All of it, or what changed.
    pub mode: Mode,
    /// Why all of it was read where what changed would have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The snapshot that it was compared with and, as a delta, builds on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<RunId>,
    /// When the run was planned that last read all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<Timestamp>,
    /// Records in the snapshot's view of it.
    pub records: u64,
    /// Records that its base did not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
    /// Records that its base had in another form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<u64>,
    /// Records of its base that are gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    /// Records that differ from what Tempo's feeds of changes and deletions had told; counted where all was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<u64>,
    /// Records that it had when it last was not suspect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// Why it may lack what the token can no longer see: it came back too small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// What is missing and why; or what else a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Things that were odd but cost nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The first and last day that its records are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<(Date, Date)>,
    /// When it began to be read, by Tempo's clock: the next delta begins a little before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Timestamp>,
    /// The sweep, then what came and went; of an id the last that was said counts.
    pub layers: Vec<Layer>,
    /// Requests made for it.
    pub requests: u64,
    /// Answers of 429 among them.
    pub throttled: u64,
    /// Requests that were made again after a fault.
    pub retries: u64,
    /// Bytes of its records.
    pub bytes: u64,
}

/// Whether a snapshot holds all of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryStatus {
    /// All that the token may see.
    Complete,
    /// Nothing, on purpose: it was not asked for.
    LeftOut,
    /// Nothing: the token may not read it.
    Skipped,
    /// Not all of it; what is there is good.
    Failed,
}

/// A sequence of chunks that is read in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// What the records are.
    pub kind: LayerKind,
    /// Records that it adds to the view.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub added: u64,
    /// Records that it takes out of the view.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted: u64,
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// What the records of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// Each id at most once.
    Sweep,
    /// Records whose ids are no longer in the view: audit events, or what identifies the records.
    Deletions,
    /// New records, and newer forms of records of the layers before; the last of an id counts.
    Changes,
    /// No records, but what a later backup compares with: lines of an [`Index`](crate::index::Index), sealed to the workers' key.
    Index,
}

/// A stored chunk of records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its name: the keyed hash of its records, then the SHA-256 of the stored bytes.
    pub name: String,
    /// Records in it.
    pub records: u64,
    /// Bytes of its records, one per line.
    pub bytes: u64,
    /// Bytes stored.
    pub stored: u64,
}

impl Status {
    /// Its name in manifests and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Suspect => "suspect",
        }
    }
}

impl Manifest {
    /// Records in the snapshot.
    pub fn records(&self) -> u64 {
        self.entities.iter().map(|entry| entry.records).sum()
    }

    /// Bytes that are stored for it, those that it shares with other snapshots included.
    pub fn stored(&self) -> u64 {
        self.chunks().map(|chunk| chunk.stored).sum()
    }

    /// Every chunk that it names, in order.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.entities.iter().flat_map(|entry| &entry.layers).flat_map(|layer| &layer.chunks)
    }

    /// The entry of an entity.
    pub fn entry(&self, entity: &str) -> Option<&Entry> {
        self.entities.iter().find(|entry| entry.entity == entity)
    }
}

impl Entry {
    /// An entity of which there is nothing.
    pub fn new(entity: &str) -> Self {
        Self {
            entity: entity.to_owned(),
            status: EntryStatus::LeftOut,
            mode: Mode::Sweep,
            why: None,
            base: None,
            swept: None,
            records: 0,
            added: None,
            changed: None,
            deleted: None,
            drift: None,
            expected: None,
            suspect: None,
            reason: None,
            warnings: Vec::new(),
            days: None,
            watermark: None,
            layers: Vec::new(),
            requests: 0,
            throttled: 0,
            retries: 0,
            bytes: 0,
        }
    }

    /// The layers of records in the order in which they count, without the index.
    pub fn views(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.kind != LayerKind::Index)
    }

    /// The chunks of its index, in order.
    pub fn index(&self) -> impl Iterator<Item = &Chunk> {
        self.layers.iter().filter(|layer| layer.kind == LayerKind::Index).flat_map(|layer| &layer.chunks)
    }

    /// Whether later runs may compare with it or build on it: all of it is there, as this release writes it.
    pub fn is_base(&self) -> bool {
        self.status == EntryStatus::Complete && self.swept.is_some()
    }

    /// Whether any of its chunks is among these.
    pub fn has_any(&self, names: &BTreeSet<String>) -> bool {
        self.layers.iter().flat_map(|layer| &layer.chunks).any(|chunk| names.contains(&chunk.name))
    }

    /// Takes chunks out of an entity of which no record replaces another; returns how many records went with them.
    pub fn drop_chunks(&mut self, names: &BTreeSet<String>) -> u64 {
        let before = self.records;
        for layer in &mut self.layers {
            layer.chunks.retain(|chunk| !names.contains(&chunk.name));
            if layer.kind != LayerKind::Index {
                layer.added = layer.chunks.iter().map(|chunk| chunk.records).sum();
            }
        }
        self.layers.retain(|layer| !layer.chunks.is_empty());
        self.records = self.layers.iter().map(|layer| layer.added).sum();
        before - self.records
    }

    /// Puts a layer after those that are there, or into the last of them where that means the same.
    pub fn push(&mut self, layer: Layer) {
        if layer.chunks.is_empty() {
            return;
        }
        let last = match layer.kind {
            LayerKind::Index => self.layers.iter_mut().find(|known| known.kind == LayerKind::Index),
            kind => self
                .layers
                .iter_mut()
                .rev()
                .find(|known| known.kind != LayerKind::Index)
                .filter(|known| known.kind == kind),
        };
        match last {
            Some(last) => {
                last.added += layer.added;
                last.deleted += layer.deleted;
                last.chunks.extend(layer.chunks);
            }
            None => self.layers.push(layer),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl EntryStatus {
    /// Whether something is missing that was asked for.
    pub fn is_gap(self) -> bool {
        matches!(self, Self::Skipped | Self::Failed)
    }
}
