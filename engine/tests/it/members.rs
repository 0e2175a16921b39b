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
