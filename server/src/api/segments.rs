//! Segments: what there is, what they mean, who is in them.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use cohort_compiler::SourceKind;
use cohort_compiler::emit::Emit;
use cohort_compiler::statement::Statement;
use cohort_connectors::embedded::profiles::Profile;
use cohort_connectors::file::sink::csv_field;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::auth::Caller;
use super::extract::{Body, Path, Query, at_most};
use super::problem::{ApiResult, Problem};
use crate::catalog::{Change, Edit, Stored};
use crate::config::Role;
use crate::service::segments::{Current, draft, source};

/// A rule of a segment, as the API takes it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"eventType": "orders", "attribute": "sum", "operator": "GT", "value": 500}))]
pub struct Rule {
    /// Type of event; `orders`, `clicks`, `views`, `installs` and `addToCart` are other names of those in events.
    event_type: String,
    /// `count` or `sum`.
    attribute: String,
    /// `GT`, `GTE`, `LT`, `LTE`, `EQ` or `NEQ`.
    operator: String,
    /// What the aggregate is compared with.
    value: f64,
    /// The rule's own window.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_minutes: Option<i64>,
}

/// A dependency of a derived segment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// Id or name of the segment that is read.
    independent_segment_id: String,
    /// `AND`, `OR` or `NOT`.
    logical_operator: String,
}

/// How a segment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = SegmentType)]
pub enum Kind {
    /// As rules.
    Independent,
    /// As a combination of segments.
    Derived,
    /// As SQL.
    Sql,
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match text.to_uppercase().as_str() {
            "INDEPENDENT" => Ok(Kind::Independent),
            "DERIVED" => Ok(Kind::Derived),
            "SQL" => Ok(Kind::Sql),
            _ => Err(serde::de::Error::custom(format!("{text:?} is not one of INDEPENDENT, DERIVED, SQL"))),
        }
    }
}

impl Kind {
    fn of(stored: &Stored) -> Kind {
        let is = |kind: &str| stored.body["type"].as_str().is_some_and(|t| t.eq_ignore_ascii_case(kind));
        match stored.body.get("sql") {
            Some(_) => Kind::Sql,
            None if is("DERIVED") => Kind::Derived,
            None => Kind::Independent,
        }
    }
}

/// What a segment is made from. As SQL, it has only a type.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SegmentForm)]
pub struct Form {
    r#type: Kind,
    /// The window of all its rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    window_minutes: Option<i64>,
    /// Rules that must all hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<Rule>>,
    /// Segments that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<Vec<Dependency>>,
    /// How dependencies combine, where they are not simply taken from left to right.
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_expression: Option<String>,
}

/// A segment to create: by rules, by dependencies, or by SQL.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"name": "High Spenders", "type": "INDEPENDENT", "windowMinutes": 5, "rules": [{"eventType": "orders", "attribute": "sum", "operator": "GT", "value": 500}]}))]
pub struct SegmentInput {
    /// Its name, which results carry.
    name: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// `INDEPENDENT` or `DERIVED`.
    r#type: Option<Kind>,
    /// The window of all its rules.
    window_minutes: Option<i64>,
    /// Rules that must all hold.
    rules: Option<Vec<Rule>>,
    /// Segments that it reads.
    dependencies: Option<Vec<Dependency>>,
    /// How dependencies combine: names or ids with AND, OR, NOT and parentheses.
    logical_expression: Option<String>,
    /// A query, or a CREATE SEGMENT statement, instead of all that; passed over beside a type with rules or
    /// dependencies, so that an answer can be sent back.
    sql: Option<String>,
    /// Whether it runs at once; it does by default. Only where it is created.
    active: Option<bool>,
}

/// How new a segment's members are.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// The least watermark of all partitions, ms since the epoch.
    watermark: Option<i64>,
    /// When a batch was last evaluated.
    evaluated_at: Option<i64>,
    /// Batches of results that wait for the sink.
    sink_queue: u64,
}

