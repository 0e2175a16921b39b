//! `cohort replay`: a bounded run of segments over files of events or objects of a store, or of two versions of segments.

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
use cohort_connectors::between::{Between, lead_in};
use cohort_connectors::file::sink::{Format, ResultWriter, write_number, write_text};
use cohort_connectors::file::source::FileSource;
use cohort_connectors::object::list::{is_pattern, is_url};
use cohort_connectors::object::plan::plan;
use cohort_connectors::object::{Reading, Tally};
use cohort_connectors::records::Shape;
use cohort_connectors::replay::{Progress, ReplayOptions, ReplaySummary, replay};
use cohort_engine::decode::Reason;
use cohort_engine::membership::Member;
use cohort_engine::{Partition, Settings};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::comparison::{Compared, Comparison, Users, Version};

/// Records in a micro-batch: as fast as more, in less memory.
const BATCH_ROWS: u32 = 8_192;

/// Flags of `cohort replay`.
#[derive(clap::Args)]
pub struct Args {
    /// Events: JSON Lines (plain, .gz, .zst; - for standard input), Parquet, or Avro object container files, in the order
    /// given; or folders, URLs (s3://bucket/prefix/, file:///folder/) and patterns (s3://bucket/*/part-*.parquet), of which all
    /// files are read in the order of their time folders (date=2026-11-01/hour=03) and names.
    #[arg(long, required = true, num_args = 1..)]
    input: Vec<String>,
    /// Only events from then on: 2026-01-31T12:00:00Z, milliseconds, or how long ago (-1d). As much before is read as windows
    /// reach back, and not reported.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = super::moment)]
    from: Option<i64>,
    /// Only events before then.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = super::moment)]
    to: Option<i64>,
    /// How much before --from is read; by default as much as windows reach back.
    #[arg(long, value_name = "SPAN", requires = "from", value_parser = super::duration)]
    lead_in: Option<i64>,
    /// SQL files with segments.
    #[arg(long, num_args = 1.., required_unless_present = "rules")]
    segments: Vec<PathBuf>,
    /// JSON files: lists of SegmentRule or of API segments.
    #[arg(long, num_args = 1..)]
    rules: Vec<PathBuf>,
    /// SQL or JSON files with an older version of the segments: both run at once, and their members are compared.
    #[arg(long, num_args = 1.., value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Where the users go who would enter or leave, as NDJSON.
    #[arg(long, requires = "against", value_name = "FILE")]
    differences: Option<PathBuf>,
    /// Where results go: a file (NDJSON, or Parquet or CSV by its name), - for standard output, none to count only.
    #[arg(long, default_value = "-")]
    output: String,
    /// Where the summary goes as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// When segments emit.
    #[arg(long, value_enum, default_value = "as-written")]
    emit: EmitMode,
    /// Writes what windows come to, but not who ceases to be a member. Unless --memberships, --table, --against or a derived segment asks who is
    /// one, that is not followed either, which takes less time and memory.
    #[arg(long)]
    without_exits: bool,
    /// Number of partitions, by user hash.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    partitions: u32,
    /// Worker threads; 0 for one a core, at most one a partition.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Most records in a micro-batch.
    #[arg(long, default_value_t = BATCH_ROWS, value_parser = clap::value_parser!(u32).range(1..))]
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

/// The most members of a segment that the table names: the first of all.
const EXAMPLES: usize = 3;

/// Members at the end, by segment.
struct Members {
    out: Option<Box<dyn Write + Send>>,
    /// Whether it is known who is a member.
    followed: bool,
    counts: Vec<u64>,
    examples: Vec<Vec<String>>,
    differences: Option<Box<dyn Write + Send>>,
    comparison: Option<Comparison>,
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
    let inputs = args.input.iter().map(Path::new);
    let segments = [&args.segments, &args.rules, &args.against].into_iter().flatten().map(PathBuf::as_path);
    let read: Vec<PathBuf> = inputs.chain(segments).filter_map(|p| p.canonicalize().ok()).collect();
    let output = PathBuf::from(&args.output);
    let written = [Some(&output), args.json.as_ref(), args.memberships.as_ref(), args.dead_letters.as_ref(), args.differences.as_ref()];
    match written.into_iter().flatten().find(|path| path.canonicalize().is_ok_and(|path| read.contains(&path))) {
        Some(path) => Err(super::Usage(format!("{} is read, and would be overwritten", path.display())).into()),
        None => Ok(()),
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let mut sources = super::read_sources(&[args.segments.clone(), args.rules.clone()].concat())?;
    let newer = sources.len();
    sources.append(&mut super::read_sources(&args.against)?);
    let emit = match args.emit {
        EmitMode::Final => Some(Emit::Final),
        EmitMode::Changes => Some(Emit::Changes),
        EmitMode::AsWritten => None,
    };
    let program = Arc::new(super::compile_two(&sources, newer, emit)?);
    if args.topic.is_none() && program.scan.texts.iter().any(|t| t.field == Field::Topic) {
        eprintln!("warning: a segment reads one topic, and files have none: name the input's with --topic");
    }
    overwrites_nothing_read(&args)?;
    let (mapping, reader_schema) = args.config.load_source()?.of_files(args.topic.as_deref()).map_err(super::Usage)?;
    let shape = Arc::new(Shape { topic: args.topic.clone(), mapping, reader_schema });
    let input = Input::open(&args, &program, &shape)?;
    let writer = ResultWriter::create(&args.output)?;
    let dead: Option<Box<dyn Write + Send>> = match &args.dead_letters {
        Some(path) => Some(create(path)?),
        None => None,
    };
    let mut members = Members::new(&args, &program)?;
    let options = options(&args, &program, shape, input.between);
    let progress = Progress::default();
    let started = Instant::now();
    let summary = with_progress(&progress, || replay(&program, input.source, writer, dead, &options, &progress, |p| members.add(&program, p)))?;
    let seconds = started.elapsed().as_secs_f64();
    members.flush()?;
    let compared = members.comparison.take().map(|c| c.finish(&summary.moves));
    let report = Report { args: &args, program: &program, summary: &summary, members: &members, seconds, input: &input.read, compared: compared.as_deref() };
    report.print();
    args.json.as_deref().map_or(Ok(()), |path| super::write_json(path, &report.json()))
}

fn options(args: &Args, program: &Program, shape: Arc<Shape>, between: Between) -> ReplayOptions {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let compares = !args.against.is_empty();
    ReplayOptions {
        partitions: args.partitions,
        workers: if args.workers == 0 { cores } else { args.workers },
        settings: Settings {
            out_of_orderness: args.out_of_orderness,
            allowed_lateness: args.allowed_lateness,
            memory_limit: args.memory_limit,
            spill: args.spill.clone(),
        },
        shape,
        between,
        told: if compares { program.segments.iter().map(|s| !s.older).collect() } else { vec![] },
        moves: compares,
        exits: !args.without_exits,
        members: args.memberships.is_some() || args.table || compares,
    }
}

/// What is read.
struct Input {
    source: FileSource,
    between: Between,
    read: Read,
}

/// What is known of the reading of objects.
struct Read {
    tally: Arc<Tally>,
    between: Between,
    by_name: u64,
    /// What requests run on, for as long as is read.
    _runtime: tokio::runtime::Runtime,
}

impl Input {
    fn open(args: &Args, program: &Program, shape: &Arc<Shape>) -> Result<Input> {
        let is_there = |text: &str| text == "-" || is_url(text) || is_pattern(text) || Path::new(text).exists();
        if let Some(input) = args.input.iter().find(|text| !is_there(text)) {
            return Err(super::Usage(format!("{input}: no such file")).into());
        }
        if let (Some(from), Some(to)) = (args.from, args.to)
            && from >= to
        {
            return Err(super::Usage("--from must be before --to".into()).into());
        }
        let between = Between { from: args.from, to: args.to, lead_in: args.lead_in.unwrap_or_else(|| lead_in(program)) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let tally = Arc::new(Tally::default());
        let reading = Reading::new(runtime.handle().clone(), program, shape, between, &tally);
        let plan = plan(&args.input, &reading, args.out_of_orderness + args.allowed_lateness)?;
        if let Some(first) = plan.left_out.first() {
            let (n, more) = (plan.left_out.len(), if plan.left_out.len() > 1 { ", …" } else { "" });
            eprintln!("left out {n} file{} that by their names have no events: {first}{more}", if n == 1 { "" } else { "s" });
        }
        let source = FileSource::of(plan.origins, args.batch_rows as usize);
        let source = if shape.mapping.is_some() { source.with_whole_rows() } else { source };
        Ok(Input { source, between, read: Read { tally, between, by_name: plan.by_name, _runtime: runtime } })
    }
}

impl Members {
    fn new(args: &Args, program: &Program) -> Result<Self> {
        Ok(Members {
            out: args.memberships.as_deref().map(create).transpose()?,
            followed: true,
            differences: args.differences.as_deref().map(create).transpose()?,
            counts: vec![0; program.segments.len()],
            examples: vec![vec![]; program.segments.len()],
            comparison: (!args.against.is_empty()).then(|| Comparison::new(program, |_| true)),
            error: None,
        })
    }

