//! `cohort replay`: a bounded run of segments over files of events.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use cohort_compiler::Program;
use cohort_compiler::emit::Emit;
use cohort_compiler::explain::{Graph, Measured};
use cohort_compiler::program::Field;
use cohort_connectors::file::sink::{Format, ResultWriter, write_number, write_text};
use cohort_connectors::file::source::FileSource;
use cohort_connectors::replay::{Progress, ReplayOptions, ReplaySummary, replay};
use cohort_engine::decode::Reason;
use cohort_engine::{Partition, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

/// Flags of `cohort replay`.
#[derive(clap::Args)]
pub struct Args {
    /// Events: JSON Lines (plain, .gz, .zst; - for standard input), Parquet, or Avro object container files, in the order
    /// given.
    #[arg(long, required = true, num_args = 1..)]
    input: Vec<PathBuf>,
    /// SQL files with segments.
    #[arg(long, num_args = 1.., required_unless_present = "rules")]
    segments: Vec<PathBuf>,
    /// JSON files: lists of SegmentRule or of API segments.
    #[arg(long, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// Where results go: a file (NDJSON, or Parquet by its name), - for standard output, none to count only.
    #[arg(long, default_value = "-")]
    output: String,
    /// Where the summary goes as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// When segments emit.
    #[arg(long, value_enum, default_value = "as-written")]
    emit: EmitMode,
    /// Number of partitions, by user hash.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Worker threads; 0 for one a core, at most one a partition.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Most records in a micro-batch.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(1..))]
    batch_rows: u32,
    /// Where the members at the end go, as NDJSON.
    #[arg(long)]
    memberships: Option<PathBuf>,
    /// Where dead letters go, as NDJSON with their reasons.
    #[arg(long)]
    dead_letters: Option<PathBuf>,
    /// The topic that the input came from, for segments that read one topic (such as order_events).
    #[arg(long)]
    topic: Option<String>,
    /// How far the watermark lies behind the newest event.
    #[arg(long, default_value = "30s", value_parser = super::duration)]
    out_of_orderness: i64,
    /// How long after its end a window still takes events.
    #[arg(long, default_value = "0s", value_parser = super::duration)]
    allowed_lateness: i64,
    /// The most memory that state may take.
    #[arg(long, default_value = "1GiB", value_parser = super::size)]
    memory_limit: usize,
    /// A folder for state that outgrows --memory-limit.
    #[arg(long)]
    spill: Option<PathBuf>,
    /// Prints a table of segments at the end.
    #[arg(long)]
    table: bool,
    /// Records of another shape: source.format, or source.formats of --topic, says where their fields are.
    #[command(flatten)]
    config: super::serve::ConfigArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum EmitMode {
    Final,
    Changes,
    AsWritten,
}

/// Members at the end, by segment.
struct Members {
    out: Option<Box<dyn Write + Send>>,
    counts: Vec<u64>,
    examples: Vec<Vec<String>>,
    error: Option<std::io::Error>,
}

/// A file to write, or standard output.
fn create(path: &Path) -> Result<Box<dyn Write + Send>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(std::io::stdout()));
    }
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(Box::new(BufWriter::with_capacity(1 << 18, file)))
}

