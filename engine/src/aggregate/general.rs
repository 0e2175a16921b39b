//! Any DataFusion aggregate: its accumulators live for one batch, its state for the life of a group.
//!
//! For each batch the touched groups' previous states are merged into a fresh accumulator, the batch's
//! events are added, and the new states are kept as Arrow columns: append-only chunks, with each row
//! pointing to its newest state, compacted when most of a chunk is out of date.

use std::sync::Arc;

use cohort_compiler::program::GeneralSlot;
use datafusion::arrow::array::{ArrayRef, UInt32Array};
use datafusion::arrow::compute::{interleave, take};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use rustc_hash::FxHashMap;

use crate::error::EngineError;
use crate::state::NONE;
use crate::tables::{Table, column};

/// The states of one general slot.
#[derive(Clone)]
pub struct General {
    slot: GeneralSlot,
    chunks: Vec<Vec<ArrayRef>>,
    /// For each row, chunk and index of its state.
    at: Vec<(u32, u32)>,
    /// Events of this batch that update the slot, with their rows.
    pending: Vec<(u32, u32)>,
    stored: usize,
    live: usize,
}

impl General {
    /// No states yet.
    pub fn new(slot: GeneralSlot) -> Self {
        General { slot, chunks: vec![], at: vec![], pending: vec![], stored: 0, live: 0 }
    }

    /// Name of the aggregate.
    pub fn name(&self) -> &str {
        self.slot.aggregate.name()
    }

    /// Notes that event `i` of the batch updates a row.
    #[inline]
    pub fn note(&mut self, event: u32, row: u32) {
        self.pending.push((event, row));
    }

    /// Forgets the state of a row that is freed.
    pub fn clear(&mut self, row: u32) {
        if let Some(at) = self.at.get_mut(row as usize)
            && at.0 != NONE
        {
            *at = (NONE, 0);
            self.live -= 1;
        }
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        let chunks: usize = self.chunks.iter().flatten().map(|a| a.get_array_memory_size()).sum();
        chunks + self.at.capacity() * 8 + self.pending.capacity() * 8
    }

