//! Families that take in the same events: all tumbling windows of one filter, whatever their size, or one family of any other kind. An
//! event is queued once for all of them.
//!
//! A user's groups of tumbling windows lie side by side in a record of the ladder (`ladder.rs`), as far as they are of the windows that contain the
//! record's newest event. When a window begins for a user while the one before it is still open, the older group moves to rows of its
//! family; there late events find it, or make it.

use cohort_compiler::program::{Action, Op, Program};
use cohort_compiler::window::WindowSpec;
use rustc_hash::FxHashMap;

use super::tally::{Newest, Usual};
use super::tumble::{Touched, Update};
use super::{Arrival, Arrivals, Changes, FAR, FamilyState, Final, NEAR, Queued};
use crate::error::EngineError;
use crate::ladder::{Ladder, MOST_RUNGS};
use crate::partition::gauges::Measure;
use crate::state::NONE;
use crate::users::Users;

/// With more banks than these, only users with records have an entry in each.
const MOST_DENSE: usize = 48;
/// With more views than these, groups are compared once a batch instead of with each event.
pub(super) const MOST_VIEWS: usize = 4;

/// What an event does to one family.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deed {
    /// Position in the bank.
    pub rung: usize,
    /// Whether the event makes the group exist.
    pub creates: bool,
    /// Updates of slots.
    pub ops: Vec<Op>,
}

/// What an event does to the families of a bank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deeds {
    /// To each.
    pub each: Vec<Deed>,
    /// The same of an event that is the newest of its user, if all of it is of the usual kind.
    usual: Option<Usual>,
}

/// A tumbling window that closes: its family, its start, and the records of groups that may qualify.
pub struct Closing {
    rung: usize,
    start: i64,
    records: Vec<u32>,
}

/// What a bank did with the events that waited.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// How many they were.
    pub events: usize,
    /// Whether some family may have changes to tell.
    pub may_change: bool,
}

/// The state of families that take in the same events. With thousands of banks each event reads their first lines from afar, so what all events need
/// comes first.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Bank {
    /// Events of the batch that are not in the groups yet.
    queue: Vec<Queued>,
    /// What events do, by the number that [`Queued`] events say.
    actions: Vec<Deeds>,
    /// The most views that a family compares with each event.
    views: usize,
    /// The time after which no group of an event's window is in a row where it might be in a record.
    hidden_until: i64,
    /// Their newest groups, if their windows are tumbling.
    pub ladder: Ladder,
    /// The families.
    pub families: Vec<FamilyState>,
    /// Which of the program's they are.
    pub members: Vec<usize>,
}

impl Bank {
    /// The banks of a program, without groups.
    pub fn all(program: &Program) -> Vec<Bank> {
        let (mut members, mut of_filter) = (Vec::<Vec<usize>>::new(), FxHashMap::<_, Vec<usize>>::default());
        for (i, family) in program.families.iter().enumerate() {
            let banks = of_filter.entry(family.filter_id).or_default();
            let takes = |&&bank: &&usize| members[bank].len() < MOST_RUNGS && is_tumbling(program.families[members[bank][0]].window);
            match banks.iter().find(takes).filter(|_| is_tumbling(family.window)) {
                Some(&bank) => members[bank].push(i),
                None => {
                    banks.push(members.len());
                    members.push(vec![i]);
                }
            }
        }
        let dense = members.len() <= MOST_DENSE;
        members.into_iter().map(|members| Bank::new(program, members, dense)).collect()
    }

    fn new(program: &Program, members: Vec<usize>, dense: bool) -> Self {
        let families: Vec<FamilyState> = members.iter().enumerate().map(|(rung, &i)| FamilyState::new(program, i, rung, dense)).collect();
        let sections = families.iter().filter_map(|family| match family.spec {
            WindowSpec::Tumble { size } => Some((size, family.rows.initial())),
            _ => None,
        });
        let ladder = Ladder::new(sections, dense);
        let views = families.iter().map(FamilyState::views).max().unwrap_or(0);
        Bank { queue: vec![], actions: vec![], views, hidden_until: i64::MIN, ladder, families, members }
    }

