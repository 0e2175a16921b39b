//! Files and objects → chunks of whole lines, or of Avro records, in the order given.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use cohort_engine::decode::json::{Newlines, is_blank};
use cohort_engine::formats::avro::Schema;
use datafusion::arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::container::{Block, Container, MAGIC};
use super::rows::{write_rows, write_whole};
use crate::error::ConnectorError;
use crate::object::body::Body;
use crate::object::columns::Columns;
use crate::object::merge::Merge;
use crate::object::{Object, Reading};
use crate::spares::Spares;

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";
/// The most bytes that memory is kept ready for.
const MOST_AHEAD: usize = 32 << 20;
/// Bytes that are read at a time: few, as what is left of the last read is copied to the next chunk.
const READ_BYTES: usize = 1 << 17;
/// The most lines of a chunk that room is made for beforehand.
const MOST_SPANS: usize = 1 << 16;
/// The most chunks of which memory is kept for the next ones.
const SPARES: usize = 8;

/// Some whole lines.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The lines, each but perhaps the last with its newline.
    pub data: Vec<u8>,
    /// Where each line that is not blank begins and ends, if that is known.
    pub lines: Option<Vec<(u32, u32)>>,
    /// For each line that is blank, how many before it are not.
    pub blanks: Vec<u32>,
    /// Number of the first line within all input, from 0; records of Avro count as lines.
    pub first_line: u64,
    /// For records of Avro, what they are.
    pub avro: Option<AvroRecords>,
}

impl Chunk {
    /// The number within all input, from 0, of the line of a record.
    pub fn line(&self, record: u32) -> u64 {
        self.first_line + u64::from(record) + self.blanks.partition_point(|before| *before <= record) as u64
    }
}

/// What the bytes of Avro records are.
#[derive(Debug)]
pub struct AvroRecords {
    /// The schema that they were written with.
    pub schema: Arc<Schema>,
    /// Where each begins and ends.
    pub spans: Vec<(u32, u32)>,
}

/// What is read.
pub enum Origin {
    /// A file of this machine; `-` is standard input.
    File(PathBuf),
    /// An object of a store.
    Object(Object, Reading),
    /// Objects whose events are put in the order of their times.
    Together(Vec<Object>, Reading),
}

/// Origins of which reading has begun: the one that comes next is on its way while one is read.
const BEGUN: usize = 2;

/// Reads files one after the other, a chunk of at most so many lines at a time.
pub struct FileSource {
    origins: VecDeque<Origin>,
    begun: VecDeque<Begun>,
    /// How many sources like this are read side by side.
    together: usize,
    deadline: Option<Instant>,
    cut_short: bool,
    current: Option<(String, Input)>,
    rest: Vec<u8>,
    lines: usize,
    next_line: u64,
    bytes: u64,
    /// Chunks that are ready, before `rest`.
    ready: VecDeque<Chunk>,
    /// Whether all columns of Parquet are wanted.
    whole_rows: bool,
    /// Memory of chunks that were worked on.
    spares: Arc<Spares>,
}

enum Input {
    Avro(Box<Container<Box<dyn BufRead + Send>>>),
    Text(Box<dyn Read + Send>),
    Parquet(Box<dyn Iterator<Item = Result<RecordBatch, String>> + Send>),
    Together(Box<Merge>),
}

/// What is asked for already.
enum Begun {
    File(PathBuf),
    Body(Object, Reading, Body),
    Columns(String, Columns),
    Together(Merge),
}

/// Lines that were found in what was read.
#[derive(Default)]
struct Lines {
    /// Up to where newlines were searched for, and where the line begins that has none yet.
    searched: usize,
    begins: usize,
    count: usize,
    /// Those that are not blank.
    spans: Vec<(u32, u32)>,
    /// For each that is, how many before it are not.
    blanks: Vec<u32>,
}

impl Lines {
    /// Goes on until there are `most` lines; whether there are.
    fn search(&mut self, data: &[u8], most: usize) -> bool {
        let from = self.searched;
        for at in Newlines::new(&data[from..]) {
            if self.count >= most {
                break;
            }
            self.add(data, from + at);
            (self.begins, self.searched) = (from + at + 1, from + at + 1);
        }
        if self.count < most {
            self.searched = data.len();
        }
        self.count >= most
    }

    /// The last line needs no newline.
    fn end(&mut self, data: &[u8], most: usize) {
        if self.count < most && self.begins < data.len() {
            self.add(data, data.len());
            self.begins = data.len();
        }
    }

