//! What flushes of the Aerospike sink come to: one write a record, in order, however many users there are.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use cohort_connectors::aerospike::AerospikeOptions;
use cohort_connectors::aerospike::record::Profile;
use cohort_engine::sink::{Amiss, ResultBatch, Sink, Touch};

use crate::aerospike::{Bench, One, batch, bench, expected, members, names, on_each, options, row, said, server};

#[test]
fn results_of_a_user_in_a_flush_are_one_write() {
    let double = server();
    let mut one = bench(options(&double.address()));
    let first = batch(&[(1, 0, true, 11), (1, 1, true, 12), (2, 0, true, 13), (1, 0, false, 14)]);
    let second = batch(&[(1, 1, true, 15), (1, 2, true, 16), (1, 0, true, 17)]);
    one.sink.write(&[first, second], &mut Amiss::default()).unwrap();
    assert_eq!((double.counts().records_written, one.status.records.load(Relaxed)), (2, 2));
    assert_eq!(said(one.get("u1")), expected(&BTreeMap::from([(0, 17), (1, 15), (2, 16)])), "the last of each rule");
    assert_eq!(said(one.get("u2")), expected(&BTreeMap::from([(0, 13)])));
}

#[test]
fn a_flush_once_more_changes_only_when_it_was_written() {
    on_each(|bench| {
        bench.sink.write(&[batch(&[(1, 0, true, 100_000), (1, 1, true, 100_001)])], &mut Amiss::default()).unwrap();
        let flush = [batch(&[(1, 0, false, 100_002), (1, 2, true, 100_003)])];
        bench.sink.write(&flush, &mut Amiss::default()).unwrap();
        let before = bench.get("u1").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        bench.sink.write(&flush, &mut Amiss::default()).unwrap();
        let after = bench.get("u1").unwrap();
        assert!(after.last_updated > before.last_updated, "{before:?} {after:?}");
        let alike = |profile: Profile| Profile { last_updated: 0, ttl: None, ..profile };
        assert_eq!(alike(before), alike(after));
    });
}

#[test]
fn results_arrive_in_order_over_many_flushes() {
    on_each(|bench| {
        let mut held: BTreeMap<u8, BTreeMap<usize, i64>> = BTreeMap::new();
        for time in 0..150i64 {
            let flush: Vec<One> = (0..9u8).map(|user| (user, (time as usize + user as usize) % 3, (time + i64::from(user)) % 5 != 0, time)).collect();
            for &(user, segment, member, time) in &flush {
                let held = held.entry(user).or_default();
                if member {
                    held.insert(segment, time)
                } else {
                    held.remove(&segment)
                };
            }
            bench.sink.write(&[batch(&flush)], &mut Amiss::default()).unwrap();
        }
        held.iter().for_each(|(user, held)| assert_eq!(said(bench.get(&format!("u{user}"))), expected(held), "u{user}"));
    });
}

#[test]
fn ten_thousand_users_go_in_a_flush() {
    on_each(|bench| {
        let mut flush = ResultBatch { names: names(), ..ResultBatch::default() };
        for user in 0..10_000i64 {
            flush.users.push(format!("many{user}").as_bytes());
            flush.member.push(true);
            flush.rows.push(row((user % 4) as usize, 1_000 + user));
        }
        bench.sink.write(&[flush], &mut Amiss::default()).unwrap();
        assert_eq!((bench.status.records.load(Relaxed), bench.status.batches.load(Relaxed)), (10_000, 100));
        for user in (0..10_000i64).step_by(37) {
            let held = BTreeMap::from([((user % 4) as usize, 1_000 + user)]);
            assert_eq!(said(bench.get(&format!("many{user}"))), expected(&held), "many{user}");
        }
    });
}

#[test]
fn a_touch_changes_nothing_and_makes_nothing() {
    on_each(|bench| {
        bench.sink.write(&[batch(&[(1, 0, true, 7)])], &mut Amiss::default()).unwrap();
        let before = bench.get("u1").unwrap();
        let mut touch = Touch::default();
        ["u1", "nobody"].iter().for_each(|user| touch.users.push(user.as_bytes()));
        bench.sink.touch(&touch, &mut Amiss::default()).unwrap();
        let after = bench.get("u1").unwrap();
        assert_eq!((after.last_updated, said(Some(after))), (before.last_updated, said(Some(before))));
        assert!(bench.get("nobody").is_none());
    });
}

