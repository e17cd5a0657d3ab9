//! A simulated site, and vaults to back it up to.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use tempfile::TempDir;

/// The simulator's first tenant, and what we call it.
pub(crate) const TENANT: &str = "sim-1";
/// Its token.
pub(crate) const TOKEN: &str = "sim-token-1";

/// A simulator in a process of its own, until it is dropped.
pub(crate) struct Site {
    sim: Child,
    /// Its address.
    pub(crate) url: String,
}

/// A folder with a vault in it that knows the site's tenant.
pub(crate) struct Vault(TempDir);

impl Site {
    /// Starts a simulator with these arguments.
    pub(crate) fn start(worklogs: usize, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(program("tempo-sim"));
        command.args(["--listen", "127.0.0.1:0", "--worklogs", &worklogs.to_string()]).args(args);
        let mut sim = command.stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        BufReader::new(sim.stdout.take().context("it was piped")?).read_line(&mut url)?;
        Ok(Self { sim, url: url.trim().to_owned() })
    }

    /// A new vault, whose tenant is read at `rate` requests a second.
    pub(crate) fn vault(&self, rate: u32) -> Result<Vault> {
        let vault = Vault(TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?);
        let rate = rate.to_string();
        vault.set_up(&["init"], "")?;
        vault.set_up(&["tenant", "add", TENANT, "--base-url", &self.url, "--rate", &rate], "")?;
        vault.set_up(&["token", "set", TENANT, "--no-check"], TOKEN)?;
        Ok(vault)
    }

    /// All that it was asked.
    pub(crate) async fn ledger(&self) -> Result<Value> {
        let ledger = reqwest::get(format!("{}/_sim/ledger", self.url)).await?.text().await?;
        Ok(serde_json::from_str(&ledger)?)
    }

    /// Begins the ledger anew.
    pub(crate) async fn forget_requests(&self) -> Result<()> {
        let client = reqwest::Client::new();
        client.delete(format!("{}/_sim/ledger", self.url)).send().await?.error_for_status()?;
        Ok(())
    }

    /// Sets some of the simulator's switches, as JSON.
    pub(crate) async fn set_quirks(&self, quirks: &str) -> Result<()> {
        self.control("quirks", quirks).await
    }

    /// Changes records, as JSON.
    pub(crate) async fn mutate(&self, mutations: &str) -> Result<()> {
        self.control("mutate", mutations).await
    }

    async fn control(&self, what: &str, body: &str) -> Result<()> {
        let request = reqwest::Client::new().post(format!("{}/_sim/{what}", self.url));
        let request = request.body(body.to_owned()).header(CONTENT_TYPE, "application/json");
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Totals of the requests that it was asked: all, and those refused.
    pub(crate) async fn requests(&self) -> Result<(u64, u64)> {
        let ledger = self.ledger().await?;
        let total = |name| ledger["total"][name].as_u64().context("the ledger has totals");
        Ok((total("requests")?, total("refused")?))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended by itself; nothing hangs on it any more.
        let _ = self.sim.kill();
        let _ = self.sim.wait();
    }
}

impl Vault {
    /// A command on this vault.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("fermata"));
        command.current_dir(self.folder()).arg("--quiet").args(args);
        command
    }

    /// Where it is.
    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    fn set_up(&self, args: &[&str], input: &str) -> Result<()> {
        let mut child = self.command(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("it was piped")?.write_all(input.as_bytes())?;
        ensure!(child.wait()?.success(), "fermata {} failed", args.join(" "));
        Ok(())
    }
}

/// A program that was built beside this one.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("release").join(name)
}