/// What is read would be empty by the time that it is.
fn overwrites_nothing_read(args: &Args) -> Result<()> {
    let read: Vec<PathBuf> = [&args.input, &args.segments, &args.rules].into_iter().flatten().filter_map(|p| p.canonicalize().ok()).collect();
    let output = PathBuf::from(&args.output);
    let written = [Some(&output), args.json.as_ref(), args.memberships.as_ref(), args.dead_letters.as_ref()];
    match written.into_iter().flatten().find(|path| path.canonicalize().is_ok_and(|path| read.contains(&path))) {
        Some(path) => Err(super::Usage(format!("{} is read, and would be overwritten", path.display())).into()),
        None => Ok(()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let sources = super::read_sources(&[args.segments.clone(), args.rules.clone()].concat())?;
    let emit = match args.emit {
        EmitMode::Final => Some(Emit::Final),
        EmitMode::Changes => Some(Emit::Changes),
        EmitMode::AsWritten => None,
    };
    let program = Arc::new(super::compile_sources(&sources, emit)?);
    if args.topic.is_none() && program.scan.texts.iter().any(|t| t.field == Field::Topic) {
        eprintln!("warning: a segment reads one topic, and files have none: name the input's with --topic");
    }
    if let Some(input) = args.input.iter().find(|p| p.as_os_str() != "-" && !p.is_file()) {
        return Err(super::Usage(format!("{}: no such file", input.display())).into());
    }
    overwrites_nothing_read(&args)?;
    let (mapping, reader_schema) = args.config.load_source()?.of_files(args.topic.as_deref()).map_err(super::Usage)?;
    let writer = ResultWriter::create(&args.output)?;
    let dead: Option<Box<dyn Write + Send>> = match &args.dead_letters {
        Some(path) => Some(create(path)?),
        None => None,
    };
    let mut members = Members {
        out: args.memberships.as_deref().map(create).transpose()?,
        counts: vec![0; program.segments.len()],
        examples: vec![vec![]; program.segments.len()],
        error: None,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let options = ReplayOptions {
        partitions: args.partitions,
        workers: if args.workers == 0 { cores } else { args.workers },
        settings: Settings {
            out_of_orderness: args.out_of_orderness,
            allowed_lateness: args.allowed_lateness,
            memory_limit: args.memory_limit,
            spill: args.spill.clone(),
        },
        topic: args.topic.clone(),
        mapping,
        reader_schema,
    };
    let progress = Progress::default();
    let mut source = FileSource::new(args.input.clone(), args.batch_rows as usize);
    if options.mapping.is_some() {
        source = source.with_whole_rows();
    }
    let started = Instant::now();
    let summary = with_progress(&progress, || replay(&program, source, writer, dead, &options, &progress, |p| members.add(&program, p)))?;
    let seconds = started.elapsed().as_secs_f64();
    if let Some(error) = members.error.take() {
        return Err(error).context("memberships");
    }
    if let Some(out) = &mut members.out {
        out.flush().context("memberships")?;
    }
    report(&args, &program, &summary, &members, seconds)
}

impl Members {
    fn add(&mut self, program: &Program, partition: &Partition) {
        let mut line = vec![];
        for (segment, user, member) in partition.membership().iter() {
            let s = &program.segments[segment as usize];
            let name = partition.users().name(user);
            self.counts[segment as usize] += 1;
            let examples = &mut self.examples[segment as usize];
            examples.push(name.to_string());
            examples.sort_unstable();
            examples.truncate(3);
            let Some(out) = self.out.as_mut().filter(|_| !s.hidden) else { continue };
            line.clear();
            line.extend_from_slice(b"{\"userId\":");
            write_text(&mut line, name);
            line.extend_from_slice(b",\"segmentId\":");
            write_text(&mut line, &s.name);
            line.extend_from_slice(b",\"value\":");
            write_number(&mut line, member.closed_value);
            let _ = writeln!(line, ",\"windowStart\":{},\"windowEnd\":{}}}", member.closed_start, member.closed_end);
            if let Err(error) = out.write_all(&line) {
                self.error.get_or_insert(error);
            }
        }
    }
}

/// Shows progress on stderr while `work` runs, if that is a terminal.
fn with_progress<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    if !std::io::stderr().is_terminal() {
        return work();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
        bar.set_style(style);
    }
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let started = Instant::now();
            while !done.load(Ordering::Relaxed) {
                let (records, bytes) = (progress.records.load(Ordering::Relaxed), progress.bytes.load(Ordering::Relaxed));
                let rate = records as f64 / started.elapsed().as_secs_f64().max(1e-3);
                bar.set_message(format!("{records} events, {} MB, {rate:.0} events/s", bytes / 1_000_000));
                bar.tick();
                std::thread::sleep(Duration::from_millis(100));
            }
            bar.finish_and_clear();
        });
        let outcome = work();
        done.store(true, Ordering::Relaxed);
        outcome
    })
}

