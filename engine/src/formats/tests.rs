//! All formats against one another: what one event is in each of them comes out as the same columns. And what is no
//! event in any of them is refused, never more than that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use arrow_avro::schema::{AvroSchema, FingerprintStrategy};
use arrow_avro::writer::WriterBuilder;
use arrow_avro::writer::format::AvroSoeFormat;
use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{Field, Schema as ArrowSchema};
use proptest::prelude::*;
use prost_reflect::DynamicMessage;
use prost_reflect::prost::Message as _;
use serde_json::{Value, json};

use super::avro_bytes::Bytes;
use super::mapping::{Path, TimeUnit};
use super::protobuf::{Message, Messages};
use super::schemas::{Registered, SchemaKind, SchemaSource};
use super::*;
use crate::decode::{EventBatch, Projection, Reason, TextColumnSpec, TextField, Topics};
use crate::{Late, Partition, Settings};

#[derive(Debug, Clone)]
struct Event {
    user: String,
    kind: String,
    time: i64,
    value: Option<f64>,
    session: Option<String>,
    metadata: BTreeMap<String, String>,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let text = || prop_oneof!["[a-z]{1,8}", "\\PC{1,6}", Just("q\"\\\n\u{1F600}".to_string())];
    let value = prop::option::of(prop_oneof![(-1e6f64..1e6), (0i32..500).prop_map(f64::from), Just(-0.0)]);
    let metadata = prop::collection::btree_map(prop_oneof![Just("category".to_string()), text()], "\\PC{0,6}", 0..4);
    let kind = prop_oneof![3 => Just("purchase".to_string()), 1 => Just("view".to_string()), 1 => text()];
    let event = ("[a-c]", kind, 0i64..2_000_000, value, prop::option::of("[a-z]{0,3}"), metadata);
    let event = event.prop_map(|(user, kind, time, value, session, metadata)| Event { user, kind, time, value, session, metadata });
    prop::collection::vec(event, 1..40)
}

impl Event {
    fn plain(&self) -> Value {
        let mut event = json!({"userId": self.user, "eventType": self.kind, "timestamp": self.time, "metadata": self.metadata});
        if let Some(value) = self.value {
            event["value"] = value.into();
        }
        if let Some(session) = &self.session {
            event["sessionId"] = session.as_str().into();
        }
        event
    }

    /// The same with other names, and with what nobody asked for.
    fn other(&self) -> Value {
        json!({
            "who": {"first.name": "x", "id": self.user, "list": [{"id": 1}]}, "what": {"kind": self.kind}, "when": self.time * 1_000 + 7,
            "amount": {"value": self.value, "currency": "EUR"}, "session": self.session, "properties": self.metadata, "more": [null, {"who": {"id": "y"}}],
        })
    }
}

fn path(text: &str) -> Vec<Path> {
    vec![Path::parse(text).expect("a path")]
}

fn other_mapping() -> Mapping {
    Mapping {
        user_id: path("who.id"),
        event_type: path("what.kind"),
        event_time: path("when"),
        event_time_unit: TimeUnit::Micros,
        value: path("amount.value"),
        session_id: path("/session"),
        metadata: Some(Path::parse("properties").expect("a path")),
        ..Mapping::default()
    }
}

fn projection() -> Projection {
    let dictionary = |texts: &[&str]| Some(Arc::new(texts.iter().enumerate().map(|(i, t)| (t.as_bytes().into(), i as u32 + 2)).collect()));
    let texts = vec![
        TextColumnSpec { field: TextField::EventType, dictionary: dictionary(&["view", "purchase"]), text: true },
        TextColumnSpec { field: TextField::Metadata("category".into()), dictionary: dictionary(&["a"]), text: true },
        TextColumnSpec { field: TextField::SessionId, dictionary: None, text: true },
        TextColumnSpec { field: TextField::Topic, dictionary: None, text: true },
    ];
    Projection { value: true, texts, metadata: true }
}

fn of(encoding: Encoding, mapping: Option<Mapping>) -> Arc<Formats> {
    Arc::new(Formats { default: Format { encoding, mapping }, topics: BTreeMap::new() })
}

