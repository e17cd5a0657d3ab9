//! Answers that no honest server gives. Each ends in a clear reason or a right snapshot, soon, and spoils
//! nothing but its own entity; the token goes nowhere else.

use std::sync::Arc;
use std::time::Duration;

use fermata_core::manifest::{EntryStatus, Manifest, Status};

use crate::rogue::{Asked, Reply, Rogue};
use crate::site::{Place, Records, entry, only};

const TOKEN: &str = "token-that-must-not-leave";
/// A hostile answer costs at most so many requests.
const REQUESTS_MAX: usize = 400;
/// And so much time.
const TIME_MAX: Duration = Duration::from_secs(9);

/// The longest time between two pieces of an answer, and for a whole one.
const PATIENT: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(6)];
const HURRIED: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(80)];

/// What became of the entity under attack.
struct Ended {
    manifest: Manifest,
    records: Records,
    asked: Vec<Asked>,
}

/// How an attack may end.
enum Expect {
    /// Complete, with so many records.
    Complete(u64),
    /// Not complete, with a reason that says this and at least so many records.
    Gap(&'static str, u64),
}
use Expect::{Complete, Gap};

/// One row of `roles`, `teams` and their like.
fn row(id: impl std::fmt::Display) -> String {
    format!(r#"{{"id":{id},"name":"n"}}"#)
}

fn rows(ids: impl IntoIterator<Item = u64>) -> String {
    ids.into_iter().map(row).collect::<Vec<_>>().join(",")
}

/// A page with these rows and this link.
fn page(rows: &str, next: Option<String>) -> Reply {
    let next = next.map(|next| format!(r#","next":"{next}""#)).unwrap_or_default();
    Reply::Json(format!(r#"{{"self":"x","metadata":{{"limit":50{next}}},"results":[{rows}]}}"#))
}

/// An honest page of a list of so many rows.
fn honest(asked: &Asked, total: u64) -> Reply {
    let offset = asked.offset();
    let end = (offset + 50).min(total);
    let next = (end < total).then(|| format!("https://api.tempo.io{}?offset={end}&limit=50", asked.path));
    page(&rows(offset.min(end)..end), next)
}

/// Backs up `entity`, which is answered with `attack`, and `customers`, which is answered honestly.
async fn attack(
    [read, total]: [Duration; 2],
    entity: &str,
    path: &'static str,
    attack: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> Ended {
    let rogue = Rogue::start(move |asked| match asked.path.as_str() {
        "/4/customers" => honest(asked, 70),
        asked_path if asked_path == path => attack(asked),
        _ => Reply::Raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()),
    })
    .await;
    let mut place = Place::new(&rogue.base_url(), TOKEN).await;
    place.wish = only(&[entity, "customers"]);
    place.engine.client.read_timeout = read;
    place.engine.client.total_timeout = total;
    let report = tokio::time::timeout(TIME_MAX, place.backup())
        .await
        .unwrap_or_else(|_| panic!("{entity}: no end after {} requests", rogue.asked().len()))
        .unwrap();
    let manifest = place.sealed(&report).await;
    let records = place.whole(&manifest).await.unwrap();
    let asked = rogue.asked();
    assert!(asked.len() < REQUESTS_MAX, "{entity}: {} requests", asked.len());
    for request in &asked {
        // The last is asked when nothing else is answered, to see whether Tempo is there at all.
        let known = [path, "/4/customers", "/4/work-attributes"];
        assert!(known.contains(&request.path.as_str()), "{entity}: asked {}", request.path);
    }
    assert_eq!(records["customers"].len(), 70);
    assert_eq!(entry(&manifest, "customers").status, EntryStatus::Complete);
    for (key, bytes) in place.objects().await {
        let found = bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        assert!(!found, "{entity}: {key} holds the token");
    }
    Ended { manifest, records, asked }
}

async fn check(
    name: &str,
    entity: &str,
    path: &'static str,
    answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    expect: Expect,
) -> Ended {
    let ended = attack(PATIENT, entity, path, answer).await;
    judge(name, entity, &ended, &expect);
    ended
}

fn judge(name: &str, entity: &str, ended: &Ended, expect: &Expect) {
    let entry = entry(&ended.manifest, entity);
    let reason = entry.reason.as_deref().unwrap_or_default();
    match *expect {
        Complete(records) => {
            assert_eq!((entry.status, entry.records), (EntryStatus::Complete, records), "{name}: {reason}");
        }
        Gap(why, kept) => {
            assert!(
                entry.status.is_gap(),
                "{name}: it is called {:?} with {} records",
                entry.status,
                entry.records
            );
            assert_eq!(ended.manifest.status, Status::Partial, "{name}");
            assert!(reason.contains(why), "{name}: {reason:?} does not say {why:?}");
            assert!(entry.records >= kept, "{name}: {} of {kept} records are kept", entry.records);
            assert!(reason.len() < 4096, "{name}: {} bytes of reason", reason.len());
        }
    }
}

async fn roles(
    name: &str,
    answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    expect: Expect,
) -> Ended {
    check(name, "roles", "/4/roles", answer, expect).await
}

async fn teams(
    name: &str,
    answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    expect: Expect,
) -> Ended {
    check(name, "teams", "/4/teams", answer, expect).await
}

#[expect(clippy::unnecessary_wraps, reason = "what a page takes")]
fn link(offset: impl std::fmt::Display) -> Option<String> {
    Some(format!("https://api.tempo.io/4/teams?limit=50&offset={offset}"))
}

#[tokio::test]
async fn links_that_lead_nowhere() {
    const STUCK: &str = "does not advance";
    teams("to itself", |asked| page(&rows(0..50), link(asked.offset())), Gap(STUCK, 0)).await;
    let there_and_back = |asked: &Asked| match asked.offset() {
        0 => page(&rows(0..50), link(50)),
        offset => page(&rows(offset..offset + 50), link(0)),
    };
    teams("there and back", there_and_back, Gap(STUCK, 50)).await;
    teams(
        "no offset",
        |_| page(&rows(0..50), Some("https://api.tempo.io/4/teams?limit=50".into())),
        Gap("no offset", 0),
    )
    .await;
    teams("no address", |_| page(&rows(0..50), Some("../../etc".into())), Gap("another path", 0)).await;
    let far_away = |far: &'static str| {
        move |asked: &Asked| {
            let (start, end) = (asked.offset().min(130), (asked.offset().min(130) + 50).min(130));
            page(&rows(start..end), if end < 130 { link(far) } else { None })
        }
    };
    teams("no number", far_away("18446744073709551616"), Gap("no offset", 0)).await;
    teams("below zero", far_away("-1"), Gap("no offset", 0)).await;
    teams("the highest", far_away("18446744073709551615"), Complete(130)).await;
    teams("far away", far_away("9999999999999"), Complete(130)).await;
}

#[tokio::test]
async fn links_that_skip_rows() {
    // It says that the next page is the one after the next.
    let skips = |asked: &Asked| match asked.offset() {
        offset if offset + 50 < 200 => page(&rows(offset..offset + 50), link(offset + 100)),
        offset => page(&rows(offset..200), None),
    };
    teams("skips a page", skips, Complete(200)).await;
}

#[tokio::test]
async fn links_to_another_host_are_not_followed() {
    let elsewhere = Arc::new(Rogue::start(|_| page("", None)).await);
    let host = elsewhere.base_url();
    let same_path = move |asked: &Asked| {
        let end = (asked.offset() + 50).min(120);
        let next = (end < 120).then(|| format!("{host}/4/teams?offset={end}&limit=50"));
        page(&rows(asked.offset()..end), next)
    };
    teams("another host", same_path, Complete(120)).await;
    let host = elsewhere.base_url();
    let other_path = move |_: &Asked| page(&rows(0..50), Some(format!("{host}/4/stolen?offset=50")));
    teams("another path", other_path, Gap("another path", 0)).await;
    for (status, name) in [(301, "301"), (302, "302"), (303, "303"), (307, "307"), (308, "308")] {
        let host = elsewhere.base_url();
        let redirect = move |_: &Asked| {
            let head =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {host}/4/roles\r\nContent-Length: 0\r\n\r\n");
            Reply::Raw(head.into_bytes())
        };
        let ended = roles(name, redirect, Gap(name, 0)).await;
        assert_eq!(ended.asked.iter().filter(|asked| asked.path == "/4/roles").count(), 1, "{name}");
    }
    let host = elsewhere.base_url();
    let refresh = move |_: &Asked| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nRefresh: 0; url={host}/x\r\nLocation: {host}/x\r\nContent-Length: 14\r\n\r\n"
        );
        Reply::Raw([head.as_bytes(), br#"{"results":[]}"#].concat())
    };
    roles("refresh", refresh, Complete(0)).await;
    let asked = elsewhere.asked();
    assert!(
        asked.is_empty(),
        "{} requests left for another host, the first {:?}",
        asked.len(),
        asked.first()
    );
}

/// The check above can see a token that leaves: where it does go, it is seen.
#[tokio::test]
async fn the_token_is_in_every_request() {
    let ended = roles("honest", |asked| honest(asked, 3), Complete(3)).await;
    assert!(ended.asked.iter().all(|asked| asked.head.contains(&format!("authorization: bearer {TOKEN}"))));
}

#[tokio::test]
async fn tokens_that_go_round() {
    let token = |rows: &str, next: &str| {
        Reply::Json(format!(r#"{{"metadata":{{"limit":1000,"nextPageToken":"{next}"}},"results":[{rows}]}}"#))
    };
    let next = |asked: &Asked| match asked.query.get("nextPageToken").map(String::as_str) {
        Some("a") => "b",
        _ => "a",
    };
    let path = "/4/papertrail/search";
    let itself = move |_: &Asked| token(&row(1), "same");
    check("to itself", "audit-events", path, itself, Gap("does not advance", 1)).await;
    let cycle = move |asked: &Asked| token(&row(format!("\"{}\"", next(asked))), next(asked));
    check("a, b, a", "audit-events", path, cycle, Gap("does not advance", 2)).await;
    let empty_cycle = move |asked: &Asked| token("", next(asked));
    check("a, b, a without rows", "audit-events", path, empty_cycle, Gap("does not advance", 0)).await;
    let endless = move |asked: &Asked| token("", &format!("t{}", asked.nth));
    check("ever new, never rows", "audit-events", path, endless, Gap("does not advance", 0)).await;
}

#[tokio::test]
async fn pages_without_rows_for_ever() {
    let next = |asked: &Asked| {
        Some(format!("https://api.tempo.io{}?limit=50&offset={}", asked.path, asked.offset() + 50))
    };
    teams("from the start", move |asked| page("", next(asked)), Gap("does not advance", 0)).await;
    let after_one = move |asked: &Asked| match asked.offset() {
        0 => page(&rows(0..50), next(asked)),
        _ => page("", next(asked)),
    };
    teams("after one page", after_one, Gap("does not advance", 50)).await;
    let worklogs =
        |name, answer| check(name, "worklogs", "/4/worklogs/search", answer, Gap("does not advance", 0));
    worklogs("worklogs", move |asked: &Asked| page("", next(asked))).await;
}

#[tokio::test]
async fn a_page_without_rows_is_not_the_end() {
    let next = |asked: &Asked| {
        Some(format!("https://api.tempo.io{}?limit=50&offset={}", asked.path, asked.offset() + 50))
    };
    let once = move |asked: &Asked| match asked.nth {
        2 => page("", next(asked)),
        _ => honest(asked, 130),
    };
    teams("lists", once, Complete(130)).await;
    let worklog =
        |id: u64| format!(r#"{{"tempoWorklogId":{id},"updatedAt":"2026-01-{:02}T00:00:00Z"}}"#, id / 10 + 1);
    let changes = move |asked: &Asked, empty: usize| {
        let from = asked.body["updatedFrom"].as_str().map_or(0, |from| {
            let day: u64 = from[8..10].parse().unwrap();
            if from[11..] == *"00:00:00Z" { (day - 1) * 10 } else { day * 10 }
        });
        let start = from + asked.offset();
        let end = (start + 50).min(130);
        let rows = (start..end).map(worklog).collect::<Vec<_>>().join(",");
        page(if asked.nth == empty { "" } else { &rows }, if end < 130 { next(asked) } else { None })
    };
    for empty in [1, 2, 99] {
        let name = format!("worklogs, the {empty}th");
        let answer = move |asked: &Asked| changes(asked, empty);
        check(&name, "worklogs", "/4/worklogs/search", answer, Complete(130)).await;
    }
}

#[tokio::test]
async fn the_same_page_for_ever() {
    let next = |asked: &Asked| link(asked.offset() + 50);
    teams("the same rows", move |asked| page(&rows(0..50), next(asked)), Gap("does not advance", 50)).await;
    // Its rows differ at each reading, so that none is ever known to the byte.
    let restless = |asked: &Asked, total: u64| {
        let end = (asked.offset() + 50).min(total);
        let row = |id| format!(r#"{{"id":{id},"seen":{}}}"#, asked.nth);
        let rows = (asked.offset()..end).map(row).collect::<Vec<_>>().join(",");
        page(&rows, if end < total { link(end) } else { None })
    };
    let ended = teams("restless rows", move |asked| restless(asked, 230), Complete(230)).await;
    assert!(entry(&ended.manifest, "teams").warnings[0].contains("kept changing"));
    let stuck = move |asked: &Asked| {
        let row = |id| format!(r#"{{"id":{id},"seen":{}}}"#, asked.nth);
        page(&(0..50).map(row).collect::<Vec<_>>().join(","), link(asked.offset() + 50))
    };
    teams("the same rows, restless", stuck, Gap("does not advance", 50)).await;
    let one_second = |asked: &Asked| {
        let end = (asked.offset() + 50).min(130);
        let row = |id| {
            format!(r#"{{"tempoWorklogId":{id},"updatedAt":"2026-01-04T00:00:00Z","seen":{}}}"#, asked.nth)
        };
        page(
            &(asked.offset()..end).map(row).collect::<Vec<_>>().join(","),
            (end < 130).then(|| format!("https://api.tempo.io/4/worklogs/search?offset={end}")),
        )
    };
    check("worklogs, restless", "worklogs", "/4/worklogs/search", one_second, Gap("does not advance", 50))
        .await;
}

#[tokio::test]
async fn bodies_that_are_no_page() {
    for (name, body) in [
        ("nothing", &b""[..]),
        ("white space", b"   "),
        ("html", b"<!doctype html><html><body>We will be back soon</body></html>"),
        ("null", b"null"),
        ("an array", b"[]"),
        ("no results", br#"{"metadata":{}}"#),
        ("results object", br#"{"results":{"a":1}}"#),
        ("results null", br#"{"results":null}"#),
        ("metadata text", br#"{"metadata":"x","results":[]}"#),
        ("limit text", br#"{"metadata":{"limit":"50"},"results":[]}"#),
        ("limit below zero", br#"{"metadata":{"limit":-1},"results":[]}"#),
        ("next number", br#"{"metadata":{"next":7},"results":[]}"#),
        ("numbers", br#"{"results":[1,2]}"#),
        ("nulls", br#"{"results":[null]}"#),
        ("nested arrays", br#"{"results":[[]]}"#),
        ("cut", br#"{"results":[{"id":1},{"id":2"#),
        ("two documents", br#"{"results":[]}{"results":[]}"#),
        ("not UTF-8", b"{\"results\":[{\"id\":1,\"name\":\"\xff\xfe\"}]}"),
        ("a lone surrogate's bytes", b"{\"results\":[{\"id\":1,\"name\":\"\xed\xa0\x80\"}]}"),
        ("byte order mark", b"\xef\xbb\xbf{\"results\":[]}"),
        ("control characters", b"{\"results\":[{\"id\":1,\"name\":\"\x01\"}]}"),
    ] {
        roles(name, move |_| Reply::Bytes("", body.to_vec()), Gap("HTTP 200, but", 0)).await;
    }
}

#[tokio::test]
async fn answers_that_break_off() {
    for (name, headers, body, why) in [
        ("cut", "Content-Length: 900\r\n", &br#"{"results":[{"id":1},"#[..], "broke off"),
        ("cut chunks", "Transfer-Encoding: chunked\r\n", b"20\r\n{\"results\":[", "broke off"),
        ("bad chunks", "Transfer-Encoding: chunked\r\n", b"zz\r\n{\"results\":[]}\r\n0\r\n\r\n", "broke off"),
        ("not gzip", "Content-Encoding: gzip\r\n", br#"{"results":[]}"#, "broke off"),
        ("unknown coding", "Content-Encoding: br\r\n", b"\x0b\x02\x80", "HTTP 200, but"),
    ] {
        roles(name, move |_| Reply::Bytes(headers, body.to_vec()), Gap(why, 0)).await;
    }
    let garbage = |_: &Asked| Reply::Raw(b"SSH-2.0-OpenSSH_9.9\r\n".to_vec());
    roles("another protocol", garbage, Gap("broke off", 0)).await;
    roles("no answer", |_| Reply::Raw(Vec::new()), Gap("broke off", 0)).await;
    let flood = |_: &Asked| Reply::Raw([&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'a'; 2 << 20]].concat());
    roles("headers without end", flood, Gap("broke off", 0)).await;
}

#[tokio::test]
async fn answers_that_take_for_ever() {
    let ended = attack(HURRIED, "roles", "/4/roles", |_| Reply::Hang).await;
    judge("nothing comes", "roles", &ended, &Gap("no answer in time", 0));
    let ended = attack(HURRIED, "roles", "/4/roles", |_| Reply::Trickle).await;
    judge("a byte now and then", "roles", &ended, &Gap("no answer in time", 0));
}

#[tokio::test]
async fn answers_without_end() {
    teams("nested for ever", |_| Reply::Endless(b"["), Gap("larger than 32 MiB", 0)).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_asked_for_in_smaller_parts() {
    let heavy = |asked: &Asked| {
        let limit = asked.number("limit").unwrap();
        let row = |id: u64| format!(r#"{{"id":{id},"text":"{}"}}"#, "x".repeat(100_000));
        let end = (asked.offset() + limit).min(400);
        let rows = (asked.offset()..end).map(row).collect::<Vec<_>>().join(",");
        let next = (end < 400).then(|| format!("https://api.tempo.io/4/teams?offset={end}&limit={limit}"));
        let next = next.map(|next| format!(r#","next":"{next}""#)).unwrap_or_default();
        Reply::Json(format!(r#"{{"metadata":{{"limit":{limit}{next}}},"results":[{rows}]}}"#))
    };
    teams("40 MB of teams", heavy, Complete(400)).await;
}

#[tokio::test]
async fn deep_nesting_is_a_record_like_any_other() {
    let deep = |_: &Asked| {
        let nested = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
        page(&format!(r#"{{"id":1,"a":{nested}}},{{"id":2}}"#), None)
    };
    roles("nested and closed", deep, Complete(2)).await;
}

#[tokio::test]
async fn ids_of_every_kind() {
    let of = |ids: &[&str]| {
        let rows = ids.iter().enumerate().map(|(at, id)| format!(r#"{{"id":{id},"at":{at}}}"#));
        let rows = rows.collect::<Vec<_>>().join(",");
        move |_: &Asked| page(&rows, None)
    };
    let different = [
        "1",
        "-1",
        "1.5",
        "\"1\"",
        "\"\"",
        "12345678901234567890123",
        "18446744073709551615",
        "true",
        "[1]",
        "{}",
    ];
    roles("different", of(&different), Complete(10)).await;
    let ended = roles("null and absent", of(&["null", "null", "null", "3"]), Complete(4)).await;
    assert!(entry(&ended.manifest, "roles").warnings[0].contains("3 records without id"));
    let ended = roles("twice on a page", of(&["7", "8", "7"]), Complete(2)).await;
    assert!(ended.records["roles"].iter().any(|line| line.contains(r#""at":2"#)), "the later form counts");
    let across = |asked: &Asked| match asked.offset() {
        0 => page(&rows(0..50), link(50)),
        // It gives a row of the first page again, in another form.
        offset => page(&format!("{},{}", rows(offset..80), r#"{"id":3,"name":"again"}"#), None),
    };
    teams("twice across pages", across, Complete(80)).await;
    let strings = |asked: &Asked| {
        let end = (asked.offset() + 50).min(120);
        let rows = (asked.offset()..end).map(|id| row(format!("\"k{id}\""))).collect::<Vec<_>>().join(",");
        page(&rows, if end < 120 { link(end) } else { None })
    };
    teams("texts across pages", strings, Complete(120)).await;
    let nameless = |asked: &Asked| {
        let end = (asked.offset() + 50).min(120);
        let rows = (asked.offset()..end).map(|n| format!(r#"{{"n":{n}}}"#)).collect::<Vec<_>>().join(",");
        page(&rows, if end < 120 { link(end) } else { None })
    };
    let ended = attack(PATIENT, "teams", "/4/teams", nameless).await;
    let mut found = ended.records["teams"].clone();
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 120, "none is lost");
}

#[tokio::test]
async fn statuses_that_nobody_documents() {
    let status = |status: &'static str| {
        move |_: &Asked| Reply::Raw(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes())
    };
    roles("204", status("204 No Content"), Gap("HTTP 204", 0)).await;
    roles("206", status("206 Partial Content"), Gap("HTTP 206", 0)).await;
    roles("201", status("201 Created"), Gap("HTTP 201", 0)).await;
    roles("300", status("300 Multiple Choices"), Gap("HTTP 300", 0)).await;
    roles("304", status("304 Not Modified"), Gap("HTTP 304", 0)).await;
    roles("402", status("402 Payment Required"), Gap("HTTP 402", 0)).await;
    roles("410", status("410 Gone"), Gap("HTTP 410", 0)).await;
    roles("418", status("418 I'm a teapot"), Gap("HTTP 418", 0)).await;
    roles("451", status("451 Unavailable For Legal Reasons"), Gap("HTTP 451", 0)).await;
    roles("599", status("599 What"), Gap("HTTP 599", 0)).await;
    roles("999", status("999 What"), Gap("HTTP 999", 0)).await;
}

/// A limit that is refused is lowered; one that is refused at any height ends.
#[tokio::test]
async fn limits_that_are_refused() {
    let refusal = |most: u64| {
        move |asked: &Asked| {
            let body = r#"{"errors":[{"message":"The parameter 'limit' must be at most 100"}]}"#;
            if asked.number("limit").unwrap() > most {
                let head =
                    format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                return Reply::Raw(head.into_bytes());
            }
            honest(asked, 120)
        }
    };
    teams("above 100", refusal(100), Complete(120)).await;
    teams("always", refusal(0), Gap("HTTP 400", 0)).await;
}

#[tokio::test]
async fn an_error_that_repeats_the_token_is_kept_without_it() {
    let echo = |asked: &Asked| {
        let body =
            format!(r#"{{"errors":[{{"message":"bad header: {}"}}]}}"#, asked.head.replace("\r\n", " "));
        Reply::Raw(
            format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        )
    };
    let ended = roles("echo", echo, Gap("bad header", 0)).await;
    assert!(!format!("{:?}", ended.manifest).contains(TOKEN));
}
