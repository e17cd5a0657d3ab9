#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod chain;
pub mod checkpoint;
pub mod index;
pub mod manifest;
pub mod names;
pub mod plan;
pub mod retention;
pub mod schedule;
pub mod seen;
pub mod settings;

/// The version that every stored document of this release carries.
///
/// A change of any stored shape raises it and answers three questions in the changelog: what an
/// old reader makes of a new document, what a new reader makes of an old one, and who may write.
pub const FORMAT: u32 = 1;
