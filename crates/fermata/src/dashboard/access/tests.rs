//! Whoever forges requests: every route of the table, as everybody who may not, against a real store and a real Redis.

mod house;
mod signing_in;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::{Method, StatusCode, header};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use self::house::{As, House, MINE, OTHERS, TEMPO_TOKEN};
use crate::dashboard::access::Role;
use crate::dashboard::routes::{self, Need, Route};

fn needs_more_than(route: &Route, role: Role) -> bool {
    matches!(route.need, Need::Role(need) if need > role)
}

fn acts(route: &Route) -> bool {
    !route.method.is_safe()
}

/// What of the store and of Redis is otherwise than it was.
fn difference(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

#[tokio::test]
async fn whoever_may_not_changes_nothing() {
    let house = House::new().await;
    let before = house.state().await;
    let mut forged = 0;
    for (name, role) in [("vera", Role::Viewer), ("olga", Role::Operator)] {
        for (how, asks) in [("session", house.session(name)), ("key", house.key(name))] {
            for route in routes::table().iter().filter(|route| needs_more_than(route, role)) {
                let (status, _) = house.send(route, MINE, &asks).await;
                let what = format!("{name} by {how}: {} {}", route.method, route.path);
                assert_eq!(status, StatusCode::FORBIDDEN, "{what}");
                forged += 1;
            }
        }
    }
    assert!(forged > 40, "{forged}");
    assert_eq!(difference(&before, &house.state().await), [] as [&str; 0]);
    // The same requests of somebody who may do all that, or all this would prove nothing.
    let admin = house.session("adam");
    let mut idle = Vec::new();
    let mut table = routes::table();
    // Of a tenant that is removed nothing else can be changed.
    table.sort_by_key(|route| route.method == Method::DELETE && route.path.ends_with("{tenant}"));
    for route in table.iter().filter(|route| acts(route) && needs_more_than(route, Role::Viewer)) {
        let before = house.state().await;
        // The pages remove one tenant, and the API the other.
        let is_api = route.path.starts_with(routes::API) || route.path.starts_with("/actions");
        let (status, _) = house.send(route, if is_api { OTHERS } else { MINE }, &admin).await;
        if difference(&before, &house.state().await).is_empty() {
            idle.push(format!("{} {} {}", route.method, route.path, status.as_u16()));
        }
    }
    // There is no snapshot here, no worker and nothing under way.
    let nothing_there = |what: &String| {
        what.ends_with(" 404")
            && ["snapshots/{run}", "{worker}", "actions/{id}"].iter().any(|part| what.contains(part))
    };
    idle.retain(|what| !nothing_there(what));
    assert_eq!(idle, [] as [&str; 0]);
}

#[tokio::test]
async fn whoever_has_not_signed_in_gets_nowhere() {
    let house = House::new().await;
    let before = house.state().await;
    let strangers = [As::default(), As { key: Some("fmk_x".to_owned()), ..As::default() }, house.stranger()];
    for asks in &strangers {
        for route in routes::table().iter().filter(|route| route.need != Need::Public) {
            let (status, body) = house.send(route, MINE, asks).await;
            let what = format!("{} {}: {status} {body}", route.method, route.path);
            let is_page = route.method == Method::GET && !route.path.starts_with(routes::API);
            let expect: &[_] = match (is_page, route.path) {
                (_, "/events") | (false, _) => &[StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS],
                (true, _) => &[StatusCode::SEE_OTHER],
            };
            // A key is no browser's, which would be sent to sign in; and many that are wrong are not looked at any more.
            let is_key = asks.key.is_some() && status == StatusCode::TOO_MANY_REQUESTS;
            assert!(expect.contains(&status) || is_key, "{what}");
            assert!(!body.contains(MINE), "{what}");
        }
    }
    assert_eq!(difference(&before, &house.state().await), [] as [&str; 0]);
}

#[tokio::test]
async fn whoever_is_limited_sees_and_touches_no_others() {
    let house = House::new().await;
    // Something of the others that lists could tell.
    let admin = house.session("adam");
    for route in routes::table().iter().filter(|route| acts(route) && route.path == "/actions") {
        house.send(route, OTHERS, &admin).await;
    }
    let before = house.state().await;
    for name in ["nils", "amy"] {
        for asks in [house.session(name), house.key(name)] {
            for route in &routes::table() {
                if route.need == Need::Public || route.path == "/sign-out" || route.path == "/events" {
                    continue;
                }
                let (status, body) = house.send(route, OTHERS, &asks).await;
                let what = format!("{name}: {} {}: {status}", route.method, route.path);
                if route.path.contains("{tenant}") {
                    let hidden =
                        status == StatusCode::NOT_FOUND || status == StatusCode::FORBIDDEN && name == "nils";
                    assert!(hidden, "{what}\n{body}");
                } else if acts(route) {
                    assert!(status.is_client_error(), "{what}\n{body}");
                } else {
                    // What they asked for they know; what comes besides is the leak.
                    assert!(!body.contains("The others' name"), "{what}\n{body}");
                    assert!(!body.contains(&format!("{OTHERS}/")), "{what}\n{body}");
                }
            }
        }
    }
    assert_eq!(difference(&before, &house.state().await), [] as [&str; 0]);
    let (status, body) = house.get("/api/v1/tenants", &house.key("nils")).await;
    assert!(status == StatusCode::OK && body.contains(MINE) && !body.contains(OTHERS), "{body}");
}

#[tokio::test]
async fn a_form_that_is_not_from_here_is_refused() {
    let house = House::new().await;
    let admin = house.session("adam");
    let other = house.session("adam");
    let before = house.state().await;
    let own = house.url.trim_end_matches('/').to_owned();
    let ways = [
        ("no token", As { csrf: None, ..admin.clone() }),
        ("another session's token", As { csrf: other.csrf.clone(), ..admin.clone() }),
        ("another site", As { site: Some("cross-site"), ..admin.clone() }),
        ("a neighbour", As { site: Some("same-site"), ..admin.clone() }),
        (
            "another site, by Origin",
            As { site: None, origin: Some("https://example.com".to_owned()), ..admin.clone() },
        ),
        ("an opaque Origin", As { site: None, origin: Some("null".to_owned()), ..admin.clone() }),
        ("neither", As { site: None, ..admin.clone() }),
        (
            "Origin and Sec-Fetch-Site at odds",
            As { site: Some("cross-site"), origin: Some(own.clone()), ..admin.clone() },
        ),
    ];
    for (way, asks) in &ways {
        for route in routes::table().iter().filter(|route| acts(route) && route.need != Need::Public) {
            let (status, _) = house.send(route, MINE, asks).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{way}: {} {}", route.method, route.path);
        }
    }
    assert_eq!(difference(&before, &house.state().await), [] as [&str; 0]);
    let by_origin = As { site: None, origin: Some(own), ..admin };
    let pause = routes::table().into_iter().find(|route| route.path == "/tenants/{tenant}/pause").unwrap();
    assert_eq!(house.send(&pause, MINE, &by_origin).await.0, StatusCode::SEE_OTHER);
}

/// The log, as the program writes it at its loudest.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_token_never_comes_back() {
    let log = Log::default();
    let writer = log.clone();
    let filter = Targets::new().with_target("fermata", LevelFilter::TRACE).with_default(LevelFilter::WARN);
    let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
    let _logging = tracing_subscriber::registry().with(filter).with(layer).set_default();
    let house = House::new().await;
    let admin = house.session("adam");
    let mut answers = Vec::new();
    let stores = |route: &&Route| acts(route) && route.path.ends_with("/token");
    for (tenant, route) in [MINE, OTHERS].iter().zip(routes::table().iter().filter(stores)) {
        let (status, body) = house.send(route, tenant, &admin).await;
        assert!(
            status.is_success() || status == StatusCode::SEE_OTHER,
            "{} {}: {status} {body}",
            route.method,
            route.path
        );
        answers.push((route.path.to_owned(), body));
    }
    assert_eq!(answers.len(), 2);
    // One that Tempo refuses, and one that is no token at all, are spoken of, too.
    for token in ["wrong-XyZ-token-0123456789", "two words of wrong-XyZ"] {
        let asks = As { token: Some(token.to_owned()), ..admin.clone() };
        for route in routes::table().iter().filter(stores) {
            answers.push((route.path.to_owned(), house.send(route, MINE, &asks).await.1));
        }
    }
    for route in routes::table().iter().filter(|route| route.method == Method::GET && route.path != "/events")
    {
        answers.push((route.path.to_owned(), house.send(route, MINE, &admin).await.1));
    }
    let mut places: Vec<(String, Vec<u8>)> =
        answers.into_iter().map(|(path, body)| (format!("answer of {path}"), body.into_bytes())).collect();
    places.extend(house.state().await);
    let said = log.0.lock().unwrap().clone();
    assert!(!said.is_empty());
    places.push(("log".to_owned(), said));
    let secrets = [
        TEMPO_TOKEN.to_owned(),
        "wrong-XyZ".to_owned(),
        admin.cookie.clone().unwrap(),
        house.key_text("adam"),
    ];
    for (place, bytes) in &places {
        let text = String::from_utf8_lossy(bytes);
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} in {place}: {text}");
        }
    }
    let log = String::from_utf8_lossy(&places.last().unwrap().1).into_owned();
    assert!(!log.contains(&admin.csrf.unwrap()) && log.contains("adam"), "{log}");
}

#[tokio::test]
async fn every_answer_carries_its_headers() {
    let house = House::new().await;
    let admin = house.session("adam");
    for path in [
        "/",
        "/sign-in",
        "/assets/app.js",
        "/api/v1/tenants",
        "/nowhere",
        "/tenants/nobody",
        "/api/v1/nowhere",
    ] {
        let headers = house.ask(Method::GET, path, &admin).send().await.unwrap().headers().clone();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
            "{path}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        let cached = if path.starts_with("/assets") { "no-cache" } else { "no-store" };
        assert_eq!(headers[header::CACHE_CONTROL], cached, "{path}");
    }
}
