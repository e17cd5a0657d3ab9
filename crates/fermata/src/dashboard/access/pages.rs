//! The pages to sign in on, and what their forms do.

use std::net::SocketAddr;

use axum::Form;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use secrecy::SecretString;
use serde::Deserialize;

use super::gate::local;
use super::oidc::{Identity, OidcError, Return};
use super::password::PasswordHash;
use super::person::{Role, Standing, Via};
use super::sessions::Session;
use super::{Access, LOCAL};
use crate::dashboard::html::{Tone, bare, notice, query};
use crate::dashboard::problem::Problem;
use crate::dashboard::{Shared, now};

/// What the page is opened with, and what its form sends.
#[derive(Deserialize)]
pub(crate) struct Given {
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
}

/// The page to sign in on.
pub(crate) async fn page(State(app): State<Shared>, Query(given): Query<Given>) -> Response {
    show(&app.access, &given, None)
}

fn show(access: &Access, given: &Given, fault: Option<&str>) -> Response {
    let fault = html! { @if let Some(fault) = fault { (notice(Tone::Bad, &html! { (fault) })) } };
    if access.link.is_some() {
        return bare("Sign in", &by_link(given, &fault));
    }
    let by_password = access.users.as_ref().is_some_and(|users| users.users().has_passwords());
    bare(
        "Sign in",
        &html! {
            (fault)
            @if access.oidc.is_some() {
                p { a.button.primary href=(query("/sign-in/oidc", &[("next", &given.next)])) { "Sign in with your organisation" } }
            }
            @if by_password { form method="post" action="/sign-in" class="card" {
                input type="hidden" name="next" value=(given.next);
                p { label for="name" { "Name" } input id="name" name="name" value=(given.name) autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus[given.name.is_empty()]; }
                p { label for="password" { "Password" } input id="password" name="password" type="password" autocomplete="current-password" required autofocus[!given.name.is_empty()]; }
                button.primary type="submit" { "Sign in" }
            } }
        },
    )
}

fn by_link(given: &Given, fault: &maud::Markup) -> maud::Markup {
    html! {
        (fault)
        @if given.code.is_empty() {
            form method="post" action="/sign-in/link" class="card" {
                p { "This page was started on this machine, and nobody is listed who may sign in. The terminal that it was started in shows a link that signs in once." }
                button type="submit" { "Show a new link there" }
            }
        } @else {
            form method="post" action="/sign-in" class="card" {
                input type="hidden" name="code" value=(given.code);
                input type="hidden" name="next" value=(given.next);
                p { "This page was started on this machine. The link that it printed signs in once." }
                button.primary type="submit" autofocus { "Sign in" }
            }
        }
    }
}

/// Signs somebody in, by password or by the link's code.
pub(crate) async fn sign_in(
    State(app): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let access = &app.access;
    if !access.limits.address(from.ip()) {
        return Err(too_many());
    }
    let session = match &access.link {
        Some(link) if link.take(&given.code) => {
            let standing = Standing { role: Role::Admin, tenants: None };
            Some(Session {
                name: LOCAL.to_owned(),
                via: Via::Link,
                standing,
                groups: Vec::new(),
                password: None,
            })
        }
        Some(_) => None,
        None => by_password(access, &given).await?,
    };
    let Some(session) = session else {
        let known = access.users.as_ref().is_some_and(|users| users.users().user(&given.name).is_some());
        // What nobody is called may be a password in the wrong field.
        let who = if known { given.name.as_str() } else { "an unknown name" };
        tracing::warn!(who, from = %from.ip(), "sign-in refused");
        let fault = match access.link {
            Some(_) => "This link was used before, or is not the newest one.",
            None => "Name or password is wrong.",
        };
        let mut page = show(access, &Given { code: String::new(), ..given }, Some(fault));
        *page.status_mut() = StatusCode::FORBIDDEN;
        return Ok(page);
    };
    let cookie = access.begin(&headers, session, from.ip(), now());
    Ok(with_cookie(Redirect::to(local(&given.next)), &cookie))
}

