//! SELECT over what the service knows: memberships, results, segments, and the newest events of each stream.
//! Read-only, with limits of rows, time and memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cohort_compiler::catalog::BOUNDLESS;
use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, MapBuilder, RecordBatch, StringArray, StringBuilder, TimestampMillisecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue, SchemaError};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::Service;
use crate::api::problem::{ApiResult, Problem};
use crate::api::segments::blocking;

/// Rows of the answer, at most.
pub const MAX_ROWS: usize = 10_000;
/// Rows read of a table, at most.
const MAX_READ: usize = 200_000;
/// Time for an answer, at most.
pub const MAX_TIME: Duration = Duration::from_secs(10);
/// Parameters of a query, at most.
const MAX_PARAMETERS: usize = 1_000;
/// How long after that an operator may take to let go.
const GRACE: Duration = Duration::from_millis(200);
/// Queries that run at the same time, at most; others wait.
static RUNNING: Semaphore = Semaphore::const_new(4);
const BATCH: usize = 8_192;
/// Memory for sorting, grouping and joining, at most.
const MAX_MEMORY: usize = 256 << 20;

/// The answer to a SELECT.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, by column name.
    pub rows: Vec<Map<String, Value>>,
    /// Whether there are more rows than are shown.
    pub truncated: bool,
}

/// The answer to a SELECT as Arrow has it.
pub struct Rows {
    /// The columns.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Whether there are more rows than are shown.
    pub truncated: bool,
}

/// What a SELECT would answer with, and what it must be given.
pub struct Shape {
    /// The columns of the answer.
    pub schema: SchemaRef,
    /// The types of `$1`, `$2`, … where they can be told.
    pub parameters: Vec<Option<DataType>>,
}

/// A SELECT with what it is asked with.
pub struct Select {
    /// The query.
    pub sql: String,
    /// The values of `$1`, `$2`, …
    pub parameters: Vec<ScalarValue>,
    /// How long it may take.
    pub limit: Duration,
    /// What it may name beside the tables of the service.
    pub dialect: Option<Arc<dyn Dialect>>,
}

/// What an endpoint has beside the tables and functions of the service.
pub trait Dialect: Send + Sync {
    /// Adds tables and functions.
    ///
    /// # Errors
    /// When they cannot be added.
    fn prepare(&self, context: &SessionContext) -> datafusion::common::Result<()>;

    /// Brings a query into the form that DataFusion understands.
    ///
    /// # Errors
    /// When the query names what is not there.
    fn rewrite(&self, query: &mut ast::Statement) -> datafusion::common::Result<()>;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Memberships,
    Results,
    Segments,
    /// Newest events, of all topics or one.
    Events(Option<&'static str>),
}

const TABLES: [(&str, Kind); 7] = [
    ("memberships", Kind::Memberships),
    ("results", Kind::Results),
    ("segments", Kind::Segments),
    ("events", Kind::Events(None)),
    ("order_events", Kind::Events(Some("order_events"))),
    ("activity_events", Kind::Events(Some("activity_events"))),
    ("install_events", Kind::Events(Some("install_events"))),
];

/// The tables of the service, with their columns.
pub fn tables() -> Vec<(&'static str, SchemaRef)> {
    TABLES.iter().map(|(name, kind)| (*name, schema(*kind))).collect()
}

struct Known {
    service: Arc<Service>,
    kind: Kind,
    schema: SchemaRef,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.kind)
    }
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

fn schema(kind: Kind) -> SchemaRef {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let fields = match kind {
        Kind::Memberships => vec![
            field("user_id", DataType::Utf8),
            field("segment", DataType::Utf8),
            field("value", DataType::Float64),
            field("since", time()),
            field("window_start", time()),
            field("window_end", time()),
            field("expires_at", time()),
        ],
        Kind::Results => vec![
            field("user_id", DataType::Utf8),
            field("segment", DataType::Utf8),
            field("event", DataType::Utf8),
            field("qualified", DataType::Boolean),
            field("value", DataType::Float64),
            field("timestamp", time()),
            field("window_start", time()),
            field("window_end", time()),
        ],
        Kind::Segments => vec![
            field("name", DataType::Utf8),
            field("id", DataType::Utf8),
            field("active", DataType::Boolean),
            field("emit", DataType::Utf8),
            field("window", DataType::Utf8),
            field("sql", DataType::Utf8),
        ],
        Kind::Events(_) => vec![
            field("user_id", DataType::Utf8),
            field("event_type", DataType::Utf8),
            field("event_time", time()),
            field("value", DataType::Float64),
            field("session_id", DataType::Utf8),
            field("metadata", cohort_compiler::catalog::metadata_type()),
            field("topic", DataType::Utf8),
        ],
    };
    Arc::new(Schema::new(fields))
}

