//! How the service stands and how it is configured: for people, and for orchestrators.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use cohort_engine::worker::{PartitionStatus, WorkerStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::auth::Caller;
use super::extract::{Query, at_most};
use super::problem::{ApiResult, Problem};
use crate::config::{Role, SourceKind};
use crate::service::results::Latency;
use crate::service::samples::{self, Sample};

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
    pub(super) published: u64,
    at: Option<i64>,
    pub(super) age_ms: Option<i64>,
    /// How often there is to be one.
    interval_ms: i64,
    pub(super) bytes: u64,
    pub(super) millis: u64,
    /// Why the last one could not be written.
    error: Option<String>,
}

/// Where events come from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    kind: SourceKind,
    /// Whether events are evaluated elsewhere, and their results read here.
    evaluated_elsewhere: bool,
    /// Results from elsewhere that were read and say nothing here, by why: the segment is unknown, or a newer window known.
    #[schema(value_type = BTreeMap<String, u64>)]
    ignored: BTreeMap<&'static str, u64>,
    topics: Vec<String>,
    /// Why it cannot be read now.
    error: Option<String>,
}

/// Which database the catalog is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatalogKind {
    /// A file of this process.
    Sqlite,
    /// Shared.
    Postgres,
}

/// Where segments are kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatalogStatus {
    kind: CatalogKind,
    /// Why it could not be read when that was last tried.
    error: Option<String>,
    /// When it last answered, ms since the epoch.
    read_at: i64,
}

/// How time passes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeStatus {
    out_of_orderness_ms: i64,
    allowed_lateness_ms: i64,
    idle_timeout_ms: i64,
    max_future_ms: i64,
}

/// What a problem is with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Component {
    /// Where events come from.
    Source,
    /// Where results go.
    Sink,
    /// Saving state.
    Checkpoint,
    /// Where segments are kept.
    Catalog,
    /// Evaluation.
    Worker,
}

/// Something that is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trouble {
    component: Component,
    detail: String,
    /// When it was last well, ms since the epoch, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<i64>,
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
    pub(super) records: u64,
    pub(super) batches: u64,
    /// Records that were not taken, and sent again.
    pub(super) retries: u64,
    /// Times that the breaker opened.
    pub(super) opened: u64,
    /// Whether it is open.
    pub(super) open: bool,
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
    source: SourceStatus,
    checkpoint: CheckpointStatus,
    sink: SinkStatus,
    catalog: CatalogStatus,
    time: TimeStatus,
    /// Dead letters since the start, by reason, with those that came over HTTP.
    #[schema(value_type = BTreeMap<String, u64>)]
    dead_letters: BTreeMap<&'static str, u64>,
    /// From the arrival of events to their results in the sink, over the last one to two minutes; none where there were
    /// no results.
    latency_ms: Option<Latency>,
    /// Bytes of events that are kept.
    log_bytes: u64,
    /// Other members of the group.
    members: Vec<OtherMember>,
    /// What is wrong.
    problems: Vec<Trouble>,
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
        waits_for: match app.config.source.kind {
            SourceKind::Results => "nothing: windows are evaluated elsewhere".into(),
            _ => waits_for(p, app.config.time.idle_timeout.0),
        },
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

fn problems(app: &App) -> Vec<Trouble> {
    let trouble = |component, since: Option<i64>| move |detail: String| Trouble { component, detail, since };
    let mut problems = vec![];
    for worker in app.runtime.workers() {
        problems.extend(worker.source_error.map(trouble(Component::Source, None)));
        problems.extend(worker.failed.map(trouble(Component::Worker, None)));
    }
    let (outbox, checkpoint) = (app.runtime.outbox(), checkpoint(app));
    let saved_at = checkpoint.at.unwrap_or(app.started_at);
    problems.extend(app.rekey.as_ref().and_then(|rekey| rekey.error()).map(trouble(Component::Source, None)));
    problems.extend(outbox.sink_error().map(trouble(Component::Sink, None)));
    problems.extend(checkpoint.error.map(trouble(Component::Checkpoint, Some(saved_at))));
    let age = (app.clock)() - saved_at;
    if age > checkpoint.interval_ms * 3 + 30_000 {
        problems.push(trouble(Component::Checkpoint, Some(saved_at))(format!("the last checkpoint is {} s old", age / 1000)));
    }
    let catalog = catalog(app);
    problems.extend(catalog.error.map(trouble(Component::Catalog, Some(catalog.read_at))));
    problems
}

