//! The groups of one family: rows of (user, pane or session) with fixed slots, each user's rows linked
//! from the newest to the oldest, so that finding the current one takes no hashing.

use std::path::Path;

use cohort_compiler::program::{Family, Slot};
use cohort_compiler::window::{WindowSpec, floor};

use crate::having::initial;
use crate::heads::Heads;
use crate::pages::{AHEAD, Records};

/// "No row"; also the most rows that there may be, in 30 bits.
pub const NONE: u32 = u32::MAX >> 2;

/// One group, without its slots.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Dense id of the user.
    pub user: u32,
    /// The user's next older row.
    pub older: u32,
    /// Start of the pane; of a session, its first event.
    pub start: i64,
    /// The newest event time that contributed.
    pub newest: i64,
}

/// A group, to change.
pub struct Place<'a> {
    /// A word in which two bits say the following.
    pub bits: &'a mut u64,
    /// That it was touched since it was last settled.
    pub touched: u64,
    /// That it is listed for the close of its window.
    pub listed: u64,
    /// Its slots.
    pub slots: &'a mut [u64],
}

impl Place<'_> {
    /// Touches the group; whether this is the first time since it was settled.
    #[inline]
    pub fn touch(&mut self) -> bool {
        let first = *self.bits & self.touched == 0;
        *self.bits |= self.touched;
        first
    }

    /// Lists the group; whether it was not.
    #[inline]
    pub fn list(&mut self) -> bool {
        let first = !self.is_listed();
        *self.bits |= self.listed;
        first
    }

    /// Whether it is listed.
    #[inline]
    pub fn is_listed(&self) -> bool {
        *self.bits & self.listed != 0
    }

    /// Sets whether it is touched and listed.
    pub fn mark(&mut self, touched: bool, listed: bool) {
        let bit = |is: bool, bit: u64| if is { bit } else { 0 };
        *self.bits = *self.bits & !(self.touched | self.listed) | bit(touched, self.touched) | bit(listed, self.listed);
    }
}

/// Words of a record before its slots: a link (user, older row, and what [`Place`] says of a group); the newest event time; and, of sessions,
/// the start, which of a pane follows from any time in it.
const LINK: usize = 0;
const NEWEST: usize = 1;
const START: usize = 2;
/// In a link: that the row was touched since it was last settled, and that it is listed.
const TOUCHED: u64 = 1 << 63;
const LISTED: u64 = 1 << 62;
#[inline]
fn user(link: u64) -> u32 {
    link as u32
}

#[inline]
fn older(link: u64) -> u32 {
    (link >> 32) as u32 & NONE
}

#[inline]
fn newest(record: &[u64]) -> i64 {
    record[NEWEST] as i64
}

/// All rows of a family.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Header and slots side by side, so that an event touches one place.
    records: Records,
    /// Width of the panes; 0 for sessions.
    pane: i64,
    /// Words of a record before its slots.
    header: usize,
    initial: Vec<u64>,
    kinds: Vec<Slot>,
    /// The newest row of each user.
    heads: Heads,
}

impl Rows {
    /// No rows yet; `dense` keeps an entry for every user. Groups of tumbling windows with general slots have a slot more, for the number by which
    /// those know them.
    pub fn new(family: &Family, dense: bool) -> Self {
        let numbered = matches!(family.window, WindowSpec::Tumble { .. }) && !family.general.is_empty();
        let header = if family.window.pane() > 0 { START } else { START + 1 };
        let initial: Vec<u64> = family.slots.iter().map(|s| initial(*s)).chain(numbered.then_some(0)).collect();
        Rows {
            records: Records::new(header + initial.len(), dense),
            pane: family.window.pane(),
            header,
            initial,
            kinds: family.slots.clone(),
            heads: Heads::new(dense),
        }
    }

    /// Number of slots in a row.
    pub fn width(&self) -> usize {
        self.initial.len()
    }

    /// The newest row of a user.
    #[inline]
    pub fn head(&self, of: u32) -> u32 {
        self.heads.get(of)
    }

    #[inline]
    fn record(&self, row: u32) -> &[u64] {
        self.records.at(row)
    }

    #[inline]
    fn record_mut(&mut self, row: u32) -> &mut [u64] {
        self.records.at_mut(row)
    }

    #[inline]
    fn start(&self, record: &[u64]) -> i64 {
        if self.pane > 0 { floor(newest(record), self.pane) } else { record[START] as i64 }
    }

    /// Whether a record starts at `start`.
    #[inline]
    fn is_at(&self, record: &[u64], start: i64) -> bool {
        if self.pane > 0 { (newest(record).wrapping_sub(start) as u64) < self.pane as u64 } else { record[START] as i64 == start }
    }

    /// Whether a row starts after `start`.
    #[inline]
    fn is_after(&self, row: u32, start: i64) -> bool {
        let record = self.record(row);
        if self.pane > 0 { newest(record).saturating_sub(start) >= self.pane } else { record[START] as i64 > start }
    }

