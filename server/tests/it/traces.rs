//! Traces over OTLP, as a collector meets them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use reqwest::Method;

use crate::live::{Live, high_spenders};

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collected {
    /// Starts a collector on an address of its own.
    async fn start() -> (SocketAddr, Collected) {
        let collected = Collected::default();
        let kept = collected.clone();
        let take = move |body: Bytes| async move {
            kept.0.lock().expect("no panic").push(ExportTraceServiceRequest::decode(body).expect("protobuf"));
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/v1/traces", post(take))).await });
        (address, collected)
    }

    fn spans(&self) -> Vec<Span> {
        let all = self.0.lock().expect("no panic");
        all.iter().flat_map(|r| &r.resource_spans).flat_map(|r| &r.scope_spans).flat_map(|s| s.spans.clone()).collect()
    }

    fn resource(&self) -> Vec<KeyValue> {
        let all = self.0.lock().expect("no panic");
        all.iter().flat_map(|r| &r.resource_spans).filter_map(|r| r.resource.clone()).flat_map(|r| r.attributes).collect()
    }

    fn find(&self, name: &str) -> Option<Span> {
        self.spans().into_iter().find(|s| s.name == name)
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    match attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()).and_then(|v| v.value) {
        Some(Attribute::StringValue(text)) => text,
        Some(Attribute::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex")).collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_request_is_a_span_of_its_callers_trace() {
    let data = tempfile::tempdir().expect("a folder");
    let (address, collected) = Collected::start().await;
    let endpoint = format!("telemetry.otlp_endpoint=http://{address}");
    let live = Live::start_with(data.path(), &["source.partitions=1", &endpoint], &[("OTEL_BSP_SCHEDULE_DELAY", "50")]).expect("a service");
    let create = live.request(Method::POST, "/segments").header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let created = live.send(create.header("x-request-id", "my-request").json(&high_spenders())).await;
    assert_eq!(created.status, 201);
    assert_eq!(live.post("/segments/preview", high_spenders()).await.status, 200);
    assert_eq!(live.get("/segments/none").await.status, 404);
    let names = ["POST /api/v1/segments", "compile", "catalog write", "deploy", "preview", "GET /api/v1/segments/{id}"];
    live.until("the spans", Duration::from_secs(5), async || names.iter().all(|name| collected.find(name).is_some())).await;

    let request = collected.find("POST /api/v1/segments").expect("a span");
    assert_eq!((request.trace_id.clone(), request.parent_span_id), (bytes(TRACE), bytes(PARENT)));
    assert_eq!(request.kind, 2, "a server's");
    for (key, value) in
        [("http.request.method", "POST"), ("http.route", "/api/v1/segments"), ("http.response.status_code", "201"), ("request_id", "my-request")]
    {
        assert_eq!(attribute(&request.attributes, key), value, "{key}");
    }
    for name in ["compile", "catalog write", "deploy"] {
        let of_request = collected.spans().into_iter().filter(|s| s.trace_id == request.trace_id).find(|s| s.name == name).expect(name);
        assert_eq!(of_request.parent_span_id, request.span_id, "{name}");
    }
    let missing = collected.find("GET /api/v1/segments/{id}").expect("a span");
    assert_eq!((attribute(&missing.attributes, "http.response.status_code"), missing.parent_span_id.is_empty()), ("404".into(), true));
    assert_eq!(attribute(&collected.resource(), "service.name"), "cohort");
    assert_eq!(attribute(&collected.resource(), "service.version"), env!("CARGO_PKG_VERSION"));
}

/// The usual variable of the environment is enough, and what is left is sent when the service stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sends_what_is_left() {
    let data = tempfile::tempdir().expect("a folder");
    let (address, collected) = Collected::start().await;
    let endpoint = format!("http://{address}/");
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_SERVICE_NAME", "mine"), ("OTEL_BSP_SCHEDULE_DELAY", "600000")];
    let mut live = Live::start_with(data.path(), &["source.partitions=1"], &env).expect("a service");
    assert_eq!(live.get("/status").await.status, 200);
    assert!(collected.find("GET /api/v1/status").is_none());
    let (ended, _) = live.terminate();
    assert!(ended.success());
    assert!(collected.find("GET /api/v1/status").is_some());
    assert_eq!(attribute(&collected.resource(), "service.name"), "mine");
}

/// A collector that refuses connections, and one that never answers.
#[tokio::test]
async fn a_collector_that_is_gone_disturbs_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    for address in [silent.local_addr().expect("an address"), gone] {
        let data = tempfile::tempdir().expect("a folder");
        let endpoint = format!("telemetry.otlp_endpoint=http://user:hidden@{address}");
        let mut live = Live::start_with(data.path(), &["source.partitions=1", &endpoint], &[("OTEL_BSP_SCHEDULE_DELAY", "20")]).expect("a service");
        let started = Instant::now();
        // More than the queue of spans takes.
        for _ in 0..60 {
            futures::future::join_all((0..50).map(|_| live.get("/segments"))).await.iter().for_each(|a| assert_eq!(a.status, 200));
        }
        assert!(started.elapsed() < Duration::from_secs(15), "{:?} for 3,000 requests", started.elapsed());
        let (ended, took) = live.terminate();
        assert!(ended.success() && took < Duration::from_secs(10), "{ended} after {took:?}");
        live.until("its last words", Duration::from_secs(2), async || live.said().contains("stopping")).await;
        let said = live.said();
        let complaints = said.lines().filter(|l| l.contains("WARN") || l.contains("ERROR")).count();
        assert!(complaints <= 1 && !said.contains("hidden"), "{said}");
        if address == gone {
            assert!(said.contains("traces are not taken") && said.contains("refused"), "{said}");
        }
    }
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    let data = tempfile::tempdir().expect("a folder");
    for endpoint in ["localhost:4318", "http://"] {
        let said = Live::start_with(data.path(), &[&format!("telemetry.otlp_endpoint={endpoint}")], &[]).err().unwrap_or_default();
        assert!(said.contains("telemetry.otlp_endpoint: "), "{endpoint}: {said}");
    }
}