/// The partition whose watermark is ahead of the clock, if any is: some event's time was, and events of the present are late there.
fn ahead(app: &App) -> Option<Trouble> {
    let now = (app.clock)();
    let partitions = app.runtime.workers().into_iter().flat_map(|worker| worker.partitions);
    let (ahead, partition) = partitions.filter_map(|p| Some((p.watermark? - now, p.partition))).max()?;
    let seconds = ahead / 1_000 + 1;
    let detail = format!(
        "the watermark of partition {partition} is {seconds} s ahead of the clock, by an event's time: events of the present are late there until then; \
         time.max_future says how far ahead events may be"
    );
    (ahead > 0).then_some(Trouble { component: Component::Source, detail, since: None })
}

fn catalog(app: &App) -> CatalogStatus {
    let state = app.catalog_state.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let kind = if app.config.catalog.url.starts_with("sqlite:") { CatalogKind::Sqlite } else { CatalogKind::Postgres };
    CatalogStatus { kind, error: state.error, read_at: state.read_at }
}

pub(super) fn checkpoint(app: &App) -> CheckpointStatus {
    let outbox = app.runtime.outbox();
    let at = Some(outbox.checkpoint_at.load(Ordering::Relaxed) as i64).filter(|t| *t > 0);
    CheckpointStatus {
        published: outbox.checkpoints.load(Ordering::Relaxed),
        at,
        age_ms: at.map(|t| (app.clock)() - t),
        interval_ms: app.config.checkpoint.interval.0,
        error: outbox.checkpoint_error(),
        bytes: outbox.checkpoint_bytes.load(Ordering::Relaxed),
        millis: outbox.checkpoint_millis.load(Ordering::Relaxed),
    }
}

pub(super) fn aerospike(app: &App) -> Option<AerospikeCounts> {
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

fn ignored(workers: &[WorkerStatus]) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    for (why, n) in workers.iter().flat_map(|w| &w.partitions).flat_map(|p| &p.counts.ignored) {
        *all.entry(*why).or_default() += n;
    }
    all
}

