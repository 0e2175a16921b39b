//! Kafka: what the tests of source and producers share. Most run on librdkafka's mock of a cluster, in this process.
//!
//! What the mock cannot do is left to tests on a real broker: it finds no offsets by time (`source.kafka.start` as a time),
//! writes no marks of transactions, and keeps at most 100,000 records and 5 MB of a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cohort_connectors::kafka::source::KafkaSource;
use cohort_connectors::kafka::{KafkaOptions, Start};
use cohort_engine::source::{Polled, Positions, RawBatch, Source};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

mod failures;
mod group;
mod history;
mod producer;
mod source;

/// Long enough for whatever is to happen.
const LONG: Duration = Duration::from_secs(40);
const GROUP: &str = "cohort";

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster(brokers: i32, topics: &[&str], partitions: i32) -> Cluster {
    let cluster = MockCluster::new(brokers).unwrap();
    topics.iter().for_each(|topic| cluster.create_topic(topic, partitions, 1).unwrap());
    cluster
}

fn options(brokers: &str, topics: &[&str]) -> KafkaOptions {
    let properties = [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "200"), ("fetch.wait.max.ms", "50"), ("reconnect.backoff.max.ms", "500")];
    KafkaOptions {
        brokers: brokers.into(),
        properties: properties.map(|(key, value)| (key.to_string(), value.to_string())).into(),
        group_id: GROUP.into(),
        topics: topics.iter().map(ToString::to_string).collect(),
        start: Start::Earliest,
        rekey: false,
        fetch_ahead: 64 << 20,
        formats: Default::default(),
    }
}

