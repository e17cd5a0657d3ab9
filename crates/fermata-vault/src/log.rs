//! The log of one job: its checkpoints, and the chunks that its records wait in.
//!
//! An event is a line of JSON that says how far the job is, then, sealed, where to go on and what a resume
//! needs. Its name chains it to the one before. Opening the log replays the longest whole chain; an event that does
//! not hash to its name, does not open or does not follow is left out, and the next longest chain is taken.
//!
//! The event that ends a job repeats all the keys that the job found, and the ids where other entities are
//! asked by them: so what a job gives to others is read from one event ([`Log::ended`]).

mod ended;
mod heads;

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use fermata_core::FORMAT;
use fermata_core::catalogue::{self, Key, Way};
use fermata_core::chain::{self, EventName, Link};
use fermata_core::checkpoint::body::{Body, Keys};
use fermata_core::checkpoint::{
    Closed, Event, Head, IllegalEvent, LAYERS, Next, Note, Open, PerLayer, State, Tally, holds_all, slot,
};
use fermata_core::manifest::LayerKind;
use fermata_core::names::{RunId, Tenant};
use fermata_core::seen::Seen;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use object_store::path::Path;
use roaring::RoaringTreemap;
use serde::Serialize;

use crate::chunk::{Closing, Known, OpenChunk};
use crate::error::VaultError;
use crate::layout;
use crate::seal;
use crate::vault::Vault;

pub use ended::Ended;

/// Events that are fetched ahead of the one that is replayed.
const GETS_CONCURRENT: usize = 16;
/// Events that are left out before the log is given up. Each costs a replay from where it forked off.
const LEFT_OUT_MAX: usize = 256;

/// The log of one job, replayed.
pub struct Log {
    vault: Vault,
    tenant: Tenant,
    folder: Path,
    /// Whether other entities are asked by the ids of this one's records.
    gives_ids: bool,
    replay: Replay,
    open: PerLayer<OpenChunk>,
    closed: Vec<Closed>,
    left_out: Vec<String>,
}

/// What a page came to, apart from its records.
#[derive(Clone, Debug)]
pub struct Step {
    /// By the worker's clock; for people.
    pub at: Timestamp,
    /// In which way the entity is read. In another than before the job begins anew: what was read does not count.
    pub way: Way,
    /// Where to go on.
    pub next: Next,
    /// What was odd or refused.
    pub notes: Vec<Note>,
    /// Totals of the job, this page included.
    pub tally: Tally,
    /// Ids that the page added. Of a step that ends the job, those of before are [added](Log::append).
    pub ids: RoaringTreemap,
    /// Ids of records that the page told to be deleted.
    pub gone: RoaringTreemap,
    /// Marks that the page added.
    pub marks: Vec<u64>,
    /// Whether all earlier marks can be forgotten.
    pub fresh: bool,
    /// Keys that the page added. Of a step that ends the job, those of before are added.
    pub keys: Keys,
}

impl Step {
    /// A step that found nothing besides its records.
    pub fn new(at: Timestamp, way: Way, next: Next, tally: Tally) -> Self {
        Self {
            at,
            way,
            next,
            notes: Vec::new(),
            tally,
            ids: RoaringTreemap::new(),
            gone: RoaringTreemap::new(),
            marks: Vec::new(),
            fresh: false,
            keys: Keys::new(),
        }
    }
}

/// A chain of events and what it adds up to.
#[derive(Default)]
struct Replay {
    chain: Vec<EventName>,
    state: State,
    seen: Seen,
    keys: Keys,
    /// Compressed records in no closed chunk, per layer, with the event that brought them.
    frames: PerLayer<Vec<(EventName, Open, Vec<u8>)>>,
}

/// Why an event does not count.
struct LeftOut {
    event: EventName,
    why: String,
}

enum Halt {
    LeftOut(LeftOut),
    Fatal(VaultError),
}

