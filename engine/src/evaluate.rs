//! Expressions over batches. One that fails for some rows (a text that is no number is cast to one, a number is
//! divided by zero) is null for those, so that one bad event cannot stop the others.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use datafusion::arrow::compute::concat;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;

/// The value of an expression for each row; null where it fails.
///
/// # Errors
/// When the expression cannot be evaluated at all.
pub fn evaluate(e: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    let rows = batch.num_rows();
    match e.evaluate(batch).and_then(|value| value.into_array(rows)) {
        Ok(array) => Ok(array),
        Err(_) if rows == 1 => Ok(new_null_array(&e.data_type(&batch.schema())?, 1)),
        Err(error) if rows == 0 => Err(error),
        // Halves, and halves of those that fail: a few bad rows among many are found soon.
        Err(_) => {
            let half = rows / 2;
            let parts = [evaluate(e, &batch.slice(0, half))?, evaluate(e, &batch.slice(half, rows - half))?];
            Ok(concat(&parts.iter().map(|a| a as &dyn Array).collect::<Vec<_>>())?)
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use datafusion::physical_expr::expressions::{cast, col};

    use super::*;

    #[test]
    fn rows_that_fail_are_null() -> Result<()> {
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Utf8, true)]));
        let texts: Vec<String> = (0..1000).map(|i| if i % 97 == 5 { "no number".into() } else { i.to_string() }).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(StringArray::from(texts))])?;
        let number = cast(col("x", &schema)?, &schema, DataType::Int64)?;
        let expected: Int64Array = (0..1000).map(|i| (i % 97 != 5).then_some(i)).collect();
        assert_eq!(evaluate(&number, &batch)?.as_primitive::<Int64Type>(), &expected);
        Ok(())
    }
}
