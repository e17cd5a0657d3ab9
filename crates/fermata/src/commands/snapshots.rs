//! `fermata snapshots`: list, show, verify; [`prune`], [`diff`] and [`records`] are their own.

use std::collections::BTreeSet;

use fermata_core::manifest::{Entry, EntryStatus, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Mode;
use fermata_vault::{Depth, Report, Vault, VaultError};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;

use super::{accept, diff, prune, records};
use crate::cli::{SnapshotsCommand, Which};
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{Out, bytes, count, several, table};

#[derive(Serialize)]
struct Row {
    snapshot: RunId,
    tenant: Tenant,
    status: Status,
    started: Timestamp,
    sealed: Timestamp,
    records: u64,
    bytes_stored: u64,
    bytes_new: u64,
    entities: usize,
}

pub(crate) async fn run(command: SnapshotsCommand, config: &Config, out: Out) -> anyhow::Result<u8> {
    match command {
        SnapshotsCommand::List { tenant } => {
            list(&super::open_without_key(config).await?, &tenant, out).await
        }
        SnapshotsCommand::Show(asked) => match &asked.entity {
            Some(entity) => records::run(&asked, entity, config, out).await,
            None => show(&super::open_without_key(config).await?, &asked.which, out).await,
        },
        SnapshotsCommand::Diff(asked) => diff::run(asked, config, out).await,
        SnapshotsCommand::Verify { which, depth } => {
            let depth = match (depth.sample, depth.data) {
                (Some(share), _) => Depth::Sample { share, seed: depth.seed.unwrap_or_else(rand::random) },
                (None, true) => Depth::Data,
                (None, false) => Depth::Structure,
            };
            let vault = if depth == Depth::Structure {
                super::open_without_key(config).await?
            } else {
                super::open_to_read(config).await?
            };
            verify(&vault, &which, depth, out).await
        }
        SnapshotsCommand::Accept { which } => accept::run(&which, config, out).await,
        SnapshotsCommand::Prune(asked) => prune::run(asked, config, out).await,
    }
}

/// The manifest of the snapshot that was named.
pub(crate) async fn manifest(vault: &Vault, which: &Which) -> anyhow::Result<Manifest> {
    named(vault, &which.tenant, &which.snapshot).await
}

/// The manifest of a tenant's snapshot: `latest`, `previous`, or one by its name.
pub(crate) async fn named(vault: &Vault, tenant: &Tenant, name: &str) -> anyhow::Result<Manifest> {
    let run = run_named(vault, tenant, name).await?;
    let found = vault.manifest(tenant, &run).await;
    let found = found.map_err(|error| match error {
        VaultError::Corrupt { .. } => anyhow::Error::from(error).context(format!(
            "`fermata snapshots verify {tenant} --snapshot {run}` says what can still be had"
        )),
        error => error.into(),
    })?;
    match found {
        Some(manifest) => Ok(manifest),
        None => Err(none(vault, tenant, name).await?.into()),
    }
}

/// The snapshot that was named, as far as a listing shows it.
async fn run_named(vault: &Vault, tenant: &Tenant, name: &str) -> anyhow::Result<RunId> {
    let run = match name {
        "latest" => vault.snapshots(tenant).await?.pop(),
        "previous" => vault.snapshots(tenant).await?.into_iter().nth_back(1),
        named => Some(named.parse()?),
    };
    match run {
        Some(run) => Ok(run),
        None => Err(none(vault, tenant, name).await?.into()),
    }
}

/// Says that there is no such snapshot.
async fn none(vault: &Vault, tenant: &Tenant, name: &str) -> anyhow::Result<Usage> {
    let tenants = vault.tenants().await?;
    Ok(Usage(match name {
        _ if !tenants.contains(tenant) => {
            format!("there is no tenant {tenant}; `fermata tenant list` shows them all")
        }
        "latest" => format!("{tenant} has no snapshot yet; `fermata backup {tenant}` makes one"),
        "previous" => {
            format!("{tenant} has no snapshot before the latest; `fermata backup {tenant}` makes another")
        }
        named => {
            format!("{tenant} has no snapshot {named}; `fermata snapshots list {tenant}` shows them all")
        }
    }))
}

async fn list(vault: &Vault, tenant: &Tenant, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        snapshots: Vec<Row>,
    }
    if !vault.tenants().await?.contains(tenant) {
        return Err(
            Usage(format!("there is no tenant {tenant}; `fermata tenant list` shows them all")).into()
        );
    }
    let mut snapshots = Vec::new();
    let mut earlier: BTreeSet<String> = BTreeSet::new();
    for run in vault.snapshots(tenant).await? {
        if let Some(manifest) = vault.manifest(tenant, &run).await? {
            snapshots.push(row(&manifest, &earlier));
            earlier = manifest.chunks().map(|chunk| chunk.name.clone()).collect();
        }
    }
    let document = Document { schema: fermata_core::FORMAT, snapshots };
    out.result(&document, || {
        if document.snapshots.is_empty() {
            return format!("{tenant} has no snapshot yet: fermata backup {tenant}");
        }
        let rows = document.snapshots.iter().map(|row| {
            let status = word(row.status);
            [
                row.snapshot.to_string(),
                status.to_owned(),
                count(row.records),
                bytes(row.bytes_stored),
                bytes(row.bytes_new),
            ]
        });
        table(["SNAPSHOT", "STATUS", "RECORDS", "STORED", "NEW"], rows)
    })?;
    Ok(exit::DONE)
}

