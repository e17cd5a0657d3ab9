//! One process at a time on a tenant of one machine, so that two do not spend its quota twice over,
//! and none deletes what another writes.
//!
//! Two would not harm the store: this is politeness towards Tempo. It works where the store is a
//! folder; a fleet keeps its tenants apart through its queue.

use std::fs::{File, TryLockError};

use fermata_core::names::Tenant;

use crate::config::Config;

/// Held while a tenant is backed up, or something of it is deleted.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock back")] Option<File>);

/// Takes the lock of a tenant; fails when another process has it.
pub(crate) fn take(config: &Config, tenant: &Tenant) -> anyhow::Result<Lock> {
    let Some(folder) = fermata_vault::folder_of(&config.store) else { return Ok(Lock(None)) };
    let path = folder.join(format!(".{tenant}.lock"));
    // A folder that takes no file will say so, better, when something is written there.
    let Ok(file) = File::options().create(true).append(true).open(path) else { return Ok(Lock(None)) };
    match file.try_lock() {
        Ok(()) => Ok(Lock(Some(file))),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another fermata is at work on {tenant} in this store; wait for it to end")
        }
        Err(TryLockError::Error(_)) => Ok(Lock(None)),
    }
}
