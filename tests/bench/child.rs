//! A process, and what it used.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How often a process is looked at. A peak in its last moments may be missed, no more than that.
const LOOK: Duration = Duration::from_millis(5);
/// Linux tells processor time in hundredths of a second, on every machine.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process used.
#[derive(Debug)]
pub(crate) struct Used {
    /// From its start to its end, in seconds.
    pub(crate) wall: f64,
    /// User and system time of all its threads, in seconds.
    pub(crate) cpu: f64,
    /// The most memory that it had at a time, in MiB (`VmHWM`).
    pub(crate) peak: f64,
    /// What it wrote to stdout.
    pub(crate) said: String,
}

/// Runs a command to its end; it must end well.
pub(crate) async fn run(command: &mut Command) -> Result<Used> {
    let said = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(File::create(said.path())?).spawn()?;
    let (mut cpu, mut peak) = (0.0, 0.0);
    // A process that has ended keeps its times until somebody waits for it.
    loop {
        let (state, so_far) = times(child.id())?;
        cpu = f64::max(cpu, so_far);
        if state == "Z" {
            break;
        }
        peak = f64::max(peak, peak_so_far(child.id()));
        tokio::time::sleep(LOOK).await;
    }
    let wall = began.elapsed().as_secs_f64();
    let status = child.wait()?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(Used { wall, cpu, peak, said: std::fs::read_to_string(said.path())? })
}

/// The processor time of a process so far, in seconds.
pub(crate) fn cpu(pid: u32) -> Result<f64> {
    times(pid).map(|(_, cpu)| cpu)
}

/// The most memory that a process has had at a time, in MiB (`VmHWM`); 0 when it has ended.
pub(crate) fn peak_so_far(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Bytes that a process has read from files so far, cached or not.
pub(crate) fn bytes_read(pid: u32) -> Result<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).context("this needs Linux")?;
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    Ok(line.context("/proc/<pid>/io has no rchar")?.parse()?)
}

/// The state of a process and its processor time so far.
fn times(pid: u32) -> Result<(String, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("this needs Linux")?;
    // The name before the last bracket may hold anything.
    let (_, rest) = stat.rsplit_once(") ").context("/proc/<pid>/stat has no name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or_default();
    let (user, system) = (ticks(11), ticks(12));
    Ok((fields[0].to_owned(), f64::from(user + system) / TICKS_PER_SECOND))
}