/// Workers, partitions, watermarks, checkpoint and sink.
#[utoipa::path(get, path = "/status", operation_id = "getStatus", tag = "status", responses((status = 200, body = ServiceStatus)))]
pub async fn status(State(app): State<App>) -> Json<ServiceStatus> {
    let (current, outbox, workers) = (app.current.load_full(), app.runtime.outbox(), app.runtime.workers());
    let partitions = workers.iter().enumerate().flat_map(|(w, s)| s.partitions.iter().map(move |p| (w, p)));
    let mut partitions: Vec<Partition> = partitions.map(|(w, p)| partition(&app, w, p)).collect();
    // One that goes from worker to worker is told by both for a moment; the one who has read further has it.
    partitions.sort_by_key(|p| (p.partition, p.lag));
    partitions.dedup_by_key(|p| p.partition);
    let time = &app.config.time;
    Json(ServiceStatus {
        version: env!("CARGO_PKG_VERSION").into(),
        started_at: app.started_at,
        now: (app.clock)(),
        revision: current.revision,
        segments: current.segments.len(),
        running: current.segments.iter().filter(|s| s.active).count(),
        workers: workers.len(),
        partitions,
        source: SourceStatus {
            kind: app.config.source.kind,
            evaluated_elsewhere: app.config.source.kind == SourceKind::Results,
            ignored: ignored(&workers),
            topics: app.config.source.topics.clone(),
            error: workers.iter().find_map(|w| w.source_error.clone()),
        },
        catalog: catalog(&app),
        time: TimeStatus {
            out_of_orderness_ms: time.out_of_orderness.0,
            allowed_lateness_ms: time.allowed_lateness.0,
            idle_timeout_ms: time.idle_timeout.0,
            max_future_ms: time.max_future.0,
        },
        dead_letters: app.dead_letters_by_reason(&workers),
        latency_ms: app.results.latency((app.clock)()),
        checkpoint: checkpoint(&app),
        sink: SinkStatus {
            kind: app.config.all_sinks().iter().map(|s| format!("{:?}", s.kind).to_lowercase()).collect::<Vec<_>>().join(", "),
            results: outbox.results.load(Ordering::Relaxed),
            writes: outbox.writes.load(Ordering::Relaxed),
            retries: outbox.retries.load(Ordering::Relaxed),
            queue: app.runtime.queued(),
            error: outbox.sink_error(),
            members_told: outbox.members_told.load(Ordering::Relaxed),
            aerospike: aerospike(&app),
        },
        members: app.members.others().iter().map(|m| OtherMember { url: m.url.clone(), partitions: m.partitions.clone() }).collect(),
        log_bytes: app.log.bytes(),
        problems: problems(&app).into_iter().chain(ahead(&app)).collect(),
    })
}

/// How far back to look.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Back {
    /// Minutes, up to 60; 15 by default.
    minutes: Option<usize>,
}

/// How the service stood of late.
#[derive(Debug, Serialize, ToSchema)]
pub struct StatusHistory {
    /// How far samples lie apart, ms.
    every: u64,
    /// The samples, oldest first.
    points: Vec<Sample>,
}

/// How the service stood in the last minutes, since it started.
#[utoipa::path(get, path = "/status/history", operation_id = "getStatusHistory", tag = "status", params(Back), responses((status = 200, body = StatusHistory), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn history(State(app): State<App>, Query(back): Query<Back>) -> ApiResult<Json<StatusHistory>> {
    let minutes = at_most("minutes", back.minutes, 15, 60)?;
    let points = app.samples.since((app.clock)() - minutes as i64 * 60_000);
    Ok(Json(StatusHistory { every: samples::EVERY.as_millis() as u64, points }))
}

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    /// The name of the token; `local` where there are none.
    name: String,
    role: Role,
    /// Whether the service wants a token.
    tokens: bool,
}

/// Who calls, and what they may do.
#[utoipa::path(get, path = "/me", operation_id = "getMe", tag = "status", responses((status = 200, body = Me), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn me(State(app): State<App>, Extension(caller): Extension<Caller>) -> Json<Me> {
    Json(Me { name: caller.name, role: caller.role, tokens: !app.config.server.tokens.is_empty() })
}

/// The configuration in force, by section and key as in its file, without secrets and where they are kept.
#[utoipa::path(get, path = "/config", operation_id = "getConfig", tag = "status", responses((status = 200, body = Object, example = json!({"server": {"listen": "127.0.0.1:8080"}, "time": {"out_of_orderness": "30s"}})), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn config(State(app): State<App>) -> ApiResult<Json<Value>> {
    let mut shown = app.config.redacted();
    for token in &mut shown.server.tokens {
        (token.secret_env, token.secret_file) = (None, None);
    }
    serde_json::to_value(shown).map(Json).map_err(|e| Problem::internal(&e))
}

/// How long a store may take to be reached for the first time.
const SINK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// Whether the service can do its work: the catalog answers, workers run, the sink takes results, state is saved.
pub async fn ready(State(app): State<App>) -> Result<&'static str, Problem> {
    let mut problems: Vec<String> = problems(&app).into_iter().map(|p| p.detail).collect();
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
