//! What a user is in, and why.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};
use cohort_connectors::aerospike::record;
use cohort_connectors::embedded::profiles as embedded;
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::formats::Decoder;
use cohort_engine::membership::NEVER;
use cohort_engine::partition::why::Why;
use cohort_engine::source::{RawBatch, SourceError};
use cohort_engine::window::why::{Amount, Standing};
use cohort_engine::{Partition, Settings};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::events::Event;
use super::extract::{Path, Query, at_most};
use super::problem::{ApiResult, Problem};
use super::segments::blocking;
use crate::service::results::SegmentResult;
use crate::service::shown::Shown;

/// Which users to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Search {
    /// What their ids begin with.
    q: Option<String>,
    /// How many at most, up to 100; 20 by default.
    limit: Option<usize>,
}

/// A user who is known.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KnownUser {
    user_id: String,
    /// How many segments they are in.
    segments: usize,
}

/// Profiles that a look-up goes through at most.
const PROFILES: usize = 20_000;

/// Users who are in a segment or were of late, in the order of their ids. Of several members, those of the one that is asked.
#[utoipa::path(get, path = "/users", operation_id = "listUsers", tag = "users", params(Search), responses((status = 200, body = Vec<KnownUser>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn list(State(app): State<App>, Query(search): Query<Search>) -> ApiResult<Json<Vec<KnownUser>>> {
    let limit = at_most("limit", search.limit, 20, 100)?;
    let users = blocking(move || app.profiles.users(&search.q.unwrap_or_default(), limit, PROFILES)).await??;
    Ok(Json(users.into_iter().map(|(user_id, segments)| KnownUser { user_id, segments }).collect()))
}

/// How many to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Few {
    /// How many at most, up to 1000; 50 by default.
    limit: Option<usize>,
}

/// Events that a look-up goes through at most.
const EVENTS: usize = 200_000;
/// Look-ups that go through events at the same time; others wait.
static LOOKING: Semaphore = Semaphore::const_new(2);

/// A user's newest events, whatever segments they count in, newest first: those among the newest 200,000 of all users.
#[utoipa::path(get, path = "/users/{userId}/events", operation_id = "listUserEvents", tag = "users", params(("userId" = String, Path), Few), responses((status = 200, body = Vec<Event>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn events(State(app): State<App>, Path(user_id): Path<String>, Query(few): Query<Few>) -> ApiResult<Json<Vec<Value>>> {
    let limit = at_most("limit", few.limit, 50, 1_000)?;
    app.needs_events("a user's newest events are looked for among")?;
    let turn = LOOKING.acquire().await.map_err(|e| Problem::internal(&e))?;
    let found = blocking(move || {
        let _turn = turn;
        app.newest_events(EVENTS, |_, event| event["userId"] == *user_id)
    });
    let event = |(topic, mut event): (std::sync::Arc<str>, Value)| {
        event["topic"] = json!(&*topic);
        event
    };
    Ok(Json(found.await?.map_err(|e| Problem::internal(&e))?.into_iter().take(limit).map(event).collect()))
}

/// When a user entered and exited segments, newest first, among the last 100,000 results.
#[utoipa::path(get, path = "/users/{userId}/timeline", operation_id = "getUserTimeline", tag = "users", params(("userId" = String, Path), Few), responses((status = 200, body = Vec<SegmentResult>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn timeline(State(app): State<App>, Path(user_id): Path<String>, Query(few): Query<Few>) -> ApiResult<Json<Vec<SegmentResult>>> {
    let limit = at_most("limit", few.limit, 50, 1_000)?;
    blocking(move || Json(app.results.recent(limit, |r| r.user == user_id && r.event != "result"))).await
}

/// A membership. Times are milliseconds since the epoch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The segment's name.
    segment: String,
    /// Its id, if it is still there.
    segment_id: Option<String>,
    value: Option<f64>,
    /// Time of the result by which the user entered.
    since: i64,
    window_start: i64,
    window_end: i64,
    expires_at: i64,
}

/// What a user is in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserSegments {
    user_id: String,
    segments: Vec<Membership>,
    last_updated: Option<i64>,
}

