//! Rows of Parquet → the JSON records that they stand for.

use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;

use super::sink::write_text;

/// Parquet rows as JSON records of all their columns.
pub fn write_whole(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = LineDelimitedWriter::new(out);
    writer.write(batch)?;
    writer.finish()
}

/// Parquet rows as the JSON records that they stand for. Columns go by their JSON or their SQL names.
pub fn write_rows(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
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
    let metadata = batch.column_by_name("metadata").filter(|m| m.null_count() < m.len()).map(Metadata::new).transpose()?;
    for row in 0..batch.num_rows() {
        let first = out.len();
        let field = |out: &mut Vec<u8>, name: &str| {
            out.push(if out.len() == first { b'{' } else { b',' });
            write_name(out, name.as_bytes());
        };
        for ((name, _), text) in columns.iter().zip(&texts) {
            if let Some(text) = text.as_ref().filter(|t| t.is_valid(row)) {
                field(out, name);
                write_text(out, text.as_string::<i32>().value(row));
            }
        }
        if let Some(t) = times.as_ref().filter(|t| t.is_valid(row)) {
            field(out, "timestamp");
            write_value(out, &t.as_primitive::<Int64Type>().value(row))?;
        }
        if let Some(v) = values.as_ref().filter(|v| v.is_valid(row)) {
            let number = v.as_primitive::<Float64Type>().value(row);
            field(out, "value");
            // What is not a number breaks the rule for values, as it would in JSON.
            if number.is_finite() {
                write_value(out, &number)?;
            } else {
                write_value(out, &number.to_string())?;
            }
        }
        if let Some(metadata) = metadata.as_ref().filter(|m| m.column.is_valid(row)) {
            field(out, "metadata");
            metadata.write(row, out)?;
        }
        out.extend_from_slice(if out.len() == first { b"{}\n" } else { b"}\n" });
    }
    Ok(())
}

fn write_value(out: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), ArrowError> {
    serde_json::to_writer(out, value).map_err(|e| ArrowError::JsonError(e.to_string()))
}

/// A name that needs no escapes.
fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
}

/// A column of metadata, its parts cast as a whole.
struct Metadata<'a> {
    column: &'a ArrayRef,
    parts: Parts,
}

enum Parts {
    Map {
        /// Texts.
        keys: ArrayRef,
        values: Texts,
    },
    /// By names, as JSON.
    Struct(Vec<(String, Texts)>),
    /// JSON.
    Text(ArrayRef),
}

/// Texts, and what they were before: only what was null is.
struct Texts {
    column: ArrayRef,
    texts: ArrayRef,
}

impl Texts {
    fn new(column: &ArrayRef) -> Result<Self, ArrowError> {
        // What is null throughout may be of any type.
        let is_null = column.null_count() == column.len();
        let texts = if is_null { new_null_array(&DataType::Utf8, column.len()) } else { cast(column, &DataType::Utf8)? };
        Ok(Texts { texts, column: Arc::clone(column) })
    }

    fn write(&self, i: usize, out: &mut Vec<u8>) {
        if self.column.is_null(i) {
            out.extend_from_slice(b"null");
        } else {
            write_text(out, self.texts.as_string::<i32>().value(i));
        }
    }
}

impl<'a> Metadata<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self, ArrowError> {
        let parts = match column.data_type() {
            DataType::Map(..) => {
                let map = column.as_map();
                Parts::Map { keys: cast(map.keys(), &DataType::Utf8)?, values: Texts::new(map.values())? }
            }
            DataType::Struct(fields) => {
                let part = |(field, column): (&FieldRef, &ArrayRef)| {
                    let mut name = vec![];
                    write_text(&mut name, field.name());
                    Ok((String::from_utf8_lossy(&name).into_owned(), Texts::new(column)?))
                };
                Parts::Struct(fields.iter().zip(column.as_struct().columns()).map(part).collect::<Result<_, ArrowError>>()?)
            }
            _ => Parts::Text(cast(column, &DataType::Utf8)?),
        };
        Ok(Metadata { column, parts })
    }

    /// The metadata of a row.
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        let first = out.len();
        let next = |out: &mut Vec<u8>| out.push(if out.len() == first { b'{' } else { b',' });
        match &self.parts {
            Parts::Map { keys, values } => {
                let offsets = self.column.as_map().value_offsets();
                for i in offsets[row] as usize..offsets[row + 1] as usize {
                    next(out);
                    write_text(out, keys.as_string::<i32>().value(i));
                    out.push(b':');
                    values.write(i, out);
                }
            }
            Parts::Struct(parts) => {
                for (name, texts) in parts {
                    next(out);
                    out.extend_from_slice(name.as_bytes());
                    out.push(b':');
                    texts.write(row, out);
                }
            }
            Parts::Text(json) => {
                let json = json.as_string::<i32>().value(row);
                return match serde_json::from_str::<serde_json::Value>(json) {
                    Ok(value) => write_value(out, &value),
                    Err(_) => write_value(out, &json),
                };
            }
        }
        out.extend_from_slice(if out.len() == first { b"{}" } else { b"}" });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
