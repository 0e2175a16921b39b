//! Checks a segment that is being written, in either form: what it means as SQL and, where it can be said so, as rules;
//! what it would share; and every error with its place.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use cohort_compiler::explain::Graph;
use cohort_compiler::program::SegmentKind;
use cohort_compiler::statement::{self, Statement};
use cohort_compiler::{Program, SourceKind, form};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

use super::App;
use super::explain::PlanGraph;
use super::extract::Body;
use super::problem::{ApiResult, Problem, TextError};
use super::segments::{EmitMode, Form, SegmentInput, blocking, warnings};
use crate::catalog::Edit;
use crate::service::segments::{Current, Draft, draft, source};

/// A segment to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckInput {
    /// The segment that is edited, by id or name; none for a new one.
    id: Option<String>,
    /// The segment, as for creating it.
    #[serde(flatten)]
    #[schema(value_type = SegmentInput)]
    segment: Map<String, Value>,
}

/// What a segment would mean, or what is wrong with it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = CheckAnswer)]
pub enum Answer {
    /// It can be created, or replace the one that is edited.
    Right(Box<Checked>),
    /// It would be refused.
    Wrong(Box<Refused>),
}

/// Why a segment would be refused.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    #[schema(schema_with = never)]
    ok: bool,
    /// All that is wrong, with lines and columns of the text that was given.
    errors: Vec<TextError>,
    /// The answer that creating or replacing it would have.
    problem: Problem,
}

/// What a segment means.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    #[schema(schema_with = always)]
    ok: bool,
    /// The text that was given; of rules, the query that they are.
    sql: String,
    /// Whether `sql` alone is the segment. Rules of several windows are several queries, which are shown.
    complete: bool,
    /// Its name, where it has one.
    name: Option<String>,
    /// The rules or the combination that it is; null where only SQL can say it.
    form: Option<Form>,
    emit: EmitMode,
    /// Why it emits then.
    emit_reason: String,
    window: String,
    /// What may surprise.
    warnings: Vec<String>,
    /// How it would run.
    graph: PlanGraph,
    /// Names of the segments that it reads.
    reads: Vec<String>,
    /// Names of other segments that it would share filters, aggregations or segments with; at most 1,000.
    shares: Vec<String>,
}

fn always() -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).into()
}

fn never() -> Schema {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([false])).into()
}

/// What a segment goes by that has no name yet; no other has it.
const UNNAMED: &str = "check";
const MAX_SHARES: usize = 1_000;

/// What a segment would mean, without creating or replacing it. What is wrong with it is an answer too: only a body that
/// is none is refused.
#[utoipa::path(post, path = "/segments/check", operation_id = "checkSegment", tag = "segments", request_body = CheckInput, responses((status = 200, body = Answer), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn check(State(app): State<App>, Body(input): Body<CheckInput>) -> ApiResult<Json<Answer>> {
    match of_input(&app, input).await.map_err(without_name) {
        Ok(checked) => Ok(Json(Answer::Right(Box::new(checked)))),
        Err(problem) if problem.status < 500 => Ok(Json(Answer::Wrong(Box::new(Refused::new(problem))))),
        Err(problem) => Err(problem),
    }
}

impl Refused {
    fn new(problem: Problem) -> Self {
        let one = || TextError { message: problem.detail.clone(), line: problem.line, column: problem.column, hint: problem.hint.clone() };
        let errors = if problem.errors.is_empty() { vec![one()] } else { problem.errors.clone() };
        Refused { ok: false, errors, problem }
    }
}

async fn of_input(app: &App, input: CheckInput) -> ApiResult<Checked> {
    let current = app.current.load_full();
    let old = match &input.id {
        Some(id) => Some(current.find(id).cloned().ok_or_else(|| Problem::no_segment(id))?),
        None => None,
    };
    let known = old.as_ref().map_or(UNNAMED, |s| s.name.as_str());
    let draft = draft(&Value::Object(input.segment), Some(known))?;
    let (name, body) = (draft.name.clone(), draft.body.clone());
    let edit = match old {
        Some(old) => Edit::Replace { id: old.id, name, body, description: String::new(), expected_version: None },
        None => Edit::Create { name, body, description: String::new(), origin: "api".into(), active: true },
    };
    let (app, program) = (App::clone(app), app.check(edit).await?);
    blocking(move || checked(&app, &current, &program, &draft)).await?
}

/// A problem that does not name what has no name.
fn without_name(mut problem: Problem) -> Problem {
    let prefix = format!("\"{UNNAMED}\": ");
    let strip = |text: &mut String| {
        if let Some(rest) = text.strip_prefix(&prefix) {
            *text = rest.to_string();
        }
    };
    strip(&mut problem.detail);
    problem.errors.iter_mut().for_each(|e| strip(&mut e.message));
    problem
}

