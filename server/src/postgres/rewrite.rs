//! Queries of psql and BI tools in the form that DataFusion understands. Only what names `pg_catalog` and its like is touched, and what
//! has no rows by its tables (indexes, policies, publications, …) is answered without being planned.

use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident,
    JoinOperator, ObjectName, ObjectNamePart, Query, Select, SelectItem, SetExpr, SetOperator, Statement, TableFactor, TableWithJoins, Value, ValueWithSpan,
    Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::catalog;

/// Brings a query into DataFusion's form.
///
/// # Errors
/// When it names a table or type that is not there.
pub fn rewrite(query: &mut Statement) -> Result<()> {
    let mut names = Names { system: false };
    let _ = query.visit(&mut names);
    let mut rewriter = Rewriter { system: names.system };
    match query.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Qualifies tables of `pg_catalog`, and notes whether there are any.
struct Names {
    system: bool,
}

impl VisitorMut for Names {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        let parts: Vec<String> = name.0.iter().filter_map(|p| p.as_ident()).map(|i| i.value.clone()).collect();
        let schema = parts.len().checked_sub(2).and_then(|i| parts.get(i)).map(String::as_str);
        let table = parts.last().map_or("", String::as_str);
        if parts.len() == 3 && parts[0] == catalog::DATABASE {
            name.0.remove(0);
        }
        if schema.is_none() && catalog::is_system(table) {
            name.0.insert(0, ObjectNamePart::Identifier(Ident::new("pg_catalog")));
        }
        self.system |= catalog::is_system(table) || matches!(schema, Some("pg_catalog" | "information_schema"));
        ControlFlow::Continue(())
    }
}

struct Rewriter {
    /// Whether tables of `pg_catalog` or `information_schema` are read.
    system: bool,
}

