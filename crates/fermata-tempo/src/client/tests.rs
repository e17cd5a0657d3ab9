use std::sync::Mutex;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::error::Disposition;
use crate::pace::{BoxFuture, Pace};

/// A quota that somebody else has used up.
#[derive(Debug)]
struct UsedUp;

const USED_UP_FOR: Duration = Duration::from_millis(41_200);

impl Turns for UsedUp {
    fn turn(&self) -> BoxFuture<'_, Result<(), NotNow>> {
        Box::pin(std::future::ready(Err(NotNow { pause: USED_UP_FOR })))
    }
    fn refused(&self, _retry_after: Option<Duration>) -> BoxFuture<'_, Duration> {
        unreachable!("nothing is asked")
    }
    fn accepted(&self) {
        unreachable!("nothing is asked")
    }
}

#[tokio::test]
async fn a_turn_that_is_far_away_gives_the_place_back() {
    let shared: Arc<dyn Turns> = Arc::new(UsedUp);
    let client = Client::new("http://localhost:9", &"t".into(), shared, &Options::default()).unwrap();
    let request =
        Request { method: Method::Get, segments: vec![], query: vec![], body: None, label: "/teams" };
    let mut cost = Cost::default();
    let error = client.page(&request, Records::Itself, &mut cost).await.unwrap_err();
    assert_eq!(error.to_string(), "GET /teams: the quota is used up for 42 s");
    assert_eq!(error.disposition(), Disposition::Wait(USED_UP_FOR));
    assert_eq!(cost, Cost::default());
}

#[test]
fn a_token_travels_only_over_tls_or_on_this_machine() {
    for good in
        ["https://api.tempo.io", "https://api.eu.tempo.io/", "http://127.0.0.1:8080", "http://localhost:1"]
    {
        assert!(base_url(good).is_ok(), "{good}");
    }
    for bad in
        ["", "api.tempo.io", "http://api.tempo.io", "ftp://x", "https://u:p@x", "https://x/?a=b", "file:///x"]
    {
        assert!(base_url(bad).is_err(), "{bad}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = timestamp("Sun, 01 Mar 2026 02:00:00 GMT");
    assert_eq!(now, Some("2026-03-01T02:00:00Z".parse().unwrap()));
    let check = |text, expect: Option<u64>| {
        assert_eq!(seconds(text, now), expect.map(Duration::from_secs), "{text}");
    };
    check("7", Some(7));
    check("Sun, 01 Mar 2026 02:00:30 GMT", Some(30));
    check("Sun, 01 Mar 2026 01:00:00 GMT", Some(0));
    check("soon", None);
}

/// A pace that notes what it is told.
#[derive(Debug, Default)]
struct Noted(Mutex<Vec<Option<Duration>>>);

impl Turns for Noted {
    fn turn(&self) -> BoxFuture<'_, Result<(), NotNow>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn refused(&self, retry_after: Option<Duration>) -> BoxFuture<'_, Duration> {
        self.0.lock().unwrap().push(retry_after);
        Box::pin(std::future::ready(Duration::ZERO))
    }
    fn accepted(&self) {}
}

/// Asks a Tempo that refuses once, with these headers, and then has an empty list; returns what the pace was told.
async fn told(headers: &[u8]) -> Option<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let refusal = [&b"HTTP/1.1 429 Too Many Requests\r\n"[..], headers, b"\r\n\r\n"].concat();
    let page = b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"results\":[]}".to_vec();
    tokio::spawn(async move {
        for answer in [refusal, page] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut asked).await.unwrap(), 0);
            }
            stream.write_all(&answer).await.unwrap();
        }
    });
    let (noted, options) = (Arc::new(Noted::default()), Options::default());
    let client = Client::new(&base, &"t".into(), noted.clone(), &options).unwrap();
    let request =
        Request { method: Method::Get, segments: vec![], query: vec![], body: None, label: "/teams" };
    let mut cost = Cost::default();
    client.page(&request, Records::Under("results"), &mut cost).await.unwrap();
    assert_eq!(cost, Cost { requests: 2, throttled: 1, retries: 0 });
    let told = noted.0.lock().unwrap().clone();
    assert_eq!(told.len(), 1);
    told[0]
}

fn pauses(retry_after: Option<Duration>) -> bool {
    let pause = Pace::new(5.0).refused(retry_after);
    (Duration::from_secs(1)..=Duration::from_mins(5)).contains(&pause)
}

#[tokio::test]
async fn no_retry_after_is_believed_blindly() {
    for (headers, expect) in [
        ("retry-after: 7", Some(7)),
        ("retry-after:   7  ", Some(7)),
        ("date: Sun, 01 Mar 2026 02:00:00 GMT\r\nretry-after: Sun, 01 Mar 2026 02:00:09 GMT", Some(9)),
        ("date: Sun, 01 Mar 2026 02:00:00 GMT\r\nretry-after: Sun, 01 Mar 2026 01:00:00 GMT", Some(0)),
        (
            "date: Sun, 01 Mar 2026 02:00:00 GMT\r\nretry-after: Thu, 30 Dec 9999 00:00:00 GMT",
            Some(251_629_797_600),
        ),
        ("retry-after: Sun, 01 Mar 2026 02:00:09 GMT", None),
        ("x: y", None),
        ("retry-after:", None),
        ("retry-after: -5", None),
        ("retry-after: 1.5", None),
        ("retry-after: NaN", None),
        ("retry-after: 18446744073709551615", Some(u64::MAX)),
        ("retry-after: 18446744073709551616", None),
        ("retry-after: 7, 9", None),
    ] {
        let told = told(headers.as_bytes()).await;
        assert_eq!(told, expect.map(Duration::from_secs), "{headers}");
        assert!(pauses(told), "{headers}");
    }
}

#[test]
fn whatever_retry_after_says_the_pause_is_bounded() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let value = prop_oneof![
        "[-+]?[0-9]{1,40}([.eE][0-9]{1,5})?",
        "[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,6} [0-9]{2}:[0-9]{2}:[0-9]{2} (GMT|[-+][0-9]{4})",
        "[ -~]{0,60}",
    ];
    let bytes = prop_oneof![
        4 => value.prop_map(String::into_bytes),
        1 => prop::collection::vec(prop_oneof![Just(9_u8), 32_u8..127, 128_u8..=255], 0..40),
    ];
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let law = runner.run(&bytes, |value| {
        let date = b"date: Sun, 01 Mar 2026 02:00:00 GMT\r\nretry-after: ";
        let told = runtime.block_on(told(&[&date[..], &value].concat()));
        prop_assert!(pauses(told), "{:?}", told);
        Ok(())
    });
    law.unwrap();
}
