//! Jobs in the queue, what is done to them, and who did what.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fermata_fleet::bulk::{Progress, Skipped};
use fermata_fleet::queue::{AuditEntry, JobView};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Answer, Sent};
use crate::dashboard::Shared;
use crate::dashboard::operations::Operation;
use crate::dashboard::pages::actions::{self, Meant, Started};
use crate::dashboard::pages::{audit, job, jobs};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::desk::jobs as desk;

/// Jobs, as `fermata jobs list --json` has them.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    schema: u32,
    jobs: Vec<JobView>,
    total: u64,
    page: usize,
}

pub(crate) async fn list(
    State(app): State<Shared>,
    person: Asker,
    Query(asked): Query<jobs::Asked>,
) -> Answer<List> {
    let (jobs, total) = jobs::find(&app, &person, &asked.filter()?, asked.page).await?;
    Ok(Json(List { schema: fermata_core::FORMAT, jobs, total, page: asked.page.get() }))
}

pub(crate) async fn show(
    State(app): State<Shared>,
    _: Asker,
    theirs: Theirs,
    Path((_, run, entity)): Path<(String, String, String)>,
) -> Answer<desk::Shown> {
    let id = job::id(theirs, &run, &entity)?;
    let queue = actions::queue(&app)?;
    let shown = desk::show(queue, &id).await?;
    shown.map(Json).ok_or_else(|| Problem::missing(format!("there is no job {id} in the queue")))
}

/// What is to be done, and to which jobs: those named, or all that match.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Asked {
    action: String,
    jobs: Vec<String>,
    tenant: String,
    run: String,
    entity: String,
    state: String,
    error: String,
    /// All jobs of a group of failures.
    group: String,
    /// How long what failed is put off, like `2h`.
    #[serde(rename = "for")]
    span: String,
    probe: bool,
    all: bool,
    reason: String,
    rps: Option<u32>,
    dry_run: bool,
}

impl Asked {
    fn meant(self) -> Result<Meant, Problem> {
        let rps = self.rps.map(|rps| rps.to_string()).unwrap_or_default();
        let probe = if self.probe { "1" } else { "" }.to_owned();
        let fields = [
            ("action", self.action),
            ("tenant", self.tenant),
            ("run", self.run),
            ("entity", self.entity),
            ("state", self.state),
            ("error", self.error),
            ("group", self.group),
            ("for", self.span),
            ("probe", probe),
            ("all", if self.all { "1" } else { "" }.to_owned()),
            ("reason", self.reason),
            ("rps", rps),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        let jobs = self.jobs.into_iter().map(|job| ("job".to_owned(), job));
        Meant::read(&fields.chain(jobs).collect::<Vec<_>>())
    }
}

/// Something that is being done to many jobs, or was.
#[derive(Debug, Serialize)]
pub(crate) struct OperationView {
    id: String,
    action: &'static str,
    target: String,
    who: String,
    reason: Option<String>,
    rps: u32,
    began: Timestamp,
    ended: Option<Timestamp>,
    stopped: bool,
    progress: Progress,
    /// Jobs that nothing was done to, the first thousand of them.
    skipped: Vec<Skipped>,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct OperationDocument {
    schema: u32,
    operation: OperationView,
}

impl OperationDocument {
    fn of(operation: &Operation) -> Self {
        Self { schema: fermata_core::FORMAT, operation: view(operation) }
    }
}

fn view(operation: &Operation) -> OperationView {
    let state = operation.state();
    OperationView {
        id: operation.id.clone(),
        action: operation.action.name(),
        target: operation.target.clone(),
        who: operation.who.clone(),
        reason: operation.reason.clone(),
        rps: operation.rps.get(),
        began: operation.began,
        stopped: operation.stop.is_cancelled(),
        progress: state.progress,
        ended: state.ended.as_ref().map(|ended| ended.at),
        skipped: state.ended.as_ref().map(|ended| ended.skipped.clone()).unwrap_or_default(),
        failure: state.ended.and_then(|ended| ended.failure),
    }
}

pub(crate) async fn act(
    State(app): State<Shared>,
    person: Asker,
    Sent(asked): Sent<Asked>,
) -> Result<Response, Problem> {
    let dry_run = asked.dry_run;
    let meant = asked.meant()?;
    let action = meant.action()?;
    if dry_run {
        let preview = actions::look(&app, &person, &meant).await?;
        let (matched, skipped) = (preview.matched(), preview.skipped);
        return Ok(Json(desk::acted(action, matched, 0, skipped, true)).into_response());
    }
    match actions::start(&app, &person, &meant).await? {
        Started::One(_) => Ok(Json(desk::acted(action, 1, 1, Vec::new(), false)).into_response()),
        Started::Many(operation) => {
            Ok((StatusCode::ACCEPTED, Json(OperationDocument::of(&operation))).into_response())
        }
        Started::NoReason(preview) => {
            let what = format!("reason: say why; {} jobs are meant", preview.able.len());
            Err(Problem::bad(what))
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Operations {
    schema: u32,
    operations: Vec<OperationView>,
}

pub(crate) async fn operations(State(app): State<Shared>, person: Asker) -> Json<Operations> {
    let seen: Vec<Arc<Operation>> = app.operations.seen_by(&person);
    Json(Operations { schema: fermata_core::FORMAT, operations: seen.iter().map(|one| view(one)).collect() })
}

pub(crate) async fn operation(
    State(app): State<Shared>,
    person: Asker,
    Path(id): Path<String>,
) -> Answer<OperationDocument> {
    Ok(Json(OperationDocument::of(&*actions::find(&app, &person, &id)?)))
}

pub(crate) async fn stop(
    State(app): State<Shared>,
    person: Asker,
    Path(id): Path<String>,
) -> Answer<OperationDocument> {
    actions::end(&app, &person, &id)?;
    operation(State(app), person, Path(id)).await
}

/// The audit list, as `fermata queue audit --json` has it.
#[derive(Debug, Serialize)]
pub(crate) struct Audit {
    schema: u32,
    entries: Vec<AuditEntry>,
}

pub(crate) async fn audited(State(app): State<Shared>, person: Asker) -> Answer<Audit> {
    Ok(Json(Audit { schema: fermata_core::FORMAT, entries: audit::entries(&app, &person).await? }))
}
