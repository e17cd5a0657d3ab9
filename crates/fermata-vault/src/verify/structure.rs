//! Whether a manifest agrees with itself.

use std::collections::BTreeSet;

use fermata_core::FORMAT;
use fermata_core::manifest::{Chunk, Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::plan::Mode;

use super::{Flaw, Problem};
use crate::layout;

/// What is wrong with the manifest itself.
pub(super) fn structure(manifest: &Manifest) -> Vec<Problem> {
    let object = layout::snapshot(&manifest.tenant, &manifest.run).to_string();
    let problem = |entity: Option<&Entry>, what| Problem {
        object: object.clone(),
        entity: entity.map(|entry| entry.entity.clone()),
        what,
        salvage: "its chunks can be read; what the manifest says of them is in doubt".to_owned(),
    };
    let mut problems = Vec::new();
    if manifest.schema != FORMAT {
        problems.push(problem(None, Flaw::Manifest("the manifest has another format")));
    }
    let gaps = manifest.entities.iter().any(|entry| entry.status.is_gap());
    if gaps != (manifest.status == Status::Partial) {
        problems
            .push(problem(None, Flaw::Manifest("the snapshot's status does not agree with its entities'")));
    }
    let mut names = BTreeSet::new();
    for entry in &manifest.entities {
        if !names.insert(&entry.entity) {
            problems.push(problem(Some(entry), Flaw::Manifest("the entity is listed twice")));
        }
        problems.extend(entry_flaws(entry).into_iter().map(|flaw| problem(Some(entry), flaw)));
    }
    problems
}

fn entry_flaws(entry: &Entry) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let nothing = matches!(entry.status, EntryStatus::LeftOut | EntryStatus::Skipped);
    if nothing && !entry.layers.is_empty() {
        flaws.push(Flaw::Manifest("the entity was not read and has records"));
    }
    if entry.status.is_gap() && entry.reason.is_none() {
        flaws.push(Flaw::Manifest("the entity has a gap without a reason"));
    }
    let kinds: Vec<LayerKind> = entry.layers.iter().map(|layer| layer.kind).collect();
    if kinds.windows(2).any(|pair| pair == [LayerKind::Changes, LayerKind::Sweep]) {
        flaws.push(Flaw::Manifest("the entity has a sweep after changes"));
    }
    let layers = |kind: Option<LayerKind>, of: fn(&Chunk) -> u64| -> u64 {
        let layers = entry.layers.iter().filter(|layer| kind.is_none_or(|kind| layer.kind == kind));
        layers.flat_map(|layer: &Layer| &layer.chunks).map(of).sum()
    };
    if entry.mode == Mode::Sweep {
        // Changes of a sweep are newer forms of its own rows, so the view has as many rows as the sweep.
        let counts = [
            ("records", layers(Some(LayerKind::Sweep), |chunk| chunk.records), entry.records),
            ("bytes", layers(None, |chunk| chunk.bytes), entry.bytes),
        ];
        let wrong = counts.into_iter().filter(|(_, found, named)| found != named);
        flaws.extend(wrong.map(|(of, found, named)| Flaw::Count { of, found, named }));
    } else {
        let found = layers(None, |chunk| chunk.records);
        if entry.records > found {
            flaws.push(Flaw::Count { of: "records", found, named: entry.records });
        }
    }
    flaws
}
