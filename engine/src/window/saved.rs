//! The groups of a family as tables, and back. Only what cannot be computed again is saved: groups, the merged
//! panes of sliding windows (so that their sums stay the same to the last bit), and what was said early of
//! sessions. Which open groups qualify follows from the groups, by [`FamilyState::reopen`].

use cohort_compiler::program::{Family, Segment};
use cohort_compiler::window::{WindowSpec, floor};
use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray, UInt32Array, UInt64Array};
use rustc_hash::FxHashMap;

use super::bank::Bank;
use super::pane::Stacks;
use super::tumble::number;
use super::{Changes, FamilyState, Final, Groups};
use crate::error::EngineError;
use crate::having::view;
use crate::ladder::Ladder;
use crate::tables::{Table, Tables, column};
use crate::users::Users;

/// Dense ids of users as they were saved → as they are now.
pub enum UserIds {
    /// They are the same, within one process.
    Same,
    /// Others.
    Of(FxHashMap<u32, u32>),
}

/// The id that a saved user has now.
pub fn user_id(table: &Table<'_>, ids: &UserIds, saved: u32) -> Result<u32, EngineError> {
    match ids {
        UserIds::Same => Ok(saved),
        UserIds::Of(ids) => ids.get(&saved).copied().ok_or_else(|| table.wrong(format!("names user {saved}, who is not in users"))),
    }
}

fn numbers(values: impl Iterator<Item = i64>) -> Int64Array {
    Int64Array::from_iter_values(values)
}

/// A column for each slot; `slots` are the slots of each row.
fn slot_columns(keys: &[String], kind: &str, slots: &[&[u64]]) -> Vec<(String, ArrayRef)> {
    let values = |i: usize| UInt64Array::from_iter_values(slots.iter().map(|s| s[i]));
    keys.iter().enumerate().map(|(i, key)| column(format!("{kind} {key}"), values(i))).collect()
}

/// The saved columns of the slots that a family has now; `None` for a slot that was not there.
fn saved_slots<'a>(table: &Table<'a>, keys: &[String], kind: &str) -> Result<Vec<Option<&'a [u64]>>, EngineError> {
    let saved = |key: &String| {
        let name = format!("{kind} {key}");
        table.column(&name).map(|_| table.u64s(&name)).transpose()
    };
    keys.iter().map(saved).collect()
}

/// Those of the columns that a table does not have.
fn absent<'a>(known: &Table<'_>, slots: Vec<Option<&'a [u64]>>, keys: &[String], kind: &str) -> Vec<Option<&'a [u64]>> {
    slots.into_iter().zip(keys).map(|(slot, key)| slot.filter(|_| known.column(&format!("{kind} {key}")).is_none())).collect()
}

/// Overwrites slots by those of a saved row, where there are any.
fn fill(slots: &mut [u64], saved: &[Option<&[u64]>], row: usize) {
    slots.iter_mut().zip(saved).for_each(|(slot, saved)| *slot = saved.map_or(*slot, |s| s[row]));
}

