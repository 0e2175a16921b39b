//! Records → topics: results keyed by user, dead letters with what is wrong in their headers, and events.
//!
//! Producers are idempotent. A write is done when the brokers have acknowledged every record of it; with a
//! `transactional.id` among the properties, each write is a transaction.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cohort_engine::sink::{Amiss, DeadLetter, DeadLetterSink, ResultBatch, Sink, SinkError};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, TopicPartitionList};

use super::{KafkaOptions, KafkaProblem, is_fatal};
use crate::file::sink::{write_number, write_text};

/// How long the acknowledgement of a write is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Counts what the brokers do not take of the present write; what is left of earlier ones is told late.
#[derive(Default)]
struct Acknowledged {
    write: AtomicUsize,
    failed: AtomicU64,
    last_error: std::sync::Mutex<Option<KafkaError>>,
}

impl ClientContext for Acknowledged {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }
}

impl ProducerContext for Acknowledged {
    /// The number of the write.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, write: usize) {
        let Err((error, _)) = result else { return };
        if write == self.write.load(Ordering::Relaxed) {
            *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error.clone());
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A record to write.
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its key, which decides the partition; without one, records spread over them.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: &'a [u8],
    /// Its time, ms since the epoch; the present, if there is none.
    pub time: Option<i64>,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
}

/// How far a group has read.
pub struct Read {
    /// The next offsets.
    pub offsets: TopicPartitionList,
    /// The group, as its member knows it.
    pub group: ConsumerGroupMetadata,
}

/// Writes records.
pub struct KafkaProducer {
    producer: BaseProducer<Acknowledged>,
    name: String,
    transactional: bool,
    ready: bool,
}

impl KafkaProducer {
    /// A producer.
    ///
    /// # Errors
    /// When a property is not one of librdkafka's, or makes no sense.
    pub fn new(options: &KafkaOptions) -> Result<Self, KafkaProblem> {
        let ours = [
            ("enable.idempotence", "true"),
            ("linger.ms", "5"),
            ("batch.num.messages", "50000"),
            ("queue.buffering.max.messages", "500000"),
            ("queue.buffering.max.kbytes", "262144"),
            ("compression.codec", "lz4"),
            // As Java clients choose the partition of a key.
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "25000"),
        ];
        let producer = options.client(&ours).create_with_context(Acknowledged::default()).map_err(options.failed("producer"))?;
        let transactional = options.properties.contains_key("transactional.id");
        Ok(KafkaProducer { producer, name: format!("kafka {}", options.brokers), transactional, ready: false })
    }

    fn failed(&self, what: &str, error: &KafkaError) -> SinkError {
        SinkError { sink: self.name.clone(), message: format!("{what}: {error}"), fatal: is_fatal(error) }
    }

    /// Writes records, and waits until they are acknowledged.
    ///
    /// # Errors
    /// When not all were; those that were may be there twice when they are all written again.
    pub fn write<'a>(&mut self, records: impl Iterator<Item = Outgoing<'a>>) -> Result<u64, SinkError> {
        if self.transactional { self.transact(records, None) } else { self.send_all(records) }
    }

    /// Begins to write transactions: of an earlier producer with the same `transactional.id` nothing comes any more.
    ///
    /// # Errors
    /// When the brokers do not let it.
    pub fn init_transactions(&mut self) -> Result<(), SinkError> {
        if !self.ready {
            self.producer.init_transactions(PATIENCE).map_err(|e| self.failed("transactions", &e))?;
            self.ready = true;
        }
        Ok(())
    }

    /// Writes records, and notes how far what they were made of was read, in one transaction.
    ///
    /// # Errors
    /// When it did not come about; then none of it did.
    pub fn transact<'a>(&mut self, records: impl Iterator<Item = Outgoing<'a>>, read: Option<&Read>) -> Result<u64, SinkError> {
        self.init_transactions()?;
        self.producer.begin_transaction().map_err(|e| self.failed("transaction", &e))?;
        let outcome = self.send_all(records).and_then(|sent| {
            if let Some(Read { offsets, group }) = read {
                self.producer.send_offsets_to_transaction(offsets, group, PATIENCE).map_err(|e| self.failed("offsets", &e))?;
            }
            self.producer.commit_transaction(PATIENCE).map_err(|e| self.failed("commit", &e))?;
            Ok(sent)
        });
        if outcome.is_err()
            && let Err(error) = self.producer.abort_transaction(PATIENCE)
        {
            tracing::warn!(%error, "kafka: abort");
        }
        outcome
    }

    fn send_all<'a>(&self, records: impl Iterator<Item = Outgoing<'a>>) -> Result<u64, SinkError> {
        let context = self.producer.context();
        let write = context.write.fetch_add(1, Ordering::Relaxed) + 1;
        context.failed.store(0, Ordering::Relaxed);
        let mut sent = 0;
        for record in records {
            self.send(record, write)?;
            sent += 1;
            if sent % 1_000 == 0 {
                self.producer.poll(Duration::ZERO);
            }
        }
        self.producer.flush(PATIENCE).map_err(|e| self.failed("write", &e))?;
        let failed = context.failed.load(Ordering::Relaxed);
        if failed > 0 {
            let error = context.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            return Err(error.map_or_else(
                || SinkError { sink: self.name.clone(), message: format!("{failed} records were not taken"), fatal: false },
                |e| self.failed(&format!("{failed} records were not taken"), &e),
            ));
        }
        Ok(sent)
    }

    /// Hands a record to the client; waits while it has too many.
    fn send(&self, record: Outgoing<'_>, write: usize) -> Result<(), SinkError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut outgoing = BaseRecord::with_opaque_to(record.topic, write).payload(record.value);
        outgoing.key = record.key;
        outgoing.timestamp = record.time;
        if !record.headers.is_empty() {
            outgoing = outgoing.headers(headers);
        }
        let started = Instant::now();
        loop {
            match self.producer.send(outgoing) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if started.elapsed() < PATIENCE => {
                    outgoing = back;
                    self.producer.poll(Duration::from_millis(20));
                }
                Err((error, _)) => return Err(self.failed("write", &error)),
            }
        }
    }
}