/// A segment as it is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Segment {
    id: String,
    name: String,
    #[serde(flatten)]
    #[schema(value_type = Form)]
    form: Map<String, Value>,
    description: String,
    /// The SQL that it is.
    sql: String,
    active: bool,
    /// When it emits, if it runs.
    emit: Option<EmitMode>,
    /// Why it emits then.
    emit_reason: Option<String>,
    window: Option<String>,
    version: i64,
    created_at: i64,
    updated_at: i64,
    updated_by: String,
    /// Members now.
    size: u64,
    /// Users who entered in the last five minutes.
    entered: u64,
    /// Users who exited in the last five minutes.
    exited: u64,
    /// Members at the end of each of the last 30 minutes, oldest first; at the end now.
    trend: Vec<u64>,
    /// Names of the segments that it reads.
    reads: Vec<String>,
    /// Names of the running segments that read it.
    read_by: Vec<String>,
    freshness: Freshness,
    /// What may surprise.
    warnings: Vec<String>,
}

/// When a segment emits results.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum EmitMode {
    /// As soon as a user qualifies, or does so no longer.
    Changes,
    /// When a window closes.
    Final,
}

impl From<Emit> for EmitMode {
    fn from(emit: Emit) -> Self {
        match emit {
            Emit::Changes => EmitMode::Changes,
            Emit::Final => EmitMode::Final,
        }
    }
}

const MINUTE: i64 = 60_000;
/// Minutes of a trend.
const TREND: i64 = 30;
/// Minutes of which those who entered and exited are counted.
const RECENT: i64 = 5;

/// What happened to a segment of late: who entered and exited, and its size minute by minute.
fn movement(app: &App, name: &str, size: u64) -> ApiResult<(u64, u64, Vec<u64>)> {
    let now = (app.clock)();
    let this = now - now.rem_euclid(MINUTE);
    let first = this - (TREND - 1) * MINUTE;
    let activity = app.profiles.activity(name, first, this + MINUTE)?;
    let recent = || activity.iter().filter(|a| a.minute > this - RECENT * MINUTE);
    let mut last = activity.first().map_or(size, |a| (a.size + a.exited).saturating_sub(a.entered));
    let mut trend = Vec::with_capacity(TREND as usize);
    let mut next = activity.iter().peekable();
    for minute in (0..TREND).map(|n| first + n * MINUTE) {
        if let Some(a) = next.next_if(|a| a.minute <= minute) {
            last = a.size;
        }
        trend.push(last);
    }
    Ok((recent().map(|a| a.entered).sum(), recent().map(|a| a.exited).sum(), trend))
}

/// Names of the segments that one reads, whether it runs or not.
fn reads(current: &Current, stored: &Stored) -> Vec<String> {
    if current.compiled(&stored.name).is_some() {
        return current.reads_of(&stored.name);
    }
    let named = |name: &String| current.find(name).map(|s| s.name.clone());
    let names: BTreeSet<String> = tables(stored).iter().filter_map(named).filter(|name| *name != stored.name).collect();
    names.into_iter().collect()
}

/// The tables that the query of a segment reads.
fn tables(stored: &Stored) -> Vec<String> {
    let source = source(&stored.id, &stored.name, &stored.body);
    let text = match source.kind {
        SourceKind::Sql => source.text,
        SourceKind::Json => {
            let queries = cohort_compiler::rule::parse(&source.text).0;
            queries.into_iter().find(|s| !s.hidden).map_or(String::new(), |s| format!("CREATE SEGMENT x AS {}", s.query))
        }
    };
    let statements = cohort_compiler::statement::parse(&text).0;
    let tables = statements.iter().map(|p| if let Statement::Create(c) = &p.statement { cohort_compiler::bind::tables(&c.query) } else { vec![] });
    tables.flatten().map(|(name, _)| name).collect()
}

