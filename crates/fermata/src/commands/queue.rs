//! `fermata queue`: the queue as a whole.

use fermata_core::names::Tenant;
use fermata_fleet::Queue;
use fermata_fleet::queue::{AuditEntry, HeldFor, JobState, QueueView, WorkerView};
use fermata_vault::Vault;
use jiff::Timestamp;
use serde::Serialize;

use super::fleet;
use crate::cli::{QueueAction, QueueCommand, WorkerAction};
use crate::config::Config;
use crate::desk::jobs::check_reason;
use crate::desk::queue;
use crate::exit::{self, Usage};
use crate::out::{Out, count, duration, from_now, plain, several, table};

pub(crate) async fn run(
    command: QueueCommand,
    config: &Config,
    out: Out,
    now: Timestamp,
) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    let queue = fleet::queue_at_once(config, &vault, out).await?;
    match command {
        QueueCommand::Status => status(&queue, out, now).await,
        QueueCommand::Pause(action) => hold(true, action, &queue, &vault, config, out).await,
        QueueCommand::Resume(action) => hold(false, action, &queue, &vault, config, out).await,
        QueueCommand::Drain(action) => drain(true, action, &queue, config, out).await,
        QueueCommand::Undrain(action) => drain(false, action, &queue, config, out).await,
        QueueCommand::Audit => audit(&queue, out).await,
    }
}

async fn status(queue: &Queue, out: Out, now: Timestamp) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        #[serde(flatten)]
        view: QueueView,
    }
    let document = Document { schema: fermata_core::FORMAT, view: queue.view().await? };
    out.result(&document, || {
        let view = &document.view;
        let mut parts = vec![attention(view).join("\n"), jobs(view, now)];
        parts.push(workers(&view.workers, now));
        if !view.held.is_empty() {
            let rows = view.held.iter().map(|(tenant, why)| {
                let (why, advice) = held(tenant, why);
                [tenant.to_string(), why, advice]
            });
            parts.push(table(["HELD BACK", "WHY", "WHAT LETS IT GO ON"], rows));
        }
        parts.retain(|part| !part.is_empty());
        parts.join("\n\n")
    })?;
    Ok(exit::DONE)
}

/// What an operator should know first; a quiet queue says so.
fn attention(view: &QueueView) -> Vec<String> {
    let jobs = |state| view.jobs.get(&state).copied().unwrap_or(0);
    let ready = jobs(JobState::Queued);
    let mut lines = Vec::new();
    if let Some(who) = &view.paused {
        lines.push(format!("PAUSED by {}: `fermata queue resume` lets it go on.", plain(who)));
    }
    let takes = |worker: &WorkerView| worker.drained.is_none() && !worker.stopping;
    if view.workers.is_empty() && ready > 0 {
        lines.push("NO WORKER is running: `fermata worker` starts one.".to_owned());
    } else if !view.workers.iter().any(takes) && ready > 0 {
        lines.push("No worker takes new jobs, see below.".to_owned());
    }
    if jobs(JobState::Dead) > 0 {
        let dead = several(jobs(JobState::Dead), "job was given up", "jobs were given up");
        lines.push(format!(
            "{dead}: `fermata jobs list --state dead` says why, `fermata jobs retry --all` tries again."
        ));
    }
    if !view.held.is_empty() {
        let held = several(view.held.len() as u64, "tenant is held back", "tenants are held back");
        lines.push(format!("{held}, see below."));
    }
    let versions: std::collections::BTreeSet<_> = view.workers.iter().map(|worker| &worker.version).collect();
    if versions.len() > 1 {
        lines.push("The workers run different releases.".to_owned());
    }
    if lines.is_empty() {
        let open: u64 =
            view.jobs.iter().filter(|(state, _)| **state != JobState::Done).map(|(_, jobs)| jobs).sum();
        lines.push(if open == 0 { "Nothing to do." } else { "All is well." }.to_owned());
    }
    lines
}

fn jobs(view: &QueueView, now: Timestamp) -> String {
    let waits = view.oldest.map(|since| duration(now.duration_since(since).as_secs_f64().max(0.0)));
    let rows = view.jobs.iter().collect::<std::collections::BTreeMap<_, _>>();
    let rows = JobState::ALL.into_iter().map(|state| {
        let note = match (state, &waits) {
            (JobState::Queued, Some(waits)) => format!(
                "the first since {waits}; {}",
                several(view.tenants_ready, "tenant takes turns", "tenants take turns")
            ),
            (JobState::Waiting, _) if view.tenants_cooling > 0 => {
                format!("Tempo asked {} to wait", several(view.tenants_cooling, "tenant", "tenants"))
            }
            _ => String::new(),
        };
        [state.name().to_owned(), count(rows.get(&state).map_or(0, |jobs| **jobs)), note]
    });
    let mut text = table(["STATE", "JOBS", "NOTE"], rows);
    if !view.counters.is_empty() {
        let counted: Vec<_> =
            view.counters.iter().map(|(what, number)| format!("{} {what}", count(*number))).collect();
        text = format!("{text}\n\nSince Redis was last emptied: {}.", counted.join(", "));
    }
    text
}

fn workers(workers: &[WorkerView], now: Timestamp) -> String {
    if workers.is_empty() {
        return "No worker was heard of in the last minute.".to_owned();
    }
    let rows = workers.iter().map(|worker| {
        let state = match &worker.drained {
            _ if worker.stopping => "stopping".to_owned(),
            Some(who) => format!("takes no new jobs, says {}", plain(who)),
            None => String::new(),
        };
        let busy = format!("{} of {}", worker.busy, worker.places);
        [plain(&worker.name), plain(&worker.version), busy, from_now(worker.seen.min(now), now), state]
    });
    table(["WORKER", "VERSION", "BUSY", "LAST SEEN", "STATE"], rows)
}

