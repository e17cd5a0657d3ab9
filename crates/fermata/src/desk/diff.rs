//! What differs between two snapshots.

pub(crate) mod document;

use std::collections::BTreeSet;
use std::io;

use fermata_core::manifest::Manifest;
use fermata_engine::diff::{self, Comparison, Difference, Differences};
use fermata_engine::view::ViewError;
use fermata_vault::Vault;

use super::snapshots;
use crate::exit::Usage;

/// One of the two forms in which differences are told, as they are found.
pub(crate) trait Form {
    fn begin(&mut self, before: &Manifest, after: &Manifest) -> io::Result<()>;
    /// An entity in which nothing differs.
    fn same(&mut self, entity: &str) -> io::Result<()>;
    /// An entity that was not compared.
    fn incomplete(&mut self, entity: &str, why: &str) -> io::Result<()>;
    /// An entity in which records differ. Unless a key is missing they follow.
    fn differs(&mut self, of: &Found<'_>) -> io::Result<()>;
    fn record(&mut self, of: &Found<'_>, difference: Difference<'_>) -> io::Result<()>;
    fn end_of_entity(&mut self, of: &Found<'_>) -> io::Result<()>;
    fn end(&mut self) -> io::Result<()>;
}

/// What differs in an entity, and what else is to be told of it.
pub(crate) struct Found<'a> {
    pub(crate) entity: &'a str,
    pub(crate) differences: &'a Differences<'a>,
    /// Why the later snapshot may lack what it does not.
    pub(crate) suspect: Option<&'a str>,
    /// The key that would show the records, where it is not at hand.
    pub(crate) missing_key: Option<String>,
    /// Records that are told of at most.
    pub(crate) most: u64,
}

/// Tells what differs between two snapshots in one of these forms; returns whether something could not be compared.
///
/// Counting needs the workers' key or that of records, and showing records the latter.
pub(crate) async fn tell(
    vault: &Vault,
    before: &Manifest,
    after: &Manifest,
    only: &BTreeSet<String>,
    most: u64,
    form: &mut (dyn Form + Send),
) -> anyhow::Result<bool> {
    let missing_key =
        (!vault.can_read_data()).then(|| vault.data_recipients().first().map(ToString::to_string)).flatten();
    let mut gaps = false;
    let entities = entities(before, after, only)?;
    form.begin(before, after)?;
    for entity in entities {
        let differences = match diff::compare(vault, before, after, entity).await? {
            Comparison::Neither if only.contains(entity) => {
                form.incomplete(entity, "neither snapshot holds anything of it")?;
                gaps = true;
                continue;
            }
            Comparison::Neither => continue,
            Comparison::Incomplete { why, gap } => {
                form.incomplete(entity, &why)?;
                gaps |= gap || only.contains(entity);
                continue;
            }
            Comparison::Same => {
                form.same(entity)?;
                continue;
            }
            Comparison::Differs(differences) => differences,
        };
        let suspect = after.entry(entity).and_then(|entry| entry.suspect.as_deref());
        let found =
            Found { entity, differences: &differences, suspect, missing_key: missing_key.clone(), most };
        form.differs(&found)?;
        if missing_key.is_none() {
            let each = differences.each(most, |difference| form.record(&found, difference)).await;
            each.map_err(|error| match error {
                ViewError::Vault(error) => anyhow::Error::from(error),
                ViewError::Taker(error) => error.into(),
            })?;
        }
        form.end_of_entity(&found)?;
    }
    form.end()?;
    Ok(gaps)
}

/// The entities to compare, in the catalogue's order.
fn entities<'a>(
    before: &'a Manifest,
    after: &'a Manifest,
    only: &BTreeSet<String>,
) -> anyhow::Result<Vec<&'a str>> {
    let names = |manifest: &'a Manifest| manifest.entities.iter().map(|entry| entry.entity.as_str());
    let mut all: Vec<&str> = names(after).collect();
    all.extend(names(before).filter(|name| after.entry(name).is_none()));
    if let Some(unknown) = only.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(Usage(snapshots::no_entity(unknown, &after.tenant)).into());
    }
    all.retain(|name| only.is_empty() || only.contains(*name));
    Ok(all)
}
