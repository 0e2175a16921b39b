//! Operations on lists and maps: what they change, which elements they select, what they return.

use std::collections::HashSet;

use super::message::code;
use super::value::{List, Map, MapOrder, Value};

/// A result, or the code that the whole request fails with.
pub type Outcome = Result<Value, u8>;

const CONTEXT: i64 = 0xff;
const INVERTED: i64 = 0x10000;
const TYPE_MASK: i64 = 0xffff;
const MAP_OPS: i64 = 64;

const ADD_UNIQUE: i64 = 1;
const INSERT_BOUNDED: i64 = 2;
const NO_FAIL: i64 = 4;
const PARTIAL: i64 = 8;
const CREATE_ONLY: i64 = 1;
const UPDATE_ONLY: i64 = 2;

/// The kinds of selections; lists and maps share them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Key,
    KeyList,
    KeyInterval,
    KeyRelative,
    Index,
    IndexRange,
    Rank,
    RankRange,
    Value,
    AllOfValue,
    ValueList,
    ValueInterval,
    ValueRelative,
}

/// What a selection returns.
struct Return {
    kind: i64,
    inverted: bool,
    multiple: bool,
}

/// Applies a modifying operation to a bin, which may not exist yet, and stays so after one that only removes.
pub fn modify(bin: &mut Option<Value>, data: &[u8]) -> Outcome {
    let (context, call) = parse(data)?;
    let (op, args) = split(&call)?;
    if context.is_empty() {
        return if op < MAP_OPS { modify_list(bin, op, args) } else { modify_map(bin, op, args) };
    }
    let mut at = bin.as_mut().ok_or(code::NOT_APPLICABLE)?;
    for step in context.chunks(2) {
        at = descend(at, step)?;
    }
    let mut inner = Some(at.clone());
    let result = if op < MAP_OPS { modify_list(&mut inner, op, args) } else { modify_map(&mut inner, op, args) }?;
    *at = inner.unwrap_or(Value::Nil);
    Ok(result)
}

/// What a reading operation finds in a bin.
pub fn read(bin: &Value, data: &[u8]) -> Outcome {
    let (context, call) = parse(data)?;
    let (op, args) = split(&call)?;
    let mut copy;
    let mut bin = bin;
    if !context.is_empty() {
        copy = bin.clone();
        let mut at = &mut copy;
        for step in context.chunks(2) {
            at = descend(at, step)?;
        }
        bin = at;
    }
    match bin {
        Value::List(list) if op < MAP_OPS => read_list(list, op, args),
        Value::Map(map) if op >= MAP_OPS => read_map(map, op, args),
        _ => Err(code::BIN_TYPE),
    }
}

/// The context, as a list of steps, and the call of an operation.
fn parse(data: &[u8]) -> Result<(Vec<Value>, Vec<Value>), u8> {
    let Ok(Value::List(list)) = Value::unpack_all(data) else { return Err(code::PARAMETER) };
    let items = list.items;
    if items.first().and_then(Value::as_int) != Some(CONTEXT) {
        return Ok((Vec::new(), items));
    }
    match items.as_slice() {
        [_, Value::List(context), Value::List(call)] if context.items.len() % 2 == 0 => Ok((context.items.clone(), call.items.clone())),
        _ => Err(code::PARAMETER),
    }
}

fn split(call: &[Value]) -> Result<(i64, &[Value]), u8> {
    let (op, args) = call.split_first().ok_or(code::PARAMETER)?;
    Ok((op.as_int().ok_or(code::PARAMETER)?, args))
}

fn descend<'a>(at: &'a mut Value, step: &[Value]) -> Result<&'a mut Value, u8> {
    const LIST_INDEX: i64 = 0x10;
    const LIST_VALUE: i64 = 0x13;
    const MAP_KEY: i64 = 0x22;
    let kind = int(step, 0)?;
    match (kind, at) {
        (LIST_INDEX, Value::List(list)) => {
            let index = position(int(step, 1)?, list.items.len())?;
            Ok(&mut list.items[index])
        }
        (LIST_VALUE, Value::List(list)) => list.items.iter_mut().find(|item| item.matches(&step[1])).ok_or(code::NOT_APPLICABLE),
        (MAP_KEY, Value::Map(map)) => map.entries.iter_mut().find(|(key, _)| *key == step[1]).map(|(_, value)| value).ok_or(code::NOT_APPLICABLE),
        (LIST_INDEX | LIST_VALUE | MAP_KEY, _) => Err(code::BIN_TYPE),
        _ => Err(code::UNSUPPORTED_FEATURE),
    }
}

