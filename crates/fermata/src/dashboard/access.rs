//! Who asks, and what they may do.
//!
//! Nobody is let in without having shown who they are: with a password of the users file, through an identity provider, with an API key, or,
//! where nobody is listed and only this machine reaches the page, with the link that the terminal shows. What somebody may do
//! is looked up at each request, so that whoever was taken out of the users file, or may do something else than before, is
//! signed out by their next one.

pub(crate) mod edit;
pub(crate) mod gate;
mod limits;
mod link;
mod oidc;
mod pages;
pub(crate) mod password;
pub(crate) mod person;
pub(crate) mod secrets;
mod sessions;
pub(crate) mod users;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use url::Url;

use self::limits::Limits;
use self::link::Link;
use self::oidc::Oidc;
use self::password::{Checker, PasswordHash};
use self::person::{Standing, Via};
use self::secrets::Digest;
use self::sessions::{Session, Sessions};
use self::users::UsersFile;
use crate::config::Web;
use crate::exit::Usage;

pub(crate) use self::pages::{arrive, leave, new_link, page, sign_in, sign_out};
pub(crate) use self::person::{Person, Role};

/// The name of whoever came by the link.
const LOCAL: &str = "local";

/// All that is known of who may ask.
#[derive(Debug)]
pub(crate) struct Access {
    users: Option<UsersFile>,
    /// How to sign in where there is no users file.
    link: Option<Link>,
    /// How to sign in through the identity provider, where there is one.
    oidc: Option<Oidc>,
    sessions: Sessions,
    limits: Limits,
    passwords: Checker,
    /// The page's address for people, with a slash at its end.
    home: String,
    /// Where the page listens.
    address: SocketAddr,
    /// Its address as browsers see it.
    public_url: Option<Url>,
}

impl Access {
    /// Reads who may sign in. Refuses to begin where nobody could, or where anybody could reach a page that has no list.
    pub(crate) fn open(named: Option<&Path>, web: &Web, address: SocketAddr) -> anyhow::Result<Self> {
        let named = named.or(web.users.as_deref());
        let default = Path::new(users::FILE);
        let users = match named {
            Some(path) => Some(UsersFile::open(path)?),
            None if default.exists() => Some(UsersFile::open(default)?),
            None => None,
        };
        let home = web.public_url.as_ref().map_or_else(|| format!("http://{address}/"), ToString::to_string);
        let oidc = match &web.provider {
            Some(_) if web.public_url.is_none() && !address.ip().is_loopback() => {
                return Err(Usage("FERMATA_PUBLIC_URL must say where the identity provider sends people back to, like https://fermata.example.com".to_owned()).into());
            }
            Some(provider) => Some(Oidc::new(provider.clone(), format!("{home}sign-in/oidc/callback"))?),
            None => None,
        };
        match &users {
            Some(users) if !users.users().lets_somebody_in(oidc.is_some()) => {
                return Err(Usage("nobody in the users file could sign in: `fermata user set <name>` gives somebody a password".to_owned()).into());
            }
            None if oidc.is_some() => {
                return Err(Usage("the identity provider says who people are, and no users file says what they may do: `fermata user set <name> --role admin --no-password` begins one".to_owned()).into());
            }
            None if !address.ip().is_loopback() => {
                return Err(Usage(format!("{address} can be reached from elsewhere, and there is no users file: `fermata user set <name> --role admin` begins one; without one listen on 127.0.0.1")).into());
            }
            _ => {}
        }
        Ok(Self {
            link: users.is_none().then(Link::default),
            users,
            oidc,
            home,
            sessions: Sessions::default(),
            limits: Limits::default(),
            passwords: Checker::default(),
            address,
            public_url: web.public_url.clone(),
        })
    }

    /// A new link to sign in with, once; none where people sign in otherwise. The one before is void.
    pub(crate) fn new_link(&self) -> Option<String> {
        let code = self.link.as_ref()?.renew();
        Some(format!("{}sign-in?code={code}", self.home))
    }

    /// The page's address, with a slash at its end.
    pub(crate) fn home(&self) -> &str {
        &self.home
    }

    /// Has the identity provider, where there is one, say what it says of itself, so that a mistake shows before somebody signs in.
    pub(crate) async fn meet_provider(&self, now: Timestamp) {
        let Some(oidc) = &self.oidc else { return };
        if let Err(error) = oidc.meet(now).await {
            tracing::error!("{error}; it is asked again when somebody signs in");
        }
    }

