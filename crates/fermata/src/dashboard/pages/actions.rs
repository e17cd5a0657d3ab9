//! `/actions`: what is done to more than one job is first shown, needs a reason, and can be watched and stopped.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::names::{RunId, Tenant};
use fermata_fleet::bulk::{self, Order, Preview, Seen};
use fermata_fleet::failures::Wanted;
use fermata_fleet::queue::{Action, Filter, JobView};
use fermata_fleet::{JobId, JobState, Queue};
use jiff::Timestamp;
use maud::{Markup, html};

use super::{failures, jobs};
use crate::dashboard::access::{Person, Role};
use crate::dashboard::html::{self, Place, Tone, badge, cli, csrf, notice, number, time};
use crate::dashboard::operations::Operation;
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::Asker;
use crate::dashboard::{Shared, now};
use crate::desk::jobs::{REASON_CHARS_MAX, check_reason, snooze_span, snooze_until};
use crate::out::{self, several};

/// Jobs a second, unless somebody says otherwise: what is retried asks Tempo at once.
const RPS: NonZeroU32 = NonZeroU32::new(10).expect("it is not zero");
/// What may be said instead.
const RPS_MAX: u32 = 200;
const ACTIONS: &str = "it is retry, snooze, cancel or discard";
/// How long what failed may be put off, to choose from.
const SPANS: [(&str, &str); 5] =
    [("1h", "1 hour"), ("6h", "6 hours"), ("1d", "1 day"), ("3d", "3 days"), ("7d", "7 days")];

/// What is to be done to which jobs: what addresses and forms carry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meant {
    action: Option<Action>,
    jobs: Vec<JobId>,
    filter: Filter,
    /// Only one of them, to see whether it goes well.
    probe: bool,
    /// Only those that were in their state by then: what came since nobody has looked at.
    until: Option<Timestamp>,
    rps: Option<NonZeroU32>,
    reason: Option<String>,
    /// All jobs of a group of failures.
    group: Option<String>,
    /// Of a group, those that failed then or later.
    since: Option<Timestamp>,
    /// Whether all jobs are meant that there are.
    all: bool,
    /// Until when what failed is put off.
    snooze: Option<Timestamp>,
}

