//! The web UI, which is in the binary: the files that `npm run build` leaves in `ui/embedded/dist`. Paths that are no file
//! are pages of the application. A binary that was built without Node.js has a page that says how to get it.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::{Embed, EmbeddedFile};

/// What was there at build time.
#[derive(Embed)]
#[folder = "ui/embedded"]
struct Files;

/// Only our own scripts, and nothing of other hosts. Components set styles of their own.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; frame-ancestors 'none'; base-uri 'self'",
);
/// Names of these files change with what is in them.
const ASSETS: &str = "assets/";

/// Answers what is a file or a page of the UI; nothing, when a path is neither.
pub fn answer(request: &Request) -> Option<Response> {
    let path = request.uri().path().trim_start_matches('/');
    if request.method() != Method::GET && request.method() != Method::HEAD || path.starts_with("api/") {
        return None;
    }
    let is_file = !path.is_empty() && Files::get(&format!("dist/{path}")).is_some();
    if !is_file && path.starts_with(ASSETS) {
        return None;
    }
    let name = match (is_file, Files::get("dist/index.html").is_some()) {
        (true, _) => format!("dist/{path}"),
        (false, true) => "dist/index.html".into(),
        (false, false) => "without.html".into(),
    };
    let forever = is_file && path.starts_with(ASSETS);
    Some(file(&name, request.headers(), forever))
}

/// A file, compressed as it was at build time if the browser takes that.
fn file(name: &str, asked: &HeaderMap, forever: bool) -> Response {
    let brotli = asked.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.split(',').any(|e| e.trim().starts_with("br")));
    let compressed = Files::get(&format!("{name}.br")).filter(|_| brotli);
    let encoded = compressed.is_some();
    let Some(file) = compressed.or_else(|| Files::get(name)) else { return StatusCode::NOT_FOUND.into_response() };
    let tag = tag(&file);
    let cache = HeaderValue::from_static(if forever { "public, max-age=31536000, immutable" } else { "no-cache" });
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (CONTENT_TYPE, HeaderValue::from_static(content_type(name))),
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (VARY, HeaderValue::from_static("accept-encoding")),
    ];
    if encoded {
        headers.push((CONTENT_ENCODING, HeaderValue::from_static("br")));
    }
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
    let known = asked.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|v| v.split(',').any(|t| t.trim().trim_start_matches("W/") == tag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Body::from(Bytes::from(file.data.into_owned())).into_response() };
    response.headers_mut().extend(headers);
    response
}

/// A tag of a file's contents.
fn tag(file: &EmbeddedFile) -> String {
    let hex: String = file.metadata.sha256_hash()[..12].iter().map(|b| format!("{b:02x}")).collect();
    format!("\"{hex}\"")
}

/// The content types of what a build leaves.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "webmanifest" | "map") => "application/json",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
