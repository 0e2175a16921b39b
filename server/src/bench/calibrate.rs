//! Exact aggregates of generated events, from which the scenarios take their thresholds.
//!
//! A [`Table`] holds the events that a generator configuration gives, as numbers; a [`Filter`]
//! selects some of them, [`Table::groups`] folds those into one [`Group`] for each user and window,
//! and a [`Curve`] over the groups answers "which threshold gives about this many result rows?".
//!
//! Rows are counted as the engine emits them. With *Q* the groups that qualify and *X* those among
//! them whose user does not qualify in the next window (unless theirs is the last of the input):
//! - lower bounds (`>`, `>=`, EMIT CHANGES): 2 *Q* + *X*, for the crossing, the final value at the
//!   close and the exit at the close of the next window;
//! - everything else (EMIT FINAL): *Q* + *X*.
//!
//! Sums are counted in cents, as integers, so that nothing here depends on rounding. The one
//! simplification is an exit that does not happen because the user already qualifies in a window
//! that is still open; it concerns users who qualify in every second window.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::generate::{CATEGORIES, Draft, EventType, Generator, GeneratorConfig, PRODUCTS};

/// One test on an event's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Predicate {
    /// `category` is this one of [`CATEGORIES`].
    Category(u8),
    /// `category` is one of two.
    CategoryIn(u8, u8),
    /// `productId` is this product's.
    Product(u32),
    /// `productId` begins with these digits.
    ProductPrefix(u32),
    /// A view's `device`.
    Device(&'static str),
    /// A view's `referrer`.
    Referrer(&'static str),
    /// A purchase's `paymentMethod`.
    Payment(&'static str),
}

impl Predicate {
    fn matches(&self, draft: &Draft) -> bool {
        match *self {
            Self::Category(category) => draft.category == category,
            Self::CategoryIn(one, other) => draft.category == one || draft.category == other,
            Self::Product(product) => draft.product == product,
            Self::ProductPrefix(prefix) => has_prefix(draft.product, prefix),
            Self::Device(device) => draft.device() == device,
            Self::Referrer(referrer) => draft.referrer() == referrer,
            Self::Payment(method) => draft.payment_method() == method,
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let category = |index: u8| CATEGORIES[usize::from(index)];
        match *self {
            Self::Category(one) => write!(f, "metadata['category'] = '{}'", category(one)),
            Self::CategoryIn(one, other) => {
                let (one, other) = (category(one), category(other));
                write!(f, "metadata['category'] IN ('{one}', '{other}')")
            }
            Self::Product(product) => write!(f, "metadata['productId'] = 'prod_{product}'"),
            Self::ProductPrefix(prefix) => write!(f, "metadata['productId'] LIKE 'prod_{prefix}%'"),
            Self::Device(device) => write!(f, "metadata['device'] = '{device}'"),
            Self::Referrer(referrer) => write!(f, "metadata['referrer'] = '{referrer}'"),
            Self::Payment(method) => write!(f, "metadata['paymentMethod'] = '{method}'"),
        }
    }
}

fn has_prefix(mut product: u32, prefix: u32) -> bool {
    while product > prefix {
        product /= 10;
    }
    product == prefix
}

/// Which events a segment reads: those of one type that pass every predicate. Its `Display` is the
/// SQL condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Filter {
    /// The type of the events.
    pub(crate) kind: EventType,
    /// Tests on the metadata, all of which must hold.
    pub(crate) predicates: Vec<Predicate>,
}

impl From<EventType> for Filter {
    fn from(kind: EventType) -> Self {
        Self { kind, predicates: Vec::new() }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event_type = '{}'", self.kind.name())?;
        for predicate in &self.predicates {
            write!(f, " AND {predicate}")?;
        }
        Ok(())
    }
}

/// A window; all durations are in milliseconds. Its `Display` is the SQL table function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Window {
    /// `TUMBLE` of this size.
    Tumble(i64),
    /// `HOP`; the size is a multiple of the slide.
    Hop {
        /// From one window's start to the next one's.
        slide: i64,
        /// From a window's start to its end.
        size: i64,
    },
    /// `SESSION` that ends after a gap of this length.
    Session(i64),
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Tumble(size) => write!(f, "TUMBLE(events, event_time, {})", Interval(size)),
            Self::Hop { slide, size } => {
                let (slide, size) = (Interval(slide), Interval(size));
                write!(f, "HOP(events, event_time, {slide}, {size})")
            }
            Self::Session(gap) => write!(f, "SESSION(events, event_time, {})", Interval(gap)),
        }
    }
}

