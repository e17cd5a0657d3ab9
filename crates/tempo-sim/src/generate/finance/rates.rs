//! Portfolios, project attributes, rates and reports.

use super::{MONEY, Project, amount, record};
use crate::clock;
use crate::generate::Making;
use crate::text::{API, Obj, array};

pub(super) fn make(making: &mut Making, projects: &[Project]) {
    portfolios(making, projects);
    attributes(making);
    rates(making);
    reports(making, projects);
}

fn portfolios(making: &mut Making, projects: &[Project]) {
    for n in 0..making.facts.sizes.portfolios {
        let id = making.random.uuid();
        let text = Obj::at(format!("portfolios/{id}"))
            .text("id", &id)
            .text("name", &format!("Portfolio {} \u{1f4bc}", n + 1))
            .maybe((n == 0).then_some("All of it"), |o, text| o.text("description", text))
            .raw("owner", making.facts.fm_user(n))
            .raw("editable", true)
            .raw("shared", n % 2 == 0)
            .text("colorKey", "NO_COLOR")
            .link("projects", format!("portfolios/{id}/projects"))
            .raw("staff", Obj::new().raw("totalUniqueCount", 7).end())
            .raw("scope", Obj::new().raw("completedTaskCount", 5).raw("totalTaskCount", 30).end())
            .raw("totalCost", amount(n, "MIX"))
            .raw("totalTimeSpentSeconds", 360_000)
            .end();
        making.tables.add("portfolios", "", text);
        for project in projects.iter().filter(|project| project.n % 3 != 2) {
            let text = record(making.facts, project);
            making.tables.add("portfolio-projects", &id, text);
        }
    }
}

fn attributes(making: &mut Making) {
    for (n, (name, kind)) in
        [("Region", "TEXT"), ("Phase", "SELECT_LIST"), ("Risk €", "AMOUNT")].iter().enumerate()
    {
        let id = format!("a0000000-0000-4000-8000-00000000000{}", n + 1);
        let option =
            |n: usize| Obj::new().text("id", &format!("o-{n}")).text("value", ["One", "Zwei"][n % 2]).end();
        let text = Obj::at(format!("project-attributes/{id}"))
            .text("id", &id)
            .text("name", name)
            .text("type", kind)
            .maybe((*kind == "SELECT_LIST").then(|| array((0..2).map(option))), |o, options| {
                o.raw("selectListOptions", options)
            })
            .end();
        making.tables.add("project-attributes", "", text);
    }
}

fn rates(making: &mut Making) {
    for (n, id) in ["default", "b1000000-0000-4000-8000-000000000001"].iter().enumerate() {
        let base = || {
            Obj::at(format!("billing-rates-tables/{id}"))
                .text("id", id)
                .text("name", ["Default rates", "Acme \"special\""][n % 2])
        };
        making.tables.add("billing-rates-tables", "", base().end());
        let rate = |place: usize| {
            Obj::new()
                .maybe(
                    (place > 0).then(|| Obj::at(format!("roles/{place}")).raw("id", place).end()),
                    |o, role| o.raw("role", role),
                )
                .raw("rate", Obj::new().raw("value", MONEY[place % MONEY.len()]).end())
                .raw("defaultRateUsed", place == 2)
                .end()
        };
        let text = base().raw("rates", array((0..4).map(rate))).end();
        making.tables.add("billing-rates", id, text);
    }
    for (category, shift) in [("BILLING", 0), ("COST", 3)] {
        for place in 0..3_usize {
            let rate = Obj::new().raw("value", MONEY[(place + shift) % MONEY.len()]);
            let later = Obj::new()
                .raw("value", "1E+2")
                .text("effectiveDate", &clock::date(making.facts.today - 30))
                .end();
            let rates = if place == 1 { array([rate.end(), later]) } else { array([rate.end()]) };
            let text = Obj::new()
                .maybe((place > 0).then_some(place), |o, role| o.raw("roleId", role))
                .raw("rates", rates)
                .end();
            making.tables.add("global-rates", category, text);
        }
    }
}

fn reports(making: &mut Making, projects: &[Project]) {
    let facts = making.facts;
    let (from, to) = clock::month_around(facts.today - 60);
    for project in projects.iter().take(3) {
        let id = making.random.uuid();
        let at = format!("reports/costs-and-revenues/{id}");
        let entity =
            Obj::at(format!("projects/{}", project.id)).text("id", &project.id).text("type", "PROJECT").end();
        let text = Obj::at(&at)
            .text("id", &id)
            .text("reportName", "Costs \u{2211}")
            .text("reportType", "ACTUAL_COST")
            .text("status", if project.n == 1 { "REQUESTED" } else { "SUCCESS" })
            .text("dateFrom", &clock::date(from))
            .text("dateTo", &clock::date(to))
            .text("periodBreakdown", "MONTH")
            .text("requestedAt", &clock::instant(facts.now - 500_000))
            .raw("owner", facts.fm_user(0))
            .raw("entity", entity)
            .link("data", format!("{at}/data"))
            .end();
        making.tables.add("cost-revenue-reports", "", text);
        let money = |n: usize| amount(n, project.currency);
        let item = Obj::new().raw("effortInSeconds", 3_600).raw("rate", money(1)).end();
        let member = Obj::new().raw("teamMember", facts.fm_user(1)).raw("items", array([item])).end();
        let labor = Obj::new()
            .raw("role", Obj::at("roles/1").raw("id", 1).end())
            .raw("teamMembers", array([member]))
            .end();
        let totals = |o: Obj| {
            o.raw("totalAmount", money(2))
                .raw("totalEffortInSeconds", 3_600)
                .raw("totalLaborAmount", money(3))
        };
        let period = totals(Obj::new().text("from", &clock::date(from)).text("to", &clock::date(to)));
        let period = period.raw("labors", array([labor])).end();
        let text =
            totals(Obj::new().text("self", &format!("{API}/{at}/data")).text("id", &making.random.uuid()))
                .raw("report", Obj::at(&at).text("id", &id).end())
                .raw("periods", array([period]))
                .end();
        making.tables.add("cost-revenue-report-data", &id, text);
    }
}
