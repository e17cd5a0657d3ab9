//! The proof: after the storm the fleet comes to rest, and nothing is lost, left over, overspent or told.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fermata_core::catalogue::ENTITIES;
use fermata_core::manifest::{Entry, EntryStatus, Manifest};
use fermata_fleet::JobState;
use fermata_fleet::queue::{Action, Filter};
use serde_json::Value;

use super::blow::Log;
use super::storm::Storm;
use super::{BURST, RATE};
use crate::assert_none;
use crate::fleet::Fleet;

/// After the storm all is done in this time.
const REST_SECONDS_MAX: Duration = Duration::from_mins(2);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How a job ends that too many workers died with.
const POISONED: &str = "it took down";
/// What is said of an entity whose parent ended so.
const PARENTLESS: &str = "could not be read";
/// Every token of the simulator holds it, and nothing else does.
const TOKEN: &str = "sim-token-";
/// Problems of one kind that are shown.
const SHOWN: usize = 20;

/// What came of a tenant.
#[derive(Default)]
struct Outcome {
    flaws: Vec<String>,
    snapshots: usize,
    /// Requests whose answers the snapshots are made of.
    needed: u64,
}

/// Waits until the fleet is at rest, then looks at everything.
pub(super) fn prove(mut storm: Storm, log: &Log) {
    let (seed, began) = (storm.seed, Instant::now());
    say(&format!("seed {seed}: {log}"));
    let mut problems = log.problems.clone();
    let mut rested = storm.fleet.stage.block_on(rest(&storm.fleet));
    let mut unlucky = BTreeMap::new();
    if rested.is_ok() {
        unlucky = storm.fleet.stage.block_on(self::unlucky(&storm.fleet));
    }
    for (tenant, entities) in &unlucky {
        let wish: Vec<_> = entities.iter().map(|entity| format!("--entity {entity}")).collect();
        storm.fleet.fermata(&format!("enqueue {tenant} {}", wish.join(" "))).run().code(0);
    }
    if !unlucky.is_empty() {
        rested = storm.fleet.stage.block_on(rest(&storm.fleet));
    }
    say(&format!(
        "{} of {} tenants were done when it ended; at rest after {:.1} s; given up for their bad luck and tried again: {unlucky:?}",
        log.done,
        storm.fleet.tenants.len(),
        began.elapsed().as_secs_f64(),
    ));
    match rested {
        Ok(()) => problems.extend(look(&mut storm, log)),
        // Whatever else is wrong follows from it.
        Err(why) => problems.push(why),
    }
    if !problems.is_empty() {
        storm.fleet.stage.keep();
        let folder = storm.fleet.stage.path().display();
        problems.push(format!("logs, store and queue are in {folder}; replay with FERMATA_SEED={seed}"));
    }
    assert_none(&problems);
}

/// What is wrong with a fleet at rest.
fn look(storm: &mut Storm, log: &Log) -> Vec<String> {
    let mut problems = storm.fleet.stage.block_on(places(&storm.fleet));
    problems.extend(storm.stop());
    problems.extend(at_most(errors(storm)));
    problems.extend(at_most(tokens(&storm.fleet)));
    let outcomes = storm.fleet.stage.block_on(outcomes(&storm.fleet, &log.doubtful));
    let needed: u64 = outcomes.iter().map(|outcome| outcome.needed).sum();
    let snapshots: usize = outcomes.iter().map(|outcome| outcome.snapshots).sum();
    problems.extend(at_most(outcomes.into_iter().flat_map(|outcome| outcome.flaws).collect()));
    let made = storm.fleet.stage.sim.ledger().total.requests;
    let wasted = made.saturating_sub(needed);
    say(&format!(
        "{snapshots} snapshots; {made} requests, {wasted} of them for nothing ({:.1} %; allowed {})",
        wasted as f64 * 100.0 / needed as f64,
        log.wasted_max()
    ));
    if wasted > log.wasted_max() {
        problems.push(format!("{wasted} requests were made for nothing, more than {}", log.wasted_max()));
    }
    problems.extend(at_most(overspent(&storm.fleet)));
    problems
}

