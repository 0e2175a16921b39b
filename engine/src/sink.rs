//! Where results go. A worker hands [`ResultBatch`]es over through a bounded queue; the sink's thread writes
//! them, in order, and tries again until it can.

use std::sync::Arc;

use crate::decode::{Reason, TextBuffer};
use crate::result::ResultRow;

/// The ids that results of a segment carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentName {
    /// `segmentId`
    pub segment: Arc<str>,
    /// `ruleId`
    pub rule: Arc<str>,
}

/// Results of one partition, in the order in which they came about.
#[derive(Debug, Clone, Default)]
pub struct ResultBatch {
    /// The partition.
    pub partition: u32,
    /// What `segment` of a row is an index of.
    pub names: Arc<Vec<SegmentName>>,
    /// `userId` of each row; `user` of a row is not used.
    pub users: TextBuffer,
    /// The results.
    pub rows: Vec<ResultRow>,
    /// For each row, whether the user is a member of the segment after it.
    pub member: Vec<bool>,
    /// When the oldest event of the batch behind the results was taken in, ms since the epoch.
    pub arrived: i64,
}

/// A sink that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("sink {sink}: {message}")]
pub struct SinkError {
    /// Which sink.
    pub sink: String,
    /// What is wrong.
    pub message: String,
}

/// What takes results. Only its own thread uses it.
pub trait Sink: Send {
    /// Writes results so that they outlive the process. Writing the same results again changes nothing.
    ///
    /// # Errors
    /// When not all could be written; they are then all written again.
    fn write(&mut self, batches: &[ResultBatch]) -> Result<(), SinkError>;
}

impl ResultBatch {
    /// The `userId` of a row.
    pub fn user(&self, row: usize) -> &str {
        std::str::from_utf8(self.users.get(row)).unwrap_or_default()
    }

    /// The ids of a row.
    pub fn name(&self, row: usize) -> &SegmentName {
        &self.names[self.rows[row].segment as usize]
    }
}

/// A record that was not accepted, or came too late for a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why.
    pub reason: Reason,
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: i64,
    /// When it was found, ms since the epoch.
    pub at: i64,
    /// The record.
    pub raw: Vec<u8>,
}

/// What keeps dead letters.
pub trait DeadLetterSink: Send {
    /// Keeps dead letters. Keeping the same ones again changes nothing.
    ///
    /// # Errors
    /// When they cannot be written.
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), SinkError>;
}
