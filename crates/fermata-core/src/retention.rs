//! Which snapshots stay, and why.
//!
//! [`judge`] is a pure function of the policy, the snapshots, the runs that build on them and the tenant's time zone.
//! A rule such as `daily=7` keeps the best snapshot of each of the last seven days that have any. Best is the one that is
//! complete for the most entities, then a good one, then the newest: a backup of one entity, or one that failed half-way,
//! takes no day away from a whole one.
//!
//! Whatever the policy says, these stay: the newest, the newest good one, of each entity the newest in which it is
//! complete and the one that the next run builds on, and those that an unfinished run builds on.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil::Date};

use crate::manifest::{Entry, EntryStatus, Manifest, Status};
use crate::names::RunId;

/// How many snapshots stay, by rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Every one.
    All,
    /// Those that one of the rules keeps, by [`Span`] in its order; 0 of those that are not named.
    Rules([u32; SPANS.len()]),
}

/// What a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// Snapshots.
    Last,
    /// Days.
    Daily,
    /// Weeks, from Monday on.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

/// Every span and its name in a policy.
const SPANS: [(Span, &str); 5] = [
    (Span::Last, "last"),
    (Span::Daily, "daily"),
    (Span::Weekly, "weekly"),
    (Span::Monthly, "monthly"),
    (Span::Yearly, "yearly"),
];

/// The policy that keeps every snapshot.
const ALL: &str = "all";

/// Text that is no policy. `Display` is one line: what is wrong and what would be right.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PolicyError {
    /// A rule that cannot be read.
    #[error(
        "{0:?} is not a rule like daily=7; write daily=7,weekly=5,monthly=12,yearly=3, last=10, or all to keep every snapshot"
    )]
    Rule(String),
    /// A number that is none, or 0.
    #[error("{rule}={number} does not say how many: a whole number from 1 on, like {rule}=7")]
    Number {
        /// The rule.
        rule: &'static str,
        /// What stands for its number.
        number: String,
    },
    /// A rule that comes twice.
    #[error("{0} is there twice; say it once")]
    Twice(&'static str),
}

/// What the judgement needs to know of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub run: RunId,
    /// When its run was planned.
    pub started: Timestamp,
    /// Whether nothing is missing or odd.
    pub good: bool,
    /// The entities that are complete.
    pub complete: BTreeSet<String>,
    /// The entities that a later run may build on: of a log what is kept is there, also where the last look at it failed.
    pub builds: BTreeSet<String>,
}

/// Why a snapshot stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the newest.
    Newest,
    /// It is the newest good one.
    NewestGood,
    /// It is the newest in which these entities are complete.
    NewestOf(Vec<String>),
    /// It is the newest on which a run can build for these entities.
    NewestBase(Vec<String>),
    /// An unfinished run builds on it.
    Base,
    /// The policy keeps every one.
    All,
    /// A rule keeps it, as the best of this span: of its day, of the week that begins with this day, ...
    Rule(Span, Date),
}

/// What becomes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Which.
    pub run: RunId,
    /// Why it stays; without a reason it goes.
    pub reasons: Vec<Reason>,
}

