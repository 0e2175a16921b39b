//! How segments run and what they share: of a text, and of everything that runs now.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cohort_compiler::explain::{Format, Graph, Measured, Node};
use cohort_compiler::statement::{self, ExplainTarget, Statement};
use cohort_compiler::{Program, SourceKind, SourceText};
use cohort_engine::window::FamilyStats;
use cohort_engine::worker::Running;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::App;
use super::extract::{Body, Query};
use super::problem::{ApiResult, Problem};
use super::segments::blocking;
use crate::service::history::Reader;

/// How to print a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// A tree with lines.
    #[default]
    Tree,
    /// One line a node.
    Indent,
    /// Nodes and edges.
    Json,
    /// DOT.
    Graphviz,
}

/// A text to explain.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ExplainInput {
    /// A query, a CREATE SEGMENT, `SEGMENT name`, `ALL SEGMENTS`, or EXPLAIN of one of them.
    #[schema(example = "SEGMENT high_spenders")]
    sql: String,
    /// How to print.
    #[serde(default)]
    format: Style,
    /// Whether to run it over retained events, and show rows and times.
    #[serde(default)]
    analyze: bool,
}

/// How to print what runs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// As a tree by default; `graphviz` is answered as text.
    format: Option<Style>,
    /// Only this segment and what it reads.
    segment: Option<String>,
}

/// A plan, drawn: what is read stands before what reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanGraph {
    /// What is shared, in numbers.
    summary: String,
    nodes: Vec<PlanNode>,
    edges: Vec<PlanEdge>,
}

/// What a node of a plan is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// Reads events.
    Scan,
    /// Lets some through.
    Filter,
    /// Aggregates them by user and window.
    Window,
    /// Decides who is in.
    Segment,
}

/// An operator or a segment.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanNode {
    /// Its name in edges.
    id: String,
    kind: NodeKind,
    /// A line for people.
    label: String,
    /// Further lines.
    details: Vec<String>,
    /// How many segments use it, themselves or through others; a segment uses itself.
    shared: usize,
    /// Their names; at most 1,000, and fewer where the graph is very large.
    segments: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<PlanMeasured>,
}

/// What a node of a plan did.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanMeasured {
    /// Events that left it; results of a segment.
    rows: u64,
    /// Nanoseconds spent in it, over all threads.
    nanos: u64,
    /// Members of a segment now.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<u64>,
}

/// An arrow of a plan.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanEdge {
    /// What is read.
    from: String,
    /// What reads it.
    to: String,
}

impl From<Graph> for PlanGraph {
    fn from(graph: Graph) -> Self {
        let kind = |kind: &str| match kind {
            "scan" => NodeKind::Scan,
            "filter" => NodeKind::Filter,
            "window" => NodeKind::Window,
            _ => NodeKind::Segment,
        };
        let measured = |m: Measured| PlanMeasured { rows: m.rows, nanos: m.nanos, members: m.members };
        let node = |n: Node| PlanNode {
            kind: kind(n.kind),
            id: n.id,
            label: n.label,
            details: n.details,
            shared: n.shared,
            segments: n.segments,
            measured: n.measured.map(measured),
        };
        PlanGraph {
            summary: graph.summary,
            nodes: graph.nodes.into_iter().map(node).collect(),
            edges: graph.edges.into_iter().map(|e| PlanEdge { from: e.from, to: e.to }).collect(),
        }
    }
}

/// A plan.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// What is shared, in numbers.
    summary: String,
    /// The plan as text, unless it is asked for as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Nodes and edges, for drawing.
    #[serde(skip_serializing_if = "Option::is_none")]
    graph: Option<PlanGraph>,
    /// DataFusion's logical plan of the segment, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    logical_plan: Option<String>,
    /// The SQL of the segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    sql: Option<String>,
    /// When the segment emits.
    #[serde(skip_serializing_if = "Option::is_none")]
    emit: Option<String>,
    /// Why it emits then.
    #[serde(skip_serializing_if = "Option::is_none")]
    emit_reason: Option<String>,
}

impl Plan {
    fn new(program: &Program, graph: Graph, only: Option<&str>, style: Style) -> Plan {
        let segment = only.and_then(|name| program.segments.iter().find(|s| s.name == name));
        let as_json = style == Style::Json;
        let format = match style {
            Style::Tree => Format::Tree,
            Style::Indent => Format::Indent,
            Style::Json => Format::Json,
            Style::Graphviz => Format::Graphviz,
        };
        Plan {
            summary: graph.summary.clone(),
            plan: (!as_json).then(|| graph.render(format)),
            graph: as_json.then(|| graph.into()),
            logical_plan: segment.map(|s| s.logical_plan.to_string()),
            sql: segment.map(|s| s.sql.clone()),
            emit: segment.map(|s| format!("{:?}", s.emit).to_uppercase()),
            emit_reason: segment.map(|s| s.emit_reason.clone()),
        }
    }
}

