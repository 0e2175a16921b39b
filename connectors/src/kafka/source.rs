//! Topics as a [`Source`]: a member of a consumer group for each worker.
//!
//! A partition is that number of every topic. Offsets are kept with the checkpoints; the group's committed offsets
//! follow them, for those who watch lag, and for partitions whose checkpoints are gone. Rebalances are the worker's
//! matter: the callback only notes them, and the group waits until [`Source::begin`] or [`Source::release`].

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cohort_engine::source::{Polled, Positions, RawBatch, Source, SourceError};
use rdkafka::bindings::{rd_kafka_get_watermark_offsets, rd_kafka_resp_err_t};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::bounded::origin;
use super::merge::{Lane, Shelf};
use super::{KafkaOptions, KafkaProblem, PATIENCE, Start, first_offset, is_fatal, kept, partitions_of};

/// Records and bytes of a topic's partition at hand, beyond which fetching rests.
const LANE_RECORDS: usize = 131_072;
const LANE_BYTES: usize = 64 << 20;
/// How long a poll waits at a time while a topic is waited for.
const SLICE: Duration = Duration::from_millis(5);
/// How often the ends of the logs are looked at, while records come.
const LOOK: Duration = Duration::from_millis(200);
/// Records that are taken in at a time beyond a batch, where a topic is waited for.
const A_LITTLE: usize = 1_024;
/// How long the commit of a partition that leaves is waited for.
const COMMIT: Duration = Duration::from_secs(3);

/// A change of what is to be read.
#[derive(Debug, Clone)]
enum Change {
    Assign(Vec<(String, u32)>),
    Revoke { from: Vec<(String, u32)>, lost: bool },
}

/// Notes what the client says.
#[derive(Default)]
struct Context {
    changes: Mutex<VecDeque<Change>>,
    /// Set when the consumer is closed: there is nobody left to hand partitions back.
    closing: AtomicBool,
    commits: AtomicU64,
    commit_error: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn places(list: &TopicPartitionList) -> Vec<(String, u32)> {
    list.elements().iter().filter_map(|e| Some((e.topic().to_string(), u32::try_from(e.partition()).ok()?))).collect()
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is no error.
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        tracing::warn!(target: "librdkafka", %error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assign = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let done = match consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative if assign => consumer.incremental_assign(list),
                RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
                _ => consumer.unassign(),
            };
            if let Err(error) = done {
                tracing::warn!(%error, "kafka: leaving the group");
            }
            return;
        }
        let lost = consumer.assignment_lost();
        let change = if assign { Change::Assign(places(list)) } else { Change::Revoke { from: places(list), lost } };
        lock(&self.changes).push_back(change);
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        *lock(&self.commit_error) = result.err().map(|e| e.to_string());
        self.commits.fetch_add(1, Ordering::AcqRel);
    }
}

