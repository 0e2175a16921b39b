//! The newest dead letters, in the embedded store. One and the same is kept once, however often it is found.

use std::collections::BTreeMap;

use cohort_engine::sink::{DeadLetter, DeadLetterSink, SinkError};
use fjall::Keyspace;
use serde::{Deserialize, Serialize};

use super::{EmbeddedError, Store, corrupt, joined};

/// A dead letter as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Why, by its stable name.
    pub reason: String,
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: i64,
    /// When it was found, ms since the epoch.
    pub at: i64,
    /// The record.
    pub raw: Vec<u8>,
}

/// Reason and topic → how many, and when the newest was found, ms since the epoch.
pub type Reasons = BTreeMap<(String, String), (u64, i64)>;

/// Keeps the newest dead letters; clones share them.
#[derive(Clone)]
pub struct DeadLetters {
    store: Store,
    /// Sequence → letter.
    letters: Keyspace,
    /// Identity → sequence.
    known: Keyspace,
    keep: u64,
}

impl DeadLetters {
    /// The dead letters of a store, of which `keep` are kept.
    ///
    /// # Errors
    /// When the store fails.
    pub fn open(store: &Store, keep: u64) -> Result<Self, EmbeddedError> {
        Ok(DeadLetters { store: store.clone(), letters: store.keyspace("dead_letters")?, known: store.keyspace("dead_letters_known")?, keep })
    }

    /// The newest before a number, newest first, each with its number.
    ///
    /// # Errors
    /// When the store fails.
    pub fn newest(&self, before: Option<u64>, limit: usize, wanted: impl Fn(&Kept) -> bool) -> Result<Vec<(u64, Kept)>, EmbeddedError> {
        let mut found = vec![];
        for guard in self.letters.range(..before.unwrap_or(u64::MAX).to_be_bytes()).rev() {
            let (key, value) = guard.into_inner()?;
            let kept: Kept = postcard::from_bytes(&value).map_err(|e| corrupt("dead_letters", &key, e))?;
            if wanted(&kept) {
                found.push((sequence(&key)?, kept));
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// How many there are of each reason and topic, and when the newest was found.
    ///
    /// # Errors
    /// When the store fails.
    pub fn reasons(&self) -> Result<Reasons, EmbeddedError> {
        let mut reasons = Reasons::new();
        for guard in self.letters.iter() {
            let (key, value) = guard.into_inner()?;
            let kept: Kept = postcard::from_bytes(&value).map_err(|e| corrupt("dead_letters", &key, e))?;
            let (count, newest) = reasons.entry((kept.reason, kept.topic)).or_insert((0, i64::MIN));
            (*count, *newest) = (*count + 1, kept.at.max(*newest));
        }
        Ok(reasons)
    }

    fn keep(&self, letters: &[DeadLetter]) -> Result<(), EmbeddedError> {
        let first = self.letters.first_key_value().map(|g| g.key()).transpose()?.map(|k| sequence(&k)).transpose()?;
        let last = self.letters.last_key_value().map(|g| g.key()).transpose()?.map(|k| sequence(&k)).transpose()?;
        let mut next = last.map_or(0, |s| s + 1);
        let mut batch = self.store.database.batch();
        for letter in letters {
            let identity = identity(letter.partition, letter.offset, &letter.topic, letter.reason.as_str());
            if self.known.contains_key(&identity)? {
                continue;
            }
            let kept = Kept {
                reason: letter.reason.as_str().into(),
                topic: letter.topic.to_string(),
                partition: letter.partition,
                offset: letter.offset,
                at: letter.at,
                raw: letter.raw.clone(),
            };
            let value = postcard::to_stdvec(&kept).map_err(|e| corrupt("dead_letters", &identity, e))?;
            batch.insert(&self.letters, next.to_be_bytes(), value);
            batch.insert(&self.known, identity, next.to_be_bytes());
            next += 1;
        }
        batch.commit()?;
        self.forget(first.unwrap_or(0), next.saturating_sub(self.keep))
    }

    /// Forgets those before a sequence number.
    fn forget(&self, first: u64, before: u64) -> Result<(), EmbeddedError> {
        if first >= before {
            return Ok(());
        }
        let mut batch = self.store.database.batch();
        for guard in self.letters.range(first.to_be_bytes()..before.to_be_bytes()) {
            let (key, value) = guard.into_inner()?;
            let kept: Kept = postcard::from_bytes(&value).map_err(|e| corrupt("dead_letters", &key, e))?;
            batch.remove(&self.known, identity(kept.partition, kept.offset, &kept.topic, &kept.reason));
            batch.remove(&self.letters, key);
        }
        Ok(batch.commit()?)
    }
}

fn sequence(key: &[u8]) -> Result<u64, EmbeddedError> {
    key.try_into().map(u64::from_be_bytes).map_err(|e| corrupt("dead_letters", key, e))
}

fn identity(partition: u32, offset: i64, topic: &str, reason: &str) -> Vec<u8> {
    let place = [partition.to_be_bytes().as_slice(), offset.to_be_bytes().as_slice(), reason.as_bytes()].concat();
    joined(topic.as_bytes(), &place)
}

impl DeadLetterSink for DeadLetters {
    fn put(&mut self, letters: &[DeadLetter]) -> Result<(), SinkError> {
        self.keep(letters).map_err(|e| SinkError { sink: "embedded".into(), message: e.to_string(), fatal: false })
    }
}
