//! What topics keep, read beside the group.

use cohort_connectors::kafka::history::KafkaHistory;
use cohort_connectors::retained::{Records, Retained};

use super::*;

/// Offsets by topic, in the order in which they are read up to some positions.
fn read(records: &mut dyn Records, until: &Positions) -> Vec<(String, i64)> {
    let (mut batch, mut found) = (RawBatch::default(), vec![]);
    loop {
        records.read(until, 7, &mut batch).unwrap();
        if batch.is_empty() {
            return found;
        }
        found.extend((0..batch.len()).map(|r| (batch.topic(r).to_string(), batch.offsets[r])));
    }
}

#[test]
fn topics_are_merged_up_to_where_they_ended() {
    let topics = ["orders", "activity"];
    let cluster = cluster(1, &topics, 1);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, time) = (Feed::new(&brokers), now() - 60_000);
    (0..20).for_each(|i| feed.put(topics[i % 2], 0, time + i as i64));
    feed.flush();
    let history = KafkaHistory::new(options(&brokers, &topics), 1).unwrap();
    let (first, end) = history.range(0).unwrap();
    feed.put("orders", 0, time);
    feed.flush();
    let mut records = history.open(0, &first).unwrap();
    let expected: Vec<_> = (0..20).map(|i| (topics[i % 2].to_string(), i as i64 / 2)).collect();
    assert_eq!(read(&mut *records, &end), expected, "in the order of time, and no more");
    assert_eq!(records.positions(), &end);
    let newest = history.back(0, &end, 3).unwrap();
    assert_eq!(read(&mut *history.open(0, &newest).unwrap(), &end), expected[14..]);
}

#[test]
fn a_broker_that_is_slow_is_not_taken_for_one_without_more() {
    let cluster = cluster(1, &["orders"], 1);
    let brokers = cluster.bootstrap_servers();
    let mut feed = Feed::new(&brokers);
    feed.put_many(&["orders"], 1, 10);
    let history = KafkaHistory::new(options(&brokers, &["orders"]), 1).unwrap();
    let (first, end) = history.range(0).unwrap();
    let mut records = history.open(0, &first).unwrap();
    assert_eq!(read(&mut *records, &end).len(), 10);
    // By now the client has told the end, of which nobody took note.
    std::thread::sleep(Duration::from_millis(500));
    feed.put_many(&["orders"], 1, 10);
    let (_, end) = history.range(0).unwrap();
    cluster.broker_round_trip_time(1, Duration::from_millis(1_500)).unwrap();
    assert_eq!(read(&mut *records, &end).len(), 10, "all that came since");
}