fn row(manifest: &Manifest, earlier: &BTreeSet<String>) -> Row {
    let chunks: std::collections::BTreeMap<_, _> =
        manifest.chunks().map(|chunk| (&chunk.name, chunk.stored)).collect();
    let new = chunks.iter().filter(|(name, _)| !earlier.contains(**name)).map(|(_, stored)| stored).sum();
    Row {
        snapshot: manifest.run.clone(),
        tenant: manifest.tenant.clone(),
        status: manifest.status,
        started: manifest.started,
        sealed: manifest.sealed,
        records: manifest.records(),
        bytes_stored: chunks.values().sum(),
        bytes_new: new,
        entities: manifest.entities.iter().filter(|entry| entry.status == EntryStatus::Complete).count(),
    }
}

async fn show(vault: &Vault, which: &Which, out: Out) -> anyhow::Result<u8> {
    let manifest = manifest(vault, which).await?;
    out.result(&manifest, || {
        let rows = manifest.entities.iter().map(|entry| {
            let status = match entry.status {
                _ if entry.suspect.is_some() => "SUSPECT",
                EntryStatus::Complete => "complete",
                EntryStatus::LeftOut => "left out",
                EntryStatus::Skipped => "SKIPPED",
                EntryStatus::Failed => "FAILED",
            };
            let read = match (entry.status, entry.mode) {
                (EntryStatus::LeftOut | EntryStatus::Skipped, _) => "",
                (_, Mode::Sweep) => "all",
                (_, Mode::Delta) => "changes",
            };
            [
                entry.entity.clone(),
                status.to_owned(),
                read.to_owned(),
                count(entry.records),
                bytes(entry.bytes),
                note(entry),
            ]
        });
        let status = word(manifest.status);
        format!(
            "{}\n\n{}: snapshot {}, {status}\nread from {} by {}, sealed {}",
            table(["ENTITY", "STATUS", "READ", "RECORDS", "SIZE", "NOTE"], rows),
            manifest.tenant,
            manifest.run,
            manifest.base_url,
            manifest.written_by,
            manifest.sealed.strftime("%Y-%m-%d %H:%M:%SZ"),
        )
    })?;
    Ok(exit::DONE)
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Complete => "complete",
        Status::Partial => "PARTIAL",
        Status::Suspect => "SUSPECT",
    }
}