impl Segment {
    fn new(app: &App, current: &Current, stored: &Stored, freshness: Freshness) -> ApiResult<Self> {
        let compiled = current.compiled(&stored.name).map(|i| &current.program.segments[i]);
        let mut form = stored.body.as_object().cloned().unwrap_or_default();
        let own = form.shift_remove("sql").and_then(|v| v.as_str().map(String::from));
        form.shift_remove("name");
        form.insert("type".into(), json!(Kind::of(stored)));
        let sql = own.or_else(|| compiled.map(|c| c.sql.clone())).unwrap_or_else(|| generated_sql(stored));
        let size = app.profiles.size(&stored.name);
        let (entered, exited, trend) = movement(app, &stored.name, size)?;
        Ok(Segment {
            id: stored.id.clone(),
            name: stored.name.clone(),
            form,
            description: stored.description.clone(),
            sql,
            active: stored.active,
            emit: compiled.map(|c| c.emit.into()),
            emit_reason: compiled.map(|c| c.emit_reason.clone()),
            window: compiled.map(|c| c.window.to_string()),
            version: stored.version,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            updated_by: stored.updated_by.clone(),
            size,
            entered,
            exited,
            trend,
            reads: reads(current, stored),
            read_by: current.readers_of(&stored.name),
            freshness,
            warnings: compiled.map_or_else(Vec::new, |c| warnings(app, c)),
        })
    }
}

/// The SQL of rules that do not run now.
fn generated_sql(stored: &Stored) -> String {
    let (segments, _) = cohort_compiler::rule::parse(&source(&stored.id, &stored.name, &stored.body).text);
    segments.into_iter().find(|s| !s.hidden).map(|s| s.query).unwrap_or_default()
}

fn freshness(app: &App) -> Freshness {
    let workers = app.runtime.workers();
    let partitions = || workers.iter().flat_map(|w| &w.partitions);
    Freshness {
        watermark: partitions().filter_map(|p| p.watermark).min(),
        evaluated_at: partitions().map(|p| p.evaluated_at).max(),
        sink_queue: app.runtime.queued(),
    }
}

pub(super) fn warnings(app: &App, segment: &cohort_compiler::program::Segment) -> Vec<String> {
    let mut warnings = vec![];
    let (window, ttl) = (segment.window.size(), app.config.sink.ttl.0);
    if segment.emit == Emit::Final {
        warnings.push(format!("members are known only when a window closes: {}", segment.emit_reason));
    }
    if segment.window.step() > ttl {
        warnings.push(format!("profiles expire {} s after their last write, before a window of {} s closes; see sink.ttl", ttl / 1000, window / 1000));
    }
    if segment.backfill_ms > 0 && app.needs_events("backfill reads").is_err() {
        warnings.push("backfill is of no use here, as events are evaluated elsewhere".into());
    } else if segment.backfill_ms > app.config.source.retention.0 {
        warnings.push("backfill reaches further back than events are kept; see source.retention".into());
    }
    warnings
}

/// What segments are listed by.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sort {
    /// Their names, whatever the case.
    Name,
    /// How many members they have.
    Size,
    /// When they were last changed.
    UpdatedAt,
    /// When they were created.
    CreatedAt,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The least.
    Asc,
    /// The greatest.
    Desc,
}

/// Which segments to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Only those that run, or do not.
    active: Option<bool>,
    /// Only those that are written so.
    r#type: Option<Kind>,
    /// Text that the name or description has.
    q: Option<String>,
    /// In the order of their creation by default.
    sort: Option<Sort>,
    /// The least first by default.
    order: Option<Order>,
    /// Page, from 0.
    page: Option<usize>,
    /// Segments a page, at most 1000; 50 by default.
    size: Option<usize>,
}

/// A page of segments.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    items: Vec<Segment>,
    page: usize,
    size: usize,
    total: usize,
}

