//! The picture of all tenants: held in memory, so that a page of thousands costs nothing to ask for.
//!
//! The store is looked through again and again; between two looks a tenant is looked at by itself when the queue, or somebody on
//! the page, has changed something about it. Of a snapshot that is known only its name is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use fermata_core::manifest::{Entry, EntryStatus, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::settings::Settings;
use fermata_fleet::meters::Tenants;
use fermata_fleet::queue::QueueView;
use fermata_vault::{Vault, VaultError};
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::html::Tone;
use super::{Changes, Shared, now};
use crate::commands::EXPIRY_DAYS;
use crate::desk::tenants;
use crate::out;

/// Tenants that are looked at at once.
const CONCURRENT: usize = 32;
/// How often the queue is looked at.
const GLANCE: Duration = Duration::from_secs(2);
/// Snapshots that are looked through for one of everything; others were asked for some entities alone.
const BACK_MAX: usize = 20;
/// Without a schedule a snapshot older than this is worth a word.
const OLD: SignedDuration = SignedDuration::from_hours(48);
/// A run that was begun longer ago is not taken for one that is under way: whoever was at it may be gone.
const UNDER_WAY: SignedDuration = SignedDuration::from_hours(12);
/// How long after it was due a snapshot may take to begin.
const GRACE: SignedDuration = SignedDuration::from_hours(6);

/// The picture.
#[derive(Debug)]
pub(crate) struct Board {
    rows: RwLock<BTreeMap<Tenant, Arc<Row>>>,
    looked: RwLock<Looked>,
    queue: RwLock<Option<Arc<QueueView>>>,
    /// Asked to look again, and at whom.
    again: Mutex<Vec<Tenant>>,
    wake: tokio::sync::Notify,
    every: Duration,
    changes: Changes,
}

/// When all tenants were last looked at, and what was wrong with that.
#[derive(Clone, Debug, Default)]
pub(crate) struct Looked {
    pub(crate) at: Option<Timestamp>,
    pub(crate) trouble: Option<String>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) tenant: Tenant,
    /// Its settings, or why they cannot be read.
    pub(crate) settings: Result<Arc<Settings>, String>,
    /// The newest snapshot of everything.
    pub(crate) last: Option<Arc<Last>>,
    /// The newest snapshot of all, which may have been asked for some entities alone.
    pub(crate) newest: Option<RunId>,
    /// The newest run that is no snapshot yet.
    pub(crate) unfinished: Option<RunId>,
    /// Why the snapshots cannot be looked at.
    pub(crate) trouble: Option<String>,
}

/// A snapshot, as far as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Last {
    pub(crate) run: RunId,
    pub(crate) started: Timestamp,
    pub(crate) sealed: Timestamp,
    pub(crate) status: Status,
    pub(crate) records: u64,
    pub(crate) stored: u64,
    pub(crate) requests: u64,
    /// What is missing and was not read since, and why.
    pub(crate) gaps: Vec<Gap>,
    /// Entities that are missing and that an earlier snapshot has.
    pub(crate) lost: Vec<String>,
    /// Entities that came back too small to be believed.
    pub(crate) suspects: Vec<String>,
}

/// An entity that a snapshot lacks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gap {
    pub(crate) entity: String,
    /// Whether it failed; else the token may not read it.
    pub(crate) failed: bool,
    pub(crate) reason: String,
}

/// How a tenant is, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Unreadable,
    Refused,
    Expired,
    NoToken,
    Suspect,
    Failing,
    Overdue,
    Expiring,
    Never,
    Partial,
    Running,
    Paused,
    Good,
}

impl Health {
    pub(crate) const ALL: [Self; 13] = [
        Self::Unreadable,
        Self::Refused,
        Self::Expired,
        Self::NoToken,
        Self::Suspect,
        Self::Failing,
        Self::Overdue,
        Self::Expiring,
        Self::Never,
        Self::Partial,
        Self::Running,
        Self::Paused,
        Self::Good,
    ];

