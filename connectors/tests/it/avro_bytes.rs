//! Avro's object container files, built by hand around [`Bytes`] of records.

use std::io::Write;

#[path = "../../../engine/src/formats/avro_bytes.rs"]
mod values;

pub use values::Bytes;

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
