//! A script: faults, mutations and quirks that come into force after so many data requests.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::faults::Fault;
use crate::mutate::Mutation;
use crate::schedule::Schedule;

/// One step of a script.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Data requests (of all tenants together) that are served before the step; 0 is at once.
    pub after_requests: u64,
    /// Faults to add.
    pub faults: Vec<Fault>,
    /// Mutations to make, each in the tenant it names.
    pub mutate: Vec<TenantMutations>,
    /// Schedules to start.
    pub schedule: Vec<Schedule>,
    /// Quirks to change.
    pub quirks: Option<serde_json::Value>,
}

/// Mutations of one tenant, as `POST /_sim/mutate` takes them too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantMutations {
    /// The tenant's name (`sim-1`).
    pub tenant: String,
    /// What to do, in order.
    pub ops: Vec<Mutation>,
}

/// What is wrong with a script file.
#[derive(Debug, Error)]
pub enum ScriptError {
    /// It cannot be read.
    #[error("cannot read the script {}", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// It is not a list of steps.
    #[error("the script {} is not a JSON list of steps", .0.display())]
    Parse(PathBuf, #[source] serde_json::Error),
}

/// Reads a script, sorted by when its steps are due.
pub(crate) fn read(path: &Path) -> Result<Vec<Step>, ScriptError> {
    let text = std::fs::read_to_string(path).map_err(|error| ScriptError::Read(path.to_owned(), error))?;
    let mut steps: Vec<Step> =
        serde_json::from_str(&text).map_err(|error| ScriptError::Parse(path.to_owned(), error))?;
    steps.sort_by_key(|step| step.after_requests);
    Ok(steps)
}
