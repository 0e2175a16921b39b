//! Logical plan → the normal form of a segment: a [`BaseQuery`] over a stream or a [`DerivedQuery`] over
//! segments.
//!
//! The plan is read from the leaves up. Each node is *lowered* to what its output columns are in terms of
//! canonical columns: of an event (`user_id`, `value`, `metadata['k']`, …), of aggregates, or, for input
//! `i` of a derived segment, `p{i}` (its row is there), `u{i}`, `ws{i}`, `we{i}` (its key) and `v{i}` (its
//! value). A join on the key thus becomes a boolean over presences, and a whole derived query one
//! condition and one value expression.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result as DfResult};
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Case, Distinct, Expr, Join, LogicalPlan, Operator, TableScan, lit};
use datafusion::scalar::ScalarValue;

use crate::catalog::{Catalog, Table};
use crate::diagnostic::{Finding, Position};
use crate::program::{MatchBy, Presence};
use crate::window::WindowSpec;

/// A query over one stream: windowed aggregates of a user's events.
#[derive(Debug, Clone)]
pub struct BaseQuery {
    /// Its window.
    pub window: WindowSpec,
    /// WHERE, as conjuncts over canonical event columns.
    pub filter: Vec<Expr>,
    /// HAVING over aggregates of canonical event columns.
    pub having: Option<Expr>,
    /// The value column.
    pub value: Option<Expr>,
}

/// A query over other segments.
#[derive(Debug, Clone)]
pub struct DerivedQuery {
    /// Names of the segments read, without repetition.
    pub inputs: Vec<String>,
    /// What joins match.
    pub by: MatchBy,
    /// Where rows can come from.
    pub presence: Presence,
    /// When a row is in the segment, over `p{i}`, `v{i}` and the key.
    pub condition: Expr,
    /// Its value.
    pub value: Option<Expr>,
}

/// A segment's query in normal form.
#[derive(Debug, Clone)]
pub enum Normal {
    /// Over a stream.
    Base(Arc<BaseQuery>),
    /// Over segments.
    Derived(Arc<DerivedQuery>),
}

type Lower<T> = Result<T, Finding>;

const BASE_FORM: &str =
    "SELECT user_id, <aggregate> AS value FROM TUMBLE(events, event_time, INTERVAL '5 minutes') WHERE … GROUP BY user_id, window_start, window_end HAVING …";
const DERIVED_FORM: &str =
    "JOIN, LEFT ANTI JOIN, UNION, EXCEPT, INTERSECT and [NOT] EXISTS over segments, USING (user_id, window_start, window_end) or USING (user_id)";

/// Brings a bound plan into normal form.
pub fn normalize(plan: &LogicalPlan, catalog: &Catalog<'_>) -> Lower<Normal> {
    let mut lowering = Lowering { catalog, inputs: vec![] };
    let lowered = lowering.lower(plan)?;
    let names: Vec<&str> = plan.schema().fields().iter().map(|f| f.name().as_str()).collect();
    let value = value_column(&names, plan.schema())?;
    match lowered {
        Lowered::Rows(rows) => Err(match rows.window {
            None => error("a segment over a stream needs a window").hint(BASE_FORM),
            Some(_) => error("a segment over a stream needs GROUP BY user_id, window_start, window_end").hint(BASE_FORM),
        }),
        Lowered::Groups(groups) => base(groups, &names, value),
        Lowered::Relation(relation) => lowering.derived(relation, &names, value),
    }
}

fn error(message: impl Into<String>) -> Finding {
    Finding::new(Position::default(), message)
}

/// The index of the value column: the one column that is not part of the key.
fn value_column(names: &[&str], schema: &DFSchema) -> Lower<Option<usize>> {
    let others: Vec<usize> = (0..names.len()).filter(|&i| !matches!(names[i], "user_id" | "window_start" | "window_end")).collect();
    let index = match others.as_slice() {
        [] => return Ok(None),
        [one] => *one,
        _ => {
            return Err(error(format!("a segment has one value, but the query selects {}", others.iter().map(|&i| names[i]).collect::<Vec<_>>().join(", ")))
                .hint("select user_id and one more column, AS value"));
        }
    };
    let data_type = schema.field(index).data_type();
    if data_type.is_numeric() || matches!(data_type, DataType::Boolean | DataType::Null) {
        return Ok(Some(index));
    }
    Err(error(format!("the value of a segment is a number, but {} is {data_type}", names[index])).hint("select a number AS value, or only user_id"))
}

