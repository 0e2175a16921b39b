//! One partition: the unit of state, time and order. A batch of decoded events goes through
//! [`Partition::process`]; [`Partition::advance`] closes windows as time passes; [`Partition::finish`]
//! ends bounded input. Results come out in order.
//!
//! Within a batch: users are interned, conditions evaluated once, each event queued at its families; then one family
//! after the other takes its queue, and at the end the touched groups are compared and derived segments brought up to date.

mod derived;
pub(crate) mod gauges;
mod relay;
mod route;
pub mod saved;
pub mod why;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use cohort_compiler::program::{Action, Argument, MatchBy, Program, Segment, SegmentKind};
use cohort_compiler::window::WindowSpec;
use datafusion::arrow::array::RecordBatch;
use rustc_hash::FxHashMap;

use self::gauges::Gauges;
use self::route::{Classes, Route};
use crate::aggregate::fixed::ArgumentColumn;
use crate::decode::EventBatch;
use crate::error::EngineError;
use crate::evaluate::evaluate;
use crate::events;
use crate::membership::{Member, Membership, NEVER};
use crate::result::{ResultKind, ResultRow, Results};
use crate::users::Users;
use crate::window::bank::Bank;
use crate::window::pane::OpenGroups;
use crate::window::{Arrivals, Changes, FamilyState, FamilyStats, Final, Queued};

/// Settings of time, in milliseconds, and of memory, in bytes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How far the watermark lies behind the newest event.
    pub out_of_orderness: i64,
    /// How long after its end a window still takes events.
    pub allowed_lateness: i64,
    /// The most memory that state may take.
    pub memory_limit: usize,
    /// A folder for groups that the memory is too small for.
    pub spill: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { out_of_orderness: 30_000, allowed_lateness: 0, memory_limit: 1 << 30, spill: None }
    }
}

/// Memberships that end between two pauses.
const EXPIRED_TOGETHER: usize = 1024;

/// A window in which a group qualifies.
#[derive(Debug, Clone, Copy)]
struct OpenWindow {
    start: i64,
    end: i64,
    value: Option<f64>,
    /// Newest contributing event.
    newest: i64,
}

/// What results need to know of a segment, side by side for all segments.
#[derive(Debug, Clone, Copy)]
struct Facts {
    /// How long a membership outlasts the window that it is by, ms.
    held: i64,
    /// Whether sinks hear nothing of it.
    hidden: bool,
    /// Whether a derived segment matches its windows.
    is_read: bool,
    /// Whether a derived segment matches its members.
    members_are_read: bool,
}

impl Facts {
    fn of(segment: &Segment) -> Self {
        let by_user = matches!(&segment.kind, SegmentKind::Derived(d) if d.by == MatchBy::User);
        Facts {
            held: if by_user { segment.retain_ms } else { segment.hold_ms.max(segment.retain_ms) },
            hidden: segment.hidden,
            is_read: !segment.readers.is_empty(),
            members_are_read: !segment.member_readers.is_empty(),
        }
    }
}

/// The state of one partition.
#[derive(Clone)]
pub struct Partition {
    program: Arc<Program>,
    facts: Vec<Facts>,
    /// For each router.
    routes: Vec<Route>,
    /// For each of the program's matched columns.
    classes: Vec<Classes>,
    settings: Settings,
    /// The state of all families.
    banks: Vec<Bank>,
    /// What they came to at the end of the last batch or close.
    gauges: Gauges,
    /// For each of the program's families, its bank and its position there.
    homes: Vec<(usize, usize)>,
    users: Users,
    membership: Membership,
    newest: Option<i64>,
    /// Where the watermark stands at least: a partition that was idle while time passed is no longer behind.
    passed: i64,
    closed: i64,
    /// Open groups of segments that derived segments read: (segment, user) → end → window.
    tracked: FxHashMap<(u32, u32), BTreeMap<i64, OpenWindow>>,
    derived_open: OpenGroups,
    /// Users whose membership in a segment read by current membership may have changed.
    stale: BTreeSet<(u32, u32)>,
    has_member_readers: bool,
    /// Whether somebody wants to know who is a member; otherwise memberships are kept only for segments that read them.
    follows_members: bool,
    /// Whether derived segments match windows, so that they look at all that end together.
    has_window_readers: bool,
    overlaps: bool,
    /// Whether some expression reads events as Arrow columns.
    needs_columns: bool,
    ids: Vec<u32>,
    /// For each event of the batch, up to when windows were closed when it came.
    horizons: Vec<i64>,
    /// Banks whose queue is not empty.
    busy: Vec<u32>,
    /// Banks that took events since they were last compared; some of them several times.
    stirred: Vec<u32>,
    /// The least time at which a window of a family with overlapping windows may end, as far as its events are known.
    due: i64,
    /// Room for the transitions of a batch and the finals of a close, kept from one to the next.
    changes: Changes,
    finals: Vec<Final>,
    arguments: Vec<ArgumentColumn>,
    route_nanos: u64,
    /// Users whose events came since [`Partition::watch`], by dense id.
    watched: Option<Vec<bool>>,
}

