//! Tenants and their settings.

use std::fmt;
use std::ops::RangeInclusive;

use fermata_core::names::{RunId, Tenant};
use fermata_core::retention::Policy;
use fermata_core::schedule::{Schedule, ScheduleError, time_zone};
use fermata_core::settings::{
    SHRINK_PERCENT, SHRINK_PERCENT_RANGE, SWEEP_DAYS, SWEEP_DAYS_RANGE, Settings, WEIGHTS,
};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// More than any site of Tempo's allows; above it a typing error is likelier.
const RATE_MAX: f64 = 1_000.0;
/// Longer than any name that fits a page.
const NAME_CHARS_MAX: usize = 100;
/// Enough to see how a schedule goes on.
const DUE_TIMES: usize = 5;
/// What takes a setting back.
pub(crate) const NONE: &str = "none";

/// A tenant as documents show it; of the token only what is not secret.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct View {
    pub(crate) tenant: Tenant,
    pub(crate) name: Option<String>,
    pub(crate) base_url: String,
    pub(crate) rate: f64,
    pub(crate) schedule: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) schedule_in_words: Option<String>,
    pub(crate) due_next: Vec<Timestamp>,
    pub(crate) weight: u32,
    pub(crate) keep: Option<String>,
    pub(crate) sweep_days: u32,
    pub(crate) shrink_percent: u32,
    pub(crate) accepted: Option<RunId>,
    pub(crate) without: Vec<String>,
    pub(crate) paused: bool,
    pub(crate) token: Option<TokenView>,
    pub(crate) last_snapshot: Option<String>,
}

/// What may be known of a stored token.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TokenView {
    pub(crate) fingerprint: String,
    pub(crate) stored: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stored_by: Option<String>,
    pub(crate) expires: Option<Date>,
    pub(crate) refused: Option<Timestamp>,
}

/// Settings to be changed; what is `None` stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    pub(crate) base_url: Option<String>,
    pub(crate) rate: Option<f64>,
    pub(crate) schedule: Option<String>,
    pub(crate) time_zone: Option<String>,
    pub(crate) weight: Option<i64>,
    pub(crate) keep: Option<String>,
    pub(crate) sweep_every: Option<i64>,
    pub(crate) shrink: Option<i64>,
    #[serde(default)]
    pub(crate) without: Vec<String>,
}

/// A setting that cannot be what was asked for. The field is named as its flag is, without the hyphens before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) field: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}: {}", self.field, self.what)
    }
}

