//! Each kind of fault, seen from the client.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::json;
use tempo_sim::{Fault, FaultKind, Shape};

use crate::{Site, builder, ids};

async fn with(kind: FaultKind) -> Site {
    let site = Site::start(builder(300)).await;
    site.sim.fault(Fault::new(kind).path("/4/worklogs"));
    site
}

#[tokio::test]
async fn a_status_hits_the_requests_it_is_told_to() {
    let site = Site::start(builder(60)).await;
    let url = format!("{}/_sim/faults", site.sim.base_url());
    let faults = json!([{"path": "/4/roles", "nth": 2, "times": 2, "kind": "status", "code": 503, "body": "busy", "content_type": "text/plain", "retry_after": 3}]);
    assert_eq!(
        site.client.post(&url).body(faults.to_string()).send().await.expect("an answer").status(),
        204
    );
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = site.send("/4/roles", None).await;
        statuses.push(answer.status().as_u16());
        if answer.status() == 503 {
            assert_eq!(answer.headers()["retry-after"], "3");
            assert_eq!(answer.text().await.expect("text"), "busy");
        }
    }
    assert_eq!(statuses, [200, 503, 503, 200]);
    assert_eq!(site.sim.requests_served(1), 2);
    site.sim.fault(Fault::status(500).times(1_000));
    site.client.delete(&url).send().await.expect("an answer");
    assert_eq!(site.status("/4/roles", None).await, 200);
    let wrong = site.client.post(&url).body(r#"[{"kind":"explode"}]"#).send().await.expect("an answer");
    assert_eq!(wrong.status(), 400);
    assert!(wrong.text().await.expect("text").contains("explode"));
}

#[tokio::test]
async fn connections_break_before_after_and_within_an_answer() {
    let site = with(FaultKind::Reset).await;
    assert!(site.request(&reqwest::Method::GET, "/4/worklogs", None).send().await.is_err());
    assert_eq!(site.sim.requests_served(1), 0);
    let site = with(FaultKind::AfterEffect).await;
    assert!(site.request(&reqwest::Method::GET, "/4/worklogs", None).send().await.is_err());
    assert_eq!(site.sim.requests_served(1), 1);
    let site = with(FaultKind::Cut).await;
    let answer = site.send("/4/worklogs?limit=300", None).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err());
    assert_eq!(site.status("/4/worklogs?limit=300", None).await, 200);
}

#[tokio::test]
async fn a_cut_body_arrives_by_half() {
    let site = with(FaultKind::Cut).await;
    let client = reqwest::Client::builder().no_gzip().build().expect("a client");
    let request =
        client.get(format!("{}/4/worklogs?limit=300", site.sim.base_url())).bearer_auth("sim-token-1");
    let answer = request.send().await.expect("a head");
    let whole = answer.content_length().expect("a length");
    let mut body = answer.bytes_stream();
    let (mut got, mut broken) = (0, false);
    while let Some(part) = body.next().await {
        match part {
            Ok(part) => got += part.len() as u64,
            Err(_) => broken = true,
        }
    }
    assert!(broken);
    assert_eq!(got, whole / 2);
}

#[tokio::test]
async fn bodies_that_break_the_contract() {
    let text = async |kind| with(kind).await.text("/4/worklogs", None).await;
    assert!(text(FaultKind::Html200).await.starts_with("<!doctype html>"));
    let shape = async |shape| {
        serde_json::from_str::<serde_json::Value>(&text(FaultKind::WrongShape { shape }).await).expect("JSON")
    };
    assert!(shape(Shape::NoResults).await.get("results").is_none());
    assert!(shape(Shape::ResultsNotArray).await["results"].is_object());
    assert!(shape(Shape::MetadataTypes).await["metadata"]["count"].is_string());
    let site = with(FaultKind::NotUtf8).await;
    let bytes = site.send("/4/worklogs", None).await.bytes().await.expect("a body");
    assert!(std::str::from_utf8(&bytes).is_err());
    let site = with(FaultKind::HugeNesting { mib: 3 }).await;
    let bytes = site.send("/4/worklogs", None).await.bytes().await.expect("a body");
    assert_eq!(bytes.len(), 3 << 20);
    assert!(bytes.iter().all(|byte| *byte == b'['));
}

#[tokio::test]
async fn pages_that_mislead() {
    let site = with(FaultKind::Loop).await;
    let first = site.get("/4/worklogs?limit=50&offset=50").await;
    assert!(first["metadata"]["next"].as_str().expect("a link").ends_with("/4/worklogs?limit=50&offset=50"));
    let site = with(FaultKind::ForeignLink { url: "https://elsewhere.example/x".into() }).await;
    assert_eq!(site.get("/4/worklogs").await["metadata"]["next"], "https://elsewhere.example/x");
    let site = Site::start(builder(300)).await;
    let before = site.get("/4/worklogs?limit=50&offset=0").await;
    site.sim.fault(Fault::new(FaultKind::DuplicateIds));
    let page = site.get("/4/worklogs?limit=50&offset=50").await;
    assert_eq!((&page["results"], &page["metadata"]["offset"]), (&before["results"], &json!(50)));
    site.sim.fault(Fault::new(FaultKind::EmptyPage));
    let page = site.get("/4/worklogs?limit=50&offset=50").await;
    assert_eq!(page["results"], json!([]));
    assert!(page["metadata"]["next"].as_str().expect("a link").contains("offset=100"));
    let after = site.get("/4/worklogs?limit=50&offset=50").await;
    assert_ne!(
        ids(after["results"].as_array().expect("rows")),
        ids(before["results"].as_array().expect("rows"))
    );
    for kind in [FaultKind::Loop, FaultKind::EmptyPage] {
        site.sim.fault(Fault::new(kind).path("/4/papertrail/search"));
    }
    let body = json!({"from": "2026-01-01"});
    let first = site.post("/4/papertrail/search?limit=10", body.clone()).await;
    let token = first["metadata"]["nextPageToken"].as_str().expect("a token");
    let again = site.post(&format!("/4/papertrail/search?limit=10&nextPageToken={token}"), body).await;
    assert_eq!(again["results"], first["results"], "the token of a loop leads to the page itself");
}

#[tokio::test]
async fn answers_that_take_their_time() {
    let site = with(FaultKind::Hang { seconds: 0.4 }).await;
    let start = Instant::now();
    site.get("/4/worklogs?limit=2").await;
    assert!(start.elapsed() >= Duration::from_millis(400));
    let site = with(FaultKind::Slow { bytes_per_second: 4_000 }).await;
    let start = Instant::now();
    site.get("/4/worklogs?limit=2").await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    let site = with(FaultKind::Hang { seconds: 3_600.0 }).await;
    let hanging = tokio::spawn(site.request(&reqwest::Method::GET, "/4/worklogs", None).send());
    while site.sim.ledger().total.requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(site);
    let ended = tokio::time::timeout(Duration::from_secs(20), hanging).await;
    assert!(ended.is_ok(), "dropping the simulator ends what hangs");
}
