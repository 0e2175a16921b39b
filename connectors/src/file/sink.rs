//! Results and dead letters → files.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use cohort_compiler::Program;
use cohort_engine::ResultRow;
use cohort_engine::decode::Reason;
use cohort_engine::users::Users;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;

use crate::error::ConnectorError;
use crate::spares::Spares;

/// About how long a result is as a line of JSON.
pub const LINE_BYTES: usize = 192;

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Nowhere: they are only counted.
    None,
    /// One JSON object a line.
    Ndjson,
    /// A Parquet file.
    Parquet,
}

/// Results on their way to the writer.
pub enum Encoded {
    /// Lines.
    Lines(Vec<u8>),
    /// Columns.
    Columns(RecordBatch),
}

/// Names that results carry, prepared once.
pub struct Names {
    /// For each segment, what a line of JSON has between the user and the value: of one who does not qualify, and of one who does.
    json: Vec<[String; 2]>,
    /// Segment and rule ids.
    plain: Vec<(String, String)>,
}

impl Names {
    /// The names of a program's segments.
    pub fn new(program: &Program) -> Self {
        let quoted = |s: &str| serde_json::Value::from(s).to_string();
        Names {
            json: program
                .segments
                .iter()
                .map(|s| {
                    let ids = format!(",\"segmentId\":{},\"ruleId\":{}", quoted(&s.name), quoted(&s.rule_id));
                    [false, true].map(|qualified| format!("{ids},\"qualified\":{qualified},\"value\":"))
                })
                .collect(),
            plain: program.segments.iter().map(|s| (s.name.clone(), s.rule_id.clone())).collect(),
        }
    }
}

/// Encodes results, lines into memory from `spares`; `None` when there is nothing to write.
///
/// # Errors
/// Never for NDJSON; for Parquet when columns can't be built.
pub fn encode(format: &Format, names: &Names, users: &Users, rows: &[ResultRow], spares: &Spares) -> Result<Option<Encoded>, ConnectorError> {
    if rows.is_empty() {
        return Ok(None);
    }
    match format {
        Format::None => Ok(None),
        Format::Ndjson => {
            let mut lines = spares.take(rows.len() * LINE_BYTES);
            write_lines(&mut lines, names, users, rows);
            Ok(Some(Encoded::Lines(lines)))
        }
        Format::Parquet => columns(names, users, rows).map(|c| Some(Encoded::Columns(c))),
    }
}

/// A number as JSON; what JSON has no number for is null.
pub fn write_number(out: &mut Vec<u8>, value: Option<f64>) {
    match value.filter(|value| value.is_finite()) {
        Some(value) => out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// How many results ahead names are fetched from memory.
const AHEAD: usize = 8;

/// Adds a line of JSON for each result.
fn write_lines(out: &mut Vec<u8>, names: &Names, users: &Users, rows: &[ResultRow]) {
    let (mut times, mut end) = (None, vec![]);
    for (i, row) in rows.iter().enumerate() {
        if let Some(later) = rows.get(i + AHEAD) {
            users.prefetch(later.user);
        }
        out.extend_from_slice(b"{\"userId\":");
        write_utf8(out, users.text(row.user));
        out.extend_from_slice(names.json[row.segment as usize][usize::from(row.qualified)].as_bytes());
        write_number(out, row.value);
        // Most results are of the same window as the one before.
        let of_row = Some((row.timestamp, row.window_start, row.window_end));
        if of_row != times {
            times = of_row;
            end.clear();
            write_end(&mut end, row);
        }
        out.extend_from_slice(&end);
    }
}

/// The times of a result, and the end of its line.
fn write_end(out: &mut Vec<u8>, row: &ResultRow) {
    for (name, time) in [(",\"timestamp\":", row.timestamp), (",\"windowStart\":", row.window_start), (",\"windowEnd\":", row.window_end)] {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

/// A JSON string.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    write_utf8(out, text.as_bytes());
}

/// A JSON string of a text that is valid UTF-8; most need no escapes.
fn write_utf8(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().any(|b| *b < 0x20 || matches!(b, b'"' | b'\\')) {
        let _ = write!(out, "{}", serde_json::Value::from(String::from_utf8_lossy(text)));
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// The Parquet schema of results.
pub fn result_schema() -> SchemaRef {
    let time = || DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("userId", DataType::Utf8, false),
        Field::new("segmentId", DataType::Utf8, false),
        Field::new("ruleId", DataType::Utf8, false),
        Field::new("qualified", DataType::Boolean, false),
        Field::new("value", DataType::Float64, true),
        Field::new("timestamp", time(), false),
        Field::new("windowStart", time(), false),
        Field::new("windowEnd", time(), false),
    ]))
}

fn columns(names: &Names, users: &Users, rows: &[ResultRow]) -> Result<RecordBatch, ConnectorError> {
    let times = |f: fn(&ResultRow) -> i64| Arc::new(TimestampMillisecondArray::from_iter_values(rows.iter().map(f)).with_timezone("UTC")) as ArrayRef;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| users.name(r.user)))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &names.plain[r.segment as usize].0))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| &names.plain[r.segment as usize].1))),
        Arc::new(rows.iter().map(|r| Some(r.qualified)).collect::<BooleanArray>()),
        Arc::new(rows.iter().map(|r| r.value).collect::<Float64Array>()),
        times(|r| r.timestamp),
        times(|r| r.window_start),
        times(|r| r.window_end),
    ];
    RecordBatch::try_new(result_schema(), columns).map_err(|e| ConnectorError::Parquet { what: "results".into(), message: e.to_string() })
}

