//! `fermata runs`: runs that are not finished.

use fermata_core::checkpoint::Outcome;
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Plan;
use fermata_vault::{Log, Vault};
use jiff::Timestamp;
use serde::Serialize;

use crate::cli::RunsCommand;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::lock;
use crate::out::{Out, count, table};

#[derive(Serialize)]
struct RunView {
    tenant: Tenant,
    run: RunId,
    started: Timestamp,
    entities: usize,
}

#[derive(Serialize)]
struct JobView {
    entity: String,
    state: &'static str,
    records: u64,
    requests: u64,
    reason: Option<String>,
}

pub(crate) async fn run(command: RunsCommand, config: &Config, out: Out) -> anyhow::Result<u8> {
    match command {
        RunsCommand::List { tenant } => list(&super::open_without_key(config).await?, tenant, out).await,
        RunsCommand::Show { tenant, run } => show(&super::open(config).await?, &tenant, run, out).await,
        RunsCommand::Abandon { tenant, run, yes } => {
            let vault = super::open_without_key(config).await?;
            let _lock = if yes { Some(lock::take(config, &tenant)?) } else { None };
            abandon(&vault, &tenant, run, yes, out).await
        }
    }
}

async fn list(vault: &Vault, tenant: Option<Tenant>, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        runs: Vec<RunView>,
    }
    let tenants = match tenant {
        Some(tenant) => vec![super::settings(vault, &tenant).await?.tenant],
        None => vault.tenants().await?,
    };
    let mut runs = Vec::new();
    for tenant in tenants {
        for run in vault.unfinished_runs(&tenant).await? {
            if let Some(plan) = vault.plan(&tenant, &run).await? {
                runs.push(RunView {
                    tenant: tenant.clone(),
                    run,
                    started: plan.started,
                    entities: plan.jobs.len(),
                });
            }
        }
    }
    let document = Document { schema: fermata_core::FORMAT, runs };
    out.result(&document, || {
        if document.runs.is_empty() {
            return "No run is unfinished.".to_owned();
        }
        let rows = document.runs.iter().map(|run| {
            let started = run.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
            [run.tenant.to_string(), run.run.to_string(), started, run.entities.to_string()]
        });
        table(["TENANT", "RUN", "STARTED", "ENTITIES"], rows)
    })?;
    Ok(exit::DONE)
}

async fn show(vault: &Vault, tenant: &Tenant, run: Option<RunId>, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        tenant: Tenant,
        run: RunId,
        started: Timestamp,
        jobs: Vec<JobView>,
    }
    let plan = plan(vault, tenant, run).await?;
    let mut jobs = Vec::new();
    for job in &plan.jobs {
        let log = Log::open(vault, tenant, &plan.run, &job.entity).await?;
        let state = log.state();
        let (name, reason) = match &state.outcome {
            None if state.events == 0 => ("waiting", None),
            None => ("begun", None),
            Some(Outcome::Complete) => ("complete", None),
            Some(Outcome::Skipped(why)) => ("skipped", Some(why.clone())),
            Some(Outcome::Failed(why)) => ("failed", Some(why.clone())),
        };
        let (entity, tally) = (job.entity.clone(), state.tally);
        jobs.push(JobView { entity, state: name, records: tally.records, requests: tally.requests, reason });
    }
    let (tenant, run) = (plan.tenant, plan.run);
    let document = Document { schema: fermata_core::FORMAT, tenant, run, started: plan.started, jobs };
    out.result(&document, || {
        let rows = document.jobs.iter().map(|job| {
            let reason = job.reason.clone().unwrap_or_default();
            [job.entity.clone(), job.state.to_owned(), count(job.records), count(job.requests), reason]
        });
        table(["ENTITY", "STATE", "RECORDS", "REQUESTS", "NOTE"], rows)
    })?;
    Ok(exit::DONE)
}

async fn abandon(
    vault: &Vault,
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
    let run = unfinished(vault, tenant, run).await?;
    if yes {
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

/// The plan of the run named, or of the unfinished one.
async fn plan(vault: &Vault, tenant: &Tenant, run: Option<RunId>) -> anyhow::Result<Plan> {
    let run = unfinished(vault, tenant, run).await?;
    let plan = vault.plan(tenant, &run).await?;
    plan.ok_or_else(|| Usage(format!("{tenant} has no unfinished run {run}")).into())
}

/// The run named, or the unfinished one.
async fn unfinished(vault: &Vault, tenant: &Tenant, run: Option<RunId>) -> anyhow::Result<RunId> {
    let unfinished = vault.unfinished_runs(tenant).await?;
    let run = match run {
        Some(run) if unfinished.contains(&run) => Some(run),
        Some(run) => return Err(Usage(format!("{tenant} has no unfinished run {run}")).into()),
        None => unfinished.into_iter().next_back(),
    };
    run.ok_or_else(|| Usage(format!("{tenant} has no unfinished run")).into())
}
