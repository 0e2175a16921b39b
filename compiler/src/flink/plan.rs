//! Which segments a Flink SQL job can have, and how each is tested: a base segment by a test on the aggregates of its family, a derived one by a test
//! on presence and value of its inputs. Tests that differ in a constant only are one test.

use std::fmt;

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use rustc_hash::{FxHashMap, FxHashSet};

use super::expr::{Kind, Reason, Writer, Written, double, event_column, kind, number, refuse};
use crate::normalize::{BaseQuery, DerivedQuery, Normal, input_column};
use crate::program::{MatchBy, Program, Segment, SegmentId, SegmentKind};
use crate::window::WindowSpec;

/// A segment that can't be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub segment: String,
    /// Why.
    pub why: String,
    /// What could be written instead, where there is something.
    pub instead: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {}: {}", self.segment, self.why)?;
        self.instead.iter().try_for_each(|instead| write!(f, "\n  hint: {instead}"))
    }
}

/// What decides over a segment: a condition and a value, over the columns of the view that it stands in. `r.constant` is a segment's own number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Test {
    pub condition: String,
    pub value: String,
    /// Where the window starts, if that is not the key's.
    pub started: Option<String>,
}

impl Test {
    /// The test with a segment's own number written into it.
    fn with(&self, constant: Option<f64>) -> Test {
        let Some(constant) = constant.map(double) else { return self.clone() };
        Test { condition: self.condition.replace(CONSTANT, &constant), ..self.clone() }
    }
}

/// Stands for a segment's own number.
const CONSTANT: &str = "r.constant";

/// How a segment is tested.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// Index into the tests of the view that it stands in.
    pub test: usize,
    /// Its own number.
    pub constant: Option<f64>,
    /// How long membership lasts after a window's end, ms.
    pub held_ms: i64,
}

/// The tests of segments that stand in one view.
#[derive(Debug, Default)]
pub(super) struct Tests {
    pub all: Vec<Test>,
    index: FxHashMap<Test, usize>,
}

impl Tests {
    fn add(&mut self, test: Test) -> usize {
        *self.index.entry(test.clone()).or_insert_with(|| {
            self.all.push(test);
            self.all.len() - 1
        })
    }
}

/// One aggregation: that of a family of the program.
#[derive(Debug, Default)]
pub(super) struct PlannedFamily {
    /// Conditions on events, all of which must hold.
    pub filter: Vec<String>,
    /// Aggregates `a{i}`.
    pub aggregates: Vec<String>,
    pub tests: Tests,
    pub segments: Vec<SegmentId>,
}

/// Derived segments that match the same: rows with, for slot `i`, whether its segment holds (`p{i}`), its value (`v{i}`) and, where users are
/// matched, its start (`s{i}`).
#[derive(Debug, Default)]
pub(super) struct Matched {
    pub slots: Vec<Slot>,
    pub tests: Tests,
    pub segments: Vec<SegmentId>,
}

/// A segment that derived ones read.
#[derive(Debug)]
pub(super) struct Slot {
    pub segment: SegmentId,
    pub from: From,
    pub test: Test,
    /// Of what is computed of other slots: how many such lead to it.
    pub level: usize,
}

/// Where a segment's presence and value are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// In the rows of a family.
    Family(u32),
    /// In the rows that match windows, for those that match users.
    Windows,
    /// In the same rows.
    Here,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub families: Vec<PlannedFamily>,
    /// Those that match windows.
    pub windows: Matched,
    /// Those that match users, whose inputs' windows end at the same times.
    pub users: Matched,
    /// For each segment, how it is tested, if it is.
    pub segments: Vec<Option<Planned>>,
    pub refused: Vec<Refusal>,
}

/// When a segment's windows end and its memberships with them: at multiples of a step, shifted.
type Grid = Option<(i64, i64)>;

struct Planner<'a> {
    program: &'a Program,
    plan: Plan,
    /// For each segment so far, why it is not exported.
    reasons: Vec<Option<Reason>>,
    grids: Vec<Grid>,
    families: FxHashMap<u32, Written<()>>,
    aggregates: Vec<FxHashMap<String, usize>>,
}

