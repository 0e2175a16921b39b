//! The groups of one family over time. Events are queued at its [`bank::Bank`] and taken in ([`bank::Bank::take_queue`]); when a batch ends,
//! [`FamilyState::changes`] says which open groups began or ceased to qualify; when time passes the end
//! of windows, [`FamilyState::close`] (of tumbling windows, [`bank::Bank::decide`]) gives their final results and frees what no window needs.
//!
//! [`tumble`], [`pane`] (hopping and cumulating windows) and [`session`] each hold one window kind.

pub mod bank;
pub mod pane;
pub mod saved;
pub mod session;
mod tally;
pub mod tumble;
pub mod why;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cohort_compiler::emit::Emit;
use cohort_compiler::program::{Having, Op, OpKind, Output, Program, SegmentKind, Threshold, Value, View};
use cohort_compiler::window::WindowSpec;
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use crate::aggregate::fixed::{self, ArgumentColumn};
use crate::aggregate::general::General;
use crate::error::EngineError;
use crate::evaluate::evaluate;
use crate::having::{Listed, ViewIndex, passes, view};
use crate::ladder::Ladder;
use crate::result::{ResultKind, ResultRow};
use crate::state::Rows;
use crate::users::Users;
use crate::window::bank::{Deed, Deeds};

/// How many events ahead groups are fetched from memory, and how many ahead of that where they are.
const NEAR: usize = 6;
const FAR: usize = 14;

/// A result of a window that closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Final {
    /// Segment.
    pub segment: u32,
    /// User.
    pub user: u32,
    /// Start of the window.
    pub start: i64,
    /// End of the window.
    pub end: i64,
    /// Value.
    pub value: Option<f64>,
    /// Whether the group already qualified while the window was open.
    pub was_open: bool,
}

/// What happened to open groups in a batch.
#[derive(Debug, Default, Clone)]
pub struct Changes {
    /// Transitions, in order.
    pub rows: Vec<ResultRow>,
    /// For each transition that alters how many open windows hold a member: (segment, user, ±1).
    pub opened: Vec<(u32, u32, i32)>,
    /// Groups of segments that derived segments read: (segment, user, start, end, value), `None` when it
    /// does not qualify.
    pub tracked: Vec<Tracked>,
}

/// An open group of a segment that others read.
#[derive(Debug, Clone, Copy)]
pub struct Tracked {
    /// Segment.
    pub segment: u32,
    /// User.
    pub user: u32,
    /// Start of the window.
    pub start: i64,
    /// End of the window.
    pub end: i64,
    /// Whether it qualifies, and with what value.
    pub qualifies: Option<Option<f64>>,
    /// Newest contributing event.
    pub newest: i64,
}

/// A segment as its family sees it.
#[derive(Clone)]
struct FamilySegment {
    id: u32,
    emit: Emit,
    having: Having,
    value: Value,
    /// Whether a derived segment reads its open groups.
    tracked: bool,
}

impl FamilySegment {
    /// Whether slots alone decide it and give its value.
    fn is_simple(&self) -> bool {
        matches!(self.having, Having::Threshold(_)) && !matches!(self.value, Value::Expression(_))
    }
}

/// The events of a batch, as families need them.
#[derive(Clone, Copy)]
pub struct Arrivals<'a> {
    /// Event times.
    pub times: &'a [i64],
    /// Users.
    pub users: &'a [u32],
    /// Windows that end at or before this are closed for the event: its partition's watermark as it stood
    /// before it, less the allowed lateness.
    pub horizons: &'a [i64],
    /// Arguments of the batch.
    pub arguments: &'a [ArgumentColumn],
}

/// An event of a batch that waits at a family.
#[derive(Debug, Clone, Copy)]
pub struct Queued {
    /// Index in the batch.
    pub event: u32,
    /// What to do with it: as `Bank::note_actions` said.
    pub action: u32,
}

/// One event on its way into a family.
struct Arrival {
    /// User.
    user: u32,
    /// Event time.
    time: i64,
    /// As in [`Arrivals`].
    horizon: i64,
}

