//! Runs a workload from JSON bytes in memory to results, with one thread a partition and each partition's
//! bytes apart, as Kafka would deliver them.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use cohort_compiler::{Program, SourceKind, SourceText};
use cohort_connectors::replay::partition_of;
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::{Late, Partition, ResultRow, Results, Settings};
use hdrhistogram::Histogram;
use serde_json::json;

use super::scenarios::{Kind, Workload};
use crate::generate::Generator;

/// What a run measured.
pub struct Outcome {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// CPU seconds of the process over the run.
    pub cpu: f64,
    /// Events accepted.
    pub events: u64,
    /// Results emitted.
    pub results: u64,
    /// Time from the start of a batch to its results.
    pub latency: Histogram<u64>,
    /// Most (user, window or pane) groups at the end of a batch, and bytes of state then.
    pub groups: (usize, usize),
}

/// Compiles a workload's segments.
pub fn compile(workload: &Workload) -> Result<Arc<Program>> {
    let kind = match workload.kind {
        Kind::Sql => SourceKind::Sql,
        Kind::Json => SourceKind::Json,
    };
    let source = SourceText { name: "workload".into(), kind, text: workload.text.clone(), id: None };
    Ok(Arc::new(crate::commands::compile_sources(&[source], None)?))
}

/// Generates a workload's events, apart by partition.
pub fn generate(workload: &Workload, partitions: u32) -> Vec<Vec<u8>> {
    let mut streams = vec![vec![]; partitions as usize];
    let mut generator = Generator::new(workload.generator.clone());
    let mut line = vec![];
    while generator.write_event(&mut line) {
        // The user is the first field of a generated event.
        let user = line.split(|b| *b == b'"').nth(3).unwrap_or_default();
        streams[partition_of(user, partitions) as usize].extend_from_slice(&line);
        line.clear();
    }
    streams
}

/// Cuts bytes into batches of so many lines.
pub fn batches(data: &[u8], rows: usize) -> Vec<&[u8]> {
    let mut batches = vec![];
    let (mut start, mut lines) = (0, 0);
    for end in memchr::memchr_iter(b'\n', data) {
        lines += 1;
        if lines == rows {
            batches.push(&data[start..=end]);
            (start, lines) = (end + 1, 0);
        }
    }
    if start < data.len() {
        batches.push(&data[start..]);
    }
    batches
}

/// Splits and decodes only: no state, no results.
pub fn ceiling(program: &Program, batches: &[&[u8]]) -> u64 {
    let mut decoder = JsonDecoder::new(projection(program));
    let (mut spans, mut events, mut rejected) = (vec![], EventBatch::default(), vec![]);
    let mut decoded = 0;
    for &batch in batches {
        split_lines(batch, &mut spans);
        decoder.decode(batch, &spans, Topics::None, &mut events, &mut rejected);
        decoded += std::hint::black_box(&events).len() as u64;
    }
    decoded
}

/// Does something with each stream, on a thread each.
pub fn each<S: Sync, T: Send>(streams: &[S], work: impl Fn(&S) -> Result<T> + Sync) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = streams.iter().map(|stream| scope.spawn(move || work(stream))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(anyhow!("a worker ended unexpectedly")))).collect()
    })
}

/// Runs a program over streams, which are cut into batches before, a thread each.
pub fn run(program: &Arc<Program>, streams: &[Vec<u8>], rows: usize) -> Result<Outcome> {
    let streams: Vec<Vec<&[u8]>> = streams.iter().map(|data| batches(data, rows)).collect();
    let (started, cpu) = (Instant::now(), crate::memory::cpu_seconds());
    let outcomes = each(&streams, |batches| one(program, batches))?;
    let mut total = Outcome {
        seconds: started.elapsed().as_secs_f64(),
        cpu: crate::memory::cpu_seconds() - cpu,
        events: 0,
        results: 0,
        latency: Histogram::new(3)?,
        groups: (0, 0),
    };
    for outcome in outcomes {
        total.events += outcome.events;
        total.results += outcome.results;
        total.latency.add(&outcome.latency)?;
        total.groups = (total.groups.0 + outcome.groups.0, total.groups.1 + outcome.groups.1);
    }
    Ok(total)
}

/// Results, which are looked at and forgotten in parts, as those who write them down do.
#[derive(Default)]
pub struct Counted {
    rows: Vec<ResultRow>,
    count: u64,
}

impl Counted {
    const PART: usize = 4_096;

    /// How many there were.
    pub fn total(&mut self) -> u64 {
        self.count += std::hint::black_box(&self.rows).len() as u64;
        self.rows.clear();
        self.count
    }
}

impl Extend<ResultRow> for Counted {
    #[inline]
    fn extend<T: IntoIterator<Item = ResultRow>>(&mut self, rows: T) {
        self.rows.extend(rows);
    }
}

impl Results for Counted {
    fn pause(&mut self, _: &Partition) {
        if self.rows.len() >= Self::PART {
            self.total();
        }
    }
}

fn one(program: &Arc<Program>, batches: &[&[u8]]) -> Result<Outcome> {
    let mut partition = Partition::new(Arc::clone(program), Settings { memory_limit: usize::MAX, ..Settings::default() });
    let mut decoder = JsonDecoder::new(projection(program));
    let (mut spans, mut events, mut rejected) = (vec![], EventBatch::default(), vec![]);
    let (mut out, mut late) = (Counted::default(), Late::default());
    let mut outcome = Outcome { seconds: 0.0, cpu: 0.0, events: 0, results: 0, latency: Histogram::new(3)?, groups: (0, 0) };
    for &batch in batches {
        let started = Instant::now();
        split_lines(batch, &mut spans);
        decoder.decode(batch, &spans, Topics::None, &mut events, &mut rejected);
        partition.process(&events, &mut out, &mut late)?;
        outcome.groups = outcome.groups.max((partition.groups(), partition.size()));
        if let Some(time) = partition.watermark() {
            partition.advance(time, &mut out)?;
        }
        outcome.events += events.len() as u64;
        outcome.results = out.total();
        outcome.latency.record(started.elapsed().as_micros() as u64)?;
    }
    // Above they may be as of some thousand events before.
    partition.look();
    outcome.groups = outcome.groups.max((partition.groups(), partition.size()));
    if let Some(newest) = partition.newest() {
        partition.finish(newest, &mut out)?;
        outcome.results = out.total();
    }
    Ok(outcome)
}

impl Outcome {
    /// The run as JSON.
    pub fn json(&self) -> serde_json::Value {
        let micros = |q: f64| self.latency.value_at_quantile(q);
        json!({
            "seconds": self.seconds, "cpuSeconds": self.cpu, "events": self.events, "results": self.results,
            "eventsPerSecond": self.events as f64 / self.seconds,
            "batchLatencyMicros": {"p50": micros(0.5), "p90": micros(0.9), "p99": micros(0.99), "max": self.latency.max()},
            "groups": self.groups.0, "stateBytes": self.groups.1,
        })
    }
}
