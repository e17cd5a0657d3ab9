//! A fleet under a storm: workers killed, stopped and frozen, Redis killed, frozen and emptied, a Tempo that errs.
//!
//! When the storm is over every tenant has its one snapshot, which is the site to the record; the quota was never
//! overspent, no token is where it does not belong, and nothing is left running. The storm follows from a seed:
//! `FERMATA_SEED=17 FERMATA_CHAOS_SECONDS=60 cargo nextest run -p fermata-tests chaos --no-capture`.

mod blow;
mod dice;
mod proof;
mod storm;

use std::time::Duration;

use tempo_sim::{Quirks, Sim, SimBuilder, Sizes};

use crate::fleet::Fleet;

/// The seed of the storm that the tests always go through.
const SEED: u64 = 1;
/// How long it lasts.
const STORM_SECONDS: u64 = 20;
/// Sites.
const TENANTS: u32 = 50;
/// Every so many sites one is large.
const LARGE_EVERY: u32 = 15;
/// Requests per second that a tenant's quota allows, in its settings and in the simulator.
const RATE: u32 = 20;
/// How many of them may come at once, since what leaves evenly does not arrive so on a busy machine.
const BURST: u32 = 10;
/// Rows of a page: few, so that small sites have jobs of many pages.
const PAGE_ROWS: u32 = 50;
/// How long an answer takes: so long that a process that dies has requests under way.
const LATENCY: Duration = Duration::from_millis(40);

/// How hard it blows.
#[derive(Debug)]
struct Numbers {
    seed: u64,
    storm: Duration,
}

impl Numbers {
    /// From the environment, or those of the tests.
    fn read() -> Self {
        let number = |name: &str, usual: u64| {
            #[expect(
                clippy::disallowed_methods,
                reason = "the one place where these tests read the environment"
            )]
            let given = std::env::var(name).ok();
            given.map_or(usual, |text| text.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
        };
        let storm = Duration::from_secs(number("FERMATA_CHAOS_SECONDS", STORM_SECONDS));
        Self { seed: number("FERMATA_SEED", SEED), storm }
    }
}

#[test]
fn a_fleet_in_a_storm_loses_nothing() {
    let numbers = Numbers::read();
    let fleet = Fleet::start(sites(&numbers), TENANTS, f64::from(RATE));
    let mut storm = storm::Storm::new(fleet, numbers.seed);
    storm.blow(numbers.storm);
    let log = storm.calm_down();
    proof::prove(storm, &log);
}

/// Many small sites and some larger ones; the longer the storm, the more there is to do in it.
fn sites(numbers: &Numbers) -> SimBuilder {
    let more = usize::try_from(numbers.storm.as_secs() / STORM_SECONDS).unwrap_or(1).max(1);
    let quirks = Quirks { limit_max: Some(PAGE_ROWS), ..Quirks::default() };
    let mut builder =
        Sim::builder().seed(numbers.seed).rate(RATE.into()).burst(BURST).latency(LATENCY).quirks(quirks);
    for tenant in 1..=TENANTS {
        let worklogs = if tenant.is_multiple_of(LARGE_EVERY) {
            2_000 * more
        } else {
            usize::try_from(tenant).unwrap_or(0) % 7 * 40 * more
        };
        builder = builder.sizes_of(tenant, small(worklogs));
    }
    builder
}

/// A site with little besides its worklogs.
fn small(worklogs: usize) -> Sizes {
    Sizes {
        users: 4,
        teams: 2,
        accounts: 4,
        plans: 20,
        projects: 1,
        audit_events: 60,
        ..Sizes::for_worklogs(worklogs)
    }
}
