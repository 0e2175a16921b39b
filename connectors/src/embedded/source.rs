//! The event log as a [`Source`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use cohort_engine::source::{Polled, Positions, RawBatch, Source, SourceError};

use super::EmbeddedError;
use super::log::{EventLog, LOG};

/// Reads some partitions of the log, in turn.
pub struct EmbeddedSource {
    log: EventLog,
    name: Arc<str>,
    /// Partition, and the offset to go on with.
    at: Vec<(u32, i64)>,
    turn: usize,
}

impl EmbeddedSource {
    /// A reader of some partitions, from the first record that is kept.
    pub fn new(log: EventLog, partitions: Vec<u32>) -> Self {
        EmbeddedSource { log, name: LOG.into(), at: partitions.into_iter().map(|p| (p, 0)).collect(), turn: 0 }
    }

    fn next(&mut self, max_rows: usize, into: &mut RawBatch) -> Result<bool, SourceError> {
        for _ in 0..self.at.len() {
            self.turn = (self.turn + 1) % self.at.len();
            let (partition, from) = self.at[self.turn];
            if self.log.range(partition).1 > from {
                self.at[self.turn].1 = self.log.read(partition, from, max_rows, into).map_err(failed)?;
                if !into.is_empty() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

fn failed(error: EmbeddedError) -> SourceError {
    SourceError { source_name: "embedded".into(), message: error.to_string(), fatal: false }
}

impl Source for EmbeddedSource {
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<Polled, SourceError> {
        into.clear();
        let until = Instant::now() + timeout;
        loop {
            let seen = self.log.version();
            if self.next(max_rows, into)? {
                return Ok(Polled::Records);
            }
            // What was appended meanwhile may be of other partitions.
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.log.wait(seen, left) == seen {
                return Ok(Polled::Nothing);
            }
        }
    }

    fn partitions(&self) -> Vec<u32> {
        self.at.iter().map(|(p, _)| *p).collect()
    }

    fn start(&mut self, partition: u32, known: &Positions) -> Result<Positions, SourceError> {
        let log = (Arc::clone(&self.name), partition);
        let offset = known.get(&log).copied().unwrap_or(0);
        Ok(Positions::from([(log, offset)]))
    }

    fn begin(&mut self, positions: &Positions) -> Result<(), SourceError> {
        for (partition, at) in &mut self.at {
            if let Some(offset) = positions.get(&(Arc::clone(&self.name), *partition)) {
                *at = *offset;
            }
        }
        Ok(())
    }

    fn lag(&self, partition: u32) -> u64 {
        let at = self.at.iter().find(|(p, _)| *p == partition).map_or(0, |(_, offset)| *offset);
        let (first, next) = self.log.range(partition);
        next.saturating_sub(at.max(first)).max(0) as u64
    }
}
