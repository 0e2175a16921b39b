//! The groups of one family: rows of (user, pane or session) with fixed slots, each user's rows linked
//! from the newest to the oldest, so that finding the current one takes no hashing.

use std::path::Path;

use cohort_compiler::program::{Family, Slot};
use cohort_compiler::window::floor;

use crate::having::initial;
use crate::pages::{self, Page};
use crate::probe::{Entry, Probed};

/// "No row"; also the most rows that there may be, in 31 bits.
pub const NONE: u32 = u32::MAX >> 1;

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

/// Words of a record before its slots: a link (user, older row, and whether the row was touched); the newest event time; and, of sessions,
/// the start, which of a pane follows from any time in it.
const LINK: usize = 0;
const NEWEST: usize = 1;
const START: usize = 2;
/// In a link: that the row was touched since it was last settled.
const TOUCHED: u64 = 1 << 63;
/// The link of a row that was freed.
const FREED: u64 = u64::MAX;
/// How many rows ahead a loop over rows has them fetched from memory.
pub const AHEAD: usize = 12;
/// Records in a page: memory grows a page at a time, and records never move.
const PAGE: usize = 1024;

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
    Sparse(Probed<Head>),
}

/// A user's newest row.
#[derive(Debug, Clone, Copy)]
struct Head {
    user: u32,
    row: u32,
}

