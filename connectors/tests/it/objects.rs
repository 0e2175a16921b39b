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

/// All times in the order in which they are read, and the number of chunks.
fn read(source: &mut FileSource) -> (Vec<i64>, usize) {
    let (mut times, mut chunks, mut line) = (vec![], 0, 0);
    let mut decoder = ChunkDecoder::new(Default::default(), &Arc::default());
    while let Some(chunk) = source.next_chunk().expect("readable") {
        assert_eq!(chunk.first_line, line, "lines are counted over all chunks");
        decoder.decode(&chunk).expect("decodable");
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
