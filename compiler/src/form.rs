//! SQL → rules, the reverse of [`crate::rule`]: what a query says, as rules or as a combination of segments, so that
//! a segment can be edited in either form. What is found is turned into SQL again and compared; where it would not
//! mean the same, there is no form.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::Query;
use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value, json};

use crate::bind;
use crate::catalog::{Catalog, Functions, SegmentNames};
use crate::emit::{self, Emit};
use crate::normalize::{BaseQuery, DerivedQuery, Normal, input_column, normalize};
use crate::program::{Compare, Having, MatchBy, Program, Segment, SegmentKind, Value as ResultValue, View};
use crate::rule::{self, EVENT_TYPE_ALIASES, MAX_WINDOW_MINUTES, TOLERANCE};
use crate::share::{compare_of, distance, flip, is_column, is_zero, number, text_literal};
use crate::statement::{self, CreateSegment, Statement};
use crate::window::{WindowSpec, parse_duration};

/// Segments that a combination may have: all ways in which a user can be in them are looked at.
const MAX_INPUTS: usize = 8;
/// Parts that its condition and its value may have: each is looked at for all those ways.
const MAX_NODES: usize = 1_000;
/// Segments whose operators are looked for; more are combined by an expression.
const MAX_FOLDED: usize = 5;
/// Integers up to here are exact as numbers of JSON.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// What a statement says, as the fields of an API segment: `type`, `windowMinutes`, and `rules`, or `dependencies`
/// and perhaps `logicalExpression`. None where rules cannot say it exactly.
///
/// `program` has the segment and those that it reads; `ids` are other names of segments.
pub fn of(create: &CreateSegment, program: &Program, ids: &FxHashMap<String, String>) -> Option<Map<String, Value>> {
    if create.options.iter().any(|(_, value, _)| parse_duration(value) != Some(0)) {
        return None;
    }
    let names = program.segments.iter().map(|s| s.name.clone()).collect();
    let reader = Reader { program, ids, names, functions: Functions::default() };
    let (normal, emit) = reader.read(&create.query)?;
    let (meaning, form) = reader.meaning(&normal)?;
    let query = query_of(&form)?;
    let (again, emit_again) = reader.read(&query)?;
    let same = reader.meaning(&again)?.0 == meaning && emit == emit_again && create.emit.is_none_or(|e| e == emit);
    same.then_some(form)
}

/// The query that rules are.
fn query_of(form: &Map<String, Value>) -> Option<Arc<Query>> {
    let (segments, findings) = rule::parse(&Value::Object(form.clone()).to_string());
    let ([segment], []) = (segments.as_slice(), findings.as_slice()) else { return None };
    let (mut statements, _) = statement::parse(&format!("CREATE SEGMENT form AS\n{}", segment.query));
    match statements.pop()?.statement {
        Statement::Create(create) => Some(create.query),
        _ => None,
    }
}

/// What a query means, however it is written.
#[derive(Debug, PartialEq)]
enum Meaning {
    Rules {
        minutes: i64,
        rules: Vec<Rule>,
    },
    /// `holds` says for each set of segments that a user is in, as bits in the order of the names, whether they are in
    /// this one.
    Combination {
        minutes: i64,
        names: Vec<String>,
        holds: Vec<bool>,
    },
}

type Found = Option<(Meaning, Map<String, Value>)>;

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    measure: Measure,
    operator: &'static str,
    threshold: f64,
}

/// An aggregate that rules know.
#[derive(Debug, Clone, PartialEq)]
struct Measure {
    attribute: &'static str,
    event_type: String,
}

struct Reader<'a> {
    program: &'a Program,
    ids: &'a FxHashMap<String, String>,
    names: FxHashSet<String>,
    functions: Functions,
}

