//! The oracle: what segments mean, computed by loops over all events.
//!
//! It is written from the description of the semantics alone and shares no code with the compiler
//! or the engine. It is slow and keeps everything; what it must be is obviously right. It reads in
//! three steps:
//!
//! 1. *Time*: the watermark of each event's partition just before the event.
//! 2. *Base segments*: the events of each (user, window) that were not late, and from them one
//!    [`Row`] per window in which the user qualifies.
//! 3. *Membership*: per segment and user, the instants at which the closed membership changes
//!    ([`Step`]); segments joined on `user_id` are evaluated at the steps of their dependencies.
//!
//! A derived segment of any form is one [`Rule`] on the rows of its dependencies.

use crate::model::{
    Agg, Attribute, Base, Bool, Cmp, Content, Event, Filter, FoldOp, Func, Having, HavingTest, InputLine, Join, JoinKind, MINUTE, Millis, Num, On, Op,
    Predicate, Query, Rule as JsonRule, Segment, SetOp, Test, Text, Window,
};
use std::collections::{BTreeMap, BTreeSet};

/// The settings that a result may depend on.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub partitions: u32,
    pub out_of_orderness: Millis,
    pub allowed_lateness: Millis,
}

impl Config {
    /// The defaults of a replay.
    pub fn replay(partitions: u32) -> Self {
        Self { partitions, out_of_orderness: 30_000, allowed_lateness: 0 }
    }
}

/// A user and a window's start and end.
pub type Key = (String, Millis, Millis);

/// Everything a replay must agree on.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// By segment: the value of each final result.
    pub finals: BTreeMap<String, BTreeMap<Key, Option<f64>>>,
    /// (user, segment) at the end of the input.
    pub memberships: BTreeSet<(String, String)>,
    /// Accepted events, late ones included.
    pub events: usize,
    /// Events that were late for at least one window.
    pub late: usize,
    /// Rejected lines by reason; without the late events.
    pub dead_letters: BTreeMap<&'static str, usize>,
}

/// Evaluates the segments over the whole input.
pub fn evaluate(segments: &[Segment], lines: &[InputLine], config: &Config) -> Output {
    let mut output = Output::default();
    let mut events = Vec::new();
    for line in lines {
        match &line.content {
            Content::Event(event) => events.push(event),
            Content::Broken(reason) => *output.dead_letters.entry(reason).or_default() += 1,
            Content::Blank => {}
        }
    }
    output.events = events.len();
    let arrivals = arrivals(&events, config);
    let mut run = Run { config: *config, last_time: events.iter().map(|e| e.time).max(), late: vec![false; arrivals.len()], arrivals, tables: BTreeMap::new() };
    for segment in segments {
        run.table(segments, &segment.name);
    }
    output.late = run.late.iter().filter(|late| **late).count();
    for (name, table) in run.tables {
        for (user, steps) in &table.steps {
            if steps.last().is_some_and(|step| step.row.is_some()) {
                output.memberships.insert((user.clone(), name.clone()));
            }
        }
        let finals = table.finals.into_iter();
        let finals = finals.map(|(key, row)| (key, row.value)).collect();
        output.finals.insert(name, finals);
    }
    output
}

// ---------------------------------------------------------------------------------------------
// Time
// ---------------------------------------------------------------------------------------------

/// An event and the watermark of its partition just before it; `None` before the first event.
#[derive(Clone, Copy)]
struct Arrival<'e> {
    event: &'e Event,
    watermark: Option<Millis>,
}

impl Arrival<'_> {
    /// Whether time had passed the close of a window with this end when the event came.
    fn is_late_for(&self, end: Millis, config: &Config) -> bool {
        self.watermark.is_some_and(|watermark| watermark >= end + config.allowed_lateness)
    }
}

