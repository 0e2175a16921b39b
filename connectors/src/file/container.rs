//! Avro object container files: a header with the schema, then blocks of records, compressed or not.

use std::io::Read;
use std::sync::Arc;

use cohort_engine::formats::avro::{Schema, record_end};
use flate2::read::DeflateDecoder;

/// The largest block, as it is in the file and unpacked, in bytes.
const LARGEST: u64 = 1 << 30;
/// The largest header, in bytes.
const LARGEST_HEADER: u64 = 16 << 20;

/// What a file begins with.
pub const MAGIC: &[u8; 4] = b"Obj\x01";

/// How blocks are packed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Codec {
    Plain,
    Deflate,
    Zstandard,
    Snappy,
}

/// Reads a file block by block.
pub struct Container<R> {
    input: R,
    /// The schema that its records were written with.
    pub schema: Arc<Schema>,
    codec: Codec,
    sync: [u8; 16],
}

/// Records of a block.
pub struct Block {
    /// Their bytes, one after the other.
    pub data: Vec<u8>,
    /// Where each begins and ends.
    pub spans: Vec<(u32, u32)>,
}

impl<R: Read> Container<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(mut input: R) -> Result<Self, String> {
        let mut header = input.by_ref().take(LARGEST_HEADER);
        if bytes::<4>(&mut header)? != *MAGIC {
            return Err("is no Avro object container file".into());
        }
        let (mut schema, mut codec) = (None, Codec::Plain);
        loop {
            let mut count = integer(&mut header)?.ok_or("the header is cut")?;
            if count == 0 {
                break;
            }
            if count < 0 {
                integer(&mut header)?;
                count = count.checked_neg().ok_or("the header is broken")?;
            }
            for _ in 0..count {
                let (key, value) = (sized(&mut header, LARGEST_HEADER)?, sized(&mut header, LARGEST_HEADER)?);
                match &key[..] {
                    b"avro.schema" => schema = Some(String::from_utf8(value).map_err(|_| "the schema is not UTF-8")?),
                    b"avro.codec" => codec = codec_of(&value)?,
                    _ => {}
                }
            }
        }
        let sync = bytes(&mut header)?;
        let schema = Schema::parse(&schema.ok_or("the header has no schema")?, &[]).map_err(|e| e.to_string())?;
        Ok(Container { input, schema: Arc::new(schema), codec, sync })
    }

    /// The next block; none, at the end.
    ///
    /// # Errors
    /// When it is cut or broken.
    pub fn next_block(&mut self) -> Result<Option<Block>, String> {
        let Some(count) = integer(&mut self.input)? else { return Ok(None) };
        let packed = sized(&mut self.input, LARGEST)?;
        if bytes::<16>(&mut self.input)? != self.sync {
            return Err("a block does not end where it should".into());
        }
        let data = self.unpack(packed)?;
        // A record takes at least a byte: one without fields is no event.
        if u64::try_from(count).is_ok_and(|count| count > data.len() as u64) {
            return Err("a block has fewer bytes than records".into());
        }
        let (mut spans, mut start) = (vec![], 0);
        for _ in 0..count {
            let end = record_end(&self.schema, &data, start).map_err(|_| "a block's records are not of its schema")?;
            spans.push((start as u32, end as u32));
            start = end;
        }
        if start != data.len() {
            return Err("a block has more than its records".into());
        }
        Ok(Some(Block { data, spans }))
    }

    fn unpack(&self, packed: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut data = vec![];
        let broken = |e: std::io::Error| format!("a block cannot be unpacked: {e}");
        match self.codec {
            Codec::Plain => return Ok(packed),
            Codec::Deflate => DeflateDecoder::new(&packed[..]).take(LARGEST + 1).read_to_end(&mut data).map_err(broken)?,
            Codec::Zstandard => zstd::Decoder::new(&packed[..]).map_err(broken)?.take(LARGEST + 1).read_to_end(&mut data).map_err(broken)?,
            Codec::Snappy => unsnap(&packed, &mut data)?,
        };
        if data.len() as u64 > LARGEST { Err(format!("a block is larger than {LARGEST} bytes")) } else { Ok(data) }
    }
}

/// Snappy's raw format, with a checksum of what was packed behind it.
fn unsnap(packed: &[u8], data: &mut Vec<u8>) -> Result<usize, String> {
    let (packed, sum) = packed.split_last_chunk::<4>().ok_or("a block is cut")?;
    let length = snap::raw::decompress_len(packed).map_err(|e| e.to_string())?;
    if length as u64 > LARGEST {
        return Err(format!("a block is larger than {LARGEST} bytes"));
    }
    *data = snap::raw::Decoder::new().decompress_vec(packed).map_err(|e| e.to_string())?;
    if crc32fast::hash(data) == u32::from_be_bytes(*sum) { Ok(length) } else { Err("a block's checksum does not fit".into()) }
}

fn codec_of(name: &[u8]) -> Result<Codec, String> {
    match name {
        b"null" | b"" => Ok(Codec::Plain),
        b"deflate" => Ok(Codec::Deflate),
        b"zstandard" => Ok(Codec::Zstandard),
        b"snappy" => Ok(Codec::Snappy),
        other => Err(format!("its codec {} is none of null, deflate, snappy, zstandard", String::from_utf8_lossy(other))),
    }
}

fn bytes<const N: usize>(input: &mut impl Read) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// A zigzag varint; none, where the input ends.
fn integer(input: &mut impl Read) -> Result<Option<i64>, String> {
    let (mut value, mut shift) = (0u64, 0);
    loop {
        let mut byte = [0];
        match input.read(&mut byte) {
            Ok(0) if shift == 0 => return Ok(None),
            Ok(0) => return Err("a number is cut".into()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        }
        if shift > 63 {
            return Err("a number is too long".into());
        }
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] < 0x80 {
            return Ok(Some((value >> 1) as i64 ^ -((value & 1) as i64)));
        }
        shift += 7;
    }
}

/// Bytes with their number before them.
fn sized(input: &mut impl Read, most: u64) -> Result<Vec<u8>, String> {
    let length = integer(input)?.and_then(|n| u64::try_from(n).ok()).filter(|n| *n <= most).ok_or("a length is broken")?;
    let mut bytes = vec![];
    input.take(length).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err("is cut".into()) }
}