fn arg(args: &[Value], at: usize) -> Result<&Value, u8> {
    args.get(at).ok_or(code::PARAMETER)
}

fn int(args: &[Value], at: usize) -> Result<i64, u8> {
    arg(args, at)?.as_int().ok_or(code::PARAMETER)
}

fn int_or(args: &[Value], at: usize, default: i64) -> Result<i64, u8> {
    if at < args.len() { int(args, at) } else { Ok(default) }
}

fn items(args: &[Value], at: usize) -> Result<&[Value], u8> {
    if let Value::List(list) = arg(args, at)? { Ok(&list.items) } else { Err(code::PARAMETER) }
}

fn count(count: usize) -> Value {
    Value::Int(count as i64)
}

/// The position of an index, which counts from the end when negative.
fn position(index: i64, len: usize) -> Result<usize, u8> {
    let position = if index < 0 { index + len as i64 } else { index };
    if (0..len as i64).contains(&position) { Ok(position as usize) } else { Err(code::NOT_APPLICABLE) }
}

/// The part of a range that lies within the length.
fn clipped(start: i64, count: i64, len: usize) -> Vec<usize> {
    let len = len as i64;
    let end = start.saturating_add(count.max(0)).clamp(0, len);
    (start.clamp(0, len)..end).map(|i| i as usize).collect()
}

fn range(index: i64, count: i64, len: usize) -> Vec<usize> {
    clipped(if index < 0 { index + len as i64 } else { index }, count, len)
}

/// Positions in the order of their values; equal ones in their own order.
fn sorted_by_key<T: Ord>(len: usize, key: impl Fn(usize) -> T) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    order.sort_by_key(|i| key(*i));
    order
}

// Lists

fn list_or_new(bin: &mut Option<Value>, ordered: bool) -> Result<&mut List, u8> {
    match bin.get_or_insert_with(|| Value::List(List { items: Vec::new(), ordered })) {
        Value::List(list) => Ok(list),
        _ => Err(code::BIN_TYPE),
    }
}

fn modify_list(bin: &mut Option<Value>, op: i64, args: &[Value]) -> Outcome {
    if bin.as_ref().is_some_and(|value| !matches!(value, Value::List(_))) {
        return Err(code::BIN_TYPE);
    }
    match op {
        0 => {
            let ordered = int(args, 0)? & 1 != 0;
            let list = list_or_new(bin, ordered)?;
            list.ordered = ordered;
            if ordered {
                list.items.sort();
            }
            Ok(Value::Nil)
        }
        1 => {
            let (value, order, flags) = (arg(args, 0)?, int_or(args, 1, 0)?, int_or(args, 2, 0)?);
            list_or_new(bin, order & 1 != 0)?.add(None, std::slice::from_ref(value), flags)
        }
        2 => {
            let (values, order, flags) = (items(args, 0)?, int_or(args, 1, 0)?, int_or(args, 2, 0)?);
            list_or_new(bin, order & 1 != 0)?.add(None, values, flags)
        }
        3 => list_or_new(bin, false)?.add(Some(int(args, 0)?), std::slice::from_ref(arg(args, 1)?), int_or(args, 2, 0)?),
        4 => list_or_new(bin, false)?.add(Some(int(args, 0)?), items(args, 1)?, int_or(args, 2, 0)?),
        9 => list_or_new(bin, false)?.set(int(args, 0)?, arg(args, 1)?, int_or(args, 2, 0)?),
        12 => list_or_new(bin, int_or(args, 2, 0)? & 1 != 0)?.increment(int(args, 0)?, args.get(1)),
        13 => {
            let Some(Value::List(list)) = bin else { return Err(code::BIN_TYPE) };
            list.sort(int_or(args, 0, 0)?);
            Ok(Value::Nil)
        }
        5..=8 | 10 | 11 | 32..=40 => match bin {
            Some(Value::List(list)) => list.remove(op, args),
            _ => Ok(Value::Nil),
        },
        _ => Err(code::PARAMETER),
    }
}