fn arrivals<'e>(events: &[&'e Event], config: &Config) -> Vec<Arrival<'e>> {
    let mut largest: BTreeMap<u32, Millis> = BTreeMap::new();
    let mut arrivals = Vec::new();
    for event in events {
        let partition = partition(&event.user_id, config.partitions);
        let before = largest.get(&partition).copied();
        arrivals.push(Arrival { event, watermark: before.map(|time| time - config.out_of_orderness) });
        let after = before.map_or(event.time, |time| time.max(event.time));
        largest.insert(partition, after);
    }
    arrivals
}

/// The partition of a user, as Kafka's default partitioner has it.
pub fn partition(user_id: &str, partitions: u32) -> u32 {
    (murmur2(user_id.as_bytes()) & 0x7fff_ffff) % partitions
}

/// MurmurHash2 with Kafka's seed.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(data.len()).expect("a short key");
    let mut h = 0x9747_b28c ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

// ---------------------------------------------------------------------------------------------
// Segments as tables
// ---------------------------------------------------------------------------------------------

/// A final result of one user.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    start: Millis,
    end: Millis,
    value: Option<f64>,
}

/// From `at` on, the user is a member by this row, or is none.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: Millis,
    row: Option<Row>,
}

/// What an evaluated segment is to those derived from it.
#[derive(Default)]
struct Table {
    finals: BTreeMap<Key, Row>,
    /// By user, in order of time.
    steps: BTreeMap<String, Vec<Step>>,
    /// How long a window's members stay, without `retain`.
    hold: Millis,
    /// The time that the segment has reached at the end of the input.
    end_time: Millis,
}

impl Table {
    /// The row by which the user is a member at an instant.
    fn row_at(&self, user: &str, at: Millis) -> Option<Row> {
        let steps = self.steps.get(user)?;
        steps.iter().rev().find(|step| step.at <= at)?.row
    }
}

/// A derived segment: from the rows of its dependencies (`None` where the user has none) to the
/// value of the derived row, if there is one.
type Rule<'s> = dyn Fn(&[Option<Row>]) -> Option<Option<f64>> + 's;

struct Run<'e> {
    config: Config,
    /// The largest time of any event.
    last_time: Option<Millis>,
    arrivals: Vec<Arrival<'e>>,
    /// By arrival: whether it was late for some window.
    late: Vec<bool>,
    tables: BTreeMap<String, Table>,
}