impl Log {
    /// Replays a job's log; a job without events is at its beginning. Needs the workers' key.
    pub async fn open(vault: &Vault, tenant: &Tenant, run: &RunId, entity: &str) -> Result<Self, VaultError> {
        vault.worker("resuming a job")?;
        let folder = layout::job(tenant, run, entity);
        let mut names = names(vault, &folder).await?;
        let mut replay = Replay::default();
        let mut left_out = Vec::new();
        let open = loop {
            let halt = match replay.follow(vault, &folder, chain::longest(names.iter().copied())).await {
                Ok(()) => match replay.rebuild() {
                    Ok(open) => break open,
                    Err(bad) => Halt::LeftOut(bad),
                },
                Err(halt) => halt,
            };
            let LeftOut { event, why } = match halt {
                Halt::LeftOut(bad) => bad,
                Halt::Fatal(error) => return Err(error),
            };
            let key = folder.clone().join(event.to_string());
            if left_out.len() == LEFT_OUT_MAX {
                return Err(VaultError::corrupt(&key, why));
            }
            names.remove(&event);
            left_out.push(format!("{key}: {why}"));
        };
        let (vault, tenant) = (vault.clone(), tenant.clone());
        let gives_ids = catalogue::entity(entity).is_some_and(|entity| entity.gives(Key::Worklog));
        Ok(Self { vault, tenant, folder, gives_ids, replay, open, closed: Vec::new(), left_out })
    }

    /// What the events add up to.
    pub fn state(&self) -> &State {
        &self.replay.state
    }

    /// Which records were read.
    pub fn seen(&self) -> &Seen {
        &self.replay.seen
    }

    /// The keys that other entities fan out over.
    pub fn keys(&self) -> &Keys {
        &self.replay.keys
    }

    /// The events that do not count, and why; for the log.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The chunk that takes a layer's records. What is added to it becomes durable with the next
    /// [`append`](Self::append).
    pub fn chunk(&mut self, layer: LayerKind) -> &mut OpenChunk {
        &mut self.open[slot(layer)]
    }

    /// Bytes in the open chunk of each layer.
    pub fn open_bytes(&self) -> PerLayer<u64> {
        self.open.each_ref().map(OpenChunk::bytes)
    }

    /// Closes a layer's chunk, stores it, and opens the next; nothing when it is empty.
    ///
    /// The next [`append`](Self::append) names it. After an error nothing has changed.
    pub async fn close_chunk(
        &mut self,
        layer: LayerKind,
        known: &Known,
    ) -> Result<Option<Closing>, VaultError> {
        let open = &mut self.open[slot(layer)];
        if open.is_empty() {
            return Ok(None);
        }
        let closing = self.vault.close_chunk(&self.tenant, layer, open, known).await?;
        *open = OpenChunk::default();
        self.closed.push(Closed { layer, chunk: closing.chunk.clone() });
        Ok(Some(closing))
    }

    /// Closes the chunks of all layers, as is to be done before the step that ends the job: records that are
    /// in no closed chunk are in no snapshot.
    pub async fn close_chunks(&mut self, known: &Known) -> Result<(), VaultError> {
        for layer in LAYERS {
            self.close_chunk(layer, known).await?;
        }
        Ok(())
    }

