//! Session windows: a user's events less than a gap apart. An event may extend a session at either end,
//! or join two into one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use super::{Arrival, Changes, FamilyState, Final, Groups};
use crate::error::EngineError;
use crate::having::view;
use crate::result::{ResultKind, ResultRow};
use crate::state::NONE;
use crate::users::Users;

/// When sessions end, and what was said of them early.
#[derive(Default, Clone)]
pub struct Sessions {
    /// (end, row): a row has one entry that counts, that of `scheduled`; its session may since end later.
    ends: BinaryHeap<Reverse<(i64, u32)>>,
    scheduled: Vec<i64>,
    /// Windows emitted early, by (segment, row).
    pub(super) early: FxHashMap<(u32, u32), (i64, i64)>,
    /// Early results of sessions that were joined to another: (segment, user, window, newest event).
    retracted: Vec<(u32, u32, (i64, i64), i64)>,
}

const UNSCHEDULED: i64 = i64::MIN;

impl Sessions {
    pub(super) fn schedule(&mut self, row: u32, end: i64) {
        let i = row as usize;
        if i >= self.scheduled.len() {
            self.scheduled.resize((i + 1).next_power_of_two(), UNSCHEDULED);
        }
        self.scheduled[i] = end;
        self.ends.push(Reverse((end, row)));
    }

    /// The earliest end, which may have moved on since.
    pub fn next_end(&self) -> Option<i64> {
        self.ends.peek().map(|Reverse((end, _))| *end)
    }

    /// All rows in use.
    pub fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.iter().filter(|Reverse((end, row))| self.scheduled[*row as usize] == *end).map(|Reverse((_, row))| *row)
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.ends.capacity() * 16 + self.scheduled.capacity() * 8 + self.early.capacity() * 25
    }
}

impl FamilyState {
    pub(super) fn session_row(&mut self, arrival: &Arrival, gap: i64, creates: bool) -> Result<(Option<u32>, bool), EngineError> {
        let time = arrival.time;
        let mut joined: [u32; 2] = [NONE; 2];
        let mut at = self.rows.head(arrival.user);
        while at != NONE {
            let r = self.rows.row(at);
            let is_open = r.newest + gap > arrival.horizon;
            if is_open && time > r.start - gap && time < r.newest + gap {
                joined[usize::from(joined[0] != NONE)] = at;
            }
            at = r.older;
        }
        if joined[0] == NONE {
            if time + gap <= arrival.horizon {
                return Ok((None, creates));
            }
            let row = self.rows.insert(arrival.user, time);
            self.touch(row, time);
            self.sessions.schedule(row, time + gap);
            return Ok((Some(row), false));
        }
        // Whatever the order in which two sessions began, the later one takes in the earlier.
        if joined[1] != NONE && self.rows.row(joined[0]).start < self.rows.row(joined[1]).start {
            joined.swap(0, 1);
        }
        let row = joined[0];
        self.touch(row, time);
        if joined[1] != NONE {
            self.join_sessions(row, joined[1])?;
        }
        self.rows.widen(row, time, time);
        Ok((Some(row), false))
    }

    /// Joins the older session into the newer.
    fn join_sessions(&mut self, into: u32, from: u32) -> Result<(), EngineError> {
        let older = self.rows.row(from);
        let from_slots = self.rows.slots(from).to_vec();
        let mut slots = self.rows.slots(into).to_vec();
        self.rows.merge(&mut slots, &from_slots);
        self.rows.slots_mut(into).copy_from_slice(&slots);
        self.rows.widen(into, older.start, older.newest);
        for general in &mut self.general {
            let name = general.name().to_string();
            general.merge_rows(into, from).map_err(EngineError::evaluate(name))?;
        }
        self.sessions.scheduled[from as usize] = UNSCHEDULED;
        for &p in &self.careful {
            let segment = self.segments[p].id;
            if let Some(window) = self.sessions.early.remove(&(segment, from)) {
                self.sessions.retracted.push((segment, older.user, window, older.newest));
            }
        }
        self.touched.retain(|&row| row != from);
        self.free(from);
        Ok(())
    }

    fn session_groups(&self, rows: &[u32], gap: i64) -> Groups {
        let mut groups = Groups::new(self.rows.width());
        for &row in rows {
            let r = self.rows.row(row);
            let g = groups.push(r.user, (r.start, r.newest + gap), r.newest, self.rows.slots(row));
            groups.members.push((g, row));
        }
        groups
    }

