//! `fermata key rotate`: new keys from now on; what was written stays readable with the old ones.

use fermata_core::names::Tenant;
use fermata_vault::{Identity, Recipient};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::KeyCommand;
use crate::config::Config;
use crate::exit;
use crate::out::{Out, several};

#[derive(Serialize)]
struct Document {
    schema: u32,
    seq: u32,
    key_file: String,
    worker_recipient: Recipient,
    recipients: Vec<Recipient>,
    /// Tokens that are sealed to the new key.
    tokens: u64,
    /// Tenants whose token is not.
    failed: Vec<Tenant>,
}

pub(crate) async fn run(
    command: KeyCommand,
    config: &Config,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    match command {
        KeyCommand::Rotate => rotate(config, out, now).await,
    }
}

async fn rotate(config: &Config, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let vault = super::open(config).await?;
    vault.check_can_rotate()?;
    let new = Identity::generate();
    let old_worker = vault.worker_recipient();
    let data = match (config.recipients.as_slice(), vault.data_recipients()) {
        ([], same) => {
            let renewed = |data: &Recipient| if data == old_worker { new.recipient() } else { data.clone() };
            same.iter().map(renewed).collect()
        }
        (named, _) => named.to_vec(),
    };
    // Before anything is sealed to it; a key that is used for nothing does no harm in the file.
    new.prepend(&config.key_file, now)?;
    let seq = vault.rotate(new.recipient(), data, now).await?;
    let vault = super::open(config).await?;
    let resealed = vault.reseal_tokens(now).await?;
    let mut failed = Vec::new();
    for (tenant, error) in resealed.failed {
        out.error(
            &anyhow::Error::from(error).context(format!("the token of {tenant} stays sealed to the old key")),
        );
        failed.push(tenant);
    }
    let document = Document {
        schema: fermata_core::FORMAT,
        seq,
        key_file: config.key_file.display().to_string(),
        worker_recipient: vault.worker_recipient().clone(),
        recipients: vault.data_recipients().to_vec(),
        tokens: resealed.tokens,
        failed,
    };
    out.result(&document, || {
        format!(
            "{} has a new key, {}, before the old ones. From now on tokens, checkpoints and records are sealed to new keys; \
             {} sealed anew.\n\
             Copy the file to wherever Fermata runs, and keep a copy somewhere else: older snapshots still need the old keys.",
            document.key_file,
            document.worker_recipient,
            several(document.tokens, "token is", "tokens are"),
        )
    })?;
    Ok(if document.failed.is_empty() { exit::DONE } else { exit::PARTIAL })
}
