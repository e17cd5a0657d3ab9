//! A run in slices: whoever works has the names of a run and of an entity, does a page, and keeps nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use fermata_core::catalogue;
use fermata_core::checkpoint::Outcome;
use fermata_core::manifest::{Entry, EntryStatus, Manifest, Status};
use fermata_core::names::RunId;
use fermata_core::plan::{Plan, Wish};
use fermata_engine::job::{Job, JobError};
use fermata_engine::{ATTEMPTS_MAX, BackupError, SealRun, Site as Work};
use fermata_tempo::Pace;
use fermata_vault::Vault;
use jiff::Timestamp;
use tempo_sim::{Fault, Quirks, Sim};
use tokio_util::sync::CancellationToken;

use crate::site::{Site, assert_ended, engine, entry};
use crate::whole::assert_is_the_site;

/// Lists of several pages, and what is read by their keys and ids.
const ENTITIES: &[&str] = &["roles", "account-links", "jira-worklog-ids", "skill-assignments"];

async fn small_site() -> Site {
    let quirks = Quirks { limit_max: Some(10), ..Quirks::default() };
    Site::start(Sim::builder().seed(3).worklogs(45).quirks(quirks)).await.only(ENTITIES)
}

/// Plans a run as whoever has no private key.
pub(crate) async fn begin(site: &Site) -> Plan {
    let vault = Vault::open(site.store.inner().clone(), []).await.unwrap();
    let begun = engine(&vault).begin(&site.tenant, site.wish.clone()).await.unwrap();
    begun.plan
}

/// Where the jobs of a run work, as another process finds it.
async fn work_at(site: &Site, run: &RunId) -> Work {
    let (_, engine) = site.other_process().await;
    let settings = engine.settings(&site.tenant).await.unwrap();
    let plan = engine.vault.plan(&site.tenant, run).await.unwrap().unwrap();
    engine.site(&settings, Arc::new(plan), Pace::new(0.0)).await.unwrap()
}

/// Opens a job from its names.
async fn open(site: &Site, run: &RunId, entity: &str) -> Job {
    let entity = catalogue::entity(entity).unwrap();
    let work = work_at(site, run).await;
    let given = work.given(entity).await.unwrap();
    work.open(entity, &given).await.unwrap()
}

/// One page, and whether the job ended with it.
async fn slice(job: &mut Job) -> Option<Outcome> {
    match job.run(&CancellationToken::new(), |_| ControlFlow::Break(())).await {
        Ok(outcome) => Some(outcome),
        Err(JobError::Stopped) => None,
        Err(error) => panic!("{}: {error}", job.entity.name),
    }
}

/// Works on a job until its end; returns the slices that it took.
async fn finish(site: &Site, run: &RunId, entity: &str) -> u64 {
    let mut slices = 1;
    while slice(&mut open(site, run, entity).await).await.is_none() {
        slices += 1;
    }
    slices
}

/// The entities of a plan, parents before children.
fn in_order(plan: &Plan) -> Vec<&'static str> {
    let all: Vec<_> = plan.entities().map(Result::unwrap).collect();
    let mut ordered: Vec<&str> = Vec::new();
    while ordered.len() < all.len() {
        let ready = all.iter().find(|entity| {
            !ordered.contains(&entity.name)
                && plan.parents(entity).all(|parent| ordered.contains(&parent.name))
        });
        ordered.push(ready.unwrap().name);
    }
    ordered
}

/// Does all jobs but these.
pub(crate) async fn finish_all(site: &Site, plan: &Plan, but: &[&str]) -> BTreeMap<&'static str, u64> {
    let mut slices = BTreeMap::new();
    for entity in in_order(plan).into_iter().filter(|entity| !but.contains(entity)) {
        slices.insert(entity, finish(site, &plan.run, entity).await);
    }
    slices
}

async fn seal(site: &Site, plan: &Plan, given_up: &[(&str, &str)]) -> SealRun {
    let given_up = given_up.iter().map(|(entity, why)| ((*entity).to_owned(), (*why).to_owned())).collect();
    let (_, engine) = site.other_process().await;
    engine.seal_run(plan, &given_up).await.unwrap()
}

fn sealed(seal: SealRun) -> Manifest {
    match seal {
        SealRun::Sealed(manifest) => *manifest,
        SealRun::Unfinished(entities) => panic!("{entities:?} are unfinished"),
    }
}

