//! Reading pages while records come, go and change between them.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::manifest::{EntryStatus, Manifest};
use serde_json::Value;
use serde_json::json;
use tempo_sim::{Change, Mutation, Op, Quirks, Schedule, Sim, Sizes, Step, TenantMutations, TokenSpec};

use crate::seed::{check, seeds};
use crate::site::{Site, assert_ended, entry, without_parent};

/// Records by id, from their text.
type ById = BTreeMap<String, String>;

fn id_of(entity: &str, record: &str) -> String {
    let record: Value = serde_json::from_str(record).unwrap();
    match entity {
        "worklogs" => record["tempoWorklogId"].to_string(),
        _ => record["id"].to_string(),
    }
}

/// A plan without what Tempo computes from the range that was asked for.
fn comparable(entity: &str, record: &str) -> String {
    if entity != "plans" {
        return without_parent(record);
    }
    let mut plan: serde_json::Map<String, Value> = serde_json::from_str(record).unwrap();
    plan.retain(|name, _| !matches!(name.as_str(), "plannedTime" | "totalPlannedSecondsInScope"));
    Value::Object(plan).to_string()
}

fn by_id(entity: &str, records: &[String]) -> Result<ById, String> {
    let mut all = ById::new();
    for record in records {
        let record = comparable(entity, record);
        if all.insert(id_of(entity, &record), record).is_some() {
            return Err(format!("{entity}: a record is there twice"));
        }
    }
    Ok(all)
}

/// What the site was before a run, and everything that happened since.
struct Witness {
    entity: &'static str,
    before: ById,
    already: usize,
}

impl Witness {
    fn new(site: &Site, entity: &'static str) -> Self {
        let before = by_id(entity, &site.sim.truth(1, entity)).unwrap();
        Self { entity, before, already: site.sim.history(1, entity).len() }
    }

    fn history(&self, site: &Site) -> Vec<Change> {
        let mut history = site.sim.history(1, self.entity).split_off(self.already);
        for change in &mut history {
            change.record = change.record.take().map(|record| comparable(self.entity, &record));
        }
        history
    }

    /// Each record is some state of that record since the run began, all that was never gone is there
    /// once, and nothing is invented.
    async fn judge(&self, site: &Site, manifest: &Manifest) -> Result<ById, String> {
        let entity = self.entity;
        let records = site.whole(manifest).await?;
        let found = by_id(entity, &records[entity])?;
        let mut states: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (id, record) in &self.before {
            states.entry(id).or_default().insert(record);
        }
        let history = self.history(site);
        let mut gone = BTreeSet::new();
        for change in &history {
            if let Some(record) = &change.record {
                states.entry(&change.id).or_default().insert(record);
            }
            if change.op == Op::Delete {
                gone.insert(change.id.as_str());
            }
        }
        for (id, record) in &found {
            let id = id.trim_matches('"');
            match states.get(id) {
                None => return Err(format!("{entity} {id} is invented: {record}")),
                Some(states) if !states.contains(record.as_str()) => {
                    return Err(format!("{entity} {id} never was like this since the run began: {record}"));
                }
                Some(_) => {}
            }
        }
        let missing: Vec<_> = self
            .before
            .keys()
            .filter(|id| !found.contains_key(*id) && !gone.contains(id.trim_matches('"')))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "{entity}: {} of {} are missing: {missing:?}",
                missing.len(),
                self.before.len()
            ));
        }
        let ended = entry(manifest, entity);
        if ended.status != EntryStatus::Complete {
            return Err(format!("{entity} is {:?}: {:?}", ended.status, ended.reason));
        }
        Ok(found)
    }

    /// Once the changes have ended, every record is there as it was left.
    fn judge_settled(&self, site: &Site, found: &ById) -> Result<(), String> {
        let after = by_id(self.entity, &site.sim.truth(1, self.entity))?;
        let stale = after.iter().filter(|(id, record)| found.get(*id) != Some(record));
        let stale: Vec<_> = stale.map(|(id, record)| (id, found.get(id), record)).collect();
        match stale.first() {
            None => Ok(()),
            Some(first) => {
                Err(format!("{}: {} of {} are stale, as {first:?}", self.entity, stale.len(), after.len()))
            }
        }
    }
}

/// Rows of a page, so that there are many pages.
const PAGE_ROWS: u32 = 50;

fn quirks() -> Quirks {
    Quirks { limit_max: Some(PAGE_ROWS), ..Quirks::default() }
}

/// How worklogs are read.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// By search, in the order of their changes.
    Search,
    /// By list, in windows of days.
    List,
}

async fn worklogs(way: Way, count: usize, seed: u64, quirks: Quirks) -> Site {
    let site =
        Site::start(Sim::builder().seed(seed).worklogs(count).quirks(quirks)).await.only(&["worklogs"]);
    if way == Way::List {
        site.sim.restrict_token(TokenSpec { view_only: true, ..TokenSpec::full(1) });
    }
    site
}