/// The text that a column must equal, by one of the filters.
fn wanted(filters: &[Expr], column: &str) -> Option<String> {
    filters.iter().find_map(|filter| {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
        let (Expr::Column(c), Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _)) = (&**left, &**right) else { return None };
        (c.name == column).then(|| text.clone())
    })
}

#[async_trait::async_trait]
impl TableProvider for Known {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> datafusion::common::Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> datafusion::common::Result<Arc<dyn ExecutionPlan>> {
        let (service, kind, filters) = (Arc::clone(&self.service), self.kind, filters.to_vec());
        let read = move || service.read(kind, wanted(&filters, "user_id"), wanted(&filters, "segment"));
        let columns = tokio::task::spawn_blocking(read).await.map_err(|e| DataFusionError::External(Box::new(e)))?;
        let columns = columns.map_err(DataFusionError::Execution)?;
        let batch = RecordBatch::try_new(self.schema(), columns)?;
        let batches = (0..batch.num_rows()).step_by(BATCH).map(|from| batch.slice(from, BATCH.min(batch.num_rows() - from))).collect();
        let source = MemorySourceConfig::try_new_exec(&[batches], self.schema(), projection.cloned())?;
        Ok(source)
    }
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn times(values: impl Iterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMillisecondArray::from_iter_values(values).with_timezone("UTC"))
}

impl Service {
    fn read(&self, kind: Kind, user: Option<String>, segment: Option<String>) -> Result<Vec<ArrayRef>, String> {
        match kind {
            Kind::Memberships => self.read_memberships(user, segment).map_err(|e| e.to_string()),
            Kind::Results => Ok(self.read_results(user, segment)),
            Kind::Segments => Ok(self.read_segments()),
            Kind::Events(topic) => self.read_events(topic, user.as_deref()),
        }
    }

    fn read_memberships(&self, user: Option<String>, segment: Option<String>) -> Result<Vec<ArrayRef>, cohort_connectors::embedded::EmbeddedError> {
        let profiles: Vec<_> = match (user, segment) {
            (Some(user), _) => self.profiles.get(&user)?.map(|p| (user, p)).into_iter().collect(),
            (None, Some(segment)) => self.profiles.members(&segment, None, MAX_READ)?,
            (None, None) => self.profiles.scan()?.take(MAX_READ).collect::<Result<_, _>>()?,
        };
        let rows: Vec<_> = profiles
            .iter()
            .flat_map(|(user, p)| p.results.values().filter(|r| p.segments.contains(&r.segment)).map(move |r| (user.as_str(), r, p.expires_at)))
            .take(MAX_READ)
            .collect();
        Ok(vec![
            texts(rows.iter().map(|r| Some(r.0))),
            texts(rows.iter().map(|r| Some(r.1.segment.as_str()))),
            Arc::new(rows.iter().map(|r| r.1.value).collect::<Float64Array>()),
            times(rows.iter().map(|r| r.1.since)),
            times(rows.iter().map(|r| r.1.window_start)),
            times(rows.iter().map(|r| r.1.window_end)),
            times(rows.iter().map(|r| r.2)),
        ])
    }

    fn read_results(&self, user: Option<String>, segment: Option<String>) -> Vec<ArrayRef> {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let rows = self.results.recent(MAX_READ, |r| fits(&user, r.user) && fits(&segment, r.segment));
        vec![
            texts(rows.iter().map(|r| Some(r.user_id.as_str()))),
            texts(rows.iter().map(|r| Some(r.segment_id.as_str()))),
            texts(rows.iter().map(|r| Some(r.event))),
            Arc::new(rows.iter().map(|r| Some(r.qualified)).collect::<BooleanArray>()),
            Arc::new(rows.iter().map(|r| r.value).collect::<Float64Array>()),
            times(rows.iter().map(|r| r.timestamp)),
            times(rows.iter().map(|r| r.window_start)),
            times(rows.iter().map(|r| r.window_end)),
        ]
    }

