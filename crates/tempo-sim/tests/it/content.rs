//! What is served: recorded bytes, generated sites, and the truth about both.

use std::path::Path;

use serde_json::{Value, json};
use tempo_sim::{ENTITIES, Sim};

use crate::{Site, builder};

/// The rows of an answer as they stand in it.
fn raw_rows(text: &str) -> Vec<String> {
    #[derive(serde::Deserialize)]
    struct Page<'a> {
        #[serde(borrow)]
        results: Vec<&'a serde_json::value::RawValue>,
    }
    let page: Page = serde_json::from_str(text).expect("a page");
    page.results.iter().map(|row| row.get().to_owned()).collect()
}

#[tokio::test]
async fn recorded_records_keep_every_byte() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/recorded");
    if !dir.exists() {
        crate::notice("shared/data/recorded is not beside the workspace: nothing is checked");
        return;
    }
    let site = Site::start(builder(0).records(&dir)).await;
    for (entity, path) in [
        ("accounts", "/4/accounts"),
        ("customers", "/4/customers"),
        ("workload-schemes", "/4/workload-schemes"),
        ("worklogs", "/4/worklogs"),
    ] {
        let file = std::fs::read_to_string(dir.join(format!("{entity}.jsonl"))).expect("a file");
        let mut expect: Vec<&str> = file.lines().collect();
        let mut served = raw_rows(&site.text(path, None).await);
        if entity == "worklogs" {
            expect.sort_unstable();
            served.sort_unstable();
        }
        assert_eq!(served, expect, "{entity}");
    }
    let updated =
        json!({"orderBy": [{"field": "UPDATED", "order": "ASC"}], "updatedFrom": "2021-01-25T19:14:25Z"});
    let rows = site.walk("/4/worklogs/search", Some(&updated)).await;
    assert!(
        !rows.is_empty() && rows.iter().all(|row| row["updatedAt"].as_str() >= Some("2021-01-25T19:14:25Z"))
    );
    assert_eq!(site.get("/4/teams").await["results"], json!([]));
    assert_eq!(site.status("/4/globalconfiguration", None).await, 200);
}

#[tokio::test]
async fn recorded_records_of_a_folder_of_ones_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let row = r#"{ "tempoWorklogId" : 5, "startDate": "2021-01-24", "updatedAt": "2021-01-25T19:08:43Z", "x": 1e2, "author": {"accountId": "a"} }"#;
    std::fs::write(dir.path().join("worklogs.jsonl"), format!("{row}\n")).expect("a file");
    let site = Site::start(builder(0).records(dir.path())).await;
    assert_eq!(raw_rows(&site.text("/4/worklogs/user/a?from=2021-01-24&to=2021-01-24", None).await), [row]);
    assert_eq!(site.sim.truth(1, "worklogs"), [row]);
}

#[tokio::test]
async fn a_seed_makes_the_same_site_and_another_seed_another() {
    let truth = async |seed: u64| {
        let sim = builder(500).seed(seed).start().await.expect("a simulator");
        ENTITIES.iter().map(|entity| (*entity, sim.truth(1, entity))).collect::<Vec<_>>()
    };
    let first = truth(3).await;
    assert_eq!(first, truth(3).await);
    assert_ne!(first, truth(4).await);
    for (entity, rows) in &first {
        assert!(!rows.is_empty() || *entity == "project-budget-milestones", "{entity} is empty");
    }
}

/// The lists whose rows are an entity's truth as they stand.
const LISTS: &[(&str, &str, &str)] = &[
    ("account-categories", "GET", "/4/account-categories"),
    ("accounts", "POST", "/4/accounts/search"),
    ("billing-rates-tables", "GET", "/4/billing-rates-tables"),
    ("cost-revenue-reports", "GET", "/4/reports/costs-and-revenues"),
    ("customers", "GET", "/4/customers"),
    ("generic-resources", "POST", "/4/generic-resources/search"),
    ("holiday-schemes", "GET", "/4/holiday-schemes"),
    ("plans", "GET", "/4/plans?from=2000-01-01&to=2100-01-01&plannedTimeBreakdown=DAILY"),
    ("portfolios", "GET", "/4/portfolios"),
    ("programs", "GET", "/4/programs"),
    ("projects", "GET", "/4/projects"),
    ("roles", "GET", "/4/roles"),
    ("skills", "GET", "/4/skills"),
    ("team-memberships", "POST", "/4/team-memberships/search"),
    ("teams", "GET", "/4/teams"),
    ("webhook-subscriptions", "GET", "/4/webhooks/subscriptions"),
    ("work-attributes", "GET", "/4/work-attributes"),
    ("workload-schemes", "GET", "/4/workload-schemes"),
    ("worklogs", "POST", "/4/worklogs/search"),
];

