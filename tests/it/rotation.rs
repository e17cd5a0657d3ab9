//! `fermata key rotate`, as an operator gives it.

use serde_json::json;

use crate::documents::shape_of;
use crate::stage::Stage;

#[test]
fn a_new_key_takes_over_in_the_middle_of_a_backup() {
    let stage = Stage::new().ready();
    stage.fermata("backup acme").run().code(0);
    let first = stage.fermata("snapshots list acme --json").run().code(0).json();
    let first = first["snapshots"][0]["snapshot"].as_str().unwrap().to_owned();
    let whole = stage.exported();
    stage.sim.reset_ledger();
    let backup = stage.fermata("backup acme --full").start();
    stage.wait_for_requests(40);
    backup.kill();
    std::fs::copy(stage.at("fermata.key"), stage.at("old.key")).unwrap();

    let said = stage.fermata("key rotate --json").run().code(0).json();
    let shape = json!({
        "schema": "number", "seq": "number", "key_file": "text", "worker_recipient": "text", "recipients": ["text"],
        "tokens": "number", "failed": ["nothing"],
    });
    assert_eq!(shape_of(&said), shape);
    assert_eq!((&said["seq"], &said["tokens"]), (&json!(1), &json!(1)));
    assert_eq!(said["recipients"], json!([said["worker_recipient"]]));
    let keys = std::fs::read_to_string(stage.at("fermata.key")).unwrap();
    let old = std::fs::read_to_string(stage.at("old.key")).unwrap();
    assert!(keys.ends_with(&old) && keys.len() > old.len(), "the old key comes after the new one");

    let backup = stage.fermata("backup acme --full --json").run().code(0).json();
    assert_eq!(backup["tenants"][0]["resumed"], true);
    stage.fermata("snapshots verify acme --data").run().code(0);
    stage.fermata(&format!("snapshots verify acme --data --snapshot {first}")).run().code(0);
    assert!(stage.exported() == whole);
    stage.fermata("token check acme").run().code(0);
    stage.fermata("doctor").run().code(0);
    let refused = stage.fermata("backup acme").env("FERMATA_KEY_FILE", "old.key").run();
    refused.error(2, &["the keys of this vault were replaced", "fermata key rotate"]);
    let text = stage.fermata("key rotate").run().code(0).stdout;
    assert!(text.contains("1 token is sealed anew") && text.contains("keep a copy"), "{text}");
}

#[test]
fn a_key_file_that_cannot_be_written_stops_it_before_anything_is_done() {
    let stage = Stage::new().ready();
    std::fs::create_dir(stage.at("fermata.key.new")).unwrap();
    let before = stage.stored();
    stage.fermata("key rotate").run().error(2, &["fermata.key cannot be used"]);
    assert_eq!(stage.changed_since(&before), [""; 0]);
}
