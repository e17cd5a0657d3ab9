//! What a page comes to: which records are new, which are newer forms of known ones, and where
//! chunks end. A pure function of the page and of what was seen before.

use std::collections::HashSet;

use fermata_core::catalogue::Entity;
use fermata_core::checkpoint::body::Keys;
use fermata_core::manifest::LayerKind;
use fermata_core::seen::{Class, Seen};
use fermata_tempo::page::Page;
use fermata_tempo::row::{self, Row};
use jiff::{Timestamp, civil::Date};
use roaring::RoaringTreemap;

/// A chunk does not close before it holds this much.
const CHUNK_BYTES_MIN: u64 = 5 << 20;
/// A chunk closes at this much whatever its records are.
const CHUNK_BYTES_MAX: u64 = 16 << 20;
/// Between the two it closes after a record whose mark ends in twelve zero bits, one in 4,096: the
/// boundary depends on the records alone, so it is found again after an edit before it.
const BOUNDARY_MASK: u64 = 0xfff;

/// What a page comes to.
#[derive(Debug, Default)]
pub struct Digest {
    /// Lines to keep, in pieces that end where a chunk does.
    pub pieces: Vec<Piece>,
    /// What is known of each record of the page, in order.
    pub rows: Vec<Row>,
    /// Records that were new.
    pub new: u64,
    /// Records that were newer forms of known ones.
    pub changed: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Whether the first record was known to the byte.
    pub first_known: bool,
    /// Whether the first record was known in any form; one that nothing identifies passes for known.
    pub first_met: bool,
    /// Ids that were new.
    pub ids: RoaringTreemap,
    /// Keys found.
    pub keys: Keys,
    /// The first and last day that the records are about.
    pub days: Option<(Date, Date)>,
}

/// Lines of one layer that go into one chunk.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which layer.
    pub layer: LayerKind,
    /// Whole lines.
    pub lines: Vec<u8>,
    /// Whether the chunk ends with them.
    pub ends: bool,
}

/// Digests a page. `open` holds the bytes in the open chunks of the sweep and of the changes.
pub fn digest(entity: &Entity, parent: Option<&str>, page: &Page, seen: &Seen, open: [u64; 2]) -> Digest {
    let mut digest = Digest::default();
    let mut layers = [Lines::new(LayerKind::Sweep, open[0]), Lines::new(LayerKind::Changes, open[1])];
    let mut marks = HashSet::new();
    let mut line = Vec::new();
    for (at, record) in page.records().enumerate() {
        line.clear();
        row::append_line(entity, parent, record, &mut line);
        let text = std::str::from_utf8(&line).expect("a record is a slice of text");
        let row = row::read(entity, text.trim_end_matches('\n'), Some(&mut digest.keys));
        let on_page = row.id.is_some_and(|id| digest.ids.contains(id));
        let class = match seen.classify(row.id, row.mark) {
            Class::New if on_page && marks.contains(&row.mark) => Class::Known,
            Class::New if on_page => Class::Changed,
            class => class,
        };
        if at == 0 {
            digest.first_known = class == Class::Known || (row.id.is_none() && seen.remembers(row.mark));
            digest.first_met = class != Class::New || row.id.is_none();
        }
        let layer = match class {
            Class::New => &mut layers[0],
            Class::Changed => &mut layers[1],
            Class::Known => {
                digest.rows.push(row);
                continue;
            }
        };
        layer.push(&line, row.mark, &mut digest.pieces);
        digest.bytes += line.len() as u64;
        digest.new += u64::from(class == Class::New);
        digest.changed += u64::from(class == Class::Changed);
        digest.days = widen(digest.days, row.day);
        digest.ids.extend(row.id);
        marks.insert(row.mark);
        digest.rows.push(row);
    }
    for layer in layers {
        layer.finish(&mut digest.pieces);
    }
    digest
}

impl Digest {
    /// When each record last changed; `None` when one did not say.
    pub fn changed_at(&self) -> Option<Vec<Timestamp>> {
        self.rows.iter().map(|row| row.changed).collect()
    }
}

