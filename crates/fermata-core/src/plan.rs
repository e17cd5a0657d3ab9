//! What a run will do, decided once.
//!
//! [`plan`] is a pure function of the catalogue, a tenant's settings, its snapshots, what was asked for and `now`.
//! The plan it makes is complete: whoever carries it out has nothing left to choose, so any worker,
//! on any day, does the same.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Span, Timestamp, ZonedDateTime, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, Delta, ENTITIES, Entity, Key, Way};
use crate::manifest::{Entry, LayerKind, Manifest};
use crate::names::{RunId, Tenant};
use crate::settings::{SHRINK_PERCENT, SWEEP_DAYS, Settings};

/// Tempo's audit search refuses a start more than 180 days back.
const AUDIT_DAYS: i64 = 180;
/// Tempo's approval log refuses a start more than two years back.
const LOG_DAYS: i64 = 730;
/// Kept back from both limits, so that a request made a while after the plan is still inside them.
const LIMIT_MARGIN_HOURS: i64 = 1;
/// How far before the base began a delta begins, for rows that show up late and for clocks of Tempo's that differ. Tempo
/// documents nothing; Jira says a minute for its own feed.
const OVERLAP_MINUTES: i64 = 10;
/// Deltas that build on one sweep: each is a layer that every reader of the snapshot has to apply.
const DELTAS_MAX: usize = 30;
/// Kept back from the days between two sweeps, so that a nightly backup that begins a little earlier than last week sweeps.
const SWEEP_EARLY_HOURS: i64 = 2;
/// How far ahead of another a clock may be before its word on when a sweep was is not taken.
const CLOCK_HOURS: i64 = 24;
/// How far back periods and what hangs on them are read when nobody said otherwise. Each period
/// costs a request per team and per project, so this is a year and not for ever.
const PERIODS_BACK_DAYS: i64 = 366;
/// How far ahead periods are read: the one that is open and the next.
const PERIODS_AHEAD_DAYS: i64 = 31;
/// Plans are read in one window that stays the same for a year, since Tempo computes some of their
/// members from it.
const PLANS_FROM: &str = "2000-01-01";
const PLANS_YEARS_AHEAD: i16 = 5;

/// The window from which on a feed tells what changed: the job's own, and not the plan's.
const SINCE: &str = "since";

/// The windows that requests may name.
pub const WINDOWS: [&str; 9] = [
    SINCE,
    "plansFrom",
    "plansTo",
    "periodsFrom",
    "periodsTo",
    "schedulesFrom",
    "schedulesTo",
    "logFrom",
    "auditFrom",
];

/// What was asked for, besides the tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Only these entities; all when empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub only: BTreeSet<String>,
    /// How far back periods and approvals are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// Whether all is read, also where what changed would do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
}

/// The plan of a run, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of this document.
    pub schema: u32,
    /// Which run.
    pub run: RunId,
    /// Whose.
    pub tenant: Tenant,
    /// When it was planned, by this machine's clock.
    pub started: Timestamp,
    /// Where it is read from.
    pub base_url: String,
    /// What was asked for.
    pub wish: Wish,
    /// Entities to read, in the order of the catalogue.
    pub jobs: Vec<Job>,
    /// Entities not to read, and why. Left out on purpose, so no gap.
    pub left_out: BTreeMap<String, String>,
    /// The values of the windows that requests name.
    pub windows: BTreeMap<String, String>,
    /// Percent of its records that an entity may lose before the snapshot is suspect.
    #[serde(default = "shrink_percent")]
    pub shrink_percent: u32,
}

fn shrink_percent() -> u32 {
    SHRINK_PERCENT
}

/// One entity of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name in the catalogue.
    pub entity: String,
    /// All of it, or what changed.
    pub mode: Mode,
    /// The snapshot to compare with and, as a delta, to build on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<RunId>,
    /// From when on, by Tempo's clock, its feeds tell what changed since the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why all of it is read where what changed would do; of a log, what of it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many records it had when it last was not suspect, where that can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
}

/// How much of an entity a job reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All of it.
    Sweep,
    /// What changed since the last snapshot.
    Delta,
}

