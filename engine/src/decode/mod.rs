//! Bytes → [`EventBatch`]: what a micro-batch of records holds, in columns.
//!
//! A decoder validates every record against the event rules (docs/events.md) and keeps only the columns
//! that some segment reads. Records that break a rule are *rejected*: they become dead letters with a
//! [`Reason`] and never reach a window. Nothing here knows windows, users' state or time.

pub(crate) mod columns;
pub mod json;

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Earliest and latest `timestamp` accepted, in milliseconds since the epoch (±275,760 years, the range
/// of an ECMAScript date), so that window arithmetic cannot overflow.
pub const MAX_TIMESTAMP_MS: i64 = 8_640_000_000_000_000;

/// Longest `userId`, in bytes of UTF-8.
pub const MAX_USER_ID_BYTES: usize = 256;

/// Deepest nesting of arrays and objects in a record.
pub const MAX_DEPTH: usize = 128;

/// Why a record became a dead letter. When a record breaks several rules, the first in this order names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Reason {
    /// Larger than the largest record accepted.
    TooLarge,
    /// Without the bytes that name its schema.
    NotFramed,
    /// Its schema is not known to the registry.
    UnknownSchema,
    /// Its schema cannot be used: of another kind, or not well-formed.
    UnusableSchema,
    /// Not what its Avro schema says.
    NotAvro,
    /// Not what its Protobuf message says.
    NotProtobuf,
    /// Not valid UTF-8.
    NotUtf8,
    /// Nested deeper than [`MAX_DEPTH`].
    TooDeep,
    /// Not one JSON value.
    NotJson,
    /// JSON, but not an object.
    NotObject,
    /// `userId` is absent or null.
    MissingUserId,
    /// `userId` is not a string.
    InvalidUserId,
    /// `userId` is empty.
    EmptyUserId,
    /// `userId` is longer than [`MAX_USER_ID_BYTES`].
    UserIdTooLong,
    /// `eventType` is absent or null.
    MissingEventType,
    /// `eventType` is not a string.
    InvalidEventType,
    /// `eventType` is empty.
    EmptyEventType,
    /// `timestamp` is absent or null.
    MissingTimestamp,
    /// `timestamp` is not an integer of milliseconds within ±[`MAX_TIMESTAMP_MS`].
    InvalidTimestamp,
    /// `value` is neither null nor a finite number.
    InvalidValue,
    /// `sessionId` is neither null nor a string.
    InvalidSessionId,
    /// `metadata` is neither null nor an object.
    InvalidMetadata,
    /// Further ahead of the wall clock than `max_future` (live mode only).
    FutureTimestamp,
    /// Too late for at least one window (the event still counts in every window that is open).
    Late,
    /// JSON, but no SegmentResult, where results are read.
    InvalidResult,
}

impl Reason {
    /// The stable name used in files, headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::TooLarge => "too_large",
            Reason::NotFramed => "not_framed",
            Reason::UnknownSchema => "unknown_schema",
            Reason::UnusableSchema => "unusable_schema",
            Reason::NotAvro => "not_avro",
            Reason::NotProtobuf => "not_protobuf",
            Reason::NotUtf8 => "not_utf8",
            Reason::TooDeep => "too_deep",
            Reason::NotJson => "not_json",
            Reason::NotObject => "not_object",
            Reason::MissingUserId => "missing_user_id",
            Reason::InvalidUserId => "invalid_user_id",
            Reason::EmptyUserId => "empty_user_id",
            Reason::UserIdTooLong => "user_id_too_long",
            Reason::MissingEventType => "missing_event_type",
            Reason::InvalidEventType => "invalid_event_type",
            Reason::EmptyEventType => "empty_event_type",
            Reason::MissingTimestamp => "missing_timestamp",
            Reason::InvalidTimestamp => "invalid_timestamp",
            Reason::InvalidValue => "invalid_value",
            Reason::InvalidSessionId => "invalid_session_id",
            Reason::InvalidMetadata => "invalid_metadata",
            Reason::FutureTimestamp => "future_timestamp",
            Reason::Late => "late",
            Reason::InvalidResult => "invalid_result",
        }
    }
}

/// A text field of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TextField {
    /// `eventType`
    EventType,
    /// `sessionId`
    SessionId,
    /// The topic the record came from.
    Topic,
    /// `metadata[key]`
    Metadata(String),
}

