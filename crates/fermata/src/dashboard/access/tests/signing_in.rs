//! Signing in and out, as a browser does it.

use axum::http::{HeaderMap, Method, StatusCode, header};
use reqwest::Response;

use super::house::{As, House, PASSWORD};
use crate::dashboard::access::edit::Draft;
use crate::dashboard::access::password::PasswordHash;
use crate::dashboard::access::person::{Role, Standing};

impl House {
    fn edit(&self, change: impl FnOnce(&mut Draft)) {
        let (mut draft, _) = Draft::open(&self.folder.path().join("users.toml")).unwrap();
        change(&mut draft);
        draft.save().unwrap();
    }

    async fn sign_in(&self, name: &str, password: &str, asks: &As) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("name", name), ("password", password), ("next", "/jobs?state=dead")])
            .finish();
        let request = self.ask(Method::POST, "/sign-in", asks);
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.unwrap()
    }
}

fn browser() -> As {
    As { site: Some("same-origin"), ..As::default() }
}

fn cookie(headers: &HeaderMap) -> String {
    headers[header::SET_COOKIE].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_password_signs_in_until_its_person_signs_out() {
    let house = House::new().await;
    house.edit(|draft| draft.set_password("vera", Some(&PasswordHash::make(&PASSWORD.into()))));
    let answer = house.sign_in("vera", PASSWORD, &browser()).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[header::LOCATION], "/jobs?state=dead");
    let set = cookie(answer.headers());
    assert!(
        set.contains("; HttpOnly") && set.contains("; SameSite=Strict") && set.contains("; Path=/"),
        "{set}"
    );
    let asks = As { cookie: Some(set.split_once(';').unwrap().0.to_owned()), ..browser() };
    let (status, page) = house.get("/", &asks).await;
    assert!(status == StatusCode::OK && page.contains("vera"), "{page}");
    // Signing in again ends the session that was there.
    let again = house.sign_in("vera", PASSWORD, &asks).await;
    assert_eq!(house.get("/", &asks).await.0, StatusCode::SEE_OTHER);
    let asks =
        As { cookie: Some(cookie(again.headers()).split_once(';').unwrap().0.to_owned()), ..browser() };
    let (_, page) = house.get("/", &asks).await;
    let csrf = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let out = house.ask(Method::POST, "/sign-out", &asks).header("x-csrf-token", csrf).send().await.unwrap();
    assert!(out.status() == StatusCode::SEE_OTHER && cookie(out.headers()).contains("Max-Age=0"));
    assert_eq!(house.get("/", &asks).await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_is_wrong_is_not_told_and_tries_run_out() {
    let house = House::new().await;
    house.edit(|draft| draft.set_password("vera", Some(&PasswordHash::make(&PASSWORD.into()))));
    let mut pages = Vec::new();
    for (name, password) in [("vera", "wrong horse battery"), ("nobody", PASSWORD), ("olga", PASSWORD)] {
        let answer = house.sign_in(name, password, &browser()).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert!(answer.headers().get(header::SET_COOKIE).is_none());
        pages.push(answer.text().await.unwrap().replace(name, "NAME"));
    }
    assert!(
        pages[0].contains("Name or password is wrong") && pages.iter().all(|page| *page == pages[0]),
        "{pages:#?}"
    );
    // From another site, or nowhere, not even the right one counts.
    for asks in [As::default(), As { site: Some("cross-site"), ..As::default() }] {
        let answer = house.sign_in("vera", PASSWORD, &asks).await;
        assert!(
            answer.status() == StatusCode::FORBIDDEN && answer.headers().get(header::SET_COOKIE).is_none()
        );
    }
    let mut refused = 0;
    while house.sign_in("vera", "wrong horse battery", &browser()).await.status()
        != StatusCode::TOO_MANY_REQUESTS
    {
        refused += 1;
        assert!(refused < 10);
    }
    assert_eq!(house.sign_in("vera", PASSWORD, &browser()).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

type Edit<'a> = &'a dyn Fn(&mut Draft);

#[tokio::test]
async fn whoever_may_do_something_else_is_signed_out() {
    let house = House::new().await;
    let standing = |role| Standing { role, tenants: None };
    let changes: [(&str, Edit<'_>); 4] = [
        ("a lower role", &|draft| draft.set_standing("olga", &standing(Role::Viewer))),
        ("a higher role", &|draft| draft.set_standing("olga", &standing(Role::Admin))),
        ("a password", &|draft| draft.set_password("olga", Some(&PasswordHash::make(&PASSWORD.into())))),
        ("taken out", &|draft| draft.remove("olga")),
    ];
    for (what, change) in changes {
        let (olga, vera) = (house.session("olga"), house.session("vera"));
        house.edit(|draft| draft.set_password("olga", None));
        assert_eq!(house.get("/", &olga).await.0, StatusCode::OK, "{what}");
        house.edit(change);
        assert_eq!(house.get("/", &olga).await.0, StatusCode::SEE_OTHER, "{what}");
        assert_eq!(house.get("/", &vera).await.0, StatusCode::OK, "{what}");
    }
    let key = house.key("olga");
    assert_eq!(house.get("/api/v1/tenants", &key).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_name_that_somebody_else_has_point_here_is_not_answered() {
    let house = House::new().await;
    let admin = house.session("adam");
    let asked = async |host: &str| {
        house.ask(Method::GET, "/", &admin).header(header::HOST, host).send().await.unwrap().status()
    };
    for host in ["localhost", "localhost:1", "127.0.0.1:8480", "[::1]:8480"] {
        assert_eq!(asked(host).await, StatusCode::OK, "{host}");
    }
    for host in ["example.com", "127.0.0.1.example.com", "localhost.example.com:8480"] {
        assert_eq!(asked(host).await, StatusCode::MISDIRECTED_REQUEST, "{host}");
    }
}

#[tokio::test]
async fn a_link_from_elsewhere_finds_whoever_is_signed_in() {
    let house = House::new().await;
    let admin = house.session("adam");
    let follow = |asks: As| {
        house.ask(Method::GET, "/tenants/acme?x=1", &asks).header("sec-fetch-mode", "navigate").send()
    };
    // The browser keeps the cookie back, since another site leads here; the page has it ask again.
    let first = follow(As { site: Some("cross-site"), ..As::default() }).await.unwrap();
    assert_eq!(
        (first.status(), first.headers()[header::REFRESH].to_str().unwrap()),
        (StatusCode::OK, "0; url=/tenants/acme?x=1")
    );
    assert_eq!(follow(admin).await.unwrap().status(), StatusCode::OK);
    let stranger = follow(browser()).await.unwrap();
    assert_eq!(stranger.headers()[header::LOCATION], "/sign-in?next=%2Ftenants%2Facme%3Fx%3D1");
}
