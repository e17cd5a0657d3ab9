//! A simulated site, a vault in memory that fails on command, and the engine between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fermata_core::catalogue;
use fermata_core::manifest::{Entry, EntryStatus, Manifest};
use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_engine::{BackupError, Clock, Engine, Report, Teller, view};
use fermata_tempo::Options;
use fermata_vault::fault::FaultStore;
use fermata_vault::{Environment, Identity, InitOptions, Vault};
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::{ObjectStore, ObjectStoreExt};
use tempo_sim::{Sim, SimBuilder};
use tokio_util::sync::CancellationToken;

/// The records of a snapshot by entity, in their order.
pub(crate) type Records = BTreeMap<String, Vec<String>>;

/// A store with one tenant, and what backs it up.
pub(crate) struct Place {
    pub(crate) store: FaultStore,
    pub(crate) identity: Identity,
    pub(crate) vault: Vault,
    pub(crate) engine: Engine,
    pub(crate) tenant: Tenant,
    pub(crate) wish: Wish,
}

/// A place with the simulator that it backs up.
pub(crate) struct Site {
    pub(crate) sim: Sim,
    place: Place,
}

impl std::ops::Deref for Site {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl std::ops::DerefMut for Site {
    fn deref_mut(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl Site {
    /// Starts a site whose quota does not slow a test down.
    pub(crate) async fn start(builder: SimBuilder) -> Self {
        let sim = builder.rate(0.0).start().await.unwrap();
        let place = Place::new(sim.base_url(), &sim.token(1)).await;
        Self { sim, place }
    }

    /// Asks for these entities alone (and for those that they hang on).
    pub(crate) fn only(mut self, entities: &[&str]) -> Self {
        self.wish = only(entities);
        self
    }

    /// The requests of the tenant so far, by method and path template.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        let ledger = self.sim.ledger();
        let paths = ledger.tenants.get("sim-1").map(|tenant| tenant.paths.clone()).unwrap_or_default();
        paths.into_iter().map(|(path, count)| (path, count.requests)).collect()
    }
}

impl Place {
    /// A vault in memory, and a tenant that is asked at `base_url`.
    pub(crate) async fn new(base_url: &str, token: &str) -> Self {
        let store = FaultStore::new(fermata_vault::open("memory:", &Environment::default()).unwrap());
        let identity = Identity::generate();
        let options = InitOptions {
            worker: identity.recipient(),
            data_recipients: vec![identity.recipient()],
            single_writer: false,
            now: Timestamp::now(),
        };
        Vault::init(store.inner().clone(), options).await.unwrap();
        let vault = Vault::open(Arc::new(store.clone()), vec![identity.clone()]).await.unwrap();
        let tenant = add_tenant(base_url, token, &vault).await;
        let engine = engine(&vault);
        store.reset();
        Self { store, identity, vault, engine, tenant, wish: Wish::default() }
    }

    /// Backs the tenant up.
    pub(crate) async fn backup(&self) -> Result<Report, BackupError> {
        self.backup_by(&self.engine).await
    }

    /// The same by another engine: another process.
    pub(crate) async fn backup_by(&self, engine: &Engine) -> Result<Report, BackupError> {
        engine.backup(&self.tenant, self.wish.clone(), &CancellationToken::new()).await
    }

    /// The store of another process on the same objects, and its engine.
    pub(crate) async fn other_process(&self) -> (FaultStore, Engine) {
        let store = FaultStore::new(self.store.inner().clone());
        let vault = Vault::open(Arc::new(store.clone()), vec![self.identity.clone()]).await.unwrap();
        store.reset();
        let engine = Engine { client: self.engine.client.clone(), ..engine(&vault) };
        (store, engine)
    }

    /// The vault as nobody's faults show it.
    pub(crate) async fn healthy(&self) -> Vault {
        Vault::open(self.store.inner().clone(), vec![self.identity.clone()]).await.unwrap()
    }

    /// The newest snapshot.
    pub(crate) async fn latest(&self) -> Manifest {
        self.vault.latest(&self.tenant).await.unwrap().unwrap()
    }

