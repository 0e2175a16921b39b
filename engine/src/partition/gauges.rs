//! What banks take and when their windows close, known without looking at each of them: with thousands of filters a batch stirs few banks, and looking
//! at one reads much memory that its events did not need. So banks that took events are looked at once some thousand steps were taken, before windows
//! may close, and when somebody asks; all are when groups came from elsewhere.

use crate::window::bank::Bank;

/// So many banks are looked at after each batch: that takes little, and tables that double, or values that general slots gather, are noticed at once.
const FEW: usize = 64;
/// Steps of events that more banks may take before they are looked at.
const TOGETHER: usize = 1 << 16;
/// The most bytes by which a step makes a bank grow, but for tables that double.
const MOST_BYTES_A_STEP: usize = 4 << 10;

/// What a bank comes to.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Measure {
    /// Bytes of memory.
    pub bytes: usize,
    /// Number of groups.
    pub groups: usize,
    /// When its next window closes, if it has one.
    pub next_close: Option<i64>,
    /// Up to when nothing is to be done about its groups as time passes.
    pub quiet_until: i64,
}

/// Measures of all banks of a partition.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Gauges {
    /// As each bank was when it was looked at last.
    each: Vec<Measure>,
    /// Banks that took events since then, and which those are.
    stirred: Vec<u32>,
    is_stirred: Vec<bool>,
    /// How many steps they took, and the time before which none of the windows that those began ends.
    steps: usize,
    from: i64,
    /// Bytes of memory of all, as of when each was looked at.
    pub bytes: usize,
    /// Groups of all, as of then.
    pub groups: usize,
    /// No window that was there then closes before this.
    pub next_close: Option<i64>,
}

impl Gauges {
    /// The measures of banks.
    pub fn of(banks: &[Bank]) -> Self {
        let mut gauges = Gauges { each: vec![Measure::default(); banks.len()], is_stirred: vec![false; banks.len()], from: i64::MAX, ..Gauges::default() };
        (0..).zip(banks).for_each(|(at, bank)| gauges.note(at, bank));
        gauges
    }

    /// Notes that a bank took so many steps.
    #[inline]
    pub fn stir(&mut self, at: u32, steps: usize) {
        self.steps += steps;
        if !std::mem::replace(&mut self.is_stirred[at as usize], true) {
            self.stirred.push(at);
        }
    }

    /// Notes the time of an event that banks are about to take.
    #[inline]
    pub fn note_time(&mut self, time: i64) {
        self.from = self.from.min(time);
    }

    /// Looks at the banks that took events since they were looked at last.
    pub fn look(&mut self, banks: &[Bank]) {
        let mut stirred = std::mem::take(&mut self.stirred);
        for at in stirred.drain(..).map(|at| at as usize) {
            self.is_stirred[at] = false;
            self.note(at, &banks[at]);
        }
        (self.stirred, self.steps, self.from) = (stirred, 0, i64::MAX);
    }

    /// Looks at them if they are few, or took so much that [`Gauges::bytes`] may be far from what it was, or near a limit.
    pub fn look_at_times(&mut self, banks: &[Bank], limit: usize) {
        if banks.len() <= FEW || self.steps > TOGETHER || self.bytes.saturating_add(self.steps * MOST_BYTES_A_STEP) > limit {
            self.look(banks);
        }
    }

    /// Whether a window may close at or before `horizon`.
    pub fn may_close(&mut self, banks: &[Bank], horizon: i64) -> bool {
        if self.from < horizon {
            self.look(banks);
        }
        self.next_close.is_some_and(|end| end <= horizon)
    }

    /// The banks in which something is to be done about windows that end at or before `horizon`, after [`Gauges::look`].
    pub fn due(&self, horizon: i64) -> Vec<usize> {
        self.each.iter().enumerate().filter(|(_, measure)| measure.quiet_until <= horizon).map(|(at, _)| at).collect()
    }

    /// Looks at banks whose windows closed.
    pub fn note_closed(&mut self, banks: &[Bank], closed: &[usize]) {
        closed.iter().for_each(|&at| self.note(at, &banks[at]));
        self.next_close = self.each.iter().filter_map(|measure| measure.next_close).min();
    }

    /// Looks at a bank, whose windows end no earlier than before.
    fn note(&mut self, at: usize, bank: &Bank) {
        let old = std::mem::replace(&mut self.each[at], bank.measure());
        let Measure { bytes, groups, next_close, .. } = self.each[at];
        self.bytes = self.bytes - old.bytes + bytes;
        self.groups = self.groups - old.groups + groups;
        self.next_close = next_close.into_iter().chain(self.next_close).min();
    }
}
