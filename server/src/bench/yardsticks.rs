//! What classic rules cost without an engine: two evaluators to hold Cohort's speed against.
//!
//! - [`naive`] is the job one writes by hand: decode every event, loop over all rules, look up the
//!   state of (rule, user, window), compare. Its cost grows with the number of rules.
//! - [`floor`] is the leanest loop that does just this: it finds the fields of the classic layout
//!   ([`crate::generate::Layout::Classic`]) at their known places, keeps one state for each type,
//!   window and user whatever the number of rules, and walks sorted thresholds. It takes shortcuts
//!   that no engine could: user ids are numbers, values are never negative, nothing but count and
//!   sum, one partition.
//!
//! Both read JSON lines in memory, one partition in the order given, and count the results of
//! semantics that Cohort emits, without writing them anywhere:
//! - a *crossing* when an event makes a lower bound (GT, GTE) hold for a user's window;
//! - a *final* for each user's window that qualifies at its close;
//! - an *exit* at a close for each member who didn't qualify in that window and, with a lower
//!   bound, does not qualify in one still open either.
//!
//! A window closes when the newest event time, less [`OUT_OF_ORDERNESS_MS`], reaches its end; an
//! event that comes later does not count. At the end of input every window closes up to the one
//! that holds the newest event. An engine that works in batches emits no crossing for a window
//! that closes in the batch it crosses in, so that its results may be fewer by those.
//!
//! The two are written apart and must agree: [`Tally`] has the sum of the hashes of all results.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use memchr::memchr;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use serde::Deserialize;

use super::rules::{Attribute, ClassicRule, Operator};
use crate::generate::mix;

/// How long windows stay open for late events, in milliseconds.
pub const OUT_OF_ORDERNESS_MS: i64 = 30_000;

/// What an evaluator found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events read.
    pub events: u64,
    /// Results as soon as a lower bound held.
    pub crossings: u64,
    /// Results at the close of a window.
    pub finals: u64,
    /// Results for members who left.
    pub exits: u64,
    /// The sum of the hashes of (kind, rule, user, window) of all results.
    pub hash: u64,
}

/// The kind of a result.
#[derive(Clone, Copy)]
enum Kind {
    Crossing,
    Final,
    Exit,
}

impl Tally {
    /// The number of results of all kinds.
    pub const fn results(&self) -> u64 {
        self.crossings + self.finals + self.exits
    }

    #[inline]
    fn add(&mut self, kind: Kind, rule: u32, user: u32, window_start: i64) {
        match kind {
            Kind::Crossing => self.crossings += 1,
            Kind::Final => self.finals += 1,
            Kind::Exit => self.exits += 1,
        }
        let who = mix(member(rule, user));
        self.hash = (self.hash).wrapping_add(mix(who ^ (window_start << 2) as u64 ^ kind as u64));
    }
}

/// A rule's member as one number.
const fn member(rule: u32, user: u32) -> u64 {
    (rule as u64) << 32 | user as u64
}

/// The clock of one partition: which windows are open.
struct Watermark {
    newest: i64,
    at: i64,
    next_close: i64,
}

impl Watermark {
    const fn new() -> Self {
        Self { newest: i64::MIN, at: i64::MIN, next_close: i64::MAX }
    }

    /// Takes note of an event's time; whether a window may close.
    #[inline]
    fn advance(&mut self, time: i64) -> bool {
        if time <= self.newest {
            return false;
        }
        self.newest = time;
        self.at = time.saturating_sub(OUT_OF_ORDERNESS_MS);
        self.at >= self.next_close
    }
}

// ---- naive ------------------------------------------------------------------------------------

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NaiveEvent {
    user_id: String,
    event_type: String,
    timestamp: i64,
    value: Option<f64>,
}

#[derive(Clone, Copy, Default)]
struct NaiveState {
    count: u32,
    sum: f64,
}

/// One rule with the state of each of its windows and users.
struct NaiveRule<'a> {
    rule: &'a ClassicRule,
    number: u32,
    windows: BTreeMap<i64, FxHashMap<u32, NaiveState>>,
    members: FxHashSet<u32>,
    /// The start of the first window that is not closed.
    next: Option<i64>,
}

