//! A partition's state as tables, and back: into the same program after a restart, or into another when segments
//! change while events come, where groups stay in memory. Groups that both programs have are kept, so a new segment
//! over them is warm at once; what members a segment loses by the change is emitted.

use std::collections::BTreeSet;
use std::sync::Arc;

use cohort_compiler::program::{Family, Program, Segment, SegmentKind};
use datafusion::arrow::array::{Float64Array, Int64Array, StringArray, UInt32Array};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{Partition, Settings, exit};
use crate::error::EngineError;
use crate::membership::{Member, NEVER};
use crate::result::{ResultKind, ResultRow};
use crate::tables::{Tables, cell, column};
use crate::window::bank::Bank;
use crate::window::saved::{UserIds, user_id};
use crate::window::{Changes, FamilyState};

/// A member of a segment that is no more.
#[derive(Debug, Clone, PartialEq)]
pub struct Departed {
    /// The segment's name.
    pub segment: String,
    /// Its rule's id.
    pub rule_id: String,
    /// The user.
    pub user: String,
    /// The window by which they were a member; the least time there is, twice, if by an open one.
    pub window: (i64, i64),
}

/// What a change of program emits.
#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    /// Members that enter or leave, in terms of the new program.
    pub rows: Vec<ResultRow>,
    /// Members of segments that the new program does not have.
    pub departed: Vec<Departed>,
}

/// What a segment means: equal fingerprints, equal memberships.
fn fingerprints(program: &Program) -> Vec<String> {
    let mut all: Vec<String> = vec![];
    for s in &program.segments {
        let mut text = format!("{} [{:?}, {} ms]", s.sql, s.emit, s.retain_ms);
        match &s.kind {
            SegmentKind::Base { family, .. } => text += &format!(" OVER {}", program.families[*family as usize].key),
            SegmentKind::Derived(d) => d.inputs.iter().for_each(|i| text += &format!(" OVER ({})", all[*i as usize])),
        }
        all.push(text);
    }
    all
}

/// A partition's state between two batches, from which any thread can make tables.
pub enum Snapshot {
    /// A copy, as it lay in memory.
    Copied(Box<Partition>),
    /// Tables already.
    Tables(Tables),
}

impl Snapshot {
    /// The state as tables.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn tables(self) -> Result<Tables, EngineError> {
        match self {
            Snapshot::Copied(mut partition) => partition.save(),
            Snapshot::Tables(tables) => Ok(tables),
        }
    }
}

