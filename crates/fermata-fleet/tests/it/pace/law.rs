//! The law: no window holds more slots than the rate allows, whatever happens.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_fleet::pace::{Ask, Budget};
use fermata_fleet::{Link, LinkError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{SECOND, START, ask, start};

/// Workers; each has one slot ahead of it at most.
const WORKERS: usize = 6;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes, in ms.
    Pass(u64),
    /// A worker that waits for no slot asks for one.
    Ask(usize),
    /// A worker is lost, with its slot; another takes its place.
    Crash(usize),
    /// A worker is refused.
    Refused(usize),
    /// A worker that could not reach Redis comes back.
    Return(usize),
    /// Redis's clock is set, in ms.
    Jump(i64),
    /// Redis comes back empty.
    Empty,
    /// A replica takes over that knows nothing of so many of the last slots.
    Failover(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u64..400).prop_map(Step::Pass),
        1 => (0_u64..20_000).prop_map(Step::Pass),
        20 => (0..WORKERS).prop_map(Step::Ask),
        1 => (0..WORKERS).prop_map(Step::Crash),
        1 => (0..WORKERS).prop_map(Step::Refused),
        1 => (0..WORKERS).prop_map(Step::Return),
        1 => (-200_000_i64..200_000).prop_map(Step::Jump),
        1 => Just(Step::Empty),
        1 => (1_usize..4).prop_map(Step::Failover),
    ]
}

#[derive(Clone, Default)]
struct Worker {
    /// When its slot is.
    busy_until: u64,
    accepted: bool,
    /// Workers as last heard.
    active: u32,
}

struct World {
    budget: Budget,
    link: Link,
    tenant: Tenant,
    period: Duration,
    /// Time as it passes; Redis's clock may be off.
    now: u64,
    off: i64,
    workers: Vec<Worker>,
    slots: Vec<u64>,
    /// When something happened that may give slots twice, and how many.
    faults: Vec<(u64, u64)>,
    /// When the next slot was, after each one that was given.
    tats: Vec<String>,
}

impl World {
    fn new(budget: Budget, link: Link, tenant: Tenant, period: Duration) -> Self {
        let worker = Worker { active: 1, ..Worker::default() };
        let workers = vec![worker; WORKERS];
        let (now, off) = (START, 0);
        Self { budget, link, tenant, period, now, off, workers, slots: vec![], faults: vec![], tats: vec![] }
    }

    fn redis(&self) -> Budget {
        self.budget.at(self.now.strict_add_signed(self.off))
    }

    async fn take(&mut self, step: Step) -> Result<(), LinkError> {
        match step {
            Step::Pass(millis) => self.now += millis * 1_000,
            Step::Ask(n) => self.ask(n, false).await?,
            Step::Return(n) => self.ask(n, true).await?,
            Step::Crash(n) if self.workers[n].busy_until > self.now => {
                let slot = self.workers[n].busy_until;
                let lost = self.slots.iter().rposition(|at| *at == slot);
                self.slots.remove(lost.expect("it was given"));
                self.workers[n] = Worker { active: 1, ..Worker::default() };
            }
            Step::Refused(n) => {
                let accepted = std::mem::take(&mut self.workers[n].accepted);
                self.redis().cool(&self.tenant, self.period, None, accepted).await?;
            }
            Step::Jump(millis) => {
                self.off += millis * 1_000;
                // Ahead, what was reserved is over before it was used. Back by more than is ever reserved, it is forgotten.
                self.fault(if millis > 0 { self.ahead() } else { self.beyond_hold() });
            }
            Step::Empty => {
                self.link.ask::<()>(&redis::cmd("FLUSHALL")).await?;
                self.tats.clear();
                self.fault(self.beyond_hold());
            }
            Step::Failover(lost) => {
                let lost = lost.min(self.tats.len().saturating_sub(1));
                self.tats.truncate(self.tats.len() - lost);
                if let Some(tat) = self.tats.last() {
                    let key = format!("{}:pace:{}", self.link.prefix(), self.tenant.as_str());
                    self.link.ask::<()>(redis::cmd("HSET").arg(key).arg("tat").arg(tat)).await?;
                    self.fault(lost as u64);
                }
            }
            Step::Crash(_) => {}
        }
        Ok(())
    }

    async fn ask(&mut self, n: usize, returning: bool) -> Result<(), LinkError> {
        if self.workers[n].busy_until > self.now {
            return Ok(());
        }
        let hold = self.hold(self.workers[n].active);
        let accepted = std::mem::take(&mut self.workers[n].accepted);
        let asked = Ask { hold, accepted, returning, ..ask(&self.tenant, self.period) };
        let slot = self.redis().of(&format!("w{n}")).reserve(asked).await?;
        if slot.granted {
            let at = self.now + micros(slot.wait);
            self.slots.push(at);
            self.workers[n] = Worker { busy_until: at, accepted: true, active: slot.active };
            let key = format!("{}:pace:{}", self.link.prefix(), self.tenant.as_str());
            self.tats.push(self.link.ask(redis::cmd("HGET").arg(key).arg("tat")).await?);
        }
        Ok(())
    }

    fn hold(&self, active: u32) -> Duration {
        Duration::from_millis(1_500).max(self.period * (active + 1)).min(Duration::from_secs(10))
    }

    fn fault(&mut self, slots: u64) {
        self.faults.push((self.now, slots));
    }

    /// Slots that were given and are still to come, or that the next may not follow yet.
    fn ahead(&self) -> u64 {
        self.slots.iter().filter(|at| **at + micros(self.period) > self.now).count() as u64
    }

    /// Those that come later than any worker may hold on, since it does not know how many the others are.
    fn beyond_hold(&self) -> u64 {
        let least = self.workers.iter().map(|worker| self.hold(worker.active)).min().unwrap_or_default();
        let end = self.now + micros(least);
        self.slots.iter().filter(|at| **at + micros(self.period) > end).count() as u64
    }

    /// A window that holds more than it may.
    fn broken(&mut self) -> Option<String> {
        self.slots.sort_unstable();
        for (i, from) in self.slots.iter().enumerate() {
            for (j, to) in self.slots.iter().enumerate().skip(i) {
                let faults = self.faults.iter().filter(|(at, _)| at + 10 * SECOND >= *from && at <= to);
                let twice: u64 = faults.map(|(_, slots)| slots).sum();
                let most = (to - from) / micros(self.period) + 1 + twice;
                let given = (j - i + 1) as u64;
                if given > most {
                    return Some(format!(
                        "{given} slots from {} to {}, not {most}",
                        from - START,
                        to - START
                    ));
                }
            }
        }
        None
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

#[test]
fn no_window_holds_more_than_the_rate_allows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (server, _folder, budget) = {
        let _inside = runtime.enter();
        start()
    };
    let link = Link::new(&server.url(), "t").unwrap();
    let round = AtomicU32::new(0);
    let schedule = (20_u64..2_000, prop::collection::vec(step(), 1..150));
    let mut runner = TestRunner::new(Config { cases: 120, failure_persistence: None, ..Config::default() });
    let law = runner.run(&schedule, |(millis, steps)| {
        let tenant = format!("t{}", round.fetch_add(1, Ordering::Relaxed)).parse().unwrap();
        let mut world = World::new(budget.clone(), link.clone(), tenant, Duration::from_millis(millis));
        runtime.block_on(async {
            for step in steps {
                world.take(step).await.unwrap();
            }
        });
        prop_assert_eq!(world.broken(), None);
        Ok(())
    });
    // What proptest says of a failure is the shortest schedule that fails, ready to be played again.
    law.unwrap();
}
