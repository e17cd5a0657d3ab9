//! One quota for all workers of a tenant.
//!
//! ```text
//! turn --> line of this process --> reserve in Redis --> sleep until the slot --> ceiling --> ask Tempo
//!                                        |  no answer in 250 ms
//!                                        +-----------> share: 0.9 x rate x factor / active workers
//! ```
//!
//! A slot is reserved and waited for: one call for a request, first come first served over the fleet, and no slot
//! lies idle while somebody wants it. What is promised: no window of any length holds more requests than the
//! rate allows and one, whatever crashes; when Redis comes back empty, or a worker comes back from its share, slots begin after all
//! that may still be on its way. A failover that loses the last second of writes may give that second's slots twice.
//!
//! A 429 cools the tenant down for the whole fleet, and lowers the *factor* by which all go slower. It rises by requests
//! that were let through, not by seconds: for 500 of them it stays a little below where Tempo refused, then it goes 1 %, 2 %, 4 % above.
//! So a round that ends in a refusal is some 600 requests long, at any rate, and refusals cost less than two in a thousand.
//! Measured on a virtual clock, against a token bucket that another client draws on unevenly (means of 20 to 40 runs; the tests in
//! `tests/it/pace/shared.rs` play one of each):
//!
//! | quota | depth of the bucket | the other takes | used of what is left | refused |
//! | --- | --- | --- | --- | --- |
//! | 100/s | 20 | nothing, 20 workers | 99.5 % | 0 |
//! | 100/s | 20 | 30 %, 60 % | 95.8 %, 97.5 % | 0.16 %, 0.15 % |
//! | 5/s | 5 | 30 %, 60 % | 94.1 %, 87.9 % | 0.13 %, 0.16 % |
//! | 5/s | 10 | 30 %, 60 % | 96.2 %, 93.1 % | 0.14 %, 0.16 % |
//!
//! Of 5/s the full rate is back 3 minutes after the other has gone (30 %; at most 6), or 7 (60 %; at most 13). Where the other comes
//! and goes by the minute (100/s) 84 % is used and 0.3 % refused: each time that it comes, the level has to be found.
//!
//! What it cannot do: requests that were given their slots before a 429 still leave, one for each worker at most. A call that stands in
//! Redis's queue while Redis stalls takes its slot when Redis goes on, and nobody uses it: one for each worker, too. Without
//! Redis the quota of an address is not kept.

mod budget;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fermata_core::names::Tenant;
use fermata_tempo::pace::{BoxFuture, WAIT_MAX};
use fermata_tempo::{NotNow, Pace, Turns};
use rand::RngExt;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::link::LinkError;

pub use budget::{Ask, Because, Budget, Counts, PaceView, Slot};

/// How much further apart than the rate says slots are; the same, for the same reason, as in [`Pace`].
const SLACK: f64 = 1.005;
/// What one process may ask for at most, whatever Redis says: a little above the rate, or it would be the pace.
const CEILING: f64 = 1.02;
/// The longest that an answer of Redis is waited for. Between zones it takes 1 ms; a slot at 5/s is 200 ms.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// How often Redis is asked whether it is back, by whoever wants a turn.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// The least time for slots that were given to be used up before others begin: longer than it takes every worker to notice that
/// Redis went or came.
const HOLD: Duration = Duration::from_millis(1_500);
/// The part of the rate that workers share without Redis, since they may be more than were last heard of.
const SHARE: f64 = 0.9;
/// After this long without Redis what was last heard is worth half.
const STALE: Duration = Duration::from_mins(1);
/// A slot may be used so late, or half a period late, whichever is longer: it never comes nearer to the next than half a period, and a
/// busy machine that wakes a little late loses nothing.
const LATE: Duration = Duration::from_millis(50);
/// Slots given up in a row for being late; a process that is always late would never ask.
const LATE_MAX: u32 = 3;

/// The pace of one tenant, shared by all workers. Clones share their place in it: all jobs of a tenant in a process are to ask one.
#[derive(Clone, Debug)]
pub struct SharedPace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    budget: Budget,
    tenant: Tenant,
    /// Between two slots; zero for no limit.
    period: Duration,
    address: Option<(String, Duration)>,
    /// The ceiling, and the pauses that this process knows of.
    local: Pace,
    accepted: AtomicBool,
    /// Tokio's mutex is fair, so whoever waits for it stands in line.
    line: Mutex<Line>,
}

/// What whoever is first in line knows.
#[derive(Debug)]
struct Line {
    /// As last heard.
    active: u32,
    factor: f64,
    away: Option<Away>,
}