    fn read_segments(&self) -> Vec<ArrayRef> {
        let current = self.current.load();
        let compiled = |name: &str| current.compiled(name).map(|i| &current.program.segments[i]);
        let rows: Vec<_> = current.segments.iter().map(|s| (s, compiled(&s.name))).collect();
        let emits: Vec<Option<String>> = rows.iter().map(|r| r.1.map(|c| format!("{:?}", c.emit).to_uppercase())).collect();
        let windows: Vec<Option<String>> = rows.iter().map(|r| r.1.map(|c| c.window.to_string())).collect();
        vec![
            texts(rows.iter().map(|r| Some(r.0.name.as_str()))),
            texts(rows.iter().map(|r| Some(r.0.id.as_str()))),
            Arc::new(rows.iter().map(|r| Some(r.0.active)).collect::<BooleanArray>()),
            texts(emits.iter().map(Option::as_deref)),
            texts(windows.iter().map(Option::as_deref)),
            texts(rows.iter().map(|r| r.1.map(|c| c.sql.as_str()))),
        ]
    }

    fn read_events(&self, topic: Option<&str>, user: Option<&str>) -> Result<Vec<ArrayRef>, String> {
        self.needs_events("SELECT from streams reads").map_err(|problem| problem.detail)?;
        let events =
            self.newest_events(MAX_READ, |record_topic, event| topic.is_none_or(|t| t == record_topic) && user.is_none_or(|u| event["userId"] == *u))?;
        let text = |key: &'static str| texts(events.iter().map(move |(_, e)| e[key].as_str()));
        let mut metadata = MapBuilder::new(
            Some(datafusion::arrow::array::MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() }),
            StringBuilder::new(),
            StringBuilder::new(),
        );
        for (_, event) in &events {
            let map = event["metadata"].as_object();
            for (key, value) in map.into_iter().flatten() {
                metadata.keys().append_value(key);
                metadata.values().append_option(match value {
                    Value::Null => None,
                    Value::String(s) => Some(s.clone()),
                    other => Some(other.to_string()),
                });
            }
            metadata.append(map.is_some()).map_err(|e| e.to_string())?;
        }
        let metadata = datafusion::arrow::compute::cast(&(Arc::new(metadata.finish()) as ArrayRef), &cohort_compiler::catalog::metadata_type());
        Ok(vec![
            text("userId"),
            text("eventType"),
            times(events.iter().map(|(_, e)| e["timestamp"].as_i64().unwrap_or(0))),
            Arc::new(events.iter().map(|(_, e)| e["value"].as_f64()).collect::<Float64Array>()),
            text("sessionId"),
            metadata.map_err(|e| e.to_string())?,
            texts(events.iter().map(|(topic, _)| Some(&**topic))),
        ])
    }

    /// The newest events that are wanted, newest first, among the newest of each partition.
    pub fn newest_events(&self, limit: usize, wanted: impl Fn(&str, &Value) -> bool) -> Result<Vec<(Arc<str>, Value)>, String> {
        let share = limit.div_ceil(self.retained.partitions().max(1) as usize);
        let mut found = vec![];
        for partition in 0..self.retained.partitions() {
            let (_, next) = self.retained.range(partition).map_err(|e| e.to_string())?;
            let from = self.retained.back(partition, &next, share as i64).map_err(|e| e.to_string())?;
            let mut records = self.retained.open(partition, &from).map_err(|e| e.to_string())?;
            let mut batch = cohort_engine::source::RawBatch::default();
            let mut shown = super::shown::Shown::new(records.formats());
            records.read(&next, usize::MAX, &mut batch).map_err(|e| e.to_string())?;
            for record in 0..batch.len() {
                let Some(event) = shown.event(&batch, record).map(Value::Object) else { continue };
                if wanted(batch.topic(record), &event) {
                    found.push((Arc::clone(batch.topic(record)), event));
                }
            }
        }
        found.sort_by_key(|(_, e)| std::cmp::Reverse(e["timestamp"].as_i64()));
        Ok(found)
    }

    /// The answer to a SELECT, rows by the names of columns.
    pub async fn select(self: &Arc<Self>, sql: &str) -> ApiResult<Table> {
        let select = Select { sql: sql.to_string(), parameters: vec![], limit: MAX_TIME, dialect: None };
        let work = |service: Arc<Self>| async move {
            let plan = service.plan(&select).await?;
            names_differ(plan.schema())?;
            collect(plan).await?.table()
        };
        self.limited(MAX_TIME, work).await
    }

    /// The answer to a SELECT.
    pub async fn rows(self: &Arc<Self>, select: Select) -> ApiResult<Rows> {
        self.limited(select.limit, |service| async move { collect(service.plan(&select).await?).await }).await
    }

    /// What a SELECT would answer with, without running it.
    pub async fn shape(self: &Arc<Self>, select: Select) -> ApiResult<Shape> {
        let limit = select.limit;
        let work = |service: Arc<Self>| async move {
            let plan = service.plan(&select).await?;
            let types = parameter_types(plan.logical_plan()).map_err(|e| refused(&e))?;
            let number = |id: &str| id.strip_prefix('$').and_then(|n| n.parse::<usize>().ok()).filter(|n| (1..=MAX_PARAMETERS).contains(n));
            let mut parameters = vec![];
            for (id, kind) in types {
                let n = number(&id).ok_or_else(|| Problem::bad_request(format!("{id} is no parameter")).hint(format!("$1 to ${MAX_PARAMETERS}")))?;
                parameters.resize(parameters.len().max(n), None);
                parameters[n - 1] = kind;
            }
            Ok(Shape { schema: Arc::new(plan.schema().as_arrow().clone()), parameters })
        };
        self.limited(limit, work).await
    }

    /// Works on a thread of its own: an operator that computes for long without a pause holds nobody else up. It ends when nobody waits for it any more.
    async fn limited<T, F>(self: &Arc<Self>, limit: Duration, work: impl FnOnce(Arc<Self>) -> F + Send + 'static) -> ApiResult<T>
    where
        T: Send + 'static,
        F: Future<Output = ApiResult<T>>,
    {
        let limit = limit.min(MAX_TIME);
        let slow = move || {
            let detail = format!("the query ran longer than {} s", limit.as_secs_f64());
            Problem::new(axum::http::StatusCode::REQUEST_TIMEOUT, "query-too-slow", detail)
        };
        let until = tokio::time::Instant::now() + limit;
        let turn = tokio::time::timeout_at(until, RUNNING.acquire()).await.map_err(|_| slow())?.map_err(|e| Problem::internal(&e))?;
        let (service, runtime) = (Arc::clone(self), Handle::current());
        let (_waiting, given_up) = tokio::sync::oneshot::channel::<()>();
        let work = blocking(move || {
            let _turn = turn;
            runtime.block_on(async {
                tokio::select! {
                    answer = tokio::time::timeout_at(until, work(service)) => answer.map_err(|_| slow())?,
                    _ = given_up => Err(slow()),
                }
            })
        });
        tokio::time::timeout_at(until + GRACE, work).await.map_err(|_| slow())??
    }

    /// A session that knows the tables of the service, and nothing whose memory cannot be bounded.
    fn context(self: &Arc<Self>) -> datafusion::common::Result<SessionContext> {
        let config = SessionConfig::new().with_target_partitions(1).set_bool("datafusion.sql_parser.collect_spans", true);
        let no_spill = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(MAX_MEMORY, 1.0).with_disk_manager_builder(no_spill).build_arc();
        let context = SessionContext::new_with_config_rt(config, runtime?);
        for function in BOUNDLESS.iter().flat_map(|name| context.udf(name)) {
            function.aliases().iter().map(String::as_str).chain([function.name()]).for_each(|name| context.deregister_udf(name));
        }
        context.deregister_udtf("range");
        context.deregister_udtf("generate_series");
        for (name, kind) in TABLES {
            let table = Known { service: Arc::clone(self), kind, schema: schema(kind) };
            context.register_table(name, Arc::new(table))?;
        }
        Ok(context)
    }

    async fn plan(self: &Arc<Self>, select: &Select) -> ApiResult<DataFrame> {
        let context = self.context().map_err(|e| Problem::internal(&e))?;
        if let Some(dialect) = &select.dialect {
            dialect.prepare(&context).map_err(|e| Problem::internal(&e))?;
        }
        let plan = async {
            let state = context.state();
            let mut statement = state.sql_to_statement(&select.sql, &state.config_options().sql_parser.dialect)?;
            if let (Some(dialect), Parsed::Statement(query)) = (&select.dialect, &mut statement) {
                dialect.rewrite(query)?;
            }
            let plan = state.statement_to_plan(statement).await?;
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
            let plan = if select.parameters.is_empty() { plan } else { plan.with_param_values(select.parameters.clone())? };
            Ok(DataFrame::new(state, plan))
        };
        plan.await.map_err(|e| refused(&e))
    }
}

