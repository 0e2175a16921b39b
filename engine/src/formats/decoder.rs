//! Sends each record to the reader of its topic's format.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::capture::{Captures, Rows};
use super::schemas::{Parsed, SchemaCache};
use super::{Asked, Away, Encoding, Format, Formats, Framing, Writer, avro, json, protobuf};
use crate::decode::columns::clear;
use crate::decode::json::JsonDecoder;
use crate::decode::{ByPartition, EventBatch, Projection, Reason, Rejected, Topics};

/// Decodes records under a projection, whatever their topics' formats. Keeps scratch memory from batch to batch.
pub enum Decoder {
    /// All records are plain JSON events.
    Plain(Box<JsonDecoder>),
    /// Records go by their topics.
    ByTopic(Box<ByTopic>),
}

/// A reader for each format.
pub struct ByTopic {
    formats: Arc<Formats>,
    projection: Projection,
    /// The first is that of topics without a format of their own.
    readers: Vec<Reader>,
    /// The one that last lacked a schema.
    lacking: Option<usize>,
    topics: FxHashMap<String, usize>,
}

/// Schemas that a reader keeps what it made of. When there are more, all is made anew.
const KEPT: usize = 256;

/// Bytes of Confluent's framing.
const HEADER: usize = 5;
/// The key of what all records are read with, where no registry is asked.
const LOCAL: u32 = 0;
/// The most indexes of a message: messages lie in one another.
const DEEPEST: u32 = 32;

enum Reader {
    /// With the fields of plain events; and whether five bytes stand before them.
    Plain(Box<JsonDecoder>, bool),
    Json {
        rows: Box<Rows>,
        found: Captures,
        framed: bool,
    },
    Avro(Box<AvroReader>),
    Protobuf(Box<ProtobufReader>),
}

struct AvroReader {
    rows: Rows,
    found: Captures,
    framing: Framing,
    reader: Option<Arc<avro::Schema>>,
    cache: Option<Arc<SchemaCache>>,
    plans: FxHashMap<u32, Result<avro::Plan, Reason>>,
}

struct ProtobufReader {
    rows: Rows,
    found: Captures,
    framing: Framing,
    cache: Option<Arc<SchemaCache>>,
    plans: FxHashMap<(u32, Vec<u32>), Result<protobuf::Plan, Reason>>,
}

impl Decoder {
    /// A decoder of records of these formats.
    pub fn new(projection: Projection, formats: &Arc<Formats>) -> Self {
        if formats.are_plain() {
            return Decoder::Plain(Box::new(JsonDecoder::new(projection)));
        }
        let all = std::iter::once(&formats.default).chain(formats.topics.values());
        let readers = all.map(|format| Reader::new(format, &projection)).collect();
        let topics = formats.topics.keys().cloned().zip(1..).collect();
        Decoder::ByTopic(Box::new(ByTopic { formats: Arc::clone(formats), projection, readers, lacking: None, topics }))
    }

    /// The same of other columns.
    pub fn with(&self, projection: Projection) -> Self {
        match self {
            Decoder::Plain(_) => Decoder::Plain(Box::new(JsonDecoder::new(projection))),
            Decoder::ByTopic(by_topic) => Decoder::new(projection, &by_topic.formats),
        }
    }

    /// Asks for the schema that records could not be decoded without, and does not wait for it.
    pub fn ask(&self, id: u32) -> Asked {
        let Decoder::ByTopic(by_topic) = self else { return Asked::Come };
        by_topic.lacking.and_then(|reader| by_topic.readers[reader].cache()).map_or(Asked::Come, |cache| cache.ask(id))
    }

    /// Decodes the records `data[start..end]` of `spans` into `out`; those that break a rule go to `rejected`. Both are
    /// cleared first.
    ///
    /// # Errors
    /// When a schema cannot be had now; the same records may then be decoded again.
    pub fn decode(&mut self, data: &[u8], spans: &[(u32, u32)], topics: Topics<'_>, out: &mut EventBatch, rejected: &mut Vec<Rejected>) -> Result<(), Away> {
        match self {
            Decoder::Plain(json) => {
                json.decode(data, spans, topics, out, rejected);
                Ok(())
            }
            Decoder::ByTopic(by_topic) => by_topic.decode(data, spans, topics, out, rejected),
        }
    }
}

