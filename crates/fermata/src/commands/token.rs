//! `fermata token`: store a token, and see what it may read.

use std::io::{IsTerminal, Read};
use std::path::Path;

use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::{self, Wish};
use fermata_core::settings::Settings;
use fermata_engine::{Clock, coverage};
use fermata_tempo::{Client, Pace};
use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use secrecy::SecretString;
use serde::Serialize;

use super::fleet;
use crate::cli::TokenCommand;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{Out, table};

/// Longer than any token; what is longer is the wrong file.
const TOKEN_BYTES_MAX: u64 = 4_096;

pub(crate) async fn run(
    command: TokenCommand,
    config: &Config,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    match command {
        TokenCommand::Set { tenant, file, expires, no_check } => {
            set(&tenant, file.as_deref(), expires, !no_check, config, out, now).await
        }
        TokenCommand::Check { tenant } => check(&tenant, config, out, now).await,
    }
}

async fn set(
    tenant: &Tenant,
    file: Option<&Path>,
    expires: Option<Date>,
    ask: bool,
    config: &Config,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        tenant: &'a Tenant,
        fingerprint: &'a str,
        checked: bool,
        expires: Option<Date>,
    }
    let vault = super::open_without_key(config).await?;
    let mut settings = super::settings(&vault, tenant).await?;
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    if let Some(day) = expires.filter(|day| *day < today) {
        return Err(Usage(format!("--expires: {day} is past; today is {today}")).into());
    }
    let secret = read_token(file)?;
    if ask {
        first_question(&settings, &secret).await?;
    }
    let token = vault.seal_token(tenant, &secret, now, expires);
    let fingerprint = token.fingerprint.clone();
    settings.token = Some(token);
    vault.save_settings(settings, now).await?;
    let document =
        Document { schema: fermata_core::FORMAT, tenant, fingerprint: &fingerprint, checked: ask, expires };
    out.result(&document, || {
        let checked = if ask { "Tempo takes it, and it is stored" } else { "It is stored, unchecked" };
        format!("The token of {tenant} is {fingerprint}…: {checked}, encrypted.")
    })?;
    fleet::look_again(config, &vault, tenant, out).await;
    out.say(&format!("Next: fermata token check {tenant}"));
    if expires.is_none() {
        out.say("Tempo's tokens expire, after 30 days unless set otherwise: say --expires DATE to be warned in time.");
    }
    Ok(exit::DONE)
}

/// Reads a token from a file, from stdin, or from a person, without showing it.
fn read_token(file: Option<&Path>) -> anyhow::Result<SecretString> {
    let mut bytes = Vec::new();
    match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))
            .map(drop)?,
        None if std::io::stdin().is_terminal() => {
            bytes = rpassword::prompt_password("Paste the token: ")?.into_bytes();
        }
        None => std::io::stdin().take(TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes).map(drop)?,
    }
    // What is not UTF-8 has characters that no token has.
    let text = String::from_utf8_lossy(&bytes);
    let token = text.trim();
    let fault = if token.is_empty() {
        "it is empty"
    } else if bytes.len() as u64 > TOKEN_BYTES_MAX {
        "it is longer than any token"
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        "it holds white space or characters that no token has"
    } else {
        return Ok(token.into());
    };
    Err(Usage(format!("this is no token: {fault}. Give the token alone, on stdin or with --file")).into())
}

/// One small question, to see whether Tempo takes the token at all.
async fn first_question(settings: &Settings, token: &SecretString) -> anyhow::Result<()> {
    let client = Client::new(&settings.base_url, token, Pace::new(settings.rate), &super::impatient())?;
    match coverage::answers(&client).await {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::Error::from(error).context("the token was not stored")),
    }
}

async fn check(tenant: &Tenant, config: &Config, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        tenant: &'a Tenant,
        ok: bool,
        expires: Option<Date>,
        entities: Vec<coverage::Coverage>,
    }
    let vault = super::open(config).await?;
    let mut settings = super::settings(&vault, tenant).await?;
    let token = vault.open_token(&settings)?;
    let client = Client::new(&settings.base_url, &token, Pace::new(settings.rate), &super::impatient())?;
    let run = RunId::new(now, "000000")?;
    let plan = plan::plan(&settings, Wish::default(), &[], run, now)?;
    let all = plan.jobs.len();
    let mut asked = 0;
    let bar = if out.draws() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let told = |coverage: &coverage::Coverage| {
        asked += 1;
        bar.set_message(format!("{asked}/{all} {}", coverage.entity));
    };
    let entities = coverage::check(&client, &plan, Clock::new(now), told).await;
    bar.finish_and_clear();
    let entities = entities?;
    // It answers again, so a mark of refusal is out of date.
    if let Some(token) = settings.token.as_mut().filter(|token| token.refused.is_some()) {
        token.refused = None;
        vault.save_settings(settings.clone(), now).await?;
        fleet::look_again(config, &vault, tenant, out).await;
    }
    let ok = entities.iter().all(|coverage| coverage.readable != Some(false));
    let expires = settings.token.as_ref().and_then(|token| token.expires);
    let document = Document { schema: fermata_core::FORMAT, tenant, ok, expires, entities };
    out.result(&document, || {
        let rows = document.entities.iter().map(|coverage| {
            let readable = match coverage.readable {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "?",
            };
            [coverage.entity.to_owned(), readable.to_owned(), coverage.reason.clone().unwrap_or_default()]
        });
        let gaps = document.entities.iter().filter(|coverage| coverage.readable == Some(false)).count();
        let unknown = document.entities.iter().filter(|coverage| coverage.readable.is_none()).count();
        let sum = match (gaps, unknown) {
            (0, 0) => "The token may read everything.".to_owned(),
            (0, unknown) => format!("The token may read all but {unknown} of {all}, of which nobody knows yet."),
            (gaps, _) => format!("The token may not read {gaps} of {all}. A backup with it is partial; what is missing is said on each."),
        };
        format!("{}\n\n{sum}", table(["ENTITY", "READABLE", "WHY NOT"], rows))
    })?;
    Ok(if ok { exit::DONE } else { exit::PARTIAL })
}
