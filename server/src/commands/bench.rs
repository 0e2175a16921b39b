//! `cohort bench`: workloads through the engine, with yardsticks side by side in the same run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::live::{edits, lookups};
use crate::bench::rules::ClassicRule;
use crate::bench::scenarios::{Kind, Params, SCENARIOS, Workload, build};
use crate::bench::{peers, run, yardsticks};

/// Flags of `cohort bench`.
#[derive(clap::Args)]
pub struct Args {
    /// The workload; see --list.
    #[arg(long, default_value = "classic-rules")]
    scenario: String,
    /// How many rules; several are run one after the other.
    #[arg(long, num_args = 1.., default_values_t = [100], value_parser = clap::value_parser!(u32).range(1..))]
    rules: Vec<u32>,
    /// How many events.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// Among how many users, by a Zipf-like distribution.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    users: u64,
    /// Seed of events and rules.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Over how long a time the events are spread; without it, 3 hours or what the workload needs.
    #[arg(long, value_parser = super::duration)]
    span: Option<i64>,
    /// Workers; several are run one after the other.
    #[arg(long, num_args = 1.., default_values_t = [1], value_parser = clap::value_parser!(u32).range(1..))]
    workers: Vec<u32>,
    /// Records in a micro-batch.
    #[arg(long, default_value_t = 8192)]
    batch_rows: usize,
    /// Events a second that come meanwhile (edits, lookups), or that the fleet is to take (fleet).
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Members of the group (fleet).
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    members: u32,
    /// Partitions of the log (fleet: 16; live, lookups, edits: as configured).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65536))]
    partitions: Option<u32>,
    /// How often members save their state (fleet).
    #[arg(long, default_value = "60s", value_parser = super::duration)]
    checkpoint_interval: i64,
    /// The part of all events that one busy user has, 0 to 1 (fleet).
    #[arg(long, default_value_t = 0.2, value_parser = part)]
    busy_part: f64,
    /// Brokers of the kafka scenario.
    #[arg(long, default_value = "localhost:9092")]
    brokers: String,
    /// Hosts of the aerospike scenario.
    #[arg(long, default_value = "localhost:3000")]
    hosts: String,
    /// Namespace of the aerospike scenario.
    #[arg(long, default_value = "segments")]
    namespace: String,
    /// The most memory that state may take before it goes to files (day).
    #[arg(long, default_value = "1GiB", value_parser = super::size)]
    memory_limit: usize,
    /// Runs of each measurement; medians are reported.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Also measures `ceiling` (split and decode only), other decoders, and `floor` (the leanest loop for just the
    /// classic rules) on the same bytes.
    #[arg(long)]
    yardsticks: bool,
    /// Also runs the loop over all rules for each event, over this many events (classic-rules).
    #[arg(long, default_value_t = 0)]
    naive: usize,
    /// Writes the events and the rules into this folder, for other systems, and runs nothing.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Where the report goes as JSON; - for standard output.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Lists the workloads.
    #[arg(long)]
    list: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    if args.list {
        let mut all = SCENARIOS.iter().map(|s| (s.name, s.about)).chain([DAY, FLEET]).chain(LIVE).chain(OUTSIDE);
        return all.try_for_each(|(name, about)| super::print(&format!("{name:<16} {about}\n")));
    }
    if args.scenario == DAY.0 {
        return day(args);
    }
    if args.scenario == FLEET.0 {
        return fleet(args);
    }
    if LIVE.iter().any(|(name, _)| *name == args.scenario) {
        return live(args);
    }
    if OUTSIDE.iter().any(|(name, _)| *name == args.scenario) {
        return outside(args);
    }
    if !SCENARIOS.iter().any(|s| s.name == args.scenario) {
        let names: Vec<_> = SCENARIOS.iter().map(|s| s.name).chain([DAY, FLEET].into_iter().chain(LIVE).chain(OUTSIDE).map(|(name, _)| name)).collect();
        return Err(super::Usage(format!("unknown scenario {:?}: one of {}", args.scenario, names.join(", "))).into());
    }
    if let Some(folder) = &args.export {
        return export(args, folder);
    }
    let mut reports = vec![];
    for &rules in &args.rules {
        reports.push(measure(args, rules)?);
    }
    let report = json!({"scenario": args.scenario, "users": args.users, "events": args.events, "seed": args.seed, "batchRows": args.batch_rows, "cores": std::thread::available_parallelism().map_or(1, usize::from), "rules": reports});
    match &args.json {
        Some(path) => super::write_json(path, &report),
        None => Ok(()),
    }
}

