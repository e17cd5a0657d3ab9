//! `/jobs`: what is in the queue.

use axum::extract::{Query, State};
use axum::response::Response;
use fermata_core::names::Tenant;
use fermata_fleet::JobState;
use fermata_fleet::bulk::Seen;
use fermata_fleet::queue::{Filter, JobView};
use maud::{Markup, html};
use serde::Deserialize;

use super::{actions, failures, job};
use crate::dashboard::access::{Person, Role};
use crate::dashboard::html::{self, PageNumber, Place, Tone, badge, cli, number, pager, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::Asker;
use crate::dashboard::{Shared, now};
use crate::out;

/// Jobs on a page.
pub(crate) const SIZE: usize = 50;

/// What is looked for, as it stands in the address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) tenant: String,
    pub(crate) run: String,
    pub(crate) entity: String,
    pub(crate) state: String,
    pub(crate) error: String,
    pub(crate) page: PageNumber,
}

impl Asked {
    pub(crate) fn filter(&self) -> Result<Filter, Problem> {
        let bad = |name: &str, why: &dyn std::fmt::Display| Problem::bad(format!("{name}: {why}"));
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(Filter {
            tenant: given(&self.tenant)
                .map(|name| name.parse())
                .transpose()
                .map_err(|error| bad("tenant", &error))?,
            run: given(&self.run).map(|name| name.parse()).transpose().map_err(|error| bad("run", &error))?,
            entity: given(&self.entity),
            state: given(&self.state)
                .map(|name| name.parse())
                .transpose()
                .map_err(|error| bad("state", &error))?,
            error: given(&self.error),
        })
    }

    fn address(&self, page: usize) -> String {
        let page = if page > 1 { page.to_string() } else { String::new() };
        let fields = [
            ("tenant", &*self.tenant),
            ("run", &self.run),
            ("entity", &self.entity),
            ("state", &self.state),
            ("error", &self.error),
            ("page", &page),
        ];
        html::query("/jobs", &fields)
    }
}

/// A state: sign, word and colour.
pub(crate) fn state(state: JobState) -> Markup {
    let tone = match state {
        JobState::Dead => Tone::Bad,
        JobState::Retry | JobState::Parked => Tone::Warn,
        JobState::Running => Tone::Busy,
        JobState::Queued | JobState::Waiting => Tone::Quiet,
        JobState::Done => Tone::Good,
    };
    badge(tone, state.name())
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let filter = asked.filter()?;
    let page = asked.page;
    let (jobs, total) = find(&app, &person, &filter, page).await?;
    let words = filter.words();
    let body = html! {
        form.bar method="get" action="/jobs" role="search" {
            div { label for="tenant" { "Tenant" } input id="tenant" type="search" name="tenant" value=(asked.tenant) autocomplete="off"; }
            div { label for="entity" { "Entity" } input id="entity" name="entity" value=(asked.entity) autocomplete="off"; }
            div {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "any" }
                    @for state in JobState::ALL { option value=(state.name()) selected[asked.state == state.name()] { (state.name()) } }
                }
            }
            div { label for="error" { "Error" } input id="error" name="error" value=(asked.error) autocomplete="off" title="without its numbers, where the state is dead or retry"; }
            @if !asked.run.is_empty() { input type="hidden" name="run" value=(asked.run); }
            button type="submit" { "Show" }
        }
        form method="get" action="/actions/new" {
            section id="jobs" data-live { (table(&person, &jobs)) }
            (pager(page.get(), SIZE, usize::try_from(total).unwrap_or(usize::MAX), |page| asked.address(page)))
            @if person.may(Role::Operator) && !jobs.is_empty() {
                div.actions {
                    button type="submit" name="action" value="retry" data-key="r" { "Retry those chosen…" }
                    button type="submit" name="action" value="cancel" { "Cancel those chosen…" }
                    @if person.may(Role::Admin) { button.danger type="submit" name="action" value="discard" { "Discard those chosen…" } }
                }
            }
        }
        (cli(&format!("fermata jobs list {}", words.trim_start_matches("--all").trim())))
    };
    Ok(html::page(&app, &person, Place::Jobs, "Jobs", &body))
}

/// A page of the jobs that match and that a person may know of, and how many match in all.
pub(crate) async fn find(
    app: &Shared,
    person: &Person,
    filter: &Filter,
    page: PageNumber,
) -> Result<(Vec<JobView>, u64), Problem> {
    let queue = actions::queue(app)?;
    if let Some(failed) = failed(app, person, filter) {
        let shown = failed.iter().skip(page.skips(SIZE)).take(SIZE);
        let shown: Vec<_> = shown.map(|job| job.id.clone()).collect();
        let jobs = queue.jobs(&shown).await?;
        return Ok((jobs.into_iter().flatten().collect(), failed.len() as u64));
    }
    let most = page.skips(SIZE) + SIZE;
    let (mut jobs, mut total) = (Vec::new(), 0);
    for filter in seen_by(person, filter) {
        let (found, count) = queue.list(&filter, most).await?;
        jobs.extend(found);
        total += count;
    }
    Ok((jobs.into_iter().skip(page.skips(SIZE)).take(SIZE).collect(), total))
}

