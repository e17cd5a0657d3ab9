//! The fleet on a real Redis.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod link;
mod serve;
