//! The usual case of tumbling windows, in few steps: an event that is the newest of its user goes to families that keep a count, a sum or
//! both. Their groups lie in the record that was just found, and what such an event does to them is known beforehand but for its value.
//!
//! Everything else (other slots, older events, groups that are looked at one by one) goes the general way (`tumble.rs`), with the same outcome.

use cohort_compiler::program::{Op, OpKind, Slot, View};

use super::FamilyState;
use super::bank::Deed;
use super::tumble::qualifies;
use crate::aggregate::fixed::ArgumentColumn;
use crate::having::{ViewIndex, initial};
use crate::ladder::{Ladder, Sections};

/// What an event of the usual kind does to a bank's families.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Usual {
    tallies: Vec<Tally>,
    /// What is added to sums.
    argument: Option<usize>,
}

/// What an event adds to a family's group.
#[derive(Debug, Clone, PartialEq)]
struct Tally {
    /// The family's position in the bank.
    rung: usize,
    /// Where its slots begin and end in a record.
    from: usize,
    to: usize,
    count: Option<Part>,
    sum: Option<Part>,
}

/// A slot that an event adds to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    /// Where it is in a record.
    slot: usize,
    /// Which of the family's indexes of thresholds is on it, if any.
    index: Option<usize>,
    /// Whether that index takes a sum of nothing for null.
    is_nullable: bool,
    /// Of a count: for each of the first numbers of events, whether what it qualifies for changes with one more; of none, with a group's first.
    steps: u64,
}

/// An event that is the newest of its user.
pub(super) struct Newest<'a> {
    /// Event time.
    pub time: i64,
    /// The user's record, and what is in it.
    pub record: u32,
    pub sections: Sections<'a>,
}

impl Usual {
    /// What an event does, if all of it is of the usual kind.
    pub(super) fn of(deeds: &[Deed], families: &[FamilyState], ladder: &Ladder) -> Option<Usual> {
        let tallies: Vec<Tally> = deeds.iter().map(|deed| Tally::of(deed, &families[deed.rung], ladder)).collect::<Option<_>>()?;
        let mut arguments = deeds.iter().flat_map(|deed| &deed.ops).filter(|op| op.kind == OpKind::Sum).map(|op| op.argument as usize);
        let argument = arguments.next();
        arguments.all(|other| Some(other) == argument).then_some(Usual { tallies, argument })
    }

    /// Adds event `i` of a batch.
    #[inline]
    pub(super) fn add(&self, families: &mut [FamilyState], newest: &mut Newest<'_>, arguments: &[ArgumentColumn], i: usize) {
        let value = self.argument.map(|argument| &arguments[argument]).and_then(|column| column.valid[i].then(|| column.values[i]));
        self.tallies.iter().for_each(|tally| tally.add(&mut families[tally.rung], newest, value));
    }
}

impl Tally {
    fn of(deed: &Deed, family: &FamilyState, ladder: &Ladder) -> Option<Tally> {
        if !deed.creates || !family.tumbling.lists_by_crossing() || !family.general.is_empty() {
            return None;
        }
        let (from, to) = ladder.section(deed.rung);
        let (mut count, mut sum) = (None, None);
        for &Op { kind, slot, .. } in &deed.ops {
            let (part, views) = match kind {
                OpKind::Count => (&mut count, [View::Count(slot), View::Count(slot)]),
                OpKind::Sum => (&mut sum, [View::Sum(slot), View::SumOrZero(slot)]),
                _ => return None,
            };
            let index = family.simple.iter().position(|index| views.contains(&index.view));
            let is_nullable = index.is_some_and(|at| family.simple[at].view == View::Sum(slot));
            let steps = index.filter(|_| kind == OpKind::Count).map_or(0, |at| steps(&family.simple[at]));
            if part.replace(Part { slot: from + slot as usize, index, is_nullable, steps }).is_some() {
                return None;
            }
        }
        let compared = [count, sum].iter().flatten().filter(|part| part.index.is_some()).count();
        (compared == family.simple.len()).then_some(Tally { rung: deed.rung, from, to, count, sum })
    }

