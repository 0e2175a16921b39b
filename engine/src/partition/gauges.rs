//! What banks take and when their windows close, known without looking at each of them: with thousands of filters a batch stirs few banks. A bank is
//! measured when a batch stirred it; all are after windows closed, and when groups came from elsewhere.

use crate::window::FamilyState;
use crate::window::bank::Bank;

/// Measures of all banks of a partition, as of the end of the last batch or close.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Gauges {
    /// For each bank, bytes of memory and number of groups.
    each: Vec<(usize, usize)>,
    /// Bytes of memory of all.
    pub bytes: usize,
    /// Groups of all.
    pub groups: usize,
    /// No window closes before this.
    pub next_close: Option<i64>,
}

impl Gauges {
    /// The measures of banks.
    pub fn of(banks: &[Bank]) -> Self {
        let mut gauges = Gauges { each: vec![(0, 0); banks.len()], ..Gauges::default() };
        (0..).zip(banks).for_each(|(at, bank)| gauges.note(at, bank));
        gauges
    }

    /// Measures a bank anew, whose windows end no earlier than before.
    pub fn note(&mut self, at: usize, bank: &Bank) {
        let (bytes, groups) = std::mem::replace(&mut self.each[at], (bank.size(), bank.groups()));
        self.bytes = self.bytes - bytes + self.each[at].0;
        self.groups = self.groups - groups + self.each[at].1;
        self.next_close = bank.families.iter().filter_map(FamilyState::next_close).chain(self.next_close).min();
    }
}