/// Changes per request: a few, some, and as many as a page takes in.
const RATES: [f64; 3] = [0.3, 3.0, 12.0];

async fn while_worklogs_change(way: Way, seed: u64, rate: f64, turns: Option<u64>) -> Result<(), String> {
    let site = worklogs(way, 1_000, seed, quirks()).await;
    let witness = Witness::new(&site, "worklogs");
    let third = rate / 3.0;
    site.sim.schedule(Schedule { turns, ..Schedule::worklogs(1, seed, third, third, third) }).unwrap();
    site.backup().await.map_err(|error| error.to_string())?;
    let found = witness.judge(&site, &site.latest().await).await?;
    if rate >= 1.0 && (witness.history(&site).len() as f64) < rate * 5.0 {
        return Err("too little changed to show anything".to_owned());
    }
    if turns.is_some() { witness.judge_settled(&site, &found) } else { Ok(()) }
}

async fn while_worklogs_change_at_every_rate(way: Way) {
    for seed in seeds(1..4) {
        for rate in RATES {
            for turns in [None, Some(15)] {
                let outcome = while_worklogs_change(way, seed, rate, turns).await;
                check(
                    seed,
                    outcome.map_err(|why| format!("{way:?}, {rate} changes a request, {turns:?}: {why}")),
                );
            }
        }
    }
}

#[tokio::test]
async fn worklogs_by_search_while_they_change() {
    while_worklogs_change_at_every_rate(Way::Search).await;
}

#[tokio::test]
async fn worklogs_by_list_while_they_change() {
    while_worklogs_change_at_every_rate(Way::List).await;
}

/// A change that shows up only a while after it was made, with the time at which it was made.
#[tokio::test]
async fn worklogs_that_show_up_late() {
    for seed in seeds(1..4) {
        for way in [Way::Search, Way::List] {
            let late = Quirks { visibility_delay_ms: 40, latency_ms: 4, ..quirks() };
            let site = worklogs(way, 1_000, seed, late).await;
            let witness = Witness::new(&site, "worklogs");
            let schedule = Schedule { turns: Some(10), ..Schedule::worklogs(1, seed, 1.0, 4.0, 0.3) };
            site.sim.schedule(schedule).unwrap();
            site.backup().await.unwrap();
            let found = witness.judge(&site, &site.latest().await).await;
            let outcome = found.and_then(|found| witness.judge_settled(&site, &found));
            check(seed, outcome.map_err(|why| format!("{way:?}: {why}")));
        }
    }
}

/// A step of the site's script after so many requests.
fn step(after_requests: u64) -> Step {
    Step { after_requests, ..Step::default() }
}

fn changes(ops: Vec<Mutation>) -> Vec<TenantMutations> {
    vec![TenantMutations { tenant: "sim-1".to_owned(), ops }]
}

/// Changes that come to light when the reader is long past their second: they are still to be there.
#[tokio::test]
async fn worklogs_that_show_up_after_their_second_was_read() {
    for way in [Way::Search, Way::List] {
        let script = [
            Step { quirks: Some(json!({"visibility_delay_ms": 20_000})), mutate: Vec::new(), ..step(3) },
            Step { mutate: changes(vec![Mutation::new(Op::Touch).count(30)]), ..step(4) },
            Step { quirks: Some(json!({"visibility_delay_ms": 0, "clock_offset_ms": 5_000})), ..step(5) },
            Step { mutate: changes(vec![Mutation::new(Op::Touch).count(300)]), ..step(6) },
            Step { quirks: Some(json!({"clock_offset_ms": 25_000})), ..step(22) },
        ];
        let builder = Sim::builder().seed(4).worklogs(1_000).quirks(quirks()).script(script);
        let site = Site::start(builder).await.only(&["worklogs"]);
        if way == Way::List {
            site.sim.restrict_token(TokenSpec { view_only: true, ..TokenSpec::full(1) });
        }
        let witness = Witness::new(&site, "worklogs");
        site.backup().await.unwrap();
        let found = witness.judge(&site, &site.latest().await).await;
        let outcome = found.and_then(|found| witness.judge_settled(&site, &found));
        outcome.unwrap_or_else(|why| panic!("{way:?}: {why}"));
    }
}

/// More rows changed in one second than fit a page, before the run and in its midst.
#[tokio::test]
async fn a_bulk_edit_larger_than_a_page() {
    for way in [Way::Search, Way::List] {
        for midst in [false, true] {
            let site = worklogs(way, 600, 2, quirks()).await;
            let edit = Mutation::new(Op::Touch).count(400);
            let witness = Witness::new(&site, "worklogs");
            if midst {
                let bulk =
                    Schedule { every: 6, turns: Some(1), ..Schedule::worklogs(1, 2, 60.0, 300.0, 60.0) };
                site.sim.schedule(bulk).unwrap();
            } else {
                site.sim.mutate(1, &[edit]).unwrap();
            }
            site.backup().await.unwrap();
            let found = witness.judge(&site, &site.latest().await).await;
            let outcome = found.and_then(|found| witness.judge_settled(&site, &found));
            outcome.unwrap_or_else(|why| panic!("{way:?}, in its midst: {midst}: {why}"));
        }
    }
}

