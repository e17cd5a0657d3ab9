//! What a job has come to: its totals, and what can only be said at its end.

use fermata_core::catalogue::{Delta, Key, Way};
use fermata_core::checkpoint::Tally;
use fermata_vault::{Step, VaultError};

use super::{Base, Job, builds};
use crate::digest::{self, Digest, widen};

impl Job {
    /// The totals so far, with what was spent since the last event.
    pub(super) fn tally(&self) -> Tally {
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
    pub(super) fn compared(&self, way: Way, tally: Tally) -> Tally {
        let base = self.base.as_ref().map(|base| base.records);
        let records = base.filter(|_| builds(self.entity, way)).unwrap_or_default();
        Tally { base, records, ..tally }
    }

    /// Counts what was kept.
    pub(super) fn count(&self, tally: &mut Tally, digest: &Digest) {
        let builds = self.builds();
        let (compared, gone) = (digest.compared, if builds { digest.gone.len() } else { 0 });
        for (kept, more) in tally.kept.iter_mut().zip(digest.kept) {
            *kept += more;
        }
        tally.met += digest.new;
        tally.changes += digest.changed;
        tally.repeats += digest.repeats;
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

    /// What can be said once all was read: which records are gone, which keys the entity gives.
    pub(super) async fn conclude(&mut self, step: &mut Step, complete: bool) -> Result<(), VaultError> {
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
}
