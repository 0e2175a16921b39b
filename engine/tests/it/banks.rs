//! Windows of several sizes over the same events share a record a user; each must come to what it would alone.

use proptest::prelude::*;

use crate::run::{Event, Line, Run, events, program, some_segments};

/// What segments select, have and emit, for windows of one size.
const SHAPES: [(&str, &str, &str); 6] = [
    ("count(*)", "count(*) >= 2", ""),
    ("sum(value)", "sum(value) > 40", ""),
    ("sum(value)", "sum(value) < 30", ""),
    ("count(*)", "count(*) = 2", "EMIT FINAL"),
    ("avg(value)", "avg(value) > 20 AND max(value) < 50", "EMIT CHANGES"),
    ("count(DISTINCT metadata['k'])", "count(DISTINCT metadata['k']) >= 2", "EMIT CHANGES"),
];

fn segment(size: i64, shape: usize) -> String {
    let (value, having, emit) = SHAPES[shape];
    format!(
        "CREATE SEGMENT s{size}_{shape} AS SELECT user_id, {value} AS value FROM TUMBLE(events, event_time, INTERVAL '{size} seconds') \
         WHERE event_type <> 'install' GROUP BY user_id, window_start, window_end HAVING {having} {emit};\n"
    )
}

/// What segments come to over events in batches; `passes` says after which of them time passes, and `restarts` after which state goes through
/// tables.
fn run(sql: &str, events: &[Event], batch: usize, passes: &[bool], restarts: &[bool]) -> Vec<Line> {
    let mut run = Run::new(&program(sql));
    let mut lines = vec![];
    for ((some, passes), restarts) in events.chunks(batch).zip(passes.iter().cycle()).zip(restarts.iter().cycle()) {
        lines.extend(run.take(some, *passes));
        if *restarts {
            run.restart();
        }
    }
    lines.extend(run.finish());
    lines.sort();
    lines
}

/// A segment that nobody is in, of a kind that has its family's groups looked at the general way.
fn general(size: i64) -> String {
    segment(size, 0).replace(&format!("s{size}_0"), &format!("general{size}")).replace("count(*) >= 2", "min(value) > 1000000")
}

/// Segments that nobody is in, over more filters than are looked at after each batch.
fn idle() -> String {
    let segment = |i: usize| {
        format!(
            "CREATE SEGMENT idle{i} AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '1 minute') WHERE metadata['k'] = 'idle{i}' \
             GROUP BY user_id, window_start, window_end HAVING count(*) > 100;\n"
        )
    };
    (0..70).map(segment).collect()
}