    /// Its name in addresses and documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::NoToken => "no-token",
            Self::Suspect => "suspect",
            Self::Failing => "failing",
            Self::Overdue => "overdue",
            Self::Expiring => "expiring",
            Self::Never => "never",
            Self::Partial => "partial",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Good => "good",
        }
    }

    /// What people read.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Refused => "token refused",
            Self::Expired => "token expired",
            Self::NoToken => "no token",
            Self::Suspect => "suspect",
            Self::Failing => "failing",
            Self::Overdue => "overdue",
            Self::Expiring => "token expires",
            Self::Never => "no snapshot yet",
            Self::Partial => "with gaps",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Good => "good",
        }
    }

    pub(crate) fn tone(self) -> Tone {
        match self {
            Self::Unreadable
            | Self::Refused
            | Self::Expired
            | Self::NoToken
            | Self::Suspect
            | Self::Failing => Tone::Bad,
            Self::Overdue | Self::Expiring | Self::Never | Self::Partial => Tone::Warn,
            Self::Running => Tone::Busy,
            Self::Paused => Tone::Quiet,
            Self::Good => Tone::Good,
        }
    }

    /// Whether somebody has to do something.
    pub(crate) fn needs_you(self) -> bool {
        self <= Self::Expiring
    }
}

impl Row {
    /// How it is, and since when or until when.
    pub(crate) fn health(&self, now: Timestamp) -> Health {
        let Ok(settings) = &self.settings else { return Health::Unreadable };
        if self.trouble.is_some() {
            return Health::Unreadable;
        }
        if settings.paused {
            return Health::Paused;
        }
        let Some(token) = &settings.token else { return Health::NoToken };
        if token.refused.is_some() {
            return Health::Refused;
        }
        let days = token.days_left(now);
        if days.is_some_and(|days| days < 0) {
            return Health::Expired;
        }
        let expires = days.is_some_and(|days| days <= EXPIRY_DAYS);
        let running = self.is_running(now);
        let Some(last) = &self.last else {
            return match (running, self.is_overdue(now)) {
                (_, true) => Health::Overdue,
                _ if expires => Health::Expiring,
                (true, _) => Health::Running,
                (false, false) => Health::Never,
            };
        };
        let accepted = settings.accepted.as_ref().is_some_and(|accepted| *accepted >= last.run);
        if last.status == Status::Suspect && !accepted {
            Health::Suspect
        } else if last.gaps.iter().any(|gap| gap.failed) {
            Health::Failing
        } else if self.is_overdue(now) {
            Health::Overdue
        } else if expires {
            Health::Expiring
        } else if running {
            Health::Running
        } else if last.gaps.is_empty() {
            Health::Good
        } else {
            Health::Partial
        }
    }

    /// Whether a backup should have been begun and was not, whatever else is wrong with the tenant; but for a token that is
    /// refused or expired: then nothing can begin, which is said as that.
    fn is_overdue(&self, now: Timestamp) -> bool {
        let Ok(settings) = &self.settings else { return false };
        let Some(token) = settings.token.as_ref().filter(|_| !settings.paused && !self.is_running(now))
        else {
            return false;
        };
        if token.refused.is_some() || token.days_left(now).is_some_and(|days| days < 0) {
            return false;
        }
        is_overdue(settings, self.last.as_ref().map(|last| last.started), token.stored, now)
    }

    /// Whether a run is under way, as far as the store tells.
    fn is_running(&self, now: Timestamp) -> bool {
        let began = self.unfinished.as_ref().and_then(RunId::began);
        began.is_some_and(|began| now.duration_since(began) < UNDER_WAY)
    }

    /// The same in a sentence, where there is more to say than the word does.
    pub(crate) fn why(&self, now: Timestamp) -> Option<String> {
        let settings = self.settings.as_ref().ok();
        let token = settings.and_then(|settings| settings.token.as_ref());
        Some(match self.health(now) {
            Health::Unreadable => self.settings.as_ref().err().or(self.trouble.as_ref()).cloned()?,
            Health::Refused => {
                format!("Tempo refuses it since {}", out::from_now(token?.refused?, now))
            }
            Health::Expired => format!("on {}", token?.expires?),
            Health::Expiring => {
                let days = token?.days_left(now)?;
                if days == 0 {
                    "today".to_owned()
                } else {
                    format!("in {}", out::several(u64::try_from(days).ok()?, "day", "days"))
                }
            }
            Health::Suspect => format!("{} came back too small", self.last.as_ref()?.suspects.join(", ")),
            Health::Failing => {
                let failed = self.last.as_ref()?.gaps.iter().filter(|gap| gap.failed);
                failed.map(|gap| &*gap.entity).collect::<Vec<_>>().join(", ")
            }
            Health::Overdue => match (&self.last, &self.unfinished) {
                (_, Some(run)) => format!("a run was interrupted {}", out::from_now(run.began()?, now)),
                (Some(last), None) => format!("nothing since {}", out::from_now(last.started, now)),
                (None, None) => "no backup was ever begun".to_owned(),
            },
            Health::Partial => out::several(
                self.last.as_ref()?.gaps.len() as u64,
                "entity is missing",
                "entities are missing",
            ),
            _ => return None,
        })
    }