/// Lists segments.
#[utoipa::path(get, path = "/segments", operation_id = "listSegments", tag = "segments", params(Filter), responses((status = 200, body = Page), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(State(app): State<App>, Query(filter): Query<Filter>) -> ApiResult<Json<Page>> {
    let size = at_most("size", filter.size, 50, 1_000)?;
    blocking(move || page(&app, &filter, size).map(Json)).await?
}

fn page(app: &App, filter: &Filter, size: usize) -> ApiResult<Page> {
    let (current, page) = (app.current.load_full(), filter.page.unwrap_or(0));
    let text = filter.q.as_ref().map(|q| q.to_lowercase());
    let fits = |s: &&Stored| {
        filter.active.is_none_or(|a| a == s.active)
            && filter.r#type.is_none_or(|t| t == Kind::of(s))
            && text.as_deref().is_none_or(|t| s.name.to_lowercase().contains(t) || s.description.to_lowercase().contains(t))
    };
    let mut found: Vec<&Stored> = current.segments.iter().map(|s| &***s).filter(fits).collect();
    match filter.sort {
        Some(Sort::Name) => found.sort_by_cached_key(|s| (s.name.to_lowercase(), s.name.clone())),
        Some(Sort::Size) => {
            let sizes = app.profiles.sizes();
            found.sort_by_key(|s| sizes.get(&s.name).copied().unwrap_or(0));
        }
        Some(Sort::UpdatedAt) => found.sort_by_key(|s| s.updated_at),
        Some(Sort::CreatedAt) | None => {}
    }
    if filter.order == Some(Order::Desc) {
        found.reverse();
    }
    let freshness = freshness(app);
    let items = found.iter().skip(page.saturating_mul(size)).take(size).map(|s| Segment::new(app, &current, s, freshness.clone()));
    Ok(Page { items: items.collect::<ApiResult<_>>()?, page, size, total: found.len() })
}

fn found(current: &Current, name: &str) -> ApiResult<Stored> {
    current.find(name).cloned().ok_or_else(|| Problem::no_segment(name))
}

fn tag_of(stored: &Stored) -> String {
    format!("\"{}\"", stored.version)
}

/// A segment, with its version as ETag.
fn tagged(app: &App, current: &Current, name: &str, status: StatusCode) -> ApiResult<Response> {
    let stored = found(current, name)?;
    Ok((status, [(header::ETAG, tag_of(&stored))], Json(Segment::new(app, current, &stored, freshness(app))?)).into_response())
}

/// Creates a segment; it runs from the next batch on.
#[utoipa::path(post, path = "/segments", operation_id = "createSegment", tag = "segments", request_body = SegmentInput, responses((status = 201, body = Segment), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn create(State(app): State<App>, Extension(caller): Extension<Caller>, Body(body): Body<Value>) -> ApiResult<Response> {
    let draft = draft(&body, None)?;
    let active = body.get("active").and_then(Value::as_bool).unwrap_or(true);
    let name = draft.name.clone();
    let edit = Edit::Create { name: draft.name, body: draft.body, description: draft.description, origin: "api".into(), active };
    let current = app.edit(vec![edit], &caller.name).await?;
    let mut response = tagged(&app, &current, &name, StatusCode::CREATED)?;
    if let Some(Ok(location)) = current.find(&name).map(|s| format!("/api/v1/segments/{}", s.id).parse()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// One segment, by id or name.
#[utoipa::path(get, path = "/segments/{id}", operation_id = "getSegment", tag = "segments", params(("id" = String, Path)), responses((status = 200, body = Segment), (status = 304), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn get(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> ApiResult<Response> {
    let current = app.current.load_full();
    let tag = tag_of(&found(&current, &id)?);
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    tagged(&app, &current, &id, StatusCode::OK)
}

