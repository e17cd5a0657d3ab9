//! A module for each page.

pub(crate) mod events;
pub(crate) mod overview;