const JSON: Encoding = Encoding::Json { framed: false };

/// Records one after the other, with where each is.
fn together(records: &[Vec<u8>]) -> (Vec<u8>, Vec<(u32, u32)>) {
    let (mut data, mut spans) = (vec![], vec![]);
    for record in records {
        let start = data.len() as u32;
        data.extend_from_slice(record);
        spans.push((start, data.len() as u32));
    }
    (data, spans)
}

/// What comes of records, all at once.
fn decode(records: &[Vec<u8>], formats: &Arc<Formats>) -> Result<(EventBatch, Vec<Reason>), Away> {
    let (data, spans) = together(records);
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    Decoder::new(projection(), formats).decode(&data, &spans, Topics::All("t"), &mut out, &mut rejected)?;
    Ok((out, rejected.iter().map(|r| r.reason).collect()))
}

fn decoded(records: &[Vec<u8>], formats: &Arc<Formats>) -> (EventBatch, Vec<Reason>) {
    decode(records, formats).expect("no registry is asked")
}

fn lines(events: &[Event], shape: fn(&Event) -> Value) -> Vec<Vec<u8>> {
    events.iter().map(|e| shape(e).to_string().into_bytes()).collect()
}

/// The events as Arrow's own writer has them in Avro, with Confluent's framing; and the schema.
fn avro_records(events: &[Event]) -> (Vec<Vec<u8>>, String) {
    let mut maps =
        MapBuilder::new(Some(MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() }), StringBuilder::new(), StringBuilder::new());
    for event in events {
        for (key, value) in &event.metadata {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true).expect("as many keys as values");
    }
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("userId", Arc::new(StringArray::from_iter_values(events.iter().map(|e| &e.user))), false),
        ("value", Arc::new(Float64Array::from_iter(events.iter().map(|e| e.value))), true),
        ("eventType", Arc::new(StringArray::from_iter_values(events.iter().map(|e| &e.kind))), false),
        ("metadata", Arc::new(maps.finish()), true),
        ("sessionId", Arc::new(StringArray::from_iter(events.iter().map(|e| e.session.as_ref()))), true),
        ("timestamp", Arc::new(Int64Array::from_iter_values(events.iter().map(|e| e.time))), false),
    ];
    let fields: Vec<Field> = columns.iter().map(|(name, array, null)| Field::new(*name, array.data_type().clone(), *null)).collect();
    let schema = ArrowSchema::new(fields);
    let text = AvroSchema::try_from(&schema).expect("an Avro schema").json_string;
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns.into_iter().map(|(_, array, _)| array).collect()).expect("columns");
    let builder = WriterBuilder::new(schema).with_fingerprint_strategy(FingerprintStrategy::Id(7));
    let mut encoder = builder.build_encoder::<AvroSoeFormat>().expect("an encoder");
    encoder.encode(&batch).expect("encoded");
    (encoder.flush().iter().map(|row| row.to_vec()).collect(), text)
}

const PROTO: &str = r#"
    syntax = "proto3";
    package shop;
    message Outer { message Other {} message Event {
        optional string sessionId = 9;
        map<string, string> metadata = 4;
        string user_id = 1;
        string event_type = 2;
        int64 timestamp = 3;
        optional double value = 5;
    } }
"#;

fn proto_event() -> Message {
    Messages::compile(PROTO, &[]).expect("compiles").named("shop.Outer.Event").expect("is there")
}

fn proto_record(message: &Message, json: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(message.descriptor().clone(), json).expect("is of the message").encode_to_vec()
}

/// Schemas by id, that may be away.
#[derive(Clone, Default)]
struct Fake {
    schemas: Arc<Mutex<BTreeMap<u32, Registered>>>,
    away: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<u32>>>,
}

impl Fake {
    fn add(&self, id: u32, kind: SchemaKind, text: &str) {
        self.schemas.lock().expect("free").insert(id, Registered { kind, text: text.into(), references: vec![] });
    }

