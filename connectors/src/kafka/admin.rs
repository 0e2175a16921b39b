//! What there is in Kafka: whether the topics can be read together, and topics made for demonstrations and tests.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::{KafkaOptions, KafkaProblem, PATIENCE};

/// Number of partitions of each topic; 0 for one that is not there.
///
/// # Errors
/// When no broker answers.
pub fn partitions(options: &KafkaOptions, topics: &[String]) -> Result<BTreeMap<String, usize>, KafkaProblem> {
    let failed = || options.failed("topics");
    let consumer: BaseConsumer = options.client(&[]).create().map_err(failed())?;
    let mut found = BTreeMap::new();
    for topic in topics {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(failed())?;
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
