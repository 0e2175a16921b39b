//! `derived-rules`: combinations of base segments on the same window.
//!
//! JOIN and UNION of lower bounds are counted as EMIT CHANGES, like the base segments; LEFT ANTI
//! JOIN, which more events can undo, says EMIT FINAL.

use std::fmt::Write as _;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::segments::{Query, simple};
use super::{Budget, Kind, Params, SIZES, Workload, mixed, table};
use crate::bench::calibrate::{Curve, Group, Pick, Table, Window};

/// Users' windows, sorted: the upper half is the user, the lower the window's number.
type Members = Vec<u64>;

/// One aggregate in one size of window, which base segments put thresholds on.
struct Ranking {
    query: Query,
    curve: Curve,
    /// (Value, member) of each group, the largest first.
    groups: Vec<(i64, u64)>,
    last_window: u32,
}

impl Ranking {
    fn new(table: &Table, from_ms: i64, index: usize, size: i64) -> Self {
        let query = simple(index, Window::Tumble(size));
        let groups = query.groups(table, &table.select(&query.filter));
        let first = from_ms.div_euclid(size);
        let last = table.last_window(query.window);
        let ranked = |group: &Group| {
            let window = (group.window - first) as u64;
            (group.value(query.measure), u64::from(group.user) << 32 | window)
        };
        let mut ranking: Vec<_> = groups.iter().map(ranked).collect();
        ranking.sort_unstable_by(|one, other| other.cmp(one));
        Self { curve: Curve::new(&groups, query.measure, last), groups: ranking, last_window: (last - first) as u32, query }
    }

    fn above(&self, value: i64) -> Members {
        let end = self.groups.partition_point(|&(other, _)| other > value);
        let mut members: Members = self.groups[..end].iter().map(|&(_, who)| who).collect();
        members.sort_unstable();
        members
    }
}

/// How a derived segment combines two others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Combine {
    Join,
    Union,
    AntiJoin,
}

impl Combine {
    fn apply(self, left: &Members, right: &Members) -> Members {
        let has = |who: &u64| right.binary_search(who).is_ok();
        match self {
            Self::Join => left.iter().copied().filter(has).collect(),
            Self::AntiJoin => left.iter().copied().filter(|who| !has(who)).collect(),
            Self::Union => {
                let mut both: Members = left.iter().chain(right).copied().collect();
                both.sort_unstable();
                both.dedup();
                both
            }
        }
    }

    /// Appends the statement.
    pub(super) fn write(self, out: &mut String, name: &str, left: &str, right: &str) {
        const ON: &str = "USING (user_id, window_start, window_end)";
        // Writing to a string can't fail.
        let _ = match self {
            Self::Join => write!(
                out,
                "CREATE SEGMENT {name} AS\n\
                 SELECT a.user_id, a.value + b.value AS value\n\
                 FROM {left} a JOIN {right} b {ON};\n\n"
            ),
            Self::Union => write!(
                out,
                "CREATE SEGMENT {name} AS\n\
                 SELECT user_id, window_start, window_end FROM {left}\n\
                 UNION\n\
                 SELECT user_id, window_start, window_end FROM {right};\n\n"
            ),
            Self::AntiJoin => write!(
                out,
                "CREATE SEGMENT {name} AS\n\
                 SELECT a.user_id, a.value\n\
                 FROM {left} a LEFT ANTI JOIN {right} b {ON}\n\
                 EMIT FINAL;\n\n"
            ),
        };
    }
}

/// A segment of the scenario.
enum Segment {
    /// A threshold on a ranking; the factor is its share of the rows relative to other ones.
    Base { ranking: usize, factor: f64 },
    /// Two earlier segments, by their numbers, with windows of the same size.
    Derived { combine: Combine, left: usize, right: usize, ranking: usize },
}

impl Segment {
    fn combines_by(&self, wanted: Combine) -> bool {
        matches!(self, Self::Derived { combine, .. } if *combine == wanted)
    }

    const fn ranking(&self) -> usize {
        match self {
            Self::Base { ranking, .. } | Self::Derived { ranking, .. } => *ranking,
        }
    }
}

/// The segments of `derived-rules`: base ones first.
struct Family {
    rankings: Vec<Ranking>,
    segments: Vec<Segment>,
}

