//! The real program with its vault in a bucket: killed, refused, lied to, and two at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_vault::azurite::{Azurite, CONTAINER};
use fermata_vault::fake::{BUCKET, Fake, Manners, Refusal};

use crate::stage::{Stage, TENANT, signal, site};

/// Jobs of one tenant that work at a time: so many pages may be asked for again.
const JOBS_AT_ONCE: u64 = 6;

/// A stage on which answers take long enough to be interrupted; what a backup to a folder asks, and its records.
fn stage() -> (Stage, u64, BTreeMap<String, Vec<String>>) {
    let stage = Stage::of(site().latency(Duration::from_millis(4))).ready();
    stage.sim.reset_ledger();
    stage.fermata("backup acme").run().code(0);
    let whole = stage.sim.ledger().total.requests;
    let expect = stage.exported();
    (stage, whole, expect)
}

/// A vault with the tenant, where the stage has moved to.
fn settle(stage: &Stage) {
    stage.fermata("init").run().code(0);
    stage.add_tenant(TENANT, 1);
    stage.sim.reset_ledger();
}

/// Goes on with what was interrupted, and has it all.
fn finish(stage: &Stage, whole: u64, expect: &BTreeMap<String, Vec<String>>) {
    let list = stage.fermata("snapshots list acme --json").run().code(0).json();
    assert_eq!(list["snapshots"].as_array().map(Vec::len), Some(0));
    let tenant = stage.fermata("backup acme --json").run().code(0).json()["tenants"][0].take();
    assert_eq!((&tenant["resumed"], &tenant["status"]), (&true.into(), &"complete".into()));
    let requests = stage.sim.ledger().total.requests;
    assert!(requests <= whole + JOBS_AT_ONCE, "{requests} requests instead of {whole}");
    assert!(stage.exported() == *expect, "the records are not the same");
    stage.fermata("snapshots verify acme --data").run().code(0);
}

fn killed_half_way(stage: &Stage, whole: u64, expect: &BTreeMap<String, Vec<String>>) {
    settle(stage);
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(whole / 2);
    backup.kill().killed();
    finish(stage, whole, expect);
}

#[test]
fn killed_in_a_bucket_it_goes_on_and_loses_nothing() {
    let (mut stage, whole, expect) = stage();
    for scheme in ["s3", "gs"] {
        let fake = stage.block_on(Fake::start(Manners::Exact)).unwrap();
        let url = format!("{scheme}://{BUCKET}/backups/tempo");
        if scheme == "gs" {
            stage.move_to(&url, fake.google("key"));
        } else {
            stage.move_to(&url, fake.amazon("key"));
        }
        killed_half_way(&stage, whole, &expect);
        let left = fake.names().into_iter().filter(|name| name.contains("/runs/")).count();
        assert_eq!(left, 0, "{:?}", fake.names());
        assert!(fake.names().iter().all(|name| name.starts_with("backups/tempo/")));
    }
}

#[test]
fn killed_in_a_container_of_azure_it_goes_on_and_loses_nothing() {
    let (mut stage, whole, expect) = stage();
    let azurite = stage.block_on(Azurite::start()).unwrap();
    stage.move_to(&format!("az://{CONTAINER}/tempo"), azurite.variables());
    killed_half_way(&stage, whole, &expect);
}

#[test]
fn credentials_that_expire_under_way_are_said_and_new_ones_go_on() {
    let (mut stage, whole, expect) = stage();
    let fake = stage.block_on(Fake::start(Manners::Exact)).unwrap();
    let url = format!("s3://{BUCKET}");
    stage.move_to(&url, fake.amazon("key"));
    settle(&stage);
    let backup = stage.fermata("backup acme").start();
    stage.wait_for_requests(whole / 2);
    fake.refuse("key", Some(Refusal::Expired));
    let words =
        ["the store does not take the credentials: HTTP 400 ExpiredToken", "give the same command again"];
    let said = backup.wait().error(2, &words).stderr;
    assert!(!said.contains("the-session-token"), "{said}");
    stage.fermata("backup acme").run().error(2, &words);
    stage.move_to(&url, fake.amazon("new"));
    finish(&stage, whole, &expect);
}

