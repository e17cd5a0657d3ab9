//! `fermata enqueue` and `fermata reconcile`: from tenants to jobs in the queue.

use std::collections::BTreeSet;
use std::time::Duration;

use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Wish;
use fermata_fleet::produce::due_time;
use fermata_fleet::{Enqueued, ProduceError, Producer};
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
    let mut told = Told::new(out);
    let alone = enqueue.tenants.len() == 1;
    let named: BTreeSet<Tenant> = if enqueue.all || enqueue.due {
        let (settings, unreadable) = super::all_settings(&vault).await?;
        if settings.is_empty() && unreadable.is_empty() {
            let what = "there is no tenant to back up; `fermata tenant add NAME` adds one";
            return Err(Usage(what.to_owned()).into());
        }
        told.unreadable(unreadable);
        settings.into_iter().filter(|settings| !settings.paused).map(|settings| settings.tenant).collect()
    } else {
        enqueue.tenants.into_iter().collect()
    };
    for tenant in named {
        if told.away.is_some() {
            told.not_reached(tenant);
            continue;
        }
        let enqueued = if enqueue.due {
            due(&producer, &tenant, now).await
        } else {
            producer.enqueue(&tenant, wish.clone()).await.map(Some).map_err(anyhow::Error::from)
        };
        match enqueued {
            Ok(Some(enqueued)) => told.enqueued([enqueued]),
            Ok(None) => {}
            Err(error) if alone && !out.is_json() => return Err(error),
            Err(error) => told.failed(tenant, error),
        }
    }
    told.show(if enqueue.due { "No tenant is due." } else { "Every tenant is paused: nothing was enqueued." })
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
    let mut told = Told::new(out);
    told.unreadable(unreadable);
    for settings in settings {
        if told.away.is_some() {
            told.not_reached(settings.tenant);
            continue;
        }
        match producer.reconcile(&settings).await.map_err(anyhow::Error::from) {
            Ok(enqueued) => told.enqueued(enqueued),
            Err(error) => told.failed(settings.tenant, error),
        }
    }
    told.show("Nothing is missing in the queue.")
}

/// What became of the tenants, one after the other.
struct Told {
    lines: Vec<Line>,
    codes: Vec<u8>,
    /// The queue did not do what it was asked: it would say the same of every tenant.
    away: Option<anyhow::Error>,
    out: Out,
}

impl Told {
    fn new(out: Out) -> Self {
        Self { lines: Vec::new(), codes: Vec::new(), away: None, out }
    }

    fn unreadable(&mut self, tenants: Vec<(Tenant, anyhow::Error)>) {
        for (tenant, error) in tenants {
            self.codes.push(exit::code(&error));
            self.lines.push(failed(tenant, out::causes(&error)));
        }
    }

    fn enqueued(&mut self, enqueued: impl IntoIterator<Item = Enqueued>) {
        self.codes.push(exit::DONE);
        self.lines.extend(enqueued.into_iter().map(line));
    }

    fn failed(&mut self, tenant: Tenant, error: anyhow::Error) {
        self.codes.push(exit::code(&error));
        let line = failed(tenant.clone(), out::causes(&error));
        if !matches!(error.downcast_ref(), Some(ProduceError::Link(_))) {
            self.lines.push(line);
            self.out.error(&error.context(tenant));
            return;
        }
        self.away = Some(error);
        self.lines.extend(Some(line).filter(|_| self.out.is_json()));
    }

    /// The document names every tenant; people have read the one error.
    fn not_reached(&mut self, tenant: Tenant) {
        if self.out.is_json() {
            self.lines.push(failed(tenant, "not tried, since the queue failed before its turn".to_owned()));
        }
    }

    fn show(self, nothing: &str) -> anyhow::Result<u8> {
        if self.away.is_none() || !self.lines.is_empty() {
            show(self.lines, nothing, self.out)?;
        }
        match self.away {
            Some(error) => Err(error),
            None => Ok(exit::sum(&self.codes)),
        }
    }
}

fn line(enqueued: Enqueued) -> Line {
    let Enqueued { tenant, run, resumed, added, open } = enqueued;
    Line { tenant, run: Some(run), resumed, added, open, reason: None }
}

fn failed(tenant: Tenant, reason: String) -> Line {
    Line { tenant, run: None, resumed: false, added: 0, open: 0, reason: Some(reason) }
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
