//! Texts that the binary prints, against files in `queries/`: `UPDATE_GOLDEN=1` writes them anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn queries() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../queries")
}

pub fn cohort(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cohort")).args(args).current_dir(queries()).output().expect("the binary runs")
}

fn compare(output: &Output, status: i32, golden: &str) {
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(status), "{text}{}", String::from_utf8_lossy(&output.stderr));
    compare_text(&text, golden);
}

/// Compares a text with a file in `queries/`.
pub fn compare_text(text: &str, golden: &str) {
    let path = queries().join(golden);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text.as_bytes()).expect("the golden file is written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(text, expected, "{golden} differs; UPDATE_GOLDEN=1 writes it anew");
}

#[test]
fn wrong_sql_is_explained() {
    compare(&cohort(&["check", "wrong.sql"]), 1, "wrong.sql.expected");
}

#[test]
fn wrong_json_is_explained() {
    compare(&cohort(&["check", "wrong.json"]), 1, "wrong.json.expected");
}

#[test]
fn sample_segments_are_explained() {
    compare(&cohort(&["explain", "segments.sql"]), 0, "segments.explain.expected");
    compare(&cohort(&["explain", "segments.sql", "--format", "graphviz", "--segment", "engaged_spenders"]), 0, "engaged_spenders.dot.expected");
}

#[test]
fn any_bytes_are_survived() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut noise = vec![];
    let mut x = 88_172_645_463_325_252u64;
    for _ in 0..100_000 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        noise.push(x as u8);
    }
    let inputs = [
        ("empty", vec![]),
        ("noise", noise),
        ("nested", "[".repeat(1 << 20).into_bytes()),
        ("long", format!("{{\"a\":\"{}\"}}", "x".repeat(100 << 20)).into_bytes()),
    ];
    for (name, bytes) in inputs {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).expect("the input is written");
        let input = path.display().to_string();
        let output = cohort(&["replay", "--input", &input, "--segments", "segments.sql", "--output", "none"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