    /// A name for people, where there is one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.settings.as_ref().ok()?.name.as_deref()
    }

    /// When it is due next.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let settings = self.settings.as_ref().ok().filter(|settings| !settings.paused)?;
        tenants::schedule(settings)?.ok()?.next_after(now)
    }
}

/// Whether a snapshot should have been begun since the last one was; without one, since there is a token.
fn is_overdue(settings: &Settings, last: Option<Timestamp>, token: Timestamp, now: Timestamp) -> bool {
    let since = last.unwrap_or(token);
    match tenants::schedule(settings) {
        Some(Ok(schedule)) => {
            let due = now.checked_sub(GRACE).ok().and_then(|before| schedule.last_before(before));
            // Settings that were changed since may have had another schedule: then one due time is passed over, and no more.
            let before = |due: Timestamp| schedule.last_before(due - SignedDuration::from_secs(1));
            let due = due.and_then(|due| if settings.saved < due { Some(due) } else { before(due) });
            due.is_some_and(|due| since < due)
        }
        // Who has no schedule and was never backed up may have been added for later.
        _ => last.is_some_and(|last| now.duration_since(last) > OLD),
    }
}

impl Board {
    pub(crate) fn new(every: Duration, changes: Changes) -> Self {
        Self {
            rows: RwLock::default(),
            looked: RwLock::default(),
            queue: RwLock::default(),
            again: Mutex::default(),
            wake: tokio::sync::Notify::new(),
            every,
            changes,
        }
    }

    /// All tenants, by name.
    pub(crate) fn rows(&self) -> Vec<Arc<Row>> {
        self.rows.read().expect(HELD).values().cloned().collect()
    }

    pub(crate) fn row(&self, tenant: &Tenant) -> Option<Arc<Row>> {
        self.rows.read().expect(HELD).get(tenant).cloned()
    }

    pub(crate) fn looked(&self) -> Looked {
        self.looked.read().expect(HELD).clone()
    }

    /// How tenants fare; nothing before they were looked at, and while they cannot be: what was known then would wake
    /// somebody for backups that were made since, or nobody at all.
    pub(crate) fn count(&self, now: Timestamp) -> Option<Tenants> {
        let looked = self.looked();
        looked.at.filter(|_| looked.trouble.is_none())?;
        let rows = self.rows();
        let mut health = BTreeMap::from(Health::ALL.map(|health| (health, 0)));
        let mut tenants = Tenants::default();
        for row in &rows {
            let how = row.health(now);
            *health.entry(how).or_default() += 1;
            tenants.overdue += u64::from(row.is_overdue(now));
            let Some(last) = row.last.as_ref().filter(|_| how != Health::Paused) else { continue };
            tenants.oldest = tenants.oldest.max(Some(now.duration_since(last.sealed).as_secs().max(0)));
            tenants.lost += last.lost.len() as u64;
        }
        tenants.health = health.into_iter().map(|(health, count)| (health.name(), count)).collect();
        Some(tenants)
    }

    /// The queue as last seen.
    pub(crate) fn queue(&self) -> Option<Arc<QueueView>> {
        self.queue.read().expect(HELD).clone()
    }

    /// Something about a tenant has changed: it is looked at soon.
    pub(crate) fn look_again(&self, tenant: &Tenant) {
        self.again.lock().expect(HELD).push(tenant.clone());
        self.wake.notify_one();
    }

    /// Looks at a tenant now.
    pub(crate) async fn look(&self, vault: &Vault, tenant: &Tenant) {
        self.look_at(vault, tenant, false).await;
    }

