//! Values of bins: the type tests see, its order, and its msgpack and particle forms on the wire.

use std::cmp::Ordering;

use super::message::{Malformed, Reader};

/// A bin's value, or a part of one.
#[derive(Clone, Debug)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    Bytes(Vec<u8>),
    List(List),
    Map(Map),
    /// A particle kept as it came, by its type: HyperLogLog, GeoJSON.
    Particle(u8, Vec<u8>),
    /// Greater than every other value; only in arguments.
    Infinity,
    /// Equal to every other value; only in arguments.
    Wildcard,
}

#[derive(Clone, Debug, Default)]
pub struct List {
    pub items: Vec<Value>,
    pub ordered: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Map {
    pub entries: Vec<(Value, Value)>,
    pub order: MapOrder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapOrder {
    #[default]
    Unordered,
    Key,
    KeyValue,
    /// Of an answer whose entries are to keep their order, which no stored map has.
    AsListed,
}

const NESTING_LIMIT: usize = 64;
const MAP_KEY_ORDERED: u8 = 1;
const MAP_VALUE_ORDERED: u8 = 2;
const MAP_AS_LISTED: u8 = 8;
const LIST_ORDERED: u8 = 1;
const ARGUMENT_EXTENSION: u8 = 0xff;

pub mod particle {
    pub const NIL: u8 = 0;
    pub const INTEGER: u8 = 1;
    pub const FLOAT: u8 = 2;
    pub const STRING: u8 = 3;
    pub const BLOB: u8 = 4;
    pub const BOOL: u8 = 17;
    pub const MAP: u8 = 19;
    pub const LIST: u8 = 20;
}

impl Value {
    pub fn list(items: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Value::List(List { items: items.into_iter().map(Into::into).collect(), ordered: false })
    }

    pub fn map(entries: impl IntoIterator<Item = (impl Into<Value>, impl Into<Value>)>) -> Self {
        let entries = entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Value::Map(Map { entries, order: MapOrder::Unordered })
    }

    pub fn as_int(&self) -> Option<i64> {
        if let Value::Int(int) = self { Some(*int) } else { None }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The items of a list, none of anything else.
    pub fn items(&self) -> &[Value] {
        if let Value::List(list) = self { &list.items } else { &[] }
    }

    /// The entries of a map, none of anything else.
    pub fn entries(&self) -> &[(Value, Value)] {
        if let Value::Map(map) = self { &map.entries } else { &[] }
    }

    /// The value at a map's key.
    pub fn get(&self, key: impl Into<Value>) -> Option<&Value> {
        let key = key.into();
        self.entries().iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// Whether an argument selects this value; a wildcard does so at any depth.
    pub fn matches(&self, argument: &Value) -> bool {
        match (self, argument) {
            (_, Value::Wildcard) => true,
            (Value::List(a), Value::List(b)) => list_matches(&a.items, &b.items),
            _ => self == argument,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Value::Nil => 0,
            Value::Bool(_) => 1,
            Value::Int(_) => 2,
            Value::String(_) => 3,
            Value::List(_) => 4,
            Value::Map(_) => 5,
            Value::Bytes(_) => 6,
            Value::Float(_) => 7,
            Value::Particle(..) => 8,
            Value::Infinity => 9,
            Value::Wildcard => 10,
        }
    }

    /// A value of an operation or a key field, from its particle.
    pub fn from_particle(kind: u8, data: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            particle::NIL => Value::Nil,
            particle::INTEGER => Value::Int(integer(data)?),
            particle::FLOAT => Value::Float(f64::from_be_bytes(data.try_into().map_err(|_| Malformed)?)),
            particle::STRING => Value::String(text(data)?),
            particle::BLOB => Value::Bytes(data.to_vec()),
            particle::BOOL => Value::Bool(*data.first().ok_or(Malformed)? != 0),
            particle::MAP | particle::LIST => Value::unpack_all(data)?,
            _ => Value::Particle(kind, data.to_vec()),
        })
    }

    /// The value as a particle, for an answer.
    pub fn to_particle(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Value::Nil | Value::Infinity | Value::Wildcard => return particle::NIL,
            Value::Bool(flag) => out.push(u8::from(*flag)),
            Value::Int(int) => out.extend(int.to_be_bytes()),
            Value::Float(float) => out.extend(float.to_be_bytes()),
            Value::String(text) => out.extend(text.as_bytes()),
            Value::Bytes(bytes) | Value::Particle(_, bytes) => out.extend(bytes),
            Value::List(_) | Value::Map(_) => self.pack(out),
        }
        match self {
            Value::Bool(_) => particle::BOOL,
            Value::Int(_) => particle::INTEGER,
            Value::Float(_) => particle::FLOAT,
            Value::String(_) => particle::STRING,
            Value::List(_) => particle::LIST,
            Value::Map(_) => particle::MAP,
            Value::Particle(kind, _) => *kind,
            _ => particle::BLOB,
        }
    }

    /// The one msgpack value that the bytes hold.
    pub fn unpack_all(data: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let value = unpack(&mut reader, 0)?;
        if reader.is_empty() { Ok(value) } else { Err(Malformed) }
    }

    fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Value::Nil => out.push(0xc0),
            Value::Bool(flag) => out.push(0xc2 + u8::from(*flag)),
            Value::Int(int) => pack_integer(*int, out),
            Value::Float(float) => {
                out.push(0xcb);
                out.extend(float.to_be_bytes());
            }
            Value::String(text) => pack_bytes(particle::STRING, text.as_bytes(), out),
            Value::Bytes(bytes) => pack_bytes(particle::BLOB, bytes, out),
            Value::Particle(kind, bytes) => pack_bytes(*kind, bytes, out),
            Value::List(list) => pack_list(list, out),
            Value::Map(map) => pack_map(map, out),
            Value::Infinity => out.extend([0xd4, ARGUMENT_EXTENSION, 1]),
            Value::Wildcard => out.extend([0xd4, ARGUMENT_EXTENSION, 0]),
        }
    }
}

