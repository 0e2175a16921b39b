//! One file a command: its flags, and what it does.

pub mod bench;
pub mod check;
pub mod explain;
pub mod export;
pub mod generate;
pub mod replay;
pub mod serve;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cohort_compiler::emit::Emit;
use cohort_compiler::{CompileCache, CompileOptions, Diagnostics, Program, SourceKind, SourceText, compile_versions};

/// An error of usage, which exits with status 2.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Reads texts with segments; JSON by its name or its first character, anything else SQL.
pub fn read_sources(paths: &[PathBuf]) -> Result<Vec<SourceText>> {
    paths.iter().map(|p| read_source(p)).collect()
}

fn read_source(path: &Path) -> Result<SourceText> {
    let bytes = std::fs::read(path).map_err(|e| Usage(format!("{}: {e}", path.display())))?;
    let text = String::from_utf8(bytes).map_err(|_| Usage(format!("{}: not UTF-8 text", path.display())))?;
    let text = text.strip_prefix('\u{feff}').map(String::from).unwrap_or(text);
    let json = path.extension().is_some_and(|e| e == "json") || text.trim_start().starts_with(['[', '{']);
    let kind = if json { SourceKind::Json } else { SourceKind::Sql };
    Ok(SourceText { name: path.display().to_string(), kind, text, id: None })
}

/// Compiles texts, with errors as one message.
pub fn compile_sources(sources: &[SourceText], emit: Option<Emit>) -> Result<Program> {
    compile_two(sources, sources.len(), emit)
}

/// As [`compile_sources`], of which those from `from_older` on are an older version of the others.
pub fn compile_two(sources: &[SourceText], from_older: usize, emit: Option<Emit>) -> Result<Program> {
    let program = compile_versions(sources, from_older, &CompileOptions { emit }, &mut CompileCache::default()).map_err(|e| {
        let n = e.0.len();
        anyhow::Error::from(e).context(format!("{n} error{} in the segments", if n == 1 { "" } else { "s" }))
    })?;
    if program.segments.is_empty() {
        return Err(Usage("there are no segments in the files".into()).into());
    }
    Ok(program)
}

/// Parses a duration flag into milliseconds.
pub fn duration(text: &str) -> Result<i64, String> {
    cohort_compiler::window::parse_duration(text).ok_or_else(|| format!("{text:?} is not a length of time; write 30s, 5m, 1h or 2d"))
}

/// Parses a time into milliseconds since the epoch.
pub fn time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let parsed = datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text);
    parsed.map(|ns| ns.div_euclid(1_000_000)).map_err(|_| format!("{text:?} is not a time; write 2026-01-31T12:00:00Z or milliseconds"))
}

/// Parses a time, or how long ago it was, into milliseconds since the epoch.
pub fn moment(text: &str) -> Result<i64, String> {
    match text.trim().strip_prefix('-').and_then(cohort_compiler::window::parse_duration) {
        Some(ago) => Ok(crate::service::system_clock()() - ago),
        None => time(text.trim()).map_err(|_| format!("{text:?} is not a time; write 2026-01-31T12:00:00Z, milliseconds, or how long ago: -1h")),
    }
}

/// Parses a flag of the form KEY=VALUE.
pub fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(k, v)| (k.trim().to_string(), v.trim().to_string())).ok_or_else(|| format!("{text:?} is not KEY=VALUE"))
}

/// Parses a size flag into bytes.
pub fn size(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(format!("{text:?} is not a size; write 512MiB or 1GiB")),
    };
    number.parse::<usize>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(|| format!("{text:?} is not a size; write 512MiB or 1GiB"))
}

/// Prints a text; an error when nobody reads it any more.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a JSON report to a file, or to standard output for `-`.
pub fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = format!("{}\n", serde_json::to_string_pretty(value)?);
    if path.as_os_str() == "-" {
        return print(&text);
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// Prints findings, one a line.
pub fn print_diagnostics(diagnostics: &Diagnostics) -> Result<()> {
    diagnostics.0.iter().try_for_each(|d| print(&format!("{d}\n")))
}
