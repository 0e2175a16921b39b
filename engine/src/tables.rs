//! State as named Arrow tables: what a checkpoint holds, and how state moves from one program to the next.
//!
//! Tables name users by dense id (table `users` has their texts), families by filter and window, slots by their
//! SQL, and segments by name, so that they mean the same to any later program.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Float64Type, Int64Type, Schema, UInt32Type, UInt64Type};

use crate::error::EngineError;

/// State as named tables.
#[derive(Debug, Clone, Default)]
pub struct Tables(pub BTreeMap<String, RecordBatch>);

impl Tables {
    /// Adds a table of columns of equal length.
    ///
    /// # Errors
    /// When the columns are of different lengths.
    pub fn put(&mut self, table: String, columns: Vec<(String, ArrayRef)>) -> Result<(), EngineError> {
        let fields: Vec<Field> = columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
        let batch = batch.map_err(|e| EngineError::Saved { table: table.clone(), problem: e.to_string() })?;
        self.0.insert(table, batch);
        Ok(())
    }

    /// A table, if there is one.
    pub fn get(&self, name: &str) -> Option<Table<'_>> {
        self.0.get_key_value(name).map(|(name, batch)| Table { name, batch })
    }
}

/// A table, to read. Columns of fixed width must have no nulls.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    name: &'a str,
    batch: &'a RecordBatch,
}

impl<'a> Table<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// An error about this table.
    pub fn wrong(&self, problem: impl Into<String>) -> EngineError {
        EngineError::Saved { table: self.name.to_string(), problem: problem.into() }
    }

    /// A column, if there is one.
    pub fn column(&self, column: &str) -> Option<&'a ArrayRef> {
        self.batch.column_by_name(column)
    }

    fn needed<T>(&self, column: &str, cast: impl FnOnce(&'a ArrayRef) -> Option<T>) -> Result<T, EngineError> {
        let array = self.column(column).ok_or_else(|| self.wrong(format!("has no column {column}")))?;
        cast(array).ok_or_else(|| self.wrong(format!("column {column} is {} or has nulls", array.data_type())))
    }

    /// A column of `u32`.
    pub fn u32s(&self, column: &str) -> Result<&'a [u32], EngineError> {
        self.needed(column, |a| a.as_primitive_opt::<UInt32Type>().filter(|a| a.null_count() == 0).map(|a| &**a.values()))
    }

    /// A column of `u64`.
    pub fn u64s(&self, column: &str) -> Result<&'a [u64], EngineError> {
        self.needed(column, |a| a.as_primitive_opt::<UInt64Type>().filter(|a| a.null_count() == 0).map(|a| &**a.values()))
    }

    /// A column of `i64`.
    pub fn i64s(&self, column: &str) -> Result<&'a [i64], EngineError> {
        self.needed(column, |a| a.as_primitive_opt::<Int64Type>().filter(|a| a.null_count() == 0).map(|a| &**a.values()))
    }

    /// A column of `f64`, with nulls.
    pub fn f64s(&self, column: &str) -> Result<&'a Float64Array, EngineError> {
        self.needed(column, |a| a.as_primitive_opt::<Float64Type>())
    }

    /// A column of texts.
    pub fn texts(&self, column: &str) -> Result<&'a StringArray, EngineError> {
        self.needed(column, |a| a.as_string_opt::<i32>().filter(|a| a.null_count() == 0))
    }
}

/// A column of a table that is being made.
pub fn column<A: Array + 'static>(name: impl Into<String>, array: A) -> (String, ArrayRef) {
    (name.into(), Arc::new(array))
}

/// The value of an optional cell.
pub fn cell(array: &Float64Array, row: usize) -> Option<f64> {
    array.is_valid(row).then(|| array.value(row))
}
