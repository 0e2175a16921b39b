//! The usual case of tumbling windows, in few steps: an event that is the newest of its user goes to families that keep a count, a sum or
//! both. Their groups lie in the record that was just found, and what such an event does to them is known beforehand but for its value.
//!
//! Everything else (other slots, older events, groups that are looked at one by one) goes the general way (`tumble.rs`), with the same outcome.

use cohort_compiler::program::{Op, OpKind, Slot, View};

use super::FamilyState;
use super::bank::Deed;
use super::tumble::qualifies;
use crate::aggregate::fixed::ArgumentColumn;
use crate::having::{Bounds, ViewIndex, initial};
use crate::ladder::{Ladder, Sections};

/// What an event of the usual kind does to a bank's families.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Usual {
    tallies: Vec<Tally>,
    /// What is added to sums.
    argument: Option<usize>,
}

/// What an event adds to a family's group, with as much of the family's thresholds as most events need, so that they look at neither.
#[derive(Debug, Clone, PartialEq)]
struct Tally {
    /// The family's position in the bank.
    rung: usize,
    /// Where its slots begin and end in a record.
    from: u32,
    to: u32,
    /// Whether a group is watched while its window is open.
    watches: bool,
    count: Option<Counted>,
    sum: Option<Summed>,
}

/// A count that an event adds to.
#[derive(Debug, Clone, PartialEq)]
struct Counted {
    /// Where it is in a record.
    slot: u32,
    /// Which of the family's indexes of thresholds is on it, if any.
    index: Option<u16>,
    /// For each of the first numbers of events, whether what it qualifies for changes with one more; of none, with a group's first.
    steps: u64,
    /// The number of events from which on nothing changes.
    end: u64,
}

/// A sum that an event adds to.
#[derive(Debug, Clone, PartialEq)]
struct Summed {
    /// Where it is in a record.
    slot: u32,
    /// Which of the family's indexes of thresholds is on it, if any.
    index: Option<u16>,
    /// Whether that index takes a sum of nothing for null.
    is_nullable: bool,
    bounds: Bounds,
}

/// An event that is the newest of its user.
pub(super) struct Newest<'a> {
    /// Event time.
    pub time: i64,
    /// The user's record, and what is in it.
    pub record: u32,
    pub sections: Sections<'a>,
}

/// A group's count and sum as they were, and whether it is new.
struct Before {
    count: u64,
    sum: Option<f64>,
    is_new: bool,
}

impl Usual {
    /// What an event does, if all of it is of the usual kind.
    pub(super) fn of(deeds: &[Deed], families: &[FamilyState], ladder: &Ladder) -> Option<Usual> {
        let tallies: Vec<Tally> = deeds.iter().map(|deed| Tally::of(deed, &families[deed.rung], ladder)).collect::<Option<_>>()?;
        let mut arguments = deeds.iter().flat_map(|deed| &deed.ops).filter(|op| op.kind == OpKind::Sum).map(|op| op.argument as usize);
        let argument = arguments.next();
        arguments.all(|other| Some(other) == argument).then_some(Usual { tallies, argument })
    }

