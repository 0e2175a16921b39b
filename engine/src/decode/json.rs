//! JSON records → [`EventBatch`]: one strict pass over each record's bytes.
//!
//! The scanner checks the whole record against RFC 8259, whatever the projection, but builds only what is
//! projected: texts without escapes are copied straight from the input, numbers are parsed in place, and
//! nothing is allocated for an event. UTF-8 is checked for some records at a time, which are then near, and record by record only
//! where that fails. Before all that, `Layouts` tries whether the record looks like earlier ones.

mod layout;
mod lines;
pub(crate) mod scan;

use super::columns::{Dictionary, clear, push_part, push_text};
use super::{Batches, EventBatch, MAX_TIMESTAMP_MS, MAX_USER_ID_BYTES, Projection, Reason, Rejected, TextField, Topics};
use layout::{Field, Fields, Layouts};
pub use lines::{Newlines, is_blank, split_lines};
use scan::{Fault, Scanner, Token};

/// Records whose UTF-8 is checked together.
const TOGETHER: usize = 64;

/// Decodes JSON records under a projection. Keeps scratch memory from batch to batch.
pub struct JsonDecoder {
    projection: Projection,
    event_type: Option<usize>,
    session_id: Option<usize>,
    topic: Option<usize>,
    /// Projected metadata keys with their text column.
    keys: Vec<(Box<[u8]>, usize)>,
    dictionaries: Vec<Option<Dictionary>>,
    record: Record,
    layouts: Layouts,
    foretold: Fields,
    /// For each text column, which of the foretold texts it takes; none for the topic.
    sources: Vec<Option<usize>>,
}

/// A text of the record: a span of the input, or of the scratch of unescaped texts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Text {
    #[default]
    Null,
    Input(u32, u32),
    Scratch(u32, u32),
}

/// A member of the record that is checked after the whole record is known to be JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Member<T> {
    #[default]
    Absent,
    Null,
    Wrong,
    Is(T),
}

#[derive(Default)]
struct Record {
    user: Member<Text>,
    event_type: Member<Text>,
    time: Member<i64>,
    value: Member<f64>,
    session_id: Member<Text>,
    metadata: Member<()>,
    /// Texts of the projected metadata keys.
    picked: Vec<Text>,
    /// All metadata entries, when the map is projected.
    entries: Vec<(Text, Text)>,
    scratch: Vec<u8>,
}

impl JsonDecoder {
    /// A decoder for a projection.
    pub fn new(projection: Projection) -> Self {
        let position = |field: TextField| projection.texts.iter().position(|t| t.field == field);
        let keys: Vec<_> = projection
            .texts
            .iter()
            .enumerate()
            .filter_map(|(i, t)| match &t.field {
                TextField::Metadata(key) => Some((key.as_bytes().into(), i)),
                _ => None,
            })
            .collect();
        JsonDecoder {
            event_type: position(TextField::EventType),
            session_id: position(TextField::SessionId),
            topic: position(TextField::Topic),
            dictionaries: projection.texts.iter().map(Dictionary::new).collect(),
            record: Record { picked: vec![Text::Null; keys.len()], ..Record::default() },
            layouts: Layouts::default(),
            foretold: Fields::new(keys.len()),
            sources: projection.texts.iter().enumerate().map(|(i, text)| source(&text.field, keys.iter().position(|(_, column)| *column == i))).collect(),
            keys,
            projection,
        }
    }

    /// Decodes the records `data[start..end]` of `spans`, which come in the order of the data, into `out`; those that break a rule go to
    /// `rejected`. Both are cleared first.
    pub fn decode(&mut self, data: &[u8], spans: &[(u32, u32)], topics: Topics<'_>, out: &mut impl Batches, rejected: &mut Vec<Rejected>) {
        out.each().for_each(|batch| clear(&self.projection, batch));
        rejected.clear();
        let mut index = 0;
        for some in spans.chunks(TOGETHER) {
            let (start, end) = (some.first().map_or(0, |span| span.0), some.last().map_or(0, |span| span.1));
            let are_utf8 = data.get(start as usize..end as usize).is_some_and(|bytes| simdutf8::basic::from_utf8(bytes).is_ok());
            for &span in some {
                if let Err(reason) = self.add(data, span, (index, topics), are_utf8, out) {
                    rejected.push(Rejected { record: index, reason });
                }
                index += 1;
            }
        }
    }

