//! What the queue promises, with nothing but maps: who is busy, what is open, and whose turn may come is counted anew each time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fermata_fleet::JobState;
use fermata_fleet::queue::{Action, Claimed, Hold, RunJobs, Turn};

use crate::stage::{DAY_MS, Dump, LEASE};

const CAP: usize = 6;
const AWAY_MS: u64 = 15_000;
const GRACE_MS: u64 = 10_000;
const SILENT_MS: u64 = 60_000;
const POISON_LOST: u32 = 3;

#[derive(Clone, Debug, Default)]
struct Job {
    state: Option<JobState>,
    needs: Vec<String>,
    /// When a lease ends, or a pause; for ever if `None`.
    until: Option<u64>,
    fence: Option<String>,
    worker: String,
    attempts: u32,
    mark: u32,
    /// The fences that its leases ended with.
    lost: Vec<String>,
    lost_mark: Option<u32>,
    cancel: Option<String>,
    dropped: bool,
    error: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Tenant {
    held: BTreeSet<String>,
    cool: u64,
    cap: Option<usize>,
    line: VecDeque<String>,
}

#[derive(Clone, Debug, Default)]
struct Run {
    entities: BTreeMap<String, String>,
    children: BTreeMap<String, Vec<String>>,
    over: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) paused: bool,
    pub(super) claimed_last: bool,
    jobs: BTreeMap<String, Job>,
    tenants: BTreeMap<String, Tenant>,
    runs: BTreeMap<String, Run>,
    /// The last claim of each worker: its token, and the job that it brought.
    claims: BTreeMap<String, (String, String)>,
    beats: BTreeMap<String, u64>,
    tended: Option<u64>,
    grace: u64,
}

fn split(id: &str) -> (String, String, String) {
    let (run, entity) = id.rsplit_once('/').unwrap();
    (run.split('/').next().unwrap().to_owned(), run.to_owned(), entity.to_owned())
}

impl Job {
    fn lost(&self) -> u32 {
        u32::try_from(self.lost.len()).unwrap()
    }
}

impl Model {
    pub(super) fn new(now: u64) -> Self {
        Self { now, ..Self::default() }
    }

    /// Whether each job is in Redis as it is here.
    pub(super) fn compare(&self, dump: &Dump) -> Result<(), String> {
        let real: Vec<&str> = dump.keys().into_iter().filter_map(|key| key.strip_prefix("job:")).collect();
        let known: Vec<&str> = self.jobs.keys().map(String::as_str).collect();
        super::same("jobs", real, known)?;
        for (id, job) in &self.jobs {
            let (tenant, ..) = split(id);
            let field = |name| dump.field(&format!("job:{id}"), name);
            super::same(id, field("state"), job.state.map(JobState::name))?;
            super::same(id, field("error"), job.error.as_deref())?;
            super::same(id, field("lost").unwrap_or_default(), &job.lost.join(" "))?;
            if let (Some(state), Some(until)) = (job.state, job.until) {
                #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
                let until = until as f64;
                super::same(id, dump.sets[state.name()][id], until)?;
            }
            let line = dump.lists.get(&format!("ready:{tenant}")).map_or(&[][..], Vec::as_slice);
            super::same("line", line, &Vec::from_iter(self.tenants[&tenant].line.clone()))?;
        }
        Ok(())
    }

    /// What is known of a tenant goes with its last run.
    pub(super) fn tidy(&mut self) {
        for (name, tenant) in &mut self.tenants {
            let prefix = format!("{name}/");
            let busy =
                |(id, job): (&String, &Job)| id.starts_with(&prefix) && job.state == Some(JobState::Running);
            if tenant.held.is_empty()
                && !self.runs.keys().any(|run| run.starts_with(&prefix))
                && !self.jobs.iter().any(busy)
            {
                tenant.cap = None;
            }
        }
    }

    /// Whether nothing more will happen by itself.
    pub(super) fn at_rest(&self) -> bool {
        use JobState::{Dead, Done};
        self.jobs.values().all(|job| matches!(job.state, Some(Dead | Done)))
    }

