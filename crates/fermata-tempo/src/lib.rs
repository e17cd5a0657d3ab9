#![doc = include_str!("../README.md")]

pub mod client;
pub mod error;
pub mod pace;
pub mod page;
pub mod paging;
pub mod request;
pub mod row;
pub mod scan;

pub use client::{Client, Options};
pub use error::{Disposition, TempoError};
pub use pace::{NotNow, Pace, Turns};
