//! `fermata enqueue` and `fermata reconcile`: from tenants to jobs in the queue.

use std::collections::BTreeSet;
use std::time::Duration;

use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Wish;
use fermata_fleet::produce::due_time;
use fermata_fleet::{Enqueued, Producer};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::fleet;
use crate::cli::Enqueue;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{self, Out, count, table};

#[derive(Serialize)]
struct Document {
    schema: u32,
    tenants: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    tenant: Tenant,
    run: Option<RunId>,
    resumed: bool,
    /// Jobs that were not in the queue before.
    added: u64,
    /// Jobs of the run that have not ended.
    open: u64,
    /// Why nothing was enqueued.
    reason: Option<String>,
}

pub(crate) async fn run(enqueue: Enqueue, config: &Config, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    if let Some(day) = enqueue.from.filter(|day| *day > today) {
        return Err(Usage(format!("--from: {day} is yet to come; today is {today}")).into());
    }
    // Planning opens no token: no key is needed.
    let vault = super::open_without_key(config).await?;
    let producer = fleet::producer(vault.clone(), fleet::queue_at_once(config, &vault, out).await?);
    let wish = Wish { only: enqueue.entity.into_iter().collect(), from: enqueue.from, full: enqueue.full };
    let mut lines = Vec::new();
    let mut codes = Vec::new();
    let alone = enqueue.tenants.len() == 1;
    let named: BTreeSet<Tenant> = if enqueue.all || enqueue.due {
        let (settings, unreadable) = super::all_settings(&vault).await?;
        for (tenant, error) in unreadable {
            codes.push(exit::code(&error));
            lines.push(failed(tenant, &error));
        }
        if settings.is_empty() && lines.is_empty() {
            let what = "there is no tenant to back up; `fermata tenant add NAME` adds one";
            return Err(Usage(what.to_owned()).into());
        }
        settings.into_iter().filter(|settings| !settings.paused).map(|settings| settings.tenant).collect()
    } else {
        enqueue.tenants.into_iter().collect()
    };
    for tenant in named {
        let enqueued = if enqueue.due {
            due(&producer, &tenant, now).await
        } else {
            producer.enqueue(&tenant, wish.clone()).await.map(Some).map_err(anyhow::Error::from)
        };
        match enqueued {
            Ok(Some(enqueued)) => {
                codes.push(exit::DONE);
                lines.push(line(enqueued));
            }
            Ok(None) => {}
            Err(error) if alone && !out.is_json() => return Err(error),
            Err(error) => {
                codes.push(exit::code(&error));
                lines.push(failed(tenant.clone(), &error));
                out::error(&error.context(tenant));
            }
        }
    }
    show(
        lines,
        if enqueue.due { "No tenant is due." } else { "Every tenant is paused: nothing was enqueued." },
        out,
    )?;
    Ok(exit::sum(&codes))
}

/// Enqueues a tenant if its schedule says so.
async fn due(producer: &Producer, tenant: &Tenant, now: Timestamp) -> anyhow::Result<Option<Enqueued>> {
    let settings = super::settings(&producer.engine.vault, tenant).await?;
    match due_time(&settings, now, Duration::ZERO)? {
        Some(due) => Ok(producer.enqueue_due(tenant, due).await?),
        None => Ok(None),
    }
}

pub(crate) async fn reconcile(config: &Config, out: Out) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    let producer = fleet::producer(vault.clone(), fleet::queue_at_once(config, &vault, out).await?);
    let (settings, unreadable) = super::all_settings(&vault).await?;
    let (mut lines, mut codes) = (Vec::new(), Vec::new());
    for (tenant, error) in unreadable {
        codes.push(exit::code(&error));
        lines.push(failed(tenant, &error));
    }
    for settings in settings {
        match producer.reconcile(&settings).await.map_err(anyhow::Error::from) {
            Ok(enqueued) => {
                codes.push(exit::DONE);
                lines.extend(enqueued.into_iter().map(line));
            }
            Err(error) => {
                codes.push(exit::code(&error));
                lines.push(failed(settings.tenant.clone(), &error));
                out::error(&error.context(settings.tenant));
            }
        }
    }
    show(lines, "Nothing is missing in the queue.", out)?;
    Ok(exit::sum(&codes))
}

fn line(enqueued: Enqueued) -> Line {
    let Enqueued { tenant, run, resumed, added, open } = enqueued;
    Line { tenant, run: Some(run), resumed, added, open, reason: None }
}

fn failed(tenant: Tenant, error: &anyhow::Error) -> Line {
    Line { tenant, run: None, resumed: false, added: 0, open: 0, reason: Some(out::causes(error)) }
}

fn show(lines: Vec<Line>, nothing: &str, out: Out) -> std::io::Result<()> {
    let document = Document { schema: fermata_core::FORMAT, tenants: lines };
    out.result(&document, || {
        if document.tenants.is_empty() {
            return nothing.to_owned();
        }
        let rows = document.tenants.iter().map(|line| {
            let run = line.run.as_ref().map(RunId::to_string).unwrap_or_default();
            let note = match &line.reason {
                Some(reason) => reason.clone(),
                None if line.resumed => "goes on".to_owned(),
                None => String::new(),
            };
            [line.tenant.to_string(), run, count(line.added), count(line.open), note]
        });
        table(["TENANT", "RUN", "JOBS ADDED", "JOBS OPEN", "NOTE"], rows)
    })
}