impl Meant {
    /// Reads the fields of an address or a form.
    pub(crate) fn read(fields: &[(String, String)]) -> Result<Self, Problem> {
        let mut meant = Self::default();
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let bad = |why: &dyn std::fmt::Display| Problem::bad(format!("{name}: {why}"));
            match name.as_str() {
                "action" => {
                    meant.action = Some(action(value).ok_or_else(|| bad(&ACTIONS))?);
                }
                "job" => meant.jobs.push(value.parse::<JobId>().map_err(|error| bad(&error))?),
                "tenant" => meant.filter.tenant = Some(value.parse::<Tenant>().map_err(|error| bad(&error))?),
                "run" => meant.filter.run = Some(value.parse::<RunId>().map_err(|error| bad(&error))?),
                "entity" => meant.filter.entity = Some(value.clone()),
                "state" => meant.filter.state = Some(value.parse::<JobState>().map_err(|error| bad(&error))?),
                "error" => meant.filter.error = Some(value.clone()),
                "for" => meant.snooze = Some(now() + snooze_span(value).map_err(|why| bad(&why))?),
                "snooze" => {
                    let moment = value.parse().map_err(|_| bad(&"it is a moment"))?;
                    meant.snooze = Some(snooze_until(moment, now()).map_err(|why| bad(&why))?);
                }
                "group" => meant.group = Some(value.clone()),
                "since" => meant.since = Some(value.parse().map_err(|_| bad(&"it is a moment"))?),
                "all" => meant.all = true,
                "probe" => meant.probe = true,
                "until" => meant.until = Some(value.parse().map_err(|_| bad(&"it is a moment"))?),
                "rps" => {
                    let rps = value.trim().parse().ok().filter(|rps: &NonZeroU32| rps.get() <= RPS_MAX);
                    meant.rps = Some(rps.ok_or_else(|| bad(&format!("it is a number from 1 to {RPS_MAX}")))?);
                }
                "reason" => {
                    let reason = check_reason(Some(value.clone()));
                    meant.reason =
                        reason.map_err(|_| bad(&format!("say it in {REASON_CHARS_MAX} characters")))?;
                }
                _ => {}
            }
        }
        Ok(meant)
    }

    pub(crate) fn action(&self) -> Result<Action, Problem> {
        match (self.action, self.snooze) {
            (Some(Action::Snooze(_)), Some(until)) => Ok(Action::Snooze(until)),
            (Some(Action::Snooze(_)), None) => Err(Problem::bad("for: say how long, like 2h or 3d")),
            (Some(action), _) => Ok(action),
            (None, _) => Err(Problem::bad(format!("action: {ACTIONS}"))),
        }
    }

    /// The jobs that are meant and that this person may know of, sorted by whether they can be acted on.
    async fn preview(&self, app: &Shared, person: &Person) -> Result<Preview, Problem> {
        let (queue, action) = (queue(app)?, self.action()?);
        if let Some(group) = &self.group {
            // As it is now: what has changed since would be skipped, or be taken for more than it is.
            if let Some(failures) = &app.failures {
                failures.look().await?;
            }
            let tenants = match &self.filter.tenant {
                Some(tenant) => {
                    Some([tenant.clone()].into_iter().filter(|tenant| person.sees(tenant)).collect())
                }
                None => person.tenants.clone(),
            };
            let wanted = Wanted { tenants, since: self.since, ..Wanted::default() };
            let jobs = failures::look(app, |picture| picture.jobs(group, &wanted));
            return self.previewed(queue, action, jobs).await;
        }
        // Nothing chosen is not everything.
        if self.jobs.is_empty() && self.filter.is_empty() && !self.all {
            return Err(Problem::bad("no job is chosen; `all` says that all of them are meant"));
        }
        if self.jobs.is_empty() {
            let mut filter = self.filter.clone();
            if action == Action::Retry {
                filter.state = filter.state.or(Some(JobState::Dead));
            }
            if let Some(failures) = &app.failures {
                failures.look().await?;
            }
            if let Some(jobs) = jobs::failed(app, person, &filter) {
                return self.previewed(queue, action, jobs).await;
            }
        }
        let jobs = if self.jobs.is_empty() {
            let mut found = Vec::new();
            for filter in jobs::seen_by(person, &self.filter) {
                found.extend(bulk::matching(queue, action, &filter).await?);
            }
            found
        } else {
            let seen = self.jobs.iter().filter(|job| person.sees(&job.tenant)).cloned().collect();
            let named = bulk::named(queue, seen).await?;
            named.map_err(|missing| Problem::missing(format!("there is no job {}", missing[0])))?
        };
        let old = |job: &JobView| self.until.is_none_or(|until| job.since.is_none_or(|since| since <= until));
        let mut preview = bulk::preview(
            action,
            jobs.into_iter().filter(|job| person.sees(&job.tenant) && old(job)).collect(),
        );
        if self.probe {
            preview.probe();
        }
        Ok(preview)
    }

    /// What would be done to jobs that failed.
    async fn previewed(
        &self,
        queue: &Queue,
        action: Action,
        mut jobs: Vec<Seen>,
    ) -> Result<Preview, Problem> {
        jobs.retain(|job| self.until.is_none_or(|until| job.since.is_none_or(|since| since <= until)));
        let mut preview = bulk::preview_failed(queue, action, jobs).await?;
        if self.probe {
            preview.probe();
        }
        Ok(preview)
    }

    /// What is meant, in the words of the command line.
    fn words(&self) -> String {
        if let Some(group) = &self.group {
            let tenant =
                self.filter.tenant.as_ref().map(|tenant| format!(" --tenant {tenant}")).unwrap_or_default();
            return format!("{}what failed like {group}{tenant}", if self.probe { "one of " } else { "" });
        }
        match &*self.jobs {
            [] if self.probe => format!("one of {}", self.filter.words()),
            [] => self.filter.words(),
            [job] => job.to_string(),
            jobs => format!("{} and {} more", jobs[0], jobs.len() - 1),
        }
    }

    fn cli(&self, reason: &str) -> String {
        let action = self.action.map_or("retry", Action::name);
        let which = if self.jobs.is_empty() {
            self.filter.words()
        } else {
            self.jobs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let reason = if reason.is_empty() { String::new() } else { format!(" --reason {reason}") };
        let until = match self.action() {
            Ok(Action::Snooze(until)) => format!(" --until {}", until.strftime("%Y-%m-%dT%H:%M:%SZ")),
            _ => String::new(),
        };
        format!("fermata jobs {action} {which}{until}{reason}")
    }

    /// The same as hidden fields of a form.
    fn fields(&self, until: Option<Timestamp>) -> Markup {
        let filter = &self.filter;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let fields = [
            ("action", self.action.map(Action::name).unwrap_or_default().to_owned()),
            ("tenant", filter.tenant.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("run", filter.run.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("entity", text(&filter.entity)),
            ("state", filter.state.map(JobState::name).unwrap_or_default().to_owned()),
            ("error", text(&filter.error)),
            ("probe", if self.probe { "1" } else { "" }.to_owned()),
            ("group", text(&self.group)),
            ("since", self.since.map(|since| since.to_string()).unwrap_or_default()),
            ("all", if self.all { "1" } else { "" }.to_owned()),
            ("snooze", self.snooze.map(|until| until.to_string()).unwrap_or_default()),
            ("until", until.map(|until| until.to_string()).unwrap_or_default()),
        ];
        html! {
            @for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) { input type="hidden" name=(name) value=(value); }
            @for job in &self.jobs { input type="hidden" name="job" value=(job); }
        }
    }
}

fn action(name: &str) -> Option<Action> {
    // Until when, another field says.
    let snooze = Action::Snooze(Timestamp::UNIX_EPOCH);
    [Action::Retry, snooze, Action::Cancel, Action::Discard].into_iter().find(|action| action.name() == name)
}

/// The role that an action takes.
fn role(action: Action) -> Role {
    match action {
        Action::Discard => Role::Admin,
        _ => Role::Operator,
    }
}

/// What was done, in a word.
pub(crate) fn past(action: Action) -> &'static str {
    match action {
        Action::Retry => "Retried",
        Action::Snooze(_) => "Put off",
        Action::Cancel => "Cancelled",
        Action::Discard => "Discarded",
    }
}