    /// Forgets what events do, as another program is to say it.
    pub fn forget_actions(&mut self) {
        self.actions.clear();
        self.views = self.families.iter().map(FamilyState::views).max().unwrap_or(0);
        self.note_hidden();
    }

    /// Notes what some events do, which pass the same conditions; returns the number by which [`Queued`] events name it.
    pub fn note_actions(&mut self, actions: &[&Action]) -> u32 {
        let rung = |action: &Action| self.members.iter().position(|i| *i == action.family as usize);
        let deed = |action: &&Action| Some(Deed { rung: rung(action)?, creates: action.creates, ops: action.ops.clone() });
        let each: Vec<Deed> = actions.iter().filter_map(deed).collect();
        let usual = is_tumbling(self.families[0].spec).then(|| Usual::of(&each, &self.families, &self.ladder)).flatten();
        let deeds = Deeds { each, usual };
        if self.actions.last() != Some(&deeds) {
            self.actions.push(deeds);
        }
        self.actions.len() as u32 - 1
    }

    /// Has an event wait; returns whether it is the first.
    #[inline]
    pub fn enqueue(&mut self, event: Queued) -> bool {
        self.queue.push(event);
        self.queue.len() == 1
    }

    /// Takes in the events that wait. Adds the indices of those that were too late for a window to `late`.
    ///
    /// # Errors
    /// When states of DataFusion's accumulators cannot be joined.
    pub fn take_queue(&mut self, batch: &Arrivals<'_>, late: &mut Vec<u32>) -> Result<Taken, EngineError> {
        let (mut queue, actions) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.actions));
        let outcome = if is_tumbling(self.families[0].spec) {
            Ok(match self.views {
                0 => self.tumble_events::<0>(&queue, &actions, batch, late),
                1 => self.tumble_events::<1>(&queue, &actions, batch, late),
                2 => self.tumble_events::<2>(&queue, &actions, batch, late),
                3 => self.tumble_events::<3>(&queue, &actions, batch, late),
                _ => self.tumble_events::<MOST_VIEWS>(&queue, &actions, batch, late),
            })
        } else {
            self.families[0].events(&queue, &actions, batch, late).map(|()| true)
        };
        let events = queue.len();
        queue.clear();
        (self.queue, self.actions) = (queue, actions);
        Ok(Taken { events, may_change: outcome? })
    }

    /// Takes events in; `N` is the most views that a family compares with each event. Whether some family may have changes to tell.
    fn tumble_events<const N: usize>(&mut self, queue: &[Queued], actions: &[Deeds], batch: &Arrivals<'_>, late: &mut Vec<u32>) -> bool {
        let mut may_change = false;
        for (at, queued) in queue.iter().enumerate() {
            self.prefetch(queue, at, batch.users);
            let (i, deeds) = (queued.event as usize, &actions[queued.action as usize]);
            let arrival = Arrival { user: batch.users[i], time: batch.times[i], horizon: batch.horizons[i] };
            let (record, is_newest) = self.record_of(&arrival);
            may_change |= match deeds.usual.as_ref().filter(|_| is_newest && arrival.time > self.hidden_until) {
                Some(usual) => {
                    let mut newest = Newest { time: arrival.time, record, sections: self.ladder.sections(record) };
                    usual.add(&mut self.families, &mut newest, batch.arguments, i)
                }
                None => {
                    self.tumble_event::<N>((queued.event, record), deeds, &arrival, batch, late);
                    true
                }
            };
        }
        may_change
    }

    /// Takes an event in that is not of the usual kind, or older than its user's newest.
    fn tumble_event<const N: usize>(&mut self, (event, record): (u32, u32), deeds: &Deeds, arrival: &Arrival, batch: &Arrivals<'_>, late: &mut Vec<u32>) {
        for deed in &deeds.each {
            let family = &mut self.families[deed.rung];
            family.stats.events += u64::from(deed.creates);
            let start = family.tumbling.open_start(arrival).filter(|_| record != NONE);
            let Some(start) = start else {
                late.extend(deed.creates.then_some(event));
                continue;
            };
            let what = Update { event, deed, arguments: batch.arguments };
            let (is_newest, is_there) = self.ladder.section_at(record, deed.rung, start);
            if is_newest && (is_there || !family.is_hidden(arrival.user, start)) {
                let place = if is_there { self.ladder.place(record, deed.rung) } else { self.ladder.open(record, deed.rung) };
                let group = Touched { place, record, start, is_new: !is_there };
                family.tumbling.take_in::<N>(group, &family.simple, &mut family.general, &what);
            } else {
                family.take_older::<N>(record, start, arrival, &what);
            }
        }
    }

    /// Notes that a group of a window is in a row where it might be in its record.
    fn hide(&mut self, rung: usize, start: i64) {
        self.families[rung].tumbling.hide(start);
        self.note_hidden();
    }

    /// Notes the time after which no group of an event's window is in a row where it might be in a record whose newest event that is.
    fn note_hidden(&mut self) {
        self.hidden_until = self.families.iter().map(|family| family.tumbling.hidden_until()).max().unwrap_or(i64::MIN);
    }

    /// The record of an event's user, brought up to the event's time; none if the event is too late for all windows. And whether the event is of an
    /// open window of each size, and the newest of its user.
    #[inline]
    fn record_of(&mut self, arrival: &Arrival) -> (u32, bool) {
        let record = self.ladder.find(arrival.user);
        if arrival.time < arrival.horizon {
            return (self.record_of_late(record, arrival), false);
        }
        if record == NONE {
            return (self.ladder.create(arrival.user, arrival.time), true);
        }
        let newest = self.ladder.newest(record);
        if arrival.time > newest {
            if !self.ladder.is_current(newest, arrival.time) {
                self.move_on(record, arrival);
            }
            self.ladder.set_newest(record, arrival.time);
        }
        (record, arrival.time >= newest)
    }

    #[cold]
    fn record_of_late(&mut self, record: u32, arrival: &Arrival) -> u32 {
        if self.families.iter().all(|family| family.tumbling.open_start(arrival).is_none()) {
            return NONE;
        }
        if record == NONE {
            return self.ladder.create(arrival.user, arrival.time);
        }
        if arrival.time > self.ladder.newest(record) {
            self.move_on(record, arrival);
            self.ladder.set_newest(record, arrival.time);
        }
        record
    }

    /// Has the groups of a record make room that an event, newer than all of them, does not go to.
    fn move_on(&mut self, record: u32, arrival: &Arrival) {
        // Windows that contain the event were not closed, so that no group of theirs is one that is to begin anew.
        debug_assert!(arrival.horizon >= self.ladder.closed());
        let newest = self.ladder.newest(record);
        for rung in 0..self.families.len() {
            let start = self.ladder.start_of(rung, arrival.time);
            let goes_there = newest >= start && self.families[rung].tumbling.is_open(start, arrival);
            if !goes_there && self.ladder.is_begun(record, rung) {
                self.displace(record, rung);
            }
        }
    }

    /// Moves a record's group to its family's rows, if there is one and its window is open.
    fn displace(&mut self, record: u32, rung: usize) {
        if let Some(group) = self.ladder.group(record, rung) {
            let (slots, family) = (self.ladder.slots(record, rung), &mut self.families[rung]);
            let row = family.rows.insert(group.user, group.start);
            family.rows.note(row, group.newest).copy_from_slice(slots);
            family.tumbling.displaced.at(group.start).push(row);
            let (touched, listed) = self.ladder.empty(record, rung);
            family.rows.place(row).mark(touched, listed);
        } else {
            self.ladder.empty(record, rung);
        }
    }

    /// Adds a group that is not there, whose newest event is of the given time; its slots, as they are without events.
    pub(super) fn insert(&mut self, rung: usize, user: u32, start: i64, newest: i64) -> &mut [u64] {
        let record = self.record_at(user, newest);
        if self.ladder.newest(record) == newest && self.ladder.section_at(record, rung, start) == (true, false) {
            return self.ladder.open(record, rung).slots;
        }
        self.hide(rung, start);
        let family = &mut self.families[rung];
        let row = family.rows.insert(user, start);
        family.tumbling.displaced.at(start).push(row);
        family.rows.note(row, newest)
    }

    /// The record of a user, made if there is none, whose newest event is of a time or later. Groups that a record had before move to rows, so
    /// that each keeps the time of its own newest event.
    fn record_at(&mut self, user: u32, newest: i64) -> u32 {
        let record = self.ladder.find(user);
        if record == NONE {
            return self.ladder.create(user, newest);
        }
        if newest > self.ladder.newest(record) {
            for rung in 0..self.families.len() {
                if let Some(group) = self.ladder.group(record, rung) {
                    self.hide(rung, group.start);
                }
                self.displace(record, rung);
            }
            self.ladder.set_newest(record, newest);
        }
        record
    }

    /// Takes over groups of other banks, between two batches: for each family, those of one with the same window and slots, by bank and
    /// position, if there is any.
    pub(crate) fn take_groups(&mut self, from: &mut [Bank], known: &[Option<(usize, usize)>]) {
        for (family, &(bank, rung)) in self.families.iter_mut().zip(known).filter_map(|(family, known)| Some((family, known.as_ref()?))) {
            family.take_groups(&mut from[bank].families[rung]);
        }
        self.note_hidden();
        let same = |bank: usize| known.iter().enumerate().all(|(rung, known)| *known == Some((bank, rung)));
        if let Some(&Some((bank, _))) = known.first()
            && same(bank)
            && self.ladder.is_like(&from[bank].ladder)
        {
            std::mem::swap(&mut self.ladder, &mut from[bank].ladder);
            return;
        }
        for (rung, &(bank, other)) in known.iter().enumerate().filter_map(|(rung, known)| Some((rung, known.as_ref()?))) {
            let old = &from[bank].ladder;
            self.ladder.note_closed(old.closed());
            if is_tumbling(self.families[rung].spec) {
                for group in old.groups(other) {
                    self.insert(rung, group.user, group.start, group.newest).copy_from_slice(old.slots(group.record, other));
                }
            }
        }
        // A row's user has a record, whatever became of the groups in it.
        for rung in 0..self.families.len() {
            for row in self.families[rung].displaced_rows() {
                self.record_at(row.user, row.newest);
                self.hide(rung, row.start);
            }
        }
        let Bank { families, ladder, .. } = self;
        families.iter_mut().for_each(|family| family.relist(ladder));
    }

    /// Has the groups of events soon to come fetched from memory, while the one at `at` is worked on: most events
    /// are of users that were not seen for long.
    #[inline]
    fn prefetch(&self, queue: &[Queued], at: usize, users: &[u32]) {
        if let Some(queued) = queue.get(at + FAR) {
            self.ladder.prefetch_head(users[queued.event as usize]);
        }
        if let Some(queued) = queue.get(at + NEAR) {
            self.ladder.prefetch_record(users[queued.event as usize]);
        }
    }

    /// Final results of all windows that end at or before `horizon`, unless they are tumbling.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn close_others(&mut self, users: &Users, horizon: i64, finals: &mut Vec<Final>, changes: &mut Changes) -> Result<(), EngineError> {
        self.families.iter_mut().try_for_each(|family| family.close(users, horizon, finals, changes))
    }

    /// What it comes to now.
    pub fn measure(&self) -> Measure {
        let next_close = self.families.iter().filter_map(FamilyState::next_close).min();
        // Windows that overlap move along with time, even without events.
        let quiet_until = match is_tumbling(self.families[0].spec) {
            true => next_close.into_iter().chain(self.ladder.next_leaving()).min().unwrap_or(i64::MAX),
            false => i64::MIN,
        };
        Measure { bytes: self.size(), groups: self.groups(), next_close, quiet_until }
    }

    /// When the next tumbling window ends.
    pub fn next_tumbling_end(&self) -> Option<i64> {
        self.families.iter().filter(|family| is_tumbling(family.spec)).filter_map(FamilyState::next_close).min()
    }

    /// Takes a tumbling window that ends at or before `end`.
    pub fn next_closing(&mut self, end: i64) -> Option<Closing> {
        self.families.iter_mut().enumerate().find_map(|(rung, family)| {
            let (start, records) = family.next_closing(end)?;
            Some(Closing { rung, start, records })
        })
    }

    /// The groups of a window that closes, as they are to be decided together.
    pub fn stretches<'a>(&self, closing: &'a Closing) -> std::slice::Chunks<'a, u32> {
        closing.records.chunks(self.families[closing.rung].stretch(closing.records.len()))
    }

    /// Final results of some groups of a window that closes.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn decide(&mut self, users: &Users, closing: &Closing, records: &[u32], finals: &mut Vec<Final>) -> Result<(), EngineError> {
        self.families[closing.rung].finish_tumble(&self.ladder, users, records, closing.start, finals)
    }

    /// Forgets the groups of a window that closed.
    pub fn closed(&mut self, closing: &Closing) {
        self.families[closing.rung].end_tumble(&mut self.ladder, &closing.records, closing.start);
    }

    /// Marks the users that have groups.
    pub fn mark_live(&self, live: &mut [bool]) {
        self.ladder.users().for_each(|user| live[user as usize] = true);
        self.families.iter().for_each(|family| family.mark_live(live));
    }

    fn groups(&self) -> usize {
        self.families.iter().map(FamilyState::groups).sum()
    }

    /// Moves groups to files in `folder`.
    ///
    /// # Errors
    /// When a file cannot be made, or the disk is full.
    pub fn spill(&mut self, folder: &std::path::Path) -> std::io::Result<()> {
        self.ladder.spill(folder)?;
        self.families.iter_mut().try_for_each(|family| family.spill(folder))
    }

    /// Bytes of groups in files.
    pub fn spilled(&self) -> usize {
        self.ladder.spilled() + self.families.iter().map(FamilyState::spilled).sum::<usize>()
    }

    fn size(&self) -> usize {
        self.ladder.size() + self.families.iter().map(FamilyState::size).sum::<usize>()
    }
}

