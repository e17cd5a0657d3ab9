//! Reading only what changed since the last snapshot, and what that comes to.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::{EntryStatus, LayerKind, Manifest, Status};
use fermata_core::plan::Mode;
use fermata_engine::{Clock, Engine, Report};
use fermata_vault::fault::{Fault, When};
use fermata_vault::{Environment, Identity, Vault};
use futures::TryStreamExt;
use jiff::{SignedDuration, Timestamp};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tempo_sim::{Mutation, Op, Quirks, Sim, TokenSpec};
use tokio_util::sync::CancellationToken;

use crate::seed::{check, seeds};
use crate::site::{Site, entry, without_parent};

const FED: [&str; 2] = ["worklogs", "plans"];
const ASKED: [&str; 6] =
    ["worklogs", "plans", "jira-worklog-ids", "teams", "audit-events", "timesheet-approval-log"];

/// What a site holds of an entity: its records by what identifies them, as a snapshot can show them.
type Truth = BTreeMap<String, String>;

fn identified(entity: &str, records: &[String]) -> Truth {
    let identify = |record: &String| {
        let mut value: Value = serde_json::from_str(&without_parent(record)).unwrap();
        if entity == "plans" {
            // Tempo computes these from the range that was asked for.
            let plan = value.as_object_mut().unwrap();
            plan.retain(|name, _| !matches!(name.as_str(), "plannedTime" | "totalPlannedSecondsInScope"));
        }
        let id = match entity {
            "worklogs" | "jira-worklog-ids" => value["tempoWorklogId"].to_string(),
            "teams" | "plans" => value["id"].to_string(),
            _ => record.clone(),
        };
        (id, value.to_string())
    };
    records.iter().map(identify).collect()
}

fn truth(site: &Site, entity: &str) -> Truth {
    identified(entity, &site.sim.truth(1, entity))
}

async fn start(seed: u64) -> Site {
    Site::start(Sim::builder().seed(seed).worklogs(300)).await.only(&ASKED)
}

/// Lets some hours pass, for the site and for a process that then backs it up.
fn pass(site: &Site, hours: i64) -> Engine {
    let quirks = site.sim.quirks();
    let clock_offset_ms = quirks.clock_offset_ms + hours * 3_600_000;
    site.sim.set_quirks(Quirks { clock_offset_ms, ..quirks });
    let now = Timestamp::now() + SignedDuration::from_millis(clock_offset_ms);
    Engine { clock: Clock::new(now), ..site.engine.clone() }
}

async fn back_up(site: &Site, engine: &Engine, full: bool) -> (Report, Manifest) {
    let wish = fermata_core::plan::Wish { full, ..site.wish.clone() };
    let report = engine.backup(&site.tenant, wish, &CancellationToken::new()).await.unwrap();
    let manifest = site.sealed(&report).await;
    (report, manifest)
}

fn mutate(site: &Site, mutation: Mutation) {
    site.sim.mutate(1, &[mutation]).unwrap();
}

/// A day in the life of a site.
fn live(site: &Site, random: &mut StdRng) {
    for _ in 0..random.random_range(0..12) {
        let entity = ["worklogs", "worklogs", "plans", "teams"][random.random_range(0..4)];
        let op = [Op::Insert, Op::Update, Op::Update, Op::Touch, Op::Delete][random.random_range(0..5)];
        let several = if random.random_ratio(1, 8) { random.random_range(2..30) } else { 1 };
        let several = if entity == "teams" { 1 } else { several };
        if op == Op::Delete && truth(site, entity).len() < 3 {
            continue;
        }
        mutate(site, Mutation::new(op).entity(entity).count(several));
        if op == Op::Delete && random.random() {
            mutate(site, Mutation::new(Op::Insert).entity(entity));
        }
    }
}

/// Whether the view of each entity is the site as it was then.
async fn compare(site: &Site, manifest: &Manifest, then: &BTreeMap<&str, Truth>) -> Result<(), String> {
    let records = site.whole(manifest).await?;
    for (entity, truth) in then {
        let found = identified(entity, &records[*entity]);
        if found.len() != records[*entity].len() {
            return Err(format!("{entity}: a record is there twice"));
        }
        if found != *truth {
            let missing: Vec<_> =
                truth.iter().filter(|(id, record)| found.get(*id) != Some(record)).collect();
            let extra: Vec<_> = found.keys().filter(|id| !truth.contains_key(*id)).collect();
            return Err(format!("{entity}: missing or stale {missing:?}, not there any more {extra:?}"));
        }
    }
    Ok(())
}