fn workload(args: &Args, rules: u32) -> Result<Workload> {
    build(&args.scenario, &Params { rules: rules as usize, events: args.events, users: args.users, seed: args.seed, span_ms: args.span })
}

/// `events.jsonl`, and for each number of rules `rules-N.json` or `rules-N.sql`.
fn export(args: &Args, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (i, &rules) in args.rules.iter().enumerate() {
        let workload = workload(args, rules)?;
        if i == 0 {
            std::fs::write(folder.join("events.jsonl"), run::generate(&workload, 1).concat())?;
        }
        let extension = if matches!(workload.kind, Kind::Json) { "json" } else { "sql" };
        std::fs::write(folder.join(format!("rules-{rules}.{extension}")), &workload.text)?;
    }
    Ok(())
}

fn measure(args: &Args, rules: u32) -> Result<Value> {
    let workload = workload(args, rules)?;
    let started = Instant::now();
    let program = run::compile(&workload)?;
    let compile = started.elapsed().as_secs_f64();
    eprintln!("{} with {rules} rules, compiled in {:.3} s: {}", args.scenario, compile, cohort_compiler::explain::summary(&program));
    let streams: Vec<_> = args.workers.iter().map(|w| (*w, run::generate(&workload, *w))).collect();
    let bytes: usize = streams.first().map_or(0, |(_, s)| s.iter().map(Vec::len).sum());
    let mut engine: Vec<Vec<run::Outcome>> = streams.iter().map(|_| vec![]).collect();
    let mut others: Yardsticks = vec![];
    let classic: Option<Vec<ClassicRule>> = matches!(workload.kind, Kind::Json).then(|| serde_json::from_str(&workload.text)).transpose()?;
    let all: Vec<u8> = if args.yardsticks || args.naive > 0 { run::generate(&workload, 1).concat() } else { vec![] };
    // In turn, so that a slow stretch of the machine falls on all alike.
    for _ in 0..args.runs.max(1) {
        for (outcomes, (_, streams)) in engine.iter_mut().zip(&streams) {
            outcomes.push(run::run(&program, streams, args.batch_rows)?);
        }
        if args.yardsticks {
            let batches = run::batches(&all, args.batch_rows);
            yardstick(&mut others, "ceiling", || Ok(run::ceiling(&program, &batches)))?;
            for (workers, streams) in streams.iter().filter(|_| classic.is_some()) {
                let rules = classic.as_deref().unwrap_or_default();
                yardstick(&mut others, &floor_of(*workers), || Ok(run::each(streams, |data| yardsticks::floor(data, rules))?.iter().map(|t| t.events).sum()))?;
            }
            yardstick(&mut others, "sonic-rs", || Ok(peers::sonic(&all)?.0))?;
            yardstick(&mut others, "simd-json", || Ok(peers::simd(&all)?.0))?;
            yardstick(&mut others, "arrow-json", || Ok(peers::arrow(&all)?.0))?;
        }
    }
    let rows: Vec<Value> = engine.iter().zip(&streams).map(|(outcomes, (workers, _))| engine_row(args, *workers, outcomes, &others)).collect();
    let yardsticks: Vec<Value> = others.iter().map(|(name, seconds)| yardstick_row(name, median(seconds), args.events, bytes)).collect();
    let by_hand = by_hand(args, classic.as_deref(), &all)?;
    Ok(
        json!({"rules": rules, "segments": workload.segments, "compileSeconds": compile, "bytes": bytes, "expectedResults": workload.expected_results, "engine": rows, "yardsticks": yardsticks, "byHand": by_hand}),
    )
}

/// Names and the seconds of each run.
type Yardsticks = Vec<(String, Vec<f64>)>;

fn floor_of(workers: u32) -> String {
    if workers == 1 { "floor".into() } else { format!("floor, {workers} threads") }
}

