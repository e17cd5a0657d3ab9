//! A snapshot is proved as it is stored: its signature, the one before it, and the chunks that are drawn.

use std::collections::BTreeSet;

use fermata_core::manifest::Manifest;
use fermata_core::settings::Settings;
use fermata_vault::{Depth, Flaw, Report, Vault, VaultError};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::job::{Room, acme, back_up, now, page, pages, run};

const FIRST: &str = "aaaaaa";
const LAST: &str = "bbbbbb";

async fn verify(vault: &Vault, tail: &str, depth: Depth) -> Result<Report, VaultError> {
    vault.verify_snapshot(&acme(), &run(tail), depth, &|_| {}).await.map(Option::unwrap)
}

fn manifest_key(tail: &str) -> Path {
    Path::from(format!("tenants/acme/snapshots/{}.json", run(tail)))
}

async fn bytes(room: &Room, key: &Path) -> Vec<u8> {
    room.store.inner().get(key).await.unwrap().bytes().await.unwrap().to_vec()
}

async fn replace(room: &Room, key: &Path, bytes: Vec<u8>) {
    room.store.inner().put(key, bytes.into()).await.unwrap();
}

/// Two snapshots; all chunks of the second are the first's but for those of a page more.
async fn room_with_two() -> Room {
    let room = Room::in_memory().await;
    room.vault.save_settings(Settings::new(acme(), now()), now()).await.unwrap();
    back_up(&room.vault, &run(FIRST), &pages(), &mut 0).await.unwrap();
    let mut more = pages();
    more.push(page(9, 5));
    back_up(&room.vault, &run(LAST), &more, &mut 0).await.unwrap();
    room
}

/// What is wrong, by object.
fn flaws(report: &Report) -> Vec<(&str, &Flaw)> {
    report.problems.iter().map(|problem| (problem.object.as_str(), &problem.what)).collect()
}

#[tokio::test]
async fn a_good_snapshot_is_good() {
    let room = room_with_two().await;
    for depth in [Depth::Structure, Depth::Sample { share: 0.5, seed: 7 }, Depth::Data] {
        for tail in [FIRST, LAST] {
            let report = verify(&room.vault, tail, depth).await.unwrap();
            assert_eq!((flaws(&report), report.ok), (vec![], true));
            assert_eq!((report.data, report.notes), (depth == Depth::Data, vec![]));
        }
    }
    let none = room.vault.verify_snapshot(&acme(), &run("cccccc"), Depth::Data, &|_| {}).await.unwrap();
    assert_eq!(none, None);
    let keyless = room.open([]).await.unwrap();
    assert!(verify(&keyless, LAST, Depth::Structure).await.unwrap().ok, "signatures need no key");
    assert!(matches!(verify(&keyless, LAST, Depth::Data).await, Err(VaultError::NeedsKey { .. })));
}

/// Whether a verification names an object.
async fn names(vault: &Vault, tail: &str, key: &Path) -> bool {
    match verify(vault, tail, Depth::Data).await {
        Ok(report) => !report.ok && report.problems.iter().any(|found| found.object == key.as_ref()),
        Err(error) => error.to_string().starts_with(key.as_ref()),
    }
}

/// One bit of each object at a time, and of long ones another one each time.
#[tokio::test]
async fn a_flipped_bit_in_any_object_of_a_snapshot_is_found() {
    let room = room_with_two().await;
    let found: Vec<_> = room.store.inner().list(None).try_collect().await.unwrap();
    let mut not_covered = BTreeSet::new();
    let mut tried = 0;
    for key in found.into_iter().map(|found| found.location) {
        let good = bytes(&room, &key).await;
        for bit in (0..good.len() * 8).step_by(41) {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            replace(&room, &key, flipped).await;
            // As a process that opens the vault anew; one that cannot has found it.
            let is_found = match room.open([room.worker.clone()]).await {
                Ok(vault) => names(&vault, FIRST, &key).await || names(&vault, LAST, &key).await,
                Err(error) => {
                    error.to_string().contains(key.as_ref()) || matches!(error, VaultError::WrongKey { .. })
                }
            };
            tried += 1;
            if !is_found {
                not_covered.insert(key.to_string());
            }
        }
        replace(&room, &key, good).await;
    }
    assert!(tried > 500, "{tried} bits");
    assert_eq!(not_covered, [].into());
    assert!(verify(&room.vault, LAST, Depth::Data).await.unwrap().ok);
}

#[tokio::test]
async fn a_changed_manifest_is_found_and_not_used() {
    let room = room_with_two().await;
    let good = bytes(&room, &manifest_key(LAST)).await;
    let text = String::from_utf8(good).unwrap();
    let unsigned: String =
        text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 1).map(|(_, line)| line).collect();
    for changed in [text.replace("http://127.0.0.1", "http://127.0.0.2"), unsigned, text.replace("  ", " ")] {
        replace(&room, &manifest_key(LAST), changed.into_bytes()).await;
        let report = verify(&room.vault, LAST, Depth::Structure).await.unwrap();
        assert_eq!(flaws(&report), [(manifest_key(LAST).as_ref(), &Flaw::Signature)]);
        let advice = format!("{} is the newest whole one", run(FIRST));
        assert!(report.problems[0].salvage.contains(&advice), "{:?}", report.problems);
        let refused = room.vault.manifest(&acme(), &run(LAST)).await.unwrap_err();
        assert!(refused.to_string().contains("its signature does not fit"), "{refused}");
    }
    // Another vault's manifest, rightly signed there.
    let other = room_with_two().await;
    replace(&room, &manifest_key(LAST), bytes(&other, &manifest_key(LAST)).await).await;
    let report = verify(&room.vault, LAST, Depth::Structure).await.unwrap();
    assert_eq!(report.problems[0].what, Flaw::Signature);
    // Another snapshot's under this name.
    let first = bytes(&room, &manifest_key(FIRST)).await;
    replace(&room, &manifest_key(LAST), first).await;
    let report = verify(&room.vault, LAST, Depth::Structure).await.unwrap();
    assert_eq!(report.problems[0].what.to_string(), "it holds the manifest of another snapshot");
    replace(&room, &manifest_key(LAST), b"{".to_vec()).await;
    let report = verify(&room.vault, LAST, Depth::Structure).await.unwrap();
    assert!(matches!(report.problems[1].what, Flaw::Document(_)), "{:?}", report.problems);
}