impl Run<'_> {
    /// Makes the table of the segment, after those of its dependencies.
    fn table(&mut self, segments: &[Segment], name: &str) {
        if self.tables.contains_key(name) {
            return;
        }
        let segment = segments.iter().find(|s| s.name == name);
        let segment = segment.unwrap_or_else(|| panic!("no segment {name}"));
        let names = dependencies(&segment.query);
        for name in &names {
            self.table(segments, name);
        }
        let table = match &segment.query {
            Query::Base(base) => self.base(base, segment.retain),
            Query::Rules { rules, .. } => self.rules(rules),
            query => {
                let tables: Vec<_> = names.iter().map(|n| &self.tables[n.as_str()]).collect();
                self.derived(query, &tables, segment.retain)
            }
        };
        self.tables.insert(segment.name.clone(), table);
    }

    fn derived(&self, query: &Query, tables: &[&Table], retain: Option<Millis>) -> Table {
        match query {
            Query::Join(join) => {
                let rule = |rows: &[Option<Row>]| join_rule(join, rows);
                match join.on {
                    On::Window => self.same_window(tables, &rule, retain),
                    On::User => by_user(tables, &rule, retain),
                }
            }
            Query::Set { op, with_value: valued, .. } => self.same_window(tables, &|rows| set_rule(*op, *valued, rows), retain),
            Query::Fold { dependencies, expression, .. } => self.same_window(tables, &|rows| fold_rule(dependencies, expression.as_ref(), rows), retain),
            Query::Base(_) | Query::Rules { .. } => unreachable!("not derived"),
        }
    }

    // -----------------------------------------------------------------------------------------
    // Base segments
    // -----------------------------------------------------------------------------------------

    fn base(&mut self, base: &Base, retain: Option<Millis>) -> Table {
        let groups = match base.window {
            Window::Session { gap } => self.sessions(base, gap),
            window => self.aligned(base, window),
        };
        let mut finals = BTreeMap::new();
        for (key, events) in groups {
            let qualifies = base.having.as_ref().is_none_or(|having| having_truth(having, &events) == Some(true));
            if qualifies {
                let value = base.value.as_ref();
                let value = value.and_then(|v| v.value(&|agg| aggregate(agg, &events)));
                let (_, start, end) = key;
                finals.insert(key, Row { start, end, value });
            }
        }
        let (hold, last_end) = match (base.window, self.last_time) {
            (window, None) => (hold(window), 0),
            (Window::Session { gap }, Some(last)) => (gap, last + gap),
            (window, Some(last)) => {
                let ends = windows_of(window, last).into_iter().map(|(_, end)| end);
                (hold(window), ends.max().expect("a window for every time"))
            }
        };
        let end_time = last_end + self.config.allowed_lateness;
        self.by_window(finals, hold, end_time, retain)
    }

    /// The events of each group of a base segment with aligned windows, in order of arrival.
    fn aligned(&mut self, base: &Base, window: Window) -> BTreeMap<Key, Vec<&Event>> {
        let mut groups: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
        for (i, arrival) in self.arrivals.iter().enumerate() {
            let event = arrival.event;
            if !passes(base.filter.as_ref(), event) {
                continue;
            }
            for (start, end) in windows_of(window, event.time) {
                if arrival.is_late_for(end, &self.config) {
                    self.late[i] = true;
                } else {
                    let key = (event.user_id.clone(), start, end);
                    groups.entry(key).or_default().push(event);
                }
            }
        }
        groups
    }

    /// The events of each session of a base segment, in order of arrival.
    fn sessions(&mut self, base: &Base, gap: Millis) -> BTreeMap<Key, Vec<&Event>> {
        let mut sessions: BTreeMap<String, Vec<Session>> = BTreeMap::new();
        for (i, arrival) in self.arrivals.iter().enumerate() {
            let event = arrival.event;
            if !passes(base.filter.as_ref(), event) {
                continue;
            }
            let mut session = Session { start: event.time, end: event.time + gap, arrivals: vec![i] };
            let of_user = sessions.entry(event.user_id.clone()).or_default();
            let joins = |other: &Session| session.overlaps(other) && !arrival.is_late_for(other.end, &self.config);
            let (joined, apart): (Vec<_>, Vec<_>) = of_user.drain(..).partition(joins);
            of_user.extend(apart);
            joined.into_iter().for_each(|other| session.absorb(other));
            if arrival.is_late_for(session.end, &self.config) {
                self.late[i] = true;
            } else {
                of_user.push(session);
            }
        }
        let mut groups = BTreeMap::new();
        for (user, sessions) in sessions {
            for mut session in sessions {
                session.arrivals.sort_unstable();
                let events = session.arrivals.iter().map(|i| self.arrivals[*i].event);
                let key = (user.clone(), session.start, session.end);
                groups.insert(key, events.collect());
            }
        }
        groups
    }

    /// The table of a segment whose finals belong to windows.
    fn by_window(&self, finals: BTreeMap<Key, Row>, hold: Millis, end_time: Millis, retain: Option<Millis>) -> Table {
        let stay = hold.max(retain.unwrap_or(0)) + self.config.allowed_lateness;
        let mut of_user: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for ((user, ..), row) in &finals {
            of_user.entry(user.clone()).or_default().push(*row);
        }
        let steps = of_user.into_iter().map(|(user, mut rows)| {
            rows.sort_by_key(|row| row.end);
            let mut steps = Vec::new();
            for (i, row) in rows.iter().enumerate() {
                steps.push(Step { at: row.end + self.config.allowed_lateness, row: Some(*row) });
                let next = rows.get(i + 1);
                let next = next.map(|next| next.end + self.config.allowed_lateness);
                let lost = row.end + stay;
                if lost <= end_time && next.is_none_or(|next| lost < next) {
                    steps.push(Step { at: lost, row: None });
                }
            }
            (user, steps)
        });
        Table { steps: steps.collect(), finals, hold, end_time }
    }

    // -----------------------------------------------------------------------------------------
    // Derived segments
    // -----------------------------------------------------------------------------------------

    /// A derived segment that compares the same window of its dependencies.
    fn same_window(&self, tables: &[&Table], rule: &Rule<'_>, retain: Option<Millis>) -> Table {
        let keys: BTreeSet<&Key> = tables.iter().flat_map(|t| t.finals.keys()).collect();
        let mut finals = BTreeMap::new();
        for key in keys {
            let rows: Vec<_> = tables.iter().map(|t| t.finals.get(key).copied()).collect();
            if let Some(value) = rule(&rows) {
                let (_, start, end) = *key;
                finals.insert(key.clone(), Row { start, end, value });
            }
        }
        let hold = tables.iter().map(|t| t.hold).max().unwrap_or(0);
        self.by_window(finals, hold, end_time(tables), retain)
    }

    /// Rules that must all hold: one base segment for each distinct window, joined by user.
    fn rules(&mut self, rules: &[JsonRule]) -> Table {
        let mut by_minutes: Vec<(i64, Vec<&JsonRule>)> = Vec::new();
        for rule in rules {
            match by_minutes.iter_mut().find(|(m, _)| *m == rule.minutes) {
                Some((_, list)) => list.push(rule),
                None => by_minutes.push((rule.minutes, vec![rule])),
            }
        }
        let bases = by_minutes.into_iter().map(|(minutes, rules)| rules_as_base(minutes, &rules));
        let mut tables: Vec<_> = bases.map(|base| self.base(&base, None)).collect();
        if tables.len() == 1 {
            return tables.remove(0);
        }
        let all_of = |rows: &[Option<Row>]| {
            let rows: Option<Vec<Row>> = rows.iter().copied().collect();
            rows.map(|rows| rows[0].value)
        };
        by_user(&tables.iter().collect::<Vec<_>>(), &all_of, None)
    }
}

