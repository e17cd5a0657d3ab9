//! How much of a quota workers use together, how often they ask for more, and how often they ask Redis.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::{join, try_join_all};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::costs;
use super::stage::{Fleet, Process};
use crate::sheet::{self, Aim, Unit};
use crate::site::Site;

const SHARE_ALONE_MIN: f64 = 0.99;
const SHARE_OF_REST_MIN: f64 = 0.85;
const REFUSED_MAX: f64 = 0.002;
const CALLS_PER_REQUEST_MAX: f64 = 1.1;
/// The part of a quota that another client takes.
const OTHER: f64 = 0.3;
/// Rows on a page: so few that a site is many requests.
const PAGE_ROWS: u32 = 50;
const IDLE: Duration = Duration::from_secs(5);

/// Who asks whom.
struct Load {
    workers: usize,
    tenants: u32,
    rate: f64,
    other: f64,
    warm_up: Duration,
    measured: Duration,
    runs: usize,
}

/// What the simulator and Redis say of it.
#[derive(Debug)]
struct Seen {
    /// Accepted requests of the workers, of what the other client left.
    share: f64,
    /// The same for the tenant with the least.
    share_least: f64,
    /// 429s, of the workers' requests.
    refused: f64,
    refusals: f64,
    /// Calls to Redis for each request, beyond those of workers that have nothing to do.
    calls: f64,
    /// And with those.
    all_calls: f64,
    peak: f64,
}

/// Measures with 1, 4 and 16 processes.
pub(crate) async fn measure() -> Result<()> {
    let alone = Load {
        workers: 0,
        tenants: 1,
        rate: 50.0,
        other: 0.0,
        warm_up: Duration::from_secs(5),
        measured: Duration::from_secs(25),
        runs: 3,
    };
    for workers in [1, 4, 16] {
        several("one tenant, 50/s", &Load { workers, ..alone }).await?;
    }
    for workers in [1, 16] {
        let measured = Duration::from_mins(1);
        several("one tenant, 5/s", &Load { workers, rate: 5.0, measured, runs: 1, ..alone }).await?;
    }
    for workers in [1, 4, 16] {
        let warm_up = Duration::from_secs(15);
        several(
            "100 tenants, 5/s each",
            &Load { workers, tenants: 100, rate: 5.0, warm_up, runs: 1, ..alone },
        )
        .await?;
    }
    // They mostly wait, so all of them at the same time.
    let shared = [(1, 50.0), (4, 50.0), (16, 50.0), (1, 5.0), (4, 5.0)].map(|(workers, rate)| Load {
        workers,
        rate,
        other: OTHER,
        warm_up: Duration::from_secs(30),
        measured: Duration::from_mins(5),
        runs: 1,
        ..alone
    });
    for (load, seen) in shared.iter().zip(try_join_all(shared.iter().map(run)).await?) {
        report(&format!("one tenant, {}/s, another client takes 30 %", load.rate), load, &[seen]);
    }
    Ok(())
}

async fn several(what: &str, load: &Load) -> Result<()> {
    let mut runs = Vec::new();
    for _ in 0..load.runs {
        runs.push(run(load).await?);
    }
    report(what, load, &runs);
    Ok(())
}

fn report(what: &str, load: &Load, runs: &[Seen]) {
    sheet::part(&format!("quota: {what}, {} worker processes, {} s", load.workers, load.measured.as_secs()));
    let line = |what: &str, unit, value: &dyn Fn(&Seen) -> f64, aim| {
        sheet::line(what, unit, &runs.iter().map(value).collect::<Vec<_>>(), aim);
    };
    if load.other > 0.0 {
        let share = Aim::AtLeast(SHARE_OF_REST_MIN);
        line("used of what the other leaves", Unit::Share, &|seen| seen.share, share);
        line("answers of 429, of requests", Unit::Share, &|seen| seen.refused, Aim::AtMost(REFUSED_MAX));
    } else {
        line("share of the quota", Unit::Share, &|seen| seen.share, Aim::AtLeast(SHARE_ALONE_MIN));
        if load.tenants > 1 {
            line("that of the tenant with the least", Unit::Share, &|seen| seen.share_least, Aim::None);
        }
    }
    let refusals = if load.other > 0.0 { Aim::None } else { Aim::AtMost(0.0) };
    line("answers of 429", Unit::Count, &|seen| seen.refusals, refusals);
    line("most requests in any second", Unit::Count, &|seen| seen.peak, Aim::None);
    let calls = Aim::AtMost(CALLS_PER_REQUEST_MAX);
    line("calls to Redis per request, less those of idle workers", Unit::Number, &|seen| seen.calls, calls);
    line("calls to Redis per request, with those", Unit::Number, &|seen| seen.all_calls, Aim::None);
}

