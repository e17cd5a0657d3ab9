//! Who may sign in on the page: the users file and the commands that change it, and where the page refuses to start.

use serde_json::json;

use crate::stage::Stage;

const PASSWORD: &str = "correct horse battery";

#[test]
fn people_are_added_changed_and_taken_out() {
    let stage = Stage::new();
    let set =
        |line: &str| stage.fermata(&format!("user set {line} --json")).stdin(PASSWORD).run().code(0).json();
    let ann = json!({"schema": 1, "name": "ann", "role": "admin", "tenants": null, "password": true, "api_key": false});
    assert_eq!(set("ann --role admin"), ann);
    let bob = set("bob@example.com --role operator --tenant acme --tenant bolt --no-password");
    assert_eq!(json!([bob["tenants"], bob["password"]]), json!([["acme", "bolt"], false]));
    // What is not named stays.
    let before = stage.files(".")["fermata-users.toml"].clone();
    let viewer = set("ann --role viewer");
    assert_eq!(json!([viewer["role"], viewer["password"]]), json!(["viewer", true]));
    let bob = set("bob@example.com --role viewer");
    assert_eq!(json!([bob["tenants"], bob["password"]]), json!([["acme", "bolt"], false]));
    let after = stage.files(".")["fermata-users.toml"].clone();
    let password = |file: &[u8]| {
        let file = String::from_utf8(file.to_vec()).unwrap();
        file.lines().find(|line| line.starts_with("password")).map(str::to_owned)
    };
    assert!(password(&before).is_some() && password(&before) == password(&after));
    assert_eq!(set("bob@example.com --all-tenants")["tenants"], json!(null));
    // A new password, for whoever is there already.
    set("ann");
    assert_ne!(password(&stage.files(".")["fermata-users.toml"]), password(&before));
    let list = stage.fermata("user list --json").run().code(0).json();
    let names: Vec<_> = list["users"].as_array().unwrap().iter().map(|user| &user["name"]).collect();
    assert_eq!(json!(names), json!(["ann", "bob@example.com"]));
    assert_eq!(list["groups"], json!([]));
    stage.fermata("user remove ann").run().code(0);
    stage.fermata("user remove ann").run().error(2, &["there is no ann", "fermata user list"]);
}

#[test]
fn a_key_is_shown_once_and_only_its_digest_is_kept() {
    let stage = Stage::new();
    stage.fermata("user set ci --role viewer --no-password").run().code(0);
    let key = stage.fermata("user key ci").run().code(0);
    assert!(key.stdout.starts_with("fmk_") && key.stdout.trim().len() == 47, "{}", key.stdout);
    let file = String::from_utf8(stage.files(".")["fermata-users.toml"].clone()).unwrap();
    assert!(file.contains("api_key = \"") && !file.contains(key.stdout.trim()), "{file}");
    let again = stage.fermata("user key ci --json").run().code(0);
    assert_ne!(again.json()["api_key"], key.stdout.trim());
    assert!(again.stderr.contains("good for nothing"), "{}", again.stderr);
    stage.fermata("user key nobody").run().error(2, &["there is no nobody"]);
}

#[test]
fn mistakes_are_said_and_change_nothing() {
    let stage = Stage::new();
    let set = |line: &str, stdin: &str| stage.fermata(&format!("user set {line}")).stdin(stdin).run();
    set("ann", PASSWORD).error(2, &["there is no ann yet", "--role"]);
    set("ann --role admin", "short").error(2, &["at least 12 characters", "--no-password"]);
    set("ann --role admin", "").error(2, &["at least 12 characters"]);
    set("ann --role root", PASSWORD).error(2, &["root", "viewer, operator, admin"]);
    assert!(!stage.at("fermata-users.toml").exists());
    stage.fermata("user list").run().error(2, &["fermata-users.toml"]);
    stage.write("wrong.toml", "[users.ann]\nrole = \"root\"\n[users.bob]\npassword = \"hunter2\"\n");
    let wrong = stage.fermata("user list --users wrong.toml").run().code(2).stderr;
    for part in ["users.ann: role is none of", "users.bob: password is no hash", "users.bob: has no role"] {
        assert!(wrong.contains(part), "{wrong}");
    }
    stage.fermata("user set carl --role admin --users wrong.toml").stdin(PASSWORD).run().code(2);
    assert!(!String::from_utf8(stage.files(".")["wrong.toml"].clone()).unwrap().contains("carl"));
}

#[test]
fn a_page_that_nobody_or_anybody_could_enter_does_not_start() {
    let stage = Stage::new().ready();
    let start = |line: &str| stage.fermata(&format!("dashboard {line}")).run();
    start("--listen 0.0.0.0:0").error(2, &["can be reached from elsewhere", "fermata user set"]);
    start("--listen 127.0.0.1:0 --users nowhere.toml").error(2, &["nowhere.toml"]);
    stage.fermata("user set ann --role admin --no-password").run().code(0);
    start("--listen 127.0.0.1:0").error(2, &["nobody in the users file could sign in"]);
    let provider = stage.fermata("dashboard").env("FERMATA_OIDC_ISSUER", "https://login.example.com");
    provider.run().error(2, &["FERMATA_OIDC_CLIENT_ID", "belong together"]);
}
