//! Whether a chunk's bytes are the records that its name and the manifest say.

use std::io::{self, BufRead};

use aws_lc_rs::digest;
use bytes::Bytes;
use fermata_core::index;
use fermata_core::manifest::{Chunk, LayerKind};
use serde::de::IgnoredAny;

use super::Flaw;
use crate::chunk::{self, name_parts};
use crate::vault::Vault;

/// What the decompressed bytes of a chunk are.
#[derive(Default)]
struct Content {
    hash: [u8; 32],
    records: u64,
    bytes: u64,
    /// The first record that is no JSON object, from 1.
    malformed: Option<u64>,
    /// Why reading stopped before the end.
    broken: Option<String>,
}

impl Vault {
    /// The flaws of a chunk's bytes, and what can be had of them if there are any.
    pub(super) fn check_bytes(
        &self,
        layer: LayerKind,
        stored: Bytes,
        chunk: &Chunk,
        opens: bool,
    ) -> (Vec<Flaw>, Option<String>) {
        let mut flaws = Vec::new();
        if stored.len() as u64 != chunk.stored {
            flaws.push(Flaw::Size { found: stored.len() as u64, named: chunk.stored });
        }
        if !chunk::is_intact(&chunk.name, &stored) {
            flaws.push(Flaw::Hash);
        }
        if !opens || (layer == LayerKind::Index && !self.can_work()) {
            // Without the key to it, that its bytes are those that were stored is all that can be said.
            return (flaws, None);
        }
        let content = match self.content(layer, stored, chunk.bytes) {
            Ok(content) => content,
            Err(error) => {
                flaws.push(Flaw::Unreadable(error.to_string()));
                return (flaws, None);
            }
        };
        if let Some(record) = content.malformed {
            flaws.push(Flaw::Record(record));
        }
        match content.broken {
            Some(error) => flaws.push(Flaw::Unreadable(error)),
            None => flaws.extend(self.compare(&content, chunk)),
        }
        let salvage = format!("its first {} of {} records can be read", content.records, chunk.records);
        (flaws, Some(salvage))
    }

    fn compare(&self, content: &Content, chunk: &Chunk) -> Vec<Flaw> {
        let counted = [("records", content.records, chunk.records), ("bytes", content.bytes, chunk.bytes)];
        let mut flaws: Vec<Flaw> = counted
            .into_iter()
            .filter(|(_, found, named)| found != named)
            .map(|(of, found, named)| Flaw::Count { of, found, named })
            .collect();
        let id = name_parts(&chunk.name).map(|(id, _)| id.to_owned());
        if self.naming().is_some_and(|key| Some(key.id(&content.hash)) != id) {
            flaws.push(Flaw::Id);
        }
        flaws
    }

    fn content(&self, layer: LayerKind, stored: Bytes, says: u64) -> io::Result<Content> {
        let mut reader = self.decode(layer, stored, says)?;
        // Hashing is most of the work: with this one a core reads 560 MB/s of records, and 440 with that of an open chunk.
        let mut hash = digest::Context::new(&digest::SHA256);
        let mut begun = Vec::new();
        let mut content = Content::default();
        loop {
            // Lines are looked at where they lie; only one that a buffer ends in is copied.
            let buffer = match reader.fill_buf() {
                Ok([]) => break,
                Ok(buffer) => buffer,
                Err(error) => {
                    content.broken = Some(error.to_string());
                    break;
                }
            };
            hash.update(buffer);
            let (length, mut rest) = (buffer.len(), buffer);
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (line, after) = rest.split_at(end + 1);
                if begun.is_empty() {
                    content.take(layer, line);
                } else {
                    begun.extend_from_slice(line);
                    content.take(layer, &begun);
                    begun.clear();
                }
                rest = after;
            }
            begun.extend_from_slice(rest);
            content.bytes += length as u64;
            reader.consume(length);
        }
        if !begun.is_empty() && content.broken.is_none() {
            content.malformed.get_or_insert(content.records + 1);
        }
        content.hash.copy_from_slice(hash.finish().as_ref());
        Ok(content)
    }
}

impl Content {
    fn take(&mut self, layer: LayerKind, line: &[u8]) {
        self.records += 1;
        if self.malformed.is_none() && !is_line(layer, line) {
            self.malformed = Some(self.records);
        }
    }
}

fn is_line(layer: LayerKind, line: &[u8]) -> bool {
    if layer == LayerKind::Index {
        return index::Reader::default().read(line).is_ok();
    }
    line.first() == Some(&b'{')
        && std::str::from_utf8(line).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}