/// The segments that a user is in now; none for a user who is not known.
#[utoipa::path(get, path = "/users/{userId}/segments", operation_id = "getUserSegments", tag = "users", params(("userId" = String, Path)), responses((status = 200, body = UserSegments), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn segments(State(app): State<App>, Path(user_id): Path<String>, headers: HeaderMap) -> ApiResult<Json<Value>> {
    let profile = app.profiles.get(&user_id)?;
    // What is kept here of a partition that another member reads by now is of the past.
    let embedded = !app.config.source.kind.is_kafka();
    let profile = profile.filter(|p| embedded || app.runtime.partitions().contains(&p.partition));
    if embedded || profile.is_some() {
        return Ok(Json(json!(of_profile(&app, user_id, profile))));
    }
    if let Some((aerospike, _)) = &app.aerospike {
        let unreachable = |e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", format!("{e}")).hint("try again");
        let profile = aerospike.get(&user_id).await.map_err(unreachable)?;
        return Ok(Json(json!(of_record(&app, user_id, profile))));
    }
    let path = format!("/users/{}/segments", encoded(&user_id));
    let elsewhere = app.ask_others(&path, &user_id, &headers, |answer| !answer["lastUpdated"].is_null()).await?;
    Ok(Json(elsewhere.unwrap_or_else(|| json!(of_profile(&app, user_id, None)))))
}

/// A part of a path.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn of_profile(app: &App, user_id: String, profile: Option<embedded::Profile>) -> UserSegments {
    let current = app.current.load();
    let membership = |r: &embedded::RuleResult, expires_at: i64| Membership {
        segment: r.segment.clone(),
        segment_id: current.find(&r.segment).map(|s| s.id.clone()),
        value: r.value,
        since: r.since,
        window_start: r.window_start,
        window_end: r.window_end,
        expires_at,
    };
    let segments = profile.iter().flat_map(|p| p.results.values().filter(|r| p.segments.contains(&r.segment)).map(|r| membership(r, p.expires_at)));
    UserSegments { user_id, segments: segments.collect(), last_updated: profile.as_ref().map(|p| p.last_updated) }
}

/// What the shared store holds: it knows results by rule, and not since when.
fn of_record(app: &App, user_id: String, profile: Option<record::Profile>) -> UserSegments {
    let (current, now) = (app.current.load(), (app.clock)());
    let Some(profile) = profile else { return UserSegments { user_id, segments: vec![], last_updated: None } };
    let expires_at = profile.ttl.map_or(i64::MAX, |s| now.saturating_add(s as i64 * 1_000));
    let rules = current.program.segments.iter().filter(|s| profile.segments.contains(&s.name));
    let membership = |s: &cohort_compiler::program::Segment| {
        let result = profile.results.get(&s.rule_id);
        Membership {
            segment: s.name.clone(),
            segment_id: current.find(&s.name).map(|s| s.id.clone()),
            value: result.and_then(|r| r.value),
            since: result.map_or(profile.last_updated, |r| r.timestamp),
            window_start: result.map_or(0, |r| r.window_start),
            window_end: result.map_or(0, |r| r.window_end),
            expires_at,
        }
    };
    UserSegments { segments: rules.map(membership).collect(), last_updated: Some(profile.last_updated), user_id }
}

/// An aggregate that decides.
#[derive(Debug, Serialize, ToSchema)]
pub struct AggregateValue {
    /// The aggregate, as SQL.
    aggregate: String,
    /// Its value.
    #[schema(value_type = Object)]
    value: Value,
}

/// A window that decides. Times are milliseconds since the epoch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    window_start: i64,
    window_end: i64,
    /// Whether it has closed.
    closed: bool,
    newest_event: i64,
    qualifies: bool,
    value: Option<f64>,
    aggregates: Vec<AggregateValue>,
    /// `>`, `>=`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    threshold: Option<f64>,
    /// How far the value is from the threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f64>,
}

/// A segment that a derived one reads.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    segment: String,
    member: bool,
    condition: String,
    windows: Vec<Window>,
    #[schema(no_recursion)]
    inputs: Vec<Input>,
}

