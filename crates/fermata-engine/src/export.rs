//! A snapshot's view as files that other programs open: one per entity, in the view's order.
//!
//! - NDJSON holds the records as they are stored, byte for byte.
//! - CSV and Parquet have a column for each member, objects flattened to dotted names
//!   (`issue.id`). They are made in two passes: the first finds the columns and what they hold,
//!   the second writes. What cannot be spread over columns (arrays, an object where other records
//!   have something else, a map with hundreds of keys) stays in one column as its JSON text.
//! - CSV (RFC 4180) keeps numbers as they are written and texts as they are; null, absent and the
//!   empty text are all empty. Nothing is added in front of a text that a spreadsheet would take
//!   for a formula: a backup does not alter data. Open files from strangers with that in mind.
//! - Parquet has types: BOOLEAN, INT64, DOUBLE, DATE, TIMESTAMP (UTC, microseconds) and text, each
//!   where every value of a column is one. A DOUBLE is the nearest one to the number that was
//!   written, so `0.10` becomes 0.1; integers that do not fit INT64 are text. Its text columns are
//!   what the CSV says. Absent and null are null.
//!
//! A file appears under its name when it is whole and on the disk. An entity of which the snapshot
//! holds nothing by choice or by failure has no file; one that is complete and empty has one with
//! no records. Files of earlier exports that this one does not write are left alone.
//!
//! Memory is flat: a record, a row group of Parquet, the columns, and what the view itself needs.

mod csv_file;
mod ndjson_file;
mod parquet_file;
mod part;
mod shape;
mod value;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use fermata_core::catalogue::{self, Entity};
use fermata_core::manifest::{Entry, EntryStatus, Manifest};
use fermata_vault::{Vault, VaultError};
use serde::{Serialize, Serializer};

use crate::view::{self, ViewError};
use csv_file::CsvFile;
use ndjson_file::NdjsonFile;
use parquet_file::ParquetFile;
use part::Part;
use shape::{Columns, Shape};

pub use shape::Flaw;

/// How often a caller hears of the records of an entity that were written.
const TOLD_RECORDS: u64 = 10_000;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A record per line, as stored.
    Ndjson,
    /// Text in columns.
    Csv,
    /// Typed columns, compressed.
    Parquet,
}

/// A text that names no format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no format {0:?}; there are ndjson, csv and parquet")]
pub struct UnknownFormat(String);

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The entity's name in the catalogue.
    pub entity: String,
    /// Where it is.
    #[serde(serialize_with = "as_shown")]
    pub file: PathBuf,
    /// Records in it.
    pub records: u64,
    /// Its length.
    pub bytes: u64,
}

/// Why an export stopped. The files that it had written by then are whole and stay.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An entity was asked for that the snapshot does not list.
    #[error("this snapshot has no entity {name:?}; it holds {known}")]
    UnknownEntity {
        /// What was asked for.
        name: String,
        /// What could have been, with commas.
        known: String,
    },
    /// The snapshot holds an entity that this release cannot read.
    #[error("this release does not know the entity {0:?}; export it with the one that wrote the snapshot")]
    LaterEntity(String),
    /// A file would be replaced.
    #[error("{} is already there, and overwriting was not asked for", .0.display())]
    AlreadyThere(PathBuf),
    /// The place for the files is something else.
    #[error("{} is not a folder, or something above it is not", .0.display())]
    NotAFolder(PathBuf),
    /// The disk is full.
    #[error("no space is left for {}", file.display())]
    NoSpace {
        /// What was being written.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system does not let this user write there.
    #[error("{} may not be written", file.display())]
    Denied {
        /// What was being written.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else went wrong with a file.
    #[error("{} could not be written", file.display())]
    File {
        /// What was being written.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record cannot be laid out in columns.
    #[error("record {number} of {entity} cannot be laid out in columns; ndjson can hold it")]
    Record {
        /// The entity's name.
        entity: &'static str,
        /// Its place in the view, from 1.
        number: u64,
        /// What is wrong with it.
        source: Flaw,
    },
    /// The store could not give what the manifest names.
    #[error("the records of {entity} could not be read")]
    Vault {
        /// The entity's name.
        entity: &'static str,
        /// What the store's door said.
        source: VaultError,
    },
}

/// Writes a snapshot's view of each entity into the folder `out`, which is made where it is not.
///
/// `only` names entities, all when empty; what the snapshot lists but holds nothing of is passed
/// over. `told` hears how many records of an entity are written: 0, every 10,000, and the last.
/// Works for seconds between two awaits: give it a task whose thread nobody else waits for.
pub async fn export(
    vault: &Vault,
    manifest: &Manifest,
    only: &BTreeSet<String>,
    format: Format,
    out: &Path,
    overwrite: bool,
    mut told: impl FnMut(&str, u64),
) -> Result<Vec<Exported>, ExportError> {
    let sources = sources(vault, manifest, only)?;
    let targets: Vec<PathBuf> =
        sources.iter().map(|source| out.join(format!("{}.{format}", source.entity.name))).collect();
    if out.exists() && !out.is_dir() {
        return Err(ExportError::NotAFolder(out.to_owned()));
    }
    if let Some(taken) = targets.iter().find(|target| target.is_dir() || (!overwrite && target.exists())) {
        return Err(ExportError::AlreadyThere(taken.clone()));
    }
    std::fs::create_dir_all(out).map_err(|error| ExportError::file(out, error))?;
    let mut exported = Vec::new();
    for (source, file) in sources.into_iter().zip(targets) {
        let (records, bytes) = source.write(format, &file, &mut told).await?;
        exported.push(Exported { entity: source.entity.name.to_owned(), file, records, bytes });
    }
    Ok(exported)
}

/// The records of one entity.
struct Source<'a> {
    vault: &'a Vault,
    manifest: &'a Manifest,
    entity: &'static Entity,
    entry: &'a Entry,
}

/// A file that takes records.
trait RecordFile: Send {
    fn add(&mut self, record: &str) -> Result<(), Fault>;
    /// Writes what is still held back, and gives the file back to be kept.
    fn finish(self: Box<Self>) -> Result<Part, Fault>;
}

/// What can go wrong with a record.
enum Fault {
    Record(Flaw),
    Write(io::Error),
}

/// What is to be exported, in the catalogue's order.
fn sources<'a>(
    vault: &'a Vault,
    manifest: &'a Manifest,
    only: &BTreeSet<String>,
) -> Result<Vec<Source<'a>>, ExportError> {
    if let Some(name) = only.iter().find(|name| manifest.entry(name).is_none()) {
        let held: Vec<_> = manifest.entities.iter().filter(|entry| is_held(entry)).collect();
        let known = match held.as_slice() {
            [] => "nothing".to_owned(),
            held => held.iter().map(|entry| entry.entity.as_str()).collect::<Vec<_>>().join(", "),
        };
        return Err(ExportError::UnknownEntity { name: name.clone(), known });
    }
    let wanted = manifest.entities.iter().filter(|entry| only.is_empty() || only.contains(&entry.entity));
    wanted
        .filter(|entry| is_held(entry))
        .map(|entry| match catalogue::entity(&entry.entity) {
            Some(entity) => Ok(Source { vault, manifest, entity, entry }),
            None => Err(ExportError::LaterEntity(entry.entity.clone())),
        })
        .collect()
}

