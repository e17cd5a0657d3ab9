//! What every kind of store must do for the vault.

use std::sync::Arc;

use fermata_core::settings::Settings;
use fermata_vault::{InitOptions, Known, Leftover, Log, Sealed, Vault, VaultError, Verdict, probe};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::job::{
    ENTITY, RACY, Room, acme, back_up, expected, manifest_of, now, page, pages, plan_of, records, run,
    take_page,
};

/// Puts at a time, where there are many.
const PUTS: usize = 16;
/// Twice what a chunk may come to.
const BIG: usize = 16 << 20;

async fn keys(store: &dyn ObjectStore) -> Vec<String> {
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut keys: Vec<String> = found.into_iter().map(|found| found.location.to_string()).collect();
    keys.sort();
    keys
}

fn verdict_on(kind: &str) -> Verdict {
    if kind == RACY { Verdict::Racy } else { Verdict::Honoured }
}

#[tokio::test]
async fn a_probe_finds_the_condition_honoured_and_leaves_nothing() {
    for room in Room::everywhere().await {
        let store: Arc<dyn ObjectStore> = Arc::new(room.store.clone());
        let found = probe(&store).await.unwrap();
        assert_eq!(found.verdict, verdict_on(room.kind), "{}", room.kind);
        assert_eq!(keys(&room.store).await, ["fermata.json"], "{}", room.kind);
    }
}

#[tokio::test]
async fn a_vault_is_made_once() {
    for room in Room::everywhere().await {
        let options = InitOptions {
            worker: room.worker.recipient(),
            data_recipients: Vec::new(),
            single_writer: false,
            now: now(),
        };
        let again = Vault::init(Arc::new(room.store.clone()), options).await;
        assert!(matches!(again, Err(VaultError::AlreadyThere)));
        assert_eq!(room.open([]).await.unwrap().id(), room.vault.id());
        assert_eq!(room.vault.verdict(), verdict_on(room.kind));
    }
}

#[tokio::test]
async fn settings_follow_each_other() {
    for room in Room::everywhere().await {
        let vault = &room.vault;
        assert_eq!(vault.tenants().await.unwrap(), []);
        assert_eq!(vault.settings(&acme()).await.unwrap(), None);
        let first = vault.save_settings(Settings::new(acme(), now()), now()).await.unwrap();
        assert_eq!(first.seq, 1);
        let mine = vault.save_settings(Settings { paused: true, ..first.clone() }, now()).await.unwrap();
        assert_eq!((mine.seq, vault.settings(&acme()).await.unwrap()), (2, Some(mine)));
        let late = vault.save_settings(Settings { rate: 1.0, ..first }, now()).await;
        assert!(matches!(late, Err(VaultError::Taken { .. })), "a change of what has changed since");
        let anew = vault.save_settings(Settings::new(acme(), now()), now()).await;
        assert!(matches!(anew, Err(VaultError::Taken { .. })), "a tenant that is there already");
        for name in ["zeta", "alpha"] {
            vault.save_settings(Settings::new(name.parse().unwrap(), now()), now()).await.unwrap();
        }
        let names: Vec<String> = vault.tenants().await.unwrap().into_iter().map(String::from).collect();
        assert_eq!(names, ["acme", "alpha", "zeta"]);
    }
}

