//! A store that fails: for every operation, before and after its effect.

use std::io::ErrorKind;
use std::sync::Arc;

use async_trait::async_trait;
use fermata_core::manifest::Manifest;
use fermata_core::settings::Settings;
use fermata_vault::fault::{Fault, FaultStore, When};
use fermata_vault::{
    Disposition, Identity, InitOptions, Known, Log, Sealed, Vault, VaultError, Verdict, probe,
};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::job::{ENTITY, Room, acme, back_up, expected, now, pages, plan_of, records, run, take_page};

const WHEN: [When; 2] = [When::Before, When::After];

/// Runs the whole backup with one fault, again and again until it is through.
async fn survives(fault: impl Fn(When) -> Fault, repeats_max: usize) {
    let healthy = Room::in_memory().await;
    healthy.store.reset();
    back_up(&healthy.vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
    let operations = healthy.store.operations();
    assert!(operations > 20, "the test is about many operations, not {operations}");
    for at in 0..operations {
        for when in WHEN {
            let room = Room::in_memory().await;
            room.store.reset();
            room.store.fail(at, fault(when));
            let mut fetched = 0;
            let mut tries = 0;
            let manifest = loop {
                match back_up(&room.vault, &run("aaaaaa"), &pages(), &mut fetched).await {
                    Ok(manifest) => break manifest,
                    Err(error) if tries < 2 => {
                        assert_eq!(error.disposition(), Disposition::Retry, "{at} {when:?}: {error}");
                        tries += 1;
                        room.store.reset();
                    }
                    Err(error) => panic!("{at} {when:?}: {error}"),
                }
            };
            let case = format!("operation {at}, {when:?}");
            assert_eq!(records(&room.vault, &manifest).await, expected(&pages()), "{case}");
            assert!(fetched <= pages().len() + repeats_max, "{case}: {fetched} pages fetched");
            assert!(room.vault.verify(&manifest, true, &|_| {}).await.unwrap().ok, "{case}");
            assert_eq!(room.vault.unfinished_runs(&acme()).await.unwrap(), [], "{case}");
            assert_eq!(room.vault.leftover_runs(&acme()).await.unwrap(), [], "{case}");
        }
    }
}

#[tokio::test]
async fn a_death_at_any_operation_costs_one_page() {
    survives(Fault::death, 1).await;
}

#[tokio::test]
async fn a_failure_of_any_operation_costs_one_page() {
    survives(Fault::once, 1).await;
}

/// Three workers on one run, none of which knows of the others.
async fn crowd(room: &Room, seed: u64) -> Vec<Manifest> {
    room.store.chaos(seed, 0.03, 0.05);
    let worker = async || {
        for _ in 0..100 {
            match back_up(&room.vault, &run("aaaaaa"), &pages(), &mut 0).await {
                Ok(manifest) => return manifest,
                Err(error) => assert!(error.is_transient(), "seed {seed}: {error}"),
            }
        }
        panic!("seed {seed}: no end");
    };
    futures::future::join_all([worker(), worker(), worker()]).await
}

#[tokio::test]
async fn however_workers_interleave_there_is_one_whole_snapshot() {
    for seed in 0..200 {
        let room = Room::in_memory().await;
        let manifests = crowd(&room, seed).await;
        room.store.reset();
        let stored = room.vault.latest(&acme()).await.unwrap().unwrap();
        assert!(manifests.iter().all(|manifest| *manifest == stored), "seed {seed}");
        assert_eq!(records(&room.vault, &stored).await, expected(&pages()), "seed {seed}");
        assert!(room.vault.verify(&stored, true, &|_| {}).await.unwrap().ok, "seed {seed}");
        assert_eq!(room.vault.unfinished_runs(&acme()).await.unwrap(), [], "seed {seed}");
    }
}

#[tokio::test]
async fn a_deletion_that_is_cut_short_can_be_found_and_finished() {
    let folder = |name: &str| format!("tenants/acme/{name}");
    let left = async |room: &Room, under: &str| {
        let found: Vec<_> =
            room.store.inner().list(Some(&Path::from(folder(under)))).try_collect().await.unwrap();
        found.len()
    };
    for at in 0..12 {
        let room = Room::in_memory().await;
        let vault = &room.vault;
        vault.save_settings(Settings::new(acme(), now()), now()).await.unwrap();
        back_up(vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
        vault.create_run(&plan_of(run("bbbbbb"))).await.unwrap();
        let mut log = Log::open(vault, &acme(), &run("bbbbbb"), ENTITY).await.unwrap();
        for number in 0..3 {
            take_page(&mut log, number, &pages(), &Known::default()).await.unwrap();
        }
        room.store.reset();
        room.store.fail(at, Fault::death(When::Before));
        let gone = vault.delete_run(&acme(), &run("bbbbbb")).await.is_ok();
        room.store.reset();
        let found = vault.unfinished_runs(&acme()).await.unwrap();
        let leftover = vault.leftover_runs(&acme()).await.unwrap();
        assert_eq!(found.is_empty() && leftover.is_empty(), gone, "what is left of a run is found");
        assert_eq!(left(&room, "runs").await == 0, gone);
        room.store.reset();
        room.store.fail(at, Fault::death(When::Before));
        let gone = vault.delete_tenant(&acme()).await.is_ok();
        room.store.reset();
        assert_eq!(vault.tenants().await.unwrap().is_empty(), gone);
        if left(&room, "chunks").await < 4 {
            assert_eq!(vault.snapshots(&acme()).await.unwrap(), [], "no snapshot without its chunks");
        }
        vault.delete_tenant(&acme()).await.unwrap();
        assert_eq!(left(&room, "").await, 0);
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_document_is_no_conflict() {
    for room in Room::each().await {
        let vault = &room.vault;
        for when in WHEN {
            room.store.reset();
            room.store.fail(0, Fault::once(when));
            let tail = if when == When::Before { "aaaaaa" } else { "bbbbbb" };
            vault.create_run(&plan_of(run(tail))).await.unwrap();
            // The put, the reading back, and where nothing was stored the put again.
            assert_eq!(room.store.operations(), if when == When::Before { 3 } else { 2 });
            assert_eq!(vault.plan(&acme(), &run(tail)).await.unwrap(), Some(plan_of(run(tail))));
        }
    }
}

#[tokio::test]
async fn a_document_is_given_up_after_a_bounded_number_of_attempts() {
    let room = Room::in_memory().await;
    room.store.reset();
    room.store.refuse_writes(Some(ErrorKind::ConnectionReset));
    let failed = room.vault.create_run(&plan_of(run("aaaaaa"))).await.unwrap_err();
    assert!(failed.is_transient(), "{failed}");
    assert_eq!(room.store.operations(), 8, "four puts and four readings");
}

#[tokio::test]
async fn a_full_or_locked_store_says_so_at_once() {
    let cases = [
        (ErrorKind::StorageFull, "the store is full: tenants/acme/settings/000001.json was not written"),
        (
            ErrorKind::ReadOnlyFilesystem,
            "the store is read-only: tenants/acme/settings/000001.json was not written",
        ),
        (ErrorKind::PermissionDenied, "the store refuses access to tenants/acme/settings/000001.json"),
    ];
    for (kind, message) in cases {
        let room = Room::in_memory().await;
        room.store.reset();
        room.store.refuse_writes(Some(kind));
        let failed = room.vault.save_settings(Settings::new(acme(), now()), now()).await.unwrap_err();
        assert_eq!((failed.to_string(), failed.disposition()), (message.to_owned(), Disposition::Operator));
        assert_eq!(room.store.operations(), 2, "a put and a reading: there is no use in trying again");
    }
}

#[tokio::test]
async fn of_two_who_seal_a_run_one_wins() {
    for room in Room::each().await {
        let (one, two) = (room.vault.clone(), room.open([room.worker.clone()]).await.unwrap());
        let (mut a, mut b) = (0, 0);
        let (name, pages) = (run("aaaaaa"), pages());
        let (first, second) =
            tokio::join!(back_up(&one, &name, &pages, &mut a), back_up(&two, &name, &pages, &mut b));
        // One may find its checkpoints swept by the other, and then begins again and finds the snapshot.
        let mut winners = Vec::new();
        for outcome in [first, second] {
            winners.push(match outcome {
                Ok(manifest) => manifest,
                Err(_) => back_up(&one, &name, &pages, &mut 0).await.unwrap(),
            });
        }
        assert_eq!(winners[0], winners[1]);
        assert_eq!(records(&one, &winners[0]).await, expected(&pages));
        assert!(one.verify(&winners[0], true, &|_| {}).await.unwrap().ok);
    }
}

/// How a store gets create-if-absent wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Looks, and then writes.
    Racy,
    /// Writes.
    Ignored,
    /// Says that it cannot.
    Unsupported,
}

#[derive(Debug)]
struct WrongStore(InMemory, Wrong);

impl std::fmt::Display for WrongStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.1)
    }
}

