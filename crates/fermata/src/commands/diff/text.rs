//! Differences as lines for people.

use std::collections::BTreeMap;
use std::io::{self, Write};

use fermata_core::catalogue::Entity;
use fermata_core::manifest::Manifest;
use fermata_engine::diff::Difference;
use fermata_engine::fields::{self, Field};

use crate::desk::diff::{Form, Found};
use crate::out::{Pieces, WIDTH, count, cut, indented, plain, several};

/// Before a record's sign, and before what it says.
const INDENT: &str = "      ";
/// The least that is shown of a value.
const VALUE_MIN: usize = 16;

/// Lines, and what is said at their end.
#[derive(Default)]
pub(super) struct Text {
    pieces: Pieces,
    same: u64,
    differing: u64,
    /// Entities that were not compared, by the reason.
    incomplete: BTreeMap<String, Vec<String>>,
    missing_key: Option<String>,
}

impl Form for Text {
    fn begin(&mut self, before: &Manifest, after: &Manifest) -> io::Result<()> {
        self.pieces.put(&format!("{}: from {} to {}\n", after.tenant, before.run, after.run))
    }

    fn same(&mut self, _: &str) -> io::Result<()> {
        self.same += 1;
        Ok(())
    }

    fn incomplete(&mut self, entity: &str, why: &str) -> io::Result<()> {
        self.incomplete.entry(why.to_owned()).or_default().push(entity.to_owned());
        Ok(())
    }

    fn differs(&mut self, of: &Found<'_>) -> io::Result<()> {
        self.differing += 1;
        self.missing_key.clone_from(&of.missing_key);
        let counts = [
            (of.differences.added(), "added"),
            (of.differences.changed(), "changed"),
            (of.differences.deleted(), "deleted"),
        ];
        let counts: Vec<_> = counts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, what)| format!("{} {what}", count(*number)))
            .collect();
        self.pieces.put(&format!("\n{}: {}\n", of.entity, counts.join(", ")))?;
        let suspect = of.suspect.map(|why| indented(INDENT, &format!("SUSPECT: {why}")));
        self.pieces.put(&suspect.unwrap_or_default())
    }

    fn record(&mut self, of: &Found<'_>, difference: Difference<'_>) -> io::Result<()> {
        let entity = of.differences.entity();
        let said = match difference {
            Difference::Added(record) => whole('+', entity, record),
            Difference::Deleted(record) => whole('-', entity, record),
            Difference::Changed { before, after } => changed(entity, before, after),
        };
        self.pieces.put(&said)
    }

    fn end_of_entity(&mut self, of: &Found<'_>) -> io::Result<()> {
        let more = of.differences.count().saturating_sub(of.most);
        if more > 0 && of.missing_key.is_none() {
            self.pieces.put(&format!("  and {} more (--limit)\n", count(more)))?;
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let end = match (self.differing, self.same) {
            (0, _) => "\nNothing differs in what was compared.\n".to_owned(),
            (_, 0) => String::new(),
            (_, same) => format!("\nthe same: {}\n", several(same, "other entity", "other entities")),
        };
        self.pieces.put(&end)?;
        for (why, entities) in &self.incomplete {
            let entities = indented(INDENT, &entities.join(", "));
            self.pieces.put(&format!("\nNOT COMPARED:\n{entities}{}", indented("  ", why)))?;
        }
        if let Some(key) = &self.missing_key {
            self.pieces.put(&format!(
                "\nRecords and their fields are shown with the key of\n{key}\n(FERMATA_KEY_FILE names its file)\n"
            ))?;
        }
        self.pieces.flush()
    }
}

/// A record that came or went: what it is known by, and the beginning of what it says.
fn whole(sign: char, entity: &Entity, record: &str) -> String {
    let fields = fields::fields(record);
    let (known_by, rest): (Vec<&Field<'_>>, Vec<_>) =
        fields.iter().partition(|(path, _)| is_identity(entity, path));
    // A link to itself tells nothing that its id does not.
    let rest = rest.into_iter().filter(|(path, _)| path.rsplit('.').next() != Some("self"));
    let said: Vec<_> = rest.map(|(path, value)| format!("{path}: {}", fields::plain(value))).collect();
    let said = cut(&plain(&said.join(", ")), WIDTH - INDENT.len() - 1);
    match known_by.as_slice() {
        [] => format!("  {sign}   {said}\n"),
        known_by => format!("  {sign} {}\n{INDENT}{said}\n", name(known_by)),
    }
}

fn changed(entity: &Entity, before: &str, after: &str) -> String {
    let fields = fields::fields(after);
    let known_by: Vec<_> = fields.iter().filter(|(path, _)| is_identity(entity, path)).collect();
    let altered = fields::altered(before, after);
    let lines = altered.iter().map(|field| {
        let room =
            WIDTH.saturating_sub(INDENT.len() + field.path.chars().count() + ":  -> ……".chars().count());
        let shown = |value: Option<&str>| {
            value.map_or_else(|| "(none)".to_owned(), |value| cut(&plain(value), (room / 2).max(VALUE_MIN)))
        };
        format!("{INDENT}{}: {} -> {}", plain(&field.path), shown(field.before), shown(field.after))
    });
    let mut lines: Vec<_> = lines.collect();
    if lines.is_empty() {
        lines.push(format!("{INDENT}the same fields, written in another way"));
    }
    format!("  ~ {}\n{}\n", name(&known_by), lines.join("\n"))
}

fn is_identity(entity: &Entity, path: &str) -> bool {
    let under =
        |known: &str| path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    !entity.identity.is_empty() && (entity.identity.iter().any(|known| under(known)) || under("_parent"))
}

/// What a record is known by, as `snapshots show --where` takes it.
fn name(known_by: &[&Field<'_>]) -> String {
    let fields = known_by.iter().map(|(path, value)| format!("{path}={}", fields::plain(value)));
    plain(&fields.collect::<Vec<_>>().join(" "))
}
