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

/// Writes a line: the median of some runs, their range, and whether it is as it should be.
pub(crate) fn line(what: &str, unit: Unit, runs: &[f64], aim: Aim) {
    let mut runs = runs.to_vec();
    runs.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else { return };
    let median = runs[runs.len() / 2];
    let range = match runs.len() {
        1 => "1 run".to_owned(),
        _ => format!("{} .. {}", shown(unit, *first), shown(unit, *last)),
    };
    let verdict = match aim {
        Aim::None => String::new(),
        Aim::AtLeast(aim) => format!("{} at least {}", met(median >= aim), shown(unit, aim)),
        Aim::AtMost(aim) => format!("{} at most {}", met(median <= aim), shown(unit, aim)),
    };
    println!("{what:<56} {:>12}  {range:>25}  {verdict}", shown(unit, median));
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
