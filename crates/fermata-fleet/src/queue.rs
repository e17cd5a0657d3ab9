//! The queue: jobs, their states, and whose turn it is.
//!
//! ```text
//!            push                    claim                 settle
//! producer --------> queued / waiting -----> running ----> done
//!                       ^   (parents)          |  |
//!                       |                      |  +------> waiting (quota), retry (a fault): until a moment
//!                       +----------------------+  +------> parked (token refused, tenant paused)
//!                         slice over, or lease lost  +---> dead (given up)
//! ```
//!
//! One script in Redis does each of these at once, by Redis's clock (`lua/queue.lua` and `lua/operators.lua`). A job belongs to whoever
//! claimed it for as long as the lease is renewed; a *fence*, a number that only grows, tells a worker that it came back too late.
//! None of this is needed for the data to be right: two workers on one job only fork its log.

mod demand;
mod failed;
mod look;
mod past;
mod places;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use fermata_core::names::{RunId, Tenant};
use jiff::Timestamp;
use redis::{Script, Value};
use serde::{Serialize, Serializer};
use tokio_util::sync::CancellationToken;

use crate::link::{Link, LinkError};

pub use demand::Demand;
pub(crate) use failed::Change;
pub(crate) use look::About;
pub use look::{
    AuditEntry, Counts, Filter, JobView, ProgressView, QueueView, RunView, TenantView, WorkerView, quoted,
};
pub use past::{Past, PastTurn};
pub use places::{PaceSum, Place, RunSum};

/// The job that makes a run a snapshot, once all others have ended.
pub const SEAL: &str = "seal";
/// The longest that a job is put off: its unfinished run is gone on with for so long.
pub const SNOOZE_MAX: Duration = Duration::from_hours(7 * 24);
const ATTEMPTS_MAX: u32 = 8;
const SCRIPT: &str = concat!(include_str!("../lua/queue.lua"), include_str!("../lua/operators.lua"));

/// The queue of a fleet. Clones share the link.
#[derive(Clone, Debug)]
pub struct Queue {
    link: Link,
    script: Arc<Script>,
    /// What the script takes for the time in ms; Redis's own clock, but for tests of the script.
    #[cfg(feature = "testing")]
    clock: Option<Arc<std::sync::atomic::AtomicU64>>,
}

/// The name of a job: `<tenant>/<run>/<entity>`. Made of what it does, so that enqueueing twice is enqueueing once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId {
    /// Whose.
    pub tenant: Tenant,
    /// Of which run.
    pub run: RunId,
    /// Which entity, or [`SEAL`].
    pub entity: String,
}

/// Not the name of a job.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} is no job; its name looks like acme/20261124T020000Z-4f9a1c/worklogs (`fermata jobs list` shows them)"
)]
pub struct BadJobId(String);

/// What a job waits for, runs on, or ended as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// It runs when its tenant's turn comes.
    Queued,
    /// A worker is at it.
    Running,
    /// For its parents, or for the quota.
    Waiting,
    /// After a fault, until its time comes.
    Retry,
    /// Its tenant is held back: the token was refused, or an operator paused it.
    Parked,
    /// Given up: a person should look.
    Dead,
    /// Nothing left to do.
    Done,
}

/// The jobs of one run, to be enqueued.
#[derive(Clone, Debug)]
pub struct RunJobs {
    /// Whose.
    pub tenant: Tenant,
    /// Which run.
    pub run: RunId,
    /// How many of the tenant's jobs may run at a time.
    pub cap: u32,
    /// The tenant's share of the workers beside others.
    pub weight: u32,
    /// Requests of the tenant in a second; 0 where there is no limit.
    pub rate: f64,
    /// Each entity, with those it waits for.
    pub jobs: Vec<(String, Vec<String>)>,
}

/// What enqueueing came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Jobs that were not there before, or nowhere that they would have been found.
    pub added: u64,
    /// Jobs of the run that have not ended.
    pub open: u64,
}

/// A job that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Which.
    pub id: JobId,
    /// Shows that it is held by whoever knows this.
    pub fence: String,
    /// Attempts that failed since the job last got on.
    pub attempts: u32,
    /// The events of its log at the first of them.
    pub mark: u32,
    /// Workers that it was lost with and that were not heard of again, since it last got on.
    pub lost: u32,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// A job.
    Job(Claimed),
    /// Nothing now; worth asking again after this long.
    Nothing(Duration),
    /// A name in the queue that this release cannot read. It is dead now.
    Unreadable(String),
}

