#![doc = include_str!("../README.md")]

pub mod backup;
pub mod clock;
pub mod coverage;
pub mod digest;
pub mod export;
pub mod items;
pub mod job;
pub mod progress;
pub mod report;
mod run;
pub mod seal;
pub mod view;

pub use backup::{BackupError, Engine};
pub use clock::Clock;
pub use progress::{Progress, Teller};
pub use report::Report;
