//! `fermata demo`: the whole product against a simulated Tempo, on this machine alone.
//!
//! It runs this very program as its own user would, and kills it with the signal that nothing
//! survives.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempo_sim::Sim;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::cli::Demo;
use crate::exit;
use crate::out;

/// Requests per second of the simulated Tempo: ten times the real one, so that nobody waits.
const RATE: f64 = 50.0;
/// Requests after which the backup is killed.
const KILL_AFTER: u64 = 60;
/// Longest wait for that many.
const KILL_WITHIN: Duration = Duration::from_secs(30);

/// A simulated Tempo, a folder, and this program.
struct Stage {
    sim: Sim,
    folder: PathBuf,
    program: PathBuf,
}

pub(crate) async fn run(demo: Demo) -> anyhow::Result<u8> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = demo.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let began = Instant::now();
    out::data(&format!(
        "This starts a simulated Tempo on this machine, with a made-up site of {} worklogs and everything around\n\
         them, and backs it up as you would back up yours. Nothing leaves this machine.",
        out::count(demo.worklogs as u64)
    ))?;
    let sim = Sim::builder().worklogs(demo.worklogs).rate(RATE).start().await?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let stage = Stage { sim, folder, program };
    stage.play().await?;
    let kept = match demo.keep {
        Some(folder) => format!("It is all in {}: the key, the vault and the files.", folder.display()),
        None => "The folder it used is deleted; `--keep DIR` keeps it to look at.".to_owned(),
    };
    out::data(&format!(
        "\nDone in {:.0} s. {kept}\nYour own site next: fermata init; fermata tenant add NAME; fermata token set NAME",
        began.elapsed().as_secs_f64()
    ))?;
    Ok(exit::DONE)
}

impl Stage {
    async fn play(&self) -> anyhow::Result<()> {
        Self::title("1. A vault: a folder, and a key that opens it")?;
        self.step(&["init"], None).await?;
        let base_url = self.sim.base_url().to_owned();
        Self::title(
            "2. A tenant, which is a Jira site, and its API token, from stdin and encrypted at once",
        )?;
        let rate = RATE.to_string();
        self.step(&["tenant", "add", "demo", "--base-url", &base_url, "--rate", &rate], None).await?;
        self.step(&["token", "set", "demo"], Some(&self.sim.token(1))).await?;

        Self::title("3. A backup, killed in the middle with SIGKILL")?;
        self.interrupted_backup().await?;

        Self::title("4. The same command again: it goes on from the last page that was answered")?;
        self.step(&["backup", "demo"], None).await?;
        let ledger = self.sim.ledger();
        out::data(&format!(
            "Tempo counted {} requests in all, both times together, and {} that came too fast.",
            ledger.total.accepted, ledger.total.refused
        ))?;

        Self::title("5. Is it whole? Every record is read, decrypted and counted")?;
        self.step(&["snapshots", "verify", "demo", "--data"], None).await?;

        Self::title("6. The records, as Tempo sent them")?;
        self.step(&["export", "demo", "--out", "export", "--entity", "worklogs"], None).await?;
        self.compare()
    }

    fn title(title: &str) -> anyhow::Result<()> {
        Ok(out::data(&format!("\n{title}"))?)
    }

    /// Runs this program with these arguments and shows the command.
    async fn step(&self, arguments: &[&str], stdin: Option<&str>) -> anyhow::Result<()> {
        Self::show(arguments, stdin)?;
        let mut child = self.spawn(arguments, stdin.is_some(), false)?;
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), stdin) {
            pipe.write_all(text.as_bytes()).await?;
        }
        let status = child.wait().await?;
        ensure!(status.success(), "`fermata {}` ended with {status}", arguments.join(" "));
        Ok(())
    }

    async fn interrupted_backup(&self) -> anyhow::Result<()> {
        let arguments = ["backup", "demo"];
        Self::show(&arguments, None)?;
        let mut child = self.spawn(&arguments, false, true)?;
        let began = Instant::now();
        while self.sim.ledger().total.accepted < KILL_AFTER && child.try_wait()?.is_none() {
            ensure!(began.elapsed() < KILL_WITHIN, "the backup did not get on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().await?;
        let asked = self.sim.ledger().total.accepted;
        Ok(out::data(&format!(
            "Killed after {asked} requests. No snapshot is there yet, and nothing is lost."
        ))?)
    }

    fn show(arguments: &[&str], stdin: Option<&str>) -> anyhow::Result<()> {
        let stdin = if stdin.is_some() { " < token.txt" } else { "" };
        Ok(out::data(&format!("$ fermata {}{stdin}", arguments.join(" ")))?)
    }

    fn spawn(&self, arguments: &[&str], stdin: bool, hidden: bool) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .arg("--quiet")
            .current_dir(&self.folder)
            .env_clear()
            .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
            .kill_on_drop(true);
        if hidden {
            command.stdout(Stdio::null());
        }
        command.spawn().with_context(|| format!("cannot start {}", self.program.display()))
    }

    /// Holds the exported worklogs against those of the simulated site.
    fn compare(&self) -> anyhow::Result<()> {
        let mut exported = lines(&self.folder.join("export/worklogs.ndjson"))?;
        let mut truth = self.sim.truth(1, "worklogs");
        exported.sort_unstable();
        truth.sort_unstable();
        ensure!(exported == truth, "the exported worklogs are not those of the simulated site");
        let count = out::count(truth.len() as u64);
        Ok(out::data(&format!(
            "All {count} worklogs are there, each the same to the byte as in the simulated Tempo."
        ))?)
    }
}

fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}
