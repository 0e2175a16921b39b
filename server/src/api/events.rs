//! Events come in, one by one or many at a time; what is wrong with a record is said at once.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use cohort_connectors::embedded::EmbeddedError;
use cohort_connectors::embedded::dead_letters::Kept;
use cohort_connectors::embedded::log::Record;
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, MAX_DEPTH, Projection, Reason, TextColumnSpec, TextField, Topics};
use cohort_engine::sink::{DeadLetter, DeadLetterSink};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::extract::{Body, Query, at_most};
use super::problem::{ApiResult, Problem};
use super::segments::blocking;
use super::wrong;
use crate::config::Source;
use crate::generate::{Generator, GeneratorConfig, Topic};
use crate::service::connect::Intake;

/// Where events go.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Target {
    /// Topic of all events; by default each event's type decides.
    topic: Option<String>,
}

/// A record that was not accepted.
#[derive(Debug, Serialize, ToSchema)]
pub struct RejectedRecord {
    /// Its place among the records, from 0.
    index: usize,
    /// Why, by a stable name.
    reason: String,
}

/// What became of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct Accepted {
    accepted: usize,
    rejected: Vec<RejectedRecord>,
}

/// An event; other fields are ignored.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"userId": "user_1", "eventType": "purchase", "timestamp": 1767225600000_i64, "value": 99.5, "metadata": {"category": "books"}}))]
pub struct EventInput {
    /// Who.
    user_id: String,
    /// What: `purchase`, `view`, `install`, `add_to_cart`, or any other.
    event_type: String,
    /// When, ms since the epoch.
    timestamp: i64,
    value: Option<f64>,
    session_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// An event as it came in, with all that it has.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    user_id: String,
    event_type: String,
    /// When, ms since the epoch.
    timestamp: i64,
    value: Option<f64>,
    session_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// The topic that it came on.
    topic: Option<String>,
    /// Its place in the log, where that is told.
    offset: Option<i64>,
}

/// Takes in one event, an array of events, or one event a line.
#[utoipa::path(post, path = "/events", operation_id = "sendEvents", tag = "events", params(Target), request_body(content((EventInput = "application/json"), (String = "application/x-ndjson"))), responses((status = 200, body = Accepted), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn post(
    State(app): State<App>,
    Query(target): Query<Target>,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> ApiResult<Json<Accepted>> {
    let body = body?;
    let topic = topic_of(&app, target.topic)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json").to_ascii_lowercase();
    let lines = kind.contains("ndjson") || kind.contains("jsonl");
    if !lines && !kind.starts_with("application/json") {
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", format!("the body is {kind}"));
        return Err(problem.hint("send Content-Type: application/json or application/x-ndjson"));
    }
    blocking(move || accept(&app, &body, lines, topic.as_deref())).await?.map(Json)
}

fn topic_of(app: &App, topic: Option<String>) -> ApiResult<Option<String>> {
    match topic {
        Some(t) if !app.config.source.topics.contains(&t) => {
            Err(Problem::bad_request(format!("there is no topic {t:?}")).hint(format!("topics are {}", app.config.source.topics.join(", "))))
        }
        topic => Ok(topic),
    }
}

/// Start and end of each record.
type Spans = Vec<(u32, u32)>;

/// The records of a body: lines, the items of an array, or the one object.
fn records(body: &[u8], lines: bool) -> ApiResult<(Vec<u8>, Spans)> {
    let (mut data, mut spans) = (vec![], vec![]);
    let first = body.iter().find(|b| !b.is_ascii_whitespace());
    if !lines && first == Some(&b'[') {
        // Of an array, the depth is known before it is parsed; that of single records is their own matter.
        if depth(body) > MAX_DEPTH + 1 {
            return Err(Problem::bad_request(format!("the body is nested deeper than {MAX_DEPTH}")));
        }
        for item in sonic_rs::to_array_iter(body) {
            let item = item.map_err(|e| Problem::new(StatusCode::BAD_REQUEST, "invalid-json", e.to_string().lines().next().unwrap_or_default()))?;
            let start = data.len() as u32;
            data.extend_from_slice(item.as_raw_str().as_bytes());
            spans.push((start, data.len() as u32));
        }
    } else if lines || one_a_line(body) {
        data = body.to_vec();
        split_lines(&data, &mut spans);
    } else {
        data = body.to_vec();
        spans.push((0, data.len() as u32));
    }
    if spans.is_empty() || first.is_none() {
        return Err(Problem::bad_request("there are no events").hint("send one event, an array of events, or one event a line"));
    }
    Ok((data, spans))
}

