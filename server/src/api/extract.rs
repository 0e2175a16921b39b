//! Extractors whose rejections are [`Problem`]s.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A JSON body.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json").to_ascii_lowercase();
        if !kind.starts_with("application/json") && !kind.contains("+json") {
            let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", format!("the body is {kind}"));
            return Err(problem.hint("send Content-Type: application/json"));
        }
        let bytes = Bytes::from_request(request, state).await?;
        parse(&bytes).map(Body)
    }
}

/// Reads JSON; an error says where.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|e| {
        let message = e.to_string();
        let detail = message.split(" at line ").next().unwrap_or(&message).to_string();
        let at = |n: usize| (n > 0).then_some(n as u64);
        Problem { line: at(e.line()), column: at(e.column()), ..Problem::new(StatusCode::BAD_REQUEST, "invalid-json", detail) }
    })
}

/// The query of a URL.
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let axum::extract::Query(value) = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Query(value))
    }
}

/// How many items to answer with: as many as are asked for by `key`, but not more than `most`.
///
/// # Errors
/// When none are asked for.
pub fn at_most(key: &str, asked: Option<usize>, otherwise: usize, most: usize) -> Result<usize, Problem> {
    match asked {
        Some(0) => Err(Problem::bad_request(format!("{key} must be at least 1")).hint(format!("from 1 to {most}"))),
        asked => Ok(asked.unwrap_or(otherwise).min(most)),
    }
}

/// Parts of a path, none of which is empty.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state).await.map_err(|e| Problem::bad_request(e.body_text()))?;
        if let Some((key, _)) = raw.iter().find(|(_, value)| value.is_empty()) {
            let detail = format!("there is nothing at {}: {key} is empty", parts.uri.path());
            return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", detail));
        }
        let axum::extract::Path(value) = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Path(value))
    }
}
