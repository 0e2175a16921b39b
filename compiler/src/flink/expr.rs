//! Expressions in Flink SQL: only those that give the same there as here, for every event and group.
//!
//! Instants are BIGINT milliseconds since the epoch in an exported job, and lengths of time BIGINT milliseconds. Nothing that is written here can
//! fail in Flink, where one failure would end the job; here it is null, and so what could fail is refused.

use std::fmt::Write as _;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, Case, InList, Like};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator};

use crate::catalog;
use crate::normalize::{input_column, metadata_key};
use crate::text::text_of;

/// Why something is not written, and what could be written instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Why.
    pub why: String,
    /// Instead.
    pub instead: Option<String>,
}

pub(super) type Written<T> = Result<T, Reason>;

pub(super) fn refuse<T>(why: impl Into<String>) -> Written<T> {
    Err(Reason { why: why.into(), instead: None })
}

fn refuse_but<T>(why: impl Into<String>, instead: &str) -> Written<T> {
    Err(Reason { why: why.into(), instead: Some(instead.into()) })
}

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Double,
    Text,
    Instant,
    Length,
    Null,
}

const FUNCTIONS: &str = "abs, ceil, char_length, coalesce, floor and nullif are exported";
const AGGREGATES: &str = "count, count(DISTINCT …), sum, avg, min and max are exported";

/// What kind of value an expression yields.
pub(super) fn kind(expr: &Expr) -> Written<Kind> {
    let names: std::collections::BTreeSet<String> = expr.column_refs().into_iter().map(|c| c.name.clone()).collect();
    let events = catalog::event_fields();
    let field = |name: &String| match (events.iter().find(|f| f.name() == name), input_column(name)) {
        (Some(field), _) => field.clone(),
        (None, Some(("p", _))) => Field::new(name, DataType::Boolean, false),
        (None, Some(("v", _))) => Field::new(name, DataType::Float64, true),
        (None, _) if matches!(name.as_str(), "window_start" | "window_end") => Field::new(name, catalog::timestamp_type(), false),
        (None, _) => Field::new(name, DataType::Utf8, true),
    };
    let schema = DFSchema::try_from(Schema::new(names.iter().map(field).collect::<Vec<_>>()));
    match schema.and_then(|schema| expr.get_type(&schema)) {
        Ok(found) => kind_of(&found),
        Err(error) => refuse(error.strip_backtrace()),
    }
}

fn kind_of(data_type: &DataType) -> Written<Kind> {
    Ok(match data_type {
        DataType::Boolean => Kind::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Kind::Integer,
        DataType::Float64 => Kind::Double,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Timestamp(..) => Kind::Instant,
        DataType::Duration(_) | DataType::Interval(_) => Kind::Length,
        DataType::Null => Kind::Null,
        other => return refuse(format!("values of type {other} differ in Flink")),
    })
}

