//! Tumbling windows: a group is one row, and leaves when its window closes.

use cohort_compiler::window::floor;

use super::{Arrival, Arrivals, Changes, FamilyState, Final, Groups, Queued, Tracked, apply};
use crate::error::EngineError;
use crate::having::view;
use crate::result::{ResultKind, ResultRow};
use crate::state::AHEAD;
use crate::users::Users;

/// Rows of a window that closes, decided and freed together.
const STRETCH: usize = 1024;

impl FamilyState {
    /// Takes events in where a row is touched only when an event changes what it qualifies for; `N` is the number of
    /// views that thresholds are on.
    pub(super) fn tumble_events<const N: usize>(&mut self, queue: &[Queued], batch: &Arrivals<'_>, size: i64, late: &mut Vec<u32>) {
        let (actions, quick) = (std::mem::take(&mut self.actions), std::mem::take(&mut self.quick));
        let view_of = |at: usize, slots: &[u64]| quick.get(at).and_then(|index| view(index.view, slots));
        for (at, queued) in queue.iter().enumerate() {
            self.prefetch(queue, at, batch.users);
            let (i, action) = (queued.event as usize, &actions[queued.action as usize]);
            self.stats.events += u64::from(action.creates);
            let Some(start) = self.open_start(batch.times[i], size, batch.horizons[i]) else {
                late.extend(action.creates.then_some(queued.event));
                continue;
            };
            let (row, is_new) = self.rows.find_or_create(batch.users[i], start);
            if is_new {
                self.add_to_pane(start, row);
            }
            let slots = self.rows.note(row, batch.times[i]);
            let before: [Option<f64>; N] = if is_new { [None; N] } else { std::array::from_fn(|at| view_of(at, slots)) };
            apply(slots, &mut self.general, row, queued.event, action, batch.arguments);
            let crosses = quick.iter().zip(&before).any(|(index, was)| index.crosses(*was, view(index.view, slots)));
            if crosses && self.rows.touch(row) {
                self.touched.push(row);
                self.was.extend_from_slice(&before);
            }
        }
        (self.actions, self.quick) = (actions, quick);
    }

    /// The start of an event's window, unless that is closed.
    #[inline]
    fn open_start(&self, time: i64, size: i64, horizon: i64) -> Option<i64> {
        // Most events are of the newest window.
        let newest = self.current_pane.0;
        let start = if (time.wrapping_sub(newest) as u64) < size as u64 { newest } else { floor(time, size) };
        (start + size > horizon).then_some(start)
    }

    #[inline]
    pub(super) fn tumble_row(&mut self, arrival: &Arrival, size: i64, creates: bool) -> (Option<u32>, bool) {
        let Some(start) = self.open_start(arrival.time, size, arrival.horizon) else { return (None, creates) };
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
        for (i, (&row, was)) in self.touched.iter().zip(self.was.chunks_exact(self.quick.len())).enumerate() {
            self.prefetch_ahead(&self.touched, i);
            let (r, now) = (self.rows.row(row), self.rows.slots(row));
            for (index, &before) in self.quick.iter().zip(was) {
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
                        self.rows.prefetch_removal(later);
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
                if !index.some(value) {
                    continue;
                }
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