    pub(super) fn push(&mut self, wanted: &RunJobs) -> (u64, u64) {
        let run = format!("{}/{}", wanted.tenant, wanted.run);
        self.tenant(wanted.tenant.as_str()).cap = Some(wanted.cap as usize);
        self.runs.entry(run.clone()).or_default();
        let mut new = Vec::new();
        for (entity, needs) in &wanted.jobs {
            if self.run(&run).entities.contains_key(entity) {
                continue;
            }
            let id = format!("{run}/{entity}");
            match self.jobs.get_mut(&id) {
                Some(job) if job.state == Some(JobState::Dead) => {
                    self.run(&run).entities.insert(entity.clone(), "dead".to_owned());
                    continue;
                }
                Some(job) => (job.cancel, job.dropped) = (None, false),
                None => new.push((id.clone(), entity, needs)),
            }
            self.open(&id);
        }
        for (id, entity, needs) in &new {
            for parent in *needs {
                self.run(&run).children.entry(parent.clone()).or_default().push((*entity).clone());
            }
            self.jobs.insert(id.clone(), Job { needs: (*needs).clone(), ..Job::default() });
            self.start(id);
        }
        let (mut added, open) = (new.len() as u64, self.open_count(&run));
        if open == 0 && !self.runs[&run].entities.contains_key("seal") {
            self.seal(&run);
            added += 1;
        }
        (added, open)
    }

    /// What a claim brought.
    pub(super) fn claimed(&mut self, worker: &str, token: &str, claimed: &Claimed) -> Result<(), String> {
        let id = claimed.id.to_string();
        if !self.asked_before(worker, token) {
            self.tend();
            let tenant = claimed.id.tenant.as_str();
            if self.paused || !self.may_run(tenant) {
                return Err(format!("{id} was claimed; paused {}, {:?}", self.paused, self.tenants[tenant]));
            }
            let next = self.tenant(tenant).line.pop_front();
            super::same("next in line", Some(&id), next.as_ref())?;
            self.claims.insert(worker.to_owned(), (token.to_owned(), id.clone()));
            self.beats.insert(worker.to_owned(), self.now);
            let job = self.jobs.get_mut(&id).unwrap();
            job.state = Some(JobState::Running);
            (job.worker, job.fence) = (worker.to_owned(), Some(claimed.fence.clone()));
        }
        let until = self.now + ms(LEASE);
        let job = self.jobs.get_mut(&id).ok_or("claimed what is not there")?;
        job.until = Some(until);
        let known = (job.fence.as_deref(), job.attempts, job.mark, job.lost());
        super::same("claimed", (Some(&*claimed.fence), claimed.attempts, claimed.mark, claimed.lost), known)
    }

