//! `fermata snapshots accept`: a suspect snapshot was looked at, and is right.

use jiff::Timestamp;

use super::snapshots::manifest;
use crate::cli::Which;
use crate::config::Config;
use crate::desk::snapshots;
use crate::exit;
use crate::out::Out;

pub(crate) async fn run(which: &Which, config: &Config, out: Out) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    let settings = super::settings(&vault, &which.tenant).await?;
    let manifest = manifest(&vault, which).await?;
    let accepted = snapshots::accept(&vault, settings, &manifest, Timestamp::now()).await?;
    let snapshot = &accepted.snapshot;
    out.result(&accepted, || match &accepted.accepted[..] {
        [] => format!("{snapshot} is not suspect; there is nothing to accept."),
        entities => format!(
            "The next backup is compared with {snapshot}: {} are taken to be right.",
            entities.join(", ")
        ),
    })?;
    Ok(exit::DONE)
}
