//! What `record::size` counts is what the client sends and what the server holds.

use std::collections::BTreeMap;

use cohort_connectors::aerospike::record::{Change, size};
use cohort_engine::ResultRow;
use cohort_engine::sink::{Amiss, ResultBatch, Sink};

use crate::aerospike::{One, batch, bench, members, names, options, row, server};

/// Bytes that a flush should be, and those that the server got.
fn both(batches: &[ResultBatch]) -> (usize, usize) {
    let double = server();
    let mut options = options(&double.address());
    // All in one call, to one node.
    options.batch = 5_000;
    let mut one = bench(options.clone());
    let mut changes: BTreeMap<&str, Change<'_>> = BTreeMap::new();
    for batch in batches {
        (0..batch.rows.len()).for_each(|row| changes.entry(batch.user(row)).or_default().add(batch, row));
    }
    let counted: usize = changes.iter().map(|(user, change)| change.bytes(user, &options.namespace, &options.set)).sum();
    one.sink.write(batches, &mut Amiss::default()).unwrap();
    (size::CALL + counted, double.counts().record_bytes as usize)
}

#[test]
fn changes_are_counted_as_they_are_sent() {
    let flushes: [&[One]; 5] = [
        &[(1, 0, true, 1_750_000_000_001), (2, 0, true, 1_750_000_000_001)],
        &[(1, 0, false, 1_750_000_000_001), (2, 0, false, 1_750_000_000_001)],
        &[(1, 0, true, 99), (2, 1, false, 70_000), (3, 2, true, 5_000_000_000)],
        &[(1, 0, true, 3), (1, 1, false, 60_200), (1, 2, true, 300), (1, 3, false, 4), (2, 1, true, 5)],
        &[(200, 3, true, 120_000), (2, 3, true, 127)],
    ];
    for flush in flushes {
        let (counted, sent) = both(&[batch(flush)]);
        assert_eq!(counted, sent, "{flush:?}");
    }
}

#[test]
fn long_names_and_many_segments_are_counted_as_they_are_sent() {
    let mut many = ResultBatch { names: crate::aerospike::many_names(40), ..ResultBatch::default() };
    for user in 0..60 {
        for segment in 0..=(user % 40) {
            many.users.push(format!("{user:0>300}").as_bytes());
            many.member.push((user + segment) % 3 != 0);
            many.rows.push(ResultRow { value: (segment % 2 == 0).then_some(0.5), ..row(segment, 1_750_000_000_000) });
        }
    }
    let (counted, sent) = both(&[many]);
    assert_eq!(counted, sent);
}

#[test]
fn records_are_counted_as_they_are_held() {
    let double = server();
    let options = options(&double.address());
    let set = options.set.clone();
    let mut one = bench(options);
    let batch = members(&[(1, &[0, 2, 3]), (2, &[1]), (3, &[])], 1_750_000_000_000);
    one.sink.replace(&batch).unwrap();
    for (user, rows) in batch.iter() {
        let mut held = vec![];
        let record = double.record(&set, user).unwrap();
        record.bins.iter().for_each(|(_, value)| _ = value.to_particle(&mut held));
        assert_eq!(size::record(user, &names(), rows), held.len(), "{user}");
    }
}
