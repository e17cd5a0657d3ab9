#![doc = include_str!("../README.md")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "day numbers, seconds, ids and counts are bounded by the generator, and a simulator has no input to distrust"
)]

mod clock;
mod faults;
mod generate;
mod ledger;
mod mutate;
mod quirks;
mod quota;
mod random;
mod records;
mod schedule;
mod script;
mod server;
mod sim;
mod site;
mod tables;
mod text;
mod tokens;
mod truth;
mod worklogs;
mod world;

pub use faults::{Fault, FaultKind, Shape};
pub use ledger::{Count, Ledger, TenantLedger};
pub use mutate::{Change, MutateError, Mutation, Op};
pub use quirks::{ErrorForm, LimitAboveMax, LinkHost, Quirks, QuotaPer};
pub use records::RecordsError;
pub use schedule::Schedule;
pub use script::{ScriptError, Step, TenantMutations};
pub use server::OPERATIONS;
pub use sim::{Sim, SimBuilder, SimError};
pub use site::Sizes;
pub use tokens::{Family, TokenSpec};
pub use truth::{ENTITIES, TruthWindow};
