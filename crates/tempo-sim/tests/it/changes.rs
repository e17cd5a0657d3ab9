//! Records that change while they are read.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tempo_sim::{Mutation, Op, Quirks, Schedule, Step, TenantMutations};

use crate::{Site, builder, true_ids};

fn parsed(record: Option<&String>) -> Value {
    serde_json::from_str(record.expect("a record")).expect("JSON")
}

#[tokio::test]
async fn changes_show_in_lists_audit_and_history() {
    let site = Site::start(builder(300)).await;
    let id = true_ids(&site.sim)[7];
    site.get("/4/roles").await;
    let edit =
        Mutation::new(Op::Update).id(id).set("startDate", "2025-06-02").set("description", "moved \"here\"");
    site.sim
        .mutate(1, &[edit, Mutation::new(Op::Insert).count(2), Mutation::new(Op::Touch)])
        .expect("changes");
    let row = site.get(&format!("/4/worklogs/{id}")).await;
    assert_eq!((&row["startDate"], &row["description"]), (&json!("2025-06-02"), &json!("moved \"here\"")));
    assert!(row["updatedAt"].as_str().expect("a time").starts_with("2026-03-02T12:00:"));
    let of_day = site.walk("/4/worklogs?from=2025-06-02&to=2025-06-02", None).await;
    assert!(of_day.contains(&row), "the row is where its new date is");
    assert_eq!(site.walk("/4/worklogs?limit=500", None).await.len(), 302);
    let removed = site.sim.mutate(1, &[Mutation::new(Op::Delete).id(id)]).expect("a deletion");
    assert_eq!(site.status(&format!("/4/worklogs/{id}"), None).await, 404);
    let history = site.sim.history(1, "worklogs");
    assert_eq!(
        history.iter().map(|change| change.op).collect::<Vec<_>>(),
        [Op::Update, Op::Insert, Op::Insert, Op::Touch, Op::Delete]
    );
    assert_eq!((history[0].after_request, &history[4].id), (1, &removed[0]));
    assert_eq!(parsed(history[0].record.as_ref()), row);
    let (old, new) = (parsed(history[3].before.as_ref()), parsed(history[3].record.as_ref()));
    assert!(new["updatedAt"].as_str().expect("a time").starts_with("2026-03-02T12:00:"));
    assert_eq!((&old["startDate"], &old["timeSpentSeconds"]), (&new["startDate"], &new["timeSpentSeconds"]));
    assert!(history[1].before.is_none() && history[4].record.is_none() && history[4].before.is_some());
    let deleted = json!({"from": "2026-03-02T12:00:00Z", "action": ["Deleted"], "entityType": ["worklog"]});
    let events = site.walk("/4/papertrail/search", Some(&deleted)).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["entityId"], id.to_string());
    let feed = site.get("/papertrail/1/events/deleted/types/worklog?updatedFrom=2026-03-02T12:00:00Z").await;
    assert_eq!(feed["results"][0]["tempoWorklogId"], id.to_string());
}