impl Reader<'_> {
    fn read(&self, query: &Query) -> Option<(Normal, Emit)> {
        let mut catalog = Catalog::new(&self.functions, SegmentNames { names: &self.names, aliases: self.ids });
        let plan = bind::plan(&mut query.clone(), &mut catalog, &self.functions).ok()?;
        let normal = normalize(&plan, &catalog).ok()?;
        let emit = match &normal {
            Normal::Base(query) => emit::default_for_having(query.having.as_ref()).0,
            Normal::Derived(query) => {
                let modes: Option<Vec<_>> = query.inputs.iter().map(|n| self.segment(n).map(|s| (s.name.clone(), s.emit))).collect();
                emit::default_for_derived(&query.condition, &modes?).0
            }
        };
        Some((normal, emit))
    }

    fn segment(&self, name: &String) -> Option<&Segment> {
        let name = self.ids.get(name).unwrap_or(name);
        self.program.segments.iter().find(|s| s.name == *name)
    }

    fn meaning(&self, normal: &Normal) -> Found {
        match normal {
            Normal::Base(query) => of_rules(query),
            Normal::Derived(query) => self.of_combination(query),
        }
    }

    fn of_combination(&self, query: &DerivedQuery) -> Found {
        let n = query.inputs.len();
        if query.by != MatchBy::Window || n > MAX_INPUTS || size(&query.condition) > MAX_NODES || size(query.value.as_ref()?) > MAX_NODES {
            return None;
        }
        let inputs: Vec<&Segment> = query.inputs.iter().map(|name| self.segment(name)).collect::<Option<_>>()?;
        let minutes = minutes(inputs.first()?.window.size())?;
        let by_user = |s: &Segment| matches!(&s.kind, SegmentKind::Derived(d) if d.by == MatchBy::User);
        if inputs.iter().any(|s| s.window.size() != minutes * 60_000 || by_user(s)) {
            return None;
        }
        let order = summands(query, &inputs)?;
        let names: Vec<String> = order.iter().map(|&i| inputs[i].name.clone()).collect();
        if names.iter().collect::<BTreeSet<_>>().len() < n {
            return None;
        }
        let mut bits = vec![0; n];
        order.iter().enumerate().for_each(|(bit, &input)| bits[input] = bit);
        // A row is there when the user is in one of them at least.
        let holds = truth(&query.condition, &bits)?;
        let form = combination_form(&names, minutes, &holds, &query.condition, &bits)?;
        Some((Meaning::Combination { minutes, names, holds }, form))
    }
}

