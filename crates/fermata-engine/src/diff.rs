//! What differs between two snapshots of a tenant, entity by entity.
//!
//! Entities with the same layers are the same. Of the others the indexes tell which records came, changed and went, with
//! the workers' key alone. Their content takes the data key, and then only as much is read as can hold them.
//!
//! What an entity that is not complete lacks says nothing, so such a one is not compared. Records that nothing
//! identifies are known by their content: they come and go and never change.
//!
//! Memory: 16 bytes for each record of an entity in either snapshot, and 64 MiB of records.

use std::collections::HashMap;
use std::convert::Infallible;

use fermata_core::catalogue::{self, Entity};
use fermata_core::index::{self, Index};
use fermata_core::manifest::{Chunk, Entry, EntryStatus, Layer, LayerKind, Manifest};
use fermata_core::names::Tenant;
use fermata_core::seen::mark;
use fermata_tempo::row::{self, IdReader};
use fermata_vault::{Vault, VaultError};
use roaring::RoaringTreemap;

use crate::view::{self, ViewError};

/// Earlier forms of changed records that are held while the later ones are read; what is more takes another pass.
const HELD_BYTES_MAX: usize = 64 << 20;

/// How an entity in one snapshot compares with itself in another.
#[derive(Debug)]
pub enum Comparison<'a> {
    /// Not at all: neither holds anything of it, on purpose.
    Neither,
    /// One of the two does not hold all of it.
    Incomplete {
        /// Which, and why.
        why: String,
        /// Whether it is missing there though it was asked for.
        gap: bool,
    },
    /// No record differs.
    Same,
    /// Some do.
    Differs(Differences<'a>),
}

/// The records in which an entity differs.
#[derive(Debug)]
pub struct Differences<'a> {
    vault: &'a Vault,
    tenant: &'a Tenant,
    entity: &'static Entity,
    before: &'a Entry,
    after: &'a Entry,
    added: RoaringTreemap,
    changed: RoaringTreemap,
    deleted: RoaringTreemap,
}

/// One record that differs, as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    /// Only the later snapshot has it.
    Added(&'a str),
    /// Only the earlier one has it.
    Deleted(&'a str),
    /// Both have it, in two forms.
    Changed {
        /// As the earlier snapshot has it.
        before: &'a str,
        /// As the later one has it.
        after: &'a str,
    },
}

/// How an entity in one snapshot compares with itself in another, as far as the manifests tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outline {
    /// Not at all: neither holds anything of it, on purpose.
    Neither,
    /// One of the two does not hold all of it.
    Incomplete {
        /// Which, and why.
        why: String,
        /// Whether it is missing there though it was asked for.
        gap: bool,
    },
    /// No record differs.
    Same,
    /// The later one was compared with the earlier when it was read: records that came, changed and went.
    Counted {
        /// Records that only the later one has.
        added: u64,
        /// Records that both have, in two forms.
        changed: u64,
        /// Records that only the earlier one has.
        deleted: u64,
    },
    /// Records were read anew in between: how they differ takes a key.
    Unknown,
}

/// Compares an entity in two snapshots of one tenant by their manifests, which needs no key.
pub fn outline(before: &Manifest, after: &Manifest, entity: &str) -> Outline {
    let (old, new) = match sides(before, after, entity) {
        Sides::Both(old, new) => (old, new),
        Sides::Neither => return Outline::Neither,
        Sides::Incomplete { why, gap } => return Outline::Incomplete { why, gap },
    };
    if chunks(old).eq(chunks(new)) {
        return Outline::Same;
    }
    match (new.added, new.changed, new.deleted) {
        (Some(0), Some(0), Some(0)) if new.base.as_ref() == Some(&before.run) => Outline::Same,
        (Some(added), Some(changed), Some(deleted)) if new.base.as_ref() == Some(&before.run) => {
            Outline::Counted { added, changed, deleted }
        }
        _ => Outline::Unknown,
    }
}

/// What two snapshots have of an entity that could be compared.
enum Sides<'a> {
    Both(&'a Entry, &'a Entry),
    Neither,
    Incomplete { why: String, gap: bool },
}

