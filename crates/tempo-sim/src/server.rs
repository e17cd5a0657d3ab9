//! The listener and a request's way through it: token, quota, faults, answer.
//!
//! ```text
//!   /_sim/..  --> control
//!   anything  --> token? --> quota --> ledger --> region, scope --> fault? --> handler --> gzip --> wire
//!                  401        429                   401/403                     400/404
//! ```
//! Promises that the ledger sees every request exactly once, and that scheduled mutations run after an answer was
//! made and before the next request is served.

pub(crate) mod accounts;
pub(crate) mod answer;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod call;
mod control;
pub(crate) mod finance;
pub(crate) mod page;
pub(crate) mod plans;
mod routes;
pub(crate) mod schedules;
pub(crate) mod schemes;
pub(crate) mod teams;
mod wire;
pub(crate) mod worklogs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::faults::FaultKind;
use crate::quirks::{LinkHost, Quirks, QuotaPer};
use crate::quota::Verdict;
use crate::text::API;
use crate::tokens::TokenSpec;
use crate::world::{Tenant, World, lock, read};
use answer::Out;
use call::{Call, Refusal, Reply};
pub use routes::OPERATIONS;
use routes::{Found, find};
use wire::{SimListener, Wire};

/// The largest request body; the longest id lists are far below.
const BODY_BYTES_MAX: usize = 16 << 20;

/// Serves until the world stops.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>) {
    let mut stop = world.stop.clone();
    let app = axum::Router::new().fallback(handle).with_state(world);
    let service = app.into_make_service_with_connect_info::<Wire>();
    let served = axum::serve(SimListener(listener), service).with_graceful_shutdown(async move {
        let _ = stop.wait_for(|stopped| *stopped).await;
    });
    let _ = served.await;
}

async fn handle(
    State(world): State<Arc<World>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return Out::json(413, "{\"errors\":[{\"message\":\"body too large\"}]}").into_response(
            &world,
            &parts.headers,
            None,
        );
    };
    if parts.uri.path().starts_with("/_sim") {
        return control::handle(&world, &parts, &body).into_response(&world, &parts.headers, None);
    }
    api(&world, &wire, &parts, &body).await
}

/// Who asks and for what.
struct Asked<'a> {
    parts: &'a Parts,
    body: &'a Bytes,
    found: Option<Found>,
    grant: Option<TokenSpec>,
    label: String,
}

impl Asked<'_> {
    fn tenant_name(&self) -> &str {
        self.grant.as_ref().map_or("unknown", |grant| grant.tenant.as_str())
    }
}

async fn api(world: &Arc<World>, wire: &Wire, parts: &Parts, body: &Bytes) -> Response {
    let found = find(&parts.method, parts.uri.path());
    let template = found.as_ref().map_or("unmatched", |found| found.route.template);
    let header = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let grant = read(&world.tokens).find(header).cloned();
    let asked = Asked { parts, body, label: format!("{} {template}", parts.method), found, grant };
    let quirks = read(&world.quirks).clone();
    let now = Instant::now();
    let owner = match quirks.quota_per {
        QuotaPer::Tenant => asked.tenant_name().to_owned(),
        QuotaPer::Ip => wire.peer.ip().to_string(),
    };
    let verdict = lock(&world.buckets).ask(&owner, world.rule(&quirks), now);
    lock(&world.books).arrive(asked.tenant_name(), &asked.label, now, verdict == Verdict::Pass);
    wait(world, world.latency + Duration::from_millis(quirks.latency_ms)).await;
    let (out, kind) = match verdict {
        Verdict::Refuse => (refused(&quirks), None),
        Verdict::Ban => (Out::refusal(403, "Forbidden: this address is blocked", &quirks), None),
        Verdict::Pass => admitted(world, &asked, &quirks).await,
    };
    let out = out.compressed(&parts.headers, &quirks);
    lock(&world.books).sent(asked.tenant_name(), &asked.label, out.body.len() as u64);
    if matches!(kind, Some(FaultKind::Reset | FaultKind::AfterEffect)) {
        wire.cut();
    }
    out.into_response(world, &parts.headers, kind.as_ref())
}

