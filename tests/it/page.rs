//! A person at the page of `fermata dashboard`, without a browser: what it sends, and what comes back.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, COOKIE, HeaderName, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::stage::{Server, Stage};

/// Longer than the page takes to start, or to do what it was told.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The page, and somebody who has signed in.
pub(crate) struct Page<'a> {
    stage: &'a Stage,
    _server: Server,
    client: reqwest::Client,
    address: String,
    /// The header that says who asks.
    who: (HeaderName, String),
    csrf: String,
}

/// What the page answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl<'a> Page<'a> {
    /// Starts the page with these arguments, and signs in with the link that it prints.
    pub(crate) fn open(stage: &'a Stage, arguments: &str) -> Self {
        Self::open_with(stage, arguments, &[])
    }

    /// The same, with these variables.
    pub(crate) fn open_with(stage: &'a Stage, arguments: &str, variables: &[(&str, &str)]) -> Self {
        let (mut page, link) = Self::start(stage, arguments, variables, "sign in, once: ");
        let code = link.split_once("code=").unwrap().1;
        let signed_in = page.post("/sign-in", &[("code", code)]);
        let cookie = signed_in.headers[SET_COOKIE].to_str().unwrap();
        page.who = (COOKIE, cookie.split(';').next().unwrap().to_owned());
        let home = page.get("/").text;
        let csrf = home.split_once("name=\"csrf\" value=\"").unwrap().1;
        csrf.split('"').next().unwrap().clone_into(&mut page.csrf);
        page
    }

    /// Starts the page for whoever has this API key.
    pub(crate) fn open_by_key(stage: &'a Stage, arguments: &str, key: &str) -> Self {
        let (mut page, _) = Self::start(stage, arguments, &[], "dashboard: ");
        page.who = (AUTHORIZATION, format!("Bearer {key}"));
        page
    }

    /// Starts the page, and waits until it says this; returns what it says then.
    fn start(stage: &'a Stage, arguments: &str, variables: &[(&str, &str)], begins: &str) -> (Self, String) {
        let log = format!("dashboard-{}.log", stage.files(".").len());
        let call = stage.fermata(&format!("dashboard --listen 127.0.0.1:0 {arguments}"));
        let server = variables.iter().fold(call, |call, (name, value)| call.env(name, value)).serve(&log);
        let said = |begins: &str| {
            let said = std::fs::read_to_string(stage.at(&log)).unwrap_or_default();
            // Not before the line is whole.
            let said = said.rsplit_once('\n')?.0;
            said.lines().find_map(|line| Some(line.split_once(begins)?.1.trim().to_owned()))
        };
        let line = wait(stage, || said(begins));
        let address = said("dashboard: ").unwrap();
        let address = address.split_once("/;").unwrap().0.to_owned();
        let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
        let who = (COOKIE, String::new());
        (Self { stage, _server: server, client, address, who, csrf: String::new() }, line)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.address)))
    }

    /// Sends a form.
    pub(crate) fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields).append_pair("csrf", &self.csrf);
        let request = self.client.post(format!("{}{path}", self.address));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.finish());
        self.send(request)
    }

    /// Sends a document to the API.
    pub(crate) fn send_json(&self, path: &str, document: &Value) -> Answer {
        let request = self.client.post(format!("{}{path}", self.address)).body(document.to_string());
        self.send(request.header("x-csrf-token", &self.csrf).header("content-type", "application/json"))
    }

    /// Looks at a page until it says this.
    pub(crate) fn wait_for(&self, path: &str, words: &str) -> Answer {
        wait(self.stage, || Some(self.get(path)).filter(|answer| answer.text.contains(words)))
    }

    /// Waits until this is so.
    pub(crate) fn wait_until(&self, is_so: impl Fn() -> bool) {
        wait(self.stage, || is_so().then_some(()));
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.stage.block_on(async {
            let request = request.header(&self.who.0, &self.who.1).header("sec-fetch-site", "same-origin");
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, text: response.text().await.unwrap() }
        })
    }
}

impl Answer {
    /// With this status.
    pub(crate) fn code(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Where it leads.
    pub(crate) fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }

    /// Says all of this.
    pub(crate) fn says(&self, words: &[&str]) {
        for words in words {
            assert!(self.text.contains(words), "no {words:?} in {}", self.text);
        }
    }
}

fn wait<T>(stage: &Stage, look: impl Fn() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / LOOK_EVERY.as_millis() {
        if let Some(seen) = look() {
            return seen;
        }
        stage.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
    }
    panic!("nothing came of it in {PATIENCE:?}")
}
