//! How fast we ask: one rate per tenant, and a pause for everybody when Tempo says that it was too fast.
//!
//! Turns are first come first served. Within one process [`Pace`] is the whole of it; a fleet shares
//! its pace elsewhere, behind the same trait, and keeps a `Pace` as the ceiling.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::time::Instant;

/// How much longer than its share of a second each request waits: requests leave evenly and arrive a
/// little less so, and a server that allows no burst would refuse the one that came too close.
const SLACK: f64 = 1.005;
/// The first pause after a 429 without `Retry-After`; Tempo's knowledge base asks for a second at least.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// The longest pause, also where `Retry-After` asks for more.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// The longest pause that doubling comes to.
const DOUBLED_MAX: Duration = Duration::from_mins(1);

/// The longest that a turn of a shared pace is waited for in place. Pauses of 1, 2, 4 and 8 seconds, and a line of fifty at five
/// requests a second, are cheaper to wait out than a job is to put back; a longer wait holds a place that other tenants could use.
pub const WAIT_MAX: Duration = Duration::from_secs(10);

/// A pace: who may ask now, and what a 429 means for the others.
pub trait Turns: Debug + Send + Sync {
    /// Waits for the next turn, or says that it is too far away to be waited for here.
    fn turn(&self) -> BoxFuture<'_, Result<(), NotNow>>;

    /// Takes note of a 429 and holds everybody back; returns for how long.
    fn refused(&self, retry_after: Option<Duration>) -> BoxFuture<'_, Duration>;

    /// Takes note of a page that was answered.
    fn accepted(&self);
}

/// What a [`Turns`] promises, since a trait that is shared as `dyn` cannot have `async fn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// No turn for this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow {
    /// When to ask again, from now.
    pub pause: Duration,
}

/// The pace of one tenant. Clones share it.
#[derive(Clone, Debug)]
pub struct Pace {
    limiter: Option<Arc<DefaultDirectRateLimiter>>,
    queue: Arc<tokio::sync::Mutex<()>>,
    cooling: Arc<Mutex<Cooling>>,
}

#[derive(Debug)]
struct Cooling {
    until: Instant,
    refusals: u32,
}

impl Pace {
    /// Keeps to this many requests a second, evenly spaced; no limit when it is not a positive number.
    pub fn new(rate: f64) -> Self {
        let period = (rate > 0.0).then(|| Duration::try_from_secs_f64(SLACK / rate).ok()).flatten();
        let quota = period.and_then(Quota::with_period).map(|quota| quota.allow_burst(NonZeroU32::MIN));
        Self {
            limiter: quota.map(|quota| Arc::new(RateLimiter::direct(quota))),
            queue: Arc::default(),
            cooling: Arc::new(Mutex::new(Cooling { until: Instant::now(), refusals: 0 })),
        }
    }

    /// Waits for the next turn.
    pub async fn turn(&self) {
        // Tokio's mutex is fair, so whoever waits for it stands in line.
        let _first_in_line = self.queue.lock().await;
        loop {
            let until = self.cooling().until;
            tokio::time::sleep_until(until).await;
            // The slot is taken after the pause, or the next in line would leave together with this one.
            if let Some(limiter) = &self.limiter {
                limiter.until_ready().await;
            }
            if Instant::now() >= self.cooling().until {
                return;
            }
        }
    }

    /// Takes note of a 429 and holds everybody back; returns for how long.
    pub fn refused(&self, retry_after: Option<Duration>) -> Duration {
        let mut cooling = self.cooling();
        let now = Instant::now();
        // Requests that were under way together are refused together: that is one refusal.
        if now >= cooling.until || cooling.refusals == 0 {
            cooling.refusals += 1;
        }
        let doubled = PAUSE_FIRST.saturating_mul(1 << (cooling.refusals - 1).min(8)).min(DOUBLED_MAX);
        let pause = retry_after.map_or(doubled, |asked| asked.clamp(PAUSE_FIRST, PAUSE_MAX));
        cooling.until = cooling.until.max(now + pause);
        pause
    }

    /// Takes note of a page that was answered.
    pub fn accepted(&self) {
        self.cooling().refusals = 0;
    }

    /// What is left of the pause after a 429.
    pub fn pause_left(&self) -> Duration {
        self.cooling().until.saturating_duration_since(Instant::now())
    }

    fn cooling(&self) -> std::sync::MutexGuard<'_, Cooling> {
        self.cooling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits in place for as long as it takes: on one machine nobody else could use the place.
impl Turns for Pace {
    fn turn(&self) -> BoxFuture<'_, Result<(), NotNow>> {
        Box::pin(async {
            self.turn().await;
            Ok(())
        })
    }

    fn refused(&self, retry_after: Option<Duration>) -> BoxFuture<'_, Duration> {
        Box::pin(std::future::ready(self.refused(retry_after)))
    }

    fn accepted(&self) {
        self.accepted();
    }
}

impl<T: Turns + ?Sized> Turns for Arc<T> {
    fn turn(&self) -> BoxFuture<'_, Result<(), NotNow>> {
        (**self).turn()
    }

    fn refused(&self, retry_after: Option<Duration>) -> BoxFuture<'_, Duration> {
        (**self).refused(retry_after)
    }

    fn accepted(&self) {
        (**self).accepted();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_keep_the_rate() {
        let pace = Pace::new(200.0);
        let start = std::time::Instant::now();
        for _ in 0..21 {
            pace.turn().await;
        }
        // 20 intervals of 5 ms: governor reads a real clock, so only the lower bound is certain.
        assert!(start.elapsed() >= Duration::from_millis(99), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_holds_everybody_back_and_doubles() {
        let pace = Pace::new(0.0);
        let other = pace.clone();
        assert_eq!(pace.refused(None), Duration::from_secs(1));
        assert_eq!(pace.refused(None), Duration::from_secs(1), "one that was under way meanwhile");
        let start = Instant::now();
        other.turn().await;
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(pace.refused(None), Duration::from_secs(2));
        pace.accepted();
        assert_eq!(pace.refused(None), Duration::from_secs(1));
        assert_eq!(pace.refused(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(pace.refused(Some(Duration::from_secs(9_999))), PAUSE_MAX);
    }
}
