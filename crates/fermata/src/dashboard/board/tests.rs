use fermata_core::settings::Token;

use super::*;

/// A Tuesday, at noon.
const NOW: &str = "2026-11-24T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A tenant that was backed up this night, as it was due.
fn row() -> Row {
    let tenant: Tenant = "acme".parse().unwrap();
    let started: Timestamp = "2026-11-24T02:30:00Z".parse().unwrap();
    let token = Token {
        sealed: String::new(),
        fingerprint: "6db8a6af".to_owned(),
        stored: Timestamp::UNIX_EPOCH,
        stored_by: None,
        expires: None,
        refused: None,
        checked: None,
    };
    let settings = Settings {
        token: Some(token),
        schedule: Some("30 2 * * *".to_owned()),
        ..Settings::new(tenant.clone(), Timestamp::UNIX_EPOCH)
    };
    let last = Last {
        lost: Vec::new(),
        run: RunId::new(started, "000000").unwrap(),
        started,
        sealed: started,
        status: Status::Complete,
        records: 10,
        stored: 10,
        requests: 1,
        gaps: Vec::new(),
        suspects: Vec::new(),
    };
    let newest = Some(last.run.clone());
    Row {
        tenant,
        settings: Ok(Arc::new(settings)),
        last: Some(Arc::new(last)),
        newest,
        unfinished: None,
        trouble: None,
    }
}

fn settings(row: &mut Row) -> &mut Settings {
    Arc::get_mut(row.settings.as_mut().unwrap()).unwrap()
}

fn token(row: &mut Row) -> &mut Token {
    settings(row).token.as_mut().unwrap()
}

fn last(row: &mut Row) -> &mut Last {
    Arc::get_mut(row.last.as_mut().unwrap()).unwrap()
}

fn gap(failed: bool) -> Gap {
    Gap { entity: "teams".to_owned(), failed, reason: "HTTP 403".to_owned() }
}

#[test]
fn how_a_tenant_is() {
    let check = |change: &dyn Fn(&mut Row), expect: Health, why: Option<&str>| {
        let mut row = row();
        change(&mut row);
        assert_eq!((row.health(now()), row.why(now()).as_deref()), (expect, why), "{row:?}");
    };
    check(&|_| {}, Health::Good, None);
    check(&|row| row.settings = Err("it is damaged".to_owned()), Health::Unreadable, Some("it is damaged"));
    check(&|row| row.trouble = Some("no answer".to_owned()), Health::Unreadable, Some("no answer"));
    check(&|row| settings(row).token = None, Health::NoToken, None);
    check(
        &|row| token(row).refused = Some(now() - SignedDuration::from_hours(3)),
        Health::Refused,
        Some("Tempo refuses it since 3.0 h ago"),
    );
    let expires = |day: &'static str| move |row: &mut Row| token(row).expires = Some(day.parse().unwrap());
    check(&expires("2026-11-23"), Health::Expired, Some("on 2026-11-23"));
    check(&expires("2026-11-24"), Health::Expiring, Some("today"));
    check(&expires("2026-11-25"), Health::Expiring, Some("in 1 day"));
    check(&expires("2026-12-08"), Health::Expiring, Some("in 14 days"));
    check(&expires("2026-12-09"), Health::Good, None);
    check(&|row| last(row).gaps = vec![gap(false)], Health::Partial, Some("1 entity is missing"));
    check(&|row| last(row).gaps = vec![gap(false), gap(true)], Health::Failing, Some("teams"));
    let suspect = |row: &mut Row| {
        last(row).status = Status::Suspect;
        last(row).suspects = vec!["worklogs".to_owned()];
    };
    check(&suspect, Health::Suspect, Some("worklogs came back too small"));
    let accepted = |row: &mut Row| {
        suspect(row);
        settings(row).accepted = row.newest.clone();
    };
    check(&accepted, Health::Good, None);
    check(
        &|row| {
            row.last = None;
            token(row).stored = now();
        },
        Health::Never,
        None,
    );
    let unfinished = |began: &'static str| {
        move |row: &mut Row| row.unfinished = Some(RunId::new(began.parse().unwrap(), "000001").unwrap())
    };
    check(&unfinished("2026-11-24T02:30:00Z"), Health::Running, None);
    // One that nobody is at any more hides nothing.
    check(&unfinished("2026-11-23T02:30:00Z"), Health::Good, None);
    let interrupted = |row: &mut Row| {
        last(row).started = "2026-11-22T02:30:00Z".parse().unwrap();
        unfinished("2026-11-23T02:30:00Z")(row);
    };
    check(&interrupted, Health::Overdue, Some("a run was interrupted 33.5 h ago"));
    let never_begun = |row: &mut Row| row.last = None;
    check(&never_begun, Health::Overdue, Some("no backup was ever begun"));
    check(
        &|row| {
            never_begun(row);
            token(row).stored = now();
            expires("2026-11-25")(row);
        },
        Health::Expiring,
        Some("in 1 day"),
    );
    check(&|row| settings(row).paused = true, Health::Paused, None);
}

#[test]
fn what_is_graver_does_not_hide_that_a_backup_is_overdue() {
    let check = |change: &dyn Fn(&mut Row), expect: bool| {
        let mut row = row();
        last(&mut row).started = "2026-11-22T02:30:00Z".parse().unwrap();
        change(&mut row);
        assert_eq!(row.is_overdue(now()), expect, "{row:?}");
    };
    check(&|_| {}, true);
    check(&|row| last(row).gaps.push(gap(true)), true);
    check(&|row| last(row).status = Status::Suspect, true);
    check(&|row| token(row).refused = Some(now()), false);
    check(&|row| settings(row).paused = true, false);
    check(&|row| settings(row).token = None, false);
    check(&|row| last(row).started = "2026-11-24T02:30:00Z".parse().unwrap(), false);
}

#[test]
fn when_a_backup_is_overdue() {
    let check = |at: &str, schedule: Option<&str>, expect: Health| {
        let mut row = row();
        settings(&mut row).schedule = schedule.map(str::to_owned);
        assert_eq!(row.health(at.parse().unwrap()), expect, "{at} {schedule:?}");
    };
    // Due again at half past two, and given six hours.
    check("2026-11-25T08:29:00Z", Some("30 2 * * *"), Health::Good);
    check("2026-11-25T08:31:00Z", Some("30 2 * * *"), Health::Overdue);
    check("2026-12-24T00:00:00Z", Some("0 0 1 1 *"), Health::Good);
    check("2026-11-26T02:29:00Z", None, Health::Good);
    check("2026-11-26T02:31:00Z", None, Health::Overdue);
    // One who got a schedule only now has missed nothing yet.
    let mut row = row();
    settings(&mut row).saved = "2026-11-25T07:00:00Z".parse().unwrap();
    assert_eq!(row.health("2026-11-25T09:00:00Z".parse().unwrap()), Health::Good);
    settings(&mut row).saved = "2026-11-26T07:00:00Z".parse().unwrap();
    assert_eq!(row.health("2026-11-26T09:00:00Z".parse().unwrap()), Health::Overdue);
}
