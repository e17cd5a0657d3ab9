//! A bucket on this machine that speaks as S3 and as Google Cloud Storage do, for tests.
//!
//! It keeps conditions exactly, or not, as it was told; pages its lists; fails on command; and takes credentials back.
//! It checks the hash of what it is sent and the region that a signature is for, and no signature.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use url::form_urlencoded;

use crate::environment::Environment;

mod answers;

/// The one bucket that there is.
pub const BUCKET: &str = "bucket";
/// A bucket that is in another region.
pub const ELSEWHERE: &str = "elsewhere";
/// The region of [`BUCKET`].
pub const REGION: &str = "eu-central-1";
/// Objects and folders in a page of a list, as everywhere.
const PAGE: usize = 1_000;
/// How long a create of a racy bucket waits for another to race with.
const RACE: Duration = Duration::from_millis(50);

/// How a bucket treats create-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// One writer wins, always.
    Exact,
    /// It looks, and writes later: creates at the same time all win.
    Racy,
    /// It answers 200 and overwrites.
    Blind,
}

/// What is wrong with a request, besides what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 503, and nothing was done.
    Unavailable,
    /// It was done, and then the answer is 503.
    DoneAndUnavailable,
    /// It was done, and then the connection breaks.
    DoneAndReset,
    /// It was done, and then no answer comes.
    DoneAndSilent,
    /// 409: another write of the same name came in between, and came to nothing.
    Conflict,
    /// It is done after a while.
    Slow(Duration),
    /// 403.
    Denied,
}

/// Why credentials are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They were good once.
    Expired,
    /// Nobody knows them.
    Unknown,
    /// They may read and not write.
    ReadOnly,
}

/// A running server with one bucket; it ends when this is dropped.
#[derive(Debug)]
pub struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    manners: Manners,
    state: Mutex<Bucket>,
    /// Told of each create that begins.
    begun: Notify,
}

#[derive(Debug, Default)]
struct Bucket {
    objects: BTreeMap<String, Object>,
    generation: u64,
    /// Creates of each name that have looked and not written yet, in a racy bucket.
    racing: BTreeMap<String, usize>,
    troubles: Vec<(Verb, String, Trouble, usize)>,
    refused: BTreeMap<String, Refusal>,
    requests: BTreeMap<Verb, usize>,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    generation: u64,
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// An object, or its head.
    Get,
    /// To write one.
    Put,
    /// To delete one or many.
    Delete,
    /// A page of names.
    List,
}

/// Whose tongue a request is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Amazon,
    Google,
}

