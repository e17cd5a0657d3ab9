//! A schedule in words for people.

use super::cron::Cron;

/// Longer lists are not words that help.
const LIST_MAX: usize = 4;

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 13] = [
    "",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The times of a day, and how they go together with a day.
enum Times {
    /// "at 02:00"
    At(String),
    /// "every 2 hours from 00:15"
    Hours(String),
    /// "every 15 minutes": the same in every time zone, but for odd ones.
    Minutes(String),
}

/// None where words would be longer than they help.
pub(super) fn describe(cron: &Cron, zone: &str) -> Option<String> {
    let days = days(cron)?;
    let every_day = days == "every day";
    Some(match times(cron)? {
        Times::At(times) => format!("{days} {times} {zone}"),
        Times::Hours(times) if every_day => format!("{times} {zone}"),
        Times::Hours(times) => format!("{days}, {times} {zone}"),
        Times::Minutes(times) if every_day => times,
        Times::Minutes(times) => format!("{days}, {times}, {zone}"),
    })
}

fn times(cron: &Cron) -> Option<Times> {
    let (minutes, hours) = (values(cron.minutes), values(cron.hours));
    let clock = |hour: &usize, minute: &usize| format!("{hour:02}:{minute:02}");
    if hours.len() == 24 {
        return Some(Times::Minutes(match minutes[..] {
            [minute] => format!("at minute {minute} past every hour"),
            _ if minutes.len() == 60 => "every minute".to_owned(),
            [0, step, ..] if evenly(&minutes, 60) => format!("every {step} minutes"),
            _ => format!("at minutes {} past every hour", list(&minutes, ToString::to_string)?),
        }));
    }
    if minutes.len() * hours.len() <= LIST_MAX {
        let all = hours.iter().flat_map(|hour| minutes.iter().map(move |minute| clock(hour, minute)));
        return Some(Times::At(format!("at {}", list(&all.collect::<Vec<_>>(), Clone::clone)?)));
    }
    let ([minute], [first, second, .., last]) = (&minutes[..], &hours[..]) else { return None };
    let first_time = clock(first, minute);
    if evenly(&hours, 24) {
        return Some(Times::Hours(format!("every {} hours from {first_time}", second - first)));
    }
    let whole = last - first + 1 == hours.len();
    whole.then(|| Times::Hours(format!("every hour from {first_time} to {}", clock(last, minute))))
}

fn days(cron: &Cron) -> Option<String> {
    let (days, months, weekdays) = (values(cron.days), values(cron.months), values(cron.weekdays));
    let all = (days.len() == 31, weekdays.len() == 7);
    if cron.either_day && all != (true, true) {
        // "The 1st and every Monday" is read as either; better cron's own words.
        return None;
    }
    let month = match &months[..] {
        _ if months.len() == 12 => None,
        [first, .., last] if months.len() > 2 && last - first + 1 == months.len() => {
            Some(format!("{} to {}", MONTHS[*first], MONTHS[*last]))
        }
        months => Some(list(months, |month| MONTHS[*month].to_owned())?),
    };
    let within = month.as_ref().map(|month| format!(" in {month}")).unwrap_or_default();
    match all {
        (true, true) => Some(format!("every day{within}")),
        (true, false) => Some(match &weekdays[..] {
            [first, .., last] if weekdays.len() > 2 && last - first + 1 == weekdays.len() => {
                format!("{} to {}{within}", WEEKDAYS[*first], WEEKDAYS[*last])
            }
            some => format!("every {}{within}", list(some, |day| WEEKDAYS[*day].to_owned())?),
        }),
        (false, true) => {
            let word = if days.len() == 1 { "day" } else { "days" };
            let month = month.as_deref().unwrap_or("every month");
            Some(format!("on {word} {} of {month}", list(&days, ToString::to_string)?))
        }
        (false, false) => None,
    }
}

fn values(bits: u64) -> Vec<usize> {
    (0..64).filter(|value| bits >> value & 1 == 1).collect()
}

/// Whether the values are equally far apart, round the clock.
fn evenly(values: &[usize], whole: usize) -> bool {
    let step = whole / values.len();
    step * values.len() == whole && values.windows(2).all(|pair| pair[1] - pair[0] == step)
}

fn list<T>(items: &[T], say: impl Fn(&T) -> String) -> Option<String> {
    let (last, rest) = items.split_last()?;
    if items.len() > LIST_MAX {
        return None;
    }
    let rest: Vec<_> = rest.iter().map(&say).collect();
    Some(if rest.is_empty() { say(last) } else { format!("{} and {}", rest.join(", "), say(last)) })
}
