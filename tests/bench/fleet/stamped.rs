//! `fermata worker`, but for the moments at which jobs begin and end, which it writes to a file.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use fermata_fleet::{AtHand, Budget, LEASE, Link, Meters, Queue, SLICE, ServeOptions, Turn, Worker};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::stage;

pub(crate) const NAME: &str = "stamped-worker";

/// A turn on a job.
#[derive(Clone, Debug)]
pub(crate) struct Stamp {
    pub(crate) job: String,
    pub(crate) began: Timestamp,
    pub(crate) ended: Timestamp,
    /// Whether it was the last one.
    pub(crate) done: bool,
}

/// A worker for: the folder with the vault, Redis, jobs at once, the file for the stamps.
pub(super) async fn run(args: &[String]) -> Result<()> {
    let [folder, url, places, file] = args else { bail!("{NAME} FOLDER REDIS PLACES FILE") };
    let vault = stage::open_vault(Path::new(folder)).await?;
    let queue = Queue::new(Link::new(url, vault.id())?);
    let name = format!("bench-{}", std::process::id());
    let options = ServeOptions {
        name: name.clone(),
        places: places.parse()?,
        lease: LEASE,
        quiet: CancellationToken::new(),
    };
    let work = Arc::new(Worker {
        engine: stage::engine(vault),
        budget: Budget::new(queue.link().clone(), &name),
        queue: queue.clone(),
        address: None,
        slice: SLICE,
        now: Timestamp::now,
        meters: Arc::new(Meters::new("worker")),
        at_hand: AtHand::default(),
    });
    let file = Arc::new(Mutex::new(File::create(file)?));
    let handler = move |held: fermata_fleet::Held| {
        let (work, file) = (work.clone(), file.clone());
        async move {
            let (job, began) = (held.claimed.id.to_string(), Timestamp::now());
            let turn = work.turn(held).await;
            let (ended, done) = (Timestamp::now(), turn == Turn::Done);
            let line = format!("{job} {began} {ended} {done}\n");
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            // What is missing is missed by whoever counts the jobs.
            let _ = file.write_all(line.as_bytes());
            turn
        }
    };
    fermata_fleet::serve(queue, &options, &CancellationToken::new(), handler).await?;
    Ok(())
}

/// What it wrote so far.
pub(crate) fn read(file: &Path) -> Result<Vec<Stamp>> {
    let text = std::fs::read_to_string(file)?;
    let stamp = |line: &str| {
        let parts: Vec<&str> = line.split(' ').collect();
        let [job, began, ended, done] = parts[..] else { bail!("{line:?} is no stamp") };
        Ok(Stamp { job: job.to_owned(), began: began.parse()?, ended: ended.parse()?, done: done == "true" })
    };
    // The last line may not be whole yet.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| stamp(line).context("a stamp")).collect()
}
