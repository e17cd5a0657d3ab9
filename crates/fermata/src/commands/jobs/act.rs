//! `fermata jobs retry|cancel|discard`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use fermata_fleet::queue::{Action, AuditEntry, Filter, JobView};
use fermata_fleet::{JobId, JobState, LinkError, Queue};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::cli::JobsAction;
use crate::config::Config;
use crate::exit::{self, Usage};
use crate::out::{self, Out, count, duration, several};

/// Jobs that are shown of those that would be acted on.
const SAMPLE: usize = 5;
/// Skipped jobs that are named; the document names them all.
const SKIPPED_SHOWN: usize = 20;
/// Time between two plain lines of progress.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Longer than any reason that somebody reads.
pub(crate) const REASON_CHARS_MAX: usize = 500;

#[derive(Serialize)]
struct Document {
    schema: u32,
    action: &'static str,
    /// Jobs that were meant.
    matched: u64,
    done: u64,
    skipped: Vec<Skipped>,
    /// Whether it was only said what would be done.
    dry_run: bool,
}

#[derive(Serialize)]
struct Skipped {
    id: JobId,
    why: String,
}

/// What is to be done, and to which jobs.
struct Task<'a> {
    action: Action,
    queue: &'a Queue,
    who: &'a str,
    reason: Option<String>,
    rps: u32,
    out: Out,
}

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
    if !by_name && !all && super::is_empty(&filter) {
        return Err(Usage(format!(
            "say which jobs: by name, with --tenant, --run, --entity, --state or --error, or with --all; `fermata jobs {} --help` says more",
            action.name()
        ))
        .into());
    }
    let task = Task { action, queue, who: &config.who, reason: check_reason(reason)?, rps, out };
    let meant = if by_name { named(queue, jobs).await? } else { matching(queue, action, &filter).await? };
    let matched = meant.len() as u64;
    let (mut able, mut skipped) = sort(action, meant);
    if action != Action::Retry {
        children_first(&mut able);
    }
    let acts = !dry_run && (by_name || all);
    if !acts {
        let document = Document {
            schema: fermata_core::FORMAT,
            action: action.name(),
            matched,
            done: 0,
            skipped,
            dry_run: true,
        };
        out.result(&document, || {
            if matched == 0 {
                none(action, &filter)
            } else {
                preview(&task, &able, &document.skipped, by_name || all)
            }
        })?;
        return Ok(exit::DONE);
    }
    if !by_name && !able.is_empty() {
        task.audit(words(&filter), able.len() as u64).await?;
    }
    let running = able.iter().filter(|job| job.state == JobState::Running).count();
    let (done, failure) = task.perform(able, by_name, &mut skipped).await;
    let document = Document {
        schema: fermata_core::FORMAT,
        action: action.name(),
        matched,
        done,
        skipped,
        dry_run: false,
    };
    out.result(&document, || if matched == 0 { none(action, &filter) } else { report(action, &document) })?;
    if running > 0 {
        out.say("What was running stops within some seconds, after the page under way.");
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    Ok(if document.skipped.is_empty() { exit::DONE } else { exit::PARTIAL })
}

/// A reason that fits a line of the audit list.
pub(crate) fn check_reason(reason: Option<String>) -> Result<Option<String>, Usage> {
    match reason {
        Some(reason) if reason.chars().count() > REASON_CHARS_MAX => {
            Err(Usage(format!("--reason: say it in {REASON_CHARS_MAX} characters")))
        }
        reason => Ok(reason.map(|reason| out::plain(&reason)).filter(|reason| !reason.trim().is_empty())),
    }
}

