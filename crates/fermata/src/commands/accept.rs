//! `fermata snapshots accept`: a suspect snapshot was looked at, and is right.

use fermata_core::names::{RunId, Tenant};
use jiff::Timestamp;
use serde::Serialize;

use super::snapshots::manifest;
use crate::cli::Which;
use crate::config::Config;
use crate::exit;
use crate::out::Out;

pub(crate) async fn run(which: &Which, config: &Config, out: Out) -> anyhow::Result<u8> {
    #[derive(Serialize)]
    struct Document<'a> {
        schema: u32,
        tenant: &'a Tenant,
        snapshot: &'a RunId,
        accepted: Vec<&'a str>,
    }
    let vault = super::open_without_key(config).await?;
    let mut settings = super::settings(&vault, &which.tenant).await?;
    let manifest = manifest(&vault, which).await?;
    let suspects = manifest.entities.iter().filter(|entry| entry.suspect.is_some());
    let accepted: Vec<&str> = suspects.map(|entry| entry.entity.as_str()).collect();
    // An older one must not take back what was said of a newer one.
    if !accepted.is_empty() && settings.accepted.as_ref().is_none_or(|before| *before < manifest.run) {
        settings.accepted = Some(manifest.run.clone());
        vault.save_settings(settings, Timestamp::now()).await?;
    }
    let (tenant, snapshot) = (&manifest.tenant, &manifest.run);
    let document = Document { schema: fermata_core::FORMAT, tenant, snapshot, accepted };
    out.result(&document, || match &document.accepted[..] {
        [] => format!("{snapshot} is not suspect; there is nothing to accept."),
        entities => format!(
            "The next backup is compared with {snapshot}: {} are taken to be right.",
            entities.join(", ")
        ),
    })?;
    Ok(exit::DONE)
}
