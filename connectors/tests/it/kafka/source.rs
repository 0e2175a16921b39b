//! One member: where it begins, the order in which records come, what it commits, how it rests.

use rdkafka::consumer::CommitMode;
use rdkafka::mocking::MockCoordinator;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

const TOPICS: [&str; 3] = ["orders", "activity", "installs"];

#[test]
fn records_come_in_the_order_of_their_time() {
    let cluster = cluster(1, &TOPICS, 2);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut times) = (Feed::new(&brokers), BTreeMap::new());
    for i in 0..300i64 {
        for (t, topic) in TOPICS.iter().enumerate() {
            for partition in 0..2 {
                // A year ago, and each topic at another pace.
                let time = now() - 31_536_000_000 + i * 1_000 * (t as i64 + 1) + t as i64;
                times.insert((topic.to_string(), partition as u32, i), time);
                feed.put(topic, partition, time);
            }
        }
    }
    feed.flush();
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &TOPICS)), Positions::new());
    reader.read_all(&feed, &mut saved);
    for partition in 0..2 {
        let got: Vec<&Place> = reader.got.iter().filter(|p| p.1 == partition).collect();
        assert!(got.is_sorted_by_key(|place| times[*place]), "partition {partition}");
        for topic in TOPICS {
            assert!(got.iter().filter(|p| p.0 == topic).map(|p| p.2).eq(0..300), "{topic} {partition}");
            assert_eq!(reader.positions[&(Arc::from(topic), partition)], 300);
        }
        assert_eq!(reader.source.lag(partition), 0);
    }
}

#[test]
fn reading_begins_where_it_was_told_to() {
    let cluster = cluster(1, &["orders", "activity"], 2);
    let brokers = cluster.bootstrap_servers();
    Feed::new(&brokers).put_many(&["orders", "activity"], 2, 100);
    let committed: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", GROUP).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("orders", 1, Offset::Offset(40)).unwrap();
    committed.commit(&list, CommitMode::Sync).unwrap();
    for (start, offset) in [(Start::Earliest, 0), (Start::Latest, 100)] {
        let mut source = KafkaSource::join(KafkaOptions { start, ..options(&brokers, &["orders", "activity"]) }).unwrap();
        let mut found = |partition, known: &[(&str, u32, i64)]| source.start(partition, &positions(known)).unwrap();
        assert_eq!(found(0, &[]), positions(&[("orders", 0, offset), ("activity", 0, offset)]));
        assert_eq!(found(1, &[]), positions(&[("orders", 1, 40), ("activity", 1, offset)]), "what was committed, where there is something");
        let known = [("orders", 1, 7), ("activity", 1, 8)];
        assert_eq!(found(1, &known), positions(&known), "a checkpoint wins");
    }
}

#[test]
fn a_position_that_is_gone_is_passed_over() {
    let cluster = cluster(1, &["orders"], 1);
    let brokers = cluster.bootstrap_servers();
    let mut feed = Feed::new(&brokers);
    feed.put_many(&["orders"], 1, 50);
    // The topic was made anew, and is shorter than what was read of it.
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &["orders"])), positions(&[("orders", 0, 1_000)]));
    reader.read_all(&feed, &mut saved);
}

