//! Apache Kafka: [`source`] reads topics as a member of a consumer group, [`merge`] puts the topics of a partition in
//! one order, [`rekey`] writes topics anew by user, [`history`] reads what is kept, [`bounded`] merges up to known ends,
//! [`producer`] writes events, results and dead letters, [`admin`] looks at topics and makes them.

pub mod admin;
pub mod bounded;
pub mod history;
pub mod merge;
pub mod producer;
pub mod rekey;
pub mod source;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cohort_engine::formats::Formats;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

/// Where reading of a partition begins that nobody has read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes from now on.
    Latest,
    /// With the oldest record that is kept.
    Earliest,
    /// With the first record of a time, ms since the epoch.
    At(i64),
    /// That long ago.
    Ago(Duration),
}

/// How to reach Kafka, and what to read there.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, several with commas between.
    pub brokers: String,
    /// Properties of librdkafka, which win over ours.
    pub properties: BTreeMap<String, String>,
    /// The consumer group.
    pub group_id: String,
    /// The topics to read; partitioned alike.
    pub topics: Vec<String>,
    /// Where reading begins.
    pub start: Start,
    /// Whether the topics are written anew by user, and read from there.
    pub rekey: bool,
    /// Bytes that may be fetched ahead of a worker.
    pub fetch_ahead: usize,
    /// What the records of each topic are.
    pub formats: Arc<Formats>,
}

/// A call to Kafka that failed.
#[derive(Debug, thiserror::Error)]
pub enum KafkaProblem {
    /// Kafka, or the way to it.
    #[error("kafka {brokers}: {what}: {error}")]
    Client {
        /// Where.
        brokers: String,
        /// What was tried.
        what: String,
        /// The client's error.
        error: KafkaError,
    },
    /// Topics that cannot be read together.
    #[error("{0}")]
    Topics(String),
}

/// How long a question to the brokers may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// The header of a record that was given another key, with its topic before.
pub(crate) const TOPIC: &str = "topic";

impl KafkaOptions {
    /// The topic of all records by user, where they are given another key.
    pub fn rekeyed(&self) -> String {
        format!("{}-rekeyed", self.group_id)
    }

    /// The topics that are read as logs.
    pub fn logs(&self) -> Vec<String> {
        if self.rekey { vec![self.rekeyed()] } else { self.topics.clone() }
    }

    /// These options with just the properties that any client has: what is meant for the consumers of the group is not
    /// for producers and other readers.
    pub fn shared(&self) -> Self {
        let shared = ["security.", "sasl.", "ssl.", "client.", "broker.", "socket.", "metadata.", "enable.ssl"];
        let properties = self.properties.iter().filter(|(key, _)| shared.iter().any(|p| key.starts_with(p)));
        KafkaOptions { properties: properties.map(|(k, v)| (k.clone(), v.clone())).collect(), ..self.clone() }
    }

    /// A configuration of librdkafka: `ours`, overridden by the user's properties.
    pub(crate) fn client(&self, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "cohort");
        ours.iter().for_each(|(key, value)| {
            config.set(*key, *value);
        });
        self.properties.iter().for_each(|(key, value)| {
            config.set(key, value);
        });
        config
    }

    pub(crate) fn failed(&self, what: impl Into<String>) -> impl FnOnce(KafkaError) -> KafkaProblem {
        let (brokers, what) = (self.brokers.clone(), what.into());
        move |error| KafkaProblem::Client { brokers, what, error }
    }
}

/// Passes on what the client logs.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}

/// Number of partitions of a topic; 0 when it is not there.
pub(crate) fn partitions_of<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str) -> KafkaResult<usize> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE)?;
    Ok(metadata.topics().iter().find(|t| t.name() == topic).map_or(0, |t| t.partitions().len()))
}

/// Where a partition begins that the consumer's group has read up to its committed offset, or not at all.
pub(crate) fn first_offset<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32, start: Start) -> KafkaResult<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    let committed = consumer.committed_offsets(list, PATIENCE)?;
    if let Some(Offset::Offset(offset)) = committed.find_partition(topic, partition).map(|e| e.offset()) {
        return Ok(offset);
    }
    let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    match start {
        Start::Latest => Ok(high),
        Start::Earliest => Ok(low),
        Start::At(time) => offset_at(consumer, topic, partition, time, high),
        Start::Ago(ago) => offset_at(consumer, topic, partition, now - ago.as_millis() as i64, high),
    }
}

/// Where to go on with a partition after an offset, which may be gone; and where its log ends.
pub(crate) fn kept<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32, offset: i64) -> KafkaResult<(i64, i64)> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
    if offset < low {
        tracing::warn!(
            topic,
            partition,
            offset,
            low,
            "records are gone that were not read yet: the topic's retention is shorter than the time without a reader"
        );
    }
    if offset > high {
        tracing::warn!(topic, partition, offset, high, "the topic ends before the record to go on with: it was made anew; reading begins at its first record");
    }
    Ok((if (low..=high).contains(&offset) { offset } else { low }, high))
}

/// The first offset of records of a time, ms since the epoch, or later; `high` if there are none.
pub(crate) fn offset_at<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32, time: i64, high: i64) -> KafkaResult<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(time.max(0)))?;
    let found = consumer.offsets_for_times(list, PATIENCE)?;
    let offset = found.find_partition(topic, partition).map(|e| e.offset());
    Ok(if let Some(Offset::Offset(offset)) = offset { offset } else { high })
}

/// Whether an error stays, whatever is tried.
pub(crate) fn is_fatal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                Code::Fatal
                    | Code::Fenced
                    | Code::FencedInstanceId
                    | Code::GroupAuthorizationFailed
                    | Code::TopicAuthorizationFailed
                    | Code::ClusterAuthorizationFailed
                    | Code::SaslAuthenticationFailed
                    | Code::UnsupportedSASLMechanism
            )
        )
}
