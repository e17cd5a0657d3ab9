//! The engine against a simulated Tempo and real stores.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod site;
mod whole;
