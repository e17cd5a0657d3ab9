//! A page of an answer, cut into records without reading them into anything.
//!
//! The whole answer is checked to be JSON first; after that a record is a slice of it, so numbers,
//! unknown members and their order survive to the byte.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use fermata_core::catalogue::Records;
use serde::Deserialize;
use serde_json::value::RawValue;

/// An answer that was checked to be a page.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Where in `text` each record is.
    records: Vec<Range<usize>>,
    /// What the answer says of its place in the list.
    pub meta: Meta,
}

/// The members of an answer's `metadata` that reading on needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Rows at most on one page, as the server sees it; believed where it is less than was asked for.
    pub limit: Option<u64>,
    /// A link to the next page.
    pub next: Option<String>,
    /// The token of the next page.
    pub next_page_token: Option<String>,
    /// The legacy feeds' token of the next page.
    pub last_evaluated_key: Option<String>,
}

/// An answer of 200 that is no page. Seen in outages, so it is worth asking again.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not text.
    #[error("the answer is not UTF-8 text")]
    NotText,
    /// Not JSON: cut short, or a page for people.
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON without the array of records.
    #[error("the answer has no list of records under {0:?}")]
    NoRecords(&'static str),
    /// A record that is no object.
    #[error("the answer has a record that is not a JSON object")]
    NotAnObject,
    /// Metadata of wrong types.
    #[error("the answer's metadata has a wrong shape")]
    Metadata(#[source] serde_json::Error),
}

impl Page {
    /// Checks an answer's body.
    pub fn new(body: Bytes, records: Records) -> Result<Self, Malformed> {
        let text = String::from_utf8(body.into()).map_err(|_| Malformed::NotText)?;
        let (records, meta) = match records {
            Records::Under(name) => {
                let members: BTreeMap<String, &RawValue> = parse(&text, Malformed::NoRecords(name))?;
                let list = members.get(name).ok_or(Malformed::NoRecords(name))?;
                (parse(list.get(), Malformed::NoRecords(name))?, members.get("metadata").copied())
            }
            Records::Bare => (parse(&text, Malformed::NoRecords(""))?, None),
            Records::Itself => (vec![parse(&text, Malformed::NotAnObject)?], None),
        };
        let records: Vec<&RawValue> = records;
        if records.iter().any(|record| !record.get().starts_with('{')) {
            return Err(Malformed::NotAnObject);
        }
        let meta = match meta {
            Some(meta) => serde_json::from_str(meta.get()).map_err(Malformed::Metadata)?,
            None => Meta::default(),
        };
        let records = records.into_iter().map(|record| place(&text, record.get())).collect();
        Ok(Self { text, records, meta })
    }

    /// A page of nothing, for the documented answer 204.
    pub fn empty() -> Self {
        Self { text: String::new(), records: Vec::new(), meta: Meta::default() }
    }

    /// The records, as received.
    pub fn records(&self) -> impl Iterator<Item = &str> {
        self.records.iter().map(|place| &self.text[place.clone()])
    }

    /// Bytes of the answer.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// Reads JSON; `other` says that it is JSON of another shape.
fn parse<'a, T: Deserialize<'a>>(text: &'a str, other: Malformed) -> Result<T, Malformed> {
    serde_json::from_str(text)
        .map_err(|error| if error.is_data() { other } else { Malformed::NotJson(error) })
}

/// Where in `text` a slice of it is.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str, records: Records) -> Result<Page, Malformed> {
        Page::new(Bytes::copy_from_slice(text.as_bytes()), records)
    }

    const RESULTS: Records = Records::Under("results");

    #[test]
    fn records_keep_every_byte() {
        let body = r#"{"self":"x","metadata":{"count":2,"limit":50,"next":"https://api.tempo.io/4/roles?offset=50"},
            "results":[{"id":12345678901234567890123,"b":0.10,"b":1,"zz":"\u00e9\/"}, {"id" : 2}]}"#;
        let page = page(body, RESULTS).unwrap();
        let records: Vec<_> = page.records().collect();
        assert_eq!(
            records,
            [r#"{"id":12345678901234567890123,"b":0.10,"b":1,"zz":"\u00e9\/"}"#, r#"{"id" : 2}"#]
        );
        assert_eq!(page.meta.limit, Some(50));
        assert!(page.meta.next.is_some_and(|next| next.ends_with("offset=50")));
    }

    #[test]
    fn the_other_wrappers() {
        let count = |text, records| page(text, records).map(|page| page.records().count()).ok();
        assert_eq!(count(r#"{"periods":[{},{}]}"#, Records::Under("periods")), Some(2));
        assert_eq!(count("[{},{},{}]", Records::Bare), Some(3));
        assert_eq!(count(" {\"a\":1} ", Records::Itself), Some(1));
        assert_eq!(Page::empty().records().count(), 0);
    }

    #[test]
    fn what_is_no_page_is_said() {
        for bad in
            ["", "<html>", r#"{"results":[{"#, r#"{"results":{}}"#, "{}", "[]", "null", r#"{"results":[1]}"#]
        {
            assert!(page(bad, RESULTS).is_err(), "{bad}");
        }
        assert!(matches!(page(r#"{"metadata":7,"results":[]}"#, RESULTS), Err(Malformed::Metadata(_))));
        assert!(matches!(
            page(r#"{"metadata":{"limit":"x"},"results":[]}"#, RESULTS),
            Err(Malformed::Metadata(_))
        ));
        assert!(Page::new(Bytes::from_static(b"{\"results\":[{\"a\":\"\xff\"}]}"), RESULTS).is_err());
    }

    #[test]
    fn nesting_without_end_is_walked_without_a_stack() {
        let deep = "[".repeat(2_000_000);
        assert!(matches!(page(&deep, RESULTS), Err(Malformed::NoRecords(_))));
        assert!(matches!(page(&deep, Records::Bare), Err(Malformed::NotJson(_))));
        assert!(matches!(page(&format!("{{\"results\":{deep}"), RESULTS), Err(Malformed::NotJson(_))));
        let closed = format!("{{\"results\":[{{\"a\":{}{}}}]}}", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(page(&closed, RESULTS).unwrap().records().count(), 1);
    }
}
