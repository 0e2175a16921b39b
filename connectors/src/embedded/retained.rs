//! The embedded log as [`Retained`]: a partition is one log of all topics.

use cohort_engine::source::{Positions, RawBatch, SourceError};

use super::EmbeddedError;
use super::log::{EventLog, LOG};
use crate::retained::{Records, Retained};

fn failed(error: EmbeddedError) -> SourceError {
    SourceError { source_name: LOG.into(), message: error.to_string(), fatal: false }
}

fn position(partition: u32, offset: i64) -> Positions {
    [((LOG.into(), partition), offset)].into()
}

impl Retained for EventLog {
    fn partitions(&self) -> u32 {
        self.partitions()
    }

    fn range(&self, partition: u32) -> Result<(Positions, Positions), SourceError> {
        let (first, next) = self.range(partition);
        Ok((position(partition, first), position(partition, next)))
    }

    fn at(&self, partition: u32, time: i64) -> Result<Positions, SourceError> {
        self.offset_at(partition, time).map(|offset| position(partition, offset)).map_err(failed)
    }

    fn open(&self, partition: u32, from: &Positions) -> Result<Box<dyn Records>, SourceError> {
        Ok(Box::new(LogRecords { log: self.clone(), partition, positions: from.clone() }))
    }
}

struct LogRecords {
    log: EventLog,
    partition: u32,
    positions: Positions,
}

impl Records for LogRecords {
    fn read(&mut self, until: &Positions, max_rows: usize, into: &mut RawBatch) -> Result<(), SourceError> {
        let key = (LOG.into(), self.partition);
        let offset = |positions: &Positions| positions.get(&key).copied().unwrap_or(0);
        let (next, until) = (offset(&self.positions), offset(until));
        let most = usize::try_from(until - next).unwrap_or(0).min(max_rows);
        into.clear();
        if most == 0 {
            return Ok(());
        }
        let next = self.log.read(self.partition, next, most, into).map_err(failed)?;
        self.positions.insert(key, next);
        Ok(())
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }
}
