//! Decoders that others use, taking user, type, time and value of each record from the same bytes as the
//! `ceiling` does. Each returns the number of events and a checksum, so that no work can be left out.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::{Context, Result};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use serde::Deserialize;

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "userId", borrow)]
    user_id: Cow<'a, str>,
    #[serde(rename = "eventType", borrow)]
    event_type: Cow<'a, str>,
    timestamp: i64,
    value: Option<f64>,
}

/// Number of events and a sum over their fields.
pub type Checksum = (u64, f64);

fn add(sum: &mut Checksum, user: usize, event_type: usize, time: i64, value: f64) {
    sum.0 += 1;
    sum.1 += (user + event_type) as f64 + (time % 1000) as f64 + value;
}

fn lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split(|b| *b == b'\n').filter(|l| !l.is_empty())
}

/// sonic-rs into a borrowed struct.
pub fn sonic(data: &[u8]) -> Result<Checksum> {
    let mut sum = (0, 0.0);
    for line in lines(data) {
        let e: Event<'_> = sonic_rs::from_slice(line)?;
        add(&mut sum, e.user_id.len(), e.event_type.len(), e.timestamp, e.value.unwrap_or(0.0));
    }
    Ok(sum)
}

/// simd-json's tape, with its buffers reused.
pub fn simd(data: &[u8]) -> Result<Checksum> {
    let mut buffers = simd_json::Buffers::new(4096);
    let mut line_buffer = Vec::with_capacity(4096);
    let mut sum = (0, 0.0);
    for line in lines(data) {
        line_buffer.clear();
        line_buffer.extend_from_slice(line);
        let tape = simd_json::to_tape_with_buffers(&mut line_buffer, &mut buffers)?;
        let object = tape.as_value();
        let object = object.as_object().context("not an object")?;
        let (mut user, mut event_type, mut time, mut value) = (0, 0, 0, 0.0);
        for (key, field) in object.iter() {
            use simd_json::prelude::*;
            match key {
                "userId" => user = field.as_str().map_or(0, str::len),
                "eventType" => event_type = field.as_str().map_or(0, str::len),
                "timestamp" => time = field.as_i64().unwrap_or(0),
                "value" => value = field.as_f64().unwrap_or(0.0),
                _ => {}
            }
        }
        add(&mut sum, user, event_type, time, value);
    }
    Ok(sum)
}

/// arrow-json into a batch of the four columns.
pub fn arrow(data: &[u8]) -> Result<Checksum> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("userId", DataType::Utf8, false),
        Field::new("eventType", DataType::Utf8, false),
        Field::new("timestamp", DataType::Int64, false),
        Field::new("value", DataType::Float64, true),
    ]));
    let reader = arrow_json::ReaderBuilder::new(schema).with_batch_size(8192).build(std::io::Cursor::new(data))?;
    let mut sum = (0, 0.0);
    for batch in reader {
        let batch = batch?;
        let (users, types) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
        let (times, values) = (batch.column(2).as_primitive::<Int64Type>(), batch.column(3).as_primitive::<Float64Type>());
        for i in 0..batch.num_rows() {
            add(&mut sum, users.value(i).len(), types.value(i).len(), times.value(i), values.value(i));
        }
    }
    Ok(sum)
}
