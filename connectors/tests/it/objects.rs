//! Objects of a store as bounded input: what is merged, and what is noticed while it is read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};
use cohort_connectors::between::Between;
use cohort_connectors::file::source::{FileSource, Origin};
use cohort_connectors::object::list::{self, Location};
use cohort_connectors::object::{Object, Reading, Tally};
use cohort_connectors::records::{ChunkDecoder, Shape};
use cohort_engine::events::projection;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::runtime::Runtime;

use crate::avro_bytes::{Bytes, container};

const SCHEMA: &str =
    r#"{"type":"record","name":"E","fields":[{"name":"userId","type":"string"},{"name":"eventType","type":"string"},{"name":"timestamp","type":"long"}]}"#;
const HOUR: i64 = 3_600_000;

struct Bucket {
    store: Arc<InMemory>,
    runtime: Runtime,
    tally: Arc<Tally>,
}

impl Bucket {
    fn new(objects: &[(&str, Vec<u8>)]) -> Self {
        let bucket = Bucket { store: Arc::new(InMemory::new()), runtime: Runtime::new().expect("a runtime"), tally: Arc::default() };
        objects.iter().for_each(|(path, bytes)| bucket.put(path, bytes.clone()));
        bucket
    }

    fn put(&self, path: &str, bytes: Vec<u8>) {
        self.runtime.block_on(self.store.put(&Path::from(path), bytes.into())).expect("put");
    }

    fn list(&self, path: &str) -> Vec<Object> {
        let store: Arc<dyn ObjectStore> = Arc::clone(&self.store) as _;
        Location::new(store, "memory:", path).and_then(|l| l.list(self.runtime.handle())).expect("objects").objects
    }

    fn reading(&self) -> Reading {
        let text = "CREATE SEGMENT s AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '1 minute') GROUP BY user_id, window_start, window_end;";
        let source = SourceText { name: "s".into(), kind: SourceKind::Sql, text: text.into(), id: None };
        let program = compile(&[source], &CompileOptions::default()).expect("it compiles");
        assert!(projection(&program).texts.is_empty());
        Reading::new(self.runtime.handle().clone(), &program, &Arc::new(Shape::default()), Between::default(), &self.tally)
    }
}

fn avro(times: impl Iterator<Item = i64>) -> Vec<u8> {
    let records: Vec<Bytes> = times.map(|t| Bytes::default().text("u").text("view").long(t)).collect();
    let blocks: Vec<&[Bytes]> = records.chunks(7).collect();
    container(SCHEMA, "zstandard", &blocks)
}

fn lines(times: impl Iterator<Item = i64>) -> Vec<u8> {
    times.map(|t| format!("{{\"userId\":\"u\",\"eventType\":\"view\",\"timestamp\":{t}}}\n")).collect::<String>().into_bytes()
}

/// Lines are found where they are, and counted, whatever files end with and wherever chunks are cut.
#[test]
fn lines_are_found_wherever_chunks_are_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let texts = ["", "{}", "{}\n", "\n", " \r\n{\"a\":1}\r\n\n{}", "{}\n{}\n{}\n", "x\n\n\n y"];
    let path = |i: usize| folder.path().join(i.to_string());
    texts.iter().enumerate().for_each(|(i, text)| std::fs::write(path(i), text).expect("a file"));
    for (a, b, c) in (0..7).flat_map(|a| (0..7).flat_map(move |b| (0..7).map(move |c| (a, b, c)))) {
        // A file that does not end with a newline is one that does.
        let ended = |text: &str| if text.is_empty() || text.ends_with('\n') { text.to_string() } else { format!("{text}\n") };
        let whole = [a, b, c].map(|i| ended(texts[i])).concat();
        let wanted: Vec<(u64, &str)> = (0..).zip(whole.split_terminator('\n')).filter(|(_, line)| !line.trim_ascii().is_empty()).collect();
        for most in 1..6 {
            let (mut source, mut found, mut next) = (FileSource::new(vec![path(a), path(b), path(c)], most), vec![], 0);
            while let Some(chunk) = source.next_chunk().expect("readable") {
                let (text, mut spans) = (String::from_utf8(chunk.data.clone()).expect("UTF-8"), vec![]);
                assert_eq!(chunk.first_line, next);
                next += text.lines().count() as u64;
                assert!(text.lines().count() <= most);
                cohort_engine::decode::json::split_lines(&chunk.data, &mut spans);
                assert_eq!(chunk.lines.as_ref(), Some(&spans));
                found.extend((0..).zip(&spans).map(|(i, &(from, to))| (chunk.line(i), text[from as usize..to as usize].trim_end_matches('\r').to_string())));
            }
            let wanted: Vec<(u64, String)> = wanted.iter().map(|(at, line)| (*at, line.trim_end_matches('\r').to_string())).collect();
            assert_eq!(found, wanted, "{a} {b} {c}, {most} lines");
        }
    }
}