#[async_trait]
impl ObjectStore for WrongStore {
    async fn put_opts(&self, key: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode == PutMode::Create {
            match self.1 {
                Wrong::Racy => {
                    if let Ok(found) = self.0.head(key).await {
                        let (path, source) = (found.location.to_string(), "there".into());
                        return Err(object_store::Error::AlreadyExists { path, source });
                    }
                    tokio::task::yield_now().await;
                }
                Wrong::Ignored => {}
                Wrong::Unsupported => {
                    return Err(object_store::Error::NotSupported { source: "no conditions".into() });
                }
            }
        }
        self.0.put(key, payload).await
    }

    async fn put_multipart_opts(
        &self,
        key: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(key, options).await
    }

    async fn get_opts(&self, key: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(key, options).await
    }

    fn delete_stream(&self, keys: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn a_store_that_does_not_keep_writers_apart_is_for_one_writer_only() {
    let cases = [
        (Wrong::Racy, Verdict::Racy),
        (Wrong::Ignored, Verdict::Ignored),
        (Wrong::Unsupported, Verdict::Ignored),
    ];
    for (wrong, verdict) in cases {
        let store: Arc<dyn ObjectStore> = Arc::new(WrongStore(InMemory::new(), wrong));
        assert_eq!(probe(&store).await.unwrap().verdict, verdict);
        let key = Identity::generate();
        let options = |single_writer| InitOptions {
            worker: key.recipient(),
            data_recipients: vec![key.recipient()],
            single_writer,
            now: now(),
        };
        let refused = Vault::init(Arc::clone(&store), options(false)).await;
        assert!(matches!(refused, Err(VaultError::NotHonoured(found)) if found == verdict));
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap(), [], "{wrong:?} leaves nothing");
        Vault::init(Arc::clone(&store), options(true)).await.unwrap();
        let vault = Vault::open(Arc::clone(&store), [key.clone()]).await.unwrap();
        assert_eq!((vault.single_writer(), vault.verdict()), (true, verdict));
        // One after the other, documents are still written once.
        let manifest = back_up(&vault, &run("aaaaaa"), &pages(), &mut 0).await.unwrap();
        let theirs = Manifest { nonce: "other".into(), ..manifest.clone() };
        assert_eq!(vault.write_manifest(&theirs).await.unwrap(), Sealed::Theirs(Box::new(manifest)));
    }
}

#[tokio::test]
async fn a_probe_is_not_fooled_by_one_failure() {
    for at in 0..6 {
        for when in WHEN {
            let store = FaultStore::new(Arc::new(InMemory::new()));
            store.fail(at, Fault::once(when));
            let shared: Arc<dyn ObjectStore> = Arc::new(store.clone());
            match probe(&shared).await {
                Ok(found) => {
                    assert_eq!(found.verdict, Verdict::Honoured, "{at} {when:?} {:?}", store.trace());
                }
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    }
}

#[tokio::test]
async fn what_a_caller_runs_elsewhere_can_be_sent_there() {
    let room = Room::in_memory().await;
    let vault = room.vault.clone();
    let done = tokio::spawn(async move {
        let manifest = back_up(&vault, &run("aaaaaa"), &pages(), &mut 0).await?;
        vault.tenants().await?;
        vault.verify(&manifest, true, &|_| {}).await
    });
    assert!(done.await.unwrap().unwrap().ok);
    let log = Log::open(&room.vault, &acme(), &run("aaaaaa"), ENTITY).await.unwrap();
    assert_eq!(log.state().events, 0, "swept");
}
