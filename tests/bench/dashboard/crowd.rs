//! A crowd of tenants, as years of work and a bad day leave them: settings and snapshots in a vault, failed jobs in a Redis.
//!
//! Written through the crates that own both, without a request to any Tempo. The records of these snapshots do not exist.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use fermata_core::catalogue::ENTITIES;
use fermata_core::manifest::{Chunk, Entry, EntryStatus, Layer, LayerKind, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::{Mode, Wish};
use fermata_core::settings::Settings;
use fermata_fleet::queue::{Claim, Claimed, RunJobs};
use fermata_fleet::{Queue, Turn};
use fermata_vault::{Sealed, Vault, nonce};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};

/// The number of the tenant that has many snapshots.
pub(crate) const MANY: usize = 17;

/// The failed jobs of a tenant, on average.
const FAILED_EACH: usize = 20;
/// The most entities of a run that fail; half of them on average.
const FAILED_OF_RUN_MAX: usize = 19;
/// Snapshots of the tenant that has many; the others have one.
const SNAPSHOTS_MANY: usize = 120;
/// Objects that are written at once.
const AT_ONCE: usize = 16;
/// Jobs that are claimed and given up in one call.
const TURNS: usize = 100;
/// Over which the failures are spread.
const BAD_DAY: SignedDuration = SignedDuration::from_hours(23);
const LEASE: Duration = Duration::from_mins(10);
/// After the day, when jobs that are not given up are tried again.
const PAUSE: Duration = Duration::from_hours(3);
/// The entity of each run that is not given up, so that the run stays open.
const OPEN: &str = "worklogs";

/// The tenant of this number.
pub(crate) fn tenant(number: usize) -> Result<Tenant> {
    Ok(format!("company-{number:05}").parse()?)
}

/// Writes the settings and snapshots of so many tenants.
pub(crate) async fn settle(vault: &Vault, tenants: usize, now: Timestamp) -> Result<()> {
    let write = |number| async move {
        vault.save_settings(settings(vault, number, now)?, now).await?;
        for back in (0..snapshots(number)).rev() {
            let Sealed::Mine = vault.write_manifest(&manifest(number, back, now)?).await? else {
                anyhow::bail!("there is a snapshot already");
            };
        }
        Ok(())
    };
    stream::iter((0..tenants).map(write)).buffer_unordered(AT_ONCE).try_collect().await
}

/// Gives up jobs of these tenants, some twenty of each, all through the day before `now`; returns how many.
pub(crate) async fn fail(queue: &Queue, tenants: usize, now: Timestamp) -> Result<usize> {
    let began = now - BAD_DAY;
    let clock = Arc::new(AtomicU64::new(began.as_millisecond().cast_unsigned()));
    let queue = queue.clone().by(Arc::clone(&clock));
    let runs = tenants * FAILED_EACH / mean_of_run();
    let step = u64::try_from(BAD_DAY.as_millis())? / runs.max(1) as u64;
    let (mut failed, mut pushed) = (0, 0);
    for number in 0..runs {
        let of_run = of_run(number);
        let mut jobs: Vec<_> = ENTITIES.iter().filter(|entity| entity.name != OPEN).take(of_run).collect();
        jobs.extend(ENTITIES.iter().find(|entity| entity.name == OPEN));
        let jobs = jobs.into_iter().map(|entity| (entity.name.to_owned(), Vec::new())).collect();
        let began = Timestamp::from_millisecond(clock.load(Ordering::Relaxed).cast_signed())?;
        let run = RunId::new(began, &format!("{number:06x}"))?;
        queue
            .push(&RunJobs { tenant: tenant(number % tenants)?, run, cap: 100, weight: 1, rate: 5.0, jobs })
            .await?;
        pushed += of_run + 1;
        if pushed >= TURNS || number + 1 == runs {
            let pause = Duration::try_from(now.duration_since(began))? + PAUSE;
            failed += work(&queue, pushed, pause).await?;
            pushed = 0;
        }
        clock.fetch_add(step, Ordering::Relaxed);
    }
    Ok(failed)
}

/// Takes all jobs that are there, and gives up all but the open ones, which wait so long; returns how many.
async fn work(queue: &Queue, jobs: usize, pause: Duration) -> Result<usize> {
    let (mut ended, mut failed, mut claims) = (Vec::new(), 0, 0);
    loop {
        let answer = queue.exchange("bench", &nonce(), LEASE, TURNS, &ended).await?;
        ended.clear();
        for claim in answer.claims {
            if let Claim::Job(claimed) = claim {
                claims += 1;
                failed += usize::from(claimed.id.entity != OPEN);
                let turn = turn(&claimed, pause);
                ended.push((claimed, turn));
            }
        }
        if ended.is_empty() {
            ensure!(claims == jobs, "{claims} of {jobs} jobs were there to be claimed");
            return Ok(failed);
        }
    }
}