/// The answer to an [exchange](Queue::exchange).
#[derive(Debug)]
pub struct Exchanged {
    /// Of each job that ended, in their order: `false` when it was not the caller's any more.
    pub settled: Vec<bool>,
    /// Jobs; or one [`Claim::Nothing`]. Empty if none were asked for.
    pub claims: Vec<Claim>,
}

/// How a turn on a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The job is done.
    Done,
    /// It is given up, for this reason.
    Dead(String),
    /// Its slice is over.
    Again,
    /// The worker stops; the job is next in its tenant's line, as if it had not been claimed.
    Back,
    /// It may go on after this long. No attempt is spent.
    Waiting {
        /// How long.
        pause: Duration,
        /// For what.
        why: String,
    },
    /// It failed, and is tried again after this long.
    Retry {
        /// How long.
        pause: Duration,
        /// What happened.
        error: String,
        /// Attempts that failed since it last got on.
        attempts: u32,
        /// The events of its log at the first of them.
        mark: u32,
    },
    /// The run cannot be sealed yet, since these entities have not ended.
    Reopen(Vec<String>),
}

/// What became of a job that a worker holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is still held.
    Kept,
    /// It is another's, or nobody's.
    Lost,
    /// An operator cancelled it.
    Cancelled,
}

/// The answer to a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// What became of each job.
    pub holds: Vec<Hold>,
    /// Whether somebody waits for a place.
    pub crowded: bool,
    /// Whether an operator wants the worker to take no new jobs.
    pub drained: bool,
}

/// Why a tenant's jobs are parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldFor {
    /// Tempo refused its token.
    Token,
    /// Its settings say that it is paused.
    Paused,
    /// An operator held it back in the queue.
    Queue,
}

/// What an operator does to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run it now, with all attempts before it.
    Retry,
    /// Leave what failed alone until then, [`SNOOZE_MAX`] at most, and try it again with all attempts before it.
    Snooze(Timestamp),
    /// Stop it, and give it up.
    Cancel,
    /// Take it out of the queue; its entity will be missing.
    Discard,
}

impl Turn {
    /// As the script reads it.
    fn words(&self) -> Vec<String> {
        match self {
            Self::Done => vec!["done".to_owned()],
            Self::Dead(why) => vec!["dead".to_owned(), why.clone()],
            Self::Again => vec!["again".to_owned()],
            Self::Back => vec!["first".to_owned()],
            Self::Waiting { pause, why } => vec!["waiting".to_owned(), ms(*pause), why.clone()],
            Self::Retry { pause, error, attempts, mark } => {
                vec!["retry".to_owned(), ms(*pause), error.clone(), attempts.to_string(), mark.to_string()]
            }
            Self::Reopen(entities) => vec!["reopen".to_owned(), entities.join(" ")],
        }
    }
}

