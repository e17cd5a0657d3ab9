//! What the bucket answers, to the letter where a client reads it.

use std::collections::BTreeSet;
use std::fmt::Write;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;

use super::{Dialect, REGION, Refusal};

/// When everything here was written; no test looks at it.
const WRITTEN: (&str, &str) = ("Sun, 01 Mar 2026 02:00:00 GMT", "2026-03-01T02:00:00.000Z");

fn answer(status: u16, headers: &[(&str, String)], body: impl Into<Body>) -> Response {
    let mut answer = Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, value);
    }
    answer.body(body.into()).expect("statuses and headers are written here")
}

pub(super) fn status(status: StatusCode) -> Response {
    answer(status.as_u16(), &[], Body::empty())
}

pub(super) fn error(status: u16, code: &str) -> Response {
    said(status, code, "The fake bucket says so.", "")
}

fn said(status: u16, code: &str, message: &str, more: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    );
    answer(status, &[("content-type", "application/xml".to_owned())], body)
}

/// Amazon repeats the session token in the answer, which must not be shown.
pub(super) fn refused(dialect: Dialect, refusal: Refusal) -> Response {
    let token = "<Token-0>the-session-token</Token-0>";
    match (refusal, dialect) {
        (Refusal::ReadOnly, _) => said(403, "AccessDenied", "Access Denied.", ""),
        (_, Dialect::Google) => said(401, "AuthenticationRequired", "Authentication required.", ""),
        (Refusal::Expired, Dialect::Amazon) => {
            said(400, "ExpiredToken", "The provided token has expired.", token)
        }
        (Refusal::Unknown, Dialect::Amazon) => {
            let message = "The AWS Access Key Id you provided does not exist in our records.";
            said(403, "InvalidAccessKeyId", message, token)
        }
    }
}

pub(super) fn other_region() -> Response {
    let message = format!("The authorization header is malformed; the region is wrong; expecting '{REGION}'");
    said(400, "AuthorizationHeaderMalformed", &message, &format!("<Region>{REGION}</Region>"))
}

/// Promises a body and breaks off, so that no whole answer ever arrives.
pub(super) fn broken() -> Response {
    let cut = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut off")) });
    answer(200, &[("content-length", "1".to_owned())], Body::from_stream(cut))
}

pub(super) fn written(generation: u64) -> Response {
    answer(200, &marks(generation), Body::empty())
}

pub(super) fn object(generation: u64, length: usize, body: Body) -> Response {
    let mut headers = marks(generation).to_vec();
    headers.extend([("content-length", length.to_string()), ("last-modified", WRITTEN.0.to_owned())]);
    answer(200, &headers, body)
}

/// The first bytes of an object of this length.
pub(super) fn beginning(generation: u64, bytes: &Bytes, length: usize) -> Response {
    let mut headers = marks(generation).to_vec();
    let range = format!("bytes 0-{}/{length}", bytes.len().saturating_sub(1));
    headers.extend([("content-range", range), ("last-modified", WRITTEN.0.to_owned())]);
    answer(206, &headers, bytes.clone())
}

fn marks(generation: u64) -> [(&'static str, String); 2] {
    [("etag", format!("\"{generation}\"")), ("x-goog-generation", generation.to_string())]
}

pub(super) fn deleted<'a>(names: impl Iterator<Item = &'a str>) -> Response {
    let mut body = "<DeleteResult>".to_owned();
    for name in names {
        let _ = write!(body, "<Deleted><Key>{name}</Key></Deleted>");
    }
    answer(200, &[], body + "</DeleteResult>")
}

/// A page; `last` is where it ends, if there is more.
pub(super) fn list(names: &[(&str, usize)], folders: &BTreeSet<&str>, last: Option<&str>) -> Response {
    let mut body = format!("<ListBucketResult><IsTruncated>{}</IsTruncated>", last.is_some());
    for (name, length) in names {
        let _ = write!(
            body,
            "<Contents><Key>{name}</Key><LastModified>{}</LastModified><ETag>\"x\"</ETag><Size>{length}</Size></Contents>",
            WRITTEN.1
        );
    }
    for folder in folders {
        let _ = write!(body, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    if let Some(last) = last {
        let _ = write!(body, "<NextContinuationToken>{last}</NextContinuationToken>");
    }
    answer(200, &[("content-type", "application/xml".to_owned())], body + "</ListBucketResult>")
}