/// The jobs that were named; all of them, or nothing is done.
async fn named(queue: &Queue, mut ids: Vec<JobId>) -> anyhow::Result<Vec<JobView>> {
    ids.sort();
    ids.dedup();
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for id in &ids {
        match queue.job(id).await? {
            Some(job) => found.push(job),
            None => missing.push(id),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(super::unknown(&missing).into()) }
}

/// The jobs that a filter means; of those that the action is never for, only if they were asked for by their state.
async fn matching(queue: &Queue, action: Action, filter: &Filter) -> Result<Vec<JobView>, LinkError> {
    let mut filter = filter.clone();
    if action == Action::Retry {
        filter.state = filter.state.or(Some(JobState::Dead));
    }
    let meant = |state: JobState| match action {
        _ if filter.state.is_some() => true,
        Action::Retry => state == JobState::Dead,
        Action::Cancel => !matches!(state, JobState::Done | JobState::Dead),
        Action::Discard => state != JobState::Done,
    };
    let (jobs, _) = queue.list(&filter, usize::MAX).await?;
    // Lists are read while work goes on: one may have changed its state since it was found.
    let jobs = jobs.into_iter().filter(|job| meant(job.state) && filter.takes(job));
    Ok(super::once(jobs.collect()))
}

/// Those that can be acted on, and those that cannot and why.
fn sort(action: Action, jobs: Vec<JobView>) -> (Vec<JobView>, Vec<Skipped>) {
    let (mut able, mut skipped) = (Vec::new(), Vec::new());
    for job in jobs {
        match job.refusal(action) {
            None => able.push(job),
            Some(why) => skipped.push(Skipped { id: job.id, why }),
        }
    }
    (able, skipped)
}

/// Children before what they wait for: a parent that ends sets its children going, and as they were not seen so they
/// would be skipped.
fn children_first(jobs: &mut [JobView]) {
    let waits: BTreeMap<JobId, Vec<JobId>> = jobs
        .iter()
        .map(|job| {
            let parent = |entity: &String| JobId { entity: entity.clone(), ..job.id.clone() };
            (job.id.clone(), job.waits_for.iter().map(parent).collect())
        })
        .collect();
    let mut known = BTreeMap::new();
    jobs.sort_by_cached_key(|job| Reverse(depth(&job.id, &waits, &mut known)));
}

/// How many jobs wait for each other above this one.
fn depth(id: &JobId, waits: &BTreeMap<JobId, Vec<JobId>>, known: &mut BTreeMap<JobId, usize>) -> usize {
    if let Some(depth) = known.get(id) {
        return *depth;
    }
    // For the time being: even names that went round in a circle come to an end.
    known.insert(id.clone(), 0);
    let above = waits.get(id).into_iter().flatten();
    let depth = above.map(|parent| depth(parent, waits, known) + 1).max().unwrap_or(0);
    known.insert(id.clone(), depth);
    depth
}

impl Task<'_> {
    async fn audit(&self, target: String, count: u64) -> Result<(), LinkError> {
        let entry = AuditEntry {
            at: Timestamp::now(),
            who: self.who.to_owned(),
            action: self.action.name().to_owned(),
            target,
            count,
            reason: self.reason.clone(),
        };
        self.queue.audit(&entry).await
    }

    /// Acts on one after the other, at its pace; how many it was done to, and what ended it early.
    async fn perform(
        &self,
        jobs: Vec<JobView>,
        audit_each: bool,
        skipped: &mut Vec<Skipped>,
    ) -> (u64, Option<LinkError>) {
        let (all, mut done) = (jobs.len(), 0);
        // One that is stopped in the middle says how far it came.
        let stop = if all > 1 { crate::commands::stop_signal() } else { CancellationToken::new() };
        let mut pace = interval(Duration::from_secs(1) / self.rps);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let bar = if self.out.draws() && all > self.rps as usize {
            bar(all, self.action)
        } else {
            ProgressBar::hidden()
        };
        let mut said = Instant::now();
        let mut failure: Option<LinkError> = None;
        for (at, job) in jobs.into_iter().enumerate() {
            if failure.is_none() {
                tokio::select! {
                    _ = pace.tick() => {}
                    () = stop.cancelled() => {}
                }
            }
            let why = if failure.is_some() {
                Err("Redis no longer answered".to_owned())
            } else if stop.is_cancelled() {
                Err("stopped before its turn".to_owned())
            } else {
                match self.act(&job, audit_each).await {
                    Ok(acted) => acted,
                    Err(error) => {
                        let why = format!("nobody knows: {error}");
                        failure = Some(error);
                        Err(why)
                    }
                }
            };
            match why {
                Ok(()) => done += 1,
                Err(why) => skipped.push(Skipped { id: job.id, why }),
            }
            bar.inc(1);
            if !self.out.draws() && said.elapsed() >= LINE_EVERY {
                said = Instant::now();
                self.out.say(&format!("{} of {} jobs", count(at as u64 + 1), count(all as u64)));
            }
        }
        bar.finish_and_clear();
        (done, failure)
    }

    async fn act(&self, job: &JobView, audit: bool) -> Result<Result<(), String>, LinkError> {
        if audit {
            self.audit(job.id.to_string(), 1).await?;
        }
        self.queue.act(self.action, &job.id, self.who, Some(job.state)).await
    }
}

