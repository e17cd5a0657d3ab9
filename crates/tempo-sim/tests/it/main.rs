//! The simulator over HTTP, as a client meets it.

mod access;
mod changes;
mod content;
mod faults;
mod paging;
mod spec;

use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempo_sim::{Sim, SimBuilder};

/// A simulator with the client that talks to it.
struct Site {
    sim: Sim,
    client: Client,
}

/// A site without a quota, of so many worklogs, whose clock starts on 2026-03-02 12:00.
fn builder(worklogs: usize) -> SimBuilder {
    let now = "2026-03-02T12:00:00Z".parse().expect("a time");
    Sim::builder().worklogs(worklogs).rate(0.0).now(now)
}

impl Site {
    async fn start(builder: SimBuilder) -> Self {
        Self { sim: builder.start().await.expect("a free port"), client: Client::new() }
    }

    fn request(&self, method: &Method, path: &str, body: Option<&Value>) -> RequestBuilder {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.sim.base_url()) };
        let request = self.client.request(method.clone(), url).bearer_auth(self.sim.token(1));
        match body {
            Some(body) => request.body(body.to_string()),
            None => request,
        }
    }

    async fn send(&self, path: &str, body: Option<&Value>) -> Response {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        self.request(&method, path, body).send().await.expect("an answer")
    }

    /// The text of a 200.
    async fn text(&self, path: &str, body: Option<&Value>) -> String {
        let answer = self.send(path, body).await;
        let (status, text) = (answer.status(), answer.text().await.expect("text"));
        assert_eq!(status, 200, "{path}: {text}");
        text
    }

    async fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path, None).await).expect("JSON")
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        serde_json::from_str(&self.text(path, Some(&body)).await).expect("JSON")
    }

    async fn status(&self, path: &str, body: Option<&Value>) -> u16 {
        self.send(path, body).await.status().as_u16()
    }

    /// All rows of a list with links.
    async fn walk(&self, path: &str, body: Option<&Value>) -> Vec<Value> {
        let (mut rows, mut next) = (Vec::new(), path.to_owned());
        for _ in 0..1_000 {
            let page: Value = serde_json::from_str(&self.text(&next, body).await).expect("JSON");
            rows.extend(page["results"].as_array().expect("results").iter().cloned());
            let metadata = &page["metadata"];
            let link = metadata.get("next").or_else(|| metadata.get("nextPageUrl"));
            match link.and_then(Value::as_str) {
                Some(link) => link.clone_into(&mut next),
                None => return rows,
            }
        }
        panic!("{path} has no end");
    }
}

/// Says what a test could not check.
#[allow(clippy::print_stdout, reason = "that is how a test speaks")]
fn notice(text: &str) {
    println!("{text}");
}

/// The ids of worklogs.
fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["tempoWorklogId"].as_i64().expect("an id")).collect()
}

/// The ids of the truth's worklogs, in order.
fn true_ids(sim: &Sim) -> Vec<i64> {
    let rows: Vec<Value> =
        sim.truth(1, "worklogs").iter().map(|row| serde_json::from_str(row).expect("JSON")).collect();
    ids(&rows)
}
