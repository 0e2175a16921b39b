//! The messages of the wire protocol: framing, requests of one record or of a batch, answers, result codes.

use super::value::Value;

/// Bytes that are no valid message; the connection they came on is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Result codes, as the server and its clients number them.
pub mod code {
    pub const OK: u8 = 0;
    pub const SERVER_ERROR: u8 = 1;
    pub const KEY_NOT_FOUND: u8 = 2;
    pub const GENERATION: u8 = 3;
    pub const PARAMETER: u8 = 4;
    pub const RECORD_EXISTS: u8 = 5;
    pub const SERVER_MEMORY: u8 = 8;
    pub const TIMEOUT: u8 = 9;
    pub const PARTITION_UNAVAILABLE: u8 = 11;
    pub const BIN_TYPE: u8 = 12;
    pub const RECORD_TOO_BIG: u8 = 13;
    pub const KEY_BUSY: u8 = 14;
    pub const UNSUPPORTED_FEATURE: u8 = 16;
    pub const DEVICE_OVERLOAD: u8 = 18;
    pub const KEY_MISMATCH: u8 = 19;
    pub const INVALID_NAMESPACE: u8 = 20;
    pub const BIN_NAME: u8 = 21;
    pub const FORBIDDEN: u8 = 22;
    pub const ELEMENT_NOT_FOUND: u8 = 23;
    pub const ELEMENT_EXISTS: u8 = 24;
    pub const NOT_APPLICABLE: u8 = 26;
    pub const FILTERED_OUT: u8 = 27;
    pub const SECURITY_NOT_ENABLED: u8 = 52;
    pub const INVALID_COMMAND: u8 = 54;
    pub const INVALID_USER: u8 = 60;
    pub const INVALID_CREDENTIAL: u8 = 65;
    pub const EXPIRED_SESSION: u8 = 66;
    pub const NOT_AUTHENTICATED: u8 = 80;
    pub const ROLE_VIOLATION: u8 = 81;
    pub const BATCH_DISABLED: u8 = 150;
    pub const BATCH_MAX_REQUESTS: u8 = 151;
    pub const BATCH_QUEUES_FULL: u8 = 152;
}

pub const INFO1_READ: u8 = 1;
pub const INFO1_GET_ALL: u8 = 1 << 1;
pub const INFO1_BATCH: u8 = 1 << 3;
pub const INFO1_NO_BINS: u8 = 1 << 5;
pub const INFO2_WRITE: u8 = 1;
pub const INFO2_DELETE: u8 = 1 << 1;
pub const INFO2_GENERATION: u8 = 1 << 2;
pub const INFO2_GENERATION_GREATER: u8 = 1 << 3;
pub const INFO2_CREATE_ONLY: u8 = 1 << 5;
pub const INFO2_RESPOND_ALL_OPS: u8 = 1 << 7;
pub const INFO3_LAST: u8 = 1;
pub const INFO3_UPDATE_ONLY: u8 = 1 << 3;
pub const INFO3_CREATE_OR_REPLACE: u8 = 1 << 4;
pub const INFO3_REPLACE_ONLY: u8 = 1 << 5;

pub mod op {
    pub const READ: u8 = 1;
    pub const WRITE: u8 = 2;
    pub const CDT_READ: u8 = 3;
    pub const CDT_MODIFY: u8 = 4;
    pub const INCREMENT: u8 = 5;
    pub const APPEND: u8 = 9;
    pub const PREPEND: u8 = 10;
    pub const TOUCH: u8 = 11;
    pub const DELETE_ALL: u8 = 14;
}

mod field {
    pub const NAMESPACE: u8 = 0;
    pub const SET: u8 = 1;
    pub const KEY: u8 = 2;
    pub const DIGEST: u8 = 4;
    pub const QUERY_ID: u8 = 7;
    pub const UDF_FUNCTION: u8 = 31;
    pub const BATCH: u8 = 41;
    pub const BATCH_WITH_SET: u8 = 42;
    pub const FILTER: u8 = 43;
}

pub const KIND_INFO: u8 = 1;
pub const KIND_SECURITY: u8 = 2;
pub const KIND_RECORD: u8 = 3;
const VERSION: u8 = 2;
const HEADER_SIZE: u8 = 22;
const SIZE_LIMIT: u64 = 128 << 20;
const BATCH_BLOCK: usize = 128 << 10;
const BATCH_RESPOND_ALL_KEYS: u8 = 4;
const ROW_REPEAT: u8 = 1;
const ROW_INFO: u8 = 2;
const ROW_GENERATION: u8 = 4;
const ROW_TTL: u8 = 8;
const ROW_INFO4: u8 = 16;