#[tokio::test]
async fn a_snapshot_that_was_exchanged_is_found_by_the_next() {
    let room = room_with_two().await;
    let stored: Manifest = room.vault.manifest(&acme(), &run(LAST)).await.unwrap().unwrap();
    assert_eq!(stored.previous.as_ref().unwrap().run, run(FIRST));
    // The workers' own signature under another document of this name.
    room.store.inner().delete(&manifest_key(FIRST)).await.unwrap();
    let report = verify(&room.vault, LAST, Depth::Structure).await.unwrap();
    let note = format!("the snapshot before it, {}, is gone: pruned or removed", run(FIRST));
    assert_eq!((report.ok, report.notes), (true, vec![note]), "that is what a prune does");
    let exchanged = Manifest { run: run(FIRST), previous: None, ..stored };
    room.vault.write_manifest(&exchanged).await.unwrap();
    let report = verify(&room.vault, LAST, Depth::Structure).await.unwrap();
    assert_eq!(flaws(&report), [(manifest_key(FIRST).as_ref(), &Flaw::Previous(run(FIRST)))]);
}

#[tokio::test]
async fn what_can_be_had_elsewhere_is_said() {
    let room = room_with_two().await;
    let last = room.vault.manifest(&acme(), &run(LAST)).await.unwrap().unwrap();
    let first = room.vault.manifest(&acme(), &run(FIRST)).await.unwrap().unwrap();
    let shared: BTreeSet<&str> = first.chunks().map(|chunk| chunk.name.as_str()).collect();
    let own = last.chunks().find(|chunk| !shared.contains(chunk.name.as_str())).unwrap();
    let key = |name: &str| Path::from(format!("tenants/acme/chunks/{name}"));
    let good = bytes(&room, &key(&own.name)).await;
    room.store.inner().delete(&key(&own.name)).await.unwrap();
    let report = verify(&room.vault, LAST, Depth::Data).await.unwrap();
    let advice = format!(
        "; no flaw was found in its other {} chunks; snapshot {first} has worklogs whole: fermata export acme --snapshot {first} --entity worklogs",
        last.chunks().count() - 1,
        first = run(FIRST),
    );
    assert!(report.problems[0].salvage.ends_with(&advice), "{:?}", report.problems);
    // One that both have.
    replace(&room, &key(&own.name), good).await;
    replace(&room, &key(&first.chunks().next().unwrap().name), b"x".to_vec()).await;
    let report = verify(&room.vault, LAST, Depth::Data).await.unwrap();
    assert!(
        report.problems[0].salvage.ends_with("; no other snapshot has worklogs whole"),
        "{:?}",
        report.problems
    );
}

#[tokio::test]
async fn stored_bytes_are_checked_without_any_key() {
    let room = room_with_two().await;
    let keyless = room.open([]).await.unwrap();
    let report = verify(&keyless, LAST, Depth::Stored).await.unwrap();
    assert_eq!((report.ok, report.data, report.ids, report.read), (true, false, false, report.chunks));
    let last = room.vault.manifest(&acme(), &run(LAST)).await.unwrap().unwrap();
    let key = Path::from(format!("tenants/acme/chunks/{}", last.chunks().next().unwrap().name));
    let mut changed = bytes(&room, &key).await;
    changed[9] ^= 1;
    replace(&room, &key, changed).await;
    assert!(verify(&keyless, LAST, Depth::Structure).await.unwrap().ok, "its size is as it was");
    let report = verify(&keyless, LAST, Depth::Stored).await.unwrap();
    assert_eq!(flaws(&report), [(key.as_ref(), &Flaw::Hash)]);
}

#[tokio::test]
async fn a_sample_reads_some_and_others_with_another_seed() {
    let room = room_with_two().await;
    let last = room.vault.manifest(&acme(), &run(LAST)).await.unwrap().unwrap();
    let bad = last.chunks().next().unwrap();
    let key = Path::from(format!("tenants/acme/chunks/{}", bad.name));
    let mut changed = bytes(&room, &key).await;
    changed[9] ^= 1;
    replace(&room, &key, changed).await;
    let chunks = last.chunks().count() as u64;
    let mut found = BTreeSet::new();
    for seed in 0..40 {
        let report = verify(&room.vault, LAST, Depth::Sample { share: 0.05, seed }).await.unwrap();
        assert_eq!(
            (report.read, report.seed, report.chunks),
            (1, Some(seed), chunks),
            "at least one of each entity"
        );
        let again = verify(&room.vault, LAST, Depth::Sample { share: 0.05, seed }).await.unwrap();
        assert_eq!(report, again);
        found.insert(report.ok);
    }
    assert_eq!(found, [false, true].into(), "some seeds hit it and some do not");
    for (share, read) in [(0.5, chunks.div_ceil(2)), (1.0, chunks)] {
        let report = verify(&room.vault, LAST, Depth::Sample { share, seed: 1 }).await.unwrap();
        assert_eq!(report.read, read);
    }
}
