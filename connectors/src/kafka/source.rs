//! Topics as a [`Source`]: a member of a consumer group for each worker.
//!
//! A partition is that number of every topic. Offsets are kept with the checkpoints; the group's committed offsets
//! follow them, for those who watch lag, and for partitions whose checkpoints are gone. Rebalances are the worker's
//! matter: the callback only notes them, and the group waits until [`Source::begin`] or [`Source::release`].
//!
//! Each partition of a topic has a queue of the client's of its own, from which no more is taken than the next batch
//! needs. What waits there is bounded by the client, which then fetches no more: that is all the back-pressure there is.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cohort_engine::formats::Formats;
use cohort_engine::source::{Polled, Positions, RawBatch, Source, SourceError};
use rdkafka::bindings::{rd_kafka_get_watermark_offsets, rd_kafka_resp_err_t};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::bounded::origin;
use super::merge::{Lane, Shelf};
use super::{KafkaOptions, KafkaProblem, PATIENCE, Start, first_offset, is_fatal, kept, partitions_of};

/// Bytes of a topic's partition at hand, beyond which no more is taken in.
const LANE_BYTES: usize = 8 << 20;
/// How long a poll waits at a time while a topic is waited for, and while nothing is there.
const SLICE: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_millis(20);
/// How often the ends of the logs are looked at, while records come.
const LOOK: Duration = Duration::from_millis(200);
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
}

/// Raised by the client's threads when something comes.
#[derive(Default)]
struct Signal {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Signal {
    fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_one();
    }

    /// Waits until it is raised, and lowers it.
    fn wait(&self, timeout: Duration) {
        let raised = lock(&self.raised);
        let (mut raised, _) = self.changed.wait_timeout_while(raised, timeout, |raised| !*raised).unwrap_or_else(PoisonError::into_inner);
        *raised = false;
    }
}

/// A partition that is read: its topics, and the client's queue of each.
struct Reading {
    shelf: Shelf,
    queues: Vec<PartitionQueue<Context>>,
}

