//! Events that a source still keeps, read beside the running engine: to try a segment out, to give a new one the state
//! that it would have had, and to look events up. The embedded log and Kafka's topics are such.

use std::sync::Arc;

use cohort_engine::formats::Formats;
use cohort_engine::source::{Positions, RawBatch, SourceError};

/// Keeps events for some time.
pub trait Retained: Send + Sync {
    /// Number of partitions.
    fn partitions(&self) -> u32;

    /// Where the logs of a partition begin, and where they end now.
    ///
    /// # Errors
    /// When the source cannot say.
    fn range(&self, partition: u32) -> Result<(Positions, Positions), SourceError>;

    /// The first records of a partition that were appended at a time or after, ms since the epoch.
    ///
    /// # Errors
    /// When the source cannot say.
    fn at(&self, partition: u32, time: i64) -> Result<Positions, SourceError>;

    /// Positions that lie about so many records of each log before others, where records begin.
    ///
    /// # Errors
    /// When the source cannot say.
    fn back(&self, partition: u32, from: &Positions, records: i64) -> Result<Positions, SourceError> {
        let (first, _) = self.range(partition)?;
        let start = |key| first.get(key).copied().unwrap_or(0);
        Ok(from.iter().map(|(key, offset)| (key.clone(), (offset - records).max(start(key)).min(*offset))).collect())
    }

    /// Reads a partition from some positions on.
    ///
    /// # Errors
    /// When the source cannot be reached.
    fn open(&self, partition: u32, from: &Positions) -> Result<Box<dyn Records>, SourceError>;
}

/// Records of a partition, in the order in which the engine reads them.
pub trait Records: Send {
    /// Fills `into`, which is cleared first, with the next records before `until`, at most `max_rows`; none, when there
    /// are no more.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn read(&mut self, until: &Positions, max_rows: usize, into: &mut RawBatch) -> Result<(), SourceError>;

    /// What comes next.
    fn positions(&self) -> &Positions;

    /// What the records of each topic are.
    fn formats(&self) -> Arc<Formats> {
        Arc::default()
    }
}