/// What a batch left behind beside results.
#[derive(Debug, Default)]
pub struct Late {
    /// Indices within the batch of events that were too late for a window.
    pub events: Vec<u32>,
}

struct BatchContext {
    batch: Option<RecordBatch>,
    masks: Vec<Vec<bool>>,
}

impl Partition {
    /// A partition without state.
    pub fn new(program: Arc<Program>, settings: Settings) -> Self {
        let mut partition = Partition {
            overlaps: false,
            needs_columns: false,
            banks: Bank::all(&program),
            gauges: Gauges::default(),
            homes: vec![],
            users: Users::default(),
            membership: Membership::default(),
            newest: None,
            passed: i64::MIN,
            closed: i64::MIN,
            tracked: FxHashMap::default(),
            derived_open: OpenGroups::default(),
            stale: BTreeSet::new(),
            has_member_readers: false,
            follows_members: true,
            has_window_readers: false,
            facts: vec![],
            routes: vec![],
            classes: vec![],
            ids: vec![],
            horizons: vec![],
            busy: vec![],
            stirred: vec![],
            due: i64::MIN,
            changes: Changes::default(),
            finals: vec![],
            arguments: vec![],
            route_nanos: 0,
            watched: None,
            program,
            settings,
        };
        partition.note_program();
        partition.measure();
        partition
    }

    /// The same, where nobody asks who is a member: memberships are kept only if segments of the program read them, and if none does nothing is said of
    /// those who cease to be one.
    #[must_use]
    pub fn without_members(mut self) -> Self {
        self.follows_members = false;
        self
    }

    /// Whether memberships are kept.
    pub fn keeps_members(&self) -> bool {
        self.follows_members || self.has_member_readers
    }

    /// Notes what events and results need to know of the program.
    fn note_program(&mut self) {
        self.homes = vec![(0, 0); self.program.families.len()];
        for (at, bank) in self.banks.iter_mut().enumerate() {
            bank.forget_actions();
            bank.members.iter().enumerate().for_each(|(rung, &family)| self.homes[family] = (at, rung));
        }
        let overlaps = self.families().any(FamilyState::overlaps);
        self.overlaps = overlaps;
        let has_general = self.program.families.iter().any(|f| !f.general.is_empty());
        let has_expressions = self.program.arguments.iter().any(|a| matches!(a, Argument::Expression(_)));
        self.needs_columns = has_general || has_expressions || !self.program.masks.is_empty();
        let bank_of = |family: u32| self.homes[family as usize].0 as u32;
        let mut note = |bank: u32, actions: &[&Action]| self.banks[bank as usize].note_actions(actions);
        self.routes = self.program.routers.iter().map(|router| Route::new(router, bank_of, &mut note)).collect();
        self.classes = self.program.matched.iter().map(|_| Classes::default()).collect();
        self.facts = self.program.segments.iter().map(Facts::of).collect();
        self.has_member_readers = self.facts.iter().any(|f| f.members_are_read);
        self.has_window_readers = self.facts.iter().any(|f| f.is_read);
        self.membership.hide(self.facts.iter().map(|f| f.hidden).collect());
    }

    fn families(&self) -> impl Iterator<Item = &FamilyState> {
        self.banks.iter().flat_map(|bank| &bank.families)
    }

    /// The watermark: the largest event time less `out_of_orderness`, or the time that passed while the partition
    /// was idle; none before the first event.
    pub fn watermark(&self) -> Option<i64> {
        self.newest.map(|t| (t - self.settings.out_of_orderness).max(self.passed))
    }

