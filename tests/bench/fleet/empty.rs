//! Jobs that do nothing: what a queue alone costs, beside other queues on the same Redis.
//!
//! All are filled first and emptied then; jobs per second are those between the tenth and the ninetieth part, when every
//! process has started and none is idle. All keep what is done, as they do when nobody says otherwise.

mod bullmq;
mod fermata;
mod stock;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use fermata_fleet::Link;
use tempfile::TempDir;

use super::costs::{self, Calls};
use super::stage::{self, Process};
use crate::child;
use crate::sheet::{self, Aim, Unit};

const RUNS: usize = 3;
/// Processes, and jobs at once in each of them.
const CROWDS: [(usize, usize); 4] = [(1, 1), (1, 16), (1, 64), (4, 16)];
/// Jobs that are measured one by one, and how far apart they are enqueued.
pub(crate) const LATENCY_JOBS: u32 = 300;
pub(crate) const LATENCY_PAUSE: Duration = Duration::from_millis(20);
/// A queue that does nothing for so long is stuck.
const STUCK: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(2);

/// A queue.
#[derive(Clone, Copy, Debug, PartialEq)]
enum System {
    Fermata,
    /// apalis-redis, with a batch of so many jobs.
    Stock(usize),
    Bullmq,
}

/// One that was emptied.
struct Emptied {
    rate: f64,
    calls: f64,
    all_calls: f64,
    /// Processor time for a job, in microseconds.
    redis_us: f64,
    worker_us: f64,
    queued_bytes: f64,
    done_bytes: f64,
}

pub(crate) async fn measure() -> Result<()> {
    let mut others = Vec::new();
    if stock::IS_HERE {
        others.extend([System::Stock(1), System::Stock(100)]);
    } else {
        sheet::note("apalis-redis: left out; it takes `--features stock`");
    }
    match bullmq::install()? {
        Ok(()) => others.push(System::Bullmq),
        Err(why) => sheet::note(&format!("BullMQ: left out, {why}")),
    }
    for (processes, places) in CROWDS {
        crowd(&others, processes, places).await?;
    }
    latency(&others).await
}

/// One of the processes measured here.
pub(crate) async fn child(kind: &str, args: &[String]) -> Result<()> {
    let [url, rest @ ..] = args else { bail!("a child is told where Redis is") };
    match (kind, rest) {
        (fermata::WORKER, [places]) => fermata::work(url, places.parse()?).await,
        (fermata::LATENCY, []) => fermata::latency(url).await,
        (stock::WORKER, [places, batch]) => stock::work(url, places.parse()?, batch.parse()?).await,
        (stock::LATENCY, []) => stock::latency(url).await,
        _ => bail!("no such child: {kind} {args:?}"),
    }
}

async fn crowd(others: &[System], processes: usize, places: usize) -> Result<()> {
    sheet::part(&format!("empty jobs: {processes} processes, {places} jobs at once in each"));
    let mut best = 0.0;
    for system in others.iter().chain(&[System::Fermata]) {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            match empty(*system, processes, places).await {
                Err(error) if *system != System::Fermata => {
                    sheet::note(&format!("{}: {error}", system.name()));
                }
                run => runs.push(run?),
            }
        }
        let of = |value: &dyn Fn(&Emptied) -> f64| runs.iter().map(value).collect::<Vec<_>>();
        let rates = of(&|run| run.rate);
        let aim = if *system == System::Fermata { Aim::AtLeast(best) } else { Aim::None };
        // A batch is fast since it is told late, and in one piece, what became of its jobs: it is shown, and no measure.
        if !matches!(system, System::Stock(2..)) {
            best = f64::max(best, sheet::median(&rates));
        }
        let name = system.name();
        sheet::line(&format!("{name}: jobs per second"), Unit::Count, &rates, aim);
        sheet::line(
            &format!("{name}: calls to Redis per job"),
            Unit::Number,
            &of(&|run| run.calls),
            Aim::None,
        );
        let all = of(&|run| run.all_calls);
        sheet::line(&format!("{name}: and with those of scripts"), Unit::Number, &all, Aim::None);
        let redis = of(&|run| run.redis_us);
        sheet::line(&format!("{name}: Redis's CPU for a job, us"), Unit::Number, &redis, Aim::None);
        let workers = of(&|run| run.worker_us);
        sheet::line(&format!("{name}: workers' CPU for a job, us"), Unit::Number, &workers, Aim::None);
        if (processes, places) == CROWDS[0] {
            let (queued, done) = (of(&|run| run.queued_bytes), of(&|run| run.done_bytes));
            sheet::line(&format!("{name}: Redis per queued job"), Unit::Bytes, &queued, Aim::None);
            sheet::line(&format!("{name}: Redis per done job"), Unit::Bytes, &done, Aim::None);
        }
    }
    Ok(())
}

