//! The columns of an [`EventBatch`], as decoders fill them.

use super::{EventBatch, Projection, TEXT_NULL, TEXT_OTHER, TextColumn, TextColumnSpec};

/// Looks up dictionary ids; remembers the last text, as producers repeat themselves.
pub(crate) struct Dictionary {
    ids: std::sync::Arc<rustc_hash::FxHashMap<Box<[u8]>, u32>>,
    /// The few texts of a small dictionary, tried in turn before hashing.
    small: Vec<(Box<[u8]>, u32)>,
}

const SMALL_DICTIONARY: usize = 8;

impl Dictionary {
    /// That of a column that has one.
    pub fn new(spec: &TextColumnSpec) -> Option<Self> {
        let ids = spec.dictionary.clone()?;
        let mut small: Vec<_> = if ids.len() <= SMALL_DICTIONARY { ids.iter().map(|(k, v)| (k.clone(), *v)).collect() } else { vec![] };
        small.sort_by_key(|(_, id)| *id);
        Some(Dictionary { ids, small })
    }

    /// The id of a text.
    #[inline]
    pub fn id(&self, text: &[u8]) -> u32 {
        if self.ids.len() <= SMALL_DICTIONARY {
            return self.small.iter().find(|(k, _)| **k == *text).map_or(TEXT_OTHER, |(_, id)| *id);
        }
        self.ids.get(text).copied().unwrap_or(TEXT_OTHER)
    }
}

/// Forgets all events of a batch and makes room for a projection's columns.
pub(crate) fn clear(projection: &Projection, out: &mut EventBatch) {
    out.users.clear();
    out.users.offsets.push(0);
    out.times.clear();
    out.values.clear();
    out.values_valid.clear();
    out.records.clear();
    out.texts.resize_with(projection.texts.len(), TextColumn::default);
    for text in &mut out.texts {
        text.ids.clear();
        text.text.clear();
        text.valid.clear();
    }
    out.metadata = projection.metadata.then(|| {
        let mut map = out.metadata.take().unwrap_or_default();
        map.offsets.clear();
        map.offsets.push(0);
        map.valid.clear();
        map.keys.clear();
        map.values.clear();
        map.values_valid.clear();
        map
    });
}

/// Appends a text to a column.
#[inline]
pub(crate) fn push_text(spec: &TextColumnSpec, dictionary: &Option<Dictionary>, column: &mut TextColumn, text: Option<&[u8]>) {
    if let Some(dictionary) = dictionary {
        column.ids.push(text.map_or(TEXT_NULL, |t| dictionary.id(t)));
    }
    if spec.text {
        column.text.push(text.unwrap_or_default());
        column.valid.push(text.is_some());
    }
}
