//! The log, on stderr, and traces, to a collector. Only our own crates speak below `warn`: what a dependency traces is not
//! ours to vouch for.
//!
//! The log is made of events and traces are made of spans. So neither changes with the other, and what an error quotes of an
//! answer is in the log alone.

use tracing::Level;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::prelude::*;

use crate::config::{Config, LogFormat};
use crate::traces::Traces;

const OURS: [&str; 6] =
    ["fermata", "fermata_core", "fermata_tempo", "fermata_vault", "fermata_engine", "fermata_fleet"];

/// Starts the log, and hands the spans to `traces` where there are any to be made.
pub(crate) fn start(config: &Config, traces: Option<&Traces>) {
    let least = config.log_level.into_level().unwrap_or(Level::ERROR);
    let spoken = Targets::new()
        .with_targets(OURS.map(|target| (target, config.log_level)))
        .with_default(LevelFilter::from_level(least.min(Level::WARN)));
    let events = spoken.and(filter_fn(|of| !of.is_span()));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let log = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr);
    let log = match config.log_format {
        LogFormat::Text => log.compact().boxed(),
        LogFormat::Json => log.json().boxed(),
    };
    // Of a layer that is not there the registry thinks that it wants all: without a filter each span would cost two
    // microseconds to make, for nobody.
    let heard = if traces.is_some() { LevelFilter::INFO } else { LevelFilter::OFF };
    let ours = Targets::new().with_targets(OURS.map(|target| (target, heard)));
    let spans = ours.and(filter_fn(|of| !of.is_event()));
    let traces = traces.map(Traces::layer);
    tracing_subscriber::registry().with(log.with_filter(events)).with(traces.with_filter(spans)).init();
    if config.log_format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    }
}
