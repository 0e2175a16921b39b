//! JSON rules and API segments → the same SQL that a person would write, so that there is one compiler.
//!
//! Two forms are accepted, each as a list or a single object: SegmentRule
//! `{id, segmentId, eventType, attribute, operator, threshold, windowMinutes}` and API segment
//! `{name, type, windowMinutes, rules, dependencies, logicalExpression}` (or `{name, sql}`).

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::diagnostic::{Finding, Position};

/// A JSON segment as SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonSegment {
    /// Name that results carry and that other segments may use.
    pub name: String,
    /// Id by which other segments may also name it.
    pub id: Option<String>,
    /// The rule's id, when it has exactly one.
    pub rule_id: Option<String>,
    /// Whether the segment exists only for another.
    pub hidden: bool,
    /// The window that all segments it reads must have, ms (derived segments).
    pub window_ms: Option<i64>,
    /// Its query.
    pub query: String,
}

/// Names of event types that rules use → those of events.
pub const EVENT_TYPE_ALIASES: [(&str, &str); 5] =
    [("orders", "purchase"), ("clicks", "view"), ("views", "view"), ("installs", "install"), ("addToCart", "add_to_cart")];

const OPERATORS: [(&str, &str); 6] = [("GT", ">"), ("GTE", ">="), ("LT", "<"), ("LTE", "<="), ("EQ", "="), ("NEQ", "<>")];
/// Fields of rules and of segments. Others are let be, as clients send what they were sent, but not misspelt ones.
const RULE_FIELDS: [&str; 8] = ["id", "segmentId", "eventType", "attribute", "operator", "threshold", "value", "windowMinutes"];
const SEGMENT_FIELDS: [&str; 8] = ["id", "name", "sql", "type", "rules", "windowMinutes", "dependencies", "logicalExpression"];
/// How near a sum must be to count as equal.
pub(crate) const TOLERANCE: f64 = 0.001;
/// The longest window of a rule.
pub(crate) const MAX_WINDOW_MINUTES: i64 = 1440;

/// Reads a JSON text.
pub fn parse(text: &str) -> (Vec<JsonSegment>, Vec<Finding>) {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(e) => {
            let at = Position { line: e.line() as u64, column: e.column() as u64 };
            return (
                vec![],
                vec![Finding::new(at, format!("not valid JSON: {}", strip_position(&e.to_string()))).hint("a list of SegmentRule objects or of API segments")],
            );
        }
    };
    let items = match value {
        Value::Array(items) => items,
        Value::Object(_) => vec![value],
        _ => return (vec![], vec![Finding::new(Position { line: 1, column: 1 }, "expected a list of rules or segments")]),
    };
    let places = item_positions(text);
    let names = names_by_id(&items);
    let mut segments = vec![];
    let mut findings = vec![];
    let mut by_segment: Vec<SegmentRules> = vec![];
    let mut index = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        let at = places.get(i).copied().unwrap_or_default();
        let mut errors = vec![];
        match item {
            Value::Object(object) if is_segment_rule(object) => segment_rule(object, &mut by_segment, &mut index, &mut errors),
            Value::Object(object) => segments.extend(api_segment(object, i, &names, &mut errors)),
            _ => errors.push(("expected an object".to_string(), None)),
        }
        findings.extend(errors.into_iter().map(|(message, hint)| Finding { at, message: format!("{}: {message}", label(item, i)), hint }));
    }
    segments.extend(by_segment.into_iter().flat_map(SegmentRules::into_segments));
    (segments, findings)
}

/// Names of the segments that have an id too, so that one segment named both ways counts once.
fn names_by_id(items: &[Value]) -> HashMap<String, String> {
    let pair = |item: &Value| Some((id_of(item.as_object()?)?, item.get("name")?.as_str()?.to_string()));
    items.iter().filter_map(pair).collect()
}

fn id_of(object: &Map<String, Value>) -> Option<String> {
    object.get("id").and_then(|v| v.as_str().map(String::from).or_else(|| v.as_i64().map(|n| n.to_string())))
}

type Errors = Vec<(String, Option<String>)>;

