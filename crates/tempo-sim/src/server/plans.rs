//! Plans in a window, flex plans and plan approvals.
//!
//! `totalPlannedSecondsInScope` and `plannedTime` depend on the window and on the breakdown asked for; the rest of a
//! plan is stored text.

use serde_json::Value;

use super::call::{Answer, Call, bad, json, missing};
use crate::clock;
use crate::tables::Record;
use crate::text::{Obj, array, quote};

/// How often a plan repeats at most; longer recurrences end there.
const REPEATS_MAX: usize = 520;

fn date(plan: &Record, key: &str) -> Option<i32> {
    clock::parse_date(plan.str(key))
}

/// First and last day of every repetition.
fn occurrences(plan: &Record) -> Vec<(i32, i32)> {
    let (Some(first), Some(last)) = (date(plan, "startDate"), date(plan, "endDate")) else {
        return Vec::new();
    };
    let end = date(plan, "recurrenceEndDate").unwrap_or(last);
    let rule = plan.str("rule");
    let mut found = Vec::new();
    for n in 0..REPEATS_MAX as i32 {
        let shift = match rule {
            "WEEKLY" => 7 * n,
            "BI_WEEKLY" => 14 * n,
            "MONTHLY" => {
                let (year, month, day) = clock::civil(first);
                let months = month as i32 - 1 + n;
                clock::day_of(year + months.div_euclid(12), months.rem_euclid(12) as u32 + 1, day) - first
            }
            _ => 0,
        };
        if n > 0 && (matches!(rule, "" | "NEVER") || first + shift > end) {
            break;
        }
        found.push((first + shift, last + shift));
    }
    found
}

/// The plan as it is served for a window; nothing where it does not touch it.
pub(crate) fn in_window(plan: &Record, from: i32, to: i32, breakdown: &[&str]) -> Option<String> {
    let touching: Vec<(i32, i32)> =
        occurrences(plan).into_iter().filter(|(a, b)| *a <= to && *b >= from).collect();
    if touching.is_empty() {
        return None;
    }
    let per_day = plan.value()["plannedSecondsPerDay"].as_i64().unwrap_or(0);
    let all_days = plan.value()["includeNonWorkingDays"] == true;
    let counts = |day: &i32| (from..=to).contains(day) && (all_days || clock::weekday(*day) < 5);
    let days: Vec<i32> = touching.iter().flat_map(|(a, b)| *a..=*b).filter(counts).collect();
    let mut planned = Obj::new().raw("metadata", Obj::new().text("all", plan.str("self")).end());
    if breakdown.contains(&"DAILY") {
        let day =
            |day: &i32| Obj::new().text("date", &clock::date(*day)).raw("plannedSeconds", per_day).end();
        let values = Obj::new().raw("count", days.len()).raw("values", array(days.iter().map(day))).end();
        planned = planned.raw("days", values);
    }
    if breakdown.contains(&"PERIOD") {
        let period = |(a, b): &(i32, i32)| {
            let seconds = per_day * (*a..=*b).filter(counts).count() as i64;
            Obj::new()
                .text("from", &clock::date(*a))
                .text("to", &clock::date(*b))
                .raw("plannedSeconds", seconds)
                .end()
        };
        let values =
            Obj::new().raw("count", touching.len()).raw("values", array(touching.iter().map(period))).end();
        planned = planned.raw("periods", values);
    }
    let body = plan.text.trim_end().strip_suffix('}')?;
    Some(format!(
        "{body},\"totalPlannedSecondsInScope\":{},\"plannedTime\":{}}}",
        per_day * days.len() as i64,
        planned.end()
    ))
}

fn wanted(call: &Call<'_>, plan: &Record) -> Result<bool, super::call::Refusal> {
    let within =
        |name: &str, text: &str| call.list(name).is_none_or(|list| list.iter().any(|one| one == text));
    let text = |object: &str, key: &str| plan.value()[object][key].as_str().unwrap_or("").to_owned();
    let (assignee, item) = (text("assignee", "id"), text("planItem", "id"));
    let (assignee_type, item_type) = (text("assignee", "type"), text("planItem", "type"));
    let of_type = |list: &str, kind: &str, id: &str| {
        call.list(list).is_none() || (item_type == kind && within(list, id))
    };
    let updated = clock::parse_instant(plan.str("updatedAt")).unwrap_or(0);
    Ok(call.instant("updatedFrom")?.is_none_or(|from| updated >= from)
        && within("planIds", &plan.id)
        && within("accountIds", &assignee)
        && within("assigneeTypes", &assignee_type)
        && (call.list("genericResourceIds").is_none()
            || (assignee_type == "GENERIC" && within("genericResourceIds", &assignee)))
        && within("planItemIds", &item)
        && within("planItemTypes", &item_type)
        && of_type("issueIds", "ISSUE", &item)
        && of_type("projectIds", "PROJECT", &item))
}