fn differences(before: &Truth, after: &Truth) -> (u64, u64, u64) {
    let count = |count: usize| count as u64;
    let added = count(after.keys().filter(|id| !before.contains_key(*id)).count());
    let deleted = count(before.keys().filter(|id| !after.contains_key(*id)).count());
    let changed = after.iter().filter(|(id, record)| before.get(*id).is_some_and(|old| old != *record));
    (added, count(changed.count()), deleted)
}

async fn history(seed: u64) -> Result<(), String> {
    let mut random = StdRng::seed_from_u64(seed);
    let site = start(seed).await;
    let mut kept: Vec<(Manifest, BTreeMap<&str, Truth>)> = Vec::new();
    let mut modes = BTreeSet::new();
    for round in 0..8 {
        let hours = [1, 5, 24, 24, 24, 40][random.random_range(0..6)];
        let engine = pass(&site, hours);
        if round > 0 {
            live(&site, &mut random);
        }
        let full = random.random_ratio(1, 5);
        let (_, manifest) = back_up(&site, &engine, full).await;
        let now: BTreeMap<_, _> = ["worklogs", "plans", "jira-worklog-ids", "teams"]
            .map(|entity| (entity, truth(&site, entity)))
            .into();
        compare(&site, &manifest, &now).await.map_err(|why| format!("round {round}: {why}"))?;
        if let Some((_, before)) = kept.last() {
            for entity in now.keys() {
                let entry = entry(&manifest, entity);
                let found = (entry.added.unwrap(), entry.changed.unwrap(), entry.deleted.unwrap());
                let (added, changed, deleted) = differences(&before[entity], &now[entity]);
                // Tempo computes some bytes of a plan.
                let same =
                    (found.0, found.2) == (added, deleted) && (found.1 == changed || *entity == "plans");
                if !same {
                    return Err(format!(
                        "round {round}: {entity} {found:?} are not {:?}",
                        (added, changed, deleted)
                    ));
                }
                if entry.drift.is_some_and(|drift| drift > 0) {
                    return Err(format!("round {round}: {entity} drifted: {:?}", entry.drift));
                }
                modes.insert((*entity, entry.mode == Mode::Delta));
            }
        }
        kept.push((manifest, now));
    }
    for (manifest, then) in &kept {
        compare(&site, manifest, then)
            .await
            .map_err(|why| format!("looking back at {}: {why}", manifest.run))?;
    }
    assert!(modes.contains(&("worklogs", true)) && modes.contains(&("plans", true)), "{modes:?}");
    Ok(())
}

#[tokio::test]
async fn any_history_of_deltas_and_sweeps_is_the_site() {
    for seed in seeds(0..5) {
        check(seed, Box::pin(history(seed)).await);
    }
}

#[tokio::test]
async fn a_night_costs_what_changed() {
    let site = start(3).await;
    let (first, manifest) = back_up(&site, &site.engine, false).await;
    let worklogs =
        |report: &Report| report.entities.iter().find(|entity| entity.entity == "worklogs").unwrap().clone();
    let all = entry(&manifest, "worklogs").records;
    assert_eq!((worklogs(&first).added, worklogs(&first).mode), (Some(all), Mode::Sweep));
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Update).id(site_id(&site, 0)).set("description", "edited"));
    mutate(&site, Mutation::new(Op::Insert));
    mutate(&site, Mutation::new(Op::Delete).id(site_id(&site, 7)));
    site.sim.reset_ledger();
    let before = site.objects().await;
    let (second, manifest) = back_up(&site, &engine, false).await;
    let report = worklogs(&second);
    assert_eq!((report.mode, report.requests), (Mode::Delta, 2), "what was deleted and what changed");
    assert_eq!((report.added, report.changed, report.deleted), (Some(1), Some(1), Some(1)));
    let ids = second.entities.iter().find(|entity| entity.entity == "jira-worklog-ids").unwrap();
    assert_eq!((ids.requests, ids.added, ids.deleted), (1, Some(1), Some(1)), "one batch of new ids");
    let kinds: Vec<_> = entry(&manifest, "worklogs").views().map(|layer| layer.kind).collect();
    assert_eq!(kinds, [LayerKind::Sweep, LayerKind::Deletions, LayerKind::Changes]);
    let new: Vec<_> = site.objects().await.into_keys().filter(|key| !before.contains_key(key)).collect();
    // Of worklogs what was deleted, what changed and the index; of ids the same; audit events and their index; the manifest.
    assert_eq!(new.iter().filter(|key| key.contains("/chunks/")).count(), 8, "{new:?}");
    assert_eq!(new.len(), 9, "{new:?}");
    // Nothing happened: nothing is stored but the manifest.
    let before = site.objects().await;
    let (_, manifest) = back_up(&site, &pass(&site, 24), false).await;
    let new: Vec<_> = site.objects().await.into_keys().filter(|key| !before.contains_key(key)).collect();
    assert_eq!(new, [format!("tenants/sim-1/snapshots/{}.json", manifest.run)]);
}

