//! A page that is served: its store, its Redis, a simulated Tempo, and people of every kind.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use axum::http::{HeaderMap, Method, StatusCode, header};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_fleet::testing::RedisServer;
use fermata_vault::{Identity, InitOptions, Vault};
use reqwest::RequestBuilder;
use serde_json::json;
use tempfile::TempDir;
use tempo_sim::{Sim, TokenSpec};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Dashboard, Global};
use crate::commands::fleet;
use crate::config::{Config, LogFormat};
use crate::dashboard::access::person::{Role, Via};
use crate::dashboard::access::secrets::{Digest, api_key};
use crate::dashboard::access::sessions::Session;
use crate::dashboard::routes::{API, Route};
use crate::dashboard::{Shared, now, open, serve};
use crate::out::Out;
use crate::probes::Health;

/// The tenant that people of limited sight see.
pub(crate) const MINE: &str = "acme";
/// The one that they do not.
pub(crate) const OTHERS: &str = "bolt";
/// A token that no other text holds.
pub(crate) const TEMPO_TOKEN: &str = "s3cr3t-AbCdEfGhIjKlMnOpQrStUvWxYz-0123456789";
/// A password that no other text holds.
pub(crate) const PASSWORD: &str = "correct horse battery";

const PEOPLE: [(&str, Role, Option<&str>); 5] = [
    ("vera", Role::Viewer, None),
    ("olga", Role::Operator, None),
    ("adam", Role::Admin, None),
    ("nils", Role::Viewer, Some(MINE)),
    ("amy", Role::Admin, Some(MINE)),
];

/// As whom a request is sent, and with what else.
#[derive(Clone, Debug, Default)]
pub(crate) struct As {
    pub(crate) cookie: Option<String>,
    pub(crate) csrf: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) site: Option<&'static str>,
    pub(crate) origin: Option<String>,
    /// What is sent as Tempo's token, if not the good one.
    pub(crate) token: Option<String>,
}

pub(crate) struct House {
    pub(crate) app: Shared,
    /// The page's address, with a slash at its end.
    pub(crate) url: String,
    pub(crate) folder: TempDir,
    redis: RedisServer,
    sim: Sim,
    keys: BTreeMap<&'static str, String>,
    runs: BTreeMap<&'static str, RunId>,
    http: reqwest::Client,
}

