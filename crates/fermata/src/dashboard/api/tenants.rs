//! Tenants, their tokens and settings.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Wish;
use fermata_core::settings::Settings;
use fermata_engine::coverage::Coverage;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{Answer, Done, Sent, done};
use crate::dashboard::board::{Health, Row};
use crate::dashboard::deeds::{self, Unchanged};
use crate::dashboard::pages::overview::{self, Asked, SIZE};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{App, Shared, now};
use crate::desk::tenants::{self, Change, TokenView, View};

/// A page of tenants.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    schema: u32,
    tenants: Vec<Line>,
    /// How many match.
    total: usize,
    page: usize,
    pages: usize,
    /// When all of them were last looked at; nothing before that was once.
    looked: Option<Timestamp>,
}

/// A tenant as `fermata tenant show --json` has it, and how it is.
#[derive(Debug, Serialize)]
struct Line {
    tenant: Tenant,
    health: &'static str,
    why: Option<String>,
    needs_you: bool,
    last: Option<LastView>,
    unfinished: Option<RunId>,
    due: Option<Timestamp>,
    /// Nothing where they cannot be read.
    settings: Option<View>,
}

#[derive(Debug, Serialize)]
struct LastView {
    snapshot: RunId,
    status: fermata_core::manifest::Status,
    sealed: Timestamp,
    records: u64,
    bytes_stored: u64,
    requests: u64,
    gaps: Vec<GapView>,
}