    /// The largest event time.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// The users of this partition, for the names behind results.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Current memberships.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// What each family did so far.
    pub fn family_stats(&self) -> Vec<FamilyStats> {
        self.homes.iter().map(|&(bank, rung)| self.banks[bank].families[rung].stats()).collect()
    }

    /// Nanoseconds spent interning users, evaluating conditions and routing events.
    pub fn route_nanos(&self) -> u64 {
        self.route_nanos
    }

    /// Number of (user, window or pane) groups, as of [`Partition::look`].
    pub fn groups(&self) -> usize {
        self.gauges.groups
    }

    /// Looks at all banks for [`Partition::groups`], [`Partition::size`] and [`Partition::next_close`], which say the same after [`Partition::look`].
    pub fn measure(&mut self) {
        self.gauges = Gauges::of(&self.banks);
    }

    /// Brings [`Partition::groups`], [`Partition::size`] and [`Partition::next_close`] up to date.
    pub fn look(&mut self) {
        self.gauges.look(&self.banks);
    }

    /// Bytes of memory that state takes, as of [`Partition::look`], or some thousand events ago.
    pub fn size(&self) -> usize {
        self.users.size()
            + self.membership.size()
            + self.derived_open.size()
            + self.tracked.len() * 96
            + self.routes.iter().map(Route::size).sum::<usize>()
            + self.classes.iter().map(Classes::size).sum::<usize>()
            + self.gauges.bytes
    }

    /// Takes a batch. Results go to `out`, the indices of late events to `late`. Users of earlier results may be forgotten.
    ///
    /// # Errors
    /// When an expression fails, or state outgrows the memory limit.
    pub fn process(&mut self, events: &EventBatch, out: &mut impl Results, late: &mut Late) -> Result<(), EngineError> {
        let started = Instant::now();
        late.events.clear();
        // Not after windows closed: who takes their results still needs the names of users who have no state any more.
        self.sweep();
        self.users.intern_all(&events.users, &mut self.ids);
        if let Some(watched) = &mut self.watched {
            watched.resize(self.users.len(), false);
            self.ids.iter().for_each(|id| watched[*id as usize] = true);
        }
        let context = self.context(events)?;
        let program = Arc::clone(&self.program);
        self.select(&program, events)?;
        self.horizons.clear();
        self.note_due();
        for (i, &time) in events.times.iter().enumerate() {
            let horizon = self.watermark().map_or(i64::MIN, |w| w - self.settings.allowed_lateness);
            self.horizons.push(horizon);
            if self.overlaps && time < horizon && self.due <= horizon {
                self.drain(&events.times, late)?;
                if self.due <= horizon {
                    // The event is late for a window that is not closed yet, but in time for one that shares its pane.
                    self.flush(&context, out)?;
                    self.close(horizon, None, out)?;
                    self.note_due();
                }
            }
            self.queue(&context, i, time);
            self.newest = Some(self.newest.map_or(time, |n| n.max(time)));
        }
        self.drain(&events.times, late)?;
        late.events.sort_unstable();
        late.events.dedup();
        self.route_nanos += started.elapsed().as_nanos() as u64;
        self.flush(&context, out)
    }

    /// Finds, for each router, which steps each event has.
    fn select(&mut self, program: &Program, events: &EventBatch) -> Result<(), EngineError> {
        if self.classes.iter().any(Classes::is_full) || self.routes.iter().any(Route::is_full) {
            self.classes.fill_with(Classes::default);
            self.routes.iter_mut().for_each(Route::forget);
        }
        let mut routes = program.routers.iter().zip(&mut self.routes);
        let selected = routes.try_for_each(|(router, route)| route.select(router, &program.matched, &mut self.classes, events));
        selected.map_err(EngineError::evaluate("a condition".to_string()))
    }

    /// Queues event `i` at the banks whose filters it passes.
    #[inline]
    fn queue(&mut self, context: &BatchContext, i: usize, time: i64) {
        for route in &self.routes {
            for steps in route.steps(i) {
                for step in steps {
                    let passes = step.mask.is_none_or(|m| context.masks[m as usize][i]);
                    if passes && self.banks[step.bank as usize].enqueue(Queued { event: i as u32, action: step.action }) {
                        self.busy.push(step.bank);
                    }
                }
            }
        }
        self.due = self.due.min(time.saturating_add(1));
        self.gauges.note_time(time);
    }