fn base(groups: Groups, names: &[&str], value: Option<usize>) -> Lower<Normal> {
    check_user(names, &groups.columns, |e| matches!(e, Expr::Column(c) if c.name == "user_id"))?;
    let window = groups.rows.window.ok_or_else(|| error("a segment over a stream needs a window").hint(BASE_FORM))?;
    let query = BaseQuery { window, filter: groups.rows.filter, having: conjunction(groups.having), value: value.map(|i| groups.columns[i].clone()) };
    Ok(Normal::Base(Arc::new(query)))
}

fn check_user(names: &[&str], columns: &[Expr], is_user: impl Fn(&Expr) -> bool) -> Lower<()> {
    match names.iter().position(|n| *n == "user_id") {
        Some(i) if is_user(&columns[i]) => Ok(()),
        Some(_) => Err(error("user_id must be the user's id, not another expression").hint("select user_id as it is")),
        None => Err(error("a segment selects user_id").hint("SELECT user_id, … AS value FROM …")),
    }
}

fn conjunction(exprs: Vec<Expr>) -> Option<Expr> {
    exprs.into_iter().reduce(Expr::and)
}

/// What a plan node yields.
enum Lowered {
    Rows(Rows),
    Groups(Groups),
    Relation(Relation),
}

struct Rows {
    window: Option<WindowSpec>,
    filter: Vec<Expr>,
    columns: Vec<Expr>,
}

struct Groups {
    rows: Rows,
    having: Vec<Expr>,
    columns: Vec<Expr>,
}

struct Relation {
    by: Option<MatchBy>,
    presence: Presence,
    /// Conjuncts that say when the row is there.
    condition: Vec<Expr>,
    columns: Vec<Expr>,
}

impl Relation {
    fn holds(&self) -> Expr {
        conjunction(self.condition.clone()).unwrap_or_else(|| lit(true))
    }
}

struct Lowering<'a> {
    catalog: &'a Catalog<'a>,
    inputs: Vec<String>,
}

