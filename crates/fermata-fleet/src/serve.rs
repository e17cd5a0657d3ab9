//! A worker's frame: apalis runs the handler, the lease layer settles what it comes back with.

use std::time::Duration;

use apalis::prelude::{Monitor, ParallelizeExt, WorkerBuilder, WorkerBuilderExt};
use apalis_core::error::BoxDynError;
use tokio_util::sync::CancellationToken;

use crate::backend::{Asked, FleetBackend, Held, Leases};
use crate::queue::{Queue, Turn};

/// How long a lease lasts without a sign of life.
pub const LEASE: Duration = Duration::from_secs(30);

/// How a worker serves.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Its name, unique to this start of this process.
    pub name: String,
    /// Jobs that it works on at once.
    pub places: usize,
    /// How long a lease lasts without a sign of life; renewed at a third of it.
    pub lease: Duration,
    /// Cancelled when no new job is to be taken, while those at work go on to the end of their slice.
    pub quiet: CancellationToken,
}

/// A worker that ended though nobody told it to.
#[derive(Debug, thiserror::Error)]
#[error("the worker broke down")]
pub struct BrokeDown(#[source] apalis::prelude::MonitorError);

/// Claims jobs and hands them to `handler`, until `drain` is cancelled and every handler has come back.
pub async fn serve<H, F>(
    queue: Queue,
    options: &ServeOptions,
    drain: &CancellationToken,
    handler: H,
) -> Result<(), BrokeDown>
where
    H: Fn(Held) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Turn> + Send + 'static,
{
    let (name, places) = (options.name.clone(), options.places.max(1));
    let asked = Asked { quiet: options.quiet.clone(), drain: drain.child_token() };
    let (leases, clerk) = Leases::new(queue, name.clone(), places, options.lease, asked);
    let end = CancellationToken::new();
    let heart = tokio::spawn({
        let (leases, end) = (leases.clone(), end.clone());
        async move { leases.beat(end).await }
    });
    let ears = tokio::spawn({
        let (leases, end) = (leases.clone(), end.clone());
        async move { leases.listen(end).await }
    });
    let clerk = tokio::spawn(clerk.work(end.clone()));
    let monitor = Monitor::new().register(move |_| {
        let handler = handler.clone();
        WorkerBuilder::new(name.as_str())
            .backend(FleetBackend::new(leases.clone()))
            // As many again may be on their way to be settled; how many are worked on the places say.
            .concurrency(2 * places)
            // A task for each: one that computes does not hold up the others.
            .parallelize(tokio::spawn)
            .catch_panic()
            .build(move |held: Held| {
                let handler = handler.clone();
                // Called in there, where a panic is caught.
                async move { Ok::<Turn, BoxDynError>(handler(held).await) }
            })
    });
    let context = monitor.context();
    let asked = drain.clone();
    let door = tokio::spawn(async move {
        asked.cancelled().await;
        // Only fails when it has shut down already.
        let _ = context.shutdown();
    });
    let ended = monitor.run().await;
    door.abort();
    end.cancel();
    let (clerk, ..) = futures::future::join3(clerk, heart, ears).await;
    if let Err(panic) = clerk {
        std::panic::resume_unwind(panic.into_panic());
    }
    ended.map_err(BrokeDown)
}