/// The state of one family. What an event of the usual kind changes comes first, in one line of the processor's cache.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct FamilyState {
    stats: FamilyStats,
    tumbling: tumble::Tumbling,
    spec: WindowSpec,
    /// Position in its bank.
    rung: usize,
    /// Its groups; of tumbling windows, those that are not in the bank's ladder.
    rows: Rows,
    general: Vec<General>,
    outputs: Vec<Output>,
    schema: SchemaRef,
    segments: Vec<FamilySegment>,
    /// All simple segments, for closing: index over their thresholds, and by segment id their view.
    simple: Vec<ViewIndex>,
    /// Simple segments that emit changes and that no derived segment reads, of windows that overlap.
    quick: Vec<ViewIndex>,
    /// Views of the values of simple segments, by segment id, from the least id of the family.
    values: Vec<Option<View>>,
    emits_changes: Vec<bool>,
    first_segment: u32,
    /// Positions in `segments` of those that are not simple.
    complex: Vec<usize>,
    /// Positions of segments whose changes are found group by group.
    careful: Vec<usize>,
    /// Rows touched in this batch.
    touched: Vec<u32>,
    /// Rows by the start of their pane.
    panes: BTreeMap<i64, Vec<u32>>,
    current_pane: (i64, Vec<u32>),
    sliding: pane::Sliding,
    sessions: session::Sessions,
    open: pane::OpenGroups,
    watches: bool,
    /// Whether some value was negative, so that a sum may fall as events come.
    falls: bool,
}

/// What a family did so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct FamilyStats {
    /// Events that passed its filter.
    pub events: u64,
    /// Nanoseconds spent comparing and closing its groups.
    pub nanos: u64,
}

impl FamilyState {
    /// The state of family `index` of a program, without groups, at a position in its bank; `dense` keeps an entry for every user.
    pub fn new(program: &Program, index: usize, rung: usize, dense: bool) -> Self {
        FamilyState::of(program, index, (rung, dense), |_| true)
    }

    /// As [`FamilyState::new`], for some of the family's segments.
    pub(crate) fn of(program: &Program, index: usize, (rung, dense): (usize, bool), wanted: impl Fn(u32) -> bool) -> Self {
        let family = &program.families[index];
        let reads_open = |reader: u32| program.segments[reader as usize].emit == Emit::Changes;
        let mut segments: Vec<FamilySegment> = family
            .segments
            .iter()
            .filter(|id| wanted(**id))
            .filter_map(|&id| {
                let segment = &program.segments[id as usize];
                let SegmentKind::Base { having, value, .. } = &segment.kind else { return None };
                let tracked = segment.emit == Emit::Changes && segment.readers.iter().chain(&segment.member_readers).any(|&r| reads_open(r));
                Some(FamilySegment { id, emit: segment.emit, having: having.clone(), value: value.clone(), tracked })
            })
            .collect();
        segments.sort_by_key(|s| s.id);
        let tumbling = matches!(family.window, WindowSpec::Tumble { .. });
        let threshold = |s: &FamilySegment| match s.having {
            Having::Threshold(t) if s.is_simple() => Some((Listed { segment: s.id, own_value: matches!(s.value, Value::View(v) if v == t.view) }, t)),
            _ => None,
        };
        let sessions = matches!(family.window, WindowSpec::Session { .. });
        let is_quick = |s: &FamilySegment| !sessions && s.is_simple() && s.emit == Emit::Changes && !s.tracked;
        let all: Vec<(Listed, Threshold)> = segments.iter().filter_map(threshold).collect();
        let quick: Vec<(Listed, Threshold)> = segments.iter().filter(|s| is_quick(s)).filter_map(threshold).collect();
        let (simple, quick) = (ViewIndex::build(&all), ViewIndex::build(&quick));
        let first_segment = segments.iter().map(|s| s.id).min().unwrap_or(0);
        let span = segments.iter().map(|s| s.id - first_segment + 1).max().unwrap_or(0) as usize;
        let (mut values, mut emits_changes) = (vec![None; span], vec![false; span]);
        for s in &segments {
            if let Value::View(v) = s.value {
                values[(s.id - first_segment) as usize] = Some(v);
            }
            emits_changes[(s.id - first_segment) as usize] = s.emit == Emit::Changes;
        }
        let complex = (0..segments.len()).filter(|&i| !segments[i].is_simple()).collect();
        let careful: Vec<usize> = (0..segments.len()).filter(|&i| segments[i].emit == Emit::Changes && !is_quick(&segments[i])).collect();
        let watches = !quick.is_empty() || !careful.is_empty() || !tumbling;
        let by_close = !careful.is_empty() || segments.iter().any(|s| !s.is_simple()) || !family.general.is_empty();
        let (quick, tumbling) = match family.window {
            WindowSpec::Tumble { size } => (vec![], tumble::Tumbling::new(size, quick, &simple, watches, !careful.is_empty(), by_close)),
            _ => (quick, tumble::Tumbling::default()),
        };
        FamilyState {
            spec: family.window,
            rung,
            // Few groups of tumbling windows are not in the ladder.
            rows: Rows::new(family, dense && !matches!(family.window, WindowSpec::Tumble { .. })),
            general: family.general.iter().cloned().map(General::new).collect(),
            outputs: family.outputs.clone(),
            schema: Arc::clone(&family.output_schema),
            simple,
            watches,
            falls: false,
            quick,
            tumbling,
            values,
            emits_changes,
            first_segment,
            complex,
            careful,
            segments,
            touched: vec![],
            panes: BTreeMap::new(),
            current_pane: (i64::MIN, vec![]),
            sliding: pane::Sliding::default(),
            sessions: session::Sessions::default(),
            open: pane::OpenGroups::default(),
            stats: FamilyStats::default(),
        }
    }

