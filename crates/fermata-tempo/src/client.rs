//! One request to one answer.
//!
//! A client belongs to one tenant: its base address, its token, its pace. It follows no redirect
//! and takes no address from an answer, so the token cannot leave for another host.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fermata_core::catalogue::{Method, Records};
use jiff::Timestamp;
use rand::RngExt;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};
use url::Url;

use crate::error::{TempoError, message};
use crate::pace::{NotNow, Turns};
use crate::page::Page;
use crate::request::Request;

/// A page of 5,000 worklogs is 3 to 4 MB; above this we ask for fewer rows.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// 429s in a row after which a request gives its place back.
const REFUSALS_MAX: u32 = 10;

/// How a client behaves on the wire.
#[derive(Clone, Debug)]
pub struct Options {
    /// Longest time to a connection.
    pub connect_timeout: Duration,
    /// Longest time between two pieces of an answer, the first included: a page of 5,000 rows may be slow to start.
    pub read_timeout: Duration,
    /// Longest time for a whole answer.
    pub total_timeout: Duration,
    /// Pauses before each retry in place; Tempo's knowledge base asks for these.
    pub retry_pauses: Vec<Duration>,
    /// What we call ourselves.
    pub user_agent: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(90),
            total_timeout: Duration::from_mins(10),
            retry_pauses: [5, 10, 15].map(Duration::from_secs).to_vec(),
            user_agent: concat!("fermata/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// The door to one tenant's Tempo.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    pace: Arc<dyn Turns>,
    retry_pauses: Vec<Duration>,
    /// Kept only to be taken out of what an answer says.
    token: SecretString,
    /// Tempo's clock at the last answer, in seconds; 0 before the first.
    told: Arc<AtomicI64>,
}

/// Requests made for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// All of them.
    pub requests: u64,
    /// Those answered with 429.
    pub throttled: u64,
    /// Those made again after a fault.
    pub retries: u64,
}

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("{0:?} is not an address like https://api.tempo.io")]
    BaseUrl(String),
    /// A token with characters that no header takes.
    #[error("the token has characters that no Tempo token has (a line break in the middle?)")]
    Token,
    /// TLS or the resolver would not start.
    #[error("the HTTP client could not start")]
    Http(#[source] reqwest::Error),
}

/// Checks a base address: a scheme and a host; `http` only to this machine, since the token travels in the clear.
pub fn base_url(text: &str) -> Result<Url, ClientError> {
    let bad = || ClientError::BaseUrl(text.to_owned());
    let url = Url::parse(text).map_err(|_| bad())?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let safe = url.scheme() == "https" || (url.scheme() == "http" && local);
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if safe && plain && url.host_str().is_some() { Ok(url) } else { Err(bad()) }
}

