//! What can go wrong at the store, by what a caller does about it.

use std::error::Error as StdError;
use std::io;

use fermata_core::checkpoint::IllegalEvent;
use fermata_core::names::Tenant;
use object_store::Error as StoreError;
use object_store::path::Path;

use crate::answer::{self, Meaning, Said};
use crate::cloud::NoCredentials;
use crate::probe::Verdict;

/// What the store said: a folder's error as it is, and of a cloud's answer what may be shown.
type Cause = Box<dyn StdError + Send + Sync>;

/// A failure of the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The address of a store that cannot be used.
    #[error("{url:?} is no store: {why}")]
    Address {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The environment does not say what the store needs.
    #[error("the store cannot be used: {why}")]
    Environment {
        /// What is wrong, by the variable's name.
        why: String,
    },
    /// The place exists or does not, but holds no vault.
    #[error("there is no vault here (`fermata init` makes one)")]
    NoVault,
    /// A vault is there already.
    #[error("there is a vault here already")]
    AlreadyThere,
    /// The store does not keep two writers apart.
    #[error(
        "this store does not keep two writers apart (create-if-absent is {0}); use it with `--single-writer` if only one process will ever write"
    )]
    NotHonoured(Verdict),
    /// A key is needed that was not given.
    #[error("{what} needs the key of {recipient}, which was not given")]
    NeedsKey {
        /// What was to be done.
        what: &'static str,
        /// The public half of the key, or of one of the keys.
        recipient: String,
    },
    /// None of the keys given belongs to this vault.
    #[error("the key of {given} does not open this vault, which is sealed to {wanted}")]
    WrongKey {
        /// The public halves of the keys given.
        given: String,
        /// The public halves of the vault's keys.
        wanted: String,
    },
    /// The keys given were the vault's once.
    #[error(
        "the keys of this vault were replaced: the key of {given} is an old one, and that of {wanted} is needed too"
    )]
    OldKey {
        /// The public halves of the keys given.
        given: String,
        /// The public halves of the vault's keys.
        wanted: String,
    },
    /// The tenant has no token yet.
    #[error("{0} has no token (`fermata token set {0}` stores one)")]
    NoToken(Tenant),
    /// Somebody else wrote this document first; read it and decide again.
    #[error("{key} was written by somebody else")]
    Taken {
        /// The object.
        key: String,
    },
    /// An object is not there.
    #[error("{key} is missing")]
    Missing {
        /// The object.
        key: String,
    },
    /// An object is not what its name or its neighbours say.
    #[error("{key} is damaged: {why}")]
    Corrupt {
        /// The object.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// An object of a later release.
    #[error("{key} has format {schema}; this release reads format {}", fermata_core::FORMAT)]
    Newer {
        /// The object.
        key: String,
        /// Its format.
        schema: u32,
    },
    /// A step that does not follow the job's state; a fault of the program, not of the store.
    #[error("the step does not follow the job's checkpoint")]
    Illegal(#[source] IllegalEvent),
    /// The store has no room left.
    #[error("the store is full: {key} was not written")]
    Full {
        /// The object.
        key: String,
        /// As the store said it.
        #[source]
        source: Cause,
    },
    /// The store takes no writes.
    #[error("the store is read-only: {key} was not written")]
    ReadOnly {
        /// The object.
        key: String,
        /// As the store said it.
        #[source]
        source: Cause,
    },
    /// The store does not let these credentials, or this user, do it.
    #[error("the store refuses access to {key}")]
    Denied {
        /// The object.
        key: String,
        /// As the store said it.
        #[source]
        source: Cause,
    },
    /// Nothing gave credentials for the store.
    #[error("there are no credentials for the store: {0}")]
    NoCredentials(String),
    /// The credentials for the store are wrong or expired.
    #[error("the store does not take the credentials")]
    Credentials {
        /// As the store said it.
        #[source]
        source: Cause,
    },
    /// There is no bucket, or container, of the name that was given.
    #[error("there is no bucket or container of that name")]
    NoBucket {
        /// As the store said it.
        #[source]
        source: Cause,
    },
    /// The bucket is in another region than it was asked for in.
    #[error("the bucket is in another region{}", .region.as_ref().map(|region| format!(", {region}")).unwrap_or_default())]
    Region {
        /// In which, if the store said so.
        region: Option<String>,
        /// As the store said it.
        #[source]
        source: Cause,
    },
    /// The store could not be reached, after retries. After a write the outcome is unknown.
    #[error("the store does not answer")]
    Away {
        /// What happened on the way.
        #[source]
        source: Cause,
    },
    /// Anything else, after the store's own retries. After a write the outcome is unknown.
    #[error("the store failed at {key}")]
    Store {
        /// The object.
        key: String,
        /// As the store said it.
        #[source]
        source: Cause,
    },
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Read again and try again, later.
    Retry,
    /// Nothing, until a person did something.
    Operator,
    /// Nothing: it will not go away.
    GiveUp,
}

impl VaultError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Store { .. } | Self::Away { .. } | Self::Taken { .. } => Disposition::Retry,
            Self::Address { .. }
            | Self::Environment { .. }
            | Self::NoVault
            | Self::AlreadyThere
            | Self::NotHonoured(_)
            | Self::NeedsKey { .. }
            | Self::WrongKey { .. }
            | Self::OldKey { .. }
            | Self::NoToken(_)
            | Self::Newer { .. }
            | Self::Full { .. }
            | Self::ReadOnly { .. }
            | Self::Denied { .. }
            | Self::NoCredentials(_)
            | Self::Credentials { .. }
            | Self::NoBucket { .. }
            | Self::Region { .. } => Disposition::Operator,
            Self::Missing { .. } | Self::Corrupt { .. } | Self::Illegal(_) => Disposition::GiveUp,
        }
    }

    /// Whether the store itself fails, or does not let us in: not a key, and not one object.
    pub fn is_of_the_store(&self) -> bool {
        matches!(
            self,
            Self::Store { .. }
                | Self::Away { .. }
                | Self::Full { .. }
                | Self::ReadOnly { .. }
                | Self::Denied { .. }
                | Self::NoCredentials(_)
                | Self::Credentials { .. }
                | Self::NoBucket { .. }
                | Self::Region { .. }
        )
    }

    /// Whether the same may succeed in a while without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        self.disposition() == Disposition::Retry
    }

    /// What an error of the store means for this object.
    pub(crate) fn of(key: &Path, source: StoreError) -> Self {
        let key = key.to_string();
        let answer = answer::read(&source);
        let in_no_bucket = matches!(answer, Some((Meaning::NoBucket, _)));
        match &source {
            StoreError::NotFound { .. } if !in_no_bucket => return Self::Missing { key },
            StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => return Self::Taken { key },
            _ => {}
        }
        if let Some((meaning, said)) = answer {
            return Self::answered(key, meaning, said);
        }
        if let Some(none) = causes(&source).find_map(|cause| cause.downcast_ref::<NoCredentials>()) {
            return Self::NoCredentials(none.to_string());
        }
        let kind = io_kind(&source);
        let source = Box::new(source);
        match kind {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Self::Full { key, source },
            Some(io::ErrorKind::ReadOnlyFilesystem) => Self::ReadOnly { key, source },
            Some(io::ErrorKind::PermissionDenied) => Self::Denied { key, source },
            _ => Self::Store { key, source },
        }
    }

    fn answered(key: String, meaning: Meaning, said: Said) -> Self {
        let source = Box::new(said);
        match meaning {
            Meaning::Away => Self::Away { source },
            Meaning::NoBucket => Self::NoBucket { source },
            Meaning::Region(region) => Self::Region { region, source },
            Meaning::Credentials => Self::Credentials { source },
            Meaning::Denied => Self::Denied { key, source },
            Meaning::Full => Self::Full { key, source },
            Meaning::Other => Self::Store { key, source },
        }
    }

    pub(crate) fn corrupt(key: &Path, why: impl Into<String>) -> Self {
        Self::Corrupt { key: key.to_string(), why: why.into() }
    }
}