/// Checks that two manifests differ in their times alone, and in how their chunks were sealed.
fn assert_same(one: &Manifest, other: &Manifest) {
    let timeless = |entry: &Entry| {
        let mut entry = Entry { watermark: None, swept: None, ..entry.clone() };
        for chunk in entry.layers.iter_mut().flat_map(|layer| &mut layer.chunks) {
            chunk.name.truncate(32);
            chunk.stored = 0;
        }
        entry
    };
    assert_eq!(one.status, other.status);
    for (one, other) in one.entities.iter().zip(&other.entities) {
        assert_eq!(one.watermark.is_some(), other.watermark.is_some());
        assert_eq!(timeless(one), timeless(other));
    }
}

#[tokio::test]
async fn a_run_in_slices_is_the_run_of_one_process() {
    let site = small_site().await;
    let plan = begin(&site).await;
    let slices = finish_all(&site, &plan, &[]).await;
    assert!(slices["worklogs"] > 2 && slices["accounts"] > 1, "{slices:?}");
    let in_slices = sealed(seal(&site, &plan, &[]).await);
    let requests = site.requests();
    // Without it, so that the next run does not build on it.
    let key = format!("tenants/{}/snapshots/{}.json", site.tenant, in_slices.run);
    object_store::ObjectStoreExt::delete(&**site.store.inner(), &key.into()).await.unwrap();
    site.sim.reset_ledger();
    site.backup().await.unwrap();
    let at_once = site.latest().await;
    assert_ne!(in_slices.run, at_once.run);
    assert_eq!(in_slices.status, Status::Complete);
    assert_same(&in_slices, &at_once);
    assert_eq!(requests, site.requests(), "no request is in vain");
    assert_eq!(site.records(&in_slices).await, site.records(&at_once).await);
}

#[tokio::test]
async fn a_run_in_slices_is_the_site() {
    let site = Site::start(Sim::builder().seed(7).worklogs(300)).await;
    let plan = begin(&site).await;
    finish_all(&site, &plan, &[]).await;
    let manifest = sealed(seal(&site, &plan, &[]).await);
    assert_is_the_site(&site, &manifest).await;
}

#[tokio::test]
async fn a_run_is_begun_without_a_key_and_gone_on_with() {
    let site = small_site().await;
    let plan = begin(&site).await;
    assert_eq!(begin(&site).await, plan);
    let vault = Vault::open(site.store.inner().clone(), []).await.unwrap();
    let keyless = engine(&vault);
    let begun = keyless.begin(&site.tenant, site.wish.clone()).await.unwrap();
    assert!(begun.resumed && begun.last.is_none());
    let refused = keyless.site(&begun.settings, Arc::new(plan.clone()), Pace::new(0.0)).await;
    assert!(matches!(refused, Err(BackupError::Vault(fermata_vault::VaultError::NeedsKey { .. }))));
    let other = keyless.begin(&site.tenant, Wish::default()).await.unwrap();
    assert!(!other.resumed && other.plan.run != plan.run, "another wish is another run");
    // Who lets a run go on does so only where a backup would.
    let mut settings = begun.settings;
    settings.paused = true;
    let mut settings = vault.save_settings(settings, Timestamp::now()).await.unwrap();
    let paused = keyless.begin(&site.tenant, site.wish.clone()).await;
    assert!(matches!(paused, Err(BackupError::Paused(_))), "{paused:?}");
    "http://127.0.0.1:9".clone_into(&mut settings.base_url);
    let moved = site.engine.site(&settings, Arc::new(plan), Pace::new(0.0)).await;
    assert!(matches!(moved, Err(BackupError::Moved { .. })), "of two sites no snapshot is made");
}

#[tokio::test]
async fn an_unfinished_job_keeps_a_run_from_being_sealed() {
    let site = small_site().await;
    let plan = begin(&site).await;
    finish_all(&site, &plan, &["roles", "jira-worklog-ids"]).await;
    assert_eq!(slice(&mut open(&site, &plan.run, "jira-worklog-ids").await).await, None, "it has begun");
    let before = site.objects().await;
    for given_up in [&[][..], &[("roles", "lost")]] {
        let SealRun::Unfinished(entities) = seal(&site, &plan, given_up).await else { panic!("sealed") };
        let expect: &[&str] =
            if given_up.is_empty() { &["roles", "jira-worklog-ids"] } else { &["jira-worklog-ids"] };
        assert_eq!(entities.iter().collect::<BTreeSet<_>>(), expect.iter().collect());
        assert!(site.objects().await == before, "nothing is written");
    }
}

