#![doc = include_str!("../README.md")]

pub mod attempts;
pub mod backup;
pub mod clock;
pub mod coverage;
pub mod diff;
pub mod digest;
pub mod export;
pub mod fields;
pub mod find;
pub mod items;
pub mod job;
pub mod page;
pub mod progress;
pub mod report;
mod run;
pub mod seal;
pub mod site;
pub mod trace;
pub mod view;

pub use attempts::{ATTEMPTS_MAX, Attempts};
pub use backup::{BackupError, Begun, Engine};
pub use clock::Clock;
pub use progress::{Progress, Teller};
pub use report::Report;
pub use seal::SealRun;
pub use site::{Gave, Given, Site};
