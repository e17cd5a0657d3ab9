//! The few things that are asked of a store, and the one rule for doubtful answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fermata_core::FORMAT;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tracing::Instrument;
use tracing::field::Empty;

use crate::error::{self, Disposition, VaultError};
use crate::layout;
use crate::seal;

/// Attempts of a conditional put. The store's client has retried each already, so this is for the
/// answers it may not retry: a lost one, and a conflict with a write that then came to nothing.
const PUT_ONCE_TRIES: u32 = 4;
/// Hexadecimal digits of a hash.
const HASH_CHARS: usize = 64;
/// Wait before the third attempt and, times two, the fourth; the second follows at once.
const PUT_ONCE_WAIT: Duration = Duration::from_millis(20);

/// A store, and whether it may be trusted to keep two writers apart.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) single_writer: bool,
}

/// Whose document stands after a conditional put.
#[derive(Debug)]
pub(crate) enum Once {
    Mine,
    Theirs(Bytes),
}

impl Door {
    pub(crate) async fn get(&self, key: &Path) -> Result<Bytes, VaultError> {
        let answer = match self.store.get(key).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| VaultError::of(key, error))
    }

    /// The object, or nothing where there is none.
    pub(crate) async fn find(&self, key: &Path) -> Result<Option<Bytes>, VaultError> {
        match self.get(key).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(VaultError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first bytes of an object, at most so many; nothing where there is none.
    pub(crate) async fn find_beginning(&self, key: &Path, most: u64) -> Result<Option<Bytes>, VaultError> {
        match self.store.get_range(key, 0..most).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(VaultError::of(key, error)),
        }
    }

    pub(crate) async fn exists(&self, key: &Path) -> Result<bool, VaultError> {
        match self.store.head(key).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            // A cloud's answer to a question for the head alone has no body that could say why.
            Err(_) => Ok(self.find(key).await?.is_some()),
        }
    }

    /// Puts an object whose name carries its content's hash: a repeat is the same object.
    pub(crate) async fn put(&self, key: &Path, bytes: Bytes) -> Result<(), VaultError> {
        traced(key, bytes.len(), self.put_plainly(key, bytes)).await
    }

    async fn put_plainly(&self, key: &Path, bytes: Bytes) -> Result<(), VaultError> {
        match self.store.put(key, bytes.into()).await {
            Ok(_) => Ok(()),
            // S3 answers so when two writers put the same object at the same time: worth another try, no conflict.
            Err(source @ (StoreError::AlreadyExists { .. } | StoreError::Precondition { .. })) => {
                Err(VaultError::Store { key: key.to_string(), source: Box::new(source) })
            }
            Err(error) => Err(VaultError::of(key, error)),
        }
    }

    /// Puts a document that must not replace another. `bytes` hold a nonce, so that after a doubtful
    /// answer the one that stands can be told from somebody else's.
    pub(crate) async fn put_once(&self, key: &Path, bytes: Bytes) -> Result<Once, VaultError> {
        let size = bytes.len();
        if self.single_writer {
            traced(key, size, self.put_alone(key, bytes)).await
        } else {
            traced(key, size, self.put_if_absent(key, bytes)).await
        }
    }

    async fn put_if_absent(&self, key: &Path, bytes: Bytes) -> Result<Once, VaultError> {
        let mut attempt = 0;
        loop {
            let options = PutOptions::from(PutMode::Create);
            let Err(error) = self.store.put_opts(key, bytes.clone().into(), options).await else {
                return Ok(Once::Mine);
            };
            attempt += 1;
            // "Already exists" may be the answer to the second half of our own success.
            let error = match self.find(key).await {
                Ok(Some(found)) if found == bytes => return Ok(Once::Mine),
                Ok(Some(found)) => return Ok(Once::Theirs(found)),
                Ok(None) => VaultError::of(key, error),
                Err(unread) => unread,
            };
            if attempt == PUT_ONCE_TRIES || error.disposition() != Disposition::Retry {
                return Err(error);
            }
            tokio::time::sleep(PUT_ONCE_WAIT * (attempt - 1)).await;
        }
    }

    /// As [`put_if_absent`](Self::put_if_absent) where nobody else ever writes, so that conditions are not needed.
    async fn put_alone(&self, key: &Path, bytes: Bytes) -> Result<Once, VaultError> {
        match self.find(key).await? {
            Some(found) if found == bytes => return Ok(Once::Mine),
            Some(found) => return Ok(Once::Theirs(found)),
            None => {}
        }
        let Err(error) = self.put_plainly(key, bytes.clone()).await else { return Ok(Once::Mine) };
        match self.find(key).await {
            Ok(Some(found)) if found == bytes => Ok(Once::Mine),
            _ => Err(error),
        }
    }

    /// Every object under a prefix, sorted by name (a folder lists in any order).
    pub(crate) async fn list(&self, prefix: &Path) -> Result<Vec<ObjectMeta>, VaultError> {
        let found = self.store.list(Some(prefix)).try_collect::<Vec<_>>().await;
        let mut found = found.map_err(|error| VaultError::of(prefix, error))?;
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// The names directly under a prefix that have something under them, sorted.
    pub(crate) async fn folders(&self, prefix: &Path) -> Result<Vec<String>, VaultError> {
        let found = self.store.list_with_delimiter(Some(prefix)).await;
        let found = found.map_err(|error| VaultError::of(prefix, error))?;
        let mut names: Vec<String> =
            found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes objects; one that is not there is deleted already.
    pub(crate) async fn delete(&self, keys: Vec<Path>) -> Result<(), VaultError> {
        let Some(first) = keys.first().cloned() else { return Ok(()) };
        let mut done = self.store.delete_stream(stream::iter(keys.into_iter().map(Ok)).boxed());
        while let Some(answer) = done.next().await {
            match answer {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(VaultError::of(&first, error)),
            }
        }
        Ok(())
    }

    /// Deletes objects as far as the store lets them go; returns how many it does not.
    pub(crate) async fn delete_permitted(&self, keys: Vec<Path>) -> Result<u64, VaultError> {
        let Some(first) = keys.first().cloned() else { return Ok(0) };
        let mut refused = 0;
        let mut done = self.store.delete_stream(stream::iter(keys.into_iter().map(Ok)).boxed());
        while let Some(answer) = done.next().await {
            match answer {
                Ok(_) | Err(StoreError::NotFound { .. }) => {}
                Err(error) if error::is_refused(&error) => refused += 1,
                Err(error) => return Err(VaultError::of(&first, error)),
            }
        }
        Ok(refused)
    }

    pub(crate) async fn delete_under(&self, prefix: &Path) -> Result<(), VaultError> {
        let keys = self.list(prefix).await?.into_iter().map(|found| found.location).collect();
        self.delete(keys).await
    }
}

/// A put in a trace: what kind of object it is, how large, and whether it was stored. Its name no
/// other has, so it would group nothing.
fn traced<T>(
    key: &Path,
    bytes: usize,
    put: impl Future<Output = Result<T, VaultError>>,
) -> impl Future<Output = Result<T, VaultError>> {
    let span = tracing::info_span!(
        "put",
        otel.name = format!("put {}", layout::kind(key)),
        otel.status_code = Empty,
        fermata.object.kind = layout::kind(key),
        fermata.object.bytes = i64::try_from(bytes).unwrap_or(i64::MAX),
    );
    // On the heap, or every future that stores something would be larger by it.
    let put = Box::pin(put.instrument(span.clone()));
    async move {
        let answer = put.await;
        if answer.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        answer
    }
}

/// A document as stored: JSON that people can read, since they may have to.
pub(crate) fn document(value: &impl Serialize) -> Bytes {
    let mut bytes =
        serde_json::to_vec_pretty(value).expect("documents have only text keys and finite numbers");
    bytes.push(b'\n');
    bytes.into()
}

/// What stands around the hash of a [hashed] document.
const HASH_LINE: (&[u8], &[u8]) = (b"  \"sha256\": \"", b"\",\n");
/// The first line of every document.
const BEGIN: &[u8] = b"{\n";

/// A document that anybody may write, so that nobody signs it: its second line holds the hash of its bytes without that
/// line, and a bit that flips shows.
pub(crate) fn hashed(value: &impl Serialize) -> Bytes {
    let document = document(value);
    let rest = document.strip_prefix(BEGIN).expect("a document begins so");
    let hash = seal::hex(&seal::sha256(&document));
    [BEGIN, HASH_LINE.0, hash.as_bytes(), HASH_LINE.1, rest].concat().into()
}

/// Whether a document is as it was [hashed].
pub(crate) fn is_hashed(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(BEGIN).and_then(|rest| rest.strip_prefix(HASH_LINE.0));
    let Some((hash, rest)) = rest.and_then(|rest| rest.split_at_checked(HASH_CHARS)) else { return false };
    let Some(rest) = rest.strip_prefix(HASH_LINE.1) else { return false };
    seal::hex(&seal::sha256(&[BEGIN, rest].concat())).as_bytes() == hash
}

/// A document from its bytes; its format is looked at first, so that a later one is named as such.
pub(crate) fn parse<T: DeserializeOwned>(key: &Path, bytes: &[u8]) -> Result<T, VaultError> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let bad = |error: serde_json::Error| VaultError::corrupt(key, error.to_string());
    let Version { schema } = serde_json::from_slice(bytes).map_err(bad)?;
    if schema == FORMAT {
        serde_json::from_slice(bytes).map_err(bad)
    } else {
        Err(VaultError::Newer { key: key.to_string(), schema })
    }
}
