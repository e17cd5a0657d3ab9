//! What the queue looks like, for people: counts, lists, one job, and why it is not running.
//!
//! Nothing here is one moment's truth of the whole queue: lists are read in pages while work goes on.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::ATTEMPTS_MAX;
use fermata_core::names::{RunId, Tenant};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Action, JobId, JobState, Queue, SEAL};
use crate::link::LinkError;

/// Jobs whose particulars are asked for at once.
const PAGE: usize = 500;
/// Dead letters that Redis looks through at once.
const SCANNED: usize = 10_000;
/// Lines of the audit list that are read at once.
const AUDIT_LINES: isize = 1000;

/// Which jobs.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub tenant: Option<Tenant>,
    /// Of this run.
    pub run: Option<RunId>,
    /// Of this entity.
    pub entity: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
    /// With this in their error, whatever the case of its letters.
    pub error: Option<String>,
}

/// A job as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobView {
    /// Its name.
    pub id: JobId,
    /// Whose.
    pub tenant: Tenant,
    /// Of which run.
    pub run: RunId,
    /// Which entity, or `seal`.
    pub entity: String,
    /// Its state.
    pub state: JobState,
    /// The attempt under way, or the next one; a dead job's last.
    pub attempt: u32,
    /// Attempts before it is given up.
    pub attempts_max: u32,
    /// What went wrong last.
    pub error: Option<String>,
    /// When it is looked at again, where that is known.
    pub next_at: Option<Timestamp>,
    /// Who is at it.
    pub worker: Option<String>,
    /// Since when it is in this state.
    pub since: Option<Timestamp>,
    /// Entities that it waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// What it waits for otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Workers that it was lost with and that were not heard of again, since it last got on.
    pub lost: u32,
    /// Pages and records so far, as its worker last said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressView>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressView {
    /// Events of its log.
    pub events: u32,
    /// Records kept.
    pub records: u64,
    /// Requests made.
    pub requests: u64,
}

/// How many jobs are in each state.
pub type Counts = BTreeMap<JobState, u64>;

/// The queue as a whole.
#[derive(Clone, Debug, Serialize)]
pub struct QueueView {
    /// Jobs by state.
    pub jobs: Counts,
    /// Who paused it, if it is paused.
    pub paused: Option<String>,
    /// When the job that waits longest for its turn was enqueued.
    pub oldest: Option<Timestamp>,
    /// Tenants that are held back, and why.
    pub held: BTreeMap<Tenant, String>,
    /// Tenants whose turn will come.
    pub tenants_ready: u64,
    /// Tenants that Tempo asked to wait.
    pub tenants_cooling: u64,
    /// The workers.
    pub workers: Vec<WorkerView>,
    /// What happened since Redis was last emptied: enqueued, done, dead, retried, recovered, poisoned.
    pub counters: BTreeMap<String, u64>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerView {
    /// Its name: host, process, and a random tail.
    pub name: String,
    /// The release that it runs.
    pub version: String,
    /// Jobs that it works on at once.
    pub places: u32,
    /// Of them, those at work.
    pub busy: u32,
    /// Whether it stops, and takes no new jobs.
    pub stopping: bool,
    /// Who told it to take no new jobs, if somebody did.
    pub drained: Option<String>,
    /// When it was last heard of.
    pub seen: Timestamp,
}

/// What a worker says of itself, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) version: String,
    pub(crate) places: u32,
    pub(crate) busy: u32,
    pub(crate) stopping: bool,
}

/// A tenant's place in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TenantView {
    /// Why its jobs are held back, if they are: `token`, `paused`, `queue`, or several of them with blanks between.
    pub held: Option<String>,
    /// Jobs at work.
    pub busy: u32,
    /// The most that may be.
    pub cap: Option<u32>,
    /// Until when Tempo asked to be left alone.
    pub cooling: Option<Timestamp>,
    /// Jobs that wait for the tenant's turn.
    pub ready: u64,
}

/// A run as the queue knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunView {
    /// Entities of which nothing more will come, though they may not have been read: dead or discarded, and why.
    pub given_up: BTreeMap<String, String>,
    /// Entities that the queue knows of at all, the seal included.
    pub known: BTreeMap<String, bool>,
}

/// Something that an operator did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: the user and the machine.
    pub who: String,
    /// What: `retry`, `snooze`, `cancel`, `discard`, `pause`, `resume`, `drain`, `undrain`, `abandon`.
    pub action: String,
    /// To what: a job, a tenant, a run, a worker, or the filter of many.
    pub target: String,
    /// How many were meant.
    pub count: u64,
    /// Why, if they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

