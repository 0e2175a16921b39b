//! Base segments in SQL: one filter, one window, one aggregate and a lower bound on it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::{Budget, Kind, Params, SIZES, Workload, above, rule_numbers, table};
use crate::bench::calibrate::{Curve, Filter, Group, Measure, Predicate, Table, Window};
use crate::generate::{CATEGORIES, DEVICES, EventType, GeneratorConfig, PAYMENT_METHODS, PRODUCTS, REFERRERS};

/// What a base segment aggregates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Query {
    pub(super) filter: Filter,
    pub(super) window: Window,
    pub(super) measure: Measure,
}

impl Query {
    /// The rows that pass the filter, folded into groups.
    pub(super) fn groups(&self, table: &Table, rows: &[u32]) -> Vec<Group> {
        match (self.measure, self.window) {
            (Measure::Products, Window::Tumble(size)) => table.distinct_products(rows, size),
            _ => table.groups(rows, self.window),
        }
    }

    /// Appends the statement for "more than `value`", or "at least" for odd ones.
    pub(super) fn write(&self, out: &mut String, name: &str, index: usize, value: i64) {
        let aggregate = match self.measure {
            Measure::Count => "count(*)",
            Measure::Sum => "sum(value)",
            Measure::Products => "count(DISTINCT metadata['productId'])",
        };
        let or_equal = index % 2 == 1;
        let whole = self.measure != Measure::Sum;
        let threshold = above(self.measure, value + i64::from(or_equal && whole));
        let operator = if or_equal { ">=" } else { ">" };
        let Self { filter, window, .. } = self;
        // Writing to a string can't fail.
        let _ = write!(
            out,
            "CREATE SEGMENT {name} AS\n\
             SELECT user_id, {aggregate} AS value\n\
             FROM {window}\n\
             WHERE {filter}\n\
             GROUP BY user_id, window_start, window_end\n\
             HAVING {aggregate} {operator} {threshold};\n\n"
        );
    }
}

/// A workload of base segments, one for each index below the number of rules.
pub(super) fn sql(params: &Params, generator: GeneratorConfig, query: impl Fn(usize, &mut ChaCha8Rng) -> Query) -> Workload {
    let mut rng = rule_numbers(params);
    let queries: Vec<Query> = (0..params.rules).map(|index| query(index, &mut rng)).collect();
    let table = table(&generator, queries.first().map(|query| query.window));
    let mut budget = Budget::new(params, table.scale);
    let values = values(&table, &queries, &mut budget);
    let mut text = String::new();
    for (index, (query, value)) in queries.iter().zip(values).enumerate() {
        query.write(&mut text, &format!("segment_{index}"), index, value);
    }
    Workload { kind: Kind::Sql, text, segments: queries.len(), generator, expected_results: budget.expected_results() }
}

/// The value that each query's groups have to exceed.
fn values(table: &Table, queries: &[Query], budget: &mut Budget) -> Vec<i64> {
    let mut by_filter: BTreeMap<&Filter, BTreeMap<&Query, Vec<usize>>> = BTreeMap::new();
    for (index, query) in queries.iter().enumerate() {
        let same_filter = by_filter.entry(&query.filter).or_default();
        same_filter.entry(query).or_default().push(index);
    }
    let mut order: Vec<_> = by_filter.into_iter().collect();
    // Filters that few events pass come first: they take what they can.
    order.sort_by_cached_key(|(filter, _)| table.select(filter).len());
    let mut values = vec![0; queries.len()];
    for (filter, same_filter) in order {
        let rows = table.select(filter);
        for (query, indices) in same_filter {
            let groups = query.groups(table, &rows);
            let curve = Curve::new(&groups, query.measure, table.last_window(query.window));
            for index in indices {
                let target = budget.target();
                let pick = curve.pick_above(target);
                budget.spend(pick.rows);
                values[index] = budget.any_of(pick);
            }
        }
    }
    values
}

/// Count and sum of each type of event in turn.
pub(super) fn simple(index: usize, window: Window) -> Query {
    const AGGREGATES: [(EventType, Measure); 6] = [
        (EventType::Purchase, Measure::Sum),
        (EventType::View, Measure::Count),
        (EventType::AddToCart, Measure::Count),
        (EventType::View, Measure::Sum),
        (EventType::Purchase, Measure::Count),
        (EventType::AddToCart, Measure::Sum),
    ];
    let (kind, measure) = AGGREGATES[index % AGGREGATES.len()];
    Query { filter: kind.into(), window, measure }
}

pub(super) fn distinct_query(index: usize, rng: &mut ChaCha8Rng) -> Query {
    const KINDS: [EventType; 3] = [EventType::View, EventType::Purchase, EventType::AddToCart];
    let predicates = match index % 3 {
        0 => Vec::new(),
        _ => vec![Predicate::Category(any_category(rng))],
    };
    Query { filter: Filter { kind: KINDS[index / 3 % 3], predicates }, window: Window::Tumble(SIZES[index % 3]), measure: Measure::Products }
}

/// Of a hundred: 45 on category and another key, 35 on a product, 12 on a prefix, 8 on two
/// categories. A few rules are all on the last, as narrow filters couldn't give them their rows.
pub(super) fn metadata_query(rules: usize, index: usize, rng: &mut ChaCha8Rng) -> Query {
    let is_broad = rules < 50;
    let kind = match index % 3 {
        1 if !is_broad => EventType::AddToCart,
        2 => EventType::Purchase,
        _ => EventType::View,
    };
    let predicates = match rng.random_range(0..100) {
        _ if is_broad => vec![two_categories(4, rng)],
        0..45 => category_and_more(kind, rng),
        45..80 => vec![Predicate::Product(rng.random_range(1..=PRODUCTS))],
        80..92 => vec![Predicate::ProductPrefix(rng.random_range(10..100))],
        _ => vec![two_categories(CATEGORIES.len() as u8, rng)],
    };
    let measure = [Measure::Count, Measure::Sum][rng.random_range(0..2)];
    let size = match is_broad {
        true => index % SIZES.len(),
        false => rng.random_range(0..SIZES.len()),
    };
    Query { filter: Filter { kind, predicates }, window: Window::Tumble(SIZES[size]), measure }
}

/// Two of the first `among` categories.
fn two_categories(among: u8, rng: &mut ChaCha8Rng) -> Predicate {
    let one = rng.random_range(0..among);
    let other = (one + rng.random_range(1..among)) % among;
    Predicate::CategoryIn(one.min(other), one.max(other))
}

fn category_and_more(kind: EventType, rng: &mut ChaCha8Rng) -> Vec<Predicate> {
    let mut predicates = vec![Predicate::Category(any_category(rng))];
    let mut pick = |of: &[&'static str]| of[rng.random_range(0..of.len())];
    match kind {
        EventType::View => {
            let (device, referrer) = (pick(&DEVICES), pick(&REFERRERS));
            predicates.push(Predicate::Device(device));
            predicates.push(Predicate::Referrer(referrer));
        }
        EventType::Purchase => predicates.push(Predicate::Payment(pick(&PAYMENT_METHODS))),
        EventType::AddToCart | EventType::Install => {}
    }
    predicates
}

fn any_category(rng: &mut ChaCha8Rng) -> u8 {
    rng.random_range(0..CATEGORIES.len() as u8)
}