#[test]
fn what_is_covered_is_committed_and_nothing_else() {
    let topics = ["orders", "activity"];
    let cluster = cluster(1, &topics, 2);
    let brokers = cluster.bootstrap_servers();
    let mut feed = Feed::new(&brokers);
    feed.put_many(&topics, 2, 100);
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &topics)), Positions::new());
    reader.read_all(&feed, &mut saved);
    let now_committed = || committed(&brokers, GROUP, &topics, 2);
    assert_eq!(now_committed(), BTreeMap::new(), "reading commits nothing");
    let offsets = |some: &[(&str, i32, i64)]| some.iter().map(|(t, p, o)| ((t.to_string(), *p), *o)).collect::<BTreeMap<_, _>>();
    reader.source.covered(&positions(&[("orders", 0, 7), ("activity", 1, 9), ("orders", 5, 3)]), true);
    assert_eq!(now_committed(), offsets(&[("orders", 0, 7), ("activity", 1, 9)]));
    // Of a commit that fails the next one takes care.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE]);
    reader.source.covered(&positions(&[("orders", 0, 20)]), true);
    assert_eq!(now_committed(), offsets(&[("orders", 0, 7), ("activity", 1, 9)]));
    reader.source.covered(&positions(&[("orders", 0, 30)]), true);
    let last = offsets(&[("orders", 0, 30), ("activity", 1, 9)]);
    assert_eq!(now_committed(), last);
    drop(reader);
    assert_eq!(now_committed(), last, "leaving commits nothing");
}

#[test]
fn a_commit_is_waited_for_though_others_are_under_way() {
    let cluster = cluster(1, &["orders"], 1);
    let brokers = cluster.bootstrap_servers();
    let mut feed = Feed::new(&brokers);
    feed.put_many(&["orders"], 1, 10);
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &["orders"])), Positions::new());
    reader.read_all(&feed, &mut saved);
    cluster.broker_round_trip_time(1, Duration::from_millis(800)).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    reader.source.covered(&positions(&[("orders", 0, 3)]), false);
    std::thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    reader.source.covered(&positions(&[("orders", 0, 5)]), true);
    assert!(started.elapsed() >= Duration::from_millis(790), "after {:?} the broker cannot have answered", started.elapsed());
}

#[test]
fn a_source_that_rests_stays_a_member_and_goes_on() {
    let topics = ["orders", "activity"];
    let cluster = cluster(1, &topics, 2);
    let brokers = cluster.bootstrap_servers();
    let mut feed = Feed::new(&brokers);
    feed.put_many(&topics, 2, 100);
    let options = with(options(&brokers, &topics), &[("max.poll.interval.ms", "3000")]);
    let (mut reader, mut saved) = (Reader::join(options), Positions::new());
    reader.read_all(&feed, &mut saved);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        reader.source.keep_alive();
        feed.put_many(&topics, 2, 3);
        std::thread::sleep(Duration::from_millis(100));
    }
    reader.read_all(&feed, &mut saved);
    assert_eq!((reader.revoked, reader.errors.len()), (0, 0), "it was never taken for gone: {:?}", reader.errors);
}

/// Two brokers, each with a topic; the second, of `activity`, can be slow or away without harm to the group.
fn one_topic_each() -> Cluster {
    let cluster = cluster(2, &["orders", "activity"], 1);
    cluster.partition_leader("orders", 0, Some(1)).unwrap();
    cluster.partition_leader("activity", 0, Some(2)).unwrap();
    cluster.coordinator(MockCoordinator::Group(GROUP.into()), 1).unwrap();
    cluster
}

/// Waits until a reader is assigned its partition, and tells where to begin.
fn assigned(reader: &mut Reader) -> Positions {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < LONG);
        match reader.source.poll(1_000, Duration::from_millis(50), &mut reader.batch).unwrap() {
            Polled::Assigned(partitions) => {
                assert_eq!(partitions, [0]);
                reader.held.insert(0);
                return reader.source.start(0, &Positions::new()).unwrap();
            }
            other => assert_eq!(other, Polled::Nothing),
        }
    }
}

#[test]
fn a_topic_is_still_waited_for_after_a_rest() {
    let cluster = one_topic_each();
    let brokers = cluster.bootstrap_servers();
    let (mut feed, time) = (Feed::new(&brokers), now());
    (0..10).for_each(|i| feed.put("activity", 0, time - 1_000 + i));
    feed.put("orders", 0, time);
    feed.flush();
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &["orders", "activity"])), Positions::new());
    let first = assigned(&mut reader);
    cluster.broker_round_trip_time(2, Duration::from_millis(1_200)).unwrap();
    reader.source.begin(&first).unwrap();
    let polled = reader.source.poll(1_000, Duration::from_millis(500), &mut reader.batch).unwrap();
    assert_eq!(polled, Polled::Nothing, "activity has not come yet, and may be older");
    reader.source.keep_alive();
    reader.read_all(&feed, &mut saved);
    assert_eq!(reader.got.last().map(|p| p.0.as_str()), Some("orders"), "the newest goes last: {:?}", reader.got);
}

