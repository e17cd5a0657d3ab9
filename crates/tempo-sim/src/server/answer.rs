//! An answer on its way to the wire: error bodies, compression, and the faults that touch bytes.

use std::convert::Infallible;
use std::io::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;

use crate::clock;
use crate::faults::{FaultKind, Shape};
use crate::quirks::{ErrorForm, Quirks};
use crate::text::{Obj, array};
use crate::world::World;

const HTML: &str = "text/html;charset=utf-8";
const JSON: &str = "application/json";
/// Below this, compression makes a body longer.
const GZIP_BYTES_MIN: usize = 256;
/// How much of a nested body is written at once.
const NEST_CHUNK_BYTES: usize = 64 << 10;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Out {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    pub(crate) retry_after: Option<u32>,
    pub(crate) gzip: bool,
}

impl Out {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self {
            status,
            content_type: JSON.into(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            retry_after: None,
            gzip: false,
        }
    }

    /// An error as Tempo words it: JSON, or HTML for what its gateway refuses.
    pub(crate) fn refusal(status: u16, message: &str, quirks: &Quirks) -> Self {
        if matches!(status, 401 | 403 | 429) && quirks.html_errors {
            let title = StatusCode::from_u16(status)
                .ok()
                .and_then(|status| status.canonical_reason())
                .unwrap_or("Error");
            let body = format!(
                "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n<center><h1>{status} {title}</h1></center>\r\n\
                 <hr><center>{message}</center>\r\n</body>\r\n</html>\r\n"
            );
            return Self { content_type: HTML.into(), ..Self::json(status, &body) };
        }
        let error = Obj::new().text("message", message).end();
        let errors = match quirks.error_form {
            ErrorForm::Array => array([error]),
            ErrorForm::Object => error,
        };
        Self::json(status, &Obj::new().raw("errors", errors).end())
    }

    /// What is sent in place of the answer, for faults that do not need one.
    pub(crate) fn instead(kind: &FaultKind) -> Option<Self> {
        Some(match kind {
            FaultKind::Status { code, body, content_type, retry_after } => {
                let plain = Obj::new().text("message", "The simulator was told to fail").end();
                let text = body.clone().unwrap_or_else(|| Obj::new().raw("errors", array([plain])).end());
                let mut out = Self::json(*code, &text);
                out.retry_after = *retry_after;
                if let Some(content_type) = content_type {
                    out.content_type.clone_from(content_type);
                }
                out
            }
            FaultKind::Html200 => {
                let page = "<!doctype html><html><body><h1>We will be back soon</h1></body></html>";
                Self { content_type: HTML.into(), ..Self::json(200, page) }
            }
            FaultKind::WrongShape { shape } => Self::json(
                200,
                match shape {
                    Shape::NoResults => r#"{"status":"degraded","metadata":{"count":0}}"#,
                    Shape::ResultsNotArray => {
                        r#"{"self":"x","metadata":{"count":0,"limit":50,"offset":0},"results":{"message":"later"}}"#
                    }
                    Shape::MetadataTypes => {
                        r#"{"self":1,"metadata":{"count":"many","limit":true,"offset":"0","next":7},"results":[]}"#
                    }
                },
            ),
            FaultKind::Reset | FaultKind::HugeNesting { .. } => Self::json(200, ""),
            FaultKind::NotUtf8 => {
                let body = Bytes::from_static(
                    b"{\"metadata\":{\"count\":1},\"results\":[{\"name\":\"\xff\xfe\xc3\x28\"}]}",
                );
                Self { body, ..Self::json(200, "") }
            }
            _ => return None,
        })
    }

    /// The same, compressed if the caller accepts it.
    pub(crate) fn compressed(mut self, headers: &HeaderMap, quirks: &Quirks) -> Self {
        let accepts = headers.get_all(header::ACCEPT_ENCODING).iter().any(|value| {
            value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim().starts_with("gzip")))
        });
        if quirks.gzip && accepts && self.body.len() >= GZIP_BYTES_MIN {
            let mut encoder = GzEncoder::new(Vec::with_capacity(self.body.len() / 6), Compression::fast());
            let done = encoder.write_all(&self.body).and_then(|()| encoder.finish());
            if let Ok(body) = done {
                (self.body, self.gzip) = (body.into(), true);
            }
        }
        self
    }

    /// The HTTP response, with the faults that touch bytes.
    pub(crate) fn into_response(
        self,
        world: &World,
        _request: &HeaderMap,
        kind: Option<&FaultKind>,
    ) -> Response {
        let whole = self.body.len();
        let body = match kind {
            Some(FaultKind::Cut) => cut(self.body.slice(..whole / 2)),
            Some(FaultKind::Slow { bytes_per_second }) => slow(self.body, *bytes_per_second),
            Some(FaultKind::HugeNesting { mib }) => nested(u64::from(*mib) << 20),
            _ if self.body.is_empty() => super::nothing(),
            _ => Body::from(self.body),
        };
        let mut response = Response::new(body);
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let mut set = |name, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        set(header::DATE, clock::http_date(world.clock.now_ms().div_euclid(1000)));
        if whole > 0 || kind.is_some() {
            set(header::CONTENT_TYPE, self.content_type);
        }
        if self.gzip {
            set(header::CONTENT_ENCODING, "gzip".into());
        }
        if let Some(seconds) = self.retry_after {
            set(header::RETRY_AFTER, seconds.to_string());
        }
        if matches!(kind, Some(FaultKind::Cut | FaultKind::Slow { .. })) {
            set(header::CONTENT_LENGTH, whole.to_string());
        }
        response
    }
}

/// Sends what is given and then breaks off.
fn cut(half: Bytes) -> Body {
    Body::from_stream(stream::unfold(Some(half), |half| async {
        if let Some(half) = half {
            return Some((Ok(half), None));
        }
        // The half must have left before the connection goes.
        tokio::time::sleep(Duration::from_millis(30)).await;
        Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)), None))
    }))
}

/// Sends a tenth of a second's bytes every tenth of a second.
fn slow(body: Bytes, bytes_per_second: u32) -> Body {
    let step = (bytes_per_second as usize / 10).max(1);
    Body::from_stream(stream::unfold(body, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let part = rest.split_to(step.min(rest.len()));
        Some((Ok::<_, Infallible>(part), rest))
    }))
}

/// Opens arrays and never closes one.
fn nested(bytes: u64) -> Body {
    let chunk = Bytes::from(vec![b'['; NEST_CHUNK_BYTES]);
    let chunks = bytes.div_ceil(NEST_CHUNK_BYTES as u64) as usize;
    Body::from_stream(stream::iter(std::iter::repeat_n(chunk, chunks).map(Ok::<_, Infallible>)))
}
