//! The names of checkpoint events, and which of them count.
//!
//! An event's name is `<seq>-<hash of the one before>-<own hash>`, so a listing alone shows every
//! chain. Two workers on one job can only fork it; the longest whole chain wins, and the rest is
//! left over. Nothing is asked of the store but that a listing shows what was put.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Hexadecimal digits of a link: 64 bits, against accidents and not against attack (events are sealed).
const LINK_CHARS: usize = 16;
/// Digits of a sequence number.
const SEQ_CHARS: usize = 8;

/// A short hash of an event's stored bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link(u64);

/// The name of one stored event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName {
    /// Position in the chain, from 0.
    pub seq: u32,
    /// Hash of the event before; [`Link::default`] for the first.
    pub prev: Link,
    /// Hash of this event's stored bytes.
    pub own: Link,
}

/// Text that is not an event's name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not the name of a checkpoint event")]
pub struct BadEventName(String);

impl Link {
    /// The link that names these stored bytes.
    pub fn of(stored: &[u8]) -> Self {
        let digest = Sha256::digest(stored);
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(head))
    }
}

/// The longest whole chain among `names`, first event first.
///
/// A chain starts at sequence 0 and each event names the one before it. Of two equally long chains
/// the one whose last name sorts first is taken, so every reader of one listing takes the same.
pub fn longest(names: impl IntoIterator<Item = EventName>) -> Vec<EventName> {
    let names: BTreeSet<EventName> = names.into_iter().collect();
    // Sorted by sequence, so a parent is always decided before its children.
    let mut reached: BTreeMap<(u32, Link), EventName> = BTreeMap::new();
    let mut best: Option<EventName> = None;
    for name in &names {
        let rooted = match name.seq.checked_sub(1) {
            None => name.prev == Link::default(),
            Some(before) => reached.contains_key(&(before, name.prev)),
        };
        if !rooted {
            continue;
        }
        reached.entry((name.seq, name.own)).or_insert(*name);
        if best.is_none_or(|best| name.seq > best.seq) {
            best = Some(*name);
        }
    }
    let mut chain = Vec::new();
    while let Some(name) = best {
        chain.push(name);
        best = name.seq.checked_sub(1).and_then(|before| reached.get(&(before, name.prev)).copied());
    }
    chain.reverse();
    chain
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$x}", self.0, width = LINK_CHARS)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$}-{}-{}", self.seq, self.prev, self.own, width = SEQ_CHARS)
    }
}

impl FromStr for EventName {
    type Err = BadEventName;

    fn from_str(text: &str) -> Result<Self, BadEventName> {
        let bad = || BadEventName(text.to_owned());
        let link = |part: &str| {
            let hex =
                part.len() == LINK_CHARS && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if hex { u64::from_str_radix(part, 16).map(Link).map_err(|_| bad()) } else { Err(bad()) }
        };
        let mut parts = text.split('-');
        let (Some(seq), Some(prev), Some(own), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad());
        };
        if seq.len() != SEQ_CHARS || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self { seq: seq.parse().map_err(|_| bad())?, prev: link(prev)?, own: link(own)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(seq: u32, prev: u64, own: u64) -> EventName {
        EventName { seq, prev: Link(prev), own: Link(own) }
    }

    #[test]
    fn names_survive_text() {
        let event = name(7, 0xabc, u64::MAX);
        assert_eq!(event.to_string(), "00000007-0000000000000abc-ffffffffffffffff");
        assert_eq!(event.to_string().parse(), Ok(event));
        for bad in ["", "7-0-0", "00000007-0000000000000ABC-ffffffffffffffff", "00000007-0000000000000abc"] {
            assert!(bad.parse::<EventName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_rooted_chain_wins() {
        let chain = [name(0, 0, 1), name(1, 1, 2), name(2, 2, 3)];
        let fork = [name(1, 1, 9), name(2, 8, 4), name(3, 4, 5)];
        assert_eq!(longest(chain.into_iter().chain(fork)), chain);
        assert_eq!(longest([name(1, 1, 2)]), []);
        assert_eq!(longest([name(0, 5, 1)]), []);
    }

    proptest! {
        /// Whatever order a listing comes in, and whatever else lies about, the answer is one chain.
        #[test]
        fn a_chain_is_whole(raw in prop::collection::vec((0_u32..6, 0_u64..6, 1_u64..6), 0..40)) {
            let names: Vec<_> = raw.iter().map(|(seq, prev, own)| name(*seq, if *seq == 0 { 0 } else { *prev }, *own)).collect();
            let chain = longest(names.iter().copied());
            for (at, event) in chain.iter().enumerate() {
                prop_assert_eq!(event.seq as usize, at);
                prop_assert!(names.contains(event));
                if at > 0 { prop_assert_eq!(event.prev, chain[at - 1].own); }
            }
            let mut shuffled = names.clone();
            shuffled.reverse();
            prop_assert_eq!(longest(shuffled), chain);
        }
    }
}