/// Dictionary id of an absent or null text.
pub const TEXT_NULL: u32 = 0;
/// Dictionary id of a text that no predicate names.
pub const TEXT_OTHER: u32 = 1;

/// One text field to decode, as dictionary ids, as text, or both.
#[derive(Debug, Clone)]
pub struct TextColumnSpec {
    /// Which field.
    pub field: TextField,
    /// The texts that predicates name; each is decoded to its id (2 and up); others are
    /// [`TEXT_OTHER`], null is [`TEXT_NULL`].
    pub dictionary: Option<Arc<FxHashMap<Box<[u8]>, u32>>>,
    /// Whether the text itself is needed.
    pub text: bool,
}

/// What to decode beside user and time, which are always decoded.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    /// Whether `value` is needed.
    pub value: bool,
    /// Text fields; their order is the order of [`EventBatch::texts`].
    pub texts: Vec<TextColumnSpec>,
    /// Whether the whole metadata map is needed ([`EventBatch::metadata`]).
    pub metadata: bool,
}

/// Bytes of a text that are worth copying at once.
const SOME: usize = 16;

/// Variable-length texts in one buffer: text `i` is `bytes[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextBuffer {
    /// All texts, one after the other; valid UTF-8.
    pub bytes: Vec<u8>,
    /// `len + 1` offsets into `bytes`, the first 0 (empty when there are no texts).
    pub offsets: Vec<u32>,
}

/// One decoded text column; `ids` is filled when the spec has a dictionary, `text` and `valid` when it
/// asks for text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextColumn {
    /// Dictionary id of each row.
    pub ids: Vec<u32>,
    /// Text of each row (empty where null).
    pub text: TextBuffer,
    /// Whether the text of each row is not null.
    pub valid: Vec<bool>,
}

/// The whole metadata of each row, as needed for an Arrow map: row `i` has entries
/// `offsets[i]..offsets[i + 1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MapColumn {
    /// `rows + 1` offsets into the entries, the first 0 (empty when there are no rows).
    pub offsets: Vec<u32>,
    /// Whether the map of each row is not null.
    pub valid: Vec<bool>,
    /// Keys of all entries, unique within a row.
    pub keys: TextBuffer,
    /// Values of all entries (empty where null).
    pub values: TextBuffer,
    /// Whether the value of each entry is not null.
    pub values_valid: Vec<bool>,
}

/// The events of one micro-batch that passed validation, in arrival order. Reused from batch to batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventBatch {
    /// `userId` of each row.
    pub users: TextBuffer,
    /// `timestamp` of each row, milliseconds since the epoch.
    pub times: Vec<i64>,
    /// `value` of each row (0.0 where null, never -0.0); empty unless projected.
    pub values: Vec<f64>,
    /// Whether `value` is not null; empty unless projected.
    pub values_valid: Vec<bool>,
    /// One column for each of [`Projection::texts`].
    pub texts: Vec<TextColumn>,
    /// The metadata maps, when projected.
    pub metadata: Option<MapColumn>,
    /// Index of the record that each row came from, within the raw batch.
    pub records: Vec<u32>,
}

/// Where decoded events go: to one batch, or to the batch of their user.
pub trait Batches {
    /// The batch that takes the events of a user.
    fn of(&mut self, user: &[u8]) -> &mut EventBatch;

    /// All batches.
    fn each(&mut self) -> impl Iterator<Item = &mut EventBatch>;
}

impl Batches for EventBatch {
    #[inline]
    fn of(&mut self, _: &[u8]) -> &mut EventBatch {
        self
    }

    fn each(&mut self) -> impl Iterator<Item = &mut EventBatch> {
        std::iter::once(self)
    }
}

/// A batch for each partition, and which partition a user is in.
pub struct ByPartition<'a, F> {
    /// The batches, by partition.
    pub batches: &'a mut [EventBatch],
    /// The partition of a user, which is one of those.
    pub partition: F,
}

impl<F: Fn(&[u8]) -> usize> Batches for ByPartition<'_, F> {
    #[inline]
    fn of(&mut self, user: &[u8]) -> &mut EventBatch {
        &mut self.batches[(self.partition)(user)]
    }

    fn each(&mut self) -> impl Iterator<Item = &mut EventBatch> {
        self.batches.iter_mut()
    }
}

/// The topics that the records of a batch came from.
#[derive(Debug, Clone, Copy)]
pub enum Topics<'a> {
    /// None that is known.
    None,
    /// One.
    All(&'a str),
    /// For each record, the index of its topic.
    Each(&'a [u16], &'a [Arc<str>]),
}

