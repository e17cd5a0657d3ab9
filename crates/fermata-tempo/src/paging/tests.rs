use fermata_core::catalogue::entity;

use super::*;

const BEGAN: &str = "2026-03-01T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn today() -> Date {
    "2026-03-01".parse().unwrap()
}

fn read(name: &str) -> &'static Read {
    &entity(name).unwrap().reads[0]
}

fn meta(next: Option<&str>, limit: Option<u64>) -> Meta {
    Meta { next: next.map(str::to_owned), limit, ..Meta::default() }
}

fn shown(rows: u64, meta: &Meta) -> Shown<'_> {
    Shown {
        since: None,
        rows,
        news: rows,
        first_known: true,
        first_met: true,
        changed: None,
        first_day: None,
        meta,
        path: "/4/teams",
        limit: 100,
        began: at(BEGAN),
        known_rows: rows,
        reread_rows: 0,
    }
}

fn offset(offset: u64, pass: u32, news: bool) -> Place {
    Place::Offset { offset, pass, news }
}

fn step(name: &str, place: &Place, shown: &Shown) -> Result<Option<Place>, PagingError> {
    advance(read(name), place, today(), true, shown).map(|step| step.next)
}

#[test]
fn one_page_is_the_list() {
    assert_eq!(step("teams", &Place::Start, &shown(7, &meta(None, Some(100)))), Ok(None));
    assert_eq!(step("roles", &Place::Start, &shown(7, &Meta::default())), Ok(None));
}

#[test]
fn a_list_that_should_come_whole_and_does_not_is_read_on() {
    let more = meta(Some("https://api.tempo.io/4/roles?offset=50"), None);
    let shown = Shown { path: "/4/roles", limit: 1, ..shown(50, &more) };
    assert_eq!(step("roles", &Place::Start, &shown), Ok(Some(offset(49, 0, true))));
    let request = request(read("roles"), &offset(49, 0, true), &Values::default(), 0, None);
    assert_eq!(request.query, [("offset".to_owned(), "49".to_owned())]);
}

#[test]
fn pages_overlap_and_the_list_is_read_again() {
    let more = meta(Some("https://api.tempo.io/4/teams?limit=100&offset=100"), Some(100));
    let last = meta(None, Some(100));
    assert_eq!(step("teams", &Place::Start, &shown(100, &more)), Ok(Some(offset(95, 0, true))));
    // The end of the first pass starts the second; the second ends it all when it brought nothing.
    assert_eq!(step("teams", &offset(95, 0, true), &shown(9, &last)), Ok(Some(offset(0, 1, false))));
    let quiet = Shown { news: 0, ..shown(9, &last) };
    assert_eq!(step("teams", &offset(95, 1, false), &quiet), Ok(None));
    assert_eq!(step("teams", &offset(95, 1, true), &quiet), Ok(Some(offset(0, 2, false))));
    let step = advance(read("teams"), &offset(95, 4, true), today(), true, &quiet).unwrap();
    assert!(step.next.is_none() && step.unsettled, "and after some passes it is taken as it is");
}

#[test]
fn a_page_that_does_not_join_the_one_before_goes_back() {
    let more = meta(Some("https://api.tempo.io/4/teams?offset=195"), Some(100));
    let torn = Shown { first_met: false, ..shown(100, &more) };
    assert_eq!(step("teams", &offset(95, 0, true), &torn), Ok(Some(offset(45, 0, true))));
    let last = meta(None, Some(100));
    let torn_last = Shown { first_met: false, ..shown(9, &last) };
    assert_eq!(
        step("teams", &offset(95, 0, true), &torn_last),
        Ok(Some(offset(45, 0, true))),
        "the last too"
    );
    let shrunk = Shown { rows: 0, news: 0, known_rows: 100, ..shown(9, &last) };
    assert_eq!(step("teams", &offset(95, 0, true), &shrunk), Ok(Some(offset(45, 0, true))), "rows went");
    let hidden = Shown { reread_rows: 100, ..shrunk };
    assert_eq!(
        step("teams", &offset(95, 0, true), &hidden),
        Ok(Some(offset(0, 1, false))),
        "believed at last"
    );
    let empty = Shown { rows: 0, news: 0, ..torn };
    assert_eq!(
        step("teams", &offset(95, 0, true), &empty),
        Ok(Some(offset(195, 0, true))),
        "nothing to join"
    );
}

#[test]
fn a_link_passes_over_no_row() {
    let far = meta(Some("https://api.tempo.io/4/teams?offset=18446744073709551615"), Some(100));
    assert_eq!(step("teams", &Place::Start, &shown(100, &far)), Ok(Some(offset(95, 0, true))));
}

#[test]
fn rows_that_are_read_again_and_again_end() {
    let more = meta(Some("https://api.tempo.io/4/teams?offset=200"), Some(100));
    let rereads = |rows| Shown { known_rows: 150, reread_rows: rows, ..shown(100, &more) };
    assert!(step("teams", &offset(100, 0, true), &rereads(5_000)).is_ok());
    assert_eq!(step("teams", &offset(100, 0, true), &rereads(5_001)), Err(PagingError::Stuck));
}

