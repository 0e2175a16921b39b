use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use dbsp::algebra::F64;
use dbsp::utils::Tup4;
use dbsp::{IndexedZSetReader, OrdZSet};
use peers_shared::{Blocks, Event, Rules, lines};

use crate::Row;

/// An event of a type that rules ask for.
pub struct Seen {
    pub timestamp: i64,
    pub kind: u32,
    pub user: u32,
    pub value: F64,
}

/// What one worker reads and writes. It numbers users, so that keys are small.
pub struct Lane {
    input: Blocks,
    numbers: HashMap<String, u32>,
    users: Vec<String>,
    output: BufWriter<File>,
    is_reading: bool,
    failure: Option<anyhow::Error>,
}

impl Lane {
    pub fn open(input: &Path, lines: usize, output: &Path) -> Result<Self> {
        let file = File::create(output).with_context(|| format!("{} can't be written", output.display()))?;
        let output = BufWriter::with_capacity(1 << 20, file);
        let input = Blocks::open(input, lines)?;
        Ok(Self { input, numbers: HashMap::new(), users: Vec::new(), output, is_reading: true, failure: None })
    }

    /// The next events. As operators can't fail, an error waits for the end of the step.
    pub fn read(&mut self, rules: &Rules) -> Vec<Seen> {
        self.try_read(rules).unwrap_or_else(|error| {
            self.failure = Some(error);
            Vec::new()
        })
    }

    fn try_read(&mut self, rules: &Rules) -> Result<Vec<Seen>> {
        let block = self.input.next()?;
        self.is_reading = !block.is_empty();
        let mut seen = Vec::new();
        for line in lines(&block) {
            let event = Event::of(line)?;
            if let Ok(kind) = rules.types.binary_search_by(|kind| kind.as_str().cmp(&event.kind)) {
                let user = self.number(&event.user);
                seen.push(Seen { timestamp: event.timestamp, kind: kind as u32, user, value: F64::new(event.value) });
            }
        }
        Ok(seen)
    }

    fn number(&mut self, user: &str) -> u32 {
        if let Some(&number) = self.numbers.get(user) {
            return number;
        }
        let number = self.users.len() as u32;
        self.numbers.insert(user.to_owned(), number);
        self.users.push(user.to_owned());
        number
    }

    pub fn write(&mut self, rows: &OrdZSet<Row>, rules: &Rules) {
        for (Tup4(rule, user, start, value), (), change) in rows.iter() {
            let (rule, user) = (&rules.ids[rule as usize], &self.users[user as usize]);
            if let Err(error) = writeln!(self.output, "{rule},{user},{start},{},{change}", value.into_inner()) {
                self.failure = Some(error.into());
            }
        }
    }

    /// Whether there may be more to read, or what went wrong.
    pub fn is_reading(&mut self) -> Result<bool> {
        self.failure.take().map_or(Ok(self.is_reading), Err)
    }

    pub fn close(&mut self) -> Result<()> {
        Ok(self.output.flush()?)
    }
}

pub fn locked(lane: &Mutex<Lane>) -> MutexGuard<'_, Lane> {
    lane.lock().unwrap_or_else(PoisonError::into_inner)
}
