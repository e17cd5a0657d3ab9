//! What every request goes through: whether it came to the right place, who sent it, whether they may, and whether they meant it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use serde_json::json;

use super::person::{Person, Role};
use super::secrets::Digest;
use super::{Access, bearer};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{API, Need};
use crate::dashboard::{Shared, html, now};

/// Bytes that a form or a document sent here may have.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Where browsers hear of news: a page that is left open asks here, and nobody need be there.
const EVENTS: &str = "/events";
/// What a page sends that looks again by itself.
const LIVE: &str = "x-live";

/// Finds out who asks, puts problems into words for a person or a program, and sets the headers that every answer has.
pub(crate) async fn enter(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with(API);
    let (mut parts, body) = request.into_parts();
    let back = back(&parts);
    let asked = identify(&app.access, &parts);
    let person = asked.as_ref().ok().and_then(Clone::clone);
    let mut response = match asked {
        Ok(person) => {
            if let Some(person) = person {
                parts.extensions.insert(person);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    };
    if is_api && is_bare(&response) {
        // What axum itself refuses it says as plain text.
        let (parts, body) = response.into_parts();
        let said = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
        response = Problem::new(parts.status, String::from_utf8_lossy(&said).into_owned()).into_response();
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = match back {
            _ if is_api => {
                let error =
                    json!({ "schema": fermata_core::FORMAT, "error": problem.what, "hint": problem.hint });
                (problem.status, Json(error)).into_response()
            }
            Some(back) if problem.status == StatusCode::UNAUTHORIZED => back,
            _ => html::problem(&app, person.as_ref(), &problem),
        };
    }
    harden(response.headers_mut());
    response
}

/// Lets a request through if whoever sent it may, and meant it.
pub(crate) async fn guard(
    State((app, need)): State<(Shared, Need)>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = match need {
        Need::Role(role) => admit(&app.access, role, request).await,
        Need::Public if request.method().is_safe() || is_from_here(&app.access, request.headers()) => {
            Ok(request)
        }
        Need::Public => Err(from_elsewhere()),
    };
    match admitted {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn admit(access: &Access, role: Role, request: Request) -> Result<Request, Problem> {
    let (parts, body) = request.into_parts();
    let Some(person) = parts.extensions.get::<Arc<Person>>() else {
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "sign in first"));
    };
    if !person.may(role) {
        let what = format!("{} may not do this; it takes the role {}", person.name, role.name());
        return Err(Problem::new(StatusCode::FORBIDDEN, what));
    }
    let too_much = |_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "this is more than a form can hold");
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(too_much)?;
    // A program brings its key with each request; a browser brings the cookie also to what another site has it send.
    if let Some(token) = person.csrf.as_deref().filter(|_| !parts.method.is_safe()) {
        if !is_from_here(access, &parts.headers) {
            return Err(from_elsewhere());
        }
        if !carries(token, &parts.headers, &body) {
            let what = "this form is from before you signed in; load the page again";
            return Err(Problem::new(StatusCode::FORBIDDEN, what));
        }
    }
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn from_elsewhere() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "this form was not sent from this page; load the page again")
}

/// Who sent a request; nobody is an answer, too.
fn identify(access: &Access, parts: &Parts) -> Result<Option<Arc<Person>>, Problem> {
    let headers = &parts.headers;
    if !is_for_us(access, headers) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this page goes by the name localhost here; FERMATA_PUBLIC_URL gives it another",
        ));
    }
    if let Some(key) = bearer(headers) {
        let from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|from| from.ip());
        return match access.of_key(key) {
            Some(person) => Ok(Some(Arc::new(person))),
            None if from.is_some_and(|from| access.limits.address(from)) => {
                tracing::warn!(?from, "an API key was refused");
                Err(Problem::new(StatusCode::UNAUTHORIZED, "this API key is nobody's"))
            }
            None => Err(super::pages::too_many()),
        };
    }
    let active = parts.uri.path() != EVENTS && !headers.contains_key(LIVE);
    Ok(access.of_session(headers, active, now()).map(Arc::new))
}

/// Whether a request is for this page, and not for a name that somebody else has let point to this machine.
fn is_for_us(access: &Access, headers: &HeaderMap) -> bool {
    if !access.address.ip().is_loopback() {
        return true;
    }
    let Some(host) = host(headers) else { return false };
    let name = host.host().trim_start_matches('[').trim_end_matches(']');
    let is_this_machine =
        name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let public = access.public_url.as_ref().and_then(|url| url.host_str());
    is_this_machine || public.is_some_and(|public| public.eq_ignore_ascii_case(name))
}

/// Whether a page of ours sent a request. Browsers say so by `Sec-Fetch-Site`; those that do not, by `Origin`.
fn is_from_here(access: &Access, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()) else {
        return false;
    };
    let public = access.public_url.as_ref().map(|url| url.origin().ascii_serialization());
    let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    public.as_deref() == Some(origin)
        || rest.is_some() && rest == host(headers).as_ref().map(Authority::as_str)
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    headers.get(header::HOST)?.to_str().ok()?.parse().ok()
}

/// Whether a request carries the token of its session, in a header or in a form.
fn carries(token: &str, headers: &HeaderMap, body: &Bytes) -> bool {
    let is_it = |given: &str| Digest::of(given) == Digest::of(token);
    let in_header = headers.get("x-csrf-token").and_then(|given| given.to_str().ok()).is_some_and(is_it);
    in_header || url::form_urlencoded::parse(body).any(|(name, value)| name == "csrf" && is_it(&value))
}

/// What a browser gets that asks for a page and is not signed in: the page to sign in on, and from there back.
fn back(parts: &Parts) -> Option<Response> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if !parts.method.is_safe() || parts.uri.path() == EVENTS {
        return None;
    }
    let says = |name, value| parts.headers.get(name).is_some_and(|said| said == value);
    if says("sec-fetch-mode", "navigate") && says("sec-fetch-site", "cross-site") {
        return Some(once_more(local(path)));
    }
    let next: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
    Some(Redirect::to(&format!("/sign-in?next={next}")).into_response())
}

/// A browser that follows a link from elsewhere keeps our cookie back. This page has it ask again, by itself.
fn once_more(path: &str) -> Response {
    let mut response = html::bare("One moment", &html! { p { a href=(path) { "Go on" } } });
    if let Ok(refresh) = HeaderValue::from_str(&format!("0; url={path}")) {
        response.headers_mut().insert(header::REFRESH, refresh);
    }
    response
}

/// A path on this page; what leads elsewhere leads home.
pub(crate) fn local(next: &str) -> &str {
    let here = next.starts_with('/') && !next.starts_with("//") && !next.contains('\\');
    if here && next.bytes().all(|byte| byte.is_ascii_graphic()) { next } else { "/" }
}

fn is_bare(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let failed = response.status().is_client_error() || response.status().is_server_error();
    failed
        && response.extensions().get::<Problem>().is_none()
        && kind.is_none_or(|kind| kind.starts_with("text/plain"))
}

fn harden(headers: &mut HeaderMap) {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let mut set = |name, value| drop(headers.insert(name, HeaderValue::from_static(value)));
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        let check = |next: &str, expect: &str| assert_eq!(local(next), expect, "{next}");
        check("/tenants?q=a", "/tenants?q=a");
        for next in ["", "https://example.com", "//example.com", "/\\example.com", "javascript:x", "/a\nb"] {
            check(next, "/");
        }
    }
}