type QueueAnswer = (Option<String>, Vec<(String, f64)>, Vec<String>, u64, u64, BTreeMap<String, u64>);
type WorkersAnswer = (Vec<(String, f64)>, HashMap<String, String>, HashMap<String, String>);
type TenantAnswer = ((Option<String>, Option<u32>, Option<u32>), Option<f64>, u64);

impl Queue {
    /// Jobs by state.
    pub async fn counts(&self) -> Result<Counts, LinkError> {
        let mut ask = redis::pipe();
        for state in JobState::ALL {
            ask.cmd("ZCARD").arg(self.key(state.name()));
        }
        let counts: Vec<u64> = self.link.ask_all(&ask).await?;
        Ok(JobState::ALL.into_iter().zip(counts).collect())
    }

    /// The queue as a whole.
    pub async fn view(&self) -> Result<QueueView, LinkError> {
        let jobs = self.counts().await?;
        let mut ask = redis::pipe();
        ask.cmd("GET").arg(self.key("paused"));
        ask.cmd("ZRANGE").arg(self.key("queued")).arg(0).arg(0).arg("WITHSCORES");
        ask.cmd("ZRANGE").arg(self.key("held")).arg(0).arg(-1);
        ask.cmd("ZCARD").arg(self.key("ring"));
        ask.cmd("ZCARD").arg(self.key("cooling"));
        ask.cmd("HGETALL").arg(self.key("counters"));
        let (paused, oldest, tenants, tenants_ready, tenants_cooling, counters): QueueAnswer =
            self.link.ask_all(&ask).await?;
        let mut held = BTreeMap::new();
        for page in tenants.chunks(PAGE) {
            let mut ask = redis::pipe();
            for tenant in page {
                ask.cmd("HGET").arg(self.key(&format!("tenant:{tenant}"))).arg("held");
            }
            let reasons: Vec<Option<String>> = self.link.ask_all(&ask).await?;
            let known = page.iter().zip(reasons);
            held.extend(known.filter_map(|(tenant, why)| Some((tenant.parse::<Tenant>().ok()?, why?))));
        }
        let oldest = oldest.first().and_then(|(_, since)| moment(*since));
        let workers = self.workers().await?;
        Ok(QueueView { jobs, paused, oldest, held, tenants_ready, tenants_cooling, workers, counters })
    }

    /// The workers that were heard of in the last minute.
    pub async fn workers(&self) -> Result<Vec<WorkerView>, LinkError> {
        let mut ask = redis::pipe();
        ask.cmd("ZRANGE").arg(self.key("beats")).arg(0).arg(-1).arg("WITHSCORES");
        ask.cmd("HGETALL").arg(self.key("workers"));
        ask.cmd("HGETALL").arg(self.key("drained"));
        let (beats, about, mut drained): WorkersAnswer = self.link.ask_all(&ask).await?;
        let mut workers: Vec<_> = beats
            .into_iter()
            .filter_map(|(name, beat)| {
                let about: About = serde_json::from_str(about.get(&name)?).ok()?;
                let About { version, places, busy, stopping } = about;
                let drained = drained.remove(&name);
                Some(WorkerView { name, version, places, busy, stopping, drained, seen: moment(beat)? })
            })
            .collect();
        workers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(workers)
    }

    /// A tenant's place in the queue.
    pub async fn tenant(&self, tenant: &Tenant) -> Result<TenantView, LinkError> {
        let mut ask = redis::pipe();
        ask.cmd("HMGET").arg(self.key(&format!("tenant:{tenant}"))).arg(&["held", "busy", "cap"]);
        ask.cmd("GET").arg(self.key(&format!("cool:{tenant}")));
        ask.cmd("LLEN").arg(self.key(&format!("ready:{tenant}")));
        let ((held, busy, cap), cooling, ready): TenantAnswer = self.link.ask_all(&ask).await?;
        Ok(TenantView { held, busy: busy.unwrap_or(0), cap, cooling: cooling.and_then(moment), ready })
    }