impl House {
    pub(crate) async fn new() -> Self {
        let mut spec = TokenSpec::full(1);
        TEMPO_TOKEN.clone_into(&mut spec.token);
        let sim = Sim::builder().worklogs(10).rate(0.0).token(spec).start().await.unwrap();
        let folder = TempDir::new().unwrap();
        let redis = RedisServer::start(folder.path(), &[]);
        let mut keys = BTreeMap::new();
        let mut users = String::new();
        for (name, role, tenant) in PEOPLE {
            let key = api_key();
            let tenants = tenant.map(|tenant| format!("tenants = [\"{tenant}\"]\n")).unwrap_or_default();
            let key_digest = Digest::of(&key);
            let entry = [
                format!("[users.{name}]\nrole = \"{}\"", role.name()),
                format!("{tenants}api_key = \"{key_digest}\"\n"),
            ];
            users.push_str(&entry.join("\n"));
            keys.insert(name, key);
        }
        std::fs::write(folder.path().join("users.toml"), users).unwrap();
        let global = Global {
            store: Some(folder.path().join("store").display().to_string()),
            redis: Some(redis.url()),
            ..Global::default()
        };
        let config = Config::load(&global, LevelFilter::ERROR).unwrap();
        fill(&config, sim.base_url()).await;
        let (app, url) = serve_on_loopback(&config, folder.path()).await;
        let mut runs = BTreeMap::new();
        let producer = fleet::producer(app.vault.clone(), app.queue.clone().unwrap());
        for name in [MINE, OTHERS] {
            let tenant: Tenant = name.parse().unwrap();
            let enqueued = producer.enqueue(&tenant, Wish::default()).await.unwrap();
            app.board.look(&app.vault, &tenant).await;
            runs.insert(name, enqueued.run);
        }
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app, url, folder, redis, sim, keys, runs, http }
    }

    /// Somebody who has signed in, in their browser.
    pub(crate) fn session(&self, name: &str) -> As {
        let access = &self.app.access;
        let users = access.users.as_ref().unwrap().users();
        let standing = users.user(name).unwrap().standing.clone();
        let session = Session {
            name: name.to_owned(),
            via: Via::Password,
            standing,
            groups: Vec::new(),
            password: None,
        };
        let cookie = access.begin(&HeaderMap::new(), session, IpAddr::V4(Ipv4Addr::LOCALHOST), now());
        let cookie = cookie.split_once(';').unwrap().0.to_owned();
        let (_, csrf) = access.sessions.get(cookie.split_once('=').unwrap().1, true, now()).unwrap();
        As { cookie: Some(cookie), csrf: Some(csrf), site: Some("same-origin"), ..As::default() }
    }

    /// Somebody's program.
    pub(crate) fn key(&self, name: &str) -> As {
        As { key: Some(self.key_text(name)), ..As::default() }
    }

    pub(crate) fn key_text(&self, name: &str) -> String {
        self.keys[name].clone()
    }

    /// A browser that sends all that it may, and has not signed in.
    pub(crate) fn stranger(&self) -> As {
        let As { cookie, csrf, .. } = self.session("adam");
        let (name, _) = cookie.as_deref().unwrap().split_once('=').unwrap();
        As { cookie: Some(format!("{name}=guess")), csrf, site: Some("same-origin"), ..As::default() }
    }

    pub(crate) fn ask(&self, method: Method, path: &str, asks: &As) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{}", self.url, path.trim_start_matches('/')));
        let headers = [
            (header::COOKIE.as_str(), asks.cookie.clone()),
            (header::AUTHORIZATION.as_str(), asks.key.as_ref().map(|key| format!("Bearer {key}"))),
            ("sec-fetch-site", asks.site.map(str::to_owned)),
            (header::ORIGIN.as_str(), asks.origin.clone()),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request
    }

    pub(crate) async fn get(&self, path: &str, asks: &As) -> (StatusCode, String) {
        answered(self.ask(Method::GET, path, asks)).await
    }

    /// Asks what a route is for, of a tenant, with all that it takes.
    pub(crate) async fn send(&self, route: &Route, tenant: &str, asks: &As) -> (StatusCode, String) {
        let run = self.runs[tenant].as_str();
        let path =
            route.path.replace("{tenant}", tenant).replace("{run}", run).replace("{entity}", "worklogs");
        let path = path.replace("{id}", "1").replace("{file}", "app.css");
        let request = self.ask(route.method.clone(), &path, asks);
        let token = asks.token.as_deref().unwrap_or(TEMPO_TOKEN);
        let (first, second) = (format!("{tenant}/{run}/teams"), format!("{tenant}/{run}/accounts"));
        if route.method.is_safe() {
            answered(request).await
        } else if route.path.starts_with(API) {
            let body = match route.path.strip_prefix(API).unwrap_or_default() {
                "/tenants" => json!({"tenant": "zeta", "name": "Zeta"}),
                "/tenants/{tenant}" if route.method == Method::PATCH => json!({"name": "Forged"}),
                "/tenants/{tenant}/token" if route.method == Method::PUT => json!({"token": token}),
                "/actions" => json!({"action": "discard", "jobs": [second], "reason": "forged"}),
                "/queue/pause" | "/queue/resume" => json!({"reason": "forged"}),
                _ => json!({}),
            };
            let csrf = asks.csrf.clone().unwrap_or_default();
            answered(
                request
                    .header("x-csrf-token", csrf)
                    .header("content-type", "application/json")
                    .body(body.to_string()),
            )
            .await
        } else {
            let mut fields = vec![("csrf", asks.csrf.as_deref().unwrap_or_default())];
            match route.path {
                "/actions" => fields.extend([("action", "discard"), ("job", &first), ("reason", "forged")]),
                "/tenants" => {
                    fields.extend([("tenant", "yota"), ("base_url", self.sim.base_url()), ("rate", "5")]);
                }
                _ => fields.extend([
                    ("reason", "forged"),
                    ("token", token),
                    ("confirm", tenant),
                    ("name", "Forged"),
                    ("base_url", self.sim.base_url()),
                    ("rate", "4"),
                ]),
            }
            let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
            answered(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
        }
    }

    /// Every object of the store and every key of Redis.
    pub(crate) async fn state(&self) -> BTreeMap<String, Vec<u8>> {
        let mut state = BTreeMap::new();
        collect(&self.folder.path().join("store"), &mut state);
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut line = client.get_multiplexed_async_connection().await.unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut line).await.unwrap();
        for key in keys {
            let value = redis::cmd("DUMP").arg(&key).query_async(&mut line).await.unwrap();
            state.insert(format!("redis {key}"), value);
        }
        state
    }
}

/// Makes the vault, with two tenants and their tokens.
async fn fill(config: &Config, base_url: &str) {
    let identity = Identity::generate();
    let store = fermata_vault::create(&config.store, &config.clouds).unwrap();
    let recipients = vec![identity.recipient()];
    let options = InitOptions {
        worker: identity.recipient(),
        data_recipients: recipients,
        single_writer: false,
        now: now(),
    };
    let vault = Vault::init(store, options).await.unwrap();
    for (name, title) in [(MINE, "My name"), (OTHERS, "The others' name")] {
        let tenant: Tenant = name.parse().unwrap();
        let mut settings = Settings::new(tenant.clone(), now());
        settings.name = Some(title.to_owned());
        base_url.clone_into(&mut settings.base_url);
        settings.token = Some(vault.seal_token(&tenant, &TEMPO_TOKEN.into(), now(), None));
        vault.save_settings(settings, now()).await.unwrap();
    }
}

async fn serve_on_loopback(config: &Config, folder: &Path) -> (Shared, String) {
    let asked = Dashboard {
        listen: "127.0.0.1:0".parse().unwrap(),
        users: Some(folder.join("users.toml")),
        data_key: None,
        probes: None,
        refresh: 60,
    };
    let stop = CancellationToken::new();
    let (app, listener) = open(&asked, config, Out::new(false, true, LogFormat::Text), &stop).await.unwrap();
    let url = app.access.home().to_owned();
    let served = app.clone();
    tokio::spawn(async move { serve(listener, served, &stop, &Health::default()).await });
    (app, url)
}

async fn answered(request: RequestBuilder) -> (StatusCode, String) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    // What an event stream says never ends; that it began is enough.
    let streams = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    (status, if streams { String::new() } else { answer.text().await.unwrap() })
}

fn collect(folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, into);
        } else {
            into.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
}
