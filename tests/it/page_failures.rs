//! What failed, on the page and through its API: seen in groups, and acted on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use fermata_fleet::queue::{Claim, Claimed, Filter, JobView};
use fermata_fleet::{JobState, Turn};
use serde_json::{Value, json};
use tempo_sim::Fault;

use crate::fleet::Fleet;
use crate::page::Page;
use crate::stage::{Stage, site};

/// A lease and a pause that no test sees the end of.
const HOUR: Duration = Duration::from_hours(1);
const FAILED: &str = "after 8 attempts: GET /teams: Tempo failed (HTTP 500): trace 4f9a1c";

fn claim(fleet: &Fleet, token: &str) -> Option<Claimed> {
    match fleet.stage.block_on(fleet.queue.claim("test", token, HOUR)).unwrap() {
        Claim::Job(claimed) => Some(claimed),
        _ => None,
    }
}

/// Two tenants; of each, `teams` failed like this, was given up by the first, and nothing else is to be done.
fn fleet() -> Fleet {
    let fleet = Fleet::start(site(), 2, 1_000.0);
    fleet.fermata("enqueue --all").run().code(0);
    let mut token = 0;
    while let Some(claimed) = claim(&fleet, &token.to_string()) {
        token += 1;
        let id = &claimed.id;
        let turn = match (&*id.entity, id.tenant.as_str()) {
            ("teams", "sim-1") => Turn::Dead(FAILED.to_owned()),
            ("teams", _) => {
                Turn::Retry { pause: HOUR, error: FAILED.replace("4f9a1c", "17"), attempts: 1, mark: 1 }
            }
            _ => Turn::Done,
        };
        assert!(fleet.stage.block_on(fleet.queue.settle(&claimed, &turn)).unwrap());
    }
    fleet
}

fn open(fleet: &Fleet) -> Page<'_> {
    Page::open_with(&fleet.stage, "", &[("FERMATA_REDIS", &fleet.redis.url())])
}

fn teams(fleet: &Fleet) -> Vec<JobView> {
    let filter = Filter { entity: Some("teams".to_owned()), ..Filter::default() };
    let mut jobs = fleet.stage.block_on(fleet.queue.list(&filter, 10)).unwrap().0;
    jobs.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    jobs
}

fn states(fleet: &Fleet) -> Vec<JobState> {
    teams(fleet).iter().map(|job| job.state).collect()
}

/// The one group that there is, as the API has it.
fn group(page: &Page<'_>) -> Value {
    page.wait_for("/failures", "1 group");
    let list = page.get("/api/v1/failures").code(200).json();
    assert_eq!(list["total"], 1, "{list}");
    list["groups"][0].clone()
}

#[test]
fn a_group_is_seen_tried_and_retried() {
    let fleet = fleet();
    let page = open(&fleet);
    let found = group(&page);
    let facts = json!([
        found["entity"],
        found["status"],
        found["cause"],
        found["tenants"],
        found["dead"],
        found["retrying"]
    ]);
    assert_eq!(facts, json!(["teams", 500, "tempo", 2, 1, 1]));
    assert_eq!(found["title"], "after # attempts: GET /teams: Tempo failed (HTTP 500): trace #");
    let id = found["id"].as_str().unwrap();
    let shown = page.get(&format!("/failures/{id}")).code(200);
    shown.says(&[
        "Tempo fails",
        "status.tempo.io",
        "sim-1",
        "sim-2",
        "<svg",
        "fermata jobs retry --entity teams --error",
    ]);

    // One as a probe, which needs no reason; then the rest.
    let shown = page.get(&format!("/actions/new?action=retry&group={id}&probe=1")).code(200);
    shown.says(&["Retry 1 job"]);
    assert!(!shown.text.contains("id=\"reason\""), "one job needs no reason");
    let fields = [("action", "retry"), ("group", id), ("probe", "1")];
    assert!(page.post("/actions", &fields).code(303).location().starts_with("/jobs/sim-"));
    assert_eq!(states(&fleet).iter().filter(|state| **state == JobState::Queued).count(), 1);
    let left = teams(&fleet).into_iter().find(|job| job.state != JobState::Queued).unwrap();
    let done = page.post("/actions", &[("action", "retry"), ("group", id)]);
    page.wait_for("/failures", "Nothing failed");
    assert_eq!(states(&fleet), [JobState::Queued; 2], "{done:?}");
    page.get(&format!("/failures/{id}")).code(404).says(&["nothing fails in this way any more"]);
    // What became of it stands on its page, as on the command line.
    page.get(&format!("/jobs/{}", left.id))
        .code(200)
        .says(&["What became of it", "run at once by an operator"]);
    let shown = page.get(&format!("/api/v1/jobs/{}", left.id)).code(200).json();
    assert_eq!(shown, fleet.fermata(&format!("jobs show {} --json", left.id)).run().code(0).json());
}

