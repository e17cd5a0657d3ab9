//! A server that answers as it is told, byte for byte, and remembers what it was asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// The headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
    /// Which request for this path it is, from 1.
    pub(crate) nth: usize,
}

impl Asked {
    /// A number from the query or the body.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let in_query = self.query.get(name).and_then(|value| value.parse().ok());
        in_query.or_else(|| self.body.get(name)?.as_u64())
    }

    /// Rows to skip.
    pub(crate) fn offset(&self) -> u64 {
        self.number("offset").unwrap_or(0)
    }
}

/// What is sent.
pub(crate) enum Reply {
    /// 200 with this body.
    Json(String),
    /// 200 with these headers and bytes; `Content-Length` is told unless the headers tell it.
    Bytes(&'static str, Vec<u8>),
    /// Anything, from the status line on; then the connection closes.
    Raw(Vec<u8>),
    /// 200, and a body that never ends: this again and again.
    Endless(&'static [u8]),
    /// A byte now and then, for ever.
    Trickle,
    /// Nothing at all.
    Hang,
}

/// The server; it stops when dropped.
pub(crate) struct Rogue {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    _serve: AbortOnDropHandle<()>,
}

impl Rogue {
    /// Listens on a free port of this machine.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(answer));
        let book = asked.clone();
        let serve = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (book, answer) = (book.clone(), answer.clone());
                tokio::spawn(async move {
                    // A client that goes away in the midst is no fault of the server's.
                    let _ = serve_one(stream, &book, &*answer).await;
                });
            }
        };
        Self { address, asked, _serve: AbortOnDropHandle::new(tokio::spawn(serve)) }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve_one(
    mut stream: TcpStream,
    book: &Mutex<Vec<Asked>>,
    answer: &(impl Fn(&Asked) -> Reply + ?Sized),
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    let asked = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        if let Some(asked) = parse(&bytes) {
            break asked;
        }
    };
    let asked = {
        let mut book = book.lock().unwrap();
        let nth = book.iter().filter(|earlier| earlier.path == asked.path).count() + 1;
        let asked = Asked { nth, ..asked };
        book.push(asked.clone());
        asked
    };
    send(stream, answer(&asked)).await
}

async fn send(mut stream: TcpStream, reply: Reply) -> std::io::Result<()> {
    const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    match reply {
        Reply::Json(body) => {
            let head =
                format!("{OK}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body.as_bytes()).await?;
        }
        Reply::Bytes(headers, body) => {
            let told = headers.to_lowercase().contains("content-length") || headers.contains("chunked");
            let length = if told { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            stream.write_all(format!("{OK}{headers}{length}\r\n").as_bytes()).await?;
            stream.write_all(&body).await?;
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
        Reply::Endless(piece) => {
            stream.write_all(format!("{OK}\r\n").as_bytes()).await?;
            let piece = piece.repeat((64 << 10) / piece.len());
            loop {
                stream.write_all(&piece).await?;
            }
        }
        Reply::Trickle => {
            stream.write_all(format!("{OK}Content-Length: 1000000\r\n\r\n").as_bytes()).await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Reply::Hang => std::future::pending().await,
    }
    stream.shutdown().await
}

fn parse(bytes: &[u8]) -> Option<Asked> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let target = head.split(' ').nth(1)?.to_owned();
    let lower = head.to_lowercase();
    let length =
        lower.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
    let body = bytes.get(end + 4..)?;
    if body.len() < length.unwrap_or(0) {
        return None;
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    Some(Asked {
        path: path.to_owned(),
        query: query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        head: lower,
        body: serde_json::from_slice(body).unwrap_or_default(),
        nth: 0,
    })
}
