//! Walks over a record's bytes as its [`Plan`] says.

use std::io::Write;

use serde_json::Value;

use super::plan::{Constant, Plan, Step};
use super::schema::{Kind, Logical, Schema};
use crate::decode::{MAX_DEPTH, Reason};
use crate::formats::capture::{Captured, Captures, Metadata, NO_TEXT, Span, json_value};
use crate::formats::mapping::Tree;

impl Plan {
    /// Reads the record that is `bytes` from `start` on into `found`.
    pub fn read(&self, bytes: &[u8], start: usize, tree: &Tree, found: &mut Captures) -> Result<(), Reason> {
        found.reset(tree.leaves);
        let mut reader = Reader { cursor: Cursor { schema: &self.schema, bytes, at: start }, reader: self.reader.as_deref(), tree, found };
        reader.step(&self.root)?;
        if reader.cursor.at == bytes.len() { Ok(()) } else { Err(Reason::NotAvro) }
    }
}

/// Where the record ends that starts at `start`.
///
/// # Errors
/// When it is not of the schema.
pub fn record_end(schema: &Schema, bytes: &[u8], start: usize) -> Result<usize, Reason> {
    let mut cursor = Cursor { schema, bytes, at: start };
    cursor.skip(schema.root, 0)?;
    Ok(cursor.at)
}

struct Cursor<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Reason> {
        let byte = self.bytes.get(self.at).copied().ok_or(Reason::NotAvro)?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn integer(&mut self) -> Result<i64, Reason> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(Reason::NotAvro);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
        }
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Reason> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count)).ok_or(Reason::NotAvro)?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        self.take(N)?.try_into().map_err(|_| Reason::NotAvro)
    }

    fn sized(&mut self) -> Result<&'a [u8], Reason> {
        let length = usize::try_from(self.integer()?).map_err(|_| Reason::NotAvro)?;
        self.take(length)
    }

    fn branch(&mut self, branches: usize) -> Result<usize, Reason> {
        usize::try_from(self.integer()?).ok().filter(|b| *b < branches).ok_or(Reason::NotAvro)
    }

    /// Items of the next block of an array or map, none at its end; and its bytes, where they are told.
    fn block(&mut self) -> Result<(u64, Option<usize>), Reason> {
        let count = self.integer()?;
        if count >= 0 {
            return Ok((count as u64, None));
        }
        let size = usize::try_from(self.integer()?).map_err(|_| Reason::NotAvro)?;
        Ok((count.unsigned_abs(), Some(size)))
    }

    /// Steps over a value that lies inside `depth` others.
    fn skip(&mut self, of: usize, depth: usize) -> Result<(), Reason> {
        let schema = self.schema;
        if schema.types[of].empty {
            return Ok(());
        }
        if depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        match schema.kind(of) {
            Kind::Null => Ok(()),
            Kind::Boolean => self.byte().map(drop),
            Kind::Integer | Kind::Enum(_) => self.integer().map(drop),
            Kind::Float => self.take(4).map(drop),
            Kind::Double => self.take(8).map(drop),
            Kind::Bytes | Kind::String => self.sized().map(drop),
            Kind::Fixed(size) => self.take(*size).map(drop),
            Kind::Union(branches) => {
                let branch = self.branch(branches.len())?;
                self.skip(branches[branch], depth)
            }
            Kind::Record(fields) => fields.iter().try_for_each(|f| self.skip(f.kind, depth + 1)),
            Kind::Array(items) => self.items(|cursor| cursor.skip(*items, depth + 1)),
            Kind::Map(values) => self.items(|cursor| {
                cursor.sized()?;
                cursor.skip(*values, depth + 1)
            }),
        }
    }

    /// Steps over blocks; item by item where their bytes are not told. An item takes at least a byte.
    fn items(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Reason>) -> Result<(), Reason> {
        loop {
            match self.block()? {
                (0, _) => return Ok(()),
                (_, Some(size)) => drop(self.take(size)?),
                (count, None) => {
                    for _ in 0..count {
                        item(self)?;
                    }
                }
            }
        }
    }
}

struct Reader<'a, 'f> {
    cursor: Cursor<'a>,
    reader: Option<&'a Schema>,
    tree: &'a Tree,
    found: &'f mut Captures,
}

