//! Saved state goes on as if nothing had happened; a change of program disturbs nothing that it does not change.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::run::{Line, Run, batches, differences, encoded, events, program, some_segments};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, max_shrink_iters: 4_000, ..ProptestConfig::default() }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..60, 1..8)
}

fn of(lines: &[Line], segments: &BTreeSet<String>) -> Vec<Line> {
    lines.iter().filter(|l| segments.contains(&l.segment)).cloned().collect()
}

/// What windows came to. What is said early may differ: where overlapping windows close within a batch, changes of
/// all segments are found before and after. So may the last bits of a standard deviation, to which the parts of such
/// a batch are added one after the other.
fn finals(lines: &[Line], segments: &BTreeSet<String>) -> Vec<Line> {
    of(lines, segments).into_iter().filter(|l| l.kind == "Final").collect()
}

/// The finals that one of two runs has and the other has not.
fn other_finals(plain: &[Line], changed: &[Line], segments: &BTreeSet<String>) -> Vec<String> {
    let (plain, mut changed) = (finals(plain, segments), finals(changed, segments));
    for line in &mut changed {
        if let Some(like) = plain.iter().find(|l| l.segment == "odd" && is_but_for_rounding(l, line)) {
            line.value = like.value;
        }
    }
    differences(&plain, &changed)
}

fn is_but_for_rounding(a: &Line, b: &Line) -> bool {
    let (Some(x), Some(y)) = (a.value.map(f64::from_bits), b.value.map(f64::from_bits)) else { return false };
    (x - y).abs() <= 1e-12 * x.abs() && Line { value: None, ..a.clone() } == Line { value: None, ..b.clone() }
}

/// Without what is taken back of sessions: it names the window by which the session was reported, and a new
/// segment reports sessions as they stand.
fn settled(mut lines: Vec<Line>) -> Vec<Line> {
    lines.retain(|l| l.segment != "visit" || l.qualified || l.kind != "Change");
    lines
}

fn names(sql: &str) -> BTreeSet<String> {
    program(sql).segments.iter().map(|s| s.name.clone()).collect()
}

