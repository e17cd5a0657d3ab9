//! `fermata export`: a snapshot's records as files that other programs open.

use std::collections::BTreeSet;

use fermata_core::manifest::Manifest;
use fermata_engine::export::{self, ExportError, Exported};
use indicatif::ProgressBar;
use serde::Serialize;

use super::snapshots;
use crate::cli::Export;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{Out, bytes, count, table};

pub(crate) async fn run(asked: Export, config: &Config, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document {
        schema: u32,
        tenant: String,
        snapshot: String,
        files: Vec<Exported>,
    }
    let vault = super::open_to_read(config).await?;
    let manifest = snapshots::manifest(&vault, &asked.which).await?;
    let only: BTreeSet<String> = asked.entity.into_iter().collect();
    let bar = if out.draws() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let told = |entity: &str, records: u64| bar.set_message(format!("{entity}: {} records", count(records)));
    let written =
        export::export(&vault, &manifest, &only, asked.format, &asked.out, asked.overwrite, told).await;
    bar.finish_and_clear();
    let files = match written {
        Err(ExportError::AlreadyThere(file)) => {
            let file = file.display();
            return Err(
                Usage(format!("{file} is there already; choose another folder, or say --overwrite")).into()
            );
        }
        Err(ExportError::UnknownEntity { name, .. }) => {
            return Err(Usage(crate::desk::snapshots::no_entity(&name, &manifest.tenant)).into());
        }
        written => written?,
    };
    let document = Document {
        schema: fermata_core::FORMAT,
        tenant: manifest.tenant.to_string(),
        snapshot: manifest.run.to_string(),
        files,
    };
    out.result(&document, || {
        let rows = document.files.iter().map(|exported| {
            [exported.file.display().to_string(), count(exported.records), bytes(exported.bytes)]
        });
        table(["FILE", "RECORDS", "SIZE"], rows)
    })?;
    Ok(if gaps(&manifest, &only, &document.files, out) { exit::PARTIAL } else { exit::DONE })
}

/// Says what was wanted and is not in the files, or not all of it, and why.
fn gaps(manifest: &Manifest, named: &BTreeSet<String>, files: &[Exported], out: Out) -> bool {
    let mut found = false;
    for entry in &manifest.entities {
        let wanted = named.is_empty() || named.contains(&entry.entity);
        let file = files.iter().any(|file| file.entity == entry.entity);
        let gap = entry.status.is_gap() || (!file && named.contains(&entry.entity));
        if wanted && gap {
            let why = entry.reason.as_deref().unwrap_or("it holds no record");
            let what = if file { "not all of" } else { "no file for" };
            out.say(&format!("{what} {}: {why}", entry.entity));
            found = true;
        }
    }
    found
}
