#![doc = include_str!("../README.md")]

mod answer;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod azurite;
mod chunk;
mod cloud;
mod environment;
mod error;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fake;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod fault;
mod identity;
mod keys;
mod layout;
mod log;
mod place;
mod probe;
mod prune;
mod runs;
mod seal;
mod settings;
mod signature;
mod snapshots;
mod store;
mod stored;
mod vault;
mod verify;

pub use chunk::{ChunkReader, Closing, Known, OpenChunk};
pub use environment::Environment;
pub use error::{Disposition, VaultError};
pub use identity::{BadRecipient, Identity, KeyError, Recipient};
pub use keys::Resealed;
pub use log::{Ended, Log, Step};
pub use place::{create, folder_of, open};
pub use probe::{Probe, Verdict, probe};
pub use prune::Pruning;
pub use runs::Leftover;
pub use snapshots::Sealed;
pub use vault::{InitOptions, Vault, nonce};
pub use verify::{Depth, Flaw, Problem, Progress, Report};