pub type Digest = [u8; 20];

/// What one record is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    pub info1: u8,
    pub info2: u8,
    pub info3: u8,
    pub generation: u32,
    pub ttl: u32,
    pub namespace: &'a [u8],
    pub set: String,
    pub key: Option<Value>,
    pub ops: Vec<Op<'a>>,
    /// It has a filter, a function or a query, which this server does not do.
    pub unsupported: bool,
    digest: Option<Digest>,
    batch: Option<&'a [u8]>,
}

#[derive(Debug)]
pub struct Op<'a> {
    pub kind: u8,
    pub particle: u8,
    pub name: &'a str,
    pub data: &'a [u8],
}

/// A request of the wire: for one record, or a batch.
pub enum Message<'a> {
    Single(Digest, Request<'a>),
    Batch(Batch<'a>),
    /// Well-formed, but to be answered with this code only.
    Refused(u8),
}

pub struct Batch<'a> {
    pub rows: Vec<Row>,
    /// A request for one or more rows, which repeat it.
    pub requests: Vec<Request<'a>>,
    /// How many rows its head says it has.
    pub count: u32,
    pub respond_all_keys: bool,
}

pub struct Row {
    pub index: u32,
    pub digest: Digest,
    pub request: usize,
}

/// What is answered for one record.
#[derive(Debug, Default)]
pub struct Answer {
    pub code: u8,
    pub generation: u32,
    pub void_time: u32,
    pub bins: Vec<(String, Value)>,
}

impl Answer {
    pub fn failed(code: u8) -> Self {
        Answer { code, ..Answer::default() }
    }
}

/// Takes numbers and slices off bytes that came from the network.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Reader(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub fn take(&mut self, size: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(size).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }
}

/// The kind and size of the message that a head announces.
pub fn head(head: [u8; 8]) -> Result<(u8, usize), Malformed> {
    let size = u64::from_be_bytes(head) & 0xffff_ffff_ffff;
    if head[0] != VERSION || size > SIZE_LIMIT { Err(Malformed) } else { Ok((head[1], size as usize)) }
}

/// A message with its head.
pub fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 8);
    out.extend((body.len() as u64 | u64::from(VERSION) << 56 | u64::from(kind) << 48).to_be_bytes());
    out.extend(body);
    out
}

impl<'a> Message<'a> {
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut request = Request::empty();
        if reader.u8()? != HEADER_SIZE {
            return Err(Malformed);
        }
        (request.info1, request.info2, request.info3) = (reader.u8()?, reader.u8()?, reader.u8()?);
        reader.take(2)?;
        (request.generation, request.ttl) = (reader.u32()?, reader.u32()?);
        reader.take(4)?;
        let (fields, ops) = (reader.u16()?, reader.u16()?);
        request.read_fields(&mut reader, fields)?;
        request.read_ops(&mut reader, ops)?;
        if !reader.is_empty() {
            return Err(Malformed);
        }
        if request.info1 & INFO1_BATCH != 0 {
            let Some(batch) = request.batch else { return Ok(Message::Refused(code::PARAMETER)) };
            return Ok(Message::Batch(Batch::parse(batch, request.unsupported)?));
        }
        Ok(match request.digest {
            _ if request.unsupported => Message::Refused(code::UNSUPPORTED_FEATURE),
            Some(digest) => Message::Single(digest, request),
            None => Message::Refused(code::PARAMETER),
        })
    }
}

impl<'a> Request<'a> {
    fn empty() -> Self {
        Request {
            info1: 0,
            info2: 0,
            info3: 0,
            generation: 0,
            ttl: 0,
            namespace: &[],
            set: String::new(),
            key: None,
            ops: Vec::new(),
            unsupported: false,
            digest: None,
            batch: None,
        }
    }

    pub fn is_write(&self) -> bool {
        self.info2 & INFO2_WRITE != 0
    }

