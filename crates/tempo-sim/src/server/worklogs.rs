//! Worklogs: lists, searches, attribute values and the map to Jira's ids.

use std::collections::HashSet;

use serde_json::Value;

use super::call::{Answer, Call, Refusal, Reply, bad, json, missing};
use crate::text::{Obj, array};
use crate::worklogs::search::{Order, Search};
use crate::worklogs::{Key, Worklogs};

/// How many bytes a worklog takes, for the buffer of a page.
const ROW_BYTES: usize = 720;
/// The most ids in one search for attribute values.
const IDS_MAX: usize = 500;

fn key_of(text: &str) -> Result<Key, Refusal> {
    match text {
        "ID" => Ok(Key::Id),
        "START_DATE_TIME" => Ok(Key::Start),
        "UPDATED" => Ok(Key::Updated),
        other => Err(bad(format!("Unknown order '{other}': expected ID, START_DATE_TIME or UPDATED"))),
    }
}

/// What is not a number matches nothing.
fn numbers(list: Option<Vec<String>>) -> Option<HashSet<i64>> {
    list.map(|list| list.iter().filter_map(|text| text.parse().ok()).collect())
}

fn common(call: &Call<'_>) -> Result<Search, Refusal> {
    for (old, new) in [("project", "projectId"), ("issue", "issueId")] {
        if call.one(old).is_some() {
            return Err(bad(format!("The provided key named '{old}' is no longer used, please use '{new}'")));
        }
    }
    Ok(Search {
        from: call.date("from")?,
        to: call.date("to")?,
        updated_from: call.instant("updatedFrom")?,
        hidden_projects: call.grant.hide_projects.clone(),
        now_ms: call.now_ms,
        ..Search::default()
    })
}

fn serve(call: &Call<'_>, search: Search) -> Answer {
    let window = call.window()?;
    let search = Search { offset: window.row_offset, limit: window.row_limit, ..search };
    let worklogs = &call.site.worklogs;
    let (slots, more) = worklogs.search(&search);
    Ok(Reply::Json(call.p1_bytes(window, slots.len(), more, slots.len() * ROW_BYTES, |out| {
        for (n, slot) in slots.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            worklogs.push_json(*slot, out);
        }
    })))
}

pub(crate) fn list(call: &Call<'_>) -> Answer {
    let order = call.one("orderBy").map(key_of).transpose()?;
    let search = Search {
        projects: numbers(call.list("projectId")),
        issues: numbers(call.list("issueId")),
        order: order.map(|key| (key, true)).into_iter().collect(),
        ..common(call)?
    };
    serve(call, search)
}

pub(crate) fn search(call: &Call<'_>) -> Answer {
    let worklogs = &call.site.worklogs;
    let authors =
        call.list("authorIds").map(|ids| ids.iter().filter_map(|id| worklogs.author_number(id)).collect());
    let mut order: Vec<Order> = Vec::new();
    for one in call.body.get("orderBy").and_then(Value::as_array).into_iter().flatten() {
        let descending = match one["order"].as_str() {
            Some("DESC") => true,
            Some("ASC") => false,
            _ => return Err(bad("orderBy needs an order: ASC or DESC")),
        };
        order.push((key_of(one["field"].as_str().unwrap_or(""))?, descending));
    }
    let search = Search {
        authors,
        projects: numbers(call.list("projectIds")),
        issues: numbers(call.list("issueIds")),
        order,
        ..common(call)?
    };
    serve(call, search)
}

/// A number in the path; what is none is not found.
fn numeric(call: &Call<'_>, what: &str) -> Result<i64, Refusal> {
    call.param(0).parse().map_err(|_| missing(what))
}

pub(crate) fn of_user(call: &Call<'_>) -> Answer {
    let authors = call.site.worklogs.author_number(call.param(0)).into_iter().collect();
    serve(call, Search { authors: Some(authors), ..common(call)? })
}

pub(crate) fn of_team(call: &Call<'_>) -> Answer {
    let team = call.record("teams", "Team")?;
    let members = call.site.tables.of("team-memberships", &team.id);
    let authors = members
        .filter_map(|membership| {
            call.site.worklogs.author_number(membership.value()["member"]["accountId"].as_str()?)
        })
        .collect();
    serve(call, Search { authors: Some(authors), ..common(call)? })
}