    /// Appends an event: the step, the chunks that closed since the one before, and the records that
    /// were added since and are in none of them. An event that ends the job repeats what others are asked by.
    ///
    /// After an error nothing has changed here (unless the job was to begin anew, which it then still is), and the event may or may not be stored: the same step
    /// may be appended again, or the log dropped and opened anew.
    pub async fn append(&mut self, step: Step) -> Result<(), VaultError> {
        if self.state().events > 0 && step.way != self.state().way {
            self.open = PerLayer::default();
            self.closed.clear();
            self.replay.forget();
        }
        let (mut event, mut body) = self.event(step);
        let state = self.replay.state.clone().next(&event).map_err(VaultError::Illegal)?;
        // What a resume would find open must be what is open here.
        if LAYERS.map(slot).map(|at| state.open[at]) != self.open.each_ref().map(OpenChunk::total) {
            return Err(VaultError::Illegal(IllegalEvent::Count(event.seq)));
        }
        if state.outcome.is_some() || holds_all(event.seq) {
            event.so_far = Some(state.so_far());
            self.add_all(&mut body, state.outcome.is_some());
        }
        let stored = encode(&self.vault, &event, &body);
        let prev = self.replay.chain.last().map(|name| name.own).unwrap_or_default();
        let name = EventName { seq: event.seq, prev, own: Link::of(&stored) };
        self.vault.door().put(&self.folder.clone().join(name.to_string()), stored).await?;
        self.replay.state = state;
        self.replay.chain.push(name);
        self.replay.learn(body);
        self.closed.clear();
        self.open.iter_mut().for_each(OpenChunk::mark_logged);
        Ok(())
    }

    fn event(&self, step: Step) -> (Event, Body) {
        let Step { at, way, next, notes, tally, ids, gone, marks, fresh, keys } = step;
        let unlogged = self.open.each_ref().map(OpenChunk::unlogged);
        let event = Event {
            schema: FORMAT,
            seq: self.replay.state.events,
            at,
            way,
            next,
            closed: self.closed.clone(),
            open: unlogged.map(|(open, _)| open),
            notes,
            tally,
            so_far: None,
        };
        let frames = unlogged.map(|(_, frames)| frames.to_vec());
        (event, Body { ids, gone, marks, fresh, keys, frames })
    }

    /// Adds to a body what the events before it brought: all that a resume needs, or, of a job that has `ended`,
    /// what others are asked by.
    fn add_all(&self, body: &mut Body, ended: bool) {
        let Replay { seen, keys, .. } = &self.replay;
        for (key, found) in keys {
            body.keys.entry(*key).or_default().extend(found.iter().cloned());
        }
        if !ended || self.gives_ids {
            body.ids |= seen.ids();
        }
        if !ended {
            body.gone |= seen.gone();
            if !body.fresh {
                body.marks.extend(seen.marks());
            }
            body.fresh = true;
        }
        body.frames = self.open.each_ref().map(|open| open.frames().to_vec());
    }
}

impl Replay {
    /// Goes on along a chain; if it is not the one that was followed so far, from its last event that holds all
    /// so far, or from its beginning.
    async fn follow(&mut self, vault: &Vault, folder: &Path, chain: Vec<EventName>) -> Result<(), Halt> {
        if !chain.starts_with(&self.chain) {
            *self = Self::default();
        }
        let begin = match self.chain.len() {
            0 => chain.iter().rposition(|name| holds_all(name.seq)).unwrap_or(0),
            followed => followed,
        };
        let rest = chain[begin..].to_vec();
        let mut events = stream::iter(rest)
            .map(|name| {
                let key = folder.clone().join(name.to_string());
                async move { (name, vault.door().find(&key).await, key) }
            })
            .buffered(GETS_CONCURRENT);
        while let Some((name, found, key)) = events.next().await {
            let out = |why: &str| Halt::LeftOut(LeftOut { event: name, why: why.to_owned() });
            let stored = found.map_err(Halt::Fatal)?.ok_or_else(|| out("it is listed and not there"))?;
            let (event, body) = match decode(vault, &name, &stored) {
                Ok(decoded) => decoded,
                Err(Bad::LeftOut(why)) => return Err(out(why)),
                Err(Bad::Newer(schema)) => {
                    return Err(Halt::Fatal(VaultError::Newer { key: key.to_string(), schema }));
                }
            };
            let begins = self.chain.len() < begin;
            let anew = event.begins_anew(&self.state);
            let next = match begins.then(|| State::at(&event)) {
                None => std::mem::take(&mut self.state).next(&event),
                Some(Some(state)) if event.seq == name.seq => state,
                Some(_) => return Err(out("it does not hold all so far")),
            };
            match next {
                Ok(state) => self.state = state,
                Err(illegal) => {
                    let halt = out(&illegal.to_string());
                    drop(events);
                    *self = Self::default();
                    return Err(halt);
                }
            }
            if begins {
                // Those before it are not read, and need not be whole.
                self.chain = chain[..begin].to_vec();
                self.frames = Default::default();
            }
            self.chain.push(name);
            if anew {
                self.forget();
                self.frames = PerLayer::default();
            }
            self.keep_frames(name, &event, &body);
            self.learn(body);
        }
        Ok(())
    }

