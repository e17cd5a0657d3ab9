//! Snapshots, their records, and runs under way.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fermata_core::manifest::Manifest;
use fermata_engine::diff::{Outline, outline};
use fermata_vault::{Depth, Progress, Report};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Answer, Sent};
use crate::dashboard::pages::records::{Asked, Source};
use crate::dashboard::pages::snapshot::{HowDeep, Of};
use crate::dashboard::pages::{diff as pair, run};
use crate::dashboard::problem::Problem;
use crate::dashboard::reading::{self, Check};
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{Shared, deeds};
use crate::desk::diff::document::Document;
use crate::desk::diff::tell;
use crate::desk::runs::{self, Shown};
use crate::desk::snapshots::{self, Acceptance, List};

/// Records that a difference has of each entity, unless somebody says otherwise, and at most.
const DIFFER: (u64, u64) = (20, 1_000);

pub(crate) async fn list(State(app): State<Shared>, Theirs(tenant): Theirs) -> Answer<List> {
    deeds::settings(&app, &tenant).await?;
    Ok(Json(snapshots::list(&app.vault, &tenant).await?))
}

pub(crate) async fn show(
    State(app): State<Shared>,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Answer<Manifest> {
    Ok(Json(of.find(&app, &tenant).await?))
}

pub(crate) async fn accept(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Answer<Acceptance> {
    let manifest = of.find(&app, &tenant).await?;
    Ok(Json(deeds::accept(&app, &person, &manifest).await?))
}

/// A verification that was begun from here.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    schema: u32,
    state: &'static str,
    depth: &'static str,
    began: Timestamp,
    who: String,
    chunks: u64,
    chunks_total: u64,
    ended: Option<Timestamp>,
    error: Option<String>,
    report: Option<Report>,
}

fn checked(check: Check) -> Json<Checked> {
    let Progress { chunks, chunks_total, .. } =
        check.progress.unwrap_or(Progress { chunks: 0, chunks_total: 0, bytes: 0 });
    let (ended, report, error) = match check.ended {
        None => (None, None, None),
        Some((at, Ok(report))) => (Some(at), Some(report), None),
        Some((at, Err(error))) => (Some(at), None, Some(error)),
    };
    Json(Checked {
        schema: fermata_core::FORMAT,
        state: match (&report, &error) {
            (None, None) => "running",
            (Some(_), _) => "done",
            (None, Some(_)) => "failed",
        },
        depth: match check.depth {
            Depth::Structure => "structure",
            Depth::Stored => "stored",
            Depth::Sample { .. } => "sample",
            Depth::Data => "data",
        },
        began: check.began,
        who: check.who,
        chunks,
        chunks_total,
        ended,
        error,
        report,
    })
}

pub(crate) async fn verify(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
    Sent(asked): Sent<HowDeep>,
) -> Result<(StatusCode, Json<Checked>), Problem> {
    let run = of.run()?;
    reading::verify(&app, &person, &tenant, &run, asked.depth()?).await?;
    let check = app.reading.check(&tenant, &run).ok_or_else(never)?;
    Ok((StatusCode::ACCEPTED, checked(check)))
}

pub(crate) async fn verification(
    State(app): State<Shared>,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Answer<Checked> {
    app.reading.check(&tenant, &of.run()?).map(checked).ok_or_else(never)
}

fn never() -> Problem {
    Problem::missing("this snapshot was not verified since the page was started")
}

/// The entity of a snapshot that an address names.
#[derive(Debug, Deserialize)]
pub(crate) struct OfEntity {
    run: String,
    entity: String,
}

/// A page of records, as `fermata snapshots show --entity --json` has them, and where the next one begins.
#[derive(Debug, Serialize)]
pub(crate) struct RecordsPage {
    schema: u32,
    snapshot: String,
    entity: &'static str,
    records: Vec<Box<RawValue>>,
    more: bool,
    next: Option<String>,
    looked: u64,
}

pub(crate) async fn records(
    State(app): State<Shared>,
    Theirs(tenant): Theirs,
    Path(of): Path<OfEntity>,
    RawQuery(query): RawQuery,
) -> Answer<RecordsPage> {
    let asked = Asked::parse(query.as_deref())?;
    let source = Source::find(&app, &tenant, &of.run, &of.entity).await?;
    let Some(page) = source.page(&app, &asked).await? else {
        return Err(Problem::needs_data_key(&source.line(&asked)));
    };
    let records = page.records.into_iter().map(|record| RawValue::from_string(record.text));
    let records = records.collect::<Result<_, _>>().map_err(anyhow::Error::from)?;
    Ok(Json(RecordsPage {
        schema: fermata_core::FORMAT,
        snapshot: source.manifest.run.to_string(),
        entity: source.entity.name,
        records,
        more: page.next.is_some(),
        next: page.next.map(|next| next.to_string()),
        looked: page.looked,
    }))
}

/// Which two, which entities of them, and how many records of each.
#[derive(Debug, Deserialize)]
pub(crate) struct Pair {
    #[serde(flatten)]
    of: pair::Asked,
    limit: Option<String>,
}

/// How an entity differs, as far as manifests tell.
#[derive(Debug, Serialize)]
struct Differs {
    entity: String,
    status: &'static str,
    added: Option<u64>,
    changed: Option<u64>,
    deleted: Option<u64>,
    reason: Option<String>,
    suspect: Option<String>,
    records: Option<[(); 0]>,
}

/// As `fermata snapshots diff --json`; without the key to records as far as the manifests tell.
pub(crate) async fn diff(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Query(asked): Query<Pair>,
) -> Result<Response, Problem> {
    let limit = match asked.limit.as_deref() {
        None => DIFFER.0,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| *limit <= DIFFER.1)
            .ok_or_else(|| Problem::bad(format!("limit: {text:?} is not between 0 and {}", DIFFER.1)))?,
    };
    let (before, after) = asked.of.find(&app, &tenant).await?;
    let only: BTreeSet<String> =
        Some(asked.of.entity).filter(|entity| !entity.is_empty()).into_iter().collect();
    if let Some(unknown) = only.iter().find(|name| !pair::entities(&before, &after).contains(&name.as_str()))
    {
        return Err(Problem::missing(format!("neither snapshot has an entity {unknown:?}")));
    }
    // Records are for operators.
    let Some(data) = app.data.clone().filter(|_| person.may(crate::dashboard::access::Role::Operator)) else {
        return Ok(outlines(&before, &after, &only));
    };
    let told = app.reading.read(async move {
        let mut document = Document::new(Vec::new());
        tell(&data, &before, &after, &only, limit, &mut document).await.map(|_| document.into_inner())
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], told.await?).into_response())
}

