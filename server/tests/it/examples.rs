//! The examples of the documentation and of `queries/`: each page's SQL and JSON is checked, explained and
//! run over `queries/examples.jsonl`, and what comes out is compared with files in `queries/`.

use std::path::Path;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::golden::{cohort, compare_text, queries};

/// The fenced blocks of one language in a page, each with an empty line after it.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = queries().join("..").join(page);
    let text = std::fs::read_to_string(&path).expect("the page is there");
    let (mut found, mut open) = (vec![], None::<String>);
    for line in text.lines() {
        match &mut open {
            Some(_) if line.trim_end() == "```" => found.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim_end() == format!("```{language}") => open = Some(String::new()),
            None => {}
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    found
}

fn stdout(args: &[&str]) -> String {
    let output = cohort(args);
    assert!(output.status.success(), "{args:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.iter().flat_map(|l| [*l, "\n"]).collect()
}

const RUN: [&str; 5] = ["replay", "--input", "examples.jsonl", "--topic", "order_events"];

/// Results and members at the end, of the segments in a file.
fn replayed(flag: &str, file: &str, dir: &Path) -> String {
    let members = dir.join("members.ndjson").display().to_string();
    let results = stdout(&[&RUN[..], &[flag, file, "--memberships", &members]].concat());
    let members = std::fs::read_to_string(&members).expect("the members are written");
    format!("results\n{}members\n{}", sorted(&results), sorted(&members))
}

/// Checks, explains and runs a file; nothing may depend on the batches and partitions.
fn golden(flag: &str, file: &Path, name: &str, dir: &Path) {
    let file = file.to_str().expect("a path in UTF-8");
    stdout(&["check", file]);
    compare_text(&stdout(&["explain", file]), &format!("{name}.explain.expected"));
    compare_text(&replayed(flag, file, dir), &format!("{name}.results.expected"));
    let finals = |extra: &[&str]| sorted(&stdout(&[&RUN[..], &[flag, file, "--emit", "final"], extra].concat()));
    assert_eq!(finals(&[]), finals(&["--partitions", "3", "--batch-rows", "2"]), "{name}");
}

#[test]
fn sql_of_the_pages_runs() {
    for (page, name) in [("README.md", "readme"), ("docs/sql.md", "sql_reference")] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("page.sql");
        std::fs::write(&file, blocks(page, "sql").join("\n")).expect("the segments are written");
        golden("--segments", &file, name, dir.path());
    }
}

#[test]
fn json_of_the_pages_runs() {
    for (i, block) in blocks("docs/sql.md", "json").iter().enumerate() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("rules.json");
        std::fs::write(&file, block).expect("the rules are written");
        golden("--rules", &file, &format!("sql_reference_json{}", i + 1), dir.path());
    }
}

#[test]
fn sample_segments_run() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    compare_text(&replayed("--segments", "segments.sql", dir.path()), "segments.results.expected");
}

#[test]
fn parquet_in_and_out_is_the_same() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (events, results) = (dir.path().join("events.parquet"), dir.path().join("results.parquet"));
    write_parquet(&queries().join("examples.jsonl"), &events);
    let args = |input: &str, output: &str| {
        let args = ["replay", "--input", input, "--segments", "segments.sql", "--output", output];
        stdout(&args)
    };
    let lines = args("examples.jsonl", "-");
    assert_eq!(sorted(&args(events.to_str().expect("UTF-8"), "-")), sorted(&lines));
    args("examples.jsonl", results.to_str().expect("UTF-8"));
    assert_eq!(read_parquet(&results), values(&lines));
}

/// Writes JSON Lines as Parquet, `metadata` as a map as the documentation has it.
fn write_parquet(lines: &Path, parquet: &Path) {
    let entry = Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
    let map = DataType::Map(Field::new("entries", DataType::Struct(entry), false).into(), false);
    let schema = std::sync::Arc::new(Schema::new(vec![
        Field::new("userId", DataType::Utf8, true),
        Field::new("eventType", DataType::Utf8, true),
        Field::new("timestamp", DataType::Int64, true),
        Field::new("value", DataType::Float64, true),
        Field::new("metadata", map, true),
    ]));
    let input = std::io::BufReader::new(std::fs::File::open(lines).expect("the events are there"));
    let reader = arrow_json::ReaderBuilder::new(schema.clone()).build(input).expect("a reader");
    let mut writer = ArrowWriter::try_new(std::fs::File::create(parquet).expect("the file is made"), schema, None).expect("a writer");
    for batch in reader {
        writer.write(&batch.expect("a batch")).expect("a batch is written");
    }
    writer.close().expect("the file is complete");
}

/// Results in Parquet as the values that NDJSON has.
fn read_parquet(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).expect("the results are there");
    let mut out = arrow_json::WriterBuilder::new().with_explicit_nulls(true).build::<_, arrow_json::writer::LineDelimited>(vec![]);
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).expect("Parquet").build().expect("a reader") {
        out.write(&numbers(&batch.expect("a batch"))).expect("a batch as JSON");
    }
    out.finish().expect("the lines end");
    values(&String::from_utf8(out.into_inner()).expect("UTF-8"))
}

/// Times as milliseconds.
fn numbers(batch: &RecordBatch) -> RecordBatch {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns()).map(|(f, column)| match f.data_type() {
        DataType::Timestamp(..) => (f.name().clone(), cast(column, &DataType::Int64).expect("a number"), true),
        _ => (f.name().clone(), std::sync::Arc::clone(column), true),
    });
    RecordBatch::try_from_iter_with_nullable(columns).expect("a batch")
}

fn values(lines: &str) -> Vec<Value> {
    let mut values: Vec<Value> = lines.lines().map(|l| serde_json::from_str(l).expect("a line is JSON")).collect();
    values.sort_by_key(Value::to_string);
    values
}
