//! When a segment emits: at every change, or once when the window closes; and why.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::text::{text_of, text_over};

/// When a segment emits results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Emit {
    /// As soon as a micro-batch changes whether a group qualifies, and again at the close.
    Changes,
    /// Once, when the window closes.
    Final,
}

/// The default for a HAVING clause over canonical aggregates: CHANGES when all it asks are lower bounds
/// of aggregates that only grow.
pub fn default_for_having(having: Option<&Expr>) -> (Emit, String) {
    match having {
        None => (Emit::Changes, "every group qualifies as soon as it exists".into()),
        Some(expr) => match not_lower_bound(expr) {
            None => (Emit::Changes, "HAVING asks only for lower bounds, so what qualifies early stays qualified".into()),
            Some(part) => (Emit::Final, format!("whether {} is only known when the window closes", text_of(part))),
        },
    }
}

/// The default for a derived segment, from its condition over `p{i}` and `v{i}` and its inputs' modes.
pub fn default_for_derived(condition: &Expr, inputs: &[(String, Emit)]) -> (Emit, String) {
    if let Some((name, _)) = inputs.iter().find(|(_, emit)| *emit == Emit::Final) {
        return (Emit::Final, format!("{name} emits at the close"));
    }
    match not_monotone(condition) {
        None => (Emit::Changes, "it only combines segments that emit changes, with AND and OR".into()),
        Some(part) => {
            let text = text_over(part, |i| inputs.get(i).map(|(name, _)| name.as_str()));
            (Emit::Final, format!("whether {text} is only known when the window closes"))
        }
    }
}

/// The first part of a condition that is no lower bound.
fn not_lower_bound(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => not_lower_bound(left).or_else(|| not_lower_bound(right)),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Gt | Operator::GtEq, right }) if grows(left) && is_number(right) => None,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Lt | Operator::LtEq, right }) if grows(right) && is_number(left) => None,
        other => Some(other),
    }
}

/// Whether an expression is a count, sum or max, which lower bounds are safe for early.
fn grows(expr: &Expr) -> bool {
    match expr {
        Expr::AggregateFunction(f) => matches!(f.func.name(), "count" | "sum" | "max"),
        Expr::ScalarFunction(f) if f.func.name() == "coalesce" => f.args.iter().all(|a| grows(a) || is_number(a)),
        Expr::Cast(c) => grows(&c.expr),
        Expr::Alias(a) => grows(&a.expr),
        _ => false,
    }
}

fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.data_type().is_numeric(),
        Expr::Cast(c) => is_number(&c.expr),
        _ => false,
    }
}

/// The first part of a condition that members may come to fail.
fn not_monotone(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => not_monotone(left).or_else(|| not_monotone(right)),
        Expr::Column(c) if c.name.starts_with('p') => None,
        Expr::IsTrue(e) => not_monotone(e),
        Expr::Literal(datafusion::scalar::ScalarValue::Boolean(Some(_)), _) => None,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Gt | Operator::GtEq, right }) if is_input_value(left) && is_number(right) => None,
        other => Some(other),
    }
}

fn is_input_value(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(c) if c.name.starts_with('v'))
}
