//! One module for each command.

mod accept;
mod backup;
mod check;
mod demo;
mod diff;
mod doctor;
mod enqueue;
mod export;
pub(crate) mod fleet;
mod init;
mod jobs;
mod key;
mod papers;
mod probe;
mod prune;
mod queue;
mod records;
mod runs;
mod snapshots;
mod tenant;
mod token;
mod user;
mod worker;

use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_core::settings::Settings;
use fermata_tempo::Options;
use fermata_vault::{Identity, KeyError, Vault, VaultError};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cli::Command;
use crate::config::Config;
use crate::exit::Usage;
use crate::out::Out;
pub(crate) use check::check;

/// A token is warned of this many days before it expires.
pub(crate) const EXPIRY_DAYS: i32 = 14;

/// Carries a command out; returns its exit code.
pub(crate) async fn run(command: Command, config: Config, out: &Out) -> anyhow::Result<u8> {
    let now = Timestamp::now();
    match command {
        Command::Init(init) => init::run(&init, &config, *out, now).await,
        Command::Tenant(command) => tenant::run(command, &config, *out, now).await,
        Command::Token(command) => token::run(command, &config, *out, now).await,
        Command::Backup(backup) => backup::run(backup, &config, *out, now).await,
        Command::Enqueue(enqueue) => enqueue::run(enqueue, &config, *out, now).await,
        Command::Worker(worker) => worker::run(worker, &config, *out).await,
        Command::Scheduler(scheduler) => worker::schedule(scheduler, &config, *out).await,
        Command::Dashboard(dashboard) => crate::dashboard::run(dashboard, &config, *out).await,
        Command::User(command) => user::run(command, &config, *out),
        Command::Probe(probe) => probe::run(probe, *out).await,
        Command::Reconcile => enqueue::reconcile(&config, *out).await,
        Command::Jobs(command) => jobs::run(command, &config, *out, now).await,
        Command::Queue(command) => queue::run(command, &config, *out, now).await,
        Command::Runs(command) => runs::run(command, &config, *out).await,
        Command::Key(command) => key::run(command, &config, *out, now).await,
        Command::Snapshots(command) => snapshots::run(command, &config, *out).await,
        Command::Export(export) => export::run(export, &config, *out).await,
        Command::Doctor => doctor::run(&config, *out, now).await,
        Command::Demo(demo) => demo::run(demo).await,
        Command::Completions { shell } => papers::completions(shell),
        Command::Man { out: folder } => papers::man(folder.as_deref()),
    }
}

/// Opens the vault with the key at hand.
pub(crate) async fn open(config: &Config) -> anyhow::Result<Vault> {
    open_with(config, Identity::read(&config.key_file)?).await
}

/// Opens the vault to read records, which need a key unless they are not encrypted.
async fn open_to_read(config: &Config) -> anyhow::Result<Vault> {
    match Identity::read(&config.key_file) {
        Ok(identities) => open_with(config, identities).await,
        Err(missing @ KeyError::Missing { .. }) => {
            let vault = open_with(config, Vec::new()).await?;
            if vault.data_recipients().is_empty() { Ok(vault) } else { Err(missing.into()) }
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens the vault for what needs no key; with it where there is one.
pub(crate) async fn open_without_key(config: &Config) -> anyhow::Result<Vault> {
    match Identity::read(&config.key_file) {
        Ok(identities) => open_with(config, identities).await,
        Err(KeyError::Missing { .. }) => open_with(config, Vec::new()).await,
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn open_with(config: &Config, identities: Vec<Identity>) -> anyhow::Result<Vault> {
    let opened =
        async { Vault::open(fermata_vault::open(&config.store, &config.clouds)?, identities).await }.await;
    opened.map_err(|error| match error {
        VaultError::NoVault => anyhow::Error::from(error).context(config.store.clone()),
        error => error.into(),
    })
}

/// How Tempo is asked while a person waits for the answer: one retry, soon.
pub(crate) fn impatient() -> Options {
    Options { retry_pauses: vec![Duration::from_secs(1)], ..Options::default() }
}

/// The settings of a tenant that is there.
pub(crate) async fn settings(vault: &Vault, tenant: &Tenant) -> anyhow::Result<Settings> {
    let settings = vault.settings(tenant).await?.filter(|settings| !settings.removed);
    settings.ok_or_else(|| {
        Usage(format!("there is no tenant {tenant}; `fermata tenant list` shows them all")).into()
    })
}

/// Tenants whose settings cannot be read, and why.
pub(crate) type Unreadable = Vec<(Tenant, anyhow::Error)>;

/// The settings of the tenants that were added and not removed; one that is damaged hides no other.
pub(crate) async fn all_settings(vault: &Vault) -> anyhow::Result<(Vec<Settings>, Unreadable)> {
    let (mut all, mut unreadable) = (Vec::new(), Vec::new());
    for tenant in vault.tenants().await? {
        match vault.settings(&tenant).await {
            Ok(settings) => all.extend(settings.filter(|settings| !settings.removed)),
            Err(error) => unreadable.push((tenant, error.into())),
        }
    }
    Ok((all, unreadable))
}

/// Cancelled by the first Ctrl-C or SIGTERM; a second one ends the process at once.
pub(crate) fn stop_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        told.cancel();
        wait_for_signal().await;
        std::process::exit(i32::from(crate::exit::FAILED));
    });
    stop
}

#[cfg(unix)]
async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

#[cfg(not(unix))]
async fn wait_for_signal() {
    let _ = tokio::signal::ctrl_c().await;
}