/// A wish that cannot be planned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// An entity that the catalogue does not know.
    #[error("there is no entity {0:?}; `fermata token check` lists them all")]
    UnknownEntity(String),
}

impl Plan {
    /// The entities to read; an error for one that only another release knows.
    pub fn entities(&self) -> impl Iterator<Item = Result<&'static Entity, PlanError>> {
        self.jobs.iter().map(|job| {
            catalogue::entity(&job.entity).ok_or_else(|| PlanError::UnknownEntity(job.entity.clone()))
        })
    }

    /// The planned entities whose keys this one is read by: it waits for their jobs.
    pub fn parents(&self, entity: &'static Entity) -> impl Iterator<Item = &'static Entity> {
        entity.parents().filter(|parent| self.jobs.iter().any(|job| job.entity == parent.name))
    }
}

impl Plan {
    /// The job of an entity.
    pub fn job(&self, entity: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.entity == entity)
    }

    /// The snapshots that its jobs compare with or build on, which must stay until it is sealed.
    pub fn bases(&self) -> BTreeSet<&RunId> {
        self.jobs.iter().filter_map(|job| job.base.as_ref()).collect()
    }
}

impl Job {
    /// In which way its entity is read at first.
    pub fn way(&self, entity: &Entity) -> Way {
        match (self.mode, &entity.delta) {
            (Mode::Delta, _) => Way::Delta,
            (Mode::Sweep, Some(Delta::Feed(_))) if self.since.is_some() => Way::Checked,
            (Mode::Sweep, _) => Way::Sweep,
        }
    }
}

/// Plans a run; `snapshots` are the tenant's, the newest first, as far back as deltas may reach.
pub fn plan(
    settings: &Settings,
    wish: Wish,
    snapshots: &[Manifest],
    run: RunId,
    now: Timestamp,
) -> Result<Plan, PlanError> {
    if let Some(unknown) = wish.only.iter().find(|name| crate::catalogue::entity(name).is_none()) {
        return Err(PlanError::UnknownEntity(unknown.clone()));
    }
    let left_out = left_out(settings, &wish);
    let windows = windows(wish.from, now);
    let planning = Planning { settings, wish: &wish, snapshots, windows: &windows, now };
    let jobs = ENTITIES.iter().filter(|entity| !left_out.contains_key(entity.name));
    let jobs = jobs.map(|entity| planning.job(entity)).collect();
    Ok(Plan {
        schema: crate::FORMAT,
        run,
        tenant: settings.tenant.clone(),
        started: now,
        base_url: settings.base_url.clone(),
        wish,
        jobs,
        left_out,
        windows,
        shrink_percent: settings.shrink_percent.unwrap_or(SHRINK_PERCENT),
    })
}

/// The entities that a run of this wish would read without a snapshot to compare with, given these.
pub fn without_base(
    settings: &Settings,
    wish: &Wish,
    snapshots: &[Manifest],
    now: Timestamp,
) -> Vec<&'static Entity> {
    let (windows, left_out) = (windows(wish.from, now), left_out(settings, wish));
    let planning = Planning { settings, wish, snapshots, windows: &windows, now };
    let planned = ENTITIES.iter().filter(|entity| !left_out.contains_key(entity.name));
    planned.filter(|entity| planning.base(entity).is_none()).collect()
}

/// What decides between a sweep and a delta.
struct Planning<'a> {
    settings: &'a Settings,
    wish: &'a Wish,
    snapshots: &'a [Manifest],
    windows: &'a BTreeMap<String, String>,
    now: Timestamp,
}

