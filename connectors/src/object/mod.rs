//! Objects of a store, or files of a folder, as bounded input: [`list`] finds them below a prefix or by a pattern, puts
//! them in the order of their events and leaves out what lies outside the time of a run; [`body`] reads one with a few
//! parts ahead; [`columns`] reads of Parquet only the columns, row groups and pages that are needed; [`merge`] puts
//! the events of objects of the same time in order; [`plan`] is all of that for what a run was told to read. [`folders`] knows the time of a folder, [`store`] a URL's store.

pub mod body;
pub mod columns;
pub mod folders;
pub mod list;
pub mod merge;
pub mod plan;
pub mod store;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cohort_compiler::Program;
use cohort_compiler::program::Field;
use cohort_engine::formats::mapping::TimeUnit;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::runtime::Handle;

use crate::between::Between;
use crate::records::Shape;

/// An object with events.
#[derive(Clone)]
pub struct Object {
    /// Where it is.
    pub store: Arc<dyn ObjectStore>,
    /// Its path there.
    pub path: Path,
    /// What it is called in messages.
    pub url: String,
    /// Bytes.
    pub size: u64,
    /// What is said of its version: reading ends when it is no longer this one.
    pub tag: Option<String>,
    /// The first moment and the first moment after of its events, as its folders say.
    pub times: Option<(i64, i64)>,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.url, self.size)
    }
}

impl Object {
    /// Asks for a part of what was listed, not of what took its place.
    fn part(&self, start: u64, end: u64) -> GetOptions {
        GetOptions { range: Some(GetRange::Bounded(start..end)), if_match: self.tag.clone(), ..GetOptions::default() }
    }

    /// Whether its name says that it is Parquet.
    pub(crate) fn is_parquet(&self) -> bool {
        self.path.filename().is_some_and(|name| name.to_ascii_lowercase().ends_with(".parquet"))
    }
}

/// What reading objects needs to know.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where requests run.
    pub runtime: Handle,
    /// What records are, to know their times where several objects are merged.
    pub shape: Arc<Shape>,
    /// Which events are wanted.
    pub between: Between,
    /// Columns of Parquet that are wanted; all, if not given.
    pub columns: Option<Arc<[String]>>,
    /// Columns of Parquet that may hold the time, in the order in which they count.
    pub time: Arc<[String]>,
    /// Nanoseconds that an integer in such a column counts.
    pub time_unit: i64,
    /// What was read.
    pub tally: Arc<Tally>,
}

impl Reading {
    /// How objects are read for a program.
    pub fn new(runtime: Handle, program: &Program, shape: &Arc<Shape>, between: Between, tally: &Arc<Tally>) -> Self {
        let texts = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        let (columns, time) = match &shape.mapping {
            Some(mapping) => {
                let time = mapping.event_time.iter().map(|path| path.field().filter(|_| path.is_field()));
                let only = mapping.event_time.len() == 1;
                (mapping.fields().map(|fields| texts(&fields)), time.flatten().filter(|_| only).map(String::from).collect())
            }
            None => (Some(plain_columns(program)), texts(&["timestamp", "event_time"])),
        };
        let time_unit = shape.mapping.as_ref().map_or(TimeUnit::Millis, |m| m.event_time_unit);
        Reading {
            runtime,
            shape: Arc::clone(shape),
            between,
            columns: columns.map(Into::into),
            time: time.into(),
            time_unit: match time_unit {
                TimeUnit::Seconds => 1_000_000_000,
                TimeUnit::Millis | TimeUnit::Rfc3339 => 1_000_000,
                TimeUnit::Micros => 1_000,
                TimeUnit::Nanos => 1,
            },
            tally: Arc::clone(tally),
        }
    }
}

/// The columns of plain events that a program reads, by both their names, and those that say whether they are events.
fn plain_columns(program: &Program) -> Vec<String> {
    let mut columns = vec!["userId", "user_id", "eventType", "event_type", "timestamp", "event_time", "value"];
    let reads = |wanted: fn(&Field) -> bool| program.scan.texts.iter().any(|t| wanted(&t.field));
    if reads(|f| matches!(f, Field::SessionId)) {
        columns.extend(["sessionId", "session_id"]);
    }
    if program.scan.metadata || reads(|f| matches!(f, Field::Metadata(_))) {
        columns.push("metadata");
    }
    columns.into_iter().map(String::from).collect()
}

/// What was read of objects, and what did not have to be.
#[derive(Debug, Default)]
pub struct Tally {
    /// Objects read.
    pub objects: AtomicU64,
    /// Bytes that came of them.
    pub bytes: AtomicU64,
    /// Objects outside the time of the run, by their folders.
    pub objects_skipped: AtomicU64,
    /// Their bytes.
    pub bytes_skipped: AtomicU64,
    /// Row groups of Parquet that were read.
    pub row_groups: AtomicU64,
    /// Row groups outside the time of the run, by their statistics.
    pub row_groups_skipped: AtomicU64,
    /// Bytes of the wanted columns of those.
    pub row_group_bytes_skipped: AtomicU64,
    /// Rows of row groups that were read whose pages lie outside the time of the run.
    pub rows_skipped: AtomicU64,
    /// What is below a prefix and no file of events.
    pub left_out: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
