//! Tokens: whether one is good, and storing it.

use fermata_core::names::RunId;
use fermata_core::plan::{self, Plan, Wish};
use fermata_core::settings::Settings;
use fermata_engine::coverage;
use fermata_tempo::{Client, Pace};
use fermata_vault::{Vault, VaultError};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use secrecy::SecretString;

/// Longer than any token; what is longer is the wrong file.
pub(crate) const TOKEN_BYTES_MAX: u64 = 4_096;

/// A token from what somebody gave, or what is wrong with that.
pub(crate) fn parse(given: &[u8]) -> Result<SecretString, &'static str> {
    // What is not UTF-8 has characters that no token has.
    let text = String::from_utf8_lossy(given);
    let token = text.trim();
    if token.is_empty() {
        Err("it is empty")
    } else if given.len() as u64 > TOKEN_BYTES_MAX {
        Err("it is longer than any token")
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("it holds white space or characters that no token has")
    } else {
        Ok(token.into())
    }
}

/// What is wrong with a day of expiry.
pub(crate) fn check_expiry(expires: Option<Date>, now: Timestamp) -> Result<(), String> {
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    match expires {
        Some(day) if day < today => Err(format!("{day} is past; today is {today}")),
        _ => Ok(()),
    }
}

/// Tempo as this token sees it, for somebody who waits for the answer.
pub(crate) fn client(settings: &Settings, token: &SecretString) -> anyhow::Result<Client> {
    let pace = Pace::new(settings.rate);
    Ok(Client::new(&settings.base_url, token, pace, &crate::commands::impatient())?)
}

/// One small question, to see whether Tempo takes the token at all.
pub(crate) async fn first_question(client: &Client) -> anyhow::Result<()> {
    match coverage::answers(client).await {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow::Error::from(error).context("the token was not stored")),
    }
}

/// Seals a token and stores it with the settings that it belongs to.
pub(crate) async fn store(
    vault: &Vault,
    mut settings: Settings,
    token: &SecretString,
    expires: Option<Date>,
    who: &str,
    now: Timestamp,
) -> Result<Settings, VaultError> {
    let sealed = vault.seal_token(&settings.tenant, token, now, expires);
    settings.token = Some(fermata_core::settings::Token { stored_by: Some(who.to_owned()), ..sealed });
    vault.save_settings(settings, now).await
}

/// What a full backup would ask for, to ask for a little of each.
pub(crate) fn everything(settings: &Settings, now: Timestamp) -> anyhow::Result<Plan> {
    let run = RunId::new(now, "000000")?;
    Ok(plan::plan(settings, Wish::default(), &[], run, now)?)
}
