//! Files → chunks of whole lines, or of Avro records, in the order given.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use cohort_engine::formats::avro::Schema;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::container::{Block, Container, MAGIC};
use crate::error::ConnectorError;

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// Some whole lines.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The lines, each but perhaps the last with its newline.
    pub data: Vec<u8>,
    /// Number of the first line within all input, from 0; records of Avro count as lines.
    pub first_line: u64,
    /// For records of Avro, what they are.
    pub avro: Option<AvroRecords>,
}

/// What the bytes of Avro records are.
#[derive(Debug)]
pub struct AvroRecords {
    /// The schema that they were written with.
    pub schema: Arc<Schema>,
    /// Where each begins and ends.
    pub spans: Vec<(u32, u32)>,
}

/// Reads files one after the other, a chunk of at most so many lines at a time.
pub struct FileSource {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<(String, Input)>,
    rest: Vec<u8>,
    lines: usize,
    next_line: u64,
    bytes: u64,
    /// Chunks that are ready, before `rest`.
    ready: VecDeque<Chunk>,
    /// Whether all columns of Parquet are wanted.
    whole_rows: bool,
}

enum Input {
    Avro(Box<Container<BufReader<File>>>),
    Text(Box<dyn Read + Send>),
    Parquet(Box<ParquetRecordBatchReader>),
}

impl FileSource {
    /// A source of chunks of at most `lines` lines; `-` is standard input.
    pub fn new(files: Vec<PathBuf>, lines: usize) -> Self {
        FileSource {
            files: files.into_iter(),
            current: None,
            rest: vec![],
            lines: lines.max(1),
            next_line: 0,
            bytes: 0,
            ready: VecDeque::new(),
            whole_rows: false,
        }
    }

    /// The same, with all columns of Parquet as the fields of a record, for a mapping to choose from.
    pub fn with_whole_rows(self) -> Self {
        FileSource { whole_rows: true, ..self }
    }

    /// Bytes of lines that were read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next chunk; `None` at the end of all files.
    ///
    /// # Errors
    /// When a file can't be opened, read or decompressed.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, ConnectorError> {
        let mut searched = 0;
        let mut found = 0;
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            // Where the chunk's last line ends, once there are enough.
            let mut end = None;
            for at in memchr::memchr_iter(b'\n', &self.rest[searched..]) {
                found += 1;
                if found == self.lines {
                    end = Some(searched + at + 1);
                    break;
                }
            }
            if let Some(end) = end {
                return Ok(Some(self.cut(end)));
            }
            searched = self.rest.len();
            if !self.fill()? {
                let end = self.rest.len();
                return Ok((end > 0).then(|| self.cut(end)));
            }
        }
    }

    fn cut(&mut self, end: usize) -> Chunk {
        let rest = self.rest.split_off(end);
        let data = std::mem::replace(&mut self.rest, rest);
        let first_line = self.next_line;
        self.next_line += memchr::memchr_iter(b'\n', &data).count() as u64 + u64::from(!data.ends_with(b"\n"));
        self.bytes += data.len() as u64;
        Chunk { data, first_line, avro: None }
    }

    /// Makes chunks of a block of Avro records; what is left of a file before goes first.
    fn add_block(&mut self, schema: &Arc<Schema>, block: &Block) {
        if !self.rest.is_empty() {
            let before = self.cut(self.rest.len());
            self.ready.push_back(before);
        }
        for spans in block.spans.chunks(self.lines) {
            let (from, to) = (spans[0].0, spans[spans.len() - 1].1);
            let data = block.data[from as usize..to as usize].to_vec();
            self.bytes += data.len() as u64;
            let first_line = self.next_line;
            self.next_line += spans.len() as u64;
            let spans = spans.iter().map(|(start, end)| (start - from, end - from)).collect();
            self.ready.push_back(Chunk { data, first_line, avro: Some(AvroRecords { schema: Arc::clone(schema), spans }) });
        }
    }

    /// Reads more into `rest`; false at the end of all files.
    fn fill(&mut self) -> Result<bool, ConnectorError> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.files.next() else { return Ok(false) };
                // The last line of a file may lack its newline.
                if !self.rest.is_empty() && !self.rest.ends_with(b"\n") {
                    self.rest.push(b'\n');
                }
                self.current = Some((path.display().to_string(), open(&path)?));
            }
            let Some((name, input)) = &mut self.current else { continue };
            let more = match input {
                Input::Avro(container) => match container.next_block() {
                    Ok(Some(block)) => {
                        let schema = Arc::clone(&container.schema);
                        self.add_block(&schema, &block);
                        true
                    }
                    Ok(None) => false,
                    Err(message) => return Err(ConnectorError::Avro { what: name.clone(), message }),
                },
                Input::Text(reader) => {
                    let before = self.rest.len();
                    let read = reader.by_ref().take(READ_BYTES as u64).read_to_end(&mut self.rest).map_err(ConnectorError::io(name.clone()))?;
                    debug_assert_eq!(read, self.rest.len() - before);
                    read > 0
                }
                Input::Parquet(reader) => match reader.next() {
                    Some(batch) => {
                        let failed = |message: String| ConnectorError::Parquet { what: name.clone(), message };
                        let batch = batch.map_err(|e| failed(e.to_string()))?;
                        let written = if self.whole_rows { write_whole(&batch, &mut self.rest) } else { write_rows(&batch, &mut self.rest) };
                        written.map_err(|e| failed(e.to_string()))?;
                        true
                    }
                    None => false,
                },
            };
            if more {
                return Ok(true);
            }
            self.current = None;
        }
    }
}