fn with(mut options: KafkaOptions, properties: &[(&str, &str)]) -> KafkaOptions {
    options.properties.extend(properties.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    options
}

/// Puts records into partitions.
struct Feed {
    producer: ThreadedProducer<DefaultProducerContext>,
    counts: BTreeMap<(String, i32), i64>,
}

impl Feed {
    fn new(brokers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("linger.ms", "2").set("queue.buffering.max.messages", "1000000").set("compression.codec", "lz4");
        Feed { producer: config.create().unwrap(), counts: BTreeMap::new() }
    }

    /// A record with its offset as payload, and a time in ms.
    fn put(&mut self, topic: &str, partition: i32, time: i64) {
        let offset = self.counts.entry((topic.to_string(), partition)).or_default();
        let payload = offset.to_string();
        *offset += 1;
        self.producer.send(BaseRecord::<str, str>::to(topic).partition(partition).payload(&payload).timestamp(time)).map_err(|(error, _)| error).unwrap();
    }

    fn put_many(&mut self, topics: &[&str], partitions: i32, count: usize) {
        for _ in 0..count {
            topics.iter().for_each(|topic| (0..partitions).for_each(|partition| self.put(topic, partition, now())));
        }
        self.flush();
    }

    fn flush(&self) {
        self.producer.flush(LONG).unwrap();
    }

    /// All records that there are.
    fn all(&self) -> BTreeSet<Place> {
        self.counts.iter().flat_map(|((topic, partition), count)| (0..*count).map(move |offset| (topic.clone(), *partition as u32, offset))).collect()
    }
}

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Topic, partition, offset.
type Place = (String, u32, i64);

/// Does with a source what a worker does, without any state but where it is.
struct Reader {
    source: KafkaSource,
    /// Where it is, for each partition that it has.
    positions: Positions,
    held: BTreeSet<u32>,
    got: Vec<Place>,
    revoked: usize,
    lost: usize,
    errors: Vec<String>,
    batch: RawBatch,
}

fn part(positions: &Positions, partition: u32) -> Positions {
    positions.iter().filter(|((_, p), _)| *p == partition).map(|(key, offset)| (key.clone(), *offset)).collect()
}

impl Reader {
    fn join(options: KafkaOptions) -> Self {
        let source = KafkaSource::join(options).unwrap();
        let (positions, held, batch) = (Positions::new(), BTreeSet::new(), RawBatch::default());
        Reader { source, positions, held, got: vec![], revoked: 0, lost: 0, errors: vec![], batch }
    }

    /// Polls once. `saved` are the checkpoints, of all who read.
    fn step(&mut self, saved: &mut Positions) {
        match self.source.poll(1_000, Duration::from_millis(20), &mut self.batch) {
            Ok(Polled::Records) => self.take(),
            Ok(Polled::Nothing) => {}
            Ok(Polled::Assigned(partitions)) => self.begin(&partitions, saved),
            Ok(Polled::Revoked { partitions, lost }) => self.release(&partitions, lost, saved),
            Err(error) => {
                assert!(!error.fatal, "{error}");
                self.errors.push(error.to_string());
            }
        }
    }

    fn take(&mut self) {
        let batch = &self.batch;
        assert!(self.held.contains(&batch.partition), "records of {}, which was not begun or is released", batch.partition);
        assert!(!batch.is_empty() && batch.log.is_none(), "every topic is a log");
        for record in 0..batch.len() {
            let offset = batch.offsets[record];
            assert_eq!(batch.payload(record), offset.to_string().as_bytes());
            self.got.push((batch.topic(record).to_string(), batch.partition, offset));
        }
        batch.advance(&mut self.positions, 0..batch.len());
    }

    fn begin(&mut self, partitions: &[u32], saved: &Positions) {
        let mut first = Positions::new();
        for partition in partitions {
            first.extend(self.source.start(*partition, &part(saved, *partition)).unwrap());
        }
        self.source.begin(&first).unwrap();
        self.positions.extend(first);
        self.held.extend(partitions);
    }

    fn release(&mut self, partitions: &[u32], lost: bool, saved: &mut Positions) {
        self.revoked += 1;
        self.lost += usize::from(lost);
        let leaving: Positions = partitions.iter().flat_map(|p| part(&self.positions, *p)).collect();
        if lost {
            // What came since the last checkpoint counts for nothing, and is read again.
            let reached = |place: &Place| saved.get(&(Arc::from(place.0.as_str()), place.1)).copied().unwrap_or(0);
            self.got.retain(|place| !partitions.contains(&place.1) || place.2 < reached(place));
        } else {
            self.source.covered(&leaving, true);
            saved.extend(leaving);
        }
        self.source.release(partitions);
        self.held.retain(|p| !partitions.contains(p));
        self.positions.retain(|(_, p), _| !partitions.contains(p));
    }

    fn until(&mut self, what: &str, saved: &mut Positions, done: impl Fn(&Reader) -> bool) {
        let started = Instant::now();
        while !done(self) {
            assert!(started.elapsed() < LONG, "{what}: {} records, {:?} held, {:?}", self.got.len(), self.held, self.errors);
            self.step(saved);
        }
    }

    /// Reads until there are as many records as were put; they are those, each once.
    fn read_all(&mut self, feed: &Feed, saved: &mut Positions) {
        let all = feed.all();
        self.until("all records", saved, |r| r.got.len() >= all.len());
        assert_each_once(&[self], feed);
    }
}

fn assert_each_once(readers: &[&Reader], feed: &Feed) {
    let got: Vec<&Place> = readers.iter().flat_map(|r| &r.got).collect();
    let each: BTreeSet<Place> = got.iter().map(|place| (*place).clone()).collect();
    assert_eq!(got.len(), each.len(), "each once");
    assert!(each == feed.all(), "not what was put");
}

/// What a group has committed, by topic and partition.
fn committed(brokers: &str, group: &str, topics: &[&str], partitions: i32) -> BTreeMap<(String, i32), i64> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    topics.iter().for_each(|topic| list.add_partition_range(topic, 0, partitions - 1));
    let found = consumer.committed_offsets(list, LONG).unwrap();
    let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
    found.elements().iter().filter_map(|e| Some(((e.topic().to_string(), e.partition()), offset(e.offset())?))).collect()
}

fn positions(some: &[(&str, u32, i64)]) -> Positions {
    some.iter().map(|(topic, partition, offset)| ((Arc::from(*topic), *partition), *offset)).collect()
}
