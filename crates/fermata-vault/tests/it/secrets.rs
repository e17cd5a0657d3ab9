//! What nobody may find in the store: records, tokens, keys.

use fermata_core::settings::Settings;
use fermata_vault::{Known, Log};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};
use secrecy::SecretString;

use crate::job::{ENTITY, Room, acme, back_up, now, plan_of, run, take_page};

const RECORD: &str = r#"{"id":1,"description":"Gespräch mit Zanzibar über die Fusion"}"#;
const TOKEN: &str = "tempo-token-Kilimanjaro";
const USER: &str = "user-0";

/// Every object of the store, a run half-way through among them.
async fn objects(room: &Room) -> Vec<(String, Vec<u8>)> {
    let vault = &room.vault;
    let token = vault.seal_token(&acme(), &SecretString::from(TOKEN), now(), None);
    let settings = Settings { token: Some(token), ..Settings::new(acme(), now()) };
    vault.save_settings(settings, now()).await.unwrap();
    let pages = vec![vec![RECORD.to_owned()], vec![RECORD.to_owned()]];
    back_up(vault, &run("aaaaaa"), &pages, &mut 0).await.unwrap();
    vault.create_run(&plan_of(run("bbbbbb"))).await.unwrap();
    let mut log = Log::open(vault, &acme(), &run("bbbbbb"), ENTITY).await.unwrap();
    take_page(&mut log, 0, &pages, &Known::default()).await.unwrap();
    let found: Vec<_> = room.store.list(None).try_collect().await.unwrap();
    let mut objects = Vec::new();
    for found in found {
        let bytes = room.store.get(&found.location).await.unwrap().bytes().await.unwrap();
        objects.push((found.location.to_string(), bytes.to_vec()));
    }
    objects
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_object_holds_a_record_a_token_or_a_key() {
    let room = Room::in_memory().await;
    let objects = objects(&room).await;
    let kinds = ["fermata.json", "/settings/", "plan.json", "/worklogs/0", "/chunks/", "/snapshots/"];
    for kind in kinds {
        assert!(objects.iter().any(|(key, _)| key.contains(kind)), "the test is about {kind}");
    }
    for (key, bytes) in &objects {
        for secret in ["Zanzibar", "Kilimanjaro", USER, "AGE-SECRET-KEY"] {
            assert!(!holds(bytes, secret), "{key} holds {secret}");
        }
        // Short texts stay legible inside a zstd frame, so a frame outside of age would show as this.
        assert!(!holds(bytes, "\u{28}\u{b5}\u{2f}\u{fd}") && !holds(bytes, "(\u{fffd}/"), "{key}");
        assert!(
            !bytes.windows(4).any(|window| window == [0x28, 0xb5, 0x2f, 0xfd]),
            "{key} holds a bare frame"
        );
    }
}

#[tokio::test]
async fn the_search_finds_what_is_there_to_find() {
    // A vault that is not encrypted is compressed only, and its tokens and checkpoints are sealed all the same.
    let room = Room::sealed_to(|_| Vec::new()).await;
    let mut bare = 0;
    for (key, bytes) in objects(&room).await {
        let found = bytes.windows(4).any(|window| window == [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(found, key.contains("/chunks/"), "{key}");
        bare += usize::from(found && holds(&bytes, "Zanzibar"));
        assert!(!holds(&bytes, "Kilimanjaro"), "{key}");
    }
    assert!(bare > 0, "the record is legible in a bare frame, so the other test can fail");
}

#[tokio::test]
async fn nothing_prints_a_secret() {
    let room = Room::in_memory().await;
    let printed = format!("{:?} {:?} {:?}", room.vault, room.worker, SecretString::from(TOKEN));
    assert!(!printed.contains("AGE-SECRET-KEY") && !printed.contains(TOKEN), "{printed}");
}
