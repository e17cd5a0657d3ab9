//! How much work the quotas can feed now: what the fleet is scaled by.
//!
//! A tenant that may be asked five times a second keeps six jobs busy, however many wait: more workers than its jobs take
//! would wait for its quota. So the answer is made of places that can be used, and not of jobs that wait.

use std::collections::{BTreeSet, HashMap};

use fermata_core::names::Tenant;
use serde::Serialize;

use super::{JobId, Queue, QueueView};
use crate::link::LinkError;
use crate::produce::{CAP_MAX, cap, in_flight};

/// Tenants that are asked about at once: Redis is held up for a few milliseconds.
const PAGE: usize = 500;
/// The places of a worker, where none was heard of yet.
const PLACES: u64 = 16;

/// What the quotas can feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Demand {
    /// Workers that it takes.
    pub workers: u64,
    /// Tenants that have jobs in line or at work.
    pub tenants: u64,
    /// Jobs that their quotas can feed at once.
    pub jobs: u64,
    /// Requests a second that the quotas of tenants with jobs in line allow, and their address; without tenants that have no limit.
    pub requests_per_second: f64,
    /// Places that a worker has.
    pub places: u64,
}

/// A tenant, as the queue and the pace know it.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    ready: u64,
    busy: u64,
    cap: Option<u32>,
    /// Requests a second; none where there is no limit, or a release of before pushed its jobs.
    rate: Option<f64>,
    factor: f64,
    /// Whether a job in line may begin.
    open: bool,
}

type Answer = ((Option<String>, Option<u64>, Option<u32>, Option<f64>), bool, u64, Option<f64>);

impl Demand {
    /// What leaves by one address feeds no more jobs than that address may ask for.
    fn by(mut self, egress_rate: Option<f64>) -> Self {
        if let Some(rate) = egress_rate {
            self.jobs = self.jobs.min(in_flight(rate));
            self.requests_per_second = self.requests_per_second.min(rate);
        }
        self.workers = self.jobs.div_ceil(self.places.max(1));
        self
    }

    fn add(&mut self, work: Work) {
        if work.ready + work.busy == 0 {
            return;
        }
        self.tenants += 1;
        let rate = work.rate.map(|rate| rate * work.factor);
        let fed = rate.map_or(work.cap.unwrap_or(CAP_MAX), cap);
        // What is at work already has its place, whatever may begin.
        let beginning = if work.open { work.ready } else { 0 };
        self.jobs += (work.busy + beginning).min(u64::from(fed).max(work.busy));
        if beginning > 0 {
            self.requests_per_second += rate.unwrap_or(0.0);
        }
    }
}

impl Queue {
    /// What the quotas of all tenants can feed now, in a queue that looks like this; and the address that all workers share, if
    /// they do, by what it may ask in a second.
    pub async fn demand(&self, view: &QueueView, egress_rate: Option<f64>) -> Result<Demand, LinkError> {
        let mut ask = redis::pipe();
        ask.cmd("ZRANGE").arg(self.key("ring")).arg(0).arg(-1);
        ask.cmd("ZRANGE").arg(self.key("running")).arg(0).arg(-1);
        let (ring, running): (Vec<String>, Vec<String>) = self.link.ask_all(&ask).await?;
        let running = running.iter().filter_map(|id| Some(id.parse::<JobId>().ok()?.tenant));
        let tenants: BTreeSet<Tenant> =
            ring.iter().filter_map(|name| name.parse().ok()).chain(running).collect();
        let tenants: Vec<_> = tenants.into_iter().collect();
        let mut demand = Demand { places: places(view), ..Demand::default() };
        for page in tenants.chunks(PAGE) {
            let mut ask = redis::pipe();
            for tenant in page {
                let about = self.key(&format!("tenant:{tenant}"));
                ask.cmd("HMGET").arg(about).arg(&["held", "busy", "cap", "rate"]);
                ask.cmd("EXISTS").arg(self.key(&format!("cool:{tenant}")));
                ask.cmd("LLEN").arg(self.key(&format!("ready:{tenant}")));
                ask.cmd("HGET").arg(self.key(&format!("pace:{tenant}"))).arg("factor");
            }
            let answers: Vec<redis::Value> = self.link.ask_all(&ask).await?;
            for answer in answers.chunks_exact(4) {
                let ((held, busy, cap, rate), cools, ready, factor): Answer =
                    super::get(redis::Value::Array(answer.to_vec()))?;
                demand.add(Work {
                    ready,
                    busy: busy.unwrap_or(0),
                    cap,
                    rate: rate.filter(|rate| *rate > 0.0),
                    factor: factor.map_or(1.0, |factor| factor / 1e6),
                    open: held.is_none() && !cools && view.paused.is_none(),
                });
            }
        }
        Ok(demand.by(egress_rate))
    }
}

/// What most workers have: while a fleet is changed over there are two kinds.
fn places(view: &QueueView) -> u64 {
    let mut kinds: HashMap<u32, usize> = HashMap::new();
    for worker in view.workers.iter().filter(|worker| !worker.stopping && worker.places > 0) {
        *kinds.entry(worker.places).or_default() += 1;
    }
    let most = kinds.into_iter().max_by_key(|(places, count)| (*count, *places));
    most.map_or(PLACES, |(places, _)| u64::from(places))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_fed_than_the_quota_allows() {
        let check = |work: Work, expect: (u64, f64)| {
            let mut demand = Demand::default();
            demand.add(work);
            assert_eq!((demand.jobs, demand.requests_per_second), expect, "{work:?}");
        };
        let work =
            Work { ready: 50, cap: Some(6), rate: Some(5.0), factor: 1.0, open: true, ..Work::default() };
        check(work, (6, 5.0));
        check(Work { ready: 2, busy: 1, ..work }, (3, 5.0));
        check(Work { busy: 6, ..work }, (6, 5.0));
        // Somebody else uses the quota too.
        check(Work { factor: 0.2, ..work }, (2, 1.0));
        check(Work { factor: 0.2, busy: 5, ..work }, (5, 1.0));
        // Held back, cooling or paused: nothing begins.
        check(Work { busy: 2, open: false, ..work }, (2, 0.0));
        check(Work { open: false, ..work }, (0, 0.0));
        check(Work { ready: 0, busy: 3, ..work }, (3, 0.0));
        check(Work { rate: None, ..work }, (6, 0.0));
        check(Work { ready: 0, ..work }, (0, 0.0));
    }

    #[test]
    fn workers_for_what_is_fed() {
        let check = |jobs: u64, places: u64, egress_rate: Option<f64>, expect: u64| {
            let demand = Demand { jobs, places, requests_per_second: 50.0, ..Demand::default() };
            let demand = demand.by(egress_rate);
            assert_eq!(demand.workers, expect, "{demand:?} {egress_rate:?}");
            assert!(demand.requests_per_second <= egress_rate.unwrap_or(50.0), "{demand:?}");
        };
        check(0, 16, None, 0);
        check(1, 16, None, 1);
        check(16, 16, None, 1);
        check(17, 16, None, 2);
        check(6_000, 16, None, 375);
        // Five requests a second keep six jobs busy.
        check(6_000, 16, Some(5.0), 1);
        check(6_000, 4, Some(5.0), 2);
        check(6_000, 16, Some(100.0), 8);
    }
}
