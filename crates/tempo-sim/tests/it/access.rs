//! Tokens, quota, ledger, compression and clock.

use std::collections::BTreeSet;
use std::io::Read as _;

use reqwest::header;
use serde_json::json;
use tempo_sim::{ErrorForm, Family, Quirks, QuotaPer, TokenSpec};

use crate::{Site, builder};

#[tokio::test]
async fn tokens_see_what_they_may() {
    let site = Site::start(builder(600).tenants(2)).await;
    site.sim.restrict_token(TokenSpec {
        deny: BTreeSet::from([Family::Audit, Family::Financial]),
        view_only: true,
        hide_projects: vec![10_000, 10_001],
        ..TokenSpec::full(1)
    });
    for path in ["/4/projects", "/papertrail/1/events/deleted/types/worklog?updatedFrom=2026-01-01"] {
        let answer = site.send(path, None).await;
        assert_eq!(answer.status(), 403);
        assert!(answer.headers()[header::CONTENT_TYPE].to_str().expect("text").starts_with("text/html"));
    }
    assert_eq!(site.status("/4/worklogs/search", Some(&json!({}))).await, 403);
    site.sim.set_quirks(Quirks { view_may_search: true, ..Quirks::default() });
    let seen = site.walk("/4/worklogs/search?limit=1000", Some(&json!({}))).await.len();
    assert!(seen > 0 && seen < 600, "{seen}");
    assert_eq!(site.walk("/4/worklogs?projectId=10000", None).await.len(), 0);
    let other =
        site.client.get(format!("{}/4/worklogs?limit=1000", site.sim.base_url())).bearer_auth("sim-token-2");
    assert!(other.send().await.expect("an answer").text().await.expect("text").contains("\"count\":600"));
    site.sim.restrict_token(TokenSpec { expired: true, ..TokenSpec::full(1) });
    assert_eq!(site.status("/4/roles", None).await, 401);
    site.sim.set_quirks(Quirks { html_errors: false, error_form: ErrorForm::Object, ..Quirks::default() });
    let text = site.send("/4/roles", None).await.text().await.expect("text");
    assert_eq!(text, r#"{"errors":{"message":"Unauthorized"}}"#);
}

#[tokio::test]
async fn the_quota_refuses_and_the_ledger_counts() {
    let site = Site::start(builder(50).rate(1.0).burst(3)).await;
    site.sim.set_quirks(Quirks { retry_after: Some(7), ..Quirks::default() });
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let answer = site.send("/4/teams/3/links", None).await;
        statuses.push(answer.status().as_u16());
        if answer.status() == 429 {
            assert_eq!(answer.headers()[header::RETRY_AFTER], "7");
        }
    }
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses[3..].contains(&429));
    let ledger = site.sim.ledger();
    let path = &ledger.tenants["sim-1"].paths["GET /4/teams/{id}/links"];
    assert_eq!((path.requests, path.accepted + path.refused), (5, 5));
    assert_eq!(path.refused, statuses.iter().filter(|status| **status == 429).count() as u64);
    assert!(path.peak_per_second >= path.peak_accepted_per_second && path.bytes > 0);
    let over_http =
        site.client.get(format!("{}/_sim/ledger", site.sim.base_url())).send().await.expect("an answer");
    let over_http: tempo_sim::Ledger =
        serde_json::from_str(&over_http.text().await.expect("text")).expect("a ledger");
    assert_eq!(over_http, ledger);
    site.sim.reset_ledger();
    assert_eq!(site.sim.ledger().total.requests, 0);
}

#[tokio::test]
async fn a_quota_per_address_is_shared_by_tenants_and_can_ban() {
    let site = Site::start(builder(50).tenants(2).rate(0.01).burst(1)).await;
    site.sim.set_quirks(Quirks {
        quota_per: QuotaPer::Ip,
        ban_after: 2,
        ban_seconds: 60,
        ..Quirks::default()
    });
    let mut statuses = Vec::new();
    for token in ["sim-token-1", "sim-token-2", "sim-token-2", "sim-token-1"] {
        let request = site.client.get(format!("{}/4/roles", site.sim.base_url())).bearer_auth(token);
        statuses.push(request.send().await.expect("an answer").status().as_u16());
    }
    assert_eq!(statuses, [200, 429, 429, 403]);
}

#[tokio::test]
async fn gzip_is_for_those_who_ask_and_can_be_turned_off() {
    let site = Site::start(builder(300)).await;
    let plain = site.text("/4/worklogs?limit=300", None).await;
    let asking = || async {
        let url = format!("{}/4/worklogs?limit=300", site.sim.base_url());
        let plain = reqwest::Client::builder().no_gzip().build().expect("a client");
        let request = plain.get(url).bearer_auth("sim-token-1").header(header::ACCEPT_ENCODING, "gzip, br");
        request.send().await.expect("an answer")
    };
    let answer = asking().await;
    assert_eq!(answer.headers()[header::CONTENT_ENCODING], "gzip");
    let bytes = answer.bytes().await.expect("a body");
    assert!(bytes.len() * 3 < plain.len());
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain);
    site.sim.set_quirks(Quirks { gzip: false, ..Quirks::default() });
    assert!(asking().await.headers().get(header::CONTENT_ENCODING).is_none());
}

#[tokio::test]
async fn the_date_header_is_the_simulators_clock() {
    let site = Site::start(builder(50)).await;
    let date = |answer: &reqwest::Response| answer.headers()[header::DATE].to_str().expect("text").to_owned();
    let answer = site.send("/4/roles", None).await;
    assert!(date(&answer).starts_with("Mon, 02 Mar 2026 12:00:"), "{}", date(&answer));
    site.sim.set_quirks(Quirks { clock_offset_ms: 3_600_000, ..Quirks::default() });
    let answer = site.send("/4/roles", None).await;
    assert!(date(&answer).starts_with("Mon, 02 Mar 2026 13:00:"), "{}", date(&answer));
    site.sim.set_quirks(Quirks { region_refusal: Some(401), ..Quirks::default() });
    assert_eq!(site.status("/4/roles", None).await, 401);
}
