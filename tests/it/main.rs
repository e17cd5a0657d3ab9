#![doc = include_str!("../README.md")]

mod alerts;
mod broken_stores;
mod browser;
mod buckets;
mod by_hand;
mod catalogue;
mod chaos;
mod dashboard;
mod deploy;
mod documents;
mod fleet;
mod fleet_commands;
mod image;
mod interrupted;
mod looking;
mod mistakes;
mod page;
mod page_failures;
mod page_snapshots;
mod papers;
mod program;
mod pruning;
mod readme;
mod recorded;
mod recovery;
mod rollout;
mod rotation;
mod scopes;
mod secrets;
mod stage;
mod tables;
mod tidy;
mod tls;
mod traces;
mod truth;
mod users;

use std::path::Path;

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package stands in the workspace's folder")
}

/// Fails with all problems at once, so that one run shows what there is to mend.
fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}