fn check(person: &Person, action: Action) -> Result<(), Problem> {
    if person.may(role(action)) {
        return Ok(());
    }
    let what =
        format!("{} may not {} jobs; it takes the role {}", person.name, action.name(), role(action).name());
    Err(Problem::new(StatusCode::FORBIDDEN, what))
}

/// The queue, where there is one.
pub(crate) fn queue(app: &Shared) -> Result<&Queue, Problem> {
    app.queue.as_ref().ok_or_else(|| Problem::missing("there is no queue: one machine does it all here"))
}

/// `GET /actions/new`: what would be done.
pub(crate) async fn new(
    State(app): State<Shared>,
    person: Asker,
    Query(fields): Query<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let meant = Meant::read(&fields)?;
    let preview = look(&app, &person, &meant).await?;
    Ok(previewed(&app, &person, &meant, &preview, None))
}

/// What would be done.
pub(crate) async fn look(app: &Shared, person: &Person, meant: &Meant) -> Result<Preview, Problem> {
    check(person, meant.action()?)?;
    meant.preview(app, person).await
}

fn previewed(
    app: &Shared,
    person: &Person,
    meant: &Meant,
    preview: &Preview,
    wrong: Option<&str>,
) -> Response {
    let rps = meant.rps.unwrap_or(RPS);
    let able = preview.able.len() as u64;
    let until = preview.able.iter().filter_map(|job| job.since).max();
    let name = preview.action.name();
    let body = html! {
        section.card {
            p.lead {
                @if able == 0 { "There is no job to " (name) " here." }
                @else { "This would " strong { (name) " " (several(able, "job", "jobs")) } @if able > 1 { ", " (rps) " a second, which takes " (out::duration(preview.span(rps).as_secs_f64())) } "." }
            }
            p.soft { "Each of them only if it is still as it is now. What fails meanwhile is not meant." }
            @if matches!(preview.action, Action::Snooze(_)) { p { "Until then their runs are not sealed: these tenants get no newer snapshot." } }
        }
        @if !preview.skipped.is_empty() {
            h2 { (several(preview.skipped.len() as u64, "job is", "jobs are")) " not meant" }
            ul { @for (why, count) in preview.reasons() { li { (number(count)) ": " (why) } } }
        }
        @if able > 0 {
            h2 { @if able > bulk::SAMPLE as u64 { "Some of them" } @else { "Which" } }
            div.scroll { table.stack {
                thead { tr { th scope="col" { "Job" } th scope="col" { "State" } th scope="col" { "Since" } th scope="col" { "Error" } } }
                tbody { @for job in &preview.sample { tr {
                    th scope="row" { a href=(super::job::href(&job.id)) { (job.id.to_string()) } }
                    td data-label="State" { (super::jobs::state(job.state)) }
                    td data-label="Since" { @if let Some(since) = job.since { (time(since)) } }
                    td data-label="Error" { @if let Some(error) = &job.error { (out::cut(&out::plain(error), 160)) } }
                } } }
            } }
            form.card method="post" action="/actions" {
                (csrf(person))
                (meant.fields(until))
                @if able > 1 {
                    div.field {
                        label for="reason" { "Why" }
                        input id="reason" name="reason" required maxlength=(REASON_CHARS_MAX) value=(meant.reason.as_deref().unwrap_or_default())
                            aria-invalid=[wrong.map(|_| "true")] aria-describedby="reason-hint" autofocus;
                        @if let Some(wrong) = wrong { p.wrong { (wrong) } }
                        p.hint.soft id="reason-hint" { "It goes into the audit list, with your name, before anything is done." }
                    }
                    div.field { label for="rps" { "Jobs a second" } input id="rps" name="rps" type="number" min="1" max=(RPS_MAX) value=(rps); }
                }
                button.primary type="submit" data-key="r" { (capital(name)) " " (several(able, "job", "jobs")) }
                " " a.button href="/failures" { "Do nothing" }
            }
        }
        @if meant.group.is_none() { (cli(&meant.cli("\"...\""))) }
    };
    html::page(app, person, Place::Failures, &format!("{} jobs?", capital(name)), &body)
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `POST /actions`: does it. One job at once, more of them as an operation.
pub(crate) async fn begin(
    State(app): State<Shared>,
    person: Asker,
    Form(fields): Form<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let meant = Meant::read(&fields)?;
    match start(&app, &person, &meant).await? {
        Started::One(job) => {
            Ok(Redirect::to(&format!("{}?done={}", super::job::href(&job), meant.action()?.name()))
                .into_response())
        }
        Started::Many(operation) => Ok(Redirect::to(&format!("/actions/{}", operation.id)).into_response()),
        Started::NoReason(preview) => {
            let mut response =
                previewed(&app, &person, &meant, &preview, Some("say why: more than one job is meant"));
            *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(response)
        }
    }
}

/// What became of an action.
pub(crate) enum Started {
    /// It was done.
    One(JobId),
    /// It is being done.
    Many(Arc<Operation>),
    /// Nothing was done, since more than one is meant and nobody said why.
    NoReason(Box<Preview>),
}

/// Does what is meant to one job, or begins to do it to many.
pub(crate) async fn start(app: &Shared, person: &Person, meant: &Meant) -> Result<Started, Problem> {
    let preview = look(app, person, meant).await?;
    let queue = queue(app)?;
    let Some(first) = preview.able.first() else {
        let why = preview.skipped.first().map_or_else(
            || "no job is meant".to_owned(),
            |skipped| format!("{}: {}", skipped.id, skipped.why),
        );
        return Err(Problem::conflict(format!("nothing was done: {why}")));
    };
    let many = preview.able.len() > 1;
    if many && meant.reason.is_none() {
        return Ok(Started::NoReason(Box::new(preview)));
    }
    let first = first.id.clone();
    let order = Order {
        who: person.name.clone(),
        reason: meant.reason.clone(),
        target: many.then(|| meant.words()),
        rps: meant.rps.unwrap_or(RPS),
    };
    if many {
        return Ok(Started::Many(app.operations.begin(queue, preview, order)));
    }
    let outcome = bulk::carry_out(queue, preview, &order, &app.end, |_| {}).await?;
    app.changes.tell();
    if let Some(failure) = outcome.failure {
        // It may have been done: only the answer is missing.
        return Err(failure.into());
    }
    // Those that the preview skipped come first.
    match outcome.skipped.last() {
        _ if outcome.done == 1 => Ok(Started::One(first)),
        Some(skipped) => Err(Problem::conflict(format!("nothing was done: {}", skipped.why))),
        None => Err(Problem::conflict("nothing was done")),
    }
}

/// `GET /actions/{id}`: how far it is.
pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let operation = find(&app, &person, &id)?;
    let state = operation.state();
    let progress = state.progress;
    let name = operation.action.name();
    let sum = match &state.ended {
        None => format!("{} of {} jobs", out::count(progress.looked_at), out::count(progress.all)),
        Some(ended) => format!(
            "{}: {}. Skipped: {}.",
            past(operation.action),
            several(progress.done, "job", "jobs"),
            out::count(ended.skipped_count)
        ),
    };
    let stopped = operation.stop.is_cancelled();
    let body = html! {
        section.card id="progress" data-live data-say=(sum) {
            p.lead {
                @match &state.ended {
                    None if stopped => (badge(Tone::Busy, "stopping")),
                    None => (badge(Tone::Busy, "under way")),
                    Some(ended) if ended.failure.is_some() => (badge(Tone::Bad, "broke off")),
                    Some(_) if stopped => (badge(Tone::Warn, "stopped")),
                    Some(_) => (badge(Tone::Good, "done")),
                }
                " " (sum)
            }
            p { progress max=(progress.all.max(1)) value=(progress.looked_at) aria-label="jobs whose turn has come" {} }
            dl.facts {
                dt { "What" } dd { (name) " " code { (operation.target) } }
                dt { "Why" } dd { (operation.reason.as_deref().unwrap_or("nobody said")) }
                dt { "Begun" } dd { (time(operation.began)) " by " (operation.who) }
                dt { "Pace" } dd { (operation.rps) " jobs a second" }
                @if let Some(ended) = &state.ended { dt { "Ended" } dd { (time(ended.at)) } }
            }
            @if state.ended.is_none() && !stopped {
                form method="post" action=(format!("/actions/{id}/stop")) { (csrf(&person)) button.danger type="submit" { "Stop it" } }
            }
        }
        @if let Some(ended) = &state.ended {
            @if let Some(failure) = &ended.failure { (notice(Tone::Bad, &html! { (failure) ". What was done stays done; the same again goes on with the rest." })) }
            @if !ended.skipped.is_empty() {
                h2 { "Skipped" }
                div.scroll { table.stack {
                    thead { tr { th scope="col" { "Job" } th scope="col" { "Why" } } }
                    tbody { @for skipped in ended.skipped.iter().take(100) { tr { th scope="row" { a href=(super::job::href(&skipped.id)) { (skipped.id.to_string()) } } td data-label="Why" { (skipped.why) } } } }
                } }
                @if ended.skipped_count > 100 { p { "And " (number(ended.skipped_count - 100)) " more." } }
            }
        }
        p { a href="/failures" { "Failures" } " · " a href="/audit" { "Audit" } }
    };
    Ok(html::page(&app, &person, Place::Failures, &format!("{} jobs", capital(name)), &body))
}

