//! What `cohort replay` writes, and when it says that it cannot.

use std::path::Path;

use crate::golden::cohort;
use crate::replay::exact_value;

#[test]
fn a_replay_does_not_overwrite_what_it_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let events = folder.path().join("events.jsonl");
    let record = "{\"userId\":\"u\",\"eventType\":\"view\",\"timestamp\":1}\n";
    for flag in ["--output", "--memberships", "--dead-letters", "--json"] {
        std::fs::write(&events, record).expect("a file");
        let path = events.to_str().expect("a path");
        let output = cohort(&["replay", "--input", path, "--segments", "segments.sql", flag, path]);
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("would be overwritten"), "{output:?}");
        assert_eq!(std::fs::read_to_string(&events).expect("a file"), record);
    }
}

/// The sorted lines of a file.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("a file");
    let mut lines: Vec<String> = text.lines().map(ToString::to_string).collect();
    lines.sort();
    lines
}

#[test]
fn a_replay_without_exits_says_what_windows_come_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_string();
    let (events, segments) = (path("events.jsonl"), path("segments.sql"));
    assert!(cohort(&["generate", "--events", "20000", "--users", "500", "--span", "2h", "--seed", "7", "--to", &events]).status.success());
    let sql = "CREATE SEGMENT busy AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') \
               GROUP BY user_id, window_start, window_end HAVING count(*) > 2;";
    std::fs::write(&segments, sql).expect("a file");
    let replay = |name: &str, more: &[&str]| {
        let (output, json) = (path(&format!("{name}.jsonl")), path(&format!("{name}.json")));
        let args = ["replay", "--input", &events, "--segments", &segments, "--emit", "final", "--partitions", "3", "--output", &output, "--json", &json];
        assert!(cohort(&[&args[..], more].concat()).status.success());
        let summary: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).expect("a summary")).expect("JSON");
        (lines(Path::new(&output)), summary["segments"][0].clone())
    };
    let (all, whole) = replay("all", &[]);
    let windows: Vec<String> = all.iter().filter(|line| line.contains("\"qualified\":true")).cloned().collect();
    assert!(!windows.is_empty() && windows.len() < all.len());

    let (alone, summary) = replay("alone", &["--without-exits"]);
    assert_eq!(alone, windows);
    assert_eq!(summary["results"], windows.len());
    assert!(summary["members"].is_null() && whole["members"].as_u64().is_some_and(|n| n > 0));

    let (asked, summary) = replay("asked", &["--without-exits", "--memberships", &path("members.jsonl")]);
    assert_eq!(asked, windows);
    assert_eq!(summary, serde_json::json!({"segmentId": "busy", "emit": "final", "results": windows.len(), "members": whole["members"]}));
    assert_eq!(lines(&folder.path().join("members.jsonl")).len() as u64, whole["members"].as_u64().expect("a number"));
}

#[test]
fn a_replay_that_cannot_write_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_string();
    let (events, broken) = (path("events.jsonl"), path("broken.jsonl"));
    assert!(cohort(&["generate", "--events", "60000", "--users", "500", "--span", "2h", "--seed", "7", "--to", &events]).status.success());
    std::fs::write(&broken, "no event\n".repeat(100_000)).expect("a file");
    let replay = |more: &[&str]| {
        let args = ["replay", "--segments", "segments.sql", "--partitions", "5", "--workers", "3", "--input"];
        cohort(&[&args[..], more].concat())
    };
    for more in [&[&*events, "--output", "/dev/full"][..], &[&*events, &*broken, "--output", "none", "--dead-letters", "/dev/full"]] {
        let output = replay(more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("No space left"), "{output:?}");
    }
    // What is compressed and cut short is read in part: no window closes by that, so that all results are those of the whole.
    let cut = path("cut.jsonl.zst");
    let whole = zstd::encode_all(&*std::fs::read(&events).expect("a file"), 1).expect("compressed");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("a file");
    let (all, part) = (path("all"), path("part"));
    assert!(replay(&[&events, "--emit", "final", "--without-exits", "--output", &all]).status.success());
    let output = replay(&[&cut, "--emit", "final", "--without-exits", "--output", &part]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let (all, part) = (lines(Path::new(&all)), lines(Path::new(&part)));
    assert!(!part.is_empty() && part.len() < all.len());
    assert!(part.iter().all(|line| all.binary_search(line).is_ok()));
}

#[test]
fn results_are_the_same_as_lines_of_json_and_as_csv() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a path").to_string();
    let events = path("events.jsonl");
    assert!(cohort(&["generate", "--events", "20000", "--users", "500", "--span", "2h", "--seed", "7", "--to", &events]).status.success());
    let replay = |name: &str| {
        let output = path(name);
        assert!(cohort(&["replay", "--input", &events, "--segments", "segments.sql", "--partitions", "1", "--output", &output]).status.success());
        std::fs::read_to_string(output).expect("results")
    };
    let (json, csv) = (replay("results.ndjson"), replay("results.csv"));
    let mut rows = csv.lines();
    let names: Vec<&str> = rows.next().expect("names").split(',').collect();
    let field = |line: &str, name: &str, value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        _ if name == "value" => exact_value(line).map(|value| serde_json::json!(value).to_string()).unwrap_or_default(),
        value => value.to_string(),
    };
    let expected: Vec<String> = json
        .lines()
        .map(|line| {
            let result: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).expect("JSON");
            assert_eq!(result.len(), names.len());
            names.iter().map(|name| field(line, name, &result[*name])).collect::<Vec<_>>().join(",")
        })
        .collect();
    let rows: Vec<&str> = rows.collect();
    assert!(rows.len() > 100, "{} results", rows.len());
    assert_eq!(rows, expected);
}
