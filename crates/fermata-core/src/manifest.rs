//! The document that makes a run a snapshot.
//!
//! A manifest is complete in itself: every entity with its count and its chunks, every gap with its
//! reason. It is written last and once; a run without one is no snapshot.

use std::collections::BTreeMap;

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

/// Whether a snapshot holds all that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// All of it.
    Complete,
    /// Not all; the entries say what is missing and why.
    Partial,
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
    /// Records in the snapshot's view of it.
    pub records: u64,
    /// What is missing and why; or what else a reader should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Things that were odd but cost nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The first and last day that its records are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<(Date, Date)>,
    /// Where the next delta begins, by Tempo's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Timestamp>,
    /// Sweep rows, then changes; of two records with one id the later counts.
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
    /// The chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// What the records of a layer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// Each id at most once.
    Sweep,
    /// Newer forms of records of the layers before; the last of an id counts.
    Changes,
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

impl Manifest {
    /// Records in the snapshot.
    pub fn records(&self) -> u64 {
        self.entities.iter().map(|entry| entry.records).sum()
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

impl EntryStatus {
    /// Whether something is missing that was asked for.
    pub fn is_gap(self) -> bool {
        matches!(self, Self::Skipped | Self::Failed)
    }
}