/// Waits, but not longer than the simulator lives.
async fn wait(world: &World, time: Duration) {
    if !time.is_zero() {
        let mut stop = world.stop.clone();
        let _ = tokio::time::timeout(time, stop.wait_for(|stopped| *stopped)).await;
    }
}

fn refused(quirks: &Quirks) -> Out {
    let mut out = Out::refusal(429, "Too Many Requests", quirks);
    out.retry_after = quirks.retry_after;
    out
}

/// A request that the quota let through: checks what it may, then faults, then serves.
async fn admitted(world: &Arc<World>, asked: &Asked<'_>, quirks: &Quirks) -> (Out, Option<FaultKind>) {
    if let Some(status) = quirks.region_refusal {
        return (Out::refusal(status, "The token belongs to another region", quirks), None);
    }
    let known = asked.grant.as_ref().filter(|grant| !grant.expired);
    let Some((grant, tenant)) = known.and_then(|grant| Some((grant, world.tenant(&grant.tenant)?))) else {
        return (Out::refusal(401, "Unauthorized", quirks), None);
    };
    let method = asked.parts.method.as_str();
    let template = asked.found.as_ref().map_or("unmatched", |found| found.route.template);
    let kind = lock(&world.faults).due(&grant.tenant, method, asked.parts.uri.path(), template);
    match &kind {
        Some(FaultKind::Hang { seconds }) => wait(world, Duration::from_secs_f64(seconds.max(0.0))).await,
        Some(kind) => {
            if let Some(out) = Out::instead(kind) {
                return (out, Some(kind.clone()));
            }
        }
        None => {}
    }
    let Some(found) = &asked.found else {
        return (Out::refusal(404, "Not Found", quirks), kind);
    };
    if grant.deny.contains(&found.route.family) {
        return (Out::refusal(quirks.denied_status, "Forbidden", quirks), kind);
    }
    if grant.view_only && asked.parts.method != Method::GET && !quirks.view_may_search {
        return (Out::refusal(403, "Forbidden: the token may only view", quirks), kind);
    }
    let out = answer(world, tenant, found, asked, grant, quirks, kind.as_ref());
    world.after_request(tenant);
    (out, kind)
}

fn answer(
    world: &World,
    tenant: &Tenant,
    found: &Found,
    asked: &Asked<'_>,
    grant: &TokenSpec,
    quirks: &Quirks,
    kind: Option<&FaultKind>,
) -> Out {
    let body = if asked.body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(asked.body) };
    let Ok(body) = body else {
        return Out::refusal(400, "Unexpected character in the body: not JSON", quirks);
    };
    let state = read(tenant.state());
    let call = Call {
        site: &state.site,
        grant,
        quirks,
        params: &found.params,
        query: call::pairs(asked.parts.uri.query().unwrap_or("")),
        body,
        path: asked.parts.uri.path(),
        host: link_host(world, &asked.parts.headers, quirks),
        twist: kind,
        now_ms: world.clock.now_ms(),
    };
    match (found.route.serve)(&call) {
        Ok(Reply::Json(body)) => Out { body: body.into(), ..Out::json(200, "") },
        Ok(Reply::NoContent) => Out::json(204, ""),
        Err(Refusal { status, message }) => Out::refusal(status, &message, quirks),
    }
}

fn link_host(world: &World, headers: &HeaderMap, quirks: &Quirks) -> String {
    match quirks.link_host {
        LinkHost::TempoIo => API.trim_end_matches("/4").to_owned(),
        LinkHost::Called => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .map_or_else(|| world.base_url.clone(), |host| format!("http://{host}")),
    }
}

/// A body that is empty.
fn nothing() -> Body {
    Body::empty()
}