#[derive(Debug, Serialize)]
struct GapView {
    entity: String,
    status: &'static str,
    reason: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct One {
    schema: u32,
    #[serde(flatten)]
    line: Line,
}

pub(crate) async fn list(State(app): State<Shared>, person: Asker, Query(asked): Query<Asked>) -> Json<List> {
    let now = now();
    let found = overview::find(&app, &person, &asked, now);
    let shown = found.rows.iter().skip(asked.page.skips(SIZE)).take(SIZE);
    Json(List {
        schema: fermata_core::FORMAT,
        tenants: shown.map(|(row, health)| line(row, *health, now)).collect(),
        total: found.rows.len(),
        page: asked.page.get(),
        pages: found.rows.len().div_ceil(SIZE),
        looked: app.board.looked().at,
    })
}

fn line(row: &Row, health: Health, now: Timestamp) -> Line {
    let settings = row.settings.as_ref().ok();
    Line {
        tenant: row.tenant.clone(),
        health: health.name(),
        why: row.why(now),
        needs_you: health.needs_you(),
        last: row.last.as_ref().map(|last| LastView {
            snapshot: last.run.clone(),
            status: last.status,
            sealed: last.sealed,
            records: last.records,
            bytes_stored: last.stored,
            requests: last.requests,
            gaps: last
                .gaps
                .iter()
                .map(|gap| GapView {
                    entity: gap.entity.clone(),
                    status: if gap.failed { "failed" } else { "skipped" },
                    reason: gap.reason.clone(),
                })
                .collect(),
        }),
        unfinished: row.unfinished.clone(),
        due: row.next(now),
        settings: settings.map(|settings| tenants::view(settings, row.newest.as_ref(), now)),
    }
}

pub(crate) async fn show(State(app): State<Shared>, _: Asker, Theirs(tenant): Theirs) -> Answer<One> {
    one(&app, &tenant).await
}

/// A tenant as it is now.
async fn one(app: &App, tenant: &Tenant) -> Answer<One> {
    app.board.look(&app.vault, tenant).await;
    let row = app.board.row(tenant).ok_or_else(|| Problem::no_tenant(tenant))?;
    let now = now();
    Ok(Json(One { schema: fermata_core::FORMAT, line: line(&row, row.health(now), now) }))
}

/// A tenant to be added: its name, and settings beside it.
#[derive(Debug, Deserialize)]
pub(crate) struct New {
    tenant: Tenant,
    #[serde(flatten)]
    settings: serde_json::Map<String, serde_json::Value>,
}

pub(crate) async fn add(
    State(app): State<Shared>,
    person: Asker,
    Sent(new): Sent<New>,
) -> Result<(StatusCode, Json<One>), Problem> {
    // Read by itself: what serde flattens it does not check for names that nobody knows.
    let change = serde_json::from_value::<Change>(new.settings.into());
    let change =
        change.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body: {error}")))?;
    saved(deeds::add(&app, &person, &new.tenant, change).await)?;
    Ok((StatusCode::CREATED, one(&app, &new.tenant).await?))
}

pub(crate) async fn change(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Sent(change): Sent<Change>,
) -> Answer<One> {
    saved(deeds::change(&app, &person, &tenant, None, change).await)?;
    one(&app, &tenant).await
}

fn saved(saved: Result<Settings, Unchanged>) -> Result<(), Problem> {
    match saved {
        Ok(_) => Ok(()),
        Err(Unchanged::Problem(problem)) => Err(problem),
        Err(Unchanged::Mistakes(mistakes)) => {
            let all: Vec<_> = mistakes
                .iter()
                .map(|mistake| format!("{}: {}", mistake.field.replace('-', "_"), mistake.what))
                .collect();
            Err(Problem::bad(all.join("; ")))
        }
    }
}

pub(crate) async fn remove(State(app): State<Shared>, person: Asker, Theirs(tenant): Theirs) -> Answer<Done> {
    deeds::remove(&app, &person, &tenant).await?;
    Ok(done())
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backup {
    entities: Vec<String>,
    full: bool,
}

pub(crate) async fn back_up(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Sent(asked): Sent<Backup>,
) -> Result<(StatusCode, Json<One>), Problem> {
    let wish = Wish { only: asked.entities.into_iter().collect(), from: None, full: asked.full };
    deeds::back_up(&app, &person, &tenant, wish).await?;
    Ok((StatusCode::ACCEPTED, one(&app, &tenant).await?))
}

pub(crate) async fn pause(State(app): State<Shared>, person: Asker, Theirs(tenant): Theirs) -> Answer<One> {
    deeds::hold(&app, &person, &tenant, true).await?;
    one(&app, &tenant).await
}

pub(crate) async fn resume(State(app): State<Shared>, person: Asker, Theirs(tenant): Theirs) -> Answer<One> {
    deeds::hold(&app, &person, &tenant, false).await?;
    one(&app, &tenant).await
}

/// What may be known of a token.
#[derive(Debug, Serialize)]
pub(crate) struct TokenDocument {
    schema: u32,
    tenant: Tenant,
    token: Option<TokenView>,
    /// What it may read, as far as it was asked since the page was started.
    entities: Vec<Coverage>,
    /// Whether that is still being asked.
    checking: bool,
}

pub(crate) async fn token(
    State(app): State<Shared>,
    _: Asker,
    Theirs(tenant): Theirs,
) -> Answer<TokenDocument> {
    token_document(&app, tenant).await
}

async fn token_document(app: &App, tenant: Tenant) -> Answer<TokenDocument> {
    let settings = deeds::settings(app, &tenant).await?;
    let token = tenants::view(&settings, None, now()).token;
    let check = app.tasks.check(&tenant);
    let check =
        check.filter(|check| token.as_ref().is_some_and(|token| token.fingerprint == check.fingerprint));
    Ok(Json(TokenDocument {
        schema: fermata_core::FORMAT,
        tenant,
        token,
        checking: check.as_ref().is_some_and(|check| check.ended.is_none()),
        entities: check.map(|check| check.entities).unwrap_or_default(),
    }))
}

/// A token to be stored. It is not shown, wherever this is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    token: String,
    #[serde(default)]
    expires: Option<Date>,
}

pub(crate) async fn store_token(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Sent(new): Sent<NewToken>,
) -> Answer<TokenDocument> {
    deeds::store_token(&app, &person, &tenant, &new.token, new.expires).await?;
    token_document(&app, tenant).await
}

pub(crate) async fn remove_token(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
) -> Answer<TokenDocument> {
    deeds::remove_token(&app, &person, &tenant).await?;
    token_document(&app, tenant).await
}
