//! What a reader finds of one record, and what becomes of it: the event rules (docs/events.md), then a row of each column.

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;

use super::mapping::{Mapping, TimeUnit, Tree};
use crate::decode::columns::{Dictionary, push_text};
use crate::decode::{EventBatch, MAX_TIMESTAMP_MS, MAX_USER_ID_BYTES, Projection, Reason, TextField, Topics};

/// A text: a span of the record, or of the scratch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span {
    Record(u32, u32),
    Scratch(u32, u32),
}

/// What stands at a path. Texts of what is not a text are there where they are wanted only.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Captured {
    #[default]
    Absent,
    Null,
    Text(Span),
    /// A number; as float perhaps not finite.
    Number {
        float: f64,
        integer: Option<i64>,
        text: Span,
    },
    Bool(bool),
    /// A time whose unit the schema gives, ms since the epoch.
    Instant {
        millis: i64,
        text: Span,
    },
    /// An array, object, or what else has no other form, as JSON text.
    Nested(Span),
}

pub(super) const NO_TEXT: Span = Span::Scratch(0, 0);

/// What stands where the metadata should.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Metadata {
    #[default]
    None,
    Object,
    Wrong,
}

/// What was found of one record.
#[derive(Default)]
pub(super) struct Captures {
    pub values: Vec<Captured>,
    pub metadata: Metadata,
    /// All entries of the metadata, when the whole map is wanted.
    pub entries: Vec<(Span, Captured)>,
    pub scratch: Vec<u8>,
}

impl Captures {
    /// Forgets a record.
    pub fn reset(&mut self, leaves: usize) {
        self.values.clear();
        self.values.resize(leaves, Captured::Absent);
        self.metadata = Metadata::None;
        self.entries.clear();
        self.scratch.clear();
    }

    /// Keeps a text that is not in the record as it is.
    pub fn keep(&mut self, text: &[u8]) -> Span {
        let start = self.scratch.len() as u32;
        self.scratch.extend_from_slice(text);
        Span::Scratch(start, self.scratch.len() as u32)
    }

    /// The same, of what formats itself.
    pub fn keep_shown(&mut self, what: impl std::fmt::Display) -> Span {
        use std::io::Write;
        let start = self.scratch.len() as u32;
        // Writing into memory does not fail.
        let _ = write!(self.scratch, "{what}");
        Span::Scratch(start, self.scratch.len() as u32)
    }

    /// An integer, with its digits where they are wanted.
    pub fn integer(&mut self, integer: i64, text: bool) -> Captured {
        let text = if text { self.keep_shown(integer) } else { NO_TEXT };
        Captured::Number { float: integer as f64, integer: Some(integer), text }
    }

    /// A float, with the text that JSON would have, where it is wanted.
    pub fn float(&mut self, float: f64, text: bool) -> Captured {
        let text = if text { self.keep_shown(Shown(float)) } else { NO_TEXT };
        Captured::Number { float, integer: None, text }
    }

    fn first(&self, leaves: &[usize]) -> Captured {
        let found = leaves.iter().map(|leaf| self.values[*leaf]);
        found.into_iter().find(|c| !matches!(c, Captured::Absent | Captured::Null)).unwrap_or_default()
    }

    fn resolve<'a>(&'a self, record: &'a [u8], span: Span) -> &'a [u8] {
        match span {
            Span::Record(start, end) => &record[start as usize..end as usize],
            Span::Scratch(start, end) => &self.scratch[start as usize..end as usize],
        }
    }

    /// Anything as text; nothing, for nothing and null.
    fn text<'a>(&'a self, record: &'a [u8], captured: Captured) -> Option<&'a [u8]> {
        match captured {
            Captured::Absent | Captured::Null => None,
            Captured::Bool(true) => Some(b"true"),
            Captured::Bool(false) => Some(b"false"),
            Captured::Text(span) | Captured::Nested(span) | Captured::Number { text: span, .. } | Captured::Instant { text: span, .. } => {
                Some(self.resolve(record, span))
            }
        }
    }

    /// What names something: a text, or the digits of an integer.
    fn name<'a>(&'a self, record: &'a [u8], captured: Captured) -> Option<&'a [u8]> {
        match captured {
            Captured::Text(span) | Captured::Number { integer: Some(_), text: span, .. } => Some(self.resolve(record, span)),
            _ => None,
        }
    }
}

