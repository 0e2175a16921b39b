//! The groups of one family: rows of (user, pane or session) with fixed slots, each user's rows linked
//! from the newest to the oldest, so that finding the current one takes no hashing.

use std::path::Path;

use cohort_compiler::program::{Family, Slot};
use rustc_hash::FxHashMap;

use crate::having::initial;
use crate::pages::{self, Page};

/// "No row."
pub const NONE: u32 = u32::MAX;

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

/// Words of a record before its slots: user and older row; start; newest, as milliseconds after the start
/// (40 bits), and epoch (24 bits).
const HEADER: usize = 3;
const START: usize = 1;
const NEWEST: usize = 2;
const EPOCH_BITS: u32 = 24;
/// The greatest number that a batch may have; after it, [`Rows::forget_epochs`] and start again from 1.
pub const LAST_EPOCH: u32 = (1 << EPOCH_BITS) - 1;
/// The longest time from a row's start to its newest event: 34 years, which only a session could exceed.
const LONGEST: u64 = (1 << (64 - EPOCH_BITS)) - 1;
/// How many rows ahead a loop over rows has them fetched from memory.
pub const AHEAD: usize = 12;
/// Records in a page: memory grows a page at a time, and records never move.
const PAGE: usize = 1024;

#[inline]
fn newest(record: &[u64]) -> i64 {
    (record[START] as i64).saturating_add((record[NEWEST] >> EPOCH_BITS) as i64)
}

/// Asks for a place of memory to be brought near; a hint without any other effect.
#[inline]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of a valid reference reads nothing that the program sees, and every x86-64 has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The newest row of each user: a plain array where families are few, a map where they are many and
/// most users have no row.
#[derive(Debug)]
enum Heads {
    Dense(Vec<u32>),
    Sparse(FxHashMap<u32, u32>),
}

/// All rows of a family.
#[derive(Debug)]
pub struct Rows {
    /// Records of header and slots side by side, so that an event touches one place.
    pages: Vec<Page>,
    /// How many of the pages are in memory; the others are in files.
    in_memory: usize,
    used: usize,
    initial: Vec<u64>,
    kinds: Vec<Slot>,
    free: Vec<u32>,
    heads: Heads,
}

impl Rows {
    /// No rows yet; `dense` keeps an entry for every user.
    pub fn new(family: &Family, dense: bool) -> Self {
        Rows {
            pages: vec![],
            in_memory: 0,
            used: 0,
            initial: family.slots.iter().map(|s| initial(*s)).collect(),
            kinds: family.slots.clone(),
            free: vec![],
            heads: if dense { Heads::Dense(vec![]) } else { Heads::Sparse(FxHashMap::default()) },
        }
    }

    /// Number of slots in a row.
    pub fn width(&self) -> usize {
        self.initial.len()
    }

    /// The newest row of a user.
    #[inline]
    pub fn head(&self, user: u32) -> u32 {
        match &self.heads {
            Heads::Dense(heads) => heads.get(user as usize).copied().unwrap_or(NONE),
            Heads::Sparse(heads) => heads.get(&user).copied().unwrap_or(NONE),
        }
    }

    fn set_head(&mut self, user: u32, row: u32) {
        match &mut self.heads {
            Heads::Dense(heads) => {
                let user = user as usize;
                if user >= heads.len() {
                    heads.resize((user + 1).next_power_of_two(), NONE);
                }
                heads[user] = row;
            }
            Heads::Sparse(heads) if row == NONE => {
                heads.remove(&user);
            }
            Heads::Sparse(heads) => {
                heads.insert(user, row);
            }
        }
    }

    #[inline]
    fn record(&self, row: u32) -> &[u64] {
        let stride = HEADER + self.initial.len();
        &self.pages[row as usize / PAGE].words()[row as usize % PAGE * stride..][..stride]
    }

    #[inline]
    fn record_mut(&mut self, row: u32) -> &mut [u64] {
        let stride = HEADER + self.initial.len();
        &mut self.pages[row as usize / PAGE].words_mut()[row as usize % PAGE * stride..][..stride]
    }

    #[inline]
    fn start(&self, row: u32) -> i64 {
        self.record(row)[START] as i64
    }

    #[inline]
    fn older(&self, row: u32) -> u32 {
        (self.record(row)[0] >> 32) as u32
    }

    fn set_older(&mut self, row: u32, older: u32) {
        let word = &mut self.record_mut(row)[0];
        *word = *word & 0xffff_ffff | u64::from(older) << 32;
    }

    /// The row of a user that starts at `start`, and whether it is new.
    #[inline]
    pub fn find_or_create(&mut self, user: u32, start: i64) -> (u32, bool) {
        let head = self.head(user);
        if head != NONE && self.start(head) == start {
            return (head, false);
        }
        self.find_older_or_create(user, start, head)
    }

