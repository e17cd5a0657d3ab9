//! What `--json` prints: the members that scripts rely on, no more and no fewer, and the exit codes.

use serde_json::{Map, Value, json};

use crate::stage::Stage;

#[test]
fn what_a_backup_says() {
    let stage = Stage::new().ready();
    let document = stage.fermata("backup acme --json").run().code(0).json();
    let shape = json!({"schema": "number", "tenants": [{
        "tenant": "text", "run": "text", "snapshot": "text", "status": "text", "resumed": "flag",
        "requests": "number", "throttled": "number", "retries": "number", "seconds": "number",
        "entities": [{
            "entity": "text", "status": "text", "mode": "text", "records": "number", "added": "number",
            "changed": "number", "deleted": "number", "bytes": "number", "requests": "number", "reason": "null",
        }],
    }]});
    assert_eq!(shape_of(&document), shape);
    let tenant = &document["tenants"][0];
    assert_eq!(
        json!([tenant["tenant"], tenant["status"], tenant["resumed"]]),
        json!(["acme", "complete", false])
    );
    assert_eq!(
        tenant["requests"],
        stage.sim.ledger().tenants["sim-1"].total.requests - 1,
        "but for token set"
    );
    let worklogs = entry(&tenant["entities"], "worklogs");
    assert_eq!(json!([worklogs["records"], worklogs["mode"]]), json!([1_000, "sweep"]));
    // Again, and without a word of talk.
    let again = stage.fermata("backup acme --json --quiet").run().code(0);
    assert_eq!((again.stderr.as_str(), &again.json()["tenants"][0]["status"]), ("", &"complete".into()));
    // One that fails has its reason.
    stage.fermata("tenant pause acme").run().code(0);
    let document = stage.fermata("backup acme --json").run().code(2).json();
    let shape = json!({"schema": "number", "tenants": [{
        "tenant": "text", "run": "null", "snapshot": "null", "status": "text", "resumed": "flag",
        "requests": "number", "throttled": "number", "retries": "number", "seconds": "number",
        "entities": ["nothing"], "reason": "text",
    }]});
    assert_eq!(shape_of(&document), shape);
    assert_eq!(document["tenants"][0]["status"], "failed");
}

#[test]
fn what_snapshots_say() {
    let stage = Stage::new().ready();
    let none = stage.fermata("snapshots list acme --json").run().code(0).json();
    assert_eq!(none, json!({"schema": 1, "snapshots": []}));
    stage.fermata("backup acme").run().code(0);
    stage.fermata("backup acme").run().code(0);
    let list = stage.fermata("snapshots list acme --json").run().code(0).json();
    let shape = json!({"schema": "number", "snapshots": [{
        "snapshot": "text", "tenant": "text", "status": "text", "started": "text", "sealed": "text",
        "records": "number", "bytes_stored": "number", "bytes_new": "number", "entities": "number",
    }]});
    assert_eq!(shape_of(&list), shape);
    let [first, second] = list["snapshots"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        panic!("{list}")
    };
    assert_eq!(first["bytes_new"], first["bytes_stored"]);
    assert_eq!(second["bytes_new"], 0, "what is the same is not stored again: {second}");

    for (flags, data) in [("", false), ("--data", true)] {
        let report = stage.fermata(&format!("snapshots verify acme --json {flags}")).run().code(0).json();
        let shape = json!({
            "schema": "number", "snapshot": "text", "ok": "flag", "data": "flag", "ids": "flag", "chunks": "number",
            "records": "number", "bytes": "number", "read": "number", "seed": "null", "problems": ["nothing"],
            "notes": ["nothing"],
        });
        assert_eq!(shape_of(&report), shape);
        let (name, records) = (&second["snapshot"], &second["records"]);
        assert_eq!(
            json!([report["ok"], report["data"], report["snapshot"], report["records"]]),
            json!([true, data, name, records])
        );
    }

    let snapshot = first["snapshot"].as_str().unwrap_or_default();
    let shown =
        stage.fermata(&format!("snapshots show acme --snapshot {snapshot} --json")).run().code(0).json();
    let stored = &stage.stored()[&format!("tenants/acme/snapshots/{snapshot}.json")];
    let mut stored: Value = serde_json::from_slice(stored).unwrap();
    assert!(stored.as_object_mut().unwrap().remove("signature").is_some(), "{stored}");
    assert!(shown == stored, "the manifest, but for its signature: {shown:.200}");
    let sample = stage.fermata("snapshots verify acme --sample 5% --seed 7 --json").run().code(0).json();
    assert_eq!((&sample["seed"], &sample["data"]), (&json!(7), &json!(false)));
    assert!(
        sample["read"].as_u64() < sample["chunks"].as_u64() && sample["read"].as_u64() > Some(10),
        "{sample}"
    );
}

