//! Faults by script: the nth request that matches gets something other than its answer.
//!
//! Promises that a fault counts only requests that passed the token check and the quota, and that it fires exactly
//! `times` times. Where several faults are due for one request, the first given wins; all of them count it.

use serde::{Deserialize, Serialize};

/// One fault: which requests it counts, which of them it hits, and what it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// A tenant's name (`sim-1`); any if absent.
    #[serde(default)]
    pub tenant: Option<String>,
    /// `GET` or `POST`; any if absent.
    #[serde(default)]
    pub method: Option<String>,
    /// The beginning of a path (`/4/worklogs`) or a whole template (`/4/teams/{id}/links`); any if absent.
    #[serde(default)]
    pub path: Option<String>,
    /// The first matching request that is hit, from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many matching requests in a row are hit.
    #[serde(default = "one")]
    pub times: u64,
    /// What happens.
    #[serde(flatten)]
    pub kind: FaultKind,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers with a status, by default with a JSON error body.
    Status {
        /// The HTTP status.
        code: u16,
        /// The body, as it is.
        #[serde(default)]
        body: Option<String>,
        /// Its content type (`application/json` if absent).
        #[serde(default)]
        content_type: Option<String>,
        /// Seconds for a `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u32>,
    },
    /// Sends nothing for so long, then the usual answer.
    Hang {
        /// How long.
        seconds: f64,
    },
    /// Closes the connection without an answer and without serving the request.
    Reset,
    /// Serves the request (it counts, scheduled mutations run) and closes the connection instead of answering.
    AfterEffect,
    /// Sends half of the body under the `Content-Length` of the whole, then closes.
    Cut,
    /// Answers 200 with an HTML page.
    Html200,
    /// Answers 200 with JSON that breaks the contract.
    WrongShape {
        /// How.
        #[serde(default)]
        shape: Shape,
    },
    /// The link (or token) to the next page leads to this page again.
    Loop,
    /// The link to the next page leads to another host and path.
    ForeignLink {
        /// Where.
        #[serde(default = "elsewhere")]
        url: String,
    },
    /// The page repeats the rows of the page before it.
    DuplicateIds,
    /// The page is empty, yet has a link to the next; its rows are left out, as by a permission filter.
    EmptyPage,
    /// Streams nested arrays that never close.
    HugeNesting {
        /// How much, in MiB.
        #[serde(default = "hundred")]
        mib: u32,
    },
    /// The body has bytes in it that are not UTF-8.
    NotUtf8,
    /// The body trickles.
    Slow {
        /// At this rate.
        #[serde(default = "thousand")]
        bytes_per_second: u32,
    },
}

/// In which way a body breaks the contract.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// An object without `results`.
    #[default]
    NoResults,
    /// `results` is an object.
    ResultsNotArray,
    /// The members of `metadata` are texts and flags.
    MetadataTypes,
}

fn one() -> u64 {
    1
}

fn hundred() -> u32 {
    100
}

fn thousand() -> u32 {
    1_000
}

fn elsewhere() -> String {
    "https://elsewhere.example/4/stolen?limit=50&offset=50".into()
}

impl Fault {
    /// A fault that hits the first request of any kind.
    pub fn new(kind: FaultKind) -> Self {
        Self { tenant: None, method: None, path: None, nth: 1, times: 1, kind }
    }

    /// A plain status, without a body of its own.
    pub fn status(code: u16) -> Self {
        Self::new(FaultKind::Status { code, body: None, content_type: None, retry_after: None })
    }

    /// Only requests of tenant `sim-<number>`.
    #[must_use]
    pub fn tenant(mut self, number: u32) -> Self {
        self.tenant = Some(format!("sim-{number}"));
        self
    }

    /// Only requests with this method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_uppercase());
        self
    }

    /// Only paths that begin so, or that have exactly this template.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// From the nth matching request on (1 is the first).
    #[must_use]
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth;
        self
    }

    /// So many matching requests in a row.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, tenant: &str, method: &str, path: &str, template: &str) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
            && self.method.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && self.path.as_deref().is_none_or(|wanted| path.starts_with(wanted) || template == wanted)
    }
}

/// The faults in force and how often each has matched.
#[derive(Debug, Default)]
pub(crate) struct FaultBook(Vec<(Fault, u64)>);

impl FaultBook {
    pub(crate) fn add(&mut self, fault: Fault) {
        self.0.push((fault, 0));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The faults and their counts of matching requests.
    pub(crate) fn list(&self) -> Vec<(Fault, u64)> {
        self.0.clone()
    }

    /// Counts a request and says what is to happen to it.
    pub(crate) fn due(
        &mut self,
        tenant: &str,
        method: &str,
        path: &str,
        template: &str,
    ) -> Option<FaultKind> {
        let mut due = None;
        for (fault, seen) in &mut self.0 {
            if fault.matches(tenant, method, path, template) {
                *seen += 1;
                let last = fault.nth.saturating_add(fault.times);
                if due.is_none() && (fault.nth..last).contains(seen) {
                    due = Some(fault.kind.clone());
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_the_nth_match_and_so_many_after_it() {
        let mut book = FaultBook::default();
        book.add(Fault::status(500).path("/4/teams/{id}/links").nth(2).times(2));
        let mut hit = |path: &str| book.due("sim-1", "GET", path, "/4/teams/{id}/links").is_some();
        assert_eq!(
            [
                hit("/4/teams/1/links"),
                hit("/4/teams/2/links"),
                hit("/4/teams/3/links"),
                hit("/4/teams/4/links")
            ],
            [false, true, true, false]
        );
    }

    #[test]
    fn faults_read_as_the_readme_writes_them() {
        let fault: Fault =
            serde_json::from_str(r#"{"path":"/4/worklogs","nth":3,"kind":"status","code":503}"#).unwrap();
        assert_eq!(fault, Fault::status(503).path("/4/worklogs").nth(3));
        let fault: Fault = serde_json::from_str(r#"{"tenant":"sim-2","kind":"huge_nesting"}"#).unwrap();
        assert_eq!(fault.kind, FaultKind::HugeNesting { mib: 100 });
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"explode"}"#).is_err());
    }
}
