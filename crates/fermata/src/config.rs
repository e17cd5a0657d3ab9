//! Where things are. Flags come before the environment, that before `fermata.toml`, that before defaults.
//!
//! | variable | in `fermata.toml` | what it is |
//! | --- | --- | --- |
//! | `FERMATA_STORE` | `store` | the store: a folder, `file:///path`, `s3://bucket/prefix`, `gs://...` or `az://...` |
//! | `FERMATA_KEY_FILE` | `key_file` | the age key that opens tokens, checkpoints and records |
//! | `FERMATA_RECIPIENTS` | `recipients` | public age keys to encrypt records to, with commas between |
//! | `FERMATA_REDIS` | `redis` | the queue of a fleet: `redis://[user:password@]host[:port][/db]`, `rediss://` with TLS, `redis+sentinel://host,host/master` |
//! | `FERMATA_USERS` | `users` | who may sign in on the page, and what they may do |
//! | `FERMATA_PUBLIC_URL` | `public_url` | the page's address as browsers see it, like `https://fermata.example.com` |
//! | `FERMATA_OIDC_ISSUER` | `oidc_issuer` | the identity provider's address |
//! | `FERMATA_OIDC_CLIENT_ID` | `oidc_client_id` | as what the page is registered there |
//! | `FERMATA_OIDC_CLIENT_SECRET` | `oidc_client_secret` | with what it shows that it is that |
//! | `FERMATA_OIDC_NAME` | `oidc_name` | what people are known by: `email` (the default), `preferred_username` or `sub` |
//! | `FERMATA_LOG` | `log_level` | `error`, `warn`, `info`, `debug` or `trace` |
//!
//! Besides these it picks out what each cloud's own tools read, and hands it to the vault: credentials, regions, endpoints;
//! and where traces go, which is `OTEL_EXPORTER_OTLP_ENDPOINT` and what belongs to it.

mod collector;
mod web;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fermata_vault::{Environment, Recipient};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::Global;
use crate::exit::Usage;
pub(crate) use collector::Collector;
pub(crate) use web::{NameClaim, Provider, Web};

/// The store when none is named.
const STORE: &str = "./fermata-data";
/// The key file when none is named.
const KEY_FILE: &str = "./fermata.key";
/// The configuration file when none is named; it need not be there.
const FILE: &str = "./fermata.toml";

/// What `fermata.toml` may hold, each beside the variable that comes before it.
const SETTINGS: [(&str, &str); 11] = [
    ("store", "FERMATA_STORE"),
    ("key_file", "FERMATA_KEY_FILE"),
    ("recipients", "FERMATA_RECIPIENTS"),
    ("redis", "FERMATA_REDIS"),
    ("users", "FERMATA_USERS"),
    ("public_url", "FERMATA_PUBLIC_URL"),
    ("oidc_issuer", "FERMATA_OIDC_ISSUER"),
    ("oidc_client_id", "FERMATA_OIDC_CLIENT_ID"),
    ("oidc_client_secret", "FERMATA_OIDC_CLIENT_SECRET"),
    ("oidc_name", "FERMATA_OIDC_NAME"),
    ("log_level", "FERMATA_LOG"),
];

/// Where things are.
#[derive(Debug)]
pub(crate) struct Config {
    /// The store's address.
    pub(crate) store: String,
    /// Whether that is the default.
    pub(crate) store_is_default: bool,
    /// What the environment says about clouds.
    pub(crate) clouds: Environment,
    /// The key file.
    pub(crate) key_file: PathBuf,
    /// Keys to encrypt records to; the key file's own when empty.
    pub(crate) recipients: Vec<Recipient>,
    /// The queue of a fleet, if there is one.
    redis: Option<String>,
    /// Who gives the command: user and machine, for the audit list.
    pub(crate) who: String,
    /// Who may sign in on the page, and how.
    pub(crate) web: Web,
    /// Where traces go, if anywhere.
    pub(crate) collector: Option<Collector>,
    /// The flags that name these, for a process that works in the same place.
    arguments: Vec<String>,
    /// How the log is written.
    pub(crate) log_format: LogFormat,
    /// What the log holds.
    pub(crate) log_level: LevelFilter,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n       "))]
pub(crate) struct ConfigError(Vec<String>);

impl Config {
    /// Reads it all and reports every mistake at once.
    ///
    /// `level` is what the log holds when nobody says otherwise.
    pub(crate) fn load(global: &Global, level: LevelFilter) -> Result<Self, ConfigError> {
        let loaded = Self::from(global, level, environment);
        let strangers = if global.check_config { strangers() } else { Vec::new() };
        match loaded {
            loaded if strangers.is_empty() => loaded,
            Ok(_) => Err(ConfigError(strangers)),
            Err(ConfigError(wrong)) => Err(ConfigError(wrong.into_iter().chain(strangers).collect())),
        }
    }

