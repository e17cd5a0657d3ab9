//! Requests that fail for good, and a Tempo that is away for longer than anybody waits.

use fermata_core::manifest::{EntryStatus, Status};
use fermata_engine::BackupError;
use tempo_sim::{Fault, Sim};

use crate::site::Site;

async fn links() -> Site {
    Site::start(Sim::builder().seed(5).worklogs(60)).await.only(&["team-links"])
}

/// A key that Tempo chokes on, at once or after every attempt, does not hide the keys after it.
#[tokio::test]
async fn one_bad_key_hides_no_other() {
    for status in [400, 500] {
        let site = links().await;
        let teams = site.sim.truth(1, "teams");
        let first = teams.iter().map(|team| id(team)).min().unwrap();
        site.sim.fault(Fault::status(status).path(&format!("/4/teams/{first}/links")).times(10_000));
        let report = site.backup().await.unwrap();
        let manifest = site.sealed(&report).await;
        let links = manifest.entry("team-links").unwrap();
        assert_eq!((manifest.status, links.status), (Status::Partial, EntryStatus::Failed), "{status}");
        let why = links.reason.as_deref().unwrap();
        assert!(why.starts_with(&format!("1 of {} parts could not be read", teams.len())), "{status}: {why}");
        assert!(!why.contains("grant"), "{status}: {why}");
        let all = site.sim.truth(1, "team-links").len() as u64;
        assert!(links.records > 0 && links.records < all, "{status}: {} of {all}", links.records);
        site.whole(&manifest).await.unwrap();
    }
}

/// Where nothing is answered there is nothing to seal: the run stays, and goes on when Tempo is back.
#[tokio::test]
async fn a_tempo_that_is_away_leaves_the_run_unfinished() {
    let site = links().await;
    site.sim.fault(Fault::status(503).nth(2).times(100_000));
    let away = site.backup().await;
    assert!(matches!(away, Err(BackupError::Unreachable(_))), "{away:?}");
    assert!(site.manifests().await.is_empty());
    site.sim.clear_faults();
    let report = site.backup().await.unwrap();
    assert!(report.resumed);
    let manifest = site.sealed(&report).await;
    assert_eq!(manifest.status, Status::Complete);
    site.whole(&manifest).await.unwrap();
}

fn id(team: &str) -> String {
    let at = team.find("\"id\":").unwrap() + 5;
    team[at..].chars().take_while(char::is_ascii_digit).collect()
}
