//! The Financial Manager: projects and what hangs on them, portfolios, rates and reports.
//!
//! Money is written in every form that JSON allows (`0.10`, `1e2`), since a backup must not change it.

mod rates;

use super::Making;
use crate::clock;
use crate::site::Facts;
use crate::text::{Obj, array, quote};

/// Numbers as text; a parser that goes through floats changes some of them.
const MONEY: &[&str] =
    &["80.00", "0.10", "1e2", "120.5", "99999999999.99", "0.1000", "12.345678901234567890", "7"];

/// An amount; the number is text.
pub(crate) fn amount(n: usize, currency: &str) -> String {
    Obj::new().raw("value", MONEY[n % MONEY.len()]).text("currencyCode", currency).end()
}

/// A Jira issue as a task.
pub(crate) fn task(facts: &Facts, issue: i64) -> String {
    let link = format!("{}/rest/api/2/issue/{issue}", facts.jira);
    let linked =
        Obj::new().text("ecosystem", "JIRA").text("originId", &issue.to_string()).text("self", &link).end();
    Obj::new().raw("linked", linked).end()
}

struct Project {
    n: usize,
    id: String,
    currency: &'static str,
}

impl Project {
    fn at(&self, part: &str) -> String {
        format!("projects/{}/{part}", self.id)
    }
}

pub(super) fn make(making: &mut Making) {
    let projects: Vec<Project> = (0..making.facts.sizes.projects)
        .map(|n| Project { n, id: making.random.uuid(), currency: ["EUR", "USD", "XXX", "ISK"][n % 4] })
        .collect();
    for project in &projects {
        let text = record(making.facts, project);
        making.tables.add("projects", "", text);
        scope(making, project);
        single(making, project);
        money(making, project);
        people(making, project);
        actuals(making, project);
    }
    rates::make(making, &projects);
}

fn scope_of(facts: &Facts, project: &Project) -> String {
    let (kind, reference) = match project.n % 3 {
        0 => ("JIRA_PROJECTS", "10000,10001"),
        1 => ("FILTER", "10400"),
        _ => ("EPICS", "20001,20002"),
    };
    let source = Obj::new()
        .text("type", kind)
        .text("reference", reference)
        .text("title", "Scope of \"everything\"")
        .maybe((project.n % 3 == 1).then(|| format!("{}/issues/?filter=10400", facts.jira)), |o, url| {
            o.text("url", &url)
        })
        .end();
    Obj::at(project.at("scope")).raw("source", source).link("tasks", project.at("scope/tasks")).end()
}

fn record(facts: &Facts, project: &Project) -> String {
    let n = project.n;
    let timed = n % 4 == 3;
    let money = |place: usize| (!timed).then(|| amount(n + place, project.currency));
    let sync =
        Obj::new().text("schedule", ["OFF", "DAILY"][n % 2]).maybe((n % 2 == 1).then_some(2), |o, h| {
            o.raw("timeZoneOffsetInHours", h).text("nextScheduledSyncAt", "2026-12-01T00:00:00Z")
        });
    let value = Obj::new()
        .text("id", "a0000000-0000-4000-8000-000000000001")
        .text("type", "TEXT")
        .raw("input", Obj::new().text("value", "north \u{2744}").end())
        .end();
    let budget = (!timed && n % 3 != 2)
        .then(|| Obj::at(project.at("budget")).raw("amount", amount(n, project.currency)).end());
    Obj::at(format!("projects/{}", project.id))
        .text("id", &project.id)
        .text("name", ["Acme rollout", "Größe Umbau", "プロジェクト", "Internal tools"][n % 4])
        .text("status", ["IN_PROGRESS", "IN_PLANNING", "COMPLETED", "ON_HOLD"][n % 4])
        .text("type", if timed { "TIME_BASED" } else { "MONETARY_BASED" })
        .text("generalAccess", ["RESTRICTED", "USERS_WITH_APP_ACCESS"][n % 2])
        .raw("owner", facts.fm_user(n))
        .raw("scope", scope_of(facts, project))
        .maybe(money(0), |o, rate| o.raw("defaultCostRate", rate))
        .maybe(money(1), |o, rate| o.raw("defaultBillingRate", rate))
        .raw("isTrackingRevenue", n.is_multiple_of(2))
        .raw("isFixedPrice", false)
        .raw("editable", true)
        .raw("tags", array((0..n % 3).map(|t| quote(["Q2", "ünïcode"][t % 2]))))
        .maybe(n.is_multiple_of(2).then(|| array([value])), |o, values| o.raw("attributeValues", values))
        .raw("autoSync", sync.end())
        .maybe(budget, |o, budget| o.raw("budget", budget))
        .link("budgetMilestones", project.at("budget-milestones"))
        .link("expenses", project.at("expenses"))
        .link("expenseActuals", project.at("actuals/expenses"))
        .link("laborActuals", project.at("actuals/labor"))
        .link("rates", project.at("team-members/rates"))
        .link("roles", project.at("team-members/roles"))
        .link("timeframe", project.at("timeframe"))
        .end()
}

