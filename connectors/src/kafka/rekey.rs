//! Writes topics anew by user, for producers that key their records by something else or partition topics differently:
//! every record of them goes into one topic, `<group>-rekeyed`, keyed by its `userId`, with its topic in a header.
//!
//! One member of the group does it at a time: the one that holds partition 0 of that topic in the group
//! `<group>-rekey`. It reads rounds, each up to where the logs end, merged by timestamp, so that old records come out
//! in order of time however the brokers answer. Records and offsets of what was read are one transaction: each record
//! is written once (compare KIP-447), and a member that was taken for gone is fenced.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cohort_engine::decode::{EventBatch, Projection, Topics};
use cohort_engine::formats::Decoder;
use cohort_engine::source::{Positions, RawBatch, SourceError};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use super::bounded::{Bounded, Quiet, reader};
use super::producer::{KafkaProducer, Outgoing, Read};
use super::{KafkaOptions, TOPIC, admin, first_offset, is_fatal, kept, partitions_of};

/// Records and bytes of a transaction.
const RECORDS: usize = 20_000;
const BYTES: usize = 8 << 20;
/// How often new partitions are looked for.
const LOOK: Duration = Duration::from_secs(10);
/// How long to wait when there is nothing to read, or something failed.
const IDLE: Duration = Duration::from_millis(20);
const REST: Duration = Duration::from_secs(1);
/// How long the topic keeps records: the engine has read them soon, and its checkpoints reach as far.
const KEPT_MS: &str = "86400000";

/// How it goes.
#[derive(Debug, Default)]
pub struct RekeyStatus {
    /// Records that were written.
    pub records: AtomicU64,
    /// Records that are not written yet, when last looked at.
    pub lag: AtomicU64,
    error: Mutex<Option<String>>,
}

impl RekeyStatus {
    /// What is wrong, if anything is.
    pub fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_error(&self, error: Option<String>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

/// A thread that writes topics anew, as long as this lives.
pub struct Rekeyer {
    /// How it goes.
    pub status: Arc<RekeyStatus>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Makes the topic of all records by user, with as many partitions as the widest of the others.
///
/// # Errors
/// When the brokers refuse.
pub async fn create_topic(options: &KafkaOptions, partitions: u32) -> Result<(), super::KafkaProblem> {
    // Kept by when they were written there: what is read from long ago would be deleted at once by its own time.
    let config = [("retention.ms", KEPT_MS), ("message.timestamp.type", "LogAppendTime")];
    admin::create(options, &[options.rekeyed()], partitions, &config).await
}

impl Rekeyer {
    /// Begins.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(options: KafkaOptions) -> std::io::Result<Self> {
        let (status, stop) = (Arc::new(RekeyStatus::default()), Arc::new(AtomicBool::new(false)));
        let work = Work { options, status: Arc::clone(&status), stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new().name("rekey".into()).spawn(move || work.run())?;
        Ok(Rekeyer { status, stop, thread: Some(thread) })
    }
}

impl Drop for Rekeyer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("rekey: panicked");
        }
    }
}

/// Reads nothing of what it is assigned: to be assigned it is all.
struct Elector;

impl ClientContext for Elector {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }
}

impl ConsumerContext for Elector {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance
            && let Err(error) = consumer.pause(partitions)
        {
            tracing::warn!(%error, "rekey: pause");
        }
    }
}

/// The records of a transaction.
#[derive(Default)]
struct Batch {
    records: RawBatch,
    times: Vec<i64>,
}

