//! The few members of a record that reading and viewing it need.
//!
//! They are taken from the line as it is stored, so that a backup and a later reader of the
//! snapshot agree on what identifies a record.

use fermata_core::catalogue::{Entity, Key};
use fermata_core::checkpoint::body::Keys;
use fermata_core::seen::mark;
use jiff::{Timestamp, civil::Date};
use memchr::memmem::Finder;

use crate::scan;

/// The leading member of a record that fans out; names the keys it was asked with.
pub const PARENT: &str = "_parent";
/// What stands in place of a secret.
const REDACTED: &str = "\"[redacted]\"";

/// What is known of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What identifies it within its entity, where anything does.
    pub id: Option<u64>,
    /// A hash of all its bytes.
    pub mark: u64,
    /// When it last changed.
    pub changed: Option<Timestamp>,
    /// The day it is about.
    pub day: Option<Date>,
}

/// Appends the line to store for a record: its own bytes, with `_parent` before them and any
/// secret taken out. Line breaks can only be white space between tokens and become spaces.
pub fn append_line(entity: &Entity, parent: Option<&str>, record: &str, out: &mut Vec<u8>) {
    let mut start = out.len();
    let mut rest = record;
    if let Some(parent) = parent {
        rest = record.trim_start().strip_prefix('{').unwrap_or_default();
        out.extend_from_slice(b"{\"");
        out.extend_from_slice(PARENT.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(parent.as_bytes());
        if !rest.trim_start().starts_with('}') {
            out.push(b',');
        }
    }
    let mut from = 0;
    for secret in entity.secret.iter().flat_map(|name| scan::members_named(record, name)) {
        // The value is a slice of the record, so its distance from the end is its place in `rest`.
        let from_end = record.as_ptr().addr() + record.len() - secret.as_ptr().addr();
        let at = rest.len() - from_end;
        out.extend_from_slice(&rest.as_bytes()[from..at]);
        out.extend_from_slice(REDACTED.as_bytes());
        from = at + secret.len();
    }
    out.extend_from_slice(&rest.as_bytes()[from..]);
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &out[start..]) {
        start += at;
        out[start] = b' ';
    }
    out.push(b'\n');
}

/// Reads what is known of a stored line, and adds the keys it holds to `keys`.
pub fn read(entity: &Entity, line: &str, keys: Option<&mut Keys>) -> Row {
    let mut row = Row { mark: mark(line.as_bytes()), ..Row::default() };
    let mut identity = Identity::default();
    let mut found: [Option<&str>; 2] = [None; 2];
    scan::members(line, |name, value| {
        identity.take(entity, name, value);
        if entity.changed_at == Some(name) {
            row.changed = plain(value).and_then(|text| text.parse().ok());
        }
        if entity.day == Some(name) {
            row.day = plain(value).and_then(|text| text.parse().ok());
        }
        for (slot, given) in found.iter_mut().zip(entity.yields) {
            if let Some(value) = reach(given.member, name, value) {
                *slot = Some(value);
            }
        }
    });
    row.id = identity.id(entity);
    if let Some(keys) = keys {
        for (value, given) in found.into_iter().zip(entity.yields) {
            let whole = given.member.is_empty().then_some(line);
            if let Some(value) = whole.or(value) {
                collect(given.key, value, keys);
            }
        }
    }
    row
}

/// Reads the ids of lines, as [`read`] has them, and nothing else.
///
/// It looks no further than it must: most records begin with what identifies them, and `_parent` comes before that.
#[derive(Debug)]
pub struct IdReader<'a> {
    entity: &'a Entity,
    /// The members that an id is made of, in quotes.
    names: Vec<Finder<'static>>,
}

impl<'a> IdReader<'a> {
    /// A reader of an entity's lines.
    pub fn new(entity: &'a Entity) -> Self {
        let first = |path: &&'static str| path.split('.').next();
        let members = entity.identity.iter().filter_map(first);
        let names = members.map(|name| Finder::new(&format!("\"{name}\"")).into_owned()).collect();
        Self { entity, names }
    }

