//! `/tenants/{tenant}/snapshots/{run}/records/{entity}`: the records of an entity as a table, and one record in full.

use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use fermata_core::catalogue::{self, Entity};
use fermata_core::manifest::{Entry, Manifest};
use fermata_core::names::Tenant;
use fermata_engine::fields;
use fermata_engine::find::Condition;
use fermata_engine::page::{self, Cursor, Page, Record};
use fermata_fleet::queue::quoted;
use maud::{Markup, html};
use serde::Deserialize;

use super::snapshot::{address, find, formats, no_key};
use super::tenant::{Tab, tabs};
use crate::dashboard::html::{self, Place, Tone, cli, notice, number};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{App, Shared};
use crate::out::{self, several};

/// Records on a page, unless somebody says otherwise.
const SIZE: usize = 50;
/// The most that one answer has.
const SIZE_MAX: usize = 1_000;
/// Columns of the table; a record in full has all its fields.
const COLUMNS_MAX: usize = 40;
/// Characters of a cell.
const CELL_CHARS: usize = 80;

/// The entity of a snapshot that an address names.
#[derive(Debug, Deserialize)]
pub(crate) struct Of {
    run: String,
    entity: String,
    #[serde(default)]
    at: Option<String>,
}

/// Which of the records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    from: Cursor,
    limit: Option<usize>,
    conditions: Vec<Condition>,
    /// The conditions as they were written.
    written: Vec<String>,
}

impl Asked {
    /// From a query, in which `where` may stand several times.
    pub(crate) fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let bad = |error: &dyn std::fmt::Display| Problem::bad(error.to_string());
        let mut asked = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match (&*name, value.trim()) {
                (_, "") => {}
                ("from", from) => asked.from = from.parse().map_err(|error| bad(&error))?,
                ("limit", limit) => {
                    let fits = limit.parse().ok().filter(|limit| (1..=SIZE_MAX).contains(limit));
                    asked.limit = Some(fits.ok_or_else(|| {
                        Problem::bad(format!("limit: {limit:?} is not between 1 and {SIZE_MAX}"))
                    })?);
                }
                ("where", condition) => {
                    asked.conditions.push(condition.parse().map_err(|error| bad(&error))?);
                    asked.written.push(condition.to_owned());
                }
                _ => {}
            }
        }
        Ok(asked)
    }
}

/// What is shown of which entity.
pub(crate) struct Source {
    pub(crate) manifest: Manifest,
    pub(crate) entity: &'static Entity,
}

impl Source {
    pub(crate) async fn find(app: &App, tenant: &Tenant, run: &str, entity: &str) -> Result<Self, Problem> {
        let manifest = find(app, tenant, run).await?;
        if manifest.entry(entity).is_none() {
            return Err(Problem::missing(format!("{} has no entity {entity:?}", manifest.run)));
        }
        let entity = catalogue::entity(entity).ok_or_else(|| {
            Problem::conflict(format!(
                "this release does not know {entity}; show it with the one that wrote the snapshot"
            ))
        })?;
        Ok(Self { manifest, entity })
    }

    pub(crate) fn entry(&self) -> &Entry {
        self.manifest.entry(self.entity.name).expect("it was looked for when this was made")
    }

    /// The command that shows the same.
    pub(crate) fn line(&self, asked: &Asked) -> String {
        let Manifest { tenant, run, .. } = &self.manifest;
        let conditions = asked.written.iter().map(|condition| format!(" --where {}", quoted(condition)));
        let conditions = conditions.collect::<String>();
        format!("fermata snapshots show {tenant} --snapshot {run} --entity {}{conditions}", self.entity.name)
    }

    /// A page of its records; nothing where the key to them is not here.
    pub(crate) async fn page(&self, app: &Shared, asked: &Asked) -> Result<Option<Page>, Problem> {
        let Some(data) = app.data.clone() else { return Ok(None) };
        let (tenant, entity, entry) = (self.manifest.tenant.clone(), self.entity, self.entry().clone());
        let (Asked { from, conditions, .. }, most) = (asked.clone(), asked.limit.unwrap_or(SIZE));
        let read = async move { page::page(&data, &tenant, entity, &entry, &conditions, from, most).await };
        Ok(Some(app.reading.read(read).await?))
    }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let asked = Asked::parse(query.as_deref())?;
    let source = Source::find(&app, &tenant, &of.run, &of.entity).await?;
    let (entry, name) = (source.entry(), source.entity.name);
    let here = format!("{}/records/{name}", address(&source.manifest));
    let page = source.page(&app, &asked).await?;
    let body = html! {
        (tabs(&app, &tenant, Tab::Snapshots))
        p { (several(entry.records, "record", "records")) " in snapshot " a href=(address(&source.manifest)) { (source.manifest.run.as_str()) } }
        @if let Some(reason) = entry.reason.as_ref().filter(|_| entry.status.is_gap()) {
            (notice(Tone::Warn, &html! { "Not all of it: " (out::plain(reason)) }))
        }
        @match &page {
            None => (no_key()),
            Some(page) => {
                (search(&here, &asked))
                (found(page, entry, &asked))
                @if !page.records.is_empty() { (table(&page.records, &here, name)) }
                (further(page, &here, &asked))
                (download(&source))
            }
        }
        (cli(&source.line(&asked)))
    };
    Ok(html::page(&app, &person, Place::Tenants, &format!("{name} of {tenant}"), &body))
}