    /// The tenants that are held back.
    pub async fn held(&self) -> Result<Vec<Tenant>, LinkError> {
        let names: Vec<String> =
            self.link.ask(redis::cmd("ZRANGE").arg(self.key("held")).arg(0).arg(-1)).await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What the queue knows of a run; nothing where it knows no such run.
    pub async fn run(&self, tenant: &Tenant, run: &RunId) -> Result<Option<RunView>, LinkError> {
        let fields: BTreeMap<String, String> =
            self.link.ask(redis::cmd("HGETALL").arg(self.key(&format!("run:{tenant}/{run}")))).await?;
        if fields.is_empty() {
            return Ok(None);
        }
        let mut view = RunView::default();
        for (entity, how) in fields.into_iter().filter(|(name, _)| !name.starts_with(['#', '>'])) {
            if how == "dead" {
                let id = JobId { tenant: tenant.clone(), run: run.clone(), entity: entity.clone() };
                let why = self.job(&id).await?.and_then(|job| job.error);
                view.given_up.insert(entity.clone(), why.unwrap_or_else(|| "it was given up".to_owned()));
            } else if let Some(why) = how.strip_prefix("gone ") {
                view.given_up.insert(entity.clone(), why.to_owned());
            }
            view.known.insert(entity, !how.is_empty());
        }
        Ok(Some(view))
    }

    /// One job.
    pub async fn job(&self, id: &JobId) -> Result<Option<JobView>, LinkError> {
        Ok(self.jobs(std::slice::from_ref(id)).await?.pop().flatten())
    }

    /// Several jobs, in the order of their names; nothing for those that the queue does not know.
    pub async fn jobs(&self, ids: &[JobId]) -> Result<Vec<Option<JobView>>, LinkError> {
        let mut found = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            let names: Vec<_> = page.iter().map(ToString::to_string).collect();
            found.extend(self.particulars(&names).await?);
        }
        Ok(found)
    }

    /// The jobs that match, at most so many, and how many match in all.
    pub async fn list(&self, filter: &Filter, most: usize) -> Result<(Vec<JobView>, u64), LinkError> {
        let (mut found, total) = self.collect(filter, most).await?;
        // One that changed its state while the lists were read may be in two of them.
        let (mut seen, before) = (HashSet::new(), found.len());
        found.retain(|job| seen.insert(job.id.clone()));
        let twice = (before - found.len()) as u64;
        Ok((found, total.saturating_sub(twice)))
    }

    async fn collect(&self, filter: &Filter, most: usize) -> Result<(Vec<JobView>, u64), LinkError> {
        let Some(tenant) = &filter.tenant else {
            let of_all = filter.entity.is_none() && filter.error.is_none() && filter.run.is_none();
            return if of_all {
                self.first(filter.state, most).await
            } else {
                self.search(filter, most).await
            };
        };
        let ids = self.ids_of(tenant, filter.run.as_ref()).await?;
        let mut found = Vec::new();
        for page in ids.chunks(PAGE) {
            found.extend(self.particulars(page).await?.into_iter().flatten().filter(|job| filter.takes(job)));
        }
        let total = found.len() as u64;
        found.truncate(most);
        Ok((found, total))
    }

    /// Why a job is not running, in a sentence.
    pub async fn why(&self, job: &JobView) -> Result<String, LinkError> {
        let tenant = &job.tenant;
        let error = job.error.as_deref().unwrap_or("no reason was given");
        Ok(match job.state {
            JobState::Running => format!("it is running, on {}", job.worker.as_deref().unwrap_or("a worker")),
            JobState::Done => "it is done".to_owned(),
            JobState::Dead => {
                format!("it was given up: {error}; `fermata jobs retry {}` tries it again", job.id)
            }
            JobState::Retry => {
                let (failed, again) = (job.attempt.saturating_sub(1), at(job.next_at));
                if failed == 0 {
                    // Put off by an operator, or by what only one can mend.
                    format!("it failed ({error}); it is tried again {again}")
                } else {
                    format!(
                        "attempt {failed} of {} failed ({error}); it is tried again {again}",
                        job.attempts_max
                    )
                }
            }
            JobState::Waiting if !job.waits_for.is_empty() => {
                format!("it is read per key of {}, which must end first", job.waits_for.join(" and "))
            }
            JobState::Waiting if job.entity == SEAL && job.next_at.is_none() => {
                "jobs of its run that had not ended go on first".to_owned()
            }
            JobState::Waiting => {
                format!(
                    "{}; it goes on {}",
                    job.why.as_deref().unwrap_or("it waits for the quota"),
                    at(job.next_at)
                )
            }
            JobState::Parked => self.why_parked(tenant).await?,
            JobState::Queued => self.why_queued(tenant).await?,
        })
    }

