//! A module for each page.

pub(crate) mod actions;
pub(crate) mod audit;
pub(crate) mod diff;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod failures;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod overview;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod settings;
pub(crate) mod snapshot;
pub(crate) mod snapshots;
pub(crate) mod tenant;
pub(crate) mod token;
pub(crate) mod workers;
