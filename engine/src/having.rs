//! Thresholds of many segments over one view of a family's slots, as sorted indexes: when a group's value
//! moves from a to b, only the segments with a threshold between them are touched.

use cohort_compiler::program::{Compare, Slot, Threshold, View};

/// The initial bits of a slot: "no value yet".
pub fn initial(slot: Slot) -> u64 {
    match slot {
        Slot::Count => 0,
        Slot::Sum => (-0.0f64).to_bits(),
        Slot::Min => f64::INFINITY.to_bits(),
        Slot::Max => f64::NEG_INFINITY.to_bits(),
    }
}

/// The number that a view is for a group's slots; `None` is SQL's null.
#[inline(always)]
pub fn view(view: View, slots: &[u64]) -> Option<f64> {
    let float = |i: u32| f64::from_bits(slots[i as usize]);
    match view {
        View::Count(i) => Some(slots[i as usize] as i64 as f64),
        View::Sum(i) => (slots[i as usize] != initial(Slot::Sum)).then(|| float(i)),
        View::SumOrZero(i) => Some(float(i) + 0.0),
        View::Avg { sum, count } => (slots[count as usize] != 0).then(|| float(sum) / slots[count as usize] as f64),
        View::Min(i) => (float(i) != f64::INFINITY).then(|| float(i)),
        View::Max(i) => (float(i) != f64::NEG_INFINITY).then(|| float(i)),
    }
}

/// Whether a value passes one threshold (null passes none). Numbers compare in IEEE total order, as
/// Arrow's kernels do.
#[inline]
pub fn passes(t: &Threshold, value: Option<f64>) -> bool {
    let Some(x) = value else { return false };
    let order = x.total_cmp(&t.value);
    match t.compare {
        Compare::Gt => order.is_gt(),
        Compare::Gte => order.is_ge(),
        Compare::Lt => order.is_lt(),
        Compare::Lte => order.is_le(),
        Compare::Eq if t.tolerance > 0.0 => near(x, t.value, t.tolerance),
        Compare::Neq if t.tolerance > 0.0 => !near(x, t.value, t.tolerance),
        Compare::Eq => order.is_eq(),
        Compare::Neq => order.is_ne(),
    }
}

#[inline]
fn near(x: f64, centre: f64, tolerance: f64) -> bool {
    (x - centre).abs().total_cmp(&tolerance).is_lt()
}

/// A segment in an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub segment: u32,
    /// Whether its value is the view that its threshold is on.
    pub own_value: bool,
}

/// All thresholds on one view.
#[derive(Debug, Clone)]
pub struct ViewIndex {
    /// The view.
    pub view: View,
    /// Lower bounds: a value passes those before its cut.
    lower: Ranked<Listed>,
    /// Upper bounds: a value passes those from its cut on.
    upper: Ranked<Listed>,
    equal: Ranked<Centre>,
    unequal: Ranked<Centre>,
    widest: f64,
    /// Where what a value qualifies for changes, each with whether anything may qualify from there on.
    cuts: Ranked<bool>,
    /// Whether anything may qualify that is less than all of these.
    some_below: bool,
}

/// Between which values what a [`ViewIndex`] qualifies for changes, which tells most values apart without it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// The least and the greatest rank at which it changes; the other way round if there is none.
    first: i64,
    last: i64,
    /// Whether anything may qualify that is less than both.
    some_below: bool,
}

impl Bounds {
    /// Of no thresholds.
    pub const NONE: Bounds = Bounds { first: i64::MAX, last: i64::MIN, some_below: false };

    /// As [`ViewIndex::crosses`] of the index whose bounds these are, which `index` gives where they don't tell.
    #[inline(always)]
    pub fn crosses<'a>(&self, old: Option<f64>, new: Option<f64>, index: impl FnOnce() -> Option<&'a ViewIndex>) -> bool {
        match (old.map(rank), new.map(rank)) {
            (Some(a), Some(b)) => {
                let (least, greatest) = (a.min(b), a.max(b));
                greatest >= self.first && least < self.last && index().is_some_and(|index| !index.cuts.is_none_between(least, greatest))
            }
            (Some(rank), None) | (None, Some(rank)) => (self.some_below || rank >= self.first) && index().is_some_and(|index| index.some(old.or(new))),
            (None, None) => false,
        }
    }

    /// The least whole number from which on nothing changes.
    pub fn end(&self) -> u64 {
        let last = unrank(self.last);
        match self.first <= self.last {
            true if last.is_nan() => u64::MAX,
            true => last.ceil() as u64,
            false => 0,
        }
    }
}

