//! What a run tells while it works. Nothing depends on whether anybody listens.

use fermata_core::checkpoint::{Outcome, Tally};
use fermata_core::names::{RunId, Tenant};
use tokio::sync::mpsc::UnboundedSender;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Progress {
    /// A run began or went on.
    Begun {
        /// Whose.
        tenant: Tenant,
        /// Which.
        run: RunId,
        /// Whether it had begun before.
        resumed: bool,
        /// Entities to read.
        jobs: usize,
        /// Records in the last snapshot, as a guess at what is to come.
        expected: Option<u64>,
    },
    /// An unfinished run was dropped, and why.
    Dropped {
        /// Whose.
        tenant: Tenant,
        /// Which.
        run: RunId,
        /// Why.
        why: String,
    },
    /// A page was logged.
    Page {
        /// Whose.
        tenant: Tenant,
        /// Of which entity.
        entity: &'static str,
        /// Totals of its job.
        tally: Tally,
    },
    /// A job waits for a while.
    Waiting {
        /// Whose.
        tenant: Tenant,
        /// Which entity.
        entity: &'static str,
        /// For how many seconds.
        seconds: u64,
        /// Why.
        why: String,
    },
    /// A job ended.
    Ended {
        /// Whose.
        tenant: Tenant,
        /// Which entity.
        entity: &'static str,
        /// How.
        outcome: Outcome,
        /// Totals of its job.
        tally: Tally,
    },
    /// The manifest was written.
    Sealed {
        /// Whose.
        tenant: Tenant,
        /// The snapshot's name.
        run: RunId,
    },
}

/// Where progress goes.
#[derive(Clone, Debug, Default)]
pub struct Teller(Option<UnboundedSender<Progress>>);

impl Teller {
    /// Tells this listener.
    pub fn new(to: UnboundedSender<Progress>) -> Self {
        Self(Some(to))
    }

    /// Tells it; a listener that is gone is no error.
    pub fn tell(&self, progress: Progress) {
        if let Some(to) = &self.0 {
            let _ = to.send(progress);
        }
    }
}