impl Fake {
    /// Starts it on a port of its own.
    pub async fn start(manners: Manners) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { manners, state: Mutex::default(), begun: Notify::new() });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, server })
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What leads `s3://bucket` here, with these credentials.
    pub fn amazon(&self, key: &str) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", key.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "the-secret-half".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }

    /// What leads `gs://bucket` here, with these credentials.
    pub fn google(&self, token: &str) -> [(&'static str, String); 2] {
        [("STORAGE_EMULATOR_HOST", self.endpoint()), ("CLOUDSDK_AUTH_ACCESS_TOKEN", token.to_owned())]
    }

    /// The same, as the vault takes it.
    pub fn environment(&self, scheme: &str) -> Environment {
        if scheme == "gs" { self.google("key").into() } else { self.amazon("key").into() }
    }

    /// Lets so many requests of this kind, whose object's name has this in it, run into trouble.
    pub fn trouble(&self, verb: Verb, part: &str, trouble: Trouble, times: usize) {
        self.shared.bucket().troubles.push((verb, part.to_owned(), trouble, times));
    }

    /// Ends all trouble that is left.
    pub fn settle(&self) {
        self.shared.bucket().troubles.clear();
    }

    /// Takes these credentials no longer, or with `None` again.
    pub fn refuse(&self, key: &str, refusal: Option<Refusal>) {
        let mut bucket = self.shared.bucket();
        bucket.refused.remove(key);
        bucket.refused.extend(refusal.map(|refusal| (key.to_owned(), refusal)));
    }

    /// Requests of a kind so far.
    pub fn requests(&self, verb: Verb) -> usize {
        self.shared.bucket().requests.get(&verb).copied().unwrap_or_default()
    }

    /// Bytes of all objects.
    pub fn bytes(&self) -> usize {
        self.shared.bucket().objects.values().map(|object| object.bytes.len()).sum()
    }

    /// The names of all objects.
    pub fn names(&self) -> Vec<String> {
        self.shared.bucket().objects.keys().cloned().collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// The next trouble that was ordered for such a request.
    fn trouble(&mut self, verb: Verb, name: &str) -> Option<Trouble> {
        let (.., trouble, times) = self
            .troubles
            .iter_mut()
            .find(|(of, part, _, times)| *of == verb && name.contains(part) && *times > 0)?;
        *times -= 1;
        Some(*trouble)
    }

    fn write(&mut self, name: &str, bytes: Bytes) -> Object {
        self.generation += 1;
        let object = Object { bytes, generation: self.generation };
        self.objects.insert(name.to_owned(), object.clone());
        object
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return answers::error(400, "IncompleteBody") };
    let asked = match Asked::of(&parts, body) {
        Ok(asked) => asked,
        Err(answer) => return *answer,
    };
    let trouble = {
        let mut bucket = shared.bucket();
        *bucket.requests.entry(asked.verb).or_default() += 1;
        match bucket.refused.get(&asked.key) {
            Some(Refusal::ReadOnly) if matches!(asked.verb, Verb::Get | Verb::List) => {}
            Some(refusal) => return answers::refused(asked.dialect, *refusal),
            None => {}
        }
        bucket.trouble(asked.verb, &asked.name)
    };
    match trouble {
        Some(Trouble::Unavailable) => return answers::error(503, "SlowDown"),
        Some(Trouble::Conflict) => return answers::error(409, "ConditionalRequestConflict"),
        Some(Trouble::Denied) => return answers::refused(asked.dialect, Refusal::ReadOnly),
        Some(Trouble::Slow(span)) => tokio::time::sleep(span).await,
        _ => {}
    }
    let answer = asked.carry_out(&shared).await;
    match trouble {
        Some(Trouble::DoneAndUnavailable) => answers::error(503, "InternalError"),
        Some(Trouble::DoneAndReset) => answers::broken(),
        Some(Trouble::DoneAndSilent) => std::future::pending().await,
        _ => answer,
    }
}

/// A request, understood.
struct Asked {
    dialect: Dialect,
    /// Whose credentials it came with.
    key: String,
    verb: Verb,
    /// The object, or of a list its prefix.
    name: String,
    query: BTreeMap<String, String>,
    /// Whether it is to write only where nothing is.
    create: bool,
    head: bool,
    /// How many bytes of the object, from its first on.
    most: Option<usize>,
    body: Bytes,
}

impl Asked {
    /// Understands a request that reaches the bucket; otherwise the answer to it.
    fn of(parts: &Parts, body: Bytes) -> Result<Self, Box<Response>> {
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let (dialect, key) = credentials(&parts.headers)?;
        let path = decoded(parts.uri.path().trim_start_matches('/'));
        let (bucket, name) = path.split_once('/').unwrap_or((&path, ""));
        match bucket {
            BUCKET => {}
            ELSEWHERE => return Err(Box::new(answers::status(StatusCode::MOVED_PERMANENTLY))),
            _ => return Err(Box::new(answers::error(404, "NoSuchBucket"))),
        }
        let query: BTreeMap<_, _> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let verb = match (&parts.method, name.is_empty()) {
            (&Method::GET, true) if query.contains_key("list-type") => Verb::List,
            (&Method::POST, true) if query.contains_key("delete") => Verb::Delete,
            (&Method::GET | &Method::HEAD, false) => Verb::Get,
            (&Method::PUT, false) => Verb::Put,
            (&Method::DELETE, false) => Verb::Delete,
            _ => return Err(Box::new(answers::error(501, "NotImplemented"))),
        };
        let create = match (header("if-none-match"), header("x-goog-if-generation-match")) {
            (None, None) => false,
            (Some("*"), None) | (None, Some("0")) => true,
            _ => return Err(Box::new(answers::error(501, "NotImplemented"))),
        };
        let most = match header("range").map(|range| range.strip_prefix("bytes=0-").map(str::parse::<usize>))
        {
            None => None,
            Some(Some(Ok(last))) => Some(last + 1),
            Some(_) => return Err(Box::new(answers::error(501, "NotImplemented"))),
        };
        if header("x-amz-checksum-sha256")
            .is_some_and(|sent| sent != BASE64_STANDARD.encode(Sha256::digest(&body)))
        {
            return Err(Box::new(answers::error(400, "BadDigest")));
        }
        let name = query.get("prefix").cloned().unwrap_or_else(|| name.to_owned());
        Ok(Self { dialect, key, verb, name, query, create, head: parts.method == Method::HEAD, most, body })
    }

    async fn carry_out(self, shared: &Shared) -> Response {
        match self.verb {
            Verb::Put => self.put(shared).await,
            Verb::Get => {
                let found = shared.bucket().objects.get(&self.name).cloned();
                found.map_or_else(|| answers::error(404, "NoSuchKey"), |object| self.show(&object))
            }
            Verb::Delete if self.name.is_empty() => {
                let body = String::from_utf8_lossy(&self.body).into_owned();
                let names = body.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next());
                let mut bucket = shared.bucket();
                names.clone().for_each(|name| drop(bucket.objects.remove(name)));
                answers::deleted(names)
            }
            Verb::Delete => match (shared.bucket().objects.remove(&self.name), self.dialect) {
                (None, Dialect::Google) => answers::error(404, "NoSuchKey"),
                _ => answers::status(StatusCode::NO_CONTENT),
            },
            Verb::List => self.list(&shared.bucket()),
        }
    }

    async fn put(self, shared: &Shared) -> Response {
        let exists = shared.bucket().objects.contains_key(&self.name);
        if self.create && exists && shared.manners != Manners::Blind {
            return answers::error(412, "PreconditionFailed");
        }
        if self.create && shared.manners == Manners::Racy {
            race(shared, &self.name).await;
        }
        let mut bucket = shared.bucket();
        // Here again, under the lock: another may have written since.
        if self.create && shared.manners == Manners::Exact && bucket.objects.contains_key(&self.name) {
            return answers::error(412, "PreconditionFailed");
        }
        let object = bucket.write(&self.name, self.body);
        answers::written(object.generation)
    }

    fn show(&self, object: &Object) -> Response {
        let length = object.bytes.len();
        match self.most.map(|most| most.min(length)) {
            Some(most) => answers::beginning(object.generation, &object.bytes.slice(..most), length),
            None if self.head => answers::object(object.generation, length, Body::empty()),
            None => answers::object(object.generation, length, object.bytes.clone().into()),
        }
    }

    /// One page of names, and of folders where there is a delimiter.
    fn list(&self, bucket: &Bucket) -> Response {
        let asked = |name: &str| self.query.get(name).map(String::as_str);
        let after = asked("continuation-token").or(asked("start-after")).unwrap_or_default();
        let (mut names, mut folders) = (Vec::new(), BTreeSet::new());
        let mut last = None;
        for (name, object) in bucket.objects.range(self.name.clone()..) {
            let Some(rest) = name.strip_prefix(&self.name) else { break };
            let folder =
                asked("delimiter").and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
            let folder = folder.map(|end| &name[..self.name.len() + end]);
            let shown = folder.unwrap_or(name);
            if shown <= after || folder.is_some_and(|folder| folders.contains(folder)) {
                continue;
            }
            if names.len() + folders.len() == PAGE {
                return answers::list(&names, &folders, last);
            }
            last = Some(shown);
            match folder {
                Some(folder) => drop(folders.insert(folder)),
                None => names.push((name.as_str(), object.bytes.len())),
            }
        }
        answers::list(&names, &folders, None)
    }
}

