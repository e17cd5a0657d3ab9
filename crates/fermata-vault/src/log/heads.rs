//! How far the jobs of a run are, from what of their logs is in clear.

use std::collections::{BTreeMap, BTreeSet};

use fermata_core::FORMAT;
use fermata_core::chain::{self, EventName};
use fermata_core::checkpoint::Head;
use fermata_core::names::{RunId, Tenant};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::{GETS_CONCURRENT, Log, first_line};
use crate::error::VaultError;
use crate::layout;
use crate::vault::Vault;

/// A head has some 600 bytes, and with every count at its largest less than this.
const HEAD_BYTES_MAX: u64 = 4_096;

impl Log {
    /// How far each job of a run is, by entity; a job that has not begun is not among them. Needs no key.
    ///
    /// It costs a listing and the beginning of one object for each job. That an event hashes to its name is not looked
    /// at, so this is for people; where its head cannot be read that of the event before it is taken.
    pub async fn heads(
        vault: &Vault,
        tenant: &Tenant,
        run: &RunId,
    ) -> Result<BTreeMap<String, Head>, VaultError> {
        let folder = layout::run(tenant, run);
        let mut jobs: BTreeMap<String, BTreeSet<EventName>> = BTreeMap::new();
        for found in vault.door().list(&folder).await? {
            let parts: Vec<_> = found.location.prefix_match(&folder).into_iter().flatten().collect();
            let [entity, name] = &parts[..] else { continue };
            if let Ok(name) = name.as_ref().parse() {
                jobs.entry(entity.as_ref().to_owned()).or_default().insert(name);
            }
        }
        let newest = jobs.into_iter().map(|(entity, names)| async move {
            let head = newest(vault, &layout::job(tenant, run, &entity), chain::longest(names)).await?;
            Ok(head.map(|head| (entity, head)))
        });
        stream::iter(newest)
            .buffer_unordered(GETS_CONCURRENT)
            .try_filter_map(|found| async { Ok(found) })
            .try_collect()
            .await
    }
}

/// The head of the last event of a chain that has one.
async fn newest(vault: &Vault, folder: &Path, chain: Vec<EventName>) -> Result<Option<Head>, VaultError> {
    for name in chain.into_iter().rev() {
        let key = folder.clone().join(name.to_string());
        let beginning = vault.door().find_beginning(&key, HEAD_BYTES_MAX).await?;
        let head = beginning.as_deref().and_then(first_line).map(|(head, _)| serde_json::from_slice(head));
        match head {
            Some(Ok(Head { schema, .. })) if schema != FORMAT => {
                return Err(VaultError::Newer { key: key.to_string(), schema });
            }
            Some(Ok(head)) => return Ok(Some(head)),
            Some(Err(_)) | None => {}
        }
    }
    Ok(None)
}
