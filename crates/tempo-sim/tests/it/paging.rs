//! Each way of paging, walked to its end.

use serde_json::{Value, json};
use tempo_sim::{LimitAboveMax, LinkHost, Quirks};

use crate::{Site, builder, ids, true_ids};

#[tokio::test]
async fn links_lead_through_all_worklogs_in_the_documented_order() {
    let site = Site::start(builder(700)).await;
    let rows = site.walk("/4/worklogs?limit=64", None).await;
    let key = |row: &Value| {
        let start = row["startTime"].as_str().unwrap_or("00:00:00").to_owned();
        (row["startDate"].as_str().expect("a date").to_owned(), start, row["tempoWorklogId"].as_i64())
    };
    assert!(rows.is_sorted_by_key(key));
    let mut seen = ids(&rows);
    seen.sort_unstable();
    assert_eq!(seen, true_ids(&site.sim));
    let updated: Vec<Value> = site.walk("/4/worklogs?orderBy=UPDATED&limit=100", None).await;
    assert!(updated.is_sorted_by(|a, b| a["updatedAt"].as_str() >= b["updatedAt"].as_str()));
    assert_eq!(updated.len(), 700);
}

#[tokio::test]
async fn links_keep_every_parameter_and_end() {
    let site = Site::start(builder(700)).await;
    let path = "/4/worklogs?projectId=10000&projectId=10001&limit=20&from=2024-01-01&strange=a%26b";
    let first = site.get(path).await;
    let next = first["metadata"]["next"].as_str().expect("a next page");
    assert!(next.starts_with(site.sim.base_url()));
    for part in
        ["projectId=10000", "projectId=10001", "from=2024-01-01", "strange=a%26b", "limit=20", "offset=20"]
    {
        assert!(next.contains(part), "{next}");
    }
    assert!(first["metadata"].get("previous").is_none());
    let second = site.get(next).await;
    assert!(second["metadata"]["previous"].as_str().expect("a page before").contains("offset=0"));
    let all = site.get("/4/worklogs?limit=5000").await;
    assert_eq!(all["metadata"], json!({"count": 700, "limit": 5000, "offset": 0}));
    assert_eq!(site.get("/4/roles").await["metadata"], json!({"count": 5}));
}

#[tokio::test]
async fn post_search_orders_and_filters() {
    let site = Site::start(builder(700)).await;
    let order = json!({"orderBy": [{"field": "UPDATED", "order": "ASC"}, {"field": "ID", "order": "ASC"}]});
    let rows = site.walk("/4/worklogs/search?limit=90", Some(&order)).await;
    let key =
        |row: &Value| (row["updatedAt"].as_str().expect("a time").to_owned(), row["tempoWorklogId"].as_i64());
    assert!(rows.is_sorted_by_key(key));
    assert_eq!(rows.len(), 700);
    // The keyset of a client: from the last time seen, inclusive.
    let middle = rows[350]["updatedAt"].as_str().expect("a time");
    let mut since = order.clone();
    since["updatedFrom"] = json!(middle);
    let later = site.walk("/4/worklogs/search?limit=5000", Some(&since)).await;
    let expect =
        rows.iter().filter(|row| row["updatedAt"].as_str() >= Some(middle)).cloned().collect::<Vec<_>>();
    assert_eq!(ids(&later), ids(&expect));
    let author = rows[0]["author"]["accountId"].clone();
    let of_author = site.walk("/4/worklogs/search", Some(&json!({"authorIds": [author]}))).await;
    assert!(!of_author.is_empty() && of_author.iter().all(|row| row["author"]["accountId"] == author));
}

#[tokio::test]
async fn pages_in_the_body_have_no_links() {
    let site = Site::start(builder(1_000)).await;
    let mut members = 0;
    for offset in (0..).step_by(5) {
        let page = site
            .post(
                "/4/workload-schemes/members/search",
                json!({"schemeIds": [2, 5], "limit": 5, "offset": offset}),
            )
            .await;
        let count = page["results"].as_array().expect("results").len();
        assert_eq!(page["metadata"], json!({"count": count, "limit": 5, "offset": offset}));
        assert!(page.get("self").is_none());
        if count == 0 {
            break;
        }
        members += count;
    }
    assert_eq!(members, site.sim.truth(1, "workload-scheme-members").len());
    let plans =
        site.post("/4/plans/search", json!({"from": "2000-01-01", "to": "2100-01-01", "limit": 5000})).await;
    assert_eq!(plans["results"].as_array().map(Vec::len), Some(site.sim.truth(1, "plans").len()));
}

