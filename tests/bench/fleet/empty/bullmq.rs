//! `BullMQ` as it is, for comparison only: installed by npm below `target`, run by node.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::child;

const SCRIPT: &str = include_str!("bullmq.js");
const JOBS: u32 = 20_000;

/// Installs it, or says why it cannot be had.
pub(super) fn install() -> Result<Result<(), String>> {
    for program in ["node", "npm"] {
        let asked =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !asked.is_ok_and(|status| status.success()) {
            return Ok(Err(format!("{program} is not here")));
        }
    }
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("bench.js"), SCRIPT)?;
    if folder.join("node_modules/ioredis").exists() {
        return Ok(Ok(()));
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"])
        .arg(&folder)
        .args(["bullmq", "ioredis"]);
    let installed = npm.stdout(Stdio::null()).status().context("npm does not start")?;
    Ok(if installed.success() { Ok(()) } else { Err("npm does not bring it".to_owned()) })
}

pub(super) async fn fill(url: &str) -> Result<u64> {
    let said = child::run(&mut command(&["fill", url, &JOBS.to_string()])).await?.said;
    ensure!(said.trim() == "filled", "BullMQ says {said:?}");
    Ok(u64::from(JOBS))
}

pub(super) fn command(args: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.arg(folder().join("bench.js")).args(args);
    command
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench").join("bullmq")
}