    /// The snapshot that a report is about; of two made in one second the newest is anybody's guess.
    pub(crate) async fn sealed(&self, report: &Report) -> Manifest {
        let run = report.snapshot.as_ref().unwrap();
        self.vault.manifest(&self.tenant, run).await.unwrap().unwrap()
    }

    /// All snapshots.
    pub(crate) async fn manifests(&self) -> Vec<Manifest> {
        let vault = self.healthy().await;
        let mut all = Vec::new();
        for run in vault.snapshots(&self.tenant).await.unwrap() {
            all.push(vault.manifest(&self.tenant, &run).await.unwrap().unwrap());
        }
        all
    }

    /// The records of a snapshot, which is proved to be whole.
    pub(crate) async fn whole(&self, manifest: &Manifest) -> Result<Records, String> {
        let vault = self.healthy().await;
        let verified = vault.verify(manifest, true, &|_| ()).await.map_err(|error| error.to_string())?;
        if !verified.ok {
            return Err(format!("verify: {:?}", verified.problems));
        }
        let mut all = BTreeMap::new();
        for entry in &manifest.entities {
            let entity = catalogue::entity(&entry.entity).unwrap();
            let mut records = Vec::new();
            let take = |line: &str| {
                records.push(line.to_owned());
                Ok::<_, ()>(())
            };
            let count = view::each(&vault, &self.tenant, entity, entry, take).await.unwrap();
            if count != entry.records {
                return Err(format!("{}: {} counted, {count} in the view", entry.entity, entry.records));
            }
            all.insert(entry.entity.clone(), records);
        }
        Ok(all)
    }

    /// The same where a test can say nothing more about a snapshot that is not whole.
    pub(crate) async fn records(&self, manifest: &Manifest) -> Records {
        self.whole(manifest).await.unwrap()
    }

    /// Every object in the store, by its name.
    pub(crate) async fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for found in self.store.inner().list(None).try_collect::<Vec<_>>().await.unwrap() {
            let bytes = self.store.inner().get(&found.location).await.unwrap().bytes().await.unwrap();
            all.insert(found.location.to_string(), bytes.to_vec());
        }
        all
    }
}

/// A wish for these entities alone.
pub(crate) fn only(entities: &[&str]) -> Wish {
    let only: BTreeSet<_> = entities.iter().map(|entity| (*entity).to_owned()).collect();
    Wish { only, ..Wish::default() }
}

/// The entry of an entity.
pub(crate) fn entry<'a>(manifest: &'a Manifest, entity: &str) -> &'a Entry {
    manifest.entry(entity).unwrap()
}

/// Checks how an entity ended, and what its reason says.
#[track_caller]
pub(crate) fn assert_ended(manifest: &Manifest, entity: &str, status: EntryStatus, reason: &str) {
    let entry = entry(manifest, entity);
    let said = entry.reason.as_deref().unwrap_or_default();
    assert_eq!(entry.status, status, "{entity}: {said}");
    assert!(said.contains(reason), "{entity}: {said:?} does not say {reason:?}");
}

/// An engine without pauses.
pub(crate) fn engine(vault: &Vault) -> Engine {
    Engine {
        vault: vault.clone(),
        clock: Clock::new(Timestamp::now()),
        client: Options {
            retry_pauses: vec![Duration::from_millis(1); 3],
            read_timeout: Duration::from_millis(500),
            ..Options::default()
        },
        attempt_pause: Duration::from_millis(1),
        teller: Teller::default(),
    }
}

/// Adds a tenant with its token.
async fn add_tenant(base_url: &str, token: &str, vault: &Vault) -> Tenant {
    let tenant: Tenant = "sim-1".parse().unwrap();
    let now = Timestamp::now();
    let mut settings = Settings::new(tenant.clone(), now);
    base_url.clone_into(&mut settings.base_url);
    settings.rate = 0.0;
    settings.token = Some(vault.seal_token(&tenant, &token.into(), now, None));
    vault.save_settings(settings, now).await.unwrap();
    tenant
}

/// A record without the `_parent` that the backup put before it.
pub(crate) fn without_parent(line: &str) -> String {
    let Some(rest) = line.strip_prefix(r#"{"_parent":"#) else { return line.to_owned() };
    let end = rest.find('}').unwrap();
    format!("{{{}", rest[end + 1..].trim_start_matches(','))
}
