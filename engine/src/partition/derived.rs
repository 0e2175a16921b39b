//! Derived segments of a partition: where groups or memberships changed, which keys their condition now holds for. What
//! it costs is that of the keys that changed ([`derived`](crate::derived) evaluates one).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cohort_compiler::emit::Emit;
use cohort_compiler::program::{Derived, MatchBy, SegmentKind};
use rustc_hash::FxHashMap;

use super::{OpenWindow, Partition, exit};
use crate::derived::{self, Key};
use crate::error::EngineError;
use crate::membership::NEVER;
use crate::result::{ResultKind, ResultRow, Results};
use crate::window::{Final, Tracked};

impl Partition {
    /// Brings derived segments that emit changes and match windows up to date for the groups that changed.
    pub(super) fn derived_changes(&mut self, mut changed: Vec<Tracked>, out: &mut impl Results) -> Result<(), EngineError> {
        if changed.is_empty() {
            return Ok(());
        }
        changed.iter().for_each(|t| self.track(t));
        let program = Arc::clone(&self.program);
        for (id, segment) in program.segments.iter().enumerate() {
            let SegmentKind::Derived(derived) = &segment.kind else { continue };
            if derived.by != MatchBy::Window || segment.emit != Emit::Changes {
                continue;
            }
            let mut newest: BTreeMap<Key, i64> = BTreeMap::new();
            for t in changed.iter().filter(|t| derived.inputs.contains(&t.segment)) {
                let at = newest.entry((t.user, t.start, t.end)).or_insert(i64::MIN);
                *at = (*at).max(t.newest);
            }
            let keys: Vec<Key> = newest.keys().copied().collect();
            let input = |i: usize, k: &Key| {
                let open = self.tracked.get(&(derived.inputs[i], k.0))?.get(&k.2)?;
                (open.start == k.1).then_some(open.value)
            };
            let outcomes = derived::evaluate(derived, &keys, &input, &self.users)?;
            for (key, outcome) in keys.into_iter().zip(outcomes) {
                let (user, start, end) = key;
                let was = self.derived_open.set(id as u32, user, end, outcome.is_some());
                let row = ResultRow {
                    segment: id as u32,
                    user,
                    kind: ResultKind::Change,
                    qualified: outcome.is_some(),
                    value: outcome.flatten(),
                    timestamp: newest[&key],
                    window_start: start,
                    window_end: end,
                };
                if was != outcome.is_some() {
                    self.open(row.segment, user, if row.qualified { 1 } else { -1 });
                    out.extend((!segment.hidden).then_some(row));
                }
                let t = Tracked { segment: row.segment, user, start, end, qualifies: outcome, newest: row.timestamp };
                if !segment.readers.is_empty() || !segment.member_readers.is_empty() {
                    self.track(&t);
                    changed.push(t);
                }
            }
        }
        Ok(())
    }