#[test]
fn of_two_backups_in_a_bucket_that_overlap_one_is_told_of_the_other() {
    let (mut stage, _, expect) = stage();
    let fake = stage.block_on(Fake::start(Manners::Exact)).unwrap();
    stage.move_to(&format!("s3://{BUCKET}"), fake.amazon("key"));
    settle(&stage);
    // A folder has a lock for this; here the second finds the run of the first, and goes on with it too.
    let first = stage.fermata("backup acme --json").start();
    stage.wait_for_requests(20);
    signal(first.id(), "STOP");
    let asked = stage.sim.ledger().total.requests;
    let second = stage.fermata("backup acme --json").start();
    stage.wait_for_requests(asked + 10);
    signal(first.id(), "CONT");
    let list = || stage.fermata("snapshots list acme --json").run().code(0).json()["snapshots"].take();
    let ended = [first, second].map(crate::stage::Running::wait);
    let list = list();
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let snapshot = list[0]["snapshot"].as_str().unwrap_or_default();
    let (done, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(crate::stage::Ended::is_done);
    assert_eq!((done.len(), refused.len()), (1, 1));
    for refused in refused {
        let told = refused.code(1).json()["tenants"][0].take();
        let why = told["reason"].as_str().unwrap_or_default();
        assert!(why.contains("at the same time") && why.contains(snapshot), "{told}");
    }
    assert!(stage.exported() == expect, "the records are not the same");
    stage.fermata("snapshots verify acme --data").run().code(0);
}

#[test]
fn two_backups_in_a_bucket_that_begin_together_are_whole() {
    let (mut stage, _, expect) = stage();
    let fake = stage.block_on(Fake::start(Manners::Exact)).unwrap();
    stage.move_to(&format!("s3://{BUCKET}"), fake.amazon("key"));
    settle(&stage);
    for backup in [(); 2].map(|()| stage.fermata("backup acme").start()) {
        let ended = backup.wait();
        assert!(
            ended.is_done() || ended.stdout.is_empty() && ended.stderr.contains("at the same time"),
            "{ended:?}"
        );
    }
    // One, or where neither saw the other's plan two.
    let list = stage.fermata("snapshots list acme --json").run().code(0).json();
    for snapshot in list["snapshots"].as_array().into_iter().flatten() {
        let name = snapshot["snapshot"].as_str().unwrap_or_default();
        stage.fermata(&format!("snapshots verify acme --data --snapshot {name}")).run().code(0);
    }
    assert!(stage.exported() == expect, "the records are not the same");
}

#[test]
fn a_bucket_that_lies_is_for_one_writer_and_no_fleet() {
    let (mut stage, _, expect) = stage();
    for (manners, verdict) in [(Manners::Racy, "racy"), (Manners::Blind, "ignored")] {
        let fake = stage.block_on(Fake::start(manners)).unwrap();
        stage.move_to(&format!("s3://{BUCKET}"), fake.amazon("key"));
        let words = [format!("create-if-absent is {verdict}"), "--single-writer".to_owned()];
        stage.fermata("init").run().error(2, &words.each_ref().map(String::as_str));
        assert_eq!(fake.names(), [""; 0]);
        stage.fermata("init --single-writer").run().code(0);
        stage.add_tenant(TENANT, 1);
        stage.fermata("backup acme").run().code(0);
        assert!(stage.exported() == expect, "the records are not the same");
        for line in ["worker", "scheduler", "enqueue acme", "reconcile", "jobs list"] {
            // Nobody is at that address, and nobody is asked.
            let call = stage.fermata(line).env("FERMATA_REDIS", "redis://127.0.0.1:9");
            call.run().error(2, &["made for a single writer", "fermata backup"]);
        }
    }
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_in_one_line() {
    let mut stage = Stage::new();
    let fake = stage.block_on(Fake::start(Manners::Exact)).unwrap();
    fake.refuse("reader", Some(Refusal::ReadOnly));
    fake.refuse("unknown", Some(Refusal::Unknown));
    let bucket = format!("s3://{BUCKET}");
    for (store, key, code, words) in [
        (bucket.as_str(), "reader", 1, ["the store refuses access to probe/", "the right to write there"]),
        (&bucket, "unknown", 2, ["does not take the credentials: HTTP 403 InvalidAccessKeyId", "good ones"]),
        ("s3://nowhere", "key", 2, ["there is no bucket or container of that name", "--store"]),
        ("s3://elsewhere", "key", 2, ["the bucket is in another region", "AWS_REGION"]),
        ("s3://key:secret@bucket", "key", 2, ["\"s3://...@bucket\" is no store", "the environment has them"]),
        (
            "gs://bucket",
            "key",
            2,
            ["the store cannot be used: GOOGLE_APPLICATION_CREDENTIALS", "docs/storage.md"],
        ),
        ("az://bucket", "key", 2, ["AZURE_STORAGE_ACCOUNT names the storage account", "docs/storage.md"]),
    ] {
        stage.move_to(store, fake.amazon(key));
        let call = stage.fermata("init").env("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json");
        let said = call.run().error(code, &words);
        assert!(!said.stderr.contains("secret") && !said.stdout.contains("secret"), "{said:?}");
    }
    stage.move_to(&bucket, fake.amazon("key"));
    stage.fermata("tenant list").run().error(2, &["s3://bucket: there is no vault here"]);
    // What the environment says is in no document and no log.
    stage.fermata("init").run().code(0);
    let ended = stage.fermata("doctor --json").env("FERMATA_LOG", "trace").run().code(0);
    assert!(!ended.stderr.contains("the-secret-half") && !ended.stdout.contains("the-secret-half"));
}
