//! The small entities: records as text, in the order in which they are served.
//!
//! Promises that a record's text is served byte for byte. Everything but worklogs and what is computed from them
//! (approvals, schedules, periods, id maps) lives here.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The id as text, whatever its JSON type; the key where there is none; empty for records without either.
    pub(crate) id: String,
    /// What it belongs to (a team's id, an account's key, a project's UUID); empty for what stands alone.
    pub(crate) parent: String,
    /// What is served.
    pub(crate) text: Arc<str>,
    /// The same, parsed when first asked for: a parsed record takes ten times the room of its text.
    value: OnceLock<Box<Value>>,
}

/// The members that may identify a record.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
}

impl Record {
    /// A record of this text.
    #[allow(clippy::needless_pass_by_value, reason = "parents are numbers and texts")]
    pub(crate) fn new(parent: impl ToString, text: String) -> Self {
        let head = serde_json::from_str::<Head>(&text).ok();
        let id = head.and_then(|head| head.id.or(head.key)).map(RawValue::get).unwrap_or_default();
        let id = serde_json::from_str(id).unwrap_or_else(|_| id.to_owned());
        Self { id, parent: parent.to_string(), text: text.into(), value: OnceLock::new() }
    }

    /// The record, parsed.
    pub(crate) fn value(&self) -> &Value {
        self.value.get_or_init(|| Box::new(serde_json::from_str(&self.text).unwrap_or(Value::Null)))
    }

    /// Whether the number or text at a pointer is this one.
    pub(crate) fn names(&self, pointer: &str, id: &str) -> bool {
        let found = self.value().pointer(pointer);
        found.is_some_and(|found| {
            found.as_str().map_or_else(|| found.to_string(), str::to_owned).as_str() == id
        })
    }

    /// The text of a member, or "" where there is none.
    pub(crate) fn str(&self, key: &str) -> &str {
        self.value().get(key).and_then(Value::as_str).unwrap_or("")
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
