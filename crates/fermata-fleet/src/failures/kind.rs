//! What errors have in common: the request, the status, the words without what differs from job to job, and a likely cause.

use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::queue::JobId;

/// Digits of a group's id.
const ID_DIGITS: usize = 12;
/// Characters of an error that are looked at: what tells errors apart stands at their beginning.
const CHARS_MAX: usize = 400;
/// No English word of so many letters is a hexadecimal number.
const HEX_MIN: usize = 8;

/// A kind of failure: all jobs of it most likely fail for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// A name for addresses, the same wherever and whenever it is reckoned.
    pub(crate) id: String,
    /// Which entity.
    pub(crate) entity: String,
    /// Method and path, with `#` for ids.
    pub(crate) request: Option<String>,
    /// Of the answer.
    pub(crate) status: Option<u16>,
    /// The error, with `#` for numbers and ids and `*` for names.
    pub(crate) title: String,
    /// Why, most likely.
    pub(crate) cause: Cause,
}

/// Why jobs fail, as far as their errors tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// A person stopped them.
    Person,
    /// Their workers end while they read.
    Memory,
    /// Tempo refused the token.
    Token,
    /// The token lacks a permission.
    Permission,
    /// Tempo was asked too fast.
    Pace,
    /// Tempo fails.
    Tempo,
    /// Tempo is not reached.
    Network,
    /// Tempo answers otherwise than its documentation says.
    Shape,
    /// The object store fails.
    Store,
    /// What it is read by was not read.
    Parent,
    /// Fermata itself is wrong.
    Bug,
    /// Nobody knows.
    Unknown,
}

impl Kind {
    /// The kind of a job's error.
    pub(crate) fn of(job: &JobId, error: &str) -> Self {
        let error: String = error.chars().take(CHARS_MAX).collect();
        let (request, status) = (request(&error), status(&error));
        let title = title(job, &error);
        let mut key = Sha256::new();
        for part in [&job.entity, request.as_deref().unwrap_or_default(), &title] {
            key.update(part);
            key.update([0]);
        }
        let mut id = String::new();
        for byte in key.finalize().iter().take(ID_DIGITS / 2) {
            let _ = write!(id, "{byte:02x}");
        }
        Self { id, entity: job.entity.clone(), request, status, cause: Cause::of(&error, status), title }
    }
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Person,
        Self::Memory,
        Self::Token,
        Self::Permission,
        Self::Pace,
        Self::Tempo,
        Self::Network,
        Self::Shape,
        Self::Store,
        Self::Parent,
        Self::Bug,
        Self::Unknown,
    ];

    /// The likely cause of an error.
    fn of(error: &str, status: Option<u16>) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
        match status {
            _ if error.starts_with("cancelled by ") => Self::Person,
            _ if error.starts_with("it took down ") || is_lost(error) => Self::Memory,
            _ if has(&["a bug in Fermata", "this release ", "it stood in the line of"]) => Self::Bug,
            Some(401) => Self::Token,
            Some(403 | 404) => Self::Permission,
            Some(429) => Self::Pace,
            Some(500..) => Self::Tempo,
            _ if has(&["the token may only view", "grant the token"]) => Self::Permission,
            _ if has(&["quota is used up"]) => Self::Pace,
            _ if has(&["could not connect", "no answer in time", "connection broke off"]) => Self::Network,
            _ if has(&["Tempo does not answer"]) => Self::Network,
            _ if has(&["it is read per "]) => Self::Parent,
            Some(_) => Self::Shape,
            _ if has(&[
                "the answer",
                "the list does not advance",
                "the link to the next page",
                "the records did not come",
            ]) =>
            {
                Self::Shape
            }
            _ if has(&[
                "the store",
                "is damaged",
                "is missing",
                "bucket",
                "credentials",
                "written by somebody else",
            ]) =>
            {
                Self::Store
            }
            _ => Self::Unknown,
        }
    }

    /// Its name in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Memory => "memory",
            Self::Token => "token",
            Self::Permission => "permission",
            Self::Pace => "pace",
            Self::Tempo => "tempo",
            Self::Network => "network",
            Self::Shape => "shape",
            Self::Store => "store",
            Self::Parent => "parent",
            Self::Bug => "bug",
            Self::Unknown => "unknown",
        }
    }

    /// What it says to a person.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Person => "a person stopped it",
            Self::Memory => "it takes its workers down",
            Self::Token => "Tempo refuses the token",
            Self::Permission => "the token lacks a permission",
            Self::Pace => "Tempo is asked too fast",
            Self::Tempo => "Tempo fails",
            Self::Network => "Tempo is not reached",
            Self::Shape => "Tempo answers otherwise than documented",
            Self::Store => "the object store fails",
            Self::Parent => "what it is read by was not read",
            Self::Bug => "a bug in Fermata",
            Self::Unknown => "unknown",
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Person => "retry it once the reason is gone",
            Self::Memory => {
                "give workers more memory or fewer places (`fermata worker --concurrency`), then retry one as a probe"
            }
            Self::Token => "store a new token; its jobs go on by themselves",
            Self::Permission => "grant the token what the error names, then retry",
            Self::Pace => "nothing: it goes on by itself; if it comes again, lower the tenant's rate",
            Self::Tempo => {
                "see status.tempo.io; retry one as a probe, and the rest at a pace once it succeeds"
            }
            Self::Network => {
                "look at the way from the workers to Tempo: DNS, proxy, firewall; then retry one as a probe"
            }
            Self::Shape => "retry one as a probe; if it fails again, report it with the error's words",
            Self::Store => "look at the bucket: its space, its credentials, its rules; then retry",
            Self::Parent => "retry what it is read by first",
            Self::Bug => "report it with the error's words, and retry with the next release",
            Self::Unknown => "read the error; retry one as a probe",
        }
    }
}

