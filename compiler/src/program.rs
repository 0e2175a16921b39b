//! The compiled form of all segments together: plain data that the engine runs and EXPLAIN prints.
//!
//! Equal pieces exist once, whatever number of segments uses them. The arrows of the graph are:
//! scan → [`Router`] (which filters an event passes) → [`Family`] (groups of one filter and window, with
//! their aggregate [`Slot`]s) → thresholds and residual HAVINGs of [`Segment`]s → derived segments.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use crate::emit::Emit;
use crate::normalize::Normal;
use crate::window::WindowSpec;

/// Index of a segment in [`Program::segments`].
pub type SegmentId = u32;

/// A text field of an event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// `event_type`
    EventType,
    /// `session_id`
    SessionId,
    /// `topic`
    Topic,
    /// `metadata[key]`
    Metadata(String),
}

/// A text field that is decoded: as dictionary ids, as text, or both.
#[derive(Debug, Clone)]
pub struct TextColumn {
    /// Which field.
    pub field: Field,
    /// The texts that predicates name; text `i` has id `i + 2` (0 is null, 1 any other text).
    pub dictionary: Vec<String>,
    /// Whether predicates are looked up by dictionary id.
    pub routed: bool,
    /// Whether expressions need the text itself.
    pub text: bool,
}

/// What of an event some segment reads.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Whether `value` is read.
    pub value: bool,
    /// Whether the whole metadata map is read.
    pub metadata: bool,
    /// Whether expressions read `user_id` or `event_time` as columns.
    pub keys: bool,
    /// The text fields.
    pub texts: Vec<TextColumn>,
}

/// Selects, from the dictionary ids of some text columns, the actions of an event: a table indexed by
/// `((id0 * dim1) + id1) * dim2 + …`.
#[derive(Debug, Clone)]
pub struct Router {
    /// Indices into [`Scan::texts`], each with the number of its ids.
    pub columns: Vec<(usize, u32)>,
    /// The column whose text decides actions with a matcher: index into [`Program::matched`].
    pub matched: Option<usize>,
    /// For each combination of ids, an index into [`Router::lists`].
    pub table: Vec<u32>,
    /// Distinct action lists; the first is empty.
    pub lists: Vec<Vec<Action>>,
}

/// What an event that passed a filter does to a family: creates its group, and updates slots.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Action {
    /// Index into [`Program::families`].
    pub family: u32,
    /// A condition on the text of the router's matched column: index into [`Matched::conditions`].
    pub matcher: Option<u32>,
    /// Any other condition that is not in the router's table: index into [`Program::masks`].
    pub mask: Option<u32>,
    /// Whether the event makes the group exist (false for FILTERed aggregates, which only update it).
    pub creates: bool,
    /// Updates of slots.
    pub ops: Vec<Op>,
}

/// One update of a group's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Op {
    /// What to do.
    pub kind: OpKind,
    /// Fixed slot (or, for [`OpKind::General`], general slot) of the family.
    pub slot: u32,
    /// Index into [`Program::arguments`]; ignored by `Count` and `General`.
    pub argument: u32,
}

/// How a slot is updated. Nulls leave a slot as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// Adds one.
    Count,
    /// Adds one where the argument is not null.
    CountArgument,
    /// Adds the argument.
    Sum,
    /// Keeps the least.
    Min,
    /// Keeps the greatest.
    Max,
    /// Hands the event to DataFusion's accumulator.
    General,
}

/// A fixed-width piece of state: eight bytes a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// An `i64` count.
    Count,
    /// An `f64` sum; -0.0 stands for "no value yet", which no sum of values can be, as -0.0 is decoded as 0.0.
    Sum,
    /// An `f64`; +∞ stands for "no value yet".
    Min,
    /// An `f64`; -∞ stands for "no value yet".
    Max,
}

