//! What a job has done so far: a list of events, and the state they add up to.
//!
//! One event is appended for each page: where to go on, which chunks closed, and the page's records
//! that are in no closed chunk yet. So the list is a write-ahead log. [`State::next`] is the one
//! function that applies an event; resuming is applying them all again. A pair of state and event
//! that it does not know is an error, never a guess.
//!
//! A cursor may hold the id of a user or a token of Tempo's, so an event is stored sealed, with a
//! [`Head`] before it that shows how far the job is and nothing else.

pub mod body;

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use crate::catalogue::Way;
use crate::manifest::{Chunk, LayerKind};

/// The layers that a job may fill, in the order of the arrays of this module.
pub const LAYERS: [LayerKind; 4] =
    [LayerKind::Sweep, LayerKind::Deletions, LayerKind::Changes, LayerKind::Index];

/// Something for each layer, by its [`slot`].
pub type PerLayer<T> = [T; LAYERS.len()];

/// Where a job goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Which of the requests of the job's way.
    pub read: usize,
    /// The last key of the request's keys that is done; the first is next when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Where in the pages of that request and key.
    pub place: Place,
}

/// A place in the pages of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "kebab-case")]
pub enum Place {
    /// At the first page.
    #[default]
    Start,
    /// At an offset of a list; `pass` counts how often the list was read through before.
    Offset {
        /// Rows to skip.
        offset: u64,
        /// Passes that are done.
        pass: u32,
        /// Whether this pass has met a record that the ones before had not.
        news: bool,
    },
    /// At the page that this token opens.
    Token {
        /// As the page before gave it.
        token: String,
        /// Pages without a row, in a row.
        #[serde(default, skip_serializing_if = "is_zero")]
        idle: u64,
    },
    /// At the rows changed since a moment, and an offset among them.
    Changes {
        /// The moment, as Tempo wrote it or a second before that.
        since: Timestamp,
        /// Rows to skip, where more share a moment than fit a page.
        offset: u64,
    },
    /// At a window of days.
    Days {
        /// The first day.
        from: Date,
        /// How many days.
        days: u32,
        /// Whether it takes in everything after its first day, however far.
        #[serde(default)]
        open: bool,
        /// Rows to skip, where one day holds more than a page.
        offset: u64,
    },
    /// At the closing read of a scan: what changed since it began.
    Closing {
        /// A margin before Tempo's clock when the scan began.
        since: Timestamp,
        /// Rows to skip.
        offset: u64,
        /// Closing reads that are done.
        pass: u32,
        /// Whether this one has met a record that was not known.
        news: bool,
    },
}

/// What comes after an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// A request.
    Page(Cursor),
    /// Nothing: the job is done or given up.
    End(Outcome),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All that the token may see was read.
    Complete,
    /// The token may not read it.
    Skipped(String),
    /// It could not all be read.
    Failed(String),
}

/// What of an event anybody may read: how far the job is, and no key of anybody's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the event.
    pub schema: u32,
    /// Place in the chain, from 0.
    pub seq: u32,
    /// When it was written, by the worker's clock.
    pub at: Timestamp,
    /// Whether the job ended with it.
    pub ended: bool,
    /// Totals of the job, this event included.
    pub tally: Tally,
}

/// One step of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Version of this document.
    pub schema: u32,
    /// Place in the chain, from 0.
    pub seq: u32,
    /// When it was written, by the worker's clock; for people.
    pub at: Timestamp,
    /// In which way the entity is read. A job that goes another way than before begins anew: of what earlier events
    /// brought only the notes and the costs count.
    pub way: Way,
    /// Where to go on.
    pub next: Next,
    /// Chunks that closed with this page, stored before the event.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<Closed>,
    /// Records logged with this event, in no closed chunk, per layer.
    #[serde(default)]
    pub open: PerLayer<Open>,
    /// What was odd or refused, since the event before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Totals of the job, this event included.
    pub tally: Tally,
    /// All that the events so far add up to, where a resume may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub so_far: Option<SoFar>,
}