impl Lowering<'_> {
    fn lower(&mut self, plan: &LogicalPlan) -> Lower<Lowered> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.lower(&alias.input),
            LogicalPlan::Filter(filter) => {
                let input = self.lower(&filter.input)?;
                self.filter(input, filter.input.schema(), filter.predicate.clone())
            }
            LogicalPlan::Projection(projection) => {
                let mut input = self.lower(&projection.input)?;
                let columns = input.columns_mut();
                let exprs: Vec<Expr> = projection.expr.iter().map(|e| substitute(e, projection.input.schema(), columns)).collect::<Lower<_>>()?;
                *columns = exprs;
                Ok(input)
            }
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => match self.lower(input)? {
                Lowered::Rows(_) => Err(error("SELECT DISTINCT over events is not a segment").hint(BASE_FORM)),
                other => Ok(other),
            },
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Union(union) => {
                let mut inputs = union.inputs.iter().map(|i| self.relation(i, "UNION"));
                let first = inputs.next().unwrap_or_else(|| Err(error("an empty UNION")))?;
                let rest = inputs.collect::<Lower<Vec<_>>>()?;
                rest.into_iter().try_fold(first, unite).map(Lowered::Relation)
            }
            LogicalPlan::Sort(_) => Err(error("ORDER BY has no meaning in a segment, which is a set of users").hint("leave ORDER BY out")),
            LogicalPlan::Limit(_) => Err(error("LIMIT has no meaning in a segment: whoever qualifies is a member").hint("leave LIMIT out")),
            LogicalPlan::Window(_) => Err(error("OVER (…) is not part of a segment's query").hint(BASE_FORM)),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => Err(error("a segment reads a stream or other segments; FROM is missing").hint(BASE_FORM)),
            other => Err(error(format!("{} is not part of a segment's query", other.display())).hint(BASE_FORM)),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Lower<Lowered> {
        let name = scan.table_name.table();
        match self.catalog.table(name) {
            Some(Table::Stream { stream, window }) => {
                let filter = if stream == "events" { vec![] } else { vec![column("topic").eq(lit(stream))] };
                let columns = scan.projected_schema.fields().iter().map(|f| column(f.name())).collect();
                Ok(Lowered::Rows(Rows { window, filter, columns }))
            }
            Some(Table::Segment(name)) => {
                let i = self.inputs.iter().position(|n| *n == name).unwrap_or_else(|| {
                    self.inputs.push(name);
                    self.inputs.len() - 1
                });
                let columns = ["u", "ws", "we", "v"].iter().map(|c| column(&format!("{c}{i}"))).collect();
                Ok(Lowered::Relation(Relation { by: None, presence: Presence::Input(i), condition: vec![column(&format!("p{i}"))], columns }))
            }
            None => Err(error(format!("unknown segment or stream {name}"))),
        }
    }

    fn filter(&self, mut input: Lowered, schema: &DFSchema, predicate: Expr) -> Lower<Lowered> {
        if has_subquery(&predicate) {
            return Err(error("this subquery can't be turned into a join").hint("[NOT] EXISTS or [NOT] IN of a segment, joined to WHERE by AND"));
        }
        let predicate = substitute(&predicate, schema, input.columns_mut())?;
        match &mut input {
            Lowered::Rows(rows) => rows.filter.extend(split_conjunction_owned(predicate)),
            Lowered::Groups(groups) => groups.having.extend(split_conjunction_owned(predicate)),
            Lowered::Relation(relation) => relation.condition.extend(split_conjunction_owned(predicate)),
        }
        Ok(input)
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Lower<Lowered> {
        let rows = match self.lower(&aggregate.input)? {
            Lowered::Rows(rows) => rows,
            Lowered::Groups(_) => return Err(error("aggregates of aggregates are not part of a segment's query").hint(BASE_FORM)),
            Lowered::Relation(_) => return Err(error("aggregates over segments are not supported").hint(DERIVED_FORM)),
        };
        if rows.window.is_none() {
            return Err(error("a segment over a stream needs a window").hint(BASE_FORM));
        }
        let schema = aggregate.input.schema();
        let keys: Vec<Expr> = aggregate.group_expr.iter().map(|e| substitute(e, schema, &rows.columns)).collect::<Lower<_>>()?;
        for needed in ["user_id", "window_start", "window_end"] {
            if !keys.contains(&column(needed)) {
                return Err(error(format!("GROUP BY must contain {needed}")).hint("GROUP BY user_id, window_start, window_end"));
            }
        }
        if let Some(extra) = keys.iter().find(|k| !matches!(k, Expr::Column(c) if matches!(c.name.as_str(), "user_id" | "window_start" | "window_end"))) {
            return Err(
                error(format!("a segment groups by user and window only, not by {}", extra.human_display())).hint("GROUP BY user_id, window_start, window_end")
            );
        }
        let mut columns = keys;
        for e in &aggregate.aggr_expr {
            columns.push(substitute(e, schema, &rows.columns)?);
        }
        Ok(Lowered::Groups(Groups { rows, having: vec![], columns }))
    }

    fn relation(&mut self, plan: &LogicalPlan, what: &str) -> Lower<Relation> {
        match self.lower(plan)? {
            Lowered::Relation(relation) => Ok(relation),
            _ => Err(error(format!("{what} of streams is not supported; only segments are combined")).hint("make a segment of each side and combine those")),
        }
    }

    fn join(&mut self, join: &Join) -> Lower<Lowered> {
        let left = self.relation(&join.left, "a join")?;
        let right = self.relation(&join.right, "a join")?;
        let mut keys = [false; 3];
        let mut filter = vec![];
        let mut conditions = vec![];
        for (l, r) in &join.on {
            let l = substitute(l, join.left.schema(), &left.columns)?;
            let r = substitute(r, join.right.schema(), &right.columns)?;
            conditions.push(if join.null_equality == datafusion::common::NullEquality::NullEqualsNull { not_distinct(l, r) } else { l.eq(r) });
        }
        if let Some(on) = &join.filter {
            let schema = join.left.schema().join(join.right.schema()).map_err(|e| error(e.strip_backtrace()))?;
            let columns: Vec<Expr> = left.columns.iter().chain(&right.columns).cloned().collect();
            conditions.extend(split_conjunction_owned(substitute(on, &schema, &columns)?));
        }
        for condition in conditions {
            match key_equality(&condition) {
                Some(key) => keys[key as usize] = true,
                None => filter.push(condition),
            }
        }
        let by = match keys {
            [true, true, true] => MatchBy::Window,
            [true, false, false] => MatchBy::User,
            [false, ..] => return Err(error("a join of segments must include user_id").hint(DERIVED_FORM)),
            _ => return Err(error("a join of segments matches window_start and window_end both, or neither").hint(DERIVED_FORM)),
        };
        let by = Some(merge_by(Some(by), merge_by(left.by, right.by)?)?).flatten();
        combine(join.join_type, left, right, filter, by).map(Lowered::Relation)
    }

    fn derived(self, relation: Relation, names: &[&str], value: Option<usize>) -> Lower<Normal> {
        check_user(names, &relation.columns, |e| key_of(e) == Some(Key::User))?;
        let by = relation.by.unwrap_or(MatchBy::Window);
        let resolve = |e: Expr| resolve_keys(e, by);
        let condition = resolve(relation.holds())?;
        let value = value.map(|i| resolve(relation.columns[i].clone())).transpose()?;
        Ok(Normal::Derived(Arc::new(DerivedQuery { inputs: self.inputs, by, presence: relation.presence, condition, value })))
    }
}