/// Reads topics as a member of a group.
pub struct KafkaSource {
    readings: Vec<Reading>,
    consumer: Arc<BaseConsumer<Context>>,
    options: KafkaOptions,
    topics: Vec<Arc<str>>,
    /// Partitions that each topic had at the start: what comes later is read from its first record on.
    born: Vec<usize>,
    turn: usize,
    /// Partitions that stay where they are for now.
    passed_over: Vec<u32>,
    signal: Arc<Signal>,
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
        let logs = options.logs();
        let names: Vec<&str> = logs.iter().map(String::as_str).collect();
        let born = partitions_at_start(&options, &names)?;
        // The bound is one of each queue.
        let ahead = (options.fetch_ahead / 1024 / born.iter().sum::<usize>().max(1)).clamp(1_024, 2_000_000).to_string();
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
            // What is asked meanwhile is answered after a fetch that waits.
            ("fetch.wait.max.ms", "100"),
            ("fetch.message.max.bytes", "4194304"),
        ];
        let consumer: BaseConsumer<Context> = options.client(&ours).create_with_context(Context::default()).map_err(options.failed("consumer"))?;
        consumer.subscribe(&names).map_err(options.failed("subscribe"))?;
        let topics = logs.iter().map(|t| t.as_str().into()).collect();
        Ok(KafkaSource {
            readings: vec![],
            consumer: Arc::new(consumer),
            topics,
            born,
            options,
            turn: 0,
            passed_over: vec![],
            signal: Arc::default(),
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

    /// Serves the client's callbacks, and takes in what was fetched before a partition had its own queue: so what is
    /// older than all that is there.
    fn serve(&mut self, timeout: Duration) -> Result<(), SourceError> {
        let mut timeout = timeout;
        while let Some(polled) = self.consumer.poll(std::mem::take(&mut timeout)) {
            match polled {
                Ok(message) => {
                    let is = |l: &Lane, r: &Reading| i64::from(r.shelf.partition) == i64::from(message.partition()) && **l.topic() == *message.topic();
                    let lane = self.readings.iter_mut().find_map(|r| Some((r.shelf.lanes.iter().position(|l| is(l, r))?, r)));
                    if let Some((lane, reading)) = lane {
                        take_in(&mut reading.shelf.lanes[lane], &message, self.options.rekey, self.arrived);
                    }
                }
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Ok(())
    }

    /// Takes in what a partition's queues have, up to a batch of each.
    fn fill(&mut self, reading: usize, max_rows: usize) -> Result<(), SourceError> {
        let Reading { shelf, queues } = &mut self.readings[reading];
        for (lane, queue) in shelf.lanes.iter_mut().zip(queues) {
            while lane.len() < max_rows && lane.bytes() < LANE_BYTES {
                match queue.poll(Duration::ZERO) {
                    None => break,
                    Some(Ok(message)) => take_in(lane, &message, self.options.rekey, self.arrived),
                    Some(Err(KafkaError::PartitionEOF(_))) => lane.mark_end(),
                    Some(Err(error)) => return Err(self.failed("read", error)),
                }
            }
        }
        Ok(())
    }

    /// Fills `into` from a partition whose turn it is.
    fn hand_out(&mut self, max_rows: usize, into: &mut RawBatch) -> Result<bool, SourceError> {
        for _ in 0..self.readings.len() {
            self.turn = (self.turn + 1) % self.readings.len();
            if self.is_passed_over(self.turn) {
                continue;
            }
            self.fill(self.turn, max_rows)?;
            self.confirm_ends(self.turn)?;
            let shelf = &mut self.readings[self.turn].shelf;
            if shelf.is_ready() {
                shelf.take(max_rows, self.arrived, into);
                return Ok(!into.is_empty());
            }
        }
        Ok(false)
    }

    /// Whether a partition stays where it is; what its queues hold is bounded by the client.
    fn is_passed_over(&self, reading: usize) -> bool {
        self.passed_over.contains(&self.readings[reading].shelf.partition)
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

    /// Reads a topic of a partition from now on.
    fn read(&mut self, partition: u32, lane: Lane) -> Result<(), SourceError> {
        let signal = Arc::clone(&self.signal);
        let queue = self.consumer.split_partition_queue(lane.topic(), partition as i32);
        let mut queue = queue.ok_or_else(|| self.wrong(format!("partition {partition} of {} has no queue", lane.topic())))?;
        queue.set_nonempty_callback(move || signal.raise());
        let at = self.readings.iter().position(|r| r.shelf.partition == partition).unwrap_or_else(|| {
            let log = self.options.rekey.then(|| Arc::clone(lane.topic()));
            self.readings.push(Reading { shelf: Shelf { partition, log, lanes: vec![] }, queues: vec![] });
            self.readings.len() - 1
        });
        let Reading { shelf, queues } = &mut self.readings[at];
        if let Some(before) = shelf.lanes.iter().position(|l| l.topic() == lane.topic()) {
            shelf.lanes.remove(before);
            queues.remove(before);
        }
        shelf.lanes.push(lane);
        queues.push(queue);
        Ok(())
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
    fn confirm_ends(&mut self, reading: usize) -> Result<(), SourceError> {
        let (now, mut list) = (self.arrived, TopicPartitionList::new());
        let shelf = &mut self.readings[reading].shelf;
        let partition = shelf.partition as i32;
        for lane in shelf.unconfirmed(now) {
            let added = list.add_partition_offset(lane.topic(), partition, Offset::End);
            debug_assert!(added.is_ok(), "a topic and a partition");
        }
        if list.count() == 0 {
            return Ok(());
        }
        // The time -1 stands for the end.
        let ends = self.consumer.offsets_for_times(list, PATIENCE).map_err(|e| self.failed("ends", e))?;
        for lane in self.readings[reading].shelf.unconfirmed(now) {
            let end = ends.find_partition(lane.topic(), partition).map(|e| e.offset());
            lane.confirm(if let Some(Offset::Offset(end)) = end { end } else { lane.next }, now);
        }
        Ok(())
    }

    /// Looks at the ends of the logs, where the client heard of them; often, when there is nothing else to do.
    fn learn_ends(&mut self, idle: bool) {
        if !idle && self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let mut readings = std::mem::take(&mut self.readings);
        for Reading { shelf, .. } in &mut readings {
            for lane in &mut shelf.lanes {
                if let Some(end) = self.known_end(lane.topic(), shelf.partition) {
                    lane.learn_end(end);
                }
            }
        }
        self.readings = readings;
    }
}

fn numbers(places: &[(String, u32)]) -> Vec<u32> {
    let mut partitions: Vec<u32> = places.iter().map(|(_, p)| *p).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

/// Takes in a record. Those before the next are what the client fetched before it began elsewhere.
fn take_in(lane: &mut Lane, message: &BorrowedMessage<'_>, rekeyed: bool, arrived: i64) {
    if message.offset() >= lane.next {
        let origin = if rekeyed { origin(message) } else { None };
        let time = message.timestamp().to_millis().unwrap_or(i64::MIN);
        lane.push(message.payload().unwrap_or_default(), origin, message.offset(), time, arrived);
    }
}

/// Partitions of topics, asked by a client that is no member of the group.
fn partitions_at_start(options: &KafkaOptions, topics: &[&str]) -> Result<Vec<usize>, KafkaProblem> {
    let client: BaseConsumer = options.shared().client(&[]).create().map_err(options.failed("client"))?;
    topics.iter().map(|t| partitions_of(&client, t)).collect::<KafkaResult<_>>().map_err(options.failed("metadata"))
}

impl Source for KafkaSource {
    fn poll(&mut self, max_rows: usize, timeout: Duration, into: &mut RawBatch) -> Result<Polled, SourceError> {
        into.clear();
        let started = Instant::now();
        loop {
            self.serve(Duration::ZERO)?;
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            self.arrived = now();
            if self.hand_out(max_rows, into)? {
                self.learn_ends(false);
                return Ok(Polled::Records);
            }
            self.learn_ends(true);
            let left = timeout.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(self.change()?.unwrap_or(Polled::Nothing));
            }
            let waited_for = (0..self.readings.len()).any(|r| !self.is_passed_over(r) && self.readings[r].shelf.lanes.iter().any(|l| !l.is_empty()));
            self.signal.wait(left.min(if waited_for { SLICE } else { IDLE }));
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
        let (mut list, mut lanes) = (TopicPartitionList::new(), vec![]);
        for ((topic, partition), offset) in positions.iter().filter(|((topic, _), _)| self.topics.contains(topic)) {
            let asked = now();
            let (next, high) = kept(&self.consumer, topic, *partition as i32, *offset).map_err(|e| self.failed("offsets", e))?;
            list.add_partition_offset(topic, *partition as i32, Offset::Offset(next)).map_err(|e| self.failed("assign", e))?;
            lanes.push((*partition, Lane::new(Arc::clone(topic), next, high, asked)));
        }
        let assigned = match self.consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.consumer.incremental_assign(&list),
            _ => self.consumer.assign(&list),
        };
        assigned.map_err(|e| self.failed("assign", e))?;
        // An assignment takes all queues back, so they are split off after it.
        lanes.into_iter().try_for_each(|(partition, lane)| self.read(partition, lane))?;
        self.turn = 0;
        Ok(())
    }

    fn pass_over(&mut self, partitions: &[u32]) -> bool {
        self.passed_over = partitions.to_vec();
        true
    }

    fn release(&mut self, partitions: &[u32]) {
        let cooperative = matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        let released = if cooperative {
            let mut list = TopicPartitionList::new();
            for Reading { shelf, .. } in self.readings.iter().filter(|r| partitions.contains(&r.shelf.partition)) {
                shelf.lanes.iter().for_each(|l| {
                    list.add_partition(l.topic(), shelf.partition as i32);
                });
            }
            self.consumer.incremental_unassign(&list)
        } else {
            self.consumer.unassign()
        };
        self.readings.retain(|r| cooperative && !partitions.contains(&r.shelf.partition));
        self.turn = 0;
        if let Err(error) = released {
            tracing::warn!(%error, "kafka: release");
        }
    }

    fn lag(&self, partition: u32) -> u64 {
        self.readings.iter().find(|r| r.shelf.partition == partition).map_or(0, |r| r.shelf.lag())
    }

    fn covered(&mut self, positions: &Positions, wait: bool) {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in positions.iter().filter(|((_, p), _)| self.readings.iter().any(|r| r.shelf.partition == *p)) {
            let added = list.add_partition_offset(topic, *partition as i32, Offset::Offset(*offset));
            debug_assert!(added.is_ok(), "offsets of checkpoints are not negative");
        }
        if list.count() == 0 {
            return;
        }
        if !wait {
            // The client logs what the broker refuses.
            if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
                tracing::warn!(%error, "kafka: commit");
            }
            return;
        }
        // The client tells nobody how a commit in the background went, and one in the foreground has no time limit.
        let (done, outcome) = sync_channel(1);
        let consumer = Arc::clone(&self.consumer);
        std::thread::spawn(move || _ = done.send(consumer.commit(&list, CommitMode::Sync)));
        match outcome.recv_timeout(COMMIT) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "kafka: commit"),
            Err(_) => tracing::warn!(after = ?COMMIT, "kafka: commit: no answer"),
        }
    }

    fn formats(&self) -> Arc<Formats> {
        Arc::clone(&self.options.formats)
    }

    fn keep_alive(&mut self) {
        if let Err(error) = self.serve(Duration::ZERO) {
            tracing::warn!(%error, "kafka");
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
