//! Hopping and cumulating windows: an event updates one pane, whatever number of windows overlap it;
//! windows are merged from a user's panes when they close, and only for users whose panes entered or left
//! since the window before. What that costs does not grow with the panes of a window: two stacks of merged
//! panes a user (Tangwongsan, Hirzel and Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case
//! Constant Time", DEBS 2017, section 3), of which the panes themselves are the back one.

use std::collections::VecDeque;

use cohort_compiler::window::floor;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Arrival, Changes, FamilyState, Final, Groups, Tracked};
use crate::error::EngineError;
use crate::having::{ViewIndex, passes, view};
use crate::result::ResultRow;
use crate::state::NONE;
use crate::users::Users;

/// The window that closed last, user by user.
#[derive(Clone)]
pub struct Sliding {
    /// End of the last window that closed; windows that end at or before it are closed.
    pub closed: i64,
    /// Each user with events in that window.
    pub(super) current: FxHashMap<u32, Stacks>,
    /// Bytes of their stacks.
    pub(super) stacked: usize,
    /// Who qualifies, for simple segments by id.
    pub(super) simple: FxHashMap<u32, FxHashSet<u32>>,
    /// Who qualifies with what value, for complex segments by position.
    pub(super) complex: FxHashMap<usize, FxHashMap<u32, Option<f64>>>,
    /// Rows touched since they last entered a window: (pane start, user).
    pub(super) dirty: Vec<(i64, u32)>,
    /// Users with events, since that window closed, in panes that it held.
    pub(super) behind: FxHashSet<u32>,
}

impl Default for Sliding {
    fn default() -> Self {
        Sliding {
            closed: i64::MIN,
            current: FxHashMap::default(),
            stacked: 0,
            simple: FxHashMap::default(),
            complex: FxHashMap::default(),
            dirty: vec![],
            behind: FxHashSet::default(),
        }
    }
}

/// The merged panes of a user in the window that closed last.
#[derive(Debug, Default, Clone)]
pub(super) struct Stacks {
    /// Slots of the whole window, then of its panes newer than those in front.
    pub(super) slots: Box<[u64]>,
    /// For each pane in front, from the newest to the oldest: its row, its start, and the slots of it merged
    /// with those in front that are newer. The oldest leaves first.
    pub(super) front: Vec<u64>,
}

impl Stacks {
    pub(super) fn size(&self) -> usize {
        (self.slots.len() + self.front.capacity()) * 8
    }
}

impl Sliding {
    /// Users with events in the last window.
    pub fn users(&self) -> impl Iterator<Item = u32> + '_ {
        self.current.keys().copied().chain(self.dirty.iter().map(|(_, user)| *user))
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        let qualified: usize = self.simple.values().map(|s| s.capacity() * 5).sum::<usize>() + self.complex.values().map(|s| s.capacity() * 21).sum::<usize>();
        self.current.capacity() * 45 + self.stacked + self.behind.capacity() * 5 + qualified + self.dirty.capacity() * 16
    }
}

/// Successive windows of a user that hold the same panes.
pub(super) struct Stretch {
    /// Their group.
    group: usize,
    /// End of the first.
    first: i64,
    /// End of the last.
    last: i64,
}

/// Adds an end; returns whether it is new.
fn insert(ends: &mut VecDeque<i64>, end: i64) -> bool {
    if ends.back().is_none_or(|last| *last < end) {
        ends.push_back(end);
        return true;
    }
    let Err(at) = ends.binary_search(&end) else { return false };
    ends.insert(at, end);
    true
}

/// Ends of the open windows in which a user qualifies, by segment and user.
#[derive(Default, Clone)]
pub struct OpenGroups {
    /// In rising order: most are added at the end and leave from the front.
    ends: FxHashMap<(u32, u32), VecDeque<i64>>,
    /// The segments in which a user has any.
    segments: FxHashMap<u32, Vec<u32>>,
}

