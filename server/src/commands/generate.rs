//! `cohort generate`: realistic events as JSON Lines.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

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
    #[arg(long, value_parser = time)]
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
    /// Where to: a file (.gz and .zst are compressed), or - for standard output.
    #[arg(long, default_value = "-")]
    to: PathBuf,
}

fn time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let parsed = datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
    parsed.map(|ns| ns.div_euclid(1_000_000)).map_err(|_| format!("{text:?} is not a time; write 2026-01-31T12:00:00Z or milliseconds"))
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