impl Decoder {
    /// As [`Decoder::decode`], each event into the batch of its partition; `all` is room for those of other formats.
    ///
    /// # Errors
    /// As there.
    pub fn decode_by_partition(
        &mut self,
        data: &[u8],
        spans: &[(u32, u32)],
        topics: Topics<'_>,
        out: &mut ByPartition<'_, impl Fn(&[u8]) -> usize>,
        all: &mut EventBatch,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), Away> {
        if let Decoder::Plain(json) = self {
            json.decode(data, spans, topics, out, rejected);
            return Ok(());
        }
        self.decode(data, spans, topics, all, rejected)?;
        all.share(out);
        Ok(())
    }
}

impl ByTopic {
    fn decode(&mut self, data: &[u8], spans: &[(u32, u32)], topics: Topics<'_>, out: &mut EventBatch, rejected: &mut Vec<Rejected>) -> Result<(), Away> {
        clear(&self.projection, out);
        rejected.clear();
        let (mut last, mut reader) = (None, 0);
        for (i, &span) in spans.iter().enumerate() {
            let topic = topics.of(i);
            // Records of a topic come together, mostly.
            if topic != last {
                reader = topic.and_then(|topic| self.topics.get(topic)).copied().unwrap_or(0);
                last = topic;
            }
            let added = self.readers[reader].add(data, span, (i as u32, topics), out);
            if let Err(reason) = added.inspect_err(|_| self.lacking = Some(reader))? {
                rejected.push(Rejected { record: i as u32, reason });
            }
        }
        Ok(())
    }
}

impl Reader {
    fn new(format: &Format, projection: &Projection) -> Self {
        let rows = || Rows::new(&format.mapping.clone().unwrap_or_default(), projection);
        match &format.encoding {
            Encoding::Json { framed } if format.mapping.is_none() => Reader::Plain(Box::new(JsonDecoder::new(projection.clone())), *framed),
            Encoding::Json { framed } => Reader::Json { rows: Box::new(rows()), found: Captures::default(), framed: *framed },
            Encoding::Avro { framing, writer, reader } => {
                let rows = rows();
                let mut plans = FxHashMap::default();
                let cache = match writer {
                    Writer::Local(schema) => {
                        plans.insert(LOCAL, Ok(avro::Plan::new(schema, reader.as_ref(), &rows.tree)));
                        None
                    }
                    Writer::Registry(cache) => Some(Arc::clone(cache)),
                };
                Reader::Avro(Box::new(AvroReader { rows, found: Captures::default(), framing: *framing, reader: reader.clone(), cache, plans }))
            }
            Encoding::Protobuf { framing, writer } => {
                let rows = rows();
                let mut plans = FxHashMap::default();
                let cache = match writer {
                    Writer::Local(message) => {
                        plans.insert((LOCAL, vec![]), Ok(protobuf::Plan::new(message, &rows.tree)));
                        None
                    }
                    Writer::Registry(cache) => Some(Arc::clone(cache)),
                };
                Reader::Protobuf(Box::new(ProtobufReader { rows, found: Captures::default(), framing: *framing, cache, plans }))
            }
        }
    }

    /// Where it asks for schemas.
    fn cache(&self) -> Option<&Arc<SchemaCache>> {
        match self {
            Reader::Avro(reader) => reader.cache.as_ref(),
            Reader::Protobuf(reader) => reader.cache.as_ref(),
            Reader::Plain(..) | Reader::Json { .. } => None,
        }
    }