#[test]
fn a_window_that_begins_after_others_closed_within_a_batch_is_closed() {
    let sql = "CREATE SEGMENT hops AS SELECT user_id, count(*) AS value FROM HOP(events, event_time, INTERVAL '5 minutes', INTERVAL '10 minutes') \
               GROUP BY user_id, window_start, window_end HAVING count(*) >= 1;\n\
               CREATE SEGMENT buyers AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING count(*) >= 1;\n";
    let mut run = Run::new(&program(&format!("{sql}{}", idle())));
    let minute = |minute: i64, user: u8, kind: u8| -> Event { (user, kind, minute * 60_000, Some(10), 0) };
    let mut lines = run.take(&[minute(0, 1, 1)], true);
    // The second is late for windows that the first has not closed yet. Measures are not looked at after this batch.
    lines.extend(run.take(&[minute(60, 1, 1), minute(1, 2, 1), minute(61, 1, 0)], true));
    lines.extend(run.finish());
    let closed = lines.iter().filter(|line| line.segment == "buyers" && line.kind.starts_with("Final")).count();
    assert_eq!(closed, 1, "{lines:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn banks_that_are_looked_at_now_and_then_come_to_the_same(
        kept in prop::collection::vec(any::<bool>(), 11),
        rare in prop::collection::vec(0usize..12, 0..4),
        events in events(false),
        batch in 1usize..80,
        passes in prop::collection::vec(prop::bool::weighted(0.4), 1..8),
    ) {
        let of_one_type = |i: &usize| {
            format!(
                "CREATE SEGMENT rare{i} AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '{} seconds') \
                 WHERE event_type = '{}' AND metadata['k'] = '{}' GROUP BY user_id, window_start, window_end HAVING count(*) >= 1;\n",
                [7, 20, 60][i % 3], ["purchase", "install"][i % 2], ["a", "d"][i / 6],
            )
        };
        let rare: std::collections::BTreeSet<usize> = rare.into_iter().collect();
        // Those from the twelfth on read others.
        let few: String = some_segments(|i| kept[0] || i < 11 && kept[i]) + &rare.iter().map(of_one_type).collect::<String>();
        let never = [false];
        prop_assert_eq!(run(&format!("{few}{}", idle()), &events, batch, &passes, &never), run(&few, &events, batch, &passes, &never));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 4_000, ..ProptestConfig::default() })]
    #[test]
    fn windows_of_many_sizes_are_what_each_is_alone(
        chosen in prop::collection::btree_set((prop::sample::select(vec![1i64, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90]), 0usize..6), 1..16),
        events in events(false),
        batch in 1usize..60,
        passes in prop::collection::vec(prop::bool::weighted(0.4), 1..8),
        restarts in prop::collection::vec(prop::bool::weighted(0.2), 1..8),
    ) {
        let together: String = chosen.iter().map(|&(size, shape)| segment(size, shape)).collect();
        let mut alone: Vec<Line> = chosen.iter().flat_map(|&(size, shape)| run(&segment(size, shape), &events, batch, &passes, &[false])).collect();
        alone.sort();
        prop_assert_eq!(run(&together, &events, batch, &passes, &restarts), alone);
    }

    #[test]
    fn counts_and_sums_are_what_they_are_the_general_way(
        chosen in prop::collection::btree_set((prop::sample::select(vec![1i64, 5, 10, 30]), 0usize..8), 1..12),
        events in events(false),
        below in 0i32..400,
        batch in 1usize..60,
        passes in prop::collection::vec(prop::bool::weighted(0.4), 1..8),
        restarts in prop::collection::vec(prop::bool::weighted(0.2), 1..8),
    ) {
        // Some sums fall.
        let events: Vec<Event> = events.into_iter().map(|(user, kind, time, value, key)| (user, kind, time, value.map(|v| v - below), key)).collect();
        let shapes = [
            ("count(*) >= 2", ""),
            ("count(*) < 3", "EMIT CHANGES"),
            ("count(*) = 2", "EMIT CHANGES"),
            ("sum(value) > 25", "EMIT CHANGES"),
            ("sum(value) <= 10", "EMIT CHANGES"),
            ("sum(value) < -5", "EMIT FINAL"),
            ("count(*) <> 2", "EMIT FINAL"),
            ("sum(value) > 0", ""),
        ];
        let segment = |&(size, shape): &(i64, usize)| {
            let (having, emit) = shapes[shape];
            format!(
                "CREATE SEGMENT t{size}_{shape} AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '{size} seconds') \
                 WHERE event_type <> 'install' GROUP BY user_id, window_start, window_end HAVING {having} {emit};\n"
            )
        };
        let usual: String = chosen.iter().map(segment).collect();
        let sizes: std::collections::BTreeSet<i64> = chosen.iter().map(|(size, _)| *size).collect();
        let general: String = usual.clone() + &sizes.iter().map(|size| general(*size)).collect::<String>();
        let lines = run(&usual, &events, batch, &passes, &restarts);
        prop_assert_eq!(lines, run(&general, &events, batch, &passes, &[false]));
    }

    #[test]
    fn sizes_that_come_and_go_leave_the_others_as_they_are(
        events in events(false),
        batch in 1usize..60,
        passes in prop::collection::vec(prop::bool::weighted(0.4), 1..8),
        steps in prop::collection::vec(prop::collection::btree_set(prop::sample::select(vec![1i64, 3, 5, 10, 30]), 0..4), 1..6),
    ) {
        let sql = |sizes: &std::collections::BTreeSet<i64>| sizes.iter().chain(&[2]).map(|&size| segment(size, 0) + &segment(size, 5)).collect::<String>();
        let of_two = |lines: Vec<Line>| lines.into_iter().filter(|line| line.segment.starts_with("s2_")).collect::<Vec<_>>();
        let mut changing = Run::new(&program(&sql(&steps[0])));
        let (mut lines, mut alone) = (vec![], run(&(segment(2, 0) + &segment(2, 5)), &events, batch, &passes, &[false]));
        for (i, (some, passes)) in events.chunks(batch).zip(passes.iter().cycle()).enumerate() {
            lines.extend(of_two(changing.take(some, *passes)));
            let rows = changing.adopt(&program(&sql(&steps[i % steps.len()])), None);
            prop_assert_eq!(of_two(rows), vec![]);
        }
        lines.extend(of_two(changing.finish()));
        lines.sort();
        alone.sort();
        prop_assert_eq!(lines, alone);
    }
}
