//! From the workers to the sinks: one thread takes results, dead letters and checkpoints in the order in which
//! workers hand them over, and tries again until they are written. While a sink cannot be written, the bounded
//! queue fills, workers wait, and the source is not read. A checkpoint is published only after everything that
//! came before it was written, by a thread of its own, as results need not wait for that. What belongs to a
//! partition that another process reads by now is left out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::{CheckpointError, CheckpointStore, Unsaved};
use crate::decode::TextBuffer;
use crate::sink::{Amiss, DeadLetter, DeadLetterSink, Lease, MemberBatch, Persist, ResultBatch, Sink, SinkError, Touch};
use crate::source::Positions;
use crate::worker::Clock;

/// What workers hand over.
pub enum Outgoing {
    /// Results.
    Results(ResultBatch),
    /// Records that were not accepted.
    DeadLetters(Vec<DeadLetter>),
    /// What users are members of as a whole.
    Members(MemberBatch),
    /// Members whose records are to live on.
    Touch(Touch),
    /// A partition of which all members have been told since a time, ms since the epoch.
    Forget(u32, i64, Lease),
    /// State to publish once all before it is written.
    Checkpoint(Box<Unsaved>, Lease),
    /// Says that all before it is written.
    Done(SyncSender<()>),
}

/// How the sinks stand, for those who watch.
#[derive(Debug, Default)]
pub struct OutboxStatus {
    /// Results written.
    pub results: AtomicU64,
    /// Writes that succeeded.
    pub writes: AtomicU64,
    /// Writes that failed and were tried again.
    pub retries: AtomicU64,
    /// Items taken from the queue.
    pub taken: AtomicU64,
    /// Checkpoints published.
    pub checkpoints: AtomicU64,
    /// Bytes of the last checkpoint.
    pub checkpoint_bytes: AtomicU64,
    /// Time that it took, ms.
    pub checkpoint_millis: AtomicU64,
    /// When the last checkpoint was published, ms since the epoch; 0 for never.
    pub checkpoint_at: AtomicU64,
    /// When the last results were written, ms since the epoch.
    pub written_at: AtomicU64,
    /// What fails now.
    pub error: Mutex<Option<String>>,
    /// Why the last checkpoint could not be published.
    pub checkpoint_error: Mutex<Option<String>>,
    /// Set when a sink said that trying again is of no use.
    pub stopped: AtomicBool,
    /// Memberships told as a whole.
    pub members_told: AtomicU64,
    /// Users of whom sinks hold what they should not, until their workers take them to tell them anew.
    pub amiss: Mutex<Amiss>,
    /// Users told anew for that.
    pub repaired: AtomicU64,
    /// Up to where the published checkpoints reach, by partition.
    pub published: Mutex<BTreeMap<u32, Positions>>,
}

impl OutboxStatus {
    /// What fails now.
    pub fn error(&self) -> Option<String> {
        self.sink_error().or_else(|| self.checkpoint_error())
    }

    /// Why sinks cannot be written now.
    pub fn sink_error(&self) -> Option<String> {
        lock(&self.error).clone()
    }

    /// Why the last checkpoint could not be published.
    pub fn checkpoint_error(&self) -> Option<String> {
        lock(&self.checkpoint_error).clone()
    }

    /// Takes the users of a partition of whom sinks hold what they should not.
    pub fn take_amiss(&self, partition: u32) -> TextBuffer {
        lock(&self.amiss).take(partition)
    }

    /// Up to where the published checkpoint of a partition reaches.
    pub fn published(&self, partition: u32) -> Option<Positions> {
        lock(&self.published).get(&partition).cloned()
    }
}

/// What a thread wrote before it panicked still holds.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the thread that publishes checkpoints is handed.
enum Publish {
    Checkpoint(Box<Unsaved>, Lease, Vec<Persist>),
    Done(SyncSender<()>),
}

/// The thread's belongings.
pub struct Outbox {
    /// What workers hand over.
    pub from: Receiver<Outgoing>,
    /// Where results go, in turn.
    pub sinks: Vec<Box<dyn Sink>>,
    /// Where dead letters go.
    pub dead_letters: Box<dyn DeadLetterSink>,
    /// Where checkpoints go.
    pub store: Arc<dyn CheckpointStore>,
    /// What time it is.
    pub clock: Clock,
    /// Where it says how it stands.
    pub status: Arc<OutboxStatus>,
    /// Set when the process is to end: what cannot be written is then left to the next start.
    pub stopping: Arc<AtomicBool>,
}

