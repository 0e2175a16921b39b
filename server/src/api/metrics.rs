//! Metrics for Prometheus.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::PrometheusHandle;

use super::App;
use super::auth::Tokens;
use super::problem::ApiResult;
use super::status::{aerospike, checkpoint};

const COUNTERS: [(&str, &str); 25] = [
    ("cohort_events_total", "Events that were accepted."),
    ("cohort_bytes_total", "Bytes of records."),
    ("cohort_rekeyed_records_total", "Records that were written anew by user."),
    ("cohort_decode_errors_total", "Records that were not accepted, by reason."),
    ("cohort_late_events_total", "Events that came after a window of theirs had closed."),
    ("cohort_batches_total", "Micro-batches."),
    ("cohort_batch_microseconds_total", "Time spent on micro-batches, in microseconds."),
    ("cohort_results_total", "Results."),
    ("cohort_results_ignored_total", "Results from elsewhere that were read and say nothing here, by why."),
    ("cohort_sink_results_total", "Results that were written."),
    ("cohort_sink_writes_total", "Writes that succeeded."),
    ("cohort_sink_retries_total", "Writes that failed and were tried again."),
    ("cohort_sink_repaired_users_total", "Users told anew as a whole, because a sink held more or fewer segments of them than it should."),
    ("cohort_aerospike_records_total", "Records that were written."),
    ("cohort_aerospike_batches_total", "Batches of records that were sent."),
    ("cohort_aerospike_retries_total", "Records that were not taken, and sent again."),
    ("cohort_aerospike_breaker_opened_total", "Times that the breaker opened."),
    ("cohort_checkpoints_total", "Checkpoints that were published."),
    ("cohort_rules_feed_errors_total", "Times that the feed of rules could not be read or taken over."),
    ("cohort_schema_requests_total", "Schemas that a registry was asked for, by what came of it: found, unknown, failed."),
    ("cohort_schema_waits_total", "Times that a worker began to wait for a schema."),
    ("cohort_http_events_rejected_total", "Records that came over HTTP and were not accepted."),
    ("cohort_http_requests_total", "Requests, by route and status."),
    ("cohort_postgres_connections_total", "Connections of PostgreSQL's clients, by what became of them."),
    ("cohort_postgres_statements_total", "Statements of PostgreSQL's clients, by whether they went well."),
];

const GAUGES: [(&str, &str); 18] = [
    ("cohort_consumer_lag", "Records that are not read yet."),
    ("cohort_watermark_lag_seconds", "How far the watermark lies behind the clock."),
    ("cohort_state_groups", "Groups of a user and a window or pane."),
    ("cohort_state_bytes", "Bytes of memory that state takes."),
    ("cohort_state_spilled_bytes", "Bytes of state in files, as memory was short."),
    ("cohort_memberships", "Users in segments, once for each segment."),
    ("cohort_worker_up", "Whether a worker runs: 1, or 0 when it failed."),
    ("cohort_worker_waits_for_schema", "Whether partitions of a worker are not read until a schema is there: 1, or 0."),
    ("cohort_sink_queue", "Batches of results that wait for the sink."),
    ("cohort_aerospike_breaker_open", "Whether the breaker is open: 1, or 0."),
    ("cohort_checkpoint_seconds", "Time that the last checkpoint took."),
    ("cohort_checkpoint_bytes", "Bytes of the last checkpoint."),
    ("cohort_checkpoint_age_seconds", "Time since the last checkpoint."),
    ("cohort_segments", "Segments, whether they run or not."),
    ("cohort_segment_members", "Members of a segment."),
    ("cohort_log_bytes", "Bytes of events in the embedded log."),
    ("cohort_postgres_connections", "Clients of PostgreSQL's protocol that are connected."),
    ("cohort_rekey_lag_records", "Records of topics that are not written anew by user yet."),
];

const HISTOGRAMS: [(&str, &str); 7] = [
    ("cohort_batch_rows", "Records of a micro-batch."),
    ("cohort_batch_seconds", "Time that a micro-batch took."),
    ("cohort_end_to_end_seconds", "From the arrival of an event to its result in the sink."),
    ("cohort_aerospike_batch_seconds", "Time that a batch of records took."),
    ("cohort_compile_seconds", "Time that compiling the segments took."),
    ("cohort_http_request_seconds", "Time that requests took, by route."),
    ("cohort_http_request_seconds", "Time that requests took, by route."),
];

/// Tells the recorder what each metric is.
pub fn describe() {
    COUNTERS.iter().for_each(|(name, help)| metrics::describe_counter!(*name, *help));
    GAUGES.iter().for_each(|(name, help)| metrics::describe_gauge!(*name, *help));
    HISTOGRAMS.iter().for_each(|(name, help)| metrics::describe_histogram!(*name, *help));
}

/// All metrics, as text.
pub async fn text(State((app, handle, tokens)): State<(App, PrometheusHandle, Arc<Tokens>)>, headers: HeaderMap) -> ApiResult<Response> {
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
            for (why, n) in &p.counts.ignored {
                counter!("cohort_results_ignored_total", "why" => *why, "partition" => p.partition.to_string()).absolute(*n);
            }
            counter!("cohort_batches_total", &label).absolute(p.counts.batches);
            counter!("cohort_batch_microseconds_total", &label).absolute(p.counts.busy_micros);
            counter!("cohort_results_total", &label).absolute(p.counts.results);
            gauge!("cohort_consumer_lag", &label).set(p.lag as f64);
            gauge!("cohort_watermark_lag_seconds", &label).set(p.watermark.map_or(0.0, |t| (now - t) as f64 / 1000.0));
            gauge!("cohort_state_groups", &label).set(p.groups as f64);
            gauge!("cohort_state_bytes", &label).set(p.state_bytes as f64);
            gauge!("cohort_state_spilled_bytes", &label).set(p.spilled_bytes as f64);
            gauge!("cohort_memberships", &label).set(p.members as f64);
        }
        gauge!("cohort_worker_waits_for_schema", "worker" => w.to_string()).set(if worker.waits_for_schema { 1.0 } else { 0.0 });
        gauge!("cohort_worker_up", "worker" => w.to_string()).set(if worker.failed.is_none() { 1.0 } else { 0.0 });
    }
    counter!("cohort_sink_results_total").absolute(outbox.results.load(Ordering::Relaxed));
    counter!("cohort_sink_writes_total").absolute(outbox.writes.load(Ordering::Relaxed));
    counter!("cohort_sink_retries_total").absolute(outbox.retries.load(Ordering::Relaxed));
    counter!("cohort_sink_repaired_users_total").absolute(outbox.repaired.load(Ordering::Relaxed));
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
    for (segment, size) in app.profiles.sizes().into_iter().take(1000) {
        gauge!("cohort_segment_members", "segment" => segment).set(size as f64);
    }
}
