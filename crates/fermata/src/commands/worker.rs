//! `fermata worker` and `fermata scheduler`: the processes of a fleet.

use std::sync::Arc;
use std::time::Duration;

use fermata_fleet::{AtHand, Budget, Meters, SchedulerOptions, ServeOptions};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::fleet;
use crate::cli::{Scheduler, Worker};
use crate::config::Config;
use crate::exit;
use crate::out::Out;
use crate::probes::{self, Health, Probes, Role};

pub(crate) async fn run(worker: Worker, config: &Config, out: Out) -> anyhow::Result<u8> {
    let vault = super::open(config).await?;
    let queue = fleet::queue(config, &vault)?;
    let stop = super::stop_signal();
    let (health, meters, end) =
        (Arc::new(Health::default()), Arc::new(Meters::new("worker")), CancellationToken::new());
    let _end = end.clone().drop_guard();
    let role = Role::Worker(queue.clone());
    let shown = Probes { role, health: health.clone(), meters: meters.clone() };
    probes::serve(worker.listen, shown, end).await?;
    fleet::await_redis(&queue, config, &stop).await?;
    health.started();
    let name = name();
    let options = ServeOptions {
        name: name.clone(),
        places: usize::from(worker.concurrency),
        lease: Duration::from_secs(worker.lease),
        quiet: health.quiet().clone(),
    };
    out.say(&format!("worker {name}: {} jobs at once; SIGTERM or Ctrl-C stops it", worker.concurrency));
    let budget = Budget::new(queue.link().clone(), &name);
    meters.watch(budget.clone());
    let work = Arc::new(fermata_fleet::Worker {
        engine: fleet::engine(vault),
        queue: queue.clone(),
        budget,
        address: worker.egress.zip(worker.egress_rate),
        slice: Duration::from_secs(worker.slice),
        now: Timestamp::now,
        meters,
        at_hand: AtHand::default(),
    });
    let counting = health.clone();
    let handler = move |held| {
        let (work, busy) = (work.clone(), counting.busy());
        async move {
            let _busy = busy;
            work.turn(held).await
        }
    };
    let serving = fermata_fleet::serve(queue, &options, &stop, handler);
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => {
            served?;
            return Ok(exit::DONE);
        }
        () = stop.cancelled() => health.stopping(),
    }
    tracing::info!("stopping: what has come is logged, jobs go back");
    if let Ok(served) = tokio::time::timeout(Duration::from_secs(worker.stop_timeout), serving).await {
        served?;
    } else {
        tracing::warn!(
            "not all jobs could be given back in time; others take them over when their leases end"
        );
    }
    Ok(exit::DONE)
}

pub(crate) async fn schedule(scheduler: Scheduler, config: &Config, out: Out) -> anyhow::Result<u8> {
    // It plans and enqueues, and opens no token: no key is needed.
    let vault = super::open_without_key(config).await?;
    let queue = fleet::queue(config, &vault)?;
    let stop = super::stop_signal();
    let (health, meters, end) =
        (Arc::new(Health::default()), Arc::new(Meters::new("scheduler")), CancellationToken::new());
    let _end = end.clone().drop_guard();
    let role = Role::Scheduler { queue: queue.clone(), egress_rate: scheduler.egress_rate };
    let shown = Probes { role, health: health.clone(), meters: meters.clone() };
    probes::serve(scheduler.listen, shown, end).await?;
    fleet::await_redis(&queue, config, &stop).await?;
    health.started();
    out.say("scheduler: SIGTERM or Ctrl-C stops it");
    let options = SchedulerOptions {
        spread: Duration::from_secs(scheduler.spread * 60),
        sweep: Duration::from_secs(scheduler.sweep),
    };
    let looking = fermata_fleet::Scheduler::new(fleet::producer(vault, queue), options);
    looking.run(&stop, |tick| meters.tick(&tick)).await;
    health.stopping();
    Ok(exit::DONE)
}

/// A name that no other start of a worker has: what is said in the name of an earlier one must not count for this one.
fn name() -> String {
    let host = gethostname::gethostname().to_string_lossy().into_owned();
    format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>())
}