fn yardstick(others: &mut Yardsticks, name: &str, work: impl FnOnce() -> Result<u64>) -> Result<()> {
    let started = Instant::now();
    std::hint::black_box(work()?);
    let seconds = started.elapsed().as_secs_f64();
    match others.iter_mut().find(|(n, _)| *n == name) {
        Some((_, all)) => all.push(seconds),
        None => others.push((name.to_string(), vec![seconds])),
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn engine_row(args: &Args, workers: u32, outcomes: &[run::Outcome], others: &[(String, Vec<f64>)]) -> Value {
    let seconds = median(&outcomes.iter().map(|o| o.seconds).collect::<Vec<_>>());
    let Some(middle) = outcomes.iter().find(|o| o.seconds == seconds).or(outcomes.first()) else { return Value::Null };
    let rate = middle.events as f64 / seconds;
    let share_of = |name: &str| others.iter().find(|(n, _)| *n == name).map(|(_, s)| median(s) / seconds);
    let (share, floor) = (share_of("ceiling"), share_of(&floor_of(workers)));
    let percent = |share: Option<f64>, of: &str| share.map_or(String::new(), |s| format!(", {:.0} % of {of}", s * 100.0));
    eprintln!(
        "  engine, {workers} worker{}: {:.2} M events/s, {} results, {:.1} bytes/group of {} groups, {:.2} CPU s{}{}",
        if workers == 1 { "" } else { "s" },
        rate / 1e6,
        middle.results,
        middle.groups.1 as f64 / middle.groups.0.max(1) as f64,
        middle.groups.0,
        middle.cpu,
        percent(share, "ceiling"),
        percent(floor, "floor"),
    );
    let mut row = middle.json();
    row["workers"] = json!(workers);
    row["runs"] = json!(args.runs);
    row["allSeconds"] = json!(outcomes.iter().map(|o| o.seconds).collect::<Vec<_>>());
    row["shareOfCeiling"] = json!(share);
    row["shareOfFloor"] = json!(floor);
    row["peakMemoryBytes"] = json!(crate::memory::peak_bytes());
    row
}

fn yardstick_row(name: &str, seconds: f64, events: u64, bytes: usize) -> Value {
    eprintln!("  {name}: {:.2} M events/s, {:.0} MB/s", events as f64 / seconds / 1e6, bytes as f64 / seconds / 1e6);
    json!({"name": name, "seconds": seconds, "eventsPerSecond": events as f64 / seconds, "bytesPerSecond": bytes as f64 / seconds})
}

/// The loop over all rules that people write by hand, for classic rules.
fn by_hand(args: &Args, rules: Option<&[ClassicRule]>, all: &[u8]) -> Result<Option<Value>> {
    let Some(rules) = rules.filter(|_| args.naive > 0) else { return Ok(None) };
    let prefix = run::batches(all, args.naive).first().copied().unwrap_or_default();
    let started = Instant::now();
    let tally = yardsticks::naive(prefix, rules)?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("  naive: {:.3} M events/s over {} events, {} results", tally.events as f64 / seconds / 1e6, tally.events, tally.results());
    Ok(Some(json!({"name": "naive", "events": tally.events, "seconds": seconds, "eventsPerSecond": tally.events as f64 / seconds, "results": tally.results()})))
}

/// What memory does over time.
const DAY: (&str, &str) = ("day", "classic rules over a day of event time: what memory state takes from hour to hour (--span, --memory-limit)");

/// A day of event time, for each number of rules.
fn day(args: &Args) -> Result<()> {
    let mut runs = vec![];
    for &rules in &args.rules {
        let span_ms = args.span.or(Some(86_400_000));
        let workload = build("classic-rules", &Params { rules: rules as usize, events: args.events, users: args.users, seed: args.seed, span_ms })?;
        let spill = std::env::temp_dir().join(format!("cohort-bench-{}-spill", std::process::id()));
        let report = crate::bench::day::run(&workload, args.batch_rows, args.memory_limit, &spill);
        let _ = std::fs::remove_dir_all(&spill);
        let report = report?;
        crate::bench::day::say(&report);
        runs.push(report);
    }
    match &args.json {
        Some(path) => super::write_json(path, &json!({"scenario": DAY.0, "runs": runs})),
        None => Ok(()),
    }
}

/// What a group of members comes to.
const FLEET: (&str, &str) = (
    "fleet",
    "members of a group in virtual time: what each takes, a lost member, a busy user, and the formulas of docs/scaling.md (--members, --partitions, --rate)",
);

/// A fleet, for each number of rules.
fn fleet(args: &Args) -> Result<()> {
    let params = crate::bench::fleet::Params {
        members: args.members as usize,
        partitions: args.partitions.unwrap_or(16),
        rate: args.rate as f64,
        batch_rows: args.batch_rows,
        checkpoint_ms: args.checkpoint_interval.max(1) as f64,
        busy: args.busy_part,
    };
    let mut runs = vec![];
    for &rules in &args.rules {
        let workload = build("classic-rules", &Params { rules: rules as usize, events: args.events, users: args.users, seed: args.seed, span_ms: args.span })?;
        let mut report = crate::bench::fleet::run(&workload, &params)?;
        report["rules"] = json!(rules);
        crate::bench::fleet::say(&report);
        runs.push(report);
    }
    match &args.json {
        Some(path) => super::write_json(path, &json!({"scenario": FLEET.0, "runs": runs})),
        None => Ok(()),
    }
}

/// A part of the whole.
fn part(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|part| (0.0..=1.0).contains(part)).ok_or_else(|| format!("{text:?} is not a number from 0 to 1"))
}

/// Scenarios of the service on embedded stores.
const LIVE: [(&str, &str); 3] = [
    ("live", "the service on embedded stores: time from an event's arrival to its result in the sink"),
    ("edits", "the service: to create, replace, pause, drop, list and explain segments beside many others"),
    ("lookups", "the service: to look up what a user is in, by several clients while events stream"),
];

/// Scenarios with another system at one end.
const OUTSIDE: [(&str, &str); 2] = [
    ("kafka", "from a broker to counted results, beside replay and consumers that only read (--brokers)"),
    ("aerospike", "writes of memberships, batched against one by one (--hosts)"),
];

/// Scenarios with another system at one end.
fn outside(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut runs = vec![];
    if args.scenario == "aerospike" {
        let report = runtime.block_on(crate::bench::aerospike::measure(&args.hosts, &args.namespace, args.users))?;
        for row in report["rows"].as_array().into_iter().flatten() {
            eprintln!(
                "{}: {:.0} writes/s; a flush of {} takes p50 {} ms, p99 {} ms",
                row["what"].as_str().unwrap_or_default(),
                row["writesPerSecond"].as_f64().unwrap_or(0.0),
                row["flushOf"],
                row["p50Ms"],
                row["p99Ms"]
            );
        }
        runs.push(report);
    } else {
        for &workers in &args.workers {
            let params = Params { rules: args.rules[0] as usize, events: args.events, users: args.users, seed: args.seed, span_ms: args.span };
            let workload = build("classic-rules", &params)?;
            let params = crate::bench::kafka::Params { brokers: &args.brokers, workload: &workload, workers, batch_rows: 65_536, runs: args.runs };
            let report = runtime.block_on(crate::bench::kafka::measure(&params))?;
            eprintln!("{} rules, {} events, {workers} workers, medians of {}:", args.rules[0], report["events"], args.runs);
            for row in report["rows"].as_array().into_iter().flatten() {
                eprintln!("  {}: {:.0} events/s", row["what"].as_str().unwrap_or_default(), row["eventsPerSecond"].as_f64().unwrap_or(0.0));
            }
            runs.push(report);
        }
    }
    match &args.json {
        Some(path) => super::write_json(path, &json!({"scenario": args.scenario, "runs": runs})),
        None => Ok(()),
    }
}

/// Scenarios of the service: for each number of rules one of its own.
fn live(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut runs = vec![];
    let rules = if args.scenario == "lookups" { &args.rules[..1] } else { &args.rules[..] };
    for &rules in rules {
        let report = match args.scenario.as_str() {
            "lookups" => runtime.block_on(lookups::run(args.users, args.partitions, args.rate, args.seed))?,
            "edits" => runtime.block_on(edits::run(rules, args.users, args.partitions, args.rate, args.seed))?,
            _ => runtime.block_on(crate::bench::live::run(rules, args.users, args.partitions, args.seed))?,
        };
        say(&args.scenario, &report);
        runs.push(report);
    }
    match &args.json {
        Some(path) => super::write_json(path, &json!({"scenario": args.scenario, "runs": runs})),
        None => Ok(()),
    }
}

/// Prints a report, a line a step.
fn say(scenario: &str, report: &Value) {
    let times = |t: &Value| format!("p50 {} ms, p95 {} ms, p99 {} ms, max {} ms", t["p50Ms"], t["p95Ms"], t["p99Ms"], t["maxMs"]);
    if scenario == "live" {
        eprintln!("live, {} rules: {} events/s can be sustained", report["rules"], report["sustainedEventsPerSecond"]);
    }
    for step in report["steps"].as_array().into_iter().flatten() {
        match scenario {
            "live" => eprintln!("  at {} %: {}, lag at the end {}", step["percent"], times(step), step["lag"]),
            "lookups" => eprintln!("  {}: {} calls, {}; {} results/s meanwhile", step["step"], step["calls"], times(step), step["resultsPerSecond"]),
            _ => {
                eprintln!(
                    "edits, {} rules, {} events/s asked for, {} processed, {} results/s, lag {}",
                    report["rules"], step["eventsPerSecond"], step["processedPerSecond"], step["resultsPerSecond"], step["lag"]
                );
                for what in ["create", "replace", "pause", "drop", "list", "explain"] {
                    eprintln!("  {what}: {}", times(&step[what]));
                }
            }
        }
    }
}
