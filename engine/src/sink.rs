//! Where results go. A worker hands [`ResultBatch`]es over through a bounded queue; the sink's thread writes
//! them, in order, and tries again until it can. [`MemberBatch`]es tell a sink what users are members of as a whole;
//! [`Touch`]es keep them from expiring.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// For each row, the number of segments that the user is in once all rows are applied, for sinks to check what they
    /// hold by; empty where nobody counted.
    pub held: Vec<u32>,
    /// When the oldest event of the batch behind the results was taken in, ms since the epoch.
    pub arrived: i64,
    /// Whether the partition is still this process's to write for.
    pub lease: Lease,
}

/// Whether a partition is still read by this process. Once another may read it, what is queued for the sinks must not
/// be written any more: the other has gone on from the last checkpoint, and will write it itself.
#[derive(Debug, Clone, Default)]
pub struct Lease(Option<Arc<AtomicBool>>);

impl Lease {
    /// A lease that can end.
    pub fn new() -> Self {
        Lease(Some(Arc::new(AtomicBool::new(true))))
    }

    /// Whether it holds.
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|l| l.load(Ordering::Acquire))
    }

    /// Ends it, for everything that carries it.
    pub fn end(&self) {
        if let Some(lease) = &self.0 {
            lease.store(false, Ordering::Release);
        }
    }
}

/// All memberships of some users of a partition, as they are now: sinks replace what they have of these users.
#[derive(Debug, Clone, Default)]
pub struct MemberBatch {
    /// The partition.
    pub partition: u32,
    /// What `segment` of a row is an index of.
    pub names: Arc<Vec<SegmentName>>,
    /// The users.
    pub users: TextBuffer,
    /// For each user, the end of their rows.
    pub ends: Vec<u32>,
    /// Memberships, user by user: kind is final for those through a closed window. `user` of a row is not used.
    pub rows: Vec<ResultRow>,
    /// Whether the partition is still this process's.
    pub lease: Lease,
}

impl MemberBatch {
    /// Each user with their memberships.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[ResultRow])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let user = |i: usize| std::str::from_utf8(self.users.get(i)).unwrap_or_default();
        starts.zip(&self.ends).enumerate().map(move |(i, (start, end))| (user(i), &self.rows[start as usize..*end as usize]))
    }
}

/// Members whose records are to live on.
#[derive(Debug, Clone, Default)]
pub struct Touch {
    /// The partition.
    pub partition: u32,
    /// The users.
    pub users: TextBuffer,
    /// The number of segments that each is in.
    pub held: Vec<u32>,
    /// Whether the partition is still this process's.
    pub lease: Lease,
}

/// Users of whom a sink holds more or fewer segments than it should, by partition: their records expired while the sink
/// was away, or somebody else changed them. They are to be told anew as a whole.
#[derive(Debug, Default)]
pub struct Amiss(BTreeMap<u32, TextBuffer>);

impl Amiss {
    /// Notes a user.
    pub fn push(&mut self, partition: u32, user: &[u8]) {
        self.0.entry(partition).or_default().push(user);
    }

    /// Notes all of another.
    pub fn append(&mut self, other: Amiss) {
        for (partition, users) in other.0 {
            (0..users.len()).for_each(|i| self.push(partition, users.get(i)));
        }
    }

    /// Takes the users of a partition.
    pub fn take(&mut self, partition: u32) -> TextBuffer {
        self.0.remove(&partition).unwrap_or_default()
    }

    /// Whether everything is as it should be.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A sink that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("sink {sink}: {message}")]
pub struct SinkError {
    /// Which sink.
    pub sink: String,
    /// What is wrong.
    pub message: String,
    /// Whether it stays so, whatever is tried: somebody has to look.
    pub fatal: bool,
}

/// Makes what a sink was given outlive the process; for another thread than the sink's.
pub type Persist = Box<dyn FnOnce() -> Result<(), SinkError> + Send>;

/// What takes results. Only its own thread uses it.
pub trait Sink: Send {
    /// What it is called in logs.
    fn name(&self) -> &'static str;

    /// Writes results so that they outlive the process, at the latest by [`Sink::persist`]. Writing the same results again changes nothing. Users whose
    /// records then hold anything but what [`ResultBatch::held`] says go to `amiss`.
    ///
    /// # Errors
    /// When not all could be written; they are then all written again.
    fn write(&mut self, batches: &[ResultBatch], amiss: &mut Amiss) -> Result<(), SinkError>;

    /// What has to be done before a checkpoint may be published that covers what the sink was given so far; none where
    /// that outlives the process already.
    fn persist(&self) -> Option<Persist> {
        None
    }

    /// Does at once what [`Sink::persist`] would do in time: somebody waits.
    ///
    /// # Errors
    /// When it cannot be done; what was given since the last checkpoint may then be lost with the process.
    fn settle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Makes these the memberships of their users, whatever they were. Sinks that keep none need not do anything.
    ///
    /// # Errors
    /// When not all could be written; they are then all written again.
    fn replace(&mut self, members: &MemberBatch) -> Result<(), SinkError> {
        let _ = members;
        Ok(())
    }

    /// Has the records of these users live on for a whole time to live. Users without a record, or one that holds
    /// anything but what [`Touch::held`] says, go to `amiss`.
    ///
    /// # Errors
    /// When not all could be written; they are then all written again.
    fn touch(&mut self, members: &Touch, amiss: &mut Amiss) -> Result<(), SinkError> {
        let _ = (members, amiss);
        Ok(())
    }

    /// Forgets what was last written of a partition before a time (ms since the epoch): all its members have been told
    /// since. For sinks that only this process writes.
    ///
    /// # Errors
    /// When it could not be forgotten; it is then tried again.
    fn forget(&mut self, partition: u32, before: i64) -> Result<(), SinkError> {
        let _ = (partition, before);
        Ok(())
    }
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