/// How many parts an expression has.
fn size(expr: &Expr) -> usize {
    let mut nodes = 0;
    let _ = expr.apply(|_| {
        nodes += 1;
        Ok(if nodes > MAX_NODES { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    nodes
}

fn minutes(ms: i64) -> Option<i64> {
    (ms % 60_000 == 0 && (1..=MAX_WINDOW_MINUTES).contains(&(ms / 60_000))).then_some(ms / 60_000)
}

fn of_rules(query: &BaseQuery) -> Found {
    let WindowSpec::Tumble { size } = query.window else { return None };
    let minutes = minutes(size)?;
    let [filter] = query.filter.as_slice() else { return None };
    let types = event_types(filter)?;
    let mut rules: Vec<Rule> = split_conjunction(query.having.as_ref()?).into_iter().map(|e| rule(e, &types)).collect::<Option<_>>()?;
    // Types without a rule would make groups that rules do not.
    let ruled: BTreeSet<&String> = rules.iter().map(|r| &r.measure.event_type).collect();
    if ruled.len() < types.len() {
        return None;
    }
    let (measure, or_zero) = measure(query.value.as_ref()?, &types)?;
    let first = rules.iter().position(|r| r.measure == measure && (or_zero || !r.holds_for_none()))?;
    rules[..=first].rotate_right(1);
    let item = |r: &Rule| json!({"eventType": r.measure.event_type, "attribute": r.measure.attribute, "operator": r.operator, "value": whole(r.threshold)});
    let items: Vec<Value> = rules.iter().map(item).collect();
    let form = fields(json!({"type": "INDEPENDENT", "windowMinutes": minutes, "rules": items}));
    Some((Meaning::Rules { minutes, rules }, form))
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// A number that JSON shows without a fraction where it has none.
fn whole(x: f64) -> Value {
    if x == x.trunc() && x.abs() <= MAX_EXACT { json!(x as i64) } else { json!(x) }
}

/// The types of events that a condition lets through, when that is all it looks at.
fn event_types(expr: &Expr) -> Option<BTreeSet<String>> {
    let is_type = |e: &Expr| is_column(e) && matches!(e, Expr::Column(c) if c.name == "event_type");
    let types: BTreeSet<String> = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => event_types(left)?.union(&event_types(right)?).cloned().collect(),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_type(left) => [text_literal(right)?.to_string()].into(),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_type(right) => [text_literal(left)?.to_string()].into(),
        Expr::InList(list) if !list.negated && is_type(&list.expr) => list.list.iter().map(|e| text_literal(e).map(String::from)).collect::<Option<_>>()?,
        _ => return None,
    };
    // Rules take these names for others.
    let plain = |t: &String| !t.is_empty() && EVENT_TYPE_ALIASES.iter().all(|(alias, _)| alias != t);
    types.iter().all(plain).then_some(types)
}

/// The aggregate that an expression is, and whether it is 0 and not null without events.
fn measure(expr: &Expr, types: &BTreeSet<String>) -> Option<(Measure, bool)> {
    match expr {
        Expr::Cast(c) if *c.field.data_type() == DataType::Float64 => measure(&c.expr, types),
        Expr::ScalarFunction(f) if f.func.name() == "coalesce" => match f.args.as_slice() {
            [inner @ Expr::AggregateFunction(_), Expr::Literal(zero, _)] if is_zero(zero) => measure(inner, types).map(|(m, _)| (m, true)),
            _ => None,
        },
        Expr::AggregateFunction(f) => {
            let p = &f.params;
            let [argument] = p.args.as_slice() else { return None };
            if p.distinct || !p.order_by.is_empty() || p.null_treatment.is_some() {
                return None;
            }
            let own = match &p.filter {
                Some(filter) => event_types(filter)?,
                None if types.len() == 1 => types.clone(),
                None => return None,
            };
            let (Some(event_type), 1, true) = (own.first().cloned(), own.len(), own.is_subset(types)) else { return None };
            let attribute = match (f.func.name(), argument) {
                ("count", Expr::Literal(value, _)) if !value.is_null() => "count",
                ("sum", Expr::Column(c)) if c.name == "value" => "sum",
                _ => return None,
            };
            Some((Measure { attribute, event_type }, attribute == "count"))
        }
        _ => None,
    }
}

fn rule(expr: &Expr, types: &BTreeSet<String>) -> Option<Rule> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (side, threshold, compare) = match (number(left), number(right)) {
        (None, Some(x)) => (left, x, compare_of(*op)?),
        (Some(x), None) => (right, x, flip(compare_of(*op)?)),
        _ => return None,
    };
    let (found, threshold, compare) = match distance(side) {
        Some((inner, centre)) if threshold == TOLERANCE => match compare {
            Compare::Lt => (measure(inner, types)?, centre, Compare::Eq),
            Compare::Gte => (measure(inner, types)?, centre, Compare::Neq),
            _ => return None,
        },
        Some(_) => return None,
        None => (measure(side, types)?, threshold, compare),
    };
    let ((measure, or_zero), exactly) = (found, distance(side).is_none());
    // Rules compare sums with a tolerance, and counts without.
    let equality = matches!(compare, Compare::Eq | Compare::Neq);
    if (equality && exactly != (measure.attribute == "count")) || threshold.abs() > MAX_EXACT {
        return None;
    }
    let operator = match compare {
        Compare::Gt => "GT",
        Compare::Gte => "GTE",
        Compare::Lt => "LT",
        Compare::Lte => "LTE",
        Compare::Eq => "EQ",
        Compare::Neq => "NEQ",
    };
    let rule = Rule { measure, operator, threshold };
    // A sum of nothing is null in SQL, and 0 in rules.
    (or_zero || !rule.holds_for_none()).then_some(rule)
}

impl Rule {
    /// Whether it holds where there is no event.
    fn holds_for_none(&self) -> bool {
        let (x, near) = (self.threshold, self.threshold.abs() < TOLERANCE);
        match self.operator {
            "GT" => 0.0 > x,
            "GTE" => 0.0 >= x,
            "LT" => 0.0 < x,
            "LTE" => 0.0 <= x,
            "EQ" => near,
            _ => !near,
        }
    }
}

/// Whether a condition over presences holds; none when it is over anything else. `present` has a bit for each input.
fn holds(expr: &Expr, present: usize, bits: &[usize]) -> Option<bool> {
    let of = |e: &Expr| holds(e, present, bits);
    match expr {
        Expr::Column(c) => match input_column(&c.name)? {
            ("p", i) => Some(present >> bits.get(i)? & 1 == 1),
            _ => None,
        },
        Expr::Literal(ScalarValue::Boolean(Some(value)), _) => Some(*value),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => Some(of(left)? & of(right)?),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Some(of(left)? | of(right)?),
        Expr::Not(e) | Expr::IsNotTrue(e) | Expr::IsFalse(e) => of(e).map(|b| !b),
        Expr::IsTrue(e) | Expr::IsNotFalse(e) => of(e),
        _ => None,
    }
}

/// Whether a condition holds for each set of inputs that is not empty; for the empty one there is no row.
fn truth(condition: &Expr, bits: &[usize]) -> Option<Vec<bool>> {
    (0..1 << bits.len()).map(|present| if present == 0 { Some(false) } else { holds(condition, present, bits) }).collect()
}

/// The inputs in the order in which their values are summed, all of them once.
fn summands(query: &DerivedQuery, inputs: &[&Segment]) -> Option<Vec<usize>> {
    let bits: Vec<usize> = (0..inputs.len()).collect();
    let rows = truth(&query.condition, &bits)?;
    let (mut order, mut rest) = (vec![], query.value.as_ref()?);
    while let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) = rest {
        order.push(summand(right, &rows, &bits, inputs)?);
        rest = left.as_ref();
    }
    order.push(summand(rest, &rows, &bits, inputs)?);
    order.reverse();
    let all = order.iter().copied().collect::<BTreeSet<_>>().len();
    (order.len() == inputs.len() && all == inputs.len()).then_some(order)
}

/// The input whose value an expression is, or 0 where the user is not in it.
fn summand(expr: &Expr, rows: &[bool], bits: &[usize], inputs: &[&Segment]) -> Option<usize> {
    let (mut inner, mut when, or_zero) = match expr {
        Expr::ScalarFunction(f) if f.func.name() == "coalesce" => match f.args.as_slice() {
            [inner, Expr::Literal(zero, _)] if is_zero(zero) => (inner, vec![], true),
            _ => return None,
        },
        other => (other, vec![], false),
    };
    // As outer joins make it.
    while let Expr::Case(case) = inner {
        let ([(condition, then)], Some(Expr::Literal(otherwise, _))) = (case.when_then_expr.as_slice(), case.else_expr.as_deref()) else { return None };
        if case.expr.is_some() || !otherwise.is_null() {
            return None;
        }
        when.push(condition);
        inner = then.as_ref();
    }
    let Expr::Column(c) = inner else { return None };
    let ("v", i) = input_column(&c.name)? else { return None };
    for present in (0..rows.len()).filter(|&present| rows[present]) {
        let there = present >> i & 1 == 1;
        let taken = when.iter().map(|e| holds(e, present, bits)).collect::<Option<Vec<_>>>()?.into_iter().all(|b| b);
        if (there && !taken) || (!there && !or_zero) {
            return None;
        }
    }
    (or_zero || never_null(inputs.get(i)?)).then_some(i)
}

/// Whether the value of every member is a number.
fn never_null(segment: &Segment) -> bool {
    let SegmentKind::Base { having, value: ResultValue::View(view), .. } = &segment.kind else { return false };
    // What is compared with a threshold is not null where that holds.
    matches!(view, View::Count(_) | View::SumOrZero(_)) || matches!(having, Having::Threshold(t) if t.view == *view)
}

fn combination_form(names: &[String], minutes: i64, holds: &[bool], condition: &Expr, bits: &[usize]) -> Option<Map<String, Value>> {
    let operators = folded(names.len(), holds);
    let operator = |i: usize| operators.as_ref().map_or("AND", |o| o[i]);
    let dependency = |(i, name): (usize, &String)| json!({"independentSegmentId": name, "logicalOperator": operator(i)});
    let dependencies: Vec<Value> = names.iter().enumerate().map(dependency).collect();
    let mut form = fields(json!({"type": "DERIVED", "windowMinutes": minutes, "dependencies": dependencies}));
    if operators.is_none() {
        form.insert("logicalExpression".into(), json!(expression(condition, names, holds, bits)?));
    }
    Some(form)
}

/// The operators by which folding from left to right gives the same, if any do.
fn folded(n: usize, holds: &[bool]) -> Option<Vec<&'static str>> {
    const OPERATORS: [&str; 3] = ["AND", "OR", "NOT"];
    if n > MAX_FOLDED {
        return None;
    }
    let ways = 3usize.pow(n as u32 - 1);
    let operators = |way: usize| -> Vec<&'static str> { (0..n).map(|i| if i == 0 { "AND" } else { OPERATORS[way / 3usize.pow(i as u32 - 1) % 3] }).collect() };
    let fold = |operators: &[&str], present: usize| {
        let is = |i: usize| present >> i & 1 == 1;
        (1..n).fold(is(0), |so_far, i| match operators[i] {
            "OR" => so_far || is(i),
            "NOT" => so_far && !is(i),
            _ => so_far && is(i),
        })
    };
    (0..ways).map(operators).find(|o| (1..holds.len()).all(|present| fold(o, present) == holds[present]))
}

/// A condition over presences as a `logicalExpression`, without what the rest of it says already.
fn expression(condition: &Expr, names: &[String], holds: &[bool], bits: &[usize]) -> Option<String> {
    let mut parts = split_conjunction(condition);
    let mut i = 0;
    while i < parts.len() {
        let others: Vec<&Expr> = parts.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, e)| *e).collect();
        let same = |present: usize| others.iter().all(|e| self::holds(e, present, bits) == Some(true)) == holds[present];
        if !others.is_empty() && (0..holds.len()).all(same) {
            parts = others;
        } else {
            i += 1;
        }
    }
    let texts: Vec<String> = parts.iter().map(|e| words(e, names, bits)).collect::<Option<_>>()?;
    Some(texts.join(" AND "))
}