    /// Final results of derived segments that match windows, over windows that end at one instant.
    pub(super) fn derived_finals(&mut self, base: &[Final], out: &mut impl Results) -> Result<Vec<Final>, EngineError> {
        let program = Arc::clone(&self.program);
        let mut read: FxHashMap<u32, BTreeMap<Key, Option<f64>>> = FxHashMap::default();
        for f in base.iter().filter(|f| self.facts[f.segment as usize].is_read) {
            read.entry(f.segment).or_default().insert((f.user, f.start, f.end), f.value);
        }
        let mut finals = vec![];
        if read.is_empty() {
            return Ok(finals);
        }
        // Keys that a derived segment had while the window was open, and has no more.
        let mut gone: FxHashMap<u32, BTreeSet<Key>> = FxHashMap::default();
        for (id, segment) in program.segments.iter().enumerate() {
            let SegmentKind::Derived(derived) = &segment.kind else { continue };
            if derived.by != MatchBy::Window || !derived.inputs.iter().any(|i| read.contains_key(i) || gone.contains_key(i)) {
                continue;
            }
            let keys_of = |i: usize| read.get(&derived.inputs[i]).map(|rows| rows.keys().copied().collect()).unwrap_or_default();
            let keys = derived::candidates(&derived.presence, &keys_of);
            let input = |i: usize, k: &Key| read.get(&derived.inputs[i])?.get(k).copied();
            let outcomes = derived::evaluate(derived, &keys, &input, &self.users)?;
            let mut outcomes: BTreeMap<Key, Option<Option<f64>>> = keys.into_iter().zip(outcomes).collect();
            for key in derived.inputs.iter().filter_map(|i| gone.get(i)).flatten() {
                outcomes.entry(*key).or_insert(None);
            }
            let mut rows: BTreeMap<Key, Option<f64>> = BTreeMap::new();
            for (key, outcome) in outcomes {
                let (user, start, end) = key;
                let was_open = segment.emit == Emit::Changes && self.derived_open.set(id as u32, user, end, false);
                match outcome {
                    Some(value) => {
                        rows.insert(key, value);
                        finals.push(Final { segment: id as u32, user, start, end, value, was_open });
                    }
                    None if was_open => {
                        self.open(id as u32, user, -1);
                        gone.entry(id as u32).or_default().insert(key);
                        let row = ResultRow {
                            segment: id as u32,
                            user,
                            kind: ResultKind::Change,
                            qualified: false,
                            value: None,
                            timestamp: end,
                            window_start: start,
                            window_end: end,
                        };
                        out.extend((!segment.hidden).then_some(row));
                    }
                    None => {}
                }
            }
            if !segment.readers.is_empty() && !rows.is_empty() {
                read.insert(id as u32, rows);
            }
        }
        Ok(finals)
    }

    /// Final results of derived segments that match current membership, for users whose membership
    /// through closed windows changed at an instant.
    pub(super) fn member_finals(&mut self, time: i64, mut touched: BTreeSet<(u32, u32)>, out: &mut impl Results) -> Result<(), EngineError> {
        let program = Arc::clone(&self.program);
        for (id, segment) in program.segments.iter().enumerate() {
            let SegmentKind::Derived(derived) = &segment.kind else { continue };
            if derived.by != MatchBy::User {
                continue;
            }
            let id = id as u32;
            let users: BTreeSet<u32> = touched.iter().filter(|(s, _)| derived.inputs.contains(s)).map(|(_, u)| *u).collect();
            let closed = |i: usize, user: u32| self.membership.get(derived.inputs[i], user).filter(|m| m.closed_end != NEVER);
            let keys: Vec<Key> = users
                .into_iter()
                .map(|u| (u, (0..derived.inputs.len()).filter_map(|i| closed(i, u)).map(|m| m.closed_start).min().unwrap_or(time), time))
                .collect();
            let input = |i: usize, k: &Key| closed(i, k.0).map(|m| m.closed_value);
            let outcomes = derived::evaluate(derived, &keys, &input, &self.users)?;
            for ((user, start, end), outcome) in keys.into_iter().zip(outcomes) {
                if self.member_final(id, (user, start, end), outcome, out) {
                    touched.insert((id, user));
                    self.stale.insert((id, user));
                }
            }
        }
        Ok(())
    }

    /// Applies the outcome of one user; returns whether their membership changed.
    fn member_final(&mut self, id: u32, (user, start, time): Key, outcome: Option<Option<f64>>, out: &mut impl Results) -> bool {
        let segment = &self.program.segments[id as usize];
        let (hidden, retain) = (segment.hidden, segment.retain_ms);
        if let Some(value) = outcome {
            let row = ResultRow { segment: id, user, kind: ResultKind::Final, qualified: true, value, timestamp: time, window_start: start, window_end: time };
            out.extend((!hidden).then_some(row));
            self.membership.qualified(id, user, (start, time), value, false, None);
            return true;
        }
        let Some(member) = self.membership.get(id, user).filter(|m| m.closed_end != NEVER) else { return false };
        let until = member.closed_end.saturating_add(retain);
        if until > time {
            self.membership.schedule(until, id, user);
            return false;
        }
        if let Some(member) = self.membership.end(id, user, |_| true).flatten() {
            out.extend((!hidden).then(|| exit(id, user, time, &member)));
        }
        true
    }