    /// The next older row of the same user.
    #[inline]
    pub fn older(&self, row: u32) -> u32 {
        older(self.record(row)[LINK])
    }

    fn set_older(&mut self, row: u32, older: u32) {
        let link = &mut self.record_mut(row)[LINK];
        *link = *link & (TOUCHED | LISTED | 0xffff_ffff) | u64::from(older) << 32;
    }

    /// The row of a user that starts at `start`, and whether it is new.
    #[inline]
    pub fn find_or_create(&mut self, user: u32, start: i64) -> (u32, bool) {
        let head = self.head(user);
        if head != NONE && self.is_at(self.record(head), start) {
            return (head, false);
        }
        self.find_older_or_create(user, start, head)
    }

    /// The row of a user that starts at `start`, if there is one.
    pub fn find(&self, user: u32, start: i64) -> Option<u32> {
        let mut at = self.head(user);
        while at != NONE && self.is_after(at, start) {
            at = self.older(at);
        }
        (at != NONE && self.is_at(self.record(at), start)).then_some(at)
    }

    fn find_older_or_create(&mut self, user: u32, start: i64, head: u32) -> (u32, bool) {
        let mut at = head;
        while at != NONE && self.is_after(at, start) {
            at = self.older(at);
        }
        if at != NONE && self.is_at(self.record(at), start) {
            return (at, false);
        }
        (self.insert(user, start), true)
    }

    /// A new row of a user, among their others by start.
    pub fn insert(&mut self, user: u32, start: i64) -> u32 {
        let (mut newer, mut at) = (NONE, self.head(user));
        while at != NONE && self.is_after(at, start) {
            (newer, at) = (at, self.older(at));
        }
        let row = self.allocate(user, at, start);
        if newer == NONE {
            self.heads.set(user, row);
        } else {
            self.set_older(newer, row);
        }
        row
    }

    fn allocate(&mut self, user: u32, older: u32, start: i64) -> u32 {
        let row = self.records.take();
        let record = self.records.at_mut(row);
        let (header, slots) = record.split_at_mut(self.header);
        header[LINK] = u64::from(user) | u64::from(older) << 32;
        // The start twice in sessions; in panes the least time that there may be.
        header[NEWEST..].fill(start as u64);
        slots.copy_from_slice(&self.initial);
        row
    }

    /// Unlinks and frees a row.
    pub fn remove(&mut self, row: u32) {
        let Row { user, older, .. } = self.row(row);
        let head = self.head(user);
        if head == row {
            self.heads.set(user, older);
        } else {
            let mut at = head;
            while at != NONE && self.older(at) != row {
                at = self.older(at);
            }
            if at != NONE {
                self.set_older(at, older);
            }
        }
        self.records.free(row);
    }

    /// Unlinks a user's rows that start before `start`, which are then to be released.
    pub fn cut(&mut self, user: u32, start: i64) {
        let (mut kept, mut at) = (NONE, self.head(user));
        while at != NONE && newest(self.record(at)) >= start {
            (kept, at) = (at, self.older(at));
        }
        match kept {
            NONE => self.heads.set(user, NONE),
            kept => self.set_older(kept, NONE),
        }
    }

    /// Unlinks the rows of a user that are older than `row`, which are then to be released.
    pub fn cut_after(&mut self, row: u32) {
        self.set_older(row, NONE);
    }

    /// Frees a row that is unlinked already.
    pub fn release(&mut self, row: u32) {
        self.records.free(row);
    }

    /// A row.
    #[inline]
    pub fn row(&self, row: u32) -> Row {
        let record = self.record(row);
        Row { user: user(record[LINK]), older: older(record[LINK]), start: self.start(record), newest: newest(record) }
    }

    /// Calls `f(row, slots)` for each of many rows, and has those to come fetched from memory meanwhile.
    pub fn each(&self, rows: &[u32], mut f: impl FnMut(Row, &[u64])) {
        for (i, &row) in rows.iter().enumerate() {
            if let Some(&later) = rows.get(i + AHEAD) {
                self.prefetch(later);
            }
            f(self.row(row), self.slots(row));
        }
    }

    /// Notes an event of `time`; the row's slots, to change.
    #[inline]
    pub fn note(&mut self, row: u32, time: i64) -> &mut [u64] {
        let header = self.header;
        let record = self.record_mut(row);
        record[NEWEST] = newest(record).max(time) as u64;
        &mut record[header..]
    }