fn sides<'a>(before: &'a Manifest, after: &'a Manifest, entity: &str) -> Sides<'a> {
    match (complete(before, entity), complete(after, entity)) {
        (Ok(old), Ok(new)) => Sides::Both(old, new),
        (Err(old), Err(new)) if old.on_purpose && new.on_purpose => Sides::Neither,
        (old, new) => {
            let lacks: Vec<Lack> = old.err().into_iter().chain(new.err()).collect();
            let why = lacks.iter().map(|lack| lack.why.as_str()).collect::<Vec<_>>().join("; ");
            Sides::Incomplete { why, gap: lacks.iter().any(|lack| !lack.on_purpose) }
        }
    }
}

/// Compares an entity in two snapshots of one tenant.
///
/// Needs the workers' key, or reads all records with the data key; where the layers are the same it needs neither.
pub async fn compare<'a>(
    vault: &'a Vault,
    before: &'a Manifest,
    after: &'a Manifest,
    entity: &str,
) -> Result<Comparison<'a>, VaultError> {
    let (old, new) = match sides(before, after, entity) {
        Sides::Both(old, new) => (old, new),
        Sides::Neither => return Ok(Comparison::Neither),
        Sides::Incomplete { why, gap } => return Ok(Comparison::Incomplete { why, gap }),
    };
    if chunks(old).eq(chunks(new)) {
        return Ok(Comparison::Same);
    }
    let Some(entity) = catalogue::entity(entity) else {
        let why = "this release does not know it; compare with the one that wrote the snapshots".to_owned();
        return Ok(Comparison::Incomplete { why, gap: true });
    };
    let tenant = &before.tenant;
    let earlier = read_index(vault, tenant, entity, old).await?;
    let later = read_index(vault, tenant, entity, new).await?;
    let altered = |(id, mark): &&(u64, u64)| earlier.mark(*id).is_some_and(|before| before != *mark);
    let differences = Differences {
        vault,
        tenant,
        entity,
        before: old,
        after: new,
        added: later.ids() - earlier.ids(),
        changed: later.marks().iter().filter(altered).map(|(id, _)| *id).collect(),
        deleted: earlier.ids() - later.ids(),
    };
    Ok(if differences.count() == 0 { Comparison::Same } else { Comparison::Differs(differences) })
}

impl Differences<'_> {
    /// The entity's row in the catalogue.
    pub fn entity(&self) -> &'static Entity {
        self.entity
    }

    /// Records that only the later snapshot has.
    pub fn added(&self) -> u64 {
        self.added.len()
    }

    /// Records that both have, in two forms.
    pub fn changed(&self) -> u64 {
        self.changed.len()
    }

    /// Records that only the earlier one has.
    pub fn deleted(&self) -> u64 {
        self.deleted.len()
    }

    /// Records that differ.
    pub fn count(&self) -> u64 {
        self.added() + self.changed() + self.deleted()
    }

    /// Hands at most `most` records that differ to `take`, what is lost and altered before what is new.
    pub async fn each<E>(
        &self,
        mut most: u64,
        mut take: impl FnMut(Difference<'_>) -> Result<(), E>,
    ) -> Result<(), ViewError<E>> {
        let [mut deleted, mut changed, mut added] =
            [&self.deleted, &self.changed, &self.added].map(|ids| first(ids, &mut most));
        loop {
            let (mut held, mut bytes) = (HashMap::new(), 0);
            let is_wanted = !(deleted.is_empty() && changed.is_empty());
            self.walk(is_wanted, &apart(self.before, self.after), |id, line| {
                if deleted.remove(id) {
                    take(Difference::Deleted(line))?;
                } else if bytes < HELD_BYTES_MAX && changed.contains(id) {
                    bytes += line.len();
                    held.insert(id, line.to_owned());
                }
                let all_held = bytes >= HELD_BYTES_MAX || held.len() as u64 == changed.len();
                Ok(!(all_held && deleted.is_empty()))
            })
            .await?;
            let left = changed.len();
            let is_wanted = !(held.is_empty() && added.is_empty());
            self.walk(is_wanted, &apart(self.after, self.before), |id, line| {
                if added.remove(id) {
                    take(Difference::Added(line))?;
                } else if let Some(before) = held.remove(&id) {
                    changed.remove(id);
                    take(Difference::Changed { before: &before, after: line })?;
                }
                Ok(!(held.is_empty() && added.is_empty()))
            })
            .await?;
            // An index that names what the view has not would keep this going for ever.
            if changed.is_empty() || changed.len() == left {
                return Ok(());
            }
        }
    }

    /// Hands the records of an entry's view, where any is wanted, to `take`, with what the index knows them by, until it
    /// says that it has all.
    async fn walk<E>(
        &self,
        is_wanted: bool,
        entry: &Entry,
        mut take: impl FnMut(u64, &str) -> Result<bool, E>,
    ) -> Result<(), ViewError<E>> {
        if !is_wanted {
            return Ok(());
        }
        let ids = IdReader::new(self.entity);
        let walked = view::each(self.vault, self.tenant, self.entity, entry, |line| {
            match take(ids.id(line).unwrap_or_else(|| mark(line.as_bytes())), line) {
                Ok(true) => Ok(()),
                Ok(false) => Err(None),
                Err(error) => Err(Some(error)),
            }
        });
        match walked.await {
            Ok(_) | Err(ViewError::Taker(None)) => Ok(()),
            Err(ViewError::Taker(Some(error))) => Err(ViewError::Taker(error)),
            Err(ViewError::Vault(error)) => Err(ViewError::Vault(error)),
        }
    }
}

