//! Things by a time that most of them share for a while: that of the last one is at hand.

use std::collections::BTreeMap;

/// Values by time.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct Calendar<T> {
    /// The time asked for last, and its value.
    current: (i64, T),
    others: BTreeMap<i64, T>,
}

/// Whether a value may be forgotten.
pub trait Vacant: Default {
    /// Whether there is nothing in it.
    fn is_vacant(&self) -> bool;
}

impl<T> Vacant for Vec<T> {
    fn is_vacant(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Vacant> Default for Calendar<T> {
    fn default() -> Self {
        Calendar { current: (i64::MIN, T::default()), others: BTreeMap::new() }
    }
}

impl<T: Vacant> Calendar<T> {
    /// The value of a time.
    #[inline]
    pub fn at(&mut self, time: i64) -> &mut T {
        if self.current.0 != time {
            self.turn(time);
        }
        &mut self.current.1
    }

    fn turn(&mut self, time: i64) {
        let (old, value) = std::mem::replace(&mut self.current, (time, self.others.remove(&time).unwrap_or_default()));
        if !value.is_vacant() {
            self.others.insert(old, value);
        }
    }

    /// The time asked for last.
    #[inline]
    pub fn current(&self) -> i64 {
        self.current.0
    }

    /// The earliest time with something.
    pub fn first(&self) -> Option<i64> {
        let current = (!self.current.1.is_vacant()).then_some(self.current.0);
        self.others.keys().next().copied().into_iter().chain(current).min()
    }

    /// Takes the earliest value, if it is of `time` or before.
    pub fn take_until(&mut self, time: i64) -> Option<(i64, T)> {
        let first = self.first().filter(|first| *first <= time)?;
        Some((first, std::mem::take(self.at(first))))
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.others.values().chain([&self.current.1])
    }

    /// All times with something, and their values, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (i64, &mut T)> {
        let (time, value) = &mut self.current;
        self.others.iter_mut().map(|(time, value)| (*time, value)).chain([(*time, value)])
    }

    /// Number of times.
    pub fn len(&self) -> usize {
        self.others.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0i64..6, any::<bool>()), 0..60)) {
            let (mut calendar, mut map) = (Calendar::<Vec<usize>>::default(), BTreeMap::<i64, Vec<usize>>::new());
            for (i, &(time, takes)) in steps.iter().enumerate() {
                prop_assert_eq!(calendar.first(), map.keys().next().copied());
                if takes {
                    let known = map.first_key_value().map(|(time, _)| *time).filter(|first| *first <= time);
                    prop_assert_eq!(calendar.take_until(time), known.and_then(|first| map.remove_entry(&first)));
                } else {
                    calendar.at(time).push(i);
                    map.entry(time).or_default().push(i);
                }
                let mut all: Vec<_> = calendar.values().flatten().copied().collect();
                all.sort_unstable();
                let mut known: Vec<_> = map.values().flatten().copied().collect();
                known.sort_unstable();
                prop_assert_eq!(all, known);
            }
        }
    }
}
