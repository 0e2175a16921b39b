//! Apache Kafka: [`source`] reads topics as a member of a consumer group, [`merge`] puts the topics of a partition in
//! one order, [`producer`] writes events, results and dead letters, [`admin`] looks at topics and makes them.

pub mod admin;
pub mod merge;
pub mod producer;
pub mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

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
    /// Bytes that may be fetched ahead of a worker.
    pub fetch_ahead: usize,
}

/// A call to Kafka that failed.
#[derive(Debug, thiserror::Error)]
pub enum KafkaProblem {
    /// Kafka, or the way to it.
    #[error("kafka {brokers}: {what}: {source}")]
    Client {
        /// Where.
        brokers: String,
        /// What was tried.
        what: String,
        /// The client's error.
        source: KafkaError,
    },
    /// Topics that cannot be read together.
    #[error("{0}")]
    Topics(String),
}

/// How long a question to the brokers may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

impl KafkaOptions {
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
        move |source| KafkaProblem::Client { brokers, what, source }
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
