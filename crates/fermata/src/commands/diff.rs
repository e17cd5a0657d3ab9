//! `fermata snapshots diff`: what differs between two snapshots.

mod text;

use std::collections::BTreeSet;

use crate::cli::Diff;
use crate::config::Config;
use crate::desk::diff::document::Document;
use crate::desk::diff::{self, Form};
use crate::desk::snapshots;
use crate::exit;
use crate::out::{self, Out, Pieces};
use text::Text;

/// Records that are shown of an entity when nobody says otherwise; a document has them all.
const SHOWN: u64 = 20;

pub(crate) async fn run(asked: Diff, config: &Config, out: Out) -> anyhow::Result<u8> {
    let vault = super::open_without_key(config).await?;
    let before = snapshots::named(&vault, &asked.tenant, &asked.from).await?;
    let after = snapshots::named(&vault, &asked.tenant, &asked.to).await?;
    let mut form: Box<dyn Form + Send> =
        if out.is_json() { Box::new(Document::new(Pieces::default())) } else { Box::new(Text::default()) };
    let most = asked.limit.unwrap_or(if out.is_json() { u64::MAX } else { SHOWN });
    let only: BTreeSet<String> = asked.entity.into_iter().collect();
    let told = diff::tell(&vault, &before, &after, &only, most, form.as_mut()).await;
    out::unless_gone(told.map(|gaps| if gaps { exit::PARTIAL } else { exit::DONE }))
}
