//! Results as they are emitted, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use utoipa::IntoParams;

use super::App;
use super::extract::Query;
use super::problem::{ApiResult, Problem};
use crate::service::results::SegmentResult;

/// Which results to follow.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Follow {
    /// Only those of this segment, by id or name.
    segment: Option<String>,
    /// Only those of this user.
    user: Option<String>,
}

/// Results from now on: events `entered`, `exited` and `result`. A client that is too slow gets an event `lagged`
/// with the number of batches that it missed.
#[utoipa::path(get, path = "/results/stream", tag = "results", params(Follow), responses((status = 200, body = SegmentResult, content_type = "text/event-stream"), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn stream(State(app): State<App>, Query(follow): Query<Follow>) -> ApiResult<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let segment = match follow.segment {
        Some(name) => Some(app.current.load().find(&name).map(|s| s.name.clone()).ok_or_else(|| Problem::no_segment(&name))?),
        None => None,
    };
    let fits = move |r: &SegmentResult| segment.as_deref().is_none_or(|s| s == r.segment_id) && follow.user.as_deref().is_none_or(|u| u == r.user_id);
    let batches = BroadcastStream::new(app.results.listen());
    let events = batches.flat_map(move |batch| {
        let events: Vec<Result<Event, Infallible>> = match batch {
            Ok(rows) => rows.iter().filter(|r| fits(r)).filter_map(|r| Event::default().event(r.event).json_data(r).ok()).map(Ok).collect(),
            Err(BroadcastStreamRecvError::Lagged(missed)) => vec![Ok(Event::default().event("lagged").data(missed.to_string()))],
        };
        stream::iter(events)
    });
    // Says at once that the stream is open.
    let hello = stream::once(async { Ok(Event::default().comment("open")) });
    Ok(Sse::new(hello.chain(events)).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}
