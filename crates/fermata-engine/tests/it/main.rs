//! The engine against a simulated Tempo and real stores.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod changes;
mod coverage;
mod crash;
mod deltas;
mod hostile;
mod look;
mod lost;
mod prune;
mod rogue;
mod schedules;
mod secrets;
mod seed;
mod site;
mod slices;
mod stubborn;
mod whole;
