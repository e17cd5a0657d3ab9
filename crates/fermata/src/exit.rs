//! Exit codes, and what each failure has to say.

use fermata_core::names::NameError;
use fermata_core::plan::PlanError;
use fermata_core::schedule::ScheduleError;
use fermata_engine::BackupError;
use fermata_engine::export::ExportError;
use fermata_fleet::queue::BadJobId;
use fermata_fleet::{LinkError, ProduceError};
use fermata_tempo::client::ClientError;
use fermata_tempo::{Disposition, TempoError};
use fermata_vault::{BadRecipient, KeyError, VaultError};

use crate::config::ConfigError;
use crate::dashboard::access::users::UsersError;

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
        match backup(cause) {
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
        match link(cause) {
            Some(LinkError::Address { .. } | LinkError::Refused(_) | LinkError::Old { .. }) => return USAGE,
            Some(_) => return FAILED,
            None => {}
        }
        let usage = cause.is::<Usage>()
            || cause.is::<BadJobId>()
            || cause.is::<ScheduleError>()
            || cause.is::<ConfigError>()
            || cause.is::<UsersError>()
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

/// What a backup failed with, also where a producer hands it on.
fn backup<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a BackupError> {
    match cause.downcast_ref::<ProduceError>() {
        Some(ProduceError::Backup(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

fn link<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a LinkError> {
    match cause.downcast_ref::<ProduceError>() {
        Some(ProduceError::Link(error)) => Some(error),
        _ => cause.downcast_ref(),
    }
}

fn vault(error: &VaultError) -> u8 {
    match error {
        VaultError::Address { .. }
        | VaultError::Environment { .. }
        | VaultError::NoCredentials(_)
        | VaultError::Credentials { .. }
        | VaultError::NoBucket { .. }
        | VaultError::Region { .. }
        | VaultError::NoVault
        | VaultError::AlreadyThere
        | VaultError::NotHonoured(_)
        | VaultError::NeedsKey { .. }
        | VaultError::WrongKey { .. }
        | VaultError::OldKey { .. }
        | VaultError::NoToken(_) => USAGE,
        _ => FAILED,
    }
}

/// What to do about a failure, where its own words do not say it.
pub(crate) fn hint(error: &anyhow::Error) -> Option<&'static str> {
    error.chain().find_map(|cause| {
        let vault = match backup(cause) {
            Some(BackupError::Vault(error)) => Some(error),
            _ => cause.downcast_ref::<VaultError>(),
        };
        match vault {
            Some(VaultError::Full { .. }) => {
                return Some("free some room and give the same command again; nothing is lost");
            }
            Some(VaultError::ReadOnly { .. } | VaultError::Denied { .. }) => {
                return Some("give this user, or these credentials, the right to write there and give the same command again; nothing is lost");
            }
            Some(VaultError::Credentials { .. }) => {
                return Some("put good ones into the environment and give the same command again; nothing is lost");
            }
            Some(VaultError::NoCredentials(_) | VaultError::Environment { .. }) => {
                return Some("docs/storage.md has what each cloud needs");
            }
            Some(VaultError::NoBucket { .. }) => {
                return Some("make it with your cloud's tools, or correct --store or FERMATA_STORE");
            }
            Some(VaultError::Region { .. }) => {
                return Some("AWS_REGION names the bucket's region, and AWS_ENDPOINT_URL the server if it is not Amazon's");
            }
            Some(VaultError::Away { .. }) => {
                return Some("is the network up, and the endpoint right? Nothing is lost: give the same command again");
            }
            Some(VaultError::OldKey { .. }) => {
                return Some("copy the key file that `fermata key rotate` wrote to where FERMATA_KEY_FILE names it");
            }
            Some(VaultError::NeedsKey { .. } | VaultError::WrongKey { .. }) => {
                return Some("FERMATA_KEY_FILE names the key file; look for the copy that was kept when the vault was made");
            }
            _ => {}
        }
        if let Some(LinkError::Away(_)) = link(cause) {
            return Some("is Redis running, and FERMATA_REDIS its address? Nothing is lost while it is away");
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

/// One code for many tenants: that of all, or "partial" where they differ.
pub(crate) fn sum(codes: &[u8]) -> u8 {
    match codes {
        [] => DONE,
        [first, rest @ ..] if rest.iter().all(|code| code == first) => *first,
        _ => PARTIAL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_code_for_many_tenants() {
        assert_eq!(sum(&[]), DONE);
        assert_eq!(sum(&[TOKEN]), TOKEN);
        assert_eq!(sum(&[FAILED, FAILED]), FAILED);
        assert_eq!(sum(&[DONE, TOKEN]), PARTIAL);
    }
}
