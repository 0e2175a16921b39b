//! Conditions on texts that no dictionary decides, over more texts than their outcomes are remembered for.

use std::collections::BTreeMap;

use cohort_compiler::like::Pattern;
use cohort_engine::decode::json::{JsonDecoder, split_lines};
use cohort_engine::decode::{EventBatch, Topics};
use cohort_engine::events::projection;
use cohort_engine::{Late, Partition, Settings};
use datafusion::arrow::array::StringArray;
use datafusion::arrow::compute::like;
use proptest::prelude::*;

use crate::run::program;

const USERS: u32 = 7;

/// An event's type and session: numbers of many digits, names, one text again and again, or none.
fn event(i: u32) -> (&'static str, Option<String>) {
    let kind = ["view", "purchase", "install"][(i / 3) as usize % 3];
    let session = match i % 5 {
        0 => Some(format!("session-of-a-long-name-{:08}", i.wrapping_mul(2_654_435_761))),
        1 => Some(format!("s{}", i % 1000)),
        2 => Some("always".to_string()),
        3 => Some(format!("{i:x}")),
        _ => None,
    };
    (kind, session)
}

/// What each segment counts, said in Rust.
fn counted(segment: &str, kind: &str, session: Option<&str>) -> bool {
    match segment {
        "seven" => session.is_some_and(|s| s.ends_with('7')),
        "views_of_seven" => kind == "view" && session.is_some_and(|s| s.ends_with('7')),
        "no_digits" => session.is_some_and(|s| !s.contains(|c: char| c.is_ascii_digit())),
        "unlike" => kind == "purchase" && session.is_some_and(|s| !s.starts_with('s')),
        "three_before_end" => session.is_some_and(|s| s.starts_with('s') && s.len() > 3 && s.as_bytes()[s.len() - 3] == b'3'),
        // None has an underscore.
        "not_so" => session.is_some(),
        "short_or_none" => session.is_none_or(|s| s.chars().count() < 4),
        _ => false,
    }
}

const CONDITIONS: [(&str, &str, &str); 7] = [
    ("seven", "session_id LIKE '%7'", "count(*)"),
    ("views_of_seven", "session_id LIKE '%7' AND event_type = 'view'", "count(*)"),
    ("no_digits", "NOT regexp_like(session_id, '[0-9]')", "count(*)"),
    ("unlike", "event_type = 'purchase'", "count(*) FILTER (WHERE session_id NOT LIKE 's%')"),
    ("three_before_end", "session_id LIKE 's%3__'", "count(*)"),
    ("not_so", "session_id NOT LIKE 's_s%of%\\_%'", "count(*)"),
    ("short_or_none", "length(coalesce(session_id, '')) < 4", "count(*)"),
];

#[test]
fn conditions_on_texts_hold_however_many_texts_there_are() {
    let sql: String = CONDITIONS
        .iter()
        .map(|(name, condition, count)| {
            format!(
                "CREATE SEGMENT {name} AS SELECT user_id, {count} AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour') WHERE {condition} \
                 GROUP BY user_id, window_start, window_end HAVING {count} >= 1 EMIT FINAL;\n"
            )
        })
        .collect();
    let program = program(&sql);
    assert!(program.masks.is_empty() && program.matched.len() == 1, "all conditions are decided by text");
    let mut partition = Partition::new(program.clone(), Settings::default());
    let (mut expected, mut sizes): (BTreeMap<(String, String), f64>, Vec<usize>) = (BTreeMap::new(), vec![]);
    let (mut decoder, mut batch, mut rows, mut late) = (JsonDecoder::new(projection(&program)), EventBatch::default(), vec![], Late::default());
    let all: Vec<u32> = (0..700_000).collect();
    for some in all.chunks(10_007) {
        let mut data = String::new();
        for &i in some {
            let (kind, session) = event(i);
            let user = format!("u{}", i % USERS);
            for (segment, ..) in CONDITIONS.iter().filter(|(segment, ..)| counted(segment, kind, session.as_deref())) {
                *expected.entry(((*segment).to_string(), user.clone())).or_default() += 1.0;
            }
            let session = session.map_or("null".into(), |s| format!("\"{s}\""));
            data += &format!("{{\"userId\":\"{user}\",\"eventType\":\"{kind}\",\"timestamp\":{},\"sessionId\":{session}}}\n", 3_600_000 + i);
        }
        let (mut spans, mut rejected) = (vec![], vec![]);
        split_lines(data.as_bytes(), &mut spans);
        decoder.decode(data.as_bytes(), &spans, Topics::None, &mut batch, &mut rejected);
        partition.process(&batch, &mut rows, &mut late).expect("a batch");
        sizes.push(partition.size());
    }
    partition.finish(partition.newest().unwrap_or(0), &mut rows).expect("the end");
    let name = |row: &cohort_engine::ResultRow| (program.segments[row.segment as usize].name.clone(), partition.users().name(row.user).to_string());
    let found: BTreeMap<(String, String), f64> = rows.iter().filter(|row| row.qualified).map(|row| (name(row), row.value.unwrap_or(f64::NAN))).collect();
    assert_eq!(found, expected);
    let most = sizes.iter().max().copied().unwrap_or(0);
    assert!(sizes.last().is_some_and(|last| *last < most), "outcomes are forgotten when they are many");
    assert!(most < 24 << 20, "{most} bytes");
}

proptest! {
    #[test]
    fn patterns_are_what_they_are_to_arrow(pattern in "[ab%_\\\\é.\n]{0,8}", texts in prop::collection::vec("[ab%_\\\\é.\n]{0,10}", 1..20)) {
        let expected = like(&StringArray::from(texts.clone()), &StringArray::new_scalar(&pattern)).unwrap();
        let expected: Vec<bool> = expected.iter().map(|matches| matches.unwrap()).collect();
        let found: Vec<bool> = texts.iter().map(|text| Pattern::new(&pattern).matches(text)).collect();
        prop_assert_eq!(found, expected, "{:?} of {:?}", pattern, texts);
    }
}
