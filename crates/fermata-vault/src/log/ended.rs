//! How a job ended and what it gives to others, from its last event alone.

use fermata_core::chain;
use fermata_core::checkpoint::body::Keys;
use fermata_core::checkpoint::{Next, State};
use fermata_core::names::{RunId, Tenant};
use roaring::RoaringTreemap;

use super::{Log, decode, names};
use crate::error::VaultError;
use crate::layout;
use crate::vault::Vault;

/// A job that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// What its events add up to.
    pub state: State,
    /// The ids of its records, where other entities are asked by them; of others not all.
    pub ids: RoaringTreemap,
    /// All the keys that it found.
    pub keys: Keys,
}

impl Log {
    /// How a job ended; nothing if it has not. Needs the workers' key.
    ///
    /// It costs a listing and one object, however long the log is. That the events before it are whole is
    /// not looked at. Where the last one is damaged, it costs as much as [`open`](Self::open), and means the same.
    pub async fn ended(
        vault: &Vault,
        tenant: &Tenant,
        run: &RunId,
        entity: &str,
    ) -> Result<Option<Ended>, VaultError> {
        vault.worker("reading how a job ended")?;
        let folder = layout::job(tenant, run, entity);
        let Some(last) = chain::longest(names(vault, &folder).await?).pop() else { return Ok(None) };
        let key = folder.join(last.to_string());
        let stored = vault.door().find(&key).await?;
        match stored.map(|stored| decode(vault, &last, &stored)) {
            Some(Ok((event, body))) if event.seq == last.seq => match (&event.next, State::at(&event)) {
                (Next::Page(_), _) => Ok(None),
                (Next::End(_), Some(Ok(state))) => Ok(Some(Ended { state, ids: body.ids, keys: body.keys })),
                (Next::End(_), _) => Ok(Self::open(vault, tenant, run, entity).await?.into_ended()),
            },
            // Another chain counts, or another release is at work: a replay tells.
            _ => Ok(Self::open(vault, tenant, run, entity).await?.into_ended()),
        }
    }

    fn into_ended(self) -> Option<Ended> {
        self.replay.state.outcome.as_ref()?;
        let ids = self.replay.seen.ids().clone();
        Some(Ended { state: self.replay.state, ids, keys: self.replay.keys })
    }
}
