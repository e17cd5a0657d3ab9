//! Neither a token nor a record's text is where it does not belong, with the log as loud as it gets.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tempo_sim::{Fault, FaultKind, TokenSpec};

use crate::assert_none;
use crate::stage::{Ended, Stage, site};

/// Shorter words may be there by chance.
const WORD_CHARS_MIN: usize = 8;
/// Members whose text is a person's or a customer's, or a secret.
const PRIVATE: [&str; 5] = ["description", "accountId", "email", "emailAddress", "sharedSecret"];

/// A token that no other text holds.
pub(crate) const TOKEN: &str = "s3cr3t-AbCdEfGhIjKlMnOpQrStUvWxYz-0123456789";

fn stage() -> Stage {
    let mut spec = TokenSpec::full(1);
    TOKEN.clone_into(&mut spec.token);
    Stage::of(site().token(spec).latency(Duration::from_millis(2)))
}

#[test]
fn no_token_and_no_record_is_stored_in_clear_or_logged() {
    let stage = stage();
    let mut spoken = Vec::new();
    let mut say = |ended: Ended| spoken.push(ended);
    let loud = |line: &str| stage.fermata(line).env("FERMATA_LOG", "trace").env("RUST_LOG", "trace");
    say(loud("init").run());
    say(loud(&format!("tenant add acme --rate 1000 --base-url {}", stage.sim.base_url())).run());
    say(loud("token set acme --log json").stdin(TOKEN).run());
    say(loud("token check acme").run());
    // Interrupted and with faults, since what goes wrong is what is logged.
    stage.sim.fault(Fault::status(500).path("/4/teams"));
    stage.sim.fault(Fault::new(FaultKind::Cut).path("/4/worklogs/search"));
    let backup = loud("backup acme").start();
    stage.wait_for_requests(150);
    say(backup.kill());
    let mut problems = Vec::new();
    let needles = needles(&stage);
    assert!(needles.len() > 200, "{needles:?}");
    // Checkpoints are there now, and swept later.
    look_at_the_store(&stage, &needles, &mut problems);
    stage.sim.clear_faults();
    say(loud("backup acme --log json").run().code(0));
    for line in
        ["snapshots verify acme --data", "export acme --out exported", "doctor", "tenant show acme --json"]
    {
        say(loud(line).run().code(0));
    }
    // A token that is refused is spoken of, too.
    stage.sim.restrict_token(TokenSpec { token: TOKEN.to_owned(), expired: true, ..TokenSpec::full(1) });
    say(loud("backup acme").run().code(4));
    say(loud("doctor").run().code(1));
    look_at_the_store(&stage, &needles, &mut problems);
    for ended in &spoken {
        for needle in needles.iter().map(String::as_str).chain([TOKEN]) {
            if ended.stdout.contains(needle) || ended.stderr.contains(needle) {
                problems.push(format!("{needle:?} is in {ended:?}"));
            }
        }
    }
    assert!(spoken.iter().any(|ended| ended.stderr.contains("TRACE") || ended.stderr.contains("DEBUG")));
    // The one secret that Tempo itself gives out is in no export either.
    let webhooks = std::fs::read_to_string(stage.at("exported/webhook-subscriptions.ndjson")).unwrap();
    assert!(webhooks.contains("[redacted]"), "{webhooks}");
    assert_none(&problems);
}

fn look_at_the_store(stage: &Stage, needles: &BTreeSet<String>, problems: &mut Vec<String>) {
    let stored = stage.stored();
    assert!(stored.len() > 20);
    for (name, bytes) in stored {
        let text = String::from_utf8_lossy(&bytes);
        for needle in needles.iter().map(String::as_str).chain([TOKEN]) {
            if text.contains(needle) || name.contains(needle) {
                problems.push(format!("{needle:?} is in {name}"));
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_token_is_to_be_seen_from_outside() {
    let stage = stage();
    stage.fermata("init").run().code(0);
    stage.fermata(&format!("tenant add acme --rate 1000 --base-url {}", stage.sim.base_url())).run().code(0);
    stage.sim.fault(Fault::new(FaultKind::Hang { seconds: 300.0 }).times(1_000));
    for line in ["token set acme", "backup acme"] {
        let running = stage.fermata(line).stdin(TOKEN).start();
        let asked = stage.sim.ledger().total.requests;
        stage.wait_for_requests(asked + 1);
        for file in ["cmdline", "environ"] {
            let seen = std::fs::read(format!("/proc/{}/{file}", running.id())).unwrap();
            assert!(!String::from_utf8_lossy(&seen).contains(TOKEN), "{line}: {file}");
        }
        running.kill().killed();
        stage.fermata("token set acme --no-check").stdin(TOKEN).run().code(0);
    }
}

#[test]
fn a_token_given_as_an_argument_is_not_taken() {
    let stage = stage().ready();
    for line in ["token set acme s3cr3t", "token set acme --token s3cr3t"] {
        stage.fermata(line).run().error(2, &["unexpected argument"]);
    }
}

/// The texts of private members of every record, and the secret halves of keys.
pub(crate) fn needles(stage: &Stage) -> BTreeSet<String> {
    let mut needles = BTreeSet::new();
    for entity in tempo_sim::ENTITIES {
        for record in stage.sim.truth(1, entity) {
            collect(&serde_json::from_str(&record).expect("records are JSON"), &mut needles);
        }
    }
    let key = std::fs::read_to_string(stage.at("fermata.key")).expect("there is a key");
    needles.extend(key.lines().filter(|line| line.starts_with("AGE-SECRET-KEY")).map(str::to_owned));
    needles
}

fn collect(value: &Value, needles: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text)
                        if PRIVATE.contains(&name.as_str()) && text.len() >= WORD_CHARS_MIN =>
                    {
                        needles.insert(text.clone());
                    }
                    _ => collect(member, needles),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, needles)),
        _ => {}
    }
}
