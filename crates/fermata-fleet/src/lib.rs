#![doc = include_str!("../README.md")]

mod backend;
pub mod link;
pub mod queue;
mod serve;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use backend::Held;
pub use link::{Link, LinkError};
pub use queue::{JobId, JobState, Queue, Turn};
pub use serve::{BrokeDown, LEASE, ServeOptions, serve};
