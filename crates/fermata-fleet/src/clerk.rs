//! Who speaks to the queue for a worker: tells how jobs ended and asks for more, both in one call, one call at a time.
//!
//! Whatever comes together while a call is under way goes with the next one, so a busy worker asks Redis once for a job or
//! less, and an idle one loses no time.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::{Held, Leases};
use crate::link::LinkError;
use crate::queue::{Claim, Claimed, Turn, insist};

/// The longest pause between two looks at an empty queue: messages wake us before, and may get lost.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// The same while we hear no messages.
const LOOK_MAX_DEAF: Duration = Duration::from_secs(1);
/// The most jobs that are asked for at once. The first of a burst are asked for by ones and twos, or whoever is first
/// would take what others have places for too.
const ASKED_MAX: usize = 16;
/// The most that is told at once: a script that takes a millisecond holds nobody up.
const TOLD_MAX: usize = 64;

/// A turn that is over, and who wants to know whether the queue has heard of it.
pub(crate) struct Ended {
    pub(crate) claimed: Claimed,
    pub(crate) turn: Turn,
    pub(crate) told: oneshot::Sender<bool>,
}

/// What the clerk of a worker knows.
pub(crate) struct Clerk {
    leases: Leases,
    /// Where jobs go; gone when no more are to be begun.
    jobs: Option<UnboundedSender<Held>>,
    /// The queue was empty: until when it is left alone.
    rest: Option<Instant>,
    most: usize,
}

impl Clerk {
    pub(crate) fn new(leases: Leases, jobs: UnboundedSender<Held>) -> Self {
        Self { leases, jobs: Some(jobs), rest: None, most: 1 }
    }

    /// Works until `end`, when nobody waits for anything any more.
    pub(crate) async fn work(mut self, end: CancellationToken) {
        // Without a clerk nothing would ever end here.
        let _stop = self.leases.drain().clone().drop_guard();
        loop {
            if self.leases.drain().is_cancelled() {
                self.jobs = None;
            }
            let ended = self.leases.take_ended(TOLD_MAX);
            let places = self.places(!ended.is_empty());
            if ended.is_empty() && places.is_empty() {
                tokio::select! {
                    () = end.cancelled() => return,
                    () = self.wait() => {}
                }
            } else if self.exchange(ended, places, &end).await.is_none() {
                return;
            }
        }
    }

    /// Until there is something to tell or to ask for.
    async fn wait(&mut self) {
        let (leases, rest) = (&self.leases, self.rest);
        let rested = async {
            match rest {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = leases.stirred() => return,
            () = leases.drain().cancelled(), if self.jobs.is_some() => return,
            () = leases.woken(), if rest.is_some() => {}
            () = rested => {}
        }
        self.rest = None;
    }

    /// Places for jobs to be asked for now. What was claimed before is begun first: what a worker that stops has not
    /// begun is then what it claimed last, which is what its goodbye gives back.
    fn places(&self, at_all_events: bool) -> Vec<OwnedSemaphorePermit> {
        let rests = self.rest.is_some_and(|until| Instant::now() < until) && !at_all_events;
        if rests || self.jobs.is_none() || self.leases.drained() || self.leases.has_unbegun() {
            return Vec::new();
        }
        (0..self.most).map_while(|_| self.leases.place()).collect()
    }

    /// Asks until there is an answer; `None` when told to stop.
    async fn exchange(
        &mut self,
        ended: Vec<Ended>,
        mut places: Vec<OwnedSemaphorePermit>,
        end: &CancellationToken,
    ) -> Option<()> {
        let token = format!("{:016x}", rand::random::<u64>());
        let turns: Vec<_> = ended.iter().map(|ended| (ended.claimed.clone(), ended.turn.clone())).collect();
        let (leases, most) = (&self.leases, places.len());
        let answer = insist(end, || async {
            match leases.queue().exchange(leases.worker(), &token, leases.lease(), most, &turns).await {
                // It would say the same for ever.
                Err(error @ LinkError::Odd(_)) if !turns.is_empty() => Ok(Err(error)),
                answer => answer.map(Ok),
            }
        });
        let claims = match answer.await? {
            Ok(answer) => {
                for (ended, settled) in ended.into_iter().zip(answer.settled) {
                    // Whoever is gone does not want to know.
                    let _ = ended.told.send(settled);
                }
                answer.claims
            }
            Err(error) => {
                self.tell_one_by_one(ended, &error, end).await?;
                return Some(());
            }
        };
        let got = claims.len();
        let mut nothing = false;
        for claim in claims {
            match claim {
                Claim::Job(claimed) => {
                    let held = places.pop().map(|place| self.leases.hold(claimed, place));
                    // When no more are to be begun it goes back with the goodbye.
                    if let (Some(jobs), Some(held)) = (&self.jobs, held) {
                        let _ = jobs.send(held);
                    }
                }
                Claim::Unreadable(name) => {
                    tracing::error!(name, "a job that this release cannot read is dead now");
                }
                Claim::Nothing(wait) => {
                    nothing = true;
                    let most = if self.leases.hears() { LOOK_MAX } else { LOOK_MAX_DEAF };
                    self.rest = Some(Instant::now() + wait.min(most));
                }
            }
        }
        if most > 0 {
            self.most = if nothing || got < most { 1 } else { (2 * self.most).min(ASKED_MAX) };
        }
        Some(())
    }

    /// One of them is not understood; the others are to be told all the same.
    async fn tell_one_by_one(
        &self,
        ended: Vec<Ended>,
        why: &LinkError,
        end: &CancellationToken,
    ) -> Option<()> {
        for Ended { claimed, turn, told } in ended {
            let settled = insist(end, || async {
                match self.leases.queue().settle(&claimed, &turn).await {
                    Err(LinkError::Odd(_)) => {
                        tracing::error!(job = %claimed.id, "not settled: {why}");
                        Ok(false)
                    }
                    answer => answer,
                }
            });
            let _ = told.send(settled.await?);
        }
        Some(())
    }
}