    /// What is to be said at the start of a page that others can listen in on.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        let plain = self.public_url.as_ref().is_none_or(|url| url.scheme() != "https");
        (plain && !self.address.ip().is_loopback()).then_some(
            "passwords and tokens come to this address in clear: put something that speaks TLS before it, and its address into FERMATA_PUBLIC_URL",
        )
    }

    /// Whoever has shown in a session who they are. `active` says that a person did something, and not a page by itself.
    fn of_session(&self, headers: &HeaderMap, active: bool, now: Timestamp) -> Option<Person> {
        let cookie = cookie(headers, &self.cookie_name())?;
        let (session, csrf) = self.sessions.get(cookie, active, now)?;
        if self.standing(&session).as_ref() != Some(&session.standing) {
            self.sessions.end(cookie);
            tracing::info!(who = session.name, "signed out: what they may do has changed");
            return None;
        }
        let Standing { role, tenants } = session.standing;
        Some(Person { name: session.name, role, tenants, csrf: Some(csrf) })
    }

    /// Whoever sent an API key.
    fn of_key(&self, key: &str) -> Option<Person> {
        let users = self.users.as_ref()?.users();
        let (name, user) = users.of_key(Digest::of(key))?;
        let Standing { role, tenants } = user.standing.clone();
        Some(Person { name: name.to_owned(), role, tenants, csrf: None })
    }

    /// What a session's person may do now.
    fn standing(&self, session: &Session) -> Option<Standing> {
        let users = self.users.as_ref().map(UsersFile::users);
        match session.via {
            Via::Link => self.link.as_ref().map(|_| Standing { role: Role::Admin, tenants: None }),
            Via::Password => {
                let users = users?;
                let user = users.user(&session.name)?;
                let same = user.password.as_ref().map(PasswordHash::digest) == session.password;
                same.then(|| user.standing.clone())
            }
            Via::Oidc => users?.standing(&session.name, &session.groups),
        }
    }

    /// Whether a person's session, or key, still is what it was: asked by what goes on for longer than a request.
    pub(crate) fn holds(&self, headers: &HeaderMap, person: &Person, now: Timestamp) -> bool {
        let again = match bearer(headers) {
            Some(key) => self.of_key(key),
            None => self.of_session(headers, false, now),
        };
        again.is_some_and(|again| again.csrf == person.csrf && again.tenants == person.tenants)
    }

    /// Begins a session, in place of the one that the browser had; returns its cookie as a header has it.
    fn begin(&self, headers: &HeaderMap, session: Session, from: IpAddr, now: Timestamp) -> String {
        let name = self.cookie_name();
        cookie(headers, &name).and_then(|before| self.sessions.end(before));
        tracing::info!(who = session.name, via = session.via.name(), %from, "signed in");
        let cookie = self.sessions.begin(session, now);
        format!("{name}={cookie}; Path=/; HttpOnly; SameSite=Strict{}", self.secure())
    }

    /// Ends the session of a browser; returns what makes the browser forget it.
    fn end(&self, headers: &HeaderMap, from: IpAddr) -> String {
        let name = self.cookie_name();
        if let Some(session) = cookie(headers, &name).and_then(|cookie| self.sessions.end(cookie)) {
            tracing::info!(who = session.name, %from, "signed out");
        }
        format!("{name}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{}", self.secure())
    }

    /// The cookie of a sign-in through the identity provider, which sends the browser back from elsewhere; an empty one ends it.
    fn flow_cookie(&self, value: &str) -> String {
        let seconds = if value.is_empty() { 0 } else { 600 };
        let name = self.cookie_name();
        format!("{name}-flow={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{}", self.secure())
    }

    fn flow_of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, &format!("{}-flow", self.cookie_name()))
    }

    fn is_https(&self) -> bool {
        self.public_url.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    /// The prefix has browsers refuse a cookie that another host of the domain, or a page in clear, would set. Without it the port
    /// keeps apart two pages of one machine, which to cookies are one.
    fn cookie_name(&self) -> String {
        if self.is_https() { "__Host-fermata".to_owned() } else { format!("fermata-{}", self.address.port()) }
    }

    fn secure(&self) -> &'static str {
        if self.is_https() { "; Secure" } else { "" }
    }
}

/// The value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut cookies =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The API key of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests;
