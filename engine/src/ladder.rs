//! The newest groups of tumbling windows over the same events, side by side: one record a user, with a section for each size of
//! window. An event finds its user's record once, and a window that begins takes the place of the one before it.
//!
//! A record holds the groups of the windows that contain its newest event; older groups that are still open are kept elsewhere, by their
//! family (see [`crate::window::bank`]). Nothing is done to a group when its window closes: a section whose window has closed counts as
//! empty, and a record is freed when all of them have.

use std::path::Path;

use cohort_compiler::window::floor;

use crate::calendar::Calendar;
use crate::heads::Heads;
use crate::pages::{AHEAD, Records};
use crate::state::{NONE, Place};

/// The most sections of a record: three bits of its first word are for each, beside the user's id.
pub const MOST_RUNGS: usize = 10;

/// Words of a record before its sections: user and bits; the newest event time.
const BITS: usize = 0;
const NEWEST: usize = 1;
const HEADER: usize = 2;
/// What a section's bits say; each is followed by those of the other sections.
const OPEN: u32 = 32;
const TOUCHED: u32 = OPEN + MOST_RUNGS as u32;
const LISTED: u32 = TOUCHED + MOST_RUNGS as u32;
/// The first word of a record that was freed.
const FREED: u64 = u64::MAX;

/// The windows of one size.
#[derive(Debug, Clone)]
struct Rung {
    size: i64,
    /// Start of the window that was asked for last.
    current: i64,
    /// Where its section begins and ends in a record.
    from: usize,
    to: usize,
}

/// A group that is in a record, without its slots.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Dense id of the user.
    pub user: u32,
    /// The record.
    pub record: u32,
    /// Start of the window.
    pub start: i64,
    /// The newest event time that contributed.
    pub newest: i64,
}

/// All that is in a record.
pub struct Sections<'a> {
    bits: &'a mut u64,
    /// The slots of all sections.
    pub slots: &'a mut [u64],
    initial: &'a [u64],
}

impl Sections<'_> {
    /// Begins a group in a section of the windows that contain the record's newest event, unless there is one; whether there was none. Its slots are
    /// to be set.
    #[inline]
    pub fn begin(&mut self, rung: usize) -> bool {
        let bit = 1 << (OPEN + rung as u32);
        let is_new = *self.bits & bit == 0;
        *self.bits |= bit;
        is_new
    }

    /// Whether the group in a section is listed for its close.
    #[inline]
    pub fn is_listed(&self, rung: usize) -> bool {
        *self.bits & (1 << (LISTED + rung as u32)) != 0
    }

    /// Sets slots as they are without events.
    pub fn reset(&mut self, from: usize, to: usize) {
        self.slots[from..to].copy_from_slice(&self.initial[from..to]);
    }

    /// The group in a section.
    #[inline]
    pub fn place(&mut self, rung: usize, from: usize, to: usize) -> Place<'_> {
        place(self.bits, &mut self.slots[from..to], rung)
    }
}

#[inline]
fn place<'a>(bits: &'a mut u64, slots: &'a mut [u64], rung: usize) -> Place<'a> {
    Place { bits, touched: 1 << (TOUCHED + rung as u32), listed: 1 << (LISTED + rung as u32), slots }
}

