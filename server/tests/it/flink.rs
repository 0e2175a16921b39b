//! Segments as jobs of Flink SQL: what is written for the samples, and what is refused and why. `scripts/flink.sh` runs such jobs on a real Flink.

use std::path::Path;
use std::process::Output;

use crate::golden::{cohort, compare_text};

fn export(args: &[&str]) -> Output {
    cohort(&[&["export", "flink-sql"], args].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn sample_segments_as_a_job() {
    let output = export(&["segments.sql", "--leave-out"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    compare_text(&String::from_utf8_lossy(&output.stdout), "segments.flink.expected");
    assert!(said(&output).contains("left out: segment worth_a_call: it matches current membership of segments whose windows end at different times"));
    assert!(said(&output).contains("EMIT CHANGES becomes EMIT FINAL"), "{}", said(&output));
}

#[test]
fn nothing_is_written_while_a_segment_cannot_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("job");
    let output = export(&["segments.sql", "--out", out.to_str().expect("a path")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("segment worth_a_call: ") && said(&output).contains("--leave-out"), "{}", said(&output));
    assert!(!out.exists());
}

#[test]
fn a_folder_says_how_to_run_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("job");
    let set = ["--set", "source.kafka.brokers=\"k1:9092\"", "--set", "time.allowed_lateness=10s", "--set", "source.kafka.properties.sasl.password=hidden"];
    let output = export(&[&["segments.sql", "--leave-out", "--bounded", "--out", out.to_str().expect("a path")], set.as_slice()].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect("a file");
    let (job, readme) = (read("job.sql"), read("README.md"));
    assert!(
        job.contains("'k1:9092'") && job.contains("INTERVAL '0 00:00:40.001' DAY(3) TO SECOND(3)") && job.contains("'scan.bounded.mode' = 'latest-offset'"),
        "{job}"
    );
    assert!(readme.contains("flink-sql-connector-kafka") && readme.contains("worth_a_call"), "{readme}");
    assert!(!job.contains("hidden") && !readme.contains("hidden"));
}

/// One segment of each form that can't be exported, with what is said.
#[test]
fn what_flink_would_compute_otherwise_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = |rest: &str, window: &str| format!("CREATE SEGMENT s AS SELECT user_id, count(*) AS value FROM {window} {rest};");
    let tumble = "TUMBLE(events, event_time, INTERVAL '5 minutes')";
    let by = "GROUP BY user_id, window_start, window_end";
    let of = |having: &str| base(&format!("{by} HAVING {having}"), tumble);
    let filtered = |filter: &str| base(&format!("WHERE {filter} {by}"), tumble);
    let two = |query: &str| {
        let named = |name: &str, size: &str| {
            format!("CREATE SEGMENT {name} AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '{size}') {by};")
        };
        format!("{}\n{}\nCREATE SEGMENT s AS {query};", named("a", "5 minutes"), named("b", "30 minutes"))
    };
    let cases = [
        (base(by, "HOP(events, event_time, INTERVAL '4 minutes', INTERVAL '10 minutes')"), "multiple of the slide"),
        (of("median(value) > 3"), "has no equal in Flink"),
        (of("stddev(value) > 3"), "has no equal in Flink"),
        (of("sum(DISTINCT value) > 3"), "has no equal in Flink"),
        (of("count(*) / count(value) > 3"), "a division by what may be zero"),
        (of("sum(value) / sum(value) > 3"), "a division by what may be zero"),
        (filtered("CAST(metadata['n'] AS DOUBLE) > 3"), "which texts are Float64s differs in Flink"),
        (filtered("CAST(value AS BIGINT) = 3"), "a cast to Int64 differs in Flink"),
        (filtered("lower(event_type) = 'view'"), "lower(event_type) may differ in Flink"),
        (filtered("event_type ILIKE 'v%'"), "this LIKE differs in Flink"),
        (filtered("session_id LIKE 'a\\\\%'"), "this LIKE differs in Flink"),
        (filtered("event_type ~ 'v.*'"), "the operator ~ differs in Flink"),
        (filtered("cardinality(metadata) > 3"), "metadata as a whole has no equal"),
        (filtered("round(value) = 3"), "may differ in Flink"),
        (two("SELECT a.user_id FROM a JOIN b USING (user_id)"), "windows end at different times"),
        (two("SELECT a.user_id FROM a WHERE a.window_start > TIMESTAMP '2024-01-01 00:00:00'"), "window_start in a derived segment"),
        (
            format!(
                "{}\nCREATE SEGMENT r AS SELECT user_id, median(value) AS value FROM {tumble} {by};\nCREATE SEGMENT t AS SELECT user_id FROM r;",
                of("count(*) > 1")
            ),
            "it reads r, which can't be exported",
        ),
        (
            format!(
                "{}\nCREATE SEGMENT u AS SELECT x.user_id FROM s x JOIN s y USING (user_id);\nCREATE SEGMENT t AS SELECT x.user_id FROM u x JOIN s y USING (user_id, window_start, window_end);",
                of("count(*) > 1")
            ),
            "matches by user_id alone",
        ),
    ];
    for (i, (sql, expected)) in cases.iter().enumerate() {
        let path = folder.path().join(format!("{i}.sql"));
        std::fs::write(&path, sql).expect("a file");
        let output = export(&[path.to_str().expect("a path")]);
        assert_eq!(output.status.code(), Some(1), "{sql}\n{}", said(&output));
        assert!(said(&output).contains(expected) && said(&output).contains("segment "), "{sql}\n{}", said(&output));
        assert!(output.stdout.is_empty(), "nothing is printed");
    }
}

#[test]
fn wrong_usage_is_told() {
    let cases: [(&[&str], &str); 3] = [
        (&["segments.sql", "--connector", "filesystem", "--bounded"], "--bounded is for --connector kafka"),
        (&["segments.sql", "--leave-out", "--set", "source.kafka.start=\"-1h\""], "source.kafka.start"),
        (&["segments.sql", "--leave-out", "--out", "segments.sql"], "--out names a folder"),
    ];
    for (args, expected) in cases {
        let output = export(args);
        assert_eq!(output.status.code(), Some(2), "{args:?} {}", said(&output));
        assert!(said(&output).contains(expected), "{args:?} {}", said(&output));
    }
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries/segments.sql").is_file());
}