/// Whether there is something to export; a file with no records would claim that there are none.
fn is_held(entry: &Entry) -> bool {
    match entry.status {
        EntryStatus::Complete => true,
        EntryStatus::Failed => entry.records > 0,
        EntryStatus::Skipped | EntryStatus::LeftOut => false,
    }
}

impl Source<'_> {
    async fn write(
        &self,
        format: Format,
        target: &Path,
        told: &mut impl FnMut(&str, u64),
    ) -> Result<(u64, u64), ExportError> {
        let name = self.entity.name;
        told(name, 0);
        let failed = |error| ExportError::file(target, error);
        let mut file: Box<dyn RecordFile> = match format {
            Format::Ndjson => Box::new(NdjsonFile::new(Part::create(target).map_err(failed)?)),
            Format::Csv => {
                let columns = self.columns(target).await?;
                Box::new(CsvFile::new(Part::create(target).map_err(failed)?, columns).map_err(failed)?)
            }
            Format::Parquet => {
                let columns = self.columns(target).await?;
                Box::new(ParquetFile::new(Part::create(target).map_err(failed)?, columns).map_err(failed)?)
            }
        };
        let mut written = 0;
        let records = self
            .each(target, |record| {
                file.add(record)?;
                written += 1;
                if written % TOLD_RECORDS == 0 {
                    told(name, written);
                }
                Ok(())
            })
            .await?;
        let part = file.finish().map_err(|fault| self.explain(fault, records, target))?;
        let bytes = part.keep().map_err(failed)?;
        if records == 0 || records % TOLD_RECORDS != 0 {
            told(name, records);
        }
        Ok((records, bytes))
    }

    /// The first pass.
    async fn columns(&self, target: &Path) -> Result<Columns, ExportError> {
        let mut shape = Shape::default();
        self.each(target, |record| shape.learn(record).map_err(Fault::Record)).await?;
        Ok(shape.columns())
    }

    async fn each(
        &self,
        target: &Path,
        mut take: impl FnMut(&str) -> Result<(), Fault>,
    ) -> Result<u64, ExportError> {
        let mut number = 0;
        let view = view::each(self.vault, &self.manifest.tenant, self.entity, self.entry, |record| {
            number += 1;
            take(record)
        });
        match view.await {
            Ok(records) => Ok(records),
            Err(ViewError::Vault(source)) => Err(ExportError::Vault { entity: self.entity.name, source }),
            Err(ViewError::Taker(fault)) => Err(self.explain(fault, number, target)),
        }
    }

    fn explain(&self, fault: Fault, number: u64, target: &Path) -> ExportError {
        match fault {
            Fault::Record(source) => ExportError::Record { entity: self.entity.name, number, source },
            Fault::Write(error) => ExportError::file(target, error),
        }
    }
}

impl ExportError {
    fn file(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { file, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Denied { file, source }
            }
            io::ErrorKind::NotADirectory => Self::NotAFolder(file),
            _ => Self::File { file, source },
        }
    }
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Ndjson, Self::Csv, Self::Parquet];

    /// The name, which is also how file names end.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| UnknownFormat(text.to_owned()))
    }
}

fn as_shown<S: Serializer>(file: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&file.display())
}

#[cfg(test)]
mod tests;