    /// `listed` says that the store names it: then it has a row, whatever else cannot be read.
    async fn look_at(&self, vault: &Vault, tenant: &Tenant, listed: bool) {
        let known = self.row(tenant);
        let Some(row) = row(vault, tenant, known.as_deref(), listed).await else { return };
        let mut rows = self.rows.write().expect(HELD);
        let changed = match &row {
            Some(row) if known.as_deref() == Some(row) => false,
            Some(row) => rows.insert(tenant.clone(), Arc::new(row.clone())).is_none_or(|old| *old != *row),
            None => rows.remove(tenant).is_some(),
        };
        drop(rows);
        if changed {
            self.changes.tell();
        }
    }

    async fn look_at_all(&self, vault: &Vault) -> Result<(), VaultError> {
        let tenants = vault.tenants().await?;
        self.rows.write().expect(HELD).retain(|tenant, _| tenants.binary_search(tenant).is_ok());
        stream::iter(tenants)
            .for_each_concurrent(CONCURRENT, async |tenant| self.look_at(vault, &tenant, true).await)
            .await;
        Ok(())
    }
}

const HELD: &str = "nobody panics while holding it";

/// Keeps the picture fresh until the page ends.
pub(crate) async fn keep(app: Shared) {
    tokio::select! {
        () = app.end.cancelled() => {}
        () = look_through(&app) => {}
        () = look_again(&app) => {}
        () = look_at_queue(&app) => {}
    }
}

async fn look_through(app: &Shared) {
    let board = &app.board;
    loop {
        let began = Instant::now();
        let trouble = board.look_at_all(&app.vault).await.err().map(|error| out::causes(&error.into()));
        if let Some(trouble) = &trouble {
            tracing::warn!("cannot look at the tenants: {trouble}");
        }
        let at = if trouble.is_none() { Some(now()) } else { board.looked().at };
        *board.looked.write().expect(HELD) = Looked { at, trouble };
        board.changes.tell();
        // A store that takes long to look through is not looked through all the time.
        tokio::time::sleep(board.every.max(began.elapsed() * 5)).await;
    }
}

async fn look_again(app: &Shared) {
    loop {
        app.board.wake.notified().await;
        let mut tenants = std::mem::take(&mut *app.board.again.lock().expect(HELD));
        tenants.sort();
        tenants.dedup();
        stream::iter(tenants)
            .for_each_concurrent(CONCURRENT, async |tenant| app.board.look(&app.vault, &tenant).await)
            .await;
    }
}

async fn look_at_queue(app: &Shared) {
    let Some(queue) = &app.queue else { return std::future::pending().await };
    let mut every = interval(GLANCE);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since = now();
    loop {
        every.tick().await;
        let seen = queue.view().await.ok().map(Arc::new);
        let moved = {
            let mut known = app.board.queue.write().expect(HELD);
            // All but what changes by itself as time passes.
            let of = |view: &Option<Arc<QueueView>>| {
                let workers = |view: &QueueView| {
                    let workers = view.workers.iter();
                    workers
                        .map(|one| (one.name.clone(), one.stopping, one.drained.clone()))
                        .collect::<Vec<_>>()
                };
                view.as_ref().map(|view| {
                    let counts = (view.jobs.clone(), view.counters.clone(), view.tenants_cooling);
                    (counts, view.paused.clone(), view.held.clone(), workers(view))
                })
            };
            let moved = of(&known) != of(&seen);
            *known = seen;
            moved
        };
        if moved {
            app.changes.tell();
            // What has just become a snapshot is looked at now, and not only when all are.
            if let Ok(ended) = queue.ended_since(since).await {
                for (tenant, at) in ended {
                    app.board.look_again(&tenant);
                    since = since.max(at + SignedDuration::from_millis(1));
                }
            }
        }
    }
}

/// What there is of a tenant: `Some(None)` if it was removed, nothing if nobody can tell. What cannot be read stays as it was
/// known, and the row says so.
async fn row(vault: &Vault, tenant: &Tenant, known: Option<&Row>, listed: bool) -> Option<Option<Row>> {
    let (settings, trouble) = match vault.settings(tenant).await {
        Ok(settings) => match settings.filter(|settings| !settings.removed) {
            Some(settings) => (Ok(Arc::new(settings)), None),
            None => return Some(None),
        },
        Err(error) => {
            let why = out::causes(&error.into());
            let known = known.map(|known| known.settings.clone()).filter(Result::is_ok);
            match known {
                Some(settings) => (settings, Some(why)),
                None if listed => (Err(why), None),
                None => return None,
            }
        }
    };
    let empty = Row {
        tenant: tenant.clone(),
        settings: settings.clone(),
        last: None,
        newest: None,
        unfinished: None,
        trouble: None,
    };
    let mut row = empty.clone();
    let looked = snapshots(vault, &mut row, known).await.map_err(|error| out::causes(&error.into()));
    if looked.is_err() {
        row = Row { settings, ..known.cloned().unwrap_or(empty) };
    }
    row.trouble = trouble.or(looked.err());
    Some(Some(row))
}

