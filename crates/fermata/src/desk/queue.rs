//! The queue as a whole, and its workers.

use fermata_fleet::queue::AuditEntry;
use fermata_fleet::{LinkError, Queue};
use jiff::Timestamp;
use serde::Serialize;

/// What became of a worker that is to take no new jobs, or to take them again.
#[derive(Debug, Serialize)]
pub(crate) struct Drained {
    schema: u32,
    action: &'static str,
    worker: String,
    /// Whether it was otherwise before.
    pub(crate) changed: bool,
}

/// Has a worker take no new jobs, or take them again; nothing if no such worker was heard of lately.
pub(crate) async fn drain(
    queue: &Queue,
    worker: &str,
    drained: bool,
    who: &str,
    reason: Option<String>,
) -> Result<Option<Drained>, LinkError> {
    let Some(view) = queue.workers().await?.into_iter().find(|view| view.name == worker) else {
        return Ok(None);
    };
    let action = if drained { "drain" } else { "undrain" };
    let changed = view.drained.is_some() != drained;
    if changed {
        let entry = AuditEntry {
            at: Timestamp::now(),
            who: who.to_owned(),
            action: action.to_owned(),
            target: worker.to_owned(),
            count: 1,
            reason,
        };
        queue.audit(&entry).await?;
        queue.drain(worker, drained, who).await?;
    }
    Ok(Some(Drained { schema: fermata_core::FORMAT, action, worker: worker.to_owned(), changed }))
}
