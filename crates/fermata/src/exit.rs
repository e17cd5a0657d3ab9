//! Exit codes, and what each failure has to say.

use fermata_core::names::NameError;
use fermata_core::plan::PlanError;
use fermata_engine::BackupError;
use fermata_engine::export::ExportError;
use fermata_tempo::client::ClientError;
use fermata_tempo::{Disposition, TempoError};
use fermata_vault::{BadRecipient, KeyError, VaultError};

use crate::config::ConfigError;

/// All was done.
pub(crate) const DONE: u8 = 0;
/// It failed.
pub(crate) const FAILED: u8 = 1;
/// The command or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// Something was skipped or failed, and the output says what.
pub(crate) const PARTIAL: u8 = 3;
/// Tempo refused the token.
pub(crate) const TOKEN: u8 = 4;

/// A mistake of the person who gave the command.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The code for a failure.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<VaultError>() {
            return vault(error);
        }
        if let Some(error) = cause.downcast_ref::<TempoError>() {
            return if error.disposition() == Disposition::Token { TOKEN } else { FAILED };
        }
        match cause.downcast_ref::<BackupError>() {
            Some(BackupError::TokenRefused(_)) => return TOKEN,
            Some(
                BackupError::NoTenant(_)
                | BackupError::NoToken(_)
                | BackupError::Paused(_)
                | BackupError::Plan(_)
                | BackupError::Client(_),
            ) => return USAGE,
            Some(BackupError::Vault(error)) => return vault(error),
            _ => {}
        }
        let usage = cause.is::<Usage>()
            || cause.is::<ConfigError>()
            || cause.is::<NameError>()
            || cause.is::<PlanError>()
            || cause.is::<ClientError>()
            || cause.is::<KeyError>()
            || cause.is::<BadRecipient>()
            || matches!(cause.downcast_ref(), Some(ExportError::NotAFolder(_)));
        if usage {
            return USAGE;
        }
    }
    FAILED
}

fn vault(error: &VaultError) -> u8 {
    match error {
        VaultError::Address { .. }
        | VaultError::NoVault
        | VaultError::AlreadyThere
        | VaultError::NotHonoured(_)
        | VaultError::NeedsKey { .. }
        | VaultError::WrongKey { .. }
        | VaultError::NoToken(_) => USAGE,
        _ => FAILED,
    }
}

/// What to do about a failure, where its own words do not say it.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        let vault = match cause.downcast_ref::<BackupError>() {
            Some(BackupError::Vault(error)) => Some(error),
            _ => cause.downcast_ref::<VaultError>(),
        };
        match vault {
            Some(VaultError::Full { .. }) => {
                return Some("free some room and give the same command again; nothing is lost");
            }
            Some(VaultError::ReadOnly { .. } | VaultError::Denied { .. }) => {
                return Some("give this user the right to write there and give the same command again; nothing is lost");
            }
            Some(VaultError::NeedsKey { .. } | VaultError::WrongKey { .. }) => {
                return Some("FERMATA_KEY_FILE names the key file; look for the copy that was kept when the vault was made");
            }
            _ => {}
        }
        match cause.downcast_ref::<KeyError>() {
            Some(KeyError::Missing { .. }) => {
                Some("`fermata init` makes one for a new vault; for a vault that exists, bring back the copy of its key")
            }
            _ => match cause.downcast_ref::<TempoError>() {
                Some(TempoError::TokenRefused { .. }) => Some(
                    "the token is wrong or expired, or the site's data is in another region: --base-url https://api.eu.tempo.io or https://api.us.tempo.io",
                ),
                Some(TempoError::Network { .. }) => Some("is the base URL right, and the network up?"),
                _ => None,
            },
        }
    })
}
