//! Updates of fixed slots: each event is added in arrival order, so that where a batch was cut can't
//! change the rounding of a sum.

use cohort_compiler::program::{Op, OpKind};

/// An argument of slots for one batch.
#[derive(Debug, Clone, Default)]
pub struct ArgumentColumn {
    /// One number a row; empty where only nulls matter.
    pub values: Vec<f64>,
    /// Whether each is not null.
    pub valid: Vec<bool>,
}

/// Applies one update for event `i`; general slots are not handled here.
#[inline]
pub fn apply(op: &Op, slots: &mut [u64], arguments: &[ArgumentColumn], i: usize) {
    let slot = &mut slots[op.slot as usize];
    if op.kind == OpKind::Count {
        *slot += 1;
        return;
    }
    let argument = &arguments[op.argument as usize];
    if !argument.valid[i] {
        return;
    }
    match op.kind {
        OpKind::CountArgument => *slot += 1,
        OpKind::Sum => *slot = (f64::from_bits(*slot) + argument.values[i]).to_bits(),
        OpKind::Min => *slot = f64::from_bits(*slot).min(argument.values[i]).to_bits(),
        OpKind::Max => *slot = f64::from_bits(*slot).max(argument.values[i]).to_bits(),
        OpKind::Count | OpKind::General => {}
    }
}