fn open(path: &Path) -> Result<Input, ConnectorError> {
    let name = path.display().to_string();
    let failed = || ConnectorError::io(name.clone());
    if name == "-" {
        return Ok(Input::Text(Box::new(io::stdin())));
    }
    let file = File::open(path).map_err(failed())?;
    if name.ends_with(".parquet") {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|b| b.with_batch_size(8192).build());
        return reader.map(|r| Input::Parquet(Box::new(r))).map_err(|e| ConnectorError::Parquet { what: name, message: e.to_string() });
    }
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let magic = io::BufRead::fill_buf(&mut reader).map_err(failed())?;
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Input::Text(Box::new(flate2::read::MultiGzDecoder::new(reader))));
    }
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Input::Text(Box::new(zstd::Decoder::new(reader).map_err(failed())?)));
    }
    if magic.starts_with(MAGIC) {
        return Container::open(reader).map(|c| Input::Avro(Box::new(c))).map_err(|message| ConnectorError::Avro { what: name, message });
    }
    Ok(Input::Text(Box::new(reader)))
}

/// Parquet rows as JSON records of all their columns.
fn write_whole(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), datafusion::arrow::error::ArrowError> {
    let mut writer = LineDelimitedWriter::new(out);
    writer.write(batch)?;
    writer.finish()
}

/// Parquet rows as the JSON records that they stand for. Columns go by their JSON or their SQL names.
fn write_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), datafusion::arrow::error::ArrowError> {
    let columns = [("userId", "user_id"), ("eventType", "event_type"), ("sessionId", "session_id")];
    let find = |names: [&str; 2]| names.iter().find_map(|n| batch.column_by_name(n));
    let texts = columns.iter().map(|(a, b)| find([a, b]).map(|c| cast(c, &DataType::Utf8)).transpose()).collect::<Result<Vec<_>, _>>()?;
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let times = match find(["timestamp", "event_time"]) {
        Some(c) if matches!(c.data_type(), DataType::Timestamp(..)) => Some(cast(&cast(c, &millis)?, &DataType::Int64)?),
        Some(c) => Some(cast(c, &DataType::Int64)?),
        None => None,
    };
    let values = batch.column_by_name("value").map(|c| cast(c, &DataType::Float64)).transpose()?;
    let metadata = batch.column_by_name("metadata");
    for row in 0..batch.num_rows() {
        let mut record = serde_json::Map::new();
        for ((name, _), text) in columns.iter().zip(&texts) {
            if let Some(text) = text.as_ref().filter(|t| t.is_valid(row)) {
                record.insert((*name).into(), text.as_string::<i32>().value(row).into());
            }
        }
        if let Some(t) = times.as_ref().filter(|t| t.is_valid(row)) {
            record.insert("timestamp".into(), t.as_primitive::<Int64Type>().value(row).into());
        }
        if let Some(v) = values.as_ref().filter(|v| v.is_valid(row)) {
            let number = v.as_primitive::<Float64Type>().value(row);
            // What is not a number breaks the rule for values, as it would in JSON.
            record.insert("value".into(), serde_json::Number::from_f64(number).map_or_else(|| number.to_string().into(), Into::into));
        }
        if let Some(m) = metadata.filter(|m| m.is_valid(row)) {
            record.insert("metadata".into(), metadata_value(m, row)?);
        }
        out.extend_from_slice(serde_json::Value::Object(record).to_string().as_bytes());
        out.push(b'\n');
    }
    Ok(())
}

fn metadata_value(column: &ArrayRef, row: usize) -> Result<serde_json::Value, datafusion::arrow::error::ArrowError> {
    let mut object = serde_json::Map::new();
    match column.data_type() {
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let keys = cast(entries.column(0), &DataType::Utf8)?;
            for i in 0..entries.len() {
                object.insert(keys.as_string::<i32>().value(i).into(), text_at(entries.column(1), i)?);
            }
        }
        DataType::Struct(fields) => {
            for (i, field) in fields.iter().enumerate() {
                object.insert(field.name().clone(), text_at(column.as_struct().column(i), row)?);
            }
        }
        // Metadata as JSON text.
        _ => {
            let json = cast(&column.slice(row, 1), &DataType::Utf8)?;
            let json = json.as_string::<i32>().value(0);
            return Ok(serde_json::from_str(json).unwrap_or_else(|_| json.into()));
        }
    }
    Ok(object.into())
}

fn text_at(array: &ArrayRef, i: usize) -> Result<serde_json::Value, datafusion::arrow::error::ArrowError> {
    if array.is_null(i) {
        return Ok(serde_json::Value::Null);
    }
    Ok(cast(&array.slice(i, 1), &DataType::Utf8)?.as_string::<i32>().value(0).into())
}