fn scope(making: &mut Making, project: &Project) {
    let text = scope_of(making.facts, project);
    making.tables.add("project-scopes", &project.id, text);
    for place in 0..30 {
        let issue = Facts::issue_id((project.n * 30 + place) % making.facts.sizes.issues);
        let text = Obj::new()
            .text("id", &making.random.uuid())
            .raw("taskLink", task(making.facts, issue))
            .maybe((place % 3 == 0).then_some("group-1"), |o, group| o.text("group", group))
            .end();
        making.tables.add("project-scope-tasks", &project.id, text);
    }
}

/// Timeframe, budget and summary: one each, or none (204).
fn single(making: &mut Making, project: &Project) {
    let (facts, n) = (making.facts, project.n);
    if n % 3 != 2 {
        let text = Obj::at(project.at("budget")).raw("amount", amount(n, project.currency)).end();
        making.tables.add("project-budgets", &project.id, text);
    }
    if n % 2 == 0 {
        let text = Obj::at(project.at("timeframe"))
            .text("startDate", &clock::date(facts.first_day + 20))
            .text("endDate", &clock::date(facts.today + 60))
            .raw("isCalculated", n % 4 == 0)
            .end();
        making.tables.add("project-timeframes", &project.id, text);
    }
    let money = |place: usize| amount(n + place, if n % 3 == 1 { "MIX" } else { project.currency });
    let cost = Obj::new().raw("labor", money(0)).raw("expense", money(1)).raw("total", money(2)).end();
    let profit = Obj::new()
        .raw("labor", money(3))
        .raw("total", money(4))
        .raw("profit", money(5))
        .raw("netProfitMargin", Obj::new().raw("value", "0.10").end())
        .end();
    let text = Obj::at(project.at("financials/summary"))
        .raw(
            "cost",
            Obj::new()
                .raw("actual", cost)
                .maybe((n % 3 != 2).then(|| money(6)), |o, b| o.raw("budget", b))
                .end(),
        )
        .maybe((n % 2 == 0).then_some(profit), |o, profit| {
            o.raw("revenue", Obj::new().raw("actual", profit).end())
        })
        .end();
    making.tables.add("project-financials", &project.id, text);
    for place in 0..n % 3 {
        let text = Obj::new()
            .text("id", &making.random.uuid())
            .text("date", &clock::date(facts.first_day + 100 * place as i32))
            .maybe((place == 0).then(|| amount(n, project.currency)), |o, budget| o.raw("budget", budget))
            .maybe((place == 1).then_some("Second phase"), |o, text| o.text("description", text))
            .end();
        making.tables.add("project-budget-milestones", &project.id, text);
    }
}

fn money(making: &mut Making, project: &Project) {
    let facts = making.facts;
    for (entity, path, count) in
        [("project-expenses", "expenses", 12), ("project-fixed-revenues", "fixed-revenues", 5)]
    {
        for place in 0..count {
            let id = making.random.uuid();
            let recurrence = match place % 3 {
                0 => Obj::new().text("type", "NoRecurrence"),
                1 => Obj::new()
                    .text("type", "MonthlyRecurrence")
                    .raw("interval", 1)
                    .text("monthlyBy", "DAY_OF_MONTH")
                    .raw("count", 6),
                _ => Obj::new()
                    .text("type", "MonthlyRecurrence")
                    .raw("interval", 2)
                    .text("endDate", &clock::date(facts.today)),
            };
            let (account_id, key) = &facts.accounts[place % facts.accounts.len()];
            let account = Obj::at(format!("accounts/{account_id}")).text("key", key).end();
            let text = Obj::at(project.at(&format!("{path}/{id}")))
                .text("id", &id)
                .text("date", &clock::date(facts.first_day + place as i32 * 31))
                .text("description", ["Licences", "Reise \u{2708}", "Hardware \"new\""][place % 3])
                .raw("amount", amount(place, project.currency))
                .raw("recurrence", recurrence.end())
                .maybe((place % 2 == 0).then_some("Travel"), |o, name| {
                    o.raw("category", Obj::new().text("name", name).end())
                })
                .maybe((place % 4 != 3).then_some(account), |o, account| o.raw("account", account))
                .end();
            making.tables.add(entity, &project.id, text);
        }
    }
}