impl Reader<'_, '_> {
    /// Steps of plans are as deep as paths are long.
    fn step(&mut self, step: &Step) -> Result<(), Reason> {
        match step {
            Step::Skip(of) => self.cursor.skip(*of, 0),
            Step::Value { of, leaf, text } => {
                let captured = self.capture(*of, *text)?;
                self.found.values[*leaf] = captured;
                Ok(())
            }
            Step::Note(metadata) => {
                self.found.metadata = *metadata;
                Ok(())
            }
            Step::Record { fields, constants } => {
                constants.iter().for_each(|c| self.constant(c.node, c.of, &c.value));
                fields.iter().try_for_each(|field| self.step(field))
            }
            Step::Map { values, children } => self.each_item(|reader| {
                let key = reader.cursor.sized()?;
                match children.iter().find(|(name, _)| name.as_bytes() == key) {
                    Some((_, step)) => reader.step(step),
                    None => reader.cursor.skip(*values, 0),
                }
            }),
            Step::RecordEntries { fields, defaults } => self.record_entries(fields, defaults),
            Step::MapEntries { values } => self.each_item(|reader| {
                let key = reader.text()?;
                let value = reader.capture(*values, true)?;
                reader.found.entries.push((key, value));
                Ok(())
            }),
            Step::Union(branches) => {
                let branch = self.cursor.branch(branches.len())?;
                self.step(&branches[branch])
            }
            Step::Several(steps) => {
                let start = self.cursor.at;
                steps.iter().try_for_each(|step| {
                    self.cursor.at = start;
                    self.step(step)
                })
            }
        }
    }

