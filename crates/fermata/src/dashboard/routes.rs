//! All routes in one table: what may be asked, and by whom.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{self, MethodRouter};
use axum::{Json, Router};
use fermata_core::names::Tenant;
use serde_json::json;

use super::access::{self, Person, Role};
use super::problem::Problem;
use super::{Shared, api, html, pages};

/// Bytes that a form or a document sent here may have.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Where the API begins.
pub(crate) const API: &str = "/api/v1";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Anybody.
    Public,
    /// Whoever has this role, or more.
    Role(Role),
}

/// A route.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    handler: MethodRouter<Shared>,
}

/// Every route there is.
#[rustfmt::skip]
pub(crate) fn table() -> Vec<Route> {
    use Need::Public;
    const VIEWER: Need = Need::Role(Role::Viewer);
    const OPERATOR: Need = Need::Role(Role::Operator);
    const ADMIN: Need = Need::Role(Role::Admin);
    vec![
        get("/sign-in", Public, access::page),
        post("/sign-in", Public, access::sign_in),
        post("/sign-out", VIEWER, access::sign_out),
        get("/assets/{file}", Public, html::asset),
        get("/events", VIEWER, pages::events::show),
        get("/", VIEWER, pages::overview::show),
        get("/tenants/new", ADMIN, pages::settings::new),
        post("/tenants", ADMIN, pages::settings::add),
        get("/tenants/{tenant}", VIEWER, pages::tenant::show),
        post("/tenants/{tenant}/backup", OPERATOR, pages::tenant::back_up),
        post("/tenants/{tenant}/pause", OPERATOR, pages::tenant::pause),
        post("/tenants/{tenant}/resume", OPERATOR, pages::tenant::resume),
        get("/tenants/{tenant}/token", VIEWER, pages::token::show),
        post("/tenants/{tenant}/token", ADMIN, pages::token::store),
        post("/tenants/{tenant}/token/remove", ADMIN, pages::token::remove),
        get("/tenants/{tenant}/settings", VIEWER, pages::settings::show),
        post("/tenants/{tenant}/settings", ADMIN, pages::settings::change),
        post("/tenants/{tenant}/remove", ADMIN, pages::settings::remove),

        get("/api/v1/openapi.json", Public, api::openapi),
        get("/api/v1/tenants", VIEWER, api::tenants::list),
        post("/api/v1/tenants", ADMIN, api::tenants::add),
        get("/api/v1/tenants/{tenant}", VIEWER, api::tenants::show),
        patch("/api/v1/tenants/{tenant}", ADMIN, api::tenants::change),
        delete("/api/v1/tenants/{tenant}", ADMIN, api::tenants::remove),
        post("/api/v1/tenants/{tenant}/backup", OPERATOR, api::tenants::back_up),
        post("/api/v1/tenants/{tenant}/pause", OPERATOR, api::tenants::pause),
        post("/api/v1/tenants/{tenant}/resume", OPERATOR, api::tenants::resume),
        get("/api/v1/tenants/{tenant}/token", VIEWER, api::tenants::token),
        put("/api/v1/tenants/{tenant}/token", ADMIN, api::tenants::store_token),
        delete("/api/v1/tenants/{tenant}/token", ADMIN, api::tenants::remove_token),
    ]
}

fn get<H: Handler<T, Shared>, T: 'static>(path: &'static str, need: Need, handler: H) -> Route {
    Route { method: Method::GET, path, need, handler: routing::get(handler) }
}

fn post<H: Handler<T, Shared>, T: 'static>(path: &'static str, need: Need, handler: H) -> Route {
    Route { method: Method::POST, path, need, handler: routing::post(handler) }
}

fn put<H: Handler<T, Shared>, T: 'static>(path: &'static str, need: Need, handler: H) -> Route {
    Route { method: Method::PUT, path, need, handler: routing::put(handler) }
}

fn patch<H: Handler<T, Shared>, T: 'static>(path: &'static str, need: Need, handler: H) -> Route {
    Route { method: Method::PATCH, path, need, handler: routing::patch(handler) }
}

fn delete<H: Handler<T, Shared>, T: 'static>(path: &'static str, need: Need, handler: H) -> Route {
    Route { method: Method::DELETE, path, need, handler: routing::delete(handler) }
}

