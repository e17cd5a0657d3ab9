//! What a job does about an error: it goes another way, asks for fewer rows, passes over a gap, or ends.
//!
//! Whether the same may be asked again is not decided here: such errors are handed on.

use fermata_core::catalogue::{Delta, Way};
use fermata_core::checkpoint::{Cursor, Next, Note, Outcome, Place, State, Tally};
use fermata_tempo::{Disposition, TempoError};
use fermata_vault::{Step, VaultError};

use super::{Job, JobError, after};
use crate::items::Item;

/// Keys that may be refused before an entity is given up that has answered for none.
const REFUSED_FIRST_MAX: u64 = 3;
/// Keys that may run out of attempts before an entity is given up.
const EXHAUSTED_MAX: usize = 3;
/// How the reason begins where attempts ran out.
const EXHAUSTED: &str = "given up after ";
/// A key shorter than this says nothing about anybody, and may be a part of other words.
const TELLING_CHARS: usize = 8;

impl Job {
    /// Gives up what it was asking for, after so many attempts: one key of many, or all.
    pub async fn exhaust(&mut self, attempts: u32, error: &TempoError) -> Result<(), VaultError> {
        let why = format!("{EXHAUSTED}{attempts} attempts: {error}");
        if self.is_afterword(&self.log.state().cursor) {
            return self.end_here().await;
        }
        if self.heeds_feed() {
            return self.sweep(format!("what changed could not be had ({why})")).await;
        }
        // Counted in the log: the next attempt may be another process's.
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

    /// Acts on an error: in another way, with fewer rows, past a gap, to an end; or hands it on.
    pub(super) async fn heed(
        &mut self,
        cursor: Cursor,
        item: &Item,
        error: TempoError,
    ) -> Result<(), JobError> {
        let tally = self.tally();
        let fresh = tally.answered == 0 && cursor.place == Place::Start;
        let other_way = self.way() != Way::Fallback && self.has_other_way();
        match error.disposition() {
            Disposition::Token | Disposition::Wait(_) | Disposition::Retry => Err(error.into()),
            // A log refuses a start too far back, and the clock that it was reckoned by may have been ours.
            Disposition::GiveUp | Disposition::OtherWay if self.is_off(&cursor, item) => Ok(()),
            Disposition::Gap | Disposition::OtherWay | Disposition::GiveUp if self.is_afterword(&cursor) => {
                Ok(self.end_here().await?)
            }
            Disposition::Gap | Disposition::OtherWay | Disposition::GiveUp if self.heeds_feed() => {
                Ok(self.sweep(error.to_string()).await?)
            }
            Disposition::Smaller if self.rows(self.read(&cursor)) > 1 => {
                self.limit = Some(self.rows(self.read(&cursor)) / 2);
                Ok(())
            }
            Disposition::Smaller if self.is_afterword(&cursor) => Ok(self.end_here().await?),
            Disposition::Smaller if self.heeds_feed() => Ok(self.sweep(error.to_string()).await?),
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

    /// Whether all was read and only what was deleted meanwhile is being asked.
    fn is_afterword(&self, cursor: &Cursor) -> bool {
        self.way() == Way::Checked && cursor.read > 0 && self.entity.tells_deletions(self.way(), cursor.read)
    }

    /// Ends with what was read.
    async fn end_here(&mut self) -> Result<(), VaultError> {
        let tally = self.tally();
        let outcome = self.outcome(&tally, self.log.state(), &[]);
        self.end(tally, Vec::new(), outcome).await
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
        self.limit = None;
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
    pub(super) fn outcome(&self, tally: &Tally, state: &State, notes: &[Note]) -> Outcome {
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