/// The types of parameters: of what they are compared with, of what they are cast to, or of numbers of rows.
fn parameter_types(plan: &LogicalPlan) -> datafusion::common::Result<HashMap<String, Option<DataType>>> {
    let mut types = plan.get_parameter_types()?;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                if let Expr::Placeholder(placeholder) = &**expr {
                    types.entry(placeholder.id.clone()).or_default().get_or_insert(DataType::Int64);
                }
            }
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(cast) = expr
                    && let Expr::Placeholder(placeholder) = &*cast.expr
                {
                    types.entry(placeholder.id.clone()).or_default().get_or_insert_with(|| cast.field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// Rows by column name need names that differ.
fn names_differ(schema: &DFSchema) -> ApiResult<()> {
    let mut columns: Vec<&str> = vec![];
    for field in schema.fields() {
        if columns.contains(&field.name().as_str()) {
            let problem = Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid-query", format!("two columns are named {}", field.name()));
            return Err(problem.hint("rows are by column name: give one of them another name with AS"));
        }
        columns.push(field.name());
    }
    Ok(())
}

async fn collect(plan: DataFrame) -> ApiResult<Rows> {
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let context = Arc::new(plan.task_ctx());
    let plan = yielding(plan.create_physical_plan().await.map_err(|e| refused(&e))?)?;
    let mut stream = execute_stream(plan, context).map_err(|e| refused(&e))?;
    let (mut batches, mut room, mut truncated) = (vec![], MAX_ROWS, false);
    while !truncated && let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| refused(&e))?;
        truncated = batch.num_rows() > room;
        let batch = batch.slice(0, batch.num_rows().min(room));
        room -= batch.num_rows();
        batches.push(batch);
    }
    Ok(Rows { schema, batches, truncated })
}

