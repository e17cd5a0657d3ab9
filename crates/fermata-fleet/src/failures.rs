//! What failed, by what it has in common: jobs that were given up or wait to be tried again, in groups that most likely
//! have one cause.
//!
//! The picture is in memory and follows the queue by its stream of changes: a look when nothing changed is one small question,
//! and else the particulars of what changed are read. Whoever falls too far behind, or finds another number of jobs than the
//! queue has, reads all of it anew. A hundred thousand jobs take some 40 MB.

mod kind;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use fermata_core::names::Tenant;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::bulk::Seen;
use crate::link::LinkError;
use crate::queue::{Change, Filter, JobId, JobState, Queue};
use kind::Kind;

pub use kind::Cause;

/// Hours that a group's chart covers.
pub const HOURS: usize = 24;
const HOUR_MS: i64 = 3_600_000;

/// The jobs of a queue that failed, kept in memory.
#[derive(Debug)]
pub struct Failures {
    queue: Queue,
    /// Where in the stream of changes the picture is; only one looks at a time.
    seen: Mutex<Option<String>>,
    picture: RwLock<Picture>,
}

/// Jobs that failed, in groups.
#[derive(Debug, Default)]
pub struct Picture {
    jobs: HashMap<JobId, Failed>,
    /// Each kind by its id, with how many jobs are of it.
    kinds: HashMap<Arc<str>, (Kind, usize)>,
    /// Names among those of failed jobs that there is no job of this release for.
    unread: u64,
}

/// A job that failed.
#[derive(Clone, Debug)]
struct Failed {
    kind: Arc<str>,
    dead: bool,
    first_ms: i64,
    last_ms: i64,
    next_ms: Option<i64>,
}

/// Which failures.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of these tenants alone; `None` stands for all.
    pub tenants: Option<BTreeSet<Tenant>>,
    /// Of this entity.
    pub entity: Option<String>,
    /// Of this cause.
    pub cause: Option<Cause>,
    /// With this in their error, request or entity, whatever the case of its letters.
    pub text: Option<String>,
    /// That failed then or later.
    pub since: Option<Timestamp>,
}

/// Jobs that failed with one error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// A name for addresses, the same for the same error at any time.
    pub id: String,
    /// Which entity.
    pub entity: String,
    /// Method and path, with `#` for ids.
    pub request: Option<String>,
    /// Of the answer.
    pub status: Option<u16>,
    /// The error, with `#` for numbers and ids and `*` for names.
    pub title: String,
    /// Why, most likely.
    pub cause: Cause,
    /// Tenants that it hits.
    pub tenants: u64,
    /// Jobs that were given up.
    pub dead: u64,
    /// Jobs that are tried again.
    pub retrying: u64,
    /// When the first of them began to fail.
    pub first_seen: Timestamp,
    /// When the last of them failed.
    pub last_seen: Timestamp,
    /// How many failed last in each of the last 24 hours, the current one at the end.
    pub hours: [u32; HOURS],
    /// When the next of them is tried again.
    pub next_at: Option<Timestamp>,
    /// One of them, the last that failed.
    pub sample: JobId,
}

impl Failed {
    fn seen(&self, id: &JobId) -> Seen {
        let state = if self.dead { JobState::Dead } else { JobState::Retry };
        Seen { id: id.clone(), state, since: Timestamp::from_millisecond(self.last_ms).ok() }
    }
}

impl Group {
    /// Jobs in it.
    pub fn jobs(&self) -> u64 {
        self.dead + self.retrying
    }
}

/// By what groups are ordered; the most or the latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderBy {
    /// How many jobs.
    #[default]
    Jobs,
    /// How many tenants.
    Tenants,
    /// When the last of them failed.
    Last,
    /// When the first of them began to fail.
    First,
}

impl Failures {
    /// An empty picture; [`look`](Self::look) fills it.
    pub fn new(queue: Queue) -> Self {
        Self { queue, seen: Mutex::new(None), picture: RwLock::default() }
    }

    /// Brings the picture up to date; whether that changed it.
    pub async fn look(&self) -> Result<bool, LinkError> {
        let mut seen = self.seen.lock().await;
        let Some(at) = &*seen else {
            *seen = Some(self.load().await?);
            return Ok(true);
        };
        let news = self.queue.failures_since(at).await?;
        let known = self.read().known();
        let Some(changed) = news.changed.filter(|changed| !changed.is_empty() || news.count == known) else {
            tracing::debug!(known, count = news.count, "what failed is read anew");
            *seen = Some(self.load().await?);
            return Ok(true);
        };
        if changed.is_empty() {
            return Ok(false);
        }
        let fetched = self.queue.failed(&changed).await?;
        let mut picture = self.picture.write().unwrap_or_else(PoisonError::into_inner);
        for (id, change) in changed.iter().zip(fetched) {
            picture.put(id, change);
        }
        *seen = Some(news.at);
        Ok(true)
    }

