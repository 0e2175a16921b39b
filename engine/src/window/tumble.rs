//! Tumbling windows: a group lies in its user's record of the bank's ladder, or, if it is older than the record's newest event, in a row of its
//! family. Which of them may qualify when their window closes is listed as events come, so that a close looks at those alone.

use std::time::Instant;

use cohort_compiler::window::floor;

use super::bank::{Deed, MOST_VIEWS};
use super::{Arrival, Changes, FamilyState, Final, Groups, Tracked, apply};
use crate::aggregate::fixed::ArgumentColumn;
use crate::aggregate::general::General;
use crate::calendar::{Calendar, Vacant};
use crate::error::EngineError;
use crate::having::{ViewIndex, view};
use crate::ladder::Ladder;
use crate::pages::AHEAD;
use crate::result::{ResultKind, ResultRow};
use crate::state::{NONE, Place, Row};
use crate::users::Users;

/// Groups of a window that closes, decided together.
const STRETCH: usize = 1024;

/// The groups of a window, without where they are.
#[derive(Debug, Default, Clone)]
pub(super) struct Pane {
    /// Number of groups.
    groups: usize,
    /// Records of those that may qualify when the window closes; for some families, of all.
    listed: Vec<u32>,
}

impl Vacant for Pane {
    fn is_vacant(&self) -> bool {
        self.groups == 0
    }
}

/// What a family of tumbling windows knows beside its groups.
#[derive(Default, Clone)]
#[repr(C)]
pub(super) struct Tumbling {
    /// Open windows by their start.
    pub(super) panes: Calendar<Pane>,
    size: i64,
    /// Simple segments that emit changes and that no derived segment reads, each index with the position of its view among those of all
    /// simple segments.
    quick: Vec<(usize, ViewIndex)>,
    /// Whether changes are looked for, and whether an event touches a group only when it changes what the group qualifies for.
    watches: bool,
    by_crossing: bool,
    /// Whether every group is looked at when its window closes.
    lists_all: bool,
    /// Number of groups listed in them.
    listed: usize,
    /// Rows of groups that are not in the ladder, by the start of their window.
    pub(super) displaced: Calendar<Vec<u32>>,
    /// Start of the newest window of which a group may be in a row although its record's newest event is in that window too: such rows come
    /// of saved state and of other programs.
    hidden_until: i64,
    /// Groups touched in this batch, by record and start of the window, with the values of the views of simple segments as they were.
    pub(super) touched: Vec<(u32, i64)>,
    was: Vec<Option<f64>>,
    /// Numbers by which general slots know groups: those that are free, and how many there are.
    free_numbers: Vec<u32>,
    numbers: u32,
}

impl Tumbling {
    /// No windows yet; `is_careful` says that changes of some segments are found group by group, `by_close` that each group is looked at when
    /// its window closes.
    pub(super) fn new(size: i64, quick: Vec<ViewIndex>, simple: &[ViewIndex], watches: bool, is_careful: bool, by_close: bool) -> Self {
        let by_crossing = !is_careful && simple.len() <= MOST_VIEWS;
        let place = |index: ViewIndex| Some((simple.iter().position(|other| other.view == index.view)?, index));
        let quick = quick.into_iter().filter_map(place).collect();
        Tumbling { size, quick, watches, by_crossing, lists_all: by_close || !by_crossing, hidden_until: i64::MIN, ..Tumbling::default() }
    }

    pub(super) fn take_groups(&mut self, from: &mut Tumbling) {
        std::mem::swap(&mut self.panes, &mut from.panes);
        std::mem::swap(&mut self.listed, &mut from.listed);
        std::mem::swap(&mut self.displaced, &mut from.displaced);
        std::mem::swap(&mut self.hidden_until, &mut from.hidden_until);
        std::mem::swap(&mut self.free_numbers, &mut from.free_numbers);
        std::mem::swap(&mut self.numbers, &mut from.numbers);
    }

    /// Notes that a group of a window is in a row where it might be in its record.
    pub(super) fn hide(&mut self, start: i64) {
        self.hidden_until = self.hidden_until.max(start);
    }

    /// Number of groups.
    pub(super) fn groups(&self) -> usize {
        self.panes.values().map(|pane| pane.groups).sum()
    }

