//! Keys are replaced: what was written opens with the old ones, what is written with the new ones alone.

use std::sync::Arc;

use fermata_core::settings::Settings;
use fermata_vault::fault::{Fault, FaultStore, When};
use fermata_vault::{Depth, Identity, Known, Log, Vault, VaultError};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use secrecy::{ExposeSecret, SecretString};

use crate::job::{ENTITY, Room, acme, back_up, expected, now, page, pages, plan_of, records, run, take_page};

const OLD: &str = "aaaaaa";
const NEW: &str = "bbbbbb";
const KEYS: &str = "keys/000001.json";
const TOKEN: &str = "tempo-token-1";

/// A vault with a tenant, its token and a snapshot.
async fn room() -> Room {
    let room = Room::in_memory().await;
    let token = room.vault.seal_token(&acme(), &SecretString::from(TOKEN), now(), None);
    let settings = Settings { token: Some(token), ..Settings::new(acme(), now()) };
    room.vault.save_settings(settings, now()).await.unwrap();
    back_up(&room.vault, &run(OLD), &pages(), &mut 0).await.unwrap();
    room
}

/// Replaces the keys by one new one, and opens the vault with it and the old one.
async fn rotate(room: &Room) -> (Identity, Vault) {
    let new = Identity::generate();
    room.vault.rotate(new.recipient(), vec![new.recipient()], now()).await.unwrap();
    let vault = room.open([new.clone(), room.worker.clone()]).await.unwrap();
    (new, vault)
}

fn other_pages() -> Vec<Vec<String>> {
    (10..14).map(|number| page(number, 4)).collect()
}

