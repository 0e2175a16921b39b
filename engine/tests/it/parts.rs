//! Results of windows that close, handed on in parts.

use std::collections::BTreeSet;

use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::{Late, Partition, ResultKind, ResultRow, Results, Settings};

use crate::run::program;

const HOUR: i64 = 3_600_000;
const USERS: u32 = 5_000;

const SEGMENT: &str = "CREATE SEGMENT active AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour') \
                       GROUP BY user_id, window_start, window_end HAVING count(*) >= 1 EMIT FINAL;";

/// What was handed on: who began or ceased to be a member, and when.
#[derive(Default)]
struct Parts {
    rows: Vec<ResultRow>,
    told: BTreeSet<(i64, String, bool)>,
    largest: usize,
}

impl Extend<ResultRow> for Parts {
    fn extend<T: IntoIterator<Item = ResultRow>>(&mut self, rows: T) {
        self.rows.extend(rows);
    }
}

impl Results for Parts {
    fn pause(&mut self, partition: &Partition) {
        self.largest = self.largest.max(self.rows.len());
        for row in self.rows.drain(..) {
            assert_eq!(row.kind, if row.qualified { ResultKind::Final } else { ResultKind::Exit });
            assert_eq!(partition.membership().get(row.segment, row.user).is_some(), row.qualified, "what was told is so by then");
            let is_new = self.told.insert((row.timestamp, partition.users().name(row.user).to_string(), row.qualified));
            assert!(is_new, "nothing is told twice");
        }
    }
}

/// Gives a partition an event of each of some users.
fn take(partition: &mut Partition, users: impl Iterator<Item = u32>, time: i64, out: &mut Parts) {
    let data: String = users.map(|user| format!("{{\"userId\":\"u{user}\",\"eventType\":\"view\",\"timestamp\":{time}}}\n")).collect();
    let (mut spans, mut batch, mut rejected) = (vec![], EventBatch::default(), vec![]);
    split_lines(data.as_bytes(), &mut spans);
    JsonDecoder::new(projection(partition.program())).decode(data.as_bytes(), &spans, Topics::None, &mut batch, &mut rejected);
    partition.process(&batch, out, &mut Late::default()).expect("a batch");
}

#[test]
fn windows_that_close_hand_their_results_on_in_parts() {
    let mut partition = Partition::new(program(SEGMENT), Settings::default());
    let mut out = Parts::default();
    take(&mut partition, 0..USERS, HOUR + 1, &mut out);
    take(&mut partition, (0..USERS).step_by(2), 2 * HOUR + 1, &mut out);
    partition.advance(2 * HOUR, &mut out).expect("a close");
    partition.finish(2 * HOUR + 1, &mut out).expect("the end");
    assert!(out.rows.is_empty(), "nothing is told after the last pause");
    let first = (0..USERS).map(|user| (2 * HOUR, user, true));
    let second = (0..USERS).map(|user| (3 * HOUR, user, user % 2 == 0));
    let expected: BTreeSet<_> = first.chain(second).map(|(time, user, enters)| (time, format!("u{user}"), enters)).collect();
    assert_eq!(out.told, expected);
    assert!((1..=1_024).contains(&out.largest), "{} results at a time", out.largest);
}
