//! The groups of one family: rows of (user, pane or session) with fixed slots, each user's rows linked
//! from the newest to the oldest, so that finding the current one takes no hashing.

use cohort_compiler::program::{Family, Slot};
use rustc_hash::FxHashMap;

use crate::having::initial;

/// "No row."
pub const NONE: u32 = u32::MAX;

/// One group.
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
    /// The batch in which the row was last touched.
    pub epoch: u32,
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
    rows: Vec<Row>,
    slots: Vec<u64>,
    initial: Vec<u64>,
    kinds: Vec<Slot>,
    free: Vec<u32>,
    heads: Heads,
}

impl Rows {
    /// No rows yet; `dense` keeps an entry for every user.
    pub fn new(family: &Family, dense: bool) -> Self {
        Rows {
            rows: vec![],
            slots: vec![],
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

    /// The row of a user that starts at `start`, and whether it is new.
    #[inline]
    pub fn find_or_create(&mut self, user: u32, start: i64) -> (u32, bool) {
        let head = self.head(user);
        if head != NONE && self.rows[head as usize].start == start {
            return (head, false);
        }
        self.find_older_or_create(user, start, head)
    }

    fn find_older_or_create(&mut self, user: u32, start: i64, head: u32) -> (u32, bool) {
        let mut at = head;
        while at != NONE && self.rows[at as usize].start > start {
            at = self.rows[at as usize].older;
        }
        if at != NONE && self.rows[at as usize].start == start {
            return (at, false);
        }
        (self.insert(user, start), true)
    }

    /// A new row of a user, among their others by start.
    pub fn insert(&mut self, user: u32, start: i64) -> u32 {
        let (mut newer, mut at) = (NONE, self.head(user));
        while at != NONE && self.rows[at as usize].start > start {
            (newer, at) = (at, self.rows[at as usize].older);
        }
        let row = self.allocate(Row { user, older: at, start, newest: i64::MIN, epoch: 0 });
        if newer == NONE {
            self.set_head(user, row);
        } else {
            self.rows[newer as usize].older = row;
        }
        row
    }

    fn allocate(&mut self, row: Row) -> u32 {
        match self.free.pop() {
            Some(i) => {
                self.rows[i as usize] = row;
                let width = self.width();
                self.slots[i as usize * width..][..width].copy_from_slice(&self.initial);
                i
            }
            None => {
                self.rows.push(row);
                self.slots.extend_from_slice(&self.initial);
                self.rows.len() as u32 - 1
            }
        }
    }

    /// Unlinks and frees a row.
    pub fn remove(&mut self, row: u32) {
        let Row { user, older, .. } = self.rows[row as usize];
        let head = self.head(user);
        if head == row {
            self.set_head(user, older);
        } else {
            let mut at = head;
            while at != NONE && self.rows[at as usize].older != row {
                at = self.rows[at as usize].older;
            }
            if at != NONE {
                self.rows[at as usize].older = older;
            }
        }
        self.free.push(row);
    }

    /// A row.
    #[inline]
    pub fn row(&self, row: u32) -> &Row {
        &self.rows[row as usize]
    }

    /// A row, to change.
    #[inline]
    pub fn row_mut(&mut self, row: u32) -> &mut Row {
        &mut self.rows[row as usize]
    }

    /// The slots of a row.
    #[inline]
    pub fn slots(&self, row: u32) -> &[u64] {
        let width = self.width();
        &self.slots[row as usize * width..][..width]
    }

    /// The slots of a row, to change.
    #[inline]
    pub fn slots_mut(&mut self, row: u32) -> &mut [u64] {
        let width = self.width();
        &mut self.slots[row as usize * width..][..width]
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
        self.rows.len() - self.free.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        let heads = match &self.heads {
            Heads::Dense(heads) => heads.capacity() * 4,
            Heads::Sparse(heads) => heads.capacity() * 9,
        };
        self.rows.capacity() * size_of::<Row>() + self.slots.capacity() * 8 + self.free.capacity() * 4 + heads
    }
}
