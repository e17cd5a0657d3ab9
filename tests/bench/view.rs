//! How fast the records of a snapshot stream: one that is a sweep alone, beside one that many deltas were added to.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use fermata_core::catalogue::{self, Entity};
use fermata_core::manifest::{Entry, Layer, LayerKind};
use fermata_core::names::Tenant;
use fermata_engine::view;
use fermata_vault::{Environment, Identity, InitOptions, Known, OpenChunk, Vault};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::sheet::{self, Aim, Unit};

/// This part's name.
pub(crate) const NAME: &str = "view";

const WORKLOGS: u64 = 1_000_000;
const DELTAS: u64 = 30;
/// A delta changes one record in so many, and takes out one in ten times as many.
const CHANGED_ONE_IN: u64 = 1_000;
const RUNS: usize = 5;
/// A page's worth.
const FRAME_RECORDS: usize = 5_000;
/// About as much as a chunk holds.
const CHUNK_BYTES: u64 = 8 << 20;
const SHARE_OF_PLAIN_MIN: f64 = 0.7;

/// A vault with both snapshots.
struct Room {
    vault: Vault,
    tenant: Tenant,
    entity: &'static Entity,
    plain: Entry,
    layered: Entry,
}

/// Measures both side by side.
pub(crate) async fn measure() -> Result<()> {
    sheet::part(&format!("view: {WORKLOGS} worklogs, and {DELTAS} deltas of one in {CHANGED_ONE_IN}"));
    let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let room = Room::new(&folder).await?;
    let (mut plain, mut layered, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        plain.push(room.speed(&room.plain).await?);
        layered.push(room.speed(&room.layered).await?);
        shares.push(layered[layered.len() - 1] / plain[plain.len() - 1]);
    }
    sheet::line("plain: records per second", Unit::Count, &plain, Aim::None);
    sheet::line("with deltas: records per second", Unit::Count, &layered, Aim::None);
    sheet::line("with deltas, of plain", Unit::Share, &shares, Aim::AtLeast(SHARE_OF_PLAIN_MIN));
    Ok(())
}

impl Room {
    async fn new(folder: &TempDir) -> Result<Self> {
        let url = folder.path().display().to_string();
        let (nothing, key) = (Environment::default(), Identity::generate());
        let (worker, data_recipients) = (key.recipient(), vec![key.recipient()]);
        let options = InitOptions { worker, data_recipients, single_writer: false, now: Timestamp::now() };
        Vault::init(fermata_vault::create(&url, &nothing)?, options).await?;
        let vault = Vault::open(fermata_vault::open(&url, &nothing)?, [key]).await?;
        let entity = catalogue::entity("worklogs").expect("the catalogue has worklogs");
        let (tenant, plain) = ("acme".parse()?, Entry::new(entity.name));
        let mut room = Self { vault, tenant, entity, layered: plain.clone(), plain };
        room.plain =
            room.push(room.plain.clone(), LayerKind::Sweep, (0..WORKLOGS).map(|id| worklog(id, 0))).await?;
        room.layered = room.plain.clone();
        for delta in 1..=DELTAS {
            // Spread over all ids, and other ones each time.
            let ids = |one_in: u64| {
                (0..WORKLOGS)
                    .skip(usize::try_from(delta).unwrap_or_default())
                    .step_by(usize::try_from(one_in).unwrap_or(1))
            };
            let gone = ids(CHANGED_ONE_IN * 10).map(|id| {
                format!("{{\"action\":\"Deleted\",\"entityType\":\"worklog\",\"entityId\":\"{}\"}}", id + 500)
            });
            room.layered = room.push(room.layered.clone(), LayerKind::Deletions, gone).await?;
            let changed = ids(CHANGED_ONE_IN).map(|id| worklog(id, delta));
            room.layered = room.push(room.layered.clone(), LayerKind::Changes, changed).await?;
        }
        Ok(room)
    }

    async fn push(
        &self,
        mut entry: Entry,
        kind: LayerKind,
        mut lines: impl Iterator<Item = String>,
    ) -> Result<Entry> {
        let (mut open, mut chunks) = (OpenChunk::default(), Vec::new());
        loop {
            let frame: String = lines.by_ref().take(FRAME_RECORDS).map(|line| line + "\n").collect();
            open.add(frame.as_bytes());
            if open.bytes() >= CHUNK_BYTES || (frame.is_empty() && !open.is_empty()) {
                let full = std::mem::take(&mut open);
                let closing = self.vault.close_chunk(&self.tenant, kind, &full, &Known::default()).await?;
                chunks.push(closing.chunk);
            }
            if frame.is_empty() {
                entry.push(Layer { kind, added: 0, deleted: 0, chunks });
                return Ok(entry);
            }
        }
    }

    /// Records per second.
    async fn speed(&self, entry: &Entry) -> Result<f64> {
        let began = Instant::now();
        let mut bytes = 0;
        let take = |record: &str| {
            bytes += record.len();
            Ok::<_, Infallible>(())
        };
        let records = view::each(&self.vault, &self.tenant, self.entity, entry, take).await?;
        anyhow::ensure!(bytes > 0, "the view is empty");
        Ok(records as f64 / began.elapsed().as_secs_f64())
    }
}

/// A worklog of the size that Tempo's have, in one of its forms.
fn worklog(id: u64, form: u64) -> String {
    // Numbers that compress as badly as those of a site.
    let mut random = (id * 31 + form + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let (issue, seconds, author) =
        (next(90_000) + 10_000, (next(32) + 1) * 900, next(400) * 0x1234_5678_9abc);
    let (day, month, hour, minute) = (next(28) + 1, next(12) + 1, next(24), next(60));
    let mut words = String::new();
    for _ in 0..next(12) + 3 {
        let _ = write!(words, "word{} ", next(3_000));
    }
    format!(
        r#"{{"self":"https://api.tempo.io/4/worklogs/{id}","tempoWorklogId":{id},"issue":{{"self":"https://acme.atlassian.net/rest/api/2/issue/{issue}","id":{issue}}},"timeSpentSeconds":{seconds},"billableSeconds":{seconds},"startDate":"2026-{month:02}-{day:02}","startTime":"{hour:02}:{minute:02}:00","startDateTimeUtc":"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z","description":"{words}","createdAt":"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:11Z","updatedAt":"2026-{month:02}-{day:02}T{hour:02}:{minute:02}:12Z","author":{{"self":"https://acme.atlassian.net/rest/api/2/user?accountId=712020:{author:020x}","accountId":"712020:{author:020x}"}},"attributes":{{"self":"https://api.tempo.io/4/worklogs/{id}/work-attribute-values","values":[{{"key":"_Account_","value":"INTERNAL-{}"}}]}}}}"#,
        next(40)
    )
}
