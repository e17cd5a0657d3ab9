//! Where things are. Flags come before the environment, that before `fermata.toml`, that before defaults.
//!
//! | variable | in `fermata.toml` | what it is |
//! | --- | --- | --- |
//! | `FERMATA_STORE` | `store` | the store: a folder, or `file:///path` |
//! | `FERMATA_KEY_FILE` | `key_file` | the age key that opens tokens, checkpoints and records |
//! | `FERMATA_RECIPIENTS` | `recipients` | public age keys to encrypt records to, with commas between |
//! | `FERMATA_REDIS` | `redis` | the queue of a fleet |
//! | `FERMATA_LOG` | `log_level` | `error`, `warn`, `info`, `debug` or `trace` |

use std::path::{Path, PathBuf};

use fermata_vault::Recipient;
use serde::Deserialize;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::Global;

/// The store when none is named.
const STORE: &str = "./fermata-data";
/// The key file when none is named.
const KEY_FILE: &str = "./fermata.key";
/// The configuration file when none is named; it need not be there.
const FILE: &str = "./fermata.toml";

/// Where things are.
#[derive(Debug)]
pub(crate) struct Config {
    /// The store's address.
    pub(crate) store: String,
    /// Whether that is the default.
    pub(crate) store_is_default: bool,
    /// The key file.
    pub(crate) key_file: PathBuf,
    /// Keys to encrypt records to; the key file's own when empty.
    pub(crate) recipients: Vec<Recipient>,
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

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names are those of the file")]
struct File {
    #[serde(alias = "FERMATA_STORE")]
    store: Option<String>,
    #[serde(alias = "FERMATA_REDIS")]
    redis: Option<String>,
    #[serde(alias = "FERMATA_KEY_FILE")]
    key_file: Option<String>,
    #[serde(alias = "FERMATA_RECIPIENTS")]
    recipients: Option<String>,
    #[serde(alias = "FERMATA_LOG")]
    log_level: Option<String>,
}

impl Config {
    /// Reads it all and reports every mistake at once.
    pub(crate) fn load(global: &Global) -> Result<Self, ConfigError> {
        Self::from(global, environment)
    }

    fn from(global: &Global, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut wrong = Vec::new();
        let file = file(global.config.as_deref()).unwrap_or_else(|why| {
            wrong.push(why);
            File::default()
        });
        let named = |flag: Option<&String>, variable: &str, in_file: Option<String>| {
            let variable = || environment(variable).filter(|value| !value.is_empty());
            flag.cloned().or_else(variable).or(in_file)
        };
        let store = named(global.store.as_ref(), "FERMATA_STORE", file.store);
        let key_file = named(None, "FERMATA_KEY_FILE", file.key_file);
        // The fleet reads it; here it is only known, so that one file serves both.
        let _redis = named(global.redis.as_ref(), "FERMATA_REDIS", file.redis);
        let recipients = named(None, "FERMATA_RECIPIENTS", file.recipients).unwrap_or_default();
        let recipients: Vec<_> = recipients
            .split([',', ' ', '\n'])
            .filter(|text| !text.is_empty())
            .filter_map(|text| {
                text.parse().map_err(|error| wrong.push(format!("FERMATA_RECIPIENTS: {error}"))).ok()
            })
            .collect();
        let level = named(None, "FERMATA_LOG", file.log_level).unwrap_or_else(|| "error".to_owned());
        let log_level = level.parse().unwrap_or_else(|_| {
            wrong.push(format!("FERMATA_LOG: {level:?} is none of error, warn, info, debug, trace"));
            LevelFilter::ERROR
        });
        if !wrong.is_empty() {
            return Err(ConfigError(wrong));
        }
        Ok(Self {
            store_is_default: store.is_none(),
            store: store.unwrap_or_else(|| STORE.to_owned()),
            key_file: key_file.unwrap_or_else(|| KEY_FILE.to_owned()).into(),
            recipients,
            log_format: global.log,
            log_level,
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn file(named: Option<&Path>) -> Result<File, String> {
    let path = named.unwrap_or(Path::new(FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error: toml::de::Error| {
            format!("{}: {}", path.display(), error.message().replace('\n', " "))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(File::default()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_environment_before_defaults() {
        let global = Global { store: Some("/flag".to_owned()), ..Global::default() };
        let environment = |name: &str| (name == "FERMATA_STORE").then(|| "/environment".to_owned());
        assert_eq!(Config::from(&global, environment).unwrap().store, "/flag");
        assert_eq!(Config::from(&Global::default(), environment).unwrap().store, "/environment");
        let config = Config::from(&Global::default(), |_| None).unwrap();
        assert_eq!((config.store.as_str(), config.store_is_default), (STORE, true));
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let global = Global { config: Some("/nowhere.toml".into()), ..Global::default() };
        let environment = |name: &str| match name {
            "FERMATA_RECIPIENTS" => Some("age1x,age1y".to_owned()),
            "FERMATA_LOG" => Some("loud".to_owned()),
            _ => None,
        };
        let error = Config::from(&global, environment).unwrap_err();
        assert_eq!(error.0.len(), 4, "{error}");
    }
}
