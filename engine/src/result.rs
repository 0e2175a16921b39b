//! What the engine emits: transitions of membership and results of windows.

use crate::partition::Partition;

/// Takes the results of a partition as they come, in order.
pub trait Results: Extend<ResultRow> {
    /// Called between results, so that those of a tumbling window that closes, of which there may be millions, can be handed on in parts. What was
    /// told so far is in the partition's users and memberships; its groups are not to be asked for meanwhile.
    fn pause(&mut self, _partition: &Partition) {}
}

impl Results for Vec<ResultRow> {}

/// Why a result was emitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResultKind {
    /// A group began or ceased to qualify in a window that is open.
    Change,
    /// A group qualified when its window closed.
    Final,
    /// A user is no longer a member.
    Exit,
}

/// One result. Times are milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResultRow {
    /// Index into the program's segments.
    pub segment: u32,
    /// Dense id of the user within the partition.
    pub user: u32,
    /// Why.
    pub kind: ResultKind,
    /// Whether the group qualifies.
    pub qualified: bool,
    /// The segment's value, where it has one.
    pub value: Option<f64>,
    /// Newest contributing event (changes), end of the window (finals), or when membership ended (exits).
    pub timestamp: i64,
    /// Start of the window.
    pub window_start: i64,
    /// End of the window.
    pub window_end: i64,
}
