//! How the service stands: for people, for orchestrators, and for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cohort_engine::worker::PartitionStatus;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::App;
use super::auth::Tokens;
use super::problem::{ApiResult, Problem};

/// A partition. Times are milliseconds since the epoch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    partition: u32,
    worker: usize,
    /// Revision of the catalog that runs.
    revision: i64,
    /// Offset of the next record, by log.
    #[schema(value_type = Object)]
    offsets: Value,
    /// Records not read yet.
    lag: u64,
    newest_event: Option<i64>,
    watermark: Option<i64>,
    /// Windows are closed up to then.
    closed: Option<i64>,
    /// End of the next window to close.
    next_close: Option<i64>,
    /// What that window waits for.
    waits_for: String,
    idle: bool,
    groups: usize,
    state_bytes: usize,
    members: usize,
    evaluated_at: i64,
    events: u64,
    dead_letters: u64,
    results: u64,
}

/// The last checkpoint.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    published: u64,
    at: Option<i64>,
    age_ms: Option<i64>,
    bytes: u64,
    millis: u64,
}

/// The sink.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SinkStatus {
    kind: String,
    results: u64,
    writes: u64,
    retries: u64,
    queue: u64,
    error: Option<String>,
    /// Memberships that were told as a whole, after partitions were restored.
    members_told: u64,
    /// Aerospike, if that is among the sinks.
    #[serde(skip_serializing_if = "Option::is_none")]
    aerospike: Option<AerospikeCounts>,
}

/// What was written to Aerospike.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AerospikeCounts {
    records: u64,
    batches: u64,
    /// Records that were not taken, and sent again.
    retries: u64,
    /// Times that the breaker opened.
    opened: u64,
    /// Whether it is open.
    open: bool,
}

/// Another member of the consumer group.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtherMember {
    url: String,
    partitions: Vec<u32>,
}

/// How the service stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    version: String,
    started_at: i64,
    now: i64,
    /// Revision of the catalog.
    revision: i64,
    segments: usize,
    running: usize,
    workers: usize,
    partitions: Vec<Partition>,
    checkpoint: CheckpointStatus,
    sink: SinkStatus,
    /// Bytes of events that are kept.
    log_bytes: u64,
    /// Other members of the group.
    members: Vec<OtherMember>,
    /// What is wrong.
    problems: Vec<String>,
}

fn waits_for(p: &PartitionStatus, idle_ms: i64) -> String {
    let seconds = |ms: i64| format!("{:.1} s", ms as f64 / 1000.0);
    match (p.next_close, p.watermark) {
        (None, _) => "no window is open".into(),
        (Some(_), None) => "no event has come".into(),
        (Some(end), Some(watermark)) if watermark < end => {
            format!("events that are {} newer, or {} without any", seconds(end - watermark), seconds(idle_ms))
        }
        _ => "other partitions of its worker, which are behind".into(),
    }
}

fn partition(app: &App, worker: usize, p: &PartitionStatus) -> Partition {
    let offsets: serde_json::Map<String, Value> = p.positions.iter().map(|((log, _), offset)| (log.to_string(), json!(offset))).collect();
    Partition {
        partition: p.partition,
        worker,
        revision: p.revision,
        offsets: Value::Object(offsets),
        lag: p.lag,
        newest_event: p.newest,
        watermark: p.watermark,
        closed: p.closed,
        next_close: p.next_close,
        waits_for: waits_for(p, app.config.time.idle_timeout.0),
        idle: p.idle,
        groups: p.groups,
        state_bytes: p.state_bytes,
        members: p.members,
        evaluated_at: p.evaluated_at,
        events: p.counts.events.values().sum(),
        dead_letters: p.counts.dead.values().sum(),
        results: p.counts.results,
    }
}