fn is_tumbling(window: WindowSpec) -> bool {
    matches!(window, WindowSpec::Tumble { .. })
}

#[cfg(test)]
mod tests {
    use cohort_compiler::{CompileOptions, SourceKind, SourceText, compile};

    use super::*;

    /// For each step of a program with one family, whether it is of the usual kind.
    fn usual(having: &str) -> Vec<bool> {
        let sql = format!(
            "CREATE SEGMENT a AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'view' \
             GROUP BY user_id, window_start, window_end HAVING count(*) > 3;\n\
             CREATE SEGMENT b AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'view' \
             GROUP BY user_id, window_start, window_end HAVING {having};"
        );
        let text = SourceText { name: "sql".into(), kind: SourceKind::Sql, text: sql, id: None };
        let program = compile(&[text], &CompileOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        let mut bank = Bank::all(&program).remove(0);
        for actions in program.routers.iter().flat_map(|router| &router.lists).filter(|actions| !actions.is_empty()) {
            bank.note_actions(&actions.iter().collect::<Vec<_>>());
        }
        bank.actions.iter().map(|deeds| deeds.usual.is_some()).collect()
    }

    #[test]
    fn counts_and_sums_go_the_usual_way() {
        assert_eq!(usual("sum(value) > 10"), [true]);
        let of_two_sizes = usual(
            "sum(value) > 10;\n\
             CREATE SEGMENT c AS SELECT user_id FROM TUMBLE(events, event_time, INTERVAL '10 minutes') WHERE event_type = 'view' \
             GROUP BY user_id, window_start, window_end HAVING count(*) > 3",
        );
        assert_eq!(of_two_sizes, [true]);
        assert_eq!(usual("count(*) < 10 OR count(*) > 20"), [false]);
        assert_eq!(usual("max(value) > 10"), [false]);
        assert_eq!(usual("count(DISTINCT metadata['k']) > 1"), [false]);
    }
}
