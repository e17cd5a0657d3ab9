//! What goes wrong in a storm, how often, and what that may cost.

use std::collections::BTreeMap;
use std::fmt;

/// Worker processes.
pub(super) const WORKERS: usize = 8;
/// Jobs that each works on at once.
pub(super) const PLACES: usize = 4;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Blow {
    /// A worker dies.
    Kill,
    /// A worker is told to stop.
    Term,
    /// A worker stands still for longer than its lease.
    Freeze,
    /// Redis dies and comes back.
    RedisKill,
    /// Redis dies and comes back as it was some seconds before, as a replica does that was behind.
    RedisRollback,
    /// Redis stands still.
    RedisFreeze,
    /// Redis answers nobody for a while.
    RedisPause,
    /// Redis is empty.
    RedisFlush,
    /// A scheduler dies.
    SchedulerKill,
    /// Some answers of Tempo are none.
    Tempo,
}

/// How often each comes; all of them in any order, then all again.
pub(super) const DECK: [(Blow, usize); 10] = [
    (Blow::Kill, 5),
    (Blow::Term, 3),
    (Blow::Freeze, 3),
    (Blow::RedisKill, 1),
    (Blow::RedisRollback, 1),
    (Blow::RedisFreeze, 1),
    (Blow::RedisPause, 1),
    (Blow::RedisFlush, 1),
    (Blow::SchedulerKill, 1),
    (Blow::Tempo, 5),
];

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// How often what went wrong.
    pub(super) blows: BTreeMap<Blow, u32>,
    /// Tenants whose runs had ended when the storm did.
    pub(super) done: usize,
    /// Tenants that were enqueued again, since nobody could say whether they had been: they may have two snapshots.
    pub(super) doubtful: Vec<String>,
    /// Requests that may have been answered with a fault.
    pub(super) faulty_max: u64,
    /// What should not have happened.
    pub(super) problems: Vec<String>,
}

impl Log {
    /// Requests that may have been made for nothing: a page for each job that a process or the queue forgot, and what
    /// Tempo spoilt. An orderly stop costs none.
    pub(super) fn wasted_max(&self) -> u64 {
        let jobs = |blow: &Blow| match blow {
            Blow::Kill | Blow::Freeze => PLACES,
            Blow::RedisKill
            | Blow::RedisRollback
            | Blow::RedisFreeze
            | Blow::RedisPause
            | Blow::RedisFlush => WORKERS * PLACES,
            Blow::Term | Blow::SchedulerKill | Blow::Tempo => 0,
        };
        let all = self.blows.iter().map(|(blow, times)| jobs(blow) as u64 * u64::from(*times)).sum::<u64>();
        all + self.faulty_max
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (blow, times) in &self.blows {
            write!(f, "{blow:?} {times}, ")?;
        }
        write!(f, "answers spoilt at most {}", self.faulty_max)
    }
}