fn dependencies(query: &Query) -> Vec<String> {
    match query {
        Query::Base(_) | Query::Rules { .. } => Vec::new(),
        Query::Join(join) => {
            let rest = join.rest.iter().map(|(_, name)| name.clone());
            std::iter::once(join.first.clone()).chain(rest).collect()
        }
        Query::Set { branches, .. } => branches.clone(),
        Query::Fold { dependencies, .. } => dependencies.iter().map(|(_, n)| n.clone()).collect(),
    }
}

fn end_time(tables: &[&Table]) -> Millis {
    tables.iter().map(|t| t.end_time).max().unwrap_or(0)
}

/// A derived segment that compares current memberships: evaluated at every instant at which a
/// dependency of the user changes. While it holds, each such instant gives a final result.
fn by_user(tables: &[&Table], rule: &Rule<'_>, retain: Option<Millis>) -> Table {
    let users: BTreeSet<&String> = tables.iter().flat_map(|t| t.steps.keys()).collect();
    let mut table = Table { end_time: end_time(tables), ..Table::default() };
    for user in users {
        let of_user = tables.iter().filter_map(|t| t.steps.get(user));
        let instants: BTreeSet<Millis> = of_user.flatten().map(|step| step.at).collect();
        let mut steps: Vec<Step> = Vec::new();
        // When the member of an expression that no longer holds is to be lost.
        let mut due: Option<Millis> = None;
        for at in instants {
            lose(&mut steps, &mut due, at - 1);
            let rows: Vec<_> = tables.iter().map(|t| t.row_at(user, at)).collect();
            if let Some(value) = rule(&rows) {
                let start = rows.iter().flatten().map(|row| row.start).min();
                let row = Row { start: start.expect("a row that is present"), end: at, value };
                due = None;
                steps.push(Step { at, row: Some(row) });
                table.finals.insert((user.clone(), row.start, at), row);
            } else if let Some(row) = steps.last().and_then(|step| step.row) {
                due = due.or(Some(at.max(row.end + retain.unwrap_or(0))));
            }
        }
        lose(&mut steps, &mut due, table.end_time);
        if !steps.is_empty() {
            table.steps.insert(user.clone(), steps);
        }
    }
    table
}