fn problems(app: &App) -> Vec<String> {
    let mut problems: Vec<String> = app.runtime.workers().into_iter().flat_map(|w| [w.source_error, w.failed]).flatten().collect();
    problems.extend(app.runtime.outbox().error());
    problems.extend(app.rekey.as_ref().and_then(|rekey| rekey.error()));
    let age = checkpoint(app).age_ms.unwrap_or((app.clock)() - app.started_at);
    let late = app.config.checkpoint.interval.0 * 3 + 30_000;
    if age > late {
        problems.push(format!("the last checkpoint is {} s old", age / 1000));
    }
    problems
}

fn checkpoint(app: &App) -> CheckpointStatus {
    let outbox = app.runtime.outbox();
    let at = Some(outbox.checkpoint_at.load(Ordering::Relaxed) as i64).filter(|t| *t > 0);
    CheckpointStatus {
        published: outbox.checkpoints.load(Ordering::Relaxed),
        at,
        age_ms: at.map(|t| (app.clock)() - t),
        bytes: outbox.checkpoint_bytes.load(Ordering::Relaxed),
        millis: outbox.checkpoint_millis.load(Ordering::Relaxed),
    }
}

fn aerospike(app: &App) -> Option<AerospikeCounts> {
    let (_, status) = app.aerospike.as_ref()?;
    let n = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Some(AerospikeCounts {
        records: n(&status.records),
        batches: n(&status.batches),
        retries: n(&status.retries),
        opened: n(&status.opened),
        open: n(&status.open) == 1,
    })
}

/// Workers, partitions, watermarks, checkpoint and sink.
#[utoipa::path(get, path = "/status", tag = "status", responses((status = 200, body = ServiceStatus)))]
pub async fn status(State(app): State<App>) -> Json<ServiceStatus> {
    let (current, outbox, workers) = (app.current.load_full(), app.runtime.outbox(), app.runtime.workers());
    let partitions = workers.iter().enumerate().flat_map(|(w, s)| s.partitions.iter().map(move |p| (w, p)));
    let mut partitions: Vec<Partition> = partitions.map(|(w, p)| partition(&app, w, p)).collect();
    partitions.sort_by_key(|p| p.partition);
    Json(ServiceStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: app.started_at,
        now: (app.clock)(),
        revision: current.revision,
        segments: current.segments.len(),
        running: current.segments.iter().filter(|s| s.active).count(),
        workers: workers.len(),
        partitions,
        checkpoint: checkpoint(&app),
        sink: SinkStatus {
            kind: app.config.all_sinks().iter().map(|s| format!("{:?}", s.kind).to_lowercase()).collect::<Vec<_>>().join(", "),
            results: outbox.results.load(Ordering::Relaxed),
            writes: outbox.writes.load(Ordering::Relaxed),
            retries: outbox.retries.load(Ordering::Relaxed),
            queue: app.runtime.queued(),
            error: outbox.error(),
            members_told: outbox.members_told.load(Ordering::Relaxed),
            aerospike: aerospike(&app),
        },
        members: app.members.others().iter().map(|m| OtherMember { url: m.url.clone(), partitions: m.partitions.clone() }).collect(),
        log_bytes: app.log.bytes(),
        problems: problems(&app),
    })
}

/// How long a store may take to be reached for the first time.
const SINK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Whether the service can do its work: the catalog answers, workers run, the sink takes results, state is saved.
pub async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    let mut problems = problems(&app);
    if let Err(error) = app.catalog.ping().await {
        problems.push(error.to_string());
    }
    if let Some((aerospike, _)) = &app.aerospike {
        match tokio::time::timeout(SINK_PATIENCE, aerospike.client()).await {
            Ok(Ok(_)) => {}
            Ok(Err(problem)) => problems.push(problem.to_string()),
            Err(_) => problems.push(format!("aerospike {}: no host answers", aerospike.options.hosts)),
        }
    }
    if problems.is_empty() { Ok("ready\n") } else { Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", problems.join("; "))) }
}

/// Metrics for Prometheus.
pub async fn metrics(State((app, handle, tokens)): State<(App, PrometheusHandle, Arc<Tokens>)>, headers: HeaderMap) -> ApiResult<Response> {
    tokens.caller(headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()))?;
    observe(&app);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render()).into_response())
}