/// What a job's events add up to, this one included, besides where it goes on and its totals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoFar {
    /// Closed chunks per layer.
    pub closed: PerLayer<Vec<Chunk>>,
    /// Records in no closed chunk per layer; their frames are in this event, all of them.
    pub open: PerLayer<Open>,
    /// All notes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

/// A chunk that closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// Where its records belong.
    pub layer: LayerKind,
    /// The chunk.
    pub chunk: Chunk,
}

/// Records that wait for their chunk to close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// How many.
    pub records: u64,
    /// Their bytes, one per line.
    pub bytes: u64,
}

/// Something a reader of the snapshot should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The token may not read one of the keys that the entity fans out over.
    Refused(String),
    /// Odd, but nothing is missing.
    Odd(String),
}

/// Totals of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Requests made.
    pub requests: u64,
    /// Answers of 429 among them.
    pub throttled: u64,
    /// Requests made again after a fault.
    pub retries: u64,
    /// Records in the view of the entity.
    pub records: u64,
    /// Records of the base that it is compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// Records read, each counted once.
    pub met: u64,
    /// Lines kept, per layer.
    pub kept: PerLayer<u64>,
    /// Records that the base did not have.
    #[serde(default)]
    pub added: u64,
    /// Records that the base had in another form.
    #[serde(default)]
    pub changed: u64,
    /// Records that are as in the base; of a delta only those that were met.
    #[serde(default)]
    pub unchanged: u64,
    /// Records of the base that are gone.
    #[serde(default)]
    pub deleted: u64,
    /// Records that differ from what Tempo had told since the base; none where that was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<u64>,
    /// Records that came again in a newer form while the entity was read.
    pub changes: u64,
    /// Records read again and dropped.
    pub repeats: u64,
    /// Bytes of the records kept.
    pub bytes: u64,
    /// Requests for keys that were refused.
    pub refused: u64,
    /// Requests for keys that were answered.
    pub answered: u64,
    /// The clock at the first answer: Tempo's, or ours where it did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Timestamp>,
    /// Whether that is Tempo's clock.
    #[serde(default)]
    pub dated: bool,
    /// The first and last day the records are about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<(Date, Date)>,
}

/// What a job's events add up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Events applied.
    pub events: u32,
    /// In which way the entity is read, once there is an event.
    pub way: Way,
    /// Where to go on; the first page when there is no event yet.
    pub cursor: Cursor,
    /// How it ended, once it has.
    pub outcome: Option<Outcome>,
    /// Closed chunks per layer.
    pub closed: PerLayer<Vec<Chunk>>,
    /// Records in no closed chunk per layer.
    pub open: PerLayer<Open>,
    /// All notes.
    pub notes: Vec<Note>,
    /// Totals.
    pub tally: Tally,
}

/// An event that cannot follow the state it was applied to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IllegalEvent {
    /// Not the next in sequence.
    #[error("event {got} does not follow event {after}")]
    Sequence {
        /// Events applied before.
        after: u32,
        /// The event's place.
        got: u32,
    },
    /// The job had ended.
    #[error("event {0} comes after the end of the job")]
    AfterEnd(u32),
    /// Counts that do not add up.
    #[error("the records of event {0} do not add up with its chunks")]
    Count(u32),
    /// Written by a release with another format.
    #[error("event {seq} has format {schema}; this release reads format {}", crate::FORMAT)]
    Format {
        /// The event's place.
        seq: u32,
        /// Its format.
        schema: u32,
    },
}

/// A resume reads back to the last event that holds [all so far](SoFar): one of so many. Each of them repeats the ids
/// of all records (a bit each) and at most a chunk's compressed records.
const SO_FAR_EVERY: u32 = 32;

