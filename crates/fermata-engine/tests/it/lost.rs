//! A store that loses what it took.

use fermata_engine::BackupError;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tempo_sim::{Fault, Sim};

use crate::site::Site;

#[tokio::test]
async fn a_run_that_lost_a_chunk_is_no_snapshot() {
    let site = Site::start(Sim::builder().seed(3).worklogs(200)).await.only(&["teams", "team-links"]);
    site.sim.fault(Fault::status(401).path("/4/teams/{id}/links"));
    assert!(matches!(site.backup().await, Err(BackupError::TokenRefused(_))), "the links are not read");
    let mut settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
    settings.token.as_mut().unwrap().refused = None;
    site.vault.save_settings(settings, jiff::Timestamp::now()).await.unwrap();

    let chunks = Path::from("tenants/sim-1/chunks");
    let stored: Vec<_> = site.store.inner().list(Some(&chunks)).try_collect().await.unwrap();
    assert_eq!(stored.len(), 2, "the teams are read, and indexed");
    for lost in &stored {
        site.store.inner().delete(&lost.location).await.unwrap();
    }

    let refused = site.backup().await;
    assert!(matches!(refused, Err(BackupError::NotWhole { .. })), "{refused:?}");
    assert!(site.manifests().await.is_empty());

    let run = site.vault.unfinished_runs(&site.tenant).await.unwrap().remove(0);
    site.vault.delete_run(&site.tenant, &run).await.unwrap();
    site.backup().await.unwrap();
    site.whole(&site.latest().await).await.unwrap();
}
