//! What an operator asks and does, and the documents that answer: the commands, the page and the API are three ways to it.

pub(crate) mod diff;
pub(crate) mod jobs;
pub(crate) mod queue;
pub(crate) mod runs;
pub(crate) mod snapshots;
pub(crate) mod tenants;
pub(crate) mod tokens;
