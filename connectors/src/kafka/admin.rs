//! What there is in Kafka: whether the topics can be read together, and topics made for demonstrations and tests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::{KafkaOptions, KafkaProblem, PATIENCE};

/// Notes why brokers cannot be reached: what a call returns says only that they cannot.
#[derive(Default)]
struct Listener(Mutex<BTreeSet<String>>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(reason.to_string());
    }
}

impl ConsumerContext for Listener {}

/// What the client was told of brokers that it could not reach.
fn reasons(consumer: &BaseConsumer<Listener>) -> String {
    for _ in 0..20 {
        // Has it tell what is left to tell; there are no records.
        let _ = consumer.poll(std::time::Duration::from_millis(5));
    }
    let reasons = consumer.context().0.lock().unwrap_or_else(PoisonError::into_inner);
    let reasons: Vec<&str> = reasons.iter().map(String::as_str).take(3).collect();
    if reasons.is_empty() { "topics".into() } else { format!("topics ({})", reasons.join("; ")) }
}

/// Number of partitions of each topic; 0 for one that is not there.
///
/// # Errors
/// When no broker answers.
pub fn partitions(options: &KafkaOptions, topics: &[String]) -> Result<BTreeMap<String, usize>, KafkaProblem> {
    let consumer: BaseConsumer<Listener> = options.client(&[]).create_with_context(Listener::default()).map_err(options.failed("topics"))?;
    let mut found = BTreeMap::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(|error| options.failed(reasons(&consumer))(error))?;
        let partitions = metadata.topics().iter().find(|t| t.name() == topic && t.error().is_none()).map_or(0, |t| t.partitions().len());
        found.insert(topic.clone(), partitions);
    }
    Ok(found)
}

/// Checks that the topics are partitioned alike, unless they are given another key; returns the greatest number of
/// partitions.
///
/// # Errors
/// When no broker answers, none of the topics is there, or they differ.
pub fn check(options: &KafkaOptions) -> Result<usize, KafkaProblem> {
    let found = partitions(options, &options.topics)?;
    let missing: Vec<&str> = found.iter().filter(|(_, n)| **n == 0).map(|(t, _)| t.as_str()).collect();
    let there: BTreeMap<&String, usize> = found.iter().filter(|(_, n)| **n > 0).map(|(t, n)| (t, *n)).collect();
    let Some(most) = there.values().max().copied() else {
        return Err(KafkaProblem::Topics(format!("kafka {}: there is no topic {}", options.brokers, missing.join(", "))));
    };
    if !options.rekey && there.values().any(|n| *n != most) {
        let counts: Vec<String> = there.iter().map(|(topic, n)| format!("{topic} has {n}")).collect();
        return Err(KafkaProblem::Topics(format!(
            "source.topics must have equally many partitions, by user: {}; give them equally many, or set source.kafka.rekey = true",
            counts.join(", ")
        )));
    }
    if !missing.is_empty() {
        tracing::warn!(topics = missing.join(", "), "topics that are not there yet; they are read once they are");
    }
    Ok(most)
}

/// Makes topics that are not there.
///
/// # Errors
/// When the brokers refuse.
pub async fn create(options: &KafkaOptions, topics: &[String], partitions: u32, config: &[(&str, &str)]) -> Result<(), KafkaProblem> {
    let admin: AdminClient<DefaultClientContext> = options.client(&[]).create().map_err(options.failed("admin"))?;
    let mut wanted = vec![];
    for name in topics {
        let topic = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(-1));
        wanted.push(config.iter().fold(topic, |t, (key, value)| t.set(key, value)));
    }
    let made = admin.create_topics(&wanted, &AdminOptions::new().operation_timeout(Some(PATIENCE))).await.map_err(options.failed("create topics"))?;
    for outcome in made {
        match outcome {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(KafkaProblem::Topics(format!("kafka {}: topic {topic} cannot be made: {code}", options.brokers))),
        }
    }
    Ok(())
}