/// All times in the order in which they are read, and the number of chunks.
fn read(source: &mut FileSource) -> (Vec<i64>, usize) {
    let (mut times, mut chunks, mut line) = (vec![], 0, 0);
    let mut decoder = ChunkDecoder::new(Default::default(), &Arc::default());
    while let Some(mut chunk) = source.next_chunk().expect("readable") {
        assert_eq!(chunk.first_line, line, "lines are counted over all chunks");
        decoder.decode(&mut chunk).expect("decodable");
        assert!(decoder.rejected.is_empty());
        times.extend(&decoder.events.times);
        line += decoder.spans.len() as u64;
        chunks += 1;
    }
    (times, chunks)
}

#[test]
fn objects_of_one_hour_are_merged_whatever_they_are() {
    let hour = |h: i64| h * HOUR;
    let bucket = Bucket::new(&[
        ("e/date=1970-01-01/hour=00/a.avro", avro((0..300).map(|i| i * 10))),
        ("e/date=1970-01-01/hour=00/b.avro", avro((0..300).map(|i| i * 10 + 5))),
        ("e/date=1970-01-01/hour=01/a.jsonl", lines((0..300).map(|i| hour(1) + i * 10))),
        ("e/date=1970-01-01/hour=01/b.avro", avro((0..30).map(|i| hour(1) + i * 100 + 1))),
        ("e/date=1970-01-01/hour=01/c.jsonl", lines((0..300).map(|i| hour(1) + i * 10 + 2))),
        ("e/date=1970-01-01/hour=02/a.jsonl", lines((0..3).map(|i| hour(2) + i))),
    ]);
    let reading = bucket.reading();
    let groups = list::groups(bucket.list("e"));
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3, 1]);
    let origins = groups.into_iter().map(|group| Origin::Together(group, reading.clone()));
    let (times, chunks) = read(&mut FileSource::of(origins.collect(), 100));
    assert_eq!(times.len(), 600 + 630 + 3);
    assert!(times.is_sorted(), "records of all objects are in the order of their times");
    // Two files of one schema share their chunks: six of a hundred. Where Avro and JSON take turns, chunks are cut.
    assert!((6 + 6 + 1..6 + 2 * 30 + 8).contains(&chunks), "{chunks} chunks");
}

#[test]
fn an_object_that_changes_while_it_is_read_is_an_error() {
    let bucket = Bucket::new(&[("e/a.jsonl", lines(0..100)), ("e/b.jsonl", lines(0..100))]);
    let reading = bucket.reading();
    let objects = bucket.list("e/");
    bucket.put("e/b.jsonl", lines(100..200));
    let origins = objects.into_iter().map(|o| Origin::Object(o, reading.clone())).collect();
    let mut source = FileSource::of(origins, 10);
    let mut failed = None;
    for _ in 0..20 {
        match source.next_chunk() {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => failed = Some(error.to_string()),
        }
        if failed.is_some() {
            break;
        }
    }
    assert!(failed.as_ref().is_some_and(|e| e.starts_with("memory:/e/b.jsonl: ")), "{failed:?}");
}

#[test]
fn a_deadline_ends_reading_and_says_so() {
    let bucket = Bucket::new(&[("e/a.jsonl", lines(0..100_000))]);
    let origins = || bucket.list("e/a.jsonl").into_iter().map(|o| Origin::Object(o, bucket.reading())).collect();
    let mut source = FileSource::of(origins(), 10).until(Instant::now());
    assert!(source.next_chunk().expect("no error").is_none() && source.is_cut_short());
    let mut source = FileSource::of(origins(), 1_000);
    assert_eq!(read(&mut source).0.len(), 100_000);
    assert!(!source.is_cut_short() && bucket.tally.bytes.load(Ordering::Relaxed) >= source.bytes());
}

#[test]
fn of_many_objects_only_so_many_are_read_side_by_side() {
    let path = |i: i64| format!("e/date=1970-01-01/part-{i:05}.jsonl");
    let objects: Vec<(String, Vec<u8>)> = (0..600).map(|i| (path(i), lines((0..20).map(|k| i * 100 + k)))).collect();
    let bucket = Bucket::new(&objects.iter().map(|(p, b)| (p.as_str(), b.clone())).collect::<Vec<_>>());
    let groups = list::groups(bucket.list("e"));
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [list::MOST_TOGETHER, list::MOST_TOGETHER, 600 - 2 * list::MOST_TOGETHER]);
    let reading = bucket.reading();
    let (times, _) = read(&mut FileSource::of(groups.into_iter().map(|g| Origin::Together(g, reading.clone())).collect(), 1_000));
    assert_eq!(times.len(), 12_000);
    assert!(times.is_sorted(), "what is named in the order of time is read in it");
}
