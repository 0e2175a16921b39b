//! SQL query → DataFusion logical plan, over the streams and segments of a [`Catalog`].
//!
//! Window table functions become windowed tables of the catalog, so that DataFusion's planner sees
//! ordinary tables; `GROUP BY user_id, TUMBLE(event_time, …)` becomes the table function first.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Spanned;
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, ObjectName, ObjectNamePart, Query, Select, TableAlias, TableFactor, Value,
    Visit, VisitMut, Visitor, VisitorMut,
};

use crate::catalog::{Catalog, Functions, STREAMS};
use crate::diagnostic::{Finding, Position};
use crate::window::{WindowSpec, parse_duration};

/// Plans a query, with types coerced and subqueries turned into joins.
pub fn plan(query: &mut Query, catalog: &mut Catalog<'_>, functions: &Functions) -> Result<LogicalPlan, Finding> {
    let mut rewrite = WindowFunctions { catalog };
    if let ControlFlow::Break(finding) = query.visit(&mut rewrite) {
        return Err(finding);
    }
    let options = ParserOptions { collect_spans: true, map_string_types_to_utf8view: false, ..ParserOptions::new() };
    let planner = SqlToRel::new_with_options(&*catalog, options);
    let statement = ast::Statement::Query(Box::new(query.clone()));
    let plan = planner.sql_statement_to_plan(statement).map_err(|e| planner_finding(&e, catalog))?;
    let plan = Analyzer::new().execute_and_check(plan, functions.options(), |_, _| {}).map_err(|e| planner_finding(&e, catalog))?;
    let optimizer = Optimizer::with_rules(vec![std::sync::Arc::new(DecorrelatePredicateSubquery::new())]);
    let context = OptimizerContext::new().with_skip_failing_rules(false).with_max_passes(1);
    optimizer.optimize(plan, &context, |_, _| {}).map_err(|e| planner_finding(&e, catalog))
}

/// Names of the tables that a query reads, without planning it. Window functions are none, whatever they are called.
pub fn tables(query: &Query) -> Vec<(String, Position)> {
    let mut names = TableNames(vec![]);
    let _ = query.visit(&mut names);
    names.0
}

struct TableNames(Vec<(String, Position)>);

impl Visitor for TableNames {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        if let Some(ident) = name.0.last().and_then(ObjectNamePart::as_ident) {
            let text = if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() };
            self.0.push((text, ident_position(ident)));
        }
        ControlFlow::Continue(())
    }
}

fn ident_position(ident: &Ident) -> Position {
    Position { line: ident.span.start.line, column: ident.span.start.column }
}

fn position_of(spanned: &impl Spanned) -> Position {
    let start = spanned.span().start;
    Position { line: start.line, column: start.column }
}

fn planner_finding(error: &DataFusionError, catalog: &Catalog<'_>) -> Finding {
    let diagnostic = error.diagnostic();
    let at = diagnostic.and_then(|d| d.span).map(|s| Position { line: s.start.line, column: s.start.column });
    let text = plain_message(error);
    let mut finding = Finding::new(at.unwrap_or_default(), text.clone());
    if let Some(name) = text.strip_prefix("Invalid function '").and_then(|rest| rest.split('\'').next()) {
        let (message, hint) = catalog.missing_function(name);
        return Finding { message, hint, ..finding };
    }
    if let Some(hint) = slip(&text) {
        // What follows is which types there would have been.
        let message = text.trim_start_matches("Internal error: ").split(", errors: ").next().unwrap_or_default().to_string();
        finding = Finding { message, ..finding }.hint(hint);
    } else if let Some(help) = diagnostic.and_then(|d| d.helps.first()).map(|h| h.message.clone()) {
        finding = finding.hint(help);
    } else if let Some(name) = text.strip_prefix("unknown segment or stream ") {
        finding = match catalog.nearest(name) {
            Some(near) => finding.hint(format!("did you mean {near}?")),
            None => finding.hint(format!("streams are {}; segments are named as they were created", STREAMS.join(", "))),
        };
    }
    finding
}