/// A float as JSON has it: whole ones with `.0`, as serde_json writes them; others that JSON cannot write by their names.
struct Shown(f64);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match serde_json::Number::from_f64(self.0) {
            Some(number) => write!(f, "{number}"),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Makes rows of what was captured.
pub(super) struct Rows {
    pub tree: Tree,
    projection: Projection,
    dictionaries: Vec<Option<Dictionary>>,
    event_type: Option<usize>,
    session_id: Option<usize>,
    topic: Option<usize>,
    type_default: Option<String>,
    unit: TimeUnit,
    /// The default type of the last record without one.
    made: String,
}

/// What every event has.
struct Checked {
    user: Captured,
    event_type: Captured,
    time: i64,
    value: Option<f64>,
    session: Captured,
}

impl Rows {
    pub fn new(mapping: &Mapping, projection: &Projection) -> Self {
        let position = |field: TextField| projection.texts.iter().position(|t| t.field == field);
        Rows {
            tree: Tree::new(mapping, projection),
            dictionaries: projection.texts.iter().map(Dictionary::new).collect(),
            event_type: position(TextField::EventType),
            session_id: position(TextField::SessionId),
            topic: position(TextField::Topic),
            type_default: mapping.event_type_default.clone(),
            unit: mapping.event_time_unit,
            made: String::new(),
            projection: projection.clone(),
        }
    }

