//! The records of a snapshot: sweep rows of whose id no later layer speaks, then the last form of
//! each id that one does, unless the last word on it is that it is gone.
//!
//! Memory is bounded by the changes: an id and a place for each, and two chunks, one that is read and one that is made
//! ready meanwhile.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;

use fermata_core::catalogue::{Delta, Entity};
use fermata_core::manifest::{Chunk, Entry, LayerKind};
use fermata_core::names::Tenant;
use fermata_tempo::row::{self, IdReader};
use fermata_vault::{Vault, VaultError};

/// Why a view stopped.
#[derive(Debug, thiserror::Error)]
pub enum ViewError<E> {
    /// The store could not give what the manifest names.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Whoever took the records failed.
    #[error(transparent)]
    Taker(E),
}

/// Hands each record of an entry's view to `take`, without a line end; returns how many there were.
pub async fn each<E>(
    vault: &Vault,
    tenant: &Tenant,
    entity: &Entity,
    entry: &Entry,
    mut take: impl FnMut(&str) -> Result<(), E>,
) -> Result<u64, ViewError<E>> {
    // On the heap: what waits for it is large otherwise.
    let later = Box::pin(Later::read(vault, tenant, entity, entry)).await?;
    let mut taken = 0;
    let mut take = |line: &str| {
        taken += 1;
        take(line)
    };
    let take_unreplaced = |line: &str| if later.leaves(line) { take(line) } else { Ok(()) };
    lines(vault, tenant, chunks(entry, LayerKind::Sweep), take_unreplaced).await?;
    let mut place = 0;
    let take_newest = |line: &str| {
        place += 1;
        if later.is_last(line, place) { take(line) } else { Ok(()) }
    };
    lines(vault, tenant, chunks(entry, LayerKind::Changes), take_newest).await?;
    Ok(taken)
}

/// What the layers after the sweep say of ids.
pub(crate) struct Later<'a> {
    ids: IdReader<'a>,
    /// For each id that they speak of, the place of its last form among their lines, from 1, or none if it is gone.
    newest: HashMap<u64, Option<u64>>,
}

impl<'a> Later<'a> {
    pub(crate) async fn read(
        vault: &Vault,
        tenant: &Tenant,
        entity: &'a Entity,
        entry: &Entry,
    ) -> Result<Self, VaultError> {
        let (ids, mut newest) = (IdReader::new(entity), HashMap::new());
        let mut place = 0;
        for layer in entry.views().filter(|layer| layer.kind != LayerKind::Sweep) {
            let note = |line: &str| {
                if layer.kind == LayerKind::Deletions {
                    newest.extend(gone(&ids, entity, line).map(|id| (id, None)));
                } else {
                    place += 1;
                    newest.extend(ids.id(line).map(|id| (id, Some(place))));
                }
                Ok::<_, Infallible>(())
            };
            lines(vault, tenant, layer.chunks.clone(), note).await.map_err(|error| match error {
                ViewError::Vault(error) => error,
                ViewError::Taker(never) => match never {},
            })?;
        }
        Ok(Self { ids, newest })
    }

    /// Whether a line of the sweep is in the view: none of them speaks of its id.
    pub(crate) fn leaves(&self, line: &str) -> bool {
        // Most sweeps have nothing after them, and then no id is looked for.
        self.newest.is_empty() || self.ids.id(line).is_none_or(|id| !self.newest.contains_key(&id))
    }

    /// Whether a line of theirs is in the view: it is the last form of its id.
    pub(crate) fn is_last(&self, line: &str, place: u64) -> bool {
        self.ids.id(line).is_none_or(|id| self.newest.get(&id) == Some(&Some(place)))
    }
}

/// The id of which a line of a deletions layer says that it is gone: an audit event's, or what identifies the record.
fn gone(ids: &IdReader<'_>, entity: &Entity, line: &str) -> Option<u64> {
    match entity.delta {
        Some(Delta::Feed(_)) => row::deleted(entity, line),
        _ => ids.id(line),
    }
}

/// The chunks of all layers of a kind, in order.
pub(crate) fn chunks(entry: &Entry, kind: LayerKind) -> Vec<Chunk> {
    entry.views().filter(|layer| layer.kind == kind).flat_map(|layer| layer.chunks.clone()).collect()
}

/// Hands each line of some chunks to `take`; while one is taken the next is made ready beside it.
async fn lines<E>(
    vault: &Vault,
    tenant: &Tenant,
    chunks: Vec<Chunk>,
    mut take: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), ViewError<E>> {
    let mut begun = chunks.into_iter().map(|chunk| tokio::spawn(read(vault.clone(), tenant.clone(), chunk)));
    let mut ahead = begun.next();
    while let Some(ready) = ahead {
        let text = ready.await.expect("reading a chunk does not panic")?;
        ahead = begun.next();
        for line in text.split_terminator('\n') {
            take(line).map_err(ViewError::Taker)?;
        }
    }
    Ok(())
}

/// The lines of a chunk, all at once.
pub(crate) async fn read(vault: Vault, tenant: Tenant, chunk: Chunk) -> Result<String, VaultError> {
    let corrupt = |why: String| VaultError::Corrupt { key: format!("chunk {}", chunk.name), why };
    let mut reader = vault.chunk_reader(&tenant, &chunk).await?;
    let capacity = usize::try_from(chunk.bytes).unwrap_or_default();
    // Milliseconds of work, which a task must not do.
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::with_capacity(capacity);
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes =
        read.await.expect("reading a chunk does not panic").map_err(|error| corrupt(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| corrupt("a record is not UTF-8 text".to_owned()))?;
    let records = text.split_terminator('\n').count() as u64;
    if records == chunk.records {
        Ok(text)
    } else {
        Err(corrupt(format!("it holds {records} records, not {}", chunk.records)))
    }
}
