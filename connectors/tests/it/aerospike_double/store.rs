//! The records, and what a request does to one of them: all of its operations, or none when one fails.

use std::collections::HashMap;

use super::Options;
use super::cdt;
use super::message::{self, Answer, Digest, Op, Request, code, op};
use super::value::{Value, particle};

const BIN_NAME_LIMIT: usize = 15;
const TTL_DEFAULT: u32 = 0;
const TTL_NEVER: u32 = u32::MAX;
const TTL_UNCHANGED: u32 = u32::MAX - 1;
const TTL_LIMIT: u32 = 10 * 365 * 24 * 3600;
const GENERATION_LIMIT: u32 = u16::MAX as u32;

type Bins = Vec<(String, Value)>;

/// A record as it is stored.
#[derive(Clone, Debug)]
pub struct Record {
    pub set: String,
    /// The user's key, where a client has sent it.
    pub key: Option<Value>,
    pub digest: Digest,
    pub bins: Bins,
    pub generation: u32,
    /// When it expires, in seconds since the start of 2010; zero for never.
    pub void_time: u32,
}

impl Record {
    pub fn bin(&self, name: &str) -> Option<&Value> {
        self.bins.iter().find(|(bin, _)| bin == name).map(|(_, value)| value)
    }

    fn expired(&self, now: u32) -> bool {
        self.void_time != 0 && now > self.void_time
    }
}

#[derive(Default)]
pub struct Store {
    records: HashMap<Digest, Record>,
}

impl Store {
    pub fn live(&self, now: u32) -> impl Iterator<Item = &Record> {
        self.records.values().filter(move |record| !record.expired(now))
    }

    pub fn get(&self, digest: &Digest, now: u32) -> Option<&Record> {
        self.records.get(digest).filter(|record| !record.expired(now))
    }

    pub fn clear(&mut self) {
        self.records.clear();
    }

    /// Does what the request asks for to the record with this digest.
    pub fn apply(&mut self, request: &Request, digest: &Digest, options: &Options, now: u32) -> Answer {
        if request.namespace != options.namespace.as_bytes() {
            return Answer::failed(code::INVALID_NAMESPACE);
        }
        if request.unsupported {
            return Answer::failed(code::UNSUPPORTED_FEATURE);
        }
        let done = match (request.is_write(), request.info2 & message::INFO2_DELETE != 0) {
            (true, true) => self.delete(request, digest, now),
            (true, false) => self.write(request, digest, options, now),
            _ if request.info1 & message::INFO1_READ != 0 => self.read(request, digest, now),
            _ => Err(code::PARAMETER),
        };
        done.unwrap_or_else(|code| {
            let (generation, void_time) = self.get(digest, now).map_or((0, 0), |record| (record.generation, record.void_time));
            Answer { code, generation, void_time, bins: Vec::new() }
        })
    }

    fn read(&self, request: &Request, digest: &Digest, now: u32) -> Result<Answer, u8> {
        let record = self.get(digest, now).ok_or(code::KEY_NOT_FOUND)?;
        check_key(request, record)?;
        let bins = if request.info1 & message::INFO1_NO_BINS != 0 {
            Vec::new()
        } else if request.info1 & message::INFO1_GET_ALL != 0 {
            record.bins.clone()
        } else if request.ops.is_empty() {
            return Err(code::PARAMETER);
        } else {
            read_ops(request, &record.bins)?
        };
        Ok(Answer { code: code::OK, generation: record.generation, void_time: record.void_time, bins })
    }

    fn delete(&mut self, request: &Request, digest: &Digest, now: u32) -> Result<Answer, u8> {
        let record = self.get(digest, now).ok_or(code::KEY_NOT_FOUND)?;
        check_generation(request, record.generation)?;
        check_key(request, record)?;
        self.records.remove(digest);
        Ok(Answer::default())
    }

    fn write(&mut self, request: &Request, digest: &Digest, options: &Options, now: u32) -> Result<Answer, u8> {
        if options.stop_writes {
            return Err(code::SERVER_MEMORY);
        }
        check_ops(request)?;
        let old = self.get(digest, now);
        check_existence(request, old.is_some())?;
        check_generation(request, old.map_or(0, |record| record.generation))?;
        old.map_or(Ok(()), |record| check_key(request, record))?;
        let void_time = void_time(request.ttl, old, options, now)?;
        let mut bins = if is_replace(request) { Vec::new() } else { old.map_or_else(Vec::new, |record| record.bins.clone()) };
        let answers = write_ops(request, &mut bins)?;
        if bins.is_empty() {
            return self.remove_emptied(digest, now, answers);
        }
        if options.max_record_size != 0 && size(&bins) > options.max_record_size {
            return Err(code::RECORD_TOO_BIG);
        }
        let generation = old.map_or(0, |record| record.generation) % GENERATION_LIMIT + 1;
        let key = request.key.clone().or_else(|| old.and_then(|record| record.key.clone()));
        let record = Record { set: request.set.clone(), key, digest: *digest, bins, generation, void_time };
        self.records.insert(*digest, record);
        Ok(Answer { code: code::OK, generation, void_time, bins: answers })
    }

