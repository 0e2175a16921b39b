//! The bytes of an object as [`Read`], with some parts on their way while one is read.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use futures::{StreamExt, stream};
use object_store::ObjectStore;
use tokio::sync::mpsc;

use super::{Object, Reading, Tally};

/// The largest part, in bytes.
const PART: u64 = 4 << 20;
/// The smallest part, where many objects are read side by side.
const LEAST_PART: u64 = 64 << 10;
/// Bytes on their way, of all objects that are read side by side.
const AHEAD: u64 = 32 << 20;
/// Requests at a time for an object.
const REQUESTS: u64 = 4;

/// The parts of an object in their order. Fetching begins at once, and ends when it is dropped.
pub struct Body {
    parts: mpsc::Receiver<Result<Bytes, io::Error>>,
    current: Bytes,
}

impl Body {
    /// Begins to fetch an object, one of so many that are read side by side.
    pub fn fetch(object: &Object, reading: &Reading, together: usize) -> Self {
        let share = AHEAD / together.max(1) as u64;
        let part = (share / REQUESTS).clamp(LEAST_PART, PART);
        let requests = (share / part).clamp(1, REQUESTS) as usize;
        let (send, parts) = mpsc::channel(1);
        let (object, tally) = (object.clone(), std::sync::Arc::clone(&reading.tally));
        reading.runtime.spawn(async move {
            let starts = (0..object.size).step_by(part as usize);
            let object = &object;
            let fetch = |start: u64| async move {
                let options = object.part(start, (start + part).min(object.size));
                object.store.get_opts(&object.path, options).await?.bytes().await
            };
            let mut fetched = stream::iter(starts).map(fetch).buffered(requests);
            while let Some(part) = fetched.next().await {
                if let Ok(bytes) = &part {
                    Tally::add(&tally.bytes, bytes.len() as u64);
                }
                let is_last = part.is_err();
                if send.send(part.map_err(io::Error::other)).await.is_err() || is_last {
                    return;
                }
            }
        });
        Body { parts, current: Bytes::new() }
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.parts.blocking_recv() {
                Some(part) => self.current = part?,
                None => return Ok(0),
            }
        }
        let n = self.current.len().min(into.len());
        self.current.copy_to_slice(&mut into[..n]);
        Ok(n)
    }
}
