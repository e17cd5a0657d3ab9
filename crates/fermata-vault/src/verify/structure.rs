//! Whether a manifest agrees with itself.

use std::collections::BTreeSet;

use fermata_core::FORMAT;
use fermata_core::manifest::{Chunk, Entry, EntryStatus, Layer, LayerKind, Manifest, Status};

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
    let suspect = manifest.entities.iter().any(|entry| entry.suspect.is_some());
    let expect = if suspect {
        Status::Suspect
    } else if gaps {
        Status::Partial
    } else {
        Status::Complete
    };
    if manifest.status != expect {
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
    let of_kind = |kind| entry.layers.iter().filter(move |layer| layer.kind == kind).count();
    if of_kind(LayerKind::Sweep) > 1 || entry.views().skip(1).any(|layer| layer.kind == LayerKind::Sweep) {
        flaws.push(Flaw::Manifest("the entity has a sweep after other layers"));
    }
    if of_kind(LayerKind::Index) > 1 {
        flaws.push(Flaw::Manifest("the entity has two indexes"));
    }
    let sum = |layer: &Layer, of: fn(&Chunk) -> u64| -> u64 { layer.chunks.iter().map(of).sum() };
    let impossible = |layer: &Layer| {
        let records = sum(layer, |chunk| chunk.records);
        match layer.kind {
            LayerKind::Sweep => layer.added != records || layer.deleted > 0,
            LayerKind::Deletions => layer.deleted != records || layer.added > 0,
            LayerKind::Changes => layer.added > records || layer.deleted > 0,
            LayerKind::Index => layer.added + layer.deleted > 0,
        }
    };
    if entry.layers.iter().any(impossible) {
        flaws.push(Flaw::Manifest("a layer's counts do not agree with its chunks"));
    }
    let added: u64 = entry.layers.iter().map(|layer| layer.added).sum();
    let deleted: u64 = entry.layers.iter().map(|layer| layer.deleted).sum();
    let bytes = entry.views().map(|layer| sum(layer, |chunk| chunk.bytes)).sum();
    let counts = [("records", added.saturating_sub(deleted), entry.records), ("bytes", bytes, entry.bytes)];
    let wrong = counts.into_iter().filter(|(_, found, named)| found != named);
    flaws.extend(wrong.map(|(of, found, named)| Flaw::Count { of, found, named }));
    flaws
}
