//! What an operator does to many jobs: first said, then done at a pace, and only to jobs that are still as they were seen.
//!
//! ```text
//! find --> preview: able, skipped and why --> carry_out: audit line, then one job after the other
//! ```

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::link::LinkError;
use crate::queue::{Action, AuditEntry, Filter, JobId, JobState, JobView, Queue};

/// Jobs that are shown of those that would be acted on.
pub const SAMPLE: usize = 5;

/// What would be done to which jobs.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What.
    pub action: Action,
    /// Jobs that can be acted on, in the order in which they would be.
    pub able: Vec<Seen>,
    /// Some of them, from all over the list.
    pub sample: Vec<JobView>,
    /// Jobs that were meant and cannot be acted on.
    pub skipped: Vec<Skipped>,
}

/// A job as somebody saw it: it is acted on only if it is still in this state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A job that nothing is done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Which.
    pub id: JobId,
    /// Why not, in words that follow its name.
    pub why: String,
}

/// Who wants it done, and how.
#[derive(Clone, Debug)]
pub struct Order {
    /// The user and the machine, for the audit list.
    pub who: String,
    /// Why, if they said so.
    pub reason: Option<String>,
    /// What was meant, for one line in the audit list; `None` writes a line for each job.
    pub target: Option<String>,
    /// Jobs a second at most.
    pub rps: NonZeroU32,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Jobs to be acted on.
    pub all: u64,
    /// Jobs whose turn has come.
    pub looked_at: u64,
    /// Of them, those that it was done to.
    pub done: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To how many jobs.
    pub done: u64,
    /// Jobs that nothing was done to, those of the preview first.
    pub skipped: Vec<Skipped>,
    /// What ended it early, beside being told to stop.
    pub failure: Option<LinkError>,
}

/// The jobs of these names; `Err` holds the names that the queue does not know.
pub async fn named(
    queue: &Queue,
    mut ids: Vec<JobId>,
) -> Result<Result<Vec<JobView>, Vec<JobId>>, LinkError> {
    ids.sort();
    ids.dedup();
    let found = queue.jobs(&ids).await?;
    let missing = ids.iter().zip(&found).filter(|(_, job)| job.is_none()).map(|(id, _)| id.clone());
    let missing: Vec<_> = missing.collect();
    Ok(if missing.is_empty() { Ok(found.into_iter().flatten().collect()) } else { Err(missing) })
}

/// The jobs that a filter means; of those that the action is never for, only if they were asked for by their state.
pub async fn matching(queue: &Queue, action: Action, filter: &Filter) -> Result<Vec<JobView>, LinkError> {
    let mut filter = filter.clone();
    if action == Action::Retry {
        filter.state = filter.state.or(Some(JobState::Dead));
    }
    let meant = |state: JobState| match action {
        _ if filter.state.is_some() => true,
        Action::Retry => state == JobState::Dead,
        Action::Snooze(_) => matches!(state, JobState::Dead | JobState::Retry),
        Action::Cancel => !matches!(state, JobState::Done | JobState::Dead),
        Action::Discard => state != JobState::Done,
    };
    let (jobs, _) = queue.list(&filter, usize::MAX).await?;
    // Lists are read while work goes on: one may have changed its state since it was found.
    Ok(jobs.into_iter().filter(|job| meant(job.state) && filter.takes(job)).collect())
}

/// Sorts those that can be acted on from those that cannot.
pub fn preview(action: Action, jobs: Vec<JobView>) -> Preview {
    let (mut able, mut skipped) = (Vec::new(), Vec::new());
    for job in jobs {
        match job.refusal(action) {
            None => able.push(job),
            Some(why) => skipped.push(Skipped { id: job.id, why }),
        }
    }
    if action != Action::Retry {
        children_first(&mut able);
    }
    let sample = sample(able.len()).map(|at| able[at].clone()).collect();
    let seen = |job: JobView| Seen { id: job.id, state: job.state, since: job.since };
    Preview { action, able: able.into_iter().map(seen).collect(), sample, skipped }
}

/// The same for jobs that failed, as [`Failures`](crate::Failures) knows them: of a hundred thousand of them only the sample
/// is asked for.
pub async fn preview_failed(queue: &Queue, action: Action, jobs: Vec<Seen>) -> Result<Preview, LinkError> {
    let (mut able, mut skipped) = (Vec::new(), Vec::new());
    for job in jobs {
        match job.state.refusal(action, false) {
            None => able.push(job),
            Some(why) => skipped.push(Skipped { id: job.id, why }),
        }
    }
    let ids: Vec<_> = sample(able.len()).map(|at| able[at].id.clone()).collect();
    let sample = queue.jobs(&ids).await?.into_iter().flatten().collect();
    Ok(Preview { action, able, sample, skipped })
}