#[test]
fn a_smaller_limit_is_believed() {
    let clamped = meta(None, Some(50));
    assert_eq!(
        step("workload-scheme-members", &Place::Start, &shown(50, &clamped)),
        Ok(Some(offset(48, 0, true)))
    );
    assert_eq!(step("workload-scheme-members", &Place::Start, &shown(49, &clamped)), Ok(None));
}

#[test]
fn links_are_hints_and_never_addresses() {
    let check = |next: &str, expect| {
        let meta = meta(Some(next), Some(100));
        assert_eq!(step("teams", &Place::Start, &shown(100, &meta)), expect, "{next}");
    };
    check("https://evil.example/4/teams?offset=100&x=1", Ok(Some(offset(95, 0, true))));
    check("", Ok(Some(offset(95, 0, true))));
    check("https://api.tempo.io/4/accounts?offset=100", Err(PagingError::ForeignLink));
    check("not a link", Err(PagingError::ForeignLink));
    check("https://api.tempo.io/4/teams?offset=0", Err(PagingError::Stuck));
    check("https://api.tempo.io/4/teams", Err(PagingError::NoOffset));
}

#[test]
fn a_list_without_end_is_noticed() {
    let more = meta(Some("https://api.tempo.io/4/teams?offset=99999"), Some(100));
    let same = Shown { news: 0, known_rows: 100, ..shown(100, &more) };
    assert!(step("teams", &offset(10_100, 0, true), &same).is_ok());
    assert_eq!(step("teams", &offset(10_101, 0, true), &same), Err(PagingError::Stuck));
}

#[test]
fn tokens_lead_on_until_there_is_none() {
    let token = |text: &str| Place::Token { token: text.to_owned(), idle: 0 };
    let next = |text: &str| Meta { next_page_token: Some(text.to_owned()), ..Meta::default() };
    assert_eq!(step("audit-events", &Place::Start, &shown(100, &next("a"))), Ok(Some(token("a"))));
    assert_eq!(step("audit-events", &token("a"), &shown(100, &next("a"))), Err(PagingError::Stuck));
    assert_eq!(step("audit-events", &token("a"), &shown(100, &next(""))), Ok(None));
    assert_eq!(step("audit-events", &token("a"), &shown(3, &Meta::default())), Ok(None));
    let idle = |idle| Place::Token { token: "a".to_owned(), idle };
    let after = |place: &Place, rows| step("audit-events", place, &shown(rows, &next("b")));
    assert_eq!(after(&idle(99), 0), Ok(Some(Place::Token { token: "b".to_owned(), idle: 100 })));
    assert_eq!(after(&idle(99), 1), Ok(Some(token_b())), "a row ends the drought");
    assert_eq!(after(&idle(100), 0), Err(PagingError::Stuck));
}

fn token_b() -> Place {
    Place::Token { token: "b".to_owned(), idle: 0 }
}

fn changes_after(
    since: Option<&str>,
    offset: u64,
    changed: &[&str],
    known: bool,
) -> Result<Option<Place>, PagingError> {
    let place = since.map_or(Place::Start, |since| Place::Changes { since: at(since), offset });
    let changed: Vec<_> = changed.iter().map(|time| at(time)).collect();
    let meta = meta(None, None);
    let rows = changed.len() as u64;
    let shown = Shown {
        changed: Some(&changed),
        limit: 4,
        first_known: known,
        path: "/4/worklogs/search",
        ..shown(rows, &meta)
    };
    step("worklogs", &place, &shown)
}

#[test]
fn worklogs_move_on_with_their_last_change() {
    let full =
        ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"];
    let place = |since: &str, offset| Ok(Some(Place::Changes { since: at(since), offset }));
    assert_eq!(changes_after(None, 0, &full, true), place("2026-01-03T23:59:59Z", 0));
    assert_eq!(changes_after(None, 0, &full[..3], true), Ok(None), "a short page is the last");
    assert_eq!(changes_after(None, 0, &[], true), Ok(None));
    let closing = Place::Closing { since: at("2026-03-01T11:50:00Z"), offset: 0, pass: 0, news: false };
    let last = changes_after(Some("2026-01-03T23:59:59Z"), 0, &full[3..], true);
    assert_eq!(last, Ok(Some(closing)), "what came to light late is read at the end");
}

