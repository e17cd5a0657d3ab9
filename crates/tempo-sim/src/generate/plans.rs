//! Plans and flex plans.
//!
//! A plan's stored text ends before the members that depend on the window asked for; `server::plans` writes those.

use super::Making;
use crate::clock::{self, DAY};
use crate::site::Facts;
use crate::text::Obj;

pub(super) fn make(making: &mut Making) {
    for n in 0..making.facts.sizes.plans {
        let text = plan(making, n);
        making.tables.add("plans", "", text);
    }
    for n in 0..making.facts.sizes.flex_plans {
        let text = flex_plan(making.facts, n);
        making.tables.add("flex-plans", "", text);
    }
}

fn plan(making: &mut Making, n: usize) -> String {
    let facts = making.facts;
    let random = &mut making.random;
    let id = 880 + n;
    let first = facts.first_day + random.below((facts.sizes.days + 120) as u64) as i32;
    let last = first + random.below(20) as i32;
    let generic = n % 9 == 4;
    let assignee = if generic {
        let resource = 7 + n % facts.sizes.generic_resources;
        Obj::at(format!("generic-resources/{resource}"))
            .text("id", &resource.to_string())
            .text("type", "GENERIC")
            .end()
    } else {
        let who = &facts.people[random.index(facts.people.len())].account_id;
        let link = format!("{}/rest/api/2/user?accountId={who}", facts.jira);
        Obj::new().text("self", &link).text("id", who).text("type", "USER").end()
    };
    let of_project = random.chance(60);
    let (kind, item) = if of_project {
        ("PROJECT", *random.pick(&facts.jira_projects))
    } else {
        ("ISSUE", Facts::issue_id(random.index(facts.sizes.issues)))
    };
    let item_link = format!("{}/rest/api/2/{}/{item}", facts.jira, kind.to_lowercase());
    let plan_item =
        Obj::new().text("self", &item_link).text("id", &item.to_string()).text("type", kind).end();
    let rule = ["NEVER", "NEVER", "NEVER", "WEEKLY", "BI_WEEKLY", "MONTHLY"][n % 6];
    let created = (i64::from(first - 10) * DAY + 36_000 + n as i64 % 3_600).min(facts.now - 1);
    let updated = (created + random.below(30 * DAY as u64) as i64).min(facts.now - 1);
    let per_day = 3_600 * (1 + random.below(8));
    let by_total = n % 8 == 7;
    let approval = (n % 7 == 3).then(|| {
        Obj::new()
            .text("status", ["APPROVED", "REQUESTED", "REJECTED"][n / 7 % 3])
            .raw("requester", facts.person(n))
            .raw("reviewer", facts.person(n + 1))
            .maybe((n % 2 == 1).then(|| facts.person(n + 1)), |o, actor| o.raw("actor", actor))
            .end()
    });
    Obj::at(format!("plans/{id}"))
        .raw("id", id)
        .raw("assignee", assignee)
        .raw("planItem", plan_item)
        .text("startDate", &clock::date(first))
        .text("endDate", &clock::date(last))
        .maybe((n % 5 == 1).then_some("09:30"), |o, time| o.text("startTime", time))
        .text("rule", rule)
        .maybe((rule != "NEVER").then(|| clock::date(last + 70)), |o, end| o.text("recurrenceEndDate", &end))
        .raw("plannedSecondsPerDay", per_day)
        .maybe(by_total.then(|| per_day * (last - first + 1) as u64), |o, total| {
            o.raw("totalPlannedSeconds", total)
        })
        .text("effortPersistenceType", if by_total { "TOTAL_SECONDS" } else { "SECONDS_PER_DAY" })
        .raw("includeNonWorkingDays", n % 11 == 2)
        .maybe((!n.is_multiple_of(3)).then_some("Résumé \u{2192} rollout\twave"), |o, text| {
            o.text("description", text)
        })
        .text("syncSource", if n % 10 == 9 { "JIRA_ISSUE" } else { "NONE" })
        .text("planCreatorId", &facts.people[0].account_id)
        .maybe(approval, |o, approval| o.raw("planApproval", approval))
        .text("createdAt", &clock::instant(created))
        .text("updatedAt", &clock::instant(updated))
        .end()
}

fn flex_plan(facts: &Facts, n: usize) -> String {
    let first = facts.today - 200 + n as i32 * 40 % 300;
    Obj::at(format!("flex-plans/{}", 12 + n))
        .raw("id", 12 + n)
        .maybe((n % 4 != 3).then(|| facts.teams[n % facts.teams.len()].id), |o, team| o.raw("teamId", team))
        .maybe((n % 3 != 1).then(|| Facts::issue_id(n % facts.sizes.issues)), |o, issue| {
            o.raw("issueId", issue)
        })
        .text("title", ["Migration", "Umzug \u{1f4e6}", "Q3 \"stretch\""][n % 3])
        .maybe(n.is_multiple_of(5).then_some("As discussed"), |o, text| o.text("description", text))
        .text("startDate", &clock::date(first))
        .text("endDate", &clock::date(first + 14))
        .raw("plannedSeconds", 36_000 * (1 + n))
        .end()
}
