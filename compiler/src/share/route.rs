//! Which families an event reaches: the conditions of filters → [`Router`]s, which look texts up by dictionary id;
//! [`Matched`] columns, whose other conditions are decided once for each distinct text; and [`Mask`]s for the rest.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use rustc_hash::FxHashMap;

use super::{Shared, Sharing, field_name, is_column, names_of, physical, schema_of, text_literal, text_of};
use crate::normalize::metadata_key;
use crate::program::*;

/// A router's table has at most this many cells; look-ups that would need more become other conditions.
const MAX_CELLS: usize = 1 << 22;

/// The text column that a condition reads, when it reads nothing else.
fn text_column(expr: &Expr) -> Option<Field> {
    let mut names = names_of(expr).into_iter();
    let (name, None) = (names.next()?, names.next()) else { return None };
    Some(match name.as_str() {
        "event_type" => Field::EventType,
        "session_id" => Field::SessionId,
        "topic" => Field::Topic,
        other => Field::Metadata(metadata_key(other)?.to_string()),
    })
}

/// The text column that a condition compares with literals, so that a dictionary id decides it.
fn dictionary_column(expr: &Expr) -> Option<Field> {
    text_column(expr).filter(|_| decided_by_dictionary(expr))
}

fn decided_by_dictionary(expr: &Expr) -> bool {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And | Operator::Or, right }) => decided_by_dictionary(left) && decided_by_dictionary(right),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::NotEq, right }) => {
            (is_column(left) && text_literal(right).is_some()) || (text_literal(left).is_some() && is_column(right))
        }
        Expr::InList(list) => is_column(&list.expr) && list.list.iter().all(|e| text_literal(e).is_some()),
        Expr::IsNull(e) | Expr::IsNotNull(e) => is_column(e),
        Expr::Not(e) => decided_by_dictionary(e),
        _ => false,
    }
}