/// A condition in words, in parentheses where it is a disjunction.
fn words(expr: &Expr, names: &[String], bits: &[usize]) -> Option<String> {
    let of = |e: &Expr| words(e, names, bits);
    let presence = |bit: &usize| (1..1 << names.len()).all(|present| holds(expr, present, bits) == Some(present >> bit & 1 == 1));
    if let Some(bit) = (0..names.len()).find(presence) {
        return quoted(&names[bit]);
    }
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => Some(format!("{} AND {}", of(left)?, of(right)?)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => Some(format!("({} OR {})", of(left)?, of(right)?)),
        Expr::Not(e) | Expr::IsNotTrue(e) | Expr::IsFalse(e) => match e.as_ref() {
            Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => Some(format!("NOT ({})", of(e)?)),
            _ => Some(format!("NOT {}", of(e)?)),
        },
        Expr::IsTrue(e) | Expr::IsNotFalse(e) => of(e),
        _ => None,
    }
}

/// A name as expressions have it.
fn quoted(name: &str) -> Option<String> {
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !["AND", "OR", "NOT"].iter().any(|w| w.eq_ignore_ascii_case(name));
    match (plain, name.contains('"'), name.contains('`')) {
        (true, ..) => Some(name.to_string()),
        (_, false, false) => Some(format!("\"{name}\"")),
        // The quotes around a name are taken off together with its own.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompileOptions, SourceKind, SourceText, compile};

    const BASES: &str = "
        CREATE SEGMENT a AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
            WHERE event_type = 'view' GROUP BY user_id, window_start, window_end HAVING count(*) >= 2;
        CREATE SEGMENT b AS SELECT user_id, sum(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
            WHERE event_type = 'purchase' GROUP BY user_id, window_start, window_end HAVING sum(value) > 10;
        CREATE SEGMENT \"c d\" AS SELECT user_id, avg(value) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
            GROUP BY user_id, window_start, window_end;
        CREATE SEGMENT hourly AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '1 hour')
            GROUP BY user_id, window_start, window_end;";

    fn form(statement: &str) -> Option<Value> {
        let source = |name: &str, text: &str| SourceText { name: name.into(), kind: SourceKind::Sql, text: text.into(), id: None };
        let program = compile(&[source("bases", BASES), source("x", statement)], &CompileOptions::default()).unwrap_or_else(|e| panic!("{statement}\n{e}"));
        let Some(Statement::Create(create)) = statement::parse(statement).0.pop().map(|p| p.statement) else { panic!("{statement}") };
        of(&create, &program, &FxHashMap::default()).map(Value::Object)
    }

    fn of_parts(value: &str, filter: &str, having: &str) -> Option<Value> {
        form(&format!(
            "CREATE SEGMENT x AS SELECT user_id, {value} AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes')
             WHERE {filter} GROUP BY user_id, window_start, window_end HAVING {having}"
        ))
    }

    #[test]
    fn every_rule_is_read_back_from_its_sql() {
        for attribute in ["count", "sum"] {
            for operator in ["GT", "GTE", "LT", "LTE", "EQ", "NEQ"] {
                for value in [json!(0), json!(3), json!(-2.5), json!(500.25)] {
                    let one = json!({"eventType": "purchase", "attribute": attribute, "operator": operator, "value": value});
                    let two = json!({"eventType": "it's", "attribute": "count", "operator": "LTE", "value": 7});
                    for rules in [json!([one]), json!([one, two]), json!([two, one]), json!([one, one])] {
                        let written = json!({"type": "INDEPENDENT", "windowMinutes": 90, "rules": rules});
                        let (segments, findings) = rule::parse(&written.to_string());
                        assert_eq!(findings, vec![]);
                        assert_eq!(form(&format!("CREATE SEGMENT x AS {}", segments[0].query)), Some(written));
                    }
                }
            }
        }
    }

    #[test]
    fn sql_that_means_rules_is_rules() {
        let rule = |event_type: &str, attribute: &str, operator: &str, value: i64| json!({"eventType": event_type, "attribute": attribute, "operator": operator, "value": value});
        let rules = |form: Option<Value>| form.map(|f| f["rules"].clone());
        let purchase = "event_type = 'purchase'";
        assert_eq!(rules(of_parts("sum(value)", purchase, "sum(value) > 500")), Some(json!([rule("purchase", "sum", "GT", 500)])));
        assert_eq!(
            rules(of_parts("coalesce(sum(value), 0)", "'purchase' = event_type", "500 < sum(value)")),
            Some(json!([rule("purchase", "sum", "GT", 500)]))
        );
        let both = "event_type = 'view' OR event_type = 'purchase'";
        let having = "count(*) FILTER (WHERE event_type = 'view') > 3 AND sum(value) FILTER (WHERE event_type = 'purchase') >= 10";
        let (view, sum) = (rule("view", "count", "GT", 3), rule("purchase", "sum", "GTE", 10));
        assert_eq!(rules(of_parts("count(*) FILTER (WHERE event_type = 'view')", both, having)), Some(json!([view, sum])));
        // The value is the first rule's.
        assert_eq!(rules(of_parts("sum(value) FILTER (WHERE event_type = 'purchase')", both, having)), Some(json!([sum, view])));
        let short = "CREATE SEGMENT x AS SELECT user_id, count(*) AS n FROM events WHERE event_type IN ('view')
                     GROUP BY user_id, TUMBLE(event_time, INTERVAL '1 hour') HAVING count(*) = 2 EMIT FINAL";
        assert_eq!(form(short).map(|f| f["windowMinutes"].clone()), Some(json!(60)));
    }

    #[test]
    fn sql_that_rules_cannot_say_has_no_form() {
        let purchase = "event_type = 'purchase'";
        for (value, filter, having) in [
            // Where there is no value, a sum is null here and 0 in rules.
            ("sum(value)", purchase, "sum(value) > -1"),
            ("sum(value)", purchase, "sum(value) <= 0"),
            ("sum(value)", purchase, "coalesce(sum(value), 0) < 5"),
            // Without the tolerance of rules, or with another.
            ("sum(value)", purchase, "sum(value) = 5"),
            ("sum(value)", purchase, "abs(coalesce(sum(value), 0) - 5) < 0.01"),
            ("count(*)", purchase, "abs(count(*) - 5) < 0.001"),
            ("count(*)", purchase, "count(value) > 5"),
            ("count(*)", purchase, "count(DISTINCT session_id) > 5"),
            ("count(*)", purchase, "count(*) > 5 OR count(*) < 2"),
            ("count(*)", purchase, "count(*) > sum(value)"),
            ("max(value)", purchase, "count(*) > 5"),
            ("count(*) + 1", purchase, "count(*) > 5"),
            ("count(*)", "event_type = 'purchase' AND value > 1", "count(*) > 5"),
            ("count(*)", "event_type <> 'purchase'", "count(*) > 5"),
            ("count(*)", "metadata['category'] = 'books'", "count(*) > 5"),
            // Two types in one count, and a type that makes groups but has no rule.
            ("count(*)", "event_type IN ('view', 'purchase')", "count(*) > 5"),
            ("count(*) FILTER (WHERE event_type = 'view')", "event_type IN ('view', 'purchase')", "count(*) FILTER (WHERE event_type = 'view') > 5"),
            // What rules would take for a purchase.
            ("count(*)", "event_type = 'orders'", "count(*) > 5"),
        ] {
            assert_eq!(of_parts(value, filter, having), None, "{value}, {filter}, {having}");
        }
        let count = |window: &str, options: &str, stream: &str, emit: &str| {
            form(&format!(
                "CREATE SEGMENT x {options} AS SELECT user_id, count(*) AS value FROM {window}({stream}) WHERE event_type = 'view'
                 GROUP BY user_id, window_start, window_end HAVING count(*) > 5 {emit}"
            ))
        };
        let tumble = "events, event_time, INTERVAL '5 minutes'";
        assert!(count("TUMBLE", "", tumble, "EMIT CHANGES").is_some());
        assert!(count("TUMBLE", "WITH (retain = '0 s')", tumble, "").is_some());
        assert_eq!(count("TUMBLE", "", tumble, "EMIT FINAL"), None);
        assert_eq!(count("TUMBLE", "WITH (retain = '1 hour')", tumble, ""), None);
        assert_eq!(count("TUMBLE", "", "events, event_time, INTERVAL '90 seconds'", ""), None);
        assert_eq!(count("TUMBLE", "", "events, event_time, INTERVAL '2 days'", ""), None);
        assert_eq!(count("TUMBLE", "", "activity_events, event_time, INTERVAL '5 minutes'", ""), None);
        assert_eq!(count("HOP", "", "events, event_time, INTERVAL '1 minute', INTERVAL '5 minutes'", ""), None);
    }

    #[test]
    fn combinations_are_read() {
        let derived = |select: &str| form(&format!("CREATE SEGMENT x AS SELECT {select}"));
        let using = "USING (user_id, window_start, window_end)";
        let operators = |form: Option<Value>| {
            form.map(|f| {
                assert_eq!((&f["type"], &f["windowMinutes"], f.get("logicalExpression")), (&json!("DERIVED"), &json!(5), None));
                let one = |d: &Value| format!("{} {}", d["logicalOperator"].as_str().unwrap_or("?"), d["independentSegmentId"].as_str().unwrap_or("?"));
                f["dependencies"].as_array().into_iter().flatten().map(one).collect::<Vec<_>>()
            })
        };
        let list = |names: &[&str]| Some(names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(operators(derived(&format!("a.user_id, a.value + b.value AS value FROM a JOIN b {using}"))), list(&["AND a", "AND b"]));
        assert_eq!(operators(derived(&format!("a.user_id, b.value + a.value AS value FROM a JOIN b {using}"))), list(&["AND b", "AND a"]));
        assert_eq!(operators(derived("user_id, value FROM a")), list(&["AND a"]));
        // Values that may be null, that are left out, or that are another segment's.
        assert_eq!(derived(&format!("a.user_id, a.value + c.value AS value FROM a JOIN \"c d\" c {using}")), None);
        assert_eq!(
            operators(derived(&format!("a.user_id, a.value + coalesce(c.value, 0) AS value FROM a JOIN \"c d\" c {using}"))),
            list(&["AND a", "AND c d"])
        );
        assert_eq!(derived(&format!("a.user_id, a.value FROM a JOIN b {using}")), None);
        assert_eq!(derived(&format!("a.user_id FROM a JOIN b {using}")), None);
        // Current membership, other conditions, other windows.
        assert_eq!(derived("a.user_id, a.value + b.value AS value FROM a JOIN b USING (user_id)"), None);
        assert_eq!(derived(&format!("a.user_id, a.value + b.value AS value FROM a JOIN b {using} WHERE a.value > 3")), None);
        assert_eq!(derived("user_id, value FROM hourly").map(|f| f["windowMinutes"].clone()), Some(json!(60)));
    }

    #[test]
    fn as_many_are_combined_as_can_be_looked_at() {
        for n in [MAX_INPUTS, MAX_INPUTS + 1] {
            let base = |i: usize| {
                format!(
                    "CREATE SEGMENT s{i} AS SELECT user_id, count(*) AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE event_type = 'e{i}' GROUP BY user_id, window_start, window_end;"
                )
            };
            let names: Vec<String> = (0..n).map(|i| format!("s{i}")).collect();
            let dependencies: Vec<Value> = names.iter().map(|n| json!({"independentSegmentId": n, "logicalOperator": "AND"})).collect();
            let expression = format!("(s0 OR s1) AND {}", names[2..].join(" AND "));
            let written = json!({"type": "DERIVED", "windowMinutes": 5, "dependencies": dependencies, "logicalExpression": expression});
            let statement = format!("CREATE SEGMENT x AS {}", rule::parse(&written.to_string()).0[0].query);
            let source = |text: String| SourceText { name: "sql".into(), kind: SourceKind::Sql, text, id: None };
            let program = compile(&[source((0..n).map(base).collect()), source(statement.clone())], &CompileOptions::default());
            let Some(Statement::Create(create)) = statement::parse(&statement).0.pop().map(|p| p.statement) else { panic!("{statement}") };
            let found = of(&create, &program.unwrap_or_else(|e| panic!("{e}")), &FxHashMap::default());
            assert_eq!(found.map(Value::Object), (n == MAX_INPUTS).then_some(written));
        }
    }

    #[test]
    fn every_combination_is_read_back_from_its_sql() {
        for (dependencies, expression) in [
            (vec![("a", "AND"), ("b", "OR")], None),
            (vec![("a", "AND"), ("b", "NOT")], None),
            (vec![("b", "AND"), ("a", "NOT"), ("c d", "OR")], None),
            (vec![("a", "AND"), ("b", "OR"), ("c d", "AND")], None),
            (vec![("a", "AND"), ("b", "AND"), ("c d", "AND")], Some("a AND (b OR \"c d\")")),
            (vec![("a", "AND"), ("b", "AND"), ("c d", "AND")], Some("(a AND b OR \"c d\" AND NOT a)")),
            (vec![("a", "AND"), ("b", "AND")], Some("(a OR b) AND NOT (a AND b)")),
        ] {
            let dependencies: Vec<Value> = dependencies.iter().map(|(n, o)| json!({"independentSegmentId": n, "logicalOperator": o})).collect();
            let mut written = json!({"type": "DERIVED", "windowMinutes": 5, "dependencies": dependencies});
            if let Some(text) = expression {
                written["logicalExpression"] = json!(text);
            }
            let (segments, findings) = rule::parse(&written.to_string());
            assert_eq!(findings, vec![]);
            let found = form(&format!("CREATE SEGMENT x AS {}", segments[0].query));
            assert_eq!(found.as_ref().map(|f| &f["dependencies"]), Some(&written["dependencies"]), "{expression:?}");
            assert_eq!(found.and_then(|f| f.get("logicalExpression").cloned()), written.get("logicalExpression").cloned());
        }
    }
}