/// A number as an integer of the same place in IEEE total order.
#[inline]
fn rank(x: f64) -> i64 {
    let bits = x.to_bits() as i64;
    bits ^ ((bits >> 63) as u64 >> 1) as i64
}

/// The number of a [`rank`].
fn unrank(rank: i64) -> f64 {
    f64::from_bits((rank ^ ((rank >> 63) as u64 >> 1) as i64) as u64)
}

/// Items by rank, in rising order. Ranks are cut into buckets of equal width, some for each item; a table says where
/// each begins, so that a search looks at hardly more than one item, and has no branch that cannot be foretold.
#[derive(Debug, Clone)]
struct Ranked<T> {
    /// The least and the greatest rank; the other way round if there is none.
    first: i64,
    last: i64,
    ranks: Vec<i64>,
    items: Vec<T>,
    /// For each bucket, the number of items in those before it; and for one after the last.
    table: Vec<u32>,
    /// Width of a bucket, as a power of two.
    shift: u32,
}

impl<T: Copy> Ranked<T> {
    fn new(mut items: Vec<(i64, T)>) -> Self {
        items.sort_by_key(|(rank, _)| *rank);
        let (ranks, items): (Vec<i64>, Vec<T>) = items.into_iter().unzip();
        let (first, last) = (ranks.first().copied().unwrap_or(0), ranks.last().copied().unwrap_or(0));
        let span = last.wrapping_sub(first) as u64;
        let wanted = (items.len() as u64 * 2).next_power_of_two();
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(wanted.trailing_zeros());
        let mut table = vec![0; (span >> shift) as usize + 2];
        ranks.iter().for_each(|rank| table[(rank.wrapping_sub(first) as u64 >> shift) as usize + 1] += 1);
        (1..table.len()).for_each(|i| table[i] += table[i - 1]);
        let (first, last) = if ranks.is_empty() { (i64::MAX, i64::MIN) } else { (first, last) };
        Ranked { first, last, ranks, items, table, shift }
    }

    fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// The bucket of a rank that is neither less than the first nor greater than the last.
    #[inline]
    fn bucket(&self, rank: i64) -> usize {
        (rank.wrapping_sub(self.first) as u64 >> self.shift) as usize
    }

    /// How many items have this rank or a lesser one.
    #[inline]
    fn cut(&self, rank: i64) -> usize {
        if rank >= self.last {
            return self.ranks.len();
        }
        if rank < self.first {
            return 0;
        }
        let bucket = self.bucket(rank);
        let (from, to) = (self.table[bucket] as usize, self.table[bucket + 1] as usize);
        from + self.ranks[from..to].partition_point(|bound| *bound <= rank)
    }

    /// Whether two ranks have the same cut.
    #[inline(always)]
    fn is_same_cut(&self, a: i64, b: i64) -> bool {
        let (least, greatest) = (a.min(b), a.max(b));
        greatest < self.first || least >= self.last || self.is_none_between(least, greatest)
    }

    /// Whether no item lies after one rank and at or before the other, which are not both on the same side of all items.
    fn is_none_between(&self, least: i64, greatest: i64) -> bool {
        if least < self.first || greatest >= self.last {
            return false;
        }
        let (from, to) = (self.table[self.bucket(least)] as usize, self.table[self.bucket(greatest) + 1] as usize);
        let some = &self.ranks[from..to];
        some.get(some.partition_point(|rank| *rank <= least)).is_none_or(|next| greatest < *next)
    }

    /// The items from a cut on, with their ranks.
    fn from(&self, cut: usize) -> impl Iterator<Item = (i64, T)> {
        self.ranks[cut..].iter().copied().zip(self.items[cut..].iter().copied())
    }

    /// The items before a cut, from the last to the first.
    fn before(&self, cut: usize) -> impl Iterator<Item = (i64, T)> {
        self.ranks[..cut].iter().copied().zip(self.items[..cut].iter().copied()).rev()
    }
}

/// Where a centre's values begin and where they have ended, as ranks; none if there are no such values.
fn ends(t: &Threshold) -> Option<[i64; 2]> {
    let (centre, equal) = (rank(t.value), Threshold { compare: Compare::Eq, ..*t });
    let is_in = |rank: i64| passes(&equal, Some(unrank(rank)));
    // From the centre on, values are near first and then no more: the first that is not is found by halving.
    let end = |far: i64| {
        let (mut near, mut far) = (centre, far);
        while near.abs_diff(far) > 1 {
            let middle = ((i128::from(near) + i128::from(far)) / 2) as i64;
            *(if is_in(middle) { &mut near } else { &mut far }) = middle;
        }
        (near, far)
    };
    is_in(centre).then(|| [end(rank(f64::NEG_INFINITY).saturating_sub(1)).0, end(rank(f64::INFINITY).saturating_add(1)).1])
}