/// `POST /actions/{id}/stop`.
pub(crate) async fn stop(
    State(app): State<Shared>,
    person: Asker,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    end(&app, &person, &id)?;
    Ok(Redirect::to(&format!("/actions/{id}")).into_response())
}

/// Stops one after the job under way.
pub(crate) fn end(app: &Shared, person: &Person, id: &str) -> Result<(), Problem> {
    find(app, person, id)?.stop.cancel();
    app.changes.tell();
    tracing::info!(who = person.name, operation = id, "stopped");
    Ok(())
}

pub(crate) fn find(app: &Shared, person: &Person, id: &str) -> Result<Arc<Operation>, Problem> {
    app.operations.find(id, person).ok_or_else(|| {
        Problem::missing(
            "there is no such action; those of before the page was started are in the audit list",
        )
    })
}

/// Those that are under way, for the pages where they show.
pub(crate) fn under_way(app: &Shared, person: &Person) -> Markup {
    let running: Vec<_> = app
        .operations
        .seen_by(person)
        .into_iter()
        .filter(|operation| operation.state().ended.is_none())
        .collect();
    html! {
        @for operation in running {
            @let progress = operation.state().progress;
            (notice(Tone::Busy, &html! {
                a href=(format!("/actions/{}", operation.id)) { (capital(operation.action.name())) " " (several(progress.all, "job", "jobs")) }
                ": " (number(progress.looked_at)) " so far, begun by " (operation.who) " " (time(operation.began))
            }))
        }
    }
}