/// A duration of whole minutes as a SQL literal.
struct Interval(i64);

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0 / 60_000;
        match minutes {
            1440.. if minutes % 1440 == 0 => write!(f, "INTERVAL '{} days'", minutes / 1440),
            _ => write!(f, "INTERVAL '{minutes} minutes'"),
        }
    }
}

/// What a rule compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Measure {
    /// The number of events.
    Count,
    /// The sum of their values.
    Sum,
    /// The number of distinct products.
    Products,
}

/// What the events of one user in one window come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The user's rank.
    pub(crate) user: u32,
    /// The window's number: its start in slides since the epoch, or, for sessions, which one of the
    /// user's it is.
    pub(crate) window: i64,
    /// Events, or distinct products.
    count: u32,
    /// The sum of the values, in hundredths.
    cents: i64,
}

impl Group {
    /// The group's value: a number, or cents for a sum.
    pub(crate) fn value(&self, measure: Measure) -> i64 {
        match measure {
            Measure::Count | Measure::Products => i64::from(self.count),
            Measure::Sum => self.cents,
        }
    }
}

/// Generated events, indexed for selection.
pub(crate) struct Table {
    /// Ordered by user and time, which is what spares sorting for each filter.
    drafts: Vec<Draft>,
    /// Rows by type and category.
    by_category: FxHashMap<(EventType, u8), Vec<u32>>,
    /// Rows by product.
    by_product: Vec<Vec<u32>>,
    /// Events of the whole stream for each one held here.
    pub(crate) scale: f64,
    newest: i64,
}

impl Table {
    /// The events of a configuration, at most the first `limit` of them.
    pub(crate) fn generate(config: &GeneratorConfig, limit: u64) -> Self {
        let taken = config.events.min(limit).min(u64::from(u32::MAX));
        let mut generator = Generator::new(config.clone());
        let draw = std::iter::from_fn(|| generator.next_draft());
        let mut drafts: Vec<Draft> = draw.take(taken as usize).collect();
        drafts.sort_unstable_by_key(|draft| (draft.user, draft.time));
        let mut by_category: FxHashMap<_, Vec<u32>> = FxHashMap::default();
        let mut by_product = vec![Vec::new(); PRODUCTS as usize + 1];
        for (row, draft) in (0..).zip(&drafts) {
            let key = (draft.kind, draft.category);
            by_category.entry(key).or_default().push(row);
            by_product[draft.product as usize].push(row);
        }
        Self {
            newest: drafts.iter().map(|draft| draft.time).max().unwrap_or(0),
            scale: config.events as f64 / taken.max(1) as f64,
            drafts,
            by_category,
            by_product,
        }
    }

    /// The rows that pass a filter, ordered by user and time.
    pub(crate) fn select(&self, filter: &Filter) -> Vec<u32> {
        let passes = |row: &u32| {
            let draft = &self.drafts[*row as usize];
            draft.kind == filter.kind && filter.predicates.iter().all(|test| test.matches(draft))
        };
        let near = self.candidates(filter);
        let mut rows: Vec<u32> = near.into_iter().flatten().copied().filter(passes).collect();
        // A stable sort merges what is sorted already.
        rows.sort();
        rows
    }

    /// Index entries that hold all rows of a filter.
    fn candidates(&self, filter: &Filter) -> Vec<&[u32]> {
        let category = |wanted| {
            let rows = self.by_category.get(&(filter.kind, wanted));
            rows.map_or(&[][..], Vec::as_slice)
        };
        for predicate in &filter.predicates {
            match *predicate {
                Predicate::Category(one) => return vec![category(one)],
                Predicate::CategoryIn(one, other) => return vec![category(one), category(other)],
                Predicate::Product(product) => {
                    let rows = self.by_product.get(product as usize);
                    return rows.map(Vec::as_slice).into_iter().collect();
                }
                Predicate::ProductPrefix(prefix) => {
                    let rows = (0..).zip(&self.by_product);
                    let with_prefix = rows.filter(|(product, _)| has_prefix(*product, prefix));
                    return with_prefix.map(|(_, rows)| rows.as_slice()).collect();
                }
                _ => {}
            }
        }
        (0..CATEGORIES.len() as u8).map(category).collect()
    }

