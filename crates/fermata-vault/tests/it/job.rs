//! A small engine: pages of records, a log, chunks, a manifest; and vaults to run it in.

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_core::catalogue::Way;
use fermata_core::checkpoint::{Cursor, Next, Outcome, Place, Tally, slot};
use fermata_core::manifest::{Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::{Plan, Wish, plan};
use fermata_core::settings::Settings;
use fermata_vault::azurite::{Azurite, CONTAINER};
use fermata_vault::fake::{BUCKET, Fake, Manners};
use fermata_vault::fault::FaultStore;
use fermata_vault::{
    Environment, Identity, InitOptions, Known, Log, Recipient, Sealed, Step, Vault, VaultError,
};
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::TempDir;

use crate::server::Server;

/// Small, so that a few pages make a few chunks.
const CHUNK_BYTES: u64 = 400;
pub(crate) const ENTITY: &str = "worklogs";
/// The kind of store that lets two creates of one name win when they come at the same time.
pub(crate) const RACY: &str = "s3s";

/// A vault in a store that can be made to fail.
pub(crate) struct Room {
    /// Which kind of store.
    pub(crate) kind: &'static str,
    pub(crate) store: FaultStore,
    pub(crate) worker: Identity,
    pub(crate) vault: Vault,
    _behind: Behind,
}

/// What is behind a store, and goes with it.
#[expect(dead_code, reason = "kept until the test ends")]
pub(crate) enum Behind {
    Nothing,
    Folder(TempDir),
    Fake(Fake),
    Server(Server),
    Azurite(Azurite),
}

impl Room {
    pub(crate) async fn in_memory() -> Self {
        Self::sealed_to(|worker| vec![worker.clone()]).await
    }

    /// In memory, with records sealed to the recipients that are chosen from the worker's.
    pub(crate) async fn sealed_to(data: impl Fn(&Recipient) -> Vec<Recipient>) -> Self {
        Self::new("memory", FaultStore::new(Arc::new(InMemory::new())), Behind::Nothing, data).await
    }

    /// One of each kind of store that needs no process of its own.
    pub(crate) async fn each() -> Vec<Self> {
        let mut rooms = vec![Self::in_memory().await];
        let folder = TempDir::new().unwrap();
        let url = folder.path().to_str().unwrap().to_owned();
        rooms.push(Self::at("folder", &url, &Environment::default(), Behind::Folder(folder)).await);
        for scheme in ["s3", "gs"] {
            let fake = Fake::start(Manners::Exact).await.unwrap();
            let (url, environment) = (format!("{scheme}://{BUCKET}/some/prefix"), fake.environment(scheme));
            rooms.push(Self::at(scheme, &url, &environment, Behind::Fake(fake)).await);
        }
        rooms
    }

    /// One of each kind of store, with the servers that others made.
    pub(crate) async fn everywhere() -> Vec<Self> {
        let mut rooms = Self::each().await;
        let server = Server::start().await;
        let environment = server.environment();
        rooms.push(Self::at(RACY, "s3://bucket/prefix", &environment, Behind::Server(server)).await);
        let azurite = Azurite::start().await.unwrap();
        let (url, environment) = (format!("az://{CONTAINER}/some/prefix"), azurite.environment());
        rooms.push(Self::at("azurite", &url, &environment, Behind::Azurite(azurite)).await);
        rooms
    }

    async fn at(kind: &'static str, url: &str, environment: &Environment, behind: Behind) -> Self {
        let store = fermata_vault::open(url, environment).unwrap();
        Self::new(kind, FaultStore::new(store), behind, |worker| vec![worker.clone()]).await
    }

    async fn new(
        kind: &'static str,
        store: FaultStore,
        behind: Behind,
        data: impl Fn(&Recipient) -> Vec<Recipient>,
    ) -> Self {
        let worker = Identity::generate();
        let recipient = worker.recipient();
        let options = InitOptions {
            data_recipients: data(&recipient),
            worker: recipient,
            single_writer: kind == RACY,
            now: now(),
        };
        Vault::init(Arc::new(store.clone()), options).await.unwrap();
        let vault = Vault::open(Arc::new(store.clone()), [worker.clone()]).await.unwrap();
        Self { kind, store, worker, vault, _behind: behind }
    }

    /// Another store in memory with the same objects.
    pub(crate) async fn copy(&self) -> Self {
        let copy = InMemory::new();
        for found in self.store.inner().list(None).try_collect::<Vec<_>>().await.unwrap() {
            let bytes = self.store.inner().get(&found.location).await.unwrap().bytes().await.unwrap();
            copy.put(&found.location, bytes.into()).await.unwrap();
        }
        let (store, worker) = (FaultStore::new(Arc::new(copy)), self.worker.clone());
        let vault = Vault::open(Arc::new(store.clone()), [worker.clone()]).await.unwrap();
        Self { kind: "memory", store, worker, vault, _behind: Behind::Nothing }
    }

    /// The vault again, with other keys.
    pub(crate) async fn open(&self, keys: impl IntoIterator<Item = Identity>) -> Result<Vault, VaultError> {
        Vault::open(Arc::new(self.store.clone()), keys).await
    }
}

pub(crate) fn now() -> Timestamp {
    "2026-03-01T02:00:00Z".parse().unwrap()
}

pub(crate) fn acme() -> Tenant {
    "acme".parse().unwrap()
}

pub(crate) fn run(tail: &str) -> RunId {
    RunId::new(now(), tail).unwrap()
}

pub(crate) fn plan_of(run: RunId) -> Plan {
    plan(&Settings::new(acme(), now()), Wish::default(), &[], run, now()).unwrap()
}

/// A page of records that name their page and row.
pub(crate) fn page(number: usize, rows: usize) -> Vec<String> {
    let description = "long enough that a few rows make a chunk";
    (0..rows).map(|row| format!(r#"{{"id":{},"description":"{description}"}}"#, number * 100 + row)).collect()
}

pub(crate) fn pages() -> Vec<Vec<String>> {
    [5, 3, 0, 9, 1, 4].into_iter().enumerate().map(|(number, rows)| page(number, rows)).collect()
}

pub(crate) fn step(next: Next, records: u64, bytes: u64) -> Step {
    Step::new(now(), Way::Sweep, next, Tally { records, kept: [records, 0, 0, 0], bytes, ..Tally::default() })
}

pub(crate) fn at_page(number: usize) -> Next {
    let place = Place::Offset { offset: number as u64, pass: 0, news: false };
    Next::Page(Cursor { place, ..Cursor::default() })
}

/// The page that a log goes on with.
pub(crate) fn next_page(log: &Log) -> usize {
    match log.state().cursor.place {
        Place::Offset { offset, .. } => usize::try_from(offset).unwrap(),
        _ => 0,
    }
}

/// Reads one page into the log.
pub(crate) async fn take_page(
    log: &mut Log,
    number: usize,
    pages: &[Vec<String>],
    known: &Known,
) -> Result<(), VaultError> {
    let mut tally = log.state().tally;
    for record in &pages[number] {
        let line = format!("{record}\n");
        log.chunk(LayerKind::Sweep).add(line.as_bytes());
        tally.records += 1;
        tally.bytes += line.len() as u64;
        // The boundary depends on the records alone.
        if log.chunk(LayerKind::Sweep).bytes() >= CHUNK_BYTES {
            log.close_chunk(LayerKind::Sweep, known).await?;
        }
    }
    let last = number + 1 == pages.len();
    if last {
        log.close_chunk(LayerKind::Sweep, known).await?;
    }
    let next = if last { Next::End(Outcome::Complete) } else { at_page(number + 1) };
    let mut step = step(next, tally.records, tally.bytes);
    step.ids.insert(number as u64);
    step.marks = vec![number as u64];
    step.keys.entry(fermata_core::catalogue::Key::User).or_default().insert(format!("user-{number}"));
    log.append(step).await
}

/// Backs up from wherever the run is; pages that were fetched are counted.
pub(crate) async fn back_up(
    vault: &Vault,
    run: &RunId,
    pages: &[Vec<String>],
    fetched: &mut usize,
) -> Result<Manifest, VaultError> {
    if let Some(manifest) = vault.manifest(&acme(), run).await? {
        vault.sweep_run(&manifest).await?;
        return Ok(manifest);
    }
    if vault.plan(&acme(), run).await?.is_none() {
        vault.create_run(&plan_of(run.clone())).await?;
    }
    let known = vault.known(&acme()).await?;
    let mut log = Log::open(vault, &acme(), run, ENTITY).await?;
    while log.state().outcome.is_none() {
        let number = next_page(&log);
        *fetched += 1;
        take_page(&mut log, number, pages, &known).await?;
    }
    let manifest = Manifest { previous: vault.previous(&acme()).await?, ..manifest_of(run, &log) };
    let manifest = match vault.write_manifest(&manifest).await? {
        Sealed::Mine => manifest,
        Sealed::Theirs(theirs) => *theirs,
    };
    vault.sweep_run(&manifest).await?;
    Ok(manifest)
}

pub(crate) fn manifest_of(run: &RunId, log: &Log) -> Manifest {
    let state = log.state();
    let chunks = state.closed[slot(LayerKind::Sweep)].clone();
    let entry = Entry {
        status: EntryStatus::Complete,
        records: state.tally.records,
        layers: vec![Layer { kind: LayerKind::Sweep, added: state.tally.records, deleted: 0, chunks }],
        bytes: state.tally.bytes,
        ..Entry::new(ENTITY)
    };
    Manifest {
        schema: fermata_core::FORMAT,
        run: run.clone(),
        tenant: acme(),
        nonce: fermata_vault::nonce(),
        written_by: "test".to_owned(),
        previous: None,
        wish: fermata_core::plan::Wish::default(),
        base_url: "http://127.0.0.1".to_owned(),
        started: now(),
        sealed: now(),
        status: Status::Complete,
        windows: BTreeMap::new(),
        entities: vec![entry],
    }
}

/// Every record of a snapshot, a line each.
pub(crate) async fn records(vault: &Vault, manifest: &Manifest) -> String {
    let mut lines = Vec::new();
    for chunk in manifest.chunks() {
        lines.extend(vault.read_chunk(&acme(), chunk).await.unwrap());
    }
    String::from_utf8(lines).unwrap()
}

pub(crate) fn expected(pages: &[Vec<String>]) -> String {
    pages.iter().flatten().flat_map(|record| [record.as_str(), "\n"]).collect()
}