/// How deep arrays and objects are nested.
fn depth(json: &[u8]) -> usize {
    let (mut now, mut most, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                now += 1;
                most = most.max(now);
            }
            b']' | b'}' if !quoted => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Whether a body has an object on each of several lines.
fn one_a_line(body: &[u8]) -> bool {
    let mut lines = body.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty());
    lines.next().is_some_and(|l| l.trim_ascii().ends_with(b"}")) && lines.next().is_some_and(|l| l.trim_ascii().starts_with(b"{"))
}

fn accept(app: &App, body: &[u8], lines: bool, topic: Option<&str>) -> ApiResult<Accepted> {
    let (data, spans) = records(body, lines)?;
    let types = Projection { value: true, texts: vec![TextColumnSpec { field: TextField::EventType, dictionary: None, text: true }], metadata: false };
    let (mut events, mut rejected) = (EventBatch::default(), vec![]);
    JsonDecoder::new(types).decode(&data, &spans, Topics::None, &mut events, &mut rejected);
    let now = (app.clock)();
    let payload = |record: u32| {
        let (start, end) = spans[record as usize];
        &data[start as usize..end as usize]
    };
    let latest = now.saturating_add(app.config.time.max_future.0);
    let mut bad: Vec<(u32, Reason)> = rejected.iter().map(|r| (r.record, r.reason)).collect();
    let mut good = vec![];
    for (i, &record) in events.records.iter().enumerate() {
        if events.times[i] > latest {
            bad.push((record, Reason::FutureTimestamp));
            continue;
        }
        let topic = topic.unwrap_or_else(|| default_topic(app, events.texts[0].text.get(i)));
        good.push((Record { topic, user: events.users.get(i), payload: payload(record) }, events.times[i]));
    }
    bad.sort_unstable();
    app.needs_events("what is sent here are")?;
    if matches!(app.intake, Intake::Closed) {
        return Err(Problem::new(StatusCode::CONFLICT, "no-intake", "events come from files, and none over HTTP").hint("see source.kind in the configuration"));
    }
    if let Some((record, _)) = good.iter().find(|(record, _)| !app.intake.takes(record.topic)) {
        let what = format!("records of {} are no plain JSON events, and are written to Kafka by others", record.topic);
        return Err(Problem::new(StatusCode::CONFLICT, "no-intake", what).hint("see source.format and source.formats in the configuration"));
    }
    if !good.is_empty() {
        app.intake.append(&good, now).map_err(|e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "source-unavailable", e).hint("try again"))?;
    }
    if !bad.is_empty() {
        let first = numbers(now, bad.len() as i64);
        let letter = |(i, (record, reason)): (usize, &(u32, Reason))| DeadLetter {
            reason: *reason,
            topic: topic.unwrap_or("http").into(),
            partition: 0,
            offset: -(first + i as i64),
            at: now,
            raw: payload(*record).to_vec(),
        };
        let letters: Vec<DeadLetter> = bad.iter().enumerate().map(letter).collect();
        app.dead_letters.clone().put(&letters).map_err(|e| Problem::internal(&e))?;
        let mut counts = app.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        bad.iter().for_each(|(_, reason)| *counts.entry(reason.as_str()).or_default() += 1);
        drop(counts);
        metrics::counter!("cohort_http_events_rejected_total").increment(letters.len() as u64);
    }
    let rejected = bad.iter().map(|(record, reason)| RejectedRecord { index: *record as usize, reason: reason.as_str().into() }).collect();
    Ok(Accepted { accepted: good.len(), rejected })
}

/// Numbers for letters that have no place in a log, so that each is kept: never the same twice, as they follow the time.
fn numbers(now: i64, n: i64) -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let mut first = 0;
    let _ = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
        first = next.max(now * 4096);
        Some(first + n)
    });
    first
}