    fn add(&mut self, program: &Program, partition: &Partition) {
        self.followed &= partition.keeps_members();
        let mut line = vec![];
        for (segment, user, member) in partition.membership().iter() {
            let s = &program.segments[segment as usize];
            let name = partition.users().name(user);
            self.counts[segment as usize] += 1;
            let examples = &mut self.examples[segment as usize];
            let place = examples.partition_point(|example| example.as_str() < name);
            if place < EXAMPLES {
                examples.insert(place, name.to_string());
                examples.truncate(EXAMPLES);
            }
            let Some(out) = self.out.as_mut().filter(|_| !s.hidden && !s.older) else { continue };
            line.clear();
            write_member(&mut line, name, &s.name, &member);
            line.extend_from_slice(b"}\n");
            if let Err(error) = out.write_all(&line) {
                self.error.get_or_insert(error);
            }
        }
        let (out, problem) = (&mut self.differences, &mut self.error);
        let Some(comparison) = &mut self.comparison else { return };
        comparison.add(partition, |segment, user, member, enters| {
            let Some(out) = out else { return };
            line.clear();
            write_member(&mut line, user, segment, member);
            let _ = writeln!(line, ",\"change\":\"{}\"}}", if enters { "enter" } else { "leave" });
            if let Err(error) = out.write_all(&line) {
                problem.get_or_insert(error);
            }
        });
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error).context("memberships");
        }
        for out in self.out.iter_mut().chain(&mut self.differences) {
            out.flush().context("memberships")?;
        }
        Ok(())
    }
}

/// A member as the beginning of a JSON object.
fn write_member(line: &mut Vec<u8>, user: &str, segment: &str, member: &Member) {
    line.extend_from_slice(b"{\"userId\":");
    write_text(line, user);
    line.extend_from_slice(b",\"segmentId\":");
    write_text(line, segment);
    line.extend_from_slice(b",\"value\":");
    write_number(line, member.closed_value);
    let _ = write!(line, ",\"windowStart\":{},\"windowEnd\":{}", member.closed_start, member.closed_end);
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

/// All that is said at the end.
struct Report<'a> {
    args: &'a Args,
    program: &'a Program,
    summary: &'a ReplaySummary,
    members: &'a Members,
    seconds: f64,
    input: &'a Read,
    compared: Option<&'a [Compared]>,
}

impl Report<'_> {
    fn late(&self) -> u64 {
        self.summary.dead_letters.get(&Reason::Late).copied().unwrap_or(0)
    }