/// Redis does not answer.
#[derive(Debug)]
struct Away {
    since: Instant,
    /// The next slot of the local share.
    next: Instant,
    /// The last one that was used.
    used: Option<Instant>,
    asked: Instant,
    /// Whether it answered when it was last asked: worth going for a slot.
    answered: bool,
    /// A question that is out. It outlives the turn that asked, since a connection may take longer than a turn.
    probe: Option<JoinHandle<bool>>,
}

/// What came of going for a slot.
enum Got {
    Turn,
    /// Nothing yet: go again.
    Again,
}

impl Budget {
    /// The pace of a tenant: requests per second (no limit unless positive), and the address that its requests leave by, with what
    /// all tenants together may ask from there.
    pub fn pace(&self, tenant: &Tenant, rate: f64, address: Option<(&str, f64)>) -> SharedPace {
        let address = address.map(|(name, rate)| (name.to_owned(), period(rate)));
        SharedPace(Arc::new(Inner {
            budget: self.clone(),
            tenant: tenant.clone(),
            period: period(rate),
            address: address.filter(|(_, period)| !period.is_zero()),
            local: Pace::new(rate * CEILING),
            accepted: AtomicBool::new(false),
            line: Mutex::new(Line { active: 1, factor: 1.0, away: None }),
        }))
    }
}

impl SharedPace {
    /// Whether anybody else has this place in line too.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Turns for SharedPace {
    fn turn(&self) -> BoxFuture<'_, Result<(), NotNow>> {
        Box::pin(async {
            let turn = self.0.turn().await;
            let counts = self.0.budget.counts();
            let count = if turn.is_ok() { &counts.turns } else { &counts.deferred };
            add_one(count);
            turn
        })
    }

    fn refused(&self, retry_after: Option<Duration>) -> BoxFuture<'_, Duration> {
        Box::pin(async move {
            let Inner { budget, tenant, period, local, accepted, .. } = &*self.0;
            // Known here first, and known here if Redis does not answer.
            let pause = local.refused(retry_after);
            let accepted = accepted.swap(false, Ordering::Relaxed);
            match timeout(ANSWER_TIMEOUT, budget.cool(tenant, *period, retry_after, accepted)).await {
                Ok(Ok(fleet)) => fleet.max(pause),
                Ok(Err(_)) | Err(_) => pause,
            }
        })
    }

    fn accepted(&self) {
        self.0.local.accepted();
        self.0.accepted.store(true, Ordering::Relaxed);
    }
}

impl Inner {
    async fn turn(&self) -> Result<(), NotNow> {
        let mut deadline = Instant::now() + WAIT_MAX;
        let Ok(mut line) = timeout_at(deadline, self.line.lock()).await else {
            return Err(not_now(self.period.max(HOLD)));
        };
        let mut late = 0;
        loop {
            let pause = self.local.pause_left();
            if Instant::now() + pause > deadline {
                return Err(not_now(pause));
            }
            sleep(pause).await;
            let got = if line.is_away() {
                // Without Redis there is no other job to take up, so nothing is lost by waiting for one's share.
                deadline = Instant::now() + WAIT_MAX;
                self.share(&mut line).await?
            } else {
                self.reserve(&mut line, deadline, &mut late).await?
            };
            if matches!(got, Got::Turn) {
                return Ok(());
            }
        }
    }

    /// A slot from Redis.
    async fn reserve(&self, line: &mut Line, deadline: Instant, late: &mut u32) -> Result<Got, NotNow> {
        let accepted = self.accepted.swap(false, Ordering::Relaxed);
        let hold = self.hold(line);
        let used = line.away.as_ref().and_then(|away| away.used);
        let ask = Ask {
            tenant: &self.tenant,
            period: self.period,
            burst: 1,
            wait_max: deadline.saturating_duration_since(Instant::now()),
            hold,
            accepted,
            // What other workers may still send is no older than what this one did.
            returning: used.is_some_and(|used| used.elapsed() < hold),
            address: self.address.as_ref().map(|(name, period)| (name.as_str(), *period)),
        };
        let slot = match timeout(ANSWER_TIMEOUT, self.budget.reserve(ask)).await {
            Ok(Ok(slot)) => slot,
            failed => {
                self.accepted.fetch_or(accepted, Ordering::Relaxed);
                let why = failed.map_or_else(|late| late.to_string(), |answer| why(answer.err()));
                self.lose(line, &why);
                return Ok(Got::Again);
            }
        };
        if line.away.take().is_some() {
            tracing::info!(tenant = self.tenant.as_str(), "Redis answers again");
        }
        (line.active, line.factor) = (slot.active.max(1), slot.factor);
        if !slot.granted {
            // An answer from before a pause says nothing about what comes after it.
            self.accepted.fetch_or(accepted && slot.because != Because::Cooling, Ordering::Relaxed);
            return Err(not_now(slot.wait));
        }
        let at = Instant::now() + slot.wait;
        sleep_until(at).await;
        if at.elapsed() > LATE.max(self.period / 2) && *late < LATE_MAX {
            *late += 1;
            add_one(&self.budget.counts().late);
            return Ok(Got::Again);
        }
        // Somebody here was refused meanwhile: the slot is given up.
        if !self.local.pause_left().is_zero() {
            return Ok(Got::Again);
        }
        self.pass_ceiling(deadline).await
    }