pub(crate) fn of_account(call: &Call<'_>) -> Answer {
    let keys = &call.site.worklogs.accounts;
    let account = keys.iter().position(|key| key == call.param(0)).ok_or_else(|| missing("Account"))?;
    serve(call, Search { account: Some(account as u32), ..common(call)? })
}

pub(crate) fn of_project(call: &Call<'_>) -> Answer {
    let project = numeric(call, "Project")?;
    serve(call, Search { projects: Some([project].into()), ..common(call)? })
}

pub(crate) fn of_issue(call: &Call<'_>) -> Answer {
    let issue = numeric(call, "Issue")?;
    serve(call, Search { issues: Some([issue].into()), ..common(call)? })
}

/// The slot of the worklog in the path, if the token may see it.
fn slot(call: &Call<'_>) -> Result<u32, Refusal> {
    let worklogs = &call.site.worklogs;
    let slot = worklogs.find(numeric(call, "Worklog")?).ok_or_else(|| missing("Worklog"))?;
    if call.grant.hide_projects.contains(&worklogs.row(slot).project) {
        return Err(missing("Worklog"));
    }
    Ok(slot)
}

pub(crate) fn one(call: &Call<'_>) -> Answer {
    json(call.site.worklogs.json(slot(call)?))
}

fn values(worklogs: &Worklogs, slot: u32) -> Vec<Value> {
    let record: Value = serde_json::from_str(&worklogs.json(slot)).unwrap_or_default();
    record["attributes"]["values"].as_array().cloned().unwrap_or_default()
}

pub(crate) fn attribute_values(call: &Call<'_>) -> Answer {
    let values: Vec<String> = values(&call.site.worklogs, slot(call)?).iter().map(Value::to_string).collect();
    call.p0(values.iter().map(String::as_str))
}

pub(crate) fn attribute_value(call: &Call<'_>) -> Answer {
    let values = values(&call.site.worklogs, slot(call)?);
    let value = values.iter().find(|value| value["key"] == call.param(1));
    json(value.ok_or_else(|| missing("Work attribute value"))?.to_string())
}

pub(crate) fn attribute_values_search(call: &Call<'_>) -> Answer {
    let ids = call.list("tempoWorklogIds").unwrap_or_default();
    if ids.is_empty() || ids.len() > IDS_MAX {
        return Err(bad("Please provide at least 1 and at most 500 worklog ids"));
    }
    let worklogs = &call.site.worklogs;
    let found = ids.iter().filter_map(|id| Some((id, worklogs.find(id.parse().ok()?)?)));
    let item = |(id, slot): (&String, u32)| {
        let values = array(values(worklogs, slot).iter().map(Value::to_string));
        Obj::new().raw("tempoWorklogId", id).raw("workAttributeValues", values).end()
    };
    json(array(found.map(item)))
}

/// A worklog's two ids, once Jira has one.
pub(crate) fn id_pair(worklogs: &Worklogs, slot: u32, now_ms: i64) -> Option<String> {
    let jira = worklogs.jira_id(slot, now_ms)?;
    Some(format!("{{\"tempoWorklogId\":{},\"jiraWorklogId\":{jira}}}", worklogs.row(slot).id))
}

/// Ids that are unknown are dropped from the answer.
fn id_map(call: &Call<'_>, list: &str, find: impl Fn(i64) -> Option<u32>) -> Answer {
    let given = call
        .body
        .get(list)
        .and_then(Value::as_array)
        .ok_or_else(|| bad(format!("{list} must not be null")))?;
    let slots = given.iter().filter_map(|id| find(id.as_i64()?));
    let pairs: Vec<String> =
        slots.filter_map(|slot| id_pair(&call.site.worklogs, slot, call.now_ms)).collect();
    call.p1(pairs.iter().map(String::as_str))
}

pub(crate) fn tempo_to_jira(call: &Call<'_>) -> Answer {
    id_map(call, "tempoWorklogIds", |id| call.site.worklogs.find(id))
}

pub(crate) fn jira_to_tempo(call: &Call<'_>) -> Answer {
    id_map(call, "jiraWorklogIds", |id| call.site.worklogs.by_jira_id(id, call.now_ms))
}
