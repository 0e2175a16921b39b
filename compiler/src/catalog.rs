//! What SQL can name: streams with their windows, other segments, and pure functions. Nothing else: no
//! files, no settings, no other tables.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::builder::LogicalTableSource;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::window::WindowSpec;

/// The streams: all events, and those of each topic.
pub const STREAMS: [&str; 4] = ["events", "order_events", "activity_events", "install_events"];

/// Functions that read the clock or the system although they are not declared volatile.
const IMPURE: [&str; 7] = ["now", "current_timestamp", "current_date", "current_time", "today", "version", "arrow_metadata"];

/// Functions that give something else at each call.
const VOLATILE: [&str; 3] = ["random", "rand", "uuid"];

/// Functions that make much of little, so that one call could take all memory.
pub const BOUNDLESS: [&str; 7] = ["repeat", "lpad", "rpad", "array_repeat", "array_resize", "range", "generate_series"];

/// Timestamps are milliseconds in UTC.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))
}

/// The type of `metadata`.
pub fn metadata_type() -> DataType {
    let entries = Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// Columns of a stream, in the order of the documentation.
pub fn event_fields() -> Vec<Field> {
    vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("event_type", DataType::Utf8, false),
        Field::new("event_time", timestamp_type(), false),
        Field::new("value", DataType::Float64, true),
        Field::new("session_id", DataType::Utf8, true),
        Field::new("metadata", metadata_type(), true),
        Field::new("topic", DataType::Utf8, true),
    ]
}

fn window_fields() -> [Field; 2] {
    [Field::new("window_start", timestamp_type(), false), Field::new("window_end", timestamp_type(), false)]
}

/// What a table name in a bound query stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Table {
    /// A stream, with the windows that a table function gave it.
    Stream {
        /// Its name.
        stream: String,
        /// Its windows.
        window: Option<WindowSpec>,
    },
    /// Another segment.
    Segment(String),
}

/// The names that one query may use.
pub struct Catalog<'a> {
    functions: &'a Functions,
    tables: HashMap<String, (Table, SchemaRef)>,
    segments: SegmentNames<'a>,
}

/// What segments can be called: their names, and other names for them.
#[derive(Clone, Copy)]
pub struct SegmentNames<'a> {
    /// Names.
    pub names: &'a FxHashSet<String>,
    /// Other name → name.
    pub aliases: &'a FxHashMap<String, String>,
}

impl<'a> SegmentNames<'a> {
    fn contains(&self, name: &str) -> bool {
        self.names.contains(name) || self.aliases.contains_key(name)
    }

    fn iter(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().chain(self.aliases.keys()).map(String::as_str)
    }
}

/// The pure functions of DataFusion, set up once.
pub struct Functions {
    scalars: HashMap<String, Arc<ScalarUDF>>,
    aggregates: HashMap<String, Arc<AggregateUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
    streams: HashMap<bool, SchemaRef>,
    segment: SchemaRef,
}

impl Default for Functions {
    fn default() -> Self {
        let mut scalars = HashMap::new();
        for udf in SessionStateDefaults::default_scalar_functions() {
            let refused = IMPURE.iter().chain(&BOUNDLESS).any(|name| *name == udf.name());
            if udf.signature().volatility == Volatility::Volatile || refused {
                continue;
            }
            for name in udf.aliases().iter().chain([&udf.name().to_string()]) {
                scalars.insert(name.clone(), Arc::clone(&udf));
            }
        }
        let mut aggregates = HashMap::new();
        for udf in SessionStateDefaults::default_aggregate_functions() {
            for name in udf.aliases().iter().chain([&udf.name().to_string()]) {
                aggregates.insert(name.clone(), Arc::clone(&udf));
            }
        }
        let plain = event_fields();
        let windowed = plain.iter().cloned().chain(window_fields()).collect::<Vec<_>>();
        let mut segment = vec![Field::new("user_id", DataType::Utf8, false)];
        segment.extend(window_fields());
        segment.push(Field::new("value", DataType::Float64, true));
        Functions {
            scalars,
            aggregates,
            planners: SessionStateDefaults::default_expr_planners(),
            options: ConfigOptions::default(),
            streams: HashMap::from([(false, Arc::new(Schema::new(plain))), (true, Arc::new(Schema::new(windowed)))]),
            segment: Arc::new(Schema::new(segment)),
        }
    }
}

impl Functions {
    /// Configuration for planning.
    pub fn options(&self) -> &ConfigOptions {
        &self.options
    }
}

impl<'a> Catalog<'a> {
    /// A catalog of the streams and the given segments.
    pub fn new(functions: &'a Functions, segments: SegmentNames<'a>) -> Self {
        let mut catalog = Catalog { functions, tables: HashMap::new(), segments };
        for stream in STREAMS {
            catalog.add_stream(stream.to_string(), stream, None);
        }
        catalog
    }

    /// Makes a windowed stream known under `name`.
    pub fn add_stream(&mut self, name: String, stream: &str, window: Option<WindowSpec>) {
        let schema = Arc::clone(&self.functions.streams[&window.is_some()]);
        self.tables.insert(name, (Table::Stream { stream: stream.to_string(), window }, schema));
    }

    /// What a name stands for.
    pub fn table(&self, name: &str) -> Option<Table> {
        match self.tables.get(name) {
            Some((table, _)) => Some(table.clone()),
            None => self.segments.contains(name).then(|| Table::Segment(name.to_string())),
        }
    }

    /// The segment or stream whose name is nearest to a wrong one.
    pub fn nearest(&self, name: &str) -> Option<String> {
        nearest(name, self.segments.iter().chain(STREAMS))
    }

    /// What is said of a function that is not there: whether it is left out on purpose, or which one is nearest.
    pub fn missing_function(&self, name: &str) -> (String, Option<String>) {
        if IMPURE.contains(&name) || VOLATILE.contains(&name) {
            return (format!("{name} does not depend on events alone"), Some("a segment is the same whenever it is computed: compare with event_time".into()));
        }
        if BOUNDLESS.contains(&name) {
            return (format!("{name} is left out: one call of it could take all memory"), None);
        }
        let names = self.functions.scalars.keys().chain(self.functions.aggregates.keys());
        (format!("there is no function {name}"), nearest(name, names.map(String::as_str)).map(|near| format!("did you mean {near}?")))
    }
}

/// The name nearest to a wrong one, the first by the alphabet of several.
fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<String> {
    names
        .map(|n| (datafusion::common::utils::datafusion_strsim::levenshtein(n, wrong), n))
        .filter(|(distance, n)| *distance <= 2.max(n.len() / 4))
        .min()
        .map(|(_, n)| n.to_string())
}

impl ContextProvider for Catalog<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        if name.schema().is_some() {
            return plan_err!("unknown table {name}");
        }
        let schema = match self.tables.get(name.table()) {
            Some((_, schema)) => Arc::clone(schema),
            None if self.segments.contains(name.table()) => Arc::clone(&self.functions.segment),
            None => return plan_err!("unknown segment or stream {}", name.table()),
        };
        Ok(Arc::new(LogicalTableSource::new(schema)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.functions.planners
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalars.get(name).cloned()
    }

    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregates.get(name).cloned()
    }

    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.functions.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalars.keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        vec![]
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        vec![]
    }
}
