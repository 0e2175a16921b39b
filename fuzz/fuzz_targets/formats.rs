//! Records of other formats may be anything: Avro, Protobuf and JSON, with Confluent's framing, Avro's own, or none, over
//! schemas with everything in them. Decoding must neither panic nor take more memory than a record's size allows for;
//! and what was decoded before must not matter. The first byte chooses the format.
#![no_main]

// One function of Arrow is all that the decoders need of DataFusion.
extern crate self as datafusion;

/// Where the decoders look for it.
pub mod arrow {
    /// As in Arrow.
    pub mod compute {
        /// As in Arrow.
        pub mod kernels {
            /// As in Arrow.
            pub mod cast_utils {
                pub use arrow_cast::parse::string_to_timestamp_nanos;
            }
        }
    }
}

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../engine/src/decode/mod.rs"]
mod decode;
#[allow(dead_code, unused_imports)]
#[path = "../../engine/src/formats/mod.rs"]
mod formats;

use decode::{EventBatch, Projection, TextColumnSpec, TextField, Topics};
use formats::avro::Schema;
use formats::mapping::{Path, TimeUnit};
use formats::protobuf::Messages;
use formats::schemas::{Registered, SchemaKind, SchemaSource};
use formats::{Away, Decoder, Encoding, Format, Formats, Framing, Mapping, SchemaCache, Writer};

/// Memory beside what a record's bytes allow for: what decoders and schemas keep.
const BASE: usize = 4 << 20;
/// Bytes of memory for each byte of a record.
const FOR_EACH: usize = 512;

/// Counts what is in use, and the most that was.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn take(bytes: usize) {
    let used = USED.fetch_add(bytes, Ordering::Relaxed) + bytes;
    MOST.fetch_max(used, Ordering::Relaxed);
}

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A record of every type, that may hold itself.
const AVRO: &str = r#"{"type": "record", "name": "Event", "namespace": "fuzz", "fields": [
  {"name": "userId", "type": ["null", "string", "long", {"type": "fixed", "name": "F", "size": 3}]},
  {"name": "eventType", "type": {"type": "enum", "name": "E", "symbols": ["view", "purchase"], "default": "view"}},
  {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "value", "type": ["null", "double", "float", "int", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]},
  {"name": "metadata", "type": ["null", {"type": "map", "values": ["null", "string", "boolean", {"type": "array", "items": "fuzz.Event"}]}]},
  {"name": "more", "type": {"type": "array", "items": ["null", "bytes", "fuzz.Event", {"type": "map", "values": "long"}]}},
  {"name": "next", "type": ["null", "fuzz.Event"], "default": null}]}"#;

const PROTO: &str = r#"syntax = "proto3"; package fuzz;
message Event { string userId = 1; Kind eventType = 2; int64 timestamp = 3; optional double value = 4; map<string, string> metadata = 5;
  repeated Event more = 6; Event next = 7; bytes raw = 8; repeated sint32 packed = 9; fixed64 f = 10; enum Kind { VIEW = 0; PURCHASE = 1; } message Inner { string userId = 1; Event event = 2; } }
message Other { Event event = 1; repeated Other others = 2; string userId = 3; int64 timestamp = 4; }"#;

/// A registry in which the last digit of an id says what there is.
struct Registry;