impl List {
    /// Adds values at the end, or before an index, as the flags allow. Returns the size.
    fn add(&mut self, index: Option<i64>, values: &[Value], flags: i64) -> Outcome {
        let len = self.items.len();
        if self.ordered && index.is_some() {
            return Err(code::NOT_APPLICABLE);
        }
        let at = match index {
            Some(index) if index < 0 => position(index, len)?,
            Some(index) => index as usize,
            None => len,
        };
        if at > len && flags & INSERT_BOUNDED != 0 {
            return if flags & NO_FAIL != 0 { Ok(count(len)) } else { Err(code::NOT_APPLICABLE) };
        }
        let added = if flags & ADD_UNIQUE != 0 { self.unique(values, flags)? } else { values.to_vec() };
        if added.is_empty() {
            return Ok(count(len));
        }
        if at > len {
            self.items.resize(at, Value::Nil);
        }
        self.items.splice(at..at, added);
        if self.ordered {
            self.items.sort();
        }
        Ok(count(self.items.len()))
    }

    /// The values that a list of unique ones may get.
    fn unique(&self, values: &[Value], flags: i64) -> Result<Vec<Value>, u8> {
        let mut added: Vec<Value> = Vec::new();
        for value in values {
            let present = self.items.contains(value);
            if !present && !added.contains(value) {
                added.push(value.clone());
                continue;
            }
            if flags & PARTIAL != 0 && (present || flags & NO_FAIL != 0) {
                continue;
            }
            return match (flags & NO_FAIL != 0, present) {
                (true, _) => Ok(Vec::new()),
                (false, true) => Err(code::ELEMENT_EXISTS),
                (false, false) => Err(code::NOT_APPLICABLE),
            };
        }
        if added.is_empty() && !values.is_empty() && flags & NO_FAIL == 0 { Err(code::ELEMENT_EXISTS) } else { Ok(added) }
    }

    fn set(&mut self, index: i64, value: &Value, flags: i64) -> Outcome {
        if self.ordered {
            return Err(code::NOT_APPLICABLE);
        }
        if index >= self.items.len() as i64 {
            return self.add(Some(index), std::slice::from_ref(value), flags).map(|_| Value::Nil);
        }
        let at = position(index, self.items.len())?;
        let exists = self.items.iter().enumerate().any(|(i, item)| i != at && item == value);
        if flags & ADD_UNIQUE != 0 && exists {
            return if flags & NO_FAIL != 0 { Ok(Value::Nil) } else { Err(code::ELEMENT_EXISTS) };
        }
        self.items[at] = value.clone();
        Ok(Value::Nil)
    }

    fn increment(&mut self, index: i64, by: Option<&Value>) -> Outcome {
        if self.ordered {
            return Err(code::NOT_APPLICABLE);
        }
        if index >= self.items.len() as i64 {
            let value = by.cloned().unwrap_or(Value::Int(1));
            self.add(Some(index), std::slice::from_ref(&value), 0)?;
            return Ok(value);
        }
        let at = position(index, self.items.len())?;
        self.items[at] = sum(&self.items[at], by.unwrap_or(&Value::Int(1)))?;
        Ok(self.items[at].clone())
    }

    fn sort(&mut self, flags: i64) {
        self.items.sort();
        if flags & 2 != 0 {
            self.items.dedup();
        }
        if flags & 1 != 0 && !self.ordered {
            self.items.reverse();
        }
    }

    fn remove(&mut self, op: i64, args: &[Value]) -> Outcome {
        if op == 11 {
            self.items.clear();
            return Ok(Value::Nil);
        }
        let (selected, wanted) = self.selection(op, args)?;
        let result = self.result(&selected, &wanted)?;
        let mut keep = vec![true; self.items.len()];
        selected.iter().for_each(|i| keep[*i] = false);
        let mut keep = keep.iter();
        self.items.retain(|_| keep.next().copied().unwrap_or(true));
        Ok(result)
    }

