//! Segments tried out before they run, over events that are kept or over objects of a store, alone or against another
//! version of themselves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use cohort_compiler::{Program, SourceKind, SourceText};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tracing::Instrument;
use utoipa::ToSchema;

use super::App;
use super::extract::Body;
use super::problem::{ApiResult, Problem};
use super::segments::{SegmentInput, blocking};
use crate::comparison::Compared;
use crate::service::segments::{Draft, draft, source};
use crate::service::trial::{self, Trial, TrialError};

/// A segment to try out, and over which events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewInput {
    /// Events appended from then on, ms since the epoch; all that are kept by default. With `source`, events of that time or
    /// later.
    from: Option<i64>,
    /// Events appended until then; with `source`, events before that time.
    to: Option<i64>,
    /// Events of files and objects instead of those that are kept: a URL below one of `backtest.sources`.
    source: Option<String>,
    /// Another version of the segment, which is run along and compared with.
    against: Option<Against>,
    /// The segment, as for creating it.
    #[serde(flatten)]
    #[schema(value_type = SegmentInput)]
    segment: Map<String, Value>,
}

/// What a preview is compared with.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Against {
    /// `current`: the active segment of the same name.
    #[schema(example = "current")]
    Named(String),
    /// A version of the segment, as for creating it.
    #[schema(value_type = SegmentInput)]
    Segment(Map<String, Value>),
}

/// A point of a size over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Point {
    /// Event time, ms since the epoch.
    pub time: i64,
    /// Members.
    pub size: u64,
}

/// What was read of files and objects.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceRead {
    /// Objects read.
    pub objects: u64,
    /// Bytes that came of them.
    pub bytes: u64,
    /// Objects outside the time, by their folders.
    pub objects_skipped: u64,
    /// Their bytes.
    pub bytes_skipped: u64,
    /// Row groups of Parquet read.
    pub row_groups: u64,
    /// Row groups outside the time, by their statistics.
    pub row_groups_skipped: u64,
    /// Objects that by their names have no events.
    pub left_out: u64,
    /// Events before `from` that were read as windows reach back.
    pub lead_in: u64,
}

/// What a segment would have been.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Members at the end.
    pub size: u64,
    /// Some of them.
    pub sample: Vec<String>,
    /// Size by event time.
    pub over_time: Vec<Point>,
    /// Users who became members, each time.
    pub entered: u64,
    /// Users who ceased to be members, each time.
    pub exited: u64,
    /// Events read.
    pub rows: u64,
    /// Whether it was ended before all events were read.
    pub partial: bool,
    /// How long it took.
    pub millis: u64,
    /// Members of the running segment of that name who would not be, and the reverse; not with `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// Both versions over the same events, with `against`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Compared>,
    /// What was read, with `source`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceRead>,
}

/// How a preview differs from what runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Difference {
    added: u64,
    removed: u64,
    added_sample: Vec<String>,
    removed_sample: Vec<String>,
}