impl VisitorMut for Rewriter {
    type Break = DataFusionError;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<DataFusionError> {
        if self.system
            && query.with.is_none()
            && is_empty(&query.body)
            && let Some(names) = names(&query.body)
        {
            no_rows(query, names);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let everything = select.projection.iter().any(|i| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
        let mut seen: Vec<String> = vec![];
        for item in &mut select.projection {
            let SelectItem::UnnamedExpr(expr) = item else { continue };
            let Some(name) = name_of(expr) else { continue };
            let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            let alias = match is_column {
                // `c.oid, c.*` has it twice.
                true if everything && self.system => format!("{name}_1"),
                false if !seen.contains(&name) => name.clone(),
                _ => continue,
            };
            seen.push(name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', alias) };
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<DataFusionError> {
        if let TableFactor::Table { name, args: Some(_), .. } = factor {
            unqualify(name);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        if !self.system {
            return ControlFlow::Continue(());
        }
        match expr {
            Expr::Subquery(query) if is_empty(&query.body) => *expr = null(),
            Expr::Subquery(query) => only_one(query),
            Expr::Exists { subquery, negated } if is_empty(&subquery.body) => {
                *expr = value(Value::Boolean(*negated));
            }
            Expr::Function(f) if matches!(f.args, FunctionArguments::Subquery(_)) => {
                *expr = Expr::Cast { kind: CastKind::Cast, expr: Box::new(null()), data_type: texts(), array: false, format: None };
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        match expr {
            Expr::Function(function) => unqualify(&mut function.name),
            Expr::Collate { expr: inner, .. } => *expr = (**inner).clone(),
            Expr::BinaryOp { op, .. } => plain_operator(op),
            Expr::Cast { .. } => return cast(expr),
            Expr::Like { pattern, escape_char, .. } | Expr::ILike { pattern, escape_char, .. } => backslash(pattern, escape_char),
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => braces(right),
            Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("current_schema") => {
                *expr = Expr::Function(call("current_schema", FunctionArguments::List(arguments(vec![]))));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn value(value: Value) -> Expr {
    Expr::Value(ValueWithSpan { value, span: Span::empty() })
}

fn text_type() -> DataType {
    DataType::Varchar(None)
}

/// Lists of texts.
fn texts() -> DataType {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef;
    DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(text_type()), None))
}

/// A text that is not there.
fn null() -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(value(Value::Null)), data_type: text_type(), array: false, format: None }
}

fn arguments(args: Vec<Expr>) -> FunctionArgumentList {
    let args = args.into_iter().map(|e| FunctionArg::Unnamed(FunctionArgExpr::Expr(e))).collect();
    FunctionArgumentList { duplicate_treatment: None, args, clauses: vec![] }
}

fn call(name: &str, args: FunctionArguments) -> Function {
    let name = ObjectName(vec![ObjectNamePart::Identifier(Ident::new(name))]);
    Function { name, uses_odbc_syntax: false, parameters: FunctionArguments::None, args, filter: None, null_treatment: None, over: None, within_group: vec![] }
}

/// `pg_catalog.f` → `f`
fn unqualify(name: &mut ObjectName) {
    let schema = name.0.first().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase());
    if name.0.len() > 1 && matches!(schema.as_deref(), Some("pg_catalog" | "information_schema")) {
        name.0.drain(..name.0.len() - 1);
    }
}

/// `OPERATOR(pg_catalog.~)` → `~`
fn plain_operator(op: &mut BinaryOperator) {
    let BinaryOperator::PGCustomBinaryOperator(parts) = op else { return };
    let plain = match parts.last().map(String::as_str) {
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("=") => BinaryOperator::Eq,
        Some("<>") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        _ => return,
    };
    *op = plain;
}

/// Casts to types that only PostgreSQL has.
fn cast(expr: &mut Expr) -> ControlFlow<DataFusionError> {
    let Expr::Cast { expr: inner, data_type, .. } = expr else { return ControlFlow::Continue(()) };
    let written = data_type.to_string().to_lowercase().replace('"', "");
    let name = written.strip_prefix("pg_catalog.").or_else(|| written.strip_prefix("information_schema.")).unwrap_or(&written);
    match name {
        // Numbers stand for names there, as everywhere else.
        "regclass" | "regproc" | "regprocedure" | "regnamespace" | "regrole" => match &**inner {
            Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(named), .. }) => match catalog::number_as(name, named) {
                Some(number) => *expr = value(Value::Number(number.to_string(), false)),
                None if name == "regclass" => return ControlFlow::Break(DataFusionError::Plan(format!("table '{named}' not found"))),
                None => return ControlFlow::Break(DataFusionError::Plan(format!("Invalid function '{named}'."))),
            },
            Expr::Value(ValueWithSpan { value: Value::Placeholder(_), .. }) => {
                *expr = Expr::Function(call(&format!("to_{name}"), FunctionArguments::List(arguments(vec![(**inner).clone()]))));
            }
            _ => *expr = (**inner).clone(),
        },
        "regtype" => *expr = Expr::Function(call("format_type", FunctionArguments::List(arguments(vec![(**inner).clone(), value(Value::Null)])))),
        "oid" | "xid" => *data_type = DataType::BigInt(None),
        "name" | "char" | "text" | "varchar" | "bpchar" | "sql_identifier" | "character_data" | "cardinal_number" | "yes_or_no" => {
            *data_type = text_type();
        }
        "text[]" | "name[]" | "varchar[]" | "character varying[]" | "char[]" => {
            if let Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(list), .. }) = &**inner
                && let Some(list) = list_of(list)
            {
                *expr = list;
            } else {
                *data_type = texts();
            }
        }
        "int2" | "int4" | "int8" | "float4" | "float8" | "bool" | "timestamptz" if written != name => match datatype(name) {
            Some(plain) => *data_type = plain,
            None => return ControlFlow::Continue(()),
        },
        _ => {}
    }
    ControlFlow::Continue(())
}

fn datatype(name: &str) -> Option<DataType> {
    match name {
        "int2" => Some(DataType::SmallInt(None)),
        "int4" => Some(DataType::Int(None)),
        "int8" => Some(DataType::BigInt(None)),
        "float4" => Some(DataType::Real),
        "float8" => Some(DataType::DoublePrecision),
        "bool" => Some(DataType::Boolean),
        _ => None,
    }
}

/// `LIKE p ESCAPE '/'` → LIKE with the backslashes that DataFusion knows.
fn backslash(pattern: &mut Expr, escape: &mut Option<ValueWithSpan>) {
    let Some(ValueWithSpan { value: Value::SingleQuotedString(by), .. }) = escape.clone() else { return };
    if by == "\\" {
        return;
    }
    let text = |text: &str| value(Value::SingleQuotedString(text.into()));
    let replace = |of: Expr, from: &str, to: &str| Expr::Function(call("replace", FunctionArguments::List(arguments(vec![of, text(from), text(to)]))));
    let mut plain = replace(pattern.clone(), "\\", "\\\\");
    if !by.is_empty() {
        plain = replace(plain, &by, "\\");
    }
    (*pattern, *escape) = (plain, None);
}

/// `'{a,b}'` beside ANY and ALL → `ARRAY['a', 'b']`
fn braces(expr: &mut Expr) {
    let text = match &*expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text.clone(),
        Expr::Nested(inner) => {
            let mut inner = (**inner).clone();
            braces(&mut inner);
            *expr = inner;
            return;
        }
        _ => return,
    };
    if let Some(list) = list_of(&text) {
        *expr = list;
    }
}

fn list_of(text: &str) -> Option<Expr> {
    let items = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let items = items.split(',').filter(|i| !i.is_empty()).map(|i| value(Value::SingleQuotedString(i.trim().trim_matches('"').to_string())));
    Some(Expr::Array(Array { elem: items.collect(), named: true }))
}

/// A subquery that is a value has at most one row, which DataFusion takes from an aggregate only.
fn only_one(query: &mut Query) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    let has_groups = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    if has_groups || select.having.is_some() || select.distinct.is_some() || aggregates(&select.projection) {
        return;
    }
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = &mut select.projection[..] else { return };
    *expr = Expr::Function(call("max", FunctionArguments::List(arguments(vec![expr.clone()]))));
    query.order_by = None;
    query.limit_clause = None;
}

/// Looks for aggregates that are not those of a subquery.
#[derive(Default)]
struct Aggregates {
    found: bool,
    depth: usize,
}

impl Visitor for Aggregates {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        const KNOWN: [&str; 12] = ["count", "sum", "min", "max", "avg", "string_agg", "array_agg", "bool_or", "bool_and", "every", "json_agg", "jsonb_agg"];
        if let Expr::Function(f) = expr {
            let name = f.name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase());
            self.found |= self.depth == 0 && f.over.is_none() && name.is_some_and(|n| KNOWN.contains(&n.as_str()));
        }
        ControlFlow::Continue(())
    }
}

