//! What the jobs of one run share, and the one way to open one of them.
//!
//! A job is opened from the store and from what its parents gave, whoever asks: the run of this process, which
//! has its parents' logs at hand, or a worker that has names alone and reads how they [ended](Log::ended).

use std::collections::BTreeMap;
use std::sync::Arc;

use fermata_core::catalogue::{Delta, Entity, Key, Way};
use fermata_core::checkpoint::Outcome;
use fermata_core::checkpoint::body::Keys;
use fermata_core::manifest::Manifest;
use fermata_core::names::RunId;
use fermata_core::plan::Plan;
use fermata_tempo::client::Cost;
use fermata_tempo::{Client, Disposition};
use fermata_vault::{Ended, Known, Log, Vault, VaultError};
use roaring::RoaringTreemap;

use crate::clock::Clock;
use crate::coverage;
use crate::items::Found;
use crate::job::{Base, Job};

/// Where the jobs of one run work. A clone is the same site.
#[derive(Clone, Debug)]
pub struct Site {
    pub(crate) vault: Vault,
    pub(crate) plan: Arc<Plan>,
    pub(crate) client: Client,
    pub(crate) known: Arc<Known>,
    /// The snapshots that the plan compares with or builds on.
    pub(crate) bases: Arc<Bases>,
    pub(crate) clock: Clock,
}

/// What the job of one entity gave to those that are read by its keys.
#[derive(Clone, Debug, Default)]
pub struct Gave {
    /// How it ended; nothing if it was given up on before its log ended.
    pub outcome: Option<Outcome>,
    /// Its records.
    pub records: u64,
    /// The keys that it found.
    pub keys: Keys,
    /// The ids of its records, if they are worklogs.
    pub worklogs: RoaringTreemap,
}

/// Snapshots by their names.
pub(crate) type Bases = BTreeMap<RunId, Manifest>;

/// What entities gave, by their names.
pub type Given = BTreeMap<&'static str, Gave>;

impl Gave {
    /// From a log, wherever it is.
    pub fn of_log(entity: &Entity, log: &Log) -> Self {
        let state = log.state();
        Self {
            outcome: state.outcome.clone(),
            records: state.tally.records,
            keys: log.keys().clone(),
            worklogs: if entity.gives(Key::Worklog) {
                log.seen().ids().clone()
            } else {
                RoaringTreemap::new()
            },
        }
    }

    /// From the end of a log.
    pub fn of_end(entity: &Entity, ended: Ended) -> Self {
        Self {
            outcome: ended.state.outcome,
            records: ended.state.tally.records,
            keys: ended.keys,
            worklogs: if entity.gives(Key::Worklog) { ended.ids } else { RoaringTreemap::new() },
        }
    }

    fn is_complete(&self) -> bool {
        self.outcome == Some(Outcome::Complete)
    }
}

impl Site {
    /// What was planned.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// What the planned parents of an entity gave, as far as they have ended: an object for each.
    #[tracing::instrument(name = "given", skip_all)]
    pub async fn given(&self, entity: &'static Entity) -> Result<Given, VaultError> {
        let mut given = Given::new();
        for parent in self.plan.parents(entity) {
            let ended = Log::ended(&self.vault, &self.plan.tenant, &self.plan.run, parent.name).await?;
            given.extend(ended.map(|ended| (parent.name, Gave::of_end(parent, ended))));
        }
        Ok(given)
    }