/// Ends a membership that is due to end by `time`.
fn lose(steps: &mut Vec<Step>, due: &mut Option<Millis>, time: Millis) {
    if let Some(at) = due.take_if(|due| *due <= time) {
        steps.push(Step { at, row: None });
    }
}

fn join_rule(join: &Join, rows: &[Option<Row>]) -> Option<Option<f64>> {
    rows[0]?;
    for ((kind, _), row) in join.rest.iter().zip(&rows[1..]) {
        if row.is_some() != (*kind == JoinKind::Inner) {
            return None;
        }
    }
    let value = |table: &usize| rows[*table].and_then(|row| row.value);
    if let Some(filter) = &join.filter
        && filter.truth(&|test: &Test<usize>| test.truth(&value)) != Some(true)
    {
        return None;
    }
    Some(join.value.as_ref().and_then(|v| v.value(&value)))
}

fn set_rule(op: SetOp, with_value: bool, rows: &[Option<Row>]) -> Option<Option<f64>> {
    let row = match op {
        SetOp::Union => rows.iter().find_map(|row| *row)?,
        SetOp::Intersect if rows.iter().all(Option::is_some) => rows[0]?,
        SetOp::Except if rows[1..].iter().all(Option::is_none) => rows[0]?,
        SetOp::Intersect | SetOp::Except => return None,
    };
    Some(row.value.filter(|_| with_value))
}

fn fold_rule(dependencies: &[(FoldOp, String)], expression: Option<&Bool<String>>, rows: &[Option<Row>]) -> Option<Option<f64>> {
    let holds = |i: usize| rows[i].is_some();
    let position = |name: &String| dependencies.iter().position(|(_, n)| n == name);
    let truth = match expression {
        Some(expression) => expression.truth(&|name| position(name).map(holds)) == Some(true),
        None => (1..rows.len()).fold(holds(0), |truth, i| match dependencies[i].0 {
            FoldOp::And => truth && holds(i),
            FoldOp::Or => truth || holds(i),
            FoldOp::Not => truth && !holds(i),
        }),
    };
    truth.then(|| Some(rows.iter().flatten().filter_map(|row| row.value).sum()))
}

// ---------------------------------------------------------------------------------------------
// Windows
// ---------------------------------------------------------------------------------------------

/// How long the members of a closed window stay: until the next one closes.
fn hold(window: Window) -> Millis {
    match window {
        Window::Tumble { size } => size,
        Window::Hop { slide, .. } => slide,
        Window::Cumulate { step, .. } => step,
        Window::Session { gap } => gap,
    }
}

/// Every aligned window [start, end) that contains the time.
fn windows_of(window: Window, time: Millis) -> Vec<(Millis, Millis)> {
    let floor = |step: Millis| time.div_euclid(step) * step;
    match window {
        Window::Tumble { size } => vec![(floor(size), floor(size) + size)],
        Window::Hop { slide, size } => {
            (0..).map(|i| floor(slide) - i * slide).take_while(|start| start + size > time).map(|start| (start, start + size)).collect()
        }
        Window::Cumulate { step, size } => (1..=size / step).map(|i| (floor(size), floor(size) + i * step)).filter(|(_, end)| *end > time).collect(),
        Window::Session { .. } => unreachable!("sessions are not aligned"),
    }
}

/// A session [start, end): `end` is the last event's time plus the gap.
struct Session {
    start: Millis,
    end: Millis,
    arrivals: Vec<usize>,
}

