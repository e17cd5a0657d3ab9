//! What can go wrong with a request, and what it means.

use std::time::Duration;

use crate::page::Malformed;

/// What a caller does about an error. The fleet and the one-machine engine match on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Ask again later, as a new attempt.
    Retry,
    /// Not a failure: ask again after this long, no attempt spent.
    Wait(Duration),
    /// The token is of no use: ask nothing more with it until an operator stored another.
    Token,
    /// This list, or this key of it, may not be read: a gap.
    Gap,
    /// Read it the other way, if the catalogue knows one.
    OtherWay,
    /// Ask for fewer rows at once.
    Smaller,
    /// No answer will be better: a dead letter.
    GiveUp,
}

/// A request that brought no page.
#[derive(Debug, thiserror::Error)]
pub enum TempoError {
    /// 429, again and again.
    #[error("{request}: Tempo says that we ask too fast (HTTP 429)")]
    Throttled {
        /// What was asked.
        request: String,
        /// How long to leave it alone.
        pause: Duration,
    },
    /// Not asked: the next turn is too far away to hold a place for it.
    #[error("{request}: the quota is used up for {} s", pause.as_secs_f64().ceil())]
    Cooling {
        /// What was to be asked.
        request: String,
        /// How long to leave it alone.
        pause: Duration,
    },
    /// 401.
    #[error("{request}: Tempo refused the token (HTTP 401)")]
    TokenRefused {
        /// What was asked.
        request: String,
    },
    /// 403, or 404 on a list.
    #[error("{request}: HTTP {status}{}", said(message))]
    Forbidden {
        /// What was asked.
        request: String,
        /// 403 or 404.
        status: u16,
        /// What the answer said.
        message: String,
    },
    /// 5xx.
    #[error("{request}: Tempo failed (HTTP {status}){}", said(message))]
    Server {
        /// What was asked.
        request: String,
        /// The status.
        status: u16,
        /// What the answer said.
        message: String,
    },
    /// No answer, or one that broke off.
    #[error("{request}: {what}")]
    Network {
        /// What was asked.
        request: String,
        /// What happened.
        what: &'static str,
        /// What the client saw.
        #[source]
        source: reqwest::Error,
    },
    /// 200 without a page.
    #[error("{request}: HTTP 200, but {reason}")]
    Malformed {
        /// What was asked.
        request: String,
        /// What was wrong.
        reason: Malformed,
    },
    /// More bytes than a page may have.
    #[error("{request}: the answer is larger than {} MiB", limit >> 20)]
    TooLarge {
        /// What was asked.
        request: String,
        /// The most bytes taken.
        limit: usize,
    },
    /// 400 and whatever else is not in the contract.
    #[error("{request}: Tempo refused the request (HTTP {status}){}", said(message))]
    Refused {
        /// What was asked.
        request: String,
        /// The status.
        status: u16,
        /// What the answer said, at most 2 KiB.
        message: String,
    },
    /// An answer that breaks the rules of paging.
    #[error("{request}: {what}")]
    Paging {
        /// What was asked.
        request: String,
        /// Which rule.
        what: PagingError,
    },
}

/// A page that does not lead on.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PagingError {
    /// The next page is this page again.
    #[error("the list does not advance: the answer leads to a page that was already read")]
    Stuck,
    /// A link to another path.
    #[error("the link to the next page leads to another path")]
    ForeignLink,
    /// A link without a place in it.
    #[error("the link to the next page has no offset")]
    NoOffset,
    /// Worklogs not in the order of their last change.
    #[error("the records did not come in the order of their last change")]
    Unordered,
}

impl TempoError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Throttled { pause, .. } | Self::Cooling { pause, .. } => Disposition::Wait(*pause),
            Self::TokenRefused { .. } => Disposition::Token,
            Self::Forbidden { .. } => Disposition::Gap,
            Self::Server { .. } | Self::Network { .. } | Self::Malformed { .. } => Disposition::Retry,
            Self::TooLarge { .. } => Disposition::Smaller,
            // What a server says about a limit that it does not take is not documented.
            Self::Refused { message, .. } if message.to_lowercase().contains("limit") => Disposition::Smaller,
            Self::Paging { what: PagingError::Unordered, .. } => Disposition::OtherWay,
            Self::Refused { .. } | Self::Paging { .. } => Disposition::GiveUp,
        }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

/// Most bytes of an answer that go into an error.
const MESSAGE_BYTES_MAX: usize = 2 << 10;

/// What an error's body says: the messages of `errors` in both of its shapes, or the text of a
/// short plain answer. A page of HTML says nothing worth keeping but its title.
pub(crate) fn message(body: &[u8], secret: &str) -> String {
    let text = String::from_utf8_lossy(body).replace(secret, "[redacted]");
    let mut said = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => json_message(&json),
        Err(_) => match text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")) {
            Some((title, _)) => title.to_owned(),
            None if text.contains('<') => String::new(),
            None => text,
        },
    };
    said = said.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = said.len().min(MESSAGE_BYTES_MAX);
    while !said.is_char_boundary(end) {
        end -= 1;
    }
    said.truncate(end);
    said.trim().to_owned()
}

fn json_message(json: &serde_json::Value) -> String {
    let one = |error: &serde_json::Value| {
        error.get("message").unwrap_or(error).as_str().map_or_else(|| error.to_string(), str::to_owned)
    };
    match json.get("errors").or_else(|| json.get("error")).or_else(|| json.get("message")) {
        Some(serde_json::Value::Array(errors)) => errors.iter().map(one).collect::<Vec<_>>().join("; "),
        Some(error) => one(error),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_in_every_shape() {
        let check =
            |body: &str, expect: &str| assert_eq!(message(body.as_bytes(), "t0ken"), expect, "{body}");
        check(r#"{"errors":[{"message":"a"},{"message":"b"}]}"#, "a; b");
        check(r#"{"errors":{"message":"a"}}"#, "a");
        check(r#"{"errors":["a"]}"#, "a");
        check(r#"{"error":"a"}"#, "a");
        check("<html><head><title>429 Too Many Requests</title></head></html>", "429 Too Many Requests");
        check("<p>x</p>", "");
        check("Period is closed\r\n", "Period is closed");
        check("no such token: t0ken", "no such token: [redacted]");
        check("", "");
        check("[1]", "");
        assert_eq!(message("é".repeat(5_000).as_bytes(), "t0ken").len(), MESSAGE_BYTES_MAX);
    }
}
