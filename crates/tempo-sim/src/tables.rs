//! The small entities: records as text, in the order in which they are served.
//!
//! Promises that a record's text is served byte for byte. Everything but worklogs and what is computed from them
//! (approvals, schedules, periods, id maps) lives here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The id as text, whatever its JSON type; empty for records without one.
    pub(crate) id: String,
    /// What it belongs to (a team's id, an account's key, a project's UUID); empty for what stands alone.
    pub(crate) parent: String,
    /// What is served.
    pub(crate) text: Arc<str>,
    /// The same, parsed, to filter and sort by.
    pub(crate) value: Value,
}

impl Record {
    /// A record of this text; the id is its `id`, `key` or nothing.
    pub(crate) fn new(parent: impl ToString, text: String) -> Self {
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let id = match value.get("id").or_else(|| value.get("tempoWorklogId")).or_else(|| value.get("key")) {
            Some(Value::String(id)) => id.clone(),
            Some(id) => id.to_string(),
            None => String::new(),
        };
        Self { id, parent: parent.to_string(), text: text.into(), value }
    }

    /// The text of a member, or "" where there is none.
    pub(crate) fn str(&self, key: &str) -> &str {
        self.value.get(key).and_then(Value::as_str).unwrap_or("")
    }
}

/// All tables of a tenant, by entity name.
#[derive(Debug, Default)]
pub(crate) struct Tables(BTreeMap<&'static str, Vec<Record>>);

impl Tables {
    pub(crate) fn all(&self, entity: &str) -> &[Record] {
        self.0.get(entity).map_or(&[], Vec::as_slice)
    }

    /// The records of one parent.
    pub(crate) fn of<'a>(&'a self, entity: &str, parent: &'a str) -> impl Iterator<Item = &'a Record> {
        self.all(entity).iter().filter(move |record| record.parent == parent)
    }

    pub(crate) fn find(&self, entity: &str, id: &str) -> Option<&Record> {
        self.all(entity).iter().find(|record| record.id == id)
    }

    /// The record whose member has this text.
    pub(crate) fn by(&self, entity: &str, member: &str, text: &str) -> Option<&Record> {
        self.all(entity).iter().find(|record| record.str(member) == text)
    }

    pub(crate) fn rows_mut(&mut self, entity: &'static str) -> &mut Vec<Record> {
        self.0.entry(entity).or_default()
    }

    pub(crate) fn add(&mut self, entity: &'static str, parent: impl ToString, text: String) {
        self.rows_mut(entity).push(Record::new(parent, text));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