/// Gives a segment another meaning; the difference in members is emitted.
#[utoipa::path(put, path = "/segments/{id}", operation_id = "replaceSegment", tag = "segments", params(("id" = String, Path)), request_body = SegmentInput, responses((status = 200, body = Segment), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn replace(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(body): Body<Value>,
) -> ApiResult<Response> {
    let old = found(&app.current.load_full(), &id)?;
    let draft = draft(&body, Some(&old.name))?;
    let name = draft.name.clone();
    let edit = Edit::Replace { id: old.id, name: draft.name, body: draft.body, description: draft.description, expected_version: expected(&headers)? };
    let current = app.edit(vec![edit], &caller.name).await?;
    tagged(&app, &current, &name, StatusCode::OK)
}

/// The version of an `If-Match` header.
fn expected(headers: &HeaderMap) -> ApiResult<Option<i64>> {
    let Some(value) = headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok()).filter(|v| *v != "*") else { return Ok(None) };
    let version = value.trim().trim_matches('"').parse();
    version.map(Some).map_err(|_| Problem::bad_request(format!("If-Match: {value} is not an ETag of a segment")))
}

/// Whether a segment runs.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Status {
    active: bool,
}

/// Pauses or resumes a segment. A paused one has no members.
#[utoipa::path(patch, path = "/segments/{id}/status", operation_id = "setSegmentStatus", tag = "segments", params(("id" = String, Path)), request_body = Status, responses((status = 200, body = Segment), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn set_status(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(status): Body<Status>,
) -> ApiResult<Response> {
    let old = found(&app.current.load_full(), &id)?;
    let current = if old.active == status.active {
        app.current.load_full()
    } else {
        app.edit(vec![Edit::SetActive { id: old.id.clone(), active: status.active }], &caller.name).await?
    };
    tagged(&app, &current, &old.id, StatusCode::OK)
}

/// Drops a segment; its members leave.
#[utoipa::path(delete, path = "/segments/{id}", operation_id = "dropSegment", tag = "segments", params(("id" = String, Path)), responses((status = 204), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn drop(State(app): State<App>, Extension(caller): Extension<Caller>, Path(id): Path<String>) -> ApiResult<StatusCode> {
    let old = found(&app.current.load_full(), &id)?;
    app.edit(vec![Edit::Drop { id: old.id }], &caller.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A rule as the Flink job polled it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SegmentRule {
    id: String,
    segment_id: String,
    event_type: String,
    attribute: String,
    operator: String,
    threshold: Value,
    window_minutes: Value,
}

fn rules_json(current: &Current, event_type: Option<&str>) -> Vec<SegmentRule> {
    let mut rules = vec![];
    for stored in current.segments.iter().filter(|s| s.active) {
        for (n, rule) in stored.body["rules"].as_array().into_iter().flatten().enumerate() {
            let text = |key: &str| rule[key].as_str().unwrap_or_default().to_string();
            let window = [&rule["windowMinutes"], &stored.body["windowMinutes"]].into_iter().find(|w| !w.is_null());
            rules.push(SegmentRule {
                id: format!("{}-{}", stored.id, n + 1),
                segment_id: stored.name.clone(),
                event_type: text("eventType"),
                attribute: text("attribute"),
                operator: text("operator"),
                threshold: if rule["threshold"].is_null() { rule["value"].clone() } else { rule["threshold"].clone() },
                window_minutes: window.cloned().unwrap_or_default(),
            });
        }
    }
    rules.retain(|r| event_type.is_none_or(|t| t == r.event_type));
    rules
}

/// Whether a caller has the answer of a tag; proxies that compress make tags weak.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let given = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    given.is_some_and(|v| v.split(',').map(str::trim).any(|t| t == "*" || t.strip_prefix("W/").unwrap_or(t) == tag))
}