/// The topic of an event by its type.
fn default_topic<'a>(app: &'a App, event_type: &[u8]) -> &'a str {
    let topic = match event_type {
        b"purchase" | b"add_to_cart" => Topic::Orders,
        b"install" => Topic::Installs,
        _ => Topic::Activity,
    };
    let topics = &app.config.source.topics;
    topics.iter().find(|t| *t == topic.name()).or(topics.first()).map_or("", String::as_str)
}

/// What to generate.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerateInput {
    /// `order_events`, `activity_events` or `install_events`; a mix of all by default.
    topic: Option<String>,
    /// How many, 1 to 1000.
    count: u64,
    /// What user ids begin with.
    user_prefix: Option<String>,
    /// The same seed gives the same events, but for their times.
    seed: Option<u64>,
    /// Users, who take turns: their ids are the prefix and a number from 0. 1 to 100,000; 100 by default.
    users: Option<u64>,
    /// The seconds until now that the events are spread over, 0 to 300; 300 by default.
    span_seconds: Option<i64>,
}

/// Events that were generated.
#[derive(Debug, Serialize, ToSchema)]
pub struct Generated {
    accepted: usize,
    /// The first five.
    #[schema(value_type = Vec<Event>)]
    events: Vec<Value>,
}

/// Generates events of the last minutes and takes them in: purchases of 10 to 510, views of 5 to 305 seconds, installs.
#[utoipa::path(post, path = "/events/generate", operation_id = "generateEvents", tag = "events", request_body = GenerateInput, responses((status = 200, body = Generated), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn generate(State(app): State<App>, Body(input): Body<GenerateInput>) -> ApiResult<Json<Generated>> {
    if !(1..=1000).contains(&input.count) {
        return Err(Problem::bad_request(format!("count must be 1 to 1000, not {}", input.count)));
    }
    let topic = input.topic.map(|t| t.parse::<Topic>().map_err(Problem::bad_request)).transpose()?;
    let prefix = input.user_prefix.unwrap_or_else(|| "user_".into());
    if prefix.is_empty() || prefix.len() > 64 {
        return Err(Problem::bad_request("userPrefix must have 1 to 64 bytes"));
    }
    let (users, span) = (input.users.unwrap_or(100), input.span_seconds.unwrap_or(300));
    if !(1..=100_000).contains(&users) {
        return Err(Problem::bad_request(format!("users must be 1 to 100000, not {users}")));
    }
    if !(0..=300).contains(&span) {
        return Err(Problem::bad_request(format!("spanSeconds must be 0 to 300, not {span}")));
    }
    let now = (app.clock)();
    let seed = input.seed.unwrap_or(now as u64);
    let config = GeneratorConfig {
        events: input.count,
        users,
        in_turn: Some((seed % users) as u32),
        seed,
        from_ms: now - span * 1_000,
        span_ms: span * 1_000,
        disorder_ms: 0,
        topic,
        user_prefix: prefix,
        ..GeneratorConfig::default()
    };
    blocking(move || {
        let (mut generator, mut text) = (Generator::new(config), vec![]);
        while generator.write_event(&mut text) {}
        let accepted = accept(&app, &text, true, topic.map(Topic::name))?;
        let events = text.split(|b| *b == b'\n').take(5).filter_map(|l| serde_json::from_slice(l).ok()).collect();
        Ok(Json(Generated { accepted: accepted.accepted, events }))
    })
    .await?
}

/// A topic and what came in on it since the service started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicInfo {
    name: String,
    events: u64,
    bytes: u64,
    dead_letters: u64,
}

