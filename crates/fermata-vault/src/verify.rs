//! Proof that a snapshot is whole.
//!
//! The structure costs one listing: every chunk that the manifest names is there, has its size, and the
//! counts add up. With `data` every chunk is read, decrypted and parsed. All flaws are found, not the first;
//! each says what can still be had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use bytes::Bytes;
use fermata_core::FORMAT;
use fermata_core::manifest::{Chunk, Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::names::RunId;
use fermata_core::plan::Mode;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use serde::Serialize;
use serde::de::IgnoredAny;
use sha2::{Digest, Sha256};

use crate::chunk::{self, name_parts};
use crate::error::VaultError;
use crate::layout;
use crate::vault::Vault;

/// Chunks that are checked at once; each costs its stored bytes and zstd's window, some 3 MB.
const CHECKS_CONCURRENT: usize = 4;

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
        let mut problems = structure(manifest);
        let stored = self.stored(manifest).await?;
        let named: Vec<(&str, &Chunk)> = named(manifest).collect();
        let mut readable = Vec::new();
        for (entity, chunk) in &named {
            match stored.flaw(chunk) {
                None => readable.push((*entity, *chunk)),
                // A chunk of another size is read all the same: its flaw is named below, with what it still gives.
                Some(Flaw::Size { .. }) if data => readable.push((*entity, *chunk)),
                Some(flaw) => problems.push(flawed(manifest, entity, chunk, flaw, stored.twin(chunk))),
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
            records: named.iter().map(|(_, chunk)| chunk.records).sum(),
            bytes: named.iter().map(|(_, chunk)| chunk.stored).sum(),
            problems,
        })
    }

    /// What the store lists of the chunks that a manifest names, and of others with the same records.
    async fn stored(&self, manifest: &Manifest) -> Result<Stored, VaultError> {
        let folder = layout::chunks(&manifest.tenant);
        let wanted: BTreeSet<&str> =
            manifest.chunks().filter_map(|chunk| name_parts(&chunk.name)).map(|(id, _)| id).collect();
        let mut listing = self.door().store.list(Some(&folder));
        let mut stored = Stored::default();
        while let Some(found) = listing.try_next().await.map_err(|error| VaultError::of(&folder, error))? {
            let Some(name) = found.location.filename() else { continue };
            if let Some((id, _)) = name_parts(name).filter(|(id, _)| wanted.contains(id)) {
                stored.0.entry(id.to_owned()).or_default().insert(name.to_owned(), found.size);
            }
        }
        Ok(stored)
    }

    async fn read_all(
        &self,
        manifest: &Manifest,
        stored: &Stored,
        chunks: Vec<(&str, &Chunk)>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Vec<Problem>, VaultError> {
        let mut problems = Vec::new();
        let mut done = Progress { chunks: 0, chunks_total: chunks.len() as u64, bytes: 0 };
        let mut checks = stream::iter(chunks)
            .map(|(entity, chunk)| async move {
                let key = layout::chunk(&manifest.tenant, &chunk.name);
                Ok::<_, VaultError>((entity, chunk, self.check(&key, chunk).await?))
            })
            .buffered(CHECKS_CONCURRENT);
        while let Some((entity, chunk, (flaws, salvage))) = checks.try_next().await? {
            let salvage = stored.twin(chunk).or(salvage);
            let named = flaws.into_iter().map(|flaw| flawed(manifest, entity, chunk, flaw, salvage.clone()));
            problems.extend(named);
            done.chunks += 1;
            done.bytes += chunk.stored;
            progress(done);
        }
        Ok(problems)
    }

    /// Reads one chunk; its flaws, and what can be had of it if there are any.
    async fn check(&self, key: &Path, chunk: &Chunk) -> Result<(Vec<Flaw>, Option<String>), VaultError> {
        let Some(stored) = self.door().find(key).await? else { return Ok((vec![Flaw::Missing], None)) };
        let (vault, chunk) = (self.clone(), chunk.clone());
        let checked = tokio::task::spawn_blocking(move || vault.check_bytes(stored, &chunk)).await;
        Ok(checked.expect("a check does not panic"))
    }

    fn check_bytes(&self, stored: Bytes, chunk: &Chunk) -> (Vec<Flaw>, Option<String>) {
        let mut flaws = Vec::new();
        if stored.len() as u64 != chunk.stored {
            flaws.push(Flaw::Size { found: stored.len() as u64, named: chunk.stored });
        }
        if !chunk::is_intact(&chunk.name, &stored) {
            flaws.push(Flaw::Hash);
        }
        let content = match self.content(stored, chunk.bytes) {
            Ok(content) => content,
            Err(error) => {
                flaws.push(Flaw::Unreadable(error.to_string()));
                return (flaws, None);
            }
        };
        if let Some(record) = content.malformed {
            flaws.push(Flaw::Record(record));
        }
        match content.broken {
            Some(error) => flaws.push(Flaw::Unreadable(error)),
            None => flaws.extend(self.compare(&content, chunk)),
        }
        let salvage = format!("its first {} of {} records can be read", content.records, chunk.records);
        (flaws, Some(salvage))
    }

    fn compare(&self, content: &Content, chunk: &Chunk) -> Vec<Flaw> {
        let counted = [("records", content.records, chunk.records), ("bytes", content.bytes, chunk.bytes)];
        let mut flaws: Vec<Flaw> = counted
            .into_iter()
            .filter(|(_, found, named)| found != named)
            .map(|(of, found, named)| Flaw::Count { of, found, named })
            .collect();
        let id = name_parts(&chunk.name).map(|(id, _)| id.to_owned());
        if self.naming().is_some_and(|key| Some(key.id(&content.hash)) != id) {
            flaws.push(Flaw::Id);
        }
        flaws
    }

    fn content(&self, stored: Bytes, says: u64) -> io::Result<Content> {
        let mut reader = self.decode(stored, says)?;
        let (mut hash, mut line) = (Sha256::new(), Vec::new());
        let mut content = Content::default();
        loop {
            line.clear();
            match io::BufRead::read_until(&mut reader, b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    content.broken = Some(error.to_string());
                    break;
                }
            }
            hash.update(&line);
            content.bytes += line.len() as u64;
            let whole = line.ends_with(b"\n");
            content.records += u64::from(whole);
            if content.malformed.is_none() && !(whole && is_object(&line)) {
                content.malformed = Some(content.records + u64::from(!whole));
            }
        }
        content.hash = hash.finalize().into();
        Ok(content)
    }
}