    /// Takes over the groups of another state of the same family, with the same slots, between two batches.
    pub(crate) fn take_groups(&mut self, from: &mut FamilyState) {
        std::mem::swap(&mut self.rows, &mut from.rows);
        std::mem::swap(&mut self.general, &mut from.general);
        self.tumbling.take_groups(&mut from.tumbling);
        std::mem::swap(&mut self.panes, &mut from.panes);
        std::mem::swap(&mut self.current_pane, &mut from.current_pane);
        std::mem::swap(&mut self.sliding, &mut from.sliding);
        std::mem::swap(&mut self.sessions, &mut from.sessions);
        std::mem::swap(&mut self.open, &mut from.open);
        (self.falls, self.stats) = (from.falls, from.stats);
    }

    /// Forgets what segments made of the groups: which qualify is to be found anew.
    pub(crate) fn forget_segments(&mut self, users: &Users) -> Result<(), EngineError> {
        self.settle_pane();
        self.open = pane::OpenGroups::default();
        self.sessions.early.clear();
        self.sliding.simple.clear();
        self.sliding.complex.clear();
        self.decide_window(users)
    }

    /// Whether groups are kept by the place of a segment, so that they mean nothing to other segments.
    pub(crate) fn keeps_by_place(&self) -> bool {
        self.overlaps() && !self.complex.is_empty()
    }

    /// The segments whose open groups derived segments read.
    pub(crate) fn tracked(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().filter(|s| s.tracked).map(|s| s.id)
    }

    /// What the family did so far.
    pub fn stats(&self) -> FamilyStats {
        self.stats
    }