/// Waits until another create of the same name has looked too, or for so long that none is about to.
async fn race(shared: &Shared, name: &str) {
    *shared.bucket().racing.entry(name.to_owned()).or_default() += 1;
    shared.begun.notify_waiters();
    let met = async {
        loop {
            let begun = shared.begun.notified();
            if shared.bucket().racing.get(name).is_some_and(|racers| *racers > 1) {
                return;
            }
            begun.await;
        }
    };
    let _ = tokio::time::timeout(RACE, met).await;
}

/// Whose request it is, by the public half of its credentials.
fn credentials(headers: &HeaderMap) -> Result<(Dialect, String), Box<Response>> {
    let sent = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(token) = sent.strip_prefix("Bearer ") {
        return Ok((Dialect::Google, token.to_owned()));
    }
    let scope =
        sent.split_once("Credential=").and_then(|(_, rest)| rest.split(',').next()).unwrap_or_default();
    match scope.split('/').collect::<Vec<_>>()[..] {
        [key, _, REGION, ..] => Ok((Dialect::Amazon, key.to_owned())),
        [_, _, _, ..] => Err(Box::new(answers::other_region())),
        _ => Err(Box::new(answers::refused(Dialect::Amazon, Refusal::ReadOnly))),
    }
}

fn decoded(path: &str) -> String {
    let path = path.replace('+', "%2B");
    form_urlencoded::parse(path.as_bytes()).map(|(name, _)| name.into_owned()).collect()
}
