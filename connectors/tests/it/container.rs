//! Avro object container files.

use std::io::Write;

use arrow_avro::writer::AvroWriter;
use cohort_connectors::file::container::Container;
use cohort_connectors::file::source::FileSource;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;

use crate::avro_bytes::{Bytes, container};

const SCHEMA: &str = r#"{"type":"record","name":"E","fields":[{"name":"user","type":"string"},{"name":"at","type":"long"}]}"#;

fn record(user: &str, at: i64) -> Bytes {
    Bytes::default().text(user).long(at)
}

#[test]
fn every_codec_is_unpacked() {
    let (a, b, c) = (record("a", 1), record(&"b".repeat(500), -2), record("c", 3));
    for codec in ["null", "deflate", "snappy", "zstandard"] {
        let file = container(SCHEMA, codec, &[&[a.clone(), b.clone()], &[], std::slice::from_ref(&c)]);
        let mut container = Container::open(&file[..]).expect(codec);
        let mut found = vec![];
        while let Some(block) = container.next_block().expect(codec) {
            found.extend(block.spans.iter().map(|(from, to)| block.data[*from as usize..*to as usize].to_vec()));
        }
        assert_eq!(found, [a.0.clone(), b.0.clone(), c.0.clone()], "{codec}");
    }
    let unknown = Container::open(&container(SCHEMA, "xz", &[])[..]).err();
    assert!(unknown.is_some_and(|e| e.contains("codec xz is none of")));
}

#[test]
fn files_of_arrows_own_writer_are_read_as_chunks_between_others() {
    let columns: [(&str, ArrayRef); 2] = [
        ("user", std::sync::Arc::new(StringArray::from_iter_values((0..100).map(|i| format!("u{i}"))))),
        ("at", std::sync::Arc::new(Int64Array::from_iter_values(0..100))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut writer = AvroWriter::new(std::fs::File::create(path("b")).expect("a file"), batch.schema().as_ref().clone()).expect("a writer");
    writer.write(&batch).expect("written");
    writer.finish().expect("written");
    std::fs::write(path("a"), "{}\n{}").expect("a file");
    std::fs::write(path("c"), "{}\n").expect("a file");
    let mut source = FileSource::new(["a", "b", "c"].map(path).to_vec(), 60);
    let (mut chunks, mut lines) = (vec![], vec![]);
    while let Some(chunk) = source.next_chunk().expect("readable") {
        chunks.push(chunk.first_line);
        lines.push(chunk.avro.as_ref().map_or(0, |avro| avro.spans.len()));
        if let Some(avro) = &chunk.avro {
            let (from, to) = avro.spans[7];
            let user = if chunk.first_line == 2 { 7 } else { 67 };
            assert_eq!(chunk.data[from as usize..to as usize], record(&format!("u{user}"), user).0);
        }
    }
    assert_eq!((chunks, lines), (vec![0, 2, 62, 102], vec![0, 60, 40, 0]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_broken_file_is_an_error_and_never_more(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), codec in prop::sample::select(vec!["null", "deflate", "snappy", "zstandard"])) {
        let mut file = container(SCHEMA, codec, &[&[record("a", 1), record("b", 2)], &[record("c", 3)]]);
        let at = at.index(file.len());
        if cut { file.truncate(at) } else { file[at] = byte }
        if let Ok(mut container) = Container::open(&file[..]) {
            let mut records = 0;
            while let Ok(Some(block)) = container.next_block() {
                records += block.spans.len();
            }
            prop_assert!(records <= 3 || byte != 0);
        }
    }
}

/// A file that is no container is one of lines.
#[test]
fn a_file_that_only_looks_like_one_is_said_to_be_broken() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"Obj\x01\x02").expect("written");
    let error = FileSource::new(vec![file.path().into()], 10).next_chunk().err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("a length is broken") || error.contains("cut"), "{error}");
}
