//! Files of lines that are read by the running service, one after the other, and the last of them as it grows. All of
//! them are one partition, as any may hold events of any user. The offset of a line is the byte at which it begins; a
//! position within a line stands for the line after it.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cohort_engine::formats::Formats;
use cohort_engine::source::{Polled, Positions, RawBatch, Source, SourceError};

use crate::retained::{Records, Retained};

/// A longer line is taken in parts, none of which will be an event.
const LONGEST: u64 = 64 << 20;
/// How often the end of the last file is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes of a line, until some were read.
const LIKELY: u64 = 200;
const BUFFER: usize = 1 << 20;

/// Files to follow.
#[derive(Debug, Clone)]
pub struct Files {
    /// Each with its name as a log.
    files: Arc<[(Arc<str>, PathBuf)]>,
    /// The topic of their events.
    topic: Arc<str>,
    /// What their lines are.
    formats: Arc<Formats>,
}

impl Files {
    /// Some files, whose events are of a topic.
    ///
    /// # Errors
    /// When there is none, one cannot be opened, or it is compressed.
    pub fn new(paths: &[PathBuf], topic: &str) -> Result<Self, SourceError> {
        let wrong = |path: &Path, message: String| SourceError { source_name: path.display().to_string(), message, fatal: true };
        if paths.is_empty() {
            return Err(wrong(Path::new("files"), "none is named".into()));
        }
        for path in paths {
            if path.extension().is_some_and(|e| ["gz", "zst", "parquet"].iter().any(|x| e == *x)) {
                return Err(wrong(path, "only plain lines can be followed; cohort replay reads compressed files and Parquet".into()));
            }
            File::open(path).map_err(|e| wrong(path, e.to_string()))?;
        }
        let files = paths.iter().map(|p| (p.display().to_string().into(), p.clone())).collect();
        Ok(Files { files, topic: topic.into(), formats: Arc::default() })
    }

    /// The same files, whose lines are of other formats.
    pub fn with_formats(self, formats: Arc<Formats>) -> Self {
        Files { formats, ..self }
    }

    fn reader(&self, from: &Positions) -> Result<Reader, SourceError> {
        let at = (0..self.files.len()).map(|i| self.line_at(i, from.get(&(Arc::clone(&self.files[i].0), 0)).copied().unwrap_or(0)));
        Ok(Reader { files: self.clone(), at: at.collect::<Result<_, _>>()?, current: 0, open: None, line: vec![], lines: 0, bytes: 0 })
    }

    fn positions(&self, at: impl Fn(usize) -> i64) -> Positions {
        self.files.iter().enumerate().map(|(i, (name, _))| ((Arc::clone(name), 0), at(i))).collect()
    }

    /// Bytes of a file now; 0 when it is gone.
    fn size(&self, file: usize) -> i64 {
        std::fs::metadata(&self.files[file].1).map_or(0, |m| i64::try_from(m.len()).unwrap_or(i64::MAX))
    }

    /// Where the first line begins at a byte or after it.
    fn line_at(&self, file: usize, byte: i64) -> Result<i64, SourceError> {
        let (name, path) = &self.files[file];
        let failed = |e: std::io::Error| SourceError { source_name: name.to_string(), message: e.to_string(), fatal: false };
        if byte <= 0 {
            return Ok(0);
        }
        let mut file = File::open(path).map_err(failed)?;
        file.seek(SeekFrom::Start(byte as u64 - 1)).map_err(failed)?;
        let passed = BufReader::new(file).take(LONGEST).skip_until(b'\n').map_err(failed)?;
        Ok(byte - 1 + passed as i64)
    }

    fn is_last(&self, file: usize) -> bool {
        file + 1 == self.files.len()
    }
}