    fn list(&mut self, start: i64, record: u32) {
        self.panes.at(start).listed.push(record);
        self.listed += 1;
    }

    /// Bytes in use, but for those of rows.
    pub(super) fn size(&self) -> usize {
        self.listed * 4 + (self.panes.len() + self.displaced.len()) * 64 + self.free_numbers.capacity() * 4
    }

    /// The start of an event's window, unless that is closed.
    #[inline]
    pub(super) fn open_start(&self, arrival: &Arrival) -> Option<i64> {
        let start = self.start_of(arrival.time);
        self.is_open(start, arrival).then_some(start)
    }

    /// Whether a window takes in an event.
    #[inline]
    pub(super) fn is_open(&self, start: i64, arrival: &Arrival) -> bool {
        start + self.size > arrival.horizon
    }

    /// The start of the window that contains a time.
    #[inline]
    pub(super) fn start_of(&self, time: i64) -> i64 {
        // Most events are of the newest window.
        let newest = self.panes.current();
        if (time.wrapping_sub(newest) as u64) < self.size as u64 { newest } else { floor(time, self.size) }
    }

    /// Whether a group is listed for its close when its value crosses a threshold, and only then.
    pub(super) fn lists_by_crossing(&self) -> bool {
        self.by_crossing && !self.lists_all
    }

    /// The time after which no group of an event's window is in a row where it might be in a record whose newest event that is.
    pub(super) fn hidden_until(&self) -> i64 {
        self.hidden_until.saturating_add(self.size)
    }

    /// Notes a group that begins.
    pub(super) fn begin(&mut self, start: i64, slots: &mut [u64], general: &[General]) {
        self.panes.at(start).groups += 1;
        if let Some(number) = slots.last_mut().filter(|_| !general.is_empty()) {
            *number = u64::from(self.free_numbers.pop().unwrap_or_else(|| {
                self.numbers += 1;
                self.numbers - 1
            }));
        }
    }

    /// Adds an event to a group; `N` is the most views that are compared with each event.
    #[inline]
    pub(super) fn take_in<const N: usize>(&mut self, group: Touched<'_>, simple: &[ViewIndex], general: &mut [General], what: &Update<'_>) {
        let Touched { mut place, record, start, is_new } = group;
        if is_new {
            self.begin(start, place.slots, general);
        }
        let view_of = |index: &ViewIndex, slots: &[u64]| if is_new { None } else { view(index.view, slots) };
        let mut before: [Option<f64>; N] = [None; N];
        if self.by_crossing {
            before.iter_mut().zip(simple).for_each(|(before, index)| *before = view_of(index, place.slots));
        } else if self.watches && place.touch() {
            self.touched.push((record, start));
            self.was.extend(simple.iter().map(|index| view_of(index, place.slots)));
        }
        let number = if general.is_empty() { 0 } else { number(place.slots) };
        apply(place.slots, general, number, what.event, &what.deed.ops, what.arguments);
        if self.by_crossing && simple.iter().zip(&before).any(|(index, was)| index.crosses(*was, view(index.view, place.slots))) {
            self.cross(&mut place, (record, start), simple, &before[..simple.len()]);
        }
        if self.lists_all && is_new {
            self.list_once(&mut place, (record, start));
        }
    }

    /// Notes that what a group qualifies for may have changed.
    fn cross(&mut self, place: &mut Place<'_>, at: (u32, i64), simple: &[ViewIndex], before: &[Option<f64>]) {
        self.flip(place, at, before);
        if !self.lists_all && !place.is_listed() && qualifies(simple, place.slots) {
            self.list_once(place, at);
        }
    }

    /// Notes that what is told of a group while its window is open may have changed; whether so.
    pub(super) fn flip(&mut self, place: &mut Place<'_>, at: (u32, i64), before: &[Option<f64>]) -> bool {
        let flips = |(at, index): &(usize, ViewIndex)| index.crosses(before[*at], view(index.view, place.slots));
        let touches = self.watches && self.quick.iter().any(flips) && place.touch();
        if touches {
            self.touched.push(at);
            self.was.extend_from_slice(before);
        }
        touches
    }