impl Lowered {
    fn columns_mut(&mut self) -> &mut Vec<Expr> {
        match self {
            Lowered::Rows(r) => &mut r.columns,
            Lowered::Groups(g) => &mut g.columns,
            Lowered::Relation(r) => &mut r.columns,
        }
    }
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn not_distinct(l: Expr, r: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(l), Operator::IsNotDistinctFrom, Box::new(r)))
}

fn merge_by(a: Option<MatchBy>, b: Option<MatchBy>) -> Lower<Option<MatchBy>> {
    match (a, b) {
        (Some(x), Some(y)) if x != y => Err(error("one query can't match both by window and by user_id alone")
            .hint("make two segments: one that matches the window, and one over it that matches user_id")),
        _ => Ok(a.or(b)),
    }
}

fn and(l: Presence, r: Presence) -> Presence {
    Presence::And(Box::new(l), Box::new(r))
}

fn or(l: Presence, r: Presence) -> Presence {
    Presence::Or(Box::new(l), Box::new(r))
}

fn combine(join_type: JoinType, left: Relation, right: Relation, filter: Vec<Expr>, by: Option<MatchBy>) -> Lower<Relation> {
    let (l, r) = (left.holds(), right.holds());
    let matched = filter.into_iter().fold(r.clone(), Expr::and);
    let optional = |columns: Vec<Expr>, when: &Expr| columns.into_iter().map(|c| when_then(when.clone(), c, null())).collect::<Vec<_>>();
    let all = |mut columns: Vec<Expr>, more: Vec<Expr>| {
        columns.extend(more);
        columns
    };
    let relation = match join_type {
        JoinType::Inner => {
            Relation { by, presence: and(left.presence, right.presence), condition: vec![l, matched], columns: all(left.columns, right.columns) }
        }
        JoinType::Left => Relation { by, presence: left.presence, condition: vec![l], columns: all(left.columns, optional(right.columns, &matched)) },
        JoinType::Right => {
            let matched = l.clone().and(matched);
            Relation { by, presence: right.presence, condition: vec![r], columns: all(optional(left.columns, &matched), right.columns) }
        }
        JoinType::Full if matched == r => Relation {
            by,
            presence: or(left.presence, right.presence),
            condition: vec![l.clone().or(r.clone())],
            columns: all(optional(left.columns, &l), optional(right.columns, &r)),
        },
        JoinType::LeftSemi => Relation { by, presence: and(left.presence, right.presence), condition: vec![l, matched], columns: left.columns },
        JoinType::LeftAnti => Relation { by, presence: left.presence, condition: vec![l, Expr::IsNotTrue(Box::new(matched))], columns: left.columns },
        JoinType::RightSemi => Relation { by, presence: and(left.presence, right.presence), condition: vec![l, matched], columns: right.columns },
        JoinType::RightAnti => {
            let matched = l.and(matched);
            Relation { by, presence: right.presence, condition: vec![r, Expr::IsNotTrue(Box::new(matched))], columns: right.columns }
        }
        other => return Err(error(format!("{other} joins like this one are not supported between segments")).hint(DERIVED_FORM)),
    };
    Ok(relation)
}