fn is_lost(error: &str) -> bool {
    error.starts_with("worker ") && error.ends_with(" was lost")
}

/// The first request that an error names.
fn request(error: &str) -> Option<String> {
    let mut words = error.split_whitespace();
    let method = words.find(|word| matches!(*word, "GET" | "POST"))?;
    let path = words.next().filter(|path| path.starts_with('/'))?;
    Some(format!("{method} {}", path_title(path.trim_end_matches([':', ',', ';', '.']))))
}

/// The first HTTP status that an error names.
fn status(error: &str) -> Option<u16> {
    let (_, rest) = error.split_once("HTTP ")?;
    rest.get(..3)?.parse().ok()
}

/// An error without what differs between jobs that fail for one reason.
fn title(job: &JobId, error: &str) -> String {
    if error.starts_with("cancelled by ") {
        return "cancelled by *".to_owned();
    }
    if is_lost(error) {
        return "worker * was lost".to_owned();
    }
    if error.starts_with("it took down ") {
        return "it took down # workers".to_owned();
    }
    // The same error, whether it was given up for it or is tried again.
    let error = match error.split_once(" attempts: ") {
        Some((given_up, rest)) if given_up.starts_with("given up after ") => rest,
        _ => error,
    };
    let mut words = Vec::new();
    for word in error.split_whitespace() {
        let after_status = words.last().is_some_and(|last: &String| last.ends_with("HTTP"));
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let names_it = bare == job.tenant.as_str() || bare == job.run.as_str();
        // What is an id in one error may be all digits in another, or all letters.
        let hex = bare.len() >= HEX_MIN && bare.chars().all(|c| c.is_ascii_hexdigit());
        let is_id = hex || bare.contains(|c: char| c.is_ascii_digit());
        let is_path = word.starts_with('/') || word.starts_with("tenants/");
        words.push(match () {
            () if after_status || bare.is_empty() => word.to_owned(),
            () if is_path => path_title(word),
            () if names_it || word.contains('@') => word.replace(bare, "*"),
            () if is_id => word.replace(bare, "#"),
            () => word.to_owned(),
        });
    }
    words.join(" ")
}

