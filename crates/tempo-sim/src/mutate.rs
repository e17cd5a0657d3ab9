//! Changes to a site while it is being read, and the memory of them.
//!
//! Promises that a changed worklog carries the simulator's "now" as its `updatedAt`, that every change leaves an audit
//! event (unless the quirk says otherwise) and an entry in the history. Refuses unknown entities and ids.

mod apply;

pub(crate) use apply::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::quirks::Quirks;

/// What to do to records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Adds records.
    Insert,
    /// Changes fields; without `fields` whatever users change (some edits move a worklog's date).
    Update,
    /// Changes `updatedAt` alone.
    Touch,
    /// Removes records.
    Delete,
    /// Removes worklogs and plans older than `before`, as data retention does.
    Purge,
}

/// One change; `POST /_sim/mutate` takes a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutation {
    /// What to do.
    pub op: Op,
    /// To which entity (`worklogs`, `teams`, ...).
    #[serde(default = "worklogs")]
    pub entity: String,
    /// To which record; any if absent.
    #[serde(default)]
    pub id: Option<Value>,
    /// Members to set; null removes one.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// To how many, when no id is given (1 if absent).
    #[serde(default)]
    pub count: Option<u32>,
    /// The first day that a purge keeps (`YYYY-MM-DD`).
    #[serde(default)]
    pub before: Option<String>,
}

fn worklogs() -> String {
    "worklogs".into()
}

impl Mutation {
    /// A change to any one worklog.
    pub fn new(op: Op) -> Self {
        Self { op, entity: worklogs(), id: None, fields: Map::new(), count: None, before: None }
    }

    /// To this entity.
    #[must_use]
    pub fn entity(mut self, entity: &str) -> Self {
        entity.clone_into(&mut self.entity);
        self
    }

    /// To this record.
    #[must_use]
    pub fn id(mut self, id: impl Into<Value>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets a member.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(key.to_owned(), value.into());
        self
    }

    /// To so many records.
    #[must_use]
    pub fn count(mut self, count: u32) -> Self {
        self.count = Some(count);
        self
    }
}

/// Why a change was refused.
#[derive(Debug, Error)]
pub enum MutateError {
    /// No such tenant.
    #[error("unknown tenant {0:?}; tenants are named sim-1, sim-2, ...")]
    Tenant(String),
    /// No such entity, or one that is computed.
    #[error("entity {0:?} is unknown or cannot be changed")]
    Entity(String),
    /// No such record.
    #[error("{0} has no record {1:?}")]
    Record(String, String),
    /// The new record is not what its entity needs.
    #[error("the changed record of {0} cannot be read")]
    Fields(String, #[source] serde_json::Error),
    /// A purge without a day.
    #[error("a purge needs \"before\": \"YYYY-MM-DD\"")]
    Before,
}

/// One change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The entity.
    pub entity: String,
    /// The record's id as text.
    pub id: String,
    /// What was done.
    pub op: Op,
    /// How many data requests of the tenant had been served before it: requests with a higher number see it.
    pub after_request: u64,
    /// When, by the simulator's clock in milliseconds since 1970.
    pub at_ms: i64,
    /// The record as it was served before; absent for an insertion.
    pub before: Option<String>,
    /// The record as it is served from now on; absent for a deletion.
    pub record: Option<String>,
}

/// What a change is made in.
#[derive(Debug)]
pub(crate) struct Moment<'a> {
    pub(crate) now_ms: i64,
    pub(crate) after_request: u64,
    pub(crate) quirks: &'a Quirks,
}