/// The widest range of two ranges of days.
pub fn widen(days: Option<(Date, Date)>, day: Option<Date>) -> Option<(Date, Date)> {
    match (days, day) {
        (Some((first, last)), Some(day)) => Some((first.min(day), last.max(day))),
        (None, Some(day)) => Some((day, day)),
        (days, None) => days,
    }
}

/// The lines of one layer since its chunk last ended.
struct Lines {
    layer: LayerKind,
    open: u64,
    text: Vec<u8>,
}

impl Lines {
    fn new(layer: LayerKind, open: u64) -> Self {
        Self { layer, open, text: Vec::new() }
    }

    fn push(&mut self, line: &[u8], mark: u64, pieces: &mut Vec<Piece>) {
        self.text.extend_from_slice(line);
        self.open += line.len() as u64;
        let boundary = self.open >= CHUNK_BYTES_MIN && mark & BOUNDARY_MASK == 0;
        if boundary || self.open >= CHUNK_BYTES_MAX {
            pieces.push(Piece { layer: self.layer, lines: std::mem::take(&mut self.text), ends: true });
            self.open = 0;
        }
    }

    fn finish(self, pieces: &mut Vec<Piece>) {
        if !self.text.is_empty() {
            pieces.push(Piece { layer: self.layer, lines: self.text, ends: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fermata_core::catalogue::{Records, entity};

    fn page(records: &[String]) -> Page {
        let body = format!(r#"{{"results":[{}]}}"#, records.join(","));
        Page::new(body.into(), Records::Under("results")).unwrap()
    }

    fn worklog(id: u64, text: &str) -> String {
        format!(r#"{{"tempoWorklogId":{id},"startDate":"2026-03-0{}","description":"{text}"}}"#, id % 9 + 1)
    }

    fn texts(digest: &Digest, layer: LayerKind) -> String {
        let pieces = digest.pieces.iter().filter(|piece| piece.layer == layer);
        pieces.map(|piece| String::from_utf8(piece.lines.clone()).unwrap()).collect()
    }

    #[test]
    fn new_changed_and_known_records_part_ways() {
        let worklogs = entity("worklogs").unwrap();
        let first =
            digest(worklogs, None, &page(&[worklog(1, "a"), worklog(2, "b")]), &Seen::default(), [0, 0]);
        assert_eq!((first.new, first.changed, first.first_known), (2, 0, false));
        assert_eq!(first.days, Some(("2026-03-02".parse().unwrap(), "2026-03-03".parse().unwrap())));
        let mut seen = Seen::default();
        seen.add(&first.ids, &first.rows.iter().map(|row| row.mark).collect::<Vec<_>>(), false);

        let records =
            [worklog(2, "b"), worklog(1, "edited"), worklog(3, "c"), worklog(3, "c"), worklog(3, "twice")];
        let next = digest(worklogs, None, &page(&records), &seen, [0, 0]);
        assert_eq!((next.new, next.changed, next.first_known), (1, 2, true));
        assert_eq!(texts(&next, LayerKind::Sweep), worklog(3, "c") + "\n");
        assert_eq!(
            texts(&next, LayerKind::Changes),
            worklog(1, "edited") + "\n" + &worklog(3, "twice") + "\n"
        );
    }

    #[test]
    fn chunks_end_where_the_records_say() {
        let worklogs = entity("worklogs").unwrap();
        let text = "x".repeat(700);
        let records: Vec<_> = (0..30_000).map(|id| worklog(id, &text)).collect();
        let ends = |at_once: usize| {
            let (mut open, mut size, mut ends) = (0, 0, Vec::new());
            for some in records.chunks(at_once) {
                for piece in digest(worklogs, None, &page(some), &Seen::default(), [open, 0]).pieces {
                    size += piece.lines.len();
                    open = if piece.ends { 0 } else { open + piece.lines.len() as u64 };
                    if piece.ends {
                        ends.push(size);
                    }
                }
            }
            ends
        };
        let expect = ends(5_000);
        assert!(!expect.is_empty());
        assert_eq!(ends(777), expect, "whatever the size of a page");
    }
}
