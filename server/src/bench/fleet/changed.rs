//! What an incremental checkpoint would come to: the rows of a state's tables that the one before did not have. Cohort
//! writes whole checkpoints; this says what that costs.

use anyhow::Result;
use cohort_engine::Tables;
use cohort_engine::checkpoint::encode;
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::row::{RowConverter, SortField};
use rustc_hash::{FxBuildHasher, FxHashSet};
use std::hash::BuildHasher;

/// Hashes of all rows of a checkpoint, each with its table's name.
#[derive(Default)]
pub struct Rows(FxHashSet<u64>);

/// Bytes of a checkpoint's tables, and those of the rows that are new in it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// Of all rows.
    pub whole: u64,
    /// Of rows that the one before did not have.
    pub changed: u64,
}

/// Compares a state with the rows of the one before, which it replaces. Nothing, when there were none.
///
/// # Errors
/// When Arrow cannot encode a table.
pub fn compare(tables: &Tables, before: &mut Rows) -> Result<Option<Bytes>> {
    let (mut rows, mut bytes) = (FxHashSet::default(), Bytes::default());
    for (name, batch) in tables.0.iter().filter(|(_, batch)| batch.num_rows() > 0) {
        let hashes = hashes(name, batch)?;
        let new: BooleanArray = hashes.iter().map(|hash| Some(!before.0.contains(hash))).collect();
        bytes.whole += encode(name, batch)?.len() as u64;
        if new.true_count() > 0 {
            bytes.changed += encode(name, &filter_record_batch(batch, &new)?)?.len() as u64;
        }
        rows.extend(hashes);
    }
    let first = before.0.is_empty();
    before.0 = rows;
    Ok((!first).then_some(bytes))
}

fn hashes(name: &str, batch: &RecordBatch) -> Result<Vec<u64>> {
    let fields = batch.schema().fields().iter().map(|f| SortField::new(f.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(batch.columns())?;
    Ok(rows.iter().map(|row| FxBuildHasher.hash_one((name, row.as_ref()))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use cohort_engine::tables::column;
    use datafusion::arrow::array::UInt32Array;

    fn tables(values: impl Iterator<Item = u32>) -> Tables {
        let mut tables = Tables::default();
        tables.put("some".into(), vec![column("a", UInt32Array::from_iter_values(values))]).unwrap();
        tables
    }

    #[test]
    fn only_rows_that_are_new_are_changed() {
        let mut rows = Rows::default();
        assert_eq!(compare(&tables(0..10_000), &mut rows).unwrap(), None, "there is nothing to compare the first with");
        let same = compare(&tables(0..10_000), &mut rows).unwrap().unwrap();
        assert_eq!(same.changed, 0);
        let half = compare(&tables(5_000..15_000), &mut rows).unwrap().unwrap();
        assert_eq!(half.whole, same.whole);
        let part = half.changed as f64 / half.whole as f64;
        assert!((0.45..0.55).contains(&part), "{half:?}");
    }
}