fn report(args: &Args, program: &Program, summary: &ReplaySummary, members: &Members, seconds: f64) -> Result<()> {
    let dead: u64 = summary.dead_letters.values().sum();
    let late = summary.dead_letters.get(&Reason::Late).copied().unwrap_or(0);
    let results: u64 = summary.results.iter().sum();
    let rate = summary.events as f64 / seconds.max(1e-9);
    let peak = crate::memory::peak_bytes();
    if args.table {
        eprintln!("{}", table(program, summary, members));
    }
    eprintln!(
        "{} events, {dead} dead letters ({late} late), {results} results in {seconds:.2} s: {rate:.0} events/s, peak memory {} MB",
        summary.events,
        peak / 1_000_000
    );
    for (reason, n) in &summary.dead_letters {
        eprintln!("  {}: {n}", reason.as_str());
    }
    let Some(path) = &args.json else { return Ok(()) };
    let by_reason: serde_json::Map<_, _> = summary.dead_letters.iter().map(|(r, n)| (r.as_str().to_string(), json!(n))).collect();
    let visible = program.segments.iter().enumerate().filter(|(_, s)| !s.hidden);
    let segments: Vec<_> =
        visible.map(|(i, s)| json!({"segmentId": s.name, "emit": s.emit, "results": summary.results[i], "members": members.counts[i]})).collect();
    super::write_json(
        path,
        &json!({
            "events": summary.events, "bytes": summary.bytes, "deadLetters": {"total": dead, "byReason": by_reason}, "late": late,
            "results": results, "seconds": seconds, "eventsPerSecond": rate, "stateBytes": summary.state_bytes,
            "peakMemoryBytes": peak, "segments": segments,
        }),
    )
}

fn table(program: &Program, summary: &ReplaySummary, members: &Members) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["segment", "window", "emits", "results", "members", "for example"]);
    for (i, s) in program.segments.iter().enumerate().filter(|(_, s)| !s.hidden) {
        let emits = format!("{:?}", s.emit).to_lowercase();
        let row = [s.name.clone(), s.window.to_string(), emits, summary.results[i].to_string(), members.counts[i].to_string(), members.examples[i].join(", ")];
        table.add_row(row);
    }
    table
}

/// Runs a program over files and notes rows and time of each operator in its graph.
pub fn measure(program: &Arc<Program>, input: &[PathBuf], graph: &mut Graph) -> Result<()> {
    let options = ReplayOptions {
        partitions: 1,
        workers: 1,
        settings: Settings { memory_limit: usize::MAX, ..Settings::default() },
        topic: None,
        mapping: None,
        reader_schema: None,
    };
    let (progress, source) = (Progress::default(), FileSource::new(input.to_vec(), 65_536));
    let mut families = vec![Measured::default(); program.families.len()];
    let mut route = 0;
    let summary = replay(program, source, (Format::None, ResultWriter::None), None, &options, &progress, |partition| {
        route += partition.route_nanos();
        for (m, stats) in families.iter_mut().zip(partition.family_stats()) {
            (m.rows, m.nanos) = (m.rows + stats.events, m.nanos + stats.nanos);
        }
    })?;
    graph.measure("scan", Measured { rows: summary.events, nanos: route, ..Measured::default() });
    for (i, family) in program.families.iter().enumerate() {
        graph.measure(&format!("window{i}"), families[i]);
        graph.measure(&format!("filter{}", family.filter_id), Measured { rows: families[i].rows, ..Measured::default() });
    }
    for (i, results) in summary.results.iter().enumerate() {
        graph.measure(&format!("segment{i}"), Measured { rows: *results, ..Measured::default() });
    }
    Ok(())
}
