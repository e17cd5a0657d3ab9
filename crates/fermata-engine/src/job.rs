//! One entity, page by page, from its checkpoint.
//!
//! A job asks for a page, digests it, stores the chunks that close, and appends one event; then it
//! has nothing to lose. What an error means is the doors' to say: this module only acts on it.

use std::ops::ControlFlow;
use std::sync::Arc;

use fermata_core::catalogue::{Delta, Entity, Key, Read, Way};
use fermata_core::checkpoint::{Cursor, Next, Note, Outcome, Place, State, Tally};
use fermata_core::index::Index;
use fermata_core::plan::{self, Plan};
use fermata_core::seen::mark;
use fermata_tempo::client::Cost;
use fermata_tempo::error::PagingError;
use fermata_tempo::page::Page;
use fermata_tempo::paging::{self, Remember, Shown};
use fermata_tempo::{Client, Disposition, TempoError};
use fermata_vault::{Known, Log, Step, VaultError};
use jiff::{Timestamp, civil::Date};
use roaring::RoaringTreemap;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::digest::{self, Against, Digest, Piece, widen};
use crate::items::{Found, Item};

/// Keys that may be refused before an entity is given up that has answered for none.
const REFUSED_FIRST_MAX: u64 = 3;
/// Keys that may run out of attempts before an entity is given up.
const EXHAUSTED_MAX: usize = 3;
/// How the reason begins where attempts ran out.
const EXHAUSTED: &str = "given up after ";
/// A key shorter than this says nothing about anybody, and may be a part of other words.
const TELLING_CHARS: usize = 8;

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

    /// Gives up what it was asking for, after so many attempts: one key of many, or all.
    pub async fn exhaust(&mut self, attempts: u32, error: &TempoError) -> Result<(), VaultError> {
        let why = format!("{EXHAUSTED}{attempts} attempts: {error}");
        // Counted in the log: the next attempt may be another process's.
        if self.heeds_feed() {
            return self.sweep(format!("what changed could not be had ({why})")).await;
        }
        let exhausted = |note: &&Note| matches!(note, Note::Refused(why) if why.starts_with(EXHAUSTED));
        let before = self.log.state().notes.iter().filter(exhausted).count();
        match self.locate(self.log.state().cursor.clone()) {
            Some((cursor, item)) if !item.name.is_empty() && before < EXHAUSTED_MAX => {
                let refusal = Refusal { why: scrubbed(&why, &item), hopeless: false };
                self.pass_over(&cursor, &item, self.tally(), refusal).await
            }
            _ => self.give_up(Outcome::Failed(why)).await,
        }
    }

    /// Ends the job.
    pub async fn give_up(&mut self, outcome: Outcome) -> Result<(), VaultError> {
        self.end(self.tally(), Vec::new(), outcome).await
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
        item.values.windows = windows(&self.plan, self.entity, self.clock.now());
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
            Ok((page, date)) => self.keep(&cursor, &item, &page, date, &request.path()).await,
            Err(error) => Err(error.into()),
        };
        match kept {
            Err(JobError::Tempo(error)) => self.heed(cursor, &item, error).await,
            kept => kept,
        }
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

    /// Acts on an error: in another way, with fewer rows, past a gap, to an end; or hands it on.
    async fn heed(&mut self, cursor: Cursor, item: &Item, error: TempoError) -> Result<(), JobError> {
        let tally = self.tally();
        let fresh = tally.answered == 0 && cursor.place == Place::Start;
        let other_way = self.way() != Way::Fallback && self.has_other_way();
        match error.disposition() {
            Disposition::Token | Disposition::Wait(_) | Disposition::Retry => Err(error.into()),
            Disposition::Gap | Disposition::OtherWay | Disposition::GiveUp if self.heeds_feed() => {
                Ok(self.sweep(error.to_string()).await?)
            }
            Disposition::Smaller if self.rows(self.read(&cursor)) > 1 => {
                self.limit = Some(self.rows(self.read(&cursor)) / 2);
                Ok(())
            }
            Disposition::Gap if fresh && other_way => Ok(self.read_other_way(tally, &error).await?),
            Disposition::OtherWay if other_way => Ok(self.read_other_way(tally, &error).await?),
            Disposition::Gap => Ok(self.pass_over(&cursor, item, tally, Self::refusal(&error, item)).await?),
            Disposition::Smaller | Disposition::OtherWay | Disposition::GiveUp if !item.name.is_empty() => {
                // One key that Tempo chokes on must not hide the keys after it.
                Ok(self.pass_over(&cursor, item, tally, Refusal::other(&error, item)).await?)
            }
            Disposition::Smaller | Disposition::OtherWay | Disposition::GiveUp => {
                Ok(self.end(tally, Vec::new(), Outcome::Failed(error.to_string())).await?)
            }
        }
    }

    /// Whether the entity's second way of reading can be gone: it may need keys that nobody gave.
    fn has_other_way(&self) -> bool {
        let first = self.entity.fallback.and_then(|second| second.reads.first());
        first.is_some_and(|read| self.found.item_after(&read.over, None).is_some())
    }

    async fn read_other_way(&mut self, tally: Tally, error: &TempoError) -> Result<(), VaultError> {
        let note = Note::Odd(format!("read in another way, since {error}"));
        self.begin_anew(Way::Fallback, tally, note).await
    }

    /// Whether what was deleted or changed is being asked, of an entity that can be read whole as well.
    fn heeds_feed(&self) -> bool {
        let state = self.log.state();
        let telling = self.entity.tells_deletions(self.way(), state.cursor.read);
        matches!(self.entity.delta, Some(Delta::Feed(_))) && (self.way() == Way::Delta || telling)
    }

    /// Reads all of the entity instead of what changed.
    pub async fn sweep(&mut self, why: String) -> Result<(), VaultError> {
        let tally = self.tally();
        self.begin_anew(Way::Sweep, tally, Note::Odd(format!("all of it was read, since {why}"))).await
    }

    async fn begin_anew(&mut self, way: Way, tally: Tally, note: Note) -> Result<(), VaultError> {
        let tally = self.compared(way, tally.anew());
        let step = Step { way, ..self.step(Next::Page(Cursor::default()), tally, vec![note]) };
        self.append(step).await
    }

    fn refusal(error: &TempoError, item: &Item) -> Refusal {
        // Of one key of many, 404 says that it is gone; of a list, that it may not be seen.
        let hopeless = match error {
            TempoError::Forbidden { status, .. } => *status == 403 || item.name.is_empty(),
            _ => false,
        };
        Refusal { hopeless, ..Refusal::other(error, item) }
    }

    /// Passes over a key that cannot be read.
    async fn pass_over(
        &mut self,
        cursor: &Cursor,
        item: &Item,
        mut tally: Tally,
        refusal: Refusal,
    ) -> Result<(), VaultError> {
        tally.refused += 1;
        let notes = vec![Note::Refused(refusal.why)];
        let hopeless = refusal.hopeless && tally.answered == 0 && tally.refused >= REFUSED_FIRST_MAX;
        let next = match self.locate(after(cursor, item)).filter(|_| !hopeless) {
            Some((cursor, _)) => Next::Page(cursor),
            None => Next::End(self.outcome(&tally, self.log.state(), &notes)),
        };
        let step = self.step(next, tally, notes);
        self.append(step).await
    }

    /// How the job ends when nothing is left to ask.
    fn outcome(&self, tally: &Tally, state: &State, notes: &[Note]) -> Outcome {
        let refusal = |note: &Note| if let Note::Refused(why) = note { Some(why.clone()) } else { None };
        let mut why = notes.iter().chain(&state.notes).find_map(refusal).unwrap_or_default();
        let forbidden = why.contains("HTTP 403") || (why.contains("HTTP 404") && tally.answered == 0);
        if forbidden {
            why = format!("{why}; grant the token {}", self.entity.family.grant());
        }
        if forbidden && tally.answered == 0 && tally.met == 0 {
            return Outcome::Skipped(why);
        }
        if forbidden && tally.answered == 0 {
            return Outcome::Failed(format!("refused half way: {why}"));
        }
        if tally.refused > 0 {
            let all = tally.refused + tally.answered;
            return Outcome::Failed(format!("{} of {all} parts could not be read: {why}", tally.refused));
        }
        if let Some(second) =
            self.entity.fallback.filter(|second| self.way() == Way::Fallback && !second.misses.is_empty())
        {
            return Outcome::Failed(format!(
                "the token may only view, so this is missing: {}; grant the token to manage {}",
                second.misses,
                self.entity.family.grant()
            ));
        }
        let mut keys = self.entity.reads(self.way()).flat_map(|read| read.over.keys());
        match keys.find_map(|key| Some((key, self.found.partial.get(key)?))) {
            Some((key, parent)) => {
                Outcome::Failed(format!("it is read per {}, and {parent} could not all be read", key.name()))
            }
            None => Outcome::Complete,
        }
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

    /// What can be said once all was read: which records are gone, which keys the entity gives.
    async fn conclude(&mut self, step: &mut Step, complete: bool) -> Result<(), VaultError> {
        let builds = self.builds();
        if let Some(base) = self.base.clone() {
            if complete && builds && matches!(self.entity.delta, Some(Delta::Keys)) {
                let gone = digest::forget(self.entity, &self.gone, self.log.open_bytes());
                self.count(&mut step.tally, &gone);
                self.add(&gone.pieces).await?;
            }
            if complete && !builds {
                let met = step.tally.unchanged + step.tally.changed;
                step.tally.deleted = base.records.saturating_sub(met);
            }
            if complete && self.way() == Way::Checked {
                step.tally.drift = Some(step.tally.drift.unwrap_or_default() + self.untold(step, &base));
            }
            if builds {
                for (key, values) in base.index.keys() {
                    step.keys.entry(*key).or_default().extend(values.iter().cloned());
                }
                if self.entity.gives(Key::Worklog) {
                    step.ids |= base.index.ids() - self.log.seen().gone() - &step.gone;
                }
            }
        }
        let known = self.base.as_ref().filter(|_| builds).map(|base| base.index.keys());
        let is_new = |key: &Key, value: &String| {
            known.and_then(|known| known.get(key)).is_none_or(|known| !known.contains(value))
        };
        let mut keys = self.log.keys().clone();
        for (key, values) in &step.keys {
            keys.entry(*key).or_default().extend(values.iter().cloned());
        }
        let named = keys.iter().flat_map(|(key, values)| values.iter().map(move |value| (*key, value)));
        let named = digest::name_keys(named.filter(|(key, value)| is_new(key, value)), self.log.open_bytes());
        self.count(&mut step.tally, &named);
        self.add(&named.pieces).await
    }

    /// Records that went without a word of Tempo's.
    fn untold(&self, step: &Step, base: &Base) -> u64 {
        let left = base.index.ids() - self.log.seen().ids() - &step.ids;
        (left - self.log.seen().gone() - &step.gone).len()
    }

    fn step(&self, next: Next, tally: Tally, notes: Vec<Note>) -> Step {
        Step { notes, ..Step::new(self.clock.now(), self.way(), next, tally) }
    }

    fn count(&self, tally: &mut Tally, digest: &Digest) {
        let builds = self.builds();
        let (compared, gone) = (digest.compared, if builds { digest.gone.len() } else { 0 });
        for (kept, more) in tally.kept.iter_mut().zip(digest.kept) {
            *kept += more;
        }
        tally.met += digest.new;
        tally.changes += digest.changed;
        if !digest.rows.is_empty() {
            tally.repeats += (digest.rows.len() as u64).saturating_sub(digest.new + digest.changed);
        }
        tally.records += if builds { compared.added } else { digest.new };
        tally.records = tally.records.saturating_sub(gone);
        tally.deleted += gone;
        tally.bytes += digest.bytes;
        if self.base.is_some() {
            tally.added += compared.added;
            tally.changed += compared.changed;
            tally.unchanged += compared.unchanged;
        }
        if self.way() == Way::Checked {
            tally.drift = Some(tally.drift.unwrap_or_default() + compared.untold);
        }
        for day in digest.days.into_iter().flat_map(|(first, last)| [first, last]) {
            tally.days = widen(tally.days, Some(day));
        }
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

    /// The totals so far, with what was spent since the last event.
    fn tally(&self) -> Tally {
        let mut tally = self.log.state().tally;
        if self.log.state().events == 0 {
            tally = self.compared(self.way(), tally);
        }
        tally.requests += self.spent.requests;
        tally.throttled += self.spent.throttled;
        tally.retries += self.spent.retries;
        tally
    }

    /// The totals of a job that begins in this way.
    fn compared(&self, way: Way, tally: Tally) -> Tally {
        let base = self.base.as_ref().map(|base| base.records);
        let records = base.filter(|_| builds(self.entity, way)).unwrap_or_default();
        Tally { base, records, ..tally }
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
pub(crate) fn windows(plan: &Plan, entity: &Entity, now: Timestamp) -> Vec<(&'static str, String)> {
    let Some(job) = plan.job(entity.name) else { return Vec::new() };
    plan::WINDOWS.iter().filter_map(|name| Some((*name, plan::window(plan, job, name, now)?))).collect()
}

/// Why a key was passed over.
struct Refusal {
    why: String,
    /// Whether the keys after it will be refused as well, if none was answered yet.
    hopeless: bool,
}

impl Refusal {
    fn other(error: &TempoError, item: &Item) -> Self {
        Self { why: scrubbed(&error.to_string(), item), hopeless: false }
    }
}

/// A text without the keys that were asked for: they may be those of people, and reasons are read by many.
fn scrubbed(text: &str, item: &Item) -> String {
    let batch = item.values.batch.iter().flat_map(|(_, keys)| keys);
    let keys = item.values.keys.iter().map(|(_, key)| key).chain(batch);
    keys.filter(|key| key.len() >= TELLING_CHARS)
        .fold(text.to_owned(), |text, key| text.replace(key.as_str(), "..."))
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
