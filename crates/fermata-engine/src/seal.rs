//! What the jobs' states make of the manifest. A pure function.

use std::collections::BTreeMap;

use fermata_core::FORMAT;
use fermata_core::catalogue::ENTITIES;
use fermata_core::checkpoint::{Note, Outcome, State};
use fermata_core::manifest::{Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::plan::{Mode, Plan};
use jiff::Timestamp;

/// Warnings that an entry keeps; the rest are counted.
const WARNINGS_MAX: usize = 20;

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
