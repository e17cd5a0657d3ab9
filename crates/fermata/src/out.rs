//! The only place that writes to the terminal: stdout is data, stderr is talk.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use serde::Serialize;

use crate::exit;

/// Where words and documents go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
    quiet: bool,
}

impl Out {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether stdout carries one JSON document.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether progress is drawn, and not written line by line.
    pub(crate) fn draws(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether there is talk at all.
    pub(crate) fn talks(self) -> bool {
        !self.quiet
    }

    /// A result: the document with `--json`, else what `text` makes of it.
    pub(crate) fn result<T: Serialize>(self, document: &T, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { serde_json::to_string(document)? } else { text() };
        data(&text)
    }

    /// A line of talk.
    pub(crate) fn say(self, line: &str) {
        if self.talks() {
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }
}

/// Data for stdout. A reader that has gone away is no failure of ours.
pub(crate) fn data(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// A failure, with its causes and what to do about it.
pub(crate) fn error(error: &anyhow::Error) {
    let mut stderr = io::stderr().lock();
    let _ = writeln!(stderr, "error: {}", causes(error));
    if let Some(hint) = exit::hint(error) {
        let _ = writeln!(stderr, "  {hint}");
    }
}

/// What a library says on the way to the cause, and what tells nobody anything.
const ON_THE_WAY: [&str; 3] = ["error sending request", "client error (Connect)", "tcp connect error"];

/// The chain of causes as one line; a cause that only repeats the one before is left out.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if line.is_empty() {
            line = cause;
        } else if !ON_THE_WAY.contains(&cause.as_str()) && !line.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

/// Below this the words of a last column are not worth reading; the terminal breaks the line instead.
const LAST_COLUMN_MIN: u16 = 22;

/// A table that fits the terminal.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    let mut longest = 0;
    for row in rows {
        longest = longest.max(row.last().map_or(0, String::len));
        table.add_row(row);
    }
    // Names, times and numbers stay whole; words in the last column may break.
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        column.set_constraint(if at + 1 < N || longest < usize::from(LAST_COLUMN_MIN) {
            ColumnConstraint::ContentWidth
        } else {
            ColumnConstraint::LowerBoundary(Width::Fixed(LAST_COLUMN_MIN))
        });
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// A count with thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that fits.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([5, 1_536, 3 << 20, 1 << 50].map(bytes), ["5 B", "1.5 KiB", "3.0 MiB", "1024.0 TiB"]);
    }
}
