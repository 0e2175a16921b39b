//! The `live` scenario: the service on embedded stores, in this process, with a generator that appends events of the
//! present. First the rate that it can sustain is found, then the time from an event's arrival to its result in the
//! sink is measured at parts of that rate. Generator and service share the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use cohort_connectors::embedded::log::Record;
use serde_json::{Value, json};

use crate::catalog::Edit;
use crate::config::Config;
use crate::generate::{Generator, GeneratorConfig};
use crate::service::{Service, system_clock};

/// Events that may wait while the sustainable rate is looked for.
const WAITING: u64 = 200_000;
const SEARCH: Duration = Duration::from_secs(6);
const WARM_UP: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_secs(8);
const PERCENTS: [u64; 3] = [10, 50, 90];
const SLICE: Duration = Duration::from_millis(10);

/// Runs the scenario in a folder of its own, which it removes.
pub async fn run(rules: u32, users: u64, seed: u64) -> Result<Value> {
    let folder = std::env::temp_dir().join(format!("cohort-bench-{}-{rules}", std::process::id()));
    let outcome = measure(&folder, rules, users, seed).await;
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

async fn measure(folder: &std::path::Path, rules: u32, users: u64, seed: u64) -> Result<Value> {
    let set = [("data".to_string(), folder.display().to_string()), ("engine.memory_limit".to_string(), "4GiB".to_string())];
    let config = Config::load(None, &set).map_err(|e| anyhow!(e.to_string()))?;
    let service = Service::start(config, system_clock()).await?;
    let edits = (0..rules).map(rule).collect();
    service.edit(edits, "bench").await.map_err(|p| anyhow!(p.detail))?;

    let feeder = Feeder::start(&service, users, seed);
    feeder.rate.store(u64::MAX, Ordering::Relaxed);
    tokio::time::sleep(WARM_UP).await;
    let (before, started) = (processed(&service), Instant::now());
    tokio::time::sleep(SEARCH).await;
    let sustained = ((processed(&service) - before) as f64 / started.elapsed().as_secs_f64()) as u64;
    let mut steps = vec![];
    for percent in PERCENTS {
        feeder.rate.store(0, Ordering::Relaxed);
        while lag(&service) > 0 {
            tokio::time::sleep(SLICE).await;
        }
        feeder.rate.store(sustained * percent / 100, Ordering::Relaxed);
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
    Ok(json!({"rules": rules, "users": users, "sustainedEventsPerSecond": sustained, "steps": steps}))
}

/// A rule that few users qualify for, each another.
fn rule(i: u32) -> Edit {
    let event_type = ["orders", "clicks", "addToCart"][i as usize % 3];
    let (attribute, threshold) = if i.is_multiple_of(2) { ("sum", 1_500 + i * 3 % 20_000) } else { ("count", 8 + i % 90) };
    let name = format!("rule {i}");
    let minutes = [5, 30, 60][i as usize / 3 % 3];
    let body = json!({"name": name, "type": "INDEPENDENT", "windowMinutes": minutes,
        "rules": [{"eventType": event_type, "attribute": attribute, "operator": "GT", "value": threshold}]});
    Edit::Create { name, body, description: String::new(), origin: "api".into(), active: true }
}

fn processed(service: &Service) -> u64 {
    service.runtime.workers().iter().flat_map(|w| &w.partitions).map(|p| p.counts.events.values().sum::<u64>()).sum()
}

fn lag(service: &Service) -> u64 {
    service.runtime.workers().iter().flat_map(|w| &w.partitions).map(|p| p.lag).sum()
}

/// A thread that appends events of the present at a rate.
struct Feeder {
    rate: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Feeder {
    fn start(service: &Arc<Service>, users: u64, seed: u64) -> Self {
        let (rate, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (service, its_rate, its_stop) = (Arc::clone(service), Arc::clone(&rate), Arc::clone(&stop));
        let thread = std::thread::spawn(move || feed(&service, users, seed, &its_rate, &its_stop));
        Feeder { rate, stop, thread }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

fn feed(service: &Service, users: u64, mut seed: u64, rate: &AtomicU64, stop: &AtomicBool) {
    let (mut next, mut owed) = (Instant::now(), 0.0);
    while !stop.load(Ordering::Relaxed) {
        let rate = rate.load(Ordering::Relaxed);
        let events = if rate == u64::MAX {
            if lag(service) > WAITING {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            next = Instant::now();
            4_096
        } else {
            next += SLICE;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            owed += rate as f64 * SLICE.as_secs_f64();
            let events = owed as u64;
            owed -= events as f64;
            events
        };
        seed += 1;
        append(service, events, users, seed);
    }
}

fn append(service: &Service, events: u64, users: u64, seed: u64) {
    let now = (service.clock)();
    let mut generator = Generator::new(GeneratorConfig { events, users, seed, from_ms: now - 10, span_ms: 10, disorder_ms: 0, ..GeneratorConfig::default() });
    let mut made = Vec::with_capacity(events as usize);
    while let Some(event) = generator.next_event() {
        let topic = event.topic().name();
        made.push((topic, serde_json::to_vec(&event).unwrap_or_default(), event.user_id));
    }
    let records: Vec<Record<'_>> = made.iter().map(|(topic, payload, user)| Record { topic, user: user.as_bytes(), payload }).collect();
    if let Err(error) = service.log.append(&records, now) {
        tracing::error!(%error, "the log takes no events");
    }
}
