//! `/tenants/{tenant}/diff`: what differs between two snapshots.

use std::collections::BTreeSet;
use std::io;

use axum::extract::{Query, State};
use axum::response::Response;
use fermata_core::manifest::Manifest;
use fermata_core::names::{RunId, Tenant};
use fermata_engine::diff::{Difference, Outline, outline};
use fermata_engine::fields;
use fermata_fleet::queue::quoted;
use maud::{Markup, html};
use serde::Deserialize;

use super::snapshot::{address, find, no_key};
use super::tenant::{Tab, tabs};
use crate::dashboard::Shared;
use crate::dashboard::access::Role;
use crate::dashboard::html::{self, Place, Tone, badge, cli, notice, number, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::desk::diff::{Form, Found, tell};
use crate::out::{self, several};

/// Records that are shown of an entity.
const SHOWN: u64 = 50;
/// Characters of a value.
const VALUE_CHARS: usize = 200;

/// Which two, and which entity of them in full.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    pub(crate) from: String,
    #[serde(default)]
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) entity: String,
}

impl Asked {
    /// The two: the latest and the one before it, unless others are named.
    pub(crate) async fn find(&self, app: &Shared, tenant: &Tenant) -> Result<(Manifest, Manifest), Problem> {
        let or = |name: &str, usual: &str| if name.is_empty() { usual.to_owned() } else { name.to_owned() };
        let before = find(app, tenant, &or(&self.from, "previous")).await?;
        Ok((before, find(app, tenant, &or(&self.to, "latest")).await?))
    }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let runs = app.vault.snapshots(&tenant).await?;
    let (before, after) = asked.find(&app, &tenant).await?;
    let may = person.may(Role::Operator);
    let line = format!("fermata snapshots diff {tenant} {} {}", before.run, after.run);
    let body = html! {
        (tabs(&app, &tenant, Tab::Snapshots))
        (choose(&tenant, &runs, &before.run, &after.run))
        @if asked.entity.is_empty() {
            (counts(&before, &after, may))
            @if may && app.data.is_none() { (no_key()) }
            (cli(&line))
        } @else if !may {
            (notice(Tone::Quiet, &html! { "Looking at records takes the role operator." }))
        } @else {
            @if app.data.is_some() { (in_full(&app, before, after, &asked.entity).await?) } @else { (no_key()) }
            (cli(&format!("{line} --entity {}", quoted(&asked.entity))))
        }
    };
    Ok(html::page(&app, &person, Place::Tenants, &format!("Two snapshots of {tenant}"), &body))
}

fn choose(tenant: &Tenant, runs: &[RunId], before: &RunId, after: &RunId) -> Markup {
    let select = |name: &str, word: &str, chosen: &RunId| {
        html! {
            div {
                label for=(name) { (word) }
                select id=(name) name=(name) { @for run in runs.iter().rev() { option value=(run.as_str()) selected[run == chosen] { (run.as_str()) } } }
            }
        }
    };
    html! {
        form.bar method="get" action=(format!("/tenants/{tenant}/diff")) {
            (select("from", "From", before))
            (select("to", "To", after))
            button type="submit" { "Compare" }
        }
    }
}

/// The entities of two manifests, in the later one's order.
pub(crate) fn entities<'a>(before: &'a Manifest, after: &'a Manifest) -> Vec<&'a str> {
    let names = |manifest: &'a Manifest| manifest.entities.iter().map(|entry| entry.entity.as_str());
    names(after).chain(names(before).filter(|name| after.entry(name).is_none())).collect()
}

/// What the two manifests tell, which takes no key.
fn counts(before: &Manifest, after: &Manifest, may: bool) -> Markup {
    let outlines = entities(before, after).into_iter().map(|entity| (entity, outline(before, after, entity)));
    let outlines: Vec<_> = outlines.filter(|(_, outline)| *outline != Outline::Neither).collect();
    let same = outlines.iter().filter(|(_, outline)| *outline == Outline::Same).count();
    let records = |manifest: &Manifest, entity: &str| manifest.entry(entity).map_or(0, |entry| entry.records);
    html! {
        p { "From " a href=(address(before)) { (before.run.as_str()) } ", sealed " (time(before.sealed)) ", to " a href=(address(after)) { (after.run.as_str()) } ", sealed " (time(after.sealed)) ". " (several(same as u64, "entity is", "entities are")) " the same." }
        div.scroll { table.stack {
            thead { tr {
                th scope="col" { "Entity" }
                th scope="col" { "State" }
                th.num scope="col" { "Before" }
                th.num scope="col" { "After" }
                th.num scope="col" { "Added" }
                th.num scope="col" { "Changed" }
                th.num scope="col" { "Deleted" }
                th scope="col" { "Note" }
            } }
            tbody { @for (entity, outline) in outlines.iter().filter(|(_, outline)| *outline != Outline::Same) { tr {
                @let detail = may && matches!(outline, Outline::Counted { .. } | Outline::Unknown);
                th scope="row" {
                    @if detail { a href=(html::query(&format!("/tenants/{}/diff", after.tenant), &[("from", before.run.as_str()), ("to", after.run.as_str()), ("entity", entity)])) { (entity) } }
                    @else { (entity) }
                }
                td data-label="State" {
                    @match outline { Outline::Incomplete { .. } => (badge(Tone::Warn, "not compared")), Outline::Counted { .. } => (badge(Tone::Busy, "differs")), _ => (badge(Tone::Quiet, "may differ")) }
                }
                td.num data-label="Before" { (number(records(before, entity))) }
                td.num data-label="After" { (number(records(after, entity))) }
                @match outline {
                    Outline::Counted { added, changed, deleted } => {
                        td.num data-label="Added" { (number(*added)) } td.num data-label="Changed" { (number(*changed)) } td.num data-label="Deleted" { (number(*deleted)) } td {}
                    }
                    Outline::Incomplete { why, .. } => { td {} td {} td {} td data-label="Note" { (out::plain(why)) } }
                    _ => { td {} td {} td {} td data-label="Note" { "The later was not compared with the earlier when it was read; a key to it tells how it differs." } }
                }
            } } }
        } }
    }
}

