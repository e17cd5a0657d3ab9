//! Against a provider on loopback, whose signatures are real and whose tokens say what a test wants.

use std::collections::HashMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::*;

const SECRET: &str = "client secret";

/// What the provider answers at the moment, and what it was asked for.
#[derive(Debug, Default)]
struct Said {
    down: bool,
    issuer: String,
    keys: Vec<Value>,
    tokens: Value,
    asked: Vec<(HashMap<String, String>, HeaderMap)>,
}

#[derive(Clone)]
struct Fake {
    url: String,
    said: Arc<Mutex<Said>>,
}

enum Key {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    fn public(&self, id: &str) -> Value {
        match self {
            Self::Ec(pair) => {
                // 0x04, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": id, "x": encode(x), "y": encode(y)})
            }
            Self::Rsa(pair) => {
                // In DER, after nine bytes of headers, the modulus; the exponent is 65537.
                let modulus = &pair.public_key().as_ref()[9..9 + 256];
                json!({"kty": "RSA", "use": "sig", "kid": id, "n": encode(modulus), "e": "AQAB"})
            }
        }
    }

    fn sign(&self, text: &str) -> String {
        let random = SystemRandom::new();
        match self {
            Self::Ec(pair) => encode(pair.sign(&random, text.as_bytes()).unwrap()),
            Self::Rsa(pair) => {
                let mut signature = vec![0; 256];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).unwrap();
                encode(signature)
            }
        }
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn token(header: &Value, claims: &Value, sign: impl FnOnce(&str) -> String) -> String {
    let text = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = sign(&text);
    format!("{text}.{signature}")
}

impl Fake {
    async fn start(key: &Key) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let said = Said { issuer: url.clone(), keys: vec![key.public("one")], ..Said::default() };
        let fake = Self { url, said: Arc::new(Mutex::new(said)) };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(async |State(fake): State<Self>| Json(json!({"keys": fake.said().keys}))))
            .route("/token", post(exchange))
            .with_state(fake.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        fake
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap()
    }

    fn oidc(&self, name: NameClaim) -> Oidc {
        let provider = Provider {
            issuer: self.url.clone(),
            client_id: "fermata".to_owned(),
            client_secret: Some(SECRET.into()),
            name,
        };
        Oidc::new(provider, "https://fermata.example.com/sign-in/oidc/callback".to_owned()).unwrap()
    }

    /// What a token of this provider says to whoever began with this nonce.
    fn claims(&self, begun: &Begun) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.url, "aud": "fermata", "sub": "u-1", "iat": now, "exp": now + 300,
            "nonce": begun.asked["nonce"], "email": "ann@example.com", "email_verified": true,
        })
    }

    fn give(&self, token: &str) {
        self.said().tokens =
            json!({"access_token": "a", "token_type": "Bearer", "expires_in": 300, "id_token": token});
    }
}

async fn configuration(State(fake): State<Fake>) -> Response {
    let said = fake.said();
    if said.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let url = &fake.url;
    Json(json!({
        "issuer": said.issuer, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
        "jwks_uri": format!("{url}/keys"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "none", "HS256"], "scopes_supported": ["openid", "groups"],
    }))
    .into_response()
}

async fn exchange(
    State(fake): State<Fake>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let mut said = fake.said();
    said.asked.push((form, headers));
    match &said.tokens {
        Value::Null => (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response(),
        tokens => Json(tokens.clone()).into_response(),
    }
}

/// A sign-in that was begun: what the provider was asked for, and the browser's cookie.
struct Begun {
    asked: HashMap<String, String>,
    cookie: String,
}

impl Begun {
    fn back(&self) -> Return {
        Return { state: self.asked["state"].clone(), code: Some("code".to_owned()), ..Return::default() }
    }
}

async fn begin(oidc: &Oidc, now: Timestamp) -> Begun {
    let (url, cookie) = oidc.begin("/tenants/acme".to_owned(), now).await.unwrap();
    let asked = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    Begun { asked, cookie }
}

/// Signs in with a token that a key of the provider signed, after `change` has had its way with what it says.
async fn sign_in(
    fake: &Fake,
    oidc: &Oidc,
    key: &Key,
    change: impl FnOnce(&mut Value),
) -> Result<(Identity, String), OidcError> {
    let now = Timestamp::now();
    let begun = begin(oidc, now).await;
    let mut claims = fake.claims(&begun);
    change(&mut claims);
    fake.give(&token(&json!({"alg": key.algorithm(), "kid": "one"}), &claims, |text| key.sign(text)));
    oidc.end(begun.back(), Some(&begun.cookie), now).await
}

#[tokio::test]
async fn a_person_comes_back_with_name_and_groups() {
    for key in [Key::ec(), Key::rsa()] {
        let fake = Fake::start(&key).await;
        let oidc = fake.oidc(NameClaim::Email);
        let change = |claims: &mut Value| claims["groups"] = json!(["ops", 5, "all"]);
        let (identity, next) = sign_in(&fake, &oidc, &key, change).await.unwrap();
        let groups = vec!["ops".to_owned(), "all".to_owned()];
        assert_eq!(identity, Identity { name: "ann@example.com".to_owned(), groups });
        assert_eq!(next, "/tenants/acme");
    }
}

#[tokio::test]
async fn what_is_asked_is_bound_to_this_sign_in() {
    let key = Key::ec();
    let fake = Fake::start(&key).await;
    let oidc = fake.oidc(NameClaim::Email);
    let begun = begin(&oidc, Timestamp::now()).await;
    let asked = |name: &str| begun.asked[name].as_str();
    assert_eq!([asked("response_type"), asked("client_id")], ["code", "fermata"]);
    assert_eq!([asked("scope"), asked("code_challenge_method")], ["openid email profile groups", "S256"]);
    fake.give(&token(&json!({"alg": "ES256"}), &fake.claims(&begun), |text| key.sign(text)));
    oidc.end(begun.back(), Some(&begun.cookie), Timestamp::now()).await.unwrap();
    let (form, headers) = fake.said().asked.pop().unwrap();
    assert_eq!(encode(sha2::Sha256::digest(&form["code_verifier"])), asked("code_challenge"));
    assert_eq!(form["redirect_uri"], "https://fermata.example.com/sign-in/oidc/callback");
    // Both halves are form-encoded before they are joined, as OAuth has it.
    let expect = format!("Basic {}", STANDARD.encode("fermata:client+secret"));
    assert_eq!(headers["authorization"], expect.as_str());
    let other = begin(&oidc, Timestamp::now()).await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(begun.asked[name], other.asked[name], "{name}");
    }
}

