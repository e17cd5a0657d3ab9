//! The log, on stderr. Only our own crates speak below `warn`: what a dependency traces is not ours to vouch for.

use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::{Config, LogFormat};

const OURS: [&str; 6] =
    ["fermata", "fermata_core", "fermata_tempo", "fermata_vault", "fermata_engine", "fermata_fleet"];

/// Starts the log.
pub(crate) fn start(config: &Config) {
    let least = config.log_level.into_level().unwrap_or(Level::ERROR);
    let filter = Targets::new()
        .with_targets(OURS.map(|target| (target, config.log_level)))
        .with_default(LevelFilter::from_level(least.min(Level::WARN)));
    let registry = tracing_subscriber::registry().with(filter);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => registry.with(layer.compact()).init(),
        LogFormat::Json => {
            registry.with(layer.json()).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        }
    }
}
