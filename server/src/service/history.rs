//! Runs programs over retained events, beside the live engine: to try a segment out, and to give a new segment the
//! state that it would have had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cohort_compiler::Program;
use cohort_connectors::retained::{Records, Retained};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::formats::Decoder;
use cohort_engine::source::{Positions, RawBatch, SourceError};
use cohort_engine::worker::Backfill;
use cohort_engine::{Late, Partition, ResultRow, Settings, Tables};

const STEP: usize = 16_384;
/// Records of each log that are left for when a program goes live: its workers may be a little behind.
const LEFT: i64 = 50_000;

/// A partition that reads what the source keeps, on its own.
pub struct Reader {
    /// Its state.
    pub state: Partition,
    /// Events that it took in.
    pub events: u64,
    decoder: Decoder,
    records: Box<dyn Records>,
    batch: RawBatch,
    decoded: EventBatch,
}

impl Reader {
    /// A reader of some records.
    pub fn new(records: Box<dyn Records>, program: &Arc<Program>, settings: Settings) -> Self {
        Reader {
            state: Partition::new(Arc::clone(program), settings),
            events: 0,
            decoder: Decoder::new(projection(program), &records.formats()),
            records,
            batch: RawBatch::default(),
            decoded: EventBatch::default(),
        }
    }

    /// Whether it has read more than what is before some positions.
    fn is_past(&self, positions: &Positions) -> bool {
        self.records.positions().iter().any(|(key, next)| positions.get(key).is_none_or(|until| next > until))
    }

    /// Reads on, a step at a time, up to some positions; hands results to `emit`, which may end it.
    ///
    /// # Errors
    /// When the source cannot be read, or an expression fails.
    pub fn run(&mut self, until: &Positions, mut emit: impl FnMut(&Partition, &[ResultRow]) -> bool) -> Result<(), String> {
        let (mut rows, mut rejected, mut late) = (vec![], vec![], Late::default());
        loop {
            self.records.read(until, STEP, &mut self.batch).map_err(|e| e.to_string())?;
            if self.batch.is_empty() {
                break;
            }
            let topics = Topics::Each(&self.batch.topic_of, &self.batch.topics);
            self.decoder.decode(&self.batch.data, &self.batch.spans, topics, &mut self.decoded, &mut rejected).map_err(|e| e.to_string())?;
            self.events += self.decoded.len() as u64;
            self.state.process(&self.decoded, &mut rows, &mut late).map_err(|e| e.to_string())?;
            if let Some(time) = self.state.watermark() {
                self.state.advance(time, &mut rows).map_err(|e| e.to_string())?;
            }
            let go_on = emit(&self.state, &rows);
            rows.clear();
            if !go_on {
                break;
            }
        }
        Ok(())
    }
}

/// Computes the state of new segments from retained events: most of it before they go live, the rest when they do.
pub struct LogBackfill {
    retained: Arc<dyn Retained>,
    program: Arc<Program>,
    settings: Settings,
    /// Events that were appended from then on, ms since the epoch.
    from: i64,
    readers: Mutex<HashMap<u32, Reader>>,
}

impl LogBackfill {
    /// A backfill of a program's segments.
    pub fn new(retained: &Arc<dyn Retained>, program: Arc<Program>, settings: Settings, from: i64) -> Self {
        LogBackfill { retained: Arc::clone(retained), program, settings, from, readers: Mutex::default() }
    }

    fn reader(&self, partition: u32) -> Result<Reader, SourceError> {
        let from = self.retained.at(partition, self.from)?;
        Ok(Reader::new(self.retained.open(partition, &from)?, &self.program, self.settings.clone()))
    }

    /// Reads nearly all that is kept now.
    ///
    /// # Errors
    /// When the source cannot be read, or an expression fails.
    pub fn prepare(&self) -> Result<(), String> {
        for partition in 0..self.retained.partitions() {
            let mut reader = self.reader(partition).map_err(|e| e.to_string())?;
            let (_, end) = self.retained.range(partition).map_err(|e| e.to_string())?;
            let until = self.retained.back(partition, &end, LEFT).map_err(|e| e.to_string())?;
            reader.run(&until, |_, _| true)?;
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, reader);
        }
        Ok(())
    }
}

impl Backfill for LogBackfill {
    fn tables(&self, partition: u32, positions: &Positions, closed: i64) -> Result<Tables, String> {
        let known = self.readers.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        let mut reader = match known.filter(|reader| !reader.is_past(positions)) {
            Some(reader) => reader,
            None => self.reader(partition).map_err(|e| e.to_string())?,
        };
        reader.run(positions, |_, _| true)?;
        let mut rows = vec![];
        reader.state.advance(closed, &mut rows).map_err(|e| e.to_string())?;
        reader.state.save().map_err(|e| e.to_string())
    }
}
