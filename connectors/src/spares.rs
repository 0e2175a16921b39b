//! Memory that is used again: one thread fills it, another hands it back when it is done. Memory that is new to the process costs more
//! than what is then written there, as the system clears it page by page.

use std::sync::{Mutex, PoisonError};

/// Buffers that nobody uses at the moment.
#[derive(Debug)]
pub struct Spares {
    free: Mutex<Vec<Vec<u8>>>,
    most: usize,
}

impl Spares {
    /// None yet; at most so many are kept.
    pub fn new(most: usize) -> Self {
        Spares { free: Mutex::default(), most }
    }

    /// An empty buffer, with room for `capacity` bytes if it is new.
    pub fn take(&self, capacity: usize) -> Vec<u8> {
        let spare = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// Hands a buffer back.
    pub fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.most && buffer.capacity() > 0 {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again_empty() {
        let spares = Spares::new(1);
        let mut first = spares.take(10);
        first.extend_from_slice(b"some");
        let address = first.as_ptr();
        spares.give(first);
        spares.give(Vec::with_capacity(5));
        let again = spares.take(1);
        assert_eq!((again.as_ptr(), again.is_empty()), (address, true));
        assert_eq!(spares.take(3).capacity(), 3);
    }
}
