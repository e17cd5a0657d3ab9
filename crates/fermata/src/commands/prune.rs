//! `fermata snapshots prune`: delete what the tenants' rules do not keep.

use fermata_core::names::{RunId, Tenant};
use fermata_core::retention::Policy;
use fermata_core::schedule::time_zone;
use fermata_core::settings::Settings;
use fermata_vault::{Pruning, Vault, VaultError};
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::Prune;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{self, Out, bytes, several, table};

#[derive(Serialize)]
struct Document {
    schema: u32,
    done: bool,
    tenants: Vec<Line>,
}

/// What became, or would become, of one tenant's snapshots.
#[derive(Serialize)]
struct Line {
    tenant: Tenant,
    keep: Option<String>,
    snapshots: Vec<Row>,
    chunks: u64,
    bytes: u64,
    settings: u64,
    /// Objects that the store does not let go of.
    refused: u64,
    /// Runs for which chunks have to wait.
    waits_for: Vec<RunId>,
    /// Why nothing was done.
    reason: Option<String>,
}

#[derive(Serialize)]
struct Row {
    snapshot: RunId,
    keep: bool,
    reasons: Vec<String>,
}

pub(crate) async fn run(asked: Prune, config: &Config, out: Out) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    let alone = asked.tenants.len() == 1;
    let (mut codes, mut lines, mut all) = (Vec::new(), Vec::new(), Vec::new());
    if asked.all {
        let (settings, unreadable) = super::all_settings(&vault).await?;
        all = settings;
        for (tenant, error) in unreadable {
            codes.push(exit::code(&error));
            lines.push(failed(tenant, &error));
        }
    } else {
        for tenant in &asked.tenants {
            all.push(super::settings(&vault, tenant).await?);
        }
    }
    for settings in all {
        match prune(&vault, &settings, asked.keep, asked.yes).await {
            Ok((policy, pruning)) => {
                codes.push(if pruning.refused > 0 { exit::PARTIAL } else { exit::DONE });
                lines.push(line(settings.tenant, policy, pruning));
            }
            Err(error) if alone && !out.is_json() => return Err(error),
            Err(error) => {
                codes.push(exit::code(&error));
                lines.push(failed(settings.tenant.clone(), &error));
                out.error(&error.context(settings.tenant));
            }
        }
    }
    let document = Document { schema: fermata_core::FORMAT, done: asked.yes, tenants: lines };
    out.result(&document, || {
        let texts: Vec<String> = document.tenants.iter().map(|line| text(line, asked.yes)).collect();
        texts.join("\n\n")
    })?;
    Ok(exit::sum(&codes))
}

async fn prune(
    vault: &Vault,
    settings: &Settings,
    keep: Option<Policy>,
    act: bool,
) -> anyhow::Result<(Policy, Pruning)> {
    let tenant = &settings.tenant;
    let stored = settings.keep.as_deref().map(|keep| {
        keep.parse().map_err(|error| {
            // From before rules were read.
            Usage(format!(
                "the rules of {tenant} are none: {error}; `fermata tenant set {tenant} --keep` stores others"
            ))
        })
    });
    let policy = match (keep, stored) {
        (Some(policy), _) => policy,
        (None, Some(stored)) => stored?,
        (None, None) => Policy::All,
    };
    let zone = settings.time_zone.as_deref().map_or(Ok(TimeZone::UTC), time_zone)?;
    let pruned = vault.prune(tenant, &policy, &zone, act).await;
    let pruning = pruned.map_err(|error| match error {
        VaultError::Corrupt { .. } | VaultError::Newer { .. } => anyhow::Error::from(error).context(
            "nobody can say what belongs to no snapshot while one cannot be read, so no chunk was deleted",
        ),
        error => error.into(),
    })?;
    Ok((policy, pruning))
}

fn line(tenant: Tenant, policy: Policy, pruning: Pruning) -> Line {
    let rows = pruning.snapshots.into_iter().map(|judged| Row {
        keep: judged.stays(),
        reasons: judged.reasons.iter().map(ToString::to_string).collect(),
        snapshot: judged.run,
    });
    Line {
        tenant,
        keep: Some(policy.to_string()),
        snapshots: rows.collect(),
        chunks: pruning.chunks,
        bytes: pruning.bytes,
        settings: pruning.settings,
        refused: pruning.refused,
        waits_for: pruning.waits_for,
        reason: None,
    }
}

fn failed(tenant: Tenant, error: &anyhow::Error) -> Line {
    Line {
        tenant,
        keep: None,
        snapshots: Vec::new(),
        chunks: 0,
        bytes: 0,
        settings: 0,
        refused: 0,
        waits_for: Vec::new(),
        reason: Some(out::causes(error)),
    }
}

fn text(line: &Line, done: bool) -> String {
    let tenant = &line.tenant;
    if let Some(reason) = &line.reason {
        return format!("{tenant}: FAILED: {reason}");
    }
    let goes = if done { "gone" } else { "goes" };
    let rows = line.snapshots.iter().map(|row| {
        let (what, why) =
            if row.keep { ("stays", row.reasons.join("; ")) } else { (goes, "no rule keeps it".to_owned()) };
        [row.snapshot.to_string(), what.to_owned(), why]
    });
    let doomed = line.snapshots.iter().filter(|row| !row.keep).count() as u64;
    let mut lines = Vec::new();
    if !line.snapshots.is_empty() {
        lines.push(format!("{}\n", table(["SNAPSHOT", "", "WHY"], rows)));
    }
    let go = match (done, doomed) {
        (true, _) => "gone",
        (false, 1) => "goes",
        (false, _) => "go",
    };
    lines.push(format!(
        "{tenant}, keeping {}: {} of {} {go}, {} with {}",
        line.keep.as_deref().unwrap_or_default(),
        several(doomed, "snapshot", "snapshots"),
        line.snapshots.len(),
        several(line.chunks, "chunk", "chunks"),
        bytes(line.bytes),
    ));
    if !line.waits_for.is_empty() {
        let runs = line.waits_for.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let stay = if done { "stay this time" } else { "would stay" };
        lines.push(format!(
            "The chunks {stay}: {runs} is under way and may name them. Prune again when it is a snapshot; \
             `fermata runs abandon {tenant}` drops it"
        ));
    }
    if line.refused > 0 {
        let objects = several(line.refused, "object", "objects");
        lines.push(format!("{objects} may not be deleted: locked or not permitted"));
    }
    if !done {
        lines.push("Nothing was done. --yes deletes them, for good.".to_owned());
    }
    lines.join("\n")
}