#[tokio::test]
async fn other_entities_change_too() {
    let site = Site::start(builder(300)).await;
    let url = format!("{}/_sim/mutate", site.sim.base_url());
    let ops = json!({"tenant": "sim-1", "ops": [
        {"op": "update", "entity": "teams", "id": 3, "fields": {"name": "Renamed", "summary": null}},
        {"op": "insert", "entity": "accounts", "fields": {"name": "New one", "status": "OPEN"}},
        {"op": "delete", "entity": "customers", "id": 9},
        {"op": "update", "entity": "plans"},
    ]});
    assert_eq!(site.client.post(&url).body(ops.to_string()).send().await.expect("an answer").status(), 200);
    let team = site.get("/4/teams/3").await;
    assert_eq!((&team["name"], team.get("summary")), (&json!("Renamed"), None));
    let history = site.sim.history(1, "accounts");
    let new = parsed(history[0].record.as_ref());
    assert_eq!(new["self"], format!("https://api.tempo.io/4/accounts/{}", new["id"]));
    assert_eq!(site.get(&format!("/4/accounts/{}", new["id"])).await, new);
    assert_eq!(site.status("/4/customers/9", None).await, 404);
    let updated = json!({"from": "2000-01-01", "to": "2100-01-01", "updatedFrom": "2026-03-02T12:00:00Z"});
    assert_eq!(site.post("/4/plans/search", updated).await["metadata"]["count"], 1);
    for wrong in [
        r#"{"tenant":"sim-9","ops":[]}"#,
        r#"{"tenant":"sim-1","ops":[{"op":"delete","entity":"teams","id":1}]}"#,
    ] {
        assert_eq!(
            site.client.post(&url).body(wrong).send().await.expect("an answer").status(),
            400,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_schedule_changes_rows_between_pages_and_remembers_every_state() {
    let run = async |seed: u64| {
        let site = Site::start(builder(400).schedule(Schedule::worklogs(1, seed, 1.5, 4.0, 1.0))).await;
        let start: HashMap<i64, Value> = true_ids(&site.sim)
            .into_iter()
            .zip(site.sim.truth(1, "worklogs").iter().map(|row| parsed(Some(row))))
            .collect();
        let rows = site.walk("/4/worklogs?limit=40", None).await;
        let history = site.sim.history(1, "worklogs");
        for row in &rows {
            let id = row["tempoWorklogId"].as_i64().expect("an id");
            let known = start.get(&id) == Some(row)
                || history.iter().any(|change| {
                    change.id == id.to_string()
                        && change.record.as_ref().is_some_and(|r| parsed(Some(r)) == *row)
                });
            assert!(known, "row {id} is a state that never was");
        }
        history.into_iter().map(|change| (change.op, change.id, change.after_request)).collect::<Vec<_>>()
    };
    let history = run(5).await;
    assert!(history.len() > 40, "{}", history.len());
    assert!(
        [Op::Insert, Op::Update, Op::Delete].iter().all(|op| history.iter().any(|change| change.0 == *op))
    );
    assert_eq!(history, run(5).await, "a seed replays");
    assert_ne!(history, run(6).await);
}

#[tokio::test]
async fn rows_and_jira_ids_can_come_late() {
    let site = Site::start(builder(100)).await;
    let (hour, hour_ms) = (3_600_000_i64, 3_600_000_u64);
    site.sim.set_quirks(Quirks {
        visibility_delay_ms: hour_ms,
        jira_id_delay_ms: 2 * hour_ms,
        ..Quirks::default()
    });
    let id: i64 =
        site.sim.mutate(1, &[Mutation::new(Op::Insert)]).expect("an insertion")[0].parse().expect("an id");
    let listed = async || site.walk("/4/worklogs?limit=500", None).await.len();
    let mapped = async || {
        site.post("/4/worklogs/tempo-to-jira", json!({"tempoWorklogIds": [id]})).await["metadata"]["count"]
            .clone()
    };
    assert_eq!((listed().await, mapped().await), (100, json!(0)));
    let later = |offset: i64| Quirks { clock_offset_ms: offset, ..site.sim.quirks() };
    site.sim.set_quirks(later(hour + 1));
    assert_eq!((listed().await, mapped().await), (101, json!(0)));
    let row = site.get(&format!("/4/worklogs/{id}")).await;
    assert!(row["updatedAt"].as_str().expect("a time") < "2026-03-02T12:30", "it carries the earlier time");
    site.sim.set_quirks(later(2 * hour + 1));
    assert_eq!(mapped().await, json!(1));
}

#[tokio::test]
async fn retention_leaves_no_trace_unless_told() {
    let site = Site::start(builder(300)).await;
    let purge = |before: &str| Mutation { before: Some(before.into()), ..Mutation::new(Op::Purge) };
    let events = site.sim.truth(1, "audit-events").len();
    let gone = site.sim.mutate(1, &[purge("2024-01-01")]).expect("a purge");
    assert!(!gone.is_empty());
    assert_eq!(site.sim.truth(1, "audit-events").len(), events);
    assert!(site.walk("/4/worklogs?to=2023-12-31", None).await.is_empty());
    site.sim.set_quirks(Quirks { retention_audited: true, ..Quirks::default() });
    let gone = site.sim.mutate(1, &[purge("2024-06-01")]).expect("a purge").len();
    assert_eq!(site.sim.truth(1, "audit-events").len(), events + gone);
}

#[tokio::test]
async fn a_script_plays_its_steps() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("script.json");
    let steps = json!([
        {"after_requests": 3, "mutate": [{"tenant": "sim-1", "ops": [{"op": "insert", "count": 5}]}]},
        {"after_requests": 1, "faults": [{"kind": "status", "code": 500}], "quirks": {"limit_max": 10}},
    ]);
    std::fs::write(&file, steps.to_string()).expect("a file");
    let site = Site::start(builder(100).script_file(&file).expect("a script")).await;
    assert_eq!(site.get("/4/worklogs?limit=50").await["metadata"]["limit"], 50);
    assert_eq!(site.status("/4/worklogs", None).await, 500);
    assert_eq!(site.get("/4/worklogs?limit=50").await["metadata"]["limit"], 10);
    site.get("/4/worklogs").await;
    assert_eq!(true_ids(&site.sim).len(), 105);
    let wrong = Step { quirks: Some(json!({"no_such": 1})), ..Step::default() };
    assert!(builder(1).script([wrong]).start().await.is_err());
    let none =
        Step { mutate: vec![TenantMutations { tenant: "sim-1".into(), ops: vec![] }], ..Step::default() };
    assert!(builder(1).script([none]).latency(Duration::ZERO).start().await.is_ok());
}