/// The id of some worklog.
fn site_id(site: &Site, at: usize) -> i64 {
    let record: Value = serde_json::from_str(&site.sim.truth(1, "worklogs")[at]).unwrap();
    record["tempoWorklogId"].as_i64().unwrap()
}

#[tokio::test]
async fn a_sweep_of_an_unchanged_site_stores_nothing_and_says_so() {
    let site = start(4).await;
    back_up(&site, &site.engine, false).await;
    let before = site.objects().await;
    let (report, manifest) = back_up(&site, &pass(&site, 3), true).await;
    let new: Vec<_> = site.objects().await.into_keys().filter(|key| !before.contains_key(key)).collect();
    assert_eq!(new, [format!("tenants/sim-1/snapshots/{}.json", manifest.run)]);
    for entity in report.entities {
        assert_eq!(
            (entity.added, entity.changed, entity.deleted),
            (Some(0), Some(0), Some(0)),
            "{}",
            entity.entity
        );
    }
    assert_eq!(entry(&manifest, "worklogs").why.as_deref(), Some("asked for"));
}

#[tokio::test]
async fn all_is_read_once_a_week() {
    let mut modes = String::new();
    let site = start(5).await;
    for _ in 0..16 {
        let (_, manifest) = back_up(&site, &pass(&site, 24), false).await;
        let worklogs = entry(&manifest, "worklogs");
        modes.push(if worklogs.mode == Mode::Sweep { 'S' } else { 'd' });
        assert_eq!(worklogs.drift.is_some(), worklogs.mode == Mode::Sweep && modes.len() > 1);
    }
    assert_eq!(modes, "SddddddSddddddSd");
}

#[tokio::test]
async fn what_the_feeds_do_not_tell_is_found_by_the_next_sweep() {
    let site = start(6).await;
    back_up(&site, &site.engine, false).await;
    // Deleted, and the audit log is silent; edited, and the time of change stays.
    let engine = pass(&site, 24);
    site.sim.set_quirks(Quirks { audited: false, ..site.sim.quirks() });
    mutate(&site, Mutation::new(Op::Delete).id(site_id(&site, 1)));
    mutate(&site, Mutation::new(Op::Delete).id(site_id(&site, 2)));
    let silent = Mutation::new(Op::Update).id(site_id(&site, 5)).set("description", "quietly");
    let record: Value = serde_json::from_str(&site.sim.truth(1, "worklogs")[5]).unwrap();
    mutate(&site, silent.set("updatedAt", record["updatedAt"].clone()));
    site.sim.set_quirks(Quirks { audited: true, ..site.sim.quirks() });
    let (_, blind) = back_up(&site, &engine, false).await;
    let (worklogs, all) = (entry(&blind, "worklogs"), site.sim.truth(1, "worklogs").len() as u64);
    assert_eq!((worklogs.mode, worklogs.records), (Mode::Delta, all + 2));
    let (_, sweep) = back_up(&site, &pass(&site, 24), true).await;
    let worklogs = entry(&sweep, "worklogs");
    assert_eq!((worklogs.mode, worklogs.records, worklogs.drift), (Mode::Sweep, all, Some(3)));
    assert_eq!((worklogs.changed, worklogs.deleted), (Some(1), Some(2)));
    let then = [("worklogs", truth(&site, "worklogs"))].into();
    compare(&site, &sweep, &then).await.unwrap();
}