#[tokio::test]
async fn cursors_lead_through_audit_and_approval_log() {
    let site = Site::start(builder(1_000)).await;
    let body = json!({"from": "2025-09-10T00:00:00Z"});
    let events = site.walk("/4/papertrail/search?limit=30", Some(&body)).await;
    assert!(
        events.len() > 150 && events.is_sorted_by(|a, b| a["timestamp"].as_str() <= b["timestamp"].as_str())
    );
    let log = site.walk("/4/timesheet-approvals/logs/search?limit=70", Some(&json!({}))).await;
    assert!(log.len() > 200, "{}", log.len());
    let page = site
        .get("/papertrail/1/events/deleted/types/worklog?updatedFrom=2025-01-01T00:00:00Z&limit=50")
        .await;
    assert!(page["results"][0]["tempoWorklogId"].is_string());
    assert_eq!(page["metadata"]["limit"], 50);
    for (path, body) in [
        ("/4/papertrail/search", json!({"from": "2025-08-01T00:00:00Z"})),
        ("/4/papertrail/search", json!({})),
        ("/4/papertrail/search?nextPageToken=x", json!({"from": "2026-01-01"})),
        ("/4/timesheet-approvals/logs/search", json!({"updatedFrom": "2023-01-01"})),
    ] {
        assert_eq!(site.status(path, Some(&body)).await, 400, "{path} {body}");
    }
    let short = "/papertrail/1/events/deleted/types/worklog?updatedFrom=2025-01-01T00:00:00Z&limit=49";
    assert_eq!(site.status(short, None).await, 400);
}

#[tokio::test]
async fn limits_clamp_or_refuse() {
    let site = Site::start(builder(300)).await;
    let page = site.get("/4/worklogs?limit=9000").await;
    assert_eq!(page["metadata"]["limit"], 5000);
    site.sim.set_quirks(Quirks { limit_max: Some(50), link_host: LinkHost::TempoIo, ..Quirks::default() });
    let page = site.get("/4/worklogs?limit=5000").await;
    assert_eq!((&page["metadata"]["limit"], &page["metadata"]["count"]), (&json!(50), &json!(50)));
    let next = page["metadata"]["next"].as_str().expect("a next page");
    assert!(next.starts_with("https://api.tempo.io/4/worklogs?"), "{next}");
    site.sim.set_quirks(Quirks { limit_above_max: LimitAboveMax::Reject, ..Quirks::default() });
    for (limit, status) in [("5001", 400), ("5000", 200), ("0", 400), ("-1", 400), ("many", 400)] {
        assert_eq!(site.status(&format!("/4/worklogs?limit={limit}"), None).await, status, "limit={limit}");
    }
}

#[tokio::test]
async fn odd_parameters_are_treated_as_the_real_api_does() {
    let site = Site::start(builder(300)).await;
    assert_eq!(site.get("/4/worklogs?projectKey=ABC&limit=1000").await["metadata"]["count"], 300);
    assert_eq!(site.get("/4/worklogs?projectId=ABC").await["metadata"]["count"], 0);
    let hint = site.send("/4/worklogs?project=ABC", None).await;
    assert_eq!(hint.status(), 400);
    assert!(hint.text().await.expect("text").contains("please use 'projectId'"));
    for (path, status) in [
        ("/4/worklogs/project/ABC", 404),
        ("/4/worklogs/ABC", 404),
        ("/4/worklogs?from=2022-05-011", 400),
        ("/4/plans?from=2022-05-01", 400),
        ("/4/nothing", 404),
        ("/4/teams/999/links", 404),
    ] {
        assert_eq!(site.status(path, None).await, status, "{path}");
    }
    assert_eq!(site.status("/4/plans/search", Some(&json!({"to": "2022-05-01"}))).await, 400);
}
