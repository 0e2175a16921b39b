//! What the peers that are written in Rust share: their arguments, their input, their rules and their report. It is `task.py` again.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

mod thresholds;

pub use thresholds::{Rule, Thresholds};

const MINUTE_MILLIS: i64 = 60_000;

/// The command line that `run.py` gives every peer.
pub struct Task {
    /// A folder: events.jsonl, and the same events by user in parts/*.jsonl.
    pub events: PathBuf,
    pub rules: PathBuf,
    pub output: PathBuf,
    pub report: PathBuf,
    pub workers: usize,
}

impl Task {
    pub fn from_arguments() -> Result<Self> {
        let mut values = HashMap::new();
        let mut words = std::env::args().skip(1);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            values.insert(name, value);
        }
        let mut value = |name: &str| values.remove(name).with_context(|| format!("{name} is missing"));
        Ok(Self {
            events: value("--events")?.into(),
            rules: value("--rules")?.into(),
            output: value("--output")?.into(),
            report: value("--report")?.into(),
            workers: value("--workers")?.parse().context("--workers is not a number")?,
        })
    }

    /// The files of events, one for each worker.
    pub fn parts(&self) -> Vec<PathBuf> {
        (0..self.workers).map(|number| self.events.join(format!("parts/{number}.jsonl"))).collect()
    }

    pub fn tell(&self, time: Duration) -> Result<()> {
        let report = serde_json::json!({ "seconds": time.as_secs_f64() });
        std::fs::write(&self.report, report.to_string()).with_context(|| format!("{} can't be written", self.report.display()))
    }
}

/// A line of the events.
#[derive(Deserialize)]
pub struct Event<'a> {
    #[serde(borrow, rename = "userId")]
    pub user: Cow<'a, str>,
    #[serde(borrow, rename = "eventType")]
    pub kind: Cow<'a, str>,
    pub timestamp: i64,
    pub value: f64,
}

impl<'a> Event<'a> {
    pub fn of(line: &'a [u8]) -> Result<Self> {
        serde_json::from_slice(line).with_context(|| format!("no event: {}", String::from_utf8_lossy(line)))
    }
}

/// Lines of a file, many at a time.
pub struct Blocks {
    file: BufReader<File>,
    lines: usize,
}

impl Blocks {
    pub fn open(path: &Path, lines: usize) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
        Ok(Self { file: BufReader::with_capacity(1 << 20, file), lines })
    }

    /// The next lines, without any at the end of the file.
    pub fn next(&mut self) -> Result<Vec<u8>> {
        let mut block = Vec::new();
        for _ in 0..self.lines {
            if self.file.read_until(b'\n', &mut block)? == 0 {
                break;
            }
        }
        Ok(block)
    }
}

/// The lines of a block.
pub fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    block.split(|&byte| byte == b'\n').filter(|line| !line.is_empty())
}

/// The rules by what they are looked up by. Their types of events are numbered, for keys that are small.
pub struct Rules {
    pub ids: Vec<String>,
    pub types: Vec<String>,
    pub sizes: Vec<Size>,
}

/// The rules on windows of one size, by the number of the type of event.
pub struct Size {
    pub millis: i64,
    pub by_type: Vec<Both>,
}

/// The rules on one type of event in windows of one size.
#[derive(Default)]
pub struct Both {
    pub of_count: Thresholds,
    pub of_sum: Thresholds,
}

impl Both {
    pub fn is_empty(&self) -> bool {
        self.of_count.is_empty() && self.of_sum.is_empty()
    }

    /// The numbers of the rules that hold, each with its value.
    pub fn holding(&self, count: i64, sum: f64) -> impl Iterator<Item = (u32, f64)> {
        let count = count as f64;
        let of_count = self.of_count.holding(count).map(move |rule| (rule, count));
        of_count.chain(self.of_sum.holding(sum).map(move |rule| (rule, sum)))
    }
}

impl Rules {
    pub fn read(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("{} can't be read", path.display()))?;
        let rules: Vec<Rule> = serde_json::from_reader(BufReader::new(file)).with_context(|| format!("{} holds no rules", path.display()))?;
        let types = distinct(rules.iter().map(|rule| rule.event_type.clone()));
        let mut sizes = Vec::new();
        for minutes in distinct(rules.iter().map(|rule| rule.window_minutes)) {
            let by_type = types.iter().map(|kind| both(&rules, minutes, kind)).collect::<Result<_>>()?;
            sizes.push(Size { millis: minutes * MINUTE_MILLIS, by_type });
        }
        Ok(Self { ids: rules.into_iter().map(|rule| rule.id).collect(), types, sizes })
    }
}

fn both(rules: &[Rule], minutes: i64, kind: &str) -> Result<Both> {
    let (mut of_count, mut of_sum) = (Vec::new(), Vec::new());
    for (number, rule) in (0..).zip(rules).filter(|(_, rule)| rule.window_minutes == minutes && rule.event_type == kind) {
        match rule.attribute.as_str() {
            "count" => of_count.push((number, rule)),
            "sum" => of_sum.push((number, rule)),
            other => bail!("rule {} is of an unknown attribute: {other}", rule.id),
        }
    }
    Ok(Both { of_count: Thresholds::new(&of_count)?, of_sum: Thresholds::new(&of_sum)? })
}

fn distinct<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort();
    values.dedup();
    values
}