    pub(super) fn session_changes(&mut self, users: &Users, gap: i64, changes: &mut Changes) -> Result<(), EngineError> {
        for (segment, user, window, newest) in std::mem::take(&mut self.sessions.retracted) {
            changes.rows.push(retraction(segment, user, window, newest));
            changes.opened.push((segment, user, -1));
        }
        if self.careful.is_empty() {
            return Ok(());
        }
        let touched = std::mem::take(&mut self.touched);
        let groups = self.session_groups(&touched, gap);
        let mut outcomes = vec![];
        self.decide(&self.careful, &groups, users, |p, g, qualifies, value| outcomes.push((p, g, qualifies, value)))?;
        for (p, g, qualifies, value) in outcomes {
            let (segment, row, user) = (self.segments[p].id, touched[g], groups.users[g]);
            match (self.sessions.early.get(&(segment, row)).copied(), qualifies) {
                (None, true) => {
                    self.sessions.early.insert((segment, row), (groups.starts[g], groups.ends[g]));
                    changes.rows.push(groups.change(g, segment, true, value));
                    changes.opened.push((segment, user, 1));
                }
                (Some(window), false) => {
                    self.sessions.early.remove(&(segment, row));
                    changes.rows.push(retraction(segment, user, window, groups.newest[g]));
                    changes.opened.push((segment, user, -1));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn session_close(&mut self, users: &Users, gap: i64, horizon: i64, finals: &mut Vec<Final>, changes: &mut Changes) -> Result<(), EngineError> {
        let mut rows = vec![];
        while let Some(&Reverse((end, row))) = self.sessions.ends.peek() {
            if end > horizon {
                break;
            }
            self.sessions.ends.pop();
            if self.sessions.scheduled[row as usize] != end {
                continue;
            }
            let actual = self.rows.row(row).newest + gap;
            if actual > end {
                self.sessions.schedule(row, actual);
            } else {
                self.sessions.scheduled[row as usize] = UNSCHEDULED;
                rows.push(row);
            }
        }
        let groups = self.session_groups(&rows, gap);
        let from = finals.len();
        for index in &self.simple {
            for g in 0..groups.len() {
                let slots = groups.slots_of(g);
                index.qualified(view(index.view, slots), |listed| {
                    finals.push(final_of(&groups, g, listed.segment, self.value_of(listed.segment, slots)));
                });
            }
        }
        self.decide(&self.complex, &groups, users, |p, g, qualifies, value| {
            if qualifies {
                finals.push(final_of(&groups, g, self.segments[p].id, value));
            }
        })?;
        self.settle_early(&rows, &groups, &mut finals[from..], changes);
        for row in rows {
            self.free(row);
        }
        Ok(())
    }

    /// Takes back what was said early of a session whose window has since grown; its final follows.
    fn settle_early(&mut self, rows: &[u32], groups: &Groups, finals: &mut [Final], changes: &mut Changes) {
        if self.sessions.early.is_empty() {
            return;
        }
        let mut early: FxHashMap<(u32, u32, i64), ()> = FxHashMap::default();
        for (g, &row) in rows.iter().enumerate() {
            for &p in &self.careful {
                let segment = self.segments[p].id;
                if let Some(window) = self.sessions.early.remove(&(segment, row)) {
                    early.insert((segment, groups.users[g], groups.ends[g]), ());
                    if window != (groups.starts[g], groups.ends[g]) {
                        changes.rows.push(retraction(segment, groups.users[g], window, groups.newest[g]));
                    }
                }
            }
        }
        for f in finals {
            f.was_open = early.contains_key(&(f.segment, f.user, f.end));
        }
    }
}

fn final_of(groups: &Groups, g: usize, segment: u32, value: Option<f64>) -> Final {
    Final { segment, user: groups.users[g], start: groups.starts[g], end: groups.ends[g], value, was_open: false }
}

fn retraction(segment: u32, user: u32, (start, end): (i64, i64), newest: i64) -> ResultRow {
    ResultRow { segment, user, kind: ResultKind::Change, qualified: false, value: None, timestamp: newest, window_start: start, window_end: end }
}
