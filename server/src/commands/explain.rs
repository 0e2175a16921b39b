//! `cohort explain`: how segments run, and what they share.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use cohort_compiler::explain::{Format, Graph};

use crate::commands::replay;

/// Flags of `cohort explain`.
#[derive(clap::Args)]
pub struct Args {
    /// SQL files, JSON rules or JSON segments; all are compiled together.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only this segment and what it reads.
    #[arg(long)]
    segment: Option<String>,
    /// How to print.
    #[arg(long, value_enum, default_value = "tree")]
    format: Printed,
    /// Runs the segments over --input, and shows rows and time of each operator.
    #[arg(long, requires = "input")]
    analyze: bool,
    /// Files of events for --analyze.
    #[arg(long, num_args = 1..)]
    input: Vec<PathBuf>,
    /// Shows the SQL and its logical plan too.
    #[arg(long)]
    verbose: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Printed {
    Tree,
    Indent,
    Json,
    Graphviz,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let sources = super::read_sources(&args.files)?;
    let program = Arc::new(super::compile_sources(&sources, None)?);
    if let Some(name) = args.segment.as_deref().filter(|n| !program.segments.iter().any(|s| s.name == **n)) {
        return Err(super::Usage(format!("there is no segment {name:?} in the files")).into());
    }
    let mut graph = Graph::new(&program, args.segment.as_deref());
    if args.analyze {
        replay::measure(&program, &args.input, &mut graph)?;
    }
    let format = match args.format {
        Printed::Tree => Format::Tree,
        Printed::Indent => Format::Indent,
        Printed::Json => Format::Json,
        Printed::Graphviz => Format::Graphviz,
    };
    let text = matches!(format, Format::Tree | Format::Indent);
    if text && (args.verbose || args.segment.is_some()) {
        for segment in program.segments.iter().filter(|s| args.segment.as_deref().is_none_or(|n| n == s.name)) {
            super::print(&format!("{}\n\nLogical plan\n{}\n\n", segment.sql, segment.logical_plan))?;
        }
        super::print("Shared physical plan\n")?;
    }
    super::print(&format!("{}\n", graph.render(format).trim_end()))
}
