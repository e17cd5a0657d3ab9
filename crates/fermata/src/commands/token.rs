//! `fermata token`: store a token, and see what it may read.

use std::io::{IsTerminal, Read};
use std::path::Path;

use fermata_core::names::Tenant;
use fermata_engine::{Clock, coverage};
use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::civil::Date;
use secrecy::SecretString;
use serde::Serialize;

use super::fleet;
use crate::cli::TokenCommand;
use crate::config::Config;
use crate::desk::tokens;
use crate::exit::{self, Usage};
use crate::out::{Out, table};

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
    let settings = super::settings(&vault, tenant).await?;
    tokens::check_expiry(expires, now).map_err(|what| Usage(format!("--expires: {what}")))?;
    let secret = read_token(file)?;
    if ask {
        tokens::first_question(&tokens::client(&settings, &secret)?).await?;
    }
    let stored = tokens::store(&vault, settings, &secret, expires, &config.who, now).await?;
    let fingerprint = stored.token.map(|token| token.fingerprint).unwrap_or_default();
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
            .and_then(|file| file.take(tokens::TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes))
            .map_err(|error| Usage(format!("cannot read {}: {error}", path.display())))
            .map(drop)?,
        None if std::io::stdin().is_terminal() => {
            bytes = rpassword::prompt_password("Paste the token: ")?.into_bytes();
        }
        None => std::io::stdin().take(tokens::TOKEN_BYTES_MAX + 1).read_to_end(&mut bytes).map(drop)?,
    }
    tokens::parse(&bytes).map_err(|fault| {
        Usage(format!("this is no token: {fault}. Give the token alone, on stdin or with --file")).into()
    })
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
    let settings = super::settings(&vault, tenant).await?;
    let token = vault.open_token(&settings)?;
    let client = tokens::client(&settings, &token)?;
    let plan = tokens::everything(&settings, now)?;
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
    if coverage::keep(&vault, &settings, &entities, now).await? {
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