    /// Decodes one more record, of an index within the raw batch, into `out`; `is_utf8` when it is known to be.
    #[inline]
    pub(crate) fn add(
        &mut self,
        data: &[u8],
        (start, end): (u32, u32),
        (index, topics): (u32, Topics<'_>),
        is_utf8: bool,
        out: &mut impl Batches,
    ) -> Result<(), Reason> {
        let record = data.get(start as usize..end as usize).unwrap_or_default();
        if !is_utf8 && std::str::from_utf8(record).is_err() {
            return Err(Reason::NotUtf8);
        }
        if self.foretell(data, start as usize, end as usize) {
            let (from, to) = self.foretold.texts[Fields::USER];
            self.append_foretold(data, topics, index, out.of(&data[from as usize..to as usize]));
            return Ok(());
        }
        match self.read(record).and_then(|()| self.check(record)).inspect(|_| self.learn(record)) {
            Ok((user, event_type, time)) => {
                let out = out.of(resolve(record, &self.record.scratch, user));
                self.append(record, user, event_type, time, topics, index, out);
                Ok(())
            }
            // What is no UTF-8 by itself may be, with its neighbours in memory.
            Err(reason) => Err(if std::str::from_utf8(record).is_err() { Reason::NotUtf8 } else { reason }),
        }
    }

    /// Whether the layout of a record is known and its fields, then in `self.foretold`, keep the rules.
    #[inline]
    fn foretell(&mut self, data: &[u8], start: usize, end: usize) -> bool {
        let fields = &mut self.foretold;
        if !self.layouts.walk(data, start, end, fields) {
            return false;
        }
        let length = |(from, to): (u32, u32)| (to - from) as usize;
        (1..=MAX_USER_ID_BYTES).contains(&length(fields.texts[Fields::USER]))
            && length(fields.texts[Fields::EVENT_TYPE]) > 0
            && fields.time.is_some_and(|time| (-MAX_TIMESTAMP_MS..=MAX_TIMESTAMP_MS).contains(&time))
    }

    /// Appends the event that was foretold.
    #[inline]
    fn append_foretold(&self, data: &[u8], topics: Topics<'_>, index: u32, out: &mut EventBatch) {
        let fields = &self.foretold;
        out.users.push_part(data, fields.texts[Fields::USER]);
        out.times.push(fields.time.unwrap_or_default());
        out.records.push(index);
        if self.projection.value {
            out.values.push(fields.value.map_or(0.0, |value| value + 0.0));
            out.values_valid.push(fields.value.is_some());
        }
        for (i, source) in self.sources.iter().enumerate() {
            let (spec, dictionary, column) = (&self.projection.texts[i], &self.dictionaries[i], &mut out.texts[i]);
            match source {
                Some(text) => push_part(spec, dictionary, column, data, fields.texts[*text]),
                None => push_text(spec, dictionary, column, topics.of(index as usize).map(str::as_bytes)),
            }
        }
    }

    /// Remembers the layout of a record that was accepted. Whole metadata have no layout.
    fn learn(&mut self, record: &[u8]) {
        if !self.projection.metadata {
            let keys = &self.keys;
            let field = |name: &[u8]| keys.iter().position(|(k, _)| **k == *name).map_or(Field::None, |i| Field::Key(i as u16));
            self.layouts.learn(record, field, self.foretold.texts.len());
        }
    }

    /// Reads one record into `self.record`.
    fn read(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let record = &mut self.record;
        record.user = Member::Absent;
        record.event_type = Member::Absent;
        record.time = Member::Absent;
        record.value = Member::Absent;
        record.session_id = Member::Absent;
        record.metadata = Member::Absent;
        record.picked.fill(Text::Null);
        record.entries.clear();
        record.scratch.clear();
        let mut scanner = Scanner::new(bytes);
        scanner.skip_space();
        if scanner.peek() != Some(b'{') {
            scanner.skip_value(0).map_err(fault)?;
            scanner.end().map_err(fault)?;
            return Err(Reason::NotObject);
        }
        scanner.bump();
        let mut first = true;
        while scanner.next_member(&mut first).map_err(fault)? {
            self.member(&mut scanner).map_err(fault)?;
        }
        scanner.end().map_err(fault)
    }

    #[inline]
    fn member(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Fault> {
        let key = scanner.string()?;
        scanner.colon()?;
        let record = &mut self.record;
        let bytes = scanner.bytes();
        let escaped;
        let name: &[u8] = match key {
            Token { escaped: false, start, end } => &bytes[start..end],
            token => {
                let mut text = vec![];
                unescape(bytes, token, &mut text)?;
                escaped = text;
                &escaped
            }
        };
        match name {
            b"userId" => record.user = text_member(scanner, &mut record.scratch)?,
            b"eventType" => record.event_type = text_member(scanner, &mut record.scratch)?,
            b"timestamp" => record.time = integer_member(scanner)?,
            b"value" => record.value = number_member(scanner)?,
            b"sessionId" => record.session_id = text_member(scanner, &mut record.scratch)?,
            b"metadata" => {
                record.picked.fill(Text::Null);
                record.entries.clear();
                self.record.metadata = self.metadata_member(scanner)?;
            }
            _ => scanner.skip_value(1)?,
        }
        Ok(())
    }

    fn metadata_member(&mut self, scanner: &mut Scanner<'_>) -> Result<Member<()>, Fault> {
        if scanner.peek() != Some(b'{') {
            return if scanner.null()? { Ok(Member::Null) } else { scanner.skip_value(1).map(|()| Member::Wrong) };
        }
        scanner.bump();
        let record = &mut self.record;
        let mut first = true;
        while scanner.next_member(&mut first)? {
            let key = scanner.string()?;
            scanner.colon()?;
            let key = text_of(scanner.bytes(), key, &mut record.scratch)?;
            let name = resolve(scanner.bytes(), &record.scratch, key);
            let column = self.keys.iter().position(|(k, _)| **k == *name);
            if column.is_none() && !self.projection.metadata {
                scanner.skip_value(2)?;
                continue;
            }
            let value = metadata_value(scanner, &mut record.scratch)?;
            if let Some(column) = column {
                record.picked[column] = value;
            }
            if self.projection.metadata {
                record.entries.push((key, value));
            }
        }
        Ok(Member::Is(()))
    }

    /// The rules on fields, in the order of [`Reason`].
    fn check(&self, bytes: &[u8]) -> Result<(Text, Text, i64), Reason> {
        let record = &self.record;
        let user = required(record.user, Reason::MissingUserId, Reason::InvalidUserId)?;
        match resolve(bytes, &record.scratch, user).len() {
            0 => return Err(Reason::EmptyUserId),
            n if n > MAX_USER_ID_BYTES => return Err(Reason::UserIdTooLong),
            _ => {}
        }
        let event_type = required(record.event_type, Reason::MissingEventType, Reason::InvalidEventType)?;
        if resolve(bytes, &record.scratch, event_type).is_empty() {
            return Err(Reason::EmptyEventType);
        }
        let time = required(record.time, Reason::MissingTimestamp, Reason::InvalidTimestamp)?;
        if !(-MAX_TIMESTAMP_MS..=MAX_TIMESTAMP_MS).contains(&time) {
            return Err(Reason::InvalidTimestamp);
        }
        match (record.value, record.session_id, record.metadata) {
            (Member::Wrong, ..) => Err(Reason::InvalidValue),
            (_, Member::Wrong, _) => Err(Reason::InvalidSessionId),
            (_, _, Member::Wrong) => Err(Reason::InvalidMetadata),
            _ => Ok((user, event_type, time)),
        }
    }

    #[inline]
    #[allow(clippy::too_many_arguments)]
    fn append(&self, bytes: &[u8], user: Text, event_type: Text, time: i64, topics: Topics<'_>, index: u32, out: &mut EventBatch) {
        let record = &self.record;
        out.users.push(resolve(bytes, &record.scratch, user));
        out.times.push(time);
        out.records.push(index);
        if self.projection.value {
            let (value, valid) = if let Member::Is(x) = record.value { (x + 0.0, true) } else { (0.0, false) };
            out.values.push(value);
            out.values_valid.push(valid);
        }
        let mut column = |i: usize, text: Option<&[u8]>| push_text(&self.projection.texts[i], &self.dictionaries[i], &mut out.texts[i], text);
        if let Some(i) = self.event_type {
            column(i, Some(resolve(bytes, &record.scratch, event_type)));
        }
        if let Some(i) = self.session_id {
            let text = if let Member::Is(text) = record.session_id { Some(resolve(bytes, &record.scratch, text)) } else { None };
            column(i, text);
        }
        if let Some(i) = self.topic {
            column(i, topics.of(index as usize).map(str::as_bytes));
        }
        for ((_, i), text) in self.keys.iter().zip(&record.picked) {
            column(*i, (*text != Text::Null).then(|| resolve(bytes, &record.scratch, *text)));
        }
        if let Some(map) = &mut out.metadata {
            for (n, (key, value)) in record.entries.iter().enumerate() {
                let name = resolve(bytes, &record.scratch, *key);
                if record.entries[n + 1..].iter().any(|(k, _)| resolve(bytes, &record.scratch, *k) == name) {
                    continue;
                }
                map.keys.push(name);
                map.values.push(resolve(bytes, &record.scratch, *value));
                map.values_valid.push(*value != Text::Null);
            }
            map.offsets.push(map.keys.len() as u32);
            map.valid.push(record.metadata == Member::Is(()));
        }
    }
}

/// Which of the foretold texts is a field's, of which `key` says which projected metadata key it is; none for the topic.
fn source(field: &TextField, key: Option<usize>) -> Option<usize> {
    match field {
        TextField::EventType => Some(Fields::EVENT_TYPE),
        TextField::SessionId => Some(Fields::SESSION),
        TextField::Metadata(_) => key.map(|key| Fields::KEYS + key),
        TextField::Topic => None,
    }
}

pub(crate) fn fault(fault: Fault) -> Reason {
    match fault {
        Fault::TooDeep => Reason::TooDeep,
        Fault::Syntax => Reason::NotJson,
    }
}

fn required<T>(member: Member<T>, missing: Reason, wrong: Reason) -> Result<T, Reason> {
    match member {
        Member::Is(x) => Ok(x),
        Member::Absent | Member::Null => Err(missing),
        Member::Wrong => Err(wrong),
    }
}

#[inline]
fn resolve<'a>(input: &'a [u8], scratch: &'a [u8], text: Text) -> &'a [u8] {
    match text {
        Text::Null => &[],
        Text::Input(start, end) => &input[start as usize..end as usize],
        Text::Scratch(start, end) => &scratch[start as usize..end as usize],
    }
}

#[inline]
fn text_of(bytes: &[u8], token: Token, scratch: &mut Vec<u8>) -> Result<Text, Fault> {
    if !token.escaped {
        return Ok(Text::Input(token.start as u32, token.end as u32));
    }
    let start = scratch.len() as u32;
    unescape(bytes, token, scratch)?;
    Ok(Text::Scratch(start, scratch.len() as u32))
}

fn unescape(bytes: &[u8], token: Token, into: &mut Vec<u8>) -> Result<(), Fault> {
    scan::unescape(&bytes[token.start..token.end], into)
}

#[inline]
fn text_member(scanner: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> Result<Member<Text>, Fault> {
    if scanner.peek() == Some(b'"') {
        let token = scanner.string()?;
        return text_of(scanner.bytes(), token, scratch).map(Member::Is);
    }
    if scanner.null()? { Ok(Member::Null) } else { scanner.skip_value(1).map(|()| Member::Wrong) }
}

fn metadata_value(scanner: &mut Scanner<'_>, scratch: &mut Vec<u8>) -> Result<Text, Fault> {
    if scanner.peek() == Some(b'"') {
        let token = scanner.string()?;
        return text_of(scanner.bytes(), token, scratch);
    }
    if scanner.null()? {
        return Ok(Text::Null);
    }
    let start = scanner.position();
    scanner.skip_value(2)?;
    Ok(Text::Input(start as u32, scanner.position() as u32))
}

#[inline]
fn integer_member(scanner: &mut Scanner<'_>) -> Result<Member<i64>, Fault> {
    if !scanner.at_number() {
        return if scanner.null()? { Ok(Member::Null) } else { scanner.skip_value(1).map(|()| Member::Wrong) };
    }
    Ok(scanner.number()?.integer().map_or(Member::Wrong, Member::Is))
}

#[inline]
fn number_member(scanner: &mut Scanner<'_>) -> Result<Member<f64>, Fault> {
    if !scanner.at_number() {
        return if scanner.null()? { Ok(Member::Null) } else { scanner.skip_value(1).map(|()| Member::Wrong) };
    }
    Ok(scanner.number()?.float(scanner.bytes()).map_or(Member::Wrong, Member::Is))
}

#[cfg(test)]
mod tests;