/// The server's order of values: by type first, then by content.
impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::String(a), Value::String(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::List(a), Value::List(b)) => a.items.cmp(&b.items),
            (Value::Map(a), Value::Map(b)) => a.entries.len().cmp(&b.entries.len()).then_with(|| a.entries_by_key().cmp(&b.entries_by_key())),
            (Value::Particle(a, x), Value::Particle(b, y)) => (a, x).cmp(&(b, y)),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Value {}

impl Map {
    /// The entries in the order of their keys.
    fn entries_by_key(&self) -> Vec<&(Value, Value)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort();
        entries
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Value::Int(int)
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Value::Float(float)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text)
    }
}

fn list_matches(items: &[Value], pattern: &[Value]) -> bool {
    let mut items = items.iter();
    for argument in pattern {
        if matches!(argument, Value::Wildcard) {
            return true;
        }
        if !items.next().is_some_and(|item| item.matches(argument)) {
            return false;
        }
    }
    items.next().is_none()
}

fn integer(data: &[u8]) -> Result<i64, Malformed> {
    Ok(match data.len() {
        1 => i64::from(data[0]),
        2 | 4 => data.iter().fold(0, |value, byte| value << 8 | i64::from(*byte)),
        8 => i64::from_be_bytes(data.try_into().map_err(|_| Malformed)?),
        _ => return Err(Malformed),
    })
}

fn text(data: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(data.to_vec()).map_err(|_| Malformed)
}

