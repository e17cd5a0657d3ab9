//! How many tenants fare at once, in two questions however many they are: for pages that list them.

use std::collections::BTreeMap;

use fermata_core::names::{RunId, Tenant};
use jiff::Timestamp;
use serde::Serialize;

use super::look::moment;
use super::{Queue, SEAL, TenantView};
use crate::link::LinkError;

/// How a tenant fares.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Place {
    /// Its place in the queue.
    #[serde(flatten)]
    pub queue: TenantView,
    /// Its pace at Tempo.
    pub pace: PaceSum,
    /// Its newest run that has jobs in the queue, if one has.
    pub run: Option<RunSum>,
}

/// A tenant's pace, as the fleet last used it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PaceSum {
    /// The part of the rate that is used: below 1 after 429s.
    pub factor: f64,
    /// Slots given, since the tenant was last idle for an hour.
    pub granted: u64,
    /// 429s, likewise.
    pub refused: u64,
    /// Workers that took a slot lately.
    pub workers: u32,
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunSum {
    /// Which.
    pub run: RunId,
    /// Its jobs, without the seal.
    pub all: u32,
    /// Those that have ended, whichever way.
    pub ended: u32,
    /// Those that were given up.
    pub given_up: u32,
}

type QueueAnswer = ((Option<String>, Option<u32>, Option<u32>), Option<f64>, u64);
type PaceAnswer = ((Option<f64>, Option<u64>, Option<u64>), u32);

impl Default for PaceSum {
    fn default() -> Self {
        Self { factor: 1.0, granted: 0, refused: 0, workers: 0 }
    }
}

impl Queue {
    /// How these tenants fare, in their order.
    pub async fn places(&self, tenants: &[Tenant]) -> Result<Vec<Place>, LinkError> {
        let mut ask = redis::pipe();
        for tenant in tenants {
            ask.cmd("HMGET").arg(self.key(&format!("tenant:{tenant}"))).arg(&["held", "busy", "cap"]);
            ask.cmd("GET").arg(self.key(&format!("cool:{tenant}")));
            ask.cmd("LLEN").arg(self.key(&format!("ready:{tenant}")));
            ask.cmd("HMGET").arg(self.key(&format!("pace:{tenant}"))).arg(&["factor", "granted", "refused"]);
            ask.cmd("ZCARD").arg(self.key(&format!("pace-active:{tenant}")));
            // The last name of those that begin with the tenant's: the newest run.
            let (end, start) = (format!("({tenant}0"), format!("[{tenant}/"));
            ask.cmd("ZREVRANGEBYLEX").arg(self.key("runs")).arg(end).arg(start).arg("LIMIT").arg(0).arg(1);
        }
        let answers: Vec<redis::Value> =
            if tenants.is_empty() { Vec::new() } else { self.link.ask_all(&ask).await? };
        let (mut places, mut runs) = (Vec::with_capacity(tenants.len()), Vec::new());
        for (at, answer) in answers.chunks_exact(6).enumerate() {
            let get = |part: &[redis::Value]| redis::Value::Array(part.to_vec());
            let ((held, busy, cap), cooling, ready): QueueAnswer = super::get(get(&answer[..3]))?;
            let ((factor, granted, refused), workers): PaceAnswer = super::get(get(&answer[3..5]))?;
            let newest: Vec<String> = super::get(answer[5].clone())?;
            runs.extend(newest.into_iter().map(|name| (at, name)));
            places.push(Place {
                queue: TenantView {
                    held,
                    busy: busy.unwrap_or(0),
                    cap,
                    cooling: cooling.and_then(moment),
                    ready,
                },
                pace: PaceSum {
                    factor: factor.map_or(1.0, |factor| factor / 1e6),
                    granted: granted.unwrap_or(0),
                    refused: refused.unwrap_or(0),
                    workers,
                },
                run: None,
            });
        }
        for (at, sum) in self.sums(runs).await? {
            places[at].run = Some(sum);
        }
        Ok(places)
    }

    /// How far these runs are, each with what it came with. Runs that have ended are left out.
    async fn sums(&self, runs: Vec<(usize, String)>) -> Result<Vec<(usize, RunSum)>, LinkError> {
        if runs.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        for (_, name) in &runs {
            ask.cmd("HGETALL").arg(self.key(&format!("run:{name}")));
        }
        let answers: Vec<BTreeMap<String, String>> = self.link.ask_all(&ask).await?;
        let sums = runs.into_iter().zip(answers).filter_map(|((at, name), fields)| {
            let run = name.split_once('/')?.1.parse().ok()?;
            // One whose seal has ended is shown for a day, and is nothing to wait for.
            if fields.get(SEAL).is_some_and(|seal| !seal.is_empty()) {
                return None;
            }
            let jobs = fields.iter().filter(|(name, _)| !name.starts_with(['#', '>']) && *name != SEAL);
            let mut sum = RunSum { run, all: 0, ended: 0, given_up: 0 };
            for (_, how) in jobs {
                sum.all += 1;
                sum.ended += u32::from(!how.is_empty());
                sum.given_up += u32::from(!how.is_empty() && how != "done");
            }
            Some((at, sum))
        });
        Ok(sums.collect())
    }

    /// The runs that ended at or after this moment by Redis's clock, and when: for whoever looks only at what is new.
    pub async fn ended_since(&self, since: Timestamp) -> Result<Vec<(Tenant, Timestamp)>, LinkError> {
        let since = since.as_millisecond();
        let key = self.key("ended");
        let names: Vec<(String, f64)> = self
            .link
            .ask(redis::cmd("ZRANGEBYSCORE").arg(key).arg(since).arg("+inf").arg("WITHSCORES"))
            .await?;
        let ended = names.into_iter();
        Ok(ended
            .filter_map(|(name, at)| Some((name.split('/').next()?.parse().ok()?, moment(at)?)))
            .collect())
    }
}