    fn accumulator(&self) -> DfResult<Box<dyn GroupsAccumulator>> {
        let aggregate = Arc::clone(&self.slot.aggregate);
        if aggregate.groups_accumulator_supported() {
            return aggregate.create_groups_accumulator();
        }
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || aggregate.create_accumulator())))
    }

    /// Whether events wait to be added.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Adds the noted events; `arguments` are the slot's arguments for the whole batch.
    pub fn apply(&mut self, arguments: &[ArrayRef]) -> DfResult<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let pending = std::mem::take(&mut self.pending);
        let mut rows: Vec<u32> = pending.iter().map(|(_, row)| *row).collect();
        // Groups with a state come first: an accumulator takes all groups of its first call for seen.
        rows.sort_unstable_by_key(|&row| (self.place(row).is_none(), row));
        rows.dedup();
        let local: FxHashMap<u32, usize> = rows.iter().enumerate().map(|(i, &row)| (row, i)).collect();
        let groups: Vec<usize> = pending.iter().map(|(_, row)| local[row]).collect();
        let mut accumulator = self.accumulator()?;
        let states: Vec<_> = rows.iter().enumerate().map_while(|(g, &row)| self.place(row).map(|at| (g, at))).collect();
        self.merge(&mut *accumulator, &states)?;
        let events = UInt32Array::from_iter_values(pending.iter().map(|(event, _)| *event));
        let values = arguments.iter().map(|a| Ok(take(a, &events, None)?)).collect::<DfResult<Vec<_>>>()?;
        accumulator.update_batch(&values, &groups, None, rows.len())?;
        let states = accumulator.state(EmitTo::All)?;
        self.store(&rows, states);
        self.compact()
    }

    /// Where the state of a row is.
    fn place(&self, row: u32) -> Option<(usize, usize)> {
        let (chunk, i) = self.at.get(row as usize).copied()?;
        (chunk != NONE).then_some((chunk as usize, i as usize))
    }

    fn store(&mut self, rows: &[u32], states: Vec<ArrayRef>) {
        let chunk = self.chunks.len() as u32;
        self.chunks.push(states);
        self.stored += rows.len();
        for (i, &row) in rows.iter().enumerate() {
            let row = row as usize;
            if row >= self.at.len() {
                self.at.resize((row + 1).next_power_of_two(), (NONE, 0));
            }
            self.live += usize::from(self.at[row].0 == NONE);
            self.at[row] = (chunk, i as u32);
        }
    }

    /// Merges stored states into the groups `0..=last` of an accumulator; each group has one at least, and
    /// groups come in rising order.
    fn merge(&self, accumulator: &mut dyn GroupsAccumulator, states: &[(usize, (usize, usize))]) -> DfResult<()> {
        let Some(&(last, _)) = states.last() else { return Ok(()) };
        let places: Vec<_> = states.iter().map(|(_, at)| *at).collect();
        let groups: Vec<_> = states.iter().map(|(group, _)| *group).collect();
        accumulator.merge_batch(&self.gather(&places)?, &groups, last + 1)
    }

    fn gather(&self, indices: &[(usize, usize)]) -> DfResult<Vec<ArrayRef>> {
        let columns = self.chunks.first().map_or(0, Vec::len);
        (0..columns)
            .map(|c| {
                let arrays: Vec<_> = self.chunks.iter().map(|chunk| chunk[c].as_ref()).collect();
                Ok(interleave(&arrays, indices)?)
            })
            .collect()
    }

    /// The results of groups, each the union of some rows: `members` are (group, row), `groups` how many.
    /// A group without any state has the aggregate's result over nothing.
    pub fn evaluate(&self, members: impl Iterator<Item = (usize, u32)>, groups: usize) -> DfResult<ArrayRef> {
        let mut dense: Vec<Option<usize>> = vec![None; groups];
        let (mut states, mut seen) = (vec![], 0);
        for (group, row) in members {
            let Some(at) = self.place(row) else { continue };
            let g = *dense[group].get_or_insert_with(|| {
                seen += 1;
                seen - 1
            });
            states.push((g, at));
        }
        states.sort_by_key(|(g, _)| *g);
        let aggregate = &self.slot.aggregate;
        let nothing = aggregate.default_value(aggregate.field().data_type())?.to_array()?;
        let results = if states.is_empty() {
            nothing.slice(0, 0)
        } else {
            let mut accumulator = self.accumulator()?;
            self.merge(&mut *accumulator, &states)?;
            accumulator.evaluate(EmitTo::All)?
        };
        let places: Vec<_> = dense.iter().map(|d| d.map_or((1, 0), |g| (0, g))).collect();
        Ok(interleave(&[&*results, &*nothing], &places)?)
    }

    /// Merges the state of one row into another's, and gives it the events that wait.
    pub fn merge_rows(&mut self, into: u32, from: u32) -> DfResult<()> {
        self.pending.iter_mut().filter(|(_, row)| *row == from).for_each(|(_, row)| *row = into);
        let states: Vec<_> = [into, from].iter().filter_map(|&row| self.place(row)).map(|at| (0, at)).collect();
        if states.is_empty() {
            return Ok(());
        }
        let mut accumulator = self.accumulator()?;
        self.merge(&mut *accumulator, &states)?;
        let merged = accumulator.state(EmitTo::All)?;
        self.store(&[into], merged);
        self.clear(from);
        self.compact()
    }

    /// The states of some rows: `row`, a position in `rows`, and the columns of the state.
    pub fn save(&self, rows: &[u32]) -> DfResult<Vec<(String, ArrayRef)>> {
        let kept: Vec<_> = rows.iter().enumerate().filter_map(|(i, &row)| self.place(row).map(|at| (i as u32, at))).collect();
        let places: Vec<_> = kept.iter().map(|(_, at)| *at).collect();
        let states = if places.is_empty() { vec![] } else { self.gather(&places)? };
        let mut columns = vec![column("row", UInt32Array::from_iter_values(kept.iter().map(|(i, _)| *i)))];
        columns.extend(states.into_iter().enumerate().map(|(i, state)| (format!("state {i}"), state)));
        Ok(columns)
    }

    /// Takes the states that were saved of `rows`, of those that there are.
    ///
    /// # Errors
    /// When they are not this aggregate's.
    pub fn load(&mut self, table: &Table<'_>, rows: &[Option<u32>]) -> Result<(), EngineError> {
        let row = |i: &u32| rows.get(*i as usize).copied().ok_or_else(|| table.wrong("has states of rows that are not there"));
        let of = table.u32s("row")?.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        let there: Vec<u32> = (0u32..).zip(&of).filter(|(_, row)| row.is_some()).map(|(i, _)| i).collect();
        if there.is_empty() {
            return Ok(());
        }
        let fields = self.slot.aggregate.state_fields().map_err(EngineError::evaluate(self.name()))?;
        let state = |(i, field): (usize, &FieldRef)| {
            let saved = table.column(&format!("state {i}")).filter(|c| c.data_type() == field.data_type());
            let saved = saved.ok_or_else(|| table.wrong(format!("has no state {i} of type {}", field.data_type())))?;
            take(saved, &UInt32Array::from(there.clone()), None).map_err(|e| table.wrong(e.to_string()))
        };
        let states = fields.iter().enumerate().map(state).collect::<Result<Vec<_>, _>>()?;
        self.store(&of.into_iter().flatten().collect::<Vec<_>>(), states);
        Ok(())
    }

    fn compact(&mut self) -> DfResult<()> {
        if self.stored <= 3 * self.live + 4096 && self.chunks.len() < 256 {
            return Ok(());
        }
        let rows: Vec<usize> = (0..self.at.len()).filter(|&r| self.at[r].0 != NONE).collect();
        let indices: Vec<_> = rows.iter().map(|&r| (self.at[r].0 as usize, self.at[r].1 as usize)).collect();
        let states = if indices.is_empty() { vec![] } else { self.gather(&indices)? };
        self.chunks.clear();
        if !states.is_empty() {
            self.chunks.push(states);
        }
        for (i, &row) in rows.iter().enumerate() {
            self.at[row] = (0, i as u32);
        }
        self.stored = rows.len();
        Ok(())
    }
}
