//! Workload and holiday schemes, their members and holidays.

use serde_json::Value;

use super::call::{Answer, Call, bad, json, missing, texts};
use crate::clock;
use crate::tables::Record;

/// Members of one scheme as users.
pub(crate) fn members(call: &Call<'_>, schemes: &str, entity: &str) -> Answer {
    let scheme = call.record(schemes, "Scheme")?;
    let users: Vec<String> =
        call.site.tables.of(entity, &scheme.id).map(|member| member.value()["member"].to_string()).collect();
    call.p1(users.iter().map(String::as_str))
}

/// Pairs of scheme and member, of the schemes that the body lists.
pub(crate) fn members_search(call: &Call<'_>, entity: &str) -> Answer {
    let schemes = call
        .body
        .get("schemeIds")
        .and_then(Value::as_array)
        .ok_or_else(|| bad("schemeIds must not be null"))?;
    let schemes: Vec<String> = schemes.iter().map(Value::to_string).collect();
    call.p2(texts(call.all(entity).iter().filter(|member| schemes.contains(&member.parent))))
}

/// The scheme of a user; who is in none is in the default one.
pub(crate) fn of_user(call: &Call<'_>, schemes: &str, entity: &str) -> Answer {
    let member =
        call.all(entity).iter().find(|member| member.value()["member"]["accountId"] == call.param(0));
    let scheme = match member {
        Some(member) => call.site.tables.find(schemes, &member.parent),
        None => call.all(schemes).iter().find(|scheme| scheme.value()["defaultScheme"] == true),
    };
    json(scheme.ok_or_else(|| missing("Scheme"))?.text.as_bytes())
}

/// Fixed holidays come whatever the year, floating ones in theirs; without a year it is the current one.
pub(crate) fn holidays(call: &Call<'_>) -> Answer {
    let scheme = call.record("holiday-schemes", "Holiday scheme")?;
    let year = match call.one("year") {
        Some(year) => year.parse().map_err(|_| bad("The parameter 'year' is not a number"))?,
        None => clock::civil(call.today()).0,
    };
    let start = format!("{year:04}-");
    let due = |day: &&Record| day.str("type") == "FIXED" || day.str("date").starts_with(&start);
    call.p0(texts(call.site.tables.of("holidays", &scheme.id).filter(due)))
}

pub(crate) fn floating(call: &Call<'_>) -> Answer {
    let scheme = call.record("holiday-schemes", "Holiday scheme")?;
    call.p0(texts(call.site.tables.of("holidays", &scheme.id).filter(|day| day.str("type") == "FLOATING")))
}

pub(crate) fn holiday(call: &Call<'_>) -> Answer {
    let mut of_scheme = call.site.tables.of("holidays", call.param(0));
    json(of_scheme.find(|day| day.id == call.param(1)).ok_or_else(|| missing("Holiday"))?.text.as_bytes())
}
