//! A backup holds what the site holds, to the byte.

use fermata_core::manifest::{EntryStatus, Manifest, Status};
use tempo_sim::{Sim, TruthWindow};

use crate::site::{Site, without_parent};

#[tokio::test]
async fn a_snapshot_is_the_site() {
    let site = Site::start(Sim::builder().seed(7).worklogs(2_000)).await;
    let report = site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_eq!(report.snapshot, Some(manifest.run.clone()));
    assert_is_the_site(&site, &manifest).await;
}

/// Checks that a snapshot holds all that the site does, to the byte.
pub(crate) async fn assert_is_the_site(site: &Site, manifest: &Manifest) {
    for entry in &manifest.entities {
        assert_eq!(entry.status, EntryStatus::Complete, "{}: {:?}", entry.entity, entry.reason);
        assert!(entry.warnings.is_empty(), "{}: {:?}", entry.entity, entry.warnings);
    }
    assert_eq!(manifest.status, Status::Complete);
    for (entity, records) in site.records(manifest).await {
        let mut records: Vec<_> = records.iter().map(|line| without_parent(line)).collect();
        let mut truth = site.sim.truth_in(1, &entity, &window(manifest, &entity));
        if entity == "webhook-subscriptions" {
            truth = truth.iter().map(|record| redacted(record)).collect();
        }
        records.sort();
        truth.sort();
        if matches!(entity.as_str(), "timesheet-approval-log" | "audit-events") {
            // The site remembers more than Tempo shows: two years, and 180 days.
            truth.retain(|record| records.contains(record));
            assert!(!truth.is_empty(), "{entity}");
        }
        assert_eq!(records.len(), truth.len(), "{entity}");
        assert!(
            records == truth,
            "{entity}: first difference {:?}",
            records.iter().zip(&truth).find(|(a, b)| a != b)
        );
    }
}

/// A subscription as it is stored: Tempo shows its secret, a backup must not keep it.
fn redacted(record: &str) -> String {
    let start = record.find("sim-secret-").unwrap();
    let end = start + record[start..].find('"').unwrap();
    format!("{}[redacted]{}", &record[..start], &record[end..])
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