    /// The elements an operation selects, and how it returns them.
    fn selection(&self, op: i64, args: &[Value]) -> Result<(Vec<usize>, Return), u8> {
        const COUNT: i64 = 5;
        const VALUES: i64 = 7;
        let fixed = |kind, inverted, multiple| Return { kind, inverted, multiple };
        let (by, args, wanted) = match op {
            5 => (By::Index, args, fixed(VALUES, false, false)),
            6 => (By::IndexRange, args, fixed(VALUES, false, true)),
            7 => (By::Index, args, fixed(COUNT, false, false)),
            8 => (By::IndexRange, args, fixed(COUNT, false, true)),
            10 => (By::IndexRange, args, fixed(COUNT, true, true)),
            17 => (By::Index, args, fixed(VALUES, false, false)),
            18 => (By::IndexRange, args, fixed(VALUES, false, true)),
            _ => {
                let by = match op {
                    19 | 32 => By::Index,
                    20 | 33 => By::Value,
                    21 | 34 => By::Rank,
                    22 | 35 => By::AllOfValue,
                    23 | 36 => By::ValueList,
                    24 | 37 => By::IndexRange,
                    25 | 38 => By::ValueInterval,
                    26 | 39 => By::RankRange,
                    27 | 40 => By::ValueRelative,
                    _ => return Err(code::PARAMETER),
                };
                (by, args.get(1..).ok_or(code::PARAMETER)?, Return::parse(int(args, 0)?, by))
            }
        };
        let mut selected = select_values(by, args, self.items.len(), |i| &self.items[i], || sorted_by_key(self.items.len(), |i| &self.items[i]), None)?;
        wanted.complete(&mut selected, self.items.len())?;
        Ok((selected, wanted))
    }

    fn result(&self, selected: &[usize], wanted: &Return) -> Outcome {
        let len = self.items.len();
        let rank = || inverse(&sorted_by_key(len, |i| &self.items[i]));
        match wanted.kind {
            7 => Ok(wanted.shape(selected.iter().map(|i| self.items[*i].clone()).collect(), Value::Nil)),
            _ => wanted.numbers(selected, len, |i| i, rank),
        }
    }
}

fn read_list(list: &List, op: i64, args: &[Value]) -> Outcome {
    match op {
        16 => Ok(count(list.items.len())),
        17..=27 => {
            let (selected, wanted) = list.selection(op, args)?;
            list.result(&selected, &wanted)
        }
        28 => Err(code::UNSUPPORTED_FEATURE),
        _ => Err(code::PARAMETER),
    }
}

// Maps

fn map_or_new(bin: &mut Option<Value>, flags: i64) -> Result<&mut Map, u8> {
    let order = MapOrder::from_flags(flags as u8);
    match bin.get_or_insert_with(|| Value::Map(Map { entries: Vec::new(), order })) {
        Value::Map(map) => Ok(map),
        _ => Err(code::BIN_TYPE),
    }
}

fn modify_map(bin: &mut Option<Value>, op: i64, args: &[Value]) -> Outcome {
    if bin.as_ref().is_some_and(|value| !matches!(value, Value::Map(_))) {
        return Err(code::BIN_TYPE);
    }
    match op {
        64 => {
            let flags = int(args, 0)?;
            let map = map_or_new(bin, flags)?;
            map.order = MapOrder::from_flags(flags as u8);
            map.sort();
            Ok(Value::Nil)
        }
        65 => map_or_new(bin, int_or(args, 2, 0)?)?.put(&[(arg(args, 0)?.clone(), arg(args, 1)?.clone())], CREATE_ONLY),
        66 => map_or_new(bin, int_or(args, 1, 0)?)?.put(entries(args)?, CREATE_ONLY),
        67 => {
            let entry = (arg(args, 0)?.clone(), arg(args, 1)?.clone());
            map_or_new(bin, int_or(args, 2, 0)?)?.put(&[entry], int_or(args, 3, 0)? & !PARTIAL)
        }
        68 => map_or_new(bin, int_or(args, 1, 0)?)?.put(entries(args)?, int_or(args, 2, 0)?),
        69 => map_or_new(bin, 0)?.put(&[(arg(args, 0)?.clone(), arg(args, 1)?.clone())], UPDATE_ONLY),
        70 if bin.is_none() => Err(code::ELEMENT_NOT_FOUND),
        70 => map_or_new(bin, 0)?.put(entries(args)?, UPDATE_ONLY),
        73 | 74 => map_or_new(bin, int_or(args, 2, 0)?)?.increment(arg(args, 0)?, args.get(1), op == 74),
        75..=79 | 81..=89 => match bin {
            Some(Value::Map(map)) => map.remove(op, args),
            _ => Ok(Value::Nil),
        },
        _ => Err(code::PARAMETER),
    }
}

