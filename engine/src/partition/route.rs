//! Which banks of families an event goes to: its texts' dictionary ids select a list of [`Step`]s, and where steps have a condition
//! on a text beside that, the text's class selects those for which it holds.
//!
//! [`Classes`] decide conditions on one text, such as LIKE, once for each distinct text; texts for which the same
//! conditions hold are one class.

use std::sync::Arc;

use cohort_compiler::program::{Action, Matched, Router};
use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use rustc_hash::FxHashMap;

use crate::decode::{EventBatch, TextColumn};
use crate::evaluate::evaluate;

/// Bytes of texts that a column remembers the classes of, and steps chosen for classes that a router remembers; beyond that they
/// are found anew.
const MOST_BYTES: usize = 8 << 20;
const MOST_STEPS: usize = 1 << 20;
/// What a remembered text takes beside its bytes.
const ENTRY: usize = 24;
/// Added to the number of a text whose class is not known yet.
const FRESH: u32 = 1 << 31;

/// Where an event of one list of a router goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// Index of the bank.
    pub bank: u32,
    /// By which number the bank knows what the event does.
    pub action: u32,
    /// A condition that is in neither the router's table nor its matched column: index into the program's masks.
    pub mask: Option<u32>,
    /// Whether the event makes the group exist.
    pub creates: bool,
}

/// Some of a route's steps, from one to before another.
#[derive(Debug, Default, Clone, Copy)]
struct Span {
    from: u32,
    to: u32,
}

/// One of a router's lists.
#[derive(Debug, Clone)]
struct List {
    /// The steps that have no condition on the matched text.
    own: Vec<Step>,
    /// Those that have one, as an index into [`Route::kinds`]; the first has none.
    kind: u32,
}

/// The steps of one router. Many lists have the same steps with a condition on the matched text, so those are chosen apart from the others: an event
/// has the steps of its list, and those that its list's kind and its text's class select.
#[derive(Debug, Default, Clone)]
pub struct Route {
    /// The router's lists.
    lists: Vec<List>,
    /// Distinct sets of steps with a condition on the matched text, each with its condition.
    kinds: Vec<Vec<(u32, Step)>>,
    /// Steps chosen by kind and class, all one after the other.
    chosen: FxHashMap<(u32, u32), Span>,
    steps: Vec<Step>,
    /// For each event of the batch, its list, and, where texts are matched, the steps that were chosen.
    list_of: Vec<u32>,
    chosen_of: Vec<Span>,
    /// For each event of the batch, its text's class, where that is asked.
    class_of: Vec<u32>,
}

impl Route {
    /// The steps of a router; `bank_of` says in which bank a family is, and `note` by which number a bank knows what events do.
    pub fn new(router: &Router, bank_of: impl Fn(u32) -> u32, mut note: impl FnMut(u32, &[&Action]) -> u32) -> Self {
        let mut route = Route::default();
        let mut known: FxHashMap<Vec<(u32, Step)>, u32> = FxHashMap::from_iter([(vec![], 0)]);
        route.kinds.push(vec![]);
        for actions in &router.lists {
            // What happens on the same conditions in one bank is one step.
            let (mut together, mut places) = (Vec::<(u32, Vec<&Action>)>::new(), FxHashMap::default());
            for action in actions {
                let bank = bank_of(action.family);
                let place = *places.entry((bank, action.matcher, action.mask, action.creates)).or_insert(together.len());
                match together.get_mut(place) {
                    Some((_, with)) => with.push(action),
                    None => together.push((bank, vec![action])),
                }
            }
            let (mut own, mut matched) = (vec![], vec![]);
            for (bank, with) in together {
                let step = Step { bank, action: note(bank, &with), mask: with[0].mask, creates: with[0].creates };
                match with[0].matcher {
                    Some(condition) => matched.push((condition, step)),
                    None => own.push(step),
                }
            }
            let kind = *known.entry(matched).or_insert_with_key(|matched| {
                route.kinds.push(matched.clone());
                route.kinds.len() as u32 - 1
            });
            route.lists.push(List { own, kind });
        }
        route
    }

    /// The steps of event `i` of the batch.
    #[inline]
    pub fn steps(&self, i: usize) -> [&[Step]; 2] {
        let chosen = self.chosen_of.get(i).map_or(&[][..], |span| &self.steps[span.from as usize..span.to as usize]);
        [&self.lists[self.list_of[i] as usize].own, chosen]
    }

    /// Finds the steps of each event of a batch.
    ///
    /// # Errors
    /// When a condition cannot be evaluated.
    pub fn select(&mut self, router: &Router, matched: &[Matched], classes: &mut [Classes], events: &EventBatch) -> Result<()> {
        self.list_of.clear();
        self.list_of.resize(events.len(), 0);
        for &(column, ids) in &router.columns {
            self.list_of.iter_mut().zip(&events.texts[column].ids).for_each(|(cell, id)| *cell = *cell * ids + *id);
        }
        self.list_of.iter_mut().for_each(|cell| *cell = router.table[*cell as usize]);
        let Some(index) = router.matched else { return Ok(()) };
        let (conditions, classes) = (&matched[index], &mut classes[index]);
        let kind_of = |i: usize| self.lists[self.list_of[i] as usize].kind;
        classes.classify(conditions, &events.texts[conditions.column], |i| kind_of(i) != 0, &mut self.class_of)?;
        self.chosen_of.clear();
        for i in 0..events.len() {
            let kind = self.lists[self.list_of[i] as usize].kind;
            let chosen = if kind == 0 { Span::default() } else { self.choose(kind, self.class_of[i], classes) };
            self.chosen_of.push(chosen);
        }
        Ok(())
    }