/// A number computed from a group's fixed slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// A count.
    Count(u32),
    /// A sum, null without values.
    Sum(u32),
    /// A sum, 0 without values.
    SumOrZero(u32),
    /// Sum over count, null without values.
    Avg {
        /// Slot of the sum.
        sum: u32,
        /// Slot of the count.
        count: u32,
    },
    /// The least, null without values.
    Min(u32),
    /// The greatest, null without values.
    Max(u32),
}

/// How a threshold compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compare {
    /// `>`
    Gt,
    /// `>=`
    Gte,
    /// `<`
    Lt,
    /// `<=`
    Lte,
    /// `=`; with a tolerance, nearer than it
    Eq,
    /// `<>`; with a tolerance, not nearer than it
    Neq,
}

/// `view compare threshold`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// What is compared.
    pub view: View,
    /// How.
    pub compare: Compare,
    /// With what.
    pub value: f64,
    /// 0, or how near counts as equal for `Eq` and `Neq`.
    pub tolerance: f64,
}

/// The groups (user, window) of one filter and one window kind, with all aggregates that segments take
/// of them. An event that passes the filter creates its group.
#[derive(Debug, Clone)]
pub struct Family {
    /// What the family is, the same in every program that has it: filter and window.
    pub key: String,
    /// The filter, as text.
    pub filter: String,
    /// Index of the filter among the distinct filters.
    pub filter_id: u32,
    /// The window kind.
    pub window: WindowSpec,
    /// Fixed slots.
    pub slots: Vec<Slot>,
    /// Names of the fixed slots, as SQL.
    pub slot_names: Vec<String>,
    /// What each fixed slot is, the same in every program that has it.
    pub slot_keys: Vec<String>,
    /// Slots kept by DataFusion's accumulators.
    pub general: Vec<GeneralSlot>,
    /// What residual expressions read: views of the fixed slots and results of the general ones.
    pub outputs: Vec<Output>,
    /// Schema of `outputs`, preceded by user_id, window_start, window_end.
    pub output_schema: SchemaRef,
    /// The segments over this family.
    pub segments: Vec<SegmentId>,
}

/// A column that residual expressions read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// A view of fixed slots: Int64 for counts, else Float64.
    View(View),
    /// The result of a general slot.
    General(u32),
}

/// An aggregate kept by DataFusion's accumulators.
#[derive(Debug, Clone)]
pub struct GeneralSlot {
    /// What the slot is, the same in every program that has it.
    pub key: String,
    /// The aggregate, over the event schema.
    pub aggregate: Arc<AggregateFunctionExpr>,
    /// Its arguments (with those of an ORDER BY), over the event schema.
    pub arguments: Vec<Arc<dyn PhysicalExpr>>,
}

/// How the value of a result is computed.
#[derive(Debug, Clone)]
pub enum Value {
    /// The query has no value column.
    None,
    /// A view of fixed slots.
    View(View),
    /// An expression over [`Family::output_schema`].
    Expression(Arc<dyn PhysicalExpr>),
}

/// When a group of a base segment qualifies.
#[derive(Debug, Clone)]
pub enum Having {
    /// Always.
    Always,
    /// By one threshold.
    Threshold(Threshold),
    /// By an expression over [`Family::output_schema`].
    Expression(Arc<dyn PhysicalExpr>),
}

