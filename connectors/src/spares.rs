//! Memory that is used again: one thread fills it, another hands it back when it is done. Memory that is new to the process costs more
//! than what is then written there, as the system clears it page by page.

use std::sync::{Mutex, PoisonError};

/// Buffers that nobody uses at the moment.
#[derive(Debug)]
pub struct Spares {
    free: Mutex<Vec<Vec<u8>>>,
    most: usize,
    most_bytes: usize,
}

impl Spares {
    /// None yet; at most so many are kept, each with room for at most so many bytes.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Spares { free: Mutex::default(), most, most_bytes }
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
        if free.len() < self.most && (1..=self.most_bytes).contains(&buffer.capacity()) {
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again_empty() {
        let spares = Spares::new(1, 100);
        let mut first = spares.take(10);
        first.extend_from_slice(b"some");
        let address = first.as_ptr();
        spares.give(first);
        spares.give(Vec::with_capacity(5));
        let again = spares.take(1);
        assert_eq!((again.as_ptr(), again.is_empty()), (address, true));
        assert_eq!(spares.take(3).capacity(), 3);
    }

    #[test]
    fn a_buffer_that_grew_too_large_is_not_kept() {
        let spares = Spares::new(1, 100);
        spares.give(Vec::with_capacity(1_000));
        assert_eq!(spares.take(5).capacity(), 5);
    }
}