    /// Adds event `i` of a batch; whether some family may have changes to tell.
    #[inline]
    pub(super) fn add(&self, families: &mut [FamilyState], newest: &mut Newest<'_>, arguments: &[ArgumentColumn], i: usize) -> bool {
        let value = self.argument.map(|argument| &arguments[argument]).and_then(|column| column.valid[i].then(|| column.values[i]));
        self.tallies.iter().fold(false, |touched, tally| tally.add(&mut families[tally.rung], newest, value) | touched)
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
            let place = from as u32 + slot;
            let twice = match kind {
                OpKind::Count => count.replace(Counted::of(place, family, View::Count(slot))).is_some(),
                OpKind::Sum => sum.replace(Summed::of(place, family, slot)).is_some(),
                _ => true,
            };
            if twice {
                return None;
            }
        }
        let indexes = [count.as_ref().and_then(|part| part.index), sum.as_ref().and_then(|part| part.index)];
        let tally = Tally { rung: deed.rung, from: from as u32, to: to as u32, watches: family.watches, count, sum };
        (indexes.iter().flatten().count() == family.simple.len()).then_some(tally)
    }

    /// Adds an event to the family's group, which begins with it if it is not there; whether the family is to look at it at the end of the batch.
    #[inline]
    fn add(&self, family: &mut FamilyState, newest: &mut Newest<'_>, value: Option<f64>) -> bool {
        family.stats.events += 1;
        let sections = &mut newest.sections;
        let is_new = sections.begin(self.rung);
        if is_new {
            sections.reset(self.from as usize, self.to as usize);
            family.tumbling.begin(family.tumbling.start_of(newest.time), &mut [], &[]);
        }
        // A group that is listed for its close already, and that nobody watches while it is open, is looked at then.
        let is_looked_at = self.watches || is_new || !sections.is_listed(self.rung);
        let (mut before, mut crosses) = (Before { count: 0, sum: None, is_new }, false);
        if let Some(part) = &self.count {
            let slot = &mut sections.slots[part.slot as usize];
            before.count = *slot;
            *slot += 1;
            crosses |= is_looked_at && part.crosses(&family.simple, before.count, is_new);
        }
        if let Some(part) = &self.sum {
            let slot = &mut sections.slots[part.slot as usize];
            before.sum = part.sum(*slot).filter(|_| !is_new);
            if let Some(value) = value {
                *slot = (f64::from_bits(*slot) + value).to_bits();
            }
            crosses |= is_looked_at && part.crosses(&family.simple, before.sum, *slot);
        }
        crosses && self.cross(family, newest, &before)
    }

    /// Has a group looked at whose values crossed a threshold.
    fn cross(&self, FamilyState { tumbling, simple, .. }: &mut FamilyState, newest: &mut Newest<'_>, before: &Before) -> bool {
        let mut place = newest.sections.place(self.rung, self.from as usize, self.to as usize);
        let count = (!before.is_new).then_some(before.count as i64 as f64);
        let was = match self.count.as_ref().and_then(|part| part.index) {
            Some(0) => [count, before.sum],
            _ => [before.sum, count],
        };
        let at = (newest.record, tumbling.start_of(newest.time));
        let touched = tumbling.flip(&mut place, at, &was[..simple.len()]);
        // A new group crosses just by qualifying.
        if before.is_new || (!place.is_listed() && qualifies(simple, place.slots)) {
            tumbling.list_once(&mut place, at);
        }
        touched
    }
}

/// Numbers of events that [`Counted::steps`] knows.
const STEPS: u64 = 64;

fn steps(index: &ViewIndex) -> u64 {
    let value = |events: u64| (events > 0).then_some(events as f64);
    (0..STEPS).filter(|events| index.crosses(value(*events), value(events + 1))).fold(0, |steps, events| steps | 1 << events)
}

impl Counted {
    fn of(slot: u32, family: &FamilyState, view: View) -> Counted {
        let index = family.simple.iter().position(|index| index.view == view);
        let (steps, end) = index.map_or((0, 0), |at| (steps(&family.simple[at]), family.simple[at].bounds().end()));
        Counted { slot, index: index.map(|at| at as u16), steps, end }
    }

    /// Whether what a group of so many events qualifies for may change with one more.
    #[inline]
    fn crosses(&self, simple: &[ViewIndex], events: u64, is_new: bool) -> bool {
        // A group that is not new has no events only where its count came later than itself.
        if events < STEPS && (is_new || events > 0) {
            return self.steps >> events & 1 == 1;
        }
        let value = |events: u64| Some(events as i64 as f64);
        events < self.end && self.index.is_some_and(|at| simple[at as usize].crosses(value(events), value(events + 1)))
    }
}

impl Summed {
    fn of(place: u32, family: &FamilyState, slot: u32) -> Summed {
        let index = family.simple.iter().position(|index| [View::Sum(slot), View::SumOrZero(slot)].contains(&index.view));
        let is_nullable = index.is_some_and(|at| family.simple[at].view == View::Sum(slot));
        let bounds = index.map_or(Bounds::NONE, |at| family.simple[at].bounds());
        Summed { slot: place, index: index.map(|at| at as u16), is_nullable, bounds }
    }

    /// The sum that thresholds are held against.
    #[inline]
    fn sum(&self, slot: u64) -> Option<f64> {
        let is_null = self.is_nullable && slot == initial(Slot::Sum);
        (!is_null).then(|| f64::from_bits(slot) + 0.0)
    }

    /// Whether what a group qualifies for may be another with a sum that was `before` and now is `slot`.
    #[inline]
    fn crosses(&self, simple: &[ViewIndex], before: Option<f64>, slot: u64) -> bool {
        self.bounds.crosses(before, self.sum(slot), || simple.get(usize::from(self.index?)))
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
            let part = Counted { slot: 0, index: Some(0), steps: steps(&simple[0]), end: simple[0].bounds().end() };
            let events = if is_new { 0 } else { events };
            let before = (!is_new).then_some(events as f64);
            prop_assert_eq!(part.crosses(&simple, events, is_new), simple[0].crosses(before, Some((events + 1) as f64)));
        }
    }
}
