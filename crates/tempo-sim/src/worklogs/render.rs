//! A worklog as JSON, written by hand: benchmarks of the client must not wait for the simulator.

use super::{EXTRA, NO_ISSUE_ID, NO_UTC, NONE, Row, Worklogs};
use crate::clock::{self, DAY};

const DOING: &[&str] = &[
    "Investigated",
    "Fixed",
    "Reviewed",
    "Discussed",
    "Prepared",
    "Documented",
    "Refactored",
    "Tested",
    "Deployed",
    "Planned",
];
const WHAT: &[&str] = &[
    "queue lag",
    "the login flow",
    "invoice export",
    "flaky tests",
    "the release",
    "customer onboarding",
    "search relevance",
    "a memory leak",
    "the retention policy",
    "access rights",
    "sprint goals",
    "the audit report",
];
const WHERE: &[&str] =
    &["", " on staging", " with the customer", " after the incident", " for the Q3 review", " (follow-up)"];
/// JSON text, not strings: the escapes are served as they stand here.
const ODD: &[&str] = &[
    "Caf\\u00e9 review \\ud83d\\ude80 of caf\\u00e9",
    "path a\\/b\\/c and \\\"quoted \\\\ text\\\"",
    "line one\\nline two\\r\\n\\ttabbed",
    "\u{1f680} Ship it \u{1f469}\u{200d}\u{1f4bb} today",
    "日本語の説明、会議",
    "Отладка очереди",
    "اجتماع الفريق",
    "\\u0041\\u0042\\u0000 control \\u001f",
    "{\\\"json\\\": [\\\"inside\\\"]}",
];
/// The values of the site's static list attribute, as its `work-attributes` record lists them.
pub(crate) const WORK_TYPES: &[&str] =
    &["8f1f0000-1111-4222-8333-444455556666", "8f1f0000-1111-4222-8333-444455557777", "Overtime", "On-call"];

fn push_number(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0_u8; 20];
    let (mut at, mut rest) = (digits.len(), value.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn push_description(out: &mut Vec<u8>, seed: u32) {
    out.extend_from_slice(b",\"description\":\"");
    let n = seed as usize;
    if n % 100 < ODD.len() {
        out.extend_from_slice(ODD[n % 100].as_bytes());
    } else {
        for (part, by) in [(DOING, 101), (WHAT, 1_009), (WHERE, 12_007)] {
            if by == 1_009 {
                out.push(b' ');
            }
            out.extend_from_slice(part[n / by % part.len()].as_bytes());
        }
    }
    out.push(b'"');
}

impl Worklogs {
    /// Appends the row's JSON.
    pub(crate) fn push_json(&self, slot: u32, out: &mut Vec<u8>) {
        match self.given(slot) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => self.push_row(self.row(slot), out),
        }
    }

    /// The row's JSON as text.
    pub(crate) fn json(&self, slot: u32) -> String {
        let mut out = Vec::with_capacity(800);
        self.push_json(slot, &mut out);
        String::from_utf8(out).expect("rows are text")
    }

    fn push_row(&self, row: &Row, out: &mut Vec<u8>) {
        let mut id = Vec::with_capacity(12);
        push_number(&mut id, row.id);
        out.extend_from_slice(b"{\"self\":\"https://api.tempo.io/4/worklogs/");
        out.extend_from_slice(&id);
        out.extend_from_slice(b"\",\"tempoWorklogId\":");
        out.extend_from_slice(&id);
        out.extend_from_slice(b",\"issue\":{\"self\":\"");
        out.extend_from_slice(self.jira.as_bytes());
        out.extend_from_slice(b"/rest/api/2/issue/");
        push_number(out, row.issue);
        out.push(b'"');
        if row.flags & NO_ISSUE_ID == 0 {
            out.extend_from_slice(b",\"id\":");
            push_number(out, row.issue);
        }
        out.extend_from_slice(b"},\"timeSpentSeconds\":");
        push_number(out, i64::from(row.seconds));
        if row.billable != NONE {
            out.extend_from_slice(b",\"billableSeconds\":");
            push_number(out, i64::from(row.billable));
        }
        let author = &self.authors[row.author as usize];
        push_start(row, author.zone_hours, out);
        if row.seed % 100 != 99 {
            push_description(out, row.seed);
        }
        out.extend_from_slice(b",\"createdAt\":\"");
        clock::push_instant(out, i64::from(row.created));
        out.extend_from_slice(b"\",\"updatedAt\":\"");
        clock::push_instant(out, i64::from(row.updated));
        out.extend_from_slice(b"\",\"author\":");
        out.extend_from_slice(author.json.as_bytes());
        self.push_attributes(row, &id, out);
        if row.flags & EXTRA != 0 {
            out.extend_from_slice(b",\"xEffort\":{\"score\":1e2,\"ratio\":0.10,\"tags\":[]}");
        }
        out.push(b'}');
    }

    fn push_attributes(&self, row: &Row, id: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"attributes\":{\"self\":\"https://api.tempo.io/4/worklogs/");
        out.extend_from_slice(id);
        out.extend_from_slice(b"/work-attribute-values\",\"values\":");
        self.push_attribute_values(row, out);
        out.push(b'}');
    }

    /// Appends the array of attribute values.
    fn push_attribute_values(&self, row: &Row, out: &mut Vec<u8>) {
        out.push(b'[');
        if let Some(key) = self.accounts.get(row.account as usize) {
            out.extend_from_slice(b"{\"key\":\"_Account_\",\"value\":\"");
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\"}");
        }
        if row.seed.is_multiple_of(4) {
            if row.account != NONE {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"key\":\"_WorkType_\",\"value\":\"");
            out.extend_from_slice(WORK_TYPES[row.seed as usize / 4 % WORK_TYPES.len()].as_bytes());
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
    }
}

fn push_start(row: &Row, zone_hours: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"startDate\":\"");
    clock::push_date(out, row.day);
    out.push(b'"');
    if row.start == NONE {
        return;
    }
    out.extend_from_slice(b",\"startTime\":\"");
    clock::push_time(out, row.start);
    out.push(b'"');
    if row.flags & NO_UTC == 0 {
        out.extend_from_slice(b",\"startDateTimeUtc\":\"");
        clock::push_instant(out, i64::from(row.day) * DAY + i64::from(row.start) - zone_hours * 3600);
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_row_is_json() {
        let mut worklogs = Worklogs { jira: "https://sim-1.atlassian.net".into(), ..Worklogs::default() };
        worklogs.accounts.push("ACME".into());
        let author = worklogs.author("70121:0a", 2);
        for seed in 0..400_u32 {
            let start = if seed.is_multiple_of(7) { NONE } else { 28_800 };
            let account = if seed.is_multiple_of(3) { NONE } else { 0 };
            let row = Row {
                id: i64::from(seed) + 1,
                seed,
                start,
                account,
                author,
                flags: (seed % 8) as u8,
                ..Row::default()
            };
            let slot = worklogs.insert(row);
            let value: serde_json::Value = serde_json::from_str(&worklogs.json(slot)).unwrap();
            assert_eq!(value["tempoWorklogId"], seed + 1);
            assert_eq!(value["issue"].get("id").is_none(), seed % 2 == 1);
            assert_eq!(value.get("startTime").is_none(), seed % 7 == 0);
        }
        assert!(
            worklogs.json(6).contains("-Z")
                || worklogs.json(8).contains("startDateTimeUtc\":\"1970-01-01T06:00:00Z")
        );
    }
}