/// Reads on from some offsets.
struct Reader {
    files: Files,
    /// The next byte of each file.
    at: Vec<i64>,
    current: usize,
    open: Option<BufReader<File>>,
    line: Vec<u8>,
    lines: u64,
    bytes: u64,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl Reader {
    /// Fills `into` with the next lines of one file, before the ends.
    fn read(&mut self, ends: impl Fn(usize) -> i64, max_rows: usize, into: &mut RawBatch) -> Result<(), SourceError> {
        into.clear();
        into.partition = 0;
        let arrived = now();
        while into.is_empty() && self.current < self.files.files.len() {
            let (file, end) = (self.current, ends(self.current));
            into.log = Some(Arc::clone(&self.files.files[file].0));
            while into.len() < max_rows && into.data.len() < (1 << 30) && self.at[file] < end && self.next_line(file)? {
                let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if !line.is_empty() {
                    into.push(line, &self.files.topic, self.at[file], arrived);
                }
                self.at[file] += self.line.len() as i64;
            }
            if into.is_empty() {
                if self.files.is_last(file) {
                    break;
                }
                (self.current, self.open) = (file + 1, None);
            }
        }
        self.lines += into.len() as u64;
        self.bytes += into.data.len() as u64;
        Ok(())
    }

    /// Reads a line; none, when there is no whole one yet.
    fn next_line(&mut self, file: usize) -> Result<bool, SourceError> {
        let failed = |e: std::io::Error| SourceError { source_name: self.files.files[file].0.to_string(), message: e.to_string(), fatal: false };
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let mut opened = File::open(&self.files.files[file].1).map_err(failed)?;
                opened.seek(SeekFrom::Start(self.at[file].max(0) as u64)).map_err(failed)?;
                BufReader::with_capacity(BUFFER, opened)
            }
        };
        self.line.clear();
        match open.by_ref().take(LONGEST).read_until(b'\n', &mut self.line) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
        let whole = self.line.ends_with(b"\n") || self.line.len() as u64 == LONGEST || (!self.line.is_empty() && !self.files.is_last(file));
        // What is there of a line is read again, with the rest.
        self.open = whole.then_some(open);
        Ok(whole)
    }

    /// A file that is shorter than what was read of it was replaced: it is read from its start.
    fn notice_replaced(&mut self) {
        let file = self.current;
        if self.files.size(file) < self.at[file] {
            tracing::warn!(file = %self.files.files[file].0, "is shorter than what was read of it: it is read from its start");
            (self.at[file], self.open) = (0, None);
        }
    }

    fn left(&self) -> u64 {
        (self.current..self.at.len()).map(|i| (self.files.size(i) - self.at[i]).max(0) as u64).sum()
    }
}

/// Follows files.
pub struct Follow {
    reader: Reader,
}

impl Follow {
    /// Follows files from their starts, or from where checkpoints say.
    pub fn new(files: &Files) -> Self {
        let at = vec![0; files.files.len()];
        Follow { reader: Reader { files: files.clone(), at, current: 0, open: None, line: vec![], lines: 0, bytes: 0 } }
    }
}

impl Source for Follow {
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<Polled, SourceError> {
        let started = Instant::now();
        loop {
            self.reader.read(|_| i64::MAX, max_rows, into)?;
            if !into.is_empty() {
                return Ok(Polled::Records);
            }
            self.reader.notice_replaced();
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(Polled::Nothing);
            }
            std::thread::sleep(LOOK.min(left));
        }
    }

    fn partitions(&self) -> Vec<u32> {
        vec![0]
    }

    fn start(&mut self, _: u32, known: &Positions) -> Result<Positions, SourceError> {
        let at = self.reader.files.reader(known)?.at;
        Ok(self.reader.files.positions(|i| at[i]))
    }

    fn begin(&mut self, positions: &Positions) -> Result<(), SourceError> {
        self.reader = self.reader.files.reader(positions)?;
        Ok(())
    }

    fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.reader.files.formats)
    }

    /// Lines that are left, by the length of those that were read.
    fn lag(&self, _: u32) -> u64 {
        let length = self.reader.bytes.checked_div(self.reader.lines).map_or(LIKELY, |bytes| bytes + 1);
        self.reader.left().div_ceil(length)
    }
}

impl Retained for Files {
    fn partitions(&self) -> u32 {
        1
    }

    fn range(&self, _: u32) -> Result<(Positions, Positions), SourceError> {
        Ok((self.positions(|_| 0), self.positions(|i| self.size(i))))
    }

    /// All of it: lines do not say when they were written.
    fn at(&self, _: u32, _: i64) -> Result<Positions, SourceError> {
        Ok(self.positions(|_| 0))
    }

    /// Counts lines of a likely length.
    fn back(&self, _: u32, from: &Positions, records: i64) -> Result<Positions, SourceError> {
        let at = self.reader(from)?.at;
        let begin = |i: usize| self.line_at(i, at[i].saturating_sub(records.saturating_mul(LIKELY as i64)));
        let begins = (0..at.len()).map(|i| begin(i).map(|b| b.min(at[i]))).collect::<Result<Vec<_>, _>>()?;
        Ok(self.positions(|i| begins[i]))
    }

    fn open(&self, _: u32, from: &Positions) -> Result<Box<dyn Records>, SourceError> {
        Ok(Box::new(Lines { reader: self.reader(from)?, positions: from.clone() }))
    }
}

struct Lines {
    reader: Reader,
    positions: Positions,
}

impl Records for Lines {
    fn read(&mut self, until: &Positions, max_rows: usize, into: &mut RawBatch) -> Result<(), SourceError> {
        let names: Vec<Arc<str>> = self.reader.files.files.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.reader.read(|i| until.get(&(Arc::clone(&names[i]), 0)).copied().unwrap_or(0), max_rows, into)?;
        into.advance(&mut self.positions, 0..into.len());
        Ok(())
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }

    fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.reader.files.formats)
    }
}
