//! The fields of a record by their dotted paths: `author.accountId`, `_parent.team`.
//!
//! Objects are walked into. Whatever else a member holds, lists and empty objects included, is one field, and its value
//! stays as it is written.

use std::collections::HashMap;

use fermata_tempo::scan;

/// A field of a record: its path, and its value as it is written.
pub type Field<'a> = (String, &'a str);

/// A field in which two forms of a record differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered<'a> {
    /// Its path.
    pub path: String,
    /// What it was, as it is written; nothing where it was not there.
    pub before: Option<&'a str>,
    /// What it is, as it is written; nothing where it is gone.
    pub after: Option<&'a str>,
}

/// The fields of a record, in its order.
pub fn fields(record: &str) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    collect("", record, &mut found);
    found
}

/// The fields in which two forms of a record differ: in the order of the newer one, then those that it lacks.
///
/// None where only the white space or the order differs.
pub fn altered<'a>(before: &'a str, after: &'a str) -> Vec<Altered<'a>> {
    let old = fields(before);
    let mut known: HashMap<&str, &'a str> = old.iter().map(|(path, value)| (path.as_str(), *value)).collect();
    let mut altered = Vec::new();
    for (path, value) in fields(after) {
        let before = known.remove(path.as_str());
        if before != Some(value) {
            altered.push(Altered { path, before, after: Some(value) });
        }
    }
    for (path, _) in &old {
        if let Some(value) = known.remove(path.as_str()) {
            altered.push(Altered { path: path.clone(), before: Some(value), after: None });
        }
    }
    altered
}

/// What a value says: a text without its quotes and escapes, anything else as it is written.
pub fn plain(value: &str) -> String {
    serde_json::from_str(value).unwrap_or_else(|_| value.to_owned())
}

fn collect<'a>(path: &str, object: &'a str, found: &mut Vec<Field<'a>>) {
    scan::members(object, |name, value| {
        let name = if name.contains('\\') { plain(&format!("\"{name}\"")) } else { name.to_owned() };
        let path = if path.is_empty() { name } else { format!("{path}.{name}") };
        let before = found.len();
        if value.starts_with('{') {
            collect(&path, value, found);
        }
        if found.len() == before {
            found.push((path, value));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_dotted_paths() {
        let record = r#"{"_parent":{"team":12},"id":1.0,"a\"b":{"c":{"d":null}},"e":{},"f":[{"g":1}]}"#;
        let expect =
            [("_parent.team", "12"), ("id", "1.0"), ("a\"b.c.d", "null"), ("e", "{}"), ("f", r#"[{"g":1}]"#)];
        assert_eq!(fields(record), expect.map(|(path, value)| (path.to_owned(), value)));
        assert_eq!(["\"a\\u00e9\"", "1.0", "null", "[ ]"].map(plain), ["aé", "1.0", "null", "[ ]"]);
    }

    fn check(before: &str, after: &str, expect: &[(&str, Option<&str>, Option<&str>)]) {
        let found = altered(before, after);
        let found: Vec<_> =
            found.iter().map(|field| (field.path.as_str(), field.before, field.after)).collect();
        assert_eq!(found, expect, "{before} {after}");
    }

    #[test]
    fn two_forms_differ_in_some_fields() {
        check(r#"{"a":1,"b":"x"}"#, r#"{ "b": "x", "a": 1 }"#, &[]);
        check(
            r#"{"a":1,"b":{"c":2,"d":3},"e":4}"#,
            r#"{"n":[],"b":{"d":3,"c":5},"a":1.0}"#,
            &[
                ("n", None, Some("[]")),
                ("b.c", Some("2"), Some("5")),
                ("a", Some("1"), Some("1.0")),
                ("e", Some("4"), None),
            ],
        );
        check(r#"{"a":null}"#, r#"{"a":{"b":1}}"#, &[("a.b", None, Some("1")), ("a", Some("null"), None)]);
        check(r#"{"a":null}"#, "{}", &[("a", Some("null"), None)]);
    }
}
