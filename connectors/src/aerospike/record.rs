//! A user's record: key userId; bins `userId`, `segments` (an ordered list of ids, each once), `results` (an ordered
//! map from rule id to qualified, value, timestamp, windowStart, windowEnd), `lastUpdated` (ms since the epoch).
//!
//! A record is changed by operations that the server runs together, never read first: they say what is to be there, so
//! that doing them again changes nothing.

pub mod size;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aerospike::operations::lists::{self, ListOrderType, ListPolicy, ListReturnType, ListWriteFlags};
use aerospike::operations::maps::{self, MapOrder, MapPolicy, MapReturnType, MapWriteFlags};
use aerospike::operations::{Operation, scalar};
use aerospike::{Bin, Record, Value};
use cohort_engine::ResultRow;
use cohort_engine::sink::{ResultBatch, SegmentName};

const USER: &str = "userId";
const SEGMENTS: &str = "segments";
const RESULTS: &str = "results";
const UPDATED: &str = "lastUpdated";

/// What results of one flush change of a user's record; of several results of a rule the last one stays.
#[derive(Debug, Default)]
pub struct Change<'a> {
    /// Segment → whether the user is in it.
    segments: BTreeMap<&'a str, bool>,
    /// Rule → its result, or none when it goes.
    results: BTreeMap<&'a str, Option<&'a ResultRow>>,
    /// The partition of the user.
    pub partition: u32,
    /// How many segments the user is in then; none, where nobody counted.
    pub held: Option<u32>,
}

impl<'a> Change<'a> {
    /// Takes a result in.
    pub fn add(&mut self, batch: &'a ResultBatch, row: usize) {
        let (name, member) = (batch.name(row), batch.member[row]);
        self.segments.insert(&name.segment, member);
        self.results.insert(&name.rule, member.then(|| &batch.rows[row]));
        (self.partition, self.held) = (batch.partition, batch.held.get(row).copied());
    }

    /// The operations that make the change.
    pub fn operations(&self, user: &str, now: i64) -> Vec<Operation> {
        let mut operations = head(user, now);
        let (entered, left): (Vec<_>, Vec<_>) = self.segments.iter().partition(|(_, member)| **member);
        let texts = |some: Vec<(&&str, &bool)>| some.into_iter().map(|(s, _)| Value::from(*s)).collect::<Vec<_>>();
        // Removing from a bin that is not there is refused.
        operations.push(lists::create(SEGMENTS, ListOrderType::Ordered, false));
        if !entered.is_empty() {
            operations.push(lists::append_items(&unique(), SEGMENTS, texts(entered)));
        }
        if !left.is_empty() {
            operations.push(lists::remove_by_value_list(SEGMENTS, texts(left), ListReturnType::NONE));
        }
        let put: BTreeMap<Value, Value> = self.results.iter().filter_map(|(rule, row)| row.map(|r| (Value::from(*rule), result(r)))).collect();
        let gone: Vec<Value> = self.results.iter().filter(|(_, row)| row.is_none()).map(|(rule, _)| Value::from(*rule)).collect();
        operations.push(maps::create(RESULTS, MapOrder::KeyOrdered, vec![]));
        if !put.is_empty() {
            operations.push(maps::put_items(&MapPolicy::new(MapOrder::KeyOrdered, MapWriteFlags::DEFAULT), RESULTS, put));
        }
        if !gone.is_empty() {
            operations.push(maps::remove_by_key_list(RESULTS, gone, MapReturnType::NONE));
        }
        operations.push(lists::size(SEGMENTS));
        operations
    }
}

/// The operations that make these the memberships of a user; results that are there already are kept.
pub fn replace(user: &str, names: &[SegmentName], rows: &[ResultRow], now: i64) -> Vec<Operation> {
    let mut operations = head(user, now);
    let name = |row: &ResultRow| &names[row.segment as usize];
    let segments: BTreeSet<&str> = rows.iter().map(|r| &*name(r).segment).collect();
    operations.push(lists::create(SEGMENTS, ListOrderType::Ordered, false));
    operations.push(lists::clear(SEGMENTS));
    if !segments.is_empty() {
        operations.push(lists::append_items(&unique(), SEGMENTS, segments.into_iter().map(Value::from).collect()));
    }
    operations.push(maps::create(RESULTS, MapOrder::KeyOrdered, vec![]));
    if rows.is_empty() {
        operations.push(maps::clear(RESULTS));
        return operations;
    }
    let rules: Vec<Value> = rows.iter().map(|r| Value::from(&*name(r).rule)).collect();
    operations.push(maps::remove_by_key_list(RESULTS, rules, MapReturnType::NONE.inverted()));
    let missing: BTreeMap<Value, Value> = rows.iter().map(|r| (Value::from(&*name(r).rule), result(r))).collect();
    let only_new = MapWriteFlags::CREATE_ONLY | MapWriteFlags::NO_FAIL | MapWriteFlags::PARTIAL;
    operations.push(maps::put_items(&MapPolicy::new(MapOrder::KeyOrdered, only_new), RESULTS, missing));
    operations
}

