//! Mutations that happen by themselves while a client reads.
//!
//! Promises that a schedule with the same seed makes the same changes at the same requests. With requests in parallel
//! the order of requests is the server's.

use serde::{Deserialize, Serialize};

use crate::mutate::{Mutation, Op};
use crate::random::Random;

/// After every `every`-th data request of a tenant: so many insertions, edits and deletions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// The tenant's name (`sim-1`).
    pub tenant: String,
    /// How many data requests lie between two turns.
    #[serde(default = "one")]
    pub every: u64,
    /// Decides which records change and how.
    #[serde(default)]
    pub seed: u64,
    /// The entity that changes.
    #[serde(default = "worklogs")]
    pub entity: String,
    /// Insertions per turn; a fraction is a chance.
    #[serde(default)]
    pub inserts: f64,
    /// Edits per turn; three in ten move a worklog's date.
    #[serde(default)]
    pub updates: f64,
    /// Deletions per turn.
    #[serde(default)]
    pub deletes: f64,
    /// Stops after so many turns; never if absent.
    #[serde(default)]
    pub turns: Option<u64>,
}

fn one() -> u64 {
    1
}

fn worklogs() -> String {
    "worklogs".into()
}

impl Schedule {
    /// Worklogs of tenant `sim-<number>` change after every data request at these rates.
    pub fn worklogs(number: u32, seed: u64, inserts: f64, updates: f64, deletes: f64) -> Self {
        Self {
            tenant: format!("sim-{number}"),
            every: 1,
            seed,
            entity: worklogs(),
            inserts,
            updates,
            deletes,
            turns: None,
        }
    }
}

/// A schedule that runs.
#[derive(Debug)]
pub(crate) struct Running {
    schedule: Schedule,
    random: Random,
    turns: u64,
}

impl Running {
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self { random: Random::new(schedule.seed, 0x5C4E_D01E), schedule, turns: 0 }
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.schedule.tenant
    }

    /// What is due after the tenant's data request with this number (from 1).
    pub(crate) fn due(&mut self, request: u64) -> Vec<Mutation> {
        let schedule = &self.schedule;
        if !request.is_multiple_of(schedule.every.max(1))
            || schedule.turns.is_some_and(|turns| self.turns >= turns)
        {
            return Vec::new();
        }
        self.turns += 1;
        let mut due = Vec::new();
        for (op, rate) in
            [(Op::Insert, schedule.inserts), (Op::Update, schedule.updates), (Op::Delete, schedule.deletes)]
        {
            let whole = rate.max(0.0).floor();
            let count = whole as u32 + u32::from(self.random.unit() < rate - whole);
            if count > 0 {
                due.push(Mutation::new(op).entity(&schedule.entity).count(count));
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_chances_and_turns_end() {
        let schedule = Schedule { every: 2, turns: Some(50), ..Schedule::worklogs(1, 9, 0.5, 2.0, 0.0) };
        let mut running = Running::new(schedule);
        let due: Vec<Mutation> = (1..=200).flat_map(|request| running.due(request)).collect();
        let inserts = due.iter().filter(|m| m.op == Op::Insert).count();
        assert!((10..40).contains(&inserts), "{inserts}");
        assert_eq!(
            due.iter().filter(|m| m.op == Op::Update).map(|m| m.count).collect::<Vec<_>>(),
            [Some(2); 50]
        );
    }
}