    fn each_item(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Reason>) -> Result<(), Reason> {
        loop {
            let (count, _) = self.cursor.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                item(self)?;
            }
        }
    }

    fn record_entries(&mut self, fields: &[(usize, Option<Box<str>>)], defaults: &[(Box<str>, Constant)]) -> Result<(), Reason> {
        for (of, name) in fields {
            let Some(name) = name else {
                self.cursor.skip(*of, 0)?;
                continue;
            };
            let key = self.found.keep(name.as_bytes());
            let value = self.capture(*of, true)?;
            self.found.entries.push((key, value));
        }
        for (name, default) in defaults {
            let key = self.found.keep(name.as_bytes());
            let value = self.default_value(default.of, &default.value);
            self.found.entries.push((key, value));
        }
        Ok(())
    }

    /// A text of the record.
    fn text(&mut self) -> Result<Span, Reason> {
        let text = self.cursor.sized()?;
        if simdutf8::basic::from_utf8(text).is_err() {
            return Err(Reason::NotUtf8);
        }
        Ok(Span::Record((self.cursor.at - text.len()) as u32, self.cursor.at as u32))
    }

    /// The value that stands here, with its text if that is wanted.
    fn capture(&mut self, of: usize, text: bool) -> Result<Captured, Reason> {
        let schema = self.cursor.schema;
        let logical = schema.types[of].logical;
        Ok(match schema.kind(of) {
            Kind::Null => Captured::Null,
            Kind::Boolean => Captured::Bool(self.boolean()?),
            Kind::Integer => {
                let integer = self.cursor.integer()?;
                self.instant(integer, logical, text)
            }
            Kind::Float => {
                let float = f32::from_le_bytes(self.cursor.array()?);
                let text = if text { self.found.keep_shown(format_args!("{float:?}")) } else { NO_TEXT };
                Captured::Number { float: f64::from(float), integer: None, text }
            }
            Kind::Double => {
                let float = f64::from_le_bytes(self.cursor.array()?);
                self.found.float(float, text)
            }
            Kind::String => Captured::Text(self.text()?),
            Kind::Bytes | Kind::Fixed(_) => self.bytes(of)?,
            Kind::Enum(symbols) => {
                let symbol = self.cursor.branch(symbols.len())?;
                Captured::Text(self.found.keep(symbols[symbol].as_bytes()))
            }
            Kind::Union(branches) => {
                let branch = self.cursor.branch(branches.len())?;
                return self.capture(branches[branch], text);
            }
            Kind::Array(_) | Kind::Map(_) | Kind::Record(_) if !text => {
                self.cursor.skip(of, 0)?;
                Captured::Nested(NO_TEXT)
            }
            Kind::Array(_) | Kind::Map(_) | Kind::Record(_) => {
                let start = self.found.scratch.len() as u32;
                self.write_json(of, 0)?;
                Captured::Nested(Span::Scratch(start, self.found.scratch.len() as u32))
            }
        })
    }

    fn boolean(&mut self) -> Result<bool, Reason> {
        match self.cursor.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Reason::NotAvro),
        }
    }

    fn instant(&mut self, integer: i64, logical: Logical, text: bool) -> Captured {
        let millis = match logical {
            Logical::Timestamp(units) => integer.div_euclid(units / 1_000),
            Logical::Date => integer.saturating_mul(86_400_000),
            _ => return self.found.integer(integer, text),
        };
        let text = if text { self.found.keep_shown(integer) } else { NO_TEXT };
        Captured::Instant { millis, text }
    }

    /// Bytes of a type, as they are encoded.
    fn raw(&mut self, of: usize) -> Result<&[u8], Reason> {
        match self.cursor.schema.kind(of) {
            Kind::Fixed(size) => self.cursor.take(*size),
            _ => self.cursor.sized(),
        }
    }

    fn bytes(&mut self, of: usize) -> Result<Captured, Reason> {
        let logical = self.cursor.schema.types[of].logical;
        let raw = self.raw(of)?;
        Ok(match logical {
            Logical::Decimal(scale) => {
                let text = decimal(raw, scale).ok_or(Reason::NotAvro)?;
                let float = text.parse().unwrap_or(f64::NAN);
                let integer = if scale == 0 { text.parse().ok() } else { None };
                Captured::Number { float, integer, text: self.found.keep(text.as_bytes()) }
            }
            Logical::Uuid => {
                let text = uuid(raw);
                Captured::Text(self.found.keep(text.as_bytes()))
            }
            _ => {
                let text = latin1(raw);
                Captured::Nested(self.found.keep(text.as_bytes()))
            }
        })
    }

    /// Appends the value that stands here as JSON to the scratch; it lies inside `depth` others.
    fn write_json(&mut self, of: usize, depth: usize) -> Result<(), Reason> {
        if depth > MAX_DEPTH {
            return Err(Reason::TooDeep);
        }
        let schema = self.cursor.schema;
        match schema.kind(of) {
            Kind::Union(branches) => {
                let branch = self.cursor.branch(branches.len())?;
                self.write_json(branches[branch], depth)
            }
            Kind::Record(fields) => {
                for (i, field) in fields.iter().enumerate() {
                    self.found.scratch.push(if i == 0 { b'{' } else { b',' });
                    self.write_text(&field.name);
                    self.found.scratch.push(b':');
                    self.write_json(field.kind, depth + 1)?;
                }
                self.found.scratch.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
                Ok(())
            }
            Kind::Array(items) => self.write_items(b"[]", |reader| reader.write_json(*items, depth + 1)),
            Kind::Map(values) => self.write_items(b"{}", |reader| {
                let key = std::str::from_utf8(reader.cursor.sized()?).map_err(|_| Reason::NotUtf8)?.to_string();
                reader.write_text(&key);
                reader.found.scratch.push(b':');
                reader.write_json(*values, depth + 1)
            }),
            Kind::String | Kind::Enum(_) | Kind::Bytes | Kind::Fixed(_) | Kind::Float | Kind::Double => self.write_scalar(of),
            Kind::Null => {
                self.found.scratch.extend_from_slice(b"null");
                Ok(())
            }
            Kind::Boolean => {
                let text: &[u8] = if self.boolean()? { b"true" } else { b"false" };
                self.found.scratch.extend_from_slice(text);
                Ok(())
            }
            Kind::Integer => {
                let integer = self.cursor.integer()?;
                self.found.keep_shown(integer);
                Ok(())
            }
        }
    }

    fn write_items(&mut self, brackets: &[u8; 2], mut item: impl FnMut(&mut Self) -> Result<(), Reason>) -> Result<(), Reason> {
        self.found.scratch.push(brackets[0]);
        let mut first = true;
        self.each_item(|reader| {
            if !std::mem::take(&mut first) {
                reader.found.scratch.push(b',');
            }
            item(reader)
        })?;
        self.found.scratch.push(brackets[1]);
        Ok(())
    }

    /// A value whose text is known at once, as JSON: quoted, unless it is a number.
    fn write_scalar(&mut self, of: usize) -> Result<(), Reason> {
        let start = self.found.scratch.len();
        let captured = self.capture(of, true)?;
        let span = match captured {
            // What is no number in JSON is nothing.
            Captured::Number { float, .. } if !float.is_finite() => {
                self.found.scratch.truncate(start);
                self.found.scratch.extend_from_slice(b"null");
                return Ok(());
            }
            Captured::Text(span) | Captured::Nested(span) => span,
            _ => return Ok(()),
        };
        let text = match span {
            Span::Record(from, to) => String::from_utf8_lossy(&self.cursor.bytes[from as usize..to as usize]).into_owned(),
            Span::Scratch(from, to) => String::from_utf8_lossy(&self.found.scratch[from as usize..to as usize]).into_owned(),
        };
        self.found.scratch.truncate(start);
        self.write_text(&text);
        Ok(())
    }

    fn write_text(&mut self, text: &str) {
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(&mut self.found.scratch, text);
    }

    /// What a default of the reader's schema is at a node and below it.
    fn constant(&mut self, node: usize, of: usize, value: &Value) {
        let (tree, schema) = (self.tree, self.reader.unwrap_or(self.cursor.schema));
        let of = first_branch(schema, of);
        let node = &tree.nodes[node];
        if let Some(leaf) = node.leaf {
            self.found.values[leaf] = self.default_value(of, value);
        }
        if node.metadata {
            self.found.metadata = match value {
                Value::Object(_) => Metadata::Object,
                Value::Null => Metadata::None,
                _ => Metadata::Wrong,
            };
        }
        let Value::Object(object) = value else { return };
        let inner = |name: &str| match schema.kind(of) {
            Kind::Record(fields) => fields.iter().find(|f| *f.name == *name).map_or(of, |f| f.kind),
            Kind::Map(values) => *values,
            _ => of,
        };
        if node.metadata && tree.entries {
            for (name, value) in object {
                let key = self.found.keep(name.as_bytes());
                let value = self.default_value(first_branch(schema, inner(name)), value);
                self.found.entries.push((key, value));
            }
        }
        for (name, child) in &node.children {
            if let Some(value) = object.get(&**name) {
                self.constant(*child, inner(name), value);
            }
        }
    }

    fn default_value(&mut self, of: usize, value: &Value) -> Captured {
        let schema = self.reader.unwrap_or(self.cursor.schema);
        let logical = schema.types[first_branch(schema, of)].logical;
        match value.as_i64() {
            Some(integer) => self.instant(integer, logical, true),
            None => json_value(self.found, value),
        }
    }
}