    /// Whether more was chosen than is worth keeping.
    pub fn is_full(&self) -> bool {
        self.steps.len() + self.chosen.len() > MOST_STEPS
    }

    /// Forgets what was chosen.
    pub fn forget(&mut self) {
        self.steps.clear();
        self.chosen.clear();
    }

    /// The steps of a kind whose conditions hold for a class.
    fn choose(&mut self, kind: u32, class: u32, classes: &Classes) -> Span {
        if let Some(&chosen) = self.chosen.get(&(kind, class)) {
            return chosen;
        }
        let from = self.steps.len();
        self.steps.extend(self.kinds[kind as usize].iter().filter(|(condition, _)| classes.holds(class, *condition)).map(|(_, step)| *step));
        let chosen = Span { from: from as u32, to: self.steps.len() as u32 };
        self.chosen.insert((kind, class), chosen);
        chosen
    }

    /// Bytes in use for what was chosen.
    pub fn size(&self) -> usize {
        self.steps.len() * size_of::<Step>() + self.chosen.capacity() * 17
    }
}

/// The classes of one column's texts.
#[derive(Debug, Default, Clone)]
pub struct Classes {
    seen: FxHashMap<Box<[u8]>, u32>,
    null: Option<u32>,
    /// Bytes that texts and outcomes take.
    bytes: usize,
    /// For each class, a bit for each condition.
    outcomes: Vec<Box<[u64]>>,
    by_outcome: FxHashMap<Box<[u64]>, u32>,
}

impl Classes {
    /// Whether a condition holds for the texts of a class.
    #[inline]
    fn holds(&self, class: u32, condition: u32) -> bool {
        self.outcomes[class as usize][condition as usize / 64] >> (condition % 64) & 1 == 1
    }

    /// Whether there are more than are worth keeping.
    pub fn is_full(&self) -> bool {
        self.bytes > MOST_BYTES
    }

    /// Writes the classes of the events that are asked for.
    fn classify(&mut self, matched: &Matched, texts: &TextColumn, asked: impl Fn(usize) -> bool, class_of: &mut Vec<u32>) -> Result<()> {
        class_of.clear();
        class_of.resize(texts.valid.len(), 0);
        let mut fresh: Vec<usize> = vec![];
        for (i, class) in class_of.iter_mut().enumerate().filter(|(i, _)| asked(*i)) {
            let next = fresh.len() as u32 | FRESH;
            *class = match self.known(texts, i) {
                Some(known) => known,
                None => {
                    fresh.push(i);
                    self.note(texts, i, next);
                    next
                }
            };
        }
        if fresh.is_empty() {
            return Ok(());
        }
        let found = self.decide(matched, texts, &fresh).inspect_err(|_| {
            self.seen.retain(|_, class| *class & FRESH == 0);
            self.null.take_if(|class| *class & FRESH != 0);
        })?;
        for (&i, &class) in fresh.iter().zip(&found) {
            self.note(texts, i, class);
        }
        for class in class_of.iter_mut().filter(|class| **class & FRESH != 0) {
            *class = found[(*class & !FRESH) as usize];
        }
        Ok(())
    }

    #[inline]
    fn known(&self, texts: &TextColumn, i: usize) -> Option<u32> {
        if texts.valid[i] { self.seen.get(texts.text.get(i)).copied() } else { self.null }
    }

    fn note(&mut self, texts: &TextColumn, i: usize, class: u32) {
        if !texts.valid[i] {
            self.null = Some(class);
        } else if let Some(known) = self.seen.get_mut(texts.text.get(i)) {
            *known = class;
        } else {
            self.bytes += texts.text.get(i).len() + ENTRY;
            self.seen.insert(texts.text.get(i).into(), class);
        }
    }

    /// Decides the conditions for the texts of some events; returns their classes.
    fn decide(&mut self, matched: &Matched, texts: &TextColumn, events: &[usize]) -> Result<Vec<u32>> {
        let text = |&i: &usize| texts.valid[i].then(|| std::str::from_utf8(texts.text.get(i)).unwrap_or_default());
        let column: ArrayRef = Arc::new(events.iter().map(text).collect::<StringArray>());
        let batch = RecordBatch::try_new(Arc::clone(&matched.schema), vec![column])?;
        let words = matched.conditions.len().div_ceil(64);
        let mut outcomes = vec![0u64; words * events.len()];
        for (c, condition) in matched.conditions.iter().enumerate() {
            let array = cast(&evaluate(&condition.expression, &batch)?, &DataType::Boolean)?;
            let Some(holds) = array.as_any().downcast_ref::<BooleanArray>() else { continue };
            for at in (0..events.len()).filter(|&at| holds.is_valid(at) && holds.value(at)) {
                outcomes[at * words + c / 64] |= 1 << (c % 64);
            }
        }
        Ok(outcomes.chunks(words).map(|outcome| self.class(outcome)).collect())
    }

    fn class(&mut self, outcome: &[u64]) -> u32 {
        if let Some(&class) = self.by_outcome.get(outcome) {
            return class;
        }
        self.bytes += 2 * (outcome.len() * 8 + ENTRY);
        self.outcomes.push(outcome.into());
        let class = self.outcomes.len() as u32 - 1;
        self.by_outcome.insert(outcome.into(), class);
        class
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.bytes
    }
}
