//! Clouds that fail, lie, refuse and are not there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fermata_core::settings::Settings;
use fermata_vault::fake::{BUCKET, ELSEWHERE, Fake, Manners, Refusal, Trouble, Verb};
use fermata_vault::{Disposition, Environment, Identity, InitOptions, Vault, VaultError, Verdict, probe};
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, ObjectStore};

use crate::job::{acme, back_up, expected, now, pages, records, run};
use crate::server::Server;

fn options(key: &Identity, single_writer: bool) -> InitOptions {
    InitOptions { worker: key.recipient(), data_recipients: vec![key.recipient()], single_writer, now: now() }
}

/// A vault in a fake bucket, in both tongues.
async fn vaults() -> Vec<(&'static str, Fake, Identity, Vault)> {
    let mut vaults = Vec::new();
    for scheme in ["s3", "gs"] {
        let (fake, key) = (Fake::start(Manners::Exact).await.unwrap(), Identity::generate());
        let store =
            fermata_vault::open(&format!("{scheme}://{BUCKET}/v"), &fake.environment(scheme)).unwrap();
        Vault::init(Arc::clone(&store), options(&key, false)).await.unwrap();
        let vault = Vault::open(store, [key.clone()]).await.unwrap();
        vaults.push((scheme, fake, key, vault));
    }
    vaults
}