fn unpack(reader: &mut Reader, depth: usize) -> Result<Value, Malformed> {
    if depth > NESTING_LIMIT {
        return Err(Malformed);
    }
    let marker = reader.u8()?;
    Ok(match marker {
        0x00..=0x7f => Value::Int(i64::from(marker)),
        0xe0..=0xff => Value::Int(i64::from(marker as i8)),
        0x80..=0x8f => unpack_map(reader, usize::from(marker & 0x0f), depth)?,
        0x90..=0x9f => unpack_list(reader, usize::from(marker & 0x0f), depth)?,
        0xa0..=0xbf => unpack_bytes(reader, usize::from(marker & 0x1f))?,
        0xc0 => Value::Nil,
        0xc2 | 0xc3 => Value::Bool(marker == 0xc3),
        0xc4 | 0xd9 => length(reader, 1).and_then(|n| unpack_bytes(reader, n))?,
        0xc5 | 0xda => length(reader, 2).and_then(|n| unpack_bytes(reader, n))?,
        0xc6 | 0xdb => length(reader, 4).and_then(|n| unpack_bytes(reader, n))?,
        0xca => Value::Float(f64::from(f32::from_bits(reader.u32()?))),
        0xcb => Value::Float(f64::from_bits(reader.u64()?)),
        0xcc => Value::Int(i64::from(reader.u8()?)),
        0xcd => Value::Int(i64::from(reader.u16()?)),
        0xce => Value::Int(i64::from(reader.u32()?)),
        0xcf | 0xd3 => Value::Int(reader.u64()? as i64),
        0xd0 => Value::Int(i64::from(reader.u8()? as i8)),
        0xd1 => Value::Int(i64::from(reader.u16()? as i16)),
        0xd2 => Value::Int(i64::from(reader.u32()? as i32)),
        0xd4 => unpack_argument(reader)?,
        0xdc => length(reader, 2).and_then(|n| unpack_list(reader, n, depth))?,
        0xdd => length(reader, 4).and_then(|n| unpack_list(reader, n, depth))?,
        0xde => length(reader, 2).and_then(|n| unpack_map(reader, n, depth))?,
        0xdf => length(reader, 4).and_then(|n| unpack_map(reader, n, depth))?,
        _ => return Err(Malformed),
    })
}

