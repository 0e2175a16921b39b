//! How many bytes a change is on the way to a server, and a record where it is kept, without a server: what the client
//! writes, counted by the same rules. `connectors/tests/it/aerospike_sizes.rs` holds both to what a server gets.

use cohort_engine::ResultRow;
use cohort_engine::sink::SegmentName;

use super::{Change, RESULTS, SEGMENTS, UPDATED, USER};

/// Bytes around the records of one call. A call for a single record is some bytes less than it is counted.
pub const CALL: usize = 8 + 22 + 5 + 5;
/// Of a record in a call: its place, digest, header and numbers of fields and operations.
const RECORD: usize = 4 + 20 + 14;
/// Of a field, and of an operation, without names and values.
const FIELD: usize = 5;
const OPERATION: usize = 8;
/// Creating a list or a map if there is none, and asking for a list's size: names and arguments of one byte.
const CREATE: usize = 3;
const SIZE: usize = 2;

/// Bytes of the head of a text or array with so many bytes or items.
fn text_head(bytes: usize) -> usize {
    match bytes {
        0..32 => 1,
        32..256 => 2,
        256..65_536 => 3,
        _ => 5,
    }
}

fn items_head(items: usize) -> usize {
    match items {
        0..16 => 1,
        16..65_536 => 3,
        _ => 5,
    }
}

/// A text within a list or map: its kind, too.
fn text(text: &str) -> usize {
    text_head(text.len() + 1) + 1 + text.len()
}

fn texts<'a>(some: impl Iterator<Item = &'a str>) -> usize {
    let (count, bytes) = some.fold((0, 0), |(count, bytes), t| (count + 1, bytes + text(t)));
    if count == 0 { 0 } else { items_head(count) + bytes }
}

fn integer(value: i64) -> usize {
    match value {
        -32..128 => 1,
        -128..256 => 2,
        -32_768..65_536 => 3,
        -2_147_483_648..4_294_967_296 => 5,
        _ => 9,
    }
}

/// The head of a map in the order of its keys, which says so in an entry of its own.
fn map_head(entries: usize) -> usize {
    items_head(entries + 1) + 4
}

/// The result of a rule.
fn result(row: &ResultRow) -> usize {
    let value = row.value.filter(|v| v.is_finite()).map_or(0, |_| text("value") + 9);
    let times = [("timestamp", row.timestamp), ("windowStart", row.window_start), ("windowEnd", row.window_end)];
    let entries = 4 + usize::from(value > 0);
    map_head(entries) + text("qualified") + 1 + times.iter().map(|(name, time)| text(name) + integer(*time)).sum::<usize>() + value
}

impl Change<'_> {
    /// Bytes of [`Change::operations`] in a call, with the key and the names of namespace and set; see [`CALL`] for
    /// what is around them.
    pub fn bytes(&self, user: &str, namespace: &str, set: &str) -> usize {
        let named = |which: bool| texts(self.segments.iter().filter(|(_, m)| **m == which).map(|(s, _)| *s));
        let operation = |bin: &str, data: usize| OPERATION + bin.len() + data;
        let put: Vec<usize> = self.results.iter().filter_map(|(rule, row)| row.map(|row| text(rule) + result(row))).collect();
        let gone = texts(self.results.iter().filter(|(_, row)| row.is_none()).map(|(rule, _)| *rule));
        let (entered, left) = (named(true), named(false));
        let optional = |there: bool, bytes: usize| if there { bytes } else { 0 };
        let fields = FIELD + namespace.len() + FIELD + set.len() + FIELD + 1 + user.len();
        RECORD
            + fields
            + operation(USER, user.len())
            + operation(UPDATED, 8)
            + operation(SEGMENTS, CREATE)
            + optional(entered > 0, operation(SEGMENTS, 4 + entered))
            + optional(left > 0, operation(SEGMENTS, 3 + left))
            + operation(RESULTS, CREATE)
            + optional(!put.is_empty(), operation(RESULTS, 3 + map_head(put.len()) + put.iter().sum::<usize>()))
            + optional(gone > 0, operation(RESULTS, 3 + gone))
            + operation(SEGMENTS, SIZE)
    }
}

/// Bytes of the values of a record that holds these memberships; what a server keeps around them (names of bins, key,
/// index) is not in it.
pub fn record(user: &str, names: &[SegmentName], rows: &[ResultRow]) -> usize {
    let name = |row: &ResultRow| &names[row.segment as usize];
    let results: usize = rows.iter().map(|row| text(&name(row).rule) + result(row)).sum();
    // An ordered list says so in an item of its own.
    let segments = items_head(rows.len() + 1) + 4 - 1 + rows.iter().map(|row| text(&name(row).segment)).sum::<usize>();
    user.len() + 8 + segments + map_head(rows.len()) + results
}