impl<'a> Topics<'a> {
    /// The topic of a record.
    #[inline]
    pub fn of(self, record: usize) -> Option<&'a str> {
        match self {
            Topics::None => None,
            Topics::All(topic) => Some(topic),
            Topics::Each(indices, topics) => indices.get(record).and_then(|&i| topics.get(usize::from(i))).map(|t| &**t),
        }
    }
}

impl<'a> From<Option<&'a str>> for Topics<'a> {
    fn from(topic: Option<&'a str>) -> Self {
        topic.map_or(Topics::None, Topics::All)
    }
}

/// A record that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejected {
    /// Index of the record within the raw batch.
    pub record: u32,
    /// Why.
    pub reason: Reason,
}

impl TextBuffer {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Text `i` as bytes of UTF-8. Panics when `i` is out of range.
    pub fn get(&self, i: usize) -> &[u8] {
        &self.bytes[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Appends a text.
    pub fn push(&mut self, text: &[u8]) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.bytes.extend_from_slice(text);
        self.offsets.push(self.bytes.len() as u32);
    }

    /// Appends a text that lies within other data, from and to.
    #[inline]
    pub(crate) fn push_part(&mut self, data: &[u8], (from, to): (u32, u32)) {
        let (from, to) = (from as usize, to as usize);
        match data.get(from..).and_then(|rest| rest.first_chunk::<SOME>()) {
            // Copied whole, as their number is then known when this is compiled, and cut.
            Some(some) if to - from <= SOME && !self.offsets.is_empty() => {
                let end = self.bytes.len() + to - from;
                self.bytes.extend_from_slice(some);
                self.bytes.truncate(end);
                self.offsets.push(end as u32);
            }
            _ => self.push(&data[from..to]),
        }
    }

    /// Forgets all texts, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.clear();
    }
}

impl EventBatch {
    /// Number of events.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Makes the batches anew, each of the events of its users.
    pub fn share(&self, batches: &mut ByPartition<'_, impl Fn(&[u8]) -> usize>) {
        let mut rows: Vec<Vec<u32>> = vec![vec![]; batches.batches.len()];
        (0..self.len()).for_each(|i| rows[(batches.partition)(self.users.get(i))].push(i as u32));
        batches.batches.iter_mut().zip(&rows).for_each(|(batch, rows)| *batch = self.select(rows));
    }

    /// The given rows as a batch of their own.
    pub fn select(&self, rows: &[u32]) -> EventBatch {
        fn pick<T: Copy>(from: &[T], rows: &[u32]) -> Vec<T> {
            if from.is_empty() { vec![] } else { rows.iter().map(|&r| from[r as usize]).collect() }
        }
        let texts = |from: &TextBuffer| {
            let mut to = TextBuffer::default();
            if !from.is_empty() && !rows.is_empty() {
                // As many bytes a row as in all rows; if these have more, it grows.
                to.bytes.reserve(from.bytes.len() / from.len() * rows.len() + SOME);
                to.offsets.reserve(rows.len() + 1);
                to.offsets.push(0);
                rows.iter().for_each(|&r| to.push_part(&from.bytes, (from.offsets[r as usize], from.offsets[r as usize + 1])));
            }
            to
        };
        let column = |c: &TextColumn| TextColumn { ids: pick(&c.ids, rows), text: texts(&c.text), valid: pick(&c.valid, rows) };
        EventBatch {
            users: texts(&self.users),
            times: pick(&self.times, rows),
            values: pick(&self.values, rows),
            values_valid: pick(&self.values_valid, rows),
            texts: self.texts.iter().map(column).collect(),
            metadata: self.metadata.as_ref().map(|m| m.select(rows)),
            records: pick(&self.records, rows),
        }
    }
}

impl MapColumn {
    fn select(&self, rows: &[u32]) -> MapColumn {
        let mut to = MapColumn { offsets: vec![0], ..MapColumn::default() };
        for &row in rows {
            let row = row as usize;
            for entry in self.offsets[row] as usize..self.offsets[row + 1] as usize {
                to.keys.push(self.keys.get(entry));
                to.values.push(self.values.get(entry));
                to.values_valid.push(self.values_valid[entry]);
            }
            to.offsets.push(to.keys.len() as u32);
            to.valid.push(self.valid[row]);
        }
        to
    }
}
