//! Records of a snapshot by what their fields say.

use std::collections::BTreeSet;
use std::str::FromStr;

use fermata_core::catalogue::Entity;
use fermata_core::manifest::Entry;
use fermata_core::names::Tenant;
use fermata_vault::{Vault, VaultError};

use crate::fields::{self, Field};
use crate::view::{self, ViewError};

/// Names of fields that an error lists; records whose keys are data may have any number.
const NAMES_MAX: usize = 60;

/// A field and what it must say: `author.accountId=5b`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    field: String,
    value: String,
}

/// A text that is no condition.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no condition; one looks like author.accountId=5b10a or _parent.team=12")]
pub struct BadCondition(String);

/// Why records cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum FindError<E> {
    /// A condition is about a field that no record has.
    #[error("no record has a field {field:?}; there are {known}")]
    UnknownField {
        /// The field.
        field: String,
        /// What there is, with commas.
        known: String,
    },
    /// The store could not give what the manifest names.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Whoever took the records failed.
    #[error(transparent)]
    Taker(E),
}

/// Hands the first `most` records of an entry's view that meet all conditions to `take`; returns whether there are more.
///
/// Needs the data key. A condition on a list or an empty object is met by its JSON text.
pub async fn find<E>(
    vault: &Vault,
    tenant: &Tenant,
    entity: &Entity,
    entry: &Entry,
    conditions: &[Condition],
    most: u64,
    mut take: impl FnMut(&str) -> Result<(), E>,
) -> Result<bool, FindError<E>> {
    let mut search = Search::new(conditions);
    let mut taken = 0;
    let walked = view::each(vault, tenant, entity, entry, |record| {
        if !search.wants(record) {
            return Ok(());
        }
        if taken == most {
            return Err(None);
        }
        taken += 1;
        take(record).map_err(Some)
    });
    match walked.await {
        Ok(_) => match search.unknown() {
            None => Ok(false),
            Some((field, known)) => Err(FindError::UnknownField { field, known: known.join(", ") }),
        },
        Err(ViewError::Taker(None)) => Ok(true),
        Err(ViewError::Taker(Some(error))) => Err(FindError::Taker(error)),
        Err(ViewError::Vault(error)) => Err(error.into()),
    }
}

/// Conditions, and what the records so far were found to have.
pub(crate) struct Search<'a> {
    conditions: &'a [Condition],
    /// Whether a record had the field of each.
    met: Vec<bool>,
    names: BTreeSet<String>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(conditions: &'a [Condition]) -> Self {
        Self { conditions, met: vec![false; conditions.len()], names: BTreeSet::new() }
    }

    pub(crate) fn wants(&mut self, record: &str) -> bool {
        if self.conditions.is_empty() {
            return true;
        }
        let fields = fields::fields(record);
        let mut all = true;
        for (condition, met) in self.conditions.iter().zip(&mut self.met) {
            let field = fields.iter().find(|(path, _)| *path == condition.field);
            *met |= field.is_some();
            all &= field.is_some_and(|(_, value)| fields::plain(value) == condition.value);
        }
        if self.met.contains(&false) {
            self.learn(fields);
        }
        all
    }

    fn learn(&mut self, fields: Vec<Field<'_>>) {
        for (path, _) in fields {
            if self.names.len() < NAMES_MAX {
                self.names.insert(path);
            }
        }
    }

    /// The first field of a condition that no record so far has, and those that they have; nothing is wrong where there
    /// was no record.
    pub(crate) fn unknown(self) -> Option<(String, Vec<String>)> {
        if self.names.is_empty() {
            return None;
        }
        let at = self.met.iter().position(|met| !met)?;
        Some((self.conditions[at].field.clone(), self.names.into_iter().collect()))
    }
}

impl FromStr for Condition {
    type Err = BadCondition;

    fn from_str(text: &str) -> Result<Self, BadCondition> {
        match text.split_once('=') {
            Some((field, value)) if !field.is_empty() => {
                Ok(Self { field: field.to_owned(), value: value.to_owned() })
            }
            _ => Err(BadCondition(text.to_owned())),
        }
    }
}
