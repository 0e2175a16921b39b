//! Who enters and exits segments over a run, counted.

use std::ops::AddAssign;

use cohort_engine::{Partition, ResultKind, ResultRow};
use rustc_hash::FxHashSet;

use crate::between::Between;

/// How often users became members of a segment, and ceased to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Times that a user became a member.
    pub entered: u64,
    /// Times that a user ceased to be one.
    pub exited: u64,
}

impl AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.entered += other.entered;
        self.exited += other.exited;
    }
}

/// Follows the results of some partitions.
pub struct Moves {
    between: Between,
    /// By segment, who is inside: partition and user.
    inside: Vec<FxHashSet<(u32, u32)>>,
    counts: Vec<Moved>,
}

impl Moves {
    /// Nobody is in any of so many segments. What happens in the lead-in of `between` is not counted.
    pub fn new(segments: usize, between: Between) -> Self {
        Moves { between, inside: vec![FxHashSet::default(); segments], counts: vec![Moved::default(); segments] }
    }

    /// Takes results of a partition in their order.
    pub fn note(&mut self, number: u32, partition: &Partition, rows: &[ResultRow]) {
        for row in rows {
            let (inside, counts) = (&mut self.inside[row.segment as usize], &mut self.counts[row.segment as usize]);
            let counted = u64::from(!self.between.is_lead_in(row.timestamp));
            match change(partition, row) {
                true if inside.insert((number, row.user)) => counts.entered += counted,
                false if inside.remove(&(number, row.user)) => counts.exited += counted,
                _ => {}
            }
        }
    }

    /// By segment.
    pub fn counts(&self) -> &[Moved] {
        &self.counts
    }
}

/// Whether a user is a member after a result. One who qualifies no longer in a window that is open may still be one by
/// the window before it.
pub fn change(partition: &Partition, row: &ResultRow) -> bool {
    row.qualified || row.kind == ResultKind::Change && partition.membership().get(row.segment, row.user).is_some()
}