impl Session {
    fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    fn absorb(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.arrivals.extend(other.arrivals);
    }
}

// ---------------------------------------------------------------------------------------------
// Expressions over events
// ---------------------------------------------------------------------------------------------

fn passes(filter: Option<&Filter>, event: &Event) -> bool {
    filter.is_none_or(|filter| filter.truth(&|p| predicate(p, event)) == Some(true))
}

/// The truth of a predicate; `None` is NULL.
fn predicate(predicate: &Predicate, event: &Event) -> Option<bool> {
    let (truth, negated) = match predicate {
        Predicate::Value(cmp, x) => (cmp.holds(&event.value?, x), false),
        Predicate::ValueIsNull { negated } => (event.value.is_none(), *negated),
        Predicate::IsNull { column, negated } => (column.of(event).is_none(), *negated),
        Predicate::Equals { column, negated, text } => (column.of(event)? == text, *negated),
        Predicate::In { column, negated, texts } => {
            let text = column.of(event)?;
            (texts.iter().any(|t| t == text), *negated)
        }
        Predicate::Like { column, negated, pattern } => {
            let text: Vec<char> = column.of(event)?.chars().collect();
            let pattern: Vec<char> = pattern.chars().collect();
            (like(&text, &pattern), *negated)
        }
    };
    Some(truth != negated)
}

fn like(text: &[char], pattern: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('%', rest)) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        Some((c, rest)) => text.split_first().is_some_and(|(t, others)| (*c == '_' || c == t) && like(others, rest)),
    }
}

fn having_truth(having: &Having, events: &[&Event]) -> Option<bool> {
    having.truth(&|test| match test {
        HavingTest::Number(test) => test.truth(&|agg| aggregate(agg, events)),
        HavingTest::AnyValue(cmp, x, filter) => {
            let values = values(filter.as_ref(), events);
            let any = values.iter().any(|value| cmp.holds(value, x));
            (!values.is_empty()).then_some(any)
        }
    })
}

/// The values that are not NULL of the events that pass the filter.
fn values(filter: Option<&Filter>, events: &[&Event]) -> Vec<f64> {
    let passing = events.iter().filter(|event| passes(filter, event));
    passing.filter_map(|event| event.value).collect()
}