#[inline]
fn hash(user: u32) -> u64 {
    u64::from(user).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Entry for Head {
    const EMPTY: Self = Head { user: 0, row: NONE };

    #[inline]
    fn is_empty(&self) -> bool {
        self.row == NONE
    }

    #[inline]
    fn hash(&self) -> u64 {
        hash(self.user)
    }
}

impl Probed<Head> {
    #[inline]
    fn place(&self, user: u32) -> Option<usize> {
        self.find(hash(user), |head| head.user == user)
    }
}

/// All rows of a family.
#[derive(Debug)]
pub struct Rows {
    /// Records of header and slots side by side, so that an event touches one place.
    pages: Vec<Page>,
    /// How many of the pages are in memory; the others are in files.
    in_memory: usize,
    used: usize,
    /// Width of the panes; 0 for sessions.
    pane: i64,
    /// Words of a record before its slots.
    header: usize,
    initial: Vec<u64>,
    kinds: Vec<Slot>,
    free: Vec<u32>,
    heads: Heads,
    /// Whether links may lead to rows that were freed, and are checked when they are followed. Only where a user's older rows are
    /// freed before newer ones.
    lazy: bool,
}

impl Rows {
    /// No rows yet; `dense` keeps an entry for every user, and with it `in_order` says that a user's rows are freed from the oldest to the
    /// newest.
    pub fn new(family: &Family, dense: bool, in_order: bool) -> Self {
        Rows {
            pages: vec![],
            in_memory: 0,
            used: 0,
            pane: family.window.pane(),
            header: if family.window.pane() > 0 { START } else { START + 1 },
            initial: family.slots.iter().map(|s| initial(*s)).collect(),
            kinds: family.slots.clone(),
            free: vec![],
            heads: if dense { Heads::Dense(vec![]) } else { Heads::Sparse(Probed::default()) },
            lazy: dense && in_order,
        }
    }

    /// Number of slots in a row.
    pub fn width(&self) -> usize {
        self.initial.len()
    }

    /// The newest row of a user.
    #[inline]
    pub fn head(&self, of: u32) -> u32 {
        let head = self.noted(of);
        if head != NONE && user(self.record(head)[LINK]) == of { head } else { NONE }
    }

    /// The row that is noted as the newest of a user, which may have been freed since.
    #[inline]
    fn noted(&self, user: u32) -> u32 {
        match &self.heads {
            Heads::Dense(heads) => heads.get(user as usize).copied().unwrap_or(NONE),
            Heads::Sparse(heads) => heads.place(user).map_or(NONE, |place| heads.at(place).row),
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
            Heads::Sparse(heads) => match heads.place(user) {
                Some(place) if row == NONE => heads.remove(place),
                Some(place) => heads.at_mut(place).row = row,
                None if row == NONE => {}
                None => heads.insert(Head { user, row }),
            },
        }
    }

    #[inline]
    fn record(&self, row: u32) -> &[u64] {
        let stride = self.header + self.initial.len();
        &self.pages[row as usize / PAGE].words()[row as usize % PAGE * stride..][..stride]
    }

    #[inline]
    fn record_mut(&mut self, row: u32) -> &mut [u64] {
        let stride = self.header + self.initial.len();
        &mut self.pages[row as usize / PAGE].words_mut()[row as usize % PAGE * stride..][..stride]
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
        let record = self.record(row);
        let next = older(record[LINK]);
        if !self.lazy || next == NONE {
            return next;
        }
        // It may have been freed, and be another user's, or this one's once more.
        let other = self.record(next);
        if user(other[LINK]) == user(record[LINK]) && newest(other) < newest(record) { next } else { NONE }
    }

    fn set_older(&mut self, row: u32, older: u32) {
        let link = &mut self.record_mut(row)[LINK];
        *link = *link & (TOUCHED | 0xffff_ffff) | u64::from(older) << 32;
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
                self.pages.push(Page::new(PAGE * (self.header + self.initial.len())));
                self.in_memory += 1;
            }
            self.used += 1;
            self.used as u32 - 1
        });
        let stride = self.header + self.initial.len();
        let record = &mut self.pages[row as usize / PAGE].words_mut()[row as usize % PAGE * stride..][..stride];
        let (header, slots) = record.split_at_mut(self.header);
        header[LINK] = u64::from(user) | u64::from(older) << 32;
        // The start twice in sessions; in panes the least time that there may be.
        header[NEWEST..].fill(start as u64);
        slots.copy_from_slice(&self.initial);
        row
    }

    /// Unlinks and frees a row.
    pub fn remove(&mut self, row: u32) {
        if self.lazy {
            self.record_mut(row)[LINK] = FREED;
            self.free.push(row);
            return;
        }
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
        while at != NONE && newest(self.record(at)) >= start {
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

    /// Whether this is the first time that the row is touched since it was settled.
    #[inline]
    pub fn touch(&mut self, row: u32) -> bool {
        let link = &mut self.record_mut(row)[LINK];
        let first = *link & TOUCHED == 0;
        *link |= TOUCHED;
        first
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
        if let [first, .., last] = self.record(row) {
            prefetch(first);
            prefetch(last);
        }
    }

    /// Has the processor fetch where a user's newest row is noted, for [`Rows::prefetch_row`] soon after.
    #[inline]
    pub fn prefetch_head(&self, user: u32) {
        match &self.heads {
            Heads::Dense(heads) => heads.get(user as usize).into_iter().for_each(prefetch),
            Heads::Sparse(heads) => heads.prefetch(hash(user)),
        }
    }

    /// Has the processor fetch where a row is noted that will be removed soon, if that is looked at.
    #[inline]
    pub fn prefetch_removal(&self, row: u32) {
        if !self.lazy {
            self.prefetch_head(user(self.record(row)[LINK]));
        }
    }

    /// Has the processor fetch a user's newest row, for an event soon to come.
    #[inline]
    pub fn prefetch_row(&self, user: u32) {
        let head = self.noted(user);
        // A row that is not there is taken for the first, so that there is no branch to foretell.
        let row = if head == NONE { 0 } else { head };
        let stride = self.header + self.initial.len();
        let record = self.pages.get(row as usize / PAGE).and_then(|page| page.words()[row as usize % PAGE * stride..].get(..stride));
        if let Some([first, .., last]) = record {
            prefetch(first);
            prefetch(last);
        }
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
        (self.pages.len() - self.in_memory) * PAGE * (self.header + self.initial.len()) * 8
    }

    /// Bytes of memory in use.
    pub fn size(&self) -> usize {
        let heads = match &self.heads {
            Heads::Dense(heads) => heads.capacity() * 4,
            Heads::Sparse(heads) => heads.size(),
        };
        self.in_memory * PAGE * (self.header + self.initial.len()) * 8 + self.free.capacity() * 4 + heads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pane: i64, lazy: bool) -> Rows {
        let header = if pane > 0 { START } else { START + 1 };
        let heads = Heads::Dense(vec![]);
        Rows { pages: vec![], in_memory: 0, used: 0, pane, header, initial: vec![0], kinds: vec![Slot::Count], free: vec![], heads, lazy }
    }

    #[test]
    fn a_row_keeps_its_times_and_that_it_was_touched() {
        for start in [i64::MIN / 4 / 1_000 * 1_000, -300_000, 0, 1_700_000_000_000] {
            let mut rows = rows(1_000, false);
            let row = rows.insert(7, start);
            rows.note(row, start + 5)[0] = 17;
            rows.note(row, start + 3);
            assert_eq!((rows.row(row).start, rows.row(row).newest, rows.slots(row)), (start, start + 5, [17].as_slice()));
            assert_eq!((rows.touch(row), rows.touch(row)), (true, false));
            rows.insert(7, start - 1_000);
            assert!(!rows.touch(row), "a link is not a touch");
            rows.settle(&[row]);
            assert!(rows.touch(row));
            assert_eq!(rows.row(row).user, 7);
        }
    }

    #[test]
    fn a_session_keeps_where_it_starts() {
        let mut rows = rows(0, false);
        let row = rows.insert(7, 5_000);
        rows.note(row, 5_400);
        rows.widen(row, 4_800, 5_200);
        assert_eq!((rows.row(row).start, rows.row(row).newest), (4_800, 5_400));
        assert_eq!(rows.find(7, 4_800), Some(row));
    }

    #[test]
    fn links_to_rows_that_were_freed_lead_nowhere() {
        for lazy in [false, true] {
            let mut rows = rows(1_000, lazy);
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
}