/// Stands in for a sink while it is used.
struct Nowhere;

impl DeadLetterSink for Nowhere {
    fn put(&mut self, _: &[DeadLetter]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Checkpoints that wait to be published while results go on, at most: those of a worker's partitions come together.
const UNPUBLISHED: usize = 16;
/// Items written together, at most.
const TOGETHER: usize = 256;
/// A sink that takes longer is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// How long a process that ends tries to write what is left.
const GRACE: Duration = Duration::from_secs(2);

impl Outbox {
    /// Writes until the workers are gone.
    pub fn run(mut self) {
        let (publish, published) = std::sync::mpsc::sync_channel(UNPUBLISHED);
        let publisher = Publisher { from: published, store: Arc::clone(&self.store), clock: Arc::clone(&self.clock), status: Arc::clone(&self.status) };
        std::thread::scope(|scope| {
            scope.spawn(move || publisher.run());
            self.write(&publish);
            drop(publish);
        });
    }

    fn write(&mut self, publish: &SyncSender<Publish>) {
        let mut results = vec![];
        while let Ok(first) = self.from.recv() {
            let more: Vec<Outgoing> = self.from.try_iter().take(TOGETHER - 1).collect();
            for item in std::iter::once(first).chain(more) {
                self.status.taken.fetch_add(1, Ordering::Relaxed);
                let other = match item {
                    Outgoing::Results(batch) => {
                        results.push(batch);
                        continue;
                    }
                    other => other,
                };
                if !self.flush(&mut results) || !self.other(other, publish) {
                    return;
                }
            }
            if !self.flush(&mut results) {
                return;
            }
        }
    }

    /// Writes results to all sinks; false when that is the end.
    fn flush(&mut self, results: &mut Vec<ResultBatch>) -> bool {
        results.retain(|b| b.lease.holds());
        if results.is_empty() {
            return true;
        }
        let written = self.each_sink(|sink, amiss| {
            results.retain(|b| b.lease.holds());
            if results.is_empty() { Ok(()) } else { sink.write(results, amiss) }
        });
        let rows: usize = results.iter().map(|b| b.rows.len()).sum();
        self.status.results.fetch_add(rows as u64, Ordering::Relaxed);
        self.status.written_at.store((self.clock)() as u64, Ordering::Relaxed);
        results.clear();
        written
    }

    /// Has every sink do something, again until it can; false when that is the end.
    fn each_sink(&mut self, mut work: impl FnMut(&mut dyn Sink, &mut Amiss) -> Result<(), SinkError>) -> bool {
        let (mut sinks, mut amiss) = (std::mem::take(&mut self.sinks), Amiss::default());
        let done = sinks.iter_mut().all(|sink| self.retry(sink.name(), || work(&mut **sink, &mut amiss)));
        self.sinks = sinks;
        if !amiss.is_empty() {
            lock(&self.status.amiss).append(amiss);
        }
        done
    }

    fn other(&mut self, item: Outgoing, publish: &SyncSender<Publish>) -> bool {
        match item {
            Outgoing::Results(_) => true,
            Outgoing::DeadLetters(letters) => self.keep(&letters),
            Outgoing::Members(members) => {
                self.status.members_told.fetch_add(members.rows.len() as u64, Ordering::Relaxed);
                self.each_sink(|sink, _| if members.lease.holds() { sink.replace(&members) } else { Ok(()) })
            }
            Outgoing::Touch(touch) => self.each_sink(|sink, amiss| if touch.lease.holds() { sink.touch(&touch, amiss) } else { Ok(()) }),
            Outgoing::Forget(partition, before, lease) => self.each_sink(|sink, _| if lease.holds() { sink.forget(partition, before) } else { Ok(()) }),
            Outgoing::Checkpoint(checkpoint, lease) => publish.send(Publish::Checkpoint(checkpoint, lease, self.persists())).is_ok(),
            Outgoing::Done(done) => {
                self.settle();
                publish.send(Publish::Done(done)).is_ok()
            }
        }
    }

    /// Has sinks make what they were given outlive the process at once.
    fn settle(&mut self) {
        for sink in &mut self.sinks {
            if let Err(error) = sink.settle() {
                tracing::error!(%error, "sink");
            }
        }
    }

    fn persists(&self) -> Vec<Persist> {
        self.sinks.iter().filter_map(|sink| sink.persist()).collect()
    }

    fn keep(&mut self, letters: &[DeadLetter]) -> bool {
        for letter in letters {
            tracing::debug!(reason = letter.reason.as_str(), topic = %letter.topic, partition = letter.partition, offset = letter.offset, "dead letter");
        }
        let mut sink = std::mem::replace(&mut self.dead_letters, Box::new(Nowhere));
        let kept = self.retry("dead letters", || sink.put(letters));
        self.dead_letters = sink;
        kept
    }

    /// Tries until it succeeds; false when the process ends before, or it never can.
    fn retry(&self, sink: &'static str, mut write: impl FnMut() -> Result<(), SinkError>) -> bool {
        let (mut wait, mut ending) = (FIRST_RETRY, None);
        loop {
            let started = Instant::now();
            let outcome = write();
            if started.elapsed() > SLOW {
                tracing::warn!(sink, seconds = started.elapsed().as_secs_f64(), "slow sink");
            }
            match outcome {
                Ok(()) => {
                    self.status.writes.fetch_add(1, Ordering::Relaxed);
                    *lock(&self.status.error) = None;
                    return true;
                }
                Err(error) => {
                    *lock(&self.status.error) = Some(error.to_string());
                    if error.fatal {
                        tracing::error!(%error, "sink; trying again is of no use");
                        self.status.stopped.store(true, Ordering::Release);
                        return false;
                    }
                    tracing::warn!(%error, "sink; will try again");
                    self.status.retries.fetch_add(1, Ordering::Relaxed);
                }
            }
            if self.stopping.load(Ordering::Relaxed) && ending.get_or_insert_with(Instant::now).elapsed() > GRACE {
                return false;
            }
            std::thread::sleep(jittered(wait));
            wait = (wait * 2).min(LAST_RETRY);
        }
    }
}

/// The thread that publishes checkpoints, in the order in which they come.
struct Publisher {
    from: Receiver<Publish>,
    store: Arc<dyn CheckpointStore>,
    clock: Clock,
    status: Arc<OutboxStatus>,
}

impl Publisher {
    fn run(&self) {
        crate::background::go_behind();
        for item in &self.from {
            match item {
                Publish::Checkpoint(checkpoint, lease, persists) => {
                    if lease.holds() && self.persist(persists) {
                        self.publish(*checkpoint);
                    }
                }
                Publish::Done(done) => {
                    let _ = done.try_send(());
                }
            }
        }
    }

    /// Has sinks make what they were given outlive the process; where one cannot, no checkpoint may say that it does.
    fn persist(&self, persists: Vec<Persist>) -> bool {
        persists.into_iter().all(|persist| {
            let outcome = persist();
            if let Err(error) = &outcome {
                tracing::error!(%error, "checkpoint");
                *lock(&self.status.checkpoint_error) = Some(error.to_string());
            }
            outcome.is_ok()
        })
    }

    /// A checkpoint that cannot be written is left out: the one before stays in force, and the next is tried.
    fn publish(&self, unsaved: Unsaved) {
        let (started, status, partition) = (Instant::now(), &self.status, unsaved.partition);
        let positions = unsaved.positions.clone();
        let made = unsaved.checkpoint().map_err(|error| CheckpointError { what: format!("of partition {partition}"), message: error.to_string() });
        match made.and_then(|checkpoint| self.store.save(&checkpoint)) {
            Ok(bytes) => {
                status.checkpoints.fetch_add(1, Ordering::Relaxed);
                status.checkpoint_bytes.store(bytes, Ordering::Relaxed);
                status.checkpoint_millis.store(started.elapsed().as_millis() as u64, Ordering::Relaxed);
                status.checkpoint_at.store((self.clock)() as u64, Ordering::Relaxed);
                lock(&status.published).insert(partition, positions);
                *lock(&status.checkpoint_error) = None;
            }
            Err(error) => {
                tracing::error!(%error, "checkpoint");
                *lock(&status.checkpoint_error) = Some(error.to_string());
            }
        }
    }
}

/// Between half of a time and all of it, so that many who wait do not all come back at once.
fn jittered(wait: Duration) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    wait.mul_f64(0.5 + f64::from(nanos % 1_000) / 2_000.0)
}