impl OpenGroups {
    /// Sets whether a group qualifies; returns whether it did.
    pub fn set(&mut self, segment: u32, user: u32, end: i64, qualifies: bool) -> bool {
        if qualifies {
            let ends = self.ends.entry((segment, user)).or_default();
            if ends.is_empty() {
                self.segments.entry(user).or_default().push(segment);
            }
            return !insert(ends, end);
        }
        let Some(ends) = self.ends.get_mut(&(segment, user)) else { return false };
        let was = ends.binary_search(&end).is_ok_and(|at| ends.remove(at).is_some());
        if ends.is_empty() {
            self.ends.remove(&(segment, user));
            if let Some(segments) = self.segments.get_mut(&user) {
                segments.retain(|s| *s != segment);
                if segments.is_empty() {
                    self.segments.remove(&user);
                }
            }
        }
        was
    }

    /// The segments in which a user has open groups that qualify.
    pub fn segments_of(&self, user: u32) -> &[u32] {
        self.segments.get(&user).map_or(&[], Vec::as_slice)
    }

    /// The ends of a user's groups of a segment that qualify, in rising order.
    pub fn ends(&self, segment: u32, user: u32) -> impl Iterator<Item = i64> + '_ {
        self.ends.get(&(segment, user)).into_iter().flatten().copied()
    }

    /// Whether a user's group of the window that ends at `end` qualifies.
    pub fn contains(&self, segment: u32, user: u32, end: i64) -> bool {
        self.ends.get(&(segment, user)).is_some_and(|ends| ends.binary_search(&end).is_ok())
    }

    /// Whether a user has an open group of a segment that qualifies.
    pub fn any(&self, segment: u32, user: u32) -> bool {
        self.ends.contains_key(&(segment, user))
    }

    /// Users with open groups.
    pub fn users(&self) -> impl Iterator<Item = u32> + '_ {
        self.ends.keys().map(|(_, user)| *user)
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.segments.capacity() * 37 + self.ends.capacity() * 33 + self.ends.values().map(|e| e.capacity() * 8).sum::<usize>()
    }
}

impl FamilyState {
    #[inline]
    pub(super) fn pane_row(&mut self, arrival: &Arrival, creates: bool) -> (Option<u32>, bool) {
        let start = floor(arrival.time, self.spec.pane());
        let closed = arrival.horizon.max(self.sliding.closed);
        if self.spec.last_end(start) <= closed {
            return (None, creates);
        }
        let first = self.spec.next_end(start);
        let late = creates && first <= arrival.horizon && first <= self.spec.last_end(start);
        if first <= arrival.horizon {
            // Windows that end by then are closed, though nothing was in them.
            self.sliding.closed = closed;
        }
        let (row, is_new) = self.rows.find_or_create(arrival.user, start);
        let first_touch = self.touch(row, arrival.time);
        if is_new {
            self.add_to_pane(start, row);
        }
        if first_touch {
            self.sliding.dirty.push((start, arrival.user));
            if start < self.entered() {
                self.sliding.behind.insert(arrival.user);
            }
        }
        (Some(row), late)
    }

    /// Panes that start before this are in the window that closed last, or in none any more.
    pub(super) fn entered(&self) -> i64 {
        self.spec.next_end(self.sliding.closed.max(i64::MIN / 2)) - self.spec.step()
    }