pub(super) fn plan(program: &Program) -> Plan {
    let families = (0..program.families.len()).map(|_| PlannedFamily::default()).collect();
    let plan = Plan { families, windows: Matched::default(), users: Matched::default(), segments: vec![], refused: vec![] };
    let aggregates = vec![FxHashMap::default(); program.families.len()];
    let mut planner = Planner { program, plan, reasons: vec![], grids: vec![], families: FxHashMap::default(), aggregates };
    for id in 0..program.segments.len() {
        planner.segment(id as SegmentId);
    }
    planner.without_unread();
    planner.plan
}

impl Planner<'_> {
    fn segment(&mut self, id: SegmentId) {
        let program = self.program;
        let segment = &program.segments[id as usize];
        let outcome = match (&segment.kind, &segment.normal) {
            (SegmentKind::Base { family, .. }, Normal::Base(query)) => self.base(id, *family, query),
            (SegmentKind::Derived(derived), Normal::Derived(query)) => self.derived(id, &derived.inputs, query),
            _ => refuse("its compiled form and its query differ"),
        };
        self.grids.push(self.grid(segment));
        let (planned, reason) = match outcome {
            Ok(planned) => (Some(planned), None),
            Err(reason) => (None, Some(reason)),
        };
        if let Some(Reason { why, instead }) = reason.clone().filter(|_| !segment.hidden) {
            self.plan.refused.push(Refusal { segment: segment.name.clone(), why, instead });
        }
        self.reasons.push(reason);
        self.plan.segments.push(planned);
    }

    fn base(&mut self, id: SegmentId, family: u32, query: &BaseQuery) -> Written<Planned> {
        let segment = &self.program.segments[id as usize];
        if let WindowSpec::Hop { slide, size } = query.window
            && size % slide != 0
        {
            return Err(Reason {
                why: format!("Flink's HOP needs a size that is a multiple of the slide, which {} is not", query.window),
                instead: Some("choose such a slide".into()),
            });
        }
        if !self.families.contains_key(&family) {
            let outcome = self.filter(family, query);
            self.families.insert(family, outcome);
        }
        if let Some(Err(reason)) = self.families.get(&family) {
            return Err(reason.clone());
        }
        let index = family as usize;
        let (known, all) = (&mut self.aggregates[index], &mut self.plan.families[index]);
        let before = all.aggregates.len();
        let mut name = |sql: String| {
            let next = known.len();
            let i = *known.entry(sql.clone()).or_insert_with(|| {
                all.aggregates.push(sql);
                next
            });
            format!("a{i}")
        };
        let mut writer = Writer { column: &event_column, aggregate: &mut name };
        let written = condition(&mut writer, query.having.as_ref())
            .and_then(|(condition, constant)| Ok((condition, constant, value(&mut writer, query.value.as_ref())?)));
        let (condition, constant, value) = match written {
            Ok(written) => written,
            Err(reason) => {
                for unused in all.aggregates.drain(before..) {
                    known.remove(&unused);
                }
                return Err(reason);
            }
        };
        let test = all.tests.add(Test { condition, value, started: None });
        all.segments.push(id);
        Ok(Planned { test, constant, held_ms: segment.hold_ms.max(segment.retain_ms) })
    }

    fn filter(&mut self, family: u32, query: &BaseQuery) -> Written<()> {
        let mut none = |sql: String| sql;
        let mut writer = Writer { column: &event_column, aggregate: &mut none };
        self.plan.families[family as usize].filter = query.filter.iter().map(|e| writer.write(e)).collect::<Written<_>>()?;
        Ok(())
    }

    fn derived(&mut self, id: SegmentId, inputs: &[SegmentId], query: &DerivedQuery) -> Written<Planned> {
        for &input in inputs {
            let other = &self.program.segments[input as usize];
            if let Some(reason) = &self.reasons[input as usize] {
                // Hidden segments are parts of this one.
                return Err(if other.hidden {
                    reason.clone()
                } else {
                    Reason { why: format!("it reads {}, which can't be exported", other.name), instead: None }
                });
            }
        }
        if query.by == MatchBy::Window
            && let Some(&other) = inputs.iter().find(|i| self.matches_users(**i))
        {
            return refuse(format!("it matches the windows of {}, which has none, as it matches by user_id alone", self.program.segments[other as usize].name));
        }
        if query.by == MatchBy::User {
            self.one_grid(inputs)?;
        }
        // Nothing is noted before it is known that all can be written.
        test(query, &(0..inputs.len()).collect::<Vec<_>>())?;
        let places: Vec<usize> = inputs.iter().map(|&input| self.slot(query.by, input)).collect();
        let test = test(query, &places)?;
        let segment = &self.program.segments[id as usize];
        let matched = self.matched(query.by);
        matched.segments.push(id);
        Ok(Planned { test: matched.tests.add(test), constant: None, held_ms: segment.hold_ms.max(segment.retain_ms) })
    }

    fn matches_users(&self, id: SegmentId) -> bool {
        matches!(&self.program.segments[id as usize].kind, SegmentKind::Derived(d) if d.by == MatchBy::User)
    }

    fn matched(&mut self, by: MatchBy) -> &mut Matched {
        if by == MatchBy::Window { &mut self.plan.windows } else { &mut self.plan.users }
    }

    /// The slot of a segment, for those that match windows or users.
    fn slot(&mut self, by: MatchBy, id: SegmentId) -> usize {
        if let Some(known) = self.matched(by).slots.iter().position(|s| s.segment == id) {
            return known;
        }
        let slot = match &self.program.segments[id as usize].kind {
            SegmentKind::Base { family, .. } => Slot { segment: id, from: From::Family(*family), test: self.test_of(id), level: 0 },
            SegmentKind::Derived(derived) if derived.by == by => {
                let inputs = derived.inputs.clone();
                let levels = inputs.iter().map(|&i| self.slot(by, i)).collect::<Vec<_>>();
                let level = 1 + levels.into_iter().map(|i| self.matched(by).slots[i].level).max().unwrap_or(0);
                Slot { segment: id, from: From::Here, test: self.test_of(id), level }
            }
            SegmentKind::Derived(_) => {
                let i = self.slot(MatchBy::Window, id);
                let test = Test { condition: format!("p{i}"), value: format!("v{i}"), started: None };
                Slot { segment: id, from: From::Windows, test, level: 0 }
            }
        };
        let slots = &mut self.matched(by).slots;
        slots.push(slot);
        slots.len() - 1
    }

    /// The test of a segment that is exported.
    fn test_of(&self, id: SegmentId) -> Test {
        let tests = match &self.program.segments[id as usize].kind {
            SegmentKind::Base { family, .. } => &self.plan.families[*family as usize].tests,
            SegmentKind::Derived(d) if d.by == MatchBy::Window => &self.plan.windows.tests,
            SegmentKind::Derived(_) => &self.plan.users.tests,
        };
        let planned = self.plan.segments[id as usize].as_ref();
        let found = planned.and_then(|p| Some(tests.all.get(p.test)?.with(p.constant)));
        found.unwrap_or(Test { condition: "FALSE".into(), value: "CAST(NULL AS DOUBLE)".into(), started: None })
    }

    /// Whether memberships of all inputs end and begin at the same times only: then who is a member at such a time is who qualified in a window that ended
    /// then, and nobody needs to remember.
    fn one_grid(&self, inputs: &[SegmentId]) -> Written<()> {
        let grids: FxHashSet<Grid> = inputs.iter().map(|&i| self.grids[i as usize]).collect();
        let known = grids.len() == 1 && !grids.contains(&None);
        let described = |&i: &SegmentId| {
            let s = &self.program.segments[i as usize];
            if s.retain_ms > 0 { format!("{} ({}, retained)", s.name, s.window) } else { format!("{} ({})", s.name, s.window) }
        };
        if known {
            return Ok(());
        }
        let names: Vec<String> = inputs.iter().map(described).collect();
        Err(Reason {
            why: format!("it matches current membership of segments whose windows end at different times, or that are retained: {}", names.join(", ")),
            instead: Some("match the same window, USING (user_id, window_start, window_end), or segments of equal steps without retain".into()),
        })
    }

    fn grid(&self, segment: &Segment) -> Grid {
        if let SegmentKind::Derived(derived) = &segment.kind {
            let grids: FxHashSet<Grid> = derived.inputs.iter().map(|&i| self.grids[i as usize]).collect();
            let only = if grids.len() == 1 { grids.into_iter().next().flatten() } else { None };
            return only.filter(|(step, _)| segment.retain_ms <= *step && segment.hold_ms == *step);
        }
        let step = segment.window.step();
        let shift = match segment.window {
            WindowSpec::Session { .. } => return None,
            WindowSpec::Hop { slide, size } => size % slide,
            WindowSpec::Tumble { .. } | WindowSpec::Cumulate { .. } => 0,
        };
        Some((step, shift)).filter(|_| segment.retain_ms <= step)
    }

    /// Leaves hidden segments out that no exported one reads.
    fn without_unread(&mut self) {
        let segments = &self.program.segments;
        let planned = |i: usize| self.plan.segments[i].is_some();
        let read = |s: &Segment| s.readers.iter().chain(&s.member_readers).any(|r| planned(*r as usize));
        let unread: FxHashSet<SegmentId> =
            (0..segments.len()).filter(|&i| segments[i].hidden && planned(i) && !read(&segments[i])).map(|i| i as SegmentId).collect();
        for &id in &unread {
            self.plan.segments[id as usize] = None;
        }
        self.plan.families.iter_mut().for_each(|f| f.segments.retain(|id| !unread.contains(id)));
    }
}

