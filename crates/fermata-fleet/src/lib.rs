#![doc = include_str!("../README.md")]

pub mod link;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;

pub use link::{Link, LinkError};
