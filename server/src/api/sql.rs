//! Statements as SQL: segments come, change and go; SELECT looks at what there is.

use axum::extract::State;
use axum::{Extension, Json};
use cohort_compiler::Diagnostics;
use cohort_compiler::statement::{self, Piece, Statement};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::explain;
use super::extract::Body;
use super::problem::{ApiResult, Problem};
use crate::catalog::Edit;
use crate::config::Role;
use crate::service::query::Table;

/// Statements.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SqlInput {
    /// One or more statements, separated by semicolons.
    #[schema(example = "SHOW SEGMENTS")]
    sql: String,
}

/// What one statement did.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The statement.
    statement: String,
    /// `created`, `replaced`, `exists`, `dropped`, `absent`, `paused`, `resumed`, `rows` or `plan`.
    pub outcome: String,
    /// The segment that it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Rows, for SELECT and SHOW; the plan, for EXPLAIN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
}

/// What a statement found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Outcome {
    /// Rows.
    Table(Table),
    /// A plan.
    Plan(Box<explain::Plan>),
}

/// What each statement did, in order.
#[derive(Debug, Serialize, ToSchema)]
pub struct Outcomes {
    results: Vec<Done>,
}

/// Runs statements, one after the other; the first that fails ends it, and what those before it did stays.
#[utoipa::path(post, path = "/sql", operation_id = "runSql", tag = "sql", request_body = SqlInput, responses((status = 200, body = Outcomes), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn run(State(app): State<App>, Extension(caller): Extension<Caller>, Body(input): Body<SqlInput>) -> ApiResult<Json<Outcomes>> {
    let mut results = vec![];
    let pieces = statement::pieces(&input.sql).map_err(|f| Problem::from(Diagnostics(vec![f.in_file("sql")])))?;
    for piece in pieces {
        let done = if is_query(&piece) { select(&app, &piece.text).await } else { statement(&app, &caller, &piece.text).await };
        results.push(done.map_err(|problem| after(problem.shifted(piece.at), results.len()))?);
    }
    if results.is_empty() {
        return Err(Problem::bad_request("there is no statement").hint("for instance SHOW SEGMENTS"));
    }
    Ok(Json(Outcomes { results }))
}

/// Whether a statement is a SELECT.
pub fn is_query(piece: &Piece) -> bool {
    matches!(piece.word.as_str(), "SELECT" | "WITH" | "VALUES" | "(")
}

/// What SHOW SEGMENTS selects.
pub const SHOW_SEGMENTS: &str = "SELECT name, active, emit, \"window\", sql FROM segments ORDER BY name";

fn after(problem: Problem, done: usize) -> Problem {
    if done == 0 {
        return problem;
    }
    Problem {
        detail: format!("{} ({} before it took effect)", problem.detail, if done == 1 { "the statement".into() } else { format!("the {done} statements") }),
        ..problem
    }
}

async fn select(app: &App, text: &str) -> ApiResult<Done> {
    let table = app.select(text).await?;
    Ok(Done { statement: text.trim().into(), outcome: "rows".into(), segment: None, result: Some(Outcome::Table(table)) })
}

/// Runs one statement that is no SELECT.
pub async fn statement(app: &App, caller: &Caller, text: &str) -> ApiResult<Done> {
    let (mut statements, findings) = statement::parse(text);
    if !findings.is_empty() {
        return Err(Diagnostics(findings.into_iter().map(|f| f.in_file("sql")).collect()).into());
    }
    let Some(parsed) = statements.pop() else { return Err(Problem::bad_request("there is no statement")) };
    let done =
        |outcome: &str, segment: Option<String>, result: Option<Outcome>| Done { statement: text.trim().into(), outcome: outcome.into(), segment, result };
    let current = app.current.load_full();
    match parsed.statement {
        Statement::Create(create) => {
            caller.may(Role::Write)?;
            let body = json!({"name": create.name, "sql": text});
            match current.find(&create.name) {
                Some(_) if create.if_not_exists => Ok(done("exists", Some(create.name), None)),
                Some(old) if create.or_replace => {
                    let edit =
                        Edit::Replace { id: old.id.clone(), name: create.name.clone(), body, description: old.description.clone(), expected_version: None };
                    app.edit(vec![edit], &caller.name).await?;
                    Ok(done("replaced", Some(create.name), None))
                }
                _ => {
                    let edit = Edit::Create { name: create.name.clone(), body, description: String::new(), origin: "api".into(), active: true };
                    app.edit(vec![edit], &caller.name).await?;
                    Ok(done("created", Some(create.name), None))
                }
            }
        }
        Statement::Drop { name, if_exists } => {
            caller.may(Role::Write)?;
            match current.find(&name) {
                None if if_exists => Ok(done("absent", Some(name), None)),
                None => Err(Problem::no_segment(&name)),
                Some(old) => {
                    app.edit(vec![Edit::Drop { id: old.id.clone() }], &caller.name).await?;
                    Ok(done("dropped", Some(name), None))
                }
            }
        }
        Statement::Alter { name, active } => {
            caller.may(Role::Write)?;
            let old = current.find(&name).ok_or_else(|| Problem::no_segment(&name))?;
            if old.active != active {
                app.edit(vec![Edit::SetActive { id: old.id.clone(), active }], &caller.name).await?;
            }
            Ok(done(if active { "resumed" } else { "paused" }, Some(name), None))
        }
        Statement::Show => {
            let table = app.select(SHOW_SEGMENTS).await?;
            Ok(done("rows", None, Some(Outcome::Table(table))))
        }
        Statement::Explain { .. } => {
            let plan = explain::of_text(app, text, explain::Style::Tree, false).await?;
            Ok(done("plan", None, Some(Outcome::Plan(Box::new(plan)))))
        }
    }
}