fn aggregates(items: &Vec<SelectItem>) -> bool {
    let mut aggregates = Aggregates::default();
    let _ = items.visit(&mut aggregates);
    aggregates.found
}

/// Whether a query can have no rows, as a table that it needs rows of is empty.
fn is_empty(body: &SetExpr) -> bool {
    match body {
        SetExpr::Query(query) => query.with.is_none() && is_empty(&query.body),
        SetExpr::Select(select) => select.from.iter().any(from_is_empty) && !one_group(select),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => is_empty(left) && is_empty(right),
        SetExpr::SetOperation { op: SetOperator::Intersect, left, right, .. } => is_empty(left) || is_empty(right),
        SetExpr::SetOperation { op: SetOperator::Except | SetOperator::Minus, left, .. } => is_empty(left),
        _ => false,
    }
}

/// Whether a query aggregates everything, so that nothing has a row too.
fn one_group(select: &Select) -> bool {
    let no_groups = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    no_groups && (aggregates(&select.projection) || select.having.is_some())
}

fn from_is_empty(from: &TableWithJoins) -> bool {
    from.joins.iter().fold(factor_is_empty(&from.relation), |left, join| {
        let right = || factor_is_empty(&join.relation);
        match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => left || right(),
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => left,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right(),
            _ => left && right(),
        }
    })
}

fn factor_is_empty(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            let table = name.0.last().and_then(|p| p.as_ident()).map_or("", |i| i.value.as_str());
            name.0.len() > 1 && catalog::is_empty(table)
        }
        TableFactor::Derived { subquery, .. } => subquery.with.is_none() && is_empty(&subquery.body),
        TableFactor::NestedJoin { table_with_joins, .. } => from_is_empty(table_with_joins),
        _ => false,
    }
}

/// The names of the columns of a query, where they are all known.
fn names(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::Query(query) => names(&query.body),
        SetExpr::SetOperation { left, .. } => names(left),
        SetExpr::Select(select) => {
            let name = |item: &SelectItem| match item {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                SelectItem::UnnamedExpr(expr) => Some(name_of(expr).unwrap_or_else(|| "?column?".into())),
                _ => None,
            };
            select.projection.iter().map(name).collect()
        }
        _ => None,
    }
}

/// The name that PostgreSQL gives to a column without one.
fn name_of(expr: &Expr) -> Option<String> {
    let last = |name: &ObjectName| name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase());
    match expr {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(parts) => parts.last().map(|i| i.value.clone()),
        Expr::Function(function) => last(&function.name),
        Expr::Cast { expr, .. } => name_of(expr),
        Expr::Nested(expr) | Expr::Collate { expr, .. } => name_of(expr),
        Expr::Case { .. } => Some("case".into()),
        Expr::Exists { .. } => Some("exists".into()),
        Expr::Array(_) => Some("array".into()),
        _ => None,
    }
}