impl Planning<'_> {
    fn job(&self, entity: &'static Entity) -> Job {
        let name = entity.name.to_owned();
        let Some((base, entry)) = self.base(entity) else {
            // Of the very first there is nothing to say.
            let why = (entity.delta.is_some() && !self.snapshots.is_empty())
                .then(|| "no snapshot that it could build on has all of it".to_owned());
            return Job { entity: name, mode: Mode::Sweep, base: None, since: None, why, expected: None };
        };
        let since = entry.watermark.map(|began| later(began, -OVERLAP_MINUTES * 60));
        let (base_run, expected) = (Some(base.run.clone()), self.expected(entity, base, entry));
        if entity.is_log() {
            // Now and then all that Tempo has is looked at; what is known is not kept again.
            let why = self.forgot(entity, since);
            let since = since.filter(|_| !self.wish.full && self.is_swept(entry));
            return Job { entity: name, mode: Mode::Delta, base: base_run, since, why, expected };
        }
        let since = since.filter(|since| !self.is_forgotten(*since));
        let why = entity.delta.and_then(|_| self.must_sweep(entity, base, entry, since));
        let delta = entity.delta.is_some() && why.is_none();
        let mode = if delta { Mode::Delta } else { Mode::Sweep };
        Job { entity: name, mode, base: base_run, since, why, expected }
    }

    /// How many records an entity had when it last was not suspect, or was and somebody said that it is right. Where the two
    /// are read in other windows, what was suspect still is.
    fn expected(&self, entity: &Entity, base: &Manifest, entry: &Entry) -> Option<u64> {
        let suspect = entry.expected.filter(|_| !self.is_accepted(base));
        let by_period = entity.name == "periods" || entity.needs().any(|key| key == Key::Period);
        let comparable = !by_period || base.wish.from == self.wish.from;
        suspect.or(comparable.then_some(entry.records))
    }

    fn is_accepted(&self, base: &Manifest) -> bool {
        self.settings.accepted.as_ref().is_some_and(|accepted| base.run <= *accepted)
    }

    /// Whether all of an entity was read in the last days.
    fn is_swept(&self, entry: &Entry) -> bool {
        let days = i64::from(self.settings.sweep_days.unwrap_or(SWEEP_DAYS));
        let age = entry.swept.map(|swept| self.now.duration_since(swept).as_hours());
        // A clock that was ahead must not put the next sweep off.
        age.is_some_and(|age| (-CLOCK_HOURS..days * 24 - SWEEP_EARLY_HOURS).contains(&age))
    }

    /// The newest snapshot with all of an entity, read from where it is read now.
    fn base(&self, entity: &'static Entity) -> Option<(&Manifest, &Entry)> {
        let comparable = |manifest: &&Manifest| {
            // A log is the same at every address of a site, and what it had is nowhere else.
            let same = entity.is_log() || manifest.base_url == self.settings.base_url;
            same && self.has_windows(entity, manifest)
        };
        self.snapshots.iter().filter(comparable).find_map(|manifest| {
            let entry = manifest.entry(entity.name)?;
            // What was kept of a log is kept also where the last look at it failed.
            let builds = entry.is_base() || (entity.is_log() && entry.swept.is_some());
            builds.then_some((manifest, entry))
        })
    }

    /// Whether a snapshot was asked for in the windows of this run, as far as a delta's requests name them.
    fn has_windows(&self, entity: &'static Entity, manifest: &Manifest) -> bool {
        let named = |name: &&String| {
            let placeholder = format!("{{{name}}}");
            entity.reads(Way::Sweep).any(|read| {
                read.query.iter().any(|(_, value)| value.contains(&placeholder))
                    || read.body.is_some_and(|body| body.contains(&placeholder))
            })
        };
        !matches!(entity.delta, Some(Delta::Feed(_)))
            || self
                .windows
                .keys()
                .filter(named)
                .all(|name| manifest.windows.get(name) == self.windows.get(name))
    }

    /// Why a delta would not do.
    fn must_sweep(
        &self,
        entity: &Entity,
        base: &Manifest,
        entry: &Entry,
        since: Option<Timestamp>,
    ) -> Option<String> {
        if self.wish.full {
            return Some("asked for".to_owned());
        }
        if matches!(entity.delta, Some(Delta::Feed(_))) && since.is_none() {
            return Some(if entry.watermark.is_some() {
                format!("Tempo tells deletions of the last {AUDIT_DAYS} days, and the last snapshot is older")
            } else {
                "Tempo's clock was not seen when the last snapshot was made".to_owned()
            });
        }
        if entry.suspect.is_some() && !self.is_accepted(base) {
            // What a token can see again has not changed, so no feed tells of it.
            return Some("it was suspect".to_owned());
        }
        if !self.is_swept(entry) {
            let days = self.settings.sweep_days.unwrap_or(SWEEP_DAYS);
            return Some(format!("all is read every {days} days"));
        }
        let deltas = entry.layers.iter().filter(|layer| layer.kind == LayerKind::Changes).count();
        (deltas >= DELTAS_MAX).then(|| format!("{DELTAS_MAX} deltas build on the last sweep"))
    }

    /// What of a log nobody has any more.
    fn forgot(&self, entity: &Entity, since: Option<Timestamp>) -> Option<String> {
        let limit = later(self.now, -days_kept(entity)? * 24 * 3_600);
        let since = since.filter(|since| *since < limit)?;
        Some(format!(
            "what happened from {since} to {limit} is lost: nobody read it while Tempo still had it"
        ))
    }

    /// Whether Tempo no longer tells what was deleted at a moment.
    fn is_forgotten(&self, since: Timestamp) -> bool {
        since < later(self.now, (LIMIT_MARGIN_HOURS - AUDIT_DAYS * 24) * 3_600)
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

/// The entities not to read, and why: not asked for, left out on purpose, or read per key of one that is.
fn left_out(settings: &Settings, wish: &Wish) -> BTreeMap<String, String> {
    let wanted = with_parents(&wish.only);
    let mut left_out = BTreeMap::new();
    for entity in ENTITIES {
        if !wish.only.is_empty() && !wanted.contains(entity.name) {
            left_out.insert(entity.name.to_owned(), "not asked for".to_owned());
        } else if settings.without.contains(entity.name) {
            left_out.insert(entity.name.to_owned(), "left out by the tenant's settings".to_owned());
        }
    }
    // Again for as long as it makes a difference: what is left out may have children, and they too.
    loop {
        let given =
            |key: &Key| ENTITIES.iter().any(|giver| giver.gives(*key) && !left_out.contains_key(giver.name));
        let orphan =
            ENTITIES.iter().filter(|entity| !left_out.contains_key(entity.name)).find_map(|entity| {
                let key = entity.orphaned(Way::Sweep, given)?;
                Some((entity.name.to_owned(), format!("read per {}, which is left out", key.name())))
            });
        match orphan {
            Some((name, why)) => left_out.insert(name, why),
            None => return left_out,
        };
    }
}

/// The entities asked for and those whose keys they fan out over.
fn with_parents(only: &BTreeSet<String>) -> BTreeSet<&'static str> {
    let mut wanted = BTreeSet::new();
    let mut open: Vec<_> = only.iter().filter_map(|name| crate::catalogue::entity(name)).collect();
    while let Some(entity) = open.pop() {
        if wanted.insert(entity.name) {
            open.extend(entity.parents());
        }
    }
    wanted
}

