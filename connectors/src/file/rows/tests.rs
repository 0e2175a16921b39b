//! Rows of every kind of column, against the lines that they stand for.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, DictionaryArray, Float32Array, Float64Array, Int64Array, LargeStringArray, MapBuilder, MapFieldNames, RecordBatch, StringArray,
    StringBuilder, StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type};
use serde_json::{Value, json};

use super::write_rows;

fn lines(columns: Vec<(&str, ArrayRef)>) -> Vec<Value> {
    lines_of(&RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).expect("columns"))
}

fn lines_of(batch: &RecordBatch) -> Vec<Value> {
    let mut out = vec![];
    write_rows(batch, &mut out).expect("rows");
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

fn texts(texts: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

type Entries<'a> = &'a [(&'a str, Option<&'a str>)];

/// Maps of texts; a row without entries is an empty one, or null.
fn maps(rows: &[Option<Entries<'_>>]) -> ArrayRef {
    let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in row.unwrap_or_default() {
            maps.keys().append_value(key);
            maps.values().append_option(*value);
        }
        maps.append(row.is_some()).expect("as many keys as values");
    }
    Arc::new(maps.finish())
}

#[test]
fn what_is_null_is_left_out_and_texts_are_escaped() {
    let odd = "q\"\\\n\u{1F600}\u{1}";
    let found = lines(vec![
        ("user_id", Arc::new(LargeStringArray::from(vec![Some("a"), None, Some(odd)]))),
        ("eventType", Arc::new([Some("view"), None, Some("view")].into_iter().collect::<DictionaryArray<Int32Type>>())),
        ("event_time", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_700_000_000_123_999), None, Some(2_000)]).with_timezone("UTC"))),
        ("value", Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(1e300)]))),
        ("session_id", texts(&[None, None, Some(odd)])),
        ("other", texts(&[Some("x"), Some("y"), None])),
    ]);
    let expected = [
        json!({"userId": "a", "eventType": "view", "timestamp": 1_700_000_000_123i64, "value": "NaN"}),
        json!({}),
        json!({"userId": odd, "eventType": "view", "sessionId": odd, "timestamp": 2, "value": 1e300}),
    ];
    assert_eq!(found, expected);
    let found = lines(vec![("value", Arc::new(Float32Array::from(vec![0.5]))), ("timestamp", Arc::new(Int64Array::from(vec![7])))]);
    assert_eq!(found, [json!({"timestamp": 7, "value": 0.5})]);
}

#[test]
fn metadata_may_be_maps_structs_or_text() {
    let odd = "\"k\"\n";
    let map = maps(&[Some(&[("category", Some("toys")), ("none", None), (odd, Some(odd))]), None, Some(&[]), Some(&[("x", Some("1"))])]);
    let expected = [json!({"category": "toys", "none": null, odd: odd}), Value::Null, json!({}), json!({"x": "1"})];
    let metadata = |rows: Vec<Value>| rows.iter().map(|row| row.get("metadata").cloned().unwrap_or_default()).collect::<Vec<_>>();
    assert_eq!(metadata(lines(vec![("metadata", Arc::clone(&map))])), expected);
    // Of a part of a column, its part.
    let batch = RecordBatch::try_from_iter_with_nullable([("metadata", map, true)]).expect("a column");
    assert_eq!(metadata(lines_of(&batch.slice(2, 2))), expected[2..]);
    assert_eq!(lines_of(&batch.slice(0, 0)), Vec::<Value>::new());

    // A part that is always null may be of a type that is no text.
    let nothing: ArrayRef = datafusion::arrow::array::new_null_array(&DataType::Struct(vec![Field::new("x", DataType::Int64, true)].into()), 3);
    let parts: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("count", DataType::Int64, true)), Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
        (Arc::new(Field::new(odd, DataType::Utf8, true)), texts(&[Some("a"), Some(odd), None])),
        (Arc::new(Field::new("nothing", nothing.data_type().clone(), true)), nothing),
    ];
    let (fields, columns): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let parts = StructArray::new(fields.into(), columns, Some(NullBuffer::from(vec![true, true, false])));
    let expected = [json!({"count": "1", odd: "a", "nothing": null}), json!({"count": null, odd: odd, "nothing": null}), Value::Null];
    assert_eq!(metadata(lines(vec![("metadata", Arc::new(parts))])), expected);

    let json = texts(&[Some("{\n \"a\": [1, {\"b\": null}]\n}"), Some("no JSON\n"), None, Some("7")]);
    assert_eq!(metadata(lines(vec![("metadata", json)])), [json!({"a": [1, {"b": null}]}), json!("no JSON\n"), Value::Null, json!(7)]);
}

#[test]
fn what_cannot_be_a_text_is_an_error() {
    let nested = StructArray::from(vec![(Arc::new(Field::new("x", DataType::Int64, true)), Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    let parts = StructArray::from(vec![(Arc::new(Field::new("nested", nested.data_type().clone(), true)), Arc::new(nested) as ArrayRef)]);
    let batch = RecordBatch::try_from_iter([("metadata", Arc::new(parts) as ArrayRef)]).expect("a column");
    assert!(write_rows(&batch, &mut vec![]).is_err());
}