    fn print(&self) {
        let Report { summary, seconds, .. } = self;
        let dead: u64 = summary.dead_letters.values().sum();
        let results: u64 = summary.results.iter().sum();
        let rate = summary.events as f64 / seconds.max(1e-9);
        if self.args.table {
            eprintln!("{}", table(self.program, summary, self.members));
        }
        eprintln!(
            "{} events, {dead} dead letters ({} late), {results} results in {seconds:.2} s: {rate:.0} events/s, peak memory {} MB",
            summary.events,
            self.late(),
            crate::memory::peak_bytes() / 1_000_000
        );
        for (reason, n) in &summary.dead_letters {
            eprintln!("  {}: {n}", reason.as_str());
        }
        self.print_reading();
        if summary.events == 0 {
            let why = if dead > 0 {
                "every record is a dead letter: source.format and docs/events.md say what an event looks like, one a line"
            } else {
                "there was no event in what was read"
            };
            eprintln!("warning: {why}");
        }
        for c in self.compared.into_iter().flatten() {
            let moves = |v: Option<Version>| v.map_or("none".into(), |v| format!("{} members, {} entered, {} exited", v.members, v.entered, v.exited));
            eprintln!(
                "{}: {} would enter{}, {} would leave{}, {} stay",
                c.segment,
                c.would_enter.count,
                some(&c.would_enter),
                c.would_leave.count,
                some(&c.would_leave),
                c.both
            );
            eprintln!("  before: {}; after: {}", moves(c.before), moves(c.after));
        }
    }