fn checked(app: &App, current: &Current, program: &Program, draft: &Draft) -> ApiResult<Checked> {
    let missing = || Problem::internal(&"the segment that was compiled is not there");
    let segment = program.segments.iter().find(|s| s.name == draft.name).ok_or_else(missing)?;
    let graph = Graph::new(program, Some(&draft.name));
    // A segment is its own user in its node, and all use the scan.
    let used = graph.nodes.iter().filter(|n| n.kind != "scan").flat_map(|n| &n.segments);
    let others: BTreeSet<&String> = used.filter(|name| **name != draft.name).collect();
    let shares = others.into_iter().take(MAX_SHARES).cloned().collect();
    let (sql, complete) = text(current, draft).ok_or_else(missing)?;
    Ok(Checked {
        ok: true,
        form: form_of(current, program, draft, &segment.sql),
        sql,
        complete,
        name: Some(draft.name.clone()).filter(|n| n != UNNAMED),
        emit: segment.emit.into(),
        emit_reason: segment.emit_reason.clone(),
        window: segment.window.to_string(),
        warnings: warnings(app, segment),
        reads: reads(program, &segment.kind, &draft.name),
        shares,
        graph: graph.into(),
    })
}

fn reads(program: &Program, kind: &SegmentKind, own: &str) -> Vec<String> {
    let SegmentKind::Derived(derived) = kind else { return vec![] };
    let inputs = derived.inputs.iter().map(|&i| &program.segments[i as usize]).filter(|s| !s.hidden && s.name != own);
    inputs.map(|s| s.name.clone()).collect()
}

/// The SQL of a draft, and whether it is all. It names segments by their names.
fn text(current: &Current, draft: &Draft) -> Option<(String, bool)> {
    if let Some(sql) = draft.body.get("sql").and_then(Value::as_str) {
        return Some((sql.to_string(), true));
    }
    // Ids mean the names that stand beside them; such an item is no segment of its own.
    let body = draft.body.to_string();
    let named = current.segments.iter().filter(|s| body.contains(&s.id)).map(|s| json!({"id": s.id, "name": s.name}));
    let items: Vec<Value> = std::iter::once(draft.body.clone()).chain(named).collect();
    let segments = cohort_compiler::rule::parse(&Value::Array(items).to_string()).0;
    match segments.as_slice() {
        [one] => Some((one.query.clone(), true)),
        [] => None,
        several => {
            let create = |s: &cohort_compiler::rule::JsonSegment| format!("CREATE SEGMENT \"{}\" AS\n{};", s.name.replace('"', "\"\""), s.query);
            Some((several.iter().map(create).collect::<Vec<_>>().join("\n\n"), false))
        }
    }
}

/// A draft as a form: the one that it is, or the one that its SQL says.
fn form_of(current: &Current, program: &Program, draft: &Draft, statement: &str) -> Option<Form> {
    let form = match source(UNNAMED, &draft.name, &draft.body).kind {
        SourceKind::Json => written(&draft.body),
        SourceKind::Sql => {
            let ids: FxHashMap<String, String> = current.segments.iter().map(|s| (s.id.clone(), s.name.clone())).collect();
            match statement::parse(statement).0.pop()?.statement {
                Statement::Create(create) => form::of(&create, program, &ids)?,
                _ => return None,
            }
        }
    };
    serde_json::from_value(Value::Object(form)).ok()
}

/// A form as it was written, with numbers as numbers and words as the document has them.
fn written(body: &Value) -> Map<String, Value> {
    let number = |v: &Value| v.as_str().and_then(|s| s.trim().parse::<f64>().ok()).map_or_else(|| v.clone(), |x| json!(x));
    let word = |v: &Value, upper: bool| v.as_str().map_or_else(|| v.clone(), |s| json!(if upper { s.to_uppercase() } else { s.to_lowercase() }));
    let rule = |r: &Value| {
        json!({
            "eventType": r["eventType"], "attribute": word(&r["attribute"], false), "operator": word(&r["operator"], true),
            "value": number(if r["threshold"].is_null() { &r["value"] } else { &r["threshold"] }), "windowMinutes": r["windowMinutes"],
        })
    };
    let dependency = |d: &Value| {
        let id = d["independentSegmentId"].as_str().map_or_else(|| d["independentSegmentId"].to_string(), String::from);
        json!({"independentSegmentId": id, "logicalOperator": d["logicalOperator"].as_str().unwrap_or("AND").to_uppercase()})
    };
    let mut form = Map::new();
    form.insert("type".into(), word(&body["type"], true));
    form.insert("windowMinutes".into(), body["windowMinutes"].clone());
    for (key, items) in [("rules", body["rules"].as_array()), ("dependencies", body["dependencies"].as_array())] {
        if let Some(items) = items.filter(|items| !items.is_empty()) {
            form.insert(key.into(), items.iter().map(|i| if key == "rules" { rule(i) } else { dependency(i) }).collect());
        }
    }
    form.insert("logicalExpression".into(), Some(&body["logicalExpression"]).filter(|e| **e != json!("")).cloned().unwrap_or_default());
    form
}