    /// A slot from this worker's share, or word that Redis is back.
    async fn share(&self, line: &mut Line) -> Result<Got, NotNow> {
        let (active, factor) = (line.active, line.factor);
        let Some(away) = &mut line.away else { return Ok(Got::Again) };
        loop {
            let now = Instant::now();
            if away.probe.is_none() && now >= away.asked + PROBE_EVERY {
                let budget = self.budget.clone();
                away.probe = Some(tokio::spawn(async move { budget.answers().await }));
                away.asked = now;
            }
            // Redis is given the time to answer before this one goes without it, or it would meet those that are back.
            let sure = away.asked + ANSWER_TIMEOUT;
            let wake = if away.probe.is_some() { away.next.max(sure) } else { away.next };
            if now >= wake {
                break;
            }
            let Some(probe) = &mut away.probe else {
                sleep_until(wake.min(away.asked + PROBE_EVERY)).await;
                continue;
            };
            if let Ok(answer) = timeout_at(wake, probe).await {
                away.probe = None;
                away.answered = answer.unwrap_or(false);
                if away.answered {
                    return Ok(Got::Again);
                }
            }
        }
        let now = Instant::now();
        away.next = now + share_period(self.period, active, factor, away.since.elapsed());
        away.used = Some(now);
        add_one(&self.budget.counts().local);
        self.pass_ceiling(now + WAIT_MAX).await
    }

    async fn pass_ceiling(&self, deadline: Instant) -> Result<Got, NotNow> {
        match timeout_at(deadline, self.local.turn()).await {
            Ok(()) => Ok(Got::Turn),
            Err(_) => Err(not_now(self.local.pause_left())),
        }
    }

    /// Goes over to the local share.
    fn lose(&self, line: &mut Line, why: &str) {
        let now = Instant::now();
        if let Some(away) = &mut line.away {
            // Its slots stay as they are, or somebody who is answered and refused by turns would never have one.
            (away.asked, away.answered) = (now, false);
            return;
        }
        let tenant = self.tenant.as_str();
        tracing::warn!(tenant, "no pace from Redis ({why}); this worker keeps to its share of the quota");
        let share = share_period(self.period, line.active, line.factor, Duration::ZERO);
        let phase = share.mul_f64(rand::rng().random());
        let hold = if self.period.is_zero() { Duration::ZERO } else { self.hold(line) };
        let next = now + hold + phase;
        line.away = Some(Away { since: now, next, used: None, asked: now, probe: None, answered: false });
    }

    /// How far ahead slots may be given: each worker has one at most. The next is a period later.
    fn hold(&self, line: &Line) -> Duration {
        HOLD.max(self.period * (line.active + 1)).min(WAIT_MAX)
    }
}

impl Line {
    fn is_away(&self) -> bool {
        self.away.as_ref().is_some_and(|away| !away.answered)
    }
}

/// How far apart the slots of a worker's share are, after so long without Redis.
fn share_period(period: Duration, active: u32, factor: f64, away: Duration) -> Duration {
    let worth = if away > STALE { SHARE / 2.0 } else { SHARE };
    period.mul_f64(f64::from(active) / (worth * factor))
}

fn period(rate: f64) -> Duration {
    if rate > 0.0 { Duration::try_from_secs_f64(SLACK / rate).unwrap_or_default() } else { Duration::ZERO }
}

/// A pause, and up to a fifth more, so that jobs which were put back together come back one by one; never less.
fn not_now(pause: Duration) -> NotNow {
    NotNow { pause: pause.mul_f64(rand::rng().random_range(1.0..1.2)) }
}

fn why(error: Option<LinkError>) -> String {
    error.map(|error| error.to_string()).unwrap_or_default()
}

fn add_one(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_stay_below_the_rate() {
        let check = |active, factor, away, expect| {
            let share = share_period(Duration::from_millis(180), active, factor, Duration::from_secs(away));
            assert_eq!(share, Duration::from_millis(expect), "{active} workers, {factor}, {away} s");
        };
        check(1, 1.0, 0, 200);
        check(20, 1.0, 60, 4_000);
        check(20, 0.5, 0, 8_000);
        check(20, 1.0, 61, 8_000);
    }

    #[test]
    fn no_pause_comes_out_shorter() {
        let pause = Duration::from_secs(30);
        assert!((0..1_000).all(|_| (pause..=pause * 6 / 5).contains(&not_now(pause).pause)));
    }
}
