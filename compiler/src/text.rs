//! Expressions in words, for plans and reasons: without the types of literals, and with the names of segments where
//! a derived segment's condition has its inputs' columns.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Expr;

/// Types that DataFusion writes around literals in the names of columns.
const TYPES: [&str; 15] =
    ["Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32", "Float64", "Utf8", "LargeUtf8", "Utf8View"];

/// An expression as text.
pub fn text_of(expr: &Expr) -> String {
    without_types(&expr.human_display().to_string()).replace("count(1)", "count(*)")
}

/// As [`text_of`], of an expression over the presences `p{i}` and values `v{i}` of inputs with these names.
pub fn text_over<'a>(expr: &Expr, input: impl Fn(usize) -> Option<&'a str>) -> String {
    let named = |e: Expr| {
        let Expr::Column(column) = &e else { return Ok(Transformed::no(e)) };
        let place = |kind: char| column.name.strip_prefix(kind).and_then(|i| input(i.parse().ok()?));
        let name = place('p').map(String::from).or_else(|| place('v').map(|name| format!("{name}.value")));
        Ok(name.map_or(Transformed::no(e.clone()), |name| Transformed::yes(Expr::Column(Column::new_unqualified(name)))))
    };
    let renamed = expr.clone().transform(named).map(|t| t.data);
    text_of(renamed.as_ref().unwrap_or(expr))
}

/// `Float64(0)` becomes `0`, and `Utf8("view")` becomes `'view'`.
fn without_types(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(open) = rest.find('(') {
        let before = &rest[..open];
        let word = before.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let inner = TYPES.contains(&&before[word..]).then(|| literal(&rest[open + 1..])).flatten();
        let Some((inner, after)) = inner else {
            out.push_str(&rest[..=open]);
            rest = &rest[open + 1..];
            continue;
        };
        out.push_str(&before[..word]);
        out.push_str(&inner);
        rest = after;
    }
    out + rest
}

/// A literal up to its closing parenthesis, and what comes after that.
fn literal(text: &str) -> Option<(String, &str)> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once("\")").map(|(inner, after)| (format!("'{}'", inner.replace('\'', "''")), after)),
        None => text.split_once(')').map(|(inner, after)| (inner.to_string(), after)),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn types_of_literals_are_left_out() {
        let cases = [
            ("coalesce(sum(value), Float64(0)) > 500", "coalesce(sum(value), 0) > 500"),
            ("sum(a) FILTER (WHERE t = Utf8(\"a (b)\")) = Int64(0)", "sum(a) FILTER (WHERE t = 'a (b)') = 0"),
            ("myUtf8(\"x\") AND é(Int64(NULL)) AND a = Utf8(\"it's\")", "myUtf8(\"x\") AND é(NULL) AND a = 'it''s'"),
            ("abs(x", "abs(x"),
        ];
        for (from, to) in cases {
            assert_eq!(without_types(from), to);
        }
    }

    #[test]
    fn inputs_have_their_names() {
        let names = ["p1 fans", "spenders"];
        let text = text_over(&col("p0").and(col("v1").gt(lit(5))).and(col("p1").is_not_true()), |i| names.get(i).copied());
        assert_eq!(text, "p1 fans AND spenders.value > 5 AND spenders IS NOT TRUE");
    }
}
