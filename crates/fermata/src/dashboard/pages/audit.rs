//! `/audit`: who did what, when and why.

use axum::extract::{Query, State};
use axum::response::Response;
use fermata_core::names::{RunId, Tenant};
use fermata_fleet::queue::AuditEntry;
use maud::html;
use serde::Deserialize;

use crate::dashboard::access::Person;
use crate::dashboard::html::{self, PageNumber, Place, Tone, cli, notice, number, pager, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::Asker;
use crate::dashboard::{App, Shared};
use crate::out;

/// Lines on a page.
const SIZE: usize = 100;

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    page: PageNumber,
}

/// What a person may know of what was done, newest first. Who is limited to some tenants sees what was done
/// to one of them alone, and what they did themselves.
pub(crate) async fn entries(app: &App, person: &Person) -> Result<Vec<AuditEntry>, Problem> {
    let entries = match &app.queue {
        Some(queue) => queue.audited().await?,
        None => app.ledger.entries(),
    };
    let theirs = |entry: &AuditEntry| {
        person.tenants.is_none()
            || entry.who == person.name
            || tenant(entry).is_some_and(|tenant| person.sees(&tenant))
    };
    Ok(entries.into_iter().filter(theirs).collect())
}

/// The one tenant that a line is about; none where it is about more, or about the queue.
fn tenant(entry: &AuditEntry) -> Option<Tenant> {
    let target = &*entry.target;
    // The name of a worker may look like a tenant's.
    if matches!(&*entry.action, "drain" | "undrain") {
        return None;
    }
    if let Some(filter) = target.strip_prefix("one of ").unwrap_or(target).strip_prefix("--all --tenant ") {
        return filter.split(' ').next()?.parse().ok();
    }
    let mut parts = target.split('/');
    let tenant = parts.next()?.parse().ok()?;
    let run = parts.next().map(str::parse::<RunId>).transpose().ok()?;
    let is_name =
        |entity: &str| entity.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let names_one = match (run, parts.next(), parts.next()) {
        (_, None, _) => true,
        (Some(_), Some(entity), None) => is_name(entity),
        _ => false,
    };
    names_one.then_some(tenant)
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let words = asked.q.trim().to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&words);
    let entries: Vec<_> = entries(&app, &person)
        .await?
        .into_iter()
        .filter(|entry| {
            has(&entry.who)
                || has(&entry.action)
                || has(&entry.target)
                || entry.reason.as_deref().is_some_and(has)
        })
        .collect();
    let shown = entries.iter().skip(asked.page.skips(SIZE)).take(SIZE);
    let body = html! {
        @if app.queue.is_none() { (notice(Tone::Quiet, &html! { "On one machine the list begins with this process; what was before is in its log." })) }
        form.bar method="get" action="/audit" role="search" {
            div { label for="q" { "Find" } input id="q" type="search" name="q" value=(asked.q) placeholder="who, what, why"; }
            button type="submit" { "Show" }
        }
        section id="entries" data-live {
            @if entries.is_empty() { p { "Nobody did anything that matches." } }
            @else {
                div.scroll { table.stack {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "To what" } th.num scope="col" { "Jobs" } th scope="col" { "Why" } } }
                    tbody { @for entry in shown { tr {
                        td data-label="When" { (time(entry.at)) }
                        th scope="row" { (out::plain(&entry.who)) }
                        td data-label="What" { (entry.action) }
                        td data-label="To what" { (out::plain(&entry.target)) }
                        td.num data-label="Jobs" { @if entry.count != 1 { (number(entry.count)) } }
                        td data-label="Why" { @if let Some(reason) = &entry.reason { (out::plain(reason)) } }
                    } } }
                } }
                (pager(asked.page.get(), SIZE, entries.len(), |page| html::query("/audit", &[("q", &asked.q), ("page", &page.to_string())])))
            }
        }
        @if app.queue.is_some() { (cli("fermata queue audit")) }
    };
    Ok(html::page(&app, &person, Place::Audit, "Audit", &body))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_line_is_about_one_tenant_only_if_it_says_so() {
        let of = |action: &str, target: &str| {
            let entry = AuditEntry {
                at: Timestamp::UNIX_EPOCH,
                who: "ann".to_owned(),
                action: action.to_owned(),
                target: target.to_owned(),
                count: 1,
                reason: None,
            };
            tenant(&entry).map(|tenant| tenant.to_string())
        };
        let run = "20261124T020000Z-4f9a1c";
        for target in [
            "acme".to_owned(),
            format!("acme/{run}"),
            format!("acme/{run}/teams"),
            "--all --tenant acme".to_owned(),
            "one of --all --tenant acme --state dead".to_owned(),
        ] {
            assert_eq!(of("retry", &target).as_deref(), Some("acme"), "{target}");
        }
        for target in [
            format!("acme/{run}/teams and 41 more"),
            "the whole queue".to_owned(),
            "what failed like 4f9a1c".to_owned(),
            "--all --error '--tenant acme'".to_owned(),
            "acme/x".to_owned(),
        ] {
            assert_eq!(of("retry", &target), None, "{target}");
        }
        assert_eq!(of("drain", "acme"), None);
    }
}
