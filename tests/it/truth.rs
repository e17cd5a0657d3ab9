//! A snapshot against the simulator's truth, record by record and to the byte.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::BTreeMap;

use fermata_core::catalogue;
use fermata_core::manifest::{Entry, EntryStatus, Manifest};
use fermata_engine::view;
use fermata_vault::Vault;
use jiff::Timestamp;
use serde_json::Value;
use tempo_sim::{Sim, TruthWindow};

/// Records that are shown when something is wrong with an entity.
const SHOWN: usize = 3;

/// What a snapshot holds that the site does not, and the other way round; nothing where it is the site.
///
/// Entities that the wish left out, and those that are known to be missing, are passed over.
pub(crate) async fn differences(
    sim: &Sim,
    site: u32,
    vault: &Vault,
    manifest: &Manifest,
    missing: &[&str],
) -> Vec<String> {
    let mut differences = Vec::new();
    let told_of =
        |entry: &&Entry| entry.status != EntryStatus::LeftOut && !missing.contains(&entry.entity.as_str());
    for entry in manifest.entities.iter().filter(told_of) {
        let told = of_entity(sim, site, vault, manifest, entry).await;
        differences.extend(told.map(|what| format!("{} {}: {what}", manifest.tenant, entry.entity)));
    }
    differences
}

async fn of_entity(
    sim: &Sim,
    site: u32,
    vault: &Vault,
    manifest: &Manifest,
    entry: &Entry,
) -> Option<String> {
    if entry.status != EntryStatus::Complete {
        return Some(format!("{:?}: {:?}", entry.status, entry.reason));
    }
    // How often each record is there: of the snapshot's minus of the site's.
    let mut surplus: BTreeMap<String, i64> = BTreeMap::new();
    let mut read = 0;
    let take = |line: &str| {
        *surplus.entry(without_parent(line)).or_default() += 1;
        read += 1;
        Ok::<_, std::convert::Infallible>(())
    };
    let row = catalogue::entity(&entry.entity).unwrap();
    let viewed = view::each(vault, &manifest.tenant, row, entry, take).await;
    match viewed {
        Ok(count) if (count, read) == (entry.records, entry.records) => {}
        Ok(count) => return Some(format!("{} counted, {count} in the view, {read} read", entry.records)),
        Err(error) => return Some(format!("it cannot be read: {error}")),
    }
    for record in expected(sim, site, manifest, &entry.entity) {
        *surplus.entry(record).or_default() -= 1;
    }
    surplus.retain(|_, times| *times != 0);
    if surplus.is_empty() {
        return None;
    }
    let (more, less) = surplus.iter().partition::<Vec<_>, _>(|(_, times)| **times > 0);
    let shown: Vec<_> = less.iter().chain(&more).take(SHOWN).collect();
    Some(format!("{} lost, {} too many or changed, such as {shown:#?}", less.len(), more.len()))
}

/// What a snapshot of a site should hold of an entity.
fn expected(sim: &Sim, site: u32, manifest: &Manifest, entity: &str) -> Vec<String> {
    let mut truth = sim.truth_in(site, entity, &window(manifest, entity));
    if entity == "webhook-subscriptions" {
        truth = truth.iter().map(|record| redacted(record)).collect();
    }
    // Tempo shows half a year of the one and two years of the other, and what is about to leave is not asked for.
    let (start, moment) = match entity {
        "audit-events" => ("auditFrom", "/timestamp"),
        "timesheet-approval-log" => ("logFrom", "/status/updatedAt"),
        _ => return truth,
    };
    let start: Timestamp = manifest.windows[start].parse().unwrap();
    truth.retain(|record| {
        let record: Value = serde_json::from_str(record).unwrap();
        record.pointer(moment).unwrap().as_str().unwrap().parse::<Timestamp>().unwrap() >= start
    });
    truth
}

/// The range that the run asked for, where an entity depends on one.
fn window(manifest: &Manifest, entity: &str) -> TruthWindow {
    let range = match entity {
        "plans" => "plans",
        "user-schedules" => "schedules",
        "periods" | "timesheet-approvals" | "project-time-approvals" => "periods",
        _ => return TruthWindow::default(),
    };
    let day = |end: &str| manifest.windows[&format!("{range}{end}")].clone();
    TruthWindow { from: day("From"), to: day("To"), ..TruthWindow::default() }
}

/// A subscription as it is stored: Tempo shows its secret, a backup must not keep it.
fn redacted(record: &str) -> String {
    let start = record.find("sim-secret-").unwrap();
    let end = start + record[start..].find('"').unwrap();
    format!("{}[redacted]{}", &record[..start], &record[end..])
}

/// A record without the `_parent` that the backup put before it.
fn without_parent(line: &str) -> String {
    let Some(rest) = line.strip_prefix(r#"{"_parent":"#) else { return line.to_owned() };
    let end = rest.find('}').unwrap();
    format!("{{{}", rest[end + 1..].trim_start_matches(','))
}