    /// Has each bank take the events that are queued at it; those that are too late for a window go to `late`.
    fn drain(&mut self, times: &[i64], late: &mut Late) -> Result<(), EngineError> {
        let arrivals = Arrivals { times, users: &self.ids, horizons: &self.horizons, arguments: &self.arguments };
        for bank in self.busy.drain(..) {
            let taken = self.banks[bank as usize].take_queue(&arrivals, &mut late.events)?;
            self.gauges.stir(bank, taken.events);
            self.stirred.extend(taken.may_change.then_some(bank));
        }
        if self.stirred.len() > 2 * self.banks.len() {
            self.stirred.sort_unstable();
            self.stirred.dedup();
        }
        self.note_due();
        Ok(())
    }

    /// Notes when the next window ends of a family with overlapping windows.
    fn note_due(&mut self) {
        if self.overlaps {
            self.due = self.families().filter(|f| f.overlaps()).filter_map(FamilyState::next_close).min().unwrap_or(i64::MAX);
        }
    }

    fn context(&mut self, events: &EventBatch) -> Result<BatchContext, EngineError> {
        let failed = |what: &str| EngineError::evaluate(what.to_string());
        let batch = if self.needs_columns { Some(events::record_batch(&self.program, events).map_err(failed("a batch"))?) } else { None };
        events::arguments(&self.program, events, batch.as_ref(), &mut self.arguments).map_err(failed("an argument"))?;
        if self.overlaps && self.arguments.iter().any(|a| a.values.iter().any(|x| *x < 0.0)) {
            self.banks.iter_mut().flat_map(|bank| &mut bank.families).for_each(FamilyState::may_fall);
        }
        let masks = match &batch {
            Some(batch) => events::masks(&self.program, batch).map_err(failed("a condition"))?,
            None => vec![],
        };
        Ok(BatchContext { batch, masks })
    }

    /// Ends a micro-batch: brings general slots up to date and emits what changed.
    fn flush(&mut self, context: &BatchContext, out: &mut impl Results) -> Result<(), EngineError> {
        let mut changes = std::mem::take(&mut self.changes);
        let program = Arc::clone(&self.program);
        self.stirred.sort_unstable();
        self.stirred.dedup();
        for &index in &self.stirred {
            let Bank { families, members, ladder, .. } = &mut self.banks[index as usize];
            for (state, &family) in families.iter_mut().zip(&*members) {
                if let Some(batch) = &context.batch {
                    state.apply_general(|slot| {
                        let general = &program.families[family].general[slot];
                        let arguments = general.arguments.iter().map(|e| evaluate(e, batch)).collect::<Result<Vec<_>, _>>();
                        arguments.map_err(EngineError::evaluate(general.aggregate.name()))
                    })?;
                }
                state.changes(ladder, &self.users, &mut changes)?;
            }
        }
        self.stirred.clear();
        self.emit_changes(&mut changes, out)?;
        self.changes = changes;
        self.check_memory()
    }

    /// Emits transitions, and empties `changes`.
    fn emit_changes(&mut self, changes: &mut Changes, out: &mut impl Results) -> Result<(), EngineError> {
        let Changes { rows, opened, tracked } = changes;
        out.extend(rows.drain(..).filter(|r| !self.facts[r.segment as usize].hidden));
        if !self.keeps_members() {
            opened.clear();
        }
        for some in opened.chunks(Membership::TOGETHER) {
            self.membership.warm(some.iter().map(|&(segment, user, _)| (segment, user)));
            some.iter().for_each(|&(segment, user, more)| self.open(segment, user, more));
        }
        opened.clear();
        self.derived_changes(std::mem::take(tracked), out)?;
        self.member_changes(None, out)
    }

    fn open(&mut self, segment: u32, user: u32, more: i32) {
        if !self.keeps_members() {
            return;
        }
        self.membership.open(segment, user, more);
        if self.has_member_readers {
            self.stale.insert((segment, user));
        }
    }

