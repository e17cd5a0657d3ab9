//! `fermata jobs retry|snooze|cancel|discard`.

use std::num::NonZeroU32;
use std::time::Duration;

use fermata_fleet::bulk::{self, Order, Outcome, Preview, Progress, Skipped};
use fermata_fleet::queue::{Action, Filter};
use fermata_fleet::{JobState, LinkError, Queue};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::JobsAction;
use crate::config::Config;
use crate::desk::jobs::{self as desk, Acted};
use crate::exit::{self, Usage};
use crate::out::{Out, count, duration, several};

/// Skipped jobs that are named; the document names them all.
const SKIPPED_SHOWN: usize = 20;
/// Time between two plain lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(10);

pub(super) async fn run(
    action: Action,
    what: JobsAction,
    queue: &Queue,
    config: &Config,
    out: Out,
) -> anyhow::Result<u8> {
    let JobsAction { jobs, which, all, dry_run, rps, reason } = what;
    let filter = super::filter(which)?;
    let by_name = !jobs.is_empty();
    if !by_name && !all && filter.is_empty() {
        return Err(Usage(format!(
            "say which jobs: by name, with --tenant, --run, --entity, --state or --error, or with --all; `fermata jobs {} --help` says more",
            action.name()
        ))
        .into());
    }
    let order = Order {
        who: config.who.clone(),
        reason: desk::check_reason(reason).map_err(|wrong| Usage(format!("--reason: {wrong}")))?,
        target: (!by_name).then(|| filter.words()),
        rps,
    };
    let meant = if by_name {
        bulk::named(queue, jobs).await?.map_err(|missing| super::unknown(&missing))?
    } else {
        bulk::matching(queue, action, &filter).await?
    };
    let preview = bulk::preview(action, meant);
    let matched = preview.matched();
    let document = |done, skipped, dry_run| desk::acted(action, matched, done, skipped, dry_run);
    if dry_run || !(by_name || all) {
        out.result(&document(0, preview.skipped.clone(), true), || {
            if matched == 0 { none(action, &filter) } else { say(&preview, rps, by_name || all) }
        })?;
        return Ok(exit::DONE);
    }
    let running = preview.able.iter().any(|job| job.state == JobState::Running);
    let outcome = carry_out(queue, preview, &order, out).await?;
    let document = document(outcome.done, outcome.skipped, false);
    out.result(&document, || if matched == 0 { none(action, &filter) } else { report(action, &document) })?;
    if running {
        out.say("What was running stops within some seconds, after the page under way.");
    }
    if let Some(error) = outcome.failure {
        return Err(error.into());
    }
    Ok(if document.skipped.is_empty() { exit::DONE } else { exit::PARTIAL })
}

/// Does it, and shows how far it is.
async fn carry_out(queue: &Queue, preview: Preview, order: &Order, out: Out) -> Result<Outcome, LinkError> {
    let all = preview.able.len();
    // One that is stopped in the middle says how far it came.
    let stop = if all > 1 { crate::commands::stop_signal() } else { CancellationToken::new() };
    let long = all > order.rps.get() as usize;
    let bar = if out.draws() && long { bar(all, preview.action) } else { ProgressBar::hidden() };
    let mut said = Instant::now();
    let told = |progress: Progress| {
        bar.inc(1);
        if !out.draws() && said.elapsed() >= LINE_EVERY {
            said = Instant::now();
            out.say(&format!("{} of {} jobs", count(progress.looked_at), count(progress.all)));
        }
    };
    let outcome = bulk::carry_out(queue, preview, order, &stop, told).await;
    bar.finish_and_clear();
    outcome
}

fn none(action: Action, filter: &Filter) -> String {
    let which = match (action, filter.state) {
        (_, Some(_)) => "No job matches",
        (Action::Retry, None) => "No job that is dead matches (--state means others)",
        (Action::Snooze(_), None) => "No job that failed matches",
        (Action::Cancel, None) => "No job that has not ended matches",
        (Action::Discard, None) => "No job that is not done matches",
    };
    format!("{which}; nothing was done.")
}

/// What would be done.
fn say(preview: &Preview, rps: NonZeroU32, told: bool) -> String {
    let action = preview.action.name();
    let mut lines = Vec::new();
    let jobs = several(preview.able.len() as u64, "job", "jobs");
    let long = preview.span(rps).as_secs_f64();
    let pace =
        if long > 1.0 { format!(", {rps} a second, which takes {}", duration(long)) } else { String::new() };
    lines.push(match (preview.able.is_empty(), told) {
        (true, _) => format!("There is no job to {action} here; nothing was done."),
        (false, true) => format!("Without --dry-run this would {action} {jobs}{pace}."),
        (false, false) => format!("Nothing was done. With --all this would {action} {jobs}{pace}."),
    });
    if preview.sample.len() < preview.able.len() {
        lines.push("Some of them:".to_owned());
    }
    for job in &preview.sample {
        let note = desk::note(job);
        let note = if note.is_empty() { note } else { format!(": {note}") };
        lines.push(format!("  {}, {}{note}", job.id, job.state.name()));
    }
    if !preview.skipped.is_empty() {
        lines.push(format!("Not meant: {}.", several(preview.skipped.len() as u64, "job", "jobs")));
        lines
            .extend(preview.reasons().into_iter().map(|(why, number)| format!("  {}: {why}", count(number))));
    }
    lines.join("\n")
}

/// What was done.
fn report(action: Action, document: &Acted) -> String {
    let past = match action {
        Action::Retry => "Retried",
        Action::Snooze(_) => "Snoozed",
        Action::Cancel => "Cancelled",
        Action::Discard => "Discarded",
    };
    let until = match action {
        Action::Snooze(until) if document.done > 0 => {
            format!(", until {}", until.strftime("%Y-%m-%d %H:%M:%SZ"))
        }
        _ => String::new(),
    };
    let mut lines = vec![format!("{past}: {}{until}.", several(document.done, "job", "jobs"))];
    let skipped = &document.skipped;
    if !skipped.is_empty() {
        lines.push(format!("Skipped: {}.", several(skipped.len() as u64, "job", "jobs")));
        lines.extend(skipped.iter().take(SKIPPED_SHOWN).map(|Skipped { id, why }| format!("  {id}: {why}")));
        if skipped.len() > SKIPPED_SHOWN {
            lines.push(format!(
                "  and {} more: --json names them all",
                count((skipped.len() - SKIPPED_SHOWN) as u64)
            ));
        }
    }
    lines.join("\n")
}

fn bar(jobs: usize, action: Action) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {pos}/{len} {bar:20} {eta} left");
    let style = style.expect("a template that a test draws");
    ProgressBar::new(jobs as u64).with_style(style).with_prefix(action.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_can_be_drawn() {
        bar(3, Action::Retry).finish_and_clear();
    }
}