/// OR: a row of either; where both have one, that of the first.
fn unite(a: Relation, b: Relation) -> Lower<Relation> {
    let own = |r: &Relation| {
        let has = |key| r.columns.iter().any(|c| key_of(c) == Some(key));
        if has(Key::WindowStart) && has(Key::WindowEnd) { MatchBy::Window } else { MatchBy::User }
    };
    let by = match merge_by(a.by, b.by)? {
        Some(by) => by,
        None if own(&a) == MatchBy::Window && own(&b) == MatchBy::Window => MatchBy::Window,
        None => MatchBy::User,
    };
    let (l, r) = (a.holds(), b.holds());
    let columns = a.columns.into_iter().zip(b.columns).map(|(x, y)| when_then(l.clone(), x, y)).collect();
    Ok(Relation { by: Some(by), presence: or(a.presence, b.presence), condition: vec![l.or(r)], columns })
}

fn null() -> Expr {
    lit(ScalarValue::Null)
}

fn when_then(when: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Case { expr: None, when_then_expr: vec![(Box::new(when), Box::new(then))], else_expr: Some(Box::new(otherwise)) })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    User,
    WindowStart,
    WindowEnd,
}

/// Which part of the key an expression is, through CASE, coalesce, casts and aliases.
fn key_of(expr: &Expr) -> Option<Key> {
    match expr {
        Expr::Column(c) => input_column(&c.name).and_then(|(kind, _)| match kind {
            "u" => Some(Key::User),
            "ws" => Some(Key::WindowStart),
            "we" => Some(Key::WindowEnd),
            _ => None,
        }),
        Expr::Alias(a) => key_of(&a.expr),
        Expr::Cast(c) => key_of(&c.expr),
        Expr::Case(c) => {
            let branches = c.when_then_expr.iter().map(|(_, then)| then.as_ref()).chain(c.else_expr.as_deref());
            same_key(branches)
        }
        Expr::ScalarFunction(f) if f.func.name() == "coalesce" => same_key(f.args.iter()),
        _ => None,
    }
}

fn same_key<'a>(exprs: impl Iterator<Item = &'a Expr>) -> Option<Key> {
    let mut found = None;
    for e in exprs.filter(|e| !matches!(e, Expr::Literal(v, _) if v.is_null())) {
        let key = key_of(e)?;
        if found.is_some_and(|f| f != key) {
            return None;
        }
        found = Some(key);
    }
    found
}

fn key_equality(expr: &Expr) -> Option<Key> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::IsNotDistinctFrom, right }) => {
            let key = key_of(left)?;
            (key_of(right) == Some(key)).then_some(key)
        }
        _ => None,
    }
}

/// `v3` → ("v", 3).
pub fn input_column(name: &str) -> Option<(&str, usize)> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    let (kind, number) = name.split_at(digits);
    matches!(kind, "p" | "u" | "ws" | "we" | "v").then_some(())?;
    Some((kind, number.parse().ok()?))
}