    pub(super) fn claimed_nothing(&mut self, worker: &str, token: &str) -> Result<(), String> {
        if self.asked_before(worker, token) {
            return Err("a claim that was repeated brought nothing".to_owned());
        }
        self.tend();
        let names: Vec<_> = self.tenants.keys().cloned().collect();
        match names.into_iter().find(|tenant| self.may_run(tenant)) {
            Some(tenant) if !self.paused => {
                Err(format!("nothing was claimed, and {tenant} may run: {:?}", self.tenants[&tenant]))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn renew(&mut self, worker: &str, held: &[Claimed]) -> Vec<Hold> {
        self.beats.insert(worker.to_owned(), self.now);
        let until = self.now + ms(LEASE);
        let holds = held.iter().map(|claimed| {
            let Some(job) = self.owned(claimed) else {
                self.excuse(claimed);
                return Hold::Lost;
            };
            job.until = Some(until);
            if job.cancel.is_some() { Hold::Cancelled } else { Hold::Kept }
        });
        let holds = holds.collect();
        self.tend();
        holds
    }

    pub(super) fn opened(&mut self, claimed: &Claimed, events: u32) {
        let Some(job) = self.owned(claimed) else { return };
        match job.lost_mark {
            None => job.lost_mark = Some(events),
            Some(mark) if events > mark => (job.lost, job.lost_mark) = (Vec::new(), Some(events)),
            Some(_) => {}
        }
    }

    pub(super) fn settle(&mut self, claimed: &Claimed, turn: &Turn) -> bool {
        let id = claimed.id.to_string();
        let Some(job) = self.owned(claimed) else {
            self.excuse(claimed);
            return self.jobs.get(&id).is_some_and(|job| job.fence.as_ref() == Some(&claimed.fence));
        };
        (job.lost, job.lost_mark) = (Vec::new(), None);
        self.conclude(&id, turn);
        true
    }

    pub(super) fn reopen(&mut self, run: &str, entities: &[String]) {
        for entity in entities {
            let Some(known) = self.runs.get(run) else { return };
            if known.entities.get(entity).is_none_or(|how| !how.is_empty()) {
                let id = format!("{run}/{entity}");
                self.jobs.entry(id.clone()).or_default();
                self.open(&id);
                self.absolve(&id);
                self.ready(&id, false);
            }
        }
    }

    pub(super) fn hold(&mut self, tenant: &str, why: &str) -> u64 {
        self.tenant(tenant).held.insert(why.to_owned());
        self.show_line(tenant, JobState::Parked)
    }

    pub(super) fn free(&mut self, tenant: &str, why: Option<&str>) -> bool {
        let held = &mut self.tenant(tenant).held;
        let was = !held.is_empty();
        match why {
            Some(why) => drop(held.remove(why)),
            None => held.clear(),
        }
        let free = was && held.is_empty();
        if free {
            self.show_line(tenant, JobState::Queued);
        }
        free
    }

    pub(super) fn act(&mut self, action: Action, id: &str, who: &str) -> bool {
        use JobState::{Dead, Done, Parked, Queued, Retry, Running, Waiting};
        let Some(job) = self.jobs.get_mut(id) else { return false };
        let state = job.state.unwrap();
        let refused = match action {
            Action::Retry if state == Waiting => !job.needs.is_empty(),
            Action::Retry => matches!(state, Queued | Running | Done | Parked),
            Action::Cancel => matches!(state, Done | Dead),
            Action::Discard => matches!(state, Done | Running),
            Action::Snooze(_) => !matches!(state, Dead | Retry),
        };
        if refused {
            return false;
        }
        match (action, state) {
            (Action::Retry, _) => {
                self.open(id);
                self.absolve(id);
                self.start(id);
            }
            (Action::Snooze(until), _) => {
                let until = u64::try_from(until.as_millisecond()).unwrap().min(self.now + 7 * DAY_MS);
                self.open(id);
                self.absolve(id);
                self.put(id, Retry, Some(until));
            }
            (Action::Cancel, Running) => job.cancel = Some(who.to_owned()),
            (Action::Cancel, _) => {
                self.unline(id);
                self.bury(id, &format!("cancelled by {who}"));
            }
            (Action::Discard, _) => {
                self.erase(id);
                self.ended(id, "gone");
            }
        }
        true
    }

    pub(super) fn drop_run(&mut self, run: &str, who: &str) -> u64 {
        let mut running = 0;
        for entity in self.runs.remove(run).unwrap_or_default().entities.into_keys() {
            let id = format!("{run}/{entity}");
            match self.jobs.get_mut(&id) {
                Some(job) if job.state == Some(JobState::Running) => {
                    (job.cancel, job.dropped) = (Some(who.to_owned()), true);
                    running += 1;
                }
                _ => self.erase(&id),
            }
        }
        running
    }

    pub(super) fn cool(&mut self, tenant: &str, ms: u64) -> u64 {
        let until = self.now + ms;
        let cool = &mut self.tenant(tenant).cool;
        *cool = until.max(*cool);
        *cool
    }

    pub(super) fn bye(&mut self, worker: &str) {
        if let Some((_, id)) = self.claims.get(worker).cloned()
            && self.runs_on(&id, worker)
        {
            self.conclude(&id, &Turn::Back);
        }
        self.part(worker);
    }

    pub(super) fn tend(&mut self) {
        if self.tended.is_some_and(|last| self.now - last < 100) {
            return;
        }
        if self.tended.is_some_and(|last| self.now - last > AWAY_MS && last >= self.grace) {
            self.grace = self.now + GRACE_MS;
        }
        self.tended = Some(self.now);
        if self.now >= self.grace {
            for id in self.due(JobState::Running) {
                self.recover(&id);
            }
        }
        for id in self.due(JobState::Retry) {
            self.start(&id);
        }
        for id in self.due(JobState::Waiting) {
            self.ready(&id, false);
        }
        let forgotten = |run: &Run| run.over.is_some_and(|over| over + DAY_MS <= self.now);
        let mut old: Vec<_> = self.runs.iter().filter(|(_, run)| forgotten(run)).collect();
        old.sort_by_key(|(name, run)| (run.over, (*name).clone()));
        for name in old.into_iter().take(5).map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            for entity in self.runs.remove(&name).unwrap().entities.keys() {
                let id = format!("{name}/{entity}");
                if self.jobs.get(&id).is_some_and(|job| job.state == Some(JobState::Done)) {
                    self.jobs.remove(&id);
                }
            }
        }
        let silent = self.beats.iter().filter(|(_, beat)| **beat + SILENT_MS <= self.now);
        for worker in silent.map(|(worker, _)| worker.clone()).collect::<Vec<_>>() {
            self.part(&worker);
        }
    }

    fn part(&mut self, worker: &str) {
        self.beats.remove(worker);
        self.claims.remove(worker);
    }

    fn due(&self, state: JobState) -> Vec<String> {
        let due = |job: &Job| job.state == Some(state) && job.until.is_some_and(|until| until <= self.now);
        let mut found: Vec<_> = self.jobs.iter().filter(|(_, job)| due(job)).collect();
        found.sort_by_key(|(id, job)| (job.until, (*id).clone()));
        found.into_iter().map(|(id, _)| id.clone()).collect()
    }

    fn asked_before(&self, worker: &str, token: &str) -> bool {
        self.claims.get(worker).is_some_and(|(last, id)| last == token && self.runs_on(id, worker))
    }

    fn runs_on(&self, id: &str, worker: &str) -> bool {
        self.jobs.get(id).is_some_and(|job| job.state == Some(JobState::Running) && job.worker == worker)
    }

    fn owned(&mut self, claimed: &Claimed) -> Option<&mut Job> {
        let job = self.jobs.get_mut(&claimed.id.to_string())?;
        (job.state == Some(JobState::Running) && job.fence.as_ref() == Some(&claimed.fence)).then_some(job)
    }

    fn may_run(&mut self, tenant: &str) -> bool {
        let prefix = format!("{tenant}/");
        let running =
            |(id, job): &(&String, &Job)| id.starts_with(&prefix) && job.state == Some(JobState::Running);
        let (busy, now) = (self.jobs.iter().filter(running).count(), self.now);
        let of = self.tenant(tenant);
        !of.line.is_empty() && of.held.is_empty() && of.cool <= now && busy < of.cap.unwrap_or(CAP)
    }

    fn conclude(&mut self, id: &str, turn: &Turn) {
        let (_, run, _) = split(id);
        let now = self.now;
        let job = self.jobs.get_mut(id).unwrap();
        let cancel = job.cancel.take();
        if job.dropped {
            return self.erase(id);
        }
        match (turn, cancel) {
            (Turn::Done, _) => {
                job.error = None;
                self.absolve(id);
                self.put(id, JobState::Done, None);
                self.ended(id, "done");
            }
            (_, Some(who)) => self.bury(id, &format!("cancelled by {who}")),
            (Turn::Dead(why), _) => self.bury(id, why),
            (Turn::Again, _) => self.ready(id, false),
            (Turn::Back, _) => self.ready(id, true),
            (Turn::Waiting { pause, .. }, _) => self.put(id, JobState::Waiting, Some(now + ms(*pause))),
            (Turn::Retry { pause, error, attempts, mark }, _) => {
                (job.error, job.attempts, job.mark) = (Some(error.clone()), *attempts, *mark);
                self.put(id, JobState::Retry, Some(now + ms(*pause)));
            }
            (Turn::Reopen(entities), _) => {
                self.put(id, JobState::Waiting, None);
                self.reopen(&run, entities);
                if self.open_count(&run) == 0 {
                    self.ready(id, false);
                }
            }
        }
    }

    fn recover(&mut self, id: &str) {
        let job = self.jobs.get_mut(id).unwrap();
        job.lost.extend(job.fence.take());
        let (lost, worker) = (job.lost(), job.worker.clone());
        if lost >= POISON_LOST {
            let why = format!(
                "it took down {lost} workers, the last of them {worker}: what it reads may be more than a worker has memory for"
            );
            self.conclude(id, &Turn::Dead(why));
        } else {
            job.error = Some(format!("worker {worker} was lost"));
            self.conclude(id, &Turn::Back);
        }
    }

    /// Whoever asks for a job that it lost was not taken down by it.
    fn excuse(&mut self, claimed: &Claimed) {
        if let Some(job) = self.jobs.get_mut(&claimed.id.to_string()) {
            job.lost.retain(|fence| *fence != claimed.fence);
        }
    }

    fn put(&mut self, id: &str, state: JobState, until: Option<u64>) {
        let job = self.jobs.get_mut(id).unwrap();
        (job.state, job.until) = (Some(state), until);
    }

    fn ready(&mut self, id: &str, first: bool) {
        let (tenant, ..) = split(id);
        let tenant = self.tenant(&tenant);
        if first {
            tenant.line.push_front(id.to_owned());
        } else {
            tenant.line.push_back(id.to_owned());
        }
        let state = if tenant.held.is_empty() { JobState::Queued } else { JobState::Parked };
        self.jobs.get_mut(id).unwrap().needs.clear();
        self.put(id, state, None);
    }

    fn start(&mut self, id: &str) {
        let (_, run, _) = split(id);
        let entities = self.run(&run).entities.clone();
        let job = self.jobs.get_mut(id).unwrap();
        job.needs.retain(|parent| entities.get(parent).is_some_and(String::is_empty));
        if job.needs.is_empty() {
            self.ready(id, false);
        } else {
            self.put(id, JobState::Waiting, None);
        }
    }

    fn open(&mut self, id: &str) {
        let (_, run, entity) = split(id);
        let run = self.run(&run);
        run.entities.insert(entity, String::new());
        run.over = None;
    }

    fn open_count(&self, run: &str) -> u64 {
        let open = |(entity, how): &(&String, &String)| *entity != "seal" && how.is_empty();
        self.runs.get(run).map_or(0, |run| run.entities.iter().filter(open).count() as u64)
    }

    fn absolve(&mut self, id: &str) {
        let job = self.jobs.get_mut(id).unwrap();
        (job.attempts, job.mark, job.lost, job.lost_mark) = (0, 0, Vec::new(), None);
    }

    fn seal(&mut self, run: &str) {
        use JobState::{Parked, Queued, Running};
        let id = format!("{run}/seal");
        self.open(&id);
        let job = self.jobs.entry(id.clone()).or_default();
        if !matches!(job.state, Some(Running | Queued | Parked)) {
            self.absolve(&id);
            self.ready(&id, false);
        }
    }

    fn ended(&mut self, id: &str, how: &str) {
        let (_, run, entity) = split(id);
        let (open, now) = (self.open_count(&run), self.now);
        let Some(known) = self.runs.get_mut(&run).filter(|run| run.entities.contains_key(&entity)) else {
            return;
        };
        let was = known.entities.insert(entity.clone(), how.to_owned()).unwrap();
        if entity == "seal" {
            known.over = (how != "dead" && open == 0).then_some(now);
            return;
        }
        if !was.is_empty() {
            return;
        }
        for child in known.children.get(&entity).cloned().unwrap_or_default() {
            let child = format!("{run}/{child}");
            let waits = |job: &Job| job.state == Some(JobState::Waiting) && !job.needs.is_empty();
            if self.jobs.get(&child).is_some_and(waits) {
                self.start(&child);
            }
        }
        if self.open_count(&run) == 0 {
            self.seal(&run);
        }
    }

    fn bury(&mut self, id: &str, why: &str) {
        self.put(id, JobState::Dead, None);
        self.jobs.get_mut(id).unwrap().error = Some(why.to_owned());
        self.ended(id, "dead");
    }

    fn unline(&mut self, id: &str) {
        let (tenant, ..) = split(id);
        self.tenant(&tenant).line.retain(|other| other != id);
    }

    fn erase(&mut self, id: &str) {
        self.unline(id);
        self.jobs.remove(id);
    }

    fn show_line(&mut self, tenant: &str, state: JobState) -> u64 {
        let line = self.tenant(tenant).line.clone();
        for id in &line {
            self.put(id, state, None);
        }
        line.len() as u64
    }

    fn tenant(&mut self, name: &str) -> &mut Tenant {
        self.tenants.entry(name.to_owned()).or_default()
    }

    fn run(&mut self, name: &str) -> &mut Run {
        self.runs.entry(name.to_owned()).or_default()
    }
}

fn ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}