impl FamilyState {
    /// Saves the family between two batches.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn save(&mut self, ladder: &Ladder, segments: &[Segment], family: &Family, tables: &mut Tables) -> Result<(), EngineError> {
        // Each group is read once, as most of the time that this takes is spent waiting for memory.
        let (all, slots, names) = match self.spec {
            WindowSpec::Tumble { .. } => {
                let (all, slots) = self.tumbling_groups(ladder);
                let names = if self.general.is_empty() { vec![] } else { slots.chunks_exact(self.rows.width()).map(number).collect() };
                (all, slots, names)
            }
            _ => {
                self.settle_pane();
                let rows: Vec<u32> = self.panes.values().flatten().copied().chain(self.sessions.rows()).collect();
                let (mut all, mut slots) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len() * self.rows.width()));
                self.rows.each(&rows, |row, of_row| {
                    all.push(row);
                    slots.extend_from_slice(of_row);
                });
                (all, slots, rows)
            }
        };
        let slots: Vec<&[u64]> = match self.rows.width() {
            0 => vec![&[]; all.len()],
            width => slots.chunks_exact(width).collect(),
        };
        let mut columns = vec![
            column("user", UInt32Array::from_iter_values(all.iter().map(|r| r.user))),
            column("start", numbers(all.iter().map(|r| r.start))),
            column("newest", numbers(all.iter().map(|r| r.newest))),
        ];
        columns.extend(slot_columns(&family.slot_keys, "slot", &slots));
        tables.put(format!("rows {}", family.key), columns)?;
        for (slot, general) in family.general.iter().zip(&self.general) {
            let columns = general.save(&names).map_err(EngineError::evaluate(general.name()))?;
            tables.put(format!("states {} {}", family.key, slot.key), columns)?;
        }
        self.save_sliding(family, tables)?;
        self.save_early(segments, family, tables)
    }

    fn save_sliding(&self, family: &Family, tables: &mut Tables) -> Result<(), EngineError> {
        if !self.overlaps() {
            return Ok(());
        }
        let (key, width, s) = (&family.key, self.rows.width(), &self.sliding);
        let part = |from: usize| s.current.values().map(move |s| &s.slots[from..][..width]).collect::<Vec<_>>();
        let mut columns = vec![column("user", UInt32Array::from_iter_values(s.current.keys().copied()))];
        columns.extend(slot_columns(&family.slot_keys, "whole", &part(0)));
        if self.general.is_empty() {
            columns.extend(slot_columns(&family.slot_keys, "back", &part(width)));
        }
        tables.put(format!("window {key}"), columns)?;
        let front: Vec<(u32, &[u64])> = s.current.iter().flat_map(|(u, s)| s.front.chunks_exact(2 + width).map(|c| (*u, c))).collect();
        let mut columns =
            vec![column("user", UInt32Array::from_iter_values(front.iter().map(|f| f.0))), column("start", numbers(front.iter().map(|f| f.1[1] as i64)))];
        columns.extend(slot_columns(&family.slot_keys, "slot", &front.iter().map(|f| &f.1[2..]).collect::<Vec<_>>()));
        tables.put(format!("front {key}"), columns)?;
        let dirty = vec![column("start", numbers(s.dirty.iter().map(|d| d.0))), column("user", UInt32Array::from_iter_values(s.dirty.iter().map(|d| d.1)))];
        tables.put(format!("dirty {key}"), dirty)?;
        tables.put(format!("behind {key}"), vec![column("user", UInt32Array::from_iter_values(s.behind.iter().copied()))])?;
        tables.put(format!("closed {key}"), vec![column("time", numbers([s.closed].into_iter()))])
    }

    /// Saves by what windows sessions were reported early.
    ///
    /// # Errors
    /// When the columns do not fit.
    pub fn save_early(&self, segments: &[Segment], family: &Family, tables: &mut Tables) -> Result<(), EngineError> {
        let early: Vec<_> = self.sessions.early.iter().map(|(&(segment, row), &window)| (segment, self.rows.row(row), window)).collect();
        if early.is_empty() {
            return Ok(());
        }
        let columns = vec![
            column("segment", StringArray::from_iter_values(early.iter().map(|e| &segments[e.0 as usize].name))),
            column("user", UInt32Array::from_iter_values(early.iter().map(|e| e.1.user))),
            column("session", numbers(early.iter().map(|e| e.1.start))),
            column("start", numbers(early.iter().map(|e| e.2.0))),
            column("end", numbers(early.iter().map(|e| e.2.1))),
        ];
        tables.put(format!("early {}", family.key), columns)
    }

    /// Adds a row of a window that is not tumbling.
    fn load_row(&mut self, user: u32, start: i64, newest: i64, fill: impl Fn(&mut [u64])) -> u32 {
        let row = self.rows.insert(user, start);
        fill(self.rows.note(row, newest));
        match self.spec {
            WindowSpec::Session { gap } => self.sessions.schedule(row, newest.saturating_add(gap)),
            _ => self.add_to_pane(start, row),
        }
        row
    }

    /// Fills slots that were not in `saved`.
    fn fill(&mut self, ladder: &mut Ladder, family: &Family, ids: &UserIds, users: &Users, saved: &Tables, backfill: &Tables) -> Result<(), EngineError> {
        let name = format!("rows {}", family.key);
        let (Some(table), Some(known)) = (backfill.get(&name), saved.get(&name)) else { return Ok(()) };
        let slots = absent(&known, saved_slots(&table, &family.slot_keys, "slot")?, &family.slot_keys, "slot");
        let states: Vec<bool> = family.general.iter().map(|g| saved.get(&format!("states {} {}", family.key, g.key)).is_none()).collect();
        if slots.iter().all(Option::is_none) && !states.contains(&true) {
            return Ok(());
        }
        let (user, start) = (table.u32s("user")?, table.i64s("start")?);
        let mut rows = Vec::with_capacity(table.rows());
        for i in 0..table.rows() {
            // Groups that other segments do not have stay away: they would take them for users without events.
            let user = user_id(&table, ids, user[i])?;
            rows.push(match self.spec {
                WindowSpec::Tumble { .. } => self.group_slots(ladder, user, start[i]).map(|of_group| {
                    fill(of_group, &slots, i);
                    number(of_group)
                }),
                _ => self.rows.find(user, start[i]).inspect(|&row| fill(self.rows.slots_mut(row), &slots, i)),
            });
        }
        for ((slot, general), _) in family.general.iter().zip(&mut self.general).zip(states).filter(|(_, absent)| *absent) {
            if let Some(table) = backfill.get(&format!("states {} {}", family.key, slot.key)) {
                general.load(&table, &rows)?;
            }
        }
        let name = format!("window {}", family.key);
        let (Some(table), Some(known)) = (backfill.get(&name), saved.get(&name)) else { return Ok(()) };
        let whole = absent(&known, saved_slots(&table, &family.slot_keys, "whole")?, &family.slot_keys, "whole");
        let width = self.rows.width();
        for (i, &user) in table.u32s("user")?.iter().enumerate() {
            let user = user_id(&table, ids, user)?;
            if let Some(stacks) = self.sliding.current.get_mut(&user) {
                fill(&mut stacks.slots[..width], &whole, i);
                // Its panes are merged anew when they next change.
                stacks.front.clear();
            }
        }
        self.sliding.simple.clear();
        self.sliding.complex.clear();
        self.decide_window(users)
    }

    fn load_sliding(&mut self, family: &Family, ids: &UserIds, users: &Users, tables: &Tables) -> Result<(), EngineError> {
        let key = &family.key;
        let (Some(window), Some(front), Some(dirty), Some(behind), Some(closed)) = (
            tables.get(&format!("window {key}")),
            tables.get(&format!("front {key}")),
            tables.get(&format!("dirty {key}")),
            tables.get(&format!("behind {key}")),
            tables.get(&format!("closed {key}")),
        ) else {
            return Ok(());
        };
        self.sliding.closed = closed.i64s("time")?.first().copied().ok_or_else(|| closed.wrong("is empty"))?;
        let (width, initial) = (self.rows.width(), self.rows.initial().to_vec());
        let (whole, back) = (saved_slots(&window, &family.slot_keys, "whole")?, saved_slots(&window, &family.slot_keys, "back")?);
        for (i, &user) in window.u32s("user")?.iter().enumerate() {
            let mut slots = initial.repeat(2);
            fill(&mut slots[..width], &whole, i);
            fill(&mut slots[width..], &back, i);
            self.sliding.current.insert(user_id(&window, ids, user)?, Stacks { slots: slots.into(), front: vec![] });
        }
        let saved = saved_slots(&front, &family.slot_keys, "slot")?;
        let start = front.i64s("start")?;
        for (i, &user) in front.u32s("user")?.iter().enumerate() {
            let user = user_id(&front, ids, user)?;
            let (row, is_new) = self.rows.find_or_create(user, start[i]);
            let stacks = self.sliding.current.get_mut(&user).filter(|_| !is_new);
            let stacks = stacks.ok_or_else(|| front.wrong(format!("row {i} has no pane")))?;
            let mut slots = initial.clone();
            fill(&mut slots, &saved, i);
            stacks.front.extend([u64::from(row), start[i] as u64]);
            stacks.front.extend(slots);
        }
        for (&start, &user) in dirty.i64s("start")?.iter().zip(dirty.u32s("user")?) {
            self.sliding.dirty.push((start, user_id(&dirty, ids, user)?));
        }
        for &user in behind.u32s("user")? {
            self.sliding.behind.insert(user_id(&behind, ids, user)?);
        }
        self.decide_window(users)
    }

    /// Decides anew who qualifies in the window that closed last.
    pub(crate) fn decide_window(&mut self, users: &Users) -> Result<(), EngineError> {
        if self.sliding.current.is_empty() {
            return Ok(());
        }
        let end = self.entered();
        let window = (self.spec.start_of(end), end);
        let mut groups = Groups::new(self.rows.width());
        let mut in_window: Vec<u32> = self.sliding.current.keys().copied().collect();
        in_window.sort_unstable();
        self.sliding.stacked = self.sliding.current.values().map(Stacks::size).sum();
        for &user in &in_window {
            if self.general.is_empty() {
                let slots = &self.sliding.current[&user].slots[..self.rows.width()];
                groups.push(user, window, end, slots);
            } else {
                self.push_window(&mut groups, user, end);
            }
        }
        for g in 0..groups.len() {
            let (user, sliding) = (groups.users[g], &mut self.sliding.simple);
            for index in &self.simple {
                index.qualified(view(index.view, groups.slots_of(g)), |listed| {
                    sliding.entry(listed.segment).or_default().insert(user);
                });
            }
        }
        self.update_complex(users, &[], &groups)
    }

    /// Compares all groups, as if each had just been touched: afterwards it is known which open groups qualify.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn reopen(&mut self, ladder: &mut Ladder, users: &Users, changes: &mut Changes) -> Result<(), EngineError> {
        let tumbling = matches!(self.spec, WindowSpec::Tumble { .. });
        if tumbling {
            self.relist(ladder);
        }
        if !self.watches {
            return Ok(());
        }
        if tumbling {
            self.touch_all(ladder);
        } else {
            self.settle_pane();
            self.touched = self.panes.values().flatten().copied().chain(self.sessions.rows()).collect();
        }
        self.changes(ladder, users, changes)
    }

    /// After [`FamilyState::reopen`], restores by what windows sessions were reported early.
    ///
    /// # Errors
    /// When the table is not what [`FamilyState::save`] writes.
    pub fn load_early(&mut self, segments: &[Segment], family: &Family, ids: &UserIds, tables: &Tables) -> Result<(), EngineError> {
        let name = format!("early {}", family.key);
        let Some(table) = tables.get(&name) else { return Ok(()) };
        let (segment, user) = (table.texts("segment")?, table.u32s("user")?);
        let (session, start, end) = (table.i64s("session")?, table.i64s("start")?, table.i64s("end")?);
        let known: FxHashMap<&str, u32> = self.segments.iter().map(|s| (segments[s.id as usize].name.as_str(), s.id)).collect();
        for i in 0..table.rows() {
            let Some(&id) = known.get(segment.value(i)) else { continue };
            let (row, is_new) = self.rows.find_or_create(user_id(&table, ids, user[i])?, session[i]);
            if is_new {
                return Err(table.wrong(format!("row {i} has no session")));
            }
            if let Some(window) = self.sessions.early.get_mut(&(id, row)) {
                *window = (start[i], end[i]);
            }
        }
        Ok(())
    }

    /// Results of some segments in the window that closed last, for a segment that is new over groups that are
    /// not.
    pub fn last_window(&mut self, is_new: impl Fn(u32) -> bool) -> Vec<Final> {
        if self.sliding.current.is_empty() {
            return vec![];
        }
        let end = self.entered();
        let mut finals = vec![];
        self.emit_window((self.spec.start_of(end), end), &mut finals);
        finals.retain(|f| is_new(f.segment));
        finals
    }
}