fn literals(expr: &Expr, into: &mut BTreeSet<String>) {
    let _ = expr.apply(|e| {
        if let Some(text) = text_literal(e) {
            into.insert(text.to_string());
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    });
}

/// What a dictionary id says about a text.
#[derive(Clone, Copy)]
enum Text<'a> {
    Null,
    Other,
    Known(&'a str),
}

/// SQL's three-valued outcome of a condition for a text.
fn decide(expr: &Expr, text: Text<'_>) -> Option<bool> {
    let equals = |literal: &str| match text {
        Text::Null => None,
        Text::Other => Some(false),
        Text::Known(t) => Some(t == literal),
    };
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
            Operator::And => match (decide(left, text), decide(right, text)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Operator::Or => match (decide(left, text), decide(right, text)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            _ => {
                let literal = text_literal(left).or_else(|| text_literal(right))?;
                equals(literal).map(|same| same == (*op == Operator::Eq))
            }
        },
        Expr::InList(list) => {
            let mut found = Some(false);
            for literal in list.list.iter().filter_map(text_literal) {
                match equals(literal) {
                    Some(true) => found = Some(true),
                    None => return None,
                    _ => {}
                }
            }
            found.map(|f| f != list.negated)
        }
        Expr::IsNull(_) => Some(matches!(text, Text::Null)),
        Expr::IsNotNull(_) => Some(!matches!(text, Text::Null)),
        Expr::Not(e) => decide(e, text).map(|b| !b),
        _ => None,
    }
}

/// One set of updates with the condition under which they happen.
pub(super) struct Guarded {
    family: u32,
    creates: bool,
    ops: Vec<Op>,
    /// Conditions decided by dictionary id, by column.
    looked_up: BTreeMap<Field, Vec<Expr>>,
    /// Conditions on the text of the family's matched column.
    matched: Vec<Expr>,
    /// All others.
    pub(super) residual: Vec<Expr>,
}

/// Columns of a router, and the text column that it matches.
type Columns = (Vec<usize>, Option<usize>);

/// How events reach families.
pub(super) struct Routing {
    /// Look-ups.
    pub routers: Vec<Router>,
    /// Conditions decided by text.
    pub matched: Vec<Matched>,
    /// Conditions decided by event.
    pub masks: Vec<Mask>,
}

/// A condition that exists once, whatever number of actions has it.
#[derive(Default)]
struct Conditions {
    list: Vec<Mask>,
    index_of: FxHashMap<Vec<Expr>, u32>,
}

impl Conditions {
    /// The index of a conjunction; none if it asks nothing.
    fn note(&mut self, conjuncts: &[Expr], schema: &SchemaRef) -> Shared<Option<u32>> {
        let Some(all) = datafusion::logical_expr::utils::conjunction(conjuncts.to_vec()) else { return Ok(None) };
        if let Some(&index) = self.index_of.get(conjuncts) {
            return Ok(Some(index));
        }
        self.list.push(Mask { text: text_of(conjuncts), expression: physical(&all, schema)? });
        self.index_of.insert(conjuncts.to_vec(), self.list.len() as u32 - 1);
        Ok(Some(self.list.len() as u32 - 1))
    }
}

impl Sharing {
    pub(super) fn guarded(&self) -> Vec<Guarded> {
        let mut guarded = vec![];
        for (id, family) in self.families.iter().enumerate() {
            let unconditional = family.ops.get("").map(|(_, ops)| ops.clone()).unwrap_or_default();
            guarded.push(guard(id, true, unconditional, family.filter.clone()));
            for (condition, ops) in family.ops.values().filter(|(c, _)| !c.is_empty()) {
                let mut all = family.filter.clone();
                all.extend(condition.iter().cloned());
                guarded.push(guard(id, false, ops.clone(), all));
            }
        }
        guarded
    }

    pub(super) fn dictionaries(&mut self, guarded: &[Guarded]) {
        for (field, exprs) in guarded.iter().flat_map(|g| &g.looked_up) {
            let i = self.column(field);
            self.columns[i].2 = true;
            for e in exprs {
                literals(e, &mut self.columns[i].1);
            }
        }
    }

    /// Groups updates by the columns that their families look up and match; a look-up that would need too large a
    /// table is left to other conditions.
    pub(super) fn router_groups(&mut self, guarded: &mut [Guarded]) -> BTreeMap<Columns, Vec<usize>> {
        let looked_up = self.looked_up(guarded);
        let matched = self.matched(guarded);
        let mut groups: BTreeMap<Columns, Vec<usize>> = BTreeMap::new();
        for (i, g) in guarded.iter().enumerate() {
            let columns = looked_up[&g.family].iter().copied().collect();
            groups.entry((columns, matched.get(&g.family).copied())).or_default().push(i);
        }
        groups
    }

    /// The columns that each family looks up.
    fn looked_up(&self, guarded: &mut [Guarded]) -> BTreeMap<u32, BTreeSet<usize>> {
        let mut by_family: BTreeMap<u32, BTreeSet<usize>> = BTreeMap::new();
        for g in guarded.iter() {
            by_family.entry(g.family).or_default().extend(g.looked_up.keys().map(|f| self.column_of[f]));
        }
        let ids = |c: usize| self.columns[c].1.len() + 2;
        for columns in by_family.values_mut() {
            while columns.iter().map(|&c| ids(c)).try_fold(1usize, usize::checked_mul).is_none_or(|cells| cells > MAX_CELLS) {
                let Some(&largest) = columns.iter().max_by_key(|&&c| ids(c)) else { break };
                columns.remove(&largest);
            }
        }
        for g in guarded {
            let columns = &by_family[&g.family];
            let dropped: Vec<Field> = g.looked_up.keys().filter(|f| !columns.contains(&self.column_of[*f])).cloned().collect();
            for field in dropped {
                g.residual.extend(g.looked_up.remove(&field).unwrap_or_default());
            }
        }
        by_family
    }

    /// The text column that each family matches, if any: one, the same for all updates of a family, so that those
    /// which make its groups come first. Takes the conditions on it from the others.
    fn matched(&mut self, guarded: &mut [Guarded]) -> BTreeMap<u32, usize> {
        let mut by_family: BTreeMap<u32, Field> = BTreeMap::new();
        for g in guarded.iter() {
            if let Some(field) = g.residual.iter().find_map(text_column) {
                by_family.entry(g.family).or_insert(field);
            }
        }
        for g in guarded {
            let Some(field) = by_family.get(&g.family) else { continue };
            (g.matched, g.residual) = std::mem::take(&mut g.residual).into_iter().partition(|e| text_column(e).as_ref() == Some(field));
        }
        by_family
            .into_iter()
            .map(|(family, field)| {
                let column = self.column(&field);
                self.columns[column].3 = true;
                (family, column)
            })
            .collect()
    }

    pub(super) fn routing(&self, groups: &BTreeMap<Columns, Vec<usize>>, guarded: &[Guarded], scan: &Scan, schema: &SchemaRef) -> Shared<Routing> {
        let mut masks = Conditions::default();
        let mut by_column: BTreeMap<usize, (usize, SchemaRef, Conditions)> = BTreeMap::new();
        for (_, matched) in groups.keys() {
            let Some(column) = *matched else { continue };
            let (next, name) = (by_column.len(), field_name(&scan.texts[column].field));
            by_column.entry(column).or_insert_with(|| (next, schema_of(&BTreeSet::from([name])), Conditions::default()));
        }
        let mut routers = vec![];
        for ((columns, matched), members) in groups {
            let columns: Vec<(usize, u32)> = columns.iter().map(|&c| (c, scan.texts[c].dictionary.len() as u32 + 2)).collect();
            let mut actions = vec![];
            for &m in members {
                let g = &guarded[m];
                let matcher = match matched.and_then(|column| by_column.get_mut(&column)) {
                    Some((_, schema, conditions)) => conditions.note(&g.matched, schema)?,
                    None => None,
                };
                let mask = masks.note(&g.residual, schema)?;
                actions.push((Action { family: g.family, matcher, mask, creates: g.creates, ops: g.ops.clone() }, allowed(g, &columns, scan)));
            }
            let matched = matched.map(|column| by_column[&column].0);
            routers.push(fill(columns, matched, &actions));
        }
        let mut matched: Vec<_> = by_column.into_iter().collect();
        matched.sort_by_key(|(_, (index, ..))| *index);
        let matched = matched.into_iter().map(|(column, (_, schema, conditions))| Matched { column, schema, conditions: conditions.list });
        Ok(Routing { routers, matched: matched.collect(), masks: masks.list })
    }
}

fn guard(family: usize, creates: bool, ops: Vec<Op>, conditions: Vec<Expr>) -> Guarded {
    let mut looked_up: BTreeMap<Field, Vec<Expr>> = BTreeMap::new();
    let mut residual = vec![];
    for e in conditions {
        match dictionary_column(&e) {
            Some(field) => looked_up.entry(field).or_default().push(e),
            None => residual.push(e),
        }
    }
    residual.sort_by_cached_key(|e| e.to_string());
    residual.dedup();
    Guarded { family: family as u32, creates, ops, looked_up, matched: vec![], residual }
}

/// For each column of a router, the ids under which the updates happen.
fn allowed(g: &Guarded, columns: &[(usize, u32)], scan: &Scan) -> Vec<Vec<u32>> {
    columns
        .iter()
        .map(|&(c, ids)| {
            let column = &scan.texts[c];
            let conditions = g.looked_up.get(&column.field);
            (0..ids)
                .filter(|&id| {
                    let text = match id {
                        0 => Text::Null,
                        1 => Text::Other,
                        n => Text::Known(&column.dictionary[n as usize - 2]),
                    };
                    conditions.is_none_or(|all| all.iter().all(|e| decide(e, text) == Some(true)))
                })
                .collect()
        })
        .collect()
}

fn fill(columns: Vec<(usize, u32)>, matched: Option<usize>, actions: &[(Action, Vec<Vec<u32>>)]) -> Router {
    let cells = columns.iter().map(|&(_, ids)| ids as usize).product::<usize>();
    let mut members: Vec<Vec<u32>> = vec![vec![]; cells];
    for (a, (_, allowed)) in actions.iter().enumerate() {
        let mut indices = vec![0usize];
        for (ids, &(_, dim)) in allowed.iter().zip(&columns) {
            indices = indices.iter().flat_map(|&base| ids.iter().map(move |&id| base * dim as usize + id as usize)).collect();
        }
        for i in indices {
            members[i].push(a as u32);
        }
    }
    let mut lists = vec![vec![]];
    let mut list_of: FxHashMap<Vec<u32>, u32> = FxHashMap::from_iter([(vec![], 0)]);
    let table = members.into_iter().map(|m| {
        *list_of.entry(m).or_insert_with_key(|m| {
            lists.push(merge(m.iter().map(|&a| &actions[a as usize].0)));
            lists.len() as u32 - 1
        })
    });
    let table = table.collect();
    Router { columns, matched, table, lists }
}

/// Joins the actions of one event on one family under the same conditions.
fn merge<'a>(actions: impl Iterator<Item = &'a Action>) -> Vec<Action> {
    let mut merged: Vec<Action> = vec![];
    for action in actions {
        match merged.iter_mut().find(|m| (m.family, m.matcher, m.mask) == (action.family, action.matcher, action.mask)) {
            Some(m) => {
                m.creates |= action.creates;
                m.ops.extend(&action.ops);
            }
            None => merged.push(action.clone()),
        }
    }
    // The group must exist before a FILTERed aggregate updates it.
    merged.sort_by_key(|a| (a.family, !a.creates));
    merged
}
