//! `fermata dashboard`: the page where tokens are stored and failed jobs are retried.
//!
//! Pages are made here, whole; what a person does is a form. A script in the browser only looks again when something
//! has changed, and listens to keys. The page can seal a token and open none: its vault has no key.

pub(crate) mod access;
mod api;
mod board;
mod deeds;
mod html;
mod operations;
mod pages;
mod problem;
mod reading;
mod routes;
mod tasks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use fermata_fleet::{Failures, Meters, Queue};
use fermata_vault::{Identity, Vault};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::board::Board;
use self::deeds::Ledger;
use self::operations::Operations;
use self::pages::export;
use self::reading::Reading;
use self::tasks::Tasks;
use crate::cli::Dashboard;
use crate::commands::{self, fleet};
use crate::config::Config;
use crate::exit;
use crate::out::{self, Out};
use crate::probes::{self, Health, Probes, Role};

/// How long requests under way have to end once the page is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often what failed is looked at.
const FAILURES_EVERY: Duration = Duration::from_secs(2);

/// All that a page is made of.
#[derive(Debug)]
pub(crate) struct App {
    /// The store, without any key.
    pub(crate) vault: Vault,
    /// The store with the key to records, where the operator gave it.
    pub(crate) data: Option<Vault>,
    /// The queue; none where one machine does it all.
    pub(crate) queue: Option<Queue>,
    /// What failed in the queue.
    pub(crate) failures: Option<Failures>,
    /// When it was last looked at, in seconds of the epoch; 0 before that was once.
    pub(crate) failures_seen: AtomicI64,
    /// The store's address, for people.
    pub(crate) store: String,
    pub(crate) access: Access,
    pub(crate) board: Board,
    pub(crate) tasks: Tasks,
    pub(crate) reading: Reading,
    pub(crate) ledger: Ledger,
    /// The terminal that the page was started in.
    pub(crate) out: Out,
    pub(crate) operations: Arc<Operations>,
    /// Tells browsers that there is something new to see.
    pub(crate) changes: Changes,
    /// Ends with the page, and with it all that runs for it.
    pub(crate) end: CancellationToken,
}

pub(crate) type Shared = Arc<App>;

/// Counts what changed, so that whoever shows it knows when to look again.
#[derive(Clone, Debug)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// There is something new to see.
    pub(crate) fn tell(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Hears of it.
    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

pub(crate) async fn run(asked: Dashboard, config: &Config, out: Out) -> anyhow::Result<u8> {
    let stop = commands::stop_signal();
    let (app, listener) = open(&asked, config, out, &stop).await?;
    let _end = app.end.clone().drop_guard();
    let health = Arc::new(Health::default());
    let shown = Probes {
        role: Role::Dashboard(app.clone()),
        health: health.clone(),
        meters: Arc::new(Meters::new("dashboard")),
    };
    probes::serve(asked.probes, shown, app.end.clone()).await?;
    health.started();
    tokio::task::spawn_blocking(|| {
        if let Err(error) = export::clear(&std::env::temp_dir(), now()) {
            tracing::warn!("downloads that were left behind are still there: {error}");
        }
    });
    tokio::spawn(board::keep(app.clone()));
    let meeting = app.clone();
    tokio::spawn(async move { meeting.access.meet_provider(now()).await });
    tokio::spawn(keep_failures(app.clone()));
    out.say(&format!("dashboard: {}; SIGTERM or Ctrl-C stops it", app.access.home()));
    if let Some(warning) = app.access.warning() {
        tracing::warn!("{warning}");
    }
    if let Some(link) = app.access.new_link() {
        out.say(&format!("sign in, once: {link}"));
    }
    serve(listener, app, &stop, &health).await?;
    Ok(exit::DONE)
}

/// Looks at what failed again and again.
async fn keep_failures(app: Shared) {
    let Some(failures) = &app.failures else { return };
    let mut every = tokio::time::interval(FAILURES_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut said = false;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = app.end.cancelled() => return,
        }
        let looked = tokio::select! {
            looked = failures.look() => looked,
            () = app.end.cancelled() => return,
        };
        match &looked {
            Ok(true) => app.changes.tell(),
            // Until it answers again this is nothing new.
            Err(error) if !said => tracing::warn!("what failed cannot be looked at: {error}"),
            Ok(false) | Err(_) => {}
        }
        said = looked.is_err();
        if looked.is_ok() {
            app.failures_seen.store(now().as_second(), Ordering::Relaxed);
        }
    }
}

/// Opens all that a page is made of, and the port.
async fn open(
    asked: &Dashboard,
    config: &Config,
    out: Out,
    stop: &CancellationToken,
) -> anyhow::Result<(Shared, TcpListener)> {
    let vault = commands::open_with(config, Vec::new()).await?;
    let data = match &asked.data_key {
        Some(file) => Some(commands::open_with(config, Identity::read(file)?).await?),
        None if vault.data_recipients().is_empty() => Some(vault.clone()),
        None => None,
    };
    let queue = match config.redis_if_any().filter(|_| !vault.single_writer()) {
        Some(_) => {
            let queue = fleet::queue(config, &vault)?;
            fleet::await_redis(&queue, config, stop).await?;
            Some(queue)
        }
        None => None,
    };
    let listener = TcpListener::bind(asked.listen)
        .await
        .with_context(|| format!("cannot listen on {}", asked.listen))?;
    let access = Access::open(asked.users.as_deref(), &config.web, listener.local_addr()?)?;
    let changes = Changes::new();
    let end = CancellationToken::new();
    let app = App {
        board: Board::new(Duration::from_secs(asked.refresh), changes.clone()),
        tasks: Tasks::new(config, changes.clone()),
        reading: Reading::new(changes.clone()),
        ledger: Ledger::default(),
        operations: Arc::new(Operations::new(changes.clone(), end.clone())),
        vault,
        data,
        failures: queue.clone().map(Failures::new),
        failures_seen: AtomicI64::new(0),
        queue,
        store: out::plain(&config.store),
        access,
        out,
        changes,
        end,
    };
    Ok((Arc::new(app), listener))
}

async fn serve(
    listener: TcpListener,
    app: Shared,
    stop: &CancellationToken,
    health: &Health,
) -> anyhow::Result<()> {
    let router = routes::router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let mut serving = std::pin::pin!(serving.into_future());
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = stop.cancelled() => {
            health.stopping();
            app.end.cancel();
        }
    }
    // A browser that holds its line does not hold us up.
    if let Ok(served) = tokio::time::timeout(STOP_TIMEOUT, serving).await {
        served?;
    }
    Ok(())
}

/// Now. Pages are about this machine's moment; what was read from Tempo is by Tempo's clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
