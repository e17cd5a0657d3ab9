//! Back up one tenant: plan or resume, do the jobs, seal.
//!
//! ```text
//! settings -> plan.json -> jobs (some at a time) -> manifest -> checkpoints swept
//! ```
//!
//! Whatever stops it, the same call goes on where the logs end.

use std::sync::Arc;
use std::time::Duration;

use fermata_core::catalogue::{self, Entity};
use fermata_core::manifest::Manifest;
use fermata_core::names::{RUN_TAIL_CHARS, RunId, Tenant};
use fermata_core::plan::{self, Plan, PlanError, Wish};
use fermata_core::settings::Settings;
use fermata_tempo::client::ClientError;
use fermata_tempo::{Client, Pace, TempoError, Turns};
use fermata_vault::{Vault, VaultError};
use jiff::SignedDuration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::clock::Clock;
use crate::progress::{Progress, Teller};
use crate::report::Report;
use crate::run::Run;
use crate::seal::Sealed;
use crate::site::{Bases, Site};

/// An unfinished run older than this is begun anew: it would mix data of two weeks into one snapshot.
const RESUME_HOURS_MAX: i64 = 7 * 24;
/// Snapshots that are looked at for one that an entity may build on: more than a week of nightly ones.
const BASES_MAX: usize = 10;
/// Snapshots that are looked at for one that has a log: a token that may not read it costs as many reads each night.
const LOG_BASES_MAX: usize = 100;

/// What backs tenants up.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Where to.
    pub vault: Vault,
    /// The time.
    pub clock: Clock,
    /// How requests are made.
    pub client: fermata_tempo::Options,
    /// The first pause before a job is tried again; it doubles with each.
    pub attempt_pause: Duration,
    /// Who hears of it.
    pub teller: Teller,
}

