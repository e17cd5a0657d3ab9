//! The simulator as a program: arguments in, a listener until a signal.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tempo_sim::{Quirks, Sim, SimError};

/// Simulates the Tempo Cloud REST API v4 (timesheets for Jira).
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Tenants are named sim-1, sim-2, ...; their tokens are sim-token-1, sim-token-2, ...\n\
                  Controls are below /_sim: ledger, quirks, tokens, faults, mutate, schedule, history, truth."
)]
struct Args {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The same seed gives the same sites
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many tenants
    #[arg(long, default_value_t = 1)]
    tenants: u32,
    /// Worklogs per tenant; the sizes of all else follow
    #[arg(long, default_value_t = 10_000)]
    worklogs: usize,
    /// Requests per second and tenant; 0 for no limit
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// Requests that a rested tenant may make at once [default: the rate]
    #[arg(long)]
    burst: Option<u32>,
    /// Delay before each answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// "Now" at the start, such as 2026-03-01T12:00:00Z [default: the real time]
    #[arg(long)]
    now: Option<jiff::Timestamp>,
    /// Never compress answers
    #[arg(long)]
    no_gzip: bool,
    /// Serve the records of this folder (<entity>.jsonl) instead of generated ones
    #[arg(long, value_name = "DIR")]
    records: Option<PathBuf>,
    /// Faults, mutations and quirks after so many requests: a JSON list of steps
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Write <DIR>/<tenant>/<entity>.ndjson before listening
    #[arg(long, value_name = "DIR")]
    ground_truth: Option<PathBuf>,
}

async fn start(args: &Args) -> Result<Sim, SimError> {
    let mut builder = Sim::builder()
        .listen(args.listen)
        .seed(args.seed)
        .tenants(args.tenants)
        .worklogs(args.worklogs)
        .rate(args.rate)
        .latency(Duration::from_millis(args.latency_ms))
        .quirks(Quirks { gzip: !args.no_gzip, ..Quirks::default() });
    if let Some(burst) = args.burst {
        builder = builder.burst(burst);
    }
    if let Some(now) = args.now {
        builder = builder.now(now);
    }
    if let Some(dir) = &args.records {
        builder = builder.records(dir);
    }
    if let Some(file) = &args.script {
        builder = builder.script_file(file)?;
    }
    let sim = builder.start().await?;
    if let Some(dir) = &args.ground_truth {
        sim.write_ground_truth(dir)?;
    }
    Ok(sim)
}

/// Waits for SIGINT or SIGTERM.
async fn told_to_stop() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done,
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}

fn complain(error: &dyn std::error::Error) -> ExitCode {
    let mut message = format!("tempo-sim: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        message.push_str(": ");
        message.push_str(&error.to_string());
        source = error.source();
    }
    // Nothing is left to tell it to.
    let _ = writeln!(std::io::stderr(), "{message}");
    ExitCode::FAILURE
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if !args.rate.is_finite() || args.rate < 0.0 {
        return complain(&std::io::Error::other("--rate must be 0 or a positive number"));
    }
    let sim = match start(&args).await {
        Ok(sim) => sim,
        Err(error) => return complain(&error),
    };
    let mut lines = vec![sim.base_url().to_owned()];
    lines.extend((1..).zip(sim.tenants()).map(|(number, tenant)| format!("{tenant} {}", sim.token(number))));
    let text = lines.join("\n") + "\n";
    // A reader that went away does not stop the simulator.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
    if let Err(error) = told_to_stop().await {
        return complain(&error);
    }
    ExitCode::SUCCESS
}