#[test]
fn more_than_one_needs_a_reason_and_goes_into_the_audit_list() {
    let fleet = fleet();
    let page = open(&fleet);
    let id = group(&page)["id"].as_str().unwrap().to_owned();
    let preview = page.get(&format!("/actions/new?action=snooze&group={id}&for=6h")).code(200);
    preview.says(&["2 jobs", "id=\"reason\"", "name=\"snooze\""]);
    let fields = [("action", "snooze"), ("group", &*id), ("for", "6h")];
    page.post("/actions", &fields).code(422).says(&["say why"]);
    assert_eq!(states(&fleet), [JobState::Dead, JobState::Retry]);
    let fields: Vec<_> = fields.into_iter().chain([("reason", "an outage"), ("rps", "100")]).collect();
    let begun = page.post("/actions", &fields).code(303).location().to_owned();
    page.wait_for(&begun, "Put off: 2 jobs").says(&["an outage", &format!("what failed like {id}")]);
    assert_eq!(states(&fleet), [JobState::Retry; 2]);
    for job in teams(&fleet) {
        let left = job.next_at.unwrap().duration_since(jiff::Timestamp::now()).as_secs();
        assert!((21_000..=21_600).contains(&left), "{left}");
    }
    let audit = fleet.fermata("queue audit --json").run().code(0).json();
    let line = &audit["entries"][0];
    assert_eq!(json!([line["action"], line["count"], line["reason"]]), json!(["snooze", 2, "an outage"]));

    // The same through the API, where it is first only said.
    let asked = json!({"action": "discard", "group": id, "reason": "a test", "rps": 200});
    let mut dry = asked.clone();
    dry["dry_run"] = json!(true);
    let said = page.send_json("/api/v1/actions", &dry).code(200).json();
    assert_eq!(json!([said["matched"], said["done"], said["dry_run"]]), json!([2, 0, true]));
    page.send_json("/api/v1/actions", &asked).code(202);
    page.wait_until(|| teams(&fleet).is_empty());
    page.wait_for("/failures", "Nothing failed");
}

#[test]
fn nothing_chosen_is_not_everything() {
    let fleet = fleet();
    let page = open(&fleet);
    let fields = [("action", "discard"), ("reason", "none was ticked")];
    page.get("/actions/new?action=discard").code(422).says(&["no job is chosen"]);
    page.post("/actions", &fields).code(422).says(&["no job is chosen"]);
    let asked = json!({"action": "discard", "jobs": [], "reason": "a list that came out empty"});
    page.send_json("/api/v1/actions", &asked).code(422);
    assert_eq!(states(&fleet), [JobState::Dead, JobState::Retry]);
    page.get("/actions/new?action=discard&all=1").code(200);
}

#[test]
fn who_may_see_some_tenants_sees_what_failed_of_them() {
    let fleet = fleet();
    fleet.fermata("user set ci --role operator --tenant sim-2 --no-password").run().code(0);
    let key = fleet.fermata("user key ci").run().code(0).stdout.trim().to_owned();
    let arguments = format!("--redis {}", fleet.redis.url());
    let page = Page::open_by_key(&fleet.stage, &arguments, &key);
    let found = group(&page);
    assert_eq!(json!([found["tenants"], found["dead"], found["retrying"]]), json!([1, 0, 1]));
    let id = found["id"].as_str().unwrap();
    for path in
        [format!("/failures/{id}"), format!("/actions/new?action=retry&group={id}"), "/failures".to_owned()]
    {
        let shown = page.get(&path).code(200);
        assert!(!shown.text.contains("sim-1"), "{path}: {}", shown.text);
    }
    page.get(&format!("/failures/{id}?tenant=sim-1")).code(404);
    page.get(&format!("/actions/new?action=discard&group={id}")).code(403);
    page.send_json("/api/v1/actions", &json!({"action": "retry", "group": id})).code(200);
    assert_eq!(states(&fleet), [JobState::Dead, JobState::Queued]);
}

#[test]
fn what_is_looked_for_stands_in_the_address() {
    let fleet = fleet();
    let page = open(&fleet);
    group(&page);
    let total =
        |query: &str| page.get(&format!("/api/v1/failures?{query}")).code(200).json()["total"].clone();
    for (query, expect) in [
        ("q=http+500", 1),
        ("q=nothing", 0),
        ("cause=tempo&entity=teams&within=1h", 1),
        ("cause=token", 0),
        ("entity=plans", 0),
        ("tenant=sim-2&sort=last", 1),
        ("tenant=nobody", 0),
        ("page=2", 1),
    ] {
        assert_eq!(total(query), expect, "{query}");
        page.get(&format!("/failures?{query}")).code(200);
    }
    for wrong in ["cause=x", "within=1y", "sort=x", "tenant=A"] {
        page.get(&format!("/failures?{wrong}")).code(422);
        page.get(&format!("/api/v1/failures?{wrong}")).code(422);
    }
    page.get("/failures/nothing").code(404);
    page.get("/actions/new?action=snooze&group=x").code(422).says(&["say how long"]);
    page.get("/actions/new?action=snooze&group=x&for=9d").code(422).says(&["seven days"]);
}

#[test]
fn on_one_machine_the_last_snapshots_say_what_failed() {
    let stage = Stage::new().ready();
    stage.sim.fault(Fault::status(400).path("/4/roles").times(1_000));
    stage.fermata("backup acme").run().code(3);
    let page = Page::open(&stage, "");
    let answer = page.wait_for("/failures", "1 group");
    answer.says(&["1 entity failed", "Tempo answers otherwise than documented"]);
    let found = page.get("/api/v1/failures").code(200).json()["groups"][0].clone();
    assert_eq!(json!([found["entity"], found["status"], found["dead"]]), json!(["roles", 400, 1]));
    let group = page.get(&format!("/failures/{}", found["id"].as_str().unwrap())).code(200);
    group.says(&["Back this up now", "action=\"/tenants/acme/backup\"", "value=\"roles\""]);
    assert!(!group.text.contains("/actions/new"), "there is no queue to act on");
    page.get("/actions/new?action=retry&group=x").code(404);
    stage.sim.clear_faults();
    page.post("/tenants/acme/backup", &[("entity", "roles")]).code(303);
    page.wait_for("/tenants/acme", "done");
}
