//! `cohort export`: segments as a job for another engine, which then evaluates them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use cohort_compiler::flink::{self, Connector, Job, Options, Refusal, Start};
use cohort_connectors::kafka;

use super::Usage;
use super::serve::ConfigArgs;
use crate::config::Config;

/// What to export to.
#[derive(clap::Subcommand)]
pub enum Command {
    /// A job of Flink SQL that reads the same events, and writes the final results and the exits of all segments.
    FlinkSql(Args),
}

/// Flags of `cohort export flink-sql`.
#[derive(clap::Args)]
pub struct Args {
    /// SQL files, JSON rules or JSON segments; all become one job.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Folder for job.sql, and a README.md that says how to run it; without it, the job is printed.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where the job reads events and writes results.
    #[arg(long, value_enum, default_value = "kafka")]
    connector: Kind,
    /// With --connector filesystem: a file or folder of events, one a line.
    #[arg(long, value_name = "PATH", default_value = "events.jsonl")]
    input: String,
    /// With --connector filesystem: a folder for results.
    #[arg(long, value_name = "DIR", default_value = "results")]
    output: String,
    /// With --connector filesystem: the topic that all events came from, for segments that read one.
    #[arg(long)]
    topic: Option<String>,
    /// With --connector kafka: the job ends once it has read what the topics hold.
    #[arg(long)]
    bounded: bool,
    /// Leaves out segments that can't be exported, and those that read them, and says so, instead of exporting nothing.
    #[arg(long)]
    leave_out: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// Topics, as the configuration names them (source.topics, source.kafka, sink.kafka).
    Kafka,
    /// Files, to try a job without Kafka.
    Filesystem,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<()> {
    let Command::FlinkSql(args) = command;
    let config = args.config.load(&[])?;
    let program = super::compile_sources(&super::read_sources(&args.files)?, None)?;
    let options = options(args, &config)?;
    let job = flink::export(&program, &options).map_err(|refusals| refused(&refusals))?;
    tell(&job);
    match &args.out {
        None => super::print(&job.sql),
        Some(folder) => write(folder, &job, &options),
    }
}

fn options(args: &Args, config: &Config) -> Result<Options> {
    let connector = match args.connector {
        Kind::Filesystem if args.bounded => return Err(Usage("--bounded is for --connector kafka; files have an end anyway".into()).into()),
        Kind::Filesystem => Connector::Files { input: args.input.clone(), output: args.output.clone(), topic: args.topic.clone() },
        Kind::Kafka => Connector::Kafka {
            brokers: config.source.kafka.brokers.clone(),
            topics: config.source.topics.clone(),
            results: config.sink.kafka.topic.clone(),
            // Of its own, so that the job and a service that runs beside it do not take each other's offsets.
            group: format!("{}-flink", config.source.kafka.group_id),
            start: start(config)?,
            bounded: args.bounded,
        },
    };
    Ok(Options {
        connector,
        delay_ms: config.time.out_of_orderness.0 + config.time.allowed_lateness.0,
        idle_ms: config.time.idle_timeout.0,
        max_future_ms: config.time.max_future.0,
        checkpoint_ms: config.checkpoint.interval.0,
        leave_out: args.leave_out,
    })
}

fn start(config: &Config) -> Result<Start> {
    match config.source.kafka.start().map_err(|e| Usage(format!("source.kafka.start: {e}")))? {
        kafka::Start::Latest => Ok(Start::Latest),
        kafka::Start::Earliest => Ok(Start::Earliest),
        kafka::Start::At(time) => Ok(Start::At(time)),
        kafka::Start::Ago(_) => Err(Usage("source.kafka.start: an exported job begins at \"latest\", \"earliest\" or a time".into()).into()),
    }
}

fn refused(refusals: &[Refusal]) -> anyhow::Error {
    let n = refusals.len();
    let lines: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    let (plural, them) = if n == 1 { ("", "it") } else { ("s", "them") };
    anyhow::anyhow!("{}\n{n} segment{plural} can't be exported to Flink with the same results; --leave-out exports the others without {them}", lines.join("\n"))
}

/// Names of segments that are shown, at most.
const SHOWN: usize = 20;

/// Says on standard error what differs from what was asked.
fn tell(job: &Job) {
    for refusal in &job.left_out {
        eprintln!("left out: {refusal}");
    }
    if !job.changes.is_empty() {
        let more = job.changes.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = job.changes.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        eprintln!("EMIT CHANGES becomes EMIT FINAL, one result when a window closes: {names}{more}");
    }
}

fn write(folder: &Path, job: &Job, options: &Options) -> Result<()> {
    if folder.is_file() {
        bail!(Usage(format!("{}: a file; --out names a folder", folder.display())));
    }
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, text) in [("job.sql", job.sql.as_str()), ("README.md", &readme(job, options))] {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    eprintln!("{} segments over {} aggregations in {}", job.segments, job.aggregations, folder.join("job.sql").display());
    Ok(())
}

/// How to run the job.
fn readme(job: &Job, options: &Options) -> String {
    let (needs, change) = match &options.connector {
        Connector::Kafka { topics, results, .. } => (
            "`flink-sql-connector-kafka` for your version of Flink in Flink's `lib/` (JSON is part of Flink)",
            format!(
                "brokers and security (`'properties.…'`, as Java's Kafka client names them; nothing secret was exported), the topics of events ({}) and of results\n({results}, keyed by userId; make it with as many partitions as `cohort serve` shall have), where reading starts",
                topics.join(", ")
            ),
        ),
        Connector::Files { input, output, .. } => ("nothing beside Flink itself", format!("the file of events ({input}) and the folder of results ({output})")),
    };
    let mut text = format!(
        "# Segments of Cohort as a Flink job\n\n`job.sql` is one streaming job: {} segments over {} shared aggregations. It is tested with Flink 2.2, and needs {needs}.\n\n\
         ```sh\nbin/start-cluster.sh\nbin/sql-client.sh -f job.sql\n```\n\n\
         What to change in it: {change}. Parallelism, state backend and checkpoint storage are Flink's to configure.\n\n\
         `cohort serve` reads the results with `source.kind = \"results\"`; docs/flink.md of Cohort says how, and where results may differ.\n",
        job.segments, job.aggregations
    );
    if !job.left_out.is_empty() {
        text.push_str("\nLeft out:\n\n");
        job.left_out.iter().for_each(|r| text.push_str(&format!("- {}\n", r.to_string().replace("\n  hint: ", "; "))));
    }
    text
}