#[tokio::test]
async fn a_run_becomes_a_snapshot_and_leaves_nothing_else() {
    for room in Room::everywhere().await {
        let vault = &room.vault;
        let manifest = back_up(vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
        assert_eq!(records(vault, &manifest).await, expected(&pages()));
        assert!(manifest.chunks().count() > 3, "the test is about several chunks");
        let mut left: Vec<String> =
            manifest.chunks().map(|chunk| format!("tenants/acme/chunks/{}", chunk.name)).collect();
        left.extend(["fermata.json".to_owned(), format!("tenants/acme/snapshots/{}.json", manifest.run)]);
        left.sort();
        assert_eq!(keys(&room.store).await, left);
        assert_eq!(vault.snapshots(&acme()).await.unwrap(), [run("aaaaaa")]);
        assert_eq!(vault.latest(&acme()).await.unwrap(), Some(manifest));
    }
}

#[tokio::test]
async fn snapshots_are_listed_oldest_first() {
    for room in Room::everywhere().await {
        let names = ["bbbbbb", "dddddd", "aaaaaa", "cccccc"].map(run);
        for name in &names {
            back_up(&room.vault, name, &pages(), &mut 0).await.unwrap();
        }
        let mut sorted = names.to_vec();
        sorted.sort();
        assert_eq!(room.vault.snapshots(&acme()).await.unwrap(), sorted);
        assert_eq!(room.vault.latest(&acme()).await.unwrap().unwrap().run, run("dddddd"));
    }
}

#[tokio::test]
async fn an_unchanged_chunk_is_not_stored_again() {
    for room in Room::everywhere().await {
        let vault = &room.vault;
        let first = back_up(vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
        let mut changed = pages();
        changed[5] = page(77, 4);
        let second = back_up(vault, &run("bbbbbb"), &changed, &mut 0).await.unwrap();
        assert_eq!(records(vault, &second).await, expected(&changed));
        let (before, after): (Vec<_>, Vec<_>) = (first.chunks().collect(), second.chunks().collect());
        let shared = after.iter().filter(|chunk| before.contains(chunk)).count();
        assert!(shared >= 2 && shared < after.len(), "{shared} of {}", after.len());
        let stored = keys(&room.store).await.iter().filter(|key| key.contains("/chunks/")).count();
        assert_eq!(stored, before.len() + after.len() - shared);
    }
}

#[tokio::test]
async fn unfinished_runs_and_leftovers_are_told_apart() {
    for room in Room::everywhere().await {
        let vault = &room.vault;
        for tail in ["cccccc", "aaaaaa", "bbbbbb"] {
            vault.create_run(&plan_of(run(tail))).await.unwrap();
            vault.create_run(&plan_of(run(tail))).await.unwrap();
        }
        let mut other = plan_of(run("aaaaaa"));
        other.jobs.clear();
        assert!(matches!(vault.create_run(&other).await, Err(VaultError::Taken { .. })));
        let mut log = Log::open(vault, &acme(), &run("cccccc"), ENTITY).await.unwrap();
        take_page(&mut log, 0, &[page(0, 3)], &Known::default()).await.unwrap();
        let manifest = manifest_of(&run("cccccc"), &log);
        assert!(
            matches!(vault.sweep_run(&manifest).await, Err(VaultError::Missing { .. })),
            "not before it is sealed"
        );
        assert_eq!(vault.write_manifest(&manifest).await.unwrap(), Sealed::Mine);
        assert_eq!(vault.write_manifest(&manifest).await.unwrap(), Sealed::Mine, "a repeat is the same");
        let theirs = vault.write_manifest(&manifest_of(&run("cccccc"), &log)).await.unwrap();
        assert_eq!(theirs, Sealed::Theirs(Box::new(manifest.clone())));
        assert_eq!(vault.unfinished_runs(&acme()).await.unwrap(), [run("aaaaaa"), run("bbbbbb")]);
        assert_eq!(vault.leftover_runs(&acme()).await.unwrap(), [Leftover::Sealed(run("cccccc"))]);
        vault.sweep_run(&manifest).await.unwrap();
        vault.sweep_run(&manifest).await.unwrap();
        vault.delete_run(&acme(), &run("aaaaaa")).await.unwrap();
        assert_eq!(vault.unfinished_runs(&acme()).await.unwrap(), [run("bbbbbb")]);
        assert_eq!(vault.leftover_runs(&acme()).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_deleted_tenant_is_gone_and_no_other() {
    for room in Room::everywhere().await {
        let vault = &room.vault;
        for name in ["acme", "acme-2"] {
            vault.save_settings(Settings::new(name.parse().unwrap(), now()), now()).await.unwrap();
        }
        back_up(vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
        vault.create_run(&plan_of(run("bbbbbb"))).await.unwrap();
        vault.delete_tenant(&acme()).await.unwrap();
        assert_eq!(keys(&room.store).await, ["fermata.json", "tenants/acme-2/settings/000001.json"]);
        vault.delete_tenant(&acme()).await.unwrap();
    }
}

#[tokio::test]
async fn of_many_who_create_one_wins() {
    for room in Room::everywhere().await.iter().filter(|room| room.kind != RACY) {
        let racers = (0..16).map(|racer| {
            let mut settings = Settings::new(acme(), now());
            settings.rate = f64::from(racer + 1);
            room.vault.save_settings(settings, now())
        });
        let won: Vec<Settings> = join_all(racers).await.into_iter().filter_map(Result::ok).collect();
        assert_eq!(won.len(), 1, "{}", room.kind);
        assert_eq!(room.vault.settings(&acme()).await.unwrap().as_ref(), won.first(), "{}", room.kind);
    }
}

#[tokio::test]
async fn a_list_that_is_longer_than_a_page_is_whole() {
    const MANY: usize = 1_105;
    for room in Room::each().await {
        let store = room.store.inner();
        let names: Vec<Path> =
            (0..MANY).map(|at| Path::from(format!("many/{at:06}-{at:016x}/x.json"))).collect();
        let puts = futures::stream::iter(&names).map(|name| store.put(name, "x".into()));
        puts.buffer_unordered(PUTS).try_collect::<Vec<_>>().await.unwrap();
        let mut listed: Vec<Path> =
            store.list(Some(&"many".into())).map_ok(|found| found.location).try_collect().await.unwrap();
        listed.sort();
        assert!(listed == names, "{}: {} of {MANY}", room.kind, listed.len());
        let folders = store.list_with_delimiter(Some(&"many".into())).await.unwrap();
        assert_eq!((folders.common_prefixes.len(), folders.objects.len()), (MANY, 0), "{}", room.kind);
        let deleted = store.delete_stream(futures::stream::iter(names.into_iter().map(Ok)).boxed());
        assert_eq!(deleted.try_collect::<Vec<_>>().await.unwrap().len(), MANY, "{}", room.kind);
        assert_eq!(keys(store.as_ref()).await, ["fermata.json"], "{}", room.kind);
    }
}

#[tokio::test]
async fn objects_come_back_as_they_were_put() {
    let big: Vec<u8> = (0..=250).cycle().take(BIG).collect();
    for room in Room::everywhere().await {
        let store = room.store.inner();
        let link = "0123456789abcdef";
        let hash = link.repeat(4);
        // One of these servers keeps objects in files of their names, which may not be as long.
        let tenant = "a".repeat(if room.kind == RACY { 20 } else { 63 });
        let event = format!(
            "tenants/{tenant}/runs/20260301T020000Z-k3f9a2/project-time-approvals/00000001-{link}-{link}"
        );
        for (name, bytes) in
            [(format!("tenants/a-0/chunks/{}-{hash}", &hash[..32]), big.clone()), (event, Vec::new())]
        {
            let key = Path::from(name);
            for _ in 0..2 {
                store.put(&key, bytes.clone().into()).await.unwrap();
            }
            let found = store.get(&key).await.unwrap().bytes().await.unwrap();
            assert!(found == bytes, "{} {key}", room.kind);
            assert_eq!(store.head(&key).await.unwrap().size, bytes.len() as u64, "{} {key}", room.kind);
        }
        let missing = Path::from("tenants/nobody/plan.json");
        let got = store.get(&missing).await;
        assert!(matches!(got, Err(object_store::Error::NotFound { .. })), "{}: {got:?}", room.kind);
        let deleted = store.delete(&missing).await;
        let gone = matches!(deleted, Ok(()) | Err(object_store::Error::NotFound { .. }));
        assert!(gone, "{}: {deleted:?}", room.kind);
        room.vault.delete_tenant(&"nobody".parse().unwrap()).await.unwrap();
    }
}
