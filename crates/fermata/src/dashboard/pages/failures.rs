//! `/failures`: what failed, by what it has in common, and what to do about it.

use std::collections::BTreeSet;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use fermata_core::catalogue::ENTITIES;
use fermata_core::names::Tenant;
use fermata_fleet::JobId;
use fermata_fleet::bulk::Seen;
use fermata_fleet::failures::{Cause, Group, HOURS, OrderBy, Picture, Wanted};
use fermata_fleet::queue::{JobView, quoted};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::{actions, jobs};
use crate::dashboard::access::{Person, Role};
use crate::dashboard::html::{self, PageNumber, Place, Tone, badge, cli, csrf, notice, number, pager, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::Asker;
use crate::dashboard::{Shared, now};
use crate::out::{self, several};

/// Groups, or jobs of one, on a page.
pub(crate) const SIZE: usize = 50;
/// How far back, to choose from.
const WINDOWS: [(&str, &str, i64); 5] = [
    ("1h", "1 hour", 1),
    ("3h", "3 hours", 3),
    ("24h", "24 hours", 24),
    ("3d", "3 days", 72),
    ("7d", "7 days", 168),
];

/// What is looked for, as it stands in the address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) q: String,
    pub(crate) tenant: String,
    pub(crate) entity: String,
    pub(crate) cause: String,
    pub(crate) within: String,
    pub(crate) sort: String,
    pub(crate) page: PageNumber,
}

impl Asked {
    /// What of it a person may see.
    pub(crate) fn wanted(&self, person: &Person, now: Timestamp) -> Result<Wanted, Problem> {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let tenants = match given(&self.tenant) {
            None => person.tenants.clone(),
            Some(name) => {
                let tenant: Tenant =
                    name.parse().map_err(|error| Problem::bad(format!("tenant: {error}")))?;
                Some([tenant].into_iter().filter(|tenant| person.sees(tenant)).collect::<BTreeSet<_>>())
            }
        };
        let cause = given(&self.cause).map(|name| {
            let known = Cause::ALL.into_iter().find(|cause| cause.name() == name);
            known.ok_or_else(|| Problem::bad(format!("cause: there is none called {name:?}")))
        });
        let since = given(&self.within).map(|name| {
            let known = WINDOWS.into_iter().find(|(window, ..)| *window == name);
            known.map(|(.., hours)| now - SignedDuration::from_hours(hours)).ok_or_else(|| {
                Problem::bad(format!(
                    "within: it is one of {}",
                    WINDOWS.map(|(window, ..)| window).join(", ")
                ))
            })
        });
        Ok(Wanted {
            tenants,
            entity: given(&self.entity),
            cause: cause.transpose()?,
            text: given(&self.q),
            since: since.transpose()?,
        })
    }

    pub(crate) fn by(&self) -> Result<OrderBy, Problem> {
        match self.sort.as_str() {
            "" | "jobs" => Ok(OrderBy::Jobs),
            "tenants" => Ok(OrderBy::Tenants),
            "last" => Ok(OrderBy::Last),
            "first" => Ok(OrderBy::First),
            _ => Err(Problem::bad("sort: it is one of jobs, tenants, last, first")),
        }
    }

    fn address(&self, path: &str, sort: &str, page: usize) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let fields = [
            ("q", &*self.q),
            ("tenant", &self.tenant),
            ("entity", &self.entity),
            ("cause", &self.cause),
            ("within", &self.within),
            ("sort", sort),
            ("page", &page),
        ];
        html::query(path, &fields)
    }
}

/// Looks at what failed: in the queue; where there is none, in the last snapshot of each tenant.
pub(crate) fn look<T>(app: &Shared, look: impl FnOnce(&Picture) -> T) -> T {
    if let Some(failures) = &app.failures {
        return look(&failures.read());
    }
    let mut picture = Picture::default();
    for row in app.board.rows() {
        let Some(last) = &row.last else { continue };
        for gap in last.gaps.iter().filter(|gap| gap.failed) {
            let id = JobId { tenant: row.tenant.clone(), run: last.run.clone(), entity: gap.entity.clone() };
            picture.add(&id, &gap.reason, last.sealed);
        }
    }
    look(&picture)
}

/// How long the queue may not have been looked at before what is shown is out of date.
const STALE: SignedDuration = SignedDuration::from_secs(30);