/// The table as axum serves it.
pub(crate) fn router(app: Shared) -> Router {
    let mut router = Router::new();
    for Route { path, need, handler, .. } in table() {
        let guard = from_fn_with_state((app.clone(), need), guard);
        router = router.route(path, handler.layer(guard));
    }
    let nowhere = || async { Problem::missing("there is no such page") };
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this is not done here")
        })
        .layer(from_fn_with_state(app.clone(), word))
        .with_state(app)
}

/// A path on this page; what leads elsewhere leads home.
pub(crate) fn local(next: &str) -> &str {
    let here = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\n', '\r']);
    if here { next } else { "/" }
}

/// Lets a request through if whoever sent it may, and meant it.
async fn guard(State((app, need)): State<(Shared, Need)>, request: Request, next: Next) -> Response {
    let Need::Role(role) = need else { return next.run(request).await };
    let Some(person) = app.access.person(request.headers()) else {
        return Problem::new(StatusCode::UNAUTHORIZED, "sign in first").into_response();
    };
    if !person.may(role) {
        let what = format!("{} may not do this; it takes the role {}", person.name, role.name());
        return Problem::new(StatusCode::FORBIDDEN, what).into_response();
    }
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, BODY_BYTES_MAX).await else {
        return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "this is more than a form can hold")
            .into_response();
    };
    if !parts.method.is_safe() && !is_meant(&person, &parts.headers, &bytes) {
        let what =
            "this form was not sent from this page, or is from before you signed in; load the page again";
        return Problem::new(StatusCode::FORBIDDEN, what).into_response();
    }
    parts.extensions.insert(person);
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}

/// Whether a person's own form sent this.
fn is_meant(person: &Person, headers: &HeaderMap, body: &Bytes) -> bool {
    let Some(expected) = &person.csrf else { return true };
    let elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let in_header = headers.get("x-csrf-token").is_some_and(|token| token == expected);
    let in_form =
        || url::form_urlencoded::parse(body).any(|(name, value)| name == "csrf" && value == **expected);
    !elsewhere && (in_header || in_form())
}

/// Puts problems into words, for a person or a program, and sets the headers that every answer has.
async fn word(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with(API);
    let person = app.access.person(request.headers());
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let mut response = next.run(request).await;
    if is_api && is_bare(&response) {
        // What axum itself refuses it says as plain text.
        let (parts, body) = response.into_parts();
        let said = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
        response = Problem::new(parts.status, String::from_utf8_lossy(&said).into_owned()).into_response();
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = if is_api {
            let error =
                json!({ "schema": fermata_core::FORMAT, "error": problem.what, "hint": problem.hint });
            (problem.status, Json(error)).into_response()
        } else if problem.status == StatusCode::UNAUTHORIZED {
            let next: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
            Redirect::to(&format!("/sign-in?next={next}")).into_response()
        } else {
            html::problem(&app, person.as_ref(), &problem)
        };
    }
    harden(response.headers_mut());
    response
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
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// Who asks, as handlers take it.
#[derive(Clone, Debug)]
pub(crate) struct Asker(pub(crate) Arc<Person>);

impl std::ops::Deref for Asker {
    type Target = Person;

    fn deref(&self) -> &Person {
        &self.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let person = parts.extensions.get::<Arc<Person>>().cloned();
        person.map(Self).ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "sign in first"))
    }
}

/// The `{tenant}` of a path, if whoever asks may know of it.
#[derive(Clone, Debug)]
pub(crate) struct Theirs(pub(crate) Tenant);

impl<S: Send + Sync> FromRequestParts<S> for Theirs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let nobody = || Problem::missing("there is no such tenant");
        let person = Asker::from_request_parts(parts, state).await?;
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| nobody())?;
        let (_, name) = params.iter().find(|(name, _)| *name == "tenant").ok_or_else(nobody)?;
        let tenant = name.parse::<Tenant>().map_err(|error| Problem::missing(error.to_string()))?;
        if person.sees(&tenant) { Ok(Self(tenant)) } else { Err(Problem::no_tenant(&tenant)) }
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