    /// Opens the job of an entity where its log ends. Where nothing gave the keys that it is read by, it is
    /// skipped at once, in its log too.
    ///
    /// To be called when each planned parent has ended or was given up on: one that is not in `given` gave
    /// nothing, and what is read by its keys is not whole.
    #[tracing::instrument(name = "open", skip_all)]
    pub async fn open(&self, entity: &'static Entity, given: &Given) -> Result<Job, VaultError> {
        let log = Log::open(&self.vault, &self.plan.tenant, &self.plan.run, entity.name).await?;
        for left_out in log.left_out() {
            tracing::warn!(entity = entity.name, "checkpoint left out: {left_out}");
        }
        let ended = log.state().outcome.is_some();
        let (base, unreadable) = if ended { (None, None) } else { self.base(entity).await? };
        let mut job = Job {
            entity,
            plan: self.plan.clone(),
            client: self.client.clone(),
            log,
            base,
            found: Arc::new(self.found(entity, given)),
            gone: RoaringTreemap::new(),
            known: self.known.clone(),
            clock: self.clock,
            limit: None,
            spent: Cost::default(),
        };
        if ended {
            return Ok(job);
        }
        if let Some(why) = orphaned(entity, job.way(), given) {
            job.give_up(Outcome::Skipped(why)).await?;
        } else if let Some(why) = unreadable.filter(|_| matches!(job.way(), Way::Delta | Way::Checked)) {
            tracing::warn!(entity = entity.name, "{why}");
            job.sweep("what the last snapshot has of it cannot be read".to_owned()).await?;
        }
        if let (Some(base), Some(Delta::Keys), Way::Delta) = (&job.base, entity.delta, job.way()) {
            let (ids, mut found) = (base.index.ids(), Found::clone(&job.found));
            job.gone = &ids - &found.worklogs;
            found.worklogs -= ids;
            job.found = Arc::new(found);
        }
        Ok(job)
    }

    /// What the planned base has of an entity; or why that cannot be read, which must not keep the entity from being
    /// read whole. Of a log what is known to be kept is kept.
    async fn base(&self, entity: &Entity) -> Result<(Option<Arc<Base>>, Option<VaultError>), VaultError> {
        let Some(run) = self.plan.job(entity.name).and_then(|job| job.base.as_ref()) else {
            return Ok((None, None));
        };
        let Some(entry) = self.bases.get(run).and_then(|manifest| manifest.entry(entity.name)) else {
            let key = format!("what snapshot {run} has of {}", entity.name);
            return Ok((None, Some(VaultError::Missing { key })));
        };
        match self.vault.index(&self.plan.tenant, entry).await {
            Ok(index) => Ok((Some(Arc::new(Base { index, records: entry.records })), None)),
            Err(error @ (VaultError::Missing { .. } | VaultError::Corrupt { .. })) if entity.is_log() => {
                tracing::warn!(entity = entity.name, "what was read before may be kept twice: {error}");
                Ok((Some(Arc::new(Base { records: entry.records, ..Base::default() })), None))
            }
            Err(error @ (VaultError::Missing { .. } | VaultError::Corrupt { .. })) => Ok((None, Some(error))),
            Err(error) => Err(error),
        }
    }

    /// Whether Tempo answers nothing at all just now. Then what failed too often is no fault of its request:
    /// it is to wait, and not to be given up.
    pub async fn is_silent(&self) -> bool {
        let answered = coverage::answers(&self.client).await;
        answered.is_err_and(|error| error.disposition() == Disposition::Retry)
    }

    fn found(&self, entity: &'static Entity, given: &Given) -> Found {
        let mut found = Found::default();
        for parent in self.plan.parents(entity) {
            let gave = given.get(parent.name);
            if let Some(gave) = gave {
                found.add(&gave.keys, Some(&gave.worklogs));
            }
            if !gave.is_some_and(Gave::is_complete) {
                found.partial.extend(parent.yields.iter().map(|given| (given.key, parent.name)));
            }
        }
        found
    }
}

/// Why an entity cannot be read at all: nothing that gives one of its keys could be.
fn orphaned(entity: &'static Entity, way: Way, given: &Given) -> Option<String> {
    let gave = |name: &str| given.get(name).is_some_and(|gave| gave.is_complete() || gave.records > 0);
    let has = |key: &Key| entity.parents().any(|parent| parent.gives(*key) && gave(parent.name));
    let key = entity.orphaned(way, has)?;
    let first = entity.parents().find(|parent| parent.gives(key))?.name;
    Some(format!("it is read per {}, and {first} could not be read", key.name()))
}
