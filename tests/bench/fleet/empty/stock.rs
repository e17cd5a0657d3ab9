//! apalis-redis as it is, for comparison only: behind a feature, so that nothing else is built with it.
//!
//! A batch of one is the one setting with which it is known to lose nothing; more than 7,999 jobs that are due stop it for good.

#[cfg(feature = "stock")]
pub(super) use here::{fill, latency, work};
#[cfg(not(feature = "stock"))]
pub(super) use nowhere::{fill, latency, work};

pub(super) const IS_HERE: bool = cfg!(feature = "stock");
pub(super) const WORKER: &str = "stock-worker";
pub(super) const LATENCY: &str = "stock-latency";
pub(super) const QUEUE: &str = "bench";

#[cfg(feature = "stock")]
mod here {
    use std::sync::{Arc, Mutex, PoisonError};
    use std::task::{Context, Poll};
    use std::time::{Duration, Instant};

    use anyhow::{Context as _, Result, anyhow};
    use apalis::prelude::{ParallelizeExt, TaskSink, WorkerBuilder, WorkerBuilderExt};
    use apalis_core::backend::ext::BackendExt;
    use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
    use apalis_redis::{Client, Config, RedisStorage};
    use redis::aio::ConnectionManagerConfig;
    use tokio::time::{Interval, MissedTickBehavior, interval};

    use super::QUEUE;
    use crate::fleet::empty::{LATENCY_JOBS, LATENCY_PAUSE};
    use crate::sheet;

    const JOBS: usize = 6_000;
    const BULK: usize = 100;
    /// Its own half a second is too short for a machine that does other things too, and it does not recover.
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
    /// How often an idle worker looks.
    const POLL: Duration = Duration::from_millis(50);

    /// Its own interval loses its timer when a fetch ends within the same poll, and sleeps until the next heartbeat.
    struct Tick(Interval);

    impl PollStrategy for Tick {
        fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
            let mut ticked = false;
            while self.0.poll_tick(cx).is_ready() {
                ticked = true;
            }
            if ticked { Poll::Ready(Some(())) } else { Poll::Pending }
        }
    }

    pub(crate) async fn fill(url: &str) -> Result<u64> {
        let mut storage = storage(url, 1).await?;
        for number in (0..JOBS).step_by(BULK) {
            // As long as the names of our jobs are.
            let names = (number..number + BULK)
                .map(|number| format!("company-{number:06}/20261124T020000Z-{number:06x}/worklogs"));
            storage
                .push_bulk(names.collect())
                .await
                .map_err(|error| anyhow!("apalis-redis takes no jobs: {error}"))?;
        }
        Ok(JOBS as u64)
    }

    pub(crate) async fn work(url: &str, places: usize, batch: usize) -> Result<()> {
        serve(storage(url, batch).await?, places, |_| ()).await
    }

    pub(crate) async fn latency(url: &str) -> Result<()> {
        let served = storage(url, 1).await?;
        let started: Arc<Mutex<Vec<(usize, Instant)>>> = Arc::default();
        let seen = started.clone();
        let url = url.to_owned();
        let handle = move |job: String| {
            let mut started = seen.lock().unwrap_or_else(PoisonError::into_inner);
            started.push((job.parse().unwrap_or_default(), Instant::now()));
        };
        // On a thread of its own: a worker in the task that enqueues would be woken by the enqueueing.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async { serve(storage(&url, 1).await?, 16, handle).await })
        });
        let pushed = push(served).await?;
        for (job, started) in started.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sheet::plain(started.duration_since(pushed[*job]).as_secs_f64() * 1_000.0);
        }
        Ok(())
    }

    async fn push(mut storage: RedisStorage<String>) -> Result<Vec<Instant>> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut pushed = Vec::new();
        for number in 0..LATENCY_JOBS {
            pushed.push(Instant::now());
            storage
                .push(number.to_string())
                .await
                .map_err(|error| anyhow!("apalis-redis takes no jobs: {error}"))?;
            tokio::time::sleep(LATENCY_PAUSE).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(pushed)
    }

    async fn storage(url: &str, batch: usize) -> Result<RedisStorage<String>> {
        let manager = ConnectionManagerConfig::new().set_response_timeout(Some(ANSWER_TIMEOUT));
        let connection = Client::open(url)?.get_connection_manager_with_config(manager).await?;
        let config = Config::default().queue(QUEUE).batch_size(batch);
        let config = config.heartbeat_interval(Duration::from_secs(5)).missed_heartbeats(6);
        Ok(RedisStorage::new(connection).with_config(config))
    }

    async fn serve<F>(storage: RedisStorage<String>, places: usize, handle: F) -> Result<()>
    where
        F: Fn(String) + Clone + Send + Sync + 'static,
    {
        let mut every = interval(POLL);
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let worker = WorkerBuilder::new(format!("bench-{}", std::process::id()))
            .backend(storage.poll_with_strategy(Tick(every)))
            .concurrency(places)
            .parallelize(tokio::spawn)
            .catch_panic()
            .build(move |job: String| {
                handle(job);
                async {}
            });
        worker.run().await.ok().context("apalis-redis broke down")
    }
}

#[cfg(not(feature = "stock"))]
mod nowhere {
    use anyhow::{Result, bail};

    const WHY: &str = "this was built without apalis-redis";

    pub(crate) async fn fill(_: &str) -> Result<u64> {
        bail!(WHY)
    }

    pub(crate) async fn work(_: &str, _: usize, _: usize) -> Result<()> {
        bail!(WHY)
    }

    pub(crate) async fn latency(_: &str) -> Result<()> {
        bail!(WHY)
    }
}
