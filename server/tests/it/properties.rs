//! Properties: a replay says what the oracle says, for random segments over random input, whatever
//! the batch size and the numbers of partitions and workers.
//!
//! `PROPTEST_CASES` sets how many cases each property tries.

use crate::model::{Agg, Emit, Func, JoinKind, Num, On, Query, Segment, Window};
use crate::oracle::{Config, Key, Output, evaluate};
use crate::oracle_gen::{Case, Profile, case};
use crate::replay::{EmitMode, Replayed, ResultLine, replay};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::collections::BTreeMap;

/// A property tries so many cases by default. What fails is kept in a file beside this one, to be
/// committed, and tried first from then on.
fn config(cases: u32) -> ProptestConfig {
    let from_environment = std::env::var_os("PROPTEST_CASES").is_some();
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: if from_environment { default.cases } else { cases },
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        // Each step of shrinking starts the program.
        max_shrink_iters: 2_000,
        ..default
    }
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn final_results_are_those_of_the_oracle(case in case(Profile::Ordinary)) {
        agree(&case, EmitMode::Final)?;
    }

    #[test]
    fn early_results_end_as_the_final_ones(case in case(Profile::Ordinary)) {
        agree(&case, EmitMode::AsWritten)?;
    }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn extreme_values_are_exact(case in case(Profile::Extreme)) {
        agree(&case, EmitMode::Final)?;
    }

    #[test]
    fn broken_lines_are_dead_letters_and_change_nothing(case in case(Profile::Hostile)) {
        agree(&case, EmitMode::Final)?;
    }
}

/// Fails unless a replay of the case agrees with the oracle.
fn agree(case: &Case, emit: EmitMode) -> Result<(), TestCaseError> {
    let expected = evaluate(&case.segments, &case.lines, &Config::replay(case.partitions));
    let replayed = replay(case, emit).map_err(TestCaseError::fail)?;
    compare(case, emit, &expected, &replayed).map_err(TestCaseError::fail)
}

/// What differs between the oracle's output and the replay's.
pub fn compare(case: &Case, emit: EmitMode, expected: &Output, replayed: &Replayed) -> Result<(), String> {
    let mut differences = Vec::new();
    counts(expected, replayed, &mut differences);
    let mut lines: BTreeMap<&str, Vec<&ResultLine>> = BTreeMap::new();
    for line in &replayed.results {
        lines.entry(&line.segment).or_default().push(line);
    }
    for segment in &case.segments {
        let lines = lines.remove(segment.name.as_str()).unwrap_or_default();
        let expected = &expected.finals[&segment.name];
        let only_final = emit == EmitMode::Final || segment.emit == Some(Emit::Final);
        if only_final || has_windows(segment) {
            results(case, segment, only_final, expected, &lines, &mut differences);
        }
    }
    for (unknown, lines) in lines {
        differences.push(format!("{unknown}: {} unexpected results", lines.len()));
    }
    for member in expected.memberships.difference(&replayed.memberships) {
        differences.push(format!("missing member {member:?}"));
    }
    for member in replayed.memberships.difference(&expected.memberships) {
        differences.push(format!("unexpected member {member:?}"));
    }
    if differences.is_empty() {
        return Ok(());
    }
    let total = differences.len();
    differences.truncate(20);
    Err(format!("{total} differences:\n{}", differences.join("\n")))
}

fn counts(expected: &Output, replayed: &Replayed, differences: &mut Vec<String>) {
    let mut dead_letters: BTreeMap<String, u64> = expected.dead_letters.iter().map(|(reason, n)| ((*reason).to_owned(), *n as u64)).collect();
    if expected.late > 0 {
        dead_letters.insert("late".to_owned(), expected.late as u64);
    }
    let mut compare = |what: &str, expected: &dyn std::fmt::Debug, got: &dyn std::fmt::Debug| {
        let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
        if expected != got {
            differences.push(format!("{what}: expected {expected}, got {got}"));
        }
    };
    compare("events", &expected.events, &replayed.events);
    compare("late", &expected.late, &replayed.late);
    compare("dead letters", &dead_letters, &replayed.dead_letters);
    let total: u64 = dead_letters.values().sum();
    compare("dead letters", &total, &replayed.dead_letter_total);
    compare("kept dead letters", &dead_letters, &replayed.kept_dead_letters);
}

