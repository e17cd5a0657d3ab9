//! The keys that a request is repeated over.
//!
//! Items come in the order of their text, and a cursor holds the last one that is done, so a resume
//! finds its place however the keys were collected.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use fermata_core::catalogue::{Key, Over};
use fermata_core::checkpoint::body::Keys;
use fermata_tempo::request::Values;
use roaring::RoaringTreemap;

/// Stands between the keys of a combination; no key of Tempo's holds it.
const BETWEEN: char = '\u{1f}';

/// The keys that an entity's parents yielded.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Keys by their kind.
    pub keys: Keys,
    /// Worklog ids.
    pub worklogs: RoaringTreemap,
    /// Kinds of which there may be more, with the entity that could not all be read.
    pub partial: BTreeMap<Key, &'static str>,
}

/// One request's worth of keys.
#[derive(Debug, Default)]
pub struct Item {
    /// What a cursor holds when this item is done.
    pub name: String,
    /// The keys, for the request.
    pub values: Values,
}

impl Found {
    /// Adds the keys of another entity.
    pub fn add(&mut self, keys: &Keys, worklogs: Option<&RoaringTreemap>) {
        for (key, values) in keys {
            self.keys.entry(*key).or_default().extend(values.iter().cloned());
        }
        if let Some(ids) = worklogs {
            self.worklogs |= ids;
        }
    }

    /// The first item after the one named, and none when there are no more.
    pub fn item_after(&self, over: &Over, after: Option<&str>) -> Option<Item> {
        match over {
            Over::Once if after.is_some() => None,
            Over::Once => Some(Item::default()),
            Over::Each(keys) => self.combination_after(keys, after),
            Over::Batch(key, at_once) => {
                let batch = self.batch_after(*key, *at_once, after);
                let name = batch.last()?.clone();
                Some(Item { name, values: Values { batch: Some((*key, batch)), ..Values::default() } })
            }
        }
    }

    /// How many items a request is repeated over.
    pub fn count(&self, over: &Over) -> u64 {
        let count = |key: &Key| match key {
            Key::Worklog => self.worklogs.len(),
            key => self.keys.get(key).map_or(0, |values| values.len() as u64),
        };
        match over {
            Over::Once => 1,
            Over::Each(keys) => keys.iter().map(count).product(),
            Over::Batch(key, at_once) => count(key).div_ceil(*at_once as u64),
        }
    }

    fn combination_after(&self, keys: &[Key], after: Option<&str>) -> Option<Item> {
        let none = BTreeSet::new();
        let sets: Vec<_> = keys.iter().map(|key| self.keys.get(key).unwrap_or(&none)).collect();
        let mut chosen: Vec<&String> = Vec::new();
        match after {
            None => {
                for set in &sets {
                    chosen.push(set.first()?);
                }
            }
            Some(after) => chosen = next_combination(&sets, &after.split(BETWEEN).collect::<Vec<_>>())?,
        }
        let name = chosen.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(&BETWEEN.to_string());
        let keys = keys.iter().copied().zip(chosen.into_iter().cloned()).collect();
        Some(Item { name, values: Values { keys, ..Values::default() } })
    }

    fn batch_after(&self, key: Key, at_once: usize, after: Option<&str>) -> Vec<String> {
        if key == Key::Worklog {
            let after = after.and_then(|after| after.parse::<u64>().ok());
            let Some(first) = after.map_or(Some(0), |after| after.checked_add(1)) else { return Vec::new() };
            let mut ids = self.worklogs.iter();
            ids.advance_to(first);
            return ids.take(at_once).map(|id| id.to_string()).collect();
        }
        let Some(values) = self.keys.get(&key) else { return Vec::new() };
        match after {
            None => values.iter().take(at_once).cloned().collect(),
            Some(after) => values.range::<str, _>(later(after)).take(at_once).cloned().collect(),
        }
    }
}

fn later(after: &str) -> (Bound<&str>, Bound<&str>) {
    (Bound::Excluded(after), Bound::Unbounded)
}

/// The combination that follows, as an odometer turns: the last wheel first.
fn next_combination<'a>(sets: &[&'a BTreeSet<String>], after: &[&str]) -> Option<Vec<&'a String>> {
    for wheel in (0..sets.len()).rev() {
        let at = after.get(wheel).copied().unwrap_or_default();
        let Some(next) = sets[wheel].range::<str, _>(later(at)).next() else { continue };
        let mut chosen = Vec::new();
        for (set, before) in sets.iter().zip(after).take(wheel) {
            // The wheels before stay; a key that is gone since gives way to the next one.
            chosen.push(set.range::<str, _>((Bound::Included(*before), Bound::Unbounded)).next()?);
        }
        chosen.push(next);
        for set in &sets[wheel + 1..] {
            chosen.push(set.first()?);
        }
        return Some(chosen);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Found {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        Found {
            keys: [(Key::Team, set(&["1", "2"])), (Key::Period, set(&["a/b", "c/d"]))].into(),
            worklogs: RoaringTreemap::from_iter([3, 5, 8, 1 << 40]),
            partial: BTreeMap::new(),
        }
    }

    fn walk(over: &Over) -> Vec<String> {
        let found = found();
        let mut names: Vec<String> = Vec::new();
        while let Some(item) = found.item_after(over, names.last().map(String::as_str)) {
            names.push(item.name);
        }
        assert_eq!(names.len() as u64, found.count(over));
        names
    }

    #[test]
    fn every_combination_comes_once() {
        assert_eq!(walk(&Over::Each(&[Key::Team])), ["1", "2"]);
        let pairs = ["1\u{1f}a/b", "1\u{1f}c/d", "2\u{1f}a/b", "2\u{1f}c/d"];
        assert_eq!(walk(&Over::Each(&[Key::Team, Key::Period])), pairs);
        assert_eq!(walk(&Over::Each(&[Key::Team, Key::Project])), [""; 0]);
        assert_eq!(found().item_after(&Over::Once, None).unwrap().name, "");
        assert!(found().item_after(&Over::Once, Some("")).is_none());
    }

    #[test]
    fn batches_follow_each_other() {
        assert_eq!(walk(&Over::Batch(Key::Worklog, 3)), ["8", "1099511627776"]);
        assert_eq!(walk(&Over::Batch(Key::Team, 1)), ["1", "2"]);
        assert_eq!(walk(&Over::Batch(Key::User, 5)), [""; 0]);
    }
}
