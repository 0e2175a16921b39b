//! The `cohort` binary: commands over the compiler, the engine and the connectors.

mod api;
mod bench;
mod catalog;
mod commands;
mod comparison;
mod config;
mod generate;
mod memory;
mod postgres;
mod service;
mod telemetry;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use telemetry::LogFormat;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Decides, as events arrive, which audience segments each user is in.
#[derive(Parser)]
#[command(
    name = "cohort",
    version,
    arg_required_else_help = true,
    after_help = "Exit status: 0 done, 1 the work found errors, 2 wrong usage or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How logs are written to stderr (their level is RUST_LOG).
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the service: events in, memberships out, API and UI.
    Serve(commands::serve::Args),
    /// Runs the service with sample segments and live generated events.
    Demo(commands::serve::DemoArgs),
    /// Prints the effective configuration, without secrets.
    Config(commands::serve::ConfigArgs),
    /// Prints the OpenAPI document of the API.
    Openapi,
    /// Runs segments over files of events.
    Replay(commands::replay::Args),
    /// Shows how segments run and what they share.
    Explain(commands::explain::Args),
    /// Compiles SQL or JSON rules and prints every error.
    Check(commands::check::Args),
    /// Writes segments as a job for another engine.
    #[command(subcommand)]
    Export(commands::export::Command),
    /// Writes realistic events, the same for the same seed.
    Generate(commands::generate::Args),
    /// Measures the engine end to end.
    Bench(commands::bench::Args),
    /// Prints shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    memory::use_small_pages();
    let cli = Cli::parse();
    // The service says in its configuration where traces go.
    if !matches!(cli.command, Command::Serve(_) | Command::Demo(_)) {
        telemetry::start_logs(cli.log_format);
    }
    let outcome = match cli.command {
        Command::Serve(args) => commands::serve::run(&args, cli.log_format),
        Command::Demo(args) => commands::serve::demo(&args, cli.log_format),
        Command::Config(args) => commands::serve::print_config(&args),
        Command::Openapi => api::document().to_pretty_json().map_err(Into::into).and_then(|text| commands::print(&format!("{text}\n"))),
        Command::Replay(args) => commands::replay::run(args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Export(command) => commands::export::run(&command),
        Command::Generate(args) => commands::generate::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(shell, &mut Cli::command(), "cohort", &mut script);
            commands::print(&String::from_utf8_lossy(&script))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if is_closed_pipe(&error) {
                return ExitCode::SUCCESS;
            }
            eprintln!("{error:#}");
            ExitCode::from(if error.is::<commands::Usage>() { 2 } else { 1 })
        }
    }
}

/// Whether whoever read our output has had enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe))
}