/// Runs a segment that does not run over retained events, or over files and objects.
#[utoipa::path(post, path = "/segments/preview", operation_id = "previewSegment", tag = "segments", request_body = PreviewInput, responses((status = 200, body = Preview), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn preview(State(app): State<App>, Body(input): Body<PreviewInput>) -> ApiResult<Json<Preview>> {
    if let (Some(from), Some(to)) = (input.from, input.to)
        && from > to
    {
        return Err(
            Problem::bad_request(format!("from ({from}) is after to ({to})")).hint("events appended from `from` until `to` are read, in ms since the epoch")
        );
    }
    match &input.source {
        Some(url) => trial::allowed(&app.config.backtest.sources, url).map_err(|detail| {
            Problem::new(StatusCode::FORBIDDEN, "source-not-allowed", detail).hint("backtest.sources of the configuration names what may be read")
        })?,
        None => app.needs_events("a preview runs over")?,
    }
    let body = Value::Object(input.segment);
    let draft = draft(&body, Some("preview"))?;
    let against = input.against.map(|against| other_version(&app, &draft, against)).transpose()?;
    let compares = against.is_some();
    let program = compile(&app, &draft, against).await?;
    let trial = Trial { name: draft.name.clone(), from: input.from, to: input.to, source: input.source, compares };
    // Files may be large, and a bucket is not ours: one at a time.
    let _one_at_a_time = if trial.source.is_some() { Some(app.backtesting.lock().await) } else { None };
    let span = tracing::info_span!("preview", segment = draft.name);
    let outcome = blocking({
        let app = Arc::clone(&app);
        move || {
            let (mut preview, members) = trial.run(&app, &program)?;
            if trial.source.is_none() && app.current.load().compiled(&trial.name).is_some() {
                preview.difference = Some(difference(&app, &trial.name, &members)?);
            }
            Ok(preview)
        }
    });
    outcome.instrument(span).await?.map(Json).map_err(|e: TrialError| match e {
        TrialError::Source(detail) => Problem::new(StatusCode::BAD_REQUEST, "source-unreadable", detail),
        TrialError::Other(error) => Problem::internal(&error),
    })
}

/// Compiles the segment beside what runs, and beside another version of itself.
async fn compile(app: &App, draft: &Draft, against: Option<SourceText>) -> ApiResult<Arc<Program>> {
    let text = source("preview", &draft.name, &draft.body);
    let by_sql = text.kind == SourceKind::Sql;
    let text = SourceText { name: if by_sql { "sql".into() } else { text.name.clone() }, id: None, ..text };
    let is_query = by_sql && !draft.body["sql"].as_str().is_some_and(|s| s.trim_start().to_lowercase().starts_with("create"));
    // A query is the second line of the statement that it is made into.
    let unwrapped = |p: Problem| if is_query { Problem { line: p.line.map(|l| l.saturating_sub(1)).filter(|l| *l > 0), ..p } } else { p };
    Ok(app.compile_beside(text, against).await.map_err(unwrapped)?.0)
}

/// The text of the version to compare with.
fn other_version(app: &App, newer: &Draft, against: Against) -> ApiResult<SourceText> {
    let text = match against {
        Against::Named(name) if name == "current" => {
            let current = app.current.load_full();
            let stored = current.find(&newer.name).filter(|s| s.active && s.name == newer.name);
            let stored = stored.ok_or_else(|| {
                let detail = format!("no active segment is called {:?}, so there is no current version to compare with", newer.name);
                Problem::bad_request(detail).hint("name the segment as it is named, or give the other version: {\"against\": {\"sql\": …}}")
            })?;
            source(&stored.id, &stored.name, &stored.body)
        }
        Against::Named(other) => {
            let what = format!("against is \"current\" or a segment, not {}", json!(other));
            return Err(Problem::bad_request(what).hint("{\"against\": \"current\"}, or {\"against\": {\"sql\": …}}"));
        }
        Against::Segment(mut body) => {
            body.entry("name").or_insert_with(|| json!(newer.name));
            let older = draft(&Value::Object(body), None)?;
            if older.name != newer.name {
                return Err(Problem::bad_request(format!("against must be a version of {:?}, not {:?}", newer.name, older.name)));
            }
            source("against", &older.name, &older.body)
        }
    };
    Ok(SourceText { name: "against".into(), id: None, ..text })
}

fn difference(app: &App, name: &str, members: &std::collections::BTreeSet<String>) -> Result<Difference, String> {
    let running = app.profiles.members(name, None, usize::MAX).map_err(|e| e.to_string())?;
    let running: std::collections::BTreeSet<String> = running.into_iter().map(|(user, _)| user).collect();
    let (added, removed): (Vec<_>, Vec<_>) = (members.difference(&running).collect(), running.difference(members).collect());
    let sample = |users: &[&String]| users.iter().take(20).map(|u| (*u).clone()).collect();
    Ok(Difference { added: added.len() as u64, removed: removed.len() as u64, added_sample: sample(&added), removed_sample: sample(&removed) })
}