#[test]
fn what_a_damaged_snapshot_says() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let chunk = stage.stored().into_keys().find(|name| name.contains("/chunks/")).unwrap();
    std::fs::remove_file(stage.at("fermata-data").join(&chunk)).unwrap();
    let report = stage.fermata("snapshots verify acme --json").run().code(1).json();
    assert_eq!(report["ok"], false);
    let shape = json!([{"entity": "text", "object": "text", "what": "text", "salvage": "text"}]);
    assert_eq!(shape_of(&report["problems"]), shape, "{report}");
    let said = stage.fermata("snapshots verify acme").run().code(1).stdout;
    assert!(
        said.contains("NOT WHOLE: 1 problem") && said.contains(chunk.rsplit('/').next().unwrap()),
        "{said}"
    );
}

#[test]
fn what_runs_say() {
    let stage = Stage::new().ready();
    let none = stage.fermata("runs list --json").run().code(0).json();
    assert_eq!(none, json!({"schema": 1, "runs": []}));
    for command in ["runs show acme", "runs abandon acme"] {
        stage.fermata(command).run().error(2, &["acme has no unfinished run"]);
    }
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(20);
    backup.kill();
    let list = stage.fermata("runs list --json").run().code(0).json();
    let shape = json!({"schema": "number", "runs": [{
        "tenant": "text", "run": "text", "started": "text", "entities": "number",
    }]});
    assert_eq!(shape_of(&list), shape);
    let show = stage.fermata("runs show acme --json").run().code(0).json();
    let shape = json!({"schema": "number", "tenant": "text", "run": "text", "started": "text", "jobs": [{
        "entity": "text", "state": "text", "records": "number", "requests": "number", "reason": "null", "queue": "null",
    }]});
    assert_eq!(shape_of(&show), shape);
    assert_eq!(show["run"], list["runs"][0]["run"]);

    let before = stage.stored();
    let asked = stage.fermata("runs abandon acme --json").run().code(0).json();
    assert_eq!(asked, json!({"schema": 1, "tenant": "acme", "run": show["run"], "done": false}));
    assert_eq!(stage.changed_since(&before), [""; 0], "it only says what it would do");
    let done = stage.fermata("runs abandon acme --json --yes").run().code(0).json();
    assert_eq!(done["done"], true);
    assert_eq!(stage.fermata("runs list --json").run().code(0).json(), none);
    let document = stage.fermata("backup acme --json").run().code(0).json();
    assert_eq!(document["tenants"][0]["resumed"], false);
}

#[test]
fn what_tenants_say() {
    let stage = Stage::new().ready();
    let view = json!({
        "tenant": "text", "name": "text", "base_url": "text", "rate": "number", "schedule": "text",
        "time_zone": "text", "schedule_in_words": "text", "due_next": ["text"], "weight": "number",
        "keep": "text", "sweep_days": "number", "shrink_percent": "number", "accepted": "null",
        "without": ["text"], "paused": "flag",
        "token": {"fingerprint": "text", "stored": "text", "stored_by": "text", "expires": "null", "refused": "null"},
        "last_snapshot": "null",
    });
    let mut one = view.clone();
    one["schema"] = json!("number");
    let set =
        "tenant set acme --json --name ACME --schedule 30_2_*_*_* --time-zone europe/berlin --keep daily=7";
    let set = set.split(' ').map(|word| word.replace('_', " ")).collect::<Vec<_>>();
    let quoted = set.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let said = stage.shell(&format!("fermata {quoted} --without portfolios")).run().code(0).json();
    assert_eq!(shape_of(&said), one);
    assert_eq!(said["schedule_in_words"], "every day at 02:30 Europe/Berlin");
    assert_eq!(said["due_next"].as_array().map(Vec::len), Some(5));
    assert_eq!(stage.fermata("tenant show acme --json").run().code(0).json(), said);
    let text = stage.fermata("tenant show acme").run().code(0).stdout;
    let due = text.lines().filter(|line| line.contains(" 02:30 +0") || line.contains(" 03:00 +02")).count();
    assert!(due == 5 && text.contains("every day at 02:30 Europe/Berlin (30 2 * * *)"), "{text}");
    let list = stage.fermata("tenant list --json").run().code(0).json();
    assert_eq!(shape_of(&list), json!({"schema": "number", "tenants": [view]}));
    for (command, paused) in [("pause", true), ("resume", false)] {
        let said = stage.fermata(&format!("tenant {command} acme --json")).run().code(0).json();
        assert_eq!(said["paused"], paused);
    }
    let said = stage.fermata("tenant set acme --json --weight 3 --schedule none").run().code(0).json();
    assert_eq!(said["weight"], 3);
    for taken_back in ["schedule", "schedule_in_words"] {
        assert_eq!(said[taken_back], Value::Null);
    }
    assert_eq!((&said["due_next"], &said["time_zone"]), (&json!([]), &json!("Europe/Berlin")));
    let said = stage.fermata("tenant remove acme --json").run().code(0).json();
    assert_eq!(said, json!({"schema": 1, "tenant": "acme", "snapshots": 0, "data": false, "done": false}));
    stage.fermata("tenant show acme").run().code(0);
    stage.fermata("tenant remove acme --json --yes").run().code(0);
    stage.fermata("tenant show acme").run().error(2, &["there is no tenant acme", "fermata tenant list"]);
    let list = stage.fermata("tenant list --json").run().code(0).json();
    assert_eq!(list, json!({"schema": 1, "tenants": []}));
}