/// A text as a literal.
pub(super) fn text(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    // A line that ends within a literal would end the statement for some readers of SQL.
    let mut out = String::from("U&'");
    for c in text.chars() {
        match c {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => drop(write!(out, "\\{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "'"
}

/// A number as a DOUBLE.
pub(super) fn double(x: f64) -> String {
    let text = format!("{x:E}");
    if x < 0.0 { format!("({text})") } else { text }
}

fn integer(x: i64) -> String {
    // Of the least number the text without its sign is none.
    match x {
        i64::MIN => format!("({} - 1)", i64::MIN + 1),
        x if x < 0 => format!("({x})"),
        x => x.to_string(),
    }
}

/// A length of time as an interval.
pub(super) fn interval(ms: i64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (hours, minutes, seconds, millis) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    format!("INTERVAL '{days} {hours:02}:{minutes:02}:{seconds:02}.{millis:03}' DAY(3) TO SECOND(3)")
}

/// Writes expressions; `aggregate` says what stands for an aggregate, given as SQL.
pub(super) struct Writer<'a> {
    /// What stands for a canonical column.
    pub column: &'a dyn Fn(&str) -> Written<String>,
    /// What stands for an aggregate, given as SQL.
    pub aggregate: &'a mut dyn FnMut(String) -> String,
}

/// A column of an event.
pub(super) fn event_column(name: &str) -> Written<String> {
    if let Some(key) = metadata_key(name) {
        return Ok(format!("metadata[{}]", text(key)));
    }
    match name {
        "user_id" | "event_type" | "session_id" | "topic" => Ok(name.into()),
        "value" => Ok("amount".into()),
        "event_time" => Ok("event_millis".into()),
        "metadata" => refuse_but("metadata as a whole has no equal in Flink", "read keys of it: metadata['category']"),
        other => refuse(format!("{other} has no equal in Flink")),
    }
}

impl Writer<'_> {
    /// An expression.
    pub fn write(&mut self, expr: &Expr) -> Written<String> {
        match expr {
            Expr::Column(c) => (self.column)(&c.name),
            Expr::Literal(value, _) => literal(value),
            Expr::Alias(alias) => self.write(&alias.expr),
            Expr::BinaryExpr(binary) => self.binary(binary),
            Expr::Not(e) => Ok(format!("(NOT {})", self.write(e)?)),
            Expr::IsNull(e) => self.after(e, "IS NULL"),
            Expr::IsNotNull(e) => self.after(e, "IS NOT NULL"),
            Expr::IsTrue(e) => self.after(e, "IS TRUE"),
            Expr::IsFalse(e) => self.after(e, "IS FALSE"),
            Expr::IsUnknown(e) => self.after(e, "IS UNKNOWN"),
            Expr::IsNotTrue(e) => self.after(e, "IS NOT TRUE"),
            Expr::IsNotFalse(e) => self.after(e, "IS NOT FALSE"),
            Expr::IsNotUnknown(e) => self.after(e, "IS NOT UNKNOWN"),
            Expr::Negative(e) if matches!(kind(e)?, Kind::Integer | Kind::Double) => Ok(format!("(- {})", self.write(e)?)),
            Expr::Between(b) => {
                let (low, high) = if b.negated { ("<", ">") } else { (">=", "<=") };
                let (e, joined) = (self.write(&b.expr)?, if b.negated { "OR" } else { "AND" });
                Ok(format!("({e} {low} {} {joined} {e} {high} {})", self.write(&b.low)?, self.write(&b.high)?))
            }
            Expr::InList(list) => self.in_list(list),
            Expr::Like(like) => self.like(like),
            Expr::Case(case) => self.case(case),
            Expr::Cast(cast) => self.cast(&cast.expr, cast.field.data_type()),
            Expr::AggregateFunction(f) => {
                let sql = self.aggregate_function(f)?;
                Ok((self.aggregate)(sql))
            }
            Expr::ScalarFunction(f) => self.function(f.func.name(), &f.args, expr),
            other => refuse(format!("{} has no equal in Flink", text_of(other))),
        }
    }

    /// An expression as a number of type DOUBLE: the value of a segment.
    pub fn number(&mut self, expr: &Expr) -> Written<String> {
        let written = self.write(expr)?;
        match kind(expr)? {
            Kind::Double => Ok(written),
            Kind::Integer => Ok(format!("CAST({written} AS DOUBLE)")),
            Kind::Boolean => Ok(format!("(CASE WHEN {written} THEN 1E0 WHEN NOT {written} THEN 0E0 END)")),
            Kind::Null => Ok("CAST(NULL AS DOUBLE)".into()),
            _ => refuse(format!("{} is no number", text_of(expr))),
        }
    }

    fn after(&mut self, expr: &Expr, test: &str) -> Written<String> {
        Ok(format!("({} {test})", self.write(expr)?))
    }

    fn binary(&mut self, binary: &BinaryExpr) -> Written<String> {
        let BinaryExpr { left, op, right } = binary;
        let sign = match op {
            Operator::And => "AND",
            Operator::Or => "OR",
            Operator::Eq => "=",
            Operator::NotEq => "<>",
            Operator::Lt => "<",
            Operator::LtEq => "<=",
            Operator::Gt => ">",
            Operator::GtEq => ">=",
            Operator::IsDistinctFrom => "IS DISTINCT FROM",
            Operator::IsNotDistinctFrom => "IS NOT DISTINCT FROM",
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Multiply => "*",
            Operator::Divide | Operator::Modulo => return self.division(binary),
            other => return refuse(format!("the operator {other} differs in Flink")),
        };
        if matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) {
            let kinds = (kind(left)?, kind(right)?);
            let times = matches!(kinds, (Kind::Instant | Kind::Length, Kind::Instant | Kind::Length)) && *op != Operator::Multiply;
            if !times && !matches!(kinds, (Kind::Integer | Kind::Double, Kind::Integer | Kind::Double)) {
                return refuse(format!("{op} of these types differs in Flink"));
            }
        }
        Ok(format!("({} {sign} {})", self.write(left)?, self.write(right)?))
    }

    /// Division by zero is null for whole numbers here, and ends a job there; and what comes of it for others compares differently.
    fn division(&mut self, binary: &BinaryExpr) -> Written<String> {
        if !matches!((kind(&binary.left)?, kind(&binary.right)?), (Kind::Integer | Kind::Double, Kind::Integer | Kind::Double)) {
            return refuse("division of these types differs in Flink");
        }
        if !never_zero(&binary.right) {
            return refuse_but("a division by what may be zero differs in Flink", "divide by a number, by count(*) or by nullif(…, 0)");
        }
        let (left, right) = (self.write(&binary.left)?, self.write(&binary.right)?);
        Ok(if binary.op == Operator::Divide { format!("({left} / {right})") } else { format!("MOD({left}, {right})") })
    }

    fn in_list(&mut self, list: &InList) -> Written<String> {
        if list.list.iter().any(|e| !matches!(e, Expr::Literal(v, _) if !v.is_null())) {
            return refuse("IN is exported for lists of texts and numbers");
        }
        let items = list.list.iter().map(|e| self.write(e)).collect::<Written<Vec<_>>>()?;
        Ok(format!("({} {} ({}))", self.write(&list.expr)?, if list.negated { "NOT IN" } else { "IN" }, items.join(", ")))
    }

    fn like(&mut self, like: &Like) -> Written<String> {
        let plain = match like.pattern.as_ref() {
            Expr::Literal(v, _) => v.try_as_str().flatten().filter(|p| !p.contains(['\\', '\n', '\r'])),
            _ => None,
        };
        let Some(pattern) = plain.filter(|_| !like.case_insensitive && like.escape_char.is_none()) else {
            return refuse_but("this LIKE differs in Flink", "LIKE with a pattern in quotes, without ESCAPE and backslashes");
        };
        Ok(format!("({} {} {})", self.write(&like.expr)?, if like.negated { "NOT LIKE" } else { "LIKE" }, text(pattern)))
    }

    fn case(&mut self, case: &Case) -> Written<String> {
        let mut out = String::from("(CASE");
        if let Some(e) = &case.expr {
            let _ = write!(out, " {}", self.write(e)?);
        }
        for (when, then) in &case.when_then_expr {
            let _ = write!(out, " WHEN {} THEN {}", self.write(when)?, self.write(then)?);
        }
        if let Some(e) = case.else_expr.as_ref().filter(|e| !matches!(e.as_ref(), Expr::Literal(v, _) if v.is_null())) {
            let _ = write!(out, " ELSE {}", self.write(e)?);
        }
        Ok(out + " END)")
    }

    fn cast(&mut self, inner: &Expr, to: &DataType) -> Written<String> {
        let written = self.write(inner)?;
        match (kind(inner)?, kind_of(to)?) {
            (Kind::Integer, Kind::Double) => Ok(format!("CAST({written} AS DOUBLE)")),
            (Kind::Instant, _) if matches!(to, DataType::Timestamp(TimeUnit::Second, _)) => refuse("instants are milliseconds in Flink"),
            (from, to) if from == to => Ok(written),
            (Kind::Null, _) => Ok(written),
            (Kind::Text, _) => refuse_but(format!("which texts are {to}s differs in Flink"), "read the number from value"),
            _ => refuse(format!("a cast to {to} differs in Flink")),
        }
    }

    fn function(&mut self, name: &str, args: &[Expr], whole: &Expr) -> Written<String> {
        let written = args.iter().map(|e| self.write(e)).collect::<Written<Vec<_>>>()?;
        let kinds = args.iter().map(kind).collect::<Written<Vec<_>>>()?;
        match (name, kinds.as_slice()) {
            ("abs", [Kind::Integer | Kind::Double]) => Ok(format!("ABS({})", written[0])),
            ("floor" | "ceil", [Kind::Double]) => Ok(format!("{}({})", name.to_uppercase(), written[0])),
            ("coalesce", _) => Ok(format!("COALESCE({})", written.join(", "))),
            ("nullif", [_, _]) => Ok(format!("NULLIF({}, {})", written[0], written[1])),
            ("character_length", [Kind::Text]) => Ok(format!("CAST(CHAR_LENGTH({}) AS BIGINT)", written[0])),
            _ => refuse_but(format!("{} may differ in Flink", text_of(whole)), FUNCTIONS),
        }
    }

    fn aggregate_function(&mut self, f: &AggregateFunction) -> Written<String> {
        let (name, p) = (f.func.name(), &f.params);
        let shown = || text_of(&Expr::AggregateFunction(f.clone()));
        let [argument] = p.args.as_slice() else { return refuse_but(format!("{} has no equal in Flink", shown()), AGGREGATES) };
        if !p.order_by.is_empty() || p.null_treatment.is_some() || (p.distinct && name != "count") {
            return refuse_but(format!("{} has no equal in Flink", shown()), AGGREGATES);
        }
        let (of, kind) = (self.write(argument)?, kind(argument)?);
        let call = match (name, kind) {
            ("count", _) if !p.distinct && matches!(argument, Expr::Literal(v, _) if !v.is_null()) => "COUNT(*)".to_string(),
            ("count", _) if argument.any_column_refs() => format!("COUNT({}{of})", if p.distinct { "DISTINCT " } else { "" }),
            ("sum", Kind::Integer) => format!("SUM(CAST({of} AS BIGINT))"),
            ("sum" | "avg", Kind::Double) => format!("{}({of})", name.to_uppercase()),
            ("min" | "max", Kind::Integer | Kind::Double | Kind::Text | Kind::Instant) => format!("{}({of})", name.to_uppercase()),
            _ => return refuse_but(format!("{} has no equal in Flink", shown()), AGGREGATES),
        };
        match &p.filter {
            Some(filter) => Ok(format!("{call} FILTER (WHERE {})", self.write(filter)?)),
            None => Ok(call),
        }
    }
}

/// Whether a divisor is zero for no event and no group.
fn never_zero(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(v, _) => !v.is_null() && number(v).is_some_and(|n| n != 0.0),
        Expr::Cast(c) => never_zero(&c.expr),
        Expr::Alias(a) => never_zero(&a.expr),
        // Each group has an event.
        Expr::AggregateFunction(f) => {
            f.func.name() == "count" && f.params.filter.is_none() && matches!(f.params.args.as_slice(), [Expr::Literal(v, _)] if !v.is_null())
        }
        Expr::ScalarFunction(f) if f.func.name() == "nullif" => matches!(f.args.as_slice(), [_, Expr::Literal(v, _)] if number(v) == Some(0.0)),
        _ => false,
    }
}

