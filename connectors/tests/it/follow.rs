//! Files that grow, as a source and as what is kept.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cohort_connectors::file::follow::{Files, Follow};
use cohort_connectors::retained::Retained;
use cohort_engine::source::{Polled, Positions, RawBatch, Source};

fn append(path: &Path, text: &str) {
    std::fs::File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn lines(batch: &RawBatch) -> Vec<String> {
    (0..batch.len()).map(|r| String::from_utf8_lossy(batch.payload(r)).into_owned()).collect()
}

/// Polls until nothing comes, at most so many lines at a time; positions move along.
fn read(source: &mut Follow, max_rows: usize, positions: &mut Positions) -> Vec<String> {
    let (mut batch, mut found) = (RawBatch::default(), vec![]);
    while source.poll(max_rows, Duration::from_millis(30), &mut batch).unwrap() == Polled::Records {
        assert!(batch.len() <= max_rows);
        batch.advance(positions, 0..batch.len());
        found.extend(lines(&batch));
    }
    found
}

fn two(folder: &Path) -> Vec<PathBuf> {
    let paths = ["one.jsonl", "two.jsonl"].map(|name| folder.join(name)).to_vec();
    append(&paths[0], "a\nb\r\n\nc");
    append(&paths[1], "d\ne\n");
    paths
}

#[test]
fn files_are_read_in_turn_and_the_last_as_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let paths = two(folder.path());
    let files = Files::new(&paths, "orders").unwrap();
    for max_rows in [1, 2, 100] {
        let mut source = Follow::new(&files);
        let mut positions = source.start(0, &Positions::new()).unwrap();
        source.begin(&positions).unwrap();
        assert!(source.lag(0) > 0);
        assert_eq!(read(&mut source, max_rows, &mut positions), ["a", "b", "c", "d", "e"]);
        assert_eq!(source.lag(0), 0);
    }
    let mut source = Follow::new(&files);
    let mut positions = Positions::new();
    read(&mut source, 10, &mut positions);
    append(&paths[1], "f\nhal");
    assert_eq!(read(&mut source, 10, &mut positions), ["f"], "half a line is none");
    append(&paths[1], "f\n");
    assert_eq!(read(&mut source, 10, &mut positions), ["half"]);
    // Another goes on where it was.
    append(&paths[1], "g\n");
    let mut other = Follow::new(&files);
    let from = other.start(0, &positions).unwrap();
    other.begin(&from).unwrap();
    assert_eq!(read(&mut other, 10, &mut positions), ["g"]);
    // A file that was replaced is read anew.
    std::fs::write(&paths[1], "h\n").unwrap();
    assert_eq!(read(&mut other, 10, &mut positions), ["h"]);
}

#[test]
fn files_are_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let paths = two(folder.path());
    (0..1_000).for_each(|i| append(&paths[1], &format!("line {i}\n")));
    let files = Files::new(&paths, "orders").unwrap();
    let (first, end) = files.range(0).unwrap();
    let all = |from: &Positions, until: &Positions| {
        let (mut records, mut batch, mut found) = (files.open(0, from).unwrap(), RawBatch::default(), vec![]);
        loop {
            records.read(until, 64, &mut batch).unwrap();
            if batch.is_empty() {
                return (found, records.positions().clone());
            }
            found.extend(lines(&batch));
        }
    };
    let (found, reached) = all(&first, &end);
    assert_eq!(found.len(), 1_005);
    assert_eq!(all(&reached, &end).0, [""; 0], "it goes on where it was");
    append(&paths[1], "later\n");
    assert_eq!(all(&first, &end).0, found, "up to where it ended");
    let newest = files.back(0, &end, 10).unwrap();
    let (some, _) = all(&newest, &end);
    assert!(some.len() >= 10 && found.ends_with(&some[some.len() - 10..]) && found.contains(&some[0]), "{some:?}");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    append(&path("events.jsonl.gz"), "x");
    for (paths, says) in [(vec![], "none is named"), (vec![path("none.jsonl")], "No such file"), (vec![path("events.jsonl.gz")], "plain lines")] {
        let error = Files::new(&paths, "").unwrap_err();
        assert!(error.fatal && error.to_string().contains(says), "{error}");
    }
}