#[test]
fn what_is_said_of_a_new_vault_and_a_token() {
    let stage = Stage::new();
    let said = stage.fermata("init --json").run().code(0).json();
    let shape = json!({
        "schema": "number", "vault": "text", "store": "text", "key_file": "text", "key_file_made": "flag",
        "recipients": ["text"],
    });
    assert_eq!(shape_of(&said), shape);
    stage.fermata(&format!("tenant add acme --rate 1000 --base-url {}", stage.sim.base_url())).run().code(0);
    let call = stage.fermata("token set acme --json --expires 2999-12-31");
    let said = call.stdin(stage.sim.token(1) + "\r\n").run().code(0).json();
    let shape = json!({"schema": "number", "tenant": "text", "fingerprint": "text", "checked": "flag", "expires": "text"});
    assert_eq!(shape_of(&said), shape);
    assert_eq!(said["checked"], true);
    let said = stage.fermata("token check acme --json").run().code(0).json();
    let shape = json!({"schema": "number", "tenant": "text", "ok": "flag", "expires": "text", "entities": [{
        "entity": "text", "readable": "flag",
    }]});
    assert_eq!(shape_of(&said), shape);
}

#[test]
fn what_the_doctor_says() {
    let stage = Stage::new();
    let said = stage.fermata("doctor --json").run().code(1).json();
    let shape = json!({"schema": "number", "ok": "flag", "findings": [{
        "level": "text", "about": "text", "what": "text", "advice": "text",
    }]});
    assert_eq!(shape_of(&said), shape, "no key, no vault: {said}");
    let stage = stage.ready();
    let said = stage.fermata("doctor --json").run().code(0).json();
    assert_eq!(said["ok"], true);
    stage.fermata("backup acme").run().code(0);
    let said = stage.fermata("doctor").run().code(0).stdout;
    assert!(said.contains("Tempo answers") && said.contains("0 hours old"), "{said}");
    let mut spec = tempo_sim::TokenSpec::full(1);
    spec.expired = true;
    stage.sim.restrict_token(spec);
    let said = stage.fermata("doctor").run().code(1).stdout;
    assert!(said.contains("PROBLEM  tenant acme") && said.contains("fermata token set acme"), "{said}");
}

#[test]
fn what_an_export_says() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    for format in ["ndjson", "csv", "parquet"] {
        let said =
            stage.fermata(&format!("export acme --json --format {format} --out {format}")).run().code(0);
        let document = said.json();
        let shape = json!({"schema": "number", "tenant": "text", "snapshot": "text", "files": [{
            "entity": "text", "file": "text", "records": "number", "bytes": "number",
        }]});
        assert_eq!(shape_of(&document), shape);
        for file in document["files"].as_array().into_iter().flatten() {
            let path = stage.at(file["file"].as_str().unwrap_or_default());
            let length = path.metadata().unwrap_or_else(|error| panic!("{file}: {error}")).len();
            assert!(path.extension().is_some_and(|ending| ending == format), "{file}");
            assert_eq!(file["bytes"], length, "{file}");
        }
    }
    let text = std::fs::read_to_string(stage.at("ndjson/worklogs.ndjson")).unwrap();
    let (mut exported, mut truth) =
        (text.lines().map(str::to_owned).collect::<Vec<_>>(), stage.sim.truth(1, "worklogs"));
    exported.sort_unstable();
    truth.sort_unstable();
    assert_eq!(exported, truth);
    let csv = std::fs::read_to_string(stage.at("csv/worklogs.csv")).unwrap();
    assert!(csv.lines().next().is_some_and(|header| header.contains("tempoWorklogId")), "{csv:.200}");
    let parquet = std::fs::read(stage.at("parquet/worklogs.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
}

fn entry<'a>(entities: &'a Value, name: &str) -> &'a Value {
    let found = entities.as_array().into_iter().flatten().find(|entry| entry["entity"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {entities}"))
}

/// The kinds of values in a document; of a list one shape for all its items, in which a member that only some have
/// ends in a question mark.
pub(crate) fn shape_of(value: &Value) -> Value {
    shape(&[value])
}

fn shape(values: &[&Value]) -> Value {
    let items: Vec<&Value> = values.iter().filter_map(|value| value.as_array()).flatten().collect();
    if values.iter().any(|value| value.is_array()) {
        return json!([shape(&items)]);
    }
    let objects: Vec<&Map<String, Value>> = values.iter().filter_map(|value| value.as_object()).collect();
    if objects.is_empty() {
        let kinds: std::collections::BTreeSet<_> = values.iter().map(|value| kind(value)).collect();
        let kinds: Vec<_> = kinds.into_iter().collect();
        return json!(if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(" or ") });
    }
    let mut all = Map::new();
    for name in objects.iter().flat_map(|object| object.keys()) {
        let members: Vec<&Value> = objects.iter().filter_map(|object| object.get(name)).collect();
        let mark = if members.len() < values.len() { "?" } else { "" };
        all.insert(format!("{name}{mark}"), shape(&members));
    }
    Value::Object(all)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "flag",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
