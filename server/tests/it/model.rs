//! Segments and input lines as plain data, for tests that need to know what they mean.
//!
//! A [`Segment`] is what a test writes or generates. It renders itself as the text that the
//! program reads ([`Segment::to_sql`], [`rule_list_json`], [`api_segments_json`]) and is evaluated
//! naively by [`crate::oracle`], so both sides start from one value. The model covers the part of
//! the language whose meaning a test can compute by itself, not all of SQL.
//!
//! Numbers are `f64` throughout. SQL divides two integers as integers, which is not modelled:
//! divide by `count(*)` only what is a float, and by literals only if they are not integers.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Milliseconds: a span, or a time since the epoch.
pub type Millis = i64;

/// One second in [`Millis`].
pub const SECOND: Millis = 1_000;
/// One minute in [`Millis`].
pub const MINUTE: Millis = 60 * SECOND;

// ---------------------------------------------------------------------------------------------
// Input
// ---------------------------------------------------------------------------------------------

/// One event that breaks no rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub user_id: String,
    pub event_type: String,
    pub time: Millis,
    pub value: Option<f64>,
    pub session_id: Option<String>,
    pub metadata: BTreeMap<String, String>,
}

/// What a line of input holds.
#[derive(Clone, Debug)]
pub enum Content {
    Event(Event),
    /// A dead letter and the reason for it.
    Broken(&'static str),
    /// Only white space: neither an event nor a dead letter.
    Blank,
}

/// A line of input, without its line feed, and what it means.
#[derive(Clone)]
pub struct InputLine {
    pub bytes: Vec<u8>,
    pub content: Content,
}

impl std::fmt::Debug for InputLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.bytes);
        match &self.content {
            Content::Broken(reason) => write!(f, "{text}   <- {reason}"),
            Content::Event(_) | Content::Blank => write!(f, "{text}"),
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Expressions
// ---------------------------------------------------------------------------------------------

/// A boolean expression over leaves of any kind, with SQL's three-valued logic.
#[derive(Clone, Debug)]
pub enum Bool<L> {
    Leaf(L),
    And(Vec<Bool<L>>),
    Or(Vec<Bool<L>>),
    Not(Box<Bool<L>>),
}

impl<L> Bool<L> {
    /// The truth of the expression; `None` is SQL's NULL.
    pub fn truth(&self, leaf: &dyn Fn(&L) -> Option<bool>) -> Option<bool> {
        match self {
            Self::Leaf(l) => leaf(l),
            Self::Not(x) => x.truth(leaf).map(|b| !b),
            Self::And(xs) => decide(xs.iter().map(|x| x.truth(leaf)), false),
            Self::Or(xs) => decide(xs.iter().map(|x| x.truth(leaf)), true),
        }
    }

    /// The text of the expression.
    pub fn render(&self, leaf: &dyn Fn(&L) -> String) -> String {
        let nested = |x: &Self| match x {
            Self::Leaf(_) | Self::Not(_) => x.render(leaf),
            Self::And(_) | Self::Or(_) => format!("({})", x.render(leaf)),
        };
        let joined = |xs: &[Self], word: &str| xs.iter().map(nested).collect::<Vec<_>>().join(word);
        match self {
            Self::Leaf(l) => leaf(l),
            Self::Not(x) => format!("NOT {}", nested(x)),
            Self::And(xs) => joined(xs, " AND "),
            Self::Or(xs) => joined(xs, " OR "),
        }
    }
}

/// OR when `winner` is true, AND when it is false: one winner decides, else one NULL does.
fn decide(truths: impl Iterator<Item = Option<bool>>, winner: bool) -> Option<bool> {
    let truths: Vec<_> = truths.collect();
    if truths.contains(&Some(winner)) {
        Some(winner)
    } else if truths.contains(&None) {
        None
    } else {
        Some(!winner)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cmp {
    Gt,
    Ge,
    Lt,
    Le,
    Eq,
    Ne,
}

impl Cmp {
    pub const ALL: [Self; 6] = [Self::Gt, Self::Ge, Self::Lt, Self::Le, Self::Eq, Self::Ne];

    /// Whether `a` and `b` compare so.
    pub fn holds<T: PartialOrd>(self, a: &T, b: &T) -> bool {
        match self {
            Self::Gt => a > b,
            Self::Ge => a >= b,
            Self::Lt => a < b,
            Self::Le => a <= b,
            Self::Eq => a == b,
            Self::Ne => a != b,
        }
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Eq => "=",
            Self::Ne => "<>",
        }
    }

    /// The `operator` of a rule.
    fn json(self) -> &'static str {
        match self {
            Self::Gt => "GT",
            Self::Ge => "GTE",
            Self::Lt => "LT",
            Self::Le => "LTE",
            Self::Eq => "EQ",
            Self::Ne => "NEQ",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
}

impl Op {
    fn sql(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
        }
    }
}

/// A number computed from leaves of any kind.
#[derive(Clone, Debug)]
pub enum Num<L> {
    Leaf(L),
    Lit(f64),
    Arith(Box<Num<L>>, Op, Box<Num<L>>),
    Abs(Box<Num<L>>),
}

impl<L> Num<L> {
    /// `a op b`.
    pub fn arith(a: Self, op: Op, b: Self) -> Self {
        Self::Arith(Box::new(a), op, Box::new(b))
    }

    /// The value of the expression; `None` is NULL.
    pub fn value(&self, leaf: &dyn Fn(&L) -> Option<f64>) -> Option<f64> {
        match self {
            Self::Leaf(l) => leaf(l),
            Self::Lit(x) => Some(*x),
            Self::Abs(x) => x.value(leaf).map(f64::abs),
            Self::Arith(a, op, b) => {
                let (a, b) = (a.value(leaf)?, b.value(leaf)?);
                Some(match op {
                    Op::Add => a + b,
                    Op::Sub => a - b,
                    Op::Mul => a * b,
                    Op::Div => a / b,
                })
            }
        }
    }

    /// The SQL text of the expression.
    pub fn render(&self, leaf: &dyn Fn(&L) -> String) -> String {
        let nested = |x: &Self| match x {
            Self::Arith(..) => format!("({})", x.render(leaf)),
            _ => x.render(leaf),
        };
        match self {
            Self::Leaf(l) => leaf(l),
            Self::Lit(x) => number(*x),
            Self::Abs(x) => format!("abs({})", x.render(leaf)),
            Self::Arith(a, op, b) => format!("{} {} {}", nested(a), op.sql(), nested(b)),
        }
    }

    /// Whether a leaf anywhere in the expression satisfies the predicate.
    pub fn any(&self, leaf: &dyn Fn(&L) -> bool) -> bool {
        match self {
            Self::Leaf(l) => leaf(l),
            Self::Lit(_) => false,
            Self::Abs(x) => x.any(leaf),
            Self::Arith(a, _, b) => a.any(leaf) || b.any(leaf),
        }
    }
}

/// A comparison of numbers.
#[derive(Clone, Debug)]
pub enum Test<L> {
    Cmp(Num<L>, Cmp, Num<L>),
    Between { subject: Num<L>, negated: bool, low: f64, high: f64 },
}

impl<L> Test<L> {
    pub fn truth(&self, leaf: &dyn Fn(&L) -> Option<f64>) -> Option<bool> {
        match self {
            Self::Cmp(a, cmp, b) => Some(cmp.holds(&a.value(leaf)?, &b.value(leaf)?)),
            Self::Between { subject, negated, low, high } => {
                let x = subject.value(leaf)?;
                Some((*low <= x && x <= *high) != *negated)
            }
        }
    }

    pub fn render(&self, leaf: &dyn Fn(&L) -> String) -> String {
        match self {
            Self::Cmp(a, cmp, b) => {
                format!("{} {} {}", a.render(leaf), cmp.sql(), b.render(leaf))
            }
            Self::Between { subject, negated, low, high } => {
                format!("{} {}BETWEEN {} AND {}", subject.render(leaf), not(*negated), number(*low), number(*high))
            }
        }
    }
}

/// A column of text.
#[derive(Clone, Debug, PartialEq)]
pub enum Text {
    EventType,
    SessionId,
    Metadata(String),
}

impl Text {
    /// The column's text in an event; `None` is NULL.
    pub fn of<'e>(&self, event: &'e Event) -> Option<&'e str> {
        match self {
            Self::EventType => Some(&event.event_type),
            Self::SessionId => event.session_id.as_deref(),
            Self::Metadata(key) => event.metadata.get(key).map(String::as_str),
        }
    }

    fn sql(&self) -> String {
        match self {
            Self::EventType => "event_type".to_owned(),
            Self::SessionId => "session_id".to_owned(),
            Self::Metadata(key) => format!("metadata[{}]", quoted(key)),
        }
    }
}

