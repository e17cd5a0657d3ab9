//! The records of a snapshot: sweep rows of whose id no later layer speaks, then the last form of
//! each id that one does, unless the last word on it is that it is gone.
//!
//! Memory is bounded by the changes: an id and a place for each, and a window of one chunk.

use std::collections::HashMap;

use fermata_core::catalogue::{Delta, Entity};
use fermata_core::manifest::{Chunk, Entry, Layer, LayerKind};
use fermata_core::names::Tenant;
use fermata_tempo::row;
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
    let mut place = 0;
    let later: Vec<&Layer> = entry.views().filter(|layer| layer.kind != LayerKind::Sweep).collect();
    for layer in &later {
        for chunk in &layer.chunks {
            lines(vault, tenant, chunk, &mut |line| {
                if layer.kind == LayerKind::Deletions {
                    newest.extend(gone(entity, line).map(|id| (id, None)));
                } else {
                    place += 1;
                    newest.extend(row::read(entity, line, None).id.map(|id| (id, Some(place))));
                }
                Ok::<_, E>(())
            })
            .await?;
        }
    }
    let mut taken = 0;
    for chunk in entry.views().filter(|layer| layer.kind == LayerKind::Sweep).flat_map(|layer| &layer.chunks)
    {
        lines(vault, tenant, chunk, &mut |line| {
            let replaced = !newest.is_empty()
                && row::read(entity, line, None).id.is_some_and(|id| newest.contains_key(&id));
            if replaced {
                return Ok(());
            }
            taken += 1;
            take(line)
        })
        .await?;
    }
    place = 0;
    for chunk in later.iter().filter(|layer| layer.kind == LayerKind::Changes).flat_map(|layer| &layer.chunks)
    {
        lines(vault, tenant, chunk, &mut |line| {
            place += 1;
            let id = row::read(entity, line, None).id;
            if id.is_some_and(|id| newest.get(&id) != Some(&Some(place))) {
                return Ok(());
            }
            taken += 1;
            take(line)
        })
        .await?;
    }
    Ok(taken)
}

/// The id of which a line of a deletions layer says that it is gone: an audit event's, or what identifies the record.
fn gone(entity: &Entity, line: &str) -> Option<u64> {
    match entity.delta {
        Some(Delta::Feed(_)) => row::told_of(line),
        _ => row::read(entity, line, None).id,
    }
}

async fn lines<E>(
    vault: &Vault,
    tenant: &Tenant,
    chunk: &Chunk,
    take: &mut impl FnMut(&str) -> Result<(), E>,
) -> Result<(), ViewError<E>> {
    let corrupt = |why: String| VaultError::Corrupt { key: format!("chunk {}", chunk.name), why };
    let mut reader = vault.chunk_reader(tenant, chunk).await?;
    let mut line = Vec::new();
    let mut records = 0;
    while reader.next_record(&mut line).map_err(|error| corrupt(error.to_string()))? {
        records += 1;
        let text =
            std::str::from_utf8(&line).map_err(|_| corrupt("a record is not UTF-8 text".to_owned()))?;
        take(text).map_err(ViewError::Taker)?;
    }
    if records == chunk.records {
        Ok(())
    } else {
        Err(corrupt(format!("it holds {records} records, not {}", chunk.records)).into())
    }
}