/// Brings gauges and counters that workers keep themselves up to date.
fn observe(app: &App) {
    use metrics::{counter, gauge};
    let (now, outbox) = ((app.clock)(), app.runtime.outbox());
    for (w, worker) in app.runtime.workers().iter().enumerate() {
        for p in &worker.partitions {
            let label = [("partition", p.partition.to_string())];
            for (topic, n) in &p.counts.events {
                counter!("cohort_events_total", "topic" => topic.to_string(), "partition" => p.partition.to_string()).absolute(*n);
            }
            for (topic, n) in &p.counts.bytes {
                counter!("cohort_bytes_total", "topic" => topic.to_string(), "partition" => p.partition.to_string()).absolute(*n);
            }
            for ((topic, reason), n) in &p.counts.dead {
                let labels = [("topic", topic.to_string()), ("reason", reason.as_str().to_string()), ("partition", p.partition.to_string())];
                let name = if reason.as_str() == "late" { "cohort_late_events_total" } else { "cohort_decode_errors_total" };
                counter!(name, &labels).absolute(*n);
            }
            counter!("cohort_batches_total", &label).absolute(p.counts.batches);
            counter!("cohort_batch_microseconds_total", &label).absolute(p.counts.busy_micros);
            counter!("cohort_results_total", &label).absolute(p.counts.results);
            gauge!("cohort_consumer_lag", &label).set(p.lag as f64);
            gauge!("cohort_watermark_lag_seconds", &label).set(p.watermark.map_or(0.0, |t| (now - t) as f64 / 1000.0));
            gauge!("cohort_state_groups", &label).set(p.groups as f64);
            gauge!("cohort_state_bytes", &label).set(p.state_bytes as f64);
            gauge!("cohort_memberships", &label).set(p.members as f64);
        }
        gauge!("cohort_worker_up", "worker" => w.to_string()).set(if worker.failed.is_none() { 1.0 } else { 0.0 });
    }
    counter!("cohort_sink_results_total").absolute(outbox.results.load(Ordering::Relaxed));
    counter!("cohort_sink_writes_total").absolute(outbox.writes.load(Ordering::Relaxed));
    counter!("cohort_sink_retries_total").absolute(outbox.retries.load(Ordering::Relaxed));
    if let Some(a) = aerospike(app) {
        counter!("cohort_aerospike_records_total").absolute(a.records);
        counter!("cohort_aerospike_batches_total").absolute(a.batches);
        counter!("cohort_aerospike_retries_total").absolute(a.retries);
        counter!("cohort_aerospike_breaker_opened_total").absolute(a.opened);
        gauge!("cohort_aerospike_breaker_open").set(if a.open { 1.0 } else { 0.0 });
    }
    gauge!("cohort_sink_queue").set(app.runtime.queued() as f64);
    let checkpoint = checkpoint(app);
    counter!("cohort_checkpoints_total").absolute(checkpoint.published);
    gauge!("cohort_checkpoint_seconds").set(checkpoint.millis as f64 / 1000.0);
    gauge!("cohort_checkpoint_bytes").set(checkpoint.bytes as f64);
    gauge!("cohort_checkpoint_age_seconds").set(checkpoint.age_ms.map_or(0.0, |ms| ms as f64 / 1000.0));
    let current = app.current.load();
    gauge!("cohort_segments").set(current.segments.len() as f64);
    if let Some(rekey) = &app.rekey {
        counter!("cohort_rekeyed_records_total").absolute(rekey.records.load(Ordering::Relaxed));
        gauge!("cohort_rekey_lag_records").set(rekey.lag.load(Ordering::Relaxed) as f64);
    }
    gauge!("cohort_log_bytes").set(app.log.bytes() as f64);
    for (segment, size) in app.profiles.sizes().unwrap_or_default().into_iter().take(1000) {
        gauge!("cohort_segment_members", "segment" => segment).set(size as f64);
    }
}