/// Defaults are of the first branch of a union.
fn first_branch(schema: &Schema, of: usize) -> usize {
    match schema.kind(of) {
        Kind::Union(branches) => branches.first().copied().unwrap_or(of),
        _ => of,
    }
}

/// A big-endian integer in two's complement with a point, as text; none beyond 38 digits or so.
fn decimal(raw: &[u8], scale: u32) -> Option<String> {
    let negative = raw.first().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let (spare, kept) = raw.split_at(raw.len().saturating_sub(16));
    if spare.iter().any(|b| *b != fill) {
        return None;
    }
    let mut bytes = [fill; 16];
    bytes[16 - kept.len()..].copy_from_slice(kept);
    let unscaled = i128::from_be_bytes(bytes);
    if unscaled < 0 && !negative {
        return None;
    }
    let digits = format!("{:0width$}", unscaled.unsigned_abs(), width = scale as usize + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
    let mut text = String::from(if negative { "-" } else { "" });
    text.push_str(whole);
    if scale > 0 {
        text.push('.');
        text.push_str(fraction);
    }
    Some(text)
}

fn uuid(raw: &[u8]) -> String {
    let mut text = Vec::with_capacity(36);
    for (i, byte) in raw.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        // Writing into memory does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    String::from_utf8(text).unwrap_or_default()
}

/// Bytes as the characters of those numbers, as Avro's own JSON has them.
fn latin1(raw: &[u8]) -> String {
    raw.iter().map(|b| char::from(*b)).collect()
}
