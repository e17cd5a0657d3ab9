//! A token that may not read everything: a snapshot with gaps, each with its reason, and `token check` says the same.

use std::collections::BTreeMap;

use serde_json::Value;
use tempo_sim::{Family, TokenSpec};

use crate::stage::{Stage, TENANT, site};

/// Entities that are not read, with the reason for each.
fn gaps(entities: &Value, is_gap: impl Fn(&Value) -> bool) -> BTreeMap<String, String> {
    let entities = entities.as_array().into_iter().flatten().filter(|entry| is_gap(entry));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    entities.map(|entry| (text(&entry["entity"]), text(&entry["reason"]))).collect()
}

/// Backs up with such a token; the gaps that the backup, the snapshot and the check tell of.
fn restricted(spec: TokenSpec) -> [BTreeMap<String, String>; 3] {
    let stage = Stage::of(site().token(spec)).ready();
    let backup = stage.fermata("backup acme --json").run().code(3).json();
    assert_eq!(backup["tenants"][0]["status"], "partial");
    let told = gaps(&backup["tenants"][0]["entities"], |entry| entry["status"] != "complete");
    let snapshot = stage.fermata("snapshots show acme --json").run().code(0).json();
    assert_eq!(snapshot["status"], "partial");
    let kept = gaps(&snapshot["entities"], |entry| entry["status"] != "complete");
    let check = stage.fermata("token check acme --json").run().code(3).json();
    assert_eq!((&check["ok"], &check["tenant"]), (&false.into(), &TENANT.into()));
    let seen = gaps(&check["entities"], |entry| entry["readable"] == false);
    // What is there is whole all the same, and is exported.
    stage.fermata("snapshots verify acme --data").run().code(0);
    stage.fermata("export acme --out out").run().code(3);
    // A person is told too.
    let said = stage.fermata("backup acme").run().code(3);
    assert!(said.stdout.contains("PARTIAL: "), "{said:?}");
    let said = stage.fermata("snapshots list acme").run().code(0).stdout;
    assert_eq!(said.matches("PARTIAL").count(), 2, "{said}");
    let said = stage.fermata("doctor").run().code(0).stdout;
    assert!(said.contains("partial") && said.contains("fermata snapshots show acme"), "{said}");
    [told, kept, seen]
}

#[test]
fn what_a_scope_does_not_cover_is_a_gap_with_its_grant() {
    let mut spec = TokenSpec::full(1);
    spec.deny = [Family::Audit, Family::Financial, Family::Schemes].into();
    let [told, kept, seen] = restricted(spec);
    assert_eq!(told, kept);
    assert!(
        told.len() > 20 && told.contains_key("audit-events") && told.contains_key("holidays"),
        "{told:?}"
    );
    assert!(!told.contains_key("worklogs"));
    // Of a child nobody knows before its parent is read; each parent is in both.
    for (entity, reason) in &seen {
        assert!(told.contains_key(entity), "token check says {entity}, the backup does not");
        assert!(reason.contains("403") && reason.contains("; grant the token "), "{entity}: {reason}");
    }
    for (entity, reason) in &told {
        let granted = reason.contains("grant the token ");
        let orphaned = reason.contains("could not be read") || reason.contains("could not all be read");
        assert!(granted || orphaned, "{entity}: {reason}");
        assert!(granted == seen.contains_key(entity), "{entity}: {reason}");
    }
    assert!(told["projects"].contains("Financial Manager projects scope"), "{told:?}");
}

#[test]
fn what_a_token_that_may_only_view_misses_is_as_the_page_says() {
    let mut spec = TokenSpec::full(1);
    spec.view_only = true;
    let [told, kept, seen] = restricted(spec);
    assert_eq!(told, kept);
    // Of what hangs on a list that is not whole nobody can say before whether it misses anything.
    let children: BTreeMap<_, _> = told.iter().filter(|(entity, _)| !seen.contains_key(*entity)).collect();
    assert!(children.values().all(|reason| reason.contains("could not all be read")), "{children:?}");
    assert!(seen.keys().all(|entity| told.contains_key(entity)), "{seen:?}");
    let page = std::fs::read_to_string(crate::root().join("docs/tempo-token.md")).unwrap();
    let (_, section) = page.split_once("## What a token that may only view misses").unwrap();
    let section = section.split("##").next().unwrap_or_default();
    for entity in told.keys() {
        assert!(section.contains(&format!("`{entity}`")), "docs/tempo-token.md does not name {entity}");
    }
}

#[test]
fn what_is_left_out_on_purpose_is_no_gap() {
    let mut spec = TokenSpec::full(1);
    spec.deny = [Family::Audit].into();
    let stage = Stage::of(site().token(spec)).ready();
    stage.fermata("tenant set acme --without audit-events").run().code(0);
    stage.fermata("token check acme").run().code(0);
    let document = stage.fermata("backup acme --json").run().code(0).json();
    assert_eq!(document["tenants"][0]["status"], "complete");
    let shown = stage.fermata("snapshots show acme").run().code(0).stdout;
    assert!(
        shown.lines().any(|line| line.starts_with("audit-events") && line.contains("left out")),
        "{shown}"
    );
}
