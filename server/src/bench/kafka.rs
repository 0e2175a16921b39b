//! The `kafka` scenario: one consumer process from a broker on the same machine, beside `cohort replay` on the same
//! bytes, a consumer that only reads, and the broker's own consumer. Results are counted and go nowhere.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use cohort_compiler::Program;
use cohort_connectors::checkpoint::ObjectCheckpoints;
use cohort_connectors::kafka::producer::{KafkaProducer, Outgoing};
use cohort_connectors::kafka::source::KafkaSource;
use cohort_connectors::kafka::{KafkaOptions, Start, admin};
use cohort_engine::Settings;
use cohort_engine::relay::Reads;
use cohort_engine::runtime::{Parts, Runtime};
use cohort_engine::sink::{Amiss, DeadLetter, DeadLetterSink, ResultBatch, Sink, SinkError};
use cohort_engine::source::Source;
use cohort_engine::worker::{Deployment, Programs, WorkerSettings};
use object_store::memory::InMemory;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use super::run;
use super::scenarios::Workload;
use crate::service::system_clock;

/// What to measure.
pub struct Params<'a> {
    /// The brokers.
    pub brokers: &'a str,
    /// The rules.
    pub workload: &'a Workload,
    /// Workers, and partitions of each topic.
    pub workers: u32,
    /// Records in a micro-batch.
    pub batch_rows: usize,
    /// Runs of each measurement; medians are reported.
    pub runs: usize,
}

struct Nowhere;

impl Sink for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    fn write(&mut self, _: &[ResultBatch], _: &mut Amiss) -> Result<(), SinkError> {
        Ok(())
    }
}

impl DeadLetterSink for Nowhere {
    fn put(&mut self, _: &[DeadLetter]) -> Result<(), SinkError> {
        Ok(())
    }
}

struct NoOthers;

impl Programs for NoOthers {
    fn at(&self, _: i64) -> Option<Deployment> {
        None
    }
}