/// What runs, with rows and times so far.
#[utoipa::path(get, path = "/explain", operation_id = "explainRunning", tag = "explain", params(Wanted), responses((status = 200, content((Plan = "application/json"), (String = "text/vnd.graphviz"))), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn running(State(app): State<App>, Query(wanted): Query<Wanted>) -> ApiResult<Response> {
    let plan = of_running(&app, wanted.segment.as_deref(), wanted.format.unwrap_or_default()).await?;
    match (wanted.format, &plan.plan) {
        (Some(Style::Graphviz), Some(text)) => Ok((StatusCode::OK, [(header::CONTENT_TYPE, "text/vnd.graphviz")], text.clone()).into_response()),
        _ => Ok(Json(plan).into_response()),
    }
}

async fn of_running(app: &App, only: Option<&str>, style: Style) -> ApiResult<Plan> {
    let current = app.current.load_full();
    let name = match only {
        Some(name) => Some(current.find(name).map(|s| s.name.clone()).filter(|n| current.compiled(n).is_some()).ok_or_else(|| Problem::no_segment(name))?),
        None => None,
    };
    let counters = counters(app, current.revision).await;
    let app = Arc::clone(app);
    blocking(move || {
        let mut graph = Graph::new(&current.program, name.as_deref());
        let (all, known) = (counters.len(), counters.iter().flatten().count());
        if known < all {
            graph.summary += &format!("; rows and times of {known} of {all} partitions, as the others are busy");
        }
        let mut scan = Measured::default();
        let mut families = vec![Measured::default(); current.program.families.len()];
        for (stats, nanos, events) in counters.into_iter().flatten() {
            (scan.rows, scan.nanos) = (scan.rows + events, scan.nanos + nanos);
            for (m, s) in families.iter_mut().zip(stats) {
                (m.rows, m.nanos) = (m.rows + s.events, m.nanos + s.nanos);
            }
        }
        measure(&mut graph, &current.program, scan, &families);
        measure_segments(&mut graph, &app, &current.program);
        Plan::new(&current.program, graph, name.as_deref(), style)
    })
    .await
}

/// What a partition counted: by family, time spent on routing, and events.
type Counters = (Vec<FamilyStats>, u64, u64);

/// How long workers may take to answer; one that waits for the sink does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// What each partition counted; none of those that are busy, or run another program.
async fn counters(app: &App, revision: i64) -> Vec<Option<Counters>> {
    let app = Arc::clone(app);
    let ask = move || {
        let all = app.runtime.partitions().len();
        let mut answers = app.runtime.ask_all(PATIENCE, move |p: &mut Running| {
            let events: u64 = p.counts.events.values().sum();
            (p.deployment.revision == revision).then(|| (p.state.family_stats(), p.state.route_nanos(), events))
        });
        answers.resize_with(all.max(answers.len()), || None);
        answers
    };
    blocking(ask).await.unwrap_or_default()
}

fn measure(graph: &mut Graph, program: &Program, scan: Measured, families: &[Measured]) {
    graph.measure("scan", scan);
    for (i, family) in program.families.iter().enumerate() {
        graph.measure(&format!("window{i}"), families[i]);
        graph.measure(&format!("filter{}", family.filter_id), Measured { rows: families[i].rows, ..Measured::default() });
    }
}

/// Results since the start, and members now.
fn measure_segments(graph: &mut Graph, app: &App, program: &Program) {
    let (results, sizes) = (app.results.of_segments(), app.profiles.sizes());
    let segments = program.segments.iter().enumerate().filter(|(_, s)| !s.hidden);
    let measured: FxHashMap<String, Measured> = segments
        .map(|(i, s)| {
            let rows = results.get(s.name.as_str()).copied().unwrap_or(0);
            (format!("segment{i}"), Measured { rows, nanos: 0, members: Some(sizes.get(&s.name).copied().unwrap_or(0)) })
        })
        .collect();
    graph.nodes.iter_mut().for_each(|node| node.measured = node.measured.or_else(|| measured.get(&node.id).copied()));
}

