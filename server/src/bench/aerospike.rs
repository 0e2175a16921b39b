//! The `aerospike` scenario: writes a second and their latency, batched against one by one, to a server that runs.
//! Records go to a set of their own, and expire in a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use cohort_connectors::aerospike::sink::{AerospikeSink, AerospikeStatus};
use cohort_connectors::aerospike::{Aerospike, AerospikeOptions};
use cohort_engine::sink::{Amiss, ResultBatch, SegmentName, Sink};
use cohort_engine::{ResultKind, ResultRow};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Segments of each user's results.
const SEGMENTS: usize = 5;

/// Runs the scenario: `users` records in each way, one by one a tenth of them.
pub async fn measure(hosts: &str, namespace: &str, users: u64) -> Result<Value> {
    let ways = [
        ("one by one", 1, 1, users / 10),
        ("one by one, 64 at a time", 1, 64, users),
        ("batches of 256, 1 at a time", 256, 1, users),
        ("batches of 256, 8 at a time", 256, 8, users),
    ];
    let mut rows = vec![];
    for (what, batch, in_flight, users) in ways {
        let options = AerospikeOptions {
            hosts: hosts.into(),
            namespace: namespace.into(),
            set: "cohort_bench".into(),
            ttl: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            login: None,
            tls: None,
            batch,
            in_flight,
        };
        let aerospike = Aerospike::new(options);
        if let Err(problem) = aerospike.client().await {
            bail!("{problem}");
        }
        let status = Arc::new(AerospikeStatus::default());
        let mut sink = AerospikeSink::new(aerospike, tokio::runtime::Handle::current(), Arc::clone(&status));
        let row = tokio::task::spawn_blocking(move || way(&mut sink, what, batch * in_flight, users)).await??;
        rows.push(row);
    }
    Ok(json!({"hosts": hosts, "namespace": namespace, "segmentsPerUser": SEGMENTS, "rows": rows}))
}

/// Writes users' results, as many at a time as go together.
fn way(sink: &mut AerospikeSink, what: &str, together: usize, users: u64) -> Result<Value> {
    let (mut latency, started) = (Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?, Instant::now());
    let all: Vec<u64> = (0..users.max(1)).collect();
    for some in all.chunks(together) {
        let (batch, began) = (results(some), Instant::now());
        sink.write(&[batch], &mut Amiss::default()).map_err(|e| anyhow!("{e}"))?;
        latency.record(began.elapsed().as_micros() as u64)?;
    }
    let rate = all.len() as f64 / started.elapsed().as_secs_f64();
    let ms = |q: f64| latency.value_at_quantile(q) as f64 / 1_000.0;
    Ok(json!({"what": what, "records": all.len(), "writesPerSecond": rate, "flushOf": together, "p50Ms": ms(0.5), "p95Ms": ms(0.95), "p99Ms": ms(0.99)}))
}

fn results(users: &[u64]) -> ResultBatch {
    let name = |s: usize| SegmentName { segment: format!("segment_{s}").as_str().into(), rule: format!("rule_{s}").as_str().into() };
    let mut batch = ResultBatch { names: Arc::new((0..SEGMENTS).map(name).collect()), ..ResultBatch::default() };
    for user in users {
        for segment in 0..SEGMENTS {
            batch.users.push(format!("user_{user}").as_bytes());
            batch.member.push(true);
            batch.rows.push(ResultRow {
                segment: segment as u32,
                user: 0,
                kind: ResultKind::Change,
                qualified: true,
                value: Some(*user as f64),
                timestamp: 1_750_000_000_000,
                window_start: 1_750_000_000_000,
                window_end: 1_750_000_300_000,
            });
        }
    }
    batch
}
