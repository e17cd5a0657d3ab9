//! The queue as a whole, and its workers.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use fermata_core::names::Tenant;
use fermata_fleet::queue::QueueView;
use serde::{Deserialize, Serialize};

use super::{Answer, Done, Sent, done};
use crate::dashboard::Shared;
use crate::dashboard::pages::{actions, workers};
use crate::dashboard::routes::Asker;
use crate::desk::queue::Drained;

/// The queue, as `fermata queue status --json` has it.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    schema: u32,
    #[serde(flatten)]
    queue: QueueView,
}

pub(crate) async fn status(State(app): State<Shared>, person: Asker) -> Answer<Status> {
    let mut queue = actions::queue(&app)?.view().await?;
    let held: BTreeMap<Tenant, String> = std::mem::take(&mut queue.held);
    queue.held = held.into_iter().filter(|(tenant, _)| person.sees(tenant)).collect();
    Ok(Json(Status { schema: fermata_core::FORMAT, queue }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Reason {
    reason: String,
}

pub(crate) async fn pause(
    State(app): State<Shared>,
    person: Asker,
    Sent(given): Sent<Reason>,
) -> Answer<Done> {
    workers::hold(&app, &person, true, Some(given.reason)).await?;
    Ok(done())
}

pub(crate) async fn resume(State(app): State<Shared>, person: Asker) -> Answer<Done> {
    workers::hold(&app, &person, false, None).await?;
    Ok(done())
}

pub(crate) async fn drain(
    State(app): State<Shared>,
    person: Asker,
    Path(worker): Path<String>,
) -> Answer<Drained> {
    workers::set_drained(&app, &person, &worker, true).await.map(Json)
}

pub(crate) async fn undrain(
    State(app): State<Shared>,
    person: Asker,
    Path(worker): Path<String>,
) -> Answer<Drained> {
    workers::set_drained(&app, &person, &worker, false).await.map(Json)
}