fn people(making: &mut Making, project: &Project) {
    let facts = making.facts;
    let rates = |place: usize| {
        let rate = Obj::new()
            .maybe((place == 1).then(|| clock::date(facts.first_day)), |o, day| o.text("effectiveDate", &day))
            .raw("rate", amount(place, project.currency))
            .text("source", ["PROJECT", "TEAM_MEMBER", "ROLE"][place % 3])
            .end();
        Obj::new().raw("values", array([rate])).end()
    };
    for place in 0..5 {
        let user = facts.fm_user(project.n + place);
        let text = Obj::new()
            .raw("teamMember", &user)
            .raw("costRates", rates(place))
            .maybe((place % 2 == 0).then(|| rates(place + 1)), |o, rates| o.raw("billingRates", rates))
            .end();
        making.tables.add("project-rates", &project.id, text);
        let role = Obj::at(format!("roles/{}", 1 + place % 2)).raw("id", 1 + place % 2).end();
        let text = Obj::new().raw("teamMember", &user).raw("role", role).end();
        making.tables.add("project-roles", &project.id, text);
    }
    for (place, permission) in ["VIEW", "EDIT"].iter().enumerate() {
        let text =
            Obj::new().raw("collaborator", facts.fm_user(place + 2)).text("permissionType", permission).end();
        making.tables.add("project-shares", &project.id, text);
    }
    let approver = |place: usize| {
        Obj::new()
            .raw("approver", facts.fm_user(place))
            .raw("isDefault", place == 0)
            .maybe((place == 1).then_some("USER_IS_INACTIVE"), |o, why| o.text("invalid", why))
            .end()
    };
    let text = Obj::new().raw("projectTimeApprovers", array((0..2).map(approver))).end();
    making.tables.add("project-time-approvers", &project.id, text);
}

/// What the Financial Manager computes from worklogs, plans and expenses.
fn actuals(making: &mut Making, project: &Project) {
    let (facts, worklogs) = (making.facts, making.worklogs);
    let role = || Obj::at("roles/1").end();
    for (place, row) in worklogs.rows.iter().skip(project.n * 60).take(60).enumerate() {
        let text = Obj::new()
            .text("timeRecordId", &making.random.uuid())
            .raw("worklogId", row.id)
            .text("date", &clock::date(row.day))
            .raw("timeSpentSeconds", row.seconds)
            .raw("billableSeconds", row.seconds)
            .raw("user", facts.fm_user(row.author as usize))
            .raw("userRole", role())
            .raw("task", task(facts, row.issue))
            .raw("costRate", amount(place, project.currency))
            .maybe((place % 2 == 0).then(|| amount(place + 1, project.currency)), |o, cost| {
                o.raw("cost", cost)
            })
            .end();
        making.tables.add("project-labor-actuals", &project.id, text);
    }
    let expenses: Vec<String> =
        making.tables.of("project-expenses", &project.id).map(|e| e.id.clone()).collect();
    for (place, id) in expenses.iter().enumerate() {
        let text = Obj::new()
            .text("date", &clock::date(facts.first_day + place as i32 * 31))
            .raw("cost", amount(place, project.currency))
            .link("expense", project.at(&format!("expenses/{id}")))
            .end();
        making.tables.add("project-expense-actuals", &project.id, text);
    }
    for place in 0..20_usize {
        let text = Obj::new()
            .raw("planId", 880 + place)
            .text("date", &clock::date(facts.today - 40 + place as i32))
            .raw("plannedSeconds", 14_400)
            .raw("user", facts.fm_user(place))
            .raw("userRole", role())
            .raw("task", task(facts, Facts::issue_id(place % facts.sizes.issues)))
            .raw("cost", amount(place, project.currency))
            .end();
        making.tables.add("project-labor-plans", &project.id, text);
    }
}
