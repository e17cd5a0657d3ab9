use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule::parse(cron, Some(zone)).unwrap()
}

/// The due times after `from`, on the clock of the zone; and `last_before` finds each of them again.
fn check(cron: &str, zone: &str, from: &str, expect: &[&str]) {
    let schedule = schedule(cron, zone);
    let mut t = at(from);
    for expect in expect {
        let due = schedule.next_after(t).unwrap();
        let shown = due.to_zoned_datetime(schedule.zone.clone()).strftime("%F %H:%M %:z").to_string();
        assert_eq!(shown, *expect, "{cron} {zone} after {t}");
        assert_eq!(schedule.last_before(due), Some(due), "{cron} {zone} at {due}");
        let eve = schedule.last_before(due - NANOSECOND);
        assert!(eve.is_some_and(|eve| eve <= t), "{cron} {zone}: {eve:?} lies between {t} and {due}");
        t = due;
    }
}

#[test]
fn fields_are_those_of_cron() {
    let check = |cron, expect: &[&str]| check(cron, "UTC", "2026-03-01T02:00:00Z", expect);
    check("0 2 * * *", &["2026-03-02 02:00 +00:00", "2026-03-03 02:00 +00:00"]);
    check("*/20 2 * * *", &["2026-03-01 02:20 +00:00", "2026-03-01 02:40 +00:00", "2026-03-02 02:00 +00:00"]);
    check(
        "5,50-52/2 3 * * *",
        &["2026-03-01 03:05 +00:00", "2026-03-01 03:50 +00:00", "2026-03-01 03:52 +00:00"],
    );
    check("0 0 * JAN,feb Mon", &["2027-01-04 00:00 +00:00", "2027-01-11 00:00 +00:00"]);
    check("0 0 29 2 *", &["2028-02-29 00:00 +00:00", "2032-02-29 00:00 +00:00"]);
    // 2026-03-01 is a Sunday, whatever it is called.
    for cron in ["0 3 * * 0", "0 3 * * 7", "0 3 * * sun", "0 3 * * sun-sun", "0 3 * * 7-0"] {
        check(cron, &["2026-03-01 03:00 +00:00", "2026-03-08 03:00 +00:00"]);
    }
    for cron in ["0 3 * * fri-sun", "0 3 * * 5-7", "0 3 * * 5-0", "0 3 * * 0,5,6"] {
        check(cron, &["2026-03-01 03:00 +00:00", "2026-03-06 03:00 +00:00", "2026-03-07 03:00 +00:00"]);
    }
    for cron in ["0 3 * * 7-2", "0 3 * * sun-tue", "0 3 * * 0-2"] {
        check(cron, &["2026-03-01 03:00 +00:00", "2026-03-02 03:00 +00:00", "2026-03-03 03:00 +00:00"]);
    }
}

#[test]
fn words_stand_for_fields() {
    for (word, fields) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@Midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        (" @annually ", "0 0 1 1 *"),
    ] {
        let of = |cron| Schedule::parse(cron, None).unwrap().cron;
        assert_eq!(of(word), of(fields), "{word}");
    }
}

#[test]
fn either_day_is_enough_where_both_are_named() {
    let check = |cron, expect: &[&str]| check(cron, "UTC", "2026-03-01T02:00:00Z", expect);
    check("0 0 3 * mon", &["2026-03-02 00:00 +00:00", "2026-03-03 00:00 +00:00", "2026-03-09 00:00 +00:00"]);
    check("0 0 30 2 mon", &["2027-02-01 00:00 +00:00"]);
    // A field that begins with a star restricts the other one.
    check("0 0 */2 * mon", &["2026-03-09 00:00 +00:00", "2026-03-23 00:00 +00:00"]);
    check("0 0 3 * */2", &["2026-03-03 00:00 +00:00", "2026-05-03 00:00 +00:00"]);
    check("0 0 29 2 */6", &["2032-02-29 00:00 +00:00", "2048-02-29 00:00 +00:00", "2060-02-29 00:00 +00:00"]);
}

