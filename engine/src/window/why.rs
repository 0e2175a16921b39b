//! Why a user is in a segment or not: their groups as they stand, with every aggregate that decides.

use cohort_compiler::program::{Compare, Family, Having, Output, Threshold, Value, View};
use cohort_compiler::window::WindowSpec;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::physical_expr::utils::collect_columns;

use super::tumble::number;
use super::{FamilyState, Groups};
use crate::error::EngineError;
use crate::having::view;
use crate::ladder::Ladder;
use crate::state::NONE;
use crate::users::Users;

/// The value of an aggregate.
#[derive(Debug, Clone, PartialEq)]
pub enum Amount {
    /// A number.
    Number(f64),
    /// Anything else, as text.
    Text(String),
    /// No value.
    Null,
}

/// What a value is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// How it is compared, as in SQL.
    pub compare: &'static str,
    /// With what.
    pub threshold: f64,
    /// The value, if there is one.
    pub value: Option<f64>,
    /// What is missing to the threshold, or what is above it, as a positive number.
    pub distance: Option<f64>,
}

/// A user's group in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Start and end of the window, ms since the epoch.
    pub window: (i64, i64),
    /// Whether the window has closed.
    pub closed: bool,
    /// The newest event that contributed; of windows that overlap, of their newest pane.
    pub newest: i64,
    /// Whether the group qualifies.
    pub qualifies: bool,
    /// The segment's value.
    pub value: Option<f64>,
    /// The aggregates that decide, by their SQL.
    pub aggregates: Vec<(String, Amount)>,
    /// The threshold, where one decides.
    pub bar: Option<Bar>,
}

fn symbol(compare: Compare) -> &'static str {
    match compare {
        Compare::Gt => ">",
        Compare::Gte => ">=",
        Compare::Lt => "<",
        Compare::Lte => "<=",
        Compare::Eq => "=",
        Compare::Neq => "<>",
    }
}

fn view_name(family: &Family, view: View) -> String {
    let name = |i: u32| family.slot_names[i as usize].clone();
    match view {
        View::Count(i) | View::Sum(i) | View::Min(i) | View::Max(i) => name(i),
        View::SumOrZero(i) => format!("coalesce({}, 0)", name(i)),
        View::Avg { sum, .. } => name(sum).replacen("sum", "avg", 1),
    }
}

fn bar(threshold: &Threshold, value: Option<f64>) -> Bar {
    let distance = value.map(|v| (v - threshold.value).abs());
    Bar { compare: symbol(threshold.compare), threshold: threshold.value, value, distance }
}

fn amount(array: &ArrayRef, row: usize) -> Amount {
    if array.is_null(row) {
        return Amount::Null;
    }
    if array.data_type().is_numeric()
        && let Ok(floats) = cast(array, &DataType::Float64)
    {
        return Amount::Number(floats.as_primitive::<Float64Type>().value(row));
    }
    array_value_to_string(array, row).map_or(Amount::Null, Amount::Text)
}

impl FamilyState {
    /// A user's groups, oldest window first, as a segment of the family sees them.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn standings(&mut self, ladder: &Ladder, family: &Family, segment: u32, user: u32, users: &Users) -> Result<Vec<Standing>, EngineError> {
        let Some(position) = self.segments.iter().position(|s| s.id == segment) else { return Ok(vec![]) };
        let (groups, closed) = self.groups_of(ladder, user);
        let mut standings = vec![];
        self.decide(&[position], &groups, users, |_, g, qualifies, value| {
            let window = (groups.starts[g], groups.ends[g]);
            standings.push(Standing { window, closed: closed == Some(g), newest: groups.newest[g], qualifies, value, aggregates: vec![], bar: None });
        })?;
        let batch = self.batch(&groups, users)?;
        for output in self.deciding(position) {
            let name = match output {
                Output::View(v) => view_name(family, v),
                Output::General(i) => self.general[i as usize].name().to_string(),
            };
            let at = self.outputs.iter().position(|o| *o == output);
            for (g, standing) in standings.iter_mut().enumerate() {
                let value = match (output, at) {
                    (Output::View(v), _) => view(v, groups.slots_of(g)).map_or(Amount::Null, Amount::Number),
                    (_, Some(at)) => amount(batch.column(at + 3), g),
                    (_, None) => Amount::Null,
                };
                if !standing.aggregates.iter().any(|(known, _)| *known == name) {
                    standing.aggregates.push((name.clone(), value));
                }
            }
        }
        if let Having::Threshold(t) = &self.segments[position].having {
            standings.iter_mut().enumerate().for_each(|(g, s)| s.bar = Some(bar(t, view(t.view, groups.slots_of(g)))));
        }
        standings.sort_by_key(|s| s.window.1);
        Ok(standings)
    }

    /// A user's groups of open windows, and of the overlapping window that closed last, whose place it returns.
    fn groups_of(&self, ladder: &Ladder, user: u32) -> (Groups, Option<usize>) {
        let mut groups = Groups::new(self.rows.width());
        if self.overlaps() {
            let closed = self.push_window(&mut groups, user, self.entered());
            self.open_windows(user, &mut groups, &mut vec![]);
            return (groups, closed);
        }
        let record = ladder.find(user);
        if let Some(group) = Some(record).filter(|record| *record != NONE).and_then(|record| ladder.group(record, self.rung)) {
            let slots = ladder.slots(record, self.rung);
            let g = groups.push(user, (group.start, group.start + self.spec.size()), group.newest, slots);
            groups.members.push((g, number(slots)));
        }
        let mut at = self.rows.head(user);
        while at != NONE {
            let (r, slots) = (self.rows.row(at), self.rows.slots(at));
            let (end, row) = match self.spec {
                WindowSpec::Session { gap } => (r.newest + gap, at),
                spec => (r.start + spec.size(), number(slots)),
            };
            let g = groups.push(user, (r.start, end), r.newest, slots);
            groups.members.push((g, row));
            at = self.rows.older(at);
        }
        (groups, None)
    }

    /// What decides a segment, and its value.
    fn deciding(&self, position: usize) -> Vec<Output> {
        let segment = &self.segments[position];
        let read = |e| collect_columns(e).into_iter().filter_map(|c| c.index().checked_sub(3)).map(|i| self.outputs[i]).collect::<Vec<_>>();
        let mut outputs = match &segment.having {
            Having::Always => vec![],
            Having::Threshold(t) => vec![Output::View(t.view)],
            Having::Expression(e) => read(e),
        };
        match &segment.value {
            Value::None => {}
            Value::View(v) => outputs.push(Output::View(*v)),
            Value::Expression(e) => outputs.extend(read(e)),
        }
        outputs
    }
}