/// A literal number.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    match value.cast_to(&DataType::Float64) {
        Ok(ScalarValue::Float64(n)) if value.data_type().is_numeric() => n.filter(|n| n.is_finite()),
        _ => None,
    }
}

fn literal(value: &ScalarValue) -> Written<String> {
    match value {
        ScalarValue::Float64(Some(x)) if x.is_finite() => return Ok(double(*x)),
        ScalarValue::Boolean(Some(b)) => return Ok(if *b { "TRUE" } else { "FALSE" }.into()),
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 && i.days == 0 && i.nanoseconds % 1_000_000 == 0 => {
            return Ok(integer(i.nanoseconds / 1_000_000));
        }
        ScalarValue::TimestampNanosecond(Some(t), _) | ScalarValue::DurationNanosecond(Some(t)) if t % 1_000_000 == 0 => return Ok(integer(t / 1_000_000)),
        ScalarValue::TimestampMicrosecond(Some(t), _) | ScalarValue::DurationMicrosecond(Some(t)) if t % 1_000 == 0 => return Ok(integer(t / 1_000)),
        ScalarValue::TimestampMillisecond(Some(t), _) | ScalarValue::DurationMillisecond(Some(t)) => return Ok(integer(*t)),
        ScalarValue::TimestampSecond(Some(t), _) | ScalarValue::DurationSecond(Some(t)) if t.abs() < i64::MAX / 1_000 => return Ok(integer(t * 1_000)),
        _ => {}
    }
    if let Some(Some(known)) = value.try_as_str() {
        return Ok(text(known));
    }
    match kind_of(&value.data_type())? {
        Kind::Integer if !value.is_null() => match value.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(n))) => Ok(integer(n)),
            _ => refuse(format!("{value} has no equal in Flink")),
        },
        found if value.is_null() => Ok(format!("CAST(NULL AS {})", found.flink())),
        _ => refuse(format!("{value} has no equal in Flink")),
    }
}

impl Kind {
    fn flink(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Integer | Kind::Instant | Kind::Length => "BIGINT",
            Kind::Double | Kind::Null => "DOUBLE",
            Kind::Text => "STRING",
        }
    }
}
