//! `/tenants/{tenant}/settings` and `/tenants/new`.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::names::Tenant;
use fermata_core::settings::{RATE, SHRINK_PERCENT, SWEEP_DAYS, Settings};
use maud::{Markup, html};
use serde::Deserialize;

use super::tenant::{Done, Tab, tabs};
use crate::dashboard::access::{Person, Role};
use crate::dashboard::deeds::Unchanged;
use crate::dashboard::html::{self, Place, Tone, cli, csrf, notice};
use crate::dashboard::problem::Problem;
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{Shared, deeds, now};
use crate::desk::tenants::{self, Change, Mistake};

/// The fields of the form, as text: what cannot be read goes back to whoever wrote it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Given {
    tenant: String,
    seq: String,
    name: String,
    base_url: String,
    rate: String,
    schedule: String,
    time_zone: String,
    weight: String,
    keep: String,
    sweep_every: String,
    shrink: String,
    without: String,
}

impl Given {
    fn of(settings: &Settings) -> Self {
        let or = |value: &Option<String>| value.clone().unwrap_or_default();
        Self {
            tenant: settings.tenant.to_string(),
            seq: settings.seq.to_string(),
            name: or(&settings.name),
            base_url: settings.base_url.clone(),
            rate: settings.rate.to_string(),
            schedule: or(&settings.schedule),
            time_zone: or(&settings.time_zone),
            weight: settings.weight.to_string(),
            keep: or(&settings.keep),
            sweep_every: settings.sweep_days.unwrap_or(SWEEP_DAYS).to_string(),
            shrink: settings.shrink_percent.unwrap_or(SHRINK_PERCENT).to_string(),
            without: settings.without.iter().cloned().collect::<Vec<_>>().join(" "),
        }
    }

    /// As a change. A field that is empty takes its setting back.
    fn change(&self) -> Result<Change, Vec<Mistake>> {
        fn number<T: std::str::FromStr>(
            field: &'static str,
            text: &str,
            wrong: &mut Vec<Mistake>,
        ) -> Option<T> {
            let text = text.trim();
            let number = text.parse().ok();
            if number.is_none() && !text.is_empty() {
                wrong.push(Mistake { field, what: format!("{text:?} is no number that fits") });
            }
            number
        }
        let mut wrong = Vec::new();
        let or_none =
            |text: &str, none: &str| Some(if text.trim().is_empty() { none } else { text.trim() }.to_owned());
        let mut without = vec![tenants::NONE.to_owned()];
        without.extend(
            self.without.split([' ', ',', '\n', '\r']).filter(|name| !name.is_empty()).map(str::to_owned),
        );
        let change = Change {
            name: Some(self.name.trim().to_owned()),
            base_url: Some(self.base_url.trim().to_owned()).filter(|url| !url.is_empty()),
            rate: number("rate", &self.rate, &mut wrong),
            schedule: or_none(&self.schedule, tenants::NONE),
            time_zone: or_none(&self.time_zone, "UTC"),
            weight: number("weight", &self.weight, &mut wrong),
            keep: or_none(&self.keep, "all"),
            sweep_every: number("sweep-every", &self.sweep_every, &mut wrong),
            shrink: number("shrink", &self.shrink, &mut wrong),
            without,
        };
        if wrong.is_empty() { Ok(change) } else { Err(wrong) }
    }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Query(done): Query<Done>,
) -> Result<Response, Problem> {
    let settings = deeds::settings(&app, &tenant).await?;
    Ok(page(&app, &person, &settings, &Given::of(&settings), &[], &done.done))
}

pub(crate) async fn change(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let changed = match given.change() {
        Ok(change) => deeds::change(&app, &person, &tenant, given.seq.parse().ok(), change).await,
        Err(mistakes) => Err(Unchanged::Mistakes(mistakes)),
    };
    match changed {
        Ok(saved) => {
            let done = if saved.token.is_none() { "untokened" } else { "saved" };
            Ok(Redirect::to(&format!("/tenants/{tenant}/settings?done={done}")).into_response())
        }
        Err(Unchanged::Problem(problem)) => Err(problem),
        Err(Unchanged::Mistakes(mistakes)) => {
            let settings = deeds::settings(&app, &tenant).await?;
            Ok(refused(page(&app, &person, &settings, &given, &mistakes, "")))
        }
    }
}

fn page(
    app: &Shared,
    person: &Person,
    settings: &Settings,
    given: &Given,
    mistakes: &[Mistake],
    done: &str,
) -> Response {
    let tenant = &settings.tenant;
    let view = tenants::view(settings, None, now());
    let body = html! {
        (tabs(app, tenant, Tab::Settings))
        @match done {
            "saved" => (notice(Tone::Good, &html! { "Saved." })),
            "untokened" => (notice(Tone::Warn, &html! { "Saved. There is no token: one that was stored for another address is not sent to this one. " a href=(format!("/tenants/{tenant}/token")) { "Store it" } "." })),
            _ => {}
        }
        section.card {
            h2 { "When it is due" }
            p { (tenants::schedule_in_words(settings)) }
            @if !view.due_next.is_empty() {
                ol { @for due in tenants::due_next_in_words(settings, &view.due_next) { li { (due) } } }
            }
        }
        @if person.may(Role::Admin) {
            form.card method="post" action=(format!("/tenants/{tenant}/settings")) {
                (csrf(person))
                input type="hidden" name="seq" value=(given.seq);
                (fields(given, mistakes))
                button.primary type="submit" { "Save" }
            }
            section.card {
                details {
                    summary { "Remove this tenant" }
                    p { "It and its token are forgotten. Its snapshots stay in the store; adding the tenant again brings them back." }
                    form method="post" action=(format!("/tenants/{tenant}/remove")) {
                        (csrf(person))
                        div.field { label for="confirm" { "Write " code { (tenant.as_str()) } " to confirm" } input id="confirm" name="confirm" autocomplete="off" required; }
                        button.danger type="submit" { "Remove it" }
                    }
                }
            }
        } @else {
            dl.facts.card {
                dt { "Address" } dd { (settings.base_url) }
                dt { "Rate" } dd { (settings.rate) " requests per second" }
                dt { "Kept" } dd { (settings.keep.as_deref().unwrap_or("every snapshot")) }
                dt { "All is read" } dd { "every " (view.sweep_days) " days" }
                dt { "Suspect" } dd { "where an entity lost more than " (view.shrink_percent) " %" }
                dt { "Left out" } dd { @if view.without.is_empty() { "nothing" } @else { (view.without.join(", ")) } }
            }
        }
        (cli(&format!("fermata tenant set {tenant} --help")))
    };
    html::page(app, person, Place::Tenants, &format!("Settings of {tenant}"), &body)
}