impl SchemaSource for Registry {
    fn fetch(&self, id: u32) -> Result<Option<Registered>, Away> {
        let of = |kind, text: &str| Some(Registered { kind, text: text.into(), references: vec![] });
        match id % 6 {
            0 => Ok(of(SchemaKind::Avro, AVRO)),
            1 => Ok(of(SchemaKind::Protobuf, PROTO)),
            2 => Ok(of(SchemaKind::Avro, r#""string""#)),
            3 => Ok(of(SchemaKind::Json, "{}")),
            4 => Err(Away { id, why: "away".into() }),
            _ => Ok(None),
        }
    }
}

fn projection() -> Projection {
    let text = |field| TextColumnSpec { field, dictionary: None, text: true };
    Projection { value: true, texts: vec![text(TextField::EventType), text(TextField::Metadata("category".into())), text(TextField::SessionId)], metadata: true }
}

fn path(text: &str) -> Vec<Path> {
    vec![Path::parse(text).expect("a path")]
}

/// Fields that lie deep, and metadata of the whole record.
fn mapping() -> Mapping {
    Mapping {
        user_id: [path("next.userId"), path("userId")].concat(),
        event_type: path("eventType"),
        event_time: [path("next.next.timestamp"), path("timestamp")].concat(),
        event_time_unit: TimeUnit::Rfc3339,
        value: path("value"),
        session_id: path("metadata.session"),
        metadata: Some(Path::parse(".").expect("a path")),
        ..Mapping::default()
    }
}

fn all() -> Vec<Arc<Formats>> {
    let avro = Arc::new(Schema::parse(AVRO, &[]).expect("a schema"));
    let proto = Messages::compile(PROTO, &[]).expect("messages");
    let registry = Arc::new(SchemaCache::new(Box::new(Registry)));
    let (event, other) = (proto.named("fuzz.Event").expect("a message"), proto.named("fuzz.Other").expect("a message"));
    let local = |framing, reader| Encoding::Avro { framing, writer: Writer::Local(avro.clone()), reader };
    let message = |framing, message| Encoding::Protobuf { framing, writer: Writer::Local(message) };
    let encodings = [
        local(Framing::None, None),
        local(Framing::None, Some(avro.clone())),
        local(Framing::SingleObject, None),
        local(Framing::Confluent, None),
        Encoding::Avro { framing: Framing::Confluent, writer: Writer::Registry(registry.clone()), reader: None },
        message(Framing::None, event.clone()),
        message(Framing::None, other),
        message(Framing::Confluent, event),
        Encoding::Protobuf { framing: Framing::Confluent, writer: Writer::Registry(registry) },
        Encoding::Json { framed: true },
        Encoding::Json { framed: false },
    ];
    let format = |encoding: &Encoding, mapping| Arc::new(Formats { default: Format { encoding: encoding.clone(), mapping }, topics: BTreeMap::new() });
    encodings.iter().flat_map(|e| [format(e, None), format(e, Some(mapping()))]).collect()
}

thread_local! {
    static KEPT: RefCell<(Vec<Arc<Formats>>, Vec<Decoder>)> = RefCell::new({
        let formats = all();
        let decoders = formats.iter().map(|f| Decoder::new(projection(), f)).collect();
        (formats, decoders)
    });
}

/// What comes of a record, and the most memory that it took.
fn decode_one(decoder: &mut Decoder, record: &[u8]) -> (Option<EventBatch>, Vec<decode::Rejected>, usize) {
    let (mut out, mut rejected) = (EventBatch::default(), vec![]);
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let outcome = decoder.decode(record, &[(0, record.len() as u32)], Topics::None, &mut out, &mut rejected);
    let took = MOST.load(Ordering::Relaxed).saturating_sub(before);
    (outcome.ok().map(|()| out), rejected, took)
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, record)) = input.split_first() else { return };
    KEPT.with_borrow_mut(|(formats, decoders)| {
        let i = usize::from(choice) % formats.len();
        let (found, rejected, took) = decode_one(&mut decoders[i], record);
        assert!(took <= BASE + FOR_EACH * record.len(), "{took} bytes of memory for {} of a record", record.len());
        let (fresh, fresh_rejected, _) = decode_one(&mut Decoder::new(projection(), &formats[i]), record);
        assert_eq!((&found, &rejected), (&fresh, &fresh_rejected));
        // An event, or why it is none; nothing, where its schema is away.
        assert_eq!(found.map_or(1, |found| found.len() + rejected.len()), 1);
    });
});