    /// Appends a record to `out`, if it is an event.
    fn add(&mut self, data: &[u8], span: (u32, u32), at: (u32, Topics<'_>), out: &mut EventBatch) -> Result<Result<(), Reason>, Away> {
        let record = data.get(span.0 as usize..span.1 as usize).unwrap_or_default();
        match self {
            Reader::Plain(json, framed) => Ok(match start(record, *framed) {
                Ok(start) => json.add(data, (span.0 + start as u32, span.1), at, false, out),
                Err(reason) => Err(reason),
            }),
            Reader::Json { rows, found, framed } => Ok(start(record, *framed).and_then(|start| {
                let record = &record[start..];
                json::read(record, &rows.tree, found)?;
                rows.add(record, found, at, out)
            })),
            Reader::Avro(reader) => reader.add(record, at, out),
            Reader::Protobuf(reader) => reader.add(record, at, out),
        }
    }
}

/// Where JSON begins.
fn start(record: &[u8], framed: bool) -> Result<usize, Reason> {
    if framed { header(record).map(|_| HEADER) } else { Ok(0) }
}

/// The id of a record's schema.
fn header(record: &[u8]) -> Result<u32, Reason> {
    match record {
        [0, a, b, c, d, ..] => Ok(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => Err(Reason::NotFramed),
    }
}

impl AvroReader {
    fn add(&mut self, record: &[u8], at: (u32, Topics<'_>), out: &mut EventBatch) -> Result<Result<(), Reason>, Away> {
        let (id, start) = match (self.framing, record) {
            (Framing::None, _) => (LOCAL, 0),
            (Framing::SingleObject, [0xc3, 0x01, rest @ ..]) if rest.len() >= 8 => (LOCAL, 10),
            (Framing::SingleObject, _) => return Ok(Err(Reason::NotFramed)),
            (Framing::Confluent, _) => match header(record) {
                Ok(id) => (id, HEADER),
                Err(reason) => return Ok(Err(reason)),
            },
        };
        let id = if let Some(cache) = &self.cache {
            if !self.plans.contains_key(&id) {
                let plan = match cache.get(id)? {
                    Parsed::Avro(schema) => Ok(avro::Plan::new(&schema, self.reader.as_ref(), &self.rows.tree)),
                    Parsed::Protobuf(_) => Err(Reason::UnusableSchema),
                    Parsed::Not(reason) => Err(reason),
                };
                keep(&mut self.plans, id, plan);
            }
            id
        } else {
            LOCAL
        };
        Ok(match self.plans.get(&id) {
            Some(Ok(plan)) => {
                let read = plan.read(record, start, &self.rows.tree, &mut self.found);
                read.and_then(|()| self.rows.add(record, &self.found, at, out))
            }
            Some(Err(reason)) => Err(forget_unknown(*reason, &mut self.plans, &id)),
            None => Err(Reason::UnknownSchema),
        })
    }
}

impl ProtobufReader {
    fn add(&mut self, record: &[u8], at: (u32, Topics<'_>), out: &mut EventBatch) -> Result<Result<(), Reason>, Away> {
        let mut key = (LOCAL, vec![]);
        let mut message = record;
        if self.framing == Framing::Confluent {
            match header(record).and_then(|id| Ok((id, indexes(&record[HEADER..])?))) {
                Ok((id, (indexes, start))) => {
                    message = &record[HEADER + start..];
                    if self.cache.is_some() {
                        key = (id, indexes);
                    }
                }
                Err(reason) => return Ok(Err(reason)),
            }
        }
        if let Some(cache) = self.cache.as_ref().filter(|_| !self.plans.contains_key(&key)) {
            let plan = match cache.get(key.0)? {
                Parsed::Protobuf(messages) => messages.at(&key.1).map(|message| protobuf::Plan::new(&message, &self.rows.tree)).ok_or(Reason::UnusableSchema),
                Parsed::Avro(_) => Err(Reason::UnusableSchema),
                Parsed::Not(reason) => Err(reason),
            };
            keep(&mut self.plans, key.clone(), plan);
        }
        Ok(match self.plans.get(&key) {
            Some(Ok(plan)) => {
                let read = plan.read(message, &self.rows.tree, &mut self.found);
                read.and_then(|()| self.rows.add(message, &self.found, at, out))
            }
            Some(Err(reason)) => Err(forget_unknown(*reason, &mut self.plans, &key)),
            None => Err(Reason::UnknownSchema),
        })
    }
}

/// The indexes of a message, and how many bytes they take: their number, then each, as zigzag varints; none stand for
/// the first.
fn indexes(bytes: &[u8]) -> Result<(Vec<u32>, usize), Reason> {
    let mut at = 0;
    let mut next = || {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = *bytes.get(at).filter(|_| shift < 63).ok_or(Reason::NotFramed)?;
            at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // None is negative.
                return u32::try_from(value >> 1).ok().filter(|_| value & 1 == 0).ok_or(Reason::NotFramed);
            }
            shift += 7;
        }
    };
    let count = next()?;
    if count > DEEPEST {
        return Err(Reason::NotFramed);
    }
    let indexes = (0..count).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
    Ok((if indexes == [0] { vec![] } else { indexes }, at))
}

fn keep<K: std::hash::Hash + Eq, P>(plans: &mut FxHashMap<K, P>, key: K, plan: P) {
    if plans.len() >= KEPT {
        plans.clear();
    }
    plans.insert(key, plan);
}

/// An id that was not known may be later on: the cache says when to ask again.
fn forget_unknown<K: std::hash::Hash + Eq, P>(reason: Reason, plans: &mut FxHashMap<K, P>, key: &K) -> Reason {
    if reason == Reason::UnknownSchema {
        plans.remove(key);
    }
    reason
}
