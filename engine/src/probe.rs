//! A hash table of small entries that knows beforehand which cache line a look-up reads: entries lie in one array, each at
//! its hash's place or the next free one after it (linear probing; Knuth, The Art of Computer Programming, vol. 3, 6.4), and one that
//! leaves has later ones moved up (algorithm R there), so that nothing marks where it was. Callers with many look-ups ask for all their lines
//! first ([`Probed::prefetch`]) and wait for memory once.

use crate::pages::prefetch;

/// What a table holds.
pub trait Entry: Copy {
    /// No entry.
    const EMPTY: Self;

    /// Whether this is no entry.
    fn is_empty(&self) -> bool;

    /// A hash, of which the upper bits count most.
    fn hash(&self) -> u64;
}

/// The least number of places.
const LEAST: usize = 16;

/// A table of entries, at most three quarters full.
#[derive(Debug, Clone)]
pub struct Probed<E> {
    /// A power of two of places, or none.
    places: Vec<E>,
    /// How far a hash is shifted to be a place.
    shift: u32,
    len: usize,
}

impl<E> Default for Probed<E> {
    fn default() -> Self {
        Probed { places: vec![], shift: 0, len: 0 }
    }
}

impl<E: Entry> Probed<E> {
    /// Where an entry with this hash lies or may be put, if nothing lies there.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> self.shift) as usize
    }

    #[inline]
    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    /// Has the processor fetch what a look-up by this hash will read.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        if let Some(entry) = self.places.get(self.home(hash)) {
            prefetch(entry);
        }
    }

    /// The place of the first entry on the way from a hash for which `is` holds.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(&E) -> bool) -> Option<usize> {
        let mut place = self.home(hash);
        loop {
            let entry = self.places.get(place)?;
            if entry.is_empty() {
                return None;
            }
            if is(entry) {
                return Some(place);
            }
            place = self.after(place);
        }
    }

    /// The entry at a place that was found.
    #[inline]
    pub fn at(&self, place: usize) -> &E {
        &self.places[place]
    }

    /// The entry at a place that was found, to change without changing its hash.
    #[inline]
    pub fn at_mut(&mut self, place: usize) -> &mut E {
        &mut self.places[place]
    }

    /// Adds an entry that is not there.
    #[inline]
    pub fn insert(&mut self, entry: E) {
        if self.len >= self.places.len() / 4 * 3 {
            self.grow();
        }
        self.put(entry);
        self.len += 1;
    }

    #[inline]
    fn put(&mut self, entry: E) {
        let mut place = self.home(entry.hash());
        while !self.places[place].is_empty() {
            place = self.after(place);
        }
        self.places[place] = entry;
    }

    #[cold]
    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(LEAST);
        let old = std::mem::replace(&mut self.places, vec![E::EMPTY; places]);
        self.shift = u64::BITS - places.trailing_zeros();
        old.into_iter().filter(|entry| !entry.is_empty()).for_each(|entry| self.put(entry));
    }

    /// Makes room for so many entries more. A table that takes another's entries in their order needs it: as those come by rising
    /// hash, they would crowd at the beginning of each table that is too small for all.
    pub fn reserve(&mut self, more: usize) {
        while self.len + more > self.places.len() / 4 * 3 {
            self.grow();
        }
    }

    /// Removes the entry at a place that was found.
    #[inline]
    pub fn remove(&mut self, place: usize) {
        self.len -= 1;
        let (mut hole, mut next) = (place, self.after(place));
        while !self.places[next].is_empty() {
            // An entry may move up to the hole unless its home lies after the hole, on the way to where it is.
            let (home, mask) = (self.home(self.places[next].hash()), self.places.len() - 1);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.places[hole] = self.places[next];
                hole = next;
            }
            next = self.after(next);
        }
        self.places[hole] = E::EMPTY;
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.places.iter().filter(|entry| !entry.is_empty())
    }

    /// Keeps the entries for which `keeps` says so, in a table of their size.
    pub fn retain(&mut self, mut keeps: impl FnMut(&E) -> bool) {
        let kept: Vec<E> = self.iter().filter(|entry| keeps(entry)).copied().collect();
        *self = Probed::default();
        self.reserve(kept.len());
        kept.into_iter().for_each(|entry| self.insert(entry));
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes in use.
    pub fn size(&self) -> usize {
        self.places.capacity() * size_of::<E>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    impl Entry for (u64, u32) {
        const EMPTY: Self = (0, u32::MAX);

        fn is_empty(&self) -> bool {
            self.1 == u32::MAX
        }

        /// Few hashes, so that entries crowd, at both ends too.
        fn hash(&self) -> u64 {
            (self.0 % 7).wrapping_sub(3) << 59
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u64..60, 0u32..1000, 0u8..8), 0..400)) {
            let (mut table, mut map) = (Probed::default(), BTreeMap::new());
            for (key, value, what) in steps {
                let hash = (key, 0).hash();
                table.prefetch(hash);
                let found = table.find(hash, |e: &(u64, u32)| e.0 == key);
                prop_assert_eq!(found.map(|place| table.at(place).1), map.get(&key).copied());
                match (what, found) {
                    (0..3, Some(place)) => {
                        table.remove(place);
                        map.remove(&key);
                    }
                    (7, _) => {
                        table.retain(|e| !e.0.is_multiple_of(3));
                        map.retain(|k: &u64, _| !k.is_multiple_of(3));
                    }
                    (_, Some(place)) => {
                        table.at_mut(place).1 = value;
                        map.insert(key, value);
                    }
                    (_, None) => {
                        table.insert((key, value));
                        map.insert(key, value);
                    }
                }
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.iter().copied().collect::<BTreeMap<u64, u32>>(), map.clone());
            }
        }
    }
}
