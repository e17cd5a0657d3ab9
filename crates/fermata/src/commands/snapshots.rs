//! `fermata snapshots`: list, show, verify; [`prune`], [`diff`] and [`records`] are their own.

use fermata_core::manifest::{EntryStatus, Manifest, Status};
use fermata_core::names::Tenant;
use fermata_core::plan::Mode;
use fermata_vault::{Depth, Report, Vault};
use indicatif::{ProgressBar, ProgressStyle};

use super::{accept, diff, prune, records};
use crate::cli::{HowDeep, SnapshotsCommand, Which};
use crate::config::Config;
use crate::desk::snapshots;
use crate::exit;
use crate::out::{Out, bytes, count, several, table};

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
            let depth = match depth {
                HowDeep { sample: Some(share), seed, .. } => {
                    Depth::Sample { share, seed: seed.unwrap_or_else(rand::random) }
                }
                HowDeep { data: true, .. } => Depth::Data,
                HowDeep { stored: true, .. } => Depth::Stored,
                HowDeep { .. } => Depth::Structure,
            };
            let vault = if matches!(depth, Depth::Structure | Depth::Stored) {
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
    snapshots::named(vault, &which.tenant, &which.snapshot).await
}

async fn list(vault: &Vault, tenant: &Tenant, out: Out) -> anyhow::Result<u8> {
    let list = snapshots::list(vault, tenant).await?;
    out.result(&list, || {
        if list.snapshots.is_empty() {
            return format!("{tenant} has no snapshot yet: fermata backup {tenant}");
        }
        let rows = list.snapshots.iter().map(|row| {
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
                snapshots::note(entry),
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

async fn verify(vault: &Vault, which: &Which, depth: Depth, out: Out) -> anyhow::Result<u8> {
    let (tenant, name) = (&which.tenant, &which.snapshot);
    let run = snapshots::run_named(vault, tenant, name).await?;
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
    let Some(report) = report? else { return Err(snapshots::none(vault, tenant, name).await?.into()) };
    out.result(&snapshots::verified(&report), || verified(tenant, depth, &report))?;
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
        Depth::Stored => {
            "the bytes of all chunks are those that were stored, and the manifest is as it was signed (--data reads the records too)"
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