impl Queue {
    /// The queue behind a link.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            script: Arc::new(Script::new(SCRIPT)),
            #[cfg(feature = "testing")]
            clock: None,
        }
    }

    /// The same queue by a clock that a test turns, in milliseconds.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn by(mut self, clock: Arc<std::sync::atomic::AtomicU64>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Enqueues the jobs of a run. Those that are there already are left as they are, but for those that a Redis that came back
    /// in the middle of a change has neither in line nor waiting: they are put back.
    pub async fn push(&self, run: &RunJobs) -> Result<Pushed, LinkError> {
        let numbers = [run.cap.to_string(), run.weight.to_string(), run.rate.to_string()];
        let needs: Vec<String> = run.jobs.iter().map(|(_, needs)| needs.join(" ")).collect();
        let mut args = vec![run.tenant.as_str(), run.run.as_str(), &numbers[0], &numbers[1], &numbers[2]];
        for ((entity, _), needs) in run.jobs.iter().zip(&needs) {
            args.extend([entity.as_str(), needs]);
        }
        let (added, open) = get(self.call("push", &args).await?)?;
        Ok(Pushed { added, open })
    }

    /// Claims a job for a worker. The same `token` again, after an answer that was lost, gets the same job.
    pub async fn claim(&self, worker: &str, token: &str, lease: Duration) -> Result<Claim, LinkError> {
        let mut answer = self.exchange(worker, token, lease, 1, &[]).await?;
        Ok(answer.claims.pop().unwrap_or(Claim::Nothing(Duration::ZERO)))
    }

    /// Tells how a turn ended; `false` when the job was not the caller's any more.
    pub async fn settle(&self, claimed: &Claimed, turn: &Turn) -> Result<bool, LinkError> {
        let answer = self.exchange("", "", Duration::ZERO, 0, &[(claimed.clone(), turn.clone())]).await?;
        Ok(answer.settled.first() == Some(&true))
    }

    /// Tells how turns ended and claims up to `most` jobs, in one call: what is busy asks Redis once for a job, or less.
    pub async fn exchange(
        &self,
        worker: &str,
        token: &str,
        lease: Duration,
        most: usize,
        ended: &[(Claimed, Turn)],
    ) -> Result<Exchanged, LinkError> {
        let mut words = vec![worker.to_owned(), token.to_owned(), ms(lease), most.to_string()];
        for (claimed, turn) in ended {
            let of_turn = turn.words();
            words.extend([(of_turn.len() + 2).to_string(), claimed.id.to_string(), claimed.fence.clone()]);
            words.extend(of_turn);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (settled, rows): (Vec<u8>, Vec<Vec<Value>>) = get(self.call("exchange", &words).await?)?;
        let mut claims = Vec::with_capacity(rows.len());
        for row in rows {
            claims.push(self.claimed(row).await?);
        }
        Ok(Exchanged { settled: settled.into_iter().map(|one| one == 1).collect(), claims })
    }

    async fn claimed(&self, row: Vec<Value>) -> Result<Claim, LinkError> {
        if let [name, wait] = &row[..]
            && get::<String>(name.clone())?.is_empty()
        {
            return Ok(Claim::Nothing(Duration::from_millis(get(wait.clone())?)));
        }
        let (name, fence, attempts, mark, lost): (String, String, u32, u32, u32) = get(Value::Array(row))?;
        match name.parse() {
            Ok(id) => Ok(Claim::Job(Claimed { id, fence, attempts, mark, lost })),
            Err(error) => {
                let why = format!("this release cannot read its name: {error}");
                self.call("exchange", &["", "", "0", "0", "4", &name, &fence, "dead", &why]).await?;
                Ok(Claim::Unreadable(name))
            }
        }
    }

    /// Says how far a job that was lost before has come; one that gets on is not the one that takes workers down.
    pub async fn opened(&self, claimed: &Claimed, events: u32) -> Result<(), LinkError> {
        let (id, events) = (claimed.id.to_string(), events.to_string());
        self.call("opened", &[&id, &claimed.fence, &events]).await.map(drop)
    }

    /// Renews the leases of a worker; also when it holds none, this shows that it is there.
    pub async fn renew(
        &self,
        worker: &str,
        lease: Duration,
        about: &str,
        held: &[(String, String, String)],
    ) -> Result<Renewed, LinkError> {
        let lease = ms(lease);
        let mut args = vec![worker, &lease, about];
        for (id, fence, progress) in held {
            args.extend([id.as_str(), fence, progress]);
        }
        let mut answers: Vec<u8> = get(self.call("renew", &args).await?)?;
        let (drained, crowded) = (answers.pop() == Some(1), answers.pop() == Some(1));
        let became = |answer| match answer {
            1 => Hold::Kept,
            2 => Hold::Cancelled,
            _ => Hold::Lost,
        };
        Ok(Renewed { holds: answers.into_iter().map(became).collect(), crowded, drained })
    }

    /// Enqueues entities of a run again that ended as far as the queue knew, and have not.
    pub async fn reopen(&self, tenant: &Tenant, run: &RunId, entities: &[&str]) -> Result<(), LinkError> {
        self.call("reopen", &[&format!("{tenant}/{run}"), &entities.join(" ")]).await.map(drop)
    }

    /// Has a worker take no new jobs, or take them again; it hears of it with its next renewal and goes on with what it has.
    ///
    /// Returns whether that changes anything; nothing if no such worker was heard of lately.
    pub async fn drain(&self, worker: &str, drained: bool, who: &str) -> Result<Option<bool>, LinkError> {
        get(self.call("drain", &[worker, if drained { who } else { "" }]).await?)
    }

    /// Takes a worker that stops out of the list.
    pub async fn bye(&self, worker: &str) -> Result<(), LinkError> {
        self.call("bye", &[worker]).await.map(drop)
    }

    /// Holds a tenant's jobs back, beside what else they are held for; returns how many are parked.
    pub async fn hold(&self, tenant: &Tenant, why: HeldFor) -> Result<u64, LinkError> {
        let (mut parked, mut from) = (0, 0);
        loop {
            let answer = self.call("hold", &[tenant.as_str(), why.name(), &from.to_string()]).await?;
            let (these, next): (u64, u64) = get(answer)?;
            parked += these;
            if next == 0 {
                return Ok(parked);
            }
            from = next;
        }
    }

    /// Takes a reason away for which a tenant's jobs are held, or all of them if `None`; `true` if they go on now.
    pub async fn free(&self, tenant: &Tenant, why: Option<HeldFor>) -> Result<bool, LinkError> {
        let (why, mut from) = (why.map_or("", HeldFor::name), 0_u64);
        loop {
            let answer = self.call("free", &[tenant.as_str(), why, &from.to_string()]).await?;
            let (freed, next): (u64, u64) = get(answer)?;
            if next == 0 {
                return Ok(freed == 1);
            }
            from = next;
        }
    }

    /// Does something to a job for an operator, if it is in the state they saw it in. `Err` says why it is not done.
    pub async fn act(
        &self,
        action: Action,
        id: &JobId,
        who: &str,
        seen: Option<JobState>,
    ) -> Result<Result<(), String>, LinkError> {
        let id = id.to_string();
        let seen = seen.map_or("", JobState::name);
        let until = match action {
            Action::Snooze(until) => until.as_millisecond().to_string(),
            _ => String::new(),
        };
        let said: String = get(self.call("act", &[action.name(), &id, who, seen, &until]).await?)?;
        Ok(if said == "ok" { Ok(()) } else { Err(said) })
    }

    /// Takes a run out of the queue; returns how many of its jobs were running and are told to stop.
    pub async fn drop_run(&self, tenant: &Tenant, run: &RunId, who: &str) -> Result<u64, LinkError> {
        get(self.call("drop", &[&format!("{tenant}/{run}"), who]).await?)
    }

    /// Does what is due by time alone, for when nobody claims.
    pub async fn tend(&self) -> Result<(), LinkError> {
        self.call("tend", &[]).await.map(drop)
    }

    async fn call(&self, op: &str, args: &[&str]) -> Result<Value, LinkError> {
        #[cfg(feature = "testing")]
        let now =
            self.clock.as_ref().map(|clock| clock.load(std::sync::atomic::Ordering::Relaxed).to_string());
        #[cfg(not(feature = "testing"))]
        let now = None::<String>;
        let now = now.as_deref().unwrap_or_default();
        let args: Vec<&[u8]> = [op, now].iter().chain(args).map(|arg| arg.as_bytes()).collect();
        self.link.run(&self.script, &args).await
    }
}

