//! Where each user's record lies: a plain array where there are few tables of records, a hash table where they are many and most users
//! have no record in most of them.

use crate::pages::prefetch;
use crate::probe::{Entry, Probed};
use crate::state::NONE;

/// A number for each user that has one.
#[derive(Debug, Clone)]
pub enum Heads {
    /// By user.
    Dense(Vec<u32>),
    /// Of those users that have one.
    Sparse(Probed<Head>),
}

/// A user's number.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    user: u32,
    record: u32,
}

#[inline]
fn hash(user: u32) -> u64 {
    u64::from(user).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Entry for Head {
    const EMPTY: Self = Head { user: 0, record: NONE };

    #[inline]
    fn is_empty(&self) -> bool {
        self.record == NONE
    }

    #[inline]
    fn hash(&self) -> u64 {
        hash(self.user)
    }
}

impl Heads {
    /// None yet; `dense` keeps an entry for every user.
    pub fn new(dense: bool) -> Self {
        if dense { Heads::Dense(vec![]) } else { Heads::Sparse(Probed::default()) }
    }

    /// The number of a user, or [`NONE`].
    #[inline]
    pub fn get(&self, user: u32) -> u32 {
        match self {
            Heads::Dense(heads) => heads.get(user as usize).copied().unwrap_or(NONE),
            Heads::Sparse(heads) => heads.find(hash(user), |head| head.user == user).map_or(NONE, |place| heads.at(place).record),
        }
    }

    /// Sets the number of a user; [`NONE`] takes it away.
    pub fn set(&mut self, user: u32, record: u32) {
        match self {
            Heads::Dense(heads) => {
                let user = user as usize;
                if user >= heads.len() {
                    heads.resize((user + 1).next_power_of_two(), NONE);
                }
                heads[user] = record;
            }
            Heads::Sparse(heads) => match heads.find(hash(user), |head| head.user == user) {
                Some(place) if record == NONE => heads.remove(place),
                Some(place) => heads.at_mut(place).record = record,
                None if record == NONE => {}
                None => heads.insert(Head { user, record }),
            },
        }
    }

    /// Sets the number of a user who has none.
    #[inline]
    pub fn add(&mut self, user: u32, record: u32) {
        match self {
            Heads::Dense(_) => self.set(user, record),
            Heads::Sparse(heads) => heads.insert(Head { user, record }),
        }
    }

    /// Has the processor fetch what [`Heads::get`] will read.
    #[inline]
    pub fn prefetch(&self, user: u32) {
        match self {
            Heads::Dense(heads) => heads.get(user as usize).into_iter().for_each(prefetch),
            Heads::Sparse(heads) => heads.prefetch(hash(user)),
        }
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        match self {
            Heads::Dense(heads) => heads.capacity() * 4,
            Heads::Sparse(heads) => heads.size(),
        }
    }
}