#[tokio::test]
async fn without_the_audit_log_all_is_read_and_the_reason_said() {
    let site = start(7).await;
    back_up(&site, &site.engine, false).await;
    site.sim.restrict_token(TokenSpec { deny: [tempo_sim::Family::Audit].into(), ..TokenSpec::full(1) });
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Delete));
    let (_, manifest) = back_up(&site, &engine, false).await;
    for entity in FED {
        let entry = entry(&manifest, entity);
        assert_eq!((entry.mode, entry.status, entry.drift), (Mode::Sweep, EntryStatus::Complete, None));
        assert!(
            entry.warnings[0].contains("all of it was read") && entry.warnings[0].contains("403"),
            "{entry:?}"
        );
    }
    let then = [("worklogs", truth(&site, "worklogs"))].into();
    compare(&site, &manifest, &then).await.unwrap();
    // What was kept of the log stays, and that it could not be read on is said.
    let log = entry(&manifest, "audit-events");
    assert!(log.status == EntryStatus::Failed && log.records > 0, "{log:?}");
}

#[tokio::test]
async fn a_feed_that_fails_makes_a_sweep() {
    let site = start(8).await;
    back_up(&site, &site.engine, false).await;
    site.sim.fault(tempo_sim::Fault::status(500).path("/4/papertrail/search").times(1_000));
    let (_, manifest) = back_up(&site, &pass(&site, 24), false).await;
    let worklogs = entry(&manifest, "worklogs");
    assert_eq!((worklogs.mode, worklogs.status), (Mode::Sweep, EntryStatus::Complete), "{worklogs:?}");
    site.whole(&manifest).await.unwrap();
}

#[tokio::test]
async fn a_log_keeps_what_tempo_forgets() {
    let site = start(9).await;
    let (_, first) = back_up(&site, &site.engine, false).await;
    let before: BTreeSet<String> = site.records(&first).await["audit-events"].iter().cloned().collect();
    for days in [100, 100, 1] {
        let engine = pass(&site, days * 24);
        mutate(&site, Mutation::new(Op::Update).count(3));
        back_up(&site, &engine, days == 1).await;
    }
    let last = site.latest().await;
    let records = site.records(&last).await;
    let after: BTreeSet<String> = records["audit-events"].iter().cloned().collect();
    assert_eq!(after.len(), records["audit-events"].len(), "nothing is kept twice");
    assert!(before.is_subset(&after));
    assert_eq!(after.len(), before.len() + 9);
}

#[tokio::test]
async fn what_vanished_makes_a_snapshot_suspect_until_somebody_looks() {
    let site = start(10).await;
    back_up(&site, &site.engine, false).await;
    let many = u32::try_from(site.sim.truth(1, "worklogs").len() / 4).unwrap();
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Delete).count(many));
    let (_, manifest) = back_up(&site, &engine, false).await;
    assert_eq!(manifest.status, Status::Suspect);
    let said = entry(&manifest, "worklogs").suspect.clone().unwrap();
    assert!(said.contains("records, where there were"), "{said}");
    assert_eq!(entry(&manifest, "teams").suspect, None);
    // As long as nobody says that it is right.
    let (_, again) = back_up(&site, &pass(&site, 24), true).await;
    assert_eq!(again.status, Status::Suspect);
    assert_eq!(entry(&again, "worklogs").suspect, Some(said));
    let mut settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
    settings.accepted = Some(again.run.clone());
    site.vault.save_settings(settings, Timestamp::now()).await.unwrap();
    let (_, right) = back_up(&site, &pass(&site, 24), false).await;
    assert_eq!(right.status, Status::Complete);
}

/// This machine's clock is days off Tempo's, this way or that; what is read is as if it were right.
#[tokio::test]
async fn our_clock_decides_nothing() {
    for days in [-3, 3] {
        let site = start(15).await;
        let off = |engine: Engine| {
            let now = engine.clock.now() + SignedDuration::from_hours(days * 24);
            Engine { clock: Clock::new(now), ..engine }
        };
        let mut random = StdRng::seed_from_u64(15);
        for _ in 0..3 {
            let engine = off(pass(&site, 24));
            let (_, manifest) = back_up(&site, &engine, false).await;
            assert_eq!(
                manifest.status,
                Status::Complete,
                "{days} days: {:?}",
                entry(&manifest, "audit-events")
            );
            let now = FED.map(|entity| (entity, truth(&site, entity))).into();
            compare(&site, &manifest, &now).await.unwrap();
            live(&site, &mut random);
        }
        assert_eq!(entry(&site.latest().await, "worklogs").mode, Mode::Delta);
    }
}