/// JSON with an ETag; nothing when the caller has it.
fn cached(headers: &HeaderMap, value: &impl Serialize) -> ApiResult<Response> {
    let text = serde_json::to_string(value).map_err(|e| Problem::internal(&e))?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    if is_known(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok(([(header::ETAG, tag), (header::CONTENT_TYPE, "application/json".into())], text).into_response())
}

/// The rules that run, as SegmentRule JSON.
#[utoipa::path(get, path = "/segments/rules", operation_id = "listRules", tag = "segments", responses((status = 200, body = Vec<SegmentRule>), (status = 304)))]
pub async fn rules(State(app): State<App>, headers: HeaderMap) -> ApiResult<Response> {
    cached(&headers, &rules_json(&app.current.load_full(), None))
}

/// The rules that run for one type of event, by the name that the rules use.
#[utoipa::path(get, path = "/segments/rules/eventType/{eventType}", operation_id = "listRulesOfEventType", tag = "segments", params(("eventType" = String, Path)), responses((status = 200, body = Vec<SegmentRule>), (status = 304)))]
pub async fn rules_of(State(app): State<App>, Path(event_type): Path<String>, headers: HeaderMap) -> ApiResult<Response> {
    cached(&headers, &rules_json(&app.current.load_full(), Some(&event_type)))
}

/// Which members to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Slice {
    /// Members at most, up to 1000; 100 by default.
    limit: Option<usize>,
    /// The cursor of the answer before.
    cursor: Option<String>,
    /// What their ids begin with.
    q: Option<String>,
    /// `csv` for all members as CSV, as `Accept: text/csv` asks for; then there is no limit.
    format: Option<MembersFormat>,
}

/// How members are written.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MembersFormat {
    /// A page of them.
    Json,
    /// All of them.
    Csv,
}

/// A member of a segment. Times are milliseconds since the epoch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    user_id: String,
    value: Option<f64>,
    since: i64,
    window_start: i64,
    window_end: i64,
    expires_at: i64,
}

impl Member {
    fn new(segment: &str, (user_id, profile): (String, Profile)) -> Self {
        let result = profile.results.values().find(|r| r.segment == segment);
        Member {
            user_id,
            value: result.and_then(|r| r.value),
            since: result.map_or(0, |r| r.since),
            window_start: result.map_or(0, |r| r.window_start),
            window_end: result.map_or(0, |r| r.window_end),
            expires_at: profile.expires_at,
        }
    }

    /// A line of CSV.
    fn line(&self) -> String {
        let user = csv_field(&self.user_id);
        let value = self.value.map_or(String::new(), |v| v.to_string());
        format!("{user},{value},{},{},{},{}\r\n", self.since, self.window_start, self.window_end, self.expires_at)
    }
}

/// Some members of a segment, in the order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub struct Members {
    items: Vec<Member>,
    /// Where to go on; none at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Who is in a segment now.
#[utoipa::path(get, path = "/segments/{id}/members", operation_id = "listMembers", tag = "segments", params(("id" = String, Path), Slice), responses((status = 200, content((Members = "application/json"), (String = "text/csv"))), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn members(State(app): State<App>, Path(id): Path<String>, Query(slice): Query<Slice>, headers: HeaderMap) -> ApiResult<Response> {
    let name = found(&app.current.load_full(), &id)?.name;
    let limit = at_most("limit", slice.limit, 100, 1_000)?;
    let accepts = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.to_ascii_lowercase().contains("text/csv"));
    let start = slice.q.unwrap_or_default();
    if slice.format.map_or(accepts, |f| f == MembersFormat::Csv) {
        return Ok(csv(app, name, start, slice.cursor));
    }
    let items = blocking(move || slice_of(&app, &name, &start, slice.cursor.as_deref(), limit)).await??;
    let cursor = (items.len() == limit).then(|| items.last().map(|m| m.user_id.clone())).flatten();
    Ok(Json(Members { items, cursor }).into_response())
}

fn slice_of(app: &App, segment: &str, start: &str, after: Option<&str>, limit: usize) -> ApiResult<Vec<Member>> {
    let members = app.profiles.members_like(segment, start, after, limit)?;
    Ok(members.into_iter().map(|m| Member::new(segment, m)).collect())
}

const CSV_HEADER: &str = "userId,value,since,windowStart,windowEnd,expiresAt\r\n";
/// Members that are read at a time for CSV.
const CSV_STEP: usize = 1_000;