fn outlines(before: &Manifest, after: &Manifest, only: &BTreeSet<String>) -> Response {
    let names = pair::entities(before, after).into_iter();
    let wanted = names.filter(|name| only.is_empty() || only.contains(*name));
    let entities: Vec<Differs> = wanted.filter_map(|name| differs(before, after, name)).collect();
    Json(serde_json::json!({
        "schema": fermata_core::FORMAT, "tenant": after.tenant, "from": before.run, "to": after.run, "entities": entities
    }))
    .into_response()
}

fn differs(before: &Manifest, after: &Manifest, name: &str) -> Option<Differs> {
    let suspect = after.entry(name).and_then(|entry| entry.suspect.clone());
    let (status, counts, reason) = match outline(before, after, name) {
        Outline::Neither => return None,
        Outline::Incomplete { why, .. } => ("not-compared", None, Some(why)),
        Outline::Same => ("same", Some((0, 0, 0)), None),
        Outline::Counted { added, changed, deleted } => (
            "differs",
            Some((added, changed, deleted)),
            Some("showing records needs the key to them".to_owned()),
        ),
        Outline::Unknown => ("may-differ", None, Some("counting what differs needs a key".to_owned())),
    };
    Some(Differs {
        entity: name.to_owned(),
        records: (status == "same").then_some([]),
        status,
        added: counts.map(|counts| counts.0),
        changed: counts.map(|counts| counts.1),
        deleted: counts.map(|counts| counts.2),
        reason,
        suspect: suspect.filter(|_| status != "same"),
    })
}

pub(crate) async fn list_runs(State(app): State<Shared>, Theirs(tenant): Theirs) -> Answer<runs::List> {
    deeds::settings(&app, &tenant).await?;
    Ok(Json(runs::list(&app.vault, [tenant]).await?))
}

pub(crate) async fn show_run(
    State(app): State<Shared>,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Answer<Shown> {
    let run = of.run()?;
    let plan = app.vault.plan(&tenant, &run).await?;
    let plan = plan.ok_or_else(|| Problem::missing(format!("{tenant} has no unfinished run {run}")))?;
    let queued = run::queued(&app, &plan).await;
    Ok(Json(runs::glance(&app.vault, plan, queued.as_ref()).await?))
}