/// Whether this one object may not be deleted, with these credentials or while it is locked. Where many are deleted
/// at once the clouds' answers for each come as text.
pub(crate) fn is_refused(error: &StoreError) -> bool {
    let said =
        |text: &str| ["code: AccessDenied", "code: 403", "Immutable"].iter().any(|code| text.contains(code));
    match error {
        StoreError::PermissionDenied { .. } => true,
        StoreError::Generic { source, .. } => {
            io_kind(error) == Some(io::ErrorKind::PermissionDenied) || said(&source.to_string())
        }
        _ => false,
    }
}

/// The first error of the operating system in the chain.
fn io_kind(error: &StoreError) -> Option<io::ErrorKind> {
    let mut kinds = causes(error).filter_map(|cause| Some(cause.downcast_ref::<io::Error>()?.kind()));
    kinds.find(|kind| *kind != io::ErrorKind::Other)
}

/// The error and all that is behind it.
pub(crate) fn causes(error: &StoreError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let first: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(first), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error as a folder gives it: the system's, two levels down.
    fn check(number: i32, expect: &str) {
        #[derive(Debug, thiserror::Error)]
        #[error("unable to copy data to file")]
        struct Unable(#[source] io::Error);
        let source = Box::new(Unable(io::Error::from_raw_os_error(number)));
        let error =
            VaultError::of(&Path::from("x"), StoreError::Generic { store: "LocalFileSystem", source });
        assert_eq!(error.to_string(), expect);
        assert_eq!(error.is_transient(), matches!(error, VaultError::Store { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn what_the_system_says_is_what_an_operator_reads() {
        check(28, "the store is full: x was not written");
        check(122, "the store is full: x was not written");
        check(30, "the store is read-only: x was not written");
        check(13, "the store refuses access to x");
        check(5, "the store failed at x");
    }
}