#[test]
fn more_rows_than_a_page_in_one_second_are_read_by_offset() {
    let bulk = ["2026-01-04T00:00:00Z"; 4];
    let since = "2026-01-03T23:59:59Z";
    let place = |offset| Ok(Some(Place::Changes { since: at(since), offset }));
    assert_eq!(changes_after(Some(since), 0, &bulk, false), place(3), "three of four, and one again");
    assert_eq!(changes_after(Some(since), 3, &bulk, true), place(6));
    assert_eq!(changes_after(Some(since), 6, &bulk, false), place(4), "rows were lost: back by half a page");
    let leaving = [bulk[0], bulk[0], "2026-01-05T00:00:00Z", "2026-01-06T00:00:00Z"];
    let expect = Ok(Some(Place::Changes { since: at("2026-01-05T23:59:59Z"), offset: 0 }));
    assert_eq!(changes_after(Some(since), 6, &leaving, true), expect);
    let next_second = [bulk[0], bulk[0], bulk[0], "2026-01-04T00:00:01Z"];
    let at_start = changes_after(Some("2026-01-03T00:00:00Z"), 6, &next_second, true);
    let stays = Place::Changes { since: at("2026-01-03T00:00:00Z"), offset: 9 };
    assert_eq!(at_start, Ok(Some(stays)), "rows of the first second may lie before this page");
}

#[test]
fn what_the_closing_read_shows_again_is_remembered() {
    let remembered = |last: &str| {
        let changed = [at("2026-01-01T00:00:00Z"), at(last)];
        let meta = meta(Some("https://api.tempo.io/4/worklogs/search?offset=2"), None);
        let shown =
            Shown { changed: Some(&changed), path: "/4/worklogs/search", limit: 2, ..shown(2, &meta) };
        advance(read("worklogs"), &Place::Start, today(), true, &shown).unwrap().remember
    };
    assert_eq!(remembered("2026-03-01T11:49:59Z"), Remember::Last(1));
    assert_eq!(remembered("2026-03-01T11:50:00Z"), Remember::All, "ten minutes before the scan began");
}

#[test]
fn worklogs_out_of_order_are_not_read_on() {
    let back = ["2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z"];
    assert_eq!(changes_after(None, 0, &back, true), Err(PagingError::Unordered));
    let early = ["2026-01-01T00:00:00Z"; 4];
    assert_eq!(changes_after(Some("2026-01-02T00:00:00Z"), 0, &early, true), Err(PagingError::Unordered));
}

fn days_after(place: &Place, rows: u64) -> Place {
    let read = &entity("worklogs").unwrap().fallback.unwrap().reads[0];
    let meta = Meta::default();
    let shown =
        Shown { first_day: Some("2020-05-01".parse().unwrap()), path: "/4/worklogs", ..shown(rows, &meta) };
    advance(read, place, today(), true, &shown).unwrap().next.unwrap()
}

#[test]
fn windows_of_days_fit_a_page() {
    let place =
        |from: &str, days, open, offset| Place::Days { from: from.parse().unwrap(), days, open, offset };
    let days = |from: &str, days, offset| place(from, days, false, offset);
    assert_eq!(days_after(&Place::Start, 1), days("2020-05-01", 32, 0));
    assert_eq!(
        days_after(&days("2020-05-01", 32, 0), 100),
        days("2020-05-01", 16, 0),
        "a full one is halved"
    );
    assert_eq!(days_after(&days("2020-05-01", 16, 0), 60), days("2020-05-17", 16, 0));
    assert_eq!(
        days_after(&days("2020-05-01", 16, 0), 3),
        days("2020-05-17", 32, 0),
        "a sparse one is doubled"
    );
    assert_eq!(days_after(&days("2020-05-01", 1, 0), 100), days("2020-05-01", 1, 95), "one day: by offset");
    let closing = Place::Closing { since: at("2026-03-01T11:50:00Z"), offset: 0, pass: 0, news: false };
    let open = |from: &str, days| place(from, days, true, 0);
    assert_eq!(
        days_after(&days("2026-02-01", 16, 0), 60),
        open("2026-02-17", 16),
        "the last takes in the future"
    );
    assert_eq!(days_after(&open("2026-02-17", 16), 60), closing);
    assert_eq!(
        days_after(&open("2026-02-17", 16), 100),
        days("2026-02-17", 16, 0),
        "or is closed when it is full"
    );
    assert_eq!(
        days_after(&days("2026-02-17", 16, 0), 3),
        open("2026-03-05", 32),
        "and the rest is tried again"
    );
}

#[test]
fn requests_say_where_in_the_list() {
    let ask = |name: &str, place: &Place| {
        let request = request(read(name), place, &Values::default(), 100, None);
        let query: Vec<_> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (query.join("&"), request.body.map(|body| body.to_string()).unwrap_or_default())
    };
    assert_eq!(ask("teams", &Place::Start), ("limit=100&offset=0".into(), String::new()));
    let place = Place::Changes { since: at("2026-01-03T23:59:59Z"), offset: 0 };
    let body = r#"{"orderBy":[{"field":"UPDATED","order":"ASC"},{"field":"ID","order":"ASC"}],"updatedFrom":"2026-01-03T23:59:59Z"}"#;
    assert_eq!(ask("worklogs", &place), ("limit=100&offset=0".into(), body.into()));
    assert_eq!(ask("generic-resources", &offset(100, 0, true)).1, r#"{"limit":100,"offset":100}"#);
    let place = Place::Token { token: "a b".into(), idle: 0 };
    assert_eq!(ask("audit-events", &place).0, "limit=100&nextPageToken=a b");
}