impl Judgement {
    /// Whether it stays.
    pub fn stays(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl From<&Manifest> for Snapshot {
    fn from(manifest: &Manifest) -> Self {
        let names = |has: fn(&Entry) -> bool| {
            manifest.entities.iter().filter(|entry| has(entry)).map(|entry| entry.entity.clone()).collect()
        };
        Self {
            run: manifest.run.clone(),
            started: manifest.started,
            good: manifest.status == Status::Complete,
            complete: names(|entry| entry.status == EntryStatus::Complete),
            builds: names(|entry| entry.swept.is_some()),
        }
    }
}

/// Says of each snapshot, in the order of their names, why it stays or that it goes. `bases` are those that unfinished
/// runs build on; days and weeks are those of `zone`.
pub fn judge(
    policy: &Policy,
    snapshots: &[Snapshot],
    bases: &BTreeSet<RunId>,
    zone: &TimeZone,
) -> Vec<Judgement> {
    let mut sorted: Vec<&Snapshot> = snapshots.iter().collect();
    sorted.sort_unstable_by(|a, b| a.run.cmp(&b.run));
    let mut reasons = vec![Vec::new(); sorted.len()];
    if let Some(newest) = reasons.last_mut() {
        newest.push(Reason::Newest);
    }
    if let Some(at) = sorted.iter().rposition(|snapshot| snapshot.good) {
        reasons[at].push(Reason::NewestGood);
    }
    let newest = newest_of_each(&sorted, |snapshot| &snapshot.complete);
    let mut bases_of = newest_of_each(&sorted, |snapshot| &snapshot.builds);
    for (at, entities) in newest {
        if let Some(base_of) = bases_of.get_mut(&at) {
            base_of.retain(|entity| !entities.contains(entity));
        }
        reasons[at].push(Reason::NewestOf(entities));
    }
    for (at, entities) in bases_of.into_iter().filter(|(_, entities)| !entities.is_empty()) {
        reasons[at].push(Reason::NewestBase(entities));
    }
    for (at, snapshot) in sorted.iter().enumerate() {
        if bases.contains(&snapshot.run) {
            reasons[at].push(Reason::Base);
        }
        if *policy == Policy::All {
            reasons[at].push(Reason::All);
        }
    }
    if let Policy::Rules(numbers) = policy {
        for ((span, _), number) in SPANS.into_iter().zip(numbers) {
            for (begins, at) in best_of_each(span, *number as usize, &sorted, zone) {
                reasons[at].push(Reason::Rule(span, begins));
            }
        }
    }
    let runs = sorted.into_iter().map(|snapshot| snapshot.run.clone());
    runs.zip(reasons).map(|(run, reasons)| Judgement { run, reasons }).collect()
}

/// Where the newest form is of each entity that snapshots have, and of which ones.
fn newest_of_each(
    sorted: &[&Snapshot],
    has: impl Fn(&Snapshot) -> &BTreeSet<String>,
) -> BTreeMap<usize, Vec<String>> {
    let newest: BTreeMap<&String, usize> = sorted
        .iter()
        .enumerate()
        .flat_map(|(at, snapshot)| has(snapshot).iter().map(move |entity| (entity, at)))
        .collect();
    let mut by_place: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for (entity, at) in newest {
        by_place.entry(at).or_default().push(entity.clone());
    }
    by_place
}

/// The last spans that have a snapshot, by the day that each begins with, and where its best one is.
fn best_of_each(span: Span, number: usize, sorted: &[&Snapshot], zone: &TimeZone) -> Vec<(Date, usize)> {
    let day = |at: usize| sorted[at].started.to_zoned_datetime(zone.clone()).date();
    if span == Span::Last {
        return (0..sorted.len()).rev().take(number).map(|at| (day(at), at)).collect();
    }
    let mut best: BTreeMap<Date, usize> = BTreeMap::new();
    let worth = |at: usize| (sorted[at].complete.len(), sorted[at].good, at);
    for at in 0..sorted.len() {
        let place = best.entry(begin(span, day(at))).or_insert(at);
        *place = std::cmp::max_by_key(*place, at, |at| worth(*at));
    }
    best.into_iter().rev().take(number).collect()
}

/// The first day of the span that a day is in.
fn begin(span: Span, day: Date) -> Date {
    match span {
        Span::Last | Span::Daily => day,
        Span::Weekly => day.iso_week_date().first_of_week().map_or(day, jiff::civil::ISOWeekDate::date),
        Span::Monthly => day.first_of_month(),
        Span::Yearly => day.first_of_year(),
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        if text.trim() == ALL {
            return Ok(Self::All);
        }
        let mut numbers = [0; SPANS.len()];
        for rule in text.split(',').map(str::trim) {
            let named = rule.split_once('=').and_then(|(name, number)| {
                let at = SPANS.iter().position(|(_, known)| *known == name.trim())?;
                Some((at, number.trim()))
            });
            let (at, number) = named.ok_or_else(|| PolicyError::Rule(rule.to_owned()))?;
            let rule = SPANS[at].1;
            if numbers[at] != 0 {
                return Err(PolicyError::Twice(rule));
            }
            numbers[at] = match number.parse() {
                Ok(0) | Err(_) => return Err(PolicyError::Number { rule, number: number.to_owned() }),
                Ok(number) => number,
            };
        }
        Ok(Self::Rules(numbers))
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Rules(numbers) = self else { return f.write_str(ALL) };
        let rules = SPANS.iter().zip(numbers).filter(|(_, number)| **number != 0);
        let rules: Vec<String> = rules.map(|((_, name), number)| format!("{name}={number}")).collect();
        f.write_str(&rules.join(","))
    }
}

/// The first few of a list, and how many more there are.
fn some_of(entities: &[String]) -> String {
    match entities {
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        few => few.join(", "),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => f.write_str("newest"),
            Self::NewestGood => f.write_str("newest good"),
            Self::NewestOf(entities) => write!(f, "newest whole {}", some_of(entities)),
            Self::NewestBase(entities) => write!(f, "later runs build on its {}", some_of(entities)),
            Self::Base => f.write_str("an unfinished run builds on it"),
            Self::All => f.write_str("every one stays"),
            Self::Rule(Span::Last, _) => f.write_str("last"),
            Self::Rule(Span::Daily, day) => write!(f, "day {day}"),
            Self::Rule(Span::Weekly, day) => write!(f, "week of {day}"),
            Self::Rule(Span::Monthly, day) => write!(f, "month {}", day.strftime("%Y-%m")),
            Self::Rule(Span::Yearly, day) => write!(f, "year {}", day.year()),
        }
    }
}