/// Whether the event at this place holds all so far. One that ends the job does too, wherever it is.
pub fn holds_all(seq: u32) -> bool {
    (seq + 1).is_multiple_of(SO_FAR_EVERY)
}

/// The place of a layer in the arrays of this module.
pub const fn slot(layer: LayerKind) -> usize {
    match layer {
        LayerKind::Sweep => 0,
        LayerKind::Deletions => 1,
        LayerKind::Changes => 2,
        LayerKind::Index => 3,
    }
}

impl Event {
    /// What of it anybody may read.
    pub fn head(&self) -> Head {
        let ended = matches!(self.next, Next::End(_));
        Head { schema: self.schema, seq: self.seq, at: self.at, ended, tally: self.tally }
    }

    /// Whether the job begins anew with it, after having been in this state.
    pub fn begins_anew(&self, state: &State) -> bool {
        state.events > 0 && self.way != state.way
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Tally {
    /// What is left of it when the job begins anew: what it cost.
    #[must_use]
    pub fn anew(self) -> Self {
        let Self { requests, throttled, retries, .. } = self;
        Self { requests, throttled, retries, ..Self::default() }
    }
}

impl State {
    /// The state after an event.
    pub fn next(mut self, event: &Event) -> Result<Self, IllegalEvent> {
        let seq = event.seq;
        if event.schema != crate::FORMAT {
            return Err(IllegalEvent::Format { seq, schema: event.schema });
        }
        if seq != self.events {
            return Err(IllegalEvent::Sequence { after: self.events, got: seq });
        }
        if event.begins_anew(&self) {
            self.closed = PerLayer::default();
            self.open = PerLayer::default();
        }
        match (&self.outcome, &event.next) {
            (Some(_), _) => return Err(IllegalEvent::AfterEnd(seq)),
            (None, Next::Page(cursor)) => self.cursor = cursor.clone(),
            (None, Next::End(outcome)) => self.outcome = Some(outcome.clone()),
        }
        for closed in &event.closed {
            let slot = slot(closed.layer);
            self.closed[slot].push(closed.chunk.clone());
            // A chunk takes all that was open before it; what the page has left comes with the event.
            self.open[slot] = Open::default();
        }
        for (open, more) in self.open.iter_mut().zip(event.open) {
            open.records += more.records;
            open.bytes += more.bytes;
        }
        self.events += 1;
        self.way = event.way;
        self.tally = event.tally;
        self.notes.extend(event.notes.iter().cloned());
        if self.kept() == self.tally.kept { Ok(self) } else { Err(IllegalEvent::Count(seq)) }
    }

    /// The state after an event that holds all so far, without those before it; `None` for another event.
    pub fn at(event: &Event) -> Option<Result<Self, IllegalEvent>> {
        let SoFar { closed, open, notes } = event.so_far.clone()?;
        let (cursor, outcome) = match &event.next {
            Next::Page(cursor) => (cursor.clone(), None),
            Next::End(outcome) => (Cursor::default(), Some(outcome.clone())),
        };
        let (events, way) = (event.seq + 1, event.way);
        let state = Self { events, way, cursor, outcome, closed, open, notes, tally: event.tally };
        Some(if event.schema != crate::FORMAT {
            Err(IllegalEvent::Format { seq: event.seq, schema: event.schema })
        } else if state.kept() != event.tally.kept {
            Err(IllegalEvent::Count(event.seq))
        } else {
            Ok(state)
        })
    }

    /// What an event that holds all so far says of this state, which is the one after it.
    pub fn so_far(&self) -> SoFar {
        SoFar { closed: self.closed.clone(), open: self.open, notes: self.notes.clone() }
    }

    /// Lines in each layer, closed and open.
    fn kept(&self) -> PerLayer<u64> {
        LAYERS.map(slot).map(|slot| {
            let closed: u64 = self.closed[slot].iter().map(|chunk| chunk.records).sum();
            closed + self.open[slot].records
        })
    }
}

#[cfg(test)]
mod tests;