fn windows(from: Option<Date>, now: Timestamp) -> BTreeMap<String, String> {
    let now = now.to_zoned_datetime(TimeZone::UTC);
    let today = now.date();
    let day = |date: Date| date.to_string();
    let year = |ahead: i16, month: i8, day: i8| {
        format!("{:04}-{month:02}-{day:02}", today.year().saturating_add(ahead))
    };
    let periods_from = from.unwrap_or_else(|| shifted(&now, -PERIODS_BACK_DAYS * 24).date());
    let periods_to = shifted(&now, PERIODS_AHEAD_DAYS * 24).date();
    BTreeMap::from([
        ("periodsFrom".to_owned(), day(periods_from)),
        ("periodsTo".to_owned(), day(periods_to)),
        ("plansFrom".to_owned(), PLANS_FROM.to_owned()),
        ("plansTo".to_owned(), year(PLANS_YEARS_AHEAD, 12, 31)),
        ("schedulesFrom".to_owned(), year(-1, 1, 1)),
        ("schedulesTo".to_owned(), year(1, 12, 31)),
        ("auditFrom".to_owned(), instant(&shifted(&now, LIMIT_MARGIN_HOURS - AUDIT_DAYS * 24))),
        ("logFrom".to_owned(), instant(&shifted(&now, LIMIT_MARGIN_HOURS - LOG_DAYS * 24))),
    ])
}

fn shifted(now: &ZonedDateTime, hours: i64) -> ZonedDateTime {
    now.saturating_add(Span::new().hours(hours))
}

