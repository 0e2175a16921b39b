//! `cohort generate`: realistic events as JSON Lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cohort_connectors::kafka::producer::{KafkaProducer, Outgoing};
use cohort_connectors::kafka::{KafkaOptions, Start, admin};

use crate::generate::{Generator, GeneratorConfig, Topic};

/// Flags of `cohort generate`.
#[derive(clap::Args)]
pub struct Args {
    /// How many events.
    #[arg(long)]
    events: u64,
    /// Among how many users.
    #[arg(long, default_value_t = 10_000)]
    users: u64,
    /// Events a second; without it, as fast as possible.
    #[arg(long)]
    rate: Option<f64>,
    /// Seed: the same seed gives the same events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Time of the first event: RFC 3339, or milliseconds since the epoch.
    #[arg(long, value_parser = super::time)]
    from: Option<i64>,
    /// How long a time the events are spread over.
    #[arg(long, default_value = "1h", value_parser = super::duration)]
    span: i64,
    /// How much older than the newest before it an event may be.
    #[arg(long, default_value = "5s", value_parser = super::duration)]
    disorder: i64,
    /// Only events of one topic: order_events, activity_events or install_events.
    #[arg(long)]
    topic: Option<String>,
    /// Where to: a file (.gz and .zst are compressed), - for standard output, or kafka.
    #[arg(long, default_value = "-")]
    to: PathBuf,
    /// Brokers of --to kafka. Topics are order_events, activity_events and install_events; records are keyed by user and
    /// carry the time of their event.
    #[arg(long, default_value = "localhost:9092")]
    brokers: String,
    /// Makes the topics with so many partitions, where they are not there.
    #[arg(long, value_name = "PARTITIONS")]
    create_topics: Option<u32>,
    /// Property of librdkafka for --to kafka, for instance security.protocol=SASL_SSL.
    #[arg(long = "property", value_name = "KEY=VALUE", value_parser = super::pair)]
    properties: Vec<(String, String)>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.users == 0 {
        return Err(super::Usage("--users must be at least 1".into()).into());
    }
    if args.rate.is_some_and(|r| !(r.is_finite() && r > 0.0)) {
        return Err(super::Usage("--rate must be above 0".into()).into());
    }
    let topic = args.topic.as_deref().map(|t| t.parse::<Topic>().map_err(|e| super::Usage(e.to_string()))).transpose()?;
    let defaults = GeneratorConfig::default();
    let config = GeneratorConfig {
        events: args.events,
        users: args.users,
        seed: args.seed,
        from_ms: args.from.unwrap_or(defaults.from_ms),
        span_ms: args.span,
        disorder_ms: args.disorder,
        topic,
        ..defaults
    };
    let name = args.to.display().to_string();
    if name == "kafka" {
        return to_kafka(args, config);
    }
    let out: Box<dyn Write> = if name == "-" { Box::new(io::stdout()) } else { Box::new(File::create(&args.to).with_context(|| name.clone())?) };
    if name.ends_with(".gz") {
        let mut encoder = flate2::write::GzEncoder::new(BufWriter::new(out), flate2::Compression::fast());
        write(config, args.rate, &mut encoder).with_context(|| name.clone())?;
        encoder.finish().and_then(|mut w| w.flush()).context(name)
    } else if name.ends_with(".zst") {
        let mut encoder = zstd::Encoder::new(BufWriter::new(out), 3).with_context(|| name.clone())?;
        write(config, args.rate, &mut encoder).with_context(|| name.clone())?;
        encoder.finish().and_then(|mut w| w.flush()).context(name)
    } else {
        let mut out = out;
        write(config, args.rate, &mut out).context(name)
    }
}

/// Events in a write to Kafka.
const TOGETHER: usize = 10_000;

/// Writes all events to topics, at a steady rate if one is asked for.
fn to_kafka(args: &Args, config: GeneratorConfig) -> Result<()> {
    let options = KafkaOptions {
        brokers: args.brokers.clone(),
        properties: args.properties.iter().cloned().collect(),
        group_id: String::new(),
        topics: Topic::ALL.iter().map(|t| t.name().to_string()).collect(),
        start: Start::Latest,
        rekey: false,
        fetch_ahead: 0,
        formats: Arc::default(),
    };
    if let Some(partitions) = args.create_topics {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(admin::create(&options, &options.topics, partitions, &[]))?;
    }
    let (mut producer, mut generator) = (KafkaProducer::new(&options)?, Generator::new(config));
    let (start, mut written) = (Instant::now(), 0u64);
    // With a rate, a twentieth of a second at a time.
    let together = args.rate.map_or(TOGETHER, |rate| ((rate / 20.0) as usize).clamp(1, TOGETHER));
    loop {
        let mut events = vec![];
        while events.len() < together
            && let Some(event) = generator.next_event()
        {
            events.push((event.topic().name(), event.user_id.clone(), serde_json::to_vec(&event)?, event.timestamp));
        }
        if events.is_empty() {
            break;
        }
        let outgoing =
            events.iter().map(|(topic, user, value, time)| Outgoing { topic, key: Some(user.as_bytes()), value, time: Some(*time), headers: vec![] });
        written += producer.write(outgoing)?;
        if let Some(rate) = args.rate {
            let due = Duration::from_secs_f64(written as f64 / rate);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    eprintln!("{written} events to kafka {} in {:.1} s", args.brokers, start.elapsed().as_secs_f64());
    Ok(())
}

/// Writes all events, at a steady rate if one is asked for.
fn write(config: GeneratorConfig, rate: Option<f64>, out: &mut impl Write) -> io::Result<()> {
    let mut generator = Generator::new(config);
    let mut buffer = Vec::with_capacity(1 << 16);
    let start = Instant::now();
    let mut written = 0u64;
    while generator.write_event(&mut buffer) {
        written += 1;
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(written as f64 / rate);
            if let Some(wait) = due.checked_sub(start.elapsed()).filter(|w| w.as_millis() > 2) {
                out.write_all(&buffer)?;
                out.flush()?;
                buffer.clear();
                std::thread::sleep(wait);
            }
        }
        if buffer.len() >= 1 << 16 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()
}
