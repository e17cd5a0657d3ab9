//! What an operator decided about a tenant, and its sealed token.
//!
//! Settings are a sequence of whole documents, each written once; the newest counts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::names::{RunId, Tenant};

/// Tempo's address for every region.
pub const BASE_URL: &str = "https://api.tempo.io";
/// Tempo's knowledge base: "5 requests/second" for a token, an OAuth application and an address alike.
pub const RATE: f64 = 5.0;
/// How large a tenant's share of the workers may be: above it the others would hardly be served.
pub const WEIGHTS: RangeInclusive<u32> = 1..=100;

/// Neither of Tempo's feeds is certain, so at least so often everything is read.
pub const SWEEP_DAYS: u32 = 7;
/// What may be set instead. Deletions can be asked for 180 days back.
pub const SWEEP_DAYS_RANGE: RangeInclusive<u32> = 1..=90;
/// Of how many percent of its records an entity may come back short before its snapshot is suspect.
pub const SHRINK_PERCENT: u32 = 20;
/// What may be set instead.
pub const SHRINK_PERCENT_RANGE: RangeInclusive<u32> = 1..=100;

/// The settings of one tenant, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of this document.
    pub schema: u32,
    /// Place in the sequence, from 1.
    pub seq: u32,
    /// Tells this writer's document from another's of the same place.
    pub nonce: String,
    /// When it was written.
    pub saved: Timestamp,
    /// Whose settings these are.
    pub tenant: Tenant,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Scheme and host of the Tempo API.
    pub base_url: String,
    /// Requests per second.
    pub rate: f64,
    /// When to back up, for [`Schedule::parse`](crate::schedule::Schedule::parse).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The IANA time zone of `schedule`; UTC without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// How large its share of the workers is beside other tenants', one of [`WEIGHTS`]; 1 unless set.
    #[serde(default = "usual_weight", skip_serializing_if = "is_usual_weight")]
    pub weight: u32,
    /// Which snapshots to keep, a [`Policy`](crate::retention::Policy); all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Days after which worklogs and plans are all read again, and not only what changed; [`SWEEP_DAYS`] unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep_days: Option<u32>,
    /// Percent of its records that an entity may lose before its snapshot is suspect; [`SHRINK_PERCENT`] unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shrink_percent: Option<u32>,
    /// The newest suspect snapshot that somebody looked at and found to be right, and so are those before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<RunId>,
    /// Entities that are left out on purpose.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub without: BTreeSet<String>,
    /// Whether runs are held back.
    #[serde(default)]
    pub paused: bool,
    /// Whether the tenant was removed; its snapshots stay until they are deleted.
    #[serde(default)]
    pub removed: bool,
    /// The token, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// A stored API token. The token itself can be read only with the workers' key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// The token and its tenant, sealed to the workers' key, in base64.
    pub sealed: String,
    /// The first digits of its hash, so that people can tell two tokens apart.
    pub fingerprint: String,
    /// When it was stored.
    pub stored: Timestamp,
    /// Who stored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_by: Option<String>,
    /// When Tempo will stop taking it, where the operator said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Date>,
    /// When Tempo refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Timestamp>,
    /// What it was found to read when somebody last looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// What a token may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// When Tempo was asked.
    pub at: Timestamp,
    /// What it may not read, by entity, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gaps: BTreeMap<String, String>,
}

impl Settings {
    /// The settings of a tenant that was just added.
    pub fn new(tenant: Tenant, now: Timestamp) -> Self {
        Self {
            schema: crate::FORMAT,
            seq: 0,
            nonce: String::new(),
            saved: now,
            tenant,
            name: None,
            base_url: BASE_URL.to_owned(),
            rate: RATE,
            schedule: None,
            time_zone: None,
            weight: usual_weight(),
            keep: None,
            sweep_days: None,
            shrink_percent: None,
            accepted: None,
            without: BTreeSet::new(),
            paused: false,
            removed: false,
            token: None,
        }
    }
}

impl Token {
    /// Days until it expires, counted from the day of `now` in UTC; negative once it has.
    pub fn days_left(&self, now: Timestamp) -> Option<i32> {
        let today = now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let span = today.until((jiff::Unit::Day, self.expires?)).ok()?;
        Some(span.get_days())
    }
}

fn usual_weight() -> u32 {
    *WEIGHTS.start()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference over")]
fn is_usual_weight(weight: &u32) -> bool {
    *weight == usual_weight()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_stored_where_it_is_unusual() {
        let mut settings = Settings::new("acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
        for (weight, stored) in [(1, None), (7, Some(7))] {
            settings.weight = weight;
            let document = serde_json::to_value(&settings).unwrap();
            assert_eq!(document.get("weight").and_then(serde_json::Value::as_u64), stored);
            assert_eq!(serde_json::from_value::<Settings>(document).unwrap(), settings);
        }
    }
}
