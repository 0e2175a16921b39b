//! Builds Avro's bytes by hand, as an oracle would: values, and object container files around them.

use std::io::Write;

/// Bytes of values, one after the other.
#[derive(Default, Clone)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn long(mut self, n: i64) -> Self {
        let mut rest = ((n << 1) ^ (n >> 63)) as u64;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn double(self, x: f64) -> Self {
        self.raw(&x.to_le_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.sized(text.as_bytes())
    }

    pub fn sized(self, bytes: &[u8]) -> Self {
        self.long(bytes.len() as i64).raw(bytes)
    }

    /// With Confluent's framing.
    pub fn framed(self, id: u32) -> Vec<u8> {
        [&[0], &id.to_be_bytes()[..], &self.0].concat()
    }
}

/// A container file of blocks of records.
pub fn container(schema: &str, codec: &str, blocks: &[&[Bytes]]) -> Vec<u8> {
    let sync = [7u8; 16];
    // A negative count has the bytes of its block behind it.
    let entries = Bytes::default().text("avro.schema").text(schema).text("avro.codec").text(codec);
    let mut file = Bytes::default().raw(b"Obj\x01").long(-2).sized(&entries.0).long(0).raw(&sync);
    for records in blocks {
        let plain: Vec<u8> = records.iter().flat_map(|r| r.0.clone()).collect();
        file = file.long(records.len() as i64).sized(&packed(codec, &plain)).raw(&sync);
    }
    file.0
}

fn packed(codec: &str, plain: &[u8]) -> Vec<u8> {
    match codec {
        "deflate" => {
            let mut encoder = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::default());
            encoder.write_all(plain).expect("in memory");
            encoder.finish().expect("in memory")
        }
        "zstandard" => zstd::encode_all(plain, 1).expect("in memory"),
        "snappy" => {
            let mut packed = snap::raw::Encoder::new().compress_vec(plain).expect("in memory");
            packed.extend_from_slice(&crc32fast::hash(plain).to_be_bytes());
            packed
        }
        _ => plain.to_vec(),
    }
}
