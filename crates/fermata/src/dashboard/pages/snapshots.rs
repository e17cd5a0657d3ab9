//! `/tenants/{tenant}/snapshots`: the snapshots of a tenant, and how they grew.

use axum::extract::{Query, State};
use axum::response::Response;
use fermata_core::manifest::Status;
use fermata_core::names::Tenant;
use maud::{Markup, html};
use serde::Deserialize;

use super::tenant::{Tab, tabs};
use crate::dashboard::Shared;
use crate::dashboard::html::{self, Place, Tone, badge, cli, number, pager, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::desk::snapshots::{self, Row};
use crate::out;

/// Snapshots on a page, and bars in its chart.
const SIZE: usize = 50;
/// What the chart is drawn in.
const CHART: (u64, u64) = (800, 160);

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    page: html::PageNumber,
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let mut runs = app.vault.snapshots(&tenant).await?;
    let (page, total) = (asked.page.get(), runs.len());
    runs.truncate(total.saturating_sub(asked.page.skips(SIZE)));
    // And the one before the first, to compare it with.
    let before = runs.split_off(runs.len().saturating_sub(SIZE + 1));
    let mut rows = snapshots::rows(&app.vault, &tenant, before).await?;
    let earlier = (rows.len() > SIZE).then(|| rows.remove(0));
    let body = html! {
        (tabs(&app, &tenant, Tab::Snapshots))
        section id="snapshots" data-live {
            @if rows.is_empty() {
                p { "There is no snapshot " @if total == 0 { "yet." } @else { "here." } }
            } @else {
                (chart(&rows))
                (table(&rows, earlier.as_ref()))
            }
            (pager(page, SIZE, total, |page| html::query(&address(&tenant), &[("page", &page.to_string())])))
        }
        @if total > 1 { p { a.button href=(format!("/tenants/{tenant}/diff")) { "Compare two" } } }
        (cli(&format!("fermata snapshots list {tenant}")))
    };
    Ok(html::page(&app, &person, Place::Tenants, &format!("Snapshots of {tenant}"), &body))
}

fn address(tenant: &Tenant) -> String {
    format!("/tenants/{tenant}/snapshots")
}

/// A bar for each snapshot: what it needs in the store, and of that what is new. The table says the same.
fn chart(rows: &[Row]) -> Markup {
    let (width, height) = CHART;
    let most = rows.iter().map(|row| row.bytes_stored).max().unwrap_or(0).max(1);
    let step = width / rows.len().max(10) as u64;
    let scaled = |bytes: u64| bytes.saturating_mul(height - 20) / most;
    html! {
        figure.card {
            svg.chart viewBox=(format!("0 0 {width} {height}")) role="img" aria-label="Size of each snapshot, oldest first; the table below has the numbers" {
                text x="0" y="12" { (out::bytes(most)) }
                @for (at, row) in (0..).zip(rows) {
                    @let (stored, new) = (scaled(row.bytes_stored).max(1), scaled(row.bytes_new));
                    g {
                        title { (row.snapshot.as_str()) ": " (out::bytes(row.bytes_stored)) ", of which new " (out::bytes(row.bytes_new)) }
                        rect.bar x=(at * step) y=(height - stored) width=(step.saturating_sub(2).max(1)) height=(stored) {}
                        rect.new x=(at * step) y=(height - new) width=(step.saturating_sub(2).max(1)) height=(new) {}
                    }
                }
            }
            figcaption.soft { "Bytes stored for each snapshot, oldest first; the darker part is new with it, and the rest it shares with earlier ones." }
        }
    }
}

fn table(rows: &[Row], earlier: Option<&Row>) -> Markup {
    let before = earlier.into_iter().chain(rows).map(Some);
    let before: Vec<_> =
        if earlier.is_some() { before.collect() } else { std::iter::once(None).chain(before).collect() };
    html! {
        div.scroll { table.stack {
            thead { tr {
                th scope="col" { "Snapshot" }
                th scope="col" { "State" }
                th scope="col" { "Sealed" }
                th.num scope="col" { "Records" }
                th.num scope="col" { "Growth" }
                th.num scope="col" { "Stored" }
                th.num scope="col" { "New" }
            } }
            tbody {
                @for (row, before) in rows.iter().zip(before).rev() {
                    tr {
                        th scope="row" { a href=(format!("{}/{}", address(&row.tenant), row.snapshot)) { (row.snapshot.as_str()) } }
                        td data-label="State" { (status(row.status)) }
                        td data-label="Sealed" { (time(row.sealed)) }
                        td.num data-label="Records" { (number(row.records)) }
                        td.num data-label="Growth" { @if let Some(before) = before { (growth(before.records, row.records)) } }
                        td.num data-label="Stored" { (out::bytes(row.bytes_stored)) }
                        td.num data-label="New" { (out::bytes(row.bytes_new)) }
                    }
                }
            }
        } }
    }
}

fn growth(before: u64, after: u64) -> String {
    match after.checked_sub(before) {
        Some(0) => "0".to_owned(),
        Some(more) => format!("+{}", out::count(more)),
        None => format!("−{}", out::count(before - after)),
    }
}

/// How a snapshot is.
pub(crate) fn status(status: Status) -> Markup {
    match status {
        Status::Complete => badge(Tone::Good, "complete"),
        Status::Partial => badge(Tone::Warn, "with gaps"),
        Status::Suspect => badge(Tone::Bad, "suspect"),
    }
}
