//! The sealed part of an event: what a resume needs and nobody else may read.
//!
//! A line of JSON with lengths, then that many bytes: the ids and marks that the page added to
//! [`Seen`](crate::seen::Seen), the keys it found, and the compressed records of each layer.
//!
//! The event that ends a job is for its children too, which read no other: its keys are all that the job
//! found and, where other entities are asked by ids, its ids are all that it read. A replay takes the union.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

use super::PerLayer;
use crate::catalogue::Key;

/// Keys by their kind.
pub type Keys = BTreeMap<Key, BTreeSet<String>>;

/// What an event keeps sealed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// Ids that the page added; at the end all of the job's, if other entities are asked by them.
    pub ids: RoaringTreemap,
    /// Ids of records that the page told to be deleted.
    pub gone: RoaringTreemap,
    /// Marks that the page added.
    pub marks: Vec<u64>,
    /// Whether all earlier marks are forgotten.
    pub fresh: bool,
    /// Keys that the page added; at the end all of the job's.
    pub keys: Keys,
    /// Compressed records in no closed chunk, per layer.
    pub frames: PerLayer<Vec<u8>>,
}

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Not the shape that this release writes.
    #[error("the sealed part of a checkpoint event has a wrong shape")]
    Shape(#[source] serde_json::Error),
    /// Ids that are no bitmap.
    #[error("the sealed part of a checkpoint event has unreadable ids")]
    Ids(#[source] std::io::Error),
    /// Cut short or padded.
    #[error("the sealed part of a checkpoint event has a wrong length")]
    Length,
}

#[derive(Serialize, Deserialize)]
struct Head {
    fresh: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    keys: Keys,
    ids: usize,
    gone: usize,
    marks: usize,
    frames: PerLayer<usize>,
}

impl Body {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let head = Head {
            fresh: self.fresh,
            keys: self.keys.clone(),
            ids: self.ids.serialized_size(),
            gone: self.gone.serialized_size(),
            marks: self.marks.len(),
            frames: self.frames.each_ref().map(Vec::len),
        };
        let mut bytes = serde_json::to_vec(&head).expect("a head has only text keys");
        bytes.push(b'\n');
        bytes.reserve(head.ids + head.gone + head.marks * 8 + head.frames.iter().sum::<usize>());
        for ids in [&self.ids, &self.gone] {
            ids.serialize_into(&mut bytes).expect("a Vec takes every write");
        }
        bytes.extend(self.marks.iter().flat_map(|mark| mark.to_le_bytes()));
        self.frames.iter().for_each(|frames| bytes.extend(frames));
        bytes
    }

    /// From the bytes that [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Result<Self, BodyError> {
        let line = bytes.iter().position(|byte| *byte == b'\n').ok_or(BodyError::Length)?;
        let head: Head = serde_json::from_slice(&bytes[..line]).map_err(BodyError::Shape)?;
        let mut rest = &bytes[line + 1..];
        let mut take = |length: usize| {
            let (part, left) = rest.split_at_checked(length).ok_or(BodyError::Length)?;
            rest = left;
            Ok::<_, BodyError>(part)
        };
        let ids = RoaringTreemap::deserialize_from(take(head.ids)?).map_err(BodyError::Ids)?;
        let gone = RoaringTreemap::deserialize_from(take(head.gone)?).map_err(BodyError::Ids)?;
        let marks = take(head.marks.checked_mul(8).ok_or(BodyError::Length)?)?;
        let (marks, _) = marks.as_chunks::<8>();
        let marks = marks.iter().map(|mark| u64::from_le_bytes(*mark)).collect();
        let mut frames = PerLayer::<Vec<u8>>::default();
        for (frames, length) in frames.iter_mut().zip(head.frames) {
            *frames = take(length)?.to_vec();
        }
        if rest.is_empty() {
            Ok(Self { ids, gone, marks, fresh: head.fresh, keys: head.keys, frames })
        } else {
            Err(BodyError::Length)
        }
    }
}