fn window_of(call: &Call<'_>, needed: bool) -> Result<(i32, i32), super::call::Refusal> {
    if needed {
        return Ok((call.needed_date("from")?, call.needed_date("to")?));
    }
    // Documented as optional without a default: everything then.
    Ok((call.date("from")?.unwrap_or(-200_000), call.date("to")?.unwrap_or(200_000)))
}

fn found(
    call: &Call<'_>,
    needed: bool,
    keep: impl Fn(&Record) -> bool,
) -> Result<Vec<String>, super::call::Refusal> {
    let (from, to) = window_of(call, needed)?;
    let breakdown = call.list("plannedTimeBreakdown").unwrap_or_default();
    let breakdown: Vec<&str> = breakdown.iter().map(String::as_str).collect();
    let mut plans = Vec::new();
    for plan in call.all("plans") {
        if keep(plan) && wanted(call, plan)? {
            plans.extend(in_window(plan, from, to, &breakdown));
        }
    }
    Ok(plans)
}

pub(crate) fn list(call: &Call<'_>) -> Answer {
    call.p1(found(call, true, |_| true)?.iter().map(String::as_str))
}

pub(crate) fn search(call: &Call<'_>) -> Answer {
    call.p2(found(call, true, |_| true)?.iter().map(String::as_str))
}

/// Plans of one assignee, a user or a generic resource.
pub(crate) fn of_assignee(call: &Call<'_>, kind: &str) -> Answer {
    let keep = |plan: &Record| {
        plan.value()["assignee"]["id"] == call.param(0) && plan.value()["assignee"]["type"] == kind
    };
    call.p0(found(call, false, keep)?.iter().map(String::as_str))
}

pub(crate) fn one(call: &Call<'_>) -> Answer {
    let plan = call.record("plans", "Plan")?;
    let (from, to) = window_of(call, false)?;
    json(in_window(plan, from, to, &["DAILY", "PERIOD"]).ok_or_else(|| missing("Plan"))?)
}

pub(crate) fn for_review(call: &Call<'_>) -> Answer {
    let statuses = call.list("statuses");
    let keep = |plan: &Record| match plan.value()["planApproval"]["status"].as_str() {
        Some(status) => statuses.as_ref().is_none_or(|wanted| wanted.iter().any(|one| one == status)),
        None => false,
    };
    let plans = found(call, false, keep)?;
    json(Obj::new().text("self", &call.url(&[])).raw("results", array(plans)).end())
}

pub(crate) fn reviewers(call: &Call<'_>) -> Answer {
    call.one("accountId").ok_or_else(|| bad("The parameter 'accountId' is required"))?;
    let who = array(call.site.facts.people.iter().take(2).map(|person| quote(&person.account_id)));
    json(Obj::new().text("self", &call.url(&[])).raw("results", who).end())
}

pub(crate) fn flex_search(call: &Call<'_>) -> Answer {
    let (ids, issues, teams) = (call.list("flexPlanIds"), call.list("issueIds"), call.list("teamIds"));
    let unassigned = call.body.get("includeUnassigned").and_then(Value::as_bool).unwrap_or(false);
    let (from, to) = (call.date("from")?, call.date("to")?);
    let within = |list: &Option<Vec<String>>, value: Option<&Value>| match (list, value) {
        (Some(list), Some(value)) => list.contains(&value.to_string()),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let keep = |plan: &&Record| {
        within(&ids, plan.value().get("id"))
            && within(&issues, plan.value().get("issueId"))
            && within(&teams, plan.value().get("teamId"))
            && (unassigned || teams.is_some() || plan.value().get("teamId").is_some())
            && from.is_none_or(|from| date(plan, "endDate").is_none_or(|end| end >= from))
            && to.is_none_or(|to| date(plan, "startDate").is_none_or(|start| start <= to))
    };
    let plans: Vec<&Record> = call.all("flex-plans").iter().filter(keep).collect();
    let mut named: Vec<i64> = plans.iter().filter_map(|plan| plan.value()["issueId"].as_i64()).collect();
    named.sort_unstable();
    named.dedup();
    let text = Obj::new()
        .raw("flexPlans", array(plans.iter().map(|plan| &*plan.text)))
        .raw("issueIds", array(named.iter().map(ToString::to_string)))
        .end();
    json(text)
}