/// What to write instead, where the planner's words do not lead there.
fn slip(text: &str) -> Option<&'static str> {
    if text.contains("value\" must appear in the GROUP BY clause") {
        return Some(
            "in HAVING and in the select list write the aggregate itself, as in HAVING count(*) > 2: value is a column of the events, whatever the aggregate is called",
        );
    }
    if text.contains("failed to match any signature") && text.contains("Utf8") {
        return Some("texts, such as those of metadata, become numbers by CAST(metadata['price'] AS DOUBLE)");
    }
    let unknown_window = text.starts_with("No field named window_start") || text.starts_with("No field named window_end");
    unknown_window.then_some("a stream has no windows of its own: write FROM TUMBLE(events, event_time, INTERVAL '5 minutes'), or HOP, CUMULATE or SESSION")
}

/// A DataFusion error's text without its class and our own noise.
pub fn plain_message(error: &DataFusionError) -> String {
    let text = match error.find_root() {
        DataFusionError::Diagnostic(d, _) => d.message.clone(),
        DataFusionError::SQL(e, _) => e.to_string(),
        root => root.strip_backtrace(),
    };
    let text = text.trim();
    let prefixes = ["Error during planning: ", "Schema error: ", "This feature is not implemented: ", "Execution error: ", "SQL error: "];
    let text = prefixes.iter().fold(text, |t, p| t.strip_prefix(p).unwrap_or(t));
    text.split("\nThis issue was likely caused by a bug").next().unwrap_or(text).trim().to_string()
}

struct WindowFunctions<'a, 'b> {
    catalog: &'a mut Catalog<'b>,
}

impl VisitorMut for WindowFunctions<'_, '_> {
    type Break = Finding;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Finding> {
        match self.group_by_shorthand(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(finding) => ControlFlow::Break(finding),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Finding> {
        match self.table_function(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(finding) => ControlFlow::Break(finding),
        }
    }
}

const ACCEPTED: &str = "TUMBLE(events, event_time, INTERVAL '5 minutes'), HOP(events, event_time, slide, size), CUMULATE(events, event_time, step, size) or SESSION(events, event_time, gap)";

impl WindowFunctions<'_, '_> {
    /// `FROM TUMBLE(events, event_time, …)` → `FROM "TUMBLE(events, …)" AS events`.
    fn table_function(&mut self, factor: &mut TableFactor) -> Result<(), Finding> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = factor else { return Ok(()) };
        let at = position_of(name);
        let function = name.to_string().to_lowercase();
        if !is_window(&function) {
            return Err(Finding::new(at, format!("{name} is not a window function")).hint(ACCEPTED));
        }
        let args = expressions(&args.args, at)?;
        let Some((stream, rest)) = args.split_first() else { return Err(Finding::new(at, "a stream is missing").hint(ACCEPTED)) };
        let stream = column_name(stream).unwrap_or_else(|| stream.to_string());
        if !STREAMS.contains(&stream.as_str()) {
            return Err(Finding::new(at, format!("{} is not a stream; windows are over streams", stream)).hint(format!("streams are {}", STREAMS.join(", "))));
        }
        let window = window_spec(&function, rest, at)?;
        let bound = format!("{}({stream}, {window})", function.to_uppercase());
        if alias.is_none() {
            *alias = Some(TableAlias { explicit: true, name: Ident::new(stream.clone()), columns: vec![], at: None });
        }
        *factor = table(&bound, alias.take());
        self.catalog.add_stream(bound, &stream, Some(window));
        Ok(())
    }

    /// `FROM events … GROUP BY user_id, TUMBLE(event_time, …)` → the table function.
    fn group_by_shorthand(&mut self, select: &mut Select) -> Result<(), Finding> {
        let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return Ok(()) };
        let found = keys.iter().position(|k| matches!(k, Expr::Function(f) if is_window(&f.name.to_string().to_lowercase())));
        let Some(index) = found else { return Ok(()) };
        let Expr::Function(function) = keys.remove(index) else { return Ok(()) };
        let at = position_of(&function.name);
        let FunctionArguments::List(list) = &function.args else { return Err(Finding::new(at, "a window needs its sizes").hint(ACCEPTED)) };
        let args = expressions(&list.args, at)?;
        let window = window_spec(&function.name.to_string().to_lowercase(), &args, at)?;
        keys.extend(["window_start", "window_end"].map(|c| Expr::Identifier(Ident::new(c))));
        let [from] = select.from.as_mut_slice() else { return Err(Finding::new(at, "a window in GROUP BY needs one stream in FROM").hint(ACCEPTED)) };
        let TableFactor::Table { name, alias, args: None, .. } = &mut from.relation else {
            return Err(Finding::new(at, "a window in GROUP BY needs a plain stream in FROM").hint(ACCEPTED));
        };
        let stream = name.to_string().to_lowercase();
        if !STREAMS.contains(&stream.as_str()) {
            return Err(Finding::new(at, format!("{stream} is not a stream; windows are over streams")).hint(format!("streams are {}", STREAMS.join(", "))));
        }
        let bound = format!("{}({stream}, {window})", function.name.to_string().to_uppercase());
        let alias = alias.take().or_else(|| Some(TableAlias { explicit: true, name: Ident::new(stream.clone()), columns: vec![], at: None }));
        from.relation = table(&bound, alias);
        self.catalog.add_stream(bound, &stream, Some(window));
        Ok(())
    }
}

