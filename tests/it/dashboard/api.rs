//! The API, asked by Schemathesis whatever its description allows and much that it does not.

use std::path::PathBuf;
use std::process::Command;

use super::Served;
use crate::fleet::Fleet;
use crate::stage::site;

/// How long it asks.
const SECONDS: &str = "20";
/// What asks others than this machine: of a tenant that it made up, Tempo itself.
const LEFT_OUT: &str = "PUT /tenants/{tenant}/token";
/// That all is taken which the description allows: it cannot say what a time zone is, and counts 1.0 among the integers.
const UNCHECKED: &str = "positive_data_acceptance";

#[test]
fn the_api_does_what_its_description_says() {
    let fleet = Fleet::start(site(), 2, 1_000.0);
    fleet.fermata("user set robot --role admin --no-password").run().code(0);
    let key = fleet.fermata("user key robot").run().code(0).stdout;
    let served = Served::start(&fleet.stage, |arguments| fleet.fermata(arguments));
    let output = Command::new(installed())
        .args(["run", &format!("http://{}/api/v1/openapi.json", served.host)])
        .args(["--header", &format!("Authorization: Bearer {}", key.trim())])
        .args(["--checks", "all", "--exclude-checks", UNCHECKED, "--mode", "all", "--continue-on-failure"])
        .args(["--exclude-name", LEFT_OUT, "--max-time", SECONDS, "--seed", "1"])
        .args(["--generation-database", "none", "--no-color"])
        .current_dir(fleet.stage.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Where `./test` puts it, beside what cargo builds.
fn installed() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let mut found = test.ancestors().map(|folder| folder.join("schemathesis/bin/schemathesis"));
    found.find(|file| file.exists()).expect("schemathesis is not installed; `./test` does it")
}