#[tokio::test]
async fn people_are_known_by_what_they_cannot_choose() {
    let key = Key::ec();
    let fake = Fake::start(&key).await;
    let name = async |claim, change: Value| {
        let change = |claims: &mut Value| {
            claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        };
        sign_in(&fake, &fake.oidc(claim), &key, change).await.map(|(identity, _)| identity.name)
    };
    let check = |name: Result<String, OidcError>, expect: &str| assert_eq!(name.unwrap(), expect);
    check(name(NameClaim::Email, json!({"email_verified": false})).await, "u-1");
    check(name(NameClaim::Email, json!({"email_verified": null})).await, "u-1");
    check(name(NameClaim::Email, json!({"email_verified": "true"})).await, "ann@example.com");
    check(name(NameClaim::Email, json!({"email": null, "preferred_username": "ann"})).await, "u-1");
    check(name(NameClaim::PreferredUsername, json!({"preferred_username": "ann"})).await, "ann");
    check(name(NameClaim::Subject, json!({})).await, "u-1");
    for (claim, change) in
        [(NameClaim::PreferredUsername, json!({})), (NameClaim::Subject, json!({"sub": "a\u{1b}[2J"}))]
    {
        assert!(matches!(name(claim, change).await, Err(OidcError::Unbelieved(_))));
    }
}

#[tokio::test]
async fn a_token_that_is_not_of_this_provider_for_us_of_now_is_not_believed() {
    let key = Key::ec();
    let fake = Fake::start(&key).await;
    let oidc = fake.oidc(NameClaim::Email);
    let past = Timestamp::now().as_second() - 1;
    for (member, value, words) in [
        ("nonce", json!("another"), "nonce"),
        ("nonce", json!(null), "nonce"),
        ("aud", json!("another"), "audience"),
        ("aud", json!(["fermata", "another"]), "audience"),
        ("azp", json!("another"), "audience"),
        ("exp", json!(past), "Expired"),
        ("iss", json!("https://login.example.com"), "issuer"),
    ] {
        let outcome = sign_in(&fake, &oidc, &key, |claims| claims[member] = value).await;
        let error = outcome.expect_err(member);
        assert!(matches!(error, OidcError::Unbelieved(_)) && error.to_string().contains(words), "{error}");
    }
    sign_in(&fake, &oidc, &key, |_| ()).await.unwrap();
}

type Sign<'a> = &'a dyn Fn(&str) -> String;