    /// The number of the last window of the input; nobody leaves after it.
    pub(crate) fn last_window(&self, window: Window) -> i64 {
        match window {
            Window::Tumble(slide) | Window::Hop { slide, .. } => self.newest.div_euclid(slide),
            Window::Session(_) => i64::MAX,
        }
    }

    /// Folds selected rows into groups, ordered by user and window. Hops over many slides keep only the
    /// users with the most events, the only ones that tails are made of.
    pub(crate) fn groups(&self, rows: &[u32], window: Window) -> Vec<Group> {
        match window {
            Window::Tumble(size) => fold(&self.keyed(rows, size, |draft| draft.cents)),
            Window::Hop { slide, size } => {
                let panes = fold(&self.keyed(rows, slide, |draft| draft.cents));
                slide_over(&panes, size / slide, self.drafts.len())
            }
            Window::Session(gap) => self.sessions(rows, gap),
        }
    }

    /// Groups of tumbling windows whose count is that of distinct products.
    pub(crate) fn distinct_products(&self, rows: &[u32], size: i64) -> Vec<Group> {
        let mut keyed = self.keyed(rows, size, |draft| draft.product);
        keyed.sort_unstable();
        keyed.dedup();
        fold(&keyed)
    }

    /// (User, pane, value) of each row, ordered by user and pane.
    fn keyed(&self, rows: &[u32], slide: i64, value: impl Fn(&Draft) -> u32) -> Vec<(u32, i64, u32)> {
        let of_row = |&row: &u32| {
            let draft = &self.drafts[row as usize];
            (draft.user, draft.time.div_euclid(slide), value(draft))
        };
        rows.iter().map(of_row).collect()
    }

    fn sessions(&self, rows: &[u32], gap: i64) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let mut end = i64::MIN;
        for (user, time, cents) in self.keyed(rows, 1, |draft| draft.cents) {
            let number = match groups.last_mut() {
                Some(group) if group.user == user && time < end => {
                    group.count += 1;
                    group.cents += i64::from(cents);
                    end = time + gap;
                    continue;
                }
                Some(group) if group.user == user => group.window + 1,
                _ => 0,
            };
            end = time + gap;
            groups.push(single(user, number, cents));
        }
        groups
    }
}

fn single(user: u32, window: i64, cents: u32) -> Group {
    Group { user, window, count: 1, cents: i64::from(cents) }
}

/// Adds up neighbours of the same user and window.
fn fold(keyed: &[(u32, i64, u32)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for &(user, window, cents) in keyed {
        match groups.last_mut() {
            Some(group) if group.user == user && group.window == window => {
                group.count += 1;
                group.cents += i64::from(cents);
            }
            _ => groups.push(single(user, window, cents)),
        }
    }
    groups
}

/// Hops of `width` slides from panes of one slide.
fn slide_over(panes: &[Group], width: i64, events: usize) -> Vec<Group> {
    let users: Vec<&[Group]> = panes.chunk_by(|one, next| one.user == next.user).collect();
    let least = if width < 100 { 0 } else { least_events(&users, 64 + events / width as usize) };
    let mut groups = Vec::new();
    for panes in users.into_iter().filter(|panes| events_of(panes) >= least) {
        slide_over_user(panes, width, &mut groups);
    }
    groups
}

fn events_of(panes: &[Group]) -> u64 {
    panes.iter().map(|pane| u64::from(pane.count)).sum()
}

/// The number of events that the busiest `kept` users have at least.
fn least_events(users: &[&[Group]], kept: usize) -> u64 {
    let mut events: Vec<u64> = users.iter().map(|panes| events_of(panes)).collect();
    events.sort_unstable_by(|one, other| other.cmp(one));
    events.get(kept).copied().unwrap_or(0)
}

fn slide_over_user(panes: &[Group], width: i64, groups: &mut Vec<Group>) {
    let (Some(first), Some(last)) = (panes.first(), panes.last()) else {
        return;
    };
    let (mut tail, mut head, mut count, mut cents) = (0, 0, 0, 0);
    for window in first.window - width + 1..=last.window {
        while panes.get(head).is_some_and(|pane| pane.window < window + width) {
            count += panes[head].count;
            cents += panes[head].cents;
            head += 1;
        }
        while tail < head && panes[tail].window < window {
            count -= panes[tail].count;
            cents -= panes[tail].cents;
            tail += 1;
        }
        if count > 0 {
            groups.push(Group { user: first.user, window, count, cents });
        }
    }
}

/// Thresholds that give the same rows, and how many those are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// The least threshold, in the units of [`Group::value`].
    pub(crate) least: i64,
    /// The largest threshold.
    pub(crate) most: i64,
    /// Result rows.
    pub(crate) rows: u64,
}