    /// The row of a user that starts at `start`, if there is one.
    pub fn find(&self, user: u32, start: i64) -> Option<u32> {
        let mut at = self.head(user);
        while at != NONE && self.start(at) > start {
            at = self.older(at);
        }
        (at != NONE && self.start(at) == start).then_some(at)
    }

    fn find_older_or_create(&mut self, user: u32, start: i64, head: u32) -> (u32, bool) {
        let mut at = head;
        while at != NONE && self.start(at) > start {
            at = self.older(at);
        }
        if at != NONE && self.start(at) == start {
            return (at, false);
        }
        (self.insert(user, start), true)
    }

    /// A new row of a user, among their others by start.
    pub fn insert(&mut self, user: u32, start: i64) -> u32 {
        let (mut newer, mut at) = (NONE, self.head(user));
        while at != NONE && self.start(at) > start {
            (newer, at) = (at, self.older(at));
        }
        let row = self.allocate(user, at, start);
        if newer == NONE {
            self.set_head(user, row);
        } else {
            self.set_older(newer, row);
        }
        row
    }

    fn allocate(&mut self, user: u32, older: u32, start: i64) -> u32 {
        if let Some(&later) = self.free.len().checked_sub(AHEAD).and_then(|at| self.free.get(at)) {
            self.prefetch(later);
        }
        let row = self.free.pop().unwrap_or_else(|| {
            if self.used == self.pages.len() * PAGE {
                self.pages.push(Page::new(PAGE * (HEADER + self.initial.len())));
                self.in_memory += 1;
            }
            self.used += 1;
            self.used as u32 - 1
        });
        let stride = HEADER + self.initial.len();
        let record = &mut self.pages[row as usize / PAGE].words_mut()[row as usize % PAGE * stride..][..stride];
        record[..HEADER].copy_from_slice(&[u64::from(user) | u64::from(older) << 32, start as u64, 0]);
        record[HEADER..].copy_from_slice(&self.initial);
        row
    }

    /// Unlinks and frees a row.
    pub fn remove(&mut self, row: u32) {
        let Row { user, older, .. } = self.row(row);
        let head = self.head(user);
        if head == row {
            self.set_head(user, older);
        } else {
            let mut at = head;
            while at != NONE && self.older(at) != row {
                at = self.older(at);
            }
            if at != NONE {
                self.set_older(at, older);
            }
        }
        self.free.push(row);
    }

    /// Unlinks a user's rows that start before `start`, which are then to be released.
    pub fn cut(&mut self, user: u32, start: i64) {
        let (mut kept, mut at) = (NONE, self.head(user));
        while at != NONE && self.start(at) >= start {
            (kept, at) = (at, self.older(at));
        }
        match kept {
            NONE => self.set_head(user, NONE),
            kept => self.set_older(kept, NONE),
        }
    }

    /// Unlinks the rows of a user that are older than `row`, which are then to be released.
    pub fn cut_after(&mut self, row: u32) {
        self.set_older(row, NONE);
    }

    /// Frees a row that is unlinked already.
    pub fn release(&mut self, row: u32) {
        self.free.push(row);
    }