    /// What identifies a line within its entity, where anything does.
    pub fn id(&self, line: &str) -> Option<u64> {
        if self.entity.identity.is_empty() {
            return None;
        }
        let mut identity = Identity::default();
        scan::members_while(line, |name, value, rest| {
            identity.take(self.entity, name, value);
            // Of two members with one name the last counts.
            !identity.is_whole(self.entity)
                || self.names.iter().any(|name| name.find(rest.as_bytes()).is_some())
        });
        identity.id(self.entity)
    }
}

/// The values that an id is made of, as far as they were met.
#[derive(Default)]
struct Identity<'a> {
    values: [Option<&'a str>; 3],
    parent: Option<&'a str>,
}

impl<'a> Identity<'a> {
    fn take(&mut self, entity: &Entity, name: &str, value: &'a str) {
        for (slot, path) in self.values.iter_mut().zip(entity.identity) {
            if let Some(value) = reach(path, name, value).filter(|value| *value != "null") {
                *slot = Some(value);
            }
        }
        if name == PARENT {
            self.parent = Some(value);
        }
    }

    fn is_whole(&self, entity: &Entity) -> bool {
        self.values.iter().take(entity.identity.len()).all(Option::is_some)
    }

    fn id(&self, entity: &Entity) -> Option<u64> {
        identify(&self.values[..entity.identity.len()], self.parent)
    }
}

/// The id of the record of an entity that an audit event says was deleted, where it is an integer.
///
/// What was asked for is looked at again, since Tempo takes no notice of parameters that it does not know.
pub fn deleted(entity: &Entity, event: &str) -> Option<u64> {
    let text = |name| scan::member(event, name).and_then(scan::text);
    let is_deletion = text("action").as_deref() == Some("Deleted");
    let is_ours = text("entityType").as_deref() == entity.audit_type;
    text("entityId").filter(|_| is_deletion && is_ours)?.parse().ok()
}

/// The value at `path` when its first step is this member.
fn reach<'a>(path: &str, name: &str, value: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(name)?;
    match rest.strip_prefix('.') {
        Some(rest) => scan::member(value, rest),
        None => rest.is_empty().then_some(value),
    }
}

/// An integer names a record by itself; anything else, and whatever has a parent, by a hash.
fn identify(identity: &[Option<&str>], parent: Option<&str>) -> Option<u64> {
    if let ([Some(value)], None) = (identity, parent)
        && let Ok(id) = value.parse()
    {
        return Some(id);
    }
    identity.iter().flatten().next()?;
    let mut text = parent.unwrap_or_default().to_owned();
    for value in identity {
        text.push('\n');
        text.push_str(value.unwrap_or_default());
    }
    Some(mark(text.as_bytes()))
}

fn collect(key: Key, value: &str, keys: &mut Keys) {
    let text = match key {
        // The job's set of ids holds them already.
        Key::Worklog => return,
        Key::Period => {
            let end = |name| scan::member(value, name).and_then(scan::text);
            match (end("from"), end("to")) {
                (Some(from), Some(to)) => format!("{from}/{to}"),
                _ => return,
            }
        }
        _ => match plain(value) {
            Some(text) if keys.get(&key).is_some_and(|known| known.contains(text)) => return,
            _ => match scan::text(value) {
                Some(text) => text,
                None => return,
            },
        },
    };
    if !text.is_empty() {
        keys.entry(key).or_default().insert(text);
    }
}

