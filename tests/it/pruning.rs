//! `fermata snapshots prune`, as an operator gives it.

use serde_json::json;

use crate::documents::shape_of;
use crate::stage::Stage;

/// Three snapshots: whole, with a record more, and of one entity alone.
fn stage() -> Stage {
    let stage = Stage::new().ready();
    for entity in ["", "", "--entity teams"] {
        stage.fermata(&format!("backup acme {entity}")).run().code(0);
    }
    stage
}

#[test]
fn it_shows_first_and_deletes_when_told_to() {
    let stage = stage();
    let before = stage.stored();
    let look = stage.fermata("snapshots prune acme --keep last=1 --json").run().code(0).json();
    let shape = json!({"schema": "number", "done": "flag", "tenants": [{
        "tenant": "text", "keep": "text", "chunks": "number", "bytes": "number", "settings": "number",
        "refused": "number", "waits_for": ["nothing"], "reason": "null",
        "snapshots": [{"snapshot": "text", "keep": "flag", "reasons": ["text"]}],
    }]});
    assert_eq!(shape_of(&look), shape);
    let kept: Vec<_> =
        look["tenants"][0]["snapshots"].as_array().unwrap().iter().map(|row| &row["keep"]).collect();
    assert_eq!(kept, [false, true, true], "the second is the newest whole one: {look}");
    assert_eq!(stage.changed_since(&before), [""; 0], "it only says what it would do");
    let said = stage.fermata("snapshots prune acme --keep last=1").run().code(0).stdout;
    for words in
        ["goes", "no rule keeps it", "newest; newest good; newest whole ", "last", "1 snapshot of 3", "--yes"]
    {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    // Without rules every one stays.
    stage.fermata("snapshots prune acme --yes").run().code(0);
    assert_eq!(stage.changed_since(&before), [""; 0]);
    stage.fermata("tenant set acme --keep last=1").run().code(0);
    let done = stage.fermata("snapshots prune --all --yes --json").run().code(0).json();
    assert_eq!(
        (&done["done"], &done["tenants"][0]["snapshots"]),
        (&json!(true), &look["tenants"][0]["snapshots"])
    );
    let list = stage.fermata("snapshots list acme --json").run().code(0).json();
    let left = list["snapshots"].as_array().unwrap();
    assert_eq!(left.len(), 2);
    for snapshot in left {
        let name = snapshot["snapshot"].as_str().unwrap();
        stage.fermata(&format!("snapshots verify acme --data --snapshot {name}")).run().code(0);
    }
}

#[test]
fn while_a_run_is_unfinished_chunks_stay_and_it_says_why() {
    let stage = stage();
    stage.sim.reset_ledger();
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(20);
    backup.kill();
    let chunks = |stage: &Stage| stage.stored().into_keys().filter(|name| name.contains("/chunks/")).count();
    let before = chunks(&stage);
    let said = stage.fermata("snapshots prune acme --keep last=1 --yes").run().code(0).stdout;
    assert!(said.contains("is under way") && said.contains("fermata runs abandon acme"), "{said}");
    assert_eq!(chunks(&stage), before);
    stage.fermata("backup acme").run().code(0);
    stage.fermata("snapshots prune acme --keep last=1 --yes").run().code(0);
    stage.fermata("snapshots verify acme --data").run().code(0);
}

#[test]
fn what_cannot_be_read_or_deleted_is_said() {
    let stage = stage();
    let name = stage.stored().into_keys().find(|name| name.contains("/snapshots/")).unwrap();
    let file = stage.at("fermata-data").join(&name);
    let manifest = std::fs::read(&file).unwrap();
    std::fs::write(&file, "{").unwrap();
    let before = stage.stored();
    stage
        .fermata("snapshots prune acme --keep last=1 --yes")
        .run()
        .error(1, &["no chunk was deleted", &name]);
    assert_eq!(stage.changed_since(&before), [""; 0]);
    std::fs::write(&file, manifest).unwrap();
    stage.fermata("snapshots prune acme --keep weekly").run().error(2, &["weekly", "daily=7"]);
    stage.fermata("snapshots prune nobody").run().error(2, &["there is no tenant nobody"]);
    stage.fermata("snapshots prune").run().error(2, &["--all"]);
    let said = stage.fermata("snapshots prune acme nobody --keep last=9 --json").run();
    said.error(2, &["there is no tenant nobody"]);
}