impl<'a> NaiveRule<'a> {
    fn new(rule: &'a ClassicRule, number: u32) -> Self {
        Self { rule, number, windows: BTreeMap::new(), members: FxHashSet::default(), next: None }
    }

    fn update(&mut self, event: &NaiveEvent, user: u32, watermark: i64, tally: &mut Tally) {
        let size = self.rule.window_ms();
        let start = event.timestamp - event.timestamp.rem_euclid(size);
        if self.rule.event_type != event.event_type || start + size <= watermark {
            return;
        }
        let state = self.windows.entry(start).or_default();
        let state = state.entry(user).or_default();
        let before = state.count > 0 && self.rule.holds(state.count, state.sum);
        state.count += 1;
        state.sum += event.value.unwrap_or(0.0);
        let after = self.rule.holds(state.count, state.sum);
        if self.rule.operator.is_lower_bound() && after && !before {
            tally.add(Kind::Crossing, self.number, user, start);
        }
    }

    /// Closes the windows that end by `watermark`; the first is the one that holds `first`.
    fn close(&mut self, first: i64, watermark: i64, tally: &mut Tally) {
        let size = self.rule.window_ms();
        let mut start = self.next.unwrap_or(first - first.rem_euclid(size));
        while start + size <= watermark {
            self.close_window(start, tally);
            start += size;
        }
        self.next = Some(start);
    }

    fn close_window(&mut self, start: i64, tally: &mut Tally) {
        let states = self.windows.remove(&start).unwrap_or_default();
        let mut qualified = FxHashSet::default();
        for (user, state) in states {
            if self.rule.holds(state.count, state.sum) {
                tally.add(Kind::Final, self.number, user, start);
                qualified.insert(user);
            }
        }
        for user in std::mem::take(&mut self.members) {
            if qualified.contains(&user) {
                continue;
            }
            if self.qualifies_already(user) {
                qualified.insert(user);
            } else {
                tally.add(Kind::Exit, self.number, user, start);
            }
        }
        self.members = qualified;
    }

    fn qualifies_already(&self, user: u32) -> bool {
        let mut states = self.windows.values().filter_map(|users| users.get(&user));
        self.rule.operator.is_lower_bound() && states.any(|state| self.rule.holds(state.count, state.sum))
    }
}

/// The loop over all rules for each event. Reads any layout.
///
/// # Errors
/// When a line is not an event.
pub fn naive(lines: &[u8], rules: &[ClassicRule]) -> Result<Tally> {
    let mut states: Vec<NaiveRule> = (0..).zip(rules).map(|(number, rule)| NaiveRule::new(rule, number)).collect();
    let mut users: FxHashMap<String, u32> = FxHashMap::default();
    let mut watermark = Watermark::new();
    let mut tally = Tally::default();
    let mut first = i64::MAX;
    for line in Lines(lines) {
        let event: NaiveEvent = sonic_rs::from_slice(line).context("not an event")?;
        let user = intern(&mut users, &event.user_id);
        first = first.min(event.timestamp);
        for state in &mut states {
            state.update(&event, user, watermark.at, &mut tally);
        }
        tally.events += 1;
        if watermark.advance(event.timestamp) {
            close_all(&mut states, first, watermark.at, &mut tally);
        }
        if tally.events == 1 || watermark.at >= watermark.next_close {
            watermark.next_close = next_close(rules, watermark.at);
        }
    }
    if tally.events > 0 {
        for state in &mut states {
            let end = end_of_window(watermark.newest, state.rule.window_ms());
            state.close(first, end, &mut tally);
        }
    }
    Ok(tally)
}

fn close_all(states: &mut [NaiveRule], first: i64, watermark: i64, tally: &mut Tally) {
    for state in states {
        state.close(first, watermark, tally);
    }
}

/// The next end of any rule's window after a time.
fn next_close(rules: &[ClassicRule], time: i64) -> i64 {
    let ends = rules.iter().map(|rule| end_of_window(time, rule.window_ms()));
    ends.min().unwrap_or(i64::MAX)
}