    async fn why_parked(&self, tenant: &Tenant) -> Result<String, LinkError> {
        let held = self.tenant(tenant).await?.held.unwrap_or_default();
        let reasons: Vec<_> = held
            .split(' ')
            .map(|reason| match reason {
                "token" => {
                    format!(
                        "Tempo refused the token of {tenant}; store a new one: `fermata token set {tenant}`"
                    )
                }
                "paused" => format!("{tenant} is paused; `fermata tenant resume {tenant}` lets it go on"),
                _ => format!("{tenant} is held back; `fermata queue resume --tenant {tenant}` lets it go on"),
            })
            .collect();
        Ok(reasons.join("; besides, "))
    }

    async fn why_queued(&self, tenant: &Tenant) -> Result<String, LinkError> {
        let queue = self.view().await?;
        let place = self.tenant(tenant).await?;
        if let Some(who) = queue.paused {
            return Ok(format!("the queue was paused by {who}; `fermata queue resume` lets it go on"));
        }
        let workers: Vec<_> = queue.workers.iter().filter(|worker| !worker.stopping).collect();
        if workers.is_empty() {
            return Ok("no worker is running; `fermata worker` starts one".to_owned());
        }
        if let Some(first) = workers.iter().map(|worker| &worker.name).next()
            && workers.iter().all(|worker| worker.drained.is_some())
        {
            return Ok(format!(
                "every worker was told to take no new jobs; `fermata queue undrain {first}` lets one go on"
            ));
        }
        if let Some(until) = place.cooling {
            return Ok(format!(
                "Tempo asked to wait with requests of {tenant}; its turn comes {}",
                at(Some(until))
            ));
        }
        if place.cap.is_some_and(|cap| place.busy >= cap) {
            let busy = place.busy;
            return Ok(format!("as many jobs of {tenant} are running as its quota feeds: {busy}"));
        }
        let places: u32 = workers.iter().map(|worker| worker.places).sum();
        let busy: u32 = workers.iter().map(|worker| worker.busy).sum();
        let (ready, tenants) = (place.ready, queue.tenants_ready);
        Ok(format!(
            "it waits for a place: {busy} of {places} are taken, tenants that take turns: {tenants}, jobs of {tenant} in line: {ready}"
        ))
    }

