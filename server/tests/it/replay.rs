//! Runs `cohort replay` on a case and reads back all that it writes.

use crate::model::{api_segments_json, rule_list_json, sql_text};
use crate::oracle::Key;
use crate::oracle_gen::Case;
use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One line of results.
#[derive(Clone, Debug)]
pub struct ResultLine {
    pub segment: String,
    pub key: Key,
    pub qualified: bool,
    pub value: Option<f64>,
}

/// What a replay wrote.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// In order of output.
    pub results: Vec<ResultLine>,
    /// (user, segment)
    pub memberships: BTreeSet<(String, String)>,
    /// Accepted events.
    pub events: u64,
    pub late: u64,
    /// Dead letters by reason, as the summary has them.
    pub dead_letters: BTreeMap<String, u64>,
    /// Their total in the summary.
    pub dead_letter_total: u64,
    /// Dead letters by reason, as they were kept.
    pub kept_dead_letters: BTreeMap<String, u64>,
}

/// Which EMIT clauses count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EmitMode {
    /// Every segment has only final results.
    Final,
    AsWritten,
}

/// Runs the case; an error has what the program said.
pub fn replay(case: &Case, emit: EmitMode) -> Result<Replayed, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    let mut command = Command::new(env!("CARGO_BIN_EXE_cohort"));
    command.arg("replay");
    for input in write_inputs(case, dir) {
        command.arg("--input").arg(input);
    }
    for (flag, file) in write_segments(case, dir) {
        command.arg(flag).arg(file);
    }
    let emit = match emit {
        EmitMode::Final => "final",
        EmitMode::AsWritten => "as-written",
    };
    command
        .args(["--emit", emit])
        .args(["--partitions", &case.partitions.to_string()])
        .args(["--batch-rows", &case.batch_rows.to_string()])
        .args(["--workers", &case.workers.to_string()]);
    for (flag, file) in OUTPUTS {
        command.arg(flag).arg(dir.join(file));
    }
    let output = command.output().expect("the program starts");
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {stderr}", output.status));
    }
    read(dir)
}

const OUTPUTS: [(&str, &str); 4] =
    [("--output", "results.ndjson"), ("--memberships", "memberships.ndjson"), ("--dead-letters", "dead_letters.ndjson"), ("--json", "summary.json")];

/// The input: one plain file, or a plain and a compressed one.
fn write_inputs(case: &Case, dir: &Path) -> Vec<PathBuf> {
    let text = |lines: &[crate::model::InputLine]| {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.bytes.as_slice()).collect();
        lines.join(&b'\n')
    };
    let (first, second) = case.lines.split_at(case.split.unwrap_or(case.lines.len()));
    let mut files = vec![dir.join("events.jsonl")];
    fs::write(&files[0], text(first)).expect("a written file");
    if case.split.is_some() {
        files.push(dir.join("more.jsonl.gz"));
        let file = fs::File::create(&files[1]).expect("a new file");
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(&text(second)).expect("a written file");
        encoder.finish().expect("a finished file");
    }
    files
}

/// The segments in all their forms, with the flags that take them.
fn write_segments(case: &Case, dir: &Path) -> Vec<(&'static str, PathBuf)> {
    let segments = &case.segments;
    let mut files = vec![("--segments", "segments.sql", sql_text(segments))];
    for (name, list) in [("rules.json", rule_list_json(segments)), ("api.json", api_segments_json(segments))] {
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            files.push(("--rules", name, list.to_string()));
        }
    }
    let write = |(flag, name, text): (_, &str, String)| {
        let path = dir.join(name);
        fs::write(&path, text).expect("a written file");
        (flag, path)
    };
    files.into_iter().map(write).collect()
}

/// Reads the output files in the directory.
pub fn read(dir: &Path) -> Result<Replayed, String> {
    let [results, memberships, dead_letters, summary] = OUTPUTS.map(|(_, file)| dir.join(file));
    let summary = json_lines(&summary)?;
    let summary = summary.first().ok_or("an empty summary")?;
    let count = |value: &Value| value.as_u64().ok_or(format!("no count: {summary}"));
    let by_reason = summary["deadLetters"]["byReason"].as_object();
    let by_reason = by_reason.ok_or(format!("no reasons: {summary}"))?;
    let mut kept_dead_letters = BTreeMap::new();
    for line in json_lines(&dead_letters)? {
        *kept_dead_letters.entry(text(&line, "reason")?).or_default() += 1;
    }
    let member = |line: &Value| Ok((text(line, "userId")?, text(line, "segmentId")?));
    Ok(Replayed {
        results: fs::read_to_string(&results).map_err(|e| format!("{}: {e}", results.display()))?.lines().map(result_line).collect::<Result<_, String>>()?,
        memberships: json_lines(&memberships)?.iter().map(member).collect::<Result<_, String>>()?,
        events: count(&summary["events"])?,
        late: count(&summary["late"])?,
        dead_letters: by_reason
            .iter()
            .map(|(reason, n)| Ok((reason.clone(), count(n)?)))
            .filter(|entry| !matches!(entry, Ok((_, 0))))
            .collect::<Result<_, String>>()?,
        dead_letter_total: count(&summary["deadLetters"]["total"])?,
        kept_dead_letters,
    })
}

/// The JSON values in a file, of which a summary may have one over several lines.
fn json_lines(file: &Path) -> Result<Vec<Value>, String> {
    let bytes = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let values = serde_json::Deserializer::from_slice(&bytes).into_iter();
    values.collect::<Result<_, _>>().map_err(|e| format!("{}: {e}", file.display()))
}

fn result_line(json: &str) -> Result<ResultLine, String> {
    let line: Value = serde_json::from_str(json).map_err(|e| format!("{e}: {json}"))?;
    let millis = |name: &str| line[name].as_i64().ok_or(format!("no {name}: {line}"));
    millis("timestamp")?;
    let qualified = line["qualified"].as_bool();
    Ok(ResultLine {
        segment: text(&line, "segmentId")?,
        key: (text(&line, "userId")?, millis("windowStart")?, millis("windowEnd")?),
        qualified: qualified.ok_or(format!("no qualified: {line}"))?,
        value: match &line["value"] {
            Value::Null => None,
            Value::Number(_) => Some(exact_value(json).ok_or(format!("no value: {line}"))?),
            other => return Err(format!("{other} is no value: {line}")),
        },
    })
}

/// The number in `value` to its last bit, to which `serde_json` does not read numbers by default.
pub fn exact_value(json: &str) -> Option<f64> {
    let (_, rest) = json.split_once(r#""value""#)?;
    let number = rest.trim_start().strip_prefix(':')?;
    number.split([',', '}']).next()?.trim().parse().ok()
}

fn text(line: &Value, name: &str) -> Result<String, String> {
    let text = line[name].as_str().ok_or(format!("no {name}: {line}"))?;
    Ok(text.to_owned())
}