    /// The user's rows with panes in [start, end), newest first.
    fn user_rows(&self, user: u32, start: i64, end: i64) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.rows.head(user);
        std::iter::from_fn(move || {
            while at != NONE {
                let row = at;
                let r = self.rows.row(row);
                at = r.older;
                if r.start < start {
                    return None;
                }
                if r.start < end {
                    return Some(row);
                }
            }
            None
        })
    }

    /// Merges a user's panes of a window into a group; `None` without events. Panes are always added from the
    /// newest to the oldest, so that a sum is the same here and in [`FamilyState::open_windows`].
    pub(super) fn push_window(&self, groups: &mut Groups, user: u32, end: i64) -> Option<usize> {
        let start = self.spec.start_of(end);
        let mut slots = self.rows.initial().to_vec();
        let (mut newest, g, members) = (i64::MIN, groups.len(), groups.members.len());
        for row in self.user_rows(user, start, end) {
            self.rows.merge(&mut slots, self.rows.slots(row));
            newest = newest.max(self.rows.row(row).newest);
            if !self.general.is_empty() {
                groups.members.push((g, row));
            }
        }
        // Aggregates that depend on order take the oldest first.
        groups.members[members..].reverse();
        (newest != i64::MIN).then(|| groups.push(user, (start, end), newest, &slots))
    }

    /// Decides every open window of the users touched in this batch. Successive windows with the same
    /// panes are decided once.
    pub(super) fn pane_changes(&mut self, users: &Users, changes: &mut Changes) -> Result<(), EngineError> {
        let mut touched: Vec<u32> = self.touched.iter().map(|&row| self.rows.row(row).user).collect();
        touched.sort_unstable();
        touched.dedup();
        self.quick_windows(&touched, changes);
        if self.careful.is_empty() {
            return Ok(());
        }
        let mut groups = Groups::new(self.rows.width());
        let mut windows: Vec<Stretch> = vec![];
        for user in touched {
            self.open_windows(user, &mut groups, &mut windows);
        }
        let mut outcomes = vec![];
        self.decide(&self.careful, &groups, users, |p, g, qualifies, value| outcomes.push((p, g, qualifies, value)))?;
        // Every group has one stretch, in the same order.
        for (p, g, qualifies, value) in outcomes {
            let (segment, user) = (self.segments[p].id, groups.users[g]);
            if !qualifies && !self.open.any(segment, user) {
                continue;
            }
            let mut end = windows[g].first;
            while end <= windows[g].last {
                let start = self.spec.start_of(end);
                let was = self.open.set(segment, user, end, qualifies);
                if was != qualifies {
                    let change = groups.change(g, segment, qualifies, value);
                    changes.rows.push(ResultRow { window_start: start, window_end: end, ..change });
                    changes.opened.push((segment, user, if qualifies { 1 } else { -1 }));
                }
                if self.segments[p].tracked && (was || qualifies) {
                    changes.tracked.push(Tracked { segment, user, start, end, qualifies: qualifies.then_some(value), newest: groups.newest[g] });
                }
                end = self.spec.next_end(end);
            }
        }
        debug_assert!(windows.iter().enumerate().all(|(i, w)| w.group == i));
        Ok(())
    }

    /// Thresholds that some open window of a touched user passes now and did not before, or the reverse.
    fn quick_windows(&mut self, touched: &[u32], changes: &mut Changes) {
        if self.quick.is_empty() {
            return;
        }
        let (mut groups, mut windows) = (Groups::new(self.rows.width()), vec![]);
        let mut qualified: Vec<(u32, usize)> = vec![];
        for &user in touched {
            if self.open.segments_of(user).is_empty() && !self.may_qualify(user) {
                continue;
            }
            groups.clear();
            windows.clear();
            qualified.clear();
            self.open_windows(user, &mut groups, &mut windows);
            for g in 0..groups.len() {
                for index in &self.quick {
                    index.qualified(view(index.view, groups.slots_of(g)), |listed| qualified.push((listed.segment, g)));
                }
            }
            let mut segments: Vec<u32> = qualified.iter().map(|(segment, _)| *segment).chain(self.open.segments_of(user).iter().copied()).collect();
            segments.sort_unstable();
            segments.dedup();
            segments.retain(|&s| !self.is_careful(s));
            qualified.sort_unstable();
            for segment in segments {
                let from = qualified.partition_point(|(s, _)| *s < segment);
                let to = qualified.partition_point(|(s, _)| *s <= segment);
                self.open_changes(segment, user, &qualified[from..to], &groups, &windows, changes);
            }
        }
    }

    fn is_careful(&self, segment: u32) -> bool {
        self.careful.iter().any(|&p| self.segments[p].id == segment)
    }

    /// Whether some open window of a user could pass a threshold, by what all its panes come to at most: the
    /// window that closed last, and the panes since. Values that may fall as events come are not judged.
    fn may_qualify(&self, user: u32) -> bool {
        if self.falls || self.sliding.behind.contains(&user) || !self.quick.iter().all(ViewIndex::only_rises) {
            return true;
        }
        let mut slots = self.current_slots(user).unwrap_or(self.rows.initial()).to_vec();
        for row in self.user_rows(user, self.entered(), i64::MAX) {
            self.rows.merge(&mut slots, self.rows.slots(row));
        }
        self.quick.iter().any(|index| index.reaches(view(index.view, &slots)))
    }

    /// Compares the open windows in which a user qualifies for a segment with those before.
    fn open_changes(&mut self, segment: u32, user: u32, qualified: &[(u32, usize)], groups: &Groups, windows: &[Stretch], changes: &mut Changes) {
        let mut now: Vec<(i64, usize)> = vec![];
        for &(_, g) in qualified {
            let mut end = windows[g].first;
            while end <= windows[g].last {
                now.push((end, g));
                end = self.spec.next_end(end);
            }
        }
        let left = |end: &i64| now.binary_search_by_key(end, |(end, _)| *end).is_err();
        let left: Vec<i64> = self.open.ends(segment, user).filter(left).collect();
        let lost = left.into_iter().filter_map(|end| {
            let at = windows.partition_point(|w| w.last < end);
            windows.get(at).is_some_and(|w| w.first <= end).then_some((end, at, false))
        });
        let value_view = self.value_view(segment);
        for (end, g, qualifies) in lost.chain(now.into_iter().map(|(end, g)| (end, g, true))).collect::<Vec<_>>() {
            if self.open.set(segment, user, end, qualifies) != qualifies {
                let value = value_view.and_then(|v| view(v, groups.slots_of(g)));
                let change = groups.change(g, segment, qualifies, value);
                changes.rows.push(ResultRow { window_start: self.spec.start_of(end), window_end: end, ..change });
                changes.opened.push((segment, user, if qualifies { 1 } else { -1 }));
            }
        }
    }

    /// The open windows of a user: stretches of successive windows with the same panes, each one group.
    /// Its cost is that of the user's panes, however many windows there are: the panes from each to the
    /// newest are merged once, and nearly all open windows reach to the newest.
    pub(super) fn open_windows(&self, user: u32, groups: &mut Groups, windows: &mut Vec<Stretch>) {
        let width = self.rows.width();
        let least = self.spec.start_of(self.spec.next_end(self.sliding.closed.max(i64::MIN / 2)));
        // From the newest to the oldest: start of the pane, newest event and slots of all from it on.
        let mut suffixes: Vec<(i64, i64)> = vec![];
        let mut merged: Vec<u64> = vec![];
        let mut slots = self.rows.initial().to_vec();
        for row in self.user_rows(user, least, i64::MAX) {
            let r = self.rows.row(row);
            self.rows.merge(&mut slots, self.rows.slots(row));
            suffixes.push((r.start, suffixes.last().map_or(r.newest, |(_, newest)| r.newest.max(*newest))));
            merged.extend_from_slice(&slots);
        }
        let panes = suffixes.len();
        let start_at = |i: usize| suffixes[panes - 1 - i].0;
        if panes == 0 {
            return;
        }
        let last = self.spec.last_end(start_at(panes - 1));
        let mut end = self.spec.next_end(start_at(0).max(self.sliding.closed));
        let (mut from, mut to) = (0, 0);
        while end <= last {
            let start = self.spec.start_of(end);
            while from < panes && start_at(from) < start {
                from += 1;
            }
            to = to.max(from);
            while to < panes && start_at(to) < end {
                to += 1;
            }
            // The last window before the next pane enters.
            let enters = (to < panes).then(|| self.spec.next_end(start_at(to)) - self.spec.step());
            if from == to {
                let Some(before) = enters else { return };
                end = self.spec.next_end(before.max(end));
                continue;
            }
            // The last window before the oldest pane leaves.
            let leaves = self.spec.last_end(start_at(from));
            let until = enters.map_or(leaves, |e| e.min(leaves)).max(end);
            let group = if to == panes && self.general.is_empty() {
                let at = panes - 1 - from;
                Some(groups.push(user, (start, end), suffixes[at].1, &merged[at * width..][..width]))
            } else {
                self.push_window(groups, user, end)
            };
            if let Some(group) = group {
                windows.push(Stretch { group, first: end, last: until });
            }
            end = self.spec.next_end(until);
        }
    }

    pub(super) fn pane_close(&mut self, users: &Users, horizon: i64, finals: &mut Vec<Final>) -> Result<(), EngineError> {
        self.settle_pane();
        while let Some(end) = self.next_window() {
            if end > horizon {
                break;
            }
            self.close_window(users, end, finals)?;
            self.sliding.closed = end;
        }
        Ok(())
    }

    /// The end of the next window that has anything in it, or had in the one before.
    fn next_window(&self) -> Option<i64> {
        let next = self.spec.next_end(self.sliding.closed.max(i64::MIN / 2));
        if !self.sliding.current.is_empty() {
            return Some(next);
        }
        let first = *self.panes.keys().next()?;
        Some(self.spec.next_end(first).max(next))
    }

    fn close_window(&mut self, users: &Users, end: i64, finals: &mut Vec<Final>) -> Result<(), EngineError> {
        let window = (self.spec.start_of(end), end);
        let mut changed: Vec<u32> = vec![];
        self.sliding.dirty.retain(|&(pane, user)| {
            let enters = pane < end;
            if enters {
                changed.push(user);
            }
            !enters
        });
        let left = self.leaving(window.0);
        changed.extend(left.iter().map(|&row| self.rows.row(row).user));
        changed.sort_unstable();
        changed.dedup();
        self.update_window(users, &changed, window)?;
        for row in left {
            self.general.iter_mut().for_each(|g| g.clear(row));
            self.rows.release(row);
        }
        self.sliding.behind.clear();
        self.emit_window(window, finals);
        Ok(())
    }

    /// The panes that begin before `start`, which no window needs any more.
    fn leaving(&mut self, start: i64) -> Vec<u32> {
        let mut rows = vec![];
        while let Some(entry) = self.panes.first_entry().filter(|e| *e.key() < start) {
            rows.append(&mut entry.remove());
        }
        rows
    }

    /// Decides the users whose panes differ from those of the window before.
    fn update_window(&mut self, users: &Users, changed: &[u32], window: (i64, i64)) -> Result<(), EngineError> {
        let mut groups = Groups::new(self.rows.width());
        let mut was = vec![0; self.rows.width()];
        for &user in changed {
            let mut stacks = self.sliding.current.remove(&user);
            let had = stacks.as_ref().is_some_and(|s| {
                self.sliding.stacked -= s.size();
                was.clone_from_slice(&s.slots[..self.rows.width()]);
                true
            });
            let g = self.slide(&mut stacks, &mut groups, user, window);
            for index in &self.simple {
                let value = |slots: Option<&[u64]>| slots.and_then(|s| view(index.view, s));
                let sliding = &mut self.sliding.simple;
                index.flips(value(had.then_some(&was)), value(g.map(|g| groups.slots_of(g))), |listed, qualifies| {
                    let members = sliding.entry(listed.segment).or_default();
                    if qualifies {
                        members.insert(user);
                    } else {
                        members.remove(&user);
                    }
                });
            }
            if let Some(stacks) = stacks {
                self.sliding.stacked += stacks.size();
                self.sliding.current.insert(user, stacks);
            }
        }
        self.update_complex(users, changed, &groups)
    }

    /// Moves a user's stacks on to a window, and pushes what the window holds as a group. Without events in it
    /// there is no group, and no stacks are left.
    fn slide(&mut self, stacks: &mut Option<Stacks>, groups: &mut Groups, user: u32, (start, end): (i64, i64)) -> Option<usize> {
        let known = stacks.take();
        if !self.general.is_empty() {
            self.rows.cut(user, start);
            let g = self.push_window(groups, user, end)?;
            *stacks = Some(Stacks { slots: groups.slots_of(g).into(), front: vec![] });
            return Some(g);
        }
        let mut moved = known.filter(|_| !self.sliding.behind.contains(&user)).unwrap_or_default();
        if !self.move_front(&mut moved, start) {
            self.rebuild(&mut moved, user, (start, end))?;
        } else {
            self.enter(&mut moved, user, end);
        }
        let width = self.rows.width();
        let (whole, back) = moved.slots.split_at_mut(width);
        let front = moved.front.len().checked_sub(width).map_or(self.rows.initial(), |at| &moved.front[at..]);
        whole.copy_from_slice(front);
        self.rows.merge(whole, back);
        if !self.confirms(user, end, whole) {
            let g = self.push_window(groups, user, end)?;
            whole.copy_from_slice(groups.slots_of(g));
        } else {
            groups.push(user, (start, end), end, whole);
        }
        let g = groups.len() - 1;
        *stacks = Some(moved);
        Some(g)
    }

    /// Whether a window that is about to close qualifies by these slots wherever it did while it was open. Then
    /// it was merged from the newest pane to the oldest, and must not differ by rounding.
    fn confirms(&self, user: u32, end: i64, slots: &[u64]) -> bool {
        self.open.segments_of(user).iter().all(|&segment| match self.threshold(segment) {
            Some(t) => passes(t, view(t.view, slots)) || !self.open.contains(segment, user, end),
            None => !self.open.contains(segment, user, end),
        })
    }

    /// Takes the panes that begin before `start` from the front and from the user's chain; `false` when none is
    /// left there.
    fn move_front(&mut self, stacks: &mut Stacks, start: i64) -> bool {
        let stride = 2 + self.rows.width();
        let before = stacks.front.len();
        while let Some(at) = stacks.front.len().checked_sub(stride)
            && (stacks.front[at + 1] as i64) < start
        {
            stacks.front.truncate(at);
        }
        let Some(oldest) = stacks.front.len().checked_sub(stride) else { return false };
        if stacks.front.len() < before {
            self.rows.cut_after(stacks.front[oldest] as u32);
        }
        true
    }

    /// Adds the panes that were not in the window before to the back.
    fn enter(&self, stacks: &mut Stacks, user: u32, end: i64) {
        let new: Vec<u32> = self.user_rows(user, self.entered(), end).collect();
        let back = &mut stacks.slots[self.rows.width()..];
        new.iter().rev().for_each(|&row| self.rows.merge(back, self.rows.slots(row)));
    }

    /// Puts all panes of the window in front, and frees the user's chain of older ones.
    fn rebuild(&mut self, stacks: &mut Stacks, user: u32, (start, end): (i64, i64)) -> Option<()> {
        self.rows.cut(user, start);
        let (mut front, mut slots) = (vec![], self.rows.initial().to_vec());
        for row in self.user_rows(user, start, end) {
            self.rows.merge(&mut slots, self.rows.slots(row));
            front.extend([u64::from(row), self.rows.row(row).start as u64]);
            front.extend_from_slice(&slots);
        }
        front.shrink_to_fit();
        stacks.front = front;
        stacks.slots = self.rows.initial().repeat(2).into();
        (!stacks.front.is_empty()).then_some(())
    }

    /// Decides the segments that slots alone do not decide.
    pub(super) fn update_complex(&mut self, users: &Users, changed: &[u32], groups: &Groups) -> Result<(), EngineError> {
        let mut outcomes = vec![];
        self.decide(&self.complex, groups, users, |p, g, qualifies, value| outcomes.push((p, groups.users[g], qualifies, value)))?;
        if !self.complex.is_empty() {
            let present: FxHashSet<u32> = groups.users.iter().copied().collect();
            for members in self.sliding.complex.values_mut() {
                changed.iter().filter(|u| !present.contains(u)).for_each(|u| {
                    members.remove(u);
                });
            }
        }
        for (p, user, qualifies, value) in outcomes {
            let members = self.sliding.complex.entry(p).or_default();
            if qualifies {
                members.insert(user, value);
            } else {
                members.remove(&user);
            }
        }
        Ok(())
    }

    /// What a user's panes in the window that closed last come to.
    fn current_slots(&self, user: u32) -> Option<&[u64]> {
        self.sliding.current.get(&user).map(|s| &s.slots[..self.rows.width()])
    }

    pub(super) fn emit_window(&mut self, (start, end): (i64, i64), finals: &mut Vec<Final>) {
        let mut qualified: Vec<(u32, u32, Option<f64>)> = vec![];
        for (&segment, members) in &self.sliding.simple {
            let value_view = self.value_view(segment);
            for &user in members {
                qualified.push((segment, user, value_view.zip(self.current_slots(user)).and_then(|(v, s)| view(v, s))));
            }
        }
        for (&p, members) in &self.sliding.complex {
            qualified.extend(members.iter().map(|(&user, &value)| (self.segments[p].id, user, value)));
        }
        qualified.sort_unstable_by_key(|&(segment, user, _)| (segment, user));
        for (segment, user, value) in qualified {
            let was_open = self.emits_changes(segment) && self.open.set(segment, user, end, false);
            finals.push(Final { segment, user, start, end, value, was_open });
        }
    }
}
