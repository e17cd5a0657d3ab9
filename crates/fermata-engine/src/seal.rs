//! A run becomes a snapshot: its manifest is made of the states of its jobs, and written once.
//!
//! [`manifest`] is a pure function. Whoever seals, in whatever process and however often, gets the one
//! manifest that the run has.

use std::collections::BTreeMap;

use fermata_core::FORMAT;
use fermata_core::catalogue::{self, ENTITIES, Entity};
use fermata_core::checkpoint::{LAYERS, Next, Note, Outcome, State, slot};
use fermata_core::manifest::{Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::plan::{Mode, Plan};
use fermata_vault::{Log, Step, VaultError};
use jiff::Timestamp;
use tracing::field::Empty;

use crate::backup::{BackupError, Engine};
use crate::digest::widen;
use crate::job::builds;
use crate::site::Bases;

/// Records that an entity must have lost before it is suspect, unless it lost all.
const SHRINK_RECORDS_MIN: u64 = 5;
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

/// Whose manifest a run was sealed with.
pub(crate) enum Sealed {
    Mine(Box<Manifest>),
    Theirs(Box<Manifest>),
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
        let (Sealed::Mine(manifest) | Sealed::Theirs(manifest)) = self.seal(plan, &states).await?;
        Ok(SealRun::Sealed(manifest))
    }

    /// Ends a job in its log, with the records that it has.
    async fn give_up(&self, plan: &Plan, entity: &'static Entity, why: &str) -> Result<State, VaultError> {
        let mut log = Log::open(&self.vault, &plan.tenant, &plan.run, entity.name).await?;
        if log.state().outcome.is_none() {
            log.close_chunks(&self.vault.known(&plan.tenant).await?).await?;
            let next = Next::End(Outcome::Failed(why.to_owned()));
            let way = match log.state().events {
                0 => plan.job(entity.name).map(|job| job.way(entity)).unwrap_or_default(),
                _ => log.state().way,
            };
            let mut tally = log.state().tally;
            if log.state().events == 0 && builds(entity, way) {
                let bases = self.bases(plan).await?;
                let base =
                    plan.job(entity.name).and_then(|job| bases.get(job.base.as_ref()?)?.entry(entity.name));
                tally.base = base.map(|base| base.records);
                tally.records = tally.base.unwrap_or_default();
            }
            log.append(Step::new(self.clock.now(), way, next, tally)).await?;
        }
        Ok(log.state().clone())
    }

    /// Seals a run whose jobs ended in these states, unless somebody else did meanwhile.
    #[tracing::instrument(name = "seal", skip_all, fields(fermata.status = Empty))]
    pub(crate) async fn seal(
        &self,
        plan: &Plan,
        states: &BTreeMap<&'static str, State>,
    ) -> Result<Sealed, BackupError> {
        let bases = self.bases(plan).await?;
        for (name, state) in states {
            let Some(run) = plan.job(name).and_then(|job| job.base.as_ref()) else { continue };
            let entity = catalogue::entity(name).filter(|entity| builds(entity, state.way));
            let is_there = bases.get(run).is_some_and(|base| base.entry(name).is_some());
            if entity.is_some() && state.tally.base.is_some() && !is_there {
                // What was read since is a part of something that nobody has any more.
                return Err(BackupError::NotWhole {
                    tenant: plan.tenant.clone(),
                    run: plan.run.clone(),
                    object: format!("{name} of snapshot {run}"),
                    what: "it builds on that, which is no longer whole".to_owned(),
                });
            }
        }
        let mut manifest = manifest(plan, states, &bases, fermata_vault::nonce(), self.clock.now());
        manifest.previous = self.vault.previous(&plan.tenant).await?;
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
            let theirs = sealed.map(|manifest| Sealed::Theirs(Box::new(manifest)));
            return theirs.ok_or(BackupError::Dropped { tenant, run });
        }
        let sealed = match self.vault.write_manifest(&manifest).await? {
            fermata_vault::Sealed::Mine => Sealed::Mine(Box::new(manifest)),
            fermata_vault::Sealed::Theirs(theirs) => Sealed::Theirs(theirs),
        };
        let (Sealed::Mine(manifest) | Sealed::Theirs(manifest)) = &sealed;
        tracing::Span::current().record("fermata.status", manifest.status.name());
        self.sweep(manifest).await;
        Ok(sealed)
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
    bases: &Bases,
    nonce: String,
    now: Timestamp,
) -> Manifest {
    let entities: Vec<_> = ENTITIES
        .iter()
        .map(|entity| match states.get(entity.name) {
            Some(state) => entry(entity, plan, state, bases),
            None => left_out(entity.name, plan),
        })
        .collect();
    let gap = entities.iter().any(|entry| entry.status.is_gap());
    let suspect = entities.iter().any(|entry| entry.suspect.is_some());
    Manifest {
        schema: FORMAT,
        run: plan.run.clone(),
        tenant: plan.tenant.clone(),
        nonce,
        written_by: concat!("fermata ", env!("CARGO_PKG_VERSION")).to_owned(),
        base_url: plan.base_url.clone(),
        started: plan.started,
        sealed: now,
        previous: None,
        wish: plan.wish.clone(),
        status: match (suspect, gap) {
            (true, _) => Status::Suspect,
            (false, true) => Status::Partial,
            (false, false) => Status::Complete,
        },
        windows: plan.windows.clone(),
        entities,
    }
}