fn none(action: Action, filter: &Filter) -> String {
    let which = match (action, filter.state) {
        (_, Some(_)) => "No job matches",
        (Action::Retry, None) => "No job that is dead matches (--state means others)",
        (Action::Cancel, None) => "No job that has not ended matches",
        (Action::Discard, None) => "No job that is not done matches",
    };
    format!("{which}; nothing was done.")
}

/// What would be done.
fn preview(task: &Task, able: &[JobView], skipped: &[Skipped], told: bool) -> String {
    let action = task.action.name();
    let mut lines = Vec::new();
    let jobs = several(able.len() as u64, "job", "jobs");
    let long = able.len() as f64 / f64::from(task.rps);
    let pace = if long > 1.0 {
        format!(", {} a second, which takes {}", task.rps, duration(long))
    } else {
        String::new()
    };
    lines.push(match (able.is_empty(), told) {
        (true, _) => format!("There is no job to {action} here; nothing was done."),
        (false, true) => format!("Without --dry-run this would {action} {jobs}{pace}."),
        (false, false) => format!("Nothing was done. With --all this would {action} {jobs}{pace}."),
    });
    let step = (able.len() / SAMPLE).max(1);
    let sample: Vec<_> = able.iter().step_by(step).take(SAMPLE).collect();
    if sample.len() < able.len() {
        lines.push("Some of them:".to_owned());
    }
    for job in sample {
        let note = super::note(job);
        let note = if note.is_empty() { note } else { format!(": {note}") };
        lines.push(format!("  {}, {}{note}", job.id, job.state.name()));
    }
    if !skipped.is_empty() {
        lines.push(format!("Not meant: {}.", several(skipped.len() as u64, "job", "jobs")));
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for Skipped { why, .. } in skipped {
            *reasons.entry(why).or_default() += 1;
        }
        lines.extend(reasons.into_iter().map(|(why, number)| format!("  {}: {why}", count(number))));
    }
    lines.join("\n")
}

/// What was done.
fn report(action: Action, document: &Document) -> String {
    let past = match action {
        Action::Retry => "Retried",
        Action::Cancel => "Cancelled",
        Action::Discard => "Discarded",
    };
    let mut lines = vec![format!("{past}: {}.", several(document.done, "job", "jobs"))];
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

/// A filter as it is said on the command line, for the audit list.
fn words(filter: &Filter) -> String {
    let Filter { tenant, run, entity, state, error } = filter;
    let mut words = vec!["--all".to_owned()];
    words.extend(tenant.iter().map(|tenant| format!("--tenant {tenant}")));
    words.extend(run.iter().map(|run| format!("--run {run}")));
    words.extend(entity.iter().map(|entity| format!("--entity {entity}")));
    words.extend(state.iter().map(|state| format!("--state {}", state.name())));
    words.extend(error.iter().map(|error| format!("--error {error:?}")));
    words.join(" ")
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

    #[test]
    fn a_filter_is_said_as_it_was_given() {
        let filter = Filter {
            tenant: Some("acme".parse().unwrap()),
            state: Some(JobState::Dead),
            error: Some("HTTP \"500\"".to_owned()),
            ..Filter::default()
        };
        assert_eq!(words(&filter), r#"--all --tenant acme --state dead --error "HTTP \"500\"""#);
        assert_eq!(words(&Filter::default()), "--all");
    }

    #[test]
    fn a_reason_is_a_line() {
        assert_eq!(check_reason(Some(" ".to_owned())).unwrap(), None);
        assert_eq!(check_reason(Some("a\nb".to_owned())).unwrap().as_deref(), Some("a b"));
        check_reason(Some("x".repeat(REASON_CHARS_MAX + 1))).unwrap_err();
    }
}