    fn add(&mut self, data: &[u8], end: usize) {
        self.count += 1;
        if is_blank(&data[self.begins..end]) {
            self.blanks.push(self.spans.len() as u32);
        } else {
            self.spans.push((self.begins as u32, end as u32));
        }
    }
}

impl FileSource {
    /// A source of chunks of at most `lines` lines; `-` is standard input.
    pub fn new(files: Vec<PathBuf>, lines: usize) -> Self {
        FileSource {
            origins: files.into_iter().map(Origin::File).collect(),
            begun: VecDeque::new(),
            together: 1,
            deadline: None,
            cut_short: false,
            current: None,
            rest: vec![],
            lines: lines.max(1),
            next_line: 0,
            bytes: 0,
            ready: VecDeque::new(),
            whole_rows: false,
            spares: Arc::new(Spares::new(SPARES, MOST_AHEAD)),
        }
    }

    /// Where the data of a chunk may be given when it is not needed any more, to be read into again.
    pub fn spares(&self) -> Arc<Spares> {
        Arc::clone(&self.spares)
    }

    /// The same, with all columns of Parquet as the fields of a record, for a mapping to choose from.
    pub fn with_whole_rows(self) -> Self {
        FileSource { whole_rows: true, ..self }
    }

    /// A source of files and objects.
    pub fn of(origins: Vec<Origin>, lines: usize) -> Self {
        FileSource { origins: origins.into(), ..Self::new(vec![], lines) }
    }

    /// The same, as one of so many that are read side by side and share what memory reading takes.
    pub fn beside(self, together: usize) -> Self {
        FileSource { together: together.max(1), ..self }
    }

    /// The same, ending at a moment whether all was read or not.
    pub fn until(self, deadline: Instant) -> Self {
        FileSource { deadline: Some(deadline), ..self }
    }

