//! The Financial Manager.

use super::call::{Answer, Call, Reply, bad, json, missing, texts};
use crate::clock;
use crate::tables::Record;
use crate::text::{Obj, array};

/// A project's only record of a kind; 204 where it has none.
pub(crate) fn single(call: &Call<'_>, entity: &str) -> Answer {
    match call.children("projects", entity)?.first() {
        Some(text) => json(text.as_bytes()),
        None => Ok(Reply::NoContent),
    }
}

/// A project's records, in pages.
pub(crate) fn paged(call: &Call<'_>, entity: &str) -> Answer {
    call.p1(call.children("projects", entity)?.into_iter())
}

/// The same up to a day and, for plans, from one.
pub(crate) fn dated(call: &Call<'_>, entity: &str) -> Answer {
    let (from, to) = (call.date("from")?, call.date("to")?);
    let project = call.record("projects", "Project")?;
    let keep = |row: &&Record| {
        let day = clock::parse_date(row.str("date")).unwrap_or(0);
        from.is_none_or(|from| day >= from) && to.is_none_or(|to| day <= to)
    };
    call.p1(texts(call.site.tables.of(entity, &project.id).filter(keep)))
}

/// A project's records under a name of their own, with or without `self`.
pub(crate) fn wrapped(call: &Call<'_>, entity: &str, member: &str, with_self: bool) -> Answer {
    let rows = array(call.children("projects", entity)?);
    let head = if with_self { Obj::new().text("self", &call.url(&[])) } else { Obj::new() };
    json(head.raw(member, rows).end())
}

/// A project's record by its own id.
pub(crate) fn part(call: &Call<'_>, entity: &str) -> Answer {
    let mut of_project = call.site.tables.of(entity, call.param(0));
    json(of_project.find(|row| row.id == call.param(1)).ok_or_else(|| missing("Resource"))?.text.as_bytes())
}

pub(crate) fn time_approvers(call: &Call<'_>) -> Answer {
    json(array(call.children("projects", "project-time-approvers")?))
}

pub(crate) fn portfolio_projects(call: &Call<'_>) -> Answer {
    call.p1(call.children("portfolios", "portfolio-projects")?.into_iter())
}

pub(crate) fn attributes(call: &Call<'_>) -> Answer {
    let rows = array(texts(call.all("project-attributes").iter()));
    json(Obj::new().text("self", &call.url(&[])).raw("projectAttributes", rows).end())
}

/// A table with its rates; the list shows none.
pub(crate) fn rates_table(call: &Call<'_>) -> Answer {
    let table = call.record("billing-rates-tables", "Billing rates table")?;
    let with = call.site.tables.of("billing-rates", &table.id).next();
    json(with.unwrap_or(table).text.as_bytes())
}

fn category<'c>(call: &'c Call<'_>) -> Result<&'c str, super::call::Refusal> {
    let category = call.one("rateCategory").filter(|category| matches!(*category, "BILLING" | "COST"));
    category.ok_or_else(|| bad("The parameter 'rateCategory' must be BILLING or COST"))
}

pub(crate) fn global_rates(call: &Call<'_>) -> Answer {
    let rates = array(texts(call.site.tables.of("global-rates", category(call)?)));
    json(Obj::new().raw("results", rates).end())
}

pub(crate) fn global_rates_of_role(call: &Call<'_>) -> Answer {
    let mut rates = call.site.tables.of("global-rates", category(call)?);
    match rates.find(|rate| rate.names("/roleId", call.param(0))) {
        Some(rate) => json(rate.text.as_bytes()),
        None => Ok(Reply::NoContent),
    }
}

pub(crate) fn report_data(call: &Call<'_>) -> Answer {
    let report = call.record("cost-revenue-reports", "Report")?;
    let data = call.site.tables.of("cost-revenue-report-data", &report.id).next();
    json(data.ok_or_else(|| missing("Report data"))?.text.as_bytes())
}
