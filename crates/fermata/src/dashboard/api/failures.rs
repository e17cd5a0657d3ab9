//! What failed, in groups.

use axum::Json;
use axum::extract::{Path, Query, State};
use fermata_fleet::JobId;
use fermata_fleet::failures::Group;
use serde::Serialize;

use super::Answer;
use crate::dashboard::pages::failures::{self, Asked, SIZE};
use crate::dashboard::routes::Asker;
use crate::dashboard::{Shared, now};

/// A page of groups.
#[derive(Debug, Serialize)]
pub(crate) struct List {
    schema: u32,
    groups: Vec<View>,
    total: u64,
    page: usize,
}

/// A group, with its likely cause in words.
#[derive(Debug, Serialize)]
struct View {
    #[serde(flatten)]
    group: Group,
    cause_in_words: &'static str,
    advice: &'static str,
}

impl From<Group> for View {
    fn from(group: Group) -> Self {
        Self { cause_in_words: group.cause.words(), advice: group.cause.advice(), group }
    }
}

pub(crate) async fn list(
    State(app): State<Shared>,
    person: Asker,
    Query(asked): Query<Asked>,
) -> Answer<List> {
    let now = now();
    let (wanted, by) = (asked.wanted(&person, now)?, asked.by()?);
    let groups = failures::look(&app, |picture| picture.groups(&wanted, by, now));
    let total = groups.len() as u64;
    let page = groups.into_iter().skip(asked.page.skips(SIZE)).take(SIZE);
    let groups = page.map(View::from).collect();
    Ok(Json(List { schema: fermata_core::FORMAT, groups, total, page: asked.page.get() }))
}

/// A group, and a page of the names of its jobs.
#[derive(Debug, Serialize)]
pub(crate) struct One {
    schema: u32,
    group: View,
    jobs: Vec<JobId>,
    total: u64,
    page: usize,
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer<One> {
    let now = now();
    let opened = failures::open(&app, &id, &asked.wanted(&person, now)?, now)?;
    let total = opened.jobs.len() as u64;
    let page = opened.jobs.into_iter().skip(asked.page.skips(SIZE)).take(SIZE);
    let jobs = page.map(|job| job.id).collect();
    Ok(Json(One {
        schema: fermata_core::FORMAT,
        group: opened.group.into(),
        jobs,
        total,
        page: asked.page.get(),
    }))
}
