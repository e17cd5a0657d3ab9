//! What a snapshot tells later backups of an entity: which records it holds, in which form, and which keys they gave.
//!
//! An index is text, a line for each thing, and grows by appending: a later line about an id counts more.
//! It is sealed to the workers' key, so a fleet that cannot read records can still tell what changed in them.
//!
//! ```text
//! 54001 9f3a2b1c00112233           a record with this id and, in hexadecimal, this mark
//! 54001                            a record that is gone
//! {"key":"user","value":"70121:0a"}   a key that other entities are asked by
//! ```
//!
//! Where nothing identifies an entity's records the mark stands for the id.

use std::io::Write;

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use crate::catalogue::Key;
use crate::checkpoint::body::Keys;

/// An index, read. It costs 16 bytes for a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// By id.
    marks: Vec<(u64, u64)>,
    keys: Keys,
}

/// An index as it is read, a piece after another.
#[derive(Debug, Default)]
pub struct Reader {
    said: Vec<(u64, Option<u64>)>,
    keys: Keys,
}

/// A line that is none of an index.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {0} of the index has a wrong shape")]
pub struct IndexError(usize);

#[derive(Serialize, Deserialize)]
struct KeyLine<'a> {
    key: &'a str,
    value: std::borrow::Cow<'a, str>,
}

/// Appends the line of a record.
pub fn put(id: u64, mark: u64, lines: &mut Vec<u8>) {
    writeln!(lines, "{id} {mark:016x}").expect("a Vec takes every write");
}

/// Appends the line of a record that is gone.
pub fn put_gone(id: u64, lines: &mut Vec<u8>) {
    writeln!(lines, "{id}").expect("a Vec takes every write");
}

/// Appends the line of a key.
pub fn put_key(key: Key, value: &str, lines: &mut Vec<u8>) {
    let line = KeyLine { key: key.name(), value: value.into() };
    serde_json::to_writer(&mut *lines, &line).expect("a Vec takes every write");
    lines.push(b'\n');
}

impl Reader {
    /// Reads whole lines.
    pub fn read(&mut self, lines: &[u8]) -> Result<(), IndexError> {
        let lines = lines.strip_suffix(b"\n").unwrap_or(lines);
        if lines.is_empty() {
            return Ok(());
        }
        for (at, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            self.line(line).ok_or(IndexError(at + 1))?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Option<()> {
        let line = std::str::from_utf8(line).ok()?;
        if line.starts_with('{') {
            let KeyLine { key, value } = serde_json::from_str(line).ok()?;
            // A kind that only another release collects is nothing to this one.
            if let Some(key) = Key::named(key) {
                self.keys.entry(key).or_default().insert(value.into_owned());
            }
            return Some(());
        }
        let (id, mark) = match line.split_once(' ') {
            Some((id, mark)) => (id, Some(u64::from_str_radix(mark, 16).ok()?)),
            None => (line, None),
        };
        self.said.push((id.parse().ok()?, mark));
        Some(())
    }

    /// Takes a record in that no line tells of.
    pub fn add(&mut self, id: u64, mark: u64) {
        self.said.push((id, Some(mark)));
    }

    /// The index that was read.
    pub fn finish(mut self) -> Index {
        // What was said last of an id comes last of its equals.
        self.said.sort_by_key(|(id, _)| *id);
        let mut marks: Vec<(u64, u64)> = Vec::with_capacity(self.said.len());
        for said in self.said.chunk_by(|a, b| a.0 == b.0) {
            if let Some((id, Some(mark))) = said.last() {
                marks.push((*id, *mark));
            }
        }
        Index { marks, keys: self.keys }
    }
}

impl Index {
    /// The mark of a record, if it is there.
    pub fn mark(&self, id: u64) -> Option<u64> {
        let at = self.marks.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(self.marks[at].1)
    }

    /// The ids of its records.
    pub fn ids(&self) -> RoaringTreemap {
        RoaringTreemap::from_sorted_iter(self.marks.iter().map(|(id, _)| *id)).expect("they are sorted")
    }

    /// Every id and mark, by id.
    pub fn marks(&self) -> &[(u64, u64)] {
        &self.marks
    }

    /// The keys that its records gave.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_word_on_an_id_counts() {
        let mut lines = Vec::new();
        put(54_001, 1, &mut lines);
        put(7, 0xab, &mut lines);
        put_key(Key::User, "5b:\"x\n", &mut lines);
        put_gone(54_001, &mut lines);
        let text = "54001 0000000000000001\n7 00000000000000ab\n{\"key\":\"user\",\"value\":\"5b:\\\"x\\n\"}\n54001\n";
        assert_eq!(String::from_utf8(lines.clone()).unwrap(), text);
        let mut reader = Reader::default();
        reader.read(&lines).unwrap();
        reader.read(b"8 02\n").unwrap();
        reader.read(b"").unwrap();
        let index = reader.finish();
        assert_eq!(index.marks(), [(7, 0xab), (8, 2)]);
        assert_eq!((index.mark(7), index.mark(54_001)), (Some(0xab), None));
        assert_eq!(index.keys()[&Key::User].iter().collect::<Vec<_>>(), ["5b:\"x\n"]);
    }

    #[test]
    fn what_is_no_index_is_an_error() {
        for bad in ["x", "7 xyz", "7 1 2", " 7", "{}", "\n7 1"] {
            assert!(Reader::default().read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// As a map that is told the same.
        #[test]
        fn an_index_is_a_map(said in prop::collection::vec((0_u64..20, prop::option::of(any::<u64>())), 0..60), cut in 0_usize..60) {
            let mut map = std::collections::BTreeMap::new();
            let mut reader = Reader::default();
            let (head, tail) = said.split_at(cut.min(said.len()));
            for part in [head, tail] {
                let mut lines = Vec::new();
                for (id, mark) in part {
                    if let Some(mark) = mark {
                        put(*id, *mark, &mut lines);
                        map.insert(*id, *mark);
                    } else {
                        put_gone(*id, &mut lines);
                        map.remove(id);
                    }
                }
                reader.read(&lines).unwrap();
            }
            let index = reader.finish();
            prop_assert_eq!(index.marks().to_vec(), map.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(index.ids().len(), index.marks().len() as u64);
        }
    }
}
