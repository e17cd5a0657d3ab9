//! The queue as apalis sees it: a backend that claims, and a layer that settles.
//!
//! ```text
//! clerk --(a place, then a job)--> apalis worker --> lease layer --> handler
//!   ^                                                    |              |
//!   +----------------------- settle --------------------+ <--- Turn ---+
//!
//! heart, every third of a lease: renews all that is held
//! ```
//!
//! An outage of Redis must never reach apalis, which would drop the worker and all its jobs: everything here
//! asks again until it is told to stop. A job is claimed only when there is a place for it, so none waits under a lease.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use apalis_core::backend::finalize::Ephemeral;
use apalis_core::backend::{Backend, BackendConfig};
use apalis_core::error::BoxDynError;
use apalis_core::task::Task;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::context::WorkerContext;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service};

use crate::clerk::{Clerk, Ended};
use crate::link::LinkError;
use crate::queue::{About, Claimed, Hold, ProgressView, Queue, Renewed, Turn};

/// The pause before messages are listened for again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// How long a worker that stops tries to tell so. What it could not settle is free when the lease ends.
///
/// It comes twice in a row: for the jobs, and for the worker itself. Both have to fit into what Kubernetes leaves to a pod
/// that stops.
const GOODBYE: Duration = Duration::from_secs(3);
/// The pause before leases that could not be renewed are renewed again: whoever is back first takes what has no lease.
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// The jobs that this process holds, and the places for more.
#[derive(Clone)]
pub(crate) struct Leases(Arc<Shared>);

struct Shared {
    queue: Queue,
    worker: String,
    lease: Duration,
    places: Arc<Semaphore>,
    places_max: usize,
    /// By fence: a job that was lost may come back to us while its first handler still ends.
    held: Mutex<HashMap<String, Held>>,
    /// Whether somebody waits for a place.
    crowded: AtomicBool,
    /// Whether an operator wants us to take no new jobs.
    drained: AtomicBool,
    wake: Notify,
    /// Whether messages that wake us come.
    hears: AtomicBool,
    /// Turns that are over and not yet told.
    ended: Mutex<Vec<Ended>>,
    /// Rung when there is something to tell, a place is free, or all jobs are begun.
    bell: Notify,
    /// Jobs that are claimed and not begun.
    jobs: Mutex<UnboundedReceiver<Held>>,
    asked: Asked,
}

/// What this process was asked to do.
pub(crate) struct Asked {
    /// Cancelled when no new job is to be taken.
    pub(crate) quiet: CancellationToken,
    /// Cancelled when no new job is to be begun, and those at work are to end.
    pub(crate) drain: CancellationToken,
}

