//! Runs that are not finished, and how far they are.

use std::collections::BTreeMap;

use fermata_core::checkpoint::Outcome;
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Plan;
use fermata_fleet::queue::Filter;
use fermata_fleet::{JobState, LinkError, Queue};
use fermata_vault::{Log, Vault, VaultError};
use jiff::Timestamp;
use serde::Serialize;

use crate::exit::Usage;

/// Runs that are not finished.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    schema: u32,
    pub(crate) runs: Vec<Row>,
}

/// A run in a list.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) tenant: Tenant,
    pub(crate) run: RunId,
    pub(crate) started: Timestamp,
    pub(crate) entities: usize,
}

/// A run and its jobs.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    schema: u32,
    pub(crate) tenant: Tenant,
    pub(crate) run: RunId,
    pub(crate) started: Timestamp,
    pub(crate) jobs: Vec<Job>,
}

/// A job of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Job {
    pub(crate) entity: String,
    /// `waiting`, `begun`, and how it ended: `complete`, `skipped`, `failed`, or `ended` where no key is at hand to tell.
    pub(crate) state: &'static str,
    pub(crate) records: u64,
    pub(crate) requests: u64,
    pub(crate) reason: Option<String>,
    /// What the queue says, where there is a fleet and it answers.
    pub(crate) queue: Option<JobState>,
    /// When it last got on, by the worker's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at: Option<Timestamp>,
    /// How many records it had when it last was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expected: Option<u64>,
}

/// The states of a run's jobs in the queue, by entity.
pub(crate) type Queued = BTreeMap<String, JobState>;

/// The unfinished runs of these tenants.
pub(crate) async fn list(
    vault: &Vault,
    tenants: impl IntoIterator<Item = Tenant>,
) -> Result<List, VaultError> {
    let mut runs = Vec::new();
    for tenant in tenants {
        for run in vault.unfinished_runs(&tenant).await? {
            if let Some(plan) = vault.plan(&tenant, &run).await? {
                let (started, entities) = (plan.started, plan.jobs.len());
                runs.push(Row { tenant: tenant.clone(), run, started, entities });
            }
        }
    }
    Ok(List { schema: fermata_core::FORMAT, runs })
}

/// A run as the logs of its jobs tell it, which needs the workers' key.
pub(crate) async fn show(vault: &Vault, plan: Plan, queued: Option<&Queued>) -> Result<Shown, VaultError> {
    let mut jobs = Vec::new();
    for job in &plan.jobs {
        let log = Log::open(vault, &plan.tenant, &plan.run, &job.entity).await?;
        let state = log.state();
        let (name, reason) = match &state.outcome {
            None if state.events == 0 => ("waiting", None),
            None => ("begun", None),
            Some(Outcome::Complete) => ("complete", None),
            Some(Outcome::Skipped(why)) => ("skipped", Some(why.clone())),
            Some(Outcome::Failed(why)) => ("failed", Some(why.clone())),
        };
        jobs.push(Job {
            entity: job.entity.clone(),
            state: name,
            records: state.tally.records,
            requests: state.tally.requests,
            reason,
            queue: queued.and_then(|queued| queued.get(&job.entity)).copied(),
            at: None,
            expected: None,
        });
    }
    Ok(shown(plan, jobs))
}

/// A run as anybody may see it.
pub(crate) async fn glance(vault: &Vault, plan: Plan, queued: Option<&Queued>) -> Result<Shown, VaultError> {
    let heads = Log::heads(vault, &plan.tenant, &plan.run).await?;
    let jobs = plan.jobs.iter().map(|job| {
        let head = heads.get(&job.entity);
        let tally = head.map(|head| head.tally).unwrap_or_default();
        Job {
            entity: job.entity.clone(),
            state: match head {
                None => "waiting",
                Some(head) if head.ended => "ended",
                Some(_) => "begun",
            },
            records: tally.records,
            requests: tally.requests,
            reason: None,
            queue: queued.and_then(|queued| queued.get(&job.entity)).copied(),
            at: head.map(|head| head.at),
            expected: job.expected,
        }
    });
    let jobs = jobs.collect();
    Ok(shown(plan, jobs))
}

fn shown(plan: Plan, jobs: Vec<Job>) -> Shown {
    let Plan { tenant, run, started, .. } = plan;
    Shown { schema: fermata_core::FORMAT, tenant, run, started, jobs }
}

/// The states of a run's jobs in the queue.
pub(crate) async fn queued(queue: &Queue, plan: &Plan) -> Result<Queued, LinkError> {
    let filter =
        Filter { tenant: Some(plan.tenant.clone()), run: Some(plan.run.clone()), ..Filter::default() };
    let (jobs, _) = queue.list(&filter, usize::MAX).await?;
    Ok(jobs.into_iter().map(|job| (job.entity, job.state)).collect())
}

/// The plan of the run named, or of the unfinished one.
pub(crate) async fn plan(vault: &Vault, tenant: &Tenant, run: Option<RunId>) -> anyhow::Result<Plan> {
    let run = unfinished(vault, tenant, run).await?;
    let plan = vault.plan(tenant, &run).await?;
    plan.ok_or_else(|| Usage(format!("{tenant} has no unfinished run {run}")).into())
}

/// The run named, or the unfinished one.
pub(crate) async fn unfinished(vault: &Vault, tenant: &Tenant, run: Option<RunId>) -> anyhow::Result<RunId> {
    let unfinished = vault.unfinished_runs(tenant).await?;
    let run = match run {
        Some(run) if unfinished.contains(&run) => Some(run),
        Some(run) => return Err(Usage(format!("{tenant} has no unfinished run {run}")).into()),
        None => unfinished.into_iter().next_back(),
    };
    run.ok_or_else(|| Usage(format!("{tenant} has no unfinished run")).into())
}