fn strip_position(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

fn label(item: &Value, index: usize) -> String {
    for key in ["name", "segmentId", "id"] {
        if let Some(text) = item.get(key).and_then(Value::as_str) {
            return format!("\"{text}\"");
        }
    }
    format!("item {}", index + 1)
}

/// Where each item of a top-level list (or the one object) starts.
fn item_positions(text: &str) -> Vec<Position> {
    let (mut line, mut column, mut depth) = (1u64, 0u64, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    let list = text.trim_start().starts_with('[');
    let mut places = vec![];
    for c in text.chars() {
        column += 1;
        if c == '\n' {
            (line, column) = (line + 1, 0);
        }
        if in_string {
            (in_string, escaped) = (escaped || c != '"', !escaped && c == '\\');
            continue;
        }
        match c {
            '"' => in_string = true,
            '{' | '[' => {
                if depth == usize::from(list) {
                    places.push(Position { line, column });
                }
                depth += 1;
            }
            '}' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    places
}

fn is_segment_rule(object: &Map<String, Value>) -> bool {
    object.contains_key("threshold") || object.contains_key("segmentId")
}

/// The rules of one segment, all of which must hold.
struct SegmentRules {
    segment_id: String,
    rule_id: Option<String>,
    rules: Vec<Rule>,
}

impl SegmentRules {
    fn into_segments(self) -> Vec<JsonSegment> {
        let SegmentRules { segment_id, rule_id, rules } = self;
        let segments = of_rules(&segment_id, rules).into_iter();
        segments
            .map(|(name, query, hidden)| JsonSegment { rule_id: rule_id.clone().filter(|_| !hidden), name, id: None, hidden, window_ms: None, query })
            .collect()
    }
}

struct Rule {
    event_type: String,
    aggregate: Aggregate,
    operator: &'static str,
    threshold: f64,
    minutes: i64,
}

#[derive(Clone, Copy, PartialEq)]
enum Aggregate {
    Count,
    Sum,
}

impl Rule {
    fn filter(&self) -> String {
        format!("event_type = {}", quote(&self.event_type))
    }

    fn aggregate(&self, filtered: bool) -> String {
        let filter = if filtered { format!(" FILTER (WHERE {})", self.filter()) } else { String::new() };
        match self.aggregate {
            Aggregate::Count => format!("count(*){filter}"),
            Aggregate::Sum => format!("coalesce(sum(value){filter}, 0)"),
        }
    }

    /// EQ and NEQ on a sum compare with a tolerance.
    fn condition(&self, filtered: bool) -> String {
        let aggregate = self.aggregate(filtered);
        let threshold = number(self.threshold);
        match (self.aggregate, self.operator) {
            (Aggregate::Sum, "=") => format!("abs({aggregate} - {threshold}) < {TOLERANCE}"),
            (Aggregate::Sum, "<>") => format!("abs({aggregate} - {threshold}) >= {TOLERANCE}"),
            (_, operator) => format!("{aggregate} {operator} {threshold}"),
        }
    }
}

fn number(x: f64) -> String {
    if x == x.trunc() && x.abs() < 1e15 {
        format!("{x:.0}")
    } else {
        let text = format!("{x:?}");
        if text.contains('e') { format!("CAST('{text}' AS DOUBLE)") } else { text }
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn quote_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn segment_rule(object: &Map<String, Value>, by_segment: &mut Vec<SegmentRules>, index: &mut HashMap<String, usize>, errors: &mut Errors) {
    let id = text(object, "id", errors);
    let segment_id = text(object, "segmentId", errors);
    let rule = rule(object, "threshold", None, errors);
    let (Some(segment_id), Some(rule)) = (segment_id, rule) else { return };
    match index.get(&segment_id).map(|&i| &mut by_segment[i]) {
        Some(segment) => {
            segment.rule_id = None;
            segment.rules.push(rule);
        }
        None => {
            index.insert(segment_id.clone(), by_segment.len());
            by_segment.push(SegmentRules { segment_id, rule_id: id, rules: vec![rule] });
        }
    }
}

/// A segment of rules, as one query or, when their windows differ, several.
fn of_rules(name: &str, rules: Vec<Rule>) -> Vec<(String, String, bool)> {
    if rules.iter().all(|r| r.minutes == rules[0].minutes) {
        return vec![(name.to_string(), one_window(&rules), false)];
    }
    by_window(name, rules)
}

fn rule(object: &Map<String, Value>, threshold_key: &str, minutes: Option<i64>, errors: &mut Errors) -> Option<Rule> {
    let before = errors.len();
    misspelt(object, &RULE_FIELDS, errors);
    let event_type = text(object, "eventType", errors);
    let aggregate = choice(object, "attribute", &[("count", Aggregate::Count), ("sum", Aggregate::Sum)], errors);
    let operator = choice(object, "operator", &OPERATORS, errors);
    let threshold = match object.get(threshold_key) {
        Some(Value::Number(n)) => n.as_f64().filter(|n| n.is_finite()),
        Some(Value::String(s)) => s.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    };
    if threshold.is_none() {
        errors.push((format!("{threshold_key} must be a number, not {}", shown(object.get(threshold_key))), None));
    }
    let minutes = if object.get("windowMinutes").is_some_and(|v| !v.is_null()) || minutes.is_none() { window_minutes(object, errors) } else { minutes };
    if errors.len() > before {
        return None;
    }
    let event_type = event_type?;
    let event_type = EVENT_TYPE_ALIASES.iter().find(|(alias, _)| *alias == event_type).map_or(event_type.clone(), |(_, t)| t.to_string());
    Some(Rule { event_type, aggregate: aggregate?, operator: operator?, threshold: threshold?, minutes: minutes? })
}

/// Fields that are hardly other than known ones: what they say would be ignored.
fn misspelt(object: &Map<String, Value>, known: &[&str], errors: &mut Errors) {
    let distance = datafusion::common::utils::datafusion_strsim::levenshtein;
    for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
        let near = known.iter().map(|k| (distance(k, key), *k)).filter(|(d, k)| *d <= (k.len() / 4).max(1)).min();
        if let Some((_, near)) = near.filter(|(_, near)| !object.contains_key(*near)) {
            errors.push((format!("unknown field {key}"), Some(format!("did you mean {near}?"))));
        }
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("absent".into(), Value::to_string)
}

fn text(object: &Map<String, Value>, key: &str, errors: &mut Errors) -> Option<String> {
    match object.get(key) {
        Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
        Some(Value::Number(n)) if key != "eventType" => Some(n.to_string()),
        other => {
            errors.push((format!("{key} must be a text that is not empty, not {}", shown(other)), None));
            None
        }
    }
}

fn choice<T: Copy>(object: &Map<String, Value>, key: &str, choices: &[(&str, T)], errors: &mut Errors) -> Option<T> {
    let found = object.get(key).and_then(Value::as_str).and_then(|s| choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(s)));
    if found.is_none() {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        errors.push((format!("{key} {} is unknown", shown(object.get(key))), Some(format!("one of {}", names.join(", ")))));
    }
    found.map(|(_, value)| *value)
}

fn window_minutes(object: &Map<String, Value>, errors: &mut Errors) -> Option<i64> {
    let minutes = object.get("windowMinutes").and_then(Value::as_i64).filter(|m| (1..=MAX_WINDOW_MINUTES).contains(m));
    if minutes.is_none() {
        errors.push((format!("windowMinutes must be a whole number from 1 to {MAX_WINDOW_MINUTES}, not {}", shown(object.get("windowMinutes"))), None));
    }
    minutes
}

/// One or several rules of equal windows: one query.
fn one_window(rules: &[Rule]) -> String {
    let filtered = rules.len() > 1;
    let mut types: Vec<_> = rules.iter().map(|r| quote(&r.event_type)).collect();
    types.sort();
    types.dedup();
    let filter = if let [one] = types.as_slice() { format!("event_type = {one}") } else { format!("event_type IN ({})", types.join(", ")) };
    let conditions: Vec<_> = rules.iter().map(|r| r.condition(filtered)).collect();
    format!(
        "SELECT user_id, {} AS value\nFROM TUMBLE(events, event_time, INTERVAL '{} minutes')\nWHERE {filter}\nGROUP BY user_id, window_start, window_end\nHAVING {}",
        rules[0].aggregate(filtered),
        rules[0].minutes,
        conditions.join(" AND ")
    )
}

fn api_segment(object: &Map<String, Value>, index: usize, ids: &HashMap<String, String>, errors: &mut Errors) -> Vec<JsonSegment> {
    let (id, before) = (id_of(object), errors.len());
    misspelt(object, &SEGMENT_FIELDS, errors);
    if errors.len() > before {
        return vec![];
    }
    let name = match object.get("name") {
        None | Some(Value::Null) => id.clone().unwrap_or_else(|| format!("segment_{}", index + 1)),
        _ => match text(object, "name", errors) {
            Some(name) => name,
            None => return vec![],
        },
    };
    let json = |name: String, query: String, hidden: bool, window_ms: Option<i64>| JsonSegment {
        name,
        id: id.clone().filter(|_| !hidden),
        rule_id: None,
        hidden,
        window_ms,
        query,
    };
    if let Some(sql) = object.get("sql").and_then(Value::as_str).filter(|s| !s.trim().is_empty()) {
        return vec![json(name, sql.trim().trim_end_matches(';').to_string(), false, None)];
    }
    match choice(object, "type", &[("INDEPENDENT", false), ("DERIVED", true)], errors) {
        Some(true) => derived(object, ids, errors).map(|(query, minutes)| json(name, query, false, Some(minutes * 60_000))).into_iter().collect(),
        Some(false) => independent(&name, object, errors).into_iter().map(|(name, query, hidden)| json(name, query, hidden, None)).collect(),
        None => vec![],
    }
}

fn independent(name: &str, object: &Map<String, Value>, errors: &mut Errors) -> Vec<(String, String, bool)> {
    let minutes = object.get("windowMinutes").filter(|v| !v.is_null()).and_then(|_| window_minutes(object, errors));
    let items = object.get("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        errors.push(("an INDEPENDENT segment needs at least one rule".into(), Some("rules: [{eventType, attribute, operator, value}]".into())));
        return vec![];
    }
    let mut rules = vec![];
    for item in &items {
        let Some(object) = item.as_object() else {
            errors.push(("a rule must be an object".into(), None));
            continue;
        };
        let key = if object.contains_key("threshold") { "threshold" } else { "value" };
        rules.extend(rule(object, key, minutes, errors));
    }
    if rules.len() < items.len() {
        return vec![];
    }
    of_rules(name, rules)
}

/// Rules of several windows: one hidden segment a window, joined on the user.
fn by_window(name: &str, rules: Vec<Rule>) -> Vec<(String, String, bool)> {
    let mut groups: Vec<(i64, Vec<Rule>)> = vec![];
    for rule in rules {
        match groups.iter_mut().find(|(minutes, _)| *minutes == rule.minutes) {
            Some((_, group)) => group.push(rule),
            None => groups.push((rule.minutes, vec![rule])),
        }
    }
    let mut parts = vec![];
    let mut query = String::from("SELECT s0.user_id, s0.value AS value\nFROM ");
    for (i, (minutes, group)) in groups.iter().enumerate() {
        let part = format!("{name}/{minutes}m");
        let join = if i == 0 { "" } else { "\nJOIN " };
        let using = if i == 0 { "" } else { " USING (user_id)" };
        let _ = write!(query, "{join}{} AS s{i}{using}", quote_name(&part));
        parts.push((part, one_window(group), true));
    }
    parts.push((name.to_string(), query, false));
    parts
}

fn derived(object: &Map<String, Value>, ids: &HashMap<String, String>, errors: &mut Errors) -> Option<(String, i64)> {
    let minutes = window_minutes(object, errors);
    let items = object.get("dependencies").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut names = vec![];
    let mut expression = Expression::default();
    for (i, item) in items.iter().enumerate() {
        let Some(item) = item.as_object() else {
            errors.push(("a dependency must be an object".into(), None));
            continue;
        };
        let id = text(item, "independentSegmentId", errors)?;
        let name = ids.get(&id).cloned().unwrap_or(id);
        let operator = match item.get("logicalOperator") {
            None | Some(Value::Null) => "AND",
            _ => choice(item, "logicalOperator", &[("AND", "AND"), ("OR", "OR"), ("NOT", "NOT")], errors)?,
        };
        let n = expression.input(&mut names, &name);
        expression.fold(i, operator, n);
    }
    if let Some(text) = object.get("logicalExpression").and_then(Value::as_str).filter(|t| !t.trim().is_empty()) {
        match parse_expression(text, ids, &mut names) {
            Ok(parsed) => expression.sql = parsed,
            Err((message, hint)) => {
                errors.push((format!("logicalExpression: {message}"), Some(hint)));
                return None;
            }
        }
    } else if items.is_empty() {
        errors.push(("a DERIVED segment needs dependencies".into(), Some("dependencies: [{independentSegmentId, logicalOperator}]".into())));
        return None;
    }
    Some((derived_sql(&names, &expression.sql), minutes?))
}

#[derive(Default)]
struct Expression {
    sql: String,
}

impl Expression {
    fn input(&self, names: &mut Vec<String>, name: &str) -> usize {
        names.iter().position(|n| n == name).unwrap_or_else(|| {
            names.push(name.to_string());
            names.len() - 1
        })
    }

    /// Folds from left to right; the first operator is ignored.
    fn fold(&mut self, i: usize, operator: &str, n: usize) {
        let holds = present(n);
        self.sql = match (i, operator) {
            (0, _) => holds,
            (_, "OR") => format!("({} OR {holds})", self.sql),
            (_, "NOT") => format!("({} AND NOT {holds})", self.sql),
            _ => format!("({} AND {holds})", self.sql),
        };
    }
}

fn present(n: usize) -> String {
    format!("d{n}.user_id IS NOT NULL")
}

fn derived_sql(names: &[String], condition: &str) -> String {
    let values: Vec<_> = (0..names.len()).map(|i| format!("coalesce(d{i}.value, 0)")).collect();
    // A row of any of the first `n` joined segments has the key.
    let key = |column: &str, n: usize| match n {
        1 => format!("d0.{column}"),
        _ => format!("coalesce({})", (0..n).map(|i| format!("d{i}.{column}")).collect::<Vec<_>>().join(", ")),
    };
    let mut sql = format!("SELECT {} AS user_id, {} AS value\nFROM {} AS d0", key("user_id", names.len()), values.join(" + "), quote_name(&names[0]));
    for (i, name) in names.iter().enumerate().skip(1) {
        let on: Vec<_> = ["user_id", "window_start", "window_end"].iter().map(|c| format!("d{i}.{c} = {}", key(c, i))).collect();
        let _ = write!(sql, "\nFULL JOIN {} AS d{i} ON {}", quote_name(name), on.join(" AND "));
    }
    let _ = write!(sql, "\nWHERE {condition}");
    sql
}

/// `A OR (B AND NOT C)` over segment names → SQL over `d{i}`, with the names in order of appearance.
fn parse_expression(text: &str, ids: &HashMap<String, String>, names: &mut Vec<String>) -> Result<String, (String, String)> {
    let tokens = expression_tokens(text);
    let mut parser = ExpressionParser { tokens: &tokens, at: 0, ids, names, depth: 0 };
    let sql = parser.or()?;
    match parser.tokens.get(parser.at) {
        None => Ok(sql),
        Some(token) => Err(parser.error(format!("unexpected {token}"))),
    }
}

fn expression_tokens(text: &str) -> Vec<String> {
    let mut tokens = vec![];
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let end = match c {
            '(' | ')' | '!' => 1,
            '"' | '`' => rest.char_indices().skip(1).find(|(_, d)| *d == c).map_or(rest.len(), |(i, d)| i + d.len_utf8()),
            _ => rest.find(|d: char| d.is_whitespace() || matches!(d, '(' | ')')).unwrap_or(rest.len()),
        };
        tokens.push(rest[..end].to_string());
        rest = rest[end..].trim_start();
    }
    tokens
}

struct ExpressionParser<'a> {
    tokens: &'a [String],
    at: usize,
    ids: &'a HashMap<String, String>,
    names: &'a mut Vec<String>,
    depth: usize,
}

type Parsed = Result<String, (String, String)>;

impl ExpressionParser<'_> {
    fn error(&self, message: String) -> (String, String) {
        (message, "segment names or ids with AND, OR, NOT and parentheses: (a OR b) AND NOT c".into())
    }

    fn accept(&mut self, words: &[&str]) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| words.iter().any(|w| w.eq_ignore_ascii_case(t)));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Parsed {
        let mut sql = self.and()?;
        while self.accept(&["OR", "||"]) {
            sql = format!("({sql} OR {})", self.and()?);
        }
        Ok(sql)
    }

    fn and(&mut self) -> Parsed {
        let mut sql = self.not()?;
        while self.accept(&["AND", "&&"]) {
            sql = format!("({sql} AND {})", self.not()?);
        }
        Ok(sql)
    }

    fn not(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > 40 {
            return Err(self.error("nested too deeply".into()));
        }
        let sql = if self.accept(&["NOT", "!"]) { format!("(NOT {})", self.not()?) } else { self.name()? };
        self.depth -= 1;
        Ok(sql)
    }

    fn name(&mut self) -> Parsed {
        if self.accept(&["("]) {
            let sql = self.or()?;
            return if self.accept(&[")"]) { Ok(sql) } else { Err(self.error("a closing parenthesis is missing".into())) };
        }
        let Some(token) = self.tokens.get(self.at).cloned() else { return Err(self.error("it ends where a segment is expected".into())) };
        if token == ")" || ["AND", "OR", "NOT"].iter().any(|w| w.eq_ignore_ascii_case(&token)) {
            return Err(self.error(format!("expected a segment, found {token}")));
        }
        self.at += 1;
        let id = token.trim_matches(['"', '`']);
        let name = self.ids.get(id).cloned().unwrap_or_else(|| id.to_string());
        let n = self.names.iter().position(|x| *x == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        Ok(present(n))
    }
}