/// Why a user is in a segment, or not.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WhyAnswer {
    user_id: String,
    segment: String,
    member: bool,
    /// In a sentence.
    summary: String,
    /// What decides.
    condition: String,
    /// End of the last closed window in which the user qualified, if that makes them a member.
    #[serde(skip_serializing_if = "Option::is_none")]
    member_until_window_after: Option<i64>,
    /// The user's windows.
    windows: Vec<Window>,
    /// The segments that are read.
    inputs: Vec<Input>,
    /// The newest events that the segment takes in.
    #[schema(value_type = Vec<Event>)]
    events: Vec<Value>,
}

fn window(s: &Standing) -> Window {
    let amount = |a: &Amount| match a {
        Amount::Number(n) => json!(n),
        Amount::Text(t) => json!(t),
        Amount::Null => Value::Null,
    };
    Window {
        window_start: s.window.0,
        window_end: s.window.1,
        closed: s.closed,
        newest_event: s.newest,
        qualifies: s.qualifies,
        value: s.value,
        aggregates: s.aggregates.iter().map(|(name, a)| AggregateValue { aggregate: name.clone(), value: amount(a) }).collect(),
        operator: s.bar.as_ref().map(|b| b.compare),
        threshold: s.bar.as_ref().map(|b| b.threshold),
        distance: s.bar.as_ref().and_then(|b| b.distance),
    }
}

fn input(program: &cohort_compiler::Program, (segment, why): &(u32, Why)) -> Input {
    let s = &program.segments[*segment as usize];
    Input {
        segment: s.name.clone(),
        member: why.member.is_some(),
        condition: s.condition.clone(),
        windows: why.standings.iter().map(window).collect(),
        inputs: why.inputs.iter().map(|i| input(program, i)).collect(),
    }
}

/// Windows, values, thresholds and events that decided it, in or out.
#[utoipa::path(get, path = "/users/{userId}/segments/{segment}/why", operation_id = "whyUserInSegment", tag = "users", params(("userId" = String, Path), ("segment" = String, Path)), responses((status = 200, body = WhyAnswer), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn why(State(app): State<App>, Path((user_id, segment)): Path<(String, String)>, headers: HeaderMap) -> ApiResult<Json<Value>> {
    let current = app.current.load_full();
    let name = current.find(&segment).map(|s| s.name.clone()).ok_or_else(|| Problem::no_segment(&segment))?;
    if current.compiled(&name).is_none() {
        return Err(Problem::new(StatusCode::CONFLICT, "segment-paused", format!("segment {name:?} does not run")));
    }
    app.needs_events("why a user is in a segment is told from")?;
    let (service, user) = (std::sync::Arc::clone(&app), user_id.clone());
    if let Some(partition) = blocking(move || service.partition_here(&user)).await? {
        return blocking(move || answer(&app, partition, user_id, name)).await?.map(|why| Json(json!(why)));
    }
    let path = format!("/users/{}/segments/{}/why", encoded(&user_id), encoded(&name));
    let elsewhere = app.ask_others(&path, &user_id, &headers, |_| true).await?;
    let nobody = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "no member reads the partition of this user now").hint("try again");
    elsewhere.map(Json).ok_or_else(nobody)
}

fn answer(app: &App, partition: u32, user_id: String, name: String) -> ApiResult<WhyAnswer> {
    let (user, segment) = (user_id.clone(), name.clone());
    let asked = app.runtime.ask(partition, Duration::from_secs(5), move |p| {
        let program = std::sync::Arc::clone(p.state.program());
        let id = program.segments.iter().position(|s| s.name == segment)? as u32;
        Some(p.state.why(id, &user).map(|why| (program, id, why)))
    });
    let busy = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "the worker of this user does not answer").hint("try again");
    let (program, id, why) = match asked {
        Some(Some(found)) => found.map_err(|e| Problem::internal(&e))?,
        Some(None) | None => return Err(busy()),
    };
    let s = &program.segments[id as usize];
    let windows: Vec<Window> = why.standings.iter().map(window).collect();
    let member = why.member.is_some();
    Ok(WhyAnswer {
        summary: summary(&user_id, &name, member, &windows, &why, &program),
        condition: s.condition.clone(),
        member,
        member_until_window_after: why.member.map(|m| m.closed_end).filter(|t| *t != NEVER),
        inputs: why.inputs.iter().map(|i| input(&program, i)).collect(),
        events: newest_events(app, partition, &user_id, s).unwrap_or_else(|error| {
            tracing::warn!(error, "the newest events cannot be read");
            vec![]
        }),
        windows,
        user_id,
        segment: name,
    })
}

