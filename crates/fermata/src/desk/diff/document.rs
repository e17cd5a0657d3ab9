//! Differences as one JSON document, written as they are found.

use std::io;

use fermata_core::manifest::Manifest;
use fermata_engine::diff::Difference;
use fermata_engine::fields;

use super::{Form, Found};

/// A document in the making. Its first part is out before its last is known.
#[derive(Debug)]
pub(crate) struct Document<W> {
    pieces: W,
    entities: u64,
    records: u64,
}

impl<W: io::Write> Document<W> {
    /// One that is written there.
    pub(crate) fn new(pieces: W) -> Self {
        Self { pieces, entities: 0, records: 0 }
    }

    /// What it was written to.
    pub(crate) fn into_inner(self) -> W {
        self.pieces
    }

    fn put(&mut self, piece: &str) -> io::Result<()> {
        self.pieces.write_all(piece.as_bytes())
    }

    /// Begins an entity, up to its records.
    fn entity(&mut self, name: &str, status: &str, rest: &str) -> io::Result<()> {
        let comma = if self.entities == 0 { "" } else { "," };
        self.entities += 1;
        self.records = 0;
        self.put(&format!(r#"{comma}{{"entity":{},"status":"{status}",{rest}"#, text(name)))
    }
}

impl<W: io::Write> Form for Document<W> {
    fn begin(&mut self, before: &Manifest, after: &Manifest) -> io::Result<()> {
        let (tenant, from, to) = (&after.tenant, &before.run, &after.run);
        self.put(&format!(
            r#"{{"schema":{},"tenant":"{tenant}","from":"{from}","to":"{to}","entities":["#,
            fermata_core::FORMAT
        ))
    }

    fn same(&mut self, entity: &str) -> io::Result<()> {
        let rest = r#""added":0,"changed":0,"deleted":0,"reason":null,"suspect":null,"records":[]}"#;
        self.entity(entity, "same", rest)
    }

    fn incomplete(&mut self, entity: &str, why: &str) -> io::Result<()> {
        let counts = r#""added":null,"changed":null,"deleted":null"#;
        let rest = format!(r#"{counts},"reason":{},"suspect":null,"records":null}}"#, text(why));
        self.entity(entity, "not-compared", &rest)
    }

    fn differs(&mut self, of: &Found<'_>) -> io::Result<()> {
        let reason = of.missing_key.as_ref().map(|key| format!("showing records needs the key of {key}"));
        let known = |words: Option<&str>| words.map_or_else(|| "null".to_owned(), text);
        let rest = format!(
            r#""added":{},"changed":{},"deleted":{},"reason":{},"suspect":{},"records":{}"#,
            of.differences.added(),
            of.differences.changed(),
            of.differences.deleted(),
            known(reason.as_deref()),
            known(of.suspect),
            if reason.is_some() { "null" } else { "[" },
        );
        self.entity(of.entity, "differs", &rest)
    }

    fn record(&mut self, _: &Found<'_>, difference: Difference<'_>) -> io::Result<()> {
        let comma = if self.records == 0 { "" } else { "," };
        self.records += 1;
        // Records are JSON, and stay as they are.
        let (change, record, altered) = match difference {
            Difference::Added(record) => ("added", record, None),
            Difference::Deleted(record) => ("deleted", record, None),
            Difference::Changed { before, after } => ("changed", after, Some(fields::altered(before, after))),
        };
        self.put(&format!(r#"{comma}{{"change":"{change}","record":{record}"#))?;
        if let Some(altered) = altered {
            let side = |name, value: Option<&str>| {
                value.map_or_else(String::new, |value| format!(r#","{name}":{value}"#))
            };
            let fields = altered.iter().map(|field| {
                let (old, new) = (side("old", field.before), side("new", field.after));
                format!(r#"{{"field":{}{old}{new}}}"#, text(&field.path))
            });
            self.put(&format!(r#","fields":[{}]"#, fields.collect::<Vec<_>>().join(",")))?;
        }
        self.put("}")
    }

    fn end_of_entity(&mut self, of: &Found<'_>) -> io::Result<()> {
        self.put(if of.missing_key.is_some() { "}" } else { "]}" })
    }

    fn end(&mut self) -> io::Result<()> {
        self.put("]}\n")?;
        self.pieces.flush()
    }
}

/// A text as JSON.
fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