    fn keep_frames(&mut self, name: EventName, event: &Event, body: &Body) {
        // The frames of an event that holds all so far stand for those before it.
        let open = event.so_far.as_ref().map_or(event.open, |so_far| so_far.open);
        for (at, frames) in self.frames.iter_mut().enumerate() {
            if event.so_far.is_some() || event.closed.iter().any(|closed| slot(closed.layer) == at) {
                frames.clear();
            }
            if open[at] != Open::default() {
                frames.push((name, open[at], body.frames[at].clone()));
            }
        }
    }

    /// Forgets what was read before the job began anew.
    fn forget(&mut self) {
        self.seen = Seen::default();
        self.keys = Keys::new();
    }

    fn learn(&mut self, body: Body) {
        self.seen.add(&body.ids, &body.marks, body.fresh);
        self.seen.add_gone(&body.gone);
        for (key, found) in body.keys {
            self.keys.entry(key).or_default().extend(found);
        }
    }

    /// The open chunks that the frames add up to.
    fn rebuild(&mut self) -> Result<PerLayer<OpenChunk>, LeftOut> {
        let mut open = PerLayer::<OpenChunk>::default();
        for (chunk, frames) in open.iter_mut().zip(&self.frames) {
            for (event, says, frame) in frames {
                chunk.restore(frame, *says).map_err(|why| LeftOut { event: *event, why: why.to_owned() })?;
            }
        }
        self.frames = Default::default();
        Ok(open)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({}, {} events)", self.folder, self.state().events)
    }
}

/// The names of a job's events.
async fn names(vault: &Vault, folder: &Path) -> Result<BTreeSet<EventName>, VaultError> {
    let found = vault.door().list(folder).await?;
    Ok(found.iter().filter_map(|found| found.location.filename()?.parse().ok()).collect())
}

/// An event as stored: a line that anybody may read, then the sealed event and what a resume needs.
fn encode(vault: &Vault, event: &Event, body: &Body) -> Bytes {
    let mut plain = line(event);
    plain.extend(body.encode());
    let mut stored = line(&event.head());
    stored.extend(seal::seal([vault.worker_recipient()], &plain));
    stored.into()
}

fn decode(vault: &Vault, name: &EventName, stored: &[u8]) -> Result<(Event, Body), Bad> {
    if Link::of(stored) != name.own {
        return Err(Bad::LeftOut("it does not hash to its name"));
    }
    let (head, sealed) = first_line(stored).ok_or(Bad::LeftOut("it has no end of line"))?;
    let head: Head =
        serde_json::from_slice(head).map_err(|_| Bad::LeftOut("its first line has a wrong shape"))?;
    if head.schema != FORMAT {
        return Err(Bad::Newer(head.schema));
    }
    let plain = seal::unseal(vault.identities(), sealed)
        .map_err(|_| Bad::LeftOut("its sealed part does not open"))?;
    let shape = Bad::LeftOut("its sealed part has a wrong shape");
    let Some((event, body)) = first_line(&plain) else { return Err(shape) };
    match (serde_json::from_slice(event), Body::decode(body)) {
        (Ok(event), Ok(body)) => Ok((event, body)),
        _ => Err(shape),
    }
}

/// Why an event cannot be read.
enum Bad {
    LeftOut(&'static str),
    /// Another release is at work on this job; leaving its events out would be working against it.
    Newer(u32),
}

fn first_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("events have only text keys");
    line.push(b'\n');
    line
}
