//! Die at every step, resume, compare; then do every step twice.

use std::collections::BTreeMap;

use fermata_core::manifest::Status;
use fermata_engine::{BackupError, Engine, Progress, Teller};
use fermata_vault::fault::{Fault, When};
use tempo_sim::{Quirks, Sim};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::site::{Records, Site};

/// A site of a few pages: lists, a fan-out, changes, and a batch over what they yield.
const ENTITIES: &[&str] = &["roles", "team-links", "jira-worklog-ids", "generic-resources"];

async fn small_site() -> Site {
    let quirks = Quirks { limit_max: Some(50), ..Quirks::default() };
    Site::start(Sim::builder().seed(3).worklogs(110).quirks(quirks)).await.only(ENTITIES)
}

/// What a run without a fault comes to.
struct Expect {
    records: Records,
    requests: BTreeMap<String, u64>,
    pages: usize,
    operations: usize,
    trace: Vec<String>,
}

async fn expect(site: &Site) -> Expect {
    let (store, engine) = site.other_process().await;
    let (teller, mut told) = mpsc::unbounded_channel();
    let engine = Engine { teller: Teller::new(teller), ..engine };
    site.backup_by(&engine).await.unwrap();
    let manifest = site.latest().await;
    assert_eq!(manifest.status, Status::Complete);
    let mut pages = 0;
    while let Ok(told) = told.try_recv() {
        pages += usize::from(matches!(told, Progress::Page { .. }));
    }
    let (operations, trace) = (store.operations(), store.trace());
    assert!(
        pages >= 10 && operations >= 30,
        "{pages} pages, {operations} operations: too few to show anything"
    );
    Expect { records: site.records(&manifest).await, requests: site.requests(), pages, operations, trace }
}

/// Forgets all runs and snapshots, and what was asked.
async fn begin_anew(site: &Site) {
    let vault = site.healthy().await;
    for manifest in site.manifests().await {
        vault.sweep_run(&manifest).await.unwrap();
        let key = format!("tenants/{}/snapshots/{}.json", site.tenant, manifest.run);
        object_store::ObjectStoreExt::delete(&**site.store.inner(), &key.into()).await.unwrap();
    }
    for run in vault.unfinished_runs(&site.tenant).await.unwrap() {
        vault.delete_run(&site.tenant, &run).await.unwrap();
    }
    site.sim.reset_ledger();
}

/// Finishes what was begun, and checks that nothing shows of the interruption.
async fn resume_and_compare(site: &Site, expect: &Expect, why: &str) {
    let sealed_before = site.manifests().await.len();
    let (_, engine) = site.other_process().await;
    site.backup_by(&engine).await.unwrap_or_else(|error| panic!("{why}: {error}"));
    let manifests = site.manifests().await;
    assert!(manifests.len() <= sealed_before + 1, "{why}: one run, one snapshot");
    for manifest in &manifests {
        assert_eq!(manifest.status, Status::Complete, "{why}");
        let records = site.whole(manifest).await.unwrap_or_else(|flaw| panic!("{why}: {flaw}"));
        assert!(records == expect.records, "{why}: the snapshot is not the one without the fault");
    }
    // Each of these paths belongs to one job. A run that was sealed before the death is done; what
    // was asked again is another run.
    let runs = u64::try_from(manifests.len()).unwrap();
    for (path, times) in site.requests() {
        // The run after a sealed one asks what was deleted since, too: of worklogs and of plans.
        let feeds = if path.contains("/papertrail/") { 2 * (runs - 1) } else { 0 };
        let once = expect.requests.get(&path).copied().unwrap_or_default() + feeds;
        assert!(times <= runs * once + 1, "{why}: {path} asked {times} times, not {once} and one more");
    }
    let left: Vec<_> = site.objects().await.into_keys().filter(|key| key.contains("/runs/")).collect();
    assert!(left.is_empty(), "{why}: sealed runs leave their manifests alone, not {left:?}");
}

async fn die_at_every_store_operation(when: When) {
    let site = small_site().await;
    let expect = expect(&site).await;
    let mut sealed = 0;
    for operation in 0..expect.operations {
        begin_anew(&site).await;
        let (store, engine) = site.other_process().await;
        store.fail(operation, Fault::death(when));
        let died = site.backup_by(&engine).await;
        let why = format!("death {when:?} operation {operation} ({})", expect.trace[operation]);
        if store.is_dead() {
            sealed += u32::from(!site.manifests().await.is_empty());
            assert!(
                matches!(died, Err(BackupError::Vault(_))) || !site.manifests().await.is_empty(),
                "{why}: {died:?}"
            );
        }
        resume_and_compare(&site, &expect, &why).await;
    }
    assert!(sealed > 0, "some death comes after the manifest");
}

#[tokio::test]
async fn death_before_any_store_operation_loses_nothing() {
    die_at_every_store_operation(When::Before).await;
}

#[tokio::test]
async fn death_after_any_store_operation_loses_nothing() {
    die_at_every_store_operation(When::After).await;
}

