//! Workers that ask a Tempo without end, on a virtual clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_fleet::pace::{Ask, Budget};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{Bucket, SECOND, SLACK, START, acme, ask};

/// What is simulated.
pub(super) struct Scene {
    pub(super) rate: f64,
    pub(super) depth: f64,
    pub(super) workers: usize,
    /// The part of the quota that somebody else asks for, at each second; all of it, and nothing is let through.
    pub(super) other: fn(u64) -> f64,
    /// A worker is lost so often, and another takes its place.
    pub(super) killed_every_seconds: Option<u64>,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// When requests arrived, in µs from the start, and whether they were let through.
    arrived: Vec<(u64, bool)>,
    /// The same of somebody else's.
    others: Vec<(u64, bool)>,
    /// The factor, by slots.
    factors: Vec<(u64, f64)>,
    /// Calls of the script.
    pub(super) calls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ask(usize),
    Send(usize),
    Arrive(usize),
    Answer(usize, bool),
    Other,
    Kill,
}

/// What a worker knows.
#[derive(Clone, Copy)]
struct Known {
    accepted: bool,
    active: u32,
}

struct Simulation<'a> {
    scene: &'a Scene,
    budget: Budget,
    tenant: Tenant,
    period: Duration,
    bucket: Bucket,
    random: SmallRng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    born: u64,
    alive: BTreeMap<usize, Known>,
    outcome: Outcome,
}

impl Scene {
    /// A quota of which others take nothing.
    pub(super) fn new(rate: f64, depth: f64, workers: usize) -> Self {
        Self { rate, depth, workers, other: |_| 0.0, killed_every_seconds: None }
    }

    /// Plays it for so long.
    pub(super) async fn play(&self, budget: &Budget, seconds: u64) -> Outcome {
        let mut simulation = Simulation {
            scene: self,
            budget: budget.clone(),
            tenant: acme(),
            period: Duration::from_secs_f64(SLACK / self.rate),
            bucket: Bucket::new(self.rate, self.depth),
            random: SmallRng::seed_from_u64(7),
            events: BinaryHeap::new(),
            born: 0,
            alive: BTreeMap::new(),
            outcome: Outcome::default(),
        };
        for worker in 0..self.workers {
            simulation.hire(worker, 0);
        }
        simulation.push(0, Event::Other);
        simulation.push(self.killed_every_seconds.unwrap_or(u64::MAX / SECOND) * SECOND, Event::Kill);
        while let Some(Reverse((now, _, event))) = simulation.events.pop() {
            if now >= seconds * SECOND {
                break;
            }
            simulation.happen(now, event).await;
        }
        simulation.outcome
    }
}

impl Simulation<'_> {
    fn push(&mut self, at: u64, event: Event) {
        self.born += 1;
        self.events.push(Reverse((at, self.born, event)));
    }

    fn hire(&mut self, worker: usize, now: u64) {
        self.alive.insert(worker, Known { accepted: false, active: 1 });
        self.push(now, Event::Ask(worker));
    }

    /// One way to Tempo or back: 40 ms, and 12 more on average.
    fn way(&mut self) -> u64 {
        let luck: f64 = self.random.random_range(1e-9..1.0);
        40_000 + micros(Duration::from_secs_f64(-luck.ln() * 0.012))
    }

    fn others(&self, now: u64) -> f64 {
        (self.scene.other)(now / SECOND)
    }

    async fn happen(&mut self, now: u64, event: Event) {
        match event {
            Event::Ask(worker) => self.ask(worker, now).await,
            Event::Send(worker) if self.alive.contains_key(&worker) => {
                let at = now + self.way();
                self.push(at, Event::Arrive(worker));
            }
            Event::Arrive(worker) => {
                let takes = self.others(now) < 1.0 && self.bucket.takes(now);
                self.outcome.arrived.push((now, takes));
                let at = now + self.way();
                self.push(at, Event::Answer(worker, takes));
            }
            Event::Answer(worker, takes) => self.answer(worker, takes, now).await,
            Event::Other => {
                let part = self.others(now);
                let draws = part > 0.0 && part < 1.0;
                if draws {
                    let takes = self.bucket.takes(now);
                    self.outcome.others.push((now, takes));
                }
                let pause = if draws { 1.0 / (part * self.scene.rate) } else { 0.05 };
                // A client with no pace of its own: evenly spaced ones lock into step with ours, and one always wins.
                let luck = self.random.random_range(0.5..1.5);
                self.push(now + micros(Duration::from_secs_f64(pause * luck)), Event::Other);
            }
            Event::Kill => {
                let lost = *self.alive.keys().next().unwrap();
                self.alive.remove(&lost);
                self.hire(lost + self.scene.workers, now);
                self.push(now + self.scene.killed_every_seconds.unwrap() * SECOND, Event::Kill);
            }
            Event::Send(_) => {}
        }
    }

    async fn ask(&mut self, worker: usize, now: u64) {
        let Some(Known { accepted, active }) = self.alive.get(&worker).copied() else { return };
        let hold = Duration::from_millis(1_500).max(self.period * (active + 1)).min(Duration::from_secs(10));
        let asked = Ask { accepted, hold, ..ask(&self.tenant, self.period) };
        self.outcome.calls += 1;
        let budget = self.budget.of(&format!("w{worker}")).at(START + now);
        let slot = budget.reserve(asked).await.unwrap();
        self.alive.insert(worker, Known { accepted: false, active: slot.active.max(1) });
        let at = now + micros(slot.wait);
        if slot.granted {
            self.outcome.factors.push((at, slot.factor));
            self.push(at, Event::Send(worker));
        } else {
            self.push(at, Event::Ask(worker));
        }
    }

    async fn answer(&mut self, worker: usize, takes: bool, now: u64) {
        let Some(known) = self.alive.get_mut(&worker) else { return };
        let mut again = now;
        if takes {
            known.accepted = true;
        } else {
            self.outcome.calls += 1;
            let accepted = std::mem::take(&mut known.accepted);
            let budget = self.budget.at(START + now);
            let pause = budget.cool(&self.tenant, self.period, None, accepted).await.unwrap();
            again += micros(pause);
        }
        self.push(again, Event::Ask(worker));
    }
}

impl Outcome {
    /// Requests that arrived between two seconds, and those of them that were refused.
    pub(super) fn requests(&self, from: u64, to: u64) -> (f64, f64) {
        count(&self.arrived, from, to)
    }

    /// The part of somebody else's that was refused.
    pub(super) fn others_refused(&self, from: u64, to: u64) -> f64 {
        let (requests, refused) = count(&self.others, from, to);
        if requests > 0.0 { refused / requests } else { 0.0 }
    }

    /// How many seconds after a moment the full rate was back.
    pub(super) fn full_after(&self, from: u64) -> Option<u64> {
        let full = self.factors.iter().find(|(at, factor)| *at >= from * SECOND && *factor >= 0.99);
        full.map(|(at, _)| at / SECOND - from)
    }
}

fn count(requests: &[(u64, bool)], from: u64, to: u64) -> (f64, f64) {
    let window = from * SECOND..to * SECOND;
    let within = || requests.iter().filter(|(at, _)| window.contains(at));
    (within().count() as f64, within().filter(|(_, takes)| !takes).count() as f64)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}
