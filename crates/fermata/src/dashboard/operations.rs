//! What is being done to many jobs, at a pace, since somebody on the page wanted it: it can be watched and stopped.
//!
//! It is in this process alone. One that ends with the page has done what it has done, and is in the audit list with what was meant: the
//! same filter finds the rest, since each job is acted on only as it was seen.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use fermata_fleet::Queue;
use fermata_fleet::bulk::{self, Order, Outcome, Preview, Progress, Skipped};
use fermata_fleet::queue::Action;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::access::Person;
use super::{Changes, now};
use crate::out;

/// Operations that are remembered.
const KEPT: usize = 50;
/// Jobs that were skipped and are remembered by name.
const SKIPPED_KEPT: usize = 1_000;

/// The operations of this process, newest first.
#[derive(Debug)]
pub(crate) struct Operations {
    all: Mutex<VecDeque<Arc<Operation>>>,
    changes: Changes,
    end: CancellationToken,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) action: Action,
    /// To what, in the words of the audit list.
    pub(crate) target: String,
    pub(crate) who: String,
    pub(crate) reason: Option<String>,
    pub(crate) rps: NonZeroU32,
    pub(crate) began: Timestamp,
    pub(crate) stop: CancellationToken,
    state: Mutex<State>,
}

/// How far it is, and what it came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) progress: Progress,
    pub(crate) ended: Option<Ended>,
}

/// What it came to.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    /// Jobs that nothing was done to, the first of them by name.
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) skipped_count: u64,
    /// What ended it early.
    pub(crate) failure: Option<String>,
}

const HELD: &str = "nobody panics while holding it";

impl Operation {
    pub(crate) fn state(&self) -> State {
        self.state.lock().expect(HELD).clone()
    }

    /// Whether somebody may watch and stop it: what concerns tenants that they must not know of is only for who began it.
    pub(crate) fn is_for(&self, person: &Person) -> bool {
        person.tenants.is_none() || person.name == self.who
    }
}

impl Operations {
    pub(crate) fn new(changes: Changes, end: CancellationToken) -> Self {
        Self { all: Mutex::default(), changes, end }
    }

    /// Those that a person may see, newest first.
    pub(crate) fn seen_by(&self, person: &Person) -> Vec<Arc<Operation>> {
        self.all.lock().expect(HELD).iter().filter(|operation| operation.is_for(person)).cloned().collect()
    }

    pub(crate) fn find(&self, id: &str, person: &Person) -> Option<Arc<Operation>> {
        self.seen_by(person).into_iter().find(|operation| operation.id == id)
    }

    /// Begins one.
    pub(crate) fn begin(self: &Arc<Self>, queue: &Queue, preview: Preview, order: Order) -> Arc<Operation> {
        let all = preview.able.len() as u64;
        let operation = Arc::new(Operation {
            id: format!("{:08x}", rand::random::<u32>()),
            action: preview.action,
            target: order.target.clone().unwrap_or_default(),
            who: order.who.clone(),
            reason: order.reason.clone(),
            rps: order.rps,
            began: now(),
            stop: self.end.child_token(),
            state: Mutex::new(State { progress: Progress { all, ..Progress::default() }, ended: None }),
        });
        let mut operations = self.all.lock().expect(HELD);
        operations.push_front(operation.clone());
        // One that is under way is never forgotten.
        while operations.len() > KEPT {
            let Some(old) = operations.iter().rposition(|old| old.state().ended.is_some()) else { break };
            operations.remove(old);
        }
        drop(operations);
        tokio::spawn(carry_out(self.clone(), operation.clone(), queue.clone(), preview, order));
        operation
    }
}

async fn carry_out(
    operations: Arc<Operations>,
    operation: Arc<Operation>,
    queue: Queue,
    preview: Preview,
    order: Order,
) {
    let told = |progress: Progress| {
        operation.state.lock().expect(HELD).progress = progress;
        operations.changes.tell();
    };
    let outcome = bulk::carry_out(&queue, preview, &order, &operation.stop, told).await;
    let outcome = outcome.unwrap_or_else(|failure| Outcome { failure: Some(failure), ..Outcome::default() });
    let skipped_count = outcome.skipped.len() as u64;
    let mut skipped = outcome.skipped;
    skipped.truncate(SKIPPED_KEPT);
    let failure = outcome.failure.map(|error| out::causes(&error.into()));
    operation.state.lock().expect(HELD).ended = Some(Ended { at: now(), skipped, skipped_count, failure });
    operations.changes.tell();
}
