//! Errors of the API as RFC 9457 problems, whoever finds them: handlers, extractors, limits or panics.

use axum::Json;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cohort_compiler::diagnostic::Position;
use cohort_compiler::{Diagnostic, Diagnostics};
use serde::Serialize;
use utoipa::ToSchema;

use crate::catalog::CatalogError;

/// One of several errors in a text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TextError {
    /// What is wrong.
    pub message: String,
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// What would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A problem, as RFC 9457 has it, with the place in a text where there is one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Which kind of problem, as a relative URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// Line in the text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// Column in the text, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// What would be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// All errors, when a text has several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<TextError>,
    /// Segments that stand in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub segments: Vec<String>,
    /// PostgreSQL's code of the problem, where its kind does not say it.
    #[serde(skip)]
    pub sqlstate: Option<&'static str>,
}

/// What handlers return.
pub type ApiResult<T> = Result<T, Problem>;

impl Problem {
    /// A problem of a kind.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let mut title = kind.replace('-', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Problem {
            kind: format!("/problems/{kind}"),
            title,
            status: status.as_u16(),
            detail: detail.into(),
            line: None,
            column: None,
            hint: None,
            errors: vec![],
            segments: vec![],
            sqlstate: None,
        }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Problem::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 404 of a segment.
    pub fn no_segment(name: &str) -> Self {
        Problem::new(StatusCode::NOT_FOUND, "segment-not-found", format!("there is no segment {name:?}"))
    }

    /// 500; what happened goes to the log, not to the client.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal-error", "the request could not be served; the log says why")
    }

    /// Adds what would be accepted.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The problem of a text that stands at a position of a longer one.
    pub fn shifted(mut self, at: Position) -> Self {
        let shift = |line: &mut Option<u64>, column: &mut Option<u64>| {
            if let (Some(l), Some(c)) = (line.as_mut(), column.as_mut()) {
                *c += if *l == 1 { at.column.saturating_sub(1) } else { 0 };
                *l += at.line.saturating_sub(1);
            }
        };
        shift(&mut self.line, &mut self.column);
        self.errors.iter_mut().for_each(|e| shift(&mut e.line, &mut e.column));
        self
    }

    /// Names segments.
    pub fn with_segments(mut self, segments: Vec<String>) -> Self {
        self.segments = segments;
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn text_error(d: &Diagnostic) -> TextError {
    let at = |n: u64| (n > 0).then_some(n);
    TextError { message: d.message.clone(), line: at(d.line), column: at(d.column), hint: d.hint.clone() }
}

impl From<Diagnostics> for Problem {
    fn from(found: Diagnostics) -> Self {
        let errors: Vec<TextError> = found.0.iter().map(text_error).collect();
        let Some(first) = errors.first().cloned() else { return Problem::internal(&"no finding") };
        let problem = Problem::new(StatusCode::BAD_REQUEST, "invalid-segment", first.message);
        Problem { line: first.line, column: first.column, hint: first.hint, errors: if errors.len() > 1 { errors } else { vec![] }, ..problem }
    }
}

impl From<CatalogError> for Problem {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::NameTaken { .. } => Problem::new(StatusCode::CONFLICT, "name-taken", error.to_string()),
            CatalogError::Unknown { name } => Problem::no_segment(name),
            CatalogError::Stale { .. } => Problem::new(StatusCode::PRECONDITION_FAILED, "changed-meanwhile", error.to_string()),
            CatalogError::Database(_) if error.is_unreachable() => {
                tracing::error!(%error, "request failed");
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "catalog-unreachable", "the catalog does not answer; the log says why").hint("try again")
            }
            CatalogError::Unreachable { .. } => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "catalog-unreachable", error.to_string()),
            CatalogError::Database(_) => Problem::internal(&error),
        }
    }
}

impl From<cohort_connectors::embedded::EmbeddedError> for Problem {
    fn from(error: cohort_connectors::embedded::EmbeddedError) -> Self {
        Problem::internal(&error)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Problem::bad_request(rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the body is larger than this call takes"),
            _ => Problem::bad_request(rejection.body_text()),
        }
    }
}
