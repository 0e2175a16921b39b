//! A partition whose results come from elsewhere: it keeps who is a member, and evaluates nothing.

use super::Partition;
use crate::error::EngineError;
use crate::membership::NEVER;
use crate::result::ResultRow;

impl Partition {
    /// The dense id of a user.
    pub(crate) fn user_of(&mut self, user: &str) -> u32 {
        self.users.intern(user.as_bytes())
    }

    /// Takes a result of a window that closed, or an exit; returns false when a newer window is known, and it says nothing.
    pub(crate) fn told(&mut self, row: &ResultRow) -> bool {
        self.newest = Some(self.newest.map_or(row.timestamp, |n| n.max(row.timestamp)));
        let known = self.membership.get(row.segment, row.user).map(|m| m.closed_end).filter(|end| *end != NEVER);
        if known.is_some_and(|end| end > row.window_end) {
            return false;
        }
        if row.qualified {
            self.membership.qualified(row.segment, row.user, (row.window_start, row.window_end), row.value, false, None);
        } else {
            self.membership.end(row.segment, row.user, |_| true);
        }
        true
    }

    /// Forgets users without state, once there are many; between two batches.
    ///
    /// # Errors
    /// When state outgrows the memory limit.
    pub(crate) fn relayed(&mut self) -> Result<(), EngineError> {
        self.sweep();
        self.check_memory()
    }
}