    fn cache(&self) -> Arc<SchemaCache> {
        Arc::new(SchemaCache::new(Box::new(self.clone())))
    }
}

impl SchemaSource for Fake {
    fn fetch(&self, id: u32) -> Result<Option<Registered>, Away> {
        self.asked.lock().expect("free").push(id);
        if self.away.load(Ordering::Relaxed) {
            return Err(Away { id, why: "away".into() });
        }
        Ok(self.schemas.lock().expect("free").get(&id).cloned())
    }
}

fn framed(id: u32, indexes: &[u8], record: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], indexes, record].concat()
}

/// The name of a format, records of it, and itself.
type Case = (&'static str, Vec<Vec<u8>>, Arc<Formats>);

/// The events in every format.
fn everywhere(events: &[Event]) -> Vec<Case> {
    let (avro, schema) = avro_records(events);
    let local = Arc::new(avro::Schema::parse(&schema, &[]).expect("Arrow's schema"));
    let proto = proto_event();
    let messages: Vec<Vec<u8>> = events.iter().map(|e| proto_record(&proto, &e.plain())).collect();
    let fake = Fake::default();
    fake.add(7, SchemaKind::Avro, &schema);
    fake.add(8, SchemaKind::Protobuf, PROTO);
    let confluent = |writer| Encoding::Avro { framing: Framing::Confluent, writer, reader: None };
    vec![
        ("json", lines(events, Event::plain), Arc::default()),
        ("json schema", lines(events, Event::plain).iter().map(|r| framed(3, &[], r)).collect(), of(Encoding::Json { framed: true }, None)),
        ("other json", lines(events, Event::other), of(JSON, Some(other_mapping()))),
        ("mapped json", lines(events, Event::plain), of(JSON, Some(Mapping { event_type_default: Some("x".into()), ..Mapping::default() }))),
        ("avro of the registry", avro.clone(), of(confluent(Writer::Registry(fake.cache())), None)),
        ("framed avro", avro.clone(), of(confluent(Writer::Local(Arc::clone(&local))), None)),
        (
            "bare avro",
            avro.iter().map(|r| r[5..].to_vec()).collect(),
            of(Encoding::Avro { framing: Framing::None, writer: Writer::Local(local), reader: None }, None),
        ),
        (
            "protobuf of the registry",
            messages.iter().map(|r| framed(8, &[4, 0, 2], r)).collect(),
            of(Encoding::Protobuf { framing: Framing::Confluent, writer: Writer::Registry(fake.cache()) }, None),
        ),
        ("bare protobuf", messages, of(Encoding::Protobuf { framing: Framing::None, writer: Writer::Local(proto) }, None)),
    ]
}

static PROGRAM: LazyLock<Arc<cohort_compiler::Program>> = LazyLock::new(|| {
    let sql = "CREATE SEGMENT s AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
        WHERE event_type = 'purchase' AND coalesce(metadata['category'], '') <> 'a'
        GROUP BY user_id, window_start, window_end HAVING sum(value) > 100;";
    let text = cohort_compiler::SourceText { name: "t".into(), kind: cohort_compiler::SourceKind::Sql, text: sql.into(), id: None };
    Arc::new(cohort_compiler::compile(&[text], &cohort_compiler::CompileOptions::default()).expect("compiles"))
});

/// What a segment over the events comes to.
fn results(records: &[Vec<u8>], formats: &Arc<Formats>) -> Vec<String> {
    let (data, spans) = together(records);
    let (mut batch, mut rejected) = (EventBatch::default(), vec![]);
    let mut decoder = Decoder::new(crate::events::projection(&PROGRAM), formats);
    decoder.decode(&data, &spans, Topics::All("t"), &mut batch, &mut rejected).expect("is there");
    let mut partition = Partition::new(Arc::clone(&PROGRAM), Settings { out_of_orderness: 10_000_000, ..Settings::default() });
    let (mut rows, mut late) = (vec![], Late::default());
    partition.process(&batch, &mut rows, &mut late).expect("runs");
    partition.finish(3_000_000, &mut rows).expect("runs");
    rows.iter().map(|r| format!("{r:?} {}", partition.users().name(r.user))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_event_is_the_same_in_every_format(events in events()) {
        let all = everywhere(&events);
        let (expected, none) = decoded(&all[0].1, &all[0].2);
        prop_assert_eq!((expected.len(), none), (events.len(), vec![]));
        let outcome = results(&all[0].1, &all[0].2);
        for (name, records, formats) in &all[1..] {
            let (batch, reasons) = decoded(records, formats);
            prop_assert_eq!(reasons, vec![], "{}", name);
            prop_assert_eq!(&batch, &expected, "{}", name);
            prop_assert_eq!(results(records, formats), outcome.clone(), "{}", name);
        }
    }

    #[test]
    fn a_record_that_is_cut_or_changed_is_never_more_than_refused(events in events(), at in any::<prop::sample::Index>(), byte in any::<u8>(), how in 0u8..3) {
        for (name, mut records, formats) in everywhere(&events) {
            let count = records.len();
            let record = &mut records[0];
            let at = at.index(record.len());
            match how {
                0 => record.truncate(at),
                1 => record[at] = byte,
                _ => record.insert(at, byte),
            }
            // A schema may now be another, which is not there; others of the batch are as they were.
            let (batch, reasons) = decoded(&records, &formats);
            prop_assert_eq!(batch.len() + reasons.len(), count, "{}", name);
            prop_assert!(reasons.len() <= 1);
            // A message without its last fields is a message.
            if how == 0 && !name.contains("protobuf") {
                prop_assert_eq!(reasons.len(), 1, "{}", name);
            }
        }
    }

    #[test]
    fn mapped_json_agrees_with_the_plain_decoder(record in "\\{?(\"(userId|eventType|timestamp|value|metadata|x)\":(\"[a-z]{0,3}\"|null|-?[0-9]{1,3}(\\.[0-9])?|\\{\"category\":[0-9]\\}|\\[1\\]|true),?){0,6}\\}?") {
        let plain = Mapping { session_id: path("no.such"), ..Mapping::default() };
        let records = [record.clone().into_bytes()];
        let (expected, refused) = decoded(&records, &Arc::default());
        let (batch, reasons) = decoded(&records, &of(JSON, Some(plain)));
        // Of what names something it takes integers too.
        prop_assume!(!matches!(refused[..], [Reason::InvalidUserId | Reason::InvalidEventType]));
        prop_assert_eq!((batch, reasons), (expected, refused), "{}", record);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), id in 0u32..6, head in any::<bool>()) {
        let fake = Fake::default();
        fake.add(1, SchemaKind::Avro, RICH);
        fake.add(2, SchemaKind::Protobuf, PROTO);
        fake.add(3, SchemaKind::Json, "{}");
        fake.add(4, SchemaKind::Avro, "{");
        fake.add(5, SchemaKind::Protobuf, "message");
        let record = if head { framed(id, &[], &bytes) } else { bytes };
        let mapping = || Some(Mapping { metadata: Some(Path::parse(".").expect("a path")), ..Mapping::default() });
        let avro = Encoding::Avro { framing: Framing::Confluent, writer: Writer::Registry(fake.cache()), reader: None };
        let protobuf = Encoding::Protobuf { framing: Framing::Confluent, writer: Writer::Registry(fake.cache()) };
        for encoding in [avro, protobuf, JSON, Encoding::Json { framed: true }] {
            let (batch, reasons) = decoded(std::slice::from_ref(&record), &of(encoding, mapping()));
            prop_assert_eq!(batch.len() + reasons.len(), 1);
        }
    }
}

/// Everything that Avro has.
pub(super) const RICH: &str = r#"{"type": "record", "name": "Event", "namespace": "shop", "fields": [
    {"name": "userId", "type": ["null", {"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}, "string", "long"]},
    {"name": "eventType", "type": {"type": "enum", "name": "Kind", "symbols": ["view", "purchase"]}},
    {"name": "timestamp", "type": [{"type": "long", "logicalType": "timestamp-micros"}, {"type": "int", "logicalType": "date"}, "long"]},
    {"name": "value", "type": [{"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}, "float", "double", "int", "boolean"]},
    {"name": "next", "type": ["null", "Event"]},
    {"name": "tags", "type": {"type": "array", "items": ["null", "string", "boolean"]}},
    {"name": "extra", "type": {"type": "map", "values": ["double", "bytes", {"type": "array", "items": "int"}]}}
]}"#;

fn rich_format(fields: Mapping) -> Arc<Formats> {
    let schema = Arc::new(avro::Schema::parse(RICH, &[]).expect("a schema"));
    of(Encoding::Avro { framing: Framing::None, writer: Writer::Local(schema), reader: None }, Some(fields))
}

fn entries(batch: &EventBatch, row: usize) -> Vec<(String, Option<String>)> {
    let map = batch.metadata.as_ref().expect("is projected");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let entry = |i: usize| (text(map.keys.get(i)), map.values_valid[i].then(|| text(map.values.get(i))));
    (map.offsets[row] as usize..map.offsets[row + 1] as usize).map(entry).collect()
}

#[test]
fn logical_types_unions_and_nesting_are_what_they_stand_for() {
    let end = |b: Bytes| b.long(0).long(-3).long(7).long(1).text("a\"").long(0).long(2).raw(&[1]).long(0).long(0);
    let uuid: Vec<u8> = (0..16).collect();
    let first = Bytes::default().long(1).raw(&uuid).long(1).long(0).long(1_700_000_000_123_456).long(0).long(2).raw(&[0xff, 0x38]);
    let second = Bytes::default().long(3).long(42).long(0).long(1).long(19_000).long(1).raw(&0.1f32.to_le_bytes());
    let inner = end(Bytes::default().long(2).text("in").long(0).long(2).long(5).long(3).long(-7));
    let mut records = vec![end(first).0];
    let tags = Bytes::default().long(0).long(2).text("k").long(0).double(1.5).text("b").long(1).long(1).raw(&[0xe9]).long(0);
    records.push([&second.long(1).0[..], &inner.0, &tags.0].concat());
    let fields = Mapping { metadata: Some(Path::parse(".").expect("a path")), ..Mapping::default() };
    let (batch, reasons) = decoded(&records, &rich_format(fields));
    assert_eq!(reasons, []);
    assert_eq!(batch.users.get(0), b"00010203-0405-0607-0809-0a0b0c0d0e0f");
    assert_eq!((batch.users.get(1), &batch.times[..]), (&b"42"[..], &[1_700_000_000_123, 19_000 * 86_400_000][..]));
    assert_eq!(batch.values, [-2.0, f64::from(0.1f32)]);
    assert_eq!((batch.texts[0].text.get(0), batch.texts[0].text.get(1)), (&b"purchase"[..], &b"view"[..]));
    let expected = |texts: [Option<&str>; 7]| {
        let names = ["userId", "eventType", "timestamp", "value", "next", "tags", "extra"];
        names.iter().zip(texts).map(|(n, t)| (n.to_string(), t.map(String::from))).collect::<Vec<_>>()
    };
    let uuid = Some("00010203-0405-0607-0809-0a0b0c0d0e0f");
    let tags = Some("[\"a\\\"\",null,true]");
    assert_eq!(entries(&batch, 0), expected([uuid, Some("purchase"), Some("1700000000123456"), Some("-2.00"), None, tags, Some("{}")]));
    let next = r#"{"userId":"in","eventType":"view","timestamp":5,"value":-7,"next":null,"tags":["a\"",null,true],"extra":{}}"#;
    assert_eq!(
        entries(&batch, 1),
        expected([Some("42"), Some("view"), Some("19000"), Some("0.1"), Some(next), Some("[]"), Some("{\"k\":1.5,\"b\":\"\u{e9}\"}")])
    );
}

#[test]
fn what_is_of_another_type_breaks_the_rule_of_its_field() {
    let record = |user: Bytes, value: Bytes| user.long(0).long(2).long(5).raw(&value.0).long(0).long(0).long(0).0;
    let (user, value) = (Bytes::default().long(2).text("u"), Bytes::default().long(3).long(1));
    let nan = Bytes::default().long(2).double(f64::NAN);
    let records = [
        record(user.clone(), value.clone()),
        record(Bytes::default().long(0), value.clone()),
        record(Bytes::default().long(2).text(""), value.clone()),
        record(user.clone(), Bytes::default().long(4).raw(&[1])),
        record(user.clone(), nan),
        record(user.clone(), Bytes::default().long(4).raw(&[2])),
        record(Bytes::default().long(2).long(1).raw(&[0xff]), value),
        vec![],
    ];
    let (batch, reasons) = decoded(&records, &rich_format(Mapping { session_id: path("no"), ..Mapping::default() }));
    assert_eq!(batch.len(), 1);
    let expected = [Reason::MissingUserId, Reason::EmptyUserId, Reason::InvalidValue, Reason::InvalidValue, Reason::NotAvro, Reason::NotUtf8, Reason::NotAvro];
    assert_eq!(reasons, expected);
    // A path that leads to a record is no text, and none that leads through a text leads anywhere.
    let (_, reasons) = decoded(&[record(user, Bytes::default().long(3).long(1))], &rich_format(Mapping { user_id: path("tags"), ..Mapping::default() }));
    assert_eq!(reasons, [Reason::InvalidUserId]);
}

#[test]
fn nesting_without_end_is_refused() {
    let level = Bytes::default().long(2).text("u").long(0).long(2).long(5).long(3).long(1).long(1);
    let deep = level.0.repeat(100_000);
    let (_, reasons) = decoded(&[deep], &rich_format(Mapping::default()));
    assert_eq!(reasons, [Reason::TooDeep]);
}

fn mapping_of(user: &str) -> Option<Mapping> {
    Some(Mapping { user_id: path(user), event_type: path("kind"), event_time: path("at"), value: path("amount"), ..Mapping::default() })
}

fn version(user: &str, more: &str) -> String {
    format!(
        r#"{{"type":"record","name":"E","fields":[{user},{{"name":"kind","type":"string"}},{{"name":"at","type":{{"type":"long","logicalType":"timestamp-millis"}}}}{more}]}}"#
    )
}

#[test]
fn each_record_is_read_by_the_schema_that_it_was_written_with() {
    let fake = Fake::default();
    let amount = r#",{"name":"amount","type":"double","default":2.5}"#;
    fake.add(1, SchemaKind::Avro, &version(r#"{"name":"user","type":"string"}"#, ""));
    fake.add(2, SchemaKind::Avro, &version(r#"{"name":"userId","type":"string","aliases":["user"]}"#, amount));
    fake.add(3, SchemaKind::Avro, &version(r#"{"name":"userId","type":"long"}"#, r#",{"name":"amount","type":"int"}"#));
    let base = |user: Bytes, at: i64| user.text("purchase").long(at);
    let records = [
        framed(1, &[], &base(Bytes::default().text("a"), 1).0),
        framed(2, &[], &base(Bytes::default().text("b"), 2).double(8.0).0),
        framed(3, &[], &base(Bytes::default().long(33), 3).long(9).0),
        framed(1, &[], &base(Bytes::default().text("d"), 4).0),
    ];
    let users = |batch: &EventBatch| (0..batch.len()).map(|i| String::from_utf8_lossy(batch.users.get(i)).into_owned()).collect::<Vec<_>>();
    let encoding = |reader| Encoding::Avro { framing: Framing::Confluent, writer: Writer::Registry(fake.cache()), reader };
    // By the name that the first version had, the second has it by its alias; the third by another path.
    let mut mapping = mapping_of("user");
    mapping.as_mut().expect("is there").user_id.extend(path("userId"));
    let (batch, reasons) = decoded(&records, &of(encoding(None), mapping));
    assert_eq!((users(&batch), reasons), (vec!["a".into(), "b".into(), "33".into(), "d".into()], vec![]));
    assert_eq!((&batch.values[..], &batch.values_valid[..]), (&[0.0, 8.0, 9.0, 0.0][..], &[false, true, true, false][..]));
    assert_eq!(*fake.asked.lock().expect("free"), [1, 2, 3], "each is asked for once");
    // By a reader's schema, what the writer does not have takes the default.
    let reader = avro::Schema::parse(&version(r#"{"name":"userId","type":"string","aliases":["user"]}"#, amount), &[]).expect("a schema");
    let (batch, reasons) = decoded(&records, &of(encoding(Some(Arc::new(reader))), mapping_of("userId")));
    assert_eq!((users(&batch), reasons), (vec!["a".into(), "b".into(), "33".into(), "d".into()], vec![]));
    assert_eq!(batch.values, [2.5, 8.0, 9.0, 2.5]);
    assert_eq!(batch.times, [1, 2, 3, 4]);
}

#[test]
fn records_wait_for_a_schema_that_cannot_be_had_and_are_refused_when_there_is_none() {
    let fake = Fake::default();
    fake.add(1, SchemaKind::Avro, &version(r#"{"name":"user","type":"string"}"#, ""));
    fake.add(6, SchemaKind::Protobuf, PROTO);
    fake.add(7, SchemaKind::Avro, "no schema");
    fake.away.store(true, Ordering::Relaxed);
    let formats = of(Encoding::Avro { framing: Framing::Confluent, writer: Writer::Registry(fake.cache()), reader: None }, mapping_of("user"));
    let record = Bytes::default().text("a").text("view").long(1).0;
    let records = [framed(1, &[], &record), framed(9, &[], &record), framed(6, &[], &record), framed(7, &[], &record), record];
    assert_eq!(decode(&records, &formats).err().map(|away| away.id), Some(1));
    fake.away.store(false, Ordering::Relaxed);
    let (batch, reasons) = decoded(&records, &formats);
    assert_eq!((batch.len(), reasons), (1, vec![Reason::UnknownSchema, Reason::UnusableSchema, Reason::UnusableSchema, Reason::NotFramed]));
    // What is known is not asked for again, and neither soon what is not.
    fake.away.store(true, Ordering::Relaxed);
    assert_eq!(decoded(&records, &formats).1.len(), 4);
}

#[test]
fn topics_have_formats_of_their_own() {
    let proto = proto_event();
    let encoding = Encoding::Protobuf { framing: Framing::None, writer: Writer::Local(proto.clone()) };
    let default_type = Mapping { event_type_default: Some("{topic}-event".into()), event_type: vec![], ..Mapping::default() };
    let formats = Arc::new(Formats {
        default: Format::default(),
        topics: BTreeMap::from([
            ("proto".to_string(), Format { encoding, mapping: None }),
            ("clicks".to_string(), Format { encoding: JSON, mapping: Some(default_type) }),
        ]),
    });
    let plain = json!({"userId": "u", "eventType": "view", "timestamp": 5});
    let records = [plain.to_string().into_bytes(), proto_record(&proto, &plain), json!({"userId": "u", "timestamp": 5}).to_string().into_bytes()];
    let (data, spans) = together(&records);
    let names: Vec<Arc<str>> = ["plain", "proto", "clicks"].map(Into::into).to_vec();
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    let topics = Topics::Each(&[0, 1, 2], &names);
    Decoder::new(projection(), &formats).decode(&data, &spans, topics, &mut out, &mut rejected).expect("no registry");
    assert_eq!(rejected, []);
    let types: Vec<&[u8]> = (0..3).map(|i| out.texts[0].text.get(i)).collect();
    assert_eq!(types, [&b"view"[..], b"view", b"clicks-event"]);
    assert_eq!(out.texts[3].text.get(2), b"clicks");
}

#[test]
fn times_have_units_and_attributes_have_paths() {
    let event = |time: Value| json!({"userId": 7, "eventType": "x", "timestamp": time, "device": {"os": "a", "up": true}, "n": 1.50}).to_string();
    let attributes = vec![("os".to_string(), path("device.os")), ("category".to_string(), [path("no"), path("device.up")].concat())];
    let time = |unit, time: Value| {
        let mapping = Mapping { event_time_unit: unit, metadata: None, attributes: attributes.clone(), ..Mapping::default() };
        let (batch, reasons) = decoded(&[event(time).into_bytes()], &of(JSON, Some(mapping)));
        if let Some(reason) = reasons.first() {
            return Err(*reason);
        }
        assert_eq!(entries(&batch, 0), [("os".into(), Some("a".into())), ("category".into(), Some("true".into()))]);
        assert_eq!((batch.texts[1].text.get(0), batch.users.get(0)), (&b"true"[..], &b"7"[..]));
        Ok(batch.times[0])
    };
    assert_eq!(time(TimeUnit::Seconds, json!(1_700_000_000)), Ok(1_700_000_000_000));
    assert_eq!(time(TimeUnit::Seconds, json!(1_700_000_000.123)), Ok(1_700_000_000_123));
    assert_eq!(time(TimeUnit::Micros, json!(-1)), Ok(-1));
    assert_eq!(time(TimeUnit::Nanos, json!(1_999_999)), Ok(1));
    assert_eq!(time(TimeUnit::Rfc3339, json!("2023-11-14T22:13:20.123+00:00")), Ok(1_700_000_000_123));
    assert_eq!(time(TimeUnit::Rfc3339, json!("2023-11-14T23:13:20+01:00")), Ok(1_700_000_000_000));
    for (unit, wrong) in [
        (TimeUnit::Millis, json!(1.5)),
        (TimeUnit::Seconds, json!(1e300)),
        (TimeUnit::Seconds, json!(i64::MAX)),
        (TimeUnit::Rfc3339, json!(5)),
        (TimeUnit::Rfc3339, json!("yesterday")),
        (TimeUnit::Micros, json!("5")),
    ] {
        assert_eq!(time(unit, wrong), Err(Reason::InvalidTimestamp));
    }
    assert_eq!(time(TimeUnit::Millis, Value::Null), Err(Reason::MissingTimestamp));
}

#[test]
fn messages_of_google_are_what_they_stand_for() {
    let text = r#"
        syntax = "proto3";
        import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto";
        import "kinds.proto";
        message Event {
            google.protobuf.StringValue user_id = 1; kinds.Kind event_type = 2; google.protobuf.Timestamp timestamp = 3;
            google.protobuf.Int64Value value = 4; google.protobuf.Struct metadata = 5; repeated int32 list = 6;
        }
    "#;
    let kinds = r#"syntax = "proto3"; package kinds; enum Kind { NONE = 0; purchase = 1; }"#;
    let messages = Messages::compile(text, &[("kinds.proto".into(), kinds.into())]).expect("compiles");
    let event = messages.only().expect("is the only one");
    let json = json!({"userId": "u", "eventType": "purchase", "timestamp": "2023-11-14T22:13:20.123Z", "value": "12",
        "metadata": {"category": 3.5, "deep": {"a": [1.5]}}, "list": [1, 2]});
    let records = [proto_record(&event, &json), proto_record(&event, &json!({"userId": "", "eventType": "NONE", "timestamp": "1970-01-01T00:00:00Z"}))];
    let mapping = Mapping { attributes: vec![("list".into(), path("list"))], ..Mapping::default() };
    let encoding = Encoding::Protobuf { framing: Framing::None, writer: Writer::Local(event) };
    let (batch, reasons) = decoded(&records, &of(encoding, Some(mapping)));
    assert_eq!(reasons, [Reason::EmptyUserId]);
    assert_eq!((batch.times[0], batch.values[0], batch.users.get(0)), (1_700_000_000_123, 12.0, &b"u"[..]));
    let texts = [("category", "3.5"), ("deep", "{\"a\":[1.5]}"), ("list", "[1,2]")];
    assert_eq!(entries(&batch, 0), texts.map(|(k, v)| (k.to_string(), Some(v.to_string()))));
}