    /// The queue of the fleet.
    pub(crate) fn redis(&self) -> Result<&str, Usage> {
        self.redis.as_deref().ok_or_else(|| {
            Usage("there is no queue: FERMATA_REDIS (or `redis` in fermata.toml) names it, like redis://localhost:6379/0; without a fleet use `fermata backup`".to_owned())
        })
    }

    /// The queue of the fleet, where there is a fleet.
    pub(crate) fn redis_if_any(&self) -> Option<&str> {
        self.redis.as_deref()
    }

    /// The flags that lead another process to the same store.
    pub(crate) fn arguments(&self) -> Vec<String> {
        self.arguments.clone()
    }

    fn from(
        global: &Global,
        level: LevelFilter,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut wrong = Vec::new();
        let mut file = file(global.config.as_deref(), &mut wrong);
        let mut named = |flag: Option<&String>, variable: &str| {
            let in_file = file.remove(variable);
            let in_environment = || environment(variable).filter(|value| !value.is_empty());
            flag.cloned().or_else(in_environment).or(in_file)
        };
        let store = named(global.store.as_ref(), "FERMATA_STORE");
        let key_file = named(None, "FERMATA_KEY_FILE");
        let redis = named(global.redis.as_ref(), "FERMATA_REDIS");
        let recipients = named(None, "FERMATA_RECIPIENTS").unwrap_or_default();
        let log_level = named(None, "FERMATA_LOG");
        let (web, web_wrong) = Web::from(|variable| named(None, variable));
        wrong.extend(web_wrong);
        let (collector, collector_wrong) = Collector::from(&environment);
        wrong.extend(collector_wrong);
        let recipients: Vec<_> = recipients
            .split([',', ' ', '\n'])
            .filter(|text| !text.is_empty())
            .filter_map(|text| {
                text.parse().map_err(|error| wrong.push(format!("FERMATA_RECIPIENTS: {error}"))).ok()
            })
            .collect();
        let log_level = log_level.map_or(level, |level| {
            level.parse().unwrap_or_else(|_| {
                wrong.push(format!("FERMATA_LOG: {level:?} is none of error, warn, info, debug, trace"));
                LevelFilter::ERROR
            })
        });
        let address = redis.as_deref().map(|address| fermata_fleet::Link::new(address, ""));
        wrong.extend(address.and_then(Result::err).map(|error| format!("FERMATA_REDIS: {error}")));
        // Whoever lists processes reads their arguments.
        if global.redis.as_deref().is_some_and(fermata_fleet::link::has_password) {
            wrong.push(
                "--redis: a password does not belong on a command line; put the address into FERMATA_REDIS"
                    .to_owned(),
            );
        }
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let users = || std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let who = format!("{}@{host}", user(&environment, uid(), users));
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        Ok(Self {
            store_is_default: store.is_none(),
            store: store.unwrap_or_else(|| STORE.to_owned()),
            clouds: Environment::read(&environment),
            key_file: key_file.unwrap_or_else(|| KEY_FILE.to_owned()).into(),
            recipients,
            redis,
            who,
            web,
            collector,
            arguments: arguments(global),
            log_format: global.log,
            log_level,
        })
    }
}

/// What was said by flags; the environment is handed on by itself.
fn arguments(global: &Global) -> Vec<String> {
    let config = global.config.as_ref().map(|file| file.display().to_string());
    let named = [("--config", config), ("--store", global.store.clone()), ("--redis", global.redis.clone())];
    named.into_iter().filter_map(|(flag, value)| Some([flag.to_owned(), value?])).flatten().collect()
}

/// Who gives the command, as far as can be told: a process that nobody logged in for has a number at least.
fn user(
    environment: impl Fn(&str) -> Option<String>,
    uid: Option<u32>,
    users: impl FnOnce() -> String,
) -> String {
    let mut named = ["USER", "LOGNAME", "USERNAME"].into_iter().filter_map(environment);
    if let Some(user) = named.find(|user| !user.is_empty()) {
        return user;
    }
    let Some(uid) = uid.map(|uid| uid.to_string()) else { return "somebody".to_owned() };
    let users = users();
    let mut users = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    match users.find(|fields| fields.get(2) == Some(&&*uid)) {
        Some(fields) if !fields[0].is_empty() => fields[0].to_owned(),
        _ => format!("uid-{uid}"),
    }
}

/// The user that this process runs as, where the system says so in a file.
#[cfg(unix)]
fn uid() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|process| std::os::unix::fs::MetadataExt::uid(&process))
}

