//! Who is signed in: in this process's memory, and gone with it.
//!
//! A session ends twelve hours after it began, or an hour after somebody last did something: what a page that
//! is left open asks for by itself is nothing that somebody did.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::person::{Standing, Via};
use super::secrets::{self, Digest};

/// How long a session lasts at most.
const LASTS: SignedDuration = SignedDuration::from_hours(12);
/// How long it lasts with nobody there.
const IDLE: SignedDuration = SignedDuration::from_hours(1);
/// Browsers that one person is signed in with at once; the one that was signed in first is signed out.
const SESSIONS_OF_ONE_MAX: usize = 20;

/// Who signed in, and what that rests on.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The name.
    pub(crate) name: String,
    /// How they showed who they are.
    pub(crate) via: Via,
    /// What they might do when they signed in.
    pub(crate) standing: Standing,
    /// Their groups at the identity provider.
    pub(crate) groups: Vec<String>,
    /// The password that they signed in with.
    pub(crate) password: Option<Digest>,
}

#[derive(Debug)]
struct Held {
    session: Session,
    csrf: String,
    began: Timestamp,
    seen: Timestamp,
}

impl Held {
    fn lives(&self, now: Timestamp) -> bool {
        now.duration_since(self.began) < LASTS && now.duration_since(self.seen) < IDLE
    }
}

/// All sessions, by the digest of their cookie.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<Digest, Held>>);

impl Sessions {
    /// Begins a session; returns its cookie.
    pub(crate) fn begin(&self, session: Session, now: Timestamp) -> String {
        let cookie = secrets::random();
        let mut all = self.all();
        all.retain(|_, held| held.lives(now));
        let of_one = || all.iter().filter(|(_, held)| held.session.name == session.name);
        if of_one().count() >= SESSIONS_OF_ONE_MAX {
            let first = of_one().min_by_key(|(_, held)| held.began).map(|(digest, _)| *digest);
            first.and_then(|digest| all.remove(&digest));
        }
        let held = Held { session, csrf: secrets::random(), began: now, seen: now };
        all.insert(Digest::of(&cookie), held);
        cookie
    }

    /// The session of a cookie, and the token that its forms carry. `active` says that somebody did something.
    pub(crate) fn get(&self, cookie: &str, active: bool, now: Timestamp) -> Option<(Session, String)> {
        let mut all = self.all();
        let held = all.get_mut(&Digest::of(cookie)).filter(|held| held.lives(now))?;
        if active {
            held.seen = held.seen.max(now);
        }
        Some((held.session.clone(), held.csrf.clone()))
    }

    /// Ends the session of a cookie; returns whose it was.
    pub(crate) fn end(&self, cookie: &str) -> Option<Session> {
        self.all().remove(&Digest::of(cookie)).map(|held| held.session)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Digest, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::person::Role;
    use super::*;

    fn session(name: &str) -> Session {
        let standing = Standing { role: Role::Viewer, tenants: None };
        Session { name: name.to_owned(), via: Via::Password, standing, groups: Vec::new(), password: None }
    }

    fn after(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn a_session_ends_when_nobody_is_there_and_after_half_a_day() {
        let sessions = Sessions::default();
        let lives = |cookie: &str, active, minutes| sessions.get(cookie, active, after(minutes)).is_some();
        let idle = sessions.begin(session("ann"), after(0));
        assert!(lives(&idle, false, 59) && !lives(&idle, false, 60));
        let busy = sessions.begin(session("ann"), after(0));
        assert!((1..720).step_by(30).all(|minutes| lives(&busy, true, minutes)));
        assert!(lives(&busy, true, 719) && !lives(&busy, true, 720));
        assert!(!lives("", true, 0) && !lives("x", true, 0));
    }

    #[test]
    fn a_session_that_was_ended_is_gone_and_others_stay() {
        let sessions = Sessions::default();
        let [one, two] = [0, 1].map(|minutes| sessions.begin(session("ann"), after(minutes)));
        let csrf = |cookie: &str| sessions.get(cookie, true, after(2)).map(|(_, csrf)| csrf);
        assert!(csrf(&one).is_some() && csrf(&one) != csrf(&two));
        assert_eq!(sessions.end(&one).map(|session| session.name).as_deref(), Some("ann"));
        assert!(csrf(&one).is_none() && csrf(&two).is_some() && sessions.end(&one).is_none());
    }

    #[test]
    fn one_person_does_not_fill_the_memory() {
        let sessions = Sessions::default();
        let other = sessions.begin(session("bob"), after(0));
        let cookies: Vec<_> = (0..25).map(|minutes| sessions.begin(session("ann"), after(minutes))).collect();
        let lives = |cookie: &String| sessions.get(cookie, false, after(25)).is_some();
        assert_eq!(
            cookies.iter().map(lives).collect::<Vec<_>>(),
            [[false; 5].as_slice(), &[true; 20]].concat()
        );
        assert!(lives(&other));
    }
}