/// How a job ends.
fn turn(claimed: &Claimed, pause: Duration) -> Turn {
    let number = usize::from_str_radix(claimed.id.run.as_str().rsplit('-').next().unwrap_or_default(), 16);
    let number = number.unwrap_or_default();
    if claimed.id.entity == OPEN {
        return match number % 10 {
            0 => Turn::Retry {
                pause,
                error: "POST /4/worklogs/search: the connection broke off".to_owned(),
                attempts: 3,
                mark: 2,
            },
            _ => Turn::Waiting { pause, why: "Tempo asked to wait".to_owned() },
        };
    }
    let place = ENTITIES.iter().position(|entity| entity.name == claimed.id.entity).unwrap_or_default();
    // The first entity fails alike everywhere; the others in two ways each.
    let cause = if place == 0 { 0 } else { place + number / 2 % 2 };
    let request = format!("GET /4/{}/{}", claimed.id.entity, number % 997);
    Turn::Dead(match cause % 7 {
        0 => format!("{request}: Tempo failed (HTTP 503): Service Unavailable"),
        1 => format!("{request}: no answer in time"),
        2 => format!("{request}: HTTP 200, but the answer is not JSON"),
        3 => format!("{request}: Tempo refused the request (HTTP 400): Period {} is closed", number % 53),
        4 => "it took down 3 workers, the last of them worker-7: what it reads may be more than a worker has memory for".to_owned(),
        5 => format!("{request}: Tempo failed (HTTP 500): request id {number:08x}"),
        _ => format!("{request}: the list does not advance: the answer leads to a page that was already read"),
    })
}

fn settings(vault: &Vault, number: usize, now: Timestamp) -> Result<Settings> {
    let tenant = tenant(number)?;
    let mut settings = Settings::new(tenant.clone(), now);
    settings.name = Some(format!("Company {number}"));
    settings.schedule = Some(format!("{} {} * * *", number % 60, number / 60 % 6));
    settings.paused = number % 101 == 7;
    if number % 67 != 11 {
        let expires = now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let expires = expires.checked_add(jiff::Span::new().days(i64::try_from(number % 400)? - 5))?;
        let token = format!("token of {number}");
        let mut token = vault.seal_token(&tenant, &token.into(), now, Some(expires));
        token.refused = (number % 103 == 13).then_some(now);
        settings.token = Some(token);
    }
    Ok(settings)
}

/// One of a tenant's snapshots, so many days before the last.
pub(crate) fn manifest(number: usize, back: usize, now: Timestamp) -> Result<Manifest> {
    let sealed = now - SignedDuration::from_hours(24 * i64::try_from(back)? + i64::try_from(number % 20)?);
    let started = sealed - SignedDuration::from_mins(2);
    let mut manifest = Manifest {
        schema: fermata_core::FORMAT,
        run: RunId::new(started, &format!("{number:06x}"))?,
        tenant: tenant(number)?,
        nonce: nonce(),
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        base_url: fermata_core::settings::BASE_URL.to_owned(),
        started,
        sealed,
        previous: None,
        wish: Wish::default(),
        status: Status::Complete,
        windows: std::collections::BTreeMap::new(),
        entities: (0..ENTITIES.len()).map(|place| entry(place, number, back)).collect(),
    };
    if number % 41 == 3 {
        manifest.status = Status::Partial;
        manifest.entities[5].status = EntryStatus::Skipped;
        manifest.entities[5].reason = Some("the token may not read it (HTTP 403)".to_owned());
    } else if number % 97 == 5 {
        manifest.status = Status::Suspect;
        manifest.entities[5].suspect = Some("it came back with 12 records, and had 340".to_owned());
    }
    Ok(manifest)
}

fn entry(place: usize, number: usize, back: usize) -> Entry {
    let name = ENTITIES[place].name;
    let records = if name == OPEN { 90_000 - 90 * back as u64 } else { (number % 300) as u64 };
    let chunk = Chunk {
        name: format!("{number:016x}{place:016x}-{back:064x}"),
        records,
        bytes: records * 700,
        stored: records * 60,
    };
    Entry {
        status: EntryStatus::Complete,
        mode: if name == OPEN { Mode::Delta } else { Mode::Sweep },
        records,
        added: Some(records / 1_000),
        changed: Some(records / 300),
        deleted: Some(records / 5_000),
        layers: vec![Layer { kind: LayerKind::Sweep, added: records, deleted: 0, chunks: vec![chunk] }],
        requests: 2,
        bytes: records * 700,
        ..Entry::new(name)
    }
}

fn snapshots(number: usize) -> usize {
    if number == MANY { SNAPSHOTS_MANY } else { 1 }
}

/// How many entities of this run fail.
fn of_run(number: usize) -> usize {
    1 + number * 7_919 % FAILED_OF_RUN_MAX
}

fn mean_of_run() -> usize {
    FAILED_OF_RUN_MAX.div_ceil(2)
}