    fn read_fields(&mut self, reader: &mut Reader<'a>, count: u16) -> Result<(), Malformed> {
        for _ in 0..count {
            let size = (reader.u32()? as usize).checked_sub(1).ok_or(Malformed)?;
            let kind = reader.u8()?;
            let data = reader.take(size)?;
            match kind {
                field::NAMESPACE => self.namespace = data,
                field::SET => self.set = std::str::from_utf8(data).map_err(|_| Malformed)?.to_owned(),
                field::KEY => {
                    let (particle, key) = data.split_first().ok_or(Malformed)?;
                    self.key = Some(Value::from_particle(*particle, key)?);
                }
                field::DIGEST => self.digest = Some(data.try_into().map_err(|_| Malformed)?),
                field::BATCH | field::BATCH_WITH_SET => self.batch = Some(data),
                field::FILTER | field::UDF_FUNCTION | field::QUERY_ID => self.unsupported = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_ops(&mut self, reader: &mut Reader<'a>, count: u16) -> Result<(), Malformed> {
        for _ in 0..count {
            let size = reader.u32()? as usize;
            let (kind, particle, _version, name) = (reader.u8()?, reader.u8()?, reader.u8()?, usize::from(reader.u8()?));
            let name = std::str::from_utf8(reader.take(name)?).map_err(|_| Malformed)?;
            let data = reader.take(size.checked_sub(4 + name.len()).ok_or(Malformed)?)?;
            self.ops.push(Op { kind, particle, name, data });
        }
        Ok(())
    }
}

impl<'a> Batch<'a> {
    fn parse(data: &'a [u8], unsupported: bool) -> Result<Self, Malformed> {
        let mut reader = Reader::new(data);
        let (count, flags) = (reader.u32()?, reader.u8()?);
        let mut batch = Batch { rows: Vec::new(), requests: Vec::new(), count, respond_all_keys: flags & BATCH_RESPOND_ALL_KEYS != 0 };
        for _ in 0..count {
            let (index, digest, flags) = (reader.u32()?, reader.array()?, reader.u8()?);
            if flags & ROW_REPEAT == 0 {
                batch.requests.push(Request::parse_row(&mut reader, flags, unsupported)?);
            }
            let request = batch.requests.len().checked_sub(1).ok_or(Malformed)?;
            batch.rows.push(Row { index, digest, request });
        }
        if reader.is_empty() { Ok(batch) } else { Err(Malformed) }
    }
}

impl<'a> Request<'a> {
    fn parse_row(reader: &mut Reader<'a>, flags: u8, unsupported: bool) -> Result<Self, Malformed> {
        let mut request = Request::empty();
        request.info1 = reader.u8()?;
        if flags & ROW_INFO != 0 {
            (request.info2, request.info3) = (reader.u8()?, reader.u8()?);
        }
        if flags & ROW_INFO4 != 0 {
            reader.u8()?;
        }
        if flags & ROW_GENERATION != 0 {
            request.generation = u32::from(reader.u16()?);
        }
        if flags & ROW_TTL != 0 {
            request.ttl = reader.u32()?;
        }
        let (fields, ops) = (reader.u16()?, reader.u16()?);
        request.read_fields(reader, fields)?;
        request.read_ops(reader, ops)?;
        request.unsupported |= unsupported;
        Ok(request)
    }
}

/// The answer to a message for one record.
pub fn single(answer: &Answer) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    write_answer(answer, 0, 0, &mut body);
    framed(KIND_RECORD, &body)
}

/// The answer to a batch that is refused as a whole.
pub fn refused_batch(code: u8) -> Vec<u8> {
    let mut body = Vec::new();
    write_answer(&Answer::failed(code), INFO3_LAST, 0, &mut body);
    framed(KIND_RECORD, &body)
}

/// The answer to a batch: its rows, in messages of limited size, and a trailer in a message of its own.
#[derive(Default)]
pub struct BatchAnswer {
    out: Vec<u8>,
    block: Vec<u8>,
    /// What the trailer says; the block it came up in is the last one.
    failure: u8,
    ended: bool,
}

impl BatchAnswer {
    pub fn push(&mut self, index: u32, answer: &Answer) {
        if self.ended {
            return;
        }
        write_answer(answer, 0, index, &mut self.block);
        if self.block.len() > BATCH_BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.block.is_empty() {
            self.out.extend(framed(KIND_RECORD, &self.block));
            self.block.clear();
        }
        self.ended = self.failure != code::OK;
    }

    pub fn fail(&mut self, code: u8) {
        self.failure = code;
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out.extend(refused_batch(self.failure));
        self.out
    }
}

fn write_answer(answer: &Answer, info3: u8, index: u32, out: &mut Vec<u8>) {
    out.extend([HEADER_SIZE, 0, 0, info3, 0, answer.code]);
    out.extend(answer.generation.to_be_bytes());
    out.extend(answer.void_time.to_be_bytes());
    out.extend(index.to_be_bytes());
    out.extend([0, 0]);
    out.extend((answer.bins.len() as u16).to_be_bytes());
    for (name, value) in &answer.bins {
        write_bin(name, value, out);
    }
}

fn write_bin(name: &str, value: &Value, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([0, 0, 0, 0, op::READ, 0, 0, name.len() as u8]);
    out.extend(name.as_bytes());
    let particle = value.to_particle(out);
    let size = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    out[start + 5] = particle;
}