/// What can be done to a job, for those who may, with the state that it is seen in.
pub(crate) fn buttons(person: &Person, job: &JobView) -> Markup {
    html! {
        @for action in [Action::Retry, Action::Cancel, Action::Discard] {
            @if person.may(role(action)) && job.refusal(action).is_none() {
                form.inline method="post" action="/actions" {
                    (csrf(person))
                    input type="hidden" name="action" value=(action.name());
                    input type="hidden" name="job" value=(job.id);
                    @if let Some(since) = job.since { input type="hidden" name="until" value=(since); }
                    button type="submit" class=[(action == Action::Discard).then_some("danger")] data-key=[(action == Action::Retry).then_some("r")] {
                        @match action { Action::Retry => "Retry now", Action::Cancel => "Cancel", _ => "Discard" }
                    }
                }
            }
        }
        @if person.may(Role::Operator) && job.refusal(Action::Snooze(Timestamp::UNIX_EPOCH)).is_none() {
            form.inline method="post" action="/actions" {
                (csrf(person))
                input type="hidden" name="action" value="snooze";
                input type="hidden" name="job" value=(job.id);
                @if let Some(since) = job.since { input type="hidden" name="until" value=(since); }
                (spans())
                button type="submit" { "Put off" }
            }
        }
    }
}

/// For how long something is put off.
pub(crate) fn spans() -> Markup {
    html! {
        select name="for" aria-label="for how long" {
            @for (value, name) in SPANS { option value=(value) { (name) } }
        }
    }
}

/// When a job is looked at again, while that is yet to come.
pub(crate) fn waits_until(job: &JobView) -> Option<Timestamp> {
    job.next_at.filter(|next| *next > now())
}