pub(crate) async fn new(State(app): State<Shared>, person: Asker) -> Response {
    let given = Given { rate: RATE.to_string(), schedule: "30 2 * * *".to_owned(), ..Given::default() };
    adding(&app, &person, &given, &[])
}

pub(crate) async fn add(
    State(app): State<Shared>,
    person: Asker,
    Form(given): Form<Given>,
) -> Result<Response, Problem> {
    let tenant = given.tenant.trim().parse::<Tenant>();
    let mut mistakes = Vec::new();
    mistakes.extend(tenant.as_ref().err().map(|error| Mistake { field: "tenant", what: error.to_string() }));
    let change = given.change().map_err(|more| mistakes.extend(more));
    let (Ok(tenant), Ok(change)) = (tenant, change) else {
        return Ok(refused(adding(&app, &person, &given, &mistakes)));
    };
    match deeds::add(&app, &person, &tenant, change).await {
        Ok(_) => Ok(Redirect::to(&format!("/tenants/{tenant}/token")).into_response()),
        Err(Unchanged::Mistakes(mistakes)) => Ok(refused(adding(&app, &person, &given, &mistakes))),
        Err(Unchanged::Problem(problem)) => Err(problem),
    }
}

fn adding(app: &Shared, person: &Person, given: &Given, mistakes: &[Mistake]) -> Response {
    let body = html! {
        form.card method="post" action="/tenants" {
            (csrf(person))
            (field("tenant", "Short name", &given.tenant, "a-z, 0-9 and hyphens, of your choice; it names the tenant everywhere", mistakes))
            (fields(given, mistakes))
            button.primary type="submit" { "Add it" }
        }
        (cli("fermata tenant add NAME"))
    };
    html::page(app, person, Place::Tenants, "Add a tenant", &body)
}

#[derive(Deserialize)]
pub(crate) struct Confirmed {
    #[serde(default)]
    confirm: String,
}

pub(crate) async fn remove(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Form(given): Form<Confirmed>,
) -> Result<Response, Problem> {
    if given.confirm.trim() != tenant.as_str() {
        return Err(Problem::bad(format!("nothing was removed: {:?} is not {tenant}", given.confirm)));
    }
    deeds::remove(&app, &person, &tenant).await?;
    Ok(Redirect::to("/").into_response())
}

fn refused(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    response
}

fn fields(given: &Given, mistakes: &[Mistake]) -> Markup {
    const URLS: [(&str, &str); 3] = [
        ("https://api.tempo.io", "any region"),
        ("https://api.eu.tempo.io", "Europe"),
        ("https://api.us.tempo.io", "United States"),
    ];
    html! {
        (field("name", "Name", &given.name, "for people", mistakes))
        (field("base-url", "Tempo's address", &given.base_url, "https://api.tempo.io, or of a region: https://api.eu.tempo.io, https://api.us.tempo.io", mistakes))
        datalist id="base-url-list" { @for (url, region) in URLS { option value=(url) { (region) } } }
        (field("rate", "Requests per second", &given.rate, "Tempo allows 5", mistakes))
        (field("schedule", "Schedule", &given.schedule, "five fields of cron, like 30 2 * * *, or @daily; empty: by hand", mistakes))
        (field("time-zone", "Time zone", &given.time_zone, "like Europe/Berlin; UTC where empty", mistakes))
        (field("keep", "Snapshots to keep", &given.keep, "daily=7,weekly=5,monthly=12,yearly=3, or last=10; all where empty. fermata snapshots prune carries it out", mistakes))
        details open[!mistakes.is_empty()] {
            summary { "More" }
            (field("weight", "Weight", &given.weight, "its share of the workers beside other tenants: 1 to 100", mistakes))
            (field("sweep-every", "Days after which all is read again", &given.sweep_every, "1 to 90", mistakes))
            (field("shrink", "Percent of its records that an entity may lose", &given.shrink, "before the snapshot is suspect", mistakes))
            (field("without", "Entities to leave out", &given.without, "with blanks between", mistakes))
        }
    }
}

/// A field with its mistake, if it has one. Its name in the form is that of the flag, with underscores.
fn field(name: &'static str, label: &str, value: &str, hint: &str, mistakes: &[Mistake]) -> Markup {
    let wrong = mistakes.iter().find(|mistake| mistake.field == name);
    html! {
        div.field {
            label for=(name) { (label) }
            input id=(name) name=(name.replace('-', "_")) value=(value) aria-describedby=(format!("{name}-hint"))
                aria-invalid=[wrong.map(|_| "true")] list=[(name == "base-url").then_some("base-url-list")] spellcheck="false";
            @if let Some(wrong) = wrong { p.wrong { (wrong.what) } }
            p.hint.soft id=(format!("{name}-hint")) { (hint) }
        }
    }
}