/// The records of an entity that differ, field by field.
async fn in_full(app: &Shared, before: Manifest, after: Manifest, entity: &str) -> Result<Markup, Problem> {
    let Some(data) = app.data.clone() else { return Ok(no_key()) };
    let only = BTreeSet::from([entity.to_owned()]);
    let told = app.reading.read(async move {
        let mut shown = Records::default();
        tell(&data, &before, &after, &only, SHOWN, &mut shown).await.map(|_| shown)
    });
    let Records { counts, incomplete, rows } = told.await?;
    Ok(html! {
        h2 { (entity) }
        @if let Some(why) = incomplete { (notice(Tone::Warn, &html! { "Not compared: " (out::plain(&why)) })) }
        @else if let Some([added, changed, deleted]) = counts {
            p { (number(added)) " added, " (number(changed)) " changed, " (number(deleted)) " deleted." @if added + changed + deleted > SHOWN { " The first " (SHOWN) " are below." } }
            div.scroll tabindex="0" role="region" aria-label=(format!("Records of {entity} that differ")) { table {
                thead { tr { th scope="col" { "Change" } th scope="col" { "Record" } th scope="col" { "Field" } th scope="col" { "Before" } th scope="col" { "After" } } }
                tbody { @for row in &rows { (row) } }
            } }
        } @else { p { "Nothing differs." } }
    })
}

/// Differences as rows of a table.
#[derive(Default)]
struct Records {
    counts: Option<[u64; 3]>,
    incomplete: Option<String>,
    rows: Vec<Markup>,
}

impl Form for Records {
    fn begin(&mut self, _: &Manifest, _: &Manifest) -> io::Result<()> {
        Ok(())
    }

    fn same(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn incomplete(&mut self, _: &str, why: &str) -> io::Result<()> {
        self.incomplete = Some(why.to_owned());
        Ok(())
    }

    fn differs(&mut self, of: &Found<'_>) -> io::Result<()> {
        let differences = of.differences;
        self.counts = Some([differences.added(), differences.changed(), differences.deleted()]);
        Ok(())
    }

    fn record(&mut self, of: &Found<'_>, difference: Difference<'_>) -> io::Result<()> {
        let identity = of.differences.entity().identity;
        self.rows.push(match difference {
            Difference::Added(record) => whole(Tone::Good, "added", identity, record),
            Difference::Deleted(record) => whole(Tone::Bad, "deleted", identity, record),
            Difference::Changed { before, after } => changed(identity, before, after),
        });
        Ok(())
    }

    fn end_of_entity(&mut self, _: &Found<'_>) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tells a record from others.
fn name(identity: &[&str], record: &str) -> String {
    let is_identity = |path: &str| path.starts_with("_parent") || identity.contains(&path);
    let fields = fields::fields(record).into_iter().filter(|(path, _)| is_identity(path));
    fields.map(|(path, value)| format!("{path}={}", fields::plain(value))).collect::<Vec<_>>().join(" ")
}

fn said(value: &str) -> String {
    out::cut(&out::plain(&fields::plain(value)), VALUE_CHARS)
}

fn whole(tone: Tone, word: &str, identity: &[&str], record: &str) -> Markup {
    html! { tr {
        td { (badge(tone, word)) }
        th scope="row" { (out::plain(&name(identity, record))) }
        td colspan="3" { details { summary { "All of it" } pre { (record) } } }
    } }
}

fn changed(identity: &[&str], before: &str, after: &str) -> Markup {
    let altered = fields::altered(before, after);
    html! { @for (at, field) in altered.iter().enumerate() { tr {
        @if at == 0 {
            td rowspan=(altered.len()) { (badge(Tone::Busy, "changed")) }
            th scope="row" rowspan=(altered.len()) { (out::plain(&name(identity, after))) }
        }
        td { (out::plain(&field.path)) }
        td { @if let Some(value) = field.before { (said(value)) } }
        td { @if let Some(value) = field.after { (said(value)) } }
    } } }
}
