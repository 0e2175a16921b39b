//! Derived segments: one condition and one value expression over the presence and value of the segments
//! they read, evaluated only where a row can be: an AND looks at its shorter side.

use std::sync::Arc;

use cohort_compiler::program::{Derived, Presence};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray};

use crate::error::EngineError;
use crate::users::Users;
use crate::window::{booleans, floats};

/// A row's key: user, window start, window end.
pub type Key = (u32, i64, i64);

/// An input's rows by key, with their values.
pub type Input<'a> = &'a dyn Fn(usize, &Key) -> Option<Option<f64>>;

/// The keys at which a derived segment can have a row, sorted; `keys(i)` are those of input `i`, sorted.
pub fn candidates(presence: &Presence, keys: &dyn Fn(usize) -> Vec<Key>) -> Vec<Key> {
    match presence {
        Presence::Input(i) => keys(*i),
        Presence::And(a, b) => {
            let (a, b) = (candidates(a, keys), candidates(b, keys));
            let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
            short.into_iter().filter(|k| long.binary_search(k).is_ok()).collect()
        }
        Presence::Or(a, b) => {
            let mut all = candidates(a, keys);
            all.extend(candidates(b, keys));
            all.sort_unstable();
            all.dedup();
            all
        }
    }
}

/// Evaluates a derived segment at keys: for each, `Some(value)` when it has a row there.
pub fn evaluate(derived: &Derived, keys: &[Key], input: Input<'_>, users: &Users) -> Result<Vec<Option<Option<f64>>>, EngineError> {
    if keys.is_empty() {
        return Ok(vec![]);
    }
    let batch = batch(derived, keys, input, users)?;
    let holds = booleans(&derived.condition, &batch)?;
    let values = derived.value.as_ref().map(|v| floats(v, &batch)).transpose()?;
    let value = |k: usize| values.as_ref().and_then(|v| v.is_valid(k).then(|| v.value(k)));
    Ok((0..keys.len()).map(|k| (holds.is_valid(k) && holds.value(k)).then(|| value(k))).collect())
}

fn batch(derived: &Derived, keys: &[Key], input: Input<'_>, users: &Users) -> Result<RecordBatch, EngineError> {
    let times = |f: fn(&Key) -> i64| Arc::new(TimestampMillisecondArray::from_iter_values(keys.iter().map(f)).with_timezone("UTC")) as ArrayRef;
    let names = StringArray::from_iter_values(keys.iter().map(|k| users.name(k.0)));
    let mut columns: Vec<ArrayRef> = vec![Arc::new(names), times(|k| k.1), times(|k| k.2)];
    for i in 0..derived.inputs.len() {
        let found: Vec<Option<Option<f64>>> = keys.iter().map(|k| input(i, k)).collect();
        columns.push(Arc::new(found.iter().map(|f| Some(f.is_some())).collect::<BooleanArray>()));
        columns.push(Arc::new(found.iter().map(|f| f.flatten()).collect::<Float64Array>()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(keys.len()));
    RecordBatch::try_new_with_options(Arc::clone(&derived.schema), columns, &options)
        .map_err(|e| EngineError::Evaluate { what: "a derived segment".into(), source: e.into() })
}