/// A predicate on one event.
#[derive(Clone, Debug)]
pub enum Predicate {
    Equals { column: Text, negated: bool, text: String },
    In { column: Text, negated: bool, texts: Vec<String> },
    Like { column: Text, negated: bool, pattern: String },
    IsNull { column: Text, negated: bool },
    Value(Cmp, f64),
    ValueIsNull { negated: bool },
}

impl Predicate {
    fn sql(&self) -> String {
        match self {
            Self::Equals { column, negated, text } => {
                let op = if *negated { "<>" } else { "=" };
                format!("{} {op} {}", column.sql(), quoted(text))
            }
            Self::In { column, negated, texts } => {
                let list = texts.iter().map(|t| quoted(t)).collect::<Vec<_>>();
                format!("{} {}IN ({})", column.sql(), not(*negated), list.join(", "))
            }
            Self::Like { column, negated, pattern } => format!("{} {}LIKE {}", column.sql(), not(*negated), quoted(pattern)),
            Self::IsNull { column, negated } => {
                format!("{} IS {}NULL", column.sql(), not(*negated))
            }
            Self::Value(cmp, x) => format!("value {} {}", cmp.sql(), number(*x)),
            Self::ValueIsNull { negated } => format!("value IS {}NULL", not(*negated)),
        }
    }
}

