//! What became of a job: its last turns, and what operators did to it.

use jiff::Timestamp;
use serde::Serialize;

use super::{JobId, Queue};
use crate::link::LinkError;

/// Something that became of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PastTurn {
    /// What.
    pub what: Past,
    /// When it began; of several turns, the first.
    pub began: Timestamp,
    /// When it ended; of several turns, the last.
    pub ended: Timestamp,
    /// Turns in a row that ended so. Those that tell nothing new are counted and not listed.
    pub turns: u32,
    /// The worker, or the operator; of several turns, the last.
    pub by: String,
    /// Why, at most 300 bytes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How a turn on a job ended, or what an operator did to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Past {
    /// Nothing was left to do.
    Done,
    /// It was given up.
    Dead,
    /// It got on to the end of its slice.
    Again,
    /// The worker gave it back.
    Back,
    /// It had to wait.
    Waiting,
    /// It failed, to be tried again.
    Fault,
    /// The run could not be sealed yet.
    Reopen,
    /// The worker was not heard of any more.
    Lost,
    /// An operator had it run at once.
    Retry,
    /// An operator put it off.
    Snooze,
    /// An operator stopped it.
    Cancel,
}

impl Queue {
    /// What became of a job, the latest first: at most 20 entries, for as long as the queue knows the job.
    pub async fn past(&self, id: &JobId) -> Result<Vec<PastTurn>, LinkError> {
        let key = self.key(&format!("past:{id}"));
        let lines: Vec<String> = self.link.ask(redis::cmd("LRANGE").arg(key).arg(0).arg(-1)).await?;
        Ok(lines.iter().filter_map(|line| read(line)).collect())
    }
}

impl Past {
    const ALL: [Self; 11] = [
        Self::Done,
        Self::Dead,
        Self::Again,
        Self::Back,
        Self::Waiting,
        Self::Fault,
        Self::Reopen,
        Self::Lost,
        Self::Retry,
        Self::Snooze,
        Self::Cancel,
    ];

    /// Its name in Redis and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Again => "again",
            Self::Back => "back",
            Self::Waiting => "waiting",
            Self::Fault => "fault",
            Self::Reopen => "reopen",
            Self::Lost => "lost",
            Self::Retry => "retry",
            Self::Snooze => "snooze",
            Self::Cancel => "cancel",
        }
    }

    /// What it says to a person.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Dead => "given up",
            Self::Again => "got on, slice over",
            Self::Back => "given back",
            Self::Waiting => "had to wait",
            Self::Fault => "failed",
            Self::Reopen => "not all had ended",
            Self::Lost => "lost with its worker",
            Self::Retry => "run at once by an operator",
            Self::Snooze => "put off by an operator",
            Self::Cancel => "cancelled by an operator",
        }
    }
}

/// An entry as the script writes it; nothing if this release does not know what it says.
fn read(entry: &str) -> Option<PastTurn> {
    let parts: Vec<_> = entry.splitn(6, '\n').collect();
    let [what, began, ended, turns, by, detail] = parts[..] else { return None };
    let moment = |text: &str| Timestamp::from_millisecond(text.parse().ok()?).ok();
    Some(PastTurn {
        what: Past::ALL.into_iter().find(|known| known.name() == what)?,
        began: moment(began)?,
        ended: moment(ended)?,
        turns: turns.parse().ok()?,
        by: by.to_owned(),
        detail: (!detail.is_empty()).then(|| detail.to_owned()),
    })
}