fn is_window(name: &str) -> bool {
    matches!(name, "tumble" | "hop" | "cumulate" | "session")
}

fn table(name: &str, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::Table {
        name: ObjectName::from(vec![Ident::with_quote('"', name)]),
        alias,
        args: None,
        with_hints: vec![],
        version: None,
        with_ordinality: false,
        partitions: vec![],
        json_path: None,
        sample: None,
        index_hints: vec![],
    }
}

fn expressions(args: &[FunctionArg], at: Position) -> Result<Vec<Expr>, Finding> {
    args.iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Ok(e.clone()),
            other => Err(Finding::new(at, format!("unexpected argument {other}")).hint(ACCEPTED)),
        })
        .collect()
}

fn column_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) if ident.quote_style.is_none() => Some(ident.value.to_lowercase()),
        Expr::Identifier(ident) => Some(ident.value.clone()),
        // DESCRIPTOR(event_time), as Flink writes it.
        Expr::Function(f) if f.name.to_string().eq_ignore_ascii_case("descriptor") => match &f.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(e))] => column_name(e),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The arguments after the stream: event_time and one or two intervals.
fn window_spec(function: &str, args: &[Expr], at: Position) -> Result<WindowSpec, Finding> {
    let Some((time, sizes)) = args.split_first() else { return Err(Finding::new(at, "event_time and a size are missing").hint(ACCEPTED)) };
    if column_name(time).as_deref() != Some("event_time") {
        return Err(Finding::new(at, format!("windows are over event_time, not {time}")).hint(ACCEPTED));
    }
    let sizes: Vec<i64> = sizes.iter().map(|s| interval(s, at)).collect::<Result<_, _>>()?;
    let window = match (function, sizes.as_slice()) {
        ("tumble", &[size]) => WindowSpec::Tumble { size },
        ("session", &[gap]) => WindowSpec::Session { gap },
        ("hop", &[slide, size]) => WindowSpec::Hop { slide, size },
        ("cumulate", &[step, size]) => WindowSpec::Cumulate { step, size },
        _ => {
            return Err(Finding::new(
                at,
                format!(
                    "{} takes {} after event_time, not {}",
                    function.to_uppercase(),
                    if matches!(function, "hop" | "cumulate") { "two intervals" } else { "one interval" },
                    sizes.len()
                ),
            )
            .hint(ACCEPTED));
        }
    };
    match window.problem() {
        Some(problem) => Err(Finding::new(at, problem)),
        None => Ok(window),
    }
}

fn interval(expr: &Expr, at: Position) -> Result<i64, Finding> {
    let text = match expr {
        Expr::Interval(interval) => match interval.value.as_ref() {
            Expr::Value(v) => match &v.value {
                Value::SingleQuotedString(s) | Value::Number(s, _) => {
                    let unit = interval.leading_field.as_ref().map(|f| f.to_string()).unwrap_or_default();
                    Some(format!("{s} {unit}"))
                }
                _ => None,
            },
            _ => None,
        },
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(s) => Some(s.clone()),
            _ => None,
        },
        _ => None,
    };
    text.and_then(|t| parse_duration(&t))
        .ok_or_else(|| Finding::new(at, format!("{expr} is not a length of time")).hint("write INTERVAL '5 minutes', with seconds, minutes, hours or days"))
}