fn length(reader: &mut Reader, bytes: usize) -> Result<usize, Malformed> {
    Ok(reader.take(bytes)?.iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

fn unpack_argument(reader: &mut Reader) -> Result<Value, Malformed> {
    match (reader.u8()?, reader.u8()?) {
        (ARGUMENT_EXTENSION, 0) => Ok(Value::Wildcard),
        (ARGUMENT_EXTENSION, 1) => Ok(Value::Infinity),
        _ => Err(Malformed),
    }
}

/// Strings and blobs carry the type of their particle in the first byte.
fn unpack_bytes(reader: &mut Reader, length: usize) -> Result<Value, Malformed> {
    let (kind, data) = reader.take(length)?.split_first().ok_or(Malformed)?;
    Ok(match *kind {
        particle::STRING => Value::String(text(data)?),
        particle::BLOB => Value::Bytes(data.to_vec()),
        other => Value::Particle(other, data.to_vec()),
    })
}

/// The flags of an ordered list or map, which stand in its first element, as an extension.
fn flags(reader: &mut Reader, count: usize) -> Result<Option<u8>, Malformed> {
    if count == 0 || reader.peek() != Some(0xc7) {
        return Ok(None);
    }
    reader.u8()?;
    let size = reader.u8()?;
    let flags = reader.u8()?;
    reader.take(usize::from(size))?;
    Ok(Some(flags))
}

fn unpack_list(reader: &mut Reader, count: usize, depth: usize) -> Result<Value, Malformed> {
    let flags = flags(reader, count)?;
    let mut items = Vec::new();
    for _ in usize::from(flags.is_some())..count {
        items.push(unpack(reader, depth + 1)?);
    }
    let ordered = flags.is_some_and(|flags| flags & LIST_ORDERED != 0);
    if ordered {
        items.sort();
    }
    Ok(Value::List(List { items, ordered }))
}

fn unpack_map(reader: &mut Reader, count: usize, depth: usize) -> Result<Value, Malformed> {
    let flags = flags(reader, count)?;
    if flags.is_some() {
        unpack(reader, depth + 1)?;
    }
    let mut entries = Vec::new();
    for _ in usize::from(flags.is_some())..count {
        entries.push((unpack(reader, depth + 1)?, unpack(reader, depth + 1)?));
    }
    let order = MapOrder::from_flags(flags.unwrap_or(0));
    if order != MapOrder::Unordered {
        entries.sort();
    }
    Ok(Value::Map(Map { entries, order }))
}

impl MapOrder {
    pub fn from_flags(flags: u8) -> Self {
        match (flags & MAP_KEY_ORDERED != 0, flags & MAP_VALUE_ORDERED != 0) {
            (true, true) => MapOrder::KeyValue,
            (true, false) => MapOrder::Key,
            _ => MapOrder::Unordered,
        }
    }

    fn flags(self) -> u8 {
        match self {
            MapOrder::Unordered => 0,
            MapOrder::Key => MAP_KEY_ORDERED,
            MapOrder::KeyValue => MAP_KEY_ORDERED | MAP_VALUE_ORDERED,
            MapOrder::AsListed => MAP_AS_LISTED,
        }
    }
}

fn pack_integer(int: i64, out: &mut Vec<u8>) {
    match int {
        0..=0x7f => out.push(int as u8),
        -32..=-1 => out.push(int as i8 as u8),
        0x80..=0xff => out.extend([0xcc, int as u8]),
        0x100..=0xffff => pack_sized(0xcd, &(int as u16).to_be_bytes(), out),
        0x1_0000..=0xffff_ffff => pack_sized(0xce, &(int as u32).to_be_bytes(), out),
        0x1_0000_0000..=i64::MAX => pack_sized(0xcf, &int.to_be_bytes(), out),
        -0x80..=-33 => out.extend([0xd0, int as i8 as u8]),
        -0x8000..=-0x81 => pack_sized(0xd1, &(int as i16).to_be_bytes(), out),
        -0x8000_0000..=-0x8001 => pack_sized(0xd2, &(int as i32).to_be_bytes(), out),
        _ => pack_sized(0xd3, &int.to_be_bytes(), out),
    }
}

fn pack_sized(marker: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(marker);
    out.extend(bytes);
}

fn pack_bytes(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    match bytes.len() + 1 {
        size @ 0..=31 => out.push(0xa0 | size as u8),
        size @ 32..=0xff => out.extend([0xd9, size as u8]),
        size @ 0x100..=0xffff => pack_sized(0xda, &(size as u16).to_be_bytes(), out),
        size => pack_sized(0xdb, &(size as u32).to_be_bytes(), out),
    }
    out.push(kind);
    out.extend(bytes);
}

fn pack_count(short: u8, long: u8, count: usize, out: &mut Vec<u8>) {
    match count {
        0..=15 => out.push(short | count as u8),
        16..=0xffff => pack_sized(long, &(count as u16).to_be_bytes(), out),
        _ => pack_sized(long + 1, &(count as u32).to_be_bytes(), out),
    }
}

fn pack_list(list: &List, out: &mut Vec<u8>) {
    pack_count(0x90, 0xdc, list.items.len() + usize::from(list.ordered), out);
    if list.ordered {
        out.extend([0xc7, 0, LIST_ORDERED]);
    }
    list.items.iter().for_each(|item| item.pack(out));
}

fn pack_map(map: &Map, out: &mut Vec<u8>) {
    let flags = map.order.flags();
    pack_count(0x80, 0xde, map.entries.len() + usize::from(flags != 0), out);
    if flags != 0 {
        out.extend([0xc7, 0, flags, 0xc0]);
    }
    for (key, value) in &map.entries {
        key.pack(out);
        value.pack(out);
    }
}
