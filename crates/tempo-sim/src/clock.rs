//! Time as the simulated Tempo sees it, and dates as numbers.
//!
//! Promises second precision, as recorded records have it, and a clock that can be started anywhere and moved while it
//! runs. Days are counted from 1970-01-01, instants in seconds of UTC. Refuses time zones: Tempo's dates have none.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use jiff::Timestamp;

/// Seconds in a day.
pub(crate) const DAY: i64 = 86_400;

/// The simulator's clock: a start, what has passed since, and an offset that a test may change.
#[derive(Debug)]
pub(crate) struct Clock {
    start_ms: i64,
    born: Instant,
    offset_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new(start: Timestamp) -> Self {
        Self { start_ms: start.as_millisecond(), born: Instant::now(), offset_ms: AtomicI64::new(0) }
    }

    pub(crate) fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        self.start_ms + self.born.elapsed().as_millis() as i64 + self.offset_ms.load(Ordering::Relaxed)
    }
}

/// Year, month and day of a day number.
pub(crate) fn civil(day: i32) -> (i32, u32, u32) {
    // Howard Hinnant's algorithm: the hot path of worklogs cannot afford a calendar library.
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097) as u32;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe as i32 + era * 400 + i32::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

/// The day number of a date; days past the end of a month run into the next.
pub(crate) fn day_of(year: i32, month: u32, day: u32) -> i32 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (month as i32 + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day as i32 - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// 0 for Monday to 6 for Sunday.
pub(crate) fn weekday(day: i32) -> u32 {
    (day + 3).rem_euclid(7) as u32
}

/// First and last day of the month that a day lies in.
pub(crate) fn month_around(day: i32) -> (i32, i32) {
    let (year, month, _) = civil(day);
    let next = if month == 12 { day_of(year + 1, 1, 1) } else { day_of(year, month + 1, 1) };
    (day_of(year, month, 1), next - 1)
}

fn push_digits<const N: usize>(out: &mut Vec<u8>, mut value: u32) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

/// Writes `YYYY-MM-DD`.
pub(crate) fn push_date(out: &mut Vec<u8>, day: i32) {
    let (year, month, of_month) = civil(day);
    push_digits::<4>(out, year as u32);
    out.push(b'-');
    push_digits::<2>(out, month);
    out.push(b'-');
    push_digits::<2>(out, of_month);
}

/// Writes `HH:mm:ss`.
pub(crate) fn push_time(out: &mut Vec<u8>, seconds: u32) {
    push_digits::<2>(out, seconds / 3600);
    out.push(b':');
    push_digits::<2>(out, seconds / 60 % 60);
    out.push(b':');
    push_digits::<2>(out, seconds % 60);
}

/// Writes `YYYY-MM-DDTHH:mm:ssZ`.
pub(crate) fn push_instant(out: &mut Vec<u8>, seconds: i64) {
    push_date(out, seconds.div_euclid(DAY) as i32);
    out.push(b'T');
    push_time(out, seconds.rem_euclid(DAY) as u32);
    out.push(b'Z');
}

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::with_capacity(20);
    write(&mut out);
    String::from_utf8(out).expect("digits are text")
}

/// `YYYY-MM-DD`.
pub(crate) fn date(day: i32) -> String {
    text(|out| push_date(out, day))
}

/// `YYYY-MM-DDTHH:mm:ssZ`.
pub(crate) fn instant(seconds: i64) -> String {
    text(|out| push_instant(out, seconds))
}

/// The day number of `YYYY-MM-DD`.
pub(crate) fn parse_date(text: &str) -> Option<i32> {
    let date: jiff::civil::Date = text.parse().ok()?;
    (text.len() == 10).then(|| day_of(i32::from(date.year()), date.month() as u32, date.day() as u32))
}

/// Seconds of UTC from a date or a date with time and zone.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    if let Some(day) = parse_date(text) {
        return Some(i64::from(day) * DAY);
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// Seconds since midnight from `HH:mm:ss`.
pub(crate) fn parse_time(text: &str) -> Option<u32> {
    let mut parts = text.split(':').map(|part| part.parse::<u32>().ok());
    let (hours, minutes) = (parts.next()??, parts.next()??);
    let seconds = parts.next().flatten().unwrap_or(0);
    Some(hours * 3600 + minutes * 60 + seconds)
}

/// The value of an HTTP `Date` header.
pub(crate) fn http_date(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| String::new(), |at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_round_trip() {
        for day in (-200_000..200_000).step_by(37) {
            let (year, month, of_month) = civil(day);
            assert_eq!(day_of(year, month, of_month), day);
        }
        assert_eq!(parse_date("2026-03-02").map(date).as_deref(), Some("2026-03-02"));
        assert_eq!(
            parse_instant("2026-03-02T11:05:12Z").map(instant).as_deref(),
            Some("2026-03-02T11:05:12Z")
        );
        assert_eq!(weekday(day_of(2026, 3, 2)), 0, "a Monday");
        assert_eq!(parse_date("2022-05-011"), None);
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
