//! The lines of the table.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

/// What a number is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// Records, requests.
    Count,
    /// Of one: 0.6 is 60 %.
    Share,
    /// Mebibytes.
    Mib,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Bytes, below some thousands.
    Bytes,
    /// Any other number: 1.04.
    Number,
}

/// What a number should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    /// It is there to be looked at.
    None,
    AtLeast(f64),
    AtMost(f64),
}

/// Writes a heading.
pub(crate) fn part(name: &str) {
    println!("\n{name}\n{:<56} {:>12}  {:>25}  aim", "", "median", "range");
}

/// Writes why something is not measured.
pub(crate) fn note(what: &str) {
    println!("\n{what}");
}

/// Writes a number for whoever started this process.
pub(crate) fn plain(value: f64) {
    println!("{value}");
}

/// Writes a line: the median of some runs, their range, and whether it is as it should be.
pub(crate) fn line(what: &str, unit: Unit, runs: &[f64], aim: Aim) {
    let first = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let last = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let median = median(runs);
    let range = match runs.len() {
        1 => "1 run".to_owned(),
        _ => format!("{} .. {}", shown(unit, first), shown(unit, last)),
    };
    let verdict = match aim {
        Aim::None => String::new(),
        Aim::AtLeast(aim) => format!("{} at least {}", met(median >= aim), shown(unit, aim)),
        Aim::AtMost(aim) => format!("{} at most {}", met(median <= aim), shown(unit, aim)),
    };
    println!("{what:<56} {:>12}  {range:>25}  {verdict}", shown(unit, median));
}

/// What half of some values is not above.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// What so large a part of some values is not above.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the list")]
    let place = (values.len() as f64 * part) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn met(met: bool) -> &'static str {
    if met { "yes" } else { "NO: " }
}

fn shown(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Count => thousands(&format!("{value:.0}")),
        Unit::Share => format!("{:.1} %", value * 100.0),
        Unit::Mib => format!("{value:.1} MiB"),
        Unit::Seconds => format!("{value:.2} s"),
        Unit::Millis => format!("{value:.2} ms"),
        Unit::Bytes => format!("{} B", thousands(&format!("{value:.0}"))),
        Unit::Number => format!("{value:.2}"),
    }
}

fn thousands(digits: &str) -> String {
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}
