//! The audit search and the legacy deletion feeds.

use serde::Deserialize;

use super::call::{Answer, Call, bad};
use crate::clock;
use crate::tables::Record;
use crate::text::Obj;

/// How far back the audit search reaches.
const DAYS_MAX: i64 = 180;

/// What events are searched by.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event<'a> {
    action: &'a str,
    entity_type: &'a str,
    entity_id: &'a str,
    author: &'a str,
    worker: &'a str,
    timestamp: &'a str,
}

/// An event's members; one that is written otherwise (recorded, say) has none and is not found.
fn event(record: &Record) -> Event<'_> {
    serde_json::from_str(&record.text).unwrap_or_default()
}

fn at(event: &Event<'_>) -> i64 {
    clock::parse_instant(event.timestamp).unwrap_or(0)
}

pub(crate) fn search(call: &Call<'_>) -> Answer {
    let from = call.instant("from")?.ok_or_else(|| bad("from must not be null"))?;
    if from < call.now() - DAYS_MAX * clock::DAY {
        return Err(bad("from must be within the last 180 days"));
    }
    let to = call.instant("to")?;
    let [actions, authors, workers, types] =
        ["action", "author", "worker", "entityType"].map(|name| call.list(name));
    let within = |list: &Option<Vec<String>>, text: &str| {
        list.as_ref().is_none_or(|list| list.iter().any(|one| one == text))
    };
    let keep = |event: &Event<'_>| {
        at(event) >= from
            && to.is_none_or(|to| at(event) <= to)
            && within(&actions, event.action)
            && within(&authors, event.author)
            && within(&workers, event.worker)
            && within(&types, event.entity_type)
    };
    let events = call.all("audit-events").iter().enumerate().filter(|(_, record)| keep(&event(record)));
    call.p3(100, 1_000, events.map(|(place, record)| (place, &*record.text)))
}

/// The deprecated feed: ids are strings there.
pub(crate) fn deleted(call: &Call<'_>) -> Answer {
    let kind = call.path.rsplit('/').next().unwrap_or("");
    let from = call
        .one("updatedFrom")
        .and_then(clock::parse_instant)
        .ok_or_else(|| bad("updatedFrom is required"))?;
    let is_due =
        |event: &Event<'_>| event.action == "Deleted" && event.entity_type == kind && at(event) >= from;
    let item = |event: &Event<'_>| {
        let id = event.entity_id;
        let deleted = Obj::new().text("deletedAt", event.timestamp);
        if kind == "allocation" {
            return deleted.text("id", id).end();
        }
        let jira = id.parse::<i64>().map_or(0, |id| id * 7 + 100_003);
        deleted.text("tempoWorklogId", id).text("jiraWorklogId", &jira.to_string()).end()
    };
    let events = call.all("audit-events").iter().map(event).enumerate().filter(|(_, event)| is_due(event));
    let rows: Vec<(usize, String)> = events.map(|(place, event)| (place, item(&event))).collect();
    call.p4(rows.iter().map(|(place, row)| (*place, row.as_str())))
}
