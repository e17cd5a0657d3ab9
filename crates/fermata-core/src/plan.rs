//! What a run will do, decided once.
//!
//! [`plan`] is a pure function of the catalogue, a tenant's settings, what was asked for and `now`.
//! The plan it makes is complete: whoever carries it out has nothing left to choose, so any worker,
//! on any day, does the same.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Span, Timestamp, ZonedDateTime, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, ENTITIES, Entity, Key};
use crate::names::{RunId, Tenant};
use crate::settings::Settings;

/// Tempo's audit search refuses a start more than 180 days back.
const AUDIT_DAYS: i64 = 180;
/// Tempo's approval log refuses a start more than two years back.
const LOG_DAYS: i64 = 730;
/// Kept back from both limits, so that a request made a while after the plan is still inside them.
const LIMIT_MARGIN_HOURS: i64 = 1;
/// How far back periods and what hangs on them are read when nobody said otherwise. Each period
/// costs a request per team and per project, so this is a year and not for ever.
const PERIODS_BACK_DAYS: i64 = 366;
/// How far ahead periods are read: the one that is open and the next.
const PERIODS_AHEAD_DAYS: i64 = 31;
/// Plans are read in one window that stays the same for a year, since Tempo computes some of their
/// members from it.
const PLANS_FROM: &str = "2000-01-01";
const PLANS_YEARS_AHEAD: i16 = 5;

/// The windows that requests may name.
pub const WINDOWS: [&str; 8] = [
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
}

/// One entity of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name in the catalogue.
    pub entity: String,
    /// All of it, or what changed.
    pub mode: Mode,
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

    /// The snapshots that its jobs build on, which must stay until it is sealed.
    pub fn bases(&self) -> impl Iterator<Item = &RunId> {
        std::iter::empty()
    }

    /// The planned entities whose keys this one is read by: it waits for their jobs.
    pub fn parents(&self, entity: &'static Entity) -> impl Iterator<Item = &'static Entity> {
        entity.parents().filter(|parent| self.jobs.iter().any(|job| job.entity == parent.name))
    }
}

/// Plans a run.
pub fn plan(settings: &Settings, wish: Wish, run: RunId, now: Timestamp) -> Result<Plan, PlanError> {
    if let Some(unknown) = wish.only.iter().find(|name| crate::catalogue::entity(name).is_none()) {
        return Err(PlanError::UnknownEntity(unknown.clone()));
    }
    let left_out = left_out(settings, &wish);
    let jobs = ENTITIES.iter().filter(|entity| !left_out.contains_key(entity.name));
    let jobs = jobs.map(|entity| Job { entity: entity.name.to_owned(), mode: Mode::Sweep }).collect();
    let windows = windows(wish.from, now);
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
    })
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
                let key = entity.orphaned(false, given)?;
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

/// The day of a plan, in UTC.
pub fn today(plan: &Plan) -> Date {
    plan.started.to_zoned_datetime(TimeZone::UTC).date()
}

/// A window's value for a request made at `now`.
///
/// The two logs refuse a start that is too far back. Where the plan is so old that its start has
/// left the log, the log's own limit is the start: what lies before is not there any more.
pub fn window(plan: &Plan, name: &str, now: Timestamp) -> Option<String> {
    let planned = plan.windows.get(name)?;
    let days = match name {
        "auditFrom" => AUDIT_DAYS,
        "logFrom" => LOG_DAYS,
        _ => return Some(planned.clone()),
    };
    let hour = now.as_second() - now.as_second().rem_euclid(3_600);
    let limit = Timestamp::from_second(hour).unwrap_or(now).to_zoned_datetime(TimeZone::UTC);
    // Whole hours, so that the pages of one read ask with one and the same start.
    Some(planned.clone().max(instant(&shifted(&limit, 1 - days * 24))))
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
        plan(&settings, wish, RunId::new(now, "aaaaaa").unwrap(), now)
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
        let wish = Wish { only: BTreeSet::from(["account-links".to_owned()]), from: None };
        let plan = planned(wish, &[]).unwrap();
        let names: Vec<_> = plan.jobs.iter().map(|job| job.entity.as_str()).collect();
        assert_eq!(names, ["accounts", "account-links"]);
        let wish = Wish { only: BTreeSet::from(["worklog".to_owned()]), from: None };
        assert_eq!(planned(wish, &[]), Err(PlanError::UnknownEntity("worklog".to_owned())));
    }

    #[test]
    fn windows_stay_inside_tempos_limits() {
        let plan = planned(Wish::default(), &[]).unwrap();
        assert_eq!(plan.windows["auditFrom"], "2025-09-02T03:00:00Z");
        assert_eq!(plan.windows["plansTo"], "2031-12-31");
        let soon = window(&plan, "auditFrom", at("2026-03-01T02:30:00Z"));
        assert_eq!(soon.as_deref(), Some("2025-09-02T03:00:00Z"), "the plan's own start while it holds");
        let late = window(&plan, "auditFrom", at("2026-03-04T02:30:00Z"));
        assert_eq!(late.as_deref(), Some("2025-09-05T03:00:00Z"), "the log's limit once it does not");
    }
}