#[tokio::test]
async fn the_truth_is_what_is_served() {
    let site = Site::start(builder(900)).await;
    for (entity, method, path) in LISTS {
        let mark = if path.contains('?') { '&' } else { '?' };
        let body = json!({"orderBy": [{"field": "ID", "order": "ASC"}], "limit": 5000});
        let text = site.text(&format!("{path}{mark}limit=5000"), (*method == "POST").then_some(&body)).await;
        assert_eq!(raw_rows(&text), site.sim.truth(1, entity), "{entity}");
    }
    let of_parents = async |entity: &str, paths: &[String]| {
        let mut rows = Vec::new();
        for path in paths {
            rows.extend(raw_rows(&site.text(path, None).await));
        }
        assert_eq!(rows, site.sim.truth(1, entity), "{entity}");
    };
    let keys = |entity: &str, key: &str| -> Vec<String> {
        let rows = site.sim.truth(1, entity);
        let values = rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON")[key].clone());
        values.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
    };
    let over = |parents: Vec<String>, path: &str| -> Vec<String> {
        parents.iter().map(|p| path.replace("{}", p)).collect()
    };
    of_parents("account-links", &over(keys("accounts", "key"), "/4/accounts/{}/links")).await;
    of_parents("team-links", &over(keys("teams", "id"), "/4/teams/{}/links")).await;
    of_parents("project-expenses", &over(keys("projects", "id"), "/4/projects/{}/expenses")).await;
    let approvals: Vec<String> = keys("teams", "id")
        .iter()
        .flat_map(|team| {
            keys("periods", "from")
                .into_iter()
                .map(move |from| format!("/4/timesheet-approvals/team/{team}?from={from}"))
        })
        .collect();
    of_parents("timesheet-approvals", &approvals).await;
}

#[tokio::test]
async fn archived_accounts_and_holidays_hide_as_documented() {
    let site = Site::start(builder(500)).await;
    let seen = site.walk("/4/accounts", None).await;
    let all =
        site.walk("/4/accounts/search", Some(&json!({"statuses": ["OPEN", "CLOSED", "ARCHIVED"]}))).await;
    assert!(seen.len() < all.len() && seen.iter().all(|account| account["status"] != "ARCHIVED"));
    assert!(!seen.is_sorted_by_key(|account| account["id"].as_i64()), "not in the order of ids");
    let floating = |rows: &Value| {
        rows["results"].as_array().expect("rows").iter().filter(|day| day["type"] == "FLOATING").count()
    };
    let this_year = site.get("/4/holiday-schemes/3/holidays").await;
    assert_eq!(this_year["results"], site.get("/4/holiday-schemes/3/holidays?year=2026").await["results"]);
    assert_eq!(floating(&this_year), 2);
    assert_eq!(floating(&site.get("/4/holiday-schemes/3/holidays?year=1999").await), 0);
    assert!(floating(&site.get("/4/holiday-schemes/3/holidays/floating").await) > 4);
    let budgets = site.sim.truth(1, "project-timeframes").len();
    assert!(budgets < site.sim.truth(1, "projects").len(), "some have none");
}

#[tokio::test]
async fn a_default_site_is_read_whole_in_about_300_requests() {
    let site = Site::start(builder(10_000)).await;
    let count = |entity: &str| site.sim.truth(1, entity).len();
    let distinct = |entity: &str, key: &str| {
        let rows = site.sim.truth(1, entity);
        let values =
            rows.iter().map(|row| serde_json::from_str::<Value>(row).expect("JSON")[key].to_string());
        values.collect::<std::collections::BTreeSet<_>>().len()
    };
    let (teams, projects, users) =
        (count("teams"), count("projects"), distinct("workload-scheme-members", "member"));
    let periods = distinct("timesheet-approvals", "period");
    let lists = ENTITIES.len();
    let over_parents = count("accounts") + 3 * teams + 16 * projects + 2 * count("holiday-schemes") + users;
    let pages = 2 * count("worklogs").div_ceil(5_000) + count("audit-events").div_ceil(1_000);
    let total = lists + over_parents + (teams + projects) * periods + pages;
    assert!((200..330).contains(&total), "{total}");
}

#[tokio::test]
async fn the_ground_truth_is_written_for_all_tenants_and_entities() {
    let dir = tempfile::tempdir().expect("a folder");
    let sim: Sim = builder(100).tenants(2).start().await.expect("a simulator");
    sim.write_ground_truth(dir.path()).expect("files");
    for tenant in [1, 2] {
        for entity in ENTITIES {
            let file = dir.path().join(format!("sim-{tenant}/{entity}.ndjson"));
            let text = std::fs::read_to_string(file).expect("a file");
            assert_eq!(text.lines().collect::<Vec<_>>(), sim.truth(tenant, entity), "{entity}");
        }
    }
    assert_ne!(sim.truth(1, "worklogs"), sim.truth(2, "worklogs"));
}
