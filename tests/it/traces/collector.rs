//! A collector of traces: it writes down all that it hears.

#![expect(clippy::unwrap_used, reason = "these are helpers of tests, where a panic is the message")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use prost::Message;

/// What a collector says to what it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// That it has it.
    Taken,
    /// That it cannot take it now.
    Refused,
    /// Nothing, ever.
    Nothing,
}

/// A collector on this machine.
pub(crate) struct Collector {
    port: u16,
    heard: Arc<Mutex<Heard>>,
}

/// What a collector heard.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    /// Every byte.
    pub(crate) bytes: Vec<u8>,
    /// How often it was called.
    pub(crate) calls: u64,
    pub(crate) spans: Vec<Span>,
}

/// A span, as far as it matters here.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    pub(crate) name: String,
    /// Whether it is a request that we make.
    pub(crate) is_asked: bool,
    pub(crate) trace: Vec<u8>,
    pub(crate) id: Vec<u8>,
    /// Empty for the root of a trace.
    pub(crate) parent: Vec<u8>,
    pub(crate) failed: bool,
    /// Beginning and end, in nanoseconds.
    pub(crate) took: (u64, u64),
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Collector {
    pub(crate) fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let told = heard.clone();
        std::thread::spawn(move || {
            // Those that get no answer are held open.
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                told.lock().unwrap().calls += 1;
                if answers == Answers::Nothing {
                    silent.push(stream);
                    continue;
                }
                let (intro, body) = read(&mut stream);
                let mut heard = told.lock().unwrap();
                heard.bytes.extend(intro.as_bytes());
                heard.bytes.extend(&body);
                assert!(intro.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{intro}");
                heard.spans.extend(decode(&body));
                drop(heard);
                let status = if answers == Answers::Taken { "200 OK" } else { "503 Service Unavailable" };
                stream
                    .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                    .unwrap();
            }
        });
        Self { port, heard }
    }

    /// A port of this machine where nobody listens.
    pub(crate) fn away() -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    /// As it is named to those who are to send it traces.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it heard up to now.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }
}

impl Span {
    /// An attribute, or nothing where there is none.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// The head of a request, and its body.
fn read(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}

fn decode(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for told in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = attributes(told.resource.unwrap().attributes);
        for span in told.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.events.is_empty() && span.links.is_empty(), "{span:?}");
            spans.push(Span {
                service: resource["service.name"].clone(),
                name: span.name,
                is_asked: span.kind == i32::from(SpanKind::Client as u8),
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
                failed: span.status.unwrap_or_default().code == i32::from(StatusCode::Error as u8),
                took: (span.start_time_unix_nano, span.end_time_unix_nano),
                attributes: attributes(span.attributes),
            });
        }
    }
    spans
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |pair: KeyValue| match pair.value.unwrap().value.unwrap() {
        Value::StringValue(text) => (pair.key, text),
        Value::IntValue(number) => (pair.key, number.to_string()),
        Value::DoubleValue(number) => (pair.key, number.to_string()),
        Value::BoolValue(holds) => (pair.key, holds.to_string()),
        other => panic!("{}: {other:?}", pair.key),
    };
    pairs.into_iter().map(text).collect()
}
