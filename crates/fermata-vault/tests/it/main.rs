//! The vault as its callers use it, on every kind of store, with and without faults.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clouds;
mod conformance;
mod ended;
mod faults;
mod flaws;
mod heads;
mod job;
mod keys;
mod logs;
mod proof;
mod prune;
mod resume;
mod rotation;
mod secrets;
mod server;