/// What is wrong with the picture: there is none yet, or it is out of date.
pub(crate) fn staleness(app: &Shared, now: Timestamp) -> Option<String> {
    if app.failures.is_none() {
        return app.board.looked().at.is_none().then(|| "the store is still being looked at".to_owned());
    }
    match Timestamp::from_second(app.failures_seen.load(std::sync::atomic::Ordering::Relaxed)) {
        Ok(seen) if seen == Timestamp::UNIX_EPOCH => Some("the queue was not looked at yet".to_owned()),
        Ok(seen) if now.duration_since(seen) > STALE => {
            Some(format!("Redis does not answer; this is what was known {}", out::from_now(seen, now)))
        }
        _ => None,
    }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let now = now();
    let stale = staleness(&app, now);
    let (wanted, by) = (asked.wanted(&person, now)?, asked.by()?);
    let (groups, all) =
        look(&app, |picture| (picture.groups(&wanted, by, now), picture.count(person.tenants.as_ref())));
    let shown: Vec<_> = groups.iter().skip(asked.page.skips(SIZE)).take(SIZE).collect();
    let jobs: u64 = groups.iter().map(Group::jobs).sum();
    let what = if app.queue.is_some() { ("job", "jobs") } else { ("entity", "entities") };
    let sentence = match all {
        0 if stale.is_some() => "Nobody knows yet what failed.".to_owned(),
        0 => "Nothing failed.".to_owned(),
        _ => format!(
            "{} in {}.",
            several(jobs, &format!("{} failed", what.0), &format!("{} failed", what.1)),
            several(groups.len() as u64, "group", "groups")
        ),
    };
    let body = html! {
        (actions::under_way(&app, &person))
        section id="now" data-live data-say=(sentence) {
            @if let Some(stale) = &stale { (notice(Tone::Warn, &html! { (stale) "." })) }
            @let tone = if all > 0 { Tone::Bad } else if stale.is_some() { Tone::Quiet } else { Tone::Good };
            (notice(tone, &html! { p.lead { (sentence) } }))
        }
        (bar(&asked))
        section id="groups" data-live {
            @if shown.is_empty() { @if all > 0 { p { "Nothing that failed matches." } } }
            @else {
                div.scroll { table.stack {
                    thead { tr {
                        th scope="col" { "What" }
                        th scope="col" { "Likely cause" }
                        (head(&asked, "tenants", "Tenants"))
                        (head(&asked, "jobs", if app.queue.is_some() { "Jobs" } else { "Entities" }))
                        (head(&asked, "first", "Since"))
                        (head(&asked, "last", "Last"))
                        th scope="col" { "24 hours" }
                        @if app.queue.is_some() { th scope="col" { "Next try" } }
                    } }
                    tbody { @for group in &shown { (row(&app, &asked, group)) } }
                } }
            }
            (pager(asked.page.get(), SIZE, groups.len(), |page| asked.address("/failures", &asked.sort, page)))
        }
        @if app.queue.is_some() { (cli("fermata jobs list --state dead")) } @else { (cli("fermata snapshots show TENANT")) }
    };
    Ok(html::page(&app, &person, Place::Failures, "Failures", &body))
}

fn bar(asked: &Asked) -> Markup {
    html! {
        form.bar method="get" action="/failures" role="search" {
            div { label for="q" { "Error" } input id="q" type="search" name="q" value=(asked.q) autocomplete="off"; }
            div { label for="tenant" { "Tenant" } input id="tenant" name="tenant" value=(asked.tenant) autocomplete="off"; }
            div {
                label for="entity" { "Entity" }
                select id="entity" name="entity" {
                    option value="" { "any" }
                    @for entity in ENTITIES { option value=(entity.name) selected[asked.entity == entity.name] { (entity.name) } }
                }
            }
            div {
                label for="cause" { "Cause" }
                select id="cause" name="cause" {
                    option value="" { "any" }
                    @for cause in Cause::ALL { option value=(cause.name()) selected[asked.cause == cause.name()] { (cause.words()) } }
                }
            }
            div {
                label for="within" { "Failed within" }
                select id="within" name="within" {
                    option value="" { "any time" }
                    @for (value, name, _) in WINDOWS { option value=(value) selected[asked.within == value] { (name) } }
                }
            }
            input type="hidden" name="sort" value=(asked.sort);
            button type="submit" { "Show" }
        }
    }
}