/// Asks again until there is an answer; `None` when told to stop.
pub(crate) async fn insist<T, F>(stop: &CancellationToken, mut ask: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, LinkError>>,
{
    let mut pause = Duration::from_millis(50);
    loop {
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            answer = ask() => match answer {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            },
        };
        // What does not pass by itself an operator mends while we run: a password, a right, room.
        if pause >= Duration::from_secs(1) {
            tracing::warn!("{error}; asking again");
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return None,
        }
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

fn ms(duration: Duration) -> String {
    duration.as_millis().to_string()
}

pub(crate) fn get<T: redis::FromRedisValue>(value: Value) -> Result<T, LinkError> {
    redis::from_redis_value(value).map_err(|error| LinkError::Odd(error.into()))
}

impl JobState {
    /// All of them, in the order that people want to see them.
    pub const ALL: [Self; 7] =
        [Self::Running, Self::Queued, Self::Waiting, Self::Retry, Self::Parked, Self::Dead, Self::Done];

    /// Its name in Redis and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Retry => "retry",
            Self::Parked => "parked",
            Self::Dead => "dead",
            Self::Done => "done",
        }
    }
}

impl FromStr for JobState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|state| state.name() == text);
        known.ok_or_else(|| format!("it is one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

impl Turn {
    /// Its name in metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Dead(_) => "dead",
            Self::Again => "again",
            Self::Back => "back",
            Self::Waiting { .. } => "waiting",
            Self::Retry { .. } => "retry",
            Self::Reopen(_) => "reopen",
        }
    }
}

impl HeldFor {
    /// Its name in Redis.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Paused => "paused",
            Self::Queue => "queue",
        }
    }
}

impl Action {
    /// Its name in Redis and in the audit list.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Snooze(_) => "snooze",
            Self::Cancel => "cancel",
            Self::Discard => "discard",
        }
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.tenant, self.run, self.entity)
    }
}

impl FromStr for JobId {
    type Err = BadJobId;

    fn from_str(text: &str) -> Result<Self, BadJobId> {
        let bad = || BadJobId(text.to_owned());
        let mut parts = text.split('/');
        let (Some(tenant), Some(run), Some(entity), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if entity.is_empty() || !entity.chars().all(plain) {
            return Err(bad());
        }
        Ok(Self {
            tenant: tenant.parse().map_err(|_| bad())?,
            run: run.parse().map_err(|_| bad())?,
            entity: entity.to_owned(),
        })
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
