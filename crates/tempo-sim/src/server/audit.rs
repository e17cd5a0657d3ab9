//! The audit search and the legacy deletion feeds.

use serde_json::Value;

use super::call::{Answer, Call, bad};
use crate::clock;
use crate::tables::Record;
use crate::text::Obj;

/// How far back the audit search reaches.
const DAYS_MAX: i64 = 180;

pub(crate) fn search(call: &Call<'_>) -> Answer {
    let from = call.instant("from")?.ok_or_else(|| bad("from must not be null"))?;
    if from < call.now() - DAYS_MAX * clock::DAY {
        return Err(bad("from must be within the last 180 days"));
    }
    let to = call.instant("to")?;
    let filters = ["action", "author", "worker", "entityType"].map(|name| (name, call.list(name)));
    let keep = |event: &Record| {
        let at = at(event);
        at >= from
            && to.is_none_or(|to| at <= to)
            && filters.iter().all(|(name, list)| {
                list.as_ref().is_none_or(|list| list.iter().any(|one| one == event.str(name)))
            })
    };
    let events = call.all("audit-events").iter().enumerate().filter(|(_, event)| keep(event));
    call.p3(100, 1_000, events.map(|(place, event)| (place, &*event.text)))
}

fn at(event: &Record) -> i64 {
    clock::parse_instant(event.str("timestamp")).unwrap_or(0)
}

/// The deprecated feed: ids are strings there.
pub(crate) fn deleted(call: &Call<'_>) -> Answer {
    let kind = call.path.rsplit('/').next().unwrap_or("");
    let from = call
        .one("updatedFrom")
        .and_then(clock::parse_instant)
        .ok_or_else(|| bad("updatedFrom is required"))?;
    let is_due = |event: &Record| {
        event.str("action") == "Deleted" && event.str("entityType") == kind && at(event) >= from
    };
    let item = |event: &Record| {
        let id = event.value.get("entityId").and_then(Value::as_str).unwrap_or("");
        let deleted = Obj::new().text("deletedAt", event.str("timestamp"));
        if kind == "allocation" {
            return deleted.text("id", id).end();
        }
        let jira = id.parse::<i64>().map_or(0, |id| id * 7 + 100_003);
        deleted.text("tempoWorklogId", id).text("jiraWorklogId", &jira.to_string()).end()
    };
    let events = call.all("audit-events").iter().enumerate().filter(|(_, event)| is_due(event));
    let rows: Vec<(usize, String)> = events.map(|(place, event)| (place, item(event))).collect();
    call.p4(rows.iter().map(|(place, row)| (*place, row.as_str())))
}