/// A run that has a plan.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The tenant's settings.
    pub settings: Settings,
    /// What the run does.
    pub plan: Plan,
    /// Whether it had begun before.
    pub resumed: bool,
    /// The tenant's last snapshot.
    pub last: Option<Manifest>,
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
    /// Another process worked on the run at the same time, and was faster.
    #[error(
        "another process was backing {tenant} up at the same time, and has made snapshot {run}; nothing is missing, but one backup at a time is enough"
    )]
    Elsewhere {
        /// Whose.
        tenant: Tenant,
        /// Which run.
        run: RunId,
    },
    /// Somebody dropped the run while it was under way.
    #[error("run {run} of {tenant} was dropped while it was under way; back up again, and a new run begins")]
    Dropped {
        /// Whose.
        tenant: Tenant,
        /// Which run.
        run: RunId,
    },
    /// The tenant's settings name another Tempo than the run was planned for.
    #[error(
        "tenant {tenant} is read from another address than when run {run} was planned; back up again, and a new run begins"
    )]
    Moved {
        /// Whose.
        tenant: Tenant,
        /// Which run.
        run: RunId,
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
        let span = tracing::info_span!(
            "backup",
            otel.status_code = Empty,
            fermata.tenant = tenant.as_str(),
            fermata.run = Empty,
            fermata.resumed = Empty,
        );
        let result = self.backup_in(&span, tenant, wish, stop).instrument(span.clone()).await;
        if result.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        result
    }

    async fn backup_in(
        &self,
        span: &Span,
        tenant: &Tenant,
        wish: Wish,
        stop: &CancellationToken,
    ) -> Result<Report, BackupError> {
        let began = Instant::now();
        let settings = self.settings(tenant).await?;
        // With a token that does not open nothing is planned.
        let client = self.client(&settings, Pace::new(settings.rate))?;
        let Begun { settings, plan, resumed, last } = self.begin_with(settings, wish).await?;
        span.record("fermata.run", plan.run.as_str()).record("fermata.resumed", resumed);
        self.teller.tell(Progress::Begun {
            tenant: tenant.clone(),
            run: plan.run.clone(),
            resumed,
            jobs: plan.jobs.len(),
            expected: last.as_ref().map(Manifest::records),
        });
        let plan = Arc::new(plan);
        let site = self.site_with(client, plan.clone()).await?;
        let manifest = match Box::pin(Run::new(self, site, stop).work()).await {
            Ok(states) => match self.seal(&plan, &states).await? {
                Sealed::Mine(manifest) => *manifest,
                Sealed::Theirs(manifest) => {
                    let Manifest { tenant, run, .. } = *manifest;
                    return Err(BackupError::Elsewhere { tenant, run });
                }
            },
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

    /// Begins a run of this wish, or goes on with the one that is unfinished, as far as no private key is needed:
    /// its jobs can be opened afterwards, here or elsewhere. Sweeps what earlier runs left.
    pub async fn begin(&self, tenant: &Tenant, wish: Wish) -> Result<Begun, BackupError> {
        self.begin_with(self.settings(tenant).await?, wish).await
    }

    /// Where the jobs of a run work, at this pace. Needs the workers' key; the settings are
    /// [read](Self::settings) for it, since a token may have been stored since the run was planned.
    pub async fn site(
        &self,
        settings: &Settings,
        plan: Arc<Plan>,
        pace: impl Turns + 'static,
    ) -> Result<Site, BackupError> {
        if plan.base_url != settings.base_url {
            return Err(BackupError::Moved { tenant: plan.tenant.clone(), run: plan.run.clone() });
        }
        self.site_with(self.client(settings, pace)?, plan).await
    }

    /// The settings of a tenant that can be backed up: it is there, not paused, and its token was not refused.
    pub async fn settings(&self, tenant: &Tenant) -> Result<Settings, BackupError> {
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

    #[tracing::instrument(name = "plan", skip_all)]
    async fn begin_with(&self, settings: Settings, wish: Wish) -> Result<Begun, BackupError> {
        let recent = self.recent(&settings, &wish).await?;
        self.sweep_leftovers(&settings.tenant).await?;
        let (plan, resumed) = self.plan(&settings, wish, &recent).await?;
        Ok(Begun { settings, plan, resumed, last: recent.into_iter().next() })
    }

    fn client(&self, settings: &Settings, pace: impl Turns + 'static) -> Result<Client, BackupError> {
        let token = self.vault.open_token(settings)?;
        Ok(Client::new(&settings.base_url, &token, pace, &self.client)?)
    }

    #[tracing::instrument(name = "site", skip_all)]
    async fn site_with(&self, client: Client, plan: Arc<Plan>) -> Result<Site, BackupError> {
        // After the plan was stored: what a prune deletes before that is not known, and after it a prune waits.
        let known = Arc::new(self.vault.known(&plan.tenant).await?);
        let bases = Arc::new(self.bases(&plan).await?);
        Ok(Site { vault: self.vault.clone(), plan, client, known, bases, clock: self.clock })
    }

    /// The snapshots that a plan compares with or builds on, as far as they are there.
    ///
    /// On an entity that lost a chunk nothing can be built. Of a log, which Tempo may have forgotten since, what is left
    /// is taken, with a warning; what else was said of a base is not said again.
    pub(crate) async fn bases(&self, plan: &Plan) -> Result<Bases, VaultError> {
        let mut bases = Bases::new();
        for run in plan.bases() {
            let Some(mut manifest) = self.readable(&plan.tenant, run).await? else { continue };
            let lost = self.vault.lost(&manifest).await?;
            manifest.entities.iter_mut().for_each(|entry| entry.warnings.clear());
            manifest.entities.retain_mut(|entry| {
                let is_log = catalogue::entity(&entry.entity).is_some_and(Entity::is_log);
                if is_log && entry.has_any(&lost) {
                    let said = match entry.drop_chunks(&lost) {
                        0 => {
                            "its index is no longer in the store, so some of it may be there twice".to_owned()
                        }
                        records => format!("{records} of its records are no longer in the store"),
                    };
                    entry.warnings.push(said);
                }
                !entry.has_any(&lost)
            });
            bases.insert(run.clone(), manifest);
        }
        Ok(bases)
    }

    /// The newest snapshots of a tenant, the newest first, until each entity has one to build on.
    ///
    /// One that is only compared with is looked for among a few; one that a log builds on further back, since what it has may be
    /// nowhere else.
    async fn recent(&self, settings: &Settings, wish: &Wish) -> Result<Vec<Manifest>, VaultError> {
        let (tenant, now) = (&settings.tenant, self.clock.now());
        let mut recent: Vec<Manifest> = Vec::new();
        for (at, run) in self.vault.snapshots(tenant).await?.iter().rev().take(LOG_BASES_MAX).enumerate() {
            recent.extend(self.readable(tenant, run).await?);
            let without = plan::without_base(settings, wish, &recent, now);
            let log = without.iter().any(|entity| entity.is_log());
            if without.is_empty() || (at + 1 >= BASES_MAX && !log) {
                break;
            }
        }
        Ok(recent)
    }

    /// The manifest of a snapshot; none where it is damaged, which must not keep the tenant from being backed up.
    async fn readable(&self, tenant: &Tenant, run: &RunId) -> Result<Option<Manifest>, VaultError> {
        match self.vault.manifest(tenant, run).await {
            Err(error @ VaultError::Corrupt { .. }) => {
                tracing::error!(%tenant, %run, "a snapshot is passed over: {error}");
                Ok(None)
            }
            found => found,
        }
    }

    /// The plan of the unfinished run of this wish, or a new one.
    async fn plan(
        &self,
        settings: &Settings,
        wish: Wish,
        recent: &[Manifest],
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
        // Only the name: a clock that was ahead once must not decide anything for ever.
        let after_last = recent.first().and_then(|last| last.run.began()?.checked_add(second).ok());
        let named = after_last.map_or(now, |after| after.max(now));
        let tail = fermata_vault::nonce();
        let run = RunId::new(named, &tail[..RUN_TAIL_CHARS]).expect("a nonce is lower-case hexadecimal");
        let plan = plan::plan(settings, wish, recent, run, now)?;
        self.vault.create_run(&plan).await?;
        for run in old {
            self.vault.delete_run(tenant, &run).await?;
            let why = "it is more than a week old".to_owned();
            self.teller.tell(Progress::Dropped { tenant: tenant.clone(), run, why });
        }
        Ok((plan, false))
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
    pub async fn mark_refused(&self, used: &Settings) -> Result<(), VaultError> {
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