/// What else there is to know of an entity: what it lacks, what it was compared with and how it was read.
fn note(entry: &Entry) -> String {
    let mut notes: Vec<String> = Vec::new();
    notes.extend(entry.suspect.clone());
    match &entry.reason {
        Some(reason) => notes.push(reason.clone()),
        None => notes.extend(entry.warnings.clone()),
    }
    notes.extend(entry.days.map(|(first, last)| format!("{first} to {last}")));
    if entry.mode == Mode::Delta {
        notes.extend(entry.base.as_ref().map(|base| format!("builds on {base}")));
        notes.extend(entry.swept.map(|swept| format!("all read {}", swept.strftime("%Y-%m-%d"))));
    }
    notes.extend(entry.why.as_ref().map(|why| format!("all was read: {why}")));
    let drift = entry.drift.filter(|drift| *drift > 0);
    notes.extend(
        drift.map(|drift| format!("{} that Tempo had not told of", several(drift, "change", "changes"))),
    );
    notes.join("; ")
}

async fn verify(vault: &Vault, which: &Which, depth: Depth, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        #[serde(flatten)]
        report: &'a Report,
    }
    let (tenant, name) = (&which.tenant, &which.snapshot);
    let run = run_named(vault, tenant, name).await?;
    let bar =
        if out.draws() && depth != Depth::Structure { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(
        ProgressStyle::with_template("{bar:20} {pos}/{len} chunks, {msg}")
            .unwrap_or(ProgressStyle::default_bar()),
    );
    let drawn = bar.clone();
    let progress = move |progress: fermata_vault::Progress| {
        drawn.set_length(progress.chunks_total);
        drawn.set_position(progress.chunks);
        drawn.set_message(bytes(progress.bytes));
    };
    let report = vault.verify_snapshot(tenant, &run, depth, &progress).await;
    bar.finish_and_clear();
    let Some(report) = report? else { return Err(none(vault, tenant, name).await?.into()) };
    let document = Document { schema: fermata_core::FORMAT, report: &report };
    out.result(&document, || verified(tenant, depth, &report))?;
    Ok(if report.ok { exit::DONE } else { exit::FAILED })
}

fn verified(tenant: &Tenant, depth: Depth, report: &Report) -> String {
    let unnamed = if report.ids || report.read == 0 {
        ""
    } else {
        "; names were not computed again, for want of the workers' key"
    };
    let checked = match depth {
        Depth::Structure => {
            "all chunks are there with the right size, and the manifest is as it was signed (--data reads them too)"
                .to_owned()
        }
        Depth::Data => {
            format!(
            "every record was read, decrypted and counted, and the manifest is as it was signed{unnamed}"
        )
        }
        Depth::Sample { seed, .. } => format!(
            "all chunks are there, {} of {} were read, decrypted and counted (--seed {seed}), and the manifest is as it was signed{unnamed}",
            count(report.read),
            count(report.chunks)
        ),
    };
    let mut lines: Vec<String> = report.notes.iter().map(|note| format!("note: {note}")).collect();
    lines.push(format!(
        "snapshot {}: {} chunks, {} records, {} stored",
        report.snapshot,
        count(report.chunks),
        count(report.records),
        bytes(report.bytes)
    ));
    let sum = lines.join("\n");
    if report.ok {
        return format!("OK: {checked}\n{sum}");
    }
    let problems = report.problems.iter().map(|problem| {
        let entity = problem.entity.as_deref().unwrap_or("the snapshot");
        format!("{entity}: {}; {}\n  {}\n", problem.what, problem.salvage, problem.object)
    });
    let problems: String = problems.collect();
    let found = several(report.problems.len() as u64, "problem", "problems");
    format!(
        "{problems}\nNOT WHOLE: {found}\n{sum}\n\
         Entities that are not named above can be exported as ever: fermata export {tenant} --snapshot {} --entity NAME\n\
         What Tempo still has comes into the next snapshot: move the chunks and snapshots named above out of the vault, then\n\
         fermata backup {tenant}",
        report.snapshot
    )
}
