//! Traces: the spans of our crates, sent to the collector that the configuration names.
//!
//! ```text
//! spans -> a queue that takes what fits -> a thread of its own: batches -> POST <endpoint>/v1/traces
//! ```
//!
//! Nobody waits for the collector. What it does not take is lost, which is said now and then, and at the end the process
//! gives what is left [two seconds](END_MAX).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use crate::config::Collector;
use crate::out;

/// The longest that the end of the process waits for spans to be taken.
const END_MAX: Duration = Duration::from_secs(2);
/// The longest that a batch is waited for: the default of OTLP's exporters.
const POST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two warnings of a collector that takes nothing.
const WARN_EVERY: Duration = Duration::from_mins(10);

/// Traces on their way to a collector.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    trouble: Arc<Mutex<Trouble>>,
}

/// What is wrong with the collector.
#[derive(Debug, Default)]
struct Trouble {
    /// Why it did not take the last batch, if it did not.
    last: Option<String>,
    /// Spans that it did not take in all.
    lost: usize,
    warned: Option<Instant>,
}

/// Posts batches, on the thread of whoever asks.
#[derive(Debug)]
struct Post {
    http: reqwest::Client,
    address: Url,
    resource: ResourceAttributesWithSchema,
    /// Of its own, so that neither a name that is looked up in vain nor a slow answer takes a thread from the work.
    runtime: Option<Runtime>,
    trouble: Arc<Mutex<Trouble>>,
}

impl Traces {
    /// Starts the thread that sends the spans of this command.
    pub(crate) fn start(collector: &Collector, command: &str) -> anyhow::Result<Self> {
        let trouble = Arc::default();
        let service = collector.service.clone().unwrap_or_else(|| format!("fermata-{command}"));
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let resource = Resource::builder_empty().with_service_name(service).with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", format!("{host}-{}", std::process::id())),
        ]);
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(collector.share)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(Post::new(collector, Arc::clone(&trouble))?)
            .with_resource(resource.build())
            .with_sampler(sampler)
            .build();
        Ok(Self { provider, trouble })
    }

    /// What hands them the spans that it is shown.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("fermata"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
    }

    /// Sends what is left, and says why it was not taken if it was not.
    pub(crate) fn end(self) -> Option<String> {
        let ended = self.provider.shutdown_with_timeout(END_MAX);
        let late = || ended.is_err().then(|| "the collector did not take them in time".to_owned());
        lock(&self.trouble).last.take().or_else(late)
    }
}

impl Post {
    fn new(collector: &Collector, trouble: Arc<Mutex<Trouble>>) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .default_headers(collector.headers.clone())
            // They may hold a key, which is for the collector alone.
            .redirect(reqwest::redirect::Policy::none())
            .timeout(POST_TIMEOUT)
            // Between two batches nobody looks after a connection.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("fermata/", env!("CARGO_PKG_VERSION")))
            .build()?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build()?;
        let (address, resource) = (collector.address.clone(), ResourceAttributesWithSchema::default());
        Ok(Self { http, address, resource, runtime: Some(runtime), trouble })
    }

    fn post(&self, spans: Vec<SpanData>) -> Result<(), String> {
        let resource_spans = group_spans_by_resource_and_scope(spans, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let kind = HeaderValue::from_static("application/x-protobuf");
        let request = self.http.post(self.address.clone()).header(CONTENT_TYPE, kind).body(body);
        let runtime = self.runtime.as_ref().expect("it is there until the end");
        // Inside, since a request that is only made asks for the runtime's clock already.
        match runtime.block_on(async { request.send().await }) {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("{} answers with HTTP {}", self.address, answer.status().as_u16())),
            Err(error) => {
                let why = out::causes(&anyhow::Error::from(error.without_url()));
                Err(format!("{} cannot be asked: {why}", self.address))
            }
        }
    }
}

/// The thread that asks is the SDK's, and has nothing else to do.
impl SpanExporter for Post {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let posted = self.post(batch);
        lock(&self.trouble).note(spans, &posted);
        posted.map_err(OTelSdkError::InternalFailure)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // A name that is still looked up would hold up the end.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Trouble {
    fn note(&mut self, spans: usize, posted: &Result<(), String>) {
        self.last = posted.as_ref().err().cloned();
        let Some(why) = &self.last else { return };
        self.lost += spans;
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            tracing::warn!(lost = self.lost, "traces are not taken, and work goes on without: {why}");
        }
    }
}

fn lock(trouble: &Mutex<Trouble>) -> std::sync::MutexGuard<'_, Trouble> {
    trouble.lock().unwrap_or_else(PoisonError::into_inner)
}
