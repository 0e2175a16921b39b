//! Results and dead letters as topics, on the mock and on a real broker; transactions on a real one.

use cohort_connectors::kafka::admin;
use cohort_connectors::kafka::producer::{DeadLetterTopic, KafkaProducer, Outgoing, ResultTopic};
use cohort_engine::decode::Reason;
use cohort_engine::sink::{Amiss, DeadLetter, DeadLetterSink, Sink};
use rdkafka::Message;
use rdkafka::message::{Headers, OwnedMessage};
use serde_json::{Value, json};

use super::*;
use crate::aerospike::batch;

/// A topic name of this run and test.
fn fresh(name: &str) -> String {
    format!("it-{}-{name}-{}", std::process::id(), now())
}

/// The real broker's address; without one it is said that a test is left out.
fn broker() -> Option<String> {
    let found = std::env::var("COHORT_TEST_KAFKA").ok();
    if found.is_none() {
        eprintln!("SKIPPED: a test on Kafka (no broker in COHORT_TEST_KAFKA; scripts/kafka.sh gives one)");
    }
    found
}

/// Runs a test on the mock, and on a real broker if there is one; it gets an address and a topic of two partitions.
fn on_each(name: &str, test: impl Fn(&str, &str)) {
    let topic = fresh(name);
    let mock = cluster(1, &[&topic], 2);
    test(&mock.bootstrap_servers(), &topic);
    if let Some(broker) = broker() {
        create(&broker, &topic, &[]);
        test(&broker, &topic);
    }
}

fn create(brokers: &str, topic: &str, config: &[(&str, &str)]) {
    futures::executor::block_on(admin::create(&options(brokers, &[topic]), &[topic.to_string()], 2, config)).unwrap();
}

fn producer(brokers: &str, properties: &[(&str, &str)]) -> KafkaProducer {
    let options = KafkaOptions { properties: BTreeMap::new(), ..options(brokers, &[]) };
    KafkaProducer::new(&with(options, properties)).unwrap()
}

/// All records of a topic's partitions, to their ends.
fn read(brokers: &str, topic: &str, isolation: &str) -> Vec<OwnedMessage> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "reader").set("isolation.level", isolation);
    config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    (0..2).for_each(|p| list.add_partition_offset(topic, p, Offset::Beginning).unwrap());
    consumer.assign(&list).unwrap();
    let (mut ends, mut found) = (BTreeSet::new(), vec![]);
    let started = Instant::now();
    while ends.len() < 2 {
        assert!(started.elapsed() < LONG, "{topic} has no end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => found.push(message.detach()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => _ = ends.insert(partition),
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    found
}

#[test]
fn results_are_json_keyed_by_user() {
    on_each("results", |brokers, topic| {
        let mut sink = ResultTopic { producer: producer(brokers, &[]), topic: topic.into() };
        sink.write(&[batch(&[(1, 0, true, 100_001), (2, 1, false, 100_002)]), batch(&[(1, 0, false, 100_003)])], &mut Amiss::default()).unwrap();
        let mut found: Vec<(String, Value)> = vec![];
        for message in read(brokers, topic, "read_committed") {
            let key = String::from_utf8(message.key().unwrap().to_vec()).unwrap();
            found.push((key, serde_json::from_slice(message.payload().unwrap()).unwrap()));
        }
        found.sort_by_key(|(_, value)| value["timestamp"].as_i64());
        let result = |user: &str, segment: &str, qualified: bool, value: Option<f64>, time: i64| {
            let value = json!({"userId": user, "segmentId": segment, "ruleId": format!("rule {segment}"), "qualified": qualified,
                               "value": value, "timestamp": time, "windowStart": time - 60_000, "windowEnd": time});
            (user.to_string(), value)
        };
        let expected = [
            result("u1", "big", true, Some(25_000.25), 100_001),
            result("u2", "busy", false, None, 100_002),
            result("u1", "big", false, Some(25_000.75), 100_003),
        ];
        assert_eq!(found.iter().find(|(_, v)| v["timestamp"] == 100_002).map(|(_, v)| v.as_object().unwrap().len()), Some(8));
        assert_eq!(found, expected);
    });
}

#[test]
fn dead_letters_carry_what_is_wrong_with_them() {
    on_each("dead", |brokers, topic| {
        let mut sink = DeadLetterTopic { producer: producer(brokers, &[]), topic: topic.into() };
        let raw = b"{\"userId\":7,\xff\x00".to_vec();
        let letter = DeadLetter { reason: Reason::NotUtf8, topic: "orders".into(), partition: 3, offset: 4_711, at: now(), raw: raw.clone() };
        sink.put(&[letter.clone(), DeadLetter { reason: Reason::InvalidUserId, offset: 4_712, ..letter }]).unwrap();
        let mut found = vec![];
        for message in read(brokers, topic, "read_committed") {
            assert_eq!(message.payload(), Some(raw.as_slice()), "as it came");
            assert_eq!(message.key(), None, "without a key they spread over the partitions");
            let headers = message.headers().unwrap();
            let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
            found.push(headers.iter().map(|h| (h.key.to_string(), text(h.value))).collect::<Vec<_>>());
        }
        found.sort();
        let headers = |reason: Reason, offset: &str| {
            [("reason", reason.as_str()), ("topic", "orders"), ("partition", "3"), ("offset", offset)].map(|(k, v)| (k.to_string(), v.to_string())).to_vec()
        };
        let mut expected = [headers(Reason::NotUtf8, "4711"), headers(Reason::InvalidUserId, "4712")];
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_transaction_that_failed_is_not_seen() {
    let Some(brokers) = broker() else { return };
    let topic = fresh("transactions");
    create(&brokers, &topic, &[("max.message.bytes", "20000")]);
    let mut producer = producer(&brokers, &[("transactional.id", &topic), ("compression.codec", "none")]);
    let mut write = |values: &[(&str, &[u8])]| {
        producer.write(values.iter().map(|(key, value)| Outgoing { topic: &topic, key: Some(key.as_bytes()), value, time: None, headers: vec![] }))
    };
    // The broker takes no record of that size; the other, of another partition, it has by then.
    let large = vec![b'x'; 50_000];
    let error = write(&[("a", b"lost"), ("b", b"lost"), ("c", b"lost"), ("d", b"lost"), ("e", &large)]).unwrap_err();
    assert!(!error.fatal && error.message.contains("not taken"), "{error}");
    assert!(read(&brokers, &topic, "read_uncommitted").iter().any(|m| m.payload() == Some(b"lost")), "it was there");
    assert_eq!(read(&brokers, &topic, "read_committed").len(), 0);
    // The client may need a new epoch first, for the numbers that the refused records had.
    let kept: &[(&str, &[u8])] = &[("a", b"kept"), ("b", b"kept")];
    assert_eq!(write(kept).or_else(|_| write(kept)).unwrap(), 2);
    let found = read(&brokers, &topic, "read_committed");
    assert!(found.len() == 2 && found.iter().all(|m| m.payload() == Some(b"kept")), "{found:?}");
}

#[test]
fn a_broker_that_is_away_is_an_error_in_bounded_time() {
    // Nobody listens there.
    let properties = [("message.timeout.ms", "3000")];
    let mut sink = ResultTopic { producer: producer("127.0.0.1:1", &properties), topic: "results".into() };
    let started = Instant::now();
    let error = sink.write(&[batch(&[(1, 0, true, 1)])], &mut Amiss::default()).unwrap_err();
    assert!(!error.fatal && started.elapsed() < Duration::from_secs(30), "{error} after {:?}", started.elapsed());
}
