//! What a run came to, as the document that `backup --json` prints.

use fermata_core::checkpoint::Tally;
use fermata_core::manifest::{Entry, EntryStatus, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Mode;
use serde::Serialize;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whose.
    pub tenant: Tenant,
    /// Which, once there is one.
    pub run: Option<RunId>,
    /// The snapshot it made, if it made one.
    pub snapshot: Option<RunId>,
    /// Whether all is there.
    pub status: ReportStatus,
    /// Whether it went on where an earlier process had stopped.
    pub resumed: bool,
    /// Requests made.
    pub requests: u64,
    /// Answers of 429 among them.
    pub throttled: u64,
    /// Requests made again after a fault.
    pub retries: u64,
    /// Seconds that this process took.
    pub seconds: f64,
    /// Each entity that was planned.
    pub entities: Vec<EntityReport>,
    /// Why it failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether all is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportStatus {
    /// A snapshot of all that was asked for.
    Complete,
    /// A snapshot with gaps.
    Partial,
    /// No snapshot.
    Failed,
}

/// What a run came to for one entity.
#[derive(Clone, Debug, Serialize)]
pub struct EntityReport {
    /// Its name.
    pub entity: String,
    /// Whether it is all there.
    pub status: EntryStatus,
    /// All of it, or what changed.
    pub mode: Mode,
    /// Records in the snapshot.
    pub records: u64,
    /// Records that were not in the snapshot before; none where there is one and they could not be compared.
    pub added: Option<u64>,
    /// Records that replace an older form.
    pub changed: Option<u64>,
    /// Records that are gone since the snapshot before.
    pub deleted: Option<u64>,
    /// Records that differ from what Tempo had told of changes and deletions, where all was read to see that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<u64>,
    /// Bytes of its records.
    pub bytes: u64,
    /// Requests made for it.
    pub requests: u64,
    /// What is missing and why.
    pub reason: Option<String>,
    /// Why all of it was read where what changed would have done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why it may lack what the token can no longer see.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// What was odd.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Report {
    /// The report of a run that was sealed.
    pub fn sealed(manifest: &Manifest, first: bool, resumed: bool, seconds: f64) -> Self {
        let planned = manifest.entities.iter().filter(|entry| entry.status != EntryStatus::LeftOut);
        let total = |count: fn(&Entry) -> u64| manifest.entities.iter().map(count).sum();
        Self {
            tenant: manifest.tenant.clone(),
            run: Some(manifest.run.clone()),
            snapshot: Some(manifest.run.clone()),
            status: match manifest.status {
                Status::Complete => ReportStatus::Complete,
                Status::Partial | Status::Suspect => ReportStatus::Partial,
            },
            resumed,
            requests: total(|entry| entry.requests),
            throttled: total(|entry| entry.throttled),
            retries: total(|entry| entry.retries),
            seconds,
            entities: planned.map(|entry| EntityReport::new(entry, first)).collect(),
            reason: None,
        }
    }

    /// The report of a run that came to no snapshot.
    pub fn failed(tenant: &Tenant, run: Option<RunId>, tally: Tally, seconds: f64, reason: String) -> Self {
        Self {
            tenant: tenant.clone(),
            run,
            snapshot: None,
            status: ReportStatus::Failed,
            resumed: false,
            requests: tally.requests,
            throttled: tally.throttled,
            retries: tally.retries,
            seconds,
            entities: Vec::new(),
            reason: Some(reason),
        }
    }
}

impl EntityReport {
    /// Of the first snapshot everything is new; of another the two must be compared.
    fn new(entry: &Entry, first: bool) -> Self {
        let of_first = |count: u64| first.then_some(count);
        Self {
            entity: entry.entity.clone(),
            status: entry.status,
            mode: entry.mode,
            records: entry.records,
            added: entry.added.or(of_first(entry.records)),
            changed: entry.changed.or(of_first(0)),
            deleted: entry.deleted.or(of_first(0)),
            drift: entry.drift,
            bytes: entry.bytes,
            requests: entry.requests,
            reason: entry.reason.clone(),
            why: entry.why.clone(),
            suspect: entry.suspect.clone(),
            warnings: entry.warnings.clone(),
        }
    }
}
