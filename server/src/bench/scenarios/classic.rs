//! `classic-rules`: SegmentRules of all combinations.

use anyhow::{Context, Result};
use rand::Rng;

use super::{Budget, Kind, MINUTE, Params, SIZES, Workload, above, mixed, table};
use crate::bench::calibrate::{Curve, Exact, Group, Measure, Table, Window};
use crate::bench::rules::{Attribute, ClassicRule, Operator};
use crate::generate::{EventType, GeneratorConfig, Layout};

/// The share of the rows that heavy rules get.
const HEAVY_SHARE: f64 = 0.2;

/// All that classic rules on one aggregate have to know.
struct Aggregate {
    kind: EventType,
    attribute: Attribute,
    size: i64,
    curve: Curve,
    exact: Exact,
}

impl Aggregate {
    fn all(table: &Table) -> Vec<Self> {
        let mut all = Vec::new();
        for kind in [EventType::View, EventType::Purchase, EventType::Install] {
            let rows = table.select(&kind.into());
            for size in SIZES {
                let window = Window::Tumble(size);
                let groups = table.groups(&rows, window);
                for attribute in [Attribute::Count, Attribute::Sum] {
                    if (kind, attribute) != (EventType::Install, Attribute::Sum) {
                        let last = table.last_window(window);
                        all.push(Self::new(kind, attribute, size, &groups, last));
                    }
                }
            }
        }
        all
    }

    fn new(kind: EventType, attribute: Attribute, size: i64, groups: &[Group], last_window: i64) -> Self {
        let measure = measure(attribute);
        Self { kind, attribute, size, curve: Curve::new(groups, measure, last_window), exact: Exact::new(groups, measure, last_window) }
    }

    /// The fewest rows above none that an operator can give.
    fn fewest(&self, operator: Operator) -> u64 {
        match operator {
            Operator::Gt | Operator::Gte => 0,
            Operator::Lt | Operator::Lte => self.curve.fewest_below(),
            Operator::Eq => self.exact.fewest(),
            Operator::Neq => self.curve.rows_of_all(),
        }
    }

    /// The threshold that gives an operator its share of the rows.
    fn threshold(&self, operator: Operator, budget: &mut Budget) -> f64 {
        let target = budget.target();
        let measure = measure(self.attribute);
        let is_count = self.attribute == Attribute::Count;
        match operator {
            Operator::Gt | Operator::Gte => {
                let pick = self.curve.pick_above(target);
                budget.spend(pick.rows);
                let one_more = is_count && operator == Operator::Gte;
                above(measure, budget.any_of(pick) + i64::from(one_more))
            }
            Operator::Lt | Operator::Lte => {
                let pick = self.curve.pick_below(target);
                budget.spend(pick.rows);
                let value = budget.any_of(pick);
                let as_it_is = is_count && operator == Operator::Lt;
                above(measure, value - i64::from(!as_it_is))
            }
            Operator::Eq | Operator::Neq => {
                let draw = budget.rng.random();
                let (value, rows) = self.exact.pick(target, draw).unwrap_or((0, 0));
                budget.spend(match operator {
                    Operator::Eq => rows,
                    _ => self.curve.rows_of_all().saturating_sub(rows),
                });
                if is_count { value as f64 } else { value as f64 / 100.0 }
            }
        }
    }
}

const fn measure(attribute: Attribute) -> Measure {
    match attribute {
        Attribute::Count => Measure::Count,
        Attribute::Sum => Measure::Sum,
    }
}

pub(super) fn classic(params: &Params) -> Result<Workload> {
    let generator = GeneratorConfig { layout: Layout::Classic, ..mixed(params) };
    let table = table(&generator, None);
    let aggregates = Aggregate::all(&table);
    let mut budget = Budget::new(params, table.scale);
    let plan = plan(&aggregates, &budget);
    let mut order: Vec<usize> = (0..plan.len()).collect();
    order.sort_by_key(|&index| {
        let (aggregate, operator) = plan[index];
        adaptability(&aggregates[aggregate], operator)
    });
    let mut rules: Vec<Option<ClassicRule>> = vec![None; plan.len()];
    for index in order {
        let (aggregate, operator) = plan[index];
        let aggregate = &aggregates[aggregate];
        rules[index] = Some(ClassicRule {
            id: format!("rule_{index}"),
            segment_id: format!("segment_{index}"),
            event_type: aggregate.kind.name().to_owned(),
            attribute: aggregate.attribute,
            operator,
            threshold: aggregate.threshold(operator, &mut budget),
            window_minutes: (aggregate.size / MINUTE) as u32,
        });
    }
    let rules: Vec<ClassicRule> = rules.into_iter().flatten().collect();
    Ok(Workload {
        kind: Kind::Json,
        text: serde_json::to_string_pretty(&rules).context("rules as JSON")?,
        segments: rules.len(),
        generator,
        expected_results: budget.expected_results(),
    })
}

/// Which aggregate and operator each rule has: all combinations in turn, heavy ones as they fit.
fn plan(aggregates: &[Aggregate], budget: &Budget) -> Vec<(usize, Operator)> {
    /// Prime to the number of combinations, so that the first few differ in everything.
    const STRIDE: usize = 37;
    let combinations = aggregates.len() * Operator::ALL.len();
    let share = budget.rows / budget.rules.max(1) as f64;
    let mut heavy_rows = HEAVY_SHARE * budget.rows;
    let mut plan = Vec::with_capacity(budget.rules);
    let mut next = 0;
    while plan.len() < budget.rules {
        let at = next * STRIDE % combinations;
        next += 1;
        let (aggregate, operator) = (at % aggregates.len(), Operator::ALL[at / aggregates.len()]);
        let fewest = aggregates[aggregate].fewest(operator) as f64;
        if fewest > 2.0 * share {
            if fewest > heavy_rows {
                continue;
            }
            heavy_rows -= fewest;
        }
        plan.push((aggregate, operator));
    }
    plan
}

/// Orders rules by how well they can make up for what others did not take.
fn adaptability(aggregate: &Aggregate, operator: Operator) -> (u8, u64) {
    let rank = match (operator, aggregate.attribute) {
        (Operator::Neq, _) => 0,
        (Operator::Eq, _) => 1,
        (Operator::Lt | Operator::Lte, Attribute::Count) => 2,
        _ => 3,
    };
    (rank, aggregate.curve.rows_of_all())
}