async fn by_password(access: &Access, given: &Given) -> Result<Option<Session>, Problem> {
    let Some(users) = access.users.as_ref().map(super::UsersFile::users) else { return Ok(None) };
    if !access.limits.name(&given.name) {
        return Err(too_many());
    }
    let user = users.user(&given.name);
    let hash = user.and_then(|user| user.password.clone());
    let digest = hash.as_ref().map(PasswordHash::digest);
    let good = access.passwords.check(hash, SecretString::from(given.password.as_str())).await;
    let good = good.map_err(|busy| Problem::new(StatusCode::SERVICE_UNAVAILABLE, busy.to_string()))?;
    Ok(user.filter(|_| good).map(|user| Session {
        name: given.name.clone(),
        via: Via::Password,
        standing: user.standing.clone(),
        groups: Vec::new(),
        password: digest,
    }))
}

/// Sends a browser to the identity provider.
pub(crate) async fn leave(
    State(app): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Query(given): Query<Given>,
) -> Result<Response, Problem> {
    let access = &app.access;
    let oidc = access.oidc.as_ref().ok_or_else(no_provider)?;
    if !access.limits.address(from.ip()) {
        return Err(too_many());
    }
    let (url, cookie) = oidc.begin(local(&given.next).to_owned(), now()).await?;
    Ok(with_cookie(Redirect::to(url.as_str()), &access.flow_cookie(&cookie)))
}

/// Takes a browser that comes back from the identity provider.
pub(crate) async fn arrive(
    State(app): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Query(back): Query<Return>,
) -> Result<Response, Problem> {
    let access = &app.access;
    let oidc = access.oidc.as_ref().ok_or_else(no_provider)?;
    let outcome = oidc.end(back, access.flow_of(&headers), now()).await;
    let (Identity { name, mut groups }, next) = outcome.inspect_err(|error| {
        tracing::warn!(from = %from.ip(), "sign-in refused: {error}");
    })?;
    let users = access.users.as_ref().map(super::UsersFile::users);
    let Some(standing) = users.as_ref().and_then(|users| users.standing(&name, &groups)) else {
        tracing::warn!(who = name, from = %from.ip(), "sign-in refused: in no entry of the users file");
        let what = format!(
            "the identity provider says that you are {name}, and the users file has neither this name nor one of your groups"
        );
        let hint =
            format!("an administrator lets you in: fermata user set {name} --role viewer --no-password");
        return Err(Problem { hint: Some(hint), ..Problem::new(StatusCode::FORBIDDEN, what) });
    };
    // Others may be many, and change nothing.
    groups
        .retain(|group| users.as_ref().is_some_and(|users| users.groups().any(|(known, _)| known == group)));
    let session = Session { name, via: Via::Oidc, standing, groups, password: None };
    let mut response = with_cookie(Redirect::to(&next), &access.begin(&headers, session, from.ip(), now()));
    let over = HeaderValue::from_str(&access.flow_cookie("")).expect("a cookie of plain characters");
    response.headers_mut().append(header::SET_COOKIE, over);
    Ok(response)
}

fn no_provider() -> Problem {
    Problem::missing("there is no identity provider here")
}

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        let status = match error {
            OidcError::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            OidcError::NotBegun | OidcError::Refused(_) | OidcError::Unbelieved(_) => StatusCode::FORBIDDEN,
        };
        Self { hint: Some("/sign-in begins anew".to_owned()), ..Self::new(status, error.to_string()) }
    }
}

/// Has the terminal show a new link.
pub(crate) async fn new_link(
    State(app): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
) -> Result<Response, Problem> {
    if !app.access.limits.address(from.ip()) {
        return Err(too_many());
    }
    let link = app.access.new_link().ok_or_else(|| Problem::missing("people sign in with a name here"))?;
    app.out.say(&format!("sign in, once: {link}"));
    Ok(Redirect::to("/sign-in").into_response())
}

/// Ends a session.
pub(crate) async fn sign_out(
    State(app): State<Shared>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    with_cookie(Redirect::to("/sign-in"), &app.access.end(&headers, from.ip()))
}

fn with_cookie(redirect: Redirect, cookie: &str) -> Response {
    let mut response = redirect.into_response();
    let cookie = HeaderValue::from_str(cookie).expect("a cookie of plain characters");
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

pub(super) fn too_many() -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "there were too many tries to sign in; wait a minute and try again",
    )
}
