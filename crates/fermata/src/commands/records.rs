//! `fermata snapshots show --entity`: a look at records.

use std::io::Write;

use fermata_core::catalogue;
use fermata_core::manifest::{Entry, EntryStatus, Manifest};
use fermata_engine::fields;
use fermata_engine::find::{self, FindError};
use fermata_vault::Vault;

use super::snapshots;
use crate::cli::Show;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{self, Out, Pieces, WIDTH, count, plain, several, wrap};

/// Records that are shown when nobody says otherwise.
const SHOWN: u64 = 20;
/// A name that is longer has its value on the next line.
const NAME_CHARS_MAX: usize = 30;

pub(crate) async fn run(asked: &Show, entity: &str, config: &Config, out: Out) -> anyhow::Result<u8> {
    let vault = super::open_to_read(config).await?;
    let manifest = snapshots::manifest(&vault, &asked.which).await?;
    let entry = manifest
        .entry(entity)
        .ok_or_else(|| Usage(crate::desk::snapshots::no_entity(entity, &manifest.tenant)))?;
    let code = gap(entry, out);
    out::unless_gone(show(&vault, &manifest, entry, asked, out).await.map(|()| code))
}

async fn show(
    vault: &Vault,
    manifest: &Manifest,
    entry: &Entry,
    asked: &Show,
    out: Out,
) -> anyhow::Result<()> {
    let name = &entry.entity;
    let entity = catalogue::entity(name).ok_or_else(|| {
        Usage(format!("this release does not know {name}; show it with the one that wrote the snapshot"))
    })?;
    let most = asked.limit.unwrap_or(SHOWN);
    let mut pieces = Pieces::default();
    let head = format!(
        r#"{{"schema":{},"snapshot":"{}","entity":"{name}","records":["#,
        fermata_core::FORMAT,
        manifest.run
    );
    let mut shown = 0;
    let found = find::find(vault, &manifest.tenant, entity, entry, &asked.conditions, most, |record| {
        shown += 1;
        match (out.is_json(), shown) {
            // Records are JSON, and stay as they are. Nothing is written before one was found: it may be a mistake.
            (true, 1) => pieces.put(&head).and_then(|()| pieces.put(record)),
            (true, _) => pieces.put(",").and_then(|()| pieces.put(record)),
            (false, 1) => pieces.put(&block(record)),
            (false, _) => pieces.put("\n").and_then(|()| pieces.put(&block(record))),
        }
    });
    let more = match found.await {
        Err(FindError::Vault(error)) => return Err(error.into()),
        Err(FindError::Taker(error)) => return Err(error.into()),
        Err(error @ FindError::UnknownField { .. }) => return Err(Usage(error.to_string()).into()),
        Ok(more) => more,
    };
    if out.is_json() {
        let head = if shown == 0 { head.as_str() } else { "" };
        pieces.put(&format!("{head}],\"more\":{more}}}\n"))?;
        pieces.flush()?;
        return Ok(());
    }
    pieces.flush()?;
    out.say(&match (shown, more) {
        (0, _) if entry.records > 0 && !asked.conditions.is_empty() => {
            format!("None of {} is so.", several(entry.records, "record", "records"))
        }
        (0, false) => format!("{} has no {name}.", manifest.run),
        (_, true) => {
            format!("There are more than {}: --limit shows them, --where leaves some out.", count(shown))
        }
        (_, false) => several(shown, "record", "records"),
    });
    Ok(())
}

/// A record as lines of its fields.
fn block(record: &str) -> String {
    let fields = fields::fields(record);
    let width = |path: &str| path.chars().count();
    let widest = fields.iter().map(|(path, _)| width(path)).filter(|width| *width <= NAME_CHARS_MAX).max();
    let indent = widest.unwrap_or_default() + 2;
    let mut text = String::new();
    for (path, value) in &fields {
        let lines = wrap(&plain(&fields::plain(value)), WIDTH.saturating_sub(indent));
        let mut name = format!("{}:", plain(path));
        if width(&name) + 1 > indent {
            text.push_str(&name);
            text.push('\n');
            name.clear();
        }
        for line in lines {
            text.push_str(format!("{name:indent$}{line}").trim_end());
            text.push('\n');
            name.clear();
        }
    }
    text
}

/// Says what of an entity is missing, and why.
fn gap(entry: &Entry, out: Out) -> u8 {
    let what = match entry.status {
        EntryStatus::Complete => return exit::DONE,
        EntryStatus::Failed if entry.records > 0 => "not all of",
        EntryStatus::Failed | EntryStatus::Skipped | EntryStatus::LeftOut => "nothing of",
    };
    let why = entry.reason.as_deref().unwrap_or("it holds no record");
    out.say(&format!("{what} {}: {why}", entry.entity));
    exit::PARTIAL
}