/// The aggregate over the events; `None` is NULL.
fn aggregate(agg: &Agg, events: &[&Event]) -> Option<f64> {
    let filter = agg.filter.as_ref();
    let values = values(filter, events);
    let n = values.len() as f64;
    let sum = || values.iter().sum::<f64>();
    let squares = || {
        let mean = sum() / n;
        values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>()
    };
    match &agg.func {
        Func::CountAll => Some(events.iter().filter(|e| passes(filter, e)).count() as f64),
        Func::CountValue => Some(n),
        Func::SumOrZero => Some(if values.is_empty() { 0.0 } else { sum() }),
        Func::CountDistinct(column) => {
            let passing = events.iter().filter(|event| passes(filter, event));
            let distinct: BTreeSet<&str> = passing.filter_map(|e| column.of(e)).collect();
            Some(distinct.len() as f64)
        }
        Func::Stddev => (values.len() > 1).then(|| (squares() / (n - 1.0)).sqrt()),
        _ if values.is_empty() => None,
        Func::Sum => Some(sum()),
        Func::Avg => Some(sum() / n),
        Func::Min => values.iter().copied().reduce(f64::min),
        Func::Max => values.iter().copied().reduce(f64::max),
        Func::VarPop => Some(squares() / n),
        Func::Median => Some(median(values)),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

// ---------------------------------------------------------------------------------------------
// Rules in JSON
// ---------------------------------------------------------------------------------------------

/// The event type that a rule's name for it stands for.
fn resolve_alias(name: &str) -> String {
    let event_type = match name {
        "orders" => "purchase",
        "clicks" | "views" => "view",
        "installs" => "install",
        "addToCart" => "add_to_cart",
        other => other,
    };
    event_type.to_owned()
}

/// Rules with one window as a base segment.
fn rules_as_base(minutes: i64, rules: &[&JsonRule]) -> Base {
    let is_type = |texts| Bool::Leaf(Predicate::In { column: Text::EventType, negated: false, texts });
    let aggregate = |rule: &JsonRule| Agg {
        func: match rule.attribute {
            Attribute::Count => Func::CountAll,
            Attribute::Sum => Func::SumOrZero,
        },
        filter: Some(is_type(vec![resolve_alias(&rule.event_type)])),
    };
    let threshold = |rule: &&JsonRule| Bool::Leaf(HavingTest::Number(threshold_test(Num::Leaf(aggregate(rule)), rule)));
    Base {
        window: Window::Tumble { size: minutes * MINUTE },
        shorthand: false,
        filter: Some(is_type(rules.iter().map(|r| resolve_alias(&r.event_type)).collect())),
        value: Some(Num::Leaf(aggregate(rules[0]))),
        having: Some(Bool::And(rules.iter().map(threshold).collect())),
    }
}

/// A rule's comparison; for equality a sum has a tolerance.
fn threshold_test(aggregate: Num<Agg>, rule: &JsonRule) -> Test<Agg> {
    let tolerant = match rule.operator {
        Cmp::Eq => Cmp::Lt,
        Cmp::Ne => Cmp::Ge,
        _ => return Test::Cmp(aggregate, rule.operator, Num::Lit(rule.threshold)),
    };
    if rule.attribute == Attribute::Count {
        return Test::Cmp(aggregate, rule.operator, Num::Lit(rule.threshold));
    }
    let distance = Num::arith(aggregate, Op::Sub, Num::Lit(rule.threshold));
    Test::Cmp(Num::Abs(Box::new(distance)), tolerant, Num::Lit(0.001))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_like_kafka() {
        // The cases of Kafka's own test of its partitioner's hash.
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, hash) in cases {
            assert_eq!(murmur2(text.as_bytes()).cast_signed(), hash, "{text}");
        }
    }

    #[test]
    fn windows_contain_their_time() {
        let hop = Window::Hop { slide: 4, size: 10 };
        assert_eq!(windows_of(hop, 9), [(8, 18), (4, 14), (0, 10)]);
        assert_eq!(windows_of(hop, -1), [(-4, 6), (-8, 2)]);
        assert_eq!(windows_of(Window::Tumble { size: 10 }, -1), [(-10, 0)]);
        let cumulate = Window::Cumulate { step: 5, size: 15 };
        assert_eq!(windows_of(cumulate, 20), [(15, 25), (15, 30)]);
        assert_eq!(windows_of(cumulate, 19), [(15, 20), (15, 25), (15, 30)]);
    }

    /// One line with a view of the user at the time.
    fn view(user: &str, time: Millis) -> InputLine {
        InputLine {
            bytes: Vec::new(),
            content: Content::Event(Event {
                user_id: user.to_owned(),
                event_type: "view".to_owned(),
                time,
                value: None,
                session_id: None,
                metadata: BTreeMap::new(),
            }),
        }
    }

    /// All users with an event in the window, with the number of their events.
    fn count(name: &str, window: Window) -> Segment {
        let base = Base { window, shorthand: false, filter: None, value: Some(Num::Leaf(Agg::of(Func::CountAll))), having: None };
        Segment::new(name, Query::Base(base))
    }

    fn join_by_user(kind: JoinKind, first: &str, second: &str) -> Segment {
        let join = Join { on: On::User, first: first.to_owned(), rest: vec![(kind, second.to_owned())], filter: None, value: Some(Num::Leaf(0)) };
        Segment::new("joined", Query::Join(join))
    }

    /// (user, start, end, value) of the segment's finals; nothing is out of order but by choice.
    fn finals(segments: &[Segment], name: &str, lines: &[InputLine]) -> Vec<(Key, Option<f64>)> {
        let output = evaluate(segments, lines, &in_order());
        output.finals[name].clone().into_iter().collect()
    }

    fn in_order() -> Config {
        Config { partitions: 1, out_of_orderness: 0, allowed_lateness: 0 }
    }

    fn key(user: &str, start: Millis, end: Millis) -> Key {
        (user.to_owned(), start, end)
    }

    #[test]
    fn a_late_event_counts_in_the_windows_that_are_open() {
        let segments = [count("short", Window::Tumble { size: 10 }), count("long", Window::Tumble { size: 100 })];
        let lines = [view("u", 1), view("u", 10), view("u", 2)];
        let output = evaluate(&segments, &lines, &in_order());
        assert_eq!(output.late, 1);
        let short = [(key("u", 0, 10), Some(1.0)), (key("u", 10, 20), Some(1.0))];
        assert_eq!(finals(&segments, "short", &lines), short);
        let long = [(key("u", 0, 100), Some(3.0))];
        assert_eq!(finals(&segments, "long", &lines), long);
    }

    #[test]
    fn an_event_joins_open_sessions_only() {
        let segments = [count("s", Window::Session { gap: 10 })];
        let of = |lines: &[InputLine]| finals(&segments, "s", lines);
        // 9 joins what 0 and 18 began; the distance of 28 is the gap, not less.
        let mut lines = vec![view("u", 18), view("u", 9), view("u", 28)];
        let two = [(key("u", 9, 28), Some(2.0)), (key("u", 28, 38), Some(1.0))];
        assert_eq!(of(&lines), two);
        // Time has reached 28, where the first session closes: 27 is alone in one of its own,
        // which ends at 37 and joins that of 28; 17 would end at 27, and is late.
        lines.extend([view("u", 27), view("u", 17)]);
        let two = [(key("u", 9, 28), Some(2.0)), (key("u", 27, 38), Some(2.0))];
        assert_eq!(of(&lines), two);
        assert_eq!(evaluate(&segments, &lines, &in_order()).late, 1);
    }

    #[test]
    fn a_member_stays_until_the_next_window_closes() {
        let members = |retain: Option<Millis>, last: Millis| {
            let mut segment = count("s", Window::Tumble { size: 10 });
            segment.retain = retain;
            let lines = [view("u", 1), view("other", last)];
            let members = evaluate(&[segment], &lines, &in_order()).memberships;
            members.contains(&("u".to_owned(), "s".to_owned()))
        };
        assert!(members(None, 9));
        assert!(!members(None, 10));
        assert!(members(Some(15), 10));
        assert!(!members(Some(15), 20));
    }

    #[test]
    fn segments_joined_by_user_follow_every_change() {
        let of = |kind: JoinKind| {
            let segments = [count("short", Window::Tumble { size: 10 }), count("long", Window::Tumble { size: 30 }), join_by_user(kind, "short", "long")];
            let lines = [view("u", 1), view("u", 15), view("u", 25), view("v", 95)];
            let mut finals = finals(&segments, "joined", &lines);
            finals.retain(|((user, ..), _)| user == "u");
            finals
        };
        // In `short` from 10 to 40, in `long` from 30 to 60.
        assert_eq!(of(JoinKind::Inner), [(key("u", 0, 30), Some(1.0))]);
        let before = [(key("u", 0, 10), Some(1.0)), (key("u", 10, 20), Some(1.0))];
        assert_eq!(of(JoinKind::Anti), before);
    }

    #[test]
    fn like_has_two_wildcards() {
        let matches = |text: &str, pattern: &str| {
            let chars = |s: &str| s.chars().collect::<Vec<_>>();
            like(&chars(text), &chars(pattern))
        };
        assert!(matches("électro", "_lec%o"));
        assert!(matches("", "%"));
        assert!(!matches("toys", "toy"));
        assert!(!matches("", "_"));
    }
}