    /// Writes a line into the list of what operators did; before it is done.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<(), LinkError> {
        let line = serde_json::to_string(entry).expect("an entry has only text keys");
        tracing::info!(
            who = entry.who,
            action = entry.action,
            target = entry.target,
            count = entry.count,
            "audit"
        );
        self.call("audit", &[&line]).await.map(drop)
    }

    /// What operators did, newest first.
    pub async fn audited(&self) -> Result<Vec<AuditEntry>, LinkError> {
        let lines: Vec<String> =
            self.link.ask(redis::cmd("LRANGE").arg(self.key("audit")).arg(0).arg(AUDIT_LINES - 1)).await?;
        Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Holds the whole queue back: what runs goes on to the end of its slice, nothing new is begun.
    pub async fn pause(&self, who: &str) -> Result<(), LinkError> {
        self.link.ask(redis::cmd("SET").arg(self.key("paused")).arg(who)).await
    }

    /// Lets the queue go on; `false` if it was not paused.
    pub async fn resume(&self) -> Result<bool, LinkError> {
        self.link.ask(redis::cmd("DEL").arg(self.key("paused"))).await
    }

    /// Takes a name for a while, if nobody has it: so of many schedulers one enqueues what is due.
    pub(crate) async fn take(&self, name: &str, who: &str, seconds: u64) -> Result<bool, LinkError> {
        let key = self.key(name);
        let taken: Option<String> =
            self.link.ask(redis::cmd("SET").arg(key).arg(who).arg("NX").arg("EX").arg(seconds)).await?;
        Ok(taken.is_some())
    }

    /// Keeps a name that was taken for longer.
    pub(crate) async fn keep(&self, name: &str, seconds: u64) -> Result<(), LinkError> {
        self.link.ask(redis::cmd("EXPIRE").arg(self.key(name)).arg(seconds)).await
    }

    /// Gives a name back.
    pub(crate) async fn give_back(&self, name: &str) -> Result<(), LinkError> {
        self.link.ask(redis::cmd("DEL").arg(self.key(name))).await
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.link.prefix())
    }

    /// All jobs of a state, or of all states, as far as they are wanted.
    async fn first(&self, state: Option<JobState>, most: usize) -> Result<(Vec<JobView>, u64), LinkError> {
        let counts = self.counts().await?;
        let states = JobState::ALL.into_iter().filter(|known| state.is_none_or(|state| state == *known));
        let (mut found, mut total) = (Vec::new(), 0);
        for state in states {
            total += counts[&state];
            let mut from = 0;
            while found.len() < most {
                let page = (most - found.len()).min(PAGE);
                let ids = self.ids_in(state, from, page).await?;
                from += ids.len();
                let last = ids.len() < page;
                found.extend(self.particulars(&ids).await?.into_iter().flatten());
                if last {
                    break;
                }
            }
        }
        Ok((found, total))
    }

    /// Goes through a state, or all states, for what the filter takes.
    async fn search(&self, filter: &Filter, most: usize) -> Result<(Vec<JobView>, u64), LinkError> {
        let (mut found, mut total) = (Vec::new(), 0);
        for state in
            JobState::ALL.into_iter().filter(|known| filter.state.is_none_or(|state| state == *known))
        {
            let mut from = 0;
            loop {
                let ids = self.ids_in(state, from, PAGE).await?;
                from += ids.len();
                for job in self.particulars(&ids).await?.into_iter().flatten().filter(|job| filter.takes(job))
                {
                    total += 1;
                    if found.len() < most {
                        found.push(job);
                    }
                }
                if ids.len() < PAGE {
                    break;
                }
            }
        }
        Ok((found, total))
    }

    pub(super) async fn ids_in(
        &self,
        state: JobState,
        from: usize,
        count: usize,
    ) -> Result<Vec<String>, LinkError> {
        let key = self.key(state.name());
        self.link.ask(redis::cmd("ZRANGE").arg(key).arg(from).arg(from + count - 1)).await
    }

    async fn ids_of(&self, tenant: &Tenant, run: Option<&RunId>) -> Result<Vec<String>, LinkError> {
        // What begins with this comes before what begins with the next character.
        let (prefix, end) = (format!("{tenant}/"), format!("({tenant}0"));
        let runs: Vec<String> = self
            .link
            .ask(redis::cmd("ZRANGEBYLEX").arg(self.key("runs")).arg(format!("[{prefix}")).arg(end))
            .await?;
        let mut ids = Vec::new();
        for name in runs {
            if run.is_none_or(|run| name.ends_with(run.as_str())) {
                ids.extend(self.ids_of_run(&name).await?);
            }
        }
        // Dead letters outlive their runs; those of another run the filter drops.
        ids.extend(self.dead_of(&prefix).await?);
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Dead letters whose names begin so: Redis looks through all of them, and says only these.
    async fn dead_of(&self, prefix: &str) -> Result<Vec<String>, LinkError> {
        let (mut ids, mut cursor) = (Vec::new(), "0".to_owned());
        loop {
            let mut ask = redis::cmd("ZSCAN");
            ask.arg(self.key("dead")).arg(&cursor).arg("MATCH").arg(format!("{prefix}*"));
            let (next, found): (String, Vec<(String, f64)>) =
                self.link.ask(ask.arg("COUNT").arg(SCANNED)).await?;
            ids.extend(found.into_iter().map(|(id, _)| id));
            if next == "0" {
                return Ok(ids);
            }
            cursor = next;
        }
    }

    async fn ids_of_run(&self, run: &str) -> Result<Vec<String>, LinkError> {
        let names: Vec<String> =
            self.link.ask(redis::cmd("HKEYS").arg(self.key(&format!("run:{run}")))).await?;
        let names = names.into_iter().filter(|name| !name.starts_with(['#', '>']));
        Ok(names.map(|entity| format!("{run}/{entity}")).collect())
    }

    async fn particulars(&self, ids: &[String]) -> Result<Vec<Option<JobView>>, LinkError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        for id in ids {
            ask.cmd("HGETALL").arg(self.key(&format!("job:{id}")));
        }
        let all: Vec<HashMap<String, String>> = self.link.ask_all(&ask).await?;
        Ok(ids.iter().zip(all).map(|(id, fields)| job_view(id, fields)).collect())
    }
}

impl JobView {
    /// Why an operator cannot do this to the job as it is, if they cannot. The queue has the last word, in the same words.
    pub fn refusal(&self, action: Action) -> Option<String> {
        self.state.refusal(action, !self.waits_for.is_empty())
    }
}

