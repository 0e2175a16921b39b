//! Partitions of topics, read up to known ends and merged: the record with the least timestamp first, each waited for.
//! Used where the order must not depend on which broker is quicker: for [`super::history`] and [`super::rekey`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use cohort_engine::source::{Positions, SourceError};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::{KafkaOptions, PATIENCE, TOPIC, is_fatal};

/// How long nothing may come of a log that should have more, until it is asked anew whether it has.
const DOUBT: Duration = Duration::from_millis(200);
/// How long the next record is waited for.
const STUCK: Duration = Duration::from_secs(15);
const SLICE: Duration = Duration::from_millis(50);

/// Passes on what the client logs.
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }
}

impl ConsumerContext for Quiet {}

/// A partition of a topic, with the record whose turn it is next.
pub struct Lane {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset of the next record.
    pub next: i64,
    /// Where it comes from, for records that were given another key.
    pub origin: Option<Arc<str>>,
    /// Its value.
    pub payload: Vec<u8>,
    /// Its time, ms since the epoch.
    pub time: i64,
    /// Its offset; none, when there is no record at hand.
    head: Option<i64>,
}

impl Lane {
    /// The offset of the record at hand, which goes.
    pub fn take(&mut self) -> i64 {
        let offset = self.head.take().unwrap_or(self.next);
        self.next = offset + 1;
        offset
    }

    /// The record at hand, if it is before an offset.
    fn before(&self, until: i64) -> bool {
        self.head.is_some_and(|offset| offset < until)
    }

    fn put(&mut self, message: &BorrowedMessage<'_>) {
        self.payload.clear();
        self.payload.extend_from_slice(message.payload().unwrap_or_default());
        self.time = message.timestamp().to_millis().unwrap_or(i64::MIN);
        let origin = origin(message);
        if self.origin.as_deref() != origin {
            self.origin = origin.map(Arc::from);
        }
        self.head = Some(message.offset());
    }
}

/// The topic that a record had before it was given another key.
pub(crate) fn origin<'a>(message: &'a BorrowedMessage<'_>) -> Option<&'a str> {
    let headers = message.headers()?;
    let found = headers.iter().find(|h| h.key == TOPIC)?;
    found.value.and_then(|v| std::str::from_utf8(v).ok())
}

/// Reads logs up to ends.
pub struct Bounded {
    /// The logs.
    pub lanes: Vec<Lane>,
    queues: Vec<PartitionQueue<Quiet>>,
    consumer: Arc<BaseConsumer<Quiet>>,
    name: String,
    taken: usize,
}

impl Bounded {
    /// Reads logs from these positions on.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(options: &KafkaOptions, from: &Positions) -> Result<Self, SourceError> {
        let name = format!("kafka {}", options.brokers);
        let failed = |error: KafkaError| SourceError { source_name: name.clone(), message: error.to_string(), fatal: is_fatal(&error) };
        let consumer = Arc::new(reader(options, &options.group_id).map_err(failed)?);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in from {
            list.add_partition_offset(topic, *partition as i32, Offset::Offset(*offset)).map_err(failed)?;
        }
        consumer.assign(&list).map_err(failed)?;
        let (mut lanes, mut queues) = (vec![], vec![]);
        for ((topic, partition), offset) in from {
            let partition = *partition as i32;
            let queue = consumer.split_partition_queue(topic, partition);
            queues.push(queue.ok_or_else(|| SourceError { source_name: name.clone(), message: format!("there is no {topic} {partition}"), fatal: false })?);
            let topic = Arc::clone(topic);
            lanes.push(Lane { topic, partition, next: *offset, origin: None, payload: vec![], time: 0, head: None });
        }
        Ok(Bounded { lanes, queues, consumer, name, taken: 0 })
    }

    /// The lane that has the next record before its end in `ends`, if any has.
    ///
    /// # Errors
    /// When the brokers do not give it in time.
    pub fn next(&mut self, ends: &[i64]) -> Result<Option<usize>, SourceError> {
        self.taken += 1;
        if self.taken.is_multiple_of(1_024) {
            self.serve()?;
        }
        let mut least: Option<(i64, usize)> = None;
        for (i, &end) in ends.iter().enumerate().take(self.lanes.len()) {
            if self.lanes[i].head.is_none() && self.lanes[i].next < end {
                self.fill(i, end)?;
            }
            let lane = &self.lanes[i];
            if lane.before(end) && least.is_none_or(|(time, _)| lane.time < time) {
                least = Some((lane.time, i));
            }
        }
        Ok(least.map(|(_, lane)| lane))
    }

    /// Waits for the next record of a lane, or until there is known to be none before its end: what is there are marks of
    /// transactions. An end that the client tells may be an earlier one; so fetching begins anew first, and what it then
    /// tells is of now.
    fn fill(&mut self, i: usize, end: i64) -> Result<(), SourceError> {
        let (started, mut anew) = (Instant::now(), false);
        loop {
            let lane = &mut self.lanes[i];
            match self.queues[i].poll(SLICE) {
                Some(Ok(message)) if message.offset() >= lane.next => {
                    lane.put(&message);
                    return Ok(());
                }
                Some(Err(KafkaError::PartitionEOF(_))) if anew => {
                    lane.next = end;
                    return Ok(());
                }
                // Less is what the client fetched before it began elsewhere.
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(self.failed(&error)),
                None if !anew && started.elapsed() > DOUBT => {
                    let sought = self.consumer.seek(&lane.topic, lane.partition, Offset::Offset(lane.next), PATIENCE);
                    sought.map_err(|e| self.failed(&e))?;
                    anew = true;
                }
                None if started.elapsed() > STUCK => {
                    let message = format!("no record of {} {} came for {} s", lane.topic, lane.partition, STUCK.as_secs());
                    return Err(SourceError { source_name: self.name.clone(), message, fatal: false });
                }
                None => self.serve()?,
            }
        }
    }

    /// Has the client do what it does besides.
    fn serve(&self) -> Result<(), SourceError> {
        match self.consumer.poll(Duration::ZERO) {
            Some(Err(error)) if is_fatal(&error) => Err(self.failed(&error)),
            // Others pass, or no record comes for too long.
            _ => Ok(()),
        }
    }

    /// Where the logs end now, as the brokers say, by lane.
    ///
    /// # Errors
    /// When they do not answer.
    pub fn ends(&self) -> Result<Vec<i64>, SourceError> {
        let mut list = TopicPartitionList::new();
        for lane in &self.lanes {
            list.add_partition_offset(&lane.topic, lane.partition, Offset::End).map_err(|e| self.failed(&e))?;
        }
        // The time -1 stands for the end.
        let found = self.consumer.offsets_for_times(list, PATIENCE).map_err(|e| self.failed(&e))?;
        let end = |lane: &Lane| match found.find_partition(&lane.topic, lane.partition).map(|e| e.offset()) {
            Some(Offset::Offset(end)) => end,
            _ => lane.next,
        };
        Ok(self.lanes.iter().map(end).collect())
    }

    fn failed(&self, error: &KafkaError) -> SourceError {
        SourceError { source_name: self.name.clone(), message: error.to_string(), fatal: is_fatal(error) }
    }
}

/// A consumer that commits nothing.
pub(crate) fn reader(options: &KafkaOptions, group: &str) -> Result<BaseConsumer<Quiet>, KafkaError> {
    let ours = [
        ("group.id", group),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
        ("isolation.level", "read_committed"),
        ("allow.auto.create.topics", "false"),
        ("queued.max.messages.kbytes", "16384"),
        ("fetch.queue.backoff.ms", "10"),
    ];
    options.shared().client(&ours).create_with_context(Quiet)
}