/// An answer that was lost once is no death: the run goes on or the next one does.
#[tokio::test]
async fn an_answer_lost_at_any_store_operation_loses_nothing() {
    let site = small_site().await;
    let expect = expect(&site).await;
    for operation in 0..expect.operations {
        begin_anew(&site).await;
        let (store, engine) = site.other_process().await;
        store.fail(operation, Fault::once(When::After));
        let why = format!("answer lost of operation {operation} ({})", expect.trace[operation]);
        if site.backup_by(&engine).await.is_ok() {
            assert_eq!(site.manifests().await.len(), 1, "{why}");
            continue;
        }
        assert!(site.manifests().await.is_empty(), "{why}: it is sealed, and was called a failure");
        let document =
            std::path::Path::new(&expect.trace[operation]).extension().is_some_and(|end| end == "json");
        let once = document && expect.trace[operation].starts_with("put");
        assert!(!once, "{why}: what is put once is read back after a doubtful answer");
        resume_and_compare(&site, &expect, &why).await;
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
enum End {
    /// At once.
    Abort,
    /// In order.
    Stop,
}

/// Ends a backup as soon as `now` says so; `false` when it was done before.
async fn end_when(site: &Site, engine: Engine, end: End, mut now: impl FnMut() -> bool) -> bool {
    let stop = CancellationToken::new();
    let (tenant, wish, heard) = (site.tenant.clone(), site.wish.clone(), stop.clone());
    let work = tokio::spawn(async move { engine.backup(&tenant, wish, &heard).await });
    while !now() && !work.is_finished() {
        tokio::task::yield_now().await;
    }
    if work.is_finished() {
        work.await.unwrap().unwrap();
        return false;
    }
    match end {
        End::Abort => {
            work.abort();
            assert!(work.await.is_err_and(|error| error.is_cancelled()));
            true
        }
        End::Stop => {
            stop.cancel();
            match work.await.unwrap() {
                Ok(_) => false,
                Err(BackupError::Stopped) => true,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[tokio::test]
async fn an_end_at_any_request_loses_nothing() {
    let site = small_site().await;
    let expect = expect(&site).await;
    let all: u64 = expect.requests.values().sum();
    for end in [End::Abort, End::Stop] {
        let mut ended = 0;
        for request in 1..=all {
            begin_anew(&site).await;
            let (_, engine) = site.other_process().await;
            // It has arrived, and its answer has not.
            let arrived = || site.requests().values().sum::<u64>() >= request;
            ended += u32::from(end_when(&site, engine, end, arrived).await);
            resume_and_compare(&site, &expect, &format!("{end:?} at request {request}")).await;
        }
        assert!(u64::from(ended) > all / 2, "{ended} of {all}");
    }
}

#[tokio::test]
async fn an_end_after_any_page_loses_nothing() {
    let site = small_site().await;
    let expect = expect(&site).await;
    for end in [End::Abort, End::Stop] {
        let mut ended = 0;
        for page in 1..=expect.pages {
            begin_anew(&site).await;
            let (_, engine) = site.other_process().await;
            let (teller, mut told) = mpsc::unbounded_channel();
            let engine = Engine { teller: Teller::new(teller), ..engine };
            let mut pages = 0;
            let logged = || {
                while let Ok(told) = told.try_recv() {
                    pages += usize::from(matches!(told, Progress::Page { .. }));
                }
                pages >= page
            };
            ended += usize::from(end_when(&site, engine, end, logged).await);
            resume_and_compare(&site, &expect, &format!("{end:?} after page {page}")).await;
        }
        assert!(ended > expect.pages / 2, "{ended} of {}", expect.pages);
    }
}

/// Two processes go on with the same run at the same time, from every point where one may have died.
#[tokio::test]
async fn every_step_may_be_done_twice() {
    let site = small_site().await;
    let expect = expect(&site).await;
    for operation in 0..expect.operations {
        begin_anew(&site).await;
        let (store, engine) = site.other_process().await;
        store.fail(operation, Fault::death(When::After));
        let _ = site.backup_by(&engine).await;
        let (one, two) = (site.other_process().await, site.other_process().await);
        for (seed, (store, _)) in [&one, &two].into_iter().enumerate() {
            store.chaos(operation as u64 * 2 + seed as u64, 0.0, 0.0);
        }
        let ended = tokio::join!(site.backup_by(&one.1), site.backup_by(&two.1));
        let why = format!("twice from operation {operation} ({})", expect.trace[operation]);
        // Whoever comes second is told so.
        let refused = |ended: &Result<_, _>| matches!(ended, Err(BackupError::Elsewhere { .. }));
        let ends = [&ended.0, &ended.1];
        assert!(ends.iter().all(|ended| ended.is_ok() || refused(ended)), "{why}: {ended:?}");
        assert!(ends.iter().any(|ended| ended.is_ok()), "{why}: {ended:?}");
        for manifest in site.manifests().await {
            let records = site.whole(&manifest).await.unwrap_or_else(|flaw| panic!("{why}: {flaw}"));
            assert!(records == expect.records, "{why}: the snapshot is not the one without the fault");
        }
    }
}
