//! A real Chromium without a window, told through ChromeDriver what a person does: read, click, write, press keys.
//!
//! Things are found by the words that are on them. What ChromeDriver takes is WebDriver's JSON
//! (<https://www.w3.org/TR/webdriver2/>), with Chromium's own tools behind `goog/cdp/execute`.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;

/// Longer than anything takes that a page is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it has to close.
const CLOSE_MAX: Duration = Duration::from_secs(5);
/// Between two looks at a page.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// What ChromeDriver says when it can be asked, before its port.
const READY: &str = "started successfully on port ";
/// How WebDriver marks an element in its documents.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Errors of things that are still on their way to where they belong.
const NOT_YET: [&str; 4] =
    ["stale element reference", "element click intercepted", "element not interactable", "no such element"];
/// What the console says of a page that tells what is wrong with a form.
const REFUSED: [&str; 2] = ["a status of 422", "a status of 403"];
/// Finds what can be clicked by its words, the first of those that begin with them.
const CLICKABLE: &str = "
    const words = arguments[0];
    const all = [...document.querySelectorAll('a, button, summary, label, [role=button]')]
        .filter((element) => element.checkVisibility());
    const text = (element) => element.innerText.trim().replace(/\\s+/g, ' ');
    return all.find((element) => text(element) === words)
        || all.find((element) => text(element).startsWith(words)) || null;";
/// Finds a field by its label.
const FIELD: &str = "
    const label = [...document.querySelectorAll('label')]
        .find((label) => label.checkVisibility() && label.innerText.trim().startsWith(arguments[0]));
    return label ? label.control : null;";

/// A Chromium with one window and a history of its own; it ends when this is dropped.
pub(crate) struct Browser {
    http: reqwest::Client,
    session: String,
    runtime: Runtime,
    driver: Child,
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eyes {
    /// In CSS pixels.
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Device pixels for each of them: 2 is what a person sees who zooms to 200 %.
    pub(crate) zoom: u32,
    pub(crate) dark: bool,
}

impl Eyes {
    pub(crate) const USUAL: Self = Self { width: 1200, height: 800, zoom: 1, dark: false };
}

impl Browser {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let profile = TempDir::new().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let user_data = format!("--user-data-dir={}", profile.path().display());
        let (driver, address) = runtime.block_on(driver());
        let mut browser = Self { http, session: address, runtime, driver, _profile: profile };
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-breakpad",
            "--hide-scrollbars",
            "--disable-component-update",
            "--disable-sync",
            // So that it ends with whoever tells it what to do.
            "--remote-debugging-pipe",
            &user_data,
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let made = browser.post("session", &json!({ "capabilities": { "alwaysMatch": wanted } })).unwrap();
        browser.session = format!("{}/session/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser.look_with(Eyes::USUAL);
        browser
    }

    /// Goes to an address and waits until its page is loaded.
    pub(crate) fn open(&self, address: &str) {
        self.must("url", &json!({ "url": address }));
    }

    /// Where it is.
    pub(crate) fn address(&self) -> String {
        self.run("return location.href", &[]).as_str().unwrap().to_owned()
    }

