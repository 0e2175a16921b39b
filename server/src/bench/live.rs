//! The `live` scenario: the service on embedded stores, in this process, with a generator that appends events of the
//! present. First the rate that it can sustain is found, then the time from an event's arrival to its result in the
//! sink is measured at parts of that rate. Generator and service share the machine. [`edits`] and [`lookups`] are
//! scenarios over the API of such a service.

mod client;
pub mod edits;
mod feeder;
pub mod lookups;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use crate::catalog::Edit;
use crate::config::Config;
use crate::service::{Service, system_clock};
use feeder::Feeder;

const SEARCH: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(8);
const PERCENTS: [u64; 3] = [10, 50, 90];
const SLICE: Duration = Duration::from_millis(10);

/// A folder that goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Folder(std::env::temp_dir().join(format!("cohort-bench-{}-{name}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A service on embedded stores in a folder.
async fn start(folder: &Path, partitions: Option<u32>) -> Result<Arc<Service>> {
    let mut set = vec![("data".to_string(), folder.display().to_string()), ("engine.memory_limit".to_string(), "4GiB".to_string())];
    set.extend(partitions.map(|n| ("source.partitions".to_string(), n.to_string())));
    let config = Config::load(None, &set).map_err(|e| anyhow!(e.to_string()))?;
    Service::start(config, system_clock()).await
}

/// Runs the scenario in a folder of its own, which it removes.
pub async fn run(rules: u32, users: u64, partitions: Option<u32>, seed: u64) -> Result<Value> {
    let folder = Folder::new("live");
    let service = start(&folder.0, partitions).await?;
    let edits = (0..rules).map(|i| rule(i, 1)).collect();
    service.edit(edits, "bench").await.map_err(|p| anyhow!(p.detail))?;

    let feeder = Feeder::start(&service, users, seed);
    feeder.set_rate(u64::MAX);
    tokio::time::sleep(WARM_UP).await;
    let (before, started) = (processed(&service), Instant::now());
    tokio::time::sleep(SEARCH).await;
    let sustained = ((processed(&service) - before) as f64 / started.elapsed().as_secs_f64()) as u64;
    let mut steps = vec![];
    for percent in PERCENTS {
        feeder.set_rate(0);
        while lag(&service) > 0 {
            tokio::time::sleep(SLICE).await;
        }
        feeder.set_rate(sustained * percent / 100);
        tokio::time::sleep(WARM_UP).await;
        service.results.take_latency();
        tokio::time::sleep(STEP).await;
        let latency = service.results.take_latency().ok_or_else(|| anyhow!("no measurement"))?;
        let at = |q: f64| latency.value_at_quantile(q);
        steps.push(json!({
            "percent": percent, "eventsPerSecond": sustained * percent / 100, "results": latency.len(), "lag": lag(&service),
            "p50Ms": at(0.5), "p95Ms": at(0.95), "p99Ms": at(0.99), "maxMs": latency.max(),
        }));
    }
    feeder.stop();
    service.stop().await;
    Ok(json!({"rules": rules, "users": users, "partitions": service.log.partitions(), "sustainedEventsPerSecond": sustained, "steps": steps}))
}

/// A rule that few users qualify for, each another; `harder` raises its threshold.
fn rule(i: u32, harder: u32) -> Edit {
    let event_type = ["orders", "clicks", "addToCart"][i as usize % 3];
    let (attribute, threshold) = if i.is_multiple_of(2) { ("sum", 1_500 + i * 3 % 20_000) } else { ("count", 8 + i % 90) };
    let name = format!("rule {i}");
    let minutes = [5, 30, 60][i as usize / 3 % 3];
    let body = json!({"name": name, "type": "INDEPENDENT", "windowMinutes": minutes,
        "rules": [{"eventType": event_type, "attribute": attribute, "operator": "GT", "value": threshold * harder}]});
    Edit::Create { name, body, description: String::new(), origin: "api".into(), active: true }
}

fn processed(service: &Service) -> u64 {
    service.runtime.workers().iter().flat_map(|w| &w.partitions).map(|p| p.counts.events.values().sum::<u64>()).sum()
}

fn lag(service: &Service) -> u64 {
    service.runtime.workers().iter().flat_map(|w| &w.partitions).map(|p| p.lag).sum()
}

/// Results that were written.
fn written(service: &Service) -> u64 {
    service.runtime.outbox().results.load(Ordering::Relaxed)
}

/// Waits until all that was appended is read, and all results are written.
async fn settled(service: &Service) {
    while lag(service) > 0 || service.runtime.queued() > 0 {
        tokio::time::sleep(SLICE).await;
    }
}