/// The distribution of the groups' values, which tells the result rows of any threshold.
pub(crate) struct Curve {
    /// Every group's value, sorted like the rest.
    all: Vec<i64>,
    /// The values of groups that are not in the last window.
    leaving: Vec<i64>,
    /// The smaller value of each group and the same user's in the next window.
    lower: Vec<i64>,
    /// The larger one of those.
    upper: Vec<i64>,
}

impl Curve {
    /// The curve of groups ordered by user and window.
    pub(crate) fn new(groups: &[Group], measure: Measure, last_window: i64) -> Self {
        let mut curve = Self { all: groups.iter().map(|group| group.value(measure)).collect(), leaving: Vec::new(), lower: Vec::new(), upper: Vec::new() };
        for (index, group) in groups.iter().enumerate() {
            if group.window >= last_window {
                continue;
            }
            let value = group.value(measure);
            curve.leaving.push(value);
            if let Some(next) = follower(groups, index) {
                let next = next.value(measure);
                curve.lower.push(value.min(next));
                curve.upper.push(value.max(next));
            }
        }
        let Self { all, leaving, lower, upper } = &mut curve;
        for values in [all, leaving, lower, upper] {
            values.sort_unstable();
        }
        curve
    }

    /// Rows of "value above `threshold`", EMIT CHANGES.
    pub(crate) fn rows_above(&self, threshold: i64) -> u64 {
        let above = |values: &[i64]| {
            let at = values.partition_point(|&value| value <= threshold);
            (values.len() - at) as u64
        };
        2 * above(&self.all) + above(&self.leaving) - above(&self.lower)
    }

    /// Rows of "value below `threshold`", EMIT FINAL.
    pub(crate) fn rows_below(&self, threshold: i64) -> u64 {
        let below = |values: &[i64]| values.partition_point(|&value| value < threshold) as u64;
        below(&self.all) + below(&self.leaving) - below(&self.upper)
    }

    /// Rows when every group qualifies, EMIT FINAL.
    pub(crate) fn rows_of_all(&self) -> u64 {
        self.rows_below(i64::MAX)
    }

    /// The fewest rows above none that "value below a threshold" can have.
    pub(crate) fn fewest_below(&self) -> u64 {
        self.all.first().map_or(0, |&least| self.rows_below(least + 1))
    }

    /// The thresholds for "value above" whose rows come nearest to `target`.
    pub(crate) fn pick_above(&self, target: f64) -> Pick {
        let at = self.search(|value| self.rows_above(value) as f64 > target);
        let near = self.all.get(at).or(self.all.last()).copied().unwrap_or(0);
        let before = self.before(near);
        let rows = |threshold| self.rows_above(threshold);
        let least = nearest([near, before.unwrap_or(near - 1)], target, rows);
        let most = match self.after(least) {
            Some(next) => next - 1,
            None => least + least.abs() / 4,
        };
        Pick { least, most, rows: self.rows_above(least) }
    }

    /// The thresholds for "value below" whose rows come nearest to `target`.
    pub(crate) fn pick_below(&self, target: f64) -> Pick {
        let at = self.search(|value| self.rows_below(value) as f64 <= target);
        let near = self.all.get(at).or(self.all.last()).copied().unwrap_or(0);
        let before = self.before(near).unwrap_or(near);
        let next = self.after(near).unwrap_or(near + 1);
        let rows = |threshold| self.rows_below(threshold);
        let most = nearest([near, before, next], target, rows);
        Pick { least: self.before(most).map_or(most, |value| value + 1), most, rows: self.rows_below(most) }
    }

