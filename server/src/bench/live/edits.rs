//! The `edits` scenario: what it takes to create, replace, pause and drop a segment, to list segments and to explain all
//! of them, over HTTP beside many others, idle and while events stream.

use std::time::Duration;

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, histogram, quantiles};
use super::feeder::Feeder;
use super::{Folder, lag, processed, rule, start, written};

const CALLS: u32 = 15;
const WARM_UP: Duration = Duration::from_secs(5);
/// Only the busiest users are in segments, as in most real ones: it is edits that are measured, not the profile store.
const HARDER: u32 = 50;

/// Runs the scenario in a folder of its own, which it removes.
pub async fn run(rules: u32, users: u64, partitions: Option<u32>, rate: u64, seed: u64) -> Result<Value> {
    let folder = Folder::new("edits");
    let service = start(&folder.0, partitions).await?;
    let edits = (0..rules).map(|i| rule(i, HARDER)).collect();
    service.edit(edits, "bench").await.map_err(|p| anyhow!(p.detail))?;
    let client = Client::serve(&service)?;
    let feeder = Feeder::start(&service, users, seed);
    let mut steps = vec![];
    for events in [0, rate] {
        feeder.set_rate(events);
        tokio::time::sleep(if events == 0 { Duration::ZERO } else { WARM_UP }).await;
        let (before, results, started) = (processed(&service), written(&service), std::time::Instant::now());
        let mut step = json!({"eventsPerSecond": events});
        for (what, times) in measure(&client).await? {
            step[what] = quantiles(&times);
        }
        let seconds = started.elapsed().as_secs_f64();
        step["processedPerSecond"] = json!(((processed(&service) - before) as f64 / seconds) as u64);
        step["resultsPerSecond"] = json!(((written(&service) - results) as f64 / seconds) as u64);
        step["lag"] = json!(lag(&service));
        steps.push(step);
    }
    feeder.stop();
    service.stop().await;
    Ok(json!({"rules": rules, "users": users, "steps": steps, "peakMemoryBytes": crate::memory::peak_bytes()}))
}

/// A segment over groups that others have, too.
fn segment(n: u32, value: u32) -> Value {
    json!({"name": format!("edited {n}"), "type": "INDEPENDENT", "windowMinutes": 30,
           "rules": [{"eventType": "orders", "attribute": "sum", "operator": "GT", "value": value}]})
}

/// What calls take, µs. The last drop leaves everything as it was.
async fn measure(client: &Client) -> Result<Vec<(&'static str, Histogram<u64>)>> {
    let mut all = vec![];
    for what in ["create", "replace", "pause", "drop", "list", "explain"] {
        let mut times = histogram()?;
        for n in 0..CALLS {
            let path = format!("/segments/edited%20{n}");
            let (method, path, body) = match what {
                "create" => (Method::POST, "/segments".to_string(), Some(segment(n, 900_000 + n))),
                "replace" => (Method::PUT, path, Some(segment(n, 950_000 + n))),
                "pause" => (Method::PATCH, format!("{path}/status"), Some(json!({"active": false}))),
                "drop" => (Method::DELETE, path, None),
                "list" => (Method::GET, "/segments".to_string(), None),
                _ => (Method::GET, "/explain".to_string(), None),
            };
            let (_, took) = client.call(method, &path, body.as_ref()).await?;
            times.record(took.as_micros() as u64)?;
        }
        all.push((what, times));
    }
    Ok(all)
}
