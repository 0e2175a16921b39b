//! Where lines end: all newlines of 64 bytes at once, as lines of events are so short that a search for each begins and ends too often.

use wide::u8x16;

const BLOCK: usize = 64;

/// The places of the newlines in some bytes.
pub struct Newlines<'a> {
    data: &'a [u8],
    /// Where the block begins whose newlines are in `found`, a bit for each byte.
    block: usize,
    found: u64,
    /// Where the next block begins.
    next: usize,
}

impl<'a> Newlines<'a> {
    /// Those of all bytes.
    pub fn new(data: &'a [u8]) -> Self {
        Newlines { data, block: 0, found: 0, next: 0 }
    }
}

impl Iterator for Newlines<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.found == 0 {
            let rest = self.data.get(self.next..).filter(|rest| !rest.is_empty())?;
            self.found = rest.first_chunk().map_or_else(|| short(rest), newlines);
            (self.block, self.next) = (self.next, self.next + BLOCK);
        }
        let at = self.block + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        Some(at)
    }
}

/// A bit for each newline.
#[inline]
fn newlines(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks::<16>();
    let mask = |part: &[u8; 16]| u64::from(u8x16::new(*part).simd_eq(u8x16::splat(b'\n')).to_bitmask());
    parts.iter().rev().fold(0, |bits, part| bits << 16 | mask(part))
}

/// The same, of fewer bytes.
#[cold]
fn short(rest: &[u8]) -> u64 {
    let mut block = [0; BLOCK];
    block.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
    newlines(&block)
}

/// Whether a line is no record.
#[inline]
pub fn is_blank(line: &[u8]) -> bool {
    line.first().is_none_or(|b| *b != b'{') && line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))
}

/// Finds the records of newline-separated text; blank lines are none.
pub fn split_lines(data: &[u8], spans: &mut Vec<(u32, u32)>) {
    spans.clear();
    let mut start = 0;
    for end in Newlines::new(data).chain((!data.ends_with(b"\n")).then_some(data.len())) {
        if !is_blank(&data[start..end]) {
            spans.push((start as u32, end as u32));
        }
        start = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn newlines_are_where_they_are(data in prop::collection::vec(prop_oneof![9 => any::<u8>(), 1 => Just(b'\n')], 0..300)) {
            let wanted: Vec<usize> = (0..data.len()).filter(|&i| data[i] == b'\n').collect();
            prop_assert_eq!(Newlines::new(&data).collect::<Vec<_>>(), wanted);
        }
    }
}