    /// Brings derived segments that emit changes and match current membership up to date, at the end of a
    /// batch or at the instant `at`.
    pub(super) fn member_changes(&mut self, at: Option<i64>, out: &mut impl Results) -> Result<(), EngineError> {
        if self.stale.is_empty() {
            return Ok(());
        }
        let mut stale = std::mem::take(&mut self.stale);
        let program = Arc::clone(&self.program);
        for (id, segment) in program.segments.iter().enumerate() {
            let SegmentKind::Derived(derived) = &segment.kind else { continue };
            if derived.by != MatchBy::User || segment.emit != Emit::Changes {
                continue;
            }
            let id = id as u32;
            let users: BTreeSet<u32> = stale.iter().filter(|(s, _)| derived.inputs.contains(s)).map(|(_, u)| *u).collect();
            let (keys, times): (Vec<Key>, Vec<i64>) = users.into_iter().map(|u| self.hull(derived, u, at)).unzip();
            let input = |i: usize, k: &Key| self.current(derived.inputs[i], k.0).map(|w| w.value);
            let outcomes = derived::evaluate(derived, &keys, &input, &self.users)?;
            for (((user, start, end), timestamp), outcome) in keys.into_iter().zip(times).zip(outcomes) {
                let was = self.derived_open.set(id, user, i64::MAX, outcome.is_some());
                if was != outcome.is_some() {
                    let row = ResultRow {
                        segment: id,
                        user,
                        kind: ResultKind::Change,
                        qualified: outcome.is_some(),
                        value: outcome.flatten(),
                        timestamp,
                        window_start: start,
                        window_end: end,
                    };
                    self.membership.open(id, user, if row.qualified { 1 } else { -1 });
                    stale.insert((id, user));
                    out.extend((!segment.hidden).then_some(row));
                }
            }
        }
        self.stale.clear();
        Ok(())
    }

    /// The key of a segment that matches current membership, from the least start to the greatest end of the
    /// windows that its inputs hold by; and the time of a change: `at`, or the newest event behind them.
    fn hull(&self, derived: &Derived, user: u32, at: Option<i64>) -> (Key, i64) {
        let windows = derived.inputs.iter().filter_map(|&i| self.current(i, user)).filter(|w| w.end != NEVER);
        let hull = windows.fold((i64::MAX, NEVER, NEVER), |(s, e, n), w| (s.min(w.start), e.max(w.end), n.max(w.newest)));
        let now = at.or(self.newest).unwrap_or(0);
        let (start, end, newest) = if hull.1 == NEVER { (now, now, now) } else { hull };
        ((user, start, end), at.unwrap_or(newest))
    }

    /// The window and value through which a user is a member now.
    fn current(&self, segment: u32, user: u32) -> Option<OpenWindow> {
        let member = self.membership.get(segment, user)?;
        let open = self.tracked.get(&(segment, user)).and_then(|ends| ends.last_key_value());
        Some(match open {
            Some((_, window)) if member.open > 0 => *window,
            _ => OpenWindow { start: member.closed_start, end: member.closed_end, value: member.closed_value, newest: member.closed_end },
        })
    }

    fn track(&mut self, t: &Tracked) {
        let key = (t.segment, t.user);
        match t.qualifies {
            Some(value) => {
                let window = OpenWindow { start: t.start, end: t.end, value, newest: t.newest };
                self.tracked.entry(key).or_default().insert(t.end, window);
            }
            None => {
                if let Some(ends) = self.tracked.get_mut(&key) {
                    ends.remove(&t.end);
                    if ends.is_empty() {
                        self.tracked.remove(&key);
                    }
                }
            }
        }
    }
}