/// Why a tenant is held back, and what lets it go on.
pub(super) fn held(tenant: &Tenant, why: &str) -> (String, String) {
    let (why, advice) = match why {
        "token" => ("Tempo refused its token, or it has none", format!("fermata token set {tenant}")),
        "paused" => ("it is paused", format!("fermata tenant resume {tenant}")),
        "queue" => ("an operator held it back", format!("fermata queue resume --tenant {tenant}")),
        other => (other, "a later release knows more".to_owned()),
    };
    (plain(why), advice)
}

async fn hold(
    pause: bool,
    action: QueueAction,
    queue: &Queue,
    vault: &Vault,
    config: &Config,
    out: Out,
) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        action: &'static str,
        /// The whole queue where there is none.
        tenant: Option<&'a Tenant>,
        /// Whether it was otherwise before.
        changed: bool,
    }
    let reason = reason(action.reason)?;
    let tenant = action.tenant.as_ref();
    let name = if pause { "pause" } else { "resume" };
    let is_held = match tenant {
        Some(tenant) => tenant_held(pause, tenant, queue, vault).await?,
        None => queue.view().await?.paused.is_some(),
    };
    let changed = is_held != pause;
    if changed {
        let target = tenant.map_or_else(|| "the whole queue".to_owned(), ToString::to_string);
        let entry = AuditEntry {
            at: Timestamp::now(),
            who: config.who.clone(),
            action: name.to_owned(),
            target,
            count: 1,
            reason: reason.clone(),
        };
        queue.audit(&entry).await?;
        match tenant {
            Some(tenant) if pause => drop(queue.hold(tenant, HeldFor::Queue).await?),
            Some(tenant) => drop(queue.free(tenant, Some(HeldFor::Queue)).await?),
            None if pause => {
                let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                queue.pause(&format!("{}{why}", config.who)).await?;
            }
            None => drop(queue.resume().await?),
        }
    }
    let document = Document { schema: fermata_core::FORMAT, action: name, tenant, changed };
    out.result(&document, || {
        let (what, some) = match tenant {
            Some(tenant) => (format!("{tenant} is"), format!("Jobs of {tenant}")),
            None => ("The queue is".to_owned(), "Jobs".to_owned()),
        };
        let undo = match tenant {
            Some(tenant) => held(tenant, HeldFor::Queue.name()).1,
            None => "fermata queue resume".to_owned(),
        };
        let is = if changed { "" } else { " already" };
        match (pause, changed) {
            (true, true) => format!(
                "{some} are not begun until `{undo}`; those at work go on to the end of their slices."
            ),
            (true, false) => format!("{what} held back{is}."),
            (false, true) => format!("{some} go on."),
            (false, false) => format!("{what} not held back."),
        }
    })?;
    Ok(exit::DONE)
}

/// Whether an operator holds the tenant back in the queue. What else holds it is not for `resume` to lift.
async fn tenant_held(pause: bool, tenant: &Tenant, queue: &Queue, vault: &Vault) -> anyhow::Result<bool> {
    let why = queue.tenant(tenant).await?.held;
    match why.as_deref() {
        Some("queue") => return Ok(true),
        Some(why) if !pause => {
            let (why, advice) = held(tenant, why);
            return Err(Usage(format!("{tenant} is held back for another reason: {why}; `{advice}`")).into());
        }
        _ => {}
    }
    // A name that was mistyped is held back for ever, and nobody sees it.
    super::settings(vault, tenant).await?;
    Ok(false)
}

async fn drain(
    drained: bool,
    action: WorkerAction,
    queue: &Queue,
    config: &Config,
    out: Out,
) -> anyhow::Result<u8> {
    let (worker, reason) = (action.worker, reason(action.reason)?);
    let document = queue::drain(queue, &worker, drained, &config.who, reason).await?.ok_or_else(|| {
        Usage(format!(
            "no worker {worker:?} was heard of in the last minute; `fermata queue status` names them"
        ))
    })?;
    let worker = plain(&worker);
    out.result(&document, || match (drained, document.changed) {
        (true, true) => format!(
            "{worker} takes no new jobs from its next sign of life on, within ten seconds unless its lease is longer. `fermata queue undrain {worker}` lets it go on."
        ),
        (true, false) => format!("{worker} was told so already."),
        (false, true) => format!("{worker} takes new jobs again."),
        (false, false) => format!("Nobody told {worker} to take no new jobs."),
    })?;
    Ok(exit::DONE)
}

fn reason(reason: Option<String>) -> Result<Option<String>, Usage> {
    check_reason(reason).map_err(|wrong| Usage(format!("--reason: {wrong}")))
}

async fn audit(queue: &Queue, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        entries: Vec<AuditEntry>,
    }
    let document = Document { schema: fermata_core::FORMAT, entries: queue.audited().await? };
    out.result(&document, || {
        if document.entries.is_empty() {
            return "Nobody did anything yet.".to_owned();
        }
        let lines = document.entries.iter().map(|entry| {
            let when = entry.at.strftime("%Y-%m-%d %H:%M:%SZ");
            let jobs =
                if entry.count == 1 { String::new() } else { format!("{} jobs: ", count(entry.count)) };
            let reason =
                entry.reason.as_ref().map(|reason| format!(" ({})", plain(reason))).unwrap_or_default();
            let (who, target) = (plain(&entry.who), plain(&entry.target));
            format!("{when}  {who}\n  {} {jobs}{target}{reason}", plain(&entry.action))
        });
        lines.collect::<Vec<_>>().join("\n")
    })?;
    Ok(exit::DONE)
}
