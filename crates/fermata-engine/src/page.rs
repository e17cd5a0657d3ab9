//! The records of a snapshot a page at a time, for a person who looks at them.
//!
//! The pages one after the other are what [`each`](crate::view::each) gives, in its order. Chunks before the page are passed over by
//! their counts, so it costs the chunks that it lies in and what changed since the sweep, wherever it is.

use std::fmt;
use std::str::FromStr;

use fermata_core::catalogue::Entity;
use fermata_core::manifest::{Chunk, Entry, LayerKind};
use fermata_core::names::Tenant;
use fermata_vault::{Vault, VaultError};

use crate::find::{Condition, Search};
use crate::view::{self, Later};

/// Records that one page looks at in search of those that meet its conditions: a tenth of a second's work.
const LOOKED_MAX: u64 = 20_000;
/// Where records are large, a page ends early.
const PAGE_BYTES: usize = 4 << 20;

/// Where a page begins. Of one snapshot it stays what it is; of another it means another record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(u64);

/// A text that is no cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place in a list of records; leave it out to begin with the first")]
pub struct BadCursor(String);

/// A record and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// A page that begins here begins with it.
    pub at: Cursor,
    /// The record, as it is stored.
    pub text: String,
}

/// A page of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page begins; none when there is nothing more to look at.
    pub next: Option<Cursor>,
    /// Records that were looked at.
    pub looked: u64,
    /// The first field of a condition that none of them has, and the fields that they have.
    pub unknown: Option<(String, Vec<String>)>,
}

/// The records of an entry's view from a place on, at most `most`, that meet all conditions. Needs the data key.
///
/// A page with conditions looks at 20,000 records; where they do not suffice it is not full, and there is a next one.
pub async fn page(
    vault: &Vault,
    tenant: &Tenant,
    entity: &Entity,
    entry: &Entry,
    conditions: &[Condition],
    from: Cursor,
    most: usize,
) -> Result<Page, VaultError> {
    let later = Later::read(vault, tenant, entity, entry).await?;
    let sweep = view::chunks(entry, LayerKind::Sweep);
    let swept = count(&sweep);
    let mut search = Search::new(conditions);
    let mut page = Page::default();
    let mut bytes = 0;
    // The place of the next chunk's first line, among the lines of the sweep and then those of the changes.
    let mut begin = 0;
    'chunks: for chunk in sweep.into_iter().chain(view::chunks(entry, LayerKind::Changes)) {
        let first = begin;
        begin += chunk.records;
        if begin <= from.0 {
            continue;
        }
        let text = view::read(vault.clone(), tenant.clone(), chunk).await?;
        for (at, line) in (first..).zip(text.split_terminator('\n')) {
            let is_viewed =
                || if at < swept { later.leaves(line) } else { later.is_last(line, at - swept + 1) };
            if at < from.0 || !is_viewed() {
                continue;
            }
            if page.records.len() >= most || page.looked == LOOKED_MAX || bytes >= PAGE_BYTES {
                page.next = Some(Cursor(at));
                break 'chunks;
            }
            page.looked += 1;
            if search.wants(line) {
                bytes += line.len();
                page.records.push(Record { at: Cursor(at), text: line.to_owned() });
            }
        }
    }
    page.unknown = search.unknown();
    Ok(page)
}

fn count(chunks: &[Chunk]) -> u64 {
    chunks.iter().map(|chunk| chunk.records).sum()
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        text.parse().map(Self).map_err(|_| BadCursor(text.to_owned()))
    }
}