    /// A row.
    #[inline]
    pub fn row(&self, row: u32) -> Row {
        let record = self.record(row);
        Row { user: record[0] as u32, older: (record[0] >> 32) as u32, start: record[START] as i64, newest: newest(record) }
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

    /// Notes an event of `time` in batch `epoch`; returns whether it is the row's first in the batch.
    #[inline]
    pub fn touch(&mut self, row: u32, time: i64, epoch: u32) -> bool {
        let record = self.record_mut(row);
        let first = record[NEWEST] as u32 & LAST_EPOCH != epoch;
        let after = (time.saturating_sub(record[START] as i64).max(0) as u64).min(LONGEST);
        record[NEWEST] = after.max(record[NEWEST] >> EPOCH_BITS) << EPOCH_BITS | u64::from(epoch);
        first
    }

    /// Notes an event of `time`; the row's slots, to change.
    #[inline]
    pub fn note(&mut self, row: u32, time: i64) -> &mut [u64] {
        let record = self.record_mut(row);
        let after = (time.saturating_sub(record[START] as i64).max(0) as u64).min(LONGEST);
        record[NEWEST] = record[NEWEST].max(after << EPOCH_BITS | (record[NEWEST] & u64::from(LAST_EPOCH)));
        &mut record[HEADER..]
    }

    /// Whether this is the first time in batch `epoch` that the row is touched.
    #[inline]
    pub fn first_touch(&mut self, row: u32, epoch: u32) -> bool {
        let newest = &mut self.record_mut(row)[NEWEST];
        let first = *newest as u32 & LAST_EPOCH != epoch;
        *newest = *newest & !u64::from(LAST_EPOCH) | u64::from(epoch);
        first
    }

    /// Forgets in which batch rows were last touched.
    pub fn forget_epochs(&mut self) {
        let stride = HEADER + self.initial.len();
        for record in self.pages.iter_mut().flat_map(|page| page.words_mut().chunks_exact_mut(stride)) {
            record[NEWEST] &= !u64::from(LAST_EPOCH);
        }
    }

    /// Widens a session to start no later, and end no earlier, than the given times.
    pub fn widen(&mut self, row: u32, start: i64, end: i64) {
        let record = self.record_mut(row);
        let (start, end) = (start.min(record[START] as i64), end.max(newest(record)));
        record[START] = start as u64;
        let after = (end.saturating_sub(start) as u64).min(LONGEST);
        record[NEWEST] = after << EPOCH_BITS | (record[NEWEST] & u64::from(LAST_EPOCH));
    }

    /// Has the processor fetch a row that is soon to be read or written.
    #[inline]
    pub fn prefetch(&self, row: u32) {
        if let [first, .., last] = self.record(row) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// Whether newest rows are noted in a map, which [`Rows::prefetch_head`] cannot fetch from.
    #[inline]
    pub fn is_sparse(&self) -> bool {
        matches!(self.heads, Heads::Sparse(_))
    }

    /// Looks up the newest rows of some users, side by side instead of one after the other, and has the processor
    /// fetch them.
    pub fn warm(&self, users: impl Iterator<Item = u32>) {
        for user in users {
            let head = self.head(user);
            if head != NONE {
                self.prefetch(head);
            }
        }
    }

    /// Has the processor fetch where a user's newest row is noted, for [`Rows::prefetch_row`] soon after.
    #[inline]
    pub fn prefetch_head(&self, user: u32) {
        if let Heads::Dense(heads) = &self.heads
            && let Some(head) = heads.get(user as usize)
        {
            prefetch(head);
        }
    }

    /// Has the processor fetch a user's newest row, for an event soon to come.
    #[inline]
    pub fn prefetch_row(&self, user: u32) {
        let Heads::Dense(heads) = &self.heads else { return };
        let head = heads.get(user as usize).copied().unwrap_or(NONE);
        // A row that is not there is taken for the first, so that there is no branch to foretell.
        let row = if head == NONE { 0 } else { head };
        let stride = HEADER + self.initial.len();
        let record = self.pages.get(row as usize / PAGE).and_then(|page| page.words()[row as usize % PAGE * stride..].get(..stride));
        if let Some([first, .., last]) = record {
            prefetch(first);
            prefetch(last);
        }
    }

    /// The slots of a row.
    #[inline]
    pub fn slots(&self, row: u32) -> &[u64] {
        &self.record(row)[HEADER..]
    }

    /// The slots of a row, to change.
    #[inline]
    pub fn slots_mut(&mut self, row: u32) -> &mut [u64] {
        &mut self.record_mut(row)[HEADER..]
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
        self.used - self.free.len()
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
        let spilled = pages::spill(&mut self.pages, folder);
        self.in_memory = self.pages.iter().filter(|page| page.is_in_memory()).count();
        spilled
    }

    /// Bytes in files.
    pub fn spilled(&self) -> usize {
        (self.pages.len() - self.in_memory) * PAGE * (HEADER + self.initial.len()) * 8
    }

    /// Bytes of memory in use.
    pub fn size(&self) -> usize {
        let heads = match &self.heads {
            Heads::Dense(heads) => heads.capacity() * 4,
            Heads::Sparse(heads) => heads.capacity() * 9,
        };
        self.in_memory * PAGE * (HEADER + self.initial.len()) * 8 + self.free.capacity() * 4 + heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        Rows { pages: vec![], in_memory: 0, used: 0, initial: vec![0], kinds: vec![Slot::Count], free: vec![], heads: Heads::Dense(vec![]) }
    }

    #[test]
    fn a_row_keeps_its_times_and_the_batch_that_touched_it() {
        let mut rows = rows();
        for start in [i64::MIN / 4, -300_000, 0, 1_700_000_000_000] {
            let row = rows.insert(7, start);
            assert!(rows.touch(row, start + 5, 1));
            assert!(!rows.touch(row, start + 2, 1));
            assert!(rows.touch(row, start + 3, LAST_EPOCH));
            assert_eq!((rows.row(row).start, rows.row(row).newest), (start, start + 5));
            rows.widen(row, start - 1000, start + 9);
            assert_eq!((rows.row(row).start, rows.row(row).newest), (start - 1000, start + 9));
            assert!(!rows.touch(row, start, LAST_EPOCH));
            rows.forget_epochs();
            assert!(rows.touch(row, start, LAST_EPOCH));
            assert_eq!(rows.row(row).newest, start + 9);
        }
    }
}
