//! `fermata runs`: runs that are not finished.

use std::time::Duration;

use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Plan;
use fermata_fleet::queue::{Action, AuditEntry, Filter};
use fermata_fleet::{JobId, JobState, Queue};
use fermata_vault::Vault;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::fleet;
use crate::cli::RunsCommand;
use crate::config::Config;
use crate::desk::runs::{self, Queued};
use crate::exit;
use crate::lock;
use crate::out::{self, Out, count, several, table};

/// Longer than workers take to hear that their jobs are cancelled: a third of a lease.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn run(command: RunsCommand, config: &Config, out: Out) -> anyhow::Result<u8> {
    match command {
        RunsCommand::List { tenant } => list(&super::open_without_key(config).await?, tenant, out).await,
        RunsCommand::Show { tenant, run } => {
            show(&super::open(config).await?, config, &tenant, run, out).await
        }
        RunsCommand::Abandon { tenant, run, yes } => {
            let vault = super::open_without_key(config).await?;
            let _lock = if yes { Some(lock::take(config, &tenant)?) } else { None };
            abandon(&vault, config, &tenant, run, yes, out).await
        }
    }
}

async fn list(vault: &Vault, tenant: Option<Tenant>, out: Out) -> anyhow::Result<u8> {
    let tenants = match tenant {
        Some(tenant) => vec![super::settings(vault, &tenant).await?.tenant],
        None => vault.tenants().await?,
    };
    let list = runs::list(vault, tenants).await?;
    out.result(&list, || {
        if list.runs.is_empty() {
            return "No run is unfinished.".to_owned();
        }
        let rows = list.runs.iter().map(|run| {
            let started = run.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
            [run.tenant.to_string(), run.run.to_string(), started, run.entities.to_string()]
        });
        table(["TENANT", "RUN", "STARTED", "ENTITIES"], rows)
    })?;
    Ok(exit::DONE)
}

async fn show(
    vault: &Vault,
    config: &Config,
    tenant: &Tenant,
    run: Option<RunId>,
    out: Out,
) -> anyhow::Result<u8> {
    let plan = runs::plan(vault, tenant, run).await?;
    let queued = queued(vault, config, &plan, out).await;
    let shown = runs::show(vault, plan, queued.as_ref()).await?;
    out.result(&shown, || {
        let rows = shown.jobs.iter().map(|job| {
            let reason = job.reason.clone().unwrap_or_default();
            let queue = job.queue.map_or("", JobState::name).to_owned();
            [job.entity.clone(), job.state.to_owned(), queue, count(job.records), count(job.requests), reason]
        });
        if queued.is_some() {
            return table(["ENTITY", "STATE", "QUEUE", "RECORDS", "REQUESTS", "NOTE"], rows);
        }
        let rows =
            rows.map(|[entity, state, _, records, requests, note]| [entity, state, records, requests, note]);
        table(["ENTITY", "STATE", "RECORDS", "REQUESTS", "NOTE"], rows)
    })?;
    Ok(exit::DONE)
}

/// The states of a run's jobs in the queue, where there is one; without it the store says all that matters.
async fn queued(vault: &Vault, config: &Config, plan: &Plan, out: Out) -> Option<Queued> {
    let queue = fleet::queue_if_any(config, vault).await?;
    let listed = async { Ok::<_, anyhow::Error>(runs::queued(&queue?, plan).await?) };
    match listed.await {
        Ok(queued) => Some(queued),
        Err(error) => {
            out.say(&format!("warning: the queue's states are not shown: {}", out::causes(&error)));
            None
        }
    }
}

async fn abandon(
    vault: &Vault,
    config: &Config,
    tenant: &Tenant,
    run: Option<RunId>,
    yes: bool,
    out: Out,
) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        tenant: &'a Tenant,
        run: &'a RunId,
        done: bool,
    }
    // Its plan need not be readable: a run whose plan is damaged can only be dropped.
    let run = runs::unfinished(vault, tenant, run).await?;
    if yes {
        if let Some(queue) = fleet::queue_if_any(config, vault).await {
            let dropped = async { drop_jobs(&queue?, tenant, &run, config, out).await };
            if let Err(error) = dropped.await {
                let why = out::causes(&error);
                out.say(&format!(
                    "warning: the run's jobs stay in the queue ({why}); a worker that takes one sees that its run is gone"
                ));
            }
        }
        vault.delete_run(tenant, &run).await?;
    }
    let document = Document { schema: fermata_core::FORMAT, tenant, run: &run, done: yes };
    out.result(&document, || {
        if yes {
            return format!("Run {run} of {tenant} is dropped; the next backup begins anew.");
        }
        format!(
            "Nothing was done. --yes drops run {run} of {tenant}; the next backup then asks Tempo again for what it has read."
        )
    })?;
    Ok(exit::DONE)
}

/// Takes a run's jobs out of the queue, and waits until those that ran have stopped: what they would still write
/// would lie in the store for nothing.
async fn drop_jobs(
    queue: &Queue,
    tenant: &Tenant,
    run: &RunId,
    config: &Config,
    out: Out,
) -> anyhow::Result<()> {
    let entry = AuditEntry {
        at: Timestamp::now(),
        who: config.who.clone(),
        action: "abandon".to_owned(),
        target: format!("{tenant}/{run}"),
        count: 1,
        reason: None,
    };
    queue.audit(&entry).await?;
    if queue.drop_run(tenant, run, &config.who).await? == 0 {
        return Ok(());
    }
    let running = Filter { run: Some(run.clone()), state: Some(JobState::Running), ..Filter::default() };
    let running: Vec<JobId> =
        queue.list(&running, usize::MAX).await?.0.into_iter().map(|job| job.id).collect();
    let running: Vec<_> = running.into_iter().filter(|id| id.tenant == *tenant).collect();
    let jobs = several(running.len() as u64, "job that was running stops", "jobs that were running stop");
    out.say(&format!("{jobs} after the page under way ..."));
    let began = Instant::now();
    for id in &running {
        let state = loop {
            let state = queue.job(id).await?.map(|job| job.state);
            if state != Some(JobState::Running) || began.elapsed() > STOP_PATIENCE {
                break state;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        };
        match state {
            Some(JobState::Running) => out.say(&format!("warning: {id} has not stopped yet")),
            // It was cancelled; nobody need look at it.
            Some(_) => drop(queue.act(Action::Discard, id, &config.who, None).await?),
            None => {}
        }
    }
    Ok(())
}
