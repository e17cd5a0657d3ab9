//! What failed, as [`Failures`](crate::Failures) follows it.

use super::{JobId, JobState, Queue};
use crate::link::LinkError;

/// Changes that are read at once: as many as the script keeps at least, so of so many some may be missing.
const CHANGES_MAX: usize = 20_000;
/// Names that are read at once: Redis is held up for a few milliseconds.
const NAMES_MAX: usize = 5_000;
/// Jobs whose particulars are asked for at once.
const PAGE: usize = 1_000;
/// Where a stream begins that has no entry yet.
const BEGINNING: &str = "0-0";

/// A job that failed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) error: String,
    pub(crate) dead: bool,
    /// Since when it fails.
    pub(crate) first_ms: Option<i64>,
    /// When it failed last.
    pub(crate) last_ms: i64,
    /// When it is tried again.
    pub(crate) next_ms: Option<i64>,
}

/// What changed among what failed.
#[derive(Debug)]
pub(crate) struct News {
    /// Where in the stream of changes this is.
    pub(crate) at: String,
    /// Jobs that came or went, each once; `None` where the stream does not reach back so far.
    pub(crate) changed: Option<Vec<JobId>>,
    /// Jobs that failed.
    pub(crate) count: u64,
}

type Entries = Vec<(String, (String, String))>;
type Particulars = (Option<String>, Option<String>, Option<f64>, Option<f64>, Option<f64>);

impl Queue {
    /// Where the stream of changes ends now.
    pub(crate) async fn failures_end(&self) -> Result<String, LinkError> {
        let key = self.key("failures");
        let last: Entries =
            self.link.ask(redis::cmd("XREVRANGE").arg(key).arg("+").arg("-").arg("COUNT").arg(1)).await?;
        Ok(last.into_iter().next().map_or_else(|| BEGINNING.to_owned(), |(at, _)| at))
    }

    /// What changed since.
    pub(crate) async fn failures_since(&self, at: &str) -> Result<News, LinkError> {
        let mut ask = redis::pipe();
        // Together, so that the count is the one after these changes.
        ask.atomic();
        ask.cmd("XRANGE").arg(self.key("failures")).arg(at).arg("+").arg("COUNT").arg(CHANGES_MAX);
        for state in [JobState::Dead, JobState::Retry] {
            ask.cmd("ZCARD").arg(self.key(state.name()));
        }
        let (mut entries, dead, retry): (Entries, u64, u64) = self.link.ask_all(&ask).await?;
        let count = dead + retry;
        let is_whole = entries.len() < CHANGES_MAX
            && (at == BEGINNING || entries.first().is_some_and(|(first, _)| first == at));
        if !is_whole {
            return Ok(News { at: at.to_owned(), changed: None, count });
        }
        let end = entries.last().map_or_else(|| at.to_owned(), |(last, _)| last.clone());
        entries.retain(|(entry, _)| entry != at);
        let mut changed: Vec<JobId> = entries.iter().filter_map(|(_, (_, id))| id.parse().ok()).collect();
        changed.sort_unstable();
        changed.dedup();
        Ok(News { at: end, changed: Some(changed), count })
    }

    /// A page of the names of all jobs in a state, and how many it has, those that cannot be read included.
    pub(crate) async fn names_in(
        &self,
        state: JobState,
        from: usize,
    ) -> Result<(Vec<JobId>, usize), LinkError> {
        let ids = self.ids_in(state, from, NAMES_MAX).await?;
        Ok((ids.iter().filter_map(|id| id.parse().ok()).collect(), ids.len()))
    }

    /// Each job, if it failed and was not tried again yet.
    pub(crate) async fn failed(&self, ids: &[JobId]) -> Result<Vec<Option<Change>>, LinkError> {
        let mut all = Vec::with_capacity(ids.len());
        for page in ids.chunks(PAGE) {
            let mut ask = redis::pipe();
            for id in page {
                let fields = ["state", "error", "failed", "since", "next"];
                ask.cmd("HMGET").arg(self.key(&format!("job:{id}"))).arg(&fields);
            }
            let found: Vec<Particulars> = self.link.ask_all(&ask).await?;
            all.extend(found.into_iter().map(change));
        }
        Ok(all)
    }
}

fn change((state, error, first, since, next): Particulars) -> Option<Change> {
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds of this age are far below 2^53")]
    let whole = |ms: f64| ms as i64;
    let dead = match state?.parse().ok()? {
        JobState::Dead => true,
        JobState::Retry => false,
        _ => return None,
    };
    Some(Change {
        error: error.unwrap_or_default(),
        dead,
        first_ms: first.map(whole),
        last_ms: whole(since?),
        next_ms: next.map(whole),
    })
}
