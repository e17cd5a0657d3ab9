//! When a tenant is due: five fields of cron, read in the tenant's time zone.
//!
//! The fields are those of Vixie's cron, crontab(5): lists, ranges, steps and names; Sunday is 0 and 7. A day
//! counts if day of month *or* day of week has it, unless one of the two begins with `*`: then both must.
//!
//! Where the clocks change:
//!
//! - **Hours that are named are times of day.** One that is skipped is due at the first moment after the gap,
//!   once however many it skips; one that comes twice is due the first time. No day goes without its run.
//! - **Hours that begin with `*` are elapsed time.** Due is each moment at which the clock shows such a time: in an
//!   hour that comes twice each time, in one that is skipped never. `15 * * * *` is due every 60 minutes, also where an hour
//!   is skipped.
//!
//! Cron itself also takes `*/30 2 * * *` for elapsed time, and so leaves it out when 02:00 is skipped. Here it is
//! named by its hour and runs at 03:00: a backup that is missing weighs more than one at an odd time.

mod cron;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::names::Tenant;
use cron::Cron;

const MINUTE: SignedDuration = SignedDuration::from_mins(1);
const NANOSECOND: SignedDuration = SignedDuration::from_nanos(1);

/// A schedule that has been checked: it is due some day.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: TimeZone,
}

/// A text that is no schedule. `Display` is one line: what is wrong, where, what would be right.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Not five fields.
    #[error(
        "{text:?} has {count} instead of five fields{}: minute, hour, day of month, month and day of week, like \"30 2 * * *\"",
        beyond(*count)
    )]
    Count {
        /// The whole text.
        text: String,
        /// How many fields it has.
        count: usize,
    },
    /// A field that cannot be read.
    #[error("{field}: {why}")]
    Field {
        /// Which field, in words.
        field: &'static str,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// A word with `@` that stands for no five fields.
    #[error(
        "{0:?} is not known; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually, and five fields, like \"30 2 * * *\""
    )]
    Word(String),
    /// Fields that can be read and never meet.
    #[error(
        "{0:?} never comes: the month has no such day; February ends with the 29th, and April, June, September and November with the 30th"
    )]
    Never(String),
    /// Not a time zone.
    #[error("{0:?} is not the name of a time zone, like Europe/Berlin")]
    TimeZone(String),
}

fn beyond(count: usize) -> &'static str {
    if count > 5 { ", without seconds and years" } else { "" }
}

/// Finds a time zone of the IANA database by its name.
pub fn time_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    let zone = TimeZone::get(name).ok().filter(|zone| !zone.is_unknown());
    zone.ok_or_else(|| ScheduleError::TimeZone(name.to_owned()))
}

impl Schedule {
    /// Reads five fields of cron, or a word like `@daily`, in an IANA time zone; in UTC without one.
    pub fn parse(cron: &str, time_zone: Option<&str>) -> Result<Self, ScheduleError> {
        let text = cron.trim();
        let cron = cron::parse(text)?;
        let zone = time_zone.map_or(Ok(TimeZone::UTC), self::time_zone)?;
        Ok(Self { text: text.to_owned(), cron, zone })
    }

    /// The time zone it is read in.
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first due time after `t`; none only at the end of the calendar, in the year 9999.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        if self.cron.elapsed { self.elapsed_after(t) } else { self.named_after(t) }
    }

    /// The last due time at or before `t`; none only at the beginning of the calendar.
    pub fn last_before(&self, t: Timestamp) -> Option<Timestamp> {
        if self.cron.elapsed { self.elapsed_before(t) } else { self.named_before(t) }
    }

    /// The due time and a share of `most` that is the tenant's own, in whole seconds.
    ///
    /// The share comes from the name alone, so a thousand tenants of one schedule are spread evenly, and each has
    /// its same minute every night. It ends half way to the following due time, so that runs do not meet.
    pub fn spread(&self, tenant: &Tenant, due: Timestamp, most: Duration) -> Timestamp {
        let following = self.next_after(due).and_then(|next| u64::try_from((next - due).as_secs()).ok());
        let window = following.map_or(most.as_secs(), |seconds| most.as_secs().min(seconds / 2));
        let hash = crate::seen::mark(tenant.as_str().as_bytes());
        // The hash is a fraction of 2^64.
        let share = (u128::from(hash) * u128::from(window)) >> u64::BITS;
        let share = i64::try_from(share).unwrap_or(i64::MAX);
        due.checked_add(SignedDuration::from_secs(share)).unwrap_or(due)
    }

    /// In words, like "every day at 02:00 Europe/Berlin"; cron's own where words would be longer than they help.
    pub fn describe(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        words::describe(&self.cron, zone).unwrap_or_else(|| format!("{} {zone}", self.text))
    }

    fn named_after(&self, t: Timestamp) -> Option<Timestamp> {
        let mut wall = self.zone.to_datetime(t);
        loop {
            let found = self.cron.at_or_after(wall)?;
            let due = self.first_moment(found)?;
            if due > t {
                return Some(due);
            }
            wall = found.checked_add(MINUTE).ok()?;
        }
    }

    fn named_before(&self, t: Timestamp) -> Option<Timestamp> {
        let wall = self.zone.to_datetime(t);
        let mut wall = match self.zone.to_ambiguous_timestamp(wall).offset() {
            // When the hour comes again, all of it has been before.
            AmbiguousOffset::Fold { before, .. } => before.to_datetime(t),
            _ => wall,
        };
        loop {
            let found = self.cron.at_or_before(wall)?;
            let due = self.first_moment(found)?;
            if due <= t {
                return Some(due);
            }
            wall = found.checked_sub(MINUTE).ok()?;
        }
    }

    /// When the clock first shows this time, or first goes past it.
    fn first_moment(&self, wall: DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(wall);
        let AmbiguousOffset::Gap { after, .. } = ambiguous.offset() else {
            return ambiguous.earlier().ok();
        };
        // The clock of after the gap, read back, is before it.
        let before = after.to_timestamp(wall).ok()?;
        self.zone.following(before).find(|change| change.offset() == after).map(|change| change.timestamp())
    }

    /// Looks from one change of the clock to the next; in between wall time is elapsed time.
    fn elapsed_after(&self, t: Timestamp) -> Option<Timestamp> {
        let mut from = t.checked_add(NANOSECOND).ok()?;
        loop {
            let offset = self.zone.to_offset(from);
            let change = self.zone.following(from).next().map(|change| change.timestamp());
            let found = self.cron.at_or_after(offset.to_datetime(from))?;
            match (offset.to_timestamp(found).ok(), change) {
                (Some(due), change) if change.is_none_or(|change| due < change) => return Some(due),
                (_, change) => from = change?,
            }
        }
    }

    fn elapsed_before(&self, t: Timestamp) -> Option<Timestamp> {
        let mut to = t;
        loop {
            let offset = self.zone.to_offset(to);
            // A change at this very moment is one that lies behind.
            let behind = to.checked_add(NANOSECOND).unwrap_or(to);
            let change = self.zone.preceding(behind).next().map(|change| change.timestamp());
            let found = self.cron.at_or_before(offset.to_datetime(to))?;
            match (offset.to_timestamp(found).ok(), change) {
                (Some(due), change) if change.is_none_or(|change| due >= change) => return Some(due),
                (_, change) => to = change?.checked_sub(NANOSECOND).ok()?,
            }
        }
    }
}