/// All members from a place on as CSV, read as the client takes them.
fn csv(app: App, segment: String, start: String, after: Option<String>) -> Response {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let disposition = format!("attachment; filename=\"{}.csv\"", segment.chars().map(plain).collect::<String>());
    let rest = stream::try_unfold(Some(after), move |next| {
        let (app, segment, start) = (Arc::clone(&app), segment.clone(), start.clone());
        async move {
            let Some(after) = next else { return Ok(None) };
            let members = blocking(move || slice_of(&app, &segment, &start, after.as_deref(), CSV_STEP)).await?;
            let members = members?;
            let next = members.last().filter(|_| members.len() == CSV_STEP).map(|m| Some(m.user_id.clone()));
            Ok::<_, Problem>(Some((members.iter().map(Member::line).collect::<String>(), next)))
        }
    });
    let lines = stream::once(async { Ok(CSV_HEADER.to_string()) }).chain(rest);
    let lines = lines.map_err(|problem: Problem| std::io::Error::other(problem.detail));
    let headers = [(header::CONTENT_TYPE, "text/csv; charset=utf-8".to_string()), (header::CONTENT_DISPOSITION, disposition)];
    (headers, axum::body::Body::from_stream(lines)).into_response()
}

/// Runs what blocks, as part of the span that it is called in.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work)).await.map_err(|e| Problem::internal(&e))
}

/// What happened to a segment in a minute.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Minute {
    /// Its start, ms since the epoch.
    minute: i64,
    entered: u64,
    exited: u64,
    /// Members at its end.
    size: u64,
}

/// Size and movement of a segment.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    size: u64,
    freshness: Freshness,
    /// The last 24 hours, those minutes in which anything happened.
    minutes: Vec<Minute>,
}

/// How many are in a segment, and how that came about.
#[utoipa::path(get, path = "/segments/{id}/stats", operation_id = "getSegmentStats", tag = "segments", params(("id" = String, Path)), responses((status = 200, body = Stats), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn stats(State(app): State<App>, Path(id): Path<String>) -> ApiResult<Json<Stats>> {
    let stored = found(&app.current.load_full(), &id)?;
    let now = (app.clock)();
    let minutes = app.profiles.activity(&stored.name, now - 86_400_000, now + 60_000)?;
    let minutes = minutes.into_iter().map(|a| Minute { minute: a.minute, entered: a.entered, exited: a.exited, size: a.size }).collect();
    Ok(Json(Stats { size: app.profiles.size(&stored.name), freshness: freshness(&app), minutes }))
}

/// All versions of a segment, newest first.
#[utoipa::path(get, path = "/segments/{id}/versions", operation_id = "listSegmentVersions", tag = "segments", params(("id" = String, Path)), responses((status = 200, body = Vec<Change>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn versions(State(app): State<App>, Path(id): Path<String>) -> ApiResult<Json<Vec<Change>>> {
    let id = app.current.load().find(&id).map_or(id, |s| s.id.clone());
    let versions = app.catalog.versions(&id).await?;
    if versions.is_empty() { Err(Problem::no_segment(&id)) } else { Ok(Json(versions)) }
}

/// Which changes to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditSlice {
    /// Changes at most, up to 1000; 100 by default.
    limit: Option<usize>,
    /// Only changes before this revision.
    before: Option<i64>,
}

/// Who changed what, newest first.
#[utoipa::path(get, path = "/audit", operation_id = "listChanges", tag = "segments", params(AuditSlice), responses((status = 200, body = Vec<Change>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn audit(State(app): State<App>, Extension(caller): Extension<Caller>, Query(slice): Query<AuditSlice>) -> ApiResult<Json<Vec<Change>>> {
    caller.may(Role::Admin)?;
    let limit = at_most("limit", slice.limit, 100, 1_000)?;
    Ok(Json(app.catalog.audit(limit as i64, slice.before).await?))
}
