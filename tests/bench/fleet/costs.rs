//! What Redis was asked, and how much memory it has taken.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fermata_fleet::Link;

/// Commands of workers that come over the wire. All others that are counted are, but for a few, called by the scripts.
const OVER_THE_WIRE: [&str; 8] =
    ["eval", "evalsha", "ping", "subscribe", "script|load", "bzpopmin", "hello", "client|setinfo"];

/// Calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// From outside.
    pub(crate) wire: u64,
    /// All, by scripts too.
    pub(crate) all: u64,
    /// Processor time of Redis for them, in microseconds.
    pub(crate) cpu_us: u64,
}

impl Calls {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            wire: self.wire - before.wire,
            all: self.all - before.all,
            cpu_us: self.cpu_us - before.cpu_us,
        }
    }
}

pub(crate) async fn calls(link: &Link) -> Result<Calls> {
    let said: String = link.ask(redis::cmd("INFO").arg("commandstats")).await?;
    let counts: BTreeMap<&str, (u64, u64)> = said.lines().filter_map(command).collect();
    let wire = OVER_THE_WIRE.iter().filter_map(|name| counts.get(name));
    Ok(Calls {
        wire: wire.map(|(calls, _)| calls).sum(),
        all: counts.values().map(|(calls, _)| calls).sum(),
        // What a script calls is in the script's time.
        cpu_us: ["eval", "evalsha"].iter().filter_map(|name| counts.get(name)).map(|(_, usec)| usec).sum(),
    })
}

/// Memory of all keys and what Redis needs for them, in bytes.
pub(crate) async fn memory(link: &Link) -> Result<u64> {
    let said: String = link.ask(redis::cmd("INFO").arg("memory")).await?;
    let used = said.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.context("Redis tells its memory")?.trim().parse()?)
}

/// `cmdstat_hget:calls=7,usec=9,...`
fn command(line: &str) -> Option<(&str, (u64, u64))> {
    let (name, counts) = line.strip_prefix("cmdstat_")?.split_once(':')?;
    let field = |name: &str| counts.split(',').find_map(|field| field.strip_prefix(name)?.parse().ok());
    Some((name, (field("calls=")?, field("usec=")?)))
}