    /// The first index whose value is not `inside`, which holds up to there only.
    fn search(&self, inside: impl Fn(i64) -> bool) -> usize {
        self.all.partition_point(|&value| inside(value))
    }

    /// The largest value below this one.
    fn before(&self, value: i64) -> Option<i64> {
        let at = self.search(|other| other < value);
        at.checked_sub(1).map(|at| self.all[at])
    }

    /// The least value above this one.
    fn after(&self, value: i64) -> Option<i64> {
        self.all.get(self.search(|other| other <= value)).copied()
    }
}

/// The same user's group in the next window.
fn follower(groups: &[Group], index: usize) -> Option<&Group> {
    let (group, next) = (&groups[index], groups.get(index + 1)?);
    (next.user == group.user && next.window == group.window + 1).then_some(next)
}

fn nearest<const N: usize>(thresholds: [i64; N], target: f64, rows: impl Fn(i64) -> u64) -> i64 {
    let distance = |threshold: i64| (rows(threshold) as f64 - target).abs();
    let best = |best: i64, other: i64| {
        if distance(other) < distance(best) { other } else { best }
    };
    thresholds.into_iter().reduce(best).unwrap_or(0)
}

/// Values and the rows of "value equals", EMIT FINAL, ordered by rows.
pub(crate) struct Exact(Vec<(i64, u64)>);

impl Exact {
    /// The values of groups ordered by user and window.
    pub(crate) fn new(groups: &[Group], measure: Measure, last_window: i64) -> Self {
        let mut rows: FxHashMap<i64, u64> = FxHashMap::default();
        for (index, group) in groups.iter().enumerate() {
            let value = group.value(measure);
            let next = follower(groups, index).map(|next| next.value(measure));
            let leaves = group.window < last_window && next != Some(value);
            *rows.entry(value).or_default() += 1 + u64::from(leaves);
        }
        let mut values: Vec<_> = rows.into_iter().collect();
        values.sort_unstable_by_key(|&(value, rows)| (rows, value));
        Self(values)
    }

    /// A value whose rows are near `target`; `draw` in [0, 1) chooses among its neighbours.
    pub(crate) fn pick(&self, target: f64, draw: f64) -> Option<(i64, u64)> {
        let last = self.0.len().checked_sub(1)?;
        let at = self.0.partition_point(|&(_, rows)| (rows as f64) < target);
        let same = self.0[at.min(last)].1;
        let start = self.0.partition_point(|&(_, rows)| rows < same.min(self.0[last].1));
        let end = self.0.partition_point(|&(_, rows)| rows <= same);
        let index = start + ((end - start) as f64 * draw) as usize;
        Some(self.0[index.min(last)])
    }