/// A text with some of the segments, in which every segment finds those that it reads.
fn closed(keep: &[bool]) -> Vec<bool> {
    let mut keep = keep.to_vec();
    let reads: [(usize, &[usize]); 4] = [(14, &[3, 8, 11]), (13, &[3, 4]), (12, &[0, 2]), (11, &[0, 1])];
    for (segment, inputs) in reads {
        if keep[segment] {
            inputs.iter().for_each(|i| keep[*i] = true);
        }
    }
    // The derived segment 14 reads another derived one.
    if keep[11] {
        (keep[0], keep[1]) = (true, true);
    }
    keep
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn state_in_files_gives_the_same_results(events in events(false), sizes in sizes(), spills in prop::collection::vec(any::<bool>(), 40)) {
        let program = program(&some_segments(|_| true));
        let folder = tempfile::tempdir().expect("a folder");
        let (mut plain, mut spilled) = (Run::new(&program), Run::spilling(&program, folder.path()));
        for (i, batch) in batches(&events, &sizes).into_iter().enumerate() {
            if spills[i % spills.len()] {
                spilled.partition.spill().expect("files");
                prop_assert!(spilled.partition.spilled() > 0 || spilled.partition.groups() == 0);
            }
            prop_assert_eq!(plain.batch(batch), spilled.batch(batch));
        }
        prop_assert_eq!(plain.partition.spilled(), 0);
        prop_assert_eq!(plain.finish(), spilled.finish());
    }

    #[test]
    fn a_restart_changes_nothing(events in events(false), sizes in sizes(), restarts in prop::collection::vec(any::<bool>(), 40)) {
        let program = program(&some_segments(|_| true));
        let (mut plain, mut restarted) = (Run::new(&program), Run::new(&program));
        for (i, batch) in batches(&events, &sizes).into_iter().enumerate() {
            if restarts[i % restarts.len()] {
                prop_assert_eq!(restarted.restart(), Default::default());
            }
            let (plain_lines, restarted_lines) = (plain.batch(batch), restarted.batch(batch));
            prop_assert_eq!(differences(&plain_lines, &restarted_lines), Vec::<String>::new());
            prop_assert_eq!(plain.members(), restarted.members());
            prop_assert_eq!(&plain.sink, &plain.members());
        }
        prop_assert_eq!(plain.finish(), restarted.finish());
        prop_assert_eq!(&restarted.sink, &restarted.members());
    }

    #[test]
    fn what_a_sink_keeps_survives_kills(
        events in events(false),
        lives in prop::collection::vec((sizes(), 1usize..12, 0usize..12), 1..6),
        last in sizes(),
    ) {
        let program = program(&some_segments(|_| true));
        // Each life reads on from the last checkpoint in batches of its own, and ends some batches after another
        // checkpoint; the sink keeps what it was given. Once a life has read what was there when it began, it tells
        // the sink all members.
        let (mut run, mut saved, mut read) = (Run::new(&program), encoded(&Run::new(&program).partition.save().expect("saved state")), 0);
        let mut furthest = 0;
        for (sizes, until_checkpoint, until_kill) in lives {
            run.restore(&saved);
            run.partition.watch();
            let (start, end) = (read, furthest);
            let (mut at, mut behind) = (start, true);
            for (n, batch) in batches(&events[start..], &sizes).into_iter().enumerate().take(until_checkpoint + until_kill) {
                if behind && at >= end {
                    run.tell();
                    behind = false;
                }
                if n == until_checkpoint {
                    (saved, read) = (encoded(&run.partition.save().expect("saved state")), at);
                }
                run.batch(batch);
                at += batch.len();
                furthest = furthest.max(at);
            }
        }
        run.restore(&saved);
        run.partition.watch();
        for batch in batches(&events[read..], &last) {
            run.batch(batch);
        }
        run.tell();
        prop_assert_eq!(&run.sink, &run.members());
    }

    #[test]
    fn a_change_of_program_disturbs_no_other_segment(
        events in events(false),
        sizes in sizes(),
        before in prop::collection::vec(any::<bool>(), 16),
        after in prop::collection::vec(any::<bool>(), 16),
        at in 0usize..30,
    ) {
        let (before, after) = (closed(&before), closed(&after));
        prop_assume!(before.contains(&true) && after.contains(&true));
        let (old, new) = (some_segments(|i| before[i]), some_segments(|i| after[i]));
        let kept = names(&old).intersection(&names(&new)).cloned().collect::<BTreeSet<_>>();
        let (mut plain, mut changed) = (Run::new(&program(&old)), Run::new(&program(&old)));
        let new = program(&new);
        for (i, batch) in batches(&events, &sizes).into_iter().enumerate() {
            if i == at {
                let lines = changed.adopt(&new, None);
                prop_assert!(of(&lines, &kept).is_empty(), "{:?}", lines);
                prop_assert_eq!(&changed.sink, &changed.members());
            }
            let of_kept = |members: BTreeSet<(String, String)>| members.into_iter().filter(|(s, _)| kept.contains(s)).collect::<Vec<_>>();
            prop_assert_eq!(of_kept(plain.members()), of_kept(changed.members()));
            let (plain_lines, changed_lines) = (plain.batch(batch), changed.batch(batch));
            prop_assert_eq!(other_finals(&plain_lines, &changed_lines, &kept), Vec::<String>::new());
            prop_assert_eq!(&changed.sink, &changed.members());
        }
        let (plain_lines, changed_lines) = (plain.finish(), changed.finish());
        prop_assert_eq!(other_finals(&plain_lines, &changed_lines, &kept), Vec::<String>::new());
    }

    #[test]
    fn a_change_of_program_is_the_same_in_memory_and_through_tables(
        events in events(false),
        sizes in sizes(),
        programs in prop::collection::vec((prop::collection::vec(any::<bool>(), 16), 0usize..4, prop::option::weighted(0.3, 20u32..80)), 2..5),
        every in 1usize..12,
    ) {
        // Programs of any of the segments, with further ones over the same groups, and one that means something else.
        let over = |sum: usize| format!(
            "CREATE SEGMENT t{sum} AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') \
             WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > {sum};
             CREATE SEGMENT h{sum} AS SELECT user_id, sum(value) AS value FROM HOP(events, event_time, INTERVAL '4 seconds', INTERVAL '20 seconds') \
             GROUP BY user_id, window_start, window_end HAVING sum(value) > {sum} EMIT FINAL;
             CREATE SEGMENT v{sum} AS SELECT user_id FROM SESSION(events, event_time, INTERVAL '4 seconds') \
             GROUP BY user_id, window_start, window_end HAVING count(*) >= {};", sum / 10);
        let sql = |(keep, more, spent): &(Vec<bool>, usize, Option<u32>)| {
            let keep = closed(keep);
            let text = format!("{}{}", some_segments(|i| keep[i]), (1..=*more).map(|i| over(i * 20)).collect::<String>());
            spent.map_or(text.clone(), |spent| text.replace("sum(value) > 60", &format!("sum(value) > {spent}")))
        };
        let programs: Vec<_> = programs.iter().filter(|(keep, more, _)| keep.contains(&true) || *more > 0).map(|p| program(&sql(p))).collect();
        prop_assume!(programs.len() > 1);
        let (mut memory, mut tables, mut turn) = (Run::new(&programs[0]), Run::new(&programs[0]), 0);
        for (i, batch) in batches(&events, &sizes).into_iter().enumerate() {
            if i % every == every - 1 {
                turn += 1;
                let new = &programs[turn % programs.len()];
                let mut lines = (memory.adopt(new, None), tables.adopt_through_tables(new));
                lines.0.sort();
                lines.1.sort();
                prop_assert_eq!(differences(&lines.0, &lines.1), Vec::<String>::new());
                prop_assert_eq!(&memory.sink, &memory.members());
            }
            let (a, b) = (memory.batch(batch), tables.batch(batch));
            prop_assert_eq!(differences(&a, &b), Vec::<String>::new());
            prop_assert_eq!(memory.members(), tables.members());
            prop_assert_eq!(&memory.sink, &memory.members());
        }
        prop_assert_eq!(differences(&memory.finish(), &tables.finish()), Vec::<String>::new());
    }

    #[test]
    fn a_segment_over_known_groups_is_warm_at_once(events in events(false), sizes in sizes(), at in 0usize..30) {
        let old = program(&some_segments(|_| true));
        let more = format!(
            "{}CREATE SEGMENT big AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '10 seconds') \
             WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 40;
             CREATE SEGMENT busier AS SELECT user_id, sum(value) AS value FROM HOP(events, event_time, INTERVAL '4 seconds', INTERVAL '20 seconds') \
             GROUP BY user_id, window_start, window_end HAVING sum(value) > 50;
             CREATE SEGMENT in_both AS SELECT a.user_id FROM big a JOIN busier b USING (user_id);",
            some_segments(|_| true)
        );
        let new = program(&more);
        let (mut whole, mut changed) = (Run::new(&new), Run::new(&old));
        let fresh = BTreeSet::from(["big".to_string(), "busier".to_string()]);
        for (i, batch) in batches(&events, &sizes).into_iter().enumerate() {
            if i == at {
                changed.adopt(&new, None);
            }
            let (whole_lines, changed_lines) = (whole.batch(batch), changed.batch(batch));
            if i >= at {
                let changes = |lines: &[Line]| of(lines, &fresh).into_iter().filter(|l| l.kind != "Exit").collect::<Vec<_>>();
                prop_assert_eq!(differences(&changes(&whole_lines), &changes(&changed_lines)), Vec::<String>::new());
                prop_assert_eq!(&changed.sink, &changed.members());
            }
        }
    }

    #[test]
    fn a_backfilled_segment_is_as_if_it_had_always_been(
        events in events(true),
        sizes in sizes(),
        before in prop::collection::vec(any::<bool>(), 16),
        at in 0usize..30,
    ) {
        let before = closed(&before);
        prop_assume!(before.contains(&true));
        let (old, all) = (program(&some_segments(|i| before[i])), program(&some_segments(|_| true)));
        let (mut whole, mut changed) = (Run::new(&all), Run::new(&old));
        for (i, batch) in batches(&events, &sizes).into_iter().enumerate() {
            if i == at {
                let backfill = encoded(&whole.partition.save().expect("saved state"));
                changed.adopt(&all, Some(&backfill));
                prop_assert_eq!(whole.members(), changed.members());
                prop_assert_eq!(&changed.sink, &changed.members());
            }
            let (whole_lines, changed_lines) = (whole.batch(batch), changed.batch(batch));
            if i >= at {
                prop_assert_eq!(differences(&settled(whole_lines), &settled(changed_lines)), Vec::<String>::new());
                prop_assert_eq!(whole.members(), changed.members());
            }
        }
        if batches(&events, &sizes).len() > at {
            prop_assert_eq!(differences(&settled(whole.finish()), &settled(changed.finish())), Vec::<String>::new());
        }
    }
}
