//! `fermata dashboard`, as people use it: in a real browser, against a real Redis and real workers.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

mod access;
mod alone;
mod api;
mod fleet;
mod keys;
mod looks;
mod shots;
mod tokens;

use std::time::{Duration, Instant};

use crate::browser::Browser;
use crate::fleet::Fleet;
use crate::stage::{Call, Server, Stage};

/// Longer than it takes to start.
const START_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What it says before its address, and before the link that signs in.
const ADDRESS: &str = "dashboard: http://";
const LINK: &str = "sign in, once: ";

/// A dashboard that is up.
struct Served {
    /// Its address and port.
    host: String,
    _server: Server,
}

/// A dashboard, and a browser to look at it.
struct Desk {
    browser: Browser,
    served: Served,
}

impl Served {
    /// Starts it with what else the program is given.
    fn start<'a>(stage: &'a Stage, fermata: impl Fn(&str) -> Call<'a>) -> Self {
        let server = fermata("dashboard --listen 127.0.0.1:0 --refresh 1 --data-key fermata.key")
            .serve("dashboard.log");
        let host = said(stage, ADDRESS);
        Self { host: host.split('/').next().unwrap().to_owned(), _server: server }
    }
}

impl Desk {
    /// Of a fleet; whoever was there when it was started has signed in.
    fn of(fleet: &Fleet) -> Self {
        Self::at_the_link(&fleet.stage, |arguments| fleet.fermata(arguments)).signed_in()
    }

    /// Of one machine without a Redis.
    fn alone(stage: &Stage) -> Self {
        Self::at_the_link(stage, |arguments| stage.fermata(arguments)).signed_in()
    }

    /// With a window at the link that signs in.
    fn at_the_link<'a>(stage: &'a Stage, fermata: impl Fn(&str) -> Call<'a>) -> Self {
        let served = Served::start(stage, fermata);
        let browser = Browser::start();
        browser.open(&said(stage, LINK));
        Self { browser, served }
    }

    fn signed_in(self) -> Self {
        self.browser.click("Sign in");
        self.browser.is_at("/");
        self
    }

    fn go(&self, path: &str) {
        self.browser.open(&format!("http://{}{path}", self.served.host));
    }

    /// What was in the console, refused by the page's policy, or asked of others.
    fn troubles(&self) -> Vec<String> {
        self.browser.troubles(&self.served.host)
    }

    /// Nothing of that.
    fn is_quiet(&self) {
        crate::assert_none(&self.troubles());
    }
}

/// The rest of the line with which the dashboard says something, once it does.
fn said(stage: &Stage, words: &str) -> String {
    let began = Instant::now();
    loop {
        let log = std::fs::read_to_string(stage.at("dashboard.log")).unwrap();
        if let Some((_, rest)) = log.rsplit_once(words)
            && let Some((line, _)) = rest.split_once('\n')
        {
            return line.to_owned();
        }
        assert!(began.elapsed() < START_MAX, "the dashboard does not say {words:?}: {log}");
        stage.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
}
