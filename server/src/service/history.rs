//! Runs programs over retained events, beside the live engine: to try a segment out, and to give a new segment the
//! state that it would have had.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cohort_compiler::Program;
use cohort_connectors::embedded::log::{EventLog, LOG};
use cohort_engine::decode::json::JsonDecoder;
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::source::{Positions, RawBatch};
use cohort_engine::worker::Backfill;
use cohort_engine::{Late, Partition, ResultRow, Settings, Tables};

const STEP: usize = 16_384;

/// A partition that reads the log on its own.
pub struct Reader {
    /// Its state.
    pub state: Partition,
    /// Events that it took in.
    pub events: u64,
    decoder: JsonDecoder,
    log: EventLog,
    partition: u32,
    next: i64,
    batch: RawBatch,
    decoded: EventBatch,
}

impl Reader {
    /// A reader of a partition, from an offset on.
    pub fn new(log: &EventLog, partition: u32, from: i64, program: &Arc<Program>, settings: Settings) -> Self {
        Reader {
            state: Partition::new(Arc::clone(program), settings),
            events: 0,
            decoder: JsonDecoder::new(projection(program)),
            log: log.clone(),
            partition,
            next: from,
            batch: RawBatch::default(),
            decoded: EventBatch::default(),
        }
    }

    /// Reads on, a step at a time, up to an offset; hands results to `emit`, which may end it.
    ///
    /// # Errors
    /// When the log cannot be read, or an expression fails.
    pub fn run(&mut self, until: i64, mut emit: impl FnMut(&Partition, &[ResultRow]) -> bool) -> Result<(), String> {
        let (mut rows, mut rejected, mut late) = (vec![], vec![], Late::default());
        while self.next < until {
            let most = usize::try_from(until - self.next).unwrap_or(STEP).min(STEP);
            let next = self.log.read(self.partition, self.next, most, &mut self.batch).map_err(|e| e.to_string())?;
            if self.batch.is_empty() {
                break;
            }
            self.next = next;
            let topics = Topics::Each(&self.batch.topic_of, &self.batch.topics);
            self.decoder.decode(&self.batch.data, &self.batch.spans, topics, &mut self.decoded, &mut rejected);
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
    log: EventLog,
    program: Arc<Program>,
    settings: Settings,
    /// Events that were appended from then on, ms since the epoch.
    from: i64,
    readers: Mutex<HashMap<u32, Reader>>,
}

impl LogBackfill {
    /// A backfill of a program's segments.
    pub fn new(log: &EventLog, program: Arc<Program>, settings: Settings, from: i64) -> Self {
        LogBackfill { log: log.clone(), program, settings, from, readers: Mutex::default() }
    }

    fn reader(&self, partition: u32) -> Result<Reader, String> {
        let known = self.readers.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        let from = || self.log.offset_at(partition, self.from).map_err(|e| e.to_string());
        known.map_or_else(|| Ok(Reader::new(&self.log, partition, from()?, &self.program, self.settings)), Ok)
    }

    /// Reads all that is in the log now.
    ///
    /// # Errors
    /// When the log cannot be read, or an expression fails.
    pub fn prepare(&self) -> Result<(), String> {
        for partition in 0..self.log.partitions() {
            let mut reader = self.reader(partition)?;
            // Not quite to the end: the worker may be a little behind.
            let until = self.log.range(partition).1.saturating_sub(50_000);
            reader.run(until, |_, _| true)?;
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, reader);
        }
        Ok(())
    }
}

impl Backfill for LogBackfill {
    fn tables(&self, partition: u32, positions: &Positions, closed: i64) -> Result<Tables, String> {
        let until = positions.get(&(LOG.into(), partition)).copied().unwrap_or(0);
        let mut reader = self.reader(partition)?;
        if reader.next > until {
            reader = Reader::new(&self.log, partition, self.log.offset_at(partition, self.from).map_err(|e| e.to_string())?, &self.program, self.settings);
        }
        reader.run(until, |_, _| true)?;
        let mut rows = vec![];
        reader.state.advance(closed, &mut rows).map_err(|e| e.to_string())?;
        reader.state.save().map_err(|e| e.to_string())
    }
}