    /// A record whose last bin went is gone; one that never had a bin is not found.
    fn remove_emptied(&mut self, digest: &Digest, now: u32, bins: Bins) -> Result<Answer, u8> {
        self.get(digest, now).ok_or(code::KEY_NOT_FOUND)?;
        self.records.remove(digest);
        Ok(Answer { bins, ..Answer::default() })
    }
}

fn is_replace(request: &Request) -> bool {
    request.info3 & (message::INFO3_CREATE_OR_REPLACE | message::INFO3_REPLACE_ONLY) != 0
}

fn is_read_all(request: &Request, op: &Op) -> bool {
    op.kind == op::READ && op.name.is_empty() && request.info1 & message::INFO1_GET_ALL != 0
}

/// What can be said against the operations of a write before any of them is applied.
fn check_ops(request: &Request) -> Result<(), u8> {
    if request.ops.is_empty() {
        return Err(code::PARAMETER);
    }
    let replace = is_replace(request);
    let mut generates = false;
    let mut read_all = 0;
    for op in &request.ops {
        if op.name.len() > BIN_NAME_LIMIT {
            return Err(code::BIN_NAME);
        }
        let reads = matches!(op.kind, op::READ | op::CDT_READ);
        if reads && request.info1 & message::INFO1_READ == 0 {
            return Err(code::PARAMETER);
        }
        if is_read_all(request, op) {
            read_all += 1;
        } else {
            generates |= reads || op.kind == op::CDT_MODIFY;
        }
        if replace && !reads && (op.kind != op::WRITE || op.particle == particle::NIL) {
            return Err(code::PARAMETER);
        }
    }
    let respond_all = request.info2 & message::INFO2_RESPOND_ALL_OPS != 0;
    let get_all = request.info1 & message::INFO1_GET_ALL != 0;
    let wrong = read_all > 1 || (read_all == 1 && (respond_all || generates)) || (get_all && read_all == 0);
    if wrong { Err(code::PARAMETER) } else { Ok(()) }
}

fn check_existence(request: &Request, exists: bool) -> Result<(), u8> {
    let update = request.info3 & (message::INFO3_UPDATE_ONLY | message::INFO3_REPLACE_ONLY) != 0;
    let touch = request.ops.iter().any(|op| op.kind == op::TOUCH);
    match exists {
        false if update || touch => Err(code::KEY_NOT_FOUND),
        true if request.info2 & message::INFO2_CREATE_ONLY != 0 => Err(code::RECORD_EXISTS),
        _ => Ok(()),
    }
}

fn check_generation(request: &Request, generation: u32) -> Result<(), u8> {
    let equal = request.info2 & message::INFO2_GENERATION == 0 || request.generation == generation;
    let greater = request.info2 & message::INFO2_GENERATION_GREATER == 0 || request.generation > generation;
    if equal && greater { Ok(()) } else { Err(code::GENERATION) }
}

fn check_key(request: &Request, record: &Record) -> Result<(), u8> {
    match (&request.key, &record.key) {
        (Some(sent), Some(stored)) if sent != stored => Err(code::KEY_MISMATCH),
        _ => Ok(()),
    }
}

/// When the record expires after this write. Without nsup, which removes expired records, none may be given a time.
fn void_time(ttl: u32, old: Option<&Record>, options: &Options, now: u32) -> Result<u32, u8> {
    let ttl = if ttl == TTL_UNCHANGED && old.is_none() { TTL_DEFAULT } else { ttl };
    match (ttl, old) {
        (TTL_NEVER, _) => return Ok(0),
        (TTL_UNCHANGED, Some(old)) => return Ok(old.void_time),
        _ => {}
    }
    let seconds = if ttl == TTL_DEFAULT { options.default_ttl } else { ttl };
    if seconds > TTL_LIMIT {
        return Err(code::PARAMETER);
    }
    if seconds != 0 && options.nsup_period == 0 && !options.allow_ttl_without_nsup {
        return Err(code::FORBIDDEN);
    }
    Ok(if seconds == 0 { 0 } else { now + seconds })
}