/// All records. What every event needs comes first.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Ladder {
    /// The widest stretch of time that no window of any size begins in the middle of, and where the newest of them began.
    common: i64,
    current: i64,
    /// When the last window ends that contains any of that stretch.
    current_end: i64,
    heads: Heads,
    records: Records,
    /// Records by when the last of their windows ends, as far as that was known.
    leaving: Calendar<Vec<u32>>,
    /// Of all sections.
    initial: Vec<u64>,
    rungs: Vec<Rung>,
    /// Up to when windows are closed.
    closed: i64,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Ladder {
    /// No records yet, of sections for windows of these sizes with these slots at first; `dense` keeps an entry for every user.
    pub fn new<'a>(sections: impl Iterator<Item = (i64, &'a [u64])>, dense: bool) -> Self {
        let (mut rungs, mut initial) = (vec![], vec![]);
        for (size, slots) in sections {
            let from = HEADER + initial.len();
            initial.extend_from_slice(slots);
            rungs.push(Rung { size, current: 0, from, to: from + slots.len() });
        }
        Ladder {
            records: Records::new(HEADER + initial.len(), dense),
            common: rungs.iter().map(|rung| rung.size).fold(0, gcd).max(1),
            current: 0,
            current_end: rungs.iter().map(|rung| rung.size).max().unwrap_or(0),
            rungs,
            initial,
            heads: Heads::new(dense),
            leaving: Calendar::default(),
            closed: i64::MIN,
        }
    }

    /// Whether records are made of the same sections as another's.
    pub fn is_like(&self, other: &Ladder) -> bool {
        let rungs = |ladder: &Ladder| ladder.rungs.iter().map(|rung| (rung.size, rung.from, rung.to)).collect::<Vec<_>>();
        rungs(self) == rungs(other) && self.initial == other.initial
    }

    #[inline]
    fn record(&self, record: u32) -> &[u64] {
        self.records.at(record)
    }

    #[inline]
    fn record_mut(&mut self, record: u32) -> &mut [u64] {
        self.records.at_mut(record)
    }

    /// The record of a user, or [`NONE`].
    #[inline]
    pub fn find(&self, user: u32) -> u32 {
        self.heads.get(user)
    }

    /// A record for a user who has none, without groups, whose newest event is of `time`.
    pub fn create(&mut self, user: u32, time: i64) -> u32 {
        let record = self.records.take();
        let words = self.record_mut(record);
        (words[BITS], words[NEWEST]) = (u64::from(user), time as u64);
        self.heads.add(user, record);
        self.turn_to(time);
        self.leaving.at(self.current_end).push(record);
        record
    }

    /// Makes the current stretch of time the one that contains `time`.
    #[inline]
    fn turn_to(&mut self, time: i64) {
        if time.wrapping_sub(self.current) as u64 >= self.common as u64 {
            self.current = floor(time, self.common);
            self.current_end = self.last_end(time);
        }
    }

    /// The end of the last window that contains `time`.
    fn last_end(&self, time: i64) -> i64 {
        self.rungs.iter().map(|rung| floor(time, rung.size).saturating_add(rung.size)).max().unwrap_or(time)
    }

    /// The user of a record.
    #[inline]
    pub fn user(&self, record: u32) -> u32 {
        self.record(record)[BITS] as u32
    }

    /// The newest event time of a record.
    #[inline]
    pub fn newest(&self, record: u32) -> i64 {
        self.record(record)[NEWEST] as i64
    }

    /// Whether there is a group in a section, though its window may have closed.
    #[inline]
    pub fn is_begun(&self, record: u32, rung: usize) -> bool {
        self.record(record)[BITS] >> (OPEN + rung as u32) & 1 == 1
    }

    /// Sets the newest event time of a record, all of whose groups contain it or have been taken out.
    #[inline]
    pub fn set_newest(&mut self, record: u32, time: i64) {
        self.record_mut(record)[NEWEST] = time as u64;
    }

    /// Whether the windows that contain a record's newest event are those that contain `time`, of all sizes; `false` may also mean
    /// that it would take longer to tell.
    #[inline]
    pub fn is_current(&mut self, newest: i64, time: i64) -> bool {
        self.turn_to(time);
        (newest.wrapping_sub(self.current) as u64) < self.common as u64
    }

    /// The start of a rung's window that contains `time`.
    #[inline]
    pub fn start_of(&mut self, rung: usize, time: i64) -> i64 {
        let Rung { size, current, .. } = &mut self.rungs[rung];
        if time.wrapping_sub(*current) as u64 >= *size as u64 {
            *current = floor(time, *size);
        }
        *current
    }

    /// Where a rung's slots begin and end in [`Sections::slots`].
    pub fn section(&self, rung: usize) -> (usize, usize) {
        (self.rungs[rung].from - HEADER, self.rungs[rung].to - HEADER)
    }

    /// All that is in a record, to change.
    #[inline]
    pub fn sections(&mut self, record: u32) -> Sections<'_> {
        let (header, slots) = self.records.at_mut(record).split_at_mut(HEADER);
        Sections { bits: &mut header[BITS], slots, initial: &self.initial }
    }

    /// Whether a record's section is of the window that starts at `start`, and whether there is a group in it.
    #[inline]
    pub fn section_at(&self, record: u32, rung: usize, start: i64) -> (bool, bool) {
        let words = self.record(record);
        let is_of = (words[NEWEST].wrapping_sub(start as u64)) < self.rungs[rung].size as u64;
        (is_of, is_of && words[BITS] >> (OPEN + rung as u32) & 1 == 1)
    }

    /// The slots of a section.
    #[inline]
    pub fn slots(&self, record: u32, rung: usize) -> &[u64] {
        let Rung { from, to, .. } = self.rungs[rung];
        &self.record(record)[from..to]
    }

    /// Takes back that a group was touched.
    #[inline]
    pub fn settle(&mut self, record: u32, rung: usize) {
        self.record_mut(record)[BITS] &= !(1 << (TOUCHED + rung as u32));
    }

    /// The group in a section, to change.
    #[inline]
    pub fn place(&mut self, record: u32, rung: usize) -> Place<'_> {
        let (from, to) = self.section(rung);
        let Sections { bits, slots, .. } = self.sections(record);
        place(bits, &mut slots[from..to], rung)
    }

    /// Begins a group in a section that has none.
    #[inline]
    pub fn open(&mut self, record: u32, rung: usize) -> Place<'_> {
        let (from, to) = self.section(rung);
        let mut sections = self.sections(record);
        sections.begin(rung);
        sections.reset(from, to);
        place(sections.bits, &mut sections.slots[from..to], rung)
    }

    /// Empties a section; whether its group was touched, and whether it was listed.
    #[inline]
    pub fn empty(&mut self, record: u32, rung: usize) -> (bool, bool) {
        let bits = &mut self.record_mut(record)[BITS];
        let is = |bit: u32| *bits >> (bit + rung as u32) & 1 == 1;
        let was = (is(TOUCHED), is(LISTED));
        *bits &= !((1 << OPEN | 1 << TOUCHED | 1 << LISTED) << rung);
        was
    }

    /// The group in a section, unless its window has closed.
    pub fn group(&self, record: u32, rung: usize) -> Option<Group> {
        let words = self.record(record);
        if words[BITS] == FREED || words[BITS] >> (OPEN + rung as u32) & 1 == 0 {
            return None;
        }
        let (newest, size) = (words[NEWEST] as i64, self.rungs[rung].size);
        if newest.saturating_add(size) <= self.closed {
            return None;
        }
        let start = floor(newest, size);
        (start.saturating_add(size) > self.closed).then_some(Group { user: words[BITS] as u32, record, start, newest })
    }

    /// The open groups of a rung.
    pub fn groups(&self, rung: usize) -> impl Iterator<Item = Group> {
        self.records.numbers().filter_map(move |record| self.group(record, rung))
    }

    /// All records, with their users.
    pub fn users(&self) -> impl Iterator<Item = u32> {
        self.records.numbers().map(|record| self.record(record)[BITS]).filter(|bits| *bits != FREED).map(|bits| bits as u32)
    }

    /// Notes that windows are closed up to `horizon`, and frees the records that have no open ones.
    pub fn close(&mut self, horizon: i64) {
        self.closed = horizon;
        while let Some((_, records)) = self.leaving.take_until(horizon) {
            for (i, &record) in records.iter().enumerate() {
                if let Some(&later) = records.get(i + 2 * AHEAD) {
                    self.prefetch(later);
                }
                if let Some(&later) = records.get(i + AHEAD) {
                    self.heads.prefetch(self.user(later));
                }
                let end = self.last_end(self.newest(record));
                if end > horizon {
                    self.leaving.at(end).push(record);
                } else {
                    self.heads.set(self.user(record), NONE);
                    self.record_mut(record)[BITS] = FREED;
                    self.records.free(record);
                }
            }
        }
    }

    /// Notes that windows are closed up to a time, of groups that are to come.
    pub fn note_closed(&mut self, closed: i64) {
        self.closed = self.closed.max(closed);
    }

    /// The time at which the next records are to be looked at, whether they have open windows.
    pub fn next_leaving(&self) -> Option<i64> {
        self.leaving.first()
    }

    /// Up to when windows are closed.
    pub fn closed(&self) -> i64 {
        self.closed
    }

    /// Has the processor fetch a record that is soon to be read or written.
    #[inline]
    pub fn prefetch(&self, record: u32) {
        self.records.prefetch(record);
    }

    /// Has the processor fetch where a user's record is noted, for [`Ladder::prefetch_record`] soon after.
    #[inline]
    pub fn prefetch_head(&self, user: u32) {
        self.heads.prefetch(user);
    }

    /// Has the processor fetch a user's record, for an event soon to come.
    #[inline]
    pub fn prefetch_record(&self, user: u32) {
        let head = self.heads.get(user);
        // A record that is not there is taken for the first, so that there is no branch to foretell.
        self.records.prefetch(if head == NONE { 0 } else { head });
    }

    /// Moves records to files in `folder`.
    ///
    /// # Errors
    /// When a file cannot be made, or the disk is full.
    pub fn spill(&mut self, folder: &Path) -> std::io::Result<()> {
        self.records.spill(folder)
    }

    /// Bytes in files.
    pub fn spilled(&self) -> usize {
        self.records.spilled()
    }

    /// Bytes of memory in use.
    pub fn size(&self) -> usize {
        self.records.size() + self.heads.size() + self.records.len() * 4
    }
}