/// Waits until nothing is left to do; what was given up for its bad luck alone is tried again.
async fn rest(fleet: &Fleet) -> Result<(), String> {
    let began = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let late = began.elapsed() > REST_SECONDS_MAX;
        let dead = Filter { state: Some(JobState::Dead), ..Filter::default() };
        // Redis may be on its way back still.
        let (Ok(counts), Ok((dead, _))) = (fleet.queue.counts().await, fleet.queue.list(&dead, 1_000).await)
        else {
            if late {
                return Err("Redis does not answer".to_owned());
            }
            continue;
        };
        for job in dead {
            let error = job.error.clone().unwrap_or_default();
            if !error.starts_with(POISONED) {
                return Err(format!("{} is a dead letter: {error}", job.id));
            }
            fleet.queue.act(Action::Retry, &job.id, "chaos", Some(JobState::Dead)).await.unwrap().unwrap();
        }
        let open: u64 = counts.iter().filter(|(state, _)| **state != JobState::Done).map(|(_, n)| n).sum();
        if open == 0 {
            let unfinished = unfinished(fleet).await;
            if unfinished.is_empty() {
                return Ok(());
            }
            if late {
                return Err(format!("nothing is queued, and these runs are not finished: {unfinished:?}"));
            }
        }
        if late {
            return Err(format!("still at work: {}", at_work(fleet).await));
        }
    }
}

/// What is in the queue and not done, and why.
async fn at_work(fleet: &Fleet) -> String {
    let mut lines = vec![format!("{:?}", fleet.queue.counts().await)];
    for state in JobState::ALL.into_iter().filter(|state| *state != JobState::Done) {
        let filter = Filter { state: Some(state), ..Filter::default() };
        for job in fleet.queue.list(&filter, SHOWN).await.unwrap().0 {
            let why = fleet.queue.why(&job).await.unwrap();
            lines.push(format!("{} {state:?} since {:?}, error {:?}: {why}", job.id, job.since, job.error));
        }
    }
    lines.join("\n")
}

/// The runs that no manifest ends.
async fn unfinished(fleet: &Fleet) -> Vec<String> {
    let mut all = Vec::new();
    for tenant in &fleet.tenants {
        let runs = fleet.vault.unfinished_runs(tenant).await.unwrap();
        all.extend(runs.iter().map(|run| format!("{tenant}/{run}")));
    }
    all
}

/// Places, leases and lines that are held though nobody works.
async fn places(fleet: &Fleet) -> Vec<String> {
    let mut problems = Vec::new();
    let view = fleet.queue.view().await.unwrap();
    if view.tenants_ready > 0 || view.tenants_cooling > 0 || !view.held.is_empty() {
        problems.push(format!("the queue is at rest, and yet: {view:?}"));
    }
    for tenant in &fleet.tenants {
        let place = fleet.queue.tenant(tenant).await.unwrap();
        if place.busy != 0 || place.ready != 0 {
            problems.push(format!("{tenant} is at rest, and yet: {place:?}"));
        }
    }
    problems
}

async fn outcomes(fleet: &Fleet, doubtful: &[String]) -> Vec<Outcome> {
    let mut all = Vec::new();
    for (site, tenant) in (1..).zip(&fleet.tenants) {
        let mut outcome = Outcome::default();
        let snapshots = fleet.snapshots(tenant).await;
        // What was poisoned is missing in the snapshot, and has one of its own once it was tried again.
        let again = snapshots.iter().map(|manifest| unlucky_in(manifest).count()).sum::<usize>()
            + doubtful.iter().filter(|name| **name == tenant.as_str()).count();
        if snapshots.is_empty() || snapshots.len() > 1 + again {
            let runs: Vec<_> = snapshots.iter().map(|manifest| manifest.run.as_str()).collect();
            outcome.flaws.push(format!("{tenant} has {} snapshots: {runs:?}", runs.len()));
        }
        let mut whole = BTreeSet::new();
        for manifest in &snapshots {
            outcome.needed += manifest.entities.iter().map(|entry| entry.requests).sum::<u64>();
            let missing: Vec<_> = unlucky_in(manifest).collect();
            outcome.flaws.extend(fleet.flaws_besides(site, manifest, &missing).await);
            let complete = |status| matches!(status, EntryStatus::Complete);
            for entry in manifest.entities.iter().filter(|entry| complete(entry.status)) {
                whole.insert(entry.entity.clone());
            }
        }
        let wish = snapshots.first().map(|manifest| manifest.wish.only.clone()).unwrap_or_default();
        let wanted = |name: &str| wish.is_empty() || wish.contains(name);
        let missing = ENTITIES.iter().find(|entity| wanted(entity.name) && !whole.contains(entity.name));
        outcome.flaws.extend(missing.map(|entity| format!("{tenant} has no whole {}", entity.name)));
        outcome.snapshots = snapshots.len();
        all.push(outcome);
    }
    all
}