fn size(bins: &Bins) -> usize {
    let mut bytes = Vec::new();
    bins.iter().for_each(|(_, value)| _ = value.to_particle(&mut bytes));
    bytes.len()
}

fn find<'a>(bins: &'a Bins, name: &str) -> Option<&'a Value> {
    bins.iter().find(|(bin, _)| bin == name).map(|(_, value)| value)
}

/// The value a reading operation has; none when its bin does not exist.
fn read_op(op: &Op, bins: &Bins) -> Result<Option<Value>, u8> {
    let bin = find(bins, op.name);
    match op.kind {
        op::READ => Ok(bin.cloned()),
        op::CDT_READ => bin.map(|value| cdt::read(value, op.data)).transpose(),
        _ => Err(code::UNSUPPORTED_FEATURE),
    }
}

fn read_ops(request: &Request, bins: &Bins) -> Result<Bins, u8> {
    let respond_all = request.info2 & message::INFO2_RESPOND_ALL_OPS != 0;
    let mut answers = Vec::new();
    for op in &request.ops {
        let value = read_op(op, bins)?;
        if respond_all || value.as_ref().is_some_and(|value| !value.is_nil()) {
            answers.push((op.name.to_owned(), value.unwrap_or(Value::Nil)));
        }
    }
    Ok(answers)
}

fn write_ops(request: &Request, bins: &mut Bins) -> Result<Bins, u8> {
    let respond_all = request.info2 & message::INFO2_RESPOND_ALL_OPS != 0;
    let mut answers = Vec::new();
    for op in &request.ops {
        if op.kind == op::TOUCH {
            continue;
        }
        if is_read_all(request, op) {
            answers.extend(bins.clone());
            continue;
        }
        let result = write_op(op, bins)?;
        if respond_all || !result.is_nil() {
            answers.push((op.name.to_owned(), result));
        }
    }
    Ok(answers)
}

/// Applies one operation to the bins and returns its result.
fn write_op(op: &Op, bins: &mut Bins) -> Result<Value, u8> {
    match op.kind {
        op::READ | op::CDT_READ => read_op(op, bins).map(|value| value.unwrap_or(Value::Nil)),
        op::DELETE_ALL => {
            bins.clear();
            Ok(Value::Nil)
        }
        op::WRITE => {
            let value = Value::from_particle(op.particle, op.data).map_err(|_| code::PARAMETER)?;
            set(bins, op.name, (!value.is_nil()).then_some(value));
            Ok(Value::Nil)
        }
        op::CDT_MODIFY => {
            let mut value = find(bins, op.name).cloned();
            let result = cdt::modify(&mut value, op.data)?;
            set(bins, op.name, value);
            Ok(result)
        }
        op::INCREMENT | op::APPEND | op::PREPEND => {
            let change = Value::from_particle(op.particle, op.data).map_err(|_| code::PARAMETER)?;
            let value = find(bins, op.name).map_or_else(|| Ok(change.clone()), |value| changed(op.kind, value, &change))?;
            set(bins, op.name, Some(value));
            Ok(Value::Nil)
        }
        _ => Err(code::UNSUPPORTED_FEATURE),
    }
}

fn changed(kind: u8, value: &Value, change: &Value) -> Result<Value, u8> {
    match (kind, value, change) {
        (op::INCREMENT, ..) => cdt::sum(value, change),
        (op::APPEND, Value::String(value), Value::String(change)) => Ok(Value::String(format!("{value}{change}"))),
        (op::PREPEND, Value::String(value), Value::String(change)) => Ok(Value::String(format!("{change}{value}"))),
        (op::APPEND, Value::Bytes(value), Value::Bytes(change)) => Ok(Value::Bytes([value.as_slice(), change].concat())),
        (op::PREPEND, Value::Bytes(value), Value::Bytes(change)) => Ok(Value::Bytes([change.as_slice(), value].concat())),
        _ => Err(code::BIN_TYPE),
    }
}

fn set(bins: &mut Bins, name: &str, value: Option<Value>) {
    match (bins.iter().position(|(bin, _)| bin == name), value) {
        (Some(at), Some(value)) => bins[at].1 = value,
        (Some(at), None) => _ = bins.remove(at),
        (None, Some(value)) => bins.push((name.to_owned(), value)),
        (None, None) => {}
    }
}
