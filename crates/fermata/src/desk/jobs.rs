//! Jobs of the queue: lists of them, one of them, and what was done to many.

use std::time::Duration;

use fermata_core::catalogue;
use fermata_fleet::bulk::Skipped;
use fermata_fleet::queue::{Action, Filter, JobView, PastTurn, SEAL, SNOOZE_MAX};
use fermata_fleet::{JobId, JobState, LinkError, Queue};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::out::{cut, plain};

/// Longer than any reason that somebody reads.
pub(crate) const REASON_CHARS_MAX: usize = 500;
/// What went wrong, in a list; the document of the job has all of it.
const NOTE_CHARS_MAX: usize = 160;

/// Jobs that match.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    schema: u32,
    pub(crate) jobs: Vec<JobView>,
    /// How many match in all.
    pub(crate) total: u64,
}

/// All that the queue knows of a job.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    schema: u32,
    pub(crate) job: JobView,
    /// Why it is not running, in a sentence.
    pub(crate) why: String,
    /// What became of it, the latest first.
    pub(crate) past: Vec<PastTurn>,
}

/// Why a job is not running.
#[derive(Debug, Serialize)]
pub(crate) struct Explained {
    schema: u32,
    pub(crate) id: JobId,
    state: JobState,
    pub(crate) why: String,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct Acted {
    schema: u32,
    action: &'static str,
    /// Jobs that were meant.
    matched: u64,
    pub(crate) done: u64,
    pub(crate) skipped: Vec<Skipped>,
    /// Whether it was only said what would be done.
    dry_run: bool,
}

/// The jobs that match, at most so many.
pub(crate) async fn list(queue: &Queue, filter: &Filter, most: usize) -> Result<Listed, LinkError> {
    let (jobs, total) = queue.list(filter, most).await?;
    Ok(Listed { schema: fermata_core::FORMAT, jobs, total })
}

/// A job; nothing if the queue does not know it.
pub(crate) async fn show(queue: &Queue, id: &JobId) -> Result<Option<Shown>, LinkError> {
    let Some(job) = queue.job(id).await? else { return Ok(None) };
    let (why, past) = (queue.why(&job).await?, queue.past(id).await?);
    Ok(Some(Shown { schema: fermata_core::FORMAT, job, why, past }))
}

/// Why a job is not running; nothing if the queue does not know it.
pub(crate) async fn why(queue: &Queue, id: &JobId) -> Result<Option<Explained>, LinkError> {
    let Some(job) = queue.job(id).await? else { return Ok(None) };
    let why = queue.why(&job).await?;
    Ok(Some(Explained { schema: fermata_core::FORMAT, id: job.id, state: job.state, why }))
}

/// What an action came to.
pub(crate) fn acted(action: Action, matched: u64, done: u64, skipped: Vec<Skipped>, dry_run: bool) -> Acted {
    Acted { schema: fermata_core::FORMAT, action: action.name(), matched, done, skipped, dry_run }
}

/// Whether something is the name of an entity that jobs may have; if not, what is wrong with it.
pub(crate) fn check_entity(name: &str) -> Result<(), String> {
    if name == SEAL || catalogue::entity(name).is_some() {
        return Ok(());
    }
    Err(format!("there is no entity {name:?}; `fermata token check` lists them all"))
}

/// A reason that fits a line of the audit list; nothing where only blanks are given.
pub(crate) fn check_reason(reason: Option<String>) -> Result<Option<String>, String> {
    match reason {
        Some(reason) if reason.chars().count() > REASON_CHARS_MAX => {
            Err(format!("say it in {REASON_CHARS_MAX} characters"))
        }
        reason => Ok(reason.map(|reason| plain(&reason)).filter(|reason| !reason.trim().is_empty())),
    }
}

/// A span like `2h`, `90m` or `3d`, as long as jobs may be put off.
pub(crate) fn snooze_span(text: &str) -> Result<Duration, String> {
    let wrong = || "it looks like 2h, 90m or 3d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds: u64 = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let span = Duration::from_secs(number.saturating_mul(seconds));
    if span.is_zero() || span > SNOOZE_MAX {
        return Err("jobs are put off for a minute at least, and for seven days at most".to_owned());
    }
    Ok(span)
}

/// A moment until which jobs may be put off.
pub(crate) fn snooze_until(until: Timestamp, now: Timestamp) -> Result<Timestamp, String> {
    let span = until.duration_since(now);
    if span <= SignedDuration::ZERO {
        return Err("this moment is over".to_owned());
    }
    if span.unsigned_abs() > SNOOZE_MAX {
        return Err("jobs are put off for seven days at most: unfinished runs are gone on with for so long"
            .to_owned());
    }
    Ok(until)
}

/// What there is to say of a job in a list.
pub(crate) fn note(job: &JobView) -> String {
    let waits = (!job.waits_for.is_empty()).then(|| format!("waits for {}", job.waits_for.join(", ")));
    let running = job.worker.as_ref().map(|worker| format!("on {worker}"));
    let said = waits.or(running).or(job.why.clone()).or(job.error.clone()).unwrap_or_default();
    cut(&plain(&said), NOTE_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line() {
        assert_eq!(check_reason(Some(" ".to_owned())).unwrap(), None);
        assert_eq!(check_reason(Some("a\nb".to_owned())).unwrap().as_deref(), Some("a b"));
        check_reason(Some("x".repeat(REASON_CHARS_MAX + 1))).unwrap_err();
    }

    #[test]
    fn spans() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(snooze_span(text).ok().map(|span| span.as_secs()), expect, "{text}");
        };
        check("1m", Some(60));
        check("36h", Some(36 * 3_600));
        check("7d", Some(7 * 86_400));
        for wrong in
            ["8d", "0h", "2", "h", "", "-1h", "2 h", "2ä", "99999999999999999999d", "9999999999999999999d"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn moments() {
        let now = Timestamp::UNIX_EPOCH;
        let check = |seconds: i64, good: bool| {
            assert_eq!(
                snooze_until(Timestamp::from_second(seconds).unwrap(), now).is_ok(),
                good,
                "{seconds}"
            );
        };
        check(-1, false);
        check(0, false);
        check(1, true);
        check(7 * 86_400, true);
        check(7 * 86_400 + 1, false);
    }
}
