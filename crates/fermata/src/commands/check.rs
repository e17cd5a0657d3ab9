//! `--check-config`: whether a command could begin. Neither the store nor Redis nor Tempo is asked.

use fermata_vault::{Identity, KeyError, VaultError};

use crate::cli::{Command, TokenCommand};
use crate::config::Config;
use crate::dashboard::access::Access;
use crate::exit::{self, Usage};
use crate::out::{self, Out};

/// Says what is wrong with what the command was given, all of it at once.
///
/// What [`Config::load`] finds wrong was said before.
pub(crate) fn check(command: &Command, config: &Config, out: Out) -> anyhow::Result<u8> {
    #[derive(serde::Serialize)]
    struct Document {
        schema: u32,
        ok: bool,
    }
    let mut wrong = Vec::new();
    let mut check =
        |checked: anyhow::Result<()>| wrong.extend(checked.err().map(|error| out::causes(&error)));
    check(store(config));
    check(key(command, config));
    if of_a_fleet(command) {
        check(config.redis().map(drop).map_err(Into::into));
    }
    if let Command::Dashboard(asked) = command {
        check(Access::open(asked.users.as_deref(), &config.web, asked.listen).map(drop));
        check(asked.data_key.as_deref().map_or(Ok(()), |file| Ok(Identity::read(file).map(drop)?)));
    }
    if !wrong.is_empty() {
        return Err(Usage(wrong.join("\n       ")).into());
    }
    out.result(&Document { schema: 1, ok: true }, || "the configuration is fine".to_owned())?;
    Ok(exit::DONE)
}

/// A folder that is not there yet is no mistake: it is mounted, or `init` makes it.
fn store(config: &Config) -> anyhow::Result<()> {
    match fermata_vault::open(&config.store, &config.clouds) {
        Ok(_) | Err(VaultError::NoVault) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn key(command: &Command, config: &Config) -> anyhow::Result<()> {
    let needed = matches!(
        command,
        Command::Worker(_)
            | Command::Backup(_)
            | Command::Key(_)
            | Command::Token(TokenCommand::Check { .. })
    );
    match Identity::read(&config.key_file) {
        Err(KeyError::Missing { .. }) if !needed => Ok(()),
        read => Ok(read.map(drop)?),
    }
}

fn of_a_fleet(command: &Command) -> bool {
    matches!(
        command,
        Command::Worker(_)
            | Command::Scheduler(_)
            | Command::Enqueue(_)
            | Command::Reconcile
            | Command::Jobs(_)
            | Command::Queue(_)
    )
}
