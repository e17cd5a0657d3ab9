//! One backup of a tenant at a time on one machine, so that two do not spend its quota twice over.
//!
//! Two would not harm the store: this is politeness towards Tempo. It works where the store is a
//! folder; a fleet keeps its tenants apart through its queue.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use fermata_core::names::Tenant;

use crate::config::Config;

/// Held while a tenant is backed up.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "closing the file gives the lock back")] Option<File>);

/// Takes the lock of a tenant; fails when another process has it.
pub(crate) fn take(config: &Config, tenant: &Tenant) -> anyhow::Result<Lock> {
    let folder = match config.store.strip_prefix("file://") {
        Some(path) => PathBuf::from(path),
        None if config.store.contains("://") => return Ok(Lock(None)),
        None => PathBuf::from(&config.store),
    };
    let path = folder.join(format!(".{tenant}.lock"));
    // A folder that takes no file will say so, better, when the backup writes its plan.
    let Ok(file) = File::options().create(true).append(true).open(path) else { return Ok(Lock(None)) };
    match file.try_lock() {
        Ok(()) => Ok(Lock(Some(file))),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another fermata is backing up {tenant} into this store; wait for it to end")
        }
        Err(TryLockError::Error(_)) => Ok(Lock(None)),
    }
}
