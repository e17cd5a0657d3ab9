//! `/tenants/{tenant}/snapshots/{run}`: what a snapshot holds, what it lacks, and whether it is whole.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use fermata_core::manifest::{Entry, EntryStatus, Manifest, Status};
use fermata_core::names::{RunId, Tenant};
use fermata_core::plan::Mode;
use fermata_vault::{Depth, Report};
use maud::{Markup, html};
use serde::Deserialize;

use super::snapshots::status;
use super::tenant::{Tab, tabs};
use super::token::grant;
use crate::dashboard::access::{Person, Role};
use crate::dashboard::html::{self, Place, Tone, badge, cli, csrf, notice, number, time};
use crate::dashboard::problem::Problem;
use crate::dashboard::reading::{self, Check};
use crate::dashboard::routes::{Asker, Theirs};
use crate::dashboard::{App, Shared, deeds};
use crate::desk::snapshots;
use crate::out::{self, several};

/// The snapshot that an address names.
#[derive(Debug, Deserialize)]
pub(crate) struct Of {
    pub(crate) run: String,
}

impl Of {
    /// Its name; `latest` and `previous` are names, too.
    pub(crate) async fn find(&self, app: &App, tenant: &Tenant) -> Result<Manifest, Problem> {
        find(app, tenant, &self.run).await
    }

    pub(crate) fn run(&self) -> Result<RunId, Problem> {
        self.run.parse().map_err(|_| Problem::missing(format!("{:?} is no name of a run", self.run)))
    }
}

