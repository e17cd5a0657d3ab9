//! The time of day, read once.

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A clock that was set by the caller and runs on Tokio's, so that a test may pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    set_to: Timestamp,
    set_at: Instant,
}

impl Clock {
    /// Sets a clock.
    pub fn new(now: Timestamp) -> Self {
        Self { set_to: now, set_at: Instant::now() }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.set_at.elapsed()).unwrap_or(SignedDuration::MAX);
        self.set_to.checked_add(passed).unwrap_or(Timestamp::MAX)
    }
}
