//! One entity, page by page, from its checkpoint.
//!
//! A job asks for a page, digests it, stores the chunks that close, and appends one event; then it
//! has nothing to lose. What an error means is the doors' to say: this module only acts on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use fermata_core::catalogue::{Delta, Entity, Read, Way};
use fermata_core::checkpoint::{Cursor, Next, Note, Outcome, Place, Tally};
use fermata_core::index::Index;
use fermata_core::plan::{self, Plan};
use fermata_core::seen::mark;
use fermata_tempo::client::Cost;
use fermata_tempo::error::PagingError;
use fermata_tempo::page::Page;
use fermata_tempo::paging::{self, Remember, Shown};
use fermata_tempo::{Client, TempoError};
use fermata_vault::{Known, Log, Step, VaultError};
use jiff::{Timestamp, civil::Date};
use roaring::RoaringTreemap;
use tokio_util::sync::CancellationToken;

mod heed;
mod totals;

use crate::clock::Clock;
use crate::digest::{self, Against, Digest, Piece};
use crate::items::{Found, Item};

/// Requests for the first page of a log in which Tempo's clock may still correct where it begins.
const CLOCK_REQUESTS_MAX: u64 = 3;

/// The work on one entity of a run.
pub struct Job {
    /// Which entity.
    pub entity: &'static Entity,
    /// What was planned.
    pub plan: Arc<Plan>,
    /// The door to Tempo.
    pub client: Client,
    /// What was done so far.
    pub log: Log,
    /// The snapshot that it is compared with and, as a delta, builds on.
    pub base: Option<Arc<Base>>,
    /// The keys that the entity's parents yielded and that are to be asked by.
    pub found: Arc<Found>,
    /// Ids of the base whose keys the parents no longer yield.
    pub gone: RoaringTreemap,
    /// Chunks that the store has already.
    pub known: Arc<Known>,
    /// The time.
    pub clock: Clock,
    /// Rows to ask for, where fewer than the catalogue says.
    pub limit: Option<u32>,
    /// What was spent since the last event.
    pub spent: Cost,
}

/// What an earlier snapshot has of an entity.
#[derive(Debug, Default)]
pub struct Base {
    /// Which records, in which form.
    pub index: Index,
    /// How many.
    pub records: u64,
}

/// Why a job stopped before its end. Its log tells where to go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Tempo did not answer, and may later.
    #[error(transparent)]
    Tempo(#[from] TempoError),
    /// The store did not take what was read.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It was told to stop.
    #[error("stopped")]
    Stopped,
}

impl Job {
    /// Works until the entity's end. `told` hears the state after each page, and may [stop](JobError::Stopped) it there,
    /// where no request is in vain; a `stop` is heeded at once.
    pub async fn run(
        &mut self,
        stop: &CancellationToken,
        mut told: impl FnMut(&Self) -> ControlFlow<()>,
    ) -> Result<Outcome, JobError> {
        let mut flow = ControlFlow::Continue(());
        loop {
            if let Some(outcome) = &self.log.state().outcome {
                return Ok(outcome.clone());
            }
            if flow.is_break() {
                return Err(JobError::Stopped);
            }
            self.page(stop).await?;
            flow = told(self);
        }
    }

    async fn page(&mut self, stop: &CancellationToken) -> Result<(), JobError> {
        let Some((cursor, item)) = self.locate(self.log.state().cursor.clone()) else {
            let tally = self.tally();
            let outcome = self.outcome(&tally, self.log.state(), &[]);
            return Ok(self.end(tally, Vec::new(), outcome).await?);
        };
        let since = self.since(&cursor);
        let read = self.read(&cursor);
        let mut item = item;
        item.values.windows = self.windows();
        let limit = u64::from(self.rows(read));
        let request = paging::request(read, &cursor.place, &item.values, limit, since.as_ref());
        let mut cost = Cost::default();
        // A stop is heeded while we wait for Tempo; a page that has come is logged first.
        let answer = tokio::select! {
            answer = self.client.page(&request, read.records, &mut cost) => answer,
            () = stop.cancelled() => return Err(JobError::Stopped),
        };
        self.spent = add(self.spent, cost);
        let kept = match answer {
            // The first answer tells Tempo's time; a log is asked for by that, and ours was far off.
            Ok(_) if self.is_off(&cursor, &item) => Ok(()),
            Ok((page, date)) => self.keep(&cursor, &item, &page, date, &request.path()).await,
            Err(error) => Err(error.into()),
        };
        match kept {
            Err(JobError::Tempo(error)) => self.heed(cursor, &item, error).await,
            kept => kept,
        }
    }

    /// Whether a log was asked for from another moment on than it is by the clock of the answer.
    pub(super) fn is_off(&self, cursor: &Cursor, item: &Item) -> bool {
        // A Tempo whose own clocks disagree must not be asked for ever.
        let again = self.spent.requests <= CLOCK_REQUESTS_MAX;
        self.entity.is_log() && cursor.place == Place::Start && again && self.windows() != item.values.windows
    }