    /// The rows of the rarest value.
    pub(crate) fn fewest(&self) -> u64 {
        self.0.first().map_or(0, |&(_, rows)| rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn config() -> GeneratorConfig {
        GeneratorConfig { events: 20_000, users: 200, span_ms: 180 * MINUTE, ..GeneratorConfig::default() }
    }

    fn group(user: u32, window: i64, count: u32) -> Group {
        Group { user, window, count, cents: i64::from(count) * 100 }
    }

    #[test]
    fn groups_hold_every_event_once() {
        let table = Table::generate(&config(), 10_000);
        assert_eq!(table.scale, 2.0);
        let rows = table.select(&EventType::View.into());
        let total = |groups: Vec<Group>| groups.iter().map(|group| group.count).sum::<u32>();
        for window in [Window::Tumble(5 * MINUTE), Window::Session(5 * MINUTE)] {
            assert_eq!(total(table.groups(&rows, window)) as usize, rows.len(), "{window}");
        }
        let hop = Window::Hop { slide: 5 * MINUTE, size: 60 * MINUTE };
        assert_eq!(total(table.groups(&rows, hop)) as usize, 12 * rows.len());
        let distinct = table.distinct_products(&rows, 60 * MINUTE);
        assert!(total(distinct) < rows.len() as u32);
    }

    #[test]
    fn indexes_select_what_a_scan_selects() {
        let table = Table::generate(&config(), u64::MAX);
        let tests = [
            vec![],
            vec![Predicate::Device("mobile")],
            vec![Predicate::Category(3), Predicate::Referrer("email")],
            vec![Predicate::CategoryIn(0, 2)],
            vec![Predicate::Product(17)],
            vec![Predicate::ProductPrefix(24)],
        ];
        for predicates in tests {
            let filter = Filter { kind: EventType::View, predicates };
            let passes = |draft: &&Draft| draft.kind == filter.kind && filter.predicates.iter().all(|test| test.matches(draft));
            let scanned = table.drafts.iter().filter(passes).count();
            assert_eq!(table.select(&filter).len(), scanned, "{filter}");
            assert!(scanned > 0, "{filter}");
        }
    }

    #[test]
    fn hops_are_the_sums_of_their_panes() {
        let panes = [group(1, 10, 2), group(1, 12, 3), group(2, 4, 1)];
        let hops = slide_over(&panes, 3, 0);
        let expected = [(1, 8, 2), (1, 9, 2), (1, 10, 5), (1, 11, 3), (1, 12, 3), (2, 2, 1), (2, 3, 1), (2, 4, 1)];
        let expected = expected.map(|(user, window, count)| group(user, window, count));
        assert_eq!(hops, expected);
    }

    #[test]
    fn rows_are_those_of_crossings_finals_and_exits() {
        let groups = [group(1, 1, 5), group(1, 2, 3), group(1, 4, 9), group(2, 1, 5), group(2, 2, 6)];
        let curve = Curve::new(&groups, Measure::Count, 4);
        // Above 4: four groups; user 1 leaves after window 1, user 2 after window 2.
        assert_eq!(curve.rows_above(4), 4 * 2 + 2);
        // Below 6: user 1 in windows 1 and 2, leaving after 2; user 2 in 1, leaving after it.
        assert_eq!(curve.rows_below(6), 3 + 2);
        assert_eq!(curve.rows_of_all(), 5 + 2);
        let exact = Exact::new(&groups, Measure::Count, 4);
        assert_eq!(exact.pick(4.0, 0.0), Some((5, 4)));
        assert_eq!(exact.fewest(), 1);
    }

    #[test]
    fn picks_come_near_their_target() {
        let groups: Vec<Group> = (0..1000).map(|user| group(user, 1, user + 1)).collect();
        let curve = Curve::new(&groups, Measure::Sum, 9);
        let above = curve.pick_above(30.0);
        assert_eq!((above.least, above.most, above.rows), (99_000, 99_099, 30));
        let below = curve.pick_below(30.0);
        assert_eq!((below.least, below.most, below.rows), (1501, 1600, 30));
        assert_eq!(curve.pick_above(0.0).rows, 0);
        assert_eq!(curve.pick_above(1e9).rows, 3000);
        assert_eq!(curve.pick_below(0.0).rows, 0);
        assert_eq!(curve.pick_below(1e9).rows, 2000);
    }

    #[test]
    fn no_events_give_no_rows() {
        let curve = Curve::new(&[], Measure::Count, 0);
        assert_eq!(curve.pick_above(10.0).rows, 0);
        assert_eq!(curve.pick_below(10.0).rows, 0);
        assert_eq!(Exact::new(&[], Measure::Sum, 0).pick(3.0, 0.5), None);
    }

    #[test]
    fn conditions_and_windows_are_sql() {
        let filter = Filter { kind: EventType::Purchase, predicates: vec![Predicate::Category(6), Predicate::ProductPrefix(24)] };
        let condition = "event_type = 'purchase' AND metadata['category'] = 'toys' \
                         AND metadata['productId'] LIKE 'prod_24%'";
        assert_eq!(filter.to_string(), condition);
        let hop = Window::Hop { slide: 60 * MINUTE, size: 30 * 1440 * MINUTE };
        let text = "HOP(events, event_time, INTERVAL '60 minutes', INTERVAL '30 days')";
        assert_eq!(hop.to_string(), text);
    }
}
