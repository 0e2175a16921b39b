//! Brokers that refuse or are away.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const TOPICS: [&str; 2] = ["orders", "activity"];

#[test]
fn errors_of_brokers_pass() {
    use RDKafkaRespErr as E;
    let cluster = cluster(1, &TOPICS, 2);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut saved) = (Feed::new(&brokers), Positions::new());
    feed.put_many(&TOPICS, 2, 100);
    let loading = [E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR];
    cluster.request_errors(RDKafkaApiKey::JoinGroup, &loading);
    let refused = [E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, E::RD_KAFKA_RESP_ERR_UNKNOWN];
    cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
    let mut reader = Reader::join(options(&brokers, &TOPICS));
    reader.read_all(&feed, &mut saved);
    cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
    feed.put_many(&TOPICS, 2, 100);
    reader.read_all(&feed, &mut saved);
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR]);
    feed.put_many(&TOPICS, 2, 100);
    reader.read_all(&feed, &mut saved);
}

#[test]
fn a_member_that_the_group_has_forgotten_joins_again() {
    let cluster = cluster(1, &TOPICS, 2);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut saved) = (Feed::new(&brokers), Positions::new());
    feed.put_many(&TOPICS, 2, 100);
    let mut reader = Reader::join(options(&brokers, &TOPICS));
    reader.read_all(&feed, &mut saved);
    let half = positions(&[("orders", 0, 50), ("activity", 0, 50), ("orders", 1, 50), ("activity", 1, 50)]);
    reader.source.covered(&half, true);
    saved = half;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    reader.until("lost", &mut saved, |r| r.lost == 1);
    assert_eq!(reader.got.len(), 4 * 50, "what came after the checkpoints may be another's");
    feed.put_many(&TOPICS, 2, 10);
    reader.read_all(&feed, &mut saved);
}

#[test]
fn brokers_may_be_away_for_a_while() {
    let cluster = cluster(1, &TOPICS, 2);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut saved) = (Feed::new(&brokers), Positions::new());
    feed.put_many(&TOPICS, 2, 100);
    let mut reader = Reader::join(options(&brokers, &TOPICS));
    reader.read_all(&feed, &mut saved);
    cluster.broker_down(-1).unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        reader.step(&mut saved);
    }
    cluster.broker_up(-1).unwrap();
    feed.put_many(&TOPICS, 2, 100);
    reader.read_all(&feed, &mut saved);
}

#[test]
fn an_assignment_outlives_brokers_that_are_away_when_it_is_looked_at() {
    let cluster = cluster(1, &["orders"], 1);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut saved) = (Feed::new(&brokers), Positions::new());
    feed.put_many(&["orders"], 1, 20);
    // A session that the group does not end meanwhile.
    let mut reader = Reader::join(with(options(&brokers, &["orders"]), &[("session.timeout.ms", "60000")]));
    // The mock lets a group wait for three seconds; then the assignment comes, and is only noted.
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(6) {
        reader.source.keep_alive();
        std::thread::sleep(Duration::from_millis(50));
    }
    cluster.broker_down(-1).unwrap();
    reader.step(&mut saved);
    assert_eq!(reader.errors.len(), 1, "whether topics go together cannot be asked");
    assert!(reader.held.is_empty());
    cluster.broker_up(-1).unwrap();
    reader.read_all(&feed, &mut saved);
    assert_eq!(reader.revoked, 0, "it was the first assignment, not another");
}