/// How a text would run beside what runs now.
#[utoipa::path(post, path = "/explain", operation_id = "explainText", tag = "explain", request_body = ExplainInput, responses((status = 200, body = Plan), (status = "4XX", body = Problem, content_type = "application/problem+json")))]
pub async fn text(State(app): State<App>, Body(input): Body<ExplainInput>) -> ApiResult<Json<Plan>> {
    of_text(&app, &input.sql, input.format, input.analyze).await.map(Json)
}

/// Explains a text; errors have its lines and columns.
pub async fn of_text(app: &App, sql: &str, style: Style, analyze: bool) -> ApiResult<Plan> {
    let explains = sql.trim_start().get(..7).is_some_and(|w| w.eq_ignore_ascii_case("explain"));
    let prefix = if explains { "" } else { "EXPLAIN " };
    let (mut statements, mut findings) = statement::parse(&format!("{prefix}{sql}"));
    for finding in findings.iter_mut().filter(|f| f.at.line == 1) {
        finding.at.column = finding.at.column.saturating_sub(prefix.len() as u64).max(1);
    }
    if !findings.is_empty() {
        return Err(cohort_compiler::Diagnostics(findings.into_iter().map(|f| f.in_file("sql")).collect()).into());
    }
    let Some(Statement::Explain { analyze: asked, target, .. }) = statements.pop().map(|p| p.statement).filter(|_| statements.is_empty()) else {
        return Err(Problem::bad_request("explain takes one statement"));
    };
    match target {
        ExplainTarget::All => of_running(app, None, style).await,
        ExplainTarget::Segment(name) => of_running(app, Some(&name), style).await,
        ExplainTarget::Create(create) => {
            let body = blank_words(sql, &["EXPLAIN", "ANALYZE", "VERBOSE"]);
            // A bare query is a segment of the name `query`, on the same line so that places stay.
            let (text, lead) = if create.name == "query" && !body.trim_start().to_uppercase().starts_with("CREATE") {
                let lead = "CREATE SEGMENT query AS ";
                (format!("{lead}{body}"), lead.len() as u64)
            } else {
                (body, 0)
            };
            let source = SourceText { name: "sql".into(), kind: SourceKind::Sql, text, id: None };
            let (program, _) = app.compile_beside(source, None).await.map_err(|p| left(p, lead))?;
            of_new(app, program, create.name, style, analyze || asked).await
        }
    }
}

/// Moves places of the first line to the left.
fn left(mut problem: Problem, by: u64) -> Problem {
    let shift = |line: Option<u64>, column: &mut Option<u64>| {
        if let (Some(1), Some(c)) = (line, column.as_mut()) {
            *c = c.saturating_sub(by).max(1);
        }
    };
    shift(problem.line, &mut problem.column);
    problem.errors.iter_mut().for_each(|e| shift(e.line, &mut e.column));
    problem
}

/// A text whose leading words are blank.
fn blank_words(text: &str, words: &[&str]) -> String {
    let mut text = text.to_string();
    for word in words {
        let at = text.len() - text.trim_start().len();
        if text[at..].get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word)) {
            text.replace_range(at..at + word.len(), &" ".repeat(word.len()));
        }
    }
    text
}

async fn of_new(app: &App, program: Arc<Program>, name: String, style: Style, analyze: bool) -> ApiResult<Plan> {
    if analyze {
        app.needs_events("EXPLAIN ANALYZE runs over")?;
    }
    let app = Arc::clone(app);
    let plan = blocking(move || {
        let mut graph = Graph::new(&program, Some(&name));
        if analyze {
            let (mut scan, mut families) = (Measured::default(), vec![Measured::default(); program.families.len()]);
            for partition in 0..app.retained.partitions() {
                let (_, next) = app.retained.range(partition).map_err(|e| e.to_string())?;
                let from = app.retained.back(partition, &next, 1_000_000).map_err(|e| e.to_string())?;
                let records = app.retained.open(partition, &from).map_err(|e| e.to_string())?;
                let mut reader = Reader::new(records, &program, app.settings());
                reader.run(&next, |_, _| true)?;
                (scan.rows, scan.nanos) = (scan.rows + reader.events, scan.nanos + reader.state.route_nanos());
                for (m, s) in families.iter_mut().zip(reader.state.family_stats()) {
                    (m.rows, m.nanos) = (m.rows + s.events, m.nanos + s.nanos);
                }
            }
            measure(&mut graph, &program, scan, &families);
        }
        Ok::<_, String>(Plan::new(&program, graph, Some(&name), style))
    });
    plan.await?.map_err(|e| Problem::internal(&e))
}
