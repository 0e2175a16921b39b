//! Results and dead letters → files.

use std::borrow::Cow;
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

/// About how long a result is as a line of JSON.
const LINE_BYTES: usize = 192;

/// Where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Nowhere: they are only counted.
    None,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values (RFC 4180, with newlines alone), after a line of names; nothing for null.
    Csv,
    /// A Parquet file.
    Parquet,
}

/// Results on their way to the writer.
pub enum Encoded<'a> {
    /// Lines.
    Lines(&'a [u8]),
    /// Columns.
    Columns(RecordBatch),
}

/// Names that results carry, prepared once.
pub struct Names {
    /// For each segment, what a line has between the user and the value: of one who does not qualify, and of one who does.
    middles: Vec<[String; 2]>,
    /// Segment and rule ids.
    plain: Vec<(String, String)>,
}

impl Names {
    /// The names of a program's segments, for results in a format.
    pub fn new(program: &Program, format: &Format) -> Self {
        let quoted = |s: &str| serde_json::Value::from(s).to_string();
        let middle = |segment: &str, rule: &str, qualified: bool| match format {
            Format::Csv => format!(",{},{},{qualified},", csv_field(segment), csv_field(rule)),
            _ => format!(",\"segmentId\":{},\"ruleId\":{},\"qualified\":{qualified},\"value\":", quoted(segment), quoted(rule)),
        };
        Names {
            middles: program.segments.iter().map(|s| [false, true].map(|qualified| middle(&s.name, &s.rule_id, qualified))).collect(),
            plain: program.segments.iter().map(|s| (s.name.clone(), s.rule_id.clone())).collect(),
        }
    }
}

/// Encodes results, lines into `lines`; `None` when there is nothing to write.
///
/// # Errors
/// Never for lines; for Parquet when columns can't be built.
pub fn encode<'a>(format: &Format, names: &Names, users: &Users, rows: &[ResultRow], lines: &'a mut Vec<u8>) -> Result<Option<Encoded<'a>>, ConnectorError> {
    if rows.is_empty() {
        return Ok(None);
    }
    match format {
        Format::None => Ok(None),
        Format::Ndjson => Ok(Some(encode_lines::<Json>(names, users, rows, lines))),
        Format::Csv => Ok(Some(encode_lines::<Csv>(names, users, rows, lines))),
        Format::Parquet => columns(names, users, rows).map(|c| Some(Encoded::Columns(c))),
    }
}

fn encode_lines<'a, S: Style>(names: &Names, users: &Users, rows: &[ResultRow], lines: &'a mut Vec<u8>) -> Encoded<'a> {
    lines.clear();
    lines.reserve(rows.len() * LINE_BYTES);
    write_lines::<S>(lines, names, users, rows);
    Encoded::Lines(lines)
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

/// Part of a line that is the same as in the line before for many results: it is written once, and then copied.
#[derive(Default)]
struct Repeated<K> {
    of: Option<K>,
    text: Vec<u8>,
}

impl<K: PartialEq> Repeated<K> {
    /// Adds the text of a key, which `write` makes if it was another one before.
    #[inline]
    fn write(&mut self, out: &mut Vec<u8>, of: K, write: impl FnOnce(&mut Vec<u8>)) {
        if self.of.as_ref() != Some(&of) {
            self.text.clear();
            write(&mut self.text);
            self.of = Some(of);
        }
        out.extend_from_slice(&self.text);
    }
}