impl Rows {
    fn table(self) -> ApiResult<Table> {
        let mut rows = vec![];
        for batch in &self.batches {
            rows.extend(json_rows(batch)?);
        }
        Ok(Table { columns: self.schema.fields().iter().map(|f| f.name().clone()).collect(), rows, truncated: self.truncated })
    }
}

/// A plan whose every operator lets others go on now and then, so that it can be ended.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> ApiResult<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|p| Ok(Transformed::yes(Arc::new(CooperativeExec::new(p)) as Arc<dyn ExecutionPlan>)));
    wrapped.map(|t| t.data).map_err(|e| refused(&e))
}

fn json_rows(batch: &RecordBatch) -> ApiResult<Vec<Map<String, Value>>> {
    let mut writer = arrow_json::ArrayWriter::new(vec![]);
    writer.write(batch).and_then(|()| writer.finish()).map_err(|e| Problem::internal(&e))?;
    let bytes = writer.into_inner();
    if bytes.is_empty() { Ok(vec![]) } else { serde_json::from_slice(&bytes).map_err(|e| Problem::internal(&e)) }
}

/// A DataFusion error for the author of the query.
fn refused(error: &DataFusionError) -> Problem {
    if let DataFusionError::ResourcesExhausted(_) = error.find_root() {
        let detail = format!("the query takes more than {} MiB of memory", MAX_MEMORY >> 20);
        return Problem::new(axum::http::StatusCode::BAD_REQUEST, "query-too-large", detail);
    }
    let span = error.diagnostic().and_then(|d| d.span);
    let problem = Problem::new(axum::http::StatusCode::BAD_REQUEST, "invalid-query", cohort_compiler::bind::plain_message(error));
    let names = TABLES.map(|(name, _)| name).join(", ");
    let (line, column) = (span.map(|s| s.start.line), span.map(|s| s.start.column));
    Problem { line, column, hint: Some(format!("SELECT reads {names}")), sqlstate: Some(sqlstate(error)), ..problem }
}

/// PostgreSQL's code of an error.
fn sqlstate(error: &DataFusionError) -> &'static str {
    match error.find_root() {
        DataFusionError::SQL(..) => "42601",
        DataFusionError::SchemaError(e, _) => match **e {
            SchemaError::FieldNotFound { .. } => "42703",
            SchemaError::AmbiguousReference { .. } => "42702",
            _ => "42701",
        },
        DataFusionError::NotImplemented(_) => "0A000",
        DataFusionError::ArrowError(e, _) => match **e {
            ArrowError::DivideByZero => "22012",
            ArrowError::CastError(_) | ArrowError::ParseError(_) => "22P02",
            ArrowError::ArithmeticOverflow(_) => "22003",
            _ => "42000",
        },
        DataFusionError::Plan(text) if text.starts_with("table '") || text.starts_with("Table not found") => "42P01",
        DataFusionError::Plan(text) if text.starts_with("column '") => "42703",
        DataFusionError::Plan(text) if text.starts_with("Invalid function") => "42883",
        _ => "42000",
    }
}
