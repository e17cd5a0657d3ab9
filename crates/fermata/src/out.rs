//! The only place that writes to the terminal: stdout is data, stderr is talk.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::config::LogFormat;
use crate::exit;

/// Where words and documents go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    json: bool,
    quiet: bool,
    log: LogFormat,
}

impl Out {
    pub(crate) fn new(json: bool, quiet: bool, log: LogFormat) -> Self {
        Self { json, quiet, log }
    }

    /// Whether stdout carries one JSON document.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether progress is drawn, and not written line by line.
    pub(crate) fn draws(self) -> bool {
        !self.quiet && self.log == LogFormat::Text && io::stderr().is_terminal()
    }

    /// A result: the document with `--json`, else what `text` makes of it.
    pub(crate) fn result<T: Serialize>(self, document: &T, text: impl FnOnce() -> String) -> io::Result<()> {
        let text = if self.json { serde_json::to_string(document)? } else { text() };
        data(&text)
    }

    /// A line of talk.
    pub(crate) fn say(self, line: &str) {
        match self.log {
            _ if self.quiet => {}
            LogFormat::Text => talk(line),
            LogFormat::Json => talk(&event("INFO", line, None)),
        }
    }

    /// A failure, with its causes and what to do about it.
    pub(crate) fn error(self, error: &anyhow::Error) {
        let causes = causes(error);
        match (self.log, exit::hint(error)) {
            (LogFormat::Text, None) => talk(&format!("error: {causes}")),
            (LogFormat::Text, Some(hint)) => talk(&format!("error: {causes}\n  {hint}")),
            (LogFormat::Json, hint) => talk(&event("ERROR", &causes, hint)),
        }
    }
}

fn talk(lines: &str) {
    let _ = writeln!(io::stderr().lock(), "{lines}");
}

/// Talk in the form of the log, for whoever reads that line by line.
fn event(level: &str, message: &str, hint: Option<&str>) -> String {
    let mut fields = json!({ "message": message });
    if let Some(hint) = hint {
        fields["hint"] = hint.into();
    }
    json!({ "timestamp": Timestamp::now(), "level": level, "fields": fields, "target": "fermata" })
        .to_string()
}

/// Data for stdout. A reader that has gone away is no failure of ours.
pub(crate) fn data(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
        Err(error) if is_gone(&error) => Ok(()),
        written => written,
    }
}

/// Data for stdout that comes a piece after another, so that not all of it is in memory.
pub(crate) struct Pieces(BufWriter<Stdout>);

impl Default for Pieces {
    fn default() -> Self {
        Self(BufWriter::new(io::stdout()))
    }
}

impl Pieces {
    /// Adds a piece. That the reader has gone away ends the work: see [`unless_gone`].
    pub(crate) fn put(&mut self, piece: &str) -> io::Result<()> {
        self.0.write_all(piece.as_bytes())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What work with [`Pieces`] came to, or that all is done when its reader has gone away.
pub(crate) fn unless_gone(outcome: anyhow::Result<u8>) -> anyhow::Result<u8> {
    match outcome {
        Err(error) if error.downcast_ref().is_some_and(is_gone) => Ok(exit::DONE),
        outcome => outcome,
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
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

/// Columns of what is laid out without a table.
pub(crate) const WIDTH: usize = 80;

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

/// Whether a text is wider than the terminal; nothing is, where there is none.
pub(crate) fn overflows(text: &str) -> bool {
    let width = Table::new().width();
    width.is_some_and(|width| text.lines().any(|line| line.chars().count() > usize::from(width)))
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

/// One line that moves no cursor and colours nothing: what others wrote may hold anything.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// A text that is not longer than so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}

/// A text as lines of at most so many characters, broken at blanks where that goes; at least one.
pub(crate) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((end, _)) = rest.char_indices().nth(most) {
        let (line, next) = match rest[..end].rfind(' ') {
            Some(blank) if blank > 0 => (&rest[..blank], &rest[blank + 1..]),
            _ => rest.split_at(end),
        };
        lines.push(line.to_owned());
        rest = next;
    }
    lines.push(rest.to_owned());
    lines
}

/// Words as indented lines.
pub(crate) fn indented(indent: &str, words: &str) -> String {
    let lines = wrap(&plain(words), WIDTH - indent.len());
    format!("{indent}{}\n", lines.join(&format!("\n{indent}")))
}

/// So many of a thing.
pub(crate) fn several(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// A length of time in the unit that fits.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        ..60.0 => format!("{seconds:.0} s"),
        ..3_600.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3_600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// A moment, as it is and from now.
pub(crate) fn moment(moment: Timestamp, now: Timestamp) -> String {
    format!("{}, {}", moment.strftime("%Y-%m-%d %H:%M:%SZ"), from_now(moment, now))
}

/// A moment from now: `in 5 s`, `4 min ago`.
pub(crate) fn from_now(moment: Timestamp, now: Timestamp) -> String {
    let seconds = moment.duration_since(now).as_secs_f64();
    if seconds > 0.0 { format!("in {}", duration(seconds)) } else { format!("{} ago", duration(-seconds)) }
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
        let durations = [5.0, 300.0, 7_200.0, 200_000.0].map(duration);
        assert_eq!(durations, ["5 s", "5 min", "2.0 h", "2 days"]);
        let now = Timestamp::UNIX_EPOCH;
        let later = Timestamp::from_second(90).unwrap();
        assert_eq!([from_now(later, now), from_now(now, later)], ["in 2 min", "2 min ago"]);
    }

    #[test]
    fn what_others_wrote_is_made_harmless() {
        assert_eq!(plain("a\u{1b}[2Jb\nc\u{9b}"), "a [2Jb c ");
        assert_eq!([cut("äöü", 3), cut("äöü x", 4)], ["äöü", "äöü…"]);
    }

    #[test]
    fn long_texts_become_lines() {
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("äöü x y zzzzzz", 5), ["äöü", "x y", "zzzzz", "z"]);
        assert_eq!(wrap("äöüß", 4), ["äöüß"]);
        assert_eq!(indented("  ", &"x ".repeat(50)).lines().map(str::len).max(), Some(79));
    }
}
