//! Who asks, and what they may do.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::names::Tenant;
use maud::html;
use serde::Deserialize;

use super::html::bare;
use super::problem::Problem;
use super::{Shared, routes};
use crate::exit::Usage;

const COOKIE: &str = "fermata";

/// What somebody may do; each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Looks.
    Viewer,
    /// Backs up, retries, pauses, looks at records.
    Operator,
    /// Stores tokens, changes settings, discards.
    Admin,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The tenants that they may know of; all if there is no list.
    pub(crate) tenants: Option<BTreeSet<Tenant>>,
    /// What their forms carry, so that nobody else can send them. Nothing for programs, which bring a key with each request.
    pub(crate) csrf: Option<String>,
}

/// Who has signed in.
#[derive(Debug)]
pub(crate) struct Access {
    sessions: Mutex<HashMap<String, Arc<Person>>>,
    code: Mutex<Option<String>>,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl Person {
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    pub(crate) fn sees(&self, tenant: &Tenant) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }
}

impl Access {
    /// Access for whoever is on this machine: the link that comes with it signs in, once.
    pub(crate) fn new(address: SocketAddr) -> anyhow::Result<(Self, Option<String>)> {
        if !address.ip().is_loopback() {
            return Err(Usage(format!("{address} can be reached from elsewhere")).into());
        }
        let code = secret();
        let link = format!("http://{address}/sign-in?code={code}");
        Ok((Self { sessions: Mutex::default(), code: Mutex::new(Some(code)) }, Some(link)))
    }

    /// Who sent a request, if they have signed in.
    pub(crate) fn person(&self, headers: &HeaderMap) -> Option<Arc<Person>> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
        let mut cookies =
            cookies.flat_map(|cookie| cookie.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
        let (_, session) = cookies.find(|(name, _)| *name == COOKIE)?;
        self.sessions.lock().expect("nobody panics while holding it").get(session).cloned()
    }
}

#[derive(Deserialize)]
pub(crate) struct SignIn {
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

/// The page to sign in on.
pub(crate) async fn page(Query(given): Query<SignIn>) -> Response {
    bare(
        "Sign in",
        &html! {
            form method="post" action="/sign-in" class="card" {
                input type="hidden" name="code" value=(given.code);
                input type="hidden" name="next" value=(given.next);
                p { "This page was started on this machine. The link that it printed signs in once." }
                button.primary type="submit" autofocus { "Sign in" }
            }
        },
    )
}

/// Signs somebody in.
pub(crate) async fn sign_in(
    State(app): State<Shared>,
    Form(given): Form<SignIn>,
) -> Result<Response, Problem> {
    let mut code = app.access.code.lock().expect("nobody panics while holding it");
    if code.as_deref() != Some(&given.code) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "this link was used before; start the page again for a new one",
        ));
    }
    *code = None;
    let session = secret();
    let person = Person { name: "local".to_owned(), role: Role::Admin, tenants: None, csrf: Some(secret()) };
    app.access
        .sessions
        .lock()
        .expect("nobody panics while holding it")
        .insert(session.clone(), Arc::new(person));
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict");
    let mut response = Redirect::to(routes::local(&given.next)).into_response();
    response
        .headers_mut()
        .insert(header::SET_COOKIE, HeaderValue::from_str(&cookie).expect("hexadecimal digits"));
    Ok(response)
}

/// Ends a session.
pub(crate) async fn sign_out(State(app): State<Shared>, person: routes::Asker) -> Response {
    let mut sessions = app.access.sessions.lock().expect("nobody panics while holding it");
    sessions.retain(|_, other| other.csrf != person.csrf);
    Redirect::to("/sign-in").into_response()
}

fn secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}
