//! The records of a snapshot: sweep rows of whose id no later layer speaks, then the last form of
//! each id that one does, unless the last word on it is that it is gone.
//!
//! Memory is bounded by the changes: an id and a place for each, and two chunks, one that is read and one that is made
//! ready meanwhile.

use std::collections::HashMap;
use std::io::Read;

use fermata_core::catalogue::{Delta, Entity};
use fermata_core::manifest::{Chunk, Entry, Layer, LayerKind};
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
    // For each id that a later layer speaks of, the place of its last form, or none if it is gone.
    let mut newest: HashMap<u64, Option<u64>> = HashMap::new();
    let ids = IdReader::new(entity);
    let mut place = 0;
    let later: Vec<&Layer> = entry.views().filter(|layer| layer.kind != LayerKind::Sweep).collect();
    for layer in &later {
        let note = |line: &str| {
            if layer.kind == LayerKind::Deletions {
                newest.extend(gone(&ids, entity, line).map(|id| (id, None)));
            } else {
                place += 1;
                newest.extend(ids.id(line).map(|id| (id, Some(place))));
            }
            Ok::<_, E>(())
        };
        lines(vault, tenant, layer.chunks.clone(), note).await?;
    }
    let mut taken = 0;
    let take_unreplaced = |line: &str| {
        // Most sweeps have nothing after them, and then no id is looked for.
        if !newest.is_empty() && ids.id(line).is_some_and(|id| newest.contains_key(&id)) {
            return Ok(());
        }
        taken += 1;
        take(line)
    };
    lines(vault, tenant, chunks(entry, LayerKind::Sweep), take_unreplaced).await?;
    place = 0;
    let take_newest = |line: &str| {
        place += 1;
        if ids.id(line).is_some_and(|id| newest.get(&id) != Some(&Some(place))) {
            return Ok(());
        }
        taken += 1;
        take(line)
    };
    lines(vault, tenant, chunks(entry, LayerKind::Changes), take_newest).await?;
    Ok(taken)
}

/// The id of which a line of a deletions layer says that it is gone: an audit event's, or what identifies the record.
fn gone(ids: &IdReader<'_>, entity: &Entity, line: &str) -> Option<u64> {
    match entity.delta {
        Some(Delta::Feed(_)) => row::deleted(entity, line),
        _ => ids.id(line),
    }
}

/// The chunks of all layers of a kind, in order.
fn chunks(entry: &Entry, kind: LayerKind) -> Vec<Chunk> {
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
async fn read(vault: Vault, tenant: Tenant, chunk: Chunk) -> Result<String, VaultError> {
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
