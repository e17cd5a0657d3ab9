//! Who can do what with which key.

use fermata_core::settings::Settings;
use fermata_vault::{Disposition, Identity, Log, Vault, VaultError};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{ENTITY, Room, acme, back_up, expected, now, pages, records, run};

async fn with_token(vault: &Vault, token: &str) -> Settings {
    let secret = SecretString::from(token);
    let sealed = vault.seal_token(&acme(), &secret, now(), None);
    let settings = Settings { token: Some(sealed), ..Settings::new(acme(), now()) };
    vault.save_settings(settings, now()).await.unwrap()
}

#[tokio::test]
async fn a_token_is_written_without_a_key_and_read_with_the_workers() {
    let room = Room::in_memory().await;
    let settings = with_token(&room.open([]).await.unwrap(), "tempo-token-1").await;
    // The first digits of `printf tempo-token-1 | sha256sum`.
    assert_eq!(settings.token.as_ref().unwrap().fingerprint, "e21601b5");
    let stored = room.vault.settings(&acme()).await.unwrap().unwrap();
    assert_eq!(room.vault.open_token(&stored).unwrap().expose_secret(), "tempo-token-1");
    let unread = room.open([]).await.unwrap().open_token(&stored).unwrap_err();
    assert!(matches!(unread, VaultError::NeedsKey { .. }));
    let recipient = room.worker.recipient();
    let message = format!("opening a token needs the key of {recipient}, which was not given");
    assert_eq!((unread.to_string(), unread.disposition()), (message, Disposition::Operator));
    let none = room.vault.open_token(&Settings::new(acme(), now())).unwrap_err();
    assert_eq!(none.to_string(), "acme has no token (`fermata token set acme` stores one)");
}

#[tokio::test]
async fn a_token_cannot_be_moved_to_another_tenant_or_vault() {
    let (room, other) = (Room::in_memory().await, Room::in_memory().await);
    let settings = with_token(&room.vault, "tempo-token-1").await;
    let moved = Settings { tenant: "acme-2".parse().unwrap(), ..settings.clone() };
    let refused = room.vault.open_token(&moved).unwrap_err();
    assert!(refused.to_string().ends_with("its token was sealed for another tenant"), "{refused}");
    // Another vault of the same workers.
    let options = fermata_vault::InitOptions {
        worker: room.worker.recipient(),
        data_recipients: Vec::new(),
        single_writer: false,
        now: now(),
    };
    other.store.inner().delete(&Path::from("fermata.json")).await.unwrap();
    Vault::init(std::sync::Arc::new(other.store.clone()), options).await.unwrap();
    let twin = other.open([room.worker.clone()]).await.unwrap();
    assert!(matches!(twin.open_token(&settings), Err(VaultError::Corrupt { .. })));
    let mut garbled = settings;
    garbled.token.as_mut().unwrap().sealed.replace_range(..8, "AAAAAAAA");
    assert!(matches!(room.vault.open_token(&garbled), Err(VaultError::Corrupt { .. })));
}

#[tokio::test]
async fn a_wrong_key_is_refused_when_the_vault_is_opened() {
    let room = Room::in_memory().await;
    let stranger = Identity::generate();
    let refused = room.open([stranger.clone()]).await.unwrap_err();
    let (given, wanted) = (stranger.recipient(), room.worker.recipient());
    assert!(matches!(&refused, VaultError::WrongKey { given: g, .. } if *g == given.to_string()));
    assert!(refused.to_string().contains(&wanted.to_string()), "{refused}");
    assert!(room.open([stranger, room.worker.clone()]).await.unwrap().can_work(), "one that fits is enough");
}

#[tokio::test]
async fn data_sealed_to_an_offline_key_is_written_and_not_read_by_the_workers() {
    let offline = Identity::generate();
    let room = Room::sealed_to(|_| vec![offline.recipient()]).await;
    let worker = &room.vault;
    assert!(worker.can_work() && !worker.can_read_data());
    let manifest = back_up(worker, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
    let chunk = manifest.chunks().next().unwrap();
    let unread = worker.read_chunk(&acme(), chunk).await.unwrap_err();
    let message = format!("reading records needs the key of {}, which was not given", offline.recipient());
    assert_eq!(unread.to_string(), message);
    assert!(worker.verify(&manifest, false, &|_| {}).await.unwrap().ok, "the structure needs no key");
    assert!(matches!(worker.verify(&manifest, true, &|_| {}).await, Err(VaultError::NeedsKey { .. })));

    let reader = room.open([offline.clone()]).await.unwrap();
    assert!(!reader.can_work() && reader.can_read_data());
    assert_eq!(records(&reader, &manifest).await, expected(&pages()));
    let report = reader.verify(&manifest, true, &|_| {}).await.unwrap();
    assert!(report.ok && report.data && !report.ids, "names are computed with the workers' key alone");
    let unresumed = Log::open(&reader, &acme(), &run("aaaaaa"), ENTITY).await;
    assert!(matches!(unresumed, Err(VaultError::NeedsKey { .. })));

    let both = room.open([offline, room.worker.clone()]).await.unwrap();
    assert!(both.verify(&manifest, true, &|_| {}).await.unwrap().ids);
}

#[tokio::test]
async fn a_vault_that_is_not_there_or_of_a_later_release_is_named() {
    let room = Room::in_memory().await;
    let card = Path::from("fermata.json");
    let bytes = room.store.inner().get(&card).await.unwrap().bytes().await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let newer = text.replace("\"schema\": 1", "\"schema\": 9");
    room.store.inner().put(&card, PutPayload::from(newer.into_bytes())).await.unwrap();
    let refused = room.open([]).await.unwrap_err();
    assert_eq!(refused.to_string(), "fermata.json has format 9; this release reads format 1");
    room.store.inner().put(&card, PutPayload::from_static(b"{")).await.unwrap();
    assert!(matches!(room.open([]).await, Err(VaultError::Corrupt { .. })));
    room.store.inner().delete(&card).await.unwrap();
    assert!(matches!(room.open([]).await, Err(VaultError::NoVault)));
}
