//! What a page comes to: which records are new, which are newer forms of known ones, how they compare with the snapshot
//! before, and where chunks end. Pure functions of the page and of what it is compared with.

use std::collections::HashSet;

use fermata_core::catalogue::{Entity, Key};
use fermata_core::checkpoint::body::Keys;
use fermata_core::checkpoint::{LAYERS, PerLayer, slot};
use fermata_core::index::{self, Index};
use fermata_core::manifest::LayerKind;
use fermata_core::seen::{Class, Seen, mark};
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
    /// How many lines of each layer.
    pub kept: PerLayer<u64>,
    /// What is known of each record of the page, in order.
    pub rows: Vec<Row>,
    /// Records that were new to this job.
    pub new: u64,
    /// Records that were newer forms of those that it had read.
    pub changed: u64,
    /// Records that it had read in this form.
    pub repeats: u64,
    /// Bytes of the records kept.
    pub bytes: u64,
    /// How the records compare with the base, each counted once.
    pub compared: Compared,
    /// Whether the first record was known to the byte.
    pub first_known: bool,
    /// Whether the first record was known in any form; one that nothing identifies passes for known.
    pub first_met: bool,
    /// Ids that were new.
    pub ids: RoaringTreemap,
    /// Ids of the base that are gone.
    pub gone: RoaringTreemap,
    /// Keys found.
    pub keys: Keys,
    /// The first and last day that the records are about.
    pub days: Option<(Date, Date)>,
}

/// How records compare with those of the base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// It did not have them.
    pub added: u64,
    /// It had them in another form.
    pub changed: u64,
    /// It had them so.
    pub unchanged: u64,
    /// Those of the first two that, by their own time of change, Tempo should have told of before.
    pub untold: u64,
}

/// What a page is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// What this job has read.
    pub seen: &'a Seen,
    /// What the snapshot before has, if there is one.
    pub base: Option<&'a Index>,
    /// Whether the job adds to that snapshot: then what it has is not kept again.
    pub builds: bool,
    /// From when on Tempo had not told what changed.
    pub since: Option<Timestamp>,
    /// Bytes in the open chunk of each layer.
    pub open: PerLayer<u64>,
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

/// Digests a page of records.
pub fn digest(entity: &Entity, parent: Option<&str>, page: &Page, against: &Against<'_>) -> Digest {
    let mut digest = Digest::default();
    let mut layers = Layers::new(against.open);
    let mut marks = HashSet::new();
    let mut line = Vec::new();
    for (at, record) in page.records().enumerate() {
        line.clear();
        row::append_line(entity, parent, record, &mut line);
        let text = std::str::from_utf8(&line).expect("a record is a slice of text");
        let row = row::read(entity, text.trim_end_matches('\n'), Some(&mut digest.keys));
        let on_page = row.id.is_some_and(|id| digest.ids.contains(id));
        let class = match against.seen.classify(row.id, row.mark) {
            Class::New if on_page && marks.contains(&row.mark) => Class::Known,
            Class::New if on_page => Class::Changed,
            class => class,
        };
        if at == 0 {
            let remembered = row.id.is_none() && against.seen.remembers(row.mark);
            digest.first_known = class == Class::Known || remembered;
            digest.first_met = class != Class::New || row.id.is_none();
        }
        digest.rows.push(row);
        if class == Class::Known {
            digest.repeats += 1;
            continue;
        }
        digest.new += u64::from(class == Class::New);
        digest.changed += u64::from(class == Class::Changed);
        digest.days = widen(digest.days, row.day);
        digest.ids.extend(row.id);
        marks.insert(row.mark);
        if against.compare(&row, class, &mut digest.compared) {
            let layer = match class {
                Class::New if !against.builds => LayerKind::Sweep,
                _ => LayerKind::Changes,
            };
            layers.push(layer, &line, row.mark, &mut digest);
            digest.bytes += line.len() as u64;
            line.clear();
            index::put(row.id.unwrap_or(row.mark), row.mark, &mut line);
            layers.push(LayerKind::Index, &line, row.mark, &mut digest);
        }
    }
    layers.finish(&mut digest.pieces);
    digest
}

/// Digests a page of audit events that tell what was deleted. Kept are, where the job adds to a snapshot, those of records
/// that it has.
pub fn deletions(entity: &Entity, page: &Page, against: &Against<'_>) -> Digest {
    let mut digest = Digest::default();
    let mut layers = Layers::new(against.open);
    let mut line = Vec::new();
    for record in page.records() {
        digest.rows.push(Row::default());
        let Some(id) = row::deleted(entity, record).filter(|id| against.has(*id)) else { continue };
        if !digest.gone.insert(id) || !against.builds {
            continue;
        }
        line.clear();
        row::append_line(entity, None, record, &mut line);
        digest.bytes += line.len() as u64;
        layers.push_gone(id, &line, &mut digest);
    }
    layers.finish(&mut digest.pieces);
    digest
}