/// How lines are written.
trait Style {
    /// The beginning of a line: the user.
    fn user(out: &mut Vec<u8>, user: &[u8]);
    /// The value.
    fn value(out: &mut Vec<u8>, value: Option<f64>);
    /// What is before each of the three times, and after the last.
    const TIMES: [&'static str; 3];
    const END: &'static str;
}

struct Json;

impl Style for Json {
    const TIMES: [&'static str; 3] = [",\"timestamp\":", ",\"windowStart\":", ",\"windowEnd\":"];
    const END: &'static str = "}\n";

    fn user(out: &mut Vec<u8>, user: &[u8]) {
        out.extend_from_slice(b"{\"userId\":");
        write_utf8(out, user);
    }

    fn value(out: &mut Vec<u8>, value: Option<f64>) {
        write_number(out, value);
    }
}

struct Csv;

impl Style for Csv {
    const TIMES: [&'static str; 3] = [",", ",", ","];
    const END: &'static str = "\n";

    fn user(out: &mut Vec<u8>, user: &[u8]) {
        out.extend_from_slice(csv_field(&String::from_utf8_lossy(user)).as_bytes());
    }

    fn value(out: &mut Vec<u8>, value: Option<f64>) {
        if value.is_some_and(f64::is_finite) {
            write_number(out, value);
        }
    }
}

/// Adds a line for each result. Those of a user's group come one after the other, and most are of the same window as the one before.
fn write_lines<S: Style>(out: &mut Vec<u8>, names: &Names, users: &Users, rows: &[ResultRow]) {
    let (mut user, mut value, mut end) = (Repeated::default(), Repeated::default(), Repeated::default());
    for (i, row) in rows.iter().enumerate() {
        if let Some(later) = rows.get(i + AHEAD) {
            users.prefetch(later.user);
        }
        user.write(out, row.user, |text| S::user(text, users.text(row.user)));
        out.extend_from_slice(names.middles[row.segment as usize][usize::from(row.qualified)].as_bytes());
        value.write(out, row.value.map(f64::to_bits), |text| S::value(text, row.value));
        end.write(out, (row.timestamp, row.window_start, row.window_end), |text| write_end::<S>(text, row));
    }
}

/// The times of a result, and the end of its line.
fn write_end<S: Style>(out: &mut Vec<u8>, row: &ResultRow) {
    for (name, time) in S::TIMES.into_iter().zip([row.timestamp, row.window_start, row.window_end]) {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
    }
    out.extend_from_slice(S::END.as_bytes());
}

/// The first line of CSV: the names of the columns.
fn csv_header() -> String {
    let names: Vec<String> = result_schema().fields().iter().map(|field| field.name().clone()).collect();
    format!("{}\n", names.join(","))
}

/// A field of CSV, quoted if it has to be (RFC 4180).
pub fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")).into() } else { text.into() }
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
    /// Opens `path` by its name: `none`, `-` for standard output, `*.parquet`, `*.csv`, anything else NDJSON.
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
        let mut file = File::create(path).map_err(ConnectorError::io(path))?;
        let ends_in = |end: &str| Path::new(path).extension().is_some_and(|e| e.eq_ignore_ascii_case(end));
        if ends_in("parquet") {
            let writer =
                ArrowWriter::try_new(file, result_schema(), None).map_err(|e| ConnectorError::Parquet { what: path.into(), message: e.to_string() })?;
            return Ok((Format::Parquet, ResultWriter::Parquet(path.into(), Box::new(writer))));
        }
        let format = if ends_in("csv") { Format::Csv } else { Format::Ndjson };
        if format == Format::Csv {
            file.write_all(csv_header().as_bytes()).map_err(ConnectorError::io(path))?;
        }
        Ok((format, ResultWriter::Lines(path.into(), Box::new(BufWriter::with_capacity(1 << 17, file)))))
    }

    /// Writes some results.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write(&mut self, encoded: Encoded<'_>) -> Result<(), ConnectorError> {
        match (self, encoded) {
            (ResultWriter::Lines(name, out), Encoded::Lines(lines)) => out.write_all(lines).map_err(ConnectorError::io(name.clone())),
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
    fn what_is_repeated_is_written_as_what_is_not() {
        use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};
        use cohort_engine::ResultKind;

        let sql = "CREATE SEGMENT \"a\"\"b\" AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
                   GROUP BY user_id, window_start, window_end HAVING count(*) > 3;";
        let text = SourceText { name: "sql".into(), kind: SourceKind::Sql, text: sql.into(), id: None };
        let program = compile(&[text], &CompileOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        let names = [Format::Ndjson, Format::Csv].map(|format| Names::new(&program, &format));
        let mut users = Users::default();
        let ids: Vec<u32> = ["u", "\"v\"\n"].map(|user| users.intern(user.as_bytes())).to_vec();
        let values = [Some(1.5), Some(1.5), None, Some(0.0), Some(-0.0), Some(f64::NAN), None];
        let mut rows = vec![];
        for (i, value) in values.iter().cycle().take(200).enumerate() {
            let (user, at) = (ids[i / 3 % 2], (i / 5 % 3) as i64);
            let (timestamp, window_start, window_end) = (at, at.min(1), 7);
            rows.push(ResultRow { segment: 0, user, kind: ResultKind::Final, qualified: i % 4 > 0, value: *value, timestamp, window_start, window_end });
        }
        let (mut together, mut alone) = (vec![], vec![]);
        write_lines::<Json>(&mut together, &names[0], &users, &rows);
        rows.chunks(1).for_each(|row| write_lines::<Json>(&mut alone, &names[0], &users, row));
        assert_eq!(String::from_utf8_lossy(&together), String::from_utf8_lossy(&alone));
        for (line, row) in together.split(|byte| *byte == b'\n').zip(&rows) {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((&line["userId"], &line["value"]), (&serde_json::json!(users.name(row.user)), &serde_json::json!(row.value)));
            assert_eq!((&line["timestamp"], &line["windowStart"]), (&serde_json::json!(row.timestamp), &serde_json::json!(row.window_start)));
        }
        let (mut csv, mut expected) = (vec![], String::new());
        write_lines::<Csv>(&mut csv, &names[1], &users, &rows);
        assert_eq!(csv_header(), "userId,segmentId,ruleId,qualified,value,timestamp,windowStart,windowEnd\n");
        for row in &rows {
            let (user, value) = (["u", "\"\"\"v\"\"\n\""][usize::from(row.user == ids[1])], row.value.filter(|value| value.is_finite()));
            let value = value.map(|value| serde_json::json!(value).to_string()).unwrap_or_default();
            let times = format!("{},{},{}", row.timestamp, row.window_start, row.window_end);
            expected += &format!("{user},\"a\"\"b\",\"a\"\"b\",{},{value},{times}\n", row.qualified);
        }
        assert_eq!(String::from_utf8_lossy(&csv), expected);
    }

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