/// What snapshots lack since too many workers died with it, and no later snapshot has, by tenant. By now Redis may have been
/// emptied of it.
async fn unlucky(fleet: &Fleet) -> BTreeMap<String, BTreeSet<String>> {
    let mut unlucky = BTreeMap::<_, BTreeSet<_>>::new();
    for tenant in &fleet.tenants {
        let snapshots = fleet.snapshots(tenant).await;
        for name in snapshots.iter().flat_map(unlucky_in) {
            let is_whole = |manifest: &Manifest| {
                manifest.entry(name).is_some_and(|entry| entry.status == EntryStatus::Complete)
            };
            if !snapshots.iter().any(is_whole) {
                unlucky.entry(tenant.to_string()).or_default().insert(name.to_owned());
            }
        }
    }
    unlucky
}

/// Entities that are missing in a snapshot since too many workers died with them, or with those that they hang on.
fn unlucky_in(manifest: &Manifest) -> impl Iterator<Item = &str> {
    let says = |entry: &Entry, words: &str| entry.reason.as_deref().is_some_and(|why| why.contains(words));
    let is_poisoned = move |entry: &Entry| entry.status == EntryStatus::Failed && says(entry, POISONED);
    let any = manifest.entities.iter().any(is_poisoned);
    let hangs_on = move |entry: &Entry| entry.status == EntryStatus::Skipped && says(entry, PARENTLESS);
    let missing = move |entry: &&Entry| is_poisoned(entry) || (any && hangs_on(entry));
    manifest.entities.iter().filter(missing).map(|entry| entry.entity.as_str())
}

/// Tenants whose quota was overspent in some second, or that Tempo had to refuse.
///
/// Refusals that the storm spoke itself are not counted here: they come after the quota.
fn overspent(fleet: &Fleet) -> Vec<String> {
    let most = u64::from(RATE + BURST);
    let tenants = fleet.stage.sim.ledger().tenants;
    let peak = tenants.values().map(|tenant| tenant.total.peak_per_second).max().unwrap_or(0);
    let refused: u64 = tenants.values().map(|tenant| tenant.total.refused).sum();
    say(&format!(
        "at most {peak} requests of a tenant in a second (quota {RATE}, burst {BURST}), {refused} refused"
    ));
    let over =
        tenants.iter().filter(|(_, tenant)| tenant.total.peak_per_second > most || tenant.total.refused > 0);
    over.map(|(name, tenant)| format!("{name} overspent its quota of {RATE} and {BURST}: {:?}", tenant.total))
        .collect()
}

/// Lines of a log that a person must look at.
fn errors(storm: &Storm) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, text) in logs(&storm.fleet) {
        for line in text.lines() {
            let event: Option<Value> = serde_json::from_str(line).ok();
            let level = event.as_ref().and_then(|event| event["level"].as_str());
            if level == Some("ERROR") || line.contains("panicked") {
                problems.push(format!("{name}: {line}"));
            }
        }
    }
    problems
}

fn logs(fleet: &Fleet) -> BTreeMap<String, String> {
    let files = std::fs::read_dir(fleet.stage.path()).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    let read = |path: std::path::PathBuf| {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        (path.file_name().unwrap().to_string_lossy().into_owned(), text)
    };
    logs.map(read).collect()
}

/// Where a token is to be read: logs, the store, and all that Redis ever wrote down.
fn tokens(fleet: &Fleet) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, text) in logs(fleet) {
        problems
            .extend(text.lines().filter(|line| line.contains(TOKEN)).map(|line| format!("{name}: {line}")));
    }
    let written = fleet.stage.files("redis");
    assert!(written.values().any(|bytes| bytes.len() > 100_000), "Redis wrote down what it was told");
    for (name, bytes) in fleet.stage.stored().into_iter().chain(written) {
        if bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes()) {
            problems.push(format!("{name} holds a token"));
        }
    }
    problems
}

fn at_most(mut problems: Vec<String>) -> Vec<String> {
    let all = problems.len();
    if all > SHOWN {
        problems.truncate(SHOWN);
        problems.push(format!("... and {} more like these", all - SHOWN));
    }
    problems
}

#[expect(clippy::print_stderr, reason = "what a storm came to is worth reading")]
fn say(line: &str) {
    eprintln!("{line}");
}