async fn snapshots(vault: &Vault, row: &mut Row, known: Option<&Row>) -> Result<(), VaultError> {
    let snapshots = vault.snapshots(&row.tenant).await?;
    row.unfinished = vault.unfinished_runs(&row.tenant).await?.pop();
    row.newest = snapshots.last().cloned();
    let same = known.is_some_and(|known| known.newest == row.newest);
    let known = known.and_then(|known| known.last.as_ref()).filter(|last| snapshots.contains(&last.run));
    if let Some(last) = known.filter(|_| same) {
        row.last = Some(last.clone());
        return Ok(());
    }
    // What was read again since, by itself, is missing no more.
    let mut mended = BTreeSet::new();
    for (at, run) in snapshots.iter().enumerate().rev().take(BACK_MAX) {
        let found = match known.filter(|last| last.run == *run) {
            Some(last) => Some(Last::clone(last)),
            None => match vault.manifest(&row.tenant, run).await? {
                Some(manifest) if manifest.wish.only.is_empty() => Some(last(&manifest)),
                Some(manifest) => {
                    let whole = manifest.entities.into_iter();
                    let whole = whole.filter(|entry| entry.status == EntryStatus::Complete);
                    mended.extend(whole.map(|entry| entry.entity));
                    None
                }
                None => None,
            },
        };
        if let Some(mut last) = found {
            last.gaps.retain(|gap| !mended.contains(&gap.entity));
            last.lost = lost(vault, &row.tenant, &last, known.map(Arc::as_ref), &snapshots[..at]).await?;
            row.last = Some(Arc::new(last));
            break;
        }
    }
    Ok(())
}

/// What a token may not read any more, or what is not there any more. Who never might read something did not lose it; what failed
/// is another matter, and said elsewhere.
async fn lost(
    vault: &Vault,
    tenant: &Tenant,
    last: &Last,
    known: Option<&Last>,
    earlier: &[RunId],
) -> Result<Vec<String>, VaultError> {
    let skipped = last.gaps.iter().filter(|gap| !gap.failed);
    let mut missing: BTreeSet<_> = skipped.map(|gap| gap.entity.clone()).collect();
    if let Some(known) = known {
        let was_missing = |entity: &String| known.gaps.iter().any(|gap| gap.entity == *entity && !gap.failed);
        missing.retain(|entity| known.lost.contains(entity) || !was_missing(entity));
        return Ok(missing.into_iter().collect());
    }
    let mut had = Vec::new();
    for run in earlier.iter().rev().take(BACK_MAX) {
        if missing.is_empty() {
            break;
        }
        let Some(manifest) = vault.manifest(tenant, run).await? else { continue };
        for entry in &manifest.entities {
            if entry.status == EntryStatus::Complete && missing.remove(&entry.entity) {
                had.push(entry.entity.clone());
            }
        }
    }
    had.sort();
    Ok(had)
}

fn last(manifest: &Manifest) -> Last {
    let gap = |entry: &Entry| Gap {
        entity: entry.entity.clone(),
        failed: entry.status == EntryStatus::Failed,
        reason: entry.reason.clone().unwrap_or_else(|| "no reason was given".to_owned()),
    };
    let entries = || manifest.entities.iter();
    Last {
        run: manifest.run.clone(),
        started: manifest.started,
        sealed: manifest.sealed,
        status: manifest.status,
        records: manifest.records(),
        stored: manifest.stored(),
        requests: entries().map(|entry| entry.requests).sum(),
        gaps: entries().filter(|entry| entry.status.is_gap()).map(gap).collect(),
        lost: Vec::new(),
        suspects: entries()
            .filter(|entry| entry.suspect.is_some())
            .map(|entry| entry.entity.clone())
            .collect(),
    }
}

#[cfg(test)]
mod tests;
