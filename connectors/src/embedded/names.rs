//! Numbers for the names of segments and their rules. A profile holds numbers, so it is small and read without a
//! text being made; a name keeps its number for as long as the store lives.

use std::collections::HashMap;
use std::sync::Arc;

use fjall::Keyspace;

use super::{EmbeddedError, corrupt};

/// A rule of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    segment: Arc<str>,
    rule: Arc<str>,
}

/// All names that were ever stored.
#[derive(Debug, Clone, Default)]
pub struct Names {
    list: Vec<Name>,
    numbers: HashMap<Name, u32>,
    /// The number of each name's segment.
    segment_of: Vec<u32>,
    segments: Vec<Arc<str>>,
    segment_numbers: HashMap<Arc<str>, u32>,
}

impl Names {
    /// Reads names: number → segment and rule.
    ///
    /// # Errors
    /// When the store fails, or a number is missing.
    pub fn open(stored: &Keyspace) -> Result<Self, EmbeddedError> {
        let mut names = Names::default();
        for guard in stored.iter() {
            let (key, value) = guard.into_inner()?;
            let (segment, rule): (String, String) = postcard::from_bytes(&value).map_err(|e| corrupt("names", &key, e))?;
            let number = names.push(&segment.into(), &rule.into());
            if *key != number.to_be_bytes() {
                return Err(corrupt("names", &key, "a number before it is missing"));
            }
        }
        Ok(names)
    }

    /// Adds a name; returns its number.
    pub fn push(&mut self, segment: &Arc<str>, rule: &Arc<str>) -> u32 {
        let number = self.list.len() as u32;
        let known = self.segment_numbers.get(segment).copied();
        let segment_number = known.unwrap_or_else(|| {
            self.segments.push(Arc::clone(segment));
            self.segment_numbers.insert(Arc::clone(segment), self.segments.len() as u32 - 1);
            self.segments.len() as u32 - 1
        });
        let name = Name { segment: Arc::clone(segment), rule: Arc::clone(rule) };
        self.numbers.insert(name.clone(), number);
        self.list.push(name);
        self.segment_of.push(segment_number);
        number
    }

    /// The number of a rule of a segment.
    pub fn number(&self, segment: &Arc<str>, rule: &Arc<str>) -> Option<u32> {
        self.numbers.get(&Name { segment: Arc::clone(segment), rule: Arc::clone(rule) }).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The number of the segment of a name.
    pub fn segment_of(&self, name: u32) -> u32 {
        self.segment_of[name as usize]
    }

    /// The id of a segment, by its number.
    pub fn segment(&self, number: u32) -> &Arc<str> {
        &self.segments[number as usize]
    }

    /// The ids of a name's segment and rule.
    pub fn texts(&self, name: u32) -> (&Arc<str>, &Arc<str>) {
        let name = &self.list[name as usize];
        (&name.segment, &name.rule)
    }
}