impl Family {
    /// The segments by size of window; with few base segments there is one size only.
    fn new(params: &Params, table: &Table, from_ms: i64, budget: &mut Budget) -> Self {
        const AGGREGATES: usize = 6;
        let bases = (params.rules / 10).max(2);
        let sizes = if bases < 2 * SIZES.len() { 1 } else { SIZES.len() };
        let ranking = |at: usize| Ranking::new(table, from_ms, at % AGGREGATES, SIZES[at / AGGREGATES]);
        let mut family = Self { rankings: (0..sizes * AGGREGATES).map(ranking).collect(), segments: Vec::with_capacity(bases + params.rules) };
        for base in 0..bases {
            family.segments.push(Segment::Base { ranking: base % sizes * AGGREGATES + base / sizes % AGGREGATES, factor: budget.factor() });
        }
        let mut latest = vec![None; sizes];
        for derived in 0..params.rules {
            let nested = latest[derived % sizes].filter(|_| derived % 5 == 4);
            let segment = family.derive(derived, (bases, sizes), nested, &mut budget.rng);
            if !segment.combines_by(Combine::Union) {
                latest[derived % sizes] = Some(family.segments.len());
            }
            family.segments.push(segment);
        }
        family
    }

    /// A derived segment of two base ones, or of `nested` and one.
    fn derive(&self, index: usize, (bases, sizes): (usize, usize), nested: Option<usize>, rng: &mut ChaCha8Rng) -> Segment {
        let size = index % sizes;
        let of_size = (bases - size).div_ceil(sizes);
        let one = rng.random_range(0..of_size);
        let other = (one + rng.random_range(1..of_size.max(2))) % of_size;
        let right = size + other * sizes;
        Segment::Derived {
            combine: [Combine::Join, Combine::Union, Combine::AntiJoin][index / sizes % 3],
            left: nested.unwrap_or(size + one * sizes),
            right,
            ranking: self.segments[right].ranking(),
        }
    }

    /// The thresholds of the base segments when each gives about `target` rows times its factor,
    /// and the rows of all segments.
    fn evaluate(&self, target: f64) -> (Vec<Pick>, u64) {
        let (mut picks, mut sets) = (Vec::new(), Vec::<Members>::new());
        let mut rows = 0;
        for segment in &self.segments {
            let last_window = self.rankings[segment.ranking()].last_window;
            let members = match *segment {
                Segment::Base { ranking, factor } => {
                    let ranking = &self.rankings[ranking];
                    let pick = ranking.curve.pick_above(target * factor);
                    picks.push(pick);
                    ranking.above(pick.least)
                }
                Segment::Derived { combine, left, right, .. } => combine.apply(&sets[left], &sets[right]),
            };
            let is_final = segment.combines_by(Combine::AntiJoin);
            let crossings = if is_final { 0 } else { members.len() as u64 };
            rows += crossings + members.len() as u64 + exits(&members, last_window);
            sets.push(members);
        }
        (picks, rows)
    }

    /// The thresholds that give about `wanted` rows in all, and the rows they give.
    fn fit(&self, wanted: f64) -> (Vec<Pick>, u64) {
        let mut target = wanted / self.segments.len() as f64;
        let mut best = self.evaluate(target);
        for _ in 0..8 {
            let (_, rows) = best;
            let ratio = wanted / rows.max(1) as f64;
            if (0.95..1.05).contains(&ratio) {
                break;
            }
            target *= ratio.clamp(0.25, 4.0);
            let next = self.evaluate(target);
            if next.1.abs_diff(wanted as u64) < rows.abs_diff(wanted as u64) {
                best = next;
            }
        }
        best
    }

    fn write(&self, picks: &[Pick], budget: &mut Budget) -> String {
        let bases = picks.len();
        let name = |index: usize| match index.checked_sub(bases) {
            None => format!("base_{index}"),
            Some(index) => format!("derived_{index}"),
        };
        let mut text = String::new();
        for (index, segment) in self.segments.iter().enumerate() {
            match *segment {
                Segment::Base { ranking, .. } => {
                    let value = budget.any_of(picks[index]);
                    let query = &self.rankings[ranking].query;
                    query.write(&mut text, &name(index), index, value);
                }
                Segment::Derived { combine, left, right, .. } => {
                    combine.write(&mut text, &name(index), &name(left), &name(right));
                }
            }
        }
        text
    }
}

/// Members who are none in the next window.
fn exits(members: &Members, last_window: u32) -> u64 {
    let leaves = |&(index, &who): &(usize, &u64)| (who as u32) < last_window && members.get(index + 1) != Some(&(who + 1));
    members.iter().enumerate().filter(leaves).count() as u64
}

pub(super) fn derived(params: &Params) -> Workload {
    let generator = mixed(params);
    let table = table(&generator, None);
    let mut budget = Budget::new(params, table.scale);
    let family = Family::new(params, &table, generator.from_ms, &mut budget);
    let (picks, rows) = family.fit(budget.rows);
    budget.spend(rows);
    Workload {
        kind: Kind::Sql,
        text: family.write(&picks, &mut budget),
        segments: family.segments.len(),
        generator,
        expected_results: budget.expected_results(),
    }
}
