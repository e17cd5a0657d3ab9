//! `fermata probe`: what an orchestrator asks a process on its own machine, from an image that has no shell and no curl.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::{Port, Probe};
use crate::exit;
use crate::out::{self, Out};
use crate::probes::Hush;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often a worker that fell quiet is asked what it is still at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Serialize)]
struct Document {
    schema: u32,
    ok: bool,
}

pub(crate) async fn run(probe: Probe, out: Out) -> anyhow::Result<u8> {
    match probe {
        Probe::Live(port) => ask(port, "livez").await?,
        Probe::Started(port) => ask(port, "startedz").await?,
        Probe::Ready(port) => ask(port, "readyz").await?,
        Probe::Quiet { port, wait } => {
            let busy = quiet(port, Duration::from_secs(wait)).await?;
            out.result(&Hush { schema: 1, quiet: true, busy }, || match busy {
                0 => "quiet: no job is at work".to_owned(),
                busy => format!(
                    "quiet: {} at work still, to be given back when the worker stops",
                    out::several(busy.into(), "job", "jobs")
                ),
            })?;
            return Ok(exit::DONE);
        }
    }
    out.result(&Document { schema: 1, ok: true }, || "ok".to_owned())?;
    Ok(exit::DONE)
}

async fn ask(port: Port, path: &str) -> anyhow::Result<()> {
    let answer = client()?.get(url(port, path)).send().await.with_context(|| nobody(port))?;
    let status = answer.status();
    if status.is_success() { Ok(()) } else { Err(anyhow!("/{path} says {status}")) }
}

/// Returns how many jobs are still at work when it is over.
async fn quiet(port: Port, wait: Duration) -> anyhow::Result<u32> {
    let until = Instant::now() + wait;
    let (client, url) = (client()?, url(port, "quiet"));
    let answer = client.post(&url).send().await.with_context(|| nobody(port))?;
    let mut left = of_worker(answer, port).await?;
    while left > 0 && Instant::now() < until {
        tokio::time::sleep(LOOK.min(until - Instant::now())).await;
        left = match client.get(&url).send().await {
            Ok(answer) => of_worker(answer, port).await?,
            // It has ended meanwhile.
            Err(_) => 0,
        };
    }
    Ok(left)
}

async fn of_worker(answer: reqwest::Response, port: Port) -> anyhow::Result<u32> {
    let what = || format!("what answers at {} is no worker of this release", port.address);
    let answer = answer.error_for_status().with_context(what)?;
    let bytes = answer.bytes().await.with_context(what)?;
    Ok(serde_json::from_slice::<Hush>(&bytes).with_context(what)?.busy)
}

fn client() -> reqwest::Result<reqwest::Client> {
    // A proxy is for what is far away.
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()
}

fn url(port: Port, path: &str) -> String {
    format!("http://{}/{path}", port.address)
}

fn nobody(port: Port) -> String {
    format!(
        "nobody answers at {}; --address is what the process was given with --listen, or --probes",
        port.address
    )
}