fn entry(entity: &Entity, plan: &Plan, state: &State, bases: &Bases) -> Entry {
    let job = plan.job(entity.name);
    let base = job.and_then(|job| bases.get(job.base.as_ref()?)?.entry(entity.name));
    let built_on = base.filter(|_| builds(entity, state.way) && state.tally.base.is_some());
    let (mut status, reason) = match &state.outcome {
        Some(Outcome::Complete) => (EntryStatus::Complete, None),
        Some(Outcome::Skipped(why)) => (EntryStatus::Skipped, Some(why.clone())),
        Some(Outcome::Failed(why)) => (EntryStatus::Failed, Some(why.clone())),
        None => (EntryStatus::Failed, Some("it was not finished".to_owned())),
    };
    if status == EntryStatus::Skipped && built_on.is_some_and(|base| !base.layers.is_empty()) {
        // What earlier snapshots have of it is here, so it is not missing altogether.
        status = EntryStatus::Failed;
    }
    let complete = status == EntryStatus::Complete;
    // Only what was compared with all of a base can be counted; the base may have been unreadable.
    let compared = base.filter(|_| complete && state.tally.base.is_some());
    let mut entry = Entry {
        status,
        mode: if built_on.is_some() { Mode::Delta } else { Mode::Sweep },
        why: job.and_then(|job| job.why.clone()),
        base: job.and_then(|job| job.base.clone()).filter(|_| built_on.or(compared).is_some()),
        swept: match built_on {
            // All that Tempo has of a log was looked at.
            Some(_) if complete && entity.is_log() && job.is_some_and(|job| job.since.is_none()) => {
                Some(plan.started)
            }
            Some(base) => base.swept,
            // What was read of a log is kept, also if there is more.
            None => (complete || (entity.is_log() && status == EntryStatus::Failed)).then_some(plan.started),
        },
        added: compared.map(|_| state.tally.added),
        changed: compared.map(|_| state.tally.changed),
        deleted: compared.map(|_| state.tally.deleted),
        drift: state.tally.drift.filter(|_| complete),
        reason,
        warnings: warnings(&state.notes),
        days: state.tally.days,
        // Only a complete pass may be the beginning of the next; a log goes on where its last one began.
        watermark: match (complete, built_on) {
            (true, _) => state.tally.began.filter(|_| state.tally.dated),
            (false, Some(base)) if entity.is_log() => base.watermark,
            (false, _) => None,
        },
        layers: built_on.map(|base| base.layers.clone()).unwrap_or_default(),
        requests: state.tally.requests,
        throttled: state.tally.throttled,
        retries: state.tally.retries,
        ..Entry::new(entity.name)
    };
    for kind in LAYERS {
        let kept = state.tally.kept[slot(kind)];
        let added = match kind {
            LayerKind::Sweep => kept,
            LayerKind::Changes if built_on.is_some() => state.tally.added,
            _ => 0,
        };
        let deleted = if kind == LayerKind::Deletions { kept } else { 0 };
        entry.push(Layer { kind, added, deleted, chunks: state.closed[slot(kind)].clone() });
    }
    if let Some(base) = built_on {
        entry.warnings.extend(base.warnings.iter().cloned());
        for day in base.days.into_iter().flat_map(|(first, last)| [first, last]) {
            entry.days = widen(entry.days, Some(day));
        }
    }
    entry.records = entry.layers.iter().map(|layer| layer.added).sum();
    entry.records -= entry.layers.iter().map(|layer| layer.deleted).sum::<u64>();
    entry.bytes = entry.views().flat_map(|layer| &layer.chunks).map(|chunk| chunk.bytes).sum();
    if complete && let Some(expected) = job.and_then(|job| job.expected) {
        entry.suspect = shrunk(entry.records, expected, plan.shrink_percent);
        entry.expected = entry.suspect.is_some().then_some(expected);
    }
    entry
}

/// Why an entity came back too small to be believed.
fn shrunk(records: u64, expected: u64, percent: u32) -> Option<String> {
    let lost = expected.saturating_sub(records);
    let share = lost.saturating_mul(100) > expected.saturating_mul(u64::from(percent));
    // Of a handful a few are a large share.
    (share && (lost >= SHRINK_RECORDS_MIN || records == 0)).then(|| {
        format!("{records} records, where there were {expected}: were they deleted, or can the token no longer see them?")
    })
}

fn left_out(name: &str, plan: &Plan) -> Entry {
    let why = plan.left_out.get(name).map_or("unknown to the release that planned the run", String::as_str);
    Entry { status: EntryStatus::LeftOut, reason: Some(why.to_owned()), ..Entry::new(name) }
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
