//! Where records come from: a log with partitions, of which a worker reads some.
//!
//! A [`Source`] yields [`RawBatch`]es, each of one partition, in the order of the log; [`Positions`] say where
//! reading goes on, and are saved with the state that they lead to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The next offset to read of each log: (topic, partition) → offset.
pub type Positions = BTreeMap<(Arc<str>, u32), i64>;

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("source {source_name}: {message}")]
pub struct SourceError {
    /// Which source.
    pub source_name: String,
    /// What is wrong.
    pub message: String,
}

/// Records of one partition, in the order of the log. Reused from batch to batch.
#[derive(Debug, Clone)]
pub struct RawBatch {
    /// The partition.
    pub partition: u32,
    /// The log that offsets count in, as [`Positions`] name it.
    pub log: Arc<str>,
    /// The payloads, one after the other.
    pub data: Vec<u8>,
    /// Start and end of each record in `data`.
    pub spans: Vec<(u32, u32)>,
    /// The topics that records came from.
    pub topics: Vec<Arc<str>>,
    /// For each record, the index of its topic in `topics`.
    pub topic_of: Vec<u16>,
    /// Offset of each record in its partition.
    pub offsets: Vec<i64>,
    /// When each record was taken in, ms since the epoch.
    pub arrived: Vec<i64>,
}

impl Default for RawBatch {
    fn default() -> Self {
        RawBatch { partition: 0, log: "".into(), data: vec![], spans: vec![], topics: vec![], topic_of: vec![], offsets: vec![], arrived: vec![] }
    }
}

impl RawBatch {
    /// Number of records.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Forgets all records, keeps the memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.spans.clear();
        self.topics.clear();
        self.topic_of.clear();
        self.offsets.clear();
        self.arrived.clear();
    }

    /// Adds a record.
    pub fn push(&mut self, payload: &[u8], topic: &Arc<str>, offset: i64, arrived: i64) {
        let start = self.data.len() as u32;
        self.data.extend_from_slice(payload);
        self.spans.push((start, self.data.len() as u32));
        let known = self.topics.iter().rposition(|t| t == topic);
        self.topic_of.push(known.unwrap_or(self.topics.len()) as u16);
        if known.is_none() {
            self.topics.push(Arc::clone(topic));
        }
        self.offsets.push(offset);
        self.arrived.push(arrived);
    }

    /// The payload of a record.
    pub fn payload(&self, record: usize) -> &[u8] {
        let (start, end) = self.spans[record];
        &self.data[start as usize..end as usize]
    }

    /// The topic of a record.
    pub fn topic(&self, record: usize) -> &Arc<str> {
        &self.topics[self.topic_of[record] as usize]
    }
}

/// What a worker reads. Only its own thread uses it.
pub trait Source: Send {
    /// Fills `into`, which is cleared first, with the next records of one of the partitions, at most `max_rows`;
    /// waits up to `timeout` for the first. Returns whether there are any. Partitions take turns.
    ///
    /// # Errors
    /// When the source cannot be read; reading may be tried again.
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<bool, SourceError>;

    /// The partitions that are read.
    fn partitions(&self) -> Vec<u32>;

    /// Where reading of a partition goes on.
    fn positions(&self, partition: u32) -> Positions;

    /// Goes on elsewhere; what is no longer there is passed over.
    ///
    /// # Errors
    /// When a position cannot be read from.
    fn seek(&mut self, positions: &Positions) -> Result<(), SourceError>;

    /// How many records of a partition are not read yet.
    fn lag(&self, partition: u32) -> u64;
}
