//! What is unknown of the real Tempo, or differs from site to site, as switches.
//!
//! Promises that every default is the documented or the likeliest behaviour. Each switch names its row in section 9 of the reference.

use serde::{Deserialize, Serialize};

/// What a server does with a `limit` above its maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitAboveMax {
    /// Serves the maximum and says so in `metadata.limit`.
    Clamp,
    /// Answers 400.
    Reject,
}

/// Which host `metadata.next` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkHost {
    /// The host of the request.
    Called,
    /// Always `https://api.tempo.io`.
    TempoIo,
}

/// How an error body spells `errors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorForm {
    /// `{"errors":[{"message":".."}]}`, as seen in practice.
    Array,
    /// `{"errors":{"message":".."}}`, as the specification draws it.
    Object,
}

/// Whom a quota bucket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPer {
    /// One bucket per tenant.
    Tenant,
    /// One bucket per caller's IP address, whatever the tenant.
    Ip,
}

/// The switches; `POST /_sim/quirks` takes any subset of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are switches, each by itself")]
pub struct Quirks {
    /// A maximum `limit` for every endpoint, below the documented ones; `None` keeps those (5,000; audit 1,000).
    pub limit_max: Option<u32>,
    /// What happens above the maximum.
    pub limit_above_max: LimitAboveMax,
    /// Whether a view-only token may call the POST searches.
    pub view_may_search: bool,
    /// The host in links.
    pub link_host: LinkHost,
    /// Seconds in the `Retry-After` of a 429; `None` sends no such header.
    pub retry_after: Option<u32>,
    /// 401, 403 and 429 come as `text/html`; else as JSON errors.
    pub html_errors: bool,
    /// The form of JSON error bodies.
    pub error_form: ErrorForm,
    /// Answers are compressed for callers who accept gzip.
    pub gzip: bool,
    /// Every request is refused with this status, as from the host of a wrong region.
    pub region_refusal: Option<u16>,
    /// Whom the quota is for.
    pub quota_per: QuotaPer,
    /// After this many 429 in a row the bucket's owner is banned (403); 0 never bans.
    pub ban_after: u32,
    /// How long a ban lasts, in seconds.
    pub ban_seconds: u32,
    /// The status of a family that the token may not read (403, or 404 as `GET /worklogs` documents).
    pub denied_status: u16,
    /// How long after its change a mutated worklog appears in lists, in milliseconds (its `updatedAt` is the earlier time).
    pub visibility_delay_ms: u64,
    /// How long after its creation a worklog has a Jira id, in milliseconds.
    pub jira_id_delay_ms: u64,
    /// Mutations leave events in the audit feeds; the `purge` mutation does so only with `retention_audited`.
    pub audited: bool,
    /// Whether rows that retention purges leave a `Deleted` event.
    pub retention_audited: bool,
    /// Moves the simulator's clock (the `Date` header, "now") by this many milliseconds.
    pub clock_offset_ms: i64,
    /// Delay before each answer, in milliseconds, on top of the builder's latency.
    pub latency_ms: u64,
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            limit_max: None,
            limit_above_max: LimitAboveMax::Clamp,
            view_may_search: false,
            link_host: LinkHost::Called,
            retry_after: None,
            html_errors: true,
            error_form: ErrorForm::Array,
            gzip: true,
            region_refusal: None,
            quota_per: QuotaPer::Tenant,
            ban_after: 0,
            ban_seconds: 60,
            denied_status: 403,
            visibility_delay_ms: 0,
            jira_id_delay_ms: 0,
            audited: true,
            retention_audited: false,
            clock_offset_ms: 0,
            latency_ms: 0,
        }
    }
}

impl Quirks {
    /// These switches with those of a partial JSON object laid over them.
    pub fn overlaid(&self, partial: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut whole = serde_json::to_value(self)?;
        let Some(fields) = partial.as_object() else {
            return Err(serde::de::Error::custom("quirks are a JSON object"));
        };
        for (key, value) in fields {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_subset_is_laid_over_the_rest() {
        let quirks = Quirks { gzip: false, ..Quirks::default() };
        let changed = quirks.overlaid(&json!({"limit_max": 50, "link_host": "tempo_io"})).unwrap();
        assert_eq!(
            (changed.limit_max, changed.link_host, changed.gzip),
            (Some(50), LinkHost::TempoIo, false)
        );
        assert!(quirks.overlaid(&json!({"limitmax": 50})).is_err(), "a misspelt switch is an error");
    }
}