fn entries(args: &[Value]) -> Result<&[(Value, Value)], u8> {
    if let Value::Map(map) = arg(args, 0)? { Ok(&map.entries) } else { Err(code::PARAMETER) }
}

impl Map {
    fn sort(&mut self) {
        if self.order != MapOrder::Unordered {
            self.entries.sort();
        }
    }

    fn find(&self, key: &Value) -> Option<usize> {
        match self.order {
            MapOrder::Unordered => self.entries.iter().position(|(k, _)| k == key),
            _ => self.entries.binary_search_by(|(k, _)| k.cmp(key)).ok(),
        }
    }

    /// Puts entries as the flags allow. Returns the size.
    fn put(&mut self, entries: &[(Value, Value)], flags: i64) -> Outcome {
        if !entries.iter().all(|(key, _)| matches!(key, Value::Int(_) | Value::String(_) | Value::Bytes(_))) {
            return Err(code::PARAMETER);
        }
        let mut changed = self.clone();
        for (key, value) in entries {
            let found = self.find(key);
            let refused = match found {
                Some(_) if flags & CREATE_ONLY != 0 => Some(code::ELEMENT_EXISTS),
                None if flags & UPDATE_ONLY != 0 => Some(code::ELEMENT_NOT_FOUND),
                _ => None,
            };
            match refused {
                None => changed.insert(key, value),
                Some(_) if flags & PARTIAL != 0 && flags & NO_FAIL != 0 => {}
                Some(_) if flags & NO_FAIL != 0 => return Ok(count(self.entries.len())),
                Some(code) => return Err(code),
            }
        }
        *self = changed;
        Ok(count(self.entries.len()))
    }

    fn insert(&mut self, key: &Value, value: &Value) {
        match self.find(key) {
            Some(at) => self.entries[at].1 = value.clone(),
            None if self.order == MapOrder::Unordered => self.entries.push((key.clone(), value.clone())),
            None => {
                let at = self.entries.partition_point(|(k, _)| k < key);
                self.entries.insert(at, (key.clone(), value.clone()));
            }
        }
    }

    fn increment(&mut self, key: &Value, by: Option<&Value>, negative: bool) -> Outcome {
        let by = match (by.unwrap_or(&Value::Int(1)), negative) {
            (Value::Int(int), true) => Value::Int(int.wrapping_neg()),
            (Value::Float(float), true) => Value::Float(-float),
            (value, _) => value.clone(),
        };
        let value = match self.find(key) {
            Some(at) => sum(&self.entries[at].1, &by)?,
            None => by,
        };
        self.put(&[(key.clone(), value.clone())], 0)?;
        Ok(value)
    }

    fn remove(&mut self, op: i64, args: &[Value]) -> Outcome {
        if op == 75 {
            self.entries.clear();
            return Ok(Value::Nil);
        }
        let (selected, wanted) = self.selection(op, args)?;
        let result = self.result(&selected, &wanted)?;
        let mut keep = vec![true; self.entries.len()];
        selected.iter().for_each(|i| keep[*i] = false);
        let mut keep = keep.iter();
        self.entries.retain(|_| keep.next().copied().unwrap_or(true));
        Ok(result)
    }

    fn by_key(&self) -> Vec<usize> {
        sorted_by_key(self.entries.len(), |i| &self.entries[i].0)
    }