/// Compares the final results of one segment.
fn results(case: &Case, segment: &Segment, only_final: bool, expected: &BTreeMap<Key, Option<f64>>, lines: &[&ResultLine], differences: &mut Vec<String>) {
    let name = &segment.name;
    let finals = if only_final {
        let qualified = lines.iter().filter(|line| line.qualified);
        let finals: BTreeMap<&Key, Option<f64>> = qualified.clone().map(|l| (&l.key, l.value)).collect();
        if finals.len() < qualified.count() {
            differences.push(format!("{name}: a second final result for a window"));
        }
        finals
    } else {
        last_results(expected, lines)
    };
    let exact = is_exact(&case.segments, segment);
    for (key, value) in expected {
        match finals.get(key) {
            None => differences.push(format!("{name}: missing {key:?} with {value:?}")),
            Some(got) if equal(*value, *got, exact) => {}
            Some(got) => {
                differences.push(format!("{name}: {key:?} expected {value:?}, got {got:?}"));
            }
        }
    }
    for (key, value) in finals {
        if !expected.contains_key(key) {
            differences.push(format!("{name}: unexpected {key:?} with {value:?}"));
        }
    }
}

/// The state that a segment's early and final results leave behind, by window.
///
/// After the final result of a window the user may leave the segment, which is a result of the
/// same window that does not qualify. So a window that is expected counts if ever it qualified,
/// and any other counts unless that was taken back.
fn last_results<'l>(expected: &BTreeMap<Key, Option<f64>>, lines: &[&'l ResultLine]) -> BTreeMap<&'l Key, Option<f64>> {
    let mut finals = BTreeMap::new();
    for line in lines {
        if line.qualified {
            finals.insert(&line.key, line.value);
        } else if !expected.contains_key(&line.key) {
            finals.remove(&line.key);
        }
    }
    finals
}

/// Equal, to within rounding unless it must be exact.
fn equal(expected: Option<f64>, got: Option<f64>, exact: bool) -> bool {
    match (expected, got) {
        (Some(a), Some(b)) => a == b || !exact && (a - b).abs() <= 1e-9 * a.abs().max(1.0),
        (a, b) => a == b,
    }
}

/// Whether the value must be right to the last bit: counts, minima and maxima, and sums in the
/// windows in which each event is added once.
fn is_exact(segments: &[Segment], segment: &Segment) -> bool {
    let of = |name: &String| segments.iter().any(|s| s.name == *name && is_exact(segments, s));
    match &segment.query {
        Query::Base(base) => {
            let tumbles = matches!(base.window, Window::Tumble { .. });
            let rounds = |agg: &Agg| match agg.func {
                Func::Sum | Func::SumOrZero => !tumbles,
                Func::Avg | Func::Stddev | Func::VarPop | Func::Median => true,
                _ => false,
            };
            base.value.as_ref().is_none_or(|v| !v.any(&rounds))
        }
        Query::Join(join) => {
            let inner = join.rest.iter().filter(|(kind, _)| *kind == JoinKind::Inner);
            let column = matches!(join.value, None | Some(Num::Leaf(_)));
            column && of(&join.first) && inner.into_iter().all(|(_, name)| of(name))
        }
        Query::Set { branches, .. } => branches.iter().all(of),
        Query::Rules { .. } => true,
        Query::Fold { .. } => false,
    }
}

/// Whether early results of the segment are of the same windows as its final ones.
fn has_windows(segment: &Segment) -> bool {
    match &segment.query {
        Query::Join(join) => join.on == On::Window,
        Query::Rules { rules, .. } => rules.iter().all(|r| r.minutes == rules[0].minutes),
        Query::Base(_) | Query::Set { .. } | Query::Fold { .. } => true,
    }
}
