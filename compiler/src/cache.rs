//! What one compilation leaves to the next.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::catalog::Functions;
use crate::diagnostic::Finding;
use crate::emit::{self, Emit};
use crate::normalize::BaseQuery;
use crate::rule;
use crate::statement::{self, Parsed};
use crate::text::text_of;

/// What of earlier compilations can be used again: statements of texts that are the same, and plans of segments
/// over streams, which depend on nothing but their text. So a change of one of many segments is compiled in about
/// the time that sharing takes.
#[derive(Default)]
pub struct CompileCache {
    pub(crate) kept: Kept,
    /// Of the last compilation; what it did not use is forgotten at the next.
    pub(crate) used: Kept,
    pub(crate) functions: Arc<Functions>,
}

/// By text.
#[derive(Default)]
pub(crate) struct Kept {
    json: ByText<rule::JsonSegment>,
    statements: ByText<Parsed>,
    pub(crate) bases: FxHashMap<String, Arc<PlannedBase>>,
}

/// A segment over a stream that has been planned.
pub(crate) struct PlannedBase {
    pub(crate) query: Arc<BaseQuery>,
    pub(crate) plan: Arc<str>,
    pub(crate) condition: String,
    pub(crate) emit: (Emit, String),
}

impl CompileCache {
    /// The segments of a JSON text.
    pub(crate) fn json(&mut self, text: &str) -> (Arc<Vec<rule::JsonSegment>>, Vec<Finding>) {
        read(text, &mut self.kept.json, &mut self.used.json, rule::parse)
    }

    /// The statements of a text.
    pub(crate) fn parse(&mut self, text: &str) -> (Arc<Vec<Parsed>>, Vec<Finding>) {
        read(text, &mut self.kept.statements, &mut self.used.statements, statement::parse)
    }

    /// Whether a segment over a stream has been planned.
    pub(crate) fn knows(&self, sql: &str) -> bool {
        self.kept.bases.contains_key(sql) || self.used.bases.contains_key(sql)
    }

    pub(crate) fn base(&mut self, sql: &str) -> Option<Arc<PlannedBase>> {
        if let Some((sql, base)) = self.kept.bases.remove_entry(sql) {
            self.used.bases.insert(sql, base);
        }
        self.used.bases.get(sql).cloned()
    }

    pub(crate) fn next(&mut self) {
        self.kept = std::mem::take(&mut self.used);
    }
}

type ByText<T> = FxHashMap<String, Arc<Vec<T>>>;

/// What a text says: as it was read before, where that was without findings.
fn read<T>(text: &str, kept: &mut ByText<T>, used: &mut ByText<T>, parse: impl FnOnce(&str) -> (Vec<T>, Vec<Finding>)) -> (Arc<Vec<T>>, Vec<Finding>) {
    if let Some((text, read)) = kept.remove_entry(text) {
        used.insert(text, read);
    }
    if let Some(read) = used.get(text) {
        return (Arc::clone(read), vec![]);
    }
    let (read, findings) = parse(text);
    let read = Arc::new(read);
    if findings.is_empty() {
        used.insert(text.to_string(), Arc::clone(&read));
    }
    (read, findings)
}

impl PlannedBase {
    pub(crate) fn new(query: Arc<BaseQuery>, plan: Arc<str>) -> Self {
        let condition = query.having.as_ref().map_or("always".into(), text_of);
        PlannedBase { plan, condition, emit: emit::default_for_having(query.having.as_ref()), query }
    }
}