    fn check_memory(&mut self) -> Result<(), EngineError> {
        let (limit, others) = (self.settings.memory_limit, self.size() - self.gauges.bytes);
        self.gauges.look_at_times(&self.banks, limit.saturating_sub(others));
        let mut used = self.size();
        if used > limit {
            self.spill()?;
            used = self.size();
        }
        if used > limit { Err(EngineError::MemoryLimit { used, limit }) } else { Ok(()) }
    }

    /// Moves groups to files, if there is a folder for them; users, memberships and where groups are stay in memory.
    ///
    /// # Errors
    /// When a file cannot be made, or the disk is full.
    pub fn spill(&mut self) -> Result<(), EngineError> {
        let Some(folder) = self.settings.spill.clone() else { return Ok(()) };
        let before = self.spilled();
        let spilled = std::fs::create_dir_all(&folder).and_then(|()| self.banks.iter_mut().try_for_each(|bank| bank.spill(&folder)));
        spilled.map_err(|source| EngineError::Spill { folder: folder.clone(), source })?;
        self.measure();
        let bytes = self.spilled();
        if bytes > before {
            tracing::warn!(bytes, folder = %folder.display(), "state outgrew engine.memory_limit; groups are in files, which may be slower");
        }
        Ok(())
    }

    /// Bytes of state in files.
    pub fn spilled(&self) -> usize {
        self.banks.iter().map(Bank::spilled).sum()
    }