/// A segment: who it is for, when it emits, how it decides.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its name (for JSON rules, the segment's id).
    pub name: String,
    /// The rule's id; the name for SQL.
    pub rule_id: String,
    /// Whether it exists only for others (its results are not emitted).
    pub hidden: bool,
    /// When it emits.
    pub emit: Emit,
    /// Why it emits then.
    pub emit_reason: String,
    /// Whether it is of the older of two versions that are compiled together.
    pub older: bool,
    /// How long a member stays after the end of the last window in which they qualified, ms.
    pub retain_ms: i64,
    /// How much of the retained events a new segment reads before it goes live, ms.
    pub backfill_ms: i64,
    /// The least time that membership lasts after a window's end, ms: until the next window's end.
    pub hold_ms: i64,
    /// Its windows (for a derived segment those of its first dependency).
    pub window: WindowSpec,
    /// How it decides.
    pub kind: SegmentKind,
    /// Segments that read this one in the same window.
    pub readers: Vec<SegmentId>,
    /// Segments that read this one's current membership.
    pub member_readers: Vec<SegmentId>,
    /// The SQL text.
    pub sql: String,
    /// DataFusion's logical plan of the SQL.
    pub logical_plan: Arc<str>,
    /// What the SQL asks, in normal form: for those who say it in another language.
    pub normal: Normal,
    /// How HAVING or the derived condition reads.
    pub condition: String,
}

/// A segment over a stream, or over other segments.
#[derive(Debug, Clone)]
pub enum SegmentKind {
    /// Over a stream.
    Base {
        /// Index into [`Program::families`].
        family: u32,
        /// When a group qualifies.
        having: Having,
        /// What its results carry.
        value: Value,
    },
    /// Over other segments.
    Derived(Derived),
}

/// A segment over other segments. Its expressions read, for dependency `i`, the columns `p{i}` (whether
/// its row is there) and `v{i}` (its value), and user_id, window_start, window_end.
#[derive(Debug, Clone)]
pub struct Derived {
    /// Whether rows are matched by user and window, or by user alone.
    pub by: MatchBy,
    /// The segments read, without repetition.
    pub inputs: Vec<SegmentId>,
    /// Where rows can come from.
    pub presence: Presence,
    /// Schema of the expressions.
    pub schema: SchemaRef,
    /// Whether a row is in the segment.
    pub condition: Arc<dyn PhysicalExpr>,
    /// Its value.
    pub value: Option<Arc<dyn PhysicalExpr>>,
}

/// What joins of a derived segment match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchBy {
    /// The same user and the same window.
    Window,
    /// The same user: current membership.
    User,
}

/// Which inputs a row of a derived segment needs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Input `i` has the row.
    Input(usize),
    /// Both.
    And(Box<Presence>, Box<Presence>),
    /// Either.
    Or(Box<Presence>, Box<Presence>),
}

/// A condition that no dictionary decides.
#[derive(Debug, Clone)]
pub struct Mask {
    /// Text of the condition.
    pub text: String,
    /// Boolean expression over [`Program::event_schema`], or [`Matched::schema`].
    pub expression: Arc<dyn PhysicalExpr>,
}

/// Conditions on the text of one column, such as LIKE, decided once for each distinct text.
#[derive(Debug, Clone)]
pub struct Matched {
    /// Index into [`Scan::texts`].
    pub column: usize,
    /// The column alone.
    pub schema: SchemaRef,
    /// The conditions.
    pub conditions: Vec<Mask>,
}

/// An argument of fixed slots, evaluated once a batch.
#[derive(Debug, Clone)]
pub enum Argument {
    /// The column `value`.
    Value,
    /// Any expression over the event schema: only its nulls count (`CountArgument`) or it is a Float64.
    Expression(Arc<dyn PhysicalExpr>),
}

/// All segments, compiled together.
#[derive(Debug, Clone)]
pub struct Program {
    /// What is decoded.
    pub scan: Scan,
    /// Columns that expressions over events read.
    pub event_schema: SchemaRef,
    /// Conditions on single texts that no dictionary decides, by column.
    pub matched: Vec<Matched>,
    /// Conditions evaluated by DataFusion once a batch.
    pub masks: Vec<Mask>,
    /// Arguments of fixed slots.
    pub arguments: Vec<Argument>,
    /// Dictionary look-ups that select an event's actions.
    pub routers: Vec<Router>,
    /// Groups and their state.
    pub families: Vec<Family>,
    /// Texts of the distinct filters.
    pub filters: Vec<String>,
    /// All segments, each after those it reads.
    pub segments: Vec<Segment>,
}
