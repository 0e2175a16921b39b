//! A decoded batch as Arrow columns, for the conditions and arguments that DataFusion evaluates.

use std::sync::Arc;

use cohort_compiler::catalog::metadata_type;
use cohort_compiler::normalize::metadata_key;
use cohort_compiler::program::{Argument, Field, Program};
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, MapArray, RecordBatch, RecordBatchOptions, StringArray, StringBuilder, StructArray, TimestampMillisecondArray,
    new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;

use crate::aggregate::fixed::ArgumentColumn;
use crate::decode::{EventBatch, MapColumn, Projection, TextBuffer, TextColumnSpec, TextField};
use crate::evaluate::evaluate;

/// What a program needs decoded.
pub fn projection(program: &Program) -> Projection {
    let texts = program.scan.texts.iter().map(|t| TextColumnSpec {
        field: text_field(&t.field),
        dictionary: t.routed.then(|| {
            let ids = t.dictionary.iter().enumerate().map(|(i, text)| (text.as_bytes().into(), i as u32 + 2));
            Arc::new(ids.collect())
        }),
        text: t.text,
    });
    Projection { value: program.scan.value, texts: texts.collect(), metadata: program.scan.metadata }
}

fn text_field(field: &Field) -> TextField {
    match field {
        Field::EventType => TextField::EventType,
        Field::SessionId => TextField::SessionId,
        Field::Topic => TextField::Topic,
        Field::Metadata(key) => TextField::Metadata(key.clone()),
    }
}

/// The batch as the program's event schema.
pub fn record_batch(program: &Program, events: &EventBatch) -> Result<RecordBatch> {
    let columns = program.event_schema.fields().iter().map(|f| column(program, events, f.name())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(&program.event_schema), columns, &options)?)
}

fn column(program: &Program, events: &EventBatch, name: &str) -> Result<ArrayRef> {
    let field = match name {
        "user_id" => return Ok(Arc::new(strings(&events.users, None))),
        "event_time" => return Ok(Arc::new(TimestampMillisecondArray::from(events.times.clone()).with_timezone("UTC"))),
        "value" => return Ok(Arc::new(Float64Array::new(events.values.clone().into(), nulls(&events.values_valid)))),
        "metadata" => return map(events.metadata.as_ref(), events.len()),
        "event_type" => Field::EventType,
        "session_id" => Field::SessionId,
        "topic" => Field::Topic,
        other => Field::Metadata(metadata_key(other).unwrap_or(other).to_string()),
    };
    match program.scan.texts.iter().position(|t| t.field == field) {
        Some(i) => Ok(Arc::new(strings(&events.texts[i].text, Some(&events.texts[i].valid)))),
        None => Ok(new_null_array(&DataType::Utf8, events.len())),
    }
}

fn nulls(valid: &[bool]) -> Option<NullBuffer> {
    valid.contains(&false).then(|| NullBuffer::from(valid))
}

fn strings(texts: &TextBuffer, valid: Option<&[bool]>) -> StringArray {
    let mut builder = StringBuilder::with_capacity(texts.len(), texts.bytes.len());
    for i in 0..texts.len() {
        match valid {
            Some(valid) if !valid[i] => builder.append_null(),
            _ => builder.append_value(std::str::from_utf8(texts.get(i)).unwrap_or_default()),
        }
    }
    builder.finish()
}

fn map(column: Option<&MapColumn>, rows: usize) -> Result<ArrayRef> {
    let Some(column) = column.filter(|c| !c.offsets.is_empty()) else { return Ok(new_null_array(&metadata_type(), rows)) };
    let DataType::Map(entry, ordered) = metadata_type() else { return Ok(new_null_array(&metadata_type(), rows)) };
    let DataType::Struct(fields) = entry.data_type().clone() else { return Ok(new_null_array(&metadata_type(), rows)) };
    let keys: ArrayRef = Arc::new(strings(&column.keys, None));
    let values: ArrayRef = Arc::new(strings(&column.values, Some(&column.values_valid)));
    let entries = StructArray::try_new(fields, vec![keys, values], None)?;
    let offsets = OffsetBuffer::new(column.offsets.iter().map(|o| *o as i32).collect::<Vec<_>>().into());
    Ok(Arc::new(MapArray::try_new(entry, offsets, entries, nulls(&column.valid), ordered)?))
}

/// The arguments of fixed slots for a batch.
pub fn arguments(program: &Program, events: &EventBatch, batch: Option<&RecordBatch>, into: &mut Vec<ArgumentColumn>) -> Result<()> {
    into.resize_with(program.arguments.len(), ArgumentColumn::default);
    for (argument, column) in program.arguments.iter().zip(into) {
        match (argument, batch) {
            (Argument::Value, _) => {
                column.values.clone_from(&events.values);
                column.valid.clone_from(&events.values_valid);
            }
            (Argument::Expression(e), Some(batch)) => {
                let array = evaluate(e, batch)?;
                column.valid = (0..array.len()).map(|i| array.is_valid(i)).collect();
                column.values.clear();
                if array.data_type() == &DataType::Float64 {
                    let array = cast(&array, &DataType::Float64)?;
                    if let Some(floats) = array.as_any().downcast_ref::<Float64Array>() {
                        // A sum never meets -0.0, which stands for "no value yet".
                        column.values.extend(floats.values().iter().map(|x| x + 0.0));
                    }
                }
            }
            (Argument::Expression(_), None) => {}
        }
    }
    Ok(())
}

/// Outcomes of the program's masks for a batch: null is false.
pub fn masks(program: &Program, batch: &RecordBatch) -> Result<Vec<Vec<bool>>> {
    let outcome = |mask: &cohort_compiler::program::Mask| {
        let array = evaluate(&mask.expression, batch)?;
        let array = cast(&array, &DataType::Boolean)?;
        let outcome = array.as_any().downcast_ref::<BooleanArray>().map(|b| (0..b.len()).map(|i| b.is_valid(i) && b.value(i)).collect());
        Ok(outcome.unwrap_or_else(|| vec![false; batch.num_rows()]))
    };
    program.masks.iter().map(outcome).collect()
}
