//! Topics as [`Retained`]: what they still keep, read by consumers that belong to no group and commit nothing.

use std::sync::Arc;

use cohort_engine::formats::Formats;
use cohort_engine::source::{Positions, RawBatch, SourceError};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};

use super::bounded::{Bounded, Quiet, reader};
use super::{KafkaOptions, KafkaProblem, PATIENCE, is_fatal, offset_at, partitions_of};
use crate::retained::{Records, Retained};

/// What topics keep.
pub struct KafkaHistory {
    options: KafkaOptions,
    logs: Vec<Arc<str>>,
    partitions: u32,
    client: BaseConsumer<Quiet>,
}

impl KafkaHistory {
    /// What the topics of a source keep, of so many partitions.
    ///
    /// # Errors
    /// When a property is not one of librdkafka's.
    pub fn new(options: KafkaOptions, partitions: u32) -> Result<Self, KafkaProblem> {
        let client = reader(&options, &options.group_id).map_err(options.failed("history"))?;
        Ok(KafkaHistory { logs: options.logs().iter().map(|t| t.as_str().into()).collect(), options, partitions, client })
    }

    fn failed(&self, error: KafkaError) -> SourceError {
        SourceError { source_name: format!("kafka {}", self.options.brokers), message: error.to_string(), fatal: is_fatal(&error) }
    }

    /// An offset in each log of a partition, of its first and its end.
    fn each(&self, partition: u32, offset: impl Fn(&str, i64, i64) -> KafkaResult<i64>) -> Result<Positions, SourceError> {
        let mut positions = Positions::new();
        for topic in &self.logs {
            if partitions_of(&self.client, topic).map_err(|e| self.failed(e))? <= partition as usize {
                continue;
            }
            let (low, high) = self.client.fetch_watermarks(topic, partition as i32, PATIENCE).map_err(|e| self.failed(e))?;
            let offset = offset(topic, low, high).map_err(|e| self.failed(e))?;
            positions.insert((Arc::clone(topic), partition), offset);
        }
        Ok(positions)
    }
}

impl Retained for KafkaHistory {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn range(&self, partition: u32) -> Result<(Positions, Positions), SourceError> {
        Ok((self.each(partition, |_, low, _| Ok(low))?, self.each(partition, |_, _, high| Ok(high))?))
    }

    fn at(&self, partition: u32, time: i64) -> Result<Positions, SourceError> {
        self.each(partition, |topic, _, high| offset_at(&self.client, topic, partition as i32, time, high))
    }

    fn open(&self, partition: u32, from: &Positions) -> Result<Box<dyn Records>, SourceError> {
        let log = self.options.rekey.then(|| Arc::clone(&self.logs[0]));
        Ok(Box::new(TopicRecords {
            bounded: Bounded::open(&self.options, from)?,
            partition,
            positions: from.clone(),
            log,
            formats: Arc::clone(&self.options.formats),
        }))
    }
}

struct TopicRecords {
    bounded: Bounded,
    partition: u32,
    positions: Positions,
    log: Option<Arc<str>>,
    formats: Arc<Formats>,
}

impl Records for TopicRecords {
    fn read(&mut self, until: &Positions, max_rows: usize, into: &mut RawBatch) -> Result<(), SourceError> {
        into.clear();
        (into.partition, into.log) = (self.partition, self.log.clone());
        let ends: Vec<i64> = self.bounded.lanes.iter().map(|l| until.get(&(Arc::clone(&l.topic), self.partition)).copied().unwrap_or(0)).collect();
        while into.len() < max_rows && into.data.len() < (1 << 30) {
            let Some(lane) = self.bounded.next(&ends)? else { break };
            let lane = &mut self.bounded.lanes[lane];
            let offset = lane.take();
            into.push(&lane.payload, lane.origin.as_ref().unwrap_or(&lane.topic), offset, lane.time);
        }
        for lane in &self.bounded.lanes {
            self.positions.insert((Arc::clone(&lane.topic), self.partition), lane.next);
        }
        Ok(())
    }

    fn positions(&self) -> &Positions {
        &self.positions
    }

    fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.formats)
    }
}
