//! The columns of an [`EventBatch`], as decoders fill them.

use super::{EventBatch, Projection, TEXT_NULL, TEXT_OTHER, TextColumn, TextColumnSpec};

/// Looks up dictionary ids.
pub(crate) struct Dictionary {
    ids: std::sync::Arc<rustc_hash::FxHashMap<Box<[u8]>, u32>>,
    /// The few and short texts of a small dictionary, packed, all of which are compared instead of hashing.
    small: Vec<(u128, u32)>,
}

const SMALL_DICTIONARY: usize = 8;
/// The most bytes of a text that is packed.
pub(crate) const SHORT: usize = 15;

impl Dictionary {
    /// That of a column that has one.
    pub fn new(spec: &TextColumnSpec) -> Option<Self> {
        let ids = spec.dictionary.clone()?;
        let short = |text: &[u8], id: u32| Some((packed(text)?, id));
        let small = if ids.len() <= SMALL_DICTIONARY { ids.iter().map(|(text, id)| short(text, *id)).collect::<Option<_>>() } else { None };
        Some(Dictionary { ids, small: small.unwrap_or_default() })
    }

    /// The id of a text.
    #[inline]
    pub fn id(&self, text: &[u8]) -> u32 {
        if self.small.is_empty() {
            return self.ids.get(text).copied().unwrap_or(TEXT_OTHER);
        }
        packed(text).map_or(TEXT_OTHER, |text| self.small_id(text))
    }

    /// As [`Dictionary::id`], of a text that lies within other data.
    #[inline]
    fn id_of_part(&self, data: &[u8], (from, to): (u32, u32)) -> u32 {
        let (from, length) = (from as usize, (to - from) as usize);
        match data.get(from..).and_then(|rest| rest.first_chunk()) {
            Some(chunk) if length <= SHORT && !self.small.is_empty() => {
                let text = u128::from_le_bytes(*chunk) & ((1 << (8 * length)) - 1);
                self.small_id(text | (length as u128) << (8 * SHORT))
            }
            _ => self.id(&data[from..to as usize]),
        }
    }

    /// The id of a packed text. All are looked at, as it cannot be foretold which it is.
    #[inline]
    fn small_id(&self, text: u128) -> u32 {
        self.small.iter().fold(TEXT_OTHER, |found, (known, id)| if *known == text { *id } else { found })
    }
}

/// A text of at most 15 bytes, followed by zeros and (in the last byte) its length.
#[inline]
pub(crate) fn packed(text: &[u8]) -> Option<u128> {
    // Two words that overlap in the middle, as the length is not known when this is compiled.
    let packed = match (text.first_chunk::<8>(), text.last_chunk::<8>(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(first), Some(last), ..) if text.len() <= SHORT => {
            u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (text.len() - 8))
        }
        (Some(_), ..) => return None,
        (None, _, Some(first), Some(last)) => u128::from(u32::from_le_bytes(*first)) | u128::from(u32::from_le_bytes(*last)) << (8 * (text.len() - 4)),
        _ => text.iter().rev().fold(0, |packed, byte| packed << 8 | u128::from(*byte)),
    };
    Some(packed | (text.len() as u128) << (8 * SHORT))
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

/// Appends a text that lies within other data, from and to; (0, 0) stands for none.
#[inline]
pub(crate) fn push_part(spec: &TextColumnSpec, dictionary: &Option<Dictionary>, column: &mut TextColumn, data: &[u8], part: (u32, u32)) {
    let is_there = part != (0, 0);
    if let Some(dictionary) = dictionary {
        column.ids.push(if is_there { dictionary.id_of_part(data, part) } else { TEXT_NULL });
    }
    if spec.text {
        column.text.push_part(data, part);
        column.valid.push(is_there);
    }
}