/// A string without escapes, as it stands in the record.
fn plain(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains('\\')).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fermata_core::catalogue::entity;

    fn line(name: &str, parent: Option<&str>, record: &str) -> String {
        let mut out = Vec::new();
        append_line(entity(name).unwrap(), parent, record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_the_records_own_bytes() {
        let record = "{ \"id\":1.0,\r\n \"x\":\"a\\nb\" }";
        assert_eq!(line("teams", None, record), "{ \"id\":1.0,   \"x\":\"a\\nb\" }\n");
        let parent = Some(r#"{"team":12}"#);
        assert_eq!(line("team-links", parent, r#"{"id":7}"#), "{\"_parent\":{\"team\":12},\"id\":7}\n");
        assert_eq!(line("team-links", parent, "{ }"), "{\"_parent\":{\"team\":12} }\n");
    }

    #[test]
    fn a_webhooks_secret_is_not_stored() {
        let record = r#"{"id":"a","sharedSecret":"s3cr\"et","url":"https://x"}"#;
        let expect = "{\"id\":\"a\",\"sharedSecret\":\"[redacted]\",\"url\":\"https://x\"}\n";
        assert_eq!(line("webhook-subscriptions", None, record), expect);
        let twice = r#"{"shared\u0053ecret":"a","sharedSecret":"b"}"#;
        let expect = "{\"shared\\u0053ecret\":\"[redacted]\",\"sharedSecret\":\"[redacted]\"}\n";
        assert_eq!(line("webhook-subscriptions", None, twice), expect);
    }

    #[test]
    fn a_worklog_is_known_by_its_id() {
        let worklogs = entity("worklogs").unwrap();
        let record = r#"{"tempoWorklogId":54001,"startDate":"2026-03-02","updatedAt":"2026-03-03T07:00:01.000Z","author":{"accountId":"5b"}}"#;
        let mut keys = Keys::default();
        let row = read(worklogs, record, Some(&mut keys));
        assert_eq!(row.id, Some(54_001));
        assert_eq!(row.changed, Some("2026-03-03T07:00:01Z".parse().unwrap()));
        assert_eq!(row.day, Some("2026-03-02".parse().unwrap()));
        assert_eq!(keys[&Key::User].iter().collect::<Vec<_>>(), ["5b"]);
        assert_eq!(read(worklogs, r#"{"updatedAt":5}"#, None).id, None);
    }

    #[test]
    fn what_has_a_parent_is_known_with_it() {
        let links = entity("team-links").unwrap();
        let ids = [r#"{"_parent":{"team":1},"id":7}"#, r#"{"_parent":{"team":2},"id":7}"#];
        let [one, two] = ids.map(|line| read(links, line, None).id);
        assert!(one.is_some() && two.is_some() && one != two);
        let members = entity("holiday-scheme-members").unwrap();
        let ids =
            [r#"{"schemeId":1,"member":{"accountId":"a"}}"#, r#"{"schemeId":1,"member":{"accountId":"b"}}"#];
        let [one, two] = ids.map(|line| read(members, line, None).id);
        assert!(one != two);
    }

    /// Whatever comes before and after what identifies a record, and however often.
    #[test]
    fn ids_are_those_of_the_whole_row() {
        let lines = [
            r#"{"id":7}"#,
            r#"{"_parent":{"team":1},"self":"x","id":7,"name":"n"}"#,
            r#"{"self":{"id":1},"id":7,"scope":{"id":8}}"#,
            r#"{"id":7,"tempoWorklogId":1,"id":8,"tempoWorklogId":null}"#,
            r#"{"tempoWorklogId":3,"a":{"tempoWorklogId":4}}"#,
            r#"{"tempoWorklogId":3,"text":"\"tempoWorklogId\":9"}"#,
            r#"{"schemeId":1,"member":{"accountId":"a"},"member":{"accountId":"b"}}"#,
            r#"{"member":{"accountId":"a"},"x":1}"#,
            "{}",
            "[",
            "",
        ];
        for entity in fermata_core::catalogue::ENTITIES {
            let reader = IdReader::new(entity);
            for line in lines {
                assert_eq!(reader.id(line), read(entity, line, None).id, "{} {line}", entity.name);
            }
        }
    }

    #[test]
    fn a_period_is_a_key_of_two_days() {
        let mut keys = Keys::default();
        read(entity("periods").unwrap(), r#"{"from":"2026-03-02","to":"2026-03-08"}"#, Some(&mut keys));
        assert_eq!(keys[&Key::Period].iter().collect::<Vec<_>>(), ["2026-03-02/2026-03-08"]);
    }
}