/// Runs the scenario; topics and the file of events are removed in the end.
pub async fn measure(params: &Params<'_>) -> Result<Value> {
    let name = format!("cohort-bench-{}", std::process::id());
    let (one, three) = (vec![format!("{name}-all")], ["orders", "activity", "installs"].map(|t| format!("{name}-{t}")).to_vec());
    let options = |topics: &[String], run: usize| KafkaOptions {
        brokers: params.brokers.into(),
        // Workers that join one after the other hear of each other soon, and share the partitions before much is read.
        properties: BTreeMap::from([("heartbeat.interval.ms".to_string(), "200".to_string())]),
        group_id: format!("{name}-{}-{run}", topics.len()),
        topics: topics.to_vec(),
        start: Start::Earliest,
        rekey: false,
        fetch_ahead: 64 << 20,
        formats: Arc::default(),
    };
    let program = run::compile(params.workload)?;
    let streams = run::generate(params.workload, params.workers);
    let bytes: usize = streams.iter().map(Vec::len).sum();
    for topics in [&one, &three] {
        admin::create(&options(topics, 0), topics, params.workers, &[]).await?;
        produce(&options(topics, 0), &streams)?;
    }
    let folder = std::env::temp_dir().join(&name);
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("events.jsonl");
    std::fs::write(&file, streams.concat())?;
    let events = streams.iter().map(|s| memchr::memchr_iter(b'\n', s).count() as u64).sum::<u64>();
    let mut rows: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in 0..params.runs.max(1) {
        rows.entry("replay").or_default().push(replay(params.workload, &folder)?);
        rows.entry("kafka, one topic").or_default().push(consume(&program, options(&one, run), params, events).await?);
        rows.entry("kafka, three topics").or_default().push(consume(&program, options(&three, run), params, events).await?);
        rows.entry("reading only").or_default().push(tokio::task::block_in_place(|| drain(params.brokers, &one[0], params.workers, events))?);
        if let Ok(home) = std::env::var("COHORT_TEST_KAFKA_HOME") {
            rows.entry("the broker's own consumer").or_default().push(console(&home, params.brokers, &one[0], events)?);
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    let row = |(what, rates): (&&str, &Vec<f64>)| json!({"what": what, "eventsPerSecond": median(rates), "all": rates});
    Ok(json!({"events": events, "bytes": bytes, "workers": params.workers, "rows": rows.iter().map(row).collect::<Vec<_>>()}))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Writes events keyed by user, to the topic of their type where there is one for each.
fn produce(options: &KafkaOptions, streams: &[Vec<u8>]) -> Result<()> {
    let mut producer = KafkaProducer::new(options)?;
    let topic = |line: &[u8]| match options.topics.as_slice() {
        [orders, activity, installs] => {
            let text = String::from_utf8_lossy(line);
            if text.contains("\"view\"") {
                activity
            } else if text.contains("\"install\"") {
                installs
            } else {
                orders
            }
            .as_str()
        }
        topics => topics[0].as_str(),
    };
    for stream in streams {
        for batch in run::batches(stream, 50_000) {
            let lines = batch.split(|b| *b == b'\n').filter(|l| !l.is_empty());
            let records = lines.map(|line| {
                // The user is the first field of a generated event.
                let key = line.split(|b| *b == b'"').nth(3).unwrap_or_default();
                let event: Value = serde_json::from_slice(line).unwrap_or_default();
                Outgoing { topic: topic(line), key: Some(key), value: line, time: event["timestamp"].as_i64(), headers: vec![] }
            });
            producer.write(records)?;
        }
    }
    Ok(())
}

/// Events a second of `cohort replay`.
fn replay(workload: &Workload, folder: &std::path::Path) -> Result<f64> {
    let (segments, report) = (folder.join("segments"), folder.join("report.json"));
    std::fs::write(&segments, &workload.text)?;
    let flag = if matches!(workload.kind, super::scenarios::Kind::Sql) { "--segments" } else { "--rules" };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["replay", "--output", "none", "--input"]).arg(folder.join("events.jsonl")).arg(flag).arg(&segments).arg("--json").arg(&report);
    let output = command.output()?;
    if !output.status.success() {
        bail!("replay: {}", String::from_utf8_lossy(&output.stderr));
    }
    let report: Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    report["eventsPerSecond"].as_f64().context("replay reports no rate")
}

/// Events a second of the engine, from when it has processed some of each partition, since its workers last shared them,
/// to the last.
async fn consume(program: &Arc<Program>, options: KafkaOptions, params: &Params<'_>, events: u64) -> Result<f64> {
    let source = |_| KafkaSource::join(options.clone()).map(|s| Box::new(s) as Box<dyn Source>);
    let sources = (0..params.workers).map(source).collect::<Result<Vec<_>, _>>()?;
    let store = ObjectCheckpoints::new(Arc::new(InMemory::new()), object_store::path::Path::default(), 2, tokio::runtime::Handle::current());
    let settings = WorkerSettings {
        state: Settings { memory_limit: 8 << 30, ..Settings::default() },
        batch_rows: params.batch_rows,
        linger: Duration::from_millis(50),
        idle_timeout: i64::MAX / 4,
        max_future: i64::MAX / 4,
        checkpoint_interval: Duration::from_secs(3600),
        refresh_interval: Duration::ZERO,
        worker_memory: 8 << 30,
        reads: Reads::Events,
    };
    let parts = Parts {
        sources,
        sinks: vec![Box::new(Nowhere)],
        dead_letters: Box::new(Nowhere),
        store: Arc::new(store),
        settings,
        clock: system_clock(),
        programs: Arc::new(NoOthers),
    };
    let deployment = Deployment::new(1, Arc::clone(program));
    let runtime = tokio::task::spawn_blocking(move || Runtime::start(parts, &deployment)).await?.map_err(|e| anyhow!(e))?;
    // Offsets begin at 0 here and go from worker to worker with a partition, which counts of events do not.
    let processed = || -> BTreeMap<(usize, u32), u64> {
        let workers = runtime.workers();
        let partitions = workers.iter().enumerate().flat_map(|(w, worker)| worker.partitions.iter().map(move |p| ((w, p.partition), p)));
        partitions.map(|(place, p)| (place, p.positions.values().map(|o| *o as u64).sum())).collect()
    };
    // While partitions go from worker to worker nothing is read, and both fetch anew afterwards.
    let (mut shared, mut begun): (_, Option<(Instant, u64)>) = (BTreeMap::new(), None);
    let limit = Instant::now() + Duration::from_secs(600);
    let rate = loop {
        let (now, places) = (Instant::now(), processed());
        let done: u64 = places.values().sum();
        if !places.keys().eq(shared.keys()) {
            (shared, begun) = (places, None);
        } else if let Some((start, before)) = begun {
            if done >= events {
                break (done - before) as f64 / (now - start).as_secs_f64();
            }
        } else if done >= events {
            bail!("partitions went from worker to worker until the end: take more events");
        } else if places.len() == params.workers as usize && places.iter().all(|(place, at)| *at > shared[place]) {
            begun = Some((now, done));
        }
        if now > limit {
            bail!("{done} of {events} events were read");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    tokio::task::spawn_blocking(move || runtime.stop()).await?;
    Ok(rate)
}

/// Records a second of a consumer that only reads.
fn drain(brokers: &str, topic: &str, partitions: u32, events: u64) -> Result<f64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "bench").set("enable.auto.commit", "false").create()?;
    let mut list = TopicPartitionList::new();
    for p in 0..partitions {
        list.add_partition_offset(topic, p as i32, Offset::Beginning)?;
    }
    consumer.assign(&list)?;
    let (mut seen, mut bytes, mut started) = (0u64, 0usize, None);
    while seen < events {
        if let Some(message) = consumer.poll(Duration::from_secs(30)) {
            bytes += message?.payload().map_or(0, <[u8]>::len);
            started.get_or_insert_with(Instant::now);
            seen += 1;
        } else {
            bail!("{seen} of {events} records were read");
        }
    }
    std::hint::black_box(bytes);
    Ok(seen as f64 / started.unwrap_or_else(Instant::now).elapsed().as_secs_f64())
}

/// Records a second that Kafka's own measure of consumers tells.
fn console(home: &str, brokers: &str, topic: &str, events: u64) -> Result<f64> {
    let mut command = Command::new("java");
    command.args(["-cp", &format!("{home}/*"), "org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server", brokers, "--topic", topic]);
    let output = command.args(["--num-records", &events.to_string(), "--timeout", "60000"]).output().context("java")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, MB/s of fetching, records/s of fetching
    let last = text.lines().rfind(|l| l.split(',').count() >= 10).with_context(|| format!("not a report: {text}"))?;
    let fields: Vec<&str> = last.split(',').map(str::trim).collect();
    fields[9].parse().with_context(|| format!("not a report: {last}"))
}
