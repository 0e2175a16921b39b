//! The HTTP API: one file a noun. Errors are [`problem::Problem`]s, whoever finds them; the OpenAPI document is made
//! from the handlers.

pub mod auth;
pub mod check;
pub mod events;
pub mod explain;
pub mod extract;
pub mod metrics;
pub mod preview;
pub mod problem;
pub mod results;
pub mod segments;
pub mod sql;
pub mod status;
pub mod ui;
pub mod users;
pub mod wrong;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use opentelemetry::trace::Status;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::service::Service;
use crate::telemetry;
use auth::Tokens;
use problem::Problem;

/// What handlers share.
pub type App = Arc<Service>;

const REQUEST_ID: &str = "x-request-id";
const BODY: usize = 1 << 20;
const EVENTS_BODY: usize = 16 << 20;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cohort",
        description = "Decides, as events arrive, which audience segments each user is in. Errors are RFC 9457 problems.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    modifiers(&Bearer),
    security((), ("token" = [])),
    tags(
        (name = "segments", description = "What there is, what it means, who is in it"),
        (name = "users", description = "What a user is in, and why"),
        (name = "events", description = "What comes in, and what is not accepted"),
        (name = "results", description = "Who enters and exits"),
        (name = "sql", description = "Statements"),
        (name = "explain", description = "How segments run, and what they share"),
        (name = "status", description = "How the service stands, and who calls")
    ),
    // Those of parameters, which are not found by themselves.
    components(schemas(segments::Sort, segments::Order, segments::MembersFormat))
)]
struct Document;

/// Says that tokens are sent as `Authorization: Bearer`.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("token", token);
    }
}

/// The routes under `/api/v1`, with their document.
fn routes() -> OpenApiRouter<App> {
    let events = OpenApiRouter::new().routes(routes!(events::post)).layer(DefaultBodyLimit::max(EVENTS_BODY));
    OpenApiRouter::new()
        .routes(routes!(segments::list, segments::create))
        .routes(routes!(segments::rules))
        .routes(routes!(segments::rules_of))
        .routes(routes!(preview::preview))
        .routes(routes!(check::check))
        .routes(routes!(segments::get, segments::replace, segments::drop))
        .routes(routes!(segments::set_status))
        .routes(routes!(segments::members))
        .routes(routes!(segments::stats))
        .routes(routes!(segments::versions))
        .routes(routes!(segments::audit))
        .routes(routes!(sql::run))
        .routes(routes!(explain::running, explain::text))
        .routes(routes!(users::list))
        .routes(routes!(users::segments))
        .routes(routes!(users::events))
        .routes(routes!(users::timeline))
        .routes(routes!(users::why))
        .routes(routes!(events::generate))
        .routes(routes!(events::topics))
        .routes(routes!(events::dead_letters))
        .routes(routes!(events::reasons))
        .routes(routes!(results::newest))
        .routes(routes!(results::stream))
        .routes(routes!(status::status))
        .routes(routes!(status::history))
        .routes(routes!(status::config))
        .routes(routes!(status::me))
        .layer(DefaultBodyLimit::max(BODY))
        .merge(events)
}

/// All routes of the API, with Cohort's document.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", routes())
}

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    api().into_openapi()
}

/// Everything that the service answers.
pub fn router(service: &App, tokens: Arc<Tokens>, recorded: metrics_exporter_prometheus::PrometheusHandle) -> Router {
    let (api, document) = api().split_for_parts();
    let config = &service.config.server;
    let timeout = config.request_timeout.duration();
    let api = api
        .route(
            "/api/v1/openapi.json",
            get({
                let document = document.clone();
                || async move { Json(document) }
            }),
        )
        .layer(middleware::from_fn(move |request: Request, next: Next| limit_time(timeout, request, next)))
        .layer(middleware::from_fn_with_state(Arc::clone(&tokens), auth::check))
        .with_state(Arc::clone(service));
    let compressed = SizeAbove::new(1024).and(NotForContentType::new("text/event-stream"));
    let mut router = Router::new()
        .merge(api)
        .merge(utoipa_swagger_ui::SwaggerUi::new("/docs").url("/docs/openapi.json", document))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(status::ready).with_state(Arc::clone(service)))
        .route("/metrics", get(metrics::text).with_state((Arc::clone(service), recorded, tokens)))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn(record))
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| Problem::internal(&"a handler panicked").into_response()));
    if !config.cors.is_empty() {
        let origins: Vec<HeaderValue> = config.cors.iter().filter_map(|o| o.parse().ok()).collect();
        // By name, as `*` would not let Authorization through.
        let cors = CorsLayer::permissive().allow_headers(AllowHeaders::mirror_request());
        router = router.layer(cors.allow_origin(AllowOrigin::list(origins)));
    }
    let id = HeaderName::from_static(REQUEST_ID);
    router.layer(PropagateRequestIdLayer::new(id.clone())).layer(SetRequestIdLayer::new(id, MakeRequestUuid))
}

/// What is no route is the UI's, if it is anything.
async fn no_route(request: Request) -> Response {
    ui::answer(&request).unwrap_or_else(|| {
        let detail = format!("there is nothing at {}", request.uri().path());
        Problem::new(StatusCode::NOT_FOUND, "not-found", detail).hint("the API is described at /docs").into_response()
    })
}

async fn no_method(request: Request) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", format!("{} is not something to do with {}", request.method(), request.uri().path()))
}

/// Ends requests that take too long; streams begin in time and go on.
async fn limit_time(timeout: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", format!("the request took longer than {} s", timeout.as_secs())).into_response(),
    }
}

/// Counts, times and traces requests by route and status.
async fn record(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("other".to_string(), |p| p.as_str().to_string());
    let method = request.method().to_string();
    let span = request_span(&request, &method, &route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(status.canonical_reason().unwrap_or_default()));
    }
    let labels = [("method", method), ("route", route), ("status", status.as_u16().to_string())];
    ::metrics::counter!("cohort_http_requests_total", &labels).increment(1);
    ::metrics::histogram!("cohort_http_request_seconds", &labels[..2]).record(started.elapsed().as_secs_f64());
    response.headers_mut().entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    response
}

/// The span of a request, part of its caller's trace. Logs within it have its id.
fn request_span(request: &Request, method: &str, route: &str) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("request", otel.name = format!("{method} {route}"), otel.kind = "server", request_id = id);
    // Only layers that trace need a parent.
    let _ = span.set_parent(telemetry::caller(request.headers()));
    span.set_attribute("http.request.method", method.to_string());
    span.set_attribute("http.route", route.to_string());
    span.set_attribute("url.path", request.uri().path().to_string());
    span
}