/// Fills a queue and empties it.
async fn empty(system: System, processes: usize, places: usize) -> Result<Emptied> {
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let redis = stage::redis(folder.path())?;
    let (url, link) = (redis.url(), Link::new(&redis.url(), "bench")?);
    let bare = costs::memory(&link).await?;
    let jobs = system.fill(&url).await?;
    let filled = costs::memory(&link).await?;
    let mut workers = Vec::new();
    for worker in 0..processes {
        workers.push(Process::start(
            &mut system.worker(&url, places)?,
            &folder.path().join(format!("{worker}.log")),
        )?);
    }
    let cpus = || -> Result<(f64, f64)> {
        let of_workers = workers.iter().map(|worker: &Process| child::cpu(worker.pid()));
        Ok((child::cpu(redis.pid())?, of_workers.sum::<Result<f64>>()?))
    };
    let (first, last) = (jobs / 10, jobs - jobs / 10);
    let (began, calls_began, done_first) = reach(system, &link, first).await?;
    let cpu_began = cpus()?;
    let (ended, calls_ended, done_last) = reach(system, &link, last).await?;
    let cpu_ended = cpus()?;
    reach(system, &link, jobs).await?;
    drop(workers);
    let done = costs::memory(&link).await?;
    let (between, calls) = ((done_last - done_first) as f64, calls_ended.since(calls_began));
    let per_job = |bytes: u64| bytes.saturating_sub(bare) as f64 / jobs as f64;
    Ok(Emptied {
        rate: between / ended.duration_since(began).as_secs_f64(),
        calls: calls.wire as f64 / between,
        all_calls: calls.all as f64 / between,
        redis_us: (cpu_ended.0 - cpu_began.0) * 1e6 / between,
        worker_us: (cpu_ended.1 - cpu_began.1) * 1e6 / between,
        queued_bytes: per_job(filled),
        done_bytes: per_job(done),
    })
}

/// Waits until so many jobs are done.
async fn reach(system: System, link: &Link, count: u64) -> Result<(Instant, Calls, u64)> {
    let (mut before, mut since) = (0, Instant::now());
    loop {
        let done = system.done(link).await?;
        let now = Instant::now();
        if done >= count {
            return Ok((now, costs::calls(link).await?, done));
        }
        if done != before {
            (before, since) = (done, now);
        }
        ensure!(since.elapsed() < STUCK, "{}: stuck after {done} of {count} jobs", system.name());
        tokio::time::sleep(LOOK).await;
    }
}

/// How long a job that is enqueued waits for an idle worker.
async fn latency(others: &[System]) -> Result<()> {
    sheet::part(&format!("empty jobs: one each {} ms, from enqueueing to start", LATENCY_PAUSE.as_millis()));
    for system in others.iter().chain(&[System::Fermata]) {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let redis = stage::redis(folder.path())?;
        let Some(mut command) = system.latency(&redis.url())? else { continue };
        let said = child::run(&mut command).await?.said;
        let millis: Vec<f64> = said.lines().filter_map(|line| line.parse().ok()).collect();
        ensure!(millis.len() > LATENCY_JOBS as usize / 2, "{}: {} jobs started", system.name(), millis.len());
        sheet::line(&format!("{}: median", system.name()), Unit::Millis, &millis, Aim::None);
        let p99 = sheet::percentile(&millis, 0.99);
        sheet::line(&format!("{}: p99", system.name()), Unit::Millis, &[p99], Aim::None);
    }
    Ok(())
}

impl System {
    fn name(self) -> String {
        match self {
            Self::Fermata => "Fermata".to_owned(),
            Self::Stock(1) => "apalis-redis, batch 1 (safe)".to_owned(),
            Self::Stock(batch) => format!("apalis-redis, batch {batch} (fast)"),
            Self::Bullmq => "BullMQ".to_owned(),
        }
    }

    async fn fill(self, url: &str) -> Result<u64> {
        match self {
            Self::Fermata => fermata::fill(url).await,
            Self::Stock(_) => stock::fill(url).await,
            Self::Bullmq => bullmq::fill(url).await,
        }
    }

    fn worker(self, url: &str, places: usize) -> Result<Command> {
        let places = places.to_string();
        match self {
            Self::Fermata => stage::myself(&[fermata::WORKER, url, &places]),
            Self::Stock(batch) => stage::myself(&[stock::WORKER, url, &places, &batch.to_string()]),
            Self::Bullmq => Ok(bullmq::command(&["work", url, &places])),
        }
    }

    fn latency(self, url: &str) -> Result<Option<Command>> {
        Ok(Some(match self {
            Self::Fermata => stage::myself(&[fermata::LATENCY, url])?,
            // There is nothing to batch.
            Self::Stock(1) => stage::myself(&[stock::LATENCY, url])?,
            Self::Stock(_) => return Ok(None),
            Self::Bullmq => {
                let (jobs, pause) = (LATENCY_JOBS.to_string(), LATENCY_PAUSE.as_millis().to_string());
                bullmq::command(&["latency", url, &jobs, &pause])
            }
        }))
    }

    async fn done(self, link: &Link) -> Result<u64> {
        let (command, key) = match self {
            Self::Fermata => ("ZCARD", format!("{}:done", link.prefix())),
            Self::Stock(_) => ("SCARD", format!("{}:done", stock::QUEUE)),
            Self::Bullmq => ("ZCARD", "bull:bench:completed".to_owned()),
        };
        Ok(link.ask(redis::cmd(command).arg(key)).await?)
    }
}
