//! Five fields of cron against a calendar and a clock that know no time zone.

use jiff::civil::{Date, DateTime, Time, time};

use super::ScheduleError;

/// The calendar repeats itself after so many years; what has not come by then never comes.
const YEARS: i16 = 400;

/// Five fields; of each the bits of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) months: u64,
    pub(super) weekdays: u64,
    /// Whether one of the two days is enough.
    pub(super) either_day: bool,
    /// Whether the hours begin with `*`.
    pub(super) elapsed: bool,
}

/// What may stand in a field.
struct Field {
    name: &'static str,
    first: u8,
    last: u8,
    /// As people are told.
    values: &'static str,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", first: 0, last: 59, values: "0-59", names: &[] };
const HOUR: Field = Field { name: "hour", first: 0, last: 23, values: "0-23", names: &[] };
const DAY: Field = Field { name: "day of month", first: 1, last: 31, values: "1-31", names: &[] };
const MONTH: Field = Field {
    name: "month",
    first: 1,
    last: 12,
    values: "1-12 or jan-dec",
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day of week",
    first: 0,
    last: 6,
    values: "0-7 or sun-sat",
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};
/// Sunday, where it ends a week.
const SUNDAY: u8 = 7;

/// Reads five fields, or the word that stands for them.
pub(super) fn parse(text: &str) -> Result<Cron, ScheduleError> {
    let line = match text.to_ascii_lowercase().as_str() {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        word if word.starts_with('@') => return Err(ScheduleError::Word(text.to_owned())),
        _ => text,
    };
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(ScheduleError::Count { text: text.to_owned(), count: fields.len() });
    };
    let star = |field: &str| field.starts_with('*');
    let cron = Cron {
        minutes: MINUTE.bits(minute)?,
        hours: HOUR.bits(hour)?,
        days: DAY.bits(day)?,
        months: MONTH.bits(month)?,
        weekdays: WEEKDAY.bits(weekday)?,
        either_day: !star(day) && !star(weekday),
        elapsed: star(hour),
    };
    let comes = cron.at_or_after(Date::constant(2000, 1, 1).to_datetime(Time::midnight()));
    comes.map(|_| cron).ok_or_else(|| ScheduleError::Never(text.to_owned()))
}

impl Cron {
    /// The first time that fits, from this one on.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let (mut date, mut earliest) = (from.date(), from.time());
        while date.year() - YEARS <= from.year() {
            if self.has_day(date)
                && let Some(time) = self.times().find(|time| *time >= earliest)
            {
                return Some(date.to_datetime(time));
            }
            earliest = Time::midnight();
            let past = if has(self.months, date.month()) { date } else { date.last_of_month() };
            date = past.tomorrow().ok()?;
        }
        None
    }

    /// The last time that fits, up to this one.
    pub(super) fn at_or_before(&self, to: DateTime) -> Option<DateTime> {
        let (mut date, mut latest) = (to.date(), to.time());
        while date.year() + YEARS >= to.year() {
            if self.has_day(date)
                && let Some(time) = self.times().rev().find(|time| *time <= latest)
            {
                return Some(date.to_datetime(time));
            }
            latest = Time::MAX;
            let past = if has(self.months, date.month()) { date } else { date.first_of_month() };
            date = past.yesterday().ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        has(self.months, date.month()) && if self.either_day { day || weekday } else { day && weekday }
    }

    fn times(&self) -> impl DoubleEndedIterator<Item = Time> {
        let hours = (0..24).filter(|hour| has(self.hours, *hour));
        hours.flat_map(|hour| {
            let minutes = (0..60).filter(|minute| has(self.minutes, *minute));
            minutes.map(move |minute| time(hour, minute, 0, 0))
        })
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

impl Field {
    fn bits(&self, text: &str) -> Result<u64, ScheduleError> {
        let mut bits = 0;
        for part in text.split(',') {
            bits |= self.part(part).map_err(|why| ScheduleError::Field { field: self.name, why })?;
        }
        Ok(bits)
    }

    /// One of a list: a value, a range, or a range in steps.
    fn part(&self, text: &str) -> Result<u64, String> {
        let (range, step) = text.split_once('/').map_or((text, None), |(range, step)| (range, Some(step)));
        let (first, last) = if range == "*" {
            (self.first, self.last)
        } else if let Some((first, last)) = range.split_once('-') {
            self.range(self.value(first)?, self.value(last)?)?
        } else {
            let value = self.value(range)?;
            if let Some(step) = step {
                let last = self.last;
                return Err(format!("a step needs a range, like {value}-{last}/{step} or */{step}"));
            }
            (value, value)
        };
        let step = step.map_or(Ok(1), |step| self::step(step, first, last))?;
        let values = (first..=last).step_by(step);
        Ok(values.fold(0, |bits, value| bits | 1 << if self.is_sunday(value) { 0 } else { value }))
    }

    fn range(&self, first: u8, last: u8) -> Result<(u8, u8), String> {
        // A week has a Sunday at both ends; whichever number it is given, the range says which.
        let (first, last) = match (first, last) {
            (SUNDAY, last) if last < SUNDAY && self.is_sunday(first) => (0, last),
            (1.., 0) if self.is_sunday(SUNDAY) => (first, SUNDAY),
            range => range,
        };
        if first <= last {
            return Ok((first, last));
        }
        let (from, to) = (self.first, self.last);
        Err(format!("{first}-{last} runs backwards; give {first}-{to},{from}-{last}"))
    }

    fn value(&self, text: &str) -> Result<u8, String> {
        let name = self.names.iter().zip(self.first..).find(|(name, _)| text.eq_ignore_ascii_case(name));
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits);
        let value = name.map(|(_, value)| value).or(number);
        let fits = |value: &u8| (self.first..=self.last).contains(value) || self.is_sunday(*value);
        value.filter(fits).ok_or_else(|| {
            let foreign = |char: char| char.is_ascii_digit() || "LlWw".contains(char);
            let foreign = text.contains(['#', '?']) || text.chars().all(foreign);
            let known = digits || text.is_empty() || !foreign;
            let hint = if known { "" } else { "; L, W, # and ? are not known here" };
            format!("{text:?} is none of {}{hint}", self.values)
        })
    }

    fn is_sunday(&self, value: u8) -> bool {
        value == SUNDAY && self.name == WEEKDAY.name
    }
}

fn step(text: &str, first: u8, last: u8) -> Result<usize, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<usize>().ok().filter(|step| digits && *step > 0) {
        None => Err(format!("{text:?} is no step; give a number from 1, like */15")),
        Some(step) if step > usize::from(last - first) && first < last => Err(format!(
            "a step of {step} is longer than {first}-{last} and meets only {first}; give {first}"
        )),
        Some(step) => Ok(step),
    }
}