/// The end of the window that holds a time.
const fn end_of_window(time: i64, size: i64) -> i64 {
    time - time.rem_euclid(size) + size
}

/// A user's number: the one at the end of the id, so that it is the same in both evaluators.
fn intern(users: &mut FxHashMap<String, u32>, id: &str) -> u32 {
    if let Some(&user) = users.get(id) {
        return user;
    }
    let digits = id.rsplit('_').next().and_then(|digits| digits.parse().ok());
    let user = digits.unwrap_or(users.len() as u32);
    users.insert(id.to_owned(), user);
    user
}

/// The lines of a text, without empty ones.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.0.is_empty() {
            let end = memchr(b'\n', self.0).unwrap_or(self.0.len());
            let (line, rest) = self.0.split_at(end);
            self.0 = rest.get(1..).unwrap_or_default();
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    }
}

// ---- floor ------------------------------------------------------------------------------------

/// The types of the classic layout.
const TYPES: [&str; 3] = ["view", "purchase", "install"];

/// The fields of an event that rules read.
#[derive(Debug, PartialEq)]
struct LeanEvent {
    user: u32,
    kind: usize,
    time: i64,
    value: f64,
}

/// Reads one event of the classic layout; what follows it.
#[inline]
fn read_lean(text: &[u8]) -> Option<(LeanEvent, &[u8])> {
    const USER: usize = "{\"userId\":\"user_".len();
    const TYPE: usize = "\",\"eventType\":\"".len();
    const TIME: usize = "\",\"timestamp\":".len();
    const VALUE: usize = ",\"value\":".len();
    /// From the value's end to the product's digits.
    const REST: usize = ",\"sessionId\":\"session_00000000\",\"metadata\":{\"productId\":\"prod_".len();
    let (user, text) = digits(text.get(USER..)?);
    let text = text.get(TYPE..)?;
    let kind = match text.first()? {
        b'v' => 0,
        b'p' => 1,
        b'i' => 2,
        _ => return None,
    };
    let text = text.get(TYPES[kind].len() + TIME..)?;
    let (time, text) = digits(text);
    let (value, text) = decimal(text.get(VALUE..)?);
    let text = text.get(REST..)?;
    let end = memchr(b'\n', text).unwrap_or(text.len());
    let event = LeanEvent { user: user as u32, kind, time: time as i64, value };
    Some((event, text.get(end + 1..).unwrap_or_default()))
}