impl JobState {
    /// The same of a job in this state, which may be waiting for its parents.
    pub(crate) fn refusal(self, action: Action, has_parents: bool) -> Option<String> {
        use JobState::{Dead, Done, Parked, Queued, Running, Waiting};
        let why = match (action, self) {
            (Action::Retry, Queued | Running) => return Some(format!("it is {} already", self.name())),
            (Action::Retry, Waiting) if has_parents => "it waits for its parents",
            (Action::Retry, Parked) => "its tenant is held back",
            (Action::Snooze(_), Dead | JobState::Retry) => return None,
            (Action::Snooze(_), state) => {
                return Some(format!("it is {}: only what failed is put off", state.name()));
            }
            (Action::Cancel, Done | Dead) => "it has ended",
            (Action::Discard, Running) => "it is running; cancel it first",
            (Action::Retry | Action::Discard, Done) => "it is done",
            _ => return None,
        };
        Some(why.to_owned())
    }
}

impl Filter {
    /// Whether every job is meant.
    pub fn is_empty(&self) -> bool {
        let Self { tenant, run, entity, state, error } = self;
        tenant.is_none() && run.is_none() && entity.is_none() && state.is_none() && error.is_none()
    }

    /// As it is said on the command line, for the audit list.
    pub fn words(&self) -> String {
        let Self { tenant, run, entity, state, error } = self;
        let mut words = vec!["--all".to_owned()];
        words.extend(tenant.iter().map(|tenant| format!("--tenant {tenant}")));
        words.extend(run.iter().map(|run| format!("--run {run}")));
        words.extend(entity.iter().map(|entity| format!("--entity {}", quoted(entity))));
        words.extend(state.iter().map(|state| format!("--state {}", state.name())));
        words.extend(error.iter().map(|error| format!("--error {}", quoted(error))));
        words.join(" ")
    }

    /// Whether a job is meant.
    pub fn takes(&self, job: &JobView) -> bool {
        let error = |wanted: &String| {
            let has = job.error.as_ref().or(job.why.as_ref());
            has.is_some_and(|error| error.to_lowercase().contains(&wanted.to_lowercase()))
        };
        self.tenant.as_ref().is_none_or(|tenant| job.tenant == *tenant)
            && self.run.as_ref().is_none_or(|run| job.run == *run)
            && self.entity.as_ref().is_none_or(|entity| job.entity == *entity)
            && self.state.is_none_or(|state| job.state == state)
            && self.error.as_ref().is_none_or(error)
    }
}

/// An argument as a shell takes it: whatever is in it, it is one word and nothing is run.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

fn job_view(id: &str, mut fields: HashMap<String, String>) -> Option<JobView> {
    let id: JobId = id.parse().ok()?;
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<f64>().ok());
    let attempts = number("attempts").unwrap_or(0.0);
    let (next_at, since) = (number("next").and_then(moment), number("since").and_then(moment));
    let state: JobState = fields.get("state")?.parse().ok()?;
    let needs = fields.remove("needs").unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful of attempts")]
    let attempts = attempts as u32;
    let lost = fields.get("lost").map_or(0, |fences| fences.split_whitespace().count());
    Some(JobView {
        tenant: id.tenant.clone(),
        run: id.run.clone(),
        entity: id.entity.clone(),
        state,
        attempt: (attempts + 1).min(ATTEMPTS_MAX),
        attempts_max: ATTEMPTS_MAX,
        error: fields.remove("error"),
        next_at,
        worker: fields.remove("worker"),
        since,
        // A job that was cancelled while it waited keeps them, for when it is tried again.
        waits_for: match state {
            JobState::Waiting => needs.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        },
        why: fields.remove("why"),
        lost: u32::try_from(lost).unwrap_or(u32::MAX),
        progress: fields.get("progress").and_then(|text| serde_json::from_str(text).ok()),
        id,
    })
}

pub(super) fn moment(ms: f64) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this age are far below 2^53")]
    Timestamp::from_millisecond(ms as i64).ok()
}

fn at(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| "soon".to_owned(), |moment| format!("at {}", moment.strftime("%H:%M:%SZ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_said_as_it_was_given() {
        let filter = Filter {
            tenant: Some("acme".parse().unwrap()),
            state: Some(JobState::Dead),
            error: Some("HTTP \"500\"".to_owned()),
            ..Filter::default()
        };
        assert_eq!(filter.words(), r#"--all --tenant acme --state dead --error 'HTTP "500"'"#);
        assert_eq!(Filter::default().words(), "--all");
        let evil =
            Filter { entity: Some("x;y".to_owned()), error: Some("'$(z)".to_owned()), ..Filter::default() };
        assert_eq!(evil.words(), r"--all --entity 'x;y' --error ''\''$(z)'");
        assert!(Filter::default().is_empty() && !filter.is_empty());
    }
}