/// The operations by which a record lives on.
pub fn touch() -> Vec<Operation> {
    vec![scalar::touch(), lists::size(SEGMENTS)]
}

/// How many segments a record holds, by the answer to what was done to it.
pub fn held(answer: &Record) -> Option<u32> {
    let last = match answer.bins.get(SEGMENTS)? {
        Value::MultiResult(answers) => answers.last()?,
        answer => answer,
    };
    if let Value::Int(size) = last { u32::try_from(*size).ok() } else { None }
}

fn head(user: &str, now: i64) -> Vec<Operation> {
    vec![scalar::put(&Bin::new(USER, user.into())), scalar::put(&Bin::new(UPDATED, now.into()))]
}

fn unique() -> ListPolicy {
    ListPolicy::new(ListOrderType::Ordered, ListWriteFlags::ADD_UNIQUE | ListWriteFlags::NO_FAIL | ListWriteFlags::PARTIAL)
}

fn result(row: &ResultRow) -> Value {
    let fields = [
        ("qualified", Value::from(row.qualified)),
        ("timestamp", row.timestamp.into()),
        ("windowStart", row.window_start.into()),
        ("windowEnd", row.window_end.into()),
    ];
    // A value that is null is not there.
    let value = row.value.filter(|v| v.is_finite()).map(|v| ("value", Value::from(v)));
    Value::from(fields.into_iter().chain(value).map(|(k, v)| (Value::from(k), v)).collect::<BTreeMap<_, _>>())
}

/// The last result of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleResult {
    /// Whether the user qualified.
    pub qualified: bool,
    /// The value.
    pub value: Option<f64>,
    /// Time of the result, ms since the epoch.
    pub timestamp: i64,
    /// Start of its window.
    pub window_start: i64,
    /// End of its window.
    pub window_end: i64,
}

/// What a record says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// The user.
    pub user: String,
    /// Ids of the segments that the user is in.
    pub segments: BTreeSet<String>,
    /// The last result of each rule.
    pub results: BTreeMap<String, RuleResult>,
    /// When it was last written, ms since the epoch.
    pub last_updated: i64,
    /// How much longer it lives, s; none for ever.
    pub ttl: Option<u64>,
}

/// Reads a record.
pub fn profile(user: &str, record: &Record) -> Profile {
    let text = |value: &Value| if let Value::String(s) = value { Some(s.clone()) } else { None };
    let segments = match record.bins.get(SEGMENTS) {
        Some(Value::List(list)) => list.iter().filter_map(text).collect(),
        _ => BTreeSet::new(),
    };
    let results = record.bins.get(RESULTS).map(entries).unwrap_or_default();
    let results = results.into_iter().filter_map(|(rule, fields)| Some((rule, rule_result(&fields)?))).collect();
    let last_updated = if let Some(Value::Int(ms)) = record.bins.get(UPDATED) { *ms } else { 0 };
    Profile { user: user.into(), segments, results, last_updated, ttl: record.time_to_live().map(|d| d.as_secs()) }
}

/// The entries of a map, of whichever order, with texts as keys.
fn entries(value: &Value) -> HashMap<String, Value> {
    let entry = |(key, value): (&Value, &Value)| if let Value::String(text) = key { Some((text.clone(), value.clone())) } else { None };
    match value {
        Value::HashMap(map) => map.iter().filter_map(entry).collect(),
        Value::OrderedMap(map) => map.iter().filter_map(entry).collect(),
        Value::SortedMap(map) => map.iter().filter_map(entry).collect(),
        Value::KeyValueList(list) => list.iter().map(|(k, v)| (k, v)).filter_map(entry).collect(),
        _ => HashMap::new(),
    }
}

fn rule_result(value: &Value) -> Option<RuleResult> {
    let fields = entries(value);
    let int = |key: &str| if let Some(Value::Int(i)) = fields.get(key) { Some(*i) } else { None };
    let value = match fields.get("value") {
        Some(Value::Float(f)) => Some(f64::from(f)),
        Some(Value::Int(i)) => Some(*i as f64),
        _ => None,
    };
    let qualified = matches!(fields.get("qualified"), Some(Value::Bool(true) | Value::Int(1)));
    Some(RuleResult { qualified, value, timestamp: int("timestamp")?, window_start: int("windowStart")?, window_end: int("windowEnd")? })
}