/// Takes over what was given, or reports all that is wrong with it.
pub(crate) fn change(settings: &mut Settings, given: Change) -> Result<(), Vec<Mistake>> {
    let mut wrong = Vec::new();
    let mut mistake = |field, what: String| wrong.push(Mistake { field, what });
    if let Some(url) = given.base_url {
        match fermata_tempo::client::base_url(&url) {
            Ok(parsed) if parsed.path() != "/" => {
                mistake("base-url", format!("give {url} without its path, {}", parsed.path()));
            }
            Ok(_) => url.trim_end_matches('/').clone_into(&mut settings.base_url),
            Err(error) => mistake("base-url", format!("{error}; plain http is for this machine alone")),
        }
    }
    match given.rate {
        Some(rate) if rate > 0.0 && rate <= RATE_MAX => settings.rate = rate,
        Some(rate) => mistake("rate", format!("{rate} is not between 0 and {RATE_MAX} requests per second")),
        None => {}
    }
    // Each by itself, so that a mistake in one hides none in the other.
    if let Some(cron) = given.schedule.as_deref().filter(|cron| *cron != NONE)
        && let Err(error) = Schedule::parse(cron, None)
    {
        mistake("schedule", error.to_string());
    }
    match given.time_zone.as_deref().map(time_zone) {
        // As the database writes it.
        Some(Ok(zone)) => settings.time_zone = zone.iana_name().map(str::to_owned),
        Some(Err(error)) => mistake("time-zone", error.to_string()),
        None => {}
    }
    match given.keep.as_deref().map(str::parse::<Policy>) {
        Some(Ok(policy)) => settings.keep = Some(policy.to_string()),
        Some(Err(error)) => mistake("keep", error.to_string()),
        None => {}
    }
    let within = |given: Option<i64>, range: &RangeInclusive<u32>| {
        let given = given?;
        let fits = u32::try_from(given).ok().filter(|number| range.contains(number));
        Some(fits.ok_or_else(|| format!("{given} is not between {} and {}", range.start(), range.end())))
    };
    let mut number = |field, given, range| match within(given, range) {
        Some(Err(what)) => {
            mistake(field, what);
            None
        }
        Some(Ok(number)) => Some(number),
        None => None,
    };
    settings.weight = number("weight", given.weight, &WEIGHTS).unwrap_or(settings.weight);
    settings.sweep_days = number("sweep-every", given.sweep_every, &SWEEP_DAYS_RANGE).or(settings.sweep_days);
    settings.shrink_percent =
        number("shrink", given.shrink, &SHRINK_PERCENT_RANGE).or(settings.shrink_percent);
    if given.name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS_MAX) {
        mistake("name", format!("say it in {NAME_CHARS_MAX} characters"));
    }
    for entity in given.without.iter().filter(|name| name.as_str() != NONE) {
        if fermata_core::catalogue::entity(entity).is_none() {
            mistake(
                "without",
                format!("there is no entity {entity:?}; `fermata token check` lists them all"),
            );
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    settings.name = given.name.or(settings.name.take()).filter(|name| !name.is_empty());
    settings.schedule = given.schedule.or(settings.schedule.take()).filter(|cron| cron != NONE);
    if given.without.iter().any(|name| name == NONE) {
        settings.without.clear();
    }
    settings.without.extend(given.without.into_iter().filter(|name| name != NONE));
    Ok(())
}

/// The schedule of a tenant, if it has one.
pub(crate) fn schedule(settings: &Settings) -> Option<Result<Schedule, ScheduleError>> {
    let cron = settings.schedule.as_deref()?;
    Some(Schedule::parse(cron, settings.time_zone.as_deref()))
}

/// When a tenant is backed up, for people.
pub(crate) fn schedule_in_words(settings: &Settings) -> String {
    let cron = settings.schedule.as_deref().unwrap_or_default();
    match schedule(settings) {
        None => "none; it is backed up by hand".to_owned(),
        Some(Ok(schedule)) if schedule.describe().contains(cron) => schedule.describe(),
        Some(Ok(schedule)) => format!("{} ({cron})", schedule.describe()),
        // From before schedules were checked.
        Some(Err(error)) => format!("never: {error}"),
    }
}

/// The next due times on the clock of the schedule, which may be put forward or back in between.
pub(crate) fn due_next_in_words(settings: &Settings, due: &[Timestamp]) -> Vec<String> {
    let Some(Ok(schedule)) = schedule(settings) else { return Vec::new() };
    let zone = schedule.time_zone();
    due.iter()
        .map(|due| due.to_zoned_datetime(zone.clone()).strftime("%a %F %H:%M %:z").to_string())
        .collect()
}

/// A tenant as documents show it.
pub(crate) fn view(settings: &Settings, last_snapshot: Option<&RunId>, now: Timestamp) -> View {
    let schedule = schedule(settings).and_then(Result::ok);
    let due = std::iter::successors(Some(now), |due| schedule.as_ref()?.next_after(*due));
    View {
        tenant: settings.tenant.clone(),
        name: settings.name.clone(),
        base_url: settings.base_url.clone(),
        rate: settings.rate,
        schedule: settings.schedule.clone(),
        time_zone: settings.time_zone.clone(),
        schedule_in_words: schedule.as_ref().map(Schedule::describe),
        due_next: due.skip(1).take(DUE_TIMES).collect(),
        weight: settings.weight,
        keep: settings.keep.clone(),
        sweep_days: settings.sweep_days.unwrap_or(SWEEP_DAYS),
        shrink_percent: settings.shrink_percent.unwrap_or(SHRINK_PERCENT),
        accepted: settings.accepted.clone(),
        without: settings.without.iter().cloned().collect(),
        paused: settings.paused,
        token: settings.token.as_ref().map(|token| TokenView {
            fingerprint: token.fingerprint.clone(),
            stored: token.stored,
            stored_by: token.stored_by.clone(),
            expires: token.expires,
            refused: token.refused,
        }),
        last_snapshot: last_snapshot.map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_said_in_words() {
        fn check(cron: Option<&str>, expect: &str) {
            let mut settings = Settings::new("acme".parse().unwrap(), Timestamp::UNIX_EPOCH);
            settings.schedule = cron.map(str::to_owned);
            assert_eq!(schedule_in_words(&settings), expect);
        }
        check(None, "none; it is backed up by hand");
        check(Some("@daily"), "every day at 00:00 UTC (@daily)");
        check(Some("0 2 1 * mon"), "0 2 1 * mon UTC");
        check(Some("0 2 * * x"), "never: day of week: \"x\" is none of 0-7 or sun-sat");
    }
}