#[tokio::test]
async fn an_index_that_is_lost_costs_a_sweep() {
    let site = start(11).await;
    let (_, first) = back_up(&site, &site.engine, false).await;
    for entity in ["worklogs", "audit-events"] {
        let chunk = entry(&first, entity).index().next().unwrap();
        let key = Path::from(format!("tenants/sim-1/chunks/{}", chunk.name));
        site.store.inner().delete(&key).await.unwrap();
    }
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Delete));
    let (_, manifest) = back_up(&site, &engine, false).await;
    let worklogs = entry(&manifest, "worklogs");
    assert_eq!((worklogs.mode, worklogs.added), (Mode::Sweep, None));
    assert!(worklogs.warnings[0].contains("cannot be read"), "{worklogs:?}");
    assert!(entry(&manifest, "audit-events").records >= entry(&first, "audit-events").records);
    let then = [("worklogs", truth(&site, "worklogs"))].into();
    let found = identified("worklogs", &view(&site, &manifest, "worklogs").await);
    assert_eq!(BTreeMap::from([("worklogs", found)]), then);
}

async fn view(site: &Site, manifest: &Manifest, entity: &str) -> Vec<String> {
    let mut records = Vec::new();
    let catalogued = fermata_core::catalogue::entity(entity).unwrap();
    fermata_engine::view::each(
        &site.healthy().await,
        &site.tenant,
        catalogued,
        entry(manifest, entity),
        |line| {
            records.push(line.to_owned());
            Ok::<_, ()>(())
        },
    )
    .await
    .unwrap();
    records
}

#[tokio::test]
async fn a_worker_without_the_data_key_reads_deltas() {
    let site = start(12).await;
    let offline = Identity::generate();
    let store = fermata_vault::open("memory:", &Environment::default()).unwrap();
    let options = fermata_vault::InitOptions {
        worker: site.identity.recipient(),
        data_recipients: vec![offline.recipient()],
        single_writer: false,
        now: Timestamp::now(),
    };
    Vault::init(store.clone(), options).await.unwrap();
    let vault = Vault::open(store.clone(), [site.identity.clone()]).await.unwrap();
    let mut settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
    settings.token = Some(vault.seal_token(&site.tenant, &site.sim.token(1).into(), Timestamp::now(), None));
    settings.seq = 0;
    vault.save_settings(settings, Timestamp::now()).await.unwrap();
    let engine = Engine { vault: vault.clone(), ..site.engine.clone() };
    engine.backup(&site.tenant, site.wish.clone(), &CancellationToken::new()).await.unwrap();
    let later = Engine { vault, ..pass(&site, 24) };
    mutate(&site, Mutation::new(Op::Update));
    mutate(&site, Mutation::new(Op::Delete));
    let report = later.backup(&site.tenant, site.wish.clone(), &CancellationToken::new()).await.unwrap();
    let worklogs = report.entities.iter().find(|entity| entity.entity == "worklogs").unwrap();
    assert_eq!((worklogs.mode, worklogs.changed, worklogs.deleted), (Mode::Delta, Some(1), Some(1)));
    let owner = Vault::open(store, [offline]).await.unwrap();
    let manifest = owner.latest(&site.tenant).await.unwrap().unwrap();
    let verified = owner.verify(&manifest, true, &|_| ()).await.unwrap();
    assert!(verified.ok, "{verified:?}");
}

#[tokio::test]
async fn death_in_a_delta_loses_nothing() {
    let site =
        Site::start(Sim::builder().seed(13).worklogs(200)).await.only(&["worklogs", "jira-worklog-ids"]);
    back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 24);
    for op in [Op::Insert, Op::Update, Op::Delete] {
        mutate(&site, Mutation::new(op).count(3));
    }
    let mut snapshots = 1;
    for operation in 0.. {
        let (store, by) = site.other_process().await;
        let by = Engine { clock: engine.clock, ..by };
        store.fail(operation, Fault::death(When::After));
        let died = site.backup_by(&by).await;
        let (_, healthy) = site.other_process().await;
        site.backup_by(&Engine { clock: engine.clock, ..healthy }).await.unwrap();
        for manifest in site.manifests().await.split_off(snapshots) {
            let then = ["worklogs", "jira-worklog-ids"].map(|entity| (entity, truth(&site, entity))).into();
            compare(&site, &manifest, &then)
                .await
                .unwrap_or_else(|why| panic!("operation {operation}: {why}"));
            // The next one builds on the first again.
            let key = Path::from(format!("tenants/sim-1/snapshots/{}.json", manifest.run));
            site.store.inner().delete(&key).await.unwrap();
        }
        snapshots = site.manifests().await.len();
        assert_eq!(snapshots, 1);
        if died.is_ok() {
            assert!(operation > 15, "{operation} operations are too few to show anything");
            return;
        }
    }
}

