//! A run becomes a snapshot: its manifest is made of the states of its jobs, and written once.
//!
//! [`manifest`] is a pure function. Whoever seals, in whatever process and however often, gets the one
//! manifest that the run has.

use std::collections::BTreeMap;

use fermata_core::FORMAT;
use fermata_core::catalogue::{ENTITIES, Entity};
use fermata_core::checkpoint::{Next, Note, Outcome, State};
use fermata_core::manifest::{Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::plan::{Mode, Plan};
use fermata_vault::{Log, Sealed, Step, VaultError};
use jiff::Timestamp;

use crate::backup::{BackupError, Engine};

/// Warnings that an entry keeps; the rest are counted.
const WARNINGS_MAX: usize = 20;

/// What came of sealing a run.
#[derive(Clone, Debug, PartialEq)]
pub enum SealRun {
    /// It is a snapshot, by this call or by another before.
    Sealed(Box<Manifest>),
    /// Jobs of these entities have not ended and were not given up on.
    Unfinished(Vec<&'static str>),
}

impl Engine {
    /// Seals a run whose jobs have ended, from their logs alone; a job that was given up on, with a reason
    /// by its entity's name, is ended as failed. Needs the workers' key.
    ///
    /// Nothing is written while a job is unfinished. It costs a listing and an object for each job.
    pub async fn seal_run(
        &self,
        plan: &Plan,
        given_up: &BTreeMap<String, String>,
    ) -> Result<SealRun, BackupError> {
        if let Some(manifest) = self.sealed(plan).await? {
            return Ok(manifest);
        }
        match self.seal_logs(plan, given_up).await {
            Ok(SealRun::Sealed(manifest)) => Ok(SealRun::Sealed(manifest)),
            // Whoever sealed it meanwhile swept the logs that were missed here.
            other => self.sealed(plan).await?.map_or(other, Ok),
        }
    }

    async fn sealed(&self, plan: &Plan) -> Result<Option<SealRun>, BackupError> {
        let Some(manifest) = self.vault.manifest(&plan.tenant, &plan.run).await? else { return Ok(None) };
        self.sweep(&manifest).await;
        Ok(Some(SealRun::Sealed(Box::new(manifest))))
    }

    async fn seal_logs(
        &self,
        plan: &Plan,
        given_up: &BTreeMap<String, String>,
    ) -> Result<SealRun, BackupError> {
        let mut states = BTreeMap::new();
        let mut lost = Vec::new();
        let mut unfinished = Vec::new();
        for entity in plan.entities() {
            let entity = entity?;
            let ended = Log::ended(&self.vault, &plan.tenant, &plan.run, entity.name).await?;
            match (ended, given_up.get(entity.name)) {
                (Some(ended), _) => drop(states.insert(entity.name, ended.state)),
                (None, Some(why)) => lost.push((entity, why)),
                (None, None) => unfinished.push(entity.name),
            }
        }
        if !unfinished.is_empty() {
            return Ok(SealRun::Unfinished(unfinished));
        }
        for (entity, why) in lost {
            states.insert(entity.name, self.give_up(plan, entity, why).await?);
        }
        Ok(SealRun::Sealed(Box::new(self.seal(plan, &states).await?)))
    }

    /// Ends a job in its log, with the records that it has.
    async fn give_up(&self, plan: &Plan, entity: &Entity, why: &str) -> Result<State, VaultError> {
        let mut log = Log::open(&self.vault, &plan.tenant, &plan.run, entity.name).await?;
        if log.state().outcome.is_none() {
            log.close_chunks(&self.vault.known(&plan.tenant).await?).await?;
            let next = Next::End(Outcome::Failed(why.to_owned()));
            log.append(Step::new(self.clock.now(), next, log.state().tally)).await?;
        }
        Ok(log.state().clone())
    }

    /// Seals a run whose jobs ended in these states.
    pub(crate) async fn seal(
        &self,
        plan: &Plan,
        states: &BTreeMap<&'static str, State>,
    ) -> Result<Manifest, BackupError> {
        let manifest = manifest(plan, states, fermata_vault::nonce(), self.clock.now());
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
        // A run without a plan is none that a prune waits for, so what it names may be gone.
        if self.vault.plan(&plan.tenant, &plan.run).await?.is_none() {
            let sealed = self.vault.manifest(&plan.tenant, &plan.run).await?;
            let (tenant, run) = (manifest.tenant, manifest.run);
            return sealed.ok_or(BackupError::Dropped { tenant, run });
        }
        let manifest = match self.vault.write_manifest(&manifest).await? {
            Sealed::Mine => manifest,
            Sealed::Theirs(theirs) => *theirs,
        };
        self.sweep(&manifest).await;
        Ok(manifest)
    }

    async fn sweep(&self, manifest: &Manifest) {
        if let Err(error) = self.vault.sweep_run(manifest).await {
            // The snapshot is there; what is left of its checkpoints the next backup sweeps.
            tracing::warn!(tenant = %manifest.tenant, run = %manifest.run, "checkpoints not swept: {error}");
        }
    }
}

/// The manifest of a run whose jobs have all ended.
pub fn manifest(
    plan: &Plan,
    states: &BTreeMap<&'static str, State>,
    nonce: String,
    now: Timestamp,
) -> Manifest {
    let entities: Vec<_> = ENTITIES
        .iter()
        .map(|entity| match states.get(entity.name) {
            Some(state) => entry(entity.name, state),
            None => left_out(entity.name, plan),
        })
        .collect();
    let gap = entities.iter().any(|entry| entry.status.is_gap());
    Manifest {
        schema: FORMAT,
        run: plan.run.clone(),
        tenant: plan.tenant.clone(),
        nonce,
        written_by: concat!("fermata ", env!("CARGO_PKG_VERSION")).to_owned(),
        base_url: plan.base_url.clone(),
        started: plan.started,
        sealed: now,
        wish: plan.wish.clone(),
        status: if gap { Status::Partial } else { Status::Complete },
        windows: plan.windows.clone(),
        entities,
    }
}

fn entry(name: &str, state: &State) -> Entry {
    let (status, reason) = match &state.outcome {
        Some(Outcome::Complete) => (EntryStatus::Complete, None),
        Some(Outcome::Skipped(why)) => (EntryStatus::Skipped, Some(why.clone())),
        Some(Outcome::Failed(why)) => (EntryStatus::Failed, Some(why.clone())),
        None => (EntryStatus::Failed, Some("it was not finished".to_owned())),
    };
    let layers = [(LayerKind::Sweep, &state.closed[0]), (LayerKind::Changes, &state.closed[1])];
    let layers = layers.into_iter().filter(|(_, chunks)| !chunks.is_empty());
    Entry {
        entity: name.to_owned(),
        status,
        mode: Mode::Sweep,
        records: state.tally.records,
        reason,
        warnings: warnings(&state.notes),
        days: state.tally.days,
        // Only a complete pass may be the beginning of the next.
        watermark: state.tally.began.filter(|_| status == EntryStatus::Complete),
        layers: layers.map(|(kind, chunks)| Layer { kind, chunks: chunks.clone() }).collect(),
        requests: state.tally.requests,
        throttled: state.tally.throttled,
        retries: state.tally.retries,
        bytes: state.tally.bytes,
    }
}

fn left_out(name: &str, plan: &Plan) -> Entry {
    Entry {
        entity: name.to_owned(),
        status: EntryStatus::LeftOut,
        mode: Mode::Sweep,
        records: 0,
        reason: Some(
            plan.left_out
                .get(name)
                .map_or("unknown to the release that planned the run", String::as_str)
                .to_owned(),
        ),
        warnings: Vec::new(),
        days: None,
        watermark: None,
        layers: Vec::new(),
        requests: 0,
        throttled: 0,
        retries: 0,
        bytes: 0,
    }
}

fn warnings(notes: &[Note]) -> Vec<String> {
    let odd =
        notes.iter().filter_map(|note| if let Note::Odd(what) = note { Some(what.clone()) } else { None });
    let mut all: Vec<String> = Vec::new();
    for what in odd {
        if !all.contains(&what) {
            all.push(what);
        }
    }
    if all.len() > WARNINGS_MAX {
        let more = all.len() - WARNINGS_MAX;
        all.truncate(WARNINGS_MAX);
        all.push(format!("and {more} more"));
    }
    all
}