/// The lines that say of these ids that they are gone, for an entity whose records go with those of another.
pub fn forget(entity: &Entity, ids: &RoaringTreemap, open: PerLayer<u64>) -> Digest {
    let mut digest = Digest::default();
    let mut layers = Layers::new(open);
    let member = entity.identity.first().copied().unwrap_or_default();
    for id in ids {
        let line = format!("{{\"{member}\":{id}}}\n");
        digest.bytes += line.len() as u64;
        layers.push_gone(id, line.as_bytes(), &mut digest);
    }
    digest.gone.clone_from(ids);
    layers.finish(&mut digest.pieces);
    digest
}

/// The lines of an index that name keys.
pub fn name_keys<'a>(keys: impl Iterator<Item = (Key, &'a String)>, open: PerLayer<u64>) -> Digest {
    let mut digest = Digest::default();
    let mut layers = Layers::new(open);
    let mut line = Vec::new();
    for (key, value) in keys {
        line.clear();
        index::put_key(key, value, &mut line);
        layers.push(LayerKind::Index, &line, mark(&line), &mut digest);
    }
    layers.finish(&mut digest.pieces);
    digest
}

impl Against<'_> {
    /// The mark that the base has of an id that is not gone.
    fn mark(&self, id: u64) -> Option<u64> {
        self.base?.mark(id).filter(|_| !self.seen.gone().contains(id))
    }

    /// Whether the base has an id of which was not yet said that it is gone.
    fn has(&self, id: u64) -> bool {
        self.mark(id).is_some()
    }

    /// Compares a record that this job had not in this form; whether it is to be kept.
    fn compare(&self, row: &Row, class: Class, compared: &mut Compared) -> bool {
        let before = self.mark(row.id.unwrap_or(row.mark));
        let told = || self.since.is_some_and(|since| row.changed.is_some_and(|changed| changed < since));
        match (class, before) {
            // It was counted as it was when it was read first.
            (Class::Changed | Class::Known, _) => {}
            (Class::New, Some(before)) if before == row.mark => {
                compared.unchanged += 1;
                return !self.builds;
            }
            (Class::New, before) => {
                compared.added += u64::from(before.is_none());
                compared.changed += u64::from(before.is_some());
                compared.untold += u64::from(told());
            }
        }
        true
    }
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

/// The lines of each layer since its chunk last ended.
struct Layers(PerLayer<Lines>);

struct Lines {
    layer: LayerKind,
    open: u64,
    text: Vec<u8>,
}

impl Layers {
    fn new(open: PerLayer<u64>) -> Self {
        Self(LAYERS.map(|layer| Lines { layer, open: open[slot(layer)], text: Vec::new() }))
    }

    fn push(&mut self, layer: LayerKind, line: &[u8], mark: u64, digest: &mut Digest) {
        let lines = &mut self.0[slot(layer)];
        digest.kept[slot(layer)] += 1;
        lines.text.extend_from_slice(line);
        lines.open += line.len() as u64;
        let boundary = lines.open >= CHUNK_BYTES_MIN && mark & BOUNDARY_MASK == 0;
        if boundary || lines.open >= CHUNK_BYTES_MAX {
            digest.pieces.push(Piece { layer, lines: std::mem::take(&mut lines.text), ends: true });
            lines.open = 0;
        }
    }

    fn push_gone(&mut self, id: u64, line: &[u8], digest: &mut Digest) {
        self.push(LayerKind::Deletions, line, mark(line), digest);
        let mut gone = Vec::new();
        index::put_gone(id, &mut gone);
        self.push(LayerKind::Index, &gone, mark(line), digest);
    }

    fn finish(self, pieces: &mut Vec<Piece>) {
        let rest = self.0.into_iter().filter(|lines| !lines.text.is_empty());
        pieces.extend(rest.map(|lines| Piece { layer: lines.layer, lines: lines.text, ends: false }));
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

    fn alone(seen: &Seen, open: PerLayer<u64>) -> Against<'_> {
        Against { seen, base: None, builds: false, since: None, open }
    }

    #[test]
    fn new_changed_and_known_records_part_ways() {
        let worklogs = entity("worklogs").unwrap();
        let none = Seen::default();
        let first = digest(worklogs, None, &page(&[worklog(1, "a"), worklog(2, "b")]), &alone(&none, [0; 4]));
        assert_eq!((first.new, first.changed, first.first_known), (2, 0, false));
        assert_eq!(first.days, Some(("2026-03-02".parse().unwrap(), "2026-03-03".parse().unwrap())));
        let mut seen = Seen::default();
        seen.add(&first.ids, &first.rows.iter().map(|row| row.mark).collect::<Vec<_>>(), false);

        let records =
            [worklog(2, "b"), worklog(1, "edited"), worklog(3, "c"), worklog(3, "c"), worklog(3, "twice")];
        let next = digest(worklogs, None, &page(&records), &alone(&seen, [0; 4]));
        assert_eq!(next.kept, [1, 0, 2, 3]);
        assert_eq!((next.new, next.changed, next.first_known), (1, 2, true));
        assert_eq!(texts(&next, LayerKind::Sweep), worklog(3, "c") + "\n");
        assert_eq!(
            texts(&next, LayerKind::Changes),
            worklog(1, "edited") + "\n" + &worklog(3, "twice") + "\n"
        );
    }

