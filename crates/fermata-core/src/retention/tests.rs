use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;

const ENTITIES: [&str; 4] = ["accounts", "roles", "teams", "worklogs"];

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// A snapshot that began at this time; of bad ones the last entity failed.
fn snapshot(started: &str, good: bool) -> Snapshot {
    let whole = ENTITIES.iter().take(ENTITIES.len() - usize::from(!good));
    at(started.parse().unwrap(), good, whole.copied())
}

fn at<'a>(started: Timestamp, good: bool, complete: impl Iterator<Item = &'a str>) -> Snapshot {
    let run = RunId::new(started, "aaaaaa").unwrap();
    let complete: BTreeSet<String> = complete.map(str::to_owned).collect();
    Snapshot { run, started, good, builds: complete.clone(), complete }
}

/// Which stay, by their places, and the words of their reasons.
fn stay(policy_text: &str, snapshots: &[Snapshot], zone: &str) -> Vec<(usize, String)> {
    let judged = judge(&policy(policy_text), snapshots, &BTreeSet::new(), &TimeZone::get(zone).unwrap());
    let words = |reasons: &[Reason]| reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let stays = judged.iter().enumerate().filter(|(_, judged)| judged.stays());
    stays.map(|(at, judged)| (at, words(&judged.reasons))).collect()
}

fn places(stay: &[(usize, String)]) -> Vec<usize> {
    stay.iter().map(|(at, _)| *at).collect()
}

#[test]
fn a_policy_is_read_and_printed() {
    for text in ["daily=7,weekly=5,monthly=12,yearly=3", "last=10", "last=1,daily=2", "all"] {
        assert_eq!(policy(text).to_string(), text);
    }
    assert_eq!(policy(" yearly=3, daily = 7 ").to_string(), "daily=7,yearly=3");
}

#[test]
fn a_mistake_says_what_would_be_right() {
    let check = |text: &str, expect: &str| {
        let error = text.parse::<Policy>().unwrap_err().to_string();
        assert_eq!(error.split(';').next().unwrap(), expect, "{text}");
    };
    for (text, rule) in [("", ""), ("none", "none"), ("daily", "daily"), ("daily=7,", ""), ("7", "7")] {
        check(text, &format!("{rule:?} is not a rule like daily=7"));
    }
    check("hourly=3", "\"hourly=3\" is not a rule like daily=7");
    check("all,daily=7", "\"all\" is not a rule like daily=7");
    for number in ["0", "", "-1", "x", "99999999999"] {
        let expect =
            format!("weekly={number} does not say how many: a whole number from 1 on, like weekly=7");
        check(&format!("daily=7,weekly={number}"), &expect);
    }
    check("daily=7,daily=8", "daily is there twice");
}

#[test]
fn days_are_the_tenants() {
    // 23:30 and 00:30 on Berlin's clock.
    let two = [snapshot("2026-03-01T22:30:00Z", true), snapshot("2026-03-01T23:30:00Z", true)];
    assert_eq!(places(&stay("daily=7", &two, "Europe/Berlin")), [0, 1]);
    assert_eq!(places(&stay("daily=7", &two, "UTC")), [1]);
}

#[test]
fn spans_are_counted_by_those_that_have_a_snapshot() {
    let days = ["2025-12-31", "2026-01-01", "2026-02-27", "2026-03-01", "2026-03-02"];
    let snapshots: Vec<_> = days.iter().map(|day| snapshot(&format!("{day}T02:00:00Z"), true)).collect();
    let check = |policy: &str, expect: &[usize]| {
        assert_eq!(places(&stay(policy, &snapshots, "UTC")), expect, "{policy}");
    };
    check("daily=2", &[3, 4]);
    check("daily=4", &[1, 2, 3, 4]);
    check("last=2", &[3, 4]);
    // 1 March is a Sunday, so it ends the week that 27 February is in; 31 December and 1 January are of one week.
    check("weekly=3", &[1, 3, 4]);
    check("monthly=2", &[2, 4]);
    check("monthly=4", &[0, 1, 2, 4]);
    check("yearly=9", &[0, 4]);
    check("daily=1,yearly=2", &[0, 4]);
    check("all", &[0, 1, 2, 3, 4]);
}

#[test]
fn a_bad_or_narrow_snapshot_takes_no_day_from_a_whole_one() {
    let morning = snapshot("2026-03-01T02:00:00Z", true);
    let failed = snapshot("2026-03-01T12:00:00Z", false);
    let narrow = at("2026-03-01T15:00:00Z".parse().unwrap(), true, ["teams"].into_iter());
    let next = snapshot("2026-03-02T02:00:00Z", true);
    let all = [morning, failed, narrow, next];
    assert_eq!(places(&stay("daily=7", &all, "UTC")), [0, 3]);
    // Where there is no better one it stands for its day.
    assert_eq!(places(&stay("daily=7", &all[1..], "UTC")), [0, 2]);
}

#[test]
fn what_nothing_can_do_without_stays() {
    let good = snapshot("2026-03-01T02:00:00Z", true);
    let half = snapshot("2026-03-02T02:00:00Z", false);
    let worse = at("2026-03-03T02:00:00Z".parse().unwrap(), false, ["teams"].into_iter());
    let last = at("2026-03-04T02:00:00Z".parse().unwrap(), false, [].into_iter());
    let all = [good, half.clone(), worse, last];
    let said = stay("last=1", &all, "UTC");
    let expect = [
        (0, "newest good; newest whole worklogs"),
        (1, "newest whole accounts, roles"),
        (2, "newest whole teams"),
        (3, "newest; last"),
    ];
    assert_eq!(said.iter().map(|(at, words)| (*at, words.as_str())).collect::<Vec<_>>(), expect);
    let bases = BTreeSet::from([half.run.clone()]);
    let judged = judge(&policy("last=1"), &all, &bases, &TimeZone::UTC);
    assert!(judged[1].reasons.contains(&Reason::Base));
}

