#![doc = include_str!("../README.md")]

mod backend;
pub mod bulk;
mod clerk;
pub mod failures;
pub mod link;
pub mod meters;
pub mod pace;
pub mod produce;
pub mod queue;
pub mod scheduler;
mod serve;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
pub mod worker;

pub use backend::Held;
pub use failures::Failures;
pub use link::{Link, LinkError};
pub use meters::Meters;
pub use pace::Budget;
pub use produce::{Enqueued, ProduceError, Producer};
pub use queue::{Demand, JobId, JobState, Queue, Turn};
pub use scheduler::{Scheduler, SchedulerOptions};
pub use serve::{BrokeDown, LEASE, ServeOptions, serve};
pub use worker::{AtHand, SLICE, Worker};
