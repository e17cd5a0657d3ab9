//! Periods, timesheet approvals and the Financial Manager's time approvals, computed from the site's facts.
//!
//! Numbers follow from the user and the period, not from worklogs, so that they hold still while worklogs change.

use serde::Deserialize;

use super::call::{Answer, Call, bad, json, missing, texts};
use crate::clock;
use crate::random::mix;
use crate::site::Facts;
use crate::text::{API, Obj, array};
use crate::worklogs::generate::works;

/// The approval log goes back two years.
const LOG_DAYS_MAX: i64 = 2 * 365 + 1;

/// `{"from":..,"to":..}`.
pub(crate) fn period((from, to): (i32, i32)) -> String {
    Obj::new().text("from", &clock::date(from)).text("to", &clock::date(to)).end()
}

pub(crate) fn periods(call: &Call<'_>) -> Answer {
    let (from, to) = (call.needed_date("from")?, call.needed_date("to")?);
    let all = call.site.facts.periods(from, to);
    json(Obj::new().raw("periods", array(all.into_iter().map(period))).end())
}

/// One user's approval of one period.
pub(crate) fn timesheet(facts: &Facts, person: usize, (from, to): (i32, i32)) -> String {
    let who = &facts.people[person];
    let roll = mix(person as u64 ^ ((from as u64) << 20));
    let required = (from..=to).filter(|day| works(who.part_time, *day)).count() as i64 * 28_800;
    let spent = (required - (roll % 5) as i64 * 3_600).max(0);
    let range = format!("from={}&to={}", clock::date(from), clock::date(to));
    let at = format!("timesheet-approvals/user/{}", who.account_id);
    let open = to >= facts.today - 10;
    let key =
        if open { "OPEN" } else { ["APPROVED", "APPROVED", "APPROVED", "IN_REVIEW"][roll as usize / 7 % 4] };
    let submitted = |o: Obj| {
        o.raw("actor", facts.person(person + 1))
            .maybe(roll.is_multiple_of(3).then_some("ok \u{1f44d}"), |o, comment| o.text("comment", comment))
            .raw("requiredSecondsAtSubmit", required)
            .raw("timeSpentSecondsAtSubmit", spent)
            .text("updatedAt", &clock::instant(i64::from(to + 3) * clock::DAY + 30_000))
    };
    let status = Obj::new().text("key", key).maybe((!open).then_some(()), |o, ()| submitted(o)).end();
    let actions = match key {
        "OPEN" => Obj::new().link("submit", format!("{at}/submit?{range}")),
        "APPROVED" => Obj::new().link("reopen", format!("{at}/reopen?{range}")),
        _ => Obj::new()
            .link("approve", format!("{at}/approve?{range}"))
            .link("reject", format!("{at}/reject?{range}")),
    };
    Obj::at(format!("{at}?{range}"))
        .raw("user", facts.person(person))
        .raw("period", period((from, to)))
        .raw("requiredSeconds", required)
        .raw("timeSpentSeconds", spent)
        .raw("status", status)
        .maybe((!open).then(|| facts.person(person + 1)), |o, reviewer| o.raw("reviewer", reviewer))
        .link("worklogs", format!("worklogs/user/{}?{range}", who.account_id))
        .raw("actions", actions.end())
        .end()
}

fn person(call: &Call<'_>) -> Result<usize, super::call::Refusal> {
    let people = &call.site.facts.people;
    people.iter().position(|person| person.account_id == call.param(0)).ok_or_else(|| missing("User"))
}

/// The period that holds `from`.
fn asked_period(call: &Call<'_>) -> Result<(i32, i32), super::call::Refusal> {
    let from = call.needed_date("from")?;
    call.date("to")?;
    Ok(clock::month_around(from))
}

pub(crate) fn of_team(call: &Call<'_>) -> Answer {
    let period = asked_period(call)?;
    call.record("teams", "Team")?;
    let facts = &call.site.facts;
    let team = facts.teams.iter().find(|team| team.id.to_string() == call.param(0));
    let members = team.map(|team| team.members.clone()).unwrap_or_default();
    let all: Vec<String> = members.into_iter().map(|person| timesheet(facts, person, period)).collect();
    call.p0(all.iter().map(String::as_str))
}

pub(crate) fn of_user(call: &Call<'_>) -> Answer {
    json(timesheet(&call.site.facts, person(call)?, asked_period(call)?))
}

pub(crate) fn reviewers(call: &Call<'_>) -> Answer {
    let reviewer = call.site.facts.person(person(call)? + 1);
    call.p0([reviewer.as_str()])
}

/// What waits for the token's own user: the last year's timesheets in review.
pub(crate) fn waiting(call: &Call<'_>) -> Answer {
    let facts = &call.site.facts;
    let periods = facts.periods(facts.today - 365, facts.today);
    let all: Vec<String> =
        periods.into_iter().map(|period| timesheet(facts, facts.people.len() - 1, period)).collect();
    call.p0(all.iter().map(String::as_str).filter(|text| text.contains("\"IN_REVIEW\"")))
}

