//! A simulated site, a vault in memory, and the engine between them.

use std::collections::BTreeMap;
use std::time::Duration;

use fermata_core::catalogue;
use fermata_core::manifest::Manifest;
use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_engine::{BackupError, Clock, Engine, Report, Teller, view};
use fermata_tempo::Options;
use fermata_vault::{Identity, InitOptions, Vault};
use jiff::Timestamp;
use tempo_sim::{Sim, SimBuilder};
use tokio_util::sync::CancellationToken;

/// A site and what backs it up.
pub(crate) struct Site {
    pub(crate) sim: Sim,
    pub(crate) vault: Vault,
    pub(crate) engine: Engine,
    pub(crate) tenant: Tenant,
}

impl Site {
    /// Starts a site whose quota does not slow a test down.
    pub(crate) async fn start(builder: SimBuilder) -> Self {
        let sim = builder.rate(0.0).start().await.unwrap();
        let store = fermata_vault::open("memory:").unwrap();
        let identity = Identity::generate();
        let options = InitOptions {
            worker: identity.recipient(),
            data_recipients: vec![identity.recipient()],
            single_writer: false,
            now: Timestamp::now(),
        };
        Vault::init(store.clone(), options).await.unwrap();
        let vault = Vault::open(store, vec![identity]).await.unwrap();
        let tenant = add_tenant(&sim, &vault).await;
        let engine = engine(&vault);
        Self { sim, vault, engine, tenant }
    }

    /// Backs the site up.
    pub(crate) async fn backup(&self) -> Result<Report, BackupError> {
        self.engine.backup(&self.tenant, Wish::default(), &CancellationToken::new()).await
    }

    /// The newest snapshot.
    pub(crate) async fn latest(&self) -> Manifest {
        self.vault.latest(&self.tenant).await.unwrap().unwrap()
    }

    /// The records of a snapshot by entity, in their order.
    pub(crate) async fn records(&self, manifest: &Manifest) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for entry in &manifest.entities {
            let entity = catalogue::entity(&entry.entity).unwrap();
            let mut records = Vec::new();
            let take = |line: &str| {
                records.push(line.to_owned());
                Ok::<_, ()>(())
            };
            let count = view::each(&self.vault, &self.tenant, entity, entry, take).await.unwrap();
            assert_eq!(count, entry.records, "{}: the manifest counts what the view shows", entry.entity);
            all.insert(entry.entity.clone(), records);
        }
        all
    }
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

/// Adds the simulator's first tenant, with its token.
pub(crate) async fn add_tenant(sim: &Sim, vault: &Vault) -> Tenant {
    let tenant: Tenant = "sim-1".parse().unwrap();
    let now = Timestamp::now();
    let mut settings = Settings::new(tenant.clone(), now);
    sim.base_url().clone_into(&mut settings.base_url);
    settings.rate = 0.0;
    settings.token = Some(vault.seal_token(&tenant, &sim.token(1).into(), now, None));
    vault.save_settings(settings, now).await.unwrap();
    tenant
}

/// A record without the `_parent` that the backup put before it.
pub(crate) fn without_parent(line: &str) -> String {
    let Some(rest) = line.strip_prefix(r#"{"_parent":"#) else { return line.to_owned() };
    let end = rest.find('}').unwrap();
    format!("{{{}", rest[end + 1..].trim_start_matches(','))
}