    /// A row, to change.
    #[inline]
    pub fn place(&mut self, row: u32) -> Place<'_> {
        let header = self.header;
        let (header, slots) = self.record_mut(row).split_at_mut(header);
        Place { bits: &mut header[LINK], touched: TOUCHED, listed: LISTED, slots }
    }

    /// Takes back that rows were touched.
    pub fn settle(&mut self, rows: &[u32]) {
        for (i, &row) in rows.iter().enumerate() {
            if let Some(&later) = rows.get(i + AHEAD) {
                self.prefetch(later);
            }
            self.record_mut(row)[LINK] &= !TOUCHED;
        }
    }

    /// Widens a session to start no later, and end no earlier, than the given times.
    pub fn widen(&mut self, row: u32, start: i64, end: i64) {
        let record = self.record_mut(row);
        record[NEWEST] = newest(record).max(end) as u64;
        if let Some(known) = record.get_mut(START) {
            *known = (*known as i64).min(start) as u64;
        }
    }

    /// Has the processor fetch a row that is soon to be read or written.
    #[inline]
    pub fn prefetch(&self, row: u32) {
        self.records.prefetch(row);
    }

    /// Has the processor fetch where a user's newest row is noted, for [`Rows::prefetch_row`] soon after.
    #[inline]
    pub fn prefetch_head(&self, user: u32) {
        self.heads.prefetch(user);
    }

    /// Has the processor fetch a user's newest row, for an event soon to come.
    #[inline]
    pub fn prefetch_row(&self, user: u32) {
        let head = self.heads.get(user);
        // A row that is not there is taken for the first, so that there is no branch to foretell.
        self.records.prefetch(if head == NONE { 0 } else { head });
    }

    /// The slots of a row.
    #[inline]
    pub fn slots(&self, row: u32) -> &[u64] {
        &self.record(row)[self.header..]
    }

    /// The slots of a row, to change.
    #[inline]
    pub fn slots_mut(&mut self, row: u32) -> &mut [u64] {
        let header = self.header;
        &mut self.record_mut(row)[header..]
    }

    /// Slots of a group without events.
    pub fn initial(&self) -> &[u64] {
        &self.initial
    }

    /// Adds one group's slots to another's.
    pub fn merge(&self, into: &mut [u64], from: &[u64]) {
        for ((slot, into), &from) in self.kinds.iter().zip(into).zip(from) {
            let (a, b) = (f64::from_bits(*into), f64::from_bits(from));
            *into = match slot {
                Slot::Count => *into + from,
                Slot::Sum => (a + b).to_bits(),
                Slot::Min => a.min(b).to_bits(),
                Slot::Max => a.max(b).to_bits(),
            };
        }
    }

    /// Number of rows in use.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves rows to files in `folder`.
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
        self.records.size() + self.heads.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pane: i64) -> Rows {
        let header = if pane > 0 { START } else { START + 1 };
        Rows { records: Records::new(header + 1, true), pane, header, initial: vec![0], kinds: vec![Slot::Count], heads: Heads::new(true) }
    }

    #[test]
    fn a_row_keeps_its_times_and_that_it_was_touched() {
        for start in [i64::MIN / 4 / 1_000 * 1_000, -300_000, 0, 1_700_000_000_000] {
            let mut rows = rows(1_000);
            let row = rows.insert(7, start);
            rows.note(row, start + 5)[0] = 17;
            rows.note(row, start + 3);
            assert_eq!((rows.row(row).start, rows.row(row).newest, rows.slots(row)), (start, start + 5, [17].as_slice()));
            assert_eq!((rows.place(row).touch(), rows.place(row).touch()), (true, false));
            rows.insert(7, start - 1_000);
            assert!(!rows.place(row).touch(), "a link is not a touch");
            rows.settle(&[row]);
            assert!(rows.place(row).touch());
            assert_eq!(rows.row(row).user, 7);
        }
    }

    #[test]
    fn a_session_keeps_where_it_starts() {
        let mut rows = rows(0);
        let row = rows.insert(7, 5_000);
        rows.note(row, 5_400);
        rows.widen(row, 4_800, 5_200);
        assert_eq!((rows.row(row).start, rows.row(row).newest), (4_800, 5_400));
        assert_eq!(rows.find(7, 4_800), Some(row));
    }

    #[test]
    fn rows_come_and_go() {
        let mut rows = rows(1_000);
        let mut open: Vec<(u32, i64, u32)> = vec![];
        for step in 0..10_000u32 {
            let hash = step.wrapping_mul(2_654_435_761) >> 16;
            // Windows move on while users come and go; the oldest closes when a new one begins.
            let (user, start) = (hash % 40, i64::from(step / 50 + hash / 64 % 3) * 1_000);
            let (row, is_new) = rows.find_or_create(user, start);
            assert_eq!(is_new, !open.contains(&(user, start, row)), "step {step}");
            rows.note(row, start + i64::from(hash % 1_000));
            open.extend(is_new.then_some((user, start, row)));
            if step % 50 == 49 {
                let closed: Vec<_> = open.extract_if(.., |(_, start, _)| *start == i64::from(step / 50) * 1_000).collect();
                closed.iter().for_each(|&(_, _, row)| rows.remove(row));
                for user in 0..50 {
                    let mut chain = vec![];
                    let mut at = rows.head(user);
                    while at != NONE {
                        chain.push((user, rows.row(at).start, at));
                        at = rows.older(at);
                    }
                    let mut known: Vec<_> = open.iter().filter(|(of, ..)| *of == user).copied().collect();
                    known.sort_by_key(|(_, start, _)| -start);
                    assert_eq!(chain, known, "step {step}");
                }
            }
        }
    }
}