/// One day, one second, and one row more than the largest page.
#[tokio::test]
async fn a_day_with_more_rows_than_the_largest_page() {
    for way in [Way::Search, Way::List] {
        let site = worklogs(way, 40, 2, Quirks::default()).await;
        site.sim.mutate(1, &[Mutation::new(Op::Insert).count(5_001).set("startDate", "2026-05-04")]).unwrap();
        let witness = Witness::new(&site, "worklogs");
        site.backup().await.unwrap();
        let manifest = site.latest().await;
        let found = witness.judge(&site, &manifest).await.unwrap_or_else(|why| panic!("{way:?}: {why}"));
        assert_eq!(found.len(), 5_041, "{way:?}");
        let requests = entry(&manifest, "worklogs").requests;
        assert!(requests < 50, "{way:?}: {requests}");
    }
}

/// Worklogs far in the future and far in the past are worklogs.
#[tokio::test]
async fn days_far_away() {
    for way in [Way::Search, Way::List] {
        let site = worklogs(way, 200, 2, quirks()).await;
        for day in ["1999-12-31", "2035-01-01", "2099-12-31"] {
            site.sim.mutate(1, &[Mutation::new(Op::Insert).count(60).set("startDate", day)]).unwrap();
        }
        let witness = Witness::new(&site, "worklogs");
        site.backup().await.unwrap();
        let found =
            witness.judge(&site, &site.latest().await).await.unwrap_or_else(|why| panic!("{way:?}: {why}"));
        assert_eq!(found.len(), 380, "{way:?}");
        let requests = site.requests().values().sum::<u64>();
        assert!(requests < 250, "{way:?}: {requests}");
    }
}

/// Lists by offset: what is not deleted is there once, whatever comes and goes before it.
async fn while_a_list_changes(
    entity: &'static str,
    limit: u32,
    seed: u64,
    rate: f64,
    turns: Option<u64>,
) -> Result<(), String> {
    let sizes =
        Sizes { accounts: 150, teams: 60, users: 120, generic_resources: 90, ..Sizes::for_worklogs(30) };
    let quirks = Quirks { limit_max: Some(limit), ..Quirks::default() };
    let site = Site::start(Sim::builder().seed(seed).sizes(sizes).quirks(quirks)).await.only(&[entity]);
    let witness = Witness::new(&site, entity);
    let third = rate / 3.0;
    let entity = entity.to_owned();
    site.sim
        .schedule(Schedule { entity, turns, ..Schedule::worklogs(1, seed, third, third, third) })
        .unwrap();
    site.backup().await.map_err(|error| error.to_string())?;
    let found = witness.judge(&site, &site.latest().await).await?;
    if turns.is_some() { witness.judge_settled(&site, &found) } else { Ok(()) }
}

async fn lists(entity: &'static str) {
    for seed in seeds(1..3) {
        for (limit, rate) in [(10, 0.3), (10, 2.0), (25, 4.0), (50, 9.0)] {
            for turns in [None, Some(6)] {
                let outcome = while_a_list_changes(entity, limit, seed, rate, turns).await;
                check(
                    seed,
                    outcome
                        .map_err(|why| format!("{limit} a page, {rate} changes a request, {turns:?}: {why}")),
                );
            }
        }
    }
}

#[tokio::test]
async fn accounts_while_they_change() {
    lists("accounts").await;
}

#[tokio::test]
async fn teams_while_they_change() {
    lists("teams").await;
}

#[tokio::test]
async fn memberships_while_they_change() {
    lists("team-memberships").await;
}

#[tokio::test]
async fn a_search_paged_in_its_body_while_it_changes() {
    lists("generic-resources").await;
}

#[tokio::test]
async fn plans_while_they_change() {
    lists("plans").await;
}

/// A record that something else is read per, gone before that is read: nobody can tell it from a refusal.
#[tokio::test]
async fn a_team_that_goes_while_its_links_are_read() {
    let gone = Step { mutate: changes(vec![Mutation::new(Op::Delete).entity("teams").id(3)]), ..step(1) };
    let site = Site::start(Sim::builder().seed(5).worklogs(60).script([gone])).await.only(&["team-links"]);
    site.backup().await.unwrap();
    let manifest = site.latest().await;
    assert_ended(&manifest, "team-links", EntryStatus::Failed, "1 of 3 parts could not be read");
}
