//! JSON as text, so that the bytes of a record are ours to choose.
//!
//! Promises key order as written, raw number texts (`0.10`, `1e2`) and edits that leave every untouched byte of a
//! value alone. Refuses to check what it is given as raw.

use std::fmt::{Display, Write as _};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Where the `self` links of Tempo's own objects point.
pub(crate) const API: &str = "https://api.tempo.io/4";

/// An object that is written key by key.
#[derive(Debug)]
pub(crate) struct Obj(String);

impl Obj {
    pub(crate) fn new() -> Self {
        Self(String::from("{"))
    }

    /// An object that begins with a `self` link below [`API`].
    pub(crate) fn at(path: impl Display) -> Self {
        Self::new().text("self", &format!("{API}/{path}"))
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push_str(&quote(value));
        self
    }

    /// A value that prints as JSON by itself: a number, a flag or text made elsewhere.
    pub(crate) fn raw(mut self, key: &str, value: impl Display) -> Self {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// A link object `{"self": ...}`.
    pub(crate) fn link(self, key: &str, path: impl Display) -> Self {
        self.raw(key, Self::at(path).end())
    }

    /// Goes on only if there is a value: Tempo leaves out what it has not.
    pub(crate) fn maybe<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// A JSON string.
pub(crate) fn quote(value: &str) -> String {
    serde_json::to_string(value).expect("text is JSON")
}

/// A JSON array of values that are JSON already.
pub(crate) fn array<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> String {
    let mut out = String::from("[");
    for value in values {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(value.as_ref());
    }
    out.push(']');
    out
}

struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Sets fields of an object in place (null removes one), appends new ones and leaves the other values' text as it was.
pub(crate) fn edit(text: &str, fields: &Map<String, Value>) -> Result<String, serde_json::Error> {
    let Members(members) = serde_json::from_str(text)?;
    let mut out = Obj::new();
    for (key, old) in &members {
        out = match fields.get(key) {
            Some(Value::Null) => out,
            Some(new) => out.raw(key, new),
            None => out.raw(key, old.get()),
        };
    }
    for (key, new) in fields {
        if !new.is_null() && !members.iter().any(|(old, _)| old == key) {
            out = out.raw(key, new);
        }
    }
    Ok(out.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edit_keeps_the_text_of_other_fields() {
        let fields = json!({"b": 2, "d": "new", "c": null});
        let edited =
            edit(r#"{"z": 0.10, "b": 1, "c": 3, "a": "\u00e9"}"#, fields.as_object().unwrap()).unwrap();
        assert_eq!(edited, r#"{"z":0.10,"b":2,"a":"\u00e9","d":"new"}"#);
        assert!(edit("[1]", fields.as_object().unwrap()).is_err());
    }

    #[test]
    fn objects_leave_out_what_is_missing() {
        let text = Obj::at("roles/1").raw("id", 1).maybe(None::<&str>, |o, v| o.text("x", v)).end();
        assert_eq!(text, r#"{"self":"https://api.tempo.io/4/roles/1","id":1}"#);
        assert_eq!(array(["1", "2"]), "[1,2]");
    }
}