fn search(here: &str, asked: &Asked) -> Markup {
    html! {
        form.bar method="get" action=(here) role="search" {
            @for (at, condition) in asked.written.iter().map(String::as_str).chain([""]).enumerate() {
                div {
                    label for=(format!("where-{at}")) { @if at == 0 { "Only where" } @else { "and" } }
                    input id=(format!("where-{at}")) type="search" name="where" value=(condition) placeholder="author.accountId=5b10a" autocomplete="off" spellcheck="false";
                }
            }
            button type="submit" { "Show" }
        }
    }
}

/// What the search came to, as far as it went.
fn found(page: &Page, entry: &Entry, asked: &Asked) -> Markup {
    let begins = asked.from == Cursor::default();
    html! {
        @if let Some((field, known)) = &page.unknown {
            (notice(Tone::Warn, &html! { "None of these records has a field " code { (field) } ". They have " (out::plain(&known.join(", "))) "." }))
        }
        @if page.records.is_empty() {
            @if asked.conditions.is_empty() {
                p { @if begins && entry.records == 0 { "It holds no record." } @else { "There are no more records." } }
            } @else if page.next.is_none() { p { "None of the last " (number(page.looked)) " records is so." } }
        }
        @if !asked.conditions.is_empty() && page.next.is_some() {
            p { "Looked at " (number(page.looked)) " records" @if !begins { " more" } ", and found " (number(page.records.len() as u64)) ". Go on to look at the next." }
        }
    }
}

/// Whether a value is a number.
fn is_number(value: &str) -> bool {
    value.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

fn table(records: &[Record], here: &str, name: &str) -> Markup {
    let rows: Vec<_> = records.iter().map(|record| (record.at, fields::fields(&record.text))).collect();
    let mut columns: Vec<&str> = Vec::new();
    for (path, _) in rows.iter().flat_map(|(_, fields)| fields) {
        if !columns.contains(&path.as_str()) {
            columns.push(path);
        }
    }
    // Addresses of records tell people the least.
    columns.sort_by_key(|path| path.rsplit('.').next() == Some("self"));
    let more = columns.len().saturating_sub(COLUMNS_MAX);
    columns.truncate(COLUMNS_MAX);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(format!("Records of {name}, a wide table")) {
            table.records {
                thead { tr { th scope="col" { "Record" } @for column in &columns { th scope="col" { (out::plain(column)) } } } }
                tbody { @for (at, fields) in &rows { tr {
                    th scope="row" { a href=(format!("{here}/{at}")) { (at) } }
                    @for column in &columns {
                        @match fields.iter().find(|(path, _)| path == column) {
                            Some((_, value)) => td.num[is_number(value)] { (out::cut(&out::plain(&fields::plain(value)), CELL_CHARS)) },
                            None => td {},
                        }
                    }
                } } }
            }
        }
        @if more > 0 { p.soft { "And " (several(more as u64, "field", "fields")) " more; a record in full has them all." } }
    }
}

fn further(page: &Page, here: &str, asked: &Asked) -> Markup {
    let link = |from: Option<Cursor>| {
        let from = from.map(|from| from.to_string()).unwrap_or_default();
        let mut fields = vec![("from", from.as_str())];
        fields.extend(asked.written.iter().map(|condition| ("where", condition.as_str())));
        html::query(here, &fields)
    };
    html! {
        nav.pager aria-label="Pages of this list" {
            @if asked.from == Cursor::default() { span {} } @else { a href=(link(None)) { "← To the first" } }
            @if page.next.is_some() { a rel="next" href=(link(page.next)) { "Next →" } }
        }
    }
}

fn download(source: &Source) -> Markup {
    html! {
        @if source.entry().records > 0 {
            form.bar method="get" action=(format!("{}/export", address(&source.manifest))) {
                input type="hidden" name="entity" value=(source.entity.name);
                (formats())
                button type="submit" { "Download all of it" }
            }
        }
    }
}

/// One record, every field of it.
pub(crate) async fn one(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Result<Response, Problem> {
    let at = of.at.unwrap_or_default();
    let from: Cursor = at.parse().map_err(|_| Problem::missing(format!("there is no record {at:?}")))?;
    let asked = Asked { from, limit: Some(1), ..Asked::default() };
    let source = Source::find(&app, &tenant, &of.run, &of.entity).await?;
    let name = source.entity.name;
    let page = source.page(&app, &asked).await?;
    let record = page.as_ref().map(|page| page.records.first().filter(|record| record.at == from));
    if let Some(None) = record {
        return Err(Problem::missing(format!("{name} has no record {at} in this snapshot")));
    }
    let body = html! {
        (tabs(&app, &tenant, Tab::Snapshots))
        p { a href=(format!("{}/records/{name}", address(&source.manifest))) { "Records of " (name) } " in snapshot " a href=(address(&source.manifest)) { (source.manifest.run.as_str()) } }
        @match record.flatten() {
            None => (no_key()),
            Some(record) => {
                div.scroll { table {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Value" } } }
                    tbody { @for (path, value) in fields::fields(&record.text) { tr {
                        th scope="row" { (out::plain(&path)) }
                        td { (out::plain(&fields::plain(value))) }
                    } } }
                } }
                details { summary { "As Tempo sent it" } pre { (record.text) } }
            }
        }
        (cli(&source.line(&asked)))
    };
    Ok(html::page(&app, &person, Place::Tenants, &format!("Record {at} of {name}"), &body))
}