fn summary(user: &str, segment: &str, member: bool, windows: &[Window], why: &Why, program: &cohort_compiler::Program) -> String {
    let place = if member { "is in" } else { "is not in" };
    let mut text = format!("{user} {place} {segment}");
    if !why.inputs.is_empty() {
        let name = |i: &(u32, Why)| format!("{} {}", if i.1.member.is_some() { "in" } else { "not in" }, program.segments[i.0 as usize].name);
        text += &format!(": {}", why.inputs.iter().map(name).collect::<Vec<_>>().join(", "));
    } else if let Some(w) = windows.iter().rev().find(|w| w.qualifies == member).or(windows.last()) {
        let values: Vec<String> = w.aggregates.iter().map(|a| format!("{} is {}", a.aggregate, a.value)).collect();
        text += &format!(": {}", values.join(", "));
        if let (Some(operator), Some(threshold)) = (w.operator, w.threshold) {
            text += &format!(", and it takes {operator} {threshold}");
            if let Some(distance) = w.distance.filter(|_| !w.qualifies) {
                text += &format!(" ({distance} away)");
            }
        }
    } else if member {
        text += ": by a window that has closed";
    } else {
        text += ": none of their events is in an open window of it";
    }
    text
}

/// Records of each log that are searched for a user's events, the newest first.
const SEARCHED: [i64; 2] = [20_000, 180_000];
const STEP: usize = 20_000;
const SHOWN: usize = 10;

/// The newest events of a user that a segment takes in.
fn newest_events(app: &App, partition: u32, user: &str, segment: &cohort_compiler::program::Segment) -> Result<Vec<Value>, String> {
    // A segment over others has no filter of its own.
    let text = SourceText { name: "why".into(), kind: SourceKind::Sql, text: segment.sql.clone(), id: None };
    let Ok(program) = compile(&[text], &CompileOptions::default()) else { return Ok(vec![]) };
    let program = std::sync::Arc::new(program);
    let mut state = Partition::new(std::sync::Arc::clone(&program), Settings::default());
    let failed = |e: SourceError| e.to_string();
    let (first, mut until) = app.retained.range(partition).map_err(failed)?;
    let (mut found, mut batch, mut events, mut rejected) = (vec![], RawBatch::default(), EventBatch::default(), vec![]);
    for step in SEARCHED {
        let from = app.retained.back(partition, &until, step).map_err(failed)?;
        let mut records = app.retained.open(partition, &from).map_err(failed)?;
        let mut newer = vec![];
        let mut decoder = Decoder::new(projection(&program), &records.formats());
        let mut shown = Shown::new(records.formats());
        loop {
            records.read(&until, STEP, &mut batch).map_err(failed)?;
            if batch.is_empty() {
                break;
            }
            let topics = Topics::Each(&batch.topic_of, &batch.topics);
            decoder.decode(&batch.data, &batch.spans, topics, &mut events, &mut rejected).map_err(|e| e.to_string())?;
            let takes = state.takes(&events).map_err(|e| e.to_string())?;
            for i in (0..events.len()).filter(|&i| takes[i] && events.users.get(i) == user.as_bytes()) {
                let record = events.records[i] as usize;
                let mut event = shown.event(&batch, record).unwrap_or_default();
                event.insert("topic".into(), json!(&**batch.topic(record)));
                event.insert("offset".into(), json!(batch.offsets[record]));
                newer.push(Value::Object(event));
            }
        }
        found.extend(newer.into_iter().rev());
        if found.len() >= SHOWN || from == first {
            break;
        }
        until = from;
    }
    found.truncate(SHOWN);
    Ok(found)
}
