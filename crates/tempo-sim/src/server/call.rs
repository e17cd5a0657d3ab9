//! One request as a handler sees it.
//!
//! Promises the reading rules of the real API: unknown parameters are ignored, dates that are none give 400, repeated
//! parameters are lists.

use serde_json::Value;

use crate::clock;
use crate::faults::FaultKind;
use crate::quirks::Quirks;
use crate::site::Site;
use crate::tables::Record;
use crate::tokens::TokenSpec;

/// A request with all that is needed to answer it.
pub(crate) struct Call<'a> {
    pub(crate) site: &'a Site,
    pub(crate) grant: &'a TokenSpec,
    pub(crate) quirks: &'a Quirks,
    /// The values of the template's `{..}`, in order.
    pub(crate) params: &'a [String],
    pub(crate) query: Vec<(String, String)>,
    /// Null where there is none.
    pub(crate) body: Value,
    pub(crate) path: &'a str,
    /// Scheme and host of links.
    pub(crate) host: String,
    /// The fault that bends this answer.
    pub(crate) twist: Option<&'a FaultKind>,
    pub(crate) now_ms: i64,
}

/// What a handler gives.
#[derive(Debug)]
pub(crate) enum Reply {
    Json(Vec<u8>),
    NoContent,
}

/// Why it does not.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

/// What a handler returns.
pub(crate) type Answer = Result<Reply, Refusal>;

/// 400 with this message.
pub(crate) fn bad(message: impl Into<String>) -> Refusal {
    Refusal { status: 400, message: message.into() }
}

/// 404.
pub(crate) fn missing(what: &str) -> Refusal {
    Refusal { status: 404, message: format!("{what} not found") }
}

/// 200 with this JSON.
#[allow(clippy::unnecessary_wraps, reason = "it is what handlers return")]
pub(crate) fn json(text: impl Into<Vec<u8>>) -> Answer {
    Ok(Reply::Json(text.into()))
}

/// The pairs of a query string, in order.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn date_of(text: &str) -> Result<i32, Refusal> {
    clock::parse_date(text).ok_or_else(|| bad(format!("Non valid date '{text}': format must be yyyy-MM-dd")))
}

impl<'a> Call<'a> {
    /// A template's value by place.
    pub(crate) fn param(&self, place: usize) -> &'a str {
        self.params.get(place).map_or("", String::as_str)
    }

    /// A query parameter.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A list from an array in the body, or from repeated query parameters; absent or empty is no filter.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        let given: Vec<String> = match self.body.get(name).and_then(Value::as_array) {
            Some(given) => given.iter().map(text_of).collect(),
            None => {
                self.query.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
            }
        };
        (!given.is_empty()).then_some(given)
    }

    /// A value from the body or from the query.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        let given = self.body.get(name).filter(|value| !value.is_null()).map(text_of);
        given.or_else(|| self.one(name).map(str::to_owned))
    }

    /// A date, if given.
    pub(crate) fn date(&self, name: &str) -> Result<Option<i32>, Refusal> {
        self.value(name).map(|text| date_of(&text)).transpose()
    }

    /// A date that must be given.
    pub(crate) fn needed_date(&self, name: &str) -> Result<i32, Refusal> {
        self.date(name)?.ok_or_else(|| bad(format!("The parameter '{name}' is required")))
    }

    /// A date or a time, if given, as seconds of UTC.
    pub(crate) fn instant(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let at = clock::parse_instant(&text);
        at.map(Some).ok_or_else(|| {
            bad(format!("Non valid date '{text}': format must be yyyy-MM-dd or yyyy-MM-ddTHH:mm:ssZ"))
        })
    }

    /// Seconds of UTC.
    pub(crate) fn now(&self) -> i64 {
        self.now_ms.div_euclid(1000)
    }

    /// Today's day number.
    pub(crate) fn today(&self) -> i32 {
        self.now().div_euclid(clock::DAY) as i32
    }

    /// All records of an entity.
    pub(crate) fn all(&self, entity: &str) -> &'a [Record] {
        self.site.tables.all(entity)
    }

    /// A page of all records.
    pub(crate) fn list_all(&self, entity: &str) -> Answer {
        self.p1(texts(self.all(entity).iter()))
    }

    /// All records at once.
    pub(crate) fn whole(&self, entity: &str) -> Answer {
        self.p0(texts(self.all(entity).iter()))
    }

    /// The record that the template's first value names, by id.
    pub(crate) fn by_id(&self, entity: &str, what: &str) -> Answer {
        json(self.record(entity, what)?.text.as_bytes())
    }

    /// The same, not yet an answer.
    pub(crate) fn record(&self, entity: &str, what: &str) -> Result<&'a Record, Refusal> {
        self.site.tables.find(entity, self.param(0)).ok_or_else(|| missing(what))
    }

    /// The children of the record that the template's first value names, which must exist.
    pub(crate) fn children(&self, parents: &str, entity: &str) -> Result<Vec<&'a str>, Refusal> {
        let parent = self.record(parents, "Resource")?;
        Ok(self.site.tables.of(entity, &parent.id).map(|record| &*record.text).collect())
    }
}

/// The texts of records.
pub(crate) fn texts<'r>(records: impl Iterator<Item = &'r Record>) -> impl Iterator<Item = &'r str> {
    records.map(|record| &*record.text)
}
