//! What was asked of the simulator, counted.
//!
//! Promises exact counts per tenant and path template, and the highest number of requests seen in any one second (a
//! sliding window, not clock seconds). Control requests under `/_sim` are not counted.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The width of the sliding window.
const WINDOW: Duration = Duration::from_secs(1);

/// Counts of one tenant, one path or all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Requests that arrived.
    pub requests: u64,
    /// Requests that the quota let through.
    pub accepted: u64,
    /// Requests answered 429.
    pub refused: u64,
    /// The most requests that arrived within any second.
    pub peak_per_second: u64,
    /// The most requests that the quota let through within any second.
    pub peak_accepted_per_second: u64,
    /// Body bytes sent, as compressed.
    pub bytes: u64,
}

/// One tenant's counts, in all and by `METHOD /path/{template}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantLedger {
    /// All requests of the tenant.
    pub total: Count,
    /// The same by method and path template; `unmatched` for paths that no operation has.
    pub paths: BTreeMap<String, Count>,
}

/// All counts; requests whose token names no tenant stand under `unknown`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// All requests.
    pub total: Count,
    /// By tenant name (`sim-1`).
    pub tenants: BTreeMap<String, TenantLedger>,
}

#[derive(Debug, Default)]
struct Tally {
    count: Count,
    arrivals: VecDeque<Instant>,
    accepted: VecDeque<Instant>,
}

fn slide(window: &mut VecDeque<Instant>, now: Instant) -> u64 {
    while window.front().is_some_and(|first| now.duration_since(*first) >= WINDOW) {
        window.pop_front();
    }
    window.push_back(now);
    window.len() as u64
}

impl Tally {
    fn arrive(&mut self, now: Instant, accepted: bool) {
        self.count.requests += 1;
        self.count.peak_per_second = self.count.peak_per_second.max(slide(&mut self.arrivals, now));
        if accepted {
            self.count.accepted += 1;
            self.count.peak_accepted_per_second =
                self.count.peak_accepted_per_second.max(slide(&mut self.accepted, now));
        } else {
            self.count.refused += 1;
        }
    }
}

/// The ledger while it is being written.
#[derive(Debug, Default)]
pub(crate) struct Books {
    total: Tally,
    tenants: BTreeMap<String, (Tally, BTreeMap<String, Tally>)>,
}

impl Books {
    pub(crate) fn arrive(&mut self, tenant: &str, path: &str, now: Instant, accepted: bool) {
        self.total.arrive(now, accepted);
        let (all, paths) = self.tenants.entry(tenant.to_owned()).or_default();
        all.arrive(now, accepted);
        paths.entry(path.to_owned()).or_default().arrive(now, accepted);
    }

    pub(crate) fn sent(&mut self, tenant: &str, path: &str, bytes: u64) {
        self.total.count.bytes += bytes;
        let (all, paths) = self.tenants.entry(tenant.to_owned()).or_default();
        all.count.bytes += bytes;
        paths.entry(path.to_owned()).or_default().count.bytes += bytes;
    }

    pub(crate) fn ledger(&self) -> Ledger {
        let tenants = self.tenants.iter().map(|(name, (all, paths))| {
            let paths = paths.iter().map(|(path, tally)| (path.clone(), tally.count.clone())).collect();
            (name.clone(), TenantLedger { total: all.count.clone(), paths })
        });
        Ledger { total: self.total.count.clone(), tenants: tenants.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_over_any_second() {
        let mut books = Books::default();
        let start = Instant::now();
        for ms in [0, 600, 700, 800, 1100, 1650] {
            books.arrive("sim-1", "GET /4/teams", start + Duration::from_millis(ms), ms != 700);
        }
        let ledger = books.ledger();
        let total = &ledger.tenants["sim-1"].total;
        assert_eq!((total.requests, total.accepted, total.refused), (6, 5, 1));
        assert_eq!((total.peak_per_second, total.peak_accepted_per_second), (4, 3));
        assert_eq!(ledger.tenants["sim-1"].paths["GET /4/teams"].requests, 6);
    }
}
