//! Snapshots go, and nothing of those that stay, whatever runs beside it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use fermata_core::manifest::{EntryStatus, Manifest, Status};
use fermata_core::names::RunId;
use fermata_core::retention::Policy;
use fermata_core::settings::Settings;
use fermata_vault::fault::{Fault, FaultStore, Halt, When};
use fermata_vault::{Pruning, Vault, VaultError};
use futures::TryStreamExt;
use jiff::tz::TimeZone;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::job::{
    ENTITY, Room, acme, back_up, expected, manifest_of, page, pages, plan_of, records, run, take_page,
};

/// Where a snapshot of these pages was made before the newest one, a backup of the same pages wants its chunks.
const OLD: &str = "aaaaaa";
const NEW: &str = "bbbbbb";
const UNDER_WAY: &str = "cccccc";

fn other_pages() -> Vec<Vec<String>> {
    (10..16).map(|number| page(number, 4)).collect()
}

/// Two snapshots that share nothing.
async fn room_with_two() -> Room {
    let room = Room::in_memory().await;
    back_up(&room.vault, &run(OLD), &pages(), &mut 0).await.unwrap();
    back_up(&room.vault, &run(NEW), &other_pages(), &mut 0).await.unwrap();
    room
}

/// A process of its own on the same objects.
async fn process(room: &Room) -> (FaultStore, Vault) {
    let store = FaultStore::new(room.store.inner().clone());
    let vault = Vault::open(Arc::new(store.clone()), [room.worker.clone()]).await.unwrap();
    store.reset();
    (store, vault)
}

async fn prune(vault: &Vault, act: bool) -> Result<Pruning, VaultError> {
    vault.prune(&acme(), &"last=1".parse().unwrap(), &TimeZone::UTC, act).await
}

async fn chunks(room: &Room) -> BTreeSet<String> {
    let folder = Path::from("tenants/acme/chunks");
    let found: Vec<_> = room.store.inner().list(Some(&folder)).try_collect().await.unwrap();
    found.into_iter().map(|found| found.location.filename().unwrap().to_owned()).collect()
}

async fn manifests(room: &Room) -> Vec<Manifest> {
    let mut all = Vec::new();
    for run in room.vault.snapshots(&acme()).await.unwrap() {
        all.push(room.vault.manifest(&acme(), &run).await.unwrap().unwrap());
    }
    all
}

/// Every snapshot that is left can be read, and when nothing runs a prune leaves nothing but them.
async fn assert_sound(room: &Room, why: &str) {
    for manifest in manifests(room).await {
        let report = room.vault.verify(&manifest, true, &|_| {}).await.unwrap();
        assert!(report.ok, "{why}: {}: {:?}", manifest.run, report.problems);
    }
    let last = prune(&room.vault, true).await.unwrap();
    assert_eq!(last.waits_for, [], "{why}");
    let left = manifests(room).await;
    assert_eq!(left.len(), 1, "{why}");
    let named: BTreeSet<String> = left[0].chunks().map(|chunk| chunk.name.clone()).collect();
    assert_eq!(chunks(room).await, named, "{why}");
}

fn run_of(vault: &Vault, tail: &str) -> impl Future<Output = Result<Manifest, VaultError>> + use<> {
    let (vault, run) = (vault.clone(), run(tail));
    async move { back_up(&vault, &run, &pages(), &mut 0).await }
}

#[tokio::test]
async fn a_look_changes_nothing_and_says_what_a_prune_does() {
    let room = room_with_two().await;
    let before = chunks(&room).await;
    let old: u64 = manifests(&room).await[0].chunks().map(|chunk| chunk.stored).sum();
    let look = prune(&room.vault, false).await.unwrap();
    assert_eq!((chunks(&room).await, manifests(&room).await.len()), (before, 2));
    assert_eq!(look.bytes, old);
    let stays: Vec<bool> = look.snapshots.iter().map(fermata_core::retention::Judgement::stays).collect();
    assert_eq!(stays, [false, true]);
    assert_eq!(prune(&room.vault, true).await.unwrap(), look);
    assert_eq!(records(&room.vault, &manifests(&room).await[0]).await, expected(&other_pages()));
    assert_sound(&room, "after it").await;
    let again = prune(&room.vault, true).await.unwrap();
    assert_eq!((again.chunks, again.bytes, again.snapshots.len()), (0, 0, 1), "nothing is left to do");
}

#[tokio::test]
async fn a_chunk_that_another_snapshot_names_stays() {
    let room = Room::in_memory().await;
    back_up(&room.vault, &run(OLD), &pages(), &mut 0).await.unwrap();
    back_up(&room.vault, &run(NEW), &pages(), &mut 0).await.unwrap();
    let pruned = prune(&room.vault, true).await.unwrap();
    assert_eq!((pruned.chunks, manifests(&room).await.len()), (0, 1));
    assert_sound(&room, "after it").await;
}

