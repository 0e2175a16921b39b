//! The log that a fleet reads: generated events, by partition, cut into ticks of equal numbers of events. Only ticks that
//! somebody may still read are kept.

use std::collections::VecDeque;

use cohort_connectors::replay::partition_of;

use crate::generate::{Generator, GeneratorConfig};

/// The user who gets a part of all events where a log is skewed.
pub const BUSY_USER: &str = "user_busy";

/// What came within a tick, by partition: JSON lines, and how many.
#[derive(Default)]
struct Tick {
    lines: Vec<Vec<u8>>,
    events: Vec<u32>,
}

/// Events, in the order in which they come.
pub struct Log {
    generator: Generator,
    partitions: u32,
    per_tick: u64,
    /// The part of the events that are made one user's, and how much of that is due.
    busy: (f64, f64),
    ticks: VecDeque<Tick>,
    /// The number of the oldest tick that is kept.
    first: usize,
}

impl Log {
    /// A log of so many partitions; `busy` is the part of the events that are one user's.
    pub fn new(config: GeneratorConfig, partitions: u32, per_tick: u64, busy: f64) -> Self {
        Log { generator: Generator::new(config), partitions, per_tick: per_tick.max(1), busy: (busy, 0.0), ticks: VecDeque::new(), first: 0 }
    }

    /// Has the next tick come; false when there is none.
    pub fn pass(&mut self) -> bool {
        let partitions = self.partitions as usize;
        let mut tick = Tick { lines: vec![vec![]; partitions], events: vec![0; partitions] };
        let (mut line, mut left) = (vec![], self.per_tick);
        while left > 0 && self.generator.write_event(&mut line) {
            self.busy.1 += self.busy.0;
            if self.busy.1 >= 1.0 {
                self.busy.1 -= 1.0;
                give(&mut line, BUSY_USER);
            }
            let place = partition_of(user(&line), self.partitions) as usize;
            tick.lines[place].extend_from_slice(&line);
            tick.events[place] += 1;
            line.clear();
            left -= 1;
        }
        let any = left < self.per_tick;
        if any {
            self.ticks.push_back(tick);
        }
        any
    }

    /// What came in a partition within a tick: lines, and how many.
    pub fn read(&self, tick: usize, partition: u32) -> (&[u8], u32) {
        let kept = tick.checked_sub(self.first).and_then(|i| self.ticks.get(i));
        kept.map_or((&[], 0), |tick| (&tick.lines[partition as usize], tick.events[partition as usize]))
    }

    /// Drops ticks before this one.
    pub fn forget(&mut self, before: usize) {
        while self.first < before && self.ticks.pop_front().is_some() {
            self.first += 1;
        }
    }
}

/// The user of a generated event: its first field.
fn user(line: &[u8]) -> &[u8] {
    line.split(|b| *b == b'"').nth(3).unwrap_or_default()
}

/// Makes an event another user's.
fn give(line: &mut Vec<u8>, to: &str) {
    let start = br#"{"userId":""#.len();
    let end = start + user(line).len();
    line.splice(start..end, to.bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GeneratorConfig {
        GeneratorConfig { events: 1_000, users: 50, ..GeneratorConfig::default() }
    }

    #[test]
    fn a_log_has_every_event_once_and_each_user_in_one_partition() {
        let mut log = Log::new(config(), 4, 300, 0.0);
        let (mut events, mut ticks, mut place) = (0, 0, std::collections::BTreeMap::new());
        while log.pass() {
            for partition in 0..4 {
                let (lines, count) = log.read(ticks, partition);
                events += count;
                let lines: Vec<_> = lines.split_inclusive(|b| *b == b'\n').collect();
                assert_eq!(lines.len(), count as usize);
                lines.iter().for_each(|line| assert_eq!(*place.entry(user(line).to_vec()).or_insert(partition), partition));
            }
            ticks += 1;
        }
        assert_eq!((events, ticks), (1_000, 4));
    }

    #[test]
    fn a_part_of_the_events_is_the_busy_users() {
        let mut log = Log::new(config(), 1, 1_000, 0.25);
        assert!(log.pass());
        let (lines, _) = log.read(0, 0);
        let busy = lines.split(|b| *b == b'\n').filter(|line| user(line) == BUSY_USER.as_bytes()).count();
        assert_eq!(busy, 250);
        let whole = lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).all(|l| serde_json::from_slice::<serde_json::Value>(l).is_ok());
        assert!(whole);
    }

    #[test]
    fn forgotten_ticks_are_empty_and_later_ones_stay() {
        let mut log = Log::new(config(), 1, 300, 0.0);
        while log.pass() {}
        log.forget(2);
        assert_eq!([0, 1, 2, 3, 4].map(|tick| log.read(tick, 0).1), [0, 0, 300, 100, 0]);
    }
}
