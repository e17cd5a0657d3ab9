//! What runs for the page beside it: on one machine a backup, as a process of its own.
//!
//! That process reads the key, and this one never does. It is the very command that an administrator would give, and what
//! becomes of it does not depend on the page: the store has its checkpoints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;

use fermata_core::names::Tenant;
use fermata_core::plan::Wish;
use fermata_engine::coverage::Coverage;
use jiff::Timestamp;
use serde_json::Value;
use tokio::process::Command;

use super::{Changes, Shared, now};
use crate::config::Config;
use crate::exit;
use crate::out;

/// Bytes of what a backup says on stderr that are kept.
const SAID_BYTES_MAX: usize = 4_096;

/// What was begun from the page.
#[derive(Debug)]
pub(crate) struct Tasks {
    backups: Mutex<HashMap<Tenant, Backup>>,
    checks: Mutex<HashMap<Tenant, Check>>,
    arguments: Vec<String>,
    changes: Changes,
}

/// A backup that was begun from the page.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) began: Timestamp,
    pub(crate) who: String,
    pub(crate) ended: Option<Ended>,
}

/// What it came to.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) code: u8,
    pub(crate) what: String,
}

/// What a token that was stored here may read, as far as it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Check {
    /// Of which token.
    pub(crate) fingerprint: String,
    /// Entities to ask for.
    pub(crate) all: usize,
    pub(crate) entities: Vec<Coverage>,
    /// Whether it is over, and how it broke off if it did.
    pub(crate) ended: Option<Result<(), String>>,
}

impl Check {
    /// Entities that it may not read.
    pub(crate) fn gaps(&self) -> usize {
        self.entities.iter().filter(|entity| entity.readable == Some(false)).count()
    }

    /// What it came to so far, in a sentence.
    pub(crate) fn sum(&self) -> String {
        let unknown = self.entities.iter().filter(|entity| entity.readable.is_none()).count();
        match &self.ended {
            None => format!("Asking for a little of each: {} of {}.", self.entities.len(), self.all),
            Some(Err(why)) => format!("The check broke off: {why}."),
            Some(Ok(())) if self.gaps() > 0 => format!(
                "The token may not read {} of {}. A backup with it is partial, and says so.",
                self.gaps(),
                self.all
            ),
            Some(Ok(())) if unknown > 0 => {
                format!("The token may read all but {unknown} of {}, of which nobody knows yet.", self.all)
            }
            Some(Ok(())) => "The token may read everything.".to_owned(),
        }
    }
}

impl Tasks {
    pub(crate) fn new(config: &Config, changes: Changes) -> Self {
        Self { backups: Mutex::default(), checks: Mutex::default(), arguments: config.arguments(), changes }
    }

    /// The last backup of a tenant that was begun here.
    pub(crate) fn backup(&self, tenant: &Tenant) -> Option<Backup> {
        self.backups.lock().expect(HELD).get(tenant).cloned()
    }

    /// What the token that was last stored here for a tenant may read.
    pub(crate) fn check(&self, tenant: &Tenant) -> Option<Check> {
        self.checks.lock().expect(HELD).get(tenant).cloned()
    }

    /// A token was stored, and is being asked what it may read. What came of an earlier one counts no more.
    pub(crate) fn begin_check(&self, tenant: &Tenant, check: Check) {
        self.checks.lock().expect(HELD).insert(tenant.clone(), check);
        self.changes.tell();
    }

    /// Notes how far the check of a token is, if it is still that token's turn.
    pub(crate) fn checking(&self, tenant: &Tenant, fingerprint: &str, note: impl FnOnce(&mut Check)) {
        if let Some(check) = self.checks.lock().expect(HELD).get_mut(tenant)
            && check.fingerprint == fingerprint
        {
            note(check);
        }
        self.changes.tell();
    }

    /// Forgets what a tenant's token may read.
    pub(crate) fn forget(&self, tenant: &Tenant) {
        self.checks.lock().expect(HELD).remove(tenant);
    }

    fn begin(&self, tenant: &Tenant, who: &str) -> bool {
        let mut backups = self.backups.lock().expect(HELD);
        if backups.get(tenant).is_some_and(|backup| backup.ended.is_none()) {
            return false;
        }
        backups.insert(tenant.clone(), Backup { began: now(), who: who.to_owned(), ended: None });
        true
    }

    fn end(&self, tenant: &Tenant, code: u8, what: String) {
        if let Some(backup) = self.backups.lock().expect(HELD).get_mut(tenant) {
            backup.ended = Some(Ended { at: now(), code, what });
        }
        self.changes.tell();
    }
}

const HELD: &str = "nobody panics while holding it";

/// Begins a backup; `false` if one that was begun here is still under way.
pub(crate) fn back_up(app: &Shared, tenant: &Tenant, wish: &Wish, who: &str) -> anyhow::Result<bool> {
    let program: PathBuf = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(&app.tasks.arguments).args(["backup", tenant.as_str(), "--json", "--quiet"]);
    for entity in &wish.only {
        command.args(["--entity", entity]);
    }
    if wish.full {
        command.arg("--full");
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !app.tasks.begin(tenant, who) {
        return Ok(false);
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            app.tasks.end(tenant, exit::FAILED, format!("it could not be started: {error}"));
            return Err(error.into());
        }
    };
    tracing::info!(%tenant, who, "backup begun from the page");
    app.changes.tell();
    let (app, tenant) = (app.clone(), tenant.clone());
    tokio::spawn(async move {
        let (code, what) = match child.wait_with_output().await {
            Ok(output) => {
                let code = output.status.code().and_then(|code| u8::try_from(code).ok());
                (code.unwrap_or(exit::FAILED), summary(&output.stdout, &output.stderr))
            }
            Err(error) => (exit::FAILED, error.to_string()),
        };
        tracing::info!(%tenant, code, "backup ended: {what}");
        app.board.look(&app.vault, &tenant).await;
        app.tasks.end(&tenant, code, what);
    });
    Ok(true)
}

/// What a backup came to, from its document; what it said, where it wrote none.
fn summary(stdout: &[u8], stderr: &[u8]) -> String {
    let document: Value = serde_json::from_slice(stdout).unwrap_or_default();
    let report = &document["tenants"][0];
    if let Some(snapshot) = report["snapshot"].as_str() {
        let entities = report["entities"].as_array().into_iter().flatten();
        let records: u64 = entities.filter_map(|entity| entity["records"].as_u64()).sum();
        let status = report["status"].as_str().unwrap_or_default();
        return format!("snapshot {snapshot}, {status}, {}", out::several(records, "record", "records"));
    }
    if let Some(reason) = report["reason"].as_str() {
        return out::plain(reason);
    }
    let said = String::from_utf8_lossy(&stderr[..stderr.len().min(SAID_BYTES_MAX)]);
    out::plain(said.trim().trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backup_came_to() {
        let check = |stdout: &str, stderr: &str, expect: &str| {
            assert_eq!(summary(stdout.as_bytes(), stderr.as_bytes()), expect);
        };
        let entities = r#"[{"records":1200},{"records":34}]"#;
        let sealed = format!(
            r#"{{"tenants":[{{"snapshot":"20261124T020000Z-4f9a1c","status":"partial","entities":{entities}}}]}}"#
        );
        check(&sealed, "", "snapshot 20261124T020000Z-4f9a1c, partial, 1,234 records");
        check(r#"{"tenants":[{"snapshot":null,"reason":"Tempo\nis away"}]}"#, "warning", "Tempo is away");
        check("", "error: there is no key file\n  hint\n", "there is no key file   hint");
    }
}
