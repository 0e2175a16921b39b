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
#[inline]
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

/// All thresholds on one view.
#[derive(Debug, Clone)]
pub struct ViewIndex {
    /// The view.
    pub view: View,
    /// Lower bounds in rising order; a value passes those before its cut.
    lower: Vec<Bound>,
    /// Upper bounds in rising order; a value passes those from its cut on.
    upper: Vec<Bound>,
    equal: Vec<Centre>,
    unequal: Vec<Centre>,
    widest: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bound {
    at: f64,
    /// Whether the value at the threshold itself is on the side of smaller values.
    above: bool,
    segment: u32,
}

impl Bound {
    #[inline]
    fn is_below(&self, x: f64) -> bool {
        match self.at.total_cmp(&x) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => !self.above,
            std::cmp::Ordering::Greater => false,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Centre {
    threshold: Threshold,
    segment: u32,
}

impl ViewIndex {
    /// Indexes the thresholds of segments, one [`ViewIndex`] for each view.
    pub fn build(thresholds: &[(u32, Threshold)]) -> Vec<ViewIndex> {
        let mut indexes: Vec<ViewIndex> = vec![];
        for &(segment, t) in thresholds {
            let i = indexes.iter().position(|x| x.view == t.view).unwrap_or_else(|| {
                indexes.push(ViewIndex { view: t.view, lower: vec![], upper: vec![], equal: vec![], unequal: vec![], widest: 0.0 });
                indexes.len() - 1
            });
            indexes[i].insert(segment, t);
        }
        for index in &mut indexes {
            let order = |a: &Bound, b: &Bound| a.at.total_cmp(&b.at).then(a.above.cmp(&b.above));
            index.lower.sort_by(order);
            index.upper.sort_by(order);
            index.equal.sort_by(|a, b| a.threshold.value.total_cmp(&b.threshold.value));
            index.unequal.sort_by(|a, b| a.threshold.value.total_cmp(&b.threshold.value));
        }
        indexes
    }

    fn insert(&mut self, segment: u32, t: Threshold) {
        let bound = |above| Bound { at: t.value, above, segment };
        match t.compare {
            Compare::Gt => self.lower.push(bound(true)),
            Compare::Gte => self.lower.push(bound(false)),
            Compare::Lt => self.upper.push(bound(false)),
            Compare::Lte => self.upper.push(bound(true)),
            Compare::Eq => self.equal.push(Centre { threshold: t, segment }),
            Compare::Neq => self.unequal.push(Centre { threshold: t, segment }),
        }
        self.widest = self.widest.max(t.tolerance);
    }

    /// How many bounds lie below `x` (at `x` itself: those whose `above` is false).
    #[inline]
    fn cut(bounds: &[Bound], x: f64) -> usize {
        bounds.partition_point(|b| b.is_below(x))
    }

    fn near_range<'a>(&self, centres: &'a [Centre], x: f64) -> &'a [Centre] {
        if centres.is_empty() {
            return centres;
        }
        // Somewhat wider than the tolerance, as each candidate is tested exactly.
        let slack = self.widest * 2.0 + x.abs() * 1e-12;
        let from = centres.partition_point(|c| c.threshold.value < x - slack);
        let to = centres.partition_point(|c| c.threshold.value <= x + slack);
        if from < to { &centres[from..to] } else { &[] }
    }

    /// Whether a value that grows as events come can only begin to qualify, and never cease to: lower bounds
    /// on a count, a greatest value, or a sum of values none of which is negative.
    pub fn only_rises(&self) -> bool {
        let rises = matches!(self.view, View::Count(_) | View::Sum(_) | View::SumOrZero(_) | View::Max(_));
        rises && self.upper.is_empty() && self.equal.is_empty() && self.unequal.is_empty()
    }

    /// Whether a value, or one that rounding makes a little greater, passes the least lower bound.
    pub fn reaches(&self, value: Option<f64>) -> bool {
        value.zip(self.lower.first()).is_some_and(|(x, least)| least.is_below(x + x.abs() * 1e-9))
    }

    /// Calls `f` for each segment that a value qualifies for.
    #[inline]
    pub fn qualified(&self, value: Option<f64>, mut f: impl FnMut(u32)) {
        let Some(x) = value else { return };
        if !self.lower.is_empty() {
            self.lower[..Self::cut(&self.lower, x)].iter().for_each(|b| f(b.segment));
        }
        if !self.upper.is_empty() {
            self.upper[Self::cut(&self.upper, x)..].iter().for_each(|b| f(b.segment));
        }
        for c in self.near_range(&self.equal, x) {
            if passes(&c.threshold, value) {
                f(c.segment);
            }
        }
        for c in &self.unequal {
            if passes(&c.threshold, value) {
                f(c.segment);
            }
        }
    }

    /// Calls `f(segment, qualifies now)` for each segment whose outcome differs between two values.
    #[inline]
    pub fn flips(&self, old: Option<f64>, new: Option<f64>, mut f: impl FnMut(u32, bool)) {
        let (Some(a), Some(b)) = (old, new) else {
            self.qualified(old, |s| f(s, false));
            self.qualified(new, |s| f(s, true));
            return;
        };
        if a.to_bits() == b.to_bits() {
            return;
        }
        for (bounds, rising) in [(&self.lower, true), (&self.upper, false)] {
            if bounds.is_empty() {
                continue;
            }
            // Few bounds, mostly none, lie between: one search, and a walk from there.
            let from = Self::cut(bounds, a);
            if a.total_cmp(&b).is_lt() {
                bounds[from..].iter().take_while(|bound| bound.is_below(b)).for_each(|x| f(x.segment, rising));
            } else {
                bounds[..from].iter().rev().take_while(|bound| !bound.is_below(b)).for_each(|x| f(x.segment, !rising));
            }
        }
        for centres in [&self.equal, &self.unequal] {
            for (here, other) in [(a, b), (b, a)] {
                for c in self.near_range(centres, here) {
                    let (was, is) = (passes(&c.threshold, old), passes(&c.threshold, new));
                    // A centre near both values is met twice; it is reported the first time.
                    let repeated = here == b && self.near_range(centres, other).iter().any(|o| o.segment == c.segment);
                    if was != is && !repeated {
                        f(c.segment, is);
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

    fn number() -> impl Strategy<Value = Option<f64>> {
        prop::option::weighted(0.9, (-10i32..10).prop_map(|v| f64::from(v) / 4.0))
    }

    proptest! {
        #[test]
        fn index_agrees_with_each_threshold(ts in prop::collection::vec(threshold(), 0..20), a in number(), b in number()) {
            let listed: Vec<_> = ts.iter().enumerate().map(|(i, t)| (i as u32, *t)).collect();
            let mut got = vec![];
            let mut flipped = vec![];
            for index in ViewIndex::build(&listed) {
                index.qualified(b, |s| got.push(s));
                index.flips(a, b, |s, now| flipped.push((s, now)));
            }
            got.sort_unstable();
            flipped.sort_unstable();
            let want: Vec<u32> = listed.iter().filter(|(_, t)| passes(t, b)).map(|(s, _)| *s).collect();
            let changed: Vec<(u32, bool)> = listed.iter().filter(|(_, t)| passes(t, a) != passes(t, b)).map(|(s, t)| (*s, passes(t, b))).collect();
            prop_assert_eq!(got, want);
            // A segment may leave and enter in one flip from null; its last state counts.
            prop_assert_eq!(flipped, changed);
        }
    }
}
