//! What reads much of the store for somebody who waits: verifications, which go on beside the page, and work on records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use fermata_core::names::{RunId, Tenant};
use fermata_vault::{Depth, Progress, Report, Vault};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use super::access::Person;
use super::deeds;
use super::problem::Problem;
use super::{Changes, Shared, now};
use crate::out;

/// People for whom records are read at once. Each takes a thread of those that read files.
const READERS_MAX: usize = 2;
/// Downloads at once, from the first byte that is read to the last that is sent: each takes room for the whole file.
const DOWNLOADS_MAX: usize = 2;
/// Verifications that are remembered; of more the oldest is forgotten.
const CHECKS_MAX: usize = 1_000;

/// What is read for people.
#[derive(Debug)]
pub(crate) struct Reading {
    readers: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
    /// One after the other: each alone reads as fast as the store gives.
    checker: Semaphore,
    checks: Mutex<HashMap<(Tenant, RunId), Check>>,
    changes: Changes,
}

/// A verification that was begun from the page.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) began: Timestamp,
    pub(crate) who: String,
    pub(crate) depth: Depth,
    /// How far it is, once it reads.
    pub(crate) progress: Option<Progress>,
    /// When it ended and what it found, or why it could not go on.
    pub(crate) ended: Option<(Timestamp, Result<Report, String>)>,
}

const HELD: &str = "nobody panics while holding it";

impl Reading {
    pub(crate) fn new(changes: Changes) -> Self {
        Self {
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            downloads: Arc::new(Semaphore::new(DOWNLOADS_MAX)),
            checker: Semaphore::new(1),
            checks: Mutex::default(),
            changes,
        }
    }

    /// The last verification of a snapshot.
    pub(crate) fn check(&self, tenant: &Tenant, run: &RunId) -> Option<Check> {
        self.checks.lock().expect(HELD).get(&(tenant.clone(), run.clone())).cloned()
    }

    /// Reads records once it is somebody's turn, which lasts as long as the work does.
    pub(crate) async fn read<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let turn = self.readers.clone().acquire_owned().await;
        apart(async move {
            let _turn = turn;
            work.await
        })
        .await
    }

    /// A place for a download, to be held until it was sent.
    pub(crate) fn download(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.downloads.clone().try_acquire_owned().map_err(|_| {
            let what = format!("{DOWNLOADS_MAX} downloads are under way; try again in a minute");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, what)
        })
    }

    fn begin(&self, tenant: &Tenant, run: &RunId, who: &str, depth: Depth) -> bool {
        let mut checks = self.checks.lock().expect(HELD);
        let key = (tenant.clone(), run.clone());
        if checks.get(&key).is_some_and(|check| check.ended.is_none()) {
            return false;
        }
        if checks.len() >= CHECKS_MAX {
            let ended = checks.iter().filter(|(_, check)| check.ended.is_some());
            let oldest = ended.min_by_key(|(_, check)| check.began).map(|(key, _)| key.clone());
            oldest.map(|key| checks.remove(&key));
        }
        checks.insert(key, Check { began: now(), who: who.to_owned(), depth, progress: None, ended: None });
        true
    }

    fn change(&self, tenant: &Tenant, run: &RunId, change: impl FnOnce(&mut Check)) {
        let key = (tenant.clone(), run.clone());
        if let Some(check) = self.checks.lock().expect(HELD).get_mut(&key) {
            change(check);
        }
        self.changes.tell();
    }
}

/// Begins to verify a snapshot.
pub(crate) async fn verify(
    app: &Shared,
    person: &Person,
    tenant: &Tenant,
    run: &RunId,
    depth: Depth,
) -> Result<(), Problem> {
    let vault = match (depth, &app.data) {
        (Depth::Structure | Depth::Stored, _) => app.vault.clone(),
        (_, Some(data)) => data.clone(),
        (_, None) => {
            let line = format!("fermata snapshots verify {tenant} --snapshot {run} --data");
            return Err(Problem::needs_data_key(&line));
        }
    };
    if !app.vault.snapshots(tenant).await?.contains(run) {
        return Err(Problem::missing(format!("{tenant} has no snapshot {run}")));
    }
    deeds::note(app, person, "verify", &format!("{tenant}/{run}"), None).await?;
    if !app.reading.begin(tenant, run, &person.name, depth) {
        return Err(Problem::conflict(format!("{run} is being verified")));
    }
    tokio::spawn(examine(app.clone(), vault, tenant.clone(), run.clone(), depth));
    Ok(())
}

async fn examine(app: Shared, vault: Vault, tenant: Tenant, run: RunId, depth: Depth) {
    let reading = &app.reading;
    let told = |progress| reading.change(&tenant, &run, |check: &mut Check| check.progress = Some(progress));
    let work = async {
        let _turn = reading.checker.acquire().await;
        vault.verify_snapshot(&tenant, &run, depth, &told).await
    };
    let ended = tokio::select! {
        ended = work => ended,
        () = app.end.cancelled() => return,
    };
    let ended = match ended {
        Ok(Some(report)) => Ok(report),
        Ok(None) => Err("it is there no more".to_owned()),
        Err(error) => Err(out::causes(&error.into())),
    };
    reading.change(&tenant, &run, |check| check.ended = Some((now(), ended)));
}

/// Does what works for long between two awaits, on a thread that serves nobody else.
///
/// It goes on to its end even where whoever asked gave up.
pub(crate) async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let here = Handle::current();
    spawn_blocking(move || here.block_on(work)).await.expect("reading records does not panic")
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_gives_up_holds_the_turn_until_the_work_ends() {
        let reading = Reading::new(Changes::new());
        let mut ends = Vec::new();
        for _ in 0..READERS_MAX {
            let (tell, told) = oneshot::channel();
            let (end, ended) = oneshot::channel::<()>();
            let work = reading.read(async move {
                let _ = tell.send(());
                let _ = ended.await;
            });
            tokio::select! {
                () = work => panic!("nobody let it end"),
                begun = told => begun.unwrap(),
            }
            ends.push(end);
        }
        assert_eq!(reading.readers.available_permits(), 0);
        drop(ends);
        reading.read(async {}).await;
    }

    #[test]
    fn whoever_comes_when_all_downloads_are_taken_is_told_at_once() {
        let reading = Reading::new(Changes::new());
        let mut taken: Vec<_> = (0..DOWNLOADS_MAX).map(|_| reading.download().unwrap()).collect();
        assert_eq!(reading.download().unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        taken.pop();
        drop(reading.download().unwrap());
    }
}
