//! How often a job is tried again, and after what pause.
//!
//! Only faults count: waiting for the quota and an orderly stop are no attempts. Attempts count from where the
//! job last got on, so a long job is not given up for faults that are days apart.

use std::time::Duration;

/// Attempts before what is asked for is given up, retries in place not counted.
pub const ATTEMPTS_MAX: u32 = 8;
/// The longest pause before the next.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// What was tried in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How often, since the job last got on.
    pub count: u32,
    /// The job's events at the first of them.
    pub events: u32,
}

impl Attempts {
    /// One more, at a job that has this many events.
    #[must_use]
    pub fn spend(self, events: u32) -> Self {
        let before = if self.events == events { self.count } else { 0 };
        Self { count: before + 1, events }
    }

    /// Whether no attempt is left.
    pub fn are_spent(self) -> bool {
        self.count >= ATTEMPTS_MAX
    }

    /// The pause after the last of them: `first` after one, doubled with each up to a minute.
    pub fn pause(self, first: Duration) -> Duration {
        first.saturating_mul(1 << self.count.saturating_sub(1).min(ATTEMPTS_MAX)).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_count_from_where_the_job_got_on() {
        let mut attempts = Attempts::default();
        let mut pauses = Vec::new();
        while !attempts.are_spent() {
            attempts = attempts.spend(7);
            pauses.push(attempts.pause(Duration::from_secs(2)).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(attempts.spend(8), Attempts { count: 1, events: 8 });
        assert_eq!(Attempts { count: u32::MAX, events: 0 }.pause(Duration::MAX), PAUSE_MAX);
    }
}