/// The manifest of the snapshot with this name.
pub(crate) async fn find(app: &App, tenant: &Tenant, name: &str) -> Result<Manifest, Problem> {
    let is_name = matches!(name, "latest" | "previous") || name.parse::<RunId>().is_ok();
    if !is_name {
        return Err(Problem::missing(format!("{name:?} is no name of a snapshot")));
    }
    match snapshots::named(&app.vault, tenant, name).await {
        Ok(manifest) => Ok(manifest),
        Err(error) if error.is::<crate::exit::Usage>() => {
            Err(Problem::missing(format!("{tenant} has no snapshot {name}; it may have been pruned")))
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn show(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Result<Response, Problem> {
    let manifest = match of.find(&app, &tenant).await {
        Err(problem) => {
            // A run that is under way is one somewhere else.
            let run = of.run().ok();
            let unfinished = app.vault.unfinished_runs(&tenant).await.unwrap_or_default();
            return match run.filter(|run| unfinished.contains(run)) {
                Some(run) => Ok(Redirect::to(&format!("/tenants/{tenant}/runs/{run}")).into_response()),
                None => Err(problem),
            };
        }
        Ok(manifest) => manifest,
    };
    let run = &manifest.run;
    let accepted = deeds::settings(&app, &tenant).await?.accepted.is_some_and(|accepted| accepted >= *run);
    let body = html! {
        (tabs(&app, &tenant, Tab::Snapshots))
        @if manifest.status == Status::Suspect { (suspect(&person, &manifest, accepted)) }
        (facts(&manifest))
        (gaps(&manifest))
        (entities(&person, &manifest))
        (checking(&app, &person, &tenant, run))
        (export(&app, &person, &manifest))
        (cli(&format!("fermata snapshots show {tenant} --snapshot {run}")))
    };
    Ok(html::page(&app, &person, Place::Tenants, &format!("Snapshot {run} of {tenant}"), &body))
}

pub(crate) fn address(manifest: &Manifest) -> String {
    format!("/tenants/{}/snapshots/{}", manifest.tenant, manifest.run)
}

fn suspect(person: &Person, manifest: &Manifest, accepted: bool) -> Markup {
    let suspects = manifest.entities.iter().filter_map(|entry| Some((entry, entry.suspect.as_ref()?)));
    let tone = if accepted { Tone::Quiet } else { Tone::Bad };
    notice(
        tone,
        &html! {
            p { strong { "This snapshot is suspect." } @if accepted { " Somebody looked at it, and said that it is right." } }
            ul { @for (entry, why) in suspects { li { strong { (entry.entity) } ": " (out::plain(why)) } } }
            @if !accepted {
                p { "Were the records deleted, the snapshot is right. Can the token no longer see them, give it the permission and back up again." }
                @if person.may(Role::Admin) {
                    form.inline method="post" action=(format!("{}/accept", address(manifest))) { (csrf(person)) button.danger type="submit" { "It is right: accept it" } }
                }
                (cli(&format!("fermata snapshots accept {} --snapshot {}", manifest.tenant, manifest.run)))
            }
        },
    )
}

fn facts(manifest: &Manifest) -> Markup {
    let requests: u64 = manifest.entities.iter().map(|entry| entry.requests).sum();
    html! {
        section.card {
            dl.facts {
                dt { "State" } dd { (status(manifest.status)) }
                dt { "Begun" } dd { (time(manifest.started)) }
                dt { "Sealed" } dd { (time(manifest.sealed)) }
                dt { "Records" } dd { (number(manifest.records())) }
                dt { "Stored" } dd { (out::bytes(manifest.stored())) span.soft { ", what it shares with other snapshots included" } }
                dt { "Requests" } dd { (number(requests)) }
                dt { "Read from" } dd { (manifest.base_url) }
                dt { "Written by" } dd { (manifest.written_by) }
                @if !manifest.wish.only.is_empty() {
                    dt { "Asked for" } dd { "only " (manifest.wish.only.iter().cloned().collect::<Vec<_>>().join(", ")) }
                }
                @if let Some(previous) = &manifest.previous {
                    dt { "Follows" }
                    dd {
                        a href=(format!("/tenants/{}/snapshots/{}", manifest.tenant, previous.run)) { (previous.run.as_str()) } " · "
                        a href=(format!("/tenants/{}/diff?from={}&to={}", manifest.tenant, previous.run, manifest.run)) { "what differs" }
                    }
                }
            }
        }
    }
}

/// What is missing, why, and what helps.
fn gaps(manifest: &Manifest) -> Markup {
    let gaps: Vec<&Entry> = manifest.entities.iter().filter(|entry| entry.status.is_gap()).collect();
    html! {
        @if !gaps.is_empty() {
            h2 { "What is missing" }
            div.scroll { table.stack {
                thead { tr { th scope="col" { "Entity" } th scope="col" { "State" } th scope="col" { "Why" } th scope="col" { "What helps" } } }
                tbody { @for entry in gaps { tr {
                    th scope="row" { (entry.entity) }
                    td data-label="State" { (state(entry)) }
                    td data-label="Why" { (out::plain(entry.reason.as_deref().unwrap_or("no reason was given"))) }
                    td data-label="What helps" {
                        @if entry.status == EntryStatus::Skipped { "Grant the token " (grant(&entry.entity)) ", then back up again." }
                        @else { "Back up again; what was read stays." }
                    }
                } } }
            } }
        }
    }
}

fn entities(person: &Person, manifest: &Manifest) -> Markup {
    let (held, left_out): (Vec<&Entry>, Vec<&Entry>) =
        manifest.entities.iter().partition(|entry| entry.status != EntryStatus::LeftOut);
    let count = |count: Option<u64>| count.filter(|count| *count > 0).map(number);
    html! {
        h2 { "What it holds" }
        div.scroll { table.stack {
            thead { tr {
                th scope="col" { "Entity" }
                th scope="col" { "State" }
                th.num scope="col" { "Records" }
                th.num scope="col" { "Added" }
                th.num scope="col" { "Changed" }
                th.num scope="col" { "Deleted" }
                th.num scope="col" { "Size" }
                th scope="col" { "Read" }
                th scope="col" { "Note" }
            } }
            tbody { @for entry in held { tr {
                th scope="row" {
                    @if entry.records > 0 && person.may(Role::Operator) { a href=(format!("{}/records/{}", address(manifest), entry.entity)) { (entry.entity) } }
                    @else { (entry.entity) }
                }
                td data-label="State" { (state(entry)) }
                td.num data-label="Records" { (number(entry.records)) }
                td.num data-label="Added" { @if let Some(count) = count(entry.added) { (count) } }
                td.num data-label="Changed" { @if let Some(count) = count(entry.changed) { (count) } }
                td.num data-label="Deleted" { @if let Some(count) = count(entry.deleted) { (count) } }
                td.num data-label="Size" { (out::bytes(entry.bytes)) }
                td data-label="Read" { (read(entry)) }
                td data-label="Note" { (out::plain(&snapshots::note(entry))) }
            } } }
        } }
        @if !left_out.is_empty() {
            details {
                summary { (several(left_out.len() as u64, "entity was", "entities were")) " not asked for" }
                ul { @for entry in left_out { li { (entry.entity) @if let Some(reason) = &entry.reason { ": " (out::plain(reason)) } } } }
            }
        }
    }
}

fn state(entry: &Entry) -> Markup {
    match entry.status {
        _ if entry.suspect.is_some() => badge(Tone::Bad, "suspect"),
        EntryStatus::Complete => badge(Tone::Good, "complete"),
        EntryStatus::LeftOut => badge(Tone::Quiet, "left out"),
        EntryStatus::Skipped => badge(Tone::Warn, "not read"),
        EntryStatus::Failed => badge(Tone::Bad, "failed"),
    }
}

fn read(entry: &Entry) -> &'static str {
    match (entry.status, entry.mode) {
        (EntryStatus::LeftOut | EntryStatus::Skipped, _) => "",
        (_, Mode::Sweep) => "all",
        (_, Mode::Delta) => "changes",
    }
}

/// Whether it is whole: what was found, and what can be looked at.
fn checking(app: &App, person: &Person, tenant: &Tenant, run: &RunId) -> Markup {
    let check = app.reading.check(tenant, run);
    let said = check.as_ref().filter(|check| check.ended.is_some()).map(|check| sentence(check).1);
    let action = format!("/tenants/{tenant}/snapshots/{run}/verify");
    let line = format!("fermata snapshots verify {tenant} --snapshot {run}");
    html! {
        h2 { "Is it whole?" }
        section id="check" data-live data-say=(said.unwrap_or_default()) {
            @if let Some(check) = &check {
                @let (tone, words) = sentence(check);
                (notice(tone, &html! { (words) }))
                @if let (None, Some(progress)) = (&check.ended, check.progress) {
                    p { progress max=(progress.chunks_total) value=(progress.chunks) aria-label="chunks read" {} " " (number(progress.chunks)) " of " (number(progress.chunks_total)) " chunks, " (out::bytes(progress.bytes)) }
                }
                p.soft { "Begun " (time(check.began)) " by " (check.who) @if let Some((ended, _)) = &check.ended { ", ended " (time(*ended)) } }
                @if let Some((_, Ok(report))) = &check.ended { (report_of(report)) }
            }
        }
        @if person.may(Role::Operator) {
            div.actions {
                @for (depth, word) in [("stored", "Check the stored bytes"), ("data", "Read every record")] {
                    @if depth == "stored" || app.data.is_some() {
                        form.inline method="post" action=(action) { (csrf(person)) input type="hidden" name="depth" value=(depth); button type="submit" { (word) } }
                    }
                }
            }
        }
        @if app.data.is_some() { (cli(&format!("{line} --data"))) }
        @else {
            (cli(&format!("{line} --stored")))
            p { "To read the records takes the key to them, which this page was not given (" code { "--data-key" } "). Where the key is:" }
            (cli(&format!("{line} --data")))
        }
    }
}

/// What became of a verification, in a sentence.
fn sentence(check: &Check) -> (Tone, String) {
    match (&check.ended, check.progress) {
        (None, None) => (Tone::Busy, "It is about to be read.".to_owned()),
        (None, Some(_)) => (Tone::Busy, "It is being read.".to_owned()),
        (Some((_, Err(why))), _) => (Tone::Warn, format!("It could not be looked at: {why}.")),
        (Some((_, Ok(report))), _) if !report.ok => {
            let found = several(report.problems.len() as u64, "problem", "problems");
            (Tone::Bad, format!("It is not whole: {found}."))
        }
        (Some((_, Ok(report))), _) => {
            let what = match check.depth {
                Depth::Data => "every record was read and counted",
                Depth::Stored => "the bytes of all chunks are those that were stored",
                Depth::Structure | Depth::Sample { .. } => "all chunks are there with the right size",
            };
            let (chunks, bytes) = (out::count(report.chunks), out::bytes(report.bytes));
            (
                Tone::Good,
                format!(
                    "It is whole: {what}, and the manifest is as it was signed ({chunks} chunks, {bytes})."
                ),
            )
        }
    }
}

fn report_of(report: &Report) -> Markup {
    html! {
        @for note in &report.notes { p { "Note: " (out::plain(note)) } }
        @if !report.problems.is_empty() {
            div.scroll { table.stack {
                thead { tr { th scope="col" { "Entity" } th scope="col" { "What is wrong" } th scope="col" { "What can be had" } th scope="col" { "Object" } } }
                tbody { @for problem in &report.problems { tr {
                    th scope="row" { (problem.entity.as_deref().unwrap_or("the snapshot")) }
                    td data-label="What is wrong" { (out::plain(&problem.what.to_string())) }
                    td data-label="What can be had" { (out::plain(&problem.salvage)) }
                    td data-label="Object" { code { (problem.object) } }
                } } }
            } }
        }
    }
}

fn export(app: &App, person: &Person, manifest: &Manifest) -> Markup {
    let held: Vec<&Entry> = manifest.entities.iter().filter(|entry| entry.records > 0).collect();
    let line = format!("fermata export {} --snapshot {} --out FOLDER", manifest.tenant, manifest.run);
    html! {
        @if person.may(Role::Operator) && !held.is_empty() {
            h2 { "Take records out" }
            @if app.data.is_some() {
                form.bar method="get" action=(format!("{}/export", address(manifest))) {
                    div { label for="entity" { "Entity" } select id="entity" name="entity" { @for entry in held { option value=(entry.entity) { (entry.entity) } } } }
                    (formats())
                    button type="submit" { "Download" }
                }
            } @else { (no_key()) }
            (cli(&line))
        }
    }
}

/// The kinds of file to choose from.
pub(crate) fn formats() -> Markup {
    html! {
        div {
            label for="format" { "Format" }
            select id="format" name="format" {
                option value="ndjson" { "NDJSON, as Tempo sent it" }
                option value="csv" { "CSV" }
                option value="parquet" { "Parquet" }
            }
        }
    }
}

/// Says that records cannot be shown.
pub(crate) fn no_key() -> Markup {
    notice(
        Tone::Quiet,
        &html! { "Records are encrypted, and this page was not given the key to them (" code { "fermata dashboard --data-key FILE" } "). Where the key is, the command below does it." },
    )
}

/// What a verification reads.
#[derive(Debug, Deserialize)]
pub(crate) struct HowDeep {
    #[serde(default)]
    pub(crate) depth: String,
}

impl HowDeep {
    pub(crate) fn depth(&self) -> Result<Depth, Problem> {
        match self.depth.as_str() {
            "" | "stored" => Ok(Depth::Stored),
            "structure" => Ok(Depth::Structure),
            "data" => Ok(Depth::Data),
            other => Err(Problem::bad(format!(
                "there is no depth {other:?}; there are structure, stored and data"
            ))),
        }
    }
}

pub(crate) async fn verify(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
    Form(asked): Form<HowDeep>,
) -> Result<Response, Problem> {
    let run = of.run()?;
    reading::verify(&app, &person, &tenant, &run, asked.depth()?).await?;
    Ok(Redirect::to(&format!("/tenants/{tenant}/snapshots/{run}#check")).into_response())
}

pub(crate) async fn accept(
    State(app): State<Shared>,
    person: Asker,
    Theirs(tenant): Theirs,
    Path(of): Path<Of>,
) -> Result<Response, Problem> {
    let manifest = of.find(&app, &tenant).await?;
    deeds::accept(&app, &person, &manifest).await?;
    Ok(Redirect::to(&address(&manifest)).into_response())
}