struct Work {
    options: KafkaOptions,
    status: Arc<RekeyStatus>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn group(&self) -> String {
        format!("{}-rekey", self.options.group_id)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn failed(&self, error: &KafkaError) -> SourceError {
        SourceError { source_name: format!("kafka {}: rekey", self.options.brokers), message: error.to_string(), fatal: is_fatal(error) }
    }

    fn run(&self) {
        while !self.stopped() {
            let Err(error) = self.take_part() else { continue };
            tracing::warn!(%error, "rekey; it is tried again");
            self.status.set_error(Some(error.to_string()));
            let started = Instant::now();
            while started.elapsed() < REST && !self.stopped() {
                std::thread::sleep(IDLE);
            }
        }
    }

    /// Is a member of the group, and does the work when it is this one's.
    fn take_part(&self) -> Result<(), SourceError> {
        let group = self.group();
        let ours = [("group.id", group.as_str()), ("enable.auto.commit", "false"), ("session.timeout.ms", "10000"), ("allow.auto.create.topics", "false")];
        let elector: BaseConsumer<Elector> = self.options.shared().client(&ours).create_with_context(Elector).map_err(|e| self.failed(&e))?;
        elector.subscribe(&[&self.options.rekeyed()]).map_err(|e| self.failed(&e))?;
        while !self.stopped() {
            if self.is_ours(&elector, Duration::from_millis(100))? {
                let outcome = self.write_on(&elector);
                self.status.lag.store(0, Ordering::Relaxed);
                outcome?;
            }
        }
        Ok(())
    }

    fn is_ours(&self, elector: &BaseConsumer<Elector>, wait: Duration) -> Result<bool, SourceError> {
        if let Some(Err(error)) = elector.poll(wait)
            && is_fatal(&error)
        {
            return Err(self.failed(&error));
        }
        let assigned = elector.assignment().map_err(|e| self.failed(&e))?;
        Ok(!elector.assignment_lost() && assigned.find_partition(&self.options.rekeyed(), 0).is_some())
    }

    /// Writes what comes, until another does, there are other partitions, or the end.
    fn write_on(&self, elector: &BaseConsumer<Elector>) -> Result<(), SourceError> {
        let client = reader(&self.options, &self.group()).map_err(|e| self.failed(&e))?;
        let mut producer = self.producer()?;
        let partitions = self.partitions(&client)?;
        let mut bounded = Bounded::open(&self.options, &self.first(&client, &partitions)?)?;
        tracing::info!(logs = bounded.lanes.len(), to = self.options.rekeyed(), "rekey");
        let (mut batch, mut looked) = (Batch::default(), Instant::now());
        while !self.stopped() && self.is_ours(elector, Duration::ZERO)? {
            if looked.elapsed() > LOOK {
                if self.partitions(&client)? != partitions {
                    return Ok(());
                }
                looked = Instant::now();
            }
            let ends = bounded.ends()?;
            let lag: i64 = bounded.lanes.iter().zip(&ends).map(|(lane, end)| (end - lane.next).max(0)).sum();
            self.status.lag.store(lag as u64, Ordering::Relaxed);
            if lag == 0 {
                std::thread::sleep(IDLE);
            }
            while !self.stopped() && self.is_ours(elector, Duration::ZERO)? && fill(&mut bounded, &ends, &mut batch)? {
                self.write(&mut producer, &batch, &bounded, elector)?;
                self.status.set_error(None);
            }
        }
        Ok(())
    }

    fn producer(&self) -> Result<KafkaProducer, SourceError> {
        let mut options = self.options.shared();
        options.properties.insert("transactional.id".into(), self.group());
        let failed = |error: &dyn std::fmt::Display| SourceError { source_name: "rekey".into(), message: error.to_string(), fatal: false };
        let mut producer = KafkaProducer::new(&options).map_err(|e| failed(&e))?;
        producer.init_transactions().map_err(|e| failed(&e))?;
        Ok(producer)
    }

    /// Number of partitions of each topic.
    fn partitions(&self, client: &BaseConsumer<Quiet>) -> Result<Vec<usize>, SourceError> {
        self.options.topics.iter().map(|topic| partitions_of(client, topic)).collect::<Result<_, _>>().map_err(|e| self.failed(&e))
    }

    /// Where to read on.
    fn first(&self, client: &BaseConsumer<Quiet>, partitions: &[usize]) -> Result<Positions, SourceError> {
        let mut positions = Positions::new();
        for (topic, count) in self.options.topics.iter().zip(partitions) {
            for partition in 0..*count {
                let offset = first_offset(client, topic, partition as i32, self.options.start);
                let (offset, _) = offset.and_then(|o| kept(client, topic, partition as i32, o)).map_err(|e| self.failed(&e))?;
                positions.insert((topic.as_str().into(), partition as u32), offset);
            }
        }
        Ok(positions)
    }

    /// The user of each record, if it has one.
    fn users<'a>(&self, records: &'a RawBatch) -> Result<Vec<Option<Cow<'a, [u8]>>>, SourceError> {
        let formats = &self.options.formats;
        if formats.are_plain() {
            let bytes = |user: Cow<'a, str>| match user {
                Cow::Borrowed(user) => Cow::Borrowed(user.as_bytes()),
                Cow::Owned(user) => Cow::Owned(user.into_bytes()),
            };
            return Ok((0..records.len()).map(|r| user(records.payload(r)).map(bytes)).collect());
        }
        let (mut events, mut rejected) = (EventBatch::default(), vec![]);
        let topics = Topics::Each(&records.topic_of, &records.topics);
        let decoded = Decoder::new(Projection::default(), formats).decode(&records.data, &records.spans, topics, &mut events, &mut rejected);
        decoded.map_err(|away| SourceError { source_name: "rekey".into(), message: away.to_string(), fatal: false })?;
        let mut users = vec![None; records.len()];
        for (row, record) in events.records.iter().enumerate() {
            users[*record as usize] = Some(Cow::Owned(events.users.get(row).to_vec()));
        }
        Ok(users)
    }

    fn write(&self, producer: &mut KafkaProducer, batch: &Batch, bounded: &Bounded, elector: &BaseConsumer<Elector>) -> Result<(), SourceError> {
        let mut offsets = TopicPartitionList::new();
        for lane in &bounded.lanes {
            offsets.add_partition_offset(&lane.topic, lane.partition, Offset::Offset(lane.next)).map_err(|e| self.failed(&e))?;
        }
        let group = elector.group_metadata();
        let group = group.ok_or_else(|| SourceError { source_name: "rekey".into(), message: "is no member of its group".into(), fatal: false })?;
        let to = self.options.rekeyed();
        let records = &batch.records;
        let keys = self.users(records)?;
        let outgoing = (0..records.len()).map(|r| Outgoing {
            topic: &to,
            key: keys[r].as_deref(),
            value: records.payload(r),
            time: Some(batch.times[r].max(0)),
            headers: vec![(TOPIC, records.topic(r).to_string())],
        });
        let written = producer.transact(outgoing, Some(&Read { offsets, group }));
        let written = written.map_err(|e| SourceError { source_name: "rekey".into(), message: e.to_string(), fatal: false })?;
        self.status.records.fetch_add(written, Ordering::Relaxed);
        Ok(())
    }
}