async fn token(vault: &Vault) -> String {
    let settings = vault.settings(&acme()).await.unwrap().unwrap();
    vault.open_token(&settings).unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn old_snapshots_open_with_the_old_key_and_new_ones_with_the_new() {
    let room = room().await;
    let (new, vault) = rotate(&room).await;
    assert_eq!(vault.worker_recipient(), &new.recipient());
    assert_eq!(vault.data_recipients(), [new.recipient()]);
    assert_eq!(token(&vault).await, TOKEN, "it opens with the old key until it is sealed anew");
    let resealed = vault.reseal_tokens(now()).await.unwrap();
    assert_eq!((resealed.tokens, resealed.failed.len()), (1, 0));
    let second = back_up(&vault, &run(NEW), &other_pages(), &mut 0).await.unwrap();
    let first = vault.manifest(&acme(), &run(OLD)).await.unwrap().unwrap();
    assert_eq!(records(&vault, &first).await, expected(&pages()));
    for tail in [OLD, NEW] {
        let report = vault.verify_snapshot(&acme(), &run(tail), Depth::Data, &|_| {}).await.unwrap().unwrap();
        assert!(report.ok && report.ids, "{report:?}");
    }
    // Of the old key nothing new has need.
    let alone = room.open([new]).await.unwrap();
    assert_eq!(token(&alone).await, TOKEN);
    assert_eq!(records(&alone, &second).await, expected(&other_pages()));
    let refused = alone.read_chunk(&acme(), first.chunks().next().unwrap()).await.unwrap_err();
    let message =
        format!("reading records needs the key of {}, which was not given", room.worker.recipient());
    assert_eq!(refused.to_string(), message);
}

#[tokio::test]
async fn records_that_are_stored_are_known_whatever_they_are_sealed_to() {
    let room = room().await;
    let (_, vault) = rotate(&room).await;
    let (first, again) = (
        vault.manifest(&acme(), &run(OLD)).await.unwrap().unwrap(),
        back_up(&vault, &run(NEW), &pages(), &mut 0).await.unwrap(),
    );
    let names = |manifest: &fermata_core::manifest::Manifest| -> Vec<String> {
        manifest.chunks().map(|chunk| chunk.name.clone()).collect()
    };
    assert_eq!(names(&first), names(&again), "the naming key is the same");
}

#[tokio::test]
async fn with_the_old_key_alone_it_is_said_which_one_is_needed() {
    let room = room().await;
    let (new, _) = rotate(&room).await;
    let refused = room.open([room.worker.clone()]).await.unwrap_err();
    let message = format!(
        "the keys of this vault were replaced: the key of {} is an old one, and that of {} is needed too",
        room.worker.recipient(),
        new.recipient()
    );
    assert_eq!(refused.to_string(), message);
    let stranger = room.open([Identity::generate()]).await.unwrap_err();
    assert!(matches!(stranger, VaultError::WrongKey { .. }), "{stranger}");
    assert!(room.open([]).await.is_ok(), "what needs no key needs none");
}

#[tokio::test]
async fn a_run_that_began_before_goes_on_after() {
    let room = room().await;
    room.vault.create_run(&plan_of(run(NEW))).await.unwrap();
    let mut log = Log::open(&room.vault, &acme(), &run(NEW), ENTITY).await.unwrap();
    for number in 0..3 {
        take_page(&mut log, number, &pages(), &Known::default()).await.unwrap();
    }
    let (_, vault) = rotate(&room).await;
    let mut fetched = 0;
    let manifest = back_up(&vault, &run(NEW), &pages(), &mut fetched).await.unwrap();
    assert_eq!(fetched, pages().len() - 3, "no page twice");
    assert_eq!(records(&vault, &manifest).await, expected(&pages()));
}

#[tokio::test]
async fn a_rotation_that_breaks_off_anywhere_is_begun_again() {
    let counted = room().await;
    let operations = {
        let (store, vault) = process(&counted, [counted.worker.clone()]).await;
        let new = Identity::generate();
        vault.rotate(new.recipient(), vec![new.recipient()], now()).await.unwrap();
        let (more, vault) = process(&counted, [new, counted.worker.clone()]).await;
        vault.reseal_tokens(now()).await.unwrap();
        (store.operations(), more.operations())
    };
    for (part, count) in [(0, operations.0), (1, operations.1)] {
        for operation in 0..count {
            for when in [When::Before, When::After] {
                let room = room().await;
                let new = Identity::generate();
                // The key file as it grows.
                let mut keys = vec![new.clone(), room.worker.clone()];
                let (store, vault) = process(&room, keys.clone()).await;
                if part == 0 {
                    store.fail(operation, Fault::death(when));
                }
                let rotated = vault.rotate(new.recipient(), vec![new.recipient()], now()).await;
                if rotated.is_ok() {
                    let (store, vault) = process(&room, keys.clone()).await;
                    store.fail(operation, Fault::death(when));
                    let _ = vault.reseal_tokens(now()).await;
                }
                let why = format!("part {part}, death {when:?} operation {operation}");
                let vault = room.open(keys.clone()).await.unwrap_or_else(|error| panic!("{why}: {error}"));
                assert_eq!(token(&vault).await, TOKEN, "{why}");
                // The same command again.
                let newest = Identity::generate();
                keys.insert(0, newest.clone());
                vault.rotate(newest.recipient(), vec![newest.recipient()], now()).await.unwrap();
                let vault = room.open(keys).await.unwrap();
                assert_eq!(vault.reseal_tokens(now()).await.unwrap().tokens, 1, "{why}");
                let alone = room.open([newest]).await.unwrap();
                assert_eq!(token(&alone).await, TOKEN, "{why}");
                let report =
                    vault.verify_snapshot(&acme(), &run(OLD), Depth::Data, &|_| {}).await.unwrap().unwrap();
                assert!(report.ok, "{why}: {report:?}");
            }
        }
    }
}

async fn process(room: &Room, keys: impl IntoIterator<Item = Identity>) -> (FaultStore, Vault) {
    let store = FaultStore::new(room.store.inner().clone());
    let vault = Vault::open(Arc::new(store.clone()), keys).await.unwrap();
    store.reset();
    (store, vault)
}

#[tokio::test]
async fn of_two_rotations_at_once_one_counts() {
    let room = room().await;
    let (one, two) = (Identity::generate(), Identity::generate());
    room.vault.rotate(one.recipient(), vec![one.recipient()], now()).await.unwrap();
    let late = room.vault.rotate(two.recipient(), vec![two.recipient()], now()).await;
    assert!(matches!(late, Err(VaultError::Taken { .. })), "{late:?}");
    assert_eq!(room.open([]).await.unwrap().worker_recipient(), &one.recipient());
}

/// Whoever can write to the store and has no key cannot have records sealed to a key of their own.
#[tokio::test]
async fn keys_that_the_workers_did_not_sign_are_refused() {
    let (room, other) = (room().await, room().await);
    rotate(&other).await;
    let bytes = |room: &Room| {
        let store = room.store.inner().clone();
        async move { store.get(&Path::from(KEYS)).await.unwrap().bytes().await.unwrap().to_vec() }
    };
    room.store.inner().put(&Path::from(KEYS), bytes(&other).await.into()).await.unwrap();
    let refused = room.open([room.worker.clone()]).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("{KEYS} is damaged: it was not signed by this vault's workers"));
    // Its own, under another number or with a bit flipped.
    room.store.inner().delete(&Path::from(KEYS)).await.unwrap();
    rotate(&room).await;
    let good = bytes(&room).await;
    room.store.inner().put(&Path::from("keys/000002.json"), good.clone().into()).await.unwrap();
    assert!(matches!(room.open([]).await, Err(VaultError::Corrupt { .. })));
    room.store.inner().delete(&Path::from("keys/000002.json")).await.unwrap();
    for bit in (0..good.len() * 8).step_by(97) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        room.store.inner().put(&Path::from(KEYS), flipped.into()).await.unwrap();
        let refused = room.open([]).await.unwrap_err();
        assert!(refused.to_string().starts_with(KEYS), "bit {bit}: {refused}");
    }
}

/// A vault without encryption gets it: what was stored stays readable as it is.
#[tokio::test]
async fn a_plain_vault_may_be_encrypted_from_now_on() {
    let room = Room::sealed_to(|_| Vec::new()).await;
    let first = back_up(&room.vault, &run(OLD), &pages(), &mut 0).await.unwrap();
    let (_, vault) = rotate(&room).await;
    let second = back_up(&vault, &run(NEW), &other_pages(), &mut 0).await.unwrap();
    assert_eq!(records(&vault, &first).await, expected(&pages()));
    assert_eq!(records(&vault, &second).await, expected(&other_pages()));
    let keyless = room.open([]).await.unwrap();
    assert_eq!(records(&keyless, &first).await, expected(&pages()));
    let refused = keyless.read_chunk(&acme(), second.chunks().next().unwrap()).await;
    assert!(matches!(refused, Err(VaultError::NeedsKey { .. })), "{refused:?}");
}