    /// Lists a group for the close of its window, unless it is.
    pub(super) fn list_once(&mut self, place: &mut Place<'_>, (record, start): (u32, i64)) {
        if place.list() {
            self.list(start, record);
        }
    }
}

/// Whether a group may qualify for anything.
pub(super) fn qualifies(simple: &[ViewIndex], slots: &[u64]) -> bool {
    simple.iter().any(|index| index.some(view(index.view, slots)))
}

/// A group that an event goes to.
pub(super) struct Touched<'a> {
    pub place: Place<'a>,
    pub record: u32,
    pub start: i64,
    pub is_new: bool,
}

/// What an event does to a group.
pub(super) struct Update<'a> {
    pub event: u32,
    pub deed: &'a Deed,
    pub arguments: &'a [ArgumentColumn],
}

/// What general slots know a group by, if there are any.
pub(super) fn number(slots: &[u64]) -> u32 {
    slots.last().map_or(0, |number| *number as u32)
}

impl FamilyState {
    /// The number of views that are compared with each event.
    pub(super) fn views(&self) -> usize {
        if self.tumbling.by_crossing { self.simple.len() } else { 0 }
    }

    /// Adds an event to a group that is not in the ladder, as it is older than the newest event of its record.
    #[cold]
    pub(super) fn take_older<const N: usize>(&mut self, record: u32, start: i64, arrival: &Arrival, what: &Update<'_>) {
        let (row, is_new) = self.rows.find_or_create(arrival.user, start);
        self.rows.note(row, arrival.time);
        if is_new {
            self.tumbling.displaced.at(start).push(row);
        }
        let group = Touched { place: self.rows.place(row), record, start, is_new };
        self.tumbling.take_in::<N>(group, &self.simple, &mut self.general, what);
    }