    /// All words of the page that can be seen, and no word that cannot.
    pub(crate) fn words(&self) -> String {
        self.run("return document.body.innerText", &[]).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until these words can be seen.
    pub(crate) fn sees(&self, words: &str) {
        let seen = || self.words().contains(words).then_some(());
        self.wait(&format!("{words:?} cannot be seen"), seen);
    }

    /// Waits until these words cannot be seen any more.
    pub(crate) fn sees_no(&self, words: &str) {
        let gone = || (!self.words().contains(words)).then_some(());
        self.wait(&format!("{words:?} can be seen"), gone);
    }

    /// Waits until the window is at an address of this path.
    pub(crate) fn is_at(&self, path: &str) {
        let here = || (self.run("return location.pathname", &[]) == path).then_some(());
        self.wait(&format!("it is not at {path}"), here);
    }

    /// Clicks on the button or link with these words, once it is there.
    pub(crate) fn click(&self, words: &str) {
        self.wait(&format!("{words:?} cannot be clicked"), || {
            let element = self.run(CLICKABLE, &[json!(words)]);
            let id = element.get(ELEMENT)?.as_str()?;
            self.try_to(&format!("element/{id}/click"), &json!({})).map(drop)
        });
    }

    /// Writes into the field with this label, in place of what is there.
    pub(crate) fn fill(&self, label: &str, text: &str) {
        self.wait(&format!("there is no field {label:?} to write into"), || {
            let element = self.run(FIELD, &[json!(label)]);
            let id = element.get(ELEMENT)?.as_str()?;
            self.try_to(&format!("element/{id}/clear"), &json!({}))?;
            self.try_to(&format!("element/{id}/value"), &json!({ "text": text })).map(drop)
        });
    }

    /// Presses a key where the focus is: a letter, or `Tab`, `Enter`, `Escape`, `Space`; `Shift+` before it holds that down.
    pub(crate) fn press(&self, key: &str) {
        let (shift, key) = key.strip_prefix("Shift+").map_or((false, key), |key| (true, key));
        let key = match key {
            "Tab" => "\u{e004}",
            "Enter" => "\u{e007}",
            "Escape" => "\u{e00c}",
            "Space" => " ",
            letter => letter,
        };
        let one = |kind: &str, key: &str| json!({ "type": kind, "value": key });
        let mut actions = vec![one("keyDown", key), one("keyUp", key)];
        if shift {
            actions.insert(0, one("keyDown", "\u{e008}"));
            actions.push(one("keyUp", "\u{e008}"));
        }
        self.must("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }));
    }

    /// Presses the keys of a text, one after the other.
    pub(crate) fn write(&self, text: &str) {
        for letter in text.chars() {
            self.press(&letter.to_string());
        }
    }

    /// The words, or else the name, of what has the focus.
    pub(crate) fn focus(&self) -> String {
        let name = "const one = document.activeElement;
            return one.innerText?.trim() || one.getAttribute('aria-label') || one.labels?.[0]?.innerText || one.name || one.tagName;";
        self.run(name, &[]).as_str().unwrap_or_default().to_owned()
    }

    /// Looks at the page like this from now on.
    pub(crate) fn look_with(&self, eyes: Eyes) {
        let Eyes { width, height, zoom, dark } = eyes;
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": zoom, "mobile": false }),
        );
        let scheme = if dark { "dark" } else { "light" };
        // Else it would be looked at while colours still change.
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// A picture of the page as a PNG, from its top down to its end or this height.
    pub(crate) fn picture(&self, height_max: u64) -> Vec<u8> {
        let size = "return [document.documentElement.clientWidth, document.documentElement.scrollHeight]";
        let size = self.run(size, &[]);
        let height = size[1].as_u64().unwrap().min(height_max);
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": height, "scale": 1 });
        let how = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let taken = self.devtools("Page.captureScreenshot", &how);
        BASE64_STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// Runs the body of a function in the page; the page's policy does not hold for it.
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        // It may be asked in the moment between two pages.
        let script = json!({ "script": script, "args": arguments });
        self.wait("no script runs", || self.post("execute/sync", &script).ok())
    }

    /// The same, for a function that says that it is done by calling its last argument.
    pub(crate) fn run_until_done(&self, script: &str, arguments: &[Value]) -> Value {
        self.must("execute/async", &json!({ "script": script, "args": arguments }))
    }

    /// Tells Chromium's own tools something.
    pub(crate) fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.must("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// What the console, the page's policy and the network tell since the last time that is no good: errors, what was not
    /// allowed, requests to other hosts than this one.
    pub(crate) fn troubles(&self, host: &str) -> Vec<String> {
        let log = |kind: &str| self.must("se/log", &json!({ "type": kind })).as_array().cloned().unwrap();
        let mut troubles: Vec<String> = log("browser")
            .iter()
            .filter(|line| line["level"] != "INFO" && line["level"] != "DEBUG")
            // A form that is not taken, or not allowed, is answered so.
            .filter(|line| !REFUSED.iter().any(|known| line["message"].as_str().unwrap().contains(known)))
            .map(|line| format!("the console says {}: {}", line["level"], line["message"]))
            .collect();
        for line in log("performance") {
            let told: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            let told = &told["message"];
            let address = told["params"]["request"]["url"].as_str().unwrap_or_default();
            let elsewhere = address.starts_with("http") && !address.starts_with(&format!("http://{host}/"));
            if told["method"] == "Network.requestWillBeSent" && elsewhere {
                troubles.push(format!("something was asked of {address}"));
            }
        }
        troubles
    }

    /// Waits until there is something.
    pub(crate) fn wait<T>(&self, otherwise: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            if began.elapsed() > PATIENCE {
                let script =
                    json!({ "script": "return location.href + '\\n' + document.body.innerText", "args": [] });
                let page = self.post("execute/sync", &script);
                panic!(
                    "{otherwise}: {}",
                    page.map_or_else(|error| error, |page| page.as_str().unwrap_or("").to_owned())
                );
            }
            self.runtime.block_on(async { tokio::time::sleep(LOOK_EVERY).await });
        }
    }

    /// What a person would do again because the page was still moving: `None`. Other errors fail the test.
    fn try_to(&self, command: &str, body: &Value) -> Option<Value> {
        match self.post(command, body) {
            Ok(value) => Some(value),
            Err(error) if NOT_YET.iter().any(|known| error.starts_with(known)) => None,
            Err(error) => panic!("{command}: {error}"),
        }
    }

    fn must(&self, command: &str, body: &Value) -> Value {
        self.post(command, body).unwrap_or_else(|error| panic!("{command} {body}: {error}"))
    }

    fn post(&self, command: &str, body: &Value) -> Result<Value, String> {
        let request = self.http.post(format!("{}/{command}", self.session)).body(body.to_string());
        let answer = self.runtime.block_on(async { request.send().await?.text().await });
        let answer = answer.map_err(|error| format!("ChromeDriver does not answer: {error}"))?;
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
        let value = answer["value"].take();
        match value["error"].as_str() {
            None => Ok(value),
            Some(error) => {
                let message = value["message"].as_str().unwrap_or_default();
                Err(format!("{error}: {}", message.lines().next().unwrap_or_default()))
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It closes the browser, which would end anyway, and leaves its folder to be deleted.
        let close = self.http.delete(&self.session).timeout(CLOSE_MAX);
        let _ = self.runtime.block_on(async { close.send().await });
        let _ = self.driver.start_kill();
        let _ = self.runtime.block_on(self.driver.wait());
    }
}

/// Starts ChromeDriver; returns it and where it can be asked.
async fn driver() -> (Child, String) {
    let driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    let mut driver = driver.unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("chromedriver is not here; `./test` installs it"),
        _ => panic!("chromedriver does not start: {error}"),
    });
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if let Some((_, port)) = line.split_once(READY) {
            let address = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
            // It goes on talking, and stops when nobody listens.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (driver, address);
        }
    }
    panic!("chromedriver ended before it was ready");
}
