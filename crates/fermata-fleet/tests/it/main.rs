//! The fleet on a real Redis.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod actions;
mod bulk;
mod exchange;
mod failures;
mod fair;
mod fleet;
mod idle;
mod laws;
mod leases;
mod link;
mod look;
mod model;
mod outages;
mod pace;
mod parents;
mod past;
mod places;
mod scheduler;
mod seed;
mod sentinel;
mod serve;
mod stage;