#[tokio::test]
async fn a_job_that_was_given_up_on_is_a_gap_and_keeps_what_it_read() {
    let site = small_site().await;
    let plan = begin(&site).await;
    finish_all(&site, &plan, &["worklogs", "jira-worklog-ids", "skill-assignments"]).await;
    assert_eq!(slice(&mut open(&site, &plan.run, "worklogs").await).await, None, "it has begun");
    // The queue gave it up, and lets go of its children: one is read by its ids alone, one by others' keys too.
    finish(&site, &plan.run, "jira-worklog-ids").await;
    finish(&site, &plan.run, "skill-assignments").await;
    let manifest =
        sealed(seal(&site, &plan, &[("worklogs", "it took eight workers down"), ("roles", "no")]).await);
    assert_eq!(manifest.status, Status::Partial);
    assert_ended(&manifest, "worklogs", EntryStatus::Failed, "it took eight workers down");
    assert_eq!(entry(&manifest, "worklogs").records, 10, "its page is in a chunk");
    assert_ended(&manifest, "jira-worklog-ids", EntryStatus::Skipped, "worklogs could not be read");
    assert_ended(&manifest, "skill-assignments", EntryStatus::Failed, "worklogs could not all be read");
    assert_ended(&manifest, "roles", EntryStatus::Complete, "");
    site.records(&manifest).await;
}

#[tokio::test]
async fn a_run_is_sealed_once() {
    let site = small_site().await;
    let plan = begin(&site).await;
    finish_all(&site, &plan, &["roles"]).await;
    let (one, two) = (site.other_process().await, site.other_process().await);
    for (seed, (store, _)) in [&one, &two].into_iter().enumerate() {
        store.chaos(seed as u64, 0.0, 0.0);
    }
    let given_up = BTreeMap::from([("roles".to_owned(), "lost".to_owned())]);
    let (a, b) = tokio::join!(one.1.seal_run(&plan, &given_up), two.1.seal_run(&plan, &given_up));
    let manifest = sealed(a.unwrap());
    assert_eq!(manifest, sealed(b.unwrap()), "at the same time");
    assert_eq!(manifest, sealed(seal(&site, &plan, &[]).await), "and again");
    assert_eq!(site.manifests().await, [manifest]);
    assert!(!site.objects().await.keys().any(|key| key.contains("/runs/")));
}

/// Another seals and sweeps between the look for a manifest and the look at the logs.
#[tokio::test]
async fn a_run_that_is_sealed_meanwhile_is_sealed() {
    let site = Site::start(Sim::builder().seed(3).worklogs(1)).await.only(&["roles", "work-attributes"]);
    let mut missed = 0;
    for seed in 0..40 {
        let plan = begin(&site).await;
        finish_all(&site, &plan, &[]).await;
        let (slow, quick) = (site.other_process().await, site.other_process().await);
        slow.0.chaos(seed, 0.0, 0.0);
        let given_up = BTreeMap::new();
        let (a, b) = tokio::join!(slow.1.seal_run(&plan, &given_up), quick.1.seal_run(&plan, &given_up));
        assert_eq!(sealed(a.unwrap()), sealed(b.unwrap()), "seed {seed}");
        let looks = slow
            .0
            .trace()
            .iter()
            .filter(|line| line.starts_with("get") && line.contains("/snapshots/"))
            .count();
        missed += u32::from(looks > 1);
    }
    assert!(missed > 0, "some seed shows it");
}

#[tokio::test]
async fn a_tempo_that_is_away_is_silent() {
    let site = small_site().await;
    let plan = begin(&site).await;
    let work = work_at(&site, &plan.run).await;
    assert!(!work.is_silent().await);
    for (status, silent) in [(503, true), (403, false), (401, false), (400, false)] {
        site.sim.clear_faults();
        site.sim.fault(Fault::status(status).times(1_000));
        assert_eq!(work.is_silent().await, silent, "{status}");
    }
}

/// Keys that ran out of attempts are counted in the log, whoever gave them up.
#[tokio::test]
async fn a_job_that_fails_for_key_after_key_is_given_up() {
    let site = small_site().await.only(&["account-links"]);
    let plan = begin(&site).await;
    finish(&site, &plan.run, "accounts").await;
    site.sim.fault(Fault::status(500).path("/4/accounts/{key}/links").times(100_000));
    let mut given_up = 0;
    let outcome = loop {
        let mut job = open(&site, &plan.run, "account-links").await;
        match job.run(&CancellationToken::new(), |_| ControlFlow::Break(())).await {
            Ok(outcome) => break outcome,
            Err(JobError::Tempo(error)) => job.exhaust(ATTEMPTS_MAX, &error).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
        given_up += 1;
    };
    assert_eq!(given_up, 4, "three keys, then all");
    let Outcome::Failed(why) = outcome else { panic!("{outcome:?}") };
    assert!(why.starts_with("given up after 8 attempts: "), "{why}");
}