    /// The windows of a request that is made now.
    fn windows(&self) -> Vec<(&'static str, String)> {
        let now = self.client.told().unwrap_or_else(|| self.clock.now());
        windows(&self.plan, self.entity, self.builds(), now)
    }

    /// The next item to ask for from a cursor on, past requests whose keys are used up.
    fn locate(&self, mut cursor: Cursor) -> Option<(Cursor, Item)> {
        loop {
            let read = self.entity.reads(self.way()).nth(cursor.read)?;
            if let Some(item) = self.found.item_after(&read.over, cursor.after.as_deref()) {
                return Some((cursor, item));
            }
            cursor = Cursor { read: cursor.read + 1, ..Cursor::default() };
        }
    }

    /// Keeps a page: its records in their chunks, and an event that says so.
    async fn keep(
        &mut self,
        cursor: &Cursor,
        item: &Item,
        page: &Page,
        date: Option<Timestamp>,
        path: &str,
    ) -> Result<(), JobError> {
        let mut tally = self.tally();
        if tally.began.is_none() {
            (tally.began, tally.dated) = (date.or(Some(self.clock.now())), date.is_some());
        }
        let parent = item.values.parent();
        let tells_deletions = self.entity.tells_deletions(self.way(), cursor.read);
        let against = self.against();
        let mut digest = if tells_deletions {
            digest::deletions(self.entity, page, &against)
        } else {
            digest::digest(self.entity, parent.as_deref(), page, &against)
        };
        let step = self.advance(cursor, &digest, page, &tally, path)?;
        if !tells_deletions {
            self.check_new(self.read(cursor), item, &step, &mut digest, path)?;
        }
        let mut record =
            Step { at: self.clock.now(), ..self.step(Next::Page(cursor.clone()), tally, Vec::new()) };
        if step.keep {
            self.count(&mut record.tally, &digest);
            (record.marks, record.fresh) = remembered(step.remember, &digest);
            let several = matches!(step.next, Some(Place::Offset { .. }));
            if !tells_deletions {
                record.notes = self.oddities(&digest, several, step.unsettled);
            }
            self.add(&digest.pieces).await?;
            (record.ids, record.gone, record.keys) = (digest.ids, digest.gone, digest.keys);
        }
        let next = if let Some(place) = step.next {
            Cursor { place, ..cursor.clone() }
        } else {
            record.tally.answered += u64::from(!tells_deletions);
            after(cursor, item)
        };
        record.next = match self.locate(next) {
            Some((cursor, _)) => Next::Page(cursor),
            None => Next::End(self.outcome(&record.tally, self.log.state(), &record.notes)),
        };
        Ok(self.append(record).await?)
    }

    /// Adds lines to the chunks of their layers, and stores those that end.
    async fn add(&mut self, pieces: &[Piece]) -> Result<(), VaultError> {
        for piece in pieces {
            self.log.chunk(piece.layer).add(&piece.lines);
            if piece.ends {
                self.log.close_chunk(piece.layer, &self.known).await?;
            }
        }
        Ok(())
    }