    /// An open group: its user, newest event, and slots.
    #[inline]
    fn group<'a>(&'a self, ladder: &'a Ladder, record: u32, start: i64) -> Option<(u32, i64, &'a [u64])> {
        let user = ladder.user(record);
        if ladder.section_at(record, self.rung, start) == (true, true) {
            return Some((user, ladder.newest(record), ladder.slots(record, self.rung)));
        }
        let row = self.rows.find(user, start)?;
        Some((user, self.rows.row(row).newest, self.rows.slots(row)))
    }

    /// The slots of a group, to change.
    pub(super) fn group_slots<'a>(&'a mut self, ladder: &'a mut Ladder, user: u32, start: i64) -> Option<&'a mut [u64]> {
        let record = ladder.find(user);
        if record != NONE && ladder.section_at(record, self.rung, start) == (true, true) {
            return Some(ladder.place(record, self.rung).slots);
        }
        let row = self.rows.find(user, start)?;
        Some(self.rows.slots_mut(row))
    }

    /// Notes a group that was added; returns what general slots know it by.
    pub(super) fn begin_group(&mut self, ladder: &mut Ladder, user: u32, start: i64) -> u32 {
        let record = ladder.find(user);
        let slots = if record != NONE && ladder.section_at(record, self.rung, start) == (true, true) {
            ladder.place(record, self.rung).slots
        } else if let Some(row) = self.rows.find(user, start) {
            self.rows.slots_mut(row)
        } else {
            return 0;
        };
        self.tumbling.begin(start, slots, &self.general);
        number(slots)
    }

    /// All open groups: without their slots, and those.
    pub(super) fn tumbling_groups(&self, ladder: &Ladder) -> (Vec<Row>, Vec<u64>) {
        let count = self.tumbling.groups();
        let (mut groups, mut slots) = (Vec::with_capacity(count), Vec::with_capacity(count * self.rows.width()));
        for group in ladder.groups(self.rung) {
            groups.push(Row { user: group.user, older: NONE, start: group.start, newest: group.newest });
            slots.extend_from_slice(ladder.slots(group.record, self.rung));
        }
        for rows in self.tumbling.displaced.values() {
            self.rows.each(rows, |row, of_row| {
                groups.push(row);
                slots.extend_from_slice(of_row);
            });
        }
        (groups, slots)
    }

    /// The groups that are not in the ladder.
    pub(super) fn displaced_rows(&self) -> Vec<Row> {
        self.tumbling.displaced.values().flatten().map(|&row| self.rows.row(row)).collect()
    }

    /// Whether a user's group of a window is in a row where it might be in the record.
    #[inline]
    pub(super) fn is_hidden(&self, user: u32, start: i64) -> bool {
        start <= self.tumbling.hidden_until && self.rows.find(user, start).is_some()
    }

    /// Lists anew which groups may qualify when their windows close.
    pub(crate) fn relist(&mut self, ladder: &mut Ladder) {
        self.tumbling.panes.iter_mut().for_each(|(_, pane)| pane.listed.clear());
        self.tumbling.listed = 0;
        let (lists_all, simple) = (self.tumbling.lists_all, &self.simple);
        let lists = |slots: &[u64]| lists_all || qualifies(simple, slots);
        let groups: Vec<_> = ladder.groups(self.rung).collect();
        for group in groups {
            let mut place = ladder.place(group.record, self.rung);
            let listed = lists(place.slots);
            place.mark(false, listed);
            if listed {
                self.tumbling.list(group.start, group.record);
            }
        }
        let rows: Vec<u32> = self.tumbling.displaced.values().flatten().copied().collect();
        for row in rows {
            let listed = lists(self.rows.slots(row));
            let Row { user, start, .. } = self.rows.row(row);
            self.rows.place(row).mark(false, listed);
            if listed {
                self.tumbling.list(start, ladder.find(user));
            }
        }
    }

    /// Touches all groups, as if none had been there before.
    pub(super) fn touch_all(&mut self, ladder: &Ladder) {
        let displaced = self.tumbling.displaced.values().flatten().map(|&row| self.rows.row(row)).map(|row| (ladder.find(row.user), row.start));
        self.tumbling.touched = ladder.groups(self.rung).map(|group| (group.record, group.start)).chain(displaced).collect();
        self.tumbling.was = vec![None; self.tumbling.touched.len() * self.simple.len()];
    }

    /// Which groups began or ceased to qualify.
    pub(super) fn tumble_changes(&mut self, ladder: &mut Ladder, users: &Users, changes: &mut Changes) -> Result<(), EngineError> {
        let touched = std::mem::take(&mut self.tumbling.touched);
        self.settle(ladder, &touched);
        self.quick_changes(ladder, &touched, changes);
        let outcome = self.careful_changes(ladder, users, &touched, changes);
        self.tumbling.touched = touched;
        self.tumbling.touched.clear();
        self.tumbling.was.clear();
        outcome
    }

    /// Takes back that groups were touched.
    fn settle(&mut self, ladder: &mut Ladder, touched: &[(u32, i64)]) {
        for (i, &(record, start)) in touched.iter().enumerate() {
            if let Some(&(later, _)) = touched.get(i + AHEAD) {
                ladder.prefetch(later);
            }
            if ladder.section_at(record, self.rung, start) == (true, true) {
                ladder.settle(record, self.rung);
            } else if let Some(row) = self.rows.find(ladder.user(record), start) {
                self.rows.settle(&[row]);
            }
        }
    }

    /// Thresholds that lie between a group's value before the batch and after it.
    fn quick_changes(&self, ladder: &Ladder, touched: &[(u32, i64)], changes: &mut Changes) {
        let quick = &self.tumbling.quick;
        if quick.is_empty() {
            return;
        }
        for (i, (&(record, start), was)) in touched.iter().zip(self.tumbling.was.chunks_exact(self.simple.len())).enumerate() {
            if let Some(&(later, _)) = touched.get(i + AHEAD) {
                ladder.prefetch(later);
            }
            let Some((user, newest, now)) = self.group(ladder, record, start) else { continue };
            for (at, index) in quick {
                let (before, after) = (was[*at], view(index.view, now));
                index.flips(before, after, |listed, qualified| {
                    let segment = listed.segment;
                    changes.rows.push(ResultRow {
                        segment,
                        user,
                        kind: ResultKind::Change,
                        qualified,
                        value: if listed.own_value { after } else { self.value_of(segment, now) },
                        timestamp: newest,
                        window_start: start,
                        window_end: start + self.tumbling.size,
                    });
                    changes.opened.push((segment, user, if qualified { 1 } else { -1 }));
                });
            }
        }
    }

    fn careful_groups(&self, ladder: &Ladder, of: impl Iterator<Item = (u32, i64)>) -> Groups {
        let mut groups = Groups::new(self.rows.width());
        for (record, start) in of {
            let Some((user, newest, slots)) = self.group(ladder, record, start) else { continue };
            let g = groups.push(user, (start, start + self.tumbling.size), newest, slots);
            if !self.general.is_empty() {
                groups.members.push((g, number(slots)));
            }
        }
        groups
    }

    fn careful_changes(&mut self, ladder: &Ladder, users: &Users, touched: &[(u32, i64)], changes: &mut Changes) -> Result<(), EngineError> {
        if self.careful.is_empty() {
            return Ok(());
        }
        let groups = self.careful_groups(ladder, touched.iter().copied());
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

    /// Takes a window that ends at or before `end`: its start, and the records of groups that may qualify.
    pub(super) fn next_closing(&mut self, end: i64) -> Option<(i64, Vec<u32>)> {
        let (start, pane) = self.tumbling.panes.take_until(end.saturating_sub(self.tumbling.size))?;
        self.tumbling.listed -= pane.listed.len();
        Some((start, pane.listed))
    }

    /// How many of so many groups of a window that closes are decided together.
    pub(super) fn stretch(&self, groups: usize) -> usize {
        if self.complex.is_empty() { STRETCH } else { groups.max(1) }
    }

    /// Forgets the groups of a window that closed.
    pub(super) fn end_tumble(&mut self, ladder: &mut Ladder, records: &[u32], start: i64) {
        self.free_numbers(ladder, records, start);
        while let Some((_, rows)) = self.tumbling.displaced.take_until(start) {
            rows.into_iter().for_each(|row| self.rows.remove(row));
        }
    }

    /// Frees what general slots know groups of a window by.
    fn free_numbers(&mut self, ladder: &mut Ladder, records: &[u32], start: i64) {
        if self.general.is_empty() {
            return;
        }
        for &record in records {
            let Some(number) = self.group(ladder, record, start).map(|(_, _, slots)| number(slots)) else { continue };
            self.general.iter_mut().for_each(|general| general.clear(number));
            self.tumbling.free_numbers.push(number);
            if ladder.section_at(record, self.rung, start) == (true, true) {
                ladder.empty(record, self.rung);
            }
        }
    }

    /// Final results of some groups of a window that closes.
    pub(super) fn finish_tumble(&mut self, ladder: &Ladder, users: &Users, records: &[u32], start: i64, finals: &mut Vec<Final>) -> Result<(), EngineError> {
        let (started, end) = (Instant::now(), start + self.tumbling.size);
        if !self.simple.is_empty() {
            for (i, &record) in records.iter().enumerate() {
                if let Some(&later) = records.get(i + AHEAD) {
                    ladder.prefetch(later);
                }
                let Some((user, _, slots)) = self.group(ladder, record, start) else { continue };
                for index in &self.simple {
                    let value = view(index.view, slots);
                    if !index.some(value) {
                        continue;
                    }
                    index.qualified(value, |listed| {
                        let segment = listed.segment;
                        let value = if listed.own_value { value } else { self.value_of(segment, slots) };
                        finals.push(Final { segment, user, start, end, value, was_open: self.emits_changes(segment) });
                    });
                }
            }
        }
        if !self.complex.is_empty() {
            let groups = self.careful_groups(ladder, records.iter().map(|&record| (record, start)));
            self.decide(&self.complex, &groups, users, |p, g, qualifies, value| {
                if qualifies {
                    let segment = &self.segments[p];
                    let was_open = segment.emit == cohort_compiler::emit::Emit::Changes;
                    finals.push(Final { segment: segment.id, user: groups.users[g], start, end, value, was_open });
                }
            })?;
        }
        for &record in records.iter().filter(|_| !self.careful.is_empty()) {
            let user = ladder.user(record);
            self.careful.iter().for_each(|&p| {
                self.open.set(self.segments[p].id, user, end, false);
            });
        }
        self.stats.nanos += started.elapsed().as_nanos() as u64;
        Ok(())
    }
}