/// A WHERE or FILTER clause.
pub type Filter = Bool<Predicate>;

fn filter_sql(filter: &Filter) -> String {
    filter.render(&Predicate::sql)
}

#[derive(Clone, Debug, PartialEq)]
pub enum Func {
    CountAll,
    CountValue,
    Sum,
    /// `coalesce(sum(value), 0)`
    SumOrZero,
    Avg,
    Min,
    Max,
    CountDistinct(Text),
    /// Of a sample: NULL for fewer than two values.
    Stddev,
    VarPop,
    Median,
}

/// An aggregate, over the events that pass its FILTER.
#[derive(Clone, Debug)]
pub struct Agg {
    pub func: Func,
    pub filter: Option<Filter>,
}

impl Agg {
    /// The aggregate without a FILTER.
    pub fn of(func: Func) -> Self {
        Self { func, filter: None }
    }

    fn sql(&self) -> String {
        let filter = over(self.filter.as_ref());
        match &self.func {
            Func::CountAll => format!("count(*){filter}"),
            Func::CountValue => format!("count(value){filter}"),
            Func::Sum => format!("sum(value){filter}"),
            Func::SumOrZero => format!("coalesce(sum(value){filter}, 0)"),
            Func::Avg => format!("avg(value){filter}"),
            Func::Min => format!("min(value){filter}"),
            Func::Max => format!("max(value){filter}"),
            Func::CountDistinct(column) => format!("count(DISTINCT {}){filter}", column.sql()),
            Func::Stddev => format!("stddev(value){filter}"),
            Func::VarPop => format!("var_pop(value){filter}"),
            Func::Median => format!("median(value){filter}"),
        }
    }
}

fn over(filter: Option<&Filter>) -> String {
    filter.map_or_else(String::new, |f| format!(" FILTER (WHERE {})", filter_sql(f)))
}

/// A leaf of a HAVING clause.
#[derive(Clone, Debug)]
pub enum HavingTest {
    Number(Test<Agg>),
    /// `bool_or(value > x)`
    AnyValue(Cmp, f64, Option<Filter>),
}

impl HavingTest {
    fn sql(&self) -> String {
        match self {
            Self::Number(test) => test.render(&Agg::sql),
            Self::AnyValue(cmp, x, filter) => {
                let (op, x) = (cmp.sql(), number(*x));
                format!("bool_or(value {op} {x}){}", over(filter.as_ref()))
            }
        }
    }
}

pub type Having = Bool<HavingTest>;

// ---------------------------------------------------------------------------------------------
// Segments
// ---------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Window {
    Tumble { size: Millis },
    Hop { slide: Millis, size: Millis },
    Cumulate { step: Millis, size: Millis },
    Session { gap: Millis },
}

impl Window {
    fn call(self, first: &str) -> String {
        let (name, spans) = match self {
            Self::Tumble { size } => ("TUMBLE", vec![size]),
            Self::Hop { slide, size } => ("HOP", vec![slide, size]),
            Self::Cumulate { step, size } => ("CUMULATE", vec![step, size]),
            Self::Session { gap } => ("SESSION", vec![gap]),
        };
        let spans: Vec<_> = spans.into_iter().map(|span| format!("INTERVAL '{}'", duration(span))).collect();
        format!("{name}({first}, {})", spans.join(", "))
    }
}

/// A segment over the event stream.
#[derive(Clone, Debug)]
pub struct Base {
    pub window: Window,
    /// Write the window in GROUP BY, not in FROM.
    pub shorthand: bool,
    pub filter: Option<Filter>,
    pub value: Option<Num<Agg>>,
    pub having: Option<Having>,
}