/// Makes a query one with these columns and no rows.
fn no_rows(query: &mut Query, names: Vec<String>) {
    let Some(mut select) = first(&query.body).cloned() else { return };
    let mut seen: Vec<String> = vec![];
    for name in names {
        // Names must differ.
        let again = seen.iter().filter(|n| **n == name).count();
        seen.push(if again == 0 { name } else { format!("{name}_{}", seen.len() + 1) });
    }
    let item = |name| SelectItem::ExprWithAlias { expr: null(), alias: Ident::with_quote('"', name) };
    select.projection = seen.into_iter().map(item).collect();
    select.selection = Some(value(Value::Boolean(false)));
    (select.distinct, select.having, select.group_by) = (None, None, GroupByExpr::Expressions(vec![], vec![]));
    select.from.clear();
    *query.body = SetExpr::Select(Box::new(select));
    (query.order_by, query.limit_clause) = (None, None);
}

fn first(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first(&query.body),
        SetExpr::SetOperation { left, .. } => first(left),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn rewritten(sql: &str) -> String {
        let mut parsed = Parser::parse_sql(&GenericDialect {}, sql).expect("SQL");
        rewrite(&mut parsed[0]).expect("a query");
        parsed[0].to_string()
    }

    #[test]
    fn what_is_not_of_the_catalog_stays() {
        for sql in ["SELECT user_id, (SELECT value FROM memberships) FROM memberships", "SELECT *, 'a'::VARCHAR FROM results WHERE value > ALL(SELECT 1)"] {
            assert_eq!(rewritten(sql), sql);
        }
        assert_eq!(rewritten("SELECT count(*), count(*) FROM results"), "SELECT count(*) AS \"count\", count(*) FROM results");
    }

    #[test]
    fn the_catalogs_own_words_become_plain() {
        for (sql, plain) in [
            ("SELECT pg_catalog.version()", "SELECT version() AS \"version\""),
            ("SELECT oid FROM pg_class", "SELECT oid FROM pg_catalog.pg_class"),
            ("SELECT c.oid, c.* FROM pg_class c", "SELECT c.oid AS \"oid_1\", c.* FROM pg_catalog.pg_class c"),
            ("SELECT typname FROM pg_type WHERE typinput = 'array_in'::regproc", "SELECT typname FROM pg_catalog.pg_type WHERE typinput = 750"),
            ("SELECT 1 WHERE 'a' LIKE 'b/_' ESCAPE '/'", "SELECT 1 WHERE 'a' LIKE replace(replace('b/_', '\\', '\\\\'), '/', '\\')"),
            ("SELECT oid FROM cohort.public.events", "SELECT oid FROM public.events"),
            (
                "SELECT oid FROM pg_class c WHERE c.relname OPERATOR(pg_catalog.~) '^(x)$' COLLATE pg_catalog.default",
                "SELECT oid FROM pg_catalog.pg_class c WHERE c.relname ~ '^(x)$'",
            ),
            ("SELECT oid FROM pg_class WHERE relkind = ANY('{r,v}')", "SELECT oid FROM pg_catalog.pg_class WHERE relkind = ANY(ARRAY['r', 'v'])"),
            ("SELECT 1 FROM pg_class WHERE EXISTS (SELECT 1 FROM pg_index)", "SELECT 1 FROM pg_catalog.pg_class WHERE false"),
        ] {
            assert_eq!(rewritten(sql), plain);
        }
    }

    #[test]
    fn what_has_no_rows_is_not_planned() {
        let sql = "SELECT p.pubname, NULL, NULL FROM pg_catalog.pg_publication p, pg_class c WHERE x(y) UNION SELECT a, (SELECT max(x) FROM y), c FROM pg_policy ORDER BY 1";
        let none = rewritten(sql);
        assert!(none.ends_with("WHERE false") && none.contains("AS \"pubname\""), "{none}");
        // Nothing is counted as nothing, and an outer join needs no rows.
        for sql in ["SELECT count(*) FROM pg_index", "SELECT c.oid FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid"] {
            assert!(!rewritten(sql).contains("WHERE false"), "{sql}");
        }
    }

    #[test]
    fn a_table_that_is_not_there_is_named() {
        let mut parsed = Parser::parse_sql(&GenericDialect {}, "SELECT 'nothing'::regclass").expect("SQL");
        assert!(rewrite(&mut parsed[0]).is_err_and(|e| e.to_string().contains("nothing")));
    }
}