impl Bank {
    /// Takes the groups of the families that were saved with the same keys, into families that have none. Slots that
    /// were not there begin empty.
    ///
    /// # Errors
    /// When the tables are not what [`FamilyState::save`] writes.
    pub fn load(&mut self, families: &[Family], ids: &UserIds, users: &Users, tables: &Tables) -> Result<(), EngineError> {
        (0..self.members.len()).try_for_each(|rung| self.load_family(rung, families, ids, users, tables))
    }

    /// As [`Bank::load`], for the family at a position.
    pub(crate) fn load_family(&mut self, rung: usize, families: &[Family], ids: &UserIds, users: &Users, tables: &Tables) -> Result<(), EngineError> {
        let family = &families[self.members[rung]];
        let Some(table) = tables.get(&format!("rows {}", family.key)) else { return Ok(()) };
        let (user, start, newest) = (table.u32s("user")?, table.i64s("start")?, table.i64s("newest")?);
        let saved = saved_slots(&table, &family.slot_keys, "slot")?;
        let mut rows = Vec::with_capacity(table.rows());
        for i in 0..table.rows() {
            let user = user_id(&table, ids, user[i])?;
            rows.push(Some(match self.families[rung].spec {
                WindowSpec::Tumble { size } => {
                    if floor(newest[i], size) != start[i] {
                        return Err(table.wrong(format!("row {i} has an event outside of its window")));
                    }
                    self.load_tumbling(rung, user, start[i], newest[i], |slots| fill(slots, &saved, i))
                }
                _ => self.families[rung].load_row(user, start[i], newest[i], |slots| fill(slots, &saved, i)),
            }));
        }
        let state = &mut self.families[rung];
        for (slot, general) in family.general.iter().zip(&mut state.general) {
            if let Some(table) = tables.get(&format!("states {} {}", family.key, slot.key)) {
                general.load(&table, &rows)?;
            }
        }
        state.load_sliding(family, ids, users, tables)
    }

    /// Adds a group of a tumbling window; returns what general slots know it by.
    fn load_tumbling(&mut self, rung: usize, user: u32, start: i64, newest: i64, fill: impl Fn(&mut [u64])) -> u32 {
        fill(self.insert(rung, user, start, newest));
        let Bank { families, ladder, .. } = self;
        families[rung].begin_group(ladder, user, start)
    }

    /// Fills slots that were not in `saved` from `backfill`, where another partition kept them for the same groups.
    ///
    /// # Errors
    /// When the tables are not what [`FamilyState::save`] writes.
    pub fn fill(&mut self, families: &[Family], ids: &UserIds, users: &Users, saved: &Tables, backfill: &Tables) -> Result<(), EngineError> {
        for rung in 0..self.members.len() {
            let family = &families[self.members[rung]];
            if saved.get(&format!("rows {}", family.key)).is_none() {
                self.load_family(rung, families, ids, users, backfill)?;
            } else {
                self.families[rung].fill(&mut self.ladder, family, ids, users, saved, backfill)?;
            }
        }
        Ok(())
    }
}
