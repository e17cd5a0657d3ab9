//! The port where a process of the fleet shows how it is: probes, metrics, and what autoscalers ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use fermata_fleet::{Demand, LinkError, Meters, Queue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::dashboard;

/// How long whoever asks waits for Redis.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How a process is, as it says of itself.
#[derive(Debug, Default)]
pub(crate) struct Health {
    started: AtomicBool,
    stopping: AtomicBool,
    quiet: CancellationToken,
    busy: AtomicU32,
}

/// A job that is at work, for as long as this is held.
pub(crate) struct Busy(Arc<Health>);

/// What a worker says to `GET /quiet`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hush {
    pub(crate) schema: u32,
    /// Whether it takes no new jobs.
    pub(crate) quiet: bool,
    /// Jobs at work.
    pub(crate) busy: u32,
}

/// What the process does, and so what it has to show.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Worker(Queue),
    Scheduler { queue: Queue, egress_rate: Option<f64> },
    Dashboard(dashboard::Shared),
}

/// What is served at the port.
#[derive(Debug)]
pub(crate) struct Probes {
    pub(crate) role: Role,
    pub(crate) health: Arc<Health>,
    pub(crate) meters: Arc<Meters>,
}

impl Health {
    pub(crate) fn started(&self) {
        self.started.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Cancelled when somebody will soon stop the process.
    pub(crate) fn quiet(&self) -> &CancellationToken {
        &self.quiet
    }

    /// A job begins.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }

    fn is_started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }

    fn is_ready(&self) -> bool {
        self.is_started() && !self.stopping.load(Ordering::Relaxed) && !self.quiet.is_cancelled()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves it until `end`, if there is an address to serve it at.
///
/// `/livez`: the process answers. `/startedz`: it has begun. `/readyz`: it has, and does not stop. No probe asks Redis, the
/// store or Tempo: that one of them is away is no reason to restart a process, and would restart all of them.
pub(crate) async fn serve(
    listen: Option<SocketAddr>,
    probes: Probes,
    end: CancellationToken,
) -> anyhow::Result<()> {
    let Some(address) = listen else { return Ok(()) };
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(address = %listener.local_addr()?, "probes and metrics");
    let mut router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route(
            "/startedz",
            get(|State(probes): State<Arc<Probes>>| async move { probe(probes.health.is_started()) }),
        )
        .route(
            "/readyz",
            get(|State(probes): State<Arc<Probes>>| async move { probe(probes.health.is_ready()) }),
        )
        .route("/metrics", get(metrics));
    router = match probes.role {
        Role::Worker(_) => router.route("/quiet", get(quiet).post(fall_quiet)),
        Role::Scheduler { .. } => router.route("/scale", get(scale)),
        Role::Dashboard(_) => router,
    };
    let router = router.with_state(Arc::new(probes));
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(end.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!("probes and metrics: {error}");
        }
    });
    Ok(())
}

fn probe(good: bool) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not now\n") }
}

async fn quiet(State(probes): State<Arc<Probes>>) -> Json<Hush> {
    let health = &probes.health;
    let busy = health.busy.load(Ordering::Relaxed);
    Json(Hush { schema: 1, quiet: health.quiet.is_cancelled(), busy })
}

async fn fall_quiet(probes: State<Arc<Probes>>) -> Json<Hush> {
    if !probes.health.quiet.is_cancelled() {
        tracing::info!("told to take no new jobs, since this process will be stopped");
        probes.health.quiet.cancel();
    }
    quiet(probes).await
}

async fn scale(State(probes): State<Arc<Probes>>) -> Response {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        #[serde(flatten)]
        demand: Demand,
    }
    let Role::Scheduler { queue, egress_rate } = &probes.role else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match in_time(async { queue.demand(&queue.view().await?, *egress_rate).await }).await {
        Some(demand) => Json(Document { schema: 1, demand }).into_response(),
        // A number that was made up would stop workers that are busy.
        None => (StatusCode::SERVICE_UNAVAILABLE, "Redis does not answer\n").into_response(),
    }
}

async fn metrics(State(probes): State<Arc<Probes>>) -> impl IntoResponse {
    let meters = &probes.meters;
    // Without Redis a process still shows what it counted itself.
    match &probes.role {
        Role::Worker(queue) => {
            meters.look(in_time(queue.view()).await.as_ref(), Timestamp::now());
        }
        Role::Scheduler { queue, egress_rate } => {
            let looked = in_time(async {
                let view = queue.view().await?;
                Ok((queue.demand(&view, *egress_rate).await?, queue.link().greet().await?, view))
            });
            let looked = looked.await;
            meters.look(looked.as_ref().map(|(_, _, view)| view), Timestamp::now());
            meters.scale(looked.as_ref().map(|(demand, server, _)| (demand, server)));
        }
        Role::Dashboard(app) => {
            meters.tenants(app.board.count(dashboard::now()).as_ref());
        }
    }
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], meters.text())
}

async fn in_time<T>(asked: impl Future<Output = Result<T, LinkError>>) -> Option<T> {
    tokio::time::timeout(ASK_TIMEOUT, asked).await.ok()?.ok()
}
