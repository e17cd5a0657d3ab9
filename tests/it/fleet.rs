//! A fleet of real processes: a simulated Tempo and a folder as in `stage`, a Redis, and tenants to be enqueued.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use fermata_core::manifest::Manifest;
use fermata_core::names::Tenant;
use fermata_core::settings::Settings;
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{Link, Queue};
use fermata_vault::{Environment, Identity, Vault};
use jiff::Timestamp;
use tempo_sim::SimBuilder;

use crate::stage::{Call, Server, Stage};
use crate::truth;

/// A fleet without a worker yet.
pub(crate) struct Fleet {
    pub(crate) redis: RedisServer,
    pub(crate) queue: Queue,
    pub(crate) vault: Vault,
    /// Tenant `sim-N` is site N of the simulator, at the place N - 1.
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) stage: Stage,
}

impl Fleet {
    /// With so many tenants, each of which may be asked so many times a second as far as its settings go.
    pub(crate) fn start(sim: SimBuilder, tenants: u32, rate: f64) -> Self {
        let mut fleet = Self::without_tenants(sim.tenants(tenants));
        for site in 1..=tenants {
            let tenant: Tenant = format!("sim-{site}").parse().unwrap();
            fleet.add_tenant(&tenant, site, |settings| settings.rate = rate);
            fleet.tenants.push(tenant);
        }
        fleet
    }

    /// With a vault that has no tenant.
    pub(crate) fn without_tenants(sim: SimBuilder) -> Self {
        let stage = Stage::of(sim);
        stage.fermata("init").run().code(0);
        let folder = stage.at("redis");
        std::fs::create_dir(&folder).unwrap();
        let redis = RedisServer::start(&folder, &[]);
        let vault = stage.block_on(async {
            let store =
                fermata_vault::open(stage.at("fermata-data").to_str().unwrap(), &Environment::default())
                    .unwrap();
            Vault::open(store, Identity::read(&stage.at("fermata.key")).unwrap()).await.unwrap()
        });
        let queue = Queue::new(Link::new(&redis.url(), vault.id()).unwrap());
        Self { redis, queue, vault, tenants: Vec::new(), stage }
    }

    /// Adds a tenant with a site of the simulator. Not by commands: there may be hundreds.
    pub(crate) fn add_tenant(&self, tenant: &Tenant, site: u32, set: impl FnOnce(&mut Settings)) {
        let now = Timestamp::now();
        let mut settings = Settings::new(tenant.clone(), now);
        self.stage.sim.base_url().clone_into(&mut settings.base_url);
        settings.token = Some(self.vault.seal_token(tenant, &self.stage.sim.token(site).into(), now, None));
        set(&mut settings);
        self.stage.block_on(self.vault.save_settings(settings, now)).unwrap();
    }

    /// The program with these arguments, told where the queue is.
    pub(crate) fn fermata(&self, arguments: &str) -> Call<'_> {
        self.stage.fermata(arguments).env("FERMATA_REDIS", &self.redis.url())
    }

    /// A process of the fleet, which logs to a file of this name.
    pub(crate) fn serve(&self, arguments: &str, log: &str) -> Server {
        self.fermata(&format!("{arguments} --log json")).serve(log)
    }

    /// The snapshots of a tenant, oldest first.
    pub(crate) async fn snapshots(&self, tenant: &Tenant) -> Vec<Manifest> {
        let mut all = Vec::new();
        for run in self.vault.snapshots(tenant).await.unwrap() {
            all.push(self.vault.manifest(tenant, &run).await.unwrap().unwrap());
        }
        all
    }

    /// What is wrong with a snapshot: an object that is missing or damaged, a record that is not the site's.
    pub(crate) async fn flaws(&self, site: u32, manifest: &Manifest) -> Vec<String> {
        self.flaws_besides(site, manifest, &[]).await
    }

    /// The same, where it is known that these entities are missing.
    pub(crate) async fn flaws_besides(
        &self,
        site: u32,
        manifest: &Manifest,
        missing: &[&str],
    ) -> Vec<String> {
        let mut flaws = match self.vault.verify(manifest, true, &|_| ()).await {
            Ok(report) => report.problems.iter().map(|problem| format!("{problem:?}")).collect(),
            Err(error) => vec![format!("it cannot be verified: {error}")],
        };
        flaws.extend(truth::differences(&self.stage.sim, site, &self.vault, manifest, missing).await);
        flaws
    }

    /// The file to which Redis writes down what it is told, and its size.
    pub(crate) fn written_by_redis(&self) -> (PathBuf, u64) {
        let folder = self.stage.at("redis/appendonlydir");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let sized = files.map(|path| (path.clone(), path.metadata().unwrap().len()));
        sized.max_by_key(|(_, bytes)| *bytes).unwrap()
    }

    /// Takes so many bytes off the end of what Redis wrote down, and what is before them of a transaction: a replica that
    /// was behind has whole ones alone. Redis must not be running.
    pub(crate) fn roll_redis_back(&self, bytes: u64) {
        const END: &[u8] = b"\r\nEXEC\r\n";
        let (path, all) = self.written_by_redis();
        let mut told = std::fs::read(&path).unwrap();
        told.truncate(usize::try_from(all - bytes).unwrap());
        let end = told.windows(END.len()).rposition(|part| part == END).map_or(0, |at| at + END.len());
        std::fs::write(path, &told[..end]).unwrap();
    }

    /// Gives Redis a command that it answers with OK, once it has read what it had written down.
    pub(crate) fn tell_redis(&self, command: &str) {
        let tell = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.redis.port()))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            let mut answer = [0; 5];
            stream.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = loop {
            let answer = tell().unwrap();
            if &answer != b"-LOAD" {
                break answer;
            }
        };
        assert_eq!(&answer, b"+OK\r\n", "{command}");
    }
}