    fn by_value(&self) -> Vec<usize> {
        sorted_by_key(self.entries.len(), |i| (&self.entries[i].1, &self.entries[i].0))
    }

    fn selection(&self, op: i64, args: &[Value]) -> Result<(Vec<usize>, Return), u8> {
        let by = match op {
            76 | 97 => By::Key,
            77 | 98 => By::Index,
            78 | 99 => By::Value,
            79 | 100 => By::Rank,
            81 | 107 => By::KeyList,
            82 | 102 => By::AllOfValue,
            83 | 108 => By::ValueList,
            84 | 103 => By::KeyInterval,
            85 | 104 => By::IndexRange,
            86 | 105 => By::ValueInterval,
            87 | 106 => By::RankRange,
            88 | 109 => By::KeyRelative,
            89 | 110 => By::ValueRelative,
            _ => return Err(code::PARAMETER),
        };
        let wanted = Return::parse(int(args, 0)?, by);
        let (args, len) = (args.get(1..).ok_or(code::PARAMETER)?, self.entries.len());
        let key = |i: usize| &self.entries[i].0;
        let mut selected = match by {
            By::Key => self.find(arg(args, 0)?).into_iter().collect(),
            By::KeyList => select_list(items(args, 0)?, len, key),
            By::KeyInterval => select_interval(args, len, key)?,
            By::KeyRelative => select_relative(args, &self.by_key(), key)?,
            _ => select_values(by, args, len, |i| &self.entries[i].1, || self.by_value(), Some(&|| self.by_key()))?,
        };
        wanted.complete(&mut selected, len)?;
        Ok((selected, wanted))
    }

    fn result(&self, selected: &[usize], wanted: &Return) -> Outcome {
        let chosen = || selected.iter().map(|i| self.entries[*i].clone());
        let map = |order| Ok(Value::Map(Map { entries: chosen().collect(), order }));
        match wanted.kind {
            6 => Ok(wanted.shape(chosen().map(|(key, _)| key).collect(), Value::Nil)),
            7 => Ok(wanted.shape(chosen().map(|(_, value)| value).collect(), Value::Nil)),
            8 => map(MapOrder::AsListed),
            16 => map(MapOrder::Unordered),
            17 => map(MapOrder::Key).map(sorted),
            _ => {
                let index = inverse(&self.by_key());
                wanted.numbers(selected, self.entries.len(), |i| index[i], || inverse(&self.by_value()))
            }
        }
    }
}

fn sorted(mut map: Value) -> Value {
    if let Value::Map(map) = &mut map {
        map.sort();
    }
    map
}

fn read_map(map: &Map, op: i64, args: &[Value]) -> Outcome {
    match op {
        96 => Ok(count(map.entries.len())),
        97..=100 | 102..=110 => {
            let (selected, wanted) = map.selection(op, args)?;
            map.result(&selected, &wanted)
        }
        _ => Err(code::PARAMETER),
    }
}

// Selections

fn select_values<'a>(
    by: By,
    args: &[Value],
    len: usize,
    value: impl Fn(usize) -> &'a Value,
    ranks: impl Fn() -> Vec<usize>,
    indexes: Option<&dyn Fn() -> Vec<usize>>,
) -> Result<Vec<usize>, u8> {
    let at_index = |chosen: Vec<usize>| match indexes {
        Some(indexes) => pick(&indexes(), &chosen),
        None => chosen,
    };
    let rest = i64::from(u32::MAX);
    Ok(match by {
        By::Index => at_index(vec![position(int(args, 0)?, len)?]),
        By::IndexRange => at_index(range(int(args, 0)?, int_or(args, 1, rest)?, len)),
        By::Rank => pick(&ranks(), &[position(int(args, 0)?, len)?]),
        By::RankRange => pick(&ranks(), &range(int(args, 0)?, int_or(args, 1, rest)?, len)),
        By::Value => (0..len).find(|i| args.first().is_some_and(|argument| value(*i).matches(argument))).into_iter().collect(),
        By::AllOfValue => {
            let argument = arg(args, 0)?;
            (0..len).filter(|i| value(*i).matches(argument)).collect()
        }
        By::ValueList => select_list(items(args, 0)?, len, value),
        By::ValueInterval => select_interval(args, len, value)?,
        By::ValueRelative => select_relative(args, &ranks(), value)?,
        By::Key | By::KeyList | By::KeyInterval | By::KeyRelative => return Err(code::PARAMETER),
    })
}

