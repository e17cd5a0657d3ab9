#![doc = include_str!("../README.md")]

mod cli;
mod commands;
mod config;
mod dashboard;
mod desk;
mod exit;
mod lock;
mod logging;
mod out;
mod probes;
mod progress;
mod traces;

use std::process::ExitCode;

use clap::Parser;

use traces::Traces;

/// One keeps up with seven tenants at their full quotas (`just bench`), and memory is kept for each thread:
/// one for each core of a large machine would cost much and gain nothing.
const WORKERS: usize = 2;
/// Threads for files; each keeps what it once needed.
const BLOCKING_THREADS_MAX: usize = 4;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows whether this is help (stdout, 0) or a mistake (stderr, 2).
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let out = out::Out::new(cli.global.json, cli.global.quiet, cli.global.log);
    let result = config::Config::load(&cli.global, cli.command.log_level())
        .map_err(anyhow::Error::from)
        .and_then(|config| {
            if cli.global.check_config {
                return commands::check(&cli.command, &config, out);
            }
            let collector = config.collector.as_ref().zip(cli.command.traced());
            let traces =
                collector.map(|(collector, command)| Traces::start(collector, command)).transpose()?;
            logging::start(&config, traces.as_ref());
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(WORKERS)
                .max_blocking_threads(BLOCKING_THREADS_MAX)
                .enable_all()
                .build()?;
            let result = runtime.block_on(commands::run(cli.command, config, &out));
            if let Some(why) = traces.and_then(Traces::end) {
                out.say(&format!("warning: traces were not sent: {why}"));
            }
            result
        });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            out.error(&error);
            ExitCode::from(exit::code(&error))
        }
    }
}