impl Partition {
    /// The whole state, between two batches, at the price of copying memory. State that is partly in files, as memory is short, is made into tables
    /// at once instead.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn snapshot(&mut self) -> Result<Snapshot, EngineError> {
        Ok(if self.spilled() > 0 { Snapshot::Tables(self.save()?) } else { Snapshot::Copied(Box::new(self.clone())) })
    }

    /// The whole state, between two batches.
    ///
    /// # Errors
    /// When a state of DataFusion's accumulators cannot be gathered.
    pub fn save(&mut self) -> Result<Tables, EngineError> {
        let mut tables = Tables::default();
        let program = Arc::clone(&self.program);
        for Bank { families, members, ladder, .. } in &mut self.banks {
            for (state, &family) in families.iter_mut().zip(&*members) {
                state.save(ladder, &program.segments, &program.families[family], &mut tables)?;
            }
        }
        // Saving puts the newest pane among the others.
        self.measure();
        let live = self.live();
        let users: Vec<u32> = (0..live.len() as u32).filter(|&id| live[id as usize]).collect();
        let names = StringArray::from_iter_values(users.iter().map(|&id| self.users.name(id)));
        tables.put("users".into(), vec![column("id", UInt32Array::from_iter_values(users)), column("name", names)])?;
        let times = [self.closed, self.passed].into_iter().chain(self.newest);
        tables.put("time".into(), vec![column("closed, passed, newest", Int64Array::from_iter_values(times))])?;
        if let Some(watched) = &self.watched {
            let users = (0u32..).zip(watched).filter(|(_, w)| **w).map(|(user, _)| user);
            tables.put("watched".into(), vec![column("user", UInt32Array::from_iter_values(users))])?;
        }
        self.save_members(&mut tables)?;
        Ok(tables)
    }

    /// Saves the segments, and who is a member of them by closed windows.
    fn save_members(&self, tables: &mut Tables) -> Result<(), EngineError> {
        let program = &self.program;
        let texts = |f: &dyn Fn(usize) -> String| StringArray::from_iter_values((0..program.segments.len()).map(f));
        let prints = fingerprints(program);
        let segments = vec![
            column("name", texts(&|i| program.segments[i].name.clone())),
            column("rule", texts(&|i| program.segments[i].rule_id.clone())),
            column("hidden", UInt32Array::from_iter_values(program.segments.iter().map(|s| u32::from(s.hidden)))),
            column("fingerprint", texts(&|i| prints[i].clone())),
        ];
        tables.put("segments".into(), segments)?;
        let members: Vec<_> = self.membership.iter().collect();
        let columns = vec![
            column("segment", UInt32Array::from_iter_values(members.iter().map(|m| m.0))),
            column("user", UInt32Array::from_iter_values(members.iter().map(|m| m.1))),
            column("start", Int64Array::from_iter_values(members.iter().map(|m| m.2.closed_start))),
            column("end", Int64Array::from_iter_values(members.iter().map(|m| m.2.closed_end))),
            column("value", members.iter().map(|m| m.2.closed_value).collect::<Float64Array>()),
        ];
        tables.put("members".into(), columns)?;
        let due: Vec<_> = self.membership.due().collect();
        let columns = vec![
            column("time", Int64Array::from_iter_values(due.iter().map(|d| d.0))),
            column("segment", UInt32Array::from_iter_values(due.iter().map(|d| d.1))),
            column("user", UInt32Array::from_iter_values(due.iter().map(|d| d.2))),
        ];
        tables.put("due".into(), columns)
    }

    /// A partition with saved state, which may be that of another program, and what the change of program emits;
    /// with the same program that is nothing.
    ///
    /// # Errors
    /// When the tables are not what [`Partition::save`] writes, or an expression fails.
    pub fn restore(program: Arc<Program>, settings: Settings, tables: &Tables) -> Result<(Self, Difference), EngineError> {
        Partition::restore_filled(program, settings, tables, None)
    }

    /// As [`Partition::restore`]; groups and slots that were not saved are taken from `backfill`, which another
    /// partition saved that read the same events, up to the same one, for segments that are new.
    fn restore_filled(program: Arc<Program>, settings: Settings, tables: &Tables, backfill: Option<&Tables>) -> Result<(Self, Difference), EngineError> {
        let mut partition = Partition::new(Arc::clone(&program), settings);
        let ids = partition.load_users(tables)?;
        if let Some(table) = tables.get("watched") {
            let mut watched = vec![false; partition.users.len()];
            for &user in table.u32s("user")? {
                watched[user_id(&table, &ids, user)? as usize] = true;
            }
            partition.watched = Some(watched);
        }
        if let Some(time) = tables.get("time") {
            let times = time.i64s("closed, passed, newest")?;
            partition.closed = times.first().copied().unwrap_or(i64::MIN);
            partition.passed = times.get(1).copied().unwrap_or(i64::MIN);
            partition.newest = times.get(2).copied();
        }
        for bank in &mut partition.banks {
            bank.load(&program.families, &ids, &partition.users, tables)?;
        }
        let (segments, old) = partition.load_members(&ids, tables, &|_| true)?;
        let kept: FxHashSet<u32> = segments.iter().filter_map(|s| s.kept).collect();
        let mut rows = match backfill {
            Some(backfill) => partition.fill(backfill, tables, &kept)?,
            None => vec![],
        };
        rows.extend(partition.reopen(&kept, &ids, tables)?);
        let difference = partition.difference(rows, &kept, &segments, old);
        partition.measure();
        Ok((partition, difference))
    }

    /// Goes on with another program. With `backfill` the partition is as it was on an error; without, it is of no use
    /// any more.
    ///
    /// # Errors
    /// When an expression fails, or state outgrows the memory limit.
    pub fn adopt(&mut self, program: Arc<Program>, backfill: Option<&Tables>) -> Result<Difference, EngineError> {
        if backfill.is_none() {
            return if self.is_extended_by(&program) { self.extend(program) } else { self.carry(program) };
        }
        let tables = self.save()?;
        let (mut adopted, difference) = Partition::restore_filled(program, self.settings.clone(), &tables, backfill)?;
        adopted.check_memory()?;
        *self = adopted;
        Ok(difference)
    }

    /// Goes on with another program: groups that both have stay in memory, unless they need other slots. Which of them
    /// qualify is found anew, as after a restart.
    fn carry(&mut self, program: Arc<Program>) -> Result<Difference, EngineError> {
        let (old, mut tables, ids) = (Arc::clone(&self.program), Tables::default(), UserIds::Same);
        self.save_members(&mut tables)?;
        let mut next = Partition::new(Arc::clone(&program), self.settings.clone());
        next.users = std::mem::take(&mut self.users);
        (next.newest, next.passed, next.closed) = (self.newest, self.passed, self.closed);
        next.route_nanos = self.route_nanos;
        let known: FxHashMap<&str, usize> = old.families.iter().enumerate().map(|(i, f)| (f.key.as_str(), i)).collect();
        for bank in &mut next.banks {
            let before = |family: &usize| known.get(program.families[*family].key.as_str()).copied();
            let before: Vec<Option<usize>> = bank.members.iter().map(before).collect();
            let keeps = |(family, old_family): (&usize, &Option<usize>)| {
                old_family.filter(|i| same_slots(&old.families[*i], &program.families[*family])).map(|i| self.homes[i])
            };
            let kept: Vec<Option<(usize, usize)>> = bank.members.iter().zip(&before).map(keeps).collect();
            // What is saved is saved before groups move.
            for (i, kept) in before.iter().zip(&kept).filter_map(|(before, kept)| Some(((*before)?, kept))) {
                let (at, rung) = self.homes[i];
                let Bank { families, ladder, .. } = &mut self.banks[at];
                match kept {
                    Some(_) => families[rung].save_early(&old.segments, &old.families[i], &mut tables)?,
                    None => families[rung].save(ladder, &old.segments, &old.families[i], &mut tables)?,
                }
            }
            bank.take_groups(&mut self.banks, &kept);
            for (rung, kept) in kept.iter().enumerate() {
                match kept {
                    Some(_) => bank.families[rung].forget_segments(&next.users)?,
                    None => bank.load_family(rung, &program.families, &ids, &next.users, &tables)?,
                }
            }
        }
        let (segments, members) = next.load_members(&ids, &tables, &|_| true)?;
        let kept: FxHashSet<u32> = segments.iter().filter_map(|s| s.kept).collect();
        let rows = next.reopen(&kept, &ids, &tables)?;
        let difference = next.difference(rows, &kept, &segments, members);
        next.measure();
        next.check_memory()?;
        *self = next;
        Ok(difference)
    }

    /// Whether a program is this one with more segments over streams: then groups stay where they are.
    fn is_extended_by(&self, program: &Program) -> bool {
        let (old, before) = (&*self.program, self.program.segments.len());
        let same_segments = program.segments.len() >= before && old.segments.iter().zip(&program.segments).all(|(a, b)| is_same(old, a, program, b));
        let base = |s: &Segment| matches!(s.kind, SegmentKind::Base { .. });
        let same = |a: &Family, b: &Family| a.key == b.key && same_slots(a, b);
        let same_families = program.families.len() >= old.families.len() && old.families.iter().zip(&program.families).all(|(a, b)| same(a, b));
        same_segments && same_families && program.segments[before..].iter().all(base) && {
            self.homes.iter().enumerate().all(|(i, &(bank, rung))| {
                let next = FamilyState::new(program, i, rung, false);
                !next.keeps_by_place() && self.banks[bank].families[rung].tracked().eq(next.tracked())
            })
        }
    }

    /// Goes on with a program that extends this one: only its new segments look at the groups.
    fn extend(&mut self, program: Arc<Program>) -> Result<Difference, EngineError> {
        let before = self.program.segments.len() as u32;
        let (mut rows, mut changes, mut finals, mut touched) = (vec![], Changes::default(), vec![], BTreeSet::new());
        let mut banks = Bank::all(&program);
        for bank in &mut banks {
            let known: Vec<Option<(usize, usize)>> = bank.members.iter().map(|family| self.homes.get(*family).copied()).collect();
            bank.take_groups(&mut self.banks, &known);
            for (rung, _) in known.iter().enumerate().filter(|(_, known)| known.is_some()) {
                let family = bank.members[rung];
                if !program.families[family].segments.iter().any(|s| *s >= before) {
                    continue;
                }
                let Bank { families, ladder, .. } = &mut *bank;
                let state = &mut families[rung];
                let mut fresh = FamilyState::of(&program, family, (rung, false), |segment| segment >= before);
                fresh.take_groups(state);
                fresh.decide_window(&self.users)?;
                fresh.reopen(ladder, &self.users, &mut changes)?;
                state.take_groups(&mut fresh);
                state.relist(ladder);
                finals.extend(state.last_window(|segment| segment >= before));
            }
        }
        self.banks = banks;
        self.program = program;
        self.note_program();
        finals.iter().for_each(|f| self.emit_final(f, &mut touched, &mut rows));
        self.emit_changes(&mut changes, &mut rows)?;
        self.measure();
        self.check_memory()?;
        Ok(Difference { rows, departed: vec![] })
    }

    /// Takes what was not saved from `backfill`: groups, slots, and the members of segments that are new, whose
    /// results it returns.
    fn fill(&mut self, backfill: &Tables, saved: &Tables, kept: &FxHashSet<u32>) -> Result<Vec<ResultRow>, EngineError> {
        let ids = self.load_users(backfill)?;
        let program = Arc::clone(&self.program);
        for bank in &mut self.banks {
            bank.fill(&program.families, &ids, &self.users, saved, backfill)?;
        }
        self.load_members(&ids, backfill, &|segment| !kept.contains(&segment))?;
        let is_new = |s: u32| !kept.contains(&s) && !program.segments[s as usize].hidden;
        let members = self.membership.iter().filter(|(s, _, m)| is_new(*s) && m.closed_end != NEVER);
        Ok(members
            .map(|(s, user, m)| ResultRow { kind: ResultKind::Final, qualified: true, value: m.closed_value, ..exit(s, user, m.closed_end, &m) })
            .collect())
    }

    fn load_users(&mut self, tables: &Tables) -> Result<UserIds, EngineError> {
        let Some(table) = tables.get("users") else { return Ok(UserIds::Of(FxHashMap::default())) };
        let names = table.texts("name")?;
        Ok(UserIds::Of(table.u32s("id")?.iter().enumerate().map(|(i, &id)| (id, self.users.intern(names.value(i).as_bytes()))).collect()))
    }

    /// Takes memberships of segments that mean what they meant. Returns all saved segments, and all members of
    /// those that do not.
    fn load_members(&mut self, ids: &UserIds, tables: &Tables, wanted: &dyn Fn(u32) -> bool) -> Result<(Vec<Saved>, Vec<OldMember>), EngineError> {
        let (Some(segments), Some(members), Some(due)) = (tables.get("segments"), tables.get("members"), tables.get("due")) else {
            return Ok((vec![], vec![]));
        };
        let prints = fingerprints(&self.program);
        let by_name: FxHashMap<&str, u32> = (0u32..).zip(&self.program.segments).map(|(i, s)| (s.name.as_str(), i)).collect();
        let (names, rules, saved_prints) = (segments.texts("name")?, segments.texts("rule")?, segments.texts("fingerprint")?);
        let hidden = segments.u32s("hidden")?;
        let mut saved = vec![];
        for (i, &hidden) in hidden.iter().enumerate() {
            let now = by_name.get(names.value(i)).copied();
            saved.push(Saved {
                name: names.value(i).to_string(),
                rule_id: rules.value(i).to_string(),
                hidden: hidden != 0,
                now,
                kept: now.filter(|&id| prints[id as usize] == saved_prints.value(i) && wanted(id)),
            });
        }
        let segment_of = |i: u32| saved.get(i as usize).ok_or_else(|| members.wrong(format!("names segment {i}")));
        let (segment, user, value) = (members.u32s("segment")?, members.u32s("user")?, members.f64s("value")?);
        let (start, end) = (members.i64s("start")?, members.i64s("end")?);
        let mut old = vec![];
        self.membership.reserve(members.rows());
        for i in 0..members.rows() {
            let user = user_id(&members, ids, user[i])?;
            match segment_of(segment[i])?.kept {
                Some(id) if end[i] != NEVER => self.membership.qualified(id, user, (start[i], end[i]), cell(value, i), false, None),
                Some(_) => {}
                None => old.push((segment[i], user, Member { closed_start: start[i], closed_end: end[i], closed_value: cell(value, i), open: 0 })),
            }
        }
        let (time, segment, user) = (due.i64s("time")?, due.u32s("segment")?, due.u32s("user")?);
        for i in 0..due.rows() {
            if let Some(id) = segment_of(segment[i])?.kept {
                self.membership.schedule(time[i], id, user_id(&due, ids, user[i])?);
            }
        }
        Ok((saved, old))
    }

    /// Finds which open groups qualify, and brings derived segments up to date. Returns what that emits of
    /// segments that were not there or meant something else.
    fn reopen(&mut self, kept: &FxHashSet<u32>, ids: &UserIds, tables: &Tables) -> Result<Vec<ResultRow>, EngineError> {
        let program = Arc::clone(&self.program);
        let (mut rows, mut changes, mut touched) = (vec![], Changes::default(), BTreeSet::new());
        for Bank { families, members, ladder, .. } in &mut self.banks {
            for (state, &family) in families.iter_mut().zip(&*members) {
                state.reopen(ladder, &self.users, &mut changes)?;
                state.load_early(&program.segments, &program.families[family], ids, tables)?;
            }
        }
        let families = self.banks.iter_mut().flat_map(|bank| &mut bank.families);
        let finals: Vec<_> = families.flat_map(|f| f.last_window(|s| !kept.contains(&s))).collect();
        finals.iter().for_each(|f| self.emit_final(f, &mut touched, &mut rows));
        for (segment, user, member) in self.membership.iter() {
            if member.closed_end != NEVER && !program.segments[segment as usize].member_readers.is_empty() {
                self.stale.insert((segment, user));
            }
        }
        self.emit_changes(&mut changes, &mut rows)?;
        rows.retain(|row| !kept.contains(&row.segment));
        Ok(rows)
    }

    /// Entries of users that were not members before, and exits of members that are none now.
    fn difference(&self, rows: Vec<ResultRow>, kept: &FxHashSet<u32>, segments: &[Saved], old: Vec<OldMember>) -> Difference {
        let mut difference = Difference::default();
        let before: FxHashSet<(u32, u32)> = old.iter().filter_map(|(s, user, _)| Some((segments[*s as usize].now?, *user))).collect();
        difference.rows = rows.into_iter().filter(|r| !before.contains(&(r.segment, r.user))).collect();
        let time = self.newest.unwrap_or(self.closed);
        for (segment, user, member) in old.into_iter().filter(|(s, ..)| !segments[*s as usize].hidden) {
            let saved = &segments[segment as usize];
            match saved.now {
                Some(id) if kept.contains(&id) || self.membership.get(id, user).is_some() || self.program.segments[id as usize].hidden => {}
                Some(id) => difference.rows.push(ResultRow { kind: ResultKind::Exit, ..exit(id, user, time, &member) }),
                None => difference.departed.push(Departed {
                    segment: saved.name.clone(),
                    rule_id: saved.rule_id.clone(),
                    user: self.users.name(user).to_string(),
                    window: (member.closed_start, member.closed_end),
                }),
            }
        }
        difference
    }
}

/// Whether a segment is another of the same name that means the same, where all before them are.
fn is_same(old: &Program, a: &Segment, new: &Program, b: &Segment) -> bool {
    let kinds = match (&a.kind, &b.kind) {
        (SegmentKind::Base { family: f, .. }, SegmentKind::Base { family: g, .. }) => old.families[*f as usize].key == new.families[*g as usize].key,
        (SegmentKind::Derived(a), SegmentKind::Derived(b)) => a.inputs == b.inputs,
        _ => false,
    };
    kinds && a.name == b.name && a.rule_id == b.rule_id && a.sql == b.sql && a.emit == b.emit && a.retain_ms == b.retain_ms
}

/// Whether two families keep the same of each group, in the same order.
fn same_slots(a: &Family, b: &Family) -> bool {
    a.slot_keys == b.slot_keys && a.general.iter().map(|g| &g.key).eq(b.general.iter().map(|g| &g.key))
}

/// A member of a segment that means something else now: saved segment, user, membership.
type OldMember = (u32, u32, Member);

/// A segment as it was saved.
struct Saved {
    name: String,
    rule_id: String,
    hidden: bool,
    /// The segment of that name in the new program.
    now: Option<u32>,
    /// The same, if it means the same.
    kept: Option<u32>,
}