/// What joined segments are compared on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum On {
    /// `USING (user_id, window_start, window_end)`
    Window,
    /// `USING (user_id)`: current membership.
    User,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JoinKind {
    Inner,
    Anti,
    NotExists,
}

/// A segment over joined segments. Table number `i` (0 is `first`) has the alias `a` + `i`.
#[derive(Clone, Debug)]
pub struct Join {
    pub on: On,
    pub first: String,
    pub rest: Vec<(JoinKind, String)>,
    /// Over the values of the tables, by number; only of `first` and inner ones.
    pub filter: Option<Bool<Test<usize>>>,
    /// Likewise.
    pub value: Option<Num<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SetOp {
    Union,
    Except,
    Intersect,
}

/// The operator in front of a dependency of a JSON segment; that of the first is ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FoldOp {
    And,
    Or,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute {
    Count,
    Sum,
}

/// A rule as JSON has it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name in the rule, before the alias table.
    pub event_type: String,
    pub attribute: Attribute,
    pub operator: Cmp,
    pub threshold: f64,
    pub minutes: i64,
}

#[derive(Clone, Debug)]
pub enum Query {
    Base(Base),
    Join(Join),
    /// The set operation from left to right over segments of the same window.
    Set {
        op: SetOp,
        branches: Vec<String>,
        /// Whether the branches select `value` too; only for UNION.
        with_value: bool,
    },
    /// Rules that must all hold; as an API segment or as entries of a rule list.
    Rules {
        rules: Vec<Rule>,
        api: bool,
    },
    /// A DERIVED API segment.
    Fold {
        minutes: i64,
        dependencies: Vec<(FoldOp, String)>,
        expression: Option<Bool<String>>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Emit {
    Changes,
    Final,
}

#[derive(Clone, Debug)]
pub struct Segment {
    pub name: String,
    /// `WITH (retain = …)`; SQL only.
    pub retain: Option<Millis>,
    /// The EMIT clause; SQL only.
    pub emit: Option<Emit>,
    pub query: Query,
}

impl Segment {
    /// A segment without options.
    pub fn new(name: impl Into<String>, query: Query) -> Self {
        Self { name: name.into(), retain: None, emit: None, query }
    }

    /// The CREATE SEGMENT statement; `None` for segments that come as JSON.
    pub fn to_sql(&self) -> Option<String> {
        let query = match &self.query {
            Query::Base(base) => base_sql(base),
            Query::Join(join) => join_sql(join),
            Query::Set { op, branches, with_value } => set_sql(*op, branches, *with_value),
            Query::Rules { .. } | Query::Fold { .. } => return None,
        };
        let retain = self.retain.map_or_else(String::new, |span| format!(" WITH (retain = '{}')", duration(span)));
        let emit = match self.emit {
            None => "",
            Some(Emit::Changes) => "\nEMIT CHANGES",
            Some(Emit::Final) => "\nEMIT FINAL",
        };
        let name = &self.name;
        Some(format!("CREATE SEGMENT {name}{retain} AS\n{query}{emit};\n"))
    }
}

/// The statements of all SQL segments.
pub fn sql_text(segments: &[Segment]) -> String {
    let statements: Vec<_> = segments.iter().filter_map(Segment::to_sql).collect();
    statements.join("\n")
}

fn base_sql(base: &Base) -> String {
    let value = base.value.as_ref().map_or_else(String::new, |v| format!(", {} AS value", v.render(&Agg::sql)));
    let (from, group) = if base.shorthand {
        ("events".to_owned(), base.window.call("event_time"))
    } else {
        let window = base.window.call("events, event_time");
        (window, "window_start, window_end".to_owned())
    };
    let filter = clause("WHERE", base.filter.as_ref().map(filter_sql));
    let having = base.having.as_ref().map(|h| h.render(&HavingTest::sql));
    let having = clause("HAVING", having);
    format!("SELECT user_id{value}\nFROM {from}{filter}\nGROUP BY user_id, {group}{having}")
}

fn join_sql(join: &Join) -> String {
    let column = |table: &usize| format!("{}.value", alias(*table));
    let value = match &join.value {
        None => String::new(),
        Some(Num::Leaf(table)) => format!(", {}", column(table)),
        Some(v) => format!(", {} AS value", v.render(&column)),
    };
    let keys: &[&str] = match join.on {
        On::Window => &["user_id", "window_start", "window_end"],
        On::User => &["user_id"],
    };
    let mut from = format!("{} a", join.first);
    let mut conditions = Vec::new();
    for (i, (kind, segment)) in join.rest.iter().enumerate() {
        let b = alias(i + 1);
        let using = format!("{segment} {b} USING ({})", keys.join(", "));
        match kind {
            JoinKind::Inner => from += &format!(" JOIN {using}"),
            JoinKind::Anti => from += &format!(" LEFT ANTI JOIN {using}"),
            JoinKind::NotExists => {
                let equal: Vec<_> = keys.iter().map(|k| format!("{b}.{k} = a.{k}")).collect();
                let equal = equal.join(" AND ");
                conditions.push(format!("NOT EXISTS (SELECT 1 FROM {segment} {b} WHERE {equal})"));
            }
        }
    }
    if let Some(filter) = &join.filter {
        let text = filter.render(&|test| test.render(&column));
        let alone = conditions.is_empty();
        conditions.push(if alone { text } else { format!("({text})") });
    }
    let filter = (!conditions.is_empty()).then(|| conditions.join(" AND "));
    let filter = clause("WHERE", filter);
    format!("SELECT a.user_id{value}\nFROM {from}{filter}")
}

fn set_sql(op: SetOp, branches: &[String], with_value: bool) -> String {
    let op = match op {
        SetOp::Union => "UNION",
        SetOp::Except => "EXCEPT",
        SetOp::Intersect => "INTERSECT",
    };
    let value = if with_value { ", value" } else { "" };
    let branches: Vec<_> = branches.iter().map(|b| format!("SELECT user_id, window_start, window_end{value} FROM {b}")).collect();
    branches.join(&format!("\n{op}\n"))
}

fn alias(table: usize) -> char {
    char::from(b'a' + u8::try_from(table).expect("few tables"))
}

fn clause(word: &str, text: Option<String>) -> String {
    text.map_or_else(String::new, |t| format!("\n{word} {t}"))
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A literal: whole numbers without a point, others as short as they read back the same.
fn number(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x:.0}") } else { format!("{x:?}") }
}

fn duration(span: Millis) -> String {
    let (count, unit) = if span % MINUTE == 0 { (span / MINUTE, "minute") } else { (span / SECOND, "second") };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// The rules that are not API segments, as a SegmentRule list.
pub fn rule_list_json(segments: &[Segment]) -> Value {
    let mut list = Vec::new();
    for segment in segments {
        if let Query::Rules { rules, api: false } = &segment.query {
            for (i, rule) in rules.iter().enumerate() {
                let mut object = rule_json(rule, "threshold");
                object.insert("id".to_owned(), json!(format!("{}_rule_{i}", segment.name)));
                object.insert("segmentId".to_owned(), json!(segment.name));
                list.push(Value::Object(object));
            }
        }
    }
    Value::Array(list)
}

/// The API segments, as a list.
pub fn api_segments_json(segments: &[Segment]) -> Value {
    let list = segments.iter().filter_map(|segment| match &segment.query {
        Query::Rules { rules, api: true } => Some(json!({
            "name": segment.name,
            "type": "INDEPENDENT",
            "windowMinutes": rules[0].minutes,
            "rules": rules.iter().map(|r| rule_json(r, "value")).collect::<Vec<_>>(),
        })),
        Query::Fold { minutes, dependencies, expression } => Some(fold_json(&segment.name, *minutes, dependencies, expression.as_ref())),
        _ => None,
    });
    list.collect()
}

fn rule_json(rule: &Rule, threshold: &str) -> Map<String, Value> {
    let attribute = match rule.attribute {
        Attribute::Count => "count",
        Attribute::Sum => "sum",
    };
    let mut object = Map::new();
    object.insert("eventType".to_owned(), json!(rule.event_type));
    object.insert("attribute".to_owned(), json!(attribute));
    object.insert("operator".to_owned(), json!(rule.operator.json()));
    object.insert(threshold.to_owned(), json!(rule.threshold));
    object.insert("windowMinutes".to_owned(), json!(rule.minutes));
    object
}

fn fold_json(name: &str, minutes: i64, dependencies: &[(FoldOp, String)], expression: Option<&Bool<String>>) -> Value {
    let dependency = |(op, name): &(FoldOp, String)| {
        let op = match op {
            FoldOp::And => "AND",
            FoldOp::Or => "OR",
            FoldOp::Not => "NOT",
        };
        json!({"independentSegmentId": name, "logicalOperator": op})
    };
    let mut object = json!({
        "name": name,
        "type": "DERIVED",
        "windowMinutes": minutes,
        "dependencies": dependencies.iter().map(dependency).collect::<Vec<_>>(),
    });
    if let Some(expression) = expression {
        object["logicalExpression"] = json!(expression.render(&String::clone));
    }
    object
}