#[derive(Debug, Clone, Copy)]
struct Centre {
    threshold: Threshold,
    listed: Listed,
}

/// What [`ViewIndex::build`] gathers for a view: with the ranks of the least values at or beyond a bound.
struct Gathered {
    view: View,
    lower: Vec<(i64, Listed)>,
    upper: Vec<(i64, Listed)>,
    equal: Vec<(i64, Centre)>,
    unequal: Vec<(i64, Centre)>,
}

impl Gathered {
    fn add(&mut self, listed: Listed, threshold: Threshold) {
        let (at, after) = (rank(threshold.value), rank(threshold.value).saturating_add(1));
        match threshold.compare {
            Compare::Gt => self.lower.push((after, listed)),
            Compare::Gte => self.lower.push((at, listed)),
            Compare::Lt => self.upper.push((at, listed)),
            Compare::Lte => self.upper.push((after, listed)),
            Compare::Eq => self.equal.push((at, Centre { threshold, listed })),
            Compare::Neq => self.unequal.push((at, Centre { threshold, listed })),
        }
    }

    /// Where what a value qualifies for changes.
    fn cuts(&self) -> Ranked<bool> {
        let bounds = self.lower.iter().chain(&self.upper).map(|(rank, _)| *rank);
        let centres = self.equal.iter().chain(&self.unequal).filter_map(|(_, centre)| ends(&centre.threshold)).flatten();
        let mut cuts: Vec<i64> = bounds.chain(centres).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let (least, greatest) = (self.lower.iter().map(|x| x.0).min(), self.upper.iter().map(|x| x.0).max());
        let (mut begun, mut ended): (Vec<i64>, Vec<i64>) = self.equal.iter().filter_map(|(_, centre)| ends(&centre.threshold)).map(<(i64, i64)>::from).unzip();
        begun.sort_unstable();
        ended.sort_unstable();
        let equals = |cut: i64| begun.partition_point(|rank| *rank <= cut) > ended.partition_point(|rank| *rank <= cut);
        let some =
            |cut: i64| !self.unequal.is_empty() || equals(cut) || least.is_some_and(|least| least <= cut) || greatest.is_some_and(|greatest| cut < greatest);
        Ranked::new(cuts.into_iter().map(|cut| (cut, some(cut))).collect())
    }

    fn index(self) -> ViewIndex {
        let widest = self.equal.iter().chain(&self.unequal).map(|(_, c)| c.threshold.tolerance).fold(0.0, f64::max);
        let cuts = self.cuts();
        ViewIndex {
            cuts,
            some_below: !self.upper.is_empty() || !self.unequal.is_empty(),
            view: self.view,
            lower: Ranked::new(self.lower),
            upper: Ranked::new(self.upper),
            equal: Ranked::new(self.equal),
            unequal: Ranked::new(self.unequal),
            widest,
        }
    }
}

impl ViewIndex {
    /// Indexes the thresholds of segments, one [`ViewIndex`] for each view.
    pub fn build(thresholds: &[(Listed, Threshold)]) -> Vec<ViewIndex> {
        let mut views: Vec<Gathered> = vec![];
        for &(listed, t) in thresholds {
            let i = views.iter().position(|x| x.view == t.view).unwrap_or_else(|| {
                views.push(Gathered { view: t.view, lower: vec![], upper: vec![], equal: vec![], unequal: vec![] });
                views.len() - 1
            });
            views[i].add(listed, t);
        }
        views.into_iter().map(Gathered::index).collect()
    }

    /// The centres that a value may be as near to as their tolerance.
    #[inline]
    fn near(&self, centres: &Ranked<Centre>, x: f64) -> impl Iterator<Item = Centre> {
        // Somewhat wider than the tolerance, as each candidate is tested exactly.
        let slack = self.widest * 2.0 + x.abs() * 1e-12;
        let (least, greatest) = if slack.is_finite() { (rank(x - slack), rank(x + slack)) } else { (i64::MIN, i64::MAX) };
        centres.from(centres.cut(least.saturating_sub(1))).take_while(move |(rank, _)| *rank <= greatest).map(|(_, centre)| centre)
    }

    /// Between which values what qualifies changes.
    pub fn bounds(&self) -> Bounds {
        Bounds { first: self.cuts.first, last: self.cuts.last, some_below: self.some_below }
    }

