//! Logs on standard error, and traces to an OpenTelemetry collector where one is configured. A collector that can't
//! be reached holds nothing up: spans wait in a bounded queue and are dropped when it is full, and the log says
//! once that they are not taken, and once that they are again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use clap::ValueEnum;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::catalog::redacted;
use crate::config::Telemetry;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Why traces can't be exported to where they should go.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The endpoint, or another setting of the exporter, makes no sense.
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
    /// No HTTP client can be had.
    #[error("HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// How long a request to the collector may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of the process waits for the last spans to be taken.
const LAST_EXPORT: Duration = Duration::from_secs(2);

/// Writes logs.
pub fn start_logs(format: LogFormat) {
    subscribe(format, None);
}

/// Writes logs, and exports traces if that is configured, on threads of `runtime`.
///
/// # Errors
/// When the endpoint makes no sense.
pub fn start(format: LogFormat, config: &Telemetry, runtime: &Handle) -> Result<Traces, TelemetryError> {
    let provider = endpoint(config, |name| std::env::var(name).ok()).map(|endpoint| provider(&endpoint, runtime)).transpose()?;
    subscribe(format, provider.as_ref().map(|p| p.tracer("cohort")));
    Ok(Traces(provider))
}

/// The exporter of traces, if there is one.
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Exports what is left.
    pub fn end(self) {
        // Whether that succeeds is said where it is sent.
        let _ = self.0.map(|provider| provider.shutdown_with_timeout(LAST_EXPORT));
    }
}

/// The trace that a request belongs to, by its W3C `traceparent`.
pub fn caller(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract(&HeaderExtractor(headers))
}

fn subscribe(format: LogFormat, tracer: Option<SdkTracer>) {
    let level = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,cohort=info"));
    let logs = fmt::layer().with_writer(std::io::stderr);
    let logs = match format {
        LogFormat::Text => logs.boxed(),
        LogFormat::Json => logs.json().boxed(),
    };
    let own = || Targets::new().with_target("cohort", Level::INFO);
    let layer = |tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false).with_tracked_inactivity(false);
    let traces = tracer.map(|tracer| layer(tracer).with_filter(own()));
    tracing_subscriber::registry().with(logs.with_filter(level)).with(traces).init();
}

/// The URL that spans go to, if any.
fn endpoint(config: &Telemetry, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let configured = Some(config.otlp_endpoint.clone()).filter(|url| !url.is_empty());
    let traces = |base: String| format!("{}/v1/traces", base.trim_end_matches('/'));
    configured.map(traces).or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")).or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(traces))
}

fn provider(endpoint: &str, runtime: &Handle) -> Result<SdkTracerProvider, TelemetryError> {
    // There is no other provider that could be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(EXPORT_TIMEOUT).build()?;
    let client = Collector { client, runtime: runtime.clone(), endpoint: redacted(endpoint), refuses: AtomicBool::new(false) };
    let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary).with_endpoint(endpoint);
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter.build()?).with_resource(resource()).build())
}

/// What spans are of; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` add to it.
fn resource() -> Resource {
    let from_environment = Resource::builder().build();
    let named = from_environment.get(&"service.name".into()).is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let own = [KeyValue::new("service.version", env!("CARGO_PKG_VERSION")), KeyValue::new("service.instance.id", uuid::Uuid::now_v7().to_string())];
    let own = own.into_iter().filter(|kv| from_environment.get(&kv.key).is_none());
    let resource = Resource::builder().with_attributes(own.collect::<Vec<_>>());
    if named { resource.build() } else { resource.with_service_name("cohort").build() }
}

/// Sends spans from the exporter's own thread, which has no reactor, on the service's runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    /// Where it is, without secrets.
    endpoint: String,
    /// Whether the last spans were not taken.
    refuses: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let sending = self.runtime.spawn(async move { client.send_bytes(request).await });
        let outcome = sending.await.unwrap_or_else(|e| Err(e.into()));
        let refused = match &outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("HTTP status {}", response.status())),
            Err(error) => Some(root(&**error)),
        };
        self.say(refused);
        outcome
    }
}

impl Collector {
    /// Says when the collector begins or ceases to refuse.
    fn say(&self, refused: Option<String>) {
        let before = self.refuses.swap(refused.is_some(), Ordering::Relaxed);
        match refused {
            Some(error) if !before => tracing::warn!(error, endpoint = self.endpoint, "traces are not taken; the service goes on without them"),
            None if before => tracing::info!(endpoint = self.endpoint, "traces are taken again"),
            _ => {}
        }
    }
}

/// The innermost cause of an error; outer ones name URLs.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_comes_before_the_environment() {
        let of = |configured: &str, set: &[(&str, &str)]| {
            let config = Telemetry { otlp_endpoint: configured.into() };
            endpoint(&config, |name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()))
        };
        let (base, traces) = (("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318/"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/x"));
        assert_eq!(of("", &[]), None);
        assert_eq!(of("http://a:4318", &[base, traces]).as_deref(), Some("http://a:4318/v1/traces"));
        assert_eq!(of("", &[base]).as_deref(), Some("http://b:4318/v1/traces"));
        assert_eq!(of("", &[base, traces]).as_deref(), Some("http://c/x"));
        assert_eq!(of("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), None);
        assert_eq!(of("http://a:4318", &[("OTEL_SDK_DISABLED", "true")]), None);
    }
}
