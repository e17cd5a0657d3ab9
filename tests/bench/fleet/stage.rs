//! A Redis, a vault with tenants, and processes that work.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fermata_core::catalogue;
use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_engine::{Begun, Clock, Engine, Teller};
use fermata_fleet::queue::{JobState, RunJobs};
use fermata_fleet::testing::RedisServer;
use fermata_fleet::{Link, Producer, Queue};
use fermata_vault::fake::{BUCKET, Fake};
use fermata_vault::{Environment, Identity, Vault};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::child;
use crate::site::{Site, program};

/// A fleet without a worker yet.
pub(crate) struct Fleet {
    pub(crate) redis: RedisServer,
    pub(crate) queue: Queue,
    pub(crate) vault: Vault,
    folder: TempDir,
    /// Where the store is, and what opens it.
    variables: Vec<(&'static str, String)>,
}

/// A process, killed when it is dropped.
pub(crate) struct Process(Child);

impl Fleet {
    pub(crate) async fn start() -> Result<Self> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let store = folder.path().join("fermata-data").display().to_string();
        Self::begin(folder, store, Environment::default(), Vec::new()).await
    }

    /// The same, with its vault in a bucket.
    pub(crate) async fn in_bucket(bucket: &Fake) -> Result<Self> {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let cloud = bucket.amazon("key");
        Self::begin(folder, format!("s3://{BUCKET}/backups"), cloud.clone().into(), cloud.into()).await
    }

    async fn begin(
        folder: TempDir,
        store: String,
        environment: Environment,
        mut variables: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        variables.push(("FERMATA_STORE", store.clone()));
        let mut init = Command::new(program("fermata"));
        init.current_dir(folder.path()).envs(variables.clone()).args(["--quiet", "init"]);
        child::run(&mut init).await?;
        let redis = redis(folder.path())?;
        let vault = opened(&store, &environment, folder.path()).await?;
        let queue = Queue::new(Link::new(&redis.url(), vault.id())?);
        Ok(Self { redis, queue, vault, folder, variables })
    }

    /// Adds the site of this number of a simulator, at so many requests a second.
    pub(crate) async fn add(&self, name: &str, site: &Site, number: u32, rate: f64) -> Result<Tenant> {
        let (tenant, now): (Tenant, _) = (name.parse()?, Timestamp::now());
        let mut settings = Settings::new(tenant.clone(), now);
        site.url.clone_into(&mut settings.base_url);
        settings.rate = rate;
        let token = format!("sim-token-{number}");
        settings.token = Some(self.vault.seal_token(&tenant, &token.into(), now, None));
        self.vault.save_settings(settings, now).await?;
        Ok(tenant)
    }

    /// Enqueues as `fermata enqueue` does.
    pub(crate) async fn enqueue(&self, tenant: &Tenant, only: &[&str]) -> Result<()> {
        let producer =
            Producer { engine: engine(self.vault.clone()), queue: self.queue.clone(), now: Timestamp::now };
        producer.enqueue(tenant, wish(only)).await?;
        Ok(())
    }

    /// Plans a run; the jobs are yet to be [pushed](Queue::push), at a moment that the caller knows.
    pub(crate) async fn plan(&self, tenant: &Tenant, only: &[&str]) -> Result<RunJobs> {
        let Begun { plan, settings, .. } = engine(self.vault.clone()).begin(tenant, wish(only)).await?;
        let mut jobs = Vec::new();
        for entity in plan.entities() {
            let entity = entity?;
            let needs = plan.parents(entity).map(|parent| parent.name.to_owned()).collect();
            jobs.push((entity.name.to_owned(), needs));
        }
        // As the producer has it for rates of 5 and more.
        Ok(RunJobs {
            tenant: plan.tenant.clone(),
            run: plan.run.clone(),
            cap: 6,
            weight: settings.weight,
            rate: settings.rate,
            jobs,
        })
    }

    /// Keeps a tenant busy with so many jobs that read all worklogs, each in a run of its own.
    pub(crate) async fn enqueue_long_jobs(&self, tenant: &Tenant, jobs: usize) -> Result<()> {
        // Another wish is another run. What it asks for beside the worklogs is one request.
        let beside =
            ["worklogs", "teams", "work-attributes", "workload-schemes", "holiday-schemes", "accounts"];
        for entity in beside.into_iter().take(jobs) {
            self.enqueue(tenant, &["worklogs", entity]).await?;
        }
        Ok(())
    }

    /// A `fermata worker`, which logs to a file of this name.
    pub(crate) fn worker(&self, args: &[&str], log: &str) -> Result<Process> {
        Process::start(self.fermata(&["--log", "json", "worker"]).args(args), &self.folder.path().join(log))
    }

    pub(crate) fn fermata(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("fermata"));
        command
            .current_dir(self.folder.path())
            .envs(self.variables.clone())
            .env("FERMATA_REDIS", self.redis.url())
            .arg("--quiet")
            .args(args);
        command
    }

    /// Waits until no job is left to be done, and fails if one was given up.
    pub(crate) async fn wait_until_idle(&self) -> Result<()> {
        loop {
            let counts = self.queue.counts().await?;
            let of = |state| counts.get(&state).copied().unwrap_or_default();
            ensure!(of(JobState::Dead) == 0, "a job was given up: fermata jobs list --state dead");
            if counts.values().sum::<u64>() == of(JobState::Done) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits for so many snapshots of a tenant.
    pub(crate) async fn wait_for_snapshots(&self, tenant: &Tenant, count: usize) -> Result<()> {
        while self.vault.snapshots(tenant).await?.len() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

impl Process {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?).spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn kill(mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; nothing hangs on it any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis server with its files in a folder.
pub(crate) fn redis(folder: &Path) -> Result<RedisServer> {
    let folder = folder.join("redis");
    std::fs::create_dir_all(&folder)?;
    Ok(RedisServer::start(&folder, &[]))
}

pub(crate) async fn open_vault(folder: &Path) -> Result<Vault> {
    let store = folder.join("fermata-data");
    opened(store.to_str().context("a path of plain letters")?, &Environment::default(), folder).await
}

/// A vault whose key is in this folder.
async fn opened(store: &str, environment: &Environment, folder: &Path) -> Result<Vault> {
    let store = fermata_vault::open(store, environment)?;
    Ok(Vault::open(store, Identity::read(&folder.join("fermata.key"))?).await?)
}

pub(crate) fn engine(vault: Vault) -> Engine {
    Engine {
        vault,
        clock: Clock::new(Timestamp::now()),
        client: fermata_tempo::Options::default(),
        attempt_pause: Duration::from_secs(5),
        teller: Teller::default(),
    }
}

pub(crate) fn entities() -> Vec<String> {
    catalogue::ENTITIES.iter().map(|entity| entity.name.to_owned()).collect()
}

/// This program as another process.
pub(crate) fn myself(args: &[&str]) -> Result<Command> {
    let me: PathBuf = std::env::current_exe()?;
    let mut command = Command::new(me);
    command.arg(super::CHILD).args(args);
    Ok(command)
}

fn wish(only: &[&str]) -> Wish {
    Wish { only: only.iter().map(|entity| (*entity).to_owned()).collect(), ..Wish::default() }
}