impl Client {
    /// A client for one tenant, at a pace of its own or, in an `Arc`, at one that others keep to as well.
    pub fn new(
        base: &str,
        token: &SecretString,
        pace: impl Turns + 'static,
        options: &Options,
    ) -> Result<Self, ClientError> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        let http = reqwest::Client::builder()
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout)
            .timeout(options.total_timeout)
            .user_agent(&options.user_agent)
            .build()
            .map_err(ClientError::Http)?;
        let (retry_pauses, token) = (options.retry_pauses.clone(), token.clone());
        Ok(Self {
            http,
            base: base_url(base)?,
            pace: Arc::new(pace),
            retry_pauses,
            token,
            told: Arc::default(),
        })
    }

    /// The time by Tempo's clock at its last answer, if it told it: a machine's own may be days off.
    pub fn told(&self) -> Option<Timestamp> {
        let told = self.told.load(Ordering::Relaxed);
        Timestamp::from_second(told).ok().filter(|_| told != 0)
    }

    /// Asks until there is a page: waits out 429s, and asks again after faults that may pass.
    ///
    /// `cost` counts every request, also when an error is the result.
    pub async fn page(
        &self,
        request: &Request,
        records: Records,
        cost: &mut Cost,
    ) -> Result<(Page, Option<Timestamp>), TempoError> {
        let mut pauses = self.retry_pauses.iter();
        let mut refusals = 0;
        loop {
            let asked = Instant::now();
            if let Err(NotNow { pause }) = self.pace.turn().await {
                return Err(TempoError::Cooling { request: name(request), pause });
            }
            let span = self.span(request, asked.elapsed(), cost.requests);
            cost.requests += 1;
            let answer = self.once(request, records, &span).instrument(span.clone()).await;
            if let Err(fault) = &answer {
                span.record("otel.status_code", "ERROR").record("error.type", &*failure(fault));
            }
            match answer {
                Ok(answer) => {
                    self.pace.accepted();
                    return Ok(answer);
                }
                Err(Fault::TooFast(retry_after)) => {
                    cost.throttled += 1;
                    refusals += 1;
                    let pause = self.pace.refused(retry_after).await;
                    span.record("fermata.pause_seconds", pause.as_secs_f64());
                    tracing::debug!(request = request.label, ?pause, "throttled");
                    if refusals == REFUSALS_MAX {
                        return Err(TempoError::Throttled { request: name(request), pause });
                    }
                }
                Err(Fault::MayPass(error)) => {
                    let Some(pause) = pauses.next() else { return Err(error) };
                    cost.retries += 1;
                    tracing::debug!(%error, "asking again");
                    // Spread over half the pause, so that many workers do not come back at once.
                    let pause = pause.mul_f64(rand::rng().random_range(0.75..1.25));
                    span.record("fermata.pause_seconds", pause.as_secs_f64());
                    drop(span);
                    tokio::time::sleep(pause).await;
                }
                Err(Fault::Final(error)) => return Err(error),
            }
        }
    }

    /// A request in a trace: the catalogue's words for it, and nothing that was filled into them.
    fn span(&self, request: &Request, waited: Duration, before: u64) -> Span {
        tracing::info_span!(
            "request",
            otel.name = name(request),
            otel.kind = "client",
            otel.status_code = Empty,
            error.type = Empty,
            http.request.method = %request.method,
            http.request.resend_count = (before > 0).then(|| whole(before)),
            http.response.status_code = Empty,
            http.response.body.size = Empty,
            server.address = self.base.host_str(),
            url.template = request.label,
            fermata.pace.waited_seconds = waited.as_secs_f64(),
            fermata.pause_seconds = Empty,
        )
    }

    async fn once(
        &self,
        request: &Request,
        records: Records,
        span: &Span,
    ) -> Result<(Page, Option<Timestamp>), Fault> {
        let response = self.send(request).await.map_err(|source| network(request, source))?;
        let status = response.status();
        span.record("http.response.status_code", i64::from(status.as_u16()));
        let date = response.headers().get(DATE).and_then(|date| timestamp(date.to_str().ok()?));
        if let Some(date) = date {
            self.told.store(date.as_second(), Ordering::Relaxed);
        }
        let retry_after =
            response.headers().get(RETRY_AFTER).and_then(|value| seconds(value.to_str().ok()?, date));
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Fault::TooFast(retry_after));
        }
        let body = body(request, response).await?;
        span.record("http.response.body.size", whole(body.len() as u64));
        match status {
            StatusCode::OK => Page::new(body, records)
                .map(|page| (page, date))
                .map_err(|reason| Fault::MayPass(TempoError::Malformed { request: name(request), reason })),
            // Documented where there is one record or none; a list says that it is empty.
            StatusCode::NO_CONTENT if records == Records::Itself => Ok((Page::empty(), date)),
            _ => {
                let said = message(&body, self.token.expose_secret());
                Err(status_fault(request, status.as_u16(), said))
            }
        }
    }

    async fn send(&self, request: &Request) -> Result<reqwest::Response, reqwest::Error> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&request.segments);
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        tracing::trace!(method = %request.method, path = request.label, "request");
        let builder = match request.method {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url),
        };
        match &request.body {
            Some(body) => {
                builder.header(CONTENT_TYPE, "application/json").body(body.to_string()).send().await
            }
            None => builder.send().await,
        }
    }
}

/// What became of one request that brought no page.
enum Fault {
    TooFast(Option<Duration>),
    MayPass(TempoError),
    Final(TempoError),
}

fn name(request: &Request) -> String {
    format!("{} {}", request.method, request.label)
}

/// What went wrong, in words that are the same for all requests that it went wrong with.
fn failure(fault: &Fault) -> Cow<'static, str> {
    let (Fault::MayPass(error) | Fault::Final(error)) = fault else { return "429".into() };
    match error {
        TempoError::TokenRefused { .. } => "401".into(),
        TempoError::Forbidden { status, .. }
        | TempoError::Server { status, .. }
        | TempoError::Refused { status, .. } => status.to_string().into(),
        TempoError::Network { what, .. } => (*what).into(),
        TempoError::TooLarge { .. } => "too large".into(),
        _ => "malformed".into(),
    }
}

/// As traces take numbers.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn network(request: &Request, source: reqwest::Error) -> Fault {
    let what = if source.is_connect() {
        "could not connect"
    } else if source.is_timeout() {
        "no answer in time"
    } else {
        "the connection broke off"
    };
    // The address may hold keys of people's accounts; the request's name says enough.
    Fault::MayPass(TempoError::Network { request: name(request), what, source: source.without_url() })
}

fn status_fault(request: &Request, status: u16, message: String) -> Fault {
    let request = name(request);
    match status {
        401 => Fault::Final(TempoError::TokenRefused { request }),
        403 | 404 => Fault::Final(TempoError::Forbidden { request, status, message }),
        500.. => Fault::MayPass(TempoError::Server { request, status, message }),
        _ => Fault::Final(TempoError::Refused { request, status, message }),
    }
}

/// Reads an answer's body, up to the most that a page may have.
async fn body(request: &Request, mut response: reqwest::Response) -> Result<Bytes, Fault> {
    let expected = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut body = BytesMut::with_capacity(expected.min(ANSWER_BYTES_MAX));
    while let Some(piece) = response.chunk().await.map_err(|source| network(request, source))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Fault::Final(TempoError::TooLarge {
                request: name(request),
                limit: ANSWER_BYTES_MAX,
            }));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn timestamp(http_date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(http_date).ok()
}

/// `Retry-After` in both of its forms: seconds, or a date by the server's own clock.
fn seconds(retry_after: &str, date: Option<Timestamp>) -> Option<Duration> {
    if let Ok(seconds) = retry_after.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let wait = timestamp(retry_after)?.duration_since(date?);
    Some(wait.try_into().unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