/// Why an entity cannot be compared.
struct Lack {
    why: String,
    on_purpose: bool,
}

fn complete<'a>(manifest: &'a Manifest, entity: &str) -> Result<&'a Entry, Lack> {
    let run = &manifest.run;
    let Some(entry) = manifest.entry(entity) else {
        return Err(Lack { why: format!("{run} does not list it"), on_purpose: true });
    };
    let what = match entry.status {
        EntryStatus::Complete => return Ok(entry),
        EntryStatus::LeftOut => "leaves it out",
        EntryStatus::Skipped => "holds nothing of it",
        EntryStatus::Failed => "does not hold all of it",
    };
    let why = entry.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    Err(Lack { why: format!("{run} {what}{why}"), on_purpose: !entry.status.is_gap() })
}

/// The chunks of an entry's records, in order.
fn chunks(entry: &Entry) -> impl Iterator<Item = (LayerKind, &Chunk)> {
    entry.views().flat_map(|layer| layer.chunks.iter().map(|chunk| (layer.kind, chunk)))
}

/// The part of an entry that can hold records which the other has not: where it builds on the other, what comes after it.
fn apart(entry: &Entry, other: &Entry) -> Entry {
    let mut rest = chunks(entry);
    if !chunks(other).all(|chunk| rest.next() == Some(chunk)) {
        return entry.clone();
    }
    let mut part = Entry::new(&entry.entity);
    for (kind, chunk) in rest {
        part.push(Layer { kind, added: 0, deleted: 0, chunks: vec![chunk.clone()] });
    }
    part
}

/// What a snapshot's index says, or would say.
async fn read_index(
    vault: &Vault,
    tenant: &Tenant,
    entity: &Entity,
    entry: &Entry,
) -> Result<Index, VaultError> {
    // Earlier releases wrote none.
    let is_indexed = entry.records == 0 || entry.index().next().is_some();
    if is_indexed && vault.can_work() {
        return vault.index(tenant, entry).await;
    }
    let mut reader = index::Reader::default();
    let viewed = view::each(vault, tenant, entity, entry, |line| {
        let row = row::read(entity, line, None);
        reader.add(row.id.unwrap_or(row.mark), row.mark);
        Ok::<_, Infallible>(())
    });
    match viewed.await {
        Ok(_) => Ok(reader.finish()),
        Err(ViewError::Vault(error)) => Err(error),
        Err(ViewError::Taker(never)) => match never {},
    }
}

/// The first of these ids, as many as may still be shown.
fn first(ids: &RoaringTreemap, most: &mut u64) -> RoaringTreemap {
    let taken = if ids.len() <= *most {
        ids.clone()
    } else {
        ids.iter().take(usize::try_from(*most).unwrap_or(usize::MAX)).collect()
    };
    *most -= taken.len();
    taken
}