    /// Whether a value that grows as events come can only begin to qualify, and never cease to: lower bounds
    /// on a count, a greatest value, or a sum of values none of which is negative.
    pub fn only_rises(&self) -> bool {
        let rises = matches!(self.view, View::Count(_) | View::Sum(_) | View::SumOrZero(_) | View::Max(_));
        rises && self.upper.is_empty() && self.equal.is_empty() && self.unequal.is_empty()
    }

    /// Whether a value, or one that rounding makes a little greater, passes the least lower bound.
    pub fn reaches(&self, value: Option<f64>) -> bool {
        !self.lower.is_empty() && value.is_some_and(|x| self.lower.first <= rank(x + x.abs() * 1e-9))
    }

    /// Calls `f` for each segment that a value qualifies for.
    #[inline]
    pub fn qualified(&self, value: Option<f64>, mut f: impl FnMut(Listed)) {
        let Some(x) = value else { return };
        self.lower.items[..self.lower.cut(rank(x))].iter().for_each(|b| f(*b));
        self.upper.items[self.upper.cut(rank(x))..].iter().for_each(|b| f(*b));
        if !self.equal.is_empty() {
            self.near(&self.equal, x).filter(|c| passes(&c.threshold, value)).for_each(|c| f(c.listed));
        }
        self.unequal.items.iter().filter(|c| passes(&c.threshold, value)).for_each(|c| f(c.listed));
    }

    /// Whether a value may qualify for something.
    #[inline]
    pub fn some(&self, value: Option<f64>) -> bool {
        let Some(x) = value else { return false };
        let rank = rank(x);
        if rank < self.cuts.first {
            return self.some_below;
        }
        self.cuts.cut(rank).checked_sub(1).is_some_and(|last| self.cuts.items[last])
    }

    /// Whether what two values qualify for may differ: false only if [`ViewIndex::flips`] has nothing to say.
    #[inline(always)]
    pub fn crosses(&self, old: Option<f64>, new: Option<f64>) -> bool {
        match (old, new) {
            (Some(a), Some(b)) => !self.cuts.is_same_cut(rank(a), rank(b)),
            (None, one) | (one, None) => self.some(one),
        }
    }

    /// Calls `f(segment, qualifies now)` for each segment whose outcome differs between two values.
    #[inline]
    pub fn flips(&self, old: Option<f64>, new: Option<f64>, mut f: impl FnMut(Listed, bool)) {
        let (Some(a), Some(b)) = (old, new) else {
            self.qualified(old, |s| f(s, false));
            self.qualified(new, |s| f(s, true));
            return;
        };
        if a.to_bits() == b.to_bits() {
            return;
        }
        let (from, to) = (rank(a), rank(b));
        for (bounds, rising) in [(&self.lower, true), (&self.upper, false)] {
            if bounds.is_empty() {
                continue;
            }
            // Few bounds, mostly none, lie between: one search, and a walk from there.
            let cut = bounds.cut(from);
            if from < to {
                bounds.from(cut).take_while(|(bound, _)| *bound <= to).for_each(|(_, x)| f(x, rising));
            } else {
                bounds.before(cut).take_while(|(bound, _)| *bound > to).for_each(|(_, x)| f(x, !rising));
            }
        }
        for centres in [&self.equal, &self.unequal].into_iter().filter(|centres| !centres.is_empty()) {
            for (here, seen) in [(a, None), (b, Some(a))] {
                for c in self.near(centres, here) {
                    let (was, is) = (passes(&c.threshold, old), passes(&c.threshold, new));
                    // A centre near both values is met twice; it is reported the first time.
                    let repeated = seen.is_some_and(|seen| self.near(centres, seen).any(|o| o.listed == c.listed));
                    if was != is && !repeated {
                        f(c.listed, is);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn threshold() -> impl Strategy<Value = Threshold> {
        let compare = prop::sample::select(vec![Compare::Gt, Compare::Gte, Compare::Lt, Compare::Lte, Compare::Eq, Compare::Neq]);
        (compare, -8i32..8, any::<bool>()).prop_map(|(compare, v, wide)| {
            let tolerance = if wide && matches!(compare, Compare::Eq | Compare::Neq) { 0.3 } else { 0.0 };
            Threshold { view: View::Sum(0), compare, value: f64::from(v) / 4.0, tolerance }
        })
    }

    /// Numbers of all sizes, some of which meet.
    fn wide() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-4i32..4).prop_map(f64::from),
            any::<f64>(),
            prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN_POSITIVE, f64::MAX, f64::MIN]),
            (1_500i32..20_000).prop_map(f64::from),
        ]
    }