/// The users of whom a sink says that it holds what it should not.
fn users(mut amiss: Amiss) -> Vec<String> {
    let users = amiss.take(3);
    assert!(amiss.is_empty());
    (0..users.len()).map(|i| String::from_utf8_lossy(users.get(i)).into_owned()).collect()
}

/// Results as of partition 3, with how many segments each user is in after them.
fn counted(results: &[(One, u32)]) -> ResultBatch {
    let (rows, held): (Vec<One>, Vec<u32>) = results.iter().copied().unzip();
    ResultBatch { partition: 3, held, ..batch(&rows) }
}

/// Touches users who are in so many segments; returns those of whom the sink holds something else.
fn touched(bench: &mut Bench, held: &[(&str, u32)]) -> Vec<String> {
    let mut touch = Touch { partition: 3, held: held.iter().map(|(_, n)| *n).collect(), ..Touch::default() };
    held.iter().for_each(|(user, _)| touch.users.push(user.as_bytes()));
    let mut amiss = Amiss::default();
    bench.sink.touch(&touch, &mut amiss).unwrap();
    users(amiss)
}

#[test]
fn records_that_hold_what_they_should_not_are_reported() {
    on_each(|bench| {
        let mut written = |results: &[(One, u32)]| {
            let mut amiss = Amiss::default();
            bench.sink.write(&[counted(results)], &mut amiss).unwrap();
            users(amiss)
        };
        let first = [((1, 0, true, 1), 2), ((1, 1, true, 2), 2), ((2, 1, true, 3), 1), ((3, 1, false, 4), 0)];
        assert_eq!(written(&first), Vec::<String>::new());
        assert_eq!(written(&first), Vec::<String>::new(), "again, as after a failure");
        // u1 is in three by now, of which the sink heard two; u2 has left the one it was in; u4 was never heard of.
        let second = [((1, 0, true, 5), 3), ((2, 1, false, 6), 0), ((4, 2, true, 7), 2)];
        assert_eq!(written(&second), ["u1", "u4"]);
        assert_eq!(touched(bench, &[("u1", 2), ("u2", 0), ("u4", 1)]), Vec::<String>::new());
        assert_eq!(touched(bench, &[("u1", 3), ("u4", 1), ("nobody", 1)]), ["u1", "nobody"]);
        assert_eq!(touched(bench, &[("nobody", 1)]), ["nobody"], "one record alone");
        assert_eq!(touched(bench, &[("u1", 1)]), ["u1"], "one record alone");
    });
}

#[test]
fn a_record_that_expired_is_missed_by_what_comes_next() {
    let double = server();
    let mut bench = bench(options(&double.address()));
    let mut write = |results: &[(One, u32)]| {
        let mut amiss = Amiss::default();
        bench.sink.write(&[counted(results)], &mut amiss).unwrap();
        users(amiss)
    };
    assert!(write(&[((1, 0, true, 1), 1), ((2, 0, true, 1), 1)]).is_empty());
    double.advance(Duration::from_secs(700));
    assert_eq!(write(&[((1, 1, true, 2), 2)]), ["u1"], "the new record holds the second segment alone");
    assert_eq!(touched(&mut bench, &[("u1", 2), ("u2", 1)]), ["u1", "u2"]);
    bench.sink.replace(&members(&[(1, [0, 1].as_slice()), (2, &[0])], 3)).unwrap();
    assert!(touched(&mut bench, &[("u1", 2), ("u2", 1)]).is_empty());
}

#[test]
fn batches_of_one_record_work_too() {
    let double = server();
    let mut single = bench(AerospikeOptions { batch: 1, in_flight: 2, ..options(&double.address()) });
    single.sink.write(&[batch(&[(1, 0, true, 1), (2, 1, true, 2), (3, 2, true, 3)])], &mut Amiss::default()).unwrap();
    single.sink.write(&[batch(&[(1, 0, false, 4)])], &mut Amiss::default()).unwrap();
    assert_eq!(said(single.get("u1")), expected(&BTreeMap::new()));
    assert_eq!(said(single.get("u2")), expected(&BTreeMap::from([(1, 2)])));
    let mut touch = Touch::default();
    touch.users.push(b"nobody");
    single.sink.touch(&touch, &mut Amiss::default()).unwrap();
    assert!(single.get("nobody").is_none(), "one record alone is no batch to the client");
}