#[tokio::test]
async fn a_token_that_the_provider_did_not_sign_is_not_believed() {
    let (key, stranger) = (Key::ec(), Key::ec());
    let fake = Fake::start(&key).await;
    let oidc = fake.oidc(NameClaim::Email);
    let by_secret = |text: &str| {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
        encode(aws_lc_rs::hmac::sign(&key, text.as_bytes()))
    };
    let cases: [(&str, Value, Sign<'_>); 5] = [
        ("alg none", json!({"alg": "none"}), &|_| String::new()),
        ("alg none, signed", json!({"alg": "none", "kid": "one"}), &|text| key.sign(text)),
        ("the secret that both have", json!({"alg": "HS256"}), &by_secret),
        ("a stranger's key", json!({"alg": "ES256", "kid": "one"}), &|text| stranger.sign(text)),
        ("no signature", json!({"alg": "ES256", "kid": "one"}), &|_| String::new()),
    ];
    for (name, header, sign) in cases {
        let now = Timestamp::now();
        let begun = begin(&oidc, now).await;
        fake.give(&token(&header, &fake.claims(&begun), sign));
        let outcome = oidc.end(begun.back(), Some(&begun.cookie), now).await;
        assert!(matches!(outcome, Err(OidcError::Unbelieved(_))), "{name}: {outcome:?}");
    }
    let begun = begin(&oidc, Timestamp::now()).await;
    fake.said().tokens = json!({"access_token": "a", "token_type": "Bearer"});
    let outcome = oidc.end(begun.back(), Some(&begun.cookie), Timestamp::now()).await;
    assert!(outcome.unwrap_err().to_string().contains("no id token"));
}

#[tokio::test]
async fn a_sign_in_ends_once_and_where_it_was_begun() {
    let key = Key::ec();
    let fake = Fake::start(&key).await;
    let oidc = fake.oidc(NameClaim::Email);
    let now = Timestamp::now();
    let refused =
        |outcome: Result<_, OidcError>| assert!(matches!(outcome, Err(OidcError::NotBegun)), "{outcome:?}");
    // Replayed.
    let begun = begin(&oidc, now).await;
    fake.give(&token(&json!({"alg": "ES256"}), &fake.claims(&begun), |text| key.sign(text)));
    oidc.end(begun.back(), Some(&begun.cookie), now).await.unwrap();
    refused(oidc.end(begun.back(), Some(&begun.cookie), now).await);
    // By another browser, and then by its own, which is too late.
    let (one, two) = (begin(&oidc, now).await, begin(&oidc, now).await);
    refused(oidc.end(one.back(), Some(&two.cookie), now).await);
    refused(oidc.end(one.back(), Some(&one.cookie), now).await);
    refused(oidc.end(two.back(), None, now).await);
    // Never begun, and begun too long ago.
    refused(oidc.end(Return { state: "x".to_owned(), ..Return::default() }, Some(&one.cookie), now).await);
    let late = begin(&oidc, now).await;
    refused(oidc.end(late.back(), Some(&late.cookie), now + FLOW_LASTS).await);
    // The answer of another provider, and one that lets nobody in.
    let begun = begin(&oidc, now).await;
    let mixed = Return { iss: Some("https://login.example.com".to_owned()), ..begun.back() };
    assert!(matches!(oidc.end(mixed, Some(&begun.cookie), now).await, Err(OidcError::Unbelieved(_))));
    let begun = begin(&oidc, now).await;
    let denied = Return { code: None, error: Some("access_denied".to_owned()), ..begun.back() };
    let error = oidc.end(denied, Some(&begun.cookie), now).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused(why) if why == "access_denied"), "{error}");
    let begun = begin(&oidc, now).await;
    fake.said().tokens = Value::Null;
    let error = oidc.end(begun.back(), Some(&begun.cookie), now).await.unwrap_err();
    assert!(matches!(&error, OidcError::Refused(why) if why == "invalid_grant"), "{error}");
}

#[tokio::test]
async fn new_keys_are_found_and_strange_tokens_do_not_have_us_ask_for_ever() {
    let (old, new) = (Key::ec(), Key::ec());
    let fake = Fake::start(&old).await;
    let oidc = fake.oidc(NameClaim::Email);
    let now = Timestamp::now();
    let end = async |at: Timestamp| {
        let begun = begin(&oidc, at).await;
        let header = json!({"alg": "ES256", "kid": "two"});
        fake.give(&token(&header, &fake.claims(&begun), |text| new.sign(text)));
        oidc.end(begun.back(), Some(&begun.cookie), at).await
    };
    assert!(matches!(end(now).await, Err(OidcError::Unbelieved(_))));
    fake.said().keys = vec![new.public("two")];
    assert!(matches!(end(now + AGAIN / 2).await, Err(OidcError::Unbelieved(_))));
    end(now + AGAIN).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_away_is_asked_again_later() {
    let fake = Fake::start(&Key::ec()).await;
    let oidc = fake.oidc(NameClaim::Email);
    let now = Timestamp::now();
    fake.said().down = true;
    assert!(matches!(oidc.meet(now).await, Err(OidcError::Away(_))));
    fake.said().down = false;
    let error = oidc.meet(now + AGAIN / 2).await.unwrap_err().to_string();
    assert!(error.contains("again in a few seconds"), "{error}");
    oidc.meet(now + AGAIN).await.unwrap();
    // What was known holds while it is away.
    fake.said().down = true;
    oidc.meet(now + STALE * 2).await.unwrap();
    // One that calls itself otherwise is a mistake of the configuration.
    fake.said().down = false;
    fake.said().issuer = format!("{}/", fake.url);
    let error = fake.oidc(NameClaim::Email).meet(now).await.unwrap_err().to_string();
    assert!(error.contains("FERMATA_OIDC_ISSUER"), "{error}");
}