    fn wide_threshold() -> impl Strategy<Value = Threshold> {
        let compare = prop::sample::select(vec![Compare::Gt, Compare::Gte, Compare::Lt, Compare::Lte, Compare::Eq, Compare::Neq]);
        let tolerance = prop::sample::select(vec![0.0, 0.0, 1e-6, 0.5]);
        (compare, wide(), tolerance).prop_map(|(compare, value, tolerance)| Threshold { view: View::Sum(0), compare, value, tolerance })
    }

    fn number() -> impl Strategy<Value = Option<f64>> {
        prop::option::weighted(0.9, (-10i32..10).prop_map(|v| f64::from(v) / 4.0))
    }

    fn agrees(ts: &[Threshold], a: Option<f64>, b: Option<f64>) -> Result<(), TestCaseError> {
        let listed: Vec<_> = ts.iter().enumerate().map(|(i, t)| (Listed { segment: i as u32, own_value: i % 2 == 0 }, *t)).collect();
        let (mut got, mut flipped) = (vec![], vec![]);
        for index in ViewIndex::build(&listed) {
            index.qualified(b, |s| got.push(s.segment));
            index.flips(a, b, |s, now| flipped.push((s.segment, now)));
            let (mut some, mut flips) = (false, false);
            index.qualified(b, |_| some = true);
            index.flips(a, b, |_, _| flips = true);
            prop_assert!(index.some(b) >= some, "{:?} qualifies for something", b);
            prop_assert!(index.crosses(a, b) >= flips, "{:?} to {:?} changes something", a, b);
            prop_assert!(!index.crosses(b, b) || b.is_none());
            prop_assert_eq!(index.bounds().crosses(a, b, || Some(&index)), index.crosses(a, b), "{:?} to {:?}", a, b);
            let end = index.bounds().end();
            let is_from_end = |value: Option<f64>| value.is_some_and(|value| value.fract() == 0.0 && (0.0..9e15).contains(&value) && value as u64 >= end);
            prop_assert!(!is_from_end(a) || !is_from_end(b) || !index.crosses(a, b), "nothing changes from {} on", end);
        }
        got.sort_unstable();
        flipped.sort_unstable();
        let want: Vec<u32> = listed.iter().filter(|(_, t)| passes(t, b)).map(|(s, _)| s.segment).collect();
        let changed = listed.iter().filter(|(_, t)| passes(t, a) != passes(t, b)).map(|(s, t)| (s.segment, passes(t, b)));
        prop_assert_eq!(got, want);
        // A segment may leave and enter in one flip from null; its last state counts.
        prop_assert_eq!(flipped, changed.collect::<Vec<(u32, bool)>>());
        Ok(())
    }

    #[test]
    fn values_between_two_thresholds_cross_nothing() {
        let at = |compare, value| (Listed { segment: 0, own_value: true }, Threshold { view: View::Sum(0), compare, value, tolerance: 0.0 });
        let equal = |value, tolerance| (Listed { segment: 0, own_value: true }, Threshold { view: View::Sum(0), compare: Compare::Eq, value, tolerance });
        let index = &ViewIndex::build(&[at(Compare::Gte, 5.0), at(Compare::Gt, 10.0), equal(20.0, 0.5)])[0];
        let crossings = [
            (0.0, 4.9, false),
            (4.9, 5.0, true),
            (5.0, 10.0, false),
            (10.0, 10.1, true),
            (11.0, 19.5, false),
            (11.0, 19.6, true),
            (19.6, 20.4, false),
            (20.4, 20.5, true),
        ];
        for (a, b, crosses) in crossings {
            assert_eq!((index.crosses(Some(a), Some(b)), index.crosses(Some(b), Some(a))), (crosses, crosses), "{a} to {b}");
        }
        let only_low = &ViewIndex::build(&[at(Compare::Gte, 5.0)])[0];
        assert!(!only_low.crosses(None, Some(4.0)) && only_low.crosses(None, Some(5.0)));
    }

    proptest! {
        #[test]
        fn index_agrees_with_each_threshold(ts in prop::collection::vec(threshold(), 0..20), a in number(), b in number()) {
            agrees(&ts, a, b)?;
        }

        #[test]
        fn index_agrees_with_thresholds_far_apart(ts in prop::collection::vec(wide_threshold(), 0..200), a in wide(), b in wide(), at in any::<prop::sample::Index>()) {
            agrees(&ts, Some(a), Some(b))?;
            if !ts.is_empty() {
                agrees(&ts, Some(a), Some(at.get(&ts).value))?;
            }
        }
    }
}