/// A job that this process holds, as its handler sees it.
#[derive(Clone)]
pub struct Held {
    /// The job.
    pub claimed: Claimed,
    /// Cancelled when the handler should come to an end: the lease is lost, the job is cancelled, or the worker stops.
    pub stop: CancellationToken,
    leases: Leases,
    lost: Arc<AtomicBool>,
    cancelled: Arc<AtomicBool>,
    progress: Arc<Mutex<String>>,
    /// Free again as soon as the handler has come back: the next claim goes out with the settlement.
    place: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Leases {
    /// The leases of a worker that has none yet, and its clerk.
    pub(crate) fn new(
        queue: Queue,
        worker: String,
        places: usize,
        lease: Duration,
        asked: Asked,
    ) -> (Self, Clerk) {
        let (claimed, jobs) = mpsc::unbounded_channel();
        let leases = Self(Arc::new(Shared {
            queue,
            worker,
            lease,
            places: Arc::new(Semaphore::new(places)),
            places_max: places,
            held: Mutex::default(),
            crowded: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            wake: Notify::new(),
            hears: AtomicBool::new(false),
            ended: Mutex::default(),
            bell: Notify::new(),
            jobs: Mutex::new(jobs),
            asked,
        }));
        (leases.clone(), Clerk::new(leases, claimed))
    }

    /// Jobs that are held now.
    pub(crate) fn busy(&self) -> usize {
        self.held().len()
    }

    /// Renews every lease until `end`, and shows that this worker is there.
    pub(crate) async fn beat(&self, end: CancellationToken) {
        let mut every = tokio::time::interval(self.0.lease / 3);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                // Others should see at once that this one takes nothing more.
                () = self.0.asked.quiet.cancelled(), if !self.0.asked.quiet.is_cancelled() => {}
                () = self.0.asked.drain.cancelled(), if !self.0.asked.drain.is_cancelled() => {}
                () = end.cancelled() => break,
            }
            let renewed = tokio::select! {
                renewed = self.renew() => renewed,
                // Redis may be silent for longer than we have to stop.
                () = end.cancelled() => break,
            };
            if !renewed {
                every.reset_after(RENEW_AGAIN.min(self.0.lease / 3));
            }
        }
        let goodbye = self.0.queue.bye(&self.0.worker);
        if !matches!(tokio::time::timeout(GOODBYE, goodbye).await, Ok(Ok(()))) {
            tracing::debug!("Redis was not told that this worker is gone; it will see");
        }
    }

    /// Returns whether Redis heard of it.
    async fn renew(&self) -> bool {
        let about = About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            places: u32::try_from(self.0.places_max).unwrap_or(u32::MAX),
            // Those that are being settled have given their places back.
            busy: u32::try_from(self.busy().min(self.0.places_max)).unwrap_or(u32::MAX),
            stopping: self.0.asked.quiet.is_cancelled() || self.0.asked.drain.is_cancelled(),
        };
        let about = serde_json::to_string(&about).expect("it has only text keys");
        let held: Vec<Held> = self.held().values().cloned().collect();
        let lines: Vec<_> = held.iter().map(Held::line).collect();
        let answer = self.0.queue.renew(&self.0.worker, self.0.lease, &about, &lines).await;
        let Renewed { holds, crowded, drained } = match answer {
            Ok(answer) => answer,
            // The outage alone stops no job: if another worker gets it meanwhile, their logs fork, and no more.
            Err(error) => {
                tracing::warn!("leases not renewed: {error}");
                return false;
            }
        };
        self.0.crowded.store(crowded, Ordering::Relaxed);
        if self.0.drained.swap(drained, Ordering::Relaxed) != drained {
            tracing::info!("{}", if drained { "told to take no new jobs" } else { "told to go on" });
            self.0.bell.notify_one();
        }
        for (job, hold) in held.iter().zip(holds) {
            match hold {
                Hold::Kept => {}
                Hold::Lost => job.lose(),
                Hold::Cancelled => {
                    job.cancelled.store(true, Ordering::Relaxed);
                    job.stop.cancel();
                }
            }
        }
        true
    }

    /// Listens for what wakes sleepers; while it hears nothing they look each second.
    pub(crate) async fn listen(&self, end: CancellationToken) {
        while !end.is_cancelled() {
            let listening = async {
                let mut messages = self.0.queue.link().messages().await?;
                messages.subscribe(format!("{}:wake", self.0.queue.link().prefix())).await?;
                let mut messages = messages.into_on_message();
                self.set_hears(true);
                while messages.next().await.is_some() {
                    self.0.wake.notify_one();
                }
                Ok::<_, LinkError>(())
            };
            tokio::select! {
                heard = listening => if let Err(error) = heard {
                    tracing::debug!("not listening: {error}");
                },
                () = end.cancelled() => return,
            }
            self.set_hears(false);
            tokio::select! {
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
                () = end.cancelled() => {}
            }
        }
    }

    pub(crate) fn hold(&self, claimed: Claimed, place: OwnedSemaphorePermit) -> Held {
        let held = Held {
            stop: self.0.asked.drain.child_token(),
            leases: self.clone(),
            lost: Arc::default(),
            cancelled: Arc::default(),
            progress: Arc::default(),
            place: Arc::new(Mutex::new(Some(place))),
            claimed,
        };
        self.held().insert(held.claimed.fence.clone(), held.clone());
        held
    }

    /// Has it told to the queue how a turn ended, and forgets the job.
    async fn settle(&self, held: &Held, turn: Turn) {
        drop(held.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        if held.lost.load(Ordering::Relaxed) {
            self.0.bell.notify_one();
        } else {
            self.tell(held, turn).await;
        }
        self.held().remove(&held.claimed.fence);
    }

    async fn tell(&self, held: &Held, turn: Turn) {
        let (told, heard) = oneshot::channel();
        self.ended().push(Ended { claimed: held.claimed.clone(), turn, told });
        self.0.bell.notify_one();
        // An outage may have begun long before we are told to stop.
        let stopping = async {
            self.0.asked.drain.cancelled().await;
            tokio::time::sleep(GOODBYE).await;
        };
        let settled = tokio::select! {
            settled = heard => settled.ok(),
            () = stopping => None,
        };
        let job = held.claimed.id.to_string();
        match settled {
            Some(true) => {}
            Some(false) => tracing::warn!(job, "it went to another worker meanwhile; nothing is lost"),
            None => tracing::warn!(job, "Redis was not told how it ended; another worker will see"),
        }
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(crate) fn worker(&self) -> &str {
        &self.0.worker
    }

    pub(crate) fn lease(&self) -> Duration {
        self.0.lease
    }

    pub(crate) fn drain(&self) -> &CancellationToken {
        &self.0.asked.drain
    }

    /// Until something is to be told, a place is free, or all jobs are begun.
    pub(crate) async fn stirred(&self) {
        self.0.bell.notified().await;
    }

    /// Until somebody says that there may be jobs.
    pub(crate) async fn woken(&self) {
        self.0.wake.notified().await;
    }

    pub(crate) fn take_ended(&self, most: usize) -> Vec<Ended> {
        let mut ended = self.ended();
        let count = ended.len().min(most);
        ended.drain(..count).collect()
    }

    /// Whether no new jobs are to be taken: an operator said so, or whoever will soon stop this process.
    pub(crate) fn drained(&self) -> bool {
        self.0.drained.load(Ordering::Relaxed) || self.0.asked.quiet.is_cancelled()
    }

    /// Whether whatever may be claimed is heard of.
    pub(crate) fn hears(&self) -> bool {
        self.0.hears.load(Ordering::Relaxed)
    }

    /// What came while nobody listened is looked for at once, and so is how long to rest from now on.
    fn set_hears(&self, hears: bool) {
        if self.0.hears.swap(hears, Ordering::Relaxed) != hears {
            self.0.wake.notify_one();
        }
    }

    /// A place, if one is free.
    pub(crate) fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.0.places.clone().try_acquire_owned().ok()
    }

    pub(crate) fn has_unbegun(&self) -> bool {
        !self.jobs().is_empty()
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, UnboundedReceiver<Held>> {
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> std::sync::MutexGuard<'_, Vec<Ended>> {
        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Held>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether somebody else waits for this place, or nobody is to keep it.
    pub fn crowded(&self) -> bool {
        self.leases.0.crowded.load(Ordering::Relaxed) || self.leases.0.asked.quiet.is_cancelled()
    }

    /// Whether the worker stops.
    pub fn draining(&self) -> bool {
        self.leases.0.asked.drain.is_cancelled()
    }

    /// Whether an operator cancelled the job.
    pub fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether the job is another's now.
    pub fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Says how far the job is; it goes with the next renewal.
    pub fn tell(&self, events: u32, records: u64, requests: u64) {
        let progress = ProgressView { events, records, requests };
        let progress = serde_json::to_string(&progress).expect("it has only text keys");
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    fn line(&self) -> (String, String, String) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.claimed.id.to_string(), self.claimed.fence.clone(), progress)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({}, {})", self.claimed.id, self.claimed.fence)
    }
}

/// Where apalis gets its jobs.
pub(crate) struct FleetBackend(Leases);

impl FleetBackend {
    pub(crate) fn new(leases: Leases) -> Self {
        Self(leases)
    }
}

impl Backend for FleetBackend {
    type Task = Task<Held>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Infallible>>> {
        let Leases(shared) = &self.0;
        if shared.asked.drain.is_cancelled() {
            return Poll::Ready(None);
        }
        let mut jobs = self.0.jobs();
        let Some(held) = ready!(jobs.poll_recv(cx)) else { return Poll::Ready(None) };
        if jobs.is_empty() {
            shared.bell.notify_one();
        }
        let id = TaskId::from_string(held.claimed.id.to_string());
        let attempt = held.claimed.attempts as usize;
        Poll::Ready(Some(Ok(TaskBuilder::new(held).task_id(id).attempt(attempt).build())))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        // What was claimed at the last moment goes back when the worker says goodbye.
        self.0.0.asked.drain.cancel();
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for FleetBackend {
    type Args = Held;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = LeaseLayer;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> LeaseLayer {
        LeaseLayer(self.0.clone())
    }
}

/// Settles what the handler comes back with.
#[derive(Clone)]
pub(crate) struct LeaseLayer(Leases);

/// A handler whose turns are settled.
#[derive(Clone)]
pub(crate) struct LeaseService<S> {
    inner: S,
    leases: Leases,
}

impl<S> Layer<S> for LeaseLayer {
    type Service = LeaseService<S>;

    fn layer(&self, inner: S) -> LeaseService<S> {
        LeaseService { inner, leases: self.0.clone() }
    }
}

impl<S> Service<Task<Held>> for LeaseService<S>
where
    S: Service<Task<Held>, Response = Turn>,
    S::Future: Send + 'static,
    S::Error: Into<BoxDynError> + Send,
{
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, task: Task<Held>) -> Self::Future {
        let (held, leases) = (task.args.clone(), self.leases.clone());
        let turn = self.inner.call(task);
        async move {
            let turn = match turn.await {
                Ok(turn) => turn,
                // A handler has no errors, only turns; what is left are panics, and those are bugs.
                Err(panic) => {
                    let error: BoxDynError = panic.into();
                    tracing::error!(job = %held.claimed.id, "{error}");
                    Turn::Dead(format!("a bug in Fermata: {error}"))
                }
            };
            leases.settle(&held, turn).await;
            Ok(())
        }
        .boxed()
    }
}