/// Results → a topic.
pub struct ResultTopic {
    /// What writes.
    pub producer: KafkaProducer,
    /// The topic.
    pub topic: String,
}

/// A result as JSON, as contract and `cohort replay` have it.
fn json(batch: &ResultBatch, row: usize, out: &mut Vec<u8>) {
    use std::io::Write;
    let (name, r) = (batch.name(row), &batch.rows[row]);
    out.clear();
    out.extend_from_slice(b"{\"userId\":");
    write_text(out, batch.user(row));
    out.extend_from_slice(b",\"segmentId\":");
    write_text(out, &name.segment);
    out.extend_from_slice(b",\"ruleId\":");
    write_text(out, &name.rule);
    let _ = write!(out, ",\"qualified\":{},\"value\":", r.qualified);
    write_number(out, r.value);
    let _ = write!(out, ",\"timestamp\":{},\"windowStart\":{},\"windowEnd\":{}}}", r.timestamp, r.window_start, r.window_end);
}

impl Sink for ResultTopic {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn write(&mut self, batches: &[ResultBatch], _: &mut Amiss) -> Result<(), SinkError> {
        let mut values = vec![];
        for batch in batches {
            for row in 0..batch.rows.len() {
                let mut value = Vec::with_capacity(192);
                json(batch, row, &mut value);
                values.push((batch.users.get(row), value));
            }
        }
        let topic = self.topic.as_str();
        let records = values.iter().map(|(key, value)| Outgoing { topic, key: Some(key), value, time: None, headers: vec![] });
        self.producer.write(records).map(|_| ())
    }
}

/// Dead letters → a topic: the raw record, with reason, topic, partition and offset as headers.
pub struct DeadLetterTopic {
    /// What writes.
    pub producer: KafkaProducer,
    /// The topic.
    pub topic: String,
}

impl DeadLetterSink for DeadLetterTopic {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), SinkError> {
        let topic = self.topic.as_str();
        let records = letters.iter().map(|l| Outgoing {
            topic,
            key: None,
            value: &l.raw,
            time: None,
            headers: vec![
                ("reason", l.reason.as_str().to_string()),
                ("topic", l.topic.to_string()),
                ("partition", l.partition.to_string()),
                ("offset", l.offset.to_string()),
            ],
        });
        self.producer.write(records).map(|_| ())
    }
}
