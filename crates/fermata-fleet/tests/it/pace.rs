//! The pace that workers share. What takes minutes runs on a virtual clock, through the very script that Redis runs.

mod law;
mod outage;
mod script;
mod shared;
mod simulated;

use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_fleet::Link;
use fermata_fleet::pace::{Ask, Budget};
use fermata_fleet::testing::RedisServer;

/// When virtual clocks start, in µs: some day in 2026.
const START: u64 = 1_790_000_000_000_000;
const SECOND: u64 = 1_000_000;
/// Further apart than the rate says, as in the pace itself.
const SLACK: f64 = 1.005;

fn acme() -> Tenant {
    "acme".parse().unwrap()
}

fn start() -> (RedisServer, tempfile::TempDir, Budget) {
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &["--appendonly", "no"]);
    let budget = Budget::new(Link::new(&server.url(), "t").unwrap(), "w");
    (server, folder, budget)
}

/// A question as a worker asks it, that has heard of nobody else.
fn ask(tenant: &Tenant, period: Duration) -> Ask<'_> {
    Ask {
        tenant,
        period,
        burst: 1,
        wait_max: Duration::from_secs(10),
        hold: Duration::from_millis(1_500),
        accepted: false,
        returning: false,
        address: None,
    }
}

/// A token bucket, as Tempo's gateway may keep it.
#[derive(Debug)]
struct Bucket {
    rate: f64,
    depth: f64,
    tokens: f64,
    at_us: u64,
}

impl Bucket {
    fn new(rate: f64, depth: f64) -> Self {
        Self { rate, depth, tokens: depth, at_us: 0 }
    }

    fn takes(&mut self, now_us: u64) -> bool {
        let seconds = now_us.saturating_sub(self.at_us) as f64 / 1e6;
        self.tokens = (self.tokens + seconds * self.rate).min(self.depth);
        self.at_us = now_us;
        let takes = self.tokens >= 1.0 - 1e-9;
        if takes {
            self.tokens -= 1.0;
        }
        takes
    }
}
