//! Tumbling windows: a group is one row, and leaves when its window closes.

use cohort_compiler::window::floor;

use super::{Arrival, Changes, FamilyState, Final, Groups, Tracked};
use crate::error::EngineError;
use crate::having::view;
use crate::result::{ResultKind, ResultRow};
use crate::state::AHEAD;
use crate::users::Users;

/// Rows of a window that closes, decided and freed together.
const STRETCH: usize = 1024;

impl FamilyState {
    #[inline]
    pub(super) fn tumble_row(&mut self, arrival: &Arrival<'_>, size: i64, creates: bool) -> (Option<u32>, bool) {
        // Most events are of the newest window.
        let newest = self.current_pane.0;
        let start = if (arrival.time.wrapping_sub(newest) as u64) < size as u64 { newest } else { floor(arrival.time, size) };
        if start + size <= arrival.horizon {
            return (None, creates);
        }
        let (row, is_new) = self.rows.find_or_create(arrival.user, start);
        self.touch(row, is_new, arrival);
        if is_new {
            self.add_to_pane(start, row);
        }
        (Some(row), false)
    }

    /// Thresholds that lie between a group's value before the batch and after it.
    pub(super) fn quick_changes(&mut self, size: i64, changes: &mut Changes) {
        if self.quick.is_empty() {
            return;
        }
        let width = self.rows.width();
        for (i, &row) in self.touched.iter().enumerate() {
            self.prefetch_ahead(&self.touched, i);
            let r = self.rows.row(row);
            let (was, now) = (&self.was[i * width..][..width], self.rows.slots(row));
            for index in &self.quick {
                let before = if self.was_new[i] { None } else { view(index.view, was) };
                let after = view(index.view, now);
                index.flips(before, after, |listed, qualified| {
                    let segment = listed.segment;
                    changes.rows.push(ResultRow {
                        segment,
                        user: r.user,
                        kind: ResultKind::Change,
                        qualified,
                        value: if listed.own_value { after } else { self.value_of(segment, now) },
                        timestamp: r.newest,
                        window_start: r.start,
                        window_end: r.start + size,
                    });
                    changes.opened.push((segment, r.user, if qualified { 1 } else { -1 }));
                });
            }
        }
    }

    /// Has the processor fetch a row that a loop over `rows` will come to soon.
    #[inline]
    fn prefetch_ahead(&self, rows: &[u32], i: usize) {
        if let Some(&later) = rows.get(i + AHEAD) {
            self.rows.prefetch(later);
        }
    }

    fn tumble_groups(&self, rows: &[u32], size: i64) -> Groups {
        let mut groups = Groups::new(self.rows.width());
        for &row in rows {
            let r = self.rows.row(row);
            let g = groups.push(r.user, (r.start, r.start + size), r.newest, self.rows.slots(row));
            groups.members.push((g, row));
        }
        groups
    }

    pub(super) fn tumble_changes(&mut self, users: &Users, size: i64, changes: &mut Changes) -> Result<(), EngineError> {
        if self.careful.is_empty() {
            return Ok(());
        }
        let groups = self.tumble_groups(&self.touched, size);
        let mut outcomes = vec![];
        self.decide(&self.careful, &groups, users, |p, g, qualifies, value| outcomes.push((p, g, qualifies, value)))?;
        for (p, g, qualifies, value) in outcomes {
            let segment = self.segments[p].id;
            let (user, end) = (groups.users[g], groups.ends[g]);
            let was = self.open.set(segment, user, end, qualifies);
            if was != qualifies {
                changes.rows.push(groups.change(g, segment, qualifies, value));
                changes.opened.push((segment, user, if qualifies { 1 } else { -1 }));
            }
            if self.segments[p].tracked && (was || qualifies) {
                let (start, newest) = (groups.starts[g], groups.newest[g]);
                changes.tracked.push(Tracked { segment, user, start, end, qualifies: qualifies.then_some(value), newest });
            }
        }
        Ok(())
    }

    pub(super) fn tumble_close(&mut self, users: &Users, size: i64, horizon: i64, finals: &mut Vec<Final>) -> Result<(), EngineError> {
        if self.next_close().is_none_or(|end| end > horizon) {
            return Ok(());
        }
        self.settle_pane();
        while let Some(entry) = self.panes.first_entry() {
            if entry.key() + size > horizon {
                break;
            }
            let rows = entry.remove();
            // A stretch of rows at a time, so that they are still at hand when they are freed.
            let stretch = if self.complex.is_empty() { STRETCH } else { rows.len() };
            for rows in rows.chunks(stretch) {
                self.finish_tumble(users, rows, size, finals)?;
                for (i, &row) in rows.iter().enumerate() {
                    if let Some(&later) = rows.get(i + AHEAD) {
                        self.rows.prefetch_head(self.rows.row(later).user);
                    }
                    self.free(row);
                }
            }
        }
        Ok(())
    }

    fn finish_tumble(&mut self, users: &Users, rows: &[u32], size: i64, finals: &mut Vec<Final>) -> Result<(), EngineError> {
        for (i, &row) in rows.iter().enumerate() {
            self.prefetch_ahead(rows, i);
            let (r, slots) = (self.rows.row(row), self.rows.slots(row));
            for index in &self.simple {
                let value = view(index.view, slots);
                index.qualified(value, |listed| {
                    let segment = listed.segment;
                    finals.push(Final {
                        segment,
                        user: r.user,
                        start: r.start,
                        end: r.start + size,
                        value: if listed.own_value { value } else { self.value_of(segment, slots) },
                        was_open: self.emits_changes(segment),
                    });
                });
            }
        }
        if !self.complex.is_empty() {
            let groups = self.tumble_groups(rows, size);
            self.decide(&self.complex, &groups, users, |p, g, qualifies, value| {
                if qualifies {
                    let segment = &self.segments[p];
                    let was_open = segment.emit == cohort_compiler::emit::Emit::Changes;
                    finals.push(Final { segment: segment.id, user: groups.users[g], start: groups.starts[g], end: groups.ends[g], value, was_open });
                }
            })?;
        }
        if !self.careful.is_empty() {
            for &row in rows {
                let r = self.rows.row(row);
                for &p in &self.careful {
                    self.open.set(self.segments[p].id, r.user, r.start + size, false);
                }
            }
        }
        Ok(())
    }
}
