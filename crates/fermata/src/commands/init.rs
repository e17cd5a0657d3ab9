//! `fermata init`: make the key file and the vault.

use fermata_vault::{Identity, InitOptions, KeyError, Recipient, Vault};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Init;
use crate::config::Config;
use crate::exit;
use crate::out::Out;

#[derive(Serialize)]
struct Document {
    schema: u32,
    vault: String,
    store: String,
    key_file: String,
    key_file_made: bool,
    recipients: Vec<Recipient>,
}

pub(crate) async fn run(init: &Init, config: &Config, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let store = fermata_vault::create(&config.store, &config.clouds)?;
    // Before a key is made that nothing would be sealed to.
    match Vault::open(store.clone(), []).await {
        Ok(_) => {
            let error = anyhow::Error::from(fermata_vault::VaultError::AlreadyThere);
            return Err(error.context(config.store.clone()));
        }
        Err(fermata_vault::VaultError::NoVault) => {}
        Err(error) => return Err(error.into()),
    }
    let (identity, made) = key(config, now)?;
    let data_recipients = match (init.no_encryption, config.recipients.as_slice()) {
        (true, _) => Vec::new(),
        (false, []) => vec![identity.recipient()],
        (false, named) => named.to_vec(),
    };
    let options =
        InitOptions { worker: identity.recipient(), data_recipients, single_writer: init.single_writer, now };
    let vault = Vault::init(store, options).await?;
    let document = Document {
        schema: fermata_core::FORMAT,
        vault: vault.id().to_owned(),
        store: config.store.clone(),
        key_file: config.key_file.display().to_string(),
        key_file_made: made,
        recipients: vault.data_recipients().to_vec(),
    };
    out.result(&document, || text(&document, config, init))?;
    out.say("Next: fermata tenant add NAME");
    Ok(exit::DONE)
}

/// The key in the key file, made now if there is none.
fn key(config: &Config, now: Timestamp) -> anyhow::Result<(Identity, bool)> {
    match Identity::read(&config.key_file) {
        Ok(mut keys) => Ok((keys.remove(0), false)),
        Err(KeyError::Missing { .. }) => {
            let identity = Identity::generate();
            identity.write_new(&config.key_file, now)?;
            Ok((identity, true))
        }
        Err(error) => Err(error.into()),
    }
}

fn text(document: &Document, config: &Config, init: &Init) -> String {
    let default = if config.store_is_default { " (FERMATA_STORE or --store names another)" } else { "" };
    let key = if document.key_file_made { "made" } else { "was there, and is used" };
    let records = match (init.no_encryption, config.recipients.is_empty()) {
        (true, _) => "Records are stored without encryption; tokens are always encrypted.".to_owned(),
        (false, true) => "Records and tokens are encrypted to that key.".to_owned(),
        (false, false) => "Records are encrypted to FERMATA_RECIPIENTS, tokens to that key.".to_owned(),
    };
    format!(
        "The vault is {}{default}.\nThe key file is {} ({key}). {records}\n\
         Keep a copy of it somewhere else: without it nobody can read the backups.",
        document.store, document.key_file
    )
}
