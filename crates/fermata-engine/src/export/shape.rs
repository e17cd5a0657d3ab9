//! The columns that records are laid out in: found in a first pass, filled in a second.
//!
//! Columns come in the order in which their members were first seen, those of one object together.
//! Two members whose dotted names are the same get two columns: the second is called `<name>_2`.
//! A member without a name is called `_`. Of two members of one object with one name the last counts.

use std::collections::HashSet;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::value::{self, Evidence, Kind};

/// An object with more members than this, over all records, is a map and no record: one column.
/// The widest of Tempo's records has about thirty.
const MEMBERS_MAX: usize = 100;
/// Objects deeper than this stay in one column. Tempo's go down to four.
const DEPTH_MAX: usize = 16;
/// More columns than this are no table; it also bounds the memory of both passes.
const COLUMNS_MAX: usize = 5_000;
/// The column for records that are no objects.
const WHOLE: &str = "_record";
/// What stands for a member whose name is empty.
const NAMELESS: &str = "_";

/// Why a record cannot be laid out in columns.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It is not JSON.
    #[error("it is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// There would be too many columns.
    #[error("with it there are more than {COLUMNS_MAX} columns")]
    TooWide,
    /// The second pass found something that the first had not.
    #[error("it was another one when it was read before")]
    Changed,
}

/// What a first pass has seen.
#[derive(Default)]
pub(super) struct Shape {
    root: Node,
    nodes: usize,
}

/// One place in the records, with the places inside it.
#[derive(Default)]
struct Node {
    evidence: Evidence,
    folded: bool,
    names: Names,
    members: Vec<Node>,
}

/// A column.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// Columns, and a row of them that is filled from one record after another.
pub(super) struct Columns {
    list: Vec<Column>,
    root: Slot,
    cells: Vec<Range<usize>>,
    records: u64,
    guess: bool,
}

/// One place in the records, and the columns that it fills.
struct Slot {
    columns: Range<usize>,
    is_column: bool,
    names: Names,
    members: Vec<Slot>,
    /// The record that it was last met in, from 1.
    met: u64,
}

/// The names of an object's members, in the order in which they were first seen.
#[derive(Default)]
struct Names(Vec<Box<str>>);

impl Shape {
    /// Takes a record into account.
    pub(super) fn learn(&mut self, record: &str) -> Result<(), Flaw> {
        let Self { root, nodes } = self;
        let raw = whole(record)?;
        root.learn(raw, 0, nodes)?;
        if root.evidence.is_one_column() { checked(raw) } else { Ok(()) }
    }

    /// The columns that hold every record learnt; one if there was none, since Parquet needs one.
    pub(super) fn columns(self) -> Columns {
        let guess = self.root.evidence == Evidence::default();
        let mut list = Vec::new();
        let mut taken = HashSet::new();
        let root = self.root.into_slot("", &mut list, &mut taken);
        let cells = vec![0..0; list.len()];
        Columns { list, root, cells, records: 0, guess }
    }
}

impl Node {
    fn learn(&mut self, raw: &str, depth: usize, nodes: &mut usize) -> Result<(), Flaw> {
        self.evidence.add(raw);
        if !self.evidence.has(Evidence::OBJECT) || self.folded {
            return Ok(());
        }
        if self.evidence.is_one_column() || depth == DEPTH_MAX {
            self.fold(nodes);
            return Ok(());
        }
        if !raw.starts_with('{') {
            return Ok(());
        }
        let mut hint = 0;
        members(raw, |name, value| {
            // It may have become too wide a moment ago.
            if self.folded {
                return Ok(());
            }
            let name = value::text(name);
            let Some(found) = self.names.find(&name, &mut hint) else {
                return self.learn_new(&name, value, depth, nodes);
            };
            self.members[found].learn(value, depth + 1, nodes)
        })
    }

    fn learn_new(&mut self, name: &str, value: &str, depth: usize, nodes: &mut usize) -> Result<(), Flaw> {
        if depth > 0 && self.members.len() == MEMBERS_MAX {
            self.fold(nodes);
            return Ok(());
        }
        *nodes += 1;
        if *nodes > COLUMNS_MAX {
            return Err(Flaw::TooWide);
        }
        self.names.0.push(name.into());
        let mut member = Self::default();
        let learnt = member.learn(value, depth + 1, nodes);
        self.members.push(member);
        learnt
    }

    /// Gives up the columns of its members for one of its own.
    fn fold(&mut self, nodes: &mut usize) {
        self.folded = true;
        *nodes -= self.members.iter().map(Self::count).sum::<usize>();
        self.names = Names::default();
        self.members = Vec::new();
    }

    fn count(&self) -> usize {
        1 + self.members.iter().map(Self::count).sum::<usize>()
    }

