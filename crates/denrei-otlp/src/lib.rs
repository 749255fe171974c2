//! Gives spans to an OpenTelemetry collector, by OTLP over HTTP (protobuf).
//!
//! How to group what is sent, and how often to try again, is OpenTelemetry's own SDK's to do, and so are headers, compression
//! (`OTEL_EXPORTER_OTLP_*`), queues (`OTEL_BSP_*`), `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`. Here the hub's spans are put
//! into its words, and it is given a way to send.

mod client;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use denrei_hub::span::{self, Span, SpanStatistics, SpanValue, Spans};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, Key, KeyValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SpanData, SpanProcessor};
use tokio::runtime::Handle;

/// Where spans go, and who sends them.
#[derive(Clone, Debug)]
pub struct OtlpConfig {
    /// Where traces are sent (`http://127.0.0.1:4318/v1/traces`).
    pub address: String,
    /// How long the collector may take. Default 10 s.
    pub timeout: Duration,
    /// Which of the servers sends them: `service.instance.id`.
    pub instance: String,
    /// Its version: `service.version`.
    pub version: &'static str,
}

/// Nothing can be sent with these settings.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct InvalidOtlp(String);

/// Sends spans to a collector. What it does not take is counted and forgotten: no message waits for it.
pub struct Otlp {
    processor: BatchSpanProcessor,
    scope: InstrumentationScope,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    ended: AtomicU64,
    exported: AtomicU64,
    failed: AtomicU64,
    failing: AtomicBool,
}

impl Otlp {
    /// Begins to send, on this runtime.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn start(config: &OtlpConfig, runtime: &Handle) -> Result<Self, InvalidOtlp> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client::Client::new(config, runtime))
            .with_endpoint(&config.address)
            .with_timeout(config.timeout);
        let exporter = exporter.build().map_err(|error| InvalidOtlp(error.to_string()))?;
        let counts = Arc::new(Counts::default());
        let exporter = Counting { exporter, counts: Arc::clone(&counts) };
        let mut processor = BatchSpanProcessor::builder(exporter).build();
        processor.set_resource(&resource(config));
        let scope = InstrumentationScope::builder("denrei").with_version(config.version).build();
        Ok(Self { processor, scope, counts })
    }

    /// Sends what has not been sent yet, if that goes quickly, and nothing from then on. It blocks.
    pub fn finish(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(Duration::from_secs(3)) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }

    fn data(&self, span: Span) -> SpanData {
        let (high, low) = span.context.trace;
        let trace = TraceId::from((u128::from(high) << 64) | u128::from(low));
        let own = SpanId::from(span.context.span);
        let error = |why: Cow<'static, str>| Status::Error { description: why };
        SpanData {
            span_context: SpanContext::new(trace, own, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: SpanId::from(span.parent),
            parent_span_is_remote: span.remote,
            span_kind: match span.kind {
                span::SpanKind::Server => SpanKind::Server,
                span::SpanKind::Producer => SpanKind::Producer,
                span::SpanKind::Consumer => SpanKind::Consumer,
            },
            name: span.name,
            start_time: span.begun,
            end_time: span.ended,
            attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, worded(value))).collect(),
            dropped_attributes_count: 0,
            events: opentelemetry_sdk::trace::SpanEvents::default(),
            links: opentelemetry_sdk::trace::SpanLinks::default(),
            status: span.error.map_or(Status::Unset, error),
            instrumentation_scope: self.scope.clone(),
        }
    }
}

impl Spans for Otlp {
    fn ended(&self, span: Span) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
        // A bounded queue, and a span that has no place in it is dropped.
        self.processor.on_end(self.data(span));
    }

    fn statistics(&self) -> SpanStatistics {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { ended, exported, failed, .. } = &*self.counts;
        SpanStatistics { ended: read(ended), exported: read(exported), failed: read(failed) }
    }
}

/// Counts what becomes of spans, and says once that a collector takes none, and once that it does again.
#[derive(Debug)]
struct Counting {
    exporter: SpanExporter,
    counts: Arc<Counts>,
}

impl opentelemetry_sdk::trace::SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let outcome = self.exporter.export(batch).await;
        let counter = if outcome.is_ok() { &self.counts.exported } else { &self.counts.failed };
        counter.fetch_add(spans, Ordering::Relaxed);
        let failed_before = self.counts.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !failed_before => tracing::warn!(%error, "the collector takes no spans"),
            Ok(()) if failed_before => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// What is said of the sender: the environment's words before ours.
fn resource(config: &OtlpConfig) -> Resource {
    let said = Resource::builder().build();
    let is_said = |key: &'static str| {
        let value = said.get(&Key::from_static_str(key));
        value.is_some_and(|value| !value.as_str().starts_with("unknown_service"))
    };
    let own = [
        ("service.name", "denrei".to_owned()),
        ("service.instance.id", config.instance.clone()),
        ("service.version", config.version.to_owned()),
    ];
    let own = own.into_iter().filter(|(key, _)| !is_said(key)).map(|(key, value)| KeyValue::new(key, value));
    Resource::builder().with_attributes(own).build()
}

fn worded(value: SpanValue) -> Value {
    match value {
        SpanValue::Text(Cow::Borrowed(text)) => Value::from(text),
        SpanValue::Text(Cow::Owned(text)) => Value::from(text),
        SpanValue::Number(number) => Value::I64(number),
        SpanValue::Flag(flag) => Value::Bool(flag),
    }
}
