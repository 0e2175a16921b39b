//! `cohort check`: compiles files and prints every error.

use std::path::PathBuf;

use anyhow::{Result, bail};
use cohort_compiler::{CompileOptions, compile, explain};

/// Flags of `cohort check`.
#[derive(clap::Args)]
pub struct Args {
    /// SQL files, JSON rules or JSON segments; all are compiled together.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<()> {
    let sources = super::read_sources(&args.files)?;
    match compile(&sources, &CompileOptions::default()) {
        Ok(program) => super::print(&format!("ok: {}\n", explain::summary(&program))),
        Err(diagnostics) => {
            // There are errors, whether someone reads them or not.
            let _ = super::print_diagnostics(&diagnostics);
            let n = diagnostics.0.len();
            bail!("{n} error{}", if n == 1 { "" } else { "s" })
        }
    }
}