/// Nothing that a delta does names its objects after itself: the store holds what manifests name, and no more.
#[tokio::test]
async fn nothing_is_left_over() {
    let site = start(14).await;
    back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Delete).count(4));
    back_up(&site, &engine, false).await;
    let named: BTreeSet<String> =
        site.manifests().await.iter().flat_map(Manifest::chunks).map(|chunk| chunk.name.clone()).collect();
    let chunks = Path::from("tenants/sim-1/chunks");
    let stored = site.store.inner();
    let stored: Vec<_> =
        object_store::ObjectStore::list(&**stored, Some(&chunks)).try_collect().await.unwrap();
    let stored: BTreeSet<String> =
        stored.iter().map(|found| found.location.filename().unwrap().to_owned()).collect();
    assert_eq!(named, stored);
}

/// A clock that was far ahead once decides nothing afterwards.
#[tokio::test]
async fn a_clock_that_was_ahead_once_is_forgotten() {
    let site = start(16).await;
    back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 24);
    let ahead =
        Engine { clock: Clock::new(engine.clock.now() + SignedDuration::from_hours(400 * 24)), ..engine };
    back_up(&site, &ahead, false).await;
    mutate(&site, Mutation::new(Op::Update).count(3));
    let (_, manifest) = back_up(&site, &pass(&site, 24), false).await;
    assert_eq!(entry(&manifest, "worklogs").why.as_deref(), Some("all is read every 7 days"));
    assert_eq!(entry(&manifest, "audit-events").added, Some(3));
    assert!(manifest.started < Timestamp::now() + SignedDuration::from_hours(100));
    let names: Vec<_> = site.manifests().await.into_iter().map(|manifest| manifest.run).collect();
    assert_eq!(names.last(), Some(&manifest.run), "names sort as the runs were made");
    let (_, next) = back_up(&site, &pass(&site, 24), false).await;
    assert_eq!(entry(&next, "worklogs").mode, Mode::Delta);
}

/// However many snapshots of something else came between.
#[tokio::test]
async fn a_log_is_found_behind_many_small_snapshots() {
    let site = start(17).await;
    let (_, first) = back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 1);
    for _ in 0..12 {
        engine.backup(&site.tenant, crate::site::only(&["teams"]), &CancellationToken::new()).await.unwrap();
    }
    let later = pass(&site, 250 * 24);
    let (_, last) = back_up(&site, &later, false).await;
    let log = entry(&last, "audit-events");
    assert_eq!((log.mode, log.base.as_ref()), (Mode::Delta, Some(&first.run)));
    assert!(log.records >= entry(&first, "audit-events").records);
    assert!(log.why.as_ref().is_some_and(|why| why.contains("is lost")), "{log:?}");
}

/// What is deleted while all is read is told of afterwards, and is no drift.
#[tokio::test]
async fn what_goes_while_all_is_read_is_no_drift() {
    let site = start(21).await.only(&["worklogs"]);
    back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 24);
    site.sim.set_quirks(Quirks { limit_max: Some(60), ..site.sim.quirks() });
    site.sim.schedule(tempo_sim::Schedule::worklogs(1, 21, 0.0, 0.0, 5.0)).unwrap();
    let (_, manifest) = back_up(&site, &engine, true).await;
    site.sim.clear_schedules();
    let worklogs = entry(&manifest, "worklogs");
    assert!(worklogs.deleted > Some(0), "{worklogs:?}");
    assert_eq!((worklogs.mode, worklogs.drift), (Mode::Sweep, Some(0)));
}

/// A permission that comes back changes no record, so no feed tells of it.
#[tokio::test]
async fn what_was_suspect_is_read_whole_the_next_time() {
    let site = start(18).await;
    back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Delete).count(100));
    let (_, suspect) = back_up(&site, &engine, false).await;
    assert_eq!(suspect.status, Status::Suspect);
    // Another window for periods is no reason to believe it.
    let wish = fermata_core::plan::Wish { from: Some("2025-01-01".parse().unwrap()), ..site.wish.clone() };
    let engine = pass(&site, 24);
    let report = engine.backup(&site.tenant, wish, &CancellationToken::new()).await.unwrap();
    let manifest = site.sealed(&report).await;
    let worklogs = entry(&manifest, "worklogs");
    assert_eq!((worklogs.mode, worklogs.why.as_deref()), (Mode::Sweep, Some("it was suspect")));
    assert!(worklogs.suspect.is_some());
}