/// The number that a text begins with, and the rest.
#[inline]
fn digits(text: &[u8]) -> (u64, &[u8]) {
    let (mut number, mut at) = (0_u64, 0);
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0'))
        && digit < 10
    {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (number, &text[at..])
}

/// The decimal of at most two places that a text begins with, and the rest.
#[inline]
fn decimal(text: &[u8]) -> (f64, &[u8]) {
    let (whole, rest) = digits(text);
    let Some((b'.', fraction)) = rest.split_first() else {
        return (whole as f64, rest);
    };
    let (places, rest) = digits(fraction);
    match fraction.len() - rest.len() {
        1 => ((whole * 10 + places) as f64 / 10.0, rest),
        _ => ((whole * 100 + places) as f64 / 100.0, rest),
    }
}

/// A threshold and whose it is.
struct Bound {
    threshold: f64,
    strict: bool,
    rule: u32,
}

impl Bound {
    /// Whether a value lies above, as GT and GTE ask.
    #[inline]
    fn is_under(&self, value: f64) -> bool {
        value > self.threshold || (!self.strict && value == self.threshold)
    }

    /// Whether a value lies below, as LT and LTE ask.
    #[inline]
    fn is_over(&self, value: f64) -> bool {
        value < self.threshold || (!self.strict && value == self.threshold)
    }
}

/// The thresholds on one value of one window, sorted by what they let pass.
#[derive(Default)]
struct Bounds {
    /// GT and GTE: those that a value passes come first.
    lower: Vec<Bound>,
    /// LT and LTE: those that a value passes come last.
    upper: Vec<Bound>,
    equal: Vec<Bound>,
    unequal: Vec<Bound>,
}

impl Bounds {
    fn push(&mut self, operator: Operator, bound: Bound) {
        match operator {
            Operator::Gt | Operator::Gte => self.lower.push(bound),
            Operator::Lt | Operator::Lte => self.upper.push(bound),
            Operator::Eq => self.equal.push(bound),
            Operator::Neq => self.unequal.push(bound),
        }
    }

    fn sort(&mut self) {
        let by_threshold = |one: &Bound, other: &Bound| one.threshold.total_cmp(&other.threshold);
        self.lower.sort_by(|one, other| by_threshold(one, other).then(one.strict.cmp(&other.strict)));
        self.upper.sort_by(|one, other| by_threshold(one, other).then(other.strict.cmp(&one.strict)));
        self.equal.sort_by(by_threshold);
        self.unequal.sort_by(by_threshold);
    }

    /// The rules that hold at the close; the first `passed` lower bounds are known to.
    fn holding(&self, value: f64, passed: u32, tolerance: f64, mut each: impl FnMut(u32)) {
        let upper = self.upper.partition_point(|bound| !bound.is_over(value));
        let lower = &self.lower[..passed as usize];
        for bound in lower.iter().chain(&self.upper[upper..]) {
            each(bound.rule);
        }
        let near = |bounds: &[Bound]| {
            let is_less = |bound: &Bound| value - bound.threshold > tolerance;
            let start = bounds.partition_point(is_less);
            let end = bounds[start..].partition_point(|bound| bound.threshold - value <= tolerance);
            start..start + end
        };
        for bound in &self.equal[near(&self.equal)] {
            each(bound.rule);
        }
        let equal = near(&self.unequal);
        for bound in self.unequal[..equal.start].iter().chain(&self.unequal[equal.end..]) {
            each(bound.rule);
        }
    }
}

/// One user's state in one window.
#[derive(Clone, Copy, Default)]
struct Cell {
    sum: f64,
    count: u32,
    /// How many lower bounds on the count hold.
    by_count: u32,
    /// How many lower bounds on the sum hold.
    by_sum: u32,
}

/// One open window.
struct OpenWindow {
    start: i64,
    cells: FxHashMap<u32, Cell>,
}

/// All rules on one type of event and one size of window.
struct Lane {
    size: i64,
    counts: Bounds,
    sums: Bounds,
    /// The windows that are open, in no particular order.
    open: Vec<OpenWindow>,
    /// The start of the first window that is not closed.
    next: i64,
    /// Who is in which segment: [`member`]s, sorted.
    members: Vec<u64>,
}

impl Lane {
    fn new(size: i64) -> Self {
        Self { size, counts: Bounds::default(), sums: Bounds::default(), open: Vec::new(), next: i64::MAX, members: Vec::new() }
    }

    fn push(&mut self, rule: &ClassicRule, number: u32) {
        let bound = Bound { threshold: rule.threshold, strict: matches!(rule.operator, Operator::Gt | Operator::Lt), rule: number };
        match rule.attribute {
            Attribute::Count => self.counts.push(rule.operator, bound),
            Attribute::Sum => self.sums.push(rule.operator, bound),
        }
    }

    #[inline]
    fn update(&mut self, event: &LeanEvent, watermark: i64, tally: &mut Tally) {
        let start = event.time - event.time.rem_euclid(self.size);
        if start + self.size <= watermark {
            return;
        }
        let open = self.open.iter().position(|window| window.start == start);
        let index = open.unwrap_or_else(|| self.open_window(start));
        let cell = self.open[index].cells.entry(event.user).or_default();
        cell.count += 1;
        cell.sum += event.value;
        let mut cross = |bounds: &Bounds, passed: &mut u32, value| {
            while let Some(bound) = bounds.lower.get(*passed as usize)
                && bound.is_under(value)
            {
                tally.add(Kind::Crossing, bound.rule, event.user, start);
                *passed += 1;
            }
        };
        cross(&self.counts, &mut cell.by_count, f64::from(cell.count));
        cross(&self.sums, &mut cell.by_sum, cell.sum);
    }

    fn open_window(&mut self, start: i64) -> usize {
        self.next = self.next.min(start);
        let users = self.open.iter().map(|open| open.cells.len()).max();
        let cells = FxHashMap::with_capacity_and_hasher(users.unwrap_or(0), FxBuildHasher);
        self.open.push(OpenWindow { start, cells });
        self.open.len() - 1
    }

    /// Closes the windows that end by `watermark`.
    fn close(&mut self, watermark: i64, rules: &[ClassicRule], tally: &mut Tally) {
        while self.next <= watermark.saturating_sub(self.size) {
            self.close_window(self.next, rules, tally);
            self.next += self.size;
        }
    }

    fn close_window(&mut self, start: i64, rules: &[ClassicRule], tally: &mut Tally) {
        let mut qualified = Vec::new();
        let closing = self.open.iter().position(|window| window.start == start);
        if let Some(index) = closing {
            for (user, cell) in self.open.swap_remove(index).cells {
                let mut each = |rule| {
                    tally.add(Kind::Final, rule, user, start);
                    qualified.push(member(rule, user));
                };
                let count = f64::from(cell.count);
                self.counts.holding(count, cell.by_count, 0.0, &mut each);
                self.sums.holding(cell.sum, cell.by_sum, 0.001, &mut each);
            }
            qualified.sort_unstable();
        }
        let members = std::mem::take(&mut self.members);
        let stayed = qualified.len();
        let mut at = 0;
        for left in members {
            while at < stayed && qualified[at] < left {
                at += 1;
            }
            if at < stayed && qualified[at] == left {
                continue;
            }
            let (rule, user) = ((left >> 32) as u32, left as u32);
            if self.qualifies_already(&rules[rule as usize], user) {
                qualified.push(left);
            } else {
                tally.add(Kind::Exit, rule, user, start);
            }
        }
        if qualified.len() > stayed {
            qualified.sort_unstable();
        }
        self.members = qualified;
    }

    fn qualifies_already(&self, rule: &ClassicRule, user: u32) -> bool {
        let mut cells = self.open.iter().filter_map(|open| open.cells.get(&user));
        rule.operator.is_lower_bound() && cells.any(|cell| rule.holds(cell.count, cell.sum))
    }
}

/// The leanest loop for classic rules over the classic layout.
///
/// # Errors
/// When a line does not have that layout or a rule is on another type of event.
pub fn floor(lines: &[u8], rules: &[ClassicRule]) -> Result<Tally> {
    let mut lanes = lanes(rules)?;
    let mut watermark = Watermark::new();
    let mut tally = Tally::default();
    let mut rest = lines;
    while !rest.is_empty() {
        let Some((event, after)) = read_lean(rest) else {
            bail!("event {} has another layout", tally.events);
        };
        rest = after;
        for lane in &mut lanes[event.kind] {
            lane.update(&event, watermark.at, &mut tally);
        }
        tally.events += 1;
        if watermark.advance(event.time) || tally.events == 1 {
            for lane in lanes.iter_mut().flatten() {
                lane.close(watermark.at, rules, &mut tally);
            }
            watermark.next_close = next_close(rules, watermark.at);
        }
    }
    if tally.events == 0 {
        return Ok(tally);
    }
    for lane in lanes.iter_mut().flatten() {
        let end = end_of_window(watermark.newest, lane.size);
        lane.close(end, rules, &mut tally);
    }
    Ok(tally)
}

/// The rules by type of event and size of window.
fn lanes(rules: &[ClassicRule]) -> Result<[Vec<Lane>; 3]> {
    let mut lanes = [const { Vec::<Lane>::new() }; 3];
    for (number, rule) in (0..).zip(rules) {
        let kind = TYPES.iter().position(|&kind| kind == rule.event_type);
        let of_kind = &mut lanes[kind.with_context(|| format!("type of {}", rule.id))?];
        let size = rule.window_ms();
        let found = of_kind.iter().position(|lane| lane.size == size);
        let index = found.unwrap_or_else(|| {
            of_kind.push(Lane::new(size));
            of_kind.len() - 1
        });
        of_kind[index].push(rule, number);
    }
    for lane in lanes.iter_mut().flatten() {
        lane.counts.sort();
        lane.sums.sort();
    }
    Ok(lanes)
}
