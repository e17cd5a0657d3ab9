//! Which records a job has already read.
//!
//! Pages overlap on purpose, lists shift while they are read, and a record may change under the
//! reader. [`Seen`] tells the three apart: a record that is new, one that is known, and one that is
//! known in an older form. Ids are a compressed bitmap: a million worklogs cost about 128 KiB.

use std::collections::HashSet;

use roaring::RoaringTreemap;
use twox_hash::XxHash3_64;

/// What is remembered of the records of one entity.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    ids: RoaringTreemap,
    gone: RoaringTreemap,
    marks: HashSet<u64>,
}

/// What a record is to a job that has read others before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Not read before.
    New,
    /// Read before, and the same to the byte.
    Known,
    /// Read before in another form; this one is the newer.
    Changed,
}

/// A stable hash of some bytes: of a record, or of an id that is text.
///
/// It is not keyed. Where it decides anything the record's id decides with it, so whoever forges a
/// collision can hide an edit of their own record from one run and nothing else.
pub fn mark(bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot(bytes)
}

impl Seen {
    /// Classifies a record by its id and its [`mark`]. A record without an id is always new.
    pub fn classify(&self, id: Option<u64>, mark: u64) -> Class {
        match id {
            Some(id) if self.ids.contains(id) => {
                if self.marks.contains(&mark) {
                    Class::Known
                } else {
                    Class::Changed
                }
            }
            _ => Class::New,
        }
    }

    /// Whether a record of exactly these bytes is among the remembered ones.
    pub fn remembers(&self, mark: u64) -> bool {
        self.marks.contains(&mark)
    }

    /// Adds ids and marks; forgets all earlier marks first when `fresh` says that they can no longer come again.
    pub fn add(&mut self, ids: &RoaringTreemap, marks: &[u64], fresh: bool) {
        self.ids |= ids;
        if fresh {
            self.marks = HashSet::new();
        }
        self.marks.extend(marks);
    }

    /// Every mark that is remembered, in no order.
    pub fn marks(&self) -> impl Iterator<Item = u64> {
        self.marks.iter().copied()
    }

    /// Adds ids of records that were told to be deleted.
    pub fn add_gone(&mut self, ids: &RoaringTreemap) {
        self.gone |= ids;
    }

    /// Every id that was told to be deleted.
    pub fn gone(&self) -> &RoaringTreemap {
        &self.gone
    }

    /// Every id read so far.
    pub fn ids(&self) -> &RoaringTreemap {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_known_and_changed() {
        let mut seen = Seen::default();
        assert_eq!(seen.classify(Some(7), 1), Class::New);
        seen.add(&RoaringTreemap::from_iter([7]), &[1], false);
        assert_eq!(seen.classify(Some(7), 1), Class::Known);
        assert_eq!(seen.classify(Some(7), 2), Class::Changed);
        assert_eq!(seen.classify(Some(8), 1), Class::New, "equal bytes do not make an unknown id known");
        assert_eq!(seen.classify(None, 1), Class::New);
        seen.add(&RoaringTreemap::new(), &[], true);
        assert_eq!(
            seen.classify(Some(7), 1),
            Class::Changed,
            "a forgotten mark costs a repeat, never a record"
        );
    }
}