    /// Closes all windows that end, with the allowed lateness, at or before `time`.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn advance(&mut self, time: i64, out: &mut impl Results) -> Result<(), EngineError> {
        let horizon = time.saturating_sub(self.settings.allowed_lateness);
        if horizon > self.closed {
            self.close(horizon, None, out)?;
        }
        Ok(())
    }

    /// Closes windows as [`Partition::advance`] does, while the partition is idle: events that come for them
    /// afterwards are late.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn pass(&mut self, time: i64, out: &mut impl Results) -> Result<(), EngineError> {
        self.passed = self.passed.max(time);
        self.advance(time, out)
    }

    /// The program that runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Up to when windows are closed.
    pub fn closed(&self) -> i64 {
        self.closed
    }

    /// Ends bounded input: every window closes, and memberships end that would by the end of each
    /// segment's last window that contains `newest`, the largest event time of the whole input.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn finish(&mut self, newest: i64, out: &mut impl Results) -> Result<(), EngineError> {
        let mut limits: Vec<i64> = vec![];
        for segment in &self.program.segments {
            limits.push(match &segment.kind {
                SegmentKind::Base { .. } => segment.window.last_end(newest),
                SegmentKind::Derived(d) => d.inputs.iter().map(|&i| limits[i as usize]).max().unwrap_or(newest),
            });
        }
        self.close(i64::MAX / 2, Some(&limits), out)
    }

    fn close(&mut self, horizon: i64, limits: Option<&[i64]>, out: &mut impl Results) -> Result<(), EngineError> {
        self.closed = horizon;
        if !self.gauges.may_close(&self.banks, horizon) && self.membership.next_due().is_none_or(|t| t > horizon) {
            return Ok(());
        }
        let (mut banks, mut finals, due) = (std::mem::take(&mut self.banks), std::mem::take(&mut self.finals), self.gauges.due(horizon));
        let outcome = self.close_banks((&mut banks, &due), &mut finals, (horizon, limits), out);
        finals.clear();
        (self.banks, self.finals) = (banks, finals);
        self.gauges.note_closed(&self.banks, &due);
        outcome?;
        self.member_changes(Some(horizon), out)
    }

    /// Closes windows instant by instant, of the banks in which any may be due. Tumbling windows are decided at their instant, others beforehand.
    fn close_banks(
        &mut self,
        (banks, due): (&mut [Bank], &[usize]),
        finals: &mut Vec<Final>,
        (horizon, limits): (i64, Option<&[i64]>),
        out: &mut impl Results,
    ) -> Result<(), EngineError> {
        let (mut early, mut changes) = (vec![], Changes::default());
        for &at in due {
            banks[at].close_others(&self.users, horizon, &mut early, &mut changes)?;
        }
        out.extend(changes.rows.drain(..));
        if !early.is_sorted_by_key(|f| f.end) {
            early.sort_by_key(|f| f.end);
        }
        let mut early = early.as_slice();
        // When the next tumbling window of each bank ends.
        let end_of = |at: usize, bank: &Bank| bank.next_tumbling_end().map(|end| Reverse((end, at)));
        let mut ends: BinaryHeap<Reverse<(i64, usize)>> = due.iter().filter_map(|&at| end_of(at, &banks[at])).collect();
        loop {
            let tumbling = ends.peek().map(|Reverse((end, _))| *end);
            let next = early.first().map(|f| f.end).into_iter().chain(tumbling).chain(self.membership.next_due()).min();
            let Some(time) = next.filter(|t| *t <= horizon) else { break };
            let (now, later) = early.split_at(early.partition_point(|f| f.end <= time));
            finals.extend_from_slice(now);
            let mut touched = BTreeSet::new();
            while let Some(Reverse((_, at))) = ends.peek().copied().filter(|Reverse((end, _))| *end == time) {
                ends.pop();
                self.close_tumbling(time, &mut banks[at], finals, &mut touched, out)?;
                ends.extend(end_of(at, &banks[at]));
            }
            self.instant(time, (finals, touched), limits, out)?;
            early = later;
        }
        due.iter().for_each(|&at| banks[at].ladder.close(horizon));
        Ok(())
    }

    /// Decides the tumbling windows of a bank that end at `time`. Where derived segments match windows, `finals` wait for all others that end then.
    fn close_tumbling(
        &mut self,
        time: i64,
        bank: &mut Bank,
        finals: &mut Vec<Final>,
        touched: &mut BTreeSet<(u32, u32)>,
        out: &mut impl Results,
    ) -> Result<(), EngineError> {
        while let Some(closing) = bank.next_closing(time) {
            for records in bank.stretches(&closing) {
                bank.decide(&self.users, &closing, records, finals)?;
                if !self.has_window_readers {
                    self.emit_finals(finals, touched, out);
                    out.pause(self);
                }
            }
            bank.closed(&closing);
        }
        Ok(())
    }

    /// Everything that happens at one instant: windows that end, whose `finals` are not emitted yet (afterwards it is empty), memberships that
    /// end, and derived segments over both. Members that were touched by finals already are in `touched`.
    fn instant(
        &mut self,
        time: i64,
        (finals, mut touched): (&mut Vec<Final>, BTreeSet<(u32, u32)>),
        limits: Option<&[i64]>,
        out: &mut impl Results,
    ) -> Result<(), EngineError> {
        if self.has_window_readers {
            let derived = self.derived_finals(finals, out)?;
            finals.extend(derived);
        }
        self.emit_finals(finals, &mut touched, out);
        out.pause(self);
        for some in self.membership.take_due(time).chunks(EXPIRED_TOGETHER) {
            for few in some.chunks(Membership::TOGETHER) {
                self.membership.warm(few.iter().copied());
                for &(segment, user) in few.iter().filter(|(segment, _)| limits.is_none_or(|l| time <= l[*segment as usize])) {
                    self.expire(time, segment, user, &mut touched, out);
                }
            }
            out.pause(self);
        }
        if self.has_member_readers && !touched.is_empty() {
            self.member_finals(time, touched, out)?;
        }
        self.member_changes(Some(time), out)
    }

    /// Emits results of windows that closed, and empties them.
    fn emit_finals(&mut self, finals: &mut Vec<Final>, touched: &mut BTreeSet<(u32, u32)>, out: &mut impl Results) {
        for some in finals.chunks(Membership::TOGETHER) {
            if self.keeps_members() {
                self.membership.warm(some.iter().map(|f| (f.segment, f.user)));
            }
            some.iter().for_each(|f| self.emit_final(f, touched, out));
        }
        finals.clear();
    }

    fn emit_final(&mut self, f: &Final, touched: &mut BTreeSet<(u32, u32)>, out: &mut impl Results) {
        if !self.facts[f.segment as usize].hidden {
            out.extend(Some(ResultRow {
                segment: f.segment,
                user: f.user,
                kind: ResultKind::Final,
                qualified: true,
                value: f.value,
                timestamp: f.end,
                window_start: f.start,
                window_end: f.end,
            }));
        }
        if let Some(ends) = self.tracked.get_mut(&(f.segment, f.user)) {
            ends.retain(|end, _| *end > f.end);
        }
        if self.keeps_members() {
            self.note_final(f, touched);
        }
    }

    /// Notes who is a member by a window that closed.
    fn note_final(&mut self, f: &Final, touched: &mut BTreeSet<(u32, u32)>) {
        let facts = self.facts[f.segment as usize];
        let until = f.end.saturating_add(facts.held);
        self.membership.qualified(f.segment, f.user, (f.start, f.end), f.value, f.was_open, Some(until));
        if facts.members_are_read {
            touched.insert((f.segment, f.user));
            self.stale.insert((f.segment, f.user));
        }
    }

    fn expire(&mut self, time: i64, segment: u32, user: u32, touched: &mut BTreeSet<(u32, u32)>, out: &mut impl Results) {
        let Facts { held, hidden, members_are_read, .. } = self.facts[segment as usize];
        let Some(ended) = self.membership.end(segment, user, |closed_end| closed_end.saturating_add(held) == time) else { return };
        if let Some(member) = ended.filter(|_| !hidden) {
            out.extend(Some(exit(segment, user, time, &member)));
        }
        if members_are_read {
            touched.insert((segment, user));
            self.stale.insert((segment, user));
        }
    }

    /// Forgets users without state once there are many.
    fn sweep(&mut self) {
        if !self.users.wants_sweep() || self.watched.is_some() {
            return;
        }
        let live = self.live();
        self.users.sweep(|id| live[id as usize]);
    }

    /// Which users have state.
    fn live(&mut self) -> Vec<bool> {
        let mut live = vec![false; self.users.len()];
        self.banks.iter().for_each(|bank| bank.mark_live(&mut live));
        self.membership.iter().for_each(|(_, user, _)| live[user as usize] = true);
        self.derived_open.users().for_each(|user| live[user as usize] = true);
        self.tracked.keys().for_each(|(_, user)| live[*user as usize] = true);
        self.watched.iter().flatten().zip(&mut live).for_each(|(watched, live)| *live |= watched);
        live
    }

    /// Takes note from now on of the users whose events come; saved state takes the note along.
    pub fn watch(&mut self) {
        self.watched.get_or_insert_default();
    }

    /// Takes note of users with results as of those with events, while it does of those.
    pub fn watch_rows(&mut self, rows: &[ResultRow]) {
        if let Some(watched) = &mut self.watched {
            watched.resize(self.users.len(), false);
            rows.iter().for_each(|row| watched[row.user as usize] = true);
        }
    }

    /// The users whose events came since [`Partition::watch`], by dense id; ends that.
    pub fn unwatch(&mut self) -> Vec<bool> {
        self.watched.take().unwrap_or_default()
    }

    /// A visible membership as a result: by the last closed window, or else by one that is open, without its value.
    pub fn member_row(&self, segment: u32, user: u32) -> Option<ResultRow> {
        let (about, member) = (&self.program.segments[segment as usize], self.membership.get(segment, user)?);
        if about.hidden {
            return None;
        }
        let row = ResultRow {
            segment,
            user,
            kind: ResultKind::Final,
            qualified: true,
            value: member.closed_value,
            timestamp: member.closed_end,
            window_start: member.closed_start,
            window_end: member.closed_end,
        };
        if member.closed_end != NEVER {
            return Some(row);
        }
        let open = self.tracked.get(&(segment, user)).and_then(|ends| ends.last_key_value()).map(|(_, window)| *window);
        let newest = self.newest.unwrap_or(0);
        let end = about.window.last_end(newest);
        let window = open.unwrap_or(OpenWindow { start: about.window.start_of(end), end, value: None, newest });
        Some(ResultRow { kind: ResultKind::Change, value: window.value, timestamp: window.newest, window_start: window.start, window_end: window.end, ..row })
    }

    /// What windows wait for: the earliest end of a window that is open; of sessions, as of an earlier event. As of [`Partition::look`].
    pub fn next_close(&self) -> Option<i64> {
        self.gauges.next_close
    }

    /// Whether any family's windows are sessions, which close one by one.
    pub fn has_sessions(&self) -> bool {
        self.program.families.iter().any(|f| matches!(f.window, WindowSpec::Session { .. }))
    }
}

fn exit(segment: u32, user: u32, time: i64, member: &Member) -> ResultRow {
    ResultRow {
        segment,
        user,
        kind: ResultKind::Exit,
        qualified: false,
        value: None,
        timestamp: time,
        window_start: member.closed_start,
        window_end: member.closed_end,
    }
}