/// Replaces input keys by the row's key and the input's presence.
fn resolve_keys(expr: Expr, by: MatchBy) -> Lower<Expr> {
    let window_used = std::cell::Cell::new(false);
    let replaced = expr.transform_down(|e| {
        if let Expr::IsNull(inner) | Expr::IsNotNull(inner) = &e
            && let Expr::Column(c) = inner.as_ref()
            && let Some(("u" | "ws" | "we", i)) = input_column(&c.name)
        {
            let present = column(&format!("p{i}"));
            let replaced = if matches!(e, Expr::IsNull(_)) { Expr::Not(Box::new(present)) } else { present };
            return Ok(Transformed::new(replaced, true, TreeNodeRecursion::Jump));
        }
        if let Expr::IsNull(inner) | Expr::IsNotNull(inner) = &e
            && let Some((when, present)) = optional_key(inner)
        {
            let there = Expr::IsTrue(Box::new(when.and(present)));
            let replaced = if matches!(e, Expr::IsNull(_)) { Expr::Not(Box::new(there)) } else { there };
            return Ok(Transformed::yes(replaced));
        }
        let Expr::Column(c) = &e else { return Ok(Transformed::no(e)) };
        let (name, i) = match input_column(&c.name) {
            Some(("u", i)) => ("user_id", i),
            Some(("ws", i)) => ("window_start", i),
            Some(("we", i)) => ("window_end", i),
            _ => return Ok(Transformed::no(e)),
        };
        window_used.set(window_used.get() || name != "user_id");
        let replaced = when_then(column(&format!("p{i}")), column(name), null());
        Ok(Transformed::new(replaced, true, TreeNodeRecursion::Jump))
    });
    if by == MatchBy::User && window_used.get() {
        return Err(error("a segment that matches by user_id alone can't compare windows")
            .hint("leave window_start and window_end out, or match USING (user_id, window_start, window_end)"));
    }
    replaced.map(|t| t.data).map_err(|e| error(e.strip_backtrace()))
}

/// `CASE WHEN w THEN u{i} ELSE NULL END`, as an outer join makes it → (w, p{i}).
fn optional_key(expr: &Expr) -> Option<(Expr, Expr)> {
    let Expr::Case(case) = expr else { return None };
    let [(when, then)] = case.when_then_expr.as_slice() else { return None };
    if !matches!(case.else_expr.as_deref(), Some(Expr::Literal(v, _)) if v.is_null()) {
        return None;
    }
    match then.as_ref() {
        Expr::Column(c) => {
            let ("u" | "ws" | "we", i) = input_column(&c.name)? else { return None };
            Some((when.as_ref().clone(), column(&format!("p{i}"))))
        }
        nested => {
            let (inner, present) = optional_key(nested)?;
            Some((when.as_ref().clone().and(inner), present))
        }
    }
}

fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)))).unwrap_or(true)
}

/// Rewrites an expression of a plan node into canonical columns: replaces the columns of `schema` by
/// `columns`, drops aliases, folds casts of literals, and turns `metadata['k']` into one column.
fn substitute(expr: &Expr, schema: &DFSchema, columns: &[Expr]) -> Lower<Expr> {
    if has_subquery(expr) {
        return Err(error("this subquery can't be turned into a join").hint("[NOT] EXISTS or [NOT] IN of a segment, joined to WHERE by AND"));
    }
    let replaced = expr.clone().transform_up(|e| substitute_node(e, schema, columns));
    replaced.map(|t| t.data).map_err(|e| error(e.strip_backtrace()))
}

fn substitute_node(expr: Expr, schema: &DFSchema, columns: &[Expr]) -> DfResult<Transformed<Expr>> {
    match expr {
        Expr::Column(c) => {
            let index = schema.index_of_column(&c)?;
            Ok(Transformed::yes(columns[index].clone()))
        }
        Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
        Expr::Cast(ref cast) => match cast.expr.as_ref() {
            Expr::Literal(value, _) => Ok(Transformed::yes(lit(value.cast_to(cast.field.data_type())?))),
            _ => Ok(Transformed::no(expr)),
        },
        Expr::Negative(ref inner) => match inner.as_ref() {
            Expr::Literal(value, _) if value.data_type().is_numeric() => Ok(Transformed::yes(lit(value.arithmetic_negate()?))),
            _ => Ok(Transformed::no(expr)),
        },
        Expr::ScalarFunction(ref f) if f.func.name() == "get_field" => match f.args.as_slice() {
            [Expr::Column(c), Expr::Literal(key, _)] if c.name == "metadata" => match key.try_as_str() {
                Some(Some(key)) => Ok(Transformed::yes(column(&metadata_column(key)))),
                _ => Ok(Transformed::no(expr)),
            },
            _ => Ok(Transformed::no(expr)),
        },
        other => Ok(Transformed::no(other)),
    }
}

/// The canonical column of a metadata key.
pub fn metadata_column(key: &str) -> String {
    format!("metadata['{key}']")
}

/// The key of a canonical metadata column.
pub fn metadata_key(column: &str) -> Option<&str> {
    column.strip_prefix("metadata['")?.strip_suffix("']")
}