    /// A page against a snapshot with these records, of which these ids are gone since.
    fn compared(records: &[String], base: &[String], gone: &[u64], builds: bool) -> Digest {
        let worklogs = entity("worklogs").unwrap();
        let before = digest(worklogs, None, &page(base), &alone(&Seen::default(), [0; 4]));
        let mut reader = index::Reader::default();
        reader.read(texts(&before, LayerKind::Index).as_bytes()).unwrap();
        let mut seen = Seen::default();
        seen.add_gone(&gone.iter().copied().collect());
        let index = reader.finish();
        let since = Some("2026-03-01T00:00:00Z".parse().unwrap());
        let against = Against { seen: &seen, base: Some(&index), builds, since, open: [0; 4] };
        digest(worklogs, None, &page(records), &against)
    }

    #[test]
    fn what_the_base_has_is_kept_by_a_sweep_and_not_by_a_delta() {
        let base = [worklog(1, "a"), worklog(2, "b"), worklog(3, "c")];
        let records = [worklog(1, "a"), worklog(2, "edited"), worklog(3, "c"), worklog(4, "d")];
        let all = Compared { added: 2, changed: 1, unchanged: 1, untold: 0 };
        let delta = compared(&records, &base, &[3], true);
        let kept = [worklog(2, "edited"), worklog(3, "c"), worklog(4, "d")].join("\n") + "\n";
        assert_eq!((delta.compared, delta.kept), (all, [0, 0, 3, 3]));
        assert_eq!(texts(&delta, LayerKind::Changes), kept, "what is said to be gone and is not comes back");
        let sweep = compared(&records, &base, &[3], false);
        assert_eq!((sweep.compared, sweep.kept), (all, [4, 0, 0, 4]));
    }

    #[test]
    fn what_changed_before_it_was_told_of_is_drift() {
        let at = |id: u64, when: &str| {
            format!(r#"{{"tempoWorklogId":{id},"updatedAt":"2026-0{when}T00:00:00Z"}}"#)
        };
        let base = [at(1, "1-01"), at(2, "1-01")];
        let sweep =
            compared(&[at(1, "2-01"), at(2, "3-02"), at(3, "2-01"), at(4, "3-02")], &base, &[], false);
        assert_eq!(sweep.compared, Compared { added: 2, changed: 2, unchanged: 0, untold: 2 });
    }

    #[test]
    fn only_what_the_base_has_can_be_gone() {
        let worklogs = entity("worklogs").unwrap();
        let base = digest(worklogs, None, &page(&[worklog(7, "a")]), &alone(&Seen::default(), [0; 4]));
        let mut reader = index::Reader::default();
        reader.read(texts(&base, LayerKind::Index).as_bytes()).unwrap();
        let (seen, index) = (Seen::default(), reader.finish());
        let against = Against { base: Some(&index), builds: true, ..alone(&seen, [0; 4]) };
        let event = |id: &str| format!(r#"{{"action":"Deleted","entityType":"worklog","entityId":"{id}"}}"#);
        let other = [event("7").replace("worklog", "account"), event("7").replace("Deleted", "Updated")];
        let told = deletions(worklogs, &page(&other), &against);
        assert_eq!((told.gone.len(), told.kept), (0, [0; 4]), "nothing that was not asked for is believed");
        let events = [event("7"), event("8"), event("x"), event("7")];
        let told = deletions(worklogs, &page(&events), &against);
        assert_eq!((told.gone.iter().collect::<Vec<_>>(), told.kept), (vec![7], [0, 1, 0, 1]));
        assert_eq!(texts(&told, LayerKind::Deletions), event("7") + "\n");
        assert_eq!(texts(&told, LayerKind::Index), "7\n");
        let checked = deletions(worklogs, &page(&events), &Against { builds: false, ..against });
        assert_eq!((checked.gone.len(), checked.kept), (1, [0; 4]));
    }

    #[test]
    fn chunks_end_where_the_records_say() {
        let worklogs = entity("worklogs").unwrap();
        let text = "x".repeat(700);
        let records: Vec<_> = (0..30_000).map(|id| worklog(id, &text)).collect();
        let ends = |at_once: usize| {
            let (mut open, mut size, mut ends) = ([0; 4], 0, Vec::new());
            for some in records.chunks(at_once) {
                for piece in digest(worklogs, None, &page(some), &alone(&Seen::default(), open)).pieces {
                    let slot = slot(piece.layer);
                    open[slot] = if piece.ends { 0 } else { open[slot] + piece.lines.len() as u64 };
                    if piece.layer == LayerKind::Index {
                        continue;
                    }
                    size += piece.lines.len();
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
