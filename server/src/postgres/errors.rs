//! Problems as PostgreSQL tells them: SQLSTATE, message, position in the query, hint.

use cohort_compiler::diagnostic::Position;
use pgwire::error::ErrorInfo;

use crate::api::problem::Problem;

/// An error that ends the connection.
pub fn fatal(code: &str, message: impl Into<String>) -> ErrorInfo {
    told("FATAL", code, message.into())
}

/// Something that a client should know.
pub fn warning(message: impl Into<String>) -> ErrorInfo {
    told("WARNING", "01000", message.into())
}

fn told(severity: &str, code: &str, message: String) -> ErrorInfo {
    let mut told = ErrorInfo::new(severity.into(), code.into(), message);
    told.severity_nonlocalized = Some(severity.into());
    told
}

/// A problem of this endpoint alone.
pub fn problem(code: &'static str, message: impl Into<String>) -> Problem {
    Problem { sqlstate: Some(code), ..Problem::bad_request(message) }
}

/// A problem as an error; its place is in the text that was sent.
pub fn error(problem: Problem, text: &str) -> ErrorInfo {
    let code = problem.sqlstate.unwrap_or_else(|| code(&problem.kind));
    let mut error = told("ERROR", code, problem.detail);
    error.hint = problem.hint;
    if let (Some(line), Some(column)) = (problem.line, problem.column) {
        error.position = Some(position(text, &Position { line, column }).to_string());
    }
    let others = problem.errors.iter().skip(1).map(|e| match (e.line, e.column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: {}", e.message),
        _ => e.message.clone(),
    });
    let others: Vec<String> = others.collect();
    error.detail = (!others.is_empty()).then(|| others.join("\n"));
    error
}

/// The code of a kind of problems.
fn code(kind: &str) -> &'static str {
    match kind.trim_start_matches("/problems/") {
        "invalid-segment" | "invalid-query" => "42601",
        "unauthorized" => "28P01",
        "forbidden" => "42501",
        "segment-not-found" => "42704",
        "name-taken" => "42710",
        "segment-in-use" => "2BP01",
        "changed-meanwhile" => "40001",
        "query-too-slow" | "timeout" => "57014",
        "query-too-large" => "53200",
        "catalog-unreachable" | "busy" | "store-unavailable" => "57P03",
        "bad-request" => "22023",
        _ => "XX000",
    }
}

/// The number of a character from 1, of its line and column.
fn position(text: &str, at: &Position) -> usize {
    let lines = text.split_inclusive('\n').take(usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX));
    lines.map(|line| line.chars().count()).sum::<usize>() + usize::try_from(at.column).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_counted_in_characters() {
        let text = "SELECT 'é',\n  nothing";
        assert_eq!(position(text, &Position { line: 1, column: 8 }), 8);
        assert_eq!(position(text, &Position { line: 2, column: 3 }), 15);
    }

    #[test]
    fn a_problem_keeps_what_it_says() {
        let problem = Problem { line: Some(2), column: Some(1), ..Problem::no_segment("x").hint("create it") };
        let error = error(problem, "DROP SEGMENT\nx");
        assert_eq!((error.code.as_str(), error.position.as_deref(), error.hint.as_deref()), ("42704", Some("14"), Some("create it")));
    }
}
