#![allow(missing_docs, clippy::panic)]
//! Decoding the same events as plain JSON, JSON with a mapping, Avro and Protobuf: `cargo bench -p cohort-benches --bench formats`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use cohort_engine::decode::{EventBatch, Projection, TextColumnSpec, TextField, Topics};
use cohort_engine::formats::avro::Schema;
use cohort_engine::formats::protobuf::Messages;
use cohort_engine::formats::{Decoder, Encoding, Format, Formats, Framing, Mapping, Writer};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 65_536;

const AVRO: &str = r#"{"type":"record","name":"Event","fields":[{"name":"userId","type":"string"},{"name":"eventType","type":"string"},
    {"name":"timestamp","type":"long"},{"name":"value","type":["null","double"]},{"name":"sessionId","type":["null","string"]},
    {"name":"metadata","type":{"type":"map","values":"string"}}]}"#;
const PROTO: &str = r#"syntax = "proto3"; message Event { string user_id = 1; string event_type = 2; int64 timestamp = 3;
    optional double value = 4; optional string session_id = 5; map<string, string> metadata = 6; }"#;

struct Event {
    user: String,
    time: i64,
    value: f64,
    session: String,
}

fn events() -> impl Iterator<Item = Event> {
    (0..EVENTS).map(|i| {
        let user = i * 2_654_435_761 % 50_000;
        Event { user: format!("user_{user:06}"), time: 1_700_000_000_000 + i as i64, value: (i % 300) as f64 + 0.25, session: format!("s{user}") }
    })
}

fn json(e: &Event, out: &mut Vec<u8>) {
    let (user, time, value, session) = (&e.user, e.time, e.value, &e.session);
    out.extend_from_slice(
        format!(
            "{{\"userId\":\"{user}\",\"eventType\":\"view\",\"timestamp\":{time},\"value\":{value},\"sessionId\":\"{session}\",\"metadata\":{{\"category\":\"toys\"}}}}"
        )
        .as_bytes(),
    );
}

fn varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn avro(e: &Event, out: &mut Vec<u8>) {
    let long = |n: i64, out: &mut Vec<u8>| varint((n << 1) as u64, out);
    let text = |t: &str, out: &mut Vec<u8>| {
        long(t.len() as i64, out);
        out.extend_from_slice(t.as_bytes());
    };
    text(&e.user, out);
    text("view", out);
    long(e.time, out);
    long(1, out);
    out.extend_from_slice(&e.value.to_le_bytes());
    long(1, out);
    text(&e.session, out);
    long(1, out);
    text("category", out);
    text("toys", out);
    long(0, out);
}

fn protobuf(e: &Event, out: &mut Vec<u8>) {
    let field = |tag: u8, bytes: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&[tag << 3 | 2, bytes.len() as u8]);
        out.extend_from_slice(bytes);
    };
    field(1, e.user.as_bytes(), out);
    field(2, b"view", out);
    out.push(3 << 3);
    varint(e.time as u64, out);
    out.push(4 << 3 | 1);
    out.extend_from_slice(&e.value.to_le_bytes());
    field(5, e.session.as_bytes(), out);
    let mut entry = vec![];
    field(1, b"category", &mut entry);
    field(2, b"toys", &mut entry);
    field(6, &entry, out);
}

/// What a few segments read: user, type, time, value and one key of the metadata.
fn projection() -> Projection {
    let ids = Arc::new([(Box::from(&b"view"[..]), 2)].into_iter().collect());
    let types = TextColumnSpec { field: TextField::EventType, dictionary: Some(ids), text: false };
    let category = TextColumnSpec { field: TextField::Metadata("category".into()), dictionary: None, text: true };
    Projection { value: true, texts: vec![types, category], metadata: false }
}

/// A name, what writes an event, and what reads it.
type Case = (&'static str, fn(&Event, &mut Vec<u8>), Encoding, Option<Mapping>);

fn formats(c: &mut Criterion) {
    let Ok(schema) = Schema::parse(AVRO, &[]) else { panic!("a schema") };
    let message = Messages::compile(PROTO, &[]).ok().and_then(|m| m.only());
    let Some(message) = message else { panic!("a message") };
    let json_encoding = Encoding::Json { framed: false };
    // Says nothing new, but by a mapping.
    let mapping = Mapping { event_type_default: Some("none".into()), ..Mapping::default() };
    let cases: [Case; 4] = [
        ("json", json, json_encoding.clone(), None),
        ("json with a mapping", json, json_encoding, Some(mapping)),
        ("avro", avro, Encoding::Avro { framing: Framing::None, writer: Writer::Local(Arc::new(schema)), reader: None }, None),
        ("protobuf", protobuf, Encoding::Protobuf { framing: Framing::None, writer: Writer::Local(message) }, None),
    ];
    let mut group = c.benchmark_group("formats");
    group.throughput(Throughput::Elements(EVENTS)).sample_size(20);
    for (name, encode, encoding, mapping) in cases {
        let (mut data, mut spans) = (vec![], vec![]);
        for event in events() {
            let start = data.len() as u32;
            encode(&event, &mut data);
            spans.push((start, data.len() as u32));
        }
        let formats = Arc::new(Formats { default: Format { encoding, mapping }, topics: BTreeMap::new() });
        let mut decoder = Decoder::new(projection(), &formats);
        let (mut batch, mut rejected) = (EventBatch::default(), vec![]);
        group.bench_function(name, |b| {
            b.iter(|| {
                let outcome = decoder.decode(&data, &spans, Topics::None, &mut batch, &mut rejected);
                assert!(outcome.is_ok() && batch.len() as u64 == EVENTS);
                black_box(batch.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, formats);
criterion_main!(benches);
