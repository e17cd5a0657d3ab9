//! Walks JSON that is known to be valid, without building anything.
//!
//! The text was checked by `serde_json` before it comes here, so these functions only find where
//! values begin and end. On text that is not JSON they return some slice of it and never panic.

/// Calls `visit` with the raw name (without quotes) and the value of each member of an object.
pub fn members<'a>(object: &'a str, mut visit: impl FnMut(&'a str, &'a str)) {
    members_while(object, |name, value, _| {
        visit(name, value);
        true
    });
}

/// As [`members`], with what comes after the value too, until `visit` says that it has seen enough.
pub(crate) fn members_while<'a>(object: &'a str, mut visit: impl FnMut(&'a str, &'a str, &'a str) -> bool) {
    let mut at = match skip_space(object, 0) {
        start if object.as_bytes().get(start) == Some(&b'{') => start + 1,
        _ => return,
    };
    loop {
        at = skip_space(object, at);
        if object.as_bytes().get(at) != Some(&b'"') {
            return;
        }
        let name_end = string_end(object, at);
        let name = object.get(at + 1..name_end.saturating_sub(1)).unwrap_or_default();
        at = skip_space(object, name_end);
        // The colon.
        at = skip_space(object, at + 1);
        let end = value_end(object, at);
        let rest = object.get(end..).unwrap_or_default();
        if !visit(name, object.get(at..end).unwrap_or_default(), rest) {
            return;
        }
        at = skip_space(object, end);
        if object.as_bytes().get(at) != Some(&b',') {
            return;
        }
        at += 1;
    }
}

/// The value of a member by its dotted path.
pub(crate) fn member<'a>(object: &'a str, path: &str) -> Option<&'a str> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let mut found = None;
    members(object, |key, value| {
        if key == name {
            found = Some(value);
        }
    });
    match rest {
        Some(rest) => member(found?, rest),
        None => found,
    }
}

/// The values of all members of an object with this name, however it is written.
pub(crate) fn members_named<'a>(object: &'a str, name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    members(object, |key, value| {
        let same = key == name
            || (key.contains('\\')
                && serde_json::from_str::<String>(&format!("\"{key}\"")).is_ok_and(|key| key == name));
        found.extend(same.then_some(value));
    });
    found
}

/// The text of a JSON string, or of a number as written; nothing for other values.
pub(crate) fn text(value: &str) -> Option<String> {
    match value.as_bytes().first()? {
        b'"' => serde_json::from_str(value).ok(),
        b'-' | b'0'..=b'9' => Some(value.to_owned()),
        _ => None,
    }
}

fn skip_space(text: &str, mut at: usize) -> usize {
    while matches!(text.as_bytes().get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of the value that starts at `start`; at least one byte on, so that a walk always ends.
fn value_end(text: &str, start: usize) -> usize {
    match text.as_bytes().get(start) {
        Some(b'"') => string_end(text, start),
        Some(b'{' | b'[') => nested_end(text, start),
        _ => {
            let rest = text.as_bytes().get(start..).unwrap_or_default();
            let length =
                rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
            start + length.unwrap_or(rest.len()).max(1)
        }
    }
}

fn string_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        at += found;
        if bytes[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    bytes.len()
}

fn nested_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};

    #[test]
    fn values_come_out_as_they_were_written() {
        let object = r#"{ "a" : 1.00e2 , "b":"x\"}\\","c":[1,{"d":"]"}],"e":{} ,"f":null}"#;
        let mut found = Vec::new();
        members(object, |name, value| found.push((name, value)));
        let expect =
            [("a", "1.00e2"), ("b", r#""x\"}\\""#), ("c", r#"[1,{"d":"]"}]"#), ("e", "{}"), ("f", "null")];
        assert_eq!(found, expect);
        assert_eq!(member(r#"{"author":{"accountId":"5b:é"}}"#, "author.accountId"), Some(r#""5b:é""#));
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"\\\\é]{1,4}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// The walk finds the same slices as the parser that checks everything.
        #[test]
        fn slices_are_those_of_the_parser(values in prop::collection::btree_map("[a-z]{1,4}", json(), 0..6), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&values) } else { serde_json::to_string(&values) }.unwrap();
            let parsed: BTreeMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
            let parsed: Vec<_> = parsed.iter().map(|(name, raw)| (name.as_str(), raw.get())).collect();
            let mut found = Vec::new();
            members(&text, |name, value| found.push((name, value)));
            prop_assert_eq!(found, parsed);
        }

        /// What is not JSON is walked to an end all the same.
        #[test]
        fn garbage_ends(text in "[\\[\\]{}\",: a\\\\]{0,40}") {
            let mut found = 0;
            members(&text, |_, _| found += 1);
            prop_assert!(found <= text.len());
        }
    }
}