/// What the log is searched by.
#[derive(Default, Deserialize)]
struct LogEntry<'a> {
    #[serde(borrow, default)]
    status: LogStatus<'a>,
}

#[derive(Default, Deserialize)]
struct LogStatus<'a> {
    #[serde(rename = "updatedAt", default)]
    updated_at: &'a str,
}

pub(crate) fn log(call: &Call<'_>) -> Answer {
    let from = call.instant("updatedFrom")?;
    let oldest = call.now() - LOG_DAYS_MAX * clock::DAY;
    if from.is_some_and(|from| from < oldest) {
        return Err(bad("updatedFrom must be within the past 2 years"));
    }
    let from = from.unwrap_or(oldest);
    let users = call.list("userAccountIds");
    let rows = call.all("timesheet-approval-log").iter().enumerate().filter(|(_, row)| {
        let entry: LogEntry = serde_json::from_str(&row.text).unwrap_or_default();
        let updated = clock::parse_instant(entry.status.updated_at).unwrap_or(0);
        updated >= from && users.as_ref().is_none_or(|users| users.contains(&row.parent))
    });
    call.p3(50, 5_000, rows.map(|(place, row)| (place, &*row.text)))
}

/// A project's approvals of one period: four people of the site.
pub(crate) fn of_project(facts: &Facts, project: &str, (from, to): (i32, i32)) -> Vec<String> {
    let first = project.bytes().map(usize::from).sum::<usize>();
    (0..4.min(facts.people.len())).map(|n| project_approval(facts, project, first + n, (from, to))).collect()
}

fn project_approval(facts: &Facts, project: &str, person: usize, (from, to): (i32, i32)) -> String {
    let roll = mix(person as u64 ^ ((from as u64) << 24));
    let member = &facts.people[person % facts.people.len()].uuid;
    let range = format!("from={}&to={}&teamMemberId={member}", clock::date(from), clock::date(to));
    let status = Obj::new()
        .text("key", ["OPEN", "IN_REVIEW", "APPROVED", "REJECTED"][roll as usize % 4])
        .maybe(roll.is_multiple_of(5).then_some("please split"), |o, comment| o.text("comment", comment))
        .text("updatedAt", &clock::instant(i64::from(to) * clock::DAY + 50_000))
        .end();
    Obj::at(format!("projects/{project}/time-approvals?{range}"))
        .raw("user", facts.fm_user(person))
        .text("projectId", project)
        .raw("period", period((from, to)))
        .raw("status", status)
        .raw("timeSpentSeconds", 3_600 * (roll % 100))
        .raw("billableSeconds", 3_600 * (roll % 50))
        .maybe(roll.is_multiple_of(2).then(|| facts.fm_user(person + 1)), |o, reviewer| {
            o.raw("reviewer", reviewer)
        })
        .link("laborCosts", format!("projects/{project}/time-approvals/labor-costs?{range}"))
        .end()
}

/// The approvals of a project in the period that holds `from`.
pub(crate) fn project_time(call: &Call<'_>) -> Answer {
    let project = call.record("projects", "Project")?;
    call.needed_date("to")?;
    let all = of_project(&call.site.facts, &project.id, asked_period(call)?);
    let (member, status) = (call.one("teamMemberId"), call.one("status"));
    let keep = |text: &&str| {
        member.is_none_or(|id| text.contains(&format!("\"id\":\"{id}\"")))
            && status.is_none_or(|status| text.contains(&format!("\"key\":\"{status}\"")))
    };
    call.p1(all.iter().map(String::as_str).filter(keep))
}

/// The approvals of one person in all projects, as a bare array.
pub(crate) fn project_time_of_member(call: &Call<'_>) -> Answer {
    call.needed_date("to")?;
    let period = asked_period(call)?;
    let mut all = Vec::new();
    for project in call.all("projects") {
        all.extend(of_project(&call.site.facts, &project.id, period));
    }
    let id = format!("\"id\":\"{}\"", call.param(0));
    json(array(all.iter().filter(|text| text.contains(&id))))
}

/// Labor costs of one person: the project's rows in the range.
pub(crate) fn labor_costs(call: &Call<'_>) -> Answer {
    let project = call.record("projects", "Project")?;
    let (from, to) = (call.needed_date("from")?, call.needed_date("to")?);
    let member = call.one("teamMemberId").ok_or_else(|| bad("The parameter 'teamMemberId' is required"))?;
    let rows = call.site.tables.of("project-labor-actuals", &project.id).filter(|row| {
        let day = clock::parse_date(row.str("date")).unwrap_or(0);
        (from..=to).contains(&day) && row.value()["user"]["id"] == member
    });
    let at = format!("{API}/projects/{}/time-approvals/labor-costs", project.id);
    json(Obj::new().text("self", &at).raw("results", array(texts(rows))).end())
}