/// A path without what names one of many, and without a query; what ends the word stays.
fn path_title(word: &str) -> String {
    let path = word.trim_end_matches([':', ',', ';', '.']);
    let end = &word[path.len()..];
    let varies = |segment: &str| segment.starts_with('{') || segment.contains(|c: char| c.is_ascii_digit());
    let path = path.split('?').next().unwrap_or_default();
    // The first of Tempo's names the version of its API.
    let varies = |(at, segment): (usize, &str)| varies(segment) && (at != 1 || segment.len() > 1);
    let mut segments: Vec<_> = path
        .split('/')
        .enumerate()
        .map(|(at, segment)| if varies((at, segment)) { "#" } else { segment })
        .collect();
    if let ["tenants", tenant, ..] = &mut segments[..] {
        *tenant = "*";
    }
    segments.join("/") + end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &str) -> Kind {
        Kind::of(&"acme/20261124T020000Z-4f9a1c/teams".parse().unwrap(), error)
    }

    /// The texts are those of the crates that make them.
    #[test]
    fn errors_are_told_by_request_status_words_and_cause() {
        let check = |error: &str, expect: (Option<&str>, Option<u16>, &str, Cause)| {
            let Kind { request, status, title, cause, .. } = kind(error);
            assert_eq!((request.as_deref(), status, &*title, cause), expect, "{error}");
        };
        let (teams, of_plans) = (Some("GET /teams/#/links"), Some("GET /plans"));
        check(
            "after 8 attempts: GET /teams/{teamId}/links: Tempo failed (HTTP 500): trace 4f9a1c",
            (
                teams,
                Some(500),
                "after # attempts: GET /teams/#/links: Tempo failed (HTTP 500): trace #",
                Cause::Tempo,
            ),
        );
        let plans = "POST /4/plans/search: Tempo failed (HTTP 500)";
        let expect = (Some("POST /4/plans/search"), Some(500), plans, Cause::Tempo);
        check(plans, expect);
        check(&format!("given up after 8 attempts: {plans}"), expect);
        check(
            "GET /teams/12/links?offset=50: no answer in time",
            (teams, None, "GET /teams/#/links: no answer in time", Cause::Network),
        );
        check(
            "Tempo does not answer: POST /worklogs/search: could not connect",
            (
                Some("POST /worklogs/search"),
                None,
                "Tempo does not answer: POST /worklogs/search: could not connect",
                Cause::Network,
            ),
        );
        check(
            "GET /accounts: Tempo refused the token (HTTP 401)",
            (
                Some("GET /accounts"),
                Some(401),
                "GET /accounts: Tempo refused the token (HTTP 401)",
                Cause::Token,
            ),
        );
        check(
            "3 of 17 parts could not be read: GET /teams/{teamId}/links: HTTP 403; grant the token Teams",
            (
                teams,
                Some(403),
                "# of # parts could not be read: GET /teams/#/links: HTTP 403; grant the token Teams",
                Cause::Permission,
            ),
        );
        check(
            "GET /plans: Tempo says that we ask too fast (HTTP 429)",
            (of_plans, Some(429), "GET /plans: Tempo says that we ask too fast (HTTP 429)", Cause::Pace),
        );
        check(
            "GET /plans: HTTP 200, but the answer is not JSON",
            (of_plans, Some(200), "GET /plans: HTTP 200, but the answer is not JSON", Cause::Shape),
        );
        check(
            "GET /plans: the list does not advance: the answer leads to a page that was already read",
            (
                of_plans,
                None,
                "GET /plans: the list does not advance: the answer leads to a page that was already read",
                Cause::Shape,
            ),
        );
    }

    #[test]
    fn what_is_no_answer_of_tempo_is_told_apart_too() {
        let check = |error: &str, title: &str, cause: Cause| {
            let told = kind(error);
            assert_eq!((&*told.title, told.cause), (title, cause), "{error}");
            assert_eq!((told.request, told.status), (None, None), "{error}");
        };
        check("cancelled by ann@host", "cancelled by *", Cause::Person);
        check("worker host-17-4f9a was lost", "worker * was lost", Cause::Memory);
        check(
            "it took down 3 workers, the last of them w: what it reads may be more than a worker has memory for",
            "it took down # workers",
            Cause::Memory,
        );
        check(
            "the store failed at tenants/acme/runs/20261124T020000Z-4f9a1c/plan.json",
            "the store failed at tenants/*/runs/#/plan.json",
            Cause::Store,
        );
        check(
            "there is no tenant acme; add it with `fermata tenant add acme`",
            "there is no tenant *; add it with `fermata tenant add *`",
            Cause::Unknown,
        );
        check(
            "it is read per team, and teams could not all be read",
            "it is read per team, and teams could not all be read",
            Cause::Parent,
        );
        check("a bug in Fermata: index 7", "a bug in Fermata: index #", Cause::Bug);
        check("", "", Cause::Unknown);
        check("HTTP 5", "HTTP 5", Cause::Unknown);
    }

    #[test]
    fn one_reason_is_one_group_whoever_it_hits() {
        let other = |error: &str| Kind::of(&"beta/20261125T020000Z-000000/teams".parse().unwrap(), error);
        let (id, number) = (kind("HTTP 500: trace 4f9a1c"), kind("HTTP 500: trace 17"));
        assert_eq!((&id, &*id.title), (&number, "HTTP 500: trace #"));
        assert_eq!(id, kind("HTTP 500: trace deadbeef"));
        let (one, two) = ("GET /teams/1/links: HTTP 500 for acme", "GET /teams/2/links: HTTP 500 for beta");
        assert_eq!(kind(one), other(two));
        assert_eq!(kind(one).id, "438c53a4091b");
        assert_ne!(kind(one).id, kind("GET /teams/1/links: HTTP 502 for acme").id);
        let plans = Kind::of(&"acme/20261124T020000Z-4f9a1c/plans".parse().unwrap(), one);
        assert_ne!(kind(one).id, plans.id);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        assert_eq!(kind(&"é".repeat(5_000)).title.chars().count(), CHARS_MAX);
    }
}