    /// Whether the deadline came before the end.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
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
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.cut_short = true;
            return Ok(None);
        }
        let mut found = Lines::default();
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            found.spans.reserve(self.lines.min(MOST_SPANS));
            if found.search(&self.rest, self.lines) || !self.fill()? {
                // The last line may have been ended just now.
                found.search(&self.rest, self.lines);
                found.end(&self.rest, self.lines);
                return Ok((found.begins > 0).then(|| self.cut(found)));
            }
        }
    }

    /// Cuts what was read at the end of the lines that were found.
    fn cut(&mut self, found: Lines) -> Chunk {
        let end = found.begins;
        // The next chunk is about as large.
        let mut rest = self.spares.take(self.rest.capacity().min(MOST_AHEAD));
        rest.extend_from_slice(&self.rest[end..]);
        self.rest.truncate(end);
        let data = std::mem::replace(&mut self.rest, rest);
        let first_line = self.next_line;
        self.next_line += found.count as u64;
        self.bytes += data.len() as u64;
        Chunk { data, lines: Some(found.spans), blanks: found.blanks, first_line, avro: None }
    }

    /// What is left of the files before comes before what is added next.
    fn cut_rest(&mut self) {
        if !self.rest.is_empty() {
            let mut found = Lines::default();
            found.search(&self.rest, usize::MAX);
            found.end(&self.rest, usize::MAX);
            let before = self.cut(found);
            self.ready.push_back(before);
        }
    }

    fn add_merged(&mut self, mut chunk: Chunk) {
        self.cut_rest();
        chunk.first_line = self.next_line;
        self.bytes += chunk.data.len() as u64;
        self.next_line += match &chunk.avro {
            Some(records) => records.spans.len(),
            None => memchr::memchr_iter(b'\n', &chunk.data).count(),
        } as u64;
        self.ready.push_back(chunk);
    }

    /// Makes chunks of a block of Avro records.
    fn add_block(&mut self, schema: &Arc<Schema>, block: &Block) {
        self.cut_rest();
        for spans in block.spans.chunks(self.lines) {
            let (from, to) = (spans[0].0, spans[spans.len() - 1].1);
            let mut data = self.spares.take((to - from) as usize);
            data.extend_from_slice(&block.data[from as usize..to as usize]);
            self.bytes += data.len() as u64;
            let first_line = self.next_line;
            self.next_line += spans.len() as u64;
            let spans = spans.iter().map(|(start, end)| (start - from, end - from)).collect();
            self.ready.push_back(Chunk { data, first_line, avro: Some(AvroRecords { schema: Arc::clone(schema), spans }), ..Chunk::default() });
        }
    }

    /// Begins to fetch what comes next.
    pub fn start(&mut self) {
        while self.begun.len() < BEGUN {
            let Some(origin) = self.origins.pop_front() else { return };
            self.begun.push_back(match origin {
                Origin::File(path) => Begun::File(path),
                Origin::Object(object, reading) if object.is_parquet() => {
                    let columns = Columns::fetch(&object, &reading);
                    Begun::Columns(object.url, columns)
                }
                Origin::Object(object, reading) => {
                    let body = Body::fetch(&object, &reading, self.together);
                    Begun::Body(object, reading, body)
                }
                Origin::Together(objects, reading) => Begun::Together(Merge::new(objects, &reading, self.whole_rows)),
            });
        }
    }

    /// What comes next; none at the end.
    fn open(&mut self) -> Result<Option<(String, Input)>, ConnectorError> {
        self.start();
        Ok(match self.begun.pop_front() {
            None => None,
            Some(Begun::File(path)) => Some((path.display().to_string(), open(&path)?)),
            Some(Begun::Columns(url, columns)) => Some((url, Input::Parquet(Box::new(columns)))),
            Some(Begun::Together(merge)) => Some((String::new(), Input::Together(Box::new(merge)))),
            Some(Begun::Body(object, reading, body)) => {
                let mut reader: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(1 << 16, body));
                let is_parquet = reader.fill_buf().map_err(ConnectorError::io(&object.url))?.starts_with(PARQUET);
                let input = if is_parquet { Input::Parquet(Box::new(Columns::fetch(&object, &reading))) } else { by_its_first_bytes(&object.url, reader)? };
                Some((object.url, input))
            }
        })
    }

    /// Reads more into `rest`; false at the end of all files.
    fn fill(&mut self) -> Result<bool, ConnectorError> {
        loop {
            if self.current.is_none() {
                let Some(opened) = self.open()? else { return Ok(false) };
                // The last line of a file may lack its newline.
                if !self.rest.is_empty() && !self.rest.ends_with(b"\n") {
                    self.rest.push(b'\n');
                }
                self.current = Some(opened);
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
                    let most = (READ_BYTES / self.together).max(1 << 16);
                    let read = reader.by_ref().take(most as u64).read_to_end(&mut self.rest).map_err(ConnectorError::io(name.clone()))?;
                    debug_assert_eq!(read, self.rest.len() - before);
                    read > 0
                }
                Input::Parquet(reader) => match reader.next() {
                    Some(batch) => {
                        let failed = |message: String| ConnectorError::Parquet { what: name.clone(), message };
                        let batch = batch.map_err(failed)?;
                        let written = if self.whole_rows { write_whole(&batch, &mut self.rest) } else { write_rows(&batch, &mut self.rest) };
                        written.map_err(|e| failed(e.to_string()))?;
                        true
                    }
                    None => false,
                },
                Input::Together(merge) => match merge.next_chunk(self.lines, &self.spares)? {
                    Some(chunk) => {
                        self.add_merged(chunk);
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
        return reader
            .map(|r| Input::Parquet(Box::new(r.map(|batch| batch.map_err(|e| e.to_string())))))
            .map_err(|e| ConnectorError::Parquet { what: name, message: e.to_string() });
    }
    // What is asked for at a time is more than that, so text comes without another copy.
    by_its_first_bytes(&name, Box::new(BufReader::with_capacity(1 << 13, file)))
}

/// What is not known by its name.
fn by_its_first_bytes(name: &str, mut reader: Box<dyn BufRead + Send>) -> Result<Input, ConnectorError> {
    let failed = || ConnectorError::io(name);
    let magic = reader.fill_buf().map_err(failed())?;
    let large = |reader| BufReader::with_capacity(1 << 18, reader);
    if magic.starts_with(&[0x1f, 0x8b]) {
        return Ok(Input::Text(Box::new(flate2::bufread::MultiGzDecoder::new(large(reader)))));
    }
    if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Input::Text(Box::new(zstd::Decoder::with_buffer(large(reader)).map_err(failed())?)));
    }
    if magic.starts_with(MAGIC) {
        let reader: Box<dyn BufRead + Send> = Box::new(large(reader));
        return Container::open(reader).map(|c| Input::Avro(Box::new(c))).map_err(|message| ConnectorError::Avro { what: name.into(), message });
    }
    Ok(Input::Text(Box::new(reader)))
}