#[tokio::test]
async fn an_answer_that_is_lost_or_late_changes_nothing() {
    let slow = Trouble::Slow(Duration::from_millis(20));
    let troubles =
        [Trouble::Unavailable, Trouble::DoneAndUnavailable, Trouble::DoneAndReset, Trouble::Conflict, slow];
    for (scheme, fake, _, vault) in vaults().await {
        let mut settings = Settings::new(acme(), now());
        for trouble in troubles {
            fake.trouble(Verb::Put, "settings", trouble, 1);
            let saved = vault.save_settings(settings.clone(), now()).await;
            settings = saved.unwrap_or_else(|error| panic!("{scheme} {trouble:?}: {error}"));
            assert_eq!(
                vault.settings(&acme()).await.unwrap(),
                Some(settings.clone()),
                "{scheme} {trouble:?}"
            );
        }
        assert_eq!(settings.seq as usize, troubles.len());
        for part in ["chunks", "runs", "snapshots"] {
            for trouble in troubles {
                fake.trouble(Verb::Put, part, trouble, 1);
            }
        }
        fake.trouble(Verb::List, "", Trouble::Unavailable, 2);
        // A chunk is put without a condition, so a conflict of two is left to whoever tries again.
        let manifest = loop {
            match back_up(&vault, &run("aaaaaa"), &pages(), &mut 0).await {
                Ok(manifest) => break manifest,
                Err(error) => assert!(error.is_transient(), "{scheme} {error}"),
            }
        };
        assert_eq!(records(&vault, &manifest).await, expected(&pages()), "{scheme}");
        assert!(!fake.names().iter().any(|name| name.contains("/runs/")), "{:?}", fake.names());
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_looked_for() {
    let (fake, key) = (Fake::start(Manners::Exact).await.unwrap(), Identity::generate());
    // As the vault opens it, but with less patience.
    let client = ClientOptions::new().with_allow_http(true).with_timeout(Duration::from_millis(300));
    let store = AmazonS3Builder::new()
        .with_bucket_name(BUCKET)
        .with_endpoint(fake.endpoint())
        .with_region(fermata_vault::fake::REGION)
        .with_access_key_id("key")
        .with_secret_access_key("secret")
        .with_client_options(client);
    let store: Arc<dyn ObjectStore> = Arc::new(store.build().unwrap());
    let vault = Vault::init(store, options(&key, false)).await.unwrap();
    fake.trouble(Verb::Put, "settings", Trouble::DoneAndSilent, 1);
    let saved = vault.save_settings(Settings::new(acme(), now()), now()).await.unwrap();
    assert_eq!(vault.settings(&acme()).await.unwrap(), Some(saved));
}

#[tokio::test]
async fn a_store_that_lies_is_for_one_writer() {
    for scheme in ["s3", "gs"] {
        for (manners, verdict) in [
            (Manners::Exact, Verdict::Honoured),
            (Manners::Racy, Verdict::Racy),
            (Manners::Blind, Verdict::Ignored),
        ] {
            let (fake, key) = (Fake::start(manners).await.unwrap(), Identity::generate());
            let store =
                fermata_vault::open(&format!("{scheme}://{BUCKET}"), &fake.environment(scheme)).unwrap();
            assert_eq!(probe(&store).await.unwrap().verdict, verdict, "{scheme} {manners:?}");
            assert_eq!(fake.names(), [""; 0], "{scheme} {manners:?}: it leaves nothing");
            if verdict == Verdict::Honoured {
                continue;
            }
            let refused = Vault::init(Arc::clone(&store), options(&key, false)).await;
            assert!(matches!(refused, Err(VaultError::NotHonoured(found)) if found == verdict));
            Vault::init(Arc::clone(&store), options(&key, true)).await.unwrap();
            let vault = Vault::open(store, [key]).await.unwrap();
            let manifest = back_up(&vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
            assert_eq!(records(&vault, &manifest).await, expected(&pages()), "{scheme} {manners:?}");
        }
    }
}

#[tokio::test]
async fn credentials_that_expire_stop_a_backup_and_others_go_on() {
    for (scheme, fake, key, vault) in vaults().await {
        let name = run("aaaaaa");
        let mut fetched = 0;
        let cut = pages().len() / 2;
        // As far as half of the pages.
        fake.trouble(Verb::Put, &format!("worklogs/{cut:08}"), Trouble::Denied, usize::MAX);
        let denied = back_up(&vault, &name, &pages(), &mut fetched).await.unwrap_err();
        assert!(matches!(denied, VaultError::Denied { .. }), "{scheme} {denied}");
        fake.refuse("key", Some(Refusal::Expired));
        let refused = back_up(&vault, &name, &pages(), &mut fetched).await.unwrap_err();
        assert!(matches!(refused, VaultError::Credentials { .. }), "{scheme} {refused}");
        assert_eq!(refused.disposition(), Disposition::Operator);
        assert!(!fake.names().iter().any(|name| name.contains("/snapshots/")));
        let environment: Environment =
            if scheme == "gs" { fake.google("new").into() } else { fake.amazon("new").into() };
        fake.settle();
        let store = fermata_vault::open(&format!("{scheme}://{BUCKET}/v"), &environment).unwrap();
        let vault = Vault::open(store, [key]).await.unwrap();
        let manifest = back_up(&vault, &name, &pages(), &mut fetched).await.unwrap();
        assert_eq!(records(&vault, &manifest).await, expected(&pages()));
        assert_eq!(fetched, pages().len() + 1, "{scheme}: one page twice");
    }
}

/// Opens, and asks for the card.
async fn asked(url: &str, environment: &Environment) -> VaultError {
    let opened = async { Vault::open(fermata_vault::open(url, environment)?, []).await };
    opened.await.expect_err("there is no vault")
}

/// The error with its cause, as it is shown.
fn shown(error: &VaultError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_line_and_without_secrets() {
    let fake = Fake::start(Manners::Exact).await.unwrap();
    fake.refuse("expired", Some(Refusal::Expired));
    fake.refuse("unknown", Some(Refusal::Unknown));
    let amazon = |key: &str| Environment::from(fake.amazon(key));
    let [endpoint, id, secret, _] = fake.amazon("key");
    let elsewhere = [endpoint, id, secret, ("AWS_REGION", "us-east-1".to_owned())].into();
    let server = Server::start().await;
    let forged = server.environment_with("another-secret");
    let url = format!("s3://{BUCKET}/v");
    for (url, environment, expect) in [
        (url.as_str(), &amazon("key"), "there is no vault here (`fermata init` makes one)"),
        (
            "s3://nowhere/v",
            &amazon("key"),
            "there is no bucket or container of that name: HTTP 404 NoSuchBucket",
        ),
        (&format!("s3://{ELSEWHERE}"), &amazon("key"), "the bucket is in another region: it redirects"),
        (
            &url,
            &elsewhere,
            "the bucket is in another region, eu-central-1: HTTP 400 AuthorizationHeaderMalformed",
        ),
        (
            &url,
            &amazon("expired"),
            "the store does not take the credentials: HTTP 400 ExpiredToken: The provided token has expired",
        ),
        (&url, &amazon("unknown"), "the store does not take the credentials: HTTP 403 InvalidAccessKeyId"),
        (&url, &forged, "the store does not take the credentials: HTTP 403 SignatureDoesNotMatch"),
        (
            "gs://nowhere/v",
            &fake.environment("gs"),
            "there is no bucket or container of that name: HTTP 404 NoSuchBucket",
        ),
        (
            &format!("gs://{BUCKET}/v"),
            &fake.google("expired").into(),
            "the store does not take the credentials: HTTP 401",
        ),
    ] {
        let error = asked(url, environment).await;
        let said = shown(&error);
        assert!(said.starts_with(expect), "{url}: {said}");
        assert_eq!(error.disposition(), Disposition::Operator, "{url}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for told in [said, format!("{error:?}")] {
            assert!(!told.contains("the-session-token") && !told.contains("the-secret-half"), "{told}");
        }
    }
    // The first that is asked here is a head, whose answer has no body.
    let store = fermata_vault::open(&url, &amazon("expired")).unwrap();
    let error = Vault::init(store, options(&Identity::generate(), false)).await.unwrap_err();
    assert!(matches!(error, VaultError::Credentials { .. }), "{error:?}");
    fake.refuse("key", Some(Refusal::ReadOnly));
    let store = fermata_vault::open(&url, &amazon("key")).unwrap();
    let error = Vault::init(store, options(&Identity::generate(), false)).await.unwrap_err();
    assert!(matches!(error, VaultError::Denied { .. }), "{error:?}");
    assert_eq!(error.disposition(), Disposition::Operator);
}

#[tokio::test]
async fn what_the_environment_lacks_is_named() {
    let id = || ("AWS_ACCESS_KEY_ID", "key".to_owned());
    let off = || ("AWS_EC2_METADATA_DISABLED", "true".to_owned());
    let file = ("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json".to_owned());
    for (url, environment, expect) in [
        ("s3://b", Environment::from([id()]), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"),
        ("s3://b", [off()].into(), "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
        ("gs://b", [file].into(), "GOOGLE_APPLICATION_CREDENTIALS: Unable to open"),
        ("az://b", Environment::default(), "AZURE_STORAGE_ACCOUNT names the storage account"),
    ] {
        let error = asked(url, &environment).await;
        let said = shown(&error);
        assert!(said.starts_with(&format!("the store cannot be used: {expect}")), "{url}: {said}");
        assert_eq!(error.disposition(), Disposition::Operator);
    }
}

#[tokio::test]
async fn nobody_there_is_said_soon() {
    let nowhere = "http://127.0.0.1:9".to_owned();
    // A machine of no cloud: what would give credentials does not answer.
    let metadata: Environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", nowhere.clone())].into();
    let begun = Instant::now();
    let error = asked("s3://b", &metadata).await;
    assert!(
        shown(&error).starts_with("there are no credentials for the store: AWS_ACCESS_KEY_ID and"),
        "{error}"
    );
    assert_eq!(error.disposition(), Disposition::Operator);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let away: Environment = [
        ("AWS_ENDPOINT_URL", nowhere),
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
    ]
    .into();
    let error = asked("s3://b", &away).await;
    assert_eq!(shown(&error), "the store does not answer: Connection refused (os error 111)");
    assert_eq!(error.disposition(), Disposition::Retry);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
}

#[test]
fn a_store_shows_no_secret() {
    let secret = || "c2VjcmV0".to_owned();
    let environment: Environment = [
        ("AWS_ACCESS_KEY_ID", "key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret()),
        ("AWS_SESSION_TOKEN", secret()),
        ("CLOUDSDK_AUTH_ACCESS_TOKEN", secret()),
        ("AZURE_STORAGE_ACCOUNT", "account".to_owned()),
        ("AZURE_STORAGE_KEY", secret()),
    ]
    .into();
    // The key of Azure is kept as bytes.
    let bytes = format!("{:?}", b"secret").trim_matches(['[', ']']).to_owned();
    for url in ["s3://b/p", "gs://b/p", "az://b/p"] {
        let store = fermata_vault::open(url, &environment).unwrap();
        for shown in [format!("{store:?}"), store.to_string(), format!("{environment:?}")] {
            assert!(!shown.contains(&secret()) && !shown.contains(&bytes), "{url}: {shown}");
        }
    }
}