fn instant(at: &ZonedDateTime) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// For how many days Tempo keeps a log, if the entity is one.
pub fn days_kept(entity: &Entity) -> Option<i64> {
    match entity.delta {
        Some(Delta::Append("auditFrom")) => Some(AUDIT_DAYS),
        Some(Delta::Append(_)) => Some(LOG_DAYS),
        _ => None,
    }
}

/// The day of a plan, in UTC.
pub fn today(plan: &Plan) -> Date {
    plan.started.to_zoned_datetime(TimeZone::UTC).date()
}

/// A window's value for a request of a job that is made at `now`.
///
/// The two logs refuse a start that is too far back. Where the plan is so old that its start has left the log, the log's own
/// limit is the start: what lies before is not there any more. One that `builds` on its base begins where that left off.
pub fn window(plan: &Plan, job: &Job, builds: bool, name: &str, now: Timestamp) -> Option<String> {
    let since = job.since.map(|since| instant(&since.to_zoned_datetime(TimeZone::UTC)));
    if name == SINCE {
        return since;
    }
    let log = catalogue::entity(&job.entity).and_then(|entity| entity.delta);
    let begins = matches!(log, Some(Delta::Append(window)) if window == name && builds);
    let planned = since.filter(|_| begins).or_else(|| plan.windows.get(name).cloned())?;
    let days = match name {
        "auditFrom" => AUDIT_DAYS,
        "logFrom" => LOG_DAYS,
        _ => return Some(planned),
    };
    let hour = now.as_second() - now.as_second().rem_euclid(3_600);
    let limit = Timestamp::from_second(hour).unwrap_or(now).to_zoned_datetime(TimeZone::UTC);
    // Whole hours, so that the pages of one read ask with one and the same start.
    Some(planned.max(instant(&shifted(&limit, 1 - days * 24))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn planned(wish: Wish, without: &[&str]) -> Result<Plan, PlanError> {
        let now = at("2026-03-01T02:00:00Z");
        let mut settings = Settings::new("acme".parse().unwrap(), now);
        settings.without = without.iter().map(|name| (*name).to_owned()).collect();
        plan(&settings, wish, &[], RunId::new(now, "aaaaaa").unwrap(), now)
    }

    #[test]
    fn a_plan_names_every_entity() {
        let plan = planned(Wish::default(), &["projects"]).unwrap();
        assert_eq!(plan.jobs.len() + plan.left_out.len(), ENTITIES.len());
        assert_eq!(plan.left_out["projects"], "left out by the tenant's settings");
        assert_eq!(plan.left_out["project-expenses"], "read per project, which is left out");
        assert!(!plan.left_out.contains_key("portfolios"));
    }

    #[test]
    fn what_is_asked_for_brings_its_parents() {
        let wish = Wish { only: BTreeSet::from(["account-links".to_owned()]), ..Wish::default() };
        let plan = planned(wish, &[]).unwrap();
        let names: Vec<_> = plan.jobs.iter().map(|job| job.entity.as_str()).collect();
        assert_eq!(names, ["accounts", "account-links"]);
        let wish = Wish { only: BTreeSet::from(["worklog".to_owned()]), ..Wish::default() };
        assert_eq!(planned(wish, &[]), Err(PlanError::UnknownEntity("worklog".to_owned())));
    }

    #[test]
    fn windows_stay_inside_tempos_limits() {
        let plan = planned(Wish::default(), &[]).unwrap();
        assert_eq!(plan.windows["auditFrom"], "2025-09-02T03:00:00Z");
        assert_eq!(plan.windows["plansTo"], "2031-12-31");
        let soon =
            window(&plan, plan.job("audit-events").unwrap(), false, "auditFrom", at("2026-03-01T02:30:00Z"));
        assert_eq!(soon.as_deref(), Some("2025-09-02T03:00:00Z"), "the plan's own start while it holds");
        let late =
            window(&plan, plan.job("audit-events").unwrap(), false, "auditFrom", at("2026-03-04T02:30:00Z"));
        assert_eq!(late.as_deref(), Some("2025-09-05T03:00:00Z"), "the log's limit once it does not");
    }
}