    fn print_reading(&self) {
        let n = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (tally, mb) = (&self.input.tally, |bytes: u64| bytes as f64 / 1e6);
        if n(&tally.objects) + n(&tally.objects_skipped) == 0 {
            return;
        }
        eprintln!(
            "  objects: {} read ({:.1} MB), {} outside the time ({:.1} MB); row groups: {} read, {} outside the time ({:.1} MB)",
            n(&tally.objects),
            mb(n(&tally.bytes)),
            n(&tally.objects_skipped),
            mb(n(&tally.bytes_skipped)),
            n(&tally.row_groups),
            n(&tally.row_groups_skipped),
            mb(n(&tally.row_group_bytes_skipped)),
        );
        if self.late() > 0 && self.input.by_name > 1 {
            eprintln!(
                "  {} objects were read by name, as no folder says their time or too many have the same: if they overlap, raise --out-of-orderness",
                self.input.by_name
            );
        }
    }

    fn json(&self) -> serde_json::Value {
        let Report { program, summary, members, seconds, .. } = self;
        let dead: u64 = summary.dead_letters.values().sum();
        let results: u64 = summary.results.iter().sum();
        let by_reason: serde_json::Map<_, _> = summary.dead_letters.iter().map(|(r, n)| (r.as_str().to_string(), json!(n))).collect();
        let visible = program.segments.iter().enumerate().filter(|(_, s)| !s.hidden && !s.older);
        let members = |i: usize| members.followed.then_some(members.counts[i]);
        let segments: Vec<_> =
            visible.map(|(i, s)| json!({"segmentId": s.name, "emit": s.emit, "results": summary.results[i], "members": members(i)})).collect();
        let mut report = json!({
            "events": summary.events, "bytes": summary.bytes, "deadLetters": {"total": dead, "byReason": by_reason}, "late": self.late(),
            "results": results, "seconds": seconds, "eventsPerSecond": summary.events as f64 / seconds.max(1e-9), "stateBytes": summary.state_bytes,
            "peakMemoryBytes": crate::memory::peak_bytes(), "segments": segments, "input": self.reading(),
        });
        if let (Some(compared), Some(report)) = (self.compared, report.as_object_mut()) {
            report.insert("comparison".into(), json!(compared));
        }
        report
    }

    fn reading(&self) -> serde_json::Value {
        let n = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (t, between) = (&self.input.tally, &self.input.between);
        json!({
            "from": between.from, "to": between.to, "leadInMillis": between.from.map(|_| between.lead_in),
            "leadInEvents": self.summary.lead_in, "eventsOutside": self.summary.outside,
            "objects": {"read": n(&t.objects), "bytes": n(&t.bytes), "skipped": n(&t.objects_skipped), "bytesSkipped": n(&t.bytes_skipped), "leftOut": n(&t.left_out)},
            "rowGroups": {"read": n(&t.row_groups), "skipped": n(&t.row_groups_skipped), "bytesSkipped": n(&t.row_group_bytes_skipped), "rowsSkippedByPage": n(&t.rows_skipped)},
        })
    }
}

/// A few users, for people.
fn some(users: &Users) -> String {
    let few: Vec<&str> = users.sample.iter().take(3).map(String::as_str).collect();
    if few.is_empty() { String::new() } else { format!(" ({}{})", few.join(", "), if users.count > few.len() as u64 { ", …" } else { "" }) }
}

fn table(program: &Program, summary: &ReplaySummary, members: &Members) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["segment", "window", "emits", "results", "members", "for example"]);
    for (i, s) in program.segments.iter().enumerate().filter(|(_, s)| !s.hidden && !s.older) {
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
        shape: Arc::default(),
        between: Between::default(),
        told: vec![],
        moves: false,
        exits: true,
        members: true,
    };
    let (progress, source) = (Progress::default(), FileSource::new(input.to_vec(), BATCH_ROWS as usize));
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