#[tokio::test]
async fn while_a_run_is_unfinished_its_chunks_and_all_others_stay() {
    let room = room_with_two().await;
    let vault = &room.vault;
    vault.create_run(&plan_of(run(UNDER_WAY))).await.unwrap();
    let before = chunks(&room).await;
    for act in [false, true] {
        let pruned = prune(vault, act).await.unwrap();
        assert_eq!(pruned.waits_for, [run(UNDER_WAY)]);
        assert_eq!(
            (chunks(&room).await, manifests(&room).await.len()),
            (before.clone(), 2 - usize::from(act))
        );
    }
    back_up(vault, &run(UNDER_WAY), &pages(), &mut 0).await.unwrap();
    assert_sound(&room, "once it is sealed").await;
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_stops_it_all() {
    let room = room_with_two().await;
    let key = Path::from(format!("tenants/acme/snapshots/{}.json", run(OLD)));
    let good = room.store.inner().get(&key).await.unwrap().bytes().await.unwrap();
    let newer = String::from_utf8(good.to_vec()).unwrap().replace("\"schema\": 1", "\"schema\": 9");
    for bad in [b"{".to_vec(), newer.into_bytes()] {
        room.store.inner().put(&key, bad.into()).await.unwrap();
        let before = chunks(&room).await;
        let refused = prune(&room.vault, true).await.unwrap_err();
        assert!(refused.to_string().starts_with(key.as_ref()), "{refused}");
        assert_eq!(chunks(&room).await, before);
    }
}

/// A manifest alone would leave its run's plan behind, which a backup would go on with.
#[tokio::test]
async fn what_a_crash_left_of_a_sealed_run_does_not_come_back_as_unfinished() {
    let room = room_with_two().await;
    room.vault.create_run(&plan_of(run(OLD))).await.unwrap();
    assert_eq!(prune(&room.vault, true).await.unwrap().waits_for, []);
    assert_eq!(room.vault.unfinished_runs(&acme()).await.unwrap(), []);
    assert_sound(&room, "after it").await;
}

#[tokio::test]
async fn superseded_settings_go_but_for_the_last() {
    let room = Room::in_memory().await;
    let folder = Path::from("tenants/acme/settings");
    let name = |seq: u32| folder.clone().join(format!("{seq:06}.json"));
    let mut settings = Settings::new(acme(), crate::job::now());
    let mut older = Vec::new();
    for seq in 1..=5 {
        settings = room.vault.save_settings(settings, crate::job::now()).await.unwrap();
        older.push((name(seq), room.store.inner().get(&name(seq)).await.unwrap().bytes().await.unwrap()));
    }
    // As writers leave them that were killed between storing and deleting.
    for (key, document) in older {
        room.store.inner().put(&key, document.into()).await.unwrap();
    }
    assert_eq!(prune(&room.vault, true).await.unwrap().settings, 3);
    let found: Vec<_> = room.store.inner().list(Some(&folder)).try_collect().await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(room.vault.settings(&acme()).await.unwrap().unwrap().seq, 5);
}

#[tokio::test]
async fn what_the_store_does_not_let_go_is_counted() {
    let room = room_with_two().await;
    let (store, vault) = process(&room).await;
    store.refuse_writes(Some(io::ErrorKind::PermissionDenied));
    let pruned = prune(&vault, true).await.unwrap();
    assert_eq!((pruned.refused, pruned.chunks), (1, 0), "the manifest stays, and so do its chunks");
    assert_eq!(manifests(&room).await.len(), 2);
    store.refuse_writes(Some(io::ErrorKind::ConnectionReset));
    assert!(matches!(prune(&vault, true).await, Err(VaultError::Store { .. })), "that is a fault");
    assert_sound(&room, "after it").await;
}

#[tokio::test]
async fn the_newest_whole_form_of_an_entity_stays() {
    let room = Room::in_memory().await;
    back_up(&room.vault, &run(OLD), &pages(), &mut 0).await.unwrap();
    let mut manifest = manifests(&room).await.remove(0);
    manifest.run = run(NEW);
    manifest.status = Status::Partial;
    manifest.entities[0].status = EntryStatus::Failed;
    manifest.entities[0].reason = Some("it was not finished".to_owned());
    room.vault.write_manifest(&manifest).await.unwrap();
    assert_eq!(prune(&room.vault, true).await.unwrap().snapshots.len(), 2);
    assert_eq!(manifests(&room).await.len(), 2, "{ENTITY} is whole in the older one alone");
}

/// The backup is halted at each of its operations, and there the prune at each of its own.
#[tokio::test]
async fn a_prune_beside_a_backup_takes_nothing_from_it_wherever_they_interleave() {
    let two = room_with_two().await;
    let (backups, prunes) = {
        let room = two.copy().await;
        let (one, two) = (process(&room).await, process(&room).await);
        run_of(&one.1, UNDER_WAY).await.unwrap();
        prune(&two.1, true).await.unwrap();
        (one.0.operations(), two.0.operations())
    };
    assert!(backups > 20 && prunes > 10, "{backups}, {prunes}: too few to show anything");
    let mut deleted = 0;
    for backup in 0..=backups {
        for pruning in 0..=prunes {
            for backup_first in [true, false] {
                deleted += interleave(&two, backup, pruning, backup_first).await;
            }
        }
    }
    assert!(deleted > 0, "some prune of these has something to delete");
}

/// Starts a backup until an operation, then a prune until one; ends one and then the other. Returns the chunks that went.
async fn interleave(two: &Room, backup_at: usize, prune_at: usize, backup_first: bool) -> u64 {
    let why = format!("the backup at {backup_at}, the prune at {prune_at}, backup first: {backup_first}");
    let room = two.copy().await;
    let ((backup_store, backup_vault), (prune_store, prune_vault)) =
        (process(&room).await, process(&room).await);
    let (backup_halt, prune_halt) = (backup_store.halt(backup_at), prune_store.halt(prune_at));
    let backup = tokio::spawn(run_of(&backup_vault, UNDER_WAY));
    reached(&backup_halt, &backup).await;
    let pruning = tokio::spawn(async move { prune(&prune_vault, true).await });
    reached(&prune_halt, &pruning).await;
    let (sealed, pruned) = if backup_first {
        backup_halt.release();
        let sealed = backup.await.unwrap();
        prune_halt.release();
        (sealed, pruning.await.unwrap())
    } else {
        prune_halt.release();
        let pruned = pruning.await.unwrap();
        backup_halt.release();
        (backup.await.unwrap(), pruned)
    };
    assert!(sealed.is_ok(), "{why}: {sealed:?}");
    let pruned = pruned.unwrap_or_else(|error| panic!("{why}: {error}"));
    let newest = manifests(&room).await.pop().unwrap();
    assert_eq!(records(&room.vault, &newest).await, expected(&pages()), "{why}");
    assert_sound(&room, &why).await;
    if pruned.waits_for.is_empty() { pruned.chunks } else { 0 }
}

/// Until somebody is at the halt, or has ended without coming there.
async fn reached<T>(halt: &Halt, work: &tokio::task::JoinHandle<T>) {
    let ended = async {
        while !work.is_finished() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = halt.reached() => {}
        () = ended => {}
    }
}

#[tokio::test]
async fn a_prune_that_breaks_off_anywhere_leaves_whole_snapshots() {
    let two = room_with_two().await;
    let (store, vault) = process(&two.copy().await).await;
    prune(&vault, true).await.unwrap();
    for operation in 0..store.operations() {
        for when in [When::Before, When::After] {
            let room = two.copy().await;
            let (store, vault) = process(&room).await;
            store.fail(operation, Fault::death(when));
            let _ = prune(&vault, true).await;
            assert_sound(&room, &format!("death {when:?} operation {operation}")).await;
        }
    }
}

/// Two prunes with other policies and two backups, as the dice have it.
#[tokio::test]
async fn prunes_and_backups_in_any_order_leave_whole_snapshots() {
    let two = room_with_two().await;
    for seed in 0..200 {
        let room = two.copy().await;
        let mut work = tokio::task::JoinSet::new();
        for (number, tail) in [UNDER_WAY, "dddddd"].into_iter().enumerate() {
            let (store, vault) = process(&room).await;
            store.chaos(seed * 4 + number as u64, 0.0, 0.0);
            work.spawn(async move { run_of(&vault, tail).await.map(drop) });
        }
        for (number, policy) in ["last=1", "last=2"].into_iter().enumerate() {
            let (store, vault) = process(&room).await;
            store.chaos(seed * 4 + 2 + number as u64, 0.0, 0.0);
            let policy: Policy = policy.parse().unwrap();
            work.spawn(async move { vault.prune(&acme(), &policy, &TimeZone::UTC, true).await.map(drop) });
        }
        for ended in work.join_all().await {
            ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        assert_sound(&room, &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn a_process_that_sealed_nothing_leaves_orphans_that_go() {
    let room = room_with_two().await;
    let lost: RunId = run("eeeeee");
    room.vault.create_run(&plan_of(lost.clone())).await.unwrap();
    let mut log = fermata_vault::Log::open(&room.vault, &acme(), &lost, ENTITY).await.unwrap();
    for number in 0..pages().len() {
        take_page(&mut log, number, &pages(), &fermata_vault::Known::default()).await.unwrap();
    }
    assert!(manifest_of(&lost, &log).chunks().count() > 0);
    let with_orphans = chunks(&room).await.len();
    room.vault.delete_run(&acme(), &lost).await.unwrap();
    prune(&room.vault, true).await.unwrap();
    assert!(chunks(&room).await.len() < with_orphans);
    assert_sound(&room, "after it").await;
}
