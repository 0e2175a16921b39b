//! The API of a service of this process on loopback, and what calls of it take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::Method;
use serde_json::{Value, json};

use crate::api;
use crate::api::auth::Tokens;
use crate::service::Service;

/// A client with connections that stay open.
#[derive(Clone)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// Serves the API of a service, and connects to it.
    pub fn serve(service: &Arc<Service>) -> Result<Self> {
        let tokens = Tokens::new(&[]).map_err(anyhow::Error::msg)?;
        let router = api::router(service, Arc::new(tokens), PrometheusBuilder::new().build_recorder().handle());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("loopback")?;
        let base = format!("http://{}/api/v1", listener.local_addr()?);
        let server = axum_server::from_tcp(listener)?;
        tokio::spawn(server.serve(router.into_make_service()));
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).tcp_nodelay(true).build()?;
        Ok(Client { base, http })
    }

    /// A call, with the time that it took until its answer was read.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(Vec<u8>, Duration)> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = body.into_iter().fold(request, |r, body| r.json(body));
        let started = Instant::now();
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok((body.to_vec(), started.elapsed()))
    }
}

/// Times of calls as JSON, in milliseconds.
pub fn quantiles(micros: &Histogram<u64>) -> Value {
    let at = |q: f64| micros.value_at_quantile(q) as f64 / 1e3;
    json!({"calls": micros.len(), "p50Ms": at(0.5), "p95Ms": at(0.95), "p99Ms": at(0.99), "maxMs": micros.max() as f64 / 1e3})
}

/// Times of calls, in microseconds.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 600_000_000, 3)?)
}