    fn against(&self) -> Against<'_> {
        Against {
            seen: self.log.seen(),
            base: self.base.as_ref().map(|base| &base.index),
            builds: self.builds(),
            since: self.job().and_then(|job| job.since),
            open: self.log.open_bytes(),
        }
    }

    fn advance(
        &self,
        cursor: &Cursor,
        digest: &Digest,
        page: &Page,
        tally: &Tally,
        path: &str,
    ) -> Result<paging::Step, JobError> {
        let read = self.read(cursor);
        let changed = digest.changed_at();
        let state = self.log.state();
        let shown = Shown {
            rows: digest.rows.len() as u64,
            news: digest.new + digest.changed,
            first_known: digest.first_known,
            first_met: digest.first_met,
            changed: changed.as_deref(),
            first_day: digest.rows.first().and_then(|row| row.day),
            meta: &page.meta,
            path,
            limit: u64::from(self.rows(read)).max(1),
            since: self.since(cursor),
            began: tally.began.unwrap_or_else(|| self.clock.now()),
            known_rows: state.tally.met,
            reread_rows: state.tally.changes + state.tally.repeats,
        };
        let identified = !self.entity.identity.is_empty();
        paging::advance(read, &cursor.place, self.today(), identified, &shown).map_err(|what| {
            TempoError::Paging { request: format!("{} {}", read.method, read.path), what }.into()
        })
    }

    /// Where nothing identifies a record, a page that comes twice for one key shows a loop.
    fn check_new(
        &self,
        read: &Read,
        item: &Item,
        step: &paging::Step,
        digest: &mut Digest,
        path: &str,
    ) -> Result<(), JobError> {
        if !self.entity.identity.is_empty() || step.next.is_none() || digest.rows.is_empty() {
            return Ok(());
        }
        let marks = digest.rows.iter().flat_map(|row| row.mark.to_le_bytes());
        let text: Vec<u8> = item.name.bytes().chain(path.bytes()).chain(marks).collect();
        if !digest.ids.insert(mark(&text)) || self.log.seen().ids().contains(mark(&text)) {
            let request = format!("{} {}", read.method, read.path);
            return Err(TempoError::Paging { request, what: PagingError::Stuck }.into());
        }
        Ok(())
    }

    async fn end(&mut self, tally: Tally, notes: Vec<Note>, outcome: Outcome) -> Result<(), VaultError> {
        let step = self.step(Next::End(outcome), tally, notes);
        self.append(step).await
    }

    /// Appends an event; one that ends the job says last what only then is known, and closes the chunks.
    async fn append(&mut self, mut step: Step) -> Result<(), VaultError> {
        if let Next::End(outcome) = &step.next {
            let complete = *outcome == Outcome::Complete;
            self.conclude(&mut step, complete).await?;
            self.log.close_chunks(&self.known).await?;
        }
        self.log.append(step).await?;
        self.spent = Cost::default();
        Ok(())
    }

    fn step(&self, next: Next, tally: Tally, notes: Vec<Note>) -> Step {
        Step { notes, ..Step::new(self.clock.now(), self.way(), next, tally) }
    }

    fn oddities(&self, digest: &Digest, several: bool, unsettled: bool) -> Vec<Note> {
        let mut notes = Vec::new();
        let nameless = digest.rows.iter().filter(|row| row.id.is_none()).count();
        if !self.entity.identity.is_empty() && nameless > 0 {
            notes.push(Note::Odd(format!("{nameless} records without {}", self.entity.identity.join(", "))));
        }
        if several && self.entity.identity.is_empty() {
            let what =
                "it took several pages and nothing identifies its records, so one that moved may be missing";
            notes.push(Note::Odd(what.to_owned()));
        }
        if unsettled {
            notes.push(Note::Odd(
                "it kept changing while it was read; what changed last may be missing".to_owned(),
            ));
        }
        notes
    }

    /// In which way the entity is read now.
    pub fn way(&self) -> Way {
        match self.log.state().events {
            0 => self.job().map(|job| job.way(self.entity)).unwrap_or_default(),
            _ => self.log.state().way,
        }
    }

    /// Whether it adds to its base, and does not stand for itself.
    fn builds(&self) -> bool {
        self.base.is_some() && builds(self.entity, self.way())
    }

    fn job(&self) -> Option<&plan::Job> {
        self.plan.job(self.entity.name)
    }

    /// From when on changes are asked for.
    fn since(&self, cursor: &Cursor) -> Option<Timestamp> {
        let feed = matches!(self.entity.delta, Some(Delta::Feed(_))) && self.way() == Way::Delta;
        let since = self.job().and_then(|job| job.since);
        since.filter(|_| feed && !self.entity.tells_deletions(self.way(), cursor.read))
    }

    fn read(&self, cursor: &Cursor) -> &'static Read {
        self.entity.reads(self.way()).nth(cursor.read).expect("a cursor is made by looking for its request")
    }

    fn rows(&self, read: &Read) -> u32 {
        self.limit.map_or(read.limit, |limit| limit.min(read.limit))
    }

    fn today(&self) -> Date {
        plan::today(&self.plan)
    }
}

/// Whether a job adds to its base, if it has one. Of a log all that was ever read is kept, however it is read.
pub(crate) fn builds(entity: &Entity, way: Way) -> bool {
    way == Way::Delta || entity.is_log()
}

/// The values of the windows that requests name.
pub(crate) fn windows(
    plan: &Plan,
    entity: &Entity,
    builds: bool,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let Some(job) = plan.job(entity.name) else { return Vec::new() };
    let window = |name: &&'static str| Some((*name, plan::window(plan, job, builds, name, now)?));
    plan::WINDOWS.iter().filter_map(window).collect()
}

fn after(cursor: &Cursor, item: &Item) -> Cursor {
    Cursor { after: Some(item.name.clone()), place: Place::Start, ..cursor.clone() }
}

fn remembered(remember: Remember, digest: &Digest) -> (Vec<u64>, bool) {
    let marks: Vec<_> = digest.rows.iter().map(|row| row.mark).collect();
    match remember {
        Remember::All => (marks, false),
        Remember::Last(rows) => {
            let first = marks.len().saturating_sub(usize::try_from(rows).unwrap_or(usize::MAX));
            (marks[first..].to_vec(), true)
        }
    }
}

fn add(a: Cost, b: Cost) -> Cost {
    Cost {
        requests: a.requests + b.requests,
        throttled: a.throttled + b.throttled,
        retries: a.retries + b.retries,
    }
}