/// Of a log nothing can be read anew: what is kept of it is in the newest snapshot that has it, whole or not.
#[test]
fn what_is_kept_of_a_log_stays() {
    let whole = snapshot("2026-03-01T02:00:00Z", true);
    let mut failed = snapshot("2026-03-02T02:00:00Z", false);
    failed.builds.insert("worklogs".to_owned());
    let mut newest = snapshot("2026-03-03T02:00:00Z", false);
    newest.builds.clear();
    let said = stay("last=1", &[whole, failed, newest], "UTC");
    assert_eq!(said[1], (1, "later runs build on its accounts, roles, teams and 1 more".to_owned()));
    assert_eq!(places(&said), [0, 1, 2]);
}

#[test]
fn many_entities_are_said_in_few_words() {
    let one = [snapshot("2026-03-01T02:00:00Z", true)];
    let (_, words) = &stay("monthly=1", &one, "UTC")[0];
    assert_eq!(words, "newest; newest good; newest whole accounts, roles, teams and 1 more; month 2026-03");
}

fn snapshots() -> impl Strategy<Value = Vec<Snapshot>> {
    let one = (0..3_000_u32, any::<bool>(), 0..16_u8);
    proptest::collection::btree_map(0..20_000_u32, one, 0..60).prop_map(|all| {
        let begin: Timestamp = "2024-02-28T00:00:00Z".parse().unwrap();
        let all = all.into_iter().map(|(hours, (seconds, good, mask))| {
            let passed = SignedDuration::from_hours(hours.into()) + SignedDuration::from_secs(seconds.into());
            let whole = ENTITIES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
            let built_on = ENTITIES.iter().enumerate().filter(|(bit, _)| seconds >> bit & 1 == 1);
            let builds = built_on.map(|(_, name)| (*name).to_owned()).collect();
            Snapshot { builds, ..at(begin + passed, good && mask != 0, whole.map(|(_, name)| *name)) }
        });
        all.collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    proptest::array::uniform5(0..6_u32).prop_map(Policy::Rules)
}

fn kept(policy: &Policy, snapshots: &[Snapshot]) -> BTreeSet<RunId> {
    let judged = judge(policy, snapshots, &BTreeSet::new(), &TimeZone::UTC);
    judged.into_iter().filter(Judgement::stays).map(|judged| judged.run).collect()
}

proptest! {
    #[test]
    fn what_must_stay_stays(policy in policies(), all in snapshots(), base in any::<proptest::sample::Index>()) {
        let base: BTreeSet<RunId> = if all.is_empty() { BTreeSet::new() } else { [base.get(&all).run.clone()].into() };
        let judged = judge(&policy, &all, &base, &TimeZone::UTC);
        prop_assert_eq!(judged.len(), all.len());
        let stays = |snapshot: &Snapshot| judged.iter().any(|judged| judged.run == snapshot.run && judged.stays());
        prop_assert!(all.last().is_none_or(stays));
        prop_assert!(all.iter().rfind(|snapshot| snapshot.good).is_none_or(stays));
        for entity in ENTITIES {
            prop_assert!(all.iter().rfind(|snapshot| snapshot.complete.contains(entity)).is_none_or(stays));
            prop_assert!(all.iter().rfind(|snapshot| snapshot.builds.contains(entity)).is_none_or(stays));
        }
        prop_assert!(all.iter().filter(|snapshot| base.contains(&snapshot.run)).all(stays));
    }

    /// So that an interrupted prune, or one every day, ends where one ends.
    #[test]
    fn twice_is_once(policy in policies(), all in snapshots()) {
        let once = kept(&policy, &all);
        let rest: Vec<_> = all.into_iter().filter(|snapshot| once.contains(&snapshot.run)).collect();
        prop_assert_eq!(kept(&policy, &rest), once);
    }

    #[test]
    fn a_larger_number_keeps_no_less(numbers in proptest::array::uniform5(0..6_u32), rule in 0..5_usize, all in snapshots()) {
        let few = kept(&Policy::Rules(numbers), &all);
        let mut more = numbers;
        more[rule] += 1;
        prop_assert!(kept(&Policy::Rules(more), &all).is_superset(&few));
        prop_assert_eq!(kept(&Policy::All, &all).len(), all.len());
    }

    #[test]
    fn a_rule_keeps_as_many_as_it_says(numbers in proptest::array::uniform5(0..6_u32), all in snapshots()) {
        let judged = judge(&Policy::Rules(numbers), &all, &BTreeSet::new(), &TimeZone::UTC);
        for ((span, _), number) in SPANS.into_iter().zip(numbers) {
            let there: BTreeSet<String> = all.iter().map(|snapshot| match span {
                Span::Last => snapshot.run.to_string(),
                Span::Daily => snapshot.started.strftime("%F").to_string(),
                Span::Weekly => snapshot.started.strftime("%G-%V").to_string(),
                Span::Monthly => snapshot.started.strftime("%Y-%m").to_string(),
                Span::Yearly => snapshot.started.strftime("%Y").to_string(),
            }).collect();
            let of_span = |reason: &&Reason| matches!(reason, Reason::Rule(of, _) if *of == span);
            let count = judged.iter().filter(|judged| judged.reasons.iter().any(|reason| of_span(&reason))).count();
            prop_assert_eq!(count, there.len().min(number as usize), "{:?}", span);
        }
    }

    #[test]
    fn what_is_printed_is_read_again(policy in policies()) {
        prop_assume!(policy != Policy::Rules([0; SPANS.len()]));
        prop_assert_eq!(policy.to_string().parse(), Ok(policy));
    }
}
