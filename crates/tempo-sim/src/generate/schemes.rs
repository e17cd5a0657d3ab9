//! Workload and holiday schemes with their members, the configuration and webhooks.

use super::Making;
use crate::clock;
use crate::site::{FULL_TIME, PART_TIME};
use crate::text::{Obj, array};

const DAYS: &[&str] = &["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
/// Month, day and name of the fixed holidays; the first scheme is the default one.
const FIXED: &[(u32, u32, &str)] = &[
    (1, 1, "New Year"),
    (5, 1, "Labour day"),
    (6, 17, "Þjóðhátíðardagurinn"),
    (12, 24, "Christmas eve"),
    (12, 25, "Christmas"),
    (12, 26, "Boxing day"),
    (12, 31, "New Year's eve"),
];

pub(super) fn make(making: &mut Making) {
    workload(making);
    holiday(making);
    configuration(making);
    webhooks(making);
}

fn workload(making: &mut Making) {
    let facts = making.facts;
    let part_time = facts.people.iter().filter(|person| person.part_time).count();
    let schemes = [
        (FULL_TIME, "Tempo Default Workload Scheme", [28_800; 5], facts.people.len() - part_time),
        (PART_TIME, "Part time 80 %", [28_800, 28_800, 28_800, 28_800, 0], part_time),
        (9, "Nobody's \"scheme\"", [25_200; 5], 0),
    ];
    for (id, name, seconds, members) in schemes {
        let day = |n: usize| {
            let required = seconds.get(n).copied().unwrap_or(0);
            Obj::new().text("day", DAYS[n]).raw("requiredSeconds", required).end()
        };
        let text = Obj::at(format!("workload-schemes/{id}"))
            .raw("id", id)
            .text("name", name)
            .text("description", "Required working hours per day")
            .raw("defaultScheme", id == FULL_TIME)
            .raw("memberCount", members)
            .raw("days", array((0..7).map(day)))
            .end();
        making.tables.add("workload-schemes", "", text);
    }
    for n in 0..facts.people.len() {
        let scheme = if facts.people[n].part_time { PART_TIME } else { FULL_TIME };
        let text = Obj::new().raw("schemeId", scheme).raw("member", facts.person(n)).end();
        making.tables.add("workload-scheme-members", scheme, text);
    }
}

fn holiday(making: &mut Making) {
    let facts = making.facts;
    let (first_year, _, _) = clock::civil(facts.first_day);
    let (this_year, _, _) = clock::civil(facts.today);
    for (scheme, name) in [(3_i64, "Default holidays"), (4, "Iceland & Norway")] {
        let members = (0..facts.people.len()).filter(|n| (n % 4 == 2) == (scheme == 4)).collect::<Vec<_>>();
        let text = Obj::at(format!("holiday-schemes/{scheme}"))
            .raw("id", scheme)
            .text("name", name)
            .maybe((scheme == 4).then_some("Nordic days off"), |o, text| o.text("description", text))
            .raw("defaultScheme", scheme == 3)
            .raw("memberCount", members.len())
            .end();
        making.tables.add("holiday-schemes", "", text);
        for n in members {
            let text = Obj::new().raw("schemeId", scheme).raw("member", facts.person(n)).end();
            making.tables.add("holiday-scheme-members", scheme, text);
        }
        let mut id = scheme * 1_000;
        let mut day = |name: &str, date: i32, seconds: i64, kind: &str, note: Option<&str>| {
            id += 1;
            let text = Obj::at(format!("holiday-schemes/{scheme}/holidays/{id}"))
                .raw("id", id)
                .raw("schemeId", scheme)
                .text("name", name)
                .maybe(note, |o, note| o.text("description", note))
                .text("date", &clock::date(date))
                .raw("durationSeconds", seconds)
                .text("type", kind)
                .end();
            making.tables.add("holidays", scheme, text);
        };
        for (n, (month, of_month, name)) in FIXED.iter().enumerate() {
            let seconds = if n % 3 == 0 { 14_400 } else { 28_800 };
            day(
                name,
                clock::day_of(1970, *month, *of_month),
                seconds,
                "FIXED",
                (n == 2).then_some("National \u{1f1ee}\u{1f1f8} day"),
            );
        }
        for year in first_year..=this_year + 1 {
            day(
                "Easter Monday",
                clock::day_of(year, 4, 1 + (year as u32 * 7) % 20),
                28_800,
                "FLOATING",
                None,
            );
            day("Founders day", clock::day_of(year, 10, 31), 18_000, "FLOATING", Some("since 2007"));
        }
    }
}

fn configuration(making: &mut Making) {
    let text = Obj::new()
        .raw("allowLoggingOnClosedAccount", false)
        .text("approvalPeriod", "MONTH")
        .raw("approvalWeekStart", 1)
        .raw("maxHoursPerDayPerUser", 24)
        .raw("numberOfDaysAllowedIntoFuture", 30)
        .raw("planApprovalEnabled", true)
        .raw("remainingEstimateOptional", true)
        .raw("startAndEndTimesEnabled", true)
        .raw("startAndEndTimesForPlanningEnabled", false)
        .raw("weekStart", 1)
        .raw("worklogDescriptionOptional", true)
        .end();
    making.tables.add("global-configuration", "", text);
}

fn webhooks(making: &mut Making) {
    for (n, event) in ["worklog.created", "worklog.deleted", "plan.updated"].iter().enumerate() {
        let id = making.random.uuid();
        let secret = making.random.uuid().replace('-', "");
        let at = clock::instant(i64::from(making.facts.first_day + 90) * clock::DAY + 40_000);
        let text = Obj::at(format!("webhooks/subscriptions/{id}"))
            .text("id", &id)
            .text("event", event)
            .text("url", &format!("https://hooks.example.com/tempo/{n}"))
            .maybe((n != 1).then_some("Power BI"), |o, name| o.text("name", name))
            .maybe((n == 0).then_some("New worklogs for Power BI"), |o, text| o.text("description", text))
            .raw("active", n != 2)
            .text("sharedSecret", &format!("sim-secret-{secret}"))
            .text("createdAt", &at)
            .text("updatedAt", &at)
            .end();
        making.tables.add("webhook-subscriptions", "", text);
    }
}