/// What the decompressed bytes of a chunk are.
#[derive(Default)]
struct Content {
    hash: [u8; 32],
    records: u64,
    bytes: u64,
    /// The first record that is no JSON object, from 1.
    malformed: Option<u64>,
    /// Why reading stopped before the end.
    broken: Option<String>,
}

/// Names and sizes of stored chunks, by the id of their records.
#[derive(Default)]
struct Stored(BTreeMap<String, BTreeMap<String, u64>>);

impl Stored {
    fn with_id(&self, chunk: &Chunk) -> Option<&BTreeMap<String, u64>> {
        name_parts(&chunk.name).and_then(|(id, _)| self.0.get(id))
    }

    fn flaw(&self, chunk: &Chunk) -> Option<Flaw> {
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
    fn twin(&self, chunk: &Chunk) -> Option<String> {
        let twin = self.with_id(chunk)?.keys().find(|name| **name != chunk.name)?;
        Some(format!("all of it: the same records are stored as {twin}"))
    }
}

fn named(manifest: &Manifest) -> impl Iterator<Item = (&str, &Chunk)> {
    let layers =
        manifest.entities.iter().flat_map(|entry| entry.layers.iter().map(move |layer| (entry, layer)));
    layers.flat_map(|(entry, layer)| layer.chunks.iter().map(|chunk| (entry.entity.as_str(), chunk)))
}

fn flawed(manifest: &Manifest, entity: &str, chunk: &Chunk, what: Flaw, salvage: Option<String>) -> Problem {
    let salvage = salvage.unwrap_or_else(|| {
        format!("nothing of its {} records; those of the other chunks are not touched", chunk.records)
    });
    let object = layout::chunk(&manifest.tenant, &chunk.name).to_string();
    Problem { object, entity: Some(entity.to_owned()), what, salvage }
}

/// What is wrong with the manifest itself.
fn structure(manifest: &Manifest) -> Vec<Problem> {
    let object = layout::snapshot(&manifest.tenant, &manifest.run).to_string();
    let problem = |entity: Option<&Entry>, what| Problem {
        object: object.clone(),
        entity: entity.map(|entry| entry.entity.clone()),
        what,
        salvage: "its chunks can be read; what the manifest says of them is in doubt".to_owned(),
    };
    let mut problems = Vec::new();
    if manifest.schema != FORMAT {
        problems.push(problem(None, Flaw::Manifest("the manifest has another format")));
    }
    let gaps = manifest.entities.iter().any(|entry| entry.status.is_gap());
    if gaps != (manifest.status == Status::Partial) {
        problems
            .push(problem(None, Flaw::Manifest("the snapshot's status does not agree with its entities'")));
    }
    let mut names = BTreeSet::new();
    for entry in &manifest.entities {
        if !names.insert(&entry.entity) {
            problems.push(problem(Some(entry), Flaw::Manifest("the entity is listed twice")));
        }
        problems.extend(entry_flaws(entry).into_iter().map(|flaw| problem(Some(entry), flaw)));
    }
    problems
}

fn entry_flaws(entry: &Entry) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let nothing = matches!(entry.status, EntryStatus::LeftOut | EntryStatus::Skipped);
    if nothing && !entry.layers.is_empty() {
        flaws.push(Flaw::Manifest("the entity was not read and has records"));
    }
    if entry.status.is_gap() && entry.reason.is_none() {
        flaws.push(Flaw::Manifest("the entity has a gap without a reason"));
    }
    let kinds: Vec<LayerKind> = entry.layers.iter().map(|layer| layer.kind).collect();
    if kinds.windows(2).any(|pair| pair == [LayerKind::Changes, LayerKind::Sweep]) {
        flaws.push(Flaw::Manifest("the entity has a sweep after changes"));
    }
    let layers = |kind: Option<LayerKind>, of: fn(&Chunk) -> u64| -> u64 {
        let layers = entry.layers.iter().filter(|layer| kind.is_none_or(|kind| layer.kind == kind));
        layers.flat_map(|layer: &Layer| &layer.chunks).map(of).sum()
    };
    if entry.mode == Mode::Sweep {
        // Changes of a sweep are newer forms of its own rows, so the view has as many rows as the sweep.
        let counts = [
            ("records", layers(Some(LayerKind::Sweep), |chunk| chunk.records), entry.records),
            ("bytes", layers(None, |chunk| chunk.bytes), entry.bytes),
        ];
        let wrong = counts.into_iter().filter(|(_, found, named)| found != named);
        flaws.extend(wrong.map(|(of, found, named)| Flaw::Count { of, found, named }));
    } else {
        let found = layers(None, |chunk| chunk.records);
        if entry.records > found {
            flaws.push(Flaw::Count { of: "records", found, named: entry.records });
        }
    }
    flaws
}

fn is_object(line: &[u8]) -> bool {
    line.first() == Some(&b'{')
        && std::str::from_utf8(line).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn as_text<S: serde::Serializer>(value: &impl fmt::Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}
