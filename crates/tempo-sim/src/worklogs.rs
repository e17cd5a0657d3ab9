//! The worklogs of a tenant: compact rows, sorted indexes, text only when served.
//!
//! Promises a million rows in about 100 MB, the orders that Tempo documents, and rows given as text served byte for
//! byte. A deleted row's slot is never used again.

pub(crate) mod generate;
pub(crate) mod render;
pub(crate) mod search;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::clock;

/// A number that means "this row has none".
pub(crate) const NONE: u32 = u32::MAX;

/// `issue.id` is missing.
pub(crate) const NO_ISSUE_ID: u8 = 1;
/// `startDateTimeUtc` is missing.
pub(crate) const NO_UTC: u8 = 2;
/// The row has a field that no specification knows.
pub(crate) const EXTRA: u8 = 4;

/// One worklog; what is not here follows from `seed`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) id: i64,
    /// Seconds of UTC.
    pub(crate) created: u32,
    pub(crate) updated: u32,
    pub(crate) day: i32,
    /// Seconds since midnight, or [`NONE`].
    pub(crate) start: u32,
    pub(crate) seconds: u32,
    /// Or [`NONE`].
    pub(crate) billable: u32,
    pub(crate) author: u32,
    pub(crate) issue: i64,
    /// Jira project id, or -1 where it is not known.
    pub(crate) project: i64,
    /// Index into the account keys, or [`NONE`].
    pub(crate) account: u32,
    pub(crate) seed: u32,
    pub(crate) flags: u8,
}

/// A user as worklogs name one.
#[derive(Debug)]
pub(crate) struct Author {
    pub(crate) account_id: String,
    pub(crate) json: String,
    pub(crate) zone_hours: i64,
}

/// All worklogs of a tenant.
#[derive(Debug, Default)]
pub(crate) struct Worklogs {
    pub(crate) rows: Vec<Row>,
    pub(crate) jira: String,
    pub(crate) authors: Vec<Author>,
    pub(crate) accounts: Vec<String>,
    pub(crate) next_id: i64,
    author_numbers: HashMap<String, u32>,
    /// Rows that are served as this text.
    texts: HashMap<u32, Arc<str>>,
    /// Rows that lists do not show before this time (ms).
    hidden_until: HashMap<u32, i64>,
    /// Rows that have no Jira id before this time (ms).
    jira_from: HashMap<u32, i64>,
    by_id: Vec<u32>,
    by_start: Vec<u32>,
    by_updated: Vec<u32>,
}

/// One of the three sorted indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Id,
    Start,
    Updated,
}

impl Row {
    /// What an index sorts by; ids break ties.
    pub(crate) fn sort_key(&self, key: Key) -> (i64, i64, i64) {
        match key {
            Key::Id => (self.id, 0, 0),
            Key::Start => {
                (i64::from(self.day), if self.start == NONE { 0 } else { i64::from(self.start) }, self.id)
            }
            Key::Updated => (i64::from(self.updated), self.id, 0),
        }
    }
}

impl Worklogs {
    /// None yet, of the site at this Jira address.
    pub(crate) fn empty(jira: &str) -> Self {
        Self { jira: jira.to_owned(), ..Self::default() }
    }

    pub(crate) fn index(&self, key: Key) -> &[u32] {
        match key {
            Key::Id => &self.by_id,
            Key::Start => &self.by_start,
            Key::Updated => &self.by_updated,
        }
    }

    /// Builds the indexes of all rows anew.
    pub(crate) fn reindex(&mut self) {
        let rows = &self.rows;
        let sorted = |key| {
            let mut slots: Vec<u32> = (0..rows.len() as u32).collect();
            slots.sort_unstable_by_key(|slot| rows[*slot as usize].sort_key(key));
            slots
        };
        (self.by_id, self.by_start, self.by_updated) =
            (sorted(Key::Id), sorted(Key::Start), sorted(Key::Updated));
        self.next_id = self.by_id.last().map_or(1, |slot| self.row(*slot).id + 1);
    }