/// Reads topics as a member of a group.
pub struct KafkaSource {
    consumer: BaseConsumer<Context>,
    options: KafkaOptions,
    topics: Vec<Arc<str>>,
    /// Partitions that each topic had at the start: what comes later is read from its first record on.
    born: Vec<usize>,
    shelves: Vec<Shelf>,
    turn: usize,
    /// Whether all fetching rests, as the sink is waited for.
    resting: bool,
    /// The shelf and lane of the last record.
    last: (usize, usize),
    /// Records at hand.
    at_hand: usize,
    /// When the ends of the logs were last looked at.
    looked: Instant,
    /// The time of what comes now, ms since the epoch.
    arrived: i64,
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl KafkaSource {
    /// Joins the group.
    ///
    /// # Errors
    /// When a property is not one of librdkafka's, or makes no sense.
    pub fn join(options: KafkaOptions) -> Result<Self, KafkaProblem> {
        let ahead = (options.fetch_ahead / 1024).clamp(1_024, 2_000_000).to_string();
        let ours = [
            ("group.id", options.group_id.as_str()),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("auto.offset.reset", "earliest"),
            ("isolation.level", "read_committed"),
            // Partition n of every topic goes to the same member.
            ("partition.assignment.strategy", "range"),
            ("allow.auto.create.topics", "false"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "2000"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("queued.max.messages.kbytes", ahead.as_str()),
            ("queued.min.messages", "200000"),
            ("fetch.queue.backoff.ms", "10"),
            ("fetch.message.max.bytes", "4194304"),
        ];
        let consumer: BaseConsumer<Context> = options.client(&ours).create_with_context(Context::default()).map_err(options.failed("consumer"))?;
        let logs = options.logs();
        let names: Vec<&str> = logs.iter().map(String::as_str).collect();
        consumer.subscribe(&names).map_err(options.failed("subscribe"))?;
        let topics = logs.iter().map(|t| t.as_str().into()).collect();
        let born = names.iter().map(|t| partitions_of(&consumer, t)).collect::<KafkaResult<_>>().map_err(options.failed("metadata"))?;
        Ok(KafkaSource {
            consumer,
            topics,
            born,
            options,
            shelves: vec![],
            turn: 0,
            resting: false,
            last: (0, 0),
            at_hand: 0,
            looked: Instant::now(),
            arrived: now(),
        })
    }

    fn failed(&self, what: &str, error: KafkaError) -> SourceError {
        let fatal = is_fatal(&error);
        SourceError { source_name: format!("kafka {}", self.options.brokers), message: format!("{what}: {error}"), fatal }
    }

    fn wrong(&self, message: String) -> SourceError {
        SourceError { source_name: format!("kafka {}", self.options.brokers), message, fatal: true }
    }

    /// Takes in one record or event, waiting for it up to `timeout`; returns whether there was one.
    fn pump(&mut self, timeout: Duration) -> Result<bool, SourceError> {
        let polled = self.consumer.poll(timeout);
        match polled {
            None => Ok(false),
            Some(Ok(message)) => {
                let last = place(&self.shelves, self.last, &message);
                if let Some((shelf, lane)) = last {
                    self.last = (shelf, lane);
                    let time = message.timestamp().to_millis().unwrap_or(i64::MIN);
                    let lane = &mut self.shelves[shelf].lanes[lane];
                    // Less is what the client fetched before it began elsewhere.
                    if message.offset() >= lane.next {
                        let origin = if self.options.rekey { origin(&message) } else { None };
                        lane.push(message.payload().unwrap_or_default(), origin, message.offset(), time, self.arrived);
                        self.at_hand += 1;
                    }
                }
                Ok(true)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let shelf = self.shelves.iter_mut().find(|s| i64::from(s.partition) == i64::from(partition));
                shelf.into_iter().for_each(Shelf::mark_end);
                Ok(true)
            }
            Some(Err(error)) => Err(self.failed("read", error)),
        }
    }

    /// Rests fetching of topics of which there is enough at hand, and has the others go on.
    fn balance(&mut self) -> Result<(), SourceError> {
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        for shelf in &mut self.shelves {
            for lane in &mut shelf.lanes {
                let full = lane.len() > LANE_RECORDS || lane.bytes() > LANE_BYTES;
                let empty = lane.len() < LANE_RECORDS / 2 && lane.bytes() < LANE_BYTES;
                if full && !lane.paused {
                    lane.paused = true;
                    pause.add_partition(lane.topic(), shelf.partition as i32);
                } else if lane.paused && empty {
                    lane.paused = false;
                    resume.add_partition(lane.topic(), shelf.partition as i32);
                }
            }
        }
        if pause.count() > 0 {
            self.consumer.pause(&pause).map_err(|e| self.failed("pause", e))?;
        }
        if resume.count() > 0 && !self.resting {
            self.consumer.resume(&resume).map_err(|e| self.failed("resume", e))?;
        }
        Ok(())
    }

    fn all(&self, paused: bool) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for shelf in &self.shelves {
            shelf.lanes.iter().filter(|l| paused || !l.paused).for_each(|l| {
                list.add_partition(l.topic(), shelf.partition as i32);
            });
        }
        list
    }

    fn wake(&mut self) -> Result<(), SourceError> {
        if std::mem::take(&mut self.resting) {
            self.consumer.resume(&self.all(false)).map_err(|e| self.failed("resume", e))?;
            self.shelves.iter_mut().flat_map(|s| &mut s.lanes).for_each(Lane::restart);
        }
        Ok(())
    }

    /// Fills `into` from a partition whose turn it is.
    fn hand_out(&mut self, max_rows: usize, into: &mut RawBatch) -> bool {
        for _ in 0..self.shelves.len() {
            self.turn = (self.turn + 1) % self.shelves.len();
            let shelf = &mut self.shelves[self.turn];
            if shelf.is_ready() {
                shelf.take(max_rows, into);
                self.at_hand = self.at_hand.saturating_sub(into.len());
                return !into.is_empty();
            }
        }
        false
    }

    fn count_at_hand(&mut self) {
        self.at_hand = self.shelves.iter().flat_map(|s| &s.lanes).map(Lane::len).sum();
        (self.turn, self.last) = (0, (0, 0));
    }

    /// What the group says; a partition must be ours in every topic that has it.
    fn change(&mut self) -> Result<Option<Polled>, SourceError> {
        let change = lock(&self.consumer.context().changes).front().cloned();
        let Some(change) = change else { return Ok(None) };
        if let Change::Assign(places) = &change {
            // When the brokers cannot be asked, the change stays until they can.
            self.refuse_split(places, &numbers(places))?;
        }
        lock(&self.consumer.context().changes).pop_front();
        Ok(Some(match change {
            Change::Assign(places) => {
                let partitions = numbers(&places);
                tracing::info!(?partitions, "kafka: assigned");
                Polled::Assigned(partitions)
            }
            Change::Revoke { from, lost } => {
                let partitions = numbers(&from);
                tracing::info!(?partitions, lost, "kafka: revoked");
                Polled::Revoked { partitions, lost }
            }
        }))
    }

    fn refuse_split(&self, places: &[(String, u32)], partitions: &[u32]) -> Result<(), SourceError> {
        for topic in self.topics.iter() {
            let count = partitions_of(&self.consumer, topic).map_err(|e| self.failed("metadata", e))?;
            let missing = partitions.iter().find(|p| (**p as usize) < count && !places.iter().any(|(t, q)| *t == **topic && q == *p));
            if let Some(partition) = missing {
                return Err(self.wrong(format!(
                    "partition {partition} was assigned without that of {topic}: topics must be partitioned alike, and assigned by range or a strategy that keeps them together"
                )));
            }
        }
        Ok(())
    }

    /// Where a partition of a topic begins, when nothing is known of it.
    fn first_offset(&self, topic: &str, partition: i32) -> KafkaResult<i64> {
        let born = self.topics.iter().position(|t| **t == *topic).map_or(0, |i| self.born[i]);
        // What came while running is read whole, and so is what others write for us.
        let whole = self.options.rekey || partition as usize >= born;
        first_offset(&self.consumer, topic, partition, if whole { Start::Earliest } else { self.options.start })
    }

    /// The end of a log as the client last heard of it, without asking.
    fn known_end(&self, topic: &str, partition: u32) -> Option<i64> {
        let name = CString::new(topic).ok()?;
        let (mut low, mut high) = (-1i64, -1i64);
        // SAFETY: the client lives as long as the consumer, the name and both numbers until the call returns; librdkafka
        // only writes the numbers.
        let code = unsafe { rd_kafka_get_watermark_offsets(self.consumer.client().native_ptr(), name.as_ptr(), partition as i32, &mut low, &mut high) };
        (code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }

    /// Asks for the ends of logs of which nothing is at hand while old records of others wait.
    fn confirm_ends(&mut self) -> Result<(), SourceError> {
        let (now, mut list) = (self.arrived, TopicPartitionList::new());
        for shelf in &mut self.shelves {
            let partition = shelf.partition as i32;
            for lane in shelf.unconfirmed(now) {
                let added = list.add_partition_offset(lane.topic(), partition, Offset::End);
                debug_assert!(added.is_ok(), "a topic and a partition");
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        // The time -1 stands for the end.
        let ends = self.consumer.offsets_for_times(list, PATIENCE).map_err(|e| self.failed("ends", e))?;
        for shelf in &mut self.shelves {
            let partition = shelf.partition as i32;
            for lane in shelf.unconfirmed(now) {
                let end = ends.find_partition(lane.topic(), partition).map(|e| e.offset());
                lane.confirm(if let Some(Offset::Offset(end)) = end { end } else { lane.next });
            }
        }
        Ok(())
    }

    /// Looks at the ends of the logs, where the client heard of them; often, when there is nothing else to do.
    fn learn_ends(&mut self, idle: bool) {
        if !idle && self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        for s in 0..self.shelves.len() {
            for l in 0..self.shelves[s].lanes.len() {
                let end = self.known_end(self.shelves[s].lanes[l].topic(), self.shelves[s].partition);
                if let Some(end) = end {
                    self.shelves[s].lanes[l].learn_end(end);
                }
            }
        }
    }
}

fn numbers(places: &[(String, u32)]) -> Vec<u32> {
    let mut partitions: Vec<u32> = places.iter().map(|(_, p)| *p).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

/// The shelf and lane of a message; most are where the last one was.
fn place(shelves: &[Shelf], last: (usize, usize), message: &BorrowedMessage<'_>) -> Option<(usize, usize)> {
    let (topic, partition) = (message.topic(), message.partition());
    let is = |shelf: &Shelf, lane: &Lane| i64::from(shelf.partition) == i64::from(partition) && **lane.topic() == *topic;
    let there = shelves.get(last.0).and_then(|s| s.lanes.get(last.1).map(|l| (s, l)));
    if there.is_some_and(|(s, l)| is(s, l)) {
        return Some(last);
    }
    shelves.iter().enumerate().find_map(|(s, shelf)| shelf.lanes.iter().position(|l| is(shelf, l)).map(|l| (s, l)))
}

impl Source for KafkaSource {
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<Polled, SourceError> {
        into.clear();
        self.wake()?;
        let started = Instant::now();
        loop {
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            self.arrived = now();
            // As much as is there without waiting, up to a batch; a little more, where a topic is waited for.
            for taken in 0..max_rows {
                let enough = self.at_hand >= max_rows && taken >= A_LITTLE;
                if enough || !self.pump(Duration::ZERO)? {
                    break;
                }
            }
            self.balance()?;
            self.confirm_ends()?;
            if self.hand_out(max_rows, into) {
                self.learn_ends(false);
                return Ok(Polled::Records);
            }
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                self.learn_ends(true);
                return Ok(self.change()?.unwrap_or(Polled::Nothing));
            }
            let wait = if self.at_hand > 0 { SLICE.min(left) } else { left };
            self.pump(wait)?;
        }
    }

    fn partitions(&self) -> Vec<u32> {
        vec![]
    }

    fn start(&mut self, partition: u32, known: &Positions) -> Result<Positions, SourceError> {
        let mut positions = known.clone();
        for topic in &self.topics {
            let key = (Arc::clone(topic), partition);
            let count = partitions_of(&self.consumer, topic).map_err(|e| self.failed("metadata", e))?;
            if !positions.contains_key(&key) && (partition as usize) < count {
                let offset = self.first_offset(topic, partition as i32).map_err(|e| self.failed("offsets", e))?;
                positions.insert(key, offset);
            }
        }
        Ok(positions)
    }

    fn begin(&mut self, positions: &Positions) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in positions.iter().filter(|((topic, _), _)| self.topics.contains(topic)) {
            let (next, high) = kept(&self.consumer, topic, *partition as i32, *offset).map_err(|e| self.failed("offsets", e))?;
            list.add_partition_offset(topic, *partition as i32, Offset::Offset(next)).map_err(|e| self.failed("assign", e))?;
            let lane = Lane::new(Arc::clone(topic), next, high);
            match self.shelves.iter_mut().find(|s| s.partition == *partition) {
                Some(shelf) => {
                    shelf.lanes.retain(|l| l.topic() != topic);
                    shelf.lanes.push(lane);
                }
                None => {
                    let log = self.options.rekey.then(|| Arc::clone(topic));
                    self.shelves.push(Shelf { partition: *partition, log, lanes: vec![lane] });
                }
            }
        }
        let assigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            _ => self.consumer.assign(&list),
        };
        self.count_at_hand();
        assigned.map_err(|e| self.failed("assign", e))?;
        // The client keeps a partition at rest that was so when it left. What else rests, begins as well.
        self.resting = false;
        self.consumer.resume(&self.all(false)).map_err(|e| self.failed("resume", e))
    }

    fn release(&mut self, partitions: &[u32]) {
        let cooperative = matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let released = if cooperative {
            let mut list = TopicPartitionList::new();
            for shelf in self.shelves.iter().filter(|s| partitions.contains(&s.partition)) {
                shelf.lanes.iter().for_each(|l| {
                    list.add_partition(l.topic(), shelf.partition as i32);
                });
            }
            self.consumer.incremental_unassign(&list)
        } else {
            self.consumer.unassign()
        };
        self.shelves.retain(|s| cooperative && !partitions.contains(&s.partition));
        self.count_at_hand();
        if let Err(error) = released {
            tracing::warn!(%error, "kafka: release");
        }
    }

    fn lag(&self, partition: u32) -> u64 {
        self.shelves.iter().find(|s| s.partition == partition).map_or(0, Shelf::lag)
    }

    fn covered(&mut self, positions: &Positions, wait: bool) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in positions.iter().filter(|((_, p), _)| self.shelves.iter().any(|s| s.partition == *p)) {
            let added = list.add_partition_offset(topic, *partition as i32, Offset::Offset(*offset));
            debug_assert!(added.is_ok(), "offsets of checkpoints are not negative");
        }
        if list.count() == 0 {
            return;
        }
        let before = self.consumer.context().commits.load(Ordering::Acquire);
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "kafka: commit");
            return;
        }
        let started = Instant::now();
        while wait && self.consumer.context().commits.load(Ordering::Acquire) == before && started.elapsed() < COMMIT {
            if self.pump(Duration::from_millis(20)).is_err() {
                break;
            }
        }
        if let Some(error) = lock(&self.consumer.context().commit_error).take() {
            tracing::warn!(error, "kafka: commit");
        }
    }

    fn keep_alive(&mut self) {
        if !self.resting && !self.shelves.is_empty() {
            self.resting = true;
            if let Err(error) = self.consumer.pause(&self.all(true)) {
                tracing::warn!(%error, "kafka: pause");
            }
        }
        for _ in 0..1_000 {
            match self.pump(Duration::ZERO) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, "kafka");
                    return;
                }
            }
        }
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.consumer.context().closing.store(true, Ordering::Release);
        // A change that nobody took.
        if lock(&self.consumer.context().changes).pop_front().is_some() {
            let _ = self.consumer.unassign();
        }
    }
}
