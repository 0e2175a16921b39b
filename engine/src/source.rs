//! Where records come from: a log with partitions, of which a worker reads some.
//!
//! A [`Source`] yields [`RawBatch`]es, each of one partition, in the order of the log; [`Positions`] say where
//! reading goes on, and are saved with the state that they lead to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::formats::Formats;

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
    /// Whether it stays so, whatever is tried: somebody has to look.
    pub fatal: bool,
}

/// Records of one partition, in the order of the log. Reused from batch to batch.
#[derive(Debug, Clone, Default)]
pub struct RawBatch {
    /// The partition.
    pub partition: u32,
    /// The log that offsets count in, as [`Positions`] name it; where there is none, each topic is a log.
    pub log: Option<Arc<str>>,
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
        let (start, topic) = (self.data.len() as u32, self.topic_number(topic));
        self.data.extend_from_slice(payload);
        self.note((start, self.data.len() as u32), topic, offset, arrived);
    }

    /// Adds a record whose payload is in `data` already; its topic is given by [`RawBatch::topic_number`].
    #[inline]
    pub fn note(&mut self, span: (u32, u32), topic: u16, offset: i64, arrived: i64) {
        self.spans.push(span);
        self.topic_of.push(topic);
        self.offsets.push(offset);
        self.arrived.push(arrived);
    }

    /// The index of a topic in `topics`, which it is added to if it is new.
    pub fn topic_number(&mut self, topic: &Arc<str>) -> u16 {
        let known = self.topics.iter().rposition(|t| t == topic);
        if known.is_none() {
            self.topics.push(Arc::clone(topic));
        }
        known.unwrap_or(self.topics.len() - 1) as u16
    }

    /// The payload of a record.
    pub fn payload(&self, record: usize) -> &[u8] {
        let (start, end) = self.spans[record];
        &self.data[start as usize..end as usize]
    }

    /// The log that a record's offset counts in.
    pub fn log_of(&self, record: usize) -> &Arc<str> {
        self.log.as_ref().unwrap_or_else(|| self.topic(record))
    }

    /// Moves positions past some records.
    pub fn advance(&self, positions: &mut Positions, records: std::ops::Range<usize>) {
        let mut seen: Vec<&Arc<str>> = vec![];
        let logs = if self.log.is_some() { 1 } else { self.topics.len() };
        for record in records.rev() {
            let log = self.log_of(record);
            if seen.len() == logs {
                break;
            }
            if !seen.contains(&log) {
                positions.insert((Arc::clone(log), self.partition), self.offsets[record] + 1);
                seen.push(log);
            }
        }
    }

    /// The topic of a record.
    pub fn topic(&self, record: usize) -> &Arc<str> {
        &self.topics[self.topic_of[record] as usize]
    }
}

/// What came of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Polled {
    /// Records.
    Records,
    /// Nothing within the time.
    Nothing,
    /// More partitions to read. The worker restores their state, and then calls [`Source::begin`].
    Assigned(Vec<u32>),
    /// Partitions that another may read once the worker has saved their state and called [`Source::release`].
    Revoked {
        /// The partitions.
        partitions: Vec<u32>,
        /// Another may read them already: nothing more may be written for them.
        lost: bool,
    },
}

/// What a worker reads. Only its own thread uses it.
pub trait Source: Send {
    /// Fills `into`, which is cleared first, with the next records of one of the partitions, at most `max_rows`;
    /// waits up to `timeout` for the first. Partitions take turns. With a `max_rows` of 0 it only tells of changes.
    ///
    /// # Errors
    /// When the source cannot be read; reading may be tried again.
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<Polled, SourceError>;

    /// The partitions that are read from the start on; those that come later are [`Polled::Assigned`].
    fn partitions(&self) -> Vec<u32>;

    /// Where reading of a partition begins, every log of it, given what is known from a checkpoint.
    ///
    /// # Errors
    /// When the source cannot say; it may be asked again.
    fn start(&mut self, partition: u32, known: &Positions) -> Result<Positions, SourceError>;

    /// Reads some partitions from these positions on; what is no longer there is passed over.
    ///
    /// # Errors
    /// When a position cannot be read from.
    fn begin(&mut self, positions: &Positions) -> Result<(), SourceError>;

    /// From now on [`Source::poll`] passes over these partitions, and over no others; false when it cannot. They are ours,
    /// and what they have stays where it is.
    fn pass_over(&mut self, partitions: &[u32]) -> bool {
        partitions.is_empty()
    }

    /// Lets go of partitions that were revoked.
    fn release(&mut self, partitions: &[u32]) {
        let _ = partitions;
    }

    /// How many records of a partition are not read yet.
    fn lag(&self, partition: u32) -> u64;

    /// Checkpoints were published that cover everything before these positions. With `wait`, returns once the source
    /// has taken note.
    fn covered(&mut self, positions: &Positions, wait: bool) {
        let _ = (positions, wait);
    }

    /// What the records of each topic are.
    fn formats(&self) -> Arc<Formats> {
        Arc::default()
    }

    /// Called now and then while the worker waits for the sink, so that the source knows that it lives.
    fn keep_alive(&mut self) {}
}
