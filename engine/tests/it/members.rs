//! Where nobody asks who is a member, windows come to the same.

use proptest::prelude::*;

use crate::run::{Line, Run, SEGMENTS, batches, differences, events, program, some_segments};

/// All results of a run, in the order of its batches.
fn results(mut run: Run, batches: &[&[crate::run::Event]]) -> (Run, Vec<Line>) {
    let mut lines: Vec<Line> = batches.iter().flat_map(|batch| run.batch(batch)).collect();
    lines.extend(run.finish());
    (run, lines)
}

fn without_exits(lines: Vec<Line>) -> Vec<Line> {
    lines.into_iter().filter(|line| line.kind != "Exit").collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn without_members_windows_come_to_the_same(
        events in events(false),
        sizes in prop::collection::vec(1usize..60, 1..5),
        kept in prop::collection::vec(any::<bool>(), 16),
    ) {
        // Derived segments need those that they are over.
        let base = SEGMENTS.lines().filter(|line| !line.is_empty()).map(|line| !line.contains(" JOIN ")).collect::<Vec<_>>();
        let some = some_segments(|i| kept[i] && base[i]);
        prop_assume!(!some.is_empty());
        for sql in [SEGMENTS, &some] {
            let (program, batches) = (program(sql), batches(&events, &sizes));
            let (_, followed) = results(Run::new(&program), &batches);
            let mut run = Run::new(&program);
            run.partition = run.partition.without_members();
            let (run, alone) = results(run, &batches);
            let (followed, alone) = (without_exits(followed), without_exits(alone));
            prop_assert_eq!(differences(&followed, &alone), Vec::<String>::new());
            prop_assert_eq!(followed.len(), alone.len());
            // All segments together have some that read members, which are kept for them.
            if !run.partition.keeps_members() {
                prop_assert!(run.partition.membership().is_empty());
                prop_assert_eq!(run.partition.membership().due().count(), 0);
            }
        }
    }
}

/// Many users come once each, with ids longer than those that are kept beside them; a few come twice, and qualify when their window closes. That is in the batch
/// after which the others are forgotten.
#[test]
fn users_of_results_have_their_names_when_others_are_forgotten() {
    use std::collections::BTreeSet;

    use cohort_engine::decode::json::{JsonDecoder, split_lines};
    use cohort_engine::decode::{EventBatch, Topics};
    use cohort_engine::events::projection;
    use cohort_engine::{Late, Partition};

    const QUALIFY: usize = 500;
    let sql = "CREATE SEGMENT twice AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               GROUP BY user_id, window_start, window_end HAVING count(*) > 1;\n";
    let program = program(sql);
    let name = |user: usize| format!("0190a1b2-c3d4-7e5f-8a9b-{user:012}");
    let event = |user: usize, time: usize| format!("{{\"userId\":\"{}\",\"eventType\":\"view\",\"timestamp\":{time},\"value\":1}}\n", name(user));
    let mut lines: Vec<String> = (0..65_300).map(|user| event(user, user)).collect();
    lines.extend((0..QUALIFY).map(|user| event(user, 100_000 + user)));
    // What closes the window, and then more users than are kept without being looked at; some long after.
    lines.extend((0..8_000).map(|user| event(1_000_000 + user, 340_000 + user)));
    lines.extend((0..200_000).map(|user| event(2_000_000 + user, 400_000 + user * 10)));
    for with_members in [true, false] {
        let partition = Partition::new(program.clone(), Default::default());
        let mut partition = if with_members { partition } else { partition.without_members() };
        let mut decoder = JsonDecoder::new(projection(&program));
        let (mut finals, mut exits) = (BTreeSet::new(), BTreeSet::new());
        for chunk in lines.chunks(8_192) {
            let data = chunk.concat();
            let (mut spans, mut batch, mut rejected, mut late, mut rows) = (vec![], EventBatch::default(), vec![], Late::default(), vec![]);
            split_lines(data.as_bytes(), &mut spans);
            decoder.decode(data.as_bytes(), &spans, Topics::None, &mut batch, &mut rejected);
            partition.process(&batch, &mut rows, &mut late).expect("a batch");
            partition.advance(partition.watermark().expect("events"), &mut rows).expect("a close");
            for row in &rows {
                let told = if row.qualified { &mut finals } else { &mut exits };
                told.insert(partition.users().name(row.user).to_string());
            }
        }
        let expected: BTreeSet<String> = (0..QUALIFY).map(name).collect();
        assert_eq!(finals, expected);
        assert_eq!(exits, if with_members { expected } else { BTreeSet::new() });
        assert!(partition.users().len() < 250_000, "nobody was forgotten");
    }
}