async fn run(load: &Load) -> Result<Seen> {
    let (rate, tenants) = (load.rate.to_string(), load.tenants.to_string());
    let seconds = (load.warm_up + load.measured).as_secs_f64() + 20.0;
    // One tenant has six jobs at once, of many each has one; none is to come to its end meanwhile.
    let jobs = if load.tenants == 1 { 6 } else { 1 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let worklogs = (seconds * load.rate) as usize * PAGE_ROWS as usize;
    let site = Site::start(worklogs, &["--rate", &rate, "--tenants", &tenants])?;
    site.set_quirks(&format!(r#"{{"limit_max":{PAGE_ROWS}}}"#)).await?;
    let fleet = Fleet::start().await?;
    let mut tenants = Vec::new();
    for number in 1..=load.tenants {
        tenants.push(fleet.add(&format!("sim-{number}"), &site, number, load.rate).await?);
    }
    let concurrency = (jobs * load.tenants as usize * 5 / 4).div_ceil(load.workers).max(2).to_string();
    let args = ["--concurrency", &*concurrency];
    let logs = (0..load.workers).map(|worker| format!("worker-{worker}.log"));
    let workers = logs.map(|log| fleet.worker(&args, &log)).collect::<Result<Vec<_>>>()?;
    let idle = idle_calls(&fleet).await?;
    for tenant in &tenants {
        fleet.enqueue_long_jobs(tenant, jobs).await?;
    }
    let stop = CancellationToken::new();
    let measuring = async {
        let seen = watch(load, &site, &fleet).await;
        stop.cancel();
        seen
    };
    let (seen, other) = join(measuring, ask_evenly(load, &site, &stop)).await;
    let (ledger, calls, took) = seen?;
    drop::<Vec<Process>>(workers);
    let calls = (calls as f64, (calls as f64 - idle * took.as_secs_f64()).max(0.0));
    judge(load, &ledger, calls, took, &other?)
}

/// Calls to Redis in a second while there is nothing to do.
async fn idle_calls(fleet: &Fleet) -> Result<f64> {
    // Until all have started.
    sleep(Duration::from_secs(2)).await;
    let (before, began) = (costs::calls(fleet.queue.link()).await?, Instant::now());
    sleep(IDLE).await;
    let calls = costs::calls(fleet.queue.link()).await?.since(before).wire;
    Ok(calls as f64 / began.elapsed().as_secs_f64())
}

/// The ledger of the time that is measured, the calls to Redis, and how long it took.
async fn watch(load: &Load, site: &Site, fleet: &Fleet) -> Result<(Value, u64, Duration)> {
    sleep(load.warm_up).await;
    let link = fleet.queue.link();
    let before = costs::calls(link).await?;
    site.forget_requests().await?;
    let began = Instant::now();
    sleep(load.measured).await;
    let ledger = site.ledger().await?;
    let took = began.elapsed();
    let after = costs::calls(link).await?;
    Ok((ledger, after.since(before).wire, took))
}

/// The other client: when its requests were answered, and whether they were refused.
async fn ask_evenly(load: &Load, site: &Site, stop: &CancellationToken) -> Result<Vec<(Instant, bool)>> {
    let mut answers = Vec::new();
    if load.other <= 0.0 {
        return Ok(answers);
    }
    let client = reqwest::Client::new();
    let url = format!("{}/4/teams?limit=1", site.url);
    let mut every = tokio::time::interval(Duration::from_secs_f64(1.0 / (load.rate * load.other)));
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return Ok(answers),
        }
        let answer = client.get(&url).bearer_auth(crate::site::TOKEN).send().await?;
        answers.push((Instant::now(), answer.status() == reqwest::StatusCode::TOO_MANY_REQUESTS));
    }
}

fn judge(
    load: &Load,
    ledger: &Value,
    calls: (f64, f64),
    took: Duration,
    other: &[(Instant, bool)],
) -> Result<Seen> {
    let total = |of: &Value, name| of[name].as_f64().context("the ledger has totals");
    let last = other.last().map(|(at, _)| *at);
    let measured = other.iter().filter(|(at, _)| last.is_some_and(|last| last.duration_since(*at) <= took));
    let (theirs_refused, theirs): (Vec<bool>, Vec<bool>) =
        measured.map(|(_, refused)| *refused).partition(|refused| *refused);
    let (theirs_refused, theirs) = (theirs_refused.len() as f64, theirs.len() as f64);
    let accepted = total(&ledger["total"], "accepted")? - theirs;
    let refused = total(&ledger["total"], "refused")? - theirs_refused;
    let quota = load.rate * took.as_secs_f64();
    let mut shares = Vec::new();
    for tenant in ledger["tenants"].as_object().context("the ledger has tenants")?.values() {
        shares.push(total(&tenant["total"], "accepted")? / quota);
    }
    Ok(Seen {
        share: accepted / (quota * f64::from(load.tenants) - theirs),
        share_least: shares.iter().copied().fold(f64::INFINITY, f64::min),
        refused: refused / (accepted + refused),
        refusals: refused,
        calls: calls.1 / accepted,
        all_calls: calls.0 / accepted,
        peak: total(&ledger["total"], "peak_per_second")?,
    })
}