    /// Appends a record, if it is an event.
    pub fn add(&mut self, record: &[u8], found: &Captures, (index, topics): (u32, Topics<'_>), out: &mut EventBatch) -> Result<(), Reason> {
        let topic = topics.of(index as usize);
        let checked = self.check(record, found, topic)?;
        self.append(record, found, &checked, topic, out);
        out.records.push(index);
        Ok(())
    }

    /// The rules on fields, in the order of [`Reason`].
    fn check(&mut self, record: &[u8], found: &Captures, topic: Option<&str>) -> Result<Checked, Reason> {
        let user = found.first(&self.tree.user);
        match found.name(record, user).map(<[u8]>::len) {
            _ if user == Captured::Absent => return Err(Reason::MissingUserId),
            None => return Err(Reason::InvalidUserId),
            Some(0) => return Err(Reason::EmptyUserId),
            Some(n) if n > MAX_USER_ID_BYTES => return Err(Reason::UserIdTooLong),
            Some(_) => {}
        }
        let event_type = found.first(&self.tree.event_type);
        match (event_type, &self.type_default) {
            (Captured::Absent, Some(default)) => self.made = default.replace("{topic}", topic.unwrap_or_default()),
            (Captured::Absent, None) => return Err(Reason::MissingEventType),
            _ => self.made.clear(),
        }
        match found.name(record, event_type).map(<[u8]>::len) {
            None if event_type != Captured::Absent => return Err(Reason::InvalidEventType),
            Some(0) => return Err(Reason::EmptyEventType),
            None if self.made.is_empty() => return Err(Reason::EmptyEventType),
            _ => {}
        }
        let time = self.time(record, found)?;
        let value = match found.first(&self.tree.value) {
            Captured::Absent => None,
            Captured::Number { float, .. } if float.is_finite() => Some(float + 0.0),
            _ => return Err(Reason::InvalidValue),
        };
        let session = found.first(&self.tree.session);
        if session != Captured::Absent && found.name(record, session).is_none() {
            return Err(Reason::InvalidSessionId);
        }
        if found.metadata == Metadata::Wrong {
            return Err(Reason::InvalidMetadata);
        }
        Ok(Checked { user, event_type, time, value, session })
    }

    fn time(&self, record: &[u8], found: &Captures) -> Result<i64, Reason> {
        let millis = match (found.first(&self.tree.time), self.unit) {
            (Captured::Absent, _) => return Err(Reason::MissingTimestamp),
            (Captured::Instant { millis, .. }, _) => Some(millis),
            (Captured::Number { integer: Some(n), .. }, TimeUnit::Millis) => Some(n),
            (Captured::Number { integer: Some(n), .. }, TimeUnit::Micros) => Some(n.div_euclid(1_000)),
            (Captured::Number { integer: Some(n), .. }, TimeUnit::Nanos) => Some(n.div_euclid(1_000_000)),
            (Captured::Number { integer: Some(n), .. }, TimeUnit::Seconds) => n.checked_mul(1_000),
            // To the nearest millisecond: 0.001 has no exact float.
            (Captured::Number { float, .. }, TimeUnit::Seconds) => {
                Some((float * 1e3).round()).filter(|ms| ms.abs() <= MAX_TIMESTAMP_MS as f64).map(|ms| ms as i64)
            }
            (Captured::Text(span), TimeUnit::Rfc3339) => {
                let text = std::str::from_utf8(found.resolve(record, span)).unwrap_or_default();
                string_to_timestamp_nanos(text).ok().map(|ns| ns.div_euclid(1_000_000))
            }
            _ => None,
        };
        millis.filter(|ms| (-MAX_TIMESTAMP_MS..=MAX_TIMESTAMP_MS).contains(ms)).ok_or(Reason::InvalidTimestamp)
    }

    fn append(&self, record: &[u8], found: &Captures, checked: &Checked, topic: Option<&str>, out: &mut EventBatch) {
        out.users.push(found.name(record, checked.user).unwrap_or_default());
        out.times.push(checked.time);
        if self.projection.value {
            out.values.push(checked.value.unwrap_or(0.0));
            out.values_valid.push(checked.value.is_some());
        }
        let mut column = |i: usize, text: Option<&[u8]>| push_text(&self.projection.texts[i], &self.dictionaries[i], &mut out.texts[i], text);
        if let Some(i) = self.event_type {
            column(i, Some(found.name(record, checked.event_type).unwrap_or(self.made.as_bytes())));
        }
        if let Some(i) = self.session_id {
            column(i, found.name(record, checked.session));
        }
        if let Some(i) = self.topic {
            column(i, topic.map(str::as_bytes));
        }
        for (i, leaves) in &self.tree.keys {
            column(*i, found.text(record, found.first(leaves)));
        }
        self.append_metadata(record, found, out);
    }

    fn append_metadata(&self, record: &[u8], found: &Captures, out: &mut EventBatch) {
        let Some(map) = &mut out.metadata else { return };
        let own = |name: &[u8]| self.tree.attributes.iter().any(|(n, _)| n.as_bytes() == name);
        for (n, (key, value)) in found.entries.iter().enumerate() {
            let name = found.resolve(record, *key);
            let again = found.entries[n + 1..].iter().any(|(k, _)| found.resolve(record, *k) == name);
            if again || own(name) {
                continue;
            }
            let text = found.text(record, *value);
            map.keys.push(name);
            map.values.push(text.unwrap_or_default());
            map.values_valid.push(text.is_some());
        }
        let mut any = found.metadata == Metadata::Object;
        for (name, leaves) in &self.tree.attributes {
            if let Some(text) = found.text(record, found.first(leaves)) {
                map.keys.push(name.as_bytes());
                map.values.push(text);
                map.values_valid.push(true);
                any = true;
            }
        }
        map.offsets.push(map.keys.len() as u32);
        map.valid.push(any);
    }
}

/// What a JSON value is at a node of the tree, and below it.
pub(super) fn from_json(found: &mut Captures, tree: &Tree, node: usize, value: &serde_json::Value) {
    let node = &tree.nodes[node];
    if let Some(leaf) = node.leaf {
        found.values[leaf] = json_value(found, value);
    }
    if node.metadata {
        found.metadata = match value {
            serde_json::Value::Object(_) => Metadata::Object,
            serde_json::Value::Null => Metadata::None,
            _ => Metadata::Wrong,
        };
    }
    let serde_json::Value::Object(object) = value else { return };
    if node.metadata && tree.entries {
        for (name, value) in object {
            let key = found.keep(name.as_bytes());
            let value = json_value(found, value);
            found.entries.push((key, value));
        }
    }
    for (name, child) in &node.children {
        if let Some(value) = object.get(&**name) {
            from_json(found, tree, *child, value);
        }
    }
}

/// A JSON value by itself.
pub(super) fn json_value(found: &mut Captures, value: &serde_json::Value) -> Captured {
    use serde_json::Value;
    match value {
        Value::Null => Captured::Null,
        Value::Bool(b) => Captured::Bool(*b),
        Value::String(text) => Captured::Text(found.keep(text.as_bytes())),
        Value::Number(n) => match n.as_i64() {
            Some(integer) => found.integer(integer, true),
            None => found.float(n.as_f64().unwrap_or(f64::NAN), true),
        },
        Value::Array(_) | Value::Object(_) => Captured::Nested(found.keep_shown(value)),
    }
}
