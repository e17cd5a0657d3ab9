//! User schedules, computed from workload and holiday schemes.

use super::call::{Answer, Call, missing};
use crate::clock;
use crate::site::Site;
use crate::tables::Record;
use crate::text::Obj;

/// The longest range; more would be a mistake of the caller.
const DAYS_MAX: i32 = 20_000;

pub(crate) fn of_user(call: &Call<'_>) -> Answer {
    let people = &call.site.facts.people;
    let person =
        people.iter().position(|person| person.account_id == call.param(0)).ok_or_else(|| missing("User"))?;
    serve(call, person)
}

/// The schedule of the token's own user.
pub(crate) fn own(call: &Call<'_>) -> Answer {
    serve(call, 0)
}

fn serve(call: &Call<'_>, person: usize) -> Answer {
    let (from, to) = (call.needed_date("from")?, call.needed_date("to")?);
    let days = days(call.site, person, from, to.min(from.saturating_add(DAYS_MAX)));
    call.p0(days.iter().map(String::as_str))
}

/// A person's days, each as text.
pub(crate) fn days(site: &Site, person: usize, from: i32, to: i32) -> Vec<String> {
    let account_id = site.facts.people[person].account_id.as_str();
    let scheme_of = |entity: &str| {
        let member =
            site.tables.all(entity).iter().find(|member| member.value()["member"]["accountId"] == account_id);
        member.map_or("", |member| member.parent.as_str())
    };
    let workload = site.tables.find("workload-schemes", scheme_of("workload-scheme-members"));
    let holidays: Vec<&Record> = site.tables.of("holidays", scheme_of("holiday-scheme-members")).collect();
    (from..=to).map(|day| one(workload, &holidays, day)).collect()
}

fn one(workload: Option<&Record>, holidays: &[&Record], day: i32) -> String {
    let date = clock::date(day);
    let required = workload.map_or(0, |scheme| {
        scheme.value()["days"][clock::weekday(day) as usize]["requiredSeconds"].as_i64().unwrap_or(0)
    });
    let is_today = |holiday: &&&Record| {
        let on = holiday.str("date");
        if holiday.str("type") == "FIXED" { on.get(4..) == date.get(4..) } else { on == date }
    };
    let holiday = holidays.iter().find(is_today);
    let off = holiday.map_or(0, |holiday| holiday.value()["durationSeconds"].as_i64().unwrap_or(0));
    let kind = match (holiday.is_some(), required > 0) {
        (true, true) => "HOLIDAY",
        (true, false) => "HOLIDAY_AND_NON_WORKING_DAY",
        (false, true) => "WORKING_DAY",
        (false, false) => "NON_WORKING_DAY",
    };
    Obj::new()
        .text("date", &date)
        .raw("requiredSeconds", (required - off).max(0))
        .text("type", kind)
        .maybe(holiday, |o, holiday| o.raw("holiday", &holiday.text))
        .end()
}