/// Topics, and what came in on them.
#[utoipa::path(get, path = "/events/topics", operation_id = "listTopics", tag = "events", responses((status = 200, body = Vec<TopicInfo>)))]
pub async fn topics(State(app): State<App>) -> Json<Vec<TopicInfo>> {
    let mut topics: BTreeMap<String, TopicInfo> = BTreeMap::new();
    let empty = |name: &str| TopicInfo { name: name.into(), events: 0, bytes: 0, dead_letters: 0 };
    for name in &app.config.source.topics {
        topics.insert(name.clone(), empty(name));
    }
    let workers = app.runtime.workers();
    for counts in workers.iter().flat_map(|w| &w.partitions).map(|p| &p.counts) {
        for (topic, n) in &counts.events {
            topics.entry(topic.to_string()).or_insert_with(|| empty(topic)).events += n;
        }
        for (topic, n) in &counts.bytes {
            topics.entry(topic.to_string()).or_insert_with(|| empty(topic)).bytes += n;
        }
        for ((topic, _), n) in &counts.dead {
            topics.entry(topic.to_string()).or_insert_with(|| empty(topic)).dead_letters += n;
        }
    }
    Json(topics.into_values().collect())
}

/// Which dead letters to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LetterFilter {
    /// How many at most, up to 1000; 100 by default.
    limit: Option<usize>,
    /// Only those of this reason.
    reason: Option<String>,
    /// Only those of this topic.
    topic: Option<String>,
    /// Only those before this one: the `id` of the last letter that was listed.
    before: Option<u64>,
}

/// A record that was not accepted, or came too late for a window.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// Its number; newer ones have greater numbers.
    id: u64,
    reason: String,
    /// What was wrong, in words.
    error: String,
    /// Its topic; `http` for a record that came over HTTP and names none.
    topic: String,
    partition: u32,
    /// Its offset; a record that was refused before it was in a log has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// When it was found, ms since the epoch.
    at: i64,
    /// The record, when it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw: Option<String>,
    /// The record in hexadecimal, when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    raw_hex: Option<String>,
}

impl Letter {
    fn new((id, kept): (u64, Kept), source: &Source) -> Self {
        let plain = source.format_of(&kept.topic).is_plain();
        let error = wrong::in_words(&kept.reason, &kept.raw, kept.at, plain);
        let text = String::from_utf8(kept.raw);
        let hex = text.as_ref().err().map(|e| e.as_bytes().iter().map(|b| format!("{b:02x}")).collect());
        let offset = Some(kept.offset).filter(|o| *o >= 0);
        Letter { id, reason: kept.reason, error, topic: kept.topic, partition: kept.partition, offset, at: kept.at, raw: text.ok(), raw_hex: hex }
    }
}

/// The newest dead letters.
#[utoipa::path(get, path = "/events/dead-letters", operation_id = "listDeadLetters", tag = "events", params(LetterFilter), responses((status = 200, body = Vec<Letter>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn dead_letters(State(app): State<App>, Query(filter): Query<LetterFilter>) -> ApiResult<Json<Vec<Letter>>> {
    let limit = at_most("limit", filter.limit, 100, 1_000)?;
    let newest = blocking(move || {
        let fits = |k: &Kept| filter.reason.as_deref().is_none_or(|r| r == k.reason) && filter.topic.as_deref().is_none_or(|t| t == k.topic);
        let newest = app.dead_letters.newest(filter.before, limit, fits)?;
        Ok::<_, EmbeddedError>(newest.into_iter().map(|kept| Letter::new(kept, &app.config.source)).collect())
    });
    Ok(Json(newest.await??))
}

/// The dead letters of a reason and topic.
#[derive(Debug, Serialize, ToSchema)]
pub struct LetterReason {
    reason: String,
    topic: String,
    /// How many are kept.
    count: u64,
    /// When the newest was found, ms since the epoch.
    newest: i64,
}

/// How many dead letters are kept of each reason and topic, most first.
#[utoipa::path(get, path = "/events/dead-letters/reasons", operation_id = "countDeadLetters", tag = "events", responses((status = 200, body = Vec<LetterReason>)))]
pub async fn reasons(State(app): State<App>) -> ApiResult<Json<Vec<LetterReason>>> {
    let reasons = blocking(move || app.dead_letters.reasons()).await??;
    let reason = |((reason, topic), (count, newest))| LetterReason { reason, topic, count, newest };
    let mut reasons: Vec<LetterReason> = reasons.into_iter().map(reason).collect();
    reasons.sort_by_key(|r| std::cmp::Reverse(r.count));
    Ok(Json(reasons))
}