#[test]
fn a_partition_that_left_at_rest_is_read_when_it_comes_back() {
    let cluster = cluster(1, &["orders"], 1);
    let brokers = cluster.bootstrap_servers();
    let mut feed = Feed::new(&brokers);
    feed.put_many(&["orders"], 1, 20);
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &["orders"])), Positions::new());
    reader.read_all(&feed, &mut saved);
    // The sink is waited for while the partition is taken away, and it comes back to the same member.
    reader.source.keep_alive();
    reader.release(&[0], false, &mut saved);
    feed.put_many(&["orders"], 1, 20);
    reader.begin(&[0], &saved);
    reader.read_all(&feed, &mut saved);
}

/// Reads a topic that is far ahead of another, until more than enough of it is at hand.
fn filled(feed: &mut Feed, cluster: &Cluster, reader: &mut Reader, saved: &mut Positions) {
    let put = |feed: &mut Feed, count: usize| {
        (0..count).for_each(|_| feed.put("orders", 0, now()));
        feed.flush();
    };
    feed.put("activity", 0, now() - 1_000);
    put(feed, 80_000);
    let first = assigned(reader);
    reader.source.begin(&first).unwrap();
    reader.positions = first;
    cluster.broker_down(2).unwrap();
    // In parts, as the mock keeps no more than 100,000 records.
    for count in [60_000, 30_000] {
        (0..15).for_each(|_| reader.step(saved));
        put(feed, count);
    }
    (0..15).for_each(|_| reader.step(saved));
}

#[test]
fn a_topic_of_which_enough_is_at_hand_rests_and_goes_on() {
    let cluster = one_topic_each();
    let brokers = cluster.bootstrap_servers();
    let (mut feed, mut saved) = (Feed::new(&brokers), Positions::new());
    let mut reader = Reader::join(options(&brokers, &["orders", "activity"]));
    filled(&mut feed, &cluster, &mut reader, &mut saved);
    cluster.broker_up(2).unwrap();
    reader.read_all(&feed, &mut saved);
    let orders = reader.got.iter().filter(|p| p.0 == "orders").map(|p| p.2);
    assert!(orders.eq(0..170_000), "in the order of the log");
}

#[test]
fn a_partition_that_is_passed_over_stays_where_it_is_and_the_others_are_read() {
    let cluster = cluster(1, &["orders", "activity"], 3);
    let brokers = cluster.bootstrap_servers();
    let (mut feed, topics) = (Feed::new(&brokers), ["orders", "activity"]);
    feed.put_many(&topics, 3, 50);
    let (mut reader, mut saved) = (Reader::join(options(&brokers, &topics)), Positions::new());
    reader.until("it has the partitions", &mut saved, |r| r.held.len() == 3);
    assert!(reader.source.pass_over(&[1]));
    reader.until("the others are read", &mut saved, |r| r.got.len() >= 200);
    feed.put_many(&topics, 3, 5);
    reader.until("and read on", &mut saved, |r| r.got.len() >= 220 && r.source.lag(1) == 110);
    (0..20).for_each(|_| reader.step(&mut saved));
    assert!(reader.got.len() == 220 && reader.got.iter().all(|(_, partition, _)| *partition != 1), "{:?}", reader.got);
    assert!(reader.source.pass_over(&[]));
    reader.read_all(&feed, &mut saved);
    // It is a matter of the worker's, not of the group's.
    assert_eq!((reader.revoked, reader.errors.len()), (0, 0), "{:?}", reader.errors);
}