    pub(crate) fn row(&self, slot: u32) -> &Row {
        &self.rows[slot as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The slot of an id.
    pub(crate) fn find(&self, id: i64) -> Option<u32> {
        let at = self.by_id.binary_search_by_key(&id, |slot| self.row(*slot).id).ok()?;
        Some(self.by_id[at])
    }

    /// The number of a user, made if new.
    pub(crate) fn author(&mut self, account_id: &str, zone_hours: i64) -> u32 {
        if let Some(number) = self.author_numbers.get(account_id) {
            return *number;
        }
        let json = format!(
            r#"{{"self":"{}/rest/api/2/user?accountId={account_id}","accountId":"{account_id}"}}"#,
            self.jira
        );
        self.authors.push(Author { account_id: account_id.to_owned(), json, zone_hours });
        let number = self.authors.len() as u32 - 1;
        self.author_numbers.insert(account_id.to_owned(), number);
        number
    }

    pub(crate) fn author_number(&self, account_id: &str) -> Option<u32> {
        self.author_numbers.get(account_id).copied()
    }

    fn place(&mut self, slot: u32, insert: bool) {
        for key in [Key::Id, Key::Start, Key::Updated] {
            let wanted = self.row(slot).sort_key(key);
            let index = self.index(key);
            let at = index.partition_point(|other| self.rows[*other as usize].sort_key(key) < wanted);
            let index = match key {
                Key::Id => &mut self.by_id,
                Key::Start => &mut self.by_start,
                Key::Updated => &mut self.by_updated,
            };
            if insert {
                index.insert(at, slot);
            } else if index.get(at) == Some(&slot) {
                index.remove(at);
            }
        }
    }

    /// Adds a row.
    pub(crate) fn insert(&mut self, row: Row) -> u32 {
        self.next_id = self.next_id.max(row.id + 1);
        self.rows.push(row);
        let slot = self.rows.len() as u32 - 1;
        self.place(slot, true);
        slot
    }

    /// Changes a row, with its text or without.
    pub(crate) fn replace(&mut self, slot: u32, row: Row, text: Option<Arc<str>>) {
        self.place(slot, false);
        self.rows[slot as usize] = row;
        match text {
            Some(text) => self.texts.insert(slot, text),
            None => self.texts.remove(&slot),
        };
        self.place(slot, true);
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.place(slot, false);
        self.texts.remove(&slot);
    }

    /// The text that was given for a row.
    pub(crate) fn given(&self, slot: u32) -> Option<&Arc<str>> {
        self.texts.get(&slot)
    }

    pub(crate) fn hide(&mut self, slot: u32, until_ms: i64) {
        self.hidden_until.insert(slot, until_ms);
    }

    pub(crate) fn delay_jira_id(&mut self, slot: u32, until_ms: i64) {
        self.jira_from.insert(slot, until_ms);
    }

    /// Whether lists show the row yet.
    pub(crate) fn shown(&self, slot: u32, now_ms: i64) -> bool {
        self.hidden_until.is_empty() || self.hidden_until.get(&slot).is_none_or(|until| *until <= now_ms)
    }

    /// The Jira id of a row; a few rows never get one, new ones get it late.
    pub(crate) fn jira_id(&self, slot: u32, now_ms: i64) -> Option<i64> {
        let id = self.row(slot).id;
        let ready = self.jira_from.get(&slot).is_none_or(|from| *from <= now_ms);
        (ready && id % 97 != 0).then_some(id * 7 + 100_003)
    }

    /// The row that has this Jira id.
    pub(crate) fn by_jira_id(&self, jira_id: i64, now_ms: i64) -> Option<u32> {
        let id = jira_id - 100_003;
        let slot = self.find(id.checked_div(7).filter(|_| id % 7 == 0)?)?;
        self.jira_id(slot, now_ms).map(|_| slot)
    }

    /// Reads the sort and filter keys of a record given as text.
    pub(crate) fn keys_of(&mut self, record: &Value, like: Option<&Row>) -> Row {
        let text = |path: &str| record.pointer(path).and_then(Value::as_str);
        let number = |path: &str| record.pointer(path).and_then(Value::as_i64);
        let short = |path: &str| number(path).map_or(NONE, |n| n as u32);
        let instant = |path: &str| text(path).and_then(clock::parse_instant).unwrap_or(0) as u32;
        let account = record.pointer("/attributes/values").and_then(Value::as_array).and_then(|values| {
            let of_account = values.iter().find(|value| value["key"] == "_Account_")?;
            self.accounts.iter().position(|key| of_account["value"] == key.as_str())
        });
        let mut row = Row {
            id: number("/tempoWorklogId").unwrap_or(0),
            created: instant("/createdAt"),
            updated: instant("/updatedAt"),
            day: text("/startDate").and_then(clock::parse_date).unwrap_or(0),
            start: text("/startTime").and_then(clock::parse_time).unwrap_or(NONE),
            seconds: short("/timeSpentSeconds"),
            billable: short("/billableSeconds"),
            author: 0,
            issue: number("/issue/id").or(like.map(|row| row.issue)).unwrap_or(-1),
            project: like.map_or(-1, |row| row.project),
            account: account.map_or(NONE, |at| at as u32),
            seed: like.map_or(0, |row| row.seed),
            flags: like.map_or(0, |row| row.flags),
        };
        row.author = self.author(text("/author/accountId").unwrap_or(""), 0);
        row
    }

    /// Takes a record as it is; keys come from its text.
    pub(crate) fn give(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let record: Value = serde_json::from_str(text)?;
        let row = self.keys_of(&record, None);
        let slot = self.insert(row);
        self.texts.insert(slot, text.into());
        Ok(())
    }
}