/// Fills a batch with the next records before the ends; returns whether there are any.
fn fill(bounded: &mut Bounded, ends: &[i64], batch: &mut Batch) -> Result<bool, SourceError> {
    batch.records.clear();
    batch.times.clear();
    while batch.records.len() < RECORDS && batch.records.data.len() < BYTES {
        let Some(lane) = bounded.next(ends)? else { break };
        let lane = &mut bounded.lanes[lane];
        let offset = lane.take();
        batch.records.push(&lane.payload, &lane.topic, offset, lane.time);
        batch.times.push(lane.time);
    }
    Ok(!batch.records.is_empty())
}

/// The user of an event. What is no event has none; the engine says what is wrong with it.
fn user(event: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow, rename = "userId")]
        user: Cow<'a, str>,
    }
    serde_json::from_slice(event).ok().map(|event: Event<'_>| event.user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_an_event() {
        assert_eq!(user(br#"{"value":1,"userId":"u1","metadata":{"userId":"other"}}"#).as_deref(), Some("u1"));
        assert_eq!(user(br#"{"userId":"\u00fc"}"#).as_deref(), Some("ü"));
        for none in [&br#"{"userId":7}"#[..], b"{}", b"", b"\xff", br#"{"userId":"u1""#] {
            assert_eq!(user(none), None);
        }
    }
}