    /// Reads all of it; returns where in the stream of changes that is.
    async fn load(&self) -> Result<String, LinkError> {
        let at = self.queue.failures_end().await?;
        let mut picture = Picture::default();
        for state in [JobState::Dead, JobState::Retry] {
            let mut from = 0;
            loop {
                let (ids, named) = self.queue.names_in(state, from).await?;
                if named == 0 {
                    break;
                }
                (from, picture.unread) = (from + named, picture.unread + named as u64);
                let fetched = self.queue.failed(&ids).await?;
                for (id, change) in ids.iter().zip(fetched) {
                    picture.put(id, change);
                }
            }
        }
        picture.unread = picture.unread.saturating_sub(picture.jobs.len() as u64);
        *self.picture.write().unwrap_or_else(PoisonError::into_inner) = picture;
        Ok(at)
    }

    /// The picture as it is now; hold it no longer than it is looked at.
    pub fn read(&self) -> RwLockReadGuard<'_, Picture> {
        self.picture.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Picture {
    /// Adds an entity that failed when it was read without a queue: its error, and when that was.
    pub fn add(&mut self, id: &JobId, error: &str, at: Timestamp) {
        let last_ms = at.as_millisecond();
        let change = Change { error: error.to_owned(), dead: true, first_ms: None, last_ms, next_ms: None };
        self.put(id, Some(change));
    }

    /// Jobs that failed, of these tenants or of all.
    pub fn count(&self, tenants: Option<&BTreeSet<Tenant>>) -> u64 {
        match tenants {
            None => self.jobs.len() as u64,
            Some(tenants) => self.jobs.keys().filter(|id| tenants.contains(&id.tenant)).count() as u64,
        }
    }

    /// The groups of what is wanted.
    pub fn groups(&self, wanted: &Wanted, by: OrderBy, now: Timestamp) -> Vec<Group> {
        let mut groups = self.groups_if(wanted, now, |_| true);
        groups.sort_by(|one, other| {
            let order = match by {
                OrderBy::Jobs => one.jobs().cmp(&other.jobs()),
                OrderBy::Tenants => one.tenants.cmp(&other.tenants),
                OrderBy::Last => one.last_seen.cmp(&other.last_seen),
                OrderBy::First => one.first_seen.cmp(&other.first_seen),
            };
            order.reverse().then_with(|| one.id.cmp(&other.id))
        });
        groups
    }

    /// One group, of those of its jobs that are wanted; nothing if there are none.
    pub fn group(&self, id: &str, wanted: &Wanted, now: Timestamp) -> Option<Group> {
        self.groups_if(wanted, now, |kind| kind.id == id).pop()
    }

    /// The jobs of a group that are wanted, those that failed last first.
    pub fn jobs(&self, id: &str, wanted: &Wanted) -> Vec<Seen> {
        let Some((kind, _)) = self.kinds.get(id).filter(|(kind, _)| wanted.takes_kind(kind)) else {
            return Vec::new();
        };
        let of_group =
            |(job, failed): &(&JobId, &Failed)| *failed.kind == *kind.id && wanted.takes_job(job, failed);
        let mut jobs: Vec<_> = self.jobs.iter().filter(of_group).collect();
        jobs.sort_unstable_by(|one, other| {
            other.1.last_ms.cmp(&one.1.last_ms).then_with(|| one.0.cmp(other.0))
        });
        jobs.into_iter().map(|(job, failed)| failed.seen(job)).collect()
    }

    /// The jobs that a filter means, those that failed last first; nothing if it does not say whether they were given up or are
    /// tried again, since others are not known here. Errors are told by their groups' titles, so numbers and names in them are not.
    pub fn found(&self, filter: &Filter) -> Option<Vec<Seen>> {
        let dead = match filter.state? {
            JobState::Dead => true,
            JobState::Retry => false,
            _ => return None,
        };
        let text = filter.error.as_ref().map(|text| text.to_lowercase());
        let takes = |kind: &Kind| {
            filter.entity.as_ref().is_none_or(|entity| kind.entity == *entity)
                && text.as_ref().is_none_or(|text| kind.title.to_lowercase().contains(text))
        };
        let kinds = self.kinds.values().map(|(kind, _)| kind).filter(|kind| takes(kind));
        let kinds: HashSet<&str> = kinds.map(|kind| &*kind.id).collect();
        let mut jobs: Vec<_> = self
            .jobs
            .iter()
            .filter(|(id, failed)| {
                failed.dead == dead
                    && kinds.contains(&*failed.kind)
                    && filter.tenant.as_ref().is_none_or(|tenant| id.tenant == *tenant)
                    && filter.run.as_ref().is_none_or(|run| id.run == *run)
            })
            .collect();
        jobs.sort_unstable_by(|one, other| {
            other.1.last_ms.cmp(&one.1.last_ms).then_with(|| one.0.cmp(other.0))
        });
        Some(jobs.into_iter().map(|(id, failed)| failed.seen(id)).collect())
    }

    /// How many jobs the queue should say that failed.
    fn known(&self) -> u64 {
        self.jobs.len() as u64 + self.unread
    }

    /// Puts a job where it belongs now, which may be nowhere.
    fn put(&mut self, id: &JobId, change: Option<Change>) {
        if let Some(gone) = self.jobs.remove(id)
            && let Some((_, count)) = self.kinds.get_mut(&gone.kind)
        {
            *count -= 1;
            if *count == 0 {
                self.kinds.remove(&gone.kind);
            }
        }
        let Some(change) = change else { return };
        let kind = Kind::of(id, &change.error);
        let name: Arc<str> = match self.kinds.get_key_value(&*kind.id) {
            Some((name, _)) => name.clone(),
            None => kind.id.as_str().into(),
        };
        self.kinds.entry(name.clone()).or_insert((kind, 0)).1 += 1;
        let failed = Failed {
            kind: name,
            dead: change.dead,
            first_ms: change.first_ms.unwrap_or(change.last_ms).min(change.last_ms),
            last_ms: change.last_ms,
            next_ms: change.next_ms,
        };
        self.jobs.insert(id.clone(), failed);
    }

    fn groups_if(&self, wanted: &Wanted, now: Timestamp, of: impl Fn(&Kind) -> bool) -> Vec<Group> {
        let mut sums: HashMap<&str, (&Kind, Sum<'_>)> = self
            .kinds
            .values()
            .filter(|(kind, _)| of(kind) && wanted.takes_kind(kind))
            .map(|(kind, _)| (&*kind.id, (kind, Sum::default())))
            .collect();
        let hour = now.as_millisecond().div_euclid(HOUR_MS);
        for (id, failed) in &self.jobs {
            if let Some((_, sum)) = sums.get_mut(&*failed.kind)
                && wanted.takes_job(id, failed)
            {
                sum.add(id, failed, hour);
            }
        }
        sums.into_values().filter_map(|(kind, sum)| sum.group(kind)).collect()
    }
}

/// What the jobs of a group come to.
#[derive(Default)]
struct Sum<'a> {
    tenants: HashSet<&'a str>,
    dead: u64,
    retrying: u64,
    first_ms: Option<i64>,
    last: Option<(i64, &'a JobId)>,
    next_ms: Option<i64>,
    hours: [u32; HOURS],
}

impl<'a> Sum<'a> {
    fn add(&mut self, id: &'a JobId, failed: &Failed, hour: i64) {
        self.tenants.insert(id.tenant.as_str());
        *(if failed.dead { &mut self.dead } else { &mut self.retrying }) += 1;
        self.first_ms = Some(self.first_ms.map_or(failed.first_ms, |first| first.min(failed.first_ms)));
        // By the name where the moment is the same, or the sample would change with each look.
        self.last = self.last.max(Some((failed.last_ms, id)));
        self.next_ms = self.next_ms.into_iter().chain(failed.next_ms).min();
        let ago = hour - failed.last_ms.div_euclid(HOUR_MS);
        if let Some(at) = usize::try_from(ago.max(0)).ok().and_then(|ago| (HOURS - 1).checked_sub(ago)) {
            self.hours[at] += 1;
        }
    }

    fn group(self, kind: &Kind) -> Option<Group> {
        let (last_ms, sample) = self.last?;
        let moment = |ms| Timestamp::from_millisecond(ms).ok();
        let Kind { id, entity, request, status, title, cause } = kind.clone();
        Some(Group {
            id,
            entity,
            request,
            status,
            title,
            cause,
            tenants: self.tenants.len() as u64,
            dead: self.dead,
            retrying: self.retrying,
            first_seen: moment(self.first_ms?)?,
            last_seen: moment(last_ms)?,
            hours: self.hours,
            next_at: self.next_ms.and_then(moment),
            sample: sample.clone(),
        })
    }
}

impl Wanted {
    fn takes_kind(&self, kind: &Kind) -> bool {
        let has = |text: &String| {
            let text = text.to_lowercase();
            [Some(&kind.title), Some(&kind.entity), kind.request.as_ref()]
                .into_iter()
                .flatten()
                .any(|part| part.to_lowercase().contains(&text))
        };
        self.entity.as_ref().is_none_or(|entity| kind.entity == *entity)
            && self.cause.is_none_or(|cause| kind.cause == cause)
            && self.text.as_ref().is_none_or(has)
    }

    fn takes_job(&self, id: &JobId, failed: &Failed) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(&id.tenant))
            && self.since.is_none_or(|since| failed.last_ms >= since.as_millisecond())
    }
}