fn head(asked: &Asked, sort: &str, name: &str) -> Markup {
    let here = asked.sort == sort || (asked.sort.is_empty() && sort == "jobs");
    html! {
        th scope="col" class=[matches!(sort, "jobs" | "tenants").then_some("num")] aria-sort=[here.then_some("descending")] {
            a href=(asked.address("/failures", sort, 1)) { (name) @if here { span aria-hidden="true" { " ▼" } } }
        }
    }
}

fn row(app: &Shared, asked: &Asked, group: &Group) -> Markup {
    let href = Asked { q: String::new(), ..asked.clone() }.address(&format!("/failures/{}", group.id), "", 1);
    html! {
        tr {
            th scope="row" { a href=(href) { (out::cut(&out::plain(&group.title), 200)) } span.sub { (group.entity) } }
            td data-label="Likely cause" { (cause(group.cause)) }
            td.num data-label="Tenants" { (number(group.tenants)) }
            td.num data-label="Jobs" { (number(group.jobs())) @if group.dead > 0 && group.retrying > 0 { span.sub { (number(group.dead)) " given up" } } }
            td data-label="Since" { (time(group.first_seen)) }
            td data-label="Last" { (time(group.last_seen)) }
            td data-label="24 hours" { (spark(group)) }
            @if app.queue.is_some() { td data-label="Next try" { @if let Some(next) = group.next_at { (time(next)) } @else { "given up" } } }
        }
    }
}

fn cause(cause: Cause) -> Markup {
    let tone = match cause {
        Cause::Person => Tone::Quiet,
        Cause::Pace | Cause::Network | Cause::Tempo | Cause::Parent => Tone::Warn,
        _ => Tone::Bad,
    };
    badge(tone, cause.words())
}

/// How many failed in each of the last hours, drawn and in words.
fn spark(group: &Group) -> Markup {
    const HEIGHT: u32 = 24;
    let most = group.hours.iter().copied().max().unwrap_or(0).max(1);
    let lately: u64 = group.hours.iter().map(|count| u64::from(*count)).sum();
    let words = format!(
        "{} in the last {HOURS} hours, {} of them in this one",
        out::count(lately),
        group.hours[HOURS - 1]
    );
    html! {
        svg.spark role="img" viewBox=(format!("0 0 {} {HEIGHT}", 4 * HOURS)) preserveAspectRatio="none" {
            title { (words) }
            @for (at, count) in group.hours.iter().enumerate().filter(|(_, count)| **count > 0) {
                @let height = (u64::from(*count) * u64::from(HEIGHT)).div_ceil(u64::from(most));
                rect.bar x=(4 * at) y=(u64::from(HEIGHT) - height) width="3" height=(height) {}
            }
        }
    }
}

/// A group, and a page of its jobs.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) group: Group,
    pub(crate) jobs: Vec<Seen>,
}

/// A group, of what of it a person may see.
pub(crate) fn open(app: &Shared, id: &str, wanted: &Wanted, now: Timestamp) -> Result<Opened, Problem> {
    let found = look(app, |picture| Some((picture.group(id, wanted, now)?, picture.jobs(id, wanted))));
    let (group, jobs) = found
        .ok_or_else(|| Problem::missing("nothing fails in this way any more, or nothing that you may see"))?;
    Ok(Opened { group, jobs })
}

