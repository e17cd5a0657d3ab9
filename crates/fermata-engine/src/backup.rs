//! Back up one tenant: plan or resume, do the jobs, seal.
//!
//! ```text
//! settings -> plan.json -> jobs (some at a time) -> manifest -> checkpoints swept
//! ```
//!
//! Whatever stops it, the same call goes on where the logs end.

use std::sync::Arc;
use std::time::Duration;

use fermata_core::manifest::Manifest;
use fermata_core::names::{RUN_TAIL_CHARS, RunId, Tenant};
use fermata_core::plan::{self, Plan, PlanError, Wish};
use fermata_core::settings::Settings;
use fermata_tempo::client::ClientError;
use fermata_tempo::{Client, Pace, TempoError};
use fermata_vault::{Vault, VaultError};
use jiff::SignedDuration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::progress::{Progress, Teller};
use crate::report::Report;
use crate::run::{Ended, Run};
use crate::seal;

/// An unfinished run older than this is begun anew: it would mix data of two weeks into one snapshot.
const RESUME_HOURS_MAX: i64 = 7 * 24;

/// What backs tenants up.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where to.
    pub vault: Vault,
    /// The time.
    pub clock: Clock,
    /// How requests are made.
    pub client: fermata_tempo::Options,
    /// The first pause before a job is tried again; it doubles up to a minute.
    pub attempt_pause: Duration,
    /// Who hears of it.
    pub teller: Teller,
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Never added, or removed.
    #[error("there is no tenant {0}; add it with `fermata tenant add {0}`")]
    NoTenant(Tenant),
    /// Held back by its operator.
    #[error("tenant {0} is paused; `fermata tenant resume {0}` lets it go on")]
    Paused(Tenant),
    /// Added, and no token stored yet.
    #[error("tenant {0} has no token yet; store one with `fermata token set {0}`")]
    NoToken(Tenant),
    /// Tempo refused the token.
    #[error(
        "Tempo refuses the token of tenant {0}; make a new one in Tempo and store it with `fermata token set {0}`"
    )]
    TokenRefused(Tenant),
    /// Not a plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Not a client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store no longer has what it took.
    #[error(
        "the store lost a part of run {run}, so it was not made a snapshot: {object}: {what}; drop it with `fermata runs abandon {tenant} {run} --yes` and back up again"
    )]
    NotWhole {
        /// Whose.
        tenant: Tenant,
        /// Which run.
        run: RunId,
        /// The first object that is not as it was.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// Tempo answers nothing at all.
    #[error("Tempo does not answer; nothing is lost, and the same command goes on from here")]
    Unreachable(#[source] TempoError),
    /// Told to stop.
    #[error("stopped; nothing is lost, and the same command goes on from here")]
    Stopped,
}

impl Engine {
    /// Backs up one tenant, from its last checkpoint if a run of the same wish is unfinished.
    pub async fn backup(
        &self,
        tenant: &Tenant,
        wish: Wish,
        stop: &CancellationToken,
    ) -> Result<Report, BackupError> {
        let began = Instant::now();
        let settings = self.settings(tenant).await?;
        let token = self.vault.open_token(&settings)?;
        let client = Client::new(&settings.base_url, &token, Pace::new(settings.rate), &self.client)?;
        let last = self.vault.latest(tenant).await?;
        let known = self.vault.known(tenant).await?;
        self.sweep_leftovers(tenant).await?;
        let (plan, resumed) = self.plan(&settings, wish, last.as_ref()).await?;
        self.teller.tell(Progress::Begun {
            tenant: tenant.clone(),
            run: plan.run.clone(),
            resumed,
            jobs: plan.jobs.len(),
            expected: last.as_ref().map(Manifest::records),
        });
        let run = Run::new(self, Arc::new(plan), client, Arc::new(known), stop);
        let manifest = match run.work().await {
            Ok(states) => self.seal(states).await?,
            Err(error) => {
                if matches!(error, BackupError::TokenRefused(_))
                    && let Err(unmarked) = self.mark_refused(&settings).await
                {
                    tracing::warn!(%tenant, "the refusal of the token was not written down: {unmarked}");
                }
                return Err(error);
            }
        };
        self.teller.tell(Progress::Sealed { tenant: tenant.clone(), run: manifest.run.clone() });
        Ok(Report::sealed(&manifest, last.is_none(), resumed, began.elapsed().as_secs_f64()))
    }

    /// The settings of a tenant that can be backed up.
    async fn settings(&self, tenant: &Tenant) -> Result<Settings, BackupError> {
        let settings = self.vault.settings(tenant).await?.filter(|settings| !settings.removed);
        let settings = settings.ok_or_else(|| BackupError::NoTenant(tenant.clone()))?;
        if settings.paused {
            return Err(BackupError::Paused(tenant.clone()));
        }
        match &settings.token {
            None => Err(BackupError::NoToken(tenant.clone())),
            // Nothing is asked with a token that was refused once: Tempo may block an address that insists.
            Some(token) if token.refused.is_some() => Err(BackupError::TokenRefused(tenant.clone())),
            Some(_) => Ok(settings),
        }
    }

    /// The plan of the unfinished run of this wish, or a new one.
    async fn plan(
        &self,
        settings: &Settings,
        wish: Wish,
        last: Option<&Manifest>,
    ) -> Result<(Plan, bool), BackupError> {
        let tenant = &settings.tenant;
        let now = self.clock.now();
        let mut old = Vec::new();
        for run in self.vault.unfinished_runs(tenant).await?.into_iter().rev() {
            let Some(plan) = self.vault.plan(tenant, &run).await? else { continue };
            let fresh = now.duration_since(plan.started).as_hours() < RESUME_HOURS_MAX;
            if fresh && plan.wish == wish && plan.base_url == settings.base_url {
                return Ok((plan, true));
            }
            // What was asked for otherwise is left alone: the same words go on with it.
            old.extend((!fresh).then_some(run));
        }
        // Names sort as the runs were made, also within one second or after a clock was set back.
        let second = SignedDuration::from_secs(1);
        let after_last = last.and_then(|last| last.started.checked_add(second).ok());
        let now = after_last.map_or(now, |after| after.max(now));
        let tail = fermata_vault::nonce();
        let run = RunId::new(now, &tail[..RUN_TAIL_CHARS]).expect("a nonce is lower-case hexadecimal");
        let plan = plan::plan(settings, wish, run, now)?;
        self.vault.create_run(&plan).await?;
        for run in old {
            self.vault.delete_run(tenant, &run).await?;
            let why = "it is more than a week old".to_owned();
            self.teller.tell(Progress::Dropped { tenant: tenant.clone(), run, why });
        }
        Ok((plan, false))
    }

    async fn seal(&self, sealed: Ended) -> Result<Manifest, BackupError> {
        let manifest = seal::manifest(&sealed.plan, &sealed.states, fermata_vault::nonce(), self.clock.now());
        // Before there is a snapshot, and while its checkpoints still tell what was read.
        let report = self.vault.verify(&manifest, false, &|_| ()).await?;
        if let Some(problem) = report.problems.into_iter().next() {
            let (tenant, run) = (manifest.tenant, manifest.run);
            return Err(BackupError::NotWhole {
                tenant,
                run,
                object: problem.object,
                what: problem.what.to_string(),
            });
        }
        let manifest = match self.vault.write_manifest(&manifest).await? {
            fermata_vault::Sealed::Mine => manifest,
            fermata_vault::Sealed::Theirs(theirs) => *theirs,
        };
        if let Err(error) = self.vault.sweep_run(&manifest).await {
            // The snapshot is there; what is left of its checkpoints the next backup sweeps.
            tracing::warn!(tenant = %manifest.tenant, run = %manifest.run, "checkpoints not swept: {error}");
        }
        Ok(manifest)
    }

    /// Sweeps what a crash or a fault left of runs that are sealed or dropped.
    async fn sweep_leftovers(&self, tenant: &Tenant) -> Result<(), VaultError> {
        for leftover in self.vault.leftover_runs(tenant).await? {
            let (fermata_vault::Leftover::Sealed(run) | fermata_vault::Leftover::Unplanned(run)) = leftover;
            self.vault.delete_run(tenant, &run).await?;
        }
        Ok(())
    }

    /// Marks the token that was used as refused; one that was stored meanwhile has not been tried.
    async fn mark_refused(&self, used: &Settings) -> Result<(), VaultError> {
        let now = self.clock.now();
        let Some(mut settings) = self.vault.settings(&used.tenant).await? else { return Ok(()) };
        match &mut settings.token {
            Some(token) if used.token.as_ref().is_some_and(|used| used.sealed == token.sealed) => {
                token.refused = Some(now);
            }
            _ => return Ok(()),
        }
        match self.vault.save_settings(settings, now).await {
            // Whoever wrote them meanwhile may have stored a new token; the next run will see.
            Ok(_) | Err(VaultError::Taken { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