#[tokio::test]
async fn a_base_that_is_gone_at_the_seal_is_no_snapshot() {
    let site = start(19).await.only(&["worklogs", "teams"]);
    let (_, first) = back_up(&site, &site.engine, false).await;
    mutate(&site, Mutation::new(Op::Delete).count(2));
    let plan = crate::slices::begin(&site).await;
    crate::slices::finish_all(&site, &plan, &[]).await;
    let chunk = entry(&first, "worklogs").views().next().unwrap().chunks[0].name.clone();
    let key = Path::from(format!("tenants/sim-1/chunks/{chunk}"));
    site.store.inner().delete(&key).await.unwrap();
    let refused = site.engine.seal_run(&plan, &BTreeMap::new()).await.unwrap_err();
    assert!(refused.to_string().contains("no longer whole"), "{refused}");
    assert_eq!(site.manifests().await.len(), 1);
    // What it says to do mends it.
    site.vault.delete_run(&site.tenant, &plan.run).await.unwrap();
    let (_, manifest) = back_up(&site, &site.engine, false).await;
    assert_eq!(entry(&manifest, "worklogs").mode, Mode::Sweep);
    let then = [("worklogs", truth(&site, "worklogs"))].into();
    compare(&site, &manifest, &then).await.unwrap();
}

/// Also where a token may read only a part of it, so that it is never complete.
#[tokio::test]
async fn a_log_of_which_only_a_part_may_be_read_is_kept_too() {
    let site = start(22).await;
    site.sim.restrict_token(TokenSpec { view_only: true, ..TokenSpec::full(1) });
    mutate(&site, Mutation::new(Op::Delete).count(5));
    let (_, first) = back_up(&site, &site.engine, false).await;
    let before = entry(&first, "audit-events");
    assert!(before.status == EntryStatus::Failed && before.records >= 5, "{before:?}");
    let engine = pass(&site, 250 * 24);
    mutate(&site, Mutation::new(Op::Delete).count(3));
    let (_, last) = back_up(&site, &engine, false).await;
    assert_eq!(entry(&last, "audit-events").records, before.records + 3);
    site.whole(&last).await.unwrap();
}

/// A delta may have emptied an entity, whose layers are there all the same when it may no longer be read.
#[tokio::test]
async fn what_was_emptied_and_is_then_refused_is_sealed() {
    let site = start(23).await.only(&["jira-worklog-ids"]);
    back_up(&site, &site.engine, false).await;
    let engine = pass(&site, 24);
    mutate(&site, Mutation::new(Op::Delete).count(300));
    let (_, empty) = back_up(&site, &engine, false).await;
    let ids = entry(&empty, "jira-worklog-ids");
    assert_eq!((ids.records, ids.layers.is_empty()), (0, false));
    let mut settings = site.vault.settings(&site.tenant).await.unwrap().unwrap();
    settings.accepted = Some(empty.run.clone());
    site.vault.save_settings(settings, Timestamp::now()).await.unwrap();
    let denied = TokenSpec { deny: [tempo_sim::Family::Worklogs].into(), ..TokenSpec::full(1) };
    site.sim.restrict_token(denied);
    let (_, refused) = back_up(&site, &pass(&site, 24), false).await;
    assert_eq!(refused.status, Status::Partial);
    site.whole(&refused).await.unwrap();
}

#[tokio::test]
async fn a_damaged_manifest_is_passed_over() {
    let site = start(20).await;
    let (_, first) = back_up(&site, &site.engine, false).await;
    back_up(&site, &pass(&site, 24), false).await;
    let damaged = site.latest().await.run;
    let key = Path::from(format!("tenants/sim-1/snapshots/{damaged}.json"));
    site.store.inner().put(&key, "{\"schema\":1".into()).await.unwrap();
    let (_, next) = back_up(&site, &pass(&site, 24), false).await;
    assert_eq!(entry(&next, "worklogs").base.as_ref(), Some(&first.run));
    site.whole(&next).await.unwrap();
}