/// The jobs that failed and match, from the picture of them, so that not all are asked for to find some. Nothing where the filter means
/// others too, or there is no picture yet.
pub(crate) fn failed(app: &Shared, person: &Person, filter: &Filter) -> Option<Vec<Seen>> {
    let failures = app.failures.as_ref().filter(|_| failures::staleness(app, now()).is_none())?;
    let picture = failures.read();
    let found = seen_by(person, filter).into_iter().map(|filter| picture.found(&filter));
    found.collect::<Option<Vec<_>>>().map(|found| found.concat())
}

/// A filter as it has to be asked for somebody: whoever may know of some tenants asks for each of them alone, as all
/// jobs of all others would be read to be thrown away.
pub(crate) fn seen_by(person: &Person, filter: &Filter) -> Vec<Filter> {
    let of = |tenant: &Tenant| Filter { tenant: Some(tenant.clone()), ..filter.clone() };
    match (&person.tenants, &filter.tenant) {
        (None, _) => vec![filter.clone()],
        (Some(theirs), Some(tenant)) => theirs.get(tenant).map(of).into_iter().collect(),
        (Some(theirs), None) => theirs.iter().map(of).collect(),
    }
}

/// Jobs as rows that can be chosen.
pub(crate) fn table(person: &Person, jobs: &[JobView]) -> Markup {
    let chooses = person.may(Role::Operator);
    html! {
        @if jobs.is_empty() { p { "No job matches." } }
        @else {
            div.scroll { table.stack {
                thead { tr {
                    @if chooses { th.tight scope="col" { input type="checkbox" data-all aria-label="all on this page"; } }
                    th scope="col" { "State" } th scope="col" { "Job" } th scope="col" { "Attempt" } th scope="col" { "Since" } th scope="col" { "Next" } th scope="col" { "Note" }
                } }
                tbody { @for job in jobs { (row(chooses, job)) } }
            } }
        }
    }
}

fn row(chooses: bool, job: &JobView) -> Markup {
    let waits = (!job.waits_for.is_empty()).then(|| format!("waits for {}", job.waits_for.join(", ")));
    let on = job.worker.as_ref().map(|worker| format!("on {worker}"));
    let note = waits.or(on).or(job.why.clone()).or(job.error.clone()).unwrap_or_default();
    html! {
        tr {
            @if chooses { td.tight { input type="checkbox" name="job" value=(job.id) aria-label=(job.id); } }
            td.tight data-label="State" { (state(job.state)) }
            th scope="row" { a href=(job::href(&job.id)) { (job.tenant.as_str()) " " (job.entity) } span.sub { (job.run.as_str()) } }
            td data-label="Attempt" { (job.attempt) "/" (job.attempts_max) }
            td data-label="Since" { @if let Some(since) = job.since { (time(since)) } }
            td data-label="Next" { @if let Some(next) = actions::waits_until(job) { (time(next)) } }
            td data-label="Note" {
                (out::cut(&out::plain(&note), 200))
                @if let Some(progress) = job.progress.filter(|_| job.state == JobState::Running) { span.sub { (number(progress.records)) " records" } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_may_know_of_some_tenants_asks_for_those_alone() {
        let name = |name: &str| name.parse::<Tenant>().unwrap();
        let mut person = Person {
            name: "ci".to_owned(),
            role: Role::Viewer,
            tenants: Some(["acme", "beta"].map(name).into()),
            csrf: None,
        };
        let asked = |person: &Person, tenant: Option<&str>| {
            let filter = Filter { tenant: tenant.map(name), ..Filter::default() };
            let filters = seen_by(person, &filter).into_iter();
            filters.map(|filter| filter.tenant.map(|tenant| tenant.to_string())).collect::<Vec<_>>()
        };
        let some = |names: &[&str]| names.iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>();
        assert_eq!(asked(&person, None), some(&["acme", "beta"]));
        assert_eq!(asked(&person, Some("beta")), some(&["beta"]));
        assert_eq!(asked(&person, Some("other")), some(&[]));
        person.tenants = None;
        assert_eq!(asked(&person, None), [None]);
        assert_eq!(asked(&person, Some("other")), some(&["other"]));
    }
}