/// Writes encoded results.
pub enum ResultWriter {
    /// Nowhere.
    None,
    /// A stream of lines.
    Lines(String, Box<dyn Write + Send>),
    /// A Parquet file.
    Parquet(String, Box<ArrowWriter<File>>),
}

impl ResultWriter {
    /// Opens `path` by its name: `none`, `-` for standard output, `*.parquet`, anything else NDJSON.
    ///
    /// # Errors
    /// When the file can't be created.
    pub fn create(path: &str) -> Result<(Format, Self), ConnectorError> {
        if path == "none" {
            return Ok((Format::None, ResultWriter::None));
        }
        if path == "-" {
            return Ok((Format::Ndjson, ResultWriter::Lines("standard output".into(), Box::new(BufWriter::new(io::stdout())))));
        }
        let file = File::create(path).map_err(ConnectorError::io(path))?;
        if Path::new(path).extension().is_some_and(|e| e == "parquet") {
            let writer =
                ArrowWriter::try_new(file, result_schema(), None).map_err(|e| ConnectorError::Parquet { what: path.into(), message: e.to_string() })?;
            return Ok((Format::Parquet, ResultWriter::Parquet(path.into(), Box::new(writer))));
        }
        Ok((Format::Ndjson, ResultWriter::Lines(path.into(), Box::new(BufWriter::with_capacity(1 << 18, file)))))
    }

    /// Writes some results, and gives the memory of lines to `spares`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&mut self, encoded: Encoded, spares: &Spares) -> Result<(), ConnectorError> {
        match (self, encoded) {
            (ResultWriter::Lines(name, out), Encoded::Lines(lines)) => {
                out.write_all(&lines).map_err(ConnectorError::io(name.clone()))?;
                spares.give(lines);
                Ok(())
            }
            (ResultWriter::Parquet(name, out), Encoded::Columns(batch)) => {
                out.write(&batch).map_err(|e| ConnectorError::Parquet { what: name.clone(), message: e.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> Result<(), ConnectorError> {
        match self {
            ResultWriter::None => Ok(()),
            ResultWriter::Lines(name, mut out) => out.flush().map_err(ConnectorError::io(name)),
            ResultWriter::Parquet(name, out) => out.close().map(|_| ()).map_err(|e| ConnectorError::Parquet { what: name, message: e.to_string() }),
        }
    }
}

/// Writes one dead letter as a JSON line: reason, topic, partition, offset, and the raw record as text, or as
/// hexadecimal when it is not UTF-8.
pub fn dead_letter(out: &mut Vec<u8>, reason: Reason, topic: Option<&str>, partition: u32, offset: u64, raw: &[u8]) {
    let _ = write!(out, "{{\"reason\":\"{}\",\"topic\":", reason.as_str());
    match topic {
        Some(topic) => write_text(out, topic),
        None => out.extend_from_slice(b"null"),
    }
    let _ = write!(out, ",\"partition\":{partition},\"offset\":{offset},");
    match std::str::from_utf8(raw) {
        Ok(text) => {
            out.extend_from_slice(b"\"raw\":");
            write_text(out, text);
        }
        Err(_) => {
            out.extend_from_slice(b"\"rawHex\":\"");
            raw.iter().for_each(|b| drop(write!(out, "{b:02x}")));
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_serde_json_does() {
        let some = [0.0, -0.0, 3.0, 0.1, -2.5, 1e15, 1e16, 1e17, 1e21, 1e300, 5e-324, f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for value in some.map(Some).into_iter().chain([None]) {
            let mut written = vec![];
            write_number(&mut written, value);
            assert_eq!(String::from_utf8_lossy(&written), serde_json::json!(value).to_string());
        }
    }
}
