//! Rows of Parquet → the JSON records that they stand for.

use std::io::Write;

use arrow_json::LineDelimitedWriter;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit};

use super::sink::write_text;

/// Parquet rows as JSON records of all their columns.
pub fn write_whole(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), datafusion::arrow::error::ArrowError> {
    let mut writer = LineDelimitedWriter::new(out);
    writer.write(batch)?;
    writer.finish()
}

/// Parquet rows as the JSON records that they stand for. Columns go by their JSON or their SQL names.
pub fn write_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), datafusion::arrow::error::ArrowError> {
    let columns = [("userId", "user_id"), ("eventType", "event_type"), ("sessionId", "session_id")];
    let find = |names: [&str; 2]| names.iter().find_map(|n| batch.column_by_name(n));
    let texts = columns.iter().map(|(a, b)| find([a, b]).map(|c| cast(c, &DataType::Utf8)).transpose()).collect::<Result<Vec<_>, _>>()?;
    let millis = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let times = match find(["timestamp", "event_time"]) {
        Some(c) if matches!(c.data_type(), DataType::Timestamp(..)) => Some(cast(&cast(c, &millis)?, &DataType::Int64)?),
        Some(c) => Some(cast(c, &DataType::Int64)?),
        None => None,
    };
    let values = batch.column_by_name("value").map(|c| cast(c, &DataType::Float64)).transpose()?;
    let metadata = batch.column_by_name("metadata");
    for row in 0..batch.num_rows() {
        let first = out.len();
        let field = |out: &mut Vec<u8>, name: &str| {
            let _ = write!(out, "{}\"{name}\":", if out.len() == first { '{' } else { ',' });
        };
        for ((name, _), text) in columns.iter().zip(&texts) {
            if let Some(text) = text.as_ref().filter(|t| t.is_valid(row)) {
                field(out, name);
                write_text(out, text.as_string::<i32>().value(row));
            }
        }
        if let Some(t) = times.as_ref().filter(|t| t.is_valid(row)) {
            field(out, "timestamp");
            let _ = write!(out, "{}", t.as_primitive::<Int64Type>().value(row));
        }
        if let Some(v) = values.as_ref().filter(|v| v.is_valid(row)) {
            let number = v.as_primitive::<Float64Type>().value(row);
            field(out, "value");
            // What is not a number breaks the rule for values, as it would in JSON.
            let _ = match serde_json::Number::from_f64(number) {
                Some(number) => write!(out, "{number}"),
                None => write!(out, "\"{number}\""),
            };
        }
        if let Some(m) = metadata.filter(|m| m.is_valid(row)) {
            field(out, "metadata");
            let _ = write!(out, "{}", metadata_value(m, row)?);
        }
        out.extend_from_slice(if out.len() == first { b"{}\n" } else { b"}\n" });
    }
    Ok(())
}

fn metadata_value(column: &ArrayRef, row: usize) -> Result<serde_json::Value, datafusion::arrow::error::ArrowError> {
    let mut object = serde_json::Map::new();
    match column.data_type() {
        DataType::Map(..) => {
            let entries = column.as_map().value(row);
            let keys = cast(entries.column(0), &DataType::Utf8)?;
            for i in 0..entries.len() {
                object.insert(keys.as_string::<i32>().value(i).into(), text_at(entries.column(1), i)?);
            }
        }
        DataType::Struct(fields) => {
            for (i, field) in fields.iter().enumerate() {
                object.insert(field.name().clone(), text_at(column.as_struct().column(i), row)?);
            }
        }
        // Metadata as JSON text.
        _ => {
            let json = cast(&column.slice(row, 1), &DataType::Utf8)?;
            let json = json.as_string::<i32>().value(0);
            return Ok(serde_json::from_str(json).unwrap_or_else(|_| json.into()));
        }
    }
    Ok(object.into())
}

fn text_at(array: &ArrayRef, i: usize) -> Result<serde_json::Value, datafusion::arrow::error::ArrowError> {
    if array.is_null(i) {
        return Ok(serde_json::Value::Null);
    }
    Ok(cast(&array.slice(i, 1), &DataType::Utf8)?.as_string::<i32>().value(0).into())
}