/// Where in a list of so many those are that are shown.
fn sample(length: usize) -> impl Iterator<Item = usize> {
    (0..length).step_by((length / SAMPLE).max(1)).take(SAMPLE)
}

impl Preview {
    /// Jobs that were meant.
    pub fn matched(&self) -> u64 {
        (self.able.len() + self.skipped.len()) as u64
    }

    /// Leaves only the first of them, to see whether it goes well.
    pub fn probe(&mut self) {
        self.able.truncate(1);
        let first = self.able.first().map(|job| job.id.clone());
        self.sample.retain(|job| Some(&job.id) == first.as_ref());
    }

    /// How many cannot be acted on, by the reason.
    pub fn reasons(&self) -> BTreeMap<&str, u64> {
        let mut reasons = BTreeMap::new();
        for Skipped { why, .. } in &self.skipped {
            *reasons.entry(&**why).or_default() += 1;
        }
        reasons
    }

    /// How long it would take at this pace.
    pub fn span(&self, rps: NonZeroU32) -> Duration {
        // The first one does not wait.
        Duration::from_secs_f64(self.able.len().saturating_sub(1) as f64 / f64::from(rps.get()))
    }
}

/// Acts on one job after the other until all are done or `stop`; an error if not even the audit list could be written.
///
/// `told` hears of each job once its turn is over.
pub async fn carry_out(
    queue: &Queue,
    preview: Preview,
    order: &Order,
    stop: &CancellationToken,
    mut told: impl FnMut(Progress),
) -> Result<Outcome, LinkError> {
    let Preview { action, able, skipped, .. } = preview;
    let mut progress = Progress { all: able.len() as u64, ..Progress::default() };
    if let Some(target) = order.target.as_ref().filter(|_| !able.is_empty()) {
        queue.audit(&order.entry(action, target.clone(), progress.all)).await?;
    }
    let mut outcome = Outcome { skipped, ..Outcome::default() };
    let mut pace = interval(Duration::from_secs(1) / order.rps.get());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for job in able {
        if outcome.failure.is_none() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                _ = pace.tick() => {}
            }
        }
        // What is stopped before its turn has none, and nobody need hear of each.
        if outcome.failure.is_none() && stop.is_cancelled() {
            outcome.skipped.push(Skipped { id: job.id, why: "stopped before its turn".to_owned() });
            continue;
        }
        let acted = if outcome.failure.is_some() {
            Err("Redis no longer answered".to_owned())
        } else {
            order.act(queue, action, &job).await.unwrap_or_else(|error| {
                let why = format!("nobody knows: {error}");
                outcome.failure = Some(error);
                Err(why)
            })
        };
        progress.looked_at += 1;
        match acted {
            Ok(()) => progress.done += 1,
            Err(why) => outcome.skipped.push(Skipped { id: job.id, why }),
        }
        told(progress);
    }
    outcome.done = progress.done;
    Ok(outcome)
}

impl Order {
    async fn act(&self, queue: &Queue, action: Action, job: &Seen) -> Result<Result<(), String>, LinkError> {
        if self.target.is_none() {
            queue.audit(&self.entry(action, job.id.to_string(), 1)).await?;
        }
        queue.act(action, &job.id, &self.who, Some(job.state)).await
    }

    fn entry(&self, action: Action, target: String, count: u64) -> AuditEntry {
        AuditEntry {
            at: Timestamp::now(),
            who: self.who.clone(),
            action: action.name().to_owned(),
            target,
            count,
            reason: self.reason.clone(),
        }
    }
}

/// Children before what they wait for: a parent that ends sets its children going, and as they were not seen so they
/// would be skipped.
fn children_first(jobs: &mut [JobView]) {
    let waits: BTreeMap<JobId, Vec<JobId>> = jobs
        .iter()
        .map(|job| {
            let parent = |entity: &String| JobId { entity: entity.clone(), ..job.id.clone() };
            (job.id.clone(), job.waits_for.iter().map(parent).collect())
        })
        .collect();
    let mut known = BTreeMap::new();
    jobs.sort_by_cached_key(|job| Reverse(depth(&job.id, &waits, &mut known)));
}

/// How many jobs wait for each other above this one.
fn depth(id: &JobId, waits: &BTreeMap<JobId, Vec<JobId>>, known: &mut BTreeMap<JobId, usize>) -> usize {
    if let Some(depth) = known.get(id) {
        return *depth;
    }
    // For the time being: even names that went round in a circle come to an end.
    known.insert(id.clone(), 0);
    let above = waits.get(id).into_iter().flatten();
    let depth = above.map(|parent| depth(parent, waits, known) + 1).max().unwrap_or(0);
    known.insert(id.clone(), depth);
    depth
}
