//! Results: the newest ones, and as they are emitted, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::IntoParams;

use super::App;
use super::extract::{Query, at_most};
use super::problem::{ApiResult, Problem};
use super::segments::blocking;
use crate::service::results::{SegmentResult, Told};

/// Which results to follow.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Follow {
    /// Only those of this segment, by id or name.
    segment: Option<String>,
    /// Only those of this user.
    user: Option<String>,
    /// Only these, with commas between: `entered`, `exited`, `result`.
    #[param(example = "entered,exited")]
    event: Option<String>,
}

/// Which of the newest results to list.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Newest {
    /// Only those of this segment, by id or name.
    segment: Option<String>,
    /// Only those of this user.
    user: Option<String>,
    /// Only these, with commas between: `entered`, `exited`, `result`.
    #[param(example = "entered,exited")]
    event: Option<String>,
    /// How many at most, up to 1000; 100 by default.
    limit: Option<usize>,
}

const EVENTS: [&str; 3] = ["entered", "exited", "result"];

/// Whether a result is wanted.
fn wanted(app: &App, segment: Option<String>, user: Option<String>, event: Option<String>) -> ApiResult<impl Fn(Told<'_>) -> bool + Send + 'static + use<>> {
    let segment = match segment {
        Some(name) => Some(app.current.load().find(&name).map(|s| s.name.clone()).ok_or_else(|| Problem::no_segment(&name))?),
        None => None,
    };
    let known = |word: &str| {
        let unknown = || Problem::bad_request(format!("there is no event {word:?}")).hint(format!("events are {}, with commas between", EVENTS.join(", ")));
        EVENTS.into_iter().find(|e| *e == word).ok_or_else(unknown)
    };
    let events = event.map(|list| list.split(',').map(|word| known(word.trim())).collect::<ApiResult<Vec<_>>>()).transpose()?;
    Ok(move |r: Told<'_>| {
        segment.as_deref().is_none_or(|s| s == r.segment) && user.as_deref().is_none_or(|u| u == r.user) && events.as_ref().is_none_or(|e| e.contains(&r.event))
    })
}

/// The newest results that are kept, newest first: the last 100,000 since the service started.
#[utoipa::path(get, path = "/results", operation_id = "listResults", tag = "results", params(Newest), responses((status = 200, body = Vec<SegmentResult>), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn newest(State(app): State<App>, Query(which): Query<Newest>) -> ApiResult<Json<Vec<SegmentResult>>> {
    let limit = at_most("limit", which.limit, 100, 1_000)?;
    let fits = wanted(&app, which.segment, which.user, which.event)?;
    blocking(move || Json(app.results.recent(limit, fits))).await
}

/// Results from now on: events `entered`, `exited` and `result`. A client that is too slow gets an event `lagged`
/// with the number of batches that it missed.
#[utoipa::path(get, path = "/results/stream", operation_id = "followResults", tag = "results", params(Follow), responses((status = 200, body = SegmentResult, content_type = "text/event-stream"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn stream(State(app): State<App>, Query(follow): Query<Follow>) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let fits = wanted(&app, follow.segment, follow.user, follow.event)?;
    let batches = BroadcastStream::new(app.results.listen());
    let events = batches.flat_map(move |batch| {
        let events: Vec<Result<Event, Infallible>> = match batch {
            Ok(rows) => rows.iter().filter(|r| fits(r.told())).filter_map(|r| Event::default().event(r.event).json_data(r).ok()).map(Ok).collect(),
            Err(BroadcastStreamRecvError::Lagged(missed)) => vec![Ok(Event::default().event("lagged").data(missed.to_string()))],
        };
        stream::iter(events)
    });
    // Says at once that the stream is open.
    let hello = stream::once(async { Ok(Event::default().comment("open")) });
    Ok(Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}