#[test]
fn a_skipped_time_is_due_after_the_gap_and_once() {
    let berlin = |cron, expect: &[&str]| check(cron, "Europe/Berlin", "2026-03-28T12:00:00Z", expect);
    berlin("0 2 * * *", &["2026-03-29 03:00 +02:00", "2026-03-30 02:00 +02:00"]);
    berlin("30 2 * * *", &["2026-03-29 03:00 +02:00", "2026-03-30 02:30 +02:00"]);
    berlin("*/15 2 * * *", &["2026-03-29 03:00 +02:00", "2026-03-30 02:00 +02:00"]);
    berlin(
        "30 2,3 * * *",
        &["2026-03-29 03:00 +02:00", "2026-03-29 03:30 +02:00", "2026-03-30 02:30 +02:00"],
    );
    berlin("0 2,3 * * *", &["2026-03-29 03:00 +02:00", "2026-03-30 02:00 +02:00"]);
    check("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", &["2026-03-08 03:00 -04:00"]);
    check("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &["2026-10-04 02:30 +11:00"]);
    check("45 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &["2026-10-04 02:45 +11:00"]);
    // Where midnight is skipped, and where a whole day was.
    check("0 0 * * *", "Africa/Cairo", "2026-04-23T12:00:00Z", &["2026-04-24 01:00 +03:00"]);
    let apia = ["2011-12-29 02:00 -10:00", "2011-12-31 00:00 +14:00", "2011-12-31 02:00 +14:00"];
    check("0 2 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", &apia);
}

#[test]
fn a_time_that_comes_twice_is_due_the_first_time() {
    let berlin = |cron, expect: &[&str]| check(cron, "Europe/Berlin", "2026-10-24T12:00:00Z", expect);
    berlin("30 2 * * *", &["2026-10-25 02:30 +02:00", "2026-10-26 02:30 +01:00"]);
    berlin(
        "*/30 2 * * *",
        &["2026-10-25 02:00 +02:00", "2026-10-25 02:30 +02:00", "2026-10-26 02:00 +01:00"],
    );
    berlin("0 2,3 * * *", &["2026-10-25 02:00 +02:00", "2026-10-25 03:00 +01:00"]);
    let new_york = ["2026-11-01 01:30 -04:00", "2026-11-02 01:30 -05:00"];
    check("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", &new_york);
    let lord_howe = ["2026-04-05 01:45 +11:00", "2026-04-06 01:45 +10:30"];
    check("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &lord_howe);
    // Asked within the second pass.
    let second = at("2026-10-25T01:10:00Z");
    let schedule = schedule("50 2 * * *", "Europe/Berlin");
    assert_eq!(schedule.last_before(second), Some(at("2026-10-25T00:50:00Z")));
    assert_eq!(schedule.next_after(second), Some(at("2026-10-26T01:50:00Z")));
}

#[test]
fn hours_of_a_star_are_elapsed_time() {
    let berlin = |cron, from, expect: &[&str]| check(cron, "Europe/Berlin", from, expect);
    let spring = ["2026-03-29 01:15 +01:00", "2026-03-29 03:15 +02:00", "2026-03-29 04:15 +02:00"];
    berlin("15 * * * *", "2026-03-28T23:30:00Z", &spring);
    let autumn = ["2026-10-25 02:15 +02:00", "2026-10-25 02:15 +01:00", "2026-10-25 03:15 +01:00"];
    berlin("15 * * * *", "2026-10-24T23:30:00Z", &autumn);
    berlin("59 * * * *", "2026-03-29T00:58:59Z", &["2026-03-29 01:59 +01:00", "2026-03-29 03:59 +02:00"]);
    // What the clock would have shown, had it not been put back.
    let new_york = ["2026-11-01 02:00 -05:00", "2026-11-01 04:00 -05:00"];
    check("0 */2 * * *", "America/New_York", "2026-11-01T04:30:00Z", &new_york);
    let lord_howe = ["2026-10-04 01:15 +10:30", "2026-10-04 03:15 +11:00"];
    check("15 * * * *", "Australia/Lord_Howe", "2026-10-03T14:30:00Z", &lord_howe);
    let lord_howe = ["2026-04-05 01:45 +11:00", "2026-04-05 01:45 +10:30", "2026-04-05 02:45 +10:30"];
    check("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:30:00Z", &lord_howe);
}

#[test]
fn the_calendar_has_two_ends() {
    let schedule = schedule("0 2 * * *", "Europe/Berlin");
    assert_eq!(schedule.next_after(Timestamp::MAX), None);
    assert_eq!(schedule.last_before(Timestamp::MIN), None);
    let hourly = Schedule::parse("@hourly", Some("America/New_York")).unwrap();
    assert_eq!(hourly.next_after(Timestamp::MAX), None);
    assert_eq!(hourly.last_before(Timestamp::MIN), None);
    assert!(schedule.last_before(Timestamp::MAX).is_some() && hourly.last_before(Timestamp::MAX).is_some());
    assert!(schedule.next_after(Timestamp::MIN).is_some() && hourly.next_after(Timestamp::MIN).is_some());
}

#[test]
fn mistakes_are_one_clear_line() {
    fn check(cron: &str, expect: &str) {
        let error = Schedule::parse(cron, None).unwrap_err().to_string();
        assert_eq!(error, expect);
    }
    let five = "five fields: minute, hour, day of month, month and day of week, like \"30 2 * * *\"";
    check("", &format!("\"\" has 0 instead of {five}"));
    check("daily", &format!("\"daily\" has 1 instead of {five}"));
    check(
        "0 0 2 * * *",
        &format!("\"0 0 2 * * *\" has 6 instead of {}", five.replace(':', ", without seconds and years:")),
    );
    check(
        "@reboot",
        "\"@reboot\" is not known; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually, and five fields, like \"30 2 * * *\"",
    );
    check("60 * * * *", "minute: \"60\" is none of 0-59");
    check("0 24 * * *", "hour: \"24\" is none of 0-23");
    check("0 0 0 * *", "day of month: \"0\" is none of 1-31");
    check("0 0 1 janu *", "month: \"janu\" is none of 1-12 or jan-dec");
    check("0 0 * * 8", "day of week: \"8\" is none of 0-7 or sun-sat");
    check("0 0 L * *", "day of month: \"L\" is none of 1-31; L, W, # and ? are not known here");
    check("0 0 15w * *", "day of month: \"15w\" is none of 1-31; L, W, # and ? are not known here");
    check("0 0 ? * 1", "day of month: \"?\" is none of 1-31; L, W, # and ? are not known here");
    check(
        "0 0 * * wed#2",
        "day of week: \"wed#2\" is none of 0-7 or sun-sat; L, W, # and ? are not known here",
    );
    check("1,,2 * * * *", "minute: \"\" is none of 0-59");
    check("-5 * * * *", "minute: \"\" is none of 0-59");
    check("+5 * * * *", "minute: \"+5\" is none of 0-59");
    check("0 22-2 * * *", "hour: 22-2 runs backwards; give 22-23,0-2");
    check("0 0 * nov-feb *", "month: 11-2 runs backwards; give 11-12,1-2");
    check("0 0 * * fri-mon", "day of week: 5-1 runs backwards; give 5-6,0-1");
    check("5/15 * * * *", "minute: a step needs a range, like 5-59/15 or */15");
    check("*/0 * * * *", "minute: \"0\" is no step; give a number from 1, like */15");
    check("*/ * * * *", "minute: \"\" is no step; give a number from 1, like */15");
    check("*/90 * * * *", "minute: a step of 90 is longer than 0-59 and meets only 0; give 0");
    let never = "never comes: the month has no such day; February ends with the 29th, and April, June, September and November with the 30th";
    check("0 0 30 2 *", &format!("\"0 0 30 2 *\" {never}"));
    check("0 0 31 2,4,6,9,11 *", &format!("\"0 0 31 2,4,6,9,11 *\" {never}"));
    for zone in ["Mars/Olympus", "", "Etc/Unknown"] {
        let error = Schedule::parse("0 2 * * *", Some(zone)).unwrap_err().to_string();
        assert_eq!(error, format!("{zone:?} is not the name of a time zone, like Europe/Berlin"));
    }
}

#[test]
fn people_are_told_in_words() {
    fn check(cron: &str, expect: &str) {
        assert_eq!(schedule(cron, "Europe/Berlin").describe(), expect);
    }
    check("0 2 * * *", "every day at 02:00 Europe/Berlin");
    check("30 2,14 * * *", "every day at 02:30 and 14:30 Europe/Berlin");
    check("0 */6 * * *", "every day at 00:00, 06:00, 12:00 and 18:00 Europe/Berlin");
    check("15 */2 * * *", "every 2 hours from 00:15 Europe/Berlin");
    check("0 8-18 * * mon-fri", "Monday to Friday, every hour from 08:00 to 18:00 Europe/Berlin");
    check("* * * * *", "every minute");
    check("*/15 * * * *", "every 15 minutes");
    check("0,30 * * * *", "every 30 minutes");
    check("15 * * * *", "at minute 15 past every hour");
    check("5,20 * * * *", "at minutes 5 and 20 past every hour");
    check("*/15 * * * sun", "every Sunday, every 15 minutes, Europe/Berlin");
    check("@weekly", "every Sunday at 00:00 Europe/Berlin");
    check("0 2 * * 1,3,5", "every Monday, Wednesday and Friday at 02:00 Europe/Berlin");
    check("0 2 * 6-8 *", "every day in June to August at 02:00 Europe/Berlin");
    check("@monthly", "on day 1 of every month at 00:00 Europe/Berlin");
    check("0 2 1,15 1,7 *", "on days 1 and 15 of January and July at 02:00 Europe/Berlin");
    check("0 2 1 * mon", "0 2 1 * mon Europe/Berlin");
    check("1,2,3,5,8 * * * *", "1,2,3,5,8 * * * * Europe/Berlin");
    check("7 1,2,5,11,13 * * *", "7 1,2,5,11,13 * * * Europe/Berlin");
    assert_eq!(Schedule::parse("0 2 * * *", None).unwrap().describe(), "every day at 02:00 UTC");
    assert_eq!(schedule("0 2 * * *", "europe/berlin").describe(), "every day at 02:00 Europe/Berlin");
}

#[test]
fn a_thousand_tenants_are_spread_evenly() {
    let hour = Duration::from_hours(1);
    let schedule = schedule("0 2 * * *", "Europe/Berlin");
    let due = at("2026-03-02T01:00:00Z");
    let late = |name: &str, due, most| {
        let start = schedule.spread(&name.parse().unwrap(), due, most);
        u64::try_from((start - due).as_secs()).unwrap()
    };
    let mut parts = [0; 10];
    for number in 0..1000 {
        let name = format!("tenant-{number}");
        let first = late(&name, due, hour);
        parts[usize::try_from(first / 360).unwrap()] += 1;
        // Also in the night that has an hour less.
        for next in ["2026-03-03T01:00:00Z", "2026-03-29T01:00:00Z", "2026-10-25T00:00:00Z"] {
            assert_eq!(late(&name, at(next), hour), first, "{name}");
        }
        assert!(late(&name, due, hour * 1000) <= 12 * 3600, "{name} is late by more than half a day");
        assert_eq!(late(&name, due, Duration::ZERO), 0);
    }
    assert!(parts.iter().all(|count| (75..=125).contains(count)), "{parts:?}");
    // Another release must not move a tenant to another minute.
    assert_eq!([late("acme", due, hour), late("beta", due, hour)], [965, 576]);
}

/// A field as text, its values, and whether it begins with a star.
type Field = (String, Vec<i8>, bool);

fn field(first: i8, last: i8, usual: i8) -> impl Strategy<Value = Field> {
    let some = prop::collection::btree_set(first..=usual, 1..4);
    prop_oneof![
        Just(("*".to_owned(), (first..=last).collect(), true)),
        (2..=5i8).prop_map(move |step| {
            let values = (first..=last).filter(|value| (value - first) % step == 0);
            (format!("*/{step}"), values.collect(), true)
        }),
        (first..=usual, 0..=3i8).prop_map(move |(from, more)| {
            let to = (from + more).min(last);
            (format!("{from}-{to}"), (from..=to).collect(), false)
        }),
        some.prop_map(|values| {
            let text: Vec<_> = values.iter().map(ToString::to_string).collect();
            (text.join(","), values.into_iter().collect(), false)
        }),
    ]
}

/// All due times of a stretch: a walk from minute to minute, looking at the clock.
fn walk(fields: &[Field; 5], zone: &TimeZone, from: Timestamp, minutes: i64) -> Vec<Timestamp> {
    let [minute, hour, day, month, weekday] = fields;
    let fits = |wall: DateTime| {
        let days = [day.1.contains(&wall.day()), weekday.1.contains(&wall.weekday().to_sunday_zero_offset())];
        let days = if day.2 || weekday.2 { days == [true; 2] } else { days != [false; 2] };
        let times = minute.1.contains(&wall.minute()) && hour.1.contains(&wall.hour());
        times && days && month.1.contains(&wall.month())
    };
    // The clock shows the next minute, jumps over some, or goes back to ones that it has shown.
    let mut shown = zone.to_datetime(from - MINUTE);
    let mut due = Vec::new();
    for number in 0..minutes {
        let t = from + SignedDuration::from_mins(number);
        let wall = zone.to_datetime(t);
        let mut hit = hour.2 && fits(wall);
        while shown < wall {
            shown = shown.checked_add(MINUTE).unwrap();
            hit |= !hour.2 && fits(shown);
        }
        if hit {
            due.push(t);
        }
    }
    due
}

const DAYS: i64 = 100;
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Pacific/Apia",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn due_times_are_those_of_a_walk(
        minute in field(0, 59, 59),
        hour in field(0, 23, 4),
        day in field(1, 31, 31),
        month in field(1, 12, 12),
        weekday in field(0, 6, 6),
        plain in any::<bool>(),
        zone in prop::sample::select(&ZONES[..]),
        // From November 2011, when Apia was about to skip a day, to 2030.
        start in 0..220i64,
        probes in prop::collection::vec(0..DAYS * 86_400, 200),
    ) {
        // Most schedules say nothing of months and days.
        let every = |first, last| ("*".to_owned(), (first..=last).collect(), true);
        let fields = if plain {
            [minute, hour, every(1, 31), every(1, 12), every(0, 6)]
        } else {
            [minute, hour, day, month, weekday]
        };
        let text = fields.iter().map(|field| field.0.as_str()).collect::<Vec<_>>().join(" ");
        let Ok(schedule) = Schedule::parse(&text, Some(zone)) else {
            // A day that never comes; checked elsewhere.
            return Ok(());
        };
        let from = at("2011-11-20T00:00:00Z") + SignedDuration::from_hours(24 * 30 * start);
        let due = walk(&fields, &schedule.zone, from, DAYS * 24 * 60);

        let mut probes: Vec<_> = probes.into_iter().map(|second| from + SignedDuration::from_secs(second)).collect();
        let end = from + SignedDuration::from_hours(24 * DAYS);
        for change in schedule.zone.following(from).take_while(|change| change.timestamp() < end) {
            let around = (-190..=190).map(|minute| change.timestamp() + SignedDuration::from_mins(minute));
            probes.extend(around.filter(|t| (from..end).contains(t)));
        }
        for t in probes {
            let place = due.partition_point(|due| *due <= t);
            let after = schedule.next_after(t).filter(|due| *due < end);
            prop_assert_eq!(after, due.get(place).copied(), "{} {} after {}", &text, zone, t);
            let before = schedule.last_before(t).filter(|due| *due >= from);
            prop_assert_eq!(before, place.checked_sub(1).map(|place| due[place]), "{} {} before {}", &text, zone, t);
        }
    }
}