    /// Takes in the events of a queue, one by one, of windows that are not tumbling.
    fn events(&mut self, queue: &[Queued], actions: &[Deeds], batch: &Arrivals<'_>, late: &mut Vec<u32>) -> Result<(), EngineError> {
        for (at, queued) in queue.iter().enumerate() {
            self.prefetch(queue, at, batch.users);
            for deed in &actions[queued.action as usize].each {
                self.event(queued.event, deed, batch, late)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: u32, deed: &Deed, batch: &Arrivals<'_>, late: &mut Vec<u32>) -> Result<(), EngineError> {
        let i = event as usize;
        let arrival = Arrival { user: batch.users[i], time: batch.times[i], horizon: batch.horizons[i] };
        self.stats.events += u64::from(deed.creates);
        let (row, is_late) = match self.spec {
            WindowSpec::Session { gap } => self.session_row(&arrival, gap, deed.creates)?,
            _ => self.pane_row(&arrival, deed.creates),
        };
        late.extend(is_late.then_some(event));
        if let Some(row) = row {
            apply(self.rows.slots_mut(row), &mut self.general, row, event, &deed.ops, batch.arguments);
        }
        Ok(())
    }

    /// Has the groups of events soon to come fetched from memory, while the one at `at` is worked on: most events
    /// are of users that were not seen for long.
    #[inline]
    fn prefetch(&self, queue: &[Queued], at: usize, users: &[u32]) {
        if let Some(queued) = queue.get(at + FAR) {
            self.rows.prefetch_head(users[queued.event as usize]);
        }
        if let Some(queued) = queue.get(at + NEAR) {
            self.rows.prefetch_row(users[queued.event as usize]);
        }
    }

    /// Notes that a row is about to change; returns whether this is the first time in the batch.
    #[inline]
    fn touch(&mut self, row: u32, time: i64) -> bool {
        self.rows.note(row, time);
        if !self.watches || !self.rows.place(row).touch() {
            return false;
        }
        self.touched.push(row);
        true
    }

    fn add_to_pane(&mut self, start: i64, row: u32) {
        if self.current_pane.0 != start {
            let (old, rows) = std::mem::replace(&mut self.current_pane, (start, self.panes.remove(&start).unwrap_or_default()));
            if !rows.is_empty() {
                self.panes.insert(old, rows);
            }
        }
        self.current_pane.1.push(row);
    }

    /// Puts the current pane among the others.
    fn settle_pane(&mut self) {
        let (start, rows) = std::mem::replace(&mut self.current_pane, (i64::MIN, vec![]));
        if !rows.is_empty() {
            self.panes.entry(start).or_default().extend(rows);
        }
    }

    /// Adds the batch's events to general slots; `arguments(slot)` evaluates a slot's arguments.
    pub fn apply_general(&mut self, mut arguments: impl FnMut(usize) -> Result<Vec<ArrayRef>, EngineError>) -> Result<(), EngineError> {
        for (i, general) in self.general.iter_mut().enumerate() {
            if general.has_pending() {
                let values = arguments(i)?;
                let name = general.name().to_string();
                general.apply(&values).map_err(EngineError::evaluate(name))?;
            }
        }
        Ok(())
    }

    /// Says that negative values were seen.
    pub fn may_fall(&mut self) {
        self.falls = true;
    }

    /// Which open groups began or ceased to qualify since the last call.
    pub fn changes(&mut self, ladder: &mut Ladder, users: &Users, changes: &mut Changes) -> Result<(), EngineError> {
        if self.touched.is_empty() && self.tumbling.touched.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        match self.spec {
            WindowSpec::Tumble { .. } => self.tumble_changes(ladder, users, changes)?,
            WindowSpec::Session { gap } => {
                self.rows.settle(&self.touched);
                self.session_changes(users, gap, changes)?;
            }
            _ => {
                self.rows.settle(&self.touched);
                self.pane_changes(users, changes)?;
            }
        }
        self.touched.clear();
        self.stats.nanos += started.elapsed().as_nanos() as u64;
        Ok(())
    }

    /// Final results of all windows that end at or before `horizon`, unless they are tumbling.
    pub fn close(&mut self, users: &Users, horizon: i64, finals: &mut Vec<Final>, changes: &mut Changes) -> Result<(), EngineError> {
        if let WindowSpec::Tumble { .. } = self.spec {
            return Ok(());
        }
        let started = Instant::now();
        match self.spec {
            WindowSpec::Session { gap } => self.session_close(users, gap, horizon, finals, changes),
            _ => self.pane_close(users, horizon, finals),
        }?;
        self.stats.nanos += started.elapsed().as_nanos() as u64;
        Ok(())
    }

    /// The earliest horizon at which a window closes.
    pub fn next_close(&self) -> Option<i64> {
        if let WindowSpec::Tumble { size } = self.spec {
            return self.tumbling.panes.first().map(|start| start + size);
        }
        let pane = self.panes.keys().next().copied().into_iter().chain((!self.current_pane.1.is_empty()).then_some(self.current_pane.0)).min();
        match self.spec {
            WindowSpec::Session { .. } => self.sessions.next_end(),
            _ => pane.map(|start| self.spec.next_end(self.sliding.closed.max(start))),
        }
    }

    /// Whether windows overlap, so that an event can be late for one and in time for another.
    pub fn overlaps(&self) -> bool {
        matches!(self.spec, WindowSpec::Hop { .. } | WindowSpec::Cumulate { .. })
    }

    /// Frees a row with all its state.
    fn free(&mut self, row: u32) {
        self.general.iter_mut().for_each(|g| g.clear(row));
        self.rows.remove(row);
    }

    /// Marks the users that have groups, but for those of tumbling windows.
    pub fn mark_live(&self, live: &mut [bool]) {
        for rows in self.panes.values().chain([&self.current_pane.1]) {
            self.rows.each(rows, |row, _| live[row.user as usize] = true);
        }
        self.sessions.rows().for_each(|row| live[self.rows.row(row).user as usize] = true);
        self.sliding.users().chain(self.open.users()).for_each(|user| live[user as usize] = true);
    }

    /// Number of groups.
    pub fn groups(&self) -> usize {
        match self.spec {
            WindowSpec::Tumble { .. } => self.tumbling.groups(),
            _ => self.rows.len(),
        }
    }

    /// Moves groups to files in `folder`.
    ///
    /// # Errors
    /// When a file cannot be made, or the disk is full.
    pub fn spill(&mut self, folder: &Path) -> std::io::Result<()> {
        self.rows.spill(folder)
    }

    /// Bytes of groups in files.
    pub fn spilled(&self) -> usize {
        self.rows.spilled()
    }

    /// Bytes of memory in use.
    pub fn size(&self) -> usize {
        let general: usize = self.general.iter().map(General::size).sum();
        let panes = self.rows.len() * 4 + self.panes.len() * 64 + self.tumbling.size();
        self.rows.size() + general + panes + self.sliding.size() + self.open.size() + self.sessions.size()
    }

    fn value_view(&self, segment: u32) -> Option<View> {
        self.values[(segment - self.first_segment) as usize]
    }

    /// The value of a simple segment for a group's slots.
    fn value_of(&self, segment: u32, slots: &[u64]) -> Option<f64> {
        self.value_view(segment).and_then(|v| view(v, slots))
    }

    fn emits_changes(&self, segment: u32) -> bool {
        self.emits_changes[(segment - self.first_segment) as usize]
    }

    /// The threshold of a segment that is simple.
    fn threshold(&self, segment: u32) -> Option<&Threshold> {
        let at = self.segments.binary_search_by_key(&segment, |s| s.id).ok()?;
        match &self.segments[at].having {
            Having::Threshold(t) if self.segments[at].is_simple() => Some(t),
            _ => None,
        }
    }

    /// Decides the segments at `positions` for groups: calls `f(position, group, qualifies, value)`.
    fn decide(&self, positions: &[usize], groups: &Groups, users: &Users, mut f: impl FnMut(usize, usize, bool, Option<f64>)) -> Result<(), EngineError> {
        if positions.is_empty() || groups.len() == 0 {
            return Ok(());
        }
        let needs_batch =
            positions.iter().any(|&p| matches!(self.segments[p].having, Having::Expression(_)) || matches!(self.segments[p].value, Value::Expression(_)));
        let batch = if needs_batch { Some(self.batch(groups, users)?) } else { None };
        for &p in positions {
            let segment = &self.segments[p];
            let having = match (&segment.having, &batch) {
                (Having::Expression(e), Some(batch)) => Some(booleans(e, batch)?),
                _ => None,
            };
            let values = match (&segment.value, &batch) {
                (Value::Expression(e), Some(batch)) => Some(floats(e, batch)?),
                _ => None,
            };
            for g in 0..groups.len() {
                let slots = groups.slots_of(g);
                let qualifies = match (&segment.having, &having) {
                    (Having::Threshold(t), _) => passes(t, view(t.view, slots)),
                    (_, Some(having)) => having.is_valid(g) && having.value(g),
                    _ => true,
                };
                let value = match (&segment.value, &values) {
                    (Value::View(v), _) => view(*v, slots),
                    (_, Some(values)) => values.is_valid(g).then(|| values.value(g)),
                    _ => None,
                };
                f(p, g, qualifies, value);
            }
        }
        Ok(())
    }

    /// The family's outputs for groups, as its residual expressions read them.
    fn batch(&self, groups: &Groups, users: &Users) -> Result<RecordBatch, EngineError> {
        let times = |v: &[i64]| Arc::new(TimestampMillisecondArray::from(v.to_vec()).with_timezone("UTC")) as ArrayRef;
        let names = StringArray::from_iter_values(groups.users.iter().map(|u| users.name(*u)));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(names), times(&groups.starts), times(&groups.ends)];
        for output in &self.outputs {
            columns.push(match output {
                Output::View(View::Count(i)) => {
                    let counts = (0..groups.len()).map(|g| groups.slots_of(g)[*i as usize] as i64);
                    Arc::new(Int64Array::from_iter_values(counts))
                }
                Output::View(v) => Arc::new((0..groups.len()).map(|g| view(*v, groups.slots_of(g))).collect::<Float64Array>()),
                Output::General(i) => {
                    let general = &self.general[*i as usize];
                    general.evaluate(groups.members.iter().copied(), groups.len()).map_err(EngineError::evaluate(general.name()))?
                }
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| EngineError::Evaluate { what: "a group".into(), source: e.into() })
    }
}

/// Adds an event to the slots of its group; `row` is what its general slots know it by.
#[inline]
fn apply(slots: &mut [u64], general: &mut [General], row: u32, event: u32, ops: &[Op], arguments: &[ArgumentColumn]) {
    for op in ops {
        if op.kind == OpKind::General {
            general[op.slot as usize].note(event, row);
        } else {
            fixed::apply(op, slots, arguments, event as usize);
        }
    }
}

/// Groups to decide: users, windows, merged slots, and the rows they are made of.
#[derive(Default)]
struct Groups {
    users: Vec<u32>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    newest: Vec<i64>,
    slots: Vec<u64>,
    width: usize,
    members: Vec<(usize, u32)>,
}

impl Groups {
    fn new(width: usize) -> Self {
        Groups { width, ..Default::default() }
    }

    fn clear(&mut self) {
        self.users.clear();
        self.starts.clear();
        self.ends.clear();
        self.newest.clear();
        self.slots.clear();
        self.members.clear();
    }

    fn len(&self) -> usize {
        self.users.len()
    }

    fn slots_of(&self, group: usize) -> &[u64] {
        &self.slots[group * self.width..][..self.width]
    }

    fn push(&mut self, user: u32, window: (i64, i64), newest: i64, slots: &[u64]) -> usize {
        self.users.push(user);
        self.starts.push(window.0);
        self.ends.push(window.1);
        self.newest.push(newest);
        self.slots.extend_from_slice(slots);
        self.users.len() - 1
    }

    fn change(&self, g: usize, segment: u32, qualified: bool, value: Option<f64>) -> ResultRow {
        ResultRow {
            segment,
            user: self.users[g],
            kind: ResultKind::Change,
            qualified,
            value,
            timestamp: self.newest[g],
            window_start: self.starts[g],
            window_end: self.ends[g],
        }
    }
}

/// Evaluates a boolean expression.
pub fn booleans(e: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<BooleanArray, EngineError> {
    let what = || format!("{e}");
    let array = evaluate(e, batch).map_err(EngineError::evaluate(what()))?;
    let array = cast(&array, &DataType::Boolean).map_err(|s| EngineError::Evaluate { what: what(), source: s.into() })?;
    Ok(array.as_any().downcast_ref::<BooleanArray>().cloned().unwrap_or_else(|| BooleanArray::new_null(batch.num_rows())))
}

/// Evaluates a numeric expression.
pub fn floats(e: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<Float64Array, EngineError> {
    let what = || format!("{e}");
    let array = evaluate(e, batch).map_err(EngineError::evaluate(what()))?;
    let array = cast(&array, &DataType::Float64).map_err(|s| EngineError::Evaluate { what: what(), source: s.into() })?;
    Ok(array.as_any().downcast_ref::<Float64Array>().cloned().unwrap_or_else(|| Float64Array::new_null(batch.num_rows())))
}