/// The test of a derived segment whose inputs have these slots.
fn test(query: &DerivedQuery, places: &[usize]) -> Written<Test> {
    let column = |name: &str| match input_column(name) {
        Some((kind @ ("p" | "v"), i)) if i < places.len() => Ok(format!("{kind}{}", places[i])),
        _ if name == "user_id" => Ok(name.to_string()),
        _ => refuse(format!("{name} in a derived segment has no equal in the exported job")),
    };
    let mut none = |sql: String| sql;
    let mut writer = Writer { column: &column, aggregate: &mut none };
    let (condition, value) = (writer.write(&query.condition)?, value(&mut writer, query.value.as_ref())?);
    // From the least start of the inputs that hold.
    let never = i64::MAX;
    let starts: Vec<String> = places.iter().map(|i| format!("COALESCE(s{i}, {never})")).collect();
    let least = if let [one] = starts.as_slice() { one.clone() } else { format!("LEAST({})", starts.join(", ")) };
    Ok(Test { condition, value, started: (query.by == MatchBy::User).then_some(least) })
}

fn value(writer: &mut Writer<'_>, value: Option<&Expr>) -> Written<String> {
    value.map_or(Ok("CAST(NULL AS DOUBLE)".into()), |e| writer.number(e))
}

/// A HAVING; where it is a comparison with a number, with that as `r.constant`, and the number.
fn condition(writer: &mut Writer<'_>, having: Option<&Expr>) -> Written<(String, Option<f64>)> {
    let Some(expr) = having else { return Ok(("TRUE".into(), None)) };
    if let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr
        && let (Expr::Literal(literal, _), Some(sign)) = (right.as_ref(), comparison(*op))
        && let (Kind::Integer | Kind::Double, Some(constant)) = (kind(left)?, number(literal))
    {
        // EQ and NEQ of sums, which compare with a tolerance.
        if let Expr::ScalarFunction(f) = left.as_ref()
            && f.func.name() == "abs"
            && let [Expr::BinaryExpr(BinaryExpr { left: inner, op: Operator::Minus, right: centre })] = f.args.as_slice()
            && let Expr::Literal(centre, _) = centre.as_ref()
            && let (Kind::Double, Some(centre)) = (kind(inner)?, number(centre))
        {
            return Ok((format!("ABS({} - r.constant) {sign} {}", writer.write(inner)?, double(constant)), Some(centre)));
        }
        return Ok((format!("{} {sign} r.constant", writer.write(left)?), Some(constant)));
    }
    Ok((writer.write(expr)?, None))
}

fn comparison(op: Operator) -> Option<&'static str> {
    Some(match op {
        Operator::Eq => "=",
        Operator::NotEq => "<>",
        Operator::Lt => "<",
        Operator::LtEq => "<=",
        Operator::Gt => ">",
        Operator::GtEq => ">=",
        _ => return None,
    })
}
