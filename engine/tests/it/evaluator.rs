//! The engine as another program has it.

use cohort_engine::{Evaluator, ResultKind, Settings};

const SEGMENTS: &str = "CREATE SEGMENT buyers AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') \
    WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING count(*) >= 2;";

fn purchase(user: &str, time: i64) -> String {
    format!("{{\"userId\":\"{user}\",\"eventType\":\"purchase\",\"timestamp\":{time},\"value\":1}}\n")
}

#[test]
fn memberships_begin_and_end_as_events_come() {
    let settings = Settings { out_of_orderness: 0, ..Settings::default() };
    let mut evaluator = Evaluator::of_sql(SEGMENTS, settings).expect("segments");
    let first = purchase("ada", 1_000) + &purchase("bob", 2_000) + "no event\n" + &purchase("ada", 3_000);
    let seen: Vec<_> = evaluator.push(first.as_bytes()).expect("events").map(|o| (o.user.to_string(), o.segment.to_string(), o.row.qualified)).collect();
    assert_eq!(seen, [("ada".to_string(), "buyers".to_string(), true)]);
    assert_eq!(evaluator.rejected().iter().map(|r| r.record).collect::<Vec<_>>(), [2]);
    assert_eq!(evaluator.segments_of("ada").collect::<Vec<_>>(), ["buyers"]);
    assert_eq!(evaluator.segments_of("bob").count() + evaluator.segments_of("nobody").count(), 0);

    let kinds: Vec<ResultKind> = evaluator.push(purchase("bob", 10_500).as_bytes()).expect("events").map(|o| o.row.kind).collect();
    assert_eq!(kinds, [ResultKind::Final]);
    evaluator.push(purchase("ada", 4_000).as_bytes()).expect("events").for_each(drop);
    assert_eq!(evaluator.late(), 1);
    let ended: Vec<(ResultKind, bool)> = evaluator.finish().expect("an end").map(|o| (o.row.kind, o.row.qualified)).collect();
    assert_eq!(ended, [(ResultKind::Exit, false)]);
    assert_eq!(evaluator.segments_of("ada").count(), 0);
}

#[test]
fn wrong_segments_are_explained() {
    let wrong = Evaluator::of_sql("CREATE SEGMENT x AS SELECT", Settings::default()).map(drop);
    assert!(wrong.expect_err("a finding").to_string().contains("segments:1:"));
}
