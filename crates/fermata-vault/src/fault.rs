//! A store that fails on command, for tests.
//!
//! It counts operations from 0 and fails the ones that a test names, before or after their effect, once
//! or for ever. So a test can run once to count, then once for each (operation, before or after). A clone
//! is the same store: the test keeps one and gives the other to the code under test.
//!
//! It lists in descending order, since nobody may rely on another, and in [`chaos`](FaultStore::chaos)
//! it pauses and fails at random, from a seed.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;

/// Turns that others get before an operation in chaos, at most.
const PAUSE_TURNS: u32 = 8;

/// When an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before its effect: nothing happened.
    Before,
    /// After its effect: the answer is lost.
    After,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Before or after its effect.
    pub when: When,
    /// Whether every later operation fails too, as they do for a process that was killed.
    pub dies: bool,
    /// What the operating system says.
    pub kind: io::ErrorKind,
}

impl Fault {
    /// One failure; the next operation works.
    pub fn once(when: When) -> Self {
        Self { when, dies: false, kind: io::ErrorKind::ConnectionReset }
    }

    /// The last operation that is tried.
    pub fn death(when: When) -> Self {
        Self { dies: true, ..Self::once(when) }
    }
}

/// A place before an operation where whoever works there waits.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    reached: Arc<Notify>,
    released: Arc<Notify>,
}

impl Halt {
    /// Waits until somebody is there.
    pub async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets it go on, also one that comes later.
    pub fn release(&self) {
        self.released.notify_one();
    }
}

/// A store in front of another.
#[derive(Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    trace: Vec<String>,
    faults: BTreeMap<usize, Fault>,
    halts: BTreeMap<usize, Halt>,
    dead: bool,
    writes_refused: Option<io::ErrorKind>,
    chaos: Option<Chaos>,
}

struct Chaos {
    rng: StdRng,
    before: f64,
    after: f64,
}

impl FaultStore {
    /// A store that works, until it is told otherwise.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// Fails the operation of this number, counted from 0 since the store was made or [`reset`](Self::reset).
    pub fn fail(&self, operation: usize, fault: Fault) {
        self.script().faults.insert(operation, fault);
    }

    /// Halts whoever comes to the operation of this number, before it, so that a test can do something else meanwhile.
    pub fn halt(&self, operation: usize) -> Halt {
        self.script().halts.entry(operation).or_default().clone()
    }

    /// Lets every write fail from now on, as on a full disk (`StorageFull`); `None` ends it.
    pub fn refuse_writes(&self, kind: Option<io::ErrorKind>) {
        self.script().writes_refused = kind;
    }

    /// Pauses before every operation, so that workers on one thread interleave, and fails that share of
    /// them before and after their effect. The same seed and the same work give the same faults.
    pub fn chaos(&self, seed: u64, before: f64, after: f64) {
        self.script().chaos = Some(Chaos { rng: StdRng::seed_from_u64(seed), before, after });
    }

    /// Works again, without faults, and counts from 0.
    pub fn reset(&self) {
        *self.script() = Script::default();
    }

    /// Operations since it was made or reset, whether they worked or not. Those after a death do not count.
    pub fn operations(&self) -> usize {
        self.script().trace.len()
    }

    /// What the operations were: `put tenants/acme/...`, one a line.
    pub fn trace(&self) -> Vec<String> {
        self.script().trace.clone()
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.script().dead
    }

    /// The store behind it, which never fails.
    pub fn inner(&self) -> &Arc<dyn ObjectStore> {
        &self.inner
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an operation and says how it is to fail.
    fn enter(&self, verb: &str, key: &Path) -> Result<Option<Fault>> {
        let mut script = self.script();
        if script.dead {
            return Err(broken(io::ErrorKind::NotConnected));
        }
        let fault = script.faults.get(&script.trace.len()).copied();
        script.trace.push(format!("{verb} {key}"));
        if let Some(kind) = script.writes_refused.filter(|_| matches!(verb, "put" | "delete" | "copy")) {
            return Err(broken(kind));
        }
        let Some(fault) = fault.or_else(|| script.chaos.as_mut().and_then(Chaos::fault)) else {
            return Ok(None);
        };
        script.dead |= fault.dies;
        match fault.when {
            When::Before => Err(broken(fault.kind)),
            When::After => Ok(Some(fault)),
        }
    }

    fn halt_here(&self) -> Option<Halt> {
        let mut script = self.script();
        let operation = script.trace.len();
        script.halts.remove(&operation)
    }

    async fn pause(&self) {
        if let Some(halt) = self.halt_here() {
            halt.reached.notify_one();
            halt.released.notified().await;
        }
        let turns = self.script().chaos.as_mut().map_or(0, |chaos| chaos.rng.random_range(0..PAUSE_TURNS));
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    }

    /// Everything under a prefix in descending order, and how the listing is to fail.
    async fn listing(&self, prefix: Option<&Path>) -> Result<(Vec<ObjectMeta>, Option<Fault>)> {
        self.pause().await;
        let fault = self.enter("list", &prefix.cloned().unwrap_or_default())?;
        let mut found: Vec<_> = self.inner.list(prefix).try_collect().await?;
        found.sort_unstable_by(|a, b| b.location.cmp(&a.location));
        Ok((found, fault))
    }

    async fn run<T>(&self, verb: &str, key: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.pause().await;
        let fault = self.enter(verb, key)?;
        let answer = work.await;
        match fault {
            Some(fault) => Err(broken(fault.kind)),
            None => answer,
        }
    }
}

impl Chaos {
    fn fault(&mut self) -> Option<Fault> {
        let drawn: f64 = self.rng.random();
        if drawn < self.before {
            Some(Fault::once(When::Before))
        } else if drawn < self.before + self.after {
            Some(Fault::once(When::After))
        } else {
            None
        }
    }
}

fn broken(kind: io::ErrorKind) -> Error {
    Error::Generic { store: "FaultStore", source: Box::new(io::Error::new(kind, "a fault of the test")) }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.run("put", location, self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.run("put", location, self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let verb = if options.head { "head" } else { "get" };
        self.run(verb, location, self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.run("get", location, self.inner.get_ranges(location, ranges)).await
    }

    /// Each object is an operation, one after the other, so that a death can leave some.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                store.run("delete", &location, store.inner.delete(&location)).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            let (found, cut) = match store.listing(prefix.as_ref()).await {
                Ok((found, fault)) => (found, fault.map(|fault| broken(fault.kind))),
                Err(error) => (Vec::new(), Some(error)),
            };
            stream::iter(found.into_iter().map(Ok).chain(cut.map(Err)))
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let key = prefix.cloned().unwrap_or_default();
        self.run("list", &key, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.run("copy", to, self.inner.copy_opts(from, to, options)).await
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({:?})", self.inner)
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}
