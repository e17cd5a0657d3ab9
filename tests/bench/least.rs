//! The least requests that a site can be read with, computed from its records: one for each page that
//! they fill, one for each key of a fan-out, and no list asked twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use anyhow::Result;
use fermata_core::catalogue::{ENTITIES, Entity, Key, Over, Read};
use fermata_core::checkpoint::body::Keys;
use fermata_tempo::row;

/// What an entity's records say.
#[derive(Default)]
struct Held {
    /// Records of each parent.
    rows: BTreeMap<String, u64>,
    keys: Keys,
    ids: BTreeSet<u64>,
}

/// The least requests of each entity, from a folder of exported records.
pub(crate) fn requests(exported: &Path) -> Result<BTreeMap<&'static str, u64>> {
    let mut held = BTreeMap::new();
    for entity in ENTITIES {
        held.insert(entity.name, read(entity, &exported.join(entity.name).with_extension("ndjson"))?);
    }
    let count = |entity: &Entity, key: Key| {
        let givers = entity.parents().filter(|parent| parent.gives(key)).map(|parent| &held[parent.name]);
        match key {
            Key::Worklog => givers.map(|giver| giver.ids.len() as u64).sum(),
            key => {
                let values: BTreeSet<_> = givers.filter_map(|giver| giver.keys.get(&key)).flatten().collect();
                values.len() as u64
            }
        }
    };
    Ok(ENTITIES
        .iter()
        .map(|entity| {
            let rows = &held[entity.name].rows;
            let requests = entity.reads.iter().map(|read| {
                let items = match read.over {
                    Over::Once => 1,
                    Over::Each(keys) => keys.iter().map(|key| count(entity, *key)).product(),
                    Over::Batch(key, at_once) => count(entity, key).div_ceil(at_once as u64),
                };
                items + more_pages(entity, read, rows, items)
            });
            (entity.name, requests.sum())
        })
        .collect())
}

/// Pages that records fill beyond the first of each item.
fn more_pages(entity: &Entity, read: &Read, rows: &BTreeMap<String, u64>, items: u64) -> u64 {
    // Which of several requests brought a record does not stand in it; such lists are short.
    if entity.reads.len() > 1 || read.limit == 0 {
        return 0;
    }
    let pages = rows.values().map(|rows| rows.div_ceil(u64::from(read.limit)));
    match read.over {
        Over::Batch(..) => pages.sum::<u64>().saturating_sub(items),
        _ => pages.map(|pages| pages.saturating_sub(1)).sum(),
    }
}

fn read(entity: &Entity, file: &Path) -> Result<Held> {
    let mut held = Held::default();
    let file = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(held),
        file => file?,
    };
    for line in BufReader::new(file).lines() {
        let line = line?;
        let row = row::read(entity, &line, Some(&mut held.keys));
        let parent = line.strip_prefix("{\"_parent\":").and_then(|rest| rest.split_once('}'));
        *held.rows.entry(parent.map_or_else(String::new, |(parent, _)| parent.to_owned())).or_default() += 1;
        if entity.gives(Key::Worklog) {
            held.ids.extend(row.id);
        }
    }
    Ok(held)
}