    /// Adds an event to the family's group, which begins with it if it is not there.
    #[inline]
    fn add(&self, family: &mut FamilyState, newest: &mut Newest<'_>, value: Option<f64>) {
        let FamilyState { tumbling, simple, stats, watches, .. } = family;
        stats.events += 1;
        let sections = &mut newest.sections;
        let is_new = sections.begin(self.rung);
        if is_new {
            sections.reset(self.from, self.to);
            tumbling.begin(tumbling.start_of(newest.time), &mut [], &[]);
        }
        // A group that is listed for its close already, and that nobody watches while it is open, is looked at then.
        let is_looked_at = *watches || is_new || !sections.is_listed(self.rung);
        let (mut count, mut sum, mut crosses) = (0, None, false);
        if let Some(part) = &self.count {
            let slot = &mut sections.slots[part.slot];
            count = *slot;
            *slot += 1;
            crosses |= is_looked_at && part.counts_over(simple, count, is_new);
        }
        if let Some(part) = &self.sum {
            let slot = &mut sections.slots[part.slot];
            sum = part.sum(*slot).filter(|_| !is_new);
            if let Some(value) = value {
                *slot = (f64::from_bits(*slot) + value).to_bits();
            }
            crosses |= is_looked_at && part.index.is_some_and(|at| simple[at].crosses(sum, part.sum(*slot)));
        }
        if crosses {
            let count = (!is_new).then_some(count as i64 as f64);
            let before = match (self.count.and_then(|part| part.index), self.sum.and_then(|part| part.index)) {
                (Some(0), _) => [count, sum],
                _ => [sum, count],
            };
            let mut place = sections.place(self.rung, self.from, self.to);
            let at = (newest.record, tumbling.start_of(newest.time));
            tumbling.flip(&mut place, at, &before[..simple.len()]);
            // A new group crosses just by qualifying.
            if is_new || (!place.is_listed() && qualifies(simple, place.slots)) {
                tumbling.list_once(&mut place, at);
            }
        }
    }
}

/// Numbers of events that [`Part::steps`] knows.
const STEPS: u64 = 64;

fn steps(index: &ViewIndex) -> u64 {
    let value = |events: u64| (events > 0).then_some(events as f64);
    (0..STEPS).filter(|events| index.crosses(value(*events), value(events + 1))).fold(0, |steps, events| steps | 1 << events)
}

impl Part {
    /// Whether what a group of so many events qualifies for may change with one more.
    #[inline]
    fn counts_over(&self, simple: &[ViewIndex], events: u64, is_new: bool) -> bool {
        // A group that is not new has no events only where its count came later than itself.
        if events < STEPS && (is_new || events > 0) {
            return self.steps >> events & 1 == 1;
        }
        let value = |events: u64| Some(events as i64 as f64);
        self.index.is_some_and(|at| simple[at].crosses(value(events).filter(|_| !is_new), value(events + 1)))
    }

    /// The sum that thresholds are held against.
    #[inline]
    fn sum(&self, slot: u64) -> Option<f64> {
        let is_null = self.is_nullable && slot == initial(Slot::Sum);
        (!is_null).then(|| f64::from_bits(slot) + 0.0)
    }
}

#[cfg(test)]
mod tests {
    use cohort_compiler::program::{Compare, Threshold};
    use proptest::prelude::*;

    use super::*;
    use crate::having::Listed;

    proptest! {
        #[test]
        fn counts_cross_what_their_index_says(bounds in prop::collection::vec((0usize..6, -2i32..160), 1..8), events in 0u64..200, is_new: bool) {
            const COMPARES: [Compare; 6] = [Compare::Gt, Compare::Gte, Compare::Lt, Compare::Lte, Compare::Eq, Compare::Neq];
            let threshold = |&(compare, half): &(usize, i32)| {
                let (value, view) = (f64::from(half) / 2.0, View::Count(0));
                (Listed { segment: 0, own_value: true }, Threshold { view, compare: COMPARES[compare], value, tolerance: 0.0 })
            };
            let simple = ViewIndex::build(&bounds.iter().map(threshold).collect::<Vec<_>>());
            let part = Part { slot: 0, index: Some(0), is_nullable: false, steps: steps(&simple[0]) };
            let events = if is_new { 0 } else { events };
            let before = (!is_new).then_some(events as f64);
            prop_assert_eq!(part.counts_over(&simple, events, is_new), simple[0].crosses(before, Some((events + 1) as f64)));
        }
    }
}
