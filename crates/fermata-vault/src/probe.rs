//! Whether a store keeps two writers apart.
//!
//! "S3-compatible" says nothing about conditions: some stores answer 200 and overwrite, some check and
//! then write. So `init` asks, alone and raced, and the vault keeps the answer.

use std::fmt;

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, PutMode, PutOptions};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::error::VaultError;
use crate::store::Door;
use crate::vault::nonce;

/// Writers that race for one name.
const RACERS: usize = 8;
/// Attempts of the first create: a store that only hiccuped is not one that lacks conditions.
const CREATES: u32 = 2;
/// Races. Every racy store that was measured lost its first or second.
const ROUNDS: u32 = 4;

/// How a store treats create-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// One writer wins, always.
    Honoured,
    /// One after the other, yes; at the same time, no.
    Racy,
    /// Not at all.
    Ignored,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The verdict.
    pub verdict: Verdict,
    /// Races that had more than one winner.
    pub rounds_broken: u32,
}

/// Asks a store whether it honours create-if-absent; deletes what it wrote.
pub async fn probe(store: &Arc<dyn ObjectStore>) -> Result<Probe, VaultError> {
    let door = Door { store: Arc::clone(store), single_writer: false };
    let folder = Path::from_iter(["probe"]).join(nonce());
    let found = ask(&door, &folder).await;
    let swept = door.delete_under(&folder).await;
    let found = found?;
    swept?;
    Ok(found)
}

async fn ask(door: &Door, folder: &Path) -> Result<Probe, VaultError> {
    if !alone(door, &folder.clone().join("alone")).await? {
        return Ok(Probe { verdict: Verdict::Ignored, rounds_broken: 0 });
    }
    let mut rounds_broken = 0;
    for round in 0..ROUNDS {
        rounds_broken += u32::from(!raced(door, &folder.clone().join(format!("race-{round}"))).await?);
    }
    let verdict = if rounds_broken == 0 { Verdict::Honoured } else { Verdict::Racy };
    Ok(Probe { verdict, rounds_broken })
}

/// Whether the second of two creates is refused and the first stands.
async fn alone(door: &Door, key: &Path) -> Result<bool, VaultError> {
    let mut failed = None;
    for _ in 0..CREATES {
        failed = match create(door, key, "first").await {
            // The second try may find what the first wrote.
            Ok(()) | Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => None,
            Err(error) => Some(error),
        };
        if failed.is_none() {
            break;
        }
    }
    if failed.is_some() {
        // Either conditions are not supported here, or nothing can be written at all.
        return door.put(key, Bytes::from_static(b"plain")).await.map(|()| false);
    }
    let refused = create(door, key, "second").await.is_err();
    Ok(refused && door.get(key).await? == "first")
}

/// Whether one of several writers wins, and its object stands.
async fn raced(door: &Door, key: &Path) -> Result<bool, VaultError> {
    let bodies: Vec<String> = (0..RACERS).map(|racer| format!("racer {racer}")).collect();
    let answers = join_all(bodies.iter().map(|body| create(door, key, body))).await;
    let mut winners = answers.iter().zip(&bodies).filter(|(answer, _)| answer.is_ok()).map(|(_, body)| body);
    match (winners.next(), winners.next()) {
        (Some(winner), None) => Ok(door.get(key).await? == winner.as_bytes()),
        (Some(_), Some(_)) => Ok(false),
        // Nobody was told that it won. A lost answer is no reason for a verdict; a dead store is an error.
        (None, _) => door.get(key).await.map(|_| true),
    }
}

async fn create(door: &Door, key: &Path, body: &str) -> Result<(), StoreError> {
    let payload = Bytes::copy_from_slice(body.as_bytes()).into();
    door.store.put_opts(key, payload, PutOptions::from(PutMode::Create)).await.map(|_| ())
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Honoured => "honoured",
            Self::Racy => "racy",
            Self::Ignored => "ignored",
        })
    }
}