pub(crate) async fn group(
    State(app): State<Shared>,
    person: Asker,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let now = now();
    let wanted = asked.wanted(&person, now)?;
    let Opened { group, jobs } = open(&app, &id, &wanted, now)?;
    let page: Vec<_> =
        jobs.iter().skip(asked.page.skips(SIZE)).take(SIZE).map(|job| job.id.clone()).collect();
    let sum = format!(
        "{} of {}",
        several(group.jobs(), "job", "jobs"),
        several(group.tenants, "tenant", "tenants")
    );
    let listed = match &app.queue {
        Some(queue) => {
            let found: Vec<JobView> = queue.jobs(&page).await?.into_iter().flatten().collect();
            html! {
                form method="get" action="/actions/new" {
                    section id="jobs" data-live { (jobs::table(&person, &found)) }
                    @if person.may(Role::Operator) && !found.is_empty() {
                        div.actions { button type="submit" name="action" value="retry" { "Retry those chosen…" } }
                    }
                }
            }
        }
        None => entities(&person, &page),
    };
    let body = html! {
        (actions::under_way(&app, &person))
        section.card id="group" data-live data-say=(sum) {
            p.lead { (cause(group.cause)) " " (out::plain(&group.title)) }
            p { (advice(group.cause)) }
            dl.facts {
                dt { "Hits" } dd { (sum) }
                dt { "Entity" } dd { (group.entity) }
                @if let Some(request) = &group.request { dt { "Request" } dd { code { (request) } } }
                @if let Some(status) = group.status { dt { "Status" } dd { (status) } }
                dt { "Since" } dd { (time(group.first_seen)) }
                dt { "Last" } dd { (time(group.last_seen)) }
                @if app.queue.is_some() {
                    dt { "State" } dd { (number(group.dead)) " given up, " (number(group.retrying)) " to be tried again" }
                    @if let Some(next) = group.next_at { dt { "Next try" } dd { (time(next)) } }
                }
                dt { "24 hours" } dd { (spark(&group)) }
            }
        }
        @if app.queue.is_some() { (deeds(&person, &group, &wanted, &asked)) }
        h2 { @if app.queue.is_some() { "Jobs" } @else { "Entities" } }
        (listed)
        (pager(asked.page.get(), SIZE, jobs.len(), |page| asked.address(&format!("/failures/{id}"), "", page)))
        @if app.queue.is_some() { (cli(&format!("fermata jobs retry --entity {} --error {}", quoted(&group.entity), quoted(words(&group.title))))) }
    };
    Ok(html::page(
        &app,
        &person,
        Place::Failures,
        &format!("{}: {}", group.entity, group.cause.words()),
        &body,
    ))
}

fn advice(cause: Cause) -> String {
    let mut letters = cause.advice().chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['.']).collect()
}

/// The longest part of a title that is in each error of its group.
fn words(title: &str) -> &str {
    title.split(['#', '*']).map(str::trim).max_by_key(|part| part.len()).unwrap_or_default()
}

/// What can be done to all of a group.
fn deeds(person: &Person, group: &Group, wanted: &Wanted, asked: &Asked) -> Markup {
    let asks = |action: &str, more: Markup| {
        html! {
            form.inline method="get" action="/actions/new" {
                input type="hidden" name="group" value=(group.id);
                input type="hidden" name="action" value=(action);
                // What is shown is what is meant.
                @if !asked.tenant.is_empty() { input type="hidden" name="tenant" value=(asked.tenant.trim()); }
                @if let Some(since) = wanted.since { input type="hidden" name="since" value=(since); }
                (more)
            }
        }
    };
    html! {
        @if person.may(Role::Operator) {
            div.actions {
                (asks("retry", html! { button.primary type="submit" data-key="r" { "Retry all…" } }))
                (asks("retry", html! { input type="hidden" name="probe" value="1"; button type="submit" { "Retry one as a probe…" } }))
                (asks("snooze", html! { (actions::spans()) button type="submit" { "Put off…" } }))
                @if person.may(Role::Admin) { (asks("discard", html! { button.danger type="submit" { "Discard…" } })) }
            }
        }
    }
}

/// Entities that failed where there is no queue: a retry is a backup of the entity.
fn entities(person: &Person, page: &[JobId]) -> Markup {
    html! {
        div.scroll { table.stack {
            thead { tr { th scope="col" { "Tenant" } th scope="col" { "Entity" } th scope="col" { "Snapshot" } th scope="col" { "Again" } } }
            tbody { @for id in page { tr {
                th scope="row" { a href=(format!("/tenants/{}", id.tenant)) { (id.tenant.as_str()) } }
                td data-label="Entity" { (id.entity) }
                td data-label="Snapshot" { a href=(format!("/tenants/{}/snapshots/{}", id.tenant, id.run)) { (id.run.as_str()) } }
                td data-label="Again" {
                    @if person.may(Role::Operator) {
                        form.inline method="post" action=(format!("/tenants/{}/backup", id.tenant)) {
                            (csrf(person))
                            input type="hidden" name="entity" value=(id.entity);
                            button type="submit" data-key="r" { "Back this up now" }
                        }
                    }
                }
            } } }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_errors_of_a_group_say() {
        let check = |title: &str, expect: &str| assert_eq!(words(title), expect, "{title}");
        check(
            "after # attempts: GET /teams/#/links: Tempo failed (HTTP 500): trace #",
            "/links: Tempo failed (HTTP 500): trace",
        );
        check("cancelled by *", "cancelled by");
        check("*", "");
    }
}