    fn into_slot(self, path: &str, list: &mut Vec<Column>, taken: &mut HashSet<String>) -> Slot {
        let first = list.len();
        // An object that never had a member is a value like any other.
        let is_column = self.members.is_empty();
        if is_column {
            let name = unique(if path.is_empty() { WHOLE } else { path }, taken);
            list.push(Column { name, kind: self.evidence.kind() });
        }
        let members = self.members.into_iter().zip(&self.names.0).map(|(member, name)| {
            let name = if name.is_empty() { NAMELESS } else { name };
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            member.into_slot(&path, list, taken)
        });
        let members = members.collect();
        Slot { columns: first..list.len(), is_column, names: self.names, members, met: 0 }
    }
}

impl Columns {
    pub(super) fn list(&self) -> &[Column] {
        &self.list
    }

    /// Whether no record was seen, so that the one column stands for those unknown.
    pub(super) fn is_guess(&self) -> bool {
        self.guess
    }

    /// Lays a record out: each column with the raw value it has, nothing where it is null or absent.
    pub(super) fn read<'a>(
        &'a mut self,
        record: &'a str,
    ) -> Result<impl Iterator<Item = (&'a Column, Option<&'a str>)>, Flaw> {
        self.records += 1;
        self.cells.fill(0..0);
        let mut row = Row { record, number: self.records, cells: &mut self.cells };
        row.fill(&mut self.root, whole(record)?)?;
        let cells = self.cells.iter().map(|cell| record.get(cell.clone()).filter(|raw| !raw.is_empty()));
        Ok(self.list.iter().zip(cells))
    }
}

/// A row in the making.
struct Row<'a> {
    record: &'a str,
    number: u64,
    /// Where in the record the value of each column is.
    cells: &'a mut [Range<usize>],
}

impl Row<'_> {
    fn fill(&mut self, slot: &mut Slot, raw: &str) -> Result<(), Flaw> {
        if slot.met == self.number {
            // The second of two members of one name: the first, all of it, does not count.
            self.cells[slot.columns.clone()].fill(0..0);
        }
        slot.met = self.number;
        match raw.as_bytes().first() {
            Some(b'n') => Ok(()),
            Some(_) if slot.is_column => {
                // `raw` is a slice of the record, so the distance of the two is its place.
                let start = raw.as_ptr().addr() - self.record.as_ptr().addr();
                self.cells[slot.columns.start] = start..start + raw.len();
                Ok(())
            }
            Some(b'{') => {
                let mut hint = 0;
                members(raw, |name, value| {
                    let found = slot.names.find(&value::text(name), &mut hint).ok_or(Flaw::Changed)?;
                    self.fill(&mut slot.members[found], value)
                })
            }
            _ => Err(Flaw::Changed),
        }
    }
}

impl Names {
    /// Where a name is. `hint` is where it is looked for first, and then the place after it: the
    /// members of most objects come in the same order.
    fn find(&self, name: &str, hint: &mut usize) -> Option<usize> {
        let (before, after) = self.0.split_at((*hint).min(self.0.len()));
        let found = after.iter().position(|known| **known == *name).map(|found| found + before.len());
        let found = found.or_else(|| before.iter().position(|known| **known == *name))?;
        *hint = found + 1;
        Some(found)
    }
}

/// The value that a record is, without white space around it. Objects are checked by walking them.
fn whole(record: &str) -> Result<&str, Flaw> {
    if record.starts_with('{') {
        return Ok(record);
    }
    serde_json::from_str::<&RawValue>(record).map(RawValue::get).map_err(Flaw::NotJson)
}

fn checked(raw: &str) -> Result<(), Flaw> {
    serde_json::from_str::<&RawValue>(raw).map(drop).map_err(Flaw::NotJson)
}

/// Calls `visit` with the raw name and the raw value of each member of an object.
fn members<'a>(
    object: &'a str,
    mut visit: impl FnMut(&'a str, &'a str) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    let mut outcome = Ok(());
    let mut json = serde_json::Deserializer::from_str(object);
    let walked = json.deserialize_map(Members(|name, value| {
        if outcome.is_ok() {
            outcome = visit(name, value);
        }
    }));
    walked.and_then(|()| json.end()).map_err(Flaw::NotJson)?;
    outcome
}

struct Members<F>(F);

impl<'de, F: FnMut(&'de str, &'de str)> Visitor<'de> for Members<F> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            self.0(name.get(), value.get());
        }
        Ok(())
    }
}

fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut free = name.to_owned();
    let mut number = 1;
    while !taken.insert(free.clone()) {
        number += 1;
        free = format!("{name}_{number}");
    }
    free
}

#[cfg(test)]
mod tests;
