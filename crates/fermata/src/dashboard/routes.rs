//! All routes in one table: what may be asked, and by whom.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{self, MethodRouter};
use fermata_core::names::Tenant;
use tracing::Instrument;
use tracing::field::Empty;

use super::access::{self, Person, Role, gate};
use super::problem::Problem;
use super::{Shared, api, html, pages};

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
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "tests go through the table; axum has it in the handler")
    )]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) need: Need,
    handler: MethodRouter<Shared>,
}

const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// Every route there is.
pub(crate) fn table() -> Vec<Route> {
    for_people().into_iter().chain(for_programs()).collect()
}

#[rustfmt::skip]
fn for_people() -> Vec<Route> {
    use Need::Public;
    vec![
        get("/sign-in", Public, access::page),
        post("/sign-in", Public, access::sign_in),
        post("/sign-in/link", Public, access::new_link),
        get("/sign-in/oidc", Public, access::leave),
        get("/sign-in/oidc/callback", Public, access::arrive),
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
        get("/tenants/{tenant}/snapshots", VIEWER, pages::snapshots::show),
        get("/tenants/{tenant}/snapshots/{run}", VIEWER, pages::snapshot::show),
        post("/tenants/{tenant}/snapshots/{run}/verify", OPERATOR, pages::snapshot::verify),
        post("/tenants/{tenant}/snapshots/{run}/accept", ADMIN, pages::snapshot::accept),
        get("/tenants/{tenant}/snapshots/{run}/records/{entity}", OPERATOR, pages::records::show),
        get("/tenants/{tenant}/snapshots/{run}/records/{entity}/{at}", OPERATOR, pages::records::one),
        get("/tenants/{tenant}/snapshots/{run}/export", OPERATOR, pages::export::download),
        get("/tenants/{tenant}/diff", VIEWER, pages::diff::show),
        get("/tenants/{tenant}/runs/{run}", VIEWER, pages::run::show),
        get("/failures", VIEWER, pages::failures::show),
        get("/failures/{group}", VIEWER, pages::failures::group),
        get("/jobs", VIEWER, pages::jobs::show),
        get("/jobs/{tenant}/{run}/{entity}", VIEWER, pages::job::show),
        get("/actions/new", OPERATOR, pages::actions::new),
        post("/actions", OPERATOR, pages::actions::begin),
        get("/actions/{id}", VIEWER, pages::actions::show),
        post("/actions/{id}/stop", OPERATOR, pages::actions::stop),
        get("/workers", VIEWER, pages::workers::show),
        post("/workers/{worker}/drain", OPERATOR, pages::workers::drain),
        post("/workers/{worker}/undrain", OPERATOR, pages::workers::undrain),
        post("/queue/pause", OPERATOR, pages::workers::pause),
        post("/queue/resume", OPERATOR, pages::workers::resume),
        get("/audit", VIEWER, pages::audit::show),
    ]
}

#[rustfmt::skip]
fn for_programs() -> Vec<Route> {
    use Need::Public;
    vec![
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
        get("/api/v1/tenants/{tenant}/snapshots", VIEWER, api::snapshots::list),
        get("/api/v1/tenants/{tenant}/snapshots/{run}", VIEWER, api::snapshots::show),
        post("/api/v1/tenants/{tenant}/snapshots/{run}/accept", ADMIN, api::snapshots::accept),
        get("/api/v1/tenants/{tenant}/snapshots/{run}/verify", VIEWER, api::snapshots::verification),
        post("/api/v1/tenants/{tenant}/snapshots/{run}/verify", OPERATOR, api::snapshots::verify),
        get("/api/v1/tenants/{tenant}/snapshots/{run}/records/{entity}", OPERATOR, api::snapshots::records),
        get("/api/v1/tenants/{tenant}/snapshots/{run}/export", OPERATOR, pages::export::download),
        get("/api/v1/tenants/{tenant}/diff", VIEWER, api::snapshots::diff),
        get("/api/v1/tenants/{tenant}/runs", VIEWER, api::snapshots::list_runs),
        get("/api/v1/tenants/{tenant}/runs/{run}", VIEWER, api::snapshots::show_run),
        get("/api/v1/failures", VIEWER, api::failures::list),
        get("/api/v1/failures/{group}", VIEWER, api::failures::show),
        get("/api/v1/jobs", VIEWER, api::jobs::list),
        get("/api/v1/jobs/{tenant}/{run}/{entity}", VIEWER, api::jobs::show),
        get("/api/v1/actions", VIEWER, api::jobs::operations),
        post("/api/v1/actions", OPERATOR, api::jobs::act),
        get("/api/v1/actions/{id}", VIEWER, api::jobs::operation),
        post("/api/v1/actions/{id}/stop", OPERATOR, api::jobs::stop),
        get("/api/v1/queue", VIEWER, api::queue::status),
        post("/api/v1/queue/pause", OPERATOR, api::queue::pause),
        post("/api/v1/queue/resume", OPERATOR, api::queue::resume),
        post("/api/v1/workers/{worker}/drain", OPERATOR, api::queue::drain),
        post("/api/v1/workers/{worker}/undrain", OPERATOR, api::queue::undrain),
        get("/api/v1/audit", VIEWER, api::jobs::audited),
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
        let guarded = handler.layer(from_fn_with_state((app.clone(), need), gate::guard));
        router = router.route(path, guarded.layer(from_fn(move |request, next| traced(path, request, next))));
    }
    let nowhere = || async { Problem::missing("there is no such page") };
    router
        .fallback(nowhere)
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this is not done here")
        })
        .layer(from_fn_with_state(app.clone(), gate::enter))
        .with_state(app)
}

/// A request in a trace: its route, and not what was filled into it.
async fn traced(path: &'static str, request: Request, next: Next) -> Response {
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{} {path}", request.method()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        http.route = path,
    );
    let response = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    response
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