fn pick(order: &[usize], places: &[usize]) -> Vec<usize> {
    places.iter().filter_map(|place| order.get(*place).copied()).collect()
}

fn select_list<'a>(wanted: &[Value], len: usize, value: impl Fn(usize) -> &'a Value) -> Vec<usize> {
    let wanted_one = |v: &Value| wanted.iter().any(|argument| v.matches(argument));
    (0..len).filter(|i| wanted_one(value(*i))).collect()
}

/// From the first argument on, and before the second if there is one.
fn select_interval<'a>(args: &[Value], len: usize, value: impl Fn(usize) -> &'a Value) -> Result<Vec<usize>, u8> {
    let (begin, end) = (arg(args, 0)?, args.get(1));
    Ok((0..len).filter(|i| value(*i) >= begin && end.is_none_or(|end| value(*i) < end)).collect())
}

/// A range that is counted from where a value stands, or would stand.
fn select_relative<'a>(args: &[Value], order: &[usize], value: impl Fn(usize) -> &'a Value) -> Result<Vec<usize>, u8> {
    let (anchor, offset, count) = (arg(args, 0)?, int(args, 1)?, int_or(args, 2, i64::from(u32::MAX))?);
    let place = order.iter().take_while(|i| value(**i) < anchor).count() as i64;
    Ok(pick(order, &clipped(place.saturating_add(offset), count, order.len())))
}

fn inverse(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    order.iter().enumerate().for_each(|(place, i)| places[*i] = place);
    places
}

impl Return {
    fn parse(flags: i64, by: By) -> Self {
        let multiple = !matches!(by, By::Key | By::Index | By::Rank | By::Value);
        Return { kind: flags & TYPE_MASK, inverted: flags & INVERTED != 0, multiple }
    }

    /// Turns the selection into its complement where that is asked for.
    fn complete(&self, selected: &mut Vec<usize>, len: usize) -> Result<(), u8> {
        if !self.inverted {
            return Ok(());
        }
        if !self.multiple {
            return Err(code::NOT_APPLICABLE);
        }
        let chosen: HashSet<usize> = selected.iter().copied().collect();
        *selected = (0..len).filter(|i| !chosen.contains(i)).collect();
        Ok(())
    }

    /// One result or a list of them.
    fn shape(&self, values: Vec<Value>, none: Value) -> Value {
        if self.multiple { Value::List(List { items: values, ordered: false }) } else { values.into_iter().next().unwrap_or(none) }
    }

    fn numbers(&self, selected: &[usize], len: usize, index: impl Fn(usize) -> usize, ranks: impl Fn() -> Vec<usize>) -> Outcome {
        let places = |place: &dyn Fn(usize) -> usize| {
            let values = selected.iter().map(|i| count(place(*i))).collect();
            Ok(self.shape(values, Value::Int(-1)))
        };
        match self.kind {
            0 => Ok(Value::Nil),
            1 => places(&index),
            2 => places(&|i| len - 1 - index(i)),
            3 => {
                let ranks = ranks();
                places(&|i| ranks[i])
            }
            4 => {
                let ranks = ranks();
                places(&|i| len - 1 - ranks[i])
            }
            5 => Ok(count(selected.len())),
            13 => Ok(Value::Bool(!selected.is_empty())),
            _ => Err(code::NOT_APPLICABLE),
        }
    }
}

/// The sum of two numbers of the same type.
pub fn sum(a: &Value, b: &Value) -> Outcome {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(Value::Int(a.wrapping_add(*b))),
        (Value::Float(a), Value::Float(b)) => Ok(Value::Float(a + b)),
        (Value::Float(a), Value::Int(b)) => Ok(Value::Float(a + *b as f64)),
        (Value::Int(a), Value::Float(b)) => Ok(Value::Int(a.wrapping_add(*b as i64))),
        _ => Err(code::BIN_TYPE),
    }
}
