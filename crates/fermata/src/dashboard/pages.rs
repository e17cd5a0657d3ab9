//! A module for each page.

pub(crate) mod events;
pub(crate) mod overview;
pub(crate) mod settings;
pub(crate) mod tenant;
pub(crate) mod token;