#[cfg(not(unix))]
fn uid() -> Option<u32> {
    None
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Variables that look like ours and are not. Only a check minds them: where a service is called `fermata`, Kubernetes makes up
/// some of its own.
fn strangers() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut strangers: Vec<_> = names
        .filter(|name| name.starts_with("FERMATA_") && SETTINGS.iter().all(|(_, known)| known != name))
        .map(|name| {
            format!("there is no variable {name}; there are {}", SETTINGS.map(|(_, known)| known).join(", "))
        })
        .collect();
    strangers.sort();
    strangers
}

/// What the configuration file sets, by variable.
fn file(named: Option<&Path>, wrong: &mut Vec<String>) -> BTreeMap<&'static str, String> {
    let path = named.unwrap_or(Path::new(FILE));
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => String::new(),
        Err(error) => {
            wrong.push(format!("{shown}: {error}"));
            String::new()
        }
    };
    let table = text.parse().unwrap_or_else(|error: toml::de::Error| {
        let line = text[..error.span().map_or(0, |span| span.start)].matches('\n').count() + 1;
        wrong.push(format!("{shown} line {line}: {}", error.message().replace('\n', " ")));
        toml::Table::new()
    });
    let mut set = BTreeMap::new();
    for (name, value) in table {
        let known = SETTINGS.iter().find(|(setting, variable)| name == *setting || name == *variable);
        match (known, value) {
            (Some((_, variable)), toml::Value::String(value)) => {
                set.insert(*variable, value);
            }
            (Some(_), _) => wrong.push(format!("{shown}: {name} must be text in quotes")),
            (None, _) => {
                let all = SETTINGS.map(|(setting, _)| setting).join(", ");
                wrong.push(format!("{shown}: there is no setting {name:?}; there are {all}"));
            }
        }
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_environment_before_defaults() {
        let global = Global { store: Some("/flag".to_owned()), ..Global::default() };
        let environment = |name: &str| (name == "FERMATA_STORE").then(|| "/environment".to_owned());
        assert_eq!(Config::from(&global, LevelFilter::ERROR, environment).unwrap().store, "/flag");
        assert_eq!(
            Config::from(&Global::default(), LevelFilter::ERROR, environment).unwrap().store,
            "/environment"
        );
        let config = Config::from(&Global::default(), LevelFilter::ERROR, |_| None).unwrap();
        assert_eq!((config.store.as_str(), config.store_is_default), (STORE, true));
    }

    #[test]
    fn who_gives_a_command() {
        let check = |environment: &[(&str, &str)], uid: Option<u32>, expect: &str| {
            let of = |name: &str| {
                environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let users = || "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000:::\n".to_owned();
            assert_eq!(user(of, uid, users), expect);
        };
        check(&[("USER", "ann"), ("LOGNAME", "bob")], Some(0), "ann");
        check(&[("USER", ""), ("LOGNAME", "bob")], Some(0), "bob");
        check(&[], Some(1000), "ann");
        check(&[], Some(100), "uid-100");
        check(&[("USER", "")], None, "somebody");
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let global = Global { config: Some("/nowhere.toml".into()), ..Global::default() };
        let environment = |name: &str| match name {
            "FERMATA_RECIPIENTS" => Some("age1x,age1y".to_owned()),
            "FERMATA_LOG" => Some("loud".to_owned()),
            _ => None,
        };
        let error = Config::from(&global, LevelFilter::ERROR, environment).unwrap_err();
        assert_eq!(error.0.len(), 4, "{error}");
    }

    #[test]
    fn every_mistake_of_the_file_is_reported_at_once() {
        let check = |text: &str, expect: &[&str]| {
            let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
            std::fs::write(&path, text).unwrap();
            let mut wrong = Vec::new();
            file(Some(&path), &mut wrong);
            let expect: Vec<_> = expect.iter().map(|end| format!("{}{end}", path.display())).collect();
            assert_eq!(wrong, expect);
        };
        check("FERMATA_STORE = \"/a\"\nkey_file = \"/b\"", &[]);
        let names = SETTINGS.map(|(setting, _)| setting).join(", ");
        check(
            "store = 5\nstor = \"x\"",
            &[
                &format!(": there is no setting \"stor\"; there are {names}"),
                ": store must be text in quotes",
            ],
        );
        check("\nstore = [\n", &[" line 2: unclosed array, expected `]`"]);
    }
}
